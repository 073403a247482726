"""Run benchmarks and print their tables: `python -m tests.bench [NAME...]`."""

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.bench import at_rest, batch, end_to_end, peers, saving, scale, start
from tests.bench.measure import Broken
from tests.bench.peers import Bench
from tests.bench.report import Table
from tests.bench.service import Service

BENCHMARKS = {
    module.__name__.rpartition(".")[2]: module for module in (start, end_to_end, at_rest, saving, batch, scale)
}
QUICK_RUNS = 3


def main() -> int:
    """Run the benchmarks that were asked for, all without a name."""
    parser = _parser()
    asked = parser.parse_args()
    if unknown := set(asked.names) - set(BENCHMARKS):
        parser.error(f"{' and '.join(sorted(unknown))}: not one of {', '.join(BENCHMARKS)}")
    if asked.list:
        for name, module in BENCHMARKS.items():
            _say(f"{name:<11} {module.SENTENCE}")
        return 0
    runs = asked.runs or (QUICK_RUNS if asked.quick else 10)
    saved: list[dict[str, Any]] = []
    try:
        for name, table in _measured(asked.names or list(BENCHMARKS), runs, is_quick=asked.quick):
            _say("\n".join(table.lines()) + "\n")
            saved.append({"benchmark": name, **table.to_json()})
    except Broken as failure:
        sys.stderr.write(f"{failure}\n")
        return 1
    finally:
        if asked.json:
            about = {"python": platform.python_version(), "platform": platform.platform(), "cores": os.cpu_count()}
            asked.json.write_text(json.dumps({**about, "is_quick": asked.quick, "tables": saved}, indent=1) + "\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Measure cometrep beside its peers.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="default: all")
    parser.add_argument("--runs", type=int, help=f"rounds of each comparison (10, with --quick {QUICK_RUNS})")
    parser.add_argument("--quick", action="store_true", help="small sizes: shows that it works, not how fast it is")
    parser.add_argument("--list", action="store_true", help="list the benchmarks")
    parser.add_argument("--json", type=Path, metavar="FILE", help="save all samples")
    return parser


def _measured(names: list[str], runs: int, *, is_quick: bool) -> Iterator[tuple[str, Table]]:
    """Install everyone, then yield the tables of each benchmark as they are done."""
    cometrep = peers.installed_wheel()
    typer = peers.installed("typer", peers.TYPER)
    replicate = peers.installed("replicate", peers.REPLICATE)
    with tempfile.TemporaryDirectory(prefix="cometrep-bench-") as folder, Service(Path(folder)) as service:
        bench = Bench(Path(folder), service, cometrep, typer, replicate, runs, is_quick)
        for name in names:
            module: ModuleType = BENCHMARKS[name]
            for table in module.tables(bench):
                yield name, table


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
