"""How a run of a batch ends, and what is left to type."""

import pytest

from cometrep import errors, hints
from cometrep.batch.ending import commands_beside, next_commands, outcome, tell_stop
from cometrep.batch.score import Score
from cometrep.batch.standings import State

COMMAND = "cometrep batch lines.jsonl"
GOING_ON = f"cometrep doctor && {COMMAND}"


def came_to(score: Score, total: int, fatal: errors.CometrepError | None = None) -> errors.Failure | None:
    """Give the error that a score comes to."""
    tally = score.tally(total, running=0, saving=0, elapsed_seconds=1.0, is_stopping=False)
    return outcome(score.ended(tally, fatal), COMMAND)


def test_all_done_is_no_error() -> None:
    """Items done now and before are done."""
    score = Score()
    score.finish()
    score.skip()
    assert came_to(score, 2) is None


def test_items_that_failed_alike_give_their_code() -> None:
    """The exit code is the common one where all items have it, by this run or an earlier one, else 9."""
    score = Score()
    score.fail("a", State.FAILED, errors.PredictionFailed("no"))
    score.pass_over("b", State.FAILED, "no", errors.PredictionFailed.exit_code)
    alike = came_to(score, 2)
    assert alike
    assert (alike.exit_code, alike.hint) == (4, f"{COMMAND} --retry-failed")
    score.finish()
    mixed = came_to(score, 3)
    assert mixed
    assert (mixed.exit_code, mixed.code) == (9, "partial")


@pytest.mark.parametrize(
    ("words", "word"),
    [
        (["model_not_found", "model_not_found"], "model_not_found"),
        (["model_not_found", "no_credit"], "bad_request"),
    ],
)
def test_items_that_failed_alike_give_their_word(words: list[str], word: str) -> None:
    """Where each has one of its own it is the general one of their exit code, as for several predictions."""
    score = Score()
    for name in words:
        score.fail(name, State.FAILED, errors.Refused("no", code=name))
    alike = came_to(score, 2)
    assert alike
    assert (alike.exit_code, alike.code) == (8, word)
    score.pass_over("earlier", State.FAILED, "no", errors.Refused.exit_code)  # for what reason is not known
    with_earlier = came_to(score, 3)
    assert with_earlier
    assert (with_earlier.exit_code, with_earlier.code) == (8, "bad_request")


def test_a_doubt_beside_another_fault_gives_the_code_of_a_part() -> None:
    """Items not sent for a doubt have no code, and leave it its own; an item that could not be saved has one."""
    score = Score()
    score.fail("a", State.UNKNOWN, errors.CreateUnknown("no answer"))
    unsent = came_to(score, 2)
    assert unsent
    assert (unsent.exit_code, unsent.code) == (10, "create_unknown")
    score.fail("b", State.UNSAVED, errors.Temporary("broke off"))
    mixed = came_to(score, 2)
    assert mixed
    assert (mixed.exit_code, mixed.code) == (9, "partial")


def test_what_is_in_doubt_is_to_be_looked_at_first() -> None:
    """Also beside items that are done; beside one that failed or is left the batch goes on with those."""
    score = Score()
    score.finish()
    score.fail("a", State.UNKNOWN, errors.CreateUnknown("no answer"))
    doubt = came_to(score, 2)
    assert doubt
    assert (doubt.exit_code, doubt.hint) == (9, hints.LIST_UNKNOWN)
    left = came_to(score, 3)
    assert left
    assert (left.exit_code, left.hint) == (9, COMMAND)


def test_an_item_left_running_is_left() -> None:
    """What still runs is no failure: the same command goes on with it."""
    score = Score()
    score.finish()
    score.fail("b", State.RUNNING, errors.StillRunning("late"))
    failure = came_to(score, 2)
    assert failure
    assert (failure.exit_code, failure.hint, failure.message) == (9, COMMAND, "of 2 items: 1 left")


def test_what_ended_a_batch_early_is_its_error() -> None:
    """The refusal that stopped it is told with how many items are left."""
    score = Score()
    score.finish()
    failure = came_to(score, 3, errors.ConfigError("the key is refused"))
    assert failure
    assert (failure.exit_code, failure.message) == (3, "the key is refused; 2 of 3 items left")


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (COMMAND, f"{COMMAND} --retry-failed"),
        (f"{COMMAND} --retry-failed", f"{COMMAND} --retry-failed"),
    ],
)
def test_the_commands_for_what_is_left(command: str, expected: str) -> None:
    """Each kind of item has its command; an option that is there is not given twice."""
    score = Score()
    score.fail("a", State.FAILED, errors.PredictionFailed("no"))
    score.fail("b", State.UNKNOWN, errors.CreateUnknown("no answer"))
    tally = score.tally(3, running=0, saving=0, elapsed_seconds=0.0, is_stopping=False)
    left, failed, unknown = map(": ".join, next_commands(score.ended(tally, None), command))
    assert left == f"1 left: {COMMAND}"
    assert failed == f"1 failed: {expected}"
    assert unknown == f"1 in doubt, and perhaps paid for: {COMMAND} --retry-unknown"


def test_the_option_that_finishes_all_that_is_left_is_in_the_hint() -> None:
    """Where every item left is stopped by the same thing, the command that mends it is given."""
    score = Score()
    score.fail("a", State.UNSAVED, errors.LocalFileError("a.png exists and differs", remedy="--overwrite"))
    failure = came_to(score, 1)
    assert failure
    assert (failure.exit_code, failure.hint) == (12, f"{COMMAND} --overwrite")
    mixed = came_to(score, 2)
    assert mixed
    assert mixed.hint == COMMAND


