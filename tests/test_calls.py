"""Blocking calls in a few threads: answers come back, and a call that hangs holds up nobody."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from cometrep import errors
from cometrep.calls import Calls
from tests.conftest import TIMEOUT_SECONDS, no_more_threads


@pytest.fixture
def held() -> Iterator[threading.Event]:
    """An event that calls wait for; set when the test ends, so that no thread is left behind."""
    event = threading.Event()
    yield event
    event.set()


def answer_after(event: threading.Event, answer: str) -> str:
    """Hang until an event is set, then answer."""
    assert event.wait(TIMEOUT_SECONDS)
    return answer


def fail(problem: BaseException) -> str:
    """Raise."""
    raise problem


def test_answers_come_back_with_their_keys() -> None:
    """Each call's answer comes back once, under its key."""
    calls: Calls[int, str] = Calls(threads=3)
    for number in range(50):
        calls.submit(number, partial(str, number))
    answers = [calls.next(TIMEOUT_SECONDS) for _ in range(50)]
    assert sorted(answer for answer in answers if answer) == [(n, str(n)) for n in range(50)]
    assert calls.next(0) is None


def test_none_comes_after_the_timeout(held: threading.Event) -> None:
    """Where nothing is finished in time there is no answer, and the call goes on."""
    calls: Calls[str, str] = Calls(threads=1)
    calls.submit("slow", partial(answer_after, held, "done"))
    assert calls.next(0.01) is None
    held.set()
    assert calls.next(TIMEOUT_SECONDS) == ("slow", "done")


def test_a_reported_failure_is_an_answer() -> None:
    """A CometrepError comes back as it was raised; what it means is the caller's business."""
    failure = errors.Temporary("try again")
    calls: Calls[str, str] = Calls(threads=1)
    calls.submit("one", partial(fail, failure))
    assert calls.next(TIMEOUT_SECONDS) == ("one", failure)


@pytest.mark.parametrize(
    "problem",
    [ValueError("a bug"), errors.Stopped("Ctrl-C", 130), KeyboardInterrupt(), SystemExit(3)],
    ids=["bug", "stopped", "interrupt", "exit"],
)
def test_any_other_exception_is_raised_in_the_callers_thread(problem: BaseException) -> None:
    """A bug in a call is not swallowed by its thread, and the calls go on working."""
    calls: Calls[str, str] = Calls(threads=1)
    calls.submit("one", partial(fail, problem))
    with pytest.raises(type(problem)) as raised:
        calls.next(TIMEOUT_SECONDS)
    assert raised.value is problem
    calls.submit("two", lambda: "fine")
    assert calls.next(TIMEOUT_SECONDS) == ("two", "fine")


def test_a_hanging_call_does_not_block_others(held: threading.Event) -> None:
    """While one call hangs, the others are answered by the threads that are left."""
    calls: Calls[str, str] = Calls(threads=2)
    calls.submit("hangs", partial(answer_after, held, "late"))
    for number in range(5):
        calls.submit(f"n{number}", lambda: "quick")
        assert calls.next(TIMEOUT_SECONDS) == (f"n{number}", "quick")
    held.set()
    assert calls.next(TIMEOUT_SECONDS) == ("hangs", "late")


@pytest.mark.parametrize("threads", [1, 3])
def test_never_more_calls_at_once_than_threads(threads: int, held: threading.Event) -> None:
    """All threads work at once, and a further call waits until one of them is free."""
    full = threading.Barrier(threads + 1)
    lock = threading.Lock()
    running, most = 0, 0

    def call(meets: bool, answer: Callable[[], str]) -> str:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        if meets:
            full.wait(TIMEOUT_SECONDS)
        text = answer()
        with lock:
            running -= 1
        return text

    calls: Calls[int, str] = Calls(threads=threads)
    for number in range(threads * 3):
        calls.submit(number, partial(call, number < threads, partial(answer_after, held, "done")))
    full.wait(TIMEOUT_SECONDS)
    assert calls.next(0.01) is None
    held.set()
    answers = [calls.next(TIMEOUT_SECONDS) for _ in range(threads * 3)]
    assert sorted(key for key, _ in filter(None, answers)) == list(range(threads * 3))
    assert most == threads


