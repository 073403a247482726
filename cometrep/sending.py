"""Send one create, with its entry in the ledger before it, in threads into which no signal cuts.

An entry that stays `unknown` is one whose create may have left: one that is stopped before does not leave.
"""

from collections.abc import Callable
from functools import partial

from cometrep import errors
from cometrep.api import Api
from cometrep.calls import Calls
from cometrep.ledger import Ledger
from cometrep.prediction import Prediction, Request

_MARK = 0  # among the numbers of attempts, what is written of them


class _NotSent(errors.Temporary):
    """The command was stopped before its create left."""

    def __init__(self) -> None:
        super().__init__("the command was stopped before its create left")


class Sending:
    """One create on its way: its entry in the ledger, 0 while there is none, and what it was answered last."""

    def __init__(self, api: Api, ledger: Ledger, request: Request) -> None:
        self._api = api
        self._ledger = ledger
        self._request = request
        self._calls: Calls[int, None] = Calls(threads=2)  # the second where the first is in a connection
        self._attempts = 0
        self._has_left = self._is_stopped = False
        self._answer: Prediction | errors.CometrepError | None = None
        self.entry = 0
        self.is_told = False  # what this attempt came to

    @property
    def may_have_left(self) -> bool:
        """Whether this attempt's create may have left; behind `stop`, whether it ever does."""
        return self._has_left

    @property
    def outcome(self) -> Prediction | errors.CometrepError | None:
        """What this attempt was answered, or that it was stopped before it left; None where that is not known."""
        if self._answer is None and self._is_stopped and not self._has_left:
            return _NotSent()
        return self._answer

    def begin(self) -> None:
        """Begin an attempt; raise LocalFileError where the system gives no thread."""
        self._has_left = self.is_told = False
        self._attempts += 1
        self._answer = None
        self._calls.submit(self._attempts, self._send)

    def is_answered(self, within_seconds: float) -> bool:
        """Say whether this attempt has its answer, at the latest after so many seconds."""
        return self._answer is not None or self._has_ended(self._attempts, within_seconds)

    def mark(self, mark: Callable[[int, errors.CometrepError], None], failure: errors.CometrepError) -> None:
        """Begin to write into its entry how the attempt ended: `mark` is the ledger's for that."""
        self._calls.submit(_MARK, partial(self._ledger.insist, mark, self.entry, failure))

    def is_marked(self, within_seconds: float) -> bool:
        """Say whether that is written, or given up, at the latest after so many seconds."""
        return self._has_ended(_MARK, within_seconds)

    def _has_ended(self, number: int, within_seconds: float) -> bool:
        while ended := self._calls.next(within_seconds):
            if ended[0] == number:
                return True
        return False

    def stop(self) -> None:
        """Let nothing more leave."""
        self._is_stopped = True

    def close(self) -> None:
        """Let the threads end, once they have done what they were given."""
        self._calls.close()

    def _send(self) -> None:
        model, values = self._request.model, self._request.values
        try:
            if self.entry:
                self._ledger.send_again(self.entry)
            else:
                self.entry = self._ledger.begin(model, values)
            try:
                self._refuse_to_leave()  # the ledger may have kept it waiting
                self._answer = self._api.create(model, values, before_leaving=self._leave)
            except _NotSent as failure:
                self._ledger.insist(self._ledger.refuse, self.entry, failure)  # nobody else may be left to do it
                raise
        except errors.CometrepError as failure:
            self._answer = failure

    def _leave(self) -> None:
        # Each side says its own before it asks for the other's: where this one says it too late, it does not leave.
        self._has_left = True
        self._refuse_to_leave()

    def _refuse_to_leave(self) -> None:
        if self._is_stopped:
            raise _NotSent
