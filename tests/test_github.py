"""What a GitHub Actions step is told, and that no value can tell it anything else."""

import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cometrep import errors
from cometrep.calls import within
from cometrep.console import github
from cometrep.events import BatchEnded, ItemEnded, Result, Saved, Tally
from cometrep.prediction import Prediction, SavedFile
from tests.conftest import TIMEOUT_SECONDS, on_posix


def result(
    id: str = "p1", status: str = "succeeded", *paths: str, failure: errors.CometrepError | None = None
) -> Result:
    """Make the end of one prediction."""
    files = tuple(SavedFile(path, index, 1200, "0" * 64) for index, path in enumerate(paths))
    return Result(id, Prediction(id, status, model="owner/name"), files, failure)


def read_outputs(text: str) -> dict[str, str]:
    """Read outputs as GitHub's runner does (actions/runner: src/Runner.Worker/FileCommandManager.cs)."""
    lines, found = iter(text.splitlines()), {}
    for line in lines:
        name, _, delimiter = line.partition("<<")
        value = []
        while (inner := next(lines)) != delimiter:
            value.append(inner)
        found[name] = "\n".join(value)
    return found


def test_outputs_of_one_prediction() -> None:
    """Id, status, the first path and all paths."""
    assert read_outputs(github.outputs([result("p1", "succeeded", "a.webp", "b.webp")])) == {
        "id": "p1",
        "status": "succeeded",
        "path": "a.webp",
        "paths": "a.webp\nb.webp",
    }


def test_outputs_of_several_predictions() -> None:
    """Several predictions have a line each."""
    told = read_outputs(github.outputs([result("p1", "succeeded", "a.webp"), result("p2", "failed")]))
    assert told == {"id": "p1\np2", "status": "succeeded\nfailed", "path": "a.webp", "paths": "a.webp"}


def test_a_prediction_that_was_never_seen_is_told_so() -> None:
    """It has an id and no status, as where the API does not know it."""
    unseen = Result("p1", None, (), errors.Refused("no such prediction"))
    told = read_outputs(github.outputs([unseen]))
    assert told == {"id": "p1", "status": "not seen", "path": "", "paths": ""}
    assert github.summary([unseen]).splitlines()[2] == "| p1 |  | not seen: no such prediction |  |"


def test_outputs_of_a_batch() -> None:
    """A line each item that ended, and how many of all came to what end: what earlier runs did is done too."""
    file = SavedFile("a.webp", 0, 1200, "0" * 64)
    items = [ItemEnded("p1", "a", "a", "done", "", (file,)), ItemEnded("p2", "b", "b", "failed", "")]
    tally = Tally(total=9, done=1, failed=1, unknown=1, skipped=2, running=0, saving=0, ended=3, elapsed_seconds=1)
    outputs, summary = github.of_batch(BatchEnded(tally, {}, (), None), items)
    assert read_outputs(outputs) == {
        **{"id": "p1\np2", "status": "done\nfailed", "path": "a.webp", "paths": "a.webp"},
        **{"total": "9", "done": "3", "failed": "1", "unknown": "1", "left": "4"},
    }
    assert "| 9 | 3 | 1 | 1 | 4 |" in summary


def test_an_entity_of_html_is_no_sign_in_a_cell() -> None:
    """Of a text that holds one the summary shows the text."""
    row = github.summary([result(failure=errors.PredictionFailed("&lt;b&gt; <i>"))]).splitlines()[2]
    assert re.findall(r"&[a-z]+|[<>]", row) == ["&amp", "&amp", "&lt", ">"]


def test_outputs_of_nothing() -> None:
    """A command that ended before any prediction sets empty outputs."""
    assert read_outputs(github.outputs([])) == {"id": "", "status": "", "path": "", "paths": ""}


def test_delimiters_are_random() -> None:
    """No two outputs, and no two runs, have a delimiter in common."""
    text = github.outputs([result()]) + github.outputs([result()])
    assert len(set(re.findall(r"<<(\S+)", text))) == 8


@given(status=st.text(), path=st.text(min_size=1))
def test_no_value_reaches_beyond_its_output(status: str, path: str) -> None:
    """Whatever a status or a path holds, there are four outputs with as many lines as there are values."""
    told = read_outputs(github.outputs([result("p1", status, path)]))
    assert list(told) == ["id", "status", "path", "paths"]
    assert told["id"] == "p1"
    assert "\n" not in told["status"] + told["path"]


