"""Hold an incomplete file under a hidden, locked name until it is whole; take it up again after a death.

The part file stands beside its target, with what is known of it in a JSON file of its own. The final name is given
by one rename, after the bytes are on the disk. A part file that an earlier command left is taken up again where
the server has shown a validator (ETag, else Last-Modified) and confirms it.
"""

import contextlib
import errno
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

from cometrep import errors, formats, hints
from cometrep.byte_ranges import ByteRange, Facts, is_encoded
from cometrep.digest import Digest, file_sha256
from cometrep.locks import is_at, is_held, open_alone, open_beside
from cometrep.references import ID_PATTERN
from cometrep.small_files import part_path, read_whole, size_of, sync_folder, writing

CHUNK_BYTES = 256 * 1024  # of what is read at once

# The part files of outputs, and of sidecars (`write_whole`); one with a number of its own is never taken up.
_PART_NAME = (
    rf"\.(?P<id>{ID_PATTERN})(?:-(?P<index>\d{{1,9}})(?:\.o[0-9a-f]{{8}})?(?:\.(?P<own>\d+))?\.part(?:\.json)?"
    r"|\.cometrep\.json(?:\.\d+)?\.part)"
)
_SHORT_BYTES = 512


class Origin(NamedTuple):
    """Whose an output file is beyond its id: the server and, by this machine's ledger, when it was created.

    Ids repeat between servers, and at one that was reset. Empty and 0 are what is not known.
    """

    server: str = ""
    created: float = 0.0

    def agrees(self, other: "Origin") -> bool:
        """Say whether nothing that is known of both differs."""
        return all(one == its or not one or not its for one, its in zip(self, other, strict=True))

    def name(self, stem: str) -> str:
        """Give what tells an output file's part file from another's, where that has the usual name."""
        return "o" + hashlib.sha256(f"{stem} {self.server} {self.created}".encode()).hexdigest()[:8]


ANY_ORIGIN = Origin()


class _Note(NamedTuple):
    """What a command leaves beside a part file; `stem` names the output file, by id and index."""

    facts: Facts = Facts()
    is_complete: bool = False
    stem: str = ""
    origin: Origin = ANY_ORIGIN

    @classmethod
    def in_file(cls, path: Path) -> "_Note":
        """Read what an earlier command noted; nothing where that is torn or gone."""
        found: Any = None
        with contextlib.suppress(OSError, ValueError, RecursionError):
            found = json.loads(read_whole(path))
        found = found if isinstance(found, dict) else {}
        validator, total = found.get("validator"), found.get("total")
        facts = Facts(
            validator if isinstance(validator, str) else "",
            total if isinstance(total, int) else None,
            str(found.get("content_type", "")),
        )
        server, created = found.get("server"), found.get("created")
        origin = Origin(
            server if isinstance(server, str) else "",
            created if isinstance(created, float) else 0.0,
        )
        return cls(facts, found.get("is_complete") is True, str(found.get("stem", "")), origin)

    @property
    def is_resumable(self) -> bool:
        """Whether the bytes it speaks of are of use to a later command."""
        return bool(self.facts.validator) or self.is_complete

    def is_of(self, stem: str, origin: Origin) -> bool:
        """Say whether it is of that output file.

        Earlier versions noted no origin, and before that no stem; in the name of the file they wrote `_` for a dash
        at the beginning of an id.
        """
        is_named = self.stem == stem or (not self.stem and not stem.startswith("_"))
        return is_named and self.origin.agrees(origin)

    def as_json(self) -> dict[str, Any]:
        """Give what `in_file` reads."""
        return {
            "validator": self.facts.validator,
            "total": self.facts.total_bytes,
            "content_type": self.facts.content_type,
            "is_complete": self.is_complete,
            "stem": self.stem,
            "server": self.origin.server,
            "created": self.origin.created,
        }


def _is_anothers(path: Path, stem: str, origin: Origin) -> bool:
    """Say whether a part file is of use to another output file, as where the file system knows no case."""
    note = _Note.in_file(_facts_path(path))
    return size_of(path) > 0 and note.is_resumable and not note.is_of(stem, origin)


def _beside(usual: Path, stem: str, origin: Origin) -> Path:
    """Give the path of an output file's part file where another's has the usual one."""
    return usual.with_suffix(f".{origin.name(stem)}.part")


def _facts_path(path: Path) -> Path:
    return path.with_name(path.name + ".json")


