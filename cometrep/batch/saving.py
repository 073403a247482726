"""Save the outputs of a batch's predictions, and take up for each item what came of it."""

from collections.abc import Callable, Generator, Sequence
from functools import partial
from typing import Any, NamedTuple

from cometrep import errors
from cometrep.batch.gate import Gate, Streak
from cometrep.batch.items import Item
from cometrep.batch.outcomes import Outcomes, stopped
from cometrep.batch.record import Record
from cometrep.batch.score import remedy_of
from cometrep.batch.standings import State
from cometrep.events import Event, Events, ItemEnded, Noted, Saved
from cometrep.keeping import Keeper
from cometrep.ledger.entry import RETENTION_SECONDS
from cometrep.prediction import Prediction, SavedFile
from cometrep.runner import paid


class Kept(NamedTuple):
    """What came of saving a prediction: the files saved, what failed, the paths left as they are, and warnings.

    It `may_return` where the API does not know it within its hour. One that `is_left_over` was created by an
    earlier run, and proves nothing about those to come.
    """

    prediction: Prediction
    may_return: bool
    is_left_over: bool
    files: list[SavedFile]
    failure: errors.CometrepError | None
    skipped: list[str]
    warnings: list[str]


class Saver:
    """What saves the outputs of a batch's predictions that succeeded, some at a time.

    `keeper_of` gives what keeps the outputs of an item, from its key. It is called in threads, as is `look`, which
    asks the API for a prediction. `submit` has a call made in a thread, and its answer given to `saved`.
    """

    def __init__(
        self,
        keeper_of: Callable[[str], Keeper],
        record: Record,
        gate: Gate,
        outcomes: Outcomes,
        *,
        look: Callable[[str], Prediction],
        submit: Callable[[str, Callable[[], Kept]], None],
        now: Callable[[], float],
    ) -> None:
        self._keeper_of = keeper_of
        self._record = record
        self._gate = gate
        self._outcomes = outcomes
        self._look = look
        self._submit = submit
        self._now = now
        self._item_of: dict[str, Item] = {}  # of what is not saved yet, by prediction id

    @property
    def count(self) -> int:
        """How many predictions are not saved yet."""
        return len(self._item_of)

    def begin(self, item: Item, prediction: Prediction, *, may_return: bool, is_left_over: bool) -> None:
        """Have a prediction's outputs saved; what else is said of it is in what comes of that."""
        self._item_of[prediction.id] = item
        begun = Kept(prediction, may_return, is_left_over, [], None, [], [])
        self._submit(prediction.id, partial(self._save, item.key, begun))

    def _save(self, key: str, kept: Kept) -> Kept:
        """Save the outputs of one prediction; runs in a thread of its own."""
        saving = self._keeper_of(key).save(kept.prediction, self._look_again)
        while True:
            try:
                event = next(saving)
            except StopIteration as end:
                files, failure = end.value
                return kept._replace(files=files, failure=failure)
            except errors.CometrepError as failure:  # which, as the answer itself, would be taken for a look's
                return kept._replace(failure=failure)
            if isinstance(event, Saved) and event.how == "skipped":
                kept.skipped.append(event.file.path)
            elif isinstance(event, Noted) and event.is_warning:
                kept.warnings.append(event.text)

    def _look_again(self, id: str) -> Generator[Event, None, Prediction]:
        yield Noted(id, "asking for fresh URLs")
        return self._look(id)

    def saved(self, kept: Kept, *, has_more: bool) -> Events:
        """Take up what came of saving a prediction; `has_more` says whether the batch would send more."""
        prediction, files, id = kept.prediction, kept.files, kept.prediction.id
        failure = paid(kept.failure)
        item = self._item_of.pop(id)
        if failure is None:
            self._gate.end_streak(Streak.NOT_SAVED)
        if failure is None and not kept.skipped:  # else the record has it as unsaved: another run may save it
            shown = self._shown(files)
            told_too = {"warnings": kept.warnings} if kept.warnings else {}
            yield from self._outcomes.note("saved", item, id=id, files=shown, **told_too)
            for told in kept.warnings:
                yield from self._outcomes.warn("warned", f"{item.label}: {told}")
        for file in files:
            yield Saved(id, file, key=item.key)
        if failure:
            yield from self._not_saved(item, kept, failure, has_more=has_more)
        elif kept.skipped:
            told = f"{', '.join(kept.skipped)} exists and stays as it is; {id} is not saved"
            yield from self._outcomes.note("left", item, id=id, error=told)
            self._outcomes.score.skip()
            yield stopped(item, State.UNSAVED, told, prediction, files)
            yield from self._outcomes.warn("left", f"{item.label}, paid for: {told}")
        else:
            self._outcomes.score.finish()
            yield ItemEnded(id, item.key, item.label, State.DONE, "", tuple(files), prediction)

    def _shown(self, files: Sequence[SavedFile]) -> list[dict[str, Any]]:
        return [file.seen_from(self._record.folder).as_json() for file in files]

    def _not_saved(self, item: Item, kept: Kept, failure: errors.CometrepError, *, has_more: bool) -> Events:
        """Take up that not all of a prediction could be saved: it is lost, or left for the next run."""
        prediction, id = kept.prediction, kept.prediction.id
        is_removed = prediction.data_removed and not kept.may_return
        is_lost = self._is_lost(item, failure, is_removed=is_removed)
        if not is_lost:
            if kept.may_return and failure.code == "output_expired":
                failure.message = f"{id} succeeded, and the API does not know it now; the same command looks again"
            if remedy := remedy_of(failure):
                failure.message += f"; the same command with {remedy} saves it"
        step, state = ("lost", State.FAILED) if is_lost else ("left", State.UNSAVED)
        some = {"files": self._shown(kept.files)} if kept.files else {}
        yield from self._outcomes.note(step, item, id=id, error=failure.told, exit_code=failure.exit_code, **some)
        yield from self._outcomes.fail(item, state, failure, prediction, kept.files, is_left_over=kept.is_left_over)
        if is_lost:
            return
        if not kept.is_left_over:
            self._gate.count(Streak.NOT_SAVED, failure, has_more=has_more)
        if failure.code == "disk_full":
            self._gate.give_up(failure)

    def _is_lost(self, item: Item, failure: errors.CometrepError, *, is_removed: bool) -> bool:
        """Say whether output files that could not be had will not be had by the next run either.

        A page or a refusal in a file's place may pass, and so may an output that is empty, broken or at an address
        that is not asked; what the API removed, or keeps no longer, does not.
        """
        standing = self._record.standing(item.key)
        is_old = standing.state is State.UNSAVED and self._now() > standing.ended + RETENTION_SECONDS
        return (is_removed or is_old) and all(
            isinstance(one, errors.OutputMissing) or one.code == "unsafe_url" for one in failure.parts
        )
