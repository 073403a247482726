"""Show a use case: draw its events on stderr, write their results to stdout, and let it end in order.

Whatever ends it: its own failure, a signal, or a stdout that takes no more.
"""

import contextlib
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from cometrep import errors, hints
from cometrep.console import Console
from cometrep.console.screen import Screen
from cometrep.console.unfinished import Unfinished
from cometrep.events import Event, ItemEnded, Noted, Result, Saved
from cometrep.prediction import Prediction, SavedFile
from cometrep.text import ascii_json, harmless, one_line

if TYPE_CHECKING:
    from cometrep.console.display import Display
    from cometrep.console.github import Report

Returned = TypeVar("Returned")

_COPIED_BYTES = 262_144  # of a file, at a time
_MAY_BE_REPEATED = (errors.LocalFileError, errors.Temporary, errors.Refused, errors.ConfigError)


class Results(NamedTuple):
    """What a command puts on stdout: a word of `--print`, `line` for ID and status, or `json`.

    `resume` is the command that takes predictions up again after Ctrl-C, `ids` those it began with; with `saves` it
    saves files itself.
    """

    what: str
    resume: hints.Command
    ids: Sequence[str] = ()
    is_batch: bool = False
    saves: bool = False


class Stage:
    """Where one use case is shown, on a console that draws nothing else meanwhile."""

    def __init__(self, console: Console, results: Results) -> None:
        self._console = console
        self._results = results
        self._unfinished = Unfinished(results.ids)
        self._saved_paths: set[str] = set()
        self._lost_id = ""  # of a prediction that was created, which the ledger did not take
        self._mode = console.progress_mode()
        self._report = self._new_report()
        self._display = self._new_display()

    def show(self, events: Generator[Event, None, Returned]) -> Returned:
        """Draw events and write their results, until they end or raise; give what they return."""
        returned, reason, named = None, "", ""
        try:
            # Where stdout takes no more, the use case learns it as it is closed.
            with self._console.lent_to(self._display), contextlib.closing(events):
                returned = self._ended(events)
                return returned
        except (errors.CometrepError, errors.Stopped) as failure:
            reason, named = failure.message, failure.prediction_id or ""
            if self._lost_id and not self._console.is_heard and isinstance(failure, _MAY_BE_REPEATED):
                # Its own exit code would say that nothing was created, or that it may be typed again.
                told = f"{reason}; the ledger did not take the id of {self._lost_id}, which is paid for"
                hint = hints.WAIT_AGAIN.of(self._lost_id)
                raise errors.CreateUnknown(told, hint=hint, prediction_id=self._lost_id) from failure
            raise
        finally:
            if self._report:
                left = self._unfinished.left(named)
                for problem in self._report.tell(returned, reason, left, self._console.environment):
                    self._console.warn(f"--github: {problem}, so nothing is told there")

    def _new_report(self) -> "Report | None":
        if not self._console.choices.tells_github:
            return None
        from cometrep.console.github import Report

        return Report(is_batch=self._results.is_batch)

    def _new_display(self) -> "Display":
        stdout, stderr = self._console.screens()
        if self._results.is_batch:
            from cometrep.console.board import new_board

            return new_board(self._mode, stderr)
        paths_follow = self._results.what == "path" and stderr.is_terminal and stdout.is_terminal
        names_logs = len(set(self._results.ids)) > 1
        return new_display(self._mode, stderr._replace(paths_follow=paths_follow, names_logs=names_logs))

    def _ended(self, events: Generator[Event, None, Returned]) -> Returned:
        """Show events to their end; what ends them from outside, the use case hears of too."""
        try:
            while True:
                try:
                    event = next(events)
                except StopIteration as end:
                    return end.value  # type: ignore[no-any-return]
                self._show_one(event, events)
        except errors.Stopped as stop:
            # The signal may have come while something was drawn: the use case has to put its things in order too.
            self._stop(events, stop)
            self._unfinished.tell(stop, self._results.resume)
            raise
        except errors.StdoutClosed as gone:
            self._stop(events, gone)
            raise

    def _show_one(self, event: Event, events: Generator[Event, None, Any]) -> None:
        is_batch = self._results.is_batch
        self._take(event)
        self._draw(event)
        try:
            self._write_result(event)
        except (errors.StdoutClosed, errors.LocalFileError) as refused:
            if isinstance(event, Saved) and not is_batch:
                self._save_the_rest(events, event.id)
            left = [] if is_batch else self._unfinished.left(event.id)
            refused.hint = self._results.resume.of(*left)
            refused.prediction_id = event.id or None
            raise
        if isinstance(event, Result):
            self._unfinished.leave(event.id)

    def _take(self, event: Event) -> None:
        if not self._results.is_batch:  # its own record knows what is left
            self._unfinished.take(event)
            if isinstance(event, Noted) and event.is_of_lost_id:
                self._lost_id = event.id
        if self._report:
            self._report.take(event)

    def _draw(self, event: Event) -> None:
        hint = self._console.with_flags(event.hint) if isinstance(event, Noted) else ""
        if isinstance(event, Noted):
            event = event._replace(hint=hint, text=self._console.with_flags(event.text))
        self._display.take(event)
        if hint and self._mode != "json":
            self._console.hint(hint)

    def _save_the_rest(self, events: Generator[Event, None, Any], id: str) -> None:
        """Let a prediction's other files be saved where stdout takes no more: they are paid for."""
        with contextlib.suppress(errors.CometrepError, StopIteration):
            event = next(events)
            while not (isinstance(event, Result) and event.id == id):
                self._display.take(event)
                self._take(event)
                event = next(events)

    def _stop(self, events: Generator[Event, None, Any], reason: errors.Failure) -> None:
        """Let a use case put its things in order where it ends from outside, and hear what it says of that."""
        try:
            event = events.throw(reason)
            while True:
                self._take(event)
                self._draw(event)
                event = next(events)
        except (errors.Stopped, errors.StdoutClosed, StopIteration):
            pass
        except errors.CometrepError as problem:  # it does not take the place of what ended the command
            reason.message += f"; {problem.message}"

    def _write_result(self, event: Event) -> None:
        console, what = self._console, self._results.what
        if isinstance(event, Saved) and event.how == "stdout":
            with console.aside(), Path(event.file.path).open("rb") as file:
                while piece := file.read(_COPIED_BYTES):
                    console.write_bytes(piece)
        elif isinstance(event, Saved) and event.how != "skipped" and what == "path":
            self._saved_paths.add(event.file.path)
            with console.aside():
                console.write_path(event.file.path)
        elif isinstance(event, ItemEnded):
            self._saved_paths.clear()  # memory does not grow with the items
            if what == "json":
                with console.aside():
                    console.write_json(event.as_json())
        elif isinstance(event, Result) and event.prediction:
            with console.aside():
                if what == "json":
                    console.write_json(event.prediction.as_json(event.files))
                elif what == "path":
                    for path in [file.path for file in event.files if file.path not in self._saved_paths]:
                        console.write_path(path)
                    self._warn_of_no_path(event.prediction, event.files)
                for text in _result_texts(event.prediction, what):
                    console.write_line(text)

    def _warn_of_no_path(self, prediction: Prediction, files: Sequence[SavedFile]) -> None:
        """Say how a prediction gets a path where this machine has none, and it may come to one."""
        if not files and not self._results.saves and (not prediction.is_terminal or not prediction.failure()):
            saving = hints.Command("cometrep download --wait").of(prediction.id)
            self._draw(Noted(prediction.id, f"no file of {prediction.id} is saved here: {saving}", is_warning=True))


def new_display(mode: str, screen: Screen) -> "Display":
    """Make the display of a mode: `bar`, `lines`, `json` or `none`."""
    if mode == "bar":
        from cometrep.console.bars import Bars

        return Bars(screen)
    from cometrep.console.display import Display, JsonLines, Lines

    displays: dict[str, type[Display]] = {"lines": Lines, "json": JsonLines, "none": Display}
    return displays[mode](screen)


def _result_texts(prediction: Prediction, what: str) -> list[str]:
    """Give the stdout lines of one prediction's result: `what` is `line` or a word of `--print`."""
    match what:
        case "id":
            return [prediction.id]
        case "status":
            return [harmless(prediction.status)]
        case "line":
            return ["\t".join((prediction.id, one_line(prediction.status)))]
        case "url":
            files = prediction.output_files()
            return [harmless(file.url or file.data_uri) for file in files if file.content is None]
        case "output":  # what stands there before a success is not all of it
            return [ascii_json(prediction.output if prediction.status == "succeeded" else None)]
    return []
