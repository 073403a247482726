"""Say where outputs are to go, and refuse what could not be saved there, before anything is paid for or fetched."""

import os
import re
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from cometrep import errors, hints
from cometrep.ledger import Ledger
from cometrep.names import Names, default_template
from cometrep.prediction import Request
from cometrep.small_files import writable_folder


class Keeping(NamedTuple):
    """Where and how outputs are kept.

    `template` is empty for default names, `-` for stdout, with `folder` to write in on the way; `key` is a batch
    item's; `files_at_once` are fetched side by side; `typed` is the template as errors name it.
    """

    folder: str = ""
    template: str = ""
    writes_sidecar: bool = False
    key: str = ""
    files_at_once: int = 1
    typed: str = "-o -"

    def foreseen(self, request: Request, key: str = "") -> Names:
        """Give the names of a request's outputs before its prediction is: of today, with `ID` for its id.

        `key` is that of the batch item whose request it is.
        """
        template = self.template or default_template(request.asked_outputs)
        return Names(self.folder, template, "ID", request.model, date_of(time.time()), key or self.key)


class Places:
    """Where one command's outputs are to go, those of predictions that the ledger knows by their own names."""

    def __init__(
        self, keeping: Keeping, ledger: Ledger, *, skips_existing: bool, now: Callable[[], float] = time.time
    ) -> None:
        self.keeping = keeping
        self._ledger = ledger
        self._skips_existing = skips_existing
        self._now = now

    def check(self, request: Request) -> None:
        """Raise UsageError where the outputs asked for cannot all have names, before anything is paid for."""
        template, count = self.keeping.template, request.asked_outputs
        if template == "-" and count > 1:
            raise errors.UsageError(
                f"{self.keeping.typed} writes one file, and num_outputs asks for {count}",
                hint=f"write {hints.OWN_NAMES} instead, or ask for one output",
                code="name_clash",
            )
        if template in ("", "-"):  # which gives names of their own, or none
            return
        names = self.keeping.foreseen(request)
        target = names.path(0, "ext")
        if os.path.isdir(target):
            raise self._inside(target, count)
        if os.path.exists(target) and not os.path.isfile(target):
            told = f"{self.keeping.typed}: {target} is no regular file"
            raise errors.UsageError(told, hint="-o - writes the file to stdout", code="bad_template")
        if not names.are_distinct(count):
            raise errors.UsageError(
                f"the template {template!r} gives all {count} outputs that num_outputs asks for one name",
                hint="add {index} to it: -o 'picture-{index}.{ext}'",
                code="name_clash",
            )

    def _inside(self, folder: Path, count: int) -> errors.UsageError:
        """Give the error of a template that names a folder, with the one that gives so many outputs names in it."""
        # In the place of a template that a setting gives, too, and under the folder that is given beside it.
        inside = hints.quoted(f"{self.keeping.template}/{default_template(count)}")
        return errors.UsageError(
            f"{self.keeping.typed}: {folder} is a folder", hint=f"-o {inside}", code="bad_template"
        )

    def check_room(self, request: Request) -> None:
        """Raise LocalFileError where the folder that outputs are to be saved in takes no file."""
        if self.keeping.template == "-" and self.keeping.folder:
            check_writable(Path(self.keeping.folder))
        elif self.keeping.template == "-":
            try:
                temporary_folder("").cleanup()
            except errors.LocalFileError as failure:
                failure.message += "; nothing was sent"
                raise
        elif not self.paths_that_stay(request):  # for which nothing is paid
            check_writable(self.keeping.foreseen(request).part_folder(0))

    def paths_that_stay(self, request: Request) -> list[Path]:
        """List the paths of a request's outputs where all of them exist and are to be left alone.

        They are known before the prediction is where the template has nothing of it, as in `-o cat.webp`. Raises
        LocalFileError where it cannot be told whether one exists.
        """
        template = self.keeping.template
        if not self._skips_existing or template in ("", "-"):
            return []
        one, other = (self.names(id, request.model, template, "") for id in ("one", "other"))
        indexes = range(request.asked_outputs)
        paths = [one.path(index, "one") for index in indexes]
        is_known = paths == [other.path(index, "other") for index in indexes]
        return paths if is_known and all(map(_stands, paths)) else []

    def check_ids(self, ids: Sequence[str]) -> None:
        """Raise UsageError where the outputs of several predictions would get one name, or a folder's.

        That is before any is fetched.
        """
        template, distinct = self.keeping.template, dict.fromkeys(ids)
        if template not in ("", "-") and os.path.isdir(folder := Path(self.keeping.folder, template)):
            raise self._inside(folder, 2)  # as many as there may be
        if len(distinct) < 2:
            return
        if not template:
            if differ(*distinct):
                return
            template = default_template(1)
        if template == "-":
            raise errors.UsageError(
                f"{self.keeping.typed} writes one file, and {len(distinct)} predictions are named",
                hint=hints.Command("cometrep download").of(*distinct, remedy=hints.OWN_NAMES),
                code="name_clash",
            )
        entries = {id: self._ledger.lenient(self._ledger.entry, id) for id in distinct}
        are_known = all(entries.values())  # else the one that is not may turn out to be as any other
        foreseen = [
            self.names(id, entry.model, template, date_of(entry.created))
            if entry and are_known
            else self.names(id, "model", template, "")
            for id, entry in entries.items()
        ]
        if len({names.comparable(0) for names in foreseen}) < len(distinct):
            raise errors.UsageError(
                f"the template {template!r} {'gives' if are_known else 'may give'} the outputs of {len(distinct)}"
                " predictions one name",
                hint=f"add {{id}} to it: {hints.OWN_NAMES}"
                if differ(*distinct)
                else "one command for each, with a folder of its own: -d DIR",
                code="name_clash",
            )

    def names(self, id: str, model: str, template: str, created_at: str) -> Names:
        """Give the names of a prediction's outputs by a template; `created_at` as the API tells it, or empty."""
        found = re.match(r"\d{4}-\d\d-\d\d", created_at)
        date = found.group() if found else date_of(self._now())
        return Names(self.keeping.folder, template, id, model, date, self.keeping.key)


