"""Where outputs are to go: what is refused before anything is paid for, or fetched."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from cometrep import errors
from cometrep.prediction import Request
from tests.conftest import needs_proc
from tests.servers import SCHNELL
from tests.workbench import Shelf

TWO = Request(SCHNELL, {"prompt": "cat", "num_outputs": 2})
ONE = Request(SCHNELL, {"prompt": "cat"})


def taken_by_a_folder(folder: Path) -> None:
    """Make a folder of an output's name."""
    (folder / "a.ext").mkdir(parents=True)


def taken_by_a_pipe(folder: Path) -> None:
    """Make something of an output's name that is no regular file."""
    folder.mkdir()
    (folder / "a.ext").symlink_to("/dev/null")


@pytest.mark.parametrize(
    ("template", "request_", "prepare", "told", "code"),
    [
        ("-", TWO, None, "-o - writes one file, and num_outputs asks for 2", "name_clash"),
        ("a.{ext}", TWO, None, "gives all 2 outputs that num_outputs asks for one name", "name_clash"),
        ("{name}/a.{ext}", TWO, None, "one name", "name_clash"),
        ("a.{ext}", ONE, taken_by_a_folder, "out/a.ext is a folder", "bad_template"),
        ("a.{ext}", ONE, taken_by_a_pipe, "out/a.ext is no regular file", "bad_template"),
    ],
    ids=["stdout", "one name", "one name in a folder", "a folder", "a device"],
)
def test_outputs_that_cannot_all_be_kept_are_refused(
    shelf: Shelf, template: str, request_: Request, prepare: Callable[[Path], None] | None, told: str, code: str
) -> None:
    """Before anything is paid for, with what to type instead; nothing is made."""
    if prepare:
        prepare(shelf.folder)
    before = shelf.names()
    with pytest.raises(errors.UsageError, match=told) as raised:
        shelf.keeper(template).places.check(request_)
    assert raised.value.code == code
    assert raised.value.hint
    assert shelf.names() == before


@pytest.mark.parametrize("request_", [ONE, TWO], ids=["one output", "two"])
def test_a_folder_in_the_place_of_a_file_is_one_to_save_in(shelf: Shelf, request_: Request) -> None:
    """The hint's template saves in that very folder, whatever gave the other and what stands beside it."""
    (shelf.folder / "my cat").mkdir(parents=True)
    told = f"COMETREP_OUTPUT=my cat: {shelf.folder}/my cat is a folder"
    with pytest.raises(errors.UsageError, match=re.escape(told)) as raised:
        shelf.keeper("my cat", typed="COMETREP_OUTPUT=my cat").places.check(request_)
    option, template = shlex.split(raised.value.hint)
    assert (option, template.partition("/")[0]) == ("-o", "my cat")
    shelf.keeper(template).places.check(request_)


@pytest.mark.parametrize(
    ("template", "request_"), [("", ONE), ("", TWO), ("-", ONE), ("a.{ext}", ONE), ("a-{index}.{ext}", TWO)]
)
def test_outputs_that_can_be_kept_are_not(shelf: Shelf, template: str, request_: Request) -> None:
    """A check writes nothing, not even the folder."""
    shelf.keeper(template).places.check(request_)
    shelf.keeper(template).places.check_room(request_)
    assert not shelf.folder.exists()


def test_a_folder_that_cannot_be_is_refused(shelf: Shelf) -> None:
    """Where a file stands in its place, or above it; on stdout none is needed that nobody named."""
    shelf.folder.write_text("a file")
    for keeper in (shelf.keeper(), shelf.keeper("-"), shelf.keeper(folder=str(shelf.folder / "below"))):
        with pytest.raises(errors.LocalFileError, match="nothing was sent"):
            keeper.places.check_room(ONE)
    shelf.keeper("-", folder="").places.check_room(ONE)


@pytest.mark.usefixtures("full_disk")
@needs_proc
def test_a_full_disk_is_found_before_anything_is_paid_for(shelf: Shelf) -> None:
    """It may have room for the name of one more file, and for none of its bytes."""
    with pytest.raises(errors.LocalFileError, match="No space left on device; nothing was sent") as raised:
        shelf.keeper().places.check_room(ONE)
    assert (raised.value.code, raised.value.hint) == ("disk_full", "save elsewhere: -d DIR")


