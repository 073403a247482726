"""The catalog: facts of public schemas, as hints and never as a gate."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cometrep import catalog
from tests.servers import SCHNELL

FLEX = "black-forest-labs/flux-2-flex"
KONTEXT = "black-forest-labs/flux-kontext-pro"
SDXL = "stability-ai/sdxl"

# What public sources say of each model's output: a list or one URL, and the default format.
MODELS = {
    "black-forest-labs/flux-schnell": (True, "webp"),
    "black-forest-labs/flux-dev": (True, "webp"),
    "black-forest-labs/flux-pro": (False, "webp"),
    "black-forest-labs/flux-1.1-pro": (False, "webp"),
    "black-forest-labs/flux-1.1-pro-ultra": (False, "jpg"),
    "black-forest-labs/flux-kontext-pro": (False, "png"),
    "black-forest-labs/flux-kontext-max": (False, "png"),
    "black-forest-labs/flux-2-pro": (False, "webp"),
    "black-forest-labs/flux-2-flex": (False, "webp"),
    "black-forest-labs/flux-2-dev": (False, "webp"),
    "stability-ai/sdxl": (True, None),
    "stability-ai/stable-diffusion-3.5-medium": (False, "webp"),
}


def known(name: str) -> catalog.KnownModel:
    """Look up a model that must be known."""
    found = catalog.find(name)
    assert found is not None
    return found


@pytest.mark.parametrize(("name", "facts"), MODELS.items(), ids=MODELS.keys())
def test_the_documented_models_are_known(name: str, facts: tuple[bool, str | None]) -> None:
    """Each model that CometAPI shows on this route is there with its output's shape and default format."""
    model = known(name)
    output_format = model.inputs.get("output_format")
    assert (model.makes_list, output_format.default if output_format else None) == facts


@pytest.mark.parametrize("name", catalog.names())
def test_each_entry_is_whole_and_agrees_with_itself(name: str) -> None:
    """Every model and input has its words, kinds and sources, and no default contradicts its own range."""
    model = known(name)
    assert model.about
    assert model.source
    assert model.name == name
    for key, entry in model.inputs.items():
        assert entry.name == key
        assert entry.about
        assert entry.kind in ("string", "integer", "number", "boolean", "array")
        assert entry.default is None or not entry.is_required
        if entry.default is not None and not entry.is_image:
            assert entry.doubt(entry.default) == ""
        assert entry.minimum is None or entry.maximum is None or entry.minimum <= entry.maximum


def test_kinds_of_inputs() -> None:
    """The kind of a known input is named, of anything else it is empty."""
    kinds = [catalog.kind_of(SCHNELL, key) for key in ("seed", "go_fast", "megapixels", "prompt", "nonsense")]
    assert kinds == ["integer", "boolean", "string", "string", ""]
    assert catalog.kind_of(FLEX, "input_images") == "array"
    assert catalog.kind_of(FLEX, "guidance") == "number"
    assert catalog.kind_of("nobody/nothing", "prompt") == ""


@pytest.mark.parametrize(
    ("name", "inputs"),
    [
        (SCHNELL, ()),
        (SDXL, ("image", "mask")),
        ("black-forest-labs/flux-dev", ("image",)),
        ("black-forest-labs/flux-1.1-pro", ("image_prompt",)),
        (FLEX, ("input_images",)),
    ],
    ids=["none", "two", "image", "image_prompt", "array"],
)
def test_picture_inputs_are_named(name: str, inputs: tuple[str, ...]) -> None:
    """The input that takes a picture has a name of its own in each model."""
    assert known(name).image_inputs() == inputs


def test_a_default_is_shown_as_it_is_typed() -> None:
    """Where there is one."""
    inputs = known(SCHNELL).inputs
    shown = [inputs[name].shown_default for name in ("prompt", "seed", "num_outputs", "go_fast", "megapixels")]
    assert shown == ["required", "-", "1", "true", "1"]


def test_a_model_takes_its_own_inputs_and_an_unknown_one_those_of_any() -> None:
    """What stands in a file's first line is told by that to be the names of inputs."""
    asked = [(SCHNELL, "input_image"), (KONTEXT, "input_image"), ("a/b", "input_image"), ("a/b", "nonsense")]
    assert [catalog.may_take(model, name) for model, name in asked] == [False, True, True, False]


def test_an_unknown_model_is_not_found() -> None:
    """A model that the catalog does not know is None, not an error."""
    assert catalog.find("nobody/nothing") is None


