"""Whatever a server answers, cometrep ends with a documented exit code and harmless output."""

import io
import json
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cometrep import cli, config, errors
from cometrep.console import Console
from tests.conftest import KEY
from tests.servers import SCHNELL, Answer, Server, picture, prediction

WORDS = [
    *("id", "data", "status", "output", "error", "logs", "input", "model", "metrics", "urls", "code", "message"),
    *("detail", "title", "task_id", "progress", "fail_reason", "data_removed", "created_at", "started_at"),
]
TEXTS = [
    *("made1", "succeeded", "SUCCESS", "processing", "FAILURE", "failed", "canceled", "aborted", "other", "50%"),
    *("https://x.invalid/y.png", "data:image/png;base64,iVBORw0KGgo=", "data:;base64,%%%", "../../etc/passwd"),
    *("\x1b[31mred\x1b[0m", "::set-output name=x::y", "\u202eevil", "[bold]x[/bold]", "\0", "\ud800", "a\rb"),
]


@dataclass
class World:
    """A server to script, and a folder to run in."""

    server: Server
    folder: Path


@pytest.fixture
def world(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A scripted server and an environment that points at it, without retries."""
    for name, value in {
        "COMETREP_HOME": str(tmp_path / "home"),
        "COMETREP_BASE_URL": server.url,
        "COMETAPI_KEY": KEY,
        "COMETREP_RETRY_BUDGET": "0",
        "COMETREP_TIMEOUT": "1",
        "COMETREP_PROGRESS": "lines",
        "COMETREP_DIR": str(tmp_path / "out"),
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("cometrep.watch.EMPTY_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr("cometrep.watch.NOT_FOUND_GRACE_SECONDS", 0.0)
    monkeypatch.setattr("cometrep.watch.WEB_PAGE_ATTEMPTS", 1)
    monkeypatch.chdir(tmp_path)
    return World(server, tmp_path)


def run(*arguments: str) -> tuple[int, str, str]:
    """Run one command line in this process and give its exit code and streams."""
    stdin, stdout, stderr = (io.TextIOWrapper(io.BytesIO(), "utf-8", errors="backslashreplace") for _ in range(3))
    console = Console(stdin, stdout, stderr, config.environment)
    try:
        code = cli.run(arguments, console)
    except errors.Failure as failure:
        console.report(failure)
        code = failure.exit_code
    return code, stdout.detach().getvalue().decode(), stderr.detach().getvalue().decode()


def check(code: int, stdout: str, stderr: str) -> None:
    """Check what must hold for every end."""
    assert code in errors.EXIT_CODES
    assert code not in (1, 2)
    for text in (stdout, stderr):
        assert KEY not in text
        assert not [c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs") and c not in "\n\t"]
        assert not [line for line in text.splitlines() if line.lstrip().startswith("::") or "##[" in line]
    assert "Traceback" not in stderr


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.sampled_from(TEXTS),
    st.text(max_size=20),
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(WORDS) | st.text(max_size=5), inner, max_size=5)
    ),
    max_leaves=12,
)
predictions = st.builds(
    lambda base, changes: {**base, **changes},
    st.just(prediction("made1", "succeeded")),
    st.dictionaries(st.sampled_from(WORDS), values, max_size=4),
)
bodies = st.one_of(
    st.binary(max_size=60),
    values.map(lambda value: json.dumps(value).encode()),
    predictions.map(lambda value: json.dumps(value).encode()),
    predictions.map(lambda value: json.dumps({"data": {"status": "SUCCESS", "data": value}}).encode()),
)
answers = st.builds(
    Answer,
    status=st.sampled_from(
        [200, 201, 202, 204, 301, 400, 401, 402, 403, 404, 408, 413, 422, 429, 500, 503, 524, 599]
    )
    | st.integers(200, 999),
    body=bodies,
    headers=st.sampled_from(
        [
            {"Content-Type": "application/json"},
            {"Content-Type": "text/html"},
            {"Content-Encoding": "gzip"},
            {"Retry-After": "x"},
            {"Location": "//["},
            {},
        ]
    ),
)
fuzzing = settings(
    max_examples=120,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@contextmanager
def scripted(world: World, create: Answer, get: Answer, file: Answer) -> Iterator[None]:
    """Script all three routes."""
    world.server.on_create(create)
    world.server.on_get(get)
    world.server.on("GET", "/", file)
    yield
    for path in (world.folder / "out").glob("*") if (world.folder / "out").exists() else ():
        path.unlink()


@fuzzing
@given(answer=answers)
@example(answer=Answer(200, b'{"id": "-"}'))
@example(answer=Answer(301, headers={"Location": "//["}))
@example(answer=Answer(200, b'{"id": "made1", "status": "x\\ud800"}'))
def test_any_answer_to_a_create_ends_in_order(world: World, answer: Answer) -> None:
    """Any bytes under any status, in answer to a create."""
    with scripted(world, answer, Answer(404), Answer(404)):
        before = world.server.creates
        check(*run("create", SCHNELL, "prompt=cat"))
        assert world.server.creates == before + 1


@fuzzing
@given(answer=answers, wants_json=st.booleans())
@example(answer=Answer(200, b"[" * 5000), wants_json=True)
@example(answer=Answer(301, headers={"Location": "//["}), wants_json=False)
@example(answer=Answer(200, b'{"status": "failed", "error": 1e999}'), wants_json=True)
def test_any_answer_to_a_look_ends_in_order(world: World, answer: Answer, wants_json: bool) -> None:
    """Any bytes under any status, in answer to a look; JSON output stays JSON."""
    with scripted(world, answer, answer, Answer(404)):
        code, stdout, stderr = run("status", "made1", *(["--json"] if wants_json else []))
        check(code, stdout, stderr)
        if wants_json:
            for line in stdout.splitlines():
                json.loads(line, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))


@fuzzing
@given(reply=predictions, file=answers)
@example(reply=prediction("made1", output=[{"a": "data:image/png;base64,iVBORw0KGgo="}, "text"]), file=Answer(200))
@example(reply=prediction("made1", output="\ud800"), file=Answer(200))
def test_any_prediction_and_any_file_end_in_order(world: World, reply: Any, file: Answer) -> None:
    """Any prediction, whose output's URLs point at the server, and any answer for its files."""
    text = json.dumps(reply).replace("https://x.invalid", world.server.url)
    look = Answer(200, text.encode(), {"Content-Type": "application/json"})
    with scripted(world, Answer(404), look, file):
        code, stdout, stderr = run("download", "made1", "--sidecar", "--overwrite")
        check(code, stdout, stderr)
        for line in stdout.splitlines():
            assert (world.folder / "out") in (world.folder / line).parents


@fuzzing
@given(raw=st.binary(max_size=200))
@example(raw=b"HTTP/1.1 200\r\nContent-Length: -5\r\n\r\n")
@example(raw=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
@example(raw=b"HTTP/1.1 999999 x\r\n\r\n")
def test_any_bytes_for_http_end_in_order(world: World, raw: bytes) -> None:
    """Bytes that are no HTTP at all."""
    with scripted(world, Answer(raw=raw, then="close"), Answer(raw=raw, then="close"), Answer(404)):
        check(*run("status", "made1"))
        check(*run("create", SCHNELL, "prompt=cat"))


def test_a_whole_run_still_works_in_this_harness(world: World) -> None:
    """The harness itself lets a good run through, so that its silence means something."""
    good = Answer(200, json.dumps(prediction("made1", output=f"{world.server.url}/f.webp")).encode())
    with scripted(world, good, good, Answer(200, picture())):
        code, stdout, _ = run("run", SCHNELL, "prompt=cat")
        assert code == 0
        assert stdout.strip().endswith("made1.webp")
