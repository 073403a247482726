"""Why a transfer failed: what an error of requests or urllib3 means, and in a few words."""

import http.client
import re
import ssl

import requests
import urllib3.exceptions

from cometrep.hiding import masked
from cometrep.text import cut, harmless

# But no word of "Basic Constraints" or "basic authentication is required".
_LOGIN = r"\b((?i:basic|bearer))\s+(?=\S*(?:[0-9=+/._~-]|[a-z][A-Z]))\S+"
_ISSUER_UNKNOWN = (2, 18, 19, 20, 21)  # OpenSSL's codes: no issuer is found, or one is that nobody vouches for
TRUST_MORE = "export REQUESTS_CA_BUNDLE=FILE"  # what to type where a certificate `is_distrusted`
_LOGIN_WANTED = "Tunnel connection failed: 407"
_CUT_SHORT = (urllib3.exceptions.IncompleteRead, http.client.IncompleteRead)


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


def is_refused_certificate(problem: BaseException) -> bool:
    """Say whether the other side's certificate is refused, which it will be at the next attempt too."""
    return isinstance(_innermost(problem), ssl.SSLCertVerificationError)


def is_distrusted(problem: BaseException) -> bool:
    """Say whether a certificate is refused for who issued it alone, which a file of certificates to trust mends."""
    innermost = _innermost(problem)
    return isinstance(innermost, ssl.SSLCertVerificationError) and innermost.verify_code in _ISSUER_UNKNOWN


def ended_early(problem: BaseException) -> bool:
    """Say whether a connection ended before the body did."""
    return isinstance(_innermost(problem), _CUT_SHORT)


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
