"""Ask for one address and follow where it leads: https alone, at most five hops, never to a private address.

The session here carries no API key and no netrc. Plain http and private addresses are for an API that is itself on
this machine.
"""

import logging
import re
import threading
from collections.abc import Callable, Mapping
from urllib.parse import urljoin, urlsplit

import requests

from cometrep import errors, hints
from cometrep.download.addresses import PrivatePeer, check_peer, is_private
from cometrep.hiding import masked
from cometrep.text import cut
from cometrep.transport import PLAIN_URL, NoAuth, Session, way_to
from cometrep.transport.reasons import TRUST_MORE, is_distrusted, is_refused_certificate, reason_of

_CONNECT_TIMEOUT_SECONDS = 15.0
STALL_SECONDS = 20.0  # without a byte; longer is an error, not a hang
_REDIRECT_LIMIT = 5
_SHOWN_LIMIT = 500  # characters of an address, of which more would fill a screen

_log = logging.getLogger("cometrep.download.fetch")


class Fetcher:
    """Send GETs over one keyless session, for any thread; each address is judged before anything is sent to it."""

    def __init__(self, *, allows_local: bool, clock: Callable[[], float]) -> None:
        """`allows_local` lets plain http and private addresses be asked."""
        self._allows_local = allows_local
        self._clock = clock
        self._lock = threading.Lock()
        self._opened: Session | None = None

    def close(self) -> None:
        """Close the connections."""
        if self._opened:
            self._opened.close()

    def get(self, id: str, url: str, headers: Mapping[str, str]) -> requests.Response:
        """Send one GET, meeting redirects by the same rules as the first address.

        `id` is the prediction's, for hints. Raises Temporary, Refused for an address that is not to be asked,
        OutputMissing for what is none, and ConfigError.
        """
        session = self._session()
        for hops in range(_REDIRECT_LIMIT + 1):
            url = _as_asked_for(id, url)
            self._check_address(id, url, session, is_redirect=hops > 0)
            response = self._send(session, id, url, headers)
            location = _as_sent(response.headers.get("Location", ""))
            if response.status_code not in (301, 302, 303, 307, 308) or not location:
                return response
            response.close()
            try:
                url = urljoin(url, location)
            except ValueError as problem:
                raise _no_address(id, location) from problem
        raise errors.Refused(
            f"more than {_REDIRECT_LIMIT} redirects from {host_of(url)}",
            code="redirected",
        )

    def _send(self, session: Session, id: str, url: str, headers: Mapping[str, str]) -> requests.Response:
        """Send one GET and give what answers it, a redirect too; raise what it means that nothing does."""
        _log.debug("> GET %s%s", _shown(url), f" {dict(headers)}" if headers else "")
        began = self._clock()
        try:
            response = session.get(url, headers=dict(headers), timeout=(_CONNECT_TIMEOUT_SECONDS, STALL_SECONDS))
        except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema, UnicodeError) as problem:
            raise _no_address(id, url) from problem
        except PrivatePeer as problem:  # a name may resolve otherwise the second time
            raise errors.Refused(
                f"the output file's host {host_of(url)} is at a private address",
                hint=hints.LOOK_AT_URLS.of(id),
                code="unsafe_url",
            ) from problem
        except requests.RequestException as problem:
            is_final = is_refused_certificate(problem)
            failure = errors.Temporary(
                f"cannot fetch {host_of(url)}{way_to(url)}: {reason_of(problem)}",
                hint=TRUST_MORE if is_distrusted(problem) else "",
                code="tls" if is_final else "network",
            )
            failure.is_worth_repeating = not is_final
            raise failure from problem
        media_type, seconds = response.headers.get("Content-Type", ""), self._clock() - began
        _log.debug("< %s in %.3f s, %s", response.status_code, seconds, media_type)
        return response

    def _session(self) -> Session:
        with self._lock:
            if self._opened is None:
                self._opened = Session(NoAuth(), check_peer=None if self._allows_local else check_peer)
                # Encoded bytes have no length to check and no offset to resume at.
                self._opened.headers.update({"Accept": "*/*", "Accept-Encoding": "identity"})
            return self._opened

    def _check_address(self, id: str, url: str, session: Session, *, is_redirect: bool) -> None:
        try:
            parts = urlsplit(url)
            host = (parts.hostname or "").rstrip(".")  # which makes a name absolute, and no other address
            port = parts.port or (80 if parts.scheme == "http" else 443)
        except ValueError as problem:
            raise _no_address(id, url) from problem
        problem_text = ""
        if parts.scheme not in ("http", "https") or not host:
            problem_text = "not an https address"
        elif parts.username or parts.password:
            problem_text = "it carries a user name or password"
        elif "%" in host and ":" not in host:
            problem_text = "its host is encoded"
        elif not self._allows_local:
            if parts.scheme != "https":
                problem_text = "not https"
            elif is_private(host, port, is_proxied=bool(session.route_to(url).proxy)):
                problem_text = "a private address"
        if problem_text:
            led = "leads to" if is_redirect else "is"
            raise errors.Refused(
                f"the output file's URL {led} {_shown(url)}, which is refused: {problem_text}",
                hint=hints.LOOK_AT_URLS.of(id),
                code="unsafe_url",
            )


def _as_sent(header: str) -> str:
    """Give a header that http.client took for Latin-1 as the UTF-8 that it was, where it was."""
    try:
        return header.encode("latin-1").decode()
    except UnicodeError:
        return header


def _as_asked_for(id: str, url: str) -> str:
    """Give a URL as it is asked for, to judge no other host than that: parsers differ, as over `https://a\\.b/`."""
    if re.fullmatch(PLAIN_URL, url):
        return url
    asked = requests.PreparedRequest()
    try:
        asked.prepare_url(url, None)
    except ValueError as problem:  # which all are that requests raises for an address
        raise _no_address(id, url) from problem
    return str(asked.url)


def _no_address(id: str, url: str) -> errors.OutputMissing:
    return errors.OutputMissing(
        f"not an address: {_shown(url)}", hint=hints.LOOK_AT_URLS.of(id), code="output_broken"
    )


def _shown(url: str) -> str:
    """Show a URL as it may stand in a log: a signed one gives the file to whoever has it."""
    shown, query, _ = masked(url).partition("?")
    return cut(shown, _SHOWN_LIMIT) + ("?…" if query else "")


def host_of(url: str) -> str:
    """Name a URL's host and port, or show the URL where it has none."""
    try:
        return urlsplit(url).netloc.rpartition("@")[2][:200] or url[:200]
    except ValueError:
        return url[:200]
