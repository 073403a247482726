"""INPUT items: httpie's grammar, typed by the catalog, with every fault reported before anything is sent."""

import base64
import json
import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cometrep import errors
from cometrep.data_uris import decode_data_uri
from cometrep.inputs import BuiltInput, Item, build_input, coerce, read_base, split_item

quick = settings(max_examples=150)

KINDS = {
    "prompt": "string",
    "megapixels": "string",
    "seed": "integer",
    "guidance": "number",
    "go_fast": "boolean",
    "input_images": "array",
    "image": "string",
}
PNG = b"\x89PNG\r\n\x1a\n" + b"pixels"


def no_stdin() -> bytes:
    """Stand for a stdin that must not be read."""
    raise AssertionError("stdin was read without a -")


def build(
    *items: str, base: Mapping[str, Any] | None = None, read_stdin: Callable[[], bytes] = no_stdin
) -> BuiltInput:
    """Build an input of a model whose kinds are KINDS."""
    return build_input(items, base=base, kind_of=lambda key: KINDS.get(key, ""), read_stdin=read_stdin)


def values(*items: str) -> dict[str, Any]:
    """Build an input that must give no warning."""
    built = build(*items)
    assert built.warnings == ()
    return built.values


def refused(*items: str) -> errors.UsageError:
    """Build an input that must be refused, and give the error."""
    with pytest.raises(errors.UsageError) as raised:
        build(*items)
    assert raised.value.exit_code == 2
    assert raised.value.hint
    return raised.value


# The grammar

ITEMS = {
    "text": ("prompt=A red fox", Item("prompt", "=", "A red fox")),
    "no text": ("prompt=", Item("prompt", "=", "")),
    "json": ("seed:=7", Item("seed", ":=", "7")),
    "text of a file": ("prompt=@a.txt", Item("prompt", "=@", "a.txt")),
    "json of a file": ("mask:=@a.json", Item("mask", ":=@", "a.json")),
    "file": ("image@a.png", Item("image", "@", "a.png")),
    "file with a type": ("image@a;type=image/png", Item("image", "@", "a;type=image/png")),
    "file called like an item": ("image@a=b:=c@d", Item("image", "@", "a=b:=c@d")),
    "leading @ of a text": (r"prompt=\@handle rides", Item("prompt", "=", "@handle rides")),
    "leading backslash and @": (r"prompt=\\@x", Item("prompt", "=", r"\@x")),
    "backslash elsewhere": (r"prompt=\n\d @x", Item("prompt", "=", r"\n\d @x")),
    "@ inside a text": ("prompt=me@home", Item("prompt", "=", "me@home")),
    "separators in a text": ("prompt=a=b:=c", Item("prompt", "=", "a=b:=c")),
    "json of a text": ('x:="a=b"', Item("x", ":=", '"a=b"')),
    "json that begins with @": ("x:= @a", Item("x", ":=", " @a")),
    "escaped =": (r"a\=b=c", Item("a=b", "=", "c")),
    "escaped := ": (r"a\:=b", Item("a:", "=", "b")),
    "escaped both": (r"a\:\=b=c", Item("a:=b", "=", "c")),
    "escaped @": (r"a\@b@c", Item("a@b", "@", "c")),
    "escaped backslash": (r"a\\=b", Item("a\\", "=", "b")),
    "other backslash": (r"a\b=c", Item(r"a\b", "=", "c")),
    "colon in a key": ("a:b=c", Item("a:b", "=", "c")),
    "spaces": (" a b = c ", Item(" a b ", "=", " c ")),
    "line breaks": ("prompt=a\nb\r\nc", Item("prompt", "=", "a\nb\r\nc")),
    "other scripts": ("подпись=лиса 🦊", Item("подпись", "=", "лиса 🦊")),
}


@pytest.mark.parametrize(("text", "item"), ITEMS.values(), ids=ITEMS.keys())
def test_the_first_separator_decides(text: str, item: Item) -> None:
    """An item is split at its first separator that is not escaped; its value is not looked into."""
    assert split_item(text) == item


