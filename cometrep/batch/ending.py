"""Say how a run of a batch ended, and what to type for what is left."""

from cometrep import errors, hints
from cometrep.batch.command_line import SENDING_AGAIN, adding, resuming
from cometrep.events import BatchEnded
from cometrep.text import format_count


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
    """Say in what ended a run at once how many creates are in doubt, and how `command`, which ran it, goes on."""
    stop.hint = resuming(command)
    stop.message += told_of_doubts(in_doubt)
    if stop.hint == command:
        stop.message += "; the same command goes on from here"
    else:
        stop.message += "; the command of the hint goes on from here, and sends nothing a second time"
        stop.message += _told_of_retries(stop.hint, command)


def _told_of_retries(hint: str, command: str) -> str:
    """Say which options of a command its hint leaves out, lest it send an item twice; empty for none."""
    left_out = [option for option in SENDING_AGAIN if option in hints.parted(command) and option not in hint]
    return f"; what was to be sent again needs {' '.join(left_out)} once more" if left_out else ""


def told_of_doubts(in_doubt: int) -> str:
    """Say behind what ended a run how many creates are in doubt; empty for none."""
    told = f"; {format_count(in_doubt, 'create')} had no clear answer and may be paid for"
    return f"{told} (--retry-unknown sends again)" if in_doubt else ""


def outcome(ended: BatchEnded, command: str, *, was_stopped: bool = False) -> errors.Failure | None:
    """Give the error that a run of a batch comes to, None where all is done; `command` is what ran it.

    Where it `was_stopped` after what was running, that is the error, as long as anything is left.
    """
    failure = _failure(ended, command)
    if failure is None or not (was_stopped and (ended.tally.left or ended.is_cut_short)):
        return failure
    stopped = errors.Stopped("Ctrl-C", 130)
    stopped.message += f"; {failure.message}"
    stopped.hint = _going_on(ended, command)
    stopped.message += _told_of_retries(stopped.hint, command)
    return stopped


def _going_on(ended: BatchEnded, command: str) -> str:
    """Give the command that goes on with what is left or, where all of that has failed, sends it again."""
    tally = ended.tally
    option = ended.remedy if tally.left or not tally.failed else "--retry-failed"
    return adding(option, resuming(command))


def _failure(ended: BatchEnded, command: str) -> errors.CometrepError | None:
    tally = ended.tally
    if ended.fatal:
        if tally.left:
            ended.fatal.message += f"; {tally.left} of {format_count(tally.total, 'item')} left"
        going_on = _going_on(ended, command)
        if ended.fatal.code == "api_key_refused" and ended.fatal.hint:
            ended.fatal.hint += f" && {going_on}"
        before, is_again, _ = ended.fatal.hint.partition(hints.RUN_AGAIN)
        if is_again or not before:
            ended.fatal.hint = before + going_on
        if ended.fatal.hint.endswith(going_on):
            ended.fatal.message += _told_of_retries(going_on, command)
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
    hint = hints.LIST_UNKNOWN if is_doubt_alone else next_commands(ended, command)[0][1]
    if ended.is_refused and not is_doubt_alone:  # alone it would be refused once more
        hint = f"{hints.DOCTOR} && {hint}"
    failure = errors.CometrepError(
        f"of {format_count(tally.total, 'item')}: {', '.join(words)}",
        hint=hint,
        code=ended.word if alike and ended.word else errors.code_of(exit_code),
    )
    failure.exit_code = exit_code
    return failure
