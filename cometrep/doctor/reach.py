"""Try each step of the way to the API: proxy, name, TLS, the API itself, and name the fix of what fails.

None costs money: the one request looks at a prediction that cannot exist. Each step is bounded, and not tried where
an earlier one failed.
"""

import contextlib
import http.client
import importlib.util
import logging
import socket
import ssl
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import SplitResult, urlsplit

from cometrep import config, errors, transport
from cometrep.calls import within
from cometrep.config.values import is_local_host
from cometrep.doctor.checks import FAIL, OK, SHOWN, WARN, Check, installing, untried
from cometrep.doctor.subject import Subject
from cometrep.prediction import Prediction
from cometrep.text import first_few, format_elapsed
from cometrep.transport import probe, proxies
from cometrep.transport.answers import Answer, is_passing
from cometrep.transport.reasons import reason_of

_SKEW_SECONDS = 60.0
_DAY = 86400.0
_CERTIFICATE_DAYS = 7
_NO_ID = "doctor-check"  # of a prediction that cannot exist
_SET_CLOCK = {"darwin": "sudo sntp -sS time.apple.com", "win32": "w32tm /resync"}

_log = logging.getLogger("cometrep.doctor.reach")


class Reach:
    """The way to the API at one base URL, which is empty where it is not known."""

    def __init__(self, subject: Subject, *, now: Callable[[], float], limit_seconds: float) -> None:
        self._base_url = subject.base_url
        self._api_key = subject.api_key
        self._again = subject.again
        self._replace_base_url = subject.replace_base_url
        self._replace_key_command = subject.settings.replace_key_command
        self._now = now
        self._limit_seconds = limit_seconds

    def checks(self) -> Iterator[Check]:
        """Try each step; those behind one that failed say so instead."""
        if not self._base_url:
            yield from (
                untried(name, "base_url", self._again) for name in ("proxy", "dns", "tls", "api", "clock", "netrc")
            )
            return
        parts = urlsplit(self._base_url)
        host = parts.hostname or ""
        port = parts.port or (443 if parts.scheme == "https" else 80)
        route = None
        try:
            route = transport.route_to(self._base_url)
            proxy = self._proxy(host, port, route)
        except errors.ConfigError as problem:
            proxy = Check("proxy", FAIL, problem.message, problem.hint)
        yield proxy
        if route is None or proxy.outcome == FAIL:
            yield from (untried(name, "proxy", self._again) for name in ("dns", "tls", "api", "clock"))
        else:
            yield from self._connection(host, port, parts.scheme, route)
        yield self._netrc(host)

    def _connection(self, host: str, port: int, scheme: str, route: transport.Route) -> Iterator[Check]:
        dns = Check("dns", OK, f"{host} is left to the proxy") if route.proxy else self._dns(host, port)
        yield dns
        if dns.outcome == FAIL:
            yield from (untried(name, "dns", self._again) for name in ("tls", "api", "clock"))
            return
        if scheme == "http":
            tls = Check("tls", OK, "not used: plain http stays on this machine")
        elif route.proxy and urlsplit(route.proxy).scheme != "http":
            tls = Check("tls", OK, "left to the request: its proxy is not a plain http one")
        else:
            tls = self._tls(host, port, route)
        yield tls
        if tls.outcome == FAIL:
            yield from (untried(name, "tls", self._again) for name in ("api", "clock"))
            return
        api, answer = self._api()
        yield api
        yield self._clock(answer) if answer else untried("clock", "api", self._again)

    def _proxy(self, host: str, port: int, route: transport.Route) -> Check:
        if not route.proxy:
            names = proxies.proxy_variables(self._base_url)
            if not names:
                return Check("proxy", OK, "none is set")
            why = "this machine needs none" if is_local_host(host) else "NO_PROXY names the host"
            return Check("proxy", OK, f"{', '.join(names)} is not used: {why}")
        origin = proxies.proxy_origin(self._base_url, route.proxy)
        fix = f"correct or unset {origin}; it is written as http://HOST:PORT"
        parts = urlsplit(route.proxy)
        shown = f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")
        shown += " (with a user name)" if parts.username else ""
        if parts.scheme.startswith("socks") and importlib.util.find_spec("socks") is None:
            return Check("proxy", FAIL, f"{shown} from {origin} needs PySocks", installing("requests[socks]"))
        try:
            within(self._limit_seconds, lambda: _connect(host, port, parts, self._limit_seconds).close())
        except (OSError, http.client.HTTPException, UnicodeError) as problem:
            told = reason_of(problem)
            if "407" in told:
                fix = f"export {origin}=http://USER:PASSWORD@{parts.hostname}:{parts.port or 80}"
            return Check("proxy", FAIL, f"{shown} from {origin} gives no way to {host}: {told}", fix)
        return Check("proxy", OK, f"{shown} from {origin} answers")

    def _dns(self, host: str, port: int) -> Check:
        fix = f"nslookup {host}" if self._base_url == config.DEFAULT_BASE_URL else self._replace_base_url
        try:
            found = within(self._limit_seconds, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as problem:
            return Check("dns", FAIL, f"{host} has no address: {reason_of(problem)}", fix)
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        return Check("dns", OK, first_few(addresses, SHOWN))

    def _tls(self, host: str, port: int, route: transport.Route) -> Check:
        proxy = urlsplit(route.proxy) if route.proxy else None
        variable = next((v for v in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE") if config.environment(v)), "")
        trusted = f"; trusted are those of {variable}, {route.ca_bundle}" if variable else ""
        try:
            transport.check_key_log()
            context = transport.tls_context(route.ca_bundle)
        except errors.ConfigError as problem:
            return Check("tls", FAIL, problem.message, problem.hint)
        except OSError as problem:
            told = f"no certificates can be read from {route.ca_bundle}: {reason_of(problem)}"
            fix = f"correct or unset {variable}" if variable else installing("--force-reinstall", "certifi")
            return Check("tls", FAIL, told, fix)

        def connect() -> socket.socket:
            return _connect(host, port, proxy, self._limit_seconds)

        try:
            version, certificate = within(self._limit_seconds, lambda: _handshake(connect, context, host))
        except ssl.SSLCertVerificationError as problem:
            return self._distrusted(problem, connect, variable, trusted)
        except (OSError, http.client.HTTPException) as problem:
            is_tls = isinstance(problem, ssl.SSLError)
            told = f"{'the handshake failed' if is_tls else f'no connection to port {port}'}: {reason_of(problem)}"
            fix = "where the way out is through a proxy: export HTTPS_PROXY=http://HOST:PORT"
            return Check("tls", FAIL, told, self._replace_base_url if is_tls or proxy else fix)
        expires = ssl.cert_time_to_seconds(str(certificate["notAfter"]))
        day = time.strftime("%Y-%m-%d", time.gmtime(expires))
        told = f"{version}, certificate by {_issuer_of(certificate)}, good until {day}{trusted}"
        if expires - self._now() < _CERTIFICATE_DAYS * _DAY:
            return Check("tls", WARN, told, "none here: whoever runs the server has to renew its certificate")
        return Check("tls", OK, told)

    def _distrusted(
        self,
        problem: ssl.SSLCertVerificationError,
        connect: Callable[[], socket.socket],
        variable: str,
        trusted: str,
    ) -> Check:
        issuer = ""
        with contextlib.suppress(OSError, http.client.HTTPException):
            issuer = within(self._limit_seconds, lambda: _issuer_shown(connect))
        by = f" (issued by {issuer})" if issuer else ""
        told = f"the certificate is refused: {problem.verify_message}{by}{trusted}"
        if "expired" in problem.verify_message or "not yet valid" in problem.verify_message:
            return Check("tls", FAIL, told, f"look whether the clock here is right: {_set_clock()}")
        if "ostname mismatch" in problem.verify_message or "IP address mismatch" in problem.verify_message:
            return Check("tls", FAIL, told, self._replace_base_url)
        owner = f"the certificate of {issuer}" if issuer else "the certificate of whoever opens TLS on the way"
        set_bundle = f"export REQUESTS_CA_BUNDLE=FILE, a file with {owner}, where you trust it"
        return Check("tls", FAIL, told, f"unset {variable}, or {set_bundle}" if variable else set_bundle)

    def _api(self) -> tuple[Check, Answer | None]:
        """Look at a prediction that cannot exist, and judge the answer."""
        url = f"{self._base_url}/replicate/v1/predictions/{_NO_ID}"
        key = self._api_key
        headers = {"Accept": "application/json"}
        if key:
            headers["Authorization"] = f"Bearer {key.reveal()}"
        _log.debug("> GET %s (Authorization: %s)", url, f"Bearer {key}" if key else "none")
        began = time.monotonic()
        fix = f"run it again in a while: {self._again}"
        try:
            # The limit here is the one that tells; the request's own only ends it.
            answer = within(self._limit_seconds, lambda: probe.ask(url, headers, 2 * self._limit_seconds))
        except TimeoutError:  # CometAPI's query page once recorded none for 45 s, and other commands wait longer
            return Check("api", WARN, f"it is there, but gave no answer in {self._limit_seconds:g} s", fix), None
        except errors.Temporary as problem:
            told = f"no answer: {reason_of(problem)}"
            if self._base_url.startswith("http:"):
                try:
                    meets_tls = self._meets_tls()
                except OSError:  # nothing listens there
                    return Check("api", FAIL, told, self._replace_base_url), None
                if meets_tls:
                    told = "no answer to plain http, as the port speaks TLS"
                    fix = f"correct the base URL: {self._base_url.replace('http:', 'https:', 1)}"
            return Check("api", FAIL, told, fix), None
        except errors.ConfigError as problem:  # of TLS that was left to the request
            return Check("api", FAIL, problem.message, problem.hint), None
        seconds = time.monotonic() - began
        _log.debug("< %s in %.3f s, request id %s", answer.status, seconds, answer.request_id or "none")
        return self._judged(answer, f"HTTP {answer.status} in {seconds:.2f} s"), answer

    def _meets_tls(self) -> bool:
        """Say whether TLS is spoken where the base URL has plain http; raise OSError where nothing listens."""
        parts = urlsplit(self._base_url)
        with _connect(parts.hostname or "", parts.port or 80, None, self._limit_seconds) as plain:
            try:
                _blind().wrap_socket(plain).close()
            except OSError:
                return False
        return True

    def _judged(self, answer: Answer, how: str) -> Check:
        status, said = answer.status, f": {answer.message[:200]}" if answer.message else ""
        page = f": a web page instead of JSON{f' ({answer.title})' if answer.title else ''}"
        later = f"run it again in a while: {self._again}"
        is_not_found = status == 500 and answer.says_no_such_prediction(_NO_ID)
        if answer.is_redirect:
            return Check("api", FAIL, f"{how}: {answer.leads}; the API does not do that", self._replace_base_url)
        if is_passing(status) and not is_not_found:
            told = page if answer.is_html else said
            return Check("api", WARN, f"it answers, but not now ({how}){told}", later)
        if answer.is_html:
            return Check("api", FAIL, f"{how}{page}", self._replace_base_url)
        if answer.is_block:
            return Check("api", FAIL, f"{how}: blocked on the way{said}", self._replace_base_url)
        if status in (401, 403):
            if self._api_key is None:
                return Check("api", OK, f"it answers and asks for a key ({how})")
            return Check("api", FAIL, f"the API key is refused ({how}){said}", self._replace_key_command)
        if status == 402:
            return Check(
                "api", FAIL, f"it answers, but the account has no credit ({how}){said}", "top up the account"
            )
        is_the_api_s = isinstance(answer.body, Mapping) and not answer.says_wrong_path
        if is_the_api_s and (answer.message or _is_prediction(answer.body)):
            return Check("api", OK, f"it answers ({how})")
        return Check("api", FAIL, f"{how}: an answer that is none of the API's{said}", self._replace_base_url)

    def _clock(self, answer: Answer) -> Check:
        try:
            date = parsedate_to_datetime(answer.headers.get("Date", ""))
            ahead = self._now() - (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            return Check("clock", OK, "not compared: the answer has no Date")
        told = f"{format_elapsed(abs(ahead))} {'ahead of' if ahead > 0 else 'behind'} the server's"
        if abs(ahead) > _SKEW_SECONDS:
            return Check("clock", WARN, told, _set_clock())
        return Check("clock", OK, told if abs(ahead) > 2 else "agrees with the server's")

    def _netrc(self, host: str) -> Check:
        if probe.has_netrc_entry(self._base_url):
            fix = "none is needed: cometrep sends the API key of login or COMETAPI_KEY, never what netrc says"
            return Check("netrc", WARN, f"an entry for {host} is ignored", fix)
        return Check("netrc", OK, f"no entry for {host}")


def _connect(host: str, port: int, proxy: SplitResult | None, timeout_seconds: float) -> socket.socket:
    """Open a connection, through the tunnel of a plain http proxy; of other proxies only to the proxy itself."""
    if proxy is None:
        return socket.create_connection((host, port), timeout_seconds)
    near = proxy.hostname or ""
    if proxy.scheme == "https":  # whose certificate is left to the request, as trust in it is
        return _blind().wrap_socket(socket.create_connection((near, proxy.port or 443), timeout_seconds))
    if proxy.scheme != "http":
        return socket.create_connection((near, proxy.port or 1080), timeout_seconds)
    connection = http.client.HTTPConnection(near, proxy.port or 80, timeout=timeout_seconds)
    connection.set_tunnel(host, port, proxies.proxy_login(proxy.geturl()))
    try:
        connection.connect()
    except BaseException:
        connection.close()
        raise
    return connection.sock


def _handshake(
    connect: Callable[[], socket.socket], context: ssl.SSLContext, host: str | None
) -> tuple[str, Mapping[str, Any]]:
    """Give the version of TLS that is spoken, and the certificate shown."""
    with connect() as plain, context.wrap_socket(plain, server_hostname=host) as secure:
        return secure.version() or "", secure.getpeercert() or {}


def _blind() -> ssl.SSLContext:
    """Make a context that takes any certificate, for a look at what is shown."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _issuer_shown(connect: Callable[[], socket.socket]) -> str:
    """Name the issuer of a certificate that is not trusted; nothing but the handshake is exchanged."""
    with connect() as plain, _blind().wrap_socket(plain) as secure:
        shown = secure.getpeercert(binary_form=True) or b""
    # Python reads a certificate's fields only where it is trusted, so this one alone is.
    alone = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    alone.check_hostname = False
    alone.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    alone.load_verify_locations(cadata=shown)
    return _issuer_of(_handshake(connect, alone, None)[1])


def _issuer_of(certificate: Mapping[str, Any]) -> str:
    names = dict(pair for group in certificate.get("issuer", ()) for pair in group)
    return str(names.get("organizationName") or names.get("commonName") or "an unnamed issuer")


def _is_prediction(body: Any) -> bool:
    try:
        Prediction.from_json(body)
    except ValueError:
        return False
    return True


def _set_clock() -> str:
    return _SET_CLOCK.get(sys.platform, "sudo timedatectl set-ntp true")
