"""A fast stand-in for the API: `python -m tests.bench.server [CERTIFICATE KEY]`, until its stdin is closed.

It serves CometAPI's Replicate-format route below /replicate/v1, the same below /v1 for Replicate's own client, and
files that are made while they are sent. A thread a connection over plain sockets, nothing shared but dictionaries:
what it costs must not show in what is measured. Its first line on stdout names the plain port and the TLS one.

The input of a create decides: `seconds` until the end, `files` of `size` bytes each, `text` instead of files,
`fails`, and `told_seconds`, a duration to claim in the times that are told. `/stats/PROMPT` gives what is known of
the prediction with that prompt.
"""

import itertools
import json
import random
import re
import socket
import ssl
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

_BLOCK_BYTES = 2**20
_PICTURE_BYTES = 100_000
_HEADER = b"RIFF\x00\x00\x00\x00WEBPVP8 "
_NOISE = random.Random(1).randbytes(_BLOCK_BYTES)
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")


@dataclass(slots=True)
class _Made:
    """One prediction; `ends` and `seen`, the first look that showed the end, are seconds of the server's clock."""

    id: str
    model: str
    input: Mapping[str, Any]
    created: float = field(default_factory=time.time)
    ends: float = 0.0
    seen: float = 0.0
    looks: int = 0

    def __post_init__(self) -> None:
        self.ends = self.created + float(self.input.get("seconds", 0))

    def to_json(self, url: str, *, is_new: bool = False) -> dict[str, Any]:
        """Give the prediction as the API does."""
        has_ended = not is_new and time.time() >= self.ends
        told = float(self.input.get("told_seconds", self.ends - self.created))
        ended = datetime.fromtimestamp(self.ends, UTC)
        began = datetime.fromtimestamp(self.ends - told, UTC)
        fails = has_ended and bool(self.input.get("fails"))
        return {
            "id": self.id,
            "model": self.model,
            "version": "hidden",
            "input": self.input,
            "logs": "",
            "output": self._output(url) if has_ended and not fails else None,
            "data_removed": False,
            "error": "it was asked to fail" if fails else None,
            "source": "api",
            "status": "starting" if is_new else "failed" if fails else "succeeded" if has_ended else "processing",
            "created_at": f"{began:%Y-%m-%dT%H:%M:%S.%fZ}",
            "started_at": None if is_new else f"{began:%Y-%m-%dT%H:%M:%S.%fZ}",
            "completed_at": f"{ended:%Y-%m-%dT%H:%M:%S.%fZ}" if has_ended else None,
            "metrics": {"predict_time": told} if has_ended else {},
            "urls": {
                "get": f"https://api.replicate.com/v1/predictions/{self.id}",
                "cancel": f"https://api.replicate.com/v1/predictions/{self.id}/cancel",
            },
        }

    def _output(self, url: str) -> Any:
        if "text" in self.input:
            return self.input["text"]
        size = self.input.get("size", _PICTURE_BYTES)
        return [f"{url}/files/{size}/{self.id}-{index}.webp" for index in range(self.input.get("files", 1))]


class _Service:
    """All predictions, and what answers the requests about them."""

    def __init__(self) -> None:
        self._made: dict[str, _Made] = {}
        self._by_prompt: dict[str, _Made] = {}
        self._numbers = itertools.count(1)

    def listen(self, context: ssl.SSLContext | None) -> int:
        """Serve on a free port, which is returned."""
        listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        port: int = listener.getsockname()[1]
        url = f"{'https' if context else 'http'}://127.0.0.1:{port}"
        threading.Thread(target=self._accept, args=(listener, context, url), daemon=True).start()
        return port

    def _accept(self, listener: socket.socket, context: ssl.SSLContext | None, url: str) -> None:
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=self._serve, args=(connection, context, url), daemon=True).start()

    def _serve(self, connection: socket.socket, context: ssl.SSLContext | None, url: str) -> None:
        """Answer the requests of one connection until the other side closes it."""
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with context.wrap_socket(connection, server_side=True) if context else connection as stream:
                buffered = b""
                while True:
                    while (end := buffered.find(b"\r\n\r\n")) < 0:
                        if not (received := stream.recv(65536)):
                            return
                        buffered += received
                    head, buffered = buffered[:end], buffered[end + 4 :]
                    found = _LENGTH.search(head)
                    length = int(found.group(1)) if found else 0
                    while len(buffered) < length:
                        buffered += stream.recv(65536)
                    body, buffered = buffered[:length], buffered[length:]
                    method, path, _ = head.decode("latin-1").split(" ", 2)
                    self._answer(stream, method, path, body, url)
        except OSError:  # it went away in the middle
            return

    def _answer(self, stream: socket.socket, method: str, path: str, body: bytes, url: str) -> None:
        place = path.removeprefix("/replicate").removeprefix("/")
        if method == "POST" and place.startswith("v1/"):
            _send_json(stream, 201, self._create(place, json.loads(body), url))
        elif place.startswith("files/"):
            _send_file(stream, int(place.split("/")[1]))
        elif made := self._made.get(place.removeprefix("v1/predictions/")):
            made.looks += 1
            shown = made.to_json(url)
            if shown["completed_at"] and not made.seen:
                made.seen = time.time()
            _send_json(stream, 200, shown)
        elif made := self._by_prompt.get(place.removeprefix("stats/")):
            facts = {"id": made.id, "created": made.created, "ends": made.ends, "seen": made.seen}
            _send_json(stream, 200, {**facts, "looks": made.looks})
        else:
            _send_json(stream, 404, {"detail": "not found"})

    def _create(self, place: str, request: Mapping[str, Any], url: str) -> dict[str, Any]:
        named = place.removeprefix("v1/models/").removesuffix("/predictions")
        made = _Made(f"bench{next(self._numbers):021d}", request.get("model", named), request["input"])
        self._made[made.id] = self._by_prompt[str(made.input.get("prompt", ""))] = made
        return made.to_json(url, is_new=True)


def _send_json(stream: socket.socket, status: int, value: Any) -> None:
    body = json.dumps(value).encode()
    stream.sendall(
        b"HTTP/1.1 %d OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % (status, len(body))
        + body
    )


def _send_file(stream: socket.socket, size: int) -> None:
    head = b'HTTP/1.1 200 OK\r\nContent-Type: image/webp\r\nETag: "%d"\r\nContent-Length: %d\r\n\r\n' % (size, size)
    stream.sendall(head + _HEADER[:size])
    left, block = size - len(_HEADER), memoryview(_NOISE)
    while left > 0:
        stream.sendall(block[:left])
        left -= _BLOCK_BYTES


def main() -> None:
    """Serve until stdin is closed, which also happens when the process that started this one dies."""
    context = None
    if len(sys.argv) > 1:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*sys.argv[1:])
    service = _Service()
    sys.stdout.write(f"{service.listen(None)} {service.listen(context) if context else 0}\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main()
