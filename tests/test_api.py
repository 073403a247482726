"""One request at a time: what each answer, and each missing answer, of the API means."""

import base64
import contextlib
import gzip
import json
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cometrep import errors
from cometrep.api import Api, _Body
from cometrep.config.values import ApiKey
from tests.conftest import Certificate, needs, wait_until
from tests.servers import (
    HANG,
    RESET,
    SCHNELL,
    Answer,
    Server,
    TlsServer,
    answer_html,
    answer_json,
    comet,
    prediction,
)

KEY = "sk-test-0123456789"
CREATED = prediction("made1", "starting")
OUTER = {
    "code": "success",
    "message": "",
    "data": {"task_id": "task1", "id": 77, "status": "SUBMITTED", "data": None},
}


@pytest.fixture
def api(server: Server) -> Iterator[Api]:
    """A client of the scripted server."""
    api = Api(base_url=server.url, api_key=ApiKey(KEY), clock=lambda: 1_800_000_000.0)
    yield api
    api.close()


CREATE_FAILURES: list[tuple[str, Answer, type[errors.CometrepError], str]] = [
    ("reset after the request was read", RESET, errors.CreateUnknown, "create_unknown"),
    ("closed without an answer", Answer(raw=b"", then="close"), errors.CreateUnknown, "create_unknown"),
    ("half a status line", Answer(raw=b"HTTP/1.1 2", then="close"), errors.CreateUnknown, "create_unknown"),
    ("not HTTP at all", Answer(raw=b"SSH-2.0-x\r\n", then="close"), errors.CreateUnknown, "create_unknown"),
    ("cut inside the answer", answer_json(CREATED, cut=9, then="close"), errors.CreateUnknown, "create_unknown"),
    ("reset inside the answer", answer_json(CREATED, cut=9, then="reset"), errors.CreateUnknown, "create_unknown"),
    ("200 without an id", answer_json({"status": "starting"}), errors.CreateUnknown, "create_unknown"),
    ("200 with a hostile id", answer_json(prediction("../../x")), errors.CreateUnknown, "create_unknown"),
    ("200 with a row number", answer_json({"data": {"id": 7}}), errors.CreateUnknown, "create_unknown"),
    ("200 with an error", answer_json(comet("x")), errors.CreateUnknown, "create_unknown"),
    ("200 with nothing", Answer(200), errors.CreateUnknown, "create_unknown"),
    (
        "200 with an empty page",
        Answer(200, headers={"Content-Type": "text/html"}),
        errors.CreateUnknown,
        "create_unknown",
    ),
    ("200 with text", Answer(200, b"ok"), errors.CreateUnknown, "create_unknown"),
    ("408", answer_json({"detail": "late"}, 408), errors.CreateUnknown, "create_unknown"),
    ("499", Answer(499), errors.CreateUnknown, "create_unknown"),
    ("499 HTML", answer_html(499), errors.CreateUnknown, "create_unknown"),
    ("500", answer_json(comet("bad_response_status_code"), 500), errors.CreateUnknown, "create_unknown"),
    ("502 HTML", answer_html(502), errors.CreateUnknown, "create_unknown"),
    ("503", answer_json(comet(""), 503), errors.CreateUnknown, "create_unknown"),
    ("504", answer_json(comet(""), 504), errors.CreateUnknown, "create_unknown"),
    ("524 HTML", answer_html(524), errors.CreateUnknown, "create_unknown"),
    ("303", Answer(303, headers={"Location": "/tasks/abc"}), errors.CreateUnknown, "create_unknown"),
    ("303 without an address", Answer(303), errors.CreateUnknown, "create_unknown"),
    ("303 HTML", answer_html(303, headers={"Location": "/login"}), errors.CreateUnknown, "create_unknown"),
    ("303 with an error", answer_json(comet("x"), 303), errors.CreateUnknown, "create_unknown"),
    ("200 HTML", answer_html(200), errors.Refused, "not_an_api"),
    ("404 HTML", answer_html(404), errors.Refused, "not_an_api"),
    ("301", Answer(301, headers={"Location": "https://elsewhere/"}), errors.Refused, "redirected"),
    ("302 HTML", answer_html(302, headers={"Location": "/login"}), errors.Refused, "redirected"),
    ("307", Answer(307, headers={"Location": "https://elsewhere/"}), errors.Refused, "redirected"),
    ("308", Answer(308, headers={"Location": "https://elsewhere/"}), errors.Refused, "redirected"),
    ("400", answer_json(comet("invalid_request"), 400), errors.Refused, "bad_request"),
    (
        "402",
        answer_json({"title": "Payment", "detail": "no credit", "status": 402}, 402),
        errors.Refused,
        "no_credit",
    ),
    ("404", answer_json({"detail": "no such model"}, 404), errors.Refused, "bad_request"),
    ("405", answer_json({"detail": "no"}, 405), errors.Refused, "bad_request"),
    ("413", answer_json({"title": "Too large", "status": 413}, 413), errors.Refused, "too_large"),
    ("415", Answer(415, b"json please"), errors.Refused, "bad_request"),
    ("422", answer_json({"title": "Bad", "detail": "- input.num_outputs: no"}, 422), errors.Refused, "bad_request"),
    ("500 invalid_request", answer_json(comet("invalid_request"), 500), errors.Refused, "bad_request"),
    ("503 model_not_found", answer_json(comet("model_not_found"), 503), errors.Refused, "model_not_found"),
    ("502 model_not_found", answer_json(comet("model_not_found"), 502), errors.CreateUnknown, "create_unknown"),
    ("504 invalid_request", answer_json(comet("invalid_request"), 504), errors.CreateUnknown, "create_unknown"),
    ("524 invalid_request", answer_json(comet("invalid_request"), 524), errors.CreateUnknown, "create_unknown"),
    (
        "101 before another answer",
        answer_json(CREATED, interim=b"HTTP/1.1 101 Switching\r\n\r\n"),
        errors.CreateUnknown,
        "create_unknown",
    ),
    (
        "103 without end",
        answer_json(CREATED, interim=b"HTTP/1.1 103 Early Hints\r\n\r\n" * 1500),
        errors.CreateUnknown,
        "create_unknown",
    ),
    ("401", answer_json({"title": "Unauthenticated", "status": 401}, 401), errors.ConfigError, "api_key_refused"),
    ("403", answer_json(comet("permission_denied"), 403), errors.ConfigError, "api_key_refused"),
    ("403 HTML", answer_html(403), errors.ConfigError, "api_key_refused"),
    ("403 quota", answer_json(comet("insufficient_user_quota"), 403), errors.Refused, "no_credit"),
    ("429 quota", answer_json(comet("insufficient_quota"), 429), errors.Refused, "no_credit"),
    (
        "429 quota and a pause",
        answer_json(comet("insufficient_quota"), 429, headers={"Retry-After": "2"}),
        errors.Temporary,
        "rate_limited",
    ),
    (
        "429 in words",
        answer_json({"detail": "insufficient quota of requests"}, 429),
        errors.Temporary,
        "rate_limited",
    ),
    (
        "403 quota of a task",
        answer_json({"code": "quota_not_enough", "message": "user quota is not enough", "data": None}, 403),
        errors.Refused,
        "no_credit",
    ),
    ("425", answer_json({"detail": "too early"}, 425), errors.Temporary, "server_error"),
    ("429", answer_json({"detail": "slow down"}, 429), errors.Temporary, "rate_limited"),
    ("429 HTML", answer_html(429), errors.Temporary, "rate_limited"),
]


