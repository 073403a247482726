"""A program that comes from the waiting interpreter does as one that a user starts."""

import os
import signal
import subprocess

import pytest

from tests.conftest import TIMEOUT_SECONDS, Cli, starter
from tests.servers import SCHNELL

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@pytest.mark.parametrize(
    ("arguments", "given"),
    [
        (("--version",), b""),
        (("run", "--dry-run", SCHNELL, "-i", "-"), '{"prompt": "a cät"}'.encode()),
        (("run", SCHNELL, "prompt=\N{CAT FACE}"), b""),
        (("nonsense",), b""),
    ],
    ids=["version", "stdin", "no key", "usage"],
)
def test_it_does_as_a_program_that_a_user_starts(cli: Cli, arguments: tuple[str, ...], given: bytes) -> None:
    """Streams, folder, environment and exit code are its own."""
    cold = subprocess.run(
        cli.command(*arguments), input=given, capture_output=True, cwd=cli.folder, env=cli.environment, check=False
    )
    done = starter().run(
        "cometrep", arguments, given, cwd=cli.folder, env=cli.environment, timeout_seconds=TIMEOUT_SECONDS
    )
    assert (done.returncode, done.stdout, done.stderr) == (cold.returncode, cold.stdout, cold.stderr)


def test_each_runs_the_modules_of_the_program_anew(cli: Cli) -> None:
    """Of the package nothing is loaded beforehand, and what one program leaves behind another does not see."""
    code = "import os, sys; print([name for name in sys.modules if 'cometrep' in name], os.environ, os.getcwd())"
    (cli.folder / "tells.py").write_text(code)
    done = starter().run("tells", [], b"", cwd=cli.folder, env={"ONLY": "this"}, timeout_seconds=TIMEOUT_SECONDS)
    assert done.stdout.decode() == f"[] environ({{'ONLY': 'this'}}) {cli.folder}\n", done.stderr


def test_a_program_that_a_signal_ends_is_told_by_it(cli: Cli) -> None:
    """The exit code is the one that `subprocess` has for it."""
    (cli.folder / "dies.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGTERM)")
    done = starter().run("dies", [], b"", cwd=cli.folder, env={}, timeout_seconds=TIMEOUT_SECONDS)
    assert done.returncode == -signal.SIGTERM


def test_a_program_that_does_not_end_is_killed(cli: Cli) -> None:
    """Its time is bounded as that of every other."""
    (cli.folder / "hangs.py").write_text("import signal; signal.pause()")
    with pytest.raises(subprocess.TimeoutExpired):
        starter().run("hangs", [], b"", cwd=cli.folder, env={}, timeout_seconds=0.01)
    assert cli("--version").code == 0


@pytest.mark.parametrize("name", ["PYTHONUTF8", "LC_ALL", "TZ"])
def test_what_an_interpreter_reads_at_its_start_needs_one(cli: Cli, name: str) -> None:
    """An environment that a fork cannot follow is not for it; any other is."""
    assert starter().suits({**cli.environment, "COMETREP_PROGRESS": "none", "PATH": ""})
    assert not starter().suits({**cli.environment, name: "1"})
