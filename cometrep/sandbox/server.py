"""Answer on a port of this machine as the API does, and misbehave as it was asked to."""

import hashlib
import importlib.util
import json
import math
import os
import re
import secrets
import socket
import struct
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.errors import MissingHeaderBodySeparatorDefect
from email.utils import formatdate
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingTCPServer
from typing import Any, Self

from cometrep import errors
from cometrep.sandbox.faults import Fault
from cometrep.sandbox.painter import Studio
from cometrep.sandbox.predictions import (
    RETENTION_SECONDS,
    Record,
    models,
    new_record,
    prediction,
    problems,
    record_of,
    stamp,
    task,
)

HANG_SECONDS = 45.0  # CometAPI's query page once recorded no answer within 45 s
SLOW_SECONDS = 3.0
_KEPT_SECONDS = 30 * 86400.0  # a prediction, whose record holds the files that were sent as its input
BODY_LIMIT = 20 * 1024 * 1024
_DEEPEST = 500  # levels of an input
_DIGEST_BYTES = 32  # of SHA-256, before the picture in a file of the cache
_LINE_LIMIT = 1 << 16  # that of http.server for a header

_REFUSALS = ("429", "500", "html")  # come instead of the prediction; the others only lose the answer to it
# The pattern of the provider's own client; or a key of Replicate's, which that one's clients may be set up with.
_KEY = re.compile(r"(?i:Bearer) (?:sk-|r8_)[A-Za-z0-9_-]{8,250}")
_ID = re.compile(r"[0-9a-z]{26}")
_CREATE = re.compile(r"/replicate/v1/models/([A-Za-z0-9._-]+/[A-Za-z0-9._-]+)/predictions")
_GET = re.compile(r"/replicate/v1/predictions/([^/]+)")
_FILE = re.compile(r"/files/([0-9a-z]{26})/out-([0-9])\.(webp|jpg|png)")
_HOST = re.compile(r"([A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\])(:[0-9]{1,5})?")
_RANGE = re.compile(r"bytes=(?!-$)([0-9]{0,18})-([0-9]{0,18})")


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it came in; the names of its headers are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    body: bytes
    content_type: str
    headers: tuple[tuple[str, str], ...] = ()


def _json(status: int, document: object, *headers: tuple[str, str]) -> _Answer:
    return _Answer(status, json.dumps(document).encode(), "application/json", headers)


def _comet_error(status: int, code: str, message: str, request_id: str) -> _Answer:
    message = f"{message} (request id: {request_id})"
    return _json(status, {"error": {"message": message, "type": "comet_api_error", "param": "", "code": code}})


def _problem(status: int, title: str, detail: str) -> _Answer:
    answer = _json(status, {"title": title, "detail": detail, "status": status})
    return replace(answer, content_type="application/problem+json")


def _text(status: int, words: str, *headers: tuple[str, str]) -> _Answer:
    return _Answer(status, f"{words}\n".encode(), "text/plain; charset=utf-8", headers)


def _page(status: int, title: str, *headers: tuple[str, str]) -> _Answer:
    page = f"<!DOCTYPE html>\n<html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>\n"
    return _Answer(status, page.encode(), "text/html; charset=utf-8", headers)


def _canned(kind: str, request_id: str) -> _Answer | None:
    """Give the answer that a fault puts in the place of the real one, if it is of that sort."""
    if kind == "429":
        detail = "Request was throttled. Expected available in 1 second."
        return _json(429, {"detail": detail, "status": 429, "retry_after": 1}, ("Retry-After", "1"))
    if kind == "500":
        return _comet_error(500, "bad_response_status_code", "bad response status code 500", request_id)
    if kind == "524":
        return _page(524, "api.cometapi.com | 524: A timeout occurred", ("CF-RAY", f"{request_id[-16:]}-SEA"))
    if kind == "html":
        return _page(200, "CometAPI: a page of the cometrep sandbox, not of the API")
    return _text(403, "Forbidden: this file has expired") if kind == "expire" else None


