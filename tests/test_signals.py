"""How the process meets signals, in a process of its own."""

import signal
import subprocess
import sys

import pytest

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

IN_A_CLASS = """
import os, signal, sys
from cometrep import __main__, cli

class Name:
    def __set_name__(self, owner, name):
        os.kill(os.getpid(), signal.SIGTERM)

cli.run = lambda arguments, console: type("Owner", (), {"name": Name()})
sys.exit(__main__.main())
"""

AT_THE_START = """
import os, signal
signal.signal(signal.SIGINT, signal.{before})
from cometrep import __main__
os.kill(os.getpid(), signal.SIGINT)
"""

AS_THE_FIRST = """
import os, signal, sys
from cometrep.signals import Signals

os.kill = lambda process, number: None
signals = Signals()
signals.tell_first(lambda: print("in a hurry", file=sys.stderr))
signals._kill(signal.SIGINT, None)
"""


FINISHING = """
import signal
from cometrep import signals
from cometrep.errors import Stopped

def ask():
    print("asked", flush=True)

signals._ECHO_SECONDS = {echo}
signals.Signals().catch()
try:
    with signals.finishing_first(ask):
        for _ in range(2):
            signal.raise_signal(signal.SIGINT)
    print("finished", flush=True)
except Stopped as stop:
    raise SystemExit(stop.exit_code)
"""


def ran(code: str) -> tuple[int, str]:
    """Run Python code, and give its exit code and stderr."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stderr


def test_a_signal_in_a_moment_that_drops_exceptions_comes_again() -> None:
    """Python lets none out of the callback of a weak reference; the command is stopped all the same."""
    assert ran(DROPPED) == (1, "stopped with 143\n")


def test_a_signal_while_a_class_is_defined_ends_the_command_as_ever() -> None:
    """Python 3.11 makes another exception of one that comes there, as modules are loaded; it is no bug."""
    assert ran(IN_A_CLASS) == (143, "cometrep: stopped by SIGTERM\n")


@pytest.mark.parametrize(("before", "code"), [("default_int_handler", -signal.SIGINT), ("SIG_IGN", 0)])
def test_ctrl_c_before_the_program_is_loaded_ends_it_silently(before: str, code: int) -> None:
    """No traceback of Python's tells of it; where the parent ignores it, as nohup does, it stays ignored."""
    assert ran(AT_THE_START.format(before=before)) == (code, "")


def test_a_second_signal_ends_the_first_process_of_a_container() -> None:
    """The kernel spares it what would kill any other; it leaves by itself and in a hurry, with the code of that."""
    assert ran(AS_THE_FIRST) == (130, "in a hurry\n")


@pytest.mark.parametrize(("echo", "code", "told"), [(60.0, 0, "asked\nfinished\n"), (0.0, 130, "asked\n")])
def test_an_echo_of_the_first_ctrl_c_is_no_second_one(echo: float, code: int, told: str) -> None:
    """As `timeout -s INT` sends it, to the command and to its group; one that comes later leaves at once."""
    done = subprocess.run(
        [sys.executable, "-c", FINISHING.format(echo=echo)], stdout=subprocess.PIPE, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (code, told)
