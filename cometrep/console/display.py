"""Show events on stderr: as plain lines for logs, as JSON for programs, or in silence.

All displays take the same events; `Animated` is what those have in common that are drawn on a terminal.
"""

import contextlib
import math
import time
from collections.abc import Iterator
from typing import Any

from cometrep.console.live import Live
from cometrep.console.screen import Screen
from cometrep.events import (
    Created,
    Event,
    Noted,
    Result,
    Retrying,
    Saved,
    Saving,
    Seen,
    Slow,
    Waiting,
)
from cometrep.text import ascii_json, format_bytes, format_duration, harmless

SAVING_LINE_SECONDS = 30.0  # between two lines in logs of a file that is being saved
JSON_SAVING_SECONDS = 0.1  # between two events about the bytes of a file
LONGEST_LABEL = 28  # columns, where something else wants the room; a prediction's id has 26
_LOG_LINE_LIMIT = 2000  # characters of one log line worth showing
_LOG_END = 500  # characters of a log by which its newest state is joined to what was shown


class Display:
    """What shows events on a screen: of itself, as in silence, warnings, and logs where they were asked for."""

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
        return lasting_line(event, self._screen)

    def _saving_line(self, event: Saving) -> str:
        """Give a sign of life of a file that takes long, empty for none."""
        now = time.monotonic()
        said = self._said.setdefault((event.id, event.file_index), now)
        if event.done_bytes == event.total_bytes or now < said + SAVING_LINE_SECONDS:
            return ""
        self._said[event.id, event.file_index] = now
        total = "" if event.total_bytes is None else f" of {format_bytes(event.total_bytes)}"
        return f"{event.id}  still saving {harmless(event.name)}  {format_bytes(event.done_bytes)}{total}"


def lasting_line(event: Event, screen: Screen) -> str:
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
        self._said = -math.inf

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
                if is_whole or time.monotonic() >= self._said + JSON_SAVING_SECONDS:
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
