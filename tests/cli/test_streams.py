"""What goes to stdout, what to stderr, when stdin is read, and what happens where one of them is closed or full."""

import contextlib
import io
import json
import os
import re
import subprocess
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from cometrep import errors
from cometrep.console import Choices, Console
from tests.conftest import KEY, TIMEOUT_SECONDS, Cli, full_pipe, needs_proc
from tests.servers import SCHNELL, WEBP, Answer, Received, Server, answer_json, picture, prediction

HOSTILE = (
    "\x1b[31mred\x1b]0;owned\x07 [bold]b[/bold]\r::error::x\n::set-output name=a::b\n##[group]c"
    " \u202eabc \u2066x \x9b2J\x00 \ud800 end"
)
# The locale a Python program meets where nothing is set and it may not help itself.
NOT_UTF_8 = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def finished(server: Server, files: int = 1) -> None:
    """Script creates that are accepted and predictions that are finished."""
    server.on_create(answer_json(prediction(status="starting")))
    server.on_get(answer_json(prediction(output=[f"{server.url}/f/{index}.webp" for index in range(files)])))
    server.on("GET", "/f/", Answer(200, picture(), WEBP))


def test_results_alone_are_on_stdout(served: Cli, server: Server) -> None:
    """Progress, warnings and errors go to stderr; stdout is the same with them and without."""
    finished(server)
    loud = served("run", SCHNELL, "promt=cat", "prompt=cat", "-v")
    assert loud.stdout == "abc123.webp\n"
    assert "did you mean prompt?" in loud.stderr
    assert "saved abc123.webp" in loud.stderr
    quiet = served("run", SCHNELL, "prompt=cat", "-q")
    assert (quiet.code, quiet.stdout, quiet.stderr) == (0, "abc123.webp\n", "")
    wrong = served("run", SCHNELL, "promt=cat", "-q", "--strict")
    assert wrong.stdout == ""
    assert len(wrong.stderr.splitlines()) == 2
    warned = served("create", SCHNELL, "promt=cat", "-q")
    assert warned.stdout == "abc123\n"
    assert "warning:" in warned.stderr


def test_what_is_said_of_the_command_itself_is_an_event_among_events(served: Cli, server: Server) -> None:
    """Warnings and hints too, so that a program reads each line of stderr alike; with `-q` no hints."""
    finished(server)
    command = ("run", SCHNELL, "promt=cat", "prompt=cat", "-o", "cat.png", "--overwrite", "--progress", "json")
    for switches in ((), ("-q",)):
        events = [json.loads(line) for line in served(*command, *switches).stderr.splitlines()]
        notes = [(event["is_warning"], event["text"]) for event in events if event["event"] == "note"]
        assert all(event.keys() >= {"event", "time", "id"} for event in events)
        assert any(is_warning and "did you mean prompt?" in text for is_warning, text in notes)
        assert any(not is_warning and "is to hold png" in text for is_warning, text in notes) == (not switches)


@pytest.mark.parametrize("command", ["run", "create", "wait", "status", "download"])
def test_an_open_stdin_is_not_read(command: str, served: Cli, server: Server) -> None:
    """Without a `-` no command touches stdin: one that never ends holds nothing up, and nothing is taken of it."""
    finished(server)
    argument = {"run": f"{SCHNELL} prompt=cat", "create": f"{SCHNELL} prompt=cat"}
    script = f"cometrep {command} {argument.get(command, 'abc123')}; echo code $?; read rest; echo rest $rest"
    process = subprocess.Popen(
        ["bash", "-c", f'cometrep() {{ {served.shell} "$@"; }}\n{script}'],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=served.folder,
        env=served.environment,
    )
    assert process.stdin
    assert process.stdout
    with process.stdin, process.stdout:
        process.stdin.write(b"not yours")
        process.stdin.flush()
        while (line := process.stdout.readline()) and not line.startswith(b"code"):
            pass
        assert line == b"code 0\n"
        process.stdin.write(b" at all\n")
        process.stdin.flush()
        assert process.stdout.read() == b"rest not yours at all\n"
    assert process.wait(TIMEOUT_SECONDS) == 0


