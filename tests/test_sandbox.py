"""The sandbox, met over real sockets; time is a clock that the tests set, so nothing here waits for it."""

import ast
import hashlib
import http.client
import io
import json
import os
import re
import shlex
import shutil
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from PIL import Image

from cometrep import errors
from cometrep.calls import within
from cometrep.config import SANDBOX_KEY
from cometrep.sandbox import painter, predictions
from cometrep.sandbox.faults import KINDS, Fault
from cometrep.sandbox.server import SLOW_SECONDS, Sandbox
from tests.conftest import TIMEOUT_SECONDS, needs_proc, no_more_threads, wait_until
from tests.servers import SCHNELL

PRO = "black-forest-labs/flux-1.1-pro"
SMALL = {"prompt": "a lighthouse", "megapixels": "0.25"}
LISTS = (SCHNELL, "black-forest-labs/flux-dev", "stability-ai/sdxl", "stability-ai/stable-diffusion-3")
SINGLES = {
    "black-forest-labs/flux-pro": "webp",
    PRO: "webp",
    "black-forest-labs/flux-1.1-pro-ultra": "jpg",
    "black-forest-labs/flux-kontext-pro": "png",
    "black-forest-labs/flux-kontext-max": "png",
    "black-forest-labs/flux-kontext-dev": "webp",
    "black-forest-labs/flux-2-pro": "webp",
    "black-forest-labs/flux-2-flex": "webp",
    "black-forest-labs/flux-2-dev": "webp",
    "black-forest-labs/flux-2-max": "webp",
    "stability-ai/stable-diffusion-3.5-medium": "webp",
    "ideogram-ai/ideogram-v2": "png",
    "ideogram-ai/ideogram-v2-turbo": "png",
    "recraft-ai/recraft-v3": "webp",
}


@dataclass
class Clock:
    """A clock that stands still until it is told the time."""

    now: float = 1_760_000_000.25

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True)
class Reply:
    """One answer, read to its end."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class World:
    """A folder and a clock, and the sandboxes that share them."""

    folder: Path
    clock: Clock = field(default_factory=Clock)
    open: list[Sandbox] = field(default_factory=list)

    def __call__(
        self,
        *faults: str,
        folder: Path | None = None,
        port: int = 0,
        seconds: float = 10.0,
        wrapped: bool = False,
    ) -> Sandbox:
        new = Sandbox(
            folder or self.folder,
            port=port,
            seconds=seconds,
            wrapped=wrapped,
            faults=[Fault.parse(fault) for fault in faults],
            clock=self.clock,
        )
        new.start()
        self.open.append(new)
        return new


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Give a maker of running sandboxes, and close them all."""
    made = World(tmp_path / "sandbox")
    yield made
    for each in made.open:
        each.close()


@contextmanager
def connection(server: Sandbox, timeout: float = 10) -> Iterator[http.client.HTTPConnection]:
    """Open a connection that is closed even if the answer is bad."""
    parts = urlsplit(server.url)
    with closing(http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout)) as made:
        yield made


def ask(server: Sandbox, method: str, path: str, body: object = None, **headers: str | None) -> Reply:
    """Send one request with the sandbox's key and read its answer; `_` in a header's name stands for `-`."""
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    given = {"Authorization": f"Bearer {SANDBOX_KEY}"} | {
        key.replace("_", "-"): value for key, value in headers.items()
    }
    with connection(server) as link:
        link.request(method, path, data, {key: value for key, value in given.items() if value is not None})
        return read(link)


def read(link: http.client.HTTPConnection) -> Reply:
    """Read the answer that is due on a connection."""
    answer = link.getresponse()
    return Reply(answer.status, {key.lower(): value for key, value in answer.getheaders()}, answer.read())


def create(server: Sandbox, given: Mapping[str, Any] = SMALL, model: str = SCHNELL) -> Any:
    """Make a prediction and return the reply's document."""
    reply = ask(server, "POST", f"/replicate/v1/models/{model}/predictions", {"input": given})
    assert reply.status == 200, reply.body
    return reply.json


def get(server: Sandbox, prediction_id: str, **headers: str | None) -> Any:
    """Get a prediction and return the reply's document."""
    reply = ask(server, "GET", f"/replicate/v1/predictions/{prediction_id}", **headers)
    assert reply.status == 200, reply.body
    return reply.json


def finish(world: World, server: Sandbox, given: Mapping[str, Any] = SMALL, model: str = SCHNELL) -> Any:
    """Make a prediction, let its time pass, and get it."""
    prediction_id = create(server, given, model)["id"]
    world.clock.now += 12.5
    return get(server, prediction_id)


def fetch(url: str, server: Sandbox, **headers: str | None) -> Reply:
    """Get an output file as a download does: without the key."""
    return ask(server, "GET", urlsplit(url).path, Authorization=None, **headers)


def picture(reply: Reply) -> Image.Image:
    """Open a picture that was downloaded."""
    made = Image.open(io.BytesIO(reply.body))
    made.load()
    return made


# Faults in words


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        *((kind, Fault(kind, None, "")) for kind in KINDS),
        ("429:3", Fault("429", 3, "")),
        ("create:reset", Fault("reset", None, "create")),
        ("get:hang:2", Fault("hang", 2, "get")),
        ("file:html:1", Fault("html", 1, "file")),
        ("file:truncate", Fault("truncate", None, "file")),
    ],
)
def test_faults_are_read_from_words(text: str, fault: Fault) -> None:
    """A fault is its kind, how often, and on which requests."""
    assert Fault.parse(text) == fault


@pytest.mark.parametrize(
    "text",
    ["", "418", "429:", "429:0", "429:-1", "429:x", "429:1:2", "put:429", "create:truncate", "get:slow", ":429"],
)
def test_what_is_no_fault_is_a_usage_error(text: str) -> None:
    """A wrong fault is quoted, and the hint lists the right ones."""
    with pytest.raises(errors.UsageError) as raised:
        Fault.parse(text)
    assert repr(text) in raised.value.message
    assert all(word in raised.value.hint for word in ("KIND:N", "create:", *KINDS))


@pytest.mark.parametrize(
    ("text", "requests"),
    [("500", {"create", "get"}), ("slow", {"file"}), ("create:500", {"create"}), ("file:500", {"file"})],
)
def test_faults_befall_the_requests_of_their_kind(text: str, requests: set[str]) -> None:
    """The API's faults come on creates and gets, a file's on files, unless a prefix narrows them."""
    assert {each for each in ("create", "get", "file") if Fault.parse(text).applies_to(each)} == requests


# Starting and ending


def test_the_sandbox_is_an_independent_witness() -> None:
    """It imports nothing of the package but the errors, and Pillow only where it draws."""
    trees = [ast.parse(path.read_text("utf-8")) for path in Path(painter.__file__).parent.glob("*.py")]
    ours = {
        f"{node.module}.{alias.name}"
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("cometrep")
        for alias in node.names
    }
    assert {name for name in ours if not name.startswith("cometrep.sandbox.")} == {"cometrep.errors"}
    at_import = {node.module for tree in trees for node in tree.body if isinstance(node, ast.ImportFrom)}
    assert not {module for module in at_import if module and module.startswith("PIL")}


def test_without_pillow_the_hint_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing Pillow is told before anything is made."""
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(errors.ConfigError) as raised:
        Sandbox(tmp_path / "new")
    assert raised.value.code == "sandbox_missing"
    assert raised.value.hint == f"{shlex.quote(sys.executable)} -m pip install 'pillow>=10.3'"
    assert not (tmp_path / "new").exists()


def test_a_port_in_use_is_a_usage_error(world: World) -> None:
    """The port and the option that changes it are named."""
    port = urlsplit(world().url).port or 0
    with pytest.raises(errors.UsageError, match=str(port)) as raised:
        world(port=port)
    assert "--port" in raised.value.hint


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_port_that_cannot_be_is_a_usage_error(world: World, port: int) -> None:
    """A number that is no port is not a bug."""
    with pytest.raises(errors.UsageError, match=str(port)):
        world(port=port)


def test_a_folder_that_cannot_be_made_is_a_local_file_error(world: World, tmp_path: Path) -> None:
    """A file where the folder should be is named."""
    (tmp_path / "taken").write_text("")
    with pytest.raises(errors.LocalFileError, match="taken"):
        world(folder=tmp_path / "taken" / "sandbox")


@pytest.mark.usefixtures("full_disk")
@needs_proc
def test_a_full_disk_is_a_local_file_error(tmp_path: Path) -> None:
    """It is told before any create can fail of it, which its client would have to call paid for, perhaps."""
    with pytest.raises(errors.LocalFileError, match="No space left on device") as raised:
        Sandbox(tmp_path)
    assert raised.value.code == "disk_full"


def test_it_serves_from_with_until_its_end(tmp_path: Path) -> None:
    """After `close` nothing listens any more, and closing again does no harm."""
    with Sandbox(tmp_path) as server:
        server.start()
        assert ask(server, "GET", "/").status == 200
    server.close()
    with pytest.raises(ConnectionRefusedError):
        ask(server, "GET", "/")


def test_a_sandbox_that_never_started_can_be_closed(tmp_path: Path) -> None:
    """Closing does not wait for a loop that never ran."""
    Sandbox(tmp_path).close()


def test_a_system_that_gives_no_thread_is_told(tmp_path: Path) -> None:
    """And the port is free again."""

    server = Sandbox(tmp_path)
    with no_more_threads(), pytest.raises(errors.LocalFileError, match="the system gives no thread"):
        server.start()
    with pytest.raises(ConnectionRefusedError):
        ask(server, "GET", "/")


def test_a_connection_that_gets_no_thread_is_closed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Nothing is told of it but what its client says."""

    with Sandbox(tmp_path) as server, no_more_threads(), pytest.raises(http.client.RemoteDisconnected):
        ask(server, "GET", "/")
    assert capfd.readouterr() == ("", "")


