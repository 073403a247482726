"""Run the program and send it a signal at a chosen moment of its own code.

`python -m tests.killer SIGNAL MOMENT COUNT_FILE -- ARGUMENTS`: a MOMENT is the number of a call or return inside
the package, or `module.function:call` or `module.function:return` for its first one, the module as a path
below the package (`batch.record`). At its end a run writes how many moments it had into COUNT_FILE.
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


def main() -> int:
    """Run the program with the trap set."""
    warnings.simplefilter("ignore")
    name, moment, count_file = sys.argv[1:4]
    number = getattr(signal, name)
    due = int(moment) if moment.isdecimal() else None
    count = 0
    is_sprung = False

    def take(frame: FrameType, event: str) -> None:
        nonlocal count, is_sprung
        count += 1
        if is_sprung:
            return
        if due is not None:
            is_due = count >= due  # two threads may count one moment as one
        else:
            here = f"{frame.f_code.co_name}:{event}"
            is_due = moment.endswith(here) and f"cometrep.{moment}" == f"{frame.f_globals['__name__']}.{here}"
        if is_due:
            is_sprung = True
            os.kill(os.getpid(), number)

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
