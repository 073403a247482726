"""Send the creates of a batch, each in a thread of its own.

Each is in the ledger and the record before it leaves, and its prediction in the record when it is answered.
"""

from functools import partial
from typing import Any, NamedTuple

from cometrep import errors
from cometrep.api import Api
from cometrep.batch.items import Item
from cometrep.batch.record import Record
from cometrep.batch.standings import Standing, State
from cometrep.data_uris import shorten_data_uris
from cometrep.ledger import Ledger
from cometrep.prediction import Prediction


class _EndedBefore(errors.Temporary):
    """The batch was ended before a create left."""


class Sent(NamedTuple):
    """What a create came to, and its entry in the ledger, 0 for none; `problem` is why the record has it not."""

    entry: int
    answer: Prediction | errors.CometrepError
    problem: errors.LocalFileError | None = None


class Sender:
    """What sends creates, from any thread, until the batch is left."""

    def __init__(self, api: Api, ledger: Ledger, record: Record) -> None:
        self._api = api
        self._ledger = ledger
        self._record = record
        self.is_left = False
        self._sending: set[str] = set()  # the keys of items whose creates are in the ledger, or are being written
        self._leaving: set[str] = set()  # the keys of items whose creates left, and have no answer

    @property
    def in_doubt(self) -> int:
        """How many creates left and have no answer."""
        return len(self._leaving)

    @property
    def is_sending(self) -> bool:
        """Whether a create is on its way, or its entry still says so."""
        return bool(self._sending)

    def leave(self) -> None:
        """Let nothing more leave."""
        self.is_left = True

    def answered(self, item: Item) -> None:
        """Take it that the answer to an item's create is taken up."""
        self._leaving.discard(item.key)

    def send(self, item: Item, entry: int, before: Standing) -> Sent:
        """Send one create, once the ledger has it, of an item that stood `before`; runs in a thread of its own."""
        try:
            self._refuse_to_leave()
            self._api.check_input(item.model, item.values)
            self._sending.add(item.key)
            entry = self._ledger.send_again(entry) if entry else self._ledger.begin(item.model, item.values)
            try:
                self._refuse_to_leave()  # the ledger may have kept it waiting
                leaving = partial(self._leave, item, entry, before)
                answer = self._api.create(item.model, item.values, before_leaving=leaving)
                return Sent(entry, answer, self._keep("created", item, id=answer.id))
            except errors.CreateUnknown as failure:
                id = failure.prediction_id or ""
                facts = {"error": failure.message, "exit_code": failure.exit_code, "id": id}
                return Sent(entry, failure, self._keep("doubt", item, **facts))
            except _EndedBefore as failure:
                self._ledger.insist(self._ledger.refuse, entry, failure)  # nobody else will, any more
                raise
        except errors.CometrepError as failure:
            return Sent(entry, failure)
        finally:
            self._sending.discard(item.key)

    def _leave(self, item: Item, entry: int, before: Standing) -> None:
        """Record that a create is about to leave; in its thread."""
        self._leaving.add(item.key)
        try:
            self._refuse_to_leave()
            facts: dict[str, Any] = {
                "line": item.number,
                "entry": entry,
                "model": item.model,
                "input": shorten_data_uris(item.values),
                "digest": item.digest,
            }
            if before.state is not State.NEW:
                facts["before"] = {"state": before.state, **before.facts()}
            self._record.add("sending", item.key, **facts)
        except errors.CometrepError:
            self._leaving.discard(item.key)
            raise

    def _keep(self, step: str, item: Item, **facts: Any) -> errors.LocalFileError | None:
        """Record what was answered, at once: the batch's own thread may be held up by its ledger or its stdout."""
        try:
            self._record.add(step, item.key, **facts)
        except errors.LocalFileError as failure:
            return failure
        return None

    def _refuse_to_leave(self) -> None:
        if self.is_left:
            raise _EndedBefore("the batch was ended before it was sent")
