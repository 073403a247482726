"""What the tests share: a clean home, the real program, the sandbox, and a server that misbehaves on purpose."""

import atexit
import contextlib
import errno
import fcntl
import functools
import gc
import os
import re
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TextIO

import pytest
from hypothesis import HealthCheck, settings

from cometrep.config import SANDBOX_KEY
from cometrep.sandbox.server import Sandbox
from tests import warm
from tests.servers import Server
from tests.workbench import Bench, SetUp, Shelf

# The collector would go through thousands of collected tests again and again, for nothing.
gc.set_threshold(60_000, 50, 100)

# On a busy machine any example may take long: how long is measured in benchmarks, and asserted nowhere.
settings.register_profile("cometrep", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("cometrep")


def needs(tool: str) -> pytest.MarkDecorator:
    """Skip a test where a program of the system is missing; CI installs them all, and there nothing is skipped."""
    return pytest.mark.skipif(shutil.which(tool) is None, reason=f"{tool} is not installed")


needs_proc = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
on_posix = pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")


def mode_of(path: Path) -> int:
    """Give a path's permissions."""
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def open_umask() -> Iterator[None]:
    """The widest umask there is, for the length of a test."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that has a name for one more file, and no room for its bytes."""
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: os.fdopen(os.open("/dev/full", os.O_WRONLY), "wb"))


def find_no_room(*_: object, **__: object) -> None:
    """Raise as the system does where the disk is full."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture
def no_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that knows no locks, as many shared ones are mounted."""

    def flock(file: int, how: int) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", flock)


def steps_of(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note what the file system is asked for from now on, in its order."""
    steps: list[str] = []

    def noted(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def step(*given: Any, **rest: Any) -> Any:
            is_folder = name == "fsync" and stat.S_ISDIR(os.fstat(given[0]).st_mode)
            steps.append(f"{name} of the folder" if is_folder else name)
            return real(*given, **rest)

        return step

    for name in ("fsync", "link", "replace", "rename", "unlink"):
        monkeypatch.setattr(os, name, noted(name, getattr(os, name)))
    return steps


@pytest.fixture
def gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A working folder whose path nobody knows any more, as where its file system was taken away."""

    def getcwd() -> str:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))

    monkeypatch.setattr(os, "getcwd", getcwd)


def is_asleep(pid: int) -> bool:
    """Say whether a process of one thread waits for something."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].startswith("S")


@contextlib.contextmanager
def no_more_threads() -> Iterator[None]:
    """A system that starts no thread, for the length of a block."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        yield


# A shell starts its background jobs, and nohup all of them, with signals ignored, and programs inherit that.
for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, signal.SIG_DFL if number != signal.SIGINT else signal.default_int_handler)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Give each core two workers: they wait for the programs that they started."""
    return 2 * (os.cpu_count() or 1)


# Set, each program that is run to its end starts as for users, which takes longer.
IS_WARM = hasattr(os, "fork") and not os.environ.get("COMETREP_TESTS_COLD")

# What never ends must not hold up the suite for ever; only a failing test waits that long.
TIMEOUT_SECONDS = 60


# How many characters there are of what is made to be searched again and again: that takes minutes, one go a moment.
HOSTILE_LENGTH = 600_000


@pytest.fixture
def little_work() -> Iterator[None]:
    """Fail a test that keeps the processor busy for minutes, however busy others keep it meanwhile."""
    before = time.process_time()
    yield
    assert time.process_time() - before < TIMEOUT_SECONDS


def read_until(process: "subprocess.Popen[bytes]", *wanted: bytes) -> bytes:
    """Read stderr until all of these were on it, and give what was read."""
    assert process.stderr
    came = b""
    while not all(text in came for text in wanted):
        more = os.read(process.stderr.fileno(), 65536)
        assert more, f"{wanted!r} never came, but {came!r}"
        came += more
    return came


@contextlib.contextmanager
def full_pipe() -> Iterator[tuple[BinaryIO, TextIO]]:
    """Give the ends of a pipe that takes nothing more until somebody reads it."""
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as pipe, os.fdopen(writing, "w") as full:
        os.set_blocking(writing, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(writing, b"." * 512)
        os.set_blocking(writing, True)
        yield pipe, full


def wait_until(holds: Callable[[], bool], within_seconds: float = TIMEOUT_SECONDS) -> None:
    """Wait for something that another process does, without taking its processor away."""
    deadline = time.monotonic() + within_seconds
    while not holds():
        assert time.monotonic() < deadline, "it never came"
        threading.Event().wait(0.01)


@dataclass(frozen=True)
class Ran:
    """How one run of the program ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def lines(self) -> list[str]:
        """The lines of stdout."""
        return self.stdout.splitlines()