@given(message=st.text(), model=st.text())
def test_no_text_reaches_beyond_its_cell(message: str, model: str) -> None:
    """Whatever a message or a model holds, the summary is one row of four cells without Markdown or HTML."""
    failed = Result("p1", Prediction("p1", "failed", model=model), (), errors.PredictionFailed(message))
    lines = github.summary([failed]).split("\n")
    assert len(lines) == 5
    assert len(re.findall(r"(?<!\\)\|", lines[2])) == 5
    assert "<" not in lines[2]
    assert not re.search(r"(?<!\\)[\[\]`*_!]", lines[2])


MOST_BYTES = 1 << 20  # of a step's summary that GitHub takes


def test_what_a_server_says_at_length_is_cut() -> None:
    """Of an error of megabytes the step is told how it begins, in the log and in the summary."""
    message = f"prediction p1 failed: {'x' * 3_000_000}"
    failed = Result("p1", Prediction("p1", "failed", model="m" * 3_000_000), (), errors.PredictionFailed(message))
    tally = Tally(1, 0, 1, 0, 0, 0, 0, 1, 1.0)
    _, of_batch = github.of_batch(BatchEnded(tally, {4: 1}, (message,) * 5, None), [])
    for told in (github.error(message), github.summary([failed]), github.summary([], message), of_batch):
        assert "failed: xxxx" in told.replace("\\", "")
        assert len(told) < 30_000


@pytest.mark.parametrize(("count", "files"), [(20_000, 1), (300, 90), (40, 5000)])
def test_a_summary_has_as_many_rows_as_github_shows(count: int, files: int) -> None:
    """However many predictions there are, and files of each, the summary is shown, and says what it leaves out."""
    text = github.summary([result(f"p{number}", "succeeded", *["f" * 50] * files) for number in range(count)])
    assert len(text.encode()) < MOST_BYTES
    rows = re.findall(r"(?m)^\| p\d", text)
    assert rows
    assert re.findall(r"(?m)^(\d+) rows left out$", text) == [str(count - len(rows))] * (len(rows) < count)
    assert text.count(f" and {files - 100} more |") == (len(rows) if files > 100 else 0)


def test_a_summary_leaves_room_for_what_stands_there(tmp_path: Path) -> None:
    """The steps of a job that was written in one go may each tell of many predictions."""
    report = github.Report(is_batch=False)
    for number in range(4000):
        report.take(result(f"p{number}", "succeeded", "f" * 50))
    for _ in range(4):
        assert not list(report.tell(None, "", [], lambda name: str(tmp_path / name)))
    assert MOST_BYTES / 2 < (tmp_path / "GITHUB_STEP_SUMMARY").stat().st_size < MOST_BYTES


def test_a_file_that_went_to_stdout_has_no_path(tmp_path: Path) -> None:
    """It stood in a temporary place, and is gone as the command ends."""
    report = github.Report(is_batch=False)
    report.take(Saved("p1", SavedFile("/tmp/x/p1.png", 0, 1, "00"), "stdout"))
    assert not list(report.tell(None, "closed", ["p1"], lambda name: str(tmp_path / name)))
    assert read_outputs((tmp_path / "GITHUB_OUTPUT").read_text())["paths"] == ""


@on_posix
def test_a_pipe_that_nobody_reads_is_not_waited_for(tmp_path: Path) -> None:
    """That is said, and the command ends; one that is read is told as a file is."""
    paths = {name: tmp_path / name for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
    for path in paths.values():
        os.mkfifo(path)
    reader = os.open(paths["GITHUB_OUTPUT"], os.O_RDONLY | os.O_NONBLOCK)
    report = github.Report(is_batch=False)
    report.take(result())
    try:
        problems = within(TIMEOUT_SECONDS, lambda: list(report.tell(None, "", [], lambda name: str(paths[name]))))
        assert read_outputs(os.read(reader, 10_000).decode())["id"] == "p1"
    finally:
        os.close(reader)
    [problem] = problems
    assert problem.startswith(f"cannot write {paths['GITHUB_STEP_SUMMARY']}: ")


@given(message=st.text())
def test_an_error_is_one_command(message: str) -> None:
    """Whatever a message holds, it is one line that begins with the one command."""
    told = github.error(message)
    assert told.splitlines() in ([told], [])
    assert told.startswith("::error title=cometrep::")
    assert "##[" not in told


@pytest.mark.parametrize(
    ("message", "told"),
    [("100% sure", "100%25 sure"), ("a\n::set-output name=x::y", "a\\n::set-output name=x::y")],
)
def test_an_error_is_escaped(message: str, told: str) -> None:
    """Per cents and line breaks are written as the runner reads them back, or as text."""
    assert github.error(message) == f"::error title=cometrep::{told}"