def test_commands_join_into_pipelines(sandboxed: Cli) -> None:
    """Ids flow from create to wait to download, as lines, as lines with a status, and as JSON."""
    make = f"cometrep create {SCHNELL} prompt=cat megapixels=0.25"
    done = sandboxed.shell_line(
        f"""set -e
        id=$({make} -q)
        [[ $id =~ ^[a-z0-9]{{26}}$ ]]
        {{ echo $id; {make} -q; }} | cometrep wait -q - | tee waited | cometrep download -q - > saved
        {make} -q --json | cometrep wait -q --json - | cometrep download -q - | tee -a saved
        """,
    )
    assert done.code == 0, done.stderr
    assert done.stderr == ""
    waited = (sandboxed.folder / "waited").read_text().splitlines()
    assert [line.partition("\t")[2] for line in waited] == ["succeeded", "succeeded"]
    saved = (sandboxed.folder / "saved").read_text().splitlines()
    assert len(saved) == 3
    assert {line.partition("\t")[0] + ".webp" for line in waited} == set(saved[:2])
    for name in saved:
        assert (sandboxed.folder / name).read_bytes()[8:12] == b"WEBP"


def test_a_failure_in_a_pipeline_reaches_its_end(sandboxed: Cli) -> None:
    """With pipefail the exit code of a failed prediction is the pipeline's; without ids the next one says so."""
    script = f"cometrep create {SCHNELL} prompt='cat sandbox:fail' -q"
    done = sandboxed.shell_line(f"{script} | cometrep wait -q - | cut -f2")
    assert (done.code, done.stdout) == (4, "failed\n")
    done = sandboxed.shell_line("cometrep create nonsense prompt=cat -q | cometrep wait -q -")
    assert done.code == 2
    assert done.stdout == ""
    assert "'nonsense' is not a model" in done.stderr
    assert "stdin held no ids" in done.stderr


def test_a_line_of_json_that_nobody_can_read_is_no_id(served: Cli) -> None:
    """However deeply it is nested."""
    done = served("wait", "-", stdin='{"id":' * 50_000)
    assert done.code == 2
    assert "is not a prediction id" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_reader_that_leaves_early_ends_the_command_silently(
    served: Cli, server: Server, stopped: Callable[["subprocess.Popen[bytes]"], None]
) -> None:
    """A reader that leaves, as `head -1` does, ends the command with 141, silently; what was paid for is saved."""
    finished(server, files=3)
    has_left = threading.Event()
    server.on("GET", "/f/1", Answer(200, picture(), WEBP, wait_for=has_left))
    process = served.start("run", SCHNELL, "prompt=cat", "-q")
    stopped(process)
    assert process.stdout
    assert process.stderr
    assert process.stdout.readline() == b"abc123-0.webp\n"
    process.stdout.close()
    has_left.set()
    assert process.wait(TIMEOUT_SECONDS) == 141
    assert process.stderr.read() == b""
    assert {path.read_bytes() for path in served.folder.glob("*.webp")} == {picture()}
    assert len(list(served.folder.glob("*.webp"))) == 3
    assert served("list", "--unsaved").stdout == ""


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("cometrep --version", 141),
        ("cometrep --help", 141),
        (f"cometrep create {SCHNELL} prompt=cat -q", 141),
        (f"cometrep run {SCHNELL} prompt=cat -q", 141),
        ("cometrep status abc123 --json", 141),
        ("cometrep status @0 2>/dev/null", 2),
    ],
)
def test_a_closed_stdout_ends_silently_with_141(command: str, code: int, served: Cli, server: Server) -> None:
    """`>&-` is a reader that left: exit 141 and silence; an error of its own kind keeps its code."""
    finished(server)
    done = served.shell_line(f"{command} >&-")
    assert (done.code, done.stdout, done.stderr) == (code, "", "")


