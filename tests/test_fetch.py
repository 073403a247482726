"""Ask for one address and follow where it leads, held to the rules over real sockets."""

import contextlib
import socket
import time
from typing import Any

import pytest

from cometrep import errors
from cometrep.download import fetch
from cometrep.download.fetch import Fetcher
from cometrep.hints import LOOK_AT_URLS
from tests.conftest import Certificate
from tests.servers import Answer, Received, Server, TlsServer, TunnelingServer, one_answer


def fetched(url: str, *, allows_local: bool = True) -> bytes:
    """Give what an address, or where it leads, answers with."""
    with (
        contextlib.closing(Fetcher(allows_local=allows_local, clock=time.monotonic)) as fetcher,
        fetcher.get("abc123", url, {}) as response,
    ):
        return response.content


def test_redirects_are_followed_five_times(server: Server) -> None:
    """Five hops of any kind are followed, the sixth is one too many; what is no redirect leads nowhere."""

    def hop(request: Received) -> Answer:
        number = int(request.path.removeprefix("/hop"))
        status = (200, 301, 302, 303, 307, 308, 302)[number]
        return Answer(status, b"the file", headers={"Location": f"/hop{number - 1}"})

    server.on("GET", "/hop", hop)
    assert fetched(f"{server.url}/hop5") == b"the file"
    with pytest.raises(errors.Refused, match="more than 5 redirects"):
        fetched(f"{server.url}/hop6")


@pytest.mark.parametrize(
    "location",
    ["/f/é.png".encode().decode("latin-1"), "/f/é.png", "/f/%C3%A9.png"],
    ids=["raw", "Latin-1", "encoded"],
)
def test_a_redirect_to_a_name_in_utf_8_is_followed(server: Server, location: str) -> None:
    """The bytes that the host wrote are those that it is asked for, encoded or not."""
    server.on("GET", "/old", Answer(302, headers={"Location": location}))
    server.on("GET", "/f/%C3%A9.png", Answer(200, b"the file"))
    assert fetched(f"{server.url}/old") == b"the file"
    assert server.received[-1].path == "/f/%C3%A9.png"


def test_a_redirect_to_no_address_is_told_with_what_it_led_to(server: Server) -> None:
    """And with the command that shows the output."""
    server.on("GET", "/f", Answer(302, headers={"Location": "https://[::1"}))
    with pytest.raises(errors.OutputMissing, match=r"not an address: https://\[::1") as raised:
        fetched(f"{server.url}/f")
    assert raised.value.hint == LOOK_AT_URLS.of("abc123")


@pytest.mark.parametrize(
    "url",
    [
        "http://replicate.delivery/x.png",
        "https://127.0.0.1/x.png",
        "https://localhost/x.png",
        "https://10.0.0.1/x.png",
        "https://192.168.1.1/x.png",
        "https://169.254.169.254/latest/meta-data",
        "https://[::1]/x.png",
        "https://[fd00::1]/x.png",
        "https://user:pass@replicate.delivery/x.png",
        "https://:pass@replicate.delivery/x.png",
        "https://0.0.0.0/x.png",
        "https://2130706433/x.png",
        "https://[::ffff:127.0.0.1]/x.png",
        "https://[64:ff9b::7f00:1]/x.png",
        "https://[fec0::1]/x.png",
        "https://[2002:7f00:1::]/x.png",
        "https://127.0.0.1\\.replicate.delivery/x.png",
        "https://localhost\\@replicate.delivery/x.png",
    ],
)
def test_unsafe_addresses_are_refused_before_anything_is_sent(url: str) -> None:
    """With the real API, files come over https from public addresses alone."""
    with pytest.raises(errors.Refused, match="is refused") as raised:
        fetched(url, allows_local=False)
    assert raised.value.code == "unsafe_url"


