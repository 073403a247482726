"""Run the program and send it a signal at a chosen moment of its own code.

`python -m tests.killer SIGNAL MOMENT COUNT_FILE -- ARGUMENTS`: a MOMENT is the number of a call or return inside
the package, or `module.function:call` or `module.function:return` for its first one, the module as a path
below the package (`batch.record`). With `+` and a second moment of that form its thread is held until another
thread has come there, as the signal itself may find that one too late. At its end a run writes how many moments
it had into COUNT_FILE.
"""

import os
import signal
import sys
import threading
import warnings
from pathlib import Path
from types import FrameType
from typing import Any

PACKAGE = str(Path(__file__).parents[1] / "cometrep") + os.sep
HELD_SECONDS = 30.0


def is_at(moment: str, frame: FrameType, event: str) -> bool:
    """Say whether a call or return is the one that a moment names."""
    here = f"{frame.f_code.co_name}:{event}"
    return moment.endswith(here) and f"cometrep.{moment}" == f"{frame.f_globals['__name__']}.{here}"


def main() -> int:
    """Run the program with the trap set."""
    warnings.simplefilter("ignore")
    name, moment, count_file = sys.argv[1:4]
    number = getattr(signal, name)
    moment, _, until = moment.partition("+")
    due = int(moment) if moment.isdecimal() else None
    count = 0
    is_sprung = False
    has_come = threading.Event()

    def take(frame: FrameType, event: str) -> None:
        nonlocal count, is_sprung
        count += 1
        if is_sprung:
            if until and is_at(until, frame, event):
                has_come.set()
        elif count >= due if due is not None else is_at(moment, frame, event):  # two threads may count one as one
            is_sprung = True
            os.kill(os.getpid(), number)
            if until:
                has_come.wait(HELD_SECONDS)

    def called(frame: FrameType, event: str, _: Any) -> Any:
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return None  # nothing more of this frame
        frame.f_trace_lines = False
        take(frame, event)
        return returned

    def returned(frame: FrameType, event: str, _: Any) -> Any:
        if event == "return":
            take(frame, event)
        return returned

    from cometrep import __main__

    sys.argv = ["cometrep", *sys.argv[5:]]
    threading.settrace(called)
    sys.settrace(called)
    try:
        return __main__.main()
    finally:
        sys.settrace(None)
        Path(count_file).write_text(str(count))


if __name__ == "__main__":
    sys.exit(main())
