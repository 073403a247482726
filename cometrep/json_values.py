"""JSON values: read them, a server's as far as they go and a user's strictly, walk them and limit their depth."""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

DEPTH_LIMIT = 100  # levels of JSON; far above any real one, far below what recursion survives
_MOST_DIGITS = 4300  # of a number that Python reads


def parse_json(text: str) -> Any:
    """Read the JSON of a server; None where it is none.

    What JSON cannot say again, as NaN or a number beyond all, is null: the rest beside it is not lost. Nor is it
    for a line break or a tab that stands in a text as it is.
    """
    try:
        return json.loads(
            text, parse_constant=lambda _: None, parse_float=_finite_or_null, parse_int=_whole_or_null, strict=False
        )
    except (ValueError, RecursionError):
        return None


def _whole_or_null(text: str) -> int | None:
    return int(text) if len(text) <= _MOST_DIGITS else None


def _finite_or_null(text: str) -> float | None:
    number = float(text)  # infinity for 1e999
    return number if math.isfinite(number) else None


def strict_json(text: str) -> Any:
    """Read JSON; raise ValueError for what could not be sent as it stands: 1e999, NaN, a name that stands twice.

    And for what is nested more deeply than all that looks through it can follow.
    """
    try:
        value = _decoder().decode(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except json.JSONDecodeError as problem:
        line = f"line {problem.lineno}, " if "\n" in text else ""
        raise ValueError(f"{problem.msg} ({line}column {problem.colno})") from None
    except ValueError as problem:
        if "integer string conversion" not in str(problem):
            raise
        raise ValueError("a number has too many digits") from None  # Python reads no more than 4300
    # Each level has a bracket of its own, and to count them takes a tenth of the time.
    if text.count("{") + text.count("[") >= DEPTH_LIMIT and is_nested_too_deeply(value):
        raise ValueError("nested too deeply")
    return value


@cache
def _decoder() -> json.JSONDecoder:
    # Made once: json.loads makes a new one for each call that has options.
    return json.JSONDecoder(parse_constant=_refuse, parse_float=_finite, object_pairs_hook=_object)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is too large a number")
    return number


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} stands in it twice")
    return values


def _refuse(word: str) -> Any:
    raise ValueError(f"{word} is not JSON")


def leaves(value: Any) -> Iterator[Any]:
    """Give all that a JSON value holds in its lists and objects, in order; no reply is nested too deeply for it."""
    if isinstance(value, (Mapping, list)):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from leaves(item)
    else:
        yield value


def change_texts(value: Any, change: Callable[[str], str]) -> Any:
    """Give a JSON value with every text in it changed, names too; its lists and objects are changed in place."""
    whole = [value]
    left: list[Any] = [whole]  # no recursion: it may be nested deeply
    while left:
        item = left.pop()
        if isinstance(item, dict):
            pairs = [(change(name), change(one) if isinstance(one, str) else one) for name, one in item.items()]
            item.clear()
            item.update(pairs)
            left += item.values()
        elif isinstance(item, list):
            item[:] = [change(one) if isinstance(one, str) else one for one in item]
            left += item
    return whole[0]


def is_nested_too_deeply(value: Any) -> bool:
    """Say whether a JSON value is nested more than `DEPTH_LIMIT` levels deep."""
    return any(isinstance(item, (dict, list)) and item for item in _deepest(value))


def cut_down(value: Any) -> None:
    """Empty what stands at the `DEPTH_LIMIT`-th level of a JSON value: above it may be an id that is paid for."""
    for item in _deepest(value):
        if isinstance(item, (dict, list)):
            item.clear()


def _deepest(value: Any) -> list[Any]:
    """List the items of a JSON value at its `DEPTH_LIMIT`-th level, of most values none."""
    level = [value]
    for _ in range(DEPTH_LIMIT - 1):
        level = [
            child
            for item in level
            if isinstance(item, (dict, list))
            for child in (item.values() if isinstance(item, dict) else item)
        ]
        if not level:
            break
    return level
