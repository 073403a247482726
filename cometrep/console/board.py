"""Draw a batch on stderr: one bar over all of it, a line now and then in logs, or its events for programs."""

import math
import time
from collections import Counter, deque
from collections.abc import Iterator
from typing import Any, NamedTuple

from cometrep.console.display import LONGEST_LABEL, Animated, Display, JsonLines, shortened
from cometrep.console.screen import Screen
from cometrep.events import BatchEnded, Created, Event, ItemEnded, Noted, Retrying, Saved, Tally
from cometrep.text import beside_id, brief, format_elapsed, harmless, one_line

RETRY_LINE_SECONDS = 5.0  # between two lines of what is tried again, in logs
LINE_SECONDS = 30.0  # between two lines in logs
FAILURES_SHOWN = 20  # in logs; the record has them all
_LAST_EVENTS = 4  # beneath the bar
WIDEST_BAR = 76  # columns
JSON_TALLY_SECONDS = 1.0


def tally_text(tally: Tally) -> str:
    """Say how far a batch is, in one line."""
    ended = tally.done + tally.failed + tally.unknown + tally.skipped
    words = [f"{ended}/{tally.total}", f"{tally.done} done"]
    words += [f"{tally.failed} failed"] if tally.failed else []
    words += [f"{tally.skipped} skipped"] if tally.skipped else []
    words += [f"{tally.unknown} in doubt"] if tally.unknown else []
    words += [f"{tally.running} running"] if tally.running else []
    words += [f"{tally.saving} saving"] if tally.saving else []
    if tally.items_a_second:
        words.append(f"{tally.items_a_second * 60:.0f} items/min")
    return ", ".join(words) + _time_left(tally)


def summary_lines(ended: BatchEnded) -> list[str]:
    """Say how a run of a batch went, with its first failures."""
    tally = ended.tally
    counts = [f"{tally.done} done", f"{tally.failed} failed", f"{tally.skipped} skipped"]
    counts += [f"{tally.unknown} in doubt"] if tally.unknown else []
    counts += [f"{tally.left} left"] if tally.left else []
    rate = tally.items_a_second
    shown = f"{rate:.1f}" if rate >= 0.1 else f"{rate:.2g}"  # of a slow model, a picture in many seconds
    lines = [f"{', '.join(counts)}  {format_elapsed(tally.elapsed_seconds)}  {shown} items/s"]
    return lines + [f"  {harmless(brief(failure))}" for failure in ended.first_failures]


def _told(ended: ItemEnded) -> str:
    """Say to people how an item ended, in the words of the tally."""
    return "in doubt" if ended.outcome == "unknown" else ended.outcome


def _time_left(tally: Tally) -> str:
    if tally.is_stopping:
        return ", finishing what runs"
    if not tally.items_a_second or not tally.left:
        return ""
    return f", {format_elapsed(tally.left / tally.items_a_second)} left"


class LogBoard(Display):
    """A line every half minute, and one for each of the first items of each outcome but success."""

    def __init__(self, screen: Screen) -> None:
        super().__init__(screen)
        self._said = time.monotonic()
        self._retried = -math.inf
        self._ended: Counter[str] = Counter()  # by outcome, those that did not end well

    def take(self, event: Event) -> None:
        """Show one event."""
        super().take(event)
        if isinstance(event, ItemEnded) and event.outcome != "done":
            self._ended[event.outcome] += 1
            if self._ended[event.outcome] <= FAILURES_SHOWN:
                self._screen.line(f"{harmless(event.label)}  {_told(event)}: {harmless(brief(event.text))}")
        elif isinstance(event, Retrying) and time.monotonic() >= self._retried + RETRY_LINE_SECONDS:
            self._retried = time.monotonic()
            self._screen.line(f"{harmless(event.reason)}; again in {format_elapsed(event.pause_seconds)}")
        elif isinstance(event, Noted) and not event.is_warning and not event.id:  # of the batch as a whole
            self._screen.line(harmless(brief(event.text)))
        elif isinstance(event, Tally) and time.monotonic() >= self._said + LINE_SECONDS:
            self._said = time.monotonic()
            self._screen.line(tally_text(event))


