"""Run blocking calls in a few threads and hand back their answers, one after the other."""

import queue
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from cometrep.errors import CometrepError

Key = TypeVar("Key")
Answer = TypeVar("Answer")


class Calls(Generic[Key, Answer]):
    """Run blocking calls in at most `threads` threads and hand back their answers one after the other.

    The threads are daemons: a call that hangs does not keep the process from ending.
    """

    def __init__(self, threads: int, beside: "Calls[Key, Answer] | None" = None) -> None:
        """`beside` shares another one's answers, so that one `next` waits for both."""
        self._limit = threads
        self._threads = 0
        self._busy = 0
        self._lock = threading.Lock()
        self._waiting: queue.SimpleQueue[tuple[Key, Callable[[], Answer]]] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[tuple[Key, Answer | BaseException] | None] = (
            beside._answers if beside else queue.SimpleQueue()
        )

    def submit(self, key: Key, call: Callable[[], Answer]) -> None:
        """Run a call as soon as a thread is free."""
        with self._lock:
            self._busy += 1
            if self._busy > self._threads and self._threads < self._limit:
                self._threads += 1
                threading.Thread(target=self._work, daemon=True).start()
        self._waiting.put((key, call))

    def next(self, timeout_seconds: float) -> tuple[Key, Answer | CometrepError] | None:
        """Give the next finished call's key and answer, None after the timeout.

        A CometrepError counts as an answer; whatever else a call raised is raised here.
        """
        try:
            answered = self._answers.get(timeout=timeout_seconds)
        except queue.Empty:
            return None
        if answered is None:
            return None
        key, answer = answered
        if isinstance(answer, BaseException) and not isinstance(answer, CometrepError):
            raise answer
        return key, answer

    def wake(self) -> None:
        """Let a waiting `next` return at once; may be called from a signal handler."""
        self._answers.put(None)

    def _work(self) -> None:
        while True:
            key, call = self._waiting.get()
            answer: Answer | BaseException
            try:
                answer = call()
            except BaseException as problem:  # noqa: BLE001 - handed to the caller's thread, which raises it
                answer = problem
            with self._lock:
                self._busy -= 1
            self._answers.put((key, answer))
