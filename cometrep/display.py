"""Draw events on stderr: the live display of rich, and its plain, JSON and silent siblings.

All four take the same events. rich is imported with the first event to draw: by then the create has been sent,
and the server works.
"""

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from cometrep.events import (
    Created,
    Creating,
    Event,
    Expected,
    Noted,
    Result,
    Retrying,
    Saved,
    Saving,
    Seen,
    Slow,
    Waiting,
)
from cometrep.prediction import Prediction
from cometrep.screen import Screen
from cometrep.text import ascii_json, format_bytes, format_duration, format_elapsed, harmless

REDRAWS_A_SECOND = 8
SAYING_SECONDS = 0.1  # between two events about the bytes of a file
WIDEST_LINE = 76  # columns
LONGEST_LABEL = 28  # characters; a prediction's id has 26
_LOG_LINE_LIMIT = 2000  # characters of one log line worth showing


class Silent:
    """Show nothing but warnings."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._log_lengths: dict[str, int] = {}

    def take(self, event: Event) -> None:
        """Show one event."""
        if isinstance(event, Noted) and event.is_warning:
            self._screen.warning(event.text)

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """Leave the screen to someone else for a moment."""
        yield

    def close(self) -> None:
        """Leave the screen for good, with the cursor shown."""

    def _log_lines(self, event: Event) -> list[str]:
        """Give the whole lines of logs not shown yet; of a bar that redraws itself, its last state."""
        if not self._screen.shows_logs or not isinstance(event, (Seen, Created)):
            return []
        logs, known = event.prediction.logs, self._log_lengths.get(event.id, 0)
        end = len(logs) if event.prediction.is_terminal else logs.rfind("\n") + 1
        if end <= known:
            return []
        self._log_lengths[event.id] = end
        lines = logs[known:end].replace("\r\n", "\n").split("\n")
        shown = [line.rstrip("\r").rpartition("\r")[2][:_LOG_LINE_LIMIT] for line in lines]
        return [line for line in shown if line.strip()]


class Animated(Silent):
    """Lines that are drawn anew while the command runs, and leave the screen for everything that is to stay."""

    def __init__(self, screen: Screen) -> None:
        super().__init__(screen)
        self._live: Any = None

    def resume(self) -> None:
        """Draw, once there is something to draw."""
        if self._live is None and self._has_something():
            self._live = self._new_live()
            self._live.start()

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """Leave the screen while something else is written."""
        self.close()
        yield
        self.resume()

    def close(self) -> None:
        """Leave the screen, with the cursor shown."""
        live, self._live = self._live, None
        if live is not None:
            live.stop()

    def _has_something(self) -> bool:
        raise NotImplementedError

    def _table(self, width: int, height: int) -> Any:
        """Give rich's table of what is to be seen on a screen of that size."""
        raise NotImplementedError

    def _new_live(self) -> Any:
        from rich.console import Console
        from rich.live import Live

        plain = not self._screen.has_colour
        console = Console(file=self._screen.stream, no_color=plain, highlight=False, markup=False, emoji=False)
        return Live(
            get_renderable=lambda: self._table(*console.size),
            console=console,
            refresh_per_second=REDRAWS_A_SECOND,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )


class Lines(Silent):
    """Plain lines, for logs: one a change, a sign of life now and then, never a frame."""

    def __init__(self, screen: Screen) -> None:
        super().__init__(screen)
        self._statuses: dict[str, str] = {}

    def take(self, event: Event) -> None:
        """Show one event."""
        if text := self._text(event):
            self._screen.line(text)
        else:
            super().take(event)
        for line in self._log_lines(event):
            self._screen.line(f"| {harmless(line)}")

    def _text(self, event: Event) -> str:
        if isinstance(event, Seen):
            status = event.prediction.status
            if self._statuses.get(event.id) == status:
                return ""
            self._statuses[event.id] = status
            return f"{event.id}  {self._screen.status(status)}  {format_duration(event.elapsed_seconds)}"
        if isinstance(event, Created):
            self._statuses[event.id] = event.prediction.status
        if isinstance(event, Slow):
            what = f"{event.id}  no answer from the API" if event.id else "no answer to the create"
            return f"{what} for {format_duration(event.seconds)}; still waiting"
        if isinstance(event, Retrying):
            pause = format_duration(round(event.pause_seconds, 1))
            what = f"{event.id}  " if event.id else ""
            return f"{what}attempt {event.attempt} failed: {harmless(event.reason)}; the next in {pause}"
        return _lasting_line(event, self._screen)


