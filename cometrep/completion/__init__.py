"""Complete words on a command line: the values that only the program knows, which the scripts ask it for.

They call `cometrep __complete`, which must answer at once: it reads the catalog and the ledger, asks no server, and
loads neither typer nor requests nor rich.
"""

import json
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from cometrep import errors

if TYPE_CHECKING:
    from cometrep.catalog import KnownInput
    from cometrep.ledger import Recent

Answers = list[tuple[str, str]]

_ITEM = r"([^=:@\\]+)(:?=)[^@]*"
_ENOUGH = 50  # ids that are offered
_FEW = 10  # whole numbers that are worth listing one by one
_UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def answers(words: Sequence[str], current: str, *, now: float | None = None) -> Answers:
    """List what may stand in the place of `current`, each value with its description, the likeliest first.

    `words` are the kind of value, the options on the line (`--name=value`), `--` and the arguments before it.
    Raises CometrepError where the ledger or the settings cannot be read.
    """
    kind, *rest = words
    split = rest.index("--") if "--" in rest else len(rest)
    options, given = rest[:split], rest[split + 1 :]
    if kind == "models":
        return _models(current)
    if kind == "inputs":
        return _inputs(_model(options, given), given, current, is_sweep="--sweep" in options)
    if kind == "ids":
        return _beginning(current, _ids(options, given, current, time.time() if now is None else now))
    if kind == "faults":
        return _beginning(current, _faults(current))
    if kind in ("settings", "changeable"):
        return _beginning(current, _settings(can_be_set=kind == "changeable"))
    return _beginning(current, _setting_values(given[0])) if kind == "values" and given else []


def respond(arguments: Sequence[str]) -> bytes:
    """Answer a script: a value, a tab and its description a line; nothing where anything is out of order."""
    from cometrep.text import harmless

    if not arguments:
        return b""
    try:
        found = answers(arguments[:-1] or [""], arguments[-1])
    except (errors.CometrepError, OSError, ValueError):
        return b""
    lines = [
        f"{value}\t{' '.join(harmless(about).split())}\n" for value, about in found if value == harmless(value)
    ]
    return "".join(lines).encode("utf-8", "replace")


def _beginning(start: str, found: Iterator[tuple[str, str]]) -> Answers:
    return [(value, about) for value, about in found if value.lower().startswith(start.lower())]


def _models(current: str) -> Answers:
    """List models by the beginning of their name, else by the beginning of its last part."""
    from cometrep import catalog

    known = [(model.name, model.about) for model in map(catalog.find, catalog.names()) if model]
    return _beginning(current, iter(known)) or [
        (name, about) for name, about in known if name.rpartition("/")[2].startswith(current.lower())
    ]


def _model(options: Sequence[str], given: Sequence[str]) -> str:
    """Find the model whose inputs are asked for: named by an option, the first argument, or a prediction's."""
    named = next((word.partition("=")[2] for word in options if word.startswith(("--model=", "-m="))), "")
    model = named or next(iter(given), "")
    if "/" in model or not model:
        return model
    back = 1 if model == "@last" else int(model[1:]) if re.fullmatch(r"@[1-9]\d{0,5}", model) else 0
    if back:
        recent = _recent(options, limit=back)
        return recent[back - 1].model if back <= len(recent) else ""
    return next((entry.model for entry in _recent(options, model) if entry.id == model), "")


def _inputs(model: str, given: Sequence[str], current: str, *, is_sweep: bool) -> Answers:
    """List a model's inputs not given yet, `name=` or for a picture `name@`; behind `name=` the values it takes.

    In a sweep they come behind a comma too.
    """
    from cometrep import catalog

    known = catalog.find(model)
    if known is None:
        return []
    if item := re.fullmatch(_ITEM, current):
        name, separator = item.groups()
        wanted = known.inputs.get(name)
        values = _input_values(wanted, is_json=separator == ":=") if wanted else ()
        start = (is_sweep and current[: current.rfind(",") + 1]) or name + separator
        return _beginning(current, ((start + value, about) for value, about in values))
    used = {re.split(r"[=:@]", word)[0] for word in given}
    return _beginning(
        current,
        (
            (one.name + ("@" if one.is_image else "="), _told(one))
            for one in known.inputs_in_order()
            if one.kind == "array" or one.name not in used
        ),
    )


