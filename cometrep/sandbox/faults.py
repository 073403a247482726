"""The ways the sandbox can misbehave, and how one is asked for: help and completion need no server for it."""

import re
from typing import NamedTuple

from cometrep import errors

FILE_KINDS = ("truncate", "slow", "expire")
KINDS = ("429", "500", "524", "hang", "html", "reset", *FILE_KINDS)


class Fault(NamedTuple):
    """One misbehaviour: how many times (`None`: always), and on which requests (`""`: those of its kind)."""

    kind: str
    times: int | None
    on: str

    @classmethod
    def parse(cls, text: str) -> "Fault":
        """Read `KIND` or `KIND:N`, perhaps behind `create:`, `get:` or `file:`."""
        match = re.fullmatch(r"(?:(create|get|file):)?([a-z0-9]+)(?::([1-9][0-9]{0,8}))?", text)
        on, kind, times = match.groups() if match else ("", "", None)
        if kind not in KINDS or (on in ("create", "get") and kind in FILE_KINDS):
            raise errors.UsageError(
                f"{text!r} is not a fault",
                hint="use KIND, or KIND:N for the first N times, alone or behind create:, get: or file:; "
                f"KIND is one of {', '.join(KINDS)} ({', '.join(FILE_KINDS)}: files only)",
            )
        return cls(kind, int(times) if times else None, on or "")

    def applies_to(self, request: str) -> bool:
        """Tell whether a `create`, a `get` or a `file` request meets this fault."""
        return request == self.on if self.on else (request == "file") == (self.kind in FILE_KINDS)
