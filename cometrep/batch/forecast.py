"""Show what a batch would do, its first requests and the names of their files; send nothing."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from cometrep import errors
from cometrep.batch.earlier import left_by_earlier_runs
from cometrep.batch.fate import (
    Asked,
    Fate,
    PathsThatStay,
    changed,
    decide,
    paths_that_stay,
    settled,
    surely_settled,
)
from cometrep.batch.items import Item
from cometrep.batch.outcomes import TIMES_TOLD, told_of_further
from cometrep.batch.prepare import Ready
from cometrep.batch.record import Record
from cometrep.batch.standings import State
from cometrep.console import Console
from cometrep.ledger import Ledger
from cometrep.places import Keeping
from cometrep.text import format_count

_SHOWN_ITEMS = 3  # of those that would be sent


def show_forecast(
    console: Console,
    ready: Ready,
    asked: Asked,
    ledger: Ledger,
    *,
    request_of: Callable[[str, Mapping[str, Any]], Mapping[str, Any]],
) -> None:
    """Print the first requests that a batch would send and the names of their files; say what it would do.

    In the end raise as its `check_folders` does, where anything would be sent.
    """
    plan, record, keeper, check_folders = ready
    record.read()
    gone, _, _ = left_by_earlier_runs(plan, record, ledger)
    counts, sent, warnings = forecast(
        plan.items(),
        record,
        ledger,
        asked,
        partial(paths_that_stay, keeper.for_item),
        _SHOWN_ITEMS,
    )
    for told in (*gone.counted(record.folder), *gone.told(record.folder), *warnings):
        console.warn(told)
    shown: list[dict[str, Any]] = [
        {
            "key": item.key,
            "request": request_of(item.model, item.values),
            "files": preview(keeper.keeping, item),
        }
        for item in sent
    ]
    if console.choices.is_json:
        facts: dict[str, Any] = {"items": counts.total(), "gone": gone.items, "folder": str(record.folder)}
        facts["first"] = shown
        console.write_json({"schema_version": 1, **facts, **{fate: counts[fate] for fate in Fate}})
    else:
        fates = ", ".join(f"{count} {fate.replace('_', ' ')}" for fate, count in counts.items()) or "nothing to do"
        console.say(f"{format_count(counts.total(), 'item')}: {fates}")
        console.say(f"folder: {record.folder}")
        for one in shown:
            console.write_json({**one.pop("request"), **one})
    if sent:
        check_folders()


def forecast(
    items: Iterable[Item],
    record: Record,
    ledger: Ledger,
    asked: Asked,
    paths_that_stay: PathsThatStay,
    most: int,
) -> tuple[Counter[Fate], list[Item], list[str]]:
    """Count what a run would do with items; give the first ones that it would send, and what it would warn of."""
    counts: Counter[Fate] = Counter()
    sent: list[Item] = []
    warnings: list[str] = []
    times = 0
    for item in items:
        standing = settled(item, record.standing(item.key), record, ledger)
        fate = decide(item, standing, asked, paths_that_stay)
        if fate.is_sending and standing.state is State.UNKNOWN:
            try:
                surely_settled(item, standing, record, ledger)
            except errors.LocalFileError:  # without an answer of the ledger it is not sent again
                fate = Fate.IN_DOUBT
        counts[fate] += 1
        if fate.is_sending and len(sent) < most:
            sent.append(item)
        if told := changed(item, standing, asked):
            times += 1
            warnings += [told] * (times <= TIMES_TOLD)
    further = told_of_further("changed", times - TIMES_TOLD)
    return counts, sent, [*warnings, *[further] * bool(further)]


def preview(keeping: Keeping, item: Item) -> list[str]:
    """Give the names that a batch item's files would get; `ID` and `ext` stand for what is not known yet."""
    request = item.request
    names = keeping.foreseen(request, item.key)
    return [str(names.path(index, "ext")) for index in range(request.asked_outputs)]
