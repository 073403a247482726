"""Ids on stdin, and no more of it than there can be."""

import io
import json
from typing import Any

import pytest

from cometrep import errors, typed_ids
from cometrep.console import Console
from cometrep.typed_ids import expand_ids


class Endless(io.RawIOBase):
    """A file without an end, as /dev/zero is; a program that would read all of it fails."""

    def __init__(self, start: bytes, rest: bytes) -> None:
        self._start = start
        self._rest = rest
        self._given = 0

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer."""
        size = len(buffer)
        buffer[:] = (self._start + self._rest * size)[:size]
        self._start = b""
        self._given += size
        assert self._given < 50_000_000
        return size


def console_of(stdin: io.RawIOBase | io.BytesIO) -> Console:
    """Make a console that has a stdin and nothing else."""
    return Console(io.TextIOWrapper(io.BufferedReader(stdin)), None, None, lambda name: "")


def ids_in(content: bytes) -> list[str]:
    """Give the ids in what stdin holds."""
    stdin = io.TextIOWrapper(io.BytesIO(content))
    return expand_ids(["first", "-"], Console(stdin, None, None, lambda name: ""))[1:]


def test_a_closed_stdin_hints_at_what_was_to_come_from_it() -> None:
    """Who was to give ids is told to name them; there is no file to name in their place."""
    console = Console(None, None, None, lambda name: "")
    with pytest.raises(errors.UsageError, match="stdin is closed") as raised:
        expand_ids(["-"], console)
    assert raised.value.hint == "name the ids instead of -"
    with pytest.raises(errors.UsageError) as raised:
        console.read_stdin(limit_bytes=100)
    assert raised.value.hint == "name a file instead of -"


LONG = "x" * 3_000_000


@pytest.mark.parametrize(
    ("content", "ids"),
    [
        ("a\nb\r\n\n c \nd", ["a", "b", "c", "d"]),
        ("\ufeffa\tsucceeded\nb\tfailed\n", ["a", "b"]),
        (f"a\t{LONG}\nb\n", ["a", "b"]),
        (f"a\n\ufeff{json.dumps({'output': LONG, 'id': 'b'})}\nc", ["a", "b", "c"]),
        ("a-long-id\n" * 150_000, ["a-long-id"] * 150_000),
        ("-\t\nnull\n" + json.dumps({"id": ""}) + "\na", ["a"]),
    ],
    ids=["alone", "table", "long table", "json", "many", "nameless"],
)
def test_ids_are_read_from_lines_of_any_kind(content: str, ids: list[str]) -> None:
    """Alone, before a tab or in JSON, however long it is, and wherever the pieces of stdin end."""
    assert ids_in(content.encode()) == ids


@pytest.mark.parametrize(
    ("start", "rest"),
    [
        (b"", b"\0"),
        (b"a\nb\n", b"x"),
        (b"", b" "),
        (b"a" * 5000 + b"\t", b"x"),
        (b' {"id":"', b"x"),
        (b"a\t", b"x"),
    ],
    ids=["zeros", "text", "spaces", "late tab", "json", "table"],
)
def test_a_line_without_end_is_no_id(start: bytes, rest: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused as soon as it is longer than any line with an id, and not read until memory ends."""
    monkeypatch.setattr(typed_ids, "_LINE_BYTES", 5_000_000)
    with pytest.raises(errors.UsageError, match="a line of stdin is longer than any with") as raised:
        expand_ids(["-"], console_of(Endless(start, rest)))
    assert raised.value.hint == "name the ids instead of -"
