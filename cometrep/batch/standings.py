"""What the steps of a batch come to: where each of its items stands, looked up in a temporary database.

It is on disk where it grows, so that memory does not grow with the number of items.
"""

import contextlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

from cometrep import errors
from cometrep.prediction import Prediction, SavedFile
from cometrep.text import format_item, storable

_PROMPT_KEPT = 50  # characters: more than a label shows
_OPEN_LIMIT = 10_000  # items that are looked for in the file
_NO_ROOM = (sqlite3.Error, MemoryError)  # what a database raises that has none, on the disk or in memory


class State(StrEnum):
    """What an item's steps come to."""

    NEW = "new"
    UNKNOWN = "unknown"  # its create left, and no answer came back
    RUNNING = "running"
    UNSAVED = "unsaved"  # it succeeded, and its files are not saved
    DONE = "done"
    FAILED = "failed"


# What each step leaves an item in; `ended` depends on its status.
_STATES = {
    "sending": State.UNKNOWN,
    "doubt": State.UNKNOWN,
    "unsent": State.NEW,
    "refused": State.FAILED,
    "created": State.RUNNING,
    "left": State.UNSAVED,
    "saved": State.DONE,
    "lost": State.FAILED,
}
STEPS = frozenset({*_STATES, "ended"})
"""What the record of an item may say."""
_STEPS_BACK = {
    State.NEW: "unsent",
    State.UNKNOWN: "doubt",
    State.RUNNING: "created",
    State.UNSAVED: "left",
    State.FAILED: "refused",
}
_NO_ENTRY = -1  # in the ledger, of the create that a step speaks of; 0 is that of the step before it
NO_ANSWER = "no answer to its create"
"""Why an item is in doubt whose record has no more than that it was sent."""


class Standing(NamedTuple):
    """Where an item stands: its state, its prediction's id, what went wrong and what it sent, where known.

    `entry` is the number of its create in the ledger, `status` the one its prediction ended with, `changed` and
    `ended` the Unix times of its last step and of the one that ended it, `reason` what the server said of that;
    `before` is where it stood when its last create left, as long as nothing else is known of that, and `since` when
    it came to stand where a create in vain left it.
    """

    state: State
    id: str = ""
    error: str = ""
    exit_code: int = 0
    digest: str = ""
    files: str = ""  # as JSON
    entry: int = 0
    status: str = ""
    changed: float = 0.0
    ended: float = 0.0
    line: int = 0  # where the item stood, and how its prompt began
    prompt: str = ""
    reason: str = ""  # as JSON
    model: str = ""  # that it was sent to
    input: str = ""  # as JSON, where the record is read for it
    before: str = ""  # as JSON, empty for new
    since: float = 0.0

    @property
    def exit_code_told(self) -> int:
        """The exit code that a failure or a doubt is told with, whatever the record has of it."""
        if self.state is State.UNKNOWN:
            return errors.CreateUnknown.exit_code
        return self.exit_code or errors.PredictionFailed.exit_code

    @property
    def stood_since(self) -> float:
        """When it came to stand here, as a Unix time, whatever creates in vain there were behind that."""
        return self.since or self.ended or self.changed

    @property
    def step(self) -> str:
        """Name the step that puts an item back where it stands here, with `facts`, behind a create in vain."""
        return _STEPS_BACK[self.state]

    def facts(self) -> dict[str, Any]:
        """Give what the record is to say with `step`."""
        known = {
            "id": self.id,
            "error": self.error,
            "exit_code": self.exit_code,
            "entry": self.entry or _NO_ENTRY,
            "digest": self.digest,  # of what was sent: the create in vain may be of an edited line
            "model": self.model,
            "status": self.status,
            "reason": json.loads(self.reason) if self.reason else None,
            "files": json.loads(self.files) if self.files else None,
        }
        if self.state in (State.RUNNING, State.UNSAVED):  # its hour is not to begin anew
            known["since"] = self.stood_since
        if self.state is State.UNKNOWN:
            known |= {"error": self.error or NO_ANSWER, "exit_code": self.exit_code_told}
        return {name: fact for name, fact in known.items() if fact} if self.state is not State.NEW else {}

    def without_last_create(self) -> "Standing | None":
        """Give where the item stood before its last create, None where it was new or nobody knows."""
        before = json.loads(self.before) if self.before else None
        if not before:
            return None
        sent: dict[str, Any] = {name: text for name in ("digest", "model") if (text := _text(before, name))}
        if sent.get("digest", self.digest) != self.digest:
            sent["input"] = ""
        return self._replace(**_came_to(before), **sent, state=State(before["state"]), before="")

    def label(self, key: str) -> str:
        """Give what people know its item by, as its events had it: its own key, else its place."""
        is_hash = bool(self.digest and self.line) and key.startswith(self.digest)
        return format_item(self.line, self.prompt) if is_hash else key

    def prediction(self) -> Prediction:
        """Give the item's prediction, as far as the record knows it."""
        sent, reason = (json.loads(text) if text else None for text in (self.input, self.reason))
        return Prediction(self.id, self.status, self.model, sent, error=reason)

    def saved_files(self, folder: Path) -> list[SavedFile]:
        """Give the files that were saved in a record's folder, where they were put."""
        files = (SavedFile.from_json(facts) for facts in json.loads(self.files or "[]"))
        return [file.at(str(folder / file.path)) for file in files]


