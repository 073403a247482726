"""Turn `key=value`, `key:=json`, `key@file` and JSON into an input mapping.

The grammar is httpie's (https://httpie.io/docs/cli/request-items), for a JSON body only: the first separator
of an item decides, a backslash escapes a separator in a key, and a value is never looked into.
"""

import contextlib
import json
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any, NamedTuple

from cometrep import errors, formats, hints
from cometrep.data_uris import text_sizes
from cometrep.hiding import masked
from cometrep.json_values import strict_json
from cometrep.prediction import is_url
from cometrep.text import cut

ReadStdin = Callable[[], bytes]
"""Reads all of stdin, of one value no more than a byte beyond REFUSE_BYTES, and refuses to do so twice."""

# Replicate's OpenAPI text allows data URIs of 256 kB, its input-files page 1 MB, and its Node client refuses
# more than 10,000,000 bytes of files in all (replicate/replicate-javascript: lib/util.js). Sizes are those of the
# content, before base64.
_WARN_BYTES = 256_000
_WARN_AGAIN_BYTES = 1_000_000
REFUSE_BYTES = 10_000_000

_SEPARATORS = (":=@", ":=", "=@", "=", "@")  # longest first at one place
_BOOLEANS = {
    "true": True,
    "yes": True,
    "on": True,
    "1": True,
    "false": False,
    "no": False,
    "off": False,
    "0": False,
}
_SEVERAL_NUMBERS = r"-?\d+\.\.-?\d+(?:\.\.\d+)?$|-?[\d.]+,"  # as a sweep has them
_FILE_NAME = r"\S*/\S*|\S+\.\w{1,10}"
_HINT_CHARACTERS = 200
_BESIDE_INPUT = frozenset({"version", "model", "stream", "webhook", "webhook_events_filter"})
_INTEGER = r"[+-]?\d{1,4000}"
_NUMBER = r"(?i)[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?"


class Item(NamedTuple):
    """One INPUT item, split: `separator` is one of `=`, `:=`, `=@`, `:=@`, `@`."""

    key: str
    separator: str
    value: str


class BuiltInput(NamedTuple):
    """The input mapping as it will be sent, and what the user should be told about it."""

    values: dict[str, Any]
    warnings: tuple[str, ...] = ()


def split_item(text: str) -> Item:
    r"""Split an item at its first separator; raise UsageError where it has none or no key.

    `\` before a separator character in the key makes it part of the key. A text value that begins with `\@`
    means a leading `@`, since `key=@…` names a file.
    """
    _refuse_object(text, _short(text), "no INPUT item")
    key: list[str] = []
    at = 0
    while at < len(text):
        if text[at] == "\\" and text[at + 1 : at + 2] in ("=", ":", "@", "\\"):
            key.append(text[at + 1])
            at += 2
            continue
        separator = next((s for s in _SEPARATORS if text.startswith(s, at)), "")
        if separator:
            value = text[at + len(separator) :]
            if not key:
                break
            if separator == "=" and re.match(r"\\+@", value):
                value = value[1:]
            return Item("".join(key), separator, value)
        key.append(text[at])
        at += 1
    lack = "name" if at < len(text) else "="
    if lack == "=" and re.fullmatch(r"\S+", text):
        lack += "; text with spaces goes in quotes"
    raise errors.UsageError(
        f"{_short(text)} is not an input: it has no {lack}",
        hint="write prompt='A red fox', or name:=json, name=@textfile, name@file",
        code="bad_input",
    )


def build_input(
    items: Sequence[str],
    *,
    base: Mapping[str, Any] | None = None,
    kind_of: Callable[[str], str],
    read_stdin: ReadStdin,
) -> BuiltInput:
    """Build the input mapping from INPUT items laid over a base mapping.

    `kind_of` names the JSON kind that the catalog knows for a key ("" where it knows none). Files are read
    here, so that a missing one is reported before anything is sent. Raises UsageError.
    """
    values: dict[str, Any] = {}
    for text in items:
        item = split_item(text)
        kind = kind_of(item.key)
        value = value_of(item, kind, read_stdin)
        if item.key not in values:
            values[item.key] = value
        elif kind == "array":
            values[item.key] = [*_as_list(values[item.key]), *_as_list(value)]
        else:
            raise errors.UsageError(
                f"input {item.key!r} is given twice, and it is not known as a list",
                hint=f"give it once, or as JSON: {item.key}:='[…]'",
                code="bad_input",
            )
    merged = {**(base or {}), **values}
    return BuiltInput(merged, tuple(size_warnings(merged)))


def read_base(name: str, read_stdin: ReadStdin) -> dict[str, Any]:
    """Read a JSON object of inputs from a file, or from stdin for `-`; raise UsageError."""
    _refuse_object(name, f"--input {_short(name)}", "no file")
    shown = "stdin" if name == "-" else repr(name)
    content = _read(name, f"--input {name}", read_stdin)
    hint = 'write {"prompt": "A red fox", "seed": 7}'
    try:
        value = strict_json(_decode(content, f"--input {name}"))
    except ValueError as problem:
        why = f"is not JSON: {problem}" if content.strip() else "is empty, where an object of inputs is due"
        raise errors.UsageError(f"{shown} {why}", hint=hint, code="bad_input") from problem
    if not isinstance(value, dict):
        raise errors.UsageError(
            f"{shown} holds a JSON {_kind_name(value)}, not an object of inputs", hint=hint, code="bad_input"
        )
    return dict(_inputs_in(value))


