"""One file on disk, whole or not at all, whatever the server or the disk does."""

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
import threading
import tracemalloc
import zlib
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from cometrep import errors, hints
from cometrep.data_uris import shorten_data_uris
from cometrep.download import Downloads, Rules, UrlExpired, fetch
from cometrep.download.body import _decompressed
from cometrep.events import Event, Noted, Retrying, Saving
from cometrep.names import Names
from cometrep.prediction import OutputFile, SavedFile
from cometrep.transport import connections
from tests.conftest import TIMEOUT_SECONDS, Certificate, needs_proc
from tests.servers import TYPED, WEBP, Answer, Received, Server, TlsServer, answer_html, answer_json, picture
from tests.test_formats import drawn

ID = "abc123"
BODY = picture(300_000)
SVG = {"Content-Type": "image/svg+xml"}


class Clock:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Saver:
    """Save one output file by some rules, and keep the events."""

    def __init__(self, folder: Path, **rules: Any) -> None:
        self.folder = folder
        self.events: list[Event] = []
        self.rules = Rules(**{"allows_local": True, "max_size_bytes": 10**9, **rules})

    def __call__(
        self,
        url: str = "",
        *,
        data_uri: str = "",
        content: bytes | None = None,
        extension: str = "",
        template: str = "",
    ) -> tuple[SavedFile, str]:
        clock = Clock()
        downloads = Downloads(self.rules, clock=clock, sleep=clock.sleep, random=lambda: 0.5)
        file = OutputFile(0, url=url, data_uri=data_uri, content=content, extension=extension)
        names = Names(str(self.folder), template or "{id}.{ext}", ID, "owner/name", "2026-01-02")
        try:
            return self._drain(downloads.save(ID, file, names))
        finally:
            downloads.close()

    def _drain(self, events: Generator[Event, None, tuple[SavedFile, str]]) -> tuple[SavedFile, str]:
        while True:
            try:
                self.events.append(next(events))
            except StopIteration as end:
                saved: tuple[SavedFile, str] = end.value
                return saved

    def warnings(self) -> list[str]:
        """What was warned of."""
        return [event.text for event in self.events if isinstance(event, Noted) and event.is_warning]

    def left(self) -> list[str]:
        """The names of all that is in the folder, hidden or not."""
        return sorted(path.name for path in self.folder.iterdir())


@pytest.fixture
def saver(folder: Path) -> Saver:
    """A saver into an empty folder."""
    return Saver(folder)


def ranged(body: bytes = BODY, etag: str = '"v1"', **broken: Any) -> Any:
    """Answer as a file server does that knows ranges; `broken` spoils the answer to a range."""

    def respond(request: Received) -> Answer:
        asked = request.headers.get("range", "")
        if not asked or request.headers.get("if-range") not in (None, etag):
            return Answer(200, body, {**TYPED, "ETag": etag})
        start = int(asked.removeprefix("bytes=").rstrip("-"))
        if start >= len(body):
            return Answer(416, b"", {"Content-Range": f"bytes */{len(body)}"})
        shift = broken.get("shift", 0)
        headers = {**TYPED, "ETag": broken.get("etag", etag)}
        headers["Content-Range"] = f"bytes {start + shift}-{len(body) - 1}/{broken.get('total', len(body))}"
        return Answer(206, body[start:], headers)

    return respond


def cut(size: int, then: str = "close", **headers: str) -> Answer:
    """Answer with the beginning of the file alone."""
    return Answer(200, BODY, {**TYPED, **headers}, cut=size, then=then)


def sent_bytes(server: Server) -> list[str]:
    """Give the ranges that were asked for, empty for the whole."""
    return [request.headers.get("range", "") for request in server.received]


def test_a_file_is_saved_under_its_name_with_its_facts(saver: Saver, server: Server) -> None:
    """A whole file gets its final name; path, size, SHA-256, type and URL are told; nothing else is left."""
    server.on("GET", "/out.png", Answer(200, BODY, TYPED))
    saved, how = saver(f"{server.url}/out.png")
    assert how == "saved"
    assert Path(saved.path).read_bytes() == BODY
    assert (saved.size_bytes, saved.sha256) == (len(BODY), hashlib.sha256(BODY).hexdigest())
    assert (saved.content_type, saved.url) == ("image/webp", f"{server.url}/out.png")
    assert saver.left() == [f"{ID}.webp"]
    assert isinstance(saver.events[-1], Saving)
    assert saver.events[-1].done_bytes == len(BODY)


