"""Turn what the user typed into the request of a create, and say what is doubtful about it."""

import json
import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from cometrep import catalog, errors, formats, hints, inputs
from cometrep.data_uris import SHORTENED_DATA_URI, shorten_data_uris
from cometrep.json_values import leaves
from cometrep.ledger.entry import Entry
from cometrep.names import fixed_extension
from cometrep.prediction import Request
from cometrep.references import parse_model

_NO_TEXT = r"-?\d+(?:\.\d+)?|true|false"  # as JSON writes a number and a boolean
_TYPE = r"(?i)\btype\b|integer|number|boolean|\b(?:int|float|bool)\b"


class Given(NamedTuple):
    """What a create's input was given as: INPUT items and a file, `-` for stdin; a doubt is an error if strict."""

    items: Sequence[str]
    input_file: str | None
    is_strict: bool
    read_stdin: inputs.ReadStdin


def prepare(model: str, given: Given) -> tuple[Request, list[str]]:
    """Build a create's request and list what is doubtful about it; raise UsageError for a doubt if strict."""
    return _prepared(parse_model(model, catalog.guess), {}, given)


def prepare_again(entry: Entry | None, id: str, given: Given, *, command: str) -> tuple[Request, list[str]]:
    """Build a create's request from a ledger entry's input and the items that change it.

    Raises UsageError where there is no such entry, and where an input was a file, of which the ledger keeps
    nothing but its SHA-256, and no item gives it again: `command` is the one that asked, with the id.
    """
    if entry is None:
        raise errors.UsageError(
            f"{id} was not made from this machine, so its input is not known here", hint="cometrep list"
        )
    if not isinstance(entry.input, dict):
        raise errors.UsageError(
            f"the ledger has no input of {id} that can be read", hint=f"cometrep create {entry.model} …"
        )
    request, doubts = _prepared(entry.model, entry.input, given)
    for name, value in request.values.items():
        if lost := _lost_file(value):
            is_file = isinstance(value, str) or catalog.kind_of(entry.model, name) == "array"
            again = inputs.typed(name, *(("@", "FILE") if is_file else (":=@", "JSONFILE")))
            raise errors.UsageError(
                f"input {name} was a file ({lost}), and the ledger keeps no files",
                hint=hints.with_item(command, again),
                code="bad_input",
            )
    return request, doubts


def _lost_file(value: Any) -> str:
    """Tell of a data URI that the ledger shortened in a JSON value, empty where there is none."""
    texts = (leaf for leaf in leaves(value) if isinstance(leaf, str))
    found = next(filter(None, (re.fullmatch(SHORTENED_DATA_URI, text) for text in texts)), None)
    return f"{found['type']}, {found['bytes']} bytes, SHA-256 {found['sha'][:12]}…" if found else ""


def _prepared(model: str, base: Mapping[str, Any], given: Given) -> tuple[Request, list[str]]:
    body = {} if given.input_file is None else inputs.read_base(given.input_file, given.read_stdin)
    base = {**base, **body}
    built = inputs.build_input(
        given.items, base=base, kind_of=partial(catalog.kind_of, model), read_stdin=given.read_stdin
    )
    doubts = [*inputs.body_doubts(body), *catalog.doubts(model, built.values)]
    if given.is_strict and doubts:
        raise errors.UsageError(
            "; ".join(doubts),
            hint=catalog.command_for(model),
            code="bad_input",
        )
    return Request(model, built.values), [*built.warnings, *doubts]


def doubt_of_name(request: Request, template: str) -> str:
    """Say where a template names another picture format than the model makes, empty where nothing tells.

    It is a hint, for the file is saved all the same, and another model may stand behind the name.
    """
    named = formats.format_named(fixed_extension(template))
    model = catalog.find(request.model) if named in formats.PICTURES else None
    known = model.inputs.get("output_format") if model else None
    made = request.values.get("output_format", known.default) if known else None
    if not known or made not in known.choices or formats.format_named(made) == named:
        return ""
    told = f"{template} is to hold {named}, but"
    if "output_format" in request.values:
        return f"{told} output_format is {made}"
    remedy = f"add output_format={named}" if named in known.choices else "end it in .{ext}"
    return f"{told} {request.model} makes {made}: {remedy}"


def explain(request: Request, failure: errors.Refused) -> None:
    """Tell, in a refusal that names an input, what was sent for it and what it takes, and what to type.

    Replicate's validator names it as `input.num_outputs`.
    """
    message = failure.message
    model = catalog.find(request.model)
    known = model.inputs if model else {}
    named = re.findall(r"\binput\.(\w+)", message) or re.findall(r"\w+", message)
    name = next((word for word in named if word in known or (word in request.values and word != "input")), "")
    if not name:
        return
    sent = json.dumps(shorten_data_uris(request.values[name])) if name in request.values else "not given"
    takes = f", and it takes {known[name].takes}" if name in known and known[name].takes != "-" else ""
    failure.message += f"; {name} was {sent[:100]}{takes}"
    failure.hint = catalog.command_for(request.model)
    text = request.values.get(name)
    if name not in known and isinstance(text, str) and re.fullmatch(_NO_TEXT, text) and re.search(_TYPE, message):
        failure.hint = f"type it as JSON: {name}:={text}"