@pytest.mark.parametrize(
    "command",
    [
        "cometrep --version",
        "cometrep run --help",
        f"cometrep create {SCHNELL} prompt=cat -q",
        f"cometrep run {SCHNELL} prompt=cat -q",
        f"cometrep run {SCHNELL} prompt=cat -q -o -",
        "cometrep wait abc123 other -q --json",
    ],
)
def test_a_full_stdout_is_an_error_of_its_own(command: str, served: Cli, server: Server) -> None:
    """What cannot be written to stdout is exit 12 with a message, never a traceback or a false success."""
    finished(server)
    done = served.shell_line(f"{command} >/dev/full")
    assert done.code == 12
    assert "cannot write to stdout: No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
    if "--json" in command:
        error = json.loads(done.stderr)["error"]
        assert error["hint"] == "cometrep wait abc123 other --json"  # neither is dropped
        assert (error["code"], error["prediction_id"]) == ("disk_full", "abc123")


UNBUFFERED = pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
LARGE = picture(size=3_000_000)  # more than a pipe holds


@UNBUFFERED
@pytest.mark.parametrize("blocks", [True, False], ids=["blocking", "nonblocking"])
def test_stdout_takes_all_or_it_is_an_error(blocks: bool, unbuffered: str, served: Cli, server: Server) -> None:
    """A pipe takes a part of a large picture at a time; all of it arrives, however the pipe was opened."""
    finished(server)
    server.on("GET", "/f/", Answer(200, LARGE, WEBP))
    reading, writing = os.pipe()
    os.set_blocking(writing, blocks)
    with os.fdopen(reading, "rb") as pipe:
        program = subprocess.Popen(
            served.command("run", SCHNELL, "prompt=cat", "-q", "-o", "-"),
            stdout=writing,
            stdin=subprocess.DEVNULL,
            cwd=served.folder,
            env={**served.environment, "PYTHONUNBUFFERED": unbuffered},
        )
        os.close(writing)
        came = pipe.read()
    assert program.wait(TIMEOUT_SECONDS) == 0
    assert came == LARGE


