"""Let signals end, stop or kill a command: asked once it puts all in order, asked twice it leaves at once."""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from types import FrameType

from cometrep import errors

_ENDING = {"SIGINT": "Ctrl-C", "SIGTERM": "SIGTERM", "SIGHUP": "SIGHUP"}
# `timeout` sends to the command and to its group, systemd a SIGHUP behind its SIGTERM, and a terminal's Ctrl-C may
# come along: a second signal within this is the first one's echo.
_ECHO_SECONDS = 0.3
_AGAIN_SECONDS = 0.05  # by then that moment is over


class Signals:
    """How this process meets the signals of its user, its terminal and its parent."""

    def __init__(self) -> None:
        self._first: float | None = None  # when the one came that ends the command
        self._number = 0  # which it was
        self._aside: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext
        self._hurry: Callable[[], None] = lambda: None

    def catch(self) -> None:
        """Let signals end the command by `errors.Stopped`, so that everything is put in order on the way out."""
        for number in _numbers(*_ENDING):
            # One that the parent ignores (as nohup does) stays ignored.
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._stop)
        sys.unraisablehook = self._dropped

    def draw_aside(self, aside: Callable[[], AbstractContextManager[None]]) -> None:
        """Let Ctrl-Z stop, and Ctrl-\\ or a second Ctrl-C kill, within `aside`: no line or cursor lost.

        Whatever stopped it, a shell sets the terminal as it likes meanwhile: going on is a new beginning.
        """
        self._aside = aside
        handlers = (self._suspend, self._go_on, self._kill)
        for number, handler in zip(_numbers("SIGTSTP", "SIGCONT", "SIGQUIT"), handlers, strict=False):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, handler)

    def tell_first(self, hurry: Callable[[], None]) -> None:
        """Let a signal that ends the command call `hurry`, which must be quick, before all is put in order."""
        self._hurry = hurry

    def ignore(self) -> None:
        """Let no further signal change the exit code in the last moments of the interpreter."""
        for number in _numbers(*_ENDING):
            signal.signal(number, signal.SIG_IGN)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._first is None:
            self._first, self._number = now, number
            self._hurry()
            raise errors.Stopped(_ENDING[signal.Signals(number).name], 128 + number)
        if now > self._first + _ECHO_SECONDS:  # a second one ends the process at once
            self._kill(number, frame)

    def _dropped(self, unraisable: "sys.UnraisableHookArgs") -> None:
        """Send a signal once more whose exception Python dropped, as it does in callbacks of weak references."""
        if not isinstance(unraisable.exc_value, errors.Stopped):
            sys.__unraisablehook__(unraisable)
            return
        self._first = None
        threading.Timer(_AGAIN_SECONDS, os.kill, (os.getpid(), self._number)).start()

    def _kill(self, number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)  # a further one needs no terminal in order
        self._hurry()
        with self._aside():
            os.kill(os.getpid(), number)
            os._exit(128 + number)  # the first process of a container is spared what it does not handle

    def _suspend(self, number: int, frame: FrameType | None) -> None:
        """Stop as any program does: where no shell above could continue it, the system lets the signal pass."""
        with self._aside():
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
            signal.signal(number, self._suspend)

    def _go_on(self, number: int, frame: FrameType | None) -> None:
        with self._aside():
            pass


def _numbers(*names: str) -> list[signal.Signals]:
    """List those of the signals that this system has."""
    return [getattr(signal, name) for name in names if hasattr(signal, name)]


@contextlib.contextmanager
def finishing_first(ask: Callable[[], None]) -> Iterator[None]:
    """Let the first Ctrl-C call `ask`, which must be quick; a second one ends the command as everywhere else."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        yield
        return

    asked: list[float] = []  # when the first one came

    def stop(number: int, frame: object) -> None:
        now = time.monotonic()
        if not asked:
            asked.append(now)
            ask()
        elif now > asked[0] + _ECHO_SECONDS:
            signal.signal(signal.SIGINT, before)
            signal.raise_signal(signal.SIGINT)

    signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
