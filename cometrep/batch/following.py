"""Follow a batch's predictions to their ends: when to look at each, and what became of its item."""

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from cometrep import errors
from cometrep.api import Api
from cometrep.batch.fate import Asked
from cometrep.batch.gate import Gate, Streak
from cometrep.batch.items import Item
from cometrep.batch.outcomes import Outcomes, unseen
from cometrep.batch.saving import Saver
from cometrep.batch.standings import Standing, State
from cometrep.events import Created, Event, Events, Noted, Result, Retrying, Seen
from cometrep.ledger import Ledger
from cometrep.ledger.database import BRIEF_SECONDS
from cometrep.ledger.entry import RETENTION_SECONDS
from cometrep.pace import SharedSchedule
from cometrep.prediction import Prediction
from cometrep.runner import FRESH_SECONDS, look_at
from cometrep.schedule import Patience, Schedule, schedule_for
from cometrep.watch import Target, Watch

LOOK_THREADS = 12  # however few items are under way: a look that hangs is not to hold up the others
_RUNS_KEPT = 50  # of a model, to foresee the next one's end
_LOOKS_FATAL_CODES = ("api_key_missing", "bad_setting", "not_an_api", "redirected")
"""Refusals of a look that a look at any other prediction would meet too."""


class Flying(NamedTuple):
    """One item whose prediction is followed; one that `stood` somewhere was created by an earlier run.

    Its `model` and `input` are what was sent, empty and None where nobody knows: its line may have others by now.
    It was `created` at that Unix time, or a little later. The `doubt` is there as long as its id is all that came
    of the create's answer, and no look has shown it.
    """

    item: Item
    model: str
    input: Any
    created: float
    doubt: errors.CreateUnknown | None = None
    stood: Standing | None = None

    @property
    def is_left_over(self) -> bool:
        """Whether an earlier run created it."""
        return self.stood is not None


