"""What a run of a batch does with an item, from where earlier runs left it."""

import time
from contextlib import closing
from pathlib import Path

import pytest

from cometrep import errors
from cometrep.batch.fate import Asked, Fate, changed, decide, known_by_ledger, settled
from cometrep.batch.items import Item, digest_of
from cometrep.batch.record import Record
from cometrep.batch.standings import Standing, State
from cometrep.ledger import Ledger
from cometrep.prediction import Prediction

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


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (None, Standing(State.UNKNOWN)),
        (errors.CreateUnknown("no answer"), Standing(State.UNKNOWN)),
        (errors.CreateUnknown("it broke off", prediction_id="perhaps"), Standing(State.UNKNOWN)),
        (Prediction("id", "starting"), Standing(State.RUNNING, "id")),
        (errors.Refused("HTTP 400"), Standing(State.FAILED, error="HTTP 400", exit_code=8)),
        (errors.Temporary("HTTP 429"), Standing(State.FAILED, error="HTTP 429", exit_code=8)),
    ],
    ids=["nothing", "a doubt", "an id that is not sure", "a prediction", "a refusal", "a 429"],
)
def test_an_item_in_doubt_stands_where_the_ledger_has_its_create(
    answer: Prediction | errors.CometrepError | None, expected: Standing, tmp_path: Path
) -> None:
    """As far as that is the very create which the record speaks of; it is in doubt where both say so."""
    ledger = Ledger(tmp_path / "ledger", base_url="https://x.test", is_sandbox=False)
    item = Item(1, "key", "a/b", {"prompt": "cat"}, "digest")
    number = ledger.begin(item.model, item.values)
    if isinstance(answer, Prediction):
        ledger.accept(number, answer)
    elif isinstance(answer, errors.CreateUnknown):
        ledger.doubt(number, answer)
    elif answer:
        ledger.refuse(number, answer)
    standing = Standing(State.UNKNOWN, entry=number, changed=time.time())
    known = known_by_ledger(item, standing, ledger)
    assert known._replace(entry=0, changed=0.0) == expected
    for other in (standing._replace(entry=number + 1), standing._replace(changed=1.0), Standing(State.FAILED)):
        assert known_by_ledger(item, other, ledger) is other
    for another in (item._replace(values={}), item._replace(model="a/c")):
        assert known_by_ledger(another, standing, ledger) is standing
    ledger.close()


@pytest.mark.parametrize(
    "sent", [{"prompt": "cat"}, {"prompt": "cat", "image": "data:image/png;base64,iVBORw0KGgo="}]
)
def test_an_item_in_doubt_whose_line_was_edited_has_what_was_sent(sent: dict[str, str], tmp_path: Path) -> None:
    """The ledger has the id of a prediction that is paid for, whatever the line says now."""
    ledger = Ledger(tmp_path / "ledger", base_url="https://x.test", is_sandbox=False)
    number = ledger.begin("a/b", sent)
    ledger.accept(number, Prediction("id", "starting"))
    standing = Standing(State.UNKNOWN, entry=number, changed=time.time(), digest=digest_of("a/b", sent))
    edited = Item(1, "key", "a/c", {"prompt": "dog"}, "other")
    assert known_by_ledger(edited, standing, ledger).id == "id"
    assert known_by_ledger(edited, standing._replace(digest="else"), ledger).state is State.UNKNOWN
    ledger.close()


@pytest.mark.parametrize("state", State)
def test_an_id_that_another_item_had_first_leaves_one_in_doubt(state: State, tmp_path: Path) -> None:
    """Where its picture is to be had yet: nobody knows whose it is."""
    ledger = Ledger(tmp_path / "ledger", base_url="https://x.test", is_sandbox=False)
    record = Record(tmp_path)
    first, second = (Item(number, f"k{number}", "a/b", {}, "digest") for number in (1, 2))
    standing = Standing(state, "id", entry=7)
    assert settled(first, Standing(State.RUNNING, "id"), record, ledger).state is State.RUNNING
    in_doubt = standing._replace(state=State.UNKNOWN, id="", error="the API gave it the id of another item, id")
    is_open = state in (State.RUNNING, State.UNSAVED, State.UNKNOWN)
    assert settled(second, standing, record, ledger) == (in_doubt if is_open else standing)
    record.close()


