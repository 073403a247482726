"""Run the program and send it a signal at a chosen moment of its own code.

`python -m tests.killer SIGNAL MOMENT COUNT_FILE -- ARGUMENTS`: a MOMENT is the number of a call or return inside
the package, or `module.function:call` or `module.function:return` for its first one. At its end a run writes how
many moments it had into COUNT_FILE.
"""

import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any

PACKAGE = str(Path(__file__).parents[1] / "cometrep") + os.sep


def main() -> int:
    """Run the program with the trap set."""
    name, moment, count_file = sys.argv[1:4]
    number = getattr(signal, name)
    count = 0
    is_sprung = False

    def watch(frame: FrameType, event: str, _: Any) -> None:
        nonlocal count, is_sprung
        if event not in ("call", "return") or not frame.f_code.co_filename.startswith(PACKAGE):
            return
        count += 1
        here = f"{Path(frame.f_code.co_filename).stem}.{frame.f_code.co_name}:{event}"
        if not is_sprung and moment in (str(count), here):
            is_sprung = True
            os.kill(os.getpid(), number)

    from cometrep import __main__

    sys.argv = ["cometrep", *sys.argv[5:]]
    threading.setprofile(watch)
    sys.setprofile(watch)
    try:
        return __main__.main()
    finally:
        sys.setprofile(None)
        Path(count_file).write_text(str(count))


if __name__ == "__main__":
    sys.exit(main())
