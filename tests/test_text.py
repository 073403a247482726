"""Text made harmless and easy to read."""

import json
import re
import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cometrep.text import (
    ascii_json,
    first_few,
    format_bytes,
    format_duration,
    harmless,
    nearest,
)
from tests.conftest import HOSTILE_LENGTH

quick = settings(max_examples=200)

TEXTS = {
    "plain": ("a red fox, 100% sure", "a red fox, 100% sure"),
    "empty": ("", ""),
    "other scripts": ("Füchse 狐 🦊 لعبة", "Füchse 狐 🦊 لعبة"),
    "colons": ("a: b::c", "a: b::c"),
    "hash": ("#1 [a] # [b] ## c", "#1 [a] # [b] ## c"),
    "tab": ("a\tb", "a\tb"),
    "colour": ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
    "title": ("\x1b]0;owned\x07", "\\x1b]0;owned\\x07"),
    "8-bit escape": ("\x9b31m", "\\x9b31m"),
    "carriage return": ("saved\rfailed", "saved\\rfailed"),
    "line break": ("a\nb\r\nc", "a\\nb\\r\\nc"),
    "NUL": ("a\0b", "a\\x00b"),
    "backspace and delete": ("a\b\x7f", "a\\x08\\x7f"),
    "right-to-left override": ("gpj.\u202eexe", "gpj.\\u202eexe"),
    "isolates": ("\u2066a\u2069", "\\u2066a\\u2069"),
    "zero width": ("a\u200bb\ufeff", "a\\u200bb\\ufeff"),
    "line separators": ("a\u2028b\u2029c\x85d", "a\\u2028b\\u2029c\\x85d"),
    "lone surrogate": ("caf\udce9", "caf\\udce9"),
    "private use": ("\ue000\U000f0000", "\\ue000\\U000f0000"),
    "unassigned": ("\u0378", "\\u0378"),
    "tag characters": ("\U000e0041", "\\U000e0041"),
    "workflow command": ("::error::x", "\\x3a:error::x"),
    "indented command": (" \t\u00a0::stop-commands::x", " \t\u00a0\\x3a:stop-commands::x"),
    "three colons": (":::", "\\x3a::"),
    "command later in the line": ("x ::error::y", "x ::error::y"),
    "old command": ("a ##[error]b", "a #\\x23[error]b"),
    "old command after more": ("###[group]", "##\\x23[group]"),
    "Azure": ("x ##vso[task.setvariable variable=a]b", "x #\\x23vso[task.setvariable variable=a]b"),
    "TeamCity": ("##teamcity[buildStop]", "#\\x23teamcity[buildStop]"),
}


@pytest.mark.parametrize(("text", "shown"), TEXTS.values(), ids=TEXTS.keys())
def test_harmless(text: str, shown: str) -> None:
    """Controls, formats, surrogates and CI commands become visible; all else stays as it is."""
    assert harmless(text) == shown


@pytest.mark.parametrize("text", [text for text, _ in TEXTS.values()], ids=TEXTS.keys())
def test_json_is_harmless_too(text: str) -> None:
    """What JSON holds is the same value, in characters that are no terminal's and no CI runner's command."""
    written = ascii_json({"a": text, text: [text]})
    assert json.loads(written) == {"a": text, text: [text]}
    assert harmless(written) == written


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\n\nb\n", "a\n\nb\n"),
        ("a\r\nb", "a\\r\nb"),
        ("a\n::error::x\n  ::x", "a\n\\x3a:error::x\n  \\x3a:x"),
        ("\n\n::x", "\n\n\\x3a:x"),
    ],
    ids=["kept", "CRLF", "commands", "after empty lines"],
)
def test_line_breaks_may_stay(text: str, shown: str) -> None:
    """With `keeps_lines` line feeds stay, and no line of the text is a command."""
    assert harmless(text, keeps_lines=True) == shown


_nasty = st.text(st.sampled_from(":#[]\n\r\t \x1b\u00a0\u2003\u202e\ud800avso"), max_size=20)
_any = st.text(st.characters(exclude_categories=()), max_size=40)


