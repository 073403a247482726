"""The domain values: a prediction, its status and output files, and what a create sends."""

import contextlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from cometrep import errors, hints
from cometrep.data_uris import SHORTENED_DATA_URI, is_data_uri, shorten_data_uris
from cometrep.json_values import cut_down, leaves, parse_json
from cometrep.references import ID_PATTERN

STATUSES = ("starting", "processing", "succeeded", "failed", "canceled", "aborted")
TERMINAL_STATUSES = frozenset({"succeeded", "failed", "canceled", "aborted"})

# Replicate's OpenAPI names the six; the rest are what gateways and their task records say instead
# (QuantumNous/new-api: model/task.go; apidoc.cometapi.com; cometapi-connect; hlee/flux2_mcp).
_STATUS_WORDS = {
    "starting": "starting",
    "not_start": "starting",
    "queued": "starting",
    "submitted": "starting",
    "pending": "starting",
    "processing": "processing",
    "in_progress": "processing",
    "unknown": "processing",
    "succeeded": "succeeded",
    "success": "succeeded",
    "succeed": "succeeded",
    "completed": "succeeded",
    "ready": "succeeded",
    "failed": "failed",
    "failure": "failed",
    "canceled": "canceled",
    "cancelled": "canceled",
    "aborted": "aborted",
}

_URL = r"(?i)https?://[^\s<>\"\x00-\x1f\x7f-\x9f]+"
_OTHER_ADDRESS = r"[A-Za-z][A-Za-z0-9+.-]{1,20}:/\S+"  # that is not fetched: of another scheme, or misspelt
_SPACED_URL = (  # as a host may write one that names a file
    r"(?i)https?://[^\s<>\"/]+/[^\s<>\"]*(?: [^\s<>\"]+)+"
    r"\.(?:png|jpe?g|webp|gif|bmp|tiff?|avif|heic|svg|mp4|webm|mov|mp3|wav|ogg|flac|m4a|glb|zip|pdf)"
)
_ERROR_WORDS, _ERROR_KINDS = ("code", "message", "detail", "title"), ("type", "param", "status")
_PASSING = r"\(pa\)|code: pa\b|prediction interrupted|\bdirector\b"  # failures that the next try need not meet
_PERCENT = r"(\d{1,3})(?:\.\d+)?%\|"
_GATEWAYS = 3  # in front of the one that keeps the prediction
_LOG_TAIL = 20_000  # characters; a model's last progress bar is in its last lines


def normalize_status(word: str) -> str:
    """Give the word of `STATUSES` that a server's status word stands for, else the word itself."""
    return _STATUS_WORDS.get(word.strip().lower().replace("-", "_").replace(" ", "_"), word.strip())


class OutputFile(NamedTuple):
    """One file that an output points at or holds: a URL, or content of its own.

    `index` counts from 0 in the order of the output. Exactly one of `url`, `data_uri` and `content` is set.
    """

    index: int  # type: ignore[assignment]  # the word of the wire; a tuple has a method of that name
    url: str = ""
    data_uri: str = ""
    content: bytes | None = None
    extension: str = ""

    @property
    def is_forgotten(self) -> bool:
        """Whether it is a data URI of which the ledger alone has kept no more than the SHA-256."""
        return re.fullmatch(SHORTENED_DATA_URI, self.data_uri) is not None


class SavedFile(NamedTuple):
    """One output file on disk; `sha256` is the hex digest of its `size_bytes` bytes."""

    path: str
    index: int  # type: ignore[assignment]  # the word of the wire; a tuple has a method of that name
    size_bytes: int
    sha256: str
    content_type: str = ""
    url: str = ""

    def at(self, path: str) -> "SavedFile":
        """Give the same file under another writing of its path."""
        return self._replace(path=path)

    def seen_from(self, folder: Path) -> "SavedFile":
        """Give the same file with its path as seen from a folder."""
        path = Path(self.path)
        with contextlib.suppress(ValueError, OSError):  # another drive; the working folder is gone
            shown = path.relative_to(folder) if path.is_relative_to(folder) else Path(os.path.relpath(path, folder))
            return self.at(shown.as_posix())
        return self

    @staticmethod
    def is_json(value: object) -> bool:
        """Say whether a value is such as `as_json` gives."""
        texts = ("path", "url", "sha256", "content_type")
        return (
            isinstance(value, dict)
            and all(isinstance(value.get(name), str) for name in texts)
            and all(isinstance(value.get(name), int) for name in ("bytes", "index"))
        )

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> "SavedFile":
        """Read what `as_json` gave."""
        return cls(
            facts["path"], facts["index"], facts["bytes"], facts["sha256"], facts["content_type"], facts["url"]
        )

    def as_json(self) -> dict[str, Any]:
        """Give the form that JSON output and sidecars use."""
        return {
            "path": self.path,
            "url": self.url,
            "bytes": self.size_bytes,
            "sha256": self.sha256,
            "content_type": self.content_type,
            "index": self.index,
        }


