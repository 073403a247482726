"""What API, downloads and doctor share of HTTP: sessions that keep nothing, and the way out."""

import errno
import os
import re
import ssl
from collections.abc import Callable
from copy import copy
from pathlib import Path
from typing import Any, NamedTuple

import requests
import urllib3.exceptions
from requests.auth import AuthBase
from urllib3.util.ssl_ import create_urllib3_context

from cometrep import __version__, errors
from cometrep.config import environment
from cometrep.transport.connections import Adapter
from cometrep.transport.proxies import proxy_of
from cometrep.transport.reasons import reason_of

PLAIN_URL = r"https?://[a-z0-9][a-z0-9.-]*(:[0-9]+)?(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)+"  # that requests leaves alone


class NoAuth(AuthBase):
    """Add nothing; a session that has an `auth` reads no netrc."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        return request


class Route(NamedTuple):
    """How requests reach a URL: the proxy's URL, empty for none, and the file or folder of trusted certificates."""

    proxy: str
    ca_bundle: str


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
            adapter = Adapter(
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
            proxy = proxy_of(url, settings["proxies"])
            settings["proxies"] = {"all": proxy} if proxy else {}
            self._environment = (asked, settings)
        return dict(settings)

    def route_to(self, url: str) -> Route:
        """Tell how a request would reach a URL; raise ConfigError for a proxy that is no address."""
        settings = self.merge_environment_settings(url, {}, None, None, None)
        verify = settings["verify"]
        ca_bundle = requests.utils.DEFAULT_CA_BUNDLE_PATH if verify is True else str(verify)
        return Route(settings["proxies"].get("all", ""), ca_bundle)

    def send(self, request: requests.PreparedRequest, **settings: Any) -> requests.Response:
        """Send a request and give its answer, the body unread; raise as requests does.

        Raises ConfigError, before anything leaves, where there are no certificates or a setting lets no TLS begin.
        """
        verify = settings.get("verify")
        bundle = verify if isinstance(verify, str) and (request.url or "").startswith("https:") else ""
        if bundle and not os.path.isfile(bundle) and not os.path.isdir(bundle):
            if not os.path.exists(bundle):  # requests itself raises an OSError that is none of its own
                raise _no_certificates(f"no file of trusted certificates at {bundle}")
            _check_certificates(bundle)
        # What requests itself would do besides: keep cookies, call hooks, and read where a redirect leads, which
        # fails on a malformed one.
        settings.pop("allow_redirects", None)
        try:
            return self.get_adapter(request.url or "").send(request, **settings)
        except requests.exceptions.ConnectionError as problem:
            if (request.url or "").startswith("https:"):
                check_key_log()
            if bundle and isinstance(problem, (requests.exceptions.SSLError, requests.exceptions.ProxyError)):
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


def check_key_log() -> None:
    """Raise ConfigError where the file that SSLKEYLOGFILE names cannot be opened: TLS then fails as it begins."""
    if not (path := environment("SSLKEYLOGFILE")):
        return
    try:
        create_urllib3_context()
    except OSError as problem:
        told = f"SSLKEYLOGFILE: the secrets of TLS cannot be written to {path}: {problem.strerror}"
        raise errors.ConfigError(told, hint="unset SSLKEYLOGFILE", code="bad_setting") from problem


def _no_certificates(told: str) -> errors.ConfigError:
    return errors.ConfigError(told, hint="unset REQUESTS_CA_BUNDLE CURL_CA_BUNDLE", code="bad_setting")


def route_to(url: str) -> Route:
    """Tell how a request of any session would reach a URL; raise ConfigError for a proxy that is no address."""
    with Session(NoAuth()) as session:
        return session.route_to(url)


def way_to(url: str) -> str:
    """Name the proxy on the way to a URL, as words to add, without its user and password; empty for none."""
    proxy = route_to(url).proxy.rpartition("@")[2].rpartition("//")[2].rstrip("/")
    return f" through the proxy {proxy}" if proxy else ""


def tls_context(ca_bundle: str) -> ssl.SSLContext:
    """Make the TLS context of a request that trusts a file or folder of certificates; raises OSError."""
    is_folder = Path(ca_bundle).is_dir()
    if Path(ca_bundle).exists() and not is_folder and not Path(ca_bundle).is_file():  # a pipe would be waited for
        raise OSError(errno.EINVAL, "it is no regular file, and each connection reads it anew")
    context = create_urllib3_context()
    context.load_verify_locations(None if is_folder else ca_bundle, ca_bundle if is_folder else None)
    return context
