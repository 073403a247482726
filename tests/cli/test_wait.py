"""`cometrep wait`: poll until every prediction has ended, and say how."""

import json
import re
import signal
import subprocess
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from tests.conftest import TIMEOUT_SECONDS, Cli, read_until
from tests.servers import WEBP, Answer, Server, answer_html, answer_json, picture, prediction

URL = "https://x.test/a.webp"
RUNNING = answer_json(prediction(status="processing"))
DONE = answer_json(prediction(output=[URL]))


def on(server: Server, id: str, *script: Answer) -> None:
    """Script the looks at one prediction."""
    server.on("GET", f"/replicate/v1/predictions/{id}", *script)


def test_polls_until_every_prediction_has_ended(served: Cli, server: Server) -> None:
    """stdout has a line an id in the order given, whichever ended first; stderr a line a change of status."""
    on(server, "slow", *[answer_json(prediction("slow", status)) for status in ("starting", "processing")], DONE)
    on(server, "fast", answer_json(prediction("fast", output=[URL])))
    done = served("wait", "slow", "fast")
    assert done.code == 0
    assert done.lines == ["slow\tsucceeded", "fast\tsucceeded"]
    told = [re.sub(r"  \S+$", "", line) for line in done.stderr.splitlines() if line.startswith("slow")]
    assert told == ["slow  starting", "slow  processing", "slow  succeeded"]
    assert server.creates == 0


def test_a_line_is_written_as_soon_as_its_turn_comes(
    served: Cli, server: Server, stopped: Callable[["subprocess.Popen[bytes]"], None]
) -> None:
    """The first id's line is there for a pipeline as soon as that prediction has ended, while others still run."""
    last = threading.Event()
    on(server, "one", answer_json(prediction("one", output=[URL])))
    on(server, "two", answer_json(prediction("two", output=[URL]), wait_for=last))
    process = served.start("wait", "one", "two", "--timeout", "1m")
    stopped(process)
    assert process.stdout
    assert process.stdout.readline() == b"one\tsucceeded\n"
    last.set()
    assert process.stdout.read() == b"two\tsucceeded\n"
    assert process.wait(TIMEOUT_SECONDS) == 0


@pytest.mark.parametrize(
    ("ended", "code", "told"),
    [
        (prediction(output=[URL]), 0, ""),
        (prediction(status="failed", error="CUDA out of memory"), 4, "CUDA out of memory"),
        (prediction(status="canceled", logs=None), 5, "was canceled"),
        (prediction(status="aborted"), 5, "was aborted"),
        ({"data": {"status": "FAILURE", "fail_reason": "no channel", "data": None}}, 4, "no channel"),
        ({"data": {"status": "SUCCESS", "data": prediction(output=URL)}}, 0, ""),
    ],
    ids=["succeeded", "failed", "canceled", "aborted", "FAILURE", "SUCCESS"],
)
def test_the_exit_code_is_the_outcome(
    ended: dict[str, Any], code: int, told: str, served: Cli, server: Server
) -> None:
    """How a prediction ended decides the exit code, at the first look and at a later one alike."""
    on(server, "abc123", answer_json(ended))
    first = served("wait", "abc123", "-q")
    on(server, "abc123", RUNNING, answer_json(ended))
    later = served("wait", "abc123", "-q")
    assert (first.code, first.stdout, first.stderr) == (later.code, later.stdout, later.stderr)
    assert first.code == code
    assert first.lines == [f"abc123\t{ {0: 'succeeded', 4: 'failed'}.get(code, told[4:]) }"]
    assert told in first.stderr
    assert bool(first.stderr) == bool(code)


def test_several_outcomes_come_to_one_code(served: Cli, server: Server) -> None:
    """Several ids: their common code where they agree, else 9 with each error and a count."""
    for id, status in {"f1": "failed", "f2": "failed", "c": "canceled", "g": "succeeded"}.items():
        on(server, id, answer_json(prediction(id, status, output=[URL])))
    assert served("wait", "f1", "f2", "-q").code == 4
    assert served("wait", "g", "g", "-q").code == 0
    mixed = served("wait", "f1", "g", "c", "-q", "--json")
    assert mixed.code == 9
    assert [json.loads(line)["id"] for line in mixed.lines] == ["f1", "g", "c"]
    told = [json.loads(line)["error"] for line in mixed.stderr.splitlines()]
    assert [(error["code"], error["exit_code"], error["prediction_id"]) for error in told] == [
        ("prediction_failed", 4, "f1"),
        ("prediction_canceled", 5, "c"),
        ("partial", 9, None),
    ]


