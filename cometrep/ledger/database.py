"""One SQLite file that several processes share: opened at its first use, written by one at a time.

It is in WAL mode. No wait for another process is deaf to a signal.
"""

import contextlib
import errno
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from cometrep import errors, hints
from cometrep.config.file import make_private_folder

BUSY_SECONDS = 60.0  # that another process is waited for
BRIEF_SECONDS = 2.0  # where something else waits meanwhile, as for the id of a create
HELD = "the ledger, which another process may hold, is waited for"
_ONE_WAIT_SECONDS = 0.05  # of SQLite's own, into which no signal cuts
_PAUSE_SECONDS = 0.02
_ROOM_BYTES = 64 * 1024  # of a disk: with less there is no room for the files beside it
_HELD_KINDS = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)  # of errors: another process holds the file
_CACHE_KIB = 256  # of pages; the system caches the file anyway


class Database:
    """A database of its user's own, for any thread.

    Questions to a file that does not exist find nothing and make nothing. Raises LocalFileError, with the name as
    its code, where the file cannot be written, read or understood.
    """

    def __init__(
        self,
        path: Path,
        name: str,
        *,
        schema: str,
        version: int,
        patience: Callable[[], float],
    ) -> None:
        """`schema` makes a new file, in statements with `;` between them; one of a later `version` is refused.

        `patience` gives how many seconds another process is waited for at most.
        """
        self._path = path
        self._name = name
        self._schema = schema
        self._version = version
        self._patience = patience
        self._lock = threading.RLock()  # of the connection: one transaction at a time
        self._opened: sqlite3.Connection | None = None
        self._is_to_read = False  # what is opened takes no writes
        self._is_durable: bool | None = None  # whether the last write waited for the disk

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._opened:
                self._opened.close()
                self._opened = self._is_durable = None

    def exists(self) -> bool:
        """Say whether there is a file; none is made."""
        if self._opened is not None:
            return True
        with self._translated():
            try:
                self._path.stat()
            except FileNotFoundError:  # and not where a file stands in place of a folder above it
                return False
            return True

    def rows(self, query: str, *values: Any) -> list[sqlite3.Row]:
        """Give all rows that a query finds."""
        return list(self.each(query, *values))

    def each(self, query: str, *values: Any) -> Iterator[sqlite3.Row]:
        """Yield the rows that a query finds, one by one: the file is kept from other threads until the last."""
        if self.exists():
            with self._lock, self._translated():
                for row in self._when_free(self._connection(), query, values):  # noqa: UP028 - it closes no closed cursor
                    yield row

    @contextlib.contextmanager
    def writing(
        self, *, durable: bool = False, patience_seconds: float = BUSY_SECONDS
    ) -> Iterator[sqlite3.Connection]:
        """Hold the file's one write lock for a transaction; `durable` also waits for the disk."""
        deadline = time.monotonic() + min(patience_seconds, self._patience())
        while True:
            with self._lock, self._translated():
                connection = self._connection(writes=True)
                if connection.in_transaction:  # a signal cut in before what it was begun for could end it
                    connection.execute("ROLLBACK")
                if durable != self._is_durable:
                    self._when_free(connection, f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
                    self._is_durable = durable
                try:  # a signal that comes while it waits is met when the transaction has begun
                    if _begin_if_free(connection, deadline):
                        yield connection
                        # Readers are in its way without WAL.
                        self._when_free(connection, "COMMIT", deadline=deadline)
                        return
                except BaseException:
                    if connection.in_transaction:  # a full disk may have ended it already
                        connection.execute("ROLLBACK")
                    raise
            time.sleep(_PAUSE_SECONDS)  # without the lock: others may write, or close it, meanwhile

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as problem:
            raise self._failure(problem) from problem

    def _failure(self, problem: sqlite3.Error | OSError) -> errors.LocalFileError:
        """Say what is wrong with the file, and what mends it; one that is broken is closed."""
        told = problem.strerror if isinstance(problem, OSError) else str(problem)
        is_operational = isinstance(problem, sqlite3.OperationalError)
        is_broken = isinstance(problem, sqlite3.DatabaseError) and not is_operational
        is_full = self._is_full(problem)
        # SQLite calls a page malformed, too, that the disk did not give.
        if _kind_of(problem) == sqlite3.SQLITE_CORRUPT and self._is_sound():
            told, hint = "a part of it could not be read a moment ago", hints.RUN_AGAIN
        else:
            if is_broken:
                with contextlib.suppress(sqlite3.Error):
                    self.close()  # as it is closed what stands beside the file may go into it
            hint = self._remedy(problem, is_broken=is_broken, is_full=is_full)
        failure = errors.LocalFileError(
            f"the {self._name} {self._path} cannot be {'read' if is_broken else 'used'}:"
            f" {os.strerror(errno.ENOSPC) if is_full else told}",
            hint=hint,
            code="disk_full" if is_full else self._name,
        )
        failure.is_worth_repeating = is_full or _kind_of(problem) in _HELD_KINDS
        return failure

    def _is_sound(self) -> bool:
        """Say whether the file can be read wholly, and is what SQLite wrote."""
        with contextlib.suppress(sqlite3.Error):
            address = f"{self._path.absolute().as_uri()}?mode=ro"
            with contextlib.closing(sqlite3.connect(address, uri=True, timeout=_ONE_WAIT_SECONDS)) as connection:
                return bool(connection.execute("PRAGMA quick_check(1)").fetchone()[0] == "ok")
        return False

    def _is_full(self, problem: sqlite3.Error | OSError) -> bool:
        """Say whether no space is left, which SQLite may call an I/O error or a file that cannot be opened."""
        if isinstance(problem, OSError):
            return problem.errno in errors.NO_SPACE
        kind = _kind_of(problem)
        if kind in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN):
            import shutil

            with contextlib.suppress(OSError):
                folder = self._path.parent
                return shutil.disk_usage(folder).free < _ROOM_BYTES or _takes_no_more_files(folder)
        return kind == sqlite3.SQLITE_FULL

    def _remedy(self, problem: sqlite3.Error | OSError, *, is_broken: bool, is_full: bool) -> str:
        path = hints.quoted(str(self._path))
        if is_full:
            lacks_files = _takes_no_more_files(self._path.parent)  # though it may have room for their bytes
            return f"df {'-i' if lacks_files else '-h'} {hints.quoted(str(self._path.parent))}"
        if is_broken:
            # Together, or what stands in the second one would be lost: the next ledger removes it.
            newest = f" && mv {path}-wal {path}.damaged-wal" if self._has_newest() else ""
            return f"mv {path} {path}.damaged{newest}"
        if _kind_of(problem) in _HELD_KINDS:
            return f"fuser -v {path}"
        if _is_closed_by_another(self._path.parent, os.X_OK):
            return f'sudo chown "$(id -u)" {hints.quoted(str(self._path.parent))}'
        if _is_closed_by_another(self._path, os.R_OK | os.W_OK):
            is_all = _is_closed_by_another(self._path.parent, os.W_OK)  # SQLite makes files beside it
            folder = f"{hints.quoted(str(self._path.parent))} " if is_all else ""
            return f'sudo chown "$(id -u)" {folder}{path}*'
        is_there = os.access(self._path, os.F_OK) and os.access(self._path.parent, os.W_OK)
        if is_there and not os.access(self._path, os.R_OK | os.W_OK):
            return f"chmod 600 {path}"
        return hints.OTHER_HOME

    def _connection(self, *, writes: bool = False) -> sqlite3.Connection:
        if writes and self._is_to_read:  # it may take them by now
            self.close()
        if self._opened is None:
            self._opened = self._open(writes=writes)
        return self._opened

    def _open(self, *, writes: bool) -> sqlite3.Connection:
        make_private_folder(self._path.parent)
        self._is_to_read = False
        if self._path.exists() and not self._path.is_file():  # a pipe would be waited for
            raise OSError(errno.EINVAL, "it is no regular file")
        try:
            # SQLite gives the files beside it (-wal, -shm) the mode of this one.
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))
            return self._connected(str(self._path))
        except (OSError, sqlite3.OperationalError) as problem:
            if writes or _kind_of(problem) == sqlite3.SQLITE_BUSY:
                raise
            opened = self._opened_to_read()
            if opened is None:
                if self._has_newest() and isinstance(problem, OSError) and problem.errno == errno.EROFS:
                    raise self._readable_elsewhere() from problem
                raise
        self._is_to_read = True
        return opened

    def _opened_to_read(self) -> sqlite3.Connection | None:
        """Open a file that may not be written, or has no room for those beside it; None where that fails too."""
        address = self._path.absolute().as_uri()
        ways = ["mode=ro", "immutable=1"]  # as immutable it is read without what stands beside it
        for way in ways[:1] if self._has_newest() else ways:
            with contextlib.suppress(sqlite3.OperationalError):
                return self._connected(f"{address}?{way}", is_uri=True)
        return None

    def _has_newest(self) -> bool:
        """Say whether anything stands in the file beside it, in which SQLite writes first."""
        newest = Path(f"{self._path}-wal")
        return newest.exists() and newest.stat().st_size > 0

    def _readable_elsewhere(self) -> errors.LocalFileError:
        return errors.LocalFileError(
            f"the {self._name} {self._path} cannot be read where nothing can be written, as its newest part stands"
            f" in {self._path.name}-wal; a copy of both in another folder can",
            hint=f"cp {hints.quoted(str(self._path))}* FOLDER && export COMETREP_HOME=FOLDER",
            code=self._name,
        )

    def _connected(self, address: str, *, is_uri: bool = False) -> sqlite3.Connection:
        connection = sqlite3.connect(
            address, timeout=_ONE_WAIT_SECONDS, isolation_level=None, uri=is_uri, check_same_thread=False
        )
        connection.row_factory = sqlite3.Row
        connection.text_factory = _text_of
        try:
            self._when_free(connection, f"PRAGMA cache_size = -{_CACHE_KIB}")
            if self._when_free(connection, "PRAGMA user_version").fetchone()[0] != self._version:
                self._set_up(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _set_up(self, connection: sqlite3.Connection) -> None:
        self._when_free(connection, "PRAGMA journal_mode = WAL")
        self._when_free(connection, "BEGIN IMMEDIATE")
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > self._version:
            connection.execute("ROLLBACK")
            raise errors.LocalFileError(
                f"the {self._name} {self._path} was written by a newer cometrep",
                hint=hints.NEWEST,
                code=self._name,
            )
        if version == 0:
            for statement in self._schema.split(";"):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {self._version}")
        self._when_free(connection, "COMMIT")  # which waits for readers where the journal is no WAL

    def _when_free(
        self,
        connection: sqlite3.Connection,
        statement: str,
        values: Sequence[Any] = (),
        *,
        deadline: float | None = None,
    ) -> sqlite3.Cursor:
        """Execute a statement as soon as no other process is in its way, if that is soon enough; a signal cuts in.

        `deadline` is on the monotonic clock, None for as long as there is patience.
        """
        if deadline is None:
            deadline = time.monotonic() + self._patience()
        while True:
            try:
                return connection.execute(statement, values)
            except sqlite3.OperationalError as problem:
                if _kind_of(problem) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
            time.sleep(_PAUSE_SECONDS)  # some statements, as one that changes the journal mode, do not wait at all


def _text_of(content: bytes) -> str:
    """Read a text, of which somebody may have edited the bytes: one bad value must not hide all others."""
    return content.decode("utf-8", "replace")


def _begin_if_free(connection: sqlite3.Connection, deadline: float) -> bool:
    """Begin to write, and say so, unless another process does; raise what is still in the way at the deadline."""
    try:
        connection.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as problem:
        if _kind_of(problem) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
            raise
        return False
    return True


def _kind_of(problem: Exception) -> int:
    """Give the kind of an error of SQLite, which is the low byte of its code; 0 where it has none."""
    return int(getattr(problem, "sqlite_errorcode", 0)) & 0xFF


def _takes_no_more_files(folder: Path) -> bool:
    """Say whether the file system of a folder has as many files as it can have."""
    if os.name == "nt":  # which counts none
        return False
    try:
        facts = os.statvfs(folder)
    except OSError:
        return False
    return facts.f_files > 0 and facts.f_favail == 0


def _is_closed_by_another(path: Path, wanted: int) -> bool:
    """Say whether a path is another user's, as behind `sudo cometrep`, and not to be used as wanted by this one."""
    if os.name == "nt" or os.access(path, wanted):
        return False
    try:
        return path.stat().st_uid != os.getuid()
    except OSError:
        return False
