"""What a rehearsal of a batch shows."""

from pathlib import Path

from cometrep.batch.fate import Asked, Fate
from cometrep.batch.forecast import forecast, preview
from cometrep.batch.items import Item
from cometrep.batch.outcomes import TIMES_TOLD
from cometrep.batch.record import Record
from cometrep.keeping import Keeping
from cometrep.ledger import Ledger
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


def test_the_names_of_a_rehearsal_are_those_that_files_get() -> None:
    """But for the id and the extension, which nobody knows yet."""
    one, two = (Item(1, "k1", SCHNELL, {"prompt": "cat", "num_outputs": count}, "?") for count in (1, 2))
    assert preview(Keeping("out"), one) == ["out/ID.ext"]
    assert preview(Keeping("out"), two) == ["out/ID-0.ext", "out/ID-1.ext"]
    assert preview(Keeping("out", "{key}/{name}.webp"), one) == ["out/k1/flux-schnell.webp"]
