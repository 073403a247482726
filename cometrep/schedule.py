"""When to look again: retry backoff and the polling schedule, as pure functions of time and history."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

SHORTEST_INTERVAL_SECONDS = 0.2  # at most 5 looks a second
LONGEST_INTERVAL_SECONDS = 10.0

_FIRST_LOOK_SECONDS = 0.14  # so that the second one comes just behind the end of what ends soonest, at about 0.3 s
_FIRST_UNTIL_SECONDS = 0.35
_SHORT_INTERVAL_SECONDS = 0.28
_STEADY_FROM_SECONDS = 2.3
_STEADY_UNTIL_SECONDS = 75.0
_STEADY_INTERVAL_SECONDS = 0.5
_LONG_FROM_SECONDS = 120.0
_LONG_INTERVAL_SECONDS = 1.72
_GROWING_FROM_SECONDS = 600.0  # from here on the interval is the same part of the wait: 10 s after an hour

_FOLLOWED_FROM_SECONDS = 1.6  # runs of a model that are shorter have ended before a history could spare many looks
_FEWEST_RUNS = 3  # of a model, before its history is followed
_SURE_RUNS = 5  # fewer are looked at now and then during what they say is the wait
_COLD_FACTOR = 4.0  # a run that took so many times the median began cold, and says nothing of the next
_PRIOR_SPREAD = 0.25  # what few runs are thought to vary by (standard deviation of the logarithm); worth one run
_LEAST_SPREAD, _MOST_SPREAD = 0.03, 0.4  # beyond the latter a history tells too little
_MANY_RUNS, _MOST_SPREAD_OF_MANY = 20, 0.65  # where the spread itself is known well, and looks are few anyway:
_SHORT_SECONDS = 5.0
_FIRST_SCORE, _LAST_SCORE = -1.9, 2.25  # standard scores between which the end is likely: from the 3 % on
_LIKELY_INTERVAL_SECONDS = 0.13  # in the middle of them, where a run is short and has room for few looks,
_LIKELY_GROWTH = 1 / 280  # and so much of the usual run more,
_MOST_LIKELY_INTERVAL_SECONDS = 0.25  # up to this, which it is where runs are not alike
_EARLY_LOOK_SECONDS = 2.0  # for what fails at once, where a wait is long
_TAIL_GROWTH = 0.07  # of the time since the end was likely
_TAIL_INTERVAL_SECONDS = 1.1  # at most, until the pause without a history is longer

_NUMBER = r"\d+(?:\.\d+)?"
_LONGEST_ASKED_SECONDS = 1e9  # of what a server may ask to wait: more digits mean no more than that
_MOST_SKEW_SECONDS = 86400.0  # between two clocks; a Date that is further away is none of this answer's

_BACKOFF_BASE_SECONDS = 0.5
_BACKOFF_CAP_SECONDS = 20.0


def backoff_seconds(attempt: int, random: float) -> float:
    """Give the pause after failed attempt number `attempt` (from 1), half of it jittered by `random` in [0, 1).

    Exponential with jitter, as apidoc.cometapi.com/guides/rate-limits-and-concurrency asks.
    """
    full = min(_BACKOFF_CAP_SECONDS, _BACKOFF_BASE_SECONDS * 2.0 ** min(attempt - 1, 30))
    return full * (0.5 + random / 2)


def retry_after_seconds(headers: Mapping[str, str], body: Any, now: float) -> float | None:
    """Read how long a server asks to wait, in seconds from `now` (Unix time), or None where it does not say.

    A `Retry-After` header in seconds or as a date (RFC 9110, 10.2.3), the longest where several came, else
    `retry_after` in the body or in its `error`, as a number or a text, else a time in the body's text ("resets in
    ~30s", "available in 1 second"), as Replicate's throttle answers have them.
    """
    # Several are joined by commas; the one in a date stands behind the name of a day.
    parts = re.split(r"(?<![a-z]),", headers.get("Retry-After", ""))
    pauses = [_pause(part.strip(), headers.get("Date", ""), now) for part in parts if part.strip()]
    if asked := [pause for pause in pauses if pause is not None]:
        return max(asked)
    if not isinstance(body, Mapping):
        return None
    error = body.get("error")
    stated = body.get("retry_after", error.get("retry_after") if isinstance(error, Mapping) else None)
    if isinstance(stated, str) and re.fullmatch(_NUMBER, stated.strip()):
        return min(float(stated), _LONGEST_ASKED_SECONDS)
    if isinstance(stated, (int, float)) and not isinstance(stated, bool) and 0 <= stated < 1e9:
        return float(stated)
    if found := re.search(r"\bin ~?(\d{1,6}) ?s(?:ec|\b)", str(body.get("detail", ""))):
        return float(found.group(1))
    return None


def _pause(asked: str, said_at: str, now: float) -> float | None:
    """Read one pause that a header asks for: seconds, or a date by the server's clock, which `said_at` shows."""
    if re.fullmatch(_NUMBER, asked):
        return min(float(asked), _LONGEST_ASKED_SECONDS)
    until, said = _unix_seconds(asked), _unix_seconds(said_at)
    if until is None:
        return None
    return max(0.0, until - (now if said is None or abs(said - now) > _MOST_SKEW_SECONDS else said))


