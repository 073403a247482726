"""What is secret in a text, hidden; where it could come to light is tested in test_secrets."""

import pytest

from cometrep.hiding import masked, without_key
from tests.conftest import HOSTILE_LENGTH

KEY = "sk-a.b/c+d-0123"
SPELLINGS = {
    "plain": KEY,
    "percent": "".join(f"%{ord(one):02x}" for one in KEY),
    "partly percent, capitals": KEY.replace("-", "%2D").replace("/", "%2F"),
    "twice percent": KEY.replace("-", "%252d"),
    "JSON": "".join(f"\\u{ord(one):04x}" for one in KEY),
    "JSON within JSON": KEY.replace("k", "\\\\u006B"),
}


@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS.keys())
def test_a_key_is_hidden_however_it_is_encoded(spelling: str) -> None:
    """What is put in its place leaves a URL one, and nothing else is touched."""
    assert without_key(f"https://h/?a=%20&k={spelling}&b=1", KEY) == "https://h/?a=%20&k=[API-key]&b=1"
    assert without_key(f"https://h/?a=%20&k={spelling[:-1]}", KEY) == f"https://h/?a=%20&k={spelling[:-1]}"
    assert without_key(spelling, "") == spelling


@pytest.mark.usefixtures("little_work")
@pytest.mark.parametrize("piece", ["%3C", "%25", "%2525", "\\", "\\u0073", "s"])
def test_long_texts_are_searched_for_a_key_in_one_go(piece: str) -> None:
    """A reply of megabytes made to slow the search down is read at once all the same."""
    text = piece * (HOSTILE_LENGTH // len(piece)) + "%\\u00"
    assert without_key(text, KEY) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://u:p@h/x", "https://[hidden]@h/x"),
        ("https://u:a/b@h:1/x", "https://[hidden]@h:1/x"),
        ("https://h:443/a@b?c=@d", "https://h:443/a@b?c=@d"),
        ("https://h:443/?c=@d and https://h/@x", "https://h:443/?c=@d and https://h/@x"),
        ("run sk-abcdefgh12345678 a//b", "run [hidden] a//b"),
        ("-d my-disk-2026-01-01 prompt=@sk-12345678", "-d my-disk-2026-01-01 prompt=@[hidden]"),
    ],
)
def test_what_may_be_a_secret_is_masked(text: str, shown: str) -> None:
    """The user's part of a URL, with a slash in the password too, and what looks like an API key."""
    assert masked(text) == shown


@pytest.mark.usefixtures("little_work")
def test_a_long_url_is_masked_at_once() -> None:
    """One of a server that was made to slow the search down takes no time."""
    text = "//a:x" * (HOSTILE_LENGTH // 5)
    assert masked(text) == text
