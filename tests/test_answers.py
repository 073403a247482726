"""What an HTTP answer says in every public form."""

import json
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from requests.structures import CaseInsensitiveDict

from cometrep.transport.answers import Answer
from tests.conftest import HOSTILE_LENGTH
from tests.servers import comet

quick = settings(max_examples=150)

HTML = "<!DOCTYPE html><html><head><title> Just a\n moment… </title></head><body>x</body></html>"


def read(content: bytes | str | object, headers: Mapping[str, str] | None = None, status: int = 400) -> Answer:
    """Read an answer with a body of bytes, text or JSON."""
    text = content if isinstance(content, (bytes, str)) else json.dumps(content)
    return Answer(status, CaseInsensitiveDict(headers or {}), text if isinstance(text, bytes) else text.encode())


ERRORS: dict[str, tuple[object, str, str, str]] = {
    "comet envelope": (
        comet("invalid_request", "no (request id: 20260312)"),
        "no (request id: 20260312) [invalid_request]",
        "invalid_request",
        "20260312",
    ),
    "comet envelope without code": (comet("", "no"), "no", "", ""),
    "missing field": ({"error": {"code": "invalid_request"}}, "invalid_request", "invalid_request", ""),
    "no channel": (
        {
            "error": {
                "message": "no available channel for group default and model X (distributor) (request id: r-1)",
                "code": "model_not_found",
            }
        },
        "no available channel for group default and model X (distributor) (request id: r-1) [model_not_found]",
        "model_not_found",
        "r-1",
    ),
    "task error": (
        {"code": "task_not_exist", "message": "not there", "data": None},
        "not there [task_not_exist]",
        "task_not_exist",
        "",
    ),
    "task success is no code to show": ({"code": "success", "message": "", "data": {}}, "", "success", ""),
    "problem json": (
        {"title": "Unauthenticated", "detail": "You did not pass a token", "status": 401},
        "Unauthenticated: You did not pass a token",
        "",
        "",
    ),
    "problem json that repeats itself": ({"title": "No", "detail": " No "}, "No", "", ""),
    "detail only": ({"detail": "Request was throttled."}, "Request was throttled.", "", ""),
    "detail with retry_after": ({"detail": "slow", "status": 429, "retry_after": 9}, "slow", "", ""),
    "detail in Chinese": ({"detail": [{"msg": "字段必填"}]}, '[{"msg": "字段必填"}]', "", ""),
    "detail of a validator": (
        {"detail": [{"loc": ["input", "seed"], "msg": "bad"}]},
        '[{"loc": ["input", "seed"], "msg": "bad"}]',
        "",
        "",
    ),
    "bare string error": ({"error": " out of luck "}, "out of luck", "", ""),
    "string error beside a code": ({"error": "out of luck", "code": "x"}, "out of luck [x]", "x", ""),
    "string error beside a list of messages": (
        {"statusCode": 400, "error": "Bad Request", "message": ["no such ratio", "too long"]},
        "Bad Request: no such ratio; too long",
        "",
        "",
    ),
    "string error beside a detail": (
        {"error": "ValidationError", "detail": "prompt too long"},
        "ValidationError: prompt too long",
        "",
        "",
    ),
    "string error beside itself": ({"error": "no", "message": "no"}, "no", "", ""),
    "error of OAuth": (
        {"error": "invalid_token", "error_description": "it expired"},
        "invalid_token: it expired",
        "",
        "",
    ),
    "code already in the message": (comet("no_seed", "no_seed: 7"), "no_seed: 7", "no_seed", ""),
    "number for a code": ({"error": {"message": "no", "code": 40000}}, "no", "", ""),
    "null error": ({"error": None, "message": "odd"}, "odd", "", ""),
    "nothing told": ({}, "", "", ""),
    "list": ([{"message": "no"}], "", "", ""),
    "number": (7, "", "", ""),
}


@pytest.mark.parametrize(("body", "message", "code", "request_id"), ERRORS.values(), ids=ERRORS.keys())
def test_each_public_error_form_is_read(body: object, message: str, code: str, request_id: str) -> None:
    """Message, code and request id are found in every form that a public source shows."""
    answer = read(body)
    assert (answer.message, answer.code, answer.request_id) == (message, code, request_id)
    assert not answer.is_html


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("upstream\n  timed   out\n", "upstream timed out"),
        ("", ""),
        (b"caf\xe9 \xff", "caf\ufffd \ufffd"),
        ("null", "null"),
        ('{"detail": "cut o', '{"detail": "cut o'),
        ("x" * 100_000, "x" * 500),
    ],
    ids=["text", "nothing", "not UTF-8", "null", "truncated JSON", "long text"],
)
def test_a_body_that_is_no_json_is_told_as_text(content: str | bytes, message: str) -> None:
    """What does not parse is shown as one line of text, as far as a line goes."""
    answer = read(content)
    assert answer.body is None
    assert (answer.message, answer.code, answer.request_id) == (message, "", "")