class Request(NamedTuple):
    """What a create sends: a model and its input."""

    model: str
    values: Mapping[str, Any]

    @property
    def asked_outputs(self) -> int:
        """How many outputs it asks for; 1 where it does not say."""
        asked = self.values.get("num_outputs")
        return asked if isinstance(asked, int) and not isinstance(asked, bool) and 0 < asked < 1000 else 1


class Prediction(NamedTuple):
    """One run of a model on the server, as one reply showed it.

    `status` is a word of `STATUSES` or the server's own unknown word; `progress` runs from 0 to 1;
    times are ISO 8601 texts, as a rule the server's own; `raw` is the mapping the reply held. `given_up` is why a
    gateway's record says that it failed, while the prediction inside runs: it may have given it up.
    """

    id: str
    status: str
    model: str = ""
    input: Any = None
    output: Any = None
    error: Any = None
    logs: str = ""
    metrics: Mapping[str, Any] | None = None
    progress: float | None = None
    created_at: str = ""
    started_at: str = ""
    completed_at: str = ""
    data_removed: bool = False
    raw: Mapping[str, Any] = MappingProxyType({})
    given_up: str = ""

    @classmethod
    def from_json(cls, body: object, *, id: str = "") -> "Prediction":
        """Read a reply, bare or wrapped in a gateway's task record; the only reader of the wire format.

        `id` is the id asked for, where one was: it stays the prediction's id whatever the reply says.
        The inner prediction decides if it has a status, else the outer word. Raises ValueError where no prediction
        can be seen.

        Sources: apidoc.cometapi.com/api/image/replicate/replicate-query (bare);
        hlee/flux2_mcp: test-flux-api.py and QuantumNous/new-api: dto/task.go, service/task_polling.go (wrapped).
        """
        if not isinstance(body, Mapping):
            raise ValueError("the reply is not a JSON object")
        cut_down(body)
        outer = _object(body.get("data"))
        inner = _object(outer.get("data"))
        own_id = _id_in(body, outer, inner)
        records, inner = _innermost(outer, inner)
        outer = records[0]
        deciding = next((level for level in (inner, outer, body) if _word(level.get("status"))), None)
        word = _word(deciding.get("status")) if deciding is not None else ""
        if not word and (id or not own_id):
            raise ValueError("the reply has no status" if own_id else "the reply has neither a status nor an id")
        status = normalize_status(word or "starting")
        facts = body if deciding is body else inner or outer or body
        error = facts.get("error")
        reason = next((text for one in records if (text := _word(one.get("fail_reason")))), "")
        # In the gateway's record this field has at times held the result's URL, so it is no sign of failure.
        if status == "failed" and not error and reason and not is_url(reason):
            error = reason
        around = [normalize_status(_word(one.get("status"))) for one in records if one is not deciding]
        is_given_up = "failed" in around and status not in TERMINAL_STATUSES
        output = facts.get("output")
        if status == "succeeded" and output is None:
            urls = *(_word(one.get("result_url")) for one in records), reason
            output = next(filter(is_url, urls), None)
        logs = _lines(facts.get("logs"))
        metrics = facts.get("metrics")
        return cls(
            id=id or own_id,
            status=status,
            model=_word(facts.get("model")),
            input=facts.get("input"),
            output=output,
            error=error,
            logs=logs,
            metrics=metrics if isinstance(metrics, Mapping) else None,
            progress=_progress(status, logs, outer.get("progress")),
            created_at=_time(facts.get("created_at")),
            started_at=_time(facts.get("started_at")),
            completed_at=_time(facts.get("completed_at")),
            data_removed=facts.get("data_removed") is True,
            raw=facts,
            given_up=(reason or "it gives no reason") if is_given_up else "",
        )

    @property
    def is_terminal(self) -> bool:
        """Whether no further change is possible."""
        return self.status in TERMINAL_STATUSES

    @property
    def error_text(self) -> str:
        """The model's own error as one text, empty where it gave none."""
        if isinstance(self.error, Mapping):
            parts = [self.error.get(key) for key in _ERROR_WORDS]
            text = ": ".join(_told(part) for part in parts if part)
            others = {k: v for k, v in self.error.items() if v and k not in (*_ERROR_WORDS, *_ERROR_KINDS)}
            return " ".join(filter(None, (text, _told(others)))) or _told(self.error)
        return _told(self.error)

    @property
    def may_gain_output(self) -> bool:
        """Whether it succeeded without any output so far: the next look may show one."""
        return self.status == "succeeded" and not self.data_removed and not self.output_files()

    @property
    def ended(self) -> float | None:
        """When it ended by the server's clock, as Unix seconds; None where the server does not tell."""
        return _moment(self.completed_at)

    @property
    def run_seconds(self) -> float | None:
        """How long it ran, in seconds from create to end by the server's clock; None where it does not tell."""
        times = [_moment(text) for text in (self.created_at, self.completed_at)]
        if times[0] is not None and times[1] is not None and times[1] >= times[0]:
            return times[1] - times[0]
        for name in ("total_time", "predict_time"):
            seconds = (self.metrics or {}).get(name)
            if isinstance(seconds, (int, float)) and not isinstance(seconds, bool) and 0 <= seconds < 1e7:
                return float(seconds)
        return None

    @property
    def logged_seed(self) -> int | None:
        """The seed that the model's log names, as models do where the input gives none."""
        found = re.search(r"(?i)\bseed:? {0,3}(\d{1,18})\b", self.logs)
        return int(found.group(1)) if found else None

    def output_files(self) -> tuple[OutputFile, ...]:
        """List every file of the output in order: URLs and data URIs anywhere in it, else text, else JSON.

        Empty where the output holds nothing at all.
        """
        found = list(_file_strings(self.output))
        if found:
            return tuple(
                OutputFile(index, url=text) if is_url(text) else OutputFile(index, data_uri=text)
                for index, text in enumerate(found)
            )
        if not _has_other_values(self.output):
            return ()
        text = self.output_text()
        if text is not None:
            return (OutputFile(0, content=text.encode("utf-8", "backslashreplace"), extension="txt"),)
        content = json.dumps(self.output, ensure_ascii=False, indent=2) + "\n"
        return (OutputFile(0, content=content.encode("utf-8", "backslashreplace"), extension="json"),)

    def output_text(self) -> str | None:
        """Give the output as text where it is text: a string, or a model's stream of tokens."""
        if isinstance(self.output, str):
            return self.output
        if isinstance(self.output, list) and self.output and all(isinstance(t, str) for t in self.output):
            return "".join(self.output)
        return None

    def other_address(self) -> str:
        """Give the address that all of the output is and that is not fetched, as one of FTP; empty for none."""
        text = (self.output_text() or "").strip()
        return text if not _file_string(text) and re.fullmatch(_OTHER_ADDRESS, text) else ""

    def has_more_than_files(self) -> bool:
        """Say whether the output holds text or numbers beside its files, which saving files would not keep."""
        return any(True for _ in _file_strings(self.output)) and _has_other_values(self.output)

    def as_json(self, files: Sequence[SavedFile] = ()) -> dict[str, Any]:
        """Give the object of `--json`; `schema_version` 1, to which keys may be added but not renamed."""
        shown: dict[str, Any] = {
            "schema_version": 1,
            "id": self.id,
            "model": self.model,
            "status": self.status,
            "input": self.input,
            "output": self.output,
            "error": self.error,
            "logs": self.logs,
            "metrics": self.metrics,
            "progress": self.progress,
            "created_at": self.created_at or None,
            "started_at": self.started_at or None,
            "completed_at": self.completed_at or None,
            "data_removed": self.data_removed,
        }
        if files:
            shown["files"] = [file.as_json() for file in files]
        return shown

    def with_model(self, model: str) -> "Prediction":
        """Fill in the model asked for: replies may leave it out, or name an internal one."""
        return self._replace(model=model) if model else self

    def as_asked(self, model: str, values: Any) -> "Prediction":
        """Fill in the model, and the input where the reply leaves it out or empty, as the ledger keeps it."""
        seen = self.with_model(model)
        return seen if seen.input or values is None else seen._replace(input=shorten_data_uris(values))

    def failure(self) -> errors.CometrepError | None:
        """Give the error that a terminal status means, None for success; the one place that decides it."""
        if self.status == "succeeded":
            return None
        reason = self.error_text or "the model gave no reason"
        if self.status == "failed":
            return errors.PredictionFailed(
                f"prediction {self.id} failed: {reason}",
                hint=self._failure_hint(reason),
                prediction_id=self.id,
            )
        told = f": {self.error_text}" if self.error_text else ""
        if self.status == "aborted":
            return errors.PredictionCanceled(
                f"prediction {self.id} was aborted before it started{told}",
                hint=hints.RERUN.of(self.id),
                code="prediction_aborted",
                prediction_id=self.id,
            )
        return errors.PredictionCanceled(
            f"prediction {self.id} was canceled{told}",
            hint=hints.RERUN.of(self.id),
            prediction_id=self.id,
        )

    def _failure_hint(self, reason: str) -> str:
        lowered = reason.lower()
        if "e005" in lowered or "flagged as sensitive" in lowered or "nsfw" in lowered:
            return "the prompt or an image was flagged as sensitive: change it; the same input fails again"
        if "out of memory" in lowered or "e1001" in lowered:
            return "ask for fewer or smaller outputs"
        if re.search(_PASSING, lowered):
            return hints.RERUN.of(self.id)
        return hints.LOOK_WHOLE.of(self.id)


