"""Create a prediction again from the ledger's input, with inputs changed."""

import typer

from cometrep.commands import (
    CONNECTION,
    INPUT,
    POLLING,
    PRINTING,
    REPORTING,
    SAVING,
    InputArgument,
    OneIdArgument,
    session,
    takes,
)

EXAMPLES = ("cometrep rerun @last", "cometrep rerun @last seed=8 num_outputs=4 --dry-run")


@takes(INPUT, POLLING, SAVING, PRINTING, REPORTING, CONNECTION)
def command(ctx: typer.Context, id: OneIdArgument, items: InputArgument = []) -> None:  # noqa: B006
    """Create a prediction again from the ledger's input, with inputs changed."""
    with session(ctx) as opened:
        opened.run_or_describe(opened.request_again(id, items))
