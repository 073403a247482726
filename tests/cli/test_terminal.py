"""What a person at a terminal sees: the program on a real pty, its screen kept by pyte."""

import contextlib
import fcntl
import json
import os
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Mapping
from typing import Self

import pyte
import pytest

from cometrep.ledger import Ledger
from cometrep.prediction import Prediction
from tests.conftest import TIMEOUT_SECONDS, Cli, needs
from tests.servers import HANG, SCHNELL, WEBP, Answer, Server, answer_json, picture, prediction

HIDE, SHOW = b"\x1b[?25l", b"\x1b[?25h"
FRAME = b"\x1b[?7l"  # how one begins
COLOUR = re.compile(rb"\x1b\[[0-9;]*m")
HOSTILE = (
    "\x1b[31mred\x1b]0;owned\x07 [bold]b[/bold]\r::error::x\n::set-output name=a::b \u202eabc \x9b2J\x00 \ud800 end"
)

# The program gets the terminal as its own, so that Ctrl-C, a hang-up and a password prompt are the real ones.
_LAUNCH = "import fcntl,os,sys,termios;fcntl.ioctl(0,termios.TIOCSCTTY,0);os.execv(sys.argv[1],sys.argv[1:])"


class ReflowingScreen(pyte.Screen):
    """A screen that breaks its lines anew when it is made narrower, as most terminals do, and moves the cursor."""

    def resize(self, lines: int | None = None, columns: int | None = None) -> None:
        """Change the size, and break what is on the screen at the new width."""
        old = [line.rstrip() for line in self.display]
        before, y = self.cursor.x, self.cursor.y
        width = columns or self.columns
        super().resize(lines, columns)
        broken = [[line[at : at + width] for at in range(0, max(1, len(line)), width)] for line in old]
        row = sum(len(pieces) for pieces in broken[:y]) + before // width
        self.reset()
        for number, piece in enumerate(piece for pieces in broken for piece in pieces):
            if number < self.lines:
                self.cursor_position(number + 1, 1)
                self.draw(piece)
        self.cursor_position(row + 1, before % width + 1)