@UNBUFFERED
def test_no_line_of_a_stderr_that_does_not_block_is_lost(unbuffered: str, served: Cli, server: Server) -> None:
    """As Node.js gives one: where nobody reads it, the id waits for its reader before the first look."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writing, b"." * 512)
    asked = threading.Event()

    def create(_: Received) -> Answer:
        asked.set()
        return answer_json(prediction("made1", "starting"))

    server.on_create(create)
    server.on_get(answer_json(prediction("made1", "failed", error="no")))
    with os.fdopen(reading, "rb") as pipe:
        program = subprocess.Popen(
            served.command("run", SCHNELL, "prompt=cat"),
            stderr=writing,
            stdin=subprocess.DEVNULL,
            cwd=served.folder,
            env={**served.environment, "PYTHONUNBUFFERED": unbuffered},
        )
        os.close(writing)
        assert asked.wait(TIMEOUT_SECONDS)
        looks = server.count("GET", "/replicate")
        told = pipe.read().lstrip(b".").decode()
    assert (program.wait(TIMEOUT_SECONDS), looks) == (4, 0)
    assert told.startswith("made1  created  ")


def test_one_signal_ends_a_command_whose_stderr_nobody_reads(
    served: Cli, server: Server, stopped: Callable[["subprocess.Popen[bytes]"], None]
) -> None:
    """As `timeout` sends it: neither the line that waits for a reader nor the goodbye behind it holds it up."""
    has_looked = threading.Event()

    def look(_: Received) -> Answer:
        has_looked.set()
        return answer_json(prediction(status="processing"))

    server.on_get(look)
    with full_pipe() as (_, stderr):
        program = subprocess.Popen(
            served.command("wait", "abc123"),
            stderr=stderr,
            stdin=subprocess.DEVNULL,
            cwd=served.folder,
            env=served.environment,
        )
        stopped(program)
        assert has_looked.wait(TIMEOUT_SECONDS)
        program.terminate()
        assert program.wait(TIMEOUT_SECONDS) == 143


@UNBUFFERED
def test_a_stdout_that_fills_up_is_an_error(unbuffered: str, served: Cli, server: Server) -> None:
    """Where room ends in the middle of a picture, the command does not end as if all were well."""
    finished(server)
    server.on("GET", "/f/", Answer(200, LARGE, WEBP))
    assert served("run", SCHNELL, "prompt=cat", "-q").code == 0
    limited = "trap '' XFSZ; ulimit -f 100; cometrep status abc123 --json -q >reply.json"
    server.on_get(answer_json(prediction(output=["x" * 300_000])))
    # No module is to be cut short, too.
    done = served.shell_line(limited, {"PYTHONUNBUFFERED": unbuffered, "PYTHONDONTWRITEBYTECODE": "1"})
    assert done.code == 12
    assert "cannot write to stdout" in done.stderr


@UNBUFFERED
def test_a_reader_that_leaves_in_the_middle_is_141(unbuffered: str, served: Cli, server: Server) -> None:
    """`head -c` takes its bytes and goes: that is silent, and not success."""
    finished(server)
    server.on("GET", "/f/", Answer(200, LARGE, WEBP))
    line = f"cometrep run {SCHNELL} prompt=cat -q -o - | head -c 10 >/dev/null; exit ${{PIPESTATUS[0]}}"
    done = served.shell_line(line, {"PYTHONUNBUFFERED": unbuffered})
    assert (done.code, done.stderr) == (141, "")


def test_a_full_stdout_loses_no_output_file(served: Cli, server: Server) -> None:
    """All files of the prediction are saved, as where its reader leaves, and the hint prints their paths."""
    finished(server, files=3)
    done = served.shell_line(f"cometrep run {SCHNELL} prompt=cat num_outputs:=3 -q -d out >/dev/full")
    assert done.code == 12
    paths = [f"out/abc123-{index}.webp" for index in range(3)]
    assert all((served.folder / path).read_bytes() == picture() for path in paths)
    hint = done.stderr.splitlines()[-1].removeprefix("hint: cometrep ")
    assert served(*hint.split(), "-q").lines == paths
    assert server.creates == 1


@pytest.mark.skipif(not Path("/usr/share/i18n/locales/de_DE").exists(), reason="locales is not installed")
def test_a_path_has_the_bytes_of_its_name_on_disk(
    served: Cli, server: Server, tmp_path: Path, stopped: Callable[["subprocess.Popen[bytes]"], None]
) -> None:
    """In a locale that is not UTF-8, too: whoever reads it from stdout finds the file."""
    finished(server)
    name = "de_DE.ISO-8859-1"
    subprocess.run(["localedef", "-i", "de_DE", "-f", "ISO-8859-1", tmp_path / name], check=True)
    env = {"LC_ALL": name, "LOCPATH": str(tmp_path)}
    process = served.start("run", SCHNELL, "prompt=cat", "-q", "-o", "h\udcfct.{ext}", env=env)
    stopped(process)
    assert process.communicate(timeout=TIMEOUT_SECONDS) == (b"h\xfct.webp\n", b"")
    assert (served.folder / "h\udcfct.webp").read_bytes() == picture()
    served("config", "set", "dir", "hüte")
    process = served.start("config", "get", "dir", env=env)
    stopped(process)
    assert process.communicate(timeout=TIMEOUT_SECONDS) == (b"h\xfcte\n", b"")


def test_a_name_that_the_locale_has_no_characters_for_is_refused(served: Cli, server: Server) -> None:
    """Where it comes out of a file, which is UTF-8 anywhere: before anything is sent, not once it is paid for."""
    finished(server)
    bare = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    lines = served.folder / "lines.jsonl"
    lines.write_text(json.dumps({"key": "zdj\u0119", "input": {"prompt": "cat"}}))
    done = served("batch", str(lines), "-m", SCHNELL, "-o", "{key}.{ext}", env=bare)
    assert (done.code, done.lines) == (2, [])
    assert "the key 'zdj\\u0119' has characters that no file name has in this locale" in done.stderr
    served("config", "set", "output", "zdj\u0119cia-{id}.{ext}")
    done = served("run", SCHNELL, "prompt=cat", "-q", env=bare)
    assert (done.code, server.creates) == (3, 0)
    assert done.stderr.endswith(
        "output 'zdj\\u0119cia-{id}.{ext}' has characters that no file name has in this locale\n"
        "hint: export LC_ALL=C.UTF-8\n"
    )


@pytest.mark.parametrize("where", ["2>&-", "2>/dev/full"])
def test_a_lost_stderr_stops_no_prediction(where: str, served: Cli, server: Server) -> None:
    """With stderr closed or full, the work is done, stdout is right and the exit code is the outcome's."""
    finished(server)
    done = served.shell_line(
        f"cometrep run {SCHNELL} prompt=cat {where}; echo $?; cometrep status @0 {where}; echo $?"
    )
    assert done.stdout == "abc123.webp\n0\n2\n"
    assert done.stderr == ""
    assert (served.folder / "abc123.webp").read_bytes() == picture()


