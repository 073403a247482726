"""What the headers of an answer say of a file that comes in parts: its range, length, type and validator."""

import re
from collections.abc import Mapping
from typing import NamedTuple

from cometrep import formats

_CONTENT_RANGE = r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)"


class ByteRange(NamedTuple):
    """The bytes of a file that a 206 has, from `first` to `last`; `total` is None where it does not say."""

    first: int
    last: int
    total: int | None

    @classmethod
    def of(cls, headers: Mapping[str, str]) -> "ByteRange | None":
        """Read a Content-Range; None where there is none, or none that can be read."""
        found = re.fullmatch(_CONTENT_RANGE, headers.get("Content-Range", "").strip())
        return cls(int(found[1]), int(found[2]), None if found[3] == "*" else int(found[3])) if found else None

    @property
    def is_whole(self) -> bool:
        """Whether it is all of the file."""
        return self.first == 0 and self.total == self.last + 1


class Facts(NamedTuple):
    """What is known of a file beside its bytes; `validator` is the one that If-Range takes, or empty."""

    validator: str = ""
    total_bytes: int | None = None
    content_type: str = ""

    @classmethod
    def of(cls, headers: Mapping[str, str]) -> "Facts":
        """Read what headers say: the type, and as far as they can be relied on length and validator."""
        content_type = _content_type(headers)
        if is_encoded(headers):
            return cls(content_type=content_type)
        # A transfer encoding, as chunks are one, makes a length void (RFC 9112, 6.3).
        length = "" if headers.get("Transfer-Encoding") else headers.get("Content-Length", "").strip()
        total = int(length) if re.fullmatch(r"\d{1,18}", length) else None
        if (came := ByteRange.of(headers)) and came.is_whole:
            total = came.total
        return cls(_validator(headers), total, content_type)

    def are_of(self, headers: Mapping[str, str]) -> bool:
        """Say whether the headers of a 206 show the very file, whatever made the server send it."""
        etag, modified = headers.get("ETag", "").strip(), headers.get("Last-Modified", "").strip()
        media_type = formats.media_type_of(_content_type(headers))
        is_typed = media_type not in ("", "application/octet-stream")  # which is any file's
        if is_typed and self.content_type and media_type != formats.media_type_of(self.content_type):
            return False
        # An ETag must be told again, and a date need not (RFC 9110, 15.3.7).
        if _is_strong(self.validator):
            return etag == self.validator
        return not etag and modified in ("", self.validator)


def is_encoded(headers: Mapping[str, str]) -> bool:
    """Say whether the bytes that come are not the file's own."""
    return headers.get("Content-Encoding", "identity").lower() not in ("", "identity")


def _content_type(headers: Mapping[str, str]) -> str:
    """Give the Content-Type as far as it may stand in records: it is a server's text."""
    return re.sub(r"[^ -~]+", "", headers.get("Content-Type", ""))[:200]


def _is_strong(etag: str) -> bool:
    return etag.startswith('"')


def _validator(headers: Mapping[str, str]) -> str:
    """Give the validator fit for If-Range: a strong ETag, else Last-Modified (RFC 9110, 13.1.5)."""
    etag = headers.get("ETag", "").strip()
    if _is_strong(etag) and len(etag) < 500:
        return etag
    return "" if etag else headers.get("Last-Modified", "").strip()[:100]
