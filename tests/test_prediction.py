"""The domain values: every public shape of a reply, an output and a status."""

import base64
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cometrep import errors
from cometrep.data_uris import shorten_data_uris
from cometrep.json_values import DEPTH_LIMIT
from cometrep.prediction import (
    STATUSES,
    TERMINAL_STATUSES,
    OutputFile,
    Prediction,
    Request,
    SavedFile,
    is_url,
    normalize_status,
)
from tests.test_json_values import nested

quick = settings(max_examples=150)

URL = "https://replicate.delivery/xezq/out-0.webp"
OTHER = "https://pbxt.replicate.delivery/out-1.png"
PIXELS = b"\x89PNG\r\n\x1a\n not really"
DATA_URI = "data:image/png;base64," + base64.b64encode(PIXELS).decode()

LISTED = {"id": "p1", "model": "owner/name", "status": "succeeded", "output": [URL]}
TASK_RECORD = {
    "task_id": "t1",
    "platform": "replicate",
    "action": "generate",
    "status": "IN_PROGRESS",
    "fail_reason": "",
    "submit_time": 0,
    "start_time": 0,
    "finish_time": 0,
    "progress": "50%",
    "data": {"id": "p1", "model": "owner/name", "status": "processing", "output": None},
}


def read(body: object, id: str = "") -> Prediction:
    """Read a reply."""
    return Prediction.from_json(body, id=id)


def holding(output: Any, **rest: Any) -> Prediction:
    """Make a succeeded prediction with an output."""
    return read({"id": "p1", "status": "succeeded", "output": output, **rest})


# Replies

ENVELOPES: dict[str, tuple[object, tuple[Any, ...]]] = {
    "bare": (LISTED, ("p1", "succeeded", "owner/name", [URL], 1.0)),
    "wrapped": (
        {"data": {"status": "SUCCESS", "progress": "100%", "data": {**LISTED, "logs": "done"}}},
        ("p1", "succeeded", "owner/name", [URL], 1.0),
    ),
    "wrapped, full task record": (
        {"code": "success", "message": "", "data": TASK_RECORD},
        ("p1", "processing", "owner/name", None, 0.5),
    ),
    "wrapped, inner not there yet": (
        {"data": {"status": "SUBMITTED", "progress": "0%", "data": None}},
        ("", "starting", "", None, 0.0),
    ),
    "wrapped failure": (
        {
            "data": {
                "status": "FAILURE",
                "fail_reason": "out of luck",
                "progress": "100%",
                "data": {"status": "failed", "error": "no luck"},
            }
        },
        ("", "failed", "", None, 1.0),
    ),
    "inner empty": ({"data": {"status": "QUEUED", "data": {}}}, ("", "starting", "", None, None)),
    "inner without a status": (
        {"data": {"status": "SUCCESS", "data": {"id": "p1", "output": URL}}},
        ("p1", "succeeded", "", URL, 1.0),
    ),
    "inner behind the outer word": (
        {"data": {"status": "SUCCESS", "data": {**LISTED, "status": "processing", "output": None}}},
        ("p1", "processing", "owner/name", None, None),
    ),
    "inner ahead of the outer word": (
        {"data": {"status": "IN_PROGRESS", "progress": "90%", "data": LISTED}},
        ("p1", "succeeded", "owner/name", [URL], 1.0),
    ),
    "a gateway in front of another": (
        {"data": {"task_id": "t1", "status": "SUCCESS", "data": {"code": "success", "data": TASK_RECORD}}},
        ("t1", "processing", "owner/name", None, 0.5),
    ),
    "a gateway in front of one without records": (
        {"data": {"task_id": "t1", "status": "SUCCESS", "data": {"code": "success", "data": LISTED}}},
        ("t1", "succeeded", "owner/name", [URL], 1.0),
    ),
    "an object in a record that is none": (
        {"data": {"status": "SUCCESS", "result_url": URL, "data": {"code": 0, "data": {"task_status": "succeed"}}}},
        ("", "succeeded", "", URL, 1.0),
    ),
    "an output beside another object": (
        {"data": {"status": "SUCCESS", "data": {"output": [URL], "data": {"k": 1}}}},
        ("", "succeeded", "", [URL], 1.0),
    ),
    "a gateway in front of another, and the URL on the first": (
        {
            "data": {
                "status": "SUCCESS",
                "result_url": URL,
                "data": {"code": "success", "data": {"status": "SUCCESS", "data": None}},
            }
        },
        ("", "succeeded", "", URL, 1.0),
    ),
    "an envelope with a word of its own": (
        {"status": "success", "data": TASK_RECORD},
        ("p1", "processing", "owner/name", None, 0.5),
    ),
    "task record without an inner prediction": (
        {"data": {"status": "SUCCESS", "output": URL, "model": "owner/name"}},
        ("", "succeeded", "owner/name", URL, 1.0),
    ),
    "a bare reply with other data": (
        {**LISTED, "data": {"note": "x"}},
        ("p1", "succeeded", "owner/name", [URL], 1.0),
    ),
    "processing with output": (
        {**LISTED, "status": "processing"},
        ("p1", "processing", "owner/name", [URL], None),
    ),
    "create without an output key": ({"id": "p1", "status": "starting"}, ("p1", "starting", "", None, None)),
    "create with nothing but an id": ({"id": "p1"}, ("p1", "starting", "", None, None)),
}