@pytest.mark.parametrize(
    ("script", "error", "code"), [row[1:] for row in CREATE_FAILURES], ids=[row[0] for row in CREATE_FAILURES]
)
def test_each_failure_of_a_create_is_told_apart(
    api: Api, server: Server, script: Answer, error: type[errors.CometrepError], code: str
) -> None:
    """Every way a create can go wrong raises its own error, after exactly one request."""
    server.on_create(script)
    with pytest.raises(error) as raised:
        api.create(SCHNELL, {"prompt": "cat"})
    assert (type(raised.value), raised.value.code) == (error, code)
    assert server.creates == 1
    assert len(server.received) == 1


@pytest.mark.parametrize("status", [200, 201, 202])
def test_a_create_gives_the_prediction_of_any_2xx(api: Api, server: Server, status: int) -> None:
    """200, 201 and 202 with an id are all a created prediction; the body and path are as documented."""
    server.on_create(answer_json(CREATED, status))
    made = api.create(SCHNELL, {"prompt": "cat", "num_outputs": 2})
    assert (made.id, made.status) == ("made1", "starting")
    request = server.received[0]
    assert request.path == f"/replicate/v1/models/{SCHNELL}/predictions"
    assert request.json() == {"input": {"prompt": "cat", "num_outputs": 2}}
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["content-length"] == str(len(request.body))


def test_a_wrapped_create_gives_the_inner_id_then_the_task_id(api: Api, server: Server) -> None:
    """In a task record the id is the inner prediction's, else the task's, never the row number."""
    inner = {**OUTER, "data": {"task_id": "task1", "id": 77, "status": "SUBMITTED", "data": CREATED}}
    server.on_create(answer_json(OUTER), answer_json(inner))
    assert api.create(SCHNELL, {}).id == "task1"
    assert api.create(SCHNELL, {}).id == "made1"


INTERIM = b"HTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\n\r\n"


@pytest.mark.parametrize(
    "interim",
    [INTERIM, b"HTTP/1.1 100 Continue\r\n\r\n" + INTERIM, INTERIM * 3, b"HTTP/1.1 102 Processing\r\n\r\n"],
    ids=["103", "100 and 103", "several", "102"],
)
def test_interim_answers_are_passed_over(api: Api, server: Server, interim: bytes) -> None:
    """What comes before the final answer refuses nothing: the id behind it is that of a paid prediction."""
    server.on_create(answer_json(CREATED, 201, interim=interim))
    server.on_get(answer_json(prediction(), interim=interim))
    assert api.create(SCHNELL, {}).id == "made1"
    assert api.get("abc123").id == "abc123"
    assert api.get("abc123").id == "abc123"  # over the same connection, which is not out of step


@pytest.mark.parametrize(
    "rest",
    ['"metrics": {"n": ' + "9" * 6000 + "}", '"input": ' + "[" * 90_000 + "]" * 90_000, '"logs": "\n"'],
    ids=["a number of 6000 digits", "nested without end", "a line break in a text"],
)
def test_an_id_beside_what_cannot_be_read_is_kept(api: Api, server: Server, rest: str) -> None:
    """The prediction is paid for: its id is given, or named in the error."""
    server.on_create(Answer(201, f'{{"id": "made1", "status": "starting", {rest}}}'.encode()))
    try:
        id = api.create(SCHNELL, {}).id
    except errors.CreateUnknown as unknown:
        id = unknown.prediction_id or ""
    assert id == "made1"


def test_a_broken_answer_that_began_with_an_id_names_it(api: Api, server: Server) -> None:
    """Where the answer broke off after the id, the error carries that id and how to wait for it."""
    server.on_create(answer_json(CREATED, cut=90, then="close"))
    with pytest.raises(errors.CreateUnknown) as raised:
        api.create(SCHNELL, {})
    assert raised.value.prediction_id == "made1"
    assert "cometrep wait made1" in raised.value.hint


@pytest.mark.parametrize("cut", range(8, 13))
def test_an_id_that_broke_off_itself_is_not_named(api: Api, server: Server, cut: int) -> None:
    """A part of an id is another prediction's, or none's."""
    server.on_create(Answer(201, b'{"id": "made1", "status": "starting"}', cut=cut, then="close"))
    with pytest.raises(errors.CreateUnknown) as raised:
        api.create(SCHNELL, {})
    assert raised.value.prediction_id is None


def test_a_create_that_never_left_may_be_sent_again(api: Api) -> None:
    """A refused connection, an unknown name and a failed TLS handshake are temporary: nothing was sent."""
    with socket.socket() as unbound:
        unbound.bind(("127.0.0.1", 0))
        refused = Api(base_url=f"http://127.0.0.1:{unbound.getsockname()[1]}", api_key=ApiKey(KEY))
        with pytest.raises(errors.Temporary, match="refused"):
            refused.create(SCHNELL, {})
    unknown = Api(base_url="https://no-such-host.invalid", api_key=ApiKey(KEY))
    with pytest.raises(errors.Temporary, match="cannot be resolved") as raised:
        unknown.create(SCHNELL, {})
    assert raised.value.is_worth_repeating


