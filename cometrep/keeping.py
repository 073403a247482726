"""Keep the outputs of predictions: names, files, sidecar, and what the ledger knows of them."""

import contextlib
import os
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from cometrep import errors, formats, hints
from cometrep.digest import file_sha256
from cometrep.download import EXPIRED_STATUSES, Downloads, UrlExpired
from cometrep.events import Event, Noted, Saved
from cometrep.hiding import masked
from cometrep.ledger import Ledger
from cometrep.ledger.entry import RETENTION_SECONDS
from cometrep.names import Names, check_folder, default_template
from cometrep.partfile import Origin
from cometrep.places import Keeping, Places, differ, temporary_folder
from cometrep.prediction import OutputFile, Prediction, Request, SavedFile
from cometrep.side_by_side import Ended, side_by_side
from cometrep.sidecar import sidecar_path, write_sidecar
from cometrep.text import cut

LookAgain = Callable[[str], Generator[Event, None, Prediction]]

FILES_AT_ONCE = 4  # of one prediction, where they come from afar and nothing else is saved beside them


class _End(NamedTuple):
    """What came of one output file, by its place among the prediction's: the copy on disk, or what failed.

    `how` the copy came there is `saved`, `kept` or `skipped`; it `is_new` where bytes were fetched for it.
    """

    place: int
    saved: SavedFile | None = None
    how: str = ""
    failure: errors.CometrepError | None = None
    is_new: bool = True


