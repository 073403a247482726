"""Find what earlier runs of a batch left: items that may be paid for come first, others may be there no more."""

from collections import Counter
from collections.abc import Iterator
from functools import partial

from cometrep.batch.fate import has_id_in_ledger
from cometrep.batch.items import Item
from cometrep.batch.plan import Plan
from cometrep.batch.record import Gone, Record
from cometrep.batch.standings import NEW, State
from cometrep.ledger import Ledger

_LOOKED_THROUGH = 1000  # items at a stretch, while predictions wait to be looked at


def left_by_earlier_runs(
    plan: Plan, record: Record, ledger: Ledger
) -> tuple[Gone, frozenset[str], Counter[tuple[State, int]]]:
    """Find what the record holds of items that there are no more, as of lines that were edited.

    And the keys of items of this shard for which earlier runs may have paid, and whose files may have to be saved;
    the others of this shard are counted by where these runs left them and the exit code of that.
    """
    count, ids = record.open_items()
    still_open: set[str] = set()
    stood: Counter[tuple[State, int]] = Counter()
    for item in plan.items_of_all_shards() if count else ():
        if (standing := record.standing(item.key)) is not NEW:
            has_id = bool(ids.pop(item.key, None)) or has_id_in_ledger(item, standing, ledger)
            if has_id and plan.has(item.key):
                still_open.add(item.key)
            elif plan.has(item.key):
                stood[standing.state, standing.exit_code_told] += 1
            count -= 1
            if not count:
                break
    gone = Gone(count, tuple(ids.values())).unless(partial(ledger.lenient, ledger.files))
    return gone, frozenset(still_open), stood


def items_of(plan: Plan, keys: frozenset[str]) -> Iterator[Item | None]:
    """Give the items that have these keys, and None now and then where others stand between them."""
    left = set(keys)
    for number, item in enumerate(plan.items_of_all_shards() if left else ()):
        if item.key in left:
            left.remove(item.key)
            yield item
            if not left:
                break
        elif number % _LOOKED_THROUGH == 0:
            yield None


def items_but(plan: Plan, keys: frozenset[str]) -> Iterator[Item]:
    """Give all other items."""
    return (item for item in plan.items() if item.key not in keys)
