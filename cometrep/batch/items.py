"""Give a batch's items their keys, and check them all before the first one is sent.

A million lines are read in one pass to be checked and in another to be sent: none is held in memory.
"""

import hashlib
import itertools
import json
import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from cometrep import catalog, errors, inputs
from cometrep.batch.hashes import Hashes
from cometrep.batch.sources import Line, Source, Wrong
from cometrep.data_uris import shorten_data_uris
from cometrep.prediction import Request
from cometrep.references import parse_model
from cometrep.text import cut, format_count, format_item

_KEY_LIMIT = 200  # characters
_SHOWN_PROBLEMS = 20
_WHY_LIMIT = 400  # characters of what is wrong with one line
MODELS_KEPT = 100  # at hand, of those that lines name
_HASHED_KEY = r"[0-9a-f]{20}(?:-[0-9]+)?"  # of a line without one
# Made once: json.dumps makes a new one for each call that has options.
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"))


class Item(NamedTuple):
    """One item of a batch: where it stands, the key that names it across runs, and what it sends.

    `digest` is of what it sends, and the beginning of the key where none was given.
    """

    number: int
    key: str
    model: str
    values: Mapping[str, Any]
    digest: str

    @property
    def label(self) -> str:
        """What people know it by: its own key, else its place and how its prompt begins."""
        if not self.key.startswith(self.digest):
            return self.key
        return format_item(self.number, self.values.get("prompt"))

    @property
    def request(self) -> Request:
        """What its create sends."""
        return Request(self.model, self.values)


class Checked(NamedTuple):
    """What one pass over a source found: how many items, and the short hashes that several keyless items share.

    And how many are in the shard that was asked about, None where repeated keys leave that to be seen.
    """

    total: int
    repeated: frozenset[int] = frozenset()
    in_shard: int | None = None


Common = Callable[[str], Mapping[str, Any]]
"""Gives the values that all items of a model have in common, quickly."""


def items(source: Source, checked: Checked, *, model: str, common: Common) -> Iterator[Item]:
    """Yield the items of a checked source, each with its key, over the values that they have in common."""
    for line, key, digest in _keyed(_readable(source), _KeyMaker(model, common), checked.repeated):
        own = line.model or model
        yield Item(line.number, key, own, {**common(own), **line.values}, digest)


def _readable(source: Source) -> Iterator[Line]:
    return (line for line in source.lines() if isinstance(line, Line))


def _keyed(
    lines: Iterable[Line], make_key: "_KeyMaker", repeated: frozenset[int]
) -> Iterator[tuple[Line, str, str]]:
    """Yield lines, each with its key and the digest of what it sends.

    `repeated` are the short hashes that several keyless lines share: their keys have a number at the end.
    """
    occurrences: dict[int, int] = {}
    for line in lines:
        whole = make_key.digest(line)
        digest = _shown(whole)
        key = line.key or digest
        if not line.key and (short := _short(whole)) in repeated:
            occurrences[short] = occurrences.get(short, 0) + 1
            key += f"-{occurrences[short]}" if occurrences[short] > 1 else ""
        yield line, key, digest


def check(
    source: Source,
    *,
    model: str,
    common: Common,
    named: str = "",
    is_strict: bool = False,
    shard: tuple[int, int] = (1, 1),
) -> Checked:
    """Read a source once, wholly; raise one BadItems that names every bad line, and of the first ones why.

    With `is_strict` a line that the catalog doubts is a bad one too. `named` is the command with a model, the hint
    for lines that have none.
    """
    make_key = _KeyMaker(model, common)
    explicit, hashed, keyless = Hashes(), Hashes(), Hashes()
    problems = _Problems(source.place)
    total = of_shard = 0
    for line in source.lines():
        total += 1
        if isinstance(line, Wrong):
            problems.add(line)
            continue
        own = line.model or model
        if problem := _problem(line, model):
            problems.add(Wrong(line.number, problem, hint="" if own else named))
        else:
            shared = common(own)  # which may raise
            if is_strict and (told := catalog.doubts(own, {**shared, **line.values})):
                problems.add(Wrong(line.number, "; ".join(told), catalog.command_for(own)))
        digest = b"" if line.key else make_key.digest(line)
        if shard == (1, 1) or in_shard(line.key or _shown(digest), *shard):
            of_shard += 1
        if line.key:
            explicit.add(_key_hash(line.key))
            if re.fullmatch(_HASHED_KEY, line.key):  # as another line's may be, or was in an earlier run's results
                hashed.add(int(line.key[:16], 16))
        else:
            keyless.add(_short(digest))
    repeated = keyless.repeated()  # whose keys are not their digests alone
    checked = Checked(total, repeated, None if repeated else of_shard)
    suspects = explicit.repeated(), keyless.shared_with(hashed)
    if any(suspects):
        for wrong in _repeated_keys(_keyed(_readable(source), make_key, checked.repeated), *suspects):
            problems.add(wrong)
    problems.refuse()
    if not total:
        raise errors.BadItems("the batch has no items", hint="cometrep help batch")
    return checked