@pytest.mark.parametrize(
    ("text", "lacks"),
    [
        ("", "="),
        ("fox", "=; text with spaces goes in quotes"),
        ("a red fox", "="),
        ("a:b", "=; text with spaces goes in quotes"),
        (r"a\=b", "=; text with spaces goes in quotes"),
        ("--seed", "=; text with spaces goes in quotes"),
        ("=x", "name"),
        (":=1", "name"),
        ("@a.png", "name"),
        (":=@a.json", "name"),
    ],
    ids=["empty", "word", "words", "colon", "escaped", "option", "=", ":=", "@", ":=@"],
)
def test_an_item_without_a_name_or_a_separator_is_refused(text: str, lacks: str) -> None:
    """What is no item is a usage error that says what is missing, most often the quotes, and shows the forms."""
    problem = refused(text)
    assert problem.message.endswith(f" is not an input: it has no {lacks}")
    assert "name:=json" in problem.hint
    assert problem.code == "bad_input"


OBJECT = '{"prompt": "a \'red\' fox", "seed": 7, "refs": ["@a"], "by": "@me"}'
AS_ITEMS = """write prompt='a '"'"'red'"'"' fox' seed:=7 refs:='["@a"]' by='\\@me'"""


def test_a_json_object_is_shown_as_the_items_that_it_is(here: Path) -> None:
    """As curl takes it behind -d, also with the input inside as for Replicate; a long one is for a file."""
    assert refused(OBJECT).hint == AS_ITEMS
    assert refused(f'{{"input": {OBJECT}}}').hint == AS_ITEMS
    assert refused(f'{{"version": "5c7", "input": {OBJECT}, "stream": true}}').hint == AS_ITEMS
    assert refused('{"input": {}}').hint.startswith("write prompt=")
    assert build(*shlex.split(AS_ITEMS)[1:]).values == json.loads(OBJECT)
    assert refused('{"image": "data:,%s"}' % ("x" * 300)).hint == "put the inputs alone in a file: -i FILE"
    assert refused(r'{"prompt": "a\u0000b"}').hint == "put the inputs alone in a file: -i FILE"
    assert refused('{"prompt": "two\\nlines"}').hint == r"write prompt=$'two\x0alines'"
    with pytest.raises(errors.UsageError, match=r"^--input '\{.*\}' is a JSON object, and no file$") as raised:
        read_base(OBJECT, no_stdin)
    assert raised.value.hint == AS_ITEMS


def escaped(key: str) -> str:
    """Escape a key, as the grammar has it."""
    return "".join("\\" + character if character in "=:@\\" else character for character in key)


_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
_tricky = st.text(st.sampled_from("a=:@\\ é"), max_size=8)


@quick
@given(_text | _tricky, st.sampled_from(["=", ":=", "=@", ":=@", "@"]), _text | _tricky)
@example("a", "=", "@handle")
@example("a", "=", r"\@handle")
@example("a:", "=", "")
def test_any_escaped_key_and_any_value_come_back(key: str, separator: str, value: str) -> None:
    """Whatever a key and a value hold, escaping the key and a leading @ says exactly them."""
    typed = value
    if separator == "=" and value.lstrip("\\").startswith("@"):
        typed = "\\" + value
    if separator == ":=" and value.startswith("@"):
        typed = " " + value  # JSON has no leading @; white space before it is its own
    if not key:
        with pytest.raises(errors.UsageError):
            split_item(separator + typed)
    else:
        assert split_item(escaped(key) + separator + typed) == Item(
            key, separator, value if separator == "=" else typed
        )


@quick
@given(st.text(st.characters(exclude_categories=()), max_size=30) | _tricky)
def test_any_text_is_an_item_or_a_usage_error(text: str) -> None:
    """No argument breaks the grammar, and what is split off the end is the end of the text."""
    try:
        item = split_item(text)
    except errors.UsageError:
        return
    assert item.key
    assert text.endswith(item.value)


# Values

