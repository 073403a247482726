"""What a command shows while it runs, on a screen of any size, in logs and for programs; tables beside it."""

import io
import json
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from types import FrameType
from typing import Any

import pyte
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from cometrep import errors
from cometrep.console import display
from cometrep.console.display import Animated, Bars, new_display, shortened
from cometrep.console.live import Live
from cometrep.console.screen import Screen
from cometrep.events import (
    Created,
    Creating,
    Event,
    Expected,
    Noted,
    Result,
    Retrying,
    Saved,
    Saving,
    Seen,
    Slow,
    Waiting,
)
from cometrep.prediction import Prediction, SavedFile
from tests.conftest import no_more_threads
from tests.servers import SCHNELL

HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"  # the cursor

ID = "15vn707jchrg60d21v0fbjw4ab"
SAVED = SavedFile("abc.webp", 0, 3000, "0" * 64, "image/webp", "https://x.test/abc.webp")


@dataclass
class Paper:
    """What lines for people are written on; a mode's display writes there."""

    written: list[str] = field(default_factory=list)

    def show(self, mode: str, *events: Event, **abilities: Any) -> list[str]:
        """Show events as a mode does, and give the lines that were written."""
        shown = new_display(mode, Screen(None, self.written.append, **abilities))
        for event in events:
            shown.take(event)
        shown.close()
        return "".join(self.written).splitlines()


@pytest.fixture
def paper() -> Paper:
    """A sheet with nothing on it."""
    return Paper()


def drawn(animated: Animated, width: int, height: int = 24) -> list[str]:
    """Give the lines that are drawn on a screen of a size."""
    paper = io.StringIO()
    Console(file=paper, width=width, force_terminal=True, color_system="standard").print(
        animated._table(width, height)
    )
    return [line.rstrip() for line in re.sub(r"\x1b\[[0-9;]*m", "", paper.getvalue()).split("\n")[:-1]]


def test_a_display_that_gets_no_thread_is_not_drawn() -> None:
    """A system that is full of processes stops no prediction; the lines that stay are written all the same."""
    written: list[str] = []
    shown = Bars(Screen(None, written.append, is_terminal=True))
    with no_more_threads():
        shown.take(created())
        shown.take(Saved(ID, SAVED, "saved"))
        shown.close()
    assert "abc.webp" in "".join(written)


@pytest.mark.parametrize(("columns", "width"), [("0", 80), ("", 80), ("30", 30)])
def test_columns_of_0_are_those_of_the_terminal(monkeypatch: pytest.MonkeyPatch, columns: str, width: int) -> None:
    """As for shells: some programs set that where nobody has told them."""
    monkeypatch.setattr(os, "get_terminal_size", lambda _: os.terminal_size((80, 24)))
    monkeypatch.setenv("COLUMNS", columns)
    written: list[str] = []
    Live(Screen(None, written.append, is_terminal=True), lambda width, height: f"{width} columns")._draw()
    assert f"{width} columns" in "".join(written)


def bars(*events: Event, speaks_unicode: bool = True) -> Bars:
    """Make a live display that has taken some events, and draws nothing by itself."""
    made = Bars(Screen(None, lambda text: None, is_terminal=True, speaks_unicode=speaks_unicode))
    for event in events:
        made.take(event)
    made.close()
    return made


def created(id: str = ID, model: str = SCHNELL) -> Created:
    """Make the beginning of a prediction."""
    return Created(Prediction(id, "starting", model))


def seen(id: str = ID, status: str = "processing", progress: float | None = None, **rest: Any) -> Seen:
    """Make a look at a prediction."""
    return Seen(Prediction(id, status, rest.pop("model", SCHNELL), progress=progress, **rest), 1.0)


# The live lines


@pytest.mark.parametrize(
    ("width", "expected"),
    [
        (10, r"\S flux… p"),
        (20, r"\S flux-… processing"),
        (30, r"\S flux-schnell processing 25% 0s|\S flux-\S+… processing 25% 0s"),
        (40, r"\S flux-schnell processing ━\S*━ 25% 0s"),
        (60, r"\S flux-schnell processing ━\S*━ 25% 0s usually 45 s"),
        (80, r"\S flux-schnell processing ━\S{12,}━ 25% 0s usually 45 s"),
        (200, r"\S flux-schnell processing ━\S{22}━ 25% 0s usually 45 s"),
    ],
)
def test_a_line_that_waits_fits_every_width(width: int, expected: str) -> None:
    """What changes is whole and the label is shortened first; the bar, then the note, come where there is room."""
    waiting = bars(created(), Expected(ID, 45.0), seen(progress=0.25))
    (line,) = drawn(waiting, width)
    assert re.fullmatch(expected, line)
    assert cell_len(line) < width


