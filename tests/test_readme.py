"""Every command in the README does what it says."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cometrep import config, errors
from cometrep.cli import CONTENTS
from tests import readme
from tests.conftest import Cli

BLOCKS = readme.blocks("sh")[2:]


def shell(cli: Cli, script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a block as a user would, with `cometrep` on the path and the sandbox behind it."""
    bin_folder = folder / ".bin"
    bin_folder.mkdir()
    program = bin_folder / "cometrep"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m cometrep "$@"\n')
    program.chmod(0o755)
    environment = {
        **cli.environment,
        "PATH": f"{bin_folder}:{cli.environment['PATH']}",
        "COMETREP_SANDBOX": "1",
        "COMETREP_SANDBOX_SECONDS": "0.05",
    }
    return subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", script],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("block", BLOCKS, ids=[block.split("\n")[0][:50] for block in BLOCKS])
def test_a_block_runs(block: str, cli: Cli, folder: Path) -> None:
    """A block of the README runs to its end in the sandbox."""
    for name in ("fox.png", "snow.png"):
        (folder / name).write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0" * 100)
    (folder / "prompt.txt").write_text("Both animals, in one picture")
    (folder / "key.txt").write_text("sk-0123456789abcdef\n")
    if "jq" in block and not shutil.which("jq"):
        block = block.replace("jq -r '.files[].path'", "grep path")
    done = shell(cli, block, folder)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


def test_the_ci_step_runs(cli: Cli, folder: Path) -> None:
    """The command of the CI recipe draws its picture."""
    [step] = readme.blocks("yaml")
    command = step.split("run: ")[1]
    done = shell(cli, command, folder)
    assert done.returncode == 0, done.stderr
    assert (folder / "banner.webp").stat().st_size > 0


def test_the_first_command_ends_with_the_main_job(cli: Cli, folder: Path) -> None:
    """What the first command runs after installing makes a picture and prints its path."""
    command = readme.first_command().rpartition(".venv/bin/")[2]
    done = shell(cli, command, folder)
    assert done.returncode == 0, done.stderr
    assert (folder / done.stdout.strip()).read_bytes()[8:12] == b"WEBP"


def test_the_tables_say_what_the_program_does() -> None:
    """The README's exit codes, commands and settings are the program's own."""
    text = (readme.ROOT / "README.md").read_text("utf-8")
    for code, meaning in errors.EXIT_CODES.items():
        assert f"| {code} | {meaning} |" in text
    for entry in CONTENTS:
        assert f"`{entry.name}" in text
    for known in config.SETTINGS.values():
        for variable in known.variables:
            assert f"`{variable}`" in text