@pytest.mark.parametrize(
    ("proxy", "told"),
    [("{server}", "407"), ("socks5://127.0.0.1:1", "SOCKS"), ("http://[::1", "HTTPS_PROXY is not an address")],
    ids=["asks for a password", "of a kind that needs a library", "no address"],
)
def test_a_proxy_that_a_setting_has_wrong_is_no_passing_fault(
    server: Server, proxy: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was sent, and no further attempt would go better: it is for the user to mend."""
    server.on("CONNECT", "", Answer(407, b"who are you"))
    monkeypatch.setenv("HTTPS_PROXY", proxy.format(server=server.url))
    monkeypatch.setitem(sys.modules, "socks", None)
    with pytest.raises(errors.ConfigError) as raised:
        Api(base_url="https://api.example.test", api_key=ApiKey(KEY)).create(SCHNELL, {})
    assert told in raised.value.message
    assert raised.value.code == "bad_setting"


@pytest.mark.parametrize(
    ("script", "told"),
    [
        (HANG, "no answer in time"),
        (RESET, "Connection reset by peer"),
        (Answer(raw=b"", then="close"), "closed connection"),
        (Answer(raw=b"SSH-2.0-x\r\n", then="close"), "not an HTTP answer: SSH-2.0-x"),
        (Answer(407, b"who are you"), "407"),
        (Answer(502), "502"),
    ],
    ids=["hangs", "resets", "closes", "another protocol", "a login", "a failure"],
)
def test_a_proxy_that_gives_no_way_is_named(
    server: Server, script: Answer, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it does, with its host and port: who reads it would look for the fault at the API."""
    if script is HANG:
        monkeypatch.setattr("cometrep.api.CONNECT_TIMEOUT_SECONDS", 0.05)
    server.on("CONNECT", "", script)
    monkeypatch.setenv("HTTPS_PROXY", server.url.replace("://", "://me:pass@"))
    way = f"cannot reach https://api.example.test through the proxy {server.url.removeprefix('http://')}: "
    api = Api(base_url="https://api.example.test", api_key=ApiKey(KEY))
    with pytest.raises((errors.Temporary, errors.ConfigError)) as created:
        api.create(SCHNELL, {})
    with pytest.raises((errors.Temporary, errors.ConfigError)) as looked:
        api.get("made1")
    for failure in (created.value, looked.value):
        assert failure.message.startswith(way)
        assert told in failure.message
        assert "pass" not in failure.message


@pytest.mark.parametrize(
    ("login", "sent"),
    [
        ("me:pass%21", b"me:pass!"),
        ("me:пароль", "me:пароль".encode()),
        ("me:%D0%BF%FC", b"me:\xd0\xbf\xfc"),
        ("me", b"me:"),
    ],
)
def test_a_proxy_is_told_its_password(
    server: Server, login: str, sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In any script, as it stands or percent-encoded, in bytes that are no UTF-8 too."""
    server.on("CONNECT", "", Answer(407, b"who are you"))
    monkeypatch.setenv("HTTPS_PROXY", server.url.replace("://", f"://{login}@"))
    with pytest.raises(errors.ConfigError, match="407"):
        Api(base_url="https://api.example.test", api_key=ApiKey(KEY)).create(SCHNELL, {})
    header = server.received[0].headers["proxy-authorization"]
    assert base64.b64decode(header.removeprefix("Basic ")) == sent


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("Proxy-Authorization: Basic bWU6cGFzcw== is bad", "407 Proxy-Authorization: Basic [hidden] is bad"),
        ("bad bearer x.y-z", "407 bad bearer [hidden]"),
        ("no http://me:pass@h", "407 no http://[hidden]@h"),
        ("Basic authentication required", "407 Basic authentication required"),
        (
            "Basic Constraints of CA cert not marked critical",
            "407 Basic Constraints of CA cert not marked critical",
        ),
        ("basic dXNlcjpwYXNz", "407 basic [hidden]"),
    ],
)
def test_what_a_proxy_says_of_its_password_is_not_told(
    server: Server, said: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy may repeat what it was sent; the rest of its reason is of use."""
    server.on("CONNECT", "", Answer(raw=f"HTTP/1.1 407 {said}\r\n\r\n".encode(), then="close"))
    monkeypatch.setenv("HTTPS_PROXY", server.url.replace("://", "://me:pass@"))
    with pytest.raises(errors.ConfigError) as raised:
        Api(base_url="https://api.example.test", api_key=ApiKey(KEY)).create(SCHNELL, {})
    assert raised.value.message.endswith(told)


@pytest.mark.parametrize("status", [502, 407])
def test_an_id_is_not_read_as_what_the_proxy_said(
    server: Server, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A prediction whose id holds the digits of a refusal is still watched past a proxy's passing fault."""
    server.on("CONNECT", "", Answer(status, b"not now"))
    monkeypatch.setenv("HTTPS_PROXY", server.url)
    expected = errors.ConfigError if status == 407 else errors.Temporary
    with pytest.raises(expected, match=str(status)):
        Api(base_url="https://api.example.test", api_key=ApiKey(KEY)).get("made407")


def test_a_failed_tls_handshake_is_not_worth_repeating() -> None:
    """TLS against something that speaks none fails before the request leaves, and the next time too."""
    seen: list[bytes] = []

    def answer_plainly(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            seen.append(connection.recv(4096))
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            with contextlib.suppress(ConnectionError):
                connection.recv(4096)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer_plainly, args=(listener,))
        thread.start()
        api = Api(base_url=f"https://127.0.0.1:{listener.getsockname()[1]}", api_key=ApiKey(KEY))
        with pytest.raises(errors.Temporary) as raised:
            api.create(SCHNELL, {})
        thread.join()
    assert (raised.value.code, raised.value.hint) == ("tls", "cometrep doctor")
    assert "the port speaks no TLS" in raised.value.message
    assert not raised.value.is_worth_repeating
    assert KEY.encode() not in seen[0]


def test_a_tls_handshake_that_breaks_off_is_worth_repeating() -> None:
    """As where a load balancer is restarted: nothing was sent, and the next connection may work."""

    def hang_up(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(4096)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=hang_up, args=(listener,))
        thread.start()
        api = Api(base_url=f"https://127.0.0.1:{listener.getsockname()[1]}", api_key=ApiKey(KEY))
        with pytest.raises(errors.Temporary, match="the TLS connection broke off") as raised:
            api.create(SCHNELL, {})
        thread.join()
        api.close()
    assert raised.value.code == "network"
    assert raised.value.is_worth_repeating


def test_a_break_behind_the_body_is_in_doubt_whatever_became_of_the_certificates(
    certificate: Certificate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They may be replaced at that moment: a create that left is not one that a setting has stopped."""
    bundle = tmp_path / "bundle.pem"
    bundle.write_bytes(certificate().read_bytes())
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(bundle)

    def break_off(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection, context.wrap_socket(connection.dup(), server_side=True) as secure:
            came = b""
            while not came.endswith(b"}"):
                came += secure.recv(4096)
            bundle.write_bytes(b"")
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=break_off, args=(listener,))
        thread.start()
        api = Api(base_url=f"https://127.0.0.1:{listener.getsockname()[1]}", api_key=ApiKey(KEY))
        with pytest.raises(errors.CreateUnknown):
            api.create(SCHNELL, {})
        thread.join()
        api.close()


def test_a_read_timeout_leaves_a_create_in_doubt(api: Api, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """No answer within the read timeout means unknown, not failed."""
    monkeypatch.setattr("cometrep.api.READ_TIMEOUT_SECONDS", 0.05)
    server.on_create(HANG)
    with pytest.raises(errors.CreateUnknown, match="no answer in time"):
        api.create(SCHNELL, {})
    wait_until(lambda: server.creates > 0)  # it may read it after that time
    assert server.creates == 1


@given(st.binary(max_size=200_000))
def test_a_body_leaves_in_pieces(content: bytes) -> None:
    """Each has its own limit, so that a large picture takes as long as the line needs."""
    body = _Body(content, lambda: None)
    pieces = list(body)
    assert b"".join(pieces) == content
    assert all(len(piece) <= 65536 for piece in pieces)
    assert body.has_left


def test_the_answer_to_a_create_is_asked_for_as_it_is(api: Api, server: Server) -> None:
    """Of one that is compressed, and breaks off, the id may be lost."""
    server.on_create(answer_json(CREATED))
    api.create(SCHNELL, {})
    assert server.received[0].headers["accept-encoding"] == "identity"


def test_a_body_that_did_not_leave_whole_is_called_that(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that stands still ends it, and no server was slow to answer."""
    monkeypatch.setattr("cometrep.api.CONNECT_TIMEOUT_SECONDS", 0.2)
    came = 0

    def read_slowly(listener: socket.socket) -> None:
        nonlocal came
        connection, _ = listener.accept()
        with connection:
            while came < 2_000_000:
                came += len(connection.recv(65536))
            done.wait(30)

    done = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=read_slowly, args=(listener,))
        thread.start()
        api = Api(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}", api_key=ApiKey(KEY))
        with pytest.raises(errors.CreateUnknown, match="the create did not leave whole: no answer in time"):
            api.create(SCHNELL, {"image": "x" * 20_000_000})
        done.set()
        thread.join()
        api.close()


@pytest.mark.parametrize("is_chunked", [True, False], ids=["chunked", "whole"])
def test_an_answer_without_end_is_let_go(
    api: Api, server: Server, monkeypatch: pytest.MonkeyPatch, is_chunked: bool
) -> None:
    """Beyond its size no more is read: a create is in doubt, with its id, and a look may pass."""
    long = answer_json(prediction("made1", "starting", logs="." * 100_000), is_chunked=is_chunked)
    server.on_create(long)
    server.on_get(long)
    assert api.get("made1").logs == "." * 100_000
    monkeypatch.setattr("cometrep.api.ANSWER_LIMIT_BYTES", 1000)
    with pytest.raises(errors.CreateUnknown, match="broke off") as raised:
        api.create(SCHNELL, {})
    assert raised.value.prediction_id == "made1"
    with pytest.raises(errors.Temporary, match="did not come to an end") as passing:
        api.get("made1")
    assert passing.value.is_worth_repeating


PLACE = "/replicate/v1/predictions/made1"


@pytest.mark.parametrize(
    ("body", "id"),
    [
        ({"task_id": "task_made1"}, "task_made1"),
        ({"task_id": "made1", "status": "queued"}, "made1"),
        ({"code": "success", "message": "", "data": "made1"}, "made1"),
        ({"code": "failed", "message": "no", "data": "made1"}, None),
        ({"code": "success", "data": "made 1"}, None),
        ({"task_id": "made1", "error": {"message": "boom"}}, "made1"),
        ({"task_id": 7}, None),
        (["made1"], None),
        ([CREATED], "made1"),
        ([CREATED, CREATED], None),
        ({"status": "starting", "urls": {"get": f"https://api.replicate.com{PLACE}"}}, "made1"),
        ({"status": "starting", "urls": {"get": "https://api.replicate.com/v1/predictions"}}, None),
        ({"status": "starting", "urls": {"get": None}}, None),
        ({"success": True, "result": {"id": "made1", "status": "starting"}}, "made1"),
        ({"success": False, "result": {"id": "made1"}}, None),
    ],
    ids=str,
)
def test_an_id_in_an_unknown_place_is_named(api: Api, server: Server, body: object, id: str | None) -> None:
    """A gateway may put it where no public source has it: the create is in doubt, and can be looked for."""
    server.on_create(answer_json(body))
    with pytest.raises(errors.CreateUnknown) as raised:
        api.create(SCHNELL, {})
    assert raised.value.prediction_id == id
    assert (f"its id may be {id}" in raised.value.message) is (id is not None)


@pytest.mark.parametrize(
    ("answer", "id"),
    [
        (Answer(201, headers={"Location": PLACE}), "made1"),
        (Answer(202, headers={"Location": f"https://x.test{PLACE}/?a=b"}), "made1"),
        (answer_json({"ok": True}, headers={"Location": PLACE}), "made1"),
        (answer_json({"task_id": "made2"}, headers={"Location": PLACE}), "made2"),
        (answer_json({"error": "later"}, headers={"Location": PLACE}), "made1"),
        (Answer(201, headers={"Location": "/replicate/v1/models/a/b/predictions"}), None),
        (Answer(201, headers={"Location": f"/login?next={PLACE}"}), None),
        (answer_html(201, headers={"Location": PLACE}), "made1"),
        (Answer(303, headers={"Location": PLACE}), "made1"),
        (answer_html(303, headers={"Location": PLACE}), "made1"),
        (answer_json(CREATED, 303, headers={"Location": "/elsewhere"}), "made1"),
        (answer_json(CREATED, 300), "made1"),
    ],
    ids=[
        *("201", "202 with a query", "other JSON", "the body first", "an error", "no id", "an id of a query"),
        *("201 HTML", "303", "303 HTML", "303 with a prediction", "300 with a prediction"),
    ],
)
def test_an_id_in_the_address_of_an_answer_is_named(
    api: Api, server: Server, answer: Answer, id: str | None
) -> None:
    """What says that a prediction is to be seen elsewhere has as a rule created one, and it is paid for."""
    server.on_create(answer)
    with pytest.raises(errors.CreateUnknown) as raised:
        api.create(SCHNELL, {})
    assert raised.value.prediction_id == id
    assert (f"its id may be {id}" in raised.value.message) is (id is not None)
    assert len(server.received) == 1


@pytest.mark.parametrize(
    ("status", "hint"),
    [
        *((status, f"cometrep models {SCHNELL}") for status in (400, 422)),
        *((status, "cometrep models") for status in (404, 405)),
        *((status, "cometrep doctor") for status in (304, 407, 409, 415, 421, 426, 431, 451)),
    ],
)
def test_a_refusal_hints_at_the_inputs_only_where_they_may_be_wrong(
    api: Api, server: Server, status: int, hint: str
) -> None:
    """All other refusals of a create say something of the way to the API."""
    server.on_create(Answer(status, length="" if status == 304 else None))
    with pytest.raises(errors.Refused) as raised:
        api.create(SCHNELL, {})
    assert raised.value.hint == hint


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"error": {"message": "refused", "code": "bad_response"}}, "refused [bad_response]"),
        ({"error": "refused"}, "refused"),
        ({"code": "fail", "message": "refused"}, "refused [fail]"),
        ({"code": 500, "message": "refused", "data": None}, "refused"),
        ({"success": False, "message": "refused"}, "refused"),
        ({"title": "Bad", "detail": "refused", "status": 422}, "Bad: refused"),
        ({"title": "Bad", "status": 400}, "Bad"),
        ({"detail": "refused"}, "refused"),
        ({"status": "error", "error": "refused"}, "refused"),
    ],
    ids=str,
)
def test_an_error_beside_an_id_is_no_prediction(
    api: Api, server: Server, body: dict[str, object], told: str
) -> None:
    """The id is as a rule the request's: what the API says is told, and where to look, and nothing is polled."""
    server.on_create(answer_json({"id": "req-123", **body}))
    with pytest.raises(errors.CreateUnknown) as raised:
        api.create(SCHNELL, {})
    assert raised.value.message.startswith(f"the answer to the create (HTTP 200) is an error: {told}; ")
    assert "its id may be req-123" in raised.value.message
    assert raised.value.hint == "cometrep wait req-123"