def _told(known: "KnownInput") -> str:
    """Say what an input takes, its default and what it is, the part that may be cut off last."""
    facts = [] if known.choices or known.is_image or known.kind == "boolean" else [known.takes]
    facts.append("required" if known.is_required else f"default {known.shown_default}")
    shown = ", ".join(fact for fact in facts if fact not in ("-", "default -"))
    return f"{shown}. {known.about}" if shown else known.about


def _input_values(known: "KnownInput", *, is_json: bool) -> Iterator[tuple[str, str]]:
    """Yield the values worth offering: all choices, both of a switch, few numbers all, else a range's ends."""
    low, high = known.minimum, known.maximum
    values: Iterable[Any] = () if is_json else known.choices
    told = {} if known.kind == "array" else {known.default: "the default"}
    if known.kind == "boolean":
        values = (True, False)
    elif known.kind in ("integer", "number"):
        told = {low: "the least", high: "the most", **told}
        values = sorted({one for one in (low, known.default, high) if one is not None})
        if known.kind == "integer" and low is not None and high is not None and high - low <= _FEW:
            values = range(int(low), int(high) + 1)
    for value in values:
        yield value if isinstance(value, str) else json.dumps(value), told.get(value, "")


def _ids(options: Sequence[str], given: Sequence[str], current: str, now: float) -> Iterator[tuple[str, str]]:
    """Yield `@last` and the newest ids that begin as `current` does, with model, status and age."""
    from cometrep.references import ID_PATTERN

    is_newest = current == "" or current.startswith("@")
    offered = set(given)  # an id may stand in several entries
    for number, entry in enumerate(_recent(options, "" if is_newest else current)):
        about = f"{entry.model.rpartition('/')[2]}, {entry.status}, {_age(now - entry.created)} ago"
        if number == 0 and is_newest and entry.id and "@last" not in given:
            yield "@last", about
        if re.fullmatch(ID_PATTERN, entry.id) and entry.id not in offered:
            offered.add(entry.id)
            yield entry.id, about


def _recent(options: Sequence[str], prefix: str = "", limit: int = _ENOUGH) -> "list[Recent]":
    """List the newest predictions, with ids of this prefix, of the server that the line and the settings name."""
    from cometrep import config, ledger

    base_url = next((word.partition("=")[2] for word in options if word.startswith("--base-url=")), None)
    flags = {"sandbox": "true" if "--sandbox" in options else None, "base_url": base_url}
    return ledger.recent(
        config.folders().ledger_file, is_sandbox=config.load(flags).is_sandboxed, prefix=prefix, limit=limit
    )


def _age(seconds: float) -> str:
    size, unit = next((one for one in _UNITS if seconds >= one[0]), _UNITS[-1])
    return f"{max(0, int(seconds // size))} {unit}"


def _settings(*, can_be_set: bool) -> Iterator[tuple[str, str]]:
    from cometrep import config

    for name, known in config.SETTINGS.items():
        if not (can_be_set and name == "api_key"):  # the key is never an argument
            yield name, known.about


def _faults(current: str) -> Iterator[tuple[str, str]]:
    """Yield the sandbox's faults: at first the kinds alone, then what may stand before and behind one."""
    from cometrep.sandbox.faults import FILE_KINDS, KINDS

    for kind in KINDS:
        yield kind, ""
        if current.startswith(f"{kind}:"):
            yield from (
                (f"{kind}:{count}", told) for count, told in ((1, "once"), (2, "twice"), (3, "three times"))
            )
    for on in ("create", "get", "file") if current else ():
        yield from ((f"{on}:{kind}", "") for kind in KINDS if on == "file" or kind not in FILE_KINDS)


def _setting_values(name: str) -> Iterator[tuple[str, str]]:
    """Yield the values of a setting that has choices; the default of another is no value to set."""
    from cometrep import config
    from cometrep.config.values import PROGRESS_MODES, parse_switch

    known = config.SETTINGS.get(name)
    if known is None:
        return
    switch = ("true", "false") if known.check is parse_switch else ()
    for value in PROGRESS_MODES if name == "progress" else switch:
        yield value, "the default" if value == known.default else ""