@pytest.mark.parametrize("width", [20, 40, 60, 80, 200])
def test_several_lines_share_their_columns(width: int) -> None:
    """Status, percentage and time stand in columns; ids tell the predictions apart, and no reason just ends."""
    ids = ["15vn707jchrg60d21v0fbjw4ab", "25vn707jchrg60d21v0fbjw4ab", "third"]
    waiting = bars(
        *(seen(id, progress=0.25) for id in ids[:2]),
        seen("third", "starting"),
        Retrying("third", "HTTP 503 busy", 1, 1),
    )
    lines = drawn(waiting, width)
    assert [line[2:5] for line in lines] == ["15v", "25v", "thi"]
    assert [line.find(line.split()[2]) for line in lines] == [lines[0].find("processing")] * 3
    assert all(cell_len(line) < width for line in lines)
    if width >= 40:
        assert ["25%" in line for line in lines] == [True, True, False]
        assert all(re.search(r" 0s( |$)", line) for line in lines)
    assert [id in line for id, line in zip(ids, lines, strict=True)] == [width > 40, width > 40, True]
    assert any("━" in line for line in lines) == (width > 40)
    told = lines[2].partition(" 0s")[2].strip()
    assert told in ("", "retry 1: HTTP 503 busy") or (told.endswith("…") and len(told) >= 12)
    assert bool(told) == (width > 60)


NAME = "a-rather-long-name-for-a-picture-of-a-boat-on-a-lake-in-the-evening.webp"


@pytest.mark.parametrize(("width", "is_whole"), [(40, False), (80, False), (200, True)])
def test_a_long_file_name_is_cut_where_there_is_no_room(width: int, is_whole: bool) -> None:
    """While a file is saved its amount and time stay whole; its name is shortened only where it has to be."""
    (line,) = drawn(bars(Saving(ID, 0, NAME, 200_000, 400_000)), width)
    assert re.fullmatch(r"\S a-rather-lo\S* saving( [━╸╺]+)? 200\.0 kB 0s( [\d.]+ [kMG]?B/s)?", line)
    assert (NAME in line, "…" in line) == (is_whole, not is_whole)
    assert cell_len(line) < width


@given(
    st.lists(
        st.tuples(st.text(max_size=60), st.text(max_size=30), st.none() | st.floats(0, 1), st.text(max_size=60)),
        min_size=1,
        max_size=6,
    ),
    st.integers(6, 130),
    st.integers(1, 9),
    st.booleans(),
)
@example([("\u0301", "", None, "")], 6, 1, False)
@settings(max_examples=150)
def test_whatever_is_told_stays_within_the_screen(
    told: list[tuple[str, str, float | None, str]], width: int, height: int, speaks_unicode: bool
) -> None:
    """Any model, status and reason, in any script, is drawn in lines below the screen's width and its height."""
    waiting = bars(speaks_unicode=speaks_unicode)
    for number, (model, status, progress, reason) in enumerate(told):
        waiting._update(seen(f"id{number}", status, progress, model=model))
        waiting._update(Retrying(f"id{number}", reason, 1, 1.0))
    lines = drawn(waiting, width, height)
    assert len(lines) <= max(1, height - 1)
    assert all(cell_len(line) < width for line in lines)
    assert not re.search(r"[\x00-\x1f\x7f-\x9f]", "".join(lines))


def test_what_has_ended_goes_below_what_runs() -> None:
    """With a sign in place of the spinner, and of what does not fit the number is told."""
    ids = [f"id{number}" for number in range(8)]
    ends = {"id1": "succeeded", "id2": "failed"}
    waiting = bars(*map(seen, ids), *(seen(id, status) for id, status in ends.items()))
    lines = drawn(waiting, 80, height=24)
    assert [line.split()[1] for line in lines[:6]] == ["id0", "id3", "id4", "id5", "id6", "id7"]
    assert [line.split()[:3] for line in lines[6:]] == [["✓", "id1", "succeeded"], ["✗", "id2", "failed"]]
    *shown, more = drawn(waiting, 80, height=8)
    assert [line.split()[1] for line in shown] == ["id0", "id3", "id4", "id5", "id6", "id7"]
    assert more == "  and 2 more"


