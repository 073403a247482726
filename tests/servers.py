"""A server over real sockets that answers exactly what a test says, misbehaving on purpose."""

import contextlib
import json
import random
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SCHNELL = "black-forest-labs/flux-schnell"
WEBP = {"Content-Type": "image/webp"}
TYPED = {**WEBP, "ETag": '"v1"'}


@dataclass(frozen=True)
class Received:
    """One request as it came in."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Read the body as JSON."""
        return json.loads(self.body)


@dataclass(frozen=True)
class Answer:
    """What to send back: whole or broken, then how to leave the connection.

    `length` replaces the true Content-Length ("" leaves it out); `cut` sends only so many bytes of the body;
    `then` is `keep`, `close`, `reset` (RST) or `hang` (nothing more until the server ends); `pieces` sends the
    body in pieces of that size; `interim` is sent before all of it; `wait_for` is an event to wait for before
    anything is sent, `hold_after` a number of pieces and the event to wait for behind them.
    """

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    length: str | None = None
    cut: int | None = None
    then: str = "keep"
    pieces: int | None = None
    is_chunked: bool = False
    raw: bytes | None = None
    interim: bytes = b""
    wait_for: threading.Event | None = None
    hold_after: tuple[int, threading.Event] | None = None


def answer_json(value: Any, status: int = 200, **rest: Any) -> Answer:
    """Answer with JSON."""
    headers = {"Content-Type": "application/json", **rest.pop("headers", {})}
    return Answer(status, json.dumps(value).encode(), headers, **rest)


def answer_html(status: int = 200, title: str = "Welcome", **rest: Any) -> Answer:
    """Answer with a web page."""
    page = f"<!DOCTYPE html><html><head><title>{title}</title></head><body>hello</body></html>"
    return Answer(status, page.encode(), {"Content-Type": "text/html", **rest.pop("headers", {})}, **rest)


RESET = Answer(raw=b"", then="reset")
HANG = Answer(raw=b"", then="hang")

Responder = Answer | Callable[[Received], Answer]


class Server:
    """Answer each route from a script; the last answer of a script repeats.

    What came in is in `received`, and over how many connections in `connected`.
    """

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.received: list[Received] = []
        self.connected = 0
        self._scripts: dict[tuple[str, str], list[Responder]] = {}
        self._lock = threading.Lock()
        self._connections: set[socket.socket] = set()
        self._closing = threading.Event()
        self._accepting = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> "Server":
        self._accepting.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        self._accepting.join()  # else it may accept from the socket that gets the descriptor next
        self._listener.close()
        with self._lock:
            for connection in self._connections:
                connection.close()

    def on(self, method: str, path: str, *script: Responder) -> None:
        """Script the answers to a method and a path prefix; the longest matching prefix answers."""
        with self._lock:
            self._scripts[method, path] = list(script)

    def on_create(self, *script: Responder) -> None:
        """Script the answers to creates."""
        self.on("POST", "/replicate/v1/models/", *script)

    def on_get(self, *script: Responder) -> None:
        """Script the answers to looks at any prediction."""
        self.on("GET", "/replicate/v1/predictions/", *script)

    def count(self, method: str, path: str = "/") -> int:
        """Count the requests that came in for a method and path prefix."""
        with self._lock:
            return sum(r.method == method and r.path.startswith(path) for r in self.received)

    @property
    def creates(self) -> int:
        """How many creates came in."""
        return self.count("POST")

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._connections.add(connection)
                self.connected += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection.makefile("rb") as reader:
                while request := _read_request(reader):
                    with self._lock:
                        self.received.append(request)
                    if not self._answer(connection, request):
                        break
        except (OSError, ValueError):
            pass
        finally:
            with self._lock:
                self._connections.discard(connection)
            connection.close()

    def _answer(self, connection: socket.socket, request: Received) -> bool:
        answer = _called(self._next(request), request)
        if answer.wait_for:
            answer.wait_for.wait(30)
        for number, piece in enumerate(_pieces(answer)):  # the first piece is the head
            if answer.hold_after and number == answer.hold_after[0] + 1:
                answer.hold_after[1].wait(30)
            connection.sendall(piece if number else answer.interim + piece)
        if answer.then == "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if answer.then == "hang":
            self._closing.wait(120)
        return answer.then == "keep"

    def _next(self, request: Received) -> Responder:
        with self._lock:
            matching = [
                key for key in self._scripts if key[0] == request.method and request.path.startswith(key[1])
            ]
            if not matching:
                return answer_json({"detail": f"no script for {request.method} {request.path}"}, 404)
            script = self._scripts[max(matching, key=lambda key: len(key[1]))]
            return script.pop(0) if len(script) > 1 else script[0]


