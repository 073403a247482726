"""Simulate the polling schedule beside its peers': `python -m tests.polling` prints the README's table.

Durations are those of real predictions, one a model: `data/predict_seconds.json`. A model's runs are spread
lognormally around its own duration, with the standard deviation `sigma` of the logarithm, and jittered, because a
round number of seconds flatters a fixed schedule. One in twenty earlier runs of a history began cold and took 20
times as long, and as many of the runs that are followed as the row says. The delay is the time from a prediction's
end until the answer that tells of it is here.

The peers sleep, look, and sleep again: 0.5 s in Replicate's Python and JavaScript clients, 1 s in its CLI, 5 s in
the provider's own client.
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from random import Random
from statistics import fmean
from typing import NamedTuple

from cometrep.prediction import Prediction
from cometrep.schedule import Schedule, schedule_for
from cometrep.watch import Target, Watch

RUNS = 1200  # of each row; an eighth of the rows whose runs are long
HISTORY = 10  # earlier runs that the ledger knows
COLD_FACTOR, COLD_SHARE = 20.0, 0.05
PEERS = (0.5, 1.0, 5.0)
ROUND_TRIPS = (0.05, 0.8)
_SECONDS: Sequence[float] = json.loads((Path(__file__).parent / "data" / "predict_seconds.json").read_text())[
    "seconds"
]


class Cost(NamedTuple):
    """What following a prediction cost: seconds from its end to knowing it, and looks."""

    delay_seconds: float
    looks: float


class Case(NamedTuple):
    """A row: models whose runs usually take so long, how much these vary, and how many of them begin cold."""

    about: str
    shortest: float
    longest: float
    sigma: float
    cold_share: float = 0.0


CASES = (
    Case("0.2 to 1.5 s", 0.2, 1.5, 0.1),
    Case("1.5 to 5 s", 1.5, 5.0, 0.1),
    Case("5 to 60 s, alike", 5.0, 60.0, 0.1),
    Case("5 to 60 s, varying", 5.0, 60.0, 0.3),
    Case("5 to 60 s, at random", 5.0, 60.0, 1.0),
    Case("5 to 60 s, alike but for cold starts", 5.0, 60.0, 0.1, COLD_SHARE),
    Case("5 to 60 s, a cold start", 5.0, 60.0, 0.1, 1.0),
    Case("10 min", 570.0, 630.0, 0.02),
)


class Row(NamedTuple):
    """A case at a round trip, and the mean costs of the peers, of cometrep, and of cometrep with a history."""

    case: Case
    round_trip: float
    peers: dict[float, Cost]
    plain: Cost
    with_history: Cost


def followed(schedule: Schedule, seconds: float, round_trip: float) -> Cost:
    """Follow a prediction that ends after so many seconds with the real watch, in simulated time."""
    watch = Watch(deadline_seconds=None, retry_budget_seconds=60.0)
    watch.add(Target("it", told=Prediction("it", "starting")), 0.0, schedule)
    now, looks, under_way = 0.0, 0, list[float]()
    while True:
        answer = under_way[0] + round_trip if under_way else math.inf
        now = min(answer, now + watch.wake_in(now))
        if answer <= now:
            began = under_way.pop(0)
            is_over = began + round_trip / 2 >= seconds
            prediction = Prediction("it", "succeeded" if is_over else "processing", output="x" if is_over else None)
            watch.answer("it", began, prediction, now)
            if is_over:
                return Cost(now - seconds, looks)
        begun, _ = watch.turn(now)
        looks += len(begun)
        under_way += [now] * len(begun)


def peer(interval: float, seconds: float, round_trip: float) -> Cost:
    """Follow it as a peer does: sleep, look, and sleep again."""
    looks = max(1, math.ceil((seconds - round_trip / 2 - interval) / (interval + round_trip)) + 1)
    return Cost(looks * (interval + round_trip) - seconds, looks)


def simulated(case: Case, round_trip: float, runs: int = RUNS) -> Row:
    """Follow many predictions of a case with every schedule."""
    random = Random(f"{case.about} {round_trip}")
    models = [one for one in _SECONDS if case.shortest <= one <= case.longest] or [
        (case.shortest + case.longest) / 2
    ]
    costs: dict[float | str, list[Cost]] = {}
    for _ in range(runs):
        usual = random.choice(models)

        def one_run(usual: float = usual) -> float:
            return usual * random.uniform(0.95, 1.05) * math.exp(random.gauss(0.0, case.sigma))

        history = [one_run() * (COLD_FACTOR if random.random() < COLD_SHARE else 1.0) for _ in range(HISTORY)]
        seconds = one_run() * (COLD_FACTOR if random.random() < case.cold_share else 1.0)
        for interval in PEERS:
            costs.setdefault(interval, []).append(peer(interval, seconds, round_trip))
        for name, known in (("plain", ()), ("history", history)):
            costs.setdefault(name, []).append(followed(schedule_for(known), seconds, round_trip))
    means = {
        name: Cost(fmean(one.delay_seconds for one in each), fmean(one.looks for one in each))
        for name, each in costs.items()
    }
    return Row(case, round_trip, {one: means[one] for one in PEERS}, means["plain"], means["history"])


def least_share(sigma: float) -> float:
    """Give the least delay times looks that any schedule can have, to that of looks at a fixed interval.

    Looks that are h(t) apart cost a run that ends at t a delay of h(t)/2 and as many looks as fit in before. With f
    the density of the ends and S the share still running, the mean of the one times the mean of the other is at
    least (∫ √(f S) dt)² / 2, by Cauchy and Schwarz; at a fixed interval it is half the mean duration.
    """
    scores = [step / 100 for step in range(-800, 801)]
    integral = 0.01 * math.fsum(
        math.sqrt(
            # f dt and S of a lognormal duration of median 1, by the score of its logarithm
            math.exp(-score * score / 2) / math.sqrt(2 * math.pi) * math.erfc(score / math.sqrt(2)) / 2
        )
        * math.sqrt(sigma * math.exp(sigma * score))
        for score in scores
    )
    return integral**2 / math.exp(sigma * sigma / 2)


def row(case: Case, round_trip: float) -> Row:
    """Simulate a row of the table."""
    return simulated(case, round_trip, RUNS // 8 if case.cold_share == 1.0 or case.longest > 60 else RUNS)


def line(row: Row) -> str:
    """Write a row as the README has it."""

    def cell(cost: Cost) -> str:
        return f"{cost.delay_seconds:.2f} s, {cost.looks:.0f}"

    costs = (*row.peers.values(), row.plain, row.with_history)
    return _line(row.case.about, f"{row.round_trip * 1000:.0f} ms", *map(cell, costs))


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |\n"


if __name__ == "__main__":
    head = ("Runs of", "Round trip", *(f"every {one:g} s" for one in PEERS), "cometrep", "with history")
    print(_line(*head) + _line(*("---",) * len(head)), end="")  # noqa: T201
    for round_trip in ROUND_TRIPS:
        for case in CASES:
            print(line(row(case, round_trip)), end="")  # noqa: T201