def test_a_prediction_that_is_saved_has_the_lines_of_its_files() -> None:
    """A create's line becomes the prediction's, that one its files', and at the end nothing is left to draw."""
    shown = bars(Creating("", SCHNELL))
    assert "flux-schnell sending" in drawn(shown, 80)[0]
    shown.take(created())
    assert "flux-schnell starting" in drawn(shown, 80)[0]
    shown.take(Saving(ID, 0, "a.webp", 500, 1000))
    shown.take(Saving(ID, 1, "b.webp", 10, None))
    assert [line.split()[1] for line in drawn(shown, 80)] == ["a.webp", "b.webp"]
    shown.take(Saved(ID, SAVED))
    assert [line.split()[1] for line in drawn(shown, 80)] == ["b.webp"]
    shown.take(Result(ID, Prediction(ID, "succeeded", SCHNELL)))
    shown.close()
    assert drawn(shown, 80) == [""]


def test_a_screen_without_unicode_is_drawn_in_ascii() -> None:
    """Spinner, cuts and signs have their plain forms."""
    waiting = bars(seen("id0"), seen("id1", "failed"), seen("i" * 60, "processing"), speaks_unicode=False)
    lines = drawn(waiting, 40)
    assert all(line.isascii() for line in lines)
    assert any("..." in line for line in lines)


def test_what_lasts_stays_on_the_screen(paper: Paper) -> None:
    """A create, a file, an end without files and a warning leave a line each; what waits leaves none."""
    failed = Prediction("other", "failed", SCHNELL)
    lines = paper.show(
        "bar",
        created(),
        Waiting(ID, "processing", 30.0),
        seen("other"),
        Seen(failed, 2.0),
        Saved(ID, SAVED),
        Result(ID, Prediction(ID, "succeeded", SCHNELL), (SAVED,)),
        Noted(ID, "look out", is_warning=True),
        Result("other", failed, (), errors.PredictionFailed("it failed")),
        is_terminal=True,
    )
    screen = pyte.Screen(80, 24)
    pyte.Stream(screen).feed("\r\n".join(lines))
    lasting = [re.sub(r"\d\.\d s", "TIME", line.rstrip()) for line in screen.display if line.strip()]
    assert lasting == [
        f"{ID}  created  {SCHNELL}",
        "✓ saved abc.webp  3.0 kB  TIME",
        "cometrep: warning: look out",
        "✗ other  failed  TIME",
    ]


@pytest.mark.parametrize(
    ("text", "width", "expected", "in_ascii"),
    [
        ("short", 5, "short", "short"),
        ("longer", 5, "long…", "lo..."),
        ("狐狐狐", 5, "狐狐…", "狐..."),
        ("狐狐狐", 4, "狐 …", " ..."),
        ("cut… off", 5, "cut…", "cu..."),
        ("cut... off", 7, "cut...…", "cut..."),
        ("longer", 1, "l", "l"),
        ("longer", 0, "", ""),
    ],
)
def test_a_text_is_cut_to_columns(text: str, width: int, expected: str, in_ascii: str) -> None:
    """With a sign that something is missing, where there is room for one; wide characters are never halved."""
    for speaks_unicode, wanted in ((True, expected), (False, in_ascii)):
        assert shortened(text, width, Screen(None, print, speaks_unicode=speaks_unicode)) == wanted


# Lines, JSON and silence