class Keeper:
    """Keep outputs as one command wants them kept."""

    def __init__(
        self,
        keeping: Keeping,
        downloads: Downloads,
        ledger: Ledger,
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.keeping = keeping
        self.places = Places(keeping, ledger, skips_existing=downloads.rules.skips_existing, now=now)
        self._downloads = downloads
        self._ledger = ledger
        self._now = now
        self._owners: dict[str, str] = {}  # by comparable name, the prediction that it was given to

    def for_batch(self, folder: str) -> "Keeper":
        """Give what keeps the outputs of many items in a folder; raise UsageError where that holds no files."""
        check_folder(folder)
        return self._with(self.keeping._replace(folder=folder, writes_sidecar=True, files_at_once=1))

    def for_item(self, key: str) -> "Keeper":
        """Give what keeps the outputs of one batch item, beside those of others; for any thread."""
        return self._with(self.keeping._replace(key=key))

    def _with(self, keeping: Keeping) -> "Keeper":
        return Keeper(keeping, self._downloads, self._ledger, now=self._now)

    def save(
        self, prediction: Prediction, look_again: LookAgain
    ) -> Generator[Event, None, tuple[list[SavedFile], errors.CometrepError | None]]:
        """Save every output file of a prediction that succeeded; give the files and what failed.

        `look_again` gets the prediction anew where a URL has expired. Nothing is raised but what ends the
        command; a file that fails leaves the others to be saved.
        """
        try:
            saved, outcomes = yield from self._save_all(prediction, look_again)
        except errors.CometrepError as failure:
            saved, outcomes = [], [failure]
        for outcome in outcomes:
            if outcome is not None:
                outcome.prediction_id = prediction.id
        return saved, errors.combined(outcomes)

    def _save_all(
        self, prediction: Prediction, look_again: LookAgain
    ) -> Generator[Event, None, tuple[list[SavedFile], list[errors.CometrepError | None]]]:
        files = prediction.output_files() or self._files_remembered(prediction)
        if files[0].content is None:  # a text is one output, however many were asked for
            yield from self._doubts(prediction, len(files))
        elif address := prediction.other_address():
            text = f"the output of {prediction.id} is an address that is not fetched, and is saved as text"
            yield Noted(prediction.id, f"{text}: {cut(masked(address), 200)}", is_warning=True)
        if self.keeping.template == "-":
            yield from self._save_to_stdout(prediction, files, look_again)
            return [], [None]
        template = self.keeping.template or default_template(len(files))
        names = self.places.names(prediction.id, prediction.model, template, prediction.created_at)
        names.check(len(files))
        self._claim(names, len(files))
        ends: dict[int, _End] = {}
        told = 0
        for event in self._ends(prediction, files, names, look_again):
            if not isinstance(event, _End):
                yield event
                continue
            ends[event.place] = event
            if event.is_new and event.saved:  # before it is told: nobody may hear it
                self._remember(prediction.id, event.saved, event.how)
            while end := ends.get(told):  # in the order of the output, whichever comes first
                told += 1
                if end.saved:
                    yield Saved(prediction.id, end.saved, end.how)
        in_order = [ends[place] for place in range(len(files))]
        saved = [end.saved for end in in_order if end.saved and end.how != "skipped"]
        failures = [end.failure for end in in_order]
        if self.keeping.writes_sidecar or prediction.has_more_than_files():
            try:
                yield from self._write_sidecar(prediction, saved, is_complete=len(saved) == len(files))
            except errors.LocalFileError as failure:  # the files are saved all the same
                return saved, [failure]
        return saved, failures

    def _claim(self, names: Names, count: int) -> None:
        """Raise UsageError where a file of another prediction has one of the names in this command."""
        for index in range(count):
            owner = self._owners.setdefault(names.comparable(index), names.id)
            if owner != names.id:
                raise errors.UsageError(
                    f"the template {names.template!r} gives output files of {owner} and {names.id} one name",
                    remedy=hints.OWN_FOLDERS if differ(owner, names.id) else hints.OTHER_FOLDER,
                    code="name_clash",
                    prediction_id=names.id,
                )

    def _save_to_stdout(
        self, prediction: Prediction, files: Sequence[OutputFile], look_again: LookAgain
    ) -> Iterator[Event]:
        if len(files) > 1:
            raise errors.UsageError(
                f"{self.keeping.typed} writes one file, and {prediction.id} has {len(files)}",
                remedy=hints.OWN_NAMES,
                code="name_clash",
            )
        with temporary_folder(self.keeping.folder) as folder:
            names = Names(folder, default_template(1), prediction.id, prediction.model, "")
            for event in self._fetched(prediction, {0: files[0]}, names, _Fresh(look_again, count=1)):
                if not isinstance(event, _End):
                    yield event
                elif event.failure:
                    raise event.failure
                elif event.saved:
                    yield Saved(prediction.id, event.saved, "stdout")

    def _ends(
        self, prediction: Prediction, files: Sequence[OutputFile], names: Names, look_again: LookAgain
    ) -> "Iterator[Event | _End]":
        """Yield what happens until the end of each file; those that stand where they are to go come first."""
        known = self._ledger.lenient(self._ledger.files, prediction.id) or ()
        left = {}
        for place, file in enumerate(files):
            if copy := self._known_file([one for one in known if one.index == file.index], names):
                yield _End(place, copy, "kept", is_new=False)
            else:
                left[place] = file
        yield from self._fetched(prediction, left, names, _Fresh(look_again, count=len(files)))

    def _fetched(
        self, prediction: Prediction, files: Mapping[int, OutputFile], names: Names, fresh: "_Fresh | None"
    ) -> "Iterator[Event | _End]":
        """Fetch files, some at a time; with `fresh` expired ones once more, from the URL the API has now."""
        id = prediction.id
        if self._has_moved(prediction):
            for place in (place for place, file in files.items() if file.url):
                reason = UrlExpired("it was removed")
                yield _End(place, failure=self._missing(prediction, files[place], reason))
            files = {place: file for place, file in files.items() if not file.url}
        stale: dict[int, UrlExpired] = {}
        entry = self._ledger.lenient(self._ledger.entry, id)
        origin = Origin(self._ledger.server, entry.created if entry else 0.0)
        savings = {place: self._downloads.save(id, file, names, origin) for place, file in files.items()}
        at_once = self.keeping.files_at_once
        for place, came in side_by_side(savings, at_once, missed=lambda end: self._remember(id, *end)):
            if not isinstance(came, Ended):
                yield came
            elif came.answer:
                saved, how = came.answer
                yield _End(place, saved, how)
            elif isinstance(came.problem, errors.CometrepError):
                yield _End(place, failure=self._advised(prediction, came.problem))
            elif not isinstance(came.problem, UrlExpired):
                assert came.problem
                raise came.problem
            elif fresh:
                stale[place] = came.problem
            else:
                yield _End(place, failure=self._missing(prediction, files[place], came.problem))
        if fresh and stale:
            again = {}
            for place, problem in stale.items():
                try:
                    file = yield from fresh.file(id, files[place], problem.reason)
                except errors.CometrepError as failure:
                    yield _End(place, failure=failure)
                    continue
                if file:
                    again[place] = file
                else:
                    yield _End(place, failure=self._missing(prediction, files[place], problem))
            yield from self._fetched(prediction, again, names, None)

    def _has_moved(self, prediction: Prediction) -> bool:
        """Say whether the addresses of an output are an earlier sandbox's, at a port that others may serve now."""
        entry = self._ledger.lenient(self._ledger.entry, prediction.id) if prediction.data_removed else None
        return entry is not None and entry.is_sandbox

    def _advised(self, prediction: Prediction, failure: errors.CometrepError) -> errors.CometrepError:
        """Give a failure the hint to create the prediction again where to ask again would fail for ever."""
        if failure.code == "output_broken" and not failure.hint and self._is_over(prediction, otherwise=True):
            failure.hint = hints.RERUN.of(prediction.id)
        return failure

    def _missing(self, prediction: Prediction, file: OutputFile, problem: UrlExpired) -> errors.OutputMissing:
        """Give the error of a file that cannot be had; while the API keeps it, its hint is not to pay again."""
        told, hint = f"output file {file.index} of {prediction.id} cannot be had: {problem.reason}", ""
        if self._is_over(prediction, otherwise=problem.http_status in EXPIRED_STATUSES):
            told, hint = f"{told}; files live about an hour", hints.RERUN.of(prediction.id)
        return errors.OutputMissing(
            told,
            hint=hint,
            code="output_expired",
            prediction_id=prediction.id,
            http_status=problem.http_status,
        )

    def _is_over(self, prediction: Prediction, *, otherwise: bool) -> bool:
        """Say whether the hour for which the API keeps files is over; `otherwise` where nobody knows."""
        if prediction.data_removed:
            return True
        entry = self._ledger.lenient(self._ledger.entry, prediction.id)
        if entry and entry.status == prediction.status:  # by the clock of this machine alone
            return self._now() > entry.expires
        ended = prediction.ended
        return otherwise if ended is None else self._now() > ended + RETENTION_SECONDS

    def _remember(self, id: str, saved: SavedFile, how: str) -> None:
        """Write into the ledger that a file stands on disk, unless it is one that was there and left alone."""
        if how != "skipped":
            self._ledger.lenient(self._ledger.add_file, id, saved)

    def _known_file(self, copies: Sequence[SavedFile], names: Names) -> SavedFile | None:
        """Find the copy that stands where this file is to go, where disk and ledger still agree."""
        for known in copies:
            # The name does not tell the extension where a template has that in its folders alone.
            extensions = Path(known.path).suffix, formats.extension_for(b"", known.content_type, "")
            targets = [names.path(known.index, extension) for extension in extensions]
            with contextlib.suppress(OSError):  # the working folder too may be gone
                target = next((one for one in targets if os.path.abspath(one) == known.path), None)  # noqa: PTH100
                if target is None:
                    continue
                if target.stat().st_size == known.size_bytes and file_sha256(target) == known.sha256:
                    return known.at(str(target))
        return None

    def _files_remembered(self, prediction: Prediction) -> tuple[OutputFile, ...]:
        """List the files of an output that the API does not show, any more or again, as the ledger has them."""
        entry = self._ledger.lenient(self._ledger.entry, prediction.id)
        if files := prediction._replace(output=entry.output).output_files() if entry else ():
            return files
        if not prediction.data_removed:
            told = f": {prediction.error_text}" if prediction.error_text else ""
            is_over = self._is_over(prediction, otherwise=True)
            told += "" if is_over else "; it may still come"
            raise errors.OutputMissing(
                f"prediction {prediction.id} reported success without any output{told}",
                hint=hints.LOOK_WHOLE.of(prediction.id) if is_over else "",
            )
        raise errors.OutputMissing(
            f"the output of {prediction.id} is gone: the API removes it about an hour after the end",
            hint=hints.RERUN.of(prediction.id),
            code="output_expired",
        )

    def _doubts(self, prediction: Prediction, count: int) -> Iterator[Event]:
        entry = self._ledger.lenient(self._ledger.entry, prediction.id)
        values = entry.input if entry else prediction.input  # what was sent: a reply's input may be an empty one
        asked = Request(prediction.model, values if isinstance(values, Mapping) else {}).asked_outputs
        if count < asked:
            yield Noted(
                prediction.id,
                f"{prediction.id} has {count} of {asked} outputs asked for; a filter may have dropped the rest",
                is_warning=True,
            )

    def _write_sidecar(
        self, prediction: Prediction, saved: Sequence[SavedFile], *, is_complete: bool
    ) -> Iterator[Event]:
        if not is_complete:
            told = "no sidecar is written: not every file was saved"
            if prediction.has_more_than_files():
                entry = self._ledger.lenient(self._ledger.entry, prediction.id)
                if entry and entry.output is not None:
                    told += "; what else the output holds is in the ledger: cometrep list --json"
            yield Noted(prediction.id, told, is_warning=True)
            return
        rules = self._downloads.rules
        path = sidecar_path(Path(saved[0].path).parent, prediction.id)
        if rules.skips_existing and os.path.lexists(path):
            yield Noted(prediction.id, f"{path} exists and stays as it is")
            return
        write_sidecar(prediction, saved, overwrites=rules.overwrites)
        if prediction.has_more_than_files():
            yield Noted(prediction.id, f"the output holds more than files; all of it is in {path}")


class _Fresh:
    """The output files of one prediction as the API has them now, looked up once at most; there were `count`."""

    def __init__(self, look_again: LookAgain, *, count: int) -> None:
        self._look_again = look_again
        self._count = count
        self._found: tuple[OutputFile, ...] | errors.CometrepError | None = None

    def file(self, id: str, stale: OutputFile, reason: str) -> Generator[Event, None, OutputFile | None]:
        """Give a file's fresh form; None where the API has none that is surely in its place."""
        if self._found is None:
            yield Noted(id, f"output file {stale.index}: {reason}; asking the API for a fresh URL")
            try:
                self._found = (yield from self._look_again(id)).output_files()
            except errors.CometrepError as failure:
                is_gone = failure.code == "prediction_not_found"  # it was known, and its hour is over
                self._found = () if is_gone else failure
        if isinstance(self._found, errors.CometrepError):
            raise self._found
        is_in_place = len(self._found) == self._count and self._found[stale.index].content is None
        return self._found[stale.index] if is_in_place else None
