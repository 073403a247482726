"""Every command in the README does what it says."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cometrep import config, errors
from cometrep.cli import CONTENTS
from cometrep.sandbox.faults import Fault
from tests import readme
from tests.conftest import TIMEOUT_SECONDS, Cli, needs
from tests.servers import RESET, Server

BLOCKS = [block for block in readme.blocks("sh")[2:] if "#SBATCH" not in block]


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
        timeout=TIMEOUT_SECONDS,
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
        block = re.sub(r"jq -r '.*'", "grep path", block)
    done = shell(cli, block, folder)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


def test_the_script_that_knows_what_happened_ends_with_the_code(cli: Cli, folder: Path) -> None:
    """A temporary fault is no success of the script, whatever it says about it."""
    [script] = [block for block in BLOCKS if "case $code" in block]
    nowhere = "COMETREP_SANDBOX=0 COMETREP_BASE_URL=http://127.0.0.1:9 COMETREP_RETRY_BUDGET=0 COMETAPI_KEY=sk-1"
    done = shell(cli, f"export {nowhere}\n{script}", folder)
    assert (done.returncode, done.stdout) == (7, "a temporary fault: the hint above says what to do\n")


def test_the_github_recipe_runs(cli: Cli, folder: Path) -> None:
    """The step of the GitHub Actions recipe draws its picture and sets the output that the next step uses."""
    [recipe] = [block for block in readme.blocks("yaml") if "# GitHub" in block]
    command = re.search(r"run: (cometrep .*)", recipe)
    assert command
    outputs = folder / "outputs"
    script = f"GITHUB_OUTPUT={outputs} GITHUB_STEP_SUMMARY={folder}/summary {command.group(1)}"
    done = shell(cli, script, folder)
    assert done.returncode == 0, done.stderr
    assert (folder / "banner.webp").stat().st_size > 0
    assert "path<<" in outputs.read_text()
    assert "\nbanner.webp\n" in outputs.read_text()


def test_the_ci_recipes_install_cometrep() -> None:
    """Each gets it from its repository before it is used; what a job checks out is the user's own project."""
    recipes = [block for block in readme.blocks("yaml") if re.match("# (GitHub|GitLab|A CI)", block)]
    assert len(recipes) == 3
    for recipe in recipes:
        install, use = re.findall(r"(?:- |run: )(pipx? install .*|cometrep .*)", recipe)[:2]
        assert re.fullmatch(r'pipx? install "cometrep\[sandbox\] @ git\+\$.*COMETREP_GIT.*"', install)
        assert use.startswith("cometrep ")


def test_the_gitlab_recipe_runs(cli: Cli, folder: Path) -> None:
    """The last line of the GitLab recipe's script draws its picture."""
    [recipe] = [block for block in readme.blocks("yaml") if "# GitLab" in block]
    done = shell(cli, recipe.split("    - ")[2].split("\n")[0], folder)
    assert done.returncode == 0, done.stderr
    assert (folder / "banner.webp").stat().st_size > 0


def test_the_shard_recipes_split_one_file(cli: Cli, folder: Path) -> None:
    """Slurm's task, Kubernetes' pod and a CI matrix' job each name their part as their system tells it."""
    (folder / "animals.jsonl").write_text("".join(f'{{"prompt": "animal {i}"}}\n' for i in range(12)))
    [pods] = [block for block in readme.blocks("yaml") if "# Kubernetes" in block]
    [matrix] = [block for block in readme.blocks("yaml") if "# A CI matrix" in block]
    [pod_line] = re.findall(r"- (cometrep batch .*)", pods)
    [matrix_line] = re.findall(r"run: (cometrep batch .*)", matrix)
    [script] = [block for block in readme.blocks("sh") if "SBATCH" in block]
    ways = {
        "slurm": [f"export SLURM_ARRAY_TASK_ID={i}\n{script}" for i in range(1, 9)],
        "pods": [f"JOB_COMPLETION_INDEX={i}; {pod_line}" for i in range(8)],
        "matrix": [matrix_line.replace("${{ matrix.shard }}", str(i)) for i in range(1, 5)],
    }
    for name, parts in ways.items():
        together = "".join(f"({part} -q -d {name}) &\n" for part in (part.rstrip() for part in parts)) + "wait"
        done = shell(cli, together, folder)
        shutil.rmtree(folder / ".bin")
        assert done.returncode == 0, done.stderr
        assert len(done.stdout.splitlines()) == len(set(done.stdout.splitlines())) == 12