def _ranged(data: bytes, content_type: str, headers: Mapping[str, str], method: str) -> _Answer:
    """Answer with a file, or with the part of it that was asked for."""
    etag = f'"{hashlib.sha256(data).hexdigest()[:32]}"'
    common = (("ETag", etag), ("Accept-Ranges", "bytes"))
    asked = _RANGE.fullmatch(headers.get("range", "")) if method == "GET" else None
    is_backwards = asked and asked[1] and asked[2] and int(asked[2]) < int(asked[1])
    if asked is None or is_backwards or headers.get("if-range", etag) != etag:
        return _Answer(200, data, content_type, common)  # what is not understood is ignored, as RFC 9110 has it
    first = int(asked[1]) if asked[1] else max(0, len(data) - int(asked[2]))
    end = min(len(data), int(asked[2]) + 1) if asked[1] and asked[2] else len(data)
    if first >= end:
        return _text(416, "Range Not Satisfiable", *common, ("Content-Range", f"bytes */{len(data)}"))
    where = ("Content-Range", f"bytes {first}-{end - 1}/{len(data)}")
    return _Answer(206, data[first:end], content_type, (*common, where))


def _write(path: Path, data: bytes) -> None:
    part = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}")
    try:
        part.write_bytes(data)
        part.replace(path)
    except OSError:
        with suppress(OSError):
            part.unlink()
        raise


def _finite(text: str) -> float:
    """Read a number of JSON; Python would take NaN and 1e999, too, and answer with what is no JSON."""
    if math.isfinite(number := float(text)):
        return number
    raise ValueError(f"{text} is not a number of JSON")


def _is_deep(value: object) -> bool:
    """Say whether JSON is so deep that Python may refuse to write it down or to read it again."""
    level = [value]
    for _ in range(_DEEPEST):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
    return bool(level)