@pytest.mark.parametrize(
    "body",
    [
        {"id": "made1", "error": None},
        {"id": "made1", "status": 201},
        {"id": "made1", "status": "failed", "error": "flagged (E005)"},
        {"id": "made1", "status": "canceled", "error": {"message": "x"}, "detail": "x"},
        {"code": "success", "data": {"task_id": "made1"}},
        {"code": 200, "message": "ok", "data": {"task_id": "made1"}},
        {"code": "0", "data": {"task_id": "made1"}},
        {"code": "fail", "message": "x", "data": {"task_id": "made1", "status": "FAILURE", "fail_reason": "x"}},
        {"success": True, "id": "made1"},
    ],
    ids=str,
)
def test_a_prediction_may_have_an_error_of_its_own(api: Api, server: Server, body: object) -> None:
    """It has a status then, and is paid for; what a wrapper says of its success is no error."""
    server.on_create(answer_json(body))
    assert api.create(SCHNELL, {}).id == "made1"


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "x-gzip", "br", "zstd", "gzip, deflate", "identity", "?"])
def test_a_label_that_means_nothing_takes_no_answer_away(api: Api, server: Server, encoding: str) -> None:
    """A server on the way may call plain JSON compressed: the id in it is that of a paid prediction."""
    labelled = {"Content-Encoding": encoding}
    server.on_create(answer_json(CREATED, 201, headers=labelled))
    server.on_get(answer_json(prediction(), headers=labelled))
    assert api.create(SCHNELL, {}).id == "made1"
    assert api.get("abc123").status == "succeeded"


