"""What a command shows while it runs: in logs, for programs, and where it is to be silent."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from cometrep import errors
from cometrep.console import display
from cometrep.console.display import shortened
from cometrep.console.screen import Screen
from cometrep.console.stage import new_display
from cometrep.events import Created, Event, Noted, Result, Retrying, Saved, Saving, Seen, Slow, Waiting
from cometrep.prediction import Prediction, SavedFile
from tests.servers import SCHNELL

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


def created(id: str = ID, model: str = SCHNELL) -> Created:
    """Make the beginning of a prediction."""
    return Created(Prediction(id, "starting", model))


def seen(id: str = ID, status: str = "processing", progress: float | None = None, **rest: Any) -> Seen:
    """Make a look at a prediction."""
    return Seen(Prediction(id, status, rest.pop("model", SCHNELL), progress=progress, **rest), 1.0)


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
        Saved("p", SAVED.at("odd\x1b/abc.webp"), "kept"),
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
        "already saved odd\\x1b/abc.webp  3.0 kB",
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
    monkeypatch.setattr(display, "JSON_SAVING_SECONDS", 1e12)  # more than any machine has been up
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


def test_silence_has_warnings_alone(paper: Paper) -> None:
    """Whatever else happens is not shown; a warning is, and logs where they were asked for."""
    quiet = (created(), seen(logs="a line\n"), Slow(ID, 9.0), Saved(ID, SAVED), Noted(ID, "a note"))
    warning = Noted(ID, "look\rout", is_warning=True)
    assert paper.show("none", *quiet, warning) == ["cometrep: warning: look\\rout"]
    assert "| a line" in paper.show("none", *quiet, shows_logs=True)
