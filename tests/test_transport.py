"""What API, downloads and doctor share of HTTP, and why no answer came, asked of real sockets."""

import contextlib
import re
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import requests
import urllib3
from hypothesis import example, given
from hypothesis import strategies as st

from cometrep import errors
from cometrep.transport import PROBE_LIMIT_BYTES, NoAuth, Session, ask, has_netrc_entry, reason_of
from tests.servers import HANG, RESET, Answer, Server

HOSTS = st.sampled_from(
    ("127.0.0.1:8787", "api.cometapi.com", "API.cometapi.com:443", "[::1]:80", "xn--bcher-kva.example")
)
PATIENCE_SECONDS = 30  # for what fails at once; only a failing test waits that long
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


@pytest.mark.parametrize(
    "size", [5, PROBE_LIMIT_BYTES, 5 * PROBE_LIMIT_BYTES], ids=["short", "at the limit", "long"]
)
@pytest.mark.parametrize("is_chunked", [True, False], ids=["chunks", "length"])
def test_a_probe_reads_a_megabyte_at_most(server: Server, size: int, is_chunked: bool) -> None:
    """An answer up to the limit is whole, and of a longer one no more is read than shows what it is."""
    server.on("GET", "/", Answer(200, b"x" * size, {"X-One": "1"}, is_chunked=is_chunked))
    answer = ask(server.url, {"X-Asked": "yes"}, PATIENCE_SECONDS)
    assert (answer.status, answer.headers["X-One"], server.received[0].headers["x-asked"]) == (200, "1", "yes")
    came = len(answer.text)
    assert came == size if size <= PROBE_LIMIT_BYTES else PROBE_LIMIT_BYTES < came < 1.1 * PROBE_LIMIT_BYTES


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        (RESET, "Connection reset by peer"),
        (HANG, "no answer in time"),
        (Answer(200, b"x", length="9", then="close"), "after 1 of 9 bytes"),
    ],
    ids=["reset", "hang", "cut short"],
)
def test_a_probe_without_an_answer_says_why(server: Server, sent: Answer, told: str) -> None:
    """Whatever befell it is a passing fault, with its reason."""
    server.on("GET", "/", sent)
    with pytest.raises(errors.Temporary, match=told) as raised:
        ask(server.url, {}, 0.05 if sent is HANG else PATIENCE_SECONDS)
    assert raised.value.code == "network"


def test_a_netrc_in_another_encoding_names_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a file that nothing here reads, and no reason to end."""
    (tmp_path / "netrc").write_bytes(b"machine other.example login caf\xe9 password p\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert has_netrc_entry("https://x.example") is False


# Why no answer came


def failure_of(url: str, **options: Any) -> Exception:
    """Make a request that fails, and give the exception."""
    with Session(NoAuth()) as session:
        session.trust_env = False
        with pytest.raises((requests.RequestException, urllib3.exceptions.HTTPError)) as raised:
            session.get(url, **{"timeout": PATIENCE_SECONDS, **options}).content  # noqa: B018 - read to its end
    return raised.value


@contextlib.contextmanager
def closed_port() -> Iterator[str]:
    """Give the URL of a port that nobody listens on, kept from others meanwhile."""
    with socket.socket() as unbound:
        unbound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{unbound.getsockname()[1]}"


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
        session.get(url, timeout=PATIENCE_SECONDS)
    assert raised.value.message.startswith(f"no certificates can be read from {bundle}: ")
    assert raised.value.code == "bad_setting"
    assert {request.method for request in server.received} <= {"CONNECT"}


def test_a_closed_port() -> None:
    """Nobody listens: the system's own words, without the library's wrapping."""
    with closed_port() as url:
        assert reason_of(failure_of(url)) == "Connection refused"


def test_a_name_that_does_not_exist() -> None:
    """A host name that cannot be resolved is said so."""
    assert reason_of(failure_of("http://no-such-host.invalid/")) == "the host name cannot be resolved"


NO_PROXY_ADDRESSES = {
    "port out of range": "http://user:se:cretpw@127.0.0.1:99999",
    "slash": "http://user:cre/tpw@h:1",
    "slash behind digits": "http://user:12/cretpw@h:1",
    "number sign": "http://user:cre#tpw@h:1",
    "question mark": "http://user:cre?tpw@h:1",
    "backslash": "http://user:1\\cretpw@h:1",
    "blank": "http://user:cretpw@h h:1",
    "no host": "http://user:cretpw@",
    "no host nor password": "http://cretpw@",
    "unknown scheme": "cretpw://h:1",
    "SOCKS with a bracket": "socks5://user:cre[tpw@h:1",
}


@pytest.mark.parametrize("proxy", NO_PROXY_ADDRESSES.values(), ids=NO_PROXY_ADDRESSES.keys())
def test_a_proxy_that_is_no_address_is_not_shown(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is asked for, the variable is named before anything is sent; its value may hold a password."""
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    with (
        Session(NoAuth()) as session,
        pytest.raises(errors.ConfigError, match="HTTPS_PROXY is not an address") as raised,
    ):
        session.get("https://api.example.test/")
    assert raised.value.code == "bad_setting"
    assert not re.search("cre|tpw|1", f"{raised.value.message} {raised.value.hint}")


