"""Plan a batch: its items from what the user typed, checked wholly, before anything is sent."""

import contextlib
import io
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, lru_cache, partial
from itertools import islice
from typing import Any, NamedTuple

from cometrep import catalog, errors, hints, inputs
from cometrep.batch.command_line import adding, replacing
from cometrep.batch.items import MODELS_KEPT, Checked, Common, Item, check, in_shard, items, parse_shard
from cometrep.batch.snapshot import BLOCK_BYTES, CopyTo, Snapshot, comes_once, opened
from cometrep.batch.sources import SWEPT_BYTES, FileSource, Source, SweepSource, sweep_axes
from cometrep.names import fixed_extension
from cometrep.references import parse_model
from cometrep.request import doubt_of_name
from cometrep.text import first_few, format_count

_SHOWN_DOUBTS = 5
DOUBTED_ITEMS = 10_000  # that are compared with the catalog before the first one is sent
_GZIP = b"\x1f\x8b"
_ITEM = r"\w+(?:=|:=|@)"
ASKS_ABOVE = 100  # items of a sweep, whose number is easily mistaken


class Wanted(NamedTuple):
    """What a batch is to be made of, as it was typed: a file (`-` for stdin) or a sweep, and INPUT items."""

    file: str
    texts: Sequence[str]
    model: str = ""
    is_sweep: bool = False
    shard: str | None = None
    is_strict: bool = False


class Plan(NamedTuple):
    """A batch: where its items come from, and what they have in common.

    Its size and its first doubts are known, and hints at names that do not fit. That of a file was checked; of a
    sweep `wholly_checked` gives one that was, which takes its time where there are many combinations.
    """

    source: Source
    checked: Checked
    model: str
    common: Common
    shard: tuple[int, int] | None
    doubts: tuple[str, ...]
    hints: tuple[str, ...]
    snapshot: Snapshot | None  # None for a sweep

    def wholly_checked(self, *, is_strict: bool) -> "Plan":
        """Look through the combinations of a sweep; raise UsageError, with `is_strict` for what is doubtful too."""
        if not self.is_sweep:
            return self
        checked = check(
            self.source, model=self.model, common=self.common, is_strict=is_strict, shard=self.shard or (1, 1)
        )
        return self._replace(checked=checked)

    @property
    def is_sweep(self) -> bool:
        """Whether its items are combinations, and stand in no file."""
        return self.snapshot is None

    @property
    def axes(self) -> Mapping[str, Sequence[Any]]:
        """The values that each input takes in a sweep; empty for a file."""
        return self.source.axes

    @property
    def size(self) -> int:
        """How many items there are in all shards together."""
        return self.checked.total

    def total(self) -> int:
        """Count the items of this shard."""
        if self.shard is None:
            return self.size
        of_shard = self.checked.in_shard
        return sum(1 for _ in self.items()) if of_shard is None else of_shard

    def size_text(self) -> str:
        """Show how a sweep comes to its size, as `2 prompt x 3 seed = 6 items`."""
        factors = " x ".join(f"{len(values)} {name}" for name, values in self.axes.items())
        part = ", of which this is shard {}/{}".format(*self.shard) if self.shard else ""
        return f"{factors} = {format_count(self.size, 'item')}{part}"

    @property
    def is_piped(self) -> bool:
        """Whether its items came once, so that the same command needs them piped in again."""
        return self.snapshot is not None and self.snapshot.comes_once

    def told_at_the_end(self) -> tuple[str, ...]:
        """Say that the file has grown since its items were checked, where it has."""
        if self.snapshot is None or not self.snapshot.has_grown:
            return ()
        return ("the file has grown since the batch began; what is new in it is for the next run",)

    def items(self) -> Iterator[Item]:
        """Yield the items of this shard, from the first on."""
        if self.shard is None:
            return self.items_of_all_shards()
        return (item for item in self.items_of_all_shards() if self.has(item.key))

    def has(self, key: str) -> bool:
        """Say whether an item with this key is one of this shard."""
        return self.shard is None or in_shard(key, *self.shard)

    def items_of_all_shards(self) -> Iterator[Item]:
        """Yield all items, from the first on."""
        return items(self.source, self.checked, model=self.model, common=self.common)


