"""Let Ctrl-C ask a command to finish what it does, before it ends it."""

import contextlib
import signal
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def finishing_first(ask: Callable[[], None]) -> Iterator[None]:
    """Let the first Ctrl-C call `ask`, which must be quick; a second one ends the command as everywhere else."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        yield
        return

    def first(number: int, frame: object) -> None:
        signal.signal(signal.SIGINT, before)
        ask()

    signal.signal(signal.SIGINT, first)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