class PartFile:
    """A part file, locked, and what is known of the bytes it holds.

    The facts (validator, total, type) stand in a small file beside it, written before the first byte they speak
    of; a part file without facts, or with torn ones, is started over.
    """

    def __init__(
        self,
        path: Path,
        stem: str,
        origin: Origin,
        file: IO[bytes],
        *,
        is_own: bool,
        lockless: Path | None = None,
    ) -> None:
        self._path = path
        self._stem = stem
        self._origin = origin
        self._facts_path = _facts_path(path)
        self._file = file
        self._is_own = is_own  # made for this command alone, since another one holds the usual name, or may
        self._lockless = lockless  # where a whole one stands meanwhile, as the file system knows no locks
        self._facts = Facts()
        self.is_complete = False  # whether all bytes are there and were checked
        self._is_noted = False  # whether the facts are on the disk
        self._hash = Digest(file, path)
        self.head = b""  # the first bytes, as many as a format shows itself in
        self.size = 0
        self._synced = -1  # how many bytes are surely on the disk
        self._is_committed = False

    @classmethod
    @contextlib.contextmanager
    def opened(cls, folder: Path, stem: str, origin: Origin = ANY_ORIGIN) -> Iterator["PartFile"]:
        """Open, lock and take up the part file of one output file; keep or clear it away on leaving."""
        with writing(folder):
            if folder.exists() and not folder.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, "it is not a folder")
            folder.mkdir(parents=True, exist_ok=True)
        # An id is portable behind the dot, and as it stands no two have one name.
        usual = part_path(folder, stem)
        beside = _beside(usual, stem, origin)
        path = beside if beside.exists() else usual
        with writing(path):
            file = open_alone(path)
            if path == usual and _is_anothers(path, stem, origin):
                if file:
                    file.close()
                path = beside
                file = open_alone(path)
            is_own, lockless = file is None, None
            if file is None:
                own, file, knows_locks = open_beside(path)
                path, lockless = own, None if knows_locks else path
        part = cls(path, stem, origin, file, is_own=is_own, lockless=lockless)
        try:
            part._take_up()
            yield part
        finally:
            part._leave()

    @property
    def total_bytes(self) -> int | None:
        """How long the file will be, where the server said."""
        return self._facts.total_bytes

    @property
    def content_type(self) -> str:
        """The Content-Type the server gave."""
        return self._facts.content_type

    @property
    def sha256(self) -> str:
        """The hex digest of the bytes so far."""
        with writing(self._path):
            return self._hash.hexdigest()

    @property
    def is_json_alone(self) -> bool:
        """Whether the bytes so far, which are few, are a whole value of JSON."""
        if self.size > len(self.head) or len(self.head) > _SHORT_BYTES:
            return False
        try:
            json.loads(self.head)
        except (ValueError, RecursionError):
            return False
        return True

    def resume_headers(self) -> dict[str, str]:
        """Give the request headers that ask for the rest, none where there is nothing to go on from."""
        if not self.size or not self._facts.validator:
            return {}
        return {"Range": f"bytes={self.size}-", "If-Range": self._facts.validator}

    def fits(self, headers: Mapping[str, str]) -> bool:
        """Say whether a 206 goes on exactly where this part file ends, in the same file; note how long that is.

        It may end before the file does (RFC 9110, 14.2), and what lacks is asked for from there.
        """
        came = ByteRange.of(headers)
        if not came or came.first != self.size or not self.resume_headers() or is_encoded(headers):
            return False
        total = self.total_bytes if came.total is None else came.total
        if total is None or self.total_bytes not in (None, total) or not self.size <= came.last < total:
            return False
        if not self._facts.are_of(headers):
            return False
        self._facts = self._facts._replace(total_bytes=total)
        return True

    def is_all(self, headers: Mapping[str, str]) -> bool:
        """Say whether the headers of a 416 mean that all of the file is there, as far as anything tells."""
        is_end = headers.get("Content-Range", "").strip() == f"bytes */{self.size}"
        return is_end and self.total_bytes in (None, self.size) and not self.is_cut_short()

    def restart(self, facts: Facts = Facts()) -> None:  # noqa: B008 - it cannot change
        """Empty the part file and take up what is known of what will come."""
        self._hash.close()
        with writing(self._path):
            self._file.seek(0)
            self._file.truncate()
            self._facts_path.unlink(missing_ok=True)
        self.head, self.size, self._synced = b"", 0, -1
        self._hash = Digest(self._file, self._path)
        self._facts, self.is_complete = facts, False
        self._is_noted = False

    def append(self, chunk: bytes) -> None:
        """Write bytes at the end."""
        if not self._is_noted and self._facts.validator and self.size + len(chunk) != self.total_bytes:
            self._note()
        with writing(self._path):
            self._file.write(chunk)
            self._take(chunk)

    def _take(self, chunk: bytes) -> None:
        """Take up bytes that the file holds."""
        self._hash.update(chunk)
        self.size += len(chunk)
        if len(self.head) < formats.SNIFF_BYTES:
            self.head += chunk[: formats.SNIFF_BYTES - len(self.head)]

    def is_cut_short(self) -> bool:
        """Say whether the picture in it lacks its end, as far as its format tells."""
        with writing(self._path):
            self._file.flush()
            with self._path.open("rb") as file:
                return formats.is_cut_short(file, self.size)

    def complete(self) -> None:
        """Note that all bytes are there, so that they need not be fetched again if the last step fails."""
        with writing(self._path):
            self._sync()  # first: a power cut may keep the note and lose the bytes
        self._facts, self.is_complete = self._facts._replace(total_bytes=self.size), True
        self._note()

    def _sync(self) -> None:
        """Wait until the bytes so far are on the disk, while the last of them are hashed."""
        if self._synced == self.size:
            return
        self._file.flush()
        self._hash.hurry()
        os.fsync(self._file.fileno())
        self._synced = self.size

    def commit(self, target: Path, id: str, index: int, *, overwrites: bool, skips_existing: bool) -> str:
        """Give the part file its final name, by the rules for a path that exists; tell how it ended."""
        with writing(target):
            self._sync()
            self._hash.hexdigest()  # before the final name: it reads the bytes again
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.exists() and not target.is_file():
                what = "a folder" if target.is_dir() else "no regular file"
                raise errors.LocalFileError(f"{target} is {what}", remedy=hints.OWN_FOLDERS, code="file_exists")
            if os.name == "nt":
                self._file.close()  # Windows renames no open file
            while not self._placed(target, overwrites=overwrites):
                if skips_existing or _has_content(target, self.size, self.sha256):
                    self._is_committed = True
                    return "skipped" if skips_existing else "kept"
                if os.path.lexists(target):  # else it was removed meanwhile
                    raise _in_the_way(target, f"output file {index} of {id}", id)
            sync_folder(target.parent)
        self._is_committed = True
        return "saved"

    def _placed(self, target: Path, *, overwrites: bool) -> bool:
        """Rename onto the target, or, without `overwrites`, only where nothing stands there."""
        if overwrites:
            self._path.replace(target)
            return True
        if os.path.lexists(target):
            return False
        try:
            os.link(self._path, target, follow_symlinks=False)
        except FileExistsError:
            return False
        except (OSError, NotImplementedError):
            self._path.rename(target)  # a file system without hard links
            return True
        self._path.unlink()
        return True

    def _take_up(self) -> None:
        """Read the facts an earlier command left, and hash the bytes they speak of."""
        note = _Note.in_file(_facts_path(self._lockless) if self._lockless else self._facts_path)
        if not note.is_resumable or not note.is_of(self._stem, self._origin):
            return
        if self._lockless and not (note.is_complete and self._copied(self._lockless)):
            return
        # What this machine does not know of it is kept for the one that does.
        self._origin = Origin(
            self._origin.server or note.origin.server, self._origin.created or note.origin.created
        )
        # First: a signal while it is read must not make it useless.
        self._facts, self.is_complete, self._is_noted = note.facts, note.is_complete, not self._lockless
        with writing(self._path):
            if not self.is_complete:
                self._cut_zeros()
            self._file.seek(0)
            while chunk := self._file.read(CHUNK_BYTES):
                self._take(chunk)
        total = self.total_bytes
        if (total is not None and self.size > total) or (self.is_complete and self.size != total):
            self.restart()

    def _copied(self, path: Path) -> bool:
        """Copy a whole part file, to which nobody writes any more; False where somebody took it meanwhile."""
        with writing(self._path):
            try:
                whole = path.open("rb")
            except FileNotFoundError:
                return False
            with whole:
                while chunk := whole.read(CHUNK_BYTES):
                    self._file.write(chunk)
        return True

    def _cut_zeros(self) -> None:
        """Cut off the zeros at the end, to be fetched again.

        A power cut may keep the length of a file and lose its last bytes, which nothing had asked the disk for.
        """
        size = end = self._file.seek(0, os.SEEK_END)
        kept = b""
        while end and not kept:
            start = max(0, end - CHUNK_BYTES)
            self._file.seek(start)
            kept = self._file.read(end - start).rstrip(b"\0")
            end = start + len(kept)
        if end < size:
            self._file.truncate(end)

    def _note(self, path: Path | None = None) -> None:
        """Write the facts beside the bytes; without a validator they are of no use before all is there."""
        path = path or self._facts_path
        with writing(path):
            note = _Note(self._facts, self.is_complete, self._stem, self._origin)
            path.write_text(json.dumps(note.as_json()))
        self._is_noted = True

    def _leave(self) -> None:
        self._hash.close()
        is_useful = self._is_noted or (self._facts.validator and self.size)
        with contextlib.suppress(OSError, errors.LocalFileError):
            if self._lockless and self.is_complete:
                self._leave_whole(self._lockless)
            if self._is_committed or self._is_own or not is_useful:
                # Another process may have taken the usual names, once the final one was given.
                is_taken = self._path.exists() and not self._has_its_name()
                if not is_taken:
                    self._path.unlink(missing_ok=True)
                    self._facts_path.unlink(missing_ok=True)
            elif not self._is_noted:
                self._note()
        with contextlib.suppress(OSError):
            self._file.close()

    def _leave_whole(self, path: Path) -> None:
        """Give bytes that are whole a name by which a later command finds them or, once they are saved, take it."""
        note = _Note.in_file(_facts_path(path))
        stands = path.exists() and note.is_complete and note.is_of(self._stem, self._origin)
        if self._is_committed:
            for one in (path, _facts_path(path)) if stands else ():
                one.unlink(missing_ok=True)
        elif not stands:
            if path.exists():  # as another machine may write it, which knows the locks
                path = _beside(path, self._stem, self._origin)
            if not path.exists():
                self._sync()
                self._path.replace(path)
                self._note(_facts_path(path))

    def _has_its_name(self) -> bool:
        try:
            return is_at(self._path, self._file.fileno())
        except (OSError, ValueError):  # ValueError: closed for the rename, as Windows asks for
            return self._file.closed


