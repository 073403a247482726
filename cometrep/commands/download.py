"""Save the output files of finished predictions."""

from typing import Annotated

import typer

from cometrep.commands import CONNECTION, PRINTING, REPORTING, SAVING, WAITING, IdArgument, option, session, takes

EXAMPLES = ("cometrep download @last", "cometrep download --wait @last -d pictures --sidecar")


@takes(WAITING, SAVING, PRINTING, REPORTING, CONNECTION)
def command(
    ctx: typer.Context,
    ids: IdArgument,
    wait: Annotated[bool, option("Waiting", "--wait", help="Wait for unfinished ones first.")] = False,
) -> None:
    """Save the output files of finished predictions and print their paths."""
    with session(ctx) as opened:
        found = opened.ids(ids)
        opened.show(opened.runner.download(found, waits=wait), opened.results("path", found))
