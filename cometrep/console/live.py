"""Draw lines on a terminal anew, a few times a second, and leave it in order.

rich lays the lines out. Its own live display leaves old frames behind where a window is made narrower.
"""

import contextlib
import io
import threading
import time
from collections.abc import Callable
from typing import Any

from cometrep.config import environment
from cometrep.console.screen import Screen

_REDRAWS_A_SECOND = 6
_READ_BY_RICH = ("COLORTERM", "COLUMNS", "LINES", "TERM")  # of the environment
_HIDE, _SHOW = "\x1b[?25l", "\x1b[?25h"  # the cursor


class Live:
    """Lines that a thread draws anew a few times a second.

    The cursor is left where they begin. A terminal that is made narrower breaks what was drawn into more lines, or
    cuts it, and takes the cursor along with its place: all that was drawn still begins there, and is erased there.
    While the command runs in a shell's background the screen is the shell's, and nothing is drawn.
    """

    def __init__(self, screen: Screen, table: Callable[[int, int], Any]) -> None:
        from rich.console import Console

        self._screen = screen
        self._table = table
        self._paper = io.StringIO() if screen.speaks_unicode else _AsciiPaper()
        self._console = Console(
            file=self._paper,
            # For rich a terminal of COLUMNS=0 is one; for shells and Python it is one whose size nobody has said.
            _environ={name: text for name in _READ_BY_RICH if (text := environment(name)) != "0"},
            force_terminal=True,
            no_color=not screen.has_colour,
            highlight=False,
            markup=False,
            emoji=False,
        )
        self._lock = threading.RLock()
        self.is_on = False
        self._begun = 0  # how often they were begun
        self._thread: threading.Thread | None = None
        self._due = time.monotonic() + 1 / _REDRAWS_A_SECOND
        self._drawn_size: tuple[int, int] | None = None  # of the screen that shows the lines

    # A signal may cut in anywhere here and do both: so all that is taken can be taken once more, as no Event can.

    def start(self) -> None:
        """Draw from now on, with the cursor hidden."""
        if self.is_on or not self._is_let_in():
            return
        try:
            self._begun += 1
            self.is_on = True
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, daemon=True)
                with contextlib.suppress(RuntimeError):  # the system gives no thread: nothing is drawn
                    self._thread.start()
        finally:
            self._lock.release()

    def stop(self) -> None:
        """Erase what was drawn and show the cursor, once more where they were begun anew in between."""
        is_let_in = self._is_let_in()
        try:
            while self.is_on:
                begun = self._begun
                is_ours = self._drawn_size and self._screen.is_in_front
                self._screen.write(("\r\x1b[J" if is_ours else "") + _SHOW)
                self._drawn_size = None
                self.is_on = False
                if self._begun != begun:  # by a signal, after which the cursor may be hidden
                    self.is_on = True
        finally:
            if is_let_in:
                self._lock.release()

    def _is_let_in(self) -> bool:
        """Wait until nothing is drawn, and keep it so; False where a terminal is given up that takes nothing."""
        patience = self._screen.patience()
        return self._lock.acquire(timeout=-1 if patience is None else patience)

    def _run(self) -> None:
        while True:
            time.sleep(max(0.0, self._due - time.monotonic()))
            with self._lock:
                if not self.is_on:
                    self._thread = None
                    return
                self._draw()
            self._due = time.monotonic() + 1 / _REDRAWS_A_SECOND

    def _draw(self) -> None:
        if not self._screen.is_in_front:
            self._drawn_size = None  # and what comes next begins where the cursor then is
            return
        size = self._console.size
        self._console.print(self._table(*size), width=size.width)
        lines = self._paper.getvalue().rstrip("\n").split("\n")
        self._paper.seek(0)
        self._paper.truncate()
        # Over the old lines, as to erase them first would flicker; but not where the terminal may have broken them.
        begin = "\r" if self._drawn_size in (None, size) else "\r\x1b[J"
        hide = "" if self._drawn_size else _HIDE  # which a shell in front has shown
        back = f"\r\x1b[{len(lines) - 1}A" if len(lines) > 1 else "\r"
        self._drawn_size = size
        # Without wrapping: the window may be made narrower right now, and terminals disagree about some widths.
        self._screen.write(f"{hide}\x1b[?7l{begin}" + "\x1b[K\n".join(lines) + f"\x1b[J{back}\x1b[?7h")


class _AsciiPaper(io.StringIO):
    """What rich writes on for a terminal without UTF-8: it draws by the encoding."""

    encoding = "ascii"
