"""From what was typed to the request of a create, and back from an error to the input it speaks of."""

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from cometrep import catalog, errors
from cometrep.ledger.entry import Entry
from cometrep.prediction import Request
from cometrep.request import Given, doubt_of_name, explain, prepare, prepare_again
from tests.servers import SCHNELL

KONTEXT = "black-forest-labs/flux-kontext-pro"


def given(*items: str, input_file: str | None = None, is_strict: bool = False, stdin: bytes = b"") -> Given:
    """Give what was typed for a create's input, and what stdin holds."""
    return Given(items, input_file, is_strict, lambda: stdin)


@pytest.mark.parametrize(
    ("values", "message", "expected"),
    [
        (
            {"prompt": "x", "num_outputs": 9},
            "HTTP 422: Input validation failed: - input.num_outputs: Must be less than or equal to 4",
            "num_outputs was 9, and it takes 1..4",
        ),
        ({}, "HTTP 422: - input: prompt is required", "prompt was not given"),
        ({"prompt": "x"}, "aspect_ratio is not valid", "aspect_ratio was not given, and it takes 1:1, 16:9"),
        ({"prompt": "x", "own_key": 3}, "unexpected own_key", "own_key was 3"),
        ({"image": "data:image/png;base64,aGVsbG8="}, "bad image", 'image was "data:image/png;sha256='),
        ({"num_outputs": "9"}, "input.num_outputs: Expected: integer", 'num_outputs was "9", and it takes 1..4'),
        ({"prompt": "x"}, "no credit left", ""),
        ({"input": 1}, "input is wrong", ""),
    ],
    ids=["range", "missing", "choices", "unknown input", "data URI", "type", "none named", "the word input"],
)
def test_an_error_points_at_the_input_it_names(values: dict[str, Any], message: str, expected: str) -> None:
    """It is told with what was sent and what it takes; without a name there is nothing to tell."""
    failure = errors.Refused(message, hint="cometrep doctor")
    explain(Request(SCHNELL, values), failure)
    assert (f"{message}; {expected}" in failure.message) if expected else failure.message == message
    assert failure.hint == (f"cometrep models {SCHNELL}" if expected else "cometrep doctor")


@pytest.mark.parametrize(
    ("message", "values", "hint"),
    [
        ("input.seed: Invalid type. Expected: integer, given: string", {"seed": "7"}, "type it as JSON: seed:=7"),
        ('[{"loc": ["input", "cfg"], "msg": "value is not a valid float"}]', {"cfg": "2.5"}, "cfg:=2.5"),
        ("input.audio: must be boolean", {"audio": "true"}, "type it as JSON: audio:=true"),
        ("input.seed: Invalid type", {"seed": "seven"}, "cometrep models"),
        ("input.seed: Invalid type", {"seed": 7}, "cometrep models"),
        ("input.seed: too large", {"seed": "7"}, "cometrep models"),
    ],
    ids=["integer", "number", "boolean", "a word", "a number as it is", "of another fault"],
)
def test_an_unknown_model_has_only_what_was_sent(message: str, values: dict[str, Any], hint: str) -> None:
    """Without a catalog entry a text that reads as a number or a boolean was perhaps to be one."""
    failure = errors.Refused(message)
    explain(Request("a/b", values), failure)
    ((name, value),) = values.items()
    assert failure.message.endswith(f"; {name} was {json.dumps(value)}")
    assert failure.hint.endswith(hint)


@pytest.mark.parametrize(
    ("model", "hint"),
    [
        ("flux-dev", "name it as black-forest-labs/flux-dev"),
        ("SDXL", "name it as stability-ai/sdxl"),
        ("flux-dev:5c7d5dc6", "name it as black-forest-labs/flux-dev"),
        ("flux", "cometrep models"),
        ("flux2", "cometrep models"),
        ("kontext", "cometrep models"),
        ("recraft", "name it as recraft-ai/recraft-v3"),
        ("Flux 1.1 pro", "name it as black-forest-labs/flux-1.1-pro"),
        ("flux-shnell", "name it as black-forest-labs/flux-schnell"),
        ("flux-1.1-pr", "name it as black-forest-labs/flux-1.1-pro"),
        ("flux-1-dev", "cometrep models"),
        ("ideogram-v2a", "cometrep models"),
        ("flux-fill", "cometrep models"),
        ("flux-max", "cometrep models"),
        ("black-forest-labs", "cometrep models"),
        ("stable-diffusion-3.5-large", "cometrep models"),
        ("", "cometrep models"),
        ("--help", "cometrep models"),
        ("prompt=x", "cometrep models"),
    ],
)
def test_a_model_without_its_owner_is_the_nearest_that_is_known(model: str, hint: str) -> None:
    """And no other one, which would be paid for; where none is near, or several are, the table of all tells."""
    with pytest.raises(errors.UsageError, match="OWNER/NAME") as raised:
        prepare(model, given())
    assert raised.value.hint == hint


