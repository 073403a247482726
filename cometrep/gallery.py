"""Show a batch's pictures on one page: thumbnails grouped by a sweep's axes, with inputs, seed and time.

The page stands alone: no network, and a content security policy that lets only its own style and script act, so
that no text of a model or a user becomes more than text. It is made from the records in the folder, which it reads
on from where it stopped; the newest state of a record is on the page a moment after it is written.
"""

import base64
import hashlib
import html
import itertools
import json
import os
import time
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from cometrep.download import write_whole
from cometrep.record import read_steps, records_in
from cometrep.text import format_elapsed, harmless

MOST_PICTURES = 5000
LONGEST_VALUE = 2000  # characters of one input
_PICTURES = frozenset({".avif", ".bmp", ".gif", ".jpeg", ".jpg", ".png", ".svg", ".webp"})


class _Sent(NamedTuple):
    """What one item sent, on its way to the page."""

    line: int
    model: str
    inputs: Mapping[str, str]
    seed: str = ""
    seconds: float | None = None


class _Shown(NamedTuple):
    """One item on the page."""

    key: str
    id: str
    sent: _Sent
    saved: float
    files: tuple[str, ...]


class Gallery:
    """The page `index.html` of one folder; `axes` are the inputs that a sweep varies, the last one fastest."""

    def __init__(self, folder: Path, axes: Mapping[str, Sequence[Any]]) -> None:
        self._path = folder / "index.html"
        self._axes = [name for name, values in axes.items() if len(values) > 1]
        self._offsets: dict[Path, int] = {}
        self._sent: dict[str, _Sent] = {}
        self._shown: dict[str, _Shown] = {}
        self._left_out = 0
        self._is_written = False

    def write(self) -> None:
        """Bring the page up to date, if there is a picture; raise LocalFileError where it cannot be written."""
        if self._read_on():
            write_whole(self._path, self._page().encode("utf-8", "backslashreplace"))
            self._is_written = True

    def told(self) -> list[str]:
        """Say where the page is, if there is one."""
        return [f"  pictures: {self._path}"] if self._is_written else []

    def _read_on(self) -> bool:
        """Read what the records hold beyond what was read; say whether the page changes."""
        is_changed = False
        for path in records_in(self._path.parent):
            for step, offset in read_steps(path, self._offsets.get(path, 0)):
                self._offsets[path] = offset
                is_changed |= self._take(step)
        return is_changed

    def _take(self, step: Mapping[str, Any]) -> bool:
        key, name = str(step.get("key", "")), step["step"]
        if name == "sending":
            self._sent[key] = _sent(step)
        elif name == "ended" and key in self._sent:
            seconds, seed = step.get("seconds"), step.get("seed")
            self._sent[key] = self._sent[key]._replace(
                seconds=seconds if isinstance(seconds, (int, float)) else None,
                seed=str(seed) if isinstance(seed, int) else "",
            )
        elif name == "saved":
            return self._take_saved(key, step)
        elif name in ("refused", "lost"):
            self._sent.pop(key, None)
        return False

    def _take_saved(self, key: str, step: Mapping[str, Any]) -> bool:
        sent = self._sent.pop(key, None) or _Sent(0, "", {})
        paths = tuple(str(file["path"]) for file in step.get("files", ()))
        if not any(_is_picture(path) for path in paths):
            return False
        if len(self._shown) >= MOST_PICTURES and key not in self._shown:
            self._left_out += 1
        else:
            self._shown[key] = _Shown(key, str(step.get("id", "")), sent, float(step.get("time", 0)), paths)
        return True

    def _page(self) -> str:
        shown = sorted(self._shown.values(), key=lambda one: (one.sent.line, one.key))
        # The first axis heads the sections and the last one labels the pictures; those between head the rows.
        outer, inner, _ = self._axes[:1], self._axes[1:-1], self._axes[-1:]
        outer = outer if len(self._axes) > 1 else []
        sections = []
        for heading, section in itertools.groupby(shown, key=lambda one: _values(one, outer)):
            rows = []
            for subheading, row in itertools.groupby(section, key=lambda one: _values(one, inner)):
                title = f"<h3>{_escaped(subheading)}</h3>\n" if subheading else ""
                rows.append(f'{title}<div class="tiles">\n{"".join(self._tiles(one) for one in row)}</div>\n')
            title = f"<h2>{_escaped(heading)}</h2>\n" if heading else ""
            sections.append(f"<section>{title}{''.join(rows)}</section>\n")
        style, script = _asset("gallery.css"), _asset("gallery.js")
        count = sum(_is_picture(path) for one in shown for path in one.files)
        left_out = f", and {self._left_out} more items in the folder" if self._left_out else ""
        moment = time.strftime("%Y-%m-%d %H:%M", time.gmtime(max((one.saved for one in shown), default=0)))
        parts = {
            "policy": "default-src 'none'; img-src 'self' file:; base-uri 'none'; form-action 'none';"
            f" style-src '{_hash_of(style)}'; script-src '{_hash_of(script)}'",
            "title": _escaped(self._path.absolute().parent.name or "batch"),
            "summary": _escaped(f"{count} pictures of {len(shown)} items{left_out}; the newest of {moment} UTC"),
            "style": style,
            "script": script,
            "sections": "".join(sections),
        }
        pieces = _asset("gallery.html").split("{")
        return pieces[0] + "".join(_filled(piece, parts) for piece in pieces[1:])

    def _tiles(self, one: _Shown) -> str:
        label = _values(one, self._axes[-1:]) or one.sent.inputs.get("prompt", one.key)
        seed = one.sent.inputs.get("seed", "") or one.sent.seed
        facts = [f"seed {seed}"] if seed else []
        facts += [format_elapsed(one.sent.seconds)] if one.sent.seconds is not None else []
        inputs = {"key": one.key, "model": one.sent.model, **one.sent.inputs}
        rows = "".join(
            f"<dt>{_escaped(name)}</dt><dd>{_escaped(value)}</dd>" for name, value in inputs.items() if value
        )
        sidecar = Path(one.files[0]).parent / f"{one.id}.cometrep.json"
        links = f'<a href="{_href(str(sidecar))}">sidecar</a>' if (self._path.parent / sidecar).exists() else ""
        tiles = []
        for path in one.files:
            href = _href(path)
            image = f'<img loading="lazy" decoding="async" src="{href}" alt="{_escaped(label)}">'
            tiles.append(
                f'<figure><a href="{href}">{image if _is_picture(path) else ""}</a><figcaption>'
                f'<div class="label">{_escaped(label)}</div>'
                f'<div class="facts">{_escaped(", ".join(facts))} <a href="{href}">file</a>{links}</div>'
                f"<details><summary>inputs</summary><dl>{rows}</dl></details></figcaption></figure>\n"
            )
        return "".join(tiles)


def _sent(step: Mapping[str, Any]) -> _Sent:
    values = step.get("input")
    line = step.get("line")
    return _Sent(
        line if isinstance(line, int) else 0,
        str(step.get("model", "")),
        {name: _text(value) for name, value in values.items()} if isinstance(values, Mapping) else {},
    )


def _values(one: _Shown, axes: Sequence[str]) -> str:
    return ", ".join(f"{axis}: {one.sent.inputs.get(axis, '')}" for axis in axes)


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST_VALUE else text[:LONGEST_VALUE] + "…"


def _is_picture(path: str) -> bool:
    return Path(path).suffix.lower() in _PICTURES


def _href(path: str) -> str:
    """Write a path, relative to the page or absolute, as the value of an attribute: never another scheme."""
    shown = quote(path.replace(os.sep, "/").encode("utf-8", "surrogateescape"), safe="/~")
    return shown if shown.startswith("/") else f"./{shown}"


def _escaped(text: str) -> str:
    return html.escape(harmless(text))


def _filled(piece: str, parts: Mapping[str, str]) -> str:
    name, _, rest = piece.partition("}")
    return parts[name] + rest


def _asset(name: str) -> str:
    return resources.files("cometrep").joinpath(name).read_text("utf-8")


def _hash_of(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
