"""The tables that benchmarks give: figures, their ratio to a reference, goals, and whether those are met."""

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.bench.measure import floor_bytes, ratio

_SCALES = {"ms": 1000.0, "MiB": 1 / 2**20, "%": 100.0}
_DIGITS = {"ms": 1, "MiB": 1, "%": 2, "s": 3, "polls": 1, "items/s": 2}


@dataclass(frozen=True)
class Goal:
    """A bound on a row's ratio to its reference, or on its median in the row's base unit (seconds, bytes, 1)."""

    limit: float
    is_ratio: bool = False
    is_least: bool = False

    def shown(self, unit: str) -> str:
        """Write the goal in a row's unit."""
        figure = f"{self.limit:g} x" if self.is_ratio else f"{self.limit * _SCALES.get(unit, 1):.4g} {unit}"
        return ("≥ " if self.is_least else "≤ ") + figure

    def is_met(self, figure: float) -> bool:
        """Say whether a figure keeps the bound."""
        return figure >= self.limit if self.is_least else figure <= self.limit


@dataclass(frozen=True)
class Row:
    """One figure over all rounds, in base units, and the same rounds' figures of what it is compared with."""

    name: str
    unit: str
    values: Sequence[float]
    reference: Sequence[float] | None = None
    goal: Goal | None = None

    @property
    def median(self) -> float:
        """The median of the rounds."""
        return statistics.median(self.values)

    @property
    def ratio(self) -> float | None:
        """The median ratio to the reference, None without one."""
        return None if self.reference is None else ratio(self.values, self.reference)

    @property
    def is_met(self) -> bool | None:
        """Whether the goal is met, None without one."""
        if self.goal is None:
            return None
        figure = self.ratio if self.goal.is_ratio else self.median
        return figure is not None and self.goal.is_met(figure)

    def cells(self) -> tuple[str, ...]:
        """Write the row's cells."""
        shown = self.median * _SCALES.get(self.unit, 1)
        return (
            self.name,
            f"{shown:.{_DIGITS.get(self.unit, 3)}f} {self.unit}",
            "" if self.ratio is None else f"{self.ratio:.3f} x",
            self.goal.shown(self.unit) if self.goal else "",
            {True: "met", False: "not met", None: ""}[self.is_met],
        )


@dataclass(frozen=True)
class Table:
    """The rows of one comparison, and what must be said to read them."""

    title: str
    rows: Sequence[Row]
    notes: Sequence[str] = field(default=())

    def lines(self) -> Iterator[str]:
        """Write the table as plain text, a line at a time."""
        cells = [("", "median", "ratio", "goal", ""), *(row.cells() for row in self.rows)]
        widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
        yield self.title
        for line in cells:
            name, *figures = (f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True))
            yield "  ".join(("", name, *figures)).rstrip()
        yield from (f"  {note}" for note in self.notes)
        if any(row.unit == "MiB" for row in self.rows):
            yield f"  memory: of several processes the largest; below {floor_bytes() / 2**20:.0f} MiB none can show"

    def to_json(self) -> dict[str, Any]:
        """Give all figures, in base units."""
        return {
            "title": self.title,
            "notes": list(self.notes),
            "rows": [
                {
                    "name": row.name,
                    "unit": row.unit,
                    "values": list(row.values),
                    "median": row.median,
                    "ratio": row.ratio,
                    "goal": row.goal.shown(row.unit) if row.goal else None,
                    "is_met": row.is_met,
                }
                for row in self.rows
            ],
        }


def at_most(limit: float, *, is_ratio: bool = False) -> Goal:
    """Make a goal that is an upper bound."""
    return Goal(limit, is_ratio)


def at_least(limit: float, *, is_ratio: bool = False) -> Goal:
    """Make a goal that is a lower bound."""
    return Goal(limit, is_ratio, is_least=True)
