"""`cometrep status`: one look at each prediction, a line an id, in the order given."""

import json
import shlex
from typing import Any

import pytest

from tests.conftest import KEY, Cli
from tests.servers import SCHNELL, Answer, Received, Server, answer_html, answer_json, prediction

AT_ONCE = {"COMETREP_RETRY_BUDGET": "0"}
MISSING = answer_json({"detail": "The requested resource could not be found.", "status": 404}, 404)


def answers(server: Server, **by_id: Answer | dict[str, Any]) -> None:
    """Script the look at each id; every other is not found."""

    def answer(received: Received) -> Answer:
        found = by_id.get(received.path.rpartition("/")[2], MISSING)
        return answer_json(found) if isinstance(found, dict) else found

    server.on_get(answer)


def every_status(server: Server) -> None:
    """Script a prediction in each status, named for it, one in the gateway's record."""
    wrapped = {"data": {"status": "SUCCESS", "data": prediction("wrapped", output="https://x.test/b.webp")}}
    answers(
        server,
        good=prediction("good", output=["https://x.test/a.webp"]),
        fail=prediction("fail", "failed", error="E005"),
        fail2=prediction("fail2", "failed"),
        cancel=prediction("cancel", "canceled"),
        abort=prediction("abort", "aborted"),
        run=prediction("run", "processing"),
        start=prediction("start", "starting"),
        odd=prediction("odd", "paused"),
        wrapped=wrapped,
    )


def test_one_look_gives_a_line_an_id_in_the_order_given(served: Cli, server: Server) -> None:
    """Each id gets `ID<TAB>STATUS`, bare or wrapped, known word or not, and a failed prediction is no failure."""
    every_status(server)
    done = served("status", "run", "fail", "good", "odd", "start", "abort", "wrapped", "cancel", "good")
    assert (done.code, done.stderr) == (0, "")
    assert done.lines == [
        "run\tprocessing",
        "fail\tfailed",
        "good\tsucceeded",
        "odd\tpaused",
        "start\tstarting",
        "abort\taborted",
        "wrapped\tsucceeded",
        "cancel\tcanceled",
        "good\tsucceeded",
    ]
    assert server.creates == 0


@pytest.mark.parametrize(
    ("ids", "code"),
    [
        ("fail", 4),
        ("cancel", 5),
        ("abort", 5),
        ("run", 6),
        ("fail fail2", 4),
        ("cancel abort", 5),
        ("good fail", 9),
        ("fail run", 9),
        ("good nope", 9),
    ],
)
def test_exit_status_is_what_wait_would_say(ids: str, code: int, served: Cli, server: Server) -> None:
    """`--exit-status` gives the outcome's code, the common one of several, else 9; the lines are the same."""
    every_status(server)
    done = served("status", "--exit-status", *ids.split())
    assert done.code == code
    assert [line.partition("\t")[0] for line in done.lines] == [id for id in ids.split() if id != "nope"]


@pytest.mark.parametrize(
    ("what", "stdout"),
    [
        ("id", "good\nrun\n"),
        ("status", "succeeded\nprocessing\n"),
        ("url", "https://x.test/a.webp\n"),
        ("output", '["https://x.test/a.webp"]\nnull\n'),
        ("path", ""),
    ],
)
def test_print_chooses_what_stdout_gets(what: str, stdout: str, served: Cli, server: Server) -> None:
    """Each word of `--print` gives that of each prediction that has it."""
    every_status(server)
    done = served("status", "good", "run", "--print", what)
    assert (done.code, done.stdout) == (0, stdout)
    assert (done.stderr == "") is (what != "path")  # of which there is none, and that is said


