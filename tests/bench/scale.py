"""Whether a batch's size shows in its memory and in how soon it starts."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from cometrep.batch.pictures import MOST_PICTURES
from tests.bench.measure import Command, interleaved
from tests.bench.peers import Bench
from tests.bench.report import Row, Table, at_most
from tests.bench.service import MODEL

SENTENCE = "Scale: peak memory of 100 and 100,000 items, and how a file of a million lines starts."
SMALL, LARGE, HUGE = 100, 100_000, 1_000_000
QUICK_LARGE, QUICK_HUGE = 2_000, 50_000
STARTED_SECONDS = 10.0  # of the huge batch, until the first item's end
RUNS = 3  # memory hardly varies; the large batch takes minutes and runs once


def tables(bench: Bench) -> Iterator[Table]:
    """Run a small and a large batch of instant predictions to their ends, then begin a huge one.

    The page of pictures is full where there are enough items, and has a part in the memory.
    """
    yield _grown(bench, QUICK_LARGE if bench.is_quick else LARGE)
    yield _begun(bench, QUICK_HUGE if bench.is_quick else HUGE)


def _grown(bench: Bench, large: int) -> Table:
    def batch(count: int) -> Command:
        folder = bench.fresh(f"items-{count}")
        lines = _write(folder / "lines.jsonl", count)
        words = ("-m", MODEL, "-j", "32", "-d", folder / "batch", "-q")
        return bench.call(folder / "home", "batch", lines, *words)

    small_taken = interleaved({"small": lambda _: batch(SMALL)}, min(bench.runs, RUNS))["small"]
    large_taken = interleaved({"large": lambda _: batch(large)}, 1)["large"]
    bench.fresh(f"items-{large}")
    small_peak = [float(sample.peak_bytes) for sample in small_taken]
    large_peak = [float(sample.peak_bytes) for sample in large_taken]
    growth = [one - min(small_peak) for one in large_peak]
    wall = [sample.wall_seconds for sample in large_taken]
    return Table(
        f"A batch of {large:,} instant items beside one of {SMALL}, 32 workers",
        [
            Row(f"{SMALL} items: peak memory", "MiB", small_peak),
            Row(f"{large:,} items: peak memory", "MiB", large_peak),
            Row("growth", "MiB", growth, goal=at_most(30 * 2**20)),
            Row(f"{large:,} items: time", "s", wall),
            Row(f"{large:,} items: CPU an item", "ms", [sample.cpu_seconds / large for sample in large_taken]),
        ],
    )


def _begun(bench: Bench, count: int) -> Table:
    lines = _write(bench.folder / "huge.jsonl", count)

    def fails_first(number: int) -> Command:
        words = ("fails:=true", "--max-failures", "1", "-j", "1", "-q", "-m", MODEL, "-d", bench.fresh("huge"))
        return replace(bench.call(bench.fresh("huge-home"), "batch", lines, *words), exit_code=9)

    samples = interleaved(
        {
            "--dry-run": lambda _: bench.call(
                bench.fresh("huge-home"), "batch", lines, "-m", MODEL, "--dry-run", "-d", bench.fresh("huge")
            ),
            "until the first item's end": fails_first,
        },
        min(bench.runs, RUNS),
    )
    lines.unlink()
    rows = []
    for name, taken in samples.items():
        within = None if name == "--dry-run" else at_most(STARTED_SECONDS)  # a rehearsal counts all that is to do
        rows.append(Row(f"{name}: time", "s", [one.wall_seconds for one in taken], goal=within))
    for name, taken in samples.items():
        goal = at_most(100 * 2**20)
        rows.append(Row(f"{name}: peak memory", "MiB", [float(one.peak_bytes) for one in taken], goal=goal))
    return Table(f"A file of {count:,} lines", rows)


def _write(path: Path, count: int) -> Path:
    """Write items, of which as many make a tiny picture as the page shows, and the others a text."""
    every = max(1, count // MOST_PICTURES)
    with path.open("w") as file:
        for number in range(count):
            made = '"text": "done"' if number % every else '"size": 100'
            file.write(f'{{"prompt": "A still life, number {number}", {made}}}\n')
    return path
