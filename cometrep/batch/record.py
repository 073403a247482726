"""The record of a batch: every step of every item, appended to one file in its folder; resume and lock.

`batch.jsonl` holds one JSON object a line, each appended with a single write, one thread at a time. A shard writes
a record of its own, and reads those of the others too: what any run in the folder has sent is known to all.
"""

import contextlib
import errno
import json
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from cometrep import errors, hints
from cometrep.batch.snapshot import comes_once
from cometrep.batch.standings import STEPS, Standing, Standings, storable_number
from cometrep.batch.steps import read_steps, records_in
from cometrep.locks import is_at, is_held, lock
from cometrep.names import BATCH_RECORD, batch_record
from cometrep.text import format_count

SANDBOX = "sandbox"
_IDS_SHOWN = 5
_ATTEMPTS = 3  # at opening a record that is where it is looked for
_LOOK_SECONDS = 0.1  # that a look at a lock takes at most
_HAD_SECONDS = 86_400.0  # after a create, for so long its prediction may run or be had
_HEADER = "batch"  # the step of a whole run


def default_folder(file: str) -> str:
    """Give the folder of a batch's results where none is named: the file's stem, else `batch` or `sweep`."""
    if not file:
        return "sweep"
    return "batch" if comes_once(file) else Path(file).stem


class Gone(NamedTuple):
    """What a record holds of items that a batch has no more: how many, and predictions still to be had."""

    items: int = 0
    ids: tuple[str, ...] = ()

    def unless(self, is_saved: Callable[[str], object]) -> "Gone":
        """Leave out the predictions that are saved."""
        return self._replace(ids=tuple(id for id in self.ids if not is_saved(id)))

    def counted(self, folder: Path) -> tuple[str, ...]:
        """Say how many there are; nothing for none. Where others were meant, all of them are sent anew."""
        if not self.items:
            return ()
        verb = "is" if self.items == 1 else "are"
        return (f"{folder}: {format_count(self.items, 'item')} of earlier runs {verb} not among these",)

    def told(self, folder: Path) -> tuple[str, ...]:
        """Say how such predictions are saved, the first few of them; nothing where there are none."""
        if not self.ids:
            return ()
        shown = hints.Command("cometrep download --wait", (f"-d {hints.quoted(str(folder))}",)).of(
            *self.ids[:_IDS_SHOWN]
        )
        verb = "is" if len(self.ids) == 1 else "are"
        first = f"; for the first {_IDS_SHOWN}" if len(self.ids) > _IDS_SHOWN else ""
        return (
            f"{format_count(len(self.ids), 'prediction')} in {folder} {verb} of no item any more{first}: {shown}",
        )


