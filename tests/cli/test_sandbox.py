"""The sandbox from the command line: `--sandbox` on any command, and `cometrep sandbox` for other programs."""

import io
import json
import re
import signal
import socket
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from PIL import Image

from cometrep.sandbox.faults import KINDS
from tests.conftest import TIMEOUT_SECONDS, Cli
from tests.servers import SCHNELL

ROOT = Path(__file__).parents[2]
SMALL = ("prompt=a lighthouse", "megapixels=0.25", "seed=7")
Register = Callable[["subprocess.Popen[bytes]"], None]


@pytest.fixture
def quick(cli: Cli) -> Cli:
    """The program, with a sandbox whose predictions take next to no time."""
    cli.environment["COMETREP_SANDBOX_SECONDS"] = "0.05"
    return cli


def serve(cli: Cli, stopped: Register, *arguments: str) -> "subprocess.Popen[bytes]":
    """Start `cometrep sandbox` on a free port, and point the program at it by what it prints."""
    process = cli.start("sandbox", "--port", "0", "--seconds", "0.05", *arguments)
    stopped(process)
    assert process.stdout
    exports = [process.stdout.readline().decode() for _ in range(2)]
    assert all(re.fullmatch(r"export [A-Z_]+=\S+\n", line) for line in exports)
    cli.environment |= dict(line.removeprefix("export ").strip().split("=", 1) for line in exports)
    return process


def test_a_picture_without_key_or_network(quick: Cli) -> None:
    """`run --sandbox` works on a machine where nothing is set up, and its picture says that it is the sandbox's."""
    done = quick("run", "--sandbox", SCHNELL, *SMALL)
    assert done.code == 0
    (path,) = done.lines
    with Image.open(quick.folder / path) as image:
        assert (image.format, image.size) == ("WEBP", (512, 512))
    assert [file.name for file in quick.folder.iterdir()] == [path]


def test_a_proxy_does_not_stand_before_the_sandbox(quick: Cli) -> None:
    """Where HTTP_PROXY is set, as in many companies, `--sandbox` still needs no network."""
    env = {"HTTP_PROXY": "http://127.0.0.1:1", "COMETREP_RETRY_BUDGET": "0"}
    assert quick("create", "--sandbox", SCHNELL, *SMALL, env=env).code == 0


def test_predictions_live_on_between_commands(quick: Cli) -> None:
    """What one `--sandbox` command created the next ones find: by id, by @last, in the list, on disk."""
    created = quick("create", "--sandbox", SCHNELL, *SMALL, "-q")
    id = created.stdout.strip()
    assert quick("wait", "--sandbox", id, "-q").stdout == f"{id}\tsucceeded\n"
    assert quick("status", "--sandbox", "@last", env={"COMETREP_SANDBOX": ""}).stdout == f"{id}\tsucceeded\n"
    saved = quick("download", id, "-q", env={"COMETREP_SANDBOX": "1"})
    assert (saved.code, saved.stdout) == (0, f"{id}.webp\n")
    assert quick("list", "--sandbox").stdout.startswith(f"{id}\tsucceeded\t")
    assert quick("list").stdout == ""


def test_the_sandbox_is_no_real_api(quick: Cli) -> None:
    """A prediction of the sandbox is unknown outside of it, and no key leaves for it."""
    quick("create", "--sandbox", SCHNELL, *SMALL, "-q")
    outside = quick("status", "@last")
    assert outside.code == 2
    env = {"COMETAPI_KEY": "sk-real-0123456789-abcd"}
    done = quick("create", "--sandbox", SCHNELL, *SMALL, "-v", env=env)
    assert done.code == 0
    assert "abcd" not in done.stderr
    both = quick("status", "x", "--sandbox", "--base-url", "http://127.0.0.1:1")
    assert both.code == 2
    assert "--sandbox and --base-url" in both.stderr


