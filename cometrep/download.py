"""Put one remote file on disk, whole or not at all.

Bytes go to a part file beside the target, hidden and locked; the final name is given by one rename after length,
content and disk were checked. A part file that an earlier command left is taken up again where the server has
shown a validator (ETag, else Last-Modified) and confirms it; else the file is fetched from its beginning.

The session here carries no API key and no netrc, and meets redirects itself: https alone, at most five hops,
never a private address. Plain http and private addresses are for an API that is itself on this machine.
"""

import contextlib
import errno
import hashlib
import ipaddress
import json
import logging
import os
import queue
import re
import socket
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from http.client import HTTPException
from pathlib import Path
from random import random as real_random
from typing import IO, Any, NamedTuple
from urllib.parse import unquote, urljoin, urlsplit

import requests
from urllib3.exceptions import HTTPError as TransportError

from cometrep import errors, formats
from cometrep.events import Event, Noted, Retrying, Saving
from cometrep.names import Names, portable
from cometrep.prediction import ID_PATTERN, OutputFile, SavedFile, decode_data_uri
from cometrep.schedule import backoff_seconds, retry_after_seconds
from cometrep.text import format_duration, format_times
from cometrep.transport import NoAuth, Session, reason_of

CONNECT_TIMEOUT_SECONDS = 15.0
STALL_SECONDS = 20.0  # without a byte; longer is an error, not a hang
CHUNK_BYTES = 256 * 1024
_READS_A_LOOK = 16  # between two looks at how fast bytes come
_FAST_BYTES_A_SECOND = 20_000_000
_HASHED_HERE_BYTES = 4_000_000
_CHUNKS_AHEAD = 16  # of the hash
REDIRECT_LIMIT = 5

_EXTENSION = r"\.([A-Za-z0-9]{1,8})$"
ATTEMPT_LIMIT = 50  # for one file, however far each attempt gets
_PICTURES = ("png", "jpg", "jpeg", "webp", "gif", "bmp", "tif", "tiff", "avif", "heic", "svg", "ico", "pdf")
_MEDIA_EXTENSIONS = frozenset((*_PICTURES, "mp4", "webm", "mov", "avi", "mkv", "mp3", "wav", "ogg", "flac", "m4a"))
_TEXT_EXTENSIONS = frozenset({"html", "htm", "xhtml", "json", "geojson", "jsonl", "ipynb", "txt", "md", "xml"})
# The part files of outputs, and of sidecars (`write_whole`); one with a process id is never taken up.
_PART_NAME = (
    rf"\.(?P<id>{ID_PATTERN})(?:-(?P<index>\d{{1,9}})(?:\.(?P<pid>\d+))?\.part(?:\.json)?"
    r"|\.cometrep\.json(?:\.\d+)?\.part)"
)
_CONTENT_RANGE = r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)"
_UNSATISFIED_RANGE = r"bytes \*/(\d{1,18})"

_log = logging.getLogger("cometrep.download")


class Rules(NamedTuple):
    """What a command allows: where to fetch from, how much, and what to do with a path that exists."""

    allows_local: bool
    max_size_bytes: int
    overwrites: bool = False
    skips_existing: bool = False
    retry_budget_seconds: float = 60.0