class LeftOver(NamedTuple):
    """What a command that ended early left of an output file: `paths` on disk, its bytes and the facts of them.

    A download of the prediction goes on from it where it `is_resumable`, with no byte to fetch if it `is_complete`.
    `server` is the one that it came from, empty where nobody noted it.
    """

    id: str
    paths: tuple[Path, ...]
    size_bytes: int
    changed: float
    is_resumable: bool
    is_complete: bool
    server: str = ""


def left_over_in(folder: Path) -> list[LeftOver]:
    """List the part files in a folder that no running command holds; raise OSError where it cannot be read."""
    found: dict[Path, re.Match[str]] = {}
    for path in folder.iterdir():
        if named := re.fullmatch(_PART_NAME, path.name):
            found[folder / path.name.removesuffix(".json")] = named
    return [_left_over_of(path, named) for path, named in sorted(found.items()) if not is_held(path)]


def _left_over_of(path: Path, named: re.Match[str]) -> LeftOver:
    facts_path = _facts_path(path)
    paths = tuple(one for one in (path, facts_path) if one.exists())
    is_usual = named["index"] is not None and named["own"] is None and path in paths
    note = _Note.in_file(facts_path) if is_usual else _Note()
    return LeftOver(
        named["id"],
        paths,
        sum(size_of(one) for one in paths),
        max((one.stat().st_mtime for one in paths), default=0.0),
        is_resumable=note.is_resumable,
        is_complete=note.is_complete,
        server=note.origin.server,
    )


def _has_content(path: Path, size: int, sha256: str) -> bool:
    return path.is_file() and path.stat().st_size == size and file_sha256(path) == sha256


def _in_the_way(target: Path, what: str, id: str) -> errors.LocalFileError:
    """Give the error for a path that exists where `what` is to go, and does not hold the same."""
    told, remedy = f"{target} exists and differs from {what}", "--overwrite"
    if target.exists() and not os.access(target, os.R_OK):
        told, remedy = f"{target} exists and cannot be read, to be compared with {what}", hints.OTHER_FOLDER
    return errors.LocalFileError(told, remedy=remedy, code="file_exists", prediction_id=id)
