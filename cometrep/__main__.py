"""Run the app; turn an error into a message and an exit code.

A press of TAB comes here too, and is answered before the app is loaded.
"""

import contextlib
import gc
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import TYPE_CHECKING

from cometrep import errors

if TYPE_CHECKING:
    from cometrep.console import Console

_SIGNALS = {"SIGINT": "Ctrl-C", "SIGTERM": "SIGTERM", "SIGHUP": "SIGHUP"}


def main() -> int:
    """Run the command line of this process and give its exit code."""
    # The collector would go through all that is imported several times on the way in, and again on the way out:
    # a sixth of the time of a command that makes one request, for nothing.
    gc.set_threshold(20_000, 50, 100)
    try:
        return _main()
    finally:
        gc.freeze()


def _main() -> int:
    _open_missing_streams()
    arguments = sys.argv[1:]
    if arguments[:1] == ["__complete"]:
        return _complete(arguments[1:])
    from cometrep import cli
    from cometrep.console import Console

    console = Console.of_process()
    _catch_signals(console)
    console.is_json = "--json" in arguments  # an error in the command line itself is reported in its form too
    try:
        return cli.run(arguments, console)
    except errors.Failure as failure:
        console.report(failure)
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


def _catch_signals(console: "Console") -> None:
    """Let signals end the command by an exception, so that everything is put in order on the way out.

    Ctrl-Z stops it with the cursor shown, and without half-drawn lines.
    """
    for name, shown in _SIGNALS.items():
        number = getattr(signal, name, None)
        # One that the parent ignores (as nohup does) stays ignored.
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _raiser(shown, 128 + number))

    if hasattr(signal, "SIGTSTP") and signal.getsignal(signal.SIGTSTP) is not signal.SIG_IGN:
        signal.signal(signal.SIGTSTP, _stopper(console))


def _stopper(console: "Console") -> "signal._HANDLER":
    def stop(number: int, frame: FrameType | None) -> None:
        with console.stepped_aside():
            os.kill(os.getpid(), signal.SIGSTOP)

    return stop


def _raiser(shown: str, exit_code: int) -> "signal._HANDLER":
    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)  # a second one ends the process at once
        raise errors.Stopped(shown, exit_code)

    return stop


if __name__ == "__main__":
    sys.exit(main())
