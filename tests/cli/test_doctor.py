"""`cometrep doctor`: one line a check, a fix for each fault, and nothing that costs money."""

import json
import re
import subprocess
import time
from pathlib import Path

import pytest

from cometrep.ledger import Ledger
from cometrep.prediction import Prediction
from tests.cli.test_terminal import Terminal
from tests.conftest import KEY, TIMEOUT_SECONDS, Cli, needs
from tests.servers import Answer, Server, answer_html, answer_json, picture, prediction

NAMES = (
    *("api_key", "config_file", "settings", "base_url", "proxy", "dns", "tls", "api", "clock", "netrc"),
    *("state_folder", "cache_folder", "ledger", "part_files", "unknown_creates", "unsaved_outputs"),
    *("terminal", "completion", "man_pages", "pillow", "versions"),
)
NOT_FOUND = answer_json({"detail": "The requested resource could not be found.", "status": 404}, 404)
HOSTILE = "\x1b[31mred\x1b]0;owned\x07\t[bold]b[/bold]\r\n::error::x \u202eabc \x9b2J"


def rows(stdout: str) -> dict[str, tuple[str, str, str]]:
    """Read what is written off a terminal: outcome, message and fix by the check's name."""
    found = {}
    for line in stdout.splitlines():
        outcome, name, message, fix = line.split("\t")
        found[name] = (outcome, message, fix)
    return found


def test_a_line_a_check_and_exit_0(served: Cli, server: Server) -> None:
    """Off a terminal each check is four fields; where nothing fails the exit code is 0, whatever the warnings."""
    server.on_get(NOT_FOUND)
    done = served("doctor")
    assert (done.code, done.stderr) == (0, "")
    found = rows(done.stdout)
    assert tuple(found) == NAMES
    assert found["api_key"] == ("ok", "…abcd from COMETAPI_KEY", "")
    assert found["api"][0] == "ok"
    assert {outcome for outcome, _, _ in found.values()} <= {"ok", "warn"}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_fix_for_completion_works_as_typed(shell: str, served: Cli, server: Server) -> None:
    """It is one command, after which the check is in order."""
    server.on_get(NOT_FOUND)
    served.environment["SHELL"] = f"/bin/{shell}"
    outcome, _, fix = rows(served("doctor").stdout)["completion"]
    if outcome != "ok":  # as where the machine's own folders have it
        assert served.shell_line(fix).code == 0
    outcome, message, _ = rows(served("doctor").stdout)["completion"]
    assert outcome == "ok"
    assert f"{shell}: " in message


def test_it_looks_once_and_creates_nothing(served: Cli, server: Server) -> None:
    """The one request is a look, with the key in its header alone; no output has the key."""
    server.on_get(answer_json({"detail": f"unknown key {KEY}"}, 401))
    done = served("doctor", "-v")
    assert [(one.method, one.path) for one in server.received] == [
        ("GET", "/replicate/v1/predictions/doctor-check")
    ]
    assert server.received[0].headers["authorization"] == f"Bearer {KEY}"
    assert KEY not in done.stdout + done.stderr
    assert "> GET " in done.stderr
    assert "Bearer …abcd" in done.stderr
    assert not (served.home / "cometrep").exists()


def test_a_key_of_a_letter_hides_no_words(served: Cli, server: Server) -> None:
    """It stands in half of them."""
    server.on_get(answer_json({"detail": "no"}, 401))
    done = served("doctor", env={"COMETAPI_KEY": "e"})
    assert done.code == 3
    assert re.search(r"cometrep: .*checks? failed", done.stderr)


def test_what_has_to_be_mended_is_exit_3(cli: Cli, server: Server) -> None:
    """Faults are exit 3 with the usual two lines behind the checks: what failed, and the first fix."""
    server.on_get(answer_html())
    done = cli("doctor", "--base-url", server.url)
    assert done.code == 3
    found = rows(done.stdout)
    assert [name for name, row in found.items() if row[0] == "fail"] == ["api_key", "api"]
    first, second = done.stderr.splitlines()
    assert first == f"cometrep: 2 of {len(NAMES)} checks failed: api_key, api"
    assert second == f"hint: {found['api_key'][2]}"
    assert second.startswith("hint: cometrep login")