def _lasting_line(event: Event, screen: Screen) -> str:
    """Give the line of an event that logs show and terminals keep, empty for none."""
    if isinstance(event, Created):
        return f"{event.id}  created  {harmless(event.prediction.model)}"
    if isinstance(event, Waiting):
        return f"{event.id}  still {harmless(event.status)}  {format_duration(event.elapsed_seconds)}"
    if isinstance(event, Saved) and event.how != "stdout":
        how = {"saved": "saved", "kept": "already saved", "skipped": "skipped, it exists:"}[event.how]
        return f"{screen.mark()}{how} {harmless(event.file.path)}  {format_bytes(event.file.size_bytes)}"
    if isinstance(event, Noted) and not event.is_warning:
        return harmless(event.text)
    return ""


class JsonLines(Silent):
    """One JSON object an event, on stderr, for programs."""

    def __init__(self, screen: Screen) -> None:
        super().__init__(screen)
        self._statuses: dict[str, str] = {}
        self._progress: dict[str, float] = {}
        self._said = 0.0

    def take(self, event: Event) -> None:
        """Show one event."""
        from datetime import UTC, datetime

        for name, facts in self._facts(event):
            moment = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            self._screen.line(ascii_json({"event": name, "time": moment, "id": event.id or None, **facts}))

    def _facts(self, event: Event) -> Iterator[tuple[str, dict[str, Any]]]:
        match event:
            case Created():
                self._statuses[event.id] = event.prediction.status
                yield "created", {"model": event.prediction.model, "status": event.prediction.status}
            case Seen():
                yield from self._seen_facts(event)
            case Waiting():
                yield "status", {"status": event.status, "elapsed_seconds": round(event.elapsed_seconds, 3)}
            case Slow():
                yield "slow", {"seconds": round(event.seconds, 3)}
            case Retrying():
                pause = round(event.pause_seconds, 3)
                yield "retry", {"attempt": event.attempt, "pause_seconds": pause, "reason": event.reason}
            case Saving():
                is_whole = event.done_bytes == event.total_bytes
                if is_whole or time.monotonic() >= self._said + SAYING_SECONDS:
                    self._said = time.monotonic()
                    counts = {"bytes": event.done_bytes, "total_bytes": event.total_bytes}
                    yield "saving", {"index": event.file_index, "name": event.name, **counts}
            case Saved():
                yield "saved", {"how": event.how, **event.file.as_json()}
            case Noted():
                yield "note", {"text": event.text, "is_warning": event.is_warning}
            case Result():
                yield "result", _result_facts(event)

    def _seen_facts(self, event: Seen) -> Iterator[tuple[str, dict[str, Any]]]:
        elapsed = round(event.elapsed_seconds, 3)
        prediction = event.prediction
        if self._statuses.get(event.id) != prediction.status:
            self._statuses[event.id] = prediction.status
            yield "status", {"status": prediction.status, "elapsed_seconds": elapsed}
        if prediction.progress is not None and self._progress.get(event.id) != prediction.progress:
            self._progress[event.id] = prediction.progress
            yield "progress", {"progress": prediction.progress, "elapsed_seconds": elapsed}
        for line in self._log_lines(event):
            yield "log", {"line": line}


