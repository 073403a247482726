"""Look at predictions until they end, whatever happens to single looks.

`Watch` decides: a state machine of times and answers, without threads or clocks of its own. `watch` drives it.

A look that hangs stalls nothing: the wait goes on, says so, and sends a second look beside it. Failed looks are
repeated within a retry budget of their own, counted from the first failure after the last good answer; the
deadline counts from the start, whatever happens.
"""

import heapq
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from random import random as real_random
from typing import Any, NamedTuple

from cometrep import errors, hints
from cometrep.calls import Calls
from cometrep.events import Event, Noted, Result, Retrying, Seen, Slow, Waiting
from cometrep.pace import Pace, SharedSchedule, asked_of_all
from cometrep.prediction import STATUSES, Prediction
from cometrep.schedule import SHORTEST_INTERVAL_SECONDS, Schedule, backoff_seconds
from cometrep.text import format_count, format_duration

_HEARTBEAT_SECONDS = 30.0
SLOW_SECONDS = 5.0  # a look without an answer for this long is worth a word
_SECOND_LOOK_SECONDS = 10.0  # and after this long another one goes beside it
_LOOKS_AT_ONCE = 3
_REPEATS_AT_ONCE = 4  # of all predictions together: looks that hang leave room for those of others
_GIVEN_UP_SECONDS = 20.0  # that a record says so around a prediction that runs: they may disagree for a poll
_LATE_SECONDS = 0.25  # behind the deadline: so late it is not met unless the program did something else
_LAST_LOOK_SECONDS = 5.0  # that a look then has
NOT_FOUND_GRACE_SECONDS = 8.0
"""How long a fresh prediction may be reported missing: some providers know it a moment late (CometAPI blog)."""

_ANSWER_SECONDS = 0.5  # ahead of the deadline: a look that it would come before is made so much earlier
EMPTY_PAUSE_SECONDS = 1.0  # before the one more look at a success without output
WEB_PAGE_ATTEMPTS = 4
"""How many web pages in a row, where no good answer ever came, show that the base URL is wrong and not the day."""

_NEVER = float("inf")
_PUT_OFF_SECONDS = 0.2  # a look for which there is no room
MOST_LOOKS = _LOOKS_AT_ONCE + 24  # at several predictions; a thread or connection is made when it is needed
LOOKS_A_SECOND = 200.0  # at all predictions together, however many there are

Look = tuple[str, float]  # which prediction, and when the look began
Outcome = Prediction | errors.CometrepError


class Target(NamedTuple):
    """One prediction to watch.

    `is_fresh` where it was created moments ago, which forgives an early 404; `told` is the answer to its create,
    which counts as the first look; it `is_known` where the API has answered for it before; `age_seconds` since its
    create; `spent_seconds` of the deadline were over by now; `model` and `input` as they were asked for, empty and
    None where that is not known.
    """

    id: str
    is_fresh: bool = False
    told: Prediction | None = None
    is_known: bool = False
    age_seconds: float = 0.0
    model: str = ""
    input: Any = None
    spent_seconds: float = 0.0


@dataclass(slots=True)
class _Watched:
    """What is known of one watched prediction so far."""

    id: str
    is_fresh: bool
    schedule: Schedule
    started: float
    deadline: float  # infinity for none
    look_due: float
    last_said: float
    looks: list[float] = field(default_factory=list)  # start times of those without an answer
    last_answered: float = float("-inf")  # start time of the newest look that was answered
    told_status: str = ""
    is_known: bool = False
    prediction: Prediction | None = None
    silent_since: float = _NEVER  # start time of the first look behind the last answer of the API
    attempts: int = 0  # failed ones in a row
    failed_looks: int = 0  # of these and beside them
    pages: int = 0  # of these, web pages at the end of the row
    last_failure: errors.CometrepError | None = None  # of these
    failing_since: float = _NEVER  # with no good answer in between
    slow_said: float = 0.0
    was_empty: bool = False  # it had succeeded, without any output yet
    given_up_since: float = _NEVER  # that the record around it says so, while it runs
    given_up_said: bool = False
    overtime: float | None = None  # when its last look, after the deadline, is waited for no longer
    turn: int = 0  # the heap's entries of earlier turns are void

    @property
    def status(self) -> str:
        """Its status as it was last told, empty before that."""
        return self.prediction.status if self.prediction else self.told_status

    @property
    def has_seen_pages_alone(self) -> bool:
        """Whether all that ever came are web pages."""
        return not (self.status or self.is_known) and 0 < self.pages == self.attempts

    def next_turn(self) -> float:
        """Give the time at which something is to be done or said about it."""
        times = [self.look_due, self.last_said + _HEARTBEAT_SECONDS]
        if self.looks:
            times.append(max(self.looks[0], self.slow_said) + SLOW_SECONDS)
        times.append(self.deadline if self.overtime is None else self.overtime)
        return min(times)


