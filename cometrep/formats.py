"""Recognise a file's format from its first bytes, and a picture or film that lacks its last ones."""

import codecs
import re
from typing import BinaryIO, NamedTuple


class Format(NamedTuple):
    """A file format: the extension cometrep writes, and its media type."""

    extension: str
    media_type: str


_PREFIXES: tuple[tuple[bytes, Format], ...] = (
    (b"\x89PNG\r\n\x1a\n", Format("png", "image/png")),
    (b"\xff\xd8\xff", Format("jpg", "image/jpeg")),
    (b"GIF87a", Format("gif", "image/gif")),
    (b"GIF89a", Format("gif", "image/gif")),
    (b"II*\x00", Format("tif", "image/tiff")),
    (b"MM\x00*", Format("tif", "image/tiff")),
    (b"\x00\x00\x01\x00", Format("ico", "image/x-icon")),
    (b"8BPS", Format("psd", "image/vnd.adobe.photoshop")),
    (b"%PDF-", Format("pdf", "application/pdf")),
    (b"PK\x03\x04", Format("zip", "application/zip")),
    (b"\x1f\x8b", Format("gz", "application/gzip")),
    (b"OggS", Format("ogg", "audio/ogg")),
    (b"fLaC", Format("flac", "audio/flac")),
    (b"ID3", Format("mp3", "audio/mpeg")),
    *((mark, Format("mp3", "audio/mpeg")) for mark in (b"\xff\xfa", b"\xff\xfb", b"\xff\xf2", b"\xff\xf3")),
    (b"\x1aE\xdf\xa3", Format("webm", "video/webm")),
    (b"glTF", Format("glb", "model/gltf-binary")),
)
_RIFF = {
    b"WEBP": Format("webp", "image/webp"),
    b"WAVE": Format("wav", "audio/wav"),
    b"AVI ": Format("avi", "video/x-msvideo"),
}
_BRANDS = {
    b"avif": Format("avif", "image/avif"),
    b"avis": Format("avif", "image/avif"),
    b"heic": Format("heic", "image/heic"),
    **dict.fromkeys((b"heix", b"heim", b"heis", b"hevc", b"hevx"), Format("heic", "image/heic")),
    b"qt  ": Format("mov", "video/quicktime"),
    b"M4A ": Format("m4a", "audio/mp4"),
    b"crx ": Format("cr3", "image/x-canon-cr3"),
    **dict.fromkeys((b"3gp", b"3g2"), Format("3gp", "video/3gpp")),  # and the release behind
}
_PICTURE_BRANDS = (b"mif1", b"msf1")  # of any codec, which another brand tells
_MP4 = Format("mp4", "video/mp4")
_BMP = Format("bmp", "image/bmp")
_SVG = Format("svg", "image/svg+xml")
# What may stand before a root element; possessive, for comments in a row would else be parted in many ways.
_MISC = rb"(?:\s*<(?:!--.*?--|\?.*?\?)>)*+\s*"
_PROLOG = rb"(?s)" + _MISC + rb"(?:<!DOCTYPE\s++(?!(?i:html)\b)[^>\[]*(?:\[.*?\]\s*)?>" + _MISC + rb")?"
_HTML = rb"(?is)" + _MISC + rb"<(?:!doctype\s+html|html|head|body)\b"
_SVG_ROOT = _PROLOG + rb"<(?:[\w.-]+:)?svg\b"
_ANY_ROOT = _PROLOG + rb"<[^!?]"
# By extension, those of formats built on that one: its bytes and its Content-Type are often all that theirs are.
_BUILT_ON = {
    "zip": "docx xlsx pptx odt ods odp epub npz usdz apk jar 3mf kmz mxl ora kra pt pth ckpt keras",
    "json": "geojson topojson jsonl ndjson jsonld ipynb gltf har lottie webmanifest",
    "xml": "dae gpx kml musicxml x3d mpd rss atom ttml xmp xsd xsl plist drawio",
    "gz": "tgz svgz",
    "glb": "vrm",
    "m3u": "m3u8",
    "mp4": "m4a m4v",
    "ogg": "oga ogv opus",
    "tif": "dng",
    "webm": "mkv mka weba",
}
_BY_TYPE = {
    "": "",
    "application/octet-stream": "",
    "binary/octet-stream": "",
    "text/plain": "txt",
    "audio/mp3": "mp3",  # which servers say, and no list has
    "application/xml": "xml",  # and not what a system lists first, such as xsl
    "text/xml": "xml",
}

