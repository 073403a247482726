"""A batch's loop, in this process: when it goes on, when it ends, and what its record has then."""

import contextlib
import dataclasses
import json
import threading
import time
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from cometrep import errors
from cometrep.api import Api
from cometrep.batch import following, gate
from cometrep.batch.ending import outcome
from cometrep.batch.fate import Asked
from cometrep.batch.items import Item, digest_of
from cometrep.batch.outcomes import TIMES_TOLD
from cometrep.batch.record import Record
from cometrep.batch.run import CONNECTIONS, Batch
from cometrep.calls import within
from cometrep.config.values import ApiKey
from cometrep.data_uris import shorten_data_uris
from cometrep.download import Downloads, Rules
from cometrep.events import BatchEnded, Created, Event, ItemEnded, Noted, Retrying, Tally
from cometrep.keeping import Keeper, LookAgain
from cometrep.ledger import Ledger
from cometrep.ledger.database import BRIEF_SECONDS
from cometrep.pace import Pace
from cometrep.places import Keeping
from cometrep.prediction import Prediction, SavedFile
from cometrep.schedule import Patience, Schedule, schedule_for
from tests.conftest import TIMEOUT_SECONDS, wait_until
from tests.gateway import Gateway
from tests.servers import RESET, SCHNELL, WEBP, Answer, Received, Server, answer_json, picture, prediction

DOWN = answer_json({"error": "down"}, 503)
UNKNOWN = answer_json({"detail": "not found"}, 404)
GONE = answer_json({"detail": "gone"}, 410)


class Bench:
    """One run of a batch after another in a folder; nothing is tried twice, and the clock can be set forward."""

    def __init__(self, server: Server, root: Path) -> None:
        self.gateway = Gateway(server)
        self.out = root / "out"
        self.api = Api(base_url=server.url, api_key=ApiKey("sk-test-12345678"), connections=CONNECTIONS)
        self.ledger = Ledger(root / "ledger.sqlite3", base_url=server.url, is_sandbox=False)
        self.downloads = Downloads(Rules(allows_local=True, max_size_bytes=10**9, retry_budget_seconds=0.0))
        self.keeper = Keeper(Keeping(), self.downloads, self.ledger)
        self.budget_seconds = 0.0
        self.retries_failed = False
        self.retries_unknown = False
        self.max_failures: int | None = None
        self.deadline_seconds: float | None = None
        self.ahead_seconds = 0.0
        self.minutes_ahead = 0  # by the time of day
        self.pace = Pace()
        self.unwritable: errors.LocalFileError | None = None
        self.published = 0
        self.events: list[Event] = []

    def close(self) -> None:
        self.ledger.close()
        self.downloads.close()
        self.api.close()

    def clock(self) -> float:
        return time.monotonic() + self.ahead_seconds

    def check_folders(self) -> None:
        if self.unwritable:
            raise self.unwritable

    def publish(self) -> None:
        self.published += 1

    @contextlib.contextmanager
    def begun(
        self, *prompts: str, jobs: int = 1, still_open: int = 0
    ) -> Iterator[tuple[Batch, Generator[Event, None, BatchEnded]]]:
        """Begin a run over an item for each prompt, of which earlier runs left the first ones open."""
        items = [
            Item(number, prompt, SCHNELL, values := {"prompt": prompt}, digest_of(SCHNELL, values))
            for number, prompt in enumerate(prompts, 1)
        ]
        with contextlib.closing(Record(self.out)) as record:
            record.open()
            made = Batch(
                self.api,
                self.ledger,
                record,
                self.keeper.for_batch(str(self.out)).for_item,
                asked=Asked(jobs, self.max_failures, self.retries_failed, self.retries_unknown),
                patience=Patience(self.deadline_seconds, self.budget_seconds),
                pace=self.pace,
                check_folders=self.check_folders,
                publish=self.publish,
                clock=self.clock,
                now=lambda: time.time() + 60 * self.minutes_ahead,
                random=lambda: 0.0,
            )
            rest = iter(items[still_open:])
            with contextlib.closing(made.run(rest, len(items), open_items=items[:still_open])) as running:
                yield made, running

    def run(self, *prompts: str, jobs: int = 1, still_open: int = 0) -> BatchEnded:
        """Run to the end, keeping what is told."""
        latest = time.monotonic() + TIMEOUT_SECONDS
        with self.begun(*prompts, jobs=jobs, still_open=still_open) as (_, running):
            while True:
                assert time.monotonic() < latest, "it never ended"
                try:
                    self.events.append(next(running))
                except StopIteration as end:
                    ended: BatchEnded = end.value
                    return ended

    def steps(self, key: str) -> list[Mapping[str, Any]]:
        """Read the steps of an item."""
        record = self.out / "batch.jsonl"
        lines = map(json.loads, record.read_text().splitlines() if record.exists() else ())
        return [line for line in lines if line["key"] == key]


@pytest.fixture
def bench(server: Server, tmp_path: Path) -> Iterator[Bench]:
    """A folder without a record."""
    made = Bench(server, tmp_path)
    yield made
    made.close()


