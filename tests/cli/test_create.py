"""`cometrep create`: one request, sent once, its id on stdout and safe in the ledger."""

import base64
import contextlib
import hashlib
import json
import re
import signal
import sqlite3
import subprocess
import threading
from collections.abc import Callable
from typing import Any

import pytest

from cometrep.ledger import Ledger
from tests.conftest import KEY, TIMEOUT_SECONDS, Cli, Ran, read_until
from tests.servers import RESET, SCHNELL, Answer, Received, Server, answer_html, answer_json, prediction

FLUX_2 = "black-forest-labs/flux-2-pro"
PATH = f"/replicate/v1/models/{SCHNELL}/predictions"
PNG = b"\x89PNG\r\n\x1a\nnot much of a picture"
STARTED = answer_json(prediction(status="starting"))


def entries(cli: Cli) -> list[dict[str, Any]]:
    """Read the ledger, newest first."""
    path = cli.home / "cometrep" / "ledger.sqlite3"
    ledger = Ledger(path, base_url="https://api.cometapi.com", is_sandbox=False)
    found = [entry.as_json() for entry in ledger.entries()]
    ledger.close()
    return found


def test_prints_the_id_and_nothing_else(sandboxed: Cli) -> None:
    """The id is on stdout, once more on stderr for people, and first in the list."""
    done = sandboxed("create", SCHNELL, "prompt=a cat", "megapixels=0.25")
    assert done.code == 0
    assert re.fullmatch(r"[0-9a-z]{26}\n", done.stdout)
    id = done.stdout.strip()
    assert done.stderr == f"{id}  created  {SCHNELL}\n"
    assert sandboxed("list", "--sandbox").stdout.startswith(f"{id}\tstarting\t")


def test_json_is_one_object_of_the_schema(served: Cli, server: Server) -> None:
    """`--json` prints one line: schema 1, every key of the contract, and no files."""
    server.on_create(answer_json(prediction(status="starting", logs=None, extra="kept out")))
    done = served("create", SCHNELL, "prompt=cat", "--json", "-q")
    assert (done.code, done.stderr) == (0, "")
    (line,) = done.lines
    assert json.loads(line) == {
        "schema_version": 1,
        "id": "abc123",
        "model": SCHNELL,
        "status": "starting",
        "input": {"prompt": "cat"},
        "output": None,
        "error": None,
        "logs": "",
        "metrics": None,
        "progress": None,
        "created_at": "2026-03-12T08:00:00.123456789Z",
        "started_at": None,
        "completed_at": None,
        "data_removed": False,
    }


@pytest.mark.parametrize(
    ("what", "stdout"),
    [
        ("status", "succeeded\n"),
        ("url", "https://x.test/a.webp\nhttps://x.test/b.webp\n"),
        ("output", '["https://x.test/a.webp", "https://x.test/b.webp"]\n'),
        ("path", ""),
    ],
)
def test_print_chooses_what_stdout_gets(what: str, stdout: str, served: Cli, server: Server) -> None:
    """Each word of `--print` gives that and nothing else, of an answer that is finished at once too."""
    server.on_create(answer_json(prediction(output=["https://x.test/a.webp", "https://x.test/b.webp"]), 201))
    done = served("create", SCHNELL, "prompt=cat", "--print", what)
    assert (done.code, done.stdout) == (0, stdout)


@pytest.mark.parametrize(
    ("what", "id", "warning"),
    [
        ("path", "abc123", "no file of abc123 is saved here: cometrep download --wait abc123"),
        ("url", "abc123", "create waits for no url: cometrep wait abc123 --print url"),
        ("output", "-abc", "create waits for no output: cometrep wait --print output -- -abc"),
        ("status", "abc123", ""),
    ],
)
def test_print_warns_of_what_is_not_there_yet(
    what: str, id: str, warning: str, served: Cli, server: Server
) -> None:
    """What a create cannot print before the prediction has ended is a warning with its id, also with `--quiet`."""
    server.on_create(answer_json(prediction(id, "starting"), 201))
    done = served("create", SCHNELL, "prompt=cat", "--print", what, "-q")
    assert done.code == 0
    assert done.stderr == (f"cometrep: warning: {warning}\n" if warning else "")


