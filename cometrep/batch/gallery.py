"""Show a batch's pictures on one page: thumbnails grouped by a sweep's axes, with inputs, seed and time.

The page stands alone: no network, and a content security policy that lets only its own style and script act, so
that no text of a model or a user becomes more than text. It is made from the records in the folder; what it holds
does not depend on when it was written before.
"""

import base64
import contextlib
import hashlib
import html
import os
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import quote

from cometrep import errors
from cometrep.batch.pictures import Pictures, Shown
from cometrep.names import BATCH_PAGE, fits_locale
from cometrep.sidecar import sidecar_path
from cometrep.small_files import write_whole
from cometrep.text import cut, format_elapsed, harmless

_DRAWN_AT_MOST = 3  # times, one after the other, while records grow
_LONGEST_LABEL = 200  # characters beneath a picture, and in a heading
_MARK = b'<meta name="generator" content="cometrep">'  # stands in every page, so that no other one is replaced
_MARK_WITHIN = 2000  # bytes
_RECORDS = rb'<meta name="cometrep-records" content="([\w.\- ]*)">'
_RECORDS_WITHIN = 10  # lines: there may be very many records


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
        self._title = folder.name or "batch"
        with contextlib.suppress(OSError):  # as the working folder is gone; it may go later too
            self._title = folder.absolute().name or "batch"
        self._path = folder / BATCH_PAGE
        self._axes = [name for name, values in axes.items() if len(values) > 1]
        self._pictures = Pictures(folder)
        self._tiles: dict[str, tuple[Shown, bytes]] = {}  # by key: what each item's part of the page is made from
        self._is_stale = False
        self._is_written = self._is_refused = False
        # Now, and not as the page is written: an upgrade may take them away while a batch runs, or change them.
        self._frame, self._style, self._script = map(_asset, ("gallery.html", "gallery.css", "gallery.js"))

    def write(self) -> None:
        """Bring the page up to date, if there is a picture.

        Raises LocalFileError where it cannot be written, and once where the folder has another `index.html`.
        """
        if self._is_refused:
            return
        for _ in range(_DRAWN_AT_MOST):  # once more where it took the place of one that a shard drew of more
            self._is_stale = self._pictures.read_on() or self._is_stale
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

    def _page(self) -> list[bytes]:
        """Give the page in pieces, most of them tiles: as one it would take as much memory again."""
        shown = self._pictures.in_order()
        self._tiles = {one.key: self._drawn(one) for one in shown}
        parts = {
            "records": " ".join(sorted(self._pictures.records)),
            "policy": "default-src 'none'; img-src 'self' file:; base-uri 'none'; form-action 'none';"
            f" style-src '{_hash_of(self._style)}'; script-src '{_hash_of(self._script)}'",
            "title": _escaped(self._title),
            "summary": _escaped(self._summary(shown)),
            "style": self._style,
            "script": self._script,
        }
        before, after = (_encoded(piece.format(**parts)) for piece in self._frame.split("{sections}"))
        return [before, *self._sections(shown), after]

    def _drawn(self, one: Shown) -> tuple[Shown, bytes]:
        """Draw an item, unless it was drawn before: thousands take a while, and a batch waits for its page."""
        before = self._tiles.get(one.key)
        return before if before and before[0] is one else (one, _encoded("".join(self._figures(one))))

    def _summary(self, shown: Sequence[Shown]) -> str:
        count = sum(len(one.pictures) for one in shown)
        words = [f"{_counted(count, 'picture')} of {_counted(len(shown), 'item')}"]
        words += [f"{_counted(self._pictures.left_out, 'more picture')} in the folder not shown"] * bool(
            self._pictures.left_out
        )
        models = {one.sent.model for one in shown}
        words += models if len(models) == 1 and "" not in models else []
        newest = max((one.saved for one in shown), default=0.0)
        words.append(time.strftime("newest %Y-%m-%d %H:%M UTC", time.gmtime(newest)))
        return " · ".join(words)

    def _sections(self, shown: Sequence[Shown]) -> Iterable[bytes]:
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

    def _figures(self, one: Shown) -> Iterable[str]:
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


def _grouped(shown: Iterable[Shown], axes: Sequence[str]) -> Iterable[list[Shown]]:
    """Group items by their values of some axes; an earlier sweep's items may stand between those of this one."""
    groups: dict[tuple[str, ...], list[Shown]] = {}
    for one in shown:
        groups.setdefault(tuple(one.sent.inputs.get(axis, "") for axis in axes), []).append(one)
    return groups.values()


def _heading(tag: str, one: Shown, axes: Sequence[str]) -> str:
    return f'<{tag} dir="auto">{_values(one, axes)}</{tag}>\n' if axes else ""


def _values(one: Shown, axes: Sequence[str]) -> str:
    """Write an item's values of some axes, as HTML."""
    values = [(axis, cut(one.sent.inputs.get(axis, "") or "-", _LONGEST_LABEL)) for axis in axes]
    return " ".join(f"<span>{_escaped(axis)}</span> <b>{_escaped(value)}</b>" for axis, value in values)


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


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