def test_the_request_carries_no_key_and_asks_for_no_encoding(
    saver: Saver, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No Authorization goes to the file host, not even one from netrc."""
    (tmp_path / "netrc").write_text("default login me password other\n")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    server.on("GET", "/f", Answer(200, BODY, TYPED))
    saver(f"{server.url}/f")
    assert "authorization" not in server.received[0].headers
    assert server.received[0].headers["accept-encoding"] == "identity"


BROKEN: dict[str, Answer] = {
    "short body": cut(1000),
    "reset": cut(1000, "reset"),
    "length too large": Answer(200, BODY, TYPED, length=str(len(BODY) + 7), then="close"),
    "cut chunks": Answer(200, BODY, TYPED, is_chunked=True, cut=5000, then="close"),
    "500": answer_json({}, 500),
    "503 HTML": answer_html(503),
    "429": answer_json({}, 429),
    "408": answer_json({}, 408),
    "499": answer_json({}, 499),
    "no answer": Answer(raw=b"", then="reset"),
}


@pytest.mark.parametrize("script", BROKEN.values(), ids=BROKEN.keys())
def test_a_passing_fault_is_repeated(saver: Saver, server: Server, script: Answer) -> None:
    """A broken transfer is tried again, and the file is whole in the end."""
    server.on("GET", "/f", script, ranged())
    saved, _ = saver(f"{server.url}/f")
    assert Path(saved.path).read_bytes() == BODY
    assert any(isinstance(event, Retrying) for event in saver.events)
    assert saver.left() == [f"{ID}.webp"]


@pytest.mark.parametrize("script", BROKEN.values(), ids=BROKEN.keys())
def test_a_lasting_fault_ends_within_the_budget(saver: Saver, server: Server, script: Answer) -> None:
    """A fault that stays ends as temporary after the retry budget, and nothing has a final name."""
    server.on("GET", "/f", script)
    with pytest.raises(errors.Temporary, match="retry budget of 1m") as raised:
        saver(f"{server.url}/f")
    assert ID in raised.value.message
    assert all(name.startswith(".") for name in saver.left())
    assert 4 <= len(server.received) <= 50


def test_a_pause_longer_than_the_budget_is_not_waited_for(saver: Saver, server: Server) -> None:
    """Where the host itself says how long it will not answer, that is told, and not that the budget is used up."""
    server.on("GET", "/f", Answer(429, headers={"Retry-After": "99999"}))
    with pytest.raises(errors.Temporary, match="the host asks to wait 27h46m") as raised:
        saver(f"{server.url}/f")
    assert (raised.value.code, raised.value.http_status) == ("rate_limited", 429)
    assert len(server.received) == 1


def test_to_come_as_far_as_before_is_no_progress(saver: Saver, server: Server) -> None:
    """A host whose rest is always too long, so that all starts over, ends within the budget too."""

    def respond(request: Received) -> Answer:
        if "range" not in request.headers:
            return cut(100_000)
        headers = {**TYPED, "Content-Range": f"bytes 100000-{len(BODY) - 1}/{len(BODY)}"}
        return Answer(206, BODY[100_000:] + b"more", headers)

    server.on("GET", "/f", respond)
    with pytest.raises(errors.Temporary, match="retry budget of 1m"):
        saver(f"{server.url}/f")
    assert len(server.received) < 20


def test_what_is_not_worth_repeating_is_not_repeated(saver: Saver, certificate: Certificate) -> None:
    """As where nobody vouches for the host's certificate: it is told at once."""
    with TlsServer(certificate()) as server, pytest.raises(errors.Temporary) as raised:
        saver(f"{server.url}/f.webp")
    assert (raised.value.code, saver.events) == ("tls", [])
    assert raised.value.message.startswith("output file 0 of abc123: cannot fetch 127.0.0.1")


def test_a_stall_is_an_error_not_a_hang(saver: Saver, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes that stop coming end the attempt after the stall limit, and the next one takes up what came."""
    monkeypatch.setattr(fetch, "STALL_SECONDS", 0.5)
    server.on("GET", "/f", cut(100_000, "hang"), ranged())
    saved, _ = saver(f"{server.url}/f")
    assert Path(saved.path).read_bytes() == BODY
    assert sent_bytes(server) == ["", "bytes=100000-"]


@pytest.mark.parametrize("come", [b"HTTP/1.1 200 OK\r\n", b"2;"], ids=["head", "chunk"])
def test_an_attempt_ends_where_all_but_the_bytes_drips(
    saver: Saver, server: Server, monkeypatch: pytest.MonkeyPatch, come: bytes
) -> None:
    """A head, or what stands before a chunk, has its time; the bytes of a file may take theirs."""
    monkeypatch.setattr(connections, "FRAMING_TIMEOUT_SECONDS", 0.0)
    begun = b"" if come.startswith(b"HTTP") else b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    endless = Answer(raw=begun + come + b"x" * 60_000, then="hang")  # it is read in several pieces
    server.on("GET", "/f", endless, Answer(200, BODY, TYPED, pieces=10_000))
    saved, _ = saver(f"{server.url}/f")
    assert Path(saved.path).read_bytes() == BODY
    (again,) = [event for event in saver.events if isinstance(event, Retrying)]
    assert again.reason.endswith("no answer in time")


def test_a_file_is_whole_where_its_bytes_are(saver: Saver, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trailers without end are not waited for."""
    monkeypatch.setattr(connections, "TRAILER_TIMEOUT_SECONDS", 0.01)
    sent = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\nX-Sum" % (len(BODY), BODY)
    server.on("GET", "/f", Answer(raw=sent, then="hang"))
    saved, _ = saver(f"{server.url}/f")
    assert Path(saved.path).read_bytes() == BODY
    assert server.count("GET") == 1


def test_a_broken_transfer_goes_on_where_it_ended(saver: Saver, server: Server) -> None:
    """With a validator the rest alone is asked for, on the condition that the file is the same."""
    server.on("GET", "/f", cut(100_000), ranged())
    saver(f"{server.url}/f")
    assert sent_bytes(server) == ["", "bytes=100000-"]
    assert server.received[1].headers["if-range"] == '"v1"'


def test_a_break_is_told_by_the_bytes_of_the_file(saver: Saver, server: Server) -> None:
    """However many answers they came in, and in chunks too."""
    headers = {**TYPED, "Content-Range": f"bytes 100000-{len(BODY) - 1}/{len(BODY)}"}
    rest = Answer(206, BODY[100_000:], headers, cut=50_000, then="close")
    chunks = Answer(200, BODY, TYPED, is_chunked=True, cut=500, then="close")
    server.on("GET", "/f", chunks, cut(100_000), rest, ranged())
    saver(f"{server.url}/f")
    told = [event.reason.partition("ended ")[2] for event in saver.events if isinstance(event, Retrying)]
    assert told == ["after 500 bytes", "after 100000 of 300000 bytes", "after 150000 of 300000 bytes"]


def test_bytes_that_drip_are_told_of(saver: Saver, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that comes slowly is not silent until a hundredth of it is there."""
    server.on("GET", "/f", Answer(200, BODY[:9000], {**TYPED, "Transfer-Encoding": "chunked"}, is_chunked=True))
    saver(f"{server.url}/f")
    assert not [event for event in saver.events if isinstance(event, Saving)]
    monkeypatch.setattr("cometrep.download.SAYING_SECONDS", 0.0)
    saver(f"{server.url}/f", template="other.{ext}")
    assert [event for event in saver.events if isinstance(event, Saving)]


def test_a_later_command_goes_on_where_an_earlier_one_died(folder: Path, server: Server) -> None:
    """A part file that was left is taken up again: fewer bytes are fetched than starting over."""
    server.on("GET", "/f", cut(200_000), answer_json({}, 500))
    with pytest.raises(errors.Temporary):
        Saver(folder, retry_budget_seconds=1.0)(f"{server.url}/f")
    server.on("GET", "/f", ranged())
    server.received.clear()
    saver = Saver(folder)
    saved, _ = saver(f"{server.url}/f")
    assert Path(saved.path).read_bytes() == BODY
    assert sent_bytes(server) == ["bytes=200000-"]
    assert saver.left() == [f"{ID}.webp"]


def test_a_part_that_nobody_asked_for_is_not_the_whole(saver: Saver, server: Server) -> None:
    """A 206 to a plain request, with bytes from the middle, is no picture."""
    part = Answer(206, BODY[100:], {**TYPED, "Content-Range": f"bytes 100-{len(BODY) - 1}/{len(BODY)}"})
    server.on("GET", "/f", part, Answer(200, BODY, TYPED))
    saved, _ = saver(f"{server.url}/f")
    assert Path(saved.path).read_bytes() == BODY


OTHER_BODY = picture(300_000, seed=9)


@pytest.mark.parametrize(
    ("second", "asks_anew", "expected"),
    [
        (Answer(200, BODY, TYPED), False, BODY),
        (ranged(shift=5), True, BODY),
        (ranged(shift=-5), True, BODY),
        (ranged(total=len(BODY) + 1), True, BODY),
        (ranged(etag='"v2"'), False, BODY),
        (ranged(OTHER_BODY, etag='"v2"', total=300_000), False, OTHER_BODY),
        (
            Answer(
                206,
                BODY[100_000:],
                {**TYPED, "Content-Range": "bytes 100000-299999/300000", "Content-Encoding": "gzip"},
            ),
            True,
            BODY,
        ),
        (Answer(416, b"", {"Content-Range": "bytes */5"}), True, BODY),
        (Answer(416, b"", {"Content-Range": "bytes */100000"}), True, BODY),
        *((Answer(status), True, BODY) for status in (416, 400, 403, 404, 410, 412, 501)),
    ],
    ids=[
        "range ignored",
        "range ahead",
        "range behind",
        "other total",
        "other validator",
        "other file",
        "encoded",
        "416",
        "416 at the cut",
        *("bare 416", "400", "403", "404", "410", "412", "501"),
    ],
)
def test_a_rest_that_does_not_fit_starts_over(
    saver: Saver, server: Server, second: Any, asks_anew: bool, expected: bytes
) -> None:
    """Where the rest is not surely the rest of the same file, the file is fetched from its beginning."""
    server.on("GET", "/f", cut(100_000), second, Answer(200, BODY, TYPED))
    saved, _ = saver(f"{server.url}/f")
    assert Path(saved.path).read_bytes() == expected
    assert saved.sha256 == hashlib.sha256(expected).hexdigest()
    assert sent_bytes(server) == ["", "bytes=100000-", *[""] * asks_anew]
    assert not any(isinstance(event, Retrying) and "HTTP" in event.reason for event in saver.events)


DATE, OTHER_DATE = "Fri, 15 Jan 2027 08:00:00 GMT", "Sat, 16 Jan 2027 08:00:00 GMT"
BY_ETAG, BY_DATE = {"ETag": '"v1"'}, {"Last-Modified": DATE}


@pytest.mark.parametrize(
    ("first", "second", "is_the_rest"),
    [
        (BY_ETAG, BY_ETAG, True),
        (BY_ETAG, {}, False),
        (BY_ETAG, {"ETag": 'W/"v1"'}, False),
        (BY_ETAG, BY_DATE, False),
        (BY_ETAG, {**BY_ETAG, "Content-Type": "image/webp; q=1"}, True),
        (BY_ETAG, {**BY_ETAG, "Content-Type": "application/octet-stream"}, True),
        (BY_ETAG, {**BY_ETAG, "Content-Type": "text/html"}, False),
        (BY_DATE, BY_DATE, True),
        (BY_DATE, {}, True),
        (BY_DATE, {"Last-Modified": OTHER_DATE}, False),
        (BY_DATE, {**BY_DATE, "ETag": 'W/"v1"'}, False),
    ],
)
def test_a_rest_must_show_the_validator_that_it_was_asked_by(
    saver: Saver, server: Server, first: dict[str, str], second: dict[str, str], is_the_rest: bool
) -> None:
    """A host that sends a range of another file, or does not say of which, gives no half of a picture."""
    start = Answer(200, BODY, {"Content-Type": "image/webp", **first}, cut=100_000, then="close")
    rest = {**second, "Content-Range": f"bytes 100000-{len(BODY) - 1}/{len(BODY)}"}
    server.on("GET", "/f", start, Answer(206, BODY[100_000:], rest), Answer(200, OTHER_BODY, TYPED))
    saved, _ = saver(f"{server.url}/f")
    assert Path(saved.path).read_bytes() == (BODY if is_the_rest else OTHER_BODY)


def test_what_came_stays_where_neither_the_rest_nor_the_whole_is_had(saver: Saver, server: Server) -> None:
    """An expired URL takes nothing away: from a fresh one of the same file the rest is enough."""
    server.on("GET", "/f", cut(100_000), Answer(403))
    with pytest.raises(UrlExpired):
        saver(f"{server.url}/f")
    server.on("GET", "/fresh", ranged())
    saved, _ = saver(f"{server.url}/fresh")
    assert Path(saved.path).read_bytes() == BODY
    assert sent_bytes(server) == ["", "bytes=100000-", "", "bytes=100000-"]


def test_a_host_that_fails_at_ranges_alone_is_asked_for_the_whole(saver: Saver, server: Server) -> None:
    """Three errors for the rest make the next attempt ask for all of it; else no command would ever get it."""

    def respond(request: Received) -> Answer:
        return answer_json({}, 500) if "range" in request.headers else Answer(200, BODY, {**TYPED, "ETag": '"v1"'})

    server.on("GET", "/f", cut(100_000), respond)
    saved, _ = saver(f"{server.url}/f")
    assert Path(saved.path).read_bytes() == BODY
    assert sent_bytes(server) == ["", *["bytes=100000-"] * 3, ""]


def test_errors_for_the_whole_too_let_the_rest_be_asked_for_again(saver: Saver, server: Server) -> None:
    """A host that fails for a while keeps nobody from going on with what came before."""
    server.on("GET", "/f", cut(100_000), *[answer_json({}, 500)] * 4, ranged())
    saved, _ = saver(f"{server.url}/f")
    assert Path(saved.path).read_bytes() == BODY
    assert sent_bytes(server) == ["", *["bytes=100000-"] * 3, "", "bytes=100000-"]


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_host_takes_nothing_of_what_came_before(status: int, saver: Saver, server: Server) -> None:
    """That it asks to wait is no word about ranges."""
    server.on("GET", "/f", cut(100_000), *[answer_json({}, status)] * 4, ranged())
    saved, _ = saver(f"{server.url}/f")
    assert Path(saved.path).read_bytes() == BODY
    assert sent_bytes(server) == ["", *["bytes=100000-"] * 5]


def test_a_rest_without_an_end_is_not_built_upon(saver: Saver, server: Server) -> None:
    """Where nobody says how long the file is, a range may be less than all that lacks."""
    first = Answer(200, BODY, TYPED, is_chunked=True, cut=100_000, then="close")

    def piece(request: Received) -> Answer:
        start = int(request.headers["range"].removeprefix("bytes=").rstrip("-"))
        return Answer(206, BODY[start:200_000], {**TYPED, "Content-Range": f"bytes {start}-199999/*"})

    server.on("GET", "/f", first, piece, Answer(200, BODY, TYPED))
    assert Path(saver(f"{server.url}/f")[0].path).read_bytes() == BODY


def pieces_of(body: bytes, size: int, sent: int | None = None) -> Any:
    """Answer as a host does that ends each range after `size` bytes; `sent` is how many of them really come."""

    def piece(request: Received) -> Answer:
        start = int(request.headers["range"].removeprefix("bytes=").rstrip("-"))
        end = min(start + size, len(body))
        shown = {**TYPED, "ETag": '"v1"', "Content-Range": f"bytes {start}-{end - 1}/{len(body)}"}
        return Answer(206, body[start:end][:sent], shown, length="", then="close")

    return piece


def test_a_host_that_gives_less_than_the_rest_is_asked_on(saver: Saver, server: Server) -> None:
    """A range may end before the one that was asked for: no attempt has failed, however many it takes."""
    body = picture(1_000_000)
    broken = Answer(200, body, {**TYPED, "ETag": '"v1"'}, cut=100_000, then="close")
    server.on("GET", "/f", broken, pieces_of(body, 9_000))
    assert Path(saver(f"{server.url}/f")[0].path).read_bytes() == body
    assert sent_bytes(server) == ["", *[f"bytes={start}-" for start in range(100_000, len(body), 9_000)]]
    assert sum(isinstance(event, Retrying) for event in saver.events) == 1
    told = [event.done_bytes for event in saver.events if isinstance(event, Saving)]
    assert [count // 10_000 for count in told[-90:]] == [*range(11, 101)]  # each hundredth, as of a whole


@pytest.mark.parametrize(("size", "sent"), [(4_095, None), (90_000, 89_999)], ids=["tiny", "cut short"])
def test_a_range_that_gives_too_little_is_a_failed_attempt(
    saver: Saver, server: Server, monkeypatch: pytest.MonkeyPatch, size: int, sent: int | None
) -> None:
    """Else a host that gives a byte at a time would never come to an end; and it is told what ended it."""
    monkeypatch.setattr("cometrep.download.ATTEMPT_LIMIT", 3)
    server.on("GET", "/f", cut(100_000), pieces_of(BODY, size, sent))
    with pytest.raises(errors.Temporary, match=r"; 3 attempts failed, the most that a command makes for one file$"):
        saver(f"{server.url}/f")
    assert server.count("GET") == 3


@pytest.mark.parametrize("length", [None, "70000"], ids=["whole", "broken off"])
def test_a_range_with_more_bytes_than_it_says_is_not_built_upon(
    saver: Saver, server: Server, length: str | None
) -> None:
    """The range behind them would go on where they end, and the length would be right: the whole comes anew."""
    surplus = {**TYPED, "ETag": '"v1"', "Content-Range": f"bytes 100000-149999/{len(BODY)}"}
    more = Answer(206, BODY[100_000:150_000] + BODY[:9_000], surplus, length=length, then="close")
    server.on("GET", "/f", cut(100_000, ETag='"v1"'), more, ranged())
    assert Path(saver(f"{server.url}/f")[0].path).read_bytes() == BODY
    assert sent_bytes(server) == ["", "bytes=100000-", ""]


def test_a_416_at_another_end_starts_over(folder: Path, server: Server) -> None:
    """Also where nothing but the host tells how long the file is: it may be another one by now."""
    saver = Saver(folder)
    (folder / f".{ID}-0.part").write_bytes(BODY)
    (folder / f".{ID}-0.part.json").write_text(json.dumps({"validator": '"v1"', "stem": f"{ID}-0"}))
    server.on("GET", "/f", Answer(416, b"", {"Content-Range": "bytes */5"}), Answer(200, OTHER_BODY, TYPED))
    saved, _ = saver(f"{server.url}/f")
    assert Path(saved.path).read_bytes() == OTHER_BODY


def test_a_416_at_the_end_means_whole(folder: Path, server: Server) -> None:
    """Where all bytes were there already, a 416 with the same size completes the file."""
    saver = Saver(folder)
    (folder / f".{ID}-0.part").write_bytes(BODY)
    (folder / f".{ID}-0.part.json").write_text(json.dumps({"validator": '"v1"', "stem": f"{ID}-0"}))
    server.on("GET", "/f", ranged())
    saved, _ = saver(f"{server.url}/f")
    assert Path(saved.path).read_bytes() == BODY
    assert sent_bytes(server) == [f"bytes={len(BODY)}-"]


@pytest.mark.parametrize(
    "facts",
    [
        None,
        b"",
        b"{",
        b"[]",
        b'{"total": 5}',
        b'{"validator": 7, "total": "x"}',
        b'{"validator": "\\"v1\\"", "total": 3, "stem": "abc123-0"}',
        b'{"is_complete": true, "total": 1000, "stem": "abc123-0"}',
    ],
    ids=[
        "none",
        "empty",
        "torn",
        "list",
        "no validator",
        "wrong types",
        "too long",
        "lost bytes",
    ],
)
def test_a_part_file_without_sound_facts_starts_over(folder: Path, server: Server, facts: bytes | None) -> None:
    """Bytes of which nothing is known are not built upon."""
    (folder / f".{ID}-0.part").write_bytes(b"junk of another day")
    if facts is not None:
        (folder / f".{ID}-0.part.json").write_bytes(facts)
    server.on("GET", "/f", ranged())
    saver = Saver(folder)
    saved, _ = saver(f"{server.url}/f")
    assert Path(saved.path).read_bytes() == BODY
    assert saver.left() == [f"{ID}.webp"]


def test_a_weak_validator_is_not_built_upon(saver: Saver, server: Server) -> None:
    """A weak ETag cannot vouch for bytes, so the file is fetched anew."""
    server.on("GET", "/f", cut(1000, "reset", ETag='W/"v1"'), Answer(200, BODY, TYPED))
    saver(f"{server.url}/f")
    assert sent_bytes(server) == ["", ""]


def test_last_modified_is_a_validator_too(saver: Saver, server: Server) -> None:
    """Without an ETag the Last-Modified date is the condition of the rest."""
    date = "Fri, 15 Jan 2027 08:00:00 GMT"
    first = Answer(200, BODY, {"Content-Type": "image/webp", "Last-Modified": date}, cut=1000, then="close")
    server.on("GET", "/f", first, Answer(200, BODY, TYPED))
    saver(f"{server.url}/f")
    assert server.received[1].headers["if-range"] == date


@pytest.mark.parametrize(
    "script",
    [
        Answer(200, BODY, TYPED, length="", then="close"),
        Answer(200, BODY, TYPED, is_chunked=True),
        Answer(200, BODY, {**TYPED, "Content-Length": "5"}, is_chunked=True),
        Answer(200, BODY, TYPED, pieces=777),
        Answer(200, BODY, WEBP, length="nonsense", then="close"),
        Answer(203, BODY, TYPED),
    ],
    ids=["no length", "chunked", "chunked beside a length", "small pieces", "nonsense length", "by way of a proxy"],
)
def test_every_way_to_send_a_body_is_read(saver: Saver, server: Server, script: Answer) -> None:
    """Without a length, in chunks whatever it says, in small pieces, from a proxy that says so: it is the same."""
    server.on("GET", "/f", script)
    saved, _ = saver(f"{server.url}/f")
    assert Path(saved.path).read_bytes() == BODY


def test_a_part_that_is_the_whole_is_taken(saver: Saver, server: Server) -> None:
    """A server that answers with a range of all bytes, unasked, has sent the file."""
    headers = {**TYPED, "Content-Range": f"bytes 0-{len(BODY) - 1}/{len(BODY)}"}
    server.on("GET", "/f", Answer(206, BODY[:-9], headers), Answer(206, BODY, headers))
    assert Path(saver(f"{server.url}/f")[0].path).read_bytes() == BODY
    assert server.count("GET") == 2  # the first was cut short, whatever its own length said


def test_a_picture_without_its_end_is_fetched_again(saver: Saver, server: Server) -> None:
    """Where nothing else tells that a connection ended early, the picture does."""
    whole = drawn("PNG")
    broken = Answer(200, whole[:-20], {"Content-Type": "image/png"}, length="", then="close")
    server.on("GET", "/f", broken, broken, Answer(200, whole, length="", then="close"))
    saved, _ = saver(f"{server.url}/f")
    assert Path(saved.path).read_bytes() == whole
    assert saver.warnings() == []


@pytest.mark.parametrize(("path", "is_chunked"), [("/f", False), ("/f", True), ("", False)])
def test_a_picture_that_was_sent_without_its_end_is_warned_of(
    saver: Saver, server: Server, *, path: str, is_chunked: bool
) -> None:
    """Where a length, the end of chunks or a data URI confirms that this is all, it is saved as it is."""
    sent = drawn("PNG")[:-20]
    server.on("GET", "/f", Answer(200, sent, is_chunked=is_chunked))
    data_uri = "" if path else f"data:image/png;base64,{base64.b64encode(sent).decode()}"
    saved, _ = saver(f"{server.url}{path}" if path else "", data_uri=data_uri)
    assert Path(saved.path).read_bytes() == sent
    assert saver.warnings() == [f"output file 0 of {ID} lacks its end; that is all that was sent"]


@pytest.mark.parametrize("typed", [TYPED, {"Content-Type": "text/plain"}], ids=["known", "of no known form"])
def test_an_encoding_nobody_asked_for_is_undone(saver: Saver, server: Server, typed: dict[str, str]) -> None:
    """A gzip body comes out as the file it holds."""
    import gzip

    body = BODY if typed is TYPED else b"Once upon a time. " * 9
    server.on("GET", "/f", Answer(200, gzip.compress(body), {**typed, "Content-Encoding": "gzip"}))
    saved, _ = saver(f"{server.url}/f")
    assert Path(saved.path).read_bytes() == body
    assert saved.size_bytes == len(body)


@pytest.mark.parametrize("has_length", [True, False], ids=["with its length", "without"])
def test_a_cut_or_damaged_gzip_body_is_fetched_again(saver: Saver, server: Server, has_length: bool) -> None:
    """Compressed bytes say where they end, whatever their length says; two members are one file."""
    import gzip

    encoded = {"Content-Type": "video/mp4", "Content-Encoding": "gzip"}
    whole = gzip.compress(BODY) + gzip.compress(b"more")
    damaged = whole[:9000] + bytes(100) + whole[9100:]
    for sent in (whole[:-10], gzip.compress(BODY)[:300], damaged):
        length = str(len(sent)) if has_length else ""
        broken = Answer(200, sent, encoded, length=length, then="close")
        server.on("GET", "/f", broken, Answer(200, whole + b"\0\0", encoded))
        saved, _ = saver(f"{server.url}/f", template=f"{len(sent)}.{{ext}}")
        assert Path(saved.path).read_bytes() == BODY + b"more"


def packed(content: bytes, window_bits: int) -> bytes:
    """Compress in the form that a number of zlib's means: 31 gzip, 15 with its own header, -15 without any."""
    packer = zlib.compressobj(wbits=window_bits)
    return packer.compress(content) + packer.flush()


@pytest.mark.parametrize(
    ("label", "forms"),
    [
        *((label, []) for label in ("utf-8", "aws-chunked", "none", "br", "identity", "gzip", "deflate")),
        *((label, [31]) for label in ("gzip, identity", "gzip,aws-chunked", "aws-chunked, X-GZIP", "gzip;q=1")),
        ("gzip, gzip", [31, 31]),
        ("gzip, gzip", [31]),
        ("deflate, gzip", [15, 31]),
        ("deflate", [15]),
        ("deflate", [-15]),
    ],
)
def test_a_picture_is_taken_whatever_its_encoding_is_called(
    saver: Saver, server: Server, label: str, forms: list[int]
) -> None:
    """What can be undone is; and some stores put labels there that mean nothing."""
    whole = sent = drawn("PNG")
    for form in forms:
        sent = packed(sent, form)
    server.on("GET", "/f", Answer(200, sent, {"Content-Type": "image/png", "Content-Encoding": label}, pieces=9))
    saved, _ = saver(f"{server.url}/f")
    assert Path(saved.path).read_bytes() == whole
    assert server.count("GET") == 1


def test_what_compressed_bytes_stand_for_is_given_to_the_last_one() -> None:
    """Also where the last of them was taken up before there was room for all of it."""
    whole = bytes(512 * 1024 + 1)
    packer = zlib.compressobj(wbits=-15, strategy=zlib.Z_HUFFMAN_ONLY)
    sent = packer.compress(whole) + packer.flush()
    assert b"".join(_decompressed([sent], -15)) == whole


def test_a_small_body_that_holds_too_much_is_let_go_at_once(folder: Path, server: Server) -> None:
    """No more is made of compressed bytes than what may be saved and a little more."""
    bomb = packed(BODY[:64] + bytes(50_000_000), 31)
    server.on("GET", "/f", Answer(200, bomb, {**TYPED, "Content-Encoding": "gzip"}))
    tracemalloc.start()
    try:
        with pytest.raises(errors.LocalFileError, match="above the 1000000 bytes of --max-size"):
            Saver(folder, max_size_bytes=1_000_000)(f"{server.url}/f")
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


GONE: dict[str, tuple[str, Answer]] = {
    "a label of gzip alone": ("/f.png", Answer(200, b"Forbidden", {"Content-Encoding": "gzip"})),
    "more encodings than anybody uses": (
        "/f.png",
        Answer(200, packed(b"x", 15), {"Content-Encoding": ", ".join(["deflate"] * 1000)}),
    ),
    "an encoding nobody knows": (
        "/f.png",
        Answer(200, b"\x8b\x0c\x80encoded", {"Content-Type": "image/png", "Content-Encoding": "br"}),
    ),
    "JSON behind a byte order mark": (
        "/f.png",
        Answer(200, b'\xef\xbb\xbf{"error": "x"}', {"Content-Type": "image/png"}),
    ),
    "null": ("/f.png", Answer(200, b"null\n", {"Content-Type": "image/png"})),
    "a text of JSON": ("/f", Answer(200, b'"error"', {"Content-Type": "image/png"})),
    "white space": ("/f", Answer(200, b" \n", {"Content-Type": "image/png"})),
    "JSON in UTF-16": (
        "/f.png",
        Answer(200, '{"error": "x"}'.encode("utf-16"), {"Content-Type": "image/png"}),
    ),
    "markup of no page": ("/f", Answer(200, b"<center><h1>502</h1></center>", {"Content-Type": "image/png"})),
    "401": ("/f", answer_json({}, 401)),
    "403": ("/f", Answer(403, b"<Error>expired</Error>")),
    "404": ("/f.png", answer_html(404)),
    "410": ("/f", Answer(410)),
    "text for a picture": (
        "/f.png",
        Answer(200, b"error code: 1010", {"Content-Type": "text/plain; charset=UTF-8"}),
    ),
    "HTML for a picture": ("/f.png", answer_html()),
    "HTML called a picture": ("/f.png", answer_html(headers={"Content-Type": "image/png"})),
    "HTML after blanks": ("/f.webp", Answer(200, b"\n\n  <!doctype HTML><p>x", TYPED)),
    "JSON for a picture": ("/f.webp", answer_json({"error": "expired"})),
    "JSON called a picture": ("/f", answer_json({"error": "x"}, headers={"Content-Type": "image/png"})),
    "XML for a picture": ("/f.jpg", Answer(200, b"<?xml version='1.0'?><Error><Code>Denied</Code></Error>")),
    "XML for a drawing": (
        "/f.svg",
        Answer(200, b"<?xml version='1.0'?><Error/>", {"Content-Type": "application/xml"}),
    ),
    "XHTML for a drawing": ("/f.svg", Answer(200, b"<?xml version='1.0'?><!DOCTYPE html><html>", SVG)),
    "a page called XML": ("/f", Answer(200, b"<?xml version='1.0'?><html>", {"Content-Type": "application/xml"})),
    "nothing": ("/f.png", Answer(200, b"", TYPED)),
    "nothing for a text": ("/f.txt", Answer(200, b"", {"Content-Type": "text/plain"})),
}


@pytest.mark.parametrize(("path", "script"), GONE.values(), ids=GONE.keys())
def test_what_is_no_such_file_asks_for_a_fresh_url(saver: Saver, server: Server, path: str, script: Answer) -> None:
    """An expired URL, and a page, JSON or nothing in a picture's place, is no file; nothing is left."""
    server.on("GET", path, script)
    with pytest.raises(UrlExpired):
        saver(f"{server.url}{path}")
    assert saver.left() == []
    assert len(server.received) == 1


@pytest.mark.parametrize(
    ("path", "content", "expected"),
    [
        ("/page.html", b"<!doctype html><p>made by a model", "html"),
        ("/result.json", b'{"a": 1}', "json"),
        ("/notes.txt", b"{curly}", "txt"),
        ("/table.csv", b"[a],b\n1,2", "csv"),
        ("/drawing.svg", b"<?xml version='1.0'?>\n<svg xmlns='x'></svg>", "svg"),
        ("/mesh.obj", b"# v 1 2 3", "obj"),
        ("/out", b"\x89PNG\r\n\x1a\n....", "png"),
        ("/out.webp", b"\xff\xd8\xff\xe0....", "jpg"),
        ("/out.mp4", b"\x00\x00\x00\x18ftypmp42", "mp4"),
        ("/a.epub", b"PK\x03\x04....", "epub"),
        ("/film.mkv", b"\x1aE\xdf\xa3....", "mkv"),
        ("/lora.safetensors", b"\x10\0\0\0\0\0\0\0{}", "safetensors"),
        ("/v1.5", b"\x01\x02\x03", "bin"),
        ("/weights", b"\x01\x02\x03", "bin"),
    ],
)
def test_the_extension_comes_from_the_first_bytes_then_the_url(
    saver: Saver, server: Server, path: str, content: bytes, expected: str
) -> None:
    """Bytes decide, then the type, then the URL; text that a URL names as text is no refused page."""
    server.on("GET", path, Answer(200, content, {"Content-Type": "application/octet-stream"}))
    saved, _ = saver(f"{server.url}{path}")
    assert Path(saved.path).name == f"{ID}.{expected}"


@pytest.mark.parametrize(
    ("path", "content", "headers"),
    [
        ("/f.svg", b"<!--" + b" licence" * 700 + b"--><svg/>", {}),
        ("/f.svg", b"<!--" + b" licence" * 700 + b"--><svg/>", {"Content-Type": "text/plain"}),
        ("/f", b"<!--" + b" licence" * 700 + b"--><svg/>", SVG),
        ("/f.svg", "<?xml version='1.0' encoding='UTF-16'?><svg/>".encode("utf-16"), SVG),
    ],
    ids=["a long comment", "a long comment called text", "without an extension", "UTF-16"],
)
def test_a_drawing_is_taken_however_it_begins(
    saver: Saver, server: Server, path: str, content: bytes, headers: dict[str, str]
) -> None:
    """Where the first bytes do not show what kind of XML it is, the URL or the type is taken at its word."""
    server.on("GET", path, Answer(200, content, headers, pieces=600))
    saved, _ = saver(f"{server.url}{path}")
    assert (Path(saved.path).name, Path(saved.path).read_bytes()) == (f"{ID}.svg", content)


@pytest.mark.parametrize("path", ["/out.txt", "/out"])
def test_a_text_may_be_blank(saver: Saver, server: Server, path: str) -> None:
    """A line that is empty is a text all the same, and what a model read from a picture without any."""
    server.on("GET", "/out", Answer(200, b"\n", {"Content-Type": "text/plain"}))
    saved, _ = saver(f"{server.url}{path}")
    assert (Path(saved.path).name, Path(saved.path).read_bytes()) == (f"{ID}.txt", b"\n")


def test_other_xml_is_taken_where_it_says_so(saver: Saver, server: Server) -> None:
    """A URL without an extension may well be one of notes or a model."""
    content = b"<?xml version='1.0'?><score-partwise/>"
    server.on("GET", "/f", Answer(200, content, {"Content-Type": "application/vnd.recordare.musicxml+xml"}))
    assert Path(saver(f"{server.url}/f")[0].path).read_bytes() == content


@pytest.mark.parametrize(
    ("content", "content_type", "name", "told"),
    [
        (BODY, "image/webp", "boat.png", "boat.png holds webp data, whatever its name says"),
        (BODY, "image/webp", "boat.webp", ""),
        (BODY, "image/webp", "boat", ""),
        (b"NSFW", "text/plain", "boat.webp", "boat.webp holds txt data, whatever its name says"),
        (b"NSFW", "text/plain", "boat.svg", "boat.svg holds txt data, whatever its name says"),
        (b"NSFW", "text/plain", "boat.md", ""),
        (b"no such magic", "", "boat.webp", ""),
    ],
)
def test_a_name_that_promises_another_format_is_warned_of(
    saver: Saver, server: Server, content: bytes, content_type: str, name: str, told: str
) -> None:
    """A template with the wrong extension is obeyed, and the true format said, where it is known."""
    server.on("GET", "/f", Answer(200, content, {"Content-Type": content_type}))
    assert Path(saver(f"{server.url}/f", template=name)[0].path).name == name
    assert saver.warnings() == [f"{saver.folder}/{told}"] * bool(told)


@pytest.mark.parametrize(
    ("content", "extension", "template", "told"),
    [
        (b"gs://bucket/a.png", "txt", "boat.webp", "boat.webp holds txt data, whatever its name says"),
        (b"false\n", "json", "boat.mp4", "boat.mp4 holds json data, whatever its name says"),
        (b"<svg/>", "txt", "boat.svg", ""),
        (b"<svg/>", "txt", "boat.png", "boat.png holds svg data, whatever its name says"),
        (b"<svg/>", "txt", "{id}.{ext}", ""),
        (b"false\n", "json", "boat.yaml", ""),
    ],
)
def test_a_text_under_the_name_of_a_picture_is_warned_of(
    saver: Saver, content: bytes, extension: str, template: str, told: str
) -> None:
    """What a model gave instead of a picture is saved as asked, and not without a word."""
    saver(content=content, extension=extension, template=template)
    assert saver.warnings() == [f"{saver.folder}/{told}"] * bool(told)


@pytest.mark.parametrize("length", [str(len(BODY)), ""], ids=["announced", "not announced"])
def test_a_file_above_the_limit_is_refused(folder: Path, server: Server, length: str) -> None:
    """A file larger than the limit ends at once, announced or not, and the limit is named."""
    server.on("GET", "/f", Answer(200, BODY, TYPED, length=length, then="close"))
    saver = Saver(folder, max_size_bytes=100_000)
    with pytest.raises(errors.LocalFileError, match=r"above the 100\.0 kB of --max-size") as raised:
        saver(f"{server.url}/f")
    assert raised.value.remedy.startswith("--max-size ")
    assert not (folder / f"{ID}.webp").exists()


def test_a_file_that_announces_too_much_is_not_begun(folder: Path, server: Server) -> None:
    """Its headers tell enough, and with them the limit that would let it through."""
    server.on("GET", "/f", Answer(200, BODY, TYPED, length="7000000000", then="close"))
    saver = Saver(folder)
    with pytest.raises(errors.LocalFileError, match=r"has 7\.0 GB or more") as raised:
        saver(f"{server.url}/f")
    assert raised.value.remedy == "--max-size 7G"
    assert (saver.events, saver.left()) == ([], [])


def test_what_an_earlier_command_left_whole_is_held_to_the_limit(folder: Path, server: Server) -> None:
    """It may have had another limit, and not the place for it; with that one it needs no fetching any more."""
    server.on("GET", "/f", Answer(200, BODY, TYPED))
    (folder / f"{ID}.webp").write_bytes(b"another")
    with pytest.raises(errors.LocalFileError, match="exists and differs"):
        Saver(folder)(f"{server.url}/f")
    with pytest.raises(errors.LocalFileError, match=r"above the 100\.0 kB of --max-size"):
        Saver(folder, overwrites=True, max_size_bytes=100_000)(f"{server.url}/f")
    assert (folder / f"{ID}.webp").read_bytes() == b"another"
    saved, _ = Saver(folder, overwrites=True)(f"{server.url}/f")
    assert (Path(saved.path).read_bytes(), server.count("GET")) == (BODY, 1)


@pytest.mark.parametrize(
    ("url", "error", "code"),
    [
        ("https:///x", errors.OutputMissing, "output_broken"),
        ("https://127.0.0.1%5Cx/y", errors.Refused, "unsafe_url"),
        ("http://[::1", errors.OutputMissing, "output_broken"),
        ("https://x:99999/y", errors.OutputMissing, "output_broken"),
    ],
)
def test_a_malformed_url_is_an_error(saver: Saver, url: str, error: type[errors.CometrepError], code: str) -> None:
    """A URL that is none is told, is not tried again, and leaves no file."""
    with pytest.raises(error, match=f"(?i){re.escape(url)}") as raised:
        saver(url)
    assert raised.value.code == code
    assert saver.events == []
    assert saver.left() == []


def test_a_host_with_a_space_is_an_error(saver: Saver) -> None:
    """urllib3 refuses it, or encodes it, which is refused here: that differs between its versions."""
    with pytest.raises((errors.OutputMissing, errors.Refused), match=r"exa( |%20)mple"):
        saver("https://exa mple/x")
    assert saver.left() == []


# What stands at the target


def test_an_equal_file_that_exists_is_reported_as_saved(saver: Saver, server: Server, folder: Path) -> None:
    """The same content under the same name is success, and the old file stays untouched."""
    target = folder / f"{ID}.webp"
    target.write_bytes(BODY)
    before = target.stat()
    server.on("GET", "/f", Answer(200, BODY, TYPED))
    _, how = saver(f"{server.url}/f")
    assert how == "kept"
    assert (target.stat().st_ino, target.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert saver.left() == [f"{ID}.webp"]


def test_a_different_file_that_exists_stays(saver: Saver, server: Server, folder: Path) -> None:
    """Other content under that name stays, the error names --overwrite, and the fetched bytes are not lost."""
    (folder / f"{ID}.webp").write_bytes(b"mine")
    server.on("GET", "/f", Answer(200, BODY, TYPED))
    with pytest.raises(errors.LocalFileError, match="differs") as raised:
        saver(f"{server.url}/f")
    assert raised.value.remedy == "--overwrite"
    assert (folder / f"{ID}.webp").read_bytes() == b"mine"
    server.received.clear()
    saved, how = Saver(folder, overwrites=True)(f"{server.url}/f")
    assert how == "saved"
    assert Path(saved.path).read_bytes() == BODY
    assert server.received == []


def test_a_file_that_cannot_be_read_is_not_said_to_differ(
    saver: Saver, server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be the same, and often may not be replaced either: another folder is the way on."""
    (folder / f"{ID}.webp").write_bytes(b"theirs")
    monkeypatch.setattr(os, "access", lambda *_: False)
    server.on("GET", "/f", Answer(200, BODY, TYPED))
    with pytest.raises(errors.LocalFileError, match="exists and cannot be read") as raised:
        saver(f"{server.url}/f")
    assert raised.value.remedy == "-d DIR"


def test_overwrite_replaces_by_rename(folder: Path, server: Server) -> None:
    """With overwrite the old file is replaced, and another name of it keeps the old content."""
    (folder / f"{ID}.webp").write_bytes(b"mine")
    os.link(folder / f"{ID}.webp", folder / "other-name")
    server.on("GET", "/f", Answer(200, BODY, TYPED))
    Saver(folder, overwrites=True)(f"{server.url}/f")
    assert (folder / f"{ID}.webp").read_bytes() == BODY
    assert (folder / "other-name").read_bytes() == b"mine"


def test_skip_existing_fetches_nothing(folder: Path, server: Server) -> None:
    """An existing path is left alone without a single request."""
    (folder / f"{ID}.webp").write_bytes(b"mine")
    saved, how = Saver(folder, skips_existing=True)(f"{server.url}/f.webp")
    assert how == "skipped"
    assert server.received == []
    assert (folder / f"{ID}.webp").read_bytes() == b"mine"
    assert saved.path.endswith(f"{ID}.webp")


def test_skip_existing_fetches_nothing_for_a_name_without_an_extension_of_its_own(
    folder: Path, server: Server
) -> None:
    """Whatever the file will turn out to be, its path is known and exists."""
    (folder / "out.webp").write_bytes(b"mine")
    saver = Saver(folder, skips_existing=True)
    _, how = saver(f"{server.url}/f", template="out.webp")
    assert (how, server.received) == ("skipped", [])


def test_skip_existing_leaves_what_only_the_bytes_show_to_exist(folder: Path, server: Server) -> None:
    """Where the URL does not tell the extension, the path that exists is left alone, and nothing is said of it."""
    (folder / f"{ID}.webp").write_bytes(b"mine")
    server.on("GET", "/f", Answer(200, BODY, TYPED))
    saver = Saver(folder, skips_existing=True)
    saved, how = saver(f"{server.url}/f")
    assert how == "skipped"
    assert (folder / f"{ID}.webp").read_bytes() == b"mine"
    assert saver.left() == [f"{ID}.webp"]
    assert (saved.size_bytes, saved.sha256) == (4, "")
    (folder / f"{ID}.png-webp").write_bytes(b"mine")
    saver(f"{server.url}/f", template="{id}.png-{ext}")
    assert not any(isinstance(event, Noted) for event in saver.events)


@pytest.mark.parametrize("overwrites", [False, True])
@pytest.mark.parametrize(("make", "told"), [(Path.mkdir, "is a folder"), (os.mkfifo, "is no regular file")])
def test_what_is_no_file_at_the_target_is_an_error(
    folder: Path, server: Server, make: Callable[[Path], None], told: str, overwrites: bool
) -> None:
    """It is never replaced; what mends it, a name in a folder, contradicts no other option, as stdout would."""
    make(folder / f"{ID}.webp")
    before = (folder / f"{ID}.webp").stat()
    server.on("GET", "/f", Answer(200, BODY, TYPED))
    with pytest.raises(errors.LocalFileError, match=told) as raised:
        Saver(folder, overwrites=overwrites)(f"{server.url}/f")
    assert raised.value.remedy == hints.OWN_FOLDERS
    assert os.path.samestat((folder / f"{ID}.webp").stat(), before)


def test_a_symlink_at_the_target_is_not_followed(folder: Path, server: Server, tmp_path: Path) -> None:
    """Without overwrite a symlink stays; with it the link is replaced, and what it pointed at is untouched."""
    precious = tmp_path / "precious"
    precious.write_bytes(b"mine")
    (folder / f"{ID}.webp").symlink_to(precious)
    server.on("GET", "/f", Answer(200, BODY, TYPED))
    with pytest.raises(errors.LocalFileError, match="differs"):
        Saver(folder)(f"{server.url}/f")
    Saver(folder, overwrites=True)(f"{server.url}/f")
    assert precious.read_bytes() == b"mine"
    assert not (folder / f"{ID}.webp").is_symlink()


def test_a_dangling_symlink_at_the_target_stays(folder: Path, server: Server, tmp_path: Path) -> None:
    """A link to nowhere is not a free name."""
    (folder / f"{ID}.webp").symlink_to(tmp_path / "nowhere")
    server.on("GET", "/f", Answer(200, BODY, TYPED))
    with pytest.raises(errors.LocalFileError):
        Saver(folder)(f"{server.url}/f")
    assert not (tmp_path / "nowhere").exists()


def test_a_symlink_in_the_part_files_place_is_not_followed(folder: Path, server: Server, tmp_path: Path) -> None:
    """A link planted under the part file's name does not lead cometrep to another file."""
    precious = tmp_path / "precious"
    precious.write_bytes(b"mine")
    (folder / f".{ID}-0.part").symlink_to(precious)
    server.on("GET", "/f", Answer(200, BODY, TYPED))
    with pytest.raises(errors.LocalFileError):
        Saver(folder)(f"{server.url}/f")
    assert precious.read_bytes() == b"mine"


@pytest.mark.parametrize("is_facts", [True, False])
def test_a_pipe_in_the_part_files_place_is_not_waited_for(folder: Path, server: Server, *, is_facts: bool) -> None:
    """What is known of the bytes is not read from a pipe, nor are they written to one."""
    os.mkfifo(folder / f".{ID}-0.part{'.json' * is_facts}")
    server.on("GET", "/f", Answer(200, BODY, TYPED))
    if is_facts:
        assert Path(Saver(folder)(f"{server.url}/f")[0].path).read_bytes() == BODY
    else:
        with pytest.raises(errors.LocalFileError, match="cannot write"):
            Saver(folder)(f"{server.url}/f")


def test_a_part_file_that_is_a_finished_file_too_is_let_go(folder: Path, server: Server) -> None:
    """Killed between naming the target and dropping the part's name, the next run spares the finished file."""
    (folder / f"{ID}.webp").write_bytes(BODY)
    os.link(folder / f"{ID}.webp", folder / f".{ID}-0.part")
    server.on("GET", "/f", Answer(200, picture(1000, seed=3), TYPED))
    with pytest.raises(errors.LocalFileError):
        Saver(folder)(f"{server.url}/f")
    assert (folder / f"{ID}.webp").read_bytes() == BODY


def test_a_file_in_the_folders_place_is_told(folder: Path, server: Server) -> None:
    """For what it is: that it exists is not what is wrong."""
    (folder / "notes").write_text("mine")
    server.on("GET", "/f", Answer(200, BODY, TYPED))
    with pytest.raises(errors.LocalFileError, match="notes: it is not a folder"):
        Saver(folder / "notes")(f"{server.url}/f")


def test_a_missing_folder_is_made(tmp_path: Path, server: Server) -> None:
    """The folder to save in, and folders in the template, are made."""
    server.on("GET", "/f", Answer(200, BODY, TYPED))
    saved, _ = Saver(tmp_path / "a" / "b")(f"{server.url}/f", template="{model}/{ext}/{date}-{id}.{ext}")
    assert saved.path == str(tmp_path / "a" / "b" / "owner-name" / "webp" / f"2026-01-02-{ID}.webp")
    assert not list((tmp_path / "a" / "b").glob(".*"))


def test_a_file_where_the_folder_should_be_is_an_error(tmp_path: Path, server: Server) -> None:
    """A folder that cannot be made is a local file error, before anything is fetched."""
    (tmp_path / "a").write_text("a file")
    with pytest.raises(errors.LocalFileError, match="cannot write"):
        Saver(tmp_path / "a" / "b")(f"{server.url}/f")
    assert server.received == []


def test_a_folder_that_vanishes_is_an_error(folder: Path, server: Server) -> None:
    """A folder removed during the transfer ends in a local file error, not a crash."""

    def vanish(_: Received) -> Answer:
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
        return Answer(200, BODY, TYPED)

    server.on("GET", "/f", vanish)
    with pytest.raises(errors.LocalFileError):
        Saver(folder)(f"{server.url}/f")


def test_a_full_disk_is_told_and_leaves_no_final_name(tmp_path: Path, server: Server) -> None:
    """A write that the disk refuses is a local file error that says so; no final name appears."""
    server.on("GET", "/f", Answer(200, BODY, TYPED))
    code = (
        "import resource, signal, sys\n"
        "sys.dont_write_bytecode = True\n"  # of which a part would stand where the whole is looked for
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "from pathlib import Path\n"
        "from tests.test_download import Saver\n"
        "from cometrep import errors\n"
        "try:\n"
        f"    Saver(Path({str(tmp_path)!r}))({server.url + '/f'!r})\n"
        "except errors.LocalFileError as failure:\n"
        "    sys.stdout.write(failure.message)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "cannot write" in done.stdout
    assert not (tmp_path / f"{ID}.webp").exists()


# Content of other kinds


def test_a_data_uri_is_saved_like_a_file(saver: Saver) -> None:
    """The bytes of a data URI get the same names and facts."""
    saved, _ = saver(data_uri="data:image/png;base64,iVBORw0KGgo=")
    assert Path(saved.path).name == f"{ID}.png"
    assert Path(saved.path).read_bytes() == b"\x89PNG\r\n\x1a\n"
    assert saved.content_type == "image/png"


def test_a_data_uri_whose_name_is_taken_is_kept_for_the_next_command(saver: Saver) -> None:
    """As a file behind a URL is: after its hour the API does not give it, and the ledger has its SHA-256 alone."""
    saver.folder.mkdir(exist_ok=True)
    (saver.folder / "cat.png").write_bytes(b"mine")
    data_uri = "data:image/png;base64,iVBORw0KGgo="
    with pytest.raises(errors.LocalFileError, match="exists and differs"):
        saver(data_uri=data_uri, template="cat.png")
    forgotten = shorten_data_uris(data_uri)
    with pytest.raises(errors.OutputMissing, match="which the API does not give any more"):
        saver(data_uri=shorten_data_uris("data:image/png;base64,iVBORw=="))  # another one
    saved, how = saver(data_uri=forgotten)
    assert (how, Path(saved.path).name, saved.content_type) == ("saved", f"{ID}.png", "image/png")
    assert Path(saved.path).read_bytes() == b"\x89PNG\r\n\x1a\n"
    with pytest.raises(errors.OutputMissing, match="which the API does not give any more"):
        saver(data_uri=forgotten, template="other.png")


@pytest.mark.parametrize(
    ("data_uri", "told"),
    [
        ("data:image/png;base64,%%%", "broken data URI"),
        ("data:image/png;base64", "broken data URI"),
        ("data:image/png;base64,", "empty data URI"),
        ("data:;base64,", "empty data URI"),
        ("data:image/png;base64,PGh0bWw+", "data URI with a web page"),
        ("data:IMAGE/png,%7B%22error%22:1%7D", "data URI with JSON"),
    ],
    ids=["broken", "without data", "empty", "empty without a type", "web page", "JSON"],
)
def test_a_data_uri_without_a_file_is_missing_output(saver: Saver, data_uri: str, told: str) -> None:
    """One that does not decode, or to nothing, is reported, and nothing is left."""
    with pytest.raises(errors.OutputMissing, match=told):
        saver(data_uri=data_uri)
    assert saver.left() == []


@pytest.mark.parametrize(
    ("data_uri", "name"),
    [
        ("data:application/json,%7B%7D", "json"),
        ("data:text/html,<html>", "html"),
        ("data:image/svg+xml,<svg/>", "svg"),
        ("data:image/jpeg;base64,iVBORw0KGgo=", "png"),
    ],
)
def test_a_data_uri_may_hold_what_it_says(saver: Saver, data_uri: str, name: str) -> None:
    """A page, JSON or a drawing is a file where it is called one, and a picture of any format is a picture."""
    assert Path(saver(data_uri=data_uri)[0].path).name == f"{ID}.{name}"


def test_text_is_saved_as_it_is(saver: Saver) -> None:
    """Text becomes a .txt file, byte for byte."""
    saved, _ = saver(content="héllo\n".encode(), extension="txt")
    assert Path(saved.path).name == f"{ID}.txt"
    assert Path(saved.path).read_bytes() == "héllo\n".encode()


# Two at once, and a large one


def test_two_processes_saving_one_file_agree(folder: Path, server: Server) -> None:
    """Two savers of the same file into one folder both succeed, and leave one whole file."""
    barrier = threading.Barrier(2, timeout=TIMEOUT_SECONDS)

    def together(_: Received) -> Answer:
        barrier.wait()
        return Answer(200, BODY, TYPED)

    server.on("GET", "/f", together)
    code = (
        "import sys\nfrom pathlib import Path\nfrom tests.test_download import Saver\n"
        f"sys.stdout.write(Saver(Path({str(folder)!r}))({server.url + '/f'!r})[1])\n"
    )
    started = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) for _ in range(2)]
    ends = {process.communicate(timeout=TIMEOUT_SECONDS)[0] for process in started}
    assert ends <= {b"saved", b"kept"}
    assert b"saved" in ends
    assert sorted(path.name for path in folder.iterdir()) == [f"{ID}.webp"]
    assert (folder / f"{ID}.webp").read_bytes() == BODY


@needs_proc
def test_memory_does_not_grow_with_the_file(folder: Path, server: Server) -> None:
    """A file of 150 MB is saved within 120 MiB of memory in all."""
    size = 150_000_000

    def large(_: Received) -> Answer:
        return Answer(200, BODY[:64] + bytes(size - 64), TYPED)

    server.on("GET", "/f", large)
    code = (
        "import re, sys\nfrom pathlib import Path\nfrom tests.test_download import Saver\n"
        f"Saver(Path({str(folder)!r}))({server.url + '/f'!r})\n"
        # Not ru_maxrss, which a forked process takes over from its parent.
        "sys.stdout.write(re.search(r'VmHWM:\\s+(\\d+) kB', Path('/proc/self/status').read_text()).group(1))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) * 1024 < 120 * 2**20
    assert (folder / f"{ID}.webp").stat().st_size == size