def test_sends_one_authorized_request_to_the_documented_path(served: Cli, server: Server) -> None:
    """One POST, the slash of the model literal, the key as bearer, everything inside `input`."""
    server.on_create(STARTED)
    assert served("create", SCHNELL, "prompt=cat", "seed=7", "-q").code == 0
    (request,) = server.received
    assert (request.method, request.path) == ("POST", PATH)
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["user-agent"].startswith("cometrep/")
    assert request.json() == {"input": {"prompt": "cat", "seed": 7}}


def test_input_items_in_every_form_reach_the_server(served: Cli, server: Server) -> None:
    """httpie's grammar, typed by the catalog: text, JSON, files of both, pictures, URLs, escapes, repetition."""
    server.on_create(STARTED)
    for name, content in {
        "a.txt": b"from a file\n",
        "s.json": b'{"a": [1]}',
        "p.png": PNG,
        "q": b"GIF89a\1\0",
    }.items():
        (served.folder / name).write_bytes(content)
    items = [
        "prompt=a=b:=c@d",
        "seed=7",
        "output_quality:=90",
        "text=@a.txt",
        "data:=@s.json",
        "odd\\=key\\@=x",
        "width=1024",
        "input_images@p.png",
        "input_images@https://x.test/b.png",
        "input_images@q;type=image/png",
        "note=\\@handle",
        "empty=",
        "nothing:=null",
        "resolution=1 MP",
    ]
    assert served("create", FLUX_2, *items).code == 0
    png, gif = (base64.b64encode(content).decode() for content in (PNG, b"GIF89a\1\0"))
    assert server.received[0].json()["input"] == {
        "prompt": "a=b:=c@d",
        "seed": 7,
        "output_quality": 90,
        "text": "from a file\n",
        "data": {"a": [1]},
        "odd=key@": "x",
        "width": 1024,
        "input_images": [f"data:image/png;base64,{png}", "https://x.test/b.png", f"data:image/png;base64,{gif}"],
        "note": "@handle",
        "empty": "",
        "nothing": None,
        "resolution": "1 MP",
    }
    (entry,) = entries(served)
    assert entry["input"]["input_images"][0] == (
        f"data:image/png;sha256={hashlib.sha256(PNG).hexdigest()};bytes={len(PNG)}"
    )


def test_an_input_file_is_overridden_by_items(served: Cli, server: Server) -> None:
    """`-i FILE` and `-i -` give the inputs, an INPUT item replaces one, and megapixels stays a string."""
    server.on_create(STARTED)
    base = {"prompt": "dog", "seed": 1, "go_fast": False}
    (served.folder / "base.json").write_text(json.dumps(base))
    assert served("create", SCHNELL, "-i", "base.json", "prompt=cat", "megapixels=1").code == 0
    assert served("create", SCHNELL, "--input", "-", "seed=2", stdin=json.dumps({"input": base})).code == 0
    assert served("create", SCHNELL, "prompt=@-", stdin="a cat\non two lines").code == 0
    assert [request.json()["input"] for request in server.received] == [
        {"prompt": "cat", "seed": 1, "go_fast": False, "megapixels": "1"},
        {"prompt": "dog", "seed": 2, "go_fast": False},
        {"prompt": "a cat\non two lines"},
    ]


@pytest.mark.parametrize("command", ["create", "run", "batch"])
def test_a_dry_run_starts_no_sandbox(command: str, cli: Cli) -> None:
    """Nothing is sent, so nothing is written either; the address is that of `cometrep sandbox`."""
    words = ("--sweep", "-m", SCHNELL, "seed:=1,2") if command == "batch" else (SCHNELL,)
    done = cli(command, *words, "prompt=cat", "--dry-run", "--sandbox")
    assert done.code == 0
    request = json.loads(done.lines[0])
    assert request["url"].startswith("http://127.0.0.1:8787/replicate/v1/models/")
    assert not (cli.home / "cometrep" / "cache").exists()


