"""Save the outputs of a finished prediction: names, files, sidecar, and what the ledger knows of them."""

import contextlib
import json
import re
import tempfile
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cometrep import __version__, errors
from cometrep.download import Downloads, UrlExpired
from cometrep.events import Event, Noted, Saved
from cometrep.ledger import Ledger
from cometrep.names import Names, default_template
from cometrep.partfile import file_sha256, write_whole
from cometrep.prediction import OutputFile, Prediction, Request, SavedFile, shorten_data_uris

LookAgain = Callable[[str], Generator[Event, None, Prediction]]
Saving = Generator[Event, None, tuple[list[SavedFile], errors.CometrepError | None]]


class Keeping(NamedTuple):
    """Where outputs are kept: `template` is empty for default names, `-` for stdout; `key` is a batch item's."""

    folder: str = ""
    template: str = ""
    writes_sidecar: bool = False
    key: str = ""


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
        self._keeping = keeping
        self._downloads = downloads
        self._ledger = ledger
        self._now = now

    def check(self, request: Request) -> None:
        """Raise UsageError where the outputs asked for cannot all be kept, before anything is paid for."""
        template, count = self._keeping.template, request.asked_outputs
        if template == "-" and count > 1:
            raise errors.UsageError(
                f"-o - writes one file, and num_outputs asks for {count}",
                hint="leave out -o, or ask for one output",
                code="name_clash",
            )
        if template in ("", "-"):
            return
        names = self._names("ID", request.model, template, "")
        target = names.path(0, "ext")
        if target.exists() and not target.is_file() and not target.is_dir():
            raise errors.UsageError(
                f"-o {template}: it is no regular file", hint="-o - writes the file to stdout", code="bad_template"
            )
        if not names.are_distinct(count):
            raise errors.UsageError(
                f"the template {template!r} gives all {count} outputs that num_outputs asks for one name",
                hint="add {index} to it: -o 'picture-{index}.{ext}'",
                code="name_clash",
            )

    def check_batch(self, items: Iterable[tuple[str, str, str, Mapping[str, Any]]]) -> None:
        """Raise UsageError where outputs of a batch would get one name, before anything is sent.

        An item is its label, its key, its model and its input.
        """
        template = self._keeping.template
        if template == "-":
            raise errors.UsageError(
                "-o - writes one file, and a batch has many", hint="leave out -o", code="name_clash"
            )
        if not template:
            return
        taken: set[int] = set()  # hashes of names: the items may be very many
        for label, key, model, values in items:
            names = Names(self._keeping.folder, template, "ID", model, "2000-01-01", key)
            count = Request(model, values).asked_outputs
            if not names.are_distinct(count):
                told = f"the template {template!r} gives the {count} outputs of {label} one name"
            elif "{id}" not in template and hash(names.comparable(0)) in taken:
                told = f"the template {template!r} gives {label} a name that an item before it has"
            else:
                taken.add(hash(names.comparable(0)))
                continue
            raise errors.UsageError(
                told, hint="add {id}, {key} or {index} to it: -o '{key}-{id}-{index}.{ext}'", code="name_clash"
            )

    def check_ids(self, ids: Sequence[str]) -> None:
        """Raise UsageError where the outputs of several predictions would get one name, before any is fetched."""
        template, distinct = self._keeping.template, dict.fromkeys(ids)
        if len(distinct) < 2 or not template:
            return
        if template == "-":
            raise errors.UsageError(
                f"-o - writes one file, and {len(distinct)} predictions are named",
                hint=f"cometrep download {' '.join(distinct)}",
                code="name_clash",
            )
        if len({self._names(id, "model", template, "").path(0, "ext") for id in distinct}) < len(distinct):
            raise errors.UsageError(
                f"the template {template!r} gives the outputs of {len(distinct)} predictions one name",
                hint="add {id} to it: -o '{id}-{index}.{ext}'",
                code="name_clash",
            )

    def save(self, prediction: Prediction, look_again: LookAgain) -> Saving:
        """Save every output file of a prediction that succeeded; give the files and what failed.

        `look_again` fetches the prediction anew where a URL has expired. Nothing is raised but what ends the
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
        yield from self._doubts(prediction, len(files))
        fresh = _Fresh(look_again)
        if self._keeping.template == "-":
            yield from self._save_to_stdout(prediction, files, fresh)
            return [], [None]
        template = self._keeping.template or default_template(len(files))
        names = self._names(prediction.id, prediction.model, template, prediction.created_at)
        names.check(len(files))
        saved: list[SavedFile] = []
        outcomes: list[errors.CometrepError | None] = []
        known = self._ledger.lenient(self._ledger.files, prediction.id) or ()
        for file in files:
            try:
                copies = [one for one in known if one.index == file.index]
                if kept := (yield from self._save_one(prediction, file, copies, names, fresh)):
                    saved.append(kept)
                outcomes.append(None)
            except errors.CometrepError as failure:
                outcomes.append(failure)
        if self._keeping.writes_sidecar or prediction.has_more_than_files():
            yield from self._write_sidecar(prediction, saved, names, is_complete=len(saved) == len(files))
        return saved, outcomes

    def _save_one(
        self,
        prediction: Prediction,
        file: OutputFile,
        copies: Sequence[SavedFile],
        names: Names,
        fresh: "_Fresh",
    ) -> Generator[Event, None, SavedFile | None]:
        """Save one file, of which the ledger knows copies, or give None where a path was to be left alone."""
        known = self._known_file(copies, names)
        if known is not None:
            yield Saved(prediction.id, known, "kept")
            return known
        saved, how = yield from self._fetch(prediction, file, names, fresh)
        if how != "skipped":  # before it is told: nobody may be there to hear it
            self._ledger.lenient(self._ledger.add_file, prediction.id, saved)
        yield Saved(prediction.id, saved, how)
        return None if how == "skipped" else saved

    def _save_to_stdout(
        self, prediction: Prediction, files: Sequence[OutputFile], fresh: "_Fresh"
    ) -> Iterator[Event]:
        if len(files) > 1:
            raise errors.UsageError(
                f"-o - writes one file, and {prediction.id} has {len(files)}",
                hint=f"cometrep download {prediction.id}",
                code="name_clash",
            )
        with tempfile.TemporaryDirectory(prefix="cometrep-") as folder:
            names = Names(folder, default_template(1), prediction.id, prediction.model, "")
            saved, _ = yield from self._fetch(prediction, files[0], names, fresh)
            yield Saved(prediction.id, saved, "stdout")

    def _fetch(
        self, prediction: Prediction, file: OutputFile, names: Names, fresh: "_Fresh"
    ) -> Generator[Event, None, tuple[SavedFile, str]]:
        """Fetch a file, and where its URL has expired once more from the URL that the API has now."""
        try:
            return (yield from self._downloads.save(prediction.id, file, names))
        except UrlExpired as expired:
            again = yield from fresh.file(prediction.id, file, expired.reason)
        try:
            return (yield from self._downloads.save(prediction.id, again, names))
        except UrlExpired as expired:
            raise _expired(prediction.id, again, expired.reason) from expired

    def _known_file(self, copies: Sequence[SavedFile], names: Names) -> SavedFile | None:
        """Find the copy that stands where this file is to go, where disk and ledger still agree."""
        if self._downloads.rules.overwrites:
            return None
        for known in copies:
            target = names.path(known.index, Path(known.path).suffix)
            with contextlib.suppress(OSError):
                if (
                    target.absolute() == Path(known.path)
                    and target.stat().st_size == known.size_bytes
                    and file_sha256(target) == known.sha256
                ):
                    return known.at(str(target))
        return None

    def _files_remembered(self, prediction: Prediction) -> tuple[OutputFile, ...]:
        """List the files of an output that the API no longer has from the ledger, to find those already saved."""
        if not prediction.data_removed:
            raise errors.OutputMissing(
                f"prediction {prediction.id} reported success without any output",
                hint=f"cometrep status {prediction.id} --json shows the reply; create it again",
            )
        entry = self._ledger.lenient(self._ledger.entry, prediction.id)
        files = prediction.with_output(entry.output).output_files() if entry else ()
        if not files:
            raise errors.OutputMissing(
                f"the output of {prediction.id} is gone: the API removes it about an hour after the end",
                hint="create it again, and save it within the hour",
                code="output_expired",
            )
        return files

    def _doubts(self, prediction: Prediction, count: int) -> Iterator[Event]:
        values = prediction.input
        if not isinstance(values, Mapping):
            entry = self._ledger.lenient(self._ledger.entry, prediction.id)
            values = entry.input if entry else {}
        asked = Request(prediction.model, values).asked_outputs
        if count < asked:
            yield Noted(
                prediction.id,
                f"{prediction.id} has {count} of {asked} outputs asked for; a filter may have dropped the rest",
                is_warning=True,
            )

    def _write_sidecar(
        self, prediction: Prediction, files: Sequence[SavedFile], names: Names, *, is_complete: bool
    ) -> Iterator[Event]:
        if not is_complete:
            yield Noted(prediction.id, "no sidecar is written: not every file was saved", is_warning=True)
            return
        folder = names.path(0, "ext").parent
        path = _sidecar_path(folder, prediction.id)
        shown: dict[str, Any] = prediction.as_json()
        for name in ("input", "output"):
            shown[name] = shorten_data_uris(shown[name])
        for name in ("logs", "progress", "schema_version"):
            del shown[name]
        content = {
            "schema_version": 1,
            "prediction": shown,
            "files": [file.at(relative(Path(file.path), folder)).as_json() for file in files],
            "cometrep_version": __version__,
        }
        write_whole(path, [json.dumps(content, indent=2).encode(), b"\n"])
        if prediction.has_more_than_files():
            yield Noted(prediction.id, f"the output holds more than files; all of it is in {path}")

    def _names(self, id: str, model: str, template: str, created_at: str) -> Names:
        found = re.match(r"\d{4}-\d\d-\d\d", created_at)
        date = found.group() if found else time.strftime("%Y-%m-%d", time.gmtime(self._now()))
        return Names(self._keeping.folder, template, id, model, date, self._keeping.key)


def _sidecar_path(folder: Path, id: str) -> Path:
    return folder / f"{id}.cometrep.json"


def read_sidecar(id: str, files: Sequence[SavedFile]) -> Prediction | None:
    """Read the prediction from the sidecar beside its files; None where there is none that can be read."""
    if not files:
        return None
    try:
        content = json.loads(_sidecar_path(Path(files[0].path).parent, id).read_bytes())
        return Prediction.from_json(content["prediction"], id=id)
    except (OSError, ValueError, TypeError, KeyError):
        return None


def preview(folder: str, template: str, key: str, model: str, values: Mapping[str, Any]) -> list[str]:
    """Give the names that a batch item's files would get; `ID` and `ext` stand for what is not known yet."""
    count = Request(model, values).asked_outputs
    date = time.strftime("%Y-%m-%d", time.gmtime())
    names = Names(folder, template or default_template(count), "ID", model, date, key)
    return [str(names.path(index, "ext")) for index in range(count)]


class _Fresh:
    """The output files of one prediction as the API has them now, looked up once at most."""

    def __init__(self, look_again: LookAgain) -> None:
        self._look_again = look_again
        self._files: tuple[OutputFile, ...] | None = None

    def file(self, id: str, stale: OutputFile, reason: str) -> Generator[Event, None, OutputFile]:
        """Give a file's fresh form; raise OutputMissing where the API has none in its place."""
        if self._files is None:
            yield Noted(id, f"output file {stale.index}: {reason}; asking the API for a fresh URL")
            self._files = (yield from self._look_again(id)).output_files()
        if stale.index >= len(self._files):
            raise _expired(id, stale, reason)
        return self._files[stale.index]


def _expired(id: str, file: OutputFile, reason: str) -> errors.OutputMissing:
    return errors.OutputMissing(
        f"output file {file.index} of {id} cannot be had: {reason}; files live about an hour",
        hint=f"cometrep status {id} --json shows what the API still has",
        code="output_expired",
        prediction_id=id,
    )


def relative(path: Path, folder: Path) -> str:
    """Give a path as it is seen from a folder, or whole where it is not inside it."""
    try:
        return path.relative_to(folder).as_posix()
    except ValueError:
        return str(path)
