"""Watching predictions in virtual time: what each answer, and each missing one, leads to, and when."""

import heapq
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cometrep import errors
from cometrep.calls import Calls
from cometrep.events import Event, Noted, Result, Retrying, Seen, Slow, Waiting
from cometrep.prediction import TERMINAL_STATUSES, Prediction
from cometrep.schedule import PollSchedule
from cometrep.watch import LOOKS_A_SECOND, NOT_FOUND_GRACE_SECONDS, Look, Target, Watch, watch

URL = "https://replicate.delivery/x/out-0.webp"


@dataclass(frozen=True)
class Step:
    """What one look meets: an answer or a failure, so many seconds after it was sent; infinity for never."""

    outcome: Prediction | errors.CometrepError
    seconds: float = 0.0


Script = Sequence[Step | Prediction | errors.CometrepError]


@dataclass
class World:
    """Virtual time and scripted looks; the last step of a script repeats."""

    scripts: dict[str, Script]
    now: float = 0.0
    looks: list[tuple[float, str]] = field(default_factory=list)
    random: float = 0.0
    seconds: float = 0.0  # that the look just sent will take
    busy_seconds: float = 0.0  # that the caller takes over each result

    def clock(self) -> float:
        """Give the time."""
        return self.now

    def look(self, id: str) -> Prediction:
        """Look at a prediction, as the script says."""
        script = self.scripts[id]
        sent = sum(looked == id for _, looked in self.looks)
        self.looks.append((self.now, id))
        step = script[min(sent, len(script) - 1)]
        step = step if isinstance(step, Step) else Step(step)
        self.seconds = step.seconds
        if isinstance(step.outcome, Prediction):
            return step.outcome._replace(id=id)  # as the API client does
        raise step.outcome

    def times(self, id: str = "p1") -> list[float]:
        """List when a prediction was looked at."""
        return [round(at, 6) for at, looked in self.looks if looked == id]

    def watch(
        self,
        *targets: Target,
        deadline: float | None = 1800.0,
        budget: float = 60.0,
        interval: float | None = None,
        until_answered: bool = False,
    ) -> list[tuple[float, Event]]:
        """Watch to the end, and list each event with its time."""
        found: list[tuple[float, Event]] = []
        for event in watch(
            self.look,
            targets or [Target(id) for id in self.scripts],
            deadline_seconds=deadline,
            retry_budget_seconds=budget,
            schedule_of=lambda _: PollSchedule(interval),
            until_answered=until_answered,
            calls=FakeCalls(self),
            clock=self.clock,
            random=lambda: self.random,
        ):
            found.append((round(self.now, 6), event))
            self.now += self.busy_seconds if isinstance(event, Result) else 0.0
            assert len(found) < 10_000
        return found


class FakeCalls(Calls[Look, Prediction]):
    """Calls in virtual time: waiting for an answer moves the clock."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._due: list[tuple[float, int, Look, Prediction | errors.CometrepError]] = []
        self._count = 0

    def submit(self, key: Look, call: Callable[[], Prediction]) -> None:
        """Send a look; what it meets is known at once, and told when its time has come."""
        answer: Prediction | errors.CometrepError
        try:
            answer = call()
        except errors.CometrepError as failure:
            answer = failure
        self._count += 1
        heapq.heappush(self._due, (self._world.now + self._world.seconds, self._count, key, answer))

    def next(self, timeout_seconds: float) -> tuple[Look, Prediction | errors.CometrepError] | None:
        """Move the clock to the next answer, or by the timeout."""
        until = self._world.now + timeout_seconds
        if self._due and self._due[0][0] <= until:
            at, _, key, answer = heapq.heappop(self._due)
            self._world.now = max(self._world.now, at)
            return key, answer
        if timeout_seconds:
            self._world.now = max(until, math.nextafter(self._world.now, math.inf))
        return None


def running(status: str = "processing", **rest: object) -> Prediction:
    """Make what a look shows while a prediction runs."""
    return Prediction.from_json({"id": "p1", "status": status, **rest})


def done(output: object = URL, **rest: object) -> Prediction:
    """Make what a look shows at the end."""
    return Prediction.from_json({"id": "p1", "status": "succeeded", "output": output, **rest})


def temporary(
    code: str = "network", *, retry_after: float | None = None, may_repeat: bool = True
) -> errors.Temporary:
    """Make a failure that may pass."""
    failure = errors.Temporary("cannot reach it", code=code, request_id="r1", http_status=503)
    failure.retry_after_seconds = retry_after
    failure.is_worth_repeating = may_repeat
    return failure


NOT_FOUND = errors.Refused("no prediction p1 there", code="prediction_not_found", http_status=404)
DOUBTFUL = errors.Refused("task not found", code="prediction_not_found", http_status=500)
WEB_PAGE = temporary("not_an_api")
NEVER = math.inf


def of(kind: type[Event], events: Sequence[tuple[float, Event]]) -> list[tuple[float, Event]]:
    """Pick the events of one kind."""
    return [(at, event) for at, event in events if isinstance(event, kind)]


def times_of(kind: type[Event], events: Sequence[tuple[float, Event]]) -> list[float]:
    """List when events of one kind came."""
    return [at for at, _ in of(kind, events)]


def result_of(events: Sequence[tuple[float, Event]], id: str = "p1") -> Result:
    """Give the one result of a prediction."""
    (result,) = [event for _, event in events if isinstance(event, Result) and event.id == id]
    return result


def failure_of(events: Sequence[tuple[float, Event]], id: str = "p1") -> errors.CometrepError:
    """Give the failure that a prediction's watch ended with."""
    failure = result_of(events, id).failure
    assert failure is not None
    return failure


# Looking


