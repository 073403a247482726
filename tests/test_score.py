"""What a run of a batch comes to."""

import pytest

from cometrep import errors
from cometrep.batch.score import FAILURES_KEPT, Score
from cometrep.batch.standings import State


def test_what_a_run_ended_is_what_it_did_itself() -> None:
    """Of that is said how many items a second there were: not of what earlier runs did, or the next one will."""
    score = Score()
    score.finish()
    score.fail("a", State.FAILED, errors.PredictionFailed("no"))
    score.fail("b", State.UNKNOWN, errors.CreateUnknown("no answer"))
    score.fail("c", State.UNSAVED, errors.Temporary("broke off"))
    score.fail("d", State.RUNNING, errors.StillRunning("late"), is_left_over=True)
    score.skip()
    score.pass_over("e", State.FAILED, "no", 4)
    tally = score.tally(9, running=0, saving=0, elapsed_seconds=2.0, is_stopping=False)
    assert (tally.ended, tally.items_a_second) == (3, 1.5)
    assert (tally.done, tally.failed, tally.unknown, tally.skipped, tally.left) == (1, 2, 1, 1, 4)


def test_only_the_first_failures_are_kept() -> None:
    """Memory does not grow with the failures."""
    score = Score()
    for number in range(FAILURES_KEPT + 3):
        score.fail(f"item {number}", State.UNKNOWN, errors.CreateUnknown("no answer"))
    score.fail("left over", State.UNSAVED, errors.OutputMissing("gone"), is_left_over=True)
    tally = score.tally(20, running=1, saving=2, elapsed_seconds=2.0, is_stopping=True)
    ended = score.ended(tally, None)
    assert len(ended.first_failures) == FAILURES_KEPT + 1
    assert ended.first_failures[-1] == "and 4 more; --status shows them"
    assert (tally.unknown, tally.ended, tally.items_a_second, score.failed_now) == (8, 8, 4.0, 8)


@pytest.mark.parametrize("option", ["--max-size 3G", "--overwrite"])
def test_what_failed_or_runs_takes_no_remedy_from_what_is_left(option: str) -> None:
    """What it mends is mended by the same command; but none may replace files of which nobody was told."""
    score = Score()
    score.fail("a", State.UNSAVED, errors.LocalFileError("too large, or in the way", remedy=option))
    score.fail("b", State.FAILED, errors.PredictionFailed("no"))
    score.fail("c", State.UNKNOWN, errors.CreateUnknown("no answer"))
    tally = score.tally(3, running=0, saving=0, elapsed_seconds=1.0, is_stopping=False)
    assert score.ended(tally, None).remedy == option
    score.fail("d", State.RUNNING, errors.StillRunning("late"))
    tally = score.tally(4, running=0, saving=0, elapsed_seconds=1.0, is_stopping=False)
    assert score.ended(tally, None).remedy == ("" if option == "--overwrite" else option)


@pytest.mark.parametrize(
    ("remedies", "option"),
    [
        (["-o '{id}-{index}.{ext}'"], "-o '{id}-{index}.{ext}'"),
        (["--overwrite", "--overwrite"], "--overwrite"),
        (["--overwrite", "--max-size 3G"], ""),
        (["-d DIR"], ""),
    ],
)
def test_what_saves_all_files_of_an_item_is_the_remedy(remedies: list[str], option: str) -> None:
    """Also where it has several; but not another folder, where the batch would begin anew, nor stdout."""
    score = Score()
    failures = [errors.LocalFileError("in the way", remedy=remedy) for remedy in remedies]
    score.fail("a", State.UNSAVED, errors.Partial(failures, len(failures)))
    tally = score.tally(1, running=0, saving=0, elapsed_seconds=1.0, is_stopping=False)
    assert score.ended(tally, None).remedy == option