@pytest.mark.parametrize(
    ("coding", "pack"), [("binary", bytes), ("compress", bytes), ("gzip", bytes), ("gzip", gzip.compress)]
)
def test_an_answer_in_a_transfer_coding_is_read(
    api: Api, server: Server, coding: str, pack: Callable[[bytes], bytes]
) -> None:
    """Whatever the word means there: the id in it is that of a paid prediction."""
    body = pack(json.dumps(CREATED).encode())
    server.on_create(Answer(201, body, {"Transfer-Encoding": coding}))
    assert api.create(SCHNELL, {}).id == "made1"


def test_a_compressed_answer_that_is_labelled_twice_is_read(api: Api, server: Server) -> None:
    """A server on the way may add the word for no encoding."""
    body = gzip.compress(json.dumps(CREATED).encode())
    server.on_create(Answer(201, body, {"Content-Encoding": "gzip, identity"}))
    assert api.create(SCHNELL, {}).id == "made1"


def test_a_compressed_answer_is_read(api: Api, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole, and where it holds too much within the limit; an id is found in the beginning of a cut one, too."""
    body = gzip.compress(json.dumps(prediction("made1", "starting", logs="." * 100_000)).encode())
    zipped = Answer(200, body, {"Content-Encoding": "gzip"})
    server.on_create(zipped, replace(zipped, cut=len(body) - 20, then="close"))
    server.on_get(zipped)
    assert api.create(SCHNELL, {}).id == "made1"
    with pytest.raises(errors.CreateUnknown, match="broke off") as raised:
        api.create(SCHNELL, {})
    assert raised.value.prediction_id == "made1"
    assert api.get("made1").logs == "." * 100_000
    monkeypatch.setattr("cometrep.api.ANSWER_LIMIT_BYTES", 1000)
    with pytest.raises(errors.Temporary, match="did not come to an end"):
        api.get("made1")


@pytest.mark.parametrize(
    ("body", "id"),
    [
        ({"code": "timeout", "data": {"task_id": "made1"}}, "made1"),
        (prediction("made1", "starting"), "made1"),
        ({"id": "req1", "error": {"message": "boom"}}, None),
    ],
    ids=["task", "prediction", "error"],
)
def test_a_gateway_that_gives_up_may_tell_the_id(api: Api, server: Server, body: object, id: str | None) -> None:
    """The create stays in doubt, and what may be its id is kept and can be looked at."""
    server.on_create(answer_json(body, 504))
    with pytest.raises(errors.CreateUnknown) as raised:
        api.create(SCHNELL, {})
    assert raised.value.prediction_id == id
    assert raised.value.hint == ("cometrep wait made1" if id else "cometrep list --unknown")


MADE = b'{"id": "made1", "status": "starting"'


def test_an_answer_that_drips_on_a_connection_of_another_kind_is_let_go_too(
    api: Api, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As through a SOCKS proxy, where nothing watches over each byte: it ends between two pieces of the body."""
    server.on_get(answer_json(prediction("made1", "processing")))
    assert api.get("made1").status == "processing"
    monkeypatch.setattr("cometrep.api.READ_TIMEOUT_SECONDS", 30.0)
    monkeypatch.setattr("cometrep.api.ANSWER_TIMEOUT_SECONDS", -30.0)
    with pytest.raises(errors.Temporary, match="did not come to an end"):
        api.get("made1")


@pytest.mark.parametrize(
    ("come", "id"),
    [
        (b"HT", None),
        (b"HTTP/1.1 102 Processing\r\n\r\n", None),
        (b"HTTP/1.1 200 OK\r\nContent-Le", None),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n" + MADE, "made1"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n24\r\n" + MADE + b"\r\n1;x", "made1"),
    ],
    ids=["status line", "interim answers", "headers", "body", "chunks"],
)
def test_an_answer_that_drips_is_let_go(
    api: Api, server: Server, monkeypatch: pytest.MonkeyPatch, come: bytes, id: str | None
) -> None:
    """Its time counts wherever it drips, and what came of an id is kept; a look may pass."""
    monkeypatch.setattr("cometrep.api.ANSWER_TIMEOUT_SECONDS", 0.0)
    server.on_create(Answer(raw=come, then="hang"))
    server.on_get(Answer(raw=come, then="hang"))
    with pytest.raises(errors.CreateUnknown) as raised:
        api.create(SCHNELL, {})
    assert raised.value.prediction_id == id
    with pytest.raises(errors.Temporary, match="no answer in time"):
        api.get("made1")


