"""Lock files, so that two processes do not write the same one; a death lets go of the lock."""

import contextlib
from pathlib import Path


def lock(file: int, *, is_shared: bool = False) -> bool:
    """Lock an open file for this process, until it is closed; False where another process holds it.

    Raises OSError where the file system knows no locks. Where Python knows none, on Windows, nobody holds any.
    """
    try:
        import fcntl
    except ImportError:
        return True
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_held(path: Path) -> bool:
    """Say whether a process holds a file; False where that cannot be told."""
    with contextlib.suppress(OSError):
        if path.is_file():  # to open a pipe would wait for its other end
            with path.open("rb") as file:
                # Shared, so that those who only look are not in each other's way.
                return not lock(file.fileno(), is_shared=True)
    return False
