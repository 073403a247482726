"""A use case that is shown: what goes to which stream, and that it ends in order whatever ends it."""

import errno
import io
import json
from collections.abc import Generator
from typing import Any

import pytest

from cometrep import errors
from cometrep.console import Choices, Console
from cometrep.console.stage import Results, Stage
from cometrep.events import Created, Event, Noted, Result, Saved, Seen
from cometrep.hints import WAIT_AGAIN
from cometrep.prediction import Prediction, SavedFile

DONE = Prediction("abc", "succeeded", output=["https://x.test/a.webp"])
OTHER = DONE._replace(id="other")
RUNNING = Prediction("abc", "processing")
FILES = tuple(SavedFile(f"{name}.webp", 0, 3000, "0" * 64) for name in "ab")
Events = Generator[Event, None, str]


class Struck(io.BytesIO):
    """A stdout at which a signal comes as it is written to."""

    def write(self, content: Any) -> int:
        """Let the signal come."""
        raise errors.Stopped("Ctrl-C", 130)


class Left(io.BytesIO):
    """A stdout that nobody reads any more."""

    def write(self, content: Any) -> int:
        """Fail as a pipe does."""
        raise BrokenPipeError


class Full(io.BytesIO):
    """A stderr in a file, on a disk that may be full."""

    is_full = True

    def write(self, content: Any) -> int:
        """Fail as such a file does, while it is."""
        if self.is_full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(content)


class House:
    """A console whose streams are kept."""

    def __init__(self, stdout: io.BytesIO | None = None, stderr: io.BytesIO | None = None) -> None:
        self._out, self._err = stdout or io.BytesIO(), stderr or io.BytesIO()
        shown, told = io.TextIOWrapper(self._out, "utf-8"), io.TextIOWrapper(self._err, "utf-8")
        self.console = Console(None, shown, told, lambda name: "")
        self.console.configure(Choices(flags="--sandbox"))

    def show(self, events: Events, what: str = "path", ids: tuple[str, ...] = ()) -> str:
        """Show a use case, and give what it returned."""
        return Stage(self.console, Results(what, WAIT_AGAIN, ids)).show(events)

    @property
    def stdout(self) -> str:
        """What was written to it."""
        return self._out.getvalue().decode()

    @property
    def stderr(self) -> str:
        """What was written to it."""
        return self._err.getvalue().decode()


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("id", "abc\n"),
        ("status", "succeeded\n"),
        ("line", "abc\tsucceeded\n"),
        ("path", "a.webp\nb.webp\n"),
        ("url", "https://x.test/a.webp\n"),
        ("output", '["https://x.test/a.webp"]\n'),
        ("", ""),
    ],
)
def test_a_result_is_written_as_it_was_asked_for(what: str, told: str) -> None:
    """And each path once, as soon as its file is saved or with the result; what the use case returns is given."""

    def saving() -> Events:
        yield Created(RUNNING)
        yield Saved("abc", FILES[0])
        yield Result("abc", DONE, FILES)
        return "ended"

    house = House()
    assert house.show(saving(), what) == "ended"
    assert house.stdout == told


@pytest.mark.parametrize(
    ("what", "prediction", "told"),
    [
        ("output", DONE._replace(status="starting"), "null\n"),
        ("output", DONE._replace(status="failed"), "null\n"),
        ("url", DONE._replace(output="a story"), ""),
        ("status", DONE._replace(status="odd\x1b[2J"), "odd\\x1b[2J\n"),
        ("line", DONE._replace(status="odd\x1b[2J"), "abc\todd\\x1b[2J\n"),
    ],
    ids=["not yet", "never", "text", "odd", "odd beside its id"],
)
def test_a_result_without_files_is_told_too(what: str, prediction: Prediction, told: str) -> None:
    """An output each, so that lines and ids agree: what stands there before a success is not all of it."""

    def seeing() -> Events:
        yield Result("abc", prediction, ())
        return ""

    house = House()
    house.show(seeing(), what)
    assert house.stdout == told


def test_a_hint_keeps_the_flag_that_chose_the_server() -> None:
    """It stands below what it is for, or in the event that programs get of it."""

    def noting() -> Events:
        yield Noted("abc", "cometrep wait abc takes it up", hint="cometrep status abc")
        return ""

    house = House()
    house.show(noting())
    assert "cometrep wait --sandbox abc takes it up\n" in house.stderr
    assert house.stderr.endswith("hint: cometrep status --sandbox abc\n")
    house = House()
    house.console.configure(Choices(progress="json", flags="--sandbox"))
    house.show(noting())
    assert json.loads(house.stderr)["hint"] == "cometrep status --sandbox abc"


