"""Send one create, with its entry in the ledger before it, in a thread into which no signal cuts.

An entry that stays `unknown` is one whose create may have left: one that is stopped before does not leave.
"""

from cometrep import errors
from cometrep.api import Api
from cometrep.calls import Calls
from cometrep.ledger import Ledger
from cometrep.prediction import Prediction, Request


class _NotSent(errors.Temporary):
    """The command was stopped before its create left."""

    def __init__(self) -> None:
        super().__init__("the command was stopped before its create left")


class Sending:
    """One create on its way: its entry in the ledger, 0 until that is written, and what it was answered last."""

    def __init__(self, api: Api, ledger: Ledger, request: Request) -> None:
        self._api = api
        self._ledger = ledger
        self._request = request
        self._calls: Calls[None, None] = Calls(threads=1)
        self._is_begun = self._has_left = self._is_stopped = False
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
        self._answer = None
        self._is_begun = True
        self._calls.submit(None, self._send)

    def is_answered(self, within_seconds: float) -> bool:
        """Say whether this attempt has its answer, at the latest after so many seconds."""
        while self._is_begun and self._answer is None and self._calls.next(within_seconds):
            pass  # it was of the attempt before
        return self._answer is not None

    def stop(self) -> None:
        """Let nothing more leave."""
        self._is_stopped = True

    def close(self) -> None:
        """Let the threads end, once they have done what they were given."""
        self._calls.close()

    def _send(self) -> None:
        model, values = self._request.model, self._request.values
        try:
            earlier, self.entry = self.entry, 0
            self.entry = self._ledger.send_again(earlier) if earlier else self._ledger.begin(model, values)
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
