"""What a rehearsal of a batch shows."""

from contextlib import closing
from pathlib import Path

import pytest

from cometrep.batch.fate import Asked, Fate
from cometrep.batch.forecast import forecast, preview
from cometrep.batch.items import Item
from cometrep.batch.outcomes import TIMES_TOLD
from cometrep.batch.record import Record
from cometrep.ledger import Ledger
from cometrep.places import Keeping
from tests.servers import SCHNELL


def test_a_forecast_warns_of_the_first_items_that_changed(tmp_path: Path) -> None:
    """As the run does: not of those that it sends again, nor of what is as it was; of the others it counts them."""
    ledger = Ledger(tmp_path / "ledger", base_url="https://x.test", is_sandbox=False)
    record = Record(tmp_path)
    record.open()
    for number in range(9):
        record.add("refused" if number == 1 else "saved", f"k{number}", digest="new" if number == 2 else "old")
    record.read()
    items = [Item(number, f"k{number}", "a/b", {}, "new") for number in range(9)]
    counts, _, told = forecast(items, record, ledger, Asked(retries_failed=True), lambda item: [], 0)
    assert counts == {Fate.DONE_BEFORE: 8, Fate.TO_SEND_AGAIN: 1}
    assert [text.split("'")[1] for text in told[:TIMES_TOLD]] == ["k0", "k3", "k4", "k5", "k6"]
    assert told[TIMES_TOLD:] == ["and 2 warnings more, of inputs that changed since they were sent"]
    record.close()


@pytest.mark.parametrize(("is_damaged", "fate"), [(True, Fate.IN_DOUBT), (False, Fate.TO_SEND_AGAIN)])
def test_a_forecast_sends_nothing_again_that_the_run_would_not(
    tmp_path: Path, is_damaged: bool, fate: Fate
) -> None:
    """A ledger that cannot be asked may have the id of an item in doubt."""
    path = tmp_path / "ledger"
    with (
        closing(Ledger(path, base_url="https://x.test", is_sandbox=False)) as ledger,
        closing(Record(tmp_path)) as record,
    ):
        number = ledger.begin("a/b", {})
        ledger.close()
        if is_damaged:
            path.write_bytes(b"no database " * 1000)
        record.open()
        record.add("sending", "k", entry=number)
        record.read()
        item, asked = Item(1, "k", "a/b", {}, "new"), Asked(retries_unknown=True)
        counts, sent, _ = forecast([item], record, ledger, asked, lambda item: [], 9)
    assert (counts, sent) == ({fate: 1}, [item] * (not is_damaged))


def test_the_names_of_a_rehearsal_are_those_that_files_get() -> None:
    """But for the id and the extension, which nobody knows yet."""
    one, two = (Item(1, "k1", SCHNELL, {"prompt": "cat", "num_outputs": count}, "?") for count in (1, 2))
    assert preview(Keeping("out"), one) == ["out/ID.ext"]
    assert preview(Keeping("out"), two) == ["out/ID-0.ext", "out/ID-1.ext"]
    assert preview(Keeping("out", "{key}/{name}.webp"), one) == ["out/k1/flux-schnell.webp"]