def test_a_sandbox_that_is_closed_while_it_starts_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its thread must not go on to wait for the descriptor, which another socket has by then."""
    begun, start = [], threading.Thread.start

    def start_slowly(thread: threading.Thread) -> None:
        start(thread)
        begun.append(thread)
        server.closing.wait(TIMEOUT_SECONDS)

    server = Sandbox(tmp_path)
    starting = threading.Thread(target=server.start)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", start_slowly)
        start(starting)
        wait_until(lambda: bool(begun))
    server.close()
    starting.join(TIMEOUT_SECONDS)
    assert not begun[0].is_alive()


def test_a_sandbox_that_was_closed_does_not_start(tmp_path: Path) -> None:
    """Its port is another's."""
    server = Sandbox(tmp_path)
    server.close()
    with no_more_threads():
        server.start()
        server.serve_forever()


def test_serve_forever_ends_with_close(tmp_path: Path) -> None:
    """The foreground returns when another thread closes the sandbox."""
    server = Sandbox(tmp_path)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    assert ask(server, "GET", "/").status == 200
    server.close()
    thread.join(TIMEOUT_SECONDS)
    assert not thread.is_alive()


def test_connections_that_are_kept_open_end_with_close(world: World) -> None:
    """A client with an open connection gets no further answer from a closed sandbox."""
    server = world()
    with connection(server) as link:
        link.request("GET", "/")
        assert read(link).status == 200
        server.close()
        assert link.sock.recv(1) == b""


def test_nothing_is_printed(world: World, capfd: pytest.CaptureFixture[str]) -> None:
    """Requests, bad ones, and clients that go away leave stdout and stderr empty."""
    server = world("reset:1")
    with pytest.raises(ConnectionResetError):
        create(server)
    create(server)
    parts = urlsplit(server.url)
    with socket.create_connection((parts.hostname, parts.port)) as link:
        link.sendall(b"nonsense\r\n\r\n")
        assert b"400" in link.recv(1000)
    server.close()
    assert capfd.readouterr() == ("", "")


def test_requests_are_kept_for_who_asks(world: World) -> None:
    """Tests can see what was received, in order, with headers in lower case."""
    server = world()
    create(server)
    ask(server, "GET", "/elsewhere?x=1", Authorization=None)
    first, second = server.requests
    assert (first.method, first.path) == ("POST", f"/replicate/v1/models/{SCHNELL}/predictions")
    assert first.headers["authorization"] == f"Bearer {SANDBOX_KEY}"
    assert (second.method, second.path, "authorization" in second.headers) == ("GET", "/elsewhere?x=1", False)


# Keys and paths


@pytest.mark.parametrize(
    "key",
    [
        None,
        "",
        SANDBOX_KEY,
        f"Basic {SANDBOX_KEY}",
        "Bearer ",
        "Bearer sk-short",
        "Bearer pk-12345678",
        "Bearer sk-12345 678",
    ],
)
def test_a_missing_or_malformed_key_is_401(world: World, key: str | None) -> None:
    """The refusal is in the gateway's envelope and carries the request id twice."""
    server = world()
    for method, path in (
        ("GET", "/replicate/v1/predictions/x"),
        ("POST", f"/replicate/v1/models/{SCHNELL}/predictions"),
    ):
        reply = ask(server, method, path, b"{}", Authorization=key)
        error = reply.json["error"]
        assert reply.status == 401
        assert set(error) == {"message", "type", "param", "code"}
        assert (error["type"], error["param"]) == ("comet_api_error", "")
        assert f"(request id: {reply.headers['x-cometapi-request-id']})" in error["message"]


@pytest.mark.parametrize(
    "key",
    [
        *(f"Bearer {SANDBOX_KEY}", f"bearer {SANDBOX_KEY}", "Bearer sk-12345678", "Bearer sk-" + "a_-Z" * 62),
        "Bearer r8_" + "aB3" * 12,
    ],
)
def test_any_well_formed_key_is_accepted(world: World, key: str) -> None:
    """The sandbox has no accounts, and the word before a key no case; Replicate's clients may have one of its."""
    assert ask(world(), "GET", "/replicate/v1/predictions/x", Authorization=key).status == 404


def test_a_whole_address_is_its_path(world: World) -> None:
    """As a client sends it that takes the sandbox for a proxy on its way there; its scheme has no case."""
    server = world()
    for path, plain in (("", "/"), ("/", "/"), ("?y", "/?y"), *[("/replicate/v1/predictions/x",) * 2]):
        same = ask(server, "GET", plain)
        for url in (server.url, server.url.replace("http:", "HTTP:")):
            reply = ask(server, "GET", f"{url}{path}")
            assert (reply.status, reply.body) == (same.status, same.body)


def sent(server: Sandbox, *lines: str, body: bytes = b"") -> bytes:
    """Send a head line by line and a body, and give all that comes until the connection ends."""
    parts = urlsplit(server.url)
    with socket.create_connection((parts.hostname, parts.port), TIMEOUT_SECONDS) as link:
        link.sendall("\r\n".join([*lines, "", ""]).encode() + body)
        return b"".join(iter(lambda: link.recv(65536), b""))


def test_a_connection_of_http_1_0_ends_with_the_answer(world: World) -> None:
    """Nothing in the answer could tell such a client that it stays open."""
    assert b"Connection: close" in sent(world(), "GET / HTTP/1.0", "Connection: keep-alive")


def test_the_name_of_no_encoding_has_no_case(world: World) -> None:
    """As every content coding's (RFC 9110, 8.4.1)."""
    head = (f"POST {CREATE} HTTP/1.0", f"Authorization: Bearer {SANDBOX_KEY}", "Content-Encoding: Identity")
    assert b" 400 " not in sent(world(), *head, "Content-Length: 25", body=b'{"input":{"prompt":"fo"}}')[:20]


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (("Content-Length: 1", "Content-Length: 2"), "'1, 2' is not a number"),
        (("no header", "Content-Length: 2"), "has no colon"),
        (("Content-Encoding: gzip", "Content-Length: 2"), "'gzip' is not read"),
    ],
    ids=["two lengths", "no colon", "compressed"],
)
def test_a_head_that_is_not_understood_is_400(world: World, lines: tuple[str, ...], told: str) -> None:
    """Nothing is made of what another reader might take for another request."""
    answer = sent(world(), f"POST {CREATE} HTTP/1.1", f"Authorization: Bearer {SANDBOX_KEY}", *lines, body=b"{}")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert told in answer.decode()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/replicate/v1/models/black-forest-labs%2Fflux-schnell/predictions"),
        ("POST", "/replicate/v1/models/flux-schnell/predictions"),
        ("POST", f"/v1/replicate/v1/models/{SCHNELL}/predictions"),
        ("POST", f"/v1/models/{SCHNELL}/predictions"),
        ("POST", "/replicate/v1/predictions"),
        ("POST", "/replicate/v1/predictions/x/cancel"),
        ("GET", "/replicate/v1/predictions"),
        ("GET", "/replicate/v1/predictions/x/stream"),
        ("GET", f"/replicate/v1/models/{SCHNELL}/predictions"),
        ("GET", "/files/../../etc/passwd"),
        ("GET", "/files/x/out-0.webp"),
        ("DELETE", "/replicate/v1/predictions/x"),
        ("PUT", "/replicate/v1/predictions/x"),
        ("PATCH", "/"),
    ],
)
@pytest.mark.parametrize("key", [f"Bearer {SANDBOX_KEY}", None])
def test_a_wrong_path_leads_to_a_page_of_html(world: World, method: str, path: str, key: str | None) -> None:
    """What the gateway does not have is a redirect to its front page, key or no key, and never a JSON 404."""
    server = world()
    reply = ask(server, method, path, b"{}", Authorization=key)
    if (method, path) != ("PATCH", "/"):
        assert (reply.status, reply.headers["location"]) == (301, "/")
    assert reply.body.startswith(b"<!DOCTYPE html>")
    assert reply.headers["content-type"].startswith("text/html")
    page = ask(server, "GET", "/")
    assert (page.status, page.body[:15]) == (200, b"<!DOCTYPE html>")