class JsonBoard(JsonLines):
    """One JSON object an event, on stderr, for programs; a tally a second at most."""

    def __init__(self, screen: Screen) -> None:
        super().__init__(screen)
        self._tallied = -math.inf
        self._withheld: Tally | None = None

    def close(self) -> None:
        """Tell the last tally, whenever the one before it was."""
        if self._withheld:
            self._tallied = -math.inf
            self.take(self._withheld)
        super().close()

    def _facts(self, event: Event) -> Iterator[tuple[str, dict[str, Any]]]:
        if isinstance(event, Created):
            facts = {"model": event.prediction.model, "status": event.prediction.status}
            yield "created", {"key": event.key, **facts}
        elif isinstance(event, Saved):
            yield "saved", {"key": event.key, "how": event.how, **event.file.as_json()}
        elif isinstance(event, ItemEnded):
            yield "item", {"key": event.key, "outcome": event.outcome, "text": event.text or None}
        elif isinstance(event, Retrying):
            for name, facts in super()._facts(event):
                yield name, {"key": event.key, **facts}
        elif isinstance(event, Tally):
            self._withheld = event
            if time.monotonic() >= self._tallied + JSON_TALLY_SECONDS:
                self._tallied, self._withheld = time.monotonic(), None
                yield (
                    "tally",
                    {**event._asdict(), "elapsed_seconds": round(event.elapsed_seconds, 3), "left": event.left},
                )
        else:
            yield from super()._facts(event)


class _Last(NamedTuple):
    """A line beneath the bar: an item's label is shortened before the reason behind it."""

    style: str
    head: str
    label: str = ""
    reason: str = ""

    def text(self, width: int, screen: Screen) -> str:
        """Give the line, its label as long as a width allows but never a mere stump."""
        from rich.cells import cell_len

        room = max(LONGEST_LABEL, width - cell_len(self.head + self.reason))
        return self.head + shortened(self.label, room, screen) + self.reason


class LiveBoard(Animated):
    """A bar over the whole batch, with the last few events beneath it, drawn by rich."""

    def __init__(self, screen: Screen) -> None:
        super().__init__(screen)
        self._tally: Tally | None = None
        self._last: deque[_Last] = deque(maxlen=_LAST_EVENTS)

    def take(self, event: Event) -> None:
        """Show one event."""
        if isinstance(event, Tally):
            self._tally = event
            self.resume()
        elif isinstance(event, ItemEnded):
            style = {"done": "succeeded"}.get(event.outcome, "failed")
            told = one_line(beside_id(event.text, event.id))
            self._last.append(_Last(style, f"{_told(event)}  ", one_line(event.label), told and f"  {told}"))
        elif isinstance(event, Retrying):
            self._last.append(_Last("warning", one_line(event.reason)))
        elif isinstance(event, Noted) and event.is_warning:
            with self.aside():
                super().take(event)
        elif isinstance(event, Noted):
            self._last.append(_Last("warning", one_line(event.text)))

    def _has_something(self) -> bool:
        return self._tally is not None

    def _table(self, width: int, height: int) -> Any:
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        tally = self._tally
        assert tally is not None
        ended = tally.total - tally.left
        colours = {"succeeded": "green", "failed": "red", "warning": "magenta"}
        texts = [Text(shortened(tally_text(tally), width - 1, self._screen))]
        for last in list(self._last)[-max(0, height - 4) :] if height > 4 else ():
            shown = shortened(last.text(width - 3, self._screen), width - 3, self._screen)
            texts.append(Text(f"  {shown}", style=colours[last.style]))
        bar = ProgressBar(total=max(1, tally.total), completed=ended, width=max(1, min(width - 1, WIDEST_BAR)))
        grid = Table.grid()
        grid.add_column(width=max(1, width - 1), no_wrap=True, overflow="crop")
        grid.add_row(bar)
        for line in texts:
            grid.add_row(line)
        return grid


def new_board(mode: str, screen: Screen) -> Display:
    """Make the board of a mode: `bar`, `lines`, `json` or `none`."""
    boards: dict[str, type[Display]] = {"bar": LiveBoard, "lines": LogBoard, "json": JsonBoard, "none": Display}
    return boards[mode](screen)
