"""Death at any moment: nothing is created twice, nothing received is lost, nothing half-done has a name."""

import hashlib
import json
import re
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.conftest import KEY, TIMEOUT_SECONDS, Cli, clean_environment, needs_proc, read_until, wait_until
from tests.servers import SCHNELL, Answer, Received, Server, answer_json, picture, prediction

FILES = [picture(600_000, seed=1), picture(40_000, seed=2)]
RUN = ("run", SCHNELL, "prompt=cat")
MOMENTS = 24  # spread over the whole life of a run
NAMED = (
    "ledger.begin:call",
    "ledger.begin:return",
    "api.create:call",
    "api._read:return",
    "api.create:return",  # the answer has arrived, the ledger does not know it yet
    "ledger.accept:call",
    "ledger.accept:return",
    "watch.watch:call",
    "download.save:call",
    "partfile._note:return",
    "partfile.append:call",
    "partfile.append:return",
    "partfile.complete:return",
    "partfile.commit:call",
    "partfile._placed:call",
    "partfile._placed:return",
    "partfile._leave:call",
    "ledger.add_file:call",
    "ledger.add_file:return",
)


@dataclass
class World:
    """A server with one model's predictions, counting what it gave, and the program that talks to it."""

    server: Server
    cli: Cli
    count_file: Path
    given: list[str] = field(default_factory=list)
    sent_bytes: int = 0

    def create(self, _: Received) -> Answer:
        """Make a prediction."""
        self.given.append(f"made{len(self.given) + 1}")
        return answer_json(prediction(self.given[-1], "starting"))

    def look(self, request: Received) -> Answer:
        """Show it, one look before its end."""
        id = request.path.rpartition("/")[2]
        looks = self.server.count("GET", request.path)
        urls = [f"{self.server.url}/files/{index}" for index in range(len(FILES))]
        return answer_json(prediction(id, "succeeded", output=urls) if looks > 1 else prediction(id, "processing"))

    def file(self, request: Received) -> Answer:
        """Serve a file, or the rest of it, in pieces."""
        content = FILES[int(request.path.rpartition("/")[2])]
        headers = {"Content-Type": "image/webp", "ETag": f'"{len(content)}"'}
        start = int(request.headers.get("range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        if start >= len(content):
            return Answer(416, headers={"Content-Range": f"bytes */{len(content)}"})
        self.sent_bytes += len(content) - start
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        return Answer(206 if start else 200, content[start:], headers, pieces=100_000)

    def named_files(self) -> dict[str, str]:
        """The SHA-256 of every file that has a final name."""
        return {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in self.cli.folder.iterdir()
            if not path.name.startswith(".")
        }


def is_pending(pid: int, number: signal.Signals) -> bool:
    """Say whether a signal was sent to a process that has not received it yet."""
    status = Path(f"/proc/{pid}/status").read_text()
    return any(int(mask, 16) & 1 << (number - 1) for mask in re.findall(r"(?m)^S[hi][dg]Pnd:\s+(\w+)", status))


def whole(id: str) -> dict[str, str]:
    """What the folder holds when everything was saved."""
    return {f"{id}-{index}.webp": hashlib.sha256(content).hexdigest() for index, content in enumerate(FILES)}


def make_world(server: Server, tmp_path: Path) -> World:
    """Set a world up in a folder."""
    home, folder = tmp_path / "home", tmp_path / "work"
    for path in (home, folder):
        path.mkdir(exist_ok=True)
    environment = {**clean_environment(home), "COMETREP_BASE_URL": server.url, "COMETAPI_KEY": KEY}
    world = World(server, Cli(home, folder, environment), tmp_path / "count")
    server.on_create(world.create)
    server.on_get(world.look)
    server.on("GET", "/files/", world.file)
    return world


@pytest.fixture
def world(server: Server, tmp_path: Path) -> World:
    """A world of the test's own."""
    return make_world(server, tmp_path)


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """How many moments an undisturbed run has."""
    with Server() as server:
        world = make_world(server, tmp_path_factory.mktemp("life"))
        done = world.cli.killed("SIGKILL", "never", world.count_file, *RUN)
        assert done.code == 0, done.stderr
        yield int(world.count_file.read_text())


def check_after_death(world: World) -> None:
    """Check every promise after a run that a signal ended, and finish its job."""
    assert len(world.given) <= 1, "created more often than asked"
    finished = whole("made1")
    assert all(finished.get(name) == digest for name, digest in world.named_files().items())
    entries = world.cli("list")
    assert entries.code == 0, entries.stderr
    known = [line.split("\t")[:2] for line in entries.lines]
    if not world.given:
        assert all(entry == ["", "unknown"] or entry[1] == "refused" for entry in known)
        return
    assert len(known) == 1
    again = world.cli("download", "--wait", "@last")
    if not known[0][0]:
        # The id was on its way, or in the memory of a process that is gone: the entry says so, and nobody guesses.
        assert known[0][1] == "unknown"
        assert again.code == 10, again.stderr
        assert world.cli("download", "--wait", "made1").code == 0
    else:
        assert known[0][0] == "made1"
        assert again.code == 0, again.stderr
        assert again.lines == list(finished)
    assert world.named_files() == finished
    assert [path.name for path in world.cli.folder.iterdir() if path.name.startswith(".")] == []
    assert len(world.given) == 1, "the resumed command created something"


@pytest.mark.parametrize("part", range(MOMENTS))
def test_a_run_killed_anywhere_is_finished_by_the_next_command(world: World, life: int, part: int) -> None:
    """SIGKILL at moments spread over the whole life of `run` loses nothing; it may end before the last of them."""
    moment = str(1 + part * (life - 2) // (MOMENTS - 1))
    done = world.cli.killed("SIGKILL", moment, world.count_file, *RUN)
    assert done.code in (-signal.SIGKILL, 0), done.stderr
    assert done.code == -signal.SIGKILL or part > MOMENTS // 2, "it was not killed"
    check_after_death(world)


@pytest.mark.parametrize("moment", NAMED)
def test_a_run_killed_at_a_tender_moment_is_finished_by_the_next_command(world: World, moment: str) -> None:
    """SIGKILL between the answer and the ledger, between bytes and their name, and the like, loses nothing."""
    done = world.cli.killed("SIGKILL", moment, world.count_file, *RUN)
    assert done.code == -signal.SIGKILL
    check_after_death(world)


@pytest.mark.parametrize("moment", ["partfile.append:return", "partfile.complete:return", "partfile.commit:call"])
def test_a_killed_download_is_taken_up_and_not_started_over(world: World, moment: str) -> None:
    """What a killed download had fetched is not fetched again."""
    world.cli("create", SCHNELL, "prompt=cat")
    done = world.cli.killed("SIGKILL", moment, world.count_file, "download", "--wait", "made1")
    assert done.code == -signal.SIGKILL
    world.sent_bytes = 0
    again = world.cli("download", "--wait", "made1")
    assert again.code == 0, again.stderr
    assert world.named_files() == whole("made1")
    assert world.sent_bytes < sum(map(len, FILES))
    assert [path.name for path in world.cli.folder.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
@pytest.mark.parametrize(
    "moment", ["ledger.accept:return", "watch.turn:return", "partfile.append:return", "partfile._placed:call"]
)
def test_a_signal_ends_a_run_in_order(world: World, name: str, code: int, moment: str) -> None:
    """Signals that can be caught end the run with their code, two lines at most, and a command that resumes."""
    done = world.cli.killed(name, moment, world.count_file, *RUN)
    assert done.code == code, done.stderr
    assert "Traceback" not in done.stderr
    said = [line for line in done.stderr.splitlines() if line.startswith(("cometrep:", "hint:"))]
    assert said[-1] == "hint: cometrep download --wait made1"
    check_after_death(world)


def test_a_signal_while_an_error_is_told_ends_the_command_as_ever(world: World) -> None:
    """As where nobody reads stderr for a while, and what is told waits for that."""
    done = world.cli.killed("SIGTERM", "console.report:call", world.count_file, "status", "no such id")
    assert (done.code, done.stderr) == (143, "")


def test_a_signal_before_all_is_loaded_is_told_as_the_command_line_asks(world: World) -> None:
    """A script that asked for JSON gets it from the first moment on that a signal is caught."""
    done = world.cli.killed("SIGTERM", "signals.catch:return", world.count_file, "status", "made1", "--json")
    error = json.loads(done.stderr)["error"]
    assert (done.code, error["exit_code"], error["code"]) == (143, 143, "interrupted")


def test_a_signal_as_a_command_ends_is_no_bug(world: World) -> None:
    """Right before further ones are passed over: its exit code, without a traceback."""
    done = world.cli.killed("SIGTERM", "signals.ignore:call", world.count_file, "--version")
    assert (done.code, done.stderr) == (143, "")


def test_a_signal_right_behind_the_create_does_not_hide_it(world: World) -> None:
    """Ctrl-C in the moment in which the create is handed to the connection: its answer is waited for as ever."""
    done = world.cli.killed("SIGINT", "sending._leave:return", world.count_file, *RUN)
    assert done.code == 130
    assert done.stderr.splitlines()[-1] == "hint: cometrep download --wait made1"
    check_after_death(world)


@pytest.mark.parametrize(
    "moment",
    [
        "creating.create:call",
        "ledger.begin:call+sending.stop:return",
        "ledger.begin:return+sending.stop:return",
        "creating._send:call",
        "calls.submit:call",
    ],
)
def test_a_signal_before_the_create_lets_nothing_leave(world: World, moment: str) -> None:
    """No entry says that it may be paid for, and no answer is waited for."""
    done = world.cli.killed("SIGTERM", moment, world.count_file, *RUN)
    assert done.code == 143
    said = [line for line in done.stderr.splitlines() if line.startswith(("cometrep:", "hint:"))]
    assert len(said) == 1
    assert said[0].startswith("cometrep: stopped by SIGTERM")
    assert world.given == []
    assert world.cli("list", "--unknown").stdout == ""


@pytest.mark.parametrize(
    "numbers",
    [
        pytest.param([signal.SIGTERM], id="one"),
        pytest.param([signal.SIGINT, signal.SIGINT], id="an echo", marks=needs_proc),
        # In this order, as Python takes up of two that have come the lower number first.
        pytest.param([signal.SIGINT, signal.SIGTERM], id="an echo of another kind", marks=needs_proc),
    ],
)
def test_a_signal_during_the_create_waits_for_the_answer(world: World, numbers: list[signal.Signals]) -> None:
    """The id that comes in that moment is kept and named, and the signal's echo takes no word away.

    `timeout -s INT` sends to the command and to its group, systemd a SIGHUP behind its SIGTERM.
    """

    def create(request: Received) -> Answer:
        for number in numbers:  # as the program waits for this very answer, it is there for all
            process.send_signal(number)
            if len(numbers) > 1:
                wait_until(lambda: not is_pending(process.pid, number))  # noqa: B023 - called at once
        return world.create(request)

    world.server.on_create(create)
    process = world.cli.start(*RUN)
    _, stderr = process.communicate(timeout=TIMEOUT_SECONDS)
    assert process.returncode == 128 + numbers[0]
    assert b"hint: cometrep download --wait made1" in stderr
    assert world.cli("status", "@last").code == 0


def test_a_signal_in_the_last_moment_changes_no_exit_code(world: World) -> None:
    """One that comes when all is said finds the interpreter on its way out, and is passed over."""
    world.server.on_get(lambda request: answer_json(prediction(request.path.rpartition("/")[2], "processing")))
    process = world.cli.start(*RUN)
    wait_until(lambda: world.server.count("GET", "/replicate") > 0)
    process.send_signal(signal.SIGINT)
    said = read_until(process, b"hint: cometrep download --wait made1\n")
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=TIMEOUT_SECONDS) == (b"", b"")
    assert process.returncode == 130
    assert b"stopped by Ctrl-C" in said
