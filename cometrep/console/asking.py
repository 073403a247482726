"""Ask on a terminal, for yes or no and for what is typed unseen."""

import contextlib
import errno
import os
import select
from collections.abc import Callable, Iterator
from typing import TextIO

_PASTE_SECONDS = 0.05  # until the next piece of what is pasted is there
_SIGNAL_SECONDS = 0.2  # until a signal is met at the latest, where a question waits for its answer


def confirm(question: str, terminal: TextIO, write: Callable[[str], None]) -> bool:
    """Ask a yes-or-no question, of which what was typed before is no answer."""
    _drop_typed(terminal)
    answer = ""
    try:
        write(f"{question} [y/N] ")
        _wait_for(terminal)
        answer = terminal.readline()
    finally:
        if not answer.endswith("\n"):  # Ctrl-C and Ctrl-D end no line, and what follows has one of its own
            write("\n")
    return answer.strip().lower() in ("y", "yes")


class Hidden:
    """A question whose answer is not seen as it is typed."""

    def __init__(self, question: str, terminal: TextIO, write: Callable[[str], None]) -> None:
        self._question = question
        self._terminal = terminal
        self._write = write
        self.is_open = False

    def ask(self) -> str:
        """Ask, and give what was typed, and pasted behind a line break; raise OSError."""
        if os.name == "nt":
            import getpass

            return getpass.getpass(self._question)
        with self._opened():
            _wait_for(self._terminal)
            typed = self._terminal.buffer.readline()
            return (typed + _pasted_behind(self._terminal)).decode("utf-8", "replace")

    @contextlib.contextmanager
    def _opened(self) -> Iterator[None]:
        """Ask, and hide what is typed; not by getpass, which hides it once, and a shell's fg shows it again."""
        is_changed = _set_echo(self._terminal, is_on=False)
        self.is_open = True
        try:
            self._write(self._question)
            yield
        finally:
            self.is_open = False
            if is_changed:
                with contextlib.suppress(OSError):  # the window may have been closed
                    _set_echo(self._terminal, is_on=True)
            self._write("\n")  # what follows has a line of its own

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """Show what is typed while something else is done; then hide it, and ask again."""
        is_asked_again = False
        with contextlib.suppress(OSError):  # the window may have been closed
            _set_echo(self._terminal, is_on=True)
        yield
        with contextlib.suppress(OSError):
            # Behind a shell's prompt this waits until the command is in front again, as reading does.
            is_asked_again = _set_echo(self._terminal, is_on=False)
        if is_asked_again:
            self._write(self._question)


def _drop_typed(terminal: TextIO) -> None:
    """Drop what was typed on a terminal and not read yet."""
    if os.name != "nt":
        import termios

        with contextlib.suppress(termios.error):
            termios.tcflush(terminal, termios.TCIFLUSH)


def _wait_for(terminal: TextIO) -> None:
    """Wait until something is typed."""
    if os.name != "nt":
        # Not in a read alone: a signal that comes right before it begins would be met behind it.
        while not select.select([terminal], [], [], _SIGNAL_SECONDS)[0]:
            pass


def _pasted_behind(terminal: TextIO) -> bytes:
    """Read what waits behind a line that was read from a terminal; raise OSError."""
    import termios

    rest = b""
    try:
        modes = termios.tcgetattr(terminal)
        begun = [*modes]
        begun[3] &= ~termios.ICANON  # a line that is begun waits too
        termios.tcsetattr(terminal, termios.TCSANOW, begun)
        try:
            while select.select([terminal], [], [], _PASTE_SECONDS)[0] and (
                piece := os.read(terminal.fileno(), 4096)
            ):
                rest += piece
        finally:
            termios.tcsetattr(terminal, termios.TCSANOW, modes)
    except termios.error as problem:
        raise OSError(*problem.args) from problem
    return rest


def _set_echo(terminal: TextIO, *, is_on: bool) -> bool:
    """Show what is typed on a terminal, or hide it and drop what was typed before; say whether that was new.

    Raises OSError.
    """
    import termios

    try:
        modes = termios.tcgetattr(terminal)
        if bool(modes[3] & termios.ECHO) is is_on:
            return False
        modes[3] ^= termios.ECHO
        termios.tcsetattr(terminal, termios.TCSADRAIN if is_on else termios.TCSAFLUSH, modes)
    except termios.error as problem:
        if problem.args[0] == errno.EINTR:  # a signal cut in
            return _set_echo(terminal, is_on=is_on)
        raise OSError(*problem.args) from problem
    return True