def test_json_is_an_object_a_line(served: Cli, server: Server) -> None:
    """`--json` prints each reply in the schema, with an unknown status word as it came and progress from logs."""
    answers(
        server,
        run=prediction("run", "processing", logs="  0%|  | 0/4\n 50%|##  | 2/4\n"),
        odd=prediction("odd", "paused", metrics={"predict_time": 1.5}, started_at="2026-03-12T08:00:01Z"),
        fail=prediction("fail", "failed", error={"code": "E1", "message": "no"}),
    )
    done = served("status", "run", "odd", "fail", "--json")
    assert (done.code, done.stderr) == (0, "")
    run, odd, fail = (json.loads(line) for line in done.lines)
    assert (run["schema_version"], run["id"], run["status"], run["progress"]) == (1, "run", "processing", 0.5)
    assert (odd["status"], odd["progress"], odd["metrics"]) == ("paused", None, {"predict_time": 1.5})
    assert odd["started_at"] == "2026-03-12T08:00:01Z"
    assert fail["error"] == {"code": "E1", "message": "no"}
    assert all("files" not in shown for shown in (run, odd, fail))


def test_ids_come_in_every_form(served: Cli, server: Server) -> None:
    """URLs that end in an id, `@last`, `@2` and the lines of stdin all name predictions."""
    every_status(server)
    for id in ("start", "run"):
        server.on_create(answer_json(prediction(id, "starting")))
        assert served("create", SCHNELL, "prompt=cat").code == 0
    urls = ("https://replicate.com/p/good", "https://api.replicate.com/v1/predictions/fail/?a=b")
    done = served("status", *urls, "@last", "@2", "@1")
    assert done.lines == [
        "good\tsucceeded",
        "fail\tfailed",
        "run\tprocessing",
        "start\tstarting",
        "run\tprocessing",
    ]
    given = '\ufeffgood\tsucceeded\n\n  fail  \r\nhttps://replicate.com/p/run\n{"id": "odd", "x": 1}\n@2\n'
    done = served("status", "-", stdin=given)
    assert [line.partition("\t")[0] for line in done.lines] == ["good", "fail", "run", "odd", "start"]


@pytest.mark.parametrize("id", ["a b", "", "../x", "@0", "x" * 201, "https://replicate.com/a/b"])
def test_what_is_no_id_is_refused(id: str, served: Cli, server: Server) -> None:
    """Only ids of the documented letters are ever put into an address; all else is exit 2 and no request."""
    done = served("status", id)
    assert (done.code, done.stdout) == (2, "")
    assert "is not a prediction id" in done.stderr
    assert server.received == []


def test_a_reference_to_nothing_is_a_usage_error(served: Cli, server: Server) -> None:
    """`@last` on a machine without predictions says so; nothing is asked of the API."""
    done = served("status", "@last")
    assert done.code == 2
    assert "@last" in done.stderr
    assert server.received == []


def test_last_is_not_skipped_where_its_create_is_in_doubt(served: Cli, server: Server) -> None:
    """After a create of unknown outcome `@last` is exit 10, never silently the one before; `@2` still works."""
    every_status(server)
    server.on_create(answer_json(prediction("run", "starting")))
    assert served("create", SCHNELL, "prompt=cat").code == 0
    server.on_create(answer_json({"detail": "boom"}, 500))
    assert served("create", SCHNELL, "prompt=dog").code == 10
    doubtful = served("status", "@last")
    assert (doubtful.code, doubtful.stdout) == (10, "")
    assert "unknown" in doubtful.stderr
    assert served("status", "@2").stdout == "run\tprocessing\n"
    server.on_create(answer_json({"detail": "no"}, 422))
    assert served("create", SCHNELL, "prompt=dog").code == 8
    assert served("status", "@2").stdout == "run\tprocessing\n"


def test_last_of_another_server_says_which(served: Cli, server: Server, cli: Cli) -> None:
    """A prediction of another base URL is not asked for here; the hint's option finds it."""
    every_status(server)
    server.on_create(answer_json(prediction("run", "starting")))
    assert served("create", SCHNELL, "prompt=cat").code == 0
    elsewhere = cli("status", "@last", env={"COMETREP_BASE_URL": "http://127.0.0.1:1"})
    assert elsewhere.code == 2
    assert server.url in elsewhere.stderr
    hint = elsewhere.stderr.rpartition("hint: add ")[2]
    again = cli("status", "@last", *shlex.split(hint), env={"COMETREP_BASE_URL": "http://127.0.0.1:1"})
    assert again.stdout == "run\tprocessing\n"


