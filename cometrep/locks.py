"""Lock files, so that two processes do not write the same one; a death lets go of the lock."""

import contextlib
import os
import time
from pathlib import Path
from typing import IO

_PAUSE_SECONDS = 0.01
_GLANCE_SECONDS = 1.0  # in which who only looks whether a file is held is done
_BUFFER_BYTES = 4096  # before they are written, at most: Python 3.14 would hold 128 KiB, which a kill then loses


def lock(file: int, *, is_shared: bool = False, patience_seconds: float = 0.0) -> bool:
    """Lock an open file for this process, until it is closed; False where another process holds it for so long.

    Raises OSError where the file system knows no locks. Where Python knows none, on Windows, nobody holds any.
    """
    try:
        import fcntl
    except ImportError:
        return True
    deadline = time.monotonic() + patience_seconds
    while True:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(file, (fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            return True
        if time.monotonic() >= deadline:
            return False
        time.sleep(_PAUSE_SECONDS)


def is_at(path: Path, file: int) -> bool:
    """Say whether a path still leads to an open file, and not to none or to one that was made since.

    Raises OSError where that cannot be told.
    """
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except (FileNotFoundError, NotADirectoryError):
        return False


def is_held(path: Path) -> bool:
    """Say whether a process holds a file; False where that cannot be told."""
    with contextlib.suppress(OSError):
        if path.is_file():  # to open a pipe would wait for its other end
            with path.open("rb") as file:
                # Shared, so that those who only look are not in each other's way.
                return not lock(file.fileno(), is_shared=True)
    return False


def open_alone(path: Path) -> IO[bytes] | None:
    """Open a file for this process alone, made if missing; None where another process holds it, or may.

    It may where the file system knows no locks. Raises OSError where it cannot be opened.
    """
    while True:
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
        file = os.fdopen(os.open(path, flags, 0o666), "r+b", _BUFFER_BYTES)
        try:
            is_mine = lock(file.fileno())
        except OSError:
            is_mine = False
            if not os.fstat(file.fileno()).st_size:  # it was made just now
                path.unlink(missing_ok=True)
        if not is_mine:
            file.close()
            return None
        is_same = is_at(path, file.fileno())
        if is_same and os.fstat(file.fileno()).st_nlink == 1:
            return file
        # The name went on to another file between open and lock, or a commit that was killed left this one as
        # a second name of a finished file, which must not be written to.
        if is_same:
            path.unlink(missing_ok=True)
        file.close()


def open_beside(path: Path) -> tuple[Path, IO[bytes], bool]:
    """Make a file that nobody else has, with a number in its name, beside one that another process holds.

    Say whether it is locked: the file system may know no locks. Raises OSError where it cannot be made.
    """
    # Not by process id: in containers that share a folder each may be number 1.
    own = path.with_suffix(f".{time.time_ns()}{path.suffix}")
    file = own.open("x+b", _BUFFER_BYTES)
    try:
        lock(file.fileno(), patience_seconds=_GLANCE_SECONDS)  # or it would be taken for left over
    except OSError:
        return own, file, False
    return own, file, True
