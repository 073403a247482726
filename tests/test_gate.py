"""When a batch may send its next create, and when it sends no more."""

from collections.abc import Callable

import pytest

from cometrep import errors
from cometrep.batch.gate import IN_A_ROW, THROTTLED_BUDGETS, Gate, Streak
from cometrep.pace import Pace

BUDGET = 60.0


def made() -> Gate:
    """Make a gate without a cap."""
    return Gate(Pace(), retry_budget_seconds=BUDGET, random=lambda: 0.0)


def temporary(code: str, retry_after: float | None = None) -> errors.Temporary:
    """Make a failure that may pass."""
    failure = errors.Temporary("cannot reach it", code=code)
    failure.retry_after_seconds = retry_after
    return failure


def test_creates_without_a_connection_are_tried_again_for_the_retry_budget() -> None:
    """Counted from the first one in a row."""
    gate = made()
    assert [gate.try_again(temporary("network"), at) for at in (100.0, 130.0, 160.0)] == [True] * 3
    assert not gate.try_again(temporary("network"), 161.0)


def test_a_burst_of_creates_without_a_connection_counts_as_one() -> None:
    """As many as are under way at once find none together: the outage is no longer for that."""
    alone, burst = made(), made()
    now = 100.0
    for _ in range(3):
        assert alone.try_again(temporary("network"), now)
        assert all(burst.try_again(temporary("network"), now + number / 1000) for number in range(12))
        pause = alone.creates.ready_in(now)
        assert burst.creates.ready_in(now) == pause
        now += pause


@pytest.mark.parametrize(
    "answer",
    [
        lambda gate: gate.accepted(162.0),
        lambda gate: gate.reached(),
        lambda gate: gate.try_again(temporary("rate_limited"), 162.0),
    ],
    ids=["accepted", "refused", "throttled"],
)
def test_whatever_the_api_answers_ends_an_outage(answer: Callable[[Gate], object]) -> None:
    """The next one has the whole budget again."""
    gate = made()
    assert gate.try_again(temporary("network"), 100.0)
    answer(gate)
    assert gate.try_again(temporary("network"), 200.0)


def test_throttled_creates_are_tried_again_for_many_budgets() -> None:
    """Counted from the first one since the last that was accepted: others of the account may use the limit up."""
    gate, long = made(), THROTTLED_BUDGETS * BUDGET
    assert gate.try_again(temporary("rate_limited"), 5000.0)  # nothing was tried until then, as at a low --rate
    assert gate.try_again(temporary("rate_limited"), 5000.0 + long)
    assert not gate.try_again(temporary("rate_limited"), 5001.0 + long)
    gate.accepted(7000.0)
    assert gate.try_again(temporary("rate_limited"), 9000.0)
    assert not made().try_again(temporary("rate_limited", retry_after=long + 1), 0.0)


@pytest.mark.parametrize("is_look", [False, True])
def test_a_429_slows_creates_and_looks(*, is_look: bool) -> None:
    """Whichever of them met it: the API's limit is one for both."""
    gate = made()
    if is_look:
        gate.looked(temporary("rate_limited", retry_after=7.0), 10.0)
    else:
        gate.try_again(temporary("rate_limited", retry_after=7.0), 10.0)
    assert (gate.creates.ready_in(10.0), gate.looks.ready_in(10.0)) == (7.0, 7.0)


@pytest.mark.parametrize("is_look", [False, True])
def test_a_pause_that_is_asked_for_again_and_again_is_the_pace(*, is_look: bool) -> None:
    """Tries follow each other at twice that distance: who says how long is not asked less and less often."""
    gate = made()
    for at in range(10, 300, 10):
        if is_look:
            gate.looked(temporary("rate_limited", retry_after=7.0), float(at))
        else:
            gate.try_again(temporary("rate_limited", retry_after=7.0), float(at))
    assert (gate.creates.rate_per_second, gate.looks.rate_per_second) == (0.5 / 7, 0.5 / 7)


def test_a_pause_that_one_look_cannot_wait_for_stops_nothing_else() -> None:
    """It ends the wait of whom it is told."""
    gate = made()
    gate.looked(temporary("rate_limited", retry_after=BUDGET + 1), 10.0)
    assert (gate.creates.ready_in(10.0), gate.looks.ready_in(10.0)) == (0.0, 0.0)


def test_a_look_that_shows_something_gives_speed_back() -> None:
    """As does one that failed for another reason than its number."""
    gate = made()
    gate.looked(temporary("rate_limited"), 10.0)
    slow = gate.looks.rate_per_second or 0.0
    gate.looked(None, 12.0)
    gate.looked(temporary("network"), 13.0)
    assert (gate.looks.rate_per_second or 100.0) > slow


def test_a_create_that_is_accepted_gives_speed_back() -> None:
    """Step by step, to all that are to come."""
    gate = made()
    gate.try_again(temporary("rate_limited"), 10.0)
    slow = gate.creates.rate_per_second or 0.0
    gate.accepted(12.0)
    assert (gate.creates.rate_per_second or 100.0) > slow


@pytest.mark.parametrize("streak", Streak)
def test_too_many_in_a_row_close_it(streak: Streak) -> None:
    """With the last failure as the batch's, in words that say so; its hint is kept where it tells of all."""
    gate = made()
    failure = errors.CreateUnknown("no answer", hint="cometrep list --unknown")
    for _ in range(IN_A_ROW - 1):
        gate.count(streak, failure, has_more=True)
    assert not gate.is_closed
    gate.count(streak, failure, has_more=True)
    assert gate.is_closed
    assert gate.fatal is not None
    assert gate.fatal.message == f"{IN_A_ROW} {streak}, and no more are sent; the last: no answer"
    assert gate.fatal.hint == (failure.hint if streak is Streak.NO_ANSWER else "")


def test_a_streak_of_items_of_which_some_files_failed_ends_as_the_last_of_them() -> None:
    """A batch is not partly ended: what it meets tells what has to be mended."""
    gate = made()
    failures = [errors.OutputMissing("it is gone"), errors.LocalFileError("no room", code="disk_full")]
    for _ in range(IN_A_ROW):
        gate.count(Streak.NOT_SAVED, errors.Partial(failures, 4), has_more=True)
    assert gate.fatal is not None
    assert (gate.fatal.code, gate.fatal.exit_code) == ("disk_full", 12)
    assert gate.fatal.message.endswith("the last: 2 of 4 failed: it is gone; no room")


def test_a_streak_that_is_broken_begins_anew() -> None:
    """One item for which it went well proves that it can."""
    gate = made()
    for _ in range(3):
        for _ in range(IN_A_ROW - 1):
            gate.count(Streak.NOT_SEEN, errors.Temporary("no"), has_more=True)
        gate.end_streak(Streak.NOT_SEEN)
    assert not gate.is_closed


def test_a_streak_at_the_end_of_a_batch_is_no_reason() -> None:
    """Where nothing is left to send nothing is held back."""
    gate = made()
    for _ in range(2 * IN_A_ROW):
        gate.count(Streak.NOT_SAVED, errors.Temporary("no"), has_more=False)
    assert (gate.is_closed, gate.fatal) == (False, None)


def test_the_first_failure_is_the_batchs() -> None:
    """What follows from it is not."""
    gate = made()
    first = errors.ConfigError("the key is refused")
    gate.give_up(first)
    gate.give_up(errors.Temporary("no"))
    assert (gate.fatal, gate.is_closed) == (first, True)