@pytest.mark.parametrize(
    ("proxy", "used"),
    [
        ("localhost:3128", "http://localhost:3128"),
        (" http://localhost:3128\r", "http://localhost:3128"),
        ("http://u:p%2Fw@localhost:3128/", "http://u:p%2Fw@localhost:3128/"),
        ("http://u:p[w]@localhost:3128", "http://u:p%5Bw%5D@localhost:3128"),
        ("http://u:p\u2100w@localhost:3128", "http://u:p%E2%84%80w@localhost:3128"),
    ],
)
def test_a_proxy_may_be_written_as_with_curl(proxy: str, used: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its scheme, with blanks around it, and with a password in which Python sees no part of a URL."""
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    with Session(NoAuth()) as session:
        settings = session.merge_environment_settings("https://api.example.test/", {}, None, None, None)
    assert settings["proxies"] == {"all": used}


def test_a_proxy_that_is_not_there() -> None:
    """Behind a dead proxy the reason is the proxy's connection."""
    with closed_port() as url:
        reason = reason_of(failure_of("http://example.invalid/", proxies={"http": url}))
    assert "refused" in reason.lower()


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (RESET, "Connection reset by peer"),
        (Answer(raw=b"", then="close"), "Remote end closed connection without response"),
        (Answer(raw=b"SSH-2.0-OpenSSH\r\n", then="close"), "SSH-2.0-OpenSSH"),
    ],
    ids=["reset", "closed", "no HTTP"],
)
def test_a_connection_that_breaks(server: Server, sent: Answer, reason: str) -> None:
    """Reset, closed or answered by something else: the innermost reason is told."""
    server.on("GET", "/", sent)
    assert reason in reason_of(failure_of(server.url))


def test_no_answer_in_time(server: Server) -> None:
    """A read timeout is told in words, without addresses or objects."""
    server.on("GET", "/", HANG)
    assert reason_of(failure_of(server.url, timeout=(PATIENCE_SECONDS, 0.05))) == "no answer in time"


def test_no_end_of_an_answer_in_time(server: Server) -> None:
    """An answer that stops in the middle is one that did not come in time."""
    server.on("GET", "/", Answer(200, b"x" * 100, cut=10, then="hang"))
    assert reason_of(failure_of(server.url, timeout=(PATIENCE_SECONDS, 0.05))) == "no answer in time"


def test_no_connection_in_time() -> None:
    """A connect timeout is told apart from a read timeout."""
    with full_listener() as url:
        assert reason_of(failure_of(url, timeout=(0.05, PATIENCE_SECONDS))) == "no connection in time"


@contextlib.contextmanager
def full_listener() -> Iterator[str]:
    """Give the URL of a listener whose queue is full, so that a further connection is not answered."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        port = listener.getsockname()[1]
        waiting: list[socket.socket] = []
        try:
            for _ in range(8):
                one = socket.socket()
                one.setblocking(False)
                one.connect_ex(("127.0.0.1", port))
                waiting.append(one)
            yield f"http://127.0.0.1:{port}"
        finally:
            for one in waiting:
                one.close()


def test_tls_against_a_plain_server() -> None:
    """A server that speaks no TLS gives TLS's own reason."""
    with one_answer(b"HTTP/1.1 400 Bad Request\r\n\r\n") as url:
        problem = failure_of(url.replace("http:", "https:"))
    assert isinstance(problem, requests.exceptions.SSLError)
    assert reason_of(problem) == "the port speaks no TLS (wrong version number)"


def test_an_answer_cut_short(server: Server) -> None:
    """A body that ends early tells how much was missing."""
    server.on("GET", "/", Answer(200, b"x" * 100, cut=40, then="close"))
    assert "after 40 of 100 bytes" in reason_of(failure_of(server.url))


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        (b"SSH-2.0-OpenSSH_9\r\n", "SSH-2.0-OpenSSH_9"),
        (b"HTTP/2 200\r\n\r\n", "HTTP/2"),
        (b"\x16\x03\x01\r\n", "\\x16\\x03\\x01"),
        (b"x" * 5000 + b"\r\n", "x" * 100 + "…"),
    ],
    ids=["SSH", "HTTP/2", "TLS", "long"],
)
def test_an_answer_in_another_protocol(sent: bytes, shown: str) -> None:
    """What is no HTTP is called that, and its beginning is shown, harmless."""
    with one_answer(sent) as url:
        assert reason_of(failure_of(url)) == f"not an HTTP answer: {shown}"