@pytest.fixture
def two_in_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let two items in a row for which one thing goes wrong end a batch."""
    monkeypatch.setattr(gate, "IN_A_ROW", 2)


@pytest.mark.usefixtures("two_in_a_row")
@pytest.mark.parametrize("what", ["create", "look"])
def test_what_goes_well_between_ends_a_row(bench: Bench, what: str) -> None:
    """So many faults in a row end a batch, and not so many in all."""
    server, well = bench.gateway.server, bench.gateway.create
    if what == "create":
        server.on_create(DOWN, well, DOWN, well)
    else:
        server.on_get(DOWN, bench.gateway.look, DOWN, bench.gateway.look)
    ended = bench.run("a", "b", "c", "d")
    assert (ended.fatal, ended.tally.done, server.creates) == (None, 2, 4)


@pytest.mark.usefixtures("two_in_a_row")
def test_creates_that_are_found_by_their_ids_are_no_row(bench: Bench) -> None:
    """Their answers broke off behind an id, and a look shows that each was accepted."""
    server = bench.gateway.server
    server.on_create(*[answer_json({"task_id": f"id-{key}"}, 504) for key in "abc"])
    server.on_get(lambda request: answer_json(prediction(request.path.rpartition("/")[2], output="done")))
    ended = bench.run("a", "b", "c")
    assert (ended.fatal, ended.tally.done, server.creates) == (None, 3, 3)


@pytest.mark.usefixtures("two_in_a_row")
@pytest.mark.parametrize("answer", [UNKNOWN, DOWN], ids=["unknown", "down"])
def test_predictions_of_earlier_runs_that_cannot_be_seen_are_no_row(bench: Bench, answer: Answer) -> None:
    """They say nothing of those to come, which are sent."""
    bench.gateway.server.on_get(*[answer] * 3, bench.gateway.look)
    with contextlib.closing(Record(bench.out, now=lambda: time.time() - 60)) as record:
        record.open()
        for key in "abc":
            record.add("created", key, id=f"gone-{key}")
    ended = bench.run("a", "b", "c", "new")
    assert (ended.fatal, ended.tally.done, bench.gateway.creates) == (None, 1, {"new": 1})


@pytest.mark.parametrize(
    "answer",
    [
        answer_json({"detail": "expired"}, 410),
        answer_json({"detail": "not yours"}, 403),
        answer_json({"detail": "no credit"}, 402),
        answer_json({"error": {"code": "invalid_request", "message": "bad"}}, 500),
    ],
    ids=["410", "403", "402", "500"],
)
@pytest.mark.parametrize("step", ["created", "doubt"])
def test_a_look_that_is_refused_holds_up_its_item_alone(bench: Bench, answer: Answer, step: str) -> None:
    """Whatever is paid for beside it is saved, and what is new is sent; the next run looks at it again."""
    with contextlib.closing(Record(bench.out)) as record:
        record.open()
        record.add(step, "bad", id="id-bad")
        record.add("created", "good", id="id-good")
    server = bench.gateway.server
    server.on("GET", "/replicate/v1/predictions/id-bad", answer)
    server.on("GET", "/replicate/v1/predictions/id-good", answer_json(prediction("id-good", output="done")))
    ended = bench.run("bad", "good", "new")
    assert (ended.fatal, ended.tally.done, ended.tally.left + ended.tally.unknown) == (None, 2, 1)
    assert any(
        event.key == "bad" and "id-bad" in event.text for event in bench.events if isinstance(event, ItemEnded)
    )
    assert bench.steps("bad")[-1]["step"] == step
    bench.run("bad", "good", "new")
    assert (server.count("GET", "/replicate/v1/predictions/id-bad"), server.creates) == (2, 1)


def test_what_is_in_doubt_is_not_sent_again_where_the_look_at_its_id_is_refused(bench: Bench) -> None:
    """With --retry-unknown neither: what the API does not show it may have all the same, and be paid for."""
    with contextlib.closing(Record(bench.out)) as record:
        record.open()
        record.add("doubt", "bad", id="id-bad")
    bench.gateway.server.on_get(answer_json({"detail": "not yours"}, 403))
    bench.retries_unknown = True
    assert (bench.run("bad").tally.unknown, bench.gateway.server.creates) == (1, 0)
    bench.gateway.server.on_get(UNKNOWN)
    bench.run("bad")
    assert bench.gateway.server.creates == 1


def test_a_look_that_is_refused_as_all_would_be_ends_the_batch(bench: Bench) -> None:
    """Such as one with an API key that nobody knows."""
    with contextlib.closing(Record(bench.out)) as record:
        record.open()
        record.add("created", "old", id="id-old")
    bench.gateway.server.on_get(answer_json({"detail": "who are you"}, 401))
    ended = bench.run("old", "new")
    assert (ended.fatal and ended.fatal.exit_code, bench.gateway.server.creates) == (3, 0)
    assert ended.fatal
    assert "looks again" not in ended.fatal.message


@pytest.mark.usefixtures("two_in_a_row")
def test_looks_that_are_refused_in_a_row_end_a_batch(bench: Bench) -> None:
    """No more is paid for that could not be seen."""
    bench.gateway.server.on_get(answer_json({"detail": "not yours"}, 403))
    ended = bench.run("a", "b", "c", "d")
    assert (ended.fatal and ended.fatal.exit_code, bench.gateway.server.creates) == (3, 2)
    failure = outcome(ended, "cometrep batch x.jsonl")
    assert failure
    assert failure.hint == "cometrep batch x.jsonl"


def test_a_prediction_of_this_run_that_cannot_be_seen_is_not_made_again(bench: Bench) -> None:
    """It has just been paid for, and is left for the next run to look at."""

    def look(_: Received) -> Answer:
        bench.ahead_seconds += 100  # and no 404 is too early any more
        return UNKNOWN

    bench.retries_failed = True
    bench.gateway.server.on_get(look)
    ended = bench.run("cat")
    assert (ended.tally.left, ended.codes, bench.gateway.server.creates) == (1, {8: 1}, 1)
    assert bench.run("cat").tally.left == 1
    bench.gateway.server.on_get(bench.gateway.look)
    assert (bench.run("cat").tally.done, bench.gateway.server.creates) == (1, 1)


@pytest.mark.parametrize("deadline", [None, 50.0])
@pytest.mark.parametrize("answer", [UNKNOWN, DOWN], ids=["404", "503"])
def test_items_that_cannot_be_seen_count_for_max_failures(
    bench: Bench, answer: Answer, deadline: float | None
) -> None:
    """Each is paid for, and is left running; what an earlier run paid for does not count."""

    def look(_: Received) -> Answer:
        bench.ahead_seconds += 100
        return answer

    bench.max_failures = 1
    bench.gateway.server.on_get(look)
    bench.deadline_seconds = deadline
    ended = bench.run("a", "b", "c")
    assert (ended.fatal, ended.tally.left, bench.gateway.server.creates) == (None, 3, 1)
    assert [bench.run("a", "b", "c").tally.left, bench.gateway.server.creates] == [3, 2]


@pytest.mark.parametrize(("prompts", "jobs", "times"), [("a", 1, 0), ("ab", 1, 0), ("ab", 2, 0), ("abc", 1, 1)])
def test_the_last_failure_is_told_where_more_would_be_sent(
    bench: Bench, prompts: str, jobs: int, times: int
) -> None:
    """Of a batch that is at its end anyway nothing is held back."""
    bench.gateway.ends = dict.fromkeys(prompts, "failed")
    bench.max_failures = min(2, len(prompts))
    bench.run(*prompts, jobs=jobs)
    told = [event.text for event in bench.events if isinstance(event, Noted)]
    assert told == ["no more are sent: that was the last failure of --max-failures 2"] * times


def test_items_whose_looks_hang_count_for_max_failures(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is paid for, and no more is known of it at its deadline than of one whose looks failed."""
    monkeypatch.setattr("cometrep.watch._LAST_LOOK_SECONDS", 0.01)
    may_answer = threading.Event()
    bench.gateway.server.on_get(Answer(wait_for=may_answer))
    bench.max_failures, bench.deadline_seconds = 1, 3600.0
    with bench.begun("a", "b") as (_, running):
        for event in running:
            if bench.gateway.server.count("GET"):
                bench.ahead_seconds = 4000.0
            if isinstance(event, ItemEnded):
                break
        may_answer.set()
        deque(running, maxlen=0)
    assert bench.gateway.server.creates == 1