def test_the_schedule_is_adaptive() -> None:
    """Looks are dense at first, counted from their starts; later an interval lies behind each answer."""
    world = World({"p1": [Step(running(), 0.1)]})
    world.watch(deadline=6.0)
    dense = [0.0, 0.2, 0.4, 0.68, 0.96, 1.24, 1.52, 1.8, 2.08, 2.36]
    steady = [dense[-1] + 0.6 * number for number in range(1, 7)]
    assert world.times() == pytest.approx([*dense, *steady], abs=1e-5)


def test_a_dense_look_waits_for_the_answer_before_it() -> None:
    """A round trip longer than the interval has one look under way at a time."""
    world = World({"p1": [Step(running(), 0.3)]})
    world.watch(deadline=2.0)
    assert world.times()[:5] == [0.0, 0.3, 0.6, 0.9, 1.2]


def test_looks_get_rare_in_a_long_wait() -> None:
    """Late in a long wait there is a look in ten seconds, and never fewer."""
    world = World({"p1": [running()]})
    world.watch(deadline=3600.0)
    pauses = [later - earlier for earlier, later in pairwise(world.times())]
    assert pauses[-1] == pytest.approx(10.0)
    assert 0.2 - 1e-6 <= min(pauses) <= max(pauses) <= 10.0 + 1e-6
    assert len(pauses) < 1200


def test_a_fixed_interval_is_kept() -> None:
    """With --interval looks come at that pause from the start."""
    world = World({"p1": [running()]})
    world.watch(deadline=10.0, interval=3.0)
    assert world.times() == [0.0, 3.0, 6.0, 9.0]


def test_the_first_look_may_be_put_off() -> None:
    """Where the answer to a create told the status, the first look comes after the schedule's first pause."""
    world = World({"p1": [done()]})
    events = world.watch(Target("p1", told=Prediction("p1", "starting")))
    assert world.times() == [0.14]
    assert result_of(events).elapsed_seconds == pytest.approx(0.14)


def test_the_answer_to_a_create_is_the_status_until_another_is_seen() -> None:
    """A deadline before the first look says what is known."""
    world = World({"p1": [running()]})
    told = failure_of(world.watch(Target("p1", told=Prediction("p1", "starting")), deadline=0.1)).message
    assert "still starting" in told


@pytest.mark.parametrize("status", sorted(TERMINAL_STATUSES))
def test_a_create_that_is_answered_with_the_end_is_not_looked_at(status: str) -> None:
    """No further change is possible, and a look that lags behind, or is refused, must not take it back."""
    world = World({"p1": [running()]})
    told = Prediction("p1", status, output="x" if status == "succeeded" else None)
    result = result_of(world.watch(Target("p1", told=told)))
    assert (result.prediction, result.failure, world.times()) == (told, None, [])


@pytest.mark.parametrize("spent_seconds", [3.0, 1.9, 1.6])
def test_a_create_that_took_most_of_the_deadline_and_told_of_success_alone_is_looked_at(
    spent_seconds: float,
) -> None:
    """Once: its output has come meanwhile, and is saved."""
    world = World({"p1": [done()]})
    target = Target("p1", told=Prediction("p1", "succeeded"), spent_seconds=spent_seconds)
    assert result_of(world.watch(target, deadline=2.0)).prediction == done()
    assert len(world.times()) == 1


def test_a_create_that_is_answered_with_success_alone_is_looked_at() -> None:
    """Its output may be a moment late, and the word may be that of the create itself."""
    world = World({"p1": [running(), done()]})
    events = world.watch(Target("p1", told=Prediction("p1", "succeeded")))
    assert result_of(events).prediction == done()
    assert len(world.times()) == 2


def test_each_change_is_seen_once() -> None:
    """A look that shows nothing new yields nothing; status, progress and logs are what is new."""
    steps = [
        running("starting"),
        running("starting"),
        running("processing"),
        running("processing", logs=" 50%|"),
        running("processing", logs=" 50%|"),
        running("processing", logs=" 50%|\nmore"),
        done(),
    ]
    events = World({"p1": steps}).watch()
    seen = [event.prediction for _, event in events if isinstance(event, Seen)]
    assert seen == [steps[0], steps[2], steps[3], steps[5], steps[6]]
    assert result_of(events).prediction == steps[-1]
    assert result_of(events).failure is None
    assert isinstance(events[-1][1], Result)


@pytest.mark.parametrize("status", ["succeeded", "failed", "canceled", "aborted"])
def test_every_terminal_status_ends_the_watch(status: str) -> None:
    """A prediction that ended is not looked at again, and how it ended is not the watch's failure."""
    world = World({"p1": [running(), running(status, output=URL)]})
    result = result_of(world.watch())
    assert len(world.looks) == 2
    assert result.failure is None
    assert result.prediction is not None
    assert result.prediction.status == status


def test_an_unknown_status_is_polled_on() -> None:
    """A word that nobody knows is no end."""
    world = World({"p1": [running("warming_up"), running("MODERATING"), done()]})
    events = world.watch()
    assert [event.prediction.status for _, event in events if isinstance(event, Seen)] == [
        "warming_up",
        "MODERATING",
        "succeeded",
    ]
    assert result_of(events).failure is None


def test_an_unknown_status_is_not_said_to_run_on() -> None:
    """It may be the end, in a word of the server's own: that is quoted at the deadline."""
    told = failure_of(World({"p1": [running("done")]}).watch(deadline=5.0))
    assert isinstance(told, errors.StillRunning)
    assert told.message == (
        "the deadline of 5s passed: prediction p1 is 'done', a status that counts as running; it may still run"
    )


def test_one_answer_is_enough_where_nobody_waits() -> None:
    """With `until_answered` the first good answer is the end, whatever the status."""
    world = World({"p1": [temporary(), running()]})
    events = world.watch(until_answered=True, deadline=None)
    assert len(world.looks) == 2
    assert result_of(events).prediction == running()


