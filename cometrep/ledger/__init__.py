"""Remember every prediction made from this machine.

One SQLite file. An entry is written before its create is sent, with the status `unknown`: whatever
happens then, it stands for a prediction that may exist. The answer's id, what was last seen and each file saved
are added as they come; a refused create is marked `refused`. The sandbox's entries are marked, and every
question about predictions asks for one kind only.
"""

import contextlib
import os
import sqlite3
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from cometrep import errors, hints
from cometrep.data_uris import shorten_data_uris
from cometrep.ledger.database import BUSY_SECONDS, Database
from cometrep.ledger.entry import (
    IS_LATEST,
    IS_OWNED,
    OF_ENTRIES,
    OF_FILES,
    OWNER,
    REFUSED,
    RETENTION_SECONDS,
    SANDBOX,
    SAVED,
    SCHEMA,
    UNKNOWN,
    VERSION,
    Entry,
    compact_json,
    entry_of,
    file_of,
    kept_output,
    text_columns,
    time_columns,
)
from cometrep.prediction import STATUSES, TERMINAL_STATUSES, Prediction, SavedFile, normalize_status
from cometrep.references import Reference
from cometrep.text import format_elapsed, nearest, storable

Answer = TypeVar("Answer")

_RUNNING_SECONDS = 86_400.0  # after which nothing that was created runs or can be had
_DOUBT_SECONDS = 30 * 86_400.0  # in which a bill is looked through
_HASTE_SECONDS = 2.0  # to wait for another process once the file has had a problem,
_PROBLEM_SECONDS = 20.0  # and in all
_AT_ONCE = 100  # entries, whose outputs are in memory then
_SENT_LIMIT = 100  # creates of which it is kept what was sent, until they are answered: more than are under way


class Recent(NamedTuple):
    """What completion shows of an entry; `id` is empty while it is not known."""

    id: str
    model: str
    status: str
    created: float


def recent(path: Path, *, is_sandbox: bool, prefix: str = "", limit: int = 50) -> list[Recent]:
    """List the newest predictions without waiting for a lock or changing the file, as a press of TAB needs it.

    With a `prefix` they are the newest of those whose ids begin with it, in any case. Raises LocalFileError.
    """
    try:
        if not path.is_file():
            return []
        with contextlib.closing(
            sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=0.1)
        ) as connection:
            rows = connection.execute(
                "SELECT coalesce(id, ''), model, status, created FROM entries WHERE is_sandbox = ? AND status != ?"
                " AND lower(substr(coalesce(id, ''), 1, length(?))) = lower(?) ORDER BY number DESC LIMIT ?",
                (is_sandbox, REFUSED, prefix, prefix, limit),
            )
            return [Recent(str(id), str(model), str(status), float(created)) for id, model, status, created in rows]
    except (sqlite3.Error, OSError, ValueError, TypeError) as problem:
        raise errors.LocalFileError(f"the ledger {path} cannot be read: {problem}", code="ledger") from problem


