"""What the tests of batches share: the command, an API that counts, and what stands in the record."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.gateway import Gateway, json_lines
from tests.servers import SCHNELL, Server

BATCH = ("batch", "p.jsonl", "--model", SCHNELL)


@pytest.fixture
def gateway(server: Server) -> Gateway:
    """An API that counts."""
    return Gateway(server)


@pytest.fixture
def folder_of(folder: Path) -> Callable[..., Path]:
    """Write the batch file `p.jsonl` with these prompts, and give the folder of its results."""

    def write(*prompts: str) -> Path:
        (folder / "p.jsonl").write_text(json_lines(prompts))
        return folder / "p"

    return write


def steps(out: Path) -> list[dict[str, Any]]:
    """Read the record."""
    return [json.loads(line) for line in (out / "batch.jsonl").read_text().splitlines()]


def age(out: Path, seconds: float) -> None:
    """Make all that the record in a folder tells happen so much earlier."""
    old = [json.dumps({**step, "time": step["time"] - seconds}, separators=(",", ":")) for step in steps(out)]
    (out / "batch.jsonl").write_text("\n".join([*old, ""]))
