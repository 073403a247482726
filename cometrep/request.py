"""Turn what the user typed into the request of a create, and say what is doubtful about it."""

import json
import re
from collections.abc import Callable, Sequence
from functools import partial

from cometrep import catalog, errors, inputs
from cometrep.prediction import Request, parse_model, shorten_data_uris


def prepare(
    model: str,
    items: Sequence[str],
    *,
    input_file: str | None,
    is_strict: bool,
    read_stdin: Callable[[], bytes],
) -> tuple[Request, list[str]]:
    """Build a create's request and list what is doubtful about it; with `is_strict` a doubt is a UsageError."""
    model = parse_model(model)
    base = inputs.read_base(input_file, read_stdin) if input_file else None
    built = inputs.build_input(items, base=base, kind_of=partial(catalog.kind_of, model), read_stdin=read_stdin)
    doubts = catalog.doubts(model, built.values)
    if is_strict and doubts:
        raise errors.UsageError(
            "; ".join(doubts),
            hint=f"cometrep models {model} shows its inputs; without --strict these are warnings",
            code="bad_input",
        )
    return Request(model, built.values), [*built.warnings, *doubts]


def hint_at_input(request: Request, message: str) -> str:
    """Point at the input that an error message of the API names, with what the catalog knows it takes.

    Replicate's validator names it as `input.num_outputs`; empty where the message names none.
    """
    model = catalog.find(request.model)
    known = model.inputs if model else {}
    named = re.findall(r"\binput\.(\w+)", message) or re.findall(r"\w+", message)
    name = next((word for word in named if word in known or (word in request.values and word != "input")), "")
    if not name:
        return ""
    sent = json.dumps(shorten_data_uris(request.values[name])) if name in request.values else "nothing"
    takes = f", and it takes {known[name].takes}" if name in known and known[name].takes != "-" else ""
    return f"cometrep models {request.model} shows its inputs; {name} was {sent[:100]}{takes}"
