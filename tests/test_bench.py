"""The benchmarks: what they offer, and the arithmetic of their tables; nothing is timed here."""

import json
import math
import subprocess
import sys
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import NormalDist

import pytest

from tests.bench import end_to_end
from tests.bench.measure import Broken, Command, greedy_seconds, interleaved, lognormal, ratio, run
from tests.bench.report import Row, Table, at_least, at_most
from tests.bench.service import Service
from tests.conftest import needs

ROOT = Path(__file__).parents[1]


def test_every_benchmark_is_listed_with_a_sentence() -> None:
    """Each module of a benchmark is listed, and no name without its sentence."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench", "--list"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    listed = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    modules = [path for path in (ROOT / "tests/bench").glob("*.py") if "\nSENTENCE = " in path.read_text("utf-8")]
    assert set(listed) == {path.stem for path in modules}
    assert all(sentence.endswith(".") for sentence in listed.values())


@pytest.mark.parametrize(
    ("durations", "workers", "seconds"),
    [
        ([], 3, 0),
        ([2, 1, 1], 1, 4),
        ([3, 1, 1, 1], 2, 3),
        ([1, 1, 1, 3], 2, 4),  # the order counts: the longest comes last
        ([5], 8, 5),
    ],
    ids=str,
)
def test_the_greedy_schedule(durations: list[float], workers: int, seconds: float) -> None:
    """Each item goes to the first free worker, in order."""
    assert greedy_seconds(durations, workers) == seconds


def test_a_ratio_pairs_the_rounds() -> None:
    """A round in which everything was slow does not change a ratio."""
    assert ratio([2.0, 20.0, 2.2], [1.0, 10.0, 1.0]) == 2.0


def test_durations_are_the_same_for_the_same_seed() -> None:
    """Everyone is given the same durations, and they have the mean that was asked for."""
    drawn = lognormal(20_000, mean=2.0, sigma=0.5, seed=7)
    assert drawn == lognormal(20_000, mean=2.0, sigma=0.5, seed=7) != lognormal(20_000, mean=2.0, sigma=0.5, seed=8)
    assert sum(drawn) / len(drawn) == pytest.approx(2.0, rel=0.02)
    assert sorted(lognormal(20_001, median=5.0, sigma=0.2, seed=7))[10_000] == pytest.approx(5.0, rel=0.02)


def test_durations_favour_no_schedule() -> None:
    """Remainders by half a second, and short ones themselves, are spread evenly, however few there are."""
    remainders = sorted(one % 0.5 for one in end_to_end.durations(5.0, 10))
    assert max(later - earlier for earlier, later in pairwise([*remainders, remainders[0] + 0.5])) < 0.1
    likely = NormalDist(math.log(0.3), end_to_end.SIGMA)
    ranks = sorted(likely.cdf(math.log(one)) for one in end_to_end.durations(0.3, 10))
    assert [int(10 * rank) for rank in ranks] == list(range(10))


def test_a_table_tells_what_is_met() -> None:
    """Goals bound the ratio or the median, from above or below, in the unit of the row."""
    table = Table(
        "Start",
        [
            Row("reference", "ms", [0.050, 0.060, 0.055]),
            Row("ours", "ms", [0.055, 0.066, 0.0605], [0.050, 0.060, 0.055], at_most(1.15, is_ratio=True)),
            Row("memory", "MiB", [40 * 2**20], goal=at_most(37 * 2**20)),
            Row("speed", "items/s", [9.0], [10.0], at_least(0.96, is_ratio=True)),
        ],
        ["a note"],
    )
    lines = [line.split() for line in table.lines()]
    assert lines[2] == ["reference", "55.0", "ms"]
    assert lines[3] == ["ours", "60.5", "ms", "1.100", "x", "≤", "1.15", "x", "met"]
    assert lines[4] == ["memory", "40.0", "MiB", "≤", "37", "MiB", "not", "met"]
    assert lines[5] == ["speed", "9.00", "items/s", "0.900", "x", "≥", "0.96", "x", "not", "met"]
    assert lines[6] == ["a", "note"]
    rows = json.loads(json.dumps(table.to_json()))["rows"]
    assert [row["is_met"] for row in rows] == [None, True, False, False]
    assert rows[1]["values"] == [0.055, 0.066, 0.0605]


def test_rounds_are_interleaved(tmp_path: Path) -> None:
    """Everyone runs once before anyone runs again, and what a run took is known, its children included."""
    order: list[str] = []

    def prepared(name: str, number: int) -> Command:
        order.append(f"{name}{number}")
        return Command(["sh", "-c", "sh -c :"], {"PATH": "/usr/bin:/bin"}, tmp_path, is_on_terminal=name == "b")

    samples = interleaved({name: partial(prepared, name) for name in "ab"}, 2)
    assert order == ["a0", "b0", "a1", "b1"]
    assert {name: len(taken) for name, taken in samples.items()} == {"a": 2, "b": 2}
    assert all(sample.wall_seconds > 0 and sample.peak_bytes > 2**16 for sample in samples["a"])


def test_a_program_that_fails_is_not_measured(tmp_path: Path) -> None:
    """What failed, and what it said, is reported instead of a time."""
    with pytest.raises(Broken, match=r"exit code 3 of sh -c(.|\n)*no such luck"):
        run(Command(["sh", "-c", "echo no such luck >&2; exit 3"], {"PATH": "/usr/bin:/bin"}, tmp_path))


@needs("openssl")
def test_the_server_knows_when_a_prediction_ended(tmp_path: Path) -> None:
    """Its facts tell looks, and how long after the end the first of them came."""
    with Service(tmp_path) as service:
        id = service.create({"prompt": "apples", "seconds": 0, "told_seconds": 30})
        facts = service.facts("apples")
    assert (facts.id, facts.looks, facts.seen) == (id, 0, 0.0)
    assert facts.ends == facts.created
