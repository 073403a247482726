"""Turn values into text that is safe to print and easy to read.

Text that came from a server is made harmless here: no escape sequences, no bidirectional overrides, no CI commands.
"""

import json
import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

_TOLD_CHARACTERS = 4000  # the API's message is cut before, and what stands behind it is to be seen
_UNSAFE = frozenset(
    {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
)  # Unicode's controls, formats, surrogates, unassigned
_CI_COMMAND = r"##(?=\w*\[)"


def harmless(text: str, *, keeps_lines: bool = False) -> str:
    """Make any text safe to print: control, format and surrogate characters become visible escapes.

    Line breaks stay only with `keeps_lines`. What a CI runner would take for a command is broken up: `::` at the
    start of a line and `##[` anywhere (actions/runner: src/Runner.Common/ActionCommand.cs), `##vso[` and the like
    anywhere (microsoft/azure-pipelines-agent: src/Microsoft.VisualStudio.Services.Agent/Command.cs).
    """
    if text.isascii() and text.isprintable() and ":" not in text and "#" not in text:
        return text
    shown = "".join(
        character if character in " \t" or (character == "\n" and keeps_lines) else _visible(character)
        for character in text
    )
    shown = re.sub(_CI_COMMAND, r"#\\x23", shown)
    return re.sub(r"(?m)^([^\S\n]*):(?=:)", r"\1\\x3a", shown)


def _visible(character: str) -> str:
    if unicodedata.category(character) not in _UNSAFE:
        return character
    number = ord(character)
    if character in "\n\r":
        return {"\n": "\\n", "\r": "\\r"}[character]
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def one_line(text: str) -> str:
    """Make any text safe to stand in a line of columns, which tabs part."""
    return harmless(text).replace("\t", " ")


@lru_cache(1000)  # a batch asks the same of each line; bounded, as words are free-form
def nearest(word: str, words: tuple[str, ...], likeness: float = 0.6) -> str:
    """Give the one of some words that a mistyped one is nearest to, in any case, empty where none is near.

    The only one that it is the beginning of is nearer than any that is spelt alike.
    """
    from difflib import get_close_matches

    by_lower = {one.lower(): one for one in words}
    begun = [one for one in by_lower if len(word) > 1 and one.startswith(word.lower())]
    near = begun if len(begun) == 1 else get_close_matches(word.lower(), by_lower, n=1, cutoff=likeness)
    return by_lower[near[0]] if near else ""


def storable(text: str) -> str:
    """Escape what UTF-8 cannot hold, nor SQLite store: lone surrogates of a hostile reply or an odd file name."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def format_bytes(size: float) -> str:
    """Write a size as people read it: `812 bytes`, `1.2 MB`."""
    if size < 1000:
        return format_count(round(size), "byte")
    for unit in ("kB", "MB", "GB"):
        size /= 1000
        if size < 999.95:
            return f"{size:.1f} {unit}"
    return f"{size / 1000:.1f} TB"


def format_count(count: int, word: str, plural: str = "") -> str:
    """Write `1 item`, `2 items`; `plural` where an s does not make it."""
    return f"{count} {word}" if count == 1 else f"{count} {plural or word + 's'}"


def first_few(words: Sequence[str], most: int) -> str:
    """Name the first few of many, and how many more there are."""
    rest = len(words) - most
    return ", ".join(words[:most]) + (f" and {rest} more" if rest > 0 else "")


def cut(text: str, limit: int) -> str:
    """Give so many characters of a text at most, with a sign behind them where something is missing."""
    return text if len(text) <= limit else text[:limit] + "…"


def brief(text: str) -> str:
    """Cut what people are told where a server had more to say than a screen holds; --json keeps all of it."""
    return cut(text, _TOLD_CHARACTERS)


def format_item(number: int, prompt: object) -> str:
    """Name an item of a batch that has no key of its own: by its place, and how its prompt begins."""
    began = f" ({cut(prompt, 40)})" if isinstance(prompt, str) and prompt else ""
    return f"item {number}{began}"


def beside_id(text: str, id: str) -> str:
    """Shorten what is said of a prediction where its id stands beside it, or its place in a batch."""
    return text.removeprefix(f"prediction {id} failed: ").removeprefix(f"prediction {id} ")


def format_elapsed(seconds: float) -> str:
    """Write a span of time as people read it: `6.1 s`, `45 s`, `2 min 5 s`, `1 h 30 min`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min" + (f" {whole % 60} s" if whole % 60 else "")
    return f"{whole // 3600} h" + (f" {whole % 3600 // 60} min" if whole % 3600 // 60 else "")


def format_duration(seconds: float) -> str:
    """Write a span of time as people type it: `0.01s`, `6.1s`, `45s`, `10m`, `1h30m`."""
    if seconds < 10:
        shown = f"{seconds:.1f}" if seconds >= 0.05 else f"{seconds:.3f}"
        return shown.rstrip("0").rstrip(".") + "s"
    whole = round(seconds)
    hours, minutes, rest = whole // 3600, whole % 3600 // 60, whole % 60
    parts = [(hours, "h"), (minutes, "m"), (rest if hours == 0 else 0, "s")]
    return "".join(f"{count}{unit}" for count, unit in parts if count) or "0s"


def ascii_json(value: Any) -> str:
    """Write JSON in printable ASCII, which is harmless on every terminal and in every log, CI's too."""
    return re.sub(_CI_COMMAND, r"#\\u0023", json.dumps(value).replace("\x7f", "\\u007f"))