def test_a_deadline_is_exit_6_and_its_hint_goes_on(served: Cli, server: Server) -> None:
    """A deadline ends the wait and not the prediction; the command in the hint waits for it again."""
    on(server, "abc123", RUNNING)
    done = served("wait", "abc123", "--timeout", "0.3s")
    assert (done.code, done.stdout) == (6, "abc123\tprocessing\n")
    assert "the deadline of 0.3s passed" in done.stderr
    on(server, "abc123", DONE)
    assert served.type_hint(done.stderr).stdout == "abc123\tsucceeded\n"
    assert {request.method for request in server.received} == {"GET"}


def test_a_hint_keeps_the_server_that_a_flag_chose(served: Cli, server: Server) -> None:
    """Where `--base-url` chose the server, the hint names it, so that it works as it stands."""
    on(server, "abc123", RUNNING)
    served.environment["COMETREP_BASE_URL"] = "http://127.0.0.1:1"
    done = served("wait", "abc123", "--timeout", "0.3s", "--base-url", server.url)
    assert done.code == 6
    on(server, "abc123", DONE)
    assert served.type_hint(done.stderr).code == 0


@pytest.mark.parametrize("timeout", ["0", "90", "1h30m"])
def test_every_form_of_duration_is_understood(timeout: str, served: Cli, server: Server) -> None:
    """Durations are seconds, or hours, minutes and seconds; 0 is no deadline."""
    on(server, "abc123", RUNNING, DONE)
    assert served("wait", "abc123", "--timeout", timeout).code == 0


@pytest.mark.parametrize(
    ("option", "value"),
    [("--timeout", "soon"), ("--timeout", "-1"), ("--timeout", ""), ("--interval", "0"), ("--interval", "x")],
)
def test_a_bad_duration_is_a_usage_error(option: str, value: str, served: Cli, server: Server) -> None:
    """A duration that is none is exit 2, names the option, and sends nothing."""
    done = served("wait", "abc123", f"{option}={value}")
    assert done.code == 2
    assert option in done.stderr
    assert server.received == []


def test_an_interval_is_kept(served: Cli, server: Server) -> None:
    """`--interval` replaces the schedule: a long one means a single look, where the schedule makes several."""
    on(server, "abc123", RUNNING)
    assert served("wait", "abc123", "--timeout", "0.5s", "--interval", "30").code == 6
    assert server.count("GET") == 1
    assert served("wait", "abc123", "--timeout", "0.5s").code == 6
    assert 2 <= server.count("GET") - 1 <= 4


def test_logs_of_several_predictions_are_told_apart(served: Cli, server: Server) -> None:
    """Each line says whose it is; of an id that is given twice they need not."""
    for id in ("one", "two"):
        on(server, id, answer_json(prediction(id, output=[URL], logs=f"{id} is done")))
    done = served("wait", "one", "two", "--logs", "-q")
    assert sorted(done.stderr.splitlines()) == ["one  | one is done", "two  | two is done"]
    assert served("wait", "one", "one", "--logs", "-q").stderr == "| one is done\n"


@pytest.mark.parametrize("silence", [(), ("-q",), ("--progress", "none")], ids=["plain", "quiet", "none"])
def test_logs_are_shown_once_as_they_come(silence: tuple[str, ...], served: Cli, server: Server) -> None:
    """`--logs` writes each log line once, a redrawn bar in its last state; also where progress is not wanted."""
    first = "Using seed: 7\nload"
    whole = first + "ing\n  0%|  | 0/4\r 50%|# | 2/4\r100%|##| 4/4\nsaved in 1.2 sec"
    script = [
        answer_json(prediction(status="processing", logs=first)),
        answer_json(prediction(status="processing", logs=whole[:40])),
        answer_json(prediction(output=[URL], logs=whole)),
    ]
    on(server, "abc123", *script)
    done = served("wait", "abc123", "--logs", *silence)
    assert done.stdout == "abc123\tsucceeded\n"
    assert [line for line in done.stderr.splitlines() if silence or line.startswith("|")] == [
        "| Using seed: 7",
        "| loading",
        "| 100%|##| 4/4",
        "| saved in 1.2 sec",
    ]


