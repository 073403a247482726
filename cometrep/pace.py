"""How fast requests may follow each other: all creates together, and the looks at many predictions."""

import re
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from cometrep import errors
from cometrep.schedule import LONGEST_INTERVAL_SECONDS, Pause, Schedule

_RATE_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}
_PACE_FLOOR = 1 / 30  # requests a second, however often it was throttled
_PACE_STEP = 0.5  # requests a second, given back each second or so
_PACE_WINDOW = 1000  # requests remembered to measure the rate
_PACE_SECONDS = 10.0
_PACE_SLACK_SECONDS = 0.05  # one that is late by no more shortens the pause after it, so that the rate is reached


def parse_rate(text: str) -> float:
    """Read `60/m`, `2/s` or `100/h` as so many a second; raise UsageError for anything else."""
    found = re.fullmatch(r"([0-9]{1,15}(?:\.[0-9]{1,6})?)/(s|m|h)", text.strip())
    rate = float(found.group(1)) / _RATE_UNITS[found.group(2)] if found else 0.0
    if rate <= 0:
        raise errors.UsageError(
            f"--rate {text!r} is no number above 0 with its unit, as in 60/s, 60/m or 60/h", hint="--rate 60/m"
        )
    return rate


def asked_of_all(outcome: object, most_seconds: float) -> float | None:
    """Give the pause that the answer to one look asks of all, None where it was not throttled.

    0 for a longer one than that, which ends the wait of whom it is told, and nobody else's.
    """
    if not isinstance(outcome, errors.Temporary) or outcome.code != "rate_limited":
        return None
    asked = outcome.retry_after_seconds or 0.0
    return asked if asked <= most_seconds else 0.0


class SharedSchedule(NamedTuple):
    """One schedule for all predictions that a command watches: their looks together keep within a pace."""

    own: Schedule
    pace: "Pace"
    watched: Callable[[], int]

    def first_seconds(self) -> float:
        """Give the pause before the first look at one of them."""
        return max(self.own.first_seconds(), self._turn_seconds())

    def pause(self, elapsed_seconds: float) -> Pause:
        """Give the pause before the next look at one of them, longer the more there are."""
        turn = self._turn_seconds()
        own = self.own.pause(elapsed_seconds)
        return own if own.seconds >= turn else Pause(turn, own.is_from_start)

    def _turn_seconds(self) -> float:
        return min(LONGEST_INTERVAL_SECONDS, self.watched() / (self.pace.rate_per_second or 1.0))


class Pace:
    """How fast requests of a kind may follow each other: a cap, and less for as long as the API throttles.

    Additive increase, multiplicative decrease, as TCP has it: each 429 halves the rate for everyone and puts a
    pause before the next one; each that is accepted gives some of it back. Times are seconds of one clock.
    """

    def __init__(self, cap_per_second: float | None = None) -> None:
        self._cap = cap_per_second
        self._rate = cap_per_second  # None: as fast as there is room
        self._next = 0.0
        self._slowed = 0.0
        self._sent: deque[float] = deque(maxlen=_PACE_WINDOW)

    @property
    def rate_per_second(self) -> float | None:
        """The requests a second that are allowed now, None for no limit."""
        return self._rate

    def ready_in(self, now: float) -> float:
        """Give the seconds until the next one may be sent, 0 where it may be now."""
        return max(0.0, self._next - now)

    def sent(self, now: float) -> None:
        """Take up that one was sent."""
        self._sent.append(now)
        if self._rate is not None:
            is_late = self._next < now - _PACE_SLACK_SECONDS
            self._next = (now if is_late else self._next) + 1 / self._rate

    def throttled(self, now: float, pause_seconds: float, *, asked_seconds: float = 0.0) -> None:
        """Slow all down after a 429; those that come in one burst count as one.

        An API that asked for a pause of so many seconds is believed: after it, tries may follow each other at twice
        that distance, where one that says nothing meets fewer and fewer.
        """
        self._next = max(self._next, now + pause_seconds)
        if now < self._slowed:
            return
        self._slowed = now + max(1.0, pause_seconds)
        rate = self._rate if self._rate is not None else self._measured(now)
        floor = min(1.0, 0.5 / asked_seconds) if asked_seconds else 0.0
        self._rate = max(_PACE_FLOOR, floor, rate / 2)
        if self._cap is not None:
            self._rate = min(self._rate, self._cap)

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
        """Give the requests a second of the last while, which is shorter at the beginning."""
        recent = [moment for moment in self._sent if moment > now - _PACE_SECONDS]
        return len(recent) / max(1.0, now - recent[0]) if recent else 1.0
