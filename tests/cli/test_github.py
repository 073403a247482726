"""`--github`: a GitHub Actions step, against hostile model text."""

import signal
import subprocess
import threading
from collections.abc import Callable

import pytest

from tests.conftest import TIMEOUT_SECONDS, Cli, read_until
from tests.servers import SCHNELL, Answer, Received, Server, answer_json, picture, prediction
from tests.test_github import read_outputs

HOSTILE = "boom\n::set-output name=path::/etc/passwd\n##[error]x\npath<<EOF\n| a | <img src=x> `b` [c](http://d)"


@pytest.fixture
def step(served: Cli) -> Cli:
    """The program in a step of GitHub Actions."""
    for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY"):
        (served.folder / name).write_text("earlier=1\n")
        served.environment[name] = str(served.folder / name)
    return served


def test_a_run_sets_outputs_and_a_summary(step: Cli, server: Server) -> None:
    """A good run appends its outputs and a table; stdout is as ever, and no error is told."""
    server.on_create(answer_json(prediction("made1", "starting")))
    server.on_get(answer_json(prediction("made1", output=f"{server.url}/f.webp")))
    server.on("GET", "/f.webp", Answer(200, picture()))
    done = step("run", SCHNELL, "prompt=cat", "--github")
    assert (done.code, done.stdout) == (0, "made1.webp\n")
    assert "::" not in done.stderr
    told = (step.folder / "GITHUB_OUTPUT").read_text()
    assert told.startswith("earlier=1\n")
    assert read_outputs(told.removeprefix("earlier=1\n")) == {
        "id": "made1",
        "status": "succeeded",
        "path": "made1.webp",
        "paths": "made1.webp",
    }
    summary = (step.folder / "GITHUB_STEP_SUMMARY").read_text().splitlines()
    assert summary[1] == "| Prediction | Model | Status | Files |"
    assert summary[3] == r"| made1 | black\-forest\-labs\/flux\-schnell | succeeded | made1\.webp (3.0 kB) |"


def test_a_step_that_is_canceled_tells_what_it_leaves(step: Cli, server: Server) -> None:
    """A step behind it, `if: always()`, goes on with the ids: of what was seen, and of what was not yet."""
    server.on("GET", "/replicate/v1/predictions/made1", answer_json(prediction("made1", "processing")))
    server.on("GET", "/replicate/v1/predictions/made2", Answer(503))
    process = step.start("wait", "made1", "made2", "--github", "--progress", "lines")
    assert process.stderr
    while b"made1  processing" not in (line := process.stderr.readline()):
        assert line
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=TIMEOUT_SECONDS)
    assert process.returncode == 143
    told = read_outputs((step.folder / "GITHUB_OUTPUT").read_text().removeprefix("earlier=1\n"))
    assert told == {"id": "made1\nmade2", "status": "processing\nnot seen", "path": "", "paths": ""}
    summary = (step.folder / "GITHUB_STEP_SUMMARY").read_text()
    assert "| made1 | " in summary
    assert "stopped by SIGTERM" in summary


def test_a_step_that_is_canceled_in_its_create_tells_the_id(step: Cli, server: Server) -> None:
    """The answer was on its way when the signal came, and the prediction is paid for."""
    has_come, may_answer = threading.Event(), threading.Event()

    def answer(_: Received) -> Answer:
        has_come.set()
        return answer_json(prediction("made1", "starting"), wait_for=may_answer)

    server.on_create(answer)
    process = step.start("run", SCHNELL, "prompt=cat", "--github")
    assert has_come.wait(TIMEOUT_SECONDS)
    process.send_signal(signal.SIGTERM)
    read_until(process, b"for its answer")
    may_answer.set()
    process.communicate(timeout=TIMEOUT_SECONDS)
    assert process.returncode == 143
    told = (step.folder / "GITHUB_OUTPUT").read_text()
    shown = read_outputs(told.removeprefix("earlier=1\n"))
    assert (shown["id"], shown["status"]) == ("made1", "starting")


