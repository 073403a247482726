"""What each check finds, and the fix it names: over real sockets, real files and a real ledger."""

import errno
import fcntl
import json
import os
import re
import shlex
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from cometrep import config, errors
from cometrep.config import changing
from cometrep.console.screen import Screen
from cometrep.doctor import examine, failure, installed
from cometrep.doctor.checks import Check, guarded
from cometrep.doctor.subject import Subject, known_base_url
from cometrep.ledger import Ledger
from cometrep.prediction import Prediction, SavedFile
from tests.conftest import Certificate, needs_proc, on_posix
from tests.servers import (
    HANG,
    RESET,
    Answer,
    Received,
    Server,
    TlsServer,
    TunnelingServer,
    answer_html,
    answer_json,
    one_answer,
    prediction,
)

KEY = "sk-test-0123456789-SECRET-wxyz"
NOW = 1_800_000_000.0
HOUR = 3600.0
NOT_FOUND = answer_json({"detail": "The requested resource could not be found.", "status": 404}, 404)
NETWORK = ("proxy", "dns", "tls", "api", "clock", "netrc")
REMOTE = "https://api.example.test"


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine without settings, proxies, completion or pages, and a folder of the test's own."""
    for name in list(os.environ):
        if name.startswith(("COMET", "XDG_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    alone = ("SHELL", "ZDOTDIR", "BASH_COMPLETION_USER_DIR", "NETRC", "CI", "NO_COLOR")
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", *alone):
        monkeypatch.delenv(name, raising=False)
    for name in ("home", "here"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("COMETAPI_KEY", KEY)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COMETREP_HOME", str(tmp_path / "comet"))
    monkeypatch.setenv("XDG_DATA_DIRS", str(tmp_path / "system"))
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "prefix"))
    monkeypatch.setattr(installed, "_SYSTEM_SHARES", (str(tmp_path / "system"), str(tmp_path / "other")))
    monkeypatch.chdir(tmp_path / "here")


def examined(
    base_url: str = "http://127.0.0.1:1",
    *,
    now: float | None = None,
    limit: float = 5.0,
    screen: Screen | None = None,
    flags: str = "",
) -> dict[str, Check]:
    """Examine this machine as the command does, and give the checks by name."""
    settings, problems = config.load_leniently({"base_url": base_url} if base_url else {})
    shown = screen or Screen(None, lambda text: None)
    subject = Subject(
        settings=settings,
        problems=problems,
        base_url=known_base_url(settings, problems),
        api_key=settings.api_key,
        stdout=shown,
        stderr=shown,
        columns=80,
        flags=flags,
    )
    clock = time.time if now is None else lambda: now
    return {check.name: check for check in examine(subject, now=clock, limit_seconds=limit)}


def assert_each_fault_has_a_fix(checks: dict[str, Check]) -> None:
    """Check the form that all checks have."""
    for check in checks.values():
        assert check.outcome in ("ok", "warn", "fail")
        assert check.message
        assert bool(check.fix) == (check.outcome != "ok"), check


def test_a_check_that_cannot_be_made_says_so() -> None:
    """What the system refuses to one check is a warning, and keeps no other from being made."""

    def refused() -> Check:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    told = guarded("ledger", refused, "cometrep doctor --sandbox")
    assert told.outcome == "warn"
    assert told.message == "it cannot be checked: Permission denied"
    assert told.fix == "run it again: cometrep doctor --sandbox"


# Settings


def test_a_sound_machine_has_nothing_to_mend(server: Server) -> None:
    """With a key and an API that answers no check fails, and each is made once."""
    server.on_get(NOT_FOUND)
    checks = examined(server.url)
    assert {name: check for name, check in checks.items() if check.outcome == "fail"} == {}
    assert checks["api_key"].message == "…wxyz from COMETAPI_KEY"
    assert checks["base_url"].message == f"{server.url}, from --base-url"
    assert checks["proxy"].message == "none is set"
    assert failure(list(checks.values())) is None
    assert_each_fault_has_a_fix(checks)


def test_without_a_key_the_api_is_still_looked_at(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing key fails and names login; that the API asks for one shows that it is the API."""
    server.on_get(answer_json({"error": {"message": "no token", "code": ""}}, 401))
    monkeypatch.delenv("COMETAPI_KEY")
    checks = examined(server.url)
    assert checks["api_key"].outcome == "fail"
    assert checks["api_key"].fix.startswith("cometrep login")
    assert checks["api"].outcome == "ok"
    assert "asks for a key" in checks["api"].message
    assert "authorization" not in server.received[0].headers


def test_keys_that_are_not_used_are_named(server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where several keys are set, the one in use and those beside it are told, by their places alone."""
    monkeypatch.setenv("COMETAPI_API_KEY", "sk-another-one-0123")
    (tmp_path / "comet").mkdir()
    changing.store("api_key", "sk-stored-0123456789")
    told = examined(server.url)["api_key"]
    assert told.message == "…wxyz from COMETAPI_KEY (not used: COMETAPI_API_KEY, the stored key)"


@pytest.mark.parametrize("key", ["r8_0123456789abcd", "sk-ab!cd"])
def test_an_odd_key_is_a_warning(key: str, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that does not look as CometAPI's do may be another service's; login warns of the same ones."""
    monkeypatch.setenv("COMETAPI_KEY", key)
    told = examined(server.url)["api_key"]
    assert (told.outcome, "unset COMETAPI_KEY && cometrep login" in told.fix) == ("warn", True)


def test_a_key_that_no_header_carries_is_told_without_it(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key with a line break inside fails by its variable, and nothing of it is shown."""
    monkeypatch.setenv("COMETAPI_KEY", f"{KEY}\nX: 1")
    told = examined(server.url)["api_key"]
    assert told.outcome == "fail"
    assert "COMETAPI_KEY" in told.message
    assert KEY[:10] not in str(told)


def write_config(tmp_path: Path, text: str, mode: int = 0o600) -> Path:
    """Write the config file."""
    path = tmp_path / "comet" / "config.toml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


@pytest.mark.parametrize(
    ("text", "mode", "outcome", "message", "fix"),
    [
        ("", 0o600, "ok", "mode 0600", ""),
        ('timeout = "5m"\n', 0o644, "ok", "mode 0644", ""),
        ('api_key = "sk-0123456789"\n', 0o644, "warn", "others can read it (mode 0644)", "chmod 600 "),
        ('timout = "5m"\n', 0o600, "warn", "does not know: timout", "cometrep config unset timout"),
        ('"-x y" = 1\n', 0o600, "warn", "does not know: -x y", "cometrep config unset -- '-x y'"),
        ('timout = [\n  "5m"\n]\n', 0o600, "warn", "does not know: timout", "vi "),
        ("timeout = 5m\n", 0o600, "fail", "line 1", "vi "),
    ],
    ids=["empty", "no key in it", "open", "unknown", "like an option", "unknown, of several lines", "broken"],
)
def test_the_config_file_is_read(
    text: str, mode: int, outcome: str, message: str, fix: str, tmp_path: Path, server: Server
) -> None:
    """The file's mode, its place and what is wrong with it are told."""
    path = write_config(tmp_path, text, mode)
    told = examined(server.url)["config_file"]
    assert told.outcome == outcome
    assert str(path) in told.message
    assert message in told.message
    assert told.fix.startswith(fix)


def test_no_config_file_is_well(server: Server) -> None:
    """A machine without a config file needs none."""
    assert examined(server.url)["config_file"].outcome == "ok"


@pytest.mark.parametrize(
    ("name", "value", "failing"),
    [
        ("COMETREP_BASE_URL", "http://api.example.com", "base_url"),
        ("COMETREP_SANDBOX", "perhaps", "settings"),
    ],
)
def test_nothing_is_asked_of_an_api_that_is_not_known(
    name: str, value: str, failing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it is not known which API is meant, the network is not tried, and the rest is."""
    monkeypatch.setenv(name, value)
    checks = examined("")
    assert checks[failing].outcome == "fail"
    assert value in checks[failing].message
    assert {checks[one].message for one in NETWORK} == {"not tried: base_url comes first"}
    assert checks["ledger"].outcome == "ok"
    assert_each_fault_has_a_fix(checks)


def test_a_broken_config_file_may_name_another_api(tmp_path: Path, server: Server) -> None:
    """Behind a broken file the default is not asked, but a base URL from elsewhere is."""
    write_config(tmp_path, "base_url =\n")
    checks = examined("")
    assert checks["config_file"].outcome == "fail"
    assert checks["base_url"].message.startswith("not tried")
    assert checks["api"].message.startswith("not tried")
    server.on_get(NOT_FOUND)
    assert examined(server.url)["api"].outcome == "ok"


def test_a_bad_setting_fails_by_its_variable(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A setting that does not resolve is told, and those that are not the default are named."""
    monkeypatch.setenv("COMETREP_DIR", "pictures")
    assert examined(server.url)["settings"].message == "dir from COMETREP_DIR"
    monkeypatch.setenv("COMETREP_SANBOX", "1")
    told = examined(server.url)["settings"]
    fix = 'export COMETREP_SANDBOX="$COMETREP_SANBOX" && unset COMETREP_SANBOX'
    assert (told.outcome, told.fix) == ("warn", fix)
    assert told.message == "COMETREP_SANBOX is no setting, and may mean COMETREP_SANDBOX"
    monkeypatch.setenv("COMETREP_TIMEOUT", "soon")
    told = examined(server.url)["settings"]
    assert (told.outcome, "'soon'" in told.message, "COMETREP_TIMEOUT" in told.fix) == ("fail", True, True)


# The API

ANSWERS: list[tuple[str, Answer, str, str, str]] = [
    ("404 detail", NOT_FOUND, "ok", "HTTP 404", ""),
    ("404 envelope", answer_json({"error": {"message": "x", "code": "y"}}, 404), "ok", "it answers", ""),
    ("400 task", answer_json({"code": "task_not_exist", "message": "x", "data": None}, 400), "ok", "HTTP 400", ""),
    ("500 task", answer_json({"code": "x", "message": "task not exist"}, 500), "ok", "HTTP 500", ""),
    ("200 prediction", answer_json(prediction("doctor-check")), "ok", "HTTP 200", ""),
    ("401", answer_json({"detail": "Invalid token"}, 401), "fail", "key is refused", "unset COMETAPI_KEY && "),
    ("403", answer_json({"detail": "no"}, 403), "fail", "key is refused", "unset COMETAPI_KEY && "),
    ("402", answer_json({"detail": "no"}, 402), "fail", "no credit", "top up"),
    ("429", answer_json({"detail": "slow down"}, 429), "warn", "not now", "run it again"),
    ("500", answer_json({"detail": "boom"}, 500), "warn", "boom", "run it again"),
    ("500 host", answer_json({"detail": "host not found"}, 500), "warn", "host not found", "run it again"),
    ("524 page", answer_html(524, title="A timeout"), "warn", "A timeout", "run it again"),
    ("200 page", answer_html(200), "fail", "a web page instead of JSON (Welcome)", "leave out --base-url"),
    ("404 page", answer_html(404), "fail", "a web page", "leave out --base-url"),
    ("403 page", answer_html(403, title="Blocked"), "fail", "Blocked", "leave out --base-url"),
    ("403 of Cloudflare", Answer(403, b"error code: 1010"), "fail", "blocked on the way", "leave out --base-url"),
    ("302", Answer(302, headers={"Location": "https://x.test/login"}), "fail", "https://x.test/login", "leave out"),
    (
        "404 path",
        answer_json({"error": {"message": "Invalid URL (GET /api/replicate/v1/predictions/x)"}}, 404),
        "fail",
        "none of the API's: Invalid URL",
        "leave out --base-url",
    ),
    ("404 text", Answer(404, b"404 page not found"), "fail", "none of the API's", "leave out --base-url"),
    ("200 JSON", answer_json({"hello": "world"}), "fail", "none of the API's", "leave out --base-url"),
    ("200 nothing", Answer(200), "fail", "none of the API's", "leave out --base-url"),
    ("reset", RESET, "fail", "no answer: ", "run it again"),
    ("not HTTP", Answer(raw=b"SSH-2.0-x\r\n", then="close"), "fail", "no answer: ", "run it again"),
]


@pytest.mark.parametrize(
    ("script", "outcome", "message", "fix"), [row[1:] for row in ANSWERS], ids=[row[0] for row in ANSWERS]
)
def test_each_answer_of_the_api_is_judged(
    script: Answer, outcome: str, message: str, fix: str, server: Server
) -> None:
    """One look at an id that cannot exist tells whether the API answers, refuses the key, or is not there."""
    server.on_get(script)
    checks = examined(server.url)
    assert checks["api"].outcome == outcome
    assert message in checks["api"].message
    assert checks["api"].fix.startswith(fix)
    # Where it is no HTTP, it may be TLS: a handshake is tried too.
    assert [(one.method, one.path) for one in server.received if one.method.isalpha()] == [
        ("GET", "/replicate/v1/predictions/doctor-check")
    ]
    assert server.received[0].headers["authorization"] == f"Bearer {KEY}"
    assert_each_fault_has_a_fix(checks)


def test_an_api_that_hangs_is_not_waited_for(server: Server) -> None:
    """A slow API is a warning, as other commands wait longer; the clock cannot be compared."""
    server.on_get(HANG)
    checks = examined(server.url, limit=0.2)
    assert checks["api"][1:3] == ("warn", "it is there, but gave no answer in 0.2 s")
    assert checks["clock"].message == "not tried: api comes first"


def test_a_server_that_is_not_there_is_told() -> None:
    """A port where nothing listens is no answer; what does not need it is checked all the same."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    checks = examined(url)
    assert checks["api"].message == "no answer: Connection refused"
    assert checks["api"].fix.startswith("leave out --base-url")
    assert checks["netrc"].outcome == "ok"


@pytest.mark.parametrize(
    ("origin", "fix"),
    [("environment", "unset COMETREP_BASE_URL"), ("file", "cometrep config unset base_url")],
)
def test_a_wrong_base_url_is_mended_where_it_comes_from(
    origin: str, fix: str, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fix of a wrong base URL names the variable or the file's setting."""
    server.on_get(answer_html())
    if origin == "file":
        write_config(tmp_path, f'base_url = "{server.url}"\n')
    else:
        monkeypatch.setenv("COMETREP_BASE_URL", server.url)
    assert examined("")["api"].fix.startswith(fix)


@pytest.mark.parametrize(
    ("offset", "outcome", "message"),
    [
        (0.0, "ok", "agrees"),
        (59.0, "ok", "59 s ahead of the server's"),
        (-90.0, "warn", "1 min 30 s behind the server's"),
        (7200.0, "warn", "2 h ahead of the server's"),
    ],
)
def test_a_clock_that_is_wrong_is_a_warning(offset: float, outcome: str, message: str, server: Server) -> None:
    """The clock is compared with the Date of the one answer; above a minute it is to be set."""
    server.on_get(
        answer_json({"detail": "not found"}, 404, headers={"Date": formatdate(NOW - offset, usegmt=True)})
    )
    told = examined(server.url, now=NOW)["clock"]
    assert told.outcome == outcome
    assert message in told.message


@pytest.mark.parametrize("headers", [{}, {"Date": "yesterday"}], ids=["none", "nonsense"])
def test_a_date_that_is_not_there_is_not_compared(headers: dict[str, str], server: Server) -> None:
    """Without a usable Date the clock is left alone."""
    server.on_get(answer_json({"detail": "not found"}, 404, headers=headers))
    assert examined(server.url)["clock"].message == "not compared: the answer has no Date"


def test_a_netrc_entry_is_said_to_be_ignored(server: Server, tmp_path: Path) -> None:
    """An entry for the host is a warning, and what it says is neither sent nor shown."""
    server.on_get(NOT_FOUND)
    netrc = tmp_path / "home" / ".netrc"
    netrc.write_text("machine 127.0.0.1 login me password from-netrc\n")
    netrc.chmod(0o600)
    checks = examined(server.url)
    assert checks["netrc"].outcome == "warn"
    assert "from-netrc" not in str(checks)
    assert server.received[0].headers["authorization"] == f"Bearer {KEY}"


def test_the_key_is_hidden_where_the_server_echoes_it(server: Server) -> None:
    """Whatever a server sends back, no check has the key in it."""

    def echo(received: Received) -> Answer:
        return Answer(302, headers={"Location": f"https://x.test/?{received.headers['authorization']}"})

    server.on_get(answer_json({"detail": f"bad token {KEY}"}, 401), echo)
    for _ in range(2):
        checks = examined(server.url)
        assert checks["api"].outcome == "fail"
        assert KEY not in str(checks)


# Names, TLS and proxies


def test_a_host_without_an_address_stops_the_network() -> None:
    """A name that does not resolve fails, and what needs it is not tried."""
    checks = examined("https://no-such-host.invalid")
    assert checks["dns"].outcome == "fail"
    assert checks["dns"].fix.startswith("leave out --base-url")
    assert [checks[name].message for name in ("tls", "api", "clock")] == ["not tried: dns comes first"] * 3
    assert checks["netrc"].outcome == "ok"
    assert_each_fault_has_a_fix(checks)


def test_the_host_of_the_default_is_to_be_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting names it, so none is to be replaced where it has no address."""

    def refuse(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert examined("")["dns"].fix == "nslookup api.cometapi.com"


def test_a_trusted_certificate_is_told_with_its_end(
    certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A good handshake tells version, issuer, last day and the bundle that was named for it."""
    path = certificate()
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(path))
    with TlsServer(path) as server:
        server.on_get(NOT_FOUND)
        checks = examined(server.url)
    assert checks["tls"].outcome == "ok"
    day = time.strftime("%Y-%m-%d", time.gmtime(path.stat().st_mtime + 90 * 86400))
    assert checks["tls"].message.startswith(f"TLSv1.3, certificate by Proxy-Corp, good until {day}; ")
    assert checks["tls"].message.endswith(f"REQUESTS_CA_BUNDLE, {path}")
    assert checks["api"].outcome == "ok"


def test_a_certificate_near_its_end_is_a_warning(certificate: Certificate, monkeypatch: pytest.MonkeyPatch) -> None:
    """A certificate that ends within days is told before everything stops."""
    path = certificate(days=3)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(path))
    with TlsServer(path) as server:
        server.on_get(NOT_FOUND)
        checks = examined(server.url)
    assert (checks["tls"].outcome, checks["api"].outcome) == ("warn", "ok")


def test_an_untrusted_certificate_names_its_issuer_and_no_key_leaves(certificate: Certificate) -> None:
    """A certificate nobody vouches for fails with its issuer; nothing is sent over it."""
    with TlsServer(certificate()) as server:
        checks = examined(server.url)
        assert server.received == []
    assert checks["tls"].outcome == "fail"
    assert "(issued by Proxy-Corp)" in checks["tls"].message
    assert checks["tls"].fix.startswith("export REQUESTS_CA_BUNDLE=FILE")
    assert checks["api"].message == "not tried: tls comes first"
    assert_each_fault_has_a_fix(checks)


def test_a_certificate_of_another_host_is_a_wrong_address(
    certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trusted certificate for another name means that the base URL, or the way to it, is wrong."""
    path = certificate(name="DNS:other.test")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(path))
    with TlsServer(path) as server:
        told = examined(server.url)["tls"]
    assert told.outcome == "fail"
    assert "mismatch" in told.message
    assert told.fix.startswith("leave out --base-url")


def test_a_folder_of_certificates_is_trusted(
    certificate: Certificate, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """REQUESTS_CA_BUNDLE may name one, in which they are found by OpenSSL's hashes of them."""
    path = certificate()
    command = ["openssl", "x509", "-hash", "-noout", "-in", str(path)]
    hashed = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    (tmp_path / f"{hashed}.0").symlink_to(path)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path))
    with TlsServer(path) as server:
        server.on_get(NOT_FOUND)
        checks = examined(server.url)
    assert (checks["tls"].outcome, checks["api"].outcome) == ("ok", "ok")


def test_a_bundle_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A REQUESTS_CA_BUNDLE that cannot be read fails by its name, before any connection."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "gone.pem"))
    told = examined("https://127.0.0.1:1")["tls"]
    assert told.outcome == "fail"
    assert f"{tmp_path}/gone.pem: No such file" in told.message
    assert told.fix == "correct or unset REQUESTS_CA_BUNDLE"


def test_a_log_of_tls_secrets_that_cannot_be_opened_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """By its own name, and not as the fault of the certificates, which could not be read behind it."""
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "none" / "keys"))
    told = examined("https://127.0.0.1:1")["tls"]
    assert told.message.startswith("SSLKEYLOGFILE: the secrets of TLS cannot be written to ")
    assert (told.outcome, told.fix) == ("fail", "unset SSLKEYLOGFILE")


