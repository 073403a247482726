"""Data URIs: told from text, decoded, shortened and measured."""

import base64
import hashlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cometrep.data_uris import decode_data_uri, is_data_uri, shorten_data_uris, text_sizes
from cometrep.json_values import is_nested_too_deeply
from tests.conftest import HOSTILE_LENGTH

quick = settings(max_examples=150)

URL = "https://replicate.delivery/xezq/out-0.webp"
PIXELS = b"\x89PNG\r\n\x1a\n not really"
DATA_URI = "data:image/png;base64," + base64.b64encode(PIXELS).decode()

any_value = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.sampled_from((URL, DATA_URI, "data:,x")),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


@pytest.mark.parametrize(
    ("uri", "content", "media_type"),
    [
        (DATA_URI, PIXELS, "image/png"),
        ("data:image/png;base64,aGVsbG8", b"hello", "image/png"),
        ("data:image/png;base64,aGVs\nbG8%3D", b"hello", "image/png"),
        ("data:text/plain;charset=utf-8;base64,aGVsbG8=", b"hello", "text/plain"),
        ("DATA:IMAGE/PNG;BASE64,aGVsbG8=", b"hello", "IMAGE/PNG"),
        ("data:;base64,aGVsbG8=", b"hello", "text/plain"),
        ("data:image/svg+xml,%3Csvg%2F%3E", b"<svg/>", "image/svg+xml"),
        ("data:text/plain,", b"", "text/plain"),
        ("data:,hello", b"hello", "text/plain"),
        ("data:image/svg+xml;utf8,<svg a='é'/>", "<svg a='é'/>".encode(), "image/svg+xml"),
        ("data:image/png; charset=x; base64,aGVsbG8=", b"hello", "image/png"),
        ('data:image/png;name="a,b;c";base64,aGVsbG8=', b"hello", "image/png"),
        ('data:video/mp4;codecs="avc1, mp4a";base64,aGVsbG8=', b"hello", "video/mp4"),
        ("data:image/png;name=a b.png;base64,aGVsbG8=", b"hello", "image/png"),
        ("data: image/png;base64,aGVsbG8=", b"hello", "image/png"),
        ("data:image/png ;base64 ,aGVsbG8=", b"hello", "image/png"),
        ("data:image/png;base64,-_-_", b"\xfb\xff\xbf", "image/png"),
        ("data:image/png;;base64,aGVsbG8=", b"hello", "image/png"),
        ("data:image/png; ; base64 ;,aGVsbG8=", b"hello", "image/png"),
        ("data:image/png;base64;charset=utf-8,aGVsbG8=", b"hello", "image/png"),
        (r'data:image/png;name="a\"b,c";base64,aGVsbG8=', b"hello", "image/png"),
        (r'data:image/png;name="C:\";base64,aGVsbG8=', b"hello", "image/png"),
    ],
    ids=[
        *("png", "no padding", "line break", "charset", "upper case", "no type", "percent", "empty", "bare"),
        *(
            "no value",
            "spaces",
            "quotes",
            "quotes and blanks",
            "blanks",
            "a blank before",
            "blanks between",
            "for URLs",
            "an empty parameter",
            "empty and blank",
            "base64 before another",
            "a quote within quotes",
            "a backslash before a quote",
        ),
    ],
)
def test_a_data_uri_is_decoded(uri: str, content: bytes, media_type: str) -> None:
    """RFC 2397 data URIs give their bytes and media type."""
    assert decode_data_uri(uri) == (content, media_type)


