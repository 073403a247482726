"""Read the lines that a batch's items are made of: JSON Lines, CSV, or the combinations of a sweep.

A source can be read from its beginning again and again, and holds no item in memory.
"""

import csv
import itertools
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol

from cometrep import catalog, errors, hints, inputs
from cometrep.json_values import strict_json
from cometrep.text import format_count

SWEPT_BYTES = 100_000_000  # of a file whose lines are the values of a sweep
_MOST_VALUES = 1_000_000
_CSV_VALUE_LIMIT = 16_000_000  # characters: above what a data URI may have, so that this is said of it
_INPUT_NAME = r"\w[\w.-]*"
_LONG_FORM = '{"key": …, "model": …, "input": {…}}'
_ITEM_FIELDS = frozenset({"key", "model", "input"})
_ONE_A_LINE = "a file of one prompt a line is for --sweep"
_FORMATS = {".csv": True, ".jsonl": False, ".ndjson": False}  # by the end of a name: whether it is CSV
_ARRAY = rb"\[\s*[{\n]"
_INDENTED_OBJECT = rb"\{([^\n]*[^}\s])?\s*\n\s*\""
_JSON_OBJECT = rb"(?m)^\s*\{\s*\""  # at the start of some line
_RANGE = r"(-?\d{1,15})\.\.(-?\d{1,15})(?:\.\.(\d{1,15}))?"
_MEANT_AS_RANGE = r"[-+.\deE]*\.\.[-+.\deE]*"
_DECODER = json.JSONDecoder()


class Line(NamedTuple):
    """One item as its source has it: an explicit key and a model may be missing (empty).

    One that `is_plain` holds no file, and nothing that is too large: there may be a million of them to look at.
    """

    number: int
    key: str
    model: str
    values: Mapping[str, Any]
    is_plain: bool = False


class Wrong(NamedTuple):
    """A line that is no item, and why; `hint` is the command that was meant, where there is one."""

    number: int
    text: str
    hint: str = ""


class Source(Protocol):
    """Where items come from; `lines` begins anew at each call, and `place` is what people call one of them."""

    axes: Mapping[str, Sequence[Any]]
    place: str

    def lines(self) -> Iterator[Line | Wrong]:
        """Yield each line, or what is wrong with it."""


