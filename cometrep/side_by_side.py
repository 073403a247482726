"""Run several generators side by side, each step in a thread, and hand on what they yield."""

import contextlib
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from functools import partial
from typing import Generic, NamedTuple, TypeVar

from cometrep.calls import Calls
from cometrep.errors import CometrepError

Key = TypeVar("Key")
Answer = TypeVar("Answer")
Item = TypeVar("Item")

_PATIENCE_SECONDS = 0.5  # at a stretch: on Windows no signal cuts into it
_LEAVING_SECONDS = 0.5  # that steps under way have to end, where nobody waits for what they give


class Ended(NamedTuple, Generic[Answer]):
    """The end of a generator: what it gave, or the exception that ended it."""

    answer: Answer | None
    problem: Exception | None = None


def side_by_side(
    generators: Mapping[Key, Generator[Item, None, Answer]],
    at_once: int,
    *,
    missed: Callable[[Answer], None] = lambda _: None,
) -> Iterator[tuple[Key, Item | Ended[Answer]]]:
    """Run generators, some at a time and each step in a thread; yield what they yield, and how each ended.

    One at a time they run in the caller's thread. Where the caller leaves early, those that soon come to a step's
    end are closed, and `missed` is given the answers of those that came to their own end, perhaps once more.
    """
    if at_once == 1 or len(generators) < 2:
        for key, generator in generators.items():
            with contextlib.closing(generator):
                given: Item | Ended[Answer] | None = None
                while not isinstance(given, Ended):
                    given = _step(generator)
                    yield key, given
        return
    waiting = list(generators.items())[::-1]
    calls: Calls[Key, Item | Ended[Answer]] = Calls(threads=at_once)
    running: dict[Key, Generator[Item, None, Answer]] = {}

    def leave(key: Key, came: object) -> None:
        if generator := running.pop(key, None):
            generator.close()
            if isinstance(came, Ended) and came.answer is not None:
                missed(came.answer)

    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                key, generator = waiting.pop()
                running[key] = generator
                calls.submit(key, partial(_step, generator))
            answered = calls.next(_PATIENCE_SECONDS)
            if answered is None:
                continue
            key, came = answered
            assert not isinstance(came, CometrepError)
            if not isinstance(came, Ended):
                calls.forget()  # its generator goes on, and cannot be closed in the middle of a step
                calls.submit(key, partial(_step, running[key]))
            yield key, came
            if isinstance(came, Ended):
                del running[key]
    finally:
        deadline = time.monotonic() + _LEAVING_SECONDS
        for key, came in calls.untaken():
            leave(key, came)
        while running and time.monotonic() < deadline:
            if answered := calls.next(max(0.0, deadline - time.monotonic())):
                leave(*answered)
        calls.close()


def _step(generator: Generator[Item, None, Answer]) -> Item | Ended[Answer]:
    try:
        return next(generator)
    except StopIteration as end:
        return Ended(end.value)
    except Exception as problem:  # noqa: BLE001 - handed to the caller's thread
        return Ended(None, problem)
