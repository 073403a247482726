"""Read the commands, their arguments and options as values, for `help`, the manual and completion."""

from typing import Any

import typer

from cometrep.manual.page import Argument, Option, Page
from cometrep.plain_commands import in_panels, metavar_of, panel_of, sentence_of


def read(command: Any, ctx: Any) -> Page:
    """Give a command and all below it."""
    params = in_panels(command.get_params(ctx))
    names = command.list_commands(ctx) if hasattr(command, "list_commands") else []
    parts = [command.get_command(ctx, name) for name in names]
    return Page(
        words=tuple(ctx.command_path.split()),
        about=sentence_of(command),
        in_short=command.short_help or sentence_of(command),
        usage=" ".join((ctx.command_path, *command.collect_usage_pieces(ctx))),
        arguments=tuple(
            Argument(param.metavar, param.help or "", is_repeated=param.nargs != 1, choices=_choices(param, ctx))
            for param in params
            if param.param_type_name == "argument"
        ),
        options=tuple(
            Option(
                names=tuple(sorted(param.opts, key=len)),
                metavar=metavar_of(param, ctx),
                about=param.help or "",
                panel=panel_of(param),
                choices=_choices(param, ctx),
                is_repeated=param.multiple and not param.callback,  # which refuses a second one
            )
            for param in params
            if param.param_type_name == "option"
        ),
        examples=tuple(command.examples),
        parts=tuple(
            read(part, typer.Context(part, info_name=name, parent=ctx))
            for name, part in zip(names, parts, strict=True)
        ),
    )


def _choices(param: Any, ctx: Any) -> tuple[str, ...]:
    """Give the values that a command names as its parameter's `autocompletion`."""
    return tuple(item.value for item in param.shell_complete(ctx, ""))
