"""What doctor alone asks of HTTP: one answer, whatever it is, and whether a netrc file names a host."""

import os
from collections.abc import Mapping

import requests

from cometrep import errors
from cometrep.config import environment
from cometrep.transport import NoAuth, Session
from cometrep.transport.answers import Answer
from cometrep.transport.reasons import reason_of

LIMIT_BYTES = 1_000_000  # of an answer


def has_netrc_entry(url: str) -> bool:
    """Say whether a netrc file names a URL's host; no session here reads it, and no pipe is looked into."""
    named = environment("NETRC")
    names = [named] if named else [f"~/{name}" for name in requests.utils.NETRC_FILES]
    first = next(filter(os.path.exists, map(os.path.expanduser, names)), "")
    if not os.path.isfile(first):
        return False
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
                if len(content) > LIMIT_BYTES:
                    break
            return Answer(response.status_code, response.headers, bytes(content))
    except (OSError, ValueError) as problem:  # an OSError is also what all of requests' own are
        is_tls = isinstance(problem, requests.exceptions.SSLError)
        raise errors.Temporary(reason_of(problem), code="tls" if is_tls else "network") from problem
