"""How fast many predictions are run, and what one of them costs."""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import ceil
from pathlib import Path
from typing import Any

from cometrep.schedule import SHORTEST_INTERVAL_SECONDS
from tests.bench.measure import Command, greedy_seconds, interleaved, lognormal
from tests.bench.peers import Bench, write_lines
from tests.bench.report import Row, Table, at_least, at_most
from tests.bench.service import MODEL

SENTENCE = "Batch: items a second and CPU an item at 8 and 32 workers, beside xargs, GNU parallel and replicate."
MEAN_SECONDS = 2.0
SIGMA = 0.5
ITEMS_A_WORKER = 12
QUICK_MEAN_SECONDS = 0.3
QUICK_ITEMS = 32
WORKERS = (8, 32)
OURS, XARGS, ASYNCIO = "cometrep batch", "xargs -P, curl and jq", "replicate with asyncio"


def tables(bench: Bench) -> Iterator[Table]:
    """Compare everyone at each number of workers, with the same durations in the same order."""
    for workers in WORKERS:
        yield _compared(bench, workers)


def _compared(bench: Bench, workers: int) -> Table:
    mean = QUICK_MEAN_SECONDS if bench.is_quick else MEAN_SECONDS
    count = QUICK_ITEMS if bench.is_quick else ITEMS_A_WORKER * workers
    durations = lognormal(count, mean=mean, sigma=SIGMA, seed=workers)
    inputs = [{"prompt": f"item-{number}", "seconds": seconds} for number, seconds in enumerate(durations)]
    contestants = _contestants(bench, workers, inputs)
    samples = interleaved(contestants, bench.runs)
    ideal = greedy_seconds(durations, workers)
    speed = {name: [count / sample.wall_seconds for sample in taken] for name, taken in samples.items()}
    cpu = {name: [sample.cpu_seconds / count for sample in taken] for name, taken in samples.items()}
    at_ideal = [count / ideal] * bench.runs
    # What as many looks as the limit allows would show, at no cost: each end is known at the next one.
    seen = [ceil(seconds / SHORTEST_INTERVAL_SECONDS) * SHORTEST_INTERVAL_SECONDS for seconds in durations]
    at_limit = [count / greedy_seconds(seen, workers)] * bench.runs
    rows = [Row("the greedy schedule, without overhead", "items/s", at_ideal)]
    rows.append(Row(f"it, seen by {1 / SHORTEST_INTERVAL_SECONDS:g} looks a second", "items/s", at_limit, at_ideal))
    for name, taken in speed.items():
        rows.append(Row(name, "items/s", taken, at_ideal, at_least(0.96, is_ratio=True) if name == OURS else None))
    for name, taken in cpu.items():
        goal = at_most(1.0, is_ratio=True) if name == OURS else None
        rows.append(Row(f"{name}: CPU an item", "ms", taken, cpu[ASYNCIO], goal))
    rows.append(
        Row(f"{OURS} to xargs: CPU an item", "ms", cpu[OURS], cpu[XARGS], at_most(0.1, is_ratio=True)),
    )
    for name, ran in samples.items():
        rows.append(Row(f"{name}: peak memory", "MiB", [float(sample.peak_bytes) for sample in ran]))
    notes = [f"ratios: of items/s to the greedy schedule ({ideal:.1f} s), of CPU to {ASYNCIO}"]
    if shutil.which("parallel") is None:
        notes.append("GNU parallel is left out: it is not installed")
    return Table(f"{count} items of {mean:g} s in the mean, {workers} workers", rows, notes)


def _contestants(
    bench: Bench, workers: int, inputs: Sequence[Mapping[str, Any]]
) -> dict[str, Callable[[int], Command]]:
    lines = write_lines(bench.folder / "lines.jsonl", inputs)
    pairs = bench.folder / "pairs"  # names and inputs in turn, for those that call the script an item
    pairs.write_text("".join(f"{input['prompt']}\n{json.dumps(input)}\n" for input in inputs))

    def to(prepare: Callable[[Path], Command]) -> Callable[[int], Command]:
        return lambda _: prepare(bench.fresh("outputs"))

    def ours(folder: Path) -> Command:
        words = ("-m", MODEL, "-j", str(workers), "-d", folder / "batch", "-q")
        return bench.call(folder / "home", "batch", lines, *words)

    found: dict[str, Callable[[int], Command]] = {
        OURS: to(ours),
        XARGS: to(
            lambda folder: bench.command(
                "xargs", "-a", pairs, "-d", "\\n", "-n", "2", "-P", str(workers), *bench.curl_words(folder)
            )
        ),
        "replicate with threads": to(
            lambda folder: bench.call_replicate("replicate_threads.py", lines, folder, str(workers))
        ),
        ASYNCIO: to(lambda folder: bench.call_replicate("replicate_asyncio.py", lines, folder, str(workers))),
    }
    if shutil.which("parallel"):
        found["GNU parallel, curl and jq"] = to(
            lambda folder: bench.command(
                "parallel", "-j", str(workers), "-n", "2", *bench.curl_words(folder), "{1}", "{2}", "::::", pairs
            )
        )
    return found
