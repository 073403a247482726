"""From input to files on disk: what is sent, what is remembered, what is kept."""

import contextlib
import functools
import hashlib
import json
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cometrep import errors, runner
from cometrep.events import Event, Events, Noted, Result, Retrying, Saved, Seen
from cometrep.prediction import Prediction, Request
from cometrep.runner import Runner
from cometrep.schedule import Patience
from tests.servers import (
    SCHNELL,
    TYPED,
    Answer,
    Received,
    Server,
    answer_html,
    answer_json,
    picture,
    prediction,
)
from tests.workbench import REQUEST, Bench, SetUp, files_on

# Waiting


def test_a_ledger_out_of_order_stops_no_download(set_up: SetUp, server: Server, folder: Path) -> None:
    """A finished prediction is saved even where the ledger is unusable, and the runner says so."""
    (folder / "ledger.sqlite3").mkdir()
    bench = set_up()
    server.on_get(answer_json(prediction(output=files_on(server, "out.webp")[0])))
    bench.drain(bench.runner.download(["abc123"], waits=False))
    assert list(bench.saved()) == ["abc123.webp"]
    assert bench.ledger.problem is not None


def test_an_end_that_waits_for_a_ledger_that_is_held_is_told(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing else is said meanwhile, and its output is shown for an hour alone."""
    monkeypatch.setattr(runner, "BRIEF_SECONDS", 0.01)
    bench.ledger.accept(bench.ledger.begin(SCHNELL, {}), Prediction("p1", "starting"))
    bench.server.on_get(answer_json(prediction("p1", output="text")))
    with contextlib.closing(sqlite3.connect(bench.folder / "ledger.sqlite3", isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        events = bench.runner.wait(["p1"])
        told = next(event for event in events if isinstance(event, Noted))
        assert told.text.startswith("prediction p1 succeeded, which is not recorded yet: the ledger, which another")
        holder.execute("ROLLBACK")
        bench.drain(events)
    assert bench.entries() == [("p1", "succeeded")]
    assert bench.ledger.problem is None


def test_a_run_ends_with_its_files_and_a_full_ledger(bench: Bench) -> None:
    """Create, watch, save: the files are there, and the ledger has id, status, output, files."""
    urls = files_on(bench.server, "out-0.webp", "out-1.webp")
    bench.server.on_create(answer_json(prediction("made1", "starting")))
    bench.server.on_get(
        answer_json(prediction("made1", "starting")),
        answer_json(prediction("made1", "processing", logs=" 50%|#####     | 2/4")),
        answer_json(prediction("made1", "succeeded", output=urls, metrics={"predict_time": 1.5})),
    )
    events = bench.drain(bench.runner.run(REQUEST))
    assert bench.saved() == {"made1-0.webp": picture(2000, 0), "made1-1.webp": picture(2000, 1)}
    assert [event.prediction.status for event in events if isinstance(event, Seen)] == [
        "starting",
        "processing",
        "succeeded",
    ]
    entry = bench.ledger.entry("made1")
    assert entry is not None
    assert (entry.status, entry.output, entry.model) == ("succeeded", urls, SCHNELL)
    kept = bench.ledger.files("made1")
    assert [file.index for file in kept] == [0, 1]
    assert kept[0].sha256 == hashlib.sha256(picture(2000, 0)).hexdigest()
    assert Path(kept[0].path).is_absolute()


def test_the_input_is_known_where_no_reply_shows_it(set_up: SetUp) -> None:
    """Where the API tells the outcome alone, the request has the input, and for a later command the ledger."""
    bench = set_up(writes_sidecar=True)
    bench.server.on_create(answer_json({"data": {"task_id": "made1", "status": "SUBMITTED"}}))
    bench.server.on_get(
        answer_json({"data": {"status": "SUCCESS", "data": {"status": "succeeded", "output": "x"}}})
    )
    bench.drain(bench.runner.run(REQUEST))
    bench.drain(bench.runner.wait(["made1"]))
    shown = [event.prediction for event in bench.events if isinstance(event, Result)]
    assert [one.as_json()["input"] for one in shown if one] == [REQUEST.values] * 2
    assert json.loads(bench.saved()["made1.cometrep.json"])["prediction"]["input"] == REQUEST.values
    bench.ledger.close()
    bench.api.close()


@pytest.mark.parametrize(
    ("reply", "code", "exit_code"),
    [
        (prediction("made1", "failed", error="CUDA out of memory"), "prediction_failed", 4),
        (prediction("made1", "failed", error=None), "prediction_failed", 4),
        (prediction("made1", "canceled", logs=None), "prediction_canceled", 5),
        (prediction("made1", "aborted"), "prediction_aborted", 5),
        (prediction("made1", "succeeded", output=None), "output_missing", 11),
        (prediction("made1", "succeeded", output=[]), "output_missing", 11),
        (prediction("made1", "succeeded", output=None, data_removed=True), "output_expired", 11),
        ({"data": {"status": "FAILURE", "fail_reason": "no", "data": None}}, "prediction_failed", 4),
    ],
    ids=["failed", "failed mutely", "canceled", "aborted", "null", "empty list", "removed", "wrapped failure"],
)
def test_every_other_end_has_its_exit_code(bench: Bench, reply: Any, code: str, exit_code: int) -> None:
    """A prediction that ends without files to save ends the run with the code of its end."""
    bench.server.on_create(answer_json(prediction("made1", "starting")))
    bench.server.on_get(answer_json(reply))
    with pytest.raises(errors.CometrepError) as raised:
        bench.drain(bench.runner.run(REQUEST))
    assert (raised.value.code, raised.value.exit_code, raised.value.prediction_id) == (code, exit_code, "made1")
    assert bench.saved() == {}


@pytest.mark.parametrize(
    ("seconds", "code", "hint"),
    [(9.0, "prediction_not_found", "cometrep download --wait made1"), (3700.0, "output_expired", None)],
    ids=["within the hour", "after it"],
)
def test_a_success_that_is_not_found_before_its_output_was_seen_is_not_made_anew(
    bench: Bench, seconds: float, code: str, hint: str | None
) -> None:
    """Within the hour that the API keeps outputs another look may bring it, where `rerun` would pay once more."""

    def late(_: Received) -> Answer:
        bench.now += seconds
        bench.ledger._clock = lambda: time.time() + seconds
        return answer_json({"detail": "Not found"}, 404)

    bench.server.on_create(answer_json(prediction("made1", "starting")))
    bench.server.on_get(answer_json(prediction("made1", output=None)), late)
    with pytest.raises(errors.CometrepError) as raised:
        bench.drain(bench.runner.run(REQUEST))
    assert (raised.value.code, raised.value.hint) == (code, hint or "cometrep rerun made1")


@pytest.mark.parametrize("output", [None, ["data:image/png;base64,!!"]], ids=["none", "broken"])
def test_a_success_without_files_is_looked_at_again_by_the_hint(bench: Bench, output: object) -> None:
    """They may come late, and are paid for."""
    bench.server.on_create(answer_json(prediction("made1", "starting")))
    bench.server.on_get(answer_json(prediction("made1", output=output)))
    with pytest.raises(errors.OutputMissing) as raised:
        bench.drain(bench.runner.run(REQUEST))
    assert raised.value.hint == "cometrep download --wait made1"


def test_an_answer_that_shows_another_prediction_is_not_believed(bench: Bench) -> None:
    """Its files would get this one's name: it is looked at again. An id that nobody knows may be a second one."""
    mine, other, second = files_on(bench.server, "mine.webp", "other.webp", "second.webp")
    bench.server.on_create(
        answer_json(prediction("made2", "starting")), answer_json(prediction("made1", "starting"))
    )
    bench.drain(bench.runner.create(REQUEST))
    bench.server.on_get(
        answer_json(prediction("made2", output=other)), answer_json(prediction("made1", output=mine))
    )
    events = bench.drain(bench.runner.run(REQUEST))
    (retrying,) = [event for event in events if isinstance(event, Retrying)]
    assert retrying.reason == "the answer to a look at made1 shows made2, another prediction"
    bench.server.on_get(answer_json(prediction("upstream1", output=second)))
    bench.drain(bench.runner.download(["made2"], waits=False))
    assert bench.saved() == {"made1.webp": picture(2000, 0), "made2.webp": picture(2000, 2)}


def test_several_ids_come_in_the_order_given(bench: Bench) -> None:
    """Results follow the order of the arguments, not of the ends, and different ends make a partial failure."""
    ends = {"a": "failed", "b": "succeeded", "c": "canceled"}

    def end(request: Received) -> Answer:
        id = request.path.rpartition("/")[2]
        return answer_json(prediction(id, ends[id], output="x"))

    bench.server.on_get(end)
    with pytest.raises(errors.Partial) as raised:
        bench.drain(bench.runner.wait(["c", "a", "b", "a"]))
    assert [event.id for event in bench.events if isinstance(event, Result)] == ["c", "a", "b", "a"]
    assert raised.value.exit_code == 9
    with pytest.raises(errors.Partial) as alike:
        bench.drain(bench.runner.wait(["a", "a"]))
    assert alike.value.exit_code == 4


def ended_before(bench: Bench, id: str, status: str) -> None:
    """Let the ledger know of a prediction, created a moment ago, that it ended."""
    bench.ledger.accept(bench.ledger.begin(SCHNELL, REQUEST.values), Prediction(id, status))


@pytest.mark.parametrize("status", ["succeeded", "failed"])
def test_what_the_ledger_knows_to_have_ended_is_asked_for_once(bench: Bench, status: str) -> None:
    """However young it is, the API knew it: that it is not found now is final."""
    ended_before(bench, "made1", status)
    bench.server.on_get(answer_json({"detail": "Not found"}, 404))
    with pytest.raises(errors.Refused, match="has no prediction made1"):
        bench.drain(bench.runner.look(["made1"]))
    assert bench.server.count("GET") == 1


def test_a_create_of_a_while_ago_is_no_fresh_one(bench: Bench) -> None:
    """A minute later the API knows each prediction that there is: one that is not found is asked for once."""
    bench.ledger.accept(bench.ledger.begin(SCHNELL, REQUEST.values), Prediction("made1", "starting"))
    bench.later = 60.0
    bench.server.on_get(answer_json({"detail": "Not found"}, 404))
    with pytest.raises(errors.Refused, match="has no prediction made1"):
        bench.drain(bench.runner.look(["made1"]))
    assert bench.server.count("GET") == 1


def test_one_look_has_the_short_budget(bench: Bench) -> None:
    """Who asked for no wait gets an answer soon, if it is that there is none."""
    bench.patience = Patience(retry_budget_seconds=0.5, prompt_budget_seconds=0.0)
    bench.server.on_get(answer_json({"detail": "x"}, 503))
    with pytest.raises(errors.Temporary, match="1 attempt failed and the retry budget of 0s is used up"):
        bench.drain(bench.runner.look(["made1"]))
    assert bench.server.count("GET") == 1


def test_a_reply_that_held_the_files_may_be_had_again(bench: Bench) -> None:
    """Of files that stood in it the ledger knows the SHA-256 alone: they are gone when the API says so."""
    bench.patience = Patience(prompt_budget_seconds=0.0)
    number = bench.ledger.begin(SCHNELL, REQUEST.values)
    bench.ledger.accept(number, Prediction("made1", "succeeded", output="data:image/png;base64,aGVsbG8="))
    bench.server.on_get(answer_json({"detail": "x"}, 503), answer_json({"detail": "Not found"}, 404))
    with pytest.raises(errors.Temporary, match="HTTP 503"):
        bench.drain(bench.runner.download(["made1"], waits=False))
    with pytest.raises(errors.OutputMissing, match="which the API does not give any more"):
        bench.drain(bench.runner.download(["made1"], waits=False))


def test_what_the_api_shows_counts_before_what_the_ledger_knows(bench: Bench) -> None:
    """A prediction that is seen to run at the deadline runs on, whatever was seen of it before."""
    ended_before(bench, "made1", "failed")
    bench.server.on_get(answer_json(prediction("made1", "processing")))

    def running_out() -> Iterator[Event]:
        for event in bench.runner.wait(["made1"]):
            yield event
            bench.now += 600.0 * isinstance(event, Seen)

    with pytest.raises(errors.StillRunning, match="is still processing"):
        bench.drain(running_out())


@pytest.mark.parametrize(("id", "error"), [("made1", errors.Temporary), ("other1", errors.Refused)])
def test_web_pages_for_what_the_ledger_knows_may_pass(
    bench: Bench, id: str, error: type[errors.CometrepError]
) -> None:
    """The API answered its create, so the address is right; of an id that was typed nobody knows that."""
    bench.server.on_create(answer_json(prediction("made1", "starting")))
    bench.server.on_get(answer_html(200))
    bench.drain(bench.runner.create(REQUEST))
    bench.patience = bench.patience._replace(prompt_budget_seconds=0.0)
    with pytest.raises(error) as raised:
        bench.drain(bench.runner.look([id]))
    assert raised.value.code == "not_an_api"


def test_a_refused_look_at_an_id_that_was_typed_leads_elsewhere(bench: Bench) -> None:
    """The same command would be refused again; of a prediction that this command pays for it is the one to type."""
    bench.server.on_create(answer_json(prediction("made1", "starting")))
    bench.server.on_get(answer_json({"detail": "no"}, 405))
    with pytest.raises(errors.Refused) as typed:
        bench.drain(bench.runner.wait(["made1"]))
    with pytest.raises(errors.Refused) as created:
        bench.drain(bench.runner.run(REQUEST))
    assert (typed.value.hint, created.value.hint) == ("cometrep doctor", "cometrep download --wait made1")


@pytest.mark.parametrize(
    "use",
    [Runner.wait, functools.partial(Runner.look, exits_by_status=True)],
    ids=["wait", "status --exit-status"],
)
def test_an_end_that_only_the_ledger_knows_is_said_to_be_that(bench: Bench, use: Callable[..., Events]) -> None:
    """A wait for a prediction that the API does not show has the end that was seen, and a note tells both."""
    ended_before(bench, "made1", "succeeded")
    bench.server.on_get(answer_json({"detail": "Not found"}, 404))
    events = bench.drain(use(bench.runner, ["made1"]))
    (noted,) = [event for event in events if isinstance(event, Noted)]
    assert "has no prediction made1" in noted.text
    assert noted.text.endswith("; how it ended is known from the ledger")
    assert isinstance(events[-1], Result)
    assert events[-1].failure is None


def test_why_it_failed_is_known_from_the_ledger(bench: Bench) -> None:
    """Also where the API does not show the prediction any more."""
    failed = Prediction("made1", "failed", error="the model gave up")
    bench.ledger.accept(bench.ledger.begin(SCHNELL, REQUEST.values), failed)
    bench.server.on_get(answer_json({"detail": "Not found"}, 404))
    with pytest.raises(errors.PredictionFailed, match="prediction made1 failed: the model gave up"):
        bench.drain(bench.runner.wait(["made1"]))


def test_an_unfinished_prediction_is_not_downloaded_without_wait(bench: Bench) -> None:
    """Without --wait an unfinished prediction is refused, naming the option; with it the file is saved."""
    url = files_on(bench.server, "x.webp")[0]
    bench.server.on_get(
        answer_json(prediction(status="processing")),
        answer_json(prediction(status="processing")),
        answer_json(prediction(output=url)),
    )
    with pytest.raises(errors.StillRunning) as raised:
        bench.drain(bench.runner.download(["abc123"], waits=False))
    assert raised.value.hint == "cometrep download --wait abc123"
    bench.drain(bench.runner.download(["abc123"], waits=True))
    assert list(bench.saved()) == ["abc123.webp"]


def test_an_unknown_status_that_sounds_like_an_end_is_told_as_none(bench: Bench) -> None:
    """The message does not contradict itself."""
    bench.server.on_get(answer_json(prediction(status="finished")))
    with pytest.raises(errors.StillRunning, match="is 'finished', a status that counts as running"):
        bench.drain(bench.runner.download(["abc123"], waits=False))


# Saving


def test_files_of_equal_names_do_not_overwrite_each_other(bench: Bench) -> None:
    """Outputs that all are called out-0.webp, in lists and objects, become files of their own."""
    urls = files_on(bench.server, *["out-0.webp"] * 5)
    output = {"images": [urls[0], [urls[1]]], "mask": {"image": urls[2]}, "more": [{"file": urls[3]}, urls[4]]}
    bench.server.on_get(answer_json(prediction(output=output)))
    bench.drain(bench.runner.download(["abc123"], waits=False))
    assert bench.saved() == {f"abc123-{i}.webp": picture(2000, i) for i in range(5)}


def test_a_second_download_fetches_nothing(bench: Bench) -> None:
    """A file that the ledger knows and that is unchanged is reported without a request for it."""
    url = files_on(bench.server, "x.webp")[0]
    bench.server.on_get(answer_json(prediction(output=url)))
    bench.drain(bench.runner.download(["abc123"], waits=False))
    bench.drain(bench.runner.download(["abc123"], waits=False))
    assert bench.server.count("GET", "/files/") == 1
    assert [event.how for event in bench.events if isinstance(event, Saved)] == ["saved", "kept"]


def test_a_file_that_stands_there_is_not_overwritten_by_its_like(bench: Bench, set_up: SetUp) -> None:
    """`--overwrite` fetches and replaces what differs alone."""
    url = files_on(bench.server, "x.webp")[0]
    bench.server.on_get(answer_json(prediction(output=url)))
    bench.drain(bench.runner.download(["abc123"], waits=False))
    overwriting = set_up(overwrites=True)
    overwriting.drain(overwriting.runner.download(["abc123"], waits=False))
    assert bench.server.count("GET", "/files/") == 1
    (bench.folder / "out" / "abc123.webp").write_bytes(b"edited")
    overwriting.drain(overwriting.runner.download(["abc123"], waits=False))
    assert [event.how for event in overwriting.events if isinstance(event, Saved)] == ["kept", "saved"]
    assert bench.saved()["abc123.webp"] == picture(2000, 0)


def test_a_changed_file_is_fetched_again_and_compared(bench: Bench) -> None:
    """A known file that was changed on disk is not taken for the output."""
    url = files_on(bench.server, "x.webp")[0]
    bench.server.on_get(answer_json(prediction(output=url)))
    bench.drain(bench.runner.download(["abc123"], waits=False))
    (bench.folder / "out" / "abc123.webp").write_bytes(b"edited")
    with pytest.raises(errors.LocalFileError, match="differs"):
        bench.drain(bench.runner.download(["abc123"], waits=False))
    assert bench.saved()["abc123.webp"] == b"edited"


def test_removed_outputs_that_were_saved_are_still_found(bench: Bench) -> None:
    """After the hour, files that the ledger knows are reported as saved; unsaved ones are gone."""
    url = files_on(bench.server, "x.webp")[0]
    bench.server.on_create(answer_json(prediction("made1", "starting")))
    bench.server.on_get(
        answer_json(prediction("made1", output=url)),
        answer_json(prediction("made1", output=None, data_removed=True)),
    )
    bench.drain(bench.runner.run(REQUEST))
    fetched = bench.server.count("GET", "/files/")
    bench.drain(bench.runner.download(["made1"], waits=False))
    told = [(event.how, Path(event.file.path).name) for event in bench.events if isinstance(event, Saved)]
    assert told == [("saved", "made1.webp"), ("kept", "made1.webp")]
    assert bench.server.count("GET", "/files/") == fetched
    (bench.folder / "out" / "made1.webp").unlink()
    bench.server.on("GET", "/files/0/x.webp", Answer(404))
    with pytest.raises(errors.OutputMissing) as raised:
        bench.drain(bench.runner.download(["made1"], waits=False))
    assert raised.value.code == "output_expired"
    assert bench.saved() == {}


def test_an_expired_url_is_looked_up_once_more(bench: Bench) -> None:
    """A URL that answers 403 is replaced by a fresh one from the API."""
    stale, fresh = f"{bench.server.url}/old.webp", f"{bench.server.url}/new.webp"
    bench.server.on("GET", "/old.webp", Answer(403))
    bench.server.on("GET", "/new.webp", Answer(200, picture(), TYPED))
    bench.server.on_get(answer_json(prediction(output=[stale])), answer_json(prediction(output=[fresh])))
    bench.drain(bench.runner.download(["abc123"], waits=False))
    assert bench.saved() == {"abc123.webp": picture()}


def test_an_output_that_stays_expired_is_gone(bench: Bench) -> None:
    """Where the fresh URL fails too, or there is none, the output is missing, after one more look alone."""
    bench.server.on("GET", "/old.webp", Answer(410))
    bench.server.on_get(answer_json(prediction(output=f"{bench.server.url}/old.webp")))
    with pytest.raises(errors.OutputMissing) as raised:
        bench.drain(bench.runner.download(["abc123"], waits=False))
    assert raised.value.code == "output_expired"
    assert bench.server.count("GET", "/replicate") == 2
    assert bench.server.count("GET", "/old.webp") == 2


def test_a_key_refused_while_a_fresh_url_is_asked_for_has_one_way_on(bench: Bench) -> None:
    """The hint names the command that goes on once."""
    bench.server.on("GET", "/old.webp", Answer(403))
    old = answer_json(prediction(output=f"{bench.server.url}/old.webp"))
    bench.server.on_get(old, answer_json({"detail": "x"}, 401))
    with pytest.raises(errors.ConfigError) as raised:
        bench.drain(bench.runner.download(["abc123"], waits=False))
    assert raised.value.hint.count("abc123") == 1


@pytest.mark.parametrize(
    "now", [["b.webp"], ["a.webp", "b.webp", "c.webp"], [], None], ids=["fewer", "more", "none", "text"]
)
def test_a_fresh_output_of_other_files_takes_nothing_s_place(bench: Bench, now: list[str] | None) -> None:
    """Which of its files is which nobody can tell: what had expired is missing, and no picture is saved twice."""
    fresh = "it is gone" if now is None else [f"{bench.server.url}/files/{name}" for name in now]
    bench.server.on("GET", "/files/", Answer(200, picture(), TYPED))
    bench.server.on("GET", "/gone", Answer(404))
    old = [f"{bench.server.url}/gone", f"{bench.server.url}/files/b.webp"][: 1 if now is None else 2]
    bench.server.on_get(answer_json(prediction(output=old)), answer_json(prediction(output=fresh)))
    with pytest.raises(errors.CometrepError) as raised:
        bench.drain(bench.runner.download(["abc123"], waits=False))
    assert raised.value.exit_code == (11 if now is None else 9)
    assert list(bench.saved()) == ([] if now is None else ["abc123-1.webp"])


def test_some_files_lost_is_a_partial_failure(bench: Bench) -> None:
    """One file of two that cannot be had leaves the other saved, and exits as partial."""
    good = files_on(bench.server, "x.webp")[0]
    bench.server.on("GET", "/gone", Answer(404))
    bench.server.on_get(answer_json(prediction(output=[f"{bench.server.url}/gone", good])))
    with pytest.raises(errors.Partial) as raised:
        bench.drain(bench.runner.download(["abc123"], waits=False))
    assert raised.value.exit_code == 9
    assert bench.saved() == {"abc123-1.webp": picture(2000, 0)}


def test_a_file_missing_moments_after_its_end_is_not_to_be_paid_for_again(bench: Bench) -> None:
    """While the API keeps it, the hint is to ask for it again, also of one file among several."""
    good = files_on(bench.server, "x.webp")[0]
    bench.server.on("GET", "/gone", Answer(404))
    bench.server.on_create(answer_json(prediction("made1", "starting")))
    bench.server.on_get(answer_json(prediction("made1", output=[f"{bench.server.url}/gone", good])))
    with pytest.raises(errors.Partial) as raised:
        bench.drain(bench.runner.run(REQUEST))
    (failure,) = raised.value.failures
    assert (failure.exit_code, failure.hint) == (11, "cometrep download --wait made1")


@pytest.mark.parametrize(
    ("output", "name", "content"),
    [
        ("a text", "abc123.txt", b"a text"),
        (["to", "ken", "s"], "abc123.txt", b"tokens"),
        ({"score": 0.5}, "abc123.json", b'{\n  "score": 0.5\n}\n'),
        ("data:image/gif;base64,R0lGODlhAQ==", "abc123.gif", b"GIF89a\x01"),
        ([["data:image/gif;base64,R0lGODlhAQ=="]], "abc123.gif", b"GIF89a\x01"),
        (0, "abc123.json", b"0\n"),
    ],
    ids=["text", "tokens", "object", "data URI", "nested data URI", "zero"],
)
def test_outputs_without_urls_are_saved_too(bench: Bench, output: Any, name: str, content: bytes) -> None:
    """Text, other JSON and data URIs become files."""
    bench.server.on_get(answer_json(prediction(output=output)))
    bench.drain(bench.runner.download(["abc123"], waits=False))
    assert bench.saved() == {name: content}


def test_what_is_no_file_in_an_output_is_kept_in_the_sidecar(bench: Bench) -> None:
    """Text beside files is not lost: the sidecar is written unasked and holds the whole output."""
    url = files_on(bench.server, "x.webp")[0]
    bench.server.on_get(answer_json(prediction(output=[{"image": url, "caption": "a cat"}])))
    bench.drain(bench.runner.download(["abc123"], waits=False))
    assert list(bench.saved()) == ["abc123.cometrep.json", "abc123.webp"]
    sidecar = json.loads(bench.saved()["abc123.cometrep.json"])
    assert sidecar["prediction"]["output"] == [{"image": url, "caption": "a cat"}]
    noted = next(event.text for event in bench.events if isinstance(event, Noted))
    assert noted.endswith("abc123.cometrep.json")


def test_a_template_that_clashes_is_refused_before_anything_is_paid(set_up: SetUp, server: Server) -> None:
    """Two outputs asked for and one name for both is an error before the create."""
    bench = set_up(template="same.{ext}")
    with pytest.raises(errors.UsageError, match="one name"):
        bench.drain(bench.runner.run(Request(SCHNELL, {"prompt": "cat", "num_outputs": 2})))
    assert server.received == []


def test_a_template_that_clashes_is_refused_before_anything_is_written(set_up: SetUp, server: Server) -> None:
    """Where only the reply shows that there are several outputs, no file is written under the one name."""
    bench = set_up(template="same.{ext}")
    server.on_get(answer_json(prediction(output=files_on(server, "a.webp", "b.webp"))))
    with pytest.raises(errors.UsageError, match="one name"):
        bench.drain(bench.runner.download(["abc123"], waits=False))
    assert bench.saved() == {}
    assert server.count("GET", "/files/") == 0


def test_a_template_that_clashes_behind_a_create_says_that_it_was_sent(set_up: SetUp, server: Server) -> None:
    """Its exit code is not that of what was never sent, in the event as in the error."""
    bench = set_up(template="same.{ext}")
    server.on_create(answer_json(prediction("made1", "starting")))
    server.on_get(answer_json(prediction("made1", output=files_on(server, "a.webp", "b.webp"))))
    with pytest.raises(errors.LocalFileError, match="one name; nothing of it is saved yet") as raised:
        bench.drain(bench.runner.run(REQUEST))
    (result,) = (event for event in bench.events if isinstance(event, Result))
    assert result.failure is raised.value
    assert raised.value.exit_code == 12


@pytest.mark.parametrize(
    ("id", "message", "is_named"),
    [
        ("503", "HTTP 503 from x", True),
        ("50", "HTTP 503 from x", False),
        ("a", "bad [invalid_request]", False),
        ("p-1", "the output of p-1 is gone", True),
        ("p", "the output of p-1 is gone", False),
    ],
)
def test_an_id_is_named_where_it_stands_as_a_word(id: str, message: str, *, is_named: bool) -> None:
    """Its letters alone, in another word, name nothing: the message is to have it."""
    assert runner._names(message, id) is is_named


@pytest.mark.parametrize("place", ["", "out"])
def test_stdout_takes_one_file_and_leaves_none(
    place: str, set_up: SetUp, server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `-` the whole file is handed on from a temporary place, in a folder that was named or in TMPDIR."""
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    bench = set_up(template="-", folder=place and str(folder / place))
    server.on_get(answer_json(prediction(output=files_on(server, "a.webp"))))
    handed: list[bytes] = []
    for event in bench.runner.download(["abc123"], waits=False):
        if isinstance(event, Saved):
            assert event.how == "stdout"
            assert Path(event.file.path).parents[1] == folder / place
            handed.append(Path(event.file.path).read_bytes())
    assert handed == [picture(2000)]
    assert bench.saved() == {}


def test_another_folder_than_was_named_is_advised_where_nothing_goes_to_stdout(
    set_up: SetUp, server: Server, folder: Path
) -> None:
    """It is the place to write in on the way there, and took nothing."""
    bench = set_up(template="-", folder=str(folder / "out" / "in"))
    (folder / "out").touch()
    server.on_get(answer_json(prediction(output=files_on(server, "a.webp"))))
    with pytest.raises(errors.LocalFileError, match="abc123: cannot write in ") as raised:
        bench.drain(bench.runner.download(["abc123"], waits=False))
    assert raised.value.hint == "cometrep download --wait abc123 -d DIR"


def test_stdout_needs_a_temporary_folder_before_anything_is_paid(
    set_up: SetUp, server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where none takes a file nothing is sent; where it goes later, the error is one that is gone on from."""
    bench = set_up(template="-", folder="")
    server.on_create(answer_json(prediction("made1", "starting")))
    usable = tempfile.gettempdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder / "nowhere"))
    with pytest.raises(errors.LocalFileError, match=r"TMPDIR.*nothing was sent"):
        bench.drain(bench.runner.run(REQUEST))
    assert server.received == []
    monkeypatch.setattr(tempfile, "tempdir", usable)

    def look(_: Received) -> Answer:
        monkeypatch.setattr(tempfile, "tempdir", str(folder / "nowhere"))
        return answer_json(prediction("made1", output=f"{server.url}/f"))

    server.on_get(look)
    with pytest.raises(errors.LocalFileError, match="made1: no temporary folder") as raised:
        bench.drain(bench.runner.run(REQUEST))
    assert raised.value.hint == "export TMPDIR=FOLDER"


def test_an_output_on_another_scheme_is_refused(set_up: SetUp, server: Server) -> None:
    """With the real API a plain http URL in the output is not fetched."""
    bench = set_up(allows_local=False)
    server.on_get(answer_json(prediction(output=files_on(server, "a.webp"))))
    with pytest.raises(errors.Refused) as raised:
        bench.drain(bench.runner.download(["abc123"], waits=False))
    assert raised.value.code == "unsafe_url"
    assert server.count("GET", "/files/") == 0
