"""Refuse a batch whose items would get one name, or cannot be written, before anything is sent."""

import os
import re
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path

from cometrep import errors, hints
from cometrep.batch.hashes import Hashes
from cometrep.batch.items import Item
from cometrep.names import UTF8_LOCALE, Names, fields_of, fits_locale
from cometrep.places import Keeping, check_writable

_FOLDERS_TRIED = 20  # those of a batch's first items, before it sends any
_INDEX = r"\{index(?::\w+)?\}"


def check_batch(keeping: Keeping, items: Callable[[], Iterable[Item]]) -> None:
    """Raise UsageError where outputs of a batch would get one name, or one that the locale has no characters for.

    `items` gives all items, each time from the first on.
    """
    template = keeping.template
    if template == "-":
        raise errors.UsageError(
            f"{keeping.typed} writes one file, and a batch has many",
            hint="write -o '{key}-{index}.{ext}' instead",
            code="name_clash",
        )
    if not template:
        return
    has_id, has_key = "id" in fields_of(template), "key" in fields_of(template)
    # None of these names has an extension that is known last.
    may_be_the_batchs = "ext" not in fields_of(re.split(r"[/\\]", template)[-1])
    clashes = Clashes(keeping.folder, template)
    for item in items():
        if has_key and not fits_locale(item.key):
            raise errors.BadItems(
                f"the key {item.key!r} has characters that no file name has in this locale", hint=UTF8_LOCALE
            )
        request = item.request
        names, count = keeping.foreseen(request, item.key), request.asked_outputs
        if count > 1 and not names.are_distinct(count):
            raise _clash(f"the template {template!r} gives the {count} outputs of {item.label!r} one name")
        if not has_id:
            clashes.add(item.model, item.key)
            if may_be_the_batchs and names.is_the_batchs(0, "ext"):
                told = "the name of a file that the batch itself writes"
                raise _clash(f"the template {template!r} gives {item.label!r} {told}")
    if suspects := clashes.suspects():
        for item in items():
            if clashes.meets(suspects, item.model, item.key):
                told = "a name that an item before it has, or may get"
                raise _clash(f"the template {template!r} gives {item.label!r} {told}")


def folders_of(keeping: Keeping, items: Iterable[Item]) -> list[Path]:
    """List where a batch saves: in its folder, and in those of its first items."""
    of_items = islice(items if keeping.template else (), _FOLDERS_TRIED)
    names = (keeping.foreseen(item.request, item.key) for item in of_items)
    return [Path(keeping.folder), *(one.part_folder(0) for one in names)]


def check_folders(folders: Iterable[Path]) -> None:
    """Raise LocalFileError where a folder of a batch cannot be written to."""
    for folder in dict.fromkeys(folders):
        try:
            check_writable(folder)
        except errors.LocalFileError as failure:
            # Another folder has no record of what was sent before, and all would be sent again there.
            there = next((one for one in (folder, *folder.parents) if os.path.exists(one)), folder)
            look = "df -h" if failure.code == "disk_full" else "ls -ld"
            failure.hint = f"{look} {hints.quoted(str(there))}"
            raise


def _clash(told: str) -> errors.UsageError:
    return errors.UsageError(told, hint="-o '{key}-{id}-{index}.{ext}' keeps them apart", code="name_clash")


class Clashes:
    """Find items of a batch that may get one name, however many outputs each turns out to have.

    The twelfth output of a key `a`, `a11`, is the second of a key `a1` where no sign parts key and index. All items
    are taken up first, as hashes; `meets` then goes through them once more, and tells of each of the `suspects`
    whether one before it may have its name.
    """

    def __init__(self, folder: str, template: str) -> None:
        self._folder = folder
        self._template = re.sub(_INDEX, "\0", template)
        self._own, self._begun = Hashes(), Hashes()  # of names up to their index, and of how these begin
        self._met: set[int] = set()

    def add(self, model: str, key: str) -> None:
        """Take an item up."""
        own, begun = self._hashes(model, key)
        self._own.add(own)
        for one in begun:
            self._begun.add(one)

    def suspects(self) -> frozenset[int]:
        """Give the hashes by which items may meet; empty where none do."""
        return self._own.repeated() | self._own.shared_with(self._begun)

    def meets(self, suspects: frozenset[int], model: str, key: str) -> bool:
        """Say whether an item may get a name of one that was asked about before it."""
        own, begun = self._hashes(model, key)
        mine = suspects & {own, *begun}
        is_met = not self._met.isdisjoint(mine)
        self._met |= mine
        return is_met

    def _hashes(self, model: str, key: str) -> tuple[int, set[int]]:
        name = Names(self._folder, self._template, "ID", model, "2000-01-01", key).comparable(0)
        if "\0" not in name:
            return _hash(name), set()
        found = re.search(r"\d*\0\d*", name)
        digits = found.group().partition("\0")[0] if found else ""
        rest = re.sub(r"\d*\0\d*", "\0", name)
        # An index that has more digits than another begins with no 0, padded or not.
        begun = {_hash(rest, digits[:n]) for n, one in enumerate(digits) if one != "0"}
        return _hash(rest, digits), begun


def _hash(*texts: str) -> int:
    return hash(texts) & 0xFFFF_FFFF_FFFF_FFFF