@pytest.mark.parametrize(
    "host",
    [
        *("2130706433", "127.1", "0x7f.1", "0177.0.0.1", "[64:ff9b::7f00:1]", "10.0.0.1"),
        *("x.localhost", "localhost", "localhost.", "127.0.0.1.", "0x7f000001.", "127.1.", "10.0.0.1.."),
        *("%31%32%37.0.0.1", "%6c%6f%63alhost", "127%2e0.0.1", "192.168.%31.1"),
        *("127.0.0.1\\.replicate.delivery", "localhost\\", "10.0.0.1\\@replicate.delivery"),
    ],
)
def test_a_private_address_is_refused_behind_a_proxy_too(
    host: str, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proxy resolves names; an address that is written out, in whatever form, it is not asked for."""
    monkeypatch.setenv("HTTPS_PROXY", server.url)
    with pytest.raises(errors.Refused, match="a private address"):
        fetched(f"https://{host}/x.png", allows_local=False)
    assert server.received == []


def test_a_redirect_to_an_unsafe_address_is_refused(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hop is judged by the same rules as the first address."""
    monkeypatch.setattr(fetch, "check_peer", lambda _: None)
    first = f"{server.url}/f"
    original = Fetcher._check_address

    def check(self: Fetcher, id: str, url: str, session: Any, *, is_redirect: bool) -> None:
        if url != first:
            original(self, id, url, session, is_redirect=is_redirect)

    monkeypatch.setattr(Fetcher, "_check_address", check)
    for location in ("http://replicate.delivery/x", "https://10.0.0.7/x", "ftp://x/y", "file:///etc/passwd"):
        server.on("GET", "/f", Answer(302, headers={"Location": location}))
        with pytest.raises(errors.Refused, match=f"URL leads to {location}, which is refused"):
            fetched(first, allows_local=False)


@pytest.mark.parametrize(
    "url",
    [
        *("https://me:secret@host.test/a?signed=secret", "http://[::1/?secret", "http://host.test/a?secret"),
        f"https://{'a' * 64}.test/a?secret",
    ],
)
@pytest.mark.parametrize("size", [0, 200_000])
def test_an_address_is_shown_without_its_secrets_and_its_length(url: str, size: int) -> None:
    """What is refused is named, and neither a password, nor a signature, nor more than a few lines are printed."""
    with pytest.raises(errors.CometrepError, match="http") as raised:
        fetched(url.replace("/a?", f"/{'a' * (size + 1)}?"), allows_local=False)
    assert "secret" not in raised.value.message
    assert len(raised.value.message) < 1000
    assert raised.value.hint == LOOK_AT_URLS.of("abc123")


def test_a_name_that_resolves_otherwise_the_second_time_is_refused(
    certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host that has a public address when it is checked, and this machine's when it is asked, is not asked."""
    path = certificate(name="DNS:files.example.test")
    resolve, asked = socket.getaddrinfo, 0

    def rebinding(host: Any, port: Any, *rest: Any, **named: Any) -> Any:
        nonlocal asked
        if host != "files.example.test":
            return resolve(host, port, *rest, **named)
        asked += 1
        return resolve("1.1.1.1" if asked == 1 else "127.0.0.1", port, *rest, **named)

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(path))
    with TlsServer(path) as server:
        server.on("GET", "/f.webp", Answer(200, b"the file"))
        with pytest.raises(errors.Refused, match="is at a private address") as raised:
            fetched(f"https://files.example.test:{server.url.rpartition(':')[2]}/f.webp", allows_local=False)
        assert server.received == []
    assert (raised.value.code, raised.value.hint) == ("unsafe_url", LOOK_AT_URLS.of("abc123"))
    assert asked == 2


def test_a_proxy_may_be_at_a_private_address(certificate: Certificate, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the user's own, and resolves names by its own rules, whatever they are within its network."""
    path = certificate(name="DNS:files.example.test")
    resolve = socket.getaddrinfo

    def within(host: Any, *rest: Any, **named: Any) -> Any:
        return resolve("127.0.0.1" if host == "files.example.test" else host, *rest, **named)

    monkeypatch.setattr(socket, "getaddrinfo", within)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(path))
    with TunnelingServer(path) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url.replace("https:", "http:"))
        proxy.on("GET", "/f.webp", Answer(200, b"the file"))
        assert fetched("https://files.example.test/f.webp", allows_local=False) == b"the file"


def test_a_proxy_that_gives_no_way_is_named(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fault may be the proxy's and not the host's of the file."""
    server.on("CONNECT", "", Answer(raw=b"", then="reset"))
    monkeypatch.setenv("HTTPS_PROXY", server.url)
    way = f"cannot fetch files.example.test through the proxy {server.url.removeprefix('http://')}: "
    with pytest.raises(errors.Temporary, match=way):
        fetched("https://files.example.test/f.webp", allows_local=False)


def test_a_certificate_that_nobody_vouches_for_is_not_worth_repeating(certificate: Certificate) -> None:
    """The next attempt would meet the same."""
    with TlsServer(certificate()) as server:
        with pytest.raises(errors.Temporary, match=r"cannot fetch 127\.0\.0\.1") as raised:
            fetched(f"{server.url}/f.webp", allows_local=True)
        assert server.received == []
    assert (raised.value.code, raised.value.is_worth_repeating) == ("tls", False)
    assert raised.value.hint == "export REQUESTS_CA_BUNDLE=FILE"


def test_any_other_fault_of_tls_is_worth_repeating() -> None:
    """As where a host is restarted."""
    with (
        one_answer(b"HTTP/1.1 503 Starting\r\n\r\n", then_close=True) as url,
        pytest.raises(errors.Temporary, match=r"cannot fetch 127\.0\.0\.1") as raised,
    ):
        fetched(url.replace("http:", "https:"), allows_local=True)
    assert (raised.value.code, raised.value.is_worth_repeating) == ("network", True)
