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
    "cometrep run black-forest-labs/flux-schnell prompt='A paper boat'",
    "cometrep run stability-ai/sdxl prompt=@cat.txt image@cat.png -o new.png",
)


@takes(INPUT, POLLING, SAVING, PRINTING, REPORTING, CONNECTION)
def command(ctx: typer.Context, model: ModelArgument, items: InputArgument = []) -> None:  # noqa: B006
    """Create a prediction, wait for it and save its output files; print their paths."""
    with session(ctx) as opened:
        opened.run_or_describe(opened.request(model, items))
