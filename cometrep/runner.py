"""Carry one prediction from input to files on disk.

Each use case is a generator of events: it yields what happens, a `Result` for each prediction, and raises at its
end what went wrong. Nothing is printed here.
"""

import os
import re
import time
from collections.abc import Callable, Generator, Sequence
from functools import partial
from pathlib import Path
from random import random as real_random
from typing import TYPE_CHECKING, NamedTuple

from cometrep import errors, hints
from cometrep.api import Api
from cometrep.events import Created, Creating, Event, Events, Expected, Noted, Result, Retrying, Seen, Slow
from cometrep.ledger import Ledger
from cometrep.ledger.database import BUSY_SECONDS
from cometrep.prediction import STATUSES, TERMINAL_STATUSES, Prediction, Request, SavedFile
from cometrep.schedule import backoff_seconds, schedule_for
from cometrep.sending import Sending
from cometrep.text import format_count, format_duration
from cometrep.transport.reasons import TRUST_MORE
from cometrep.watch import SLOW_SECONDS, Target, watch

if TYPE_CHECKING:
    from cometrep.keeping import Keeper

FRESH_SECONDS = 30.0  # after a create, during which the API may not yet know the id
LEDGER_SECONDS = 2.0  # that the id of a create waits to be told for a ledger that another process holds
SOON_SECONDS = 0.15  # a create answered within this needs no word that it was sent
_GOES_ON_CODES = ("no_credit", "rate_limited", "too_large", "model_not_found", "bad_answer")
"""Refusals of a look after which only the same prediction is to be looked at again."""
_HELD = "the ledger, which another process may hold, is waited for"
STOP_GRACE_SECONDS = 5.0  # that a stopped create waits for its answer, so that the id is not lost


class Patience(NamedTuple):
    """How to wait: the deadline of it all (None for none), the budget for failed attempts, a fixed interval.

    `prompt_budget_seconds` is the budget where there is no connection, or one look is all that was asked for.
    """

    deadline_seconds: float | None = 1800.0
    retry_budget_seconds: float = 60.0
    prompt_budget_seconds: float = 15.0
    interval_seconds: float | None = None

    @property
    def of_one_look(self) -> "Patience":
        """How to wait where one look is all that was asked for: until it is answered, with the prompt budget."""
        return self._replace(deadline_seconds=None, retry_budget_seconds=self.prompt_budget_seconds)


