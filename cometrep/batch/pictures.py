"""Read from a batch's records which pictures there are, and what each item sent for them.

The records grow meanwhile: each is read on from where that stopped.
"""

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from cometrep import errors
from cometrep.batch.steps import read_steps, records_in
from cometrep.text import cut

MOST_PICTURES = 5000  # on one page
_LONGEST_VALUE = 2000  # characters of one input
_PICTURES = frozenset({".avif", ".bmp", ".gif", ".jpeg", ".jpg", ".png", ".svg", ".webp"})


class _Sent(NamedTuple):
    """What one item sent, on its way to the page."""

    time: float = 0.0
    line: int = 0
    model: str = ""
    inputs: Mapping[str, str] = {}
    seed: str = ""
    seconds: float | None = None


class Shown(NamedTuple):
    """One item on the page."""

    key: str
    id: str
    sent: _Sent
    saved: float
    record: str
    files: tuple[str, ...]
    pictures: tuple[str, ...]  # those of its files that a browser shows

    @property
    def place(self) -> tuple[int, str]:
        """Where it stands among the others: as in the batch's file or sweep."""
        return self.sent.line, self.key


class Pictures:
    """The items of one folder that have pictures. `records` are the names of those records that have items."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._offsets: dict[Path, int] = {}
        self._sent: dict[str, _Sent] = {}
        self._shown: dict[str, Shown] = {}
        self._is_changed = False
        self.records: set[str] = set()
        self.left_out = 0

    def read_on(self) -> bool:
        """Read what the records hold beyond what was read, and say whether there is news; raises LocalFileError."""
        try:
            for path in records_in(self._folder):
                for step, offset in read_steps(path, self._offsets.get(path, 0)):
                    self._offsets[path] = offset
                    self._take(step, path.name)
        except OSError as problem:
            raise errors.LocalFileError(
                f"cannot read the records in {self._folder}: {problem.strerror}"
            ) from problem
        self._leave_out()
        is_changed, self._is_changed = self._is_changed, False
        return is_changed

    def _take(self, step: Mapping[str, Any], record: str) -> None:
        key, name = str(step.get("key", "")), step["step"]
        if key and record not in self.records:
            self.records.add(record)
            self._is_changed = bool(self._shown) or self._is_changed
        if name == "sending":
            self._take_sent(key, step, record)
        elif name == "ended" and step.get("status") == "succeeded":
            seed = step.get("seed")
            self._sent[key] = self._sent.get(key, _Sent())._replace(
                seconds=_number(step.get("seconds")), seed=str(seed) if isinstance(seed, int) else ""
            )
        elif name == "saved":
            self._take_saved(key, step, record)
        elif name in ("doubt", "ended", "lost", "refused", "unsent"):
            self._sent.pop(key, None)

    def _take_sent(self, key: str, step: Mapping[str, Any], record: str) -> None:
        line, values = step.get("line"), step.get("input")
        sent = _Sent(
            _number(step.get("time")) or 0.0,
            line if isinstance(line, int) else 0,
            sys.intern(str(step.get("model", ""))),
            {sys.intern(name): _text(value) for name, value in values.items()}
            if isinstance(values, Mapping)
            else {},
        )
        shown = self._shown.get(key)
        if shown and shown.record != record and shown.sent.time <= sent.time <= shown.saved:
            # One run sent it and another saved it, whose record was read first.
            sent = sent._replace(seed=shown.sent.seed, seconds=shown.sent.seconds)
            self._shown[key] = shown._replace(sent=sent)
            self._is_changed = True
        else:
            self._sent[key] = sent

    def _take_saved(self, key: str, step: Mapping[str, Any], record: str) -> None:
        sent = self._sent.pop(key, _Sent())
        saved = _number(step.get("time")) or 0.0
        before = self._shown.get(key)
        if before and before.record != record and (before.saved, before.record) > (saved, record):
            return  # within one record the order counts, between records the time
        files = tuple(str(file["path"]) for file in step.get("files", ()))
        pictures = tuple(str(file["path"]) for file in step.get("files", ()) if _is_picture(file))
        pictures = files if pictures == files else pictures  # of thousands, one tuple counts
        shown = Shown(key, str(step.get("id", "")), sent, saved, record, files, pictures)
        if shown.pictures:
            self._shown[key] = shown
        elif not self._shown.pop(key, None):
            return
        self._is_changed = True
        if len(self._shown) > MOST_PICTURES * 6 // 5:
            self._leave_out()

    def _leave_out(self) -> None:
        """Forget the items beyond what one page holds: always the last ones, however the records were read."""
        if sum(len(one.pictures) for one in self._shown.values()) <= MOST_PICTURES:
            return
        count = 0
        for one in self.in_order():
            count += len(one.pictures)
            if count > MOST_PICTURES:
                self.left_out += len(self._shown.pop(one.key).pictures)

    def in_order(self) -> list[Shown]:
        """Give the items as they stand in the batch's file or sweep."""
        return sorted(self._shown.values(), key=lambda one: one.place)


def _text(value: Any) -> str:
    return cut(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), _LONGEST_VALUE)


def _number(value: Any) -> float | None:
    """Take a number from a record, where it is one that a clock could show."""
    is_number = isinstance(value, (int, float)) and 0 <= value < 1e11  # nor is NaN
    return float(value) if is_number else None


def _is_picture(file: Mapping[str, Any]) -> bool:
    """Say whether a browser shows a file, by its name or, where that says nothing, by its type."""
    extension = os.path.splitext(str(file["path"]))[1].lower()  # noqa: PTH122 - ten times as fast, for many files
    return extension in _PICTURES or (not extension and str(file.get("content_type", "")).startswith("image/"))
