"""Hide what is secret in a text: the API key, what may be one, and the user's part of a URL."""

import re
from functools import lru_cache

# Also a password with a slash, whose beginning is then a port that is none; bounded, as a URL of a server is not.
_USER = r"(?<=//)(?:[^/@\s]*|[^/@:\s]{0,200}:(?!\d*/)[^@\s]{0,200})(?=@)"
KEY_PATTERN = r"sk-[A-Za-z0-9_-]{8,}"
"""What may be an API key (cometapi-dev/cometapi-connect: sd_webui_cometapi.py)."""
_SECRET = rf"{_USER}|(?<![A-Za-z0-9]){KEY_PATTERN}"
_HIDDEN_KEY = "[API-key]"
"""What is shown in the place of the API key: without a space, so that a URL that held the key stays one."""


def without_key(text: str, key: str) -> str:
    """Hide an API key in a text, as it stands, percent-encoded or escaped as in JSON; an empty key is in none."""
    if not key:
        return text
    text = text.replace(key, _HIDDEN_KEY)
    return _encoded_key(key).sub(_HIDDEN_KEY, text) if "%" in text or "\\u00" in text else text


@lru_cache(1)
def _encoded_key(key: str) -> re.Pattern[str]:
    """Give a pattern for a key each of whose characters may be encoded, also more than once."""
    pattern = ""
    for character in key:
        digits = "".join(
            f"[{digit}{digit.upper()}]" if digit.isalpha() else digit for digit in f"{ord(character):02x}"
        )
        pattern += rf"(?:{re.escape(character)}|%(?:25)*{digits}|\\\\{{0,3}}u00{digits})"
    return re.compile(pattern)


def masked(text: str) -> str:
    """Hide what may be a secret in something typed in a wrong place: an API key, and the user's part of a URL."""
    return re.sub(_SECRET, "[hidden]", text)
