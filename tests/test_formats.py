"""File formats, told from first bytes and not from names."""

import io
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cometrep import formats
from cometrep.formats import (
    SNIFF_BYTES,
    extension_for,
    is_cut_short,
    looks_like_html,
    looks_like_json,
    media_type_for,
    sniff,
)

HEADS = {
    "png": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "png", "image/png"),
    "jpeg": (b"\xff\xd8\xff\xe0\0\x10JFIF", "jpg", "image/jpeg"),
    "jpeg with exif": (b"\xff\xd8\xff\xe1", "jpg", "image/jpeg"),
    "gif87": (b"GIF87a", "gif", "image/gif"),
    "gif89": (b"GIF89a", "gif", "image/gif"),
    "webp": (b"RIFF\x10\0\0\0WEBPVP8 ", "webp", "image/webp"),
    "wav": (b"RIFF\x10\0\0\0WAVEfmt ", "wav", "audio/wav"),
    "avi": (b"RIFF\x10\0\0\0AVI LIST", "avi", "video/x-msvideo"),
    "tiff, little": (b"II*\0\x08\0\0\0", "tif", "image/tiff"),
    "tiff, big": (b"MM\0*\0\0\0\x08", "tif", "image/tiff"),
    "bmp": (b"BM\x36\0\0\0\0\0\0\0\x36\0", "bmp", "image/bmp"),
    "ico": (b"\0\0\x01\0\x01\0", "ico", "image/x-icon"),
    "psd": (b"8BPS\0\x01", "psd", "image/vnd.adobe.photoshop"),
    "avif": (b"\0\0\0\x1cftypavif\0\0\0\0", "avif", "image/avif"),
    "heic": (b"\0\0\0\x18ftypheic", "heic", "image/heic"),
    "avif called a picture": (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf", "avif", "image/avif"),
    "avif in motion": (b"\0\0\0\x18ftypmsf1\0\0\0\0msf1avis", "avif", "image/avif"),
    "heic called a picture": (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "heic", "image/heic"),
    "heic in motion": (b"\0\0\0\x14ftyphevc\0\0\0\0msf1", "heic", "image/heic"),
    "a picture of any codec": (b"\0\0\0\x10ftypmif1\0\0\0\0avif", "heic", "image/heic"),
    "raw picture": (b"\0\0\0\x18ftypcrx \0\0\0\x01crx isom", "cr3", "image/x-canon-cr3"),
    "3gp": (b"\0\0\0\x14ftyp3gp4\0\0\0\0", "3gp", "video/3gpp"),
    "mp4": (b"\0\0\0\x20ftypisom\0\0\x02\0", "mp4", "video/mp4"),
    "mov": (b"\0\0\0\x14ftypqt  ", "mov", "video/quicktime"),
    "m4a": (b"\0\0\0\x14ftypM4A ", "m4a", "audio/mp4"),
    "webm": (b"\x1aE\xdf\xa3\x01", "webm", "video/webm"),
    "mp3 with tags": (b"ID3\x03", "mp3", "audio/mpeg"),
    "mp3 frame": (b"\xff\xfb\x90", "mp3", "audio/mpeg"),
    "mp3 frame with a checksum": (b"\xff\xfa\x90", "mp3", "audio/mpeg"),
    "mp3 frame of MPEG-2": (b"\xff\xf3\x84", "mp3", "audio/mpeg"),
    "mp3 frame of MPEG-2 with a checksum": (b"\xff\xf2\x84", "mp3", "audio/mpeg"),
    "ogg": (b"OggS\0", "ogg", "audio/ogg"),
    "flac": (b"fLaC\0", "flac", "audio/flac"),
    "pdf": (b"%PDF-1.7", "pdf", "application/pdf"),
    "zip": (b"PK\x03\x04\x14", "zip", "application/zip"),
    "gzip": (b"\x1f\x8b\x08", "gz", "application/gzip"),
    "glb": (b"glTF\x02\0\0\0", "glb", "model/gltf-binary"),
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "svg", "image/svg+xml"),
    "svg with everything before it": (
        b"\xef\xbb\xbf \n<?xml version='1.0'?>\n<!-- a --><!-- b -->\n<!DOCTYPE svg PUBLIC 'x' 'y'>\n<svg>",
        "svg",
        "image/svg+xml",
    ),
    "svg with a comment behind its doctype": (
        b'<?xml version="1.0"?>\n<!DOCTYPE svg PUBLIC "x"\n "y">\n<!-- by x -->\n<svg>',
        "svg",
        "image/svg+xml",
    ),
    "svg with a doctype of entities": (
        b'<!-- a --><!DOCTYPE svg PUBLIC "x" "y" [\n\t<!ENTITY ns "x">\n]>\n<svg xmlns="&ns;">',
        "svg",
        "image/svg+xml",
    ),
    "svg with a style sheet": (
        b'<?xml version="1.0"?><?xml-stylesheet href="a.css"?><svg>',
        "svg",
        "image/svg+xml",
    ),
    "svg with a prefix": (b"<s:svg xmlns:s='http://www.w3.org/2000/svg'>", "svg", "image/svg+xml"),
    "svg in UTF-16": ("<?xml version='1.0'?><svg/>".encode("utf-16"), "svg", "image/svg+xml"),
}


