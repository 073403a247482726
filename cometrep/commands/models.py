"""Show the known models, or one model's inputs."""

import re
from typing import Annotated

import typer

from cometrep import catalog, errors
from cometrep.commands import local_console
from cometrep.console import Console

EXAMPLES = ("cometrep models", "cometrep models black-forest-labs/flux-schnell")


def command(
    ctx: typer.Context,
    model: Annotated[
        str | None, typer.Argument(metavar="[MODEL]", help="One model, as OWNER/NAME.", show_default=False)
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.", show_default=False)] = False,
) -> None:
    """Show the known models, or one model's inputs with types, defaults and choices."""
    console = local_console(ctx)
    # Not by its truth: an empty name is that of a variable which is not set.
    models = [_known(name) for name in (catalog.names() if model is None else [model])]
    if json:
        for known in models:
            console.write_json(known.as_json())
    elif model is not None:
        _show_inputs(console, models[0])
    else:
        console.write_table(
            ("MODEL", "OUTPUT", "PICTURES IN", "ABOUT"),
            [[known.name, known.output, ", ".join(known.image_inputs()) or "-", known.about] for known in models],
            spare=("OUTPUT", "PICTURES IN"),
        )


def _show_inputs(console: Console, known: catalog.KnownModel) -> None:
    console.write_table(
        ("INPUT", "TYPE", "DEFAULT", "TAKES", "ABOUT"),
        [
            [one.name, one.kind, one.shown_default, one.takes, one.about + (f" ({one.note})" if one.note else "")]
            for one in known.inputs_in_order()
        ],
        wraps=True,
    )
    console.say(f"{known.about}; {known.output}. Read in: {'; '.join(known.source)}")
    console.hint(known.example())


def _known(name: str) -> catalog.KnownModel:
    known = catalog.find(name)
    if known is None:
        near = catalog.closest_few(name)
        whole = re.fullmatch(r"[^/\s]+/[^/\s]+", name)
        why = "it may exist all the same, and create sends it" if whole else "a model is named OWNER/NAME"
        raise errors.UsageError(
            f"the catalog does not know {name!r}; {why}",
            hint=f"cometrep models {near[0]}" if near else "cometrep models",
            code="bad_model",
        )
    return known
