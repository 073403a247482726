"""Every failure cometrep reports, and the exit code each one means.

The tree, by what the user does next::

    CometrepError              1    report a bug
    ├── UsageError             2    correct the command; nothing was sent
    │   └── BadItems           2    correct the items of a batch
    ├── ConfigError            3    set or replace the API key, mend the settings
    ├── PredictionFailed       4    read the model's error, change the input
    ├── PredictionCanceled     5    run it again if it is still wanted
    ├── StillRunning           6    wait for it again
    ├── Temporary              7    run the same command again
    ├── Refused                8    correct the request, the model or the base URL
    ├── Partial                9    read the errors above it, one by one
    ├── CreateUnknown         10    find out before sending it again
    ├── OutputMissing         11    ask for the files again, or run the prediction again
    └── LocalFileError        12    mend the path, the folder or the disk

    Stopped        130, 143, 129    a signal ended the command (not an Exception)
    StdoutClosed             141    nobody reads stdout any more
"""

import errno
from collections.abc import Mapping, Sequence
from typing import TypeVar

Kind = TypeVar("Kind", bound="CometrepError")

EXIT_CODES: Mapping[int, str] = {
    0: "done",
    1: "a bug in cometrep",
    2: "usage or bad input; nothing was sent",
    3: "configuration or API key: missing, unreadable, refused (401, 403)",
    4: "the prediction failed",
    5: "the prediction was canceled or aborted",
    6: "the deadline passed or it is not finished; the prediction still runs",
    7: "temporary: network, 429 or 5xx after all retries; safe to run again",
    8: "the API refused: bad request, unknown model, no credit, unknown id, or not an API at all",
    9: "partial: some of several predictions or files failed, not all alike",
    10: "the outcome of a create is unknown: it may have been accepted and billed",
    11: "the output is gone or missing: expired, data removed, or success without files",
    12: "a local file: exists and differs, disk full, not writable",
    129: "the terminal was closed (SIGHUP)",
    130: "Ctrl-C (SIGINT)",
    141: "stdout was closed early (silent)",
    143: "terminated (SIGTERM)",
}
"""What each exit code means: the one table behind the README, the help and the man page."""

NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
"""What an OSError has for its number where no space is left."""


class Failure(BaseException):
    """What every reported failure carries: a message, a hint and the ids that identify it.

    `code` is the stable word of the JSON error form; `hint` is the next command to type, and `remedy` the option
    that mends it, where the command is one that takes a prediction up again.
    """

    exit_code = 1
    code = "bug"

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        remedy: str = "",
        code: str = "",
        prediction_id: str | None = None,
        request_id: str | None = None,
        http_status: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.remedy = remedy
        if code:
            self.code = code
        self.prediction_id = prediction_id
        self.request_id = request_id
        self.http_status = http_status

    def __str__(self) -> str:
        return self.message

    @property
    def told(self) -> str:
        """All that it says, in one text."""
        return self.message


class CometrepError(Failure, Exception):
    """A failure that ends a command with a message and an exit code of its own.

    `retry_after_seconds` is the pause the server asked for, None where it named none; `is_worth_repeating` is true
    where the next attempt need not end alike.
    """

    retry_after_seconds: float | None = None
    is_worth_repeating = False

    @property
    def parts(self) -> "tuple[CometrepError, ...]":
        """The failures that it stands for: of several predictions or files each one's own."""
        return (self,)

    def told_as(
        self, kind: type[Kind], message: str, *, hint: str | None = None, prediction_id: str | None = None
    ) -> Kind:
        """Give the same failure as another kind and in other words, with its remedy, code, ids and status."""
        return kind(
            message,
            hint=self.hint if hint is None else hint,
            remedy=self.remedy,
            code=self.code,
            prediction_id=prediction_id or self.prediction_id,
            request_id=self.request_id,
            http_status=self.http_status,
        )


class UsageError(CometrepError):
    """The command line or an input is wrong; nothing was sent."""

    exit_code = 2
    code = "usage"