def test_a_server_that_speaks_no_tls_is_told() -> None:
    """Plain text under an https address is a failed handshake."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                connection.recv(10_000)

        thread = threading.Thread(target=serve)
        thread.start()
        told = examined(f"https://127.0.0.1:{listener.getsockname()[1]}")["tls"]
        thread.join()
    assert told.outcome == "fail"
    assert told.message.startswith("the handshake failed: ")


def test_plain_http_to_a_port_that_speaks_tls_is_told(certificate: Certificate) -> None:
    """The fix is the address as it should be, not another try."""
    with TlsServer(certificate()) as server:
        told = examined(server.url.replace("https:", "http:"))["api"]
        assert (told.outcome, told.message) == ("fail", "no answer to plain http, as the port speaks TLS")
        assert told.fix == f"correct the base URL: {server.url}"


def test_a_connection_that_is_refused_is_not_the_fault_of_tls() -> None:
    """Where nothing listens, the port is named."""
    told = examined("https://127.0.0.1:1")["tls"]
    assert told.message == "no connection to port 1: Connection refused"


def test_a_handshake_that_hangs_is_not_waited_for() -> None:
    """A server that accepts and says nothing ends in time."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        told = examined(f"https://127.0.0.1:{listener.getsockname()[1]}", limit=0.2)["tls"]
    assert told.message.endswith("no answer in time")


