"""Read and write small files whole, and say in our words what the file system refuses."""

import contextlib
import errno
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from cometrep import errors, hints
from cometrep.locks import open_alone, open_beside

_STEM_LIMIT = 220  # characters: of an id and an index all, and what is put around them fits a name's 255 bytes
_TRIED_BYTES = 64 * 1024  # of a folder that is to take files


def part_path(folder: Path, stem: str) -> Path:
    """Give the path of what is to be a file in a folder, while it is incomplete: hidden, and beside that."""
    return folder / f".{stem[:_STEM_LIMIT]}.part"


def read_whole(path: Path) -> bytes:
    """Read a small file; raise OSError where it cannot be read, or is one such as a pipe that may never end."""
    if not path.is_file():
        raise FileNotFoundError(errno.ENOENT, "no regular file", str(path))
    return path.read_bytes()


def write_whole(path: Path, pieces: Iterable[bytes]) -> None:
    """Write a small file, given in pieces, by part file, fsync and rename, replacing one that exists.

    A part file that a death left is taken for the next one, so that none stay behind.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        part = part_path(path.parent, path.name)
        file = open_alone(part)
        if file is None:  # another process writes the same, or may; the last one stays
            part, file, _ = open_beside(part)
        try:
            with file:
                file.truncate(0)
                file.writelines(pieces)
                file.flush()
                os.fsync(file.fileno())
                if os.name == "nt":
                    file.close()  # Windows renames no open file
                part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise


def writable_folder(folder: Path) -> Path:
    """Give a folder, or the nearest parent of it that exists, once it has taken a small file; raise OSError."""
    import tempfile

    there = folder.absolute()
    while True:
        try:
            there.lstat()  # raises what a mere question would not tell, such as a name that is too long
            break
        except (FileNotFoundError, NotADirectoryError):
            there = there.parent
    with tempfile.TemporaryFile(dir=there) as file:
        file.write(bytes(_TRIED_BYTES))  # for one without bytes a full disk has room
        file.flush()
    return there


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Translate what the file system refuses."""
    try:
        yield
    except OSError as problem:
        raise errors.LocalFileError(
            f"cannot write {path}: {problem.strerror or problem}",
            remedy=hints.OTHER_FOLDER,
            code=errors.file_code(problem),
        ) from problem


def size_of(path: Path) -> int:
    """Give a file's size in bytes, 0 where it cannot be told."""
    try:
        return path.stat().st_size
    except (OSError, ValueError):  # as of a name that the locale has no characters for
        return 0


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk, where the file system can."""
    if os.name == "nt":
        return
    with contextlib.suppress(OSError):  # some file systems cannot; the file itself is safe
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
