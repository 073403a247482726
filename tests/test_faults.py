"""The page of faults names tests that exist."""

import re
from pathlib import Path

HERE = Path(__file__).parent


def test_the_page_of_faults_names_tests_that_exist() -> None:
    """Every test that FAULTS.md names is there, in the file it names."""
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", (HERE / "FAULTS.md").read_text("utf-8"))
    assert len(named) > 60
    missing = [f"{file}::{name}" for file, name in named if f"def {name}(" not in (HERE / file).read_text("utf-8")]
    assert missing == []
