"""Draw events on stderr: the live display of rich, and its plain, JSON and silent siblings.

All four take the same events. rich is imported with the first event to draw: by then the create has been sent,
and the server works.
"""

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from cometrep.console.live import Live
from cometrep.console.screen import Screen
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
from cometrep.text import ascii_json, format_bytes, format_duration, format_elapsed, harmless, one_line

SAVING_LINE_SECONDS = 30.0  # between two lines in logs of a file that is being saved
SAYING_SECONDS = 0.1  # between two events about the bytes of a file
LONGEST_LABEL = 28  # columns, where something else wants the room; a prediction's id has 26
SHORTEST_LABEL = 6  # columns, before times and amounts are left out
WIDEST_BAR, NARROWEST_BAR = 24, 5  # columns
SHORTEST_REASON = 12  # columns, of why something is tried again
_LOG_LINE_LIMIT = 2000  # characters of one log line worth showing
_LOG_END = 500  # characters of a log by which its newest state is joined to what was shown


class Display:
    """What shows events on a screen: of itself warnings, and logs where they were asked for by name."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._log_ends: dict[str, tuple[str, int]] = {}  # by prediction, what was last shown of its log

    def take(self, event: Event) -> None:
        """Show one event."""
        if isinstance(event, Noted) and event.is_warning:
            self._screen.warning(event.text)
        for line in self._shown_log(event):
            self._screen.line(line)

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """Leave the screen to someone else for a moment."""
        yield

    def close(self) -> None:
        """Leave the screen for good, with the cursor shown."""

    def _shown_log(self, event: Event) -> list[str]:
        """Give the lines of logs not shown yet, as people are shown them."""
        named = f"{event.id}  " if self._screen.names_logs else ""
        return [f"{named}| {harmless(line)}" for line in self._log_lines(event)]

    def _log_lines(self, event: Event) -> list[str]:
        """Give the whole lines of logs not shown yet; of a bar that redraws itself, its last state."""
        if not self._screen.shows_logs or not isinstance(event, (Seen, Created)):
            return []
        logs = event.prediction.logs
        known = _end_of(self._log_ends.get(event.id, ("", 0)), logs)
        end = len(logs) if event.prediction.is_terminal else logs.rfind("\n") + 1
        if end <= known:
            return []
        self._log_ends[event.id] = (logs[max(0, end - _LOG_END) : end], end)
        lines = logs[known:end].replace("\r\n", "\n").split("\n")
        shown = [line.rstrip("\r").rpartition("\r")[2][:_LOG_LINE_LIMIT] for line in lines]
        return [line for line in shown if line.strip()]


class Silent(Display):
    """Show nothing but warnings and logs."""


class Animated(Display):
    """Lines that are drawn anew while the command runs, and leave the screen for everything that is to stay."""

    def __init__(self, screen: Screen) -> None:
        super().__init__(screen)
        self._live: Live | None = None

    def resume(self) -> None:
        """Draw, once there is something to draw."""
        if self._has_something():
            if self._live is None:
                self._live = Live(self._screen, self._table)
            self._live.start()

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """Leave the screen while something else is written."""
        # Else it is another's turn already: a signal came aside, or while the first lines are made.
        is_drawing = self._live is not None and self._live.is_on
        self.close()
        yield
        if is_drawing:
            self.resume()

    def close(self) -> None:
        """Leave the screen, with the cursor shown."""
        if self._live is not None:
            self._live.stop()

    def _has_something(self) -> bool:
        raise NotImplementedError

    def _table(self, width: int, height: int) -> Any:
        """Give what rich draws on a screen of that size: fewer lines, and each a column shorter."""
        raise NotImplementedError


def _end_of(shown: tuple[str, int], logs: str) -> int:
    """Find where what was shown of a log ends in its newest state; a long log may have lost its beginning.

    What was shown is its last characters, and how many there were in all.
    """
    last, length = shown
    if logs.endswith(last, 0, length) and len(logs) >= length:
        return length
    found = logs.rfind(last)
    if found >= 0:
        return found + len(last)
    return next((size for size in range(len(last), 0, -1) if logs.startswith(last[-size:])), 0)


def shortened(text: str, width: int, screen: Screen) -> str:
    """Cut a text to a width, with a sign that something is missing."""
    from rich.cells import cell_len, set_cell_size

    sign = "…" if screen.speaks_unicode else "..."
    if cell_len(text) <= width:
        return text
    if width <= len(sign):
        return set_cell_size(text, width)
    return set_cell_size(text, width - len(sign)).rstrip(sign) + sign  # a part of it may have been cut before


class Lines(Display):
    """Plain lines, for logs: one a change, a sign of life now and then, never a frame."""

    def __init__(self, screen: Screen) -> None:
        super().__init__(screen)
        self._statuses: dict[str, str] = {}
        self._said: dict[tuple[str, int], float] = {}  # by output file, when its bytes were last spoken of

    def take(self, event: Event) -> None:
        """Show one event."""
        if text := self._text(event):
            self._screen.line(text)
        super().take(event)

    def _text(self, event: Event) -> str:
        if isinstance(event, Seen):
            status = event.prediction.status
            if self._statuses.get(event.id) == status:
                return ""
            self._statuses[event.id] = status
            return f"{event.id}  {self._screen.status(status)}  {format_duration(event.elapsed_seconds)}"
        if isinstance(event, Created):
            self._statuses[event.id] = event.prediction.status
        if isinstance(event, Saving):
            return self._saving_line(event)
        if isinstance(event, Slow):
            what = f"{event.id}  no answer from the API" if event.id else "no answer to the create"
            return f"{what} for {format_duration(event.seconds)}; still waiting"
        if isinstance(event, Retrying):
            pause = format_duration(round(event.pause_seconds, 1))
            what = f"{event.id}  " if event.id else ""
            return f"{what}attempt {event.attempt} failed: {harmless(event.reason)}; the next in {pause}"
        return _lasting_line(event, self._screen)

    def _saving_line(self, event: Saving) -> str:
        """Give a sign of life of a file that takes long, empty for none."""
        now = time.monotonic()
        said = self._said.setdefault((event.id, event.file_index), now)
        if event.done_bytes == event.total_bytes or now < said + SAVING_LINE_SECONDS:
            return ""
        self._said[event.id, event.file_index] = now
        total = "" if event.total_bytes is None else f" of {format_bytes(event.total_bytes)}"
        return f"{event.id}  still saving {harmless(event.name)}  {format_bytes(event.done_bytes)}{total}"


def _lasting_line(event: Event, screen: Screen) -> str:
    """Give the line of an event that logs show and terminals keep, empty for none."""
    if isinstance(event, Created):
        return f"{event.id}  created  {harmless(event.prediction.model)}"
    if isinstance(event, Waiting):
        return f"{event.id}  still {harmless(event.status)}  {format_duration(event.elapsed_seconds)}"
    if isinstance(event, Saved) and event.how != "stdout":
        how = {"saved": "saved", "kept": "already saved", "skipped": "skipped, it exists:"}[event.how]
        path = "" if screen.paths_follow and event.how != "skipped" else f" {harmless(event.file.path)}"
        return f"{screen.mark()}{how}{path}  {format_bytes(event.file.size_bytes)}"
    if isinstance(event, Noted) and not event.is_warning:
        return harmless(event.text)
    return ""


class JsonLines(Display):
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
                yield "note", {"text": event.text, "is_warning": event.is_warning, "hint": event.hint or None}
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
    took_seconds: float | None = None  # where it has ended, and its result waits for its turn
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
        lines += self._shown_log(event)
        lines = [line for line in lines if line]
        is_warning = isinstance(event, Noted) and event.is_warning
        if lines or is_warning:
            with self.aside():
                super().take(event)
                for line in lines:
                    self._screen.line(line)
        if self._has_something():
            self.resume()
        else:
            self.close()

    def _line(self, event: Event) -> str:
        """Give the line of an event that stays on the screen, empty for none."""
        if isinstance(event, Waiting):
            return ""  # the clock on the live line says as much
        elapsed = format_elapsed(time.monotonic() - self._began[event.id or ""])
        if isinstance(event, Saved) and event.how == "saved":
            return f"{_lasting_line(event, self._screen)}  {elapsed}"
        if isinstance(event, Result):
            prediction = event.prediction
            row = self._rows.get((event.id, None))
            if event.files or row is None or prediction is None or not prediction.is_terminal:
                return ""
            if row.took_seconds is not None:  # its line may have waited for its turn
                elapsed = format_elapsed(row.took_seconds)
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
                if event.prediction.is_terminal and row.took_seconds is None:
                    row.took_seconds = time.monotonic() - row.began
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
        """Give the rows to draw; several predictions are told apart by their ids, and those that ended go last."""
        rows = list(self._rows.items())
        if sum(index is None for (_, index), _ in rows) < 2:
            return [row for _, row in rows]
        shown = [replace(row, label=id or row.label) if index is None else row for (id, index), row in rows]
        return sorted(shown, key=lambda row: row.took_seconds is not None)

    def _has_something(self) -> bool:
        return bool(self._rows)

    def _table(self, width: int, height: int) -> Any:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.spinner import Spinner
        from rich.table import Table
        from rich.text import Text

        room = max(1, height - 2)
        all_rows = self._shown_rows()
        if not all_rows:
            return ""  # what was shown ended a moment ago
        rows = all_rows[:room]
        cells = [_cells(row) for row in rows]
        widths = _widths(cells, width - 1)
        if self._spinner is None:
            self._spinner = Spinner("dots" if self._screen.speaks_unicode else "line")
        grid = Table.grid(padding=(0, 1))
        grid.add_column(width=1)
        for column_width in filter(None, widths):
            grid.add_column(width=column_width, no_wrap=True, overflow="crop")
        for row, cell in zip(rows, cells, strict=True):
            has_ended = row.took_seconds is not None and len(all_rows) > 1
            total = None if cell.share is None else 1.0
            bar = ProgressBar(total=total, completed=cell.share or 0.0, width=widths.bar)
            whole = [
                Text(shortened(cell.label, widths.label, self._screen)),
                Text(shortened(cell.word, widths.word, self._screen), style="cyan"),
                "" if has_ended else bar,
                Text(cell.amount),
                Text(cell.elapsed),
                Text(_fitting_note(cell, widths.note, self._screen), style="magenta" if cell.is_reason else ""),
            ]
            grid.add_row(
                self._sign(row.status) if has_ended else self._spinner,
                *(one for one, column_width in zip(whole, widths, strict=True) if column_width),
            )
        if len(all_rows) > room and height > 2:
            more = shortened(f"  and {len(all_rows) - room} more", width - 1, self._screen)
            return Group(grid, Text(more, no_wrap=True))
        return grid

    def _sign(self, status: str) -> Any:
        from rich.text import Text

        if not self._screen.speaks_unicode:
            return ""
        return Text("✓", style="green") if status == "succeeded" else Text("✗", style="red")


class _Cells(NamedTuple):
    """What one live line says; `share` is what of the bar is full, None where nobody knows."""

    label: str
    word: str
    share: float | None
    amount: str
    elapsed: str
    note: str
    is_reason: bool = False  # the note says why something is tried again, and is worth a part of it


class _Widths(NamedTuple):
    """The columns of the live lines from left to right, without the sign before them; 0 leaves one out."""

    label: int
    word: int
    bar: int
    amount: int
    elapsed: int
    note: int


def _cells(row: _Row) -> _Cells:
    elapsed = max(0.001, time.monotonic() - row.began) if row.took_seconds is None else row.took_seconds
    label, shown = one_line(row.label), format_duration(int(elapsed))
    if row.done_bytes is not None:
        share = row.done_bytes / row.total_bytes if row.total_bytes else None
        rate = f"{format_bytes(row.done_bytes / elapsed)}/s"
        return _Cells(label, "saving", share, format_bytes(row.done_bytes), shown, rate)
    is_usual = row.usual_seconds is not None and row.took_seconds is None
    usual = f"usually {format_elapsed(row.usual_seconds or 0.0)}" if is_usual else ""
    amount = "" if row.progress is None else f"{row.progress:.0%}"
    note = one_line(row.note)
    return _Cells(
        label, one_line(row.status or "sending"), row.progress, amount, shown, note or usual, is_reason=bool(note)
    )


def _widths(rows: Sequence[_Cells], room: int) -> _Widths:
    """Share the columns of a line out among its parts: what changes stays whole, and the label is shortened first.

    What is left goes to a small bar, then to a note that fits, to a wider bar, and to the rest of a long label.
    """
    from rich.cells import cell_len

    label, word, amount, elapsed = (
        max(cell_len(text) for text in texts)
        for texts in zip(*((row.label, row.word, row.amount, row.elapsed) for row in rows), strict=True)
    )
    label = max(1, label)  # of nothing but marks, its column takes one all the same
    room -= 1  # for the sign

    def left() -> int:
        return room - sum(width + 1 for width in (word, amount, elapsed) if width)

    shortest = 1 + min(label, SHORTEST_LABEL)
    elapsed = elapsed if left() >= shortest else 0
    amount = amount if left() >= shortest else 0
    word = max(1, min(word, room - 1 - shortest))
    shown_label = max(1, min(label, LONGEST_LABEL, left() - 1))
    rest = left() - shown_label - 1
    bar = NARROWEST_BAR if rest > NARROWEST_BAR else 0
    rest -= bar + 1 if bar else 0
    fitting = (min(cell_len(row.note), rest - 1) for row in rows if row.note and _may_show(row, rest - 1))
    note = max(fitting, default=0)
    rest -= note + 1 if note else 0
    # Lines a bit shorter than the screen survive that it is made a bit narrower.
    wider = max(0, min(WIDEST_BAR - bar, rest - room // 5)) if bar else 0
    longer = max(0, min(label - shown_label, rest - wider))
    return _Widths(shown_label + longer, word, bar + wider, amount, elapsed, note)


def _may_show(cells: _Cells, width: int) -> bool:
    from rich.cells import cell_len

    return cell_len(cells.note) <= width or (cells.is_reason and width >= SHORTEST_REASON)


def _fitting_note(cells: _Cells, width: int, screen: Screen) -> str:
    return shortened(cells.note, width, screen) if _may_show(cells, width) else ""


def new_display(mode: str, screen: Screen) -> Display:
    """Make the display of a mode: `bar`, `lines`, `json` or `none`."""
    displays: dict[str, type[Display]] = {"bar": Bars, "lines": Lines, "json": JsonLines, "none": Silent}
    return displays[mode](screen)