def test_a_closed_stdin_is_no_fault_until_it_is_asked_for(served: Cli, server: Server) -> None:
    """With stdin closed everything works but what reads it, and that says so; no file gets its number."""
    finished(server)
    done = served.shell_line(f"cometrep run {SCHNELL} prompt=cat -q <&-")
    assert (done.code, done.stdout, done.stderr) == (0, "abc123.webp\n", "")
    for command in ("status -", f"create {SCHNELL} prompt=@-", f"create {SCHNELL} -i -", "login --stdin"):
        done = served.shell_line(f"cometrep {command} <&-")
        assert (done.code, done.stdout) == (2, "")
        assert done.stderr.startswith("cometrep: stdin is closed")
    assert server.creates == 1


def test_all_streams_may_be_closed(served: Cli, server: Server) -> None:
    """With all three closed the picture is still saved, no other file is written to, and the code is 141."""
    finished(server)
    done = served.shell_line(f"cometrep run {SCHNELL} prompt=cat --print status <&- >&- 2>&-")
    assert done.code == 141
    assert (served.folder / "abc123.webp").read_bytes() == picture()
    assert [path.name for path in served.folder.iterdir()] == ["abc123.webp"]


def unwritable(folder: Path) -> str:
    """Make a home that cannot be written, not even by root: a file is in its way."""
    (folder / "file").write_text("")
    return str(folder / "file" / "home")


def test_a_home_that_cannot_be_written_stops_only_what_must_be_recorded(
    served: Cli, server: Server, tmp_path: Path
) -> None:
    """Looks and downloads go on, with a warning at most; a create is not sent, and no list is told empty (12)."""
    finished(server)
    env = {"COMETREP_HOME": unwritable(tmp_path)}
    created = served("create", SCHNELL, "prompt=cat", env=env)
    assert created.code == 12
    assert created.stdout == ""
    assert env["COMETREP_HOME"] in created.stderr
    assert 'hint: export COMETREP_HOME="$PWD/.cometrep"' in created.stderr
    assert server.creates == 0
    looked = served("status", "abc123", env=env)
    assert (looked.code, looked.stdout) == (0, "abc123\tsucceeded\n")
    saved = served("download", "abc123", env=env)
    assert (saved.code, saved.stdout) == (0, "abc123.webp\n")
    listed = served("list", env=env)
    assert (listed.code, listed.stdout) == (12, "")
    stored = served("login", "--stdin", stdin="sk-0123456789abcdef", env=env)
    assert stored.code == 12
    assert "Traceback" not in stored.stderr