class Terminal:
    """The program on a terminal of its own; with `stdout` given only stdin and stderr are the terminal."""

    def __init__(
        self,
        cli: Cli,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        columns: int = 80,
        lines: int = 24,
        stdout: int | None = None,
        screen: type[pyte.Screen] = pyte.Screen,
    ) -> None:
        self.screen = screen(columns, lines)
        self.raw = b""
        self._stream = pyte.ByteStream(self.screen)
        self._master, slave = os.openpty()
        self._set_size(columns, lines)
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _LAUNCH, *cli.command(*arguments)],
            stdin=slave,
            stdout=slave if stdout is None else stdout,
            stderr=slave,
            cwd=cli.folder,
            env={**cli.environment, "TERM": "xterm-256color", **(env or {})},
            start_new_session=True,
        )
        os.close(slave)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.hang_up()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    @property
    def timeless(self) -> list[str]:
        """The lines of the screen, the time at the end of each replaced by a word."""
        return [re.sub(r"(?<=  )\d+(\.\d)? s$", "TIME", line) for line in self.lines]

    @property
    def lines(self) -> list[str]:
        """The lines on the screen, without what is blank at their ends and below the last."""
        return "\n".join(line.rstrip() for line in self.screen.display).rstrip().split("\n")

    @property
    def text(self) -> str:
        """What is on the screen."""
        return "\n".join(self.lines)

    def until(self, *wanted: str | Callable[[], bool]) -> None:
        """Read until all of these are on the screen or true; fail with the screen where that never comes."""
        deadline = time.monotonic() + TIMEOUT_SECONDS / 3
        while not all(one in self.text if isinstance(one, str) else one() for one in wanted):
            assert self._read(deadline), f"{wanted} never came; the screen was:\n{self.text}"

    def finish(self) -> int:
        """Read to the end and give the exit code."""
        deadline = time.monotonic() + TIMEOUT_SECONDS / 3
        while self._read(deadline):
            pass
        return self.process.wait(TIMEOUT_SECONDS / 3)

    def type(self, keys: bytes) -> None:
        """Type on the keyboard."""
        os.write(self._master, keys)

    @property
    def foreground(self) -> int:
        """The group of processes that has the terminal."""
        return os.tcgetpgrp(self._master)

    def resize(self, columns: int, lines: int) -> None:
        """Change the size of the window, as dragging its corner does."""
        while self._read(0.0):  # what was drawn for the size before is seen in that size
            pass
        self.screen.resize(lines, columns)
        self._set_size(columns, lines)

    def hang_up(self) -> None:
        """Close the window."""
        if self._master >= 0:
            os.close(self._master)
            self._master = -1

    def _set_size(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def _read(self, deadline: float) -> bytes:
        """Read what came, nothing at the end or at the deadline."""
        if not select.select([self._master], [], [], max(0.0, deadline - time.monotonic()))[0]:
            return b""
        try:
            came = os.read(self._master, 65536)
        except OSError:  # what Linux says when the program has closed its side
            return b""
        self.raw += came
        self._stream.feed(came)
        return came


class Plain(Cli):
    """A command line that is run as it stands, in a folder, home and environment of the test's own."""

    @staticmethod
    def command(*arguments: str) -> list[str]:
        """Give the command line itself, its program by its path."""
        return [shutil.which(arguments[0]) or "", *arguments[1:]]


def bar_at(percent: int) -> str:
    """Make the logs of a model that is so far."""
    return f"Using seed: 7\n{percent:3d}%|###       | 1/4 [00:00<00:00,  4.81it/s]\n"


def held(server: Server, *, files: int = 1) -> tuple[threading.Event, threading.Event]:
    """Script a run whose second look waits for the first event, and whose first file waits for the second."""
    seen, saved = threading.Event(), threading.Event()
    output = [f"{server.url}/f/{index}.webp" for index in range(files)]
    server.on_create(answer_json(prediction(status="starting")))
    server.on_get(
        answer_json(prediction(status="processing", logs=bar_at(25))),
        answer_json(prediction(output=output, logs=bar_at(100)), wait_for=seen),
    )
    server.on("GET", "/f/", Answer(200, picture(3000), WEBP))
    server.on("GET", "/f/0", Answer(200, picture(3000), WEBP, wait_for=saved))
    return seen, saved


def test_a_run_shows_status_percentage_and_saved_files(served: Cli, server: Server) -> None:
    """At each moment of a run the screen shows where it is; at its end only what lasts stays."""
    moments = [threading.Event() for _ in range(3)]
    output = [f"{server.url}/f/{index}.webp" for index in (0, 1)]
    server.on_create(answer_json(prediction(status="starting")))
    server.on_get(
        answer_json(prediction(status="starting")),
        answer_json(prediction(status="processing", logs=bar_at(25)), wait_for=moments[0]),
        answer_json(prediction(status="processing", logs=bar_at(50)), wait_for=moments[1]),
        answer_json(prediction(output=output, logs=bar_at(100)), wait_for=moments[2]),
    )
    server.on("GET", "/f/", Answer(200, picture(3000), WEBP))
    created = f"abc123  created  {SCHNELL}"
    with Terminal(served, "run", SCHNELL, "prompt=cat") as terminal:
        terminal.until("flux-schnell starting")
        assert terminal.lines[0] == created
        assert len(terminal.lines) == 2
        moments[0].set()
        terminal.until("flux-schnell processing", "25%")
        assert re.fullmatch(r". flux-schnell processing ━+\S━+ 25% \d+s", terminal.lines[1])
        assert terminal.screen.cursor.hidden
        moments[1].set()
        terminal.until("50%")
        assert len(terminal.lines) == 2
        moments[2].set()
        assert terminal.finish() == 0
        assert terminal.timeless == [
            created,
            "✓ saved  3.0 kB  TIME",
            "abc123-0.webp",
            "✓ saved  3.0 kB  TIME",
            "abc123-1.webp",
        ]
        assert not terminal.screen.cursor.hidden


def test_a_second_ctrl_c_leaves_the_terminal_in_order(served: Cli, server: Server) -> None:
    """It leaves at once, with the cursor shown."""
    server.on_create(HANG)
    with Terminal(served, "run", SCHNELL, "prompt=cat") as terminal:
        terminal.until(lambda: server.creates == 1 and HIDE in terminal.raw)
        terminal.type(b"\x03")
        terminal.until("Ctrl-C again leaves at once")
        while terminal.process.poll() is None:  # one that comes too soon is the first one's echo
            terminal.type(b"\x03")
            with contextlib.suppress(subprocess.TimeoutExpired):
                terminal.process.wait(0.05)
        assert terminal.finish() == -signal.SIGINT
        assert terminal.raw.rfind(SHOW) > terminal.raw.rfind(HIDE) >= 0


def test_ctrl_c_while_saving_puts_the_terminal_in_order(served: Cli, server: Server) -> None:
    """A picture that comes shows a bar; Ctrl-C then shows the cursor again, and its hint brings the rest."""
    server.on_create(answer_json(prediction(status="starting")))
    server.on_get(answer_json(prediction(output=[f"{server.url}/f/a.webp"])))
    facts = {**WEBP, "ETag": '"one"'}
    half = Answer(200, picture(300_000), facts, length="300000", cut=150_000, then="hang")
    server.on("GET", "/f/a", half, Answer(200, picture(300_000), facts))
    with Terminal(served, "run", SCHNELL, "prompt=cat") as terminal:
        terminal.until(lambda: bool(re.search(r"abc123\.webp saving \S+ [\d.]+ kB \d+s", terminal.text)))
        assert not (served.folder / "abc123.webp").exists()
        terminal.type(b"\x03")
        assert terminal.finish() == 130
        assert terminal.lines[-2:] == [
            "cometrep: stopped by Ctrl-C; not saved yet: abc123",
            "hint: cometrep download --wait abc123",
        ]
        assert not any("saving" in line for line in terminal.lines)
        assert terminal.raw.rfind(SHOW) > terminal.raw.rfind(HIDE) >= 0
    assert not (served.folder / "abc123.webp").exists()
    assert served("download", "--wait", "abc123").code == 0
    assert (served.folder / "abc123.webp").read_bytes() == picture(300_000)


@pytest.mark.parametrize(
    ("end", "code"),
    [
        pytest.param(signal.SIGTERM, 143, id="SIGTERM"),
        pytest.param(None, 129, id="the window is closed"),
    ],
)
def test_an_end_from_outside_leaves_the_prediction_alone(
    end: signal.Signals | None, code: int, served: Cli, server: Server
) -> None:
    """SIGTERM restores the cursor and names the way back; a closed window ends the wait without a crash."""
    server.on_get(answer_json(prediction(status="processing")))
    with Terminal(served, "wait", "abc123") as terminal:
        terminal.until("processing")
        if end is None:
            terminal.hang_up()
            assert terminal.process.wait(TIMEOUT_SECONDS / 3) == code
        else:
            terminal.process.send_signal(end)
            assert terminal.finish() == code
            assert terminal.lines == [
                "cometrep: stopped by SIGTERM; left running: abc123",
                "hint: cometrep wait abc123",
            ]
            assert terminal.raw.rfind(SHOW) > terminal.raw.rfind(HIDE) >= 0
    assert {request.method for request in server.received} == {"GET"}


def test_several_waits_show_a_line_each(served: Cli, server: Server) -> None:
    """What runs has a live line each; what has ended stays as a line with its sign, id, status and time."""
    last = threading.Event()
    server.on("GET", "/replicate/v1/predictions/good", answer_json(prediction("good", output=["https://x.test/a"])))
    server.on("GET", "/replicate/v1/predictions/bad", answer_json(prediction("bad", "failed", error="boom")))
    server.on(
        "GET",
        "/replicate/v1/predictions/long",
        answer_json(prediction("long", "processing", logs=bar_at(75))),
        answer_json(prediction("long", "canceled"), wait_for=last),
    )
    with Terminal(served, "wait", "good", "bad", "long") as terminal:
        terminal.until("✓ good  succeeded", "✗ bad  failed", "flux-schnell processing", "75%")
        assert sum("flux-schnell" in line for line in terminal.lines) == 1
        last.set()
        assert terminal.finish() == 9
        told = [line for line in terminal.timeless if line.startswith(("✓", "✗"))]
        assert told == ["✓ good  succeeded  TIME", "✗ bad  failed  TIME", "✗ long  canceled  TIME"]
        results = [line.split() for line in terminal.lines if line.startswith(("good", "bad", "long"))]
        assert results == [["good", "succeeded"], ["bad", "failed"], ["long", "canceled"]]
        assert not any("flux-schnell" in line for line in terminal.lines)


@pytest.mark.parametrize("quiet", [(), ("-q",)], ids=["plain", "quiet"])
def test_ids_that_are_to_be_typed_are_asked_for(quiet: tuple[str, ...], served: Cli, server: Server) -> None:
    """Where `-` reads from the keyboard, a line says what the command waits for; not with -q."""
    server.on_get(answer_json(prediction(output=["https://x.test/a"])))
    with Terminal(served, "status", "-", *quiet) as terminal:
        if not quiet:
            terminal.until("reading ids from stdin; Ctrl-D ends it")
        terminal.type(b"abc123\n\x04")
        assert terminal.finish() == 0
        assert ("reading" in terminal.text) == (not quiet)
        assert terminal.lines[-1].split() == ["abc123", "succeeded"]


def test_one_look_says_its_result_once(served: Cli, server: Server) -> None:
    """On a terminal `status` shows a line an id, as it does in a pipe, and nothing is said twice."""
    server.on_get(answer_json(prediction(output=["https://x.test/a"])))
    with Terminal(served, "status", "abc123") as terminal:
        assert terminal.finish() == 0
        assert [line.split() for line in terminal.lines] == [["abc123", "succeeded"]]


def test_a_retry_is_told_on_the_live_line(served: Cli, server: Server) -> None:
    """A look that fails says why on the line that waits, and leaves nothing behind once one succeeds."""
    again = threading.Event()
    server.on_get(
        answer_json(prediction(status="processing")),
        Answer(503, b"busy"),
        answer_json(prediction(output=["https://x.test/a"]), wait_for=again),
    )
    with Terminal(served, "wait", "abc123", columns=100) as terminal:
        terminal.until("retry 1: HTTP 503")
        assert len(terminal.lines) == 1
        again.set()
        assert terminal.finish() == 0
        assert "503" not in terminal.text


@pytest.mark.parametrize(
    ("env", "has_colour", "is_animated"),
    [
        ({}, True, True),
        ({"NO_COLOR": "1"}, False, True),
        ({"CI": "1"}, True, False),
        ({"CI": "1", "FORCE_COLOR": "1", "TERM": "dumb"}, True, False),
        ({"TERM": "dumb"}, False, False),
        ({"COMETREP_PROGRESS": "bar", "CI": "1"}, True, False),
    ],
    ids=["plain", "NO_COLOR", "CI", "FORCE_COLOR in CI", "dumb", "bar in CI"],
)
def test_colour_and_animation_follow_the_environment(
    env: Mapping[str, str], has_colour: bool, is_animated: bool, served: Cli, server: Server
) -> None:
    """NO_COLOR takes the colour, CI and dumb terminals the animation; FORCE_COLOR gives back colour alone."""
    seen, saved = held(server)
    with Terminal(served, "run", SCHNELL, "prompt=cat", env=env) as terminal:
        terminal.until("processing")
        seen.set()
        saved.set()
        assert terminal.finish() == 0
        assert bool(COLOUR.search(terminal.raw)) == has_colour
        assert (HIDE in terminal.raw, FRAME in terminal.raw) == (is_animated, is_animated)
        assert terminal.raw.rfind(SHOW) >= terminal.raw.rfind(HIDE)
        other = re.sub(rb"\x1b\[[0-9;]*m|\x1b\[\?(25|7)[lh]|\x1b\[\d*[AJK]", b"", terminal.raw)
        assert b"\x1b" not in other
        assert terminal.lines[-1] == "abc123.webp"


@pytest.mark.parametrize(
    ("arguments", "is_silent"),
    [(("-q",), True), (("--progress", "none"), True), (("--progress", "lines"), False), (("-v",), False)],
    ids=["quiet", "none", "lines", "verbose"],
)
def test_nothing_is_drawn_where_that_was_not_wanted(
    arguments: tuple[str, ...], is_silent: bool, served: Cli, server: Server
) -> None:
    """Where a person asked for silence, for lines or for the requests, no frame is drawn."""
    for event in held(server):
        event.set()
    with Terminal(served, "run", SCHNELL, "prompt=cat", *arguments) as terminal:
        assert terminal.finish() == 0
        assert HIDE not in terminal.raw
        assert (terminal.lines == ["abc123.webp"]) == is_silent
        assert terminal.lines[-1] == "abc123.webp"


def test_a_narrow_terminal_keeps_the_live_line_on_one_line(served: Cli, server: Server) -> None:
    """On 40 columns the live line is shortened, never wrapped, and nothing of it stays."""
    seen, saved = held(server)
    with Terminal(served, "run", SCHNELL, "prompt=cat", columns=40) as terminal:
        terminal.until(lambda: terminal.raw.count(FRAME) >= 3, "25%")
        head = ["abc123  created  black-forest-labs/flux-", "schnell"]
        assert terminal.lines[:2] == head
        assert len(terminal.lines) == 3
        assert re.fullmatch(r"\S flux-schnell processing ━\S━+ 25% \d+s", terminal.lines[2])
        seen.set()
        saved.set()
        assert terminal.finish() == 0
        assert terminal.timeless == [*head, "✓ saved  3.0 kB  TIME", "abc123.webp"]


@pytest.mark.parametrize("screen", [pyte.Screen, ReflowingScreen], ids=["cuts", "breaks"])
@pytest.mark.parametrize("is_batch", [False, True], ids=["run", "batch"])
def test_a_resized_terminal_is_drawn_in_its_new_size(
    is_batch: bool, screen: type[pyte.Screen], served: Cli, server: Server
) -> None:
    """After the window has changed, what is drawn fits it, and nothing of the old lines is left."""
    (served.folder / "items.jsonl").write_text(json.dumps({"prompt": "cat"}) + "\n")
    batch = ("batch", "items.jsonl", "--model", SCHNELL)
    seen, saved = held(server)
    command = batch if is_batch else ("run", SCHNELL, "prompt=cat", "-q", "--progress", "bar")
    what, above, height = ("1 running", "", 2) if is_batch else ("25%", f"abc123  created  {SCHNELL}", 1)
    with Terminal(served, *command, columns=100, screen=screen) as terminal:
        terminal.until("━" * 10, what)
        for columns in (50, 38, 100):
            frames = terminal.raw.count(FRAME)
            terminal.resize(columns, 24)
            terminal.until(lambda frames=frames: terminal.raw.count(FRAME) >= frames + 3)  # type: ignore[misc]
            assert what in terminal.lines[-1]
            left = "".join(terminal.lines[:-height])  # which a screen that cuts has cut
            assert above.startswith(left)
            assert bool(left) == bool(above)
        seen.set()
        saved.set()
        assert terminal.finish() == 0
        assert not any(left in terminal.text for left in ("processing", "running", "━"))


def test_what_has_ended_does_not_hide_what_runs(served: Cli, server: Server) -> None:
    """What ended and waits for its turn in the results goes below what runs, with a sign."""
    last = threading.Event()
    ids = [f"id{number:02d}" for number in range(8)]
    for number, id in enumerate(ids):
        ended = answer_json(prediction(id, output="done"), wait_for=None if 0 < number < 5 else last)
        server.on(
            "GET",
            f"/replicate/v1/predictions/{id}",
            answer_json(prediction(id, "processing", logs=bar_at(25))),
            ended,
        )
    with Terminal(served, "wait", *ids, "-q", "--progress", "bar", lines=8) as terminal:
        terminal.until("and 2 more", lambda: terminal.text.count("✓") == 2)
        shown = [re.sub(r"\s+", " ", line).split(" ")[:3] for line in terminal.lines]
        assert {words[1] for words in shown[:4]} == {"id00", "id05", "id06", "id07"}
        assert {words[2] for words in shown[:4]} == {"processing"}
        assert [(words[0], words[2]) for words in shown[4:6]] == [("✓", "succeeded")] * 2
        last.set()
        assert terminal.finish() == 0


@pytest.mark.parametrize(
    "plain",
    [
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"LC_ALL": "C"},
        {"LC_ALL": "POSIX", "LANG": "en_US.UTF-8"},
        {"LANG": "C"},
    ],
    ids=["bare", "LC_ALL", "POSIX", "LANG"],
)
def test_a_terminal_without_unicode_gets_ascii(plain: Mapping[str, str], served: Cli, server: Server) -> None:
    """In a locale that is not UTF-8 the display is drawn in ASCII and nothing fails."""
    seen, saved = held(server)
    with Terminal(served, "run", SCHNELL, "prompt=cat", env=plain) as terminal:
        terminal.until("processing", "25%", "--")
        seen.set()
        saved.set()
        assert terminal.finish() == 0
        assert terminal.raw.isascii()
        assert terminal.timeless[-2:] == ["saved  3.0 kB  TIME", "abc123.webp"]