def test_a_dry_run_needs_no_key_and_sends_nothing(cli: Cli, server: Server) -> None:
    """`--dry-run` prints method, URL, headers and body, the key hidden and data URIs short; nothing is recorded."""
    (cli.folder / "p.png").write_bytes(PNG)
    command = ("create", SCHNELL, "prompt=cat", "image@p.png", "--dry-run", "--base-url", server.url)
    done = cli(*command)
    assert done.code == 0
    (line,) = done.lines
    shown = json.loads(line)
    assert (shown["method"], shown["url"]) == ("POST", server.url + PATH)
    assert shown["headers"]["Content-Type"] == "application/json"
    assert "API key" in shown["headers"]["Authorization"]
    digest = hashlib.sha256(PNG).hexdigest()
    assert shown["body"] == {
        "input": {"prompt": "cat", "image": f"data:image/png;sha256={digest};bytes={len(PNG)}"}
    }
    assert re.fullmatch(r"cometrep: warning: .*no known input 'image'.*\n", done.stderr)
    with_key = cli(*command, env={"COMETAPI_KEY": KEY})
    assert KEY not in with_key.stdout
    assert json.loads(with_key.stdout)["headers"]["Authorization"] == "Bearer …abcd"
    assert server.received == []
    assert not (cli.home / "cometrep").exists()


def test_a_value_of_another_kind_is_doubted_once(served: Cli, server: Server) -> None:
    """One fault is one warning, and the text is sent as it stands."""
    server.on_create(STARTED)
    done = served("create", SCHNELL, "prompt=cat", "seed=abc", "-q")
    assert (done.code, done.stderr) == (0, 'cometrep: warning: seed takes an integer, not "abc"\n')
    assert server.received[0].json()["input"]["seed"] == "abc"


