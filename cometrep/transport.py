"""What API and downloads share of HTTP: sessions that follow and keep nothing, and why a transfer failed."""

import http.client
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import requests
import urllib3.exceptions
from requests.auth import AuthBase

from cometrep import __version__
from cometrep.config import is_local_url


class Session(requests.Session):
    """A session that follows no redirect, keeps no cookie and reads no netrc; proxies and CA bundles stay.

    requests reads the target of a redirect even where it is not to follow it, and fails on a malformed one.
    """

    def __init__(self, auth: AuthBase) -> None:
        super().__init__()
        self.auth = auth  # netrc is read only where a session has none
        self.headers["User-Agent"] = f"cometrep/{__version__}"
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))

    def merge_environment_settings(self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any) -> Any:
        """Take proxies and CA bundles from the environment; this machine's own servers need no proxy."""
        settings = super().merge_environment_settings(url, proxies, stream, verify, cert)
        if is_local_url(url):
            settings["proxies"] = {}
        return settings

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """Say that no answer redirects: it is for the caller to judge."""
        return None


def reason_of(problem: BaseException) -> str:
    """Say in a few words why a transfer failed, from a requests or urllib3 error and what it wraps."""
    seen: set[int] = set()
    innermost: BaseException = problem
    while id(innermost) not in seen:
        seen.add(id(innermost))
        wrapped = [innermost.__dict__.get("reason"), *reversed(innermost.args), innermost.__cause__]
        innermost = next((item for item in wrapped if isinstance(item, BaseException)), innermost)
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
    if isinstance(innermost, (urllib3.exceptions.IncompleteRead, http.client.IncompleteRead)):
        had = innermost.partial if isinstance(innermost.partial, int) else len(innermost.partial)
        rest = f" of {had + innermost.expected}" if innermost.expected else ""
        return f"the connection ended after {had}{rest} bytes"
    if isinstance(innermost, OSError) and innermost.strerror:
        return innermost.strerror
    return str(innermost)[:300] or type(innermost).__name__