def test_the_same_input_makes_the_same_picture(quick: Cli) -> None:
    """Same model, input and seed make the same bytes, in the format that was asked for."""
    command = ("run", "--sandbox", SCHNELL, "megapixels=0.25", "seed=7", "output_format=jpg", "-q", "-o")
    for name in "ab":
        assert quick(*command, f"{name}.{{ext}}", "prompt=a lighthouse").stdout == f"{name}.jpg\n"
    assert (quick.folder / "a.jpg").read_bytes() == (quick.folder / "b.jpg").read_bytes()


def test_mistakes_are_answered_as_by_the_api(quick: Cli) -> None:
    """An unknown model, a bad input and an unknown id are refused with the API's words and exit 8."""
    unknown = quick("create", "--sandbox", "nobody/nothing", "prompt=cat", "--json", "-q")
    assert unknown.code == 8
    error = json.loads(unknown.stderr.splitlines()[-1])["error"]
    assert error["code"] == "model_not_found"
    assert error["request_id"]
    wrong = quick("create", "--sandbox", SCHNELL, "prompt=cat", "num_outputs=9")
    assert wrong.code == 8
    assert "input.num_outputs: Must be less than or equal to 4" in wrong.stderr
    assert quick("status", "--sandbox", "q" * 26).code == 8


def test_a_hint_keeps_the_sandbox(cli: Cli) -> None:
    """A hint of a `--sandbox` command works when typed: it names the sandbox itself."""
    env = {"COMETREP_SANDBOX_SECONDS": "0.8"}
    done = cli("run", "--sandbox", SCHNELL, *SMALL, "--timeout", "0.2s", "-q", env=env)
    assert done.code == 6
    saved = cli.type_hint(done.stderr)
    assert saved.code == 0
    assert (cli.folder / saved.stdout.strip()).read_bytes()[8:12] == b"WEBP"


def test_without_pillow_it_says_what_to_install(cli: Cli, tmp_path: Path) -> None:
    """Without the extra, `--sandbox` and `sandbox` are exit 3 with the command that installs it."""
    (tmp_path / "without").mkdir()
    (tmp_path / "without" / "sitecustomize.py").write_text("import sys\nsys.modules['PIL'] = None\n")
    env = {"PYTHONPATH": f"{tmp_path / 'without'}:{cli.environment['PYTHONPATH']}"}
    for command in (("run", "--sandbox", SCHNELL, "prompt=cat"), ("sandbox", "--port", "0")):
        done = cli(*command, env=env)
        assert (done.code, done.stdout) == (3, "")
        assert re.search(r"hint: /\S+ -m pip install 'pillow>=10\.3'\n", done.stderr)


SHELL_LINES = re.findall(r"(?m)^    (.+)$", (ROOT / "cometrep/manual/topics/sandbox.txt").read_text("utf-8"))[:6]


def test_its_lines_point_a_shell_at_it(cli: Cli) -> None:
    """The page's lines start it behind a script, point every command at it, and end it."""
    clear, start, await_it, take, run, end = SHELL_LINES
    assert (clear, take, end) == ("rm -f sandbox.env", ". ./sandbox.env", "kill $!")  # else an old one may be read
    background = start.replace("cometrep sandbox", f"exec {cli.shell} sandbox --port 0 --seconds 0.05 2> told")
    done = cli.shell_line(
        f"""set -e
        {background}
        {await_it}
        {take}
        {run} megapixels=0.25 -q -o cat.webp
        cometrep status @last
        cometrep config get base_url
        {end}
        wait $! || echo $?
        """,
    )
    assert done.code == 0, done.stderr
    path, status, url, ended = done.lines
    assert path == "cat.webp"
    assert status.endswith("\tsucceeded")
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+", url)
    assert ended == "143"
    assert f"{url}/replicate (Python), {url}/replicate/v1 (JavaScript)" in (cli.folder / "told").read_text()


