"""Put one remote file on disk, whole or not at all.

Bytes go to a part file beside the target, hidden and locked; the final name is given by one rename after length,
content and disk were checked. A part file that an earlier command left is taken up again where the server has
shown a validator (ETag, else Last-Modified) and confirms it; else the file is fetched from its beginning.
"""

import os
import time
import zlib
from collections.abc import Callable, Generator, Iterator, Mapping
from http.client import HTTPException
from pathlib import Path
from random import random as real_random
from typing import NamedTuple

import requests
from urllib3.exceptions import HTTPError as TransportError

from cometrep import errors, formats, hints
from cometrep.byte_ranges import ByteRange, Facts
from cometrep.data_uris import decode_data_uri
from cometrep.download.body import UnknownEncoding, body_of, unknown_encodings
from cometrep.download.content import is_media, is_misnamed, url_extension, wrong_content
from cometrep.download.fetch import Fetcher, host_of
from cometrep.events import Event, Noted, Retrying, Saving
from cometrep.names import Names
from cometrep.partfile import ANY_ORIGIN, Origin, PartFile
from cometrep.prediction import OutputFile, SavedFile
from cometrep.schedule import backoff_seconds, retry_after_seconds
from cometrep.small_files import size_of
from cometrep.text import format_bytes, format_count, format_duration
from cometrep.transport.answers import is_passing
from cometrep.transport.reasons import ended_early, reason_of

EXPIRED_STATUSES = (403, 404, 410)  # of a URL whose file is gone; others may mean that too, or what will pass
SAYING_SECONDS = 5.0  # after which bytes are told of, however few came
ATTEMPT_LIMIT = 50  # for one file, however far each attempt gets before it fails
_PIECE_BYTES = 4096  # of a range that ends before the file: with fewer an attempt has failed, or there is no end
_REST_FAULTS = 3  # errors of the server in a row for the rest of a file, before the whole is asked for
_BUSY = (429, 503)  # which say nothing of ranges


class Rules(NamedTuple):
    """What a command allows: where to fetch from, how much, and what to do with a path that exists."""

    allows_local: bool
    max_size_bytes: int
    overwrites: bool = False
    skips_existing: bool = False
    retry_budget_seconds: float = 60.0


