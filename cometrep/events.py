"""What happens to a prediction, as values: the use cases yield them, the stage shows them."""

from collections.abc import Generator, Mapping
from typing import Any, NamedTuple

from cometrep.errors import CometrepError
from cometrep.prediction import Prediction, SavedFile


class Creating(NamedTuple):
    """A create has been sent, and is not accepted yet: its answer is awaited, or it will be sent again."""

    id: str
    model: str


class Created(NamedTuple):
    """The API accepted a create and answered this prediction.

    Its id is in the ledger, unless another process holds that up, or in a batch's record.

    `key` is that of a batch's item.
    """

    prediction: Prediction
    key: str = ""

    @property
    def id(self) -> str:
        """The prediction's id."""
        return self.prediction.id


class Expected(NamedTuple):
    """How long predictions of this model usually run on this machine's record, in seconds."""

    id: str
    usual_seconds: float


class Seen(NamedTuple):
    """A look showed something new: status, progress or logs; `elapsed_seconds` is how long the wait has gone on."""

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
    """An attempt failed for a passing reason; the next follows after a pause.

    `key` is that of a batch's item.
    """

    id: str
    reason: str
    attempt: int
    pause_seconds: float
    key: str = ""


class Saving(NamedTuple):
    """Bytes of one output file arrived; `total_bytes` is None where the server did not say."""

    id: str
    file_index: int
    name: str
    done_bytes: int
    total_bytes: int | None


class Saved(NamedTuple):
    """One output file stands under its final name, or stood there already (`how` says which).

    `key` is that of a batch's item.
    """

    id: str
    file: SavedFile
    how: str = "saved"
    key: str = ""


class Noted(NamedTuple):
    """Something the user should know and nothing failed: a hint, or a warning where `is_warning`.

    `hint` is the next command to type, where there is one. It `is_of_lost_id` where the ledger did not take the id
    of a prediction that was created.
    """

    id: str
    text: str
    is_warning: bool = False
    hint: str = ""
    is_of_lost_id: bool = False


class Result(NamedTuple):
    """The end of one prediction's part in a command; `failure` is None where all went well."""

    id: str
    prediction: Prediction | None
    files: tuple[SavedFile, ...] = ()
    failure: CometrepError | None = None
    elapsed_seconds: float = 0.0


SKIPPED = "skipped"  # of an item of which nothing was sent, as all its paths exist and are to stay


class ItemEnded(NamedTuple):
    """One item of a batch came to an end, or to a stop: `outcome` is a word of the record's states, or SKIPPED.

    `label` names it to people, as its key may be a hash.
    """

    id: str
    key: str
    label: str
    outcome: str
    text: str
    files: tuple[SavedFile, ...] = ()
    prediction: Prediction | None = None

    def as_json(self) -> dict[str, Any]:
        """Give the object of `batch --json`: its prediction's, as far as it is known, with key and outcome."""
        shown = (self.prediction or Prediction(self.id, "")).as_json()
        unknown = {name: shown[name] or None for name in ("id", "model", "status", "logs")}
        if not shown["status"]:  # no reply showed it
            unknown["data_removed"] = None
        own = {"key": self.key, "outcome": self.outcome, "error": shown["error"] or self.text or None}
        return {**shown, **unknown, **own, "files": [file.as_json() for file in self.files]}


class Tally(NamedTuple):
    """How far a batch is: `ended` came to their ends in this run, well or not.

    `skipped` were finished by earlier runs, or are left alone as their paths exist.
    """

    total: int
    done: int
    failed: int
    unknown: int
    skipped: int
    running: int
    saving: int
    ended: int
    elapsed_seconds: float
    is_stopping: bool = False

    @property
    def id(self) -> str:
        """No prediction's: it is of the batch as a whole."""
        return ""

    @property
    def left(self) -> int:
        """How many items have not come to an end."""
        return self.total - self.done - self.failed - self.unknown - self.skipped

    @property
    def items_a_second(self) -> float:
        """How many items this run ended, a second."""
        return self.ended / self.elapsed_seconds if self.elapsed_seconds > 0 else 0.0


class BatchEnded(NamedTuple):
    """How a run of a batch ended: `codes` counts items by their exit codes; `fatal` is what ended it early.

    `remedy` is the option that finishes all that is left, where there is one, and `word` what all failures have as
    their error's `code`. Where it `is_cut_short`, not all was sent that was to be; where it `is_refused`, the API
    would not show any of what is left.
    """

    tally: Tally
    codes: Mapping[int, int]
    first_failures: tuple[str, ...]
    fatal: CometrepError | None
    remedy: str = ""
    word: str = ""
    is_cut_short: bool = False
    is_refused: bool = False


Event = (
    Creating
    | Created
    | Expected
    | Seen
    | Waiting
    | Slow
    | Retrying
    | Saving
    | Saved
    | Noted
    | Result
    | ItemEnded
    | Tally
)
Events = Generator[Event, None, None]
"""What a use case gives: events as they happen, and at its end what went wrong, raised."""