def test_a_wait_survives_what_passes(served: Cli, server: Server) -> None:
    """A 5xx, throttling and a web page in between are retried; the wait goes on."""
    on(
        server,
        "abc123",
        RUNNING,
        Answer(502, b"bad gateway"),
        RUNNING,
        answer_json({"detail": "slow"}, 429, headers={"Retry-After": "0.1"}),
        RUNNING,
        answer_html(),
        DONE,
    )
    done = served("wait", "abc123", "--interval", "0.2")
    assert (done.code, done.stdout) == (0, "abc123\tsucceeded\n")
    assert done.stderr.count("attempt 1 failed") == 3
    assert "attempt 2" not in done.stderr


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (answer_json({"detail": "no"}, 403), 3),
        (answer_json({"detail": "gone"}, 404), 8),
        (Answer(307, b"", {"Location": "/"}), 8),
        (answer_json({"error": {"message": "no", "code": "model_not_found"}}, 503), 8),
    ],
    ids=["403", "404", "307", "model_not_found"],
)
def test_a_wait_ends_at_what_does_not_pass(answer: Answer, code: int, served: Cli, server: Server) -> None:
    """A refused key, an unknown id or a wrong server end the wait at once."""
    on(server, "abc123", RUNNING, answer)
    done = served("wait", "abc123")
    assert done.code == code
    assert server.count("GET") == 2


def test_an_api_that_stays_away_is_temporary(served: Cli, server: Server) -> None:
    """When the retry budget is used up the exit code is 7, and the hint waits again."""
    on(server, "abc123", RUNNING, Answer(502, b"bad gateway"))
    done = served("wait", "abc123", env={"COMETREP_RETRY_BUDGET": "0"})
    assert (done.code, done.stdout) == (7, "abc123\tprocessing\n")
    assert "it may still run" in done.stderr
    on(server, "abc123", DONE)
    assert served.type_hint(done.stderr).code == 0


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)], ids=str
)
def test_a_signal_leaves_the_predictions_running(
    number: signal.Signals,
    code: int,
    served: Cli,
    server: Server,
    stopped: Callable[["subprocess.Popen[bytes]"], None],
) -> None:
    """A signal ends the wait at once, sends nothing, and its hint resumes what had not ended."""
    on(server, "one", answer_json(prediction("one", "processing")))
    on(server, "two", answer_json(prediction("two", "processing")))
    process = served.start("wait", "one", "two")
    stopped(process)
    stderr = read_until(process, b"one  processing", b"two  processing")
    process.send_signal(number)
    rest, more = process.communicate(timeout=TIMEOUT_SECONDS)
    assert process.returncode == code
    assert rest == b""
    assert {request.method for request in server.received} == {"GET"}
    told = (stderr + more).decode()
    assert "left running: one, two" in told
    for id in ("one", "two"):
        on(server, id, answer_json(prediction(id, output=[URL])))
    assert served.type_hint(told).lines == ["one\tsucceeded", "two\tsucceeded"]


def test_a_signal_is_an_object_in_json(
    served: Cli, server: Server, stopped: Callable[["subprocess.Popen[bytes]"], None]
) -> None:
    """With `--json` Ctrl-C is reported as an object with its code, the id and the hint, which keeps the options."""
    on(server, "abc123", RUNNING)
    options = ("--interval", "1", "--json", "--logs")
    process = served.start("wait", "abc123", "--timeout", "2h", *options)
    stopped(process)
    read_until(process, b"processing")
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=TIMEOUT_SECONDS)
    error = json.loads(stderr.splitlines()[-1])["error"]
    assert (error["code"], error["exit_code"], error["prediction_id"]) == ("interrupted", 130, "abc123")
    assert error["hint"] == "cometrep wait abc123 " + " ".join(options)


