"""Show a batch's pictures on one page: thumbnails grouped by a sweep's axes, with inputs, seed and time.

The page stands alone: no network, and a content security policy that lets only its own style and script act, so
that no text of a model or a user becomes more than text. It is made from the records in the folder, which it reads
on from where it stopped; what it holds does not depend on when it was written before.
"""

import base64
import hashlib
import html
import json
import os
import re
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from cometrep import errors
from cometrep.batch.record import read_steps, records_in
from cometrep.names import BATCH_PAGE, fits_locale
from cometrep.partfile import write_whole
from cometrep.sidecar import sidecar_path
from cometrep.text import cut, format_elapsed, harmless

MOST_PICTURES = 5000
_DRAWN_AT_MOST = 3  # times, one after the other, while records grow
_LONGEST_VALUE = 2000  # characters of one input
_LONGEST_LABEL = 200  # characters beneath a picture, and in a heading
_PICTURES = frozenset({".avif", ".bmp", ".gif", ".jpeg", ".jpg", ".png", ".svg", ".webp"})
_MARK = b'<meta name="generator" content="cometrep">'  # stands in every page, so that no other one is replaced
_MARK_WITHIN = 2000  # bytes
_RECORDS = rb'<meta name="cometrep-records" content="([\w.\- ]*)">'
_RECORDS_WITHIN = 10  # lines: there may be very many records


class _Sent(NamedTuple):
    """What one item sent, on its way to the page."""

    time: float = 0.0
    line: int = 0
    model: str = ""
    inputs: Mapping[str, str] = {}
    seed: str = ""
    seconds: float | None = None


class _Shown(NamedTuple):
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


def is_ours(page: Path) -> bool:
    """Say whether a page was written by cometrep; raises OSError."""
    with page.open("rb") as file:
        return _MARK in file.read(_MARK_WITHIN)


def records_of(page: Path) -> list[Path]:
    """List the records that a page of cometrep was drawn from, none for an older one; raises OSError."""
    with page.open("rb") as file:
        found = re.search(_RECORDS, b"".join(islice(file, _RECORDS_WITHIN)))
    return [page.with_name(name) for name in found.group(1).decode().split()] if found else []


