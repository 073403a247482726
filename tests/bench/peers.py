"""Who is measured: cometrep's wheel and its peers, each installed apart, and how each is called."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.measure import Command, run
from tests.bench.service import MODEL, Service

ROOT = Path(__file__).parents[2]
SCRIPTS = Path(__file__).parent / "scripts"
CACHE_VARIABLE = "COMETREP_BENCH_CACHE"
TYPER = ("typer==0.28.*", "requests>=2.32")
REPLICATE = ("replicate==1.0.7",)
_KEY = "sk-benchmark"


@dataclass(frozen=True)
class Bench:
    """What every benchmark is given: a scratch folder, the server, who competes, and how long to measure."""

    folder: Path
    service: Service
    cometrep: Path  # these three are interpreters
    typer: Path
    replicate: Path
    runs: int
    is_quick: bool = False

    def fresh(self, name: str) -> Path:
        """Give a folder of the scratch folder, empty."""
        folder = self.folder / name
        # By a process of its own: what this one once took in memory bounds what can be measured.
        subprocess.run(["rm", "-rf", folder], check=True)
        folder.mkdir(parents=True)
        return folder

    def command(self, *argv: str | Path, is_on_terminal: bool = False, **variables: str | Path) -> Command:
        """Call a program with the server's address and key in every form that somebody reads."""
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "LANG": "C.UTF-8",
            "TERM": "xterm-256color",
            "COMETAPI_KEY": _KEY,
            "COMETREP_BASE_URL": self.service.url,
            "REPLICATE_API_TOKEN": _KEY,
            "REPLICATE_BASE_URL": self.service.url,
            **{name: str(value) for name, value in variables.items()},
        }
        return Command([str(word) for word in argv], environment, self.folder, is_on_terminal)

    def call(
        self, home: Path, *arguments: str | Path, is_on_terminal: bool = False, **variables: str | Path
    ) -> Command:
        """Call cometrep, its settings and ledger in a home of its own."""
        program = self.cometrep.with_name("cometrep")
        return self.command(program, *arguments, is_on_terminal=is_on_terminal, COMETREP_HOME=home, **variables)

    def call_curl(self, input: Mapping[str, Any], folder: Path) -> Command:
        """Call the script of curl and jq that creates, waits and saves."""
        return self.command(*self.curl_words(folder), "picture", json.dumps(input))

    def curl_words(self, folder: Path) -> Sequence[str]:
        """Give that script's words up to a file's name and an input."""
        return ("sh", str(SCRIPTS / "curl_run.sh"), self.service.url, MODEL, str(folder))

    def call_replicate(self, script: str, *arguments: str | Path) -> Command:
        """Call a script of Replicate's Python package."""
        return self.command(self.replicate, SCRIPTS / script, MODEL, *arguments)

    def remember(self, home: Path, durations: Sequence[float]) -> None:
        """Put finished predictions that ran so long into the ledger of a home."""
        folder = self.fresh("remembered")
        inputs = [
            {"prompt": f"remembered-{number}", "text": "done", "told_seconds": seconds}
            for number, seconds in enumerate(durations)
        ]
        lines = write_lines(folder / "inputs.jsonl", inputs)
        run(self.call(home, "batch", lines, "-m", MODEL, "-d", folder / "outputs", "-q"))


def write_lines(path: Path, inputs: Sequence[Mapping[str, Any]]) -> Path:
    """Write inputs as JSON Lines."""
    with path.open("w") as file:
        file.writelines(f"{json.dumps(input)}\n" for input in inputs)
    return path


def installed_wheel() -> Path:
    """Install a wheel of this checkout with its compiled files, and give its interpreter."""
    with tempfile.TemporaryDirectory() as folder:
        _pip(Path(sys.executable), "wheel", "--no-deps", "--wheel-dir", folder, ROOT)
        (wheel,) = Path(folder).glob("*.whl")
        python = _environment("cometrep")
        _pip(python, "install", wheel)  # what it depends on
        _pip(python, "install", "--force-reinstall", "--no-deps", "--compile", wheel)
    return python


def installed(name: str, requirements: Sequence[str]) -> Path:
    """Install a peer where the cache does not hold it yet, and give its interpreter."""
    python = _environment(name)
    stamp = python.parents[1] / "requirements"
    if not stamp.exists() or stamp.read_text() != "\n".join(requirements):
        _pip(python, "install", "--compile", *requirements)
        stamp.write_text("\n".join(requirements))
    return python


def _environment(name: str) -> Path:
    """Make a virtual environment of this interpreter in the cache, and give its own one."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    cache = os.environ.get(CACHE_VARIABLE) or Path.home() / ".cache" / "cometrep-bench"
    folder = Path(cache).absolute() / f"{name}-{version}"
    if not (folder / "bin" / "pip").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
    return folder / "bin" / "python"


def _pip(python: Path, *arguments: str | Path) -> None:
    subprocess.run([python, "-m", "pip", "-qq", "--disable-pip-version-check", *arguments], check=True)
