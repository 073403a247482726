"""What API, downloads and doctor share of HTTP: sessions that keep nothing, the way out, and why it failed."""

import http.client
import io
import math
import os
import re
import socket
import ssl
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Mapping
from copy import copy
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes, urlsplit

import requests
import urllib3
import urllib3.connection
import urllib3.exceptions
from requests.auth import AuthBase
from urllib3.util import parse_url
from urllib3.util.ssl_ import create_urllib3_context

from cometrep import __version__, errors
from cometrep.answers import Answer
from cometrep.config import environment, is_local_url
from cometrep.text import cut, harmless, masked

PROBE_LIMIT_BYTES = 1_000_000
FRAMING_TIMEOUT_SECONDS = 300.0  # for a head, or for what stands before a chunk, however slowly it drips
TRAILER_TIMEOUT_SECONDS = 1.0  # for what follows a body that is whole, and tells nothing
# But no word of "Basic Constraints" or "basic authentication is required".
_LOGIN = r"\b((?i:basic|bearer))\s+(?=\S*(?:[0-9=+/._~-]|[a-z][A-Z]))\S+"
_PROXY_SCHEMES = ("http", "https", "socks4", "socks4a", "socks5", "socks5h")
_ISSUER_UNKNOWN = (2, 18, 19, 20, 21)  # OpenSSL's codes: no issuer is found, or one is that nobody vouches for
_LOGIN_WANTED = "Tunnel connection failed: 407"
_INTERIM_LIMIT = 1000  # answers before the final one
http.client._MAXHEADERS = 1000  # type: ignore[attr-defined]  # by itself it lets go of an answer with more than 100
_IDLE_SECONDS = 1.0  # after which the other side may be closing a connection, at the moment a create enters it
_CUT_SHORT = (urllib3.exceptions.IncompleteRead, http.client.IncompleteRead)
PLAIN_URL = r"https?://[a-z0-9][a-z0-9.-]*(:[0-9]+)?(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)+"  # that requests leaves alone