def test_every_answer_of_the_api_has_a_request_id_and_a_date(world: World) -> None:
    """Ids are new for each request; the date is the clock's."""
    server = world()
    replies = [ask(server, "GET", "/replicate/v1/predictions/x") for _ in range(3)]
    replies.append(ask(server, "POST", f"/replicate/v1/models/{SCHNELL}/predictions", {"input": SMALL}))
    assert len({reply.headers["x-cometapi-request-id"] for reply in replies}) == 4
    assert {reply.headers["date"] for reply in replies} == {"Thu, 09 Oct 2025 08:53:20 GMT"}


def test_one_connection_carries_many_requests(world: World) -> None:
    """Bodies of refused requests are read, so that the next request on the connection is understood."""
    server = world()
    with connection(server) as link:
        statuses = []
        for path in ("/elsewhere", f"/replicate/v1/models/{SCHNELL}/predictions") * 3:
            link.request("POST", path, json.dumps({"input": SMALL}), {"Authorization": f"Bearer {SANDBOX_KEY}"})
            statuses.append(read(link).status)
    assert statuses == [301, 200] * 3


# Create


def test_a_create_is_answered_as_documented(world: World) -> None:
    """The reply has the fields of CometAPI's page, and its addresses are Replicate's."""
    given = {"prompt": "a fox", "seed": 7, "unknown": {"kept": True}}
    reply = create(world(), given)
    assert reply == {
        "id": reply["id"],
        "model": SCHNELL,
        "version": "hidden",
        "input": given,
        "logs": "",
        "output": None,
        "data_removed": False,
        "error": None,
        "source": "api",
        "status": "starting",
        "created_at": "2025-10-09T08:53:20.25Z",
        "urls": {
            "cancel": f"https://api.replicate.com/v1/predictions/{reply['id']}/cancel",
            "get": f"https://api.replicate.com/v1/predictions/{reply['id']}",
            "stream": reply["urls"]["stream"],
            "web": f"https://replicate.com/p/{reply['id']}",
        },
    }
    assert reply["urls"]["stream"].startswith("https://stream.replicate.com/")


def test_ids_look_like_replicates(world: World) -> None:
    """An id is 26 lower-case letters and digits, never twice the same, with the time where Replicate has it."""
    server = world()
    ids = {create(server)["id"] for _ in range(20)}
    assert len(ids) == 20
    assert all(re.fullmatch(r"[0-9a-z]{10}r[gjm][0-9a-z]0[0-9a-z]{12}", each) for each in ids)
    # A real one of 2024-04-22T02:45:12.685Z: the six characters after the mark are its time.
    assert predictions.new_id(1_713_753_912.685)[13:19] == "hfbtajvndnrgp0cf0ervpx70e8"[13:19]


@pytest.mark.parametrize(
    "body", [b"[]", b"null", b'"x"', b"{}", b'{"input": null}', b'{"input": []}', b'{"prompt": "flat"}'], ids=repr
)
def test_a_create_without_an_input_is_500_invalid_request(world: World, body: bytes) -> None:
    """What was observed of the gateway: a body without an input object is its own fault, in its words."""
    reply = ask(world(), "POST", f"/replicate/v1/models/{SCHNELL}/predictions", body)
    assert (reply.status, reply.json["error"]["code"]) == (500, "invalid_request")
    assert reply.json["error"]["type"] == "comet_api_error"
    assert "field input is required" in reply.json["error"]["message"]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "char 0"),
        (b'{"input": {"prompt": "a fox', "char 21"),
        (b'{"input": {"prompt": "x"}} {}', "Extra data"),
        ('{"input": {"prompt": "café"}}'.encode("latin-1"), "0xe9 in position 25"),
        ('{"input": {"prompt": "x"}}'.encode("utf-16"), "utf-8"),
        (b'{"input": {"prompt": "x", "seed": NaN}}', "NaN"),
        (b'{"input": {"prompt": "x", "other": 1e999}}', "1e999"),
        (b"[" * 100_000, ""),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_body_that_is_no_json_is_400(world: World, body: bytes, told: str) -> None:
    """The refusal says that it is no JSON, and where, in the gateway's envelope; nothing is made."""
    reply = ask(world(), "POST", f"/replicate/v1/models/{SCHNELL}/predictions", body)
    error = reply.json["error"]
    assert (reply.status, error["type"], error["code"]) == (400, "comet_api_error", "invalid_request")
    assert error["message"].startswith("the request body is not JSON: ")
    assert told in error["message"]
    assert not list(world.folder.glob("predictions/*"))


DEV, FLUX_2 = "black-forest-labs/flux-dev", "black-forest-labs/flux-2-dev"
ADDRESS = "https://example.invalid/a.png"


@pytest.mark.parametrize(
    ("model", "given", "problem"),
    [
        (SCHNELL, {}, "input: prompt is required"),
        ("black-forest-labs/flux-kontext-dev", {"prompt": "x"}, "input: input_image is required"),
        (SCHNELL, {"prompt": 5}, "input.prompt: Invalid type. Expected: string, given: integer"),
        (SCHNELL, {"prompt": None}, "input.prompt: Invalid type. Expected: string, given: null"),
        (SCHNELL, {"prompt": "x", "seed": "2"}, "input.seed: Invalid type. Expected: integer, given: string"),
        (SCHNELL, {"prompt": "x", "seed": 1.5}, "input.seed: Invalid type. Expected: integer, given: number"),
        (SCHNELL, {"prompt": "x", "seed": True}, "input.seed: Invalid type. Expected: integer, given: boolean"),
        (SCHNELL, {"prompt": "x", "go_fast": 1}, "input.go_fast: Invalid type. Expected: boolean, given: integer"),
        (SCHNELL, {"prompt": "x", "num_outputs": 5}, "input.num_outputs: Must be less than or equal to 4"),
        (SCHNELL, {"prompt": "x", "num_outputs": 0}, "input.num_outputs: Must be greater than or equal to 1"),
        (DEV, {"prompt": "x", "guidance": 10.5}, "input.guidance: Must be less than or equal to 10"),
        (PRO, {"prompt": "x", "width": 64}, "input.width: Must be greater than or equal to 256"),
        (PRO, {"prompt": "x", "image_prompt": "a.png"}, "input.image_prompt: Does not match format 'uri'"),
        (
            SCHNELL,
            {"prompt": "x", "megapixels": 1},
            "input.megapixels: Invalid type. Expected: string, given: integer",
        ),
        (
            SCHNELL,
            {"prompt": "x", "megapixels": "2"},
            'input.megapixels: input.megapixels must be one of the following: "1", "0.25"',
        ),
        (
            FLUX_2,
            {"prompt": "x", "input_images": ADDRESS},
            "input.input_images: Invalid type. Expected: array, given: string",
        ),
        (
            FLUX_2,
            {"prompt": "x", "input_images": [ADDRESS] * 5},
            "input.input_images: Array must have at most 4 items",
        ),
        (
            FLUX_2,
            {"prompt": "x", "input_images": [ADDRESS, {}]},
            "input.input_images.1: Invalid type. Expected: string, given: object",
        ),
    ],
)
def test_a_bad_input_is_422_in_replicates_words(world: World, model: str, given: Any, problem: str) -> None:
    """What is wrong is told in a problem document, and nothing is made."""
    reply = ask(world(), "POST", f"/replicate/v1/models/{model}/predictions", {"input": given})
    assert reply.status == 422
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.json == {"title": "Input validation failed", "detail": f"- {problem}\n", "status": 422}
    assert not list(world.folder.glob("predictions/*"))


def test_every_problem_of_an_input_has_its_line(world: World) -> None:
    """One answer tells all of them."""
    given = {"seed": "x", "num_outputs": 9}
    reply = ask(world(), "POST", f"/replicate/v1/models/{SCHNELL}/predictions", {"input": given})
    assert reply.json["detail"].splitlines() == [
        "- input.num_outputs: Must be less than or equal to 4",
        "- input.seed: Invalid type. Expected: integer, given: string",
        "- input: prompt is required",
    ]


@pytest.mark.parametrize(
    "given",
    [
        {"prompt": "x", "num_outputs": 4.0, "guidance": 3},
        {"prompt": "", "go_fast": False, "unheard_of": [1]},
        {"prompt": "x", "image": "data:image/png;base64,AAAA"},
        {"prompt": "\ud800 lone surrogate", "image": "https://example.invalid/never-fetched.png"},
    ],
)
def test_a_good_input_is_accepted_and_echoed(world: World, given: Any) -> None:
    """Whole floats count as integers, unknown inputs are ignored, images are neither fetched nor changed."""
    assert create(world(), given, "black-forest-labs/flux-dev")["input"] == given