@pytest.mark.parametrize(("body", "expected"), ENVELOPES.values(), ids=ENVELOPES.keys())
def test_each_public_reply_shape_is_read(body: object, expected: tuple[Any, ...]) -> None:
    """Bare and wrapped replies give the same facts; the inner prediction decides where it has a status."""
    seen = read(body)
    assert (seen.id, seen.status, seen.model, seen.output, seen.progress) == expected


def test_all_facts_of_a_reply_are_kept() -> None:
    """Every documented field, odd ones included, reaches the value."""
    seen = read(
        {
            **LISTED,
            "version": "hidden",
            "input": {"prompt": "cat"},
            "logs": "Using seed: 7\r\n",
            "metrics": {"image_count": 1, "predict_time": 0.5},
            "created_at": "2026-03-12T08:00:00.123456789Z",
            "started_at": "2026-03-12T08:00:01Z",
            "completed_at": "2026-03-12T08:00:02Z",
            "data_removed": True,
            "webhook_completed": "x",
        }
    )
    assert seen.input == {"prompt": "cat"}
    assert seen.logs == "Using seed: 7\r\n"
    assert seen.metrics == {"image_count": 1, "predict_time": 0.5}
    assert (seen.created_at, seen.started_at) == ("2026-03-12T08:00:00.123456789Z", "2026-03-12T08:00:01Z")
    assert (seen.completed_at, seen.data_removed) == ("2026-03-12T08:00:02Z", True)
    assert seen.raw["webhook_completed"] == "x"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1773302400, "2026-03-12T08:00:00Z"),
        (1773302400.5, "2026-03-12T08:00:00.500000Z"),
        (1773302400123, "2026-03-12T08:00:00.123000Z"),
        (0, ""),
        (-1, ""),
        (True, ""),
        (10**4000, ""),
    ],
    ids=["seconds", "a half", "milliseconds", "nothing", "negative", "true", "too much"],
)
def test_a_time_that_is_counted_becomes_a_text(value: object, expected: str) -> None:
    """Gateways write times in three ways, and who reads them here has one."""
    assert read({**LISTED, "completed_at": value}).completed_at == expected


def test_a_log_in_lines_becomes_one_text() -> None:
    """A list of lines is joined, whether they have their ends or not."""
    assert read({**LISTED, "logs": ["Using seed: 7\n", "50%", None]}).logs == "Using seed: 7\n50%"


@pytest.mark.parametrize(
    ("field", "value"),
    [("logs", None), ("logs", 7), ("metrics", []), ("model", None), ("created_at", 5), ("data_removed", "yes")],
    ids=["null logs", "number logs", "list metrics", "null model", "number time", "text data_removed"],
)
def test_a_field_of_another_type_counts_as_absent(field: str, value: object) -> None:
    """A field whose type is not the documented one is left out, and nothing else is lost."""
    seen = read({**LISTED, field: value})
    assert getattr(seen, field) == getattr(read({**LISTED, field: None}), field)
    assert (seen.id, seen.output) == ("p1", [URL])


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        "text",
        7,
        {},
        {"id": 5},
        {"data": None},
        {"data": [1]},
        {"data": {"data": {}}},
        {"error": {"message": "no"}},
        {"code": "task_error", "message": "no", "data": None},
        {"status": 200},
        {"status": "  "},
        {"id": "../../x"},
    ],
    ids=lambda body: json.dumps(body),
)
def test_a_reply_that_is_no_prediction_is_a_value_error(body: object) -> None:
    """What has neither a status nor a usable id is refused."""
    with pytest.raises(ValueError, match="the reply"):
        read(body)


def test_a_look_needs_a_status() -> None:
    """Where the id is known already, a reply without a status tells nothing."""
    with pytest.raises(ValueError, match="the reply has no status"):
        read({"id": "p1"}, id="p1")


def test_the_url_in_a_result_url_is_the_output_where_there_is_no_other() -> None:
    """The gateway's record names the result there today, and its own output stands over it."""
    wrapped = {"status": "SUCCESS", "fail_reason": "", "result_url": URL, "data": None}
    assert Prediction.from_json({"data": wrapped}, id="p1").output == URL
    inner = {"status": "succeeded", "output": ["https://f.example/b.png"]}
    own = Prediction.from_json({"data": {**wrapped, "data": inner}}, id="p1")
    assert own.output == inner["output"]


def test_the_url_in_a_fail_reason_is_the_output_where_there_is_no_other() -> None:
    """A gateway has at times put the result there; what was paid for is not given up as missing."""
    wrapped = {"status": "SUCCESS", "fail_reason": URL, "data": None}
    assert read({"data": wrapped}, id="p1").output_files() == (OutputFile(0, url=URL),)
    own = read({"data": {**wrapped, "data": {"id": "p1", "status": "succeeded", "output": ["https://x.test/own"]}}})
    assert [file.url for file in own.output_files()] == ["https://x.test/own"]
    assert read({"data": {**wrapped, "status": "FAILURE"}}, id="p1").output_files() == ()