CHUNKED = b"\r\nConnection: close\r\n\r\n5\r\nwhole\r\n0\r\n\r\n"
LONG_HEAD = b"".join(b"X-Amz-Meta-%d: 1\r\n" % number for number in range(150))


@pytest.mark.parametrize(
    "head",
    [
        b"Transfer-Encoding: chunked \t",
        b"Transfer-Encoding: identity, Chunked",
        b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding : chunked",
        b"no header\r\nTransfer-Encoding: chunked",
        b"no header\r\n\xfcmlaut: 1\r\nX-Odd : 1\r\nX-Folded: a\r\n  b\r\nTransfer-Encoding: chunked ",
        b"Content-Length: 3\r\nno header\r\nTransfer-Encoding: chunked",
        LONG_HEAD + b"Transfer-Encoding: chunked",
    ],
    ids=["blank", "identity", "two lines", "twice", "blank name", "odd line", "odd lines", "length", "long"],
)
def test_a_head_that_python_misreads_is_read_as_it_is_meant(head: bytes) -> None:
    """No sizes of chunks stand in a body, whatever stands beside the word that tells of them."""
    with one_answer(b"HTTP/1.1 200 OK\r\nX-Blank: a b \r\n" + head + CHUNKED) as url:
        body, headers = whole_answer(url)
    assert body == b"whole"
    assert headers["X-Blank"].rstrip() == "a b"
    assert headers.get("X-Folded", "a b") == "a b"


def whole_answer(url: str) -> tuple[bytes, Mapping[str, str]]:
    """Read an answer as API and downloads do, and give its body and headers."""
    with Session(NoAuth()) as session, session.get(url, stream=True, timeout=PATIENCE_SECONDS) as response:
        return b"".join(iter(lambda: response.raw.read1(65536), b"")), response.headers


def test_a_head_without_a_length_is_read_to_its_end() -> None:
    """`identity` alone says nothing, and blanks belong to no value."""
    with one_answer(
        b"HTTP/1.0 200 \r\nTransfer-Encoding: identity\r\nX-Blank: a \r\n\r\nwhole", then_close=True
    ) as url:
        body, headers = whole_answer(url)
    assert (body, headers["X-Blank"]) == (b"whole", "a")


@pytest.mark.parametrize("coding", [b"gzip, chunked", b"gzip"])
def test_a_transfer_coding_that_nobody_asked_for_is_refused(coding: bytes) -> None:
    """Its bytes would be taken for the body's."""
    with one_answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: " + coding + CHUNKED) as url:
        assert reason_of(failure_of(url)) == f"an answer in the transfer coding {coding.decode()}"


def test_a_post_enters_no_connection_that_was_idle(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other side may be closing it at that moment, and nobody could tell whether it was read."""
    server.on("GET", "/", Answer(200, b"seen"))
    server.on("POST", "/", Answer(200, b"made"))
    with Session(NoAuth()) as session:

        def asked(method: str) -> int:
            assert session.request(method, server.url, data=b"x" if method == "POST" else None).content
            return server.connected

        assert [asked(method) for method in ("GET", "POST", "POST", "GET")] == [1, 1, 1, 1]
        monkeypatch.setattr("cometrep.transport._IDLE_SECONDS", -1.0)
        assert [asked(method) for method in ("GET", "POST", "POST", "GET")] == [1, 2, 3, 3]


def test_a_reset_in_the_middle_of_an_answer() -> None:
    """A connection that is reset while the body comes tells so."""
    with one_answer(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", then_reset=True) as url:
        assert reason_of(failure_of(url)) == "Connection reset by peer"


@contextlib.contextmanager
def one_answer(content: bytes, *, then_reset: bool = False, then_close: bool = False) -> Iterator[str]:
    """Give the URL of a server that reads once, sends these bytes, and leaves or waits for the client to go."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(10_000)
                connection.sendall(content)
                if then_reset:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                if then_reset or then_close:
                    return
                with contextlib.suppress(ConnectionError):
                    while connection.recv(10_000):
                        pass

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread.join()


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: ValueError("odd"), "odd"),
        (lambda: ValueError(), "ValueError"),
        (lambda: OSError(28, "No space left on device"), "No space left on device"),
        (lambda: ConnectionError(TimeoutError("timed out")), "no answer in time"),
        (lambda: ValueError("x" * 5000), "x" * 300),
        (
            lambda: urllib3.exceptions.ProtocolError("Connection aborted.", ConnectionResetError(104, "Reset")),
            "Reset",
        ),
    ],
    ids=["text", "nothing", "system", "timeout", "long", "wrapped"],
)
def test_other_exceptions(make: Callable[[], BaseException], reason: str) -> None:
    """Whatever was raised has a short reason: the system's words, its own text, or its name."""
    assert reason_of(make()) == reason


def test_an_exception_that_wraps_itself_ends() -> None:
    """A circle of causes is followed once."""
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__cause__ = other, one
    assert reason_of(one) in ("one", "other")
