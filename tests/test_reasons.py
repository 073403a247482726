"""Why a transfer failed, in a few words, for every fault of real sockets."""

import contextlib
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
import urllib3

from cometrep.transport import NoAuth, Session
from cometrep.transport.reasons import reason_of
from tests.conftest import TIMEOUT_SECONDS
from tests.servers import HANG, RESET, Answer, Server, closed_port, one_answer


def failure_of(url: str, **options: Any) -> Exception:
    """Make a request that fails, and give the exception."""
    with Session(NoAuth()) as session:
        session.trust_env = False
        with pytest.raises((requests.RequestException, urllib3.exceptions.HTTPError)) as raised:
            session.get(url, **{"timeout": TIMEOUT_SECONDS, **options}).content  # noqa: B018 - read to its end
    return raised.value


def test_a_closed_port() -> None:
    """Nobody listens: the system's own words, without the library's wrapping."""
    with closed_port() as url:
        assert reason_of(failure_of(url)) == "Connection refused"


def test_a_name_that_does_not_exist() -> None:
    """A host name that cannot be resolved is said so."""
    assert reason_of(failure_of("http://no-such-host.invalid/")) == "the host name cannot be resolved"


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
    assert reason_of(failure_of(server.url, timeout=(TIMEOUT_SECONDS, 0.05))) == "no answer in time"


def test_no_end_of_an_answer_in_time(server: Server) -> None:
    """An answer that stops in the middle is one that did not come in time."""
    server.on("GET", "/", Answer(200, b"x" * 100, cut=10, then="hang"))
    assert reason_of(failure_of(server.url, timeout=(TIMEOUT_SECONDS, 0.05))) == "no answer in time"


def test_no_connection_in_time() -> None:
    """A connect timeout is told apart from a read timeout."""
    with full_listener() as url:
        assert reason_of(failure_of(url, timeout=(0.05, TIMEOUT_SECONDS))) == "no connection in time"


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


def test_a_reset_in_the_middle_of_an_answer() -> None:
    """A connection that is reset while the body comes tells so."""
    with one_answer(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", then_reset=True) as url:
        assert reason_of(failure_of(url)) == "Connection reset by peer"


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
