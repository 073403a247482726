"""Run the app; turn an error into a message and an exit code.

A press of TAB comes here too, and is answered before the app is loaded.
"""

import contextlib
import gc
import os
import signal
import sys
import time
from collections.abc import Sequence
from types import FrameType
from typing import TYPE_CHECKING

from cometrep import errors

if TYPE_CHECKING:
    from cometrep.console import Console

_SIGNALS = {"SIGINT": "Ctrl-C", "SIGTERM": "SIGTERM", "SIGHUP": "SIGHUP"}
ECHO_SECONDS = 0.3


def main() -> int:
    """Run the command line of this process and give its exit code."""
    # The collector would go through all that is imported several times on the way in, and again on the way out:
    # a fifth of the time of a command that makes one request, for nothing. No command imports as much as this.
    gc.set_threshold(60_000, 50, 100)
    try:
        return _main()
    finally:
        gc.freeze()


def _main() -> int:
    _open_missing_streams()
    arguments = sys.argv[1:]
    if arguments[:1] == ["__complete"]:
        return _complete(arguments[1:])
    _catch_signals()
    try:
        from cometrep import cli
        from cometrep.console import Console
    except errors.Stopped as stop:  # before there was anything to put in order
        os.write(2, f"cometrep: {stop.message}\n".encode())
        return stop.exit_code
    console = Console.of_process()
    _stop_with_the_cursor_shown(console)
    # An error in the command line itself is reported in the form that it asks for, too.
    console.is_json, console.tells_github = "--json" in arguments, "--github" in arguments
    try:
        return cli.run(arguments, console)
    except errors.Failure as failure:
        console.report(failure)
        if isinstance(failure, errors.Stopped):
            _ignore_echoes()
        return failure.exit_code


def _complete(arguments: Sequence[str]) -> int:
    """Answer a completion script on stdout, and say nothing of what goes wrong."""
    from cometrep import completion

    with contextlib.suppress(OSError):
        os.write(1, completion.respond(arguments))
    return 0


def _open_missing_streams() -> None:
    """Open /dev/null where a standard stream is closed, so that no file of ours gets its number."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def _catch_signals() -> None:
    """Let signals end the command by an exception, so that everything is put in order on the way out."""
    for name, shown in _SIGNALS.items():
        number = getattr(signal, name, None)
        # One that the parent ignores (as nohup does) stays ignored.
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _raiser(shown, 128 + number))


def _ignore_echoes() -> None:
    """Let no further signal change the exit code in the last moments of the interpreter."""
    for name in _SIGNALS:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)


def _stop_with_the_cursor_shown(console: "Console") -> None:
    """Let Ctrl-Z stop the command, and Ctrl-\\ kill it, without half-drawn lines."""
    for name, handler in (("SIGTSTP", _stopper(console)), ("SIGQUIT", _quitter(console))):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)


def _stopper(console: "Console") -> "signal._HANDLER":
    def stop(number: int, frame: FrameType | None) -> None:
        with console.aside():
            os.kill(os.getpid(), signal.SIGSTOP)

    return stop


def _quitter(console: "Console") -> "signal._HANDLER":
    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)  # a second one needs no terminal in order
        with console.aside():
            os.kill(os.getpid(), number)

    return stop


def _raiser(shown: str, exit_code: int) -> "signal._HANDLER":
    first = 0.0

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal first
        now = time.monotonic()
        if not first:
            first = now
            raise errors.Stopped(shown, exit_code)
        # A second one ends the process at once, unless it is the first one's echo: `timeout` sends to the command
        # and to its group, and a terminal's Ctrl-C may come along.
        if now > first + ECHO_SECONDS:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    return stop


if __name__ == "__main__":
    sys.exit(main())
