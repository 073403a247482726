"""JSON values: walk them, see how deeply they are nested, and read or shorten the data URIs in them."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

DEPTH_LIMIT = 100  # levels of JSON; far above any real one, far below what recursion survives
# Also with a parameter that is empty or has no value, as the `;utf8` of many an SVG, with base64 before the others,
# and with blanks inside. No value is read in two ways: of a hostile text there would be no end of trying both.
_DATA_URI = (
    r"(?i)data:(?: (?=[^,]*; ?base64 ?[;,]))?(?P<type>[\w.+-]+/[\w.+-]+)?"
    r"(?: ?;(?: ?(?:(?P<base64>base64)(?= ?[;,])|(?!base64\b)[\w-]+"
    r'(?:=(?>"(?:[^"\\]|\\.)*"|"[^"]*"|[^;,\s"]*(?: +[^;,\s"]+)*))?)|(?= ?[;,])))* ?,'
)
_BROKEN_MEDIA = r"(?i)data:(?:image|audio|video)/[\w.+-]+;(?!sha256=)\S*(?:,|$)"  # so no text begins
SHORTENED_DATA_URI = r"data:(?P<type>[^;,\s]+);sha256=(?P<sha>[0-9a-f]{64});bytes=(?P<bytes>\d+)"


def leaves(value: Any) -> Iterator[Any]:
    """Give all that a JSON value holds in its lists and objects, in order; no reply is nested too deeply for it."""
    if isinstance(value, (Mapping, list)):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from leaves(item)
    else:
        yield value


def change_texts(value: Any, change: Callable[[str], str]) -> Any:
    """Give a JSON value with every text in it changed, names too; its lists and objects are changed in place."""
    whole = [value]
    left: list[Any] = [whole]  # no recursion: it may be nested deeply
    while left:
        item = left.pop()
        if isinstance(item, dict):
            pairs = [(change(name), change(one) if isinstance(one, str) else one) for name, one in item.items()]
            item.clear()
            item.update(pairs)
            left += item.values()
        elif isinstance(item, list):
            item[:] = [change(one) if isinstance(one, str) else one for one in item]
            left += item
    return whole[0]


def is_nested_too_deeply(value: Any) -> bool:
    """Say whether a JSON value is nested more than `DEPTH_LIMIT` levels deep."""
    return any(isinstance(item, (dict, list)) and item for item in _deepest(value))


def cut_down(value: Any) -> None:
    """Empty what stands at the `DEPTH_LIMIT`-th level of a JSON value: above it may be an id that is paid for."""
    for item in _deepest(value):
        if isinstance(item, (dict, list)):
            item.clear()


def _deepest(value: Any) -> list[Any]:
    """List the items of a JSON value at its `DEPTH_LIMIT`-th level, of most values none."""
    level = [value]
    for _ in range(DEPTH_LIMIT - 1):
        level = [
            child
            for item in level
            if isinstance(item, (dict, list))
            for child in (item.values() if isinstance(item, dict) else item)
        ]
        if not level:
            break
    return level


def is_data_uri(text: str) -> bool:
    """Say whether a text is a data URI, or was to be one and is broken."""
    if text[:5].lower() != "data:":
        return False
    found = re.match(_DATA_URI, text)
    return bool(found and (found["type"] or found["base64"])) or re.match(_BROKEN_MEDIA, text) is not None


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