def test_files_behind_a_closed_stdout_are_told(
    step: Cli, server: Server, stopped: Callable[["subprocess.Popen[bytes]"], None]
) -> None:
    """They are paid for and saved, though nobody reads their names."""
    has_left = threading.Event()
    server.on_get(answer_json(prediction("made1", output=[f"{server.url}/{name}.webp" for name in "ab"])))
    server.on("GET", "/a.webp", Answer(200, picture(seed=1)))
    server.on("GET", "/b.webp", Answer(200, picture(seed=2), wait_for=has_left))
    process = step.start("download", "made1", "--github", "-q")
    stopped(process)
    assert process.stdout
    assert process.stdout.readline() == b"made1-0.webp\n"
    process.stdout.close()
    has_left.set()
    assert process.wait(TIMEOUT_SECONDS) == 141
    told = read_outputs((step.folder / "GITHUB_OUTPUT").read_text().removeprefix("earlier=1\n"))
    assert (told["status"], told["paths"]) == ("succeeded", "made1-0.webp\nmade1-1.webp")


def test_a_line_that_was_left_open_is_ended_first(step: Cli, server: Server) -> None:
    """What an earlier program of the step wrote without a line break keeps its value."""
    path = step.folder / "GITHUB_OUTPUT"
    path.write_text("earlier=1")
    server.on_get(answer_json(prediction("made1")))
    assert step("wait", "made1", "--github").code == 0
    assert path.read_text().startswith("earlier=1\nid<<")


@pytest.mark.parametrize("command", ["wait", "download"])
def test_hostile_text_tells_the_step_nothing(command: str, step: Cli, server: Server) -> None:
    """A model's error with workflow commands, delimiters and Markdown in it is one error and one row."""
    server.on_get(answer_json(prediction("made1", "failed", error=HOSTILE)))
    done = step(command, "made1", "--github")
    assert done.code == 4
    commands = [line for line in done.stderr.splitlines() if line.lstrip().startswith("::")]
    assert len(commands) == 1
    assert commands[0].startswith("::error title=cometrep::prediction made1 failed: boom\\n")
    assert "##[" not in done.stderr
    outputs = read_outputs((step.folder / "GITHUB_OUTPUT").read_text().removeprefix("earlier=1\n"))
    assert outputs == {"id": "made1", "status": "failed", "path": "", "paths": ""}
    summary = (step.folder / "GITHUB_STEP_SUMMARY").read_text().splitlines()
    assert len(summary) == 5
    assert "<img" not in summary[3]


def test_outside_of_a_step_it_is_said(served: Cli, server: Server) -> None:
    """Where the variables are not set, that is a warning, and the command does its work."""
    server.on_get(answer_json(prediction("made1", output="x")))
    done = served("wait", "made1", "--github")
    assert (done.code, done.stdout) == (0, "made1\tsucceeded\n")
    told = "--github: GITHUB_OUTPUT and GITHUB_STEP_SUMMARY are not set, so nothing is told there"
    assert [line for line in done.stderr.splitlines() if "GITHUB" in line] == [f"cometrep: warning: {told}"]


def test_a_refused_create_is_an_error_of_the_step(step: Cli, server: Server) -> None:
    """A create that the API refuses is told as an error, and the outputs are empty."""
    server.on_create(answer_json({"detail": "no such thing"}, 400))
    done = step("run", SCHNELL, "prompt=cat", "--github")
    assert done.code == 8
    assert "::error title=cometrep::HTTP 400" in done.stderr
    outputs = read_outputs((step.folder / "GITHUB_OUTPUT").read_text().removeprefix("earlier=1\n"))
    assert outputs == {"id": "", "status": "", "path": "", "paths": ""}


def test_a_refused_create_is_in_the_summary(step: Cli, server: Server) -> None:
    """A table without a row would say nothing; an error in the command line is the step's too."""
    server.on_create(answer_json({"detail": "prompt: too <b>long</b>"}, 422))
    step("run", SCHNELL, "prompt=cat", "--github")
    summary = (step.folder / "GITHUB_STEP_SUMMARY").read_text()
    assert "too" in summary
    assert "<b>" not in summary
    assert "Prediction" not in summary
    assert step("run", SCHNELL, "--github", "--timeout", "x").stderr.startswith("::error title=cometrep::")
    assert step("run", "--github", "--no-such-option").stderr.startswith("::error title=cometrep::")