@pytest.mark.parametrize("values", [None, [], "prompt"], ids=["null", "a list", "a text"])
def test_an_entry_whose_input_is_none_is_not_sent_again(values: Any) -> None:
    """As one that somebody edited, or that no text could be made of: another picture would be paid for."""
    entry = Entry(1, "p1", SCHNELL, "https://x", False, "succeeded", values, None, "", "", 0.0, 0.0)
    with pytest.raises(errors.UsageError, match="no input of p1 that can be read"):
        prepare_again(entry, "p1", given("seed=2"), command="cometrep rerun p1")
    whole = entry._replace(input={"prompt": "x"})
    request, _ = prepare_again(whole, "p1", given("seed=2"), command="cometrep rerun p1")
    assert request == Request(SCHNELL, {"prompt": "x", "seed": 2})


@pytest.mark.parametrize(
    ("name", "command", "hint"),
    [
        ("-x", "cometrep rerun p1 -q", "cometrep rerun p1 -q -- -x@FILE"),
        ("-x", "cometrep rerun -- p1", "cometrep rerun -- p1 -x@FILE"),
        ("a b=c", "cometrep rerun p1 -q", "cometrep rerun p1 -q 'a b\\=c'@FILE"),
    ],
)
def test_a_file_that_is_to_be_given_again_is_typed_as_its_name_needs(name: str, command: str, hint: str) -> None:
    """Else it would be read as an option, or as another input."""
    values = {name: "data:image/png;sha256=" + "0" * 64 + ";bytes=8"}
    entry = Entry(1, "p1", SCHNELL, "https://x", False, "succeeded", values, None, "", "", 0.0, 0.0)
    with pytest.raises(errors.UsageError, match="was a file") as raised:
        prepare_again(entry, "p1", given(), command=command)
    assert raised.value.hint == hint


@pytest.mark.parametrize(
    ("model", "name", "again"),
    [(SCHNELL, "c", "c:=@JSONFILE"), ("black-forest-labs/flux-2-pro", "input_images", "input_images@FILE")],
)
def test_a_list_that_had_a_file_is_given_again_as_one(model: str, name: str, again: str) -> None:
    """One file is a list where the catalog knows the input as one; elsewhere it would be sent as a text."""
    values = {name: ["data:image/png;sha256=" + "0" * 64 + ";bytes=8"]}
    entry = Entry(1, "p1", model, "https://x", False, "succeeded", values, None, "", "", 0.0, 0.0)
    with pytest.raises(errors.UsageError, match="was a file") as raised:
        prepare_again(entry, "p1", given(), command="cometrep rerun p1")
    assert raised.value.hint == f"cometrep rerun p1 {again}"


@pytest.mark.parametrize("items", [(), ("seed=3",)], ids=["alone", "beside an item"])
@pytest.mark.parametrize(
    ("text", "is_doubtful"),
    [
        ('{"version": "5c7", "input": {"prompt": "x"}}', True),
        ('{"input": {"prompt": "x"}}', False),
        ('{"version": "5c7", "input": "x"}', False),
        ('{"seed": 7, "input": {"prompt": "x"}}', False),
    ],
    ids=["a body", "the input alone", "a text", "another input"],
)
def test_a_whole_body_in_a_file_is_doubted(text: str, is_doubtful: bool, items: tuple[str, ...]) -> None:
    """Its names are sent as inputs, as all are, and for a model outside the catalog nothing else tells."""
    _, doubts = prepare("a/b", given(*items, input_file="-", stdin=text.encode()))
    told = "version, input are sent as inputs; of a whole body give what its input holds"
    assert (told in doubts) is is_doubtful


def test_an_input_file_of_a_variable_that_is_not_set_is_refused() -> None:
    """What it was to give would be missing from what is paid for."""
    with pytest.raises(errors.UsageError, match="no file is named"):
        prepare(SCHNELL, given("prompt=x", input_file=""))


