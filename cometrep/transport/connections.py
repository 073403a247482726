"""Connections whose answers come to an end, are read as they were meant, and carry a create only while fresh.

Some of what is replaced here is private to http.client and urllib3: nothing public reaches it.
"""

import http.client
import io
import math
import re
import socket
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import requests
import urllib3
import urllib3.connection

from cometrep.transport.proxies import proxy_login

FRAMING_TIMEOUT_SECONDS = 300.0  # for a head, or for what stands before a chunk, however slowly it drips
TRAILER_TIMEOUT_SECONDS = 1.0  # for what follows a body that is whole, and tells nothing
_INTERIM_LIMIT = 1000  # answers before the final one
_HEAD_LIMIT_BYTES = 1_000_000  # of an answer, with all interim ones: to read more may take longer than any deadline
_HEADER = r"(?m)^([!-9;-~]+)[ \t]*(:.*\n(?:[ \t].*\n)*)"  # with further lines; blanks before its colon mean nothing
_COMPRESSIONS = ("gzip", "x-gzip", "deflate", "compress", "x-compress")  # of transfer codings (RFC 9112, 7.2)
http.client._MAXHEADERS = 1000  # type: ignore[attr-defined]  # by itself it lets go of an answer with more than 100
_IDLE_SECONDS = 1.0  # after which the other side may be closing a connection, at the moment a create enters it


class _Timed(io.RawIOBase):
    """What comes from a socket, until the time for it is over; the socket's own limit is on each wait alone."""

    def __init__(self, source: io.RawIOBase, seconds: float) -> None:
        self._source = source
        self.head_bytes_left = math.inf
        self.allow(seconds)

    def allow(self, seconds: float) -> None:
        """Let all that comes from now on take so long, counted from its first byte on."""
        self._seconds, self._until = seconds, math.inf

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def readinto(self, buffer: Any) -> Any:
        """Read what there is; raise TimeoutError where the time is over, HTTPException where a head is too long."""
        if time.monotonic() > self._until:
            raise TimeoutError("timed out")
        count = self._source.readinto(buffer)
        self.head_bytes_left -= count or 0
        if self.head_bytes_left < 0:
            raise http.client.HTTPException(f"an answer's head of more than {_HEAD_LIMIT_BYTES} bytes")
        if self._until == math.inf:
            self._until = time.monotonic() + self._seconds
        return count

    def close(self) -> None:
        """Let go of the socket."""
        self._source.close()
        super().close()


class _Response(http.client.HTTPResponse):
    """A response that has an end: with a limit on what drips, and whole where its body is.

    Python reads a head, what stands before a chunk, and trailers, in one call each, for as long as a byte comes
    now and then.
    """

    def __init__(
        self, sock: Any, *rest: Any, connection: "_Connection", answer_timeout_seconds: float | None, **named: Any
    ) -> None:
        super().__init__(sock, *rest, **named)
        self._connection, self._socket = connection, sock
        self._is_body_free = answer_timeout_seconds is None
        self._has_trailers_left = False
        seconds = FRAMING_TIMEOUT_SECONDS if answer_timeout_seconds is None else answer_timeout_seconds
        self._timed = _Timed(self.fp.detach(), seconds)
        self.fp = io.BufferedReader(self._timed)

    def begin(self) -> None:
        """Read status and headers behind interim answers (RFC 9110, 15.2), of which Python passes over 100 alone.

        101 is final, as what follows it is no HTTP.
        """
        self._timed.head_bytes_left = _HEAD_LIMIT_BYTES
        super().begin()
        for _ in range(_INTERIM_LIMIT):
            if not 101 < self.status < 200:
                break
            self.headers = None  # type: ignore[assignment]  # what makes it read once more
            super().begin()
        if head := _mended(self.headers):
            told = f"HTTP/1.{self.version % 10} {self.status} {self.reason}\r\n".encode("latin-1")
            self.headers, sent = None, self.fp  # type: ignore[assignment]
            self.fp = io.BufferedReader(io.BytesIO(told + head))
            super().begin()  # reads all of it as if it had been sent so
            self.fp = sent
        self._timed.head_bytes_left = math.inf
        if self._is_body_free:
            self._timed.allow(math.inf)

    def _get_chunk_left(self) -> Any:
        """Read up to the bytes of a chunk, and give their number; None behind the last one."""
        if self._is_body_free:
            self._timed.allow(FRAMING_TIMEOUT_SECONDS)
        left = super()._get_chunk_left()  # type: ignore[misc]
        if self._is_body_free:
            self._timed.allow(math.inf)
        if self._has_trailers_left:
            self._connection.close()  # another answer would begin with them
        return left

    def _read_and_discard_trailer(self) -> None:
        """Read trailers that come at once: the body is whole without them."""
        try:
            self._timed.allow(TRAILER_TIMEOUT_SECONDS)
            self._socket.settimeout(TRAILER_TIMEOUT_SECONDS)
            super()._read_and_discard_trailer()  # type: ignore[misc]
        except (OSError, http.client.HTTPException):
            self._has_trailers_left = True


