"""Count what a run of a batch comes to."""

from collections import Counter

from cometrep import errors, hints
from cometrep.batch.standings import State
from cometrep.events import BatchEnded, Tally

FAILURES_KEPT = 5


class Score:
    """What became of the items of a batch so far: each is counted once, by this run or as earlier ones left it."""

    def __init__(self) -> None:
        self.failed_now = 0  # items that came to no good end, for whatever reason, and are not left over
        self._ended_now = 0
        self._counts: Counter[str] = Counter()
        self._codes: Counter[int] = Counter()
        self._words: set[str] = set()  # of the errors' JSON form
        self._remedies: Counter[str] = Counter()  # of what is left
        self._refused = 0  # of what is left: those that the API would not show
        self._failures: list[str] = []  # the first ones
        self._further = 0

    @property
    def in_doubt(self) -> int:
        """How many items are in doubt, by this run or as earlier ones left them."""
        return self._counts["unknown"]

    def skip(self) -> None:
        """Count an item that an earlier run finished, or that is left alone as its paths exist."""
        self._counts["skipped"] += 1

    def pass_over(self, label: str, outcome: State, text: str, exit_code: int) -> None:
        """Count an item that an earlier run could not finish, and that this one leaves alone."""
        self._counts[outcome] += 1
        self._codes[exit_code] += 1
        self._words.add(errors.code_of(exit_code))  # as exact as the record is
        self._keep(f"{label}: {text} (in an earlier run)")

    def leave(self, outcome: State, exit_code: int, count: int) -> None:
        """Count items that earlier runs ended, and that this one did not come to."""
        if outcome is State.DONE:
            self._counts["skipped"] += count
        elif outcome in (State.FAILED, State.UNKNOWN):
            self._counts[outcome] += count
            self._codes[exit_code] += count
            self._words.add(errors.code_of(exit_code))

    def finish(self) -> None:
        """Count an item that this run finished."""
        self._counts["done"] += 1
        self._ended_now += 1
        self._codes[0] += 1

    def fail(
        self, label: str, outcome: State, failure: errors.CometrepError, *, is_left_over: bool = False
    ) -> None:
        """Count an item that this run could not finish; one `is_left_over` says nothing of those to come."""
        self._counts[outcome] += 1
        self.failed_now += not is_left_over
        self._ended_now += outcome in (State.FAILED, State.UNKNOWN)
        self._codes[failure.exit_code] += 1
        self._words.add(failure.code)
        if (remedy := remedy_of(failure)) and outcome not in (State.FAILED, State.UNKNOWN):
            self._remedies[remedy] += 1
        if outcome is State.RUNNING and failure.hint == hints.DOCTOR:
            self._refused += not isinstance(failure, errors.Temporary)
        self._keep(f"{label}: {failure.told}")

    def _keep(self, told: str) -> None:
        if len(self._failures) < FAILURES_KEPT:
            self._failures.append(told)
        else:
            self._further += 1

    def tally(self, total: int, *, running: int, saving: int, elapsed_seconds: float, is_stopping: bool) -> Tally:
        """Give how far the batch is."""
        return Tally(
            total=total,
            done=self._counts["done"],
            failed=self._counts["failed"],
            unknown=self.in_doubt,
            skipped=self._counts["skipped"],
            running=running,
            saving=saving,
            ended=self._ended_now,
            elapsed_seconds=elapsed_seconds,
            is_stopping=is_stopping,
        )

    def ended(self, tally: Tally, fatal: errors.CometrepError | None, *, is_cut_short: bool = False) -> BatchEnded:
        """Give how the run ended; `fatal` is what ended it early."""
        wanted = self._remedies
        # What is not sent yet gets it too, and nobody has said that its files may be replaced.
        is_for_all = len(wanted) == 1 and (wanted.total() == tally.left or "--overwrite" not in wanted)
        remedy = next(iter(wanted)) if is_for_all else ""
        failures = [*self._failures, *[f"and {self._further} more; --status shows them"] * bool(self._further)]
        word = next(iter(self._words)) if len(self._words) == 1 else ""
        is_refused = 0 < self._refused == tally.left
        return BatchEnded(tally, dict(self._codes), tuple(failures), fatal, remedy, word, is_cut_short, is_refused)


def remedy_of(failure: errors.CometrepError) -> str:
    """Give the option with which the same command saves what it could not; empty where none does."""
    remedies = {one.remedy for one in failure.parts}
    # In another folder all would be sent again.
    return remedies.pop() if len(remedies) == 1 and hints.OTHER_FOLDER not in remedies else ""
