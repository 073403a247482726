"""What the text of a setting means."""

import pytest

from cometrep.config.values import (
    ApiKey,
    is_local_url,
    parse_api_key,
    parse_base_url,
    parse_duration,
    parse_size,
    parse_switch,
)

# The API key


@pytest.mark.parametrize(
    ("key", "shown"),
    [("sk-test-0123456789-wxyz", "…wxyz"), ("123456789", "…6789"), ("12345678", "…"), ("abc", "…")],
    ids=str,
)
def test_a_short_key_shows_nothing(key: str, shown: str) -> None:
    """Of a key so short that four characters were half of it, none is shown."""
    assert str(ApiKey(key)) == shown
    assert repr(ApiKey(key)) == f"ApiKey({shown})"


@pytest.mark.parametrize("key", ["eyJhbGciOiJIUzI1NiJ9.e30.abc-_", "QUJDRA==", "it's-mine"])
def test_a_key_may_have_any_form(key: str) -> None:
    """It need not begin with sk-, and may hold what else stands between a name and its value."""
    assert parse_api_key(key) == key


# Base URLs


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://api.cometapi.com", "https://api.cometapi.com"),
        (" https://api.cometapi.com/ \n", "https://api.cometapi.com"),
        ("https://api.cometapi.com/v1", "https://api.cometapi.com"),
        ("https://api.cometapi.com/v1///", "https://api.cometapi.com"),
        ("https://api.cometapi.com/replicate/v1", "https://api.cometapi.com"),
        ("https://proxy.example/comet/v1", "https://proxy.example/comet"),
        ("https://proxy.example/v1/comet", "https://proxy.example/v1/comet"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("https://proxy.example:8443", "https://proxy.example:8443"),
        ("https://192.0.2.1", "https://192.0.2.1"),
        ("http://localhost:8787", "http://localhost:8787"),
        ("http://LOCALHOST.:8787", "http://LOCALHOST.:8787"),
        ("http://127.0.0.1:1", "http://127.0.0.1:1"),
        ("http://127.8.8.8", "http://127.8.8.8"),
        ("http://[::1]:8787", "http://[::1]:8787"),
    ],
    ids=repr,
)
def test_a_base_url_is_brought_to_its_plain_form(text: str, url: str) -> None:
    """Slashes and a trailing /v1 are dropped; plain http is for loopback hosts."""
    assert parse_base_url(text) == url


@pytest.mark.parametrize(
    "text",
    [
        "",
        "api.cometapi.com",
        "//api.cometapi.com",
        "ftp://api.cometapi.com",
        "https://",
        "https:///replicate",
        "https://:443",
        "http://api.cometapi.com",
        "http://192.168.1.5",
        "http://0.0.0.0:80",
        "http://localhost.example",
        "http://evil.localhost",
        "http://127.0.0.1.example",
        "http://notlocalhost",
        "https://user@api.cometapi.com",
        "https://user:secret@api.cometapi.com",
        "https://:secret@api.cometapi.com",
        "https://api.cometapi.com?x=1",
        "https://api.cometapi.com#x",
        pytest.param("https://api.cometapi.com?"),
        pytest.param("https://api.cometapi.com#"),
        pytest.param("https://@api.cometapi.com"),
        "https://api.cometapi.com:99999",
        "https://api.cometapi.com:0",
        "https://api.cometapi.com:http",
        "https://api.cometapi.com:-1",
        "https://api.cometapi.com:",
        "http://127.0.0.1:/",
        "https://[::1",
        "https://api comet.com",
        "https://api.cometapi.com/a\nb",
        "https://api.cometapi.com\\@evil.example",
        "https://a..b",
        f"https://{'a' * 64}.example",
        "https://api.cometapi.com/{x}",
        "https://api.cometapi.com/<x>",
        "https://api.cometapi.com/\x1b[31m",
        "https://api.cometapi.com/\udcff",
    ],
    ids=repr,
)
def test_a_base_url_that_cannot_be_right_is_refused(text: str) -> None:
    """No scheme or host, plain http to another machine, user, query, fragment, bad port or odd characters."""
    with pytest.raises(ValueError):  # noqa: PT011 - some of the words are those of the standard library
        parse_base_url(text)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://localhost:1/x", True),
        ("https://[::1]", True),
        ("https://api.cometapi.com", False),
        ("nonsense", False),
    ],
    ids=str,
)
def test_a_local_url(url: str, expected: bool) -> None:
    """A URL is local where its host is this machine's loopback."""
    assert is_local_url(url) is expected


# Durations, sizes, switches


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("90s", 90),
        ("10m", 600),
        ("1h", 3600),
        ("1h30m", 5400),
        ("1h30m15s", 5415),
        ("0", 0),
        (" 5m ", 300),
        ("0.5", 0.5),
        ("1.25s", 1.25),
        (".3", 0.3),
        ("1m.5s", 60.5),
    ],
    ids=str,
)
def test_a_duration(text: str, seconds: float) -> None:
    """Durations are read as the contract writes them."""
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        ".",
        "5.",
        "-5",
        "1d",
        "m",
        "1.5m",
        "30m1h",
        "1h15",  # of which it may be minutes
        "1 h",
        "1e3",
        "inf",
        "nan",
        "5mm",
        "1H",
        "٣",
        "1:30",
    ],
    ids=repr,
)
def test_no_duration(text: str) -> None:
    """Other words are no duration."""
    with pytest.raises(ValueError, match="not a duration"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["9" * 20, "100000h", "1m0.1234s"])
def test_a_duration_of_too_many_digits(text: str) -> None:
    """What has the form of one is not said to have another."""
    with pytest.raises(ValueError, match="too many digits for a duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1", 1),
        ("500k", 500_000),
        ("200M", 200_000_000),
        ("2g", 2 * 10**9),
        ("2GiB", 2 * 2**30),
        ("2 gib", 2 * 2**30),
        ("1KB", 1000),
        ("1KiB", 1024),
        ("1mi", 2**20),
        (" 7b ", 7),
        ("1.5M", 1_500_000),
        ("1.5KiB", 1536),
        ("0.001k", 1),
        ("1T", 10**12),
    ],
    ids=str,
)
def test_a_size(text: str, size: int) -> None:
    """Sizes are decimal or binary, in either case."""
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "0", "0k", "-1", "0.5", ".5M", "1.M", "k", "1p", "1 k b", "٣", "9" * 20], ids=repr
)
def test_no_size(text: str) -> None:
    """Other words, and no bytes at all, are no size."""
    with pytest.raises(ValueError, match="not a size"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", True),
        ("TRUE", True),
        (" yes ", True),
        ("on", True),
        ("0", False),
        ("False", False),
        ("no", False),
        ("off", False),
    ],
    ids=str,
)
def test_a_switch(text: str, expected: bool) -> None:
    """Switches are set by any of the usual words."""
    assert parse_switch(text) is expected


@pytest.mark.parametrize("text", ["", "2", "y", "enabled"], ids=repr)
def test_no_switch(text: str) -> None:
    """Other words set no switch."""
    with pytest.raises(ValueError, match="neither true nor false"):
        parse_switch(text)