def _problem(line: Line, model: str) -> str:
    """Say what is wrong with a line that can be read, nothing where it can be sent."""
    if len(line.key) > _KEY_LIMIT:
        return f"the key is longer than {_KEY_LIMIT} characters"
    if not (line.model or model):
        return "it names no model, and there is no --model"
    try:
        if line.model:
            parse_model(line.model)
        if not line.is_plain:
            inputs.size_warnings(line.values)
    except errors.UsageError as problem:
        return problem.message
    return ""


class _Problems:
    """Collect bad lines: the first ones with what is wrong, of all others the numbers, eight bytes each."""

    def __init__(self, place: str) -> None:
        self._place = place
        self._shown: dict[int, Wrong] = {}
        self._others = array("Q")

    def add(self, wrong: Wrong) -> None:
        """Take up a bad line."""
        if before := self._shown.get(wrong.number):  # it is wrong in two ways
            self._shown[wrong.number] = before._replace(text=f"{before.text}; {wrong.text}")
        elif len(self._shown) < _SHOWN_PROBLEMS:
            self._shown[wrong.number] = wrong
        else:
            self._others.append(wrong.number)

    def refuse(self) -> None:
        """Raise the UsageError that they come to, if there are any."""
        if not self._shown:
            return
        shown, others = sorted(self._shown.values()), sorted(set(self._others))
        told = "; ".join(f"{self._place} {one.number}: {cut(one.text, _WHY_LIMIT)}" for one in shown)
        more = f"; and wrong too: {_ranges(others)}" if others else ""
        count = len(shown) + len(others)
        raise errors.BadItems(
            f"{format_count(count, f'bad {self._place}')}, nothing was sent: {told}{more}",
            hint=next((wrong.hint for wrong in shown if wrong.hint), "cometrep help batch"),
        )


def _ranges(numbers: Iterable[int]) -> str:
    """Write ascending numbers as `3, 5-8`."""
    shown: list[str] = []
    for _, run in itertools.groupby(enumerate(numbers), lambda pair: pair[1] - pair[0]):
        first, *rest = (number for _, number in run)
        shown.append(f"{first}-{rest[-1]}" if rest else str(first))
    return ", ".join(shown)


def _repeated_keys(
    keyed: Iterable[tuple[Line, str, str]], explicit: frozenset[int], hashed: frozenset[int]
) -> Iterator[Wrong]:
    """Name the lines whose keys stood before, where an explicit key or the start of a hashed one is suspected."""
    seen: dict[str, int] = {}
    for line, key, _ in keyed:
        if (line.key and _key_hash(key) in explicit) or (
            re.fullmatch(_HASHED_KEY, key) and int(key[:16], 16) in hashed
        ):
            if key in seen:
                told = f"the key {key!r}" if line.key else f"the key of its inputs, {key!r},"
                yield Wrong(line.number, f"{told} is that of line {seen[key]} too")
            seen.setdefault(key, line.number)


class _KeyMaker:
    """Hash what an item sends: its model and canonical input, files by their SHA-256."""

    def __init__(self, model: str, common: Common) -> None:
        self._model = model
        self._common = lru_cache(MODELS_KEPT)(lambda own: shorten_data_uris(common(own)))

    def digest(self, line: Line) -> bytes:
        """Give the SHA-256 of what a line sends, over the common values."""
        own = line.model or self._model
        values = {**self._common(own), **(line.values if line.is_plain else shorten_data_uris(line.values))}
        return _sha256(own, values)


def digest_of(model: str, values: Any) -> str:
    """Give the digest of what an item sends, from its input or from the one that the ledger keeps of it."""
    return _shown(_sha256(model, shorten_data_uris(values)))


def _sha256(model: str, shortened: Any) -> bytes:
    return hashlib.sha256(_ENCODER.encode([model, shortened]).encode()).digest()


def _shown(digest: bytes) -> str:
    return digest.hex()[:20]


def _short(digest: bytes) -> int:
    return int.from_bytes(digest[:8], "big")


def _key_hash(key: str) -> int:
    return _short(hashlib.sha256(key.encode()).digest())


def in_shard(key: str, number: int, count: int) -> bool:
    """Say whether an item belongs to shard `number` (from 1) of `count`: by its key alone, the same everywhere."""
    digest = hashlib.sha256(f"shard:{key}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % count == number - 1


def parse_shard(text: str) -> tuple[int, int]:
    """Read `2/5`; raise UsageError for anything else."""
    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    number, count = (int(found.group(1)), int(found.group(2))) if found else (0, 0)
    if not 1 <= number <= count:
        raise errors.UsageError(
            f"--shard {text!r} is not a part I/N, with I from 1 to N", hint="--shard 1/4, the first of four"
        )
    return number, count