@quick
@given(_any | _nasty, st.booleans())
@example("\n" * 5 + "::x", True)
@example("##" * 5 + "[", False)
def test_nothing_dangerous_is_left(text: str, keeps_lines: bool) -> None:
    """Whatever goes in, no control, format or surrogate character and no CI command comes out."""
    shown = harmless(text, keeps_lines=keeps_lines)
    allowed = {"\t", "\n"} if keeps_lines else {"\t"}
    assert not [c for c in shown if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") and c not in allowed]
    assert not any(line.lstrip().startswith("::") for line in shown.splitlines())
    assert not re.search(r"##\w*\[", shown)
    assert harmless(shown, keeps_lines=keeps_lines) == shown


@pytest.mark.usefixtures("little_work")
@pytest.mark.parametrize(
    ("start", "repeated", "end"),
    [("", "\n", ":"), ("", " ", ":"), ("", "##a", ""), ("##", "a", "")],
    ids=["lines", "spaces", "hashes", "word"],
)
def test_long_text_is_made_harmless_quickly(start: str, repeated: str, end: str) -> None:
    """The cost grows with the length and no faster."""
    text = start + repeated * (HOSTILE_LENGTH // len(repeated)) + end
    assert harmless(text, keeps_lines=True) == text


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (999_949, "999.9 kB"),
        (999_950, "1.0 MB"),
        (1_234_567, "1.2 MB"),
        (999_960_000, "1.0 GB"),
        (2**31, "2.1 GB"),
        (5e12, "5.0 TB"),
    ],
    ids=lambda value: str(value),
)
def test_format_bytes(size: float, shown: str) -> None:
    """Sizes are shown in decimal units with one digit, and never as a thousand of one."""
    assert format_bytes(size) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0s"),
        (0.0004, "0s"),
        (0.01, "0.01s"),
        (0.5, "0.5s"),
        (6.08, "6.1s"),
        (7.0, "7s"),
        (9.94, "9.9s"),
        (9.96, "10s"),
        (10, "10s"),
        (59.4, "59s"),
        (59.6, "1m"),
        (61, "1m1s"),
        (90, "1m30s"),
        (600, "10m"),
        (3599.6, "1h"),
        (3600, "1h"),
        (5400, "1h30m"),
        (5430, "1h30m"),
        (90_000, "25h"),
    ],
    ids=lambda value: str(value),
)
def test_format_duration(seconds: float, shown: str) -> None:
    """Durations are shown as they are typed: tenths below ten seconds, no seconds beside hours."""
    assert format_duration(seconds) == shown


@pytest.mark.parametrize(
    ("word", "expected"),
    [("dry", "dry-run"), ("skip", "skip-existing"), ("TIM", "timeout"), ("retry", "")],
)
def test_what_a_word_begins_is_nearer_than_what_is_spelt_alike(word: str, expected: str) -> None:
    """Where it begins only one."""
    words = ("dir", "dry-run", "skip-existing", "rate", "retry-failed", "retry-unknown", "timeout", "strict")
    assert nearest(word, words) == expected


@pytest.mark.parametrize(
    ("word", "expected"),
    [("promt", "prompt"), ("seed", "seed"), ("PROMPT", "prompt"), ("1 mp", "1 MP"), ("xyz", ""), ("", "")],
    ids=["near", "same", "in capitals", "in small letters", "far", "empty"],
)
def test_nearest(word: str, expected: str) -> None:
    """The nearest candidate is named, and none where none is near."""
    assert nearest(word, ("prompt", "seed", "1 MP")) == expected


@pytest.mark.parametrize(("count", "named"), [(0, ""), (2, "0, 1"), (3, "0, 1, 2"), (5, "0, 1, 2 and 2 more")])
def test_the_first_few_of_many_are_named(count: int, named: str) -> None:
    """And how many there are beside."""
    assert first_few([str(number) for number in range(count)], 3) == named