@pytest.mark.usefixtures("full_disk")
def test_a_path_that_stays_needs_no_room(shelf: Shelf) -> None:
    """Nothing is paid for where all outputs stand already."""
    shelf.folder.mkdir()
    (shelf.folder / "cat.webp").touch()
    shelf.keeper("cat.webp", skips_existing=True).places.check_room(ONE)


def test_paths_that_exist_are_known_before_the_prediction(shelf: Shelf) -> None:
    """Where all of a request's outputs stand already and are to be left alone; not where their names tell of it."""
    shelf.folder.mkdir()
    paths = [shelf.folder / f"cat-{index}.webp" for index in range(2)]
    paths[0].write_bytes(b"")
    keeper = shelf.keeper("cat-{index}.webp", skips_existing=True)
    assert keeper.places.paths_that_stay(ONE) == paths[:1]
    assert keeper.places.paths_that_stay(TWO) == []
    paths[1].symlink_to("nowhere")
    assert keeper.places.paths_that_stay(TWO) == paths
    assert shelf.keeper("cat-{index}.webp").places.paths_that_stay(TWO) == []
    for name in ("one-0.webp", "one-1.webp", "cat-0.one", "cat-1.one"):  # as another prediction's may be called
        (shelf.folder / name).write_bytes(b"")
    for template in ("", "-", "{id}-{index}.webp", "cat-{index}.{ext}"):
        assert shelf.keeper(template, skips_existing=True).places.paths_that_stay(TWO) == []


def test_where_it_cannot_be_told_whether_a_path_exists_nothing_is_paid_for(shelf: Shelf) -> None:
    """As on a server of files that does not answer for it: to take it for missing would pay once more."""
    shelf.folder.mkdir()
    (shelf.folder / "loop").symlink_to("loop")
    with pytest.raises(errors.LocalFileError, match=r"cannot see whether .*cat\.webp exists: "):
        shelf.keeper("loop/cat.webp", skips_existing=True).places.paths_that_stay(ONE)


def test_predictions_whose_outputs_share_a_name_are_refused(shelf: Shelf) -> None:
    """As far as the ledger knows them: other models give other names, and one prediction twice is one."""
    shelf.create("p1", "a/one")
    shelf.create("p2", "a/two")
    shelf.create("p3", "b/two")
    keeper = shelf.keeper("{name}.{ext}")
    keeper.places.check_ids(["p1", "p2"])
    keeper.places.check_ids(["p1", "p1"])
    for ids in (["p2", "p3"], ["p1", "x1"], ["p1", "x1", "x2"]):
        with pytest.raises(errors.UsageError, match="one name"):
            keeper.places.check_ids(ids)
    with pytest.raises(errors.UsageError, match="2 predictions are named") as raised:
        shelf.keeper("-").places.check_ids(["p1", "p2", "p1"])
    assert raised.value.hint == "cometrep download p1 p2 -o '{id}-{index}.{ext}'"
    shelf.keeper().places.check_ids(["x1", "x2"])


@pytest.mark.parametrize("is_absolute", [False, True], ids=["relative", "absolute"])
def test_a_folder_is_no_name_for_the_outputs_of_a_prediction(shelf: Shelf, is_absolute: bool) -> None:
    """It is the one to save in, also where a setting names it, beside which -d stands; a template's own is none."""
    (shelf.folder / "my out").mkdir(parents=True)
    shelf.keeper("my out/{id}").places.check_ids(["p1"])
    named = str(shelf.folder / "my out") if is_absolute else "my out"
    with pytest.raises(errors.UsageError, match="my out is a folder") as raised:
        shelf.keeper(named).places.check_ids(["p1"])
    option, template = shlex.split(raised.value.hint)
    assert (option, template) == ("-o", f"{named}/{{id}}-{{index}}.{{ext}}")
    shelf.keeper(template).places.check_ids(["p1"])
