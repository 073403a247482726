"""How far a batch is: in words, on a screen of any size, in logs and for programs."""

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from cometrep.console import board
from cometrep.console.board import LiveBoard, new_board, summary_lines, tally_text
from cometrep.console.screen import Screen
from cometrep.events import BatchEnded, Created, Event, ItemEnded, Noted, Retrying, Saved, Tally
from cometrep.prediction import Prediction, SavedFile
from tests.test_bars import drawn


def tally(**counts: Any) -> Tally:
    """Make how far a batch of ten is."""
    names = ("done", "failed", "unknown", "skipped", "running", "saving", "ended")
    return Tally(**{"total": 10, **dict.fromkeys(names, 0), "elapsed_seconds": 0.0, **counts})


def ended(outcome: str, label: str = "item 1", text: str = "") -> ItemEnded:
    """Make the end of an item."""
    return ItemEnded("p1", "key1", label, outcome, text)


def shown(mode: str, *events: Event) -> list[str]:
    """Show events as a mode does, and give the lines that were written."""
    written: list[str] = []
    showing = new_board(mode, Screen(None, written.append))
    for event in events:
        showing.take(event)
    showing.close()
    return "".join(written).splitlines()


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ({}, "0/10, 0 done"),
        ({"running": 3}, "0/10, 0 done, 3 running"),
        (
            {"done": 4, "ended": 4, "running": 2, "saving": 1, "elapsed_seconds": 60.0},
            "4/10, 4 done, 2 running, 1 saving, 4 items/min, 1 min 30 s left",
        ),
        (
            {"done": 2, "failed": 1, "unknown": 1, "skipped": 3, "ended": 4, "elapsed_seconds": 2.0},
            "7/10, 2 done, 1 failed, 3 skipped, 1 in doubt, 120 items/min, 1.5 s left",
        ),
        ({"skipped": 9, "running": 1, "elapsed_seconds": 5.0}, "9/10, 0 done, 9 skipped, 1 running"),
        ({"done": 10, "ended": 10, "elapsed_seconds": 5.0}, "10/10, 10 done, 120 items/min"),
        (
            {"done": 4, "ended": 4, "running": 1, "elapsed_seconds": 60.0, "is_stopping": True},
            "4/10, 4 done, 1 running, 4 items/min, finishing what runs",
        ),
    ],
    ids=["new", "begun", "going", "mixed", "resumed", "whole", "stopping"],
)
def test_a_tally_is_one_line_of_what_there_is(counts: dict[str, Any], expected: str) -> None:
    """Counts of nothing are left out; what earlier runs did counts as ended, and says nothing of the rate."""
    assert tally_text(tally(**counts)) == expected


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ({"done": 10, "ended": 10, "elapsed_seconds": 5.0}, "10 done, 0 failed, 0 skipped  5.0 s  2.0 items/s"),
        (
            {"done": 1, "unknown": 2, "skipped": 3, "ended": 3, "elapsed_seconds": 90.0},
            "1 done, 0 failed, 3 skipped, 2 in doubt, 4 left  1 min 30 s  0.033 items/s",
        ),
    ],
    ids=["whole", "in part"],
)
def test_a_summary_counts_all_items(counts: dict[str, Any], expected: str) -> None:
    """Its first line has the counts, the time and the rate; the first failures follow, made harmless."""
    lines = summary_lines(BatchEnded(tally(**counts), {}, ("cat: HTTP 422\x1b[2J", "and 3 more"), None))
    assert lines == [expected, "  cat: HTTP 422\\x1b[2J", "  and 3 more"]


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_the_bar_and_its_tally_fit_every_width(width: int) -> None:
    """The bar is as full as the batch, and what finds no room beside it is cut, with a sign."""
    live = LiveBoard(Screen(None, lambda text: None, is_terminal=True))
    live.take(ended("failed", "cat", "HTTP 422: " + "a long reason " * 20))
    live.take(tally(done=4, failed=1, ended=5, running=2, elapsed_seconds=60.0))
    live.close()
    bar, told, last = drawn(live, width)
    assert re.fullmatch("[━╸╺]+", bar)
    assert len(bar) == min(width - 1, board.WIDEST_BAR)
    assert told.startswith("5/10, 4 done, 1 f")
    assert told.endswith("1 min left" if width > 60 else "…")
    assert last.startswith("  failed  cat  HTT")
    assert last.endswith("…")
    assert all(cell_len(line) < width for line in (bar, told, last))


def test_only_the_last_events_stand_below_the_bar() -> None:
    """As many as the screen has lines for; on a very low one none, and nothing before the first tally."""
    live = LiveBoard(Screen(None, lambda text: None, is_terminal=True))
    for number in range(9):
        live.take(ended("done", f"item {number}"))
    live.take(Retrying("", "HTTP 429", 1, 1.0))
    live.take(tally(done=9))
    live.close()
    below = [line.strip() for line in drawn(live, 80)[2:]]
    assert below == ["done  item 6", "done  item 7", "done  item 8", "HTTP 429"]
    assert [len(drawn(live, 80, height)) for height in (24, 7, 6, 5, 4, 3)] == [6, 5, 4, 3, 2, 2]


