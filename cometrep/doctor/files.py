"""Check the folders, the ledger and what was left: part files, creates in doubt, outputs that are not saved."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from cometrep import config, errors, hints
from cometrep.calls import within
from cometrep.doctor.checks import FAIL, OK, SHOWN, WARN, Check, guarded, typed, untried
from cometrep.doctor.subject import Subject
from cometrep.ledger import Ledger
from cometrep.ledger.entry import RETENTION_SECONDS, SANDBOX, UNKNOWN, Entry
from cometrep.partfile import LeftOver, left_over_in
from cometrep.small_files import writable_folder
from cometrep.text import first_few, format_bytes, format_count, format_elapsed
from cometrep.transport.reasons import reason_of

_NEAR_SECONDS = 1800.0  # an unsaved output with less than this left is a warning
_DAY = 86400.0
_RECENT_DAYS = 30
_FOLDERS = 100  # of saved files that are searched for part files


class _Memory(NamedTuple):
    """What the ledger knows that may need something done."""

    unknown: Sequence[Entry] = ()
    unsaved: Sequence[Entry] = ()
    unfinished: int = 0  # that had not ended when last seen
    folders: Sequence[Path] = ()


class Files:
    """The folders that cometrep writes to, and what its ledger and part files tell."""

    def __init__(self, subject: Subject, *, now: Callable[[], float], limit_seconds: float) -> None:
        self._subject = subject
        self._settings = subject.settings
        self._now = now
        self._limit_seconds = limit_seconds
        self._memory: _Memory | None = None
        self._folders = config.folders()

    def checks(self) -> Iterator[Check]:
        """Make each check; those that read the ledger come behind its own."""
        for name, make in (
            ("state_folder", self._state_folder),
            ("cache_folder", self._cache_folder),
            ("ledger", self._ledger),
            ("part_files", self._part_files),
            ("unknown_creates", self._unknown_creates),
            ("unsaved_outputs", self._unsaved_outputs),
        ):
            yield guarded(name, make, self._subject.again)

    def _state_folder(self) -> Check:
        return _writable("state_folder", self._folders.ledger_file.parent, FAIL)

    def _cache_folder(self) -> Check:
        return _writable("cache_folder", self._folders.sandbox, FAIL if self._settings.uses_sandbox else WARN)

    def _ledger(self) -> Check:
        path = self._folders.ledger_file
        try:
            self._memory = within(self._limit_seconds, self._remember)
        except errors.LocalFileError as problem:
            return Check("ledger", FAIL, problem.message, problem.hint)
        except TimeoutError:
            return Check("ledger", WARN, f"{path} is busy", f"run it again in a while: {self._subject.again}")
        if not path.exists():
            return Check("ledger", OK, f"none yet; the first create makes {path}")
        return Check("ledger", OK, f"{path}, {format_bytes(path.stat().st_size)}")

    def _remember(self) -> _Memory:
        now = self._now()
        with contextlib.closing(self._open_ledger(is_sandbox=self._settings.is_sandboxed)) as ledger:
            return _Memory(
                unknown=[
                    entry
                    for entry in ledger.entries(status=UNKNOWN, since=now - _RECENT_DAYS * _DAY)
                    if not entry.may_be_under_way(now)
                ],
                unsaved=[
                    entry
                    for entry in ledger.entries(status="succeeded", since=now - _DAY, unsaved_only=True)
                    if self._settings.is_sandboxed or entry.base_url == self._subject.base_url
                ],
                unfinished=len(ledger.unfinished(since=now - 2 * RETENTION_SECONDS)),
                folders=ledger.file_folders(_FOLDERS),
            )

    def _open_ledger(self, *, is_sandbox: bool) -> Ledger:
        return Ledger(self._folders.ledger_file, base_url=self._subject.base_url, is_sandbox=is_sandbox)

    def _part_files(self) -> Check:
        try:
            here = Path.cwd()
        except FileNotFoundError:
            return Check("part_files", WARN, "the working folder is gone", "cd")
        own = here / self._settings.folder
        known = self._memory.folders if self._memory else ()
        found = within(self._limit_seconds, lambda: _left_over(dict.fromkeys((here, own, *known))))
        if not found:
            return Check("part_files", OK, "none here or where files were saved")
        everything = [part for parts in found.values() for part in parts]
        size = format_bytes(sum(part.size_bytes for part in everything))
        told = f"{len(everything)} in {first_few([str(folder) for folder in found], SHOWN)}, {size}"
        useless = [path for part in everything if not self._may_go_on(part) for path in part.paths]
        fixes = [fix for folder, parts in found.items() for fix in self._going_on(folder, parts, own)]
        if useless:
            fixes.append(typed("rm --", *(hints.quoted(str(path)) for path in useless[: 2 * SHOWN])))
        return Check("part_files", WARN, told, "; ".join(fixes))

    def _going_on(self, folder: Path, parts: Sequence[LeftOver], own: Path) -> Iterator[str]:
        """Give the downloads that take up the part files of a folder, each from the server of its prediction.

        The API key is sent there: of one that only a part file knows its note is shown, for people to decide.
        """
        useful = [part for part in parts if self._may_go_on(part)]
        of_ledger = self._flags_of(part.id for part in useful if not part.server)
        where = () if folder == own else (f"-d {hints.quoted(str(folder))}",)
        ids: dict[str, dict[str, None]] = {}
        notes: list[str] = []
        for part in useful:
            flag = self._flag_of(part.server) if part.server else of_ledger[part.id]
            if flag is None:
                notes.append(hints.quoted(str(part.paths[-1])))
            else:
                ids.setdefault(flag, {})[part.id] = None
        for flag, some in ids.items():
            yield hints.Command(typed("cometrep download", flag), where).of(*list(some)[:SHOWN])
        if notes:
            yield typed("cat -v --", *notes[:SHOWN])

    def _flag_of(self, server: str) -> str | None:
        """Give the flag that chooses a server, None for one that no create was sent to from this machine."""
        with contextlib.closing(self._open_ledger(is_sandbox=self._settings.is_sandboxed)) as own:
            if own.server == server:
                return self._subject.flags
            if server == SANDBOX:
                return "--sandbox"
            return f"--base-url {hints.quoted(server)}" if own.lenient(own.has_sent_to, server) else None

    def _flags_of(self, ids: Iterable[str]) -> dict[str, str | None]:
        """Give for each prediction the flag that chooses its server; this one's where the ledger knows no other."""
        is_sandboxed = self._settings.is_sandboxed
        flags: dict[str, str | None] = dict.fromkeys(ids, self._subject.flags)
        if not self._memory:
            return flags
        with (
            contextlib.closing(self._open_ledger(is_sandbox=is_sandboxed)) as own,
            contextlib.closing(self._open_ledger(is_sandbox=not is_sandboxed)) as other,
        ):
            for id in flags:
                if own.lenient(own.entry, id):
                    continue
                made = (one.lenient(partial(one.entry, anywhere=True), id) for one in (own, other))
                if entry := next(filter(None, made), None):
                    flags[id] = self._flag_of(SANDBOX if entry.is_sandbox else entry.base_url)
        return flags

    def _may_go_on(self, part: LeftOver) -> bool:
        """Say whether a download takes a part file up: all is there, or the rest can still be fetched."""
        return part.is_complete or (part.is_resumable and self._now() - part.changed < RETENTION_SECONDS)

    def _unknown_creates(self) -> Check:
        if self._memory is None:
            return untried("unknown_creates", "ledger", self._subject.again)
        unknown = self._memory.unknown
        if not unknown:
            return Check("unknown_creates", OK, f"none in the last {_RECENT_DAYS} days")
        age = format_elapsed(max(0.0, self._now() - unknown[0].created))
        told = f"{len(unknown)} may have been accepted and billed, the last {age} ago"
        return Check("unknown_creates", WARN, told, typed("cometrep list", self._subject.flags, "--unknown"))

    def _unsaved_outputs(self) -> Check:
        if self._memory is None:
            return untried("unsaved_outputs", "ledger", self._subject.again)
        now = self._now()
        # Those come first whose hour lasts: of the others it is not known whether they can be had.
        unsaved = sorted(self._memory.unsaved, key=lambda entry: (entry.expires < now, entry.expires))
        near = [entry for entry in unsaved if entry.expires - now < _NEAR_SECONDS]
        if near:
            told = first_few([f"{entry.id} ({_time_left(entry.expires - now)})" for entry in near], SHOWN)
            download = hints.Command(typed("cometrep download", self._subject.flags))
            fix = download.of(*(entry.id for entry in near[:SHOWN]))
            return Check("unsaved_outputs", WARN, f"succeeded and not saved: {told}", fix)
        told = "none in the last day"
        if unsaved:
            told = f"{len(unsaved)} not saved yet, the first with {_time_left(unsaved[0].expires - now)}"
        if count := self._memory.unfinished:
            looking = typed("cometrep list", self._subject.flags, "--unsaved --refresh")
            told += f"; {format_count(count, 'prediction')} had not ended when last seen: {looking}"
        return Check("unsaved_outputs", OK, told)


def _writable(name: str, folder: Path, outcome: str) -> Check:
    """Check that a folder, or the nearest parent that exists, takes a file."""
    try:
        there = writable_folder(folder)
    except OSError as problem:
        fix = hints.OTHER_HOME
        if problem.errno in errors.NO_SPACE:
            there = next(one for one in (folder, *folder.parents) if one.exists())
            fix = f"df -h {hints.quoted(str(there))}"
        return Check(name, outcome, f"{folder} cannot be written: {reason_of(problem)}", fix)
    return Check(name, OK, str(folder) if there == folder else f"{folder}, made when it is needed")


def _left_over(folders: Iterable[Path]) -> dict[Path, list[LeftOver]]:
    """Give the part files of each folder that holds any; a folder that cannot be read holds none."""
    found = {}
    for folder in folders:
        with contextlib.suppress(OSError):
            found[folder] = left_over_in(folder)
    return {folder: parts for folder, parts in found.items() if parts}


def _time_left(seconds: float) -> str:
    return f"{format_elapsed(seconds)} left" if seconds > 0 else "its hour is over"