def test_an_item_whose_looks_wait_for_others_that_hang_does_not_count(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is known of it: no look at it has begun."""
    monkeypatch.setattr("cometrep.watch._LAST_LOOK_SECONDS", 0.01)
    monkeypatch.setattr("cometrep.batch.run.LOOK_THREADS", 1)
    may_answer = threading.Event()
    bench.gateway.server.on_get(Answer(wait_for=may_answer))
    bench.max_failures, bench.deadline_seconds = 2, 3600.0
    with bench.begun("a", "b", "c", jobs=2) as (made, running):
        told = []
        for event in running:
            if bench.gateway.server.count("GET") and made._follower._looking == 2:
                bench.ahead_seconds = 4000.0
            told += [event] * isinstance(event, ItemEnded)
            if len(told) == 2:
                break
        may_answer.set()
        deque(running, maxlen=0)
    assert bench.gateway.server.creates == 3


def test_what_is_in_doubt_is_told_once_of_a_batch_that_is_stopped(bench: Bench) -> None:
    """Also where the signal comes while that is being told; what earlier runs left in doubt is told too."""
    for in_doubt in (1, 2):
        bench.gateway.server.on_create(DOWN)
        with bench.begun("a", "b") as (batch, running):
            told = (event for event in running if isinstance(event, ItemEnded))
            assert [next(told).outcome for _ in range(in_doubt)] == ["unknown"] * in_doubt
            with pytest.raises(errors.Stopped):
                running.throw(errors.Stopped("SIGTERM", 143))
            assert batch.in_doubt == in_doubt


@pytest.mark.parametrize("is_asked", [True, False])
def test_what_is_in_doubt_and_was_to_be_sent_again_stays_in_doubt(bench: Bench, *, is_asked: bool) -> None:
    """Where the batch is stopped before: it may be paid for, and is not merely left."""
    with contextlib.closing(Record(bench.out)) as record:
        record.open()
        for key in "ab":
            record.add("doubt", key)
    bench.retries_unknown, bench.pace = True, Pace(1 / 3600)
    bench.pace.sent(bench.clock())
    with bench.begun("a", "b", "new", still_open=2) as (made, running):
        next(running)
        if is_asked:
            made.stop()
            told = [event for event in running if isinstance(event, Tally)]
            assert (told[-1].unknown, told[-1].left) == (2, 1)
        else:
            with pytest.raises(errors.Stopped):
                running.throw(errors.Stopped("SIGTERM", 143))
        assert (made.in_doubt, bench.gateway.total) == (2, 0)


@pytest.mark.parametrize("fault", ["429", "425", "401", "no route", "no ledger"])
def test_what_is_in_doubt_stays_so_where_it_is_not_accepted_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """Its first create may be paid for all the same, and no run sends it again unasked."""
    with contextlib.closing(Record(bench.out)) as record:
        record.open()
        record.add("sending", "a", entry=bench.ledger.begin(SCHNELL, {"prompt": "a"}))

    def fail(*_: Any, **__: Any) -> Any:
        bench.ahead_seconds += 100
        raise errors.Temporary("no route") if fault == "no route" else errors.LocalFileError("no room")

    bench.retries_unknown = True
    with monkeypatch.context() as patched:
        if fault.isdigit():
            bench.gateway.server.on_create(answer_json({"detail": "later"}, int(fault)))
        elif fault == "no route":
            patched.setattr(bench.api, "create", fail)
        else:
            patched.setattr(bench.ledger, "begin", fail)
        ended = bench.run("a")
    assert (ended.tally.unknown, ended.tally.left) == (1, 0)
    bench.retries_unknown = False
    bench.gateway.server.on_create(bench.gateway.create)
    assert (bench.run("a").tally.unknown, bench.gateway.total) == (1, 0)


@pytest.mark.parametrize("look", [UNKNOWN, DOWN], ids=["unknown", "down"])
def test_a_picture_in_the_answer_to_a_create_is_saved(bench: Bench, look: Answer) -> None:
    """The ledger keeps its digest alone, so nobody else may have its bytes."""
    came = prediction("whole", output=["data:image/png;base64,iVBORw0KGgo="])
    bench.gateway.server.on_create(answer_json(came, 201))
    bench.gateway.server.on_get(look)
    assert bench.run("a").tally.done == 1
    assert (bench.out / "whole.png").read_bytes() == b"\x89PNG\r\n\x1a\n"


EARLIER: dict[str, tuple[str, dict[str, Any]]] = {
    "unknown": ("doubt", {"error": "it was lost", "exit_code": 10}),
    "failed": ("ended", {"id": "old", "status": "failed", "error": "flagged", "exit_code": 4}),
    "new": ("unsent", {}),
}


@pytest.mark.parametrize("code", [401, 402, 422, 425, 429])
@pytest.mark.parametrize("before", ["unknown", "failed"])
def test_a_create_in_vain_leaves_an_item_where_it_stood(bench: Bench, before: str, code: int) -> None:
    """What was in doubt or had failed is sent again by its own option alone, whatever came of one more create."""
    with contextlib.closing(Record(bench.out)) as record:
        record.open()
        step, facts = EARLIER[before]
        record.add("sending", "a")
        record.add(step, "a", **facts)
    bench.retries_unknown = bench.retries_failed = True
    bench.gateway.server.on_create(answer_json({"detail": "no"}, code))
    ended = bench.run("a")
    assert (ended.tally.unknown, ended.tally.failed) == ((1, 0) if before == "unknown" else (0, 1))
    bench.gateway.server.on_create(bench.gateway.create)
    bench.retries_unknown = before == "failed"
    bench.retries_failed = before == "unknown"
    ended = bench.run("a")
    assert (ended.tally.unknown, ended.tally.failed) == ((1, 0) if before == "unknown" else (0, 1))
    assert bench.gateway.total == 0


@pytest.mark.parametrize("status", ["", "succeeded"])
@pytest.mark.parametrize("code", [402, 422, 425, 429])
def test_a_prediction_that_no_look_found_is_not_forgotten_for_a_create_in_vain(
    bench: Bench, code: int, status: str
) -> None:
    """The API key may have been another account's; with the right one it is waited for, or saved."""
    with contextlib.closing(Record(bench.out, now=lambda: time.time() - 3700)) as record:
        record.open()
        record.add("created", "a", id=(old := bench.api.create(SCHNELL, {"prompt": "a"}).id))
        if status:
            record.add("ended", "a", id=old, status=status)
    creates = bench.gateway.total
    bench.gateway.server.on_get(UNKNOWN)
    bench.gateway.server.on_create(answer_json({"detail": "no"}, code))
    bench.retries_failed = True
    assert bench.run("a").tally.left == 1
    bench.gateway.server.on_get(bench.gateway.look)
    bench.retries_failed = False
    assert bench.run("a").tally.done == 1
    assert (bench.steps("a")[-1]["id"], bench.gateway.total) == (old, creates)


@pytest.mark.parametrize("code", [402, 422, 429])
def test_an_id_that_is_not_sure_is_not_forgotten_for_a_create_in_vain(bench: Bench, code: int) -> None:
    """The API may not know it yet; once it does, it is paid for, and is saved."""
    with contextlib.closing(Record(bench.out)) as record:
        record.open()
        record.add("doubt", "a", id="perhaps", error="it broke off", exit_code=10)
    bench.gateway.server.on_get(UNKNOWN)
    bench.gateway.server.on_create(answer_json({"detail": "no"}, code))
    bench.retries_unknown = True
    assert [bench.run("a").tally.unknown for _ in range(2)] == [1, 1]
    assert bench.steps("a")[-1]["error"] == "it broke off"
    bench.gateway.server.on_get(answer_json(prediction("perhaps", output="done")))
    assert (bench.run("a").tally.done, bench.gateway.total) == (1, 0)


@pytest.mark.parametrize("code", [402, 422])
@pytest.mark.parametrize("is_in_doubt", [True, False])
def test_a_step_that_a_power_cut_took_behind_a_create_in_vain_is_no_loss(
    bench: Bench, code: int, *, is_in_doubt: bool
) -> None:
    """The create has where the item stood before it; so has the next one in vain, with the id."""
    told = prediction("old", "starting")
    bench.gateway.server.on_create(answer_json(told, 504 if is_in_doubt else 201))
    bench.gateway.server.on_get(UNKNOWN)
    bench.deadline_seconds = 0.01
    bench.run("a")
    record = bench.out / "batch.jsonl"
    lines = [json.loads(line) for line in record.read_text().splitlines()]
    aged = [json.dumps(line | {"time": line["time"] - 7200.0}, separators=(",", ":")) for line in lines]
    record.write_text("".join(f"{line}\n" for line in aged))
    bench.deadline_seconds = None
    bench.retries_unknown, bench.retries_failed = is_in_doubt, not is_in_doubt
    bench.gateway.server.on_create(answer_json({"detail": "no"}, code))
    for _ in range(2):
        bench.run("a")
        kept = record.read_text().splitlines(keepends=True)
        assert json.loads(kept[-1])["step"] == ("doubt" if is_in_doubt else "created")
        record.write_text("".join(kept[:-1]))
    bench.retries_unknown = bench.retries_failed = False
    bench.gateway.server.on_get(answer_json(prediction("old", output="done")))
    assert (bench.run("a").tally.done, bench.gateway.total) == (1, 0)


def test_a_fault_of_the_ledger_that_is_over_hides_nothing_that_is_paid_for(bench: Bench) -> None:
    """What it knows of items that are to be sent again is asked for all the same."""
    numbers = {key: bench.ledger.begin(SCHNELL, {"prompt": key}) for key in "ab"}
    for key, number in numbers.items():
        bench.ledger.accept(number, Prediction(f"id-{key}", "starting"))
    bench.ledger.see(Prediction("id-a", "succeeded", output="done"))
    with contextlib.closing(Record(bench.out, now=lambda: time.time() - 3700)) as record:
        record.open()
        record.add("created", "a", id="id-a")
    with contextlib.closing(Record(bench.out)) as record:
        record.open()
        record.add("sending", "b", entry=numbers["b"])
    bench.gateway.server.on("GET", "/replicate/v1/predictions/id-a", UNKNOWN)
    bench.gateway.server.on("GET", "/replicate/v1/predictions/id-b", answer_json(prediction("id-b", output="done")))
    bench.retries_failed = bench.retries_unknown = True
    bench.ledger.problem = errors.LocalFileError("it was held")
    assert (bench.run("a", "b").tally.done, bench.gateway.total) == (2, 0)


@pytest.mark.parametrize("question", ["ended", "create_of"])
def test_nothing_is_paid_for_again_while_the_ledger_cannot_be_asked(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, question: str
) -> None:
    """It may have the id, or the output; the next run asks it, and what is not asked for goes on."""
    number = bench.ledger.begin(SCHNELL, {"prompt": "a"})
    bench.ledger.accept(number, Prediction("id-a", "starting"))
    with contextlib.closing(Record(bench.out, now=lambda: time.time() - 3700)) as record:
        record.open()
        if question == "ended":
            record.add("created", "a", id="id-a")
        else:
            record.add("sending", "a", entry=number)
    bench.gateway.server.on("GET", "/replicate/v1/predictions/id-a", UNKNOWN)
    bench.retries_failed = bench.retries_unknown = True

    def hold(*_: Any) -> None:
        raise errors.LocalFileError("it is held", code="ledger")

    monkeypatch.setattr(bench.ledger, question, hold)
    ended = bench.run("a", "b")
    assert (ended.fatal, ended.tally.done, bench.gateway.creates) == (None, 1, {"b": 1})
    assert (ended.tally.left, ended.tally.unknown) == ((1, 0) if question == "ended" else (0, 1))
    assert any("it is held" in told for told in ended.first_failures)


@pytest.mark.parametrize("is_there", [True, False])
def test_an_id_is_looked_for_whatever_the_ledger_can_tell(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, *, is_there: bool
) -> None:
    """A look is free; only where it finds nothing the item would be sent again, and is not."""

    def hold(*_: Any) -> None:
        raise errors.LocalFileError("it is damaged", code="ledger")

    with contextlib.closing(Record(bench.out)) as record:
        record.open()
        record.add("sending", "a", entry=bench.ledger.begin(SCHNELL, {"prompt": "a"}))
        record.add("doubt", "a", id="perhaps", error="it broke off", exit_code=10)
    bench.gateway.server.on_get(answer_json(prediction("perhaps", output="done")) if is_there else UNKNOWN)
    bench.retries_unknown = True
    monkeypatch.setattr(bench.ledger, "create_of", hold)
    ended = bench.run("a")
    assert (ended.tally.done, ended.tally.unknown, bench.gateway.total) == (is_there, not is_there, 0)


@pytest.mark.parametrize("status", [402, 403, 405, 451])
def test_a_refused_look_is_no_reason_to_create_again(bench: Bench, status: int) -> None:
    """Something on the way may say so for an hour: the prediction runs, and is paid for."""
    with contextlib.closing(Record(bench.out, now=lambda: time.time() - 3700)) as record:
        record.open()
        record.add("created", "a", id=bench.api.create(SCHNELL, {"prompt": "a"}).id)
    creates = bench.gateway.total
    bench.gateway.server.on_get(answer_json({"detail": "no"}, status))
    bench.retries_failed = True
    assert (bench.run("a").tally.left, bench.gateway.total) == (1, creates)


@pytest.mark.parametrize("status", ["", "succeeded"])
def test_the_hour_of_a_prediction_does_not_begin_anew_behind_creates_in_vain(bench: Bench, status: str) -> None:
    """Once the account is topped up, the same command sends what is gone, however often it was tried."""
    with contextlib.closing(Record(bench.out, now=lambda: time.time() - 3700)) as record:
        record.open()
        record.add("created", "a", id="old")
        if status:
            record.add("ended", "a", id="old", status=status)
    bench.gateway.server.on("GET", "/replicate/v1/predictions/old", UNKNOWN)
    bench.retries_failed = True
    bench.gateway.server.on_create(answer_json({"detail": "no credit"}, 402))
    assert [bench.run("a").tally.left for _ in range(2)] == [1, 1]
    bench.gateway.server.on_create(bench.gateway.create)
    assert (bench.run("a").tally.done, bench.gateway.total) == (1, 1)


@pytest.mark.parametrize("before", EARLIER)
@pytest.mark.parametrize("room", [1, 2])
def test_a_full_disk_behind_a_create_in_vain_forgets_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, before: str, room: int
) -> None:
    """The ledger knows that the last create was refused, which tells nothing of the one before it."""
    with contextlib.closing(Record(bench.out)) as record:
        record.open()
        step, facts = EARLIER[before]
        record.add("sending", "a")
        record.add(step, "a", **facts)
    bench.retries_unknown = bench.retries_failed = True
    bench.gateway.server.on_create(answer_json({"detail": "no"}, 429))
    add, added = Record.add, []

    def add_some(self: Record, step: str, key: str, **facts: Any) -> None:
        added.append(step)
        if len(added) > room:
            raise errors.LocalFileError("no room")
        add(self, step, key, **facts)

    with monkeypatch.context() as patched:
        patched.setattr(Record, "add", add_some)
        bench.run("a")
    bench.gateway.server.on_create(bench.gateway.create)
    bench.retries_unknown = before == "failed"
    bench.retries_failed = before == "unknown"
    ended = bench.run("a")
    expected = {"unknown": (1, 0, 0), "failed": (0, 1, 0), "new": (0, 0, 1) if room == 2 else (0, 1, 0)}
    assert (ended.tally.unknown, ended.tally.failed, ended.tally.done) == expected[before]


