"""Write each step of an item into the record, count what becomes of it, and tell it."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from cometrep import errors
from cometrep.batch.gate import Gate
from cometrep.batch.items import Item
from cometrep.batch.record import Record
from cometrep.batch.score import Score
from cometrep.batch.standings import State
from cometrep.data_uris import shorten_data_uris
from cometrep.events import Events, ItemEnded, Noted
from cometrep.prediction import Prediction, SavedFile
from cometrep.text import format_count

TIMES_TOLD = 5  # that a warning of one kind is given
_FURTHER = {
    "changed": "inputs that changed since they were sent",
    "vanished": "files that are not what was saved any more",
    "warned": "what was saved; the record has them all",
}
"""What the warnings of each kind are about."""


class Outcomes:
    """What becomes of the items of a batch, for the record, the score and whoever watches."""

    def __init__(self, record: Record, gate: Gate, max_failures: int | None) -> None:
        """After `max_failures` of this run the gate is closed, None for never."""
        self.score = Score()
        self._record = record
        self._gate = gate
        self._max_failures = max_failures
        self._told: Counter[str] = Counter()  # warnings, by what they are about

    def warn(self, kind: str, told: str, *, hint: str = "") -> Events:
        """Give a warning, but not many of one kind."""
        self._told[kind] += 1
        if self._told[kind] <= TIMES_TOLD:
            yield Noted("", told, is_warning=True, hint=hint)

    def warn_of_further(self) -> Events:
        """Say of each kind of warning how many were not given."""
        for kind, count in self._told.items():
            if told := told_of_further(kind, count - TIMES_TOLD):
                yield Noted("", told, is_warning=True)

    def note(self, step: str, item: Item, **facts: Any) -> Events:
        """Append a step to the record; where that fails, say what it was, and send nothing more."""
        try:
            self._record.add(step, item.key, **facts)
        except errors.LocalFileError as failure:
            told = f"{item.label}: {step} {facts.get('id', '')}".rstrip()
            yield Noted("", f"{failure.message}; this is not recorded: {told}", is_warning=True)
            self._gate.give_up(failure)

    def fail(
        self,
        item: Item,
        outcome: State,
        failure: errors.CometrepError,
        prediction: Prediction,
        files: Sequence[SavedFile] = (),
        *,
        is_left_over: bool = False,
    ) -> Events:
        """Count and tell an item that this run could not finish; stop sending where there are too many.

        One `is_left_over` stops nothing: that an earlier run's prediction is not to be had tells nothing of others.
        """
        self.score.fail(item.label, outcome, failure, is_left_over=is_left_over)
        if self._max_failures is not None and self.score.failed_now >= self._max_failures:
            self._gate.close()
        yield stopped(item, outcome, failure.told, prediction, files)


def told_of_further(kind: str, count: int) -> str:
    """Say how many warnings of one kind are not given; empty for none."""
    return f"and {format_count(count, 'warning')} more, of {_FURTHER[kind]}" if count > 0 else ""


def stopped(
    item: Item, outcome: str, text: str, prediction: Prediction, files: Sequence[SavedFile] = ()
) -> ItemEnded:
    """Give the event of an item that this run did not finish."""
    return ItemEnded(prediction.id, item.key, item.label, outcome, text, tuple(files), prediction)


def unseen(item: Item, id: str = "") -> Prediction:
    """Give what is known of an item's prediction before any reply showed it."""
    return Prediction(id, "", item.model, shorten_data_uris(item.values))
