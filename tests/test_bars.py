"""The live lines of a command while it runs, on a screen of any size, and that they leave it in order."""

import io
import os
import re
import sys
import threading
from collections.abc import Callable
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
from cometrep.console.bars import Bars
from cometrep.console.display import Animated
from cometrep.console.live import Live
from cometrep.console.screen import Screen
from cometrep.events import Creating, Event, Expected, Noted, Result, Retrying, Saved, Saving, Seen, Waiting
from cometrep.prediction import Prediction
from tests.conftest import TIMEOUT_SECONDS, no_more_threads
from tests.servers import SCHNELL
from tests.test_display import ID, SAVED, Paper, created, seen

SHOW = "\x1b[?25h"  # the cursor


def drawn(animated: Animated, width: int, height: int = 24) -> list[str]:
    """Give the lines that are drawn on a screen of a size."""
    paper = io.StringIO()
    Console(file=paper, width=width, force_terminal=True, color_system="standard").print(
        animated._table(width, height)
    )
    return [line.rstrip() for line in re.sub(r"\x1b\[[0-9;]*m", "", paper.getvalue()).split("\n")[:-1]]


def bars(*events: Event, speaks_unicode: bool = True) -> Bars:
    """Make a live display that has taken some events, and draws nothing by itself."""
    made = Bars(Screen(None, lambda text: None, is_terminal=True, speaks_unicode=speaks_unicode))
    for event in events:
        made.take(event)
    made.close()
    return made


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
    assert "usually" not in drawn(shown, 80)[0]
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


def test_what_lasts_stays_on_the_screen() -> None:
    """A create, a file, an end without files and a warning leave a line each; what waits leaves none."""
    failed = Prediction("other", "failed", SCHNELL)
    lines = Paper().show(
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
    sys._getframe().f_trace_opcodes = True  # Python 3.12 sends such events to no tracer that was set before this
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


def test_what_a_shell_wrote_meanwhile_is_not_erased(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the command was put behind it just after its lines were drawn."""
    monkeypatch.setattr(Live, "_run", lambda self: None)
    written: list[str] = []
    live = Live(Screen(None, written.append, is_terminal=True), lambda width, height: "a line")
    live.start()
    live._draw()
    monkeypatch.setattr(Screen, "is_in_front", False)
    live.stop()
    assert written[-1] == SHOW


def test_nothing_begins_to_be_drawn_aside() -> None:
    """Ctrl-Z may come in the middle of the first imports of what draws, which then cannot be made a second time."""
    waiting = Bars(Screen(None, lambda text: None, is_terminal=True))
    waiting._update(seen(ID, "processing", 0.5))
    with waiting.aside():
        pass
    assert waiting._live is None


def test_a_terminal_that_takes_nothing_does_not_hold_up_the_end() -> None:
    """What draws waits for it, and is left behind; the cursor is shown if it takes bytes again."""
    is_stuck, is_free = threading.Event(), threading.Event()
    written: list[str] = []

    def write(text: str) -> None:
        if threading.current_thread() is not threading.main_thread():
            is_stuck.set()
            is_free.wait()
        written.append(text)

    screen = Screen(None, write, is_terminal=True, patience=lambda: 0.05)
    live = Live(screen, lambda width, height: "a line")
    live.start()
    try:
        assert is_stuck.wait(TIMEOUT_SECONDS)
        live.stop()
        live.start()
        assert written[-1].endswith(SHOW)
        assert not live.is_on
    finally:
        is_free.set()