class Cli:
    """The real program as a subprocess, in a folder, home and environment of the test's own."""

    def __init__(self, home: Path, folder: Path, environment: Mapping[str, str]) -> None:
        self.home = home
        self.folder = folder
        self.environment = dict(environment)

    def __call__(
        self,
        *arguments: str,
        stdin: str | bytes | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        prefix: Sequence[str] = (),
    ) -> Ran:
        """Run the program to its end; without `stdin` its stdin is empty."""
        given = stdin.encode() if isinstance(stdin, str) else stdin or b""
        return self._run(
            "cometrep", arguments, given, cwd or self.folder, {**self.environment, **(env or {})}, prefix
        )

    def killed(self, name: str, moment: str, count_file: Path, *arguments: str) -> Ran:
        """Run the program and send it a signal at a moment of its own, as `tests.killer` takes both."""
        trap = (name, moment, str(count_file), "--")
        return self._run("tests.killer", [*trap, *arguments], b"", self.folder, self.environment)

    @staticmethod
    def _run(
        module: str,
        arguments: Sequence[str],
        given: bytes,
        cwd: Path,
        env: Mapping[str, str],
        prefix: Sequence[str] = (),
    ) -> Ran:
        done: subprocess.CompletedProcess[bytes]
        if IS_WARM and not prefix and starter().suits(env):
            done = starter().run(module, arguments, given, cwd=cwd, env=env, timeout_seconds=TIMEOUT_SECONDS)
        else:
            done = subprocess.run(
                [*prefix, sys.executable, "-m", module, *arguments],
                input=given,
                capture_output=True,
                cwd=cwd,
                env=env,
                timeout=TIMEOUT_SECONDS,
                check=False,
            )
        return Ran(done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace"))

    def type_hint(self, stderr: str) -> Ran:
        """Run the command that a hint names, as a user would type it."""
        (hint,) = re.findall(r"(?m)^hint: cometrep (.+)$", stderr)
        return self(*shlex.split(hint))

    def start(self, *arguments: str, env: Mapping[str, str] | None = None) -> "subprocess.Popen[bytes]":
        """Start the program and leave it running; the test ends it."""
        return subprocess.Popen(
            self.command(*arguments),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self.folder,
            env={**self.environment, **(env or {})},
        )

    @staticmethod
    def command(*arguments: str) -> list[str]:
        """Give the command line that runs the program under this interpreter."""
        return [sys.executable, "-m", "cometrep", *arguments]

    def shell_line(self, line: str, env: Mapping[str, str] | None = None) -> Ran:
        """Run lines of bash in which `cometrep` is the program, with pipefail."""
        script = f'cometrep() {{ {self.shell} "$@"; }}\n{line}'
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", script],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            cwd=self.folder,
            env={**self.environment, **(env or {})},
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
        return Ran(done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace"))

    @property
    def shell(self) -> str:
        """A shell word that runs the program."""
        return f"{sys.executable} -m cometrep"


def clean_environment(home: Path) -> dict[str, str]:
    """Give an environment without anything that changes what the program does, and a home of its own."""
    kept = {
        name: value for name, value in os.environ.items() if name in ("PATH", "LANG", "LD_LIBRARY_PATH", "TMPDIR")
    }
    return {
        **kept,
        "LANG": "C.UTF-8",
        "HOME": str(home),
        "COMETREP_HOME": str(home / "cometrep"),
        "PYTHONWARNINGS": "error",
        "PYTHONPATH": str(Path(__file__).parents[1]),
    }


@functools.cache
def starter() -> warm.Starter:
    """Give what starts programs warm, one for all tests of this process."""
    made = warm.Starter(clean_environment(Path("nowhere")))
    atexit.register(made.close)
    return made


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home folder of the test's own."""
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working folder of the test's own."""
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


@pytest.fixture
def cli(home: Path, folder: Path) -> Cli:
    """The program, with no key and no server configured."""
    return Cli(home, folder, clean_environment(home))


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    """A sandbox whose predictions take next to no time."""
    with Sandbox(tmp_path / "sandbox", seconds=0.05) as server:
        yield server


@pytest.fixture
def sandboxed(cli: Cli, sandbox: Sandbox) -> Cli:
    """The program, pointed at a sandbox of the test's own as other programs are."""
    cli.environment |= {"COMETREP_BASE_URL": sandbox.url, "COMETAPI_KEY": SANDBOX_KEY}
    return cli


@pytest.fixture
def server() -> Iterator[Server]:
    """A server that answers what the test says, over real sockets."""
    with Server() as running:
        yield running


KEY = "sk-recognisable-0123456789-SECRET-abcd"


@pytest.fixture
def served(cli: Cli, server: Server) -> Cli:
    """The program, pointed at the scripted server, with a key that is easy to find."""
    cli.environment |= {"COMETREP_BASE_URL": server.url, "COMETAPI_KEY": KEY}
    return cli


@pytest.fixture
def set_up(server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SetUp]:
    """Make a runner with options of its own, closed when the test ends; no machine is too slow for its answers."""
    monkeypatch.setattr("cometrep.creating.SOON_SECONDS", 60.0)
    with contextlib.ExitStack() as opened:
        yield lambda **options: opened.enter_context(contextlib.closing(Bench(server, folder, **options)))


@pytest.fixture
def bench(set_up: SetUp) -> Bench:
    """A runner with default names."""
    return set_up()


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    """A folder that does not exist yet."""
    made = Shelf(tmp_path)
    yield made
    made.ledger.close()


@pytest.fixture
def stopped() -> Iterator[Callable[["subprocess.Popen[bytes]"], None]]:
    """Register processes that are killed when the test ends, however it ends."""
    started: list[subprocess.Popen[bytes]] = []
    yield started.append
    for process in started:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.wait()
        for stream in (process.stdout, process.stderr):
            if stream:
                stream.close()


Certificate = Callable[..., Path]


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Make certificates, each with its key in one file."""
    folder = tmp_path_factory.mktemp("certificates")

    def make(days: int = 90, name: str = "IP:127.0.0.1") -> Path:
        path = folder / f"{days}-{name.replace(':', '-')}.pem"
        if not path.exists():
            subject = f"-subj /O=Proxy-Corp/CN=test -addext subjectAltName={name}"
            made = subprocess.run(
                f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days {days} {subject}"
                f" -keyout {path}.key -out {path}.crt && cat {path}.key {path}.crt > {path}",
                shell=True,
                check=False,
                capture_output=True,
                text=True,
            )
            assert made.returncode == 0, made.stderr
        return path

    return make