def test_an_unknown_model_is_503(world: World) -> None:
    """The gateway has no channel for it, and says so even to a malformed body."""
    reply = ask(world(), "POST", "/replicate/v1/models/nobody/nothing/predictions", b"{")
    error = reply.json["error"]
    assert (reply.status, error["code"]) == (503, "model_not_found")
    assert "No available channel for model nobody/nothing under group default (distributor)" in error["message"]
    assert reply.headers["x-cometapi-request-id"] in error["message"]


@pytest.mark.parametrize(("depth", "status"), [(490, 200), (600, 400), (970, 400)])
def test_an_input_that_is_nested_deep_is_answered(world: World, depth: int, status: int) -> None:
    """It is a prediction that can be looked at, or refused and not kept; no thread dies of it."""
    server = world()
    deep = b"[" * depth + b"]" * depth
    reply = ask(server, "POST", CREATE, b'{"input": {"prompt": "x", "more": ' + deep + b"}}")
    assert reply.status == status, reply.body
    kept = [path.stem for path in (world.folder / "predictions").iterdir()]
    if status == 200:
        assert deep in ask(server, "GET", f"/replicate/v1/predictions/{kept[0]}").body
    else:
        assert kept == []
        assert "nested more than 500 levels deep" in reply.json["error"]["message"]


def test_a_body_over_the_limit_is_413(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer arrives although the client was still sending, and the sandbox goes on."""
    monkeypatch.setattr("cometrep.sandbox.server.BODY_LIMIT", 1000)
    server = world()
    reply = ask(server, "POST", f"/replicate/v1/models/{SCHNELL}/predictions", b"x" * 3_000_000)
    assert (reply.status, reply.json["status"], reply.headers["connection"]) == (413, 413, "close")
    assert create(server)["status"] == "starting"


CREATE = f"/replicate/v1/models/{SCHNELL}/predictions"
BODY = json.dumps({"input": SMALL}).encode()


def in_chunks(link: http.client.HTTPConnection, *pieces: bytes) -> Reply:
    """Send a create whose head says that chunks follow, then these bytes as they are, and read its answer."""
    link.putrequest("POST", CREATE)
    link.putheader("Authorization", f"Bearer {SANDBOX_KEY}")
    link.putheader("Transfer-Encoding", "chunked")
    link.endheaders()
    for piece in pieces:
        link.send(piece)
    return read(link)


@pytest.mark.parametrize(
    "pieces",
    [
        (b"%x\r\n%s\r\n" % (len(BODY), BODY), b"0\r\n\r\n"),
        (*(b"1\r\n%c\r\n" % byte for byte in BODY), b"0\r\n\r\n"),
        (b"%X;name=value\r\n%s\r\n" % (len(BODY), BODY), b"00\r\nX-Trailer: 1\r\n\r\n"),
    ],
    ids=["one", "many", "extension and trailer"],
)
def test_a_body_in_chunks_is_taken(world: World, pieces: tuple[bytes, ...]) -> None:
    """However it is cut it is one body, and the connection carries the next request."""
    with connection(world()) as link:
        for _ in range(2):
            reply = in_chunks(link, *pieces)
            assert (reply.status, reply.json["input"]) == (200, SMALL)


def test_a_body_in_chunks_over_the_limit_is_413(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit is that of the whole body, whatever the size of a chunk, and all of it is read."""
    monkeypatch.setattr("cometrep.sandbox.server.BODY_LIMIT", 1000)
    server = world()
    for size in (400, 100_000):
        chunk = b"%x\r\n%s\r\n" % (size, b"x" * size)
        with connection(server) as link:
            reply = in_chunks(link, *[chunk] * 9, b"0\r\n\r\n")
            assert (reply.status, reply.json["status"], reply.headers["connection"]) == (413, 413, "close")


@pytest.mark.parametrize("pieces", [b"no\r\n", b"-1\r\n", b"\r\n", b"3\r\nabcd\r\n", b"5" * 11 + b"\r\n"], ids=repr)
def test_malformed_chunks_are_400(world: World, pieces: bytes) -> None:
    """They are refused as by the API, and the connection ends, since nothing after them could be understood."""
    with connection(world()) as link:
        reply = in_chunks(link, pieces)
        error = reply.json["error"]
        assert (reply.status, error["code"], reply.headers["connection"]) == (400, "invalid_request", "close")
        assert "chunk" in error["message"]
        assert f"(request id: {reply.headers['x-cometapi-request-id']})" in error["message"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Content-Length", "-1"),
        ("Content-Length", "many"),
        ("Content-Length", "1" * 13),
        ("Transfer-Encoding", "gzip, chunked"),
    ],
)
def test_a_body_without_a_known_end_is_400(world: World, name: str, value: str) -> None:
    """The refusal is in the gateway's envelope, tells the value, and ends the connection."""
    with connection(world()) as link:
        link.putrequest("POST", CREATE)
        link.putheader("Authorization", f"Bearer {SANDBOX_KEY}")
        link.putheader(name, value)
        link.endheaders()
        reply = read(link)
        assert (reply.status, reply.json["error"]["code"]) == (400, "invalid_request")
        assert repr(value) in reply.json["error"]["message"]
        assert reply.headers["x-cometapi-request-id"] in reply.json["error"]["message"]
        assert link.sock is None or link.sock.recv(1) == b""


def test_a_create_whose_body_broke_off_is_none(world: World) -> None:
    """Though what came of it is whole JSON."""
    server = world()
    body = json.dumps({"input": SMALL}).encode()
    with connection(server) as link:
        link.putrequest("POST", CREATE)
        link.putheader("Authorization", f"Bearer {SANDBOX_KEY}")
        link.putheader("Content-Length", "1000")
        link.endheaders(body)
        link.sock.shutdown(socket.SHUT_WR)
        reply = read(link)
    assert reply.status == 400
    assert f"ends after {len(body)} of 1000 bytes" in reply.json["error"]["message"]
    assert not any((world.folder / "predictions").iterdir())


def test_a_folder_that_went_away_is_a_server_error(world: World) -> None:
    """A disk that fails is answered, and no thread dies of it."""
    server = world()
    shutil.rmtree(world.folder)
    reply = ask(server, "POST", f"/replicate/v1/models/{SCHNELL}/predictions", {"input": SMALL})
    assert reply.status == 500
    assert "cannot write its folder" in reply.json["error"]["message"]


def test_many_threads_create_at_once(world: World) -> None:
    """Thirty-two clients get thirty-two predictions, each with its own input."""
    server = world()
    with ThreadPoolExecutor(32) as pool:
        made = list(pool.map(lambda number: create(server, SMALL | {"seed": number}), range(32)))
    assert len({each["id"] for each in made}) == 32
    assert [get(server, each["id"])["input"]["seed"] for each in made] == list(range(32))
    assert len(list(world.folder.glob("predictions/*"))) == 32


# Get


def test_a_prediction_starts_runs_and_succeeds(world: World) -> None:
    """Its state follows the clock alone, and nothing that was said is taken back."""
    server = world()
    start, prediction_id = world.clock.now, create(server, SMALL | {"num_outputs": 2})["id"]
    seen = []
    for tenth in range(130):
        world.clock.now = start + tenth / 10
        seen.append(get(server, prediction_id))
    statuses = [each["status"] for each in seen]
    assert list(dict.fromkeys(statuses)) == ["starting", "processing", "succeeded"]
    length = statuses.index("succeeded") / 10
    assert 8.0 <= length <= 12.0
    assert statuses.count("starting") / 10 == pytest.approx(length / 10, abs=0.15)
    assert all(later["logs"].startswith(earlier["logs"]) for earlier, later in pairwise(seen))
    assert all(each["output"] is None for each in seen if each["status"] != "succeeded")
    first, middle, last = seen[0], seen[60], seen[-1]
    assert {"started_at", "completed_at", "metrics"}.isdisjoint(first)
    assert "started_at" in middle
    assert {"completed_at", "metrics"}.isdisjoint(middle)
    assert last["metrics"]["image_count"] == 2
    assert last["metrics"]["total_time"] == pytest.approx(length, abs=0.11)
    assert 0 < last["metrics"]["predict_time"] < last["metrics"]["total_time"]
    assert last["created_at"] < last["started_at"] < last["completed_at"]
    assert (last["error"], last["data_removed"]) == (None, False)


