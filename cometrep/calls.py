"""Run blocking calls in a few threads and hand back their answers, one after the other."""

import contextlib
import itertools
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from cometrep.errors import CometrepError, no_thread

Key = TypeVar("Key")
Answer = TypeVar("Answer")


class _Numbers:
    """A queue of numbers for one reader, into which a signal handler may put too.

    queue.SimpleQueue waits for ever where a signal handler lasts longer than the timeout that is left, as the one
    does that stops the process on Ctrl-Z (python/cpython: Modules/_queuemodule.c).
    """

    def __init__(self) -> None:
        self._numbers: deque[int | None] = deque()
        self._bell = threading.Lock()  # held while there is nothing new
        self._bell.acquire()

    def put(self, number: int | None) -> None:
        """Append a number; from any thread, and at any moment of the reader's own."""
        self._numbers.append(number)
        with contextlib.suppress(RuntimeError):  # it has rung already
            self._bell.release()

    def get(self, timeout_seconds: float) -> int | None:
        """Give the first number, None after the timeout."""
        deadline = time.monotonic() + timeout_seconds
        while not self._numbers:
            left = deadline - time.monotonic()
            if left <= 0 or not self._bell.acquire(timeout=left):
                break
        return self._numbers.popleft() if self._numbers else None


_Inbox = queue.SimpleQueue[tuple[Key, Callable[[], Answer]] | None]
"""Where a thread is given its next call; None ends it."""


class Calls(Generic[Key, Answer]):
    """Run blocking calls in at most `threads` threads and hand back their answers one after the other.

    The threads are daemons: a call that hangs does not keep the process from ending.
    """

    def __init__(self, threads: int, beside: "Calls[Key, Answer] | None" = None) -> None:
        """`beside` shares another one's answers, so that one `next` waits for both."""
        self._limit = threads
        self._threads = 0
        self._lock = threading.Lock()
        self._idle: list[_Inbox[Key, Answer]] = []  # of threads without a call, the last one busy last
        self._waiting: deque[tuple[Key, Callable[[], Answer]]] = deque()  # for a thread to be free
        self._is_closed = False
        self._numbers: Iterator[int] = beside._numbers if beside else itertools.count()
        self._untaken: dict[int, tuple[Key, Answer | BaseException]] = beside._untaken if beside else {}
        self._answered: _Numbers = beside._answered if beside else _Numbers()
        self._given = -1  # the number of the answer that `next` gave last

    def start(self) -> None:
        """Start a first thread, before others have all that the system gives; raise LocalFileError for none."""
        with self._lock:
            if not self._threads:
                self._start_thread()

    def submit(self, key: Key, call: Callable[[], Answer]) -> None:
        """Run a call as soon as a thread is free; raise LocalFileError where the system gives not even one."""
        with self._lock:
            if self._idle or (self._threads < self._limit and self._start_thread()):
                # The one that had work last: what it needs is still in the processor's caches.
                self._idle.pop().put((key, call))
            else:
                self._waiting.append((key, call))

    def _start_thread(self) -> bool:
        """Start a thread that waits for its first call; say whether the system gave it, where there are others."""
        inbox: _Inbox[Key, Answer] = queue.SimpleQueue()
        try:
            threading.Thread(target=self._work, args=(inbox,), daemon=True).start()
        except RuntimeError as problem:
            if not self._threads:
                raise no_thread(problem) from problem
            return False
        self._threads += 1
        self._idle.append(inbox)
        return True

    def next(self, timeout_seconds: float) -> tuple[Key, Answer | CometrepError] | None:
        """Give the next finished call's key and answer, None after the timeout.

        A CometrepError counts as an answer; whatever else a call raised is raised here.
        """
        self.forget()
        number = self._answered.get(timeout_seconds)
        if number is None or number not in self._untaken:  # too late, woken, or it was given as untaken
            return None
        self._given = number
        key, answer = self._untaken[number]
        if isinstance(answer, BaseException) and not isinstance(answer, CometrepError):
            raise answer
        return key, answer

    def forget(self) -> None:
        """Take it that the caller has done with the answer that `next` gave last."""
        self._untaken.pop(self._given, None)

    def untaken(self) -> list[tuple[Key, Answer | CometrepError]]:
        """Give the answers that nobody has done with, for a caller that leaves.

        They are those that wait, the one that a signal took out of the hand of `next`, and the one that `next` gave
        last: by calling it again its caller says that it has done with that.
        """
        left = [self._untaken.pop(number) for number in list(self._untaken)]
        return [
            (key, answer)
            for key, answer in left
            if not isinstance(answer, BaseException) or isinstance(answer, CometrepError)
        ]

    def wake(self) -> None:
        """Let a waiting `next` return at once; may be called from a signal handler."""
        self._answered.put(None)

    def close(self) -> None:
        """Let each thread end, once the calls that were submitted are made."""
        with self._lock:
            self._is_closed = True
            while self._idle:
                self._idle.pop().put(None)

    def _work(self, inbox: "_Inbox[Key, Answer]") -> None:
        while submitted := inbox.get():
            key, call = submitted
            answer: Answer | BaseException
            try:
                answer = call()
            except BaseException as problem:  # noqa: BLE001 - handed to the caller's thread, which raises it
                answer = problem
            with self._lock:
                if self._waiting:
                    inbox.put(self._waiting.popleft())
                elif self._is_closed:
                    inbox.put(None)
                else:
                    self._idle.append(inbox)
            number = next(self._numbers)
            self._untaken[number] = (key, answer)
            self._answered.put(number)


def within(seconds: float, call: Callable[[], Answer]) -> Answer:
    """Run one blocking call in a thread and give its answer; raise TimeoutError where it takes too long."""
    calls: Calls[None, Answer] = Calls(threads=1)
    calls.submit(None, call)
    calls.close()  # behind it
    answered = calls.next(seconds)
    if answered is None:
        raise TimeoutError
    if isinstance(answered[1], CometrepError):
        raise answered[1]
    return answered[1]
