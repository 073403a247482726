"""When to look again: bounds, growth, jitter, and every form in which a server asks for a pause."""

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cometrep.schedule import (
    LONGEST_INTERVAL_SECONDS,
    SHORTEST_INTERVAL_SECONDS,
    PollSchedule,
    backoff_seconds,
    retry_after_seconds,
)

quick = settings(max_examples=200, deadline=None)
NOW = 1_800_000_000.0  # Fri, 15 Jan 2027 08:00:00 GMT

_elapsed = st.floats(0, 1e7)


@quick
@given(_elapsed, _elapsed)
def test_the_interval_grows_within_its_bounds(one: float, other: float) -> None:
    """Never above five looks a second nor below one in ten, and never shorter as the wait gets longer."""
    earlier, later = sorted((one, other))
    intervals = [PollSchedule().interval_seconds(at) for at in (earlier, later)]
    assert SHORTEST_INTERVAL_SECONDS == 0.2
    assert LONGEST_INTERVAL_SECONDS == 10.0
    assert 0.2 <= intervals[0] <= intervals[1] <= 10.0


@pytest.mark.parametrize(
    ("elapsed", "interval"),
    [(0, 0.2), (1.3, 0.2), (1.4, 0.5), (59, 0.5), (60, 0.5), (120, 1.0), (600, 5.0), (1200, 10.0), (90_000, 10.0)],
    ids=str,
)
def test_the_adaptive_schedule(elapsed: float, interval: float) -> None:
    """Dense at first, then steady, then a fixed part of the time waited."""
    assert PollSchedule().interval_seconds(elapsed) == pytest.approx(interval)


def test_a_fixed_interval_stays() -> None:
    """The interval that the user gave is kept, however long the wait."""
    schedule = PollSchedule(60.0)
    assert [schedule.interval_seconds(at) for at in (0, 1, 1e6)] == [60.0, 60.0, 60.0]


@quick
@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_backoff_is_bounded(attempt: int, random: float) -> None:
    """Half of each pause is jitter; pauses double up to their cap."""
    pause = backoff_seconds(attempt, random)
    full = min(20.0, 0.5 * 2.0 ** min(attempt - 1, 100))
    assert full / 2 <= pause <= full
    assert backoff_seconds(attempt, 0.0) <= backoff_seconds(attempt + 1, 0.0)


@pytest.mark.parametrize(
    ("attempt", "random", "pause"),
    [(1, 0.0, 0.25), (1, 0.5, 0.375), (2, 0.0, 0.5), (5, 0.0, 4.0), (6, 0.0, 8.0), (7, 0.0, 10.0), (99, 0.0, 10.0)],
    ids=str,
)
def test_backoff(attempt: int, random: float, pause: float) -> None:
    """The pauses themselves."""
    assert backoff_seconds(attempt, random) == pause


ASKED: dict[str, tuple[dict[str, str], Any, float | None]] = {
    "nothing": ({}, {"detail": "slow down"}, None),
    "no body": ({}, None, None),
    "seconds": ({"Retry-After": "9"}, None, 9.0),
    "seconds with space": ({"Retry-After": " 9 "}, None, 9.0),
    "no seconds": ({"Retry-After": "0"}, None, 0.0),
    "a fraction": ({"Retry-After": "0.5"}, None, 0.5),
    "absurd": ({"Retry-After": "999999999"}, None, 999_999_999.0),
    "more than absurd": ({"Retry-After": "9" * 40}, None, None),
    "negative": ({"Retry-After": "-5"}, None, None),
    "garbage": ({"Retry-After": "soon"}, None, None),
    "garbage like a date": ({"Retry-After": "Fri, 99 Jan 2027 08:00:30 GMT"}, None, None),
    "empty": ({"Retry-After": ""}, None, None),
    "a date": ({"Retry-After": "Fri, 15 Jan 2027 08:00:30 GMT"}, None, 30.0),
    "a date in another zone": ({"Retry-After": "Fri, 15 Jan 2027 10:00:30 +0200"}, None, 30.0),
    "a date gone by": ({"Retry-After": "Fri, 15 Jan 2027 07:00:00 GMT"}, None, 0.0),
    "an absurd date": ({"Retry-After": "Fri, 31 Dec 9999 23:59:59 GMT"}, None, 251_602_300_799.0),
    "body": ({}, {"detail": "x", "status": 429, "retry_after": 7}, 7.0),
    "body with a fraction": ({}, {"retry_after": 0.25}, 0.25),
    "header before body": ({"Retry-After": "9"}, {"retry_after": 7}, 9.0),
    "garbage, then body": ({"Retry-After": "soon"}, {"retry_after": 7}, 7.0),
    "negative body": ({}, {"retry_after": -7}, None),
    "absurd body": ({}, {"retry_after": 1e12}, None),
    "not a number in the body": ({}, {"retry_after": float("nan")}, None),
    "true in the body": ({}, {"retry_after": True}, None),
    "text in the body": ({}, {"retry_after": "7"}, None),
    "a list": ({}, [7], None),
    "told": ({}, {"detail": "Request was throttled. Your rate limit resets in ~30s."}, 30.0),
    "told in words": ({}, {"detail": "Request was throttled. Expected available in 1 second."}, 1.0),
    "told in plural": ({}, {"detail": "available in 45 seconds"}, 45.0),
    "told in short": ({}, {"detail": "resets in 5 sec"}, 5.0),
    "told of something else": ({}, {"detail": "made in 3 steps"}, None),
    "told inside a word": ({}, {"detail": "within 3s"}, None),
    "told absurdly": ({}, {"detail": "resets in ~99999999999s"}, None),
    "no text": ({}, {"detail": ["in 3s"]}, 3.0),
}


@pytest.mark.parametrize(("headers", "body", "expected"), ASKED.values(), ids=ASKED.keys())
def test_the_pause_a_server_asks_for(headers: dict[str, str], body: Any, expected: float | None) -> None:
    """Header in seconds or as a date, body, or text of the body; nonsense counts as nothing said."""
    assert retry_after_seconds(headers, body, NOW) == expected


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="Windows has no tzset")
def test_a_date_without_a_zone_is_gmt(monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTP's old form of a date names no zone, and means GMT on a machine of any zone."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        asked = retry_after_seconds({"Retry-After": "Fri Jan 15 08:00:30 2027"}, None, NOW)
    time.tzset()
    assert asked == 30.0


@quick
@given(
    st.text(max_size=60) | st.from_regex(r"[A-Za-z]{3}, ?\d+ [A-Z][a-z]{2} \d+ \d+:\d+:\d+ .{0,6}"),
    st.floats(0, 1e10),
)
def test_any_header_is_a_pause_or_nothing(header: str, now: float) -> None:
    """No header breaks the reader or gives a pause below zero."""
    asked = retry_after_seconds({"Retry-After": header}, None, now)
    assert asked is None or asked >= 0