def _unix_seconds(date: str) -> float | None:
    """Read a date of HTTP; they are all GMT, and one of their old forms does not say so."""
    from datetime import UTC
    from email.utils import parsedate_to_datetime

    try:
        read = parsedate_to_datetime(date)
        return (read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


class Patience(NamedTuple):
    """How to wait: the deadline of it all (None for none), the budget for failed attempts, a fixed interval.

    `prompt_budget_seconds` is the budget where there is no connection, or one look is all that was asked for.
    """

    deadline_seconds: float | None = 1800.0
    retry_budget_seconds: float = 60.0
    prompt_budget_seconds: float = 15.0
    interval_seconds: float | None = None

    @property
    def of_one_look(self) -> "Patience":
        """How to wait where one look is all that was asked for: until it is answered, with the prompt budget."""
        return self._replace(deadline_seconds=None, retry_budget_seconds=self.prompt_budget_seconds)


class Pause(NamedTuple):
    """How long to wait until the next look: from the last one's answer, or from its start where time counts."""

    seconds: float
    is_from_start: bool = False


class Schedule(Protocol):
    """When to look at a prediction again."""

    def first_seconds(self) -> float:
        """Give the pause between the answer to a create and the first look."""

    def pause(self, elapsed_seconds: float) -> Pause:
        """Give the pause before the next look, after a wait of so long."""


class PollSchedule(NamedTuple):
    """How long to wait before the next look, from how long the wait has lasted.

    `fixed_interval_seconds` replaces the adaptive schedule where the user gave one.
    """

    fixed_interval_seconds: float | None = None

    def first_seconds(self) -> float:
        """Give the pause before the first look."""
        return _FIRST_LOOK_SECONDS if self.fixed_interval_seconds is None else self.fixed_interval_seconds

    def pause(self, elapsed_seconds: float) -> Pause:
        """Give the pause before the next look: short, then steady, then growing with the wait."""
        if self.fixed_interval_seconds is not None:
            return Pause(self.fixed_interval_seconds)
        if elapsed_seconds < _STEADY_FROM_SECONDS:
            is_first = elapsed_seconds < _FIRST_UNTIL_SECONDS
            return Pause(SHORTEST_INTERVAL_SECONDS if is_first else _SHORT_INTERVAL_SECONDS, is_from_start=True)
        if elapsed_seconds < _LONG_FROM_SECONDS:
            part = (elapsed_seconds - _STEADY_UNTIL_SECONDS) / (_LONG_FROM_SECONDS - _STEADY_UNTIL_SECONDS)
            growth = max(0.0, part) * (_LONG_INTERVAL_SECONDS - _STEADY_INTERVAL_SECONDS)
            return Pause(_STEADY_INTERVAL_SECONDS + growth)
        growth = max(1.0, elapsed_seconds / _GROWING_FROM_SECONDS)
        return Pause(min(LONGEST_INTERVAL_SECONDS, _LONG_INTERVAL_SECONDS * growth))


class HistorySchedule(NamedTuple):
    """How long to wait before the next look, where runs of the same model are known to have ended alike.

    Durations are taken to be lognormal, with a mean and a spread (standard deviation) of their logarithms. The wait
    goes by until the end becomes likely; then the pauses are in inverse proportion to the square root of the
    hazard, which is what the least delay for a number of looks asks for; in the tail they grow again, slowly at
    first, for what is not over by then began cold, as one in twenty does.
    """

    mean: float
    spread: float
    is_sure: bool
    age_seconds: float

    def first_seconds(self) -> float:
        """Give the pause before the first look."""
        return self.pause(0.0).seconds

    def pause(self, elapsed_seconds: float) -> Pause:
        """Give the pause before the next look."""
        at = elapsed_seconds + self.age_seconds
        likely_from = math.exp(self.mean + _FIRST_SCORE * self.spread)
        if at < likely_from:
            seconds = likely_from - at
            if not self.is_sure:
                seconds = min(seconds, max(at, likely_from / 4))
            if at < _EARLY_LOOK_SECONDS < likely_from / 2:
                seconds = _EARLY_LOOK_SECONDS - at
            return Pause(_bounded(seconds))
        score = (math.log(at) - self.mean) / self.spread
        if score < _LAST_SCORE:
            seconds = _MOST_LIKELY_INTERVAL_SECONDS
            if self.spread <= _MOST_SPREAD:
                seconds = min(seconds, _LIKELY_INTERVAL_SECONDS + _LIKELY_GROWTH * math.exp(self.mean))
            return Pause(_bounded(seconds * math.sqrt(_hazard(0.0) / _hazard(score))), is_from_start=True)
        since = at - math.exp(self.mean + _LAST_SCORE * self.spread)
        seconds = min(max(_STEADY_INTERVAL_SECONDS, _TAIL_GROWTH * since), _TAIL_INTERVAL_SECONDS)
        return Pause(_bounded(max(seconds, at * _LONG_INTERVAL_SECONDS / _GROWING_FROM_SECONDS)))


def schedule_for(
    run_seconds: Sequence[float], *, age_seconds: float = 0.0, fixed_interval_seconds: float | None = None
) -> Schedule:
    """Choose the schedule of a prediction from how long finished ones of its model ran.

    `age_seconds` is how long ago it was created when the wait begins.
    """
    logs = sorted(math.log(max(seconds, SHORTEST_INTERVAL_SECONDS)) for seconds in run_seconds)
    if fixed_interval_seconds is None and len(logs) >= _FEWEST_RUNS:
        warm = [one for one in logs if one < logs[len(logs) // 2] + math.log(_COLD_FACTOR)]
        mean = math.fsum(warm) / len(warm)
        squares = math.fsum((one - mean) ** 2 for one in warm) + _PRIOR_SPREAD**2
        spread = math.sqrt(squares / len(warm) * (1 + 1 / len(warm)))
        is_well_known = len(warm) >= _MANY_RUNS and mean < math.log(_SHORT_SECONDS)
        most_spread = _MOST_SPREAD_OF_MANY if is_well_known else _MOST_SPREAD
        if spread <= most_spread and mean >= math.log(_FOLLOWED_FROM_SECONDS):
            return HistorySchedule(
                mean, max(_LEAST_SPREAD, spread), is_sure=len(warm) >= _SURE_RUNS, age_seconds=age_seconds
            )
    return PollSchedule(fixed_interval_seconds)


def _hazard(score: float) -> float:
    """Give the hazard of the standard normal distribution: its density over what is left of it."""
    density = math.exp(-score * score / 2) / math.sqrt(2 * math.pi)
    return density / (math.erfc(score / math.sqrt(2)) / 2)


def _bounded(seconds: float) -> float:
    return max(SHORTEST_INTERVAL_SECONDS, min(LONGEST_INTERVAL_SECONDS, seconds))