def test_what_ends_a_batch_and_knows_no_way_on_is_resumed() -> None:
    """A full disk asks for room, then for the same command."""
    failure = came_to(Score(), 2, errors.LocalFileError("no space", code="disk_full"))
    assert failure
    assert failure.hint == COMMAND


@pytest.mark.parametrize(
    ("hint", "expected"),
    [
        ("top up the account, then run the same command again", f"top up the account, then {COMMAND}"),
        ("run the same command again in a while", COMMAND),
        ("cometrep doctor", "cometrep doctor"),
    ],
)
def test_what_ends_a_batch_early_is_told_with_the_command_that_goes_on(hint: str, expected: str) -> None:
    """Which is not that with an option which sends failed items again; a hint of another kind stays."""
    score = Score()
    tally = score.tally(2, running=0, saving=0, elapsed_seconds=1.0, is_stopping=True)
    failure = outcome(score.ended(tally, errors.Refused("no", hint=hint)), f"{COMMAND} --retry-failed")
    assert failure
    assert failure.hint == expected
    told = "no; 2 of 2 items left"
    if COMMAND in expected:  # which leaves the option out
        told += "; what was to be sent again needs --retry-failed once more"
    assert failure.message == told


def test_the_one_command_left_is_told_where_the_hint_is_another() -> None:
    """What stopped a batch has a hint of its own, which says nothing of the item that failed."""
    score = Score()
    score.fail("a", State.FAILED, errors.Refused("a page"))
    tally = score.tally(1, running=0, saving=0, elapsed_seconds=1.0, is_stopping=True)
    alone, stopped = score.ended(tally, None), score.ended(tally, errors.Refused("a page", hint="cometrep doctor"))
    (again,) = map(": ".join, next_commands(alone, COMMAND))
    assert again == f"1 failed: {COMMAND} --retry-failed"
    assert commands_beside(f"{COMMAND} --retry-failed", alone, COMMAND) == []
    assert commands_beside("cometrep doctor", stopped, COMMAND) == [again]
    left = score.ended(tally._replace(total=2, failed=0, done=1), errors.Refused("no"))
    assert commands_beside(f"top up the account, then {COMMAND}", left, COMMAND) == []


def test_a_stop_is_the_error_of_a_batch_that_it_left_unfinished() -> None:
    """After what was running; where nothing is left, it came to its own end."""
    score = Score()
    score.finish()
    tally = score.tally(2, running=0, saving=0, elapsed_seconds=1.0, is_stopping=True)
    stopped = outcome(score.ended(tally, None), f"{COMMAND} --retry-failed", was_stopped=True)
    assert isinstance(stopped, errors.Stopped)
    assert (stopped.exit_code, stopped.hint) == (130, COMMAND)
    told = "stopped by Ctrl-C; of 2 items: 1 left; what was to be sent again needs --retry-failed once more"
    assert stopped.message == told
    score.finish()
    tally = score.tally(2, running=0, saving=0, elapsed_seconds=1.0, is_stopping=True)
    assert outcome(score.ended(tally, None), COMMAND, was_stopped=True) is None


@pytest.mark.parametrize(("left", "option"), [(0, " --retry-failed"), (1, "")])
def test_a_retry_that_is_stopped_goes_on_with_what_failed(left: int, option: str) -> None:
    """Where nothing else is left: the plain command would send nothing."""
    score = Score()
    score.finish()
    score.leave(State.FAILED, 4, 2)
    tally = score.tally(3 + left, running=0, saving=0, elapsed_seconds=1.0, is_stopping=True)
    ended = score.ended(tally, None, is_cut_short=True)
    stop = outcome(ended, f"{COMMAND} --retry-failed", was_stopped=True)
    assert stop
    assert (stop.exit_code, stop.hint) == (130, COMMAND + option)


@pytest.mark.parametrize(
    ("in_doubt", "options", "told"),
    [
        (0, "", "stopped by Ctrl-C; the same command goes on from here"),
        (
            2,
            " --retry-unknown",
            "stopped by Ctrl-C; 2 creates had no clear answer and may be paid for (--retry-unknown sends again);"
            " the command of the hint goes on from here, and sends nothing a second time; what was to be sent again"
            " needs --retry-unknown once more",
        ),
    ],
    ids=["none in doubt", "two in doubt"],
)
def test_a_stop_at_once_tells_what_had_no_answer(in_doubt: int, options: str, told: str) -> None:
    """And the command that goes on, which sends nothing again that may be paid for."""
    stop = errors.Stopped("Ctrl-C", 130)
    tell_stop(stop, in_doubt, COMMAND + options)
    assert (stop.message, stop.hint) == (told, COMMAND)


@pytest.mark.parametrize(
    ("failures", "hint"),
    [
        ([errors.ConfigError("403", hint=hints.DOCTOR)], GOING_ON),
        ([errors.ConfigError("403", hint=hints.DOCTOR), errors.Refused("422", hint=hints.DOCTOR)], GOING_ON),
        ([errors.ConfigError("403", hint=hints.DOCTOR), errors.StillRunning("late")], COMMAND),
        ([errors.Temporary("unreachable", hint=hints.DOCTOR)], COMMAND),
        ([errors.Refused("402", hint="top up the account")], COMMAND),
    ],
    ids=["403", "403 and 422", "403 and late", "unreachable", "402"],
)
def test_what_is_refused_each_time_is_not_merely_asked_for_again(
    failures: list[errors.CometrepError], hint: str
) -> None:
    """Where that is all that is left: what is wrong is to be found first, as for a single prediction."""
    score = Score()
    for failure in failures:
        score.fail("a", State.RUNNING, failure)
    told = came_to(score, len(failures))
    assert told
    assert told.hint == hint