class NoAuth(AuthBase):
    """Add nothing; a session that has an `auth` reads no netrc."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        return request


class Session(requests.Session):
    """A session that follows no redirect, keeps no cookie and reads no netrc; proxies and CA bundles stay."""

    def __init__(
        self,
        auth: AuthBase,
        connections: int = requests.adapters.DEFAULT_POOLSIZE,
        *,
        answer_timeout_seconds: float | None = None,
        check_peer: Callable[[str], None] | None = None,
    ) -> None:
        """`connections` is how many to one host are kept open for further requests.

        `answer_timeout_seconds` is the limit on all of an answer, from its first byte on; None lets a body take
        its time. `check_peer` is given the IP address of each connection that no proxy makes, before anything is
        sent over it; what it raises ends the request.
        """
        super().__init__()
        for scheme in ("https://", "http://"):
            adapter = _Adapter(
                max(connections, requests.adapters.DEFAULT_POOLSIZE),
                answer_timeout_seconds=answer_timeout_seconds,
                check_peer=check_peer,
            )
            self.mount(scheme, adapter)
        self._environment: tuple[Any, dict[str, Any]] = (None, {})  # for what it was read, and what it said
        self._patterns: dict[Any, tuple[Any, requests.PreparedRequest]] = {}  # by method: of what, and it
        self.auth = auth  # netrc is read only where a session has none
        self.headers["User-Agent"] = f"cometrep/{__version__}"

    def prepare_request(self, request: requests.Request) -> requests.PreparedRequest:
        """Prepare as requests does, after the pattern of the one before it: address and body alone are its own."""
        # The other headers are the same, and working them out is a quarter of what a look or a create costs.
        if request.params or request.cookies or request.auth or request.files or request.json:
            return super().prepare_request(request)
        asked = (tuple(self.headers.items()), tuple(request.headers.items()), bool(request.data))
        known, pattern = self._patterns.get(request.method, (None, None))
        if pattern is None or asked != known:
            prepared = super().prepare_request(request)
            pattern = copy(prepared)
            pattern.body = None  # which is the request's own, and may be large
            self._patterns[request.method] = (asked, pattern)
            return prepared
        prepared = copy(pattern)
        if re.fullmatch(PLAIN_URL, str(request.url)):
            prepared.url = str(request.url)
        else:
            prepared.prepare_url(request.url, None)
        if request.data:
            prepared.headers = pattern.headers.copy()  # which get the body's length
            prepared.prepare_body(request.data, None)
        return prepared

    def merge_environment_settings(self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any) -> Any:
        """Take proxies and CA bundles from the environment; this machine's own servers need no proxy.

        Raises ConfigError for a proxy that is no address.
        """
        # The environment of a process does not change, and reading it is a fifth of what a request costs.
        asked = (url.split("/", 3)[:3], dict(proxies), stream, verify, cert)  # requests changes the proxies
        known, settings = self._environment
        if asked != known:
            settings = dict(super().merge_environment_settings(url, proxies, stream, verify, cert))
            proxy = _proxy_of(url, settings["proxies"])
            settings["proxies"] = {"all": proxy} if proxy else {}
            self._environment = (asked, settings)
        return dict(settings)

    def send(self, request: requests.PreparedRequest, **settings: Any) -> requests.Response:
        """Send a request and give its answer, the body unread; raise as requests does.

        Raises ConfigError, before anything leaves, where there are no certificates.
        """
        verify = settings.get("verify")
        bundle = verify if isinstance(verify, str) and (request.url or "").startswith("https:") else ""
        if bundle and not os.path.exists(bundle):  # requests itself raises an OSError that is none of its own
            raise _no_certificates(f"no file of trusted certificates at {bundle}")
        # What requests itself would do besides: keep cookies, call hooks, and read where a redirect leads, which
        # fails on a malformed one.
        settings.pop("allow_redirects", None)
        try:
            return self.get_adapter(request.url or "").send(request, **settings)
        except (requests.exceptions.SSLError, requests.exceptions.ProxyError):
            if bundle:
                _check_certificates(bundle)
            raise
        except urllib3.exceptions.LocationParseError as problem:  # requests lets these through as they are
            raise requests.exceptions.InvalidURL(problem, request=request) from problem
        except urllib3.exceptions.HTTPError as problem:
            raise requests.exceptions.ConnectionError(problem, request=request) from problem


def _check_certificates(ca_bundle: str) -> None:
    """Raise ConfigError where a file holds no certificates: TLS then fails before anything leaves."""
    try:
        tls_context(ca_bundle)
    except OSError as problem:
        raise _no_certificates(f"no certificates can be read from {ca_bundle}: {reason_of(problem)}") from problem


def _no_certificates(told: str) -> errors.ConfigError:
    return errors.ConfigError(told, hint="unset REQUESTS_CA_BUNDLE CURL_CA_BUNDLE", code="bad_setting")


class _Timed(io.RawIOBase):
    """What comes from a socket, until the time for it is over; the socket's own limit is on each wait alone."""

    def __init__(self, source: io.RawIOBase, seconds: float) -> None:
        self._source = source
        self.allow(seconds)

    def allow(self, seconds: float) -> None:
        """Let all that comes from now on take so long, counted from its first byte on."""
        self._seconds, self._until = seconds, math.inf

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def readinto(self, buffer: Any) -> Any:
        """Read what there is; raise TimeoutError where the time is over."""
        if time.monotonic() > self._until:
            raise TimeoutError("timed out")
        count = self._source.readinto(buffer)
        if self._until == math.inf:
            self._until = time.monotonic() + self._seconds
        return count

    def fileno(self) -> int:
        """Give the socket's number."""
        return self._source.fileno()

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
    of the body. Raises UnknownTransferEncoding for a coding that nobody asked for.
    """
    lines, rest = headers.items(), headers.get_payload()
    if (
        not rest
        and headers.get("Transfer-Encoding", "chunked") == "chunked"
        and all(v == v.strip() for _, v in lines)
    ):
        return b""
    while isinstance(rest, str) and rest:
        named = re.sub(r"\A([!-9;-~]+)[ \t]+:", r"\1:", rest)  # blanks before the colon, which mean nothing either
        readable = named if named != rest else rest.partition("\n")[2]
        behind = http.client.parse_headers(io.BytesIO(readable.encode("latin-1")))
        lines += behind.items()
        rest = behind.get_payload()
    lines = [(name, re.sub(r"\s*[\r\n]\s*", " ", value.strip(" \t"))) for name, value in lines]
    told = ",".join(value for name, value in lines if name.lower() == "transfer-encoding")
    codings = {coding.strip().lower() for coding in told.split(",")} - {"", "identity"}
    if codings - {"chunked"}:
        raise http.client.UnknownTransferEncoding(f"an answer in the transfer coding {told}")
    lines = [line for line in lines if line[0].lower() != "transfer-encoding"]
    lines += [("Transfer-Encoding", coding) for coding in codings]
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
    """Connections of which a POST takes none that has been idle for long.

    The other side may close such a one while the request is on its way, and nobody can tell whether it was read.
    """

    ConnectionCls = _Connection

    def __init__(self, *rest: Any, **named: Any) -> None:
        super().__init__(*rest, **named)
        self._asked = threading.local()

    def urlopen(self, method: str, *rest: Any, **named: Any) -> Any:
        """Send a request over one of the connections."""
        self._asked.method = method
        return super().urlopen(method, *rest, **named)

    def _get_conn(self, *rest: Any, **named: Any) -> Any:
        connection: Any = super()._get_conn(*rest, **named)
        if self._asked.method == "POST" and time.monotonic() - connection.answered > _IDLE_SECONDS:
            connection.close()  # it connects anew when it is used
        return connection


class _SecurePool(_Pool, urllib3.HTTPSConnectionPool):
    """The same behind TLS."""

    ConnectionCls = _SecureConnection


class _Adapter(requests.adapters.HTTPAdapter):
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


class Route(NamedTuple):
    """How requests reach a URL: the proxy's URL, empty for none, and the file or folder of trusted certificates."""

    proxy: str
    ca_bundle: str


