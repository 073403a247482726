"""Run the app; turn an error into a message and an exit code."""

import os
import signal
import sys
from types import FrameType

from cometrep import cli, errors
from cometrep.console import Console

_SIGNALS = {"SIGINT": "Ctrl-C", "SIGTERM": "SIGTERM", "SIGHUP": "SIGHUP"}


def main() -> int:
    """Run the command line of this process and give its exit code."""
    _open_missing_streams()
    _catch_signals()
    console = Console.of_process()
    arguments = sys.argv[1:]
    console.is_json = "--json" in arguments  # an error in the command line itself is reported in its form too
    try:
        return cli.run(arguments, console)
    except errors.Failure as failure:
        console.report(failure)
        return failure.exit_code


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


def _raiser(shown: str, exit_code: int) -> "signal._HANDLER":
    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)  # a second one ends the process at once
        raise errors.Stopped(shown, exit_code)

    return stop


if __name__ == "__main__":
    sys.exit(main())
