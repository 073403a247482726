"""Show a command or another topic in full."""

from typing import Annotated, Any

import typer

from cometrep.commands import local_console

EXAMPLES = ("cometrep help run", "cometrep help exit-codes")


def command(
    ctx: typer.Context,
    topic: Annotated[
        list[str],
        typer.Argument(
            metavar="[TOPIC]...", help="As the list names it; without one, the list.", show_default=False
        ),
    ] = [],  # noqa: B006
) -> None:
    """Show a command or another topic in full; without TOPIC, list the topics."""
    from cometrep import manual

    console = local_console(ctx)
    root: Any = ctx.find_root()
    page = root.command.page(root)
    console.write_line(manual.show(page, " ".join(topic)) if topic else manual.contents(page))