def route_to(url: str) -> Route:
    """Tell which proxy and which certificates a request to a URL would use."""
    with Session(NoAuth()) as session:
        settings = session.merge_environment_settings(url, {}, None, None, None)
    verify = settings["verify"]
    return Route(
        settings["proxies"].get("all", ""),
        requests.utils.DEFAULT_CA_BUNDLE_PATH if verify is True else str(verify),
    )


def _proxy_of(url: str, proxies: Mapping[str, str]) -> str:
    """Choose the proxy's URL for a URL, empty for none; raise ConfigError where it is no address."""
    proxy = "" if is_local_url(url) else requests.utils.select_proxy(url, dict(proxies)) or ""
    if not proxy:
        return ""
    origin, proxy = proxy_origin(url, proxy), proxy.strip()
    try:
        parts = parse_url(proxy if "://" in proxy else f"http://{proxy}")
        proxy = parts.url  # with all encoded that Python's own parser stumbles over
        rest = (parts.path or "", parts.query or "", parts.fragment or "")
        is_address = bool(urlsplit(proxy).hostname) and parts.scheme in _PROXY_SCHEMES and "@" not in "".join(rest)
    except (urllib3.exceptions.LocationParseError, ValueError):
        is_address = False
    if not is_address:  # nor is it shown: it may hold a password
        raise errors.ConfigError(
            f"{origin} is not an address; in a user name or password write / as %2F, @ as %40, # as %23",
            hint=f"correct or unset {origin}; it is written as http://HOST:PORT",
            code="bad_setting",
        )
    return proxy


def proxy_variables(url: str) -> list[str]:
    """Name the environment variables that are set and give the proxy for a URL, the first before the others."""
    names = [name for kind in (urlsplit(url).scheme, "all") for name in (f"{kind}_proxy", f"{kind}_proxy".upper())]
    return [name for name in names if environment(name)]


def proxy_origin(url: str, proxy: str) -> str:
    """Name the environment variable that a URL's proxy comes from."""
    return next((name for name in proxy_variables(url) if environment(name) in proxy), "the system's settings")


def proxy_login(proxy: str) -> dict[str, str]:
    """Give the header with the user and password of a proxy's URL: what is not percent-encoded there in UTF-8."""
    user, _, password = (parse_url(proxy).auth or "").partition(":")
    login = b64encode(unquote_to_bytes(f"{user}:{password}")).decode()
    return {"Proxy-Authorization": f"Basic {login}"} if user else {}


def is_misdirected(problem: BaseException) -> bool:
    """Say whether a request failed for what a setting says, a URL or a proxy, and will fail so again."""
    told = reason_of(problem)  # the whole text also holds the URL, and with it any word of an id
    return (
        isinstance(problem, (requests.exceptions.InvalidURL, requests.exceptions.InvalidProxyURL))
        or (isinstance(problem, requests.exceptions.InvalidSchema) and "SOCKS" in told)
        or (isinstance(problem, requests.exceptions.ProxyError) and told.startswith(_LOGIN_WANTED))
    )


def is_broken_off(problem: BaseException) -> bool:
    """Say whether the other side went away in the middle of a TLS handshake, as one that is restarted does."""
    return isinstance(_innermost(problem), (ssl.SSLEOFError, ssl.SSLZeroReturnError))


def is_distrusted(problem: BaseException) -> bool:
    """Say whether a certificate is refused for who issued it alone, which a file of certificates to trust mends."""
    innermost = _innermost(problem)
    return isinstance(innermost, ssl.SSLCertVerificationError) and innermost.verify_code in _ISSUER_UNKNOWN