def _mended(headers: http.client.HTTPMessage) -> bytes:
    """Write a head anew that Python reads otherwise than meant, empty for any other.

    Python keeps blanks behind a value, which mean nothing (RFC 9110, 5.5), and skips all headers behind a line that
    is none. It knows chunks by `Transfer-Encoding: chunked` alone; with a word more it takes their sizes for a part
    of the body. Of such words those that are no coding mean nothing, and a compression is one of the content then.
    """
    lines, rest = headers.items(), headers.get_payload()
    if isinstance(rest, list):  # as of a Content-Type `message/…`, behind which Python sees a message
        rest = "".join(map(str, rest))
    if (
        not rest
        and headers.get_all("Transfer-Encoding", ["chunked"]) == ["chunked"]
        and all(v == v.strip() for _, v in lines)
    ):
        return b""
    if isinstance(rest, str) and rest:
        whole_lines = re.sub(r"\r(?!\n)", " ", rest)  # for Python a carriage return alone ends a line too
        readable = "".join(map("".join, re.findall(_HEADER, whole_lines)))
        lines += http.client.parse_headers(io.BytesIO(readable.encode("latin-1"))).items()
    lines = [(name, " ".join(part.strip(" \t") for part in re.split(r"[\r\n]+", text))) for name, text in lines]
    told = ",".join(value for name, value in lines if name.lower() == "transfer-encoding")
    codings = [coding.partition(";")[0].strip().lower() for coding in told.split(",")]
    lines = [(name, value.strip(" \t")) for name, value in lines if name.lower() != "transfer-encoding"]
    lines += [("Content-Encoding", coding) for coding in codings if coding in _COMPRESSIONS]
    lines += [("Transfer-Encoding", "chunked")] * ("chunked" in codings)
    return "".join(f"{name}: {value}\r\n" for name, value in lines).encode("latin-1") + b"\r\n"


class _Connection(urllib3.connection.HTTPConnection):
    """A connection to a peer that may be asked, and whose answers have an end."""

    def __init__(
        self,
        *rest: Any,
        answer_timeout_seconds: float | None,
        check_peer: Callable[[str], None] | None,
        **named: Any,
    ) -> None:
        super().__init__(*rest, **named)
        self._check_peer = check_peer
        self.answered = 0.0  # when its last answer began, on the monotonic clock
        self.response_class = partial(  # type: ignore[assignment]
            _Response, connection=self, answer_timeout_seconds=answer_timeout_seconds
        )

    def _new_conn(self) -> socket.socket:
        """Connect; nothing has been sent yet, not even of TLS."""
        connected = super()._new_conn()
        try:
            if self._check_peer and self.proxy is None:
                self._check_peer(connected.getpeername()[0])
        except BaseException:
            connected.close()
            raise
        return connected

    def getresponse(self) -> Any:
        """Read the head of an answer."""
        response = super().getresponse()
        self.answered = time.monotonic()
        return response


class _SecureConnection(_Connection, urllib3.connection.HTTPSConnection):
    """The same behind TLS."""


class _Pool(urllib3.HTTPConnectionPool):
    """Connections of which a POST takes none that has been idle for long, or once one was lost none that was used.

    The other side may close such a one while the request is on its way, and nobody can tell whether it was read.
    """

    ConnectionCls = _Connection

    def __init__(self, *rest: Any, **named: Any) -> None:
        super().__init__(*rest, **named)
        self._asked = threading.local()
        self._has_lost_any = False  # as a POST was on its way

    def urlopen(self, method: str, *rest: Any, **named: Any) -> Any:
        """Send a request over one of the connections."""
        self._asked.method = method
        try:
            return super().urlopen(method, *rest, **named)
        except (urllib3.exceptions.ProtocolError, OSError):
            self._has_lost_any = self._has_lost_any or method == "POST"
            raise

    def _get_conn(self, *rest: Any, **named: Any) -> Any:
        connection: Any = super()._get_conn(*rest, **named)
        idle_seconds = time.monotonic() - connection.answered
        if self._asked.method == "POST" and (self._has_lost_any or idle_seconds > _IDLE_SECONDS):
            connection.close()  # it connects anew when it is used
        return connection


class _SecurePool(_Pool, urllib3.HTTPSConnectionPool):
    """The same behind TLS."""

    ConnectionCls = _SecureConnection


class Adapter(requests.adapters.HTTPAdapter):
    """An adapter of connections that are ours, and that knows which ones it gave last.

    To find a host's anew is a tenth of what a look costs.
    """

    _last: tuple[Any, Any] = (None, None)  # what they were asked for, and they

    def __init__(self, connections: int, **settings: Any) -> None:
        """`settings` are those of each connection."""
        self._pools = {"http": partial(_Pool, **settings), "https": partial(_SecurePool, **settings)}
        super().__init__(pool_maxsize=connections)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **settings: Any) -> None:
        """Make the pools of direct connections."""
        super().init_poolmanager(connections, maxsize, block, **settings)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, proxy: str, **settings: Any) -> Any:
        """Give the pools of connections through a proxy; of a SOCKS proxy they are of another kind."""
        manager = super().proxy_manager_for(proxy, **settings)
        if not proxy.lower().startswith("socks"):
            manager.pool_classes_by_scheme = self._pools
        return manager

    def proxy_headers(self, proxy: str) -> dict[str, str]:
        """Give the headers that are for a proxy alone; requests itself knows no passwords beyond Latin-1."""
        return proxy_login(proxy)

    def get_connection_with_tls_context(
        self, request: requests.PreparedRequest, verify: Any, proxies: Any = None, cert: Any = None
    ) -> Any:
        """Give the pool of connections that a request goes through."""
        asked = ((request.url or "").split("/", 3)[:3], verify, proxies, cert)
        known, connections = self._last
        if asked != known:
            connections = super().get_connection_with_tls_context(request, verify, proxies, cert)
            self._last = (asked, connections)
        return connections

    def close(self) -> None:
        """Close all connections."""
        self._last = (None, None)
        super().close()
