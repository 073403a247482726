"""What happens to a prediction, as values: the use cases yield them, the console draws them."""

from collections.abc import Generator
from typing import NamedTuple

from cometrep.errors import CometrepError
from cometrep.prediction import Prediction, SavedFile


class Creating(NamedTuple):
    """A create has been sent, and its answer is awaited."""

    id: str
    model: str


class Created(NamedTuple):
    """The API accepted a create and answered this prediction; its id is in the ledger."""

    prediction: Prediction

    @property
    def id(self) -> str:
        """The prediction's id."""
        return self.prediction.id


class Expected(NamedTuple):
    """How long predictions of this model usually run on this machine's record, in seconds."""

    id: str
    usual_seconds: float


class Seen(NamedTuple):
    """A look showed something new: status, progress or logs. `elapsed_seconds` counts from the first look."""

    prediction: Prediction
    elapsed_seconds: float

    @property
    def id(self) -> str:
        """The prediction's id."""
        return self.prediction.id


class Waiting(NamedTuple):
    """Nothing changed for a while; a sign of life for logs."""

    id: str
    status: str
    elapsed_seconds: float


class Slow(NamedTuple):
    """One request has been without an answer for this long; the wait goes on."""

    id: str
    seconds: float


class Retrying(NamedTuple):
    """An attempt failed for a passing reason; the next follows after a pause."""

    id: str
    reason: str
    attempt: int
    pause_seconds: float


class Saving(NamedTuple):
    """Bytes of one output file arrived; `total_bytes` is None where the server did not say."""

    id: str
    file_index: int
    name: str
    done_bytes: int
    total_bytes: int | None


class Saved(NamedTuple):
    """One output file stands under its final name, or stood there already (`how` says which)."""

    id: str
    file: SavedFile
    how: str = "saved"


class Noted(NamedTuple):
    """Something the user should know and nothing failed: a hint, or a warning where `is_warning`."""

    id: str
    text: str
    is_warning: bool = False


class Result(NamedTuple):
    """The end of one prediction's part in a command; `failure` is None where all went well."""

    id: str
    prediction: Prediction | None
    files: tuple[SavedFile, ...] = ()
    failure: CometrepError | None = None
    elapsed_seconds: float = 0.0


Event = Creating | Created | Expected | Seen | Waiting | Slow | Retrying | Saving | Saved | Noted | Result
Events = Generator[Event, None, None]
"""What a use case gives: events as they happen, and at its end what went wrong, raised."""