@pytest.mark.parametrize(
    "locale",
    [{"LC_ALL": "C.UTF-8", "LANG": "C"}, {"LC_ALL": "", "LANG": ""}, {"LC_ALL": "", "LANG": "C.utf8"}],
    ids=["LC_ALL", "nothing", "LANG"],
)
def test_a_terminal_with_unicode_gets_it(locale: Mapping[str, str], served: Cli, server: Server) -> None:
    """A locale of UTF-8, or none, shows signs and bars."""
    for event in held(server):
        event.set()
    with Terminal(served, "run", SCHNELL, "prompt=cat", env=locale) as terminal:
        assert terminal.finish() == 0
        assert "✓ saved  3.0 kB" in terminal.text


def test_ctrl_backslash_leaves_the_terminal_in_order(served: Cli, server: Server) -> None:
    """Ctrl-\\ ends the program as ever, with the cursor shown and no line left half-drawn."""
    held(server)
    with Terminal(served, "run", SCHNELL, "prompt=cat") as terminal:
        terminal.until("25%")
        terminal.type(b"\x1c")
        assert terminal.finish() == -signal.SIGQUIT
        assert "processing" not in terminal.text
        assert not terminal.screen.cursor.hidden


@pytest.mark.parametrize("arguments", [(), ("--json",)], ids=["paths", "json"])
def test_stdout_is_the_same_beside_a_live_display(arguments: tuple[str, ...], served: Cli, server: Server) -> None:
    """What goes to stdout is byte for byte the same with a live display on the terminal and without any."""
    for event in held(server, files=2):
        event.set()
    read_end, write_end = os.pipe()
    command = ("run", SCHNELL, "prompt=cat", "--overwrite", *arguments)
    with Terminal(served, *command, stdout=write_end) as terminal, os.fdopen(read_end, "rb") as stdout:
        os.close(write_end)
        assert terminal.finish() == 0
        beside = stdout.read()
        assert HIDE in terminal.raw
        assert "✓ saved abc123-0.webp" in terminal.text  # which stdout does not show here
    for event in held(server, files=2):
        event.set()
    assert served(*command).stdout.encode() == beside
    assert beside


