"""When to look again: bounds, growth, jitter, and every form in which a server asks for a pause."""

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cometrep.schedule import (
    LONGEST_INTERVAL_SECONDS,
    SHORTEST_INTERVAL_SECONDS,
    HistorySchedule,
    PollSchedule,
    backoff_seconds,
    retry_after_seconds,
    schedule_for,
)
from tests import polling, readme

quick = settings(max_examples=200)
NOW = 1_800_000_000.0  # Fri, 15 Jan 2027 08:00:00 GMT

_elapsed = st.floats(0, 1e7)


@quick
@given(_elapsed, _elapsed)
def test_the_interval_grows_within_its_bounds(one: float, other: float) -> None:
    """Never above five looks a second nor below one in ten, and never shorter as the wait gets longer."""
    earlier, later = sorted((one, other))
    intervals = [PollSchedule().pause(at).seconds for at in (earlier, later)]
    assert SHORTEST_INTERVAL_SECONDS == 0.2
    assert LONGEST_INTERVAL_SECONDS == 10.0
    assert 0.2 <= intervals[0] <= intervals[1] <= 10.0


@pytest.mark.parametrize(
    ("elapsed", "interval"),
    [
        (0, 0.2),
        (0.3, 0.2),
        (0.4, 0.28),
        (2, 0.28),
        (2.3, 0.5),
        (75, 0.5),
        (120, 1.72),
        (600, 1.72),
        (1200, 3.44),
        (3600, 10.0),
        (90_000, 10.0),
    ],
    ids=str,
)
def test_the_adaptive_schedule(elapsed: float, interval: float) -> None:
    """Dense at first, then steady, at last a fixed part of the time waited."""
    assert PollSchedule().pause(elapsed).seconds == pytest.approx(interval)


def test_the_first_look_comes_before_the_shortest_predictions_end() -> None:
    """No look was before it, so it may follow the create sooner than looks follow each other."""
    assert PollSchedule().first_seconds() == 0.14
    assert schedule_for(ALIKE).first_seconds() == schedule_for(ALIKE).pause(0.0).seconds


def test_a_fixed_interval_stays() -> None:
    """The interval that the user gave is kept, however long the wait."""
    schedule = PollSchedule(60.0)
    assert schedule.first_seconds() == 60.0
    assert [schedule.pause(at).seconds for at in (0, 1, 1e6)] == [60.0, 60.0, 60.0]


_runs = st.lists(st.floats(0, 1e6), max_size=30)


@quick
@given(_runs, _elapsed, st.floats(0, 1e6))
def test_no_history_leads_out_of_the_bounds(runs: list[float], elapsed: float, age: float) -> None:
    """Whatever earlier runs took, a look is never less than 0.2 s nor more than 10 s after the one before it."""
    assert 0.2 <= schedule_for(runs, age_seconds=age).pause(elapsed).seconds <= 10.0


ALIKE = (19.0, 20.0, 21.0, 20.5, 19.5)


@pytest.mark.parametrize(
    ("runs", "is_followed"),
    [
        ((), False),
        (ALIKE[:2], False),
        (ALIKE[:3], True),
        (ALIKE, True),
        ((*ALIKE, 400.0), True),
        ((1, 9, 80), False),
        ((0.5, 0.6, 0.5), False),
        ((2.0, 40.0, 3.0, 90.0, 9.0), False),
    ],
    ids=str,
)
def test_a_history_is_followed_where_it_tells_something(runs: tuple[float, ...], is_followed: bool) -> None:
    """At least three runs, alike but for cold starts, and long enough for looks to be spared."""
    assert isinstance(schedule_for(runs), HistorySchedule) == is_followed


def test_a_fixed_interval_beats_a_history() -> None:
    """What the user gave is kept."""
    assert schedule_for(ALIKE, fixed_interval_seconds=7.0).pause(0).seconds == 7.0


def test_a_history_waits_looks_densely_and_backs_off() -> None:
    """The wait goes by in steps of ten seconds at most, the end is watched, and a cold start is survived."""
    schedule = schedule_for(ALIKE)
    assert schedule.pause(0.0).seconds == 2.0  # for what fails at once
    assert schedule.pause(2.0).seconds == 10.0
    assert 12.0 + schedule.pause(12.0).seconds == pytest.approx(15.7, abs=0.1)
    assert schedule.pause(20.0).seconds < 0.3
    assert schedule.pause(20.0).is_from_start
    assert 0.5 <= schedule.pause(35.0).seconds < schedule.pause(45.0).seconds
    assert schedule.pause(400.0).seconds < 1.5
    assert 3.0 < schedule.pause(1200.0).seconds <= 10.0


def test_few_runs_are_trusted_less() -> None:
    """With three of them there are looks during what they say is the wait."""
    pauses = [schedule_for(ALIKE[:count]).pause(5.0).seconds for count in (3, 5)]
    assert pauses[0] < pauses[1]


def test_the_age_of_a_prediction_counts() -> None:
    """A wait that begins late looks as if it had been there all along."""
    assert schedule_for(ALIKE, age_seconds=15.0).pause(5.0) == schedule_for(ALIKE).pause(20.0)