def test_one_look_stays_one() -> None:
    """Where nobody waits even a success without output is looked at once."""
    world = World({"p1": [done(output=None), done()]})
    assert result_of(world.watch(until_answered=True, deadline=None)).prediction == done(output=None)
    assert len(world.looks) == 1


@pytest.mark.parametrize("empty", [None, "", [], [None], {"image": None}], ids=str)
def test_a_success_without_output_is_looked_at_once_more(empty: object) -> None:
    """A gateway's word can be a poll ahead of the output, so an empty success gets a second look after a second."""
    world = World({"p1": [done(output=empty), done()]})
    events = world.watch()
    assert world.times() == [0.0, 1.0]
    assert result_of(events).prediction == done()


def test_a_success_that_stays_empty_ends() -> None:
    """After the second look an empty success is the end."""
    world = World({"p1": [running(), done(output=None)]})
    events = world.watch()
    assert world.times() == [0.0, 0.2, 1.2]
    assert result_of(events).prediction == done(output=None)


def test_a_success_that_was_called_too_early_is_polled_on() -> None:
    """Where the second look shows that the prediction still runs, the wait goes on."""
    world = World({"p1": [done(output=None), running(), running(), done()]})
    assert result_of(world.watch()).prediction == done()
    assert len(world.looks) == 4


@pytest.mark.parametrize(
    "end",
    [done(output=None, data_removed=True), done(output=[0]), done(output=False)],
    ids=["removed", "0", "false"],
)
def test_a_success_that_gains_no_output_ends_at_once(end: Prediction) -> None:
    """Removed data will not come back, and a number or a word is an output."""
    world = World({"p1": [end]})
    assert result_of(world.watch()).prediction == end
    assert len(world.looks) == 1


# What a gateway gave up


def given_up() -> Prediction:
    """Make what a look shows of a prediction that runs in a record that says that it failed."""
    inner = {"id": "p1", "status": "processing"}
    return Prediction.from_json({"data": {"status": "FAILURE", "fail_reason": "timed out", "data": inner}})


def test_a_record_that_says_failed_for_a_poll_is_no_word_worth() -> None:
    """The prediction inside counts, as the two may disagree for a moment."""
    world = World({"p1": [given_up(), given_up(), running(), done()]})
    events = world.watch()
    assert result_of(events).prediction == done()
    assert of(Noted, events) == []


def test_a_record_that_says_failed_for_long_is_told_once_and_ends_nothing() -> None:
    """A gateway that gave a task up may ask for it no more; what is paid for may come all the same."""
    world = World({"p1": [running(), *[given_up()] * 20, done()]})
    events = world.watch(interval=7.0)
    ((at, told),) = of(Noted, events)
    assert at == 7.0 + 21.0
    assert isinstance(told, Noted)
    assert told.is_warning
    assert told.text == (
        "the gateway's record of p1 says that it failed: timed out; the prediction in it is processing"
    )
    assert result_of(events).prediction == done()


def test_one_look_tells_what_the_record_says() -> None:
    """Nobody looks on."""
    events = World({"p1": [given_up()]}).watch(until_answered=True)
    assert [event.text.partition(":")[0] for _, event in events if isinstance(event, Noted)] == [
        "the gateway's record of p1 says that it failed"
    ]


def test_the_deadline_tells_what_the_record_says() -> None:
    """Who is to wait again knows that it may be in vain."""
    failure = failure_of(World({"p1": [given_up()]}).watch(deadline=5.0))
    assert failure.exit_code == 6
    assert failure.message.endswith(
        "is still processing, and the gateway's record of it says that it failed: timed out; it may still run"
    )


# Slow looks


def test_a_slow_look_is_said_and_joined_by_a_second() -> None:
    """After 5 s without an answer a look is called slow, at 10 s another goes beside it and its answer counts."""
    world = World({"p1": [Step(running("starting"), 44.0), Step(done(), 0.5)]})
    events = world.watch()
    assert world.times() == [0.0, 10.0]
    assert of(Slow, events)[0] == (5.0, Slow("p1", 5.0))
    assert times_of(Result, events) == [10.5]
    assert result_of(events).prediction == done()


def test_at_most_three_looks_hang_at_once() -> None:
    """A server that answers nothing is not buried in looks; the slowness is said again and again."""
    world = World({"p1": [Step(done(), NEVER)]})
    events = world.watch(deadline=100.0)
    assert world.times() == [0.0, 10.0, 20.0]
    slow = times_of(Slow, events)
    assert slow[:3] == [5.0, 10.0, 15.0]
    assert all(later - earlier <= 5.0 + 1e-6 for earlier, later in pairwise(slow))


def test_looks_that_hang_until_they_time_out_are_one_silence() -> None:
    """It is counted from the first of them, however many end without an answer; the error counts them all."""
    silence = errors.Temporary("cannot reach it: no answer in time", code="network")
    world = World({"p1": [running(), Step(silence, 75.0)]})
    events = world.watch(interval=10.0)
    slow = [(at, event.seconds) for at, event in events if isinstance(event, Slow)]
    assert slow[0] == (15.0, 5.0)
    assert slow[-1][0] > 75.0
    assert {at - seconds for at, seconds in slow} == {10.0}
    ended = times_of(Result, events)[0]
    failed = sum(at + 75.0 <= ended for at in world.times()[1:])
    assert failed > 3
    assert f"; {failed} attempts failed and" in failure_of(events).message