def test_the_later_of_two_items_with_one_id_is_written_down_as_in_doubt(bench: Bench) -> None:
    """A death may come before the run that was answered so does it."""
    with contextlib.closing(Record(bench.out)) as record:
        record.open()
        for key in "ab":
            record.add("created", key, id="same")
    bench.gateway.server.on_get(answer_json(prediction("same", "failed")))
    assert bench.run("a", "b").tally.unknown == 1
    assert [bench.steps(key)[-1]["step"] for key in "ab"] == ["ended", "doubt"]


@pytest.mark.parametrize(
    ("answer", "step"),
    [
        (answer_json(prediction("late", "starting"), 201), "created"),
        (answer_json({"id": "late", "detail": "upstream timed out"}, 504), "doubt"),
    ],
    ids=["accepted", "in doubt"],
)
def test_the_id_of_a_create_is_kept_while_the_batch_is_held_up(bench: Bench, answer: Answer, step: str) -> None:
    """By a stdout that nobody reads, or a ledger that another process holds: a death then loses nothing."""
    may_answer = threading.Event()
    bench.gateway.server.on_create(bench.gateway.create, dataclasses.replace(answer, wait_for=may_answer))
    with bench.begun("a", "b", jobs=2) as (_, running):
        assert any(isinstance(event, Created) for event in running)
        may_answer.set()
        wait_until(
            lambda: (step, "late") in [(one["step"], one.get("id")) for key in "ab" for one in bench.steps(key)]
        )


@pytest.mark.parametrize(("reason", "is_known"), [(None, True), (errors.Stopped("SIGTERM", 143), False)])
def test_an_answer_is_waited_for_where_nobody_waits_for_the_end(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, reason: errors.Stopped | None, is_known: bool
) -> None:
    """As where stdout takes no more; behind a signal somebody does, and it has but a moment."""
    monkeypatch.setattr("cometrep.batch.run.STOP_GRACE_SECONDS", 0.0)
    may_answer = threading.Event()
    late = answer_json(prediction("late", "starting"), 201)
    bench.gateway.server.on_create(bench.gateway.create, dataclasses.replace(late, wait_for=may_answer))
    with bench.begun("a", "b", jobs=2) as (batch, running):
        assert any(isinstance(event, Created) for event in running)
        wait_until(lambda: batch.in_doubt == 1)
        if is_known:
            monkeypatch.setattr(batch._sender, "leave", may_answer.set)
        with pytest.raises(type(reason)) if reason else contextlib.nullcontext():
            running.throw(reason) if reason else running.close()
        assert (bench.ledger.entry("late") is not None) == is_known
        may_answer.set()


