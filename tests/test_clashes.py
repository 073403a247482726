"""A batch whose items would get one name, or cannot be written: refused before anything is sent."""

import time
from pathlib import Path

import pytest

from cometrep import errors
from cometrep.batch.clashes import check_batch, check_folders, folders_of
from cometrep.batch.items import Item
from cometrep.places import Keeping, date_of
from tests.conftest import needs_proc
from tests.servers import SCHNELL


def item(key: str, count: int = 1) -> Item:
    """Make an item that asks for a number of outputs."""
    return Item(1, key, SCHNELL, {"prompt": "cat", "num_outputs": count}, "?")


@pytest.mark.parametrize(
    ("template", "told"),
    [
        ("-", "a batch has many"),
        ("a-{index}.{ext}", "gives 'two' a name that an item before it has"),
        ("{key}.{ext}", "gives the 2 outputs of 'two' one name"),
        ("{key}/index.html", "gives the 2 outputs of 'two' one name"),
        ("batch.jsonl", "gives 'one' the name of a file that the batch itself writes"),
    ],
)
def test_a_batch_whose_outputs_share_a_name_is_refused(tmp_path: Path, template: str, told: str) -> None:
    """The first item that would is named."""
    items = [item("one"), item("two", 2)]
    with pytest.raises(errors.UsageError, match=told) as raised:
        check_batch(Keeping(str(tmp_path), template), lambda: items)
    assert raised.value.code == "name_clash"


@pytest.mark.parametrize("template", ["", "{id}-{index}.{ext}", "{key}-{index}.{ext}", "{key}/{index}.html"])
def test_a_batch_with_a_name_for_each_output_is_not(tmp_path: Path, template: str) -> None:
    """Its id or its key tells items apart, the index the outputs of one."""
    items = [item("one", 2), item("two", 2)]
    check_batch(Keeping(str(tmp_path), template), lambda: items)


@pytest.mark.usefixtures("full_disk")
@needs_proc
@pytest.mark.parametrize("template", ["", "{key}/{id}.{ext}"])
def test_no_other_folder_is_advised_where_a_batch_cannot_save(tmp_path: Path, template: str) -> None:
    """It would have no record, and all would be paid for again; what is to be saved has names all the same."""
    keeping = Keeping(str(tmp_path), template)
    items = [item("one")]
    check_batch(keeping, lambda: items)
    with pytest.raises(errors.LocalFileError, match="nothing was sent") as raised:
        check_folders(folders_of(keeping, items))
    assert (raised.value.code, raised.value.hint) == ("disk_full", f"df -h {tmp_path}")


def test_a_batch_is_to_save_in_the_folders_of_today(tmp_path: Path) -> None:
    """A folder of another date, which is not there, would tell nothing of the one that is."""
    days = {date_of(time.time())}
    folders = folders_of(Keeping(str(tmp_path), "{date}/{id}.{ext}"), [item("one")])
    days.add(date_of(time.time()))
    assert folders[0] == tmp_path
    assert folders[1] in {tmp_path / day for day in days}


def test_a_file_in_the_way_of_a_batch_is_shown(tmp_path: Path) -> None:
    """What takes no file is to be made to take one."""
    (tmp_path / "one").touch()
    with pytest.raises(errors.LocalFileError, match="nothing was sent") as raised:
        check_folders(folders_of(Keeping(str(tmp_path), "{key}/{id}.{ext}"), [item("one")]))
    assert raised.value.hint == f"ls -ld {tmp_path / 'one'}"
