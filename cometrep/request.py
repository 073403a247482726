"""Turn what the user typed into the request of a create, and say what is doubtful about it."""

from collections.abc import Callable, Sequence
from functools import partial

from cometrep import catalog, errors, inputs
from cometrep.prediction import Request, parse_model


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