@pytest.mark.parametrize(
    ("script", "message", "fix"),
    [
        (Answer(403, b"no"), "403", "correct or unset HTTPS_PROXY"),
        (Answer(407, b"no"), "407", "export HTTPS_PROXY=http://USER:PASSWORD@127.0.0.1:"),
        (Answer(raw=b"SSH-2.0-x\r\n", then="close"), "SSH-2.0-x", "correct or unset HTTPS_PROXY"),
        (RESET, "reset", "correct or unset HTTPS_PROXY"),
        (HANG, "no answer in time", "correct or unset HTTPS_PROXY"),
    ],
    ids=["403", "407", "not HTTP", "reset", "hang"],
)
def test_a_proxy_that_gives_no_way_fails(
    script: Answer, message: str, fix: str, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy that refuses is named with its variable, without its password, and learns no key."""
    server.on("CONNECT", "", script)
    monkeypatch.setenv("HTTPS_PROXY", server.url.replace("://", "://me:pass%21word@"))
    checks = examined(REMOTE, limit=5.0 if script is not HANG else 0.2)
    assert checks["proxy"].outcome == "fail"
    assert f"{server.url} (with a user name) from HTTPS_PROXY" in checks["proxy"].message
    assert message in checks["proxy"].message
    assert checks["proxy"].fix.startswith(fix)
    assert checks["api"].message == "not tried: proxy comes first"
    assert "word" not in str(checks)
    assert {one.method for one in server.received} == {"CONNECT"}
    assert server.received[0].headers["proxy-authorization"] == "Basic bWU6cGFzcyF3b3Jk"
    assert KEY not in str(server.received)


def test_a_proxy_that_is_not_there_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """An address where no proxy listens is told, also where it is written without its scheme."""
    monkeypatch.setenv("all_proxy", "127.0.0.1:1")
    told = examined(REMOTE)["proxy"]
    assert told.message.startswith("http://127.0.0.1:1 from all_proxy gives no way to api.example.test")
    assert "refused" in told.message


def test_a_plain_proxy_that_is_written_as_an_https_one_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """It accepts a connection, but no TLS, and to run the same again in a while would never help."""
    with one_answer(b"HTTP/1.1 400 Bad Request\r\n\r\n", then_close=True) as url:
        monkeypatch.setenv("HTTPS_PROXY", url.replace("http:", "https:"))
        told = examined(REMOTE)["proxy"]
    assert told.outcome == "fail"
    assert "gives no way to api.example.test: the port speaks no TLS" in told.message
    assert told.fix == "correct or unset HTTPS_PROXY; it is written as http://HOST:PORT"


def test_the_way_through_a_proxy_is_followed(certificate: Certificate, monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind a working proxy names are its own affair; TLS and the API are looked at through its tunnel."""
    path = certificate(name="DNS:api.example.test")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(path))
    proxy = TunnelingServer(path)
    with proxy:
        monkeypatch.setenv("https_proxy", proxy.url.replace("https:", "http:"))
        proxy.on_get(NOT_FOUND)
        checks = examined(REMOTE)
        assert all(tunnel.startswith("CONNECT api.example.test:443 ") for tunnel in proxy.tunnels)
        assert KEY not in str(proxy.tunnels)
        assert len(proxy.received) == 1
    outcomes = [checks[name].outcome for name in ("proxy", "dns", "tls", "api")]
    assert outcomes == ["ok"] * 4
    assert checks["dns"].message == "api.example.test is left to the proxy"