def _inputs_in(value: Mapping[str, Any], beside: Set[str] = frozenset()) -> Mapping[str, Any]:
    """Give the inputs of an object that may hold them as a create of Replicate's does, `beside` other names."""
    if set(value) - beside == {"input"} and isinstance(value["input"], dict):
        return value["input"]
    return value


def body_doubts(values: Mapping[str, Any]) -> list[str]:
    """List what is doubtful about inputs that are a whole body of Replicate's, which holds them in its input."""
    if len(values) < 2 or _inputs_in(values, _BESIDE_INPUT) is values:
        return []
    return [f"{', '.join(values)} are sent as inputs; of a whole body give what its input holds"]


def _refuse_object(text: str, shown: str, what: str) -> None:
    """Raise UsageError for a JSON object of inputs in the place of something else."""
    if hint := object_hint(text):
        raise errors.UsageError(f"{shown} is a JSON object, and {what}", hint=hint, code="bad_input")


def data_hint(text: str) -> str:
    """Say how an input is given that curl takes behind -d, as JSON or as @FILE; empty for any other text."""
    if text.startswith("@") and os.path.isfile(text[1:]):
        return f"-i {hints.quoted(text[1:])}"
    return object_hint(text)


def object_hint(text: str) -> str:
    """Say how a JSON object of inputs is given; empty for any other text."""
    try:
        value = strict_json(text) if text.lstrip().startswith("{") else None
    except ValueError:
        value = None
    given = _inputs_in(value, _BESIDE_INPUT) if isinstance(value, dict) else {}
    if not given:
        return ""
    items = " ".join(_item_of(key, one) for key, one in given.items())
    can_be_typed = len(items) <= _HINT_CHARACTERS and r"\u0000" not in json.dumps(given)  # no argument has a NUL
    return f"write {items}" if can_be_typed else "put the inputs alone in a file: -i FILE"


def _item_of(key: str, value: Any) -> str:
    """Give the item that gives an input a JSON value, as it is typed in a shell."""
    if isinstance(value, str):
        return typed(key, "=", f"\\{value}" if re.match(r"\\*@", value) else value)
    return typed(key, ":=", json.dumps(value, ensure_ascii=False))


def coerce(text: str, kind: str) -> Any:
    """Read a text as the JSON kind the catalog names; what does not read as one stays text, and is doubted."""
    if kind in ("integer", "number") and re.fullmatch(_INTEGER, text.strip()):
        return int(text)
    if kind == "number" and re.fullmatch(_NUMBER, text.strip()) and math.isfinite(float(text)):
        return float(text)
    if kind == "boolean":
        return _BOOLEANS.get(text.strip().lower(), text)
    return [text] if kind == "array" else text


def _read(name: str, item_text: str, read_stdin: ReadStdin) -> bytes:
    """Read what an item names; a file that is too long for a request is refused unread."""
    if name == "-":
        content = read_stdin()
    else:
        with _named(name, item_text) as path:
            if path.is_file() and (size := path.stat().st_size) > REFUSE_BYTES:
                raise _too_large(_short(item_text), size)
        content = read_file(name, item_text, limit_bytes=REFUSE_BYTES)
    if len(content) > REFUSE_BYTES:
        raise _too_large(_short(item_text), len(content))
    return content


def value_of(item: Item, kind: str, read_stdin: ReadStdin) -> Any:
    """Give the value of an item whose key has a JSON kind; raise UsageError."""
    shown = f"{item.key}{item.separator}{item.value}"
    _check_text(item.key, shown)
    if item.separator == "@":
        uri = _file_value(item, shown, read_stdin)
        return [uri] if kind == "array" else uri
    if item.separator == ":=":
        return _parse_json(item.value, shown)
    if item.separator == ":=@":
        return _parse_json(_decode(_read(item.value, shown, read_stdin), shown), shown)
    text = item.value
    if item.separator == "=@":
        text = _decode(_read(item.value, shown, read_stdin), shown)
    _check_text(text, shown)
    return coerce(text, kind)


def _file_value(item: Item, shown: str, read_stdin: ReadStdin) -> str:
    name, separator, media_type = item.value.rpartition(";type=")
    if not separator:
        name, media_type = item.value, ""
    if separator and not re.fullmatch(r"[\w.+-]+/[\w.+-]+", media_type):
        raise errors.UsageError(
            f"{_short(shown)}: {media_type!r} is not a media type",
            hint=f"write {typed(item.key, '@', f'{name};type=image/png')}",
            code="bad_input",
        )
    if is_url(name) or name.startswith("data:"):
        return name
    content = _read(name, shown, read_stdin)
    if not content:
        raise errors.UsageError(f"{_short(shown)}: the file is empty", hint="name a picture", code="bad_input")
    import base64

    media_type = media_type or formats.media_type_for(content[: formats.SNIFF_BYTES], name)
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"