def _result_facts(result: Result) -> dict[str, Any]:
    return {
        "status": result.prediction.status if result.prediction else None,
        "exit_code": result.failure.exit_code if result.failure else 0,
        "code": result.failure.code if result.failure else None,
        "files": [file.as_json() for file in result.files],
        "elapsed_seconds": round(result.elapsed_seconds, 3),
    }


@dataclass(slots=True)
class _Row:
    """One live line: a prediction that is waited for, or a file that is being saved (`done_bytes` is set)."""

    began: float
    label: str = ""
    status: str = ""
    progress: float | None = None
    note: str = ""
    usual_seconds: float | None = None
    done_bytes: int | None = None
    total_bytes: int | None = None


class Bars(Animated):
    """A live display: a line a prediction, a bar a file, and lines that stay for what is finished."""

    def __init__(self, screen: Screen) -> None:
        super().__init__(screen)
        self._spinner: Any = None
        self._rows: dict[tuple[str, int | None], _Row] = {}
        self._began: dict[str, float] = {}

    def take(self, event: Event) -> None:
        """Show one event."""
        self._began.setdefault(event.id or "", time.monotonic())
        lines = [self._line(event)]
        self._update(event)
        lines += [f"| {harmless(line)}" for line in self._log_lines(event)]
        lines = [line for line in lines if line]
        is_warning = isinstance(event, Noted) and event.is_warning
        if lines or is_warning:
            with self.aside():
                super().take(event)
                for line in lines:
                    self._screen.line(line)
        elif self._live is None:
            self.resume()

    def _line(self, event: Event) -> str:
        """Give the line of an event that stays on the screen, empty for none."""
        if isinstance(event, Waiting):
            return ""  # the clock on the live line says as much
        elapsed = format_elapsed(time.monotonic() - self._began[event.id or ""])
        if isinstance(event, Saved) and event.how == "saved":
            return f"{_lasting_line(event, self._screen)}  {elapsed}"
        if isinstance(event, Result):
            prediction = event.prediction
            is_live = (event.id, None) in self._rows
            if event.files or not is_live or prediction is None or not prediction.is_terminal:
                return ""
            mark = self._screen.mark(is_good=prediction.status == "succeeded")
            return f"{mark}{event.id}  {self._screen.status(prediction.status)}  {elapsed}"
        return _lasting_line(event, self._screen)

    def _update(self, event: Event) -> None:
        """Change the live lines that an event speaks of."""
        match event:
            case Creating():
                self._row("").label = event.model.rpartition("/")[2]
            case Created() | Seen():
                self._rows.pop(("", None), None)
                row = self._row(event.id)
                row.label = event.prediction.model.rpartition("/")[2] or event.id
                row.status, row.progress, row.note = event.prediction.status, event.prediction.progress, ""
            case Expected():
                self._row(event.id).usual_seconds = event.usual_seconds
            case Slow():
                self._row(event.id).note = f"no answer for {format_elapsed(event.seconds)}"
            case Retrying():
                self._row(event.id).note = f"retry {event.attempt}: {event.reason}"
            case Saving():
                self._rows.pop((event.id, None), None)
                row = self._row(event.id, event.file_index)
                row.label, row.done_bytes, row.total_bytes = event.name, event.done_bytes, event.total_bytes
            case Saved():
                self._rows.pop((event.id, event.file.index), None)
            case Result():
                self._rows = {key: row for key, row in self._rows.items() if key[0] != event.id}

    def _row(self, id: str, index: int | None = None) -> _Row:
        return self._rows.setdefault((id, index), _Row(time.monotonic(), label=id or "create"))

    def _shown_rows(self) -> list[_Row]:
        """Give the rows to draw; where several predictions are waited for, their ids tell them apart."""
        rows = list(self._rows.items())
        if sum(index is None for (_, index), _ in rows) < 2:
            return [row for _, row in rows]
        return [replace(row, label=id or row.label) if index is None else row for (id, index), row in rows]

    def _has_something(self) -> bool:
        return bool(self._rows)

    def _table(self, width: int, height: int) -> Any:
        """Give the live lines as a table that never outgrows the screen."""
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        # Narrower than most screens: what is longer than a screen made narrower is left there in halves.
        width, room = min(width, WIDEST_LINE), max(1, height - 2)
        shown = self._shown_rows()
        grid = Table.grid(padding=(0, 1))
        grid.add_column(width=1)
        for _ in range(6):
            grid.add_column(no_wrap=True, overflow="ellipsis")
        for row in shown[:room]:
            cells = _cells(row)
            bar = ProgressBar(
                total=None if cells.share is None else 1.0, completed=cells.share or 0.0, width=min(24, width // 4)
            )
            used = 1 + len(cells.label) + len(cells.word) + len(cells.amount) + len(cells.elapsed) + 6
            rest = width - used - (min(24, width // 4) if width >= 60 else 0)
            grid.add_row(
                self._spinner,
                Text(cells.label),
                Text(cells.word, style="cyan"),
                bar if width >= 60 else "",
                Text(cells.amount),
                Text(cells.elapsed),
                Text(cells.note[: max(0, rest)], style="magenta" if row.note else ""),
            )
        if len(shown) > room:
            grid.add_row("", Text(f"and {len(shown) - room} more"))
        return grid

    def _new_live(self) -> Any:
        from rich.spinner import Spinner

        self._spinner = Spinner("dots" if self._screen.speaks_unicode else "line")
        return super()._new_live()


class _Cells(NamedTuple):
    """What one live line says; `share` is what of the bar is full, None where nobody knows."""

    label: str
    word: str
    share: float | None
    amount: str
    elapsed: str
    note: str


def _cells(row: _Row) -> _Cells:
    elapsed = max(0.001, time.monotonic() - row.began)
    label = harmless(row.label)
    label = label if len(label) <= LONGEST_LABEL else label[: LONGEST_LABEL - 1] + "…"
    if row.done_bytes is not None:
        share = row.done_bytes / row.total_bytes if row.total_bytes else None
        rate = f"{format_bytes(row.done_bytes / elapsed)}/s"
        return _Cells(label, "saving", share, format_bytes(row.done_bytes), format_duration(int(elapsed)), rate)
    usual = "" if row.usual_seconds is None else f"usually {format_elapsed(row.usual_seconds)}"
    amount = "" if row.progress is None else f"{row.progress:.0%}"
    shown = format_duration(int(elapsed))
    return _Cells(
        label, harmless(row.status or "sending"), row.progress, amount, shown, harmless(row.note) or usual
    )


def table_lines(header: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> list[str]:
    """Align a table's cells under its header, the widest columns shortened until a line fits a width."""
    from rich.cells import cell_len, set_cell_size

    table = [list(header), *rows]
    widths = [max(cell_len(row[i]) for row in table) for i in range(len(header))]
    while sum(widths) + 2 * (len(widths) - 1) > width and max(widths) > 4:
        widths[widths.index(max(widths))] -= 1
    lines = []
    for row in table:
        cells = [
            set_cell_size(cell if cell_len(cell) <= size else set_cell_size(cell, size - 1) + "…", size)
            for cell, size in zip(row, widths, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    return lines


def new_display(mode: str, screen: Screen) -> Silent:
    """Make the display of a mode: `bar`, `lines`, `json` or `none`."""
    displays: dict[str, type[Silent]] = {"bar": Bars, "lines": Lines, "json": JsonLines, "none": Silent}
    return displays[mode](screen)


def result_texts(prediction: Prediction, what: str) -> list[str]:
    """Give the stdout lines of one prediction's result: `what` is `line` or a word of `--print`."""
    match what:
        case "id":
            return [prediction.id]
        case "status":
            return [harmless(prediction.status)]
        case "line":
            return [f"{prediction.id}\t{harmless(prediction.status)}"]
        case "url":
            files = prediction.output_files()
            return [harmless(file.url or file.data_uri) for file in files if file.content is None]
        case "output" if prediction.status == "succeeded":
            return [ascii_json(prediction.output)]
    return []
