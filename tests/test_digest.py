"""The digest of a file that grows, and of one that stands."""

import hashlib
import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cometrep.digest import Digest, file_sha256
from tests.conftest import no_more_threads

LONG = random.Random(7).randbytes(10_000_000)  # far more than is hashed as it comes
SIZES = st.sampled_from((0, 1, 300, 65_536, 1_000_000, 3_000_000, 4_500_000)) | st.integers(0, 5_000_000)


@given(
    st.lists(SIZES, max_size=8),
    st.sets(st.integers(0, 8)),
    st.sets(st.integers(0, 8)),
)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_the_digest_is_of_all_bytes_however_they_come(
    tmp_path: Path, sizes: list[int], hurried: set[int], asked: set[int]
) -> None:
    """In pieces of any sizes, hurried on or asked for in between or not, short or long: it is the SHA-256."""
    expected = hashlib.sha256()
    with (tmp_path / "f").open("w+b") as file:
        digest = Digest(file, tmp_path / "f")
        for number, size in enumerate(sizes):
            piece = LONG[number : number + size]
            file.write(piece)
            digest.update(piece)
            expected.update(piece)
            if number in hurried:
                digest.hurry()
            if number in asked:
                assert digest.hexdigest() == expected.hexdigest()
        assert digest.hexdigest() == digest.hexdigest() == expected.hexdigest()
        digest.close()


def test_a_long_file_is_hashed_where_the_system_gives_no_thread(tmp_path: Path) -> None:
    """The file is paid for, and saved all the same."""

    with no_more_threads(), (tmp_path / "f").open("w+b") as file:
        digest = Digest(file, tmp_path / "f")
        for start in range(0, len(LONG), 3_000_000):
            file.write(piece := LONG[start : start + 3_000_000])
            digest.update(piece)
        assert digest.hexdigest() == hashlib.sha256(LONG).hexdigest()


def test_bytes_that_nobody_told_of_do_not_count(tmp_path: Path) -> None:
    """The file may be ahead: the digest is of what was taken up."""
    with (tmp_path / "f").open("w+b") as file:
        digest = Digest(file, tmp_path / "f")
        file.write(LONG)
        digest.update(LONG[:6_000_001])
        assert digest.hexdigest() == hashlib.sha256(LONG[:6_000_001]).hexdigest()


@pytest.mark.parametrize("left_bytes", [0, 1, 4_000_000, len(LONG) - 1])
def test_a_file_that_another_program_cuts_short_has_no_digest(tmp_path: Path, left_bytes: int) -> None:
    """Bytes that are gone before they were hashed are an error each time, and no endless wait."""
    path = tmp_path / "f"
    with path.open("w+b") as file:
        digest = Digest(file, path)
        file.write(LONG)
        file.flush()
        path.write_bytes(LONG[:left_bytes])
        digest.update(LONG)
        for _ in range(2):
            with pytest.raises(OSError, match="cut short by another program"):
                digest.hexdigest()
        digest.close()


def test_a_long_file_that_is_gone_has_no_digest(tmp_path: Path) -> None:
    """Where it cannot be read again that is said, and not the digest of a part."""
    path = tmp_path / "f"
    with path.open("w+b") as file:
        digest = Digest(file, path)
        file.write(LONG)
        path.unlink()
        with pytest.raises(FileNotFoundError):
            digest.update(LONG)
        with pytest.raises(OSError, match="No such file"):
            digest.hexdigest()


def test_a_digest_that_is_let_go_asks_for_no_more(tmp_path: Path) -> None:
    """What is given up on may be closed at any moment, more than once, and begun anew on the same file."""
    path = tmp_path / "f"
    with path.open("w+b") as file:
        file.write(LONG)
        given_up = Digest(file, path)
        given_up.update(LONG)
        given_up.close()
        given_up.close()
        file.seek(0)
        file.truncate()
        file.write(b"new")
        digest = Digest(file, path)
        digest.update(b"new")
        assert digest.hexdigest() == hashlib.sha256(b"new").hexdigest()


def test_the_digest_of_a_file_that_stands(tmp_path: Path) -> None:
    """It is the SHA-256 of its bytes, and nothing where there are none to read."""
    (tmp_path / "f").write_bytes(LONG)
    assert file_sha256(tmp_path / "f") == hashlib.sha256(LONG).hexdigest()
    assert file_sha256(tmp_path / "none") == ""
    assert file_sha256(tmp_path) == ""