def test_logs_get_a_line_a_change(paper: Paper) -> None:
    """A status is told once, what nobody sees change is not told, and each trouble has its line."""
    lines = paper.show(
        "lines",
        created("p"),
        seen("p", "starting"),
        seen("p"),
        seen("p", progress=0.5),
        Waiting("p", "processing", 30.0),
        Slow("", 5.0),
        Slow("p", 65.0),
        Retrying("p", "HTTP 503", 2, 1.26),
        Saving("p", 0, "abc.webp", 10, 20),
        Saved("p", SAVED),
        Saved("p", SAVED, "kept"),
        Saved("p", SAVED, "skipped"),
        Saved("p", SAVED, "stdout"),
        Noted("p", "asking again"),
        Noted("p", "look out", is_warning=True),
        seen("p", "succeeded"),
    )
    assert lines == [
        f"p  created  {SCHNELL}",
        "p  processing  1s",
        "p  still processing  30s",
        "no answer to the create for 5s; still waiting",
        "p  no answer from the API for 1m5s; still waiting",
        "p  attempt 2 failed: HTTP 503; the next in 1.3s",
        "saved abc.webp  3.0 kB",
        "already saved abc.webp  3.0 kB",
        "skipped, it exists: abc.webp  3.0 kB",
        "asking again",
        "cometrep: warning: look out",
        "p  succeeded  1s",
    ]