@pytest.mark.parametrize(
    "uri",
    [
        "",
        URL,
        "data:",
        "data:image/png;base64",
        "data:image/png;base64=x,aGVsbG8=",
        "data:image/png;base64,ä",
        "data:image/png;base64,a!b=",
        "data:image/png;base64,aaaaa",
        "data:text/plain,\ud800",
    ],
    ids=[
        "empty",
        "url",
        "no comma",
        "no comma after base64",
        "base64 with a value",
        "not ASCII",
        "not base64",
        "length",
        "surrogate",
    ],
)
def test_a_broken_data_uri_is_a_value_error(uri: str) -> None:
    """What is no data URI, or holds no base64, is refused."""
    with pytest.raises(ValueError):  # noqa: PT011 - the words are those of the standard library
        decode_data_uri(uri)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("data:image/png;base64", True),
        ("data:image/png;base64=x,aGVsbG8=", True),
        ("data:video/mp4;base64!,a b", True),
        ("data:image/png;base64 is how it begins, as a rule", False),
        ("data:text/plain;base64", False),
        ("data:image/png", False),
        ("DATA:IMAGE/PNG;BASE64,aGVsbG8=", True),
        ("data:;base64,aGVsbG8=", True),
        ("data:text/plain,hello", True),
        ("data:, so to say", False),
        ("Data: 1, 2 and 3", False),
        (f"data:image/png;sha256={'0' * 64};bytes=7", False),
    ],
)
def test_what_was_to_be_a_picture_is_no_text(text: str, expected: bool) -> None:
    """A data URI of a picture, a sound or a film that is broken is one all the same; words about one are not."""
    assert is_data_uri(text) is expected


@pytest.mark.usefixtures("little_work")
@pytest.mark.parametrize(
    "repeated",
    [
        " ",
        "a ",
        ";a= ",
        ";a=b c ",
        ' ;a="b" ',
        ";",
        "; ",
        ' ; ;a="\\"',
        ';a="\\";b="\\',
        ';a="\\";b=";c="',
        ';"\\" ',
    ],
)
def test_a_row_of_parameters_is_read_quickly(repeated: str) -> None:
    """A hostile text that never becomes a data URI costs no more than its length."""
    assert not is_data_uri("data:application/x;name=" + repeated * (HOSTILE_LENGTH // len(repeated)))


def test_data_uris_are_shortened_to_the_digest_of_their_bytes() -> None:
    """Each data URI of a JSON value gives way to the media type, SHA-256 and size of what it holds."""
    digest = hashlib.sha256(PIXELS).hexdigest()
    shortened = f"data:image/png;sha256={digest};bytes={len(PIXELS)}"
    value = {"prompt": "cat", "images": [DATA_URI, URL, ("x", DATA_URI)], "seed": 7, "deep": {"mask": DATA_URI}}
    assert shorten_data_uris(value) == {
        "prompt": "cat",
        "images": [shortened, URL, ["x", shortened]],
        "seed": 7,
        "deep": {"mask": shortened},
    }
    assert shorten_data_uris(shortened) == shortened


def test_a_broken_data_uri_is_shortened_too() -> None:
    """One that cannot be decoded is replaced by the digest of its text."""
    uri = "data:image/png;base64,!!!\ud800"
    digest = hashlib.sha256(b"data:image/png;base64,!!!\\ud800").hexdigest()
    assert shorten_data_uris(uri) == f"data:broken;sha256={digest};bytes=31"


@quick
@given(st.binary(max_size=200), st.sampled_from(["image/png", "application/octet-stream", "image/svg+xml"]))
def test_any_bytes_survive_a_data_uri(content: bytes, media_type: str) -> None:
    """Bytes made into a data URI are decoded to themselves, and counted without decoding."""
    uri = f"data:{media_type};base64,{base64.b64encode(content).decode()}"
    assert decode_data_uri(uri) == (content, media_type)
    assert list(text_sizes({"a": [uri]})) == [(len(content), True)]


@quick
@given(any_value)
def test_any_value_can_be_shortened(value: object) -> None:
    """Shortening keeps the shape of a value, and leaves no data URI in it."""
    shortened = shorten_data_uris(value)
    assert not any(is_file for _, is_file in text_sizes(shortened))
    assert json.dumps(shorten_data_uris(shortened)) == json.dumps(shortened)
    assert is_nested_too_deeply(shortened) is is_nested_too_deeply(value)