@pytest.mark.parametrize("round_trip", polling.ROUND_TRIPS)
@pytest.mark.parametrize("case", polling.CASES, ids=[case.about for case in polling.CASES])
def test_the_readme_shows_the_simulation(case: polling.Case, round_trip: float) -> None:
    """Each row of its table is there, made anew by `python -m tests.polling`, and holds what it is to show.

    Without a history cometrep knows sooner than its peers in short runs and as soon in longer ones, with far fewer
    looks in long ones; with one it needs half the looks and 0.6 of the delay where runs are alike, and never more
    of either than without.
    """
    row = polling.row(case, round_trip)
    assert polling.line(row) in (readme.ROOT / "README.md").read_text("utf-8")
    plain, known, peer = row.plain, row.with_history, row.peers[0.5]
    assert known.delay_seconds <= 1.05 * plain.delay_seconds
    assert known.looks <= 1.01 * plain.looks or case.about == "5 to 60 s, a cold start"
    if round_trip != 0.05:
        return
    if case.about == "0.2 to 1.5 s":
        assert plain.delay_seconds <= 0.6 * peer.delay_seconds
    elif case.about in ("1.5 to 5 s", "5 to 60 s, alike"):
        assert plain.delay_seconds <= 1.05 * peer.delay_seconds
        assert plain.looks <= peer.looks + 5
    elif case.about == "10 min":
        assert plain.looks <= 460
        assert plain.delay_seconds <= 1.0
    if case.about in ("5 to 60 s, alike", "5 to 60 s, alike but for cold starts"):
        assert known.delay_seconds <= 0.6 * peer.delay_seconds
        assert known.looks <= 0.5 * peer.looks


@pytest.mark.parametrize(("sigma", "least"), [(0.1, 0.19), (0.3, 0.51), (1.0, 0.95)])
def test_no_history_gives_more_than_its_spread_allows(sigma: float, least: float) -> None:
    """The delay times the looks lies above the bound of every schedule, which the README says right."""
    assert polling.least_share(sigma) == pytest.approx(least, abs=0.005)
    row = polling.simulated(polling.Case("20 s", 20.0, 20.0, sigma), 0.05, 200)
    with_history, fixed = (
        (cost.delay_seconds - 0.025) * cost.looks  # an answer is half a round trip old
        for cost in (row.with_history, row.peers[0.5])
    )
    assert least * fixed < with_history


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
    "more than absurd": ({"Retry-After": "9" * 40}, None, 1e9),
    "negative": ({"Retry-After": "-5"}, None, None),
    "garbage": ({"Retry-After": "soon"}, None, None),
    "garbage like a date": ({"Retry-After": "Fri, 99 Jan 2027 08:00:30 GMT"}, None, None),
    "empty": ({"Retry-After": ""}, None, None),
    "a date": ({"Retry-After": "Fri, 15 Jan 2027 08:00:30 GMT"}, None, 30.0),
    "a date in another zone": ({"Retry-After": "Fri, 15 Jan 2027 10:00:30 +0200"}, None, 30.0),
    "a date gone by": ({"Retry-After": "Fri, 15 Jan 2027 07:00:00 GMT"}, None, 0.0),
    "an absurd date": ({"Retry-After": "Fri, 31 Dec 9999 23:59:59 GMT"}, None, 251_602_300_799.0),
    "two": ({"Retry-After": "1, 3"}, None, 3.0),
    "two, the longest first": ({"Retry-After": "3,1"}, None, 3.0),
    "a date and seconds": ({"Retry-After": "Fri, 15 Jan 2027 08:00:30 GMT, 9"}, None, 30.0),
    "seconds and an old date": ({"Retry-After": "9, Friday, 15-Jan-27 08:00:30 GMT"}, None, 30.0),
    "garbage and seconds": ({"Retry-After": "soon-ish!, 3"}, None, 3.0),
    "a date by a clock ahead": (
        {"Retry-After": "Fri, 15 Jan 2027 09:00:30 GMT", "Date": "Fri, 15 Jan 2027 09:00:00 GMT"},
        None,
        30.0,
    ),
    "a date by a clock behind": (
        {"Retry-After": "Fri, 15 Jan 2027 07:00:30 GMT", "Date": "Fri, 15 Jan 2027 07:00:00 GMT"},
        None,
        30.0,
    ),
    "a date gone by when it was sent": (
        {"Retry-After": "Fri, 15 Jan 2027 08:00:30 GMT", "Date": "Fri, 15 Jan 2027 08:00:31 GMT"},
        None,
        0.0,
    ),
    "a date sent in another year": (
        {"Retry-After": "Fri, 15 Jan 2027 08:00:30 GMT", "Date": "Thu, 01 Jan 1970 00:00:00 GMT"},
        None,
        30.0,
    ),
    "a date sent at no time": ({"Retry-After": "Fri, 15 Jan 2027 08:00:30 GMT", "Date": "now"}, None, 30.0),
    "body": ({}, {"detail": "x", "status": 429, "retry_after": 7}, 7.0),
    "body with a fraction": ({}, {"retry_after": 0.25}, 0.25),
    "header before body": ({"Retry-After": "9"}, {"retry_after": 7}, 9.0),
    "garbage, then body": ({"Retry-After": "soon"}, {"retry_after": 7}, 7.0),
    "negative body": ({}, {"retry_after": -7}, None),
    "absurd body": ({}, {"retry_after": 1e12}, None),
    "not a number in the body": ({}, {"retry_after": float("nan")}, None),
    "true in the body": ({}, {"retry_after": True}, None),
    "text in the body": ({}, {"retry_after": "7"}, 7.0),
    "words in the body": ({}, {"retry_after": "soon"}, None),
    "in the error of the body": ({}, {"error": {"message": "x", "retry_after": 7}}, 7.0),
    "text in the error of the body": ({}, {"error": {"retry_after": " 7.5 "}}, 7.5),
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
    """Header in seconds or as a date by the server's clock, body, or its text; nonsense counts as nothing said."""
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