def test_an_ignored_sigint_stays_ignored(
    served: Cli, server: Server, stopped: Callable[["subprocess.Popen[bytes]"], None]
) -> None:
    """In the background of a script, where the shell has SIGINT ignored, Ctrl-C does not end the wait."""
    last = threading.Event()
    on(server, "abc123", RUNNING, answer_json(prediction(output=[URL]), wait_for=last))
    process = subprocess.Popen(
        ["sh", "-c", f"trap '' INT; exec {served.shell} wait abc123"],
        cwd=served.folder,
        env=served.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    stopped(process)
    read_until(process, b"processing")
    process.send_signal(signal.SIGINT)
    last.set()
    stdout, _ = process.communicate(timeout=TIMEOUT_SECONDS)
    assert (process.returncode, stdout) == (0, b"abc123\tsucceeded\n")


@pytest.mark.parametrize(
    ("what", "stdout"),
    [
        ("status", "succeeded\n"),
        ("url", f"{URL}\n"),
        ("path", ""),
    ],
)
def test_print_chooses_what_stdout_gets(what: str, stdout: str, served: Cli, server: Server) -> None:
    """Each word of `--print` gives that and nothing else."""
    on(server, "abc123", DONE)
    done = served("wait", "abc123", "--print", what)
    assert (done.code, done.stdout) == (0, stdout)


def modes(stderr: str) -> Sequence[str]:
    """Name the form of each line of stderr."""
    return ["json" if line.startswith("{") else "text" for line in stderr.splitlines()]


@pytest.mark.parametrize(
    ("arguments", "env", "wanted"),
    [
        ((), {}, {"text"}),
        (("--progress", "bar"), {}, {"text"}),
        (("--progress", "json"), {}, {"json"}),
        ((), {"COMETREP_PROGRESS": "json"}, {"json"}),
        (("--progress", "none"), {"COMETREP_PROGRESS": "json"}, set()),
        (("-q",), {}, set()),
        (("-q", "--progress", "json"), {}, {"json"}),
    ],
)
def test_progress_takes_the_form_that_was_asked_for(
    arguments: tuple[str, ...], env: dict[str, str], wanted: set[str], served: Cli, server: Server
) -> None:
    """Flag before environment, `-q` is silence unless a form is asked for beside it, stdout never changes."""
    on(server, "abc123", RUNNING, DONE)
    done = served("wait", "abc123", *arguments, env=env)
    assert (done.code, done.stdout) == (0, "abc123\tsucceeded\n")
    assert set(modes(done.stderr)) == wanted


def test_events_are_json_on_stderr(served: Cli, server: Server) -> None:
    """`--progress json` writes an event a line: what was seen, retried and how it ended, each with time and id."""
    on(
        server,
        "abc123",
        answer_json(prediction(status="starting")),
        Answer(503, b"busy"),
        answer_json(prediction(status="processing", logs=" 25%|#   | 1/4\n")),
        answer_json(prediction(status="failed", error="boom")),
    )
    done = served("wait", "abc123", "--progress", "json", "--logs", "--json")
    assert done.code == 4
    *events, error = (json.loads(line) for line in done.stderr.splitlines())
    assert all(event["id"] == "abc123" for event in events)
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", event["time"]) for event in events)
    words = [event["event"] for event in events]
    assert words[0] == "status"
    assert words[-1] == "result"
    assert {"status", "retry", "progress", "result"} <= set(words)
    assert [event["status"] for event in events if event["event"] == "status"] == [
        "starting",
        "processing",
        "failed",
    ]
    assert next(event["progress"] for event in events if event["event"] == "progress") == 0.25
    assert (events[-1]["status"], events[-1]["exit_code"]) == ("failed", 4)
    assert error["error"]["code"] == "prediction_failed"


def test_a_file_that_is_gone_is_no_saved_file(served: Cli, server: Server) -> None:
    """What was saved once and deleted since is not told as a path."""
    on(server, "abc123", answer_json(prediction(output=[f"{server.url}/f/a.webp"])))
    server.on("GET", "/f/", Answer(200, picture(), WEBP))
    assert served("download", "abc123").code == 0
    assert served("wait", "abc123", "--print", "path").lines == [str(served.folder / "abc123.webp")]
    (served.folder / "abc123.webp").unlink()
    assert served("wait", "abc123", "--print", "path").lines == []


@pytest.mark.parametrize("command", ["wait", "status"])
def test_a_path_that_there_is_none_of_is_told(command: str, served: Cli, server: Server) -> None:
    """Nothing on stdout would leave a script guessing; what failed has its own word."""
    server.on_get(answer_json(prediction(output=f"{server.url}/f/0.webp")))
    server.on("GET", "/f/", Answer(200, picture(), WEBP))
    told = served(command, "abc123", "--print", "path", "-q")
    assert (told.code, told.stdout) == (0, "")
    again = "cometrep download --wait abc123"
    assert told.stderr == f"cometrep: warning: no file of abc123 is saved here: {again}\n"
    assert served(*again.split()[1:]).lines == ["abc123.webp"]
    there = served(command, "abc123", "--print", "path", "-q")
    assert (there.lines, there.stderr) == ([str(served.folder / "abc123.webp")], "")
    server.on_get(answer_json(prediction(status="failed")))
    assert "is saved here" not in served(command, "other1", "--print", "path", "-q").stderr
