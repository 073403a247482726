"""Read the ids of predictions that come on stdin, where `-` stands for them."""

import contextlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence

from cometrep import errors
from cometrep.console import Console
from cometrep.text import format_count

_NAME_THE_IDS = "name the ids instead of -"
_ID_BYTES = 4096  # of an id, or a URL that ends in one
_LINE_BYTES = 256_000_000  # of --json or a table: four times what the API may answer, as it is escaped


def expand_ids(ids: Sequence[str], console: Console) -> list[str]:
    """Replace `-` by the ids on stdin, one a line: alone, before a tab, or in the JSON of `--json`.

    Lines of `list` and `batch` for creates that gave no id are left out, with a warning.
    """
    expanded: list[str] = []
    nameless = 0
    for id in ids:
        if id != "-":
            expanded.append(id)
            continue
        for line in _lines(console.stdin_pieces("ids", _NAME_THE_IDS)):
            if word := _id_on(line):
                expanded.append(word)
            elif line.strip():
                nameless += 1
    if nameless:
        console.warn(f"{format_count(nameless, 'line')} of stdin left out, of a create that gave no id")
    if not expanded:
        raise errors.UsageError("stdin held no ids", hint="cometrep list")
    return expanded


def _id_on(line: str) -> str:
    """Give what stands for a prediction on a line of stdin, empty where it names none."""
    word = line.split("\t")[0].strip()
    if word.startswith("{"):
        with contextlib.suppress(ValueError, TypeError, KeyError, RecursionError):
            word = str(json.loads(line)["id"] or "")
    return "" if word in ("-", "null") else word  # as `jq -r .id` writes what is none


def _lines(pieces: Iterable[bytes]) -> Iterator[str]:
    """Yield each line of what comes in pieces; raise UsageError as soon as one is longer than any with an id."""
    begun = bytearray()
    for piece in pieces:
        ended, line_break, rest = piece.rpartition(b"\n")
        if line_break:
            yield from map(_text_of, (begun + ended).splitlines())
            begun.clear()
        begun += rest
        _check_length(begun)
    yield from map(_text_of, begun.splitlines())


def _text_of(line: bytearray) -> str:
    _check_length(line)
    return line.decode("utf-8-sig", "replace")


def _check_length(line: bytearray) -> None:
    if len(line) <= _ID_BYTES:
        return
    is_of_several_facts = b"\t" in line[:_ID_BYTES] or re.match(rb"(?:\xef\xbb\xbf)?\s*\{", line)
    if not is_of_several_facts or len(line) > _LINE_BYTES:
        raise errors.UsageError(
            "a line of stdin is longer than any with a prediction id", hint=_NAME_THE_IDS, code="bad_id"
        )
