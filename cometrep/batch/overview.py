"""Show what a batch would send, and what its folder holds; send nothing."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from cometrep import errors
from cometrep.batch.record import Record
from cometrep.batch.standings import Standing
from cometrep.console import Console
from cometrep.events import ItemEnded
from cometrep.ledger import Ledger
from cometrep.prediction import Request, SavedFile
from cometrep.sidecar import read_sidecar
from cometrep.text import beside_id, format_count

if TYPE_CHECKING:
    from cometrep.batch.fate import Asked
    from cometrep.batch.plan import Plan
    from cometrep.keeping import Keeper

SHOWN_ITEMS = 3  # of those that would be sent


def show_forecast(
    console: Console,
    plan: "Plan",
    record: Record,
    ledger: Ledger,
    asked: "Asked",
    *,
    keeper_of: "Callable[[str], Keeper]",
    request_of: Callable[[str, Mapping[str, Any]], Mapping[str, Any]],
    check_folders: Callable[[], None],
    template: str,
    is_json: bool,
) -> None:
    """Print what a batch would do: how many items, the first requests, the names of the files.

    In the end raise as `check_folders` does, where anything would be sent.
    """
    from cometrep.batch.clashes import preview
    from cometrep.batch.fate import Fate, forecast

    record.read()
    counts, sent, warnings = forecast(
        plan.items(),
        record,
        ledger,
        asked,
        lambda item: keeper_of(item.key).paths_that_stay(Request(item.model, item.values)),
        SHOWN_ITEMS,
    )
    for told in warnings:
        console.warn(told)
    shown = [
        {
            "key": item.key,
            "request": request_of(item.model, item.values),
            "files": preview(str(record.folder), template, item),
        }
        for item in sent
    ]
    if is_json:
        facts: dict[str, Any] = {"items": counts.total(), "folder": str(record.folder), "first": shown}
        console.write_json({"schema_version": 1, **facts, **{fate: counts[fate] for fate in Fate}})
    else:
        fates = ", ".join(f"{count} {fate.replace('_', ' ')}" for fate, count in counts.items()) or "nothing to do"
        console.write_line(f"{format_count(counts.total(), 'item')}: {fates}")
        console.write_line(f"folder: {record.folder}")
        for one in shown:
            console.write_line(f"item {one['key']}: {', '.join(one['files'])}")
            console.write_json(one["request"])
    if sent:
        check_folders()


def show_folder(console: Console, record: Record, ledger: Ledger, *, is_json: bool) -> None:
    """Print what the records of a batch's folder hold; raise UsageError where no batch has run there."""
    record.read()
    total = record.total
    if total is None:
        from cometrep.batch.gallery import refuse_without_record

        refuse_without_record(record.folder)
        raise errors.UsageError(f"no batch has run in {str(record.folder)!r}", hint="find . -name 'batch*.jsonl'")
    counts: Counter[str] = Counter()

    def known() -> Iterator[tuple[str, Standing, list[SavedFile]]]:
        for key, standing in record.standings():
            counts[standing.state] += 1
            yield key, standing, standing.saved_files(record.folder)

    if is_json:
        for key, standing, files in known():
            seen = read_sidecar(standing.id, files) or standing.prediction()
            ended = ItemEnded(standing.id, key, key, standing.state, standing.error, tuple(files), seen)
            console.write_json(ended.as_json())
    else:
        is_read = console.screens()[0].is_terminal  # by people, who know items by what their events say
        rows = (
            (
                standing.label(key) if is_read else key,
                standing.state,
                standing.id,
                beside_id(standing.error, standing.id) or ", ".join(file.path for file in files),
            )
            for key, standing, files in known()
        )
        header = ("ITEM", "STATUS", "ID", "FILES OR ERROR")
        console.write_table(header, rows, whole="ID", spare=("ID", "ITEM"))
    left = total + record.gone.items - sum(counts.values())
    words = [f"{count} {word}" for word, count in counts.items()] + [f"{left} not sent"] * (left > 0)
    console.say(f"{record.folder}: {', '.join(words)}")
    for told in record.gone.unless(lambda id: ledger.lenient(ledger.files, id)).told(record.folder):
        console.warn(told)