def test_a_ctrl_c_behind_what_ended_a_batch_cuts_its_wait_short(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody waits for its end then."""
    monkeypatch.setattr("cometrep.batch.run.STOP_GRACE_SECONDS", 0.0)
    monkeypatch.setattr("cometrep.batch.run._ANSWERS_SECONDS", 2.0 * TIMEOUT_SECONDS)
    late = answer_json(prediction("late", "starting"), 201, wait_for=threading.Event())
    bench.gateway.server.on_create(bench.gateway.create, late)
    with bench.begun("a", "b", jobs=2) as (batch, running):
        assert any(isinstance(event, Created) for event in running)
        wait_until(lambda: batch.in_doubt == 1)
        monkeypatch.setattr(batch._sender, "leave", batch.stop)
        within(TIMEOUT_SECONDS, running.close)
    assert batch.in_doubt == 1


def test_items_that_run_on_do_not_count_for_max_failures(bench: Bench) -> None:
    """A deadline that passes is no failure: they may succeed."""
    bench.max_failures, bench.deadline_seconds = 1, 0.01
    bench.gateway.looks = 10**9
    ended = bench.run("a", "b", "c")
    assert (ended.codes, ended.tally.left, bench.gateway.server.creates) == ({6: 3}, 3, 3)


@pytest.mark.parametrize("answer", [UNKNOWN, GONE], ids=["unknown", "gone"])
@pytest.mark.parametrize(("minutes", "failed", "left"), [(59, 0, 1), (61, 1, 0)])
def test_what_the_api_does_not_show_has_failed_after_its_hour_alone(
    bench: Bench, answer: Answer, minutes: int, failed: int, left: int
) -> None:
    """Within it a node of a gateway may know it yet, and --retry-failed would pay once more."""
    bench.gateway.server.on_get(*[answer] * 2, bench.gateway.look)
    with contextlib.closing(Record(bench.out, now=lambda: time.time() - 60 * minutes)) as record:
        record.open()
        record.add("created", "cat", id="gone")
    ended = bench.run("cat")
    assert (ended.tally.failed, ended.tally.left) == (failed, left)
    bench.retries_failed = True
    bench.run("cat")
    assert bench.gateway.server.creates == failed


def test_what_could_not_be_asked_for_has_not_failed_after_its_hour(bench: Bench) -> None:
    """With --retry-failed it is not paid for again: the API is down, and may show it yet."""
    with contextlib.closing(Record(bench.out)) as record:
        record.open()
        record.add("created", "a", id="id-a")
    bench.gateway.server.on_get(DOWN)
    bench.minutes_ahead, bench.retries_failed = 61, True
    tally = bench.run("a").tally
    assert (tally.failed, tally.left, bench.gateway.server.creates) == (0, 1, 0)


def test_an_outage_has_the_whole_retry_budget_whatever_was_before(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A create that was accepted ends the one before it."""
    bench.budget_seconds = 60.0
    create, outages = bench.api.create, ["a", "b"]

    def create_after_an_outage(model: str, values: Mapping[str, Any], **rest: Any) -> Prediction:
        if values["prompt"] in outages:
            outages.remove(values["prompt"])
            bench.ahead_seconds += 10  # and the pause is over
            raise errors.Temporary("no route")
        try:
            return create(model, values, **rest)
        finally:
            bench.ahead_seconds += 100

    monkeypatch.setattr(bench.api, "create", create_after_an_outage)
    ended = bench.run("a", "b")
    assert (ended.fatal, ended.tally.done, outages) == (None, 2, [])


def test_a_create_without_an_answer_ends_no_outage(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """By turns with creates that find no connection it would have a batch go on for ever, each one in doubt."""
    bench.budget_seconds = 60.0
    answers = [errors.CreateUnknown("it was lost"), errors.Temporary("no route")] * 10

    def create(*_: Any, **__: Any) -> Prediction:
        bench.ahead_seconds += 31.0  # and the pause is over
        raise answers.pop()

    monkeypatch.setattr(bench.api, "create", create)
    ended = bench.run(*"abcdefgh")
    assert (ended.fatal and ended.fatal.message, ended.tally.unknown) == ("no route", 1)


@pytest.mark.usefixtures("two_in_a_row")
def test_creates_without_a_connection_end_no_row_of_those_without_an_answer(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They show as little that the API answers."""
    bench.budget_seconds = 3600.0
    lost, refused = errors.CreateUnknown("it was lost"), errors.Temporary("no route")
    answers = [lost, refused, lost]

    def create(*_: Any, **__: Any) -> Prediction:
        bench.ahead_seconds += 31.0
        raise answers.pop()

    monkeypatch.setattr(bench.api, "create", create)
    ended = bench.run(*"abcd")
    assert (ended.fatal and ended.fatal.exit_code, ended.tally.unknown, answers) == (10, 2, [])


def test_a_batch_at_a_low_rate_ends_when_its_last_item_does(bench: Bench) -> None:
    """No create is to come, so none is waited for."""
    bench.pace = Pace(1 / 3600)
    assert bench.run("a").tally.done == 1


@pytest.mark.parametrize("has_entry", [True, False])
@pytest.mark.parametrize("step", ["created", "doubt"])
def test_what_was_sent_counts_where_its_line_is_another_one_now(
    bench: Bench, step: str, *, has_entry: bool
) -> None:
    """A picture of a cat is not told to be one of the dog that took its place; what nobody knows is not told."""
    if has_entry:
        number = bench.ledger.begin("an/other", {"prompt": "cat"})
        bench.ledger.accept(number, Prediction("id-k", "starting"))
    with contextlib.closing(Record(bench.out)) as record:
        record.open()
        record.add("sending", "k", model="an/other", input={"prompt": "cat"}, digest="other")
        record.add(step, "k", id="id-k")
    bench.gateway.server.on_get(answer_json(prediction("id-k", output="text", model="inner", input=None)))
    bench.run("k")
    sidecar = json.loads((bench.out / "id-k.cometrep.json").read_text())["prediction"]
    (ended,) = [event.prediction for event in bench.events if isinstance(event, ItemEnded)]
    assert ended
    asked = ("an/other", {"prompt": "cat"} if has_entry else None)
    assert [(ended.model, ended.input), (sidecar["model"], sidecar["input"])] == [asked] * 2


def test_what_is_open_waits_for_no_create(bench: Bench) -> None:
    """Nor for one that is to be sent again: its output may be gone when the pace lets that through."""
    server = bench.gateway.server
    with contextlib.closing(Record(bench.out)) as record:
        record.open()
        for key in ("lost", "ready"):
            record.add("created", key, id=f"id-{key}")
    server.on("GET", "/replicate/v1/predictions/id-lost", UNKNOWN)
    server.on_get(answer_json(prediction("id-ready", output=f"{server.url}/f/ready.webp")))
    server.on("GET", "/f/", Answer(200, picture(), WEBP))
    bench.retries_failed, bench.minutes_ahead, bench.pace = True, 61, Pace(1 / 3600)
    bench.pace.sent(bench.clock())
    with bench.begun("lost", "ready", "new", still_open=2) as (_, running):
        ended = next(event for event in running if isinstance(event, ItemEnded))
    assert (ended.key, ended.outcome, server.creates) == ("ready", "done", 0)


def test_what_is_open_and_does_not_end_keeps_no_other_from_its_look(bench: Bench) -> None:
    """However few items may be under way: what has ended is had within its hour, and nothing more is sent."""
    server, keys = bench.gateway.server, ("slow", "slower", "ready", "done")
    with contextlib.closing(Record(bench.out)) as record:
        record.open()
        for key in keys:
            record.add("created", key, id=f"id-{key}")
    for key in keys:
        status = "processing" if "slow" in key else "succeeded"
        answer = answer_json(prediction(f"id-{key}", status, output=key))
        server.on("GET", f"/replicate/v1/predictions/id-{key}", answer)
    bench.deadline_seconds = 10.0
    with bench.begun(*keys, "new", still_open=4) as (_, running):
        ended = (event.key for event in running if isinstance(event, ItemEnded))
        assert {next(ended), next(ended)} == {"ready", "done"}
        assert server.creates == 0


def test_what_is_open_is_looked_at_though_no_more_are_sent(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind the last failure of --max-failures too: it is paid for, and another run may come too late."""
    monkeypatch.setattr("cometrep.batch.run._OPEN_AT_ONCE", 1)
    server, keys = bench.gateway.server, ("bad", "ready")
    with contextlib.closing(Record(bench.out)) as record:
        record.open()
        for key in keys:
            record.add("created", key, id=f"id-{key}")
    server.on("GET", "/replicate/v1/predictions/id-bad", answer_json(prediction("id-bad", "failed")))
    server.on("GET", "/replicate/v1/predictions/id-ready", answer_json(prediction("id-ready", output="text")))
    bench.max_failures = 1
    ended = bench.run(*keys, "new", still_open=2)
    assert (ended.tally.failed, ended.tally.done, ended.tally.left, server.creates) == (1, 1, 1, 0)


def test_what_is_open_is_left_alone_where_the_batch_was_asked_to_stop(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is being looked at is finished, and no more than that."""
    monkeypatch.setattr("cometrep.batch.run._OPEN_AT_ONCE", 1)
    with contextlib.closing(Record(bench.out)) as record:
        record.open()
        for key in "ab":
            record.add("created", key, id=f"id-{key}")
    bench.gateway.server.on_get(answer_json(prediction("id-a", "failed")))
    with bench.begun("a", "b", still_open=2) as (made, running):
        for event in running:
            if isinstance(event, ItemEnded):
                made.stop()
    assert bench.gateway.server.count("GET") == 1


def test_a_path_that_has_come_since_its_item_was_taken_up_is_left_alone(bench: Bench) -> None:
    """With `--skip-existing` nothing is paid for then, however long it waited for its turn."""
    rules = bench.downloads.rules._replace(skips_existing=True)
    bench.downloads = Downloads(rules)
    bench.keeper = Keeper(Keeping(template="{key}.webp"), bench.downloads, bench.ledger)

    def there() -> None:
        (bench.out / "a.webp").write_bytes(b"mine")

    bench.check_folders = there  # type: ignore[method-assign]
    ended = bench.run("a")
    assert (ended.tally.skipped, bench.gateway.total) == (1, 0)


@pytest.mark.parametrize("comes", ["before", "meanwhile"])
def test_a_path_that_cannot_be_seen_ends_the_sending_alone(bench: Bench, comes: str) -> None:
    """What runs is finished and saved; whether the item is paid for already, nobody could tell."""
    rules = bench.downloads.rules._replace(skips_existing=True)
    bench.downloads = Downloads(rules)
    bench.keeper = Keeper(Keeping(template="{key}/x.webp"), bench.downloads, bench.ledger)

    def fail() -> None:
        (bench.out / "b").symlink_to("b")

    if comes == "before":
        bench.out.mkdir(exist_ok=True)
        fail()
    else:
        bench.check_folders = fail  # type: ignore[method-assign]
    ended = bench.run("a", "b", "c", jobs=1)
    assert (ended.tally.done, ended.tally.left, bench.gateway.total) == (1, 2, 1)
    assert isinstance(ended.fatal, errors.LocalFileError)
    assert ended.fatal.message.startswith("cannot see whether ")
    assert ended.fatal.hint.startswith("ls -ld ")


def test_nothing_is_paid_for_without_threads_to_look_and_save(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Creates might take all that the system gives."""
    start, started = threading.Thread.start, list[threading.Thread]()

    def first_alone(thread: threading.Thread) -> None:
        if "(_work)" in thread.name:  # of a call
            if started:
                raise RuntimeError("can't start new thread")
            started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", first_alone)
    ended = bench.run("a")
    assert (ended.fatal and ended.fatal.exit_code, bench.gateway.total) == (12, 0)


def test_a_look_that_is_throttled_slows_creates_down(bench: Bench) -> None:
    """The API's limit is one for both."""
    bench.budget_seconds = 60.0
    slow_down = answer_json({"detail": "slow down"}, 429, headers={"Retry-After": "0"})
    bench.gateway.server.on_get(slow_down, bench.gateway.look)
    assert bench.run("a").tally.done == 1
    assert bench.pace.rate_per_second is not None


def test_nothing_is_looked_at_while_the_api_asks_for_a_pause(bench: Bench) -> None:
    """Whichever look was told so: the others wait too."""
    bench.budget_seconds = 60.0
    server, pause_seconds = bench.gateway.server, 1.0
    told, later = list[float](), list[float]()
    bench.gateway.holds.clear()

    def slow_down(_: Received) -> Answer:
        wait_until(lambda: server.count("GET") > 1)  # the other one is being looked at
        told.append(time.monotonic())
        return answer_json({"detail": "slow down"}, 429, headers={"Retry-After": str(pause_seconds)})

    def look(request: Received) -> Answer:
        later.append(time.monotonic())
        if told and later[-1] >= told[0] + pause_seconds:
            bench.gateway.holds.set()
        return bench.gateway.look(request)

    server.on_get(slow_down, look)
    assert bench.run("a", "b", jobs=2).tally.done == 2
    gaps = [after - before for before, after in pairwise(sorted(later))]
    assert max(gaps) > pause_seconds / 2  # as some may have been on their way; without a pause 0.2 is usual


def test_no_more_is_created_than_files_are_saved(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outputs live an hour, and each prediction that waits for its turn is in memory."""
    monkeypatch.setattr("cometrep.batch.run.SAVES_AT_LEAST", 4)
    may_answer = threading.Event()
    slow = Answer(body=picture(), headers=WEBP, wait_for=may_answer)
    prompts = [f"p{number}" for number in range(20)]
    bench.gateway.file_answers = {prompt: [slow] for prompt in prompts}
    most = 0
    with bench.begun(*prompts, jobs=2) as (made, running):
        for event in running:
            if isinstance(event, Tally):
                most = max(most, event.saving)
                if event.saving >= 4 and not event.running:  # nothing goes on until a file has come
                    made.stop()
                    may_answer.set()
    assert may_answer.is_set()
    assert most == bench.gateway.total <= 5


class Failing(Keeper):
    """Keep nothing: every save comes to the same failure."""

    def __init__(self, bench: Bench, failure: errors.CometrepError) -> None:
        super().__init__(Keeping(), bench.downloads, bench.ledger)
        self._failure = failure

    def for_batch(self, folder: str) -> Keeper:
        """Give itself."""
        return self

    def for_item(self, key: str) -> Keeper:
        """Give itself."""
        return self

    def save(
        self, prediction: Prediction, look_again: LookAgain
    ) -> Generator[Event, None, tuple[list[SavedFile], errors.CometrepError | None]]:
        """Fail."""
        yield from ()
        return [], self._failure


def test_a_save_that_fails_as_a_whole_leaves_its_item(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch that took it for the answer to a look would wait for that save for ever."""

    def save(*_: object) -> Iterator[Event]:
        raise errors.LocalFileError("no room")
        yield

    monkeypatch.setattr(Keeper, "save", save)
    ended = bench.run("cat")
    assert (ended.codes, ended.tally.left, bench.steps("cat")[-1]["step"]) == ({12: 1}, 1, "left")


def test_what_the_ledger_alone_knows_is_an_earlier_runs(bench: Bench) -> None:
    """A power cut took its id from the record: that it cannot be saved counts for no more than that of others."""
    number = bench.ledger.begin(SCHNELL, {"prompt": "old"})
    bench.ledger.accept(number, Prediction("id-old", "starting"))
    with contextlib.closing(Record(bench.out)) as record:
        record.open()
        record.add("sending", "old", entry=number)
    bench.gateway.server.on("GET", "/replicate/v1/predictions/id-old", answer_json(prediction("id-old")))
    bench.keeper, bench.max_failures = Failing(bench, errors.Temporary("it broke off")), 1
    ended = bench.run("old")
    assert (bench.steps("old")[-1]["step"], ended.tally.is_stopping) == ("left", False)


def test_a_full_disk_at_a_save_ends_the_batch(bench: Bench) -> None:
    """No more is paid for than was under way when the first file could not be written."""
    bench.keeper = Failing(bench, errors.LocalFileError("no space", code="disk_full"))
    ended = bench.run(*(f"p{number}" for number in range(6)))
    assert ended.fatal
    assert (ended.fatal.code, ended.fatal.exit_code) == ("disk_full", 12)
    assert bench.gateway.total <= 2
    assert bench.steps("p0")[-1]["step"] == "left"


def test_a_full_disk_ends_a_batch_at_its_first_create_alone(bench: Bench) -> None:
    """What was done is told, what runs is finished, and nothing is sent whose outputs could not be saved."""
    bench.gateway.server.on_get(bench.gateway.look, DOWN, bench.gateway.look)
    assert bench.run("a", "b").tally.left == 1
    bench.unwritable = errors.LocalFileError("no room; nothing was sent", code="disk_full")
    ended = bench.run("a", "b")
    assert (ended.fatal, ended.tally.skipped, ended.tally.done) == (None, 1, 1)
    ended = bench.run("a", "b", "c", "d")
    assert (ended.fatal, ended.tally.skipped, ended.tally.left) == (bench.unwritable, 2, 2)
    assert bench.gateway.creates == {"a": 1, "b": 1}


@pytest.mark.parametrize("output", [None, ["data:image/png;base64,!!"]], ids=["none", "broken"])
def test_a_success_without_output_is_looked_at_again(
    bench: Bench, output: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the next run was asked: it may come late, and is paid for."""
    monkeypatch.setattr("cometrep.watch.EMPTY_PAUSE_SECONDS", 0.0)
    looks = 1 if output else 2
    empty = answer_json(prediction(f"item{0:022d}", output=output))
    bench.gateway.server.on_get(*[empty] * looks, bench.gateway.look)
    bench.retries_failed = True
    ended = bench.run("a")
    assert (ended.tally.left, ended.codes, bench.steps("a")[-1]["step"]) == (1, {11: 1}, "left")
    assert (bench.run("a").tally.done, bench.gateway.creates) == (1, {"a": 1})


@pytest.mark.parametrize("code", ["output_missing", "output_broken", "output_expired", "unsafe_url"])
def test_a_success_whose_output_stays_away_is_lost_after_its_hour(bench: Bench, code: str) -> None:
    """Then alone it is one to be sent again."""
    for minutes, step in [(0, "left"), (61, "lost")]:
        bench.minutes_ahead = minutes
        kind = errors.Refused if code == "unsafe_url" else errors.OutputMissing
        bench.keeper = Failing(bench, kind("there is no output", code=code))
        bench.run("a")
        assert bench.steps("a")[-1]["step"] == step
    assert bench.gateway.creates == {"a": 1}


def test_an_item_in_doubt_that_got_anothers_id_is_sent_again_where_that_is_asked_for(bench: Bench) -> None:
    """The ledger has the id of its create too, which is not to be waited for once more."""
    numbers = {key: bench.ledger.begin(SCHNELL, {"prompt": key}) for key in "ab"}
    for number in numbers.values():
        bench.ledger.accept(number, Prediction("one", "starting"))
    with contextlib.closing(Record(bench.out)) as record:
        record.open()
        for key, number in numbers.items():
            record.add("sending", key, entry=number)
            record.add("created", key, id="one")
    bench.gateway.server.on("GET", "/replicate/v1/predictions/one", answer_json(prediction("one", output="done")))
    bench.retries_unknown = True
    assert (bench.run("a", "b").tally.done, bench.gateway.creates) == (2, {"b": 1})


def test_two_items_whose_answers_broke_off_behind_one_id_are_in_doubt(bench: Bench) -> None:
    """The id is looked for once, as that of the first one."""
    server = bench.gateway.server
    server.on_create(answer_json({"task_id": "same"}, 504))

    def look(_: Received) -> Answer:
        wait_until(lambda: server.creates == 2)
        return UNKNOWN

    server.on_get(look)
    ended = bench.run("a", "b", jobs=2)
    assert (ended.tally.unknown, ended.codes) == (2, {10: 2})


def test_no_output_takes_the_records_place(bench: Bench) -> None:
    """With --overwrite neither: nobody would know what was paid for."""
    server = bench.gateway.server
    server.on("GET", "/lines.jsonl", Answer(body=b'{"a": 1}\n', headers={"Content-Type": "binary/octet-stream"}))
    server.on_get(answer_json(prediction(f"item{0:022d}", output=f"{server.url}/lines.jsonl")))
    downloads = Downloads(Rules(allows_local=True, max_size_bytes=10**9, overwrites=True))
    with contextlib.closing(downloads):
        bench.keeper = Keeper(Keeping(template="{key}.{ext}"), downloads, bench.ledger)
        assert bench.run("batch").tally.done == 1
    name = f"batch-item{0:022d}.jsonl"
    assert (bench.out / name).read_bytes() == b'{"a": 1}\n'
    assert bench.steps("batch")[-1]["files"][0]["path"] == name


def test_fresh_urls_are_no_warning(bench: Bench) -> None:
    """A file whose URL has expired is had from the next one: nobody has to know, nor the record."""
    bench.gateway.file_answers["a"] = [Answer(403)]
    assert bench.run("a").tally.done == 1
    assert "warnings" not in bench.steps("a")[-1]
    assert not [event for event in bench.events if isinstance(event, Noted)]


@pytest.mark.parametrize(
    ("template", "count", "where"),
    [
        ("", 1, "-d {out}"),
        ("", 12, "-d {out}"),
        ("sub/{id}.{ext}", 1, "-d {out}/sub"),
        ("{key}.{ext}", 1, "-o '{out}/a{{{{b}}}}.webp'"),
        ("{key}-{index}.{ext}", 12, "-o '{out}/a{{{{b}}}}-{{index}}.webp'"),
        ("{index}/x.{ext}", 2, "-o '{out}/{{index}}/x.webp'"),
    ],
)
def test_files_that_went_are_had_again_under_their_names(
    bench: Bench, template: str, count: int, where: str
) -> None:
    """By the command of the warning, of several too: others beside them would not end it."""
    bench.gateway.files_each = count
    bench.keeper = Keeper(Keeping(template=template), bench.downloads, bench.ledger)
    assert bench.run("a{b}").tally.done == 1
    for path in bench.out.rglob("*.webp"):
        path.unlink()
    bench.run("a{b}")
    (hint,) = [event.hint for event in bench.events if isinstance(event, Noted) and event.is_warning]
    assert hint == f"cometrep download {bench.gateway.id_of('a{b}')} {where.format(out=bench.out)} --overwrite"


def test_warnings_that_are_not_given_are_counted(bench: Bench) -> None:
    """Of each kind the first five are told: at the end, how many more there were."""
    prompts = [f"p{number}" for number in range(TIMES_TOLD + 2)]
    bench.run(*prompts)
    for path in bench.out.glob("*.webp"):
        path.unlink()
    bench.events.clear()
    bench.run(*prompts)
    told = [event.text for event in bench.events if isinstance(event, Noted) and event.is_warning]
    assert len(told) == TIMES_TOLD + 1
    assert told[-1] == "and 2 warnings more, of files that are not what was saved any more"


def refuse_step(refused: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no record take a step of this name."""
    add = Record.add

    def adding(record: Record, step: str, key: str, **facts: Any) -> None:
        if step == refused:
            raise errors.LocalFileError("no room", code="disk_full")
        add(record, step, key, **facts)

    monkeypatch.setattr(Record, "add", adding)


def test_a_step_that_cannot_be_recorded_is_told(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose it was and its id, by which it can be had all the same; what runs is finished, and no more is sent."""
    refuse_step("created", monkeypatch)
    ended = bench.run("a", "b")
    told = [event.text for event in bench.events if isinstance(event, Noted) and event.is_warning]
    (id,) = {event.id for event in bench.events if isinstance(event, Created)}
    assert told == [f"no room; this is not recorded: a: created {id}"]
    assert ended.fatal
    assert (ended.fatal.exit_code, ended.tally.done, bench.gateway.creates) == (12, 1, {"a": 1})


def test_a_doubt_that_cannot_be_recorded_is_told(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its item alone where there is no id."""
    refuse_step("doubt", monkeypatch)
    bench.gateway.server.on_create(RESET)
    bench.run("a")
    told = [event.text for event in bench.events if isinstance(event, Noted) and event.is_warning]
    assert told == ["no room; this is not recorded: a: doubt"]


def test_a_data_uri_of_an_input_is_recorded_and_told_by_its_digest(bench: Bench) -> None:
    """The record and what programs read of an item that was refused hold no whole pictures."""
    bench.gateway.server.on_create(answer_json({"detail": "no"}, 422))
    given = "data:image/png;base64,AAAA"
    bench.run(given)
    (told,) = [event.prediction for event in bench.events if isinstance(event, ItemEnded)]
    shown = {"prompt": shorten_data_uris(given)}
    assert told is not None
    assert [told.input, bench.steps(given)[0]["input"]] == [shown, shown]


def test_what_is_tried_again_is_told_by_item(bench: Bench) -> None:
    """How often each was sent is counted by itself, whatever became of others; its looks are named by it too."""
    slow = answer_json({"detail": "slow down"}, 429, headers={"Retry-After": "0"})
    bench.budget_seconds = TIMEOUT_SECONDS
    bench.pace = Pace(1000.0)
    bench.gateway.refusals.update(a=[slow] * 2, b=[slow])
    bench.gateway.server.on_get(DOWN, bench.gateway.look)
    assert bench.run("a", "b").tally.done == 2
    told = [(event.key, event.attempt, bool(event.id)) for event in bench.events if isinstance(event, Retrying)]
    assert [attempt for key, attempt, is_look in told if key == "a" and not is_look] == [1, 2]
    assert [attempt for key, attempt, is_look in told if key == "b" and not is_look] == [1]
    assert [attempt for key, attempt, is_look in told if is_look] == [1]
    assert {key for key, _, _ in told} == {"a", "b"}


@pytest.mark.parametrize(
    ("answer", "writer"),
    [
        (None, "accept"),
        (RESET, "doubt"),
        (answer_json({"detail": "x"}, 422), "refuse"),
        (answer_json({"detail": "x"}, 429), "refuse"),
    ],
    ids=["accepted", "in doubt", "refused", "not accepted"],
)
def test_a_batch_that_is_stopped_waits_little_for_a_ledger_that_is_held(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, answer: Answer | None, writer: str
) -> None:
    """What stops a service kills it some seconds later, and the record has it all."""
    patience: list[float | None] = []

    def hold(*_: Any, patience_seconds: float | None = None) -> None:
        patience.append(patience_seconds)
        raise errors.LocalFileError("locked")

    def create(request: Received) -> Answer:
        came.set()
        wait_until(lambda: made._sender.is_left)
        return answer or bench.gateway.create(request)

    came = threading.Event()
    bench.gateway.server.on_create(create)
    monkeypatch.setattr(bench.ledger, writer, hold)
    with bench.begun("a") as (made, running):
        while not came.is_set():
            next(running)
        with pytest.raises(errors.Stopped):
            running.throw(errors.Stopped("SIGTERM", 143))
    assert patience == [BRIEF_SECONDS]


def test_an_answer_that_comes_while_a_ledger_is_waited_for_is_no_doubt(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes up all of a stopped batch's moment, and the record has the ids of all creates by then."""
    asked, may_answer = threading.Event(), threading.Event()

    def create(request: Received) -> Answer:
        asked.set()
        assert may_answer.wait(TIMEOUT_SECONDS)
        return bench.gateway.create(request)

    def hold(*_: Any, **__: Any) -> None:
        may_answer.set()
        wait_until(lambda: bool(made._creates._untaken) or not made.in_doubt)
        bench.ahead_seconds += 10.0
        raise errors.LocalFileError("locked")

    bench.gateway.server.on_create(bench.gateway.create, create)
    monkeypatch.setattr(bench.ledger, "accept", hold)
    with bench.begun("a", "b", jobs=2) as (made, running):
        next(running)
        assert asked.wait(TIMEOUT_SECONDS)
        wait_until(lambda: bool(made._creates._untaken))
        with pytest.raises(errors.Stopped):
            running.throw(errors.Stopped("SIGTERM", 143))
        assert made.in_doubt == 0


@pytest.mark.parametrize("where", ["ledger", "connection"])
def test_a_create_that_waited_while_its_batch_was_left_is_not_sent(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """Whatever held it up: nobody is there any more who would hear of its id."""
    owner, name = (bench.ledger, "begin") if where == "ledger" else (bench.api, "create")
    go_on = getattr(owner, name)
    waits, may_go_on = threading.Event(), threading.Event()

    def held(*values: Any, **rest: Any) -> Any:
        waits.set()
        assert may_go_on.wait(TIMEOUT_SECONDS)
        return go_on(*values, **rest)

    monkeypatch.setattr(owner, name, held)
    monkeypatch.setattr("cometrep.batch.run.BRIEF_SECONDS", 0.0)
    with bench.begun("a") as (_, running):
        next(running)
        assert waits.wait(TIMEOUT_SECONDS)
        running.close()
        may_go_on.set()
        wait_until(lambda: [entry.status for entry in bench.ledger.entries()] == ["refused"])
    assert (bench.gateway.total, bench.steps("a")) == (0, [])


def test_a_create_stopped_as_its_entry_is_written_is_not_in_doubt(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a slow disk that takes a moment longer than all else: the ledger says in the end that it was not sent."""
    begin, waits, may_go_on = bench.ledger.begin, threading.Event(), threading.Event()

    def slow(*values: Any) -> int:
        entry = begin(*values)
        waits.set()
        assert may_go_on.wait(TIMEOUT_SECONDS)
        return entry

    monkeypatch.setattr(bench.ledger, "begin", slow)
    with bench.begun("a") as (made, running):
        next(running)
        assert waits.wait(TIMEOUT_SECONDS)
        answered = made._creates.next

        def go_on(_: float) -> Any:
            may_go_on.set()
            return answered(TIMEOUT_SECONDS)

        monkeypatch.setattr(made._creates, "next", go_on)
        with pytest.raises(errors.Stopped):
            running.throw(errors.Stopped("SIGTERM", 143))
        assert [entry.status for entry in bench.ledger.entries()] == ["refused"]
    assert (bench.gateway.total, bench.steps("a")) == (0, [])


@pytest.mark.parametrize(
    ("answer", "status", "is_told"),
    [
        (None, "starting", False),
        (RESET, "unknown", True),
        (answer_json({"detail": "x"}, 422), "refused", True),
        (answer_json({"detail": "x"}, 425), "refused", True),
    ],
    ids=["accepted", "in doubt", "refused", "not accepted"],
)
def test_what_came_of_a_create_is_written_also_behind_a_fault_of_the_ledger(
    bench: Bench, answer: Answer | None, status: str, is_told: bool
) -> None:
    """It could not be read or written a moment ago; what is paid for is tried all the same."""
    bench.ledger.problem = errors.LocalFileError("it was held")
    if answer:
        bench.gateway.server.on_create(answer)
    bench.run("a")
    (entry,) = bench.ledger.entries()
    assert (entry.status, bool(entry.id), bool(entry.error)) == (status, not answer, is_told)


def test_a_throttled_create_is_in_doubt_while_it_is_sent_again(bench: Bench) -> None:
    """A death in the next attempt leaves an entry that may have been billed."""
    bench.budget_seconds = 60.0
    statuses: list[str] = []

    def look(request: Received) -> Answer:
        statuses.extend(entry.status for entry in bench.ledger.entries())
        return bench.gateway.create(request)

    slow_down = answer_json({"detail": "slow down"}, 429, headers={"Retry-After": "0"})
    bench.gateway.server.on_create(slow_down, look)
    assert bench.run("a").tally.done == 1
    assert statuses == ["unknown"]


def test_a_throttled_create_is_not_sent_again_without_the_ledger(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its entry would say that nothing was created while it may be."""
    bench.budget_seconds = 60.0

    def fail(_: int) -> None:
        raise errors.LocalFileError("the ledger cannot be written", code="ledger")

    monkeypatch.setattr(bench.ledger, "send_again", fail)
    slow_down = answer_json({"detail": "slow down"}, 429, headers={"Retry-After": "0"})
    bench.gateway.server.on_create(slow_down, bench.gateway.create)
    ended = bench.run("a")
    assert ended.fatal
    assert (ended.fatal.exit_code, ended.tally.left, bench.gateway.server.creates) == (12, 1, 1)
    assert [step["step"] for step in bench.steps("a")] == ["sending", "unsent", "unsent"]


def test_a_page_that_cannot_be_written_hides_no_stop(bench: Bench) -> None:
    """What ended the batch is what is told."""

    def fail() -> None:
        raise errors.LocalFileError("no room")

    bench.publish = fail  # type: ignore[method-assign]
    with bench.begun("a") as (_, running):
        assert any(isinstance(event, Created) for event in running)
        with pytest.raises(errors.Stopped):
            running.throw(errors.Stopped("SIGTERM", 143))


def test_an_id_that_no_file_takes_is_told_where_the_batch_is_left_at_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is paid for, and a line on stderr is all that there is of it."""

    def refuse(*_: Any, **__: Any) -> None:
        raise errors.LocalFileError("no room")

    def create(request: Received) -> Answer:
        monkeypatch.setattr(Record, "add", refuse)
        monkeypatch.setattr(Ledger, "accept", refuse)
        came.set()
        wait_until(lambda: made._sender.is_left)
        return bench.gateway.create(request)

    came = threading.Event()
    bench.gateway.server.on_create(create)
    with bench.begun("a") as (made, running):
        while not came.is_set():
            next(running)
        told = running.throw(errors.Stopped("SIGTERM", 143))
        assert isinstance(told, Noted)
        assert told.text == f"no room; this is not recorded: a: created {bench.gateway.id_of('a')}"
        with pytest.raises(errors.Stopped):
            next(running)


def test_what_ran_in_this_run_foretells_the_next(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ledger is asked for earlier runs of a model once, and a batch may be its first one."""
    known: list[list[float]] = []

    def choose(runs: Sequence[float], **rest: Any) -> Schedule:
        known.append(list(runs))
        return schedule_for(runs, **rest)

    monkeypatch.setattr(following, "schedule_for", choose)
    ended = {"output": "done", "completed_at": "2026-03-12T08:00:07.123456789Z"}
    bench.gateway.server.on_get(lambda asked: answer_json(prediction(asked.path.rpartition("/")[2], **ended)))
    bench.run("a", "b", "c")
    assert known == [[], [7.0], [7.0, 7.0]]


def test_the_page_is_written_now_and_then(bench: Bench) -> None:
    """A batch may run for hours, and what is done is to be seen meanwhile."""

    def look(request: Received) -> Answer:
        bench.ahead_seconds += 60
        return bench.gateway.look(request)

    bench.gateway.server.on_get(look)
    bench.run("a", "b")
    assert bench.published == 3


def test_the_page_is_written_where_the_batch_is_left_at_once(bench: Bench) -> None:
    """It has what was saved before the signal came."""
    with bench.begun("a", "b") as (_, running):
        assert any(isinstance(event, ItemEnded) for event in running)
        assert bench.published == 0
        running.close()
    assert bench.published == 1
