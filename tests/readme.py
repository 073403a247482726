"""Read the README's commands, so that tests and CI run what it says and nothing else."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def blocks(language: str) -> list[str]:
    """Give the README's code blocks in a language, in order."""
    return re.findall(
        rf"^```{language}\n(.*?)^```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL | re.MULTILINE
    )


def first_command() -> str:
    """Give the command that installs and makes the first picture."""
    return blocks("sh")[0].strip()


def checking_command() -> str:
    """Give the command that installs and passes the tests."""
    return blocks("sh")[1].strip()


def with_python(command: str, python: str) -> str:
    """Let a command of the README begin with a given interpreter."""
    assert command.startswith("python3 -m venv .venv && ")
    return command.replace("python3", python, 1)


if __name__ == "__main__":
    # `python -m tests.readme first|tests PYTHON` runs one of the two, in a clean copy of what git knows.
    import shutil
    import tempfile

    which, interpreter = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        names = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for name in filter(None, names.split("\0")):
            target = Path(folder, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target)
        command = first_command() if which == "first" else checking_command()
        environment = {**os.environ, "COMETREP_HOME": f"{folder}/.home"} if which == "first" else dict(os.environ)
        sys.exit(
            subprocess.run(
                ["bash", "-c", with_python(command, interpreter)], cwd=folder, env=environment, check=False
            ).returncode
        )