@pytest.mark.parametrize("command", [f"run --sandbox {SCHNELL} prompt=cat", "sandbox --port 0"])
def test_a_sandbox_without_a_home_is_a_plain_error(command: str, cli: Cli, tmp_path: Path) -> None:
    """Where the sandbox cannot keep its data, that is exit 12 in two lines, not a traceback."""
    done = cli(*command.split(), env={"COMETREP_HOME": unwritable(tmp_path)})
    assert done.code == 12
    assert re.fullmatch(r"cometrep: .+\nhint: .+\n", done.stderr)


@pytest.mark.parametrize(
    ("env", "has_colour"),
    [
        ({}, False),
        ({"FORCE_COLOR": "1"}, True),
        ({"FORCE_COLOR": "1", "CI": "1"}, True),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
    ],
    ids=str,
)
def test_pipes_have_colour_only_by_force(
    env: Mapping[str, str], has_colour: bool, served: Cli, server: Server
) -> None:
    """Off a terminal stderr is plain, FORCE_COLOR colours it and nothing else; stdout never has colour."""
    server.on_get(answer_json(prediction(status="failed", error="boom")))
    done = served("wait", "abc123", env={"TERM": "xterm-256color", **env})
    assert (done.code, done.stdout) == (4, "abc123\tfailed\n")
    assert bool(re.search(r"\x1b\[[0-9;]+m", done.stderr)) == has_colour
    assert "\x1b" not in re.sub(r"\x1b\[[0-9;]*m", "", done.stderr)
    assert "\r" not in done.stderr


def test_a_prompt_is_sent_as_it_was_typed_in_a_bare_locale(served: Cli, server: Server) -> None:
    """LANG=C takes nothing from a prompt of any script; where the bytes cannot be read as text, it is refused."""
    finished(server)
    prompt = "ein Bär 🐻 在海边"
    for env in ({"LANG": "C"}, {"LC_ALL": "POSIX"}):
        assert served("create", SCHNELL, f"prompt={prompt}", env=env).code == 0
        assert server.received[-1].json()["input"]["prompt"] == prompt
    refused = served("create", SCHNELL, f"prompt={prompt}", env=NOT_UTF_8)
    assert refused.code == 2
    assert "UTF-8" in refused.stderr
    assert server.creates == 2


@pytest.mark.parametrize(
    ("command", "locale"),
    [
        ("wait abc123 --logs", {}),
        ("wait abc123 --logs", NOT_UTF_8),
        ("status abc123", {}),
        ("wait abc123 --json", {}),
        ("wait abc123 --progress json --logs", {}),
    ],
)
def test_hostile_text_is_harmless_in_a_pipe(
    command: str, locale: Mapping[str, str], served: Cli, server: Server
) -> None:
    """What a server says reaches no terminal, CI runner or locale as anything but text."""
    failed = prediction(status="failed", error=HOSTILE, logs=HOSTILE, model=HOSTILE, output=HOSTILE)
    server.on_get(answer_json({**failed, "status": HOSTILE} if command == "status abc123" else failed))
    done = served(*command.split(), env=locale)
    assert done.code == (0 if command == "status abc123" else 4)
    both = done.stdout + done.stderr
    assert "Traceback" not in both
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufffd]", both)
    assert not re.search(r"(?m)^\s*::|##\[", both)
    assert "[bold]b[/bold]" in both
    if "--json" in command:
        shown = json.loads(done.stdout)
        assert (shown["error"], shown["logs"]) == (HOSTILE, HOSTILE)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (answer_json({"error": {"message": HOSTILE, "code": HOSTILE}}, 422), 8),
        (answer_json({"detail": HOSTILE}, 401), 3),
        (Answer(301, b"", {"Location": "https://evil.test/\x1b[31m", "X-Request-Id": "\x1b[31m[bold]"}), 8),
        (Answer(200, b"<html><title>\x1b[31m::error::</title>", {"Content-Type": "text/html"}), 8),
    ],
    ids=["message", "refused key", "redirect", "page"],
)
def test_hostile_answers_are_harmless_as_errors(answer: Answer, code: int, served: Cli, server: Server) -> None:
    """Error messages, request ids, redirect targets and titles of pages are shown, escaped; nothing is obeyed."""
    server.on_create(answer)
    done = served("create", SCHNELL, "prompt=cat", "-v", env={"COMETREP_RETRY_BUDGET": "0"})
    assert done.code == code
    assert "\\x1b[31m" in done.stderr
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", done.stderr)
    assert not re.search(r"(?m)^\s*::|##\[", done.stderr)


