"""Check key, settings, network, files and terminal, and name the fix of each fault.

The checks are made one after the other, as they are asked for. None costs money.
"""

import itertools
import time
from collections.abc import Callable, Iterator, Sequence

from cometrep import errors
from cometrep.doctor import machine, settings
from cometrep.doctor.checks import FAIL, Check
from cometrep.doctor.files import Files
from cometrep.doctor.reach import Reach
from cometrep.doctor.subject import Subject
from cometrep.hiding import without_key

_LIMIT_SECONDS = 10.0  # of one step of the network, and of reading the ledger


def examine(
    subject: Subject, *, now: Callable[[], float] = time.time, limit_seconds: float = _LIMIT_SECONDS
) -> Iterator[Check]:
    """Make every check in order, and give it free of the API key."""
    key = subject.api_key.to_hide if subject.api_key else ""
    for check in itertools.chain(
        settings.checks(subject),
        Reach(subject, now=now, limit_seconds=limit_seconds).checks(),
        Files(subject, now=now, limit_seconds=limit_seconds).checks(),
        machine.checks(subject),
    ):
        yield Check(*(without_key(part, key) for part in check))


def failure(checks: Sequence[Check]) -> errors.ConfigError | None:
    """Give the error that checks come to, None where nothing has to be mended."""
    failed = [check for check in checks if check.outcome == FAIL]
    if not failed:
        return None
    names = ", ".join(check.name for check in failed)
    told = f"{len(failed)} of {len(checks)} checks failed: {names}"
    return errors.ConfigError(told, hint=failed[0].fix, code="checks_failed")