class TlsServer(Server):
    """The scripted server, with a certificate."""

    def __init__(self, certificate: Path) -> None:
        super().__init__()
        self.url = self.url.replace("http:", "https:")
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate)

    def _serve(self, connection: socket.socket) -> None:
        try:
            secure = self._context.wrap_socket(connection, server_side=True)
        except OSError:
            connection.close()
        else:
            super()._serve(secure)


class TunnelingServer(TlsServer):
    """A proxy that is the server behind its own tunnel."""

    def __init__(self, certificate: Path) -> None:
        super().__init__(certificate)
        self.tunnels: list[str] = []

    def _serve(self, connection: socket.socket) -> None:
        request = b""
        while not request.endswith(b"\r\n\r\n") and (came := connection.recv(1)):
            request += came
        self.tunnels.append(request.decode())
        connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        super()._serve(connection)


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


@contextlib.contextmanager
def closed_port() -> Iterator[str]:
    """Give the URL of a port that nobody listens on, kept from others meanwhile."""
    with socket.socket() as unbound:
        unbound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{unbound.getsockname()[1]}"


def _called(responder: Responder, request: Received) -> Answer:
    if isinstance(responder, Answer):
        return responder
    try:
        return responder(request)
    except OSError as problem:  # the connection's are nobody's fault
        raise AssertionError("the script of a test failed") from problem


def _read_request(reader: Any) -> Received | None:
    first = reader.readline()
    if not first.strip():
        return None
    method, path, _ = first.decode("latin-1").split(" ", 2)
    headers: dict[str, str] = {}
    while (line := reader.readline().decode("latin-1")).strip():
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    if headers.get("transfer-encoding") == "chunked":
        body = b""
        while size := int(reader.readline(), 16):
            body += reader.read(size)
            reader.readline()
        reader.readline()
    else:
        length = int(headers.get("content-length", 0))
        body = reader.read(length)
        if len(body) < length:
            raise ValueError("the request is not whole, and none that a server takes")
    return Received(method, path, headers, body)


def _pieces(answer: Answer) -> Sequence[bytes]:
    if answer.raw is not None:
        return [answer.raw]
    lines = [f"HTTP/1.1 {answer.status} Scripted"]
    lines += [f"{name}: {value}" for name, value in answer.headers.items()]
    body = answer.body if answer.cut is None else answer.body[: answer.cut]
    if answer.is_chunked:
        lines.append("Transfer-Encoding: chunked")
        body = b"".join(
            b"%x\r\n%s\r\n" % (len(body[i : i + 1000]), body[i : i + 1000]) for i in range(0, len(body), 1000)
        )
        body += b"0\r\n\r\n" if answer.cut is None else b""
    elif answer.length is None:
        lines.append(f"Content-Length: {len(answer.body)}")
    elif answer.length:
        lines.append(f"Content-Length: {answer.length}")
    if answer.then != "keep":
        lines.append("Connection: close")
    head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
    if answer.pieces is None:
        return [head + body]
    return [head, *(body[i : i + answer.pieces] for i in range(0, len(body), answer.pieces))]


def prediction(id: str = "abc123", status: str = "succeeded", **rest: Any) -> dict[str, Any]:
    """Make the bare reply of one prediction."""
    return {
        "id": id,
        "model": SCHNELL,
        "version": "hidden",
        "input": {"prompt": "cat"},
        "logs": "",
        "output": None,
        "error": None,
        "data_removed": False,
        "status": status,
        "created_at": "2026-03-12T08:00:00.123456789Z",
        **rest,
    }


def comet(code: str, message: str = "told (request id: req-1)") -> dict[str, Any]:
    """Make CometAPI's error envelope."""
    return {"error": {"message": message, "type": "comet_api_error", "param": "", "code": code}}


def picture(size: int = 3000, seed: int = 0) -> bytes:
    """Make bytes that begin as a WEBP file does, different for each seed."""
    start = b"RIFF" + struct.pack("<I", size - 8) + b"WEBPVP8 "
    return start + random.Random(seed).randbytes(size - len(start))