@pytest.mark.parametrize(
    ("key", "state", "way"),
    [
        ("cat", State.DONE, "changed since it was sent, and it is not sent again; give it another key"),
        ("cat", State.UNKNOWN, "changed since it was sent, and it is not sent again; give it another key"),
        ("cat", State.FAILED, "; give it another key, or --retry-failed sends it as it is now"),
        ("cat", State.RUNNING, "and it is not sent again; give it another key"),
        ("new-2", State.DONE, ": other inputs had the key 'new-2' that its own make; give it a key"),
    ],
)
def test_an_item_that_changed_is_told_with_the_way_to_send_it(key: str, state: State, way: str) -> None:
    """Only where there is one: what was paid for is not sent again under its key."""
    item = Item(3, key, "a/b", {}, "new")
    assert changed(item, Standing(state, digest="old"), Asked()).endswith(way)
    assert changed(item, Standing(state, digest="new"), Asked()) == ""
    assert changed(item, Standing(state), Asked()) == ""


@pytest.mark.parametrize(
    ("state", "asked"),
    [
        (State.RUNNING, Asked(retries_failed=True)),
        (State.UNSAVED, Asked(retries_failed=True)),
        (State.UNKNOWN, Asked(retries_unknown=True)),
    ],
)
def test_an_item_that_changed_and_may_be_gone_is_told_with_what_is_sent_then(state: State, asked: Asked) -> None:
    """What is asked to be sent again is, where the API does not know its id any more, or never did."""
    item = Item(3, "cat", "a/b", {}, "new")
    told = changed(item, Standing(state, id="abc", digest="old"), asked)
    assert told.endswith("and it is not sent again unless its prediction is gone; give it another key")
    told = changed(item, Standing(State.DONE, id="abc", digest="old"), asked)
    assert told.endswith("and it is not sent again; give it another key")


def test_an_item_whose_prediction_is_known_is_not_told_of_as_in_doubt(tmp_path: Path) -> None:
    """Why it was is no error of the prediction that runs."""
    with closing(Ledger(tmp_path / "ledger", base_url="https://x.test", is_sandbox=False)) as ledger:
        number = ledger.begin("a/b", {})
        ledger.accept(number, Prediction("id", "starting"))
        doubt = Standing(State.UNKNOWN, error="HTTP 504", exit_code=10, entry=number, changed=time.time())
        known = known_by_ledger(Item(1, "key", "a/b", {}, ""), doubt, ledger)
    assert known == doubt._replace(state=State.RUNNING, id="id", error="", exit_code=0)


@pytest.mark.parametrize("state", State)
def test_paths_that_stay_keep_an_item_from_being_sent_and_from_nothing_else(state: State) -> None:
    """What is paid for is waited for and saved as ever, and what failed is told."""
    item = Item(1, "k", "a/b", {}, "digest")
    asked = Asked(retries_failed=True, retries_unknown=True)
    is_sent = asked.fate(Standing(state)).is_sending
    assert decide(item, Standing(state), asked, lambda _: []) is asked.fate(Standing(state))
    stays = decide(item, Standing(state), asked, lambda _: [Path("k.webp")])
    assert stays is (Fate.TO_LEAVE_ALONE if is_sent else asked.fate(Standing(state)))


@pytest.mark.parametrize(("late_seconds", "id"), [(-1, "p1"), (0, "p1"), (0.9, "p1"), (1.1, "")])
def test_an_item_in_doubt_has_the_id_of_its_own_entry(tmp_path: Path, late_seconds: float, id: str) -> None:
    """The entry is written before the item's step, by a clock that may be set back a little between them."""
    ledger = Ledger(tmp_path / "l", base_url="https://x", is_sandbox=False, clock=lambda: 1000.0 + late_seconds)
    entry = ledger.begin("a/b", {"prompt": "cat"})
    ledger.accept(entry, Prediction("p1", "starting"))
    item = Item(1, "k", "a/b", {"prompt": "cat"}, "")
    assert known_by_ledger(item, Standing(State.UNKNOWN, entry=entry, changed=1000.0), ledger).id == id
    ledger.close()
