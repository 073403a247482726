"""What a command leaves that is stopped: which predictions, and what it says of them."""

import pytest

from cometrep import errors
from cometrep.console.unfinished import Unfinished
from cometrep.events import Seen
from cometrep.prediction import Prediction


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
    unfinished.tell(stop, errors.Resume(command))
    assert stop.message == f"stopped by Ctrl-C; {told}"
    assert (stop.prediction_id, stop.hint) == ("a", f"{command} a b")
