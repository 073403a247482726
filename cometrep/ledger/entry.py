"""One line of the ledger: what it holds, and the form in which the file keeps it."""

import json
import sqlite3
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from cometrep.data_uris import shorten_data_uris
from cometrep.prediction import Prediction, SavedFile

UNKNOWN = "unknown"  # a create whose outcome is not known
REFUSED = "refused"  # a create that the API refused
SANDBOX = "sandbox"  # as a server: its base URL has another port each time

RETENTION_SECONDS = 3600.0
_UNDER_WAY_SECONDS = 300.0  # in which a create of which nothing was heard may still be under way
_OUTPUT_LIMIT = 1_000_000  # characters of output JSON worth keeping
_UNKNOWN_FACTS = ("logs", "metrics", "progress", "started_at", "completed_at", "data_removed")  # of a prediction
VERSION = 1
SCHEMA = """
CREATE TABLE entries (
    number INTEGER PRIMARY KEY,
    id TEXT,
    model TEXT NOT NULL,
    base_url TEXT NOT NULL,
    is_sandbox INTEGER NOT NULL,
    status TEXT NOT NULL,
    input TEXT NOT NULL,
    output TEXT,
    error TEXT,
    request_id TEXT,
    created REAL NOT NULL,
    changed REAL NOT NULL,
    run_seconds REAL
);
CREATE INDEX entries_by_id ON entries (id);
CREATE INDEX entries_by_model ON entries (model, status);
CREATE TABLE files (
    id TEXT NOT NULL,
    file_index INTEGER NOT NULL,
    path TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    content_type TEXT NOT NULL,
    url TEXT NOT NULL,
    saved REAL NOT NULL,
    PRIMARY KEY (id, file_index, path)
);
"""


# SQLite keeps any value in any column, and somebody may have edited the file.
def text_columns(*names: str) -> str:
    """Ask for columns as texts."""
    return ", ".join(f"CAST({name} AS TEXT) AS {name}" for name in names)


def time_columns(*names: str) -> str:
    """Ask for columns as seconds that a clock could show."""
    return ", ".join(f"min(max(CAST({name} AS REAL), 0), 1e11) AS {name}" for name in names)


OF_ENTRIES = (
    f"number, is_sandbox, input, output, {time_columns('created', 'changed', 'run_seconds')},"
    f" {text_columns('id', 'model', 'base_url', 'status', 'error', 'request_id')}"
)
OF_FILES = (
    "CAST(file_index AS INTEGER) AS file_index, CAST(size_bytes AS INTEGER) AS size_bytes,"
    f" {text_columns('path', 'sha256', 'content_type', 'url')}"
)
SAVED = "CAST(saved AS REAL)"  # when a file was saved: SQLite reads a number as far as it goes
# Whose a file is, as ids repeat between servers: the number of the entry or, of a prediction that has none, the
# server. It stands behind the time in `saved`, since earlier versions cannot write to a table with one column more.
# Their own rows have the time alone, and are of the newest entry whose output has the file's URL, else of the
# newest that was made by then.
_NEWEST = "(SELECT CAST(max(number) AS TEXT) FROM entries WHERE entries.id = files.id AND {})"
_BY_URL = _NEWEST.format("url != '' AND instr(coalesce(output, ''), url)")
_BY_TIME = _NEWEST.format("created <= saved")
OWNER = (
    "CASE typeof(saved) WHEN 'text' THEN substr(saved, instr(saved, ' ') + 1)"
    f" ELSE coalesce({_BY_URL}, {_BY_TIME}, '') END"
)
IS_OWNED = f"EXISTS (SELECT 1 FROM entries WHERE CAST(number AS TEXT) = {OWNER})"  # a file, by an entry
IS_LATEST = (  # an entry, as it is no more where its server gave its id again, as after a reset
    "NOT EXISTS (SELECT 1 FROM entries AS later WHERE later.id = entries.id AND later.number > entries.number"
    " AND later.is_sandbox = entries.is_sandbox AND (later.is_sandbox OR later.base_url = entries.base_url))"
)


class Entry(NamedTuple):
    """One line of the ledger. Times are Unix seconds of this machine; `id` is empty while it is not known."""

    number: int
    id: str
    model: str
    base_url: str
    is_sandbox: bool
    status: str
    input: Any
    output: Any
    error: str
    request_id: str
    created: float
    changed: float
    run_seconds: float | None = None
    files: tuple[SavedFile, ...] = ()

    @property
    def expires(self) -> float:
        """When the API forgets the output files: an hour after the end (replicate.com/docs: data retention)."""
        ended = self.changed if self.run_seconds is None else min(self.changed, self.created + self.run_seconds)
        return ended + RETENTION_SECONDS

    def may_be_under_way(self, now: float) -> bool:
        """Say whether at a Unix time a process may be waiting for its id; one that died leaves the same entry."""
        return self.status == UNKNOWN and not self.error and abs(now - self.changed) <= _UNDER_WAY_SECONDS

    @property
    def unsaved_outputs(self) -> int:
        """How many output files of a success were not saved from this machine.

        0 where the ledger has no output: it was empty, or too large to keep.
        """
        if self.status != "succeeded":
            return 0
        outputs = Prediction(self.id, self.status, output=self.output).output_files()
        return len({file.index for file in outputs} - {file.index for file in self.files})

    def as_json(self) -> dict[str, Any]:
        """Give the object of `list --json`: a prediction's, null where the ledger does not know, and more."""
        return {
            "schema_version": 1,
            "id": self.id or None,
            "model": self.model,
            "status": self.status,
            "input": self.input,
            "output": self.output,
            "error": self.error or None,
            **dict.fromkeys(_UNKNOWN_FACTS),
            "created_at": _iso(self.created),
            "changed_at": _iso(self.changed),
            "base_url": self.base_url,
            "sandbox": self.is_sandbox,
            "request_id": self.request_id or None,
            "unsaved_outputs": self.unsaved_outputs,
            "expires_at": _iso(self.expires) if self.status == "succeeded" else None,
            "files": [file.as_json() for file in self.files],
        }


def entry_of(row: sqlite3.Row, files: Sequence[SavedFile] = ()) -> Entry:
    """Give the entry that a row of OF_ENTRIES holds."""
    return Entry(
        number=row["number"],
        id=row["id"] or "",
        model=row["model"],
        base_url=row["base_url"],
        is_sandbox=bool(row["is_sandbox"]),
        status=row["status"],
        input=_parsed(row["input"]),
        output=_parsed(row["output"]),
        error=row["error"] or "",
        request_id=row["request_id"] or "",
        created=row["created"],
        changed=row["changed"],
        run_seconds=row["run_seconds"],
        files=tuple(files),
    )


def _parsed(text: str | None) -> Any:
    """Read a value of JSON; None where there is none, or where somebody edited it into none."""
    try:
        return json.loads(text) if text else None
    except (ValueError, RecursionError):
        return None


def file_of(row: sqlite3.Row) -> SavedFile:
    """Give the file that a row of OF_FILES holds."""
    return SavedFile(
        path=row["path"],
        index=row["file_index"],
        size_bytes=row["size_bytes"],
        sha256=row["sha256"],
        content_type=row["content_type"],
        url=row["url"],
    )


def kept_output(prediction: Prediction) -> str | None:
    """Give an output as it is kept, None where there is none or it is too large for that."""
    if prediction.output is None:
        return None
    output = compact_json(shorten_data_uris(prediction.output))
    return output if len(output) <= _OUTPUT_LIMIT else None


def compact_json(value: Any) -> str:
    """Write a value as the file keeps it."""
    return json.dumps(value, separators=(",", ":"))


def _iso(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
