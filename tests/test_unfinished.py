"""What a command leaves that is stopped: which predictions, and what it says of them."""

import pytest

from cometrep import errors, hints
from cometrep.console.unfinished import Unfinished
from cometrep.events import Created, Saved, Saving, Seen
from cometrep.prediction import Prediction, SavedFile


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("cometrep wait", "left running: a; ended, and not told yet: b"),
        ("cometrep download --wait", "left running: a; not saved yet: b"),
    ],
)
def test_what_a_stopped_command_leaves_is_told_in_its_own_words(command: str, told: str) -> None:
    """Of those that have ended a wait saves nothing: their lines wait for their turn."""
    unfinished = Unfinished(["a", "b"])
    unfinished.take(Seen(Prediction("a", "processing"), 1.0))
    unfinished.take(Seen(Prediction("b", "succeeded"), 1.0))
    stop = errors.Stopped("Ctrl-C", 130)
    unfinished.tell(stop, hints.Command(command))
    assert stop.message == f"stopped by Ctrl-C; {told}"
    assert (stop.prediction_id, stop.hint) == ("a", f"{command} a b")


def test_what_is_done_with_is_not_taken_up_again() -> None:
    """Only what was made or named, and is not told yet, stands in the command that goes on."""
    unfinished = Unfinished(["a", "b"])
    for event in (
        Created(Prediction("c", "starting")),
        Saving("c", 0, "c.webp", 1, 2),
        Seen(Prediction("x", "processing"), 1.0),
    ):
        unfinished.take(event)
    unfinished.leave("a")
    unfinished.leave("x")
    stop = errors.Stopped("Ctrl-C", 130)
    unfinished.tell(stop, hints.Command("cometrep download --wait"))
    assert stop.message == "stopped by Ctrl-C; left running: b; not saved yet: c"
    assert (stop.prediction_id, stop.hint) == ("b", "cometrep download --wait b c")


def test_a_create_that_was_answered_with_the_end_is_not_said_to_run() -> None:
    """It has ended, and nothing of it is saved."""
    unfinished = Unfinished([])
    unfinished.take(Created(Prediction("a", "succeeded")))
    stop = errors.Stopped("Ctrl-C", 130)
    unfinished.tell(stop, hints.Command("cometrep download --wait"))
    assert stop.message == "stopped by Ctrl-C; not saved yet: a"


def test_what_was_saved_is_not_said_to_be_unsaved() -> None:
    """Its path may not be told yet, or others of its files are not saved: the command that goes on does both."""
    unfinished = Unfinished(["a"])
    for event in (
        Seen(Prediction("a", "succeeded"), 1.0),
        Saved("a", SavedFile("a-0.webp", 0, 3000, "00"), "saved"),
        Saving("a", 1, "a-1.webp", 1, 2),
    ):
        unfinished.take(event)
    stop = errors.Stopped("SIGTERM", 143)
    unfinished.tell(stop, hints.Command("cometrep download --wait"))
    assert stop.message == "stopped by SIGTERM; not all saved or told yet: a"
    assert stop.hint == "cometrep download --wait a"


@pytest.mark.parametrize(
    ("id", "told", "hint"),
    [(None, "", ""), ("made1", "; left running: made1", "cometrep wait made1")],
    ids=["nothing", "an id that came as it was stopped"],
)
def test_a_command_that_leaves_nothing_has_nothing_to_go_on_with(id: str | None, told: str, hint: str) -> None:
    """But for the prediction that a create under way came to."""
    stop = errors.Stopped("Ctrl-C", 130)
    stop.prediction_id = id
    Unfinished([]).tell(stop, hints.WAIT_AGAIN)
    assert (stop.message, stop.prediction_id, stop.hint) == (f"stopped by Ctrl-C{told}", id, hint)


def test_a_prediction_that_is_in_doubt_is_not_said_to_run() -> None:
    """The use case has said what is known of it, and how to go on."""
    stop = errors.Stopped("Ctrl-C", 130)
    stop.prediction_id, stop.hint = "made1", "cometrep wait made1"
    Unfinished([]).tell(stop, hints.WAIT_AGAIN)
    assert (stop.message, stop.hint) == ("stopped by Ctrl-C", "cometrep wait made1")
