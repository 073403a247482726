"""The API key is in the config file and in the API's requests, and nowhere else."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from tests.conftest import KEY, Cli
from tests.servers import (
    RESET,
    SCHNELL,
    WEBP,
    Answer,
    Received,
    Server,
    answer_html,
    answer_json,
    picture,
    prediction,
)

PARTS = (KEY, KEY[:20], KEY[8:-5])


def shows_the_key(text: str) -> bool:
    """Say whether the key, or most of it, stands in a text, also where its characters are encoded."""
    plain = unquote(re.sub(r"\\+u00([0-9a-f]{2})", lambda found: chr(int(found[1], 16)), text))
    return any(part in plain for part in PARTS)


def places_with_the_key(*folders: Path) -> set[str]:
    """Name every file below some folders in which the key, or most of it, stands."""
    return {
        path.name
        for folder in folders
        for path in folder.rglob("*")
        if path.is_file() and shows_the_key(path.read_bytes().decode("latin-1"))
    }


@pytest.fixture
def keyed(cli: Cli, server: Server) -> Cli:
    """The program with the key stored in its config file alone."""
    assert cli("login", "--stdin", stdin=KEY + "\n").code == 0
    assert cli("config", "set", "base_url", server.url).code == 0
    cli.environment["COMETREP_RETRY_BUDGET"] = "1"
    return cli


def echo(received: Received) -> Answer:
    """Answer as a server does that shows all it was sent."""
    shown = {"detail": f"you sent {json.dumps(dict(received.headers))}", "status": 400}
    return answer_json(shown, 400, headers={"X-Echo": received.headers.get("authorization", "")})


def echoing_prediction(received: Received) -> Answer:
    """Answer with a prediction that has the key in every text."""
    told = received.headers["authorization"]
    return answer_json(
        prediction("made1", "failed", error=told, logs=f"{told}\n", metrics={"x": told}, input={"prompt": told})
    )


SCRIPTS: dict[str, Any] = {
    "refused": answer_json({"detail": "no"}, 401),
    "echoed": echo,
    "echoed in a prediction": echoing_prediction,
    "reset": RESET,
    "HTML": answer_html(200, title=KEY),
    "redirect": Answer(302, headers={"Location": f"https://elsewhere.invalid/?key={KEY}"}),
    "malformed": Answer(raw=f"HTTP/1.1 abc {KEY}\r\n\r\n".encode(), then="close"),
}


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS.keys())
def test_no_answer_makes_cometrep_show_the_key(keyed: Cli, server: Server, script: Any) -> None:
    """Whatever the server echoes, stdout, stderr, the ledger and all files are free of the key, also with -v."""
    server.on_create(script)
    server.on_get(script)
    for arguments in (("run", SCHNELL, "prompt=cat", "-v"), ("status", "made1", "--json", "-v"), ("wait", "made1")):
        ran = keyed(*arguments)
        assert not shows_the_key(ran.stdout + ran.stderr)
    assert places_with_the_key(keyed.home, keyed.folder) == {"config.toml"}
    assert server.received


def test_a_whole_run_leaves_the_key_in_the_config_file_alone(keyed: Cli, server: Server) -> None:
    """A good run with sidecar, JSON and -v shows the key to the API alone, not to the file host."""
    with Server() as files:
        files.on("GET", "/f", Answer(302, headers={"Location": "/g"}))
        files.on("GET", "/g", Answer(200, picture(), WEBP))
        server.on_create(answer_json(prediction("made1", "starting")))
        server.on_get(answer_json(prediction("made1", output=f"{files.url}/f")))
        ran = keyed("run", SCHNELL, "prompt=cat", "--sidecar", "--json", "-v", "--progress", "json")
        assert ran.code == 0, ran.stderr
        assert len(files.received) == 2
        assert not shows_the_key(str(files.received))
    assert all(request.headers["authorization"] == f"Bearer {KEY}" for request in server.received)
    assert not shows_the_key(ran.stdout + ran.stderr)
    assert "Bearer …abcd" in ran.stderr
    assert places_with_the_key(keyed.home, keyed.folder) == {"config.toml"}


ENCODINGS: dict[str, Callable[[str], bytes]] = {
    "as it is": str.encode,
    "escaped": lambda text: text.replace(KEY, "".join(f"\\u{ord(one):04x}" for one in KEY)).encode(),
    "in UTF-16": lambda text: text.encode("utf-16"),
    "percent-encoded": lambda text: text.replace(KEY, KEY.replace("-", "%2D")).encode(),
    "percent-encoded and escaped": lambda text: text.replace(KEY, KEY.replace("-", "\\u00252d")).encode(),
    "escaped within a text": lambda text: text.replace(KEY, KEY.replace("-", "\\\\u002D")).encode(),
}


@pytest.mark.parametrize("encode", ENCODINGS.values(), ids=ENCODINGS.keys())
def test_an_echo_of_the_key_reaches_no_place(keyed: Cli, server: Server, encode: Callable[[str], bytes]) -> None:
    """However a reply encodes the key, no output, file, record or ledger has it, nor does the file host get it."""

    def answer(value: Any, status: int = 200) -> Answer:
        headers = {"Content-Type": "application/json", "X-Request-Id": f"Bearer {KEY}"}
        return Answer(status, encode(json.dumps(value)), headers)

    def create(received: Received) -> Answer:
        name = received.json()["input"]["prompt"]
        if name == "refused":
            return answer({"detail": f"you sent {KEY}", KEY: KEY}, 400)
        return answer(prediction(name, "starting", input={"prompt": KEY}, logs=KEY))

    with Server() as files:
        files.on("GET", "/f", Answer(200, picture(), WEBP))
        told: dict[str, Any] = {"logs": KEY, "metrics": {KEY: KEY}, "input": {"prompt": KEY}}
        server.on_create(create)
        for name, output in (("file", [f"{files.url}/f?k={KEY}"]), ("text", f"it is {KEY}"), ("json", {KEY: KEY})):
            server.on("GET", f"/replicate/v1/predictions/{name}", answer(prediction(name, output=output, **told)))
        lines = "".join(json.dumps({"prompt": name}) + "\n" for name in ("file", "text", "json", "refused"))
        ran = keyed("batch", "-", "-m", SCHNELL, "-d", "out", "--json", "-v", "--progress", "json", stdin=lines)
        assert ran.code == 9, ran.stderr
        assert [request.path.partition("?")[0] for request in files.received] == ["/f"]
        assert not shows_the_key(str(files.received))
    assert len(list((keyed.folder / "out").glob("*.webp"))) == 1
    assert not shows_the_key(ran.stdout + ran.stderr)
    assert places_with_the_key(keyed.home, keyed.folder) == {"config.toml"}


def test_a_proxy_that_fails_does_not_make_the_key_known(keyed: Cli) -> None:
    """Behind a proxy that is not there, the error is free of the key."""
    for name in ("HTTPS_PROXY", "https_proxy"):
        keyed.environment[name] = "http://127.0.0.1:9"
    ran = keyed("status", "made1", "-v", "--base-url", "https://api.cometapi.com")
    assert ran.code == 7
    assert not shows_the_key(ran.stdout + ran.stderr)


@pytest.mark.parametrize("url", ["https://[", "http://example.com", "https://a b", "ftp://x", "https://u:p@h"])
def test_a_malformed_base_url_does_not_make_the_key_known(keyed: Cli, url: str) -> None:
    """A base URL that is none is a usage error without the key in it."""
    ran = keyed("status", "made1", "-v", "--base-url", url)
    assert ran.code == 2
    assert KEY not in ran.stdout + ran.stderr


def test_a_crash_with_its_traceback_is_free_of_the_key(keyed: Cli) -> None:
    """A bug keeps its traceback and exits with 1, and even that does not show the key."""
    code = (
        "import sys\n"
        "from cometrep import __main__\n"
        "from cometrep.api import Api\n"
        "def broken(self, id):\n"
        "    raise RuntimeError(f'a bug with {self._api_key} and {self.__dict__}')\n"
        "Api.get = broken\n"
        "sys.argv = ['cometrep', 'status', 'made1', '-v']\n"
        "sys.exit(__main__.main())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=keyed.environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "RuntimeError" in done.stderr
    assert not shows_the_key(done.stdout + done.stderr)


def test_netrc_neither_replaces_nor_follows_the_key(keyed: Cli, server: Server) -> None:
    """A netrc entry for every host changes nothing that is sent, to the API or to the file host."""
    netrc = keyed.home / ".netrc"
    netrc.write_text("default login me password from-netrc\n")
    netrc.chmod(0o600)
    server.on_get(answer_json(prediction("made1", output=f"{server.url}/f")))
    server.on("GET", "/f", Answer(200, picture()))
    assert keyed("download", "made1").code == 0
    seen = {request.path: request.headers.get("authorization") for request in server.received}
    assert seen == {"/replicate/v1/predictions/made1": f"Bearer {KEY}", "/f": None}


@pytest.mark.parametrize("words", [(), ("--dry-run",)], ids=["", "dry"])
@pytest.mark.parametrize("command", ["create", "run", "batch"])
def test_an_input_that_holds_the_key_is_not_sent(
    command: str, words: tuple[str, ...], keyed: Cli, server: Server
) -> None:
    """As a text that begins with @ and names the config file: it would stand in the ledger, and be shown."""
    holding = f"prompt=@{keyed('config', 'path').stdout.strip()}"
    if command == "batch":
        (keyed.folder / "lines.jsonl").write_text('{"seed": 1}\n')
        done = keyed("batch", "lines.jsonl", "-m", SCHNELL, holding, "-d", "out", *words)
    else:
        done = keyed(command, SCHNELL, holding, *words)
    assert (done.code, done.stdout) == (2, "")
    assert "input prompt holds the API key; nothing was sent" in done.stderr
    assert server.received == []
    assert not shows_the_key(done.stderr)
    assert places_with_the_key(keyed.home, keyed.folder) == {"config.toml"}


@pytest.mark.parametrize(
    "item", [f"{KEY}=foo", f'meta:={{"{KEY}": 1}}', f'meta:=["{KEY}"]'], ids=["name", "key", "value"]
)
def test_an_input_that_is_named_as_the_key_is_not_sent(item: str, keyed: Cli, server: Server) -> None:
    """Wherever in the input it stands."""
    done = keyed("create", SCHNELL, "prompt=ok", item)
    assert (done.code, server.received) == (2, [])
    assert not shows_the_key(done.stderr)
    assert places_with_the_key(keyed.home, keyed.folder) == {"config.toml"}


@pytest.mark.parametrize("item", ["prompt=ok", "MODEL=ok"])
def test_a_model_that_is_named_as_the_key_is_not_sent(item: str, keyed: Cli, server: Server) -> None:
    """It would stand in the address of the request, whatever an input is called."""
    done = keyed("create", f"a/{KEY}", item)
    assert (done.code, server.received) == (2, [])
    assert not shows_the_key(done.stderr)
    assert places_with_the_key(keyed.home, keyed.folder) == {"config.toml"}