class BadItems(UsageError):
    """Items of a batch are wrong: each of them is named, so that all can be mended at once."""

    code = "bad_items"


class ConfigError(CometrepError):
    """A setting or the API key is missing, unreadable or refused."""

    exit_code = 3
    code = "config"


class PredictionFailed(CometrepError):
    """The model ended with an error."""

    exit_code = 4
    code = "prediction_failed"


class PredictionCanceled(CometrepError):
    """The prediction was canceled, or aborted before it started."""

    exit_code = 5
    code = "prediction_canceled"


class StillRunning(CometrepError):
    """The deadline passed, or nobody asked to wait; the prediction runs on."""

    exit_code = 6
    code = "deadline"


class Temporary(CometrepError):
    """Network, 429 or 5xx after all retries; the same command is safe to run again."""

    exit_code = 7
    code = "network"
    is_worth_repeating = True


class Refused(CometrepError):
    """The API said no, or what answered is not the API."""

    exit_code = 8
    code = "bad_request"


class Partial(CometrepError):
    """Some of several predictions or files failed; its exit code is theirs where all failed alike."""

    exit_code = 9
    code = "partial"

    def __init__(self, failures: Sequence[CometrepError], total: int) -> None:
        super().__init__(f"{len(failures)} of {total} failed", hint="see the errors above, one by one")
        self.failures = tuple(failures)
        codes = {failure.exit_code for failure in failures}
        if len(failures) == total and len(codes) == 1:
            self.exit_code = codes.pop()
            words = {failure.code for failure in failures}
            self.code = words.pop() if len(words) == 1 else code_of(self.exit_code)

    @property
    def parts(self) -> tuple[CometrepError, ...]:
        """Its failures."""
        return self.failures

    @property
    def told(self) -> str:
        """All that it says, each of its failures too."""
        return f"{self.message}: {'; '.join(failure.told for failure in self.failures)}"


class CreateUnknown(CometrepError):
    """A create may have been accepted and billed, and no usable answer came back."""

    exit_code = 10
    code = "create_unknown"


class OutputMissing(CometrepError):
    """The output expired, was removed, or never was."""

    exit_code = 11
    code = "output_missing"


class LocalFileError(CometrepError):
    """A local path exists and differs, or cannot be written."""

    exit_code = 12
    code = "not_writable"


class Stopped(Failure):
    """A signal ended the command; raised by the signal handler, and no `except Exception` eats it."""

    def __init__(self, name: str, exit_code: int) -> None:
        super().__init__(f"stopped by {name}", code="interrupted")
        self.exit_code = exit_code
        self.another = "Ctrl-C again" if name == "Ctrl-C" else "a second signal"


class StdoutClosed(Failure):
    """The reader of stdout went away, as `| head -1` does; nothing is reported."""

    exit_code = 141
    code = "stdout_closed"


def code_of(exit_code: int) -> str:
    """Give the word of the JSON error form that goes with an exit code, where nothing more exact is known."""
    return next((kind.code for kind in CometrepError.__subclasses__() if kind.exit_code == exit_code), "bug")


def file_code(problem: OSError) -> str:
    """Give the word of the JSON error form for what kept a file from being written."""
    return "disk_full" if problem.errno in NO_SPACE else LocalFileError.code


def no_thread(problem: RuntimeError) -> LocalFileError:
    """Give the failure of a command that the system gives not even one thread."""
    told = f"the system gives no thread: {problem}; a limit of processes or of memory is reached"
    return LocalFileError(told, hint="ulimit -a")


def combined(outcomes: Sequence[CometrepError | None]) -> CometrepError | None:
    """Give the one error that several outcomes come to: none, the only one, or `Partial` with all that failed."""
    failures = [outcome for outcome in outcomes if outcome is not None]
    if not failures or len(outcomes) == 1:
        return failures[0] if failures else None
    return Partial(failures, len(outcomes))
