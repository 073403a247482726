"""How long it takes from a create to a file on disk, less the prediction's own time."""

import json
import math
import random
import shutil
from collections.abc import Iterator
from functools import partial
from statistics import NormalDist

from tests.bench.measure import Command, Sample, interleaved, lognormal
from tests.bench.peers import Bench
from tests.bench.report import Row, Table, at_most
from tests.bench.service import MODEL, Facts

SENTENCE = "End to end: create to file on disk less the prediction's own time, with and without history."
DURATIONS = (0.3, 1.0, 2.0, 5.0, 12.0, 30.0)
QUICK_DURATIONS = (0.3, 1.0)
SIGMA = 0.2  # a round number of seconds flatters a fixed schedule
PERIOD_SECONDS = 0.5  # the peers' pause between looks
GOLDEN_RATIO = (1 + math.sqrt(5)) / 2  # its multiples leave evenly spread remainders, however many they are
HISTORY = 12  # finished predictions of the model
SHORT_ROUNDS = 20  # at least: of few, their looks decide by chance
LONG_SECONDS = 5.0  # from here on runs overlap
AT_ONCE = 10

NEW, OLD, CURL, SDK = "cometrep", "cometrep with history", "curl + jq script", "replicate package"


def tables(bench: Bench) -> Iterator[Table]:
    """Compare each length of a prediction by itself."""
    for seconds in QUICK_DURATIONS if bench.is_quick else DURATIONS:
        yield _compared(bench, seconds)


def _compared(bench: Bench, seconds: float) -> Table:
    is_short = seconds < LONG_SECONDS and not bench.is_quick
    rounds = max(bench.runs, SHORT_ROUNDS) if is_short else bench.runs
    own = durations(seconds, rounds)
    remembering = bench.fresh("remembering")
    bench.remember(remembering, lognormal(HISTORY, median=seconds, sigma=SIGMA, seed=1))

    def prompt(name: str, number: int) -> str:
        return f"{name}-{seconds:g}-{number}".replace(" ", "_").replace("+", "and")

    def run(name: str, number: int) -> Command:
        title = prompt(name, number)
        folder = bench.fresh(title)
        input = {"prompt": title, "seconds": own[number]}
        if name == CURL:
            return bench.call_curl(input, folder)
        if name == SDK:
            return bench.call_replicate("replicate_run.py", json.dumps(input), folder / "picture.webp")
        if name == OLD:
            shutil.copytree(remembering, folder / "home")
        words = (f"prompt={title}", f"seconds:={own[number]}", "-o", folder / "picture.webp", "-q")
        return bench.call(folder / "home", "run", MODEL, *words)

    samples = interleaved(
        {name: partial(run, name) for name in (NEW, OLD, CURL, SDK)},
        rounds,
        at_once=AT_ONCE if seconds >= LONG_SECONDS else 1,
        stagger_seconds=seconds / AT_ONCE if seconds >= LONG_SECONDS else 0.0,
    )
    facts = {name: [bench.service.facts(prompt(name, number)) for number in range(rounds)] for name in samples}
    return Table(
        f"A prediction of about {seconds:g} s",
        _rows(samples, facts, seconds),
        ["overhead: whole process less the prediction; fixed: that less the delay until its end was seen"],
    )


def durations(seconds: float, count: int) -> list[float]:
    """Draw durations around a median, one from each of as many equally likely ranges.

    From 1 s on their remainders by half a second are spread evenly too, over short and long ones alike. Polls find
    an end late by a remainder of their pauses: left to chance, few rounds would favour one schedule, and always it.
    """
    draw = random.Random(int(seconds * 10))
    likely = NormalDist(math.log(seconds), SIGMA)
    drawn = [math.exp(likely.inv_cdf((number + draw.random()) / count)) for number in range(count)]
    if seconds >= 1:
        whole = [max(one - one % PERIOD_SECONDS, PERIOD_SECONDS) for one in drawn]
        first = draw.random()
        drawn = [one + (first + number / GOLDEN_RATIO) % 1 * PERIOD_SECONDS for number, one in enumerate(whole)]
    draw.shuffle(drawn)
    return [round(one, 4) for one in drawn]


def _rows(samples: dict[str, list[Sample]], facts: dict[str, list[Facts]], seconds: float) -> list[Row]:
    pairs = {name: list(zip(taken, facts[name], strict=True)) for name, taken in samples.items()}
    overhead = {n: [one.wall_seconds - (f.ends - f.created) for one, f in pairs[n]] for n in pairs}
    fixed = {n: [o - f.delay_seconds for o, f in zip(overhead[n], facts[n], strict=True)] for n in pairs}
    polls = {n: [float(fact.looks) for fact in facts[n]] for n in pairs}
    mean = {n: [sum(taken) / len(taken)] for n, taken in overhead.items()}
    rows = [Row(f"{name}: overhead, median", "s", overhead[name], overhead[SDK]) for name in pairs]
    for name in pairs:
        # Ahead of the package everywhere, and level with the script up to 2 s; with history ahead of both from 5 s.
        best = mean[SDK]
        if (name == NEW and seconds <= 2) or (name == OLD and seconds >= LONG_SECONDS):
            best = [min(mean[CURL][0] * (1.05 if name == NEW else 1.0), mean[SDK][0])]
        goal = at_most(best[0]) if name in (NEW, OLD) else None
        rows.append(Row(f"{name}: overhead, mean", "s", mean[name], mean[SDK], goal))
    for name in pairs:
        goal = at_most(0.8, is_ratio=True) if name in (NEW, OLD) else None
        rows.append(Row(f"{name}: fixed part", "ms", fixed[name], fixed[SDK], goal))
    for name in pairs:
        fewest = [min(one, other) for one, other in zip(polls[CURL], polls[SDK], strict=True)]
        goal = at_most(1.0, is_ratio=True) if name == OLD and seconds >= LONG_SECONDS else None
        rows.append(Row(f"{name}: polls", "polls", polls[name], fewest if min(fewest) else None, goal))
    return rows