class Follower:
    """What follows the predictions of a batch until each is told of, or given to `saver`.

    `submit` has a call made in a thread, and its answer given to `looked` with the prediction's id and the time at
    which it was submitted. `take_up` decides on an item again that stands somewhere, and is shown in other words;
    `send_again` has one sent again. `has_more` says whether the batch would send more.
    """

    def __init__(
        self,
        api: Api,
        ledger: Ledger,
        gate: Gate,
        outcomes: Outcomes,
        saver: Saver,
        *,
        asked: Asked,
        patience: Patience,
        submit: Callable[[str, float, Callable[[], Prediction]], None],
        take_up: Callable[[Item, Standing, Standing], Events],
        send_again: Callable[[Item, Standing], None],
        has_more: Callable[[], bool],
        clock: Callable[[], float],
        now: Callable[[], float],
        random: Callable[[], float],
    ) -> None:
        self._api = api
        self._ledger = ledger
        self._gate = gate
        self._outcomes = outcomes
        self._saver = saver
        self._asked = asked
        self._submit = submit
        self._take_up = take_up
        self._send_again = send_again
        self._has_more = has_more
        self._clock = clock
        self._now = now
        self._watch = Watch(
            deadline_seconds=patience.deadline_seconds,
            retry_budget_seconds=patience.retry_budget_seconds,
            random=random,
        )
        self._flying: dict[str, Flying] = {}  # by prediction id
        self._looking = 0  # looks under way, or waiting for a thread
        self._looked: set[str] = set()  # predictions under way at which a look has begun
        self._runs: dict[str, deque[float]] = {}  # by model: how long the last ones ran, in seconds

    @property
    def count(self) -> int:
        """How many predictions are followed."""
        return len(self._flying)

    def begin(self, id: str, flying: Flying, *, told: Prediction | None = None, age_seconds: float = 0.0) -> Events:
        """Follow an item's prediction: its create `told` so much, or an earlier run sent that so long ago."""
        self._flying[id] = flying
        own = self._schedule(flying.model, age_seconds)
        is_fresh, is_known = age_seconds < FRESH_SECONDS, flying.doubt is None
        target = Target(id, is_fresh=is_fresh, told=told, is_known=is_known)
        schedule = SharedSchedule(own, self._gate.looks, lambda: len(self._watch))
        for event in self._watch.add(target, self._clock(), schedule):
            yield from self._followed(event)

    def turn(self, now: float) -> Events:
        """Begin the looks that are due, and say what is to be said."""
        looks, events = self._watch.turn(now, self._look_room(now))
        for id in looks:
            self._looking += 1
            self._submit(id, now, partial(self._look, id))
        for event in events:
            yield from self._followed(event)

    def wake_in(self, now: float) -> float:
        """Give the seconds until the next turn is due, 0 where it already is."""
        return self._watch.wake_in(now)

    def looked(self, id: str, began: float, answer: Prediction | errors.CometrepError) -> Events:
        """Take up what a look that began at that time was answered."""
        self._looking -= 1
        self._gate.looked(answer if isinstance(answer, errors.CometrepError) else None, self._clock())
        for event in self._watch.answer(id, began, answer, self._clock()):
            yield from self._followed(event)

    # Looking

    def _look_room(self, now: float) -> int:
        """Give how many looks may begin now: none while the API asks for a pause, else some for each thread."""
        if self._gate.looks.ready_in(now):
            return 0
        return max(0, 2 * LOOK_THREADS - self._looking)

    def _look(self, id: str) -> Prediction:
        """Look at a prediction; runs in a thread, for which others that hang may have let it wait."""
        if id in self._flying:
            self._looked.add(id)
        return look_at(self._api, self._ledger, id)

    def _schedule(self, model: str, age_seconds: float) -> Schedule:
        """Choose the schedule of one prediction from how long those before it ran, in this run and earlier."""
        if model not in self._runs:
            known = self._ledger.lenient(self._ledger.run_seconds, model, _RUNS_KEPT) or []
            self._runs[model] = deque(reversed(known), maxlen=_RUNS_KEPT)
        return schedule_for(self._runs[model], age_seconds=age_seconds)

    # What looks show

    def _followed(self, event: Event) -> Events:
        """Take up what the watch says of one prediction."""
        if isinstance(event, Seen):
            flying = self._flying[event.id]
            item = flying.item
            self._gate.end_streak(Streak.NOT_SEEN)
            if flying.doubt:  # it is there, and so it is the item's
                self._gate.end_streak(Streak.NO_ANSWER)
                self._flying[event.id] = flying._replace(doubt=None)
                yield from self._outcomes.note("created", item, id=event.id)
                yield Created(event.prediction.with_model(flying.model), item.key)
            if flying.doubt or event.prediction.is_terminal:
                # The record has an end too, and its outputs are saved at once: the others are not to wait for this.
                see = partial(self._ledger.see, patience_seconds=BRIEF_SECONDS)
                self._ledger.lenient(see, event.prediction)
        elif isinstance(event, Noted):
            yield from self._outcomes.warn("given_up", f"{self._flying[event.id].item.label}: {event.text}")
        elif isinstance(event, Retrying):
            yield event._replace(key=self._flying[event.id].item.key)
        elif isinstance(event, Result):
            yield from self._ended(event)

    def _ended(self, result: Result) -> Events:
        flying, was_looked_at = self._flying.pop(result.id), result.id in self._looked
        self._looked.discard(result.id)
        item = flying.item
        seen = (result.prediction or Prediction(result.id, "")).as_asked(flying.model, flying.input)
        failure = result.failure or seen.failure()
        known, is_known = None, True
        if failure is not None and failure.code == "prediction_not_found" and not flying.doubt:
            try:  # it counts by the ledger then: its files may be here
                known = self._ledger.ended(result.id)
            except errors.LocalFileError as problem:
                is_known = False
                failure.message += f"; {problem.message}"
        if known:
            seen, failure = known._replace(data_removed=True), known.failure()
        if failure is None:
            may_return = known is not None and self._is_young(result.id)
            yield from self._succeeded(flying, seen, may_return=may_return)
            return
        if flying.doubt:
            yield from self._unfound(result.id, flying, failure)
        elif seen.is_terminal and failure is not result.failure:
            facts = {"status": seen.status, "error": failure.message, "exit_code": failure.exit_code}
            yield from self._outcomes.note("ended", item, id=result.id, **facts, reason=seen.error)
            yield from self._outcomes.fail(item, State.FAILED, failure, seen)
        elif is_known and _is_gone(failure) and self._now() > flying.created + RETENTION_SECONDS:
            # Perhaps the API key is another account's: the record keeps it as running, for the next run to look.
            if failure.code != "prediction_not_found":
                failure.message = _told_of_look(result.id, failure)
            if self._asked.retries_failed and flying.stood:
                self._send_again(item, flying.stood)
            else:
                yield from self._outcomes.fail(item, State.FAILED, failure, seen, is_left_over=flying.is_left_over)
                if not flying.is_left_over:
                    self._gate.count(Streak.NOT_SEEN, failure, has_more=self._has_more())
        else:
            yield from self._leave(flying, seen, failure, was_looked_at=was_looked_at)

    def _leave(
        self, flying: Flying, seen: Prediction, failure: errors.CometrepError, *, was_looked_at: bool
    ) -> Events:
        """Leave an item that could not be seen, or not to its end, as running; the next run looks again."""
        is_late = isinstance(failure, errors.StillRunning)
        is_refused = _is_refused(failure)
        if failure.code == "prediction_not_found":  # it is paid for, and another node may know it
            failure.message += "; while its hour lasts the same command looks again"
        elif is_refused:
            failure.message = f"{_told_of_look(seen.id, failure)}; the same command looks again"
        is_unseen = not seen.status and (was_looked_at or not is_late)
        is_left_over = flying.is_left_over or (is_late and not is_unseen)
        yield from self._outcomes.fail(flying.item, State.RUNNING, failure, seen, is_left_over=is_left_over)
        if _is_for_all(failure):
            self._gate.give_up(failure)
        elif (is_refused or is_unseen) and not flying.is_left_over:
            self._gate.count(Streak.NOT_SEEN, failure, has_more=self._has_more())

    def _unfound(self, id: str, flying: Flying, failure: errors.CometrepError) -> Events:
        """Take up that an id which may be that of an item in doubt could not be seen: it stays in doubt."""
        item, doubt = flying.item, flying.doubt
        assert doubt
        is_gone = failure.code == "prediction_not_found"
        told = _told_of_look(id, failure) if _is_refused(failure) else failure.message
        doubt.message += f"; the API does not know {id}" if is_gone else f"; {told}"
        if flying.stood:
            shown = flying.stood._replace(error=doubt.message)
            if is_gone:
                yield from self._take_up(item, flying.stood, shown._replace(id=""))
            else:
                yield from self._outcomes.pass_over(item, shown)
        else:
            yield from self._outcomes.fail(item, State.UNKNOWN, doubt, unseen(item, id))
        if _is_for_all(failure):
            self._gate.give_up(failure)

    def _is_young(self, id: str) -> bool:
        """Say whether the hour of a prediction that ended is not over: the API may know it again."""
        entry = self._ledger.lenient(self._ledger.entry, id)
        return entry is not None and self._now() < entry.expires

    def _succeeded(self, flying: Flying, prediction: Prediction, *, may_return: bool) -> Events:
        item = flying.item
        if prediction.run_seconds is not None and flying.model in self._runs:
            self._runs[flying.model].append(prediction.run_seconds)
        facts = {"status": prediction.status, "seconds": prediction.run_seconds, "seed": prediction.logged_seed}
        yield from self._outcomes.note("ended", item, id=prediction.id, **facts)
        self._saver.begin(item, prediction, may_return=may_return, is_left_over=flying.is_left_over)


def _is_for_all(failure: errors.CometrepError) -> bool:
    """Say whether a look met what all looks would, whatever prediction they are at."""
    if failure.code == "api_key_refused":
        return failure.http_status == 401  # with 403 it is another account's, or something on the way dislikes it
    return isinstance(failure, errors.LocalFileError) or failure.code in _LOOKS_FATAL_CODES


def _is_refused(failure: errors.CometrepError) -> bool:
    """Say whether a look was refused for what its prediction is."""
    return not (_is_for_all(failure) or isinstance(failure, (errors.StillRunning, errors.Temporary)))


def _is_gone(failure: errors.CometrepError) -> bool:
    """Say whether a look was answered that its prediction is not there; any other refusal says nothing of that."""
    return failure.code == "prediction_not_found" or failure.http_status == 410


def _told_of_look(id: str, failure: errors.CometrepError) -> str:
    return f"the look at {id} was refused: {failure.message}"
