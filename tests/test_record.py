"""A batch's record: what is read of it whatever a death left, and who may write it."""

import contextlib
import fcntl
import json
import multiprocessing
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cometrep import errors, hints
from cometrep.batch.record import Gone, Record
from cometrep.batch.standings import NEW, State
from cometrep.batch.steps import records_in
from cometrep.calls import within
from cometrep.locks import lock
from tests.conftest import TIMEOUT_SECONDS


@pytest.fixture(autouse=True)
def closed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Close every record that a test makes."""
    made: list[Record] = []
    begin = Record.__init__

    def noted(self: Record, *arguments: Any, **options: Any) -> None:
        begin(self, *arguments, **options)
        made.append(self)

    monkeypatch.setattr(Record, "__init__", noted)
    yield
    for record in made:
        record.close()


@pytest.fixture
def record(tmp_path: Path) -> Record:
    """An open record."""
    opened = Record(tmp_path / "out")
    opened.open()
    return opened


def again(record: Record) -> Record:
    """Close a record and open it as the next run does."""
    record.close()
    opened = Record(record.folder)
    opened.read()
    return opened


@given(cut=st.integers(1, 200), tail=st.binary(max_size=30))
def test_a_torn_last_line_is_passed_over_and_does_not_eat_the_next(
    tmp_path_factory: pytest.TempPathFactory, cut: int, tail: bytes
) -> None:
    """Whatever a death left at the end, what stands before it and what comes after it is read."""
    folder = tmp_path_factory.mktemp("record")
    one = Record(folder)
    one.open()
    one.add("created", "first", id="abc")
    one.add("created", "second", id="x" * 200)
    one.close()
    content = one.path.read_bytes()
    one.path.write_bytes(content[: -min(cut, 200)] + tail.replace(b"\n", b""))
    two = Record(folder)
    two.open()
    two.add("created", "third", id="def")
    two.close()
    found = again(two)
    assert (found.standing("first").id, found.standing("third").id) == ("abc", "def")


@pytest.mark.parametrize(
    "line",
    [
        *(b"\x00\x01garbage", b"[]", b'{"other": 1}', b'{"step": 3}', b"x" * 9),
        *(
            b'{"step":"saved","key":"k","files":%s}' % files
            for files in (b"5", b"null", b'["a"]', b"[{}]", b'[{"path":"a"}]', b'[{"path":5,"index":0}]')
        ),
    ],
)
def test_a_line_that_nobody_wrote_stops_the_batch(record: Record, line: bytes) -> None:
    """What stood there may have been a paid prediction: it is not passed over as a torn line is."""
    record.add("created", "k", id="abc")
    with record.path.open("ab") as file:
        file.write(line + b"\n")
    record.add("created", "other", id="def")
    with pytest.raises(errors.LocalFileError, match="line 2 is no step") as refused:
        again(record)
    assert subprocess.run(refused.value.hint, shell=True, check=False).returncode == 0
    assert again(record).standing("other").id == "def"
    assert record.path.with_name("batch.jsonl.damaged").read_bytes() == line + b"\n"


@pytest.mark.parametrize("key", ["k", ""])
def test_a_step_of_a_newer_version_stops_the_batch(record: Record, key: str) -> None:
    """What it means nobody here knows, and taken for no step of the item it would have that paid for again."""
    record.add("saved", "k", id="abc")
    record.add("rehashed", key, id="abc")
    with pytest.raises(errors.LocalFileError, match="newer cometrep: it has the step 'rehashed'") as refused:
        again(record).standing("k")
    assert (refused.value.code, refused.value.hint) == ("record", hints.NEWEST)


def test_no_line_is_lost_where_several_are_damaged(record: Record) -> None:
    """Each of them may be the only trace of something paid for: the hint's command keeps all that it takes out."""
    record.add("created", "k", id="abc")
    with record.path.open("ab") as file:
        file.write(b"one\ntwo\n")
    for _ in range(2):
        with pytest.raises(errors.LocalFileError, match="line 2 is no step") as refused:
            again(record)
        assert subprocess.run(refused.value.hint, shell=True, check=False).returncode == 0
    assert again(record).standing("k").id == "abc"
    assert record.path.with_name("batch.jsonl.damaged").read_text() == "one\ntwo\n"