def test_a_prediction_that_a_gateway_passes_on_as_text_is_read() -> None:
    """The inner prediction may be JSON in a string; any other text, and a number that JSON has not, is nothing."""
    inner = json.dumps({"id": "p1", "status": "succeeded", "output": URL})
    assert read({"data": {"status": "SUCCESS", "data": inner}}, id="p1").output == URL
    for text in ("", "{", "text", "[1]", "{" * 100_000):
        assert read({"data": {"status": "SUCCESS", "data": text}}, id="p1").output is None
    odd = '{"id": "p1", "status": "succeeded", "output": [NaN, 1e999], "metrics": {"predict_time": Infinity}}'
    assert read({"data": {"status": "SUCCESS", "data": odd}}, id="p1").output == [None, None]
    assert json.dumps(read({"data": {"status": "SUCCESS", "data": odd}}).as_json(), allow_nan=False)


@pytest.mark.parametrize("space", [" {}", "{}\n", "\r\n{}\t "])
def test_white_space_around_a_url_is_no_part_of_it(space: str) -> None:
    """It is still one file, and no text."""
    for output in (space.format(URL), [space.format(URL)], {"image": space.format(URL)}):
        made = Prediction("p1", "succeeded", output=output)
        assert made.output_files() == (OutputFile(0, url=URL),)
        assert not made.has_more_than_files()


@pytest.mark.parametrize(
    ("record", "inner", "given_up"),
    [
        ("FAILURE", "processing", "timed out"),
        ("FAILURE", "failed", ""),
        ("FAILURE", "succeeded", ""),
        ("FAILURE", "", ""),
        ("IN_PROGRESS", "processing", ""),
    ],
)
def test_a_record_that_says_failed_around_what_runs_is_kept(record: str, inner: str, given_up: str) -> None:
    """The inner status counts, and the reason is there for who waits."""
    task = {"status": record, "fail_reason": "timed out", "data": {"id": "p1", "status": inner}}
    seen = read({"data": task})
    assert (seen.given_up, seen.status) == (given_up, inner or "failed")
    nested = {"status": "FAILURE", "data": {"code": "success", "data": {"status": "IN_PROGRESS", "data": None}}}
    assert read({"data": {**nested, "fail_reason": "timed out"}}, id="p1").given_up == "timed out"
    del task["fail_reason"]
    assert bool(read({"data": task}).given_up) is bool(given_up)


IDS: dict[str, tuple[Mapping[str, Any], str]] = {
    "root first": ({"id": "r", "data": {"id": "o", "task_id": "t", "data": {"id": "i"}}}, "r"),
    "then the inner one": ({"data": {"id": "o", "task_id": "t", "data": {"id": "i"}}}, "i"),
    "then the task's": ({"data": {"id": "o", "task_id": "t", "data": None}}, "t"),
    "then the outer one where it is text": ({"data": {"id": "o"}}, "o"),
    "never a row number": ({"data": {"id": 77, "status": "QUEUED"}}, ""),
    "a row number beside a task id": ({"data": {"id": 77, "task_id": "t"}}, "t"),
    "a number at the root, and another": ({"id": 5, "data": {"task_id": "t"}}, "t"),
    "a number at the root alone": ({"id": 12345, "status": "starting"}, "12345"),
    "no number at the root": ({"id": True, "status": "starting"}, ""),
    "a path": ({"id": "../../etc", "data": {"task_id": "t"}}, "t"),
    "empty": ({"id": "", "data": {"task_id": "t"}}, "t"),
    "with a line break": ({"id": "a\n", "data": {"task_id": "t"}}, "t"),
    "not ASCII": ({"id": "idé", "data": {"task_id": "t"}}, "t"),
    "too long": ({"id": "a" * 201, "data": {"task_id": "t"}}, "t"),
    "as long as it may be": ({"id": "a" * 200, "data": {"task_id": "t"}}, "a" * 200),
}


@pytest.mark.parametrize(("body", "expected"), IDS.values(), ids=IDS.keys())
def test_the_id_is_looked_for_on_four_levels(body: Mapping[str, Any], expected: str) -> None:
    """A create's id is the root's, the inner prediction's, the task's, or the outer one; malformed ones never."""
    assert read(body).id == expected


def test_the_id_asked_for_stays() -> None:
    """A look at one prediction gives that id, whatever id the reply names."""
    assert read(LISTED, id="asked").id == "asked"