def test_an_answer_ends_the_silence() -> None:
    """Be it to a look behind one that hangs, or an error of the API's own."""
    world = World({"p1": [Step(running(), NEVER), *[running()] * 9, done()]})
    assert times_of(Slow, world.watch(interval=5.0)) == [5.0, 10.0]
    world = World({"p1": [Step(temporary("server_error"), 6.0), Step(done(), 6.0)]})
    assert [event.seconds for _, event in world.watch() if isinstance(event, Slow)] == [5.0, 5.0]


def test_hanging_looks_do_not_move_the_deadline() -> None:
    """The deadline counts from the start, and comes on time while every look hangs."""
    world = World({"p1": [Step(done(), NEVER)]})
    events = world.watch(deadline=17.25)
    assert events[-1][0] == 17.25
    assert isinstance(failure_of(events), errors.StillRunning)
    assert "is not seen yet, the last look has no answer yet" in failure_of(events).message


def test_an_overtaken_answer_is_stale() -> None:
    """An answer that a later look has overtaken changes nothing, be it an older status or a failure."""
    for late in (running("starting"), temporary(), errors.ConfigError("401"), NOT_FOUND):
        world = World({"p1": [Step(late, 15.0), Step(running(), 0.5), Step(running(), 30.0), done()]})
        events = world.watch()
        assert [event.prediction.status for _, event in events if isinstance(event, Seen)] == [
            "processing",
            "succeeded",
        ]
        assert of(Retrying, events) == []
        assert result_of(events).prediction == done()


def test_an_overtaken_answer_makes_room_for_another_look() -> None:
    """Three looks are under way, and the oldest is answered: the two that hang hold up nothing."""
    hanging = Step(running(), 300.0)
    world = World({"p1": [Step(running(), 35.0), Step(running(), 12.0), hanging, hanging, done()]})
    events = world.watch()
    assert world.times()[:3] == [0.0, 10.0, 20.0]
    assert times_of(Result, events) == [45.0]


def test_where_no_thread_is_to_be_had_it_says_which_predictions_are_left() -> None:
    """What was paid for is named, with the command that goes on."""

    class NoThreads(FakeCalls):
        def submit(self, key: Look, call: Callable[[], Prediction]) -> None:
            """Refuse, as `Calls` does where the system gives not even one thread."""
            raise errors.no_thread(RuntimeError("there are too many"))

    world = World({"p1": [done()], "p2": [done()]})
    with pytest.raises(errors.LocalFileError, match="prediction p1: the system gives no thread") as raised:
        list(
            watch(
                world.look,
                [Target("p1"), Target("p2")],
                deadline_seconds=None,
                retry_budget_seconds=60.0,
                schedule_of=lambda _: PollSchedule(),
                calls=NoThreads(world),
                clock=world.clock,
            )
        )
    assert (raised.value.prediction_id, raised.value.hint) == ("p1", "cometrep wait p1 p2")


def test_a_failure_beside_a_look_under_way_is_not_yet_one() -> None:
    """While another look may still bring an answer, a passing failure is no attempt."""
    world = World({"p1": [Step(temporary(), 12.0), Step(done(), 5.0)]})
    events = world.watch()
    assert of(Retrying, events) == []
    assert times_of(Result, events) == [15.0]
    assert result_of(events).failure is None


def test_looks_that_all_fail_are_attempts() -> None:
    """Where the last look under way fails too, the attempt has failed."""
    world = World({"p1": [Step(temporary(), 12.0), Step(temporary(), 5.0), done()]})
    events = world.watch()
    assert times_of(Retrying, events) == [15.0]
    assert world.times() == [0.0, 10.0, 15.25]


def test_looks_that_take_long_to_fail_end_with_the_budget() -> None:
    """There is always another one under way then, which holds the end up no longer than the budget lasts."""
    world = World({"p1": [Step(temporary(), 12.0)]})
    events = world.watch(budget=60.0)
    assert isinstance(failure_of(events), errors.Temporary)
    assert 60.0 <= times_of(Result, events)[0] <= 12.0 + 60.0 + 12.0
    good = [Step(temporary(), 12.0)] * 5 + [Step(running(), 12.0)]
    world = World({"p1": [*good, *good, Step(done(), 1.0)]})
    assert result_of(world.watch(budget=60.0)).failure is None  # a good answer in between begins it anew


# Deadline


@pytest.mark.parametrize("deadline", [0.1, 0.2, 7.3, 60.0, 1800.0])
def test_the_deadline_is_kept_exactly(deadline: float) -> None:
    """The wait ends at its deadline, not at the look after it; the message says how to go on."""
    world = World({"p1": [running()]})
    events = world.watch(deadline=deadline)
    assert events[-1][0] == deadline
    assert result_of(events).elapsed_seconds == pytest.approx(deadline)
    assert result_of(events).prediction == running()
    failure = failure_of(events)
    assert isinstance(failure, errors.StillRunning)
    assert (failure.exit_code, failure.code, failure.hint) == (6, "deadline", "cometrep wait p1")
    assert failure.prediction_id == "p1"


def test_the_deadline_s_message() -> None:
    """The message names the deadline, the id, and what was seen last."""
    events = World({"p1": [running("starting")]}).watch(deadline=90.0)
    assert failure_of(events).message == (
        "the deadline of 1m30s passed: prediction p1 is still starting; it runs on"
    )


def test_without_a_deadline_the_wait_goes_on() -> None:
    """Where no deadline is set a wait lasts as long as the prediction."""
    world = World({"p1": [running()] * 400 + [done()]})
    assert result_of(world.watch(deadline=None, interval=60.0)).elapsed_seconds == 24_000.0


# Failed looks