@pytest.mark.parametrize(
    ("answer", "exit_code", "code"),
    [
        (MISSING, 8, "prediction_not_found"),
        (answer_json({"code": "task_not_exist", "message": "task_not_exist"}, 400), 8, "prediction_not_found"),
        (answer_json({"detail": "no"}, 401), 3, "api_key_refused"),
        (Answer(301, b"", {"Location": "/"}), 8, "redirected"),
        (answer_json({"detail": "boom"}, 500), 7, "server_error"),
        (answer_json({"detail": "slow"}, 429), 7, "rate_limited"),
        (answer_json([1]), 7, "bad_answer"),
        (answer_html(), 8, "not_an_api"),
    ],
    ids=["404", "task", "401", "301", "500", "429", "list", "HTML"],
)
def test_each_failed_look_has_its_code(
    answer: Answer, exit_code: int, code: str, served: Cli, server: Server
) -> None:
    """What the API says instead of a prediction is told with its code, status and the id that was asked for."""
    answers(server, abc=answer)
    done = served("status", "abc", "--json", env=AT_ONCE)
    assert (done.code, done.stdout) == (exit_code, "")
    (line,) = done.stderr.splitlines()
    error = json.loads(line)["error"]
    assert (error["code"], error["exit_code"]) == (code, exit_code)
    assert (error["prediction_id"], error["http_status"]) == ("abc", answer.status)
    assert server.count("GET") == 1


def test_a_look_that_fails_for_a_moment_is_repeated(served: Cli, server: Server) -> None:
    """A 5xx or a reset in between is retried and told; the line on stdout is all the same."""
    server.on_get(Answer(503, b"busy"), answer_json(prediction("abc", "processing")))
    done = served("status", "abc")
    assert (done.code, done.stdout) == (0, "abc\tprocessing\n")
    assert "attempt 1 failed: HTTP 503" in done.stderr
    assert served("status", "abc", "-q").stderr == ""


def test_the_good_ones_are_shown_where_one_is_missing(served: Cli, server: Server) -> None:
    """An id that the API does not know takes nothing from the others: their lines, its error, exit 9."""
    every_status(server)
    done = served("status", "good", "nope", "run")
    assert done.code == 9
    assert done.lines == ["good\tsucceeded", "run\tprocessing"]
    assert "has no prediction nope" in done.stderr
    assert "1 of 3 failed" in done.stderr
    assert done.stderr.count("nope") == 1
    assert served("status", "nope", "nope2").code == 8


def test_status_looks_once(served: Cli, server: Server) -> None:
    """One look is one request, for a success without output too."""
    answers(server, empty=prediction("empty"))
    assert served("status", "empty").stdout == "empty\tsucceeded\n"
    assert server.count("GET") == 1


def test_verbose_shows_requests_without_the_key(served: Cli, server: Server) -> None:
    """`-v` shows each request and answer with its time on stderr, the key as its last four characters."""
    server.on_get(answer_json(prediction("abc", "starting"), headers={"x-cometapi-request-id": "req-1"}))
    done = served("status", "abc", "-v")
    assert done.stdout == "abc\tstarting\n"
    assert f"> GET {server.url}/replicate/v1/predictions/abc" in done.stderr
    assert "< 200 in 0." in done.stderr
    assert "req-1" in done.stderr
    assert "…abcd" in done.stderr
    assert KEY not in done.stderr


def test_no_status_makes_another_column_or_line(served: Cli, server: Server) -> None:
    """A status is a word of the server's, and may hold anything."""
    server.on_get(answer_json(prediction(status="su\tcc\nee\x1bded")))
    assert served("status", "abc123").stdout == "abc123\tsu cc\\nee\\x1bded\n"
