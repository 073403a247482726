"""Files that are written beside their names first: sidecars, pages; outputs are tested with their downloads."""

import fcntl
from pathlib import Path

from cometrep.partfile import write_whole


def test_a_part_file_of_a_small_file_is_taken_for_the_next_one(tmp_path: Path) -> None:
    """What a death left beside a sidecar is gone when the sidecar is written again."""
    (tmp_path / ".a.cometrep.json.part").write_bytes(b"half of something much longer than the new content")
    write_whole(tmp_path / "a.cometrep.json", b"{}")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a.cometrep.json", b"{}")]


def test_two_writers_of_a_small_file_do_not_mix(tmp_path: Path) -> None:
    """While one holds the part file the other has one of its own; the last to finish stays."""
    with (tmp_path / ".a.json.part").open("wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        write_whole(tmp_path / "a.json", b"second")
    assert (tmp_path / "a.json").read_bytes() == b"second"
    assert [path.name for path in tmp_path.iterdir() if "part" in path.name] == [".a.json.part"]


def test_a_small_file_beside_is_written_whole(tmp_path: Path) -> None:
    """`write_whole` replaces a file by rename and leaves nothing else."""
    (tmp_path / "x.json").write_text("old")
    write_whole(tmp_path / "x.json", b"new")
    assert (tmp_path / "x.json").read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]