def size_warnings(values: Mapping[str, Any]) -> list[str]:
    """Say which inputs hold files or text that may be too large; raise UsageError where all together are."""
    warnings = []
    total = 0
    for key, value in values.items():
        text_bytes = 0
        for size, is_file in text_sizes(value):
            total += size
            if not is_file:
                text_bytes += size
            elif size > _WARN_AGAIN_BYTES:
                warnings.append(
                    f"{key} is {_size(size)}: above 1 MB a data URI is often refused; make it smaller or give a URL"
                )
            elif size > _WARN_BYTES:
                warnings.append(f"{key} is {_size(size)}: the API is documented for data URIs of 256 kB")
        if text_bytes > _WARN_AGAIN_BYTES:
            warnings.append(f"{key} is {_size(text_bytes)} of text: above 1 MB it may be refused; make it shorter")
        elif text_bytes > _WARN_BYTES:
            warnings.append(f"{key} is {_size(text_bytes)} of text: models rarely take more than 256 kB")
    if total > REFUSE_BYTES:
        raise _too_large("the files and texts of this input together", total)
    return warnings


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def read_file(name: str, item_text: str, *, limit_bytes: int) -> bytes:
    """Read the file that an INPUT item names, one byte beyond a limit at most; raise UsageError."""
    with _named(name, item_text) as path, path.open("rb") as file:
        return file.read(limit_bytes + 1)


@contextlib.contextmanager
def _named(name: str, item_text: str) -> Iterator[Path]:
    """Give the path that an INPUT item names; raise UsageError for what keeps it from being read."""
    try:
        yield Path(name).expanduser()
    except (OSError, ValueError, RuntimeError) as problem:  # RuntimeError: no such user's home
        reason = getattr(problem, "strerror", None) or str(problem)
        key, at, value = item_text.partition("=@")
        # A file of JSON stands for no text, and what is named as a file is not to be paid for as one.
        is_text = at and not key.endswith(":") and not re.fullmatch(_FILE_NAME, value)
        as_text = typed(key, "=", f"\\@{value}")
        hint = f"check the path; for text that begins with @ write {as_text}" if is_text else "check the path"
        told = f"cannot read {_short(name)}"
        if item_text == f"--input {name}":
            told = "cannot be read"
            hint = f"-i {hints.quoted(name[1:])}" if name.startswith("@") else hint  # as curl has it behind -d
        raise errors.UsageError(
            f"{_short(item_text)}: {f'{told}: {reason}' if name else 'no file is named'}",
            hint=hint,
            code="bad_input",
        ) from problem


def _parse_json(text: str, shown: str) -> Any:
    try:
        return strict_json(text)
    except ValueError as problem:
        hint = 'numbers, true, false, null, "text", […] and {…} are JSON; for text write name=text'
        is_varied = bool(re.match(_SEVERAL_NUMBERS, shown.partition(":=")[2]))
        raise errors.UsageError(
            f"{_short(shown)}: not JSON: {problem}" + "; several values are for batch --sweep" * is_varied,
            hint="cometrep help batch" if is_varied else hint,
            remedy="--sweep" * is_varied,
            code="bad_input",
        ) from problem


def _decode(content: bytes, shown: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        key, _, name = shown.partition("=@")
        as_file = typed(key.removesuffix(":"), "@", name) if name else "name@file"
        raise errors.UsageError(
            f"{_short(shown)}: the file is not UTF-8 text",
            hint=f"for a picture or other bytes write {as_file}",
            code="bad_input",
        ) from problem


def _check_text(text: str, shown: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as problem:
        raise errors.UsageError(
            f"{_short(shown)}: not valid UTF-8", hint="use a UTF-8 locale and text", code="bad_input"
        ) from problem


def _too_large(what: str, size: int) -> errors.UsageError:
    shown = -(-size // 100_000) / 10  # rounded up, so as not to be shown as the limit itself
    return errors.UsageError(
        f"{what}: {shown} MB is more than the 10 MB that a request can hold",
        hint="make it smaller, or put a picture on the web and give its URL",
        code="input_too_large",
    )


def _kind_name(value: Any) -> str:
    return {list: "array", str: "string", bool: "boolean", type(None): "null"}.get(type(value), "number")


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1_000_000:.1f} MB" if size_bytes >= 1_000_000 else f"{size_bytes / 1000:.0f} kB"


def typed(key: str, separator: str, value: str) -> str:
    """Give an item as it is typed in a shell."""
    escaped = re.sub(r"[=:@\\]", r"\\\g<0>", key)
    return masked(f"{hints.quoted(escaped)}{separator}{hints.quoted(value)}")


def _short(text: str) -> str:
    option = "--input " if text.startswith("--input ") else ""
    return option + repr(cut(masked(text.removeprefix(option)), 80))
