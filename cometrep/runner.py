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
from typing import TYPE_CHECKING

from cometrep import errors, hints
from cometrep.api import Api
from cometrep.creating import Creator
from cometrep.events import Event, Events, Expected, Noted, Result, Seen
from cometrep.ledger import Ledger
from cometrep.ledger.database import BRIEF_SECONDS, HELD
from cometrep.prediction import STATUSES, TERMINAL_STATUSES, Prediction, Request, SavedFile
from cometrep.schedule import Patience, schedule_for
from cometrep.text import format_count
from cometrep.transport.reasons import TRUST_MORE
from cometrep.watch import Target, watch

if TYPE_CHECKING:
    from cometrep.keeping import Keeper

FRESH_SECONDS = 30.0  # after a create, during which the API may not yet know the id
_GOES_ON_CODES = ("no_credit", "rate_limited", "too_large", "model_not_found", "bad_answer")
"""Refusals of a look after which only the same prediction is to be looked at again."""


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
        self._random = random
        self._creator = Creator(
            api, ledger, patience=patience, resume=resume, clock=clock, sleep=sleep, random=random
        )

    @property
    def _keeper(self) -> "Keeper":
        assert self._given_keeper  # a command that saves gives one
        return self._given_keeper

    def create(self, request: Request) -> Generator[Event, None, Prediction]:
        """Send one create; its `Result` is the prediction as the answer shows it, which it returns too."""
        prediction = yield from self._creator.create(request)
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
        self._keeper.places.check_ids(ids)
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
        self._keeper.places.check(request)
        if paths := self._keeper.places.paths_that_stay(request):
            yield Noted("", told_of_paths_that_stay(paths))
            return
        self._keeper.places.check_room(request)
        began = self._clock()
        created = yield from self._creator.create(request, self._patience.deadline_seconds)
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
                self._ledger.see(prediction, patience_seconds=BRIEF_SECONDS)
            except errors.LocalFileError as problem:
                if problem.is_worth_repeating and problem.code != "disk_full":
                    told = f"prediction {prediction.id} {prediction.status}, which is not recorded yet: {HELD}"
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
