"""The files that are made from the command tree are committed as they would be made now, and installed."""

import tomllib

import pytest

from tests import generate

TYPE = "python -m tests.generate"
FILES = generate.produced()


@pytest.mark.parametrize("path", FILES)
def test_a_generated_file_is_up_to_date(path: str) -> None:
    """A committed file is what the command tree of today makes of it."""
    target = generate.ROOT / path
    assert target.exists(), f"{path} is missing; type: {TYPE}"
    assert target.read_text("utf-8") == FILES[path], f"{path} is stale; type: {TYPE}"


def test_no_generated_file_is_left_over() -> None:
    """Where a command went, its files went too."""
    assert [str(path) for path in generate.stray(FILES)] == [], f"left over; type: {TYPE}"


def test_the_wheel_installs_every_manual_page() -> None:
    """Each page stands in the table of what the wheel puts into share/man, and no page that is not there."""
    with (generate.ROOT / "pyproject.toml").open("rb") as file:
        targets = tomllib.load(file)["tool"]["hatch"]["build"]["targets"]
    shared = targets["wheel"]["shared-data"]
    wanted = {
        path: f"share/man/man{path.rpartition('.')[2]}/{path.rpartition('/')[2]}"
        for path in FILES
        if path.startswith("man/")
    }
    assert {path: to for path, to in shared.items() if path.startswith("man/")} == wanted
