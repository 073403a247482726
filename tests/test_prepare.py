"""A batch before its first create: in which order what is wrong with it is found."""

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from cometrep import errors
from cometrep.batch.gallery import Gallery
from cometrep.batch.plan import ASKS_ABOVE, Wanted
from cometrep.batch.prepare import Ready, prepared
from cometrep.batch.record import Record
from cometrep.console import Console
from cometrep.download import Downloads, Rules
from cometrep.keeping import Keeper
from cometrep.ledger import Ledger
from cometrep.places import Keeping
from cometrep.prediction import SavedFile
from tests.servers import SCHNELL

LARGE = Wanted("", ("prompt=cat,dog", f"seed:=1..{ASKS_ABOVE}"), SCHNELL, is_sweep=True)


@contextlib.contextmanager
def preparing(folder: Path, wanted: Wanted, template: str = "", *, is_confirmed: bool = True) -> Iterator[Ready]:
    """Make a batch ready as the command does, where nobody can be asked."""
    console = Console(None, None, io.TextIOWrapper(io.BytesIO()), lambda name: "")
    console.command_line = f"cometrep batch {wanted.file}"
    downloads = Downloads(Rules(allows_local=True, max_size_bytes=10**9))
    ledger = Ledger(folder.parent / "ledger", base_url="https://x.test", is_sandbox=False)
    keeper = Keeper(Keeping("elsewhere", template, files_at_once=4), downloads, ledger)
    making = prepared(console, wanted, folder, keeper, api="https://x.test", is_confirmed=is_confirmed)
    with contextlib.closing(downloads), contextlib.closing(ledger), making as ready:
        yield ready


def lose_a_record(folder: Path) -> None:
    """Have a batch make a picture and its page, and remove what it knows of it."""
    record = Record(folder)
    record.open()
    record.add("saved", "cat", id="id", files=[SavedFile("cat.webp", 0, 1, "00").as_json()])
    record.close()
    Gallery(folder, {}).write()
    record.path.unlink()


@pytest.mark.parametrize(
    ("is_confirmed", "has_record", "is_strict", "code"),
    [
        (False, False, True, "not_confirmed"),
        (True, False, True, "record"),
        (True, True, True, "bad_items"),
        (True, True, False, "name_clash"),
    ],
    ids=["large", "a lost record", "a doubt", "one name for all"],
)
def test_what_guards_money_is_found_in_order(
    tmp_path: Path, *, is_confirmed: bool, has_record: bool, is_strict: bool, code: str
) -> None:
    """A large sweep is asked about before all of it is checked, which takes long, and a lost record told before."""
    folder = tmp_path / "out"
    if not has_record:
        lose_a_record(folder)
    wanted = LARGE._replace(texts=(*LARGE.texts, "odd=1"), is_strict=is_strict)
    refused = pytest.raises((errors.UsageError, errors.LocalFileError))
    with refused as raised, preparing(folder, wanted, "{name}.{ext}", is_confirmed=is_confirmed):
        pytest.fail("it would be sent")
    assert raised.value.code == code
    assert raised.value.hint


def test_a_record_as_items_is_told_before_what_it_lacks(tmp_path: Path) -> None:
    """Nobody is to put a record back that is one's own file of items."""
    folder = tmp_path / "out"
    folder.mkdir()
    file = folder / "batch.jsonl"
    file.write_text('{"prompt": "cat"}\n')
    refused = pytest.raises(errors.UsageError, match="is where the record of the batch")
    with refused, preparing(folder, Wanted(str(file), (), SCHNELL)):
        pytest.fail("it would be sent")


def test_a_batch_that_is_ready_has_written_nothing(tmp_path: Path) -> None:
    """Its items are kept in its own folder, each under its key, with a sidecar, and one file after the other."""
    folder = tmp_path / "out"
    with preparing(folder, LARGE, "{key}.{ext}") as ready:
        assert (ready.plan.size, ready.plan.is_sweep, ready.record.folder) == (2 * ASKS_ABOVE, True, folder)
        kept = ready.keeper.for_item("k").keeping
        assert kept == Keeping(str(folder), "{key}.{ext}", writes_sidecar=True, key="k", files_at_once=1)
        ready.check_folders()
        assert not folder.exists()
        folder.write_text("a file")
        with pytest.raises(errors.LocalFileError, match="nothing was sent"):
            ready.check_folders()


@pytest.mark.parametrize("is_confirmed", [False, True], ids=["", "with --yes"])
@pytest.mark.parametrize(
    ("count", "shard", "question"),
    [
        (ASKS_ABOVE, None, ""),
        (ASKS_ABOVE + 1, None, f"Send {ASKS_ABOVE + 1} items?"),
        (ASKS_ABOVE + 1, "1/2", f"Send part of the {ASKS_ABOVE + 1} items?"),
    ],
    ids=["few", "many", "a shard"],
)
def test_a_large_sweep_is_asked_about(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    count: int,
    shard: str | None,
    question: str,
    *,
    is_confirmed: bool,
) -> None:
    """With how many items it has in all, unless that was confirmed as it was typed."""
    asked = []

    def confirm(_: Console, question: str) -> bool:
        asked.append(question)
        return True

    monkeypatch.setattr(Console, "confirm", confirm)
    wanted = Wanted("", ("prompt=cat", f"seed:=1..{count}"), SCHNELL, is_sweep=True, shard=shard)
    with preparing(tmp_path / "out", wanted, is_confirmed=is_confirmed):
        assert asked == [question] * (question != "" and not is_confirmed)
