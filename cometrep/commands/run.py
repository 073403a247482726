"""Create a prediction, wait for it and save its output files."""

import typer

from cometrep.commands import (
    CONNECTION,
    INPUT,
    POLLING,
    PRINTING,
    REPORTING,
    SAVING,
    InputArgument,
    ModelArgument,
    session,
    takes,
)

EXAMPLES = (
    "cometrep run black-forest-labs/flux-schnell prompt='A paper boat on calm water'",
    "cometrep run black-forest-labs/flux-schnell prompt=cats num_outputs=4 -o 'cat-{index}.{ext}'",
)


@takes(INPUT, POLLING, SAVING, PRINTING, REPORTING, CONNECTION)
def command(ctx: typer.Context, model: ModelArgument, items: InputArgument = []) -> None:  # noqa: B006
    """Create a prediction, wait for it and save its output files; print their paths."""
    with session(ctx) as opened:
        opened.run_or_describe(opened.request(model, items))
