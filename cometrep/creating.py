"""Create one prediction: its entry stands before it leaves, its id is kept and told, whatever cuts in."""

from collections.abc import Callable, Generator, Sequence
from functools import partial

from cometrep import errors, hints
from cometrep.api import Api
from cometrep.events import Created, Creating, Event, Events, Noted, Retrying, Slow
from cometrep.ledger import Ledger
from cometrep.ledger.database import BRIEF_SECONDS, BUSY_SECONDS, HELD
from cometrep.prediction import Prediction, Request
from cometrep.schedule import Patience, backoff_seconds
from cometrep.sending import Sending
from cometrep.text import format_count, format_duration
from cometrep.watch import SLOW_SECONDS

SOON_SECONDS = 0.15  # a create answered within this needs no word that it was sent
STOP_GRACE_SECONDS = 5.0  # that a stopped create waits for its answer, so that the id is not lost


class Creator:
    """What sends creates, one at a time, over one API and one ledger; `resume` goes on with what is in doubt."""

    def __init__(
        self,
        api: Api,
        ledger: Ledger,
        *,
        patience: Patience,
        resume: hints.Command,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
        random: Callable[[], float],
    ) -> None:
        self._api = api
        self._ledger = ledger
        self._patience = patience
        self._resume = resume
        self._clock = clock
        self._sleep = sleep
        self._random = random

    def create(self, request: Request, deadline_seconds: float | None = None) -> Generator[Event, None, Prediction]:
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
            yield from self._keep(sending, prediction, (BRIEF_SECONDS, BUSY_SECONDS))
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
                yield Noted("", f"nothing is sent yet: {HELD}", is_warning=True)
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
        first, then = (SOON_SECONDS, BRIEF_SECONDS) if stop else (BRIEF_SECONDS, BUSY_SECONDS)
        try:
            mark(sending.entry, failure, patience_seconds=first)
        except errors.LocalFileError as problem:
            if not sending.is_told:
                sending.is_told = True
                told = f"{failure.message}; {HELD}" if problem.code != "disk_full" else failure.message
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
            sending.is_answered(BRIEF_SECONDS)  # what is being written is not to stay in doubt
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
                yield from self._keep(sending, shown, (SOON_SECONDS, BRIEF_SECONDS))
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
