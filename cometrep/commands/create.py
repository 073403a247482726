"""Create one prediction and print its id."""

import typer

from cometrep.commands import CONNECTION, INPUT, PRINTING, InputArgument, ModelArgument, session, takes

EXAMPLES = (
    "cometrep create black-forest-labs/flux-schnell prompt='A boat' seed=7",
    "id=$(cometrep create black-forest-labs/flux-schnell prompt='A red fox')",
)


@takes(INPUT, PRINTING, CONNECTION)
def command(ctx: typer.Context, model: ModelArgument, items: InputArgument = []) -> None:  # noqa: B006
    """Create one prediction and print its id."""
    with session(ctx) as opened:
        opened.create_or_describe(opened.request(model, items))