def test_failed_looks_are_repeated_with_backoff() -> None:
    """A passing failure is repeated after growing pauses, each of them told."""
    world = World({"p1": [*[temporary()] * 5, done()]})
    events = world.watch()
    assert [event for _, event in of(Retrying, events)] == [
        Retrying("p1", "cannot reach it", attempt, pause)
        for attempt, pause in [(1, 0.25), (2, 0.5), (3, 1.0), (4, 2.0), (5, 4.0)]
    ]
    assert world.times() == [0.0, 0.25, 0.75, 1.75, 3.75, 7.75]
    assert result_of(events).failure is None


def test_jitter_lengthens_the_pause() -> None:
    """The random part is added to the pause."""
    world = World({"p1": [temporary(), done()]}, random=0.5)
    world.watch()
    assert world.times() == [0.0, 0.375]


def test_a_good_answer_ends_the_count() -> None:
    """Attempts and budget begin anew after every good answer."""
    flaky: list[Step | Prediction | errors.CometrepError] = [temporary(), temporary(), running()]
    world = World({"p1": [*flaky * 100, done()]})
    events = world.watch(budget=2.0)
    assert {event.attempt for _, event in events if isinstance(event, Retrying)} == {1, 2}
    assert result_of(events).failure is None
    assert events[-1][0] > 100


def test_the_budget_counts_from_the_first_failure() -> None:
    """When the retry budget is used up the wait ends, long before its deadline; the message names both."""
    world = World({"p1": [Step(running(), 0.0)] * 100 + [Step(temporary(), 0.0)]})
    events = world.watch(budget=60.0, deadline=1800.0)
    failing = times_of(Retrying, events)[0]
    assert failing + 40 < events[-1][0] <= failing + 60
    failure = failure_of(events)
    assert type(failure) is errors.Temporary
    assert "attempts failed and the retry budget of 1m is used up" in failure.message
    assert "of the deadline is left); it may still run" in failure.message
    assert failure.message.startswith("prediction p1: cannot reach it; ")
    assert (failure.code, failure.request_id, failure.http_status) == ("network", "r1", 503)
    assert (failure.prediction_id, failure.hint, failure.exit_code) == ("p1", "cometrep wait p1", 7)
    assert result_of(events).prediction == running()


def test_no_budget_means_no_second_attempt() -> None:
    """With a budget of nothing the first failure is the last."""
    world = World({"p1": [temporary()]})
    failure = failure_of(world.watch(budget=0.0, deadline=None))
    assert len(world.looks) == 1
    assert "1 attempt failed and the retry budget of 0s is used up (no deadline is set)" in failure.message


def test_the_deadline_comes_before_the_budget() -> None:
    """Where it passes while attempts fail it ends the wait, and says so with what they met last."""
    events = World({"p1": [temporary()]}).watch(budget=600.0, deadline=5.0)
    failure = failure_of(events)
    assert isinstance(failure, errors.StillRunning)
    assert failure.message == (
        "the deadline of 5s passed: prediction p1 is not seen yet, 5 attempts in a row failed,"
        " the last: cannot reach it; it may still run"
    )
    assert (failure.code, failure.request_id, failure.http_status) == ("deadline", "r1", 503)
    events = World({"p1": [running(), temporary(retry_after=20.0)]}).watch(deadline=5.0)
    assert failure_of(events).message == (
        "the deadline of 5s passed: prediction p1 is still processing, the last attempt failed: cannot reach it;"
        " it runs on"
    )
    assert events[-1][0] == 5.0


@pytest.mark.parametrize("random", [0.0, 0.5, 1.0])
@pytest.mark.parametrize(("deadline", "is_deadline"), [(50.0, True), (60.0, True), (61.0, False)])
def test_which_of_them_comes_first_is_no_matter_of_chance(
    random: float, deadline: float, *, is_deadline: bool
) -> None:
    """However long the pauses between attempts happen to be."""
    events = World({"p1": [temporary()]}, random=random).watch(deadline=deadline, budget=60.0)
    assert failure_of(events).exit_code == (6 if is_deadline else 7)


def test_the_pause_a_server_asks_for_is_kept() -> None:
    """Retry-After is obeyed where it is longer than the backoff."""
    world = World({"p1": [temporary(retry_after=20.0), temporary(retry_after=0.1), done()]})
    world.watch()
    assert world.times() == [0.0, 20.0, 20.5]


def test_an_absurd_pause_ends_the_wait() -> None:
    """A server that asks for more than the budget is not waited for, and the message says what it asked."""
    world = World({"p1": [temporary("rate_limited", retry_after=3600.0)]})
    failure = failure_of(world.watch())
    assert len(world.looks) == 1
    assert (
        "the API asks to wait 1h, longer than the retry budget of 1m (30m of the deadline is left)"
        in failure.message
    )
    assert (type(failure), failure.code) == (errors.Temporary, "rate_limited")


@pytest.mark.parametrize(
    "failure",
    [
        errors.ConfigError("401", code="api_key_refused"),
        errors.Refused("400", code="bad_request"),
        errors.Refused("301", code="redirected"),
        errors.Refused("503", code="model_not_found"),
        temporary("tls", may_repeat=False),
    ],
    ids=["refused key", "bad request", "redirect", "unknown model", "TLS"],
)
@pytest.mark.parametrize("before", [[], [running()]], ids=["first look", "later look"])
def test_a_final_failure_ends_the_wait_at_once(
    failure: errors.CometrepError, before: list[Step | Prediction | errors.CometrepError]
) -> None:
    """What will not pass is not repeated, and is told as it came."""
    world = World({"p1": [*before, failure]})
    assert failure_of(world.watch()) is failure
    assert len(world.looks) == len(before) + 1


def test_an_early_404_of_a_fresh_prediction_is_forgiven() -> None:
    """Some providers know a prediction a moment after they created it."""
    world = World({"p1": [NOT_FOUND, NOT_FOUND, running(), done()]})
    events = world.watch(Target("p1", is_fresh=True))
    assert len(of(Retrying, events)) == 2
    assert result_of(events).failure is None


