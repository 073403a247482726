"""What earlier runs of a batch left: what is found at its beginning."""

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from cometrep.batch import earlier
from cometrep.batch.earlier import items_but, items_of, left_by_earlier_runs
from cometrep.batch.plan import Plan
from cometrep.batch.record import Gone, Record
from cometrep.ledger import Ledger
from cometrep.prediction import Prediction
from tests.test_plan import planning, written


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """A ledger without entries."""
    ledger = Ledger(tmp_path / "ledger", base_url="https://x.test", is_sandbox=False)
    yield ledger
    ledger.close()


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


def plan_of(folder: Path, keys: str, shard: str | None = None) -> AbstractContextManager[Plan]:
    """Plan an item for each key."""
    lines = [json.dumps({"key": key, "input": {"prompt": key}}) for key in keys]
    return planning(written(folder, *lines), shard=shard)


@pytest.mark.parametrize(
    ("left", "count", "ids"),
    [("eabcd", 0, ()), ("bdxea", 1, ("id-c",)), ("dec", 2, ("id-a", "id-b")), ("x", 5, ("id-a", "id-b", "id-c"))],
)
def test_predictions_of_items_that_are_no_more(
    tmp_path: Path, record: Record, ledger: Ledger, left: str, count: int, ids: tuple[str, ...]
) -> None:
    """Of lines that were edited: what runs for those that still stand is theirs, whatever stands between."""
    with plan_of(tmp_path, left) as plan:
        gone, still_open, _ = left_by_earlier_runs(plan, record, ledger)
    assert gone == Gone(count, ids)
    assert still_open == {"a", "b", "c"} & {*left}


@pytest.mark.parametrize(
    ("keys", "first", "then"),
    [("xyabz", "ab", "xyz"), ("xcdeay", "ca", "xdey"), ("xed", "", "xed"), ("cx", "c", "x")],
)
def test_what_may_be_paid_for_comes_before_what_is_new(
    tmp_path: Path, record: Record, ledger: Ledger, keys: str, first: str, then: str
) -> None:
    """Its output lives an hour, however many lines were put before it: what is done or failed has none to lose."""
    with plan_of(tmp_path, keys) as plan:
        _, still_open, _ = left_by_earlier_runs(plan, record, ledger)
        assert "".join(item.key for item in items_of(plan, still_open) if item) == first
        assert "".join(item.key for item in items_but(plan, still_open)) == then


def test_an_id_that_only_the_ledger_has_is_open(tmp_path: Path, record: Record, ledger: Ledger) -> None:
    """A power cut took it from the record; one in doubt without an id keeps its place among those to be sent."""
    with plan_of(tmp_path, "xfgy") as plan:
        for item in plan.items():
            if item.key in "fg":
                number = ledger.begin(item.model, item.values)
                record.add("sending", item.key, entry=number)
                if item.key == "f":
                    ledger.accept(number, Prediction("id-f", "starting"))
        record.read()
        _, still_open, _ = left_by_earlier_runs(plan, record, ledger)
        assert still_open == {"f"}


def test_a_sister_shards_items_are_not_looked_for(tmp_path: Path, record: Record, ledger: Ledger) -> None:
    """They are in the file, and not in this run: to its end it would be read for nothing."""
    found: list[str] = []
    for shard in ("1/2", "2/2"):
        with plan_of(tmp_path, "abcx", shard) as plan:
            gone, still_open, _ = left_by_earlier_runs(plan, record, ledger)
            assert still_open == {item.key for item in plan.items()} - {"x"}
            assert gone.ids == ()
            found += still_open
    assert sorted(found) == ["a", "b", "c"]


def test_looking_for_what_is_open_gives_way_to_what_runs(
    tmp_path: Path, record: Record, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long way through the file holds up no look and no Ctrl-C."""
    monkeypatch.setattr(earlier, "_LOOKED_THROUGH", 2)
    with plan_of(tmp_path, "vwxyaz") as plan:
        found = [item and item.key for item in items_of(plan, frozenset("a"))]
    assert found == [None, None, "a"]
    with plan_of(tmp_path, "vwxyaz", "1/2") as plan:  # of the others of this shard there are fewer
        assert len([item for item in items_of(plan, frozenset("?")) if item is None]) == 3
