"""What waiting costs."""

from collections.abc import Iterator

from tests.bench.measure import Command, interleaved
from tests.bench.peers import Bench
from tests.bench.report import Row, Table, at_most
from tests.bench.service import MODEL

SENTENCE = "At rest: CPU and memory of a wait of 30 s, off and on a terminal, beside replicate and curl + jq."
SECONDS = 30.0
QUICK_SECONDS = 4.0
AT_ONCE = 10  # they sleep nearly all the time


def tables(bench: Bench) -> Iterator[Table]:
    """Let everyone wait for a prediction of the same length, many at a time."""
    seconds = QUICK_SECONDS if bench.is_quick else SECONDS

    def run(number: int, *, is_on_terminal: bool) -> Command:
        name = f"run-{number}-{is_on_terminal:d}"
        return bench.call(
            bench.fresh(f"home-{name}"),
            *("run", MODEL, f"prompt={name}", f"seconds:={seconds}", "-o", bench.folder / f"{name}.webp"),
            is_on_terminal=is_on_terminal,
        )

    def wait(number: int, *, is_on_terminal: bool) -> Command:
        name = f"wait-{number}-{is_on_terminal:d}"
        id = bench.service.create({"prompt": name, "seconds": seconds})
        return bench.call(bench.fresh(f"home-{name}"), "wait", id, is_on_terminal=is_on_terminal)

    samples = interleaved(
        {
            "cometrep wait": lambda number: wait(number, is_on_terminal=False),
            "cometrep wait, terminal": lambda number: wait(number, is_on_terminal=True),
            "cometrep run": lambda number: run(number, is_on_terminal=False),
            "cometrep run, terminal": lambda number: run(number, is_on_terminal=True),
            "replicate package": lambda number: bench.call_replicate(
                "replicate_run.py", f'{{"seconds": {seconds}}}', bench.folder / f"replicate-{number}.webp"
            ),
            "curl + jq script": lambda number: bench.call_curl({"seconds": seconds}, bench.fresh(f"curl-{number}")),
        },
        bench.runs,
        at_once=AT_ONCE,
        stagger_seconds=1.0 if not bench.is_quick else 0.5,
    )
    cpu = {name: [sample.cpu_seconds for sample in taken] for name, taken in samples.items()}
    peak = {name: [float(sample.peak_bytes) for sample in taken] for name, taken in samples.items()}
    sdk = "replicate package"
    yield Table(
        f"CPU of a wait of {seconds:g} s",
        [
            Row(name, "s", taken, cpu[sdk], at_most(0.25) if name in ("cometrep wait", "cometrep run") else None)
            for name, taken in cpu.items()
        ],
        [f"ratios to the {sdk}"],
    )
    yield Table(
        "What a terminal adds, of one core",
        [
            Row(
                f"cometrep {verb}",
                "%",
                [
                    (on - off) / seconds
                    for on, off in zip(cpu[f"cometrep {verb}, terminal"], cpu[f"cometrep {verb}"], strict=True)
                ],
                goal=at_most(0.01),
            )
            for verb in ("wait", "run")
        ],
    )
    yield Table(
        "Peak memory",
        [
            Row(name, "MiB", taken, peak[sdk], at_most(37 * 2**20) if name == "cometrep run" else None)
            for name, taken in peak.items()
        ],
        [f"ratios to the {sdk}"],
    )