def is_url(text: str) -> bool:
    """Say whether a whole string is one http or https URL."""
    return re.fullmatch(_URL, text) is not None


def _file_url(text: str) -> str:
    """Give the URL that a text of an output is, spaces in the name of a file encoded; empty where it is none."""
    text = text.strip()
    if is_url(text):
        return text
    path, mark, query = text.partition("?")
    is_spaced = re.fullmatch(_SPACED_URL, path) and path.count("://") == 1 and not re.search(r"[\s<>\"]", query)
    return f"{path.replace(' ', '%20')}{mark}{query}" if is_spaced else ""


def _moment(text: str) -> float | None:
    """Read a time of the server, with up to nine fractional digits, as Unix seconds."""
    from datetime import UTC, datetime

    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def _object(value: object) -> Mapping[str, Any]:
    """Give an object of a reply, also one that a gateway passes on as text; an empty one where it is none."""
    if isinstance(value, str) and value.lstrip().startswith("{"):
        value = parse_json(value)
        cut_down(value)
    return value if isinstance(value, Mapping) else {}


def _id_in(body: Mapping[str, Any], outer: Mapping[str, Any], inner: Mapping[str, Any]) -> str:
    """Give the id that the answer to a create names, empty for none.

    It is taken from the root, then `data.data.id`, then `data.task_id`, then `data.id` where that is a string (in
    the gateway's record it is a row number); beside a status a number at the root is one too, where there is no
    other.
    """
    number = _whole_number(body.get("id")) if _word(body.get("status")) else ""
    ids = (body.get("id"), inner.get("id"), outer.get("task_id"), outer.get("id"), number)
    return next((one for one in ids if isinstance(one, str) and re.fullmatch(ID_PATTERN, one)), "")


