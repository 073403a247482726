"""What a run of a batch does with an item, from where earlier runs left it."""

import pytest

from cometrep.fate import Asked, Fate
from cometrep.record import Standing, State

BY_STATE = {
    State.NEW: Fate.TO_SEND,
    State.RUNNING: Fate.TO_WAIT_FOR,
    State.UNSAVED: Fate.TO_SAVE,
    State.DONE: Fate.DONE_BEFORE,
    State.FAILED: Fate.FAILED_BEFORE,
    State.UNKNOWN: Fate.IN_DOUBT,
}


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize(
    ("asked", "sent_again"),
    [
        (Asked(), set()),
        (Asked(retries_failed=True), {State.FAILED}),
        (Asked(retries_unknown=True), {State.UNKNOWN}),
        (Asked(retries_failed=True, retries_unknown=True), {State.FAILED, State.UNKNOWN}),
    ],
    ids=["plain", "failed", "unknown", "both"],
)
def test_an_item_is_sent_again_only_where_asked(state: State, asked: Asked, sent_again: set[State]) -> None:
    """What may have been paid for is sent again by its own option alone."""
    fate = asked.fate(Standing(state))
    assert fate is (Fate.TO_SEND_AGAIN if state in sent_again else BY_STATE[state])
    assert fate.is_sending is (state is State.NEW or state in sent_again)


@pytest.mark.parametrize(
    "asked", [Asked(), Asked(retries_failed=True, retries_unknown=True)], ids=["plain", "both"]
)
def test_an_id_that_an_answer_broke_off_behind_is_looked_for_first(asked: Asked) -> None:
    """Whatever was asked: where the API knows it, it is paid for."""
    assert asked.fate(Standing(State.UNKNOWN, "id")) is Fate.TO_LOOK_FOR
