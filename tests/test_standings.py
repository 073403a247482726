"""Where a batch's items stand, by the steps that its records hold of them."""

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cometrep import errors
from cometrep.batch.standings import NEW, Standing, Standings, State
from cometrep.prediction import Prediction, SavedFile
from cometrep.text import format_item, storable

Steps = list[tuple[str, dict[str, Any]]]
SOME_FILE = SavedFile("cat.webp", 0, 3, "abc", "image/webp", "https://x/cat.webp")


@pytest.fixture
def standings(tmp_path: Path) -> Iterator[Standings]:
    """What knows of no step yet."""
    with contextlib.closing(Standings(tmp_path, reads_inputs=False)) as made:
        yield made


def standing(standings: Standings, steps: Steps) -> Standing:
    """Take up the steps of one item, one a second, and give where it stands."""
    standings.take(
        ({"step": step, "key": "k", "time": float(time), **facts}, 0) for time, (step, facts) in enumerate(steps, 1)
    )
    return standings.of("k")


@pytest.mark.parametrize(
    ("steps", "state"),
    [
        ([("sending", {})], State.UNKNOWN),
        ([("sending", {}), ("unsent", {})], State.NEW),
        ([("sending", {}), ("doubt", {"exit_code": 10})], State.UNKNOWN),
        ([("sending", {}), ("refused", {"exit_code": 8})], State.FAILED),
        ([("sending", {}), ("created", {"id": "abc"})], State.RUNNING),
        ([("created", {"id": "abc"}), ("ended", {"status": "succeeded"})], State.UNSAVED),
        ([("created", {"id": "abc"}), ("ended", {"status": "failed"})], State.FAILED),
        ([("created", {"id": "abc"}), ("ended", {"status": "succeeded"}), ("saved", {"files": []})], State.DONE),
        ([("created", {"id": "abc"}), ("lost", {"exit_code": 11})], State.FAILED),
        ([("refused", {}), ("sending", {}), ("created", {"id": "abc"})], State.RUNNING),
    ],
)
def test_what_an_items_steps_come_to(standings: Standings, steps: Steps, state: State) -> None:
    """The last step decides."""
    assert standing(standings, steps).state is state


def test_a_standing_has_the_facts_of_all_steps(standings: Standings) -> None:
    """The id of the create, the files of the save, the digest of what was sent and its entry in the ledger."""
    file = {"path": "a.webp", "index": 0, "bytes": 3, "sha256": "00", "content_type": "", "url": ""}
    steps: Steps = [
        ("sending", {"digest": "d1", "entry": 7, "line": 3, "input": {"prompt": "cat"}}),
        ("created", {"id": "abc"}),
        ("ended", {"status": "succeeded"}),
    ]
    found = standing(standings, [*steps, ("saved", {"files": [file]})])
    assert (found.id, found.digest, found.entry, json.loads(found.files)) == ("abc", "d1", 7, [file])
    assert [saved.path for saved in found.saved_files(Path("out"))] == [str(Path("out") / "a.webp")]
    assert [found.label(key) for key in ("d1", "mine")] == [format_item(3, "cat"), "mine"]


@pytest.mark.parametrize(
    ("step", "facts", "at_work", "left"),
    [
        ("sending", {}, State.RUNNING, State.UNKNOWN),
        ("doubt", {"error": "no answer"}, State.UNKNOWN, State.UNKNOWN),
        ("ended", {"status": "succeeded"}, State.RUNNING, State.UNSAVED),
        ("left", {"error": "HTTP 403"}, State.UNSAVED, State.UNSAVED),
        ("saved", {}, State.DONE, State.DONE),
    ],
)
def test_what_a_run_at_work_waits_for_runs(
    standings: Standings, step: str, facts: dict[str, Any], at_work: State, left: State
) -> None:
    """A create of its is not in doubt yet, nor a file missing; what went wrong or is done stays that."""
    standing(standings, [(step, facts)])
    states = [found.state for is_held in (True, False) for _, found in standings.by_key([is_held])]
    assert states == [at_work, left]


@pytest.mark.parametrize("reason", ["no", {"code": 7}, None], ids=str)
@pytest.mark.parametrize("sent", [None, {"prompt": "cat"}], ids=["alone", "with inputs"])
def test_a_standing_has_what_is_known_of_its_prediction(tmp_path: Path, sent: object, reason: object) -> None:
    """What the server said in the form in which it did; what was sent where the record is read for that."""
    steps: Steps = [
        ("sending", {"model": "a/b", "input": {"prompt": "cat"}}),
        ("created", {"id": "abc"}),
        ("ended", {"id": "abc", "status": "failed", "error": "prediction abc failed: no", "reason": reason}),
    ]
    with contextlib.closing(Standings(tmp_path, reads_inputs=bool(sent))) as standings:
        found = standing(standings, steps)
    assert found.prediction() == Prediction("abc", "failed", "a/b", sent, error=reason)


def test_what_ended_keeps_the_time_of_that(standings: Standings) -> None:
    """However often its files could not be had since: from then on the hour counts."""
    left = ("left", {"error": "HTTP 403"})
    found = standing(standings, [("created", {"id": "abc"}), ("ended", {"status": "succeeded"}), left, left])
    assert (found.state, found.ended, found.changed) == (State.UNSAVED, 2.0, 4.0)


def test_another_try_forgets_the_id_of_the_first(standings: Standings) -> None:
    """An item in doubt is not shown with the id of the prediction that failed before."""
    failed = ("ended", {"status": "failed", "error": "no", "exit_code": 4})
    found = standing(standings, [("created", {"id": "abc"}), failed, ("sending", {})])
    assert found == NEW._replace(state=State.UNKNOWN, changed=3.0)


