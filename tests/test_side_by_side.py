"""Generators side by side: all they yield comes through, and none is left open where their caller leaves."""

import threading
from collections.abc import Generator

import pytest

from cometrep.side_by_side import Ended, side_by_side
from tests.conftest import TIMEOUT_SECONDS


def counting(to: int, ended: list[str], name: str = "") -> Generator[int, None, str]:
    """Yield numbers up to one, then give it as text; note that it ended."""
    try:
        yield from range(to)
        return str(to)
    finally:
        ended.append(name)


@pytest.mark.parametrize("at_once", [1, 2, 9])
def test_generators_give_all_they_yield_in_their_own_order(at_once: int) -> None:
    """However many run at a time, each one's items come in order, and then its answer."""
    came: dict[str, list[object]] = {}
    for key, what in side_by_side({name: counting(len(name), []) for name in ("a", "bb", "ccc", "")}, at_once):
        came.setdefault(key, []).append(what)
    assert came == {name: [*range(len(name)), Ended(str(len(name)))] for name in ("a", "bb", "ccc", "")}


def test_as_many_generators_run_at_once_as_were_asked_for() -> None:
    """Of four, two at a time: a step of each waits for one of another, and never is a third under way."""
    pair, under_way, most = threading.Barrier(2), set[int](), list[int]()

    def step(number: int) -> Generator[None, None, None]:
        under_way.add(number)
        most.append(len(under_way))
        pair.wait(TIMEOUT_SECONDS)
        under_way.discard(number)
        yield

    ends = [what for _, what in side_by_side({number: step(number) for number in range(4)}, 2)]
    assert sum(isinstance(what, Ended) for what in ends) == 4
    assert max(most) == 2


def test_a_generator_that_fails_leaves_the_others_to_go_on() -> None:
    """Its exception is its end."""
    problem = ValueError("no")

    def failing() -> Generator[int, None, str]:
        yield 1
        raise problem

    ends = dict(side_by_side({"bad": failing(), "good": counting(3, [])}, 2))
    assert ends == {"bad": Ended(None, problem), "good": Ended("3")}


@pytest.mark.parametrize("at_once", [1, 2])
def test_generators_are_closed_where_the_caller_leaves(at_once: int) -> None:
    """Those between two steps clean up at once."""
    ended: list[str] = []
    running = side_by_side({name: counting(1000, ended, name) for name in ("a", "b")}, at_once)
    assert isinstance(running, Generator)
    next(running)
    running.close()
    assert sorted(ended) == ["a", "b"][:at_once]


def test_a_generator_in_the_middle_of_a_step_is_closed_behind_it() -> None:
    """The caller leaves with an answer in hand, whose generator went on meanwhile: it cannot be closed at once."""
    ended: list[str] = []
    has_begun, goes_on = threading.Event(), threading.Event()

    def two_steps(name: str) -> Generator[int, None, str]:
        try:
            yield 0
            has_begun.set()
            assert goes_on.wait(TIMEOUT_SECONDS)
            yield 1
            return name
        finally:
            ended.append(name)

    running = side_by_side({"a": two_steps("a"), "b": two_steps("b")}, 2)
    assert isinstance(running, Generator)
    next(running)
    assert has_begun.wait(TIMEOUT_SECONDS)
    goes_on.set()
    running.close()
    assert sorted(ended) == ["a", "b"]


def test_answers_that_come_while_the_caller_leaves_are_not_lost() -> None:
    """What ends in that moment is told of, though nobody waits for it."""
    missed: list[str] = []
    last = threading.Event()

    def slow() -> Generator[int, None, str]:
        assert last.wait(TIMEOUT_SECONDS)
        return "late"
        yield 0

    running = side_by_side({"quick": counting(2, []), "slow": slow()}, 2, missed=missed.append)
    assert isinstance(running, Generator)
    assert next(running) == ("quick", 0)
    last.set()
    running.close()
    assert missed == ["late"]


def test_threads_end_with_their_work() -> None:
    """Many rounds of generators leave no thread behind."""
    before = set(threading.enumerate())
    for _ in range(20):
        for _ in side_by_side({number: counting(3, []) for number in range(4)}, 3):
            pass
    left = set(threading.enumerate()) - before
    for thread in left:
        thread.join(TIMEOUT_SECONDS)
    assert not [thread for thread in left if thread.is_alive()]