class Record:
    """The record in one folder, of the whole batch or of one shard of it.

    `api` is where this run sends to, a base URL or `sandbox`; empty where it sends nothing. With `reads_inputs` its
    standings have what was sent.
    """

    def __init__(
        self,
        folder: Path,
        shard: tuple[int, int] | None = None,
        *,
        api: str = "",
        reads_inputs: bool = False,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.folder = folder
        self._api = api
        self._reads_inputs = reads_inputs
        self.path = folder / batch_record(shard)
        self._shard = shard
        self._now = now
        self._file = -1
        self._is_mine = False  # as the lock says, or nothing does
        self._tells_place = True  # whether the file system knows a file again
        self._lock_problem = ""  # why nothing keeps other runs away
        self._is_torn = False  # the last line is not whole, as on a full disk
        self._writing = threading.Lock()  # one thread's torn line is not to be gone on with by another
        self._paths: list[Path] = []  # of all records in the folder
        self._standings = Standings(folder, reads_inputs=reads_inputs)
        self._apis: set[str] = set()  # where earlier runs made predictions, or may have
        self._totals: dict[Path, int] = {}  # of items, by record, as the last run of each counted them
        self.gone = Gone()  # as the last run found
        self._begun = 0.0  # when that began
        self._newest = 0.0  # the time of the newest step that was read

    def refuse_as_items(self, file: str) -> None:
        """Raise UsageError where a batch's FILE is one of the records in its folder."""
        with contextlib.suppress(OSError):  # that it cannot be read is told by who reads it
            if any(os.path.samefile(file, path) for path in records_in(self.folder)):  # noqa: PTH121
                raise errors.UsageError(
                    f"{file!r} is where the record of the batch in {str(self.folder)!r} is kept",
                    hint=hints.ELSEWHERE,
                )

    def open(self) -> None:
        """Make the folder, lock the record, and read what earlier runs left; a death lets go of the lock.

        Raises LocalFileError where another run works on the same items or the folder cannot be written.
        """
        self._refuse_file()
        with self._translated():
            self.folder.mkdir(parents=True, exist_ok=True)
            self._open_and_lock()
            if not self._is_mine or any(is_held(path) for path in self._overlapping()):
                self.close()
                raise errors.LocalFileError(
                    f"another batch is running in {self.folder}: wait for its end; in another folder all would be"
                    " paid for again",
                    hint=f"cometrep batch --status --dir {hints.quoted(str(self.folder))}",
                    code="batch_running",
                )
            self._check_last_line()
        self.read()

    def _refuse_file(self) -> None:
        if os.path.exists(self.folder) and not os.path.isdir(self.folder):
            raise errors.LocalFileError(
                f"the folder of the batch would be {str(self.folder)!r}, and that is a file",
                hint=hints.ELSEWHERE,
            )

    def _open_and_lock(self) -> None:
        """Open the file, made if missing, and lock it; once more where another run, refused, has removed it."""
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
        for _ in range(_ATTEMPTS):
            if self._file >= 0:
                os.close(self._file)
            self._file = os.open(self.path, flags, 0o666)
            self._is_mine = self._lock()
            if not self._is_mine or self._is_in_place():
                return
        self._tells_place = not self.path.exists()  # it is there, and never the one that was opened

    def _lock(self) -> bool:
        try:  # who merely looks whether it is held, holds it for a moment
            return lock(self._file, patience_seconds=_LOOK_SECONDS)
        except OSError as problem:
            self._lock_problem = problem.strerror or str(problem)
            return True

    def read(self) -> None:
        """Read what earlier runs left, without touching anything.

        Raises LocalFileError where that fails, and UsageError where they made predictions at another API.
        """
        self._refuse_file()
        with self._translated("read"):
            self._paths = records_in(self.folder)
            self._standings.close()
            self._standings = Standings(self.folder, reads_inputs=self._reads_inputs)
            if any(path.stat().st_size for path in self._paths):
                self._standings.take(self._steps())
        others = sorted(self._apis - {self._api, ""})
        if self._api and others:
            is_paid = SANDBOX not in (others[0], self._api)
            raise errors.UsageError(
                f"the batch in {str(self.folder)!r} was made {_at(others[0])}, not {_at(self._api)}"
                + "; in another folder all would be paid for again" * is_paid,
                hint=hints.ELSEWHERE,
                code="other_base_url",
            )

    def close(self) -> None:
        """Let go of the lock and the file; raise LocalFileError where what was written is not kept."""
        self._standings.close()
        if self._file < 0:
            return
        with contextlib.suppress(OSError):
            is_locked = self._is_mine and not self._lock_problem  # else another run may have made it
            if is_locked and not os.fstat(self._file).st_size and self._is_in_place():
                self.path.unlink()  # it was made just now, and nothing came of it: a lost one may look so
        file, self._file = self._file, -1
        with self._translated():  # a server of files may tell only now that its disk is full
            os.close(file)

    def told_at_the_beginning(self) -> tuple[str, ...]:
        """Say that nothing keeps other runs away, where the file system knows no locks."""
        if not self._lock_problem:
            return ()
        told = f"{self.folder} cannot be locked ({self._lock_problem})"
        return (f"{told}: nothing keeps another run from sending the same items",)

    def told_at_the_end(self) -> tuple[str, ...]:
        """Say that the file which steps were written to stands in the folder no more, where that is so."""
        with contextlib.suppress(OSError):
            if not self._is_in_place():
                return (f"{self._lost()}; another run there would send all of it again",)
        return ()

    def _is_in_place(self) -> bool:
        """Say whether the file that steps are written to is the one that stands in the folder, or nothing tells."""
        return not self._tells_place or is_at(self.path, self._file)

    def _lost(self) -> str:
        return f"{self.path} is not where it was: the folder was moved, or its record removed, while the batch ran"

    def add(self, step: str, key: str, **facts: Any) -> None:
        """Append one step of an item, with one write; safe from any thread.

        `sending` is on the disk on return, where the next run looks for it: after a power cut, too, what may be
        paid for is not sent again.
        """
        if step == "sending":
            with self._translated("find"):
                is_in_place = self._is_in_place()
            if not is_in_place:
                told = f"{self._lost()}; nothing more is sent"
                raise errors.LocalFileError(told, hint="cometrep list", code="record")
        # Between records the newest step counts, and that is this one, whatever clock the others went by.
        newest = max(self._now(), self._newest + 0.001)
        line = {"step": step, "time": round(newest, 3), "key": key, **facts}
        content = json.dumps(line, separators=(",", ":")).encode() + b"\n"
        with self._translated():
            with self._writing:
                content = b"\n" * self._is_torn + content
                written = os.write(self._file, content)
                self._is_torn = written < len(content)
                if self._is_torn:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if step == "sending":
                os.fsync(self._file)

    def add_header(self, **facts: Any) -> None:
        """Append what is true of this run as a whole."""
        self.add(_HEADER, "", api=self._api, **facts)

    def standing(self, key: str) -> Standing:
        """Tell where an item stood when this run began."""
        return self._standings.of(key)

    def owner(self, id: str, key: str) -> str:
        """Give the key of the item that a prediction's id was given to: this one, where no other had it first.

        To be asked from one thread.
        """
        return self._standings.owner(id, key)

    @property
    def total(self) -> int | None:
        """How many items there are, as far as earlier runs counted them; None where none has run."""
        totals: dict[int, int] = {}  # by the number of shards; each way to split it speaks of the same items
        for path, total in self._totals.items():
            shard = _shard_of(path)
            count = shard[1] if shard else 0
            totals[count] = totals.get(count, 0) + total
        return max(totals.values(), default=None)

    def open_items(self) -> tuple[int, dict[str, str]]:
        """Count the items of the folder, and give by key the first ids that may have to be saved yet."""
        return self._standings.open_items(self._now() - _HAD_SECONDS)

    def standings(self) -> Iterator[tuple[str, Standing]]:
        """Yield every item of the folder with its standing, in the order in which they were sent.

        While a run is at work, a create that it waits for is no doubt and what it saves is not unsaved: both run.
        """
        return self._standings.by_key([is_held(path) for path in self._paths])

    def _steps(self) -> Iterator[tuple[Mapping[str, Any], int]]:
        """Yield the steps of items, each with the number of its record; take up what is true of whole runs."""
        for number, path in enumerate(self._paths):
            api = ""
            open_at: dict[str, str] = {}  # where creates were sent that may have been accepted, by key
            for step, _ in read_steps(path):
                name, key = step["step"], str(step.get("key") or "")
                if name not in (STEPS if key else (_HEADER,)):
                    raise errors.LocalFileError(  # nobody here knows what was paid for
                        f"{path} was written by a newer cometrep: it has the step {name!r}",
                        hint=hints.NEWEST,
                        code="record",
                    )
                self._newest = max(self._newest, storable_number(step.get("time")))
                if not key:
                    api = str(step.get("api", ""))
                    self._take_header(path, step)
                    continue
                if name == "sending":
                    open_at[key] = api
                elif name in ("created", "unsent", "refused"):
                    open_at.pop(key, None)
                if name == "created":
                    self._apis.add(api)
                yield step, number
            self._apis.update(open_at.values())

    def _take_header(self, path: Path, header: Mapping[str, Any]) -> None:
        """Take up what is true of a whole run: how many items it had and, of the last one, what it found gone."""
        if isinstance(header.get("total"), int):
            self._totals[path] = header["total"]
        begun = storable_number(header.get("time"))
        if begun >= self._begun:
            ids = header.get("strays") if begun > self._now() - _HAD_SECONDS else ()
            strays = tuple(map(str, ids)) if isinstance(ids, list) else ()
            self.gone, self._begun = Gone(int(storable_number(header.get("gone"))), strays), begun

    def _overlapping(self) -> Iterator[Path]:
        """Yield the records of other runs that could hold this one's items: all but sister shards."""
        for path in records_in(self.folder):
            shard = _shard_of(path)
            is_sister = self._shard is not None and shard is not None and shard[1] == self._shard[1]
            if path != self.path and not is_sister:
                yield path

    def _check_last_line(self) -> None:
        """See whether a death tore the last line, so that the next step does not run into it."""
        if os.fstat(self._file).st_size:
            os.lseek(self._file, -1, os.SEEK_END)
            self._is_torn = os.read(self._file, 1) != b"\n"

    @contextlib.contextmanager
    def _translated(self, verb: str = "write") -> Iterator[None]:
        try:
            yield
        except OSError as problem:
            # Another folder has no record, and all would be sent again there.
            is_full = problem.errno in errors.NO_SPACE
            hint = f"df -h {hints.quoted(str(self.folder))}" if is_full else hints.ELSEWHERE
            if not is_full and os.access(self.path, os.F_OK):
                hint = f"ls -l {hints.quoted(str(self.path))}"
            raise errors.LocalFileError(
                f"cannot {verb} {self.path}: {problem.strerror}",
                hint=hint,
                code=errors.file_code(problem),
            ) from problem


def _at(api: str) -> str:
    return "in the sandbox" if api == SANDBOX else f"at {api}"


def _shard_of(path: Path) -> tuple[int, int] | None:
    found = re.fullmatch(BATCH_RECORD, path.name)
    return (int(found[1]), int(found[2])) if found and found[1] else None