class Ledger:
    """The ledger of one command, for one kind of server: the real API's entries or the sandbox's; for any thread.

    The file is opened at the first use. Questions to a file that does not exist find nothing and make nothing.
    Raises LocalFileError where it cannot be written, read or understood.
    """

    def __init__(
        self, path: Path, *, base_url: str, is_sandbox: bool, clock: Callable[[], float] = time.time
    ) -> None:
        self._base_url = base_url
        self._is_sandbox = is_sandbox
        self._clock = clock
        self._database = Database(path, "ledger", schema=SCHEMA, version=VERSION, patience=self._patience)
        self._sent: dict[int, tuple[str, str, float]] = {}  # model, input and time, by the number of the entry
        self.problem: errors.LocalFileError | None = None
        self._waited_seconds = 0.0  # in vain, behind that
        self._newest: int | None = None  # the number of the entry from which references count back

    @property
    def server(self) -> str:
        """What tells this server's predictions from another's of the same ids."""
        return SANDBOX if self._is_sandbox else self._base_url

    def lenient(self, question: Callable[..., Answer], *values: object) -> Answer | None:
        """Ask where nothing depends on the answer: a ledger out of order stops no wait and no download.

        The first problem is kept in `problem`; after one that does not pass by itself nothing more is asked.
        """
        if self.problem and not self.problem.is_worth_repeating:
            return None
        return self.insist(question, *values)

    def insist(self, question: Callable[..., Answer], *values: object) -> Answer | None:
        """Ask leniently, and behind any problem: of a create that may be paid for, what can be kept is kept."""
        began = time.monotonic()
        try:
            return question(*values)
        except errors.LocalFileError as problem:
            if self.problem:
                self._waited_seconds += time.monotonic() - began
            if not self.problem or (self.problem.is_worth_repeating and not problem.is_worth_repeating):
                self.problem = problem
            return None

    def _patience(self) -> float:
        if not self.problem:
            return BUSY_SECONDS
        return max(0.0, min(_HASTE_SECONDS, _PROBLEM_SECONDS - self._waited_seconds))

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def begin(self, model: str, values: Mapping[str, Any]) -> int:
        """Write the entry of a create that is about to be sent, and give its number; durable on return."""
        sent = model, compact_json(shorten_data_uris(values))
        with self._database.writing(durable=True) as connection:
            return self._insert(connection, None, *sent)

    def _insert(self, connection: sqlite3.Connection, number: int | None, model: str, input: str) -> int:
        """Write the entry of a create, and give its number, the next one where none is given."""
        now = self._clock()  # and not before: it may have waited, and --prune forgets what is older
        cursor = connection.execute(
            "INSERT INTO entries (number, model, input, base_url, is_sandbox, status, created, changed)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (number, model, input, self._base_url, self._is_sandbox, UNKNOWN, now, now),
        )
        number = int(cursor.lastrowid or 0)
        self._sent[number] = model, input, now
        if len(self._sent) > _SENT_LIMIT:
            self._sent.pop(next(iter(self._sent)))
        return number

    def _has(self, connection: sqlite3.Connection, number: int) -> bool:
        """Say whether a create's entry stands, which another process may have pruned.

        SQLite gives the number of the newest entry again where that was pruned: it may be another create's by now.
        """
        row = connection.execute("SELECT model, input, created FROM entries WHERE number = ?", (number,)).fetchone()
        return row is not None and self._sent.get(number, tuple(row)) == tuple(row)

    def _restored(self, connection: sqlite3.Connection, number: int, told: Prediction | None = None) -> int:
        """Give the number of a create's entry, made anew where another process pruned it.

        As one that waits long to be sent again, or that a wrong clock had made look old. `told` is what is known of
        a create that another command sent. Raises LocalFileError where nothing is.
        """
        if self._has(connection, number):
            return number
        sent = self._sent[number][:2] if number in self._sent else None
        if sent is None and told:
            sent = told.model, compact_json(shorten_data_uris(told.input or {}))
        if sent is None:
            raise errors.LocalFileError(
                "the ledger has lost the entry of a create", hint=hints.LIST_UNKNOWN, code="ledger"
            )
        is_free = not connection.execute("SELECT 1 FROM entries WHERE number = ?", (number,)).fetchone()
        return self._insert(connection, number if is_free else None, *sent)

    def accept(self, number: int, prediction: Prediction, *, patience_seconds: float = BUSY_SECONDS) -> None:
        """Write the id that a create's answer gave into its entry, and what else it told; durable on return.

        Raises LocalFileError, where another process holds the file after so many seconds.
        """
        with self._database.writing(durable=True, patience_seconds=patience_seconds) as connection:
            number = self._restored(connection, number, prediction)
            connection.execute(
                "UPDATE entries SET id = ?, status = ?, output = ?, error = ?, changed = ?, run_seconds = ?"
                " WHERE number = ?",
                (
                    prediction.id,
                    storable(prediction.status),
                    kept_output(prediction),
                    storable(prediction.error_text) or None,
                    self._clock(),
                    prediction.run_seconds,
                    number,
                ),
            )
            self._sent.pop(number, None)  # while no other thread writes

    def create_of(self, number: int, before: float) -> Entry | None:
        """Give the entry of a create that was sent `before` a Unix time, by its number; None where there is none.

        What was sent is to be compared: the ledger may be another one, or have begun anew.
        """
        rows = self._database.rows(
            f"SELECT {OF_ENTRIES} FROM entries WHERE number = ? AND created <= ?"
            " AND is_sandbox = ? AND (is_sandbox OR base_url = ?)",
            *(number, before, self._is_sandbox, self._base_url),
        )
        return entry_of(rows[0]) if rows else None

    def send_again(self, number: int) -> int:
        """Take back that an entry's create was not accepted, as it is about to be sent again; durable on return.

        Give its number, which is another one where the entry was pruned and its number given again.
        """
        with self._database.writing(durable=True) as connection:
            number = self._restored(connection, number)
            connection.execute(
                "UPDATE entries SET status = ?, error = NULL, request_id = NULL, changed = ? WHERE number = ?",
                (UNKNOWN, self._clock(), number),
            )
            return number

    def refuse(self, number: int, failure: errors.CometrepError, *, patience_seconds: float = BUSY_SECONDS) -> None:
        """Mark an entry's create as refused by the API or not sent: no prediction stands behind it."""
        self._mark(number, REFUSED, failure, patience_seconds)

    def doubt(self, number: int, failure: errors.CometrepError, *, patience_seconds: float = BUSY_SECONDS) -> None:
        """Keep what is known of a create whose outcome is unknown: the reason, the request id, a probable id."""
        self._mark(number, UNKNOWN, failure, patience_seconds)

    def _mark(self, number: int, status: str, failure: errors.CometrepError, patience_seconds: float) -> None:
        with self._database.writing(durable=True, patience_seconds=patience_seconds) as connection:
            if status == UNKNOWN:
                number = self._restored(connection, number)
                self._sent.pop(number, None)
            elif not self._has(connection, number):  # of a refused one there is nothing to be kept
                return
            connection.execute(
                "UPDATE entries SET status = ?, error = ?, request_id = ?, id = ?, changed = ? WHERE number = ?",
                (
                    status,
                    storable(failure.message),
                    storable(failure.request_id or "") or None,
                    failure.prediction_id,
                    self._clock(),
                    number,
                ),
            )

    def see(self, prediction: Prediction, *, patience_seconds: float | None = None) -> None:
        """Write what a look showed into the prediction's entry, where it has one here and something changed.

        With as much patience as what it showed is worth, where none is given.
        """
        rows = self._entry_rows(prediction.id)
        status = storable(prediction.status)
        if not rows or (rows[0]["status"] == status and not prediction.is_terminal):
            return
        (row,) = rows
        output = kept_output(prediction)
        if row["status"] == status and (output is None or output == row["output"]):
            return
        # What looks has a deadline to keep; behind an end there is none, and its output is shown for an hour alone.
        if patience_seconds is None:
            patience_seconds = BUSY_SECONDS if prediction.is_terminal else _HASTE_SECONDS
        with self._database.writing(patience_seconds=patience_seconds) as connection:
            # An output once seen is kept: the server forgets it after its hour. So is an end, which another command
            # may have seen meanwhile.
            connection.execute(
                "UPDATE entries SET status = ?, output = coalesce(?, output), error = ?, changed = ?,"
                " run_seconds = ? WHERE number = ? AND (? OR status NOT IN (SELECT value FROM json_each(?)))",
                (
                    status,
                    output,
                    storable(prediction.error_text) or None,
                    self._clock(),
                    prediction.run_seconds,
                    row["number"],
                    prediction.is_terminal,
                    compact_json([*TERMINAL_STATUSES]),
                ),
            )

    def add_file(self, id: str, file: SavedFile) -> None:
        """Write that an output file of this server's prediction stands on disk, under its absolute path.

        One that a create of this machine is known to have made stays its own: a server may have two addresses.
        """
        with self._database.writing() as connection:
            rows = self._entry_rows(id)
            owner = rows[0]["number"] if rows else self.server
            connection.execute(
                "INSERT INTO files VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
                " size_bytes = excluded.size_bytes, sha256 = excluded.sha256, content_type = excluded.content_type,"
                " url = excluded.url, saved = excluded.saved"
                f" WHERE ? OR (size_bytes, sha256) != (excluded.size_bytes, excluded.sha256) OR NOT {IS_OWNED}",
                (
                    id,
                    file.index,
                    storable(os.path.abspath(file.path)),  # noqa: PTH100 - Path.absolute keeps `..` parts
                    file.size_bytes,
                    file.sha256,
                    storable(file.content_type),
                    storable(file.url),
                    f"{self._clock()} {owner}",
                    bool(rows),
                ),
            )

    def files(self, id: str) -> tuple[SavedFile, ...]:
        """List the files saved of this server's prediction in the order of its output, each newest copy first."""
        rows = self._entry_rows(id)
        return self._files_of(id, str(rows[0]["number"])) if rows else self._files_of(id, self.server, "")

    def _files_of(self, id: str, *owners: str) -> tuple[SavedFile, ...]:
        rows = self._database.rows(
            f"SELECT {OF_FILES} FROM files WHERE id = ? AND {OWNER} IN (SELECT value FROM json_each(?))"
            f" ORDER BY file_index, {SAVED} DESC",
            *(id, compact_json(owners)),
        )
        return tuple(map(file_of, rows))

    def has_sent_to(self, base_url: str) -> bool:
        """Say whether a create was sent from this machine to an API."""
        return bool(self._database.rows("SELECT 1 FROM entries WHERE base_url = ? LIMIT 1", base_url))

    def run_seconds(self, model: str, limit: int = 50) -> list[float]:
        """List how long the newest succeeded predictions of a model ran, in seconds from create to end."""
        rows = self._database.rows(
            f"SELECT {time_columns('run_seconds')} FROM entries WHERE model = ? AND status = 'succeeded'"
            " AND is_sandbox = ? AND run_seconds IS NOT NULL ORDER BY number DESC LIMIT ?",
            *(model, self._is_sandbox, limit),
        )
        return [row["run_seconds"] for row in rows]

    def entry(self, id: str, *, anywhere: bool = False) -> Entry | None:
        """Find the entry of a prediction id, made at this base URL or, with `anywhere`, at any."""
        rows = self._entry_rows(id, anywhere=anywhere)
        return entry_of(rows[0]) if rows else None

    def _entry_rows(self, id: str, *, anywhere: bool = False) -> list[sqlite3.Row]:
        # Another server's prediction may have the same id, and a sandbox is at another port each time.
        return self._database.rows(
            f"SELECT {OF_ENTRIES} FROM entries WHERE id = ? AND is_sandbox = ?"
            " AND (is_sandbox OR ? OR base_url = ?) ORDER BY number DESC LIMIT 1",
            *(id, self._is_sandbox, anywhere, self._base_url),
        )

    def is_of_sandbox(self, id: str) -> bool:
        """Say whether a prediction id is one of the sandbox's alone, though the sandbox is not what is asked."""
        if self._is_sandbox or self.entry(id, anywhere=True):
            return False
        return bool(self._database.rows("SELECT 1 FROM entries WHERE id = ? AND is_sandbox LIMIT 1", id))

    def ended(self, id: str) -> Prediction | None:
        """Give a prediction as it was last seen, where it had ended then."""
        entry = self.entry(id)
        if entry is None or entry.status not in TERMINAL_STATUSES:
            return None
        return Prediction(id, entry.status, entry.model, entry.input, entry.output, entry.error or None)

    def may_gain_output(self, id: str) -> bool:
        """Say whether a success, none of whose output was seen, is younger than the hour that the API keeps it."""
        entry = self.entry(id)
        if entry is None or self._clock() > entry.expires:
            return False
        return Prediction(id, entry.status, output=entry.output).may_gain_output

    def resolve(self, reference: Reference) -> str:
        """Give the prediction id that a reference means, from what was newest when the first one was resolved.

        Raises UsageError where there are fewer predictions, CreateUnknown where the one meant has no id.
        """
        if reference.id:
            return reference.id
        shown = "@last" if reference.back == 1 else f"@{reference.back}"
        if self._newest is None:
            for row in self._database.rows("SELECT max(number) FROM entries"):
                self._newest = row[0]
        rows = self._database.rows(
            f"SELECT {OF_ENTRIES} FROM entries WHERE is_sandbox = ? AND status != ? AND number <= ?"
            " ORDER BY number DESC LIMIT 1 OFFSET ?",
            *(self._is_sandbox, REFUSED, self._newest, reference.back - 1),
        )
        if not rows:
            raise self._no_such(shown)
        entry = entry_of(rows[0])
        if not entry.id:
            raise self._without_id(shown, entry, before=f"@{reference.back + 1}")
        if not self._is_sandbox and entry.base_url != self._base_url:
            raise errors.UsageError(
                f"{shown} is {entry.id}, which was made at {entry.base_url}, not at {self._base_url}",
                hint=f"add --base-url {entry.base_url}",
                code="other_base_url",
            )
        return entry.id

    def _no_such(self, shown: str) -> errors.UsageError:
        """Give the error of a reference behind which there is no prediction."""
        held, command = "no such prediction", "cometrep list"
        halves = [bool(row[0]) for row in self._database.rows("SELECT DISTINCT is_sandbox FROM entries")]
        if halves == [True] and not self._is_sandbox:
            held, command = "no predictions but the sandbox's", "cometrep list --sandbox"
        return errors.UsageError(
            f"{shown}: the ledger of this machine holds {held}", hint=command, code="no_such_entry"
        )

    def _without_id(self, shown: str, entry: Entry, *, before: str) -> errors.CreateUnknown:
        """Give the error of a reference to a create whose id is not known; `before` refers to the one before."""
        told, now = "no id came back", self._clock()
        if entry.may_be_under_way(now):
            told = f"sent {format_elapsed(max(0.0, now - entry.changed))} ago, it may be under way still"
        return errors.CreateUnknown(
            f"{shown} is a create of {entry.model} whose outcome is unknown: {told}; {before} is the one before",
            hint=hints.LIST_UNKNOWN,
            request_id=entry.request_id or None,
        )

    def entries(
        self,
        *,
        model: str = "",
        status: str = "",
        since: float | None = None,
        limit: int | None = None,
        unsaved_only: bool = False,
    ) -> Iterator[Entry]:
        """Yield entries, newest first: of models that match a glob, with a status, made since a Unix time.

        `unsaved_only` keeps the successes of which an output file was not saved from this machine, and can be.
        """
        clauses, values = ["is_sandbox = ?", *([IS_LATEST] if unsaved_only else [])], [self._is_sandbox]
        for clause, value in (
            ("model GLOB ?", storable(model) or None),
            ("status = ?", storable(status) or None),
            ("created >= ?", since),
        ):
            if value is not None:
                clauses.append(clause)
                values.append(value)  # type: ignore[arg-type]
        rows = self._database.each(
            f"SELECT {OF_ENTRIES} FROM entries WHERE {' AND '.join(clauses)} ORDER BY number DESC LIMIT ?",
            *(*values, -1 if limit is None or unsaved_only else limit),
        )
        entries = self._with_files(rows)
        yield from islice((one for one in entries if not unsaved_only or one.unsaved_outputs), limit)

    def _with_files(self, rows: Iterator[sqlite3.Row]) -> Iterator[Entry]:
        """Yield entries with their files, which are asked for of many at once: a question of each takes longer."""
        while some := list(islice(rows, _AT_ONCE)):
            files: defaultdict[tuple[str, str], list[SavedFile]] = defaultdict(list)
            ids = compact_json([row["id"] for row in some if row["id"]])
            for file in self._database.rows(
                f"SELECT {text_columns('id')}, {OWNER} AS owner, {OF_FILES} FROM files"
                f" WHERE id IN (SELECT value FROM json_each(?)) ORDER BY file_index, {SAVED} DESC",
                ids,
            ):
                files[file["id"], file["owner"]].append(file_of(file))
            yield from (entry_of(row, files[row["id"], str(row["number"])]) for row in some)

    def file_folders(self, limit: int) -> list[Path]:
        """List the folders in which files were saved, those of the newest files first."""
        rows = self._database.each(f"SELECT {text_columns('path')} FROM files ORDER BY {SAVED} DESC")
        return list(islice(dict.fromkeys(Path(row["path"]).parent for row in rows), limit))

    def unfinished(self, *, model: str = "", since: float | None = None) -> list[str]:
        """List the ids of predictions made at this base URL that may still run: none had ended when last seen.

        They are of models that match a glob, and were made since a Unix time, where these are given.
        """
        ended = compact_json([*TERMINAL_STATUSES, REFUSED])
        first = max(since or 0.0, self._clock() - _RUNNING_SECONDS)
        rows = self._database.rows(
            f"SELECT {text_columns('id')} FROM entries WHERE is_sandbox = ? AND (is_sandbox OR base_url = ?)"
            " AND id != '' AND status NOT IN (SELECT value FROM json_each(?)) AND created > ? AND model GLOB ?"
            " ORDER BY number DESC",
            *(self._is_sandbox, self._base_url, ended, first, storable(model) or "*"),
        )
        return [row["id"] for row in rows]

    def prune(self, before: float) -> tuple[int, int]:
        """Forget the entries made before a Unix time, and what is known of their files; give how many, and kept.

        Kept are those that are still needed: in doubt for a month, running or not saved while that can be, and
        for an hour those of refused creates, which another command may be about to send again.
        """
        if not self._database.exists():
            return 0, 0
        with self._database.writing() as connection:
            young = self.entries(since=self._clock() - _DOUBT_SECONDS)  # no older one is needed
            kept = [entry.number for entry in young if entry.created < before and self._is_needed(entry)]
            condition = "is_sandbox = ? AND created < ? AND number NOT IN (SELECT value FROM json_each(?))"
            values = (self._is_sandbox, before, compact_json(kept))
            connection.execute(
                f"DELETE FROM files WHERE id IN (SELECT id FROM entries WHERE {condition}) AND {OWNER} IN"
                f" (SELECT CAST(number AS TEXT) FROM entries WHERE {condition} UNION SELECT '')",
                values * 2,
            )
            return connection.execute(f"DELETE FROM entries WHERE {condition}", values).rowcount, len(kept)

    def _is_needed(self, entry: Entry) -> bool:
        age = self._clock() - entry.created
        if entry.status == UNKNOWN:
            return age < _DOUBT_SECONDS
        if entry.status == REFUSED:
            return self._clock() - entry.changed < RETENTION_SECONDS
        if entry.status in TERMINAL_STATUSES:
            return bool(entry.unsaved_outputs) and self._clock() < entry.expires
        return age < _RUNNING_SECONDS

    def known_status(self, word: str) -> str:
        """Give the status that a word means, in any case; raise UsageError where no entry has or can have it."""
        known = (*STATUSES, UNKNOWN, REFUSED)
        for status in (word.strip().lower(), normalize_status(word)):  # "unknown" is also a gateway's word
            if status in known:
                return status
        if next(self.entries(status=word, limit=1), None):  # a word of the server's own
            return word
        near = nearest(word, known)
        raise errors.UsageError(
            f"{word!r} is not a status" + (f"; did you mean {near}?" if near else f": {', '.join(known)}"),
            hint=f"cometrep list --status {near or 'failed'}",
        )