class Gallery:
    """The page `index.html` of one folder; `axes` are the inputs that a sweep varies, the last one fastest."""

    def __init__(self, folder: Path, axes: Mapping[str, Sequence[Any]]) -> None:
        self._folder = folder
        self._title = folder.absolute().name or "batch"  # now: the working folder may go
        self._path = folder / BATCH_PAGE
        self._axes = [name for name, values in axes.items() if len(values) > 1]
        self._offsets: dict[Path, int] = {}
        self._records: set[str] = set()  # the names of those that have items
        self._sent: dict[str, _Sent] = {}
        self._shown: dict[str, _Shown] = {}
        self._tiles: dict[str, tuple[_Shown, bytes]] = {}  # by key: what each item's part of the page is made from
        self._left_out = 0
        self._is_stale = False
        self._is_written = self._is_refused = False

    def write(self) -> None:
        """Bring the page up to date, if there is a picture.

        Raises LocalFileError where it cannot be written, and once where the folder has another `index.html`.
        """
        if self._is_refused:
            return
        for _ in range(_DRAWN_AT_MOST):  # once more where it took the place of one that a shard drew of more
            self._read_on()
            if not self._is_stale:
                return
            pieces = self._page()
            if not self._is_there(pieces):
                write_whole(self._path, pieces)
            self._is_stale, self._is_written = False, True

    def told(self) -> list[str]:
        """Say where the page is, if there is one."""
        return [f"  pictures: {self._path}"] if self._is_written else []

    def _is_there(self, pieces: Sequence[bytes]) -> bool:
        """Say whether the page holds that already; refuse to replace what is no page of cometrep."""
        try:
            if self._path.exists() and not self._path.is_file():
                raise self._refusal()
            with self._path.open("rb") as file:
                start = file.read(_MARK_WITHIN)
                if start and _MARK not in start:
                    raise self._refusal()
                file.seek(0)
                is_as_long = os.fstat(file.fileno()).st_size == sum(map(len, pieces))
                return is_as_long and all(file.read(len(piece)) == piece for piece in pieces)
        except FileNotFoundError:
            return False
        except OSError as problem:
            raise errors.LocalFileError(
                f"cannot write {self._path}: {problem.strerror}", code=errors.file_code(problem)
            ) from problem

    def _refusal(self) -> errors.LocalFileError:
        self._is_refused = True
        return errors.LocalFileError(
            f"{self._path} is no page of cometrep and stays as it is; the pictures are not shown on a page",
            code="file_exists",
        )

    # Reading the records

    def _read_on(self) -> None:
        """Read what the records hold beyond what was read."""
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

    def _take(self, step: Mapping[str, Any], record: str) -> None:
        key, name = str(step.get("key", "")), step["step"]
        if key and record not in self._records:
            self._records.add(record)
            self._is_stale = bool(self._shown) or self._is_stale
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
            self._is_stale = True
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
        shown = _Shown(key, str(step.get("id", "")), sent, saved, record, files, pictures)
        if shown.pictures:
            self._shown[key] = shown
        elif not self._shown.pop(key, None):
            return
        self._is_stale = True
        if len(self._shown) > MOST_PICTURES * 6 // 5:
            self._leave_out()

    def _leave_out(self) -> None:
        """Forget the items beyond what the page holds: always the last ones, however the records were read."""
        if sum(len(one.pictures) for one in self._shown.values()) <= MOST_PICTURES:
            return
        count = 0
        for one in self._in_order():
            count += len(one.pictures)
            if count > MOST_PICTURES:
                self._left_out += len(self._shown.pop(one.key).pictures)

    def _in_order(self) -> list[_Shown]:
        return sorted(self._shown.values(), key=lambda one: one.place)

    # Writing the page

    def _page(self) -> list[bytes]:
        """Give the page in pieces, most of them tiles: as one it would take as much memory again."""
        shown = self._in_order()
        self._tiles = {one.key: self._drawn(one) for one in shown}
        style, script = _asset("gallery.css"), _asset("gallery.js")
        parts = {
            "records": " ".join(sorted(self._records)),
            "policy": "default-src 'none'; img-src 'self' file:; base-uri 'none'; form-action 'none';"
            f" style-src '{_hash_of(style)}'; script-src '{_hash_of(script)}'",
            "title": _escaped(self._title),
            "summary": _escaped(self._summary(shown)),
            "style": style,
            "script": script,
        }
        before, after = (_encoded(piece.format(**parts)) for piece in _asset("gallery.html").split("{sections}"))
        return [before, *self._sections(shown), after]

    def _drawn(self, one: _Shown) -> tuple[_Shown, bytes]:
        """Draw an item, unless it was drawn before: thousands take a while, and a batch waits for its page."""
        before = self._tiles.get(one.key)
        return before if before and before[0] is one else (one, _encoded("".join(self._figures(one))))

    def _summary(self, shown: Sequence[_Shown]) -> str:
        count = sum(len(one.pictures) for one in shown)
        words = [f"{_counted(count, 'picture')} of {_counted(len(shown), 'item')}"]
        words += [f"{_counted(self._left_out, 'more picture')} in the folder not shown"] * bool(self._left_out)
        models = {one.sent.model for one in shown}
        words += models if len(models) == 1 and "" not in models else []
        newest = max((one.saved for one in shown), default=0.0)
        words.append(time.strftime("newest %Y-%m-%d %H:%M UTC", time.gmtime(newest)))
        return " · ".join(words)

    def _sections(self, shown: Sequence[_Shown]) -> Iterable[bytes]:
        # The first axis heads the sections and the last one labels the pictures; those between head the rows.
        outer, inner = (self._axes[:1], self._axes[1:-1]) if len(self._axes) > 1 else ([], [])
        for section in _grouped(shown, outer):
            yield _encoded(f"<section>\n{_heading('h2', section[0], outer)}")
            for row in _grouped(section, inner):
                yield _encoded(f'{_heading("h3", row[0], inner)}<div class="tiles">\n')
                for one in row:
                    yield self._tiles[one.key][1]
                yield b"</div>\n"
            yield b"</section>\n"

    def _figures(self, one: _Shown) -> Iterable[str]:
        sent = one.sent
        prompt = sent.inputs.get("prompt") or one.key
        label = _values(one, self._axes[-1:]) or f"<b>{_escaped(cut(prompt, _LONGEST_LABEL))}</b>"
        name = ", ".join([f"{axis} {sent.inputs.get(axis, '')}" for axis in self._axes if axis != "prompt"])
        alt = _escaped(cut(f"{name}: {prompt}" if name else prompt, _LONGEST_LABEL))
        seed = sent.inputs.get("seed") or sent.seed
        facts = [f"seed {seed}"] if seed and self._axes[-1:] != ["seed"] else []
        facts += [format_elapsed(sent.seconds)] if sent.seconds is not None else []
        inputs = [*sent.inputs.items(), ("model", sent.model), ("key", one.key), ("prediction", one.id)]
        rows = "".join(
            f'<dt>{_escaped(name)}</dt><dd dir="auto">{_escaped(value)}</dd>' for name, value in inputs if value
        )
        sidecar = sidecar_path(Path(one.files[0]).parent, one.id)
        has_sidecar = os.path.exists(self._folder / sidecar)
        links = [(str(sidecar), "sidecar")] if has_sidecar else []
        links += [(path, Path(path).suffix[1:] or "other") for path in one.files if path not in one.pictures]
        shown = "".join(f'<a href="{_href(path)}">{_escaped(word)}</a>' for path, word in links)
        for number, path in enumerate(one.pictures, 1):
            href = _href(path)
            place = [f"{number} of {len(one.pictures)}"] if len(one.pictures) > 1 else []
            yield (
                f'<figure><a href="{href}"><img loading="lazy" decoding="async" src="{href}" alt="{alt}"></a>'
                f'<figcaption><div class="label" dir="auto">{label}</div>'
                f'<div class="facts">{_escaped(" · ".join(facts + place))}</div>'
                f'<div class="links"><a href="{href}">file</a>{shown}'
                f"<details><summary>inputs</summary><dl>{rows}</dl></details></div></figcaption></figure>\n"
            )