@pytest.mark.parametrize(
    ("steps", "is_open"),
    [
        (["sending"], True),
        (["sending", "doubt"], True),
        (["sending", "unsent", "sending"], True),
        (["sending", "unsent"], False),
        (["sending", "refused"], False),
    ],
    ids=["no answer", "in doubt", "sent again", "not sent", "refused"],
)
def test_a_create_that_may_have_been_accepted_keeps_its_folder(
    tmp_path: Path, steps: list[str], is_open: bool
) -> None:
    """Another API would leave what may be paid for behind, and the first one be refused for ever."""
    first = Record(tmp_path, api="https://one.test")
    first.open()
    first.add_header()
    for step in steps:
        first.add(step, "k", error="no", model="a/b", input={})
    first.close()
    for api in ("https://other.test", "sandbox"):
        other = Record(tmp_path, api=api)
        with pytest.raises(errors.UsageError, match="not ") if is_open else contextlib.nullcontext():
            other.read()
    same = Record(tmp_path, api="https://one.test")
    same.read()


@pytest.mark.parametrize("content", [b'{"custom_id":"r1"}', b'{"custom_id":"r1"}\n', b"a,b\n1,2\n", b"[1"])
def test_a_file_of_the_records_name_that_is_none_is_left_alone(tmp_path: Path, content: bytes) -> None:
    """Other programs have a batch.jsonl too: nothing is appended to theirs, and no hint takes a line out of it."""
    (tmp_path / "batch.jsonl").write_bytes(content)
    one = Record(tmp_path)
    with pytest.raises(errors.LocalFileError, match="is no record of a batch") as refused:
        one.open()
    one.close()
    assert refused.value.hint == hints.ELSEWHERE
    assert (tmp_path / "batch.jsonl").read_bytes() == content


@pytest.mark.parametrize("name", ["batch.jsonl", "batch.1-2.jsonl"])
@pytest.mark.parametrize("take_up", [Record.open, Record.read])
def test_a_pipe_of_the_records_name_is_said_to_be_none(
    tmp_path: Path, name: str, take_up: Callable[[Record], None]
) -> None:
    """What was written into it would be lost, and all be sent again; nor is it waited for."""
    os.mkfifo(tmp_path / name)
    with pytest.raises(errors.LocalFileError, match=f"{name} is no regular file"):
        within(TIMEOUT_SECONDS, partial(take_up, Record(tmp_path)))


def test_what_a_power_cut_leaves_is_torn(record: Record) -> None:
    """Zeros at the end of the file, and in a line that was not whole, are no step and hide none."""
    record.add("created", "k", id="abc")
    record.close()
    with record.path.open("ab") as file:
        file.write(b'{"step":"crea\0\0\0\n\0\0\0')
    for number in range(2):
        found = again(record)
        found.open()
        found.add("created", f"other{number}", id="def")
        found.close()
    found = again(record)
    assert [found.standing(key).id for key in ("k", "other0", "other1")] == ["abc", "def", "def"]