VALUES: dict[str, tuple[Sequence[str], dict[str, Any]]] = {
    "string": (["prompt=7"], {"prompt": "7"}),
    "string that looks like a number": (["megapixels=1"], {"megapixels": "1"}),
    "unknown key": (["style=7"], {"style": "7"}),
    "integer": (["seed=7"], {"seed": 7}),
    "integer with a sign": (["seed= -7 "], {"seed": -7}),
    "number": (["guidance=3.5"], {"guidance": 3.5}),
    "whole number": (["guidance=3"], {"guidance": 3}),
    "number with an exponent": (["guidance=1e2"], {"guidance": 100.0}),
    "boolean": (["go_fast=false"], {"go_fast": False}),
    "boolean in another word": (["go_fast= On"], {"go_fast": True}),
    "array of one": (["input_images=https://x/a.png"], {"input_images": ["https://x/a.png"]}),
    "array appends": (["input_images=a", "input_images=b"], {"input_images": ["a", "b"]}),
    "array and JSON": (['input_images:=["a","b"]', "input_images=c"], {"input_images": ["a", "b", "c"]}),
    "array and a value of JSON": (["input_images=a", 'input_images:="b c"'], {"input_images": ["a", "b c"]}),
    "JSON as it stands for an array": (["input_images:=null"], {"input_images": None}),
    "JSON for an integer": (["seed:=7"], {"seed": 7}),
    "JSON against the catalog": (['seed:="7"'], {"seed": "7"}),
    "JSON object": (['x:={"a": [1, null, "b"]}'], {"x": {"a": [1, None, "b"]}}),
    "JSON with a lone surrogate": (['prompt:="\\ud800"'], {"prompt": "\ud800"}),
    "order": (["seed=1", "prompt=a", "x=b"], {"seed": 1, "prompt": "a", "x": "b"}),
    "nothing": ([], {}),
}


@pytest.mark.parametrize(("items", "expected"), VALUES.values(), ids=VALUES.keys())
def test_values_are_typed_by_the_catalog(items: Sequence[str], expected: dict[str, Any]) -> None:
    """A text takes the kind that the catalog knows, JSON stands as it is, and the order stays."""
    built = values(*items)
    assert json.dumps(built) == json.dumps(expected)


@pytest.mark.parametrize(
    "item",
    [
        "seed=random",
        "seed=1.5",
        "seed=1_000",
        "seed=",
        "seed=" + "9" * 5000,
        "guidance=high",
        "guidance=nan",
        "guidance=1e999",
        "guidance=1_0.5",
        "guidance=" + "9" * 5000,
        "go_fast=maybe",
        "go_fast=",
    ],
    ids=lambda item: item[:20],
)
def test_a_text_of_another_kind_is_sent_as_it_stands(item: str) -> None:
    """A text that does not read as the catalog's kind is not refused: schemas drift, and the catalog doubts it."""
    key, _, text = item.partition("=")
    assert build(item) == ({key: text}, ())


@pytest.mark.parametrize(
    ("text", "kind", "expected"),
    [
        ("+7", "integer", 7),
        ("-.5", "number", -0.5),
        ("5.", "number", 5.0),
        ("YES", "boolean", True),
        ("0", "boolean", False),
        ("7", "", "7"),
        ("7", "string", "7"),
        ("7", "array", ["7"]),
    ],
    ids=["plus", "no zero", "no fraction", "yes", "zero", "unknown", "string", "array"],
)
def test_coerce(text: str, kind: str, expected: object) -> None:
    """A text becomes a value of exactly the kind named."""
    found = coerce(text, kind)
    assert (found, type(found)) == (expected, type(expected))


@pytest.mark.parametrize(
    ("words", "expected"), [("true Yes on 1", True), ("false NO off 0", False)], ids=["true", "false"]
)
def test_a_boolean_has_several_words(words: str, expected: bool) -> None:
    """As settings and other command lines have; each of them turns something on or off."""
    assert [coerce(word, "boolean") for word in words.split()] == [expected] * 4


