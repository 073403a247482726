"""How fast requests may follow each other: caps, throttling, and the looks of many."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cometrep import errors
from cometrep.pace import Pace, SharedSchedule, asked_of_all, parse_rate
from cometrep.schedule import PollSchedule

quick = settings(max_examples=200)


@pytest.mark.parametrize(
    ("text", "rate"), [("60/m", 1.0), ("2/s", 2.0), ("100/h", 1 / 36), (" 0.5/s ", 0.5), ("3600000/h", 1000.0)]
)
def test_a_rate(text: str, rate: float) -> None:
    """So many over seconds, minutes or hours."""
    assert parse_rate(text) == pytest.approx(rate)


@pytest.mark.parametrize("text", ["", "60", "60/d", "-1/s", "0/s", "x/s", "1/0", "nan/s", "1e3/s", "1/s/s", "٣/s"])
def test_a_bad_rate(text: str) -> None:
    """Is refused with the form that is right."""
    with pytest.raises(
        errors.UsageError, match=r"^--rate '.*' is no number above 0 with its unit, as in 60/s, 60/m or"
    ):
        parse_rate(text)


def test_a_pace_without_a_cap_is_free_until_it_is_throttled() -> None:
    """Then it is half of what was sent before, after the pause that the API asks for, and comes back by steps."""
    pace = Pace()
    for tenth in range(20):
        assert pace.ready_in(tenth / 10) == 0.0
        pace.sent(tenth / 10)
    pace.throttled(2.0, pause_seconds=3.0)
    assert pace.ready_in(2.0) == 3.0
    assert pace.rate_per_second == pytest.approx(5.0, rel=0.1)
    pace.throttled(4.9, pause_seconds=0.0)  # of the same burst
    assert pace.rate_per_second == pytest.approx(5.0, rel=0.1)
    moment, before = 5.1, pace.rate_per_second or 0.0
    for _ in range(50):
        moment += pace.ready_in(moment)
        pace.sent(moment)
        pace.accepted(moment)
        assert pace.rate_per_second is None or pace.rate_per_second > before
    for _ in range(400):
        moment += pace.ready_in(moment) + 0.01
        pace.sent(moment)
        pace.accepted(moment)
    assert pace.rate_per_second is None or pace.rate_per_second > 2 * before
    for _ in range(3):
        moment += 10.0
        pace.sent(moment)
        pace.accepted(moment)
    assert pace.rate_per_second is None  # it is not what holds them back


def test_speed_is_given_back_a_step_a_second() -> None:
    """However many are accepted in it; and what was sent long before tells nothing of the speed to begin with."""
    pace = Pace()
    for moment in (0.0, *(100.0 + number / 10 for number in range(80))):
        pace.sent(moment)
    pace.throttled(108.0, 1.0)
    assert pace.rate_per_second == pytest.approx(5.0)
    for _ in range(5):
        pace.accepted(109.0)
    assert pace.rate_per_second == pytest.approx(5.5, rel=0.01)


def test_one_that_is_sent_a_little_late_keeps_no_other_back() -> None:
    """Else a cap of so many a minute is never reached."""
    pace = Pace(2.0)
    pace.sent(0.0)
    pace.sent(0.52)
    assert pace.ready_in(1.0) == 0.0


def test_an_api_that_names_its_pause_is_tried_again_soon() -> None:
    """Ten refusals that each ask for a second cost some twenty seconds, and no minutes as where none is named."""
    pace, now = Pace(), 0.0
    for _ in range(10):
        now += pace.ready_in(now)
        pace.sent(now)
        pace.throttled(now, 1.0, asked_seconds=1.0)
    assert now + pace.ready_in(now) < 25.0
    for moment in range(10):
        pace.throttled(now + 2.0 * moment, 1.0)
    assert pace.rate_per_second == 1 / 30
    pace.accepted(now + 30.0)
    assert pace.rate_per_second == 1 / 30 + 0.5
    capped = Pace(0.1)
    capped.throttled(0.0, 1.0, asked_seconds=1.0)
    assert capped.rate_per_second == 0.1


def test_a_cap_is_never_exceeded() -> None:
    """Neither at first nor after a throttle, and a late create does not let a burst follow."""
    pace = Pace(2.0)
    moments, now = [], 100.0
    for number in range(40):
        now += pace.ready_in(now) + (5.0 if number == 20 else 0.0)
        moments.append(now)
        pace.sent(now)
        pace.accepted(now)
        if number == 10:
            pace.throttled(now, 0.0)
    for begin in moments:
        assert sum(begin <= moment < begin + 10.0 for moment in moments) <= 20
    assert moments[1] - moments[0] >= 0.5


@quick
@given(
    st.lists(st.sampled_from(["sent", "throttled", "accepted"]), max_size=200), st.sampled_from([None, 0.1, 50.0])
)
def test_a_pace_never_stops_for_good(steps: list[str], cap: float | None) -> None:
    """However often it is throttled, a next create may be sent within half a minute."""
    pace, now = Pace(cap), 0.0
    for step in steps:
        now += 0.3
        if step == "sent":
            now += pace.ready_in(now)
            pace.sent(now)
        elif step == "throttled":
            pace.throttled(now, 1.0)
        else:
            pace.accepted(now)
        assert pace.ready_in(now) <= 31.0
        assert pace.rate_per_second is None or pace.rate_per_second <= (cap or 1e9)


def test_many_predictions_share_their_looks() -> None:
    """A thousand in flight are looked at in turn, and none less than once in ten seconds."""
    pace = Pace(200.0)
    few, many, crowd = (SharedSchedule(PollSchedule(), pace, lambda n=n: n) for n in (3, 400, 9000))  # type: ignore[misc]
    assert few.pause(0.0).seconds == 0.2
    assert many.pause(0.0).seconds == 2.0
    assert crowd.pause(0.0).seconds == 10.0
    crowd = SharedSchedule(PollSchedule(), Pace(200.0), lambda: 100)
    assert crowd.first_seconds() == 0.5


def throttled_for(seconds: float | None) -> errors.Temporary:
    """Make the answer to a throttled look that names such a pause."""
    failure = errors.Temporary("slow down", code="rate_limited")
    failure.retry_after_seconds = seconds
    return failure


@pytest.mark.parametrize(
    ("outcome", "seconds"),
    [
        (None, None),
        (throttled_for(None), 0.0),
        (throttled_for(5.0), 5.0),
        (throttled_for(61.0), 0.0),
        (errors.Temporary("down", code="server_error"), None),
    ],
    ids=["well", "throttled", "asked", "asked too long", "another fault"],
)
def test_a_throttled_look_asks_of_all_what_one_wait_can_bear(outcome: object, seconds: float | None) -> None:
    """A longer pause ends the wait of one prediction, and is none for the others."""
    assert asked_of_all(outcome, 60.0) == seconds