@pytest.mark.parametrize("trailers", [b"", b"X-Sum: 1", b"X-Sum: 1\r\n" * 5000], ids=["none", "begun", "many"])
def test_an_answer_is_whole_where_its_body_is(
    api: Api, server: Server, monkeypatch: pytest.MonkeyPatch, trailers: bytes
) -> None:
    """Trailers are not waited for, and a connection that still owes them carries no other request."""
    monkeypatch.setattr("cometrep.transport.connections.TRAILER_TIMEOUT_SECONDS", 0.01)
    whole = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n25\r\n" + MADE + b"}\r\n0\r\n" + trailers
    server.on_create(Answer(raw=whole, then="hang"))
    server.on_get(answer_json(prediction("made1")))
    assert api.create(SCHNELL, {}).id == "made1"
    assert api.get("made1").status == "succeeded"


GET_FAILURES: list[tuple[str, Answer, type[errors.CometrepError], str]] = [
    ("reset", RESET, errors.Temporary, "network"),
    ("cut", answer_json(prediction(), cut=20, then="close"), errors.Temporary, "network"),
    ("408", answer_json({}, 408), errors.Temporary, "server_error"),
    ("425", answer_json({}, 425), errors.Temporary, "server_error"),
    ("429", answer_json({"detail": "x"}, 429), errors.Temporary, "rate_limited"),
    ("429 quota", answer_json(comet("insufficient_quota"), 429), errors.Temporary, "rate_limited"),
    ("499", Answer(499), errors.Temporary, "server_error"),
    ("499 HTML", answer_html(499), errors.Temporary, "server_error"),
    ("500", answer_json(comet(""), 500), errors.Temporary, "server_error"),
    ("502 HTML", answer_html(502), errors.Temporary, "server_error"),
    ("503", answer_json(comet(""), 503), errors.Temporary, "server_error"),
    ("504", Answer(504, b"gateway timeout"), errors.Temporary, "server_error"),
    ("524 HTML", answer_html(524), errors.Temporary, "server_error"),
    ("200 HTML", answer_html(200), errors.Temporary, "not_an_api"),
    ("404 HTML", answer_html(404), errors.Temporary, "not_an_api"),
    ("200 nothing", Answer(200), errors.Temporary, "bad_answer"),
    ("200 text", Answer(200, b"pending"), errors.Temporary, "bad_answer"),
    ("200 list", answer_json([1]), errors.Temporary, "bad_answer"),
    ("200 error", answer_json(comet("")), errors.Temporary, "bad_answer"),
    ("301", Answer(301, headers={"Location": "/"}), errors.Refused, "redirected"),
    ("400", answer_json(comet(""), 400), errors.Refused, "bad_request"),
    ("404", answer_json({"detail": "Not found"}, 404), errors.Refused, "prediction_not_found"),
    (
        "400 not exist",
        answer_json({"code": "x", "message": "task not exist"}, 400),
        errors.Refused,
        "prediction_not_found",
    ),
    ("500 not exist", answer_json(comet("", "task_not_exist"), 500), errors.Refused, "prediction_not_found"),
    ("500 no host", answer_json(comet("", "lookup: host not found"), 500), errors.Temporary, "server_error"),
    ("200 no host", answer_json(comet("", "lookup: host not found")), errors.Temporary, "bad_answer"),
    ("500 invalid_request", answer_json(comet("invalid_request"), 500), errors.Refused, "bad_request"),
    ("503 model_not_found", answer_json(comet("model_not_found"), 503), errors.Refused, "model_not_found"),
    ("524 invalid_request", answer_json(comet("invalid_request"), 524), errors.Temporary, "server_error"),
    (
        "200 not exist",
        answer_json({"code": "task_not_exist", "message": "task_not_exist", "data": None}),
        errors.Refused,
        "prediction_not_found",
    ),
    ("401", answer_json(comet(""), 401), errors.ConfigError, "api_key_refused"),
    ("403", answer_json(comet(""), 403), errors.ConfigError, "api_key_refused"),
]


@pytest.mark.parametrize(
    ("script", "error", "code"), [row[1:] for row in GET_FAILURES], ids=[row[0] for row in GET_FAILURES]
)
def test_each_failure_of_a_look_is_told_apart(
    api: Api, server: Server, script: Answer, error: type[errors.CometrepError], code: str
) -> None:
    """Every way a look can go wrong raises its own error and names the prediction."""
    server.on_get(script)
    with pytest.raises(error) as raised:
        api.get("abc123")
    assert (type(raised.value), raised.value.code, raised.value.prediction_id) == (error, code, "abc123")