@pytest.mark.parametrize(
    "items",
    [["prompt=a", "prompt=b"], ["style=a", "style=b"], ["seed=1", "seed:=2"], ["image@a.png", "image@a.png"]],
    ids=["string", "unknown", "text and JSON", "file"],
)
def test_a_key_given_twice_is_refused(
    items: Sequence[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a key that the catalog knows as an array may be given again; the hint shows how to send a list."""
    monkeypatch.chdir(tmp_path)
    Path("a.png").write_bytes(PNG)
    problem = refused(*items)
    assert "is given twice" in problem.message
    assert ":='[…]'" in problem.hint


def test_items_override_the_base() -> None:
    """INPUT items win over the JSON of --input, and an array of it is replaced, not extended."""
    built = build("seed=1", "input_images=b", base={"prompt": "a", "seed": 7, "input_images": ["a"]})
    assert built.values == {"prompt": "a", "seed": 1, "input_images": ["b"]}


# JSON

NOT_JSON = [
    '{"a": 1, "a": 2}',
    '[{"a": {"b": 1, "b": 1}}]',
    "1" * 5000,
    "",
    "yes",
    "{",
    "[1,]",
    "'a'",
    "NaN",
    "Infinity",
    "-Infinity",
    "1e999",
    "-1e999",
    "[NaN]",
    "\ufeff1",
]


@pytest.mark.parametrize("text", [*NOT_JSON, "9" * 5000, "[" * 5000], ids=lambda text: repr(text[:12]))
def test_what_is_not_json_is_refused(text: str) -> None:
    """A value after := that no JSON parser would read again is an error that shows it."""
    problem = refused(f"x:={text}")
    assert "not JSON" in problem.message
    assert problem.message.startswith(repr(f"x:={text}"[:14])[:-1])
    assert len(problem.message) < 300


def test_json_nested_too_deeply_is_refused() -> None:
    """JSON that nests deeper than any model's input would break what comes after, and is refused."""
    assert values("x:=" + "[" * 50 + "]" * 50)
    assert values("x:=" + json.dumps(["[{" * 150, [], {}]), "y:=[" + "[]," * 150 + "{}]")
    assert "nested too deeply" in refused("x:=" + "[" * 150 + "]" * 150).message


# Files


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder of the test's own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_text_file_gives_its_text(here: Path) -> None:
    """`key=@file` is the file's text, typed by the catalog, without a BOM."""
    (here / "a.txt").write_bytes("\ufeffFüchse @home\r\n".encode())
    (here / "n.txt").write_bytes(b" 7\n")
    assert values("prompt=@a.txt", "seed=@n.txt") == {"prompt": "Füchse @home\r\n", "seed": 7}


def test_a_json_file_gives_its_value(here: Path) -> None:
    """`key:=@file` is the file's JSON, without a BOM."""
    (here / "a.json").write_bytes(b'\xef\xbb\xbf{"a": [1]}\n')
    assert values("x:=@a.json") == {"x": {"a": [1]}}


@pytest.mark.parametrize(
    ("name", "content", "media_type"),
    [
        ("a.png", PNG, "image/png"),
        ("photo.png", b"\xff\xd8\xff\xe0jpeg", "image/jpeg"),
        ("a.jpg", b"RIFF\x04\0\0\0WEBPVP8 ", "image/webp"),
        ("a.txt", b"hello", "text/plain"),
        ("a", b"hello", "application/octet-stream"),
        ("a.svg", b"<svg xmlns='x'/>", "image/svg+xml"),
    ],
    ids=["png", "jpeg named png", "webp named jpg", "text", "nameless", "svg"],
)
def test_a_file_becomes_a_data_uri_of_its_true_type(here: Path, name: str, content: bytes, media_type: str) -> None:
    """The media type comes from the first bytes, then the name; the bytes come back from the data URI."""
    (here / name).write_bytes(content)
    assert decode_data_uri(values(f"image@{name}")["image"]) == (content, media_type)


@quick
@given(content=st.binary(min_size=1, max_size=300))
def test_any_file_survives_its_data_uri(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    """Whatever bytes a file holds, its data URI holds them."""
    path = tmp_path_factory.mktemp("any") / "file"
    path.write_bytes(content)
    assert decode_data_uri(values(f"image@{path};type=image/x-any")["image"]) == (content, "image/x-any")


def test_a_file_of_an_array_is_one_of_its_values(here: Path) -> None:
    """Files, URLs and texts of an array key stand side by side, in order."""
    (here / "a.png").write_bytes(PNG)
    found = values("input_images@a.png", "input_images@https://x/b.png", "input_images=c")["input_images"]
    assert [item[:15] for item in found] == ["data:image/png;", "https://x/b.png", "c"]
    assert values("input_images@https://x/b.png") == {"input_images": ["https://x/b.png"]}


def test_a_type_may_be_given_and_only_a_media_type(here: Path) -> None:
    """`;type=` sets the media type; a word that is none is refused."""
    (here / "a;b.png").write_bytes(PNG)
    assert values("image@a;b.png;type=image/x-raw")["image"].startswith("data:image/x-raw;base64,")
    assert "'png' is not a media type" in refused("image@a;b.png;type=png").message
    assert "is not a media type" in refused("image@a;b.png;type=image/png,evil").message
    hint = refused("image@a;b.png;type=png").hint
    assert shlex.split(hint) == ["write", "image@a;b.png;type=image/png"], "a shell ends a command at ;"


@pytest.mark.parametrize(
    ("typed", "sent"),
    [
        ("https://x/a.png?b=c&d=e", "https://x/a.png?b=c&d=e"),
        ("http://x/a.png", "http://x/a.png"),
        ("https://x/a;type=image/png", "https://x/a"),
        ("data:image/png;base64,aGVsbG8=", "data:image/png;base64,aGVsbG8="),
    ],
    ids=["https", "http", "with a type", "data URI"],
)
def test_a_url_after_the_at_sign_is_passed_as_it_is(typed: str, sent: str) -> None:
    """A URL or a data URI is not a file to read."""
    assert values(f"image@{typed}") == {"image": sent}


def test_a_file_below_the_home_folder(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`~` is the home folder, since no shell expands it inside an item."""
    monkeypatch.setenv("HOME", str(here))
    monkeypatch.setenv("USERPROFILE", str(here))
    (here / "a.txt").write_text("hello", "utf-8")
    assert values("prompt=@~/a.txt") == {"prompt": "hello"}


UNREADABLE = ["missing.png", ".", "a\0b", "a.txt/x", "x" * 300, "~no-such-user-here/x.png"]


@pytest.mark.parametrize("name", UNREADABLE, ids=lambda name: repr(name[:20]))
@pytest.mark.parametrize("separator", ["@", "=@", ":=@"])
def test_a_file_that_cannot_be_read_is_refused(here: Path, separator: str, name: str) -> None:
    """A missing file, a folder or a name that no file has is an error that shows item and reason."""
    (here / "a.txt").write_bytes(b"x")
    problem = refused(f"image{separator}{name}")
    assert "cannot read" in problem.message
    assert f"image{separator}" in problem.message
    assert len(problem.message) < 300


def test_a_missing_text_file_hints_at_the_escape(here: Path) -> None:
    """Who wanted a text that begins with @ is shown how to write it, behind what is more likely."""
    hint = r"check the path; for text that begins with @ write prompt='\@handle rides a horse'"
    assert refused("prompt=@handle rides a horse").hint == hint
    assert refused("mask:=@missing.json").hint == "check the path"


@pytest.mark.parametrize("name", ["prompt.txt", "~/prompts/fox", "./fox", "a.b.md"])
def test_what_is_named_as_a_file_is_not_paid_for_as_text(here: Path, name: str) -> None:
    """Where it is missing, its name is no prompt."""
    assert refused(f"prompt=@{name}").hint == "check the path"


@pytest.mark.parametrize("text", ["it's me", 'a "b" $HOME `date`', "a;b & c", "me"])
@pytest.mark.parametrize("key", ["prompt", "it's a key", r"a\=b"])
def test_the_escape_of_a_hint_can_be_pasted(here: Path, key: str, text: str) -> None:
    """A shell makes of what the hint names the one item that means the text, whatever its quotes."""
    hint = refused(f"{key}=@{text}").hint
    (typed,) = shlex.split(hint.partition(" write ")[2])
    assert split_item(typed) == Item(split_item(f"{key}=").key, "=", f"@{text}")


@pytest.mark.parametrize(
    ("separator", "content", "told"),
    [
        ("=@", b"\xff\xfe", "not UTF-8"),
        (":=@", b"\xff\xfe", "not UTF-8"),
        (":=@", b"{", "not JSON"),
        (":=@", b"", "not JSON"),
        ("@", b"", "the file is empty"),
    ],
    ids=["text", "JSON", "bad JSON", "no JSON", "empty picture"],
)
def test_a_file_that_holds_something_else_is_refused(here: Path, separator: str, content: bytes, told: str) -> None:
    """A file that is not what its item says is an error."""
    (here / "a").write_bytes(content)
    assert told in refused(f"x{separator}a").message


def test_a_picture_given_as_text_is_shown_as_a_file(here: Path) -> None:
    """`image=@f` is how curl has it."""
    (here / "my a.png").write_bytes(PNG)
    assert refused("image=@my a.png").hint == "for a picture or other bytes write image@'my a.png'"
    assert refused("image:=@my a.png").hint == "for a picture or other bytes write image@'my a.png'"


def sparse(path: Path, size: int) -> Path:
    """Make a large file that takes no room."""
    with path.open("wb") as file:
        os.truncate(file.fileno(), size)
    return path


DOCUMENTED = "the API is documented for data URIs of 256 kB"
REFUSED = "above 1 MB a data URI is often refused; make it smaller or give a URL"


@pytest.mark.parametrize(
    ("size", "warnings"),
    [
        (256_000, ()),
        (256_001, (f"image is 256 kB: {DOCUMENTED}",)),
        (1_000_000, (f"image is 1.0 MB: {DOCUMENTED}",)),
        (1_000_001, (f"image is 1.0 MB: {REFUSED}",)),
        (10_000_000, (f"image is 10.0 MB: {REFUSED}",)),
    ],
    ids=["256 kB", "more", "1 MB", "more than 1 MB", "10 MB"],
)
def test_a_large_file_is_warned_about(here: Path, size: int, warnings: tuple[str, ...]) -> None:
    """Above 256 kB a file is warned about, above 1 MB more loudly; the warning names the input and the size."""
    sparse(here / "a.png", size)
    assert build("image@a.png").warnings == warnings


@pytest.mark.parametrize("separator", ["@", "=@", ":=@"])
def test_a_file_above_the_limit_is_refused_unread(here: Path, separator: str) -> None:
    """More than 10 MB is refused by the file's size alone, however large it is."""
    sparse(here / "a.png", 50_000_000_000)
    problem = refused(f"image{separator}a.png")
    assert "50000.0 MB is more than the 10 MB" in problem.message
    assert problem.code == "input_too_large"


def test_files_count_together(here: Path) -> None:
    """Files that are small enough alone are refused where together they are not."""
    sparse(here / "a.png", 4_000_000)
    problem = refused("input_images@a.png", "input_images@a.png", "image@a.png")
    assert problem.message.startswith("the files and texts of this input together: 12.0 MB")
    assert problem.code == "input_too_large"


@pytest.mark.parametrize(
    ("text", "warnings"),
    [
        ("x" * 256_000, ()),
        ("x" * 256_001, ("prompt is 256 kB of text: models rarely take more than 256 kB",)),
        ("狐" * 90_000, ("prompt is 270 kB of text: models rarely take more than 256 kB",)),
        ("x" * 1_000_001, ("prompt is 1.0 MB of text: above 1 MB it may be refused; make it shorter",)),
    ],
    ids=["256 kB", "more", "more in UTF-8", "more than 1 MB"],
)
def test_a_long_text_is_warned_about(here: Path, text: str, warnings: tuple[str, ...]) -> None:
    """By what it weighs in UTF-8, wherever it comes from; of a list all texts together."""
    (here / "long.txt").write_text(text, "utf-8")
    assert build("prompt=@long.txt").warnings == warnings
    assert build(base={"prompt": {"parts": [text[:10], text[10:]]}}).warnings == warnings


def test_texts_and_files_are_refused_together(here: Path) -> None:
    """A request holds 10 MB, whatever they are made of."""
    sparse(here / "a.png", 9_000_000)
    (here / "long.txt").write_text("x" * 1_000_001, "utf-8")
    assert refused("image@a.png", "prompt=@long.txt").code == "input_too_large"


def test_data_uris_that_were_typed_count_too() -> None:
    """A data URI from --input or from an item is measured like a file."""
    uri = "data:image/png;base64," + base64.b64encode(bytes(4_000_000)).decode()
    assert len(build(f"image={uri}").warnings) == 1
    assert len(build(base={"deep": [{"image": uri}, uri]}).warnings) == 2
    with pytest.raises(errors.UsageError, match=r"together: 12\.0 MB"):
        build(f"image@{uri}", base={"images": [uri, uri]})


# stdin


@pytest.mark.parametrize(
    ("item", "content", "expected"),
    [
        ("prompt=@-", b"from stdin", "from stdin"),
        ("prompt:=@-", b"[1]", [1]),
        ("prompt@-", PNG, "data:image/png;base64," + base64.b64encode(PNG).decode()),
    ],
    ids=["text", "JSON", "file"],
)
def test_a_dash_reads_stdin(item: str, content: bytes, expected: object) -> None:
    """`-` as a file is stdin."""
    assert build(item, read_stdin=lambda: content).values == {"prompt": expected}


def test_too_much_from_stdin_is_refused() -> None:
    """The limit holds for stdin as for files."""
    with pytest.raises(errors.UsageError, match=r"10\.1 MB is more than the 10 MB"):
        build("image@-", read_stdin=lambda: bytes(10_000_001))


# --input


def test_input_file_is_an_object_of_inputs(here: Path) -> None:
    """-i takes a JSON object from a file or from stdin, with or without a BOM, bare or under `input`."""
    (here / "a.json").write_bytes(b'\xef\xbb\xbf{"prompt": "a", "seed": 7}')
    (here / "b.json").write_text('{"input": {"prompt": "b"}}', "utf-8")
    assert read_base("a.json", no_stdin) == {"prompt": "a", "seed": 7}
    assert read_base("b.json", no_stdin) == {"prompt": "b"}
    assert read_base("-", lambda: b'{"prompt": "c"}') == {"prompt": "c"}


@pytest.mark.parametrize(
    "text",
    ['{"input": "x"}', '{"input": {"a": 1}, "seed": 7}', "{}"],
    ids=["an input called input", "with others", "empty"],
)
def test_an_object_that_is_no_wrapper_is_the_input_itself(text: str) -> None:
    """Only a lone `input` that holds an object is taken for the body of a create."""
    assert read_base("-", text.encode) == json.loads(text)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"[]", "array"),
        (b'"x"', "string"),
        (b"7", "number"),
        (b"1.5", "number"),
        (b"true", "boolean"),
        (b"null", "null"),
    ],
    ids=["array", "string", "integer", "number", "boolean", "null"],
)
def test_input_that_is_no_object_is_refused(content: bytes, kind: str) -> None:
    """Other JSON than an object is an error that names what it is."""
    with pytest.raises(errors.UsageError, match=f"stdin holds a JSON {kind}, not an object of inputs"):
        read_base("-", lambda: content)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b" ", "^stdin is empty"),
        (b"{", "^stdin is not JSON: Expecting"),
        (b'{"a": NaN}', "not JSON"),
        (b"\xff", "not UTF-8"),
        (b"[" * 9999, "not JSON"),
    ],
    ids=["nothing", "cut off", "NaN", "not UTF-8", "deep"],
)
def test_input_that_is_no_json_is_refused(content: bytes, told: str) -> None:
    """What is no JSON on stdin is an error."""
    with pytest.raises(errors.UsageError, match=told):
        read_base("-", lambda: content)


