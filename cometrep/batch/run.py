"""Run many inputs; resume where a previous run stopped.

One loop, in the caller's thread, decides everything; creates, looks and saves are blocking calls in three small
sets of threads that hand their answers to it. So a slow download idles no create, a thousand predictions in flight
need no thousand threads, and the state of an item has one writer.

An item is created only when the record does not know it, or the user asks for another try. The record's `sending`
is written by the create's own thread, at the moment its body begins to leave, and its answer as it comes: a death
before leaves the item untouched, and one between them leaves it in doubt, which no run resends by itself.
"""

import contextlib
import math
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from random import random as real_random
from typing import NamedTuple

from cometrep import errors
from cometrep.api import Api
from cometrep.batch.fate import (
    GIVEN_TWICE,
    Asked,
    Fate,
    changed,
    decide,
    entry_of,
    paths_that_stay,
    sent_for,
    settled,
    surely_settled,
)
from cometrep.batch.following import LOOK_THREADS, Flying, Follower
from cometrep.batch.gate import Gate, Streak
from cometrep.batch.items import Item
from cometrep.batch.outcomes import Outcomes, stopped, unseen
from cometrep.batch.record import Record
from cometrep.batch.saving import Kept, Saver
from cometrep.batch.sending import Sender, Sent
from cometrep.batch.standings import NEW, NO_ANSWER, Standing, State
from cometrep.calls import Calls
from cometrep.events import (
    SKIPPED,
    BatchEnded,
    Created,
    Event,
    Events,
    Noted,
    Retrying,
    Tally,
)
from cometrep.keeping import Keeper
from cometrep.ledger import Ledger
from cometrep.ledger.database import BRIEF_SECONDS
from cometrep.ledger.entry import UNKNOWN
from cometrep.pace import Pace
from cometrep.prediction import Prediction
from cometrep.runner import look_at, told_of_paths_that_stay
from cometrep.schedule import Patience
from cometrep.text import format_duration

CREATE_THREADS = 12
CONNECTIONS = CREATE_THREADS + LOOK_THREADS  # to the API
_SAVE_THREADS = 8  # and those that creates do not need
_OPEN_AT_ONCE = 1000  # items that earlier runs left open: as many as may be under way at all
SAVES_AT_LEAST = 64  # finished predictions with files to be saved, each in memory, beside which more are created
_ADMITTING_SECONDS = 0.05  # at a stretch, where an earlier run has done many
_TALLY_SECONDS = 0.2  # between two tallies
_PUBLISH_SECONDS = 30.0
STOP_GRACE_SECONDS = 2.0  # that a stopped batch waits for the answers of creates under way, so that ids are kept
_ANSWERS_SECONDS = 20.0  # that it waits for them where nobody waits for its end
_IN_DOUBT = errors.CreateUnknown.exit_code
_FATAL_CODES = ("api_key_missing", "api_key_refused", "bad_setting", "no_credit", "not_an_api", "redirected")
"""Refusals that the next item would meet too."""


class _Create(NamedTuple):
    """One create that is to be sent, or under way: of an item that stood `before`, as which attempt.

    `entry` is its number in the ledger where it was throttled, 0 for none.
    """

    item: Item
    before: Standing = NEW
    entry: int = 0
    attempt: int = 1

    @property
    def is_of_doubt(self) -> bool:
        """Whether an earlier create of the item may be paid for."""
        return self.before.state is State.UNKNOWN


Key = tuple[str, float]  # for which item or prediction something was called, and when that began
Answer = Sent | Prediction | Kept


