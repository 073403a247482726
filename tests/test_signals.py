"""How the process meets signals, in a process of its own."""

import subprocess
import sys

DROPPED = """
import os, signal, threading, weakref
from cometrep.errors import Stopped
from cometrep.signals import Signals

class Thing:
    pass

def gone(_):
    os.kill(os.getpid(), signal.SIGTERM)
    for _ in range(100):  # the handler runs in here
        pass

Signals().catch()
thing = Thing()
watcher = weakref.ref(thing, gone)
try:
    del thing
    threading.Event().wait(10)
except Stopped as stop:
    raise SystemExit(f"stopped with {stop.exit_code}")
"""


def test_a_signal_in_a_moment_that_drops_exceptions_comes_again() -> None:
    """Python lets none out of the callback of a weak reference; the command is stopped all the same."""
    done = subprocess.run([sys.executable, "-c", DROPPED], capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == "stopped with 143\n"