def test_an_input_file_that_cannot_be_read_is_refused(here: Path) -> None:
    """A missing or huge --input file is an error that names it."""
    with pytest.raises(errors.UsageError, match=r"^--input 'missing\.json': cannot be read: No such"):
        read_base("missing.json", no_stdin)
    with pytest.raises(errors.UsageError, match="cannot be read") as raised:
        read_base("@in.json", no_stdin)
    assert raised.value.hint == "-i in.json"
    sparse(here / "huge.json", 20_000_000_000)
    with pytest.raises(errors.UsageError, match=r"huge\.json.*more than the 10 MB"):
        read_base("huge.json", no_stdin)
    (here / "bad.json").write_text("{")
    with pytest.raises(errors.UsageError, match=r"^'bad\.json' is not JSON: Expecting") as raised:
        read_base("bad.json", no_stdin)
    assert raised.value.hint.startswith('write {"prompt"')


@pytest.mark.parametrize(
    ("item", "hint"),
    [
        ("x@", "check the path"),
        ("x:=@", "check the path"),
        ("x=@", r"check the path; for text that begins with @ write x='\@'"),
    ],
)
def test_an_item_without_a_file_says_so(item: str, hint: str) -> None:
    """It does not speak of a folder that nobody named."""
    problem = refused(item)
    assert (problem.message, problem.hint) == (f"'{item}': no file is named", hint)


# Text that is no text


@pytest.mark.parametrize("item", ["prompt=caf\udce9", "caf\udce9=x"], ids=["value", "key"])
def test_an_argument_that_is_not_utf8_is_refused(item: str) -> None:
    """Bytes of another encoding in an argument cannot travel as JSON text."""
    problem = refused(item)
    assert "not valid UTF-8" in problem.message
    assert problem.message.isprintable()