class Runner:
    """The use cases, over one API, one ledger and one set of rules."""

    def __init__(
        self,
        api: Api,
        ledger: Ledger,
        *,
        patience: Patience,
        keeper: "Keeper | None" = None,
        resume: hints.Command = hints.WAIT_AGAIN,
        rerun: hints.Command = hints.RERUN,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
        random: Callable[[], float] = real_random,
    ) -> None:
        self._api = api
        self._ledger = ledger
        self._patience = patience
        self._given_keeper = keeper
        self._resume = resume
        self._rerun = rerun
        self._clock = clock
        self._now = now
        self._sleep = sleep
        self._random = random

    @property
    def _keeper(self) -> "Keeper":
        assert self._given_keeper  # a command that saves gives one
        return self._given_keeper

    def create(self, request: Request) -> Generator[Event, None, Prediction]:
        """Send one create; its `Result` is the prediction as the answer shows it, which it returns too."""
        prediction = yield from self._create(request)
        yield Result(prediction.id, prediction)
        return prediction

    def look(self, ids: Sequence[str], *, exits_by_status: bool = False) -> Events:
        """Look at each prediction once; with `exits_by_status` fail as `wait` would, StillRunning while it runs."""
        self._api.check_settings()  # once for all
        outcomes: list[errors.CometrepError | None] = []
        for event in self._in_order(ids, until_answered=True):
            if isinstance(event, Result):
                if exits_by_status:
                    event = yield from self._ended(event)
                outcomes.append(event.failure)
                yield event
            elif not isinstance(event, Seen):  # one look is not a wait worth telling
                yield event
        _raise(outcomes)

    def refresh(self, ids: Sequence[str]) -> Events:
        """Look at each prediction once for the ledger's sake; what cannot be seen is a warning."""
        if not ids:
            return
        try:
            self._api.check_settings()
        except errors.ConfigError as failure:
            yield Noted("", failure.message, is_warning=True)
            return
        for event in self._watch([self._target(id) for id in ids], until_answered=True):
            if isinstance(event, Result) and event.failure:
                yield Noted(event.id, event.failure.message, is_warning=True)
            elif not isinstance(event, (Seen, Result)):
                yield event

    def wait(self, ids: Sequence[str]) -> Events:
        """Poll until every prediction is terminal; results come in the order of `ids`, each as soon as it can."""
        self._api.check_settings()
        outcomes: list[errors.CometrepError | None] = []
        for event in self._in_order(ids):
            if isinstance(event, Result):
                event = yield from self._ended(event)
                outcomes.append(event.failure)
            yield event
        _raise(outcomes)

    def download(self, ids: Sequence[str], *, waits: bool) -> Events:
        """Save the outputs of predictions in the order of `ids`; with `waits` each as soon as it is finished."""
        self._keeper.check_ids(ids)
        self._api.check_settings()
        distinct = list(dict.fromkeys(ids))
        outcomes: dict[str, errors.CometrepError | None] = {}
        looks = (
            self._watch([*map(self._target, distinct)]) if waits else self._in_order(distinct, until_answered=True)
        )
        for event in looks:
            if isinstance(event, Result):
                event = yield from self._saved(event._replace(files=()))
                outcomes[event.id] = event.failure
            if waits or not isinstance(event, Seen):
                yield event
        _raise([outcomes[id] for id in distinct])

    def run(self, request: Request) -> Events:
        """Create a prediction, wait for it and save its outputs."""
        self._keeper.check(request)
        if paths := self._keeper.paths_that_stay(request):
            yield Noted("", told_of_paths_that_stay(paths))
            return
        self._keeper.check_room(request)
        began = self._clock()
        created = yield from self._create(request, self._patience.deadline_seconds)
        failure: errors.CometrepError | None = None
        target = Target(
            created.id,
            is_fresh=True,
            told=created,
            is_known=True,
            model=request.model,
            input=created.input,
            spent_seconds=self._clock() - began,
        )
        for event in self._watch([target], is_paid=True):
            if isinstance(event, Result):
                result = yield from self._saved(event, created)
                failure = paid(result.failure)
                yield result._replace(failure=failure, elapsed_seconds=self._clock() - began)
            else:
                yield event
        _raise([failure])

    # Creating

    def _create(
        self, request: Request, deadline_seconds: float | None = None
    ) -> Generator[Event, None, Prediction]:
        """Send a create once, again only where it provably was not accepted; the id is in the ledger on return.

        It is not sent again behind the deadline; one that is under way has its time.
        """
        self._api.check_settings()  # before there is an entry
        self._api.check_input(request.model, request.values)
        sending = Sending(self._api, self._ledger, request)
        prediction = None
        try:
            answered = yield from self._send(request, sending, deadline_seconds)
            prediction = answered.as_asked(request.model, request.values)
            yield from self._keep(sending, prediction, (LEDGER_SECONDS, BUSY_SECONDS))
        except errors.Stopped as stop:
            yield from self._rescue(request, sending, stop)
            raise
        except errors.LocalFileError as failure:
            if prediction is None:
                raise
            told = f"prediction {prediction.id} is not recorded: {failure.message}"
            yield Noted(prediction.id, told, is_warning=True, is_of_lost_id=True)
        finally:
            sending.close()
        return prediction

    def _send(
        self, request: Request, sending: Sending, deadline_seconds: float | None
    ) -> Generator[Event, None, Prediction]:
        """Make attempts until one is accepted or may have been; mark the entry with how they ended."""
        began, attempts = self._clock(), 0
        while True:
            try:
                return (yield from self._attempt(request, sending))
            except errors.Temporary as failure:
                attempts += 1
                pause = max(backoff_seconds(attempts, self._random()), failure.retry_after_seconds or 0.0)
                limit = self._patience.retry_budget_seconds, "the retry budget of {}"
                if failure.code == "network":  # for which a person waits less, whatever the settings show
                    limit = self._patience.prompt_budget_seconds, "{} without a connection"
                if deadline_seconds is not None:
                    limit = min(limit, (deadline_seconds, "the deadline of {}"))
                yield from self._mark(self._ledger.refuse, sending, failure)
                if not failure.is_worth_repeating or self._clock() + pause > began + limit[0]:
                    raise _not_accepted(failure, attempts, *limit) from failure
                yield Creating("", request.model)
                yield Retrying("", failure.message, attempts, pause)
                self._sleep(pause)
            except errors.CreateUnknown as failure:
                if failure.prediction_id:
                    failure.hint = self._resume.of(failure.prediction_id)
                yield from self._mark(self._ledger.doubt, sending, failure)
                raise
            except errors.LocalFileError:  # what was to be done before it was sent could not be done
                raise
            except errors.CometrepError as failure:
                yield from self._mark(self._ledger.refuse, sending, failure)
                if isinstance(failure, errors.Refused) and failure.code == "bad_request":
                    from cometrep.request import explain

                    explain(request, failure)
                raise

    def _attempt(self, request: Request, sending: Sending) -> Generator[Event, None, Prediction]:
        """Send the create and wait for its answer, saying so where it is slow."""
        sending.begin()
        began = self._clock()
        if not sending.is_answered(SOON_SECONDS):
            yield Creating("", request.model)
        is_held = False
        while not sending.is_answered(SLOW_SECONDS):
            if sending.entry:
                yield Slow("", self._clock() - began)
            elif not is_held:
                is_held = True
                yield Noted("", f"nothing is sent yet: {_HELD}", is_warning=True)
        answer = sending.outcome
        if isinstance(answer, errors.CometrepError):
            raise answer
        assert answer is not None
        return answer

    def _keep(self, sending: Sending, created: Prediction, patience_seconds: Sequence[float]) -> Events:
        """Write the id of a create into its entry, and tell it, once, before a ledger that is held lets go.

        `patience_seconds` are those before and behind that; raises as the ledger does.
        """
        for seconds in patience_seconds:
            failure = self._not_kept(sending, created, seconds)
            if not sending.is_told:
                sending.is_told = True
                yield Created(created)
            if failure is None:
                return
        assert failure
        raise failure

    def _not_kept(
        self, sending: Sending, created: Prediction, patience_seconds: float
    ) -> errors.LocalFileError | None:
        try:
            self._ledger.accept(sending.entry, created, patience_seconds=patience_seconds)
        except errors.LocalFileError as failure:
            return failure
        return None

    def _mark(
        self,
        mark: Callable[..., None],
        sending: Sending,
        failure: errors.CometrepError,
        stop: errors.Stopped | None = None,
    ) -> Events:
        """Write into its entry how a create ended, and tell it before a ledger that is held lets go.

        Behind a signal there is little patience: what stops a service kills it soon.
        """
        first, then = (SOON_SECONDS, LEDGER_SECONDS) if stop else (LEDGER_SECONDS, BUSY_SECONDS)
        try:
            mark(sending.entry, failure, patience_seconds=first)
        except errors.LocalFileError as problem:
            if not sending.is_told:
                sending.is_told = True
                told = f"{failure.message}; {_HELD}" if problem.code != "disk_full" else failure.message
                yield Noted(failure.prediction_id or "", told, is_warning=True)
            self._ledger.insist(partial(mark, patience_seconds=then), sending.entry, failure)
            if stop and self._ledger.problem:
                stop.message += "; the ledger did not take it"

    def _rescue(self, request: Request, sending: Sending, stop: errors.Stopped) -> Events:
        """Keep what a create that was stopped is answered, within a moment, and say what is known of it.

        The prediction that it came to is told where it is not by now.
        """
        sending.stop()
        if not sending.is_answered(SOON_SECONDS) and not sending.entry:
            sending.is_answered(LEDGER_SECONDS)  # what is being written is not to stay in doubt
        elif sending.outcome is None:
            grace = format_duration(STOP_GRACE_SECONDS)
            told = f"a create is under way, and may be accepted: waiting {grace} for its answer"
            then = f"{stop.another} leaves at once (then: {hints.LIST_UNKNOWN})"  # a dead one says no more
            yield Noted("", f"{told}; {then}", is_warning=True)
            sending.is_answered(STOP_GRACE_SECONDS)
        answer = sending.outcome
        if isinstance(answer, Prediction):
            stop.prediction_id = answer.id
            try:  # whether or not it got through before
                shown = answer.as_asked(request.model, request.values)
                yield from self._keep(sending, shown, (SOON_SECONDS, LEDGER_SECONDS))
            except errors.LocalFileError as failure:
                stop.message += f"; {failure.message}"
        elif answer is None:
            stop.message += "; a create was under way, and whether it was accepted is unknown"
            stop.hint = hints.LIST_UNKNOWN
        elif isinstance(answer, errors.CreateUnknown):
            stop.message += f"; {answer.message}"
            stop.prediction_id, stop.request_id = answer.prediction_id, answer.request_id
            stop.http_status = answer.http_status
            stop.hint = self._resume.of(answer.prediction_id) if answer.prediction_id else hints.LIST_UNKNOWN
            yield from self._mark(self._ledger.doubt, sending, answer, stop)
        else:
            stop.message += f"; nothing was created: {answer.message}"
            if sending.entry:
                yield from self._mark(self._ledger.refuse, sending, answer, stop)

    # Watching

    def _target(self, id: str) -> Target:
        entry = self._ledger.lenient(self._ledger.entry, id)
        if entry is None:
            return Target(id)
        age = max(0.0, self._now() - entry.created)
        # Of what has ended the API knew, or the answer to its create told all that there is.
        is_fresh = age < FRESH_SECONDS and entry.status not in TERMINAL_STATUSES
        return Target(id, is_fresh=is_fresh, is_known=True, age_seconds=age, model=entry.model, input=entry.input)

    def _watch(self, targets: Sequence[Target], *, until_answered: bool = False, is_paid: bool = False) -> Events:
        """Watch predictions, writing each change into the ledger and giving each the model and input asked for.

        `is_paid` where this command created them.
        """
        runs = {} if until_answered else self._earlier_runs(targets)
        for id, seconds in runs.items():
            if seconds:
                yield Expected(id, sorted(seconds)[len(seconds) // 2])
        patience = self._patience.of_one_look if until_answered else self._patience
        schedules = {
            target.id: schedule_for(
                runs.get(target.id, ()),
                age_seconds=target.age_seconds,
                fixed_interval_seconds=patience.interval_seconds,
            )
            for target in targets
        }
        asked = {target.id: target for target in targets}
        for event in watch(
            partial(look_at, self._api, self._ledger),
            targets,
            deadline_seconds=patience.deadline_seconds,
            retry_budget_seconds=patience.retry_budget_seconds,
            schedule_of=schedules.__getitem__,
            until_answered=until_answered,
            resume=self._resume,
            clock=self._clock,
            random=self._random,
        ):
            if isinstance(event, Result):
                self._advised(event.failure, event.id, is_paid=is_paid)
            if isinstance(event, (Seen, Result)) and event.prediction:
                if isinstance(event, Seen):
                    yield from self._see(event.prediction)
                target = asked[event.id]
                event = event._replace(prediction=event.prediction.as_asked(target.model, target.input))
            yield event

    def _see(self, prediction: Prediction) -> Events:
        """Write what a look showed into the ledger; an end is worth a wait for it, and a word where it is long."""
        if prediction.is_terminal and not self._ledger.problem:
            try:
                self._ledger.see(prediction, patience_seconds=LEDGER_SECONDS)
            except errors.LocalFileError as problem:
                if problem.is_worth_repeating and problem.code != "disk_full":
                    told = f"prediction {prediction.id} {prediction.status}, which is not recorded yet: {_HELD}"
                    yield Noted(prediction.id, told, is_warning=True)
            else:
                return
        self._ledger.lenient(self._ledger.see, prediction)

    def _earlier_runs(self, targets: Sequence[Target]) -> dict[str, list[float]]:
        """Give by prediction how long earlier ones of its model ran, in seconds, as far as the ledger knows."""
        models = {target.model for target in targets} - {""}
        runs = {model: self._ledger.lenient(self._ledger.run_seconds, model) or [] for model in models}
        return {target.id: runs.get(target.model, []) for target in targets}

    def _in_order(self, ids: Sequence[str], *, until_answered: bool = False) -> Events:
        """Watch predictions; their results come in the order of `ids`, each as soon as those before it are out."""
        results: dict[str, Result] = {}
        left = list(ids)
        for event in self._watch([self._target(id) for id in dict.fromkeys(ids)], until_answered=until_answered):
            if not isinstance(event, Result):
                yield event
                continue
            results[event.id] = event._replace(files=self._files_saved(event.id))
            while left and left[0] in results:
                yield results[left.pop(0)]

    def _files_saved(self, id: str) -> tuple[SavedFile, ...]:
        """List the files of a prediction that this machine saved and still has, the newest copy of each."""
        found: dict[int, SavedFile] = {}
        for file in self._ledger.lenient(self._ledger.files, id) or ():
            if os.path.exists(file.path):
                found.setdefault(file.index, file)
        return tuple(found.values())

    def _saved(self, result: Result, told: Prediction | None = None) -> Generator[Event, None, Result]:
        """Save the outputs of a watched prediction; give its result with the files and what failed.

        `told` is what the answer to its create told, where this command sent that.
        """
        prediction = self._remembered(result, told) if result.failure else result.prediction
        if prediction is None:
            return result._replace(prediction=result.prediction or told)
        if told and prediction.output is None:
            prediction = prediction._replace(output=told.output)
        if failure := self._standing(prediction):
            return result._replace(prediction=prediction, failure=failure)
        failed = result.failure
        if (
            failed
            and not prediction.output_files()
            and self._ledger.lenient(self._ledger.may_gain_output, result.id)
        ):
            failed.message += "; it succeeded, and its output, which was not seen yet, may still come"
            failed.hint = self._resume.of(result.id)
            return result._replace(prediction=prediction)
        files, failure = yield from self._keeper.save(prediction, self._look_again)
        left = 0 if failure or self._keeper.keeping.template == "-" else len(prediction.output_files()) - len(files)
        if told and left:  # by --skip-existing, for a name that was not known beforehand, or has come meanwhile
            text = f"{format_count(left, 'output file')} of {prediction.id}, paid for, not saved: what exists stays"
            hint = self._resume.of(prediction.id, remedy=hints.OWN_NAMES)
            yield Noted(prediction.id, text, is_warning=True, hint=hint)
        return result._replace(
            prediction=prediction, files=tuple(files), failure=self._advised(failure, prediction.id)
        )

    def _remembered(self, result: Result, told: Prediction | None = None) -> Prediction | None:
        """Give a prediction that the API does not know, any more or yet, or does not show, as it was last seen.

        That is in the answer to its create, or in the ledger; None where it had not ended there, or where its files
        stood in a reply that may be had again.
        """
        is_unknown = result.failure is not None and result.failure.code == "prediction_not_found"
        is_unseen = result.prediction is None and isinstance(
            result.failure, (errors.Temporary, errors.StillRunning)
        )
        if not is_unknown and not is_unseen:
            return None
        if told is None or not told.is_terminal:
            told = self._ledger.lenient(self._ledger.ended, result.id)
        if told is None:
            return None
        if told.status == "succeeded" and not is_unknown:
            files = told.output_files()
            if not files or any(file.is_forgotten for file in files):
                return None
        return told._replace(data_removed=is_unknown)

    def _ended(self, result: Result) -> Generator[Event, None, Result]:
        """Give a result with the failure that its prediction's status means, the ledger's where it was not seen."""
        if result.failure and (kept := self._remembered(result)):
            yield Noted(result.id, f"{result.failure.message}; how it ended is known from the ledger")
            result = result._replace(prediction=kept, failure=None)
        if result.failure or not result.prediction:
            return result
        return result._replace(failure=self._standing(result.prediction))

    def _standing(self, prediction: Prediction) -> errors.CometrepError | None:
        """Give the failure that a prediction's status means, StillRunning while it runs; None for success."""
        if not prediction.is_terminal:
            return _unfinished(prediction, self._resume)
        return self._repeatable(prediction.failure(), prediction.id)

    def _repeatable(self, failure: errors.CometrepError | None, id: str) -> errors.CometrepError | None:
        """Give the advice to create a prediction again as this command would do it.

        It is taken back where the ledger does not know what was sent.
        """
        if failure and failure.hint == hints.RERUN.of(id):
            is_known = self._ledger.lenient(self._ledger.entry, id)
            failure.hint = (self._rerun if is_known else hints.LOOK_WHOLE).of(id)
        return failure

    def _advised(
        self, failure: errors.CometrepError | None, id: str, *, is_paid: bool = True
    ) -> errors.CometrepError | None:
        """Name the prediction in what failed after its create, and give the command that goes on with it.

        To type the command that created it once more would pay once more. Where it was created elsewhere
        (`is_paid` is false), what may be wrong with the base URL or the id comes first.
        """
        if failure is None:
            return None
        own = ("not_an_api", "redirected", "prediction_not_found", "bad_request") if is_paid else ()
        goes_on = (*_GOES_ON_CODES, *own)
        for one in failure.parts:
            one.prediction_id = id
            if not _names(one.message, id):
                one.message = f"prediction {id}: {one.message}"
            again = self._resume.of(id, remedy=one.remedy)
            if one.code == "api_key_refused" or one.hint == TRUST_MORE:
                if again not in one.hint:  # a failed look for a fresh URL has it
                    one.hint = f"{one.hint} && {again}"
            elif one.remedy or not one.hint or one.code in goes_on:
                one.hint = again
            self._repeatable(one, id)
        if not _names(failure.message, id):
            failure.message = f"prediction {id}: {failure.message}"
        failure.prediction_id = id
        return failure

    def _look_again(self, id: str) -> Generator[Event, None, Prediction]:
        """Look at a prediction once more; raise what keeps it from being seen."""
        result = None
        for event in self._watch([Target(id, is_known=True)], until_answered=True):
            if isinstance(event, Result):
                result = event
            elif not isinstance(event, Seen):
                yield event
        assert result is not None
        if result.failure:
            raise result.failure
        assert result.prediction is not None
        return result.prediction


def look_at(api: Api, ledger: Ledger, id: str) -> Prediction:
    """Look at a prediction once; raise as `Api.get` does, and Temporary where the answer shows another one.

    A gateway may have two ids for one prediction: one that differs is another's only where the ledger knows both.
    """
    prediction = api.get(id)
    shown = prediction.raw.get("id")
    if isinstance(shown, str) and shown != id and all(ledger.lenient(ledger.entry, one) for one in (id, shown)):
        raise errors.Temporary(
            f"the answer to a look at {id} shows {shown}, another prediction",
            hint=hints.RUN_AGAIN,
            code="bad_answer",
            prediction_id=id,
        )
    return prediction


def _raise(outcomes: Sequence[errors.CometrepError | None]) -> None:
    if failure := errors.combined(outcomes):
        raise failure


def paid(failure: errors.CometrepError | None) -> errors.CometrepError | None:
    """Give a failure the exit code it has after a create: 2 would say that nothing was sent."""
    if not isinstance(failure, errors.UsageError):
        return failure
    return failure.told_as(errors.LocalFileError, f"{failure.message}; nothing of it is saved yet")


def told_of_paths_that_stay(paths: Sequence[Path]) -> str:
    """Say that nothing is created, as the paths of all its outputs exist."""
    stay = "exists and stays as it is" if len(paths) == 1 else "exist and stay as they are"
    return f"{', '.join(map(str, paths))} {stay}; nothing was created"


def _names(message: str, id: str) -> bool:
    """Say whether an id stands in a message, and not its letters alone."""
    return re.search(rf"(?<![\w-]){re.escape(id)}(?![\w-])", message) is not None


def _unfinished(prediction: Prediction, resume: hints.Command) -> errors.CometrepError:
    what = f"{prediction.status}, not finished"
    if prediction.status not in STATUSES:  # which may sound like an end
        what = f"{prediction.status!r}, a status that counts as running"
    return errors.StillRunning(
        f"prediction {prediction.id} is {what}",
        hint=resume.of(prediction.id),
        code="not_finished",
        prediction_id=prediction.id,
    )


def _not_accepted(
    failure: errors.Temporary, attempts: int, limit_seconds: float, limit: str
) -> errors.CometrepError:
    if not failure.is_worth_repeating:
        return failure.told_as(errors.Temporary, f"{failure.message}; nothing was created")
    within = limit.format(format_duration(limit_seconds))
    if failure.retry_after_seconds and failure.retry_after_seconds > limit_seconds:
        why = f"the API asks to wait {format_duration(failure.retry_after_seconds)}, longer than {within}"
    else:
        why = f"{format_count(attempts, 'attempt')} within {within}"
    return failure.told_as(errors.Temporary, f"{failure.message} ({why}); nothing was created")