@pytest.mark.parametrize(
    "answer",
    [
        lambda received: answer_json({"detail": f"bad key {received.headers['authorization']}"}, 401),
        lambda received: answer_json({"detail": f"you sent {received.headers['authorization']}"}, 500),
        lambda received: Answer(302, b"", {"Location": f"https://x.test/?key={received.headers['authorization']}"}),
        lambda received: answer_json(prediction(id=KEY, status="failed", error=f"key {KEY}", logs=KEY)),
        lambda received: answer_json(prediction(status="failed", error=f"key {KEY}", logs=f"{KEY}\n")),
    ],
    ids=["401", "500", "redirect", "id", "error and logs"],
)
def test_the_key_is_nowhere(answer: Callable[..., Answer], served: Cli, server: Server, tmp_path: Path) -> None:
    """A server that repeats the key finds it on neither stream, in no file and in no second place."""
    server.on_create(answer)
    server.on_get(answer)
    outcomes = [
        served("run", SCHNELL, "prompt=cat", "-v", "--logs", "--sidecar", env={"COMETREP_RETRY_BUDGET": "0"}),
        served("wait", "abc123", "-v", "--json", "--progress", "json", env={"COMETREP_RETRY_BUDGET": "0"}),
    ]
    assert server.received[0].headers["authorization"] == f"Bearer {KEY}"
    assert any("…abcd" in done.stderr for done in outcomes)
    for done in outcomes:
        assert KEY not in done.stdout + done.stderr
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert KEY.encode() not in path.read_bytes(), path


@needs_proc
def test_a_stdin_without_end_is_not_read_to_its_end(cli: Cli) -> None:
    """Of a key, and of an input of all items, no more is read than there can be."""
    (cli.folder / "items.csv").write_text("seed\n1\n")
    done = cli.shell_line(
        f"""
        ulimit -v 3000000
        cometrep login --stdin </dev/zero; echo $?
        cometrep batch items.csv -m {SCHNELL} prompt=@- --dry-run </dev/zero; echo $?
        """,
    )
    assert done.stdout == "2\n2\n"
    assert "that is no API key" in done.stderr
    assert "more than the 10 MB" in done.stderr


@pytest.mark.parametrize("is_json", [False, True], ids=["people", "programs"])
def test_what_a_server_says_at_length_is_whole_for_programs_alone(is_json: bool) -> None:
    """An error of megabytes would leave nothing else on a screen."""
    written = io.BytesIO()
    console = Console(None, None, io.TextIOWrapper(written, "utf-8"), lambda name: "")
    message = f"prediction p1 failed: {'x' * 3_000_000}"
    console.configure(Choices(is_json=is_json))
    console.report(errors.PredictionFailed(message, hint="cometrep status p1 --json"))
    told = written.getvalue().decode()
    if is_json:
        assert json.loads(told)["error"]["message"] == message
    else:
        assert re.fullmatch(r"cometrep: prediction p1 failed: x{3000,4000}…\nhint: .* --json\n", told)