class UrlExpired(Exception):
    """A file's URL answered 403, 404 or 410, or else with no such file: ask the API for a fresh one."""

    def __init__(self, reason: str, http_status: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.http_status = http_status


class Downloads:
    """Save output files by one set of rules, over one keyless session; each may be saved in a thread of its own."""

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
        self._fetcher = Fetcher(allows_local=rules.allows_local, clock=clock)

    def close(self) -> None:
        """Close the connections."""
        self._fetcher.close()

    def save(
        self,
        id: str,
        file: OutputFile,
        names: Names,
        origin: Origin = ANY_ORIGIN,
    ) -> Generator[Event, None, tuple[SavedFile, str]]:
        """Put one output file under its final name; yield progress, give the saved file and how it came there.

        That is `saved`, `kept` (the same content stood there already) or `skipped` (an existing path was to be
        left alone). No part file of another origin is taken up. Raises UrlExpired, Temporary, Refused,
        OutputMissing, LocalFileError or ConfigError.
        """
        guess = url_extension(file.url) or file.extension
        if self.rules.skips_existing and (guess or not names.has_extension):
            target = names.path(file.index, guess or "bin")
            if os.path.lexists(target):
                return _skipped(file, target), "skipped"
        with PartFile.opened(names.part_folder(file.index), f"{id}-{file.index}", origin) as part:
            if file.url and not part.is_complete:
                yield from self._fill(id, file, part, names.path(file.index, guess or "bin").name)
            elif not file.url and not (file.is_forgotten and part.is_complete and part.sha256 in file.data_uri):
                _fill_at_once(id, file, part)
            if part.size > self.rules.max_size_bytes:  # one that an earlier command left whole
                raise self._too_large(id, file, part.size)
            kind = formats.extension_for(part.head, part.content_type, url_extension(file.url))
            extension = file.extension or kind
            target = names.path(file.index, extension)
            is_cut_short = part.is_cut_short()
            how = part.commit(
                target,
                id,
                file.index,
                overwrites=self.rules.overwrites,
                skips_existing=self.rules.skips_existing,
            )
            if how == "skipped":
                return _skipped(file, target), how
            if is_misnamed(target.suffix, part.head, kind, extension):
                yield Noted(id, f"{target} holds {kind} data, whatever its name says", is_warning=True)
            if is_cut_short:  # by a length, or an end of its chunks, that confirms it
                told = f"output file {file.index} of {id} lacks its end; that is all that was sent"
                yield Noted(id, told, is_warning=True)
            saved = SavedFile(
                path=str(target),
                index=file.index,
                size_bytes=part.size,
                sha256=part.sha256,
                content_type=part.content_type or formats.media_type_for(part.head, target.name),
                url=file.url,
            )
        return saved, how

    def _fill(self, id: str, file: OutputFile, part: PartFile, name: str) -> Iterator[Event]:
        """Fetch a URL into a part file, attempt after attempt while the retry budget lasts."""
        what = f"output file {file.index} of {id}"
        attempts = in_a_row = rest_faults = 0
        failing_since = 0.0
        furthest = part.size
        while True:
            asked = part.resume_headers() if rest_faults < _REST_FAULTS else {}
            try:
                yield from self._fetch(id, file, part, name, asked)
                if part.is_complete:
                    return
                rest_faults = 0
            except errors.Temporary as failure:
                if not failure.is_worth_repeating:
                    told = f"{what}: {failure.message}"
                    raise failure.told_as(errors.Temporary, told, prediction_id=id) from failure
                # A host may fail at ranges alone. What came stays until the whole begins to come.
                if failure.http_status not in _BUSY:
                    rest_faults = rest_faults + 1 if asked and failure.http_status else 0
                now = self._clock()
                if part.size > furthest:  # it gets on, and not only to where it was before it started over
                    in_a_row, furthest = 0, part.size
                if in_a_row == 0:
                    failing_since = now
                attempts, in_a_row = attempts + 1, in_a_row + 1
                pause = max(backoff_seconds(in_a_row, self._random()), failure.retry_after_seconds or 0.0)
                is_used_up = now + pause > failing_since + self.rules.retry_budget_seconds
                if is_used_up or attempts >= ATTEMPT_LIMIT:
                    why = self._why_no_more(failure, attempts, is_used_up=is_used_up)
                    told = f"{what}: {failure.message}; {why}"
                    raise failure.told_as(errors.Temporary, told, prediction_id=id) from failure
                yield Retrying(id, failure.message, attempts, pause)
                self._sleep(pause)

    def _why_no_more(self, failure: errors.Temporary, attempts: int, *, is_used_up: bool) -> str:
        """Say why a file is not tried again: the retry budget `is_used_up`, or there were too many attempts."""
        budget = self.rules.retry_budget_seconds
        if failure.retry_after_seconds and failure.retry_after_seconds > budget:
            return f"the host asks to wait {format_duration(failure.retry_after_seconds)}"
        failed = f"{format_count(attempts, 'attempt')} failed"
        if is_used_up:
            return f"{failed} and the retry budget of {format_duration(budget)} is used up"
        return f"{failed}, the most that a command makes for one file"

    def _fetch(
        self, id: str, file: OutputFile, part: PartFile, name: str, asked: Mapping[str, str]
    ) -> Iterator[Event]:
        """Make one attempt, for the rest where `asked` says so.

        On return the part file is whole, or longer by a range that the host ended before the file does.
        """
        with self._fetcher.get(id, file.url, asked) as response:
            if asked and response.status_code == 416 and part.is_all(response.headers):
                _refuse_wrong_content(file.url, part, response.status_code)
                part.complete()
                return
            if not asked or not _refuses_rest(response, part):
                yield from self._take(id, file, part, name, response)
                return
        # What came before stays until all of it is there: behind a fresh URL the rest may still be had.
        with self._fetcher.get(id, file.url, {}) as whole:
            yield from self._take(id, file, part, name, whole)

    def _take(
        self, id: str, file: OutputFile, part: PartFile, name: str, response: requests.Response
    ) -> Iterator[Event]:
        """Write a response's body into the part file, behind what it holds (206) or in its place (200)."""
        self._check_status(response)
        came = ByteRange.of(response.headers)
        is_part = response.status_code == 206 and not (came and came.is_whole)
        if is_part and not part.fits(response.headers):
            raise errors.Temporary(f"{host_of(response.url)} sent a part that nobody asked for", code="cut_short")
        if not is_part:
            part.restart(Facts.of(response.headers))
        total = part.total_bytes
        if total is not None and total > self.rules.max_size_bytes:
            raise self._too_large(id, file, total)
        end = came.last + 1 if came and is_part else total
        step = 65_536 if total is None else max(1, min(1_048_576, total // 100))
        began, said_at, is_checked = part.size, self._clock(), False
        for chunk in self._chunks(response, part):
            had = part.size
            if end is not None and had + len(chunk) > end:  # and nobody knows which of them are the file's
                part.restart()
                raise errors.Temporary(f"{host_of(response.url)} sent more bytes than it said", code="cut_short")
            part.append(chunk)
            if part.size > self.rules.max_size_bytes:
                raise self._too_large(id, file, part.size)
            if not is_checked and part.size >= formats.SNIFF_BYTES:
                _refuse_wrong_content(file.url, part, response.status_code)
                is_checked = True
            now = self._clock()
            if part.size // step > had // step or part.size == total or now >= said_at + SAYING_SECONDS:
                said_at = now
                yield Saving(id, file.index, name, part.size, total)
        if total is not None and part.size != total:
            had = part.size
            if is_part and had == end and had >= began + _PIECE_BYTES:
                return  # all that the host gives at once
            raise errors.Temporary(f"the transfer ended after {had} of {total} bytes", code="cut_short")
        _refuse_wrong_content(file.url, part, response.status_code)
        unknown = unknown_encodings(response.headers)
        if unknown and not formats.sniff(part.head):  # some labels mean nothing
            part.restart()
            raise _encoded(", ".join(unknown))
        is_marked = "chunked" in response.headers.get("Transfer-Encoding", "").lower()
        if total is None and not is_marked and part.is_cut_short():
            had = part.size
            part.restart()
            raise errors.Temporary(f"the connection ended after {had} bytes, within the picture", code="cut_short")
        part.complete()

    @staticmethod
    def _check_status(response: requests.Response) -> None:
        status = response.status_code
        if status in (200, 203, 206):
            return
        if is_passing(status):
            failure = errors.Temporary(
                f"HTTP {status} from {host_of(response.url)}",
                code="rate_limited" if status == 429 else "server_error",
                http_status=status,
            )
            failure.retry_after_seconds = retry_after_seconds(response.headers, None, time.time())
            raise failure
        raise UrlExpired(f"HTTP {status} from {host_of(response.url)}", status)

    @staticmethod
    def _chunks(response: requests.Response, part: PartFile) -> Iterator[bytes]:
        """Yield the body as it comes, what its faults mean told."""
        try:
            yield from body_of(response)
        except UnknownEncoding as problem:
            raise _encoded(str(problem)) from problem
        except (TransportError, HTTPException, OSError, zlib.error) as problem:
            why = reason_of(problem)
            if ended_early(problem):  # it counts the bytes of one answer, which may be the rest alone
                total = "" if part.total_bytes is None else f" of {part.total_bytes}"
                why = f"the connection ended after {part.size}{total} bytes"
            told = f"the transfer from {host_of(response.url)} broke off: {why}"
            raise errors.Temporary(told, code="cut_short") from problem

    def _too_large(self, id: str, file: OutputFile, size: int) -> errors.LocalFileError:
        limit = self.rules.max_size_bytes
        told, most = format_bytes(size), format_bytes(limit)
        if told == most:
            told, most = f"{size} bytes", f"{limit} bytes"
        return errors.LocalFileError(
            f"output file {file.index} of {id} has {told} or more, above the {most} of --max-size",
            remedy=f"--max-size {-(-size // 10**9)}G",
            code="file_too_large",
            prediction_id=id,
        )


def _encoded(encoding: str) -> UrlExpired:
    return UrlExpired(f"it came in an encoding that nobody asked for, {encoding[:100]}")


def _refuses_rest(response: requests.Response, part: PartFile) -> bool:
    """Say whether the answer to a ranged request is neither the rest, nor the whole, nor a passing fault."""
    status = response.status_code
    if status == 206:
        came = ByteRange.of(response.headers)
        return not part.fits(response.headers) and not (came and came.is_whole)
    return status == 501 or (status not in (200, 203) and not is_passing(status))


def _skipped(file: OutputFile, target: Path) -> SavedFile:
    """Give what stands in an output file's place: nothing is known of it but its size."""
    return SavedFile(str(target), file.index, size_of(target), "", url=file.url)


def _fill_at_once(id: str, file: OutputFile, part: PartFile) -> None:
    """Write what an output file holds itself into its part file; raise OutputMissing for what is broken or gone."""
    content, content_type = _content_of(id, file)
    part.restart(Facts(content_type=content_type))
    part.append(content)
    if file.data_uri and is_media(content_type) and (wrong := wrong_content("", part)):
        told = f"output file {file.index} is a data URI with {wrong}"
        raise errors.OutputMissing(told, code="output_broken")
    if file.data_uri:
        part.complete()  # where its name is taken this is all that is left of it after its hour


def _content_of(id: str, file: OutputFile) -> tuple[bytes, str]:
    if file.content is not None:
        return file.content, "application/json" if file.extension == "json" else "text/plain; charset=utf-8"
    try:
        content, content_type = decode_data_uri(file.data_uri)
    except ValueError as problem:
        if file.is_forgotten:
            told = f"output file {file.index} stood in the reply itself, which the API does not give any more"
            raise errors.OutputMissing(told, hint=hints.RERUN.of(id), code="output_expired") from problem
        told = f"output file {file.index} is a broken data URI"
        raise errors.OutputMissing(told, code="output_broken") from problem
    if not content:
        told = f"output file {file.index} is an empty data URI"
        raise errors.OutputMissing(told, code="output_broken")
    return content, content_type


def _refuse_wrong_content(url: str, part: PartFile, http_status: int) -> None:
    """Raise UrlExpired where a web page, JSON or nothing came in a picture's place; let go of such bytes."""
    if wrong := wrong_content(url, part):
        part.restart()
        raise UrlExpired(wrong, http_status)