def test_json_is_one_object(served: Cli, cli: Cli, server: Server) -> None:
    """`--json` prints one object with every check, a fix or null in each, and the error as an object too."""
    server.on_get(NOT_FOUND, answer_json({"detail": "no"}, 401))
    good = served("doctor", "--json", "-q")
    assert (good.code, good.stderr) == (0, "")
    shown = json.loads(good.stdout)
    assert (shown["schema_version"], shown["ok"]) == (1, True)
    assert tuple(check["name"] for check in shown["checks"]) == NAMES
    for check in shown["checks"]:
        assert list(check) == ["name", "outcome", "message", "fix"]
        assert (check["fix"] is None) == (check["outcome"] == "ok")
    bad = served("doctor", "--json")
    assert bad.code == 3
    assert json.loads(bad.stdout)["ok"] is False
    error = json.loads(bad.stderr)["error"]
    assert (error["code"], error["exit_code"]) == ("checks_failed", 3)


def test_quiet_leaves_out_what_is_in_order(served: Cli, server: Server) -> None:
    """`-q` prints warnings and failures alone; with `--json` the list stays whole, as programs want it."""
    server.on_get(answer_json({"detail": "no"}, 401))
    done = served("doctor", "--quiet")
    assert done.code == 3
    assert "ok" not in {row[0] for row in rows(done.stdout).values()}
    assert rows(done.stdout)["api"][0] == "fail"
    whole = json.loads(served("doctor", "--quiet", "--json").stdout)["checks"]
    assert [check["name"] for check in whole] == list(rows(served("doctor").stdout))


def test_the_sandbox_is_examined_in_place_of_the_api(cli: Cli) -> None:
    """With `--sandbox` the stand-in answers, no key is needed, and fixes keep the option."""
    ledger = Ledger(
        cli.home / "cometrep" / "ledger.sqlite3",
        base_url="",
        is_sandbox=True,
        clock=lambda: time.time() - 3000,
    )
    ledger.accept(ledger.begin("a/b", {}), Prediction.from_json(prediction("made1")))
    ledger.see(Prediction.from_json(prediction("made1", output="https://x.test/a.webp")))
    ledger.close()
    done = cli("doctor", "--sandbox")
    assert (done.code, done.stderr) == (0, "")
    found = rows(done.stdout)
    assert found["api_key"] == ("ok", "none is needed in the sandbox", "")
    assert found["base_url"][1].endswith("the sandbox of --sandbox")
    assert found["api"][0] == "ok"
    assert found["unsaved_outputs"][2] == "cometrep download --sandbox made1"


def test_a_sandbox_without_pillow_is_a_finding(cli: Cli) -> None:
    """Where the sandbox cannot start, that is what fails, and all else is checked."""
    (cli.folder / "sitecustomize.py").write_text("import sys\nsys.modules['PIL'] = None\n")
    env = {"PYTHONPATH": f"{cli.folder}:{cli.environment['PYTHONPATH']}"}
    done = cli("doctor", "--sandbox", env=env)
    assert done.code == 3
    found = rows(done.stdout)
    assert found["base_url"][0] == "fail"
    assert found["base_url"][2].endswith(" -m pip install 'pillow>=10.3'")
    assert found["pillow"][2] == found["base_url"][2]
    assert found["pillow"][0] == "warn"
    assert found["api"][1] == "not tried: base_url comes first"


def test_a_broken_config_file_is_a_finding(cli: Cli) -> None:
    """What stops every other command is one failing line here, told without the key that stands beside it."""
    path = cli.home / "cometrep" / "config.toml"
    path.parent.mkdir()
    path.write_text(f'api_key = "{KEY}"\ntimeout = 5m\n')
    done = cli("doctor")
    assert done.code == 3
    found = rows(done.stdout)
    assert found["config_file"][0] == "fail"
    assert "line 2" in found["config_file"][1]
    assert found["versions"][0] == "ok"
    assert KEY not in done.stdout + done.stderr


def test_a_wrong_option_is_a_usage_error(cli: Cli) -> None:
    """A base URL that is none is exit 2, as everywhere."""
    done = cli("doctor", "--base-url", "example.com")
    assert (done.code, done.stdout) == (2, "")