class Watch:
    """Decide when to look at each of many predictions and what each answer means.

    All times are seconds of one monotonic clock. `deadline_seconds` None means no deadline; `until_answered`
    ends at the first good answer instead of a terminal status.
    """

    def __init__(
        self,
        *,
        deadline_seconds: float | None,
        retry_budget_seconds: float,
        until_answered: bool = False,
        resume: hints.Command = hints.WAIT_AGAIN,
        random: Callable[[], float] = real_random,
    ) -> None:
        self._resume = resume
        self._deadline_seconds = deadline_seconds
        self._retry_budget_seconds = retry_budget_seconds
        self._until_answered = until_answered
        self._random = random
        self._watched: dict[str, _Watched] = {}
        self._turns: list[tuple[float, int, str]] = []  # heap of (when, turn, id)
        self._turn_count = 0

    def __len__(self) -> int:
        return len(self._watched)

    def ids(self) -> list[str]:
        """List the predictions that are still watched."""
        return list(self._watched)

    def add(self, target: "Target", now: float, schedule: Schedule) -> list[Event]:
        """Begin to watch a prediction; give what follows where the answer to its create told how it ended."""
        told = target.told if target.told and target.told.status else None
        first_look = now + (schedule.first_seconds() if told else 0.0)
        seconds = _NEVER if self._deadline_seconds is None else self._deadline_seconds
        watched = _Watched(
            target.id,
            is_fresh=target.is_fresh,
            schedule=schedule,
            started=now,
            deadline=now + seconds - target.spent_seconds,
            look_due=first_look,
            last_said=now,
            told_status=told.status if told else "",
            is_known=target.is_known,
        )
        self._watched[target.id] = watched
        events = self.answer(target.id, now, told, now) if told and told.is_terminal else []
        if target.id in self._watched:
            if watched.deadline <= now:  # its create took all of it, and the end may have come meanwhile
                watched.overtime, watched.look_due = now + _LAST_LOOK_SECONDS, now
            elif watched.was_empty and watched.look_due >= watched.deadline:  # no look was made before
                watched.look_due = now
            self._plan(watched)
        return events

    def wake_in(self, now: float) -> float:
        """Give the seconds until something is to be done, 0 where it already is."""
        while self._turns and self._is_void(self._turns[0]):
            heapq.heappop(self._turns)
        return max(0.0, self._turns[0][0] - now) if self._turns else _HEARTBEAT_SECONDS

    def turn(self, now: float, most_looks: int = sys.maxsize) -> tuple[list[str], list[Event]]:
        """Give the ids to look at now, and what has to be said: slowness, signs of life, passed deadlines.

        Looks beyond `most_looks` are put off for a moment.
        """
        looks: list[str] = []
        events: list[Event] = []
        repeats = -1  # not counted yet: that goes through all, and where none hangs there is no need
        while self._turns and self._turns[0][0] <= now:
            entry = heapq.heappop(self._turns)
            if self._is_void(entry):
                continue
            watched = self._watched[entry[2]]
            if self._is_over(watched, now):
                events.append(self._end_at_deadline(watched, now))
                continue
            events += self._say(watched, now)
            if watched.looks and repeats < 0:
                repeats = self._repeats()
            has_room = len(looks) < most_looks and not (watched.looks and repeats >= _REPEATS_AT_ONCE)
            if now >= watched.look_due and not has_room:
                watched.look_due = now + _PUT_OFF_SECONDS
            elif now >= watched.look_due:
                repeats += bool(watched.looks)
                watched.looks.append(now)
                watched.silent_since = min(watched.silent_since, now)
                looks.append(watched.id)
                is_last = len(watched.looks) >= _LOOKS_AT_ONCE or watched.overtime is not None
                watched.look_due = _NEVER if is_last else now + _SECOND_LOOK_SECONDS
            self._plan(watched)
        return looks, events

    def _repeats(self) -> int:
        """Count the looks under way beside an earlier one at the same prediction."""
        return sum(len(watched.looks) - 1 for watched in self._watched.values() if watched.looks)

    def _is_over(self, watched: _Watched, now: float) -> bool:
        """Say whether its time is up; where nobody looked on as it ran out, there is a last look."""
        if now < watched.deadline:
            return False
        if watched.overtime is not None:
            return now >= watched.overtime
        if now < watched.deadline + _LATE_SECONDS:
            return True
        # The caller was busy saving, or the process was stopped, and the end may have come meanwhile.
        watched.overtime = now + _LAST_LOOK_SECONDS
        if not watched.looks:
            watched.look_due = now
        return False

    def answer(self, id: str, look_started: float, outcome: Outcome, now: float) -> list[Event]:
        """Take the answer of a look and give what follows from it; answers about ended watches are void."""
        watched = self._watched.get(id)
        if watched is None:
            return []
        if look_started in watched.looks:
            watched.looks.remove(look_started)
        if look_started < watched.last_answered:  # sent earlier, and overtaken by a newer look
            if watched.look_due == _NEVER and watched.overtime is None:  # it gives its place to another one
                watched.look_due = now + _SECOND_LOOK_SECONDS
                self._plan(watched)
            return []
        if isinstance(outcome, Prediction) or outcome.http_status is not None:
            watched.silent_since = _NEVER
        if isinstance(outcome, Prediction):
            events = self._take(watched, look_started, outcome, now)
        elif (
            watched.looks
            and isinstance(outcome, errors.Temporary)
            and now < watched.failing_since + self._retry_budget_seconds
        ):
            events = []  # another look is still under way; a further one may join it
            watched.failed_looks += 1
            watched.failing_since = min(watched.failing_since, now)
            watched.look_due = min(watched.look_due, now + _SECOND_LOOK_SECONDS)
        else:
            events = self._take_failure(watched, outcome, now)
        if id in self._watched and watched.overtime is not None:
            events.append(self._end_at_deadline(watched, now))
        elif id in self._watched:
            self._plan(watched)
        return events

    def _take(self, watched: _Watched, look_started: float, prediction: Prediction, now: float) -> list[Event]:
        watched.last_answered = look_started
        watched.attempts = watched.pages = watched.failed_looks = 0
        watched.failing_since = _NEVER
        before, watched.prediction = watched.prediction, prediction
        events: list[Event] = self._say_given_up(watched, prediction, now)
        if before is None or _shown(before) != _shown(prediction):
            events.append(Seen(prediction, now - watched.started))
            if before is None or before.status != prediction.status:
                watched.last_said = now
        is_ended = prediction.is_terminal or self._until_answered
        # In a gateway's task record the outer word can be a poll ahead of the prediction inside.
        may_gain = not self._until_answered and prediction.may_gain_output
        if is_ended and may_gain and not watched.was_empty:
            watched.was_empty = True
            left = watched.deadline - now - _ANSWER_SECONDS
            watched.look_due = now + min(EMPTY_PAUSE_SECONDS, max(left, SHORTEST_INTERVAL_SECONDS))
        elif is_ended:
            events.append(self._end(watched, now, None))
        else:
            seconds, is_from_start = watched.schedule.pause(now - watched.started)
            watched.look_due = max(now, look_started + seconds) if is_from_start else now + seconds
        return events

    def _take_failure(self, watched: _Watched, failure: errors.CometrepError, now: float) -> list[Event]:
        grace = watched.started + NOT_FOUND_GRACE_SECONDS - now
        # Whatever was seen meanwhile: one node of a gateway may know it before the next one does.
        is_early = failure.code == "prediction_not_found" and watched.is_fresh and grace > 0
        is_doubtful = _is_doubtful(failure) and watched.status != ""
        if not failure.is_worth_repeating and not is_early and not is_doubtful:
            return [self._end(watched, now, failure)]
        watched.failing_since = min(watched.failing_since, now)
        watched.attempts += 1
        watched.failed_looks += 1
        watched.last_failure = failure
        watched.pages = watched.pages + 1 if failure.code == "not_an_api" else 0
        asked = failure.retry_after_seconds
        pause = max(backoff_seconds(watched.attempts, self._random()), asked or 0.0)
        if is_early and not is_doubtful:
            pause = min(pause, max(grace, SHORTEST_INTERVAL_SECONDS))
        budget_end = watched.failing_since + self._retry_budget_seconds
        # A deadline that comes first is what ends the wait, however long the pause happens to be.
        is_for_deadline = watched.deadline <= budget_end and (asked or 0.0) <= self._retry_budget_seconds
        is_over = now + pause > budget_end and not is_for_deadline
        if watched.has_seen_pages_alone and (is_over or watched.pages >= WEB_PAGE_ATTEMPTS):
            return [self._end(watched, now, failure.told_as(errors.Refused, failure.message))]
        if is_over and (is_early or is_doubtful):
            return [self._end(watched, now, failure)]  # said for so long, it is meant
        if is_over:
            return [self._end(watched, now, self._budget_failure(watched, failure, asked, now))]
        watched.look_due = now + pause
        return [Retrying(watched.id, failure.message, watched.attempts, pause)]

    def _say(self, watched: _Watched, now: float) -> list[Event]:
        events: list[Event] = []
        if watched.looks and now >= max(watched.looks[0], watched.slow_said) + SLOW_SECONDS:
            watched.slow_said = now
            if watched.silent_since < _NEVER:  # else a look behind the slow one was answered
                events.append(Slow(watched.id, now - watched.silent_since))
        if now >= watched.last_said + _HEARTBEAT_SECONDS:
            watched.last_said = now
            events.append(Waiting(watched.id, watched.status or "not seen yet", now - watched.started))
        return events

    def _say_given_up(self, watched: _Watched, prediction: Prediction, now: float) -> list[Event]:
        """Say once that a gateway's record has it that a prediction failed which runs: its end may never be seen.

        It is no end: what is paid for may still come.
        """
        watched.given_up_since = min(watched.given_up_since, now) if prediction.given_up else _NEVER
        is_lasting = self._until_answered or now >= watched.given_up_since + _GIVEN_UP_SECONDS
        if not prediction.given_up or watched.given_up_said or not is_lasting:
            return []
        watched.given_up_said = True
        told = f"the gateway's record of {prediction.id} says that it failed: {prediction.given_up}"
        return [Noted(prediction.id, f"{told}; the prediction in it is {prediction.status}", is_warning=True)]

    def _plan(self, watched: _Watched) -> None:
        self._turn_count += 1
        watched.turn = self._turn_count
        heapq.heappush(self._turns, (watched.next_turn(), watched.turn, watched.id))

    def _is_void(self, entry: tuple[float, int, str]) -> bool:
        watched = self._watched.get(entry[2])
        return watched is None or watched.turn != entry[1]

    def _end_at_deadline(self, watched: _Watched, now: float) -> Result:
        has_ended = watched.prediction is not None and watched.prediction.is_terminal
        return self._end(watched, now, None if has_ended else self._deadline_failure(watched))

    def _end(self, watched: _Watched, now: float, failure: errors.CometrepError | None) -> Result:
        del self._watched[watched.id]
        return Result(watched.id, watched.prediction, failure=failure, elapsed_seconds=now - watched.started)

    def _deadline_failure(self, watched: _Watched) -> errors.CometrepError:
        last = watched.last_failure if watched.attempts else None
        if last and watched.has_seen_pages_alone:
            return last.told_as(errors.Refused, last.message)
        given_up = watched.prediction.given_up if watched.prediction else ""
        is_known = watched.status in STATUSES
        if is_known:
            seen = f"still {watched.status}"
        elif watched.status:  # which may sound like an end
            seen = f"{watched.status!r}, a status that counts as running"
        else:
            seen = "not seen yet"
        if given_up:
            seen += f", and the gateway's record of it says that it failed: {given_up}"
        if last and watched.failed_looks == 1:
            seen += f", the last attempt failed: {last.message}"
        elif last:
            seen += f", {format_count(watched.failed_looks, 'attempt')} in a row failed, the last: {last.message}"
        elif watched.looks:
            seen += ", the last look has no answer yet"
        return errors.StillRunning(
            f"the deadline of {format_duration(self._deadline_seconds or 0)} passed: prediction {watched.id}"
            f" is {seen}; {'it runs on' if is_known and not given_up else 'it may still run'}",
            hint=self._resume.of(watched.id),
            prediction_id=watched.id,
            request_id=last.request_id if last else None,
            http_status=last.http_status if last else None,
        )

    def _budget_failure(
        self, watched: _Watched, last: errors.CometrepError, asked: float | None, now: float
    ) -> errors.CometrepError:
        budget = format_duration(self._retry_budget_seconds)
        if asked is not None and asked > self._retry_budget_seconds:
            why = f"the API asks to wait {format_duration(asked)}, longer than the retry budget of {budget}"
        else:
            count = format_count(watched.failed_looks, "attempt")
            why = f"{count} failed and the retry budget of {budget} is used up"
        told = f"prediction {watched.id}: {last.message}; {why}"
        if not self._until_answered:
            left = "no deadline is set"
            if self._deadline_seconds is not None:
                left = f"{format_duration(max(0.0, watched.deadline - now))} of the deadline is left"
            told += f" ({left}); it may still run"
        return last.told_as(errors.Temporary, told, hint=self._resume.of(watched.id), prediction_id=watched.id)


