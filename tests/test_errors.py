"""Failures and their exit codes, which scripts depend on."""

import errno
import inspect

import pytest

from cometrep import errors

# The contract of the command line.
CODES: dict[type[errors.Failure], int] = {
    errors.CometrepError: 1,
    errors.UsageError: 2,
    errors.BadItems: 2,
    errors.ConfigError: 3,
    errors.PredictionFailed: 4,
    errors.PredictionCanceled: 5,
    errors.StillRunning: 6,
    errors.Temporary: 7,
    errors.Refused: 8,
    errors.Partial: 9,
    errors.CreateUnknown: 10,
    errors.OutputMissing: 11,
    errors.LocalFileError: 12,
    errors.StdoutClosed: 141,
}
WORDS = {
    errors.UsageError: "usage",
    errors.ConfigError: "config",
    errors.PredictionFailed: "prediction_failed",
    errors.PredictionCanceled: "prediction_canceled",
    errors.StillRunning: "deadline",
    errors.Temporary: "network",
    errors.Refused: "bad_request",
    errors.CreateUnknown: "create_unknown",
    errors.OutputMissing: "output_missing",
    errors.LocalFileError: "not_writable",
}


def test_each_failure_has_its_exit_code() -> None:
    """Every kind of failure means one exit code of the contract, and none was forgotten here."""
    kinds = {
        kind
        for _, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, errors.Failure) and kind not in (errors.Failure, errors.Stopped)
    }
    assert {kind: kind.exit_code for kind in kinds} == CODES


def test_each_failure_has_its_stable_word() -> None:
    """The words of the JSON error form stay as they are documented."""
    assert {kind: kind.code for kind in WORDS} == WORDS


def test_the_table_explains_every_exit_code() -> None:
    """The one table of exit codes has those of the contract and of every failure."""
    assert set(errors.EXIT_CODES) == {0, *CODES.values(), 129, 130, 143}
    assert all(errors.EXIT_CODES.values())


def test_a_failure_carries_what_identifies_it() -> None:
    """Message, hint, code and ids are kept, and the text of a failure is its message."""
    failure = errors.Refused(
        "no", hint="do", code="no_credit", prediction_id="p1", request_id="r1", http_status=402
    )
    assert (str(failure), failure.hint, failure.code) == ("no", "do", "no_credit")
    assert (failure.prediction_id, failure.request_id, failure.http_status) == ("p1", "r1", 402)
    assert failure.exit_code == 8


def test_a_failure_in_other_words_keeps_what_identifies_it() -> None:
    """Its remedy, its code, its ids and its status; a hint and an id that are given take the place of its own."""
    failure = errors.Refused(
        "no", hint="do", remedy="--so", code="no_credit", prediction_id="p1", request_id="r1", http_status=402
    )
    told = failure.told_as(errors.Temporary, "not now")
    assert (type(told), told.exit_code, told.message) == (errors.Temporary, 7, "not now")
    assert (told.code, told.hint, told.remedy) == ("no_credit", "do", "--so")
    assert (told.prediction_id, told.request_id, told.http_status) == ("p1", "r1", 402)
    other = failure.told_as(errors.Temporary, "not now", hint="", prediction_id="p2")
    assert (other.hint, other.prediction_id) == ("", "p2")


def test_an_exit_code_alone_has_a_stable_word() -> None:
    """That of the failures it stands for, where several come to one error."""
    words = {kind.exit_code: kind.code for kind in CODES if errors.CometrepError in (kind, kind.__base__)}
    assert {code: errors.code_of(code) for code in words} == words


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.ENOSPC, "disk_full"),
        (errno.EDQUOT, "disk_full"),
        (errno.EACCES, "not_writable"),
        (None, "not_writable"),
    ],
)
def test_a_disk_without_room_has_a_word_of_its_own(number: int | None, code: str) -> None:
    """Also where it is the quota of one user; what else a file system refuses has the one of all others."""
    assert errors.file_code(OSError(number, "x") if number else OSError("x")) == code


def test_a_failure_knows_nothing_it_was_not_told() -> None:
    """Without more than a message the class's own word stands, and the ids are None."""
    failure = errors.Temporary("later")
    assert (failure.code, failure.hint) == ("network", "")
    assert (failure.prediction_id, failure.request_id, failure.http_status) == (None, None, None)
    assert (failure.retry_after_seconds, failure.is_worth_repeating) == (None, True)


@pytest.mark.parametrize(
    ("failure", "is_exception"),
    [(errors.Refused("no"), True), (errors.Stopped("SIGTERM", 143), False), (errors.StdoutClosed("gone"), False)],
    ids=["error", "signal", "stdout"],
)
def test_what_ends_a_command_is_eaten_by_no_except(failure: errors.Failure, is_exception: bool) -> None:
    """A signal and a closed stdout pass every `except Exception`."""
    assert isinstance(failure, Exception) is is_exception


def test_a_signal_has_the_exit_code_of_its_number() -> None:
    """The failure of a signal names it and exits as a shell would say it."""
    failure = errors.Stopped("SIGTERM", 143)
    assert (failure.message, failure.code, failure.exit_code) == ("stopped by SIGTERM", "interrupted", 143)


FAILED = errors.PredictionFailed("failed")
GONE = errors.OutputMissing("gone")


@pytest.mark.parametrize(
    ("failures", "total", "exit_code"),
    [
        ([FAILED, FAILED], 2, 4),
        ([FAILED, GONE], 2, 9),
        ([FAILED], 2, 9),
        ([FAILED, FAILED], 3, 9),
    ],
    ids=["all alike", "different", "one of two", "alike but not all"],
)
def test_partial_failure(failures: list[errors.CometrepError], total: int, exit_code: int) -> None:
    """Several failures exit with their common code where all failed alike, else as partial."""
    partial = errors.Partial(failures, total)
    assert partial.exit_code == exit_code
    assert partial.failures == tuple(failures)
    assert partial.message == f"{len(failures)} of {total} failed"
    assert partial.code == {4: "prediction_failed", 9: "partial"}[exit_code]
    assert errors.Partial.exit_code == 9


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [([], None), ([None], None), ([None, None], None), ([FAILED], FAILED)],
    ids=["nothing", "well", "all well", "the only one"],
)
def test_outcomes_that_need_no_summary(
    outcomes: list[errors.CometrepError | None], expected: errors.CometrepError | None
) -> None:
    """Where all went well there is no failure, and the failure of a single thing is itself."""
    assert errors.combined(outcomes) is expected


def test_a_failure_of_several_has_their_word() -> None:
    """That of their exit code where they have several."""
    expired, broken = (errors.OutputMissing("no", code=code) for code in ("output_expired", "output_broken"))
    assert errors.Partial([expired, expired], 2).code == "output_expired"
    assert errors.Partial([expired, broken], 2).code == errors.OutputMissing.code


def test_outcomes_that_differ_are_partial() -> None:
    """Among several outcomes each failure is kept, in order."""
    partial = errors.combined([None, GONE, FAILED])
    assert isinstance(partial, errors.Partial)
    assert (partial.failures, partial.exit_code) == ((GONE, FAILED), 9)
    alike = errors.combined([GONE, GONE])
    assert alike is not None
    assert alike.exit_code == 11