@pytest.mark.parametrize(
    ("task", "status", "error"),
    [
        ({"status": "SUCCESS", "fail_reason": URL, "data": None}, "succeeded", ""),
        ({"status": "FAILURE", "fail_reason": URL, "data": None}, "failed", ""),
        ({"status": "FAILURE", "fail_reason": "no luck", "data": None}, "failed", "no luck"),
        ({"status": "FAILURE", "fail_reason": "no luck", "data": {"status": "failed"}}, "failed", "no luck"),
        ({"status": "FAILURE", "fail_reason": "x", "data": {"status": "failed", "error": "own"}}, "failed", "own"),
        ({"status": "IN_PROGRESS", "fail_reason": "odd", "data": None}, "processing", ""),
    ],
    ids=["success with a URL", "failure with a URL", "failure", "inner silent", "inner error", "still running"],
)
def test_a_fail_reason_counts_only_for_a_failure_and_never_as_url(
    task: Mapping[str, Any], status: str, error: str
) -> None:
    """The gateway's field has held result URLs, so only the text of a failed task is taken for an error."""
    seen = read({"data": task})
    assert (seen.status, seen.error_text) == (status, error)


def test_a_reply_nested_too_deeply_is_cut_down() -> None:
    """What recursion would not survive is emptied, the id stays, and what any real reply has is whole."""
    cut = read({**LISTED, "output": nested(50_000)})
    assert cut.id == read(LISTED).id
    assert json.loads(json.dumps(cut.as_json()))["output"] == cut.output
    assert str(cut.output).count("[") == DEPTH_LIMIT - 1
    deepest = read({**LISTED, "output": nested(DEPTH_LIMIT - 2)})
    assert json.loads(json.dumps(deepest.as_json()))["output"] == deepest.output


_scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=()))
    | st.sampled_from([*STATUSES, "SUCCESS", "p1", URL, DATA_URI, "50%"])
)
_keys = st.sampled_from(
    [
        "id",
        "status",
        "data",
        "output",
        "error",
        "logs",
        "metrics",
        "progress",
        "task_id",
        "fail_reason",
        "input",
        "model",
        "data_removed",
    ]
)
json_values = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_keys | st.text(max_size=3), inner, max_size=8),
    max_leaves=25,
)


@quick
@given(json_values, st.sampled_from(["", "asked"]))
def test_any_reply_gives_a_prediction_or_a_value_error(body: object, id: str) -> None:
    """No JSON value breaks the reader, and whatever was read can be written and asked about."""
    try:
        seen = read(body, id)
    except ValueError:
        return
    assert json.loads(json.dumps(seen.as_json()))["schema_version"] == 1
    assert seen.status
    assert not seen.is_terminal or seen.status == "succeeded" or seen.failure() is not None
    for index, file in enumerate(seen.output_files()):
        assert file.index == index
        assert [bool(file.url), bool(file.data_uri), file.content is not None].count(True) == 1


# Statuses

WORDS = {
    "starting": "starting",
    "processing": "processing",
    "queued": "starting",
    "submitted": "starting",
    "in_progress": "processing",
    "not_start": "starting",
    "unknown": "processing",
    "pending": "starting",
    "succeeded": "succeeded",
    "success": "succeeded",
    "completed": "succeeded",
    "ready": "succeeded",
    "succeed": "succeeded",
    "failed": "failed",
    "failure": "failed",
    "canceled": "canceled",
    "cancelled": "canceled",
    "aborted": "aborted",
}


@pytest.mark.parametrize(("word", "status"), WORDS.items(), ids=WORDS.keys())
@pytest.mark.parametrize("spelled", [str.lower, str.upper, str.title], ids=["lower", "upper", "title"])
def test_each_public_status_word_is_known(word: str, status: str, spelled: Any) -> None:
    """Every word that a public source shows means one of the six, in any case."""
    seen = read({"id": "p1", "status": f" {spelled(word)} "})
    assert seen.status == status
    assert seen.is_terminal is (status in ("succeeded", "failed", "canceled", "aborted"))


@pytest.mark.parametrize("word", ["in-progress", "In Progress", "NOT-START"])
def test_hyphen_and_space_count_as_underscore(word: str) -> None:
    """A status word is known however its parts are joined."""
    assert normalize_status(word) in STATUSES


@pytest.mark.parametrize("word", ["warming_up", "MODERATED", "success!"])
def test_an_unknown_status_is_kept_and_not_terminal(word: str) -> None:
    """A word that nobody knows stays as the server wrote it, and the prediction counts as running."""
    seen = read({"id": "p1", "status": f" {word} "})
    assert seen.status == word
    assert not seen.is_terminal
    assert seen.as_json()["status"] == word


def test_terminal_statuses_are_four_of_the_six() -> None:
    """The six words and the four terminal ones are Replicate's."""
    assert STATUSES == ("starting", "processing", "succeeded", "failed", "canceled", "aborted")
    assert set(STATUSES) - TERMINAL_STATUSES == {"starting", "processing"}


# Outputs