class Batch:
    """One run over the items of a batch.

    `keeper_of` gives what keeps the outputs of an item, from its key; it is called in threads.
    `check_folders` is called before the first create, and raises LocalFileError where outputs could not be saved.
    `publish` is called now and then, and at the end, to show what there is so far.
    """

    def __init__(
        self,
        api: Api,
        ledger: Ledger,
        record: Record,
        keeper_of: Callable[[str], Keeper],
        *,
        asked: Asked,
        patience: Patience,
        pace: Pace,
        check_folders: Callable[[], None] = lambda: None,
        publish: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
        random: Callable[[], float] = real_random,
    ) -> None:
        self._api = api
        self._ledger = ledger
        self._record = record
        self._sender = Sender(api, ledger, record)
        self._paths_that_stay = partial(paths_that_stay, keeper_of)
        self._asked = asked
        self._gate = Gate(pace, retry_budget_seconds=patience.retry_budget_seconds, random=random)
        self._check_folders: Callable[[], None] | None = check_folders  # None once they were checked
        self._publish = publish
        self._clock = clock
        self._now = now
        creating = min(asked.jobs, CREATE_THREADS)
        self._creates: Calls[Key, Answer] = Calls(creating)
        self._looks: Calls[Key, Answer] = Calls(LOOK_THREADS, beside=self._creates)
        self._saves: Calls[Key, Answer] = Calls(_SAVE_THREADS + CREATE_THREADS - creating, beside=self._creates)
        self._unsent: deque[_Create] = deque()  # to be sent next
        self._sending: dict[str, _Create] = {}  # under way, by the keys of their items
        self._has_open = True  # as far as is known
        self._to_come = 0  # items that are not taken up yet
        self._stood: Counter[tuple[State, int]] = Counter()  # of these, where earlier runs left them
        self.was_asked_to_stop = False
        self._outcomes = Outcomes(record, self._gate, asked, has_more=lambda: self._has_more)
        self._saver = Saver(
            keeper_of,
            record,
            self._gate,
            self._outcomes,
            look=partial(look_at, api, ledger),
            submit=lambda id, save: self._saves.submit((id, self._clock()), save),
            now=now,
        )
        self._follower = Follower(
            api,
            ledger,
            self._gate,
            self._outcomes,
            self._saver,
            asked=asked,
            patience=patience,
            submit=lambda id, began, look: self._looks.submit((id, began), look),
            take_up=self._take_up,
            send_again=lambda item, standing: self._unsent.append(_Create(item, standing)),
            has_more=lambda: self._has_more,
            clock=clock,
            now=now,
            random=random,
        )

    def stop(self) -> None:
        """Send nothing more and finish what runs; may be called from a signal handler."""
        self.was_asked_to_stop = True
        self._gate.close()
        self._creates.wake()

    @property
    def in_doubt(self) -> int:
        """How many creates left and have no clear answer, those of earlier runs too that were passed over."""
        waiting = sum(create.is_of_doubt for create in self._unsent)
        return self._sender.in_doubt + self._outcomes.score.in_doubt + waiting

    def run(
        self,
        items: Iterator[Item],
        total: int,
        *,
        open_items: Iterable[Item | None] = (),
        stood: Mapping[tuple[State, int], int] | None = None,
    ) -> Generator[Event, None, BatchEnded]:
        """Run items to their ends; give how it ended.

        `open_items` come before all others and before any create: earlier runs may have paid for them, and outputs
        live an hour. None among them lets others go on meanwhile. `stood` counts the others that earlier runs took
        up, by where they left them and the exit code of that.
        """
        self._to_come, self._stood = total, Counter(stood or {})
        try:
            return (yield from self._run(items, iter(open_items), total))
        except BaseException as reason:  # a signal, a stdout that takes no more, an error of our own
            is_awaited = self.was_asked_to_stop or isinstance(reason, errors.Stopped)
            told = self._rescue(STOP_GRACE_SECONDS if is_awaited else _ANSWERS_SECONDS)
            with contextlib.suppress(errors.CometrepError):
                self._publish()
            if not isinstance(reason, GeneratorExit):  # for which nobody listens
                yield from told
            raise
        finally:
            for calls in (self._creates, self._looks, self._saves):
                calls.close()

    def _run(
        self, items: Iterator[Item], open_items: Iterator[Item | None], total: int
    ) -> Generator[Event, None, BatchEnded]:
        began = said = published = self._clock()
        has_said_stop = False
        while True:
            now = self._clock()
            while not self._go_on_in(now) and self._clock() < now + _ADMITTING_SECONDS:
                yield from self._go_on(items, open_items)
            yield from self._follower.turn(now)
            if not (self._running or self._saver.count or self._has_more or self._may_take_up_open):
                break
            if self.was_asked_to_stop and not has_said_stop:
                has_said_stop = True
                yield Noted("", "finishing what runs; Ctrl-C again leaves at once, and both can be resumed")
            if self._clock() >= published + _PUBLISH_SECONDS:
                published = self._clock()
                yield from self._published()
            if self._clock() >= said + _TALLY_SECONDS:
                said = self._clock()
                yield self._tally(total, began)
            answered = self._creates.next(self._rest_seconds(said))
            if answered is not None:
                yield from self._take(*answered)
        is_cut_short = bool(self._unsent or self._to_come)
        while self._unsent:
            yield from self._put_back(self._unsent.popleft())
        for (state, exit_code), count in (+self._stood).items() if self._to_come else ():
            self._outcomes.score.leave(state, exit_code, count)
        yield from self._published()
        yield from self._outcomes.warn_of_further()
        tally = self._tally(total, began)
        yield tally
        return self._outcomes.score.ended(tally, self._gate.fatal, is_cut_short=is_cut_short)

    def _rescue(self, patience_seconds: float) -> list[Event]:
        """Take up the answers to creates that were under way when the batch was ended, if they come in time.

        Give what is to be told of them: what no file took, an id perhaps.
        """
        told: list[Event] = []
        self._sender.leave()
        began = self._clock()
        deadline = began + patience_seconds
        answers = self._creates.untaken()
        while True:
            for (name, _), answer in answers:
                if isinstance(answer, Sent) and (create := self._sending.get(name)):
                    told += [event for event in self._created(create, answer) if isinstance(event, Noted)]
            if not self._sender.in_doubt:
                if not self._sender.is_sending:
                    break
                deadline = min(deadline, began + BRIEF_SECONDS)  # their entries are not to stay in doubt
            if self.was_asked_to_stop:  # by a Ctrl-C behind what ended it
                deadline = min(deadline, self._clock() + STOP_GRACE_SECONDS)
            left = deadline - self._clock()
            if left > 0:  # not at a stretch: a signal that came to another thread is heard when this one wakes
                answered = self._creates.next(min(left, _TALLY_SECONDS))
                answers = [answered] if answered else []
            elif not (answers := self._creates.untaken()):  # that came while the ledger took the time
                break
        return told

    def _published(self) -> Events:
        try:
            self._publish()
        except errors.CometrepError as failure:
            yield Noted("", failure.message, is_warning=True)

    # Admitting and creating

    @property
    def _has_more(self) -> bool:
        return not self._gate.is_closed and bool(self._unsent or self._to_come)

    @property
    def _may_take_up_open(self) -> bool:
        # Nothing is sent for what is open: that no more are sent is no reason to let its hour pass.
        return self._has_open and not self.was_asked_to_stop and not self._gate.fatal

    @property
    def _running(self) -> int:
        return len(self._sending) + self._follower.count

    def _has_room(self) -> bool:
        # Outputs live an hour: where saving falls behind, nothing more is created or taken up for it.
        if self._saver.count >= max(SAVES_AT_LEAST, 2 * self._asked.jobs):
            return False
        if self._has_open:  # looks are all that they need, and no place among those that are created
            return self._follower.count < _OPEN_AT_ONCE
        # No create waits for a thread: it would be sent after the batch was asked to stop sending.
        return self._running < self._asked.jobs and len(self._sending) < CREATE_THREADS

    def _go_on_in(self, now: float) -> float:
        """Give the seconds until the next step may be made, infinity where none may be as things are."""
        if not (self._has_more or self._may_take_up_open) or not self._has_room():
            return math.inf
        # To take the next item up waits for no pace: it may be done already, or there may be none.
        return self._gate.creates.ready_in(now) if self._unsent and not self._has_open else 0.0

    def _go_on(self, items: Iterator[Item], open_items: Iterator[Item | None]) -> Events:
        """Send the create that is next, or take up the next item where none is, or earlier runs left one open."""
        if self._unsent and not self._has_open:
            yield from self._send_next()
            return
        try:
            item = next(open_items if self._has_open else items)
        except errors.LocalFileError as failure:  # their file is not what it was
            self._gate.give_up(failure)
        except StopIteration:
            if not self._has_open:
                self._to_come = 0
            self._has_open = False
        else:
            if item:
                self._to_come -= 1
                standing = self._record.standing(item.key)
                if not self._has_open:
                    self._stood[standing.state, standing.exit_code_told] -= 1
                yield from self._admit(item, standing)

    def _send_next(self) -> Events:
        if not self._may_save():
            return
        create = self._unsent[0]
        item = create.item
        try:
            paths = self._paths_that_stay(item)  # which may have come since it was taken up
        except errors.LocalFileError as failure:
            self._gate.give_up(failure)
            return
        self._unsent.popleft()
        if paths:
            yield from self._leave_alone(item, paths)
            return
        now = self._clock()
        self._gate.creates.sent(now)
        self._sending[item.key] = create
        self._creates.submit((item.key, now), partial(self._sender.send, item, create.entry, create.before))

    def _admit(self, item: Item, standing: Standing) -> Events:
        """Take up an item where its record left it: create it, wait for it, save it, or pass it over."""
        known = settled(item, standing, self._record, self._ledger)
        if known.state is not standing.state:
            yield from self._outcomes.note(known.step, item, **known.facts())
        standing = known
        if told := changed(item, standing, self._asked):
            yield from self._outcomes.warn("changed", told)
        yield from self._take_up(item, standing)

    def _take_up(self, item: Item, standing: Standing, shown: Standing | None = None) -> Events:
        """Do with an item what is to be done; as it is `shown`, where that is not as its record has it."""
        shown = shown or standing
        try:
            fate = decide(item, shown, self._asked, self._paths_that_stay)
        except errors.LocalFileError as failure:  # it cannot be told whether it is to be sent
            self._gate.give_up(failure)
            return
        if fate.is_sending and standing.state is State.UNKNOWN:
            yield from self._send_again(item, standing)
        elif fate.is_sending:
            self._unsent.append(_Create(item, standing))
        elif fate is Fate.TO_LEAVE_ALONE:
            yield from self._leave_alone(item, self._paths_that_stay(item))
        elif fate is Fate.DONE_BEFORE:
            yield from self._outcomes.done_before(item, standing)
        elif fate in (Fate.TO_WAIT_FOR, Fate.TO_SAVE, Fate.TO_LOOK_FOR):
            doubt = errors.CreateUnknown(standing.error) if fate is Fate.TO_LOOK_FOR else None
            entry = None if doubt else self._ledger.insist(entry_of, item, standing, self._ledger)
            if entry and entry.status == UNKNOWN:  # a death, or another process, kept the id from it
                self._ledger.insist(self._ledger.accept, entry.number, Prediction(standing.id, "starting"))
            # One that has ended was there: only of a create of a moment ago the API may not know yet.
            created = 0.0 if fate is Fate.TO_SAVE else standing.stood_since
            model, values = sent_for(item, standing, self._ledger)
            flying = Flying(item, model, values, standing.stood_since, doubt, standing)
            age_seconds = max(0.0, self._now() - created)
            yield from self._follower.begin(standing.id, flying, age_seconds=age_seconds)
        else:
            yield from self._outcomes.pass_over(item, shown)

    def _send_again(self, item: Item, standing: Standing) -> Events:
        """Have an item in doubt sent again, once the ledger could say that it has no id of it."""
        try:
            known = surely_settled(item, standing, self._record, self._ledger)
        except errors.LocalFileError as problem:
            doubt = errors.CreateUnknown(f"{standing.error or NO_ANSWER}; it is not sent again: {problem.message}")
            yield from self._outcomes.fail(item, State.UNKNOWN, doubt, unseen(item, standing.id), is_left_over=True)
            return
        if known.state is State.UNKNOWN:
            self._unsent.append(_Create(item, standing))
        else:  # it could not a moment ago
            yield from self._take_up(item, known)

    def _leave_alone(self, item: Item, paths: Sequence[Path]) -> Events:
        self._outcomes.score.skip()
        yield stopped(item, SKIPPED, told_of_paths_that_stay(paths), unseen(item))

    def _may_save(self) -> bool:
        """Say whether what is to be paid for can be saved; where it cannot, send nothing, and finish what runs."""
        try:
            if self._check_folders:
                self._check_folders()
                self._looks.start()  # or creates might take all threads that there are
                self._saves.start()
        except errors.LocalFileError as failure:
            self._gate.give_up(failure)
            return False
        self._check_folders = None
        return True

    # Answers

    def _take(self, key: Key, answer: Answer | errors.CometrepError) -> Events:
        name, began = key
        if isinstance(answer, Sent):
            yield from self._created(self._sending[name], answer)
        elif isinstance(answer, Kept):
            yield from self._saver.saved(answer, has_more=self._has_more)
        else:
            yield from self._follower.looked(name, began, answer)

    def _created(self, create: _Create, sent: Sent) -> Events:
        """Take up what a create was answered; once more where a signal cut in, so what is told of comes last."""
        item = create.item
        entry, answer, problem = sent
        self._sender.answered(item)
        if problem:
            step, id = ("created", answer.id) if isinstance(answer, Prediction) else ("doubt", answer.prediction_id)
            yield from self._outcomes.unrecorded(problem, step, item, id or "")
        if isinstance(answer, Prediction) and not self._is_own(answer.id, item):
            answer = errors.CreateUnknown(GIVEN_TWICE.format(answer.id))  # whose it is cannot be known
            yield from self._outcomes.note("doubt", item, error=answer.message, exit_code=answer.exit_code)
        if isinstance(answer, Prediction):
            self._gate.accepted(self._clock())
            yield Created(answer.with_model(item.model), item.key)
            self._write(self._ledger.accept, entry, answer)
            if not self._sender.is_left:
                yield from self._follower.begin(answer.id, self._flying(item), told=answer)
        else:
            yield from self._refused(create._replace(entry=entry), answer)
        self._sending.pop(item.key, None)

    def _write(self, write: Callable[..., None], entry: int, outcome: Prediction | errors.CometrepError) -> None:
        """Write into its entry what a create came to; where the batch is left there is little patience for that."""
        if self._sender.is_left:  # the record has it, and what stops a service kills it soon
            write = partial(write, patience_seconds=0.0 if self._ledger.problem else BRIEF_SECONDS)
        self._ledger.insist(write, entry, outcome)

    def _is_own(self, id: str, item: Item) -> bool:
        return self._record.owner(id, item.key) == item.key

    def _refused(self, create: _Create, answer: errors.CometrepError) -> Events:
        """Take up that a create gave no prediction: it is in doubt, or was not accepted, or refused for good."""
        item, before, entry, _ = create
        has_answered = answer.http_status is not None  # else there was no connection, or it was lost
        if has_answered:
            self._gate.reached()
        if isinstance(answer, errors.CreateUnknown):
            self._write(self._ledger.doubt, entry, answer)
            id = answer.prediction_id or ""
            if id and self._is_own(id, item) and not self._sender.is_left:
                yield from self._follower.begin(id, self._flying(item, answer))
            else:
                del self._sending[item.key]  # all is kept: told once more it would be one more in doubt
                yield from self._outcomes.fail(item, State.UNKNOWN, answer, unseen(item, id))
            self._gate.count(Streak.NO_ANSWER, answer, has_more=self._has_more)
            return
        if has_answered:
            self._gate.end_streak(Streak.NO_ANSWER)
        is_fatal = answer.code in _FATAL_CODES
        # A page in place of a prediction proves nothing: such an item is not sent again unasked.
        if isinstance(answer, errors.Temporary) or (is_fatal and not _is_a_page(answer)):
            if has_answered or before is not NEW:  # it left, and was not accepted
                yield from self._outcomes.note(before.step, item, **before.facts())
            yield from self._not_accepted(create, answer)
            return
        self._write(self._ledger.refuse, entry, answer)
        if isinstance(answer, errors.LocalFileError):  # it could not be recorded, so it was not sent
            self._gate.give_up(answer)
            with contextlib.suppress(errors.LocalFileError):  # it may be written, and not on the disk
                self._record.add(before.step, item.key, **before.facts())
            yield from self._put_back(create)
            return
        outcome, failure = before.state, answer
        if before.state in (State.UNKNOWN, State.RUNNING, State.UNSAVED):  # an earlier create of it may be paid for
            if create.is_of_doubt:
                told = f"{before.error or NO_ANSWER}; sent again, it was refused: {answer.message}"
                failure = errors.CreateUnknown(told)
            yield from self._outcomes.note(before.step, item, **before.facts())
        else:
            outcome = State.FAILED
            yield from self._outcomes.note("refused", item, error=answer.message, exit_code=answer.exit_code)
        self._sending.pop(item.key, None)
        yield from self._outcomes.fail(item, outcome, failure, unseen(item, before.id))
        if is_fatal:
            self._gate.give_up(answer)

    def _put_back(self, create: _Create) -> Events:
        """Leave an item whose create is not sent, or did nothing, where earlier runs left it, and tell of that."""
        self._sending.pop(create.item.key, None)  # told once more it would be one more
        if create.before.state in (State.UNKNOWN, State.FAILED):
            yield from self._outcomes.pass_over(create.item, create.before)

    def _not_accepted(self, create: _Create, failure: errors.CometrepError) -> Events:
        """Take up that a create provably did nothing: send it again, leave it for another run, or end the batch."""
        item, before, entry, attempt = create
        self._write(self._ledger.refuse, entry, failure)
        now = self._clock()
        is_temporary = isinstance(failure, errors.Temporary)
        if failure.is_worth_repeating and self._gate.try_again(failure, now):
            self._sending.pop(item.key, None)
            self._unsent.append(create._replace(attempt=attempt + 1))
            pause = self._gate.creates.ready_in(now)  # of all creates, which is the longer the more were refused
            yield Retrying("", f"{item.label}: {failure.message}", attempt, pause, item.key)
            return
        if is_temporary and failure.code not in ("network", "tls", "rate_limited"):
            if create.is_of_doubt:
                yield from self._put_back(create)
                return
            self._sending.pop(item.key, None)
            yield from self._outcomes.fail(item, before.state, failure, unseen(item, before.id))
        else:
            if failure.retry_after_seconds:
                failure.message += f" (the API asks to wait {format_duration(failure.retry_after_seconds)})"
            self._gate.give_up(failure)
            yield from self._put_back(create)

    def _flying(self, item: Item, doubt: errors.CreateUnknown | None = None) -> Flying:
        return Flying(item, item.model, item.values, self._now(), doubt)

    # Time and tallies

    def _rest_seconds(self, said: float) -> float:
        now = self._clock()
        waits = (self._follower.wake_in(now), max(0.0, said + _TALLY_SECONDS - now), self._go_on_in(now))
        return max(0.001, min(waits))

    def _tally(self, total: int, began: float) -> Tally:
        return self._outcomes.score.tally(
            total,
            running=self._running,
            saving=self._saver.count,
            elapsed_seconds=self._clock() - began,
            is_stopping=self._gate.is_closed,
        )


def _is_a_page(answer: errors.CometrepError) -> bool:
    """Say whether a create was answered by a web page as if all were well."""
    return answer.code == "not_an_api" and (answer.http_status or 0) in range(200, 300)