def test_a_proxy_that_opens_tls_is_named_as_the_issuer(
    certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the proxy shows a certificate of its own, its owner is told."""
    with TunnelingServer(certificate(name="DNS:api.example.test")) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url.replace("https:", "http:"))
        told = examined(REMOTE)["tls"]
    assert "(issued by Proxy-Corp)" in told.message
    assert "the certificate of Proxy-Corp" in told.fix


@pytest.mark.parametrize(
    ("variable", "message"),
    [
        ("REQUESTS_CA_BUNDLE", "no file of trusted certificates at "),
        ("SSLKEYLOGFILE", "SSLKEYLOGFILE: the secrets of TLS cannot be written to "),
    ],
)
def test_a_setting_that_lets_no_tls_begin_is_told_behind_any_proxy(
    variable: str, message: str, certificate: Certificate, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The request finds it where TLS is left to that, and each check behind it is made all the same."""
    monkeypatch.setenv(variable, str(tmp_path / "none" / "file"))
    with TlsServer(certificate()) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        checks = examined(REMOTE)
    assert (checks["tls"].outcome, checks["api"].outcome) == ("ok", "fail")
    assert checks["api"].message.startswith(message)
    assert checks["api"].fix.startswith(f"unset {variable}")
    assert checks["versions"].outcome == "ok"


def test_a_proxy_that_is_not_used_says_why(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy in the environment is no fault where the host is this machine or NO_PROXY names it."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    server.on_get(NOT_FOUND)
    checks = examined(server.url)
    assert checks["proxy"].message == "HTTP_PROXY is not used: this machine needs none"
    assert checks["api"].outcome == "ok"
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", ".example")
    told = examined("https://no-such-host.example")["proxy"]
    assert told.message == "HTTPS_PROXY is not used: NO_PROXY names the host"


@pytest.mark.parametrize(
    ("proxy", "message"),
    [
        ("socks5://127.0.0.1:1", "needs PySocks"),
        ("http://127.0.0.1:99999", "is not an address"),
        ("http://me:pass/word@127.0.0.1:1", "is not an address"),
        ("http://me:12/word@127.0.0.1:1", "is not an address"),
        ("http://", "is not an address"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_told(proxy: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A SOCKS proxy without its library, and an address that is none, are faults of their own."""
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    monkeypatch.setitem(sys.modules, "socks", None)
    told = examined(REMOTE)["proxy"]
    assert told.outcome == "fail"
    assert message in told.message
    assert not re.search("me:|pass/|12/|word@", str(told))
    if "PySocks" in message:  # for this Python: the first pip that is found may be another's
        assert told.fix == f"{shlex.quote(sys.executable)} -m pip install 'requests[socks]'"


# Files and the ledger


def test_folders_that_cannot_be_written_are_told(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger's folder is needed; the cache is for the sandbox alone; both name COMETREP_HOME."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("COMETREP_HOME", str(tmp_path / "file" / "x"))
    checks = examined(server.url)
    assert [checks[name].outcome for name in ("state_folder", "cache_folder")] == ["fail", "warn"]
    assert "COMETREP_HOME" in checks["state_folder"].fix
    assert_each_fault_has_a_fix(checks)


@pytest.mark.usefixtures("full_disk")
@needs_proc
def test_a_full_disk_is_told(server: Server, tmp_path: Path) -> None:
    """It may have room for the name of one more file, and for none of its bytes."""
    told = examined(server.url)["state_folder"]
    assert (told.outcome, told.fix) == ("fail", f"df -h {tmp_path}")
    assert told.message == f"{tmp_path / 'comet'} cannot be written: No space left on device"


def test_looking_makes_nothing(server: Server, tmp_path: Path) -> None:
    """Folders and the ledger are looked at and not made, and nothing is left behind."""
    checks = examined(server.url)
    assert checks["state_folder"].message.endswith("made when it is needed")
    assert checks["ledger"].message.startswith("none yet")
    assert {path.name for path in tmp_path.rglob("*")} == {"home", "here"}


def test_a_broken_ledger_fails_and_what_needs_it_is_not_tried(server: Server, tmp_path: Path) -> None:
    """A ledger that is none names the way out; the checks that read it say that they were not made."""
    (tmp_path / "comet").mkdir()
    (tmp_path / "comet" / "ledger.sqlite3").write_bytes(b"no ledger at all, but long enough to be one" * 40)
    checks = examined(server.url)
    assert checks["ledger"].outcome == "fail"
    assert checks["ledger"].fix.startswith("mv ")
    for name in ("unknown_creates", "unsaved_outputs"):
        assert checks[name].message == "not tried: ledger comes first"
    assert checks["part_files"].outcome == "ok"
    assert_each_fault_has_a_fix(checks)


@pytest.fixture
def remember(tmp_path: Path) -> Iterator[Callable[..., None]]:
    """Put predictions into the ledger, as old as said."""
    opened: list[Ledger] = []

    def remember(
        id: str,
        status: str = "succeeded",
        *,
        age: float,
        saved: str = "",
        base_url: str = "http://127.0.0.1:1",
        is_sandbox: bool = False,
    ) -> None:
        path = tmp_path / "comet" / "ledger.sqlite3"
        ledger = Ledger(path, base_url=base_url, is_sandbox=is_sandbox, clock=lambda: NOW - age)
        opened.append(ledger)
        number = ledger.begin("owner/name", {"prompt": "cat"})
        if not id:
            if status == "doubt":
                ledger.doubt(number, errors.CreateUnknown("no answer"))
            return
        seen = prediction(id, status, output=["https://x.test/a.webp"] if status == "succeeded" else None)
        ledger.accept(number, Prediction.from_json(prediction(id, "starting")))
        ledger.see(Prediction.from_json(seen))
        if saved:
            ledger.add_file(id, SavedFile(saved, 0, 10, "00"))

    yield remember
    for ledger in opened:
        ledger.close()


def test_creates_in_doubt_are_counted(remember: Callable[..., None]) -> None:
    """Creates whose outcome is unknown are told with the age of the last; one under way is not in doubt yet."""
    remember("", "doubt", age=2 * HOUR)
    remember("", "killed", age=HOUR)
    remember("", "under way", age=20)
    remember("", "doubt", age=40 * 24 * HOUR)
    told = examined(now=NOW, flags="--base-url http://127.0.0.1:1")["unknown_creates"]
    assert told.outcome == "warn"
    assert told.message == "2 may have been accepted and billed, the last 1 h ago"
    assert told.fix.startswith("cometrep list --base-url http://127.0.0.1:1 --unknown")


def test_unsaved_outputs_are_told_before_their_hour_is_over(remember: Callable[..., None]) -> None:
    """What succeeded and was not saved is told with the time left, the most urgent first, and downloaded."""
    remember("fresh1", age=60)
    remember("-near1", age=50 * 60)
    remember("gone1", age=2 * HOUR)
    remember("saved1", age=50 * 60, saved="/pics/a.webp")
    remember("running1", "processing", age=50 * 60)
    remember("elsewhere1", age=50 * 60, base_url="https://other.test")
    remember("sandbox1", age=50 * 60, is_sandbox=True)
    remember("old1", age=48 * HOUR)
    told = examined(now=NOW)["unsaved_outputs"]
    assert told.outcome == "warn"
    assert told.message == "succeeded and not saved: -near1 (10 min left), gone1 (its hour is over)"
    assert told.fix == "cometrep download -- -near1 gone1"


def test_a_fresh_output_is_no_warning_yet(remember: Callable[..., None]) -> None:
    """An output with most of its hour left may be on its way to the disk."""
    remember("fresh1", age=600)
    told = examined(now=NOW)["unsaved_outputs"]
    assert (told.outcome, told.message) == ("ok", "1 not saved yet, the first with 50 min left")
    remember("running1", "processing", age=600)
    told = examined(now=NOW)["unsaved_outputs"]
    then = "1 prediction had not ended when last seen: cometrep list --unsaved --refresh"
    assert (told.outcome, told.message) == ("ok", f"1 not saved yet, the first with 50 min left; {then}")


def leave_part(folder: Path, name: str, facts: dict[str, Any] | None, size: int = 1000, age: float = 60) -> Path:
    """Leave a part file as a killed download does."""
    folder.mkdir(exist_ok=True)
    path = folder / f".{name}.part"
    path.write_bytes(b"x" * size)
    paths = [path]
    if facts is not None:
        paths.append(folder / f".{name}.part.json")
        paths[1].write_text(json.dumps(facts))
    for one in paths:
        os.utime(one, (NOW - age, NOW - age))
    return path


def test_part_files_are_taken_up_or_removed(remember: Callable[..., None], tmp_path: Path) -> None:
    """Part files here and where files were saved are counted; the fix goes on from all that it can."""
    here, pictures = tmp_path / "here", tmp_path / "my pictures"
    resumable, complete = {"validator": '"e1"', "total": 5000}, {"is_complete": True, "total": 1000}
    remember("saved1", age=HOUR, saved=str(pictures / "a.webp"))
    remember("tried1", age=60, is_sandbox=True)
    remember("there1", age=60, base_url="https://other.test")
    leave_part(here, "one1-0", resumable)
    leave_part(here, "one1-1", resumable)
    leave_part(here, "there1-0", resumable)
    leave_part(here, "tried1-0", resumable)
    leave_part(here, "late1-0", resumable, age=2 * HOUR)
    leave_part(here, "bare1-0", None)
    leave_part(here, "own1-0.4242", resumable)
    leave_part(here, "side1.cometrep.json.4242", None, size=10)
    leave_part(pictures, "whole1-0", complete, age=5 * HOUR)
    (here / ".vimrc.part").touch()
    (here / "movie.mp4.part").touch()
    told = examined(now=NOW)["part_files"]
    assert told.outcome == "warn"
    assert told.message.startswith(f"9 in {here}, {pictures}, 8.")
    fixes = told.fix.split("; ")
    assert fixes[0] == "cometrep download one1"
    assert fixes[1] == "cometrep download --base-url https://other.test there1"
    assert fixes[2] == "cometrep download --sandbox tried1"
    assert fixes[3] == f"cometrep download whole1 -d '{pictures}'"
    removed = fixes[4].removeprefix("rm -- ").split()
    names = ["bare1-0.part", "late1-0.part", "late1-0.part.json", "own1-0.4242.part", "own1-0.4242.part.json"]
    assert removed == [f"{here}/.{name}" for name in (*names, "side1.cometrep.json.4242.part")]


def test_a_part_file_is_not_taken_up_from_the_sandbox_that_the_api_made(
    remember: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the settings name the sandbox, its own alone come from there."""
    monkeypatch.setenv("COMETREP_SANDBOX", "1")
    remember("made1", age=60, base_url="https://other.test")
    remember("tried1", age=60, is_sandbox=True)
    leave_part(tmp_path / "here", "made1-0", {"validator": '"e1"'})
    leave_part(tmp_path / "here", "tried1-0", {"validator": '"e1"'})
    told = examined("", now=NOW)["part_files"]
    assert told.fix == "cometrep download --base-url https://other.test made1; cometrep download tried1"


def test_a_part_file_is_taken_up_from_the_server_that_it_notes(
    remember: Callable[..., None], tmp_path: Path
) -> None:
    """Ids repeat between servers: an entry of the same id here is no sign that it came from here.

    One that this machine sent no create to is shown, not offered: the key would go to whoever wrote the file.
    """
    remember("7", age=60)
    remember("6", age=60, base_url="https://other.test")
    servers = ("https://other.test", "sandbox", "http://127.0.0.1:1", "https://evil.test", "--help", " ")
    for id, server in zip("789abc", servers, strict=True):
        leave_part(tmp_path / "here", f"{id}-0", {"validator": '"e1"', "server": server})
    fixes = examined(now=NOW)["part_files"].fix.split("; ")
    assert fixes == [
        "cometrep download --base-url https://other.test 7",
        "cometrep download --sandbox 8",
        "cometrep download 9",
        " ".join(["cat -v --", *(str(tmp_path / "here" / f".{id}-0.part.json") for id in "abc")]),
    ]


def test_a_part_file_of_the_folder_to_save_in_needs_no_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder that the settings name is searched too, and a download goes there by itself."""
    monkeypatch.setenv("COMETREP_DIR", str(tmp_path / "pics"))
    leave_part(tmp_path / "pics", "-one1-0", {"validator": '"e1"'})
    assert examined(now=NOW)["part_files"].fix == "cometrep download -- -one1"


def test_a_working_folder_that_is_gone_is_to_be_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To run the doctor there again would tell the same."""
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    told = examined(now=NOW)["part_files"]
    assert (told.outcome, told.message, told.fix) == ("warn", "the working folder is gone", "cd")


def test_a_part_file_that_a_command_holds_is_not_left_over(tmp_path: Path) -> None:
    """What another command is writing at this moment is nobody's fault."""
    path = leave_part(tmp_path / "here", "one1-0", {"validator": '"e1"'})
    with path.open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert examined(now=NOW)["part_files"].outcome == "ok"
    assert examined(now=NOW)["part_files"].outcome == "warn"


# This machine

TERMINAL = Screen(None, lambda text: None, is_terminal=True, has_colour=True)


@pytest.mark.parametrize(
    ("screen", "term", "outcome", "message", "fix"),
    [
        (TERMINAL, "xterm", "ok", "80 columns, TERM=xterm, colour, UTF-8", ""),
        (
            TERMINAL._replace(has_colour=False),
            "dumb",
            "warn",
            "80 columns, TERM=dumb, no colour, UTF-8",
            "export TERM",
        ),
        (TERMINAL._replace(speaks_unicode=False), "xterm", "warn", "no UTF-8", "export LC_ALL=C.UTF-8"),
        (Screen(None, lambda text: None), "", "ok", "no terminal, no TERM, no colour, UTF-8", ""),
    ],
    ids=["able", "dumb", "no unicode", "a pipe"],
)
def test_what_the_terminal_can_do_is_told(
    screen: Screen, term: str, outcome: str, message: str, fix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Width, TERM, colour and encoding are told; what keeps a terminal from showing progress is a warning."""
    monkeypatch.setenv("TERM", term)
    told = examined(screen=screen)["terminal"]
    assert told.outcome == outcome
    assert message in told.message
    assert told.fix.startswith(fix)


@pytest.mark.parametrize("place", ["prefix/share", "home/.local/share", "system"])
def test_pages_are_found_where_they_are_installed(place: str, tmp_path: Path) -> None:
    """The wheel's own folder, the user's and the system's are searched for the pages."""
    assert examined()["man_pages"].outcome == "warn"
    write(tmp_path / place / "man/man1/cometrep.1")
    assert examined()["man_pages"] == Check("man_pages", "ok", f"{tmp_path}/{place}/man/man1/cometrep.1")


def write(path: Path, text: str = "") -> Path:
    """Write a file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def bash_completion(version: str, share: Path) -> None:
    """Install bash-completion, as far as anything looks at it."""
    write(share / "bash-completion/bash_completion", f"# programmable completion\n{version}\n")


OLD, NEW = "    BASH_COMPLETION_VERSINFO=(2 11)", "BASH_COMPLETION_VERSINFO=(2 12 0)"
BASH, ZSH, FISH = (
    "bash-completion/completions/cometrep",
    "zsh/site-functions/_cometrep",
    "fish/vendor_completions.d/cometrep.fish",
)


@pytest.mark.parametrize(
    ("shell", "path", "version"),
    [
        ("bash", f"home/.local/share/{BASH}", OLD),
        ("bash", f"system/{BASH}", OLD),
        ("bash", f"venv/share/{BASH}", NEW),
        ("zsh", f"system/{ZSH}", ""),
        ("zsh", "other/zsh/vendor-completions/_cometrep", ""),
        ("fish", f"home/.local/share/{FISH}", ""),
        ("fish", f"system/{FISH}", ""),
        ("fish", "home/.config/fish/completions/cometrep.fish", ""),
    ],
)
def test_a_completion_is_found_where_its_shell_looks(
    shell: str, path: str, version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each folder that the shell itself searches counts; those beside commands only for a new bash-completion."""
    monkeypatch.setenv("SHELL", f"/usr/bin/{shell}")
    monkeypatch.setenv("PATH", f"{tmp_path}/none:{tmp_path}/venv/bin")
    if version:
        bash_completion(version, tmp_path / "other")
    assert examined()["completion"].outcome == "warn"
    script = write(tmp_path / path)
    assert examined()["completion"] == Check("completion", "ok", f"{shell}: {script}")


@pytest.mark.parametrize(
    ("shell", "path", "version", "who"),
    [
        ("bash", f"prefix/share/{BASH}", OLD, "bash-completion 2.11"),
        ("bash", f"prefix/share/{BASH}", "VERSION=three", "bash"),
        ("bash", f"home/.local/share/{BASH}", "", "bash without bash-completion"),
        ("bash", f"system/{BASH}", "", "bash without bash-completion"),
        ("zsh", f"prefix/share/{ZSH}", "", "zsh"),
        ("zsh", f"home/.local/share/{ZSH}", "", "zsh"),
        ("fish", f"prefix/share/{FISH}", "", "fish"),
    ],
)
def test_a_completion_where_no_shell_looks_does_not_count(
    shell: str, path: str, version: str, who: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A script in a virtual environment is named, with the line that puts one where the shell finds it."""
    monkeypatch.setenv("SHELL", f"/usr/bin/{shell}")
    monkeypatch.setenv("PATH", str(tmp_path / "prefix/bin"))
    if version:
        bash_completion(version, tmp_path / "other")
    script = write(tmp_path / path)
    told = examined()["completion"]
    assert told.outcome == "warn"
    assert told.message == f"no shell finds one; {script} stands where {who} does not look"
    assert f"cometrep completion {shell}" in told.fix


def test_the_real_place_of_a_linked_command_counts_for_a_new_bash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What pipx links into ~/.local/bin has its script beside the file that the link leads to."""
    bash_completion(NEW, tmp_path / "system")
    script = write(tmp_path / "venvs/cometrep/share" / BASH)
    command = write(tmp_path / "venvs/cometrep/bin/cometrep")
    (tmp_path / "home/bin").mkdir()
    (tmp_path / "home/bin/cometrep").symlink_to(command)
    monkeypatch.setenv("SHELL", "/bin/bash")
    monkeypatch.setenv("PATH", str(tmp_path / "home/bin"))
    assert examined()["completion"] == Check("completion", "ok", f"bash: {script}")


@pytest.mark.parametrize(
    ("shell", "file", "line", "is_found"),
    [
        ("bash", ".bashrc", "source <(cometrep completion bash)", True),
        ("bash", ".bash_profile", 'eval "$(cometrep completion bash)"', True),
        ("bash", ".bashrc", "# source <(cometrep completion bash)", False),
        ("bash", ".bashrc", "source <(cometrep completion zsh)", False),
        ("zsh", ".zshrc", "source <(cometrep completion zsh)", True),
    ],
)
def test_a_script_that_is_sourced_counts(
    shell: str, file: str, line: str, is_found: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line of the start-up file that sources the script is as good as a file."""
    monkeypatch.setenv("SHELL", f"/bin/{shell}")
    write(tmp_path / "home" / file, f"alias l=ls\n{line}\n")
    assert examined()["completion"].outcome == ("ok" if is_found else "warn")


def test_a_folder_of_zshrc_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The script goes there where .zshrc has the folder in its fpath, and else into .zshrc, as a line."""
    monkeypatch.setenv("SHELL", "/bin/zsh")
    monkeypatch.setenv("ZDOTDIR", str(tmp_path / "dots"))
    script = tmp_path / "home/.local/share" / ZSH
    assert examined()["completion"].fix == f"echo 'source <(cometrep completion zsh)' >> {tmp_path}/dots/.zshrc"
    write(tmp_path / "dots/.zshrc", "fpath+=(~/.local/share/zsh/site-functions)\n")
    assert examined()["completion"].fix == f"mkdir -p {script.parent} && cometrep completion zsh > {script}"
    write(script)
    assert examined()["completion"] == Check("completion", "ok", f"zsh: {script}")


def test_the_fix_for_bash_is_one_that_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without bash-completion a file would lie unread; with it, its own folder may be set."""
    monkeypatch.setenv("SHELL", "/bin/bash")
    assert examined()["completion"].fix == "echo 'source <(cometrep completion bash)' >> ~/.bashrc"
    bash_completion(OLD, tmp_path / "system")
    monkeypatch.setenv("BASH_COMPLETION_USER_DIR", str(tmp_path / "mine"))
    assert f"cometrep completion bash > {tmp_path}/mine/completions/cometrep" in examined()["completion"].fix
    write(tmp_path / "mine/completions/cometrep")
    assert examined()["completion"].outcome == "ok"


@on_posix
@pytest.mark.parametrize(
    ("shell", "version", "fix"),
    [
        ("bash", "", "source <(cometrep completion bash)"),
        ("bash", OLD, "source <(cometrep completion bash)"),
        ("zsh", "", "source <(cometrep completion zsh)"),
        ("fish", "", "cometrep completion fish | source"),
    ],
)
def test_without_a_home_a_completion_is_for_this_shell_alone(
    shell: str, version: str, fix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container that runs under a number that no user has: a folder of the name `~` is for nobody."""
    import pwd

    def nobody(_: int) -> None:
        raise KeyError

    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    monkeypatch.setenv("SHELL", f"/bin/{shell}")
    if version:
        bash_completion(version, tmp_path / "system")
    assert examined()["completion"].fix == fix


def test_fishs_own_completions_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder in which people put completions for fish counts too, for fish alone."""
    path = tmp_path / "home" / ".config" / "fish" / "completions" / "cometrep.fish"
    path.parent.mkdir(parents=True)
    path.touch()
    monkeypatch.setenv("SHELL", "/usr/bin/fish")
    assert examined()["completion"] == Check("completion", "ok", f"fish: {path}")
    monkeypatch.setenv("SHELL", "/usr/bin/zsh")
    assert examined()["completion"].message == f"fish: {path}; none for zsh"


@pytest.mark.parametrize(
    ("shell", "fix"),
    [
        ("/bin/bash", "bash > {share}/bash-completion/completions/cometrep"),
        ("/bin/zsh", "zsh)' >> ~/.zshrc"),
        ("/bin/fish", "fish > {share}/fish/vendor_completions.d/cometrep.fish"),
        ("", "bash > "),
    ],
)
def test_the_completion_of_this_shell_is_what_is_missing(
    shell: str, fix: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The fix writes the script of the user's own shell to where that shell looks."""
    monkeypatch.setenv("SHELL", shell)
    bash_completion(OLD, tmp_path / "system")
    told = examined()["completion"]
    assert told.outcome == "warn"
    assert f"cometrep completion {fix.format(share=tmp_path / 'home/.local/share')}" in told.fix


def test_a_missing_pillow_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Pillow all but the sandbox works."""
    monkeypatch.setitem(sys.modules, "PIL", None)
    told = examined()["pillow"]
    assert (told.outcome, told.fix) == ("warn", f"{shlex.quote(sys.executable)} -m pip install 'pillow>=10.3'")


def test_versions_are_one_line() -> None:
    """What a report of a bug needs is told: cometrep, Python, the libraries and OpenSSL."""
    told = examined()["versions"].message
    for name in ("cometrep 0.", "Python 3.", "requests 2.", "urllib3 2.", "OpenSSL "):
        assert name in told
