"""From input to files on disk: what is sent, what is remembered, what is kept."""

import contextlib
import dataclasses
import functools
import hashlib
import json
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from cometrep import errors, hints, runner, sending
from cometrep.api import Api
from cometrep.config.values import ApiKey
from cometrep.download import Downloads, Rules
from cometrep.events import Created, Creating, Event, Events, Noted, Result, Retrying, Saved, Seen, Slow
from cometrep.keeping import Keeper, Keeping
from cometrep.ledger import Ledger
from cometrep.prediction import Prediction, Request
from cometrep.runner import Patience, Runner
from tests.conftest import TIMEOUT_SECONDS, wait_until
from tests.servers import (
    HANG,
    RESET,
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

REQUEST = Request(SCHNELL, {"prompt": "cat"})
TOO_EARLY = answer_json({"detail": "x"}, 425)  # a create that was not accepted, and is not worth another attempt


class Bench:
    """A runner of the scripted server, with a clock that only its own sleeping moves."""

    def __init__(
        self,
        server: Server,
        folder: Path,
        /,
        *,
        allows_local: bool = True,
        overwrites: bool = False,
        **keeping: Any,
    ) -> None:
        self.server = server
        self.folder = folder
        self.slept: list[float] = []
        self.now = 0.0
        self.api = Api(base_url=server.url, api_key=ApiKey("sk-test-12345678"), clock=lambda: 0.0)
        self.ledger = Ledger(folder / "ledger.sqlite3", base_url=server.url, is_sandbox=False)
        self.patience = Patience(deadline_seconds=600.0, retry_budget_seconds=60.0, interval_seconds=0.01)
        self.later = 0.0  # seconds that the time of day is ahead
        self.downloads = Downloads(
            Rules(allows_local=allows_local, max_size_bytes=10**9, overwrites=overwrites),
            sleep=self.sleep,
            random=lambda: 0.0,
        )
        keeping = {"folder": str(folder / "out"), **keeping}
        self.keeper = Keeper(Keeping(**keeping), self.downloads, self.ledger)
        self.events: list[Event] = []

    def close(self) -> None:
        self.ledger.close()
        self.downloads.close()
        self.api.close()

    @property
    def runner(self) -> Runner:
        """A runner as this bench is set up now."""
        return Runner(
            self.api,
            self.ledger,
            patience=self.patience,
            resume=hints.Command("cometrep download --wait"),
            keeper=self.keeper,
            clock=self.clock,
            now=lambda: time.time() + self.later,
            sleep=self.sleep,
            random=lambda: 0.0,
        )

    def clock(self) -> float:
        return time.monotonic() + self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def drain(self, events: Iterator[Event]) -> list[Event]:
        """Run a use case to its end, keeping what it yielded even where it raises."""
        for event in events:
            self.events.append(event)
        return self.events

    def entries(self) -> list[tuple[str, str]]:
        """Id and status of every entry, newest first."""
        return [(entry.id, entry.status) for entry in self.ledger.entries()]

    def saved(self) -> dict[str, bytes]:
        """The visible files in the folder to save in."""
        out = self.folder / "out"
        return {path.name: path.read_bytes() for path in sorted(out.iterdir())} if out.exists() else {}


SetUp = Callable[..., Bench]


@pytest.fixture
def set_up(server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SetUp]:
    """Make a runner with options of its own, closed when the test ends; no machine is too slow for its answers."""
    monkeypatch.setattr(runner, "SOON_SECONDS", 60.0)
    with contextlib.ExitStack() as opened:
        yield lambda **options: opened.enter_context(contextlib.closing(Bench(server, folder, **options)))


@pytest.fixture
def bench(set_up: SetUp) -> Bench:
    """A runner with default names."""
    return set_up()


def files_on(server: Server, *names: str) -> list[str]:
    """Serve a picture under each name, each of its own content, and give the URLs."""
    for number, name in enumerate(names):
        server.on("GET", f"/files/{number}/{name}", Answer(200, picture(2000, seed=number), TYPED))
    return [f"{server.url}/files/{number}/{name}" for number, name in enumerate(names)]


# Creating


@pytest.mark.parametrize(
    ("script", "error", "status"),
    [
        (RESET, errors.CreateUnknown, "unknown"),
        (answer_json(prediction("made1"), cut=30, then="reset"), errors.CreateUnknown, "unknown"),
        (answer_json({"ok": True}), errors.CreateUnknown, "unknown"),
        (answer_json({"detail": "x"}, 500), errors.CreateUnknown, "unknown"),
        (answer_html(524), errors.CreateUnknown, "unknown"),
        (answer_json({"detail": "x"}, 408), errors.CreateUnknown, "unknown"),
        (answer_html(200), errors.Refused, "refused"),
        (answer_json({"detail": "x"}, 422), errors.Refused, "refused"),
        (answer_json({"detail": "x"}, 401), errors.ConfigError, "refused"),
        (TOO_EARLY, errors.Temporary, "refused"),
        (Answer(303, headers={"Location": "/x"}), errors.CreateUnknown, "unknown"),
        (Answer(301, headers={"Location": "/x"}), errors.Refused, "refused"),
    ],
    ids=["reset", "cut", "no id", "500", "524", "408", "HTML", "422", "401", "425", "303", "301"],
)
def test_a_create_is_sent_once_and_its_entry_tells_how_it_ended(
    bench: Bench, script: Answer, error: type[errors.CometrepError], status: str
) -> None:
    """Whatever goes wrong after the request left, it is not sent again, and the ledger says what is known."""
    bench.server.on_create(script)
    with pytest.raises(error):
        bench.drain(bench.runner.run(REQUEST))
    assert bench.server.creates == 1
    assert [entry[1] for entry in bench.entries()] == [status]
    assert bench.slept == []


def test_a_refusal_that_names_an_input_tells_what_it_was(bench: Bench) -> None:
    """It names what was sent for it, what it takes and the command that shows all inputs."""
    bench.server.on_create(answer_json({"detail": "- input.num_outputs: too many"}, 422))
    with pytest.raises(errors.Refused, match=r"; num_outputs was 9, and it takes 1\.\.4$") as raised:
        bench.drain(bench.runner.create(Request(SCHNELL, {"prompt": "cat", "num_outputs": 9})))
    assert raised.value.hint == f"cometrep models {SCHNELL}"


def test_the_entry_stands_before_the_request_is_sent(bench: Bench) -> None:
    """When the server reads the create, the ledger already has its entry, marked unknown."""
    seen: list[list[tuple[str, str]]] = []

    def look(_: Received) -> Answer:
        other = Ledger(bench.folder / "ledger.sqlite3", base_url=bench.server.url, is_sandbox=False)
        seen.append([(entry.id, entry.status) for entry in other.entries()])
        other.close()
        return answer_json(prediction("made1", "starting"))

    bench.server.on_create(look)
    events = bench.drain(bench.runner.create(REQUEST))
    assert seen == [[("", "unknown")]]
    assert bench.entries() == [("made1", "starting")]
    assert [type(event) for event in events] == [Created, Result]


def test_a_429_is_sent_again_after_its_pause(bench: Bench) -> None:
    """A throttled create was not accepted: it is sent again after the pause the API asks for."""
    throttled = answer_json({"detail": "slow down"}, 429, headers={"Retry-After": "9"})
    bench.server.on_create(throttled, throttled, answer_json(prediction("made1", "starting")))
    events = bench.drain(bench.runner.create(REQUEST))
    assert bench.server.creates == 3
    assert bench.slept == [9.0, 9.0]
    assert [event.attempt for event in events if isinstance(event, Retrying)] == [1, 2]
    assert events[0] == Creating("", SCHNELL), "what is tried again is named, however soon the answer came"
    assert bench.entries() == [("made1", "starting")]


def test_a_throttled_create_is_in_doubt_only_while_it_is_sent(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A death in the pause leaves no entry that may have been billed; one in the next attempt does."""
    statuses: list[str] = []
    sleep = bench.sleep

    def pausing(seconds: float) -> None:
        statuses.append(bench.entries()[0][1])
        sleep(seconds)

    monkeypatch.setattr(bench, "sleep", pausing)

    def look(_: Received) -> Answer:
        other = Ledger(bench.folder / "ledger.sqlite3", base_url=bench.server.url, is_sandbox=False)
        statuses.extend(entry.status for entry in other.entries())
        other.close()
        return answer_json(prediction("made1", "starting"))

    bench.server.on_create(answer_json({"detail": "slow down"}, 429), look)
    bench.drain(bench.runner.create(REQUEST))
    assert statuses == ["refused", "unknown"]
    assert bench.entries() == [("made1", "starting")]


def test_a_throttled_create_is_not_sent_again_without_the_ledger(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its entry would say that nothing was created while it may be."""

    def fail(_: int) -> None:
        raise errors.LocalFileError("the ledger cannot be written", code="ledger")

    monkeypatch.setattr(bench.ledger, "send_again", fail)
    bench.server.on_create(answer_json({"detail": "slow down"}, 429), answer_json(prediction("made1", "starting")))
    with pytest.raises(errors.LocalFileError):
        bench.drain(bench.runner.create(REQUEST))
    assert bench.server.creates == 1
    assert bench.entries() == [("", "refused")]


@pytest.mark.parametrize(
    ("answer", "status"),
    [(RESET, "unknown"), (answer_json({"detail": "x"}, 422), "refused"), (TOO_EARLY, "refused")],
    ids=["in doubt", "refused", "not accepted"],
)
def test_how_a_create_ended_is_written_also_behind_a_fault_of_the_ledger(
    bench: Bench, answer: Answer, status: str
) -> None:
    """It could not be read or written a moment ago; what may be paid for is tried all the same."""
    bench.ledger.problem = errors.LocalFileError("it was held")
    bench.server.on_create(answer)
    with pytest.raises(errors.CometrepError):
        bench.drain(bench.runner.create(REQUEST))
    (entry,) = bench.ledger.entries()
    assert entry.status == status
    assert entry.error


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (RESET, errors.CreateUnknown),
        (answer_json({"detail": "x"}, 422), errors.Refused),
        (TOO_EARLY, errors.Temporary),
    ],
    ids=["in doubt", "refused", "not accepted"],
)
def test_how_a_create_ended_is_told_where_the_ledger_does_not_take_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, answer: Answer, error: type[errors.CometrepError]
) -> None:
    """What went wrong with the ledger behind it is less than that."""

    def fail(*_: object) -> None:
        raise errors.LocalFileError("the ledger cannot be written", code="ledger")

    monkeypatch.setattr(bench.ledger, "_mark", fail)
    bench.server.on_create(answer)
    with pytest.raises(error):
        bench.drain(bench.runner.create(REQUEST))
    assert bench.ledger.problem
    assert bench.entries() == [("", "unknown")]


