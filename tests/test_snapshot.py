"""What a batch reads its items from: the same each time, whatever becomes of the file meanwhile."""

import errno
import io
import tempfile

import pytest

from cometrep import errors
from cometrep.batch.record import default_folder
from cometrep.batch.snapshot import BLOCK_BYTES, Snapshot, comes_once, opened


def lines(snapshot: Snapshot) -> list[bytes]:
    """Read a snapshot from its beginning, line by line."""
    snapshot.seek(0)
    reader = io.BufferedReader(snapshot, 100)
    found = list(reader)
    reader.detach()
    return found


@pytest.mark.parametrize("size", [0, 1, 1000, BLOCK_BYTES, 2 * BLOCK_BYTES + 1])
def test_what_is_appended_is_not_read(size: int) -> None:
    """It ends where it ended at first, also where that is the end of a block."""
    content = b"x" * size
    file = io.BytesIO(content)
    snapshot = Snapshot(file, "a.jsonl")
    assert b"".join(lines(snapshot)) == content
    assert not snapshot.has_grown
    file.seek(0, io.SEEK_END)
    file.write(b"more")
    assert b"".join(lines(snapshot)) == content
    assert snapshot.has_grown


@pytest.mark.parametrize("size", [BLOCK_BYTES + 10, 2 * BLOCK_BYTES])
def test_what_was_changed_or_cut_off_is_not_read(size: int) -> None:
    """Nothing of a block that is not what it was is given."""
    file = io.BytesIO(b"line\n" * (size // 5))
    snapshot = Snapshot(file, "a.jsonl")
    assert len(lines(snapshot)) == size // 5
    file.getbuffer()[-1:] = b"!"
    with pytest.raises(errors.LocalFileError, match="is not what it was"):
        lines(snapshot)
    snapshot = Snapshot(file, "a.jsonl")
    lines(snapshot)
    file.truncate(BLOCK_BYTES + 5)
    with pytest.raises(errors.LocalFileError, match="is not what it was"):
        lines(snapshot)


def test_a_file_that_cannot_be_read_on_is_an_error() -> None:
    """As on a disk that fails, or a server of files that is gone."""

    class Failing(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError(errno.EIO, "Input/output error")

    with pytest.raises(errors.LocalFileError, match=r"cannot read 'a\.jsonl': Input/output error"):
        lines(Snapshot(Failing(b"line\n"), "a.jsonl"))


@pytest.mark.parametrize("name", ["-", "/dev/stdin", "/dev/fd/0", "/dev/fd/63", "/proc/self/fd/0"])
def test_stdin_and_descriptors_come_once_whatever_they_are(name: str) -> None:
    """Also where a file is behind them, whose name is not known."""
    assert comes_once(name)
    assert default_folder(name) == "batch"


def test_a_copy_that_is_not_kept_in_the_end_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was written and read; a server of files may tell only as it is closed that it had no room."""

    class Full(io.BytesIO):
        def close(self) -> None:
            super().close()
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", Full)
    with opened("-", lambda copy: copy.writelines([b"one\n", b"two\n"])) as snapshot:
        assert lines(snapshot) == [b"one\n", b"two\n"]