def test_hostile_text_cannot_touch_the_terminal(served: Cli, server: Server) -> None:
    """Escape sequences, markup and control characters of a server are shown as text, live and at the end."""
    last = threading.Event()
    hostile = prediction(status="failed", error=HOSTILE, logs=HOSTILE + "\n", model=HOSTILE)
    server.on_get(
        answer_json({**hostile, "status": "paused\x1b[2J[red]x[/red]"}),
        answer_json(hostile, wait_for=last),
    )
    with Terminal(served, "wait", "abc123", "--logs", columns=120) as terminal:
        terminal.until("paused\\x1b[2J[red]x[/red]")
        last.set()
        assert terminal.finish() == 4
        assert terminal.screen.title == ""
        assert "[bold]b[/bold]" in terminal.text
        assert "\\u202eabc" in terminal.text
        for bad in (b"\x1b[31mred", b"\x1b]0", b"\x9b2J", b"\x07", b"\x00", "\u202e".encode(), b"\n::"):
            assert bad not in terminal.raw


def ledger_of(cli: Cli) -> Ledger:
    """Open the program's ledger, as for the real API."""
    path = cli.home / "cometrep" / "ledger.sqlite3"
    return Ledger(path, base_url="https://api.cometapi.com", is_sandbox=False)


def entries(cli: Cli, *prompts: str, model: str = SCHNELL) -> None:
    """Put predictions of a model into the ledger."""
    with contextlib.closing(ledger_of(cli)) as ledger:
        for number, prompt in enumerate(prompts):
            entry = ledger.begin(model, {"prompt": prompt})
            ledger.accept(entry, _accepted(f"{number:026d}"))


