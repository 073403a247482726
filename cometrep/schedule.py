"""When to look again: retry backoff and the polling schedule, as pure functions of time and history."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

SHORTEST_INTERVAL_SECONDS = 0.2  # at most 5 looks a second
LONGEST_INTERVAL_SECONDS = 10.0

_DENSE_UNTIL_SECONDS = 1.4
_STEADY_UNTIL_SECONDS = 60.0
_STEADY_INTERVAL_SECONDS = 0.5
_GROWTH = 1 / 120  # of the elapsed time, from the steady part on: 0.5 s at 1 min, 5 s at 10 min

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