def test_times_are_written_like_the_recordings(world: World) -> None:
    """A create has up to nine digits, a get up to six, and neither has closing zeros."""
    world.clock.now = 1_760_000_000.123456789
    server = world()
    reply = create(server)
    assert re.fullmatch(r"2025-10-09T08:53:20\.123456\d{1,3}Z", reply["created_at"])
    assert get(server, reply["id"])["created_at"] == "2025-10-09T08:53:20.123456Z"
    assert [predictions.stamp(1_760_000_000.0), predictions.stamp(1_760_000_000.5)] == [
        "2025-10-09T08:53:20Z",
        "2025-10-09T08:53:20.5Z",
    ]


def test_a_prediction_of_no_seconds_ends_at_once(world: World) -> None:
    """Its create still says starting, its first get succeeded."""
    server = world(seconds=0)
    reply = create(server)
    assert reply["status"] == "starting"
    assert get(server, reply["id"])["status"] == "succeeded"


def test_durations_differ_by_input_and_repeat(world: World) -> None:
    """The jitter is up to a fifth, and the same for the same input."""
    server = world(seconds=10)
    times = [finish(world, server, SMALL | {"seed": seed})["metrics"]["total_time"] for seed in (1, 2, 3, 1)]
    assert times[0] == times[3]
    assert len(set(times)) == 3
    assert all(8 <= each <= 12 for each in times)


def test_logs_show_progress_like_tqdm(world: World) -> None:
    """Models with steps log the seed, a bar a step, and the count of safe images."""
    logs = finish(world, world(), SMALL | {"seed": 123})["logs"]
    lines = logs.splitlines()
    assert lines[:2] == ["Using seed: 123", "  0%|          | 0/4 [00:00<?, ?it/s]"]
    assert re.fullmatch(r" 25%\|██▌       \| 1/4 \[00:0\d<00:0\d,  0\.\d\dit/s\]", lines[2])
    assert lines[5].startswith("100%|██████████| 4/4 [")
    assert lines[6:] == ["Total safe images: 1 out of 1"]


@pytest.mark.parametrize("steps", [1, 49, 400])
def test_logs_of_many_steps_only_grow(world: World, steps: int) -> None:
    """However many the steps, the lines are few, none is taken back, and the last is 100%."""
    server = world()
    prediction_id = create(server, {"num_inference_steps": steps}, "stability-ai/sdxl")["id"]
    seen = [""]
    for _ in range(60):
        world.clock.now += 0.23
        seen.append(get(server, prediction_id)["logs"])
    assert all(later.startswith(earlier) for earlier, later in pairwise(seen))
    lines = seen[-1].splitlines()
    assert len(lines) < 60
    assert lines[-2].startswith(f"100%|██████████| {steps}/{steps} [")


@pytest.mark.parametrize("model", [PRO, "black-forest-labs/flux-kontext-pro", "black-forest-labs/flux-2-flex"])
def test_some_models_log_no_percentages(world: World, model: str) -> None:
    """The pro models say the seed, the time and the count of safe images."""
    lines = finish(world, world(), {"prompt": "x", "seed": 5}, model)["logs"].splitlines()
    assert lines[0] == "Using seed: 5"
    assert re.fullmatch(r"Generated image in \d+\.\dsec", lines[1])
    assert lines[2:] == ["Total safe images: 1 out of 1"]


def test_a_seed_that_was_not_given_is_chosen_by_the_input(world: World) -> None:
    """The log names it, the same for the same input."""
    server = world()
    seeds = [finish(world, server, {"prompt": prompt})["logs"].splitlines()[0] for prompt in ("a", "b", "a")]
    assert re.fullmatch(r"Using seed: \d+", seeds[0])
    assert seeds[0] == seeds[2] != seeds[1]


@pytest.mark.parametrize("model", LISTS)
def test_models_with_several_outputs_give_a_list(world: World, model: str) -> None:
    """One file is still a list of one."""
    server = world()
    output = finish(world, server, {"prompt": "x"}, model)["output"]
    assert len(output) == 1
    assert output[0].startswith(f"{server.url}/files/")


@pytest.mark.parametrize(("model", "extension"), SINGLES.items())
def test_models_with_one_output_give_a_string(world: World, model: str, extension: str) -> None:
    """Each has its own default format."""
    output = finish(world, world(), {"prompt": "x", "input_image": "https://a/b.png"}, model)["output"]
    assert isinstance(output, str)
    assert output.endswith(f"/out-0.{extension}")


def test_sdxl_needs_no_prompt(world: World) -> None:
    """A prompt with a default may be left out."""
    assert finish(world, world(), {}, "stability-ai/sdxl")["status"] == "succeeded"


@pytest.mark.parametrize("wrong", ["x", "0" * 26, "0" * 27, "A" * 26, "..%2f..%2fsecret", "%00", "a.json"])
def test_an_unknown_id_is_404_with_a_detail(world: World, wrong: str) -> None:
    """Unknown and malformed ids are answered alike, in Replicate's words."""
    (world.folder / "predictions").mkdir(parents=True)
    (world.folder / "secret.json").write_text("{}")
    reply = ask(world(), "GET", f"/replicate/v1/predictions/{wrong}")
    assert reply.status == 404
    assert reply.json == {"detail": "The requested resource could not be found.", "status": 404}


def test_an_unknown_id_is_a_task_error_when_wrapped(world: World) -> None:
    """The task layer of the gateway's software has an error form of its own."""
    reply = ask(world(wrapped=True), "GET", f"/replicate/v1/predictions/{'0' * 26}")
    assert reply.status == 400
    assert reply.json == {"code": "task_not_exist", "message": "task_not_exist", "data": None}


def test_head_tells_what_get_would(world: World) -> None:
    """On every path status and headers are those of GET, the body is left out, and no fault is used up."""
    server = world("get:500:1")
    found = f"/replicate/v1/predictions/{create(server)['id']}"
    expected = {found: 200, "/replicate/v1/predictions/x": 404, CREATE: 301, "/": 200, "/elsewhere": 301}
    for path in expected:
        assert ask(server, "HEAD", path).status == expected[path]
    assert ask(server, "GET", found).status == 500
    for key in (f"Bearer {SANDBOX_KEY}", None):
        for path in expected:
            head, get = (ask(server, method, path, Authorization=key) for method in ("HEAD", "GET"))
            assert (head.status, head.body) == (get.status, b"")
            own = {"x-cometapi-request-id": ""}
            assert {**head.headers, **own} == {**get.headers, **own}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("model", "nobody/nothing"),
        ("model", []),
        ("input", "x"),
        ("input", {"prompt": 1}),
        ("created", "x"),
        ("created", -1),
        ("created", 1e300),
        ("created", float("nan")),
        ("seconds", None),
        ("seconds", -1e18),
    ],
)
def test_a_damaged_prediction_is_unknown(world: World, name: str, value: object) -> None:
    """Whatever a file holds in the place of a value: neither a look nor a file of it is left without an answer."""
    server = world()
    shown = finish(world, server)
    path = world.folder / "predictions" / f"{shown['id']}.json"
    whole = json.loads(path.read_text())
    path.write_text(json.dumps(whole | {name: value}))
    for url in (f"/replicate/v1/predictions/{shown['id']}", shown["output"][0]):
        assert ask(server, "GET", urlsplit(url).path).status == 404
    path.write_text(json.dumps(whole | {"more": value}))  # as a later version might write
    assert get(server, shown["id"]) == shown


@pytest.mark.parametrize("content", ["", "{", "[]", '{"id": "x"}', "[" * 100_000])
def test_a_prediction_that_cannot_be_read_is_unknown(world: World, content: str) -> None:
    """A file of another version in the folder breaks nothing."""
    server = world()
    (world.folder / "predictions" / f"{'0' * 26}.json").write_text(content)
    assert ask(server, "GET", f"/replicate/v1/predictions/{'0' * 26}").status == 404


def test_predictions_outlive_the_process_and_are_shared(world: World) -> None:
    """Two sandboxes on one folder see the same predictions, and so does one that comes later."""
    first, second = world(), world(seconds=99)
    prediction_id = create(first)["id"]
    assert get(second, prediction_id) == get(first, prediction_id)
    first.close()
    second.close()
    world.clock.now += 12.5
    third = world(wrapped=False, seconds=1)
    reply = get(third, prediction_id)
    assert reply["status"] == "succeeded"
    assert fetch(reply["output"][0], third).status == 200


def test_output_addresses_are_those_of_the_server_that_was_asked(world: World) -> None:
    """They follow the Host header, unless it is not fit to be part of an address."""
    server = world()
    prediction_id = finish(world, server)["id"]
    path = f"/files/{prediction_id}/out-0.webp"
    assert get(server, prediction_id, Host="localhost:99")["output"] == [f"http://localhost:99{path}"]
    assert get(server, prediction_id, Host="[::1]:99")["output"] == [f"http://[::1]:99{path}"]
    assert get(server, prediction_id, Host="a/b@c")["output"] == [f"{server.url}{path}"]