@pytest.mark.parametrize("fails", [False, True], ids=["in order", "with a failure"])
def test_a_use_case_that_is_stopped_puts_its_things_in_order(fails: bool) -> None:
    """It hears of a signal that came outside it, and is heard; the stop tells what is left, and how to go on."""

    def waiting() -> Events:
        yield Created(RUNNING)
        yield Seen(OTHER, 1.0)
        try:
            yield Result("other", OTHER)
        except errors.Stopped:
            yield Noted("abc", "all is put away")
            if fails:
                raise errors.LocalFileError("there is no room for it") from None
            raise
        return ""

    house = House(Struck())
    with pytest.raises(errors.Stopped) as raised:
        house.show(waiting(), "line", ("other",))
    assert "all is put away" in house.stderr
    failed = "; there is no room for it" if fails else ""
    left = "; left running: abc; ended, and not told yet: other"
    assert raised.value.message == f"stopped by Ctrl-C{failed}{left}"
    assert raised.value.hint == "cometrep wait other abc"


def test_what_a_create_came_to_as_it_was_stopped_is_left_too() -> None:
    """Its answer tells how far it is."""

    def creating() -> Events:
        try:
            yield Result("other", OTHER)
        except errors.Stopped:
            yield Created(DONE)
            raise
        return ""

    with pytest.raises(errors.Stopped) as raised:
        House(Struck()).show(creating(), "line")
    assert raised.value.message == "stopped by Ctrl-C; ended, and not told yet: abc"
    assert raised.value.hint == "cometrep wait abc"


def test_what_was_told_is_not_waited_for_again() -> None:
    """The hint of a stop names those alone whose results nobody has seen."""

    def waiting() -> Events:
        yield Created(RUNNING)
        yield Seen(OTHER, 1.0)
        yield Result("other", OTHER)
        raise errors.Stopped("Ctrl-C", 130)

    with pytest.raises(errors.Stopped) as raised:
        House().show(waiting(), "line", ("other",))
    assert raised.value.hint == "cometrep wait abc"


def test_a_stdout_that_nobody_reads_loses_no_file() -> None:
    """A prediction's other files are saved first; then the use case hears of it, and is closed."""
    heard = []

    def saving() -> Events:
        try:
            for file in FILES:
                yield Saved("abc", file)
                heard.append(file.path)
            yield Result("abc", DONE, FILES)
        except errors.StdoutClosed:
            heard.append("stdout is gone")
            raise
        finally:
            heard.append("closed")
        return ""

    house = House(Left())
    with pytest.raises(errors.StdoutClosed) as raised:
        house.show(saving())
    assert heard == ["a.webp", "b.webp", "stdout is gone", "closed"]
    assert (raised.value.hint, raised.value.prediction_id) == ("cometrep wait abc", "abc")


@pytest.mark.parametrize("kind", [errors.LocalFileError, errors.Temporary, errors.PredictionFailed])
@pytest.mark.parametrize("is_full", [True, False])
def test_an_id_that_neither_ledger_nor_stderr_took_is_in_doubt(
    kind: type[errors.CometrepError], *, is_full: bool
) -> None:
    """On a full disk, for both: any code but that of its known end would let it be paid for again."""

    def creating() -> Events:
        yield Created(RUNNING)
        yield Noted("abc", "prediction abc is not recorded", is_warning=True, is_of_lost_id=True)
        raise kind("cannot write to stdout: No space left on device")

    stderr = Full()
    stderr.is_full = is_full
    house = House(stderr=stderr)
    with pytest.raises(errors.CometrepError) as raised:
        house.show(creating(), "id")
    is_doubt = is_full and kind is not errors.PredictionFailed
    assert (raised.value.exit_code, raised.value.prediction_id) == (
        (10, "abc") if is_doubt else (kind.exit_code, None)
    )
    stderr.is_full = False
    house.console.report(raised.value)
    assert "cannot write to stdout" in house.stderr  # of a disk that has room again
    assert ("the ledger did not take the id of abc, which is paid for" in house.stderr) is is_doubt