def test_a_create_that_left_is_on_the_disk(record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a power cut takes away of the record is never that something may be paid for."""
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(os.fstat(file).st_size))
    record.add("sending", "k")
    assert synced == [record.path.stat().st_size]


def test_nothing_is_sent_that_the_next_run_would_not_know_of(record: Record) -> None:
    """Once its record was removed, or its folder moved; what came of those that left is written all the same."""
    record.add("sending", "k")
    record.path.rename(record.path.with_name("moved"))
    with pytest.raises(errors.LocalFileError, match=r"is not where it was.*; nothing more is sent"):
        record.add("sending", "other")
    record.path.touch()  # as another run may have
    with pytest.raises(errors.LocalFileError, match="nothing more is sent"):
        record.add("sending", "other")
    record.add("created", "k", id="abc")
    assert record.path.with_name("moved").read_text().count("\n") == 2


def test_a_record_that_nothing_came_of_is_none(tmp_path: Path) -> None:
    """An empty one beside what other commands saved looks as if it were lost, and the folder would be refused."""
    record = Record(tmp_path)
    record.open()
    record.close()
    assert not record.path.exists()
    record.open()
    other = Record(tmp_path)
    with pytest.raises(errors.LocalFileError):
        other.open()
    assert record.path.exists()
    record.add_header(total=1)
    record.close()
    assert record.path.exists()


def test_a_record_that_was_removed_as_it_was_opened_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that was refused removes the one that it made, and another may have opened that a moment before."""
    record = Record(tmp_path)
    removed: list[Path] = []

    def late(*values: Any, **rest: Any) -> bool:
        if not removed:
            removed.append(record.path)
            record.path.unlink()
        return lock(*values, **rest)

    monkeypatch.setattr("cometrep.batch.record.lock", late)
    record.open()
    record.add("sending", "k")
    assert removed
    assert again(record).standing("k").state is State.UNKNOWN


@pytest.mark.parametrize("strays", [5, True, "abc", None, {"a": 1}])
def test_a_header_that_somebody_edited_stops_no_batch(record: Record, strays: object) -> None:
    """What it says of items that there are no more is left out."""
    record.add_header(total=1, gone=1, strays=strays)
    assert again(record).gone.ids == ()


def test_a_step_is_newer_than_those_before_it_whatever_the_clock_shows(tmp_path: Path) -> None:
    """Where another machine's clock, or this one's before, was ahead, what was sent again is still the newest."""
    ahead = Record(tmp_path, (1, 1), now=lambda: 90_000.0)
    ahead.open()
    ahead.add("refused", "k", error="no")
    ahead.close()
    for number in range(2):
        one = Record(tmp_path, now=lambda: 3_600.0)
        one.open()
        one.add("saved", "k", id=f"id{number}")
        one.close()
        found = Record(tmp_path)
        found.read()
        assert (found.standing("k").state, found.standing("k").id) == (State.DONE, f"id{number}")
        found.close()


def test_what_items_that_are_no_more_left_is_told_for_a_day(tmp_path: Path) -> None:
    """Their predictions are not to be had any longer, as the next run finds and as the last one wrote."""
    one = Record(tmp_path, now=lambda: 0.0)
    one.open()
    one.add("created", "k", id="abc")
    one.add_header(gone=1, strays=["abc"])
    one.close()
    for day, ids in ((0.9, ("abc",)), (2, ())):
        found = Record(tmp_path, now=lambda day=day: day * 86_400.0)  # type: ignore[misc]
        found.read()
        assert found.open_items() == (1, dict.fromkeys(("k",) * len(ids), "abc"))
        assert found.gone == (1, ids)


def test_a_run_that_follows_another_leaves_no_line_that_is_none(record: Record) -> None:
    """Programs read the record line by line, and only what a death tore is ended by a line of its own."""
    for number in range(2):
        record.add("sending", f"k{number}")
        record.close()
        record = Record(record.folder)
        record.open()
    assert [json.loads(line)["key"] for line in record.path.read_text().splitlines()] == ["k0", "k1"]


def test_who_only_looks_is_in_no_batchs_way(record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    """To see whether the record is held takes its lock for a moment."""
    record.close()
    flock, looks = fcntl.flock, iter([True])

    def looked_at(file: int, mode: int) -> None:
        if next(looks, False):
            raise BlockingIOError
        flock(file, mode)

    monkeypatch.setattr(fcntl, "flock", looked_at)
    record.open()
    assert next(looks, None) is None


def test_a_batch_of_another_api_is_refused_once_it_made_predictions(tmp_path: Path) -> None:
    """A rehearsal's items are not what was asked for; where nothing was made, the next run may go elsewhere."""
    for step, is_bound in (("refused", False), ("created", True)):
        one = Record(tmp_path, api="https://one")
        one.open()
        one.add_header(total=1)
        one.add("sending", "k")
        one.add(step, "k")
        one.close()
        other = Record(tmp_path, api="https://two")
        if is_bound:
            with pytest.raises(
                errors.UsageError, match="at https://one, not at https://two; in another folder all"
            ):
                other.open()
        else:
            other.open()
        other.close()
        for same in (Record(tmp_path, api="https://one"), Record(tmp_path)):
            same.read()
            same.close()


def test_a_full_disk_is_an_error_and_the_next_step_stands_alone(record: Record, monkeypatch: Any) -> None:
    """A step of which half was written is not mixed with the one after it."""
    write = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda file, content: write(file, content[:10]))
        with pytest.raises(errors.LocalFileError, match="No space") as full:
            record.add("created", "k", id="abc")
    assert (full.value.code, full.value.hint) == ("disk_full", f"df -h {record.folder}")
    record.add("created", "other", id="def")
    found = again(record)
    assert (found.standing("k"), found.standing("other").id) == (NEW, "def")


def test_two_runs_in_one_folder_refuse_each_other(record: Record) -> None:
    """The second is told to wait, as another folder would have all sent again; when the first has gone, it may."""
    other = Record(record.folder)
    with pytest.raises(errors.LocalFileError, match="another batch is running") as refused:
        other.open()
    status = f"cometrep batch --status --dir {record.folder}"
    assert (refused.value.code, refused.value.hint) == ("batch_running", status)
    other.close()
    record.close()
    other.open()
    other.close()


def _hold(folder: Path, ready: Any) -> None:
    Record(folder).open()
    ready.set()
    multiprocessing.Event().wait(60)


def test_the_lock_of_a_killed_run_is_free(tmp_path: Path) -> None:
    """The system lets go of it, however the run died."""
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=_hold, args=(tmp_path, ready))
    process.start()
    assert ready.wait(TIMEOUT_SECONDS)
    with pytest.raises(errors.LocalFileError):
        Record(tmp_path).open()
    process.kill()
    process.join()
    opened = Record(tmp_path)
    opened.open()
    opened.close()