OUTPUTS: dict[str, tuple[Any, list[str]]] = {
    "string url": (URL, [URL]),
    "list of url": ([URL, OTHER], [URL, OTHER]),
    "the same url twice": ([URL, URL], [URL, URL]),
    "list of list of url": ([[URL], [OTHER, URL]], [URL, OTHER, URL]),
    "list of {image: url}": ([{"image": URL}, {"image": OTHER}], [URL, OTHER]),
    "list of {file: url, text?}": ([{"file": URL, "text": "a cat"}, {"file": OTHER}], [URL, OTHER]),
    "list of {caption, image}": ([{"caption": "a cat", "image": URL}], [URL]),
    "object of urls": ({"video": URL, "zip": OTHER}, [URL, OTHER]),
    "list of data URI": ([DATA_URI, DATA_URI], [DATA_URI, DATA_URI]),
    "url and data URI": ([URL, DATA_URI], [URL, DATA_URI]),
    "url and plain SVG": ([URL, "data:image/svg+xml;utf8,<svg/>"], [URL, "data:image/svg+xml;utf8,<svg/>"]),
    "url among nulls": ([None, URL, ""], [URL]),
    "a space in the name of a file": ("https://x.test/my picture.png", ["https://x.test/my%20picture.png"]),
    "a space in a name before a signature": (
        "https://x.test/my picture 1.png?sig=a%2Fb",
        ["https://x.test/my%20picture%201.png?sig=a%2Fb"],
    ),
    "plain http": ("http://127.0.0.1:8787/x.png", ["http://127.0.0.1:8787/x.png"]),
    "upper-case scheme": ("HTTPS://REPLICATE.DELIVERY/X.PNG", ["HTTPS://REPLICATE.DELIVERY/X.PNG"]),
    "blob store": (
        "https://bflapistorage.blob.core.windows.net/public/a/sample.jpg?sig=a%2Fb&x=1",
        ["https://bflapistorage.blob.core.windows.net/public/a/sample.jpg?sig=a%2Fb&x=1"],
    ),
}


@pytest.mark.parametrize(("output", "expected"), OUTPUTS.values(), ids=OUTPUTS.keys())
def test_files_are_found_anywhere_in_an_output(output: Any, expected: list[str]) -> None:
    """URLs and data URIs are found in every public output shape, in order, and numbered from 0."""
    files = holding(output).output_files()
    assert [file.url or file.data_uri for file in files] == expected
    assert [file.index for file in files] == list(range(len(expected)))


@pytest.mark.parametrize(
    ("output", "text"),
    [
        ("a story", "a story"),
        (["Once", " upon", "", " a time"], "Once upon a time"),
        (f"see {URL} there", f"see {URL} there"),
        ("ftp://x/y", "ftp://x/y"),
        ("data:,hello", "data:,hello"),
        ("data: none", "data: none"),
        ("Data: input/output, and more; base64, too", "Data: input/output, and more; base64, too"),
        ("https://two urls", "https://two urls"),
        (f"{URL} and {OTHER}", f"{URL} and {OTHER}"),
        ("https://x.test/a is a picture.", "https://x.test/a is a picture."),
        ("https://x.test/is a.png? I doubt it", "https://x.test/is a.png? I doubt it"),
        ("\ud800", "\\ud800"),
    ],
    ids=[
        "text",
        "tokens",
        "url inside text",
        "ftp",
        "bare data",
        "word data",
        "a sentence on data",
        "space",
        "two urls",
        "a sentence",
        "a question",
        "lone surrogate",
    ],
)
def test_text_becomes_one_text_file(output: Any, text: str) -> None:
    """A text, or a model's stream of tokens, is one file of text."""
    assert holding(output).output_files() == (OutputFile(0, content=text.encode(), extension="txt"),)


@pytest.mark.parametrize(
    "output",
    [7, 0, False, {"score": 0.5}, [1, 2], ["a", 1], {"a": "text"}, {URL: "a key is no file"}],
    ids=["number", "zero", "false", "object", "list", "mixed list", "object of text", "url as key"],
)
def test_other_json_becomes_one_json_file(output: Any) -> None:
    """What is neither a file nor text is kept as JSON; a URL that is an object's key points at no file."""
    (file,) = holding(output).output_files()
    assert file.extension == "json"
    assert file.content is not None
    assert json.loads(file.content) == output


@pytest.mark.parametrize(
    "output",
    [None, "", [], {}, [None], ["", ""], [[]], {"image": None}],
    ids=["null", "empty text", "empty list", "empty object", "null file", "no tokens", "nested", "null in object"],
)
def test_an_output_that_holds_nothing_has_no_files(output: Any) -> None:
    """Nulls and empty containers, which a failed upload leaves behind, are no files."""
    assert holding(output).output_files() == ()


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ([{"caption": "a cat", "image": URL}], True),
        ({"image": URL, "seed": 7}, True),
        ({"image": URL, "nsfw": False}, True),
        ([URL, None, ""], False),
        ([URL, DATA_URI], False),
        (["a", "b"], False),
        ({"a": 1}, False),
    ],
    ids=["caption", "number", "boolean", "nulls", "files", "text alone", "json alone"],
)
def test_values_beside_files_are_noticed(output: Any, expected: bool) -> None:
    """An output that holds more than its files says so, since saving the files alone would lose it."""
    assert holding(output).has_more_than_files() is expected