_CONTROL = rb"[\x00-\x08\x0e-\x1f]"  # that no text has, and each binary header has early
_MARKUP = rb"\s*<[!?A-Za-z]"

_BOXES = frozenset(
    (b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"meta", b"free", b"skip", b"wide", b"uuid", b"sidx", b"mfra")
)
_PIECE_BYTES = 65_536  # of what is searched at once

SNIFF_BYTES = 4096
"""How many first bytes `sniff` can make use of."""

PICTURES = ("png", "jpg", "jpeg", "webp", "gif", "bmp", "tif", "tiff", "avif", "heic", "svg", "ico", "pdf")
"""The extensions of what a picture may come as."""

UTF_16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
"""How a text in UTF-16 begins, and no other format that is known here."""


def sniff(head: bytes) -> Format | None:
    """Name the format that a file's first bytes show, or None where they show none."""
    for prefix, known in _PREFIXES:
        if head.startswith(prefix):
            is_word = prefix.isalnum() and len(head) > len(prefix) and not re.search(_CONTROL, head[:32])
            return None if is_word else known
    if head[:4] == b"RIFF":
        return _RIFF.get(head[8:12])
    if head[:2] == b"BM" and head[6:10] == b"\0\0\0\0":
        return _BMP
    if head[4:8] == b"ftyp":
        return _format_of_brands(head)
    if re.match(_SVG_ROOT, _plain(head)):
        return _SVG
    return None


def _format_of_brands(head: bytes) -> Format:
    """Name what a file of boxes is by its own brand, or by those it is compatible with where that says little."""
    own, length = head[8:12], int.from_bytes(head[:4], "big")
    if own in _PICTURE_BRANDS:
        others = (head[at : at + 4] for at in range(16, min(length, len(head)), 4))
        return next((_BRANDS[brand] for brand in others if brand in _BRANDS), _BRANDS[b"heic"])
    return _BRANDS.get(own) or _BRANDS.get(own[:3], _MP4)


def format_named(extension: str) -> str:
    """Give the format that an extension names, the same however it is spelt."""
    extension = extension.lower().removeprefix(".")
    return {"jpeg": "jpg", "tiff": "tif"}.get(extension, extension)


def media_type_of(content_type: str) -> str:
    """Give the media type of a Content-Type, without its parameters."""
    return content_type.partition(";")[0].strip().lower()


def looks_like_html(head: bytes) -> bool:
    """Say whether first bytes are those of a web page, whatever its Content-Type says."""
    return re.match(_HTML, _plain(head)) is not None


def shows_root(head: bytes) -> bool:
    """Say whether the first element of markup is among first bytes, and no long comment fills them."""
    return re.match(_ANY_ROOT, _plain(head)) is not None


def looks_like_json(head: bytes) -> bool:
    """Say whether first bytes are those of a JSON object or array."""
    return _plain(head).lstrip()[:1] in (b"{", b"[")


def looks_like_markup(head: bytes) -> bool:
    """Say whether first bytes are those of HTML, XML or the like."""
    return re.match(_MARKUP, _plain(head)) is not None


def _plain(head: bytes) -> bytes:
    """Give first bytes of a text without its byte order mark, in UTF-8 where they are UTF-16."""
    head = head[:SNIFF_BYTES]
    if head.startswith(UTF_16_MARKS):
        return head.decode("utf-16", "replace").encode()
    return head.removeprefix(b"\xef\xbb\xbf")