def test_after_an_hour_everything_but_the_status_is_removed(world: World) -> None:
    """Input, output, logs and files go; status, times and metrics stay."""
    server = world()
    before = finish(world, server)
    world.clock.now += 3580
    assert get(server, before["id"]) == before
    world.clock.now += 30
    after = get(server, before["id"])
    assert after["data_removed"] is True
    assert (after["status"], after["output"], after["logs"], after["input"]) == ("succeeded", None, "", {})
    assert after["metrics"] == before["metrics"]
    assert fetch(before["output"][0], server).status == 404


# Ends other than success


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("fail", "failed"),
        ("cancel", "canceled"),
        ("abort", "aborted"),
        ("empty", "succeeded"),
        ("text", "succeeded"),
    ],
)
def test_a_word_in_the_prompt_asks_for_another_end(world: World, word: str, status: str) -> None:
    """The end comes when the success would have come, and has no files."""
    server = world()
    prediction_id = create(server, {"prompt": f"a fox sandbox:{word}, red"})["id"]
    world.clock.now += 5
    assert get(server, prediction_id)["status"] == ("starting" if word == "abort" else "processing")
    world.clock.now += 7.5
    reply = get(server, prediction_id)
    assert reply["status"] == status
    assert "image_count" not in reply["metrics"]
    assert ("E005" in (reply["error"] or "")) == (word == "fail")
    assert ("started_at" in reply) == (word != "abort")
    assert (reply["logs"] is None) == (word == "cancel")
    if word == "text":
        assert "".join(reply["output"]) == "A reply of the sandbox to: a fox sandbox:text, red"
        assert len(reply["output"]) > 5
    else:
        assert reply["output"] is None
    assert fetch(f"/files/{prediction_id}/out-0.webp", server).status == 404


def test_a_filter_drops_one_file(world: World) -> None:
    """With `sandbox:nsfw` one file is missing, and the log counts what is safe."""
    server = world()
    reply = finish(world, server, SMALL | {"prompt": "x sandbox:nsfw", "num_outputs": 3})
    assert (reply["status"], len(reply["output"]), reply["metrics"]["image_count"]) == ("succeeded", 2, 2)
    assert reply["logs"].endswith("NSFW content detected in image 2\nTotal safe images: 2 out of 3\n")
    assert fetch(f"/files/{reply['id']}/out-2.webp", server).status == 404