@given(
    st.lists(st.tuples(st.text(max_size=40), st.text(max_size=80)), max_size=6),
    st.integers(2, 130),
    st.integers(3, 9),
    st.booleans(),
)
@settings(max_examples=100)
def test_no_text_leaves_its_line(
    told: list[tuple[str, str]], width: int, height: int, speaks_unicode: bool
) -> None:
    """Any label and reason, in any script, is drawn within the screen."""
    live = LiveBoard(Screen(None, lambda text: None, is_terminal=True, speaks_unicode=speaks_unicode))
    for label, text in told:
        live.take(ended("failed", label, text))
    live.take(tally(failed=len(told)))
    live.close()
    lines = drawn(live, width, height)
    assert len(lines) < height
    assert all(cell_len(line) < width for line in lines)
    assert not re.search(r"[\x00-\x1f\x7f-\x9f]", "".join(lines))


def test_an_item_in_doubt_is_told_as_it_is_counted() -> None:
    """In logs and beneath the bar; programs get the word of the record."""
    doubted = ended("unknown", "cat", "no answer")
    assert shown("lines", doubted) == ["cat  in doubt: no answer"]
    live = LiveBoard(Screen(None, lambda text: None, is_terminal=True))
    live.take(doubted)
    live.take(tally(unknown=1))
    live.close()
    assert [line.strip() for line in drawn(live, 80)[1:]] == [
        "1/10, 0 done, 1 in doubt",
        "in doubt  cat  no answer",
    ]
    assert json.loads(*shown("json", doubted))["outcome"] == "unknown"


def test_logs_get_the_first_failures_and_a_tally_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of what is done, nor of each retry; after so many of an outcome the record has the rest."""
    monkeypatch.setattr(board, "FAILURES_SHOWN", 2)
    monkeypatch.setattr(board, "RETRY_LINE_SECONDS", 1e12)  # more than any machine has been up
    retry = Retrying("", "item 4: HTTP 429", 1, 2.0)
    failures = [ended("failed", f"item {number}", "HTTP 422\x07") for number in range(4)]
    events: tuple[Event, ...] = (
        ended("done"),
        *(ended("skipped", f"item {number}", "it exists") for number in range(4, 8)),
        *failures,
        retry,
        retry,
        Noted("", "finishing"),
        Noted("p1", "asking again"),
        tally(done=1),
    )
    assert shown("lines", *events) == [
        "item 4  skipped: it exists",
        "item 5  skipped: it exists",
        "item 0  failed: HTTP 422\\x07",
        "item 1  failed: HTTP 422\\x07",
        "item 4: HTTP 429; again in 2.0 s",
        "finishing",
    ]
    monkeypatch.setattr(board, "LINE_SECONDS", 0.0)
    assert shown("lines", tally(done=1), tally(done=2)) == ["1/10, 1 done", "2/10, 2 done"]


def test_what_a_server_says_at_length_is_cut() -> None:
    """Of a failure of megabytes people are told how it begins, as it happens and at the end."""
    failure = "HTTP 422: " + "x" * 3_000_000
    over = BatchEnded(tally(failed=10), {4: 10}, (f"item 1: {failure}",), None)
    for line in (*shown("lines", ended("failed", "item 1", failure)), *summary_lines(over)[1:]):
        assert "HTTP 422: xxxx" in line
        assert len(line) < 5000


def test_programs_get_items_and_a_tally_a_second_with_the_last_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tallies that come too soon after another are left out, but for the one that the batch ends with."""
    monkeypatch.setattr(board, "JSON_TALLY_SECONDS", 0.0)
    often = shown("json", *(tally(done=number) for number in range(3)))
    assert [json.loads(line)["done"] for line in often] == [0, 1, 2]
    file = SavedFile("a.webp", 0, 10, "0" * 64)
    monkeypatch.setattr(board, "JSON_TALLY_SECONDS", 1e12)  # more than any machine has been up
    lines = shown(
        "json",
        Created(Prediction("p1", "starting", "a/b")),
        tally(running=1, elapsed_seconds=0.12345),
        tally(running=2),
        Saved("p1", file),
        ended("failed", text="HTTP 422"),
        tally(failed=1),
        Retrying("", "HTTP 429", 2, 1.5, "key2"),
    )
    told = [json.loads(line) for line in lines]
    assert [event["event"] for event in told] == ["created", "tally", "saved", "item", "retry", "tally"]
    assert (told[1]["running"], told[1]["left"], told[1]["elapsed_seconds"]) == (1, 10, 0.123)
    assert told[3] | {"time": ""} == {
        "event": "item",
        "time": "",
        "id": "p1",
        "key": "key1",
        "outcome": "failed",
        "text": "HTTP 422",
    }
    assert json.loads(*shown("json", ended("done")))["text"] is None
    assert list(told[4].values())[2:] == [None, "key2", 2, 1.5, "HTTP 429"]
    assert (told[5]["failed"], told[5]["left"], told[5]["id"]) == (1, 9, None)


def test_silence_has_warnings_alone() -> None:
    """As everywhere."""
    events = (ended("failed"), tally(), Noted("", "a note"), Noted("", "look out", is_warning=True))
    assert shown("none", *events) == ["cometrep: warning: look out"]
    assert shown("bar", *events[2:]) == ["cometrep: warning: look out"]
