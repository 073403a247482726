"""Which proxy a request goes through, where that is said, and its login."""

from base64 import b64encode
from collections.abc import Mapping
from urllib.parse import unquote_to_bytes, urlsplit

import requests
from urllib3.util import parse_url

from cometrep import errors
from cometrep.config import environment
from cometrep.config.values import is_local_url

_SCHEMES = ("http", "https", "socks4", "socks4a", "socks5", "socks5h")


def proxy_of(url: str, proxies: Mapping[str, str]) -> str:
    """Choose the proxy's URL for a URL, empty for none; raise ConfigError where it is no address."""
    proxy = "" if is_local_url(url) else requests.utils.select_proxy(url, dict(proxies)) or ""
    if not proxy:
        return ""
    origin, proxy = proxy_origin(url, proxy), proxy.strip()
    try:
        parts = parse_url(proxy if "://" in proxy else f"http://{proxy}")
        proxy = parts.url  # with all encoded that Python's own parser stumbles over
        rest = (parts.path or "", parts.query or "", parts.fragment or "")
        is_address = bool(urlsplit(proxy).hostname) and parts.scheme in _SCHEMES and "@" not in "".join(rest)
    except ValueError:  # urllib3's own among them
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
