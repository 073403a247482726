"""Count what a run of a batch comes to, and say what is left to type."""

from collections import Counter

from cometrep import errors, hints
from cometrep.batch.command_line import adding, resuming
from cometrep.batch.standings import State
from cometrep.events import BatchEnded, Tally
from cometrep.text import format_count

FAILURES_KEPT = 5


class Score:
    """What became of the items of a batch so far: each is counted once, by this run or as earlier ones left it."""

    def __init__(self) -> None:
        self.failed_now = 0  # items that came to no good end, for whatever reason, and are not left over
        self._ended_now = 0
        self._counts: Counter[str] = Counter()
        self._codes: Counter[int] = Counter()
        self._remedies: Counter[str] = Counter()  # of what is left
        self._failures: list[str] = []  # the first ones
        self._further = 0

    def skip(self) -> None:
        """Count an item that an earlier run finished, or that is left alone as its paths exist."""
        self._counts["skipped"] += 1

    def pass_over(self, label: str, outcome: State, text: str, exit_code: int) -> None:
        """Count an item that an earlier run could not finish, and that this one leaves alone."""
        self._counts[outcome] += 1
        self._codes[exit_code] += 1
        self._keep(f"{label}: {text} (in an earlier run)")

    def finish(self) -> None:
        """Count an item that this run finished."""
        self._counts["done"] += 1
        self._ended_now += 1
        self._codes[0] += 1

    def fail(
        self, label: str, outcome: State, failure: errors.CometrepError, *, is_left_over: bool = False
    ) -> None:
        """Count an item that this run could not finish; one `is_left_over` whose prediction an earlier run made."""
        self._counts[outcome] += 1
        self.failed_now += not is_left_over
        self._ended_now += outcome in (State.FAILED, State.UNKNOWN)
        self.leave(label, failure)

    def leave(self, label: str, failure: errors.CometrepError) -> None:
        """Take up why an item is left as it is, running, for the next run."""
        self._codes[failure.exit_code] += 1
        self._remedies[remedy_of(failure)] += 1
        self._keep(f"{label}: {failure.told}")

    def _keep(self, told: str) -> None:
        if len(self._failures) < FAILURES_KEPT:
            self._failures.append(told)
        else:
            self._further += 1

    def tally(self, total: int, *, running: int, saving: int, elapsed_seconds: float, is_stopping: bool) -> Tally:
        """Give how far the batch is."""
        return Tally(
            "",
            total=total,
            done=self._counts["done"],
            failed=self._counts["failed"],
            unknown=self._counts["unknown"],
            skipped=self._counts["skipped"],
            running=running,
            saving=saving,
            ended=self._ended_now,
            elapsed_seconds=elapsed_seconds,
            is_stopping=is_stopping,
        )

    def ended(self, tally: Tally, fatal: errors.CometrepError | None) -> BatchEnded:
        """Give how the run ended; `fatal` is what ended it early."""
        wanted = +self._remedies
        # What is not sent yet gets it too, and nobody has said that its files may be replaced.
        is_for_all = len(wanted) == 1 and (wanted.total() == tally.left or "--overwrite" not in wanted)
        remedy = next(iter(wanted)) if is_for_all else ""
        failures = [*self._failures, *[f"and {self._further} more; --status shows them"] * bool(self._further)]
        return BatchEnded(tally, dict(self._codes), tuple(failures), fatal, remedy)


def remedy_of(failure: errors.CometrepError) -> str:
    """Give the option with which the same command saves what it could not; empty where none does."""
    remedies = {one.remedy for one in failure.parts}
    # In another folder all would be sent again.
    return remedies.pop() if len(remedies) == 1 and hints.OTHER_FOLDER not in remedies else ""


def next_commands(ended: BatchEnded, command: str) -> list[tuple[str, str]]:
    """Give what to type for the items that are not done, behind which these are, from the command that ran them."""
    tally, again = ended.tally, resuming(command)
    counts = (
        (tally.left, "left", ended.remedy),
        (tally.failed, "failed", "--retry-failed"),
        (tally.unknown, "in doubt, and perhaps paid for", "--retry-unknown"),
    )
    return [(f"{count} {what}", adding(option, again)) for count, what, option in counts if count]


def commands_beside(hint: str, ended: BatchEnded, command: str) -> list[str]:
    """Give what to type as `next_commands` does, nothing where the hint of the run's error says it all."""
    commands = next_commands(ended, command)
    is_said = len(commands) == 1 and (not ended.fatal or hint.endswith(commands[0][1]))
    return [] if is_said else [f"{what}: {typed}" for what, typed in commands]


def tell_stop(stop: errors.Stopped, in_doubt: int, command: str) -> None:
    """Say in what ended a run at once how many creates had no answer, and how `command`, which ran it, goes on."""
    stop.hint = resuming(command)
    if in_doubt:
        stop.message += f"; {format_count(in_doubt, 'create')} had no answer yet and may be paid for"
        stop.message += " (--retry-unknown sends again)"
    same = "the same command" if stop.hint == command else "the command of the hint"
    stop.message += f"; {same} goes on from here"


def outcome(ended: BatchEnded, command: str, *, was_stopped: bool = False) -> errors.Failure | None:
    """Give the error that a run of a batch comes to, None where all is done; `command` is what ran it.

    Where it `was_stopped` after what was running, that is the error, as long as anything is left.
    """
    failure = _failure(ended, command)
    if failure is None or not (was_stopped and ended.tally.left):
        return failure
    stopped = errors.Stopped("Ctrl-C", 130)
    stopped.message += f"; {failure.message}"
    stopped.hint = resuming(command)
    return stopped


def _failure(ended: BatchEnded, command: str) -> errors.CometrepError | None:
    tally = ended.tally
    if ended.fatal:
        ended.fatal.message += f"; {tally.left} of {format_count(tally.total, 'item')} left"
        if ended.fatal.code == "api_key_refused":
            ended.fatal.hint += f" && {resuming(command)}"
        before, is_again, _ = ended.fatal.hint.partition(hints.RUN_AGAIN)
        if is_again or not before:
            ended.fatal.hint = before + adding(ended.remedy, resuming(command))
        return ended.fatal
    counts = (
        (tally.failed, "failed"),
        (tally.unknown, "in doubt, and perhaps paid for (--retry-unknown sends again)"),
        (tally.left, "left"),
    )
    words = [f"{count} {what}" for count, what in counts if count]
    if not words:
        return None
    alike = [code for code, count in ended.codes.items() if count == tally.total]
    if set(ended.codes) == {errors.CreateUnknown.exit_code} and tally.total == tally.unknown + tally.left:
        # The rest was not sent for that.
        alike = [errors.CreateUnknown.exit_code]
    exit_code = alike[0] if alike else errors.Partial.exit_code
    # What is in doubt is to be looked at before more is sent.
    is_doubt_alone = not (tally.failed or tally.left) or exit_code == errors.CreateUnknown.exit_code
    failure = errors.CometrepError(
        f"of {format_count(tally.total, 'item')}: {', '.join(words)}",
        hint=hints.LIST_UNKNOWN if is_doubt_alone else next_commands(ended, command)[0][1],
        code=errors.code_of(exit_code),
    )
    failure.exit_code = exit_code
    return failure
