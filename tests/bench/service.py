"""Start the server of the benchmarks, and ask it what it saw."""

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from types import TracebackType
from typing import Any

MODEL = "bench/still-life"


@dataclass(frozen=True)
class Facts:
    """What the server knows of one prediction; times are seconds of its clock."""

    id: str
    created: float
    ends: float
    seen: float
    looks: int

    @property
    def delay_seconds(self) -> float:
        """How long after its end somebody was told of it."""
        return self.seen - self.ends


class Service:
    """The server in a process of its own, for the length of a `with` block; its certificate is in `certificate`."""

    def __init__(self, folder: Path) -> None:
        self.certificate = folder / "certificate.pem"
        key = folder / "key.pem"
        _make_certificate(self.certificate, key)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.server", str(self.certificate), str(key)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        assert self._process.stdout
        self._port, tls_port = map(int, self._process.stdout.readline().split())
        self.url = f"http://127.0.0.1:{self._port}"
        self.tls_url = f"https://127.0.0.1:{tls_port}"

    def __enter__(self) -> "Service":
        return self

    def __exit__(self, kind: type[BaseException] | None, problem: object, trace: TracebackType | None) -> None:
        self._process.communicate()

    def create(self, input: Mapping[str, Any]) -> str:
        """Create a prediction and give its id."""
        id: str = self._ask("POST", f"/replicate/v1/models/{MODEL}/predictions", {"input": dict(input)})["id"]
        return id

    def facts(self, prompt: str) -> Facts:
        """Give what became of the prediction with a prompt."""
        return Facts(**self._ask("GET", f"/stats/{prompt}"))

    def _ask(self, method: str, path: str, value: Any = None) -> Any:
        connection = HTTPConnection("127.0.0.1", self._port, timeout=30)
        try:
            connection.request(method, path, json.dumps(value) if value else None)
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()


def _make_certificate(certificate: Path, key: Path) -> None:
    options = "-x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1"
    subprocess.run(
        ["openssl", "req", *options.split(), "-keyout", str(key), "-out", str(certificate)],
        check=True,
        capture_output=True,
    )
