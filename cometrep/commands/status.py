"""Look at predictions once."""

from typing import Annotated

import typer

from cometrep.commands import CONNECTION, PRINTING, IdArgument, option, session, takes

EXAMPLES = (
    "cometrep status @last",
    "cometrep status --exit-status @last && cometrep download @last",
)


@takes(PRINTING, CONNECTION)
def command(
    ctx: typer.Context,
    ids: IdArgument,
    exit_status: Annotated[
        bool, option("Options", "--exit-status", help="Exit as wait would; 6 while it runs.")
    ] = False,
) -> None:
    """Look at predictions once and print a line each: id and status."""
    with session(ctx) as opened:
        found = opened.ids(ids)
        opened.show(opened.runner.look(found, exits_by_status=exit_status), opened.results("line"))