@pytest.mark.parametrize(
    ("script", "told"),
    [
        (answer_html(403, title="Just a moment..."), "Just a moment..."),
        (Answer(403, b"error code: 1010\n", {"Content-Type": "text/plain"}), "error code: 1010"),
        (
            answer_json({"title": "Error 1020: Access denied", "status": 403, "cloudflare_error": True}, 403),
            "Error 1020: Access denied",
        ),
    ],
    ids=["page", "text", "JSON"],
)
def test_a_block_on_the_way_is_not_the_key_s_fault(api: Api, server: Server, script: Answer, told: str) -> None:
    """Cloudflare, before the API, says so in three forms: another key would meet it too."""
    server.on_create(script)
    server.on_get(script)
    with pytest.raises(errors.ConfigError) as created:
        api.create(SCHNELL, {})
    with pytest.raises(errors.ConfigError) as looked:
        api.get("abc123")
    for failure in (created.value, looked.value):
        assert failure.message.startswith("blocked on the way (HTTP 403")
        assert told in failure.message
        assert failure.hint == "cometrep doctor"


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "Invalid URL (GET /api/replicate/v1/x)", "type": "invalid_request_error"}},
        {"statusCode": 404, "error": "Not Found", "message": "Cannot POST /api/replicate/v1/x"},
    ],
    ids=["gateway", "framework"],
)
def test_a_path_that_a_server_does_not_have_is_a_wrong_address(api: Api, server: Server, body: object) -> None:
    """It is neither the prediction nor the model that is not there: the error names the base URL."""
    server.on_create(answer_json(body, 404))
    server.on_get(answer_json(body, 404))
    with pytest.raises(errors.Refused) as created:
        api.create(SCHNELL, {})
    with pytest.raises(errors.Refused) as looked:
        api.get("abc123")
    for failure in (created.value, looked.value):
        assert failure.message.startswith(f"the base URL {server.url} is wrong (HTTP 404")
        assert (failure.code, failure.hint) == ("not_an_api", "cometrep doctor")


@pytest.mark.parametrize(
    ("id", "hint"),
    [
        ("last", "for one made from this machine write @last"),
        ("2", "for one made from this machine write @2"),
        ("12345678", "cometrep list"),
        ("abc123", "cometrep list"),
    ],
)
def test_a_reference_that_lost_its_sign_is_told_with_it(api: Api, server: Server, id: str, hint: str) -> None:
    """It may be an id, so the API is asked first."""
    server.on_get(answer_json({"detail": "Not found"}, 404))
    with pytest.raises(errors.Refused, match=f"no prediction {id} ") as raised:
        api.get(id)
    assert raised.value.hint == hint


def test_a_redirect_is_not_followed_and_the_key_stays(api: Api, server: Server) -> None:
    """A redirect to another place is an error, and nobody else sees the key."""
    with Server() as other:
        server.on_get(Answer(302, headers={"Location": f"{other.url}/steal"}))
        with pytest.raises(errors.Refused, match="redirected"):
            api.get("abc123")
        assert other.received == []


@pytest.mark.parametrize(
    ("headers", "message", "expected"),
    [
        ({"x-cometapi-request-id": "head-1"}, "x", "head-1"),
        ({"X-Oneapi-Request-Id": "head-2"}, "x", "head-2"),
        ({}, "broken (request id: text-3)", "text-3"),
    ],
    ids=["cometapi header", "gateway header", "message"],
)
def test_the_request_id_is_shown(
    api: Api, server: Server, headers: dict[str, str], message: str, expected: str
) -> None:
    """The request id is taken from either header or from the message, and stands in the error once."""
    server.on_get(answer_json({"error": {"message": message, "code": "x"}}, 400, headers=headers))
    with pytest.raises(errors.Refused) as raised:
        api.get("abc123")
    assert raised.value.request_id == expected
    assert raised.value.message.count(expected) == 1
    assert raised.value.http_status == 400


@pytest.mark.parametrize("cut", [None, 5], ids=["whole", "cut"])
def test_a_create_in_doubt_shows_the_request_id(cut: int | None, api: Api, server: Server) -> None:
    """It is what the usage log is looked through for."""
    then = "keep" if cut is None else "close"
    server.on_create(answer_json({"status": "starting"}, headers={"x-request-id": "rid-1"}, cut=cut, then=then))
    with pytest.raises(errors.CreateUnknown, match=r" \(request id: rid-1\); the prediction may exist") as raised:
        api.create(SCHNELL, {})
    assert raised.value.request_id == "rid-1"


def test_an_answer_without_a_request_id_has_none(api: Api, server: Server) -> None:
    """It is null in JSON then, as in every other error."""
    server.on_get(answer_json({"detail": "x"}, 400))
    server.on_create(answer_json({"ok": True}))
    with pytest.raises(errors.Refused) as refused:
        api.get("abc123")
    with pytest.raises(errors.CreateUnknown) as unknown:
        api.create(SCHNELL, {})
    assert refused.value.request_id is unknown.value.request_id is None


def test_a_redirect_shows_where_it_leads_and_its_request_id(api: Api, server: Server) -> None:
    """Who runs the server on the way can find the request by it."""
    server.on_get(Answer(302, b"", {"Location": "https://else.test/x", "X-Oneapi-Request-Id": "rid-1"}))
    with pytest.raises(errors.Refused, match=r"redirected to https://else\.test/x;.* \(request id: rid-1\)$"):
        api.get("abc123")
    server.on_get(Answer(302), Answer(304, length=""))
    with pytest.raises(errors.Refused, match="a redirect that names no address"):
        api.get("abc123")
    with pytest.raises(errors.Refused, match=r"HTTP 304 .*: not modified, as only a cache on the way says$"):
        api.get("abc123")


def test_the_key_is_hidden_where_the_server_echoes_it(api: Api, server: Server) -> None:
    """A server that echoes the key in an error, a log or a redirect cannot make cometrep show it."""
    server.on_get(
        answer_json({"detail": f"bad token {KEY}"}, 401),
        answer_json(prediction(logs=f"key {KEY}", error=KEY)),
        Answer(301, headers={"Location": f"https://x/?k={KEY}"}),
    )
    with pytest.raises(errors.ConfigError) as refused:
        api.get("abc123")
    seen = api.get("abc123")
    with pytest.raises(errors.Refused) as redirected:
        api.get("abc123")
    assert KEY not in refused.value.message + repr(seen) + seen.logs + str(seen.raw) + redirected.value.message