class FileSource:
    """JSON Lines or CSV, told apart by the name, else by whether some line near the beginning is a JSON object's.

    `as_sweep` is the command that takes the file as what a CSV of one column may be, a prompt a line; with
    `has_prompt` it is none, as the prompt stands elsewhere.
    """

    axes: Mapping[str, Sequence[Any]] = {}
    place = "line"

    def __init__(
        self, file: BinaryIO, name: str, model: str, *, as_sweep: str = "", has_prompt: bool = False
    ) -> None:
        self._file = file
        self._name = name
        self._model = model
        self._as_sweep = as_sweep
        self._has_prompt = has_prompt
        self._model_known = model if catalog.find(model) else ""
        self._holds_json = False

    def lines(self) -> Iterator[Line | Wrong]:
        """Yield each line, or what is wrong with it."""
        self._file.seek(0)
        begun = self._file.read(4096)
        head = begun.removeprefix(b"\xef\xbb\xbf").lstrip()
        self._file.seek(0)
        if head.startswith((b"\xff\xfe", b"\xfe\xff")):
            yield Wrong(1, "not UTF-8 but UTF-16; save the file as UTF-8")
            return
        if b"\0" in head:
            number = 1 + begun.partition(b"\0")[0].count(b"\n")
            yield Wrong(number, "not text: it has NUL bytes, as UTF-16 has; save the file as UTF-8")
            return
        self._holds_json = head.startswith((b"{", b"[")) or bool(re.search(_JSON_OBJECT, head))
        is_csv = _FORMATS.get(Path(self._name).suffix.lower(), not self._holds_json)
        if is_csv and head:
            yield from self._csv_lines()
        elif wrong := self._one_json_value(head):
            yield wrong
        else:
            yield from self._json_lines()

    def _one_json_value(self, head: bytes) -> Wrong | None:
        """Say that a file is one JSON value over its lines, none of which is an object, where it begins as such."""
        for begun, what, items in (_ARRAY, "array", ".[]"), (_INDENTED_OBJECT, "object over several lines", "."):
            if re.match(begun, head):
                file = "FILE" if self._name == "-" else self._name
                told = f"the file is a JSON {what}, not one object a line"
                return Wrong(
                    1, told, f"{hints.joined(('jq', '-c', items, file))} > {hints.quoted(f'{file}.jsonl')}"
                )
        return None

    def _json_lines(self) -> Iterator[Line | Wrong]:
        for number, raw in enumerate(self._file, 1):
            text = raw.strip()
            if number == 1:
                text = text.removeprefix(b"\xef\xbb\xbf")
            if text:
                yield _json_line(number, text)

    def _csv_lines(self) -> Iterator[Line | Wrong]:
        csv.field_size_limit(_CSV_VALUE_LIMIT)
        undecoded: list[int] = []  # lines of the row that are no text
        reader = csv.reader(_text_lines(self._file, undecoded), strict=True)
        header: list[str] = []
        start = 1
        while True:
            try:
                row = next(reader, None)
            except csv.Error as problem:
                yield Wrong(start, _csv_fault(problem))
                if not header:
                    return
                undecoded.clear()
                start = reader.line_num + 1  # which begins a new row
                continue
            if row is None:
                return
            if undecoded:
                yield Wrong(undecoded.pop(), "not UTF-8")
                undecoded.clear()
            elif not header:  # before it may be blank lines
                header = row
                if header and (wrong := self._wrong_header(start, header)):
                    yield wrong
                    return
            elif any(row):
                yield self._csv_line(start, header, row)
            start = reader.line_num + 1

    def _wrong_header(self, number: int, header: Sequence[str]) -> Wrong | None:
        """Say what is wrong with a header: what names no input may be misspelt, or a prompt."""
        names = [name.removesuffix(":json") for name in header]
        if place := next((place for place, name in enumerate(names, 1) if not name.strip()), 0):
            return Wrong(number, f"the header names no input in column {place}")
        if "key:json" in header or "model:json" in header:
            return Wrong(number, "a key and a model are texts: their columns are `key` and `model`")
        strange = next((name for name in names if not re.fullmatch(_INPUT_NAME, name)), "")
        if not strange and (twice := next((name for name in names if names.count(name) > 1), "")):
            return Wrong(number, f"the header names {twice!r} twice")
        if not strange and not self._may_be_prompts(names):
            return None
        whose = "name of an input" if strange else f"input of {self._model_known or 'any model that is known'}"
        told = f"{(strange or names[0])[:100]!r} in the header is no {whose}"
        if self._holds_json:
            return Wrong(number, f"{told}; JSON Lines stand in a file named *.jsonl")
        if self._may_be_columns(names) or re.search(r"(?i)\bprompt\b|[;\t]", ",".join(names)):
            return Wrong(number, f"{told}; names are written as the model has them, with commas between")
        return Wrong(number, f"{told}; {_ONE_A_LINE}", "" if self._has_prompt else self._as_sweep)

    def _may_be_prompts(self, names: Sequence[str]) -> bool:
        """Say whether a file may be a list of prompts, the first of which is not the name of an input."""
        if self._has_prompt or len(names) > 1 or (self._is_named_as_table and not self._model_known):
            return False
        return names[0] not in _ITEM_FIELDS and not catalog.may_take(self._model, names[0])

    def _may_be_columns(self, names: Sequence[str]) -> bool:
        """Say whether what stands between commas may be meant as names, and is not the text of a prompt."""
        known = (name in _ITEM_FIELDS or catalog.may_take(self._model, name.strip()) for name in names)
        return len(names) > 1 and (self._is_named_as_table or any(known))

    @property
    def _is_named_as_table(self) -> bool:
        return self._name.lower().endswith((".csv", ".tsv"))

    def _csv_line(self, number: int, header: Sequence[str], row: Sequence[str]) -> Line | Wrong:
        if len(row) != len(header):
            told = f"{format_count(len(row), 'value')} under {format_count(len(header), 'column')}"
            is_unquoted = len(row) > len(header)
            return Wrong(number, told + "; text with a comma stands in double quotes" * is_unquoted)
        values: dict[str, Any] = {}
        cells = dict(zip(header, row, strict=True))
        key, model = cells.pop("key", ""), cells.pop("model", "")
        for name, cell in cells.items():
            if not cell:
                continue
            if not name.endswith(":json"):
                values[name] = inputs.coerce(cell, catalog.kind_of(model or self._model, name))
                continue
            try:
                values[name.removesuffix(":json")] = strict_json(cell)
            except ValueError as problem:
                return Wrong(number, f"{name}: {problem}")
        return Line(number, key, model, values)