def test_a_lasting_429_ends_within_the_retry_budget(bench: Bench) -> None:
    """Throttling that does not end is temporary, nothing was created, and the entry says refused."""
    bench.server.on_create(answer_json({"detail": "slow down"}, 429))
    with pytest.raises(errors.Temporary, match="nothing was created") as raised:
        bench.drain(bench.runner.create(REQUEST))
    assert raised.value.code == "rate_limited"
    assert sum(bench.slept) <= 60
    assert bench.entries() == [("", "refused")]


def test_an_absurdly_long_pause_is_not_waited_for(bench: Bench) -> None:
    """A Retry-After beyond the budget ends at once and is named."""
    bench.server.on_create(answer_json({"detail": "x"}, 429, headers={"Retry-After": "86400"}))
    with pytest.raises(errors.Temporary, match="asks to wait 24h"):
        bench.drain(bench.runner.create(REQUEST))
    assert bench.server.creates == 1
    assert bench.slept == []


@pytest.mark.parametrize(
    ("asked", "creates", "told"),
    [
        (4.0, 3, "3 attempts within the deadline of 10s"),
        (11.0, 1, "asks to wait 11s, longer than the deadline of 10s"),
    ],
)
def test_a_deadline_ends_the_attempts_of_a_run_to_create(
    bench: Bench, asked: float, creates: int, told: str
) -> None:
    """It is that of the whole wait: pauses do not go on behind it, and as nothing runs this is exit code 7."""
    bench.patience = Patience(deadline_seconds=10.0)
    bench.server.on_create(answer_json({"detail": "slow down"}, 429, headers={"Retry-After": str(asked)}))
    with pytest.raises(errors.Temporary, match=f"{told}.*nothing was created"):
        bench.drain(bench.runner.run(REQUEST))
    assert bench.server.creates == creates
    assert sum(bench.slept) <= 10.0