def test_strict_turns_doubts_into_errors(served: Cli, server: Server) -> None:
    """Unknown keys, values out of range and missing ones are warnings, with `--strict` errors before the create."""
    server.on_create(STARTED)
    items = ("promt=cat", "num_outputs=9", "output_format=gif")
    strict = served("create", SCHNELL, *items, "--strict")
    assert strict.code == 2
    for doubt in ("'promt'; did you mean prompt?", "num_outputs is at most 4", "output_format is one of webp"):
        assert doubt in strict.stderr
    assert server.received == []
    loose = served("create", SCHNELL, *items, "-q")
    assert (loose.code, loose.stdout) == (0, "abc123\n")
    assert len(re.findall(r"(?m)^cometrep: warning: ", loose.stderr)) == 4
    assert "needs prompt" in loose.stderr
    assert server.received[0].json()["input"] == {"promt": "cat", "num_outputs": 9, "output_format": "gif"}
    assert served("create", SCHNELL, "prompt=cat", "num_outputs=4", "--strict", "-q").stderr == ""


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("prompt",), "'prompt' is not an input"),
        (("=cat",), "no name"),
        (("-i", "missing.json"), "missing.json"),
        (("-i", "a.json", "--input=b.json"), "hint: jq -s add a.json b.json"),
        (("prompt=cat", "--base-url", "http://api.example.com"), "plain http"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_bad_input_is_reported_before_anything_is_sent(
    arguments: tuple[str, ...], told: str, served: Cli, server: Server
) -> None:
    """What cannot be an input is exit 2 with the value that did it, and no request."""
    done = served("create", SCHNELL, *arguments)
    assert (done.code, done.stdout) == (2, "")
    assert told in done.stderr
    assert re.fullmatch(r"cometrep: .+\nhint: .+\n", done.stderr)
    assert server.received == []


@pytest.mark.parametrize(
    "model",
    ["flux-schnell", f"{SCHNELL}:abc", f"https://replicate.com/{SCHNELL}", "../x"],
)
def test_a_model_in_another_form_is_shown_the_right_one(model: str, served: Cli, server: Server) -> None:
    """Only OWNER/NAME is a model; the error names the form and the one that was meant, or the table of all."""
    done = served("create", model, "prompt=cat")
    assert (done.code, done.stdout) == (2, "")
    assert "OWNER/NAME" in done.stderr
    hint = "cometrep models" if model == "../x" else f"name it as {SCHNELL}"
    assert done.stderr.endswith(f"\nhint: {hint}\n")
    assert server.received == []


def test_large_files_are_warned_of_and_refused(served: Cli, server: Server) -> None:
    """Above 256 kB a warning, above 1 MB a stronger one, above 10 MB a refusal before anything is sent."""
    server.on_create(STARTED)
    for name, size in {
        "some.png": 250_000,
        "much.png": 300_000,
        "more.png": 1_100_000,
        "most.png": 10_000_001,
    }.items():
        (served.folder / name).write_bytes(PNG.ljust(size, b"x"))
    done = served(
        "create", FLUX_2, "prompt=cat", *(f"input_images@{name}.png" for name in ("some", "much", "more"))
    )
    assert done.code == 0
    told = [line for line in done.stderr.splitlines() if "warning" in line]
    assert len(told) == 2
    assert re.search("300 kB.*256 kB", told[0])
    assert re.search("1.1 MB.*above 1 MB", told[1])
    refused = served("create", FLUX_2, "prompt=cat", "input_images@most.png", "--json")
    assert refused.code == 2
    assert json.loads(refused.stderr)["error"]["code"] == "input_too_large"
    assert server.creates == 1


# What each answer to a create means: exit code, code of the JSON error, words of the message, word in the ledger.
ANSWERS: dict[str, tuple[Answer, int, str, str, str]] = {
    "401": (
        answer_json({"error": {"message": "Invalid token (request id: 2026)", "code": ""}}, 401),
        3,
        "api_key_refused",
        "Invalid token",
        "refused",
    ),
    "402": (answer_json({"title": "Payment required"}, 402), 8, "no_credit", "Payment required", "refused"),
    "404": (answer_json({"detail": "no such thing"}, 404), 8, "bad_request", "no such thing", "refused"),
    "413": (Answer(413, b"too much"), 8, "too_large", "too much", "refused"),
    "422": (answer_json({"title": "Bad", "detail": "- seed: no"}, 422), 8, "bad_request", "- seed: no", "refused"),
    "no model": (
        answer_json({"error": {"message": "no channel", "code": "model_not_found"}}, 503),
        8,
        "model_not_found",
        "no channel",
        "refused",
    ),
    "invalid 500": (
        answer_json({"error": {"message": "field input", "code": "invalid_request"}}, 500),
        8,
        "bad_request",
        "field input",
        "refused",
    ),
    "web page": (answer_html(200, "Welcome"), 8, "not_an_api", "Welcome", "refused"),
    "redirect": (Answer(301, b"", {"Location": "/login"}), 8, "redirected", "/login", "refused"),
    "429": (
        answer_json({"detail": "slow down"}, 429, headers={"Retry-After": "900"}),
        7,
        "rate_limited",
        "nothing was created",
        "refused",
    ),
    "500": (answer_json({"error": {"message": "boom"}}, 500), 10, "create_unknown", "boom", "unknown"),
    "524": (answer_html(524, "A timeout"), 10, "create_unknown", "524", "unknown"),
    "reset": (RESET, 10, "create_unknown", "reset", "unknown"),
    "cut short": (
        answer_json(prediction(), cut=40, then="close"),
        10,
        "create_unknown",
        "broke off",
        "unknown",
    ),
    "no id": (answer_json({"status": "starting"}), 10, "create_unknown", "no usable prediction id", "unknown"),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_each_failed_create_is_sent_once_and_recorded(name: str, served: Cli, server: Server) -> None:
    """Every refusal and every doubt has its exit code, JSON code and entry, and none is sent twice."""
    answer, exit_code, code, told, status = ANSWERS[name]
    server.on_create(answer)
    done = served("create", SCHNELL, "prompt=cat", "--json")
    assert (done.code, done.stdout) == (exit_code, "")
    (line,) = done.stderr.splitlines()
    error = json.loads(line)["error"]
    assert set(error) == {
        "code",
        "message",
        "hint",
        "exit_code",
        "prediction_id",
        "request_id",
        "http_status",
    }
    assert error["exit_code"] == exit_code
    assert error["code"] == code
    assert told in error["message"]
    assert error["hint"]
    assert error["http_status"] == (None if name == "reset" else answer.status)
    assert server.creates == 1
    (entry,) = entries(served)
    assert (entry["status"], entry["model"], entry["input"]) == (status, SCHNELL, {"prompt": "cat"})


def test_the_request_id_is_shown_wherever_it_came_from(served: Cli, server: Server) -> None:
    """A request id from a header or from the message is in the message, once, and in the JSON."""
    for answer in (
        answer_json({"detail": "no"}, 422, headers={"X-Oneapi-Request-Id": "req-77"}),
        answer_json({"error": {"message": "no (request id: req-77)"}}, 422),
    ):
        server.on_create(answer)
        error = json.loads(served("create", SCHNELL, "prompt=cat", "--json").stderr)["error"]
        assert error["request_id"] == "req-77"
        assert error["message"].count("req-77") == 1


def test_a_throttled_create_is_sent_again(served: Cli, server: Server) -> None:
    """After a 429 the create is repeated, told on stderr, and its success is a plain one."""
    server.on_create(answer_json({"detail": "slow down"}, 429, headers={"Retry-After": "0.1"}), STARTED)
    done = served("create", SCHNELL, "prompt=cat")
    assert (done.code, done.stdout) == (0, "abc123\n")
    assert re.match(r"attempt 1 failed: HTTP 429 .*slow down; the next in 0\.\ds\n", done.stderr)
    assert server.creates == 2
    assert [entry["status"] for entry in entries(served)] == ["starting"]


def test_an_unreachable_api_is_temporary(cli: Cli) -> None:
    """Where no connection can be made nothing was created: exit 7, and the same command is safe."""
    env = {"COMETAPI_KEY": KEY, "COMETREP_RETRY_BUDGET": "0"}
    done = cli("create", SCHNELL, "prompt=cat", "--base-url", "http://127.0.0.1:1", env=env)
    assert done.code == 7
    assert "Connection refused" in done.stderr
    assert "nothing was created" in done.stderr
    assert [entry["status"] for entry in entries(cli)] == ["refused"]


def test_the_ledger_knows_the_create_before_it_is_sent(served: Cli, server: Server) -> None:
    """While the POST is under way its entry stands there as unknown; with the answer it has its id."""
    before: list[list[dict[str, Any]]] = []

    def answer(_: Received) -> Answer:
        before.append(entries(served))
        return STARTED

    server.on_create(answer)
    assert served("create", SCHNELL, "prompt=cat", "-q").code == 0
    ((during,),) = before
    assert (during["id"], during["status"], during["model"]) == (None, "unknown", SCHNELL)
    (after,) = entries(served)
    assert (after["id"], after["status"]) == ("abc123", "starting")


@pytest.mark.parametrize("wrapper", ["root", "data.data", "task_id", "data.id"])
def test_the_id_is_found_in_every_shape_of_answer(wrapper: str, served: Cli, server: Server) -> None:
    """Bare, wrapped, or the bare task record: the id is found, and a row number is never taken for it."""
    inner = prediction(status="starting")
    shapes: dict[str, Any] = {
        "root": inner,
        "data.data": {"code": "success", "data": {"id": 12, "status": "QUEUED", "data": inner}},
        "task_id": {
            "code": "success",
            "data": {"id": 12, "task_id": "abc123", "status": "NOT_START", "data": None},
        },
        "data.id": {"data": {"id": "abc123", "status": "SUBMITTED"}},
    }
    server.on_create(answer_json(shapes[wrapper], 202))
    done = served("create", SCHNELL, "prompt=cat", "--json", "-q")
    assert done.code == 0
    shown = json.loads(done.stdout)
    assert (shown["id"], shown["status"], shown["model"]) == ("abc123", "starting", SCHNELL)


def test_an_answer_that_broke_off_behind_its_id_says_how_to_go_on(served: Cli, server: Server) -> None:
    """An id at the start of a broken answer is offered in a hint that works when typed."""
    server.on_create(answer_json(prediction(), cut=40, then="close"))
    server.on_get(answer_json(prediction(output=["https://x.test/a.webp"])))
    done = served("create", SCHNELL, "prompt=cat")
    assert done.code == 10
    assert "may exist and be billed" in done.stderr
    assert "its id may be abc123" in done.stderr
    assert re.search(r"(?m)^hint: cometrep wait abc123$", done.stderr)
    assert served("wait", "abc123").stdout == "abc123\tsucceeded\n"


def under_way(cli: Cli, server: Server) -> "tuple[subprocess.Popen[bytes], threading.Event]":
    """Start a create, and give it once the server has it; its answer comes when the event is set."""
    has_come, may_answer = threading.Event(), threading.Event()

    def answer(_: Received) -> Answer:
        has_come.set()
        return answer_json(prediction(status="starting"), wait_for=may_answer)

    server.on_create(answer)
    process = cli.start("create", SCHNELL, "prompt=cat", "--base-url", server.url)
    assert has_come.wait(TIMEOUT_SECONDS)
    return process, may_answer


@pytest.mark.parametrize(
    ("number", "another"),
    [(signal.SIGINT, "Ctrl-C again"), (signal.SIGTERM, "a second signal")],
    ids=["SIGINT", "SIGTERM"],
)
def test_a_stopped_create_still_keeps_its_id(
    number: signal.Signals,
    another: str,
    served: Cli,
    server: Server,
    stopped: Callable[["subprocess.Popen[bytes]"], None],
) -> None:
    """A signal while the answer is on its way waits a moment for it, names the id, and its hint goes on.

    What a second one leaves is told before it comes: behind it nothing can be.
    """
    server.on_get(answer_json(prediction(output=["https://x.test/a.webp"])))
    process, may_answer = under_way(served, server)
    stopped(process)
    process.send_signal(number)
    then = f"{another} leaves at once (then: cometrep list --base-url {server.url} --unknown)\n"
    told = read_until(process, f"waiting 5s for its answer; {then}".encode())
    may_answer.set()
    stdout, stderr = process.communicate(timeout=TIMEOUT_SECONDS)
    ran = Ran(process.returncode, stdout.decode(), (told + stderr).decode())
    assert (ran.code, ran.stdout) == (128 + number, "")
    assert "abc123" in ran.stderr
    assert served.type_hint(ran.stderr).stdout == "abc123\tsucceeded\n"
    assert server.creates == 1


def test_a_ledger_that_fails_a_stopped_create_hides_no_id(
    served: Cli, server: Server, stopped: Callable[["subprocess.Popen[bytes]"], None]
) -> None:
    """Where the answer comes and the ledger takes no id, the stop tells of both: nothing else knows the id."""
    process, may_answer = under_way(served, server)
    stopped(process)
    (ledger,) = served.home.rglob("ledger.sqlite3")
    with contextlib.closing(sqlite3.connect(ledger)) as database:
        database.execute("CREATE TRIGGER no BEFORE UPDATE ON entries BEGIN SELECT RAISE(ABORT, 'not now'); END")
    process.send_signal(signal.SIGINT)
    read_until(process, b"Ctrl-C again leaves at once")
    may_answer.set()
    _, stderr = process.communicate(timeout=TIMEOUT_SECONDS)
    assert process.returncode == 130
    assert b"not now" in stderr
    assert stderr.endswith(f"hint: cometrep wait --base-url {server.url} abc123\n".encode())


def test_without_a_key_there_is_no_entry(cli: Cli) -> None:
    """What was never sent for want of a key is no create that was refused."""
    assert cli("create", SCHNELL, "prompt=cat").code == 3
    assert cli("list").stdout == ""


def test_stdin_is_read_for_one_input_only(served: Cli, server: Server) -> None:
    """A second item that asks for it is refused, since it would get nothing."""
    done = served("create", SCHNELL, "prompt=@-", "image@-", stdin="x")
    assert (done.code, server.creates) == (2, 0)
    assert "stdin is asked for twice" in done.stderr