@contextlib.contextmanager
def planned(
    wanted: Wanted,
    *,
    template: str,
    command: str,
    read_stdin: inputs.ReadStdin,
    copy_stdin: CopyTo,
) -> Iterator[Plan]:
    """Plan a batch; its file stays open meanwhile.

    Raises UsageError that names every bad line; its hints are `command`, as it was typed, put right.
    """
    file, texts, model, is_sweep, shard, is_strict = wanted
    model = parse_model(model, catalog.guess) if model else ""
    part = None if shard is None else parse_shard(shard)
    named = command if model else adding("-m OWNER/NAME", command)
    if not is_sweep:
        _refuse_misplaced(file, texts, command, named)
    shared = _Shared(() if is_sweep else texts, read_stdin)
    with contextlib.nullcontext() if is_sweep else opened(file, copy_stdin) as snapshot:
        source: FileSource | SweepSource
        if snapshot is None:
            source = _sweep(texts, model, read_stdin, command=command, named=named)
            checked = Checked(source.size)
        else:
            source = _file(file, snapshot, model, shared.keys, command=command, named=named)
            checked = check(
                source, model=model, common=shared.of, named=named, is_strict=is_strict, shard=part or (1, 1)
            )
        plan = Plan(
            source=source,
            checked=checked,
            model=model,
            common=shared.of,
            shard=part,
            doubts=(),
            hints=(),
            snapshot=snapshot,
        )
        warnings = shared.warnings()
        told = _first_doubts(plan, warnings, is_strict=is_strict)
        yield plan._replace(doubts=(*warnings, *told), hints=_hints_of_names(plan, template))


def _sweep(
    texts: Sequence[str], model: str, read_stdin: inputs.ReadStdin, *, command: str, named: str
) -> SweepSource:
    """Read what varies in a sweep; `named` is the command with a model."""
    if not model:
        raise errors.UsageError("a sweep needs --model", hint=named)
    if not texts:
        raise errors.UsageError("a sweep needs inputs to vary", hint=f"{command} prompt=cat,dog seed:=1..3")
    if os.path.isfile(texts[0]):
        raise errors.UsageError(
            f"--sweep takes no FILE, and {texts[0]!r} is one",
            hint=f"for one value a line: prompt=@{hints.quoted(texts[0])}; to run its lines leave out --sweep",
        )
    return SweepSource(sweep_axes(texts, partial(catalog.kind_of, model), partial(_values_in, read_stdin)))


def _file(
    file: str, snapshot: Snapshot, model: str, keys: Sequence[str], *, command: str, named: str
) -> FileSource:
    """Take up a file whose lines share the inputs `keys`; `named` is the command with a model."""
    typed, again = ("-", "FILE") if comes_once(file) else (file, file)
    lines = io.BufferedReader(snapshot, BLOCK_BYTES)
    if lines.peek(2).startswith(_GZIP):
        raise errors.BadItems(
            "the file is compressed with gzip",
            hint=f"gzip -dc {hints.quoted(again)} | {replacing(typed, ['-'], command)}",
        )
    as_sweep = adding("--sweep", replacing(typed, [f"prompt=@{again}"], named))
    return FileSource(lines, file, model, as_sweep=as_sweep, has_prompt="prompt" in keys)


def _refuse_misplaced(file: str, texts: Sequence[str], command: str, named: str) -> None:
    """Raise UsageError for an input in the place of FILE, and for a model among the words.

    `named` is the command with a model.
    """
    words = (file, *texts)
    if model := next((word for word in words if catalog.find(word) and not os.path.exists(word)), ""):
        hint = adding(f"-m {model}", replacing(model, [] if texts else ["FILE"], command))
        others = [word for word in words if word != model]
        hint = (others and _with_file_first(others[0], others[1:], hint)) or hint
        raise errors.UsageError(f"{model!r} is a model, and no file or input", hint=hint)
    if hint := _with_file_first(file, texts, named):
        raise errors.UsageError(f"there is no file {file!r}; inputs stand behind a FILE, or --sweep", hint=hint)


def _with_file_first(file: str, texts: Sequence[str], command: str) -> str:
    """Give a command with a FILE before its inputs, or as a sweep; empty where none stands in the place of FILE."""
    if not re.match(_ITEM, file) or os.path.exists(file):
        return ""
    if found := next(filter(os.path.isfile, texts), ""):
        return replacing(file, [found, file], replacing(found, [], command))
    return adding("--sweep", command)


