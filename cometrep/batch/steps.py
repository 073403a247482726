"""Read the steps that stand in a folder's records, whatever a death left of the last ones.

A line that a death or a full disk tore is passed over, and any other that is no step stops the batch, as nobody
knows what it held.
"""

import contextlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cometrep import errors, hints
from cometrep.names import BATCH_RECORD
from cometrep.prediction import SavedFile

_START = b'{"step":"'  # of every line


def records_in(folder: Path) -> list[Path]:
    """List a folder's records, those of shards too; raise LocalFileError where one is no regular file."""
    try:
        with os.scandir(folder) as entries:  # one by one: there may be a picture for each of very many items
            paths = sorted(folder / entry.name for entry in entries if re.fullmatch(BATCH_RECORD, entry.name))
    except (FileNotFoundError, NotADirectoryError):
        return []
    if odd := next((path for path in paths if path.exists() and not path.is_file()), None):
        raise errors.LocalFileError(
            f"{odd} is no regular file, and its name is that of a batch's record",
            hint=hints.ELSEWHERE,
            code="record",
        )
    return paths


def read_steps(path: Path, offset: int = 0) -> Iterator[tuple[Mapping[str, Any], int]]:
    """Yield every whole step of a record from an offset on, each with the offset behind it.

    Torn lines are passed over; raises LocalFileError where a line is neither torn nor a step.
    """
    began = offset
    with path.open("rb") as file:
        file.seek(offset)
        for number, line in enumerate(file, 1):
            is_whole = line.endswith(b"\n")
            text = line.replace(b"\0", b"").rstrip(b"\n")  # zeros are what a power cut leaves of the last writes
            step: Any = _parsed(text) if is_whole else None
            if _is_step(step):
                offset += len(line)
                yield step, offset
            elif step is not None or not _START.startswith(text[: len(_START)]):
                raise _damaged(path, number, began)
            elif is_whole:
                offset += len(line)
            # Else it may become whole yet.


def _parsed(text: bytes) -> Any:
    with contextlib.suppress(ValueError, RecursionError):
        return json.loads(text)
    return None


def _damaged(path: Path, number: int, offset: int) -> errors.LocalFileError:
    """Give the error for a line that is neither torn nor a step, the `number`th behind an offset."""
    with path.open("rb") as file:
        if not any(_is_step(_parsed(line)) for line in file):
            return errors.LocalFileError(
                f"{path} is no record of a batch, and its name is that of one",
                hint=hints.ELSEWHERE,
                code="record",
            )
    behind = f" behind byte {offset}" if offset else ""
    name = hints.quoted(str(path))
    return errors.LocalFileError(
        f"{path} is damaged: line {number}{behind} is no step of a batch, and nobody knows what it was;"
        " without it, what it spoke of may be sent, and paid for, again",
        hint="" if behind else f"sed -n {number}p {name} >> {name}.damaged && sed -i.bak {number}d {name}",
        code="record",
    )


def _is_step(value: Any) -> bool:
    if not isinstance(value, dict) or not isinstance(value.get("step"), str):
        return False
    files = value.get("files", [])
    return isinstance(files, list) and all(map(SavedFile.is_json, files))