NEW = Standing(State.NEW)
_COLUMNS = ", ".join(Standing._fields)


class Standings:
    """Where the items of one folder stand; with `reads_inputs` what they sent is known too."""

    def __init__(self, folder: Path, *, reads_inputs: bool) -> None:
        self._folder = folder
        self._reads_inputs = reads_inputs
        self._index: sqlite3.Connection | None = None  # made once there is anything to look up

    def close(self) -> None:
        """Let go of the database."""
        if self._index:
            self._index.close()

    def take(self, steps: Iterable[tuple[Mapping[str, Any], int]]) -> None:
        """Take up all steps there are, each with the number of the file that has it.

        Within one file the order counts, between files the time.
        """
        with self._translated():
            self._index = _made_index()
            self._fill(self._index, steps)

    def of(self, key: str) -> Standing:
        """Tell where an item stands."""
        if self._index is None:
            return NEW
        query = f"SELECT {_COLUMNS} FROM items WHERE key = ?"
        with self._translated():
            row = self._index.execute(query, (storable(key),)).fetchone()
        return Standing(State(row[0]), *row[1:]) if row else NEW

    def owner(self, id: str, key: str) -> str:
        """Give the key of the item that a prediction's id was given to: this one, where no other had it first.

        To be asked from one thread.
        """
        with contextlib.suppress(*_NO_ROOM):  # what was created is to be kept all the same
            if self._index is None:
                self._index = _made_index()
            self._index.execute("INSERT OR IGNORE INTO owners VALUES (?, ?)", (id, storable(key)))
            (owner,) = self._index.execute("SELECT key FROM owners WHERE id = ?", (id,)).fetchone()
            return key if owner == storable(key) else str(owner)
        return key

    def open_items(self, since: float) -> tuple[int, dict[str, str]]:
        """Count all items, and give by key the first ids that may have to be saved yet, of steps `since` then."""
        if self._index is None:
            return 0, {}
        query = (
            "SELECT key, id FROM items WHERE id != '' AND changed > ? AND state IN (?, ?, ?) ORDER BY rowid LIMIT ?"
        )
        facts = (since, State.RUNNING, State.UNSAVED, State.UNKNOWN, _OPEN_LIMIT)
        with self._translated():
            (count,) = self._index.execute("SELECT count(*) FROM items").fetchone()
            return count, dict(self._index.execute(query, facts))

    def by_key(self, held: Sequence[bool]) -> Iterator[tuple[str, Standing]]:
        """Yield every item with its standing, in the order in which they were sent.

        `held` says of each file whether a run is at work on it: a create that it waits for is no doubt and what it
        saves is not unsaved: both run.
        """
        if self._index is None:
            return
        query = f"SELECT key, file, {_COLUMNS} FROM items ORDER BY rowid"
        with self._translated():
            for key, file, state, *facts in self._index.execute(query):
                standing = Standing(State(state), *facts)
                is_open = standing.state in (State.UNKNOWN, State.UNSAVED) and not standing.error
                yield key, standing._replace(state=State.RUNNING) if is_open and held[file] else standing

    def _fill(self, index: sqlite3.Connection, steps: Iterable[tuple[Mapping[str, Any], int]]) -> None:
        """Make a table of where items stand."""
        known = "excluded.state NOT IN ('unknown', 'new')"  # of the same prediction as the step before
        index.executemany(
            f"INSERT INTO items (key, {_COLUMNS}, created, file)"
            f" VALUES ({', '.join('?' * (len(Standing._fields) + 3))})"
            " ON CONFLICT (key) DO UPDATE SET state = excluded.state,"
            f" id = CASE WHEN excluded.id = '' AND {known} THEN id ELSE excluded.id END,"
            " error = excluded.error, exit_code = excluded.exit_code,"
            " digest = coalesce(nullif(excluded.digest, ''), digest), files = excluded.files,"
            " entry = coalesce(nullif(excluded.entry, 0), entry),"
            " line = coalesce(nullif(excluded.line, 0), line),"
            " prompt = coalesce(nullif(excluded.prompt, ''), prompt),"
            " model = coalesce(nullif(excluded.model, ''), model),"
            " input = CASE WHEN excluded.digest IN ('', digest) THEN coalesce(nullif(excluded.input, ''), input)"
            " ELSE excluded.input END, reason = excluded.reason,"
            " before = excluded.before, since = excluded.since,"
            f" status = CASE WHEN excluded.status = '' AND {known} THEN status ELSE excluded.status END,"
            f" ended = CASE WHEN ended > 0 AND {known} THEN ended ELSE excluded.ended END,"  # the first time
            " created = coalesce(nullif(excluded.created, 0), created),"
            " changed = excluded.changed, file = excluded.file"
            " WHERE excluded.file = file OR excluded.changed >= changed",
            ((*_row(step, has_input=self._reads_inputs), file) for step, file in steps),
        )
        index.execute(
            "INSERT OR IGNORE INTO owners SELECT id, key FROM items WHERE id != '' AND created > 0 ORDER BY created"
        )

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as problem:  # the temporary database has no room
            raise errors.LocalFileError(
                f"cannot look through the records in {self._folder}: {problem}", hint="export TMPDIR=FOLDER"
            ) from problem