class UrlExpired(Exception):
    """A file's URL answered 403, 404 or 410, or something that is no such file: ask the API for a fresh one."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Downloads:
    """Save output files by one set of rules, over one keyless session."""

    def __init__(
        self,
        rules: Rules,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        random: Callable[[], float] = real_random,
    ) -> None:
        self.rules = rules
        self._clock = clock
        self._sleep = sleep
        self._random = random
        self._opened: Session | None = None

    def close(self) -> None:
        """Close the connections."""
        if self._opened:
            self._opened.close()

    def save(self, id: str, file: OutputFile, names: Names) -> Generator[Event, None, tuple[SavedFile, str]]:
        """Put one output file under its final name; yield progress, give the saved file and how it came there.

        That is `saved`, `kept` (the same content stood there already) or `skipped` (an existing path was to be
        left alone). Raises UrlExpired, Temporary, Refused, OutputMissing or LocalFileError.
        """
        guess = _url_extension(file.url) or file.extension
        if self.rules.skips_existing and guess:
            target = names.path(file.index, guess)
            if os.path.lexists(target):
                return SavedFile(str(target), file.index, _size(target), "", url=file.url), "skipped"
        with _Part.opened(names.part_folder(file.index), f"{id}-{file.index}") as part:
            if file.url and not part.is_complete:
                yield from self._fill(id, file, part, names.path(file.index, guess or "bin").name)
            elif not file.url:
                content, content_type = _content_of(file)
                part.restart({"content_type": content_type})
                part.append(content)
            extension = file.extension or formats.extension_for(
                part.head(), part.content_type, _url_extension(file.url)
            )
            target = names.path(file.index, extension)
            how = part.commit(target, self.rules, id, file.index)
            is_named = target.suffix and formats.sniff(part.head())
            if is_named and _plain(target.suffix) != _plain(extension):
                yield Noted(id, f"{target} holds {extension} data, whatever its name says", is_warning=True)
            saved = SavedFile(
                path=str(target),
                index=file.index,
                size_bytes=part.size,
                sha256=part.sha256,
                content_type=part.content_type or formats.media_type_for(part.head(), target.name),
                url=file.url,
            )
        return saved, how

    def _fill(self, id: str, file: OutputFile, part: "_Part", name: str) -> Iterator[Event]:
        """Fetch a URL into a part file, attempt after attempt while the retry budget lasts."""
        attempts, failing_since = 0, 0.0
        while True:
            before = part.size
            try:
                yield from self._fetch(id, file, part, name)
                return
            except errors.Temporary as failure:
                now = self._clock()
                if attempts == 0 or part.size > before:
                    failing_since = now
                attempts += 1
                pause = max(backoff_seconds(attempts, self._random()), failure.retry_after_seconds or 0.0)
                budget = self.rules.retry_budget_seconds
                if now + pause > failing_since + budget or attempts >= ATTEMPT_LIMIT:
                    raise errors.Temporary(
                        f"output file {file.index} of {id}: {failure.message}; {format_times(attempts)} failed and"
                        f" the retry budget of {format_duration(budget)} is used up",
                        hint=f"cometrep download {id} takes up where this ended",
                        code=failure.code,
                        prediction_id=id,
                        http_status=failure.http_status,
                    ) from failure
                yield Retrying(id, failure.message, attempts, pause)
                self._sleep(pause)

    def _fetch(self, id: str, file: OutputFile, part: "_Part", name: str) -> Iterator[Event]:
        """Make one attempt; on return the part file is whole."""
        response = self._get(id, file.url, part.resume_headers())
        with response:
            if response.status_code == 416:
                found = re.fullmatch(_UNSATISFIED_RANGE, response.headers.get("Content-Range", ""))
                if found and int(found.group(1)) == part.size and part.size:
                    _refuse_wrong_content(file.url, part)
                    part.complete()
                    return
            if response.status_code == 416 or (response.status_code == 206 and not part.fits(response.headers)):
                part.restart({})
                with self._get(id, file.url, {}) as again:
                    yield from self._take(id, file, part, name, again)
            else:
                yield from self._take(id, file, part, name, response)

    def _take(
        self, id: str, file: OutputFile, part: "_Part", name: str, response: requests.Response
    ) -> Iterator[Event]:
        """Write a response's body into the part file, behind what it holds (206) or in its place (200)."""
        self._check_status(response)
        if response.status_code == 206 and not part.size:
            raise errors.Temporary(f"{_host(response.url)} sent a part that nobody asked for", code="cut_short")
        if response.status_code != 206:
            part.restart(_facts(response.headers))
        total = part.total_bytes
        if total is not None and total > self.rules.max_size_bytes:
            raise self._too_large(id, file, total)
        step = 65_536 if total is None else min(1_048_576, total // 100)
        said, is_checked = part.size, False
        for chunk in self._chunks(response):
            part.append(chunk)
            if part.size > self.rules.max_size_bytes:
                raise self._too_large(id, file, part.size)
            if not is_checked and part.size >= 512:
                _refuse_wrong_content(file.url, part)
                is_checked = True
            if part.size - said >= step or part.size == total:
                said = part.size
                yield Saving(id, file.index, name, part.size, total)
        if total is not None and part.size != total:
            had = part.size
            if had > total:
                part.restart({})
            raise errors.Temporary(f"the transfer ended after {had} of {total} bytes", code="cut_short")
        _refuse_wrong_content(file.url, part)
        part.complete()

    def _get(self, id: str, url: str, headers: Mapping[str, str]) -> requests.Response:
        """Send one GET, meeting redirects by the same rules as the first address."""
        session = self._session()
        for _ in range(REDIRECT_LIMIT + 1):
            self._check_address(id, url, session)
            _log.debug("> GET %s%s", url, f" {dict(headers)}" if headers else "")
            try:
                response = session.get(
                    url,
                    headers=dict(headers),
                    stream=True,
                    allow_redirects=False,
                    timeout=(CONNECT_TIMEOUT_SECONDS, STALL_SECONDS),
                )
            except (
                requests.exceptions.InvalidURL,
                requests.exceptions.InvalidSchema,
                UnicodeError,
            ) as problem:
                raise errors.OutputMissing(f"not an address: {url}", code="output_broken") from problem
            except requests.RequestException as problem:
                raise errors.Temporary(f"cannot fetch {_host(url)}: {reason_of(problem)}") from problem
            _log.debug("< %s %s", response.status_code, response.headers.get("Content-Type", ""))
            location = response.headers.get("Location", "")
            if response.status_code not in (301, 302, 303, 307, 308) or not location:
                self._check_peer(id, response, url, session)
                return response
            response.close()
            url = urljoin(url, location)
        raise errors.Refused(
            f"more than {REDIRECT_LIMIT} redirects from {_host(url)}",
            hint="run the same command again in a while",
            code="redirected",
        )

    def _session(self) -> Session:
        if self._opened is None:
            self._opened = Session(NoAuth())
            # Encoded bytes have no length to check and no offset to resume at.
            self._opened.headers.update({"Accept": "*/*", "Accept-Encoding": "identity"})
        return self._opened

    def _check_address(self, id: str, url: str, session: Session) -> None:
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port or (80 if parts.scheme == "http" else 443)
        except ValueError as problem:
            raise errors.OutputMissing(f"not an address: {url}", code="output_broken") from problem
        problem_text = ""
        if parts.scheme not in ("http", "https") or not host:
            problem_text = "not an https address"
        elif parts.username or parts.password:
            problem_text = "it carries a user name or password"
        elif not self.rules.allows_local:
            if parts.scheme != "https":
                problem_text = "not https"
            elif _is_private(host, port, is_proxied=_is_proxied(url, session)):
                problem_text = "a private address"
        if problem_text:
            raise errors.Refused(
                f"the output file's URL {url} is refused: {problem_text}",
                hint=f"cometrep status {id} --print url shows the output's URLs",
                code="unsafe_url",
            )

    def _check_peer(self, id: str, response: requests.Response, url: str, session: Session) -> None:
        """Check the address that really answered: a name may resolve otherwise the second time."""
        if self.rules.allows_local or _is_proxied(url, session):
            return
        connection = getattr(response.raw, "connection", None)
        connected = getattr(connection, "sock", None)
        if connected is None:
            return
        with contextlib.suppress(OSError):
            address = connected.getpeername()[0]
            if not ipaddress.ip_address(address.partition("%")[0]).is_global:
                response.close()
                raise errors.Refused(
                    f"the output file's host {_host(url)} answered from a private address",
                    hint=f"cometrep status {id} --print url shows the output's URLs",
                    code="unsafe_url",
                )

    @staticmethod
    def _check_status(response: requests.Response) -> None:
        status = response.status_code
        if status in (200, 206):
            return
        if status in (408, 425, 429) or status >= 500:
            failure = errors.Temporary(
                f"HTTP {status} from {_host(response.url)}", code="server_error", http_status=status
            )
            failure.retry_after_seconds = retry_after_seconds(response.headers, None, time.time())
            raise failure
        raise UrlExpired(f"HTTP {status} from {_host(response.url)}")

    @staticmethod
    def _chunks(response: requests.Response) -> Iterator[bytes]:
        """Yield the body as it comes, never holding bytes back: what came before a break is kept."""
        # An encoding that nobody asked for is undone; its length is then checked by urllib3, on the wire.
        is_encoded = response.headers.get("Content-Encoding", "identity").lower() not in ("", "identity")
        try:
            if is_encoded:
                yield from response.raw.stream(CHUNK_BYTES, decode_content=True)
            else:
                yield from _bytes_as_they_come(response.raw)
        except (TransportError, HTTPException, OSError) as problem:
            raise errors.Temporary(
                f"the transfer from {_host(response.url)} broke off: {reason_of(problem)}", code="cut_short"
            ) from problem

    def _too_large(self, id: str, file: OutputFile, size: int) -> errors.LocalFileError:
        limit = self.rules.max_size_bytes
        return errors.LocalFileError(
            f"output file {file.index} of {id} has {size} bytes or more, above the limit of {limit}",
            hint=f"cometrep download {id} --max-size {-(-size // 10**9)}G",
            code="file_too_large",
            prediction_id=id,
        )


def _bytes_as_they_come(raw: Any) -> Iterator[bytes]:
    """Yield what arrives at once, and where much arrives, larger pieces: one pass a record of TLS costs a core."""
    while True:
        began, received = time.monotonic(), 0
        for _ in range(_READS_A_LOOK):
            if not (chunk := raw.read1(CHUNK_BYTES, decode_content=False)):
                return
            received += len(chunk)
            yield chunk
        while received >= (time.monotonic() - began) * _FAST_BYTES_A_SECOND:
            began = time.monotonic()
            # A break loses what was read of this piece: a hundredth of a second's worth.
            if not (chunk := raw.read(CHUNK_BYTES, decode_content=False)):
                return
            received = len(chunk)
            yield chunk


class _Digest:
    """The SHA-256 of bytes as they come, in a thread of its own once there are many: it need not delay them."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._size = 0
        self._chunks: queue.Queue[bytes] | None = None

    def update(self, chunk: bytes) -> None:
        """Take up more bytes."""
        self._size += len(chunk)
        if self._chunks is None:
            if self._size <= _HASHED_HERE_BYTES:
                self._hash.update(chunk)
                return
            self._chunks = queue.Queue(_CHUNKS_AHEAD)
            threading.Thread(target=self._work, args=(self._chunks,), daemon=True).start()
        self._chunks.put(chunk)

    def hexdigest(self) -> str:
        """Give the digest of all bytes so far."""
        if self._chunks:
            self._chunks.join()
        return self._hash.hexdigest()

    def close(self) -> None:
        """Let the thread end."""
        if self._chunks:
            self._chunks.put(b"")
            self._chunks = None

    def _work(self, chunks: "queue.Queue[bytes]") -> None:
        while chunk := chunks.get():
            self._hash.update(chunk)
            chunks.task_done()


class _Part:
    """A part file, locked, and what is known of the bytes it holds.

    The facts (validator, total, type) stand in a small file beside it, written before the first byte they speak
    of; a part file without facts, or with torn ones, is started over.
    """

    def __init__(self, path: Path, file: IO[bytes], *, is_own: bool) -> None:
        self._path = path
        self._facts_path = path.with_name(path.name + ".json")
        self._file = file
        self._is_own = is_own  # made for this command alone, since another one holds the usual name
        self._facts: dict[str, Any] = {}
        self._hash = _Digest()
        self.size = 0
        self._is_committed = False

    @classmethod
    @contextlib.contextmanager
    def opened(cls, folder: Path, stem: str) -> Iterator["_Part"]:
        """Open, lock and take up the part file of one output file; keep or clear it away on leaving."""
        with _writing(folder):
            if folder.exists() and not folder.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, "it is not a folder")
            folder.mkdir(parents=True, exist_ok=True)
            name = portable(stem)[:200]
            path = folder / f".{name}.part"
            file = _locked(path)
            if file is None:
                path = folder / f".{name}.{os.getpid()}.part"
                path.unlink(missing_ok=True)
                file = _locked(path)
                is_own = True
            else:
                is_own = False
            if file is None:
                raise errors.LocalFileError(f"cannot lock {path}", hint="use another folder: --dir")
        part = cls(path, file, is_own=is_own)
        try:
            part._take_up()
            yield part
        finally:
            part._leave()

    @property
    def total_bytes(self) -> int | None:
        """How long the file will be, where the server said."""
        total = self._facts.get("total")
        return total if isinstance(total, int) else None

    @property
    def content_type(self) -> str:
        """The Content-Type the server gave."""
        return str(self._facts.get("content_type", ""))

    @property
    def is_complete(self) -> bool:
        """Whether all bytes are there and were checked."""
        return self._facts.get("is_complete") is True

    @property
    def sha256(self) -> str:
        """The hex digest of the bytes so far."""
        return self._hash.hexdigest()

    def head(self) -> bytes:
        """Read the first bytes, as many as a format shows itself in."""
        with _writing(self._path):
            self._file.seek(0)
            head = self._file.read(formats.SNIFF_BYTES)
            self._file.seek(0, os.SEEK_END)
            return head

    def resume_headers(self) -> dict[str, str]:
        """Give the request headers that ask for the rest, none where there is nothing to go on from."""
        validator = self._facts.get("validator")
        if not self.size or not isinstance(validator, str):
            return {}
        return {"Range": f"bytes={self.size}-", "If-Range": validator}

    def fits(self, headers: Mapping[str, str]) -> bool:
        """Say whether a 206 goes on exactly where this part file ends, in the same file."""
        found = re.fullmatch(_CONTENT_RANGE, headers.get("Content-Range", "").strip())
        if not found or int(found.group(1)) != self.size or not self.size:
            return False
        total = None if found.group(3) == "*" else int(found.group(3))
        if total is not None and self.total_bytes not in (None, total):
            return False
        if total is not None and int(found.group(2)) != total - 1:
            return False
        validator = _validator(headers)
        if validator and self._facts.get("validator") not in (None, validator):
            return False
        self._facts["total"] = total if total is not None else self.total_bytes
        return True

    def restart(self, facts: Mapping[str, Any]) -> None:
        """Empty the part file and note what is known of what will come."""
        with _writing(self._path):
            self._file.seek(0)
            self._file.truncate()
        self.size = 0
        self._hash.close()
        self._hash = _Digest()
        self._note(facts)

    def append(self, chunk: bytes) -> None:
        """Write bytes at the end."""
        with _writing(self._path):
            self._file.write(chunk)
        self._hash.update(chunk)
        self.size += len(chunk)

    def complete(self) -> None:
        """Note that all bytes are there, so that they need not be fetched again if the last step fails."""
        self._note({**self._facts, "is_complete": True, "total": self.size})

    def commit(self, target: Path, rules: Rules, id: str, index: int) -> str:
        """Give the part file its final name, by the rules for a path that exists; tell how it ended."""
        with _writing(target):
            self._file.flush()
            os.fsync(self._file.fileno())
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.is_dir() and not target.is_symlink():
                raise errors.LocalFileError(
                    f"{target} is a folder", hint=f"cometrep download {id} --dir {target}", code="file_exists"
                )
            if target.exists() and not target.is_file():
                raise errors.LocalFileError(
                    f"{target} is no regular file", hint=f"cometrep download {id} -o -", code="file_exists"
                )
            if os.name == "nt":
                self._file.close()  # Windows renames no open file
            while not self._placed(target, rules):
                if rules.skips_existing:
                    self._is_committed = True
                    return "skipped"
                if _has_content(target, self.size, self.sha256):
                    self._is_committed = True
                    return "kept"
                if os.path.lexists(target):
                    raise errors.LocalFileError(
                        f"{target} exists and differs from output file {index} of {id}",
                        hint=f"cometrep download {id} --overwrite replaces it; -o NAME saves beside it",
                        code="file_exists",
                        prediction_id=id,
                    )
            _sync_folder(target.parent)
        self._is_committed = True
        return "saved"

    def _placed(self, target: Path, rules: Rules) -> bool:
        """Rename onto the target, or, without `overwrites`, only where nothing stands there."""
        if rules.overwrites:
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
        facts: Any = None
        with contextlib.suppress(OSError, ValueError):
            facts = json.loads(self._facts_path.read_bytes())
        if not isinstance(facts, dict) or not (facts.get("validator") or facts.get("is_complete")):
            return
        with _writing(self._path):
            self._file.seek(0)
            while chunk := self._file.read(CHUNK_BYTES):
                self._hash.update(chunk)
                self.size += len(chunk)
        self._facts = facts
        total = self.total_bytes
        if (total is not None and self.size > total) or (self.is_complete and self.size != total):
            self.restart({})

    def _note(self, facts: Mapping[str, Any]) -> None:
        self._facts = dict(facts)
        with _writing(self._facts_path):
            if self._facts.get("validator") or self._facts.get("is_complete"):
                self._facts_path.write_text(json.dumps(self._facts))
            else:
                self._facts_path.unlink(missing_ok=True)

    def _leave(self) -> None:
        self._hash.close()
        is_useful = (self._facts.get("validator") and self.size) or self.is_complete
        with contextlib.suppress(OSError):
            if self._is_committed or self._is_own or not is_useful:
                self._path.unlink(missing_ok=True)
                self._facts_path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self._file.close()


class PartFile(NamedTuple):
    """What a command that ended early left of an output file: `paths` on disk, its bytes and the facts of them.

    A download of the prediction goes on from it where it `is_resumable`, with no byte to fetch if it `is_complete`.
    """

    id: str
    paths: tuple[Path, ...]
    size_bytes: int
    changed: float
    is_resumable: bool
    is_complete: bool


def part_files(folder: Path) -> list[PartFile]:
    """List the part files in a folder that no running command holds; raise OSError where it cannot be read."""
    found: dict[Path, re.Match[str]] = {}
    for path in folder.iterdir():
        if named := re.fullmatch(_PART_NAME, path.name):
            found[folder / path.name.removesuffix(".json")] = named
    return [_left_over(path, named) for path, named in sorted(found.items()) if not _is_held(path)]


def _left_over(path: Path, named: re.Match[str]) -> PartFile:
    facts_path = path.with_name(path.name + ".json")
    paths = tuple(one for one in (path, facts_path) if one.exists())
    facts: Any = None
    with contextlib.suppress(OSError, ValueError):
        facts = json.loads(facts_path.read_bytes())
    is_usual = named["index"] is not None and named["pid"] is None and path in paths
    facts = facts if isinstance(facts, dict) and is_usual else {}
    return PartFile(
        named["id"],
        paths,
        sum(_size(one) for one in paths),
        max((one.stat().st_mtime for one in paths), default=0.0),
        is_resumable=bool(facts.get("validator") or facts.get("is_complete")),
        is_complete=facts.get("is_complete") is True,
    )


def _is_held(path: Path) -> bool:
    try:
        import fcntl

        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except (ImportError, OSError):
        pass
    return False


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Translate what the file system refuses."""
    try:
        yield
    except OSError as problem:
        is_full = problem.errno in (errno.ENOSPC, errno.EDQUOT)
        raise errors.LocalFileError(
            f"cannot write {path}: {problem.strerror or problem}",
            hint="free some space, then run it again" if is_full else "save elsewhere: --dir",
            code="disk_full" if is_full else "not_writable",
        ) from problem


def _locked(path: Path) -> IO[bytes] | None:
    """Open a file for this process alone, made if missing; None where another process holds it."""
    while True:
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
        file = os.fdopen(os.open(path, flags, 0o666), "r+b")
        try:
            import fcntl
        except ImportError:
            return file
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            return None
        mine = os.fstat(file.fileno())
        try:
            is_same = os.path.samestat(mine, path.stat())
        except FileNotFoundError:
            is_same = False
        if is_same and mine.st_nlink == 1:
            return file
        # The name went on to another file between open and lock, or a commit that was killed left this one as
        # a second name of a finished file, which must not be written to.
        if is_same:
            path.unlink(missing_ok=True)
        file.close()


def _facts(headers: Mapping[str, str]) -> dict[str, Any]:
    length = headers.get("Content-Length", "").strip()
    is_encoded = headers.get("Content-Encoding", "identity").lower() not in ("", "identity")
    facts: dict[str, Any] = {"content_type": headers.get("Content-Type", "")[:200]}
    if re.fullmatch(r"\d{1,18}", length) and not is_encoded:
        facts["total"] = int(length)
    if (validator := _validator(headers)) and not is_encoded:
        facts["validator"] = validator
    return facts


def _validator(headers: Mapping[str, str]) -> str:
    """Give the validator fit for If-Range: a strong ETag, else Last-Modified (RFC 9110, 13.1.5)."""
    etag = headers.get("ETag", "").strip()
    if etag.startswith('"') and len(etag) < 500:
        return etag
    return "" if etag else headers.get("Last-Modified", "").strip()[:100]


def _content_of(file: OutputFile) -> tuple[bytes, str]:
    if file.content is not None:
        return file.content, "application/json" if file.extension == "json" else "text/plain; charset=utf-8"
    try:
        return decode_data_uri(file.data_uri)
    except ValueError as problem:
        raise errors.OutputMissing(
            f"output file {file.index} is a broken data URI", code="output_broken"
        ) from problem


def _refuse_wrong_content(url: str, part: _Part) -> None:
    """Raise UrlExpired where a web page, JSON or nothing came in a picture's place; let go of such bytes."""
    head, extension = part.head(), _url_extension(url)
    media_type = part.content_type.split(";")[0].strip().lower()
    is_media = not extension or extension in _MEDIA_EXTENSIONS
    wrong = ""
    if not head:
        wrong = "an empty file"
    elif extension in _TEXT_EXTENSIONS or formats.sniff(head):
        return
    elif formats.looks_like_html(head) or media_type == "text/html":
        wrong = "a web page instead of the file"
    elif is_media and (formats.looks_like_json(head) or media_type == "application/json"):
        wrong = "JSON instead of the file"
    elif is_media and head.lstrip().startswith((b"<?xml", b"<Error")):
        wrong = "an XML error instead of the file"
    if wrong:
        part.restart({})
        raise UrlExpired(wrong)


def _url_extension(url: str) -> str:
    """Give the extension that a URL's path ends in, empty where it ends in none."""
    try:
        found = re.search(_EXTENSION, unquote(urlsplit(url).path))
    except ValueError:
        return ""
    return found.group(1).lower() if found else ""


def _plain(extension: str) -> str:
    extension = extension.lower().removeprefix(".")
    return {"jpeg": "jpg", "tiff": "tif"}.get(extension, extension)


def _host(url: str) -> str:
    try:
        return urlsplit(url).netloc.rpartition("@")[2][:200] or url[:200]
    except ValueError:
        return url[:200]


def _is_proxied(url: str, session: Session) -> bool:
    proxies = session.merge_environment_settings(url, {}, None, None, None)["proxies"]
    return bool(proxies.get(urlsplit(url).scheme) or proxies.get("all"))


def _is_private(host: str, port: int, *, is_proxied: bool) -> bool:
    """Say whether a host is, or resolves to, an address that is not a public one.

    Behind a proxy only an address written out is judged: the proxy resolves names, by its own rules.
    """
    try:
        return not ipaddress.ip_address(host.partition("%")[0]).is_global
    except ValueError:
        pass
    if is_proxied:
        return False
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return False  # the connection will say it better
    return any(not ipaddress.ip_address(str(entry[4][0]).partition("%")[0]).is_global for entry in found)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _has_content(path: Path, size: int, sha256: str) -> bool:
    return path.is_file() and path.stat().st_size == size and file_sha256(path) == sha256


def file_sha256(path: Path) -> str:
    """Give the hex SHA-256 of a file, empty where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":
        return
    with contextlib.suppress(OSError):  # some file systems cannot; the file itself is safe
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_whole(path: Path, content: bytes) -> None:
    """Write a small file by part file, fsync and rename, replacing one that exists.

    A part file that a death left is taken for the next one, so that none stay behind.
    """
    with _writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name[:200]}.part")
        file = _locked(part)
        if file is None:  # another process writes the same; the last one stays
            part = part.with_suffix(f".{os.getpid()}.part")
            file = part.open("wb")
        try:
            with file:
                file.truncate(0)
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
                part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
