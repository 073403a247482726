"""Open what a batch reads its items from, so that it can be read again and again as it was the first time.

What is sent has been checked, and nothing else is: a file may grow or change while the batch runs. What comes once,
from stdin or a pipe, is copied.
"""

import contextlib
import hashlib
import io
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from cometrep import errors
from cometrep.hiding import masked

BLOCK_BYTES = 1 << 18

CopyTo = Callable[[BinaryIO], None]
"""Copies all of stdin, or of a file, to another file."""


def comes_once(name: str) -> bool:
    """Say whether a source of items has a name for this command alone: stdin, a pipe, a descriptor as of `<(…)`."""
    if name in ("-", "/dev/stdin") or name.startswith(("/dev/fd/", "/proc/self/fd/")):
        return True
    with contextlib.suppress(OSError, ValueError):  # opening it will tell
        return Path(name).is_fifo()
    return False


class Snapshot(io.RawIOBase):
    """A file as it was when it was first read: to the end that it had then, with the same content.

    Of each block a digest is kept; raises LocalFileError where one is not what it was.
    """

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file = file
        self._name = name
        self.comes_once = comes_once(name)
        self._digests: list[bytes] = []
        self._end: int | None = None  # where a read first found it
        self._at = 0
        self._number, self._block = -1, b""  # the one read last

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def seekable(self) -> bool:
        """Say that it can be read again."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to an offset from the beginning, or from where it is."""
        self._at = offset + (self._at if whence == os.SEEK_CUR else 0)
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Read on, no further than within a block."""
        number, start = divmod(self._at, BLOCK_BYTES)
        if number != self._number:
            self._number, self._block = number, self._read(number)
        target = memoryview(buffer).cast("B")
        piece = self._block[start : start + len(target)]
        target[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)

    def _read(self, number: int) -> bytes:
        start = number * BLOCK_BYTES
        left = BLOCK_BYTES if self._end is None else min(BLOCK_BYTES, self._end - start)
        try:
            self._file.seek(start)
            block = self._file.read(left) if left > 0 else b""
        except OSError as problem:
            raise errors.LocalFileError(
                f"cannot read {self._name!r}: {problem.strerror}", hint="check the disk"
            ) from problem
        if self._end is None and len(block) < BLOCK_BYTES:
            self._end = start + len(block)
        if number == len(self._digests):
            self._digests.append(hashlib.sha256(block).digest())
        elif hashlib.sha256(block).digest() != self._digests[number]:
            raise errors.LocalFileError(
                f"{self._name!r} is not what it was when the batch began, and nothing more of it is sent",
                code="items_changed",
            )
        return block

    @property
    def has_grown(self) -> bool:
        """Whether something stands behind the end that it had."""
        with contextlib.suppress(OSError):
            return self._end is not None and self._file.seek(0, os.SEEK_END) > self._end
        return False


@contextlib.contextmanager
def opened(name: str, copy_stdin: CopyTo) -> Iterator[Snapshot]:
    """Open a source of items by its name, `-` for stdin; raise UsageError where it cannot be read."""
    if name == "-":
        with _copied(copy_stdin) as copy:
            yield Snapshot(copy, name)
        return
    try:
        file = Path(name).open("rb")  # noqa: SIM115 - closed below, whatever happens to what uses it
    except OSError as problem:
        raise errors.UsageError(
            f"cannot read {masked(name)!r}: {problem.strerror}", hint="check the path"
        ) from problem
    with file:
        if file.seekable():
            yield Snapshot(file, name)
            return
        with _copied(partial(shutil.copyfileobj, file)) as copy:
            yield Snapshot(copy, name)


@contextlib.contextmanager
def _copied(copy_to: CopyTo) -> Iterator[BinaryIO]:
    """Keep a copy of what comes once in a temporary file; raise LocalFileError where there is no room for it."""
    try:
        copy = tempfile.TemporaryFile()  # noqa: SIM115 - closed below
        try:
            copy_to(copy)
            copy.flush()
        except BaseException:
            with contextlib.suppress(OSError):  # it tries to write once more
                copy.close()
            raise
    except OSError as problem:
        raise errors.LocalFileError(
            f"cannot copy the items to a temporary file: {problem.strerror}", hint="export TMPDIR=FOLDER"
        ) from problem
    try:
        yield copy
    finally:
        with contextlib.suppress(OSError):  # it was written and read: that it is not kept is no matter
            copy.close()