def _made_index() -> sqlite3.Connection:
    """Make a temporary database, on disk where it grows, gone with the process."""
    index = sqlite3.connect("")
    try:
        index.execute(
            "CREATE TABLE items (key TEXT PRIMARY KEY, state TEXT, id TEXT, error TEXT, exit_code INT, digest TEXT,"
            " files TEXT, entry INT, status TEXT, changed REAL, ended REAL, line INT, prompt TEXT, reason TEXT,"
            " model TEXT, input TEXT, before TEXT, since REAL, created REAL, file INT)"
        )
        index.execute("CREATE TABLE owners (id TEXT PRIMARY KEY, key TEXT)")
    except _NO_ROOM:
        index.close()
        raise
    return index


def _row(step: Mapping[str, Any], *, has_input: bool) -> tuple[Any, ...]:
    """Give what a step says of its item: its key, then what a standing holds, and when it was created."""
    name = step["step"]
    if name == "ended":
        state = State.UNSAVED if step.get("status") == "succeeded" else State.FAILED
    else:
        state = _STATES[name]
    time = storable_number(step.get("time"))
    sent, before = step.get("input"), step.get("before")
    prompt = sent.get("prompt") if isinstance(sent, dict) else ""
    has_stood = name == "sending" and _is_standing(before)
    standing = Standing(
        state,
        **_came_to(step),
        digest=_text(step, "digest"),
        changed=time,
        ended=time if name == "ended" else 0.0,
        line=int(storable_number(step.get("line"))),
        prompt=storable(prompt[:_PROMPT_KEPT]) if isinstance(prompt, str) else "",
        model=_text(step, "model"),
        input=json.dumps(sent) if has_input and sent is not None else "",
        before=json.dumps(before) if has_stood else "",
    )
    return storable(str(step["key"])), *standing, time if name == "created" else 0.0


def _is_standing(value: Any) -> bool:
    """Say whether a value is where an item stood, as `facts` gives it with its state."""
    if not isinstance(value, dict) or str(value.get("state")) not in _STEPS_BACK:
        return False
    files = value.get("files", [])
    return isinstance(files, list) and all(map(SavedFile.is_json, files))


def _came_to(step: Mapping[str, Any]) -> dict[str, Any]:
    """Give what a step, or where an item stood before one, says of what came of its create, for a standing."""
    numbers = {name: int(storable_number(step.get(name))) for name in ("exit_code", "entry")}
    values = {name: json.dumps(step[name]) if step.get(name) else "" for name in ("reason", "files")}
    since = storable_number(step.get("since"))
    return {**{name: _text(step, name) for name in ("id", "error", "status")}, **numbers, **values, "since": since}


def _text(step: Mapping[str, Any], name: str) -> str:
    return storable(str(step.get(name) or ""))


def storable_number(value: Any) -> float:
    """Take a number that SQLite can hold; 0 for anything else."""
    return value if isinstance(value, (int, float)) and abs(value) < 2**63 else 0