def _grouped(shown: Iterable[_Shown], axes: Sequence[str]) -> Iterable[list[_Shown]]:
    """Group items by their values of some axes; an earlier sweep's items may stand between those of this one."""
    groups: dict[tuple[str, ...], list[_Shown]] = {}
    for one in shown:
        groups.setdefault(tuple(one.sent.inputs.get(axis, "") for axis in axes), []).append(one)
    return groups.values()


def _heading(tag: str, one: _Shown, axes: Sequence[str]) -> str:
    return f'<{tag} dir="auto">{_values(one, axes)}</{tag}>\n' if axes else ""


def _values(one: _Shown, axes: Sequence[str]) -> str:
    """Write an item's values of some axes, as HTML."""
    values = [(axis, cut(one.sent.inputs.get(axis, "") or "-", _LONGEST_LABEL)) for axis in axes]
    return " ".join(f"<span>{_escaped(axis)}</span> <b>{_escaped(value)}</b>" for axis, value in values)


def _text(value: Any) -> str:
    return cut(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), _LONGEST_VALUE)


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _number(value: Any) -> float | None:
    """Take a number from a record, where it is one that a clock could show."""
    is_number = isinstance(value, (int, float)) and 0 <= value < 1e11  # nor is NaN
    return float(value) if is_number else None


def _is_picture(file: Mapping[str, Any]) -> bool:
    """Say whether a browser shows a file, by its name or, where that says nothing, by its type."""
    extension = os.path.splitext(str(file["path"]))[1].lower()  # noqa: PTH122 - ten times as fast, for many files
    return extension in _PICTURES or (not extension and str(file.get("content_type", "")).startswith("image/"))


def _href(path: str) -> str:
    """Write a path, relative to the page or absolute, as a URL: never one of another scheme or host."""
    if not fits_locale(path):  # it was saved in another one, which was UTF-8
        path = os.fsdecode(path.encode())
    if Path(path).is_absolute():
        return Path(path).as_uri()
    return "./" + quote(os.fsencode(path.replace(os.sep, "/")), safe="/")


def _escaped(text: str) -> str:
    return html.escape(harmless(text.replace("\r\n", "\n"), keeps_lines=True))


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")


def _asset(name: str) -> str:
    return Path(__file__).with_name(name).read_text("utf-8")


def _hash_of(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
