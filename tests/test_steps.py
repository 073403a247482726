"""The steps of a batch's records: which lines are some, and where a reader goes on."""

from pathlib import Path

import pytest

from cometrep.batch.steps import read_steps


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A record with one step."""
    made = tmp_path / "batch.jsonl"
    made.write_bytes(b'{"step":"created","key":"k","id":"abc"}\n')
    return made


def test_a_line_that_is_not_whole_yet_is_read_when_it_is(path: Path) -> None:
    """A reader beside the writer goes on from its offset."""
    with path.open("ab") as file:
        file.write(b'{"step":"created","key":"later"')
        file.flush()
        steps = list(read_steps(path))
        assert [step["key"] for step, _ in steps] == ["k"]
        file.write(b"}\n")
    assert [step["key"] for step, _ in read_steps(path, steps[-1][1])] == ["later"]


def test_a_torn_line_is_passed_over_once(path: Path) -> None:
    """A reader's offset comes to the end of the file, whatever a death left in between."""
    with path.open("ab") as file:
        file.write(b'{"step":"crea\n{"step":"created","key":"other","id":"def"}\n')
    offsets = [offset for _, offset in read_steps(path)]
    assert len(offsets) == 2
    assert offsets[-1] == path.stat().st_size
    assert list(read_steps(path, offsets[-1])) == []
