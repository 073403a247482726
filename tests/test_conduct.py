"""The course of a batch: what is found at its beginning."""

from pathlib import Path

import pytest

from cometrep.batch.conduct import gone
from cometrep.batch.items import Item
from cometrep.batch.record import Gone, Record
from cometrep.ledger import Ledger


@pytest.mark.parametrize(
    ("left", "count", "ids"),
    [("abcd", 0, ()), ("bdxa", 1, ("id-c",)), ("dc", 2, ("id-a", "id-b")), ("x", 4, ("id-a", "id-b", "id-c"))],
)
def test_predictions_of_items_that_are_no_more(tmp_path: Path, left: str, count: int, ids: tuple[str, ...]) -> None:
    """Of lines that were edited: what runs for those that still stand is theirs, whatever stands between."""
    ledger = Ledger(tmp_path / "ledger", base_url="https://x.test", is_sandbox=False)
    record = Record(tmp_path)
    record.open()
    for key in "abc":
        record.add("created", key, id=f"id-{key}")
    record.add("refused", "d")
    record.read()
    items = [Item(number, key, "a/b", {}, "digest") for number, key in enumerate(left)]
    assert gone(items, record, ledger) == Gone(count, ids)
    record.close()