def watch(
    look: Callable[[str], Prediction],
    targets: Sequence[Target],
    *,
    deadline_seconds: float | None,
    retry_budget_seconds: float,
    schedule_of: Callable[[str], Schedule],
    until_answered: bool = False,
    resume: hints.Command = hints.WAIT_AGAIN,
    calls: Calls[Look, Prediction] | None = None,
    clock: Callable[[], float] = time.monotonic,
    random: Callable[[], float] = real_random,
) -> Iterator[Event]:
    """Yield each change of each prediction and, for each, its `Result` when it ends or cannot be followed.

    An id that stands in several targets is watched once.
    """
    watching = Watch(
        deadline_seconds=deadline_seconds,
        retry_budget_seconds=retry_budget_seconds,
        until_answered=until_answered,
        resume=resume,
        random=random,
    )
    pace = Pace(LOOKS_A_SECOND)
    is_shared = len(targets) > 1
    for target in targets:
        schedule = schedule_of(target.id)
        if is_shared:
            schedule = SharedSchedule(schedule, pace, watching.__len__)
        yield from watching.add(target, clock(), schedule)
    own = calls or Calls[Look, Prediction](threads=min(_LOOKS_AT_ONCE + len(targets) - 1, MOST_LOOKS))
    try:
        patience = 0.0
        while len(watching):
            if answered := own.next(patience):
                (id, look_started), outcome = answered
                _heed(pace, outcome, clock(), retry_budget_seconds)
                yield from watching.answer(id, look_started, outcome, clock())
                # What came while the caller was busy, saving files for example, took no longer for that.
                patience = 0.0
                continue
            now = clock()
            looks, events = watching.turn(now, _room(pace, now) if is_shared else sys.maxsize)
            for id in looks:
                pace.sent(now)
                try:
                    own.submit((id, now), partial(look, id))
                except errors.LocalFileError as failure:  # no thread at all
                    told, left = f"prediction {id}: {failure.message}", resume.of(*watching.ids())
                    raise failure.told_as(errors.LocalFileError, told, hint=left, prediction_id=id) from failure
            yield from events
            patience = watching.wake_in(clock())
    finally:
        if calls is None:
            own.close()


def _heed(pace: Pace, outcome: Outcome, now: float, most_seconds: float) -> None:
    """Let the looks at all predictions come slower after a 429: the API's limit is one for them all."""
    asked = asked_of_all(outcome, most_seconds)
    if asked is None:
        pace.accepted(now)
    else:
        pace.throttled(now, asked, asked_seconds=asked)


def _room(pace: Pace, now: float) -> int:
    """Give how many looks may begin now: all that are due, until the API has once said that they are too many."""
    rate = pace.rate_per_second or LOOKS_A_SECOND
    if rate == LOOKS_A_SECOND:
        return sys.maxsize
    return 0 if pace.ready_in(now) else 1 + int(rate * _PUT_OFF_SECONDS)


def _shown(prediction: Prediction) -> tuple[str, float | None, str]:
    return prediction.status, prediction.progress, prediction.logs


def _is_doubtful(failure: errors.CometrepError) -> bool:
    """Say whether a prediction is reported missing in a way that a fault of the moment may take too.

    A gateway's 500, or an error under 200; of a prediction that was seen or created it is not believed at once.
    """
    return failure.code == "prediction_not_found" and failure.http_status not in (400, 404)