def test_its_lines_end_where_it_cannot_start(cli: Cli) -> None:
    """A script that waits for a sandbox that refused to serve ends, before anything is sent elsewhere."""
    (cli.folder / "sandbox.env").write_text("export COMETAPI_KEY=sk-of-an-earlier-one\n")
    lines = "\n".join(SHELL_LINES)
    done = cli.shell_line(lines.replace("cometrep sandbox", f"exec {cli.shell} sandbox --port 70000 2> told"))
    assert (done.code, done.stdout) == (1, "")
    assert "kill" in done.stderr
    assert "cometrep: " in (cli.folder / "told").read_text()


def test_its_seconds_are_the_setting(cli: Cli, stopped: Register) -> None:
    """Without `--seconds` a prediction takes what config.toml says; over the environment too the option wins."""

    def length(*arguments: str, variable: str) -> float:
        env = {"COMETREP_SANDBOX_SECONDS": variable, "COMETREP_BASE_URL": "", "COMETAPI_KEY": ""}
        process = cli.start("sandbox", "--port", "0", *arguments, env=env)
        stopped(process)
        assert process.stdout
        exports = [process.stdout.readline().decode() for _ in range(2)]
        cli.environment |= dict(line.removeprefix("export ").strip().split("=", 1) for line in exports)
        done = cli("run", SCHNELL, *SMALL, "--json", "-q")
        return float(json.loads(done.stdout)["metrics"]["total_time"])

    assert cli("config", "set", "sandbox_seconds", "0.4").code == 0
    assert length(variable="") == pytest.approx(0.4, rel=0.21)
    assert length("--seconds", ".05", variable=".2") == pytest.approx(0.05, rel=0.21)


def test_the_list_beside_a_served_sandbox_is_the_sandboxs(cli: Cli, stopped: Register) -> None:
    """With the exported lines in the environment `list` shows what `@last` means."""
    serve(cli, stopped)
    id = cli("create", SCHNELL, *SMALL, "-q").stdout.strip()
    assert cli("list").stdout.startswith(f"{id}\t")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_a_signal_stops_it_and_keeps_its_predictions(number: signal.Signals, cli: Cli, stopped: Register) -> None:
    """Ctrl-C and SIGTERM end the server with their code; its predictions are there for `--sandbox` and the next."""
    process = serve(cli, stopped)
    id = cli("create", SCHNELL, *SMALL, "-q").stdout.strip()
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=TIMEOUT_SECONDS)
    assert (process.returncode, stdout) == (128 + number, b"")
    assert b"Traceback" not in stderr
    elsewhere = {"COMETREP_BASE_URL": "", "COMETAPI_KEY": ""}
    assert cli("status", "--sandbox", "@last", env=elsewhere).stdout.startswith(f"{id}\t")


