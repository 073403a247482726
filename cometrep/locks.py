"""Lock files, so that two processes do not write the same one; a death lets go of the lock."""

import contextlib
import os
import time
from pathlib import Path

_PAUSE_SECONDS = 0.01


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