def test_netrc_does_not_replace_the_key(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A netrc entry for the API's host leaves the Authorization header alone."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password other\ndefault login me password other\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    server.on_get(answer_json(prediction()))
    api = Api(base_url=server.url, api_key=ApiKey(KEY))
    api.get("abc123")
    api.close()
    assert server.received[0].headers["authorization"] == f"Bearer {KEY}"


def test_cookies_are_not_kept(api: Api, server: Server) -> None:
    """A cookie that the server sets does not come back to it."""
    server.on_get(answer_json(prediction(), headers={"Set-Cookie": "a=b; Path=/"}))
    api.get("abc123")
    api.get("abc123")
    assert "cookie" not in server.received[1].headers


@pytest.mark.parametrize("is_chunked", [True, False], ids=["chunked", "whole"])
def test_the_connection_is_reused(api: Api, server: Server, is_chunked: bool) -> None:
    """Looks go over the connection that the create opened."""
    server.on_create(answer_json(CREATED, is_chunked=is_chunked))
    server.on_get(answer_json(prediction(), is_chunked=is_chunked))
    accepted: list[int] = []
    original = server._serve

    def counting(connection: socket.socket) -> None:
        accepted.append(connection.fileno())
        original(connection)

    server._serve = counting  # type: ignore[method-assign]
    api.create(SCHNELL, {})
    api.get("made1")
    api.get("made1")
    assert len(accepted) == 1


def test_no_key_is_an_error_before_anything_is_sent(server: Server) -> None:
    """Without an API key nothing is sent, and the error says where keys come from."""
    with pytest.raises(errors.ConfigError, match="no API key") as raised:
        Api(base_url=server.url, api_key=None).create(SCHNELL, {})
    assert "cometrep login" in raised.value.hint
    assert server.received == []


def test_a_described_create_shows_all_but_the_key(api: Api, server: Server) -> None:
    """The request is shown with the key hidden and data URIs shortened, and nothing is sent."""
    shown = api.describe_create(SCHNELL, {"prompt": "cat", "image": "data:image/png;base64,aGVsbG8="})
    assert shown["method"] == "POST"
    assert shown["url"] == f"{server.url}/replicate/v1/models/{SCHNELL}/predictions"
    assert shown["headers"]["Authorization"] == "Bearer …6789"
    assert shown["body"]["input"]["image"].startswith("data:image/png;sha256=2cf24dba")
    assert server.received == []
    server.on_create(answer_json(prediction(), 201))
    api.create(SCHNELL, {})
    sent = server.received[0].headers
    assert {name: sent[name.lower()][:7] for name in shown["headers"]} == {
        name: text[:7] for name, text in shown["headers"].items()
    }


@pytest.mark.parametrize(
    ("headers", "body", "expected"),
    [
        ({"Retry-After": "9"}, {"detail": "x"}, 9.0),
        ({"Retry-After": "Fri, 15 Jan 2027 08:00:30 GMT"}, {"detail": "x"}, 30.0),
        ({}, {"detail": "x", "retry_after": 7}, 7.0),
        ({}, {"detail": "Request was throttled. resets in ~30s"}, 30.0),
        ({}, {"detail": "x"}, None),
    ],
    ids=["seconds", "date", "body", "text", "none"],
)
def test_the_pause_a_server_asks_for_is_kept(
    api: Api, server: Server, headers: dict[str, str], body: dict[str, object], expected: float | None
) -> None:
    """A 429 carries the pause it asks for, in whichever form it came."""
    server.on_create(answer_json(body, 429, headers=headers))
    with pytest.raises(errors.Temporary) as raised:
        api.create(SCHNELL, {})
    assert raised.value.retry_after_seconds == expected


@needs("openssl")
def test_an_untrusted_certificate_is_refused_before_the_key_leaves(tmp_path: Path) -> None:
    """A server whose certificate nobody vouches for sees neither request nor key."""
    certificate = _self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    seen: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_serve_tls, args=(listener, context, seen.append))
        thread.start()
        api = Api(base_url=f"https://127.0.0.1:{listener.getsockname()[1]}", api_key=ApiKey(KEY))
        with pytest.raises(errors.Temporary) as raised:
            api.create(SCHNELL, {})
        thread.join()
    assert raised.value.code == "tls"
    assert "REQUESTS_CA_BUNDLE" in raised.value.hint
    assert seen == []


def test_a_certificate_that_no_bundle_mends_is_for_the_doctor(
    certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its issuer is trusted, and it is another host's: more certificates to trust would change nothing."""
    path = certificate(name="DNS:other.test")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(path))
    with TlsServer(path) as server, pytest.raises(errors.Temporary, match=r"mismatch.*[^.]$") as raised:
        Api(base_url=server.url, api_key=ApiKey(KEY)).create(SCHNELL, {})
    assert (raised.value.code, raised.value.hint) == ("tls", "cometrep doctor")
    assert server.received == []


def _serve_tls(listener: socket.socket, context: ssl.SSLContext, take: Callable[[bytes], None]) -> None:
    connection, _ = listener.accept()
    try:
        with context.wrap_socket(connection, server_side=True) as secure:
            take(secure.recv(1000))
    except OSError:
        connection.close()


def _self_signed(folder: Path) -> Path:
    import subprocess

    path = folder / "server.pem"
    subprocess.run(
        f"openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 -keyout {path} -out {path}.crt"
        f" && cat {path}.crt >> {path}",
        shell=True,
        check=True,
        capture_output=True,
    )
    return path


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"errors": [{"message": "too long"}]}, "too long"),
        ({"msg": "not so"}, "not so"),
        ({"error": {"msg": "e"}}, '"msg": "e"'),
        ({"error": ["l1"]}, "l1"),
        ({"success": False, "reason": "why"}, "why"),
        ([{"msg": "x"}], "x"),
        ("plain", "plain"),
    ],
    ids=str,
)
def test_an_error_of_no_known_form_is_shown_as_it_came(api: Api, server: Server, body: object, told: str) -> None:
    """The reason is in the body, wherever it stands there."""
    server.on_create(answer_json(body, 400))
    with pytest.raises(errors.Refused) as raised:
        api.create(SCHNELL, {})
    assert told in raised.value.message


def test_a_create_that_is_answered_without_a_usable_id_shows_the_answer(api: Api, server: Server) -> None:
    """What came may tell the user more than it tells us."""
    server.on_create(answer_json({"id": 12345}))
    with pytest.raises(errors.CreateUnknown, match="12345"):
        api.create(SCHNELL, {})


@pytest.mark.parametrize(
    ("body", "id"),
    [
        ('{"id":"made1","mod', "made1"),
        ('{"model": "a/b", "version": null, "n": 1.5e3, "id" : "made1", "inp', "made1"),
        ('{"code":"success","message":"","data":{"task_id":"made1","da', "made1"),
        ('{"input":{"id":"fake","prompt":"x"},"mod', None),
        ('{"input": {"seed": 1, "id": "fake", "prompt": "x', None),
        ('{"input":{"prompt":"\\"id\\":\\"fake\\""},"mod', None),
        ('{"prompt":"a","input":["id":"fake"', None),
        ('{"data":{"data":{"id":"fake"', None),
    ],
    ids=str,
)
def test_only_the_answers_own_id_is_offered(api: Api, server: Server, body: str, id: str | None) -> None:
    """An id inside the echoed input is somebody else's."""
    server.on_create(Answer(200, body.encode(), length="4000", then="close"))
    with pytest.raises(errors.CreateUnknown) as raised:
        api.create(SCHNELL, {})
    assert raised.value.prediction_id == id
