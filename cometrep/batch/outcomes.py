"""Write each step of an item into the record, count what becomes of it, and tell it."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cometrep import errors, hints
from cometrep.batch.fate import Asked
from cometrep.batch.gate import Gate
from cometrep.batch.items import Item
from cometrep.batch.record import Record
from cometrep.batch.score import Score
from cometrep.batch.standings import NO_ANSWER, Standing, State
from cometrep.data_uris import shorten_data_uris
from cometrep.events import Events, ItemEnded, Noted, Saved
from cometrep.prediction import Prediction, SavedFile
from cometrep.sidecar import read_sidecar
from cometrep.small_files import size_of
from cometrep.text import format_count

TIMES_TOLD = 5  # that a warning of one kind is given
_FURTHER = {
    "changed": "inputs that changed since they were sent",
    "vanished": "files that are not what was saved any more",
    "left": "what is paid for and not saved",
    "given_up": "what a gateway's record says that it failed",
    "warned": "what was saved; the record has them all",
}
"""What the warnings of each kind are about."""


class Outcomes:
    """What becomes of the items of a batch, for the record, the score and whoever watches.

    `has_more` says whether the batch would send more.
    """

    def __init__(self, record: Record, gate: Gate, asked: Asked, *, has_more: Callable[[], bool]) -> None:
        self.score = Score()
        self._record = record
        self._gate = gate
        self._asked = asked
        self._has_more = has_more
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
            yield from self.unrecorded(failure, step, item, facts.get("id", ""))

    def unrecorded(self, failure: errors.LocalFileError, step: str, item: Item, id: str) -> Events:
        """Say which step the record could not take, and send nothing more."""
        told = f"{item.label}: {step} {id}".rstrip()
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

        One `is_left_over` stops nothing: that an earlier run's prediction is not to be had, or that one that was
        seen runs on behind the deadline, tells nothing of others.
        """
        self.score.fail(item.label, outcome, failure, is_left_over=is_left_over)
        most = self._asked.max_failures
        is_last = most is not None and self.score.failed_now >= most
        is_told = is_last and self._has_more()
        if is_last:
            self._gate.close()
        yield stopped(item, outcome, failure.told, prediction, files)
        if is_told:
            yield Noted("", f"no more are sent: that was the last failure of --max-failures {most}")

    def pass_over(self, item: Item, standing: Standing) -> Events:
        """Count and tell an item that an earlier run left failed or in doubt, and that is not to be tried again."""
        text = standing.error or (NO_ANSWER if standing.state is State.UNKNOWN else "it failed")
        files = [file for file in standing.saved_files(self._record.folder) if _stands(file)]
        self.score.pass_over(item.label, standing.state, text, standing.exit_code_told)
        for file in files:
            yield Saved(standing.id, file, "kept", item.key)
        yield stopped(item, standing.state, text, _known(item, standing), files)

    def done_before(self, item: Item, standing: Standing) -> Events:
        """Count and tell an item that an earlier run finished, with those of its files that are still there."""
        self.score.skip()
        folder = self._record.folder
        files = standing.saved_files(folder)
        prediction = None
        if self._asked.reads_sidecars:
            prediction = read_sidecar(standing.id, files) or _known(item, standing)
        vanished = [file.path for file in files if not _stands(file)]
        if vanished:
            told = f"{item.label} was done, and {', '.join(vanished)} is not what was saved any more"
            told += "; while its hour lasts it can be had again"
            again = _save_again(standing.id, files)
            yield from self.warn("vanished", told, hint=again)
        files = [file for file in files if file.path not in vanished]
        for file in files:
            yield Saved(standing.id, file, "kept", item.key)
        yield ItemEnded(standing.id, item.key, item.label, State.DONE, "", tuple(files), prediction)


def _stands(file: SavedFile) -> bool:
    """Say whether a file is, by its size, still what was saved."""
    return size_of(Path(file.path)) == file.size_bytes


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


def _known(item: Item, standing: Standing) -> Prediction:
    """Give what the record has of an item's prediction; what its line says is that where it was sent."""
    known = standing.prediction()
    return known.as_asked(item.model, item.values) if standing.digest in ("", item.digest) else known


def _save_again(id: str, files: Sequence[SavedFile]) -> str:
    """Give the command that saves an item's files once more, to where they were."""
    folder = Path(files[0].path).parent
    names = [id] if len(files) == 1 else [f"{id}-{file.index}" for file in files]
    where = f"-d {hints.quoted(str(folder))}"
    if [Path(file.path).with_suffix("") for file in files] != [folder / name for name in names]:
        where = f"-o {hints.quoted(template)}" if (template := _template_of(files)) else where
    return hints.Command("cometrep download", (where, "--overwrite")).of(id)


def _template_of(files: Sequence[SavedFile]) -> str:
    """Give the template of an item's paths, empty where they differ in more than one index."""
    first = files[0]
    if len(files) == 1:
        return _escaped(first.path)
    pieces = first.path.split(str(first.index))
    for at in range(1, len(pieces)):
        before, behind = (str(first.index).join(some) for some in (pieces[:at], pieces[at:]))
        if all(file.path == f"{before}{file.index}{behind}" for file in files):
            return f"{_escaped(before)}{{index}}{_escaped(behind)}"
    return ""


def _escaped(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")
