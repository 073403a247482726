"""Connections whose answers come to an end, are read as they were meant, and carry a create only while fresh."""

import http.client
from collections.abc import Mapping
from typing import Any

import pytest
import requests

from cometrep.transport import NoAuth, Session
from tests.conftest import TIMEOUT_SECONDS
from tests.servers import RESET, Answer, Server, one_answer

CHUNKED = b"\r\nConnection: close\r\n\r\n5\r\nwhole\r\n0\r\n\r\n"
LONG_HEAD = b"".join(b"X-Amz-Meta-%d: 1\r\n" % number for number in range(150))


@pytest.mark.parametrize(
    "head",
    [
        b"Transfer-Encoding: chunked \t",
        b"Transfer-Encoding: identity, Chunked",
        b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: binary, chunked",
        b"Transfer-Encoding : chunked",
        b"no header\r\nTransfer-Encoding: chunked",
        b"no header\r\n\xfcmlaut: 1\r\nX-Odd : 1\r\nX-Folded: a\r\n  b\r\nTransfer-Encoding: chunked ",
        b"Content-Length: 3\r\nno header\r\nTransfer-Encoding: chunked",
        b"Content-Type: message/rfc822\r\nno header\r\nTransfer-Encoding: chunked",
        LONG_HEAD + b"Transfer-Encoding: chunked",
    ],
    ids=[
        "blank",
        "identity",
        "two lines",
        "twice",
        "no coding",
        "blank name",
        "odd line",
        "odd lines",
        "length",
        "message",
        "long",
    ],
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
    with Session(NoAuth()) as session, session.get(url, stream=True, timeout=TIMEOUT_SECONDS) as response:
        return b"".join(iter(lambda: response.raw.read1(65536), b"")), response.headers


@pytest.mark.parametrize("word", [b"identity", b"binary", b"none", b"8bit", b"utf-8"])
@pytest.mark.parametrize("length", [b"", b"Content-Length: 5\r\n"], ids=["to its end", "by its length"])
def test_a_word_that_is_no_coding_means_nothing(word: bytes, length: bytes) -> None:
    """A body is read as if it were not there, and blanks belong to no value."""
    head = b"HTTP/1.1 200 \r\nTransfer-Encoding: " + word + b"\r\nX-Blank: a \r\n" + length
    with one_answer(head + b"\r\nwhole", then_close=not length) as url:
        body, headers = whole_answer(url)
    assert (body, headers["X-Blank"]) == (b"whole", "a")
    assert "Transfer-Encoding" not in headers


@pytest.mark.parametrize(
    "words", [b"gzip, chunked", b"chunked\r\nTransfer-Encoding: gzip", b"x, GZip;q=1, chunked"]
)
def test_a_compression_that_nobody_asked_for_is_one_of_the_content(words: bytes) -> None:
    """It is undone there, or means nothing, and no id of a paid prediction is lost for it."""
    with one_answer(b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nTransfer-Encoding: " + words + CHUNKED) as url:
        body, headers = whole_answer(url)
    assert (body, headers["Content-Encoding"]) == (b"whole", "br, gzip")


def test_a_head_without_end_is_let_go() -> None:
    """With its interim answers; Python takes a thousand lines of each, and to read so much takes its time."""
    interim = b"HTTP/1.1 103 Early Hints\r\n" + b"odd line\r\n" * 500 + b"\r\n"
    with (
        one_answer(interim * 300) as url,
        pytest.raises(requests.ConnectionError, match="head of more than 1000000 bytes"),
    ):
        whole_answer(url)


def test_odd_lines_are_passed_over_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """To begin anew behind each one may take minutes, and no deadline cuts in."""
    passes: list[Any] = []
    parse = http.client.parse_headers

    def parsed(file: Any, *rest: Any) -> Any:
        passes.append(file)
        return parse(file, *rest)

    monkeypatch.setattr(http.client, "parse_headers", parsed)
    odd = b"odd line\r\n" * 400 + b"X: a\ra\ra\r\n" * 400 + b"X-Wide: a" + b" " * 60_000 + b"b\r\n"
    with one_answer(b"HTTP/1.1 200 OK\r\n" + odd + b"Transfer-Encoding: chunked" + CHUNKED) as url:
        body, _ = whole_answer(url)
    assert (body, len(passes)) == (b"whole", 3)


def test_each_host_is_asked_over_its_own_connections(server: Server) -> None:
    """However they take turns."""
    with Server() as other, Session(NoAuth()) as session:
        server.on("GET", "", Answer(200, b"one"))
        other.on("GET", "", Answer(200, b"other"))
        said = [session.get(url).content for url in (server.url, other.url, server.url, server.url)]
    assert said == [b"one", b"other", b"one", b"one"]


@pytest.mark.parametrize("is_proxied", [False, True], ids=["direct", "through a proxy"])
def test_a_post_enters_no_connection_that_was_idle(
    is_proxied: bool, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other side may be closing it at that moment, and nobody could tell whether it was read."""
    server.on("GET", "", Answer(200, b"seen"))
    server.on("POST", "", Answer(200, b"made"))
    url, proxies = ("http://api.test/", {"http": server.url}) if is_proxied else (server.url, {})
    with Session(NoAuth()) as session:

        def asked(method: str) -> int:
            data = b"x" if method == "POST" else None
            assert session.request(method, url, data=data, proxies=proxies).content
            return server.connected

        assert [asked(method) for method in ("GET", "POST", "POST", "GET")] == [1, 1, 1, 1]
        monkeypatch.setattr("cometrep.transport.connections._IDLE_SECONDS", -1.0)
        assert [asked(method) for method in ("GET", "POST", "POST", "GET")] == [1, 2, 3, 3]


def test_a_post_enters_no_used_connection_where_one_was_lost(server: Server) -> None:
    """A server that closes what it said it would keep loses one create, and not one after the other."""
    server.on("GET", "", Answer(200, b"seen"))
    server.on("POST", "", RESET, Answer(200, b"made"))
    with Session(NoAuth()) as session:
        assert session.get(server.url).content
        with pytest.raises(requests.exceptions.ConnectionError):
            session.post(server.url, data=b"x")
        before = server.connected
        assert [session.post(server.url, data=b"x").content for _ in range(3)] == [b"made"] * 3
        assert server.connected == before + 3
        assert session.get(server.url).content
        assert server.connected == before + 3