def is_cut_short(problem: BaseException) -> bool:
    """Say whether a connection ended before the body did."""
    return isinstance(_innermost(problem), _CUT_SHORT)


def way_to(url: str) -> str:
    """Name the proxy on the way to a URL, as words to add, without its user and password; empty for none."""
    proxy = route_to(url).proxy.rpartition("@")[2].rpartition("//")[2].rstrip("/")
    return f" through the proxy {proxy}" if proxy else ""


def tls_context(ca_bundle: str) -> ssl.SSLContext:
    """Make the TLS context of a request that trusts a file or folder of certificates; raises OSError."""
    context = create_urllib3_context()
    is_folder = Path(ca_bundle).is_dir()
    context.load_verify_locations(None if is_folder else ca_bundle, ca_bundle if is_folder else None)
    return context


def has_netrc_entry(url: str) -> bool:
    """Say whether a netrc file names a URL's host; no session here reads it."""
    try:
        return requests.utils.get_netrc_auth(url) is not None
    except ValueError:  # a file in another encoding
        return False


def ask(url: str, headers: Mapping[str, str], timeout_seconds: float) -> Answer:
    """Send one GET and read its answer, the first megabyte at most; raise Temporary where none comes."""
    content = bytearray()
    try:
        with (
            Session(NoAuth(), answer_timeout_seconds=timeout_seconds) as session,
            session.get(url, headers=dict(headers), timeout=timeout_seconds) as response,
        ):
            for chunk in response.iter_content(65536):
                content += chunk
                if len(content) > PROBE_LIMIT_BYTES:
                    break
            return Answer(response.status_code, response.headers, bytes(content))
    except (OSError, ValueError) as problem:  # an OSError is also what all of requests' own are
        is_tls = isinstance(problem, requests.exceptions.SSLError)
        raise errors.Temporary(reason_of(problem), code="tls" if is_tls else "network") from problem


def reason_of(problem: BaseException) -> str:
    """Say in a few words why a transfer failed, from a requests or urllib3 error and what it wraps.

    A login that the other side repeats there is hidden.
    """
    return re.sub(_LOGIN, r"\1 [hidden]", masked(_reason_of(problem)))


def _reason_of(problem: BaseException) -> str:
    innermost = _innermost(problem)
    if isinstance(problem, requests.exceptions.ReadTimeout) or isinstance(
        innermost, urllib3.exceptions.ReadTimeoutError
    ):
        return "no answer in time"
    if isinstance(problem, requests.exceptions.ConnectTimeout):
        return "no connection in time"
    if isinstance(innermost, TimeoutError):
        return "no answer in time"
    if isinstance(innermost, urllib3.exceptions.NameResolutionError) or type(innermost).__name__ == "gaierror":
        return "the host name cannot be resolved"
    if isinstance(innermost, _CUT_SHORT):
        had = innermost.partial if isinstance(innermost.partial, int) else len(innermost.partial)
        rest = f" of {had + innermost.expected}" if innermost.expected else ""
        return f"the connection ended after {had}{rest} bytes"
    if is_broken_off(innermost):
        return "the TLS connection broke off"
    if isinstance(innermost, ssl.SSLCertVerificationError):
        return f"the certificate is refused: {innermost.verify_message.rstrip('.')}"
    if isinstance(innermost, ssl.SSLError) and innermost.reason == "WRONG_VERSION_NUMBER":
        return "the port speaks no TLS (wrong version number)"
    if isinstance(innermost, ssl.SSLError) and innermost.reason:
        return f"TLS: {innermost.reason.replace('_', ' ').lower()}"
    if isinstance(innermost, OSError):
        return innermost.strerror or str(innermost)[:300] or type(innermost).__name__
    if isinstance(innermost, (http.client.BadStatusLine, http.client.UnknownProtocol)):
        return f"not an HTTP answer: {cut(harmless(str(innermost).strip()), 100)}"  # a bare line of it is no reason
    return str(innermost)[:300] or type(innermost).__name__


def _innermost(problem: BaseException) -> BaseException:
    """Give the error that one of requests or urllib3 wraps, however deep."""
    seen: set[int] = set()
    innermost = problem
    while id(innermost) not in seen:
        seen.add(id(innermost))
        wrapped = [innermost.__dict__.get("reason"), *reversed(innermost.args), innermost.__cause__]
        innermost = next((item for item in wrapped if isinstance(item, BaseException)), innermost)
    return innermost