def is_cut_short(file: BinaryIO, size: int) -> bool:
    """Say whether a picture or film of so many bytes says of itself that more of it belongs there.

    Only what is built as its format has it up to there is judged; of most formats nothing is said. Sources:
    w3.org/TR/png-3 (chunks), developers.google.com/speed/webp/docs/riff_container, ITU-T T.81 (JPEG), and
    ISO/IEC 14496-12 (the boxes of MP4, MOV, AVIF and HEIC).
    """
    file.seek(0)
    head = file.read(32)
    known = sniff(head)
    if known and known.extension == "png" and head[8:16] == b"\0\0\0\rIHDR":
        return _lacks_png_end(file, size)
    if known and known.extension == "webp" and head[12:16] in (b"VP8 ", b"VP8L", b"VP8X"):
        whole, first = (int.from_bytes(head[at : at + 4], "little") for at in (4, 16))
        return size < 8 + whole < 0xFFFFFFFF and first + 12 <= whole
    if head[4:8] == b"ftyp":
        return _lacks_box_end(file, size)
    return bool(known and known.extension == "jpg" and _lacks_jpeg_end(file))


def _lacks_png_end(file: BinaryIO, size: int) -> bool:
    at = 8
    while True:
        file.seek(at)
        length, kind = int.from_bytes(file.read(4), "big"), file.read(4)
        at += 12 + length  # length, kind and checksum
        if at > size or len(kind) < 4:
            return True
        if kind == b"IEND":
            return False


def _lacks_box_end(file: BinaryIO, size: int) -> bool:
    at = 0
    while at < size:
        file.seek(at)
        length, kind = int.from_bytes(file.read(4), "big"), file.read(4)
        if length == 1:  # it stands behind, in 64 bits
            length = int.from_bytes(file.read(8), "big")
        # 0 is a box up to the end; what is no box was put behind them.
        if length < 8 or kind not in _BOXES or (at == 0 and length > size):
            return False
        at += length
    return at > size


def _lacks_jpeg_end(file: BinaryIO) -> bool:
    at = 2
    while True:  # through the segments before the picture's data, which alone are told apart by their lengths
        file.seek(at)
        marker, length = file.read(2), int.from_bytes(file.read(2), "big")
        if len(marker) < 2 or marker[0] != 0xFF or length < 2:
            return False
        at += 2 + length
        if marker[1] == 0xDA:
            break
    file.seek(at)
    last = b""
    while piece := file.read(_PIECE_BYTES):  # to the end: a film may have been put behind the picture
        if b"\xff\xd9" in last + piece:
            return False
        last = piece[-1:]
    return True


def extension_for(head: bytes, content_type: str, url_extension: str) -> str:
    """Choose a file's extension: its first bytes, then its Content-Type, then its URL's own extension.

    The URL's word wins where it is the more exact one: a zip that is an epub, plain text that is a csv, JSON that
    is a notebook.
    """
    found = _extension_by_content(head, content_type)
    is_more_exact = not found or found == "txt" or url_extension in _BUILT_ON.get(found, "").split()
    return url_extension if url_extension and is_more_exact else found or "bin"


def _extension_by_content(head: bytes, content_type: str) -> str:
    """Give the extension that first bytes and Content-Type tell, empty where they tell none."""
    if known := sniff(head):
        return known.extension
    media_type = media_type_of(content_type)
    if media_type in _BY_TYPE:
        return _BY_TYPE[media_type]
    for known in (*(known for _, known in _PREFIXES), *_RIFF.values(), *_BRANDS.values(), _MP4, _BMP, _SVG):
        if known.media_type == media_type:
            return known.extension
    import mimetypes

    return (mimetypes.guess_extension(media_type) or "").removeprefix(".")


def media_type_for(head: bytes, name: str) -> str:
    """Choose a local file's media type: its first bytes, then its name."""
    known = sniff(head)
    if known:
        return known.media_type
    import mimetypes

    return mimetypes.guess_type(name)[0] or "application/octet-stream"