def test_a_long_message_is_cut() -> None:
    """No answer fills the terminal, whichever form its message has."""
    for body in (comet("", "x" * 100_000), {"error": "x" * 100_000}, {"detail": ["x" * 100_000] * 2}):
        assert len(read(body).message) == 2000


@pytest.mark.parametrize(
    ("headers", "message", "expected"),
    [
        ({"x-cometapi-request-id": "head-1"}, "no", "head-1"),
        ({"X-Oneapi-Request-Id": "head-2"}, "no", "head-2"),
        ({"X-Request-Id": "head-3"}, "no", "head-3"),
        ({"X-Oneapi-Request-Id": "head-2", "X-CometAPI-Request-ID": "head-1"}, "no", "head-1"),
        ({"x-cometapi-request-id": "head-1"}, "no (request id: text-4)", "head-1"),
        ({"x-cometapi-request-id": ""}, "no (request id: text-4)", "text-4"),
        ({}, "no (Request ID:text-4)", "text-4"),
        ({}, "no, request id: text-4 and more", "text-4"),
        ({}, "no request", ""),
        ({"x-cometapi-request-id": "x" * 1000}, "no", "x" * 200),
    ],
    ids=["cometapi", "gateway", "general", "order", "header first", "blank", "no space", "bare", "none", "long"],
)
def test_the_request_id(headers: dict[str, str], message: str, expected: str) -> None:
    """The request id comes from CometAPI's header, the gateway software's, else from the message."""
    assert read({"detail": message}, headers).request_id == expected


# HTML


@pytest.mark.parametrize(
    ("content", "content_type", "expected"),
    [
        (HTML, "text/html", True),
        (HTML, "application/json", True),
        (HTML, "", True),
        ("\ufeff \n<html>", "", True),
        ("Bad gateway", "text/html; charset=utf-8", True),
        ("", "text/html", False),
        ("<p>x", "application/xhtml+xml", True),
        ('{"detail": "no"}', "text/html", False),
        ("[]", "text/html", False),
        ("Bad gateway", "text/plain", False),
        ("<p>x", "", False),
    ],
    ids=["both", "as JSON", "no type", "BOM", "type", "empty", "xhtml", "JSON as HTML", "list", "text", "markup"],
)
def test_a_web_page_is_known(content: str, content_type: str, expected: bool) -> None:
    """A page is known by its first bytes or its Content-Type, and JSON is JSON under any Content-Type."""
    answer = read(content, {"Content-Type": content_type})
    assert answer.is_html is expected
    assert not expected or (answer.body, answer.message, answer.code) == (None, "", "")


@pytest.mark.parametrize(
    ("page", "title"),
    [
        (HTML, "Just a moment…"),
        ("<html><TITLE lang='en'>502 Bad\tGateway</TITLE>", "502 Bad Gateway"),
        ("<html><title>one</title><title>two</title>", "one"),
        ("<html><title></title>", ""),
        ("<html><title>never ends", ""),
        ("<html>", ""),
        ("<html><title>" + "x" * 500 + "</title>", "x" * 100),
    ],
    ids=["line break", "attributes", "first", "empty", "open", "none", "long"],
)
def test_the_title_of_a_web_page(page: str, title: str) -> None:
    """A page's title is one short line, empty where it has none."""
    assert read(page).title == title