def test_sister_shards_run_side_by_side_and_others_do_not(tmp_path: Path) -> None:
    """Shards of another number, or the whole, could send the same items."""
    one = Record(tmp_path, (1, 3))
    one.open()
    two = Record(tmp_path, (2, 3))
    two.open()
    for shard in (None, (1, 2), (1, 3)):
        with pytest.raises(errors.LocalFileError) as raised:
            Record(tmp_path, shard).open()
        assert raised.value.code == "batch_running"
    one.close()
    two.close()
    whole = Record(tmp_path)
    whole.open()
    whole.close()


def test_a_shard_knows_what_other_runs_have_sent(tmp_path: Path) -> None:
    """Splitting a batch that ran whole sends nothing again; between records the newest step counts."""
    whole = Record(tmp_path, now=lambda: 100.0)
    whole.open()
    whole.add("saved", "a", id="1")
    whole.add("refused", "b", error="no")
    whole.close()
    shard = Record(tmp_path, (1, 2), now=lambda: 200.0)
    shard.open()
    assert shard.standing("a").state is State.DONE
    shard.add("saved", "b", id="2")
    shard.close()
    late = Record(tmp_path, now=lambda: 50.0)
    late.open()
    late.add("saved", "a", id="1")
    late.close()
    found = Record(tmp_path)
    found.read()
    standings = {key: (standing.state, standing.id) for key, standing in found.standings()}
    assert standings == {"a": (State.DONE, "1"), "b": (State.DONE, "2")}
    assert [path.name for path in records_in(tmp_path)] == ["batch.1-2.jsonl", "batch.jsonl"]


def test_a_create_under_way_is_in_doubt_only_once_its_run_is_gone(record: Record) -> None:
    """While the run is at work its answer may come; a create that had none stays in doubt throughout."""
    record.add("sending", "a")
    record.add("sending", "b")
    record.add("doubt", "b", error="no answer", exit_code=10)
    record.add("created", "c", id="abc")
    record.add("ended", "c", id="abc", status="succeeded")
    looked = Record(record.folder)
    looked.read()
    states = [standing.state for _, standing in looked.standings()]
    assert states == [State.RUNNING, State.UNKNOWN, State.RUNNING]
    record.close()
    states = [standing.state for _, standing in looked.standings()]
    assert states == [State.UNKNOWN, State.UNKNOWN, State.UNSAVED]


def test_reading_makes_nothing(tmp_path: Path) -> None:
    """A look at a folder that is not there leaves it so."""
    looked = Record(tmp_path / "none")
    looked.read()
    assert looked.standing("k") == NEW
    assert not looked.folder.exists()


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    """As where a file has the folder's name, or that of one above it."""
    (tmp_path / "out").write_text("")
    with pytest.raises(errors.LocalFileError, match="that is a file"):
        Record(tmp_path / "out").open()
    with pytest.raises(errors.LocalFileError, match="cannot write"):
        Record(tmp_path / "out" / "of").open()


@pytest.mark.parametrize(
    ("count", "told"),
    [
        (5, "5 predictions in p are of no item any more"),
        (7, "7 predictions in p are of no item any more; for the first 5"),
    ],
)
def test_predictions_of_no_item_are_told_with_a_command_that_can_be_pasted(count: int, told: str) -> None:
    """To the end of the line: how many more there are stands before it."""
    gone = Gone(count, tuple(f"id{number}" for number in range(count)))
    assert gone.told(Path("p")) == (f"{told}: cometrep download --wait id0 id1 id2 id3 id4 -d p",)


def test_a_step_that_the_disk_took_in_part_spoils_no_other_threads(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is on a line of its own, or a `sending` behind the torn one would be passed over, and paid for again."""
    record.open()
    is_second = threading.Event()
    other = threading.Thread(target=record.add, args=("sending", "second"))
    whole = os.write

    def write(file: int, content: bytes) -> int:
        if b"second" in content:
            is_second.set()
            return whole(file, content)
        written = whole(file, content[:20])
        other.start()
        is_second.wait(0.05)  # which it does for the whole of that where it has to wait for its turn
        return written

    monkeypatch.setattr(os, "write", write)
    with pytest.raises(errors.LocalFileError):
        record.add("sending", "first")
    other.join(TIMEOUT_SECONDS)
    record.read()
    assert record.standing("second").state is State.UNKNOWN
