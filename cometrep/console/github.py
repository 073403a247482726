"""Tell a GitHub Actions step how predictions ended: its outputs, its summary, its errors.

Every value may come from a server, so nothing is written as it is: outputs stand between random delimiters, the
summary's Markdown is escaped, and an error is one command of one line.

Source: docs.github.com/actions/reference/workflow-commands-for-github-actions.
"""

import os
import re
import secrets
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from cometrep.events import BatchEnded, Created, Event, ItemEnded, Result, Saved, Seen
from cometrep.prediction import Prediction, SavedFile
from cometrep.small_files import size_of
from cometrep.text import brief, first_few, format_bytes, format_count, format_elapsed, harmless, one_line

_FILES_SHOWN = 100  # of one prediction
_SUMMARY_BYTES = 1_000_000  # GitHub shows nothing of a step's summary above 1 MiB, what was there before with it


class Report:
    """What a step is told at the end of a command: of each prediction, or of each item of a batch."""

    def __init__(self, *, is_batch: bool) -> None:
        self._is_batch = is_batch
        self._results: list[Result] = []
        self._items: list[ItemEnded] = []
        self._seen: dict[str, Prediction] = {}
        self._files: dict[str, list[SavedFile]] = {}

    def take(self, event: Event) -> None:
        """Take up how a prediction or an item ended, and of predictions what came before."""
        if isinstance(event, Result):
            self._results.append(event)
        elif isinstance(event, ItemEnded):
            self._items.append(event._replace(prediction=None, text=""))  # there may be many
        elif self._is_batch:
            return
        elif isinstance(event, (Created, Seen)):
            self._seen[event.id] = event.prediction
        elif isinstance(event, Saved) and event.how != "stdout":
            self._files.setdefault(event.id, []).append(event.file)

    def tell(
        self, returned: object, reason: str, left: Sequence[str], environment: Callable[[str], str]
    ) -> Iterator[str]:
        """Append outputs and summary where the step looks for them; yield why that cannot be done.

        They come from what the command's events returned, or why they did not; `left` are the predictions that
        the command was not done with then. Nothing is told of a batch that was ended before it came to any count.
        """
        paths = {variable: environment(variable) for variable in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
        if isinstance(returned, BatchEnded):
            texts = of_batch(returned, self._items)
        elif self._is_batch:
            return
        else:
            told = {result.id for result in self._results}
            open_ones = [
                Result(id, self._seen.get(id), tuple(self._files.get(id, ()))) for id in left if id not in told
            ]
            results = [*self._results, *open_ones]
            room = _SUMMARY_BYTES - size_of(Path(paths["GITHUB_STEP_SUMMARY"]))
            texts = outputs(results), summary(results, reason if open_ones or not results else "", room_bytes=room)
        if unset := [variable for variable, path in paths.items() if not path]:
            yield f"{' and '.join(unset)} {'is' if len(unset) == 1 else 'are'} not set"
        for path, text in zip(paths.values(), texts, strict=True):
            try:
                if path:
                    _append(Path(path), text)
            except OSError as problem:
                yield f"cannot write {path}: {problem.strerror}"


def outputs(results: Sequence[Result]) -> str:
    """Write the step's outputs `id`, `status`, `path` and `paths`; of several predictions a line each."""
    return _outputs(
        [result.id for result in results],
        [_status(result) for result in results],
        [file.path for result in results for file in result.files],
    )


def summary(results: Sequence[Result], reason: str = "", *, room_bytes: int = _SUMMARY_BYTES) -> str:
    """Write a Markdown table of predictions for the step's summary, and the reason why it is not whole.

    It has as many rows as there is room for.
    """
    why = f"{_markdown(reason)}\n\n" if reason else ""
    if not results and reason:
        return why
    rows = []
    for result in results:
        files = first_few(
            [f"{_markdown(file.path)} ({format_bytes(file.size_bytes)})" for file in result.files], _FILES_SHOWN
        )
        told = _markdown(_status(result)) + (f": {_markdown(result.failure.message)}" if result.failure else "")
        model = _markdown(result.prediction.model) if result.prediction else ""
        rows.append(f"| {_markdown(result.id)} | {model} | {told} | {files} |\n")
    shown = list(_fitting(rows, room_bytes))
    rest = f"\n{format_count(len(rows) - len(shown), 'row')} left out\n" if len(shown) < len(rows) else ""
    return "".join(("| Prediction | Model | Status | Files |\n|---|---|---|---|\n", *shown, rest, "\n", why))


def of_batch(ended: BatchEnded, items: Sequence[ItemEnded]) -> tuple[str, str]:
    """Write a batch's outputs and its summary.

    `id` and `status` (a word of the record) have a line an item that ended, `path` and `paths` are their files;
    `total`, `done` (what is skipped too), `failed`, `unknown` and `left` count items.
    """
    shown = _outputs(
        [item.id for item in items],
        [item.outcome for item in items],
        [file.path for item in items for file in item.files],
    )
    tally = ended.tally
    counts = {
        "total": tally.total,
        "done": tally.done + tally.skipped,
        "failed": tally.failed,
        "unknown": tally.unknown,
        "left": tally.left,
    }
    lines = ["| Items | Done | Failed | In doubt | Left | Time |", "|---|---|---|---|---|---|"]
    lines.append(
        f"| {' | '.join(str(count) for count in counts.values())} | {format_elapsed(tally.elapsed_seconds)} |"
    )
    lines += ["", *(f"- {_markdown(failure)}" for failure in ended.first_failures)] if ended.first_failures else []
    counted = "".join(_output(name, [str(count)]) for name, count in counts.items())
    return shown + counted, "\n".join(lines) + "\n\n"


def error(message: str) -> str:
    """Write the workflow command that marks a failure in the log."""
    escaped = one_line(brief(message)).replace("%", "%25")
    return f"::error title=cometrep::{escaped}"


def _append(path: Path, text: str) -> None:
    start = "\n" if _lacks_line_break(path) else ""  # behind what the step wrote before
    with open(path, "ab", opener=_opened) as file:
        file.write((start + text).encode("utf-8", "backslashreplace"))


def _opened(path: str, flags: int) -> int:
    """Open a file; raise OSError for a pipe that nobody reads, and do not wait for one who does."""
    waits_not = getattr(os, "O_NONBLOCK", 0)
    descriptor = os.open(path, flags | waits_not, 0o666)
    if waits_not:
        os.set_blocking(descriptor, True)
    return descriptor


def _lacks_line_break(path: Path) -> bool:
    """Say whether a file's last line has no end."""
    if not path.is_file() or not path.stat().st_size:
        return False
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read() != b"\n"


def _outputs(ids: Sequence[str], statuses: Sequence[str], paths: Sequence[str]) -> str:
    values = {"id": ids, "status": statuses, "path": paths[:1], "paths": paths}
    return "".join(_output(name, [one_line(line) for line in lines]) for name, lines in values.items())


def _output(name: str, lines: Sequence[str]) -> str:
    delimiter = f"cometrep_{secrets.token_hex(16)}"
    return "".join(f"{line}\n" for line in (f"{name}<<{delimiter}", *lines, delimiter))


def _fitting(rows: Sequence[str], room_bytes: int) -> Iterator[str]:
    """Yield the first rows, as many as there is room for."""
    for row in rows:
        room_bytes -= len(row.encode("utf-8", "backslashreplace"))
        if room_bytes < 0:
            return
        yield row


def _status(result: Result) -> str:
    if result.prediction is None:  # whose files are saved, it had succeeded
        return "succeeded" if result.files else "not seen"
    return harmless(result.prediction.status)


def _markdown(text: str) -> str:
    """Escape all that Markdown or HTML could read in a text."""
    return (
        re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", one_line(brief(text))).replace("\\<", "&lt;").replace("\\&", "&amp;")
    )
