"""What a command reads and writes, where its whole run is not needed to see it."""

import io
import logging
import os
import select as select_module
import socket
import struct
import threading
import weakref
from typing import Any

import pytest

from cometrep import console as console_module
from cometrep import errors
from cometrep.calls import Calls, within
from cometrep.console import Choices, Console, asking
from tests.conftest import TIMEOUT_SECONDS, full_pipe, on_posix, wait_until


class Stderr:
    """A console that writes on paper, and what stands there."""

    def __init__(self, stdin: str | None = None, **environment: str) -> None:
        self._paper = io.BytesIO()
        paper = io.TextIOWrapper(self._paper, write_through=True)
        typed = None if stdin is None else io.StringIO(stdin)
        self.console = Console(typed, None, paper, lambda name: environment.get(name, ""))

    @property
    def text(self) -> str:
        """What was written."""
        return self._paper.getvalue().decode()


def test_what_takes_a_while_is_said_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line at once in a log, too: nobody takes a long check for a hang."""
    monkeypatch.setattr(console_module, "_SLOW_SECONDS", 0.0)
    stderr = Stderr()
    with stderr.console.saying_if_slow("checking all items"):
        wait_until(lambda: stderr.text == "checking all items\n")


def test_what_is_done_soon_needs_no_word() -> None:
    """Nor what fails, or where no thread is to be had for it."""
    stderr = Stderr()
    with pytest.raises(ZeroDivisionError), stderr.console.saying_if_slow("checking all items"):
        raise ZeroDivisionError
    with stderr.console.saying_if_slow("checking all items"):
        pass
    assert stderr.text == ""


@pytest.mark.parametrize("is_json", [False, True])
def test_what_was_typed_in_a_wrong_place_is_shown_without_the_key(*, is_json: bool) -> None:
    """Whichever command it was, and in the command of the hint too."""
    stderr = Stderr()
    stderr.console.configure(Choices(is_json=is_json))
    key = "sk-abcdefgh12345678"
    stderr.console.report(errors.UsageError(f"there is no topic {key!r}", hint=f"cometrep help {key}"))
    assert stderr.text.count("[hidden]") == 2
    assert key[3:] not in stderr.text


@pytest.fixture
def at_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every stream that is open be a terminal's, on which all is typed in time."""
    monkeypatch.setattr(console_module, "_is_terminal", lambda stream: stream is not None)
    for wait in ("_drop_typed", "_wait_for"):
        monkeypatch.setattr(asking, wait, lambda _: None)


@pytest.mark.usefixtures("at_a_terminal")
@pytest.mark.parametrize(
    ("asked", "environment", "options", "mode"),
    [
        ("auto", {}, {}, "bar"),
        ("auto", {"CI": "true"}, {}, "lines"),
        ("auto", {"CI": "False"}, {}, "bar"),
        ("auto", {"CI": "0"}, {}, "bar"),
        ("auto", {"TERM": "dumb"}, {}, "lines"),
        ("auto", {"TERM": ""}, {}, "lines"),
        ("auto", {}, {"is_verbose": True}, "lines"),
        ("auto", {}, {"is_quiet": True}, "none"),
        ("bar", {}, {}, "bar"),
        ("bar", {"CI": "true"}, {}, "lines"),
        ("bar", {"TERM": "dumb"}, {}, "lines"),
        ("lines", {}, {}, "lines"),
        ("json", {"CI": "true", "TERM": "dumb"}, {}, "json"),
        ("none", {}, {}, "none"),
    ],
)
def test_progress_moves_on_a_terminal_that_can_show_it(
    monkeypatch: pytest.MonkeyPatch, asked: str, environment: dict[str, str], options: dict[str, Any], mode: str
) -> None:
    """And never in CI, however it is asked for."""
    monkeypatch.setattr(Console, "_show_log_records", lambda _: None)  # which is for the whole process
    console = Stderr(**{"TERM": "xterm", **environment}).console
    console.configure(Choices(progress=asked, **options))
    assert console.progress_mode() == mode


@pytest.mark.parametrize(("asked", "mode"), [("auto", "lines"), ("bar", "lines"), ("json", "json")])
def test_nothing_moves_where_there_is_no_terminal(asked: str, mode: str) -> None:
    """Whatever TERM says: a log has lines."""
    console = Stderr(TERM="xterm").console
    console.configure(Choices(progress=asked))
    assert console.progress_mode() == mode


@pytest.mark.usefixtures("at_a_terminal")
@pytest.mark.parametrize(
    ("typed", "is_yes"),
    [("y\n", True), (" YES \n", True), ("\n", False), ("n\n", False), ("yep\n", False), ("", False), ("y", True)],
)
def test_a_question_is_answered_by_a_plain_yes(typed: str, is_yes: bool) -> None:
    """What follows it has a line of its own, also where the answer ended none."""
    stderr = Stderr(typed)
    assert stderr.console.confirm("Send 150 items?") is is_yes
    assert stderr.text == "Send 150 items? [y/N] " + "\n" * (not typed.endswith("\n"))