def test_a_port_can_be_chosen_and_may_be_taken(cli: Cli, stopped: Register) -> None:
    """`--port` is the port; one in use is exit 2 that names it and the way out."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = cli("sandbox", "--port", str(port))
    assert (done.code, done.stdout) == (2, "")
    assert f"port {port}" in done.stderr
    assert "--port 0" in done.stderr
    process = cli.start("sandbox", "--port", str(port))
    stopped(process)
    assert process.stdout
    assert process.stdout.readline() == f"export COMETREP_BASE_URL=http://127.0.0.1:{port}\n".encode()


@pytest.mark.parametrize(
    "arguments",
    [
        ("--port", "70000"),
        ("--seconds", "-1"),
        ("--seconds", "nan"),
        ("--seconds", "inf"),
        ("--fault", "nope"),
        ("--fault", "429:0"),
    ],
)
def test_a_bad_option_is_a_usage_error(arguments: tuple[str, ...], cli: Cli) -> None:
    """What the sandbox cannot do is exit 2 before it serves anything."""
    done = cli("sandbox", *arguments)
    assert (done.code, done.stdout) == (2, "")
    assert arguments[1] in done.stderr
    if arguments[0] == "--fault":
        assert all(kind in done.stderr for kind in KINDS)


def test_the_other_shape_of_answers_is_the_same_to_a_user(cli: Cli, stopped: Register) -> None:
    """With `--wrapped` every command gives what it gives without."""
    serve(cli, stopped, "--wrapped")
    done = cli("run", SCHNELL, *SMALL, "num_outputs=2", "--json", "-q")
    assert (done.code, done.stderr) == (0, "")
    shown = json.loads(done.stdout)
    assert (shown["status"], shown["model"], len(shown["output"]), len(shown["files"])) == (
        "succeeded",
        SCHNELL,
        2,
        2,
    )
    assert "Using seed: 7" in shown["logs"]
    failed = cli("run", SCHNELL, "prompt=cat sandbox:fail", "-q")
    assert failed.code == 4
    assert "E005" in failed.stderr
    assert cli("status", "q" * 26).code == 8


# What a client meets: the fault, the exit code of `run`, words on its stderr, options and settings beside it.
FAULTS: Mapping[str, tuple[int, str, tuple[str, ...]]] = {
    "429:1": (0, "attempt 1 failed: HTTP 429", ()),
    "500:1": (10, "HTTP 500 .*may exist and be billed", ()),
    "524": (10, "HTTP 524 .*may exist and be billed", ()),
    "get:hang": (6, "the last look has no answer yet", ("--timeout", "1s")),
    "html": (8, "a web page instead of JSON", ()),
    "reset": (10, "no answer to the create", ()),
    "truncate:1": (0, "attempt 1 failed: ", ()),
    "expire": (11, "cannot be had: HTTP 403", ()),
    "expire:1": (0, "asking the API for a fresh URL", ()),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_met_as_the_contract_says(fault: str, cli: Cli, stopped: Register) -> None:
    """Every `--fault` shows at a client: what passes is survived, all else has its exit code, no file is torn."""
    code, told, options = FAULTS[fault]
    serve(cli, stopped, "--fault", fault)
    done = cli("run", SCHNELL, *SMALL, *options)
    assert done.code == code, done.stderr
    assert re.search(told, done.stderr)
    assert len(done.lines) == (1 if code == 0 else 0)
    for line in done.lines:
        with Image.open(io.BytesIO((cli.folder / line).read_bytes())) as image:
            image.load()
    assert len(list(cli.folder.iterdir())) == len(done.lines)


def test_a_slow_file_is_seen_to_grow(cli: Cli, stopped: Register) -> None:
    """With `--fault slow` a file comes in pieces: its progress is told while it grows, and it has no name yet."""
    serve(cli, stopped, "--fault", "slow")
    process = cli.start("run", SCHNELL, *SMALL, "--progress", "json")
    stopped(process)
    assert process.stderr
    sizes: set[int] = set()
    while len(sizes) < 3:
        event = json.loads(process.stderr.readline())
        if event["event"] == "saving":
            assert event["bytes"] < event["total_bytes"]
            sizes.add(event["bytes"])
    assert list(cli.folder.glob("*.webp")) == []
    process.send_signal(signal.SIGTERM)
    assert process.wait(TIMEOUT_SECONDS) == 143


def test_every_kind_of_fault_is_tried() -> None:
    """No kind of fault that the sandbox knows is left out here."""
    assert {re.sub(r"^(?:get|create|file):|:\d+$", "", fault) for fault in FAULTS} | {"slow"} == set(KINDS)


def test_faults_can_be_put_in_a_row(cli: Cli, stopped: Register) -> None:
    """Several `--fault` options come one after the other."""
    serve(cli, stopped, "--fault", "get:500:1", "--fault", "get:reset:1", "--wrapped")
    done = cli("run", SCHNELL, *SMALL)
    assert done.code == 0
    assert re.search("attempt 1 failed: HTTP 500(.|\n)*attempt 2 failed", done.stderr)
