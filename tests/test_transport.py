"""What API, downloads and doctor share of HTTP, asked of real sockets."""

import os
from pathlib import Path

import pytest
import requests
from hypothesis import example, given
from hypothesis import strategies as st

from cometrep import errors
from cometrep.calls import within
from cometrep.transport import NoAuth, Session
from tests.conftest import TIMEOUT_SECONDS, Certificate, on_posix
from tests.servers import Answer, Server, TlsServer

HOSTS = st.sampled_from(
    ("127.0.0.1:8787", "api.cometapi.com", "API.cometapi.com:443", "[::1]:80", "xn--bcher-kva.example")
)
PATHS = st.text("abcXYZ019/_-.%~ é?#&=+", max_size=20)


@given(st.sampled_from(("http://", "https://", "HTTPS://")), HOSTS, PATHS)
@example("https://", "api.cometapi.com", "replicate/v1/predictions/abc")
@example("https://", "api.cometapi.com", "a/../b")
@example("https://", "api.cometapi.com", "")
def test_a_get_after_another_goes_where_requests_would_send_it(scheme: str, host: str, path: str) -> None:
    """The pattern of the last request saves work and changes no URL and no header."""
    request = requests.Request("GET", f"{scheme}{host}/{path}", headers={"Accept": "*/*"})
    with Session(NoAuth()) as session:
        session.prepare_request(requests.Request("GET", "https://first.example/x", headers={"Accept": "*/*"}))
        prepared = session.prepare_request(request)
        expected = requests.Session.prepare_request(session, request)
    assert prepared.url == expected.url
    assert prepared.headers == expected.headers


@given(st.lists(st.tuples(st.sampled_from(("GET", "POST")), st.binary(max_size=20)), max_size=5))
@example([("POST", b"the first"), ("POST", b"")])
@example([("POST", b"the first"), ("GET", b""), ("POST", b"another")])
def test_each_request_leaves_with_its_own_body(asked: list[tuple[str, bytes]]) -> None:
    """However requests follow each other, each has the body and the length that requests would give it."""
    with Session(NoAuth()) as session:
        requested = [requests.Request(method, "https://api.cometapi.com/x", data=body) for method, body in asked]
        prepared = [session.prepare_request(request) for request in requested]  # some leave side by side
        for request, own, (_, body) in zip(requested, prepared, asked, strict=True):
            expected = requests.Session.prepare_request(session, request)
            assert (own.body or b"") == (expected.body or b"") == body
            assert (own.method, own.headers) == (expected.method, expected.headers)


def test_proxies_that_are_named_are_those_of_one_request() -> None:
    """What the environment says for a server is kept, and not what one request said."""
    with Session(NoAuth()) as session:
        session.trust_env = False

        def proxies(**named: str) -> object:
            asked = session.merge_environment_settings("https://x.example/a", named, None, None, None)
            return asked["proxies"]

        assert [proxies(), proxies(https="http://p:1"), proxies()] == [{}, {"all": "http://p:1"}, {}]


def test_a_plain_connection_needs_no_certificates(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A setting that is wrong for others does not keep this machine's own server from being asked."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere.pem")
    server.on("GET", "/x", Answer())
    with Session(NoAuth()) as session:
        assert session.get(f"{server.url}/x", timeout=TIMEOUT_SECONDS).status_code == 200


@on_posix
def test_a_bundle_that_is_a_pipe_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `<(cat a.pem b.pem)` gives one: it could be read for one connection alone."""
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "pipe"))
    with Session(NoAuth()) as session, pytest.raises(errors.ConfigError) as raised:
        within(TIMEOUT_SECONDS, lambda: session.get("https://127.0.0.1:1", timeout=TIMEOUT_SECONDS))
    told = f"no certificates can be read from {tmp_path}/pipe: it is no regular file, and each connection"
    assert raised.value.message.startswith(told)


@pytest.mark.parametrize("content", [b"", b"garbage\n", b"-----BEGIN CERTIFICATE-----\nAAAA\n"])
@pytest.mark.parametrize("is_tunneled", [False, True], ids=["direct", "by way of a proxy"])
def test_a_bundle_without_certificates_is_named(
    server: Server, content: bytes, is_tunneled: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the setting that is wrong, not TLS that fails, and nothing is sent."""
    bundle = tmp_path / "ca.pem"
    bundle.write_bytes(content)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))
    url = server.url.replace("http:", "https:")
    if is_tunneled:
        server.on("CONNECT", "", Answer(200, length=""))
        monkeypatch.setenv("HTTPS_PROXY", server.url)
        url = "https://api.example.test"
    with Session(NoAuth()) as session, pytest.raises(errors.ConfigError) as raised:
        session.get(url, timeout=TIMEOUT_SECONDS)
    assert raised.value.message.startswith(f"no certificates can be read from {bundle}: ")
    assert raised.value.code == "bad_setting"
    assert {request.method for request in server.received} <= {"CONNECT"}


def test_a_log_of_tls_secrets_that_cannot_be_opened_is_named(
    certificate: Certificate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends every handshake as it begins, which is no trouble of the network, and nothing is sent."""
    path = certificate()
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(path))
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "none" / "keys"))
    with TlsServer(path) as server, Session(NoAuth()) as session:
        with pytest.raises(errors.ConfigError, match=f"cannot be written to {tmp_path}/none/keys") as raised:
            session.get(server.url, timeout=TIMEOUT_SECONDS)
        assert (raised.value.hint, server.received) == ("unset SSLKEYLOGFILE", [])
