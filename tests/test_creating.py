"""One create: what is sent, what its entry says, and what is told, whatever cuts in."""

import contextlib
import dataclasses
import sqlite3
import threading
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from cometrep import creating, errors, hints, sending
from cometrep.events import Created, Creating, Event, Noted, Result, Retrying, Slow
from cometrep.ledger import Ledger
from cometrep.prediction import Request
from cometrep.schedule import Patience
from tests.conftest import TIMEOUT_SECONDS, wait_until
from tests.servers import (
    HANG,
    RESET,
    SCHNELL,
    Answer,
    Received,
    Server,
    answer_html,
    answer_json,
    prediction,
)
from tests.workbench import REQUEST, Bench, SetUp

TOO_EARLY = answer_json({"detail": "x"}, 425)  # a create that was not accepted, and is not worth another attempt


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
    monkeypatch.setattr(creating, "SOON_SECONDS", 0.01)
    monkeypatch.setattr(creating, "SLOW_SECONDS", 0.01)
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
    monkeypatch.setattr(creating, "SOON_SECONDS", 0.01)
    monkeypatch.setattr(creating, "SLOW_SECONDS", 0.01)
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
    monkeypatch.setattr(creating, "SOON_SECONDS", 0.01)
    monkeypatch.setattr(creating, "SLOW_SECONDS", 0.01)
    monkeypatch.setattr(creating, "STOP_GRACE_SECONDS", 0.01)
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
    monkeypatch.setattr(creating, "SOON_SECONDS", 0.01)
    brief_seconds = 0.02
    monkeypatch.setattr(creating, "BRIEF_SECONDS", brief_seconds)
    begin, may_go_on = bench.ledger.begin, threading.Event()
    is_answered = sending.Sending.is_answered

    def slow(*values: Any) -> int:
        number = begin(*values)
        may_go_on.wait()
        return number

    def answered(self: sending.Sending, within_seconds: float) -> bool:
        if within_seconds != brief_seconds or is_slow:
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
    monkeypatch.setattr(creating, "SOON_SECONDS", 0.01)
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
    monkeypatch.setattr(creating, "SOON_SECONDS", 0.01)
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
    monkeypatch.setattr(creating, "BRIEF_SECONDS", 0.01)
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
    monkeypatch.setattr(creating, "BRIEF_SECONDS", 0.01)
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
    monkeypatch.setattr(creating, "SOON_SECONDS", 0.01)
    monkeypatch.setattr(creating, "BRIEF_SECONDS", 0.01)
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
    monkeypatch.setattr(creating, "SOON_SECONDS", 0.01)
    monkeypatch.setattr(creating, "SLOW_SECONDS", 0.01)
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