@pytest.mark.parametrize(
    ("output", "text"),
    [("abc", "abc"), (["a", "b"], "ab"), ([], None), (["a", 1], None), (None, None), ({"a": "b"}, None)],
    ids=["text", "tokens", "empty list", "mixed", "null", "object"],
)
def test_output_text(output: Any, text: str | None) -> None:
    """Text is a string or a list of strings, and nothing else."""
    assert holding(output).output_text() == text


def test_ten_thousand_urls_in_one_output() -> None:
    """A long output is walked once."""
    urls = [f"https://replicate.delivery/{i}.webp" for i in range(10_000)]
    assert [file.url for file in holding([urls]).output_files()] == urls


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (URL, True),
        ("http://x", True),
        ("https://", False),
        (f"{URL}\n", False),
        (f"{URL} ", False),
        ('https://x/"y', False),
        ("https://x/<y>", False),
        ("https://x/\x1b[31m", False),
        ("javascript:alert(1)", False),
        ("file:///etc/passwd", False),
        ("", False),
    ],
    ids=["https", "http", "no host", "newline", "space", "quote", "angle", "escape", "script", "file", "empty"],
)
def test_is_url(text: str, expected: bool) -> None:
    """Only a whole http or https URL without white space or control characters is one."""
    assert is_url(text) is expected


# Progress

BAR = " 50%|█████     | 2/4 [00:00<00:00,  6.28it/s]"


@pytest.mark.parametrize(
    ("logs", "expected"),
    [
        ("", None),
        ("Using seed: 7\ngenerated in 2.5 sec\n1 out of 2 images are safe", None),
        ("100% sure | 50", None),
        ("Using seed: 7\n  0%|          | 0/4 [00:00<?, ?it/s]", 0.0),
        (f"  0%|          | 0/4\r 25%|██▌       | 1/4\r{BAR}", 0.5),
        (f"  0%|   | 0/4\r\n{BAR}\r\n", 0.5),
        (f"{BAR}\n100%|██████████| 4/4\nupscaling\n 10%|█         | 1/10", 0.1),
        ("  7.5%|█", 0.07),
        ("250%|██", 1.0),
    ],
    ids=["none", "no bar", "no tqdm", "zero", "carriage returns", "CRLF", "second bar", "fraction", "beyond"],
)
def test_progress_is_the_last_bar_of_the_logs(logs: str, expected: float | None) -> None:
    """Progress comes from the last tqdm bar, with any line ends, and is None where there is none."""
    assert read({"id": "p1", "status": "processing", "logs": logs}).progress == expected


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("0%", 0.0),
        (" 50 % ", 0.5),
        ("100%", 1.0),
        ("999%", 1.0),
        ("half", None),
        ("", None),
        (50, None),
        (None, None),
    ],
    ids=str,
)
def test_progress_of_a_task_record(word: object, expected: float | None) -> None:
    """Where the logs show no bar the task record's own percentage is taken."""
    assert read({"data": {"status": "IN_PROGRESS", "progress": word}}).progress == expected


def test_the_logs_beat_the_task_record() -> None:
    """A bar in the logs is newer than the percentage around it."""
    task = {**TASK_RECORD, "data": {"id": "p1", "status": "processing", "logs": BAR}, "progress": "10%"}
    assert read({"data": task}).progress == 0.5


def test_success_is_all_of_the_progress() -> None:
    """A succeeded prediction is at 1, even where the log stopped at 98 %."""
    assert holding(URL, logs=" 98%|█████████▊| 49/50").progress == 1.0


def test_only_the_end_of_the_logs_is_searched() -> None:
    """Huge ones cost nothing at each look, as a bar is only near their end."""
    logs = "  1%|          | 1/100\r" + "x" * 1_000_000
    assert read({"id": "p1", "status": "processing", "logs": logs}).progress is None


# Failures

FAILED_PREDICTIONS: dict[str, tuple[Any, str, str]] = {
    "failed prediction": (
        "The input or output was flagged as sensitive. Please try again with different inputs. (E005)",
        "flagged as sensitive",
        "change it",
    ),
    "failed prediction without message": (None, "the model gave no reason", "cometrep status p1 --json"),
    "an object": ({"code": "E1001", "message": "CUDA ran out"}, "E1001: CUDA ran out", "fewer or smaller"),
    "an object with detail": ({"detail": [{"msg": "bad"}]}, '[{"msg": "bad"}]', "cometrep status p1 --json"),
    "another object": ({"why": "x"}, '{"why": "x"}', "cometrep status p1 --json"),
    "an empty object": ({}, "the model gave no reason", "cometrep status p1 --json"),
    "an empty text": ("  ", "the model gave no reason", "cometrep status p1 --json"),
    "a list": (["a", "b"], '["a", "b"]', "cometrep status p1 --json"),
    "interrupted": ("Prediction interrupted; please retry (code: PA)", "interrupted", "cometrep rerun p1"),
    "interrupted, by its code": ("Please retry (code: PA)", "retry", "cometrep rerun p1"),
    "interrupted, by its short code": ("Please retry (PA)", "retry", "cometrep rerun p1"),
    "no director": ("[Errno 2] No such file or directory: 'x'", "Errno 2", "cometrep status p1 --json"),
    "nsfw": ("NSFW content detected in all images", "NSFW", "change it"),
    "director": ("Director: unexpected error handling prediction (E6716)", "E6716", "cometrep rerun p1"),
}


