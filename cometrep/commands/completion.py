"""Print the completion script of a shell."""

from typing import Annotated, Any

import typer

from cometrep import errors
from cometrep.commands import local_console
from cometrep.completion.scripts import SHELLS, script

EXAMPLES = ("source <(cometrep completion bash)", "cometrep completion zsh > _cometrep")


def command(
    ctx: typer.Context,
    shell: Annotated[
        str,
        typer.Argument(metavar="SHELL", help="bash, zsh or fish.", autocompletion=lambda: SHELLS),
    ],
) -> None:
    """Print the completion script of a shell."""
    console = local_console(ctx)
    if shell not in SHELLS:
        raise errors.UsageError(
            f"{shell!r} is not one of {', '.join(SHELLS)}", hint="source <(cometrep completion bash)"
        )
    root: Any = ctx.find_root()
    console.write_bytes(script(shell, root.command.page(root)).encode())
