"""What people type for a model and a prediction."""

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cometrep import errors
from cometrep.references import Reference, parse_model, parse_reference
from tests.conftest import HOSTILE_LENGTH

quick = settings(max_examples=150)


@pytest.mark.parametrize(
    "text",
    [
        "black-forest-labs/flux-schnell",
        "stability-ai/stable-diffusion-3.5-medium",
        "a/b",
        "A_1/b.c_d-e",
        "a" * 100 + "/" + "b" * 100,
    ],
    ids=["flux", "version in the name", "short", "all characters", "longest"],
)
def test_a_model_is_owner_and_name(text: str) -> None:
    """OWNER/NAME is taken as it stands."""
    assert parse_model(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        ("flux-schnell", ""),
        ("owner/name:5c7d5dc6", "owner/name"),
        ("owner/name/", "owner/name"),
        ("https://replicate.com/owner/name", "owner/name"),
        ("replicate.com/owner/name/", "owner/name"),
        ("https://replicate.com/owner/name/api", "owner/name"),
        ("https://replicate.com/owner/name/versions/5c7d5dc6", "owner/name"),
        ("https://replicate.com/owner/name?prediction=abc", "owner/name"),
        ("https://api.replicate.com/v1/models/owner/name/versions", "owner/name"),
        ("https://api.cometapi.com/replicate/v1/models/owner/name/predictions", "owner/name"),
        ("owner/name\n", "owner/name"),
        ("owner//name", ""),
        ("/name", ""),
        ("owner/", ""),
        ("../../etc/passwd", ""),
        ("owner/name/versions/5c7d5dc6", "owner/name"),
        ("https://www.cometapi.com/models/replicate/owner/name/", "owner/name"),
        ("https://replicate.com/owner", ""),
        ("https://replicate.com/p/abcdef", ""),
        ("https://replicate.com/collections/flux", ""),
        ("https://example.com/owner/name", ""),
        ("a/..", ""),
        ("owner/na me", ""),
        ("owner/name?x=1", ""),
        ("owner/name%2F..", ""),
        ("öwner/name", ""),
        ("a b/c", ""),
        ("a%2fb/c", ""),
        ("owner/\x1b[31mname", ""),
        ("a" * 101 + "/b", ""),
    ],
    ids=repr,
)
def test_anything_else_is_no_model(text: str, shown: str) -> None:
    """Another form is a usage error that shows the right one, made of what was typed where possible."""
    with pytest.raises(errors.UsageError, match="OWNER/NAME") as raised:
        parse_model(text)
    assert raised.value.hint == (f"name it as {shown}" if shown else "cometrep models")
    assert raised.value.code == "bad_model"


@pytest.mark.parametrize("text", ["prompt=a/b/c", "seed:=7", "image@fox.png", "prompt=@fox.txt"])
def test_an_input_in_the_place_of_the_model_is_told(text: str) -> None:
    """The model was forgotten, and what stands there is none that is misspelt."""
    with pytest.raises(errors.UsageError, match="is an input; the model, as OWNER/NAME, goes before it") as raised:
        parse_model(text)
    assert raised.value.hint == "cometrep models"


def test_what_hints_have_for_a_model_is_none() -> None:
    """A hint may be typed as it stands."""
    with pytest.raises(errors.UsageError, match="OWNER/NAME stands for a model's name") as raised:
        parse_model("OWNER/NAME")
    assert raised.value.hint == "cometrep models"


@pytest.mark.usefixtures("little_work")
def test_a_very_long_model_is_refused_at_once() -> None:
    """The search for what was meant does not grow with what was typed."""
    with pytest.raises(errors.UsageError):
        parse_model("a" * HOSTILE_LENGTH)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rrr4z55ocneqzikepnug6xezpe", Reference(id="rrr4z55ocneqzikepnug6xezpe")),
        ("A-b_9", Reference(id="A-b_9")),
        ("a" * 200, Reference(id="a" * 200)),
        ("@last", Reference(back=1)),
        ("@1", Reference(back=1)),
        ("@2", Reference(back=2)),
        ("@999999", Reference(back=999_999)),
        ("https://replicate.com/p/abc", Reference(id="abc")),
        ("https://replicate.com/p/abc/", Reference(id="abc")),
        ("HTTPS://replicate.com/p/abc?x=1#y", Reference(id="abc")),
        ("https://api.cometapi.com/replicate/v1/predictions/abc", Reference(id="abc")),
        ("http://127.0.0.1:8787/replicate/v1/predictions/abc", Reference(id="abc")),
    ],
    ids=["id", "all characters", "longest", "last", "one", "two", "far", "page", "slash", "query", "api", "local"],
)
def test_a_reference_is_an_id_a_url_or_a_step_back(text: str, expected: Reference) -> None:
    """An id, a URL that ends in one, @last and @N are what a user may type."""
    assert parse_reference(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "@",
        "@0",
        "@-1",
        "@first",
        "@Last",
        "@1234567",
        "a b",
        "a\n",
        "../x",
        "a/b",
        "idé",
        "a" * 201,
        "\x1b[31m",
        "https://replicate.com/owner/name",
        "https://replicate.com/p/",
        "https://replicate.com/p/a.b",
        "https://x/predictions/abc/cancel",
        "https://x/predictions/%2e%2e",
        "https://[::1/p/abc",
        "ftp://x/p/abc",
        "https://abc",
        "https://x/abc",
    ],
    ids=repr,
)
def test_anything_else_is_no_reference(text: str) -> None:
    """Another form is a usage error that shows what was typed and names the forms there are."""
    with pytest.raises(errors.UsageError, match="/p/ID or /predictions/ID, @last or @2") as raised:
        parse_reference(text)
    assert repr(text) in raised.value.message
    assert raised.value.code == "bad_id"


@pytest.mark.parametrize("text", ["sk-Zq81mmPz0aKQ77", "https://replicate.com/p/sk-Zq81mmPz0aKQ77"])
def test_what_looks_like_an_api_key_is_no_id(text: str) -> None:
    """It is shown to nobody, and stands in no URL; an id may have such letters in it."""
    with pytest.raises(errors.UsageError, match=r"\[hidden\]' is not a prediction id") as raised:
        parse_reference(text)
    assert "Zq81" not in raised.value.message
    assert parse_reference("my-sk-Zq81mmPz0aKQ77").id
    assert parse_reference("sk-7").id


_ID_CHARACTERS = frozenset(string.ascii_letters + string.digits + "-_")


@quick
@given(st.text(st.characters(exclude_categories=()), max_size=40))
def test_any_text_is_a_reference_or_a_usage_error(text: str) -> None:
    """Whatever is typed gives an id that is safe in a path and a URL, or a step back, or a usage error."""
    try:
        found = parse_reference(text)
    except errors.UsageError:
        return
    assert found.back > 0 or (found.id and _ID_CHARACTERS.issuperset(found.id))


@quick
@given(st.text(st.sampled_from("aZ9._-/\\:%? \n\x1b\u00e9\u202e"), max_size=12))
def test_any_text_is_a_model_or_a_usage_error(text: str) -> None:
    """Whatever is typed gives a model that is safe in a path and a URL, or a usage error."""
    try:
        owner, slash, name = parse_model(text).partition("/")
    except errors.UsageError:
        return
    assert slash
    assert (_ID_CHARACTERS | {"."}).issuperset(owner + name)
    assert not (owner + "/" + name).startswith((".", "-"))
    assert name[0] not in ".-_"