@pytest.mark.parametrize("has_run", [False, True], ids=["the first run", "an earlier run"])
def test_an_id_is_of_the_item_that_it_was_given_to_first(standings: Standings, has_run: bool) -> None:
    """In this run or an earlier one, and whatever became of that item since."""
    if has_run:
        steps: Steps = [
            ("sending", {"key": "b", "time": 0}),
            ("sending", {"key": "a", "time": 0}),
            ("created", {"key": "a", "time": 1, "id": "one"}),
            ("created", {"key": "b", "time": 2, "id": "one"}),
            ("saved", {"key": "a", "id": "one"}),
            ("doubt", {"key": "c", "id": "two"}),  # which nobody has seen
        ]
        standing(standings, steps)
    asked = [("one", "b"), ("one", "a"), ("two", "d")] if has_run else [("one", "a"), ("one", "b"), ("two", "d")]
    assert [standings.owner(id, key) for id, key in asked] == ["a", "a", "d"]
    assert standings.owner("three", "\udcff") == "\udcff"


@pytest.mark.parametrize(
    "facts",
    [
        {"error": "bad prompt \ud83d", "id": "\ud83d", "status": "\udfff", "digest": "\ud83d"},
        {"entry": 2**70, "exit_code": -(2**70)},
        {"entry": float("inf"), "exit_code": float("nan")},
        {"input": json.loads("[" * 900 + "]" * 900)},
        {"key": "\ud83d"},
    ],
    ids=["half a character", "a number beyond all", "no number", "deep nesting", "such a key"],
)
def test_facts_that_no_database_holds_stop_no_batch(standings: Standings, facts: dict[str, Any]) -> None:
    """As in what a hostile server said: the item stands where its step left it."""
    standing(standings, [("refused", facts)])
    key = facts.get("key", "k")
    assert standings.of(key).state is State.FAILED
    assert [known for known, _ in standings.by_key([False])] == [storable(key)]


def test_a_temporary_folder_without_room_is_an_error(standings: Standings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The steps of very many items are looked up in a file of SQLite's; where it may have none, it is told."""
    connect = sqlite3.connect

    def small(path: str) -> sqlite3.Connection:
        database = connect(path)
        database.execute("PRAGMA max_page_count = 1")
        return database

    monkeypatch.setattr(sqlite3, "connect", small)
    with pytest.raises(errors.LocalFileError, match="database or disk is full") as full:
        standing(standings, [("sending", {})])
    assert full.value.hint == "export TMPDIR=FOLDER"


def test_an_id_is_its_items_own_where_no_memory_is_left(
    standings: Standings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has been paid for, and is kept whatever else cannot be."""

    def fail(_: str) -> sqlite3.Connection:
        raise MemoryError

    monkeypatch.setattr(sqlite3, "connect", fail)
    assert standings.owner("one", "a") == "a"


def test_within_one_record_the_order_counts(standings: Standings) -> None:
    """Where the clock was set back while a run was at work."""
    steps: Steps = [("sending", {"time": 100.0}), ("created", {"time": 50.0, "id": "abc"})]
    assert standing(standings, steps).state is State.RUNNING


@pytest.mark.parametrize(
    "before",
    [None, 7, [], {}, {"state": []}, {"state": "done"}, {"state": "nobody"}, {"state": "failed", "files": [7]}],
)
def test_where_an_item_stood_is_not_known_from_what_is_no_such_thing(standings: Standings, before: Any) -> None:
    """A record may have been edited by hand; the item is in doubt all the same."""
    found = standing(standings, [("sending", {"before": before})])
    assert (found.state, found.without_last_create()) == (State.UNKNOWN, None)


@pytest.mark.parametrize(
    "earlier",
    [
        Standing(State.UNKNOWN, error="it was lost", exit_code=10, entry=3),
        Standing(State.RUNNING, id="abc", entry=3, since=5.0),
        Standing(State.UNSAVED, id="abc", status="succeeded", error="no room", exit_code=12, entry=3, since=5.0),
        Standing(State.FAILED, id="abc", status="failed", error="flagged", exit_code=4, reason='"E005"'),
        Standing(State.FAILED, id="abc", status="succeeded", exit_code=11, files=json.dumps([SOME_FILE.as_json()])),
    ],
    ids=lambda one: str(one.state),
)
def test_an_item_is_put_back_where_it_stood(standings: Standings, earlier: Standing) -> None:
    """By the step that says so, or by what stands with its last create, whichever the disk had room for."""
    sending = ("sending", {"entry": 9, "before": {"state": str(earlier.state), **earlier.facts()}})
    for found in (
        standing(standings, [sending]).without_last_create(),
        standing(standings, [sending, (earlier.step, earlier.facts())]),
    ):
        assert found
        assert found._replace(changed=0.0, entry=max(found.entry, 0)) == earlier


def test_an_item_whose_line_was_edited_is_put_back_with_what_was_sent(tmp_path: Path) -> None:
    """A create in vain of what the line says now is none of the prediction that stands behind the item."""
    standings = Standings(tmp_path, reads_inputs=True)
    earlier = Standing(State.FAILED, id="abc", error="flagged", exit_code=4, entry=3, digest="old", model="a/b")
    new = {"entry": 9, "digest": "new", "model": "a/c", "input": {"prompt": "new"}}
    sending = ("sending", {**new, "before": {"state": "failed", **earlier.facts()}})
    for found in (
        standing(standings, [sending]).without_last_create(),
        standing(standings, [sending, (earlier.step, earlier.facts())]),
    ):
        assert found
        assert found._replace(changed=0.0, prompt="") == earlier
    standings.close()