@pytest.mark.parametrize(("budget", "seconds"), [(60.0, NOT_FOUND_GRACE_SECONDS), (2.0, 1.75), (0.0, 0.0)])
def test_a_404_that_lasts_is_final(budget: float, seconds: float) -> None:
    """After some seconds a prediction that is not found is not there, and that is no passing failure.

    Nor is it one where the retry budget leaves less time.
    """
    world = World({"p1": [NOT_FOUND]})
    events = world.watch(Target("p1", is_fresh=True), budget=budget)
    assert failure_of(events) is NOT_FOUND
    assert events[-1][0] == seconds


def test_an_early_404_of_what_was_seen_is_forgiven_too() -> None:
    """The few seconds count from the create: another node of a gateway may hear of it later than the first."""
    world = World({"p1": [running(), NOT_FOUND, done(output=None), NOT_FOUND, done()]})
    events = world.watch(Target("p1", is_fresh=True))
    assert len(of(Retrying, events)) == 2
    assert result_of(events).prediction == done()


@pytest.mark.parametrize(
    ("is_fresh", "before"),
    [(False, []), (False, [running()]), (True, [Step(running(), NOT_FOUND_GRACE_SECONDS)])],
    ids=["not fresh", "seen before", "late"],
)
def test_any_other_404_is_final(is_fresh: bool, before: list[Step | Prediction | errors.CometrepError]) -> None:
    """A prediction that is not fresh, or not any more, is gone when it is not found, whether it was seen or not."""
    world = World({"p1": [*before, NOT_FOUND]})
    assert failure_of(world.watch(Target("p1", is_fresh=is_fresh))) is NOT_FOUND
    assert len(world.looks) == len(before) + 1


@pytest.mark.parametrize(
    ("target", "before"),
    [(Target("p1"), [running()]), (Target("p1", is_fresh=True, told=Prediction("p1", "starting")), [])],
    ids=["seen before", "just created"],
)
def test_a_500_does_not_end_a_prediction_that_is_known_to_exist(
    target: Target, before: list[Step | Prediction | errors.CometrepError]
) -> None:
    """Where only the text of a server's fault says that it is not there, it is believed after the retry budget."""
    world = World({"p1": [*before, DOUBTFUL, DOUBTFUL, running(), done()]})
    assert result_of(world.watch(target)).failure is None
    world = World({"p1": [*before, DOUBTFUL]})
    events = world.watch(target, budget=60.0)
    assert failure_of(events) is DOUBTFUL
    assert 40 < events[-1][0] <= 61


def test_a_500_that_knows_no_such_task_is_final_of_what_nobody_saw() -> None:
    """An id that was typed and never seen may be wrong, and is not asked for again and again."""
    world = World({"p1": [DOUBTFUL]})
    assert failure_of(world.watch()) is DOUBTFUL
    assert len(world.looks) == 1


def test_web_pages_before_any_answer_mean_a_wrong_address() -> None:
    """Four web pages in a row, and nothing before them, are no API: the request is refused, not delayed."""
    world = World({"p1": [WEB_PAGE]})
    failure = failure_of(world.watch())
    assert len(world.looks) == 4
    assert (type(failure), failure.exit_code, failure.code) == (errors.Refused, 8, "not_an_api")
    assert (failure.message, failure.request_id, failure.http_status) == ("cannot reach it", "r1", 503)


def test_nothing_but_web_pages_until_the_budget_ends_means_a_wrong_address() -> None:
    """Where the budget is too short for four web pages, those there were say the same."""
    world = World({"p1": [WEB_PAGE]})
    assert isinstance(failure_of(world.watch(budget=0.5)), errors.Refused)
    assert len(world.looks) == 2


def test_nothing_but_web_pages_until_the_deadline_means_a_wrong_address() -> None:
    """Nothing tells then that the prediction runs; where its create was answered it may."""
    assert isinstance(failure_of(World({"p1": [WEB_PAGE]}).watch(deadline=1.0)), errors.Refused)
    created = World({"p1": [WEB_PAGE]}).watch(Target("p1", told=Prediction("p1", "starting")), deadline=1.0)
    assert isinstance(failure_of(created), errors.StillRunning)


@pytest.mark.parametrize(
    "answered", [{"told": Prediction("p1", "starting")}, {"is_known": True}], ids=["told", "known"]
)
def test_web_pages_after_the_answer_to_a_create_may_pass(answered: dict[str, Any]) -> None:
    """It shows that the address is right, though no look was answered yet: the budget decides."""
    target = Target("p1", **answered)
    assert result_of(World({"p1": [*[WEB_PAGE] * 8, done()]}).watch(target)).failure is None
    failure = failure_of(World({"p1": [WEB_PAGE]}).watch(target))
    assert (type(failure), failure.exit_code, failure.code) == (errors.Temporary, 7, "not_an_api")


def test_web_pages_after_an_answer_may_pass() -> None:
    """An API that has answered before is behind a web page for a while: the budget decides."""
    world = World({"p1": [running(), WEB_PAGE]})
    failure = failure_of(world.watch())
    assert len(world.looks) > 5
    assert (type(failure), failure.exit_code, failure.code) == (errors.Temporary, 7, "not_an_api")


def test_a_few_web_pages_pass() -> None:
    """Fewer web pages are forgiven."""
    world = World({"p1": [WEB_PAGE, WEB_PAGE, WEB_PAGE, done()]})
    assert result_of(world.watch()).failure is None


def test_one_web_page_after_other_failures_is_no_wrong_address() -> None:
    """Only web pages in a row show that the address is wrong, not one of them at the end of an outage."""
    world = World({"p1": [temporary(), temporary(), temporary(), WEB_PAGE, done()]})
    assert result_of(world.watch()).failure is None


