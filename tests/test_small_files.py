"""Small files that are read and written whole."""

import fcntl
from collections.abc import Iterator
from pathlib import Path

import pytest

from cometrep.small_files import size_of, write_whole
from tests.conftest import steps_of


def test_a_small_file_is_on_the_disk_before_it_replaces_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an output file: a power cut leaves the old content or the new, and never an empty file."""
    steps = steps_of(monkeypatch)
    write_whole(tmp_path / "x.json", [b"new"])
    assert steps == ["fsync", "replace"]


def test_a_part_file_of_a_small_file_is_taken_for_the_next_one(tmp_path: Path) -> None:
    """What a death left beside a sidecar is gone when the sidecar is written again."""
    (tmp_path / ".a.cometrep.json.part").write_bytes(b"half of something much longer than the new content")
    write_whole(tmp_path / "a.cometrep.json", [b"{}"])
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a.cometrep.json", b"{}")]


def test_two_writers_of_a_small_file_do_not_mix(tmp_path: Path) -> None:
    """While one holds the part file the other has one of its own; the last to finish stays."""
    with (tmp_path / ".a.json.part").open("wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        write_whole(tmp_path / "a.json", [b"second"])
    assert (tmp_path / "a.json").read_bytes() == b"second"
    assert [path.name for path in tmp_path.iterdir() if "part" in path.name] == [".a.json.part"]


@pytest.mark.usefixtures("no_locks")
def test_writers_of_a_small_file_do_not_mix_where_the_file_system_knows_no_locks(tmp_path: Path) -> None:
    """Each has a part file of its own, as shards on several machines write one page, and leaves nothing else."""

    def pieces() -> Iterator[bytes]:
        yield b"fir"
        write_whole(tmp_path / "a.json", [b"second"])
        yield b"st"

    write_whole(tmp_path / "a.json", pieces())
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a.json", b"first")]


def test_a_small_file_beside_is_written_whole(tmp_path: Path) -> None:
    """`write_whole` replaces a file by rename and leaves nothing else."""
    (tmp_path / "x.json").write_text("old")
    write_whole(tmp_path / "x.json", [b"new"])
    assert (tmp_path / "x.json").read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]


@pytest.mark.parametrize("name", ["\ud800", "\0", "gone"])
def test_a_size_that_cannot_be_told_is_0(name: str, tmp_path: Path) -> None:
    """A record may name what no file has here: it was written in another locale, or is damaged."""
    assert size_of(tmp_path / name) == 0