def _accepted(id: str) -> Prediction:
    return Prediction.from_json(prediction(id, "starting"))


def test_a_table_has_a_header_on_a_terminal(cli: Cli) -> None:
    """On a terminal `list` has a header and one line an entry, never broken, aligned and harmless."""
    entries(cli, "a cat " * 40, "two\twords", "\x1b[31m[bold]")
    with Terminal(cli, "list", columns=80) as terminal:
        assert terminal.finish() == 0
        assert terminal.lines[0].split() == ["ID", "STATUS", "AGE", "MODEL", "FILES", "PROMPT"]
        assert len(terminal.lines) == 4
        words = ("STATUS", "starting", "starting", "starting")
        assert len({line.index(word) for line, word in zip(terminal.lines, words, strict=True)}) == 1
        assert b"\x1b" not in terminal.raw


def test_a_table_fits_a_narrow_terminal(cli: Cli) -> None:
    """On 40 columns the ids stay whole, for they are typed again, and what finds no room is left out."""
    entries(cli, "a cat " * 40, "two words")
    with Terminal(cli, "list", columns=40) as terminal:
        assert terminal.finish() == 0
        assert len(terminal.lines) == 3
        assert terminal.lines[0].startswith("ID ")
        assert [len(line.split()[0]) for line in terminal.lines[1:]] == [26, 26]
        assert "starting" in terminal.lines[1]