def test_looks_that_hang_are_counted_once_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """To count them again for each that is put off would take seconds of each one where there are thousands."""
    counted: list[int] = []
    count = Watch._repeats

    def counting(watching: Watch) -> int:
        counted.append(count(watching))
        return counted[-1]

    monkeypatch.setattr(Watch, "_repeats", counting)
    watching = Watch(deadline_seconds=None, retry_budget_seconds=60.0)
    for number in range(20):
        watching.add(Target(f"p{number}"), 0.0, PollSchedule())
    turns = [watching.turn(now)[0] for now in (0.0, 10.0, 10.2)]
    assert [len(looks) for looks in turns] == [20, 4, 0]
    assert counted == [0, 4]


# Signs of life


@pytest.mark.parametrize("interval", [None, 60.0], ids=["adaptive", "every 60 s"])
def test_a_heartbeat_every_thirty_seconds(interval: float | None) -> None:
    """Where nothing changes there is a sign of life every 30 s, also between rare looks."""
    events = World({"p1": [running()]}).watch(deadline=125.0, interval=interval)
    assert [(at, event) for at, event in events if isinstance(event, Waiting)] == [
        (at, Waiting("p1", "processing", at)) for at in (30.0, 60.0, 90.0, 120.0)
    ]


def test_a_heartbeat_of_what_was_never_seen() -> None:
    """Before the first answer the sign of life says that nothing was seen."""
    events = World({"p1": [Step(done(), NEVER)]}).watch(deadline=31.0)
    assert [event for _, event in of(Waiting, events)] == [Waiting("p1", "not seen yet", 30.0)]


def test_a_new_status_is_a_sign_of_life() -> None:
    """The next heartbeat comes 30 s after the status changed."""
    world = World({"p1": [running("starting"), running(), running()]})
    assert times_of(Waiting, world.watch(deadline=100.0, interval=20.0)) == [50.0, 80.0]


# Many predictions


def test_many_predictions_do_not_hold_each_other_up() -> None:
    """Each id has its own end and its own failure, in the order in which they end."""
    world = World(
        {
            "hangs": [Step(done(), NEVER)],
            "late": [*[running()] * 4, done()],
            "refused": [errors.Refused("no")],
            "flaky": [temporary(), done()],
            "quick": [done()],
        }
    )
    events = world.watch(deadline=30.0)
    assert [event.id for _, event in of(Result, events)] == ["refused", "quick", "flaky", "late", "hangs"]
    assert times_of(Result, events) == pytest.approx([0.0, 0.0, 0.25, 0.96, 30.0])
    assert isinstance(failure_of(events, "hangs"), errors.StillRunning)
    assert isinstance(failure_of(events, "refused"), errors.Refused)
    assert [result_of(events, id).failure for id in ("late", "flaky", "quick")] == [None, None, None]


def test_a_look_that_was_due_before_the_deadline_is_made_up_for() -> None:
    """Where the caller was busy over the deadline, what has ended meanwhile has ended, and what runs on does."""
    world = World(
        {"first": [done()], "late": [running(), done()], "runs": [running()]},
        busy_seconds=6.0,
    )
    events = world.watch(deadline=5.0)
    assert result_of(events, "late").failure is None
    assert isinstance(failure_of(events, "runs"), errors.StillRunning)
    assert [len(world.times(id)) for id in ("late", "runs")] == [2, 2]


def test_the_last_look_is_not_waited_for_long() -> None:
    """One that hangs ends the wait five seconds behind its beginning."""
    world = World({"first": [done()], "hangs": [running(), Step(done(), NEVER)]}, busy_seconds=6.0)
    events = world.watch(deadline=5.0)
    assert isinstance(failure_of(events, "hangs"), errors.StillRunning)
    assert times_of(Result, events)[1] == pytest.approx(6.0 + 5.0)


def test_a_success_without_output_has_ended_by_the_deadline() -> None:
    """The pause before the one more look at it does not turn it into a prediction that runs on."""
    world = World({"p1": [done(output=None)]})
    events = world.watch(deadline=0.5)
    assert result_of(events, "p1").failure is None
    assert result_of(events, "p1").prediction is not None


def test_looks_that_hang_leave_room_for_others() -> None:
    """Further looks beside hanging ones are few at a time, however many predictions hang."""
    names = [f"h{number}" for number in range(10)]
    world = World({**{id: [Step(done(), NEVER)] for id in names}, "ok": [done()]})
    events = world.watch(deadline=45.0)
    assert result_of(events, "ok").failure is None
    assert sum(len(world.times(id)) for id in names) == 10 + 4


def test_hundreds_of_predictions_are_looked_at_alike() -> None:
    """Every one of many predictions has its looks and its result."""
    names = [f"p{number}" for number in range(300)]
    world = World({id: [running(), running(), done()] for id in names})
    events = world.watch()
    assert sorted(event.id for _, event in of(Result, events)) == sorted(names)
    assert {len(world.times(id)) for id in names} == {3}
    assert {at for at, _ in of(Result, events)} == {3.0}


def test_the_looks_at_many_predictions_keep_within_one_pace() -> None:
    """However many there are, they come to two hundred a second together."""
    names = [f"p{number}" for number in range(150)]
    world = World({id: [running()] for id in names})
    world.watch(deadline=6.0)
    assert len(world.looks) == pytest.approx(LOOKS_A_SECOND * 6.0, rel=0.15)


