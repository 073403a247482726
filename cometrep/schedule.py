"""When to look again: retry backoff and the polling schedule, as pure functions of time and history."""

import re
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from cometrep import errors

SHORTEST_INTERVAL_SECONDS = 0.2  # at most 5 looks a second
LONGEST_INTERVAL_SECONDS = 10.0

_DENSE_UNTIL_SECONDS = 1.4
_STEADY_UNTIL_SECONDS = 60.0
_STEADY_INTERVAL_SECONDS = 0.5
_GROWTH = 1 / 120  # of the elapsed time, from the steady part on: 0.5 s at 1 min, 5 s at 10 min

_RATE_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}
_PACE_FLOOR = 1 / 30  # creates a second, however often it was throttled
_PACE_STEP = 0.5  # creates a second, given back each second or so
_PACE_WINDOW = 1000  # creates remembered to measure the rate
_PACE_SECONDS = 10.0
_PACE_SLACK_SECONDS = 0.05  # a late create does not shorten the pause after it by more

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

    A `Retry-After` header in seconds or as a date (RFC 9110, 10.2.3), else `retry_after` in the body, else a
    time in its text ("resets in ~30s", "available in 1 second"), as Replicate's throttle answers have them.
    """
    header = headers.get("Retry-After", "").strip()
    if re.fullmatch(r"\d{1,9}(?:\.\d{1,6})?", header):
        return float(header)
    if header:
        from datetime import UTC
        from email.utils import parsedate_to_datetime

        try:
            date = parsedate_to_datetime(header)
            # HTTP's dates are all GMT; one of its old forms does not say so.
            return max(0.0, (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now)
        except (ValueError, OverflowError):
            pass
    if not isinstance(body, Mapping):
        return None
    stated = body.get("retry_after")
    if isinstance(stated, (int, float)) and not isinstance(stated, bool) and 0 <= stated < 1e9:
        return float(stated)
    if found := re.search(r"\bin ~?(\d{1,6}) ?s(?:ec|\b)", str(body.get("detail", ""))):
        return float(found.group(1))
    return None


class Schedule(Protocol):
    """When to look at a prediction again."""

    def interval_seconds(self, elapsed_seconds: float) -> float:
        """Give the pause before the next look, after a wait of so long."""


class PollSchedule(NamedTuple):
    """How long to wait before the next look, from how long the wait has lasted.

    `fixed_interval_seconds` replaces the adaptive schedule where the user gave one.
    """

    fixed_interval_seconds: float | None = None

    def interval_seconds(self, elapsed_seconds: float) -> float:
        """Give the pause before the next look: dense at first, steady, then growing with the wait."""
        if self.fixed_interval_seconds is not None:
            return self.fixed_interval_seconds
        if elapsed_seconds < _DENSE_UNTIL_SECONDS:
            return SHORTEST_INTERVAL_SECONDS
        if elapsed_seconds < _STEADY_UNTIL_SECONDS:
            return _STEADY_INTERVAL_SECONDS
        return min(LONGEST_INTERVAL_SECONDS, max(_STEADY_INTERVAL_SECONDS, elapsed_seconds * _GROWTH))


def parse_rate(text: str) -> float:
    """Read `60/m`, `2/s` or `100/h` as so many a second; raise UsageError for anything else."""
    found = re.fullmatch(r"(\d{1,6}(?:\.\d{1,6})?)/(s|m|h)", text.strip())
    rate = float(found.group(1)) / _RATE_UNITS[found.group(2)] if found else 0.0
    if rate <= 0:
        raise errors.UsageError(f"--rate {text!r} is not a number of creates over s, m or h", hint="--rate 60/m")
    return rate


class SharedSchedule(NamedTuple):
    """One schedule for all predictions that a command watches: their looks together keep within a pace."""

    own: PollSchedule
    pace: "Pace"
    watched: Callable[[], int]

    def interval_seconds(self, elapsed_seconds: float) -> float:
        """Give the pause before the next look at one of them, longer the more there are."""
        turn = self.watched() / (self.pace.rate_per_second or 1.0)
        return max(self.own.interval_seconds(elapsed_seconds), min(LONGEST_INTERVAL_SECONDS, turn))


class Pace:
    """How fast creates may follow each other: a cap the user set, and less for as long as the API throttles.

    Additive increase, multiplicative decrease, as TCP has it: each 429 halves the rate for everyone and puts a
    pause before the next create; each accepted create gives some of it back. Times are seconds of one clock.
    """

    def __init__(self, cap_per_second: float | None = None) -> None:
        self._cap = cap_per_second
        self._rate = cap_per_second  # None: as fast as there is room
        self._next = 0.0
        self._slowed = 0.0
        self._sent: deque[float] = deque(maxlen=_PACE_WINDOW)

    @property
    def rate_per_second(self) -> float | None:
        """The creates a second that are allowed now, None for no limit."""
        return self._rate

    def ready_in(self, now: float) -> float:
        """Give the seconds until the next create may be sent, 0 where it may be now."""
        return max(0.0, self._next - now)

    def sent(self, now: float) -> None:
        """Take up that a create was sent."""
        self._sent.append(now)
        if self._rate is not None:
            self._next = max(self._next, now - _PACE_SLACK_SECONDS) + 1 / self._rate

    def throttled(self, now: float, pause_seconds: float) -> None:
        """Slow all down after a 429; those that come in one burst count as one."""
        self._next = max(self._next, now + pause_seconds)
        if now < self._slowed:
            return
        self._slowed = now + max(1.0, pause_seconds)
        rate = self._rate if self._rate is not None else self._measured(now)
        self._rate = max(_PACE_FLOOR, rate / 2)

    def accepted(self, now: float) -> None:
        """Give speed back, step by step, up to the cap; without a cap until nothing holds it back."""
        if self._rate is None or self._rate == self._cap:
            return
        self._rate += _PACE_STEP / max(self._rate, 1.0)
        if self._cap is not None:
            self._rate = min(self._rate, self._cap)
        elif self._rate > 2 * self._measured(now) + 1:
            self._rate = None

    def _measured(self, now: float) -> float:
        """Give the creates a second of the last while, which is shorter at the beginning."""
        recent = [moment for moment in self._sent if moment > now - _PACE_SECONDS]
        return len(recent) / max(1.0, now - recent[0]) if recent else 1.0
