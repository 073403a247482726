"""Wait until predictions have ended."""

import typer

from cometrep.commands import CONNECTION, POLLING, PRINTING, REPORTING, IdArgument, session, takes

EXAMPLES = (
    "cometrep wait @last --timeout 5m",
    "cometrep create stability-ai/sdxl prompt=cat | cometrep wait -",
)


@takes(POLLING, PRINTING, REPORTING, CONNECTION)
def command(ctx: typer.Context, ids: IdArgument) -> None:
    """Wait until every prediction has ended and print a line each: id and status."""
    with session(ctx) as opened:
        found = opened.ids(ids)
        opened.show(opened.runner.wait(found), opened.results("line", found))
