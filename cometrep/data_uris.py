"""Data URIs: tell, decode, shorten and measure them, anywhere in a JSON value."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from cometrep.json_values import leaves

# Also with a parameter that is empty or has no value, as the `;utf8` of many an SVG, with base64 before the others,
# and with blanks inside. No value is read in two ways: of a hostile text there would be no end of trying both.
_DATA_URI = (
    r"(?i)data:(?: (?=[^,]*; ?base64 ?[;,]))?(?P<type>[\w.+-]+/[\w.+-]+)?"
    r"(?: ?;(?: ?(?:(?P<base64>base64)(?= ?[;,])|(?!base64\b)[\w-]+"
    r'(?:=(?>"(?:[^"\\]|\\.)*"|"[^"]*"|[^;,\s"]*(?: +[^;,\s"]+)*))?)|(?= ?[;,])))* ?,'
)
_BROKEN_MEDIA = r"(?i)data:(?:image|audio|video)/[\w.+-]+;(?!sha256=)\S*(?:,|$)"  # so no text begins
SHORTENED_DATA_URI = r"data:(?P<type>[^;,\s]+);sha256=(?P<sha>[0-9a-f]{64});bytes=(?P<bytes>\d+)"


def is_data_uri(text: str) -> bool:
    """Say whether a text is a data URI, or was to be one and is broken."""
    if text[:5].lower() != "data:":
        return False
    found = re.match(_DATA_URI, text)
    return bool(found and (found["type"] or found["base64"])) or re.match(_BROKEN_MEDIA, text) is not None


def media_type_of(text: str) -> str:
    """Give the media type that a data URI names, in lower case; empty where it names none, or the text is none."""
    found = re.match(_DATA_URI, text) if text[:5].lower() == "data:" else None
    return (found["type"] or "").lower() if found else ""


def decode_data_uri(uri: str) -> tuple[bytes, str]:
    """Give a data URI's bytes and media type; raise ValueError where it is broken, or its bytes were not kept.

    Source: RFC 2397.
    """
    import base64
    from urllib.parse import unquote_to_bytes

    found = re.match(_DATA_URI, uri)
    if not found:
        raise ValueError("not a data URI")
    data = uri[found.end() :]
    media_type = found["type"] or "text/plain"
    if found["base64"]:
        compact = re.sub(r"\s+", "", unquote_to_bytes(data).decode("ascii"))
        compact += "=" * (-len(compact) % 4)
        compact = compact.replace("-", "+").replace("_", "/")  # of the alphabet for URLs (RFC 4648, 5)
        return base64.b64decode(compact, validate=True), media_type
    return unquote_to_bytes(data), media_type


def shorten_data_uris(value: Any) -> Any:
    """Replace each data URI in a JSON value by its media type, SHA-256 and size, as the ledger keeps it."""
    if isinstance(value, str):
        if not is_data_uri(value):
            return value
        import hashlib

        try:
            content, media_type = decode_data_uri(value)
        except ValueError:
            content, media_type = value.encode("utf-8", "backslashreplace"), "broken"
        return f"data:{media_type};sha256={hashlib.sha256(content).hexdigest()};bytes={len(content)}"
    if isinstance(value, Mapping):
        return {key: shorten_data_uris(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [shorten_data_uris(item) for item in value]
    return value


def text_sizes(value: Any) -> Iterator[tuple[int, bool]]:
    """Give how many bytes each text anywhere in a JSON value holds, and whether it is a data URI; decode none."""
    for text in (leaf.strip() for leaf in leaves(value) if isinstance(leaf, str)):
        if is_data_uri(text) and (found := re.match(_DATA_URI, text)):
            length = len(text) - found.end()
            yield (length * 3 // 4 - text[-2:].count("=") if found["base64"] else length), True
        else:
            yield (len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))), False
