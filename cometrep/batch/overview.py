"""Show what the folder of a batch holds; send nothing."""

from collections import Counter
from collections.abc import Iterator

from cometrep import errors
from cometrep.batch.record import Record
from cometrep.batch.standings import Standing
from cometrep.console import Console
from cometrep.events import ItemEnded
from cometrep.ledger import Ledger
from cometrep.prediction import SavedFile
from cometrep.sidecar import read_sidecar
from cometrep.text import beside_id


def show_folder(console: Console, record: Record, ledger: Ledger) -> None:
    """Print what the records of a batch's folder hold; raise UsageError where no batch has run there."""
    record.read()
    total = record.total
    if total is None:
        from cometrep.batch.lost_record import refuse_without_record

        refuse_without_record(record.folder)
        raise errors.UsageError(f"no batch has run in {str(record.folder)!r}", hint="find . -name 'batch*.jsonl'")
    counts: Counter[str] = Counter()

    def known() -> Iterator[tuple[str, Standing, list[SavedFile]]]:
        for key, standing in record.standings():
            counts[standing.state] += 1
            yield key, standing, standing.saved_files(record.folder)

    if console.choices.is_json:
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
        header = ("ITEM", "OUTCOME", "ID", "FILES OR ERROR")
        console.write_table(header, rows, whole="ID", spare=("ID", "ITEM"))
    left = total + record.gone.items - sum(counts.values())
    words = [f"{count} {word}" for word, count in counts.items()] + [f"{left} not sent"] * (left > 0)
    console.say(f"{record.folder}: {', '.join(words)}")
    for told in record.gone.unless(lambda id: ledger.lenient(ledger.files, id)).told(record.folder):
        console.warn(told)