def _innermost(
    outer: Mapping[str, Any], inner: Mapping[str, Any]
) -> tuple[list[Mapping[str, Any]], Mapping[str, Any]]:
    """Give the records of gateways, the innermost one's first, and the prediction in that.

    A gateway in front of another one keeps the reply of that one whole.
    """
    records = [outer]
    for _ in range(_GATEWAYS):
        record = _object(inner.get("data"))
        if not _word(inner.get("status")) and _word(record.get("status")):
            records.insert(0, record)
            inner = _object(record.get("data"))
    return records, inner


def _word(value: object) -> str:
    return value.strip() if isinstance(value, str) else ""


def _time(value: object) -> str:
    """Give a time as the text that it is, or that of the seconds or milliseconds since 1970 that it counts."""
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 1e8 <= value < 1e14:
        return _word(value)
    from datetime import UTC, datetime

    seconds = value if value < 1e11 else value / 1000
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def _lines(value: object) -> str:
    """Give a log as one text, also one that is a list of its lines."""
    if isinstance(value, list):
        return "\n".join(line.removesuffix("\n") for line in value if isinstance(line, str))
    return value if isinstance(value, str) else ""


def _whole_number(value: object) -> str:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) and value > 0 else ""


def _told(value: Any) -> str:
    if isinstance(value, str):
        return value.strip()
    return json.dumps(value, ensure_ascii=False) if value else ""


def _file_string(leaf: Any) -> str:
    """Give the URL or data URI that a value is, or was before the ledger shortened it; empty where it is none."""
    if not isinstance(leaf, str):
        return ""
    text = leaf.strip()
    is_data = is_data_uri(text) or re.fullmatch(SHORTENED_DATA_URI, text)
    return text if is_data else _file_url(text)


def _file_strings(output: Any) -> Iterator[str]:
    return filter(None, map(_file_string, leaves(output)))


def _has_other_values(output: Any) -> bool:
    values = (leaf.strip() if isinstance(leaf, str) else leaf for leaf in leaves(output))
    return any(value not in (None, "") and not _file_string(value) for value in values)


def _progress(status: str, logs: str, outer_progress: object) -> float | None:
    """Read progress from the last tqdm bar of the logs, else from the task record's own percentage."""
    if status == "succeeded":
        return 1.0
    percents = re.findall(_PERCENT, logs[-_LOG_TAIL:])
    if percents:
        return min(int(percents[-1]), 100) / 100
    if isinstance(outer_progress, str) and (found := re.fullmatch(r"\s*(\d{1,3})\s*%\s*", outer_progress)):
        return min(int(found.group(1)), 100) / 100
    return None