def test_text_of_a_server_is_harmless(served: Cli, server: Server) -> None:
    """What a server or the environment says is escaped, and a tab in it parts no fields."""
    server.on_get(answer_html(200, title=HOSTILE), Answer(302, headers={"Location": "/\x1b[2J\tx"}))
    for _ in range(2):
        done = served("doctor", env={"TERM": "x\x1b[2J\ty", "CI": "::error::x"})
        assert set(rows(done.stdout)) == set(NAMES)
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]|(?m:^::)", done.stdout + done.stderr)


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_on_a_terminal_lines_are_aligned_and_the_fix_is_below(columns: int, served: Cli, server: Server) -> None:
    """People see the outcome in colour, the name, the message broken between words, and the fix on its own line."""
    server.on_get(answer_json({"detail": "no such key"}, 401))
    with Terminal(served, "doctor", columns=columns, lines=120) as terminal:
        assert terminal.finish() == 3
        lines, raw = terminal.lines, terminal.raw
    assert b"\x1b[1;31mfail\x1b[0m  api" in raw
    assert b"\x1b[32mok  \x1b[0m  api_key" in raw
    start = next(i for i, line in enumerate(lines) if re.match(r"fail  api( |$)", line))
    if columns == 40:
        assert lines[start : start + 2] == ["fail  api", "      the API key is refused (HTTP 401"]
    else:
        assert lines[start].startswith("fail  api              the API key is refused (HTTP 401 in ")
    fix = next(line for line in lines[start:] if line.startswith("      fix: "))
    assert fix.startswith("      fix: unset COMETAPI_KEY && ")
    assert "\t" not in terminal.text


@pytest.mark.parametrize("env", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=lambda env: next(iter(env)))
def test_colour_is_left_out_where_it_is_not_wanted(env: dict[str, str], served: Cli, server: Server) -> None:
    """NO_COLOR and a dumb terminal get plain text."""
    server.on_get(NOT_FOUND)
    with Terminal(served, "doctor", env=env) as terminal:
        assert terminal.finish() == 0
        assert b"\x1b" not in terminal.raw
        assert b"ok    api_key          " in terminal.raw


def test_without_a_home_it_still_ends_in_order(served: Cli, server: Server) -> None:
    """With neither HOME nor COMETREP_HOME every check is made, and the folders are those of the system."""
    server.on_get(NOT_FOUND)
    env = {name: value for name, value in served.environment.items() if name not in ("HOME", "COMETREP_HOME")}
    # Else they were those of whoever runs the tests, with a ledger of their own.
    env |= {f"XDG_{kind}_HOME": str(served.home / kind) for kind in ("CONFIG", "DATA", "STATE", "CACHE")}
    done = subprocess.run(
        served.command("doctor", "--json"),
        env=env,
        cwd=served.folder,
        capture_output=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert list(checks) == list(NAMES)
    assert str(served.home / "STATE") in checks["state_folder"]["message"]


@needs("jq")
def test_the_example_with_jq_lists_the_fixes(served: Cli, server: Server) -> None:
    """The second example of the help prints the fixes alone."""
    server.on_get(answer_json({"detail": "no"}, 401))
    done = served.shell_line("cometrep doctor --json 2> err | jq -r '.checks[].fix // empty'")
    assert any(line.startswith("unset COMETAPI_KEY") for line in done.lines)


def test_a_reader_that_leaves_ends_it_silently(served: Cli, server: Server) -> None:
    """`| head -1` is exit 141 and no complaint."""
    server.on_get(NOT_FOUND)
    done = served.shell_line("cometrep doctor | head -1; exit ${PIPESTATUS[0]}")
    assert len(done.lines) == 1
    assert done.stderr == ""


def test_part_files_of_a_killed_download_are_found_and_taken_up(served: Cli, server: Server, folder: Path) -> None:
    """The command that the fix names goes on where the part file ends."""
    content = picture(9000)
    server.on("GET", "/replicate/v1/predictions/abc123", answer_json(prediction(output=[f"{server.url}/f/a.webp"])))
    server.on("GET", "/replicate/v1/predictions/doctor-check", NOT_FOUND)
    facts = {"Content-Type": "image/webp", "ETag": '"one"'}
    server.on("GET", "/f/", Answer(200, content, facts, cut=5000, then="reset"))
    assert served("download", "abc123", env={"COMETREP_RETRY_BUDGET": "0"}).code == 7
    outcome, message, fix = rows(served("doctor").stdout)["part_files"]
    assert (outcome, fix) == ("warn", "cometrep download abc123")
    assert message.startswith("1 in ")
    rest = {**facts, "Content-Range": "bytes 5000-8999/9000"}
    server.on("GET", "/f/", Answer(206, content[5000:], rest))
    assert served.shell_line(fix).code == 0
    assert (folder / "abc123.webp").read_bytes() == content
    assert rows(served("doctor").stdout)["part_files"][0] == "ok"