class Sandbox:
    """The stand-in API on a port of 127.0.0.1; its predictions live in `folder`, beyond the process.

    It serves from `start`, `serve_forever` or `with` on, until `close`. Faults that meet the same request take
    turns: the first is used up, then the next. `clock` gives the time in seconds since the epoch.
    """

    def __init__(
        self,
        folder: Path,
        *,
        port: int = 0,
        seconds: float = 2.0,
        wrapped: bool = False,
        faults: Sequence[Fault] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        if importlib.util.find_spec("PIL") is None:
            import shlex

            raise errors.ConfigError(
                "the sandbox draws its pictures with Pillow, which is not installed",
                hint=f"{shlex.quote(sys.executable)} -m pip install 'pillow>=10.3'",
                code="sandbox_missing",
            )
        self._predictions, self._files = folder / "predictions", folder / "files"
        try:
            self._predictions.mkdir(parents=True, exist_ok=True)
            self._files.mkdir(exist_ok=True)
            self._remove_old()
            with tempfile.TemporaryFile(dir=self._predictions) as file:
                file.write(bytes(4096))  # for a file without bytes a full disk has room
                file.flush()
        except OSError as error:
            raise errors.LocalFileError(
                f"cannot use {folder} for the sandbox: {error.strerror}",
                hint='export COMETREP_HOME="$PWD/.cometrep"',
                code=errors.file_code(error),
            ) from error
        self._seconds, self._wrapped, self.clock = seconds, wrapped, clock
        self._faults = [(fault, fault.times) for fault in faults]
        self._lock = threading.Lock()
        self._studio = Studio()
        self._received: deque[Received] = deque(maxlen=10_000)
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()  # `close` of another thread sees the thread whole, or not at all
        self.closing = threading.Event()
        try:
            self._server = _Server(("127.0.0.1", port), _Handler)
        except (OSError, OverflowError) as error:
            raise errors.UsageError(
                f"cannot serve on port {port} of 127.0.0.1: {getattr(error, 'strerror', None) or error}",
                hint="pass another --port, or --port 0 for any free one",
            ) from error
        self._server.sandbox = self
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def requests(self) -> tuple[Received, ...]:
        """Return the last requests that came in, oldest first."""
        return tuple(self._received)

    def start(self) -> None:
        """Serve in a thread that does not keep the process alive; after `close`, do nothing."""
        try:
            with self._starting:
                if self._thread is None and not self.closing.is_set():
                    thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
                    thread.start()
                    self._thread = thread
        except RuntimeError as problem:
            self.close()
            raise errors.no_thread(problem) from problem

    def serve_forever(self) -> None:
        """Serve until `close` is called, or a signal raises in this thread."""
        self.start()
        while not self.closing.wait(1.0):  # bounded, as Windows delivers Ctrl-C only between waits
            pass

    def close(self) -> None:
        """Stop at once; what is being answered is cut off."""
        self.closing.set()
        with self._starting:
            thread, self._thread = self._thread, None
        if thread is not None:
            self._server.shutdown()
            thread.join()
        self._server.server_close()
        self._server.drop_connections()
        self._studio.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def answer(self, received: Received, body: bytes | None, malformed: str = "") -> tuple[str, _Answer]:
        """Say what the API says, and which fault befalls the saying of it; a body of `None` was too large.

        `malformed` tells what kept the body from being read.
        """
        self._received.append(received)
        request_id = f"{datetime.fromtimestamp(self.clock(), UTC):%Y%m%d%H%M%S}{secrets.token_hex(8)}"
        try:
            if malformed:
                fault, answer = "", _comet_error(400, "invalid_request", malformed, request_id)
            else:
                fault, answer = self._decide(received, body, request_id)
        except OSError as error:
            message = f"the sandbox cannot write its folder: {error.strerror}"
            fault, answer = "", _comet_error(500, "", message, request_id)
        if not received.path.startswith("/files/"):
            answer = replace(answer, headers=(*answer.headers, ("x-cometapi-request-id", request_id)))
        return fault, answer

    def _decide(self, received: Received, body: bytes | None, request_id: str) -> tuple[str, _Answer]:
        path = received.path.partition("?")[0]
        if received.method in ("GET", "HEAD") and (file := _FILE.fullmatch(path)):
            answer = self._file(file, received)
            is_sent = received.method == "GET" and answer.status in (200, 206)
            fault = self._due("file") if is_sent else ""
            return fault, _canned(fault, request_id) or answer
        create = _CREATE.fullmatch(path) if received.method == "POST" else None
        get = _GET.fullmatch(path) if received.method in ("GET", "HEAD") else None
        if create is None and get is None:
            # CometAPI's error guide: a wrong path is a redirect or a page of HTML, never a JSON 404. Here the one
            # leads to the other, so that a client which follows it is caught out as well.
            return "", _page(200, "CometAPI") if path == "/" else _page(301, "Moved", ("Location", "/"))
        if not _KEY.fullmatch(received.headers.get("authorization", "")):
            return "", _comet_error(401, "invalid_api_key", "Invalid token", request_id)
        # As of files, HEAD uses up no fault: it stands for no look of a client.
        fault = "" if received.method == "HEAD" else self._due("create" if create else "get")
        instead = _canned(fault, request_id)
        if instead and fault in _REFUSALS:
            return fault, instead
        host = received.headers.get("host", "")
        base = f"http://{host}" if _HOST.fullmatch(host) else self.url
        answer = self._create(create[1], body, request_id) if create else self._get(path.rpartition("/")[2], base)
        return fault, instead or answer

    def _due(self, request: str) -> str:
        """Take the fault whose turn it is, if there is one for this kind of request."""
        with self._lock:
            for index, (fault, left) in enumerate(self._faults):
                if fault.applies_to(request) and left != 0:
                    self._faults[index] = (fault, left and left - 1)
                    return fault.kind
        return ""

    def _create(self, name: str, body: bytes | None, request_id: str) -> _Answer:
        if body is None:
            return _problem(413, "Content Too Large", "The request body is too large.")
        if name not in models():
            message = f"No available channel for model {name} under group default (distributor)"
            return _comet_error(503, "model_not_found", message, request_id)
        try:
            document = json.loads(body.decode(), parse_float=_finite, parse_constant=_finite)
        except (ValueError, RecursionError) as error:
            return _comet_error(400, "invalid_request", f"the request body is not JSON: {error}", request_id)
        given = document.get("input") if isinstance(document, dict) else None
        if not isinstance(given, dict):  # observed: a missing field is a 500 here, not a 400
            return _comet_error(500, "invalid_request", "field input is required, an object", request_id)
        if wrong := problems(name, given):
            return _problem(422, "Input validation failed", "".join(f"- {words}\n" for words in wrong))
        if _is_deep(given):
            message = f"the input is nested more than {_DEEPEST} levels deep"
            return _comet_error(400, "invalid_request", message, request_id)
        record = new_record(name, given, self.clock(), self._seconds)
        kept = {"model": name, "input": given, "created": record.created, "seconds": self._seconds}
        _write(self._predictions / f"{record.id}.json", json.dumps(kept).encode())
        before = record.created - 1.0  # whatever it is created with, the reply says that it has not started
        # Also of a server that wraps what is asked for: the one client that met such answers (hlee/flux2_mcp) read
        # the id at the root of its create's.
        return _json(200, prediction(record, before, self.url) | {"created_at": stamp(record.created, 9)})

    def _get(self, prediction_id: str, base: str) -> _Answer:
        record = self._load(prediction_id)
        if record is not None:
            return _json(200, (task if self._wrapped else prediction)(record, self.clock(), base))
        if self._wrapped:  # the task layer of new-api
            return _json(400, {"code": "task_not_exist", "message": "task_not_exist", "data": None})
        return _json(404, {"detail": "The requested resource could not be found.", "status": 404})

    def _load(self, prediction_id: str) -> Record | None:
        """Read a prediction; one that is damaged, or in the form of another version of cometrep, is not there."""
        if _ID.fullmatch(prediction_id):
            with suppress(OSError, ValueError, TypeError, KeyError, RecursionError):
                kept = json.loads((self._predictions / f"{prediction_id}.json").read_bytes())
                return record_of(prediction_id, kept)
        return None

    def _file(self, file: re.Match[str], received: Received) -> _Answer:
        record, index = self._load(file[1]), int(file[2])
        if record is None or not record.has_output(self.clock()) or file[3] != record.extension:
            return _text(404, "Not Found")
        if index >= record.files:
            return _text(404, "Not Found")
        content_type = f"image/{file[3].replace('jpg', 'jpeg')}"
        return _ranged(self._picture(record, index), content_type, received.headers, received.method)

    def _picture(self, record: Record, index: int) -> bytes:
        path = self._files / f"{record.fingerprint}-{index}.{record.extension}"
        with suppress(OSError):
            kept = path.read_bytes()
            if hashlib.sha256(kept[_DIGEST_BYTES:]).digest() == kept[:_DIGEST_BYTES]:
                return kept[_DIGEST_BYTES:]
        data = self._studio.draw(record, index)
        with suppress(OSError):  # on a full disk the next one is drawn again
            _write(path, hashlib.sha256(data).digest() + data)
        return data

    def _remove_old(self) -> None:
        """Remove old predictions, and old pictures: one of these that is asked for after all is drawn again."""
        for folder, seconds in (self._files, RETENTION_SECONDS), (self._predictions, _KEPT_SECONDS):
            with os.scandir(folder) as entries:
                for entry in entries:
                    with suppress(OSError):
                        if entry.stat().st_mtime < time.time() - seconds:
                            Path(entry).unlink()


class _Server(ThreadingTCPServer):
    # Not HTTPServer, which asks the resolver for this machine's name at every start.
    allow_reuse_address = os.name == "posix"  # on Windows it would let two servers share a port
    daemon_threads = True
    block_on_close = False  # an answer that hangs must not hold up `close`
    request_queue_size = 128
    sandbox: Sandbox

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__(address, handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        with self._lock:
            self._connections.add(connection)
        return connection, address

    def process_request(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # the system gives no thread for it, and the client sees its connection closed
            self.shutdown_request(request)

    def close_request(self, request: Any) -> None:
        with self._lock:
            self._connections.discard(request)
        super().close_request(request)

    def drop_connections(self) -> None:
        """End the connections that clients keep open: their threads would go on answering."""
        with self._lock:
            for connection in self._connections:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # a client that went away is no news
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def serve(self) -> None:
        """Read a request, and send its answer as the fault of the moment has it."""
        headers = {name.lower(): value for name, value in self.headers.items()}
        sandbox, body, malformed = self.server.sandbox, None, ""
        try:
            body = self._read_body(headers)
        except ValueError as error:
            malformed = str(error)
        path = re.sub(r"(?i)^http://[^/?]*/?", "/", self.path)  # as a proxy is asked (RFC 9112, 3.2.2)
        fault, answer = sandbox.answer(Received(self.command, path, headers), body, malformed)
        is_old = self.request_version == "HTTP/1.0"  # whose clients cannot know that they may ask again
        self.close_connection = self.close_connection or is_old or body is None or fault == "truncate"
        if fault == "reset":
            self._reset()
        elif fault == "hang" and sandbox.closing.wait(HANG_SECONDS):
            self.close_connection = True
        elif fault == "truncate":
            self._send(answer, len(answer.body) // 2)
        elif fault == "slow":
            self._send(answer, 0)
            piece = math.ceil(len(answer.body) / 30)
            for start in range(0, len(answer.body), piece):
                if not sandbox.closing.wait(SLOW_SECONDS / 30):
                    self.wfile.write(answer.body[start : start + piece])
        else:
            self._send(answer)

    # All methods come to one place: those that the API does not have get its page, too. http.server names them.
    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = serve  # noqa: N815

    def _read_body(self, headers: Mapping[str, str]) -> bytes | None:
        """Read the body, `None` for one over the limit; raise ValueError where its end cannot be known.

        One over the limit is read and forgotten, else its sender would miss the answer.
        """
        if any(isinstance(defect, MissingHeaderBodySeparatorDefect) for defect in self.headers.defects):
            raise ValueError("a line of the request's head has no colon")
        if headers.get("content-encoding", "identity").lower() != "identity":
            raise ValueError(f"the content encoding {headers['content-encoding']!r} is not read here")
        if "transfer-encoding" in headers:
            if headers["transfer-encoding"].lower() != "chunked":
                raise ValueError(f"the transfer encoding {headers['transfer-encoding']!r} is not chunked")
            return self._read_chunks()
        length = ", ".join(sorted({*self.headers.get_all("content-length", ["0"])}))
        if not re.fullmatch(r"[0-9]{1,12}", length):
            raise ValueError(f"the content length {length!r} is not a number of bytes")
        return self._read(int(length), BODY_LIMIT)

    def _read(self, length: int, room: int) -> bytes | None:
        if length <= room:
            body = self.rfile.read(length)
            if len(body) < length:  # what came may be whole JSON all the same
                raise ValueError(f"the request body ends after {len(body)} of {length} bytes")
            return body
        while length > 0 and (piece := self.rfile.read(min(length, 1 << 20))):
            length -= len(piece)
        return None

    def _read_chunks(self) -> bytes | None:
        """Read a body in chunks (RFC 9112, 7.1); what stands behind the last one is forgotten."""
        body, is_over = bytearray(), False
        while length := self._chunk_length():
            chunk = self._read(length, -1 if is_over else BODY_LIMIT - len(body))
            is_over = chunk is None
            body += chunk or b""
            if self.rfile.readline(3).strip(b"\r\n"):
                raise ValueError("a chunk of the request body is longer than it says")
        while self.rfile.readline(_LINE_LIMIT).strip(b"\r\n"):
            pass
        return None if is_over else bytes(body)

    def _chunk_length(self) -> int:
        line = self.rfile.readline(_LINE_LIMIT)
        match = re.fullmatch(rb"([0-9A-Fa-f]{1,10})[ \t]*(;.*)?\r?\n", line)
        if match is None:
            raise ValueError(f"{line[:20].decode('ascii', 'replace')!r} is not the length of a chunk")
        return int(match[1], 16)

    def _send(self, answer: _Answer, limit: int | None = None) -> None:
        """Send head and body in one piece; of the body no more than `limit` bytes."""
        phrase = HTTPStatus(answer.status).phrase if answer.status != 524 else "A Timeout Occurred"
        headers = [
            ("Date", formatdate(self.server.sandbox.clock(), usegmt=True)),
            ("Server", "cometrep-sandbox"),
            ("Content-Type", answer.content_type),
            ("Content-Length", str(len(answer.body))),
            *answer.headers,
            *([("Connection", "close")] if self.close_connection else []),
        ]
        lines = [f"HTTP/1.1 {answer.status} {phrase}", *(f"{name}: {value}" for name, value in headers)]
        body = b"" if self.command == "HEAD" else answer.body[:limit]
        self.wfile.write("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body)

    def _reset(self) -> None:
        """End the connection with a RST, before the server shuts it down, which would send a FIN."""
        self.close_connection = True
        linger = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.rfile.close()
        self.connection.close()

    def log_message(self, *_: Any, **__: Any) -> None:
        """Say nothing: stderr is the command's."""
