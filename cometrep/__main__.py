"""Run the app; turn an error into a message and an exit code.

A press of TAB comes here too, and is answered before the app is loaded.
"""

import _signal  # type: ignore[import-not-found]  # the part of `signal` that needs no other module

# Before the other imports: until `Signals` takes over there is nothing to put in order, and no need of Python's
# traceback. What the parent ignores (as nohup does) stays ignored.
if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)

import contextlib
import gc
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cometrep import errors
from cometrep.signals import Signals

if TYPE_CHECKING:
    from cometrep.console import Console


def main() -> int:
    """Run the command line of this process and give its exit code."""
    # The collector would go through all that is imported several times on the way in, and again on the way out:
    # a fifth of the time of a command that makes one request, for nothing. No command imports as much as this.
    gc.set_threshold(60_000, 50, 100)
    _open_missing_streams()
    arguments = sys.argv[1:]
    signals = Signals()
    try:
        return _complete(arguments[1:]) if arguments[:1] == ["__complete"] else _run(arguments, signals)
    except errors.Stopped as stop:  # it came as the command ended
        signals.ignore()
        return stop.exit_code
    finally:
        gc.freeze()


def _run(arguments: Sequence[str], signals: Signals) -> int:
    """Run a command; what ends it early is told, in the form that the command line asks for."""
    console = None
    try:
        signals.catch()
        console = _console(arguments)
        signals.draw_aside(console.aside)
        signals.tell_first(console.hurry)
        from cometrep import cli

        return cli.run(arguments, console)
    except errors.Failure as ended:
        return _told(ended, console or _console(arguments))
    except OSError as problem:
        if not str(problem.filename).startswith(__file__.removesuffix("__main__.py")):
            raise
        told = f"cometrep's own file {problem.filename} cannot be read: {problem.strerror}"
        failure = errors.LocalFileError(told, hint="install it again", code="package")
        return _told(failure, console or _console(arguments))
    except Exception as problem:
        # Python 3.11 lets none out of __set_name__, as where a module defines its classes, but as another's cause.
        if isinstance(problem.__cause__, errors.Stopped):
            return _told(problem.__cause__, console or _console(arguments))
        raise
    finally:
        signals.ignore()


def _console(arguments: Sequence[str]) -> "Console":
    """Give the console of this process, which tells of what is wrong with the command line as that asks, too."""
    from cometrep.console import Choices, Console

    console = Console.of_process()
    console.configure(Choices(is_json="--json" in arguments, tells_github="--github" in arguments))
    return console


def _told(failure: errors.Failure, console: "Console") -> int:
    """Tell what ended a command and give its exit code: a signal's, where one cuts into the telling."""
    try:
        console.report(failure)
    except errors.Stopped as stop:
        return stop.exit_code
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


if __name__ == "__main__":
    sys.exit(main())
