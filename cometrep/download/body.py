"""Give the body of an answer as it comes, whatever its encoding, never holding bytes back."""

import itertools
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping

import requests

from cometrep import errors, formats
from cometrep.partfile import CHUNK_BYTES

_READS_A_LOOK = 16  # between two looks at how fast bytes come
_FAST_BYTES_A_SECOND = 20_000_000
_PIECE_BYTES = 512 * 1024  # of what is read at once where bytes come as fast as that
_GZIP = 16 + zlib.MAX_WBITS
_ZLIB_FORMS = {  # deflate is RFC 1950, and by many servers RFC 1951, without the header
    "gzip": (_GZIP,),
    "x-gzip": (_GZIP,),
    "deflate": (zlib.MAX_WBITS, -zlib.MAX_WBITS),
}
_ENCODINGS_LIMIT = 3  # of one body
_HEAD_BYTES = 32  # in which a compressed form and most other formats show


class UnknownEncoding(Exception):
    """A body is in an encoding that nobody asked for, or not in the one that it is said to be in."""


def body_of(response: requests.Response) -> Iterator[bytes]:
    """Yield a body as it comes, decoded where its encoding is known; what came before a break is kept.

    Raises UnknownEncoding, Temporary where compressed bytes end early, and what zlib, urllib3 and http.client do.
    """
    # An encoding that nobody asked for is undone; its length is then checked by urllib3, on the wire.
    pieces = _bytes_as_they_come(response)
    for encoding in reversed(_encodings_of(response.headers)):
        if encoding in _ZLIB_FORMS:
            pieces = _decoded(pieces, encoding)
    return pieces


def unknown_encodings(headers: Mapping[str, str]) -> list[str]:
    """List the encodings of a body that are not undone here."""
    return [word for word in _encodings_of(headers) if word not in _ZLIB_FORMS]


def _bytes_as_they_come(response: requests.Response) -> Iterator[bytes]:
    """Yield what arrives at once, and where much arrives, larger pieces: one pass a record of TLS costs a core."""
    while True:
        began, received = time.monotonic(), 0
        for _ in range(_READS_A_LOOK):
            if not (chunk := response.raw.read1(CHUNK_BYTES, decode_content=False)):
                return
            received += len(chunk)
            yield chunk
        while received >= (time.monotonic() - began) * _FAST_BYTES_A_SECOND:
            began = time.monotonic()
            # A break loses what was read of this piece: a fortieth of a second's worth.
            if not (chunk := response.raw.read(_PIECE_BYTES, decode_content=False)):
                return
            received = len(chunk)
            yield chunk


def _encodings_of(headers: Mapping[str, str]) -> list[str]:
    """List how a body is encoded, in the order in which that was done: what stands beside `identity`."""
    words = [word.partition(";")[0].strip().lower() for word in headers.get("Content-Encoding", "").split(",")]
    words = [word for word in words if word not in ("", "identity")]
    return words if len(words) <= _ENCODINGS_LIMIT else [", ".join(words)]


def _decoded(pieces: Iterator[bytes], encoding: str) -> Iterator[bytes]:
    """Undo an encoding; what has the label alone is given as it stands where its format is known."""
    head = b""
    for piece in pieces:
        head += piece
        if len(head) >= _HEAD_BYTES:
            break
    whole = itertools.chain([head], pieces)
    known = formats.sniff(head)
    if known and known.extension != "gz":
        yield from whole
        return
    form = next((form for form in _ZLIB_FORMS[encoding] if _may_begin(head, form)), None)
    if form is None:
        raise UnknownEncoding(encoding)
    yield from _decompressed(whole, form)


def _may_begin(head: bytes, form: int) -> bool:
    try:
        zlib.decompressobj(form).decompress(head, 1)
    except zlib.error:
        return False
    return True


def _decompressed(pieces: Iterable[bytes], form: int) -> Iterator[bytes]:
    """Undo gzip (RFC 1952), one member behind the other, or deflate; raise Temporary where the end lacks.

    What is yielded at once is never large, however little it was made of.
    """
    member = zlib.decompressobj(form)
    for piece in pieces:
        left, came = piece, b""
        while left or (len(came) == _PIECE_BYTES and not member.eof):
            if member.eof:
                if not left.startswith(b"\x1f"):
                    return  # padding, which gzip's own tools pass over
                member = zlib.decompressobj(form)
            came = member.decompress(left, _PIECE_BYTES)
            yield came
            left = member.unconsumed_tail or member.unused_data
    if not member.eof:
        raise errors.Temporary("the transfer ended within its compressed bytes", code="cut_short")