@pytest.mark.parametrize("columns", [80, 60])
def test_the_lines_of_a_list_are_told_apart(columns: int, cli: Cli) -> None:
    """A model's owner goes before the end of its name does, and a column before all are cut to nothing."""
    for model in ("black-forest-labs/flux-1.1-pro-ultra", SCHNELL, "black-forest-labs/flux-dev"):
        entries(cli, "a cat on a mat, in the style of a woodcut", model=model)
    with Terminal(cli, "list", columns=columns) as terminal:
        assert terminal.finish() == 0
        header, *rows = terminal.lines
        assert header.split()[:4] == ["ID", "STATUS", "AGE", "MODEL"]
        assert [re.sub(r"^….*(?=pro)", "", row.split()[3]) for row in rows] == [
            "flux-dev",
            "flux-schnell",
            "pro-ultra",
        ]
        assert ("PROMPT" in header) == all("a cat on" in row for row in rows) == (columns == 80)
        assert max(map(len, terminal.lines)) <= columns


def test_a_table_without_unicode_is_cut_in_ascii(cli: Cli) -> None:
    """In a locale that is not UTF-8 the sign of a cut is three dots."""
    entries(cli, "a cat " * 40)
    with Terminal(cli, "list", env={"LC_ALL": "C"}) as terminal:
        assert terminal.finish() == 0
        assert terminal.raw.isascii()
        assert terminal.lines[1].endswith("...")


def test_the_table_of_models_fits_a_terminal(cli: Cli) -> None:
    """The name that is typed is whole, and what stands beside it says something."""
    with Terminal(cli, "models", lines=60) as terminal:
        assert terminal.finish() == 0
        schnell = next(line for line in terminal.lines if line.startswith(SCHNELL))
        assert "Fast text to" in schnell
        assert "READ IN" not in terminal.lines[0]


def test_the_origins_of_settings_are_told_on_a_narrow_terminal(cli: Cli) -> None:
    """They are what one asks for."""
    with Terminal(cli, "config", "show", env={"COMETREP_DIR": "pictures"}, columns=40, lines=60) as terminal:
        assert terminal.finish() == 0
        assert "ORIGIN  COMETREP_DIR" in terminal.text


@pytest.mark.parametrize("columns", [80, 40])
def test_what_an_input_takes_is_told_whole(columns: int, cli: Cli) -> None:
    """However narrow the terminal is: it is what one asks for."""
    with Terminal(cli, "models", SCHNELL, columns=columns, lines=90) as terminal:
        assert terminal.finish() == 0
        text = " ".join(terminal.text.split())
        assert all(ratio in text for ratio in ("1:1, 16:9,", "9:16, 9:21"))
        assert "…" not in text
        assert all(len(line) <= columns for line in terminal.lines)


def test_logs_stay_above_the_live_line(served: Cli, server: Server) -> None:
    """With --logs the model's lines stay on the screen, once each, and the live line stays below them."""
    last = threading.Event()
    server.on_get(
        answer_json(prediction(status="processing", logs="Using seed: 7\nloading\n")),
        answer_json(prediction(logs="Using seed: 7\nloading\ndone", output=["https://x.test/a"]), wait_for=last),
    )
    with Terminal(served, "wait", "abc123", "--logs") as terminal:
        terminal.until("| loading", "processing")
        assert terminal.lines[:2] == ["| Using seed: 7", "| loading"]
        assert "processing" in terminal.lines[2]
        last.set()
        assert terminal.finish() == 0
        assert terminal.lines[:3] == ["| Using seed: 7", "| loading", "| done"]
        assert not any("processing" in line for line in terminal.lines)