def test_a_file_that_takes_long_has_a_sign_of_life(paper: Paper, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each by itself, now and then, and not as its last bytes come."""
    events = [Saving("p", 0, "a.webp", 10, 2000), Saving("q", 0, "b\n.webp", 10, None), Saving("p", 0, "a", 9, 9)]
    assert paper.show("lines", *events, *events) == []
    monkeypatch.setattr(display, "SAVING_LINE_SECONDS", 0.0)
    assert paper.show("lines", *events) == [
        "p  still saving a.webp  10 bytes of 2.0 kB",
        "q  still saving b\\n.webp  10 bytes",
    ]


@pytest.mark.parametrize(
    ("mode", "line_of"),
    [
        ("lines", lambda line: line.removeprefix("| ") if line.startswith("| ") else None),
        ("json", lambda line: json.loads(line).get("line")),
    ],
)
def test_a_models_own_lines_are_shown_once_each(
    paper: Paper, mode: str, line_of: Callable[[str], str | None]
) -> None:
    """Only whole lines until the end; of a bar that redraws itself the last state, and of blank ones none."""
    logs = "Using seed: 7\r\n\n 10%|#\r 50%|#####\r100%|##########\nhalf a li"
    steps = (logs[:5], logs[:30], logs, logs)
    shown = paper.show(
        mode, *(seen(logs=step) for step in steps), seen(status="succeeded", logs=logs + "ne"), shows_logs=True
    )
    assert [line for line in map(line_of, shown) if line] == ["Using seed: 7", "100%|##########", "half a line"]
    paper.written.clear()
    assert not any(map(line_of, paper.show(mode, seen(logs=logs), shows_logs=False)))


@pytest.mark.parametrize("mode", ["lines", "bar", "none"])
def test_a_log_line_of_one_of_several_predictions_names_it(mode: str, paper: Paper) -> None:
    """Lines of several logs come mixed."""
    both = (seen("id1", logs="one\n"), seen("id2", logs="two\n"), seen("id1", logs="one\nmore\n"))
    shown = paper.show(mode, *both, shows_logs=True, names_logs=True)
    plain = [re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|\r", "", line) for line in shown]
    assert [line for line in plain if " | " in line] == ["id1  | one", "id2  | two", "id1  | more"]


def test_programs_get_an_object_a_change(paper: Paper, monkeypatch: pytest.MonkeyPatch) -> None:
    """Status and progress are told when they change, bytes now and then and at their end, each with its time."""
    monkeypatch.setattr(display, "SAYING_SECONDS", 1000.0)
    failure = errors.PredictionFailed("it failed", code="failed")
    lines = paper.show(
        "json",
        created("p"),
        seen("p", progress=0.5),
        seen("p", progress=0.5),
        Slow("", 5.0),
        Retrying("p", "HTTP 503", 1, 0.12345),
        Saving("p", 0, "abc.webp", 10, 30),
        Saving("p", 0, "abc.webp", 20, 30),
        Saving("p", 0, "abc.webp", 30, 30),
        Saved("p", SAVED),
        Noted("p", "look out\x1b", is_warning=True, hint="cometrep list"),
        Result("p", Prediction("p", "failed", SCHNELL), (), failure, 1.23456),
    )
    assert all(line.isascii() and line.isprintable() for line in lines)
    told = [json.loads(line) for line in lines]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:]{8}\.\d{3}Z", event.pop("time")) for event in told)
    assert told == [
        {"event": "created", "id": "p", "model": SCHNELL, "status": "starting"},
        {"event": "status", "id": "p", "status": "processing", "elapsed_seconds": 1.0},
        {"event": "progress", "id": "p", "progress": 0.5, "elapsed_seconds": 1.0},
        {"event": "slow", "id": None, "seconds": 5.0},
        {"event": "retry", "id": "p", "attempt": 1, "pause_seconds": 0.123, "reason": "HTTP 503"},
        {"event": "saving", "id": "p", "index": 0, "name": "abc.webp", "bytes": 10, "total_bytes": 30},
        {"event": "saving", "id": "p", "index": 0, "name": "abc.webp", "bytes": 30, "total_bytes": 30},
        {"event": "saved", "id": "p", "how": "saved", **SAVED.as_json()},
        {"event": "note", "id": "p", "text": "look out\x1b", "is_warning": True, "hint": "cometrep list"},
        {
            "event": "result",
            "id": "p",
            "status": "failed",
            "exit_code": failure.exit_code,
            "code": "failed",
            "files": [],
            "elapsed_seconds": 1.235,
        },
    ]


@pytest.mark.parametrize(("kept", "step"), [(1000, 300), (500, 300), (500, 480)])
def test_a_log_that_loses_its_beginning_is_shown_on(paper: Paper, kept: int, step: int) -> None:
    """A host may keep no more than the end of a long log: every line is shown once, and whole."""
    whole = "".join(f"line {number}\n" for number in range(400))
    steps = [whole[max(0, end - kept) : end] for end in range(step, len(whole) + step, step)]
    shown = paper.show(
        "none", *(seen(logs=step) for step in steps), seen(status="succeeded", logs=steps[-1]), shows_logs=True
    )
    assert shown == [f"| line {number}" for number in range(400)]


def cut_into(live: Live, due: int, signal: Callable[[], None]) -> int:
    """Begin and end live lines, with a signal at the `due`th step of Python in there; give how many there were."""
    moments = 0

    def traced(frame: FrameType, event: str, _: object) -> Any:
        nonlocal moments
        if frame.f_code not in (Live.start.__code__, Live.stop.__code__):
            return None
        frame.f_trace_opcodes = True
        moments += event == "opcode"
        if event == "opcode" and moments == due:
            sys.settrace(None)
            signal()
        return traced

    before = sys.gettrace()
    sys.settrace(traced)
    try:
        live.start()
        live.stop()
    finally:
        sys.settrace(before)
    return moments


def test_a_signal_leaves_the_screen_in_order_whatever_it_cuts_into(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-Z ends the drawing and begins it anew, in the middle of its end or its beginning too."""
    monkeypatch.setattr(Live, "_run", lambda self: None)
    written: list[str] = []

    def made() -> Live:
        return Live(Screen(None, written.append, is_terminal=True), lambda width, height: "")

    def showing(live: Live) -> Animated:
        display = bars(seen(ID, "processing"))
        display._live = live
        return display

    def suspend(display: Animated) -> None:
        with display.aside():
            assert not "".join(written).rpartition(SHOW)[2]

    moments = cut_into(made(), 0, lambda: None)
    assert moments > 50
    for due in range(1, moments + 1):
        written.clear()
        live = made()
        cut_into(live, due, partial(suspend, showing(live)))
        assert written[-1].endswith(SHOW), f"at moment {due}"
        assert not live.is_on


def test_nothing_begins_to_be_drawn_aside() -> None:
    """Ctrl-Z may come in the middle of the first imports of what draws, which then cannot be made a second time."""
    waiting = Bars(Screen(None, lambda text: None, is_terminal=True))
    waiting._update(seen(ID, "processing", 0.5))
    with waiting.aside():
        pass
    assert waiting._live is None


def test_silence_has_warnings_alone(paper: Paper) -> None:
    """Whatever else happens is not shown; a warning is, and logs where they were asked for."""
    quiet = (created(), seen(logs="a line\n"), Slow(ID, 9.0), Saved(ID, SAVED), Noted(ID, "a note"))
    warning = Noted(ID, "look\rout", is_warning=True)
    assert paper.show("none", *quiet, warning) == ["cometrep: warning: look\\rout"]
    assert "| a line" in paper.show("none", *quiet, shows_logs=True)