def _text_lines(file: BinaryIO, undecoded: list[int]) -> Iterator[str]:
    for number, raw in enumerate(file, 1):
        try:
            yield raw.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError:
            undecoded.append(number)
            yield raw.decode("utf-8", "replace")


def _csv_fault(problem: csv.Error) -> str:
    """Say what is wrong with a row that could not be read."""
    told = str(problem)
    if "new-line character" in told:
        return "a carriage return alone ends no line"
    if "unexpected end of data" in told:
        return "a double quote is not closed; what stands behind it was not checked"
    return told


def _json_line(number: int, text: bytes) -> Line | Wrong:
    try:
        value = strict_json(text.decode("utf-8"))
    except UnicodeDecodeError:
        return Wrong(number, "not UTF-8")
    except ValueError as problem:
        return Wrong(number, f"not JSON: {problem}")
    if not isinstance(value, dict):
        return Wrong(number, "not an object")
    if "input" not in value or not (value.keys() <= _ITEM_FIELDS or isinstance(value["input"], dict)):
        if misplaced := next((name for name in ("key", "model") if name in value), None):
            # It would be sent, and paid for, as an input of another model than the line seems to name.
            return Wrong(
                number, f"{misplaced!r} beside the inputs would be sent as one of them; write {_LONG_FORM}"
            )
        return Line(number, "", "", value, is_plain=_is_plain(text))
    if others := sorted(value.keys() - _ITEM_FIELDS):
        return Wrong(number, f"{others[0]!r} beside input, where only key and model can be")
    key, model, values = value.get("key", ""), value.get("model", ""), value["input"]
    if not isinstance(values, dict):
        return Wrong(number, "input is not an object")
    if not isinstance(key, (str, int)) or isinstance(key, bool) or not isinstance(model, str):
        return Wrong(number, "key and model are texts")
    if key == "" and "key" in value:
        return Wrong(number, "the key is empty")
    if re.search("[\ud800-\udfff]", str(key)):
        return Wrong(number, "the key holds half a character (a lone surrogate)")
    return Line(number, str(key), model, values, is_plain=_is_plain(text))


def _is_plain(text: bytes) -> bool:
    """Say whether a line of JSON surely holds no data URI, and no more than an input may."""
    return len(text) <= inputs.REFUSE_BYTES and b'"data:' not in text.lower() and b"\\u" not in text


class SweepSource:
    """Every combination of the values that INPUT items give; the last item varies fastest."""

    place = "combination"

    def __init__(self, axes: Mapping[str, Sequence[Any]]) -> None:
        self.axes = axes

    @property
    def size(self) -> int:
        """How many combinations there are."""
        return math.prod(len(values) for values in self.axes.values())

    def lines(self) -> Iterator[Line | Wrong]:
        """Yield each combination."""
        for number, values in enumerate(itertools.product(*self.axes.values()), 1):
            yield Line(number, "", "", dict(zip(self.axes, values, strict=True)))