DOUBTS: dict[str, tuple[str, dict[str, Any], list[str]]] = {
    "all well": (SCHNELL, {"prompt": "a", "seed": 7, "num_outputs": 4, "megapixels": "1", "go_fast": True}, []),
    "unknown input": (SCHNELL, {"prompt": "a", "stile": 1}, [f"{SCHNELL} has no known input 'stile'"]),
    "mistyped input": (
        SCHNELL,
        {"prompt": "a", "sed": 1},
        [f"{SCHNELL} has no known input 'sed'; did you mean seed?"],
    ),
    "missing prompt": (SCHNELL, {"seed": 1}, [f"{SCHNELL} needs prompt"]),
    "no required input": (SDXL, {}, []),
    "number for a string": (SCHNELL, {"prompt": "a", "megapixels": 1}, ["megapixels takes a string, not 1"]),
    "text for an integer": (SCHNELL, {"prompt": "a", "seed": "x"}, ['seed takes an integer, not "x"']),
    "boolean for an integer": (SCHNELL, {"prompt": "a", "seed": True}, ["seed takes an integer, not true"]),
    "fraction for an integer": (SCHNELL, {"prompt": "a", "seed": 1.5}, ["seed takes an integer, not 1.5"]),
    "null": (SCHNELL, {"prompt": None}, ["prompt takes a string, not null"]),
    "text for an array": (FLEX, {"prompt": "a", "input_images": "x"}, ['input_images takes an array, not "x"']),
    "too many": (SCHNELL, {"prompt": "a", "num_outputs": 5}, ["num_outputs is at most 4, not 5"]),
    "too few": (SCHNELL, {"prompt": "a", "num_outputs": 0}, ["num_outputs is at least 1, not 0"]),
    "below a fraction": (FLEX, {"prompt": "a", "guidance": 1}, ["guidance is at least 1.5, not 1"]),
    "huge": (
        SCHNELL,
        {"prompt": "a", "output_quality": 10**40},
        ["output_quality is at most 100, not 1" + "0" * 40],
    ),
    "no choice": (
        SCHNELL,
        {"prompt": "a", "output_format": "wepb"},
        ['output_format is one of webp, jpg, png, not "wepb"; did you mean webp?'],
    ),
    "no ratio of these": (
        SCHNELL,
        {"prompt": "a", "aspect_ratio": "16:10"},
        ['aspect_ratio is one of 1:1, 16:9, 21:9, 3:2, 2:3, 4:5, 5:4, 3:4, 4:3, 9:16, 9:21, not "16:10"'],
    ),
    "path for a picture": (
        KONTEXT,
        {"prompt": "a", "input_image": "cat.png"},
        ["input_image takes a picture: a URL, a data URI, or on the command line input_image@cat.png for a file"],
    ),
    "path with a blank": (
        KONTEXT,
        {"prompt": "a", "input_image": "a b.png"},
        ["input_image takes a picture: a URL, a data URI, or on the command line input_image@'a b.png' for a file"],
    ),
    "JSON for a picture": (
        FLEX,
        {"prompt": "a", "input_images": ['["a","b"]']},
        ["input_images takes a picture: a URL, a data URI, or on the command line input_images@FILE for a file"],
    ),
    "url for a picture": (KONTEXT, {"prompt": "a", "input_image": "https://x/cat.png"}, []),
    "url in capitals": (KONTEXT, {"prompt": "a", "input_image": "HTTPS://x/cat.png"}, []),
    "path among pictures": (
        FLEX,
        {"prompt": "a", "input_images": ["https://x/a.png", "@b.png"]},
        ["input_images takes a picture: a URL, a data URI, or on the command line input_images@b.png for a file"],
    ),
    "a text for a picture": (
        KONTEXT,
        {"prompt": "a", "input_image": "data:text/plain;base64,eA=="},
        ["input_image takes a picture, not text/plain"],
    ),
    "a file of no known type for a picture": (
        FLEX,
        {"prompt": "a", "input_images": ["data:application/octet-stream;base64,eA==", "data:Image/PNG,x"]},
        [],
    ),
    "a file for a text": (
        SCHNELL,
        {"prompt": "data:text/plain;base64,eA=="},
        ["prompt takes text, not a file; prompt=@FILE gives the text of one"],
    ),
    "a text that begins like a file": (SCHNELL, {"prompt": "data: a chart, in ink"}, []),
    "too many pictures": (
        FLEX,
        {"prompt": "a", "input_images": ["https://x/a.png"] * 11},
        ["input_images takes at most 10 values, not 11"],
    ),
    "unknown model": (
        "nobody/nothing",
        {},
        ["the catalog does not know nobody/nothing; its inputs cannot be checked"],
    ),
    "mistyped model": (
        "black-forest-labs/flux-schnel",
        {"anything": 1},
        [
            "the catalog does not know black-forest-labs/flux-schnel; its inputs cannot be checked"
            f"; did you mean {SCHNELL}?"
        ],
    ),
}


@pytest.mark.parametrize(("model", "values", "expected"), DOUBTS.values(), ids=DOUBTS.keys())
def test_doubts(model: str, values: dict[str, Any], expected: list[str]) -> None:
    """Each doubt names the input, what is known of it, and the value that does not fit."""
    assert catalog.doubts(model, values) == expected


def test_a_doubt_stays_short() -> None:
    """However long a value is, the doubt about it is a line."""
    (doubt,) = catalog.doubts(SCHNELL, {"prompt": "a", "aspect_ratio": "x" * 100_000})
    assert len(doubt) < 300


def test_a_multiple_is_asked_for() -> None:
    """A size that has to be a multiple is doubted where it is not, and said to be one."""
    width = known(FLEX).inputs["width"]
    assert width.takes == "256..2048, multiples of 32"
    assert width.doubt(320) == ""
    assert width.doubt(321) == "width is a multiple of 32, not 321"


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=())),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=100)
@given(st.sampled_from(catalog.names()), st.data())
def test_any_value_is_doubted_or_fits(model: str, data: st.DataObject) -> None:
    """No value breaks the check, and every doubt is a word about one of the inputs."""
    keys = st.sampled_from([*known(model).inputs, "other"])
    values = data.draw(st.dictionaries(keys, _json, max_size=4))
    for doubt in catalog.doubts(model, values):
        assert any(key in doubt for key in [*values, *known(model).inputs])
        assert json.dumps(doubt)


def test_the_command_for_a_model_shows_something() -> None:
    """Of a model that the catalog does not know there is nothing to show but the others."""
    assert catalog.command_for(SCHNELL) == f"cometrep models {SCHNELL}"
    assert catalog.command_for("nobody/nothing") == "cometrep models"