def test_a_batch_tells_why_an_item_failed(served: Cli, server: Server) -> None:
    """At 80 columns the live batch names the item and the reason, and `--status` its id too, each once."""
    failed, held_one = "15vn707jchrg60d21v0fbjw4ab", "25vn707jchrg60d21v0fbjw4ab"
    last = threading.Event()
    prompts = [f"A {animal} in a boat on a lake in the evening, as a woodcut" for animal in ("cat", "dog")]
    (served.folder / "p.jsonl").write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in prompts))
    server.on_create(*(answer_json(prediction(id, "starting")) for id in (failed, held_one)))
    ended = prediction(failed, "failed", error="the model gave up on it")
    server.on("GET", f"/replicate/v1/predictions/{failed}", answer_json(ended))
    server.on(
        "GET",
        f"/replicate/v1/predictions/{held_one}",
        answer_json(prediction(held_one, "processing")),
        answer_json(prediction(held_one, "canceled"), wait_for=last),
    )
    with Terminal(served, "batch", "p.jsonl", "-m", SCHNELL, "-j", "1") as terminal:
        terminal.until("1 running", "gave up")
        assert (
            terminal.lines[2] == "  failed  item 1 (A cat in a boat on a lake in the ev…  the model gave up on it"
        )
        last.set()
        assert terminal.finish() == 9
    with Terminal(served, "batch", "p.jsonl", "--status") as terminal:
        assert terminal.finish() == 0
        rows = [re.split(" {2,}", line) for line in terminal.lines[:3]]
        assert rows[0] == ["ITEM", "OUTCOME", "ID", "FILES OR ERROR"]
        assert rows[1][0].startswith("item 1 (A c")
        assert rows[1][1:] == ["failed", failed, "the model gave up on it"]
        assert rows[2][1:] == ["failed", held_one, "was canceled"]
    key = json.loads(served("batch", "p.jsonl", "--status", "--json").lines[0])["key"]
    assert served("batch", "p.jsonl", "--status").lines[0].split("\t")[0] == key


def test_json_on_a_terminal_is_one_whole_line(served: Cli, server: Server) -> None:
    """`--json` writes plain JSON on a terminal too, without colour or breaks."""
    server.on_get(answer_json(prediction(output=["https://x.test/a"])))
    with Terminal(served, "wait", "abc123", "--json", "-q") as terminal:
        assert terminal.finish() == 0
        (line,) = terminal.raw.splitlines()
        assert json.loads(line)["id"] == "abc123"


def test_a_model_that_is_known_says_how_long_it_usually_takes(served: Cli, server: Server) -> None:
    """Once the ledger has finished predictions of the model, the live line names their median."""
    entries(served, "one", "two", "three")
    with contextlib.closing(ledger_of(served)) as ledger:
        for number, seconds in enumerate((5, 6, 90)):
            ended = prediction(
                f"{number:026d}",
                output="done",
                created_at="2026-01-01T00:00:00Z",
                completed_at=f"2026-01-01T00:{seconds // 60:02d}:{seconds % 60:02d}Z",
            )
            ledger.see(Prediction.from_json(ended))
    seen, saved = held(server)
    with Terminal(served, "run", SCHNELL, "prompt=cat", "--overwrite") as terminal:
        terminal.until("usually 6.0 s")
        seen.set()
        saved.set()
        assert terminal.finish() == 0


def test_many_waits_do_not_outgrow_the_screen(served: Cli, server: Server) -> None:
    """A dozen waits on a screen of eight lines show what fits, by their ids, and how many are left out."""
    last = threading.Event()
    ids = [f"id{number:02d}" for number in range(12)]
    for id in ids:
        server.on(
            "GET",
            f"/replicate/v1/predictions/{id}",
            answer_json(prediction(id, "processing")),
            answer_json(prediction(id, "canceled"), wait_for=last),
        )
    with Terminal(served, "wait", *ids, "-q", "--progress", "bar", lines=8) as terminal:
        terminal.until("and 6 more")
        assert len(terminal.lines) <= 8
        assert sum(bool(re.match(r". id\d\d +processing", line)) for line in terminal.lines) == 6
        last.set()
        assert terminal.finish() == 5


def test_ctrl_z_where_no_shell_is_above_stops_nothing(served: Cli, server: Server) -> None:
    """Nobody could continue it there, as behind `ssh -t` or `docker exec`; it goes on as any program does."""
    seen, saved = held(server)
    with Terminal(served, "run", SCHNELL, "prompt=cat") as terminal:
        terminal.until("25%")
        terminal.process.send_signal(signal.SIGTSTP)
        terminal.until(lambda: terminal.raw.rfind(SHOW) > terminal.raw.find(HIDE))
        seen.set()
        saved.set()
        assert terminal.finish() == 0