@pytest.mark.parametrize(("head", "extension", "media_type"), HEADS.values(), ids=HEADS.keys())
def test_first_bytes_name_the_format(head: bytes, extension: str, media_type: str) -> None:
    """Each format is known by its first bytes, and they outweigh any name or Content-Type."""
    assert sniff(head) == (extension, media_type)
    assert extension_for(head, "text/html; charset=utf-8", "exe") == extension
    assert media_type_for(head, "x.txt") == media_type


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"\x89PN",
        b"RIFF",
        b"RIFF\0\0\0\0NOPE",
        b"BM is a word",
        b"ID3 tags are nice",
        b"glTF is a format\n",
        b"GIF89a, and the rest",
        b"OggS f\xc3\xbcr alle",
        b"plain text",
        b"<?xml version='1.0'?><a/>",
        b"<svgx>",
        b"<html><svg>",
        b"<!DOCTYPE  html><svg>",
        b"<!doctype html><svg>",
        b"ftyp",
        b"\xff\xd8",
    ],
    ids=repr,
)
def test_other_bytes_name_no_format(head: bytes) -> None:
    """Bytes that are cut off or only look alike name no format."""
    assert sniff(head) is None


@pytest.mark.parametrize(
    ("content_type", "url_extension", "expected"),
    [
        ("image/png", "webp", "png"),
        ("image/webp; charset=binary", "", "webp"),
        (" IMAGE/JPEG ", "", "jpg"),
        ("video/mp4", "", "mp4"),
        ("audio/mp3", "", "mp3"),
        ("image/svg+xml", "", "svg"),
        ("application/octet-stream", "safetensors", "safetensors"),
        ("binary/octet-stream", "", "bin"),
        ("", "npy", "npy"),
        ("", "", "bin"),
        ("text/plain", "csv", "csv"),
        ("text/plain; charset=utf-8", "", "txt"),
        ("application/json", "", "json"),
        ("application/json", "php", "json"),
        *(("application/json", word, word) for word in ("geojson", "ipynb", "jsonl", "gltf")),
        *((kind, word, word) for kind in ("text/xml", "application/xml") for word in ("xml", "dae", "musicxml")),
        ("application/xml", "", "xml"),
        (" Audio/MP3 ; rate=1", "", "mp3"),
        ("application/x-nobody-knows", "abc", "abc"),
        ("application/x-nobody-knows", "", "bin"),
        ("nonsense", "", "bin"),
    ],
    ids=lambda value: repr(value),
)
def test_content_type_then_url_name_what_bytes_do_not(content_type: str, url_extension: str, expected: str) -> None:
    """Without a known beginning the Content-Type decides, unless it says nothing; then the URL's own word."""
    assert extension_for(b"no such magic", content_type, url_extension) == expected


@pytest.mark.parametrize(
    ("url_extension", "expected"),
    [("epub", "epub"), ("docx", "docx"), ("pt", "pt"), ("zip", "zip"), ("png", "zip"), ("", "zip")],
)
@pytest.mark.parametrize("content_type", ["application/zip", "application/octet-stream", ""])
def test_a_zip_keeps_the_name_of_what_it_contains(content_type: str, url_extension: str, expected: str) -> None:
    """A zip that is a book or a document keeps that extension, and no other."""
    assert extension_for(b"PK\x03\x04", content_type, url_extension) == expected


PAGES = {
    "doctype": b"<!doctype html><html>",
    "upper case": b"<!DOCTYPE HTML PUBLIC '-//W3C//DTD HTML 4.01//EN'>",
    "html": b"<html lang=en>",
    "head": b"<head><title>x",
    "body": b"<body>",
    "white space": b"\r\n\t <html>",
    "BOM": b"\xef\xbb\xbf<html>",
    "XHTML": b"<?xml version='1.0'?>\n<!DOCTYPE html PUBLIC 'x' 'y'>\n<html>",
    "UTF-16": "<html>".encode("utf-16"),
    "comments": b"<!-- Cloudflare --> <!-- -- > --><!---->\n<HTML>",
}


