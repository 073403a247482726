"""What one check of doctor finds, and the words in which it is told."""

import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from cometrep import hints
from cometrep.transport.reasons import reason_of

OK, WARN, FAIL = "ok", "warn", "fail"
SHOWN = 5  # ids or files that one line names


class Check(NamedTuple):
    """What was found of one thing; `fix` is what to type or do, empty where all is well."""

    name: str
    outcome: str
    message: str
    fix: str = ""

    def as_json(self) -> dict[str, Any]:
        """Give the form that JSON output uses."""
        return {"name": self.name, "outcome": self.outcome, "message": self.message, "fix": self.fix or None}


def untried(name: str, cause: str, again: str, why: str = "") -> Check:
    """Say that a check was not made for what another found; `again` is the command that checks once more."""
    return Check(name, WARN, f"not tried: {why or f'{cause} comes first'}", f"mend {cause}, then: {again}")


def guarded(name: str, make: Callable[[], Check], again: str) -> Check:
    """Make a check; one that cannot be made says so."""
    try:
        return make()
    except (OSError, ValueError) as problem:
        return Check(name, WARN, f"it cannot be checked: {reason_of(problem)}", f"run it again: {again}")


def installing(*words: str) -> str:
    """Give the command that installs for the Python which runs this: the pip of the PATH may be another's."""
    return hints.joined([sys.executable, "-m", "pip", "install", *words])


def typed(*words: str) -> str:
    """Give a command from its words, empty ones left out."""
    return " ".join(filter(None, words))