def test_a_system_that_gives_no_more_threads_slows_down_and_stops_nothing(held: threading.Event) -> None:
    """The calls wait for the threads that there are; where there is none, that is an error."""

    calls: Calls[int, str] = Calls(threads=3)
    calls.submit(0, partial(answer_after, held, "0"))
    with no_more_threads():
        calls.submit(1, lambda: "1")
        none: Calls[int, str] = Calls(threads=3)
        with pytest.raises(errors.LocalFileError, match=r"can't start new thread; a limit .* memory") as raised:
            none.submit(0, lambda: "never")
        assert raised.value.hint == "ulimit -a"
    held.set()
    assert [calls.next(TIMEOUT_SECONDS) for _ in range(2)] == [(0, "0"), (1, "1")]


def test_a_thread_that_was_started_is_had_whatever_others_take() -> None:
    """Where the system gives no more, the calls run in it."""
    calls: Calls[int, str] = Calls(threads=3)
    calls.start()
    with no_more_threads():
        calls.start()
        for number in range(2):
            calls.submit(number, partial(str, number))
    assert [calls.next(TIMEOUT_SECONDS) for _ in range(2)] == [(0, "0"), (1, "1")]


def test_threads_are_used_again(held: threading.Event) -> None:
    """Calls one after the other share a thread."""
    used: list[str] = []
    calls: Calls[int, None] = Calls(threads=4)
    for number in range(10):
        calls.submit(number, lambda: used.append(threading.current_thread().name))
        assert calls.next(TIMEOUT_SECONDS) == (number, None)
    assert len(set(used)) == 1


def test_of_several_threads_the_one_that_had_work_last_gets_the_next_call() -> None:
    """Calls one after the other stay in one thread where others are idle: its memory is warm."""
    together = threading.Barrier(3, timeout=TIMEOUT_SECONDS)
    calls: Calls[int, int] = Calls(threads=3)
    for number in range(3):
        calls.submit(number, together.wait)
    for _ in range(3):
        assert calls.next(TIMEOUT_SECONDS)
    used = set()
    for number in range(10):
        calls.submit(number, threading.get_ident)
        used.add(calls.next(TIMEOUT_SECONDS))
    assert len({answered[1] for answered in used if answered}) == 1


def test_threads_do_not_keep_the_process_alive(held: threading.Event) -> None:
    """A call that hangs runs in a daemon thread, which the process does not wait for."""
    told: list[bool] = []
    begun = threading.Event()

    def hang() -> str:
        told.append(threading.current_thread().daemon)
        begun.set()
        return answer_after(held, "late")

    calls: Calls[str, str] = Calls(threads=1)
    calls.submit("one", hang)
    assert begun.wait(TIMEOUT_SECONDS)
    assert told == [True]


OUTLASTED = """
import signal, threading
from cometrep.calls import Calls

calls = Calls(threads=1)
over = threading.Event()
signal.signal(signal.SIGALRM, lambda *_: over.wait(0.05))  # never set: a real handler that lasts
signal.setitimer(signal.ITIMER_REAL, 0.005)
print(calls.next(0.02))
"""


def test_a_wait_ends_though_a_signal_handler_outlasts_it() -> None:
    """As on Ctrl-Z, where the handler stops the process until it is continued."""
    done = subprocess.run(
        [sys.executable, "-c", OUTLASTED], capture_output=True, timeout=TIMEOUT_SECONDS, check=True
    )
    assert done.stdout == b"None\n"


def test_an_answer_counts_as_taken_when_the_next_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a signal took out of the hand, what was given last and what waits are untaken, each once."""
    calls: Calls[int, str] = Calls(threads=1)

    def answered(number: int) -> None:
        calls.submit(number, partial(str, number))
        while number not in [key for key, _ in list(calls._untaken.values())]:
            pass

    for number in range(3):
        answered(number)
    assert calls.next(TIMEOUT_SECONDS) == (0, "0")
    assert calls.next(TIMEOUT_SECONDS) == (1, "1")
    get = calls._answered.get

    class Interrupted:
        @staticmethod
        def get(timeout_seconds: float) -> int | None:
            get(timeout_seconds)
            raise errors.Stopped("Ctrl-C", 130)

    with monkeypatch.context() as patched:
        patched.setattr(calls, "_answered", Interrupted())
        with pytest.raises(errors.Stopped):
            calls.next(TIMEOUT_SECONDS)
    answered(3)
    assert calls.untaken() == [(2, "2"), (3, "3")]
    assert calls.untaken() == []
    assert calls.next(TIMEOUT_SECONDS) is None  # it was given already
    answered(4)
    assert calls.next(TIMEOUT_SECONDS) == (4, "4")
    assert calls.untaken() == [(4, "4")]
