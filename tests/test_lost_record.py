"""A folder that shows what a batch made, and whose record is lost."""

from pathlib import Path

import pytest

from cometrep import errors
from cometrep.batch.gallery import Gallery
from cometrep.batch.lost_record import refuse_without_record
from cometrep.batch.record import Record
from cometrep.prediction import SavedFile

HEADER = b'{"step":"batch","time":1,"key":"","total":2}\n'


def save(folder: Path, name: str, shard: tuple[int, int] | None = None) -> None:
    """Note an item as saved, as a batch or a shard of it does."""
    record = Record(folder, shard)
    record.open()
    record.add("saved", name, id="id", files=[SavedFile(name, 0, 1, "00").as_json()])
    record.close()


@pytest.mark.parametrize(
    ("trace", "record", "lack"),
    [
        ("index.html", None, "its record batch.jsonl is gone"),
        ("index.html", b"", "its record batch.jsonl has nothing of it"),
        ("index.html", b"\0" * 200, "its record batch.jsonl has nothing of it"),
        ("index.html", HEADER, "its record batch.jsonl has nothing of it"),
        ("id.cometrep.json", b"", "its record batch.jsonl has nothing of it"),
        ("id.cometrep.json", b"\0" * 200, "its record batch.jsonl has nothing of it"),
    ],
    ids=["gone", "emptied", "after a power cut", "begun anew", "no pictures", "no pictures after a power cut"],
)
def test_a_folder_that_shows_more_than_its_record_is_refused(
    tmp_path: Path, trace: str, record: bytes | None, lack: str
) -> None:
    """All that is there would be paid for again; a link that leads nowhere is an empty record too."""
    save(tmp_path, "a.svg")
    Gallery(tmp_path, {}).write()
    (tmp_path / "id.cometrep.json").touch()
    refuse_without_record(tmp_path)
    written = tmp_path / "batch.jsonl"
    written.unlink()
    for name in {"index.html", "id.cometrep.json"} - {trace}:
        (tmp_path / name).unlink()
    if record is not None:
        written.write_bytes(record)
    with pytest.raises(errors.LocalFileError, match=lack) as raised:
        refuse_without_record(tmp_path)
    assert (raised.value.code, raised.value.message.split()[0]) == ("record", str(tmp_path / trace))
    if record is not None:
        written.unlink()
        written.symlink_to("nowhere")
        with pytest.raises(errors.LocalFileError, match=lack):
            refuse_without_record(tmp_path)


@pytest.mark.parametrize(
    ("names", "record"),
    [
        (("index.html",), b""),
        ((), b""),
        (("id.cometrep.json",), None),
        (("id.cometrep.json",), HEADER),
    ],
    ids=["another page", "killed at once", "single predictions", "killed beside single predictions"],
)
def test_a_folder_that_no_batch_has_run_in_is_taken(
    tmp_path: Path, names: tuple[str, ...], record: bytes | None
) -> None:
    """What others put there, and a run that was killed before it sent anything, are in no first batch's way."""
    for name in names:
        (tmp_path / name).write_text("mine", "utf-8")
    if record is not None:
        (tmp_path / "batch.jsonl").write_bytes(record)
    refuse_without_record(tmp_path)


def test_a_sister_shard_s_items_are_no_lack_of_a_record(tmp_path: Path) -> None:
    """A shard that has sent nothing yet, or was killed before it did, goes on beside one that has."""
    save(tmp_path, "a.svg", shard=(1, 2))
    Gallery(tmp_path, {}).write()
    (tmp_path / "batch.2-2.jsonl").touch()
    refuse_without_record(tmp_path)


@pytest.mark.parametrize("is_emptied", [False, True], ids=["gone", "emptied"])
def test_a_record_that_the_page_was_drawn_from_is_missed(tmp_path: Path, is_emptied: bool) -> None:
    """One shard's too, whether or not it had a picture, wherever the folder was moved; an older page names none."""
    folder = tmp_path / "out"
    save(folder, "a.svg", shard=(1, 3))
    save(folder, "b.txt", shard=(2, 3))
    (folder / "batch.3-3.jsonl").touch()
    Gallery(folder, {}).write()
    folder = folder.rename(tmp_path / "moved")
    (folder / "batch.3-3.jsonl").unlink()
    refuse_without_record(folder)
    lost = folder / "batch.2-3.jsonl"
    lost.write_bytes(b"") if is_emptied else lost.unlink()
    lack = "has nothing of it" if is_emptied else "is gone"
    with pytest.raises(errors.LocalFileError, match=f"its record batch.2-3.jsonl {lack}") as raised:
        refuse_without_record(folder)
    assert (raised.value.code, raised.value.hint) == ("record", "put batch.2-3.jsonl back")
    page = folder / "index.html"
    lines = page.read_text("utf-8").splitlines(keepends=True)
    page.write_text("".join(line for line in lines if "cometrep-records" not in line), "utf-8")
    refuse_without_record(folder)


@pytest.mark.parametrize("is_folder", [False, True], ids=["other content", "a folder"])
def test_no_other_folder_is_advised_where_a_record_is_destroyed(tmp_path: Path, is_folder: bool) -> None:
    """All that it knew of would be paid for again there."""
    save(tmp_path, "a.svg")
    Gallery(tmp_path, {}).write()
    record = tmp_path / "batch.jsonl"
    record.unlink()
    record.mkdir() if is_folder else record.write_text("a,b\n1,2\n")
    with pytest.raises(errors.LocalFileError, match="shows what a batch made there") as raised:
        refuse_without_record(tmp_path)
    assert raised.value.hint == "put the record back as it was"