@pytest.mark.parametrize("seconds", [10.05, 12.0])
def test_the_seconds_of_a_create_count_towards_the_deadline(seconds: float, bench: Bench) -> None:
    """One that took longer is not cut off: its prediction is looked at once more, and runs on."""
    bench.patience = Patience(deadline_seconds=10.0)

    def slow(_: Received) -> Answer:
        bench.now += seconds
        return answer_json(prediction("made1", "starting"))

    bench.server.on_create(slow)
    bench.server.on_get(answer_json(prediction("made1", "processing")))
    with pytest.raises(
        errors.StillRunning, match="the deadline of 10s passed: prediction made1 is still processing"
    ):
        bench.drain(bench.runner.run(REQUEST))
    assert bench.server.count("GET") == 1


def test_no_connection_is_tried_again(bench: Bench) -> None:
    """A create that never left is repeated for a short while, then temporary with nothing created."""
    bench.server.__exit__()
    with pytest.raises(
        errors.Temporary, match=r" attempts within 15s without a connection\); nothing was created$"
    ):
        bench.drain(bench.runner.create(REQUEST))
    assert len(bench.slept) >= 3
    assert sum(bench.slept) <= 15.0
    assert bench.entries() == [("", "refused")]


@pytest.mark.parametrize("code", ["tls", "server_error"])
def test_what_is_not_worth_another_attempt_says_that_nothing_was_created(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    """As where TLS fails, or with a 425: it ends at once, and the same command is safe."""

    def refuse(*_: object, **__: object) -> None:
        failure = errors.Temporary("not now", hint="cometrep doctor", code=code)
        failure.is_worth_repeating = False
        raise failure

    monkeypatch.setattr(bench.api, "create", refuse)
    with pytest.raises(errors.Temporary, match=r"^not now; nothing was created$") as raised:
        bench.drain(bench.runner.create(REQUEST))
    assert (raised.value.code, raised.value.hint) == (code, "cometrep doctor")
    assert bench.slept == []
    assert bench.entries() == [("", "refused")]


def test_a_slow_create_is_said_to_be_slow(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the answer is awaited, the wait is told."""
    monkeypatch.setattr(runner, "SOON_SECONDS", 0.01)
    monkeypatch.setattr(runner, "SLOW_SECONDS", 0.01)
    release = threading.Event()
    bench.server.on_create(answer_json(prediction("made1", "starting"), wait_for=release))
    for event in bench.runner.create(REQUEST):
        bench.events.append(event)
        if isinstance(event, Slow):
            release.set()
    told = [type(event) for event in bench.events if not isinstance(event, Noted)]  # as of a slow ledger
    assert told[:2] == [Creating, Slow]
    assert bench.entries() == [("made1", "starting")]


def stop(events: Generator[Event, None, Any], said: list[Event] | None = None) -> None:
    """Stop a use case by a signal, and hear what it says until it raises that."""
    said = [] if said is None else said
    said.append(events.throw(errors.Stopped("Ctrl-C", 130)))
    said.extend(events)


def test_a_create_stopped_under_way_still_keeps_its_id(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while the create is under way waits a moment for the answer, and its id is in the ledger."""
    monkeypatch.setattr(runner, "SOON_SECONDS", 0.01)
    monkeypatch.setattr(runner, "SLOW_SECONDS", 0.01)
    release = threading.Event()
    bench.server.on_create(answer_json(prediction("made1", "starting"), wait_for=release))
    events = bench.runner.create(REQUEST)
    assert isinstance(next(events), Creating)
    assert any(isinstance(event, Slow) for event in events)  # behind a word of the ledger, where that is slow
    wait_until(lambda: bench.server.creates > 0)
    release.set()
    told: list[Event] = []
    with pytest.raises(errors.Stopped) as raised:
        stop(events, told)
    assert bench.entries() == [("made1", "starting")]
    assert raised.value.prediction_id == "made1"
    assert [(event.id, event.prediction.model) for event in told if isinstance(event, Created)] == [
        ("made1", SCHNELL)
    ]


def test_a_create_stopped_as_it_is_told_is_told_once(bench: Bench) -> None:
    """Its id is known by then."""
    bench.server.on_create(answer_json(prediction("made1", "starting")))
    events = bench.runner.create(REQUEST)
    assert any(isinstance(event, Created) for event in events)
    said: list[Event] = []
    with pytest.raises(errors.Stopped):
        stop(events, said)
    assert said == []


def test_a_create_stopped_without_an_answer_stays_unknown(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no answer comes in that moment, the entry stays unknown and the message says so."""
    monkeypatch.setattr(runner, "SOON_SECONDS", 0.01)
    monkeypatch.setattr(runner, "SLOW_SECONDS", 0.01)
    monkeypatch.setattr(runner, "STOP_GRACE_SECONDS", 0.01)
    bench.server.on_create(HANG)
    events = bench.runner.create(REQUEST)
    next(events)
    wait_until(lambda: bench.server.creates > 0)
    with pytest.raises(errors.Stopped) as raised:
        stop(events)
    assert "unknown" in raised.value.message
    assert bench.entries() == [("", "unknown")]


@pytest.mark.parametrize("is_slow", [False, True])
def test_a_create_stopped_before_it_left_is_none(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, *, is_slow: bool
) -> None:
    """Ctrl-C while its entry is written, or a connection made: it is not sent, and no entry stays in doubt."""
    monkeypatch.setattr(runner, "SOON_SECONDS", 0.01)
    monkeypatch.setattr(runner, "LEDGER_SECONDS", 0.02)
    begin, may_go_on = bench.ledger.begin, threading.Event()
    is_answered = sending.Sending.is_answered

    def slow(*values: Any) -> int:
        number = begin(*values)
        may_go_on.wait()
        return number

    def answered(self: sending.Sending, within_seconds: float) -> bool:
        if within_seconds != runner.LEDGER_SECONDS or is_slow:
            return is_answered(self, within_seconds)
        may_go_on.set()
        return is_answered(self, TIMEOUT_SECONDS)

    monkeypatch.setattr(bench.ledger, "begin", slow)
    monkeypatch.setattr(sending.Sending, "is_answered", answered)
    events = bench.runner.create(REQUEST)
    assert isinstance(next(events), Creating)
    wait_until(lambda: bench.entries() == [("", "unknown")])
    with pytest.raises(errors.Stopped, match="nothing was created: the command was stopped before") as raised:
        events.throw(errors.Stopped("Ctrl-C", 130))
    assert (raised.value.prediction_id, raised.value.hint) == (None, "")
    if is_slow:  # nothing more is waited for; what comes of it is written where the process is still there
        may_go_on.set()
        wait_until(lambda: bench.entries() == [("", "refused")])
    assert bench.entries() == [("", "refused")]
    assert bench.server.creates == 0


def test_a_create_stopped_and_refused_says_so(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the answer of that moment is a refusal there is no doubt left, and what was answered is told."""
    monkeypatch.setattr(runner, "SOON_SECONDS", 0.01)
    release = threading.Event()
    bench.server.on_create(answer_json({"detail": "slow down"}, 429, wait_for=release))
    events = bench.runner.create(REQUEST)
    assert isinstance(next(events), Creating)
    wait_until(lambda: bench.server.creates > 0)
    release.set()
    with pytest.raises(errors.Stopped, match=r"nothing was created: HTTP 429 .*slow down"):
        stop(events)
    assert bench.entries() == [("", "refused")]


def test_a_create_stopped_between_two_attempts_is_none(bench: Bench) -> None:
    """What the first one was answered is told, and the second one is not sent."""
    bench.server.on_create(answer_json({"detail": "slow down"}, 429))
    events = bench.runner.create(REQUEST)
    assert any(isinstance(event, Retrying) for event in events)
    with pytest.raises(errors.Stopped, match=r"nothing was created: HTTP 429 .*slow down"):
        stop(events)
    assert (bench.entries(), bench.server.creates) == ([("", "refused")], 1)


@pytest.mark.parametrize(
    ("doubt", "id", "hint"),
    [
        (Answer(then="reset", raw=b""), "", hints.LIST_UNKNOWN),
        (Answer(502), "", hints.LIST_UNKNOWN),
        (answer_json({"id": "made1", "status": "starting"}, 504), "made1", "cometrep download --wait made1"),
    ],
    ids=["reset", "502", "504 with an id"],
)
def test_a_create_stopped_and_then_in_doubt_stays_unknown(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, doubt: Answer, id: str, hint: str
) -> None:
    """What is known of it is kept and told as where nothing stops it, and that it may have to be paid for."""
    monkeypatch.setattr(runner, "SOON_SECONDS", 0.01)
    release = threading.Event()
    named = {**doubt.headers, "x-cometapi-request-id": "req-7"}
    bench.server.on_create(dataclasses.replace(doubt, headers=named, wait_for=release))
    events = bench.runner.create(REQUEST)
    assert isinstance(next(events), Creating)
    wait_until(lambda: bench.server.creates > 0)
    release.set()
    with pytest.raises(errors.Stopped, match="may exist and be billed") as raised:
        stop(events)
    assert (raised.value.exit_code, raised.value.prediction_id or "", raised.value.hint) == (130, id, hint)
    (entry,) = bench.ledger.entries()
    assert (entry.id, entry.status) == (id, "unknown")
    assert entry.request_id == (raised.value.request_id or "") == ("" if doubt.raw is not None else "req-7")
    assert entry.error in raised.value.message


def test_the_id_is_told_before_a_ledger_that_is_held_lets_go(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ledger has the last word as a rule; where another process holds it, people need not wait for the id."""
    monkeypatch.setattr(runner, "LEDGER_SECONDS", 0.01)
    holder = sqlite3.connect(bench.folder / "ledger.sqlite3", isolation_level=None, check_same_thread=False)

    def answer(_: Received) -> Answer:
        holder.execute("BEGIN EXCLUSIVE")
        return answer_json(prediction("made1", "starting"))

    bench.server.on_create(answer)
    events = bench.runner.create(REQUEST)
    assert any(isinstance(event, Created) for event in events)
    holder.execute("ROLLBACK")
    holder.close()
    assert [type(event) for event in events] == [Result]
    assert bench.entries() == [("made1", "starting")]


@contextlib.contextmanager
def held_when_answered(
    bench: Bench, answer: Answer, wait_for: threading.Event | None = None
) -> Iterator[Callable[[], None]]:
    """Let another process hold the ledger from the answer to a create on; give what lets it go.

    At the end nobody writes any more.
    """
    threads = set(threading.enumerate())
    holder = sqlite3.connect(bench.folder / "ledger.sqlite3", isolation_level=None, check_same_thread=False)

    def hold(_: Received) -> Answer:
        if wait_for:
            wait_for.wait()
        holder.execute("BEGIN IMMEDIATE")
        return answer

    def release() -> None:
        if holder.in_transaction:
            holder.execute("ROLLBACK")

    bench.server.on_create(hold)
    try:
        yield release
    finally:
        release()
        holder.close()
        wait_until(lambda: not [one for one in {*threading.enumerate()} - threads if "_work" in one.name])


@pytest.mark.parametrize(
    ("answer", "error", "entry"),
    [
        (answer_json({"id": "made1", "status": "starting"}, 504), errors.CreateUnknown, ("made1", "unknown")),
        (answer_json({"detail": "no cats"}, 422), errors.Refused, ("", "refused")),
        (TOO_EARLY, errors.Temporary, ("", "refused")),
    ],
    ids=["in doubt", "refused", "not accepted"],
)
def test_what_a_create_came_to_is_told_before_a_ledger_that_is_held_lets_go(
    bench: Bench,
    monkeypatch: pytest.MonkeyPatch,
    answer: Answer,
    error: type[errors.CometrepError],
    entry: tuple[str, str],
) -> None:
    """The id that is in doubt first of all; then it is written as ever."""
    monkeypatch.setattr(runner, "LEDGER_SECONDS", 0.01)
    with held_when_answered(bench, answer) as release:
        events = bench.runner.create(REQUEST)
        told = next(event for event in events if isinstance(event, Noted))
        assert (told.id, told.is_warning) == (entry[0], True)
        assert entry[0] in told.text
        assert "the ledger, which another process may hold, is waited for" in told.text
        release()
        with pytest.raises(error):
            list(events)
    assert bench.entries() == [entry]


def test_an_end_that_waits_for_a_ledger_that_is_held_is_told(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing else is said meanwhile, and its output is shown for an hour alone."""
    monkeypatch.setattr(runner, "LEDGER_SECONDS", 0.01)
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


def test_a_full_disk_is_not_told_as_a_ledger_that_is_held(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a create came to is told with that, and what is wrong with the ledger follows as its problem."""

    def fill(*_: Any, **__: Any) -> None:
        raise errors.LocalFileError("no space left", code="disk_full")

    monkeypatch.setattr(bench.ledger, "doubt", fill)
    bench.server.on_create(answer_json({"id": "made1", "status": "starting"}, 504))
    with pytest.raises(errors.CreateUnknown):
        bench.drain(bench.runner.create(REQUEST))
    (told,) = [event.text for event in bench.events if isinstance(event, Noted)]
    assert told.startswith("HTTP 504")
    assert "may hold" not in told
    assert bench.ledger.problem


@pytest.mark.parametrize(
    ("answer", "entry"),
    [
        (answer_json(prediction("made1", "starting")), ("made1", "starting")),
        (answer_json({"id": "made1", "status": "starting"}, 504), ("made1", "unknown")),
        (answer_json({"detail": "no cats"}, 422), ("", "refused")),
    ],
    ids=["accepted", "in doubt", "refused"],
)
@pytest.mark.parametrize("is_told", [True, False], ids=["behind it is told", "before"])
def test_a_stopped_create_tells_its_id_and_waits_little_for_a_ledger_that_is_held(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, answer: Answer, entry: tuple[str, str], *, is_told: bool
) -> None:
    """What stops a service kills it some seconds later."""
    monkeypatch.setattr(runner, "SOON_SECONDS", 0.01)
    monkeypatch.setattr(runner, "LEDGER_SECONDS", 0.01)
    may_answer = threading.Event()
    with held_when_answered(bench, answer, may_answer):
        events = bench.runner.create(REQUEST)
        said: list[Event] = []
        assert isinstance(next(events), Creating)
        wait_until(lambda: bench.server.creates > 0)
        may_answer.set()
        if is_told:
            said.append(next(event for event in events if isinstance(event, (Created, Noted))))
        with pytest.raises(errors.Stopped, match="ledger") as raised:
            stop(events, said)
        told = [event for event in said if isinstance(event, Created) or "may hold" in getattr(event, "text", "")]
        assert [event.id for event in told] == [entry[0]]
        assert raised.value.prediction_id == (entry[0] or None)
        assert bench.entries() == [("", "unknown")]


def test_a_create_whose_entry_cannot_be_written_yet_says_so_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is sent, and so no answer is slow."""
    monkeypatch.setattr(runner, "SOON_SECONDS", 0.01)
    monkeypatch.setattr(runner, "SLOW_SECONDS", 0.01)
    begin, waits = bench.ledger.begin, iter(range(3))
    may_go_on = threading.Event()
    monkeypatch.setattr(bench.ledger, "begin", lambda *values: may_go_on.wait() and begin(*values))
    bench.server.on_create(answer_json(prediction("made1", "starting")))
    is_answered = sending.Sending.is_answered

    def answered(self: sending.Sending, within_seconds: float) -> bool:
        if next(waits, None) is None:
            may_go_on.set()
        return is_answered(self, within_seconds)

    monkeypatch.setattr(sending.Sending, "is_answered", answered)
    events = bench.drain(bench.runner.create(REQUEST))
    texts = [event.text for event in events if isinstance(event, Noted)]
    assert texts == ["nothing is sent yet: the ledger, which another process may hold, is waited for"]
    assert isinstance(events[-1], Result)


def test_a_ledger_that_cannot_be_written_stops_a_create_before_it_is_sent(
    set_up: SetUp, server: Server, folder: Path
) -> None:
    """Without an entry nothing is sent: a paid prediction is never unrecorded."""
    (folder / "ledger.sqlite3").mkdir()
    bench = set_up()
    with pytest.raises(errors.LocalFileError, match="ledger"):
        bench.drain(bench.runner.create(REQUEST))
    assert server.received == []


def test_a_ledger_out_of_order_stops_no_download(set_up: SetUp, server: Server, folder: Path) -> None:
    """A finished prediction is saved even where the ledger is unusable, and the runner says so."""
    (folder / "ledger.sqlite3").mkdir()
    bench = set_up()
    server.on_get(answer_json(prediction(output=files_on(server, "out.webp")[0])))
    bench.drain(bench.runner.download(["abc123"], waits=False))
    assert list(bench.saved()) == ["abc123.webp"]
    assert bench.ledger.problem is not None


# Waiting


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