def test_items_lie_over_the_input_file() -> None:
    """INPUT items override what the file or stdin gives."""
    stdin = b'{"prompt": "cat", "seed": 7}'
    request, doubts = prepare(SCHNELL, given("seed=8", input_file="-", is_strict=True, stdin=stdin))
    assert request == Request(SCHNELL, {"prompt": "cat", "seed": 8})
    assert doubts == []


def test_an_unknown_model_is_an_error_when_strict() -> None:
    """What cannot be checked does not pass a strict check; else it is a doubt with the nearest name."""
    with pytest.raises(errors.UsageError, match="did you mean black-forest-labs/flux-schnell"):
        prepare("black-forest-labs/flux-schnel", given("prompt=x", is_strict=True))
    _, doubts = prepare("some-owner/some-model", given("prompt=x"))
    assert doubts == ["the catalog does not know some-owner/some-model; its inputs cannot be checked"]


@pytest.mark.parametrize(
    ("items", "doubts"),
    [
        (["prompt=x", "seeed=7"], ["did you mean seed"]),
        (["prompt=x", "num_outputs=9"], ["at most 4"]),
        (["prompt=x", "num_outputs=two"], ["num_outputs takes an integer"]),
        (["prompt=x", "aspect_ratio=16x9"], ["did you mean 16:9"]),
        ([], ["needs prompt"]),
        (["prompt=x", "megapixels=1"], []),
    ],
    ids=["unknown", "range", "kind", "choice", "missing", "fine"],
)
def test_doubtful_inputs_are_warned_of_or_refused(items: list[str], doubts: list[str]) -> None:
    """What the catalog does not know or expect passes with a warning, and is an error when strict."""
    request, warnings = prepare(SCHNELL, given(*items))
    assert request.model == SCHNELL
    assert len(warnings) == len(doubts)
    assert all(doubt in warning for doubt, warning in zip(doubts, warnings, strict=True))
    if doubts:
        with pytest.raises(errors.UsageError):
            prepare(SCHNELL, given(*items, is_strict=True))


@pytest.mark.parametrize(
    ("model", "values", "template", "doubt"),
    [
        (SCHNELL, {}, "boat.png", f"png, but {SCHNELL} makes webp: add output_format=png"),
        (SCHNELL, {}, "zoo/{id}.JPEG", f"jpg, but {SCHNELL} makes webp: add output_format=jpg"),
        (KONTEXT, {}, "boat.webp", f"webp, but {KONTEXT} makes png: end it in .{{ext}}"),
        (SCHNELL, {"output_format": "webp"}, "boat.png", "png, but output_format is webp"),
        (SCHNELL, {"output_format": "jpg"}, "boat.webp", "webp, but output_format is jpg"),
        (SCHNELL, {"output_format": "jpg"}, "boat.jpeg", ""),
        (SCHNELL, {"output_format": "wepb"}, "boat.png", ""),
        (SCHNELL, {"output_format": None}, "boat.png", ""),
        (SCHNELL, {}, "boat.webp", ""),
        (SCHNELL, {}, "boat.v2", ""),
        (SCHNELL, {}, "boat.{ext}", ""),
        (SCHNELL, {}, "boat", ""),
        (SCHNELL, {}, "", ""),
        (SCHNELL, {}, "-", ""),
        ("stability-ai/sdxl", {}, "boat.webp", ""),
        ("a/b", {"output_format": "jpg"}, "boat.webp", ""),
    ],
)
def test_a_name_of_another_format_is_doubted(model: str, values: dict[str, Any], template: str, doubt: str) -> None:
    """Where the catalog knows what the model makes, by itself or as it was asked; else nothing is said."""
    expected = f"{template} is to hold {doubt}" if doubt else ""
    assert doubt_of_name(Request(model, {"prompt": "x", **values}), template) == expected


@pytest.mark.parametrize("model", catalog.names())
def test_the_example_of_each_model_passes_its_own_catalog(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line that is offered for a model has all that it needs, and nothing that the catalog doubts."""
    monkeypatch.chdir(tmp_path)
    Path("photo.png").write_bytes(b"\x89PNG\r\n\x1a\n....")
    known = catalog.find(model)
    assert known is not None
    name, *items = shlex.split(known.example().removeprefix("cometrep run "))
    request, warnings = prepare(name, given(*items, is_strict=True))
    assert request.model == model
    assert set(request.values) >= {known.name for known in known.inputs.values() if known.is_required}
    assert warnings == []