def test_pictures_are_drawn_in_few_threads(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many are asked for at once, as each keeps the memory of a picture; and no end waits for them."""
    threads = set()

    def draw(record: predictions.Record, index: int) -> bytes:
        threads.add(threading.current_thread())
        return b"%d" % index

    monkeypatch.setattr("cometrep.sandbox.painter.draw", draw)
    server, cores = world(seconds=0), os.cpu_count() or 1
    urls = [create(server, SMALL | {"seed": number})["id"] for number in range(8 * cores)]
    with ThreadPoolExecutor(len(urls)) as pool:
        drawn = list(pool.map(lambda id: fetch(f"/files/{id}/out-0.webp", server).body, urls))
    assert drawn == [b"0"] * len(urls)
    assert len(threads) <= cores
    assert all(thread.daemon for thread in threads)
    server.close()
    for thread in threads:
        thread.join(TIMEOUT_SECONDS)
        assert not thread.is_alive()


def test_a_picture_is_drawn_without_a_thread_for_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system gives no more of them its connection's own does."""
    server = world(seconds=0)
    path = f"/files/{create(server)['id']}/out-0.webp"
    with connection(server) as link:
        link.request("GET", path)
        whole = read(link).body
        for kept in world.folder.glob("files/*"):
            kept.unlink()
        with no_more_threads():
            monkeypatch.setattr(server, "_studio", painter.Studio())
            link.request("GET", path)
            assert read(link).body == whole


@pytest.mark.parametrize("model", [SCHNELL, PRO])
def test_a_filter_that_leaves_nothing_fails(world: World, model: str) -> None:
    """Replicate's models raise an error where no image is left."""
    reply = finish(world, world(), {"prompt": "x sandbox:nsfw"}, model)
    assert (reply["status"], reply["output"]) == ("failed", None)
    assert reply["error"].startswith("All generated images contained NSFW content")


# The second shape


def test_wrapped_replies_are_task_records(world: World) -> None:
    """A create is answered bare, a get in the gateway's record: its words, progress, and the prediction inside."""
    server, bare = world(wrapped=True), world()
    made = create(server)
    prediction_id = made["id"]
    assert made["status"] == "starting"
    shown = get(server, prediction_id)
    assert (shown["code"], shown["message"]) == ("success", "")
    data = shown["data"]
    assert data["task_id"] == prediction_id
    assert isinstance(data["id"], int)
    assert (data["status"], data["progress"], data["data"], data["start_time"], data["finish_time"]) == (
        *("QUEUED", "0%", None), *(0, 0)
    )  # fmt: skip
    assert data["submit_time"] == 1_760_000_000
    world.clock.now += 5
    data = get(server, prediction_id)["data"]
    assert (data["status"], data["data"]["status"], data["fail_reason"]) == ("IN_PROGRESS", "processing", "")
    assert re.fullmatch(r"[4-6]\d%", data["progress"])
    world.clock.now += 7.5
    data = get(server, prediction_id)["data"]
    assert (data["status"], data["progress"]) == ("SUCCESS", "100%")
    assert data["fail_reason"] == data["data"]["output"][0]  # an address, as that software has put it there
    assert data["data"] == get(bare, prediction_id, Host=urlsplit(server.url).netloc)
    assert data["submit_time"] < data["start_time"] < data["finish_time"]


@pytest.mark.parametrize("word", ["fail", "cancel", "abort"])
def test_wrapped_failures_have_a_reason(world: World, word: str) -> None:
    """Every end that is no success is FAILURE outside and its own word inside."""
    server = world(wrapped=True)
    prediction_id = create(server, {"prompt": f"sandbox:{word}"})["id"]
    world.clock.now += 12.5
    data = get(server, prediction_id)["data"]
    assert (data["status"], data["progress"]) == ("FAILURE", "100%")
    assert data["data"]["status"].startswith(word)
    assert data["fail_reason"]


# Files


@pytest.mark.parametrize(
    ("given", "model", "size"),
    [
        ({"aspect_ratio": "1:1"}, SCHNELL, (512, 512)),
        ({"aspect_ratio": "16:9"}, SCHNELL, (672, 384)),
        ({"aspect_ratio": "9:21"}, SCHNELL, (320, 768)),
        ({"megapixels": "1", "aspect_ratio": "16:9"}, SCHNELL, (1344, 768)),
        ({"width": 300, "height": 260}, SCHNELL, (512, 512)),
        ({"aspect_ratio": "custom", "width": 416, "height": 256}, PRO, (416, 256)),
        ({"aspect_ratio": "3:2", "width": 416, "height": 256}, PRO, (1248, 832)),
        ({"width": 320, "height": 200}, "stability-ai/sdxl", (320, 200)),
        ({"width": 1, "height": 99999}, "stability-ai/sdxl", (64, 3072)),
        ({}, "black-forest-labs/flux-kontext-pro", (1024, 1024)),
        ({"aspect_ratio": "match_input_image"}, "black-forest-labs/flux-kontext-pro", (1024, 1024)),
        ({"resolution": "0.5 MP"}, "black-forest-labs/flux-2-pro", (704, 704)),
        ({"resolution": "4 MP", "aspect_ratio": "16:9"}, "black-forest-labs/flux-2-pro", (2720, 1536)),
        ({"resolution": "1.2.3 MP"}, "black-forest-labs/flux-2-pro", (1024, 1024)),
        ({"resolution": "832x960"}, "ideogram-ai/ideogram-v2", (832, 960)),
        ({"resolution": "None", "aspect_ratio": "3:1"}, "ideogram-ai/ideogram-v2", (1760, 576)),
        ({"size": "1365x1024"}, "recraft-ai/recraft-v3", (1365, 1024)),
        ({"aspect_ratio": "1:999"}, "black-forest-labs/flux-1.1-pro-ultra", (512, 2048)),
        ({"aspect_ratio": "0:0"}, "black-forest-labs/flux-1.1-pro-ultra", (1024, 1024)),
    ],
)
def test_pictures_have_the_size_that_was_asked_for(given: Any, model: str, size: tuple[int, int]) -> None:
    """Size follows aspect ratio, megapixels, resolution, and width and height where the model heeds them."""
    assert tuple(predictions.new_record(model, SMALL | given, 0.0, 1.0).size) == size


@pytest.mark.parametrize(
    ("extension", "form", "content_type"),
    [("webp", "WEBP", "image/webp"), ("jpg", "JPEG", "image/jpeg"), ("png", "PNG", "image/png")],
)
def test_pictures_have_the_format_that_was_asked_for(
    world: World, extension: str, form: str, content_type: str
) -> None:
    """Files come without a key, in their format, with their length and a strong validator."""
    server = world()
    given = SMALL | {"output_format": extension, "num_outputs": 2, "aspect_ratio": "16:9"}
    output = finish(world, server, given)["output"]
    replies = [fetch(url, server) for url in output]
    for reply in replies:
        assert reply.status == 200
        assert (picture(reply).format, picture(reply).size) == (form, (672, 384))
        assert reply.headers["content-type"] == content_type
        assert int(reply.headers["content-length"]) == len(reply.body)
        assert re.fullmatch(r'"[0-9a-f]{32}"', reply.headers["etag"])
        assert reply.headers["accept-ranges"] == "bytes"
        assert "www-authenticate" not in reply.headers
    assert replies[0].body != replies[1].body


def test_the_same_input_gives_the_same_bytes(world: World, tmp_path: Path) -> None:
    """Another run, and another folder, draw the same picture; another prompt or seed draws another."""
    server, other = world(), world(folder=tmp_path / "other")
    one, two = (
        finish(world, server, SMALL)["output"][0],
        finish(world, other, dict(reversed(SMALL.items())))["output"][0],
    )
    assert one != two
    first = fetch(one, server)
    assert first.body == fetch(two, other).body
    assert first.headers["etag"] == fetch(one, server).headers["etag"]
    for change in ({"seed": 1}, {"seed": 2}, {"prompt": "a fox"}):
        changed = finish(world, server, SMALL | change)["output"][0]
        assert fetch(changed, server).body != first.body


def test_quality_is_obeyed(world: World) -> None:
    """A lower quality makes a smaller file."""
    server = world()
    sizes = []
    for quality in (10, 90):
        given = SMALL | {"output_quality": quality, "output_format": "jpg", "seed": 1}
        sizes.append(len(fetch(finish(world, server, given)["output"][0], server).body))
    assert sizes[0] * 2 < sizes[1]


@pytest.mark.parametrize(
    "prompt",
    [
        "a lighthouse",
        "neon city at night",
        "a fox in the hills",
        "",
        "猫",
        "word " * 200,
        "x" * 900,
        "a\n\tb\0c\ud800",
    ],
)
@pytest.mark.parametrize("shape", ["1:1", "9:21", "21:9"])
def test_every_picture_bears_the_mark(prompt: str, shape: str) -> None:
    """Whatever the prompt, the foot of the picture is a plain dark band with light writing on it."""
    given = {"prompt": prompt, "megapixels": "0.25", "aspect_ratio": shape, "output_format": "png"}
    made = Image.open(io.BytesIO(painter.draw(predictions.new_record(SCHNELL, given, 0.0, 1.0), 0))).convert("RGB")
    width, height = made.size
    assert made.getpixel((0, height - 1)) == made.getpixel((width - 1, height - 1)) == (12, 12, 18)
    foot = made.crop((0, height - 12, width, height)).convert("L")
    darkest, lightest = foot.getextrema()
    assert (isinstance(darkest, int), isinstance(lightest, int) and lightest > 150) == (True, True)
    colours = made.getcolors(1 << 20)
    assert colours is not None
    assert len(colours) > 50


def test_small_and_large_pictures_can_be_drawn() -> None:
    """The smallest and the largest size are drawn without error."""
    for given in ({"width": 64, "height": 64}, {"width": 3072, "height": 64}, {"width": 1600, "height": 1100}):
        made = Image.open(io.BytesIO(painter.draw(predictions.new_record("stability-ai/sdxl", given, 0.0, 1.0), 0)))
        assert made.size == (given["width"], given["height"])


def test_files_that_are_not_there_are_404(world: World) -> None:
    """No file before the end, none beyond the last, none of another format, and none of another id."""
    server = world()
    prediction_id = create(server)["id"]
    assert fetch(f"/files/{prediction_id}/out-0.webp", server).status == 404
    world.clock.now += 12.5
    for path in (f"{prediction_id}/out-1.webp", f"{prediction_id}/out-0.png", f"{'0' * 26}/out-0.webp"):
        reply = fetch(f"/files/{path}", server)
        assert (reply.status, reply.headers["content-type"]) == (404, "text/plain; charset=utf-8")
    assert fetch(f"/files/{prediction_id}/out-0.webp", server).status == 200


@pytest.fixture
def served(world: World) -> tuple[Sandbox, str, bytes]:
    """Give a server, the path of a file on it, and the file's bytes."""
    server = world()
    path = urlsplit(finish(world, server)["output"][0]).path
    return server, path, fetch(path, server).body


@pytest.mark.parametrize(
    ("asked", "part"),
    [
        ("bytes=0-0", slice(0, 1)),
        ("bytes=10-19", slice(10, 20)),
        ("bytes=100-", slice(100, None)),
        ("bytes=-5", slice(-5, None)),
        ("bytes=5-99999999", slice(5, None)),
        ("bytes=-99999999", slice(0, None)),
    ],
)
def test_a_range_is_answered_with_the_part(served: tuple[Sandbox, str, bytes], asked: str, part: slice) -> None:
    """The part, its place and the whole length come with 206."""
    server, path, data = served
    reply = fetch(path, server, Range=asked)
    start, stop, _ = part.indices(len(data))
    assert (reply.status, reply.body) == (206, data[part])
    assert reply.headers["content-range"] == f"bytes {start}-{stop - 1}/{len(data)}"
    assert int(reply.headers["content-length"]) == len(reply.body)


@pytest.mark.parametrize("asked", ["bytes=0-1,4-5", "bytes=-", "bytes=5-2", "items=0-1", "bytes=a-b", ""])
def test_a_range_that_is_not_understood_is_ignored(served: tuple[Sandbox, str, bytes], asked: str) -> None:
    """The whole file comes with 200."""
    server, path, data = served
    reply = fetch(path, server, Range=asked)
    assert (reply.status, reply.body, "content-range" in reply.headers) == (200, data, False)


@pytest.mark.parametrize("start", [0, 1000])
def test_a_range_beyond_the_end_is_416(served: tuple[Sandbox, str, bytes], start: int) -> None:
    """The answer tells the length that there is."""
    server, path, data = served
    reply = fetch(path, server, Range=f"bytes={len(data) + start}-")
    assert (reply.status, reply.headers["content-range"]) == (416, f"bytes */{len(data)}")


def test_if_range_gives_the_part_only_of_the_same_version(served: tuple[Sandbox, str, bytes]) -> None:
    """A validator that agrees gives 206, any other the whole file."""
    server, path, data = served
    etag = fetch(path, server).headers["etag"]
    assert fetch(path, server, Range="bytes=5-", If_Range=etag).body == data[5:]
    reply = fetch(path, server, Range="bytes=5-", If_Range='"other"')
    assert (reply.status, reply.body) == (200, data)


def test_head_tells_of_a_file_without_its_body(served: tuple[Sandbox, str, bytes]) -> None:
    """Length and validator are those of the get."""
    server, path, data = served
    reply = ask(server, "HEAD", path, Authorization=None, Range="bytes=0-1")
    assert (reply.status, reply.body, int(reply.headers["content-length"])) == (200, b"", len(data))


def test_pictures_are_kept_and_swept_and_drawn_again(world: World) -> None:
    """A cached picture is read, an old one is removed at the next start, a missing or damaged one is drawn."""
    server = world()
    url = finish(world, server)["output"][0]
    data = fetch(url, server).body
    (kept,) = (world.folder / "files").iterdir()
    whole = kept.read_bytes()
    for damaged in (b"", b"x", whole[:-1], whole[:-1] + b"x"):
        kept.write_bytes(damaged)
        assert fetch(url, server).body == data
        assert kept.read_bytes() == whole
    kept.write_bytes(hashlib.sha256(b"kept").digest() + b"kept")
    assert fetch(url, server).body == b"kept"
    an_hour_ago = time.time() - 3700
    os.utime(kept, (an_hour_ago, an_hour_ago))
    assert fetch(url, world()).body == data


def test_predictions_are_kept_for_a_month(world: World) -> None:
    """Their records hold whole input files; no folder of a user's may grow for ever."""
    server = world()
    ids = [ask(server, "POST", CREATE, {"input": {"prompt": "cat"}}).json["id"] for _ in range(2)]
    old = world.folder / "predictions" / f"{ids[0]}.json"
    a_month_ago = time.time() - 31 * 86400
    os.utime(old, (a_month_ago, a_month_ago))
    server = world()
    assert [ask(server, "GET", f"/replicate/v1/predictions/{id}").status for id in ids] == [404, 200]


def test_a_picture_that_cannot_be_kept_is_served_all_the_same(world: World) -> None:
    """A cache that cannot be written costs the drawing, not the file."""
    server = world()
    url = finish(world, server)["output"][0]
    shutil.rmtree(world.folder / "files")
    assert picture(fetch(url, server)).size == (512, 512)


def test_a_write_that_fails_leaves_no_part_of_it(world: World) -> None:
    """Where a folder stands in the file's place, root too cannot write it."""
    server = world()
    url = finish(world, server)["output"][0]
    fetch(url, server)
    (kept,) = (world.folder / "files").iterdir()
    kept.unlink()
    (kept / "taken").mkdir(parents=True)
    assert picture(fetch(url, server)).size == (512, 512)
    assert list((world.folder / "files").iterdir()) == [kept]


# Faults


def test_429_says_when_to_come_again(world: World) -> None:
    """The refusal has the header and the body, and nothing was made."""
    server = world("429:1")
    reply = ask(server, "POST", f"/replicate/v1/models/{SCHNELL}/predictions", {"input": SMALL})
    assert (reply.status, reply.headers["retry-after"]) == (429, "1")
    detail = "Request was throttled. Expected available in 1 second."
    assert reply.json == {"detail": detail, "status": 429, "retry_after": 1}
    assert not list(world.folder.glob("predictions/*"))
    assert create(server)["status"] == "starting"


def test_500_is_in_the_gateways_envelope(world: World) -> None:
    """The error has a code that can be tried again, and a request id."""
    server = world("500")
    for _ in range(3):
        reply = ask(server, "GET", "/replicate/v1/predictions/x")
        error = reply.json["error"]
        assert (reply.status, error["code"], error["type"]) == (500, "bad_response_status_code", "comet_api_error")
        assert reply.headers["x-cometapi-request-id"] in error["message"]


def test_524_loses_the_answer_to_a_create(world: World) -> None:
    """The page is Cloudflare's, and the prediction was made."""
    server = world("524:1")
    reply = ask(server, "POST", f"/replicate/v1/models/{SCHNELL}/predictions", {"input": SMALL})
    assert (reply.status, reply.headers["content-type"]) == (524, "text/html; charset=utf-8")
    assert b"524: A timeout occurred" in reply.body
    assert len(list(world.folder.glob("predictions/*"))) == 1


def test_html_is_a_page_with_200(world: World) -> None:
    """A page comes in the place of JSON, and nothing was made."""
    reply = ask(world("html"), "POST", f"/replicate/v1/models/{SCHNELL}/predictions", {"input": SMALL})
    assert (reply.status, reply.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert reply.body.startswith(b"<!DOCTYPE html>")
    assert not list(world.folder.glob("predictions/*"))


def test_a_reset_create_was_accepted_all_the_same(world: World) -> None:
    """The connection is reset after the prediction was made: a second send would be a second prediction."""
    server = world("create:reset:1")
    with pytest.raises(ConnectionResetError):
        create(server)
    (kept,) = world.folder.glob("predictions/*")
    assert get(server, kept.stem)["status"] == "starting"
    create(server)


def test_a_reset_get_can_be_repeated(world: World) -> None:
    """Only the marked kind of request is reset, as often as asked."""
    server = world("get:reset:2")
    prediction_id = create(server)["id"]
    for _ in range(2):
        with pytest.raises(ConnectionResetError):
            get(server, prediction_id)
    assert get(server, prediction_id)["status"] == "starting"


def test_hang_gives_no_answer_and_does_not_hold_up_the_end(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client with less patience gives up; closing waits for nobody."""
    monkeypatch.setattr("cometrep.sandbox.server.HANG_SECONDS", 10 * TIMEOUT_SECONDS)
    server = world("hang")
    with connection(server, timeout=0.05) as link:
        link.request("GET", "/replicate/v1/predictions/x", headers={"Authorization": f"Bearer {SANDBOX_KEY}"})
        with pytest.raises(TimeoutError):
            read(link)
        within(TIMEOUT_SECONDS, server.close)


def test_hang_ends_with_the_answer(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits long enough gets the prediction."""
    monkeypatch.setattr("cometrep.sandbox.server.HANG_SECONDS", 0.05)
    assert create(world("hang"))["status"] == "starting"
    assert len(list(world.folder.glob("predictions/*"))) == 1


def test_truncate_cuts_a_file_short(world: World) -> None:
    """The head promises more than comes; the next time the file is whole."""
    server = world("truncate:1")
    url = finish(world, server)["output"][0]
    with pytest.raises(http.client.IncompleteRead) as raised:
        fetch(url, server)
    whole = fetch(url, server)
    assert whole.body.startswith(raised.value.partial)
    assert len(raised.value.partial) == len(whole.body) // 2
    rest = fetch(url, server, Range=f"bytes={len(raised.value.partial)}-", If_Range=whole.headers["etag"])
    assert raised.value.partial + rest.body == whole.body


def test_slow_sends_a_file_in_pieces(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is whole, with as many pauses between its pieces as make up the time that was set; once."""
    pauses: list[float] = []

    class Quick(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            pauses.append(timeout or 0.0)
            return self.is_set()

    server = world("slow:1")
    url = finish(world, server)["output"][0]
    monkeypatch.setattr(server, "closing", Quick())
    slow = fetch(url, server)
    assert len(pauses) > 10
    assert sum(pauses) == pytest.approx(SLOW_SECONDS)
    assert fetch(url, server).body == slow.body
    assert sum(pauses) == pytest.approx(SLOW_SECONDS)


def test_expire_forbids_a_file_that_works_later(world: World) -> None:
    """The first gets are 403, the next succeeds; a HEAD does not use one up."""
    server = world("expire:2")
    url = finish(world, server)["output"][0]
    assert ask(server, "HEAD", urlsplit(url).path).status == 200
    assert [fetch(url, server).status for _ in range(3)] == [403, 403, 200]


@pytest.mark.parametrize(
    ("fault", "status"), [("file:html", 200), ("file:500", 500), ("file:429", 429), ("file:524", 524)]
)
def test_faults_of_the_api_can_befall_files(world: World, fault: str, status: int) -> None:
    """A prefix brings a page or an error to where a picture was due, and leaves the API alone."""
    server = world(fault)
    reply = fetch(finish(world, server)["output"][0], server)
    assert (reply.status, reply.headers["content-type"].startswith("image/")) == (status, False)


def test_faults_take_turns_and_need_a_key(world: World) -> None:
    """The first fault is used up before the second; a request without a key uses up none."""
    server = world("429:1", "get:500:1", "html:1")
    path = "/replicate/v1/predictions/x"
    assert ask(server, "GET", path, Authorization=None).status == 401
    assert [ask(server, "GET", path).status for _ in range(4)] == [429, 500, 200, 404]


def test_faults_are_counted_once_for_many_threads(world: World) -> None:
    """Of forty gets at once exactly ten meet the fault."""
    server = world("500:10")
    with ThreadPoolExecutor(20) as pool:
        statuses = list(pool.map(lambda _: ask(server, "GET", "/replicate/v1/predictions/x").status, range(40)))
    assert (statuses.count(500), statuses.count(404)) == (10, 30)


# Other people's clients


def _check_python_client(reply: Any) -> None:
    """Check what `replicate` 1.0 for Python declares: its model of a prediction, and closed statuses."""
    assert all(isinstance(reply[name], str) for name in ("id", "model", "version", "status", "created_at"))
    assert all(reply[name] is None or isinstance(reply[name], str) for name in ("logs", "error"))
    assert all(isinstance(reply[name], dict) for name in ("input", "urls"))
    assert reply["status"] in ("starting", "processing", "succeeded", "failed", "canceled")
    assert all(isinstance(value, str) for value in reply["urls"].values())


def _check_javascript_client(reply: Any) -> None:
    """Check what `replicate` 1.x for JavaScript reads: an id to wait by, and a string to find progress in."""
    assert reply["id"]
    assert isinstance(reply["logs"] or "", str)
    if reply["status"] == "succeeded":
        assert isinstance(reply["output"], str | list)


@pytest.mark.parametrize("check", [_check_python_client, _check_javascript_client])
@pytest.mark.parametrize("prompt", ["x", "sandbox:fail", "sandbox:cancel"])
def test_replies_have_what_replicates_own_clients_need(
    world: World, check: Callable[[Any], None], prompt: str
) -> None:
    """Their create, with `Prefer: wait` and more fields at the root, and their waiting loop are served."""
    server = world()
    reply = ask(
        server,
        "POST",
        f"/replicate/v1/models/{SCHNELL}/predictions",
        {"input": {"prompt": prompt}, "stream": True, "webhook": "https://example.invalid/"},
        Prefer="wait=60",
    ).json
    seen = [reply]
    while seen[-1]["status"] in ("starting", "processing"):
        world.clock.now += 0.5
        seen.append(get(server, reply["id"]))
    for each in seen:
        check(each)
    assert len(seen) > 10
