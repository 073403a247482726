"""Hash files: one that stands, or one that grows, without holding up what makes it grow."""

import errno
import hashlib
import queue
import threading
from io import FileIO
from pathlib import Path
from typing import IO

_HASHED_HERE_BYTES = 4_000_000  # of a file; of a longer one a thread hashes what is left,
_HASHED_AT_ONCE_BYTES = 1024 * 1024  # told of so much at a time


class Digest:
    """The SHA-256 of a file as it grows.

    A long one is hashed by a thread of its own, which reads what stands in it already: to hand each piece over
    costs the transfer more than to read it again.
    """

    def __init__(self, file: IO[bytes], path: Path) -> None:
        self._file = file
        self._path = path
        self._hash = hashlib.sha256()
        self._size = self._hashed = self._told = 0  # bytes: of the file, of these hashed, and told to the thread
        self._problem: OSError | None = None
        self._work: tuple[queue.SimpleQueue[int], threading.Thread] | None = None

    def update(self, chunk: bytes) -> None:
        """Take up more bytes, which the file has been given already."""
        self._size += len(chunk)
        if self._work is None and self._size <= _HASHED_HERE_BYTES:
            self._hash.update(chunk)
            self._hashed = self._told = self._size
        elif self._size >= self._told + _HASHED_AT_ONCE_BYTES:
            self.hurry()

    def hurry(self) -> None:
        """Let all bytes so far be hashed, while the caller does something else; raises OSError."""
        if self._size == self._told:
            return
        self._file.flush()
        if self._work is None:
            sizes: queue.SimpleQueue[int] = queue.SimpleQueue()
            reader = self._path.open("rb", buffering=0)
            thread = threading.Thread(target=self._follow, args=(sizes, reader), daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the system gives no more of them: it is hashed here, each time anew
                sizes.put(self._size)
                sizes.put(0)
                self._follow(sizes, reader)
                self._told = self._size
                return
            self._work = (sizes, thread)
        self._told = self._size
        self._work[0].put(self._size)

    def hexdigest(self) -> str:
        """Give the digest of all bytes so far; raises OSError where they could not be read again."""
        self.hurry()
        if self._work:
            thread = self._work[1]
            self.close()
            thread.join()
        if self._problem:
            raise self._problem
        if self._hashed != self._size:
            raise OSError(errno.EIO, "it could not be read again")
        return self._hash.hexdigest()

    def close(self) -> None:
        """Let the thread end, once it is done with what it was told."""
        if self._work:
            self._work[0].put(0)
            self._work = None

    def _follow(self, sizes: "queue.SimpleQueue[int]", reader: FileIO) -> None:
        with reader:
            try:
                buffer = memoryview(bytearray(_HASHED_AT_ONCE_BYTES // 4))
                reader.seek(self._hashed)
                while until := sizes.get():
                    while self._hashed < until:
                        count = reader.readinto(buffer[: until - self._hashed])
                        if not count:
                            raise OSError(errno.EIO, "it was cut short by another program")
                        self._hash.update(buffer[:count])
                        self._hashed += count
            except OSError as problem:
                self._problem = problem


def file_sha256(path: Path) -> str:
    """Give the hex SHA-256 of a file, empty where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""