@pytest.mark.parametrize("head", PAGES.values(), ids=PAGES.keys())
def test_a_web_page_is_known_by_its_first_bytes(head: bytes) -> None:
    """A page is a page, whatever its Content-Type says."""
    assert looks_like_html(head)


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"{}",
        b"<htmlx>",
        b"<svg>",
        b"<p>hello",
        b"html",
        b"<!-- never ends <html>",
        b"a <html>",
        b"<!doctype svg>",
    ],
    ids=repr,
)
def test_other_bytes_are_no_web_page(head: bytes) -> None:
    """Other markup, text and JSON are no page."""
    assert not looks_like_html(head)


@pytest.mark.usefixtures("little_work")
@pytest.mark.parametrize("end", [b"", b"<", b"<!--", b"x"], ids=["nothing", "tag", "comment", "text"])
@pytest.mark.parametrize(
    "repeated", [b"<!---->", b"<??>", b"<!--", b"<?", b"<!DOCTYPE x[", b"<!DOCTYPE x>"], ids=str
)
def test_many_comments_are_read_quickly(repeated: bytes, end: bytes) -> None:
    """A hostile row of comments and the like costs no more than its length."""
    head = repeated * (SNIFF_BYTES // len(repeated)) + end
    assert not looks_like_html(head)
    assert sniff(head) is None


@pytest.mark.parametrize(
    ("head", "expected"),
    [(b'{"a":1}', True), (b"\r\n [1]", True), (b"", False), (b'"text"', False), (b"\x89PNG", False), (b"7", False)],
    ids=repr,
)
def test_json_is_known_by_its_first_byte(head: bytes, expected: bool) -> None:
    """An object or an array looks like JSON; a lone number or text could be anything."""
    assert looks_like_json(head) is expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.jpg", "image/jpeg"),
        ("A.PNG", "image/png"),
        ("a.txt", "text/plain"),
        ("a", "application/octet-stream"),
        ("-", "application/octet-stream"),
        ("", "application/octet-stream"),
    ],
    ids=repr,
)
def test_a_local_file_without_known_bytes_goes_by_its_name(name: str, expected: str) -> None:
    """The name decides where the bytes say nothing, and a name that says nothing gives the general type."""
    assert media_type_for(b"no such magic", name) == expected


def drawn(kind: str, size: int = 40) -> bytes:
    """Draw a picture of noise in a format."""
    picture = Image.frombytes("RGB", (size, size), random.Random(1).randbytes(3 * size * size))
    made = io.BytesIO()
    picture.save(made, kind)
    return made.getvalue()


def boxes(**contents: bytes) -> bytes:
    """Make the boxes of an MP4 from their kinds and what is inside."""
    return b"".join(
        (8 + len(content)).to_bytes(4, "big") + kind.encode() + content for kind, content in contents.items()
    )


PICTURES = {
    **{kind: drawn(kind) for kind in ("PNG", "WEBP", "JPEG")},
    "MP4": boxes(ftyp=b"isom\0\0\0\0", free=b"", moov=b"m" * 600, mdat=random.Random(1).randbytes(4000)),
}


@pytest.mark.parametrize("kind", PICTURES)
@given(part=st.floats(0.1, 1.0, exclude_max=True), trailer=st.binary(max_size=50))
def test_a_picture_tells_that_its_end_is_missing(kind: str, part: float, trailer: bytes) -> None:
    """Cut anywhere behind its first segments it is cut short; whole, and with more behind it, it is not."""
    whole = PICTURES[kind]
    cut = whole[: max(700, int(part * len(whole)))]
    assert is_cut_short(io.BytesIO(cut), len(cut)) is (cut != whole)
    assert not is_cut_short(io.BytesIO(whole + trailer), len(whole) + len(trailer))


@pytest.mark.parametrize("piece_bytes", [1, 65_536])
def test_the_end_of_a_jpeg_is_found_wherever_it_is(monkeypatch: pytest.MonkeyPatch, piece_bytes: int) -> None:
    """Before a film that a telephone put behind it, and where its two bytes are read in two pieces."""
    monkeypatch.setattr(formats, "_PIECE_BYTES", piece_bytes)
    whole = PICTURES["JPEG"] + bytes(100_000)
    assert not is_cut_short(io.BytesIO(whole), len(whole))


@pytest.mark.parametrize("head", [head for head, _, _ in HEADS.values()], ids=HEADS.keys())
@given(rest=st.binary(max_size=300))
def test_what_is_no_real_picture_is_not_judged(head: bytes, rest: bytes) -> None:
    """Other formats are taken as they are, and any bytes behind any beginning are read to an end."""
    if not head.endswith((b"IHDR", b"VP8 ")) and head[:3] != b"\xff\xd8\xff" and head[4:8] != b"ftyp":
        assert not is_cut_short(io.BytesIO(head + rest), len(head + rest))
    is_cut_short(io.BytesIO(head + rest), len(head + rest))
