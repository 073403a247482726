"""What lines for people are written on, and what it can show."""

import os
from collections.abc import Callable
from typing import IO, NamedTuple

from cometrep.text import brief, harmless

_STYLES = {
    "starting": "36",
    "processing": "36",
    "succeeded": "32",
    "failed": "31",
    "canceled": "33",
    "aborted": "33",
    "error": "1;31",
    "warning": "33",
    "faint": "2",
}


class Screen(NamedTuple):
    """A stream, the function that writes to it, and its abilities.

    `paths_follow` where stdout shows the path of each saved file on the same terminal, right below; `names_logs`
    where a log line has to say which prediction's it is. `patience` gives how many seconds a stream that takes
    nothing is waited for, None for as long as that lasts.
    """

    stream: IO[str] | None
    write: Callable[[str], None]
    is_terminal: bool = False
    has_colour: bool = False
    speaks_unicode: bool = True
    shows_logs: bool = False
    paths_follow: bool = False
    names_logs: bool = False
    patience: Callable[[], float | None] = lambda: None

    @property
    def is_in_front(self) -> bool:
        """Whether the terminal is the command's right now, and not a shell's that runs it in the background."""
        try:
            return self.stream is None or os.tcgetpgrp(self.stream.fileno()) in (0, os.getpgrp())
        except (OSError, AttributeError):  # a terminal that controls nobody, or a system without such groups
            return True

    def line(self, text: str) -> None:
        """Write one line."""
        self.write(text + "\n")

    def styled(self, text: str, style: str) -> str:
        """Colour a text by the name of a style or a status, where colour is wanted."""
        return f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if self.has_colour and style in _STYLES else text

    def status(self, status: str) -> str:
        """Give a status word in its colour, made harmless."""
        return self.styled(harmless(status), status)

    def warning(self, text: str) -> None:
        """Write a warning."""
        self.line(f"{self.styled('cometrep: warning:', 'warning')} {harmless(brief(text))}")

    def mark(self, *, is_good: bool = True) -> str:
        """Give the sign before a finished line, on a terminal that can show it."""
        if not (self.speaks_unicode and self.is_terminal):
            return ""
        return self.styled("✓ ", "succeeded") if is_good else self.styled("✗ ", "failed")