def _values_in(read_stdin: inputs.ReadStdin, name: str, text: str) -> bytes:
    """Read the file, or stdin, that an item of a sweep names; it may be large, as each value is a line of it."""
    return read_stdin() if name == "-" else inputs.read_file(name, text, limit_bytes=SWEPT_BYTES)


class _Shared:
    """The INPUT items that all lines share, each typed by what the catalog knows of a line's own model."""

    def __init__(self, texts: Sequence[str], read_stdin: inputs.ReadStdin) -> None:
        self._texts = texts
        self.keys = [inputs.split_item(text).key for text in texts]
        self._read_stdin = cache(read_stdin)
        self._built: dict[tuple[str, ...], inputs.BuiltInput] = {}  # by the kinds of their values
        self.of = lru_cache(MODELS_KEPT)(self._of)

    def _of(self, model: str) -> Mapping[str, Any]:
        kinds = tuple(catalog.kind_of(model, key) for key in self.keys)
        if kinds not in self._built:
            kind_of = dict(zip(self.keys, kinds, strict=True)).__getitem__
            built = inputs.build_input(self._texts, kind_of=kind_of, read_stdin=self._read_stdin)
            self._built[kinds] = built
        return self._built[kinds].values

    def warnings(self) -> tuple[str, ...]:
        """Give what is doubtful about them, for any of the models so far."""
        return tuple(dict.fromkeys(told for built in self._built.values() for told in built.warnings))


def _doubts_of(item: Item, *, is_strict: bool) -> list[str]:
    """Say what is doubtful about an item; what is by the catalog is an error when strict."""
    if not is_strict:
        return [*catalog.doubts(item.model, item.values), *inputs.size_warnings(item.values)]
    with contextlib.suppress(errors.UsageError):  # the check of all items names those that are too large
        return inputs.size_warnings(item.values)
    return []


def _first_items(plan: Plan) -> Iterator[Item]:
    """Yield those of the first many items that are the shard's; of a sweep they tell of its other ones too."""
    first = islice(plan.items_of_all_shards(), DOUBTED_ITEMS)  # to find as many of one takes all there are
    return (item for item in first if plan.is_sweep or plan.has(item.key))


def _first_doubts(plan: Plan, of_common: Sequence[str], *, is_strict: bool) -> tuple[str, ...]:
    """Say what is doubtful about the first many items; `of_common` is said already, of what all items have."""
    lines: dict[str, list[int]] = {}  # by what is doubtful
    for item in _first_items(plan):
        for doubt in _doubts_of(item, is_strict=is_strict):
            if doubt not in of_common:
                lines.setdefault(doubt, []).append(item.number)
        if len(lines) > 10 * _SHOWN_DOUBTS:  # as many kinds as lines: the rest is no better
            return (*_told(plan, lines)[:_SHOWN_DOUBTS], "and many more doubts")
    return _told(plan, lines)


def _hints_of_names(plan: Plan, template: str) -> tuple[str, ...]:
    """Say where the first many items make another format than their names will say."""
    lines: dict[str, list[int]] = {}
    for item in _first_items(plan) if fixed_extension(template) else ():
        if doubt := doubt_of_name(item.request, template):
            lines.setdefault(doubt, []).append(item.number)
    return _told(plan, lines)


def _told(plan: Plan, lines: Mapping[str, Sequence[int]]) -> tuple[str, ...]:
    """Tell the first few doubts, each with its lines, and how many there are beside."""
    told = [
        f"{doubt} ({_numbers(plan.source.place, numbers)})"
        for doubt, numbers in islice(lines.items(), _SHOWN_DOUBTS)
    ]
    if len(lines) > _SHOWN_DOUBTS:
        told.append(f"and {len(lines) - _SHOWN_DOUBTS} doubts more")
    return tuple(told)


def _numbers(place: str, numbers: Sequence[int]) -> str:
    """Name places, the first few of many."""
    shown = first_few([str(number) for number in numbers], _SHOWN_DOUBTS)
    return f"{place}{'s' if len(numbers) > 1 else ''} {shown}"
