"""Where outputs are kept: what is told of what was saved."""

import time
from collections.abc import Generator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from cometrep import errors
from cometrep.events import Event, Noted, Saved
from cometrep.keeping import Keeper, LookAgain
from cometrep.prediction import Prediction, SavedFile
from tests.servers import SCHNELL, WEBP, Answer, Server, picture
from tests.workbench import Shelf


@pytest.mark.parametrize(
    ("other", "template", "hint", "remedy"),
    [
        ("q1", "{name}.{ext}", "add {id} to it: -o '{id}-{index}.{ext}'", "-o '{id}/{index}.{ext}'"),
        ("P1", "{id}-{index}.{ext}", "one command for each, with a folder of its own: -d DIR", "-d DIR"),
        ("P1", "", "one command for each, with a folder of its own: -d DIR", "-d DIR"),
    ],
    ids=["other ids", "ids that differ in case", "default names of such"],
)
def test_predictions_that_clash_are_kept_apart_by_what_is_advised(
    shelf: Shelf, server: Server, other: str, template: str, hint: str, remedy: str
) -> None:
    """No template tells ids apart that a file system takes for one."""
    keeper = shelf.keeper(template)
    with pytest.raises(errors.UsageError, match="one name") as raised:
        keeper.places.check_ids(["p1", other])
    assert raised.value.hint == hint
    prediction = made(server, "a.webp")
    kept(keeper, prediction)
    _, failure, _ = kept(keeper, prediction._replace(id=other))
    assert failure is not None
    assert (failure.code, failure.remedy) == ("name_clash", remedy)


def looked_again_by_mistake(id: str) -> Generator[Event, None, Prediction]:
    """Fail where a prediction is looked at once more."""
    pytest.fail(f"looked at {id} again")
    yield


def gone() -> Generator[Event, None, Prediction]:
    """Fail as a look does at a prediction that the API has forgotten."""
    raise errors.Refused("not found", code="prediction_not_found")
    yield


def kept(
    keeper: Keeper, prediction: Prediction, look_again: LookAgain = looked_again_by_mistake
) -> tuple[list[SavedFile], errors.CometrepError | None, list[Event]]:
    """Save a prediction's outputs, and give what came of it with its events."""
    saving = keeper.save(prediction, look_again)
    events: list[Event] = []
    while True:
        try:
            events.append(next(saving))
        except StopIteration as end:
            saved, failure = end.value
            return saved, failure, events


def made(server: Server, *names: str, **rest: Any) -> Prediction:
    """Make a prediction whose outputs are pictures on a server."""
    for number, name in enumerate(names):
        server.on("GET", f"/f/{name}", Answer(200, picture(3000, number), WEBP))
    output = [f"{server.url}/f/{name}" for name in names]
    return Prediction("p1", "succeeded", SCHNELL, output=output, created_at="2026-03-12T08:00:00Z", **rest)


def test_fewer_outputs_than_asked_for_are_told(shelf: Shelf, server: Server) -> None:
    """What came is saved, and a warning says how many did not; where a reply has no input the ledger's counts."""
    saved, failure, events = kept(shelf.keeper(), made(server, "a.webp", input={"num_outputs": 3}))
    assert (len(saved), failure, shelf.names()) == (1, None, ["p1.webp"])
    (warning,) = (event.text for event in events if isinstance(event, Noted) and event.is_warning)
    assert warning == "p1 has 1 of 3 outputs asked for; a filter may have dropped the rest"
    shelf.ledger.accept(shelf.ledger.begin(SCHNELL, {"num_outputs": 2}), Prediction("p1", "starting"))
    *_, events = kept(shelf.keeper(), made(server, "a.webp"))
    assert [event.text for event in events if isinstance(event, Noted)] == [warning.replace("1 of 3", "1 of 2")]


def test_a_file_that_was_left_alone_is_not_remembered_as_the_prediction_s(shelf: Shelf, server: Server) -> None:
    """It may be anything: another command would take it for the output, and fetch nothing."""
    prediction = made(server, "a.webp", "b.webp")
    shelf.folder.mkdir()
    (shelf.folder / "p1-0.webp").write_bytes(b"mine")
    saved, failure, events = kept(shelf.keeper(skips_existing=True), prediction)
    assert ([file.index for file in saved], failure) == ([1], None)
    assert [event.how for event in events if isinstance(event, Saved)] == ["skipped", "saved"]
    assert [file.index for file in shelf.ledger.files("p1")] == [1]


