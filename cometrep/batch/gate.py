"""Decide when a batch may send its next create, and when it sends no more.

Everything here is a function of time and of what came back: nothing is sent, read or waited for.
"""

from collections import Counter
from collections.abc import Callable
from enum import StrEnum
from random import random as real_random

from cometrep import errors
from cometrep.pace import Pace, asked_of_all
from cometrep.schedule import backoff_seconds
from cometrep.watch import LOOKS_A_SECOND

IN_A_ROW = 8  # items for which one thing went wrong, each perhaps paid for, after which no more are sent
THROTTLED_BUDGETS = 10  # retry budgets of 429s without a single accepted create, after which they end the batch


class Streak(StrEnum):
    """What goes wrong for one item after the other where it is not the items' own fault."""

    NO_ANSWER = "creates in a row had no clear answer"
    NOT_SEEN = "items in a row could not be seen"
    NOT_SAVED = "items in a row could not be saved"


class Gate:
    """What lets a batch's creates and looks through, each at its pace, until it closes for creates.

    Times are seconds of one monotonic clock.
    """

    def __init__(
        self,
        creates: Pace,
        *,
        retry_budget_seconds: float,
        random: Callable[[], float] = real_random,
    ) -> None:
        self.creates = creates
        self.looks = Pace(LOOKS_A_SECOND)
        self.is_closed = False
        self.fatal: errors.CometrepError | None = None
        self._retry_budget_seconds = retry_budget_seconds
        self._random = random
        self._attempts = 0  # bursts of creates in a row that found no connection
        self._paused_until = 0.0  # after the last one
        self._failing_since = 0.0
        self._throttled_since: float | None = None  # that no create was accepted, from the first 429 on
        self._streaks: Counter[Streak] = Counter()  # of items in a row

    def close(self) -> None:
        """Let no more creates through; may be called from a signal handler."""
        self.is_closed = True

    def give_up(self, failure: errors.CometrepError) -> None:
        """Close for a failure; the first one is the batch's own."""
        self.fatal = self.fatal or failure
        self.close()

    def accepted(self, now: float) -> None:
        """Take up that a create was accepted."""
        self.reached()
        self._throttled_since = None
        self.creates.accepted(now)
        self.end_streak(Streak.NO_ANSWER)

    def reached(self) -> None:
        """Take up that the API answered a create, whatever it said."""
        self._attempts = 0

    def try_again(self, failure: errors.CometrepError, now: float) -> bool:
        """Take up that a create was not accepted for now, and slow down; say whether it is to be sent again.

        That is not so where creates have failed for so long.
        """
        asked = failure.retry_after_seconds or 0.0
        if failure.code == "rate_limited":
            self.reached()
            if self._throttled_since is None:
                self._throttled_since = now
            if now + asked > self._throttled_since + THROTTLED_BUDGETS * self._retry_budget_seconds:
                return False
        else:
            is_of_burst = self._attempts > 0 and now < self._paused_until  # it was sent before that pause
            if self._attempts == 0:
                self._failing_since = now
            if now > self._failing_since + self._retry_budget_seconds:
                return False
            if is_of_burst:
                return True
            self._attempts += 1
        pause = max(backoff_seconds(max(1, self._attempts), self._random()), asked)
        self._paused_until = now + pause
        self._slow_down(now, pause, asked)
        return True

    def looked(self, failure: errors.CometrepError | None, now: float) -> None:
        """Take up how a look went: the API's limit is one for looks and creates."""
        asked = asked_of_all(failure, self._retry_budget_seconds)
        if asked is None:
            self.looks.accepted(now)
        else:
            self._slow_down(now, asked, asked)

    def _slow_down(self, now: float, pause_seconds: float, asked_seconds: float) -> None:
        for pace in (self.creates, self.looks):
            pace.throttled(now, pause_seconds, asked_seconds=asked_seconds)

    def count(self, streak: Streak, failure: errors.CometrepError, *, has_more: bool) -> None:
        """Count one more item in a row for which this went wrong; give up after too many, where there are more."""
        self._streaks[streak] += 1
        if self._streaks[streak] >= IN_A_ROW and has_more:
            told = f"{self._streaks[streak]} {streak}, and no more are sent; the last: {failure.told}"
            cause = failure.parts[-1]
            self.give_up(cause.told_as(type(cause), told, hint=failure.hint if streak is Streak.NO_ANSWER else ""))

    def end_streak(self, streak: Streak) -> None:
        """Take up that it went well for an item."""
        self._streaks[streak] = 0
