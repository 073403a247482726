"""The course of a batch: what is found at its beginning."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from cometrep.batch.conduct import gone, open_first
from cometrep.batch.items import Item
from cometrep.batch.record import Gone, Record
from cometrep.ledger import Ledger


@pytest.fixture
def record(tmp_path: Path) -> Iterator[Record]:
    """The record of an earlier run: a, b and c were created, d was refused, and e is done."""
    record = Record(tmp_path)
    record.open()
    for key in "abc":
        record.add("created", key, id=f"id-{key}")
    record.add("refused", "d")
    record.add("created", "e", id="id-e")
    record.add("saved", "e", files=[])
    record.read()
    yield record
    record.close()


def items(keys: str) -> Iterator[Item]:
    """Make an item for each key."""
    return iter([Item(number, key, "a/b", {}, "digest") for number, key in enumerate(keys)])


@pytest.mark.parametrize(
    ("left", "count", "ids"),
    [("eabcd", 0, ()), ("bdxea", 1, ("id-c",)), ("dec", 2, ("id-a", "id-b")), ("x", 5, ("id-a", "id-b", "id-c"))],
)
def test_predictions_of_items_that_are_no_more(
    tmp_path: Path, record: Record, left: str, count: int, ids: tuple[str, ...]
) -> None:
    """Of lines that were edited: what runs for those that still stand is theirs, whatever stands between."""
    ledger = Ledger(tmp_path / "ledger", base_url="https://x.test", is_sandbox=False)
    assert gone(items(left), record, ledger) == Gone(count, ids)


@pytest.mark.parametrize(
    ("keys", "order"), [("xyabz", "abxyz"), ("xcdeay", "caxdey"), ("xed", "xed"), ("cx", "cx")]
)
def test_what_may_be_paid_for_comes_before_what_is_new(record: Record, keys: str, order: str) -> None:
    """Its output lives an hour, however many lines were put before it: what is done or failed has none to lose."""
    assert "".join(item.key for item in open_first(lambda: items(keys), record)) == order