@pytest.mark.parametrize("is_known", [True, False], ids=["made here", "made elsewhere"])
@pytest.mark.parametrize("is_named", [True, False], ids=["saved", "whole, without its name"])
def test_what_another_server_made_is_not_taken_for_the_output(
    tmp_path: Path, server: Server, *, is_known: bool, is_named: bool
) -> None:
    """Its prediction may have the same id: what was paid for here is fetched, and the other's picture stays."""
    shelves = [Shelf(tmp_path, base_url=f"https://{name}.example") for name in "ab"]
    folder = shelves[0].folder
    folder.mkdir()
    if not is_named:
        (folder / "mine.webp").write_bytes(b"mine")
    for number, shelf in enumerate(shelves):
        if is_known:
            shelf.create("p1", SCHNELL)
        prediction = made(server, "a.webp", "b.webp")
        prediction = prediction._replace(output=prediction.output[number])
        keeper = shelf.keeper("mine.webp" if not (is_named or number) else "")
        saved, failure, _ = kept(keeper, prediction)
        shelf.ledger.close()
        if number == 0:
            assert bool(saved) is is_named
            continue
        assert server.count("GET", "/f/b.webp") == 1
        if is_named:
            assert failure is not None
            assert "exists and differs" in failure.message
        else:
            assert [Path(file.path).read_bytes() for file in saved] == [picture(3000, 1)]
    if is_named:
        assert (folder / "p1.webp").read_bytes() == picture(3000, 0)


def test_a_file_that_fails_leaves_the_others(shelf: Shelf, server: Server) -> None:
    """They are saved, told in order and remembered, and no sidecar says that this is all."""
    prediction = made(server, "a.webp", "b.webp", "c.webp")
    shelf.create("p1", SCHNELL)
    (shelf.folder / "p1-1.webp").mkdir(parents=True)
    saved, failure, events = kept(shelf.keeper(writes_sidecar=True), prediction)
    assert [Path(file.path).name for file in saved] == ["p1-0.webp", "p1-2.webp"]
    assert isinstance(failure, errors.Partial)
    assert failure.message == "1 of 3 failed"
    assert [event.file.index for event in events if isinstance(event, Saved)] == [0, 2]
    assert [file.index for file in shelf.ledger.files("p1")] == [0, 2]
    assert "no sidecar is written" in [event.text for event in events if isinstance(event, Noted)][-1]
    assert shelf.names() == ["p1-0.webp", "p1-1.webp", "p1-2.webp"]


@pytest.mark.parametrize("is_known", [True, False])
def test_where_the_rest_of_an_output_stands_is_told(shelf: Shelf, server: Server, *, is_known: bool) -> None:
    """A text that names an address of which no file can be had is not lost with it, where the ledger has it."""
    prediction = made(server, "a.webp", data_removed=True)
    server.on("GET", "/f/a.webp", Answer(404))
    prediction = prediction._replace(output=["See ", *prediction.output, " for more."])
    if is_known:
        shelf.create("p1", SCHNELL)
        shelf.ledger.see(prediction)
    saved, failure, events = kept(shelf.keeper(), prediction, lambda _: gone())
    assert (saved, failure.exit_code if failure else 0) == ([], 11)
    told = [event.text for event in events if isinstance(event, Noted) and event.is_warning]
    assert ("what else the output holds is in the ledger: cometrep list --json" in told[-1]) is is_known
    if is_known:
        assert [entry.output for entry in shelf.ledger.entries()] == [prediction.output]


def test_expired_files_are_looked_up_once_even_where_that_fails(shelf: Shelf, server: Server) -> None:
    """Each of several would spend a retry budget of its own; what failed is said of each."""
    looks: list[str] = []

    def look_again(id: str) -> Generator[Event, None, Prediction]:
        looks.append(id)
        raise errors.Temporary("cannot reach it")
        yield

    prediction = made(server, "a.webp", "b.webp", "c.webp")
    for name in "abc":
        server.on("GET", f"/f/{name}.webp", Answer(403))
    saved, failure, _ = kept(shelf.keeper(), prediction, look_again)
    assert saved == []
    assert failure is not None
    assert (failure.exit_code, looks) == (7, ["p1"])


@pytest.mark.parametrize(
    ("status", "age_seconds", "in_ledger", "is_over"),
    [
        (404, 60, "", False),
        (404, 3700, "", True),
        (404, None, "", True),
        (400, 60, "", False),
        (400, 3700, "", True),
        (400, None, "", False),
        (404, 3700, "just ended", False),
        (404, None, "just ended", False),
        (404, 60, "seen long ago", False),
        (400, None, "seen long ago", False),
    ],
)
def test_a_file_is_called_expired_after_its_hour_alone(
    shelf: Shelf, server: Server, *, status: int, age_seconds: int | None, in_ledger: str, is_over: bool
) -> None:
    """Before that the hint is left to who knows the command that asks again; after it, it is to create it again.

    The ledger knows the age by the clock of this machine, the reply by the server's. Where neither does, the status
    of a URL that has expired counts as that, and no other one. A ledger that last saw it run knows no end.
    """
    completed_at = age_seconds and datetime.fromtimestamp(time.time() - age_seconds, UTC).isoformat()
    prediction = made(server, "a.webp", completed_at=completed_at or "")
    server.on("GET", "/f/a.webp", Answer(status))
    shelf.age_seconds = 7200 if in_ledger == "seen long ago" else 0
    if in_ledger:
        shelf.create("p1", SCHNELL)
        shelf.ledger.see(prediction if in_ledger == "just ended" else prediction._replace(status="processing"))

    def look_again(_: str) -> Generator[Event, None, Prediction]:
        yield from ()
        return prediction

    saved, failure, _ = kept(shelf.keeper(), prediction, look_again)
    assert isinstance(failure, errors.OutputMissing)
    assert (saved, failure.code, failure.http_status) == ([], "output_expired", status)
    assert ("files live about an hour" in failure.message) is is_over
    assert failure.hint == ("cometrep rerun p1" if is_over else "")