def test_a_job_of_the_matrix_keeps_what_it_paid_for() -> None:
    """It has the file and the key, and its folder is there for the next job, however this one ends."""
    [matrix] = [block for block in readme.blocks("yaml") if "# A CI matrix" in block]
    _, checkout, restore, _, batch, save, upload = matrix.partition("steps:")[2].split("\n  - ")
    assert checkout.startswith("uses: actions/checkout@")
    assert "cometrep batch animals.jsonl" in batch
    assert all("if: always()" in step for step in (save, upload))
    [key] = re.findall(r" key: (.*)", restore)
    assert f"path: animals\n      key: {key}" in restore
    assert f"path: animals\n      key: {key}" in save
    [stem] = re.findall(r"restore-keys: (.*)", restore)
    assert key.startswith(stem)
    assert "COMETAPI_KEY: ${{ secrets.COMETAPI_KEY }}" in matrix


@needs("make")
def test_the_makefile_runs(cli: Cli, folder: Path) -> None:
    """The Makefile draws once, and again only when its prompt changes; what was created is not created again."""
    [rule] = readme.blocks("make")
    (folder / "Makefile").write_text(rule)
    (folder / "banner.txt").write_text("A banner")
    done = shell(cli, "make && make", folder)
    assert done.returncode == 0, done.stderr
    assert (folder / "banner.webp").stat().st_size > 0
    assert "up to date" in done.stdout
    (folder / "banner.webp").unlink()
    shutil.rmtree(folder / ".bin")
    done = shell(cli, "make banner.webp && cometrep list | wc -l", folder)
    assert done.stdout.endswith("\n1\n"), done.stderr


@needs("make")
def test_the_makefile_pays_for_nothing_that_may_be_paid_for(cli: Cli, folder: Path, server: Server) -> None:
    """A create that failed, or is in doubt, stays so until somebody has looked, and removed what is left of it."""
    [rule] = readme.blocks("make")
    (folder / "Makefile").write_text(rule)
    (folder / "banner.txt").write_text("A banner")
    server.on_create(RESET)
    there = f"export COMETREP_SANDBOX=0 COMETREP_BASE_URL={server.url} COMETAPI_KEY=sk-1"
    done = shell(cli, f"{there}\nmake || make || make", folder)
    assert done.returncode != 0
    assert server.creates == 1
    assert "stdin held no ids" in done.stderr


def test_the_workflow_calls_ci_and_nothing_else() -> None:
    """The committed workflow has no permissions, pins its action by hash, and runs .ci/run."""
    text = (readme.ROOT / ".github" / "workflows" / "ci.yml").read_text("utf-8")
    assert re.findall(r"run: (.+)", text) == ["bash .ci/run"]
    assert "permissions: {}" in text
    assert all(re.fullmatch(r"\S+@[0-9a-f]{40}", action) for action in re.findall(r"uses: (\S+)", text))


def test_the_first_command_ends_with_the_main_job(cli: Cli, folder: Path) -> None:
    """What the first command runs after installing makes a picture and prints its path."""
    command = readme.first_command().rpartition(".venv/bin/")[2]
    done = shell(cli, command, folder)
    assert done.returncode == 0, done.stderr
    assert (folder / done.stdout.strip()).read_bytes()[8:12] == b"WEBP"


def test_the_fault_of_the_sandbox_is_one() -> None:
    """The README's `cometrep sandbox` takes the fault that stands behind it."""
    [fault] = re.findall(r"`cometrep sandbox --fault (\S+)`", (readme.ROOT / "README.md").read_text("utf-8"))
    assert Fault.parse(fault)


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