def test_nobody_is_asked_what_nobody_can_see(monkeypatch: pytest.MonkeyPatch) -> None:
    """As at a terminal whose stderr goes into a file: the question would be waited for without end."""
    stderr = Stderr("y\n")
    monkeypatch.setattr(console_module, "_is_terminal", lambda stream: isinstance(stream, io.StringIO))
    assert not stderr.console.confirm("Send 150 items?")
    with pytest.raises(errors.UsageError) as raised:
        stderr.console.ask_hidden("API key: ")
    assert raised.value.hint == "cometrep login --stdin"
    assert stderr.text == ""


@on_posix
def test_a_stdin_that_does_not_block_is_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """As Node.js hands one on: that nothing is there for now is no end, and half a prompt is not paid for."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    to_come = [b"one", b"two"]

    def select_later(*streams: Any) -> Any:
        if to_come:
            os.write(writing, to_come.pop(0))
        else:
            os.close(writing)
        return select(*streams)

    select = select_module.select
    monkeypatch.setattr(select_module, "select", select_later)
    with os.fdopen(reading) as stdin:
        console = Console(stdin, None, None, lambda name: "")
        assert console.read_stdin(limit_bytes=100) == b"onetwo"


@pytest.mark.parametrize("typed", [None, "y\n"], ids=["closed", "a pipe"])
def test_nobody_is_asked_where_there_is_no_terminal(typed: str | None) -> None:
    """What stands in a pipe is no answer."""
    stderr = Stderr(typed)
    assert not stderr.console.confirm("Send 150 items?")
    assert stderr.text == ""


def test_a_socket_that_was_reset_is_a_reader_that_left() -> None:
    """As a pipe without a reader, and as often as it is written to."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        ours = socket.create_connection(listening.getsockname())
        theirs, _ = listening.accept()
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close sends a reset
    with ours, ours.makefile("w") as stdout:
        console = Console(None, stdout, None, lambda name: "")
        theirs.close()
        for _ in range(2):
            with pytest.raises(errors.StdoutClosed):
                console.write_line("abc123.webp")


STOP = errors.Stopped("SIGTERM", 143)


@on_posix
def test_a_goodbye_that_nobody_reads_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """What stopped the command ends it where the pipe of its stderr is full; what comes behind waits no more."""
    monkeypatch.setattr(console_module, "_GOODBYE_SECONDS", 0.05)
    with full_pipe() as (pipe, stderr):
        console = Console(None, None, stderr, lambda name: "")
        console.hurry()
        within(TIMEOUT_SECONDS, lambda: console.report(STOP))
        monkeypatch.setattr(console_module, "_GOODBYE_SECONDS", None)  # for ever
        within(TIMEOUT_SECONDS, lambda: console.report(STOP))
        stderr.close()
        assert set(pipe.read()) == set(b".")


@on_posix
def test_a_goodbye_reaches_a_reader_that_is_slow() -> None:
    """Whoever reads again gets all of it, though more than a pipe holds, and though the pipe was full."""
    with full_pipe() as (pipe, stderr):
        came: Calls[None, bytes] = Calls(threads=1)
        console = Console(None, None, stderr, lambda name: "")
        console.configure(Choices(is_json=True))  # which is not cut
        console.hurry()
        came.submit(None, pipe.read)
        console.report(errors.Stopped("x" * 200_000, 143))
        stderr.close()
        answered = came.next(TIMEOUT_SECONDS)
        came.close()
    assert answered
    assert isinstance(answered[1], bytes)
    assert answered[1].count(b"x") > 200_000
    assert answered[1].endswith(b"}}\n")


@on_posix
def test_a_goodbye_is_given_to_a_terminal_byte_by_byte() -> None:
    """One that has room for a byte may have no more, and would be waited for."""
    master, slave = os.openpty()
    with os.fdopen(master, "rb", 0) as screen, os.fdopen(slave, "w") as stderr:
        assert console_module._room(stderr.buffer.raw, 0.0) == 1  # type: ignore[attr-defined]
        console = Console(None, None, stderr, lambda name: "")
        console.hurry()
        console.report(STOP)
        came = b""
        while not came.endswith(b"\n"):
            came += screen.read(1000)
        assert came == b"cometrep: stopped by SIGTERM\r\n"


def test_a_line_that_nobody_reads_does_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python waits there for the locks of all that logs, and so would a command with --verbose."""
    logger = logging.getLogger("cometrep")
    for name in ("handlers", "level", "propagate"):
        monkeypatch.setattr(logger, name, getattr(logger, name))
    is_stuck, is_read = threading.Event(), threading.Event()

    class Stuck(io.BytesIO):
        """A stderr that is full."""

        def write(self, content: Any) -> int:
            """Wait for the reader."""
            is_stuck.set()
            is_read.wait()
            return len(content)

    console = Console(None, None, io.TextIOWrapper(Stuck()), lambda name: "")
    console.configure(Choices(is_verbose=True))
    talking = threading.Thread(target=logger.debug, args=("> GET",))
    talking.start()
    try:
        assert is_stuck.wait(TIMEOUT_SECONDS)
        (handler,) = logger.handlers
        within(TIMEOUT_SECONDS, lambda: logging.shutdown([weakref.ref(handler)]))
    finally:
        is_read.set()
        talking.join()