def sweep_axes(
    texts: Sequence[str], kind_of: Callable[[str], str], read: Callable[[str, str], bytes]
) -> dict[str, list[Any]]:
    """Read the INPUT items of a sweep as axes: every value that each input takes.

    `name=@file` gives one value a line, `a..b` or `a..b..step` a range of whole numbers. A comma that no space
    follows parts choices (`\\,` is a comma), and any comma between them those of JSON. Raises UsageError.
    """
    axes: dict[str, list[Any]] = {}
    for text in texts:
        item = inputs.split_item(text)
        if item.key in axes:
            raise errors.UsageError(f"input {item.key!r} is given twice in a sweep", hint=f"{item.key}=one,other")
        values = list(_axis(item, kind_of(item.key), read, text))
        if not values:
            raise errors.UsageError(f"{text!r} gives no value", hint="write name=one,other or name=@file")
        axes[item.key] = values
    return axes


def _axis(item: inputs.Item, kind: str, read: Callable[[str, str], bytes], text: str) -> Iterator[Any]:
    def built(separator: str, value: str) -> Any:
        return inputs.value_of(inputs.Item(item.key, separator, value), kind, partial(read, "-", text))

    if item.separator in ("=@", ":=@"):
        content = read(item.value, text)
        # One that has no end is not to take all memory.
        if len(content) > SWEPT_BYTES or content.rstrip().count(b"\n") >= _MOST_VALUES:
            raise errors.UsageError(
                f"{text!r}: {item.value} has more than a million lines, or 100 MB; a file of items may be longer",
                hint="cometrep help batch",
                code="input_too_large",
            )
        try:
            lines = content.decode("utf-8-sig").split("\n")
        except UnicodeDecodeError as problem:
            number = problem.object.count(b"\n", 0, problem.start) + 1
            raise errors.UsageError(
                f"{text!r}: {item.value} is not UTF-8 text (at line {number})", hint="write it as UTF-8"
            ) from problem
        separator = item.separator.removesuffix("@")
        for line in filter(str.strip, lines):
            yield built(separator, line.rstrip("\r"))
        return
    is_json = item.separator == ":="
    parts = _json_values(item.value) if is_json else _choices(item.value)
    if "" in parts and len(parts) > 1:  # to leave it out, or to pay for it, would be a guess
        hint = "leave no comma over"
        if item.separator == "=":
            hint += f'; an empty text among others is {item.key}:=\'"","other"\''
        raise errors.UsageError(f"{text!r} has no value beside one of its commas", hint=hint)
    for part in filter(None, parts):
        if re.fullmatch(_MEANT_AS_RANGE, part) and (is_json or kind == "integer"):
            yield from _range(part, text)
        else:
            yield built(item.separator, part)


def _json_values(text: str) -> list[str]:
    """Part JSON values at the commas between them; what is none stays whole where it opens a bracket or a quote."""
    parts = []
    at = 0
    while at <= len(text):
        while text[at : at + 1].isspace():
            at += 1
        start = at
        try:
            _, at = _DECODER.raw_decode(text, start)
        except (ValueError, RecursionError):
            at = len(text) if text.startswith(("[", "{", '"'), start) else start
        comma = text.find(",", at)
        at = len(text) if comma < 0 else comma
        parts.append(text[start:at].rstrip())
        at += 1
    return parts


def _choices(text: str) -> list[str]:
    parts = re.split(r"(?<!\\),(?! )", text)
    return [part.replace("\\,", ",") for part in parts]


def _range(part: str, text: str) -> range:
    found = re.fullmatch(_RANGE, part)
    start, end, step = (int(found[1]), int(found[2]), int(found[3] or 1)) if found else (0, 0, 0)
    if step >= 1 and (end - start) // step >= _MOST_VALUES:
        raise errors.UsageError(f"{text!r} has more than a million values", hint="seed:=0..1000000..100")
    if step < 1 or end < start:
        raise errors.UsageError(
            f"{text!r} is no range of whole numbers from low to high",
            hint="seed:=1..8 or seed:=0..100..10, or each value: guidance:=0.5,1,1.5",
        )
    return range(start, end + 1, step)
