"""The ledger: every prediction made from this machine, kept through crashes, crowds and hostile texts."""

import errno
import hashlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cometrep import errors
from cometrep import ledger as ledger_module
from cometrep.hints import RUN_AGAIN
from cometrep.ledger import Ledger, database
from cometrep.ledger.entry import REFUSED, UNKNOWN, Entry
from cometrep.prediction import Prediction, SavedFile
from cometrep.references import Reference
from tests.conftest import TIMEOUT_SECONDS, mode_of, on_posix
from tests.servers import SCHNELL

OTHER_MODEL = "stability-ai/sdxl"
BASE_URL = "https://api.cometapi.com"
NASTY = "caf\udce9 \0 \x1b[31m 狐 'quoted'; --"
ESCAPED = "caf\\udce9 \0 \x1b[31m 狐 'quoted'; --"


@dataclass
class Clock:
    """A clock that goes on by a second each time it is asked."""

    now: float = 1_800_000_000.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


@dataclass
class Shelf:
    """A folder for ledgers, closed when the test ends."""

    path: Path
    clock: Clock = field(default_factory=Clock)
    opened: list[Ledger] = field(default_factory=list)

    def ledger(self, *, base_url: str = BASE_URL, is_sandbox: bool = False, path: Path | None = None) -> Ledger:
        """Open the ledger as a command does."""
        ledger = Ledger(path or self.path, base_url=base_url, is_sandbox=is_sandbox, clock=self.clock)
        self.opened.append(ledger)
        return ledger

    def rows(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Execute a statement as another program does."""
        with closing(sqlite3.connect(self.path, isolation_level=None)) as other:
            return other.execute(statement, values).fetchall()


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    """A folder that does not exist yet."""
    shelf = Shelf(tmp_path / "state" / "ledger.sqlite3")
    yield shelf
    for ledger in shelf.opened:
        ledger.close()


@pytest.fixture
def ledger(shelf: Shelf) -> Ledger:
    """A ledger of the real API, whose file does not exist yet."""
    return shelf.ledger()


def made(ledger: Ledger, id: str, model: str = SCHNELL, **values: Any) -> int:
    """Write a create that was accepted."""
    number = ledger.begin(model, values)
    ledger.accept(number, Prediction(id, "starting"))
    return number


def found(ledger: Ledger, id: str) -> Entry:
    """Give an entry that must be there."""
    entry = ledger.entry(id)
    assert entry is not None
    return entry


def ids(ledger: Ledger, **conditions: Any) -> list[str]:
    """List the ids of entries."""
    return [entry.id for entry in ledger.entries(**conditions)]


# The life of an entry


def test_an_entry_is_as_old_as_its_writing_and_pruned_by_what_stands_then(
    shelf: Shelf, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Either may have waited for another process: an entry of a create under way is not taken for an old one."""
    made(ledger, "p1")
    is_held = []

    def clock(_: Clock) -> float:
        with closing(sqlite3.connect(shelf.path, isolation_level=None, timeout=0)) as other:
            try:
                other.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                is_held.append(True)
            else:
                is_held.append(False)
        return 1_900_000_000.0

    monkeypatch.setattr(Clock, "__call__", clock)
    ledger.begin(SCHNELL, {})
    ledger.prune(1_900_000_000.0)
    assert is_held
    assert all(is_held)


def test_a_create_is_written_before_it_is_sent(shelf: Shelf, ledger: Ledger) -> None:
    """An entry begins unknown and without an id, and another process sees it at once."""
    number = ledger.begin(SCHNELL, {"prompt": "cat", "seed": 7})
    (entry,) = shelf.ledger().entries()
    assert (entry.number, entry.id, entry.status) == (number, "", UNKNOWN)
    assert (entry.model, entry.base_url, entry.is_sandbox) == (SCHNELL, BASE_URL, False)
    assert entry.input == {"prompt": "cat", "seed": 7}
    assert (entry.output, entry.error, entry.request_id, entry.files) == (None, "", "", ())
    assert entry.created == entry.changed == 1_800_000_001.0


def test_what_is_paid_for_waits_for_the_disk(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a create comes to is on the disk before the program goes on; what looks show need not be."""
    levels: list[int] = []

    class Watched(sqlite3.Connection):
        def execute(self, statement: str, values: Any = (), /) -> sqlite3.Cursor:
            if statement == "COMMIT":
                levels.append(super().execute("PRAGMA synchronous").fetchone()[0])
            return super().execute(statement, values)

    monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=Watched))
    number = ledger.begin(SCHNELL, {})
    levels.clear()  # of making the file
    ledger.refuse(number, errors.Refused("slow down"))
    ledger.send_again(number)
    ledger.accept(number, Prediction("p1", "starting"))
    ledger.see(Prediction("p1", "processing"))
    other = ledger.begin(SCHNELL, {})
    ledger.doubt(other, errors.CreateUnknown("broke off"))
    full, normal = 2, 1  # sqlite.org/pragma.html#pragma_synchronous
    assert levels == [full, full, full, normal, full, full]


def test_an_accepted_create_has_its_id(shelf: Shelf, ledger: Ledger) -> None:
    """The id and status of the answer go into the entry that waited for it."""
    other = ledger.begin(SCHNELL, {})
    made(ledger, "p1")
    entry = found(shelf.ledger(), "p1")
    assert (entry.id, entry.status) == ("p1", "starting")
    assert entry.changed > entry.created
    assert [entry.number for entry in shelf.ledger().entries(status=UNKNOWN)] == [other]


@pytest.mark.parametrize(
    ("mark", "status", "id"),
    [(Ledger.refuse, REFUSED, ""), (Ledger.doubt, UNKNOWN, "")],
    ids=["refused", "doubted"],
)
def test_a_create_that_failed_says_why(
    ledger: Ledger, mark: Callable[[Ledger, int, errors.CometrepError], None], status: str, id: str
) -> None:
    """A refused create and one whose outcome is unknown keep the reason and the request id."""
    number = ledger.begin(SCHNELL, {})
    mark(ledger, number, errors.Refused("HTTP 402: no credit", request_id="r1"))
    (entry,) = ledger.entries()
    assert (entry.status, entry.id, entry.error, entry.request_id) == (status, id, "HTTP 402: no credit", "r1")


@pytest.mark.parametrize(
    ("asked", "id"),
    [
        ({}, "p1"),
        ({"is_sandbox": True, "base_url": "http://127.0.0.1:2"}, "p1"),
        ({"before": 1_800_000_000.0}, ""),
        ({"base_url": "https://other.example"}, ""),
        ({"is_sandbox": True, "made_in_sandbox": False}, ""),
        ({"is_sandbox": False, "made_in_sandbox": True}, ""),
    ],
    ids=[
        *("this create", "of a sandbox at another port", "a later create"),
        *("another server", "asked of the sandbox", "made in the sandbox"),
    ],
)
def test_an_entry_is_a_creates_own_alone(shelf: Shelf, asked: dict[str, Any], id: str) -> None:
    """A number alone proves nothing: the ledger may be another one, or have begun anew."""
    asked = {"before": 1_800_000_001.0, **asked}
    is_sandbox = asked.pop("is_sandbox", False)
    maker = shelf.ledger(is_sandbox=asked.pop("made_in_sandbox", is_sandbox))
    number = maker.begin(SCHNELL, {"prompt": "cat"})
    maker.accept(number, Prediction("p1", "starting"))
    ledger = shelf.ledger(is_sandbox=is_sandbox, base_url=asked.pop("base_url", BASE_URL))
    entry = ledger.create_of(number, **asked)
    assert (entry.id if entry else "") == id
    assert ledger.create_of(number + 1, **asked) is None


@pytest.mark.parametrize("how", ["accepted", "in doubt", "sent again"])
def test_the_entry_of_a_create_is_made_anew_where_another_process_pruned_it(
    shelf: Shelf, ledger: Ledger, how: str
) -> None:
    """A clock that was wrong when it was made, as before the first word from NTP, had made it look old."""
    shelf.clock.now = 1000.0
    number = ledger.begin(SCHNELL, {"prompt": "cat"})
    if how == "sent again":
        ledger.refuse(number, errors.Temporary("HTTP 429"))
    shelf.clock.now = 1_800_000_000.0
    assert shelf.ledger().prune(shelf.clock.now - 90 * 86_400.0) == (1, 0)
    if how == "accepted":
        ledger.accept(number, Prediction("p1", "starting"))
    elif how == "in doubt":
        ledger.doubt(number, errors.CreateUnknown("broke off"))
    else:
        ledger.refuse(number, errors.Temporary("HTTP 429"))  # of which there is nothing to keep
        assert ids(ledger) == []
        ledger.send_again(number)
    (entry,) = ledger.entries()
    assert (entry.number, entry.model, entry.input) == (number, SCHNELL, {"prompt": "cat"})
    told = ("p1", "starting", "") if how == "accepted" else ("", UNKNOWN, "broke off" if how == "in doubt" else "")
    assert (entry.id, entry.status, entry.error) == told
    assert entry.created > 1_800_000_000.0


@pytest.mark.parametrize("how", ["accepted", "in doubt", "refused"])
def test_the_number_of_a_pruned_entry_is_no_reason_to_write_over_anothers(
    shelf: Shelf, ledger: Ledger, how: str
) -> None:
    """A create that waits for more than an hour to be sent again may be forgotten, and SQLite gives its number."""
    number = ledger.begin(SCHNELL, {"prompt": "cat"})
    ledger.refuse(number, errors.Temporary("HTTP 429"))
    shelf.clock.now += 7200.0
    other = shelf.ledger()
    assert other.prune(shelf.clock.now) == (1, 0)
    assert made(other, "p1", prompt="cat") == number
    if how == "refused":
        ledger.refuse(number, errors.Refused("HTTP 402"))
    else:
        again = ledger.send_again(number)
        assert again == number + 1
        if how == "accepted":
            ledger.accept(again, Prediction("p2", "starting"))
        else:
            ledger.doubt(again, errors.CreateUnknown("broke off"))
    kept = {"accepted": ("p2", "starting"), "in doubt": ("", UNKNOWN)}
    told = [*([kept[how]] if how in kept else []), ("p1", "starting")]
    assert [(entry.id, entry.status) for entry in ledger.entries()] == told


def test_the_entry_of_a_create_of_another_command_is_made_anew_as_far_as_it_is_known(
    shelf: Shelf, ledger: Ledger
) -> None:
    """Its prediction is kept; a create of which nothing is known is neither sent again nor in doubt unsaid."""
    number = made(ledger, "p1")
    shelf.rows("DELETE FROM entries")
    ledger.accept(number, Prediction("p1", "starting", SCHNELL))
    assert (found(ledger, "p1").model, found(ledger, "p1").input) == (SCHNELL, {})
    shelf.rows("DELETE FROM entries")
    with pytest.raises(errors.LocalFileError, match="has lost the entry of a create"):
        ledger.send_again(number)
    with pytest.raises(errors.LocalFileError, match="has lost the entry of a create"):
        ledger.doubt(number, errors.CreateUnknown("lost"))
    ledger.refuse(number, errors.Refused("no"))


def test_what_was_sent_is_kept_of_so_many_creates_alone(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory does not grow with the creates of a batch, however many are refused."""
    monkeypatch.setattr(ledger_module, "_SENT_LIMIT", 2)
    for _ in range(4):
        ledger.refuse(ledger.begin(SCHNELL, {}), errors.Refused("no"))
    made(ledger, "p1")
    assert len(ledger._sent) == 1


def test_a_doubtful_create_may_have_a_probable_id(ledger: Ledger) -> None:
    """The id that a broken answer began with stands in the entry, and can be waited for."""
    number = ledger.begin(SCHNELL, {})
    ledger.doubt(number, errors.CreateUnknown("broke off", prediction_id="p9"))
    assert found(ledger, "p9").status == UNKNOWN
    assert ledger.resolve(Reference(back=1)) == "p9"


def test_looks_are_written_where_they_show_something_new(ledger: Ledger) -> None:
    """Status, output and error follow what looks show; an unchanged look writes nothing."""
    made(ledger, "p1")
    ledger.see(Prediction("p1", "processing"))
    changed = found(ledger, "p1").changed
    ledger.see(Prediction("p1", "processing", logs="50%|"))
    assert found(ledger, "p1").changed == changed
    ledger.see(Prediction("p1", "succeeded", output=["https://x/a.png"], metrics={"predict_time": 1.5}))
    entry = found(ledger, "p1")
    assert (entry.status, entry.output) == ("succeeded", ["https://x/a.png"])
    assert entry.changed > changed


def test_an_error_is_kept(ledger: Ledger) -> None:
    """The model's own words of a failure stand in the entry."""
    made(ledger, "p1")
    ledger.see(Prediction("p1", "failed", error={"code": "E005", "message": "flagged"}))
    assert (found(ledger, "p1").status, found(ledger, "p1").error) == ("failed", "E005: flagged")


def test_an_output_once_seen_is_kept(ledger: Ledger) -> None:
    """After its hour the server forgets the output; the ledger does not."""
    made(ledger, "p1")
    ledger.see(Prediction("p1", "succeeded", output="https://x/a.png"))
    changed = found(ledger, "p1").changed
    ledger.see(Prediction("p1", "succeeded", output=None, data_removed=True))
    assert (found(ledger, "p1").output, found(ledger, "p1").changed) == ("https://x/a.png", changed)
    made(ledger, "p2")
    ledger.see(Prediction("p2", "processing", output="early"))
    ledger.see(Prediction("p2", "failed", output=None))
    assert (found(ledger, "p2").status, found(ledger, "p2").output) == ("failed", "early")


def test_an_end_once_seen_is_kept(shelf: Shelf, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look that another command's overtook, and that still shows it running, does not take the end away."""
    made(ledger, "p1")
    other = shelf.ledger()
    ask = other._database.rows

    def overtaken(query: str, *values: Any) -> list[sqlite3.Row]:
        rows = ask(query, *values)
        ledger.see(Prediction("p1", "succeeded", output=["https://x/a.png"]))
        return rows

    monkeypatch.setattr(other._database, "rows", overtaken)
    for _ in range(2):
        other.see(Prediction("p1", "processing"))
        assert (found(ledger, "p1").status, found(ledger, "p1").unsaved_outputs) == ("succeeded", 1)


def test_an_output_may_come_after_the_status(ledger: Ledger) -> None:
    """Where the first look at a success has no output yet, that of the next one is kept."""
    made(ledger, "p1")
    ledger.see(Prediction("p1", "succeeded"))
    ledger.see(Prediction("p1", "succeeded", output="late"))
    assert found(ledger, "p1").output == "late"


def test_an_unknown_status_is_kept_as_it_is(ledger: Ledger) -> None:
    """The server's own word stands in the entry."""
    made(ledger, "p1")
    ledger.see(Prediction("p1", "warming_up"))
    assert found(ledger, "p1").status == "warming_up"


@pytest.mark.parametrize(
    "seconds", [10**400, -1, float("inf"), float("nan"), "1.5", None, True, [1]], ids=lambda value: repr(value)[:12]
)
def test_odd_metrics_do_no_harm(ledger: Ledger, seconds: object) -> None:
    """Whatever a server calls the time of a run, the look is written."""
    made(ledger, "p1")
    ledger.see(Prediction("p1", "succeeded", output="x", metrics={"predict_time": seconds}))
    assert found(ledger, "p1").output == "x"


def test_a_success_without_output_is_not_unsaved(ledger: Ledger) -> None:
    """There is nothing that could be saved."""
    ledger.accept(ledger.begin(SCHNELL, {}), Prediction("p1", "starting"))
    ledger.see(Prediction("p1", "succeeded"))
    assert found(ledger, "p1").unsaved_outputs == 0
    assert list(ledger.entries(unsaved_only=True)) == []


def test_a_huge_output_is_not_kept(ledger: Ledger) -> None:
    """An output of more than a megabyte of JSON is left out; the status is written all the same."""
    made(ledger, "p1")
    ledger.see(Prediction("p1", "succeeded", output="x" * 1_000_001))
    assert (found(ledger, "p1").status, found(ledger, "p1").output) == ("succeeded", None)


def test_data_uris_are_kept_as_digests(shelf: Shelf, ledger: Ledger) -> None:
    """Files that travel inside input or output are replaced by their SHA-256."""
    uri = "data:image/png;base64,aGVsbG8="
    short = f"data:image/png;sha256={hashlib.sha256(b'hello').hexdigest()};bytes=5"
    made(ledger, "p1", images=[uri])
    ledger.see(Prediction("p1", "succeeded", output=[uri]))
    entry = found(ledger, "p1")
    assert (entry.input, entry.output) == ({"images": [short]}, [short])
    ledger.close()
    assert b"aGVsbG8" not in b"".join(path.read_bytes() for path in shelf.path.parent.iterdir())


def test_a_prediction_of_another_machine_is_not_written(ledger: Ledger) -> None:
    """A look at an id that was not made here leaves no entry."""
    made(ledger, "p1")
    ledger.see(Prediction("other", "succeeded"))
    assert ids(ledger) == ["p1"]
    assert ledger.entry("other") is None


# Files


def saved(path: Path, index: int = 0, sha256: str = "ab") -> SavedFile:
    """Describe a saved file."""
    return SavedFile(str(path), index, 3, sha256, "image/webp", f"https://x/{index}.webp")


def test_a_prediction_of_another_server_is_not_the_one_of_its_id_here(shelf: Shelf, ledger: Ledger) -> None:
    """What one server says of an id is nothing that the other one said; only what was sent can be had from both."""
    made(ledger, "p1", prompt="cat")
    ledger.see(Prediction("p1", "succeeded", output="mine"))
    other = shelf.ledger(base_url="https://other.example")
    assert (other.entry("p1"), other.ended("p1")) == (None, None)
    other.see(Prediction("p1", "failed", error="theirs"))
    assert (found(ledger, "p1").status, found(ledger, "p1").output) == ("succeeded", "mine")
    elsewhere = other.entry("p1", anywhere=True)
    assert elsewhere is not None
    assert elsewhere.input == {"prompt": "cat"}


def test_saved_files_are_remembered(ledger: Ledger, tmp_path: Path) -> None:
    """Files come back by index, the newest copy first, and stand in the list of entries."""
    made(ledger, "p1")
    second, first, copy = saved(tmp_path / "b", 1), saved(tmp_path / "a"), saved(tmp_path / "c")
    for file in (second, first, copy):
        ledger.add_file("p1", file)
    assert ledger.files("p1") == (copy, first, second)
    (entry,) = ledger.entries()
    assert entry.files == (copy, first, second)
    assert ledger.files("p2") == ()


def test_a_file_saved_again_replaces_its_entry(ledger: Ledger, tmp_path: Path) -> None:
    """The same path is one file, as it was saved last."""
    for sha256 in ("ab", "cd"):
        ledger.add_file("p1", saved(tmp_path / "a", sha256=sha256))
    assert [file.sha256 for file in ledger.files("p1")] == ["cd"]


def test_a_file_is_of_its_own_servers_prediction_alone(shelf: Shelf, ledger: Ledger, tmp_path: Path) -> None:
    """Gateways that number from 1 give their ids again: what one made is not what another one is paid for."""
    other, sandbox = shelf.ledger(base_url="https://other.example"), shelf.ledger(is_sandbox=True)
    ledgers = (ledger, other, sandbox)
    files = [saved(tmp_path / name) for name in ("a", "b", "c")]
    for one in ledgers:
        made(one, "7")
        one.see(Prediction("7", "succeeded", output=["https://x/0.webp"]))
    for one, file in zip(ledgers, files, strict=True):
        assert one.files("7") == ()
        assert ids(one, unsaved_only=True)[:1] == ["7"]
        one.add_file("7", file)
    assert [one.files("7") for one in ledgers] == [(file,) for file in files]
    assert [entry.files for entry in ledger.entries()] == [(files[1],), (files[0],)]
    assert ids(ledger, unsaved_only=True) == []


def test_a_file_of_a_prediction_made_elsewhere_is_of_the_server_it_came_from(
    shelf: Shelf, ledger: Ledger, tmp_path: Path
) -> None:
    """Where no entry tells, as of an id that another machine created; the sandbox is one at any port."""
    ledger.add_file("7", saved(tmp_path / "a"))
    shelf.ledger(is_sandbox=True, base_url="http://127.0.0.1:1").add_file("7", saved(tmp_path / "b"))
    sandbox = shelf.ledger(is_sandbox=True, base_url="http://127.0.0.1:2")
    asked = (ledger, shelf.ledger(base_url="https://other.example"), sandbox)
    assert [[Path(file.path).name for file in one.files("7")] for one in asked] == [["a"], [], ["b"]]


@pytest.mark.parametrize("sha256", ["ab", "cd"], ids=["the same", "another"])
def test_a_file_that_is_had_again_by_another_address_stays_its_creates_own(
    shelf: Shelf, ledger: Ledger, tmp_path: Path, sha256: str
) -> None:
    """As by localhost for 127.0.0.1; what stands there now, where it is something else, is not."""
    made(ledger, "7")
    ledger.see(Prediction("7", "succeeded", output=["https://x/0.webp"]))
    other = shelf.ledger(base_url="https://other.example")
    for one in (other, ledger):  # also where the other one was first
        one.add_file("7", saved(tmp_path / "a"))
    assert (len(ledger.files("7")), other.files("7")) == (1, ())
    other.add_file("7", saved(tmp_path / "a", sha256=sha256))
    assert len(ledger.files("7")) == (sha256 == "ab")
    assert (ids(ledger, unsaved_only=True) == []) == (sha256 == "ab")


def test_an_id_that_a_server_gives_again_has_no_files_yet(shelf: Shelf, ledger: Ledger, tmp_path: Path) -> None:
    """As behind a reset, whatever the clock says: its picture is another, and neither takes the other's along."""
    output = ["https://x/0.webp", "https://x/1.webp"]
    made(ledger, "7")
    ledger.see(Prediction("7", "succeeded", output=output))
    ledger.add_file("7", saved(tmp_path / "a"))
    first = found(ledger, "7")
    shelf.clock.now += 7200.0
    second = made(ledger, "7")
    assert ledger.files("7") == ()
    ledger.see(Prediction("7", "succeeded", output=output))
    shelf.clock.now -= 7200.0
    ledger.add_file("7", saved(tmp_path / "b"))
    assert ledger.files("7") == (saved(tmp_path / "b"),)
    # The server does not know the first one any more: what was not saved of it cannot be.
    assert [entry.number for entry in ledger.entries(unsaved_only=True)] == [second]
    shelf.clock.now += 14400.0
    assert ledger.prune(first.created + 1.0) == (1, 0)
    assert ledger.files("7") == (saved(tmp_path / "b"),)
    assert ledger.file_folders(9) == [tmp_path]
    shelf.clock.now += 14400.0
    assert ledger.prune(shelf.clock.now) == (1, 0)
    assert shelf.rows("SELECT * FROM files") == []


def test_files_that_an_earlier_version_saved_are_of_the_entry_before_them(
    shelf: Shelf, ledger: Ledger, tmp_path: Path
) -> None:
    """It wrote their time alone; and it can go on to write, and read, what this one made."""
    old = "INSERT OR REPLACE INTO files VALUES (?, 0, ?, 3, 'ab', 'image/webp', 'https://x/0.webp', ?)"
    other = shelf.ledger(base_url="https://other.example")
    made(ledger, "7")
    shelf.rows(old, "7", str(tmp_path / "a"), shelf.clock())
    shelf.rows(old, "8", str(tmp_path / "b"), shelf.clock())
    assert (ledger.files("7"), other.files("7")) == ((saved(tmp_path / "a"),), ())
    assert (ledger.files("8"), other.files("8")) == ((saved(tmp_path / "b"),),) * 2  # nobody knows whose it is
    made(other, "7")
    made(other, "8")
    assert (ledger.files("7"), other.files("7")) == ((saved(tmp_path / "a"),), ())
    assert other.files("8") == ()
    shelf.rows(old, "7", str(tmp_path / "c"), shelf.clock())
    other.add_file("7", saved(tmp_path / "d"))
    assert other.files("7") == (saved(tmp_path / "d"), saved(tmp_path / "c"))
    newest_first = shelf.rows("SELECT path FROM files WHERE id = '7' ORDER BY file_index, saved DESC")
    assert [Path(path).name for (path,) in newest_first] == ["d", "c", "a"]


def test_the_url_tells_whose_a_file_is_that_an_earlier_version_saved(
    shelf: Shelf, ledger: Ledger, tmp_path: Path
) -> None:
    """Where two servers had one id at the time, or the clock went back behind the create."""
    old = "INSERT OR REPLACE INTO files VALUES (?, 0, ?, 3, 'ab', 'image/webp', 'https://x/0.webp', ?)"
    other = shelf.ledger(base_url="https://other.example")
    made(ledger, "7")
    ledger.see(Prediction("7", "succeeded", output=["https://x/0.webp"]))
    made(other, "7")
    other.see(Prediction("7", "succeeded", output=["https://x/00.webp"]))
    for name, seconds in (("a", 0.0), ("b", -7200.0)):
        shelf.rows(old, "7", str(tmp_path / name), shelf.clock.now + seconds)
    assert ledger.files("7") == (saved(tmp_path / "a"), saved(tmp_path / "b"))
    assert other.files("7") == ()
    assert [len(entry.files) for entry in ledger.entries()] == [0, 2]


def test_the_files_of_many_entries_are_each_entrys_own(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many are asked for at once, and where an entry has none or no id."""
    monkeypatch.setattr("cometrep.ledger._AT_ONCE", 3)
    for number in range(8):
        made(ledger, f"p{number}")
        for index in range(number % 3):
            ledger.add_file(f"p{number}", saved(tmp_path / f"{number}-{index}", index=index))
    ledger.begin("m", {})
    told = [[Path(file.path).name for file in entry.files] for entry in ledger.entries()]
    assert told == [[], *([f"{number}-{index}" for index in range(number % 3)] for number in range(7, -1, -1))]
    assert [len(entry.files) for entry in ledger.entries(limit=4)] == [0, 1, 0, 2]


def test_paths_are_kept_absolute(ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path means the folder it was saved in, wherever it is asked for."""
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path / "sub")
    ledger.add_file("p1", saved(Path("../a.webp")))
    assert ledger.files("p1")[0].path == str(tmp_path / "a.webp")


# References


@pytest.fixture
def filled(ledger: Ledger) -> Ledger:
    """A ledger with p1, a refused create, p2 and a create of unknown outcome, in that order."""
    made(ledger, "p1")
    ledger.refuse(ledger.begin(SCHNELL, {}), errors.Refused("no"))
    made(ledger, "p2")
    ledger.doubt(ledger.begin(OTHER_MODEL, {}), errors.CreateUnknown("lost", request_id="r1"))
    return ledger


def test_an_id_means_itself(ledger: Ledger, shelf: Shelf) -> None:
    """An id is taken as it is, known here or not, without a ledger."""
    assert ledger.resolve(Reference(id="anything")) == "anything"
    assert not shelf.path.parent.exists()


def test_back_counts_what_may_exist(filled: Ledger) -> None:
    """@N steps over refused creates, for no prediction stands behind them."""
    assert [filled.resolve(Reference(back=back)) for back in (2, 3)] == ["p2", "p1"]


def test_the_last_one_is_the_last_made_whatever_the_clock_said(ledger: Ledger, shelf: Shelf) -> None:
    """A clock that is set back puts no earlier prediction in the place of the one that was just paid for."""
    made(ledger, "p1")
    shelf.clock.now -= 3600.0
    made(ledger, "p2")
    assert [ledger.resolve(Reference(back=back)) for back in (1, 2)] == ["p2", "p1"]


def test_what_is_made_meanwhile_moves_no_reference(shelf: Shelf, ledger: Ledger) -> None:
    """`@last @2` of one command are two predictions, also where another command makes one between them."""
    made(ledger, "p1")
    made(ledger, "p2")
    later = shelf.ledger()
    assert later.resolve(Reference(back=1)) == "p2"
    made(ledger, "p3")
    assert later.resolve(Reference(back=2)) == "p1"
    assert shelf.ledger().resolve(Reference(back=1)) == "p3"


def test_the_last_one_may_be_unknown(shelf: Shelf, filled: Ledger) -> None:
    """@last never passes over a create that may have been billed: it says that its outcome is unknown."""
    with pytest.raises(errors.CreateUnknown, match=f"@last is a create of {OTHER_MODEL}") as raised:
        filled.resolve(Reference(back=1))
    assert (raised.value.exit_code, raised.value.request_id) == (10, "r1")
    assert "@2 is the one before" in raised.value.message
    filled.begin(OTHER_MODEL, {})
    with pytest.raises(errors.CreateUnknown, match=r"@2 is a create of .*; @3 is the one before"):
        shelf.ledger().resolve(Reference(back=2))


def test_the_last_one_may_be_under_way(ledger: Ledger, shelf: Shelf) -> None:
    """Of a create that was sent just now its outcome is unknown as yet; another command may be waiting for it."""
    number = ledger.begin(OTHER_MODEL, {})
    ledger.refuse(number, errors.Temporary("HTTP 429"))
    shelf.clock.now += 3600.0
    ledger.send_again(number)
    shelf.clock.now += 20.0  # and a second with each look at it
    with pytest.raises(
        errors.CreateUnknown, match="unknown: sent 21 s ago, it may be under way still; @2"
    ) as raised:
        ledger.resolve(Reference(back=1))
    assert raised.value.hint == "cometrep list --unknown"
    shelf.clock.now += 300.0
    with pytest.raises(errors.CreateUnknown, match="unknown: no id came back; @2") as raised:
        ledger.resolve(Reference(back=1))
    assert raised.value.hint == "cometrep list --unknown"


@pytest.mark.parametrize(("back", "shown"), [(4, "@4"), (999_999, "@999999")])
def test_further_back_than_the_ledger(filled: Ledger, back: int, shown: str) -> None:
    """Asking for more than there is is a usage error."""
    with pytest.raises(errors.UsageError, match=f"{shown}: the ledger of this machine holds no such") as raised:
        filled.resolve(Reference(back=back))
    assert raised.value.code == "no_such_entry"


def test_no_ledger_has_no_last_one(ledger: Ledger) -> None:
    """Without a ledger @last is a usage error."""
    with pytest.raises(errors.UsageError, match="@last: the ledger of this machine holds no such"):
        ledger.resolve(Reference(back=1))


def test_the_last_one_of_a_ledger_of_the_sandbox_alone(shelf: Shelf, ledger: Ledger) -> None:
    """Who has only tried the sandbox is told where its predictions are; one beside others is no such one."""
    made(shelf.ledger(is_sandbox=True), "s1")
    with pytest.raises(errors.UsageError, match="holds no predictions but the sandbox's") as raised:
        ledger.resolve(Reference(back=1))
    assert raised.value.hint == "cometrep list --sandbox"
    made(ledger, "p1")
    with pytest.raises(errors.UsageError, match="holds no such prediction"):
        ledger.resolve(Reference(back=2))
    assert [ledger.is_of_sandbox(id) for id in ("s1", "p1", "p2")] == [True, False, False]


def test_the_last_one_of_another_server(shelf: Shelf, ledger: Ledger) -> None:
    """A prediction of another base URL is not looked for here; the hint is the flag that goes there."""
    made(ledger, "p1")
    elsewhere = shelf.ledger(base_url="https://other.example")
    with pytest.raises(errors.UsageError, match=f"p1, which was made at {BASE_URL}") as raised:
        elsewhere.resolve(Reference(back=1))
    assert (raised.value.code, raised.value.hint) == ("other_base_url", f"add --base-url {BASE_URL}")


def test_the_sandbox_is_kept_apart(shelf: Shelf, ledger: Ledger) -> None:
    """Each kind of server sees its own entries only, and the sandbox's address may change between commands."""
    sandbox = shelf.ledger(is_sandbox=True, base_url="http://127.0.0.1:1")
    made(ledger, "same")
    made(sandbox, "same")
    made(sandbox, "s2")
    sandbox.see(Prediction("same", "succeeded", output="x", metrics={"total_time": 0.1}))
    assert (ids(ledger), ids(sandbox)) == (["same"], ["s2", "same"])
    assert (found(ledger, "same").status, found(sandbox, "same").status) == ("starting", "succeeded")
    assert (found(ledger, "same").is_sandbox, found(sandbox, "same").is_sandbox) == (False, True)
    assert (ledger.run_seconds(SCHNELL), sandbox.run_seconds(SCHNELL)) == ([], [0.1])
    later = shelf.ledger(is_sandbox=True, base_url="http://127.0.0.1:2")
    assert later.resolve(Reference(back=1)) == "s2"
    assert ledger.resolve(Reference(back=1)) == "same"


# Questions


def test_entries_newest_first(ledger: Ledger) -> None:
    """Entries come newest first and can be narrowed by model, status, time and number."""
    for number in range(4):
        made(ledger, f"p{number}", OTHER_MODEL if number % 2 else SCHNELL)
    ledger.see(Prediction("p0", "succeeded"))
    created = found(ledger, "p2").created
    assert ids(ledger) == ["p3", "p2", "p1", "p0"]
    assert ids(ledger, limit=2) == ["p3", "p2"]
    assert ids(ledger, limit=0) == []
    assert ids(ledger, model=OTHER_MODEL) == ["p3", "p1"]
    assert ids(ledger, model="black-forest-labs/*") == ["p2", "p0"]
    assert ids(ledger, model="*/flux-[r-t]*") == ["p2", "p0"]
    assert ids(ledger, model="nobody/*") == []
    assert ids(ledger, status="succeeded") == ["p0"]
    assert ids(ledger, since=created) == ["p3", "p2"]
    assert ids(ledger, model=SCHNELL, status="starting", since=created, limit=5) == ["p2"]


def test_an_odd_pattern_finds_nothing(ledger: Ledger) -> None:
    """A pattern that is no text in any encoding is a pattern that nothing matches."""
    made(ledger, "p1")
    assert ids(ledger, model="caf\udce9") == []
    assert ids(ledger, status="caf\udce9") == []


def test_entries_may_be_left_early(ledger: Ledger) -> None:
    """Who stops reading entries leaves the ledger usable."""
    for number in range(3):
        made(ledger, f"p{number}")
    assert next(iter(ledger.entries())).id == "p2"
    made(ledger, "p3")
    assert ids(ledger, limit=1) == ["p3"]


def test_a_listing_may_end_behind_its_ledger(ledger: Ledger) -> None:
    """Where a listing ends in the middle its rows are let go of last, and there is nothing to say of that."""
    for number in range(3):
        made(ledger, f"p{number}")
    rows = ledger._database.each("SELECT * FROM entries")
    next(rows)
    ledger.close()
    rows.close()  # type: ignore[attr-defined]


def test_the_json_of_an_entry(ledger: Ledger, tmp_path: Path) -> None:
    """`list --json` has its documented keys, and null for what is not known."""
    ledger.begin(SCHNELL, {"prompt": "cat"})
    (entry,) = ledger.entries()
    assert entry.as_json() == {
        "schema_version": 1,
        "id": None,
        "model": SCHNELL,
        "status": "unknown",
        "input": {"prompt": "cat"},
        "output": None,
        "error": None,
        "logs": None,
        "metrics": None,
        "progress": None,
        "started_at": None,
        "completed_at": None,
        "data_removed": None,
        "created_at": "2027-01-15T08:00:01Z",
        "changed_at": "2027-01-15T08:00:01Z",
        "base_url": BASE_URL,
        "sandbox": False,
        "request_id": None,
        "unsaved_outputs": 0,
        "expires_at": None,
        "files": [],
    }
    made(ledger, "p1")
    ledger.add_file("p1", saved(tmp_path / "a"))
    assert [file["path"] for file in found_with_files(ledger).as_json()["files"]] == [str(tmp_path / "a")]


def test_outputs_expire_an_hour_after_the_end_whenever_that_was_seen(shelf: Shelf, ledger: Ledger) -> None:
    """The API counts from there, and whoever looks a day later has no hour more."""
    number = made(ledger, "p1")
    (before,) = ledger.entries()
    shelf.clock.now += 86_400
    seen = Prediction("p1", "succeeded", output="https://x.test/a.png", created_at="2027-01-15T08:00:00Z")
    ledger.accept(number, seen._replace(completed_at="2027-01-15T08:00:07Z"))
    (entry,) = ledger.entries()
    assert entry.expires == before.created + 7 + 3600


def found_with_files(ledger: Ledger) -> Entry:
    """Give the newest entry as `list` sees it."""
    return next(iter(ledger.entries()))


QUESTIONS: dict[str, Callable[[Ledger], Any]] = {
    "entries": lambda ledger: list(ledger.entries()),
    "entry": lambda ledger: [*filter(None, [ledger.entry("p1")])],
    "files": lambda ledger: list(ledger.files("p1")),
}


@pytest.mark.parametrize("question", QUESTIONS.values(), ids=QUESTIONS.keys())
def test_questions_make_no_file(shelf: Shelf, ledger: Ledger, question: Callable[[Ledger], Any]) -> None:
    """A question or a look, where no ledger exists, finds nothing and leaves neither file nor folder behind."""
    assert question(ledger) == []
    ledger.see(Prediction("p1", "succeeded"))
    assert not shelf.path.parent.exists()


def test_a_lenient_question_gives_up_after_the_first_problem(shelf: Shelf, ledger: Ledger) -> None:
    """Where nothing depends on it a broken ledger is asked once, and its problem is kept for the end."""
    shelf.path.parent.mkdir()
    shelf.path.write_bytes(b"no database " * 1000)
    assert ledger.lenient(ledger.entry, "p1") is None
    assert ledger.problem is not None
    assert "cannot be read" in ledger.problem.message
    assert ledger.lenient(ledger.resolve, Reference(id="p1")) is None


def test_a_lenient_question_is_asked_again_where_a_ledger_was_held(
    shelf: Shelf, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """That passes: what stands here is known meanwhile, and what ends behind it is kept."""
    monkeypatch.setattr("cometrep.ledger._HASTE_SECONDS", 0.0)
    made(ledger, "p1")
    ledger.add_file("p1", saved(tmp_path / "a"))
    with closing(sqlite3.connect(shelf.path, isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        ledger.lenient(ledger.see, Prediction("p1", "processing"))
        assert ledger.problem
        assert ledger.lenient(ledger.files, "p1") == (saved(tmp_path / "a"),)
    ledger.lenient(ledger.see, Prediction("p1", "succeeded", output="text"))
    assert found(ledger, "p1").output == "text"
    assert "locked" in ledger.problem.message


def test_waits_for_a_ledger_that_is_held_for_good_come_to_an_end(
    shelf: Shelf, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch has more to write than a user has patience."""
    monkeypatch.setattr("cometrep.ledger._HASTE_SECONDS", 0.01)
    monkeypatch.setattr("cometrep.ledger._PROBLEM_SECONDS", 0.05)
    made(ledger, "p1")
    with closing(sqlite3.connect(shelf.path, isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        for _ in range(3):
            ledger.lenient(ledger.see, Prediction("p1", "processing"))
        monkeypatch.setattr("cometrep.ledger.database.time.sleep", lambda _: pytest.fail("it waited"))
        ledger.lenient(ledger.see, Prediction("p1", "processing"))


def test_a_lenient_question_is_answered(ledger: Ledger) -> None:
    """A ledger in order answers, and has no problem."""
    made(ledger, "p1")
    entry = ledger.lenient(ledger.entry, "p1")
    assert entry is not None
    assert (entry.id, ledger.problem) == ("p1", None)


# Texts of any kind


def test_hostile_texts_are_stored(ledger: Ledger, tmp_path: Path) -> None:
    """Lone surrogates, NULs and quotes in any text of a server or a user do no harm."""
    number = ledger.begin(SCHNELL, {"prompt": NASTY, NASTY: [NASTY]})
    ledger.doubt(number, errors.CreateUnknown(NASTY, request_id=NASTY))
    made(ledger, "p1")
    ledger.see(Prediction("p1", NASTY, output=NASTY, error=NASTY))
    ledger.add_file("p1", SavedFile(str(tmp_path / "caf\udce9"), 0, 3, "ab", NASTY, NASTY))
    seen, doubted = ledger.entries()
    assert doubted.input == {"prompt": NASTY, NASTY: [NASTY]}
    assert (doubted.error, doubted.request_id) == (ESCAPED, ESCAPED)
    assert (seen.status, seen.output, seen.error) == (ESCAPED, NASTY, ESCAPED)
    assert (seen.files[0].path, seen.files[0].url) == (str(tmp_path / "caf\\udce9"), ESCAPED)
    assert json.dumps([entry.as_json() for entry in (seen, doubted)]).isascii()


_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=())),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(values=st.dictionaries(st.text(st.characters(exclude_categories=()), max_size=5), _json, max_size=4))
def test_any_input_comes_back(ledger: Ledger, values: dict[str, Any]) -> None:
    """Whatever JSON an input holds, the entry holds the same."""
    ledger.begin(SCHNELL, values)
    assert next(iter(ledger.entries(limit=1))).input == values


# The file


@on_posix
@pytest.mark.usefixtures("open_umask")
def test_the_files_are_private_under_any_umask(shelf: Shelf, ledger: Ledger) -> None:
    """Prompts are private: the file and those that SQLite puts beside it are 0600, their new folder 0700."""
    made(ledger, "p1")
    modes = {path.name: mode_of(path) for path in shelf.path.parent.iterdir()}
    assert modes == {"ledger.sqlite3": 0o600, "ledger.sqlite3-wal": 0o600, "ledger.sqlite3-shm": 0o600}
    assert mode_of(shelf.path.parent) == 0o700


def test_readers_and_a_writer_do_not_wait_for_each_other(shelf: Shelf, ledger: Ledger) -> None:
    """The file is in WAL mode: while one process writes, others read what stood before."""
    made(ledger, "p1")
    writer = sqlite3.connect(shelf.path, isolation_level=None)
    assert writer.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("UPDATE entries SET status = 'writing'")
    assert found(shelf.ledger(), "p1").status == "starting"
    writer.execute("COMMIT")
    writer.close()
    assert found(ledger, "p1").status == "writing"


def test_a_reader_is_waited_for_no_longer_than_was_asked_where_it_is_in_the_way(
    shelf: Shelf, ledger: Ledger
) -> None:
    """Where SQLite knows no WAL, as on some servers of files, a reader holds up the end of a transaction."""
    number = made(ledger, "p1")
    ledger.close()
    with closing(sqlite3.connect(shelf.path, isolation_level=None)) as reader:
        assert reader.execute("PRAGMA journal_mode = DELETE").fetchone() == ("delete",)
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM entries").fetchall()
        with pytest.raises(errors.LocalFileError, match="locked"):
            ledger.accept(number, Prediction("p9", "starting"), patience_seconds=0.0)
    assert found(ledger, "p1").status == "starting"
    ledger.accept(number, Prediction("p9", "starting"), patience_seconds=0.0)
    assert found(ledger, "p9").status == "starting"


@pytest.mark.parametrize("what", ["accept", "refuse", "doubt", "see"])
def test_a_ledger_that_is_held_is_waited_for_no_longer_than_there_is_patience(
    shelf: Shelf, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """A service that is stopped is killed soon, and a look has a deadline to keep."""
    monkeypatch.setattr("cometrep.ledger._HASTE_SECONDS", 0.0)
    number, failure = made(ledger, "p1"), errors.Temporary("later")
    writes: dict[str, Callable[[], None]] = {
        "accept": lambda: ledger.accept(number, Prediction("p9", "starting"), patience_seconds=0.0),
        "refuse": lambda: ledger.refuse(number, failure, patience_seconds=0.0),
        "doubt": lambda: ledger.doubt(number, failure, patience_seconds=0.0),
        "see": lambda: ledger.see(Prediction("p1", "processing")),
    }
    with closing(sqlite3.connect(shelf.path, isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(errors.LocalFileError, match="locked"):
            writes[what]()
    assert found(ledger, "p1").status == "starting"


def test_questions_wait_little_behind_a_problem(
    shelf: Shelf, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch may have one of each of its items, and each would wait for a minute."""
    monkeypatch.setattr("cometrep.ledger._HASTE_SECONDS", 0.0)
    monkeypatch.setattr("cometrep.ledger.database.time.sleep", lambda _: pytest.fail("it waited"))
    made(ledger, "p1")
    ledger.close()
    ledger.problem = errors.LocalFileError("it was held")
    with closing(sqlite3.connect(shelf.path, isolation_level=None)) as holder:
        holder.execute("PRAGMA locking_mode = EXCLUSIVE")
        holder.execute("BEGIN EXCLUSIVE")
        assert ledger.insist(ledger.entry, "p1") is None
    assert ledger.insist(ledger.entry, "p1")


def test_an_output_waits_for_a_ledger_that_is_held(
    shelf: Shelf, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is shown for an hour alone: behind an end there is no deadline to keep."""
    monkeypatch.setattr("cometrep.ledger._HASTE_SECONDS", 0.0)
    made(ledger, "p1")
    with closing(sqlite3.connect(shelf.path, isolation_level=None, check_same_thread=False)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        letting_go = threading.Timer(0.05, holder.execute, ("ROLLBACK",))
        letting_go.start()
        ledger.lenient(ledger.see, Prediction("p1", "succeeded", output="the text"))
        letting_go.join()
    assert (found(ledger, "p1").status, found(ledger, "p1").output) == ("succeeded", "the text")


@on_posix
def test_a_signal_that_comes_while_it_waits_for_another_process_is_met_at_once(
    shelf: Shelf, ledger: Ledger
) -> None:
    """Nobody has to wait until the other process is done, as SQLite's own way to wait would have it."""
    number = made(ledger, "p1")
    holder = sqlite3.connect(shelf.path, isolation_level=None)
    before = signal.signal(signal.SIGALRM, lambda *_: (_ for _ in ()).throw(errors.Stopped("SIGALRM", 142)))
    try:
        holder.execute("BEGIN IMMEDIATE")
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        with pytest.raises(errors.Stopped):
            ledger.accept(number, Prediction("p9", "starting"))
        assert holder.in_transaction
        holder.execute("COMMIT")
    finally:
        signal.signal(signal.SIGALRM, before)
        holder.close()
    ledger.accept(number, Prediction("p2", "starting"))
    assert ids(ledger) == ["p2"]


def test_a_new_ledger_waits_for_another_process_that_makes_it(
    shelf: Shelf, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What sets it up does not wait by itself."""
    shelf.path.parent.mkdir()
    holder = sqlite3.connect(shelf.path, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    kind_of = database._kind_of

    def asked(problem: Exception) -> int:
        if holder.in_transaction:
            holder.execute("COMMIT")
        return kind_of(problem)

    monkeypatch.setattr(database, "_kind_of", asked)
    made(ledger, "p1")
    holder.close()
    assert ids(ledger) == ["p1"]


def test_a_transaction_that_a_signal_kept_from_its_block_is_in_nobodys_way(ledger: Ledger) -> None:
    """It comes when the transaction has begun, and before the block that ends it: the id is still to be kept."""
    number = made(ledger, "p1")
    abandoned = ledger._database.writing()
    abandoned.__enter__().execute("UPDATE entries SET id = 'p9'")
    ledger.accept(number, Prediction("p2", "succeeded"))
    del abandoned
    assert [(entry.id, entry.status) for entry in ledger.entries()] == [("p2", "succeeded")]


def test_a_signal_that_comes_with_the_lock_leaves_nothing_begun(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is written next is no part of what the signal cut off: an id that came is still kept."""
    number = made(ledger, "p1")
    begin = database._begin_if_free

    def cut_off(connection: sqlite3.Connection, deadline: float) -> bool:
        begin(connection, deadline)
        raise errors.Stopped("SIGTERM", 143)

    with monkeypatch.context() as patched:
        patched.setattr(database, "_begin_if_free", cut_off)
        with pytest.raises(errors.Stopped):
            ledger.accept(number, Prediction("p9", "starting"))
    ledger.accept(number, Prediction("p2", "starting"))
    assert ids(ledger) == ["p2"]


def test_a_thread_that_waits_to_write_is_in_no_others_way(
    shelf: Shelf, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While another process holds the file, who leaves can close it, and need not outwait that thread."""
    number = made(ledger, "p1")
    holder = sqlite3.connect(shelf.path, isolation_level=None)
    waits = threading.Event()
    begin = database._begin_if_free

    def told(connection: sqlite3.Connection, deadline: float) -> bool:
        waits.set()
        return begin(connection, deadline)

    monkeypatch.setattr(database, "_begin_if_free", told)
    holder.execute("BEGIN IMMEDIATE")
    thread = threading.Thread(target=ledger.accept, args=(number, Prediction("p2", "starting")))
    thread.start()
    assert waits.wait(TIMEOUT_SECONDS)
    ledger.close()
    assert thread.is_alive()
    holder.execute("COMMIT")
    thread.join()
    holder.close()
    assert ids(ledger) == ["p2"]


def test_a_failed_write_leaves_the_ledger_usable(ledger: Ledger, shelf: Shelf) -> None:
    """What goes wrong in the middle of a write is undone, and the next write is its own."""
    number = made(ledger, "p1")
    other = sqlite3.connect(shelf.path)
    other.execute("CREATE TRIGGER no BEFORE INSERT ON files BEGIN SELECT raise(ABORT, 'no more files'); END")
    other.commit()
    other.close()
    with pytest.raises(errors.LocalFileError, match="no more files"):
        ledger.add_file("p1", saved(Path("/a")))
    assert made(ledger, "p2") == number + 1
    assert ids(ledger) == ["p2", "p1"]


FULL_DISK = """
import resource, sys
from pathlib import Path
from cometrep import errors
from cometrep.ledger import Ledger

path = Path(sys.argv[1])
ledger = Ledger(path, base_url="https://x", is_sandbox=False)
ledger.begin("a/b", {})
size = path.with_name(path.name + "-wal").stat().st_size
resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
for _ in range(2):
    try:
        ledger.begin("a/b", {"prompt": "x" * 50_000})
    except errors.LocalFileError as failure:
        sys.stdout.write(failure.message.rpartition(": ")[2] + "\\n")
resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))
sys.stdout.write(str(ledger.begin("a/b", {})))
"""


@on_posix
def test_a_full_disk_is_told_and_forgotten(shelf: Shelf) -> None:
    """Where nothing more can be written each write says so, and once there is room the next one succeeds."""
    done = python(FULL_DISK, str(shelf.path))
    assert done.stderr == ""
    *told, number = done.stdout.split("\n")
    assert [line in SAID_WHERE_FULL for line in told] == [True, True]
    assert number == "2"


FULL_BEFOREHAND = """
import resource, sys
from pathlib import Path
from cometrep import errors
from cometrep.ledger import Ledger

ledger = Ledger(Path(sys.argv[1]), base_url="https://x", is_sandbox=False)
if sys.argv[2:]:
    ledger.begin("a/b", {})
    ledger.close()
before = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
if sys.argv[2:]:
    sys.stdout.write(f"{len(list(ledger.entries()))}\\n")
try:
    ledger.begin("a/b", {})
except errors.LocalFileError as failure:
    sys.stdout.write(failure.message.rpartition(": ")[2])
resource.setrlimit(resource.RLIMIT_FSIZE, before)
ledger.begin("a/b", {})
"""
SAID_WHERE_FULL = ("disk I/O error", "No space left on device")


@on_posix
def test_a_ledger_that_cannot_be_set_up_is_told_at_once(shelf: Shelf) -> None:
    """Only a file that others hold is waited for; where there is no room for it, that is said."""
    done = python(FULL_BEFOREHAND, str(shelf.path))
    assert done.stderr == ""
    assert done.stdout in SAID_WHERE_FULL


@on_posix
def test_a_ledger_on_a_full_disk_can_be_read(shelf: Shelf) -> None:
    """What asks has an answer, what writes says what is wrong, and once there is room it is written to again."""
    done = python(FULL_BEFOREHAND, str(shelf.path), "beside an entry")
    assert done.stderr == ""
    count, told = done.stdout.split("\n")
    assert (count, told in SAID_WHERE_FULL) == ("1", True)


@pytest.mark.parametrize(
    ("module", "name", "left", "command"),
    [
        (shutil, "disk_usage", SimpleNamespace(free=4096), "df -h"),
        pytest.param(os, "statvfs", SimpleNamespace(f_files=12, f_favail=0), "df -i", marks=on_posix),
    ],
    ids=["of bytes", "of files"],
)
def test_a_full_disk_is_told_by_the_room_that_is_left(
    module: object,
    name: str,
    left: object,
    command: str,
    shelf: Shelf,
    ledger: Ledger,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """SQLite says only that it cannot open the file, or that there was an I/O error."""
    made(ledger, "p1")
    ledger.close()
    shelf.path.with_name(shelf.path.name + "-wal").mkdir()
    with pytest.raises(errors.LocalFileError, match="unable to open") as raised:
        ledger.begin(SCHNELL, {})
    assert raised.value.code == "ledger"
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10**9))
    monkeypatch.setattr(module, name, lambda _: left)
    with pytest.raises(errors.LocalFileError, match="cannot be used: No space left on device") as raised:
        ledger.begin(SCHNELL, {})
    assert (raised.value.code, raised.value.hint) == ("disk_full", f"{command} {shelf.path.parent}")


@pytest.mark.parametrize(
    ("told", "code", "hint"),
    [("database is locked", "ledger", "fuser -v {}"), ("No space left", "disk_full", "df -h {0.parent}")],
    ids=["held", "full"],
)
def test_a_ledger_that_is_held_or_full_is_not_called_damaged(
    shelf: Shelf, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, told: str, code: str, hint: str
) -> None:
    """Nothing is wrong with the file: to move it away would lose what it knows."""
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.0)
    monkeypatch.setattr(ledger_module, "_HASTE_SECONDS", 0.0)
    made(ledger, "p1")
    ledger.problem = errors.LocalFileError("it was held a moment ago")  # for which it does not wait again
    holder = sqlite3.connect(shelf.path)
    if "locked" in told:
        holder.execute("BEGIN EXCLUSIVE")
    else:
        next(ledger._database.each("PRAGMA max_page_count = 1"))  # which becomes as many as there are
    with pytest.raises(errors.LocalFileError, match=f"cannot be used: {told}") as raised:
        ledger.begin(SCHNELL, {"prompt": "x" * 100_000})
    holder.close()
    assert (raised.value.code, raised.value.hint) == (code, hint.format(shelf.path))
    assert ids(ledger) == ["p1"]


def python(code: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run code with this interpreter and package, without the site's packages: the ledger needs none of them."""
    return subprocess.run(
        [sys.executable, "-S", "-c", code, *arguments],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[1],
        timeout=TIMEOUT_SECONDS,
        check=False,
    )


def test_an_entry_that_somebody_edited_into_nonsense_is_listed(shelf: Shelf, ledger: Ledger) -> None:
    """What its input and output were is not known any more; the rest of it is, and all other entries."""
    made(ledger, "p1")
    made(ledger, "p2", prompt="cat")
    other = sqlite3.connect(shelf.path)
    other.execute("UPDATE entries SET input = ?, output = '[' WHERE id = 'p1'", ("[" * 100_000,))
    other.commit()
    other.close()
    assert [(entry.id, entry.input, entry.output) for entry in ledger.entries()] == [
        ("p2", {"prompt": "cat"}, None),
        ("p1", None, None),
    ]


@pytest.mark.parametrize("value", ["junk", b"\xff", 9e999, -9e999], ids=str)
def test_an_entry_with_values_of_other_types_is_listed(shelf: Shelf, ledger: Ledger, value: object) -> None:
    """SQLite keeps them in any column: what they stood for is not known any more."""
    made(ledger, "p1")
    ledger.add_file("p1", saved(Path("/a")))
    other = sqlite3.connect(shelf.path)
    other.execute("UPDATE entries SET created = :it, changed = :it, run_seconds = :it", {"it": value})
    other.execute("UPDATE files SET size_bytes = :it, saved = :it", {"it": value})
    other.execute("UPDATE entries SET input = CAST(x'ff' AS BLOB), model = CAST('a/b' AS BLOB), error = x'c3'")
    other.commit()
    other.close()
    [entry] = ledger.entries()
    assert (entry.id, entry.model, entry.input, entry.error) == ("p1", "a/b", None, "\ufffd")
    assert json.dumps(entry.as_json())
    assert all(isinstance(seconds, float) for seconds in ledger.run_seconds("a/b"))


@pytest.mark.parametrize(("table", "column"), [("entries", "status"), ("files", "sha256")])
def test_a_ledger_without_a_column_is_told(shelf: Shelf, ledger: Ledger, table: str, column: str) -> None:
    """Whatever asks for it, as where a whole table is gone."""
    made(ledger, "p1")
    ledger.close()
    other = sqlite3.connect(shelf.path)
    other.executescript(f"DROP INDEX entries_by_model; ALTER TABLE {table} RENAME COLUMN {column} TO c")
    other.close()
    asked = (ledger.files, ledger.entry) if table == "entries" else (ledger.files,)
    for ask in (lambda: list(ledger.entries()), lambda: asked[-1]("p1")):
        with pytest.raises(errors.LocalFileError, match=f"no such column: {column}") as raised:
            ask()
        assert raised.value.code == "ledger"


DAMAGED = {"not a database": b"no database at all " * 500, "a header alone": b"SQLite format 3\0" + b"\xff" * 2000}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED.keys())
def test_a_damaged_file_is_told_and_left_alone(shelf: Shelf, ledger: Ledger, content: bytes) -> None:
    """A file that is no ledger is an error whose hint moves it out of the way; nothing of it is changed."""
    shelf.path.parent.mkdir()
    shelf.path.write_bytes(content)
    for act in (lambda: ledger.begin(SCHNELL, {}), lambda: list(ledger.entries()), lambda: ledger.entry("p1")):
        with pytest.raises(errors.LocalFileError, match="cannot be read") as raised:
            act()
        assert raised.value.hint == f"mv {shelf.path} {shelf.path}.damaged"
        assert (raised.value.exit_code, raised.value.code) == (12, "ledger")
    assert shelf.path.read_bytes() == content


@pytest.mark.parametrize("is_sound", [True, False])
def test_a_ledger_is_put_away_where_it_is_damaged_alone(
    shelf: Shelf, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, *, is_sound: bool
) -> None:
    """Not for a page that a server of files did not give; its newest part, which stands beside it, goes along."""
    made(ledger, "p1")

    def fail(*_: object) -> sqlite3.Cursor:
        problem = sqlite3.DatabaseError("database disk image is malformed")
        problem.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise problem

    with monkeypatch.context() as now:
        now.setattr(database.Database, "_when_free", fail)
        if not is_sound:
            now.setattr(database.Database, "_is_sound", lambda _: False)
        with pytest.raises(errors.LocalFileError, match="cannot be read: ") as raised:
            ledger.entry("p1")
    if is_sound:
        assert raised.value.hint == RUN_AGAIN
        assert found(ledger, "p1").status == "starting"
    else:
        subprocess.run(raised.value.hint, shell=True, check=True)
        assert (
            found(shelf.ledger(path=shelf.path.with_name(f"{shelf.path.name}.damaged")), "p1").status == "starting"
        )


def test_a_page_that_was_overwritten_is_told(shelf: Shelf, ledger: Ledger) -> None:
    """Damage in the middle of the file is found when it is read."""
    for number in range(50):
        made(ledger, f"p{number}", prompt="x" * 500)
    ledger.close()
    content = shelf.path.read_bytes()
    shelf.path.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))
    with pytest.raises(errors.LocalFileError, match="malformed"):
        list(shelf.ledger().entries())


def test_an_empty_file_is_a_new_ledger(shelf: Shelf, ledger: Ledger) -> None:
    """A file of no bytes, as a crash may leave it, is filled."""
    shelf.path.parent.mkdir()
    shelf.path.touch()
    assert ids(ledger) == []
    made(ledger, "p1")
    assert ids(ledger) == ["p1"]


def test_a_newer_ledger_is_left_alone(shelf: Shelf, ledger: Ledger) -> None:
    """A file of a later version is not touched; the hint is the upgrade."""
    made(ledger, "p1")
    ledger.close()
    newer = sqlite3.connect(shelf.path)
    newer.execute("PRAGMA user_version = 2")
    newer.close()
    for act in (lambda: shelf.ledger().begin(SCHNELL, {}), lambda: list(shelf.ledger().entries())):
        with pytest.raises(errors.LocalFileError, match="written by a newer cometrep") as raised:
            act()
        assert raised.value.hint == "install its newest version here too, from where this one came"
        assert raised.value.code == "ledger"
    newer = sqlite3.connect(shelf.path)
    assert newer.execute("SELECT count(*) FROM entries").fetchone() == (1,)
    newer.close()


def test_a_folder_that_cannot_be_made(shelf: Shelf, tmp_path: Path) -> None:
    """Where a file stands in the folder's place a create cannot be recorded, nor said that none is in doubt."""
    (tmp_path / "in-the-way").write_text("", "utf-8")
    ledger = shelf.ledger(path=tmp_path / "in-the-way" / "ledger.sqlite3")
    for ask in (lambda: ids(ledger), lambda: ledger.begin(SCHNELL, {})):
        with pytest.raises(errors.LocalFileError, match="cannot be used") as raised:
            ask()
        assert "COMETREP_HOME" in raised.value.hint


def test_a_path_that_no_file_can_have(shelf: Shelf, tmp_path: Path) -> None:
    """A path too long for the system is a local file error, for questions too."""
    ledger = shelf.ledger(path=tmp_path / ("x" * 300) / "ledger.sqlite3")
    for act in (lambda: ledger.begin(SCHNELL, {}), lambda: list(ledger.entries())):
        with pytest.raises(errors.LocalFileError, match="File name too long"):
            act()


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("/dev/null")])
def test_what_is_no_file_in_the_files_place(shelf: Shelf, ledger: Ledger, make: Callable[[Path], None]) -> None:
    """A folder, a pipe or a device of the ledger's name is a local file error, and never waited for."""
    shelf.path.parent.mkdir()
    make(shelf.path)
    for act in (lambda: ledger.begin(SCHNELL, {}), lambda: list(ledger.entries())):
        with pytest.raises(errors.LocalFileError, match="cannot be used: it is no regular file"):
            act()


@pytest.mark.parametrize(("became", "seconds"), [("refused", 3600), ("running", 86_400), ("in doubt", 30 * 86_400)])
def test_an_entry_is_not_forgotten_while_it_is_needed(
    shelf: Shelf, ledger: Ledger, became: str, seconds: int
) -> None:
    """What was refused may be about to be sent again, what runs may end, and a bill names what is in doubt."""
    number = ledger.begin(SCHNELL, {})
    if became == "refused":
        ledger.refuse(number, errors.Refused("no"))
    elif became == "running":
        ledger.accept(number, Prediction("p1", "starting"))
    else:
        ledger.doubt(number, errors.CreateUnknown("it was lost"))
    shelf.clock.now += seconds - 60
    assert ledger.prune(shelf.clock()) == (0, 1)
    shelf.clock.now += 120
    assert ledger.prune(shelf.clock()) == (1, 0)


def test_a_read_only_ledger_can_be_read(shelf: Shelf, ledger: Ledger) -> None:
    """Who may not write the file may still list it."""
    made(ledger, "p1")
    ledger.close()
    shelf.path.chmod(0o400)
    assert ids(shelf.ledger()) == ["p1"]


@pytest.fixture
def unwritable(shelf: Shelf, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ledger that may be read and not written, as for who is not root."""
    made(ledger, "p1")
    ledger.close()
    open_file, access = os.open, os.access

    def refused(path: Any, flags: int, *rest: int) -> int:
        if path == shelf.path:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return open_file(path, flags, *rest)

    monkeypatch.setattr(os, "open", refused)
    monkeypatch.setattr(os, "access", lambda path, mode: (path, mode) != (shelf.path, 6) and access(path, mode))


@pytest.mark.usefixtures("unwritable")
def test_a_ledger_that_may_not_be_written_is_read_to_its_end(shelf: Shelf) -> None:
    """Also what stands in the file beside it that SQLite writes first."""
    writer = sqlite3.connect(shelf.path)
    writer.execute("UPDATE entries SET id = 'p2'")
    writer.commit()
    assert ids(shelf.ledger()) == ["p2"]
    writer.close()


def test_a_ledger_on_a_medium_that_takes_no_writes_is_to_be_copied(
    shelf: Shelf, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where its newest part stands beside it, SQLite needs one more file to read that."""

    def refused(*given: Any, **rest: Any) -> Any:
        raise OSError(errno.EROFS, "Read-only file system")

    def unopened(*given: Any, **rest: Any) -> Any:
        raise sqlite3.OperationalError("unable to open database file")

    made(ledger, "p1")  # which stays open, with its newest part beside it
    monkeypatch.setattr(os, "open", refused)
    monkeypatch.setattr(sqlite3, "connect", unopened)
    with pytest.raises(errors.LocalFileError, match="a copy of both in another folder can") as raised:
        ids(shelf.ledger())
    assert raised.value.hint == f"cp {shelf.path}* FOLDER && export COMETREP_HOME=FOLDER"


def test_a_ledger_that_may_not_be_read_is_told(
    shelf: Shelf, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where its medium takes writes, a copy of it is no help."""
    made(ledger, "p1")  # which stays open, with its newest part beside it

    def refused(*given: Any, **rest: Any) -> Any:
        raise PermissionError(errno.EACCES, "Permission denied")

    def unopened(*given: Any, **rest: Any) -> Any:
        raise sqlite3.OperationalError("unable to open database file")

    monkeypatch.setattr(os, "open", refused)
    monkeypatch.setattr(sqlite3, "connect", unopened)
    with pytest.raises(errors.LocalFileError, match="cannot be used: Permission denied"):
        ids(shelf.ledger())


@pytest.mark.usefixtures("unwritable")
@pytest.mark.parametrize(
    ("owns", "hint"),
    [
        ("both", "chmod 600 {0}"),
        ("the folder", 'sudo chown "$(id -u)" {0}*'),
        ("neither", 'sudo chown "$(id -u)" {0.parent} {0}*'),
    ],
)
def test_a_ledger_that_may_not_be_written_is_given_back(
    shelf: Shelf, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, owns: str, hint: str
) -> None:
    """The hint is the command that makes it one's own again: its mode, or behind `sudo cometrep` its owner."""
    if owns != "both":
        monkeypatch.setattr(os, "getuid", lambda: shelf.path.stat().st_uid + 1)
    if owns == "neither":
        access = os.access
        closed = (shelf.path.parent, os.W_OK)
        monkeypatch.setattr(os, "access", lambda path, mode: (path, mode) != closed and access(path, mode))
    with pytest.raises(errors.LocalFileError, match="cannot be used: Permission denied") as raised:
        ledger.begin(SCHNELL, {})
    assert raised.value.hint == hint.format(shelf.path)


def test_a_closed_ledger_opens_again(ledger: Ledger) -> None:
    """Closing twice does no harm, and the next use opens the file."""
    made(ledger, "p1")
    ledger.close()
    ledger.close()
    assert ids(ledger) == ["p1"]


# Many at once

WRITERS, EACH = 32, 4
WRITER = """
import sys
from pathlib import Path
from cometrep.ledger import Ledger
from cometrep.prediction import Prediction, SavedFile

path, name = Path(sys.argv[1]), sys.argv[2]
ledger = Ledger(path, base_url="https://x", is_sandbox=False)
sys.stdin.readline()
for number in range(int(sys.argv[3])):
    id = f"p{name}-{number}"
    ledger.accept(ledger.begin("a/b", {"n": number}), Prediction(id, "starting"))
    ledger.see(Prediction(id, "succeeded", output=id))
    ledger.add_file(id, SavedFile(f"/{id}", 0, 1, "ab"))
"""


def test_many_processes_write_at_once(shelf: Shelf, ledger: Ledger) -> None:
    """Thirty-two commands that start together, on a ledger that none has made yet, lose nothing."""
    writers = [
        subprocess.Popen(
            [sys.executable, "-S", "-c", WRITER, str(shelf.path), str(number), str(EACH)],
            cwd=Path(__file__).parents[1],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(WRITERS)
    ]
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    assert [writer.communicate(timeout=TIMEOUT_SECONDS)[1] for writer in writers] == [""] * WRITERS
    entries = list(ledger.entries())
    assert {entry.id for entry in entries} == {f"p{w}-{n}" for w in range(WRITERS) for n in range(EACH)}
    assert len(entries) == WRITERS * EACH
    assert {(entry.status, entry.output == entry.id, len(entry.files)) for entry in entries} == {
        ("succeeded", True, 1)
    }
