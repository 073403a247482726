"""Draw what runs on a terminal: a line a prediction and a bar a file, in columns that fit the screen.

rich is imported with the first event to draw: by then the create has been sent, and the server works.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from cometrep.console.display import LONGEST_LABEL, Animated, lasting_line, shortened
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
from cometrep.text import format_bytes, format_duration, format_elapsed, one_line

_SHORTEST_LABEL = 6  # columns, before times and amounts are left out
_WIDEST_BAR, _NARROWEST_BAR = 24, 5  # columns
_SHORTEST_REASON = 12  # columns, of why something is tried again


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
        self._began.setdefault(event.id, time.monotonic())
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
        elapsed = format_elapsed(time.monotonic() - self._began[event.id])
        if isinstance(event, Saved) and event.how == "saved":
            return f"{lasting_line(event, self._screen)}  {elapsed}"
        if isinstance(event, Result):
            prediction = event.prediction
            row = self._rows.get((event.id, None))
            if event.files or row is None or prediction is None or not prediction.is_terminal:
                return ""
            if row.took_seconds is not None:  # its line may have waited for its turn
                elapsed = format_elapsed(row.took_seconds)
            mark = self._screen.mark(is_good=prediction.status == "succeeded")
            return f"{mark}{event.id}  {self._screen.status(prediction.status)}  {elapsed}"
        return lasting_line(event, self._screen)

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

    shortest = 1 + min(label, _SHORTEST_LABEL)
    elapsed = elapsed if left() >= shortest else 0
    amount = amount if left() >= shortest else 0
    word = max(1, min(word, room - 1 - shortest))
    shown_label = max(1, min(label, LONGEST_LABEL, left() - 1))
    rest = left() - shown_label - 1
    bar = _NARROWEST_BAR if rest > _NARROWEST_BAR else 0
    rest -= bar + 1 if bar else 0
    fitting = (min(cell_len(row.note), rest - 1) for row in rows if row.note and _may_show(row, rest - 1))
    note = max(fitting, default=0)
    rest -= note + 1 if note else 0
    # Lines a bit shorter than the screen survive that it is made a bit narrower.
    wider = max(0, min(_WIDEST_BAR - bar, rest - room // 5)) if bar else 0
    longer = max(0, min(label - shown_label, rest - wider))
    return _Widths(shown_label + longer, word, bar + wider, amount, elapsed, note)


def _may_show(cells: _Cells, width: int) -> bool:
    from rich.cells import cell_len

    return cell_len(cells.note) <= width or (cells.is_reason and width >= _SHORTEST_REASON)


def _fitting_note(cells: _Cells, width: int, screen: Screen) -> str:
    return shortened(cells.note, width, screen) if _may_show(cells, width) else ""