@needs("bash")
def test_nothing_is_drawn_over_a_shell(served: Cli, server: Server) -> None:
    """What begins in a shell's background has plain lines; what is put there rests, and draws on in front."""
    seen = threading.Event()
    so_far = prediction(status="processing", logs=bar_at(25))
    server.on_create(answer_json(prediction(status="starting")))
    server.on_get(
        answer_json(so_far),
        answer_json(so_far),
        answer_json(so_far),
        answer_json(prediction(output=f"{server.url}/f/0.webp"), wait_for=seen),
    )
    server.on("GET", "/f/", Answer(200, picture(3000), WEBP))
    shell = Plain(served.home, served.folder, {**served.environment, "PS1": "$ "})
    with Terminal(shell, "bash", "--norc", "--noprofile", "-i", columns=200) as terminal:
        terminal.until("$")
        terminal.type(f"{served.shell} run {SCHNELL} prompt=cat &\r".encode())
        terminal.until("abc123  processing  ")
        terminal.type(b": still mine\r")
        terminal.until(": still mine\n$")
        seen.set()
        terminal.until("✓ saved", "abc123.webp")
        assert FRAME not in terminal.raw
        assert HIDE not in terminal.raw


@needs("bash")
def test_what_is_put_behind_a_shell_rests(served: Cli, server: Server) -> None:
    """Ctrl-Z and bg leave the screen to the shell, and fg draws on."""
    seen = threading.Event()
    so_far = prediction(status="processing", logs=bar_at(25))
    server.on_create(answer_json(prediction(status="starting")))
    server.on_get(answer_json(so_far), answer_json(prediction(output=f"{server.url}/f/0.webp"), wait_for=seen))
    server.on("GET", "/f/", Answer(200, picture(3000), WEBP))
    shell = Plain(served.home, served.folder, {**served.environment, "PS1": "$ "})
    with Terminal(shell, "bash", "--norc", "--noprofile", "-i", columns=200) as terminal:
        terminal.until("$")
        terminal.type(f"{served.shell} run {SCHNELL} prompt=cat\r".encode())
        terminal.until("flux-schnell processing", "25%")
        terminal.type(b"\x1a")
        terminal.until("Stopped")
        assert terminal.raw.rfind(SHOW) > terminal.raw.rfind(HIDE)
        assert "processing" not in terminal.text
        terminal.type(b"bg\r")
        terminal.until("&\n$")
        drawn = terminal.raw.count(FRAME)
        terminal.type(b": still mine\r")
        terminal.until(": still mine\n$")
        assert terminal.raw.count(FRAME) == drawn
        terminal.type(b"fg\r")
        seen.set()
        terminal.until("✓ saved")


def test_what_was_typed_before_a_question_is_no_answer(served: Cli, server: Server) -> None:
    """It was meant for another one, and this one pays; Ctrl-C there says that nothing was sent."""
    with Terminal(served, "batch", "--sweep", "-m", SCHNELL, "prompt=cat", "seed:=1..150") as terminal:
        terminal.type(b"y\r")
        terminal.until("Send 150 items? [y/N]")
        terminal.type(b"\x03")
        assert terminal.finish() == 130
        assert "cometrep: stopped by Ctrl-C; nothing was sent" in terminal.lines
    assert server.received == []


@pytest.mark.parametrize("keys", [b"\r", b"\x04", b"n\x04\x04"], ids=["Enter", "Ctrl-D", "Ctrl-D behind a word"])
def test_a_large_sweep_that_is_not_confirmed_says_so_on_a_line_of_its_own(
    keys: bytes, served: Cli, server: Server
) -> None:
    """However the question is left, nothing is sent."""
    with Terminal(served, "batch", "--sweep", "-m", SCHNELL, "prompt=cat", "seed:=1..150") as terminal:
        terminal.until("Send 150 items? [y/N]")
        terminal.type(keys)
        assert terminal.finish() == 2
        (line,) = [line for line in terminal.lines if "was not confirmed" in line]
        assert line.startswith("cometrep: a sweep of 150 items was not confirmed")
    assert server.received == []


def test_a_picture_that_comes_slowly_shows_its_bar_and_rate(served: Cli, server: Server) -> None:
    """While a file comes, its name, bytes and rate are on the screen in the prediction's place."""
    rest = threading.Event()
    body = picture(400_000)
    server.on_get(answer_json(prediction(output=f"{server.url}/f/0.webp")))
    server.on("GET", "/f/", Answer(200, body, WEBP, pieces=200_000, hold_after=(1, rest)))
    with Terminal(served, "download", "abc123") as terminal:
        terminal.until("saving", "200.0 kB", "/s")
        assert any(
            re.search(r"abc123\.webp saving ━+.* 200\.0 kB \d+s [\d.]+ \SB/s", line) for line in terminal.lines
        )
        rest.set()
        assert terminal.finish() == 0
        assert terminal.timeless == ["✓ saved  400.0 kB  TIME", "abc123.webp"]
