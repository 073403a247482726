"""Refuse a folder whose record is lost: what that knew of would be created, and paid for, again."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cometrep import errors
from cometrep.batch.gallery import is_ours, records_of
from cometrep.batch.steps import read_steps, records_in
from cometrep.names import BATCH_PAGE, SIDECAR_SUFFIX, batch_record
from cometrep.text import first_few

_NAMED_AT_MOST = 5  # records that are gone


def refuse_without_record(folder: Path) -> None:
    """Raise LocalFileError where a folder shows what a batch made and no record has it: it would be paid for again.

    Its page shows that, and names the records that it was drawn from, of which each has to be there; beside an
    emptied record a sidecar does, which single predictions may have too.
    """
    with contextlib.suppress(OSError):
        page = folder / BATCH_PAGE
        shown = page if page.is_file() and is_ours(page) else None
        try:
            records = records_in(folder)
            has_items = {record for record in records if any(step.get("key") for step in _steps_in(record))}
        except errors.LocalFileError as failure:
            if shown:
                failure.message += f"; {shown} shows what a batch made there"
                failure.hint = "put the record back as it was"
            raise
        lost = [record for record in records_of(page) if record not in has_items] if shown else []
        if has_items and not lost:
            return
        if shown is None and any(next(_steps_in(record), None) is None for record in records):
            shown = next(folder.glob(f"*{SIDECAR_SUFFIX}"), None)
        if shown:
            lost = lost or records[:1] or [folder / batch_record()]
            names = first_few([record.name for record in lost], _NAMED_AT_MOST)
            lack = "has nothing of it" if lost[0] in records else "is gone"
            raise errors.LocalFileError(
                f"{shown} shows what a batch made there, and its record {names} {lack}: what that knew of"
                " would be created, and paid for, again",
                hint=f"put {names} back",
                code="record",
            )


def _steps_in(record: Path) -> Iterator[Mapping[str, Any]]:
    """Yield the steps of a record, none where its name leads nowhere; raises as `read_steps` does."""
    if record.exists():
        yield from (step for step, _ in read_steps(record))