@pytest.mark.parametrize(("error", "shown", "hinted"), FAILED_PREDICTIONS.values(), ids=FAILED_PREDICTIONS.keys())
def test_a_failed_prediction_tells_its_error(error: Any, shown: str, hinted: str) -> None:
    """A failure names the prediction and the model's own words in every form, and hints at what helps."""
    failure = read({"id": "p1", "status": "failed", "error": error, "output": None}).failure()
    assert isinstance(failure, errors.PredictionFailed)
    assert failure.message.startswith("prediction p1 failed: ")
    assert shown in failure.message
    assert hinted in failure.hint
    assert failure.prediction_id == "p1"


@pytest.mark.parametrize("error", [None, "why", {"message": "why"}], ids=["null", "text", "object"])
@pytest.mark.parametrize(
    ("status", "kind", "code", "exit_code"),
    [
        ("succeeded", type(None), None, None),
        ("failed", errors.PredictionFailed, "prediction_failed", 4),
        ("canceled", errors.PredictionCanceled, "prediction_canceled", 5),
        ("aborted", errors.PredictionCanceled, "prediction_aborted", 5),
    ],
    ids=["succeeded", "failed", "canceled", "aborted"],
)
def test_each_terminal_status_has_its_failure(
    status: str, kind: type, code: str | None, exit_code: int | None, error: Any
) -> None:
    """Success is no failure; each other end has its code and exit code, and tells a reason where there is one.

    Each names the prediction, also to a program.
    """
    failure = read({"id": "p1", "status": status, "error": error}).failure()
    assert type(failure) is kind
    assert getattr(failure, "prediction_id", None) == (code and "p1")
    assert getattr(failure, "code", None) == code
    assert getattr(failure, "exit_code", None) == exit_code
    assert failure is None or ("why" in failure.message) is (error is not None)


# JSON and small changes


def test_the_json_form_has_its_documented_keys() -> None:
    """`--json` shows schema_version 1 and every documented key; times that are not known are null."""
    saved = SavedFile("a.webp", 0, 3, "ab", "image/webp", URL)
    shown = holding([URL], model="owner/name", created_at="2026-03-12T08:00:00Z").as_json([saved])
    assert list(shown)[:14] == [
        "schema_version",
        "id",
        "model",
        "status",
        "input",
        "output",
        "error",
        "logs",
        "metrics",
        "progress",
        "created_at",
        "started_at",
        "completed_at",
        "data_removed",
    ]
    assert (shown["schema_version"], shown["created_at"], shown["completed_at"]) == (
        1,
        "2026-03-12T08:00:00Z",
        None,
    )
    assert shown["files"] == [
        {"path": "a.webp", "url": URL, "bytes": 3, "sha256": "ab", "content_type": "image/webp", "index": 0}
    ]


def test_files_stand_in_the_json_only_where_some_were_saved() -> None:
    """Without saved files there is no `files` key."""
    assert "files" not in holding([URL]).as_json()


def test_times_that_are_not_known_are_null() -> None:
    """No empty text stands in a time's place."""
    shown = read({"id": "p1", "status": "starting"}).as_json()
    assert [shown[name] for name in ("created_at", "started_at", "completed_at")] == [None, None, None]


def test_the_model_asked_for_replaces_the_one_of_the_reply() -> None:
    """Replies name internal models, so the one asked for is kept, where it is known."""
    seen = read({**LISTED, "model": "internal/thing"})
    assert seen.with_model("owner/name").model == "owner/name"
    assert seen.with_model("").model == "internal/thing"


def test_the_input_asked_for_stands_in_where_the_reply_has_none() -> None:
    """A task record may leave it out or empty; what a reply has is the truth, data URIs are kept by hash."""
    asked = {"prompt": "cat", "image": "data:image/gif;base64,R0lGODlhAQ=="}
    filled = read({**LISTED, "input": None}).as_asked("", asked).input
    assert filled == shorten_data_uris(asked) != asked
    assert read({**LISTED, "input": {}}).as_asked("", asked).input == filled
    assert read({**LISTED, "input": {"prompt": "dog"}}).as_asked("", asked).input == {"prompt": "dog"}
    assert read({**LISTED, "input": {}}).as_asked("", None).input == {}


def test_an_output_seen_earlier_can_be_put_back() -> None:
    """A prediction whose data was removed has the files of the output that was seen before."""
    removed = holding(None, data_removed=True)
    assert removed._replace(output=[URL]).output_files() == (OutputFile(0, url=URL),)


