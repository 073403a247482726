"""Decide what a run of a batch does with an item, from where earlier runs left it."""

from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

from cometrep.batch.items import Item, digest_of
from cometrep.batch.record import Record
from cometrep.batch.standings import Standing, State
from cometrep.errors import Refused
from cometrep.keeping import Keeper
from cometrep.ledger import Ledger
from cometrep.ledger.entry import REFUSED, UNKNOWN, Entry

GIVEN_TWICE = "the API gave it the id of another item, {}"
_CLOCK_SLACK_SECONDS = 1.0  # between the ledger's entry of a create and the record's step, which comes after it


class Asked(NamedTuple):
    """What a batch was asked for beyond its items."""

    jobs: int = 4
    max_failures: int | None = None
    retries_failed: bool = False
    retries_unknown: bool = False
    reads_sidecars: bool = False  # of items that earlier runs finished, to tell of their predictions

    def fate(self, standing: Standing) -> "Fate":
        """Decide what a run does with an item that stands there."""
        match standing.state:
            case State.DONE:
                return Fate.DONE_BEFORE
            case State.RUNNING:
                return Fate.TO_WAIT_FOR
            case State.UNSAVED:
                return Fate.TO_SAVE
            case State.FAILED:
                return Fate.TO_SEND_AGAIN if self.retries_failed else Fate.FAILED_BEFORE
            case State.UNKNOWN if standing.id:  # a look is free
                return Fate.TO_LOOK_FOR
            case State.UNKNOWN:
                return Fate.TO_SEND_AGAIN if self.retries_unknown else Fate.IN_DOUBT
            case _:
                return Fate.TO_SEND


class Fate(StrEnum):
    """What a run does with an item."""

    TO_SEND = "to_send"
    TO_SEND_AGAIN = "to_send_again"
    TO_WAIT_FOR = "to_wait_for"
    TO_SAVE = "to_save"
    TO_LOOK_FOR = "to_look_for"  # in doubt, as the answer to its create broke off behind an id
    TO_LEAVE_ALONE = "to_leave_alone"  # all its paths exist, and are to stay
    DONE_BEFORE = "done_before"
    FAILED_BEFORE = "failed_before"
    IN_DOUBT = "in_doubt"

    @property
    def is_sending(self) -> bool:
        """Whether a create is sent for it."""
        return self in (Fate.TO_SEND, Fate.TO_SEND_AGAIN)


def entry_of(item: Item, standing: Standing, ledger: Ledger) -> Entry | None:
    """Give the ledger's entry of the create that an item's record speaks of, None where there is none.

    Raises LocalFileError where the ledger cannot be asked.
    """
    if not standing.entry:
        return None
    entry = ledger.create_of(standing.entry, standing.changed + _CLOCK_SLACK_SECONDS)
    # By what was sent: the item's line may say something else by now.
    sent = standing.digest or digest_of(item.model, item.values)
    return entry if entry and digest_of(entry.model, entry.input) == sent else None


def known_by_ledger(item: Item, standing: Standing, ledger: Ledger) -> Standing:
    """Give where an item in doubt stands by the ledger: a power cut or a full disk kept it from the record.

    A create that was not accepted leaves the item where it stood; one that was new has failed, as the ledger does
    not tell whether it would be accepted now. Raises LocalFileError where it cannot be asked.
    """
    if standing.state is not State.UNKNOWN:
        return standing
    entry = entry_of(item, standing, ledger)
    if entry and entry.status == REFUSED:
        if before := standing.without_last_create():
            return known_by_ledger(item, before, ledger)
        return standing._replace(state=State.FAILED, error=entry.error, exit_code=Refused.exit_code)
    if entry and entry.status != UNKNOWN and entry.id:
        return standing._replace(state=State.RUNNING, id=entry.id, error="", exit_code=0)
    return standing


def has_id_in_ledger(item: Item, standing: Standing, ledger: Ledger) -> bool:
    """Say whether an item is in doubt by its record, and the ledger has the id of its prediction."""
    if standing.state is not State.UNKNOWN:
        return False
    known = ledger.insist(known_by_ledger, item, standing, ledger)
    return known is not None and known.state in (State.RUNNING, State.UNSAVED)


def settled(item: Item, standing: Standing, record: Record, ledger: Ledger) -> Standing:
    """Give where an item of a record stands by all that is known: of two with one id the later is in doubt."""
    # Behind a problem of the ledger too: one that is over must not hide what is paid for.
    return _with_own_id(item, ledger.insist(known_by_ledger, item, standing, ledger) or standing, record)


def surely_settled(item: Item, standing: Standing, record: Record, ledger: Ledger) -> Standing:
    """Give the same, before a create that may be one too many; raise LocalFileError where nobody can tell."""
    return _with_own_id(item, known_by_ledger(item, standing, ledger), record)


def _with_own_id(item: Item, standing: Standing, record: Record) -> Standing:
    is_open = standing.state in (State.RUNNING, State.UNSAVED, State.UNKNOWN)
    if is_open and standing.id and record.owner(standing.id, item.key) != item.key:
        return standing._replace(state=State.UNKNOWN, id="", error=GIVEN_TWICE.format(standing.id))
    return standing


def sent_for(item: Item, standing: Standing, ledger: Ledger) -> tuple[str, Any]:
    """Give the model and the input that an item's prediction was asked for, empty and None where nobody knows.

    Its line may say something else by now, which was not sent.
    """
    if standing.digest in ("", item.digest):
        return item.model, item.values
    entry = ledger.lenient(ledger.entry, standing.id) if standing.id else None
    return (entry.model, entry.input) if entry else (standing.model, None)


PathsThatStay = Callable[[Item], Sequence[Path]]


def paths_that_stay(keeper_of: Callable[[str], Keeper], item: Item) -> list[Path]:
    """List the paths of an item's outputs where all of them exist, and are to be left alone."""
    return keeper_of(item.key).places.paths_that_stay(item.request)


def decide(item: Item, standing: Standing, asked: Asked, paths_that_stay: PathsThatStay) -> Fate:
    """Decide what a run does with an item, by where earlier runs and the folder have it."""
    fate = asked.fate(standing)
    return Fate.TO_LEAVE_ALONE if fate.is_sending and paths_that_stay(item) else fate


def changed(item: Item, standing: Standing, asked: Asked) -> str:
    """Say that an item is not what was sent under its key, and is not sent again; empty where that is not so."""
    if standing.digest in ("", item.digest) or asked.fate(standing).is_sending:
        return ""
    if item.key.startswith(item.digest):
        return (
            f"line {item.number} is not sent: other inputs had the key {item.key!r} that its own make;"
            " give it a key"
        )
    way = "give it another key"
    if standing.state is State.FAILED:
        way += ", or --retry-failed sends it as it is now"
    told = f"the inputs of {item.key!r} (line {item.number}) changed since it was sent, and it is not sent again"
    is_retried = asked.retries_unknown if standing.state is State.UNKNOWN else asked.retries_failed
    if is_retried and standing.state is not State.DONE:
        told += " unless its prediction is gone"
    return f"{told}; {way}"