@pytest.mark.usefixtures("little_work")
@pytest.mark.parametrize(
    ("start", "repeated"),
    [("<html>", "<title"), ("<html><title>", " "), ("<html>", "<title>")],
    ids=["open tags", "white space", "titles"],
)
def test_a_hostile_page_is_read_quickly(start: str, repeated: str) -> None:
    """The cost of a page grows with its length and no faster."""
    answer = read(start + repeated * (HOSTILE_LENGTH // len(repeated)))
    assert answer.is_html
    assert answer.title == ""


# JSON


def test_json_is_read_with_a_bom() -> None:
    """A byte order mark before the JSON does not hide it."""
    assert read(b'\xef\xbb\xbf{"id": "p1"}').body == {"id": "p1"}


def test_numbers_that_json_cannot_say_become_null() -> None:
    """NaN, Infinity and 1e999 would come out of --json as no JSON, so they are read as null."""
    answer = read('{"a": NaN, "b": [-Infinity, 1e999, -1e999, 1.5, 7]}')
    assert answer.body == {"a": None, "b": [None, None, None, 1.5, 7]}
    assert json.dumps(answer.body, allow_nan=False)


def test_a_huge_number_is_kept() -> None:
    """A number beyond 64 bits is kept as it is."""
    assert read('{"seed": 1' + "0" * 4000 + "}").body == {"seed": 10**4000}


def test_a_number_that_python_cannot_read_takes_nothing_else_away() -> None:
    """What stands beside it may be the id of a paid prediction."""
    assert read('{"seed": ' + "9" * 5000 + ', "id": "abc"}').body == {"seed": None, "id": "abc"}


def test_a_control_character_in_a_text_takes_nothing_away() -> None:
    """A server that writes a log into JSON by hand leaves its line breaks as they are."""
    assert read('{"id": "abc", "logs": "a\n\tb\x00"}').body == {"id": "abc", "logs": "a\n\tb\x00"}


@pytest.mark.parametrize(
    "content",
    ["[" * 200_000, '{"a":' * 200_000 + "1" + "}" * 200_000],
    ids=["open lists", "objects"],
)
def test_json_that_python_cannot_read_is_no_body(content: str) -> None:
    """JSON beyond Python's limits counts as an answer that is no JSON, and breaks nothing."""
    assert read(content).body is None


def test_an_answer_that_broke_off_has_no_body() -> None:
    """What was cut short is not read as JSON, even where the piece would parse."""
    answer = Answer(200, {}, b"7", is_cut_short=True)
    assert (answer.body, answer.message) == (None, "7")


@pytest.mark.parametrize(
    ("status", "expected"), [(200, False), (299, False), (300, True), (301, True), (308, True), (400, False)]
)
def test_a_redirect_is_any_3xx(status: int, expected: bool) -> None:
    """Every 3xx sends the client elsewhere."""
    assert read("", status=status).is_redirect is expected


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=())),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["error", "message", "code", "detail", "title", "data"]), inner)
    ),
    max_leaves=10,
)


@quick
@given(
    st.binary(max_size=200) | _json.map(lambda value: json.dumps(value).encode()),
    st.sampled_from(["", "text/html"]),
)
def test_any_answer_can_be_read(content: bytes, content_type: str) -> None:
    """No body breaks the reader: message and code are text, and the body can be written as JSON again."""
    answer = Answer(400, {"Content-Type": content_type}, content)
    assert isinstance(answer.message, str)
    assert isinstance(answer.code, str)
    assert isinstance(answer.title, str)
    assert len(answer.message) <= 2000
    assert json.loads(json.dumps(answer.body, allow_nan=False)) == answer.body


@pytest.mark.parametrize(
    "message",
    [
        "task_not_exist",
        "Task not found (request id: r-1)",
        'task "abc123" not found',
        "The requested prediction was not found",
        "Prediction with id abc123 could not be found",
        "task_id does not exist",
        "id not exist",
        "not exist",
        "Not Found",
        "record not found",
        "The requested resource was not found",
        "abc123 does not exist",
        "The given id does not exist",
        "Prediction expired or does not exist",
        "job not found",
        "no such task",
    ],
)
def test_a_prediction_that_does_not_exist_is_read(message: str) -> None:
    """A task or a prediction, named or not, is what does not exist."""
    assert read(comet("", message)).says_no_such_prediction("abc123")


@pytest.mark.parametrize(
    "message",
    [
        "dial tcp: lookup upstream: host not found",
        "model not found in cache",
        "404 page not found",
        "upstream returned: Not Found",
        "channel id not found",
        "channel record not found",
        "id abc999 not found",
        "prediction: model not found",
        "task zzz999 not found",
        'Get "https://up.test/v1/predictions/abc123": host not found',
        "task " * 400,
        "task_" * 400,
    ],
)
def test_what_else_a_gateway_does_not_find_is_no_prediction(message: str) -> None:
    """A host, a model, a page or another task that is not there says nothing of this prediction."""
    assert not read(comet("", message)).says_no_such_prediction("abc123")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (comet("insufficient_user_quota", "no"), True),
        (comet("pre_consume_token_quota_failed", "token quota is not enough, token remain quota: $0.1"), True),
        ({"code": "quota_not_enough", "message": "user quota is not enough", "data": None}, True),
        ({"code": "local:quota_not_enough", "message": "Account quota insufficient", "data": None}, True),
        (comet("", "用户额度不足, 剩余额度: 0.00"), True),
        ({"code": "", "message": "预扣费额度失败, 用户剩余额度: 0.01", "data": None}, True),
        (comet("permission_denied", "insufficient permissions"), False),
        (comet("", "this key's quota page is closed"), False),
        ("insufficient quotation marks", False),
    ],
    ids=str,
)
def test_no_credit_is_read_by_code_or_words(body: object, expected: bool) -> None:
    """Gateways of the family say it with the one, the other or both, in English or Chinese."""
    assert read(body, status=403).says_no_credit is expected