@pytest.mark.parametrize(
    "wrong",
    [
        *({name: 5} for name in ("path", "url", "sha256", "content_type")),
        *({name: "5"} for name in ("bytes", "index")),
        {"path": None},
    ],
    ids=str,
)
def test_only_what_a_saved_file_gave_is_read_as_one(wrong: dict[str, Any]) -> None:
    """A record that somebody edited is no list of files, whichever of its values is of another kind."""
    facts = SavedFile("a.webp", 0, 3, "ab", "image/webp", URL).as_json()
    assert SavedFile.is_json(facts)
    assert not SavedFile.is_json({**facts, **wrong})
    assert not SavedFile.is_json([*facts])


def test_a_saved_file_may_be_written_under_another_path() -> None:
    """Only the way a path is written changes."""
    saved = SavedFile("/out/a.webp", 0, 3, "ab", "image/webp", URL)
    assert saved.at("a.webp") == SavedFile("a.webp", 0, 3, "ab", "image/webp", URL)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [(4, 4), (1, 1), (None, 1), (0, 1), (-1, 1), (True, 1), ("3", 1), (2.5, 1), (10**30, 1)],
    ids=repr,
)
def test_how_many_outputs_a_request_asks_for(asked: object, expected: int) -> None:
    """`num_outputs` counts where it is a number that makes sense."""
    assert Request("owner/name", {"num_outputs": asked}).asked_outputs == expected
    assert Request("owner/name", {}).asked_outputs == 1


@pytest.mark.parametrize(
    ("error", "text"),
    [
        ({"code": "E1", "message": "no", "type": "comet_api_error", "param": ""}, "E1: no"),
        ({"reason": "提示词违规", "detail": ["x"]}, '["x"] {"reason": "提示词违规"}'),
        ({"reason": "flagged"}, '{"reason": "flagged"}'),
        ({"type": "x"}, '{"type": "x"}'),
        ({}, ""),
        (["一", 2], '["一", 2]'),
    ],
    ids=str,
)
def test_nothing_of_an_error_is_lost(error: object, text: str) -> None:
    """The known words come first, and what stands beside them, in any script, behind."""
    assert Prediction("p1", "failed", error=error).error_text == text


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="Windows has no tzset")
def test_a_time_without_a_zone_is_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine of any zone: the hour of the files is counted from it."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        ended = Prediction("p1", "succeeded", completed_at="2026-03-12T08:00:00.123456789").ended
    time.tzset()
    assert ended == Prediction("p1", "succeeded", completed_at="2026-03-12T08:00:00.123456789Z").ended


@pytest.mark.parametrize(
    ("created_at", "completed_at", "metrics", "seconds"),
    [
        ("2026-03-12T08:00:00Z", "2026-03-12T08:00:02.5Z", {"total_time": 9}, 2.5),
        ("2026-03-12T08:00:00Z", "2026-03-12T08:00:00Z", {"total_time": 9}, 0.0),
        ("2026-03-12T08:00:02Z", "2026-03-12T08:00:00Z", {"total_time": 9}, 9.0),
        ("2026-03-12T08:00:00Z", "", {"predict_time": 1.5, "total_time": 3}, 3.0),
        ("", "2026-03-12T08:00:00Z", {"predict_time": 1.5, "total_time": None}, 1.5),
        ("yesterday", "today", {"predict_time": 0}, 0.0),
        ("", "", {"predict_time": -1, "total_time": True}, None),
        ("", "", {"predict_time": "1", "total_time": 1e7}, None),
        ("", "", None, None),
    ],
)
def test_how_long_it_ran(created_at: str, completed_at: str, metrics: Any, seconds: float | None) -> None:
    """By the times of the server, else by what it measured; what cannot be is nothing."""
    seen = Prediction("p1", "succeeded", metrics=metrics, created_at=created_at, completed_at=completed_at)
    assert seen.run_seconds == seconds


@pytest.mark.parametrize(
    ("logs", "seed"),
    [
        ("Using seed: 77\n", 77),
        ("SEED 3 is set", 3),
        ("reseed: 5", None),
        (f"seed: {'9' * 19}", None),
        ("seed: random", None),
        ("", None),
    ],
)
def test_the_seed_that_a_log_names(logs: str, seed: int | None) -> None:
    """With which the same picture can be made again, where none was given."""
    assert Prediction("p1", "succeeded", logs=logs).logged_seed == seed


@pytest.mark.parametrize("output", [" \n", ["", "\t"], {"text": " ", "file": None}, []], ids=repr)
def test_white_space_is_no_output(output: object) -> None:
    """A success of nothing else has no file to save, and is told as one without output."""
    seen = Prediction("p1", "succeeded", output=output)
    assert seen.output_files() == ()
    assert seen.may_gain_output


@pytest.mark.parametrize(
    ("path", "seen"), [("out/a.webp", "a.webp"), ("out/below/a.webp", "below/a.webp"), ("a.webp", "a.webp")]
)
@pytest.mark.usefixtures("gone")
def test_a_file_is_seen_from_its_folder_wherever_that_is(path: str, seen: str) -> None:
    """The working folder may be gone by then; what is not below stays as it is."""
    assert SavedFile(path, 0, 3, "ab").seen_from(Path("out")).path == seen