@pytest.mark.parametrize("template", ["", "-"], ids=["to a file", "to stdout"])
def test_an_output_that_the_sandbox_removed_is_looked_for_nowhere(
    tmp_path: Path, server: Server, template: str
) -> None:
    """Its addresses in the ledger are of a port that another program may serve; what was saved still counts."""
    shelf = Shelf(tmp_path, is_sandbox=True)
    shelf.create("p1", SCHNELL)
    prediction = made(server, "a.webp")
    shelf.ledger.see(prediction)
    removed = prediction._replace(output=None, data_removed=True)
    saved, failure, _ = kept(shelf.keeper(template), removed)
    assert isinstance(failure, errors.OutputMissing)
    assert (saved, failure.code, failure.hint) == ([], "output_expired", "cometrep rerun p1")
    assert server.received == []
    kept(shelf.keeper(), prediction)
    saved, failure, _ = kept(shelf.keeper(), removed)
    assert (len(saved), failure) == (1, None)
    shelf.ledger.close()


@pytest.mark.parametrize(("age_seconds", "is_over"), [(60, False), (3700, True)])
def test_a_success_without_output_may_still_come_within_its_hour(
    shelf: Shelf, server: Server, *, age_seconds: int, is_over: bool
) -> None:
    """Then the hint is the command that asks again, and why that may help is said; after it, one that shows all."""
    completed_at = datetime.fromtimestamp(time.time() - age_seconds, UTC).isoformat()
    prediction = made(server, "a.webp", completed_at=completed_at)._replace(output=None)

    def look_again(_: str) -> Generator[Event, None, Prediction]:
        yield from ()
        return prediction

    _, failure, _ = kept(shelf.keeper(), prediction, look_again)
    assert failure is not None
    told = "prediction p1 reported success without any output"
    assert failure.message == (told if is_over else f"{told}; it may still come")
    assert failure.hint == ("cometrep status p1 --json" if is_over else "")


@pytest.mark.parametrize(
    ("output", "age_seconds", "hint"),
    [
        ("data:image/png;base64,%%", 60, ""),
        ("data:image/png;base64,%%", 3700, "cometrep rerun p1"),
        ("data:image/png;base64,", 3700, "cometrep rerun p1"),
        ("http://[", 3700, "cometrep status p1 --print url"),
    ],
    ids=["broken", "broken, after its hour", "empty, after its hour", "an address that is none"],
)
def test_a_broken_output_is_asked_for_again_within_its_hour_alone(
    shelf: Shelf, output: str, age_seconds: int, hint: str
) -> None:
    """After it the command that asks again would fail for ever."""
    completed_at = datetime.fromtimestamp(time.time() - age_seconds, UTC).isoformat()
    _, failure, _ = kept(shelf.keeper(), Prediction("p1", "succeeded", output=[output], completed_at=completed_at))
    assert failure
    assert (failure.code, failure.hint) == ("output_broken", hint)


@pytest.mark.parametrize(
    ("output", "is_told"),
    [
        ("ftp://files.test/cat.png", True),
        (["file:///tmp/cat.png"], True),
        ("https:/files.test/cat.png\n", True),
        ("see ftp://files.test/cat.png", False),
        ("note: a cat", False),
        ("C:/cats/cat.png", False),
        ("a cat", False),
    ],
)
def test_an_address_that_is_not_fetched_is_told(shelf: Shelf, output: str | list[str], *, is_told: bool) -> None:
    """It is saved as the text that it is, which a model may have meant, and nobody takes it for the picture."""
    prediction = Prediction("p1", "succeeded", SCHNELL, output=output)
    (saved,), failure, events = kept(shelf.keeper(), prediction)
    assert (failure, Path(saved.path).read_text()) == (None, prediction.output_text())
    told = [event.text for event in events if isinstance(event, Noted) and event.is_warning]
    address = (prediction.output_text() or "").strip()
    assert (
        told == [f"the output of p1 is an address that is not fetched, and is saved as text: {address}"] * is_told
    )