@pytest.mark.parametrize("asked", [None, 3.0], ids=["no pause asked for", "a pause of 3 s"])
def test_one_429_slows_the_looks_at_all(asked: float | None) -> None:
    """The API's limit is one for all: the others come slower too, and keep the pause that it asks for."""
    names = [f"p{number}" for number in range(100)]
    scripts = {id: [Step(running(), 0.01)] for id in names}
    free = World(dict(scripts))
    free.watch(deadline=6.0)
    throttled = Step(temporary("rate_limited", retry_after=asked), 0.1)
    world = World({**scripts, "p7": [throttled, Step(running(), 0.01)]})
    world.watch(deadline=6.0)
    assert len(world.looks) < 0.7 * len(free.looks)
    if asked:
        assert not [at for at, _ in world.looks if 0.1 < at < 3.1]


def test_a_pause_that_ends_one_wait_holds_up_no_other() -> None:
    """Where the API asks for more than the retry budget, the others find out for themselves."""
    world = World({"p1": [temporary("rate_limited", retry_after=3600.0)], "p2": [running(), done()]})
    events = world.watch(deadline=None)
    assert isinstance(failure_of(events, "p1"), errors.Temporary)
    assert result_of(events, "p2").failure is None
    assert events[-1][0] < 5.0


def test_a_single_prediction_has_the_pace_of_its_own_schedule() -> None:
    """Throttled again and again, it still has its next look when the backoff and the schedule say."""
    world = World({"p1": [*[temporary("rate_limited")] * 3, running()]})
    world.watch(deadline=60.0)
    assert world.times()[:5] == [0.0, 0.25, 0.75, 1.75, 2.03]


def test_nothing_to_watch_ends_at_once() -> None:
    """Without predictions there are no events."""
    assert World({}).watch() == []


# The state machine itself


def test_an_answer_for_an_ended_watch_is_void() -> None:
    """What arrives after the end, or for an id that was never watched, leads to nothing."""
    watching = Watch(deadline_seconds=None, retry_budget_seconds=60.0)
    watching.add(Target("p1"), 0.0, PollSchedule())
    assert watching.turn(0.0) == (["p1"], [])
    assert [type(event) for event in watching.answer("p1", 0.0, done(), 0.1)] == [Seen, Result]
    assert len(watching) == 0
    assert watching.answer("p1", 0.0, running(), 0.2) == []
    assert watching.answer("other", 0.0, done(), 0.2) == []
    assert watching.turn(1e9) == ([], [])


def test_the_time_until_something_is_due() -> None:
    """The driver learns how long it may sleep, and not to sleep where something is due already."""
    watching = Watch(deadline_seconds=100.0, retry_budget_seconds=60.0)
    watching.add(Target("p1", told=Prediction("p1", "starting")), 10.0, PollSchedule(2.0))
    assert watching.wake_in(10.0) == 2.0
    assert watching.wake_in(99.0) == 0.0
    watching.turn(12.0)
    assert watching.wake_in(12.0) == 5.0


_outcomes = st.sampled_from(
    [
        running(),
        running("starting"),
        running("odd_word"),
        done(),
        done(output=None),
        running("failed"),
        temporary(),
        temporary(retry_after=30.0),
        temporary(may_repeat=False),
        WEB_PAGE,
        NOT_FOUND,
        errors.ConfigError("401"),
    ]
)
_steps = st.builds(Step, _outcomes, st.sampled_from([0.0, 0.05, 1.0, 7.0, 11.0, 44.0, 75.0, NEVER]))


@settings(max_examples=150)
@given(
    st.lists(st.lists(_steps, min_size=1, max_size=6), min_size=1, max_size=4),
    st.floats(0.5, 300.0),
    st.floats(0.0, 90.0),
    st.booleans(),
    st.booleans(),
)
def test_every_watch_ends_once_and_in_time(
    scripts: list[list[Step]], deadline: float, budget: float, is_fresh: bool, until_answered: bool
) -> None:
    """Whatever looks meet, each id has one result, last and by its deadline, and the server is not hammered."""
    world = World({f"p{number}": script for number, script in enumerate(scripts)}, random=0.3)
    targets = [Target(id, is_fresh=is_fresh) for id in world.scripts]
    events = world.watch(*targets, deadline=deadline, budget=budget, until_answered=until_answered)
    for id in world.scripts:
        own = [(at, event) for at, event in events if event.id == id]
        assert isinstance(own[-1][1], Result)
        assert len(of(Result, own)) == 1
        assert own[-1][0] <= deadline + 1e-6
        assert all(later - earlier >= 0.2 - 1e-6 for earlier, later in pairwise(world.times(id)))
    assert [at for at, _ in events] == sorted(at for at, _ in events)


# Real threads


def test_looks_run_in_threads_of_their_own() -> None:
    """Without calls of the test's own the looks run in real threads, and a bug in one is not swallowed."""
    follow = partial(watch, deadline_seconds=30.0, retry_budget_seconds=0.0, schedule_of=lambda _: PollSchedule())
    targets = [Target(f"p{number}") for number in range(20)]
    events = list(follow(lambda id: done()._replace(id=id), targets))
    assert {event.id for event in events if isinstance(event, Result)} == {target.id for target in targets}

    def broken(id: str) -> Prediction:
        raise ZeroDivisionError(id)

    with pytest.raises(ZeroDivisionError):
        list(follow(broken, targets))


def test_an_answer_that_waits_for_a_busy_caller_is_not_late() -> None:
    """Files of one prediction that take long to save make no other prediction slow, nor its deadline pass."""
    done = Prediction("", "succeeded", output=URL)
    world = World({"a": [done], "b": [Step(done, 0.1)], "c": [Step(done, 0.2)]}, busy_seconds=60.0)
    events = [event for _, event in world.watch(deadline=30.0)]
    assert [event.id for event in events if isinstance(event, Result) and not event.failure] == ["a", "b", "c"]
    assert not any(isinstance(event, Slow) for event in events)