def date_of(seconds: float) -> str:
    """Give the date that a time since the epoch falls on, in UTC."""
    return time.strftime("%Y-%m-%d", time.gmtime(seconds))


def differ(*ids: str) -> bool:
    """Say whether ids differ in more than case, which many file systems do not tell apart."""
    return len({id.casefold() for id in ids}) == len(ids)


def _stands(path: Path) -> bool:
    """Say whether a path exists; raise LocalFileError where that cannot be told, as it may cost a prediction."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as problem:
        told = f"cannot see whether {path} exists: {problem.strerror}"
        raise errors.LocalFileError(told, hint=f"ls -ld {hints.quoted(str(path))}") from problem
    return True


def check_writable(folder: Path) -> None:
    """Raise LocalFileError where a folder, or the one that it is to be made in, takes no new file."""
    try:
        writable_folder(folder)
    except OSError as problem:
        raise errors.LocalFileError(
            f"cannot save in {folder}: {problem.strerror}; nothing was sent",
            hint=hints.ELSEWHERE,
            code=errors.file_code(problem),
        ) from problem


def temporary_folder(place: str) -> tempfile.TemporaryDirectory[str]:
    """Make a folder for a file that is not to stay, in `place` or, where that is empty, by TMPDIR.

    Raises LocalFileError.
    """
    try:
        if place:
            Path(place).mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryDirectory(prefix="cometrep-", dir=place or None, ignore_cleanup_errors=True)
    except OSError as problem:
        if place:
            raise errors.LocalFileError(
                f"cannot write in {place}: {problem.strerror}",
                remedy=hints.OTHER_FOLDER,
                code=errors.file_code(problem),
            ) from problem
        raise errors.LocalFileError(
            f"no temporary folder (TMPDIR) takes a file: {problem.strerror}", hint="export TMPDIR=FOLDER"
        ) from problem
