"""Files that are written beside their names first; how outputs get there is tested with their downloads."""

import contextlib
import errno
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from cometrep import errors
from cometrep.byte_ranges import Facts
from cometrep.partfile import Origin, PartFile, left_over_in
from tests.conftest import find_no_room, steps_of

BLOCK = bytes(range(256)) * 20_000  # 5 MB, more than is hashed as it comes


def save(folder: Path, *, overwrites: bool = False) -> str:
    """Give some bytes their final name, and tell how that ended."""
    with PartFile.opened(folder, "p-0") as part:
        part.restart()
        part.append(BLOCK[:1000])
        return part.commit(folder / "p.bin", "p", 0, overwrites=overwrites, skips_existing=False)


@pytest.mark.parametrize(
    ("overwrites", "expected"),
    [
        (False, ["fsync", "link", "unlink", "fsync of the folder"]),
        (True, ["fsync", "replace", "fsync of the folder"]),
    ],
    ids=["beside what exists", "over what exists"],
)
def test_bytes_are_on_the_disk_before_they_have_their_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overwrites: bool, expected: list[str]
) -> None:
    """A power cut leaves no name without its bytes, and no part file goes before the name is given."""
    with PartFile.opened(tmp_path, "p-0") as part:
        part.restart()
        part.append(BLOCK[:1000])
        steps = steps_of(monkeypatch)
        part.commit(tmp_path / "p.bin", "p", 0, overwrites=overwrites, skips_existing=False)
        assert steps == expected


def test_bytes_are_on_the_disk_before_it_is_noted_that_all_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a power cut may leave a note of a whole file beside zeros, which the next command would take."""
    with PartFile.opened(tmp_path, "p-0") as part:
        part.restart()
        part.append(BLOCK[:1000])
        noted: list[bool] = []
        monkeypatch.setattr(os, "fsync", lambda _: noted.append((tmp_path / ".p-0.part.json").exists()))
        part.complete()
        assert (noted, (tmp_path / ".p-0.part").read_bytes()) == ([False], BLOCK[:1000])
        part.commit(tmp_path / "p.bin", "p", 0, overwrites=False, skips_existing=False)


@pytest.mark.parametrize("refusal", [OSError(errno.EOPNOTSUPP, "not supported"), NotImplementedError("no links")])
def test_a_file_system_without_hard_links_takes_a_rename(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusal: Exception
) -> None:
    """The file gets its name all the same, nothing else stays, and what exists is still not replaced."""

    def refused(*_: object, **__: object) -> None:
        raise refusal

    monkeypatch.setattr(os, "link", refused)
    assert save(tmp_path) == "saved"
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("p.bin", BLOCK[:1000])]
    (tmp_path / "p.bin").write_bytes(b"mine")
    with pytest.raises(errors.LocalFileError, match="exists and differs"):
        save(tmp_path)
    assert (tmp_path / "p.bin").read_bytes() == b"mine"


def test_a_name_that_is_taken_at_the_last_moment_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where another program makes the file between the look and the naming, that file is not replaced."""
    link = os.link

    def outrun(source: Path, target: Path, **rest: Any) -> None:
        target.write_bytes(b"theirs")
        link(source, target, **rest)

    monkeypatch.setattr(os, "link", outrun)
    with pytest.raises(errors.LocalFileError, match="exists and differs"):
        save(tmp_path)
    assert (tmp_path / "p.bin").read_bytes() == b"theirs"


def test_a_part_file_that_starts_over_forgets_the_bytes_before(tmp_path: Path) -> None:
    """After `restart` the digest is of the new bytes alone, though a thread may still read the old ones."""
    with PartFile.opened(tmp_path, "p-0") as part:
        part.append(BLOCK)
        part.append(BLOCK)
        part.restart()
        part.append(BLOCK[:7])
        assert part.sha256 == hashlib.sha256(BLOCK[:7]).hexdigest()
        assert part.commit(tmp_path / "p.bin", "p", 0, overwrites=False, skips_existing=False) == "saved"
    assert (tmp_path / "p.bin").read_bytes() == BLOCK[:7]


def test_a_part_file_that_another_program_cuts_short_is_an_error(tmp_path: Path) -> None:
    """Bytes that are gone before they were hashed give no digest, and no endless wait for one."""
    with PartFile.opened(tmp_path, "p-0") as part:
        part.append(BLOCK[:4_000_000])  # hashed as it comes
        part.append(BLOCK[:100_000])  # of so little the thread is told last
        (tmp_path / ".p-0.part").write_bytes(b"")
        with pytest.raises(errors.LocalFileError, match="cut short by another program"):
            part.commit(tmp_path / "p.bin", "p", 0, overwrites=False, skips_existing=False)
    assert not (tmp_path / "p.bin").exists()


@pytest.mark.parametrize(
    "facts", [{"validator": '"e"', "total": 9_000_000}, {"is_complete": True, "total": len(BLOCK)}]
)
def test_a_stop_while_a_part_file_is_taken_up_leaves_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, facts: dict[str, object]
) -> None:
    """What an earlier command left is there for the next one, even where this one ends before it read any of it."""
    (tmp_path / ".p-0.part").write_bytes(BLOCK)
    (tmp_path / ".p-0.part.json").write_text(json.dumps({**facts, "stem": "p-0"}))
    stop = errors.Stopped("Ctrl-C", 130)

    def stopped(*_: object) -> None:
        raise stop

    with monkeypatch.context() as patched:
        patched.setattr(PartFile, "_take", stopped)
        with pytest.raises(errors.Stopped), PartFile.opened(tmp_path, "p-0"):
            pass
    with PartFile.opened(tmp_path, "p-0") as part:
        assert (part.size, part.sha256) == (len(BLOCK), hashlib.sha256(BLOCK).hexdigest())


@pytest.mark.parametrize("is_whole", [True, False])
def test_what_came_before_a_stop_is_kept_with_its_validator(tmp_path: Path, *, is_whole: bool) -> None:
    """Whether the first bytes were all of it or not, the next command goes on from them."""
    total = 1000 if is_whole else 2000
    with PartFile.opened(tmp_path, "p-0") as part:
        part.restart(Facts('"e"', total))
        part.append(BLOCK[:1000])
        if not is_whole:
            assert json.loads((tmp_path / ".p-0.part.json").read_text())["total"] == total
    with PartFile.opened(tmp_path, "p-0") as part:
        assert part.resume_headers() == {"Range": "bytes=1000-", "If-Range": '"e"'}


@pytest.mark.parametrize("lost", [1, 4096, 600_000, len(BLOCK)], ids=["a byte", "a block", "many", "all"])
def test_zeros_that_a_power_cut_left_are_fetched_again(tmp_path: Path, lost: int) -> None:
    """The file may have its length on the disk and not its last bytes: the rest would be put behind them."""
    with PartFile.opened(tmp_path, "p-0") as part:
        part.restart(Facts('"e"', len(BLOCK) + 500_000))
        part.append(BLOCK)
    with (tmp_path / ".p-0.part").open("r+b") as file:
        file.seek(-lost, os.SEEK_END)
        file.write(bytes(lost))
    sound = BLOCK[: len(BLOCK) - lost].rstrip(b"\0")
    with PartFile.opened(tmp_path, "p-0") as part:
        assert part.resume_headers().get("Range") == (f"bytes={len(sound)}-" if sound else None)
        rest = (BLOCK + bytes(500_000))[len(sound) :]
        part.append(rest)
        part.complete()
    with PartFile.opened(tmp_path, "p-0") as whole:  # whose zeros were on the disk before that was noted
        assert (whole.size, whole.sha256) == (
            len(BLOCK) + 500_000,
            hashlib.sha256(BLOCK + bytes(500_000)).hexdigest(),
        )


def test_a_pipe_named_as_a_part_file_is_no_left_over_to_wait_for(tmp_path: Path) -> None:
    """Nobody holds a pipe, and to open it for that question might never end."""
    os.mkfifo(tmp_path / ".p-0.part")
    os.mkfifo(tmp_path / ".p-0.part.json")
    assert [one.is_resumable for one in left_over_in(tmp_path)] == [False]


def test_no_two_ids_have_one_part_file(tmp_path: Path) -> None:
    """A file that is whole and waits for its name is taken up by its own prediction alone."""
    for id in ("-x", "_x"):
        with PartFile.opened(tmp_path, f"{id}-0") as part:
            assert not part.is_complete
            part.append(BLOCK[:1000])
            part.complete()
    assert [one.id for one in left_over_in(tmp_path)] == ["-x", "_x"]


def test_a_whole_file_of_a_version_that_noted_no_id_is_taken_up(tmp_path: Path) -> None:
    """It may be all that is left of what was paid for."""
    (tmp_path / ".p-0.part").write_bytes(BLOCK)
    (tmp_path / ".p-0.part.json").write_text(json.dumps({"is_complete": True, "total": len(BLOCK)}))
    with PartFile.opened(tmp_path, "p-0") as part:
        assert (part.is_complete, part.size) == (True, len(BLOCK))
    assert [one.is_complete for one in left_over_in(tmp_path)] == [True]


@pytest.mark.parametrize("is_saved", [True, False])
@pytest.mark.parametrize(("stem", "noted"), [("p-0", {"stem": "P-0"}), ("_x-0", {})], ids=["case", "dash"])
def test_the_part_file_of_another_prediction_stays(
    tmp_path: Path, stem: str, noted: dict[str, str], *, is_saved: bool
) -> None:
    """Where two ids have or had one name: each of them may be whole, and be paid for."""
    path, facts = tmp_path / f".{stem}.part", {"is_complete": True, "total": len(BLOCK), **noted}
    path.write_bytes(BLOCK)
    path.with_name(f"{path.name}.json").write_text(json.dumps(facts))
    with PartFile.opened(tmp_path, stem) as part:
        assert (part.is_complete, part.size) == (False, 0)
        if is_saved:
            part.append(BLOCK[:7])
            part.commit(tmp_path / "p.bin", "p", 0, overwrites=False, skips_existing=False)
    assert path.read_bytes() == BLOCK
    assert json.loads(path.with_name(f"{path.name}.json").read_text()) == facts
    left = {path.name, f"{path.name}.json", *(["p.bin"] if is_saved else [])}
    assert {one.name for one in tmp_path.iterdir()} == left


def left_whole(folder: Path, origin: Origin) -> None:
    """Leave a part file that is whole and got no name."""
    with PartFile.opened(folder, "7-0", origin) as part:
        part.restart()
        part.append(BLOCK[:1000])
        part.complete()


@pytest.mark.parametrize(
    "other",
    [Origin("https://b.example", 1.5), Origin("https://b.example"), Origin("https://a.example", 2.5)],
    ids=["another server", "another server, made elsewhere", "the server, reset"],
)
def test_a_whole_file_is_not_taken_for_what_another_server_made(tmp_path: Path, other: Origin) -> None:
    """Ids repeat between servers, and at one that was reset; it stays for the prediction that it is of."""
    mine = Origin("https://a.example", 1.5)
    left_whole(tmp_path, mine)
    with PartFile.opened(tmp_path, "7-0", other) as part:
        assert (part.is_complete, part.size) == (False, 0)
        part.append(BLOCK[:7])
        part.commit(tmp_path / "7.bin", "7", 0, overwrites=False, skips_existing=False)
    with PartFile.opened(tmp_path, "7-0", mine) as part:
        assert (part.is_complete, part.size) == (True, 1000)
    assert [one.server for one in left_over_in(tmp_path)] == ["https://a.example"]


@pytest.mark.parametrize("is_gone", [True, False], ids=["the other is saved", "both are left"])
def test_what_two_servers_left_of_one_id_is_taken_up_by_each(tmp_path: Path, *, is_gone: bool) -> None:
    """A data URI behind a name that is taken is all that is left after its hour, and a download goes on."""
    mine, other = Origin("https://a.example", 1.5), Origin("https://b.example", 1.5)
    left_whole(tmp_path, mine)
    with PartFile.opened(tmp_path, "7-0", other) as part:
        part.restart(Facts(validator='"b"'))
        part.append(BLOCK[:7])
    if is_gone:
        with PartFile.opened(tmp_path, "7-0", mine) as part:
            part.commit(tmp_path / "7.bin", "7", 0, overwrites=False, skips_existing=False)
    assert [one.server for one in left_over_in(tmp_path)].count("https://b.example") == 1
    with PartFile.opened(tmp_path, "7-0", other) as part:
        assert part.size == 7
        part.commit(tmp_path / "7b.bin", "7", 0, overwrites=False, skips_existing=False)
    assert len(left_over_in(tmp_path)) == (not is_gone)


def test_a_whole_file_is_taken_up_on_another_machine(tmp_path: Path) -> None:
    """Whose ledger has no entry of it; what the first one noted of it stays with it."""
    left_whole(tmp_path, Origin("https://a.example", 1.5))
    for origin in (Origin("https://a.example"), Origin(), Origin("https://a.example", 1.5)):
        with PartFile.opened(tmp_path, "7-0", origin) as part:
            assert (part.is_complete, part.size) == (True, 1000)
            part.complete()
    assert json.loads((tmp_path / ".7-0.part.json").read_text())["created"] == 1.5


def test_anothers_note_without_bytes_is_in_nobodys_way(tmp_path: Path) -> None:
    """As a kill leaves it between the rename and the note's removal; on leaving there is neither any more."""
    (tmp_path / ".p-0.part.json").write_text(json.dumps({"is_complete": True, "total": 9, "stem": "P-0"}))
    with PartFile.opened(tmp_path, "p-0") as part:
        assert not part.is_complete
        part.append(BLOCK[:7])
        part.commit(tmp_path / "p.bin", "p", 0, overwrites=False, skips_existing=False)
    assert [path.name for path in tmp_path.iterdir()] == ["p.bin"]


def test_a_whole_file_that_got_no_name_is_taken_up_again(tmp_path: Path) -> None:
    """Where the last step fails, the bytes need not be fetched again, even without a validator."""
    target = tmp_path / "p.bin"
    target.write_bytes(b"other")
    with PartFile.opened(tmp_path, "p-0") as part:
        part.restart()
        part.append(BLOCK)
        part.complete()
        with pytest.raises(errors.LocalFileError, match="exists and differs"):
            part.commit(target, "p", 0, overwrites=False, skips_existing=False)
    with PartFile.opened(tmp_path, "p-0") as again:
        assert again.is_complete
        assert again.commit(target, "p", 0, overwrites=True, skips_existing=False) == "saved"
    assert target.read_bytes() == BLOCK
    assert [path.name for path in tmp_path.iterdir()] == ["p.bin"]


def test_what_a_full_disk_has_no_room_for_is_saved_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once more in the same folder it would meet the same disk."""
    monkeypatch.setattr(os, "fsync", find_no_room)
    with pytest.raises(errors.LocalFileError, match="No space left on device") as raised:
        save(tmp_path)
    assert (raised.value.code, raised.value.remedy) == ("disk_full", "-d DIR")


def test_the_longest_ids_have_a_part_file_for_each_output(tmp_path: Path) -> None:
    """Whole bytes of one output are not taken up as another's, and a second command has room for its own."""
    id = "i" * 200
    with PartFile.opened(tmp_path, f"{id}-0") as part:
        part.append(BLOCK[:1000])
        part.complete()
        with PartFile.opened(tmp_path, f"{id}-0") as beside:
            beside.restart(Facts('"e"'))
            beside.append(BLOCK[:9])
    with PartFile.opened(tmp_path, f"{id}-1") as part:
        assert (part.is_complete, part.size) == (False, 0)
    with PartFile.opened(tmp_path, f"{id}-0") as part:
        assert (part.is_complete, part.size) == (True, 1000)


def test_a_part_file_that_took_the_name_of_a_finished_one_stays(tmp_path: Path) -> None:
    """Two commands save one output under two names: what the first leaves behind is its own alone."""
    with contextlib.ExitStack() as second:
        with PartFile.opened(tmp_path, "p-0") as first:
            first.append(BLOCK[:10])
            assert first.commit(tmp_path / "a.bin", "p", 0, overwrites=False, skips_existing=False) == "saved"
            other = second.enter_context(PartFile.opened(tmp_path, "p-0"))
            other.restart(Facts('"e"', 20))
            other.append(BLOCK[:10])
        other.append(BLOCK[10:20])
        assert other.commit(tmp_path / "b.bin", "p", 0, overwrites=False, skips_existing=False) == "saved"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.bin", "b.bin"]
    assert (tmp_path / "b.bin").read_bytes() == BLOCK[:20]


def test_no_part_file_in_use_is_left_over(tmp_path: Path) -> None:
    """Nor that of a second command that saves the same: who is told to remove it would end that command."""
    with PartFile.opened(tmp_path, "p-0") as first, PartFile.opened(tmp_path, "p-0") as second:
        for part in (first, second):
            part.restart(Facts('"e"', 2000))
            part.append(BLOCK[:1000])
        assert len(list(tmp_path.glob(".p-0*.part"))) == 2
        assert left_over_in(tmp_path) == []
        assert second.commit(tmp_path / "p.bin", "p", 0, overwrites=False, skips_existing=False) == "saved"


@pytest.mark.usefixtures("no_locks")
def test_savers_of_one_file_do_not_mix_where_the_file_system_knows_no_locks(tmp_path: Path) -> None:
    """Each has a part file of its own, whatever another one left or still writes; nothing but the file stays."""
    with PartFile.opened(tmp_path, "p-0") as stopped:
        stopped.restart(Facts('"e"', 2000))
        stopped.append(BLOCK[:1000])
    with PartFile.opened(tmp_path, "p-0") as part, PartFile.opened(tmp_path, "p-0") as other:
        assert part.size == other.size == 0
        part.restart(Facts('"e"', 2000))
        part.append(BLOCK[:1000])
        other.restart(Facts('"e"', 2000))
        other.append(BLOCK[:2000])
        other.commit(tmp_path / "p.bin", "p", 0, overwrites=False, skips_existing=False)
        part.append(BLOCK[1000:2000])
        assert part.commit(tmp_path / "p.bin", "p", 0, overwrites=False, skips_existing=False) == "kept"
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("p.bin", BLOCK[:2000])]


@pytest.mark.usefixtures("no_locks")
@pytest.mark.parametrize("is_taken", [True, False], ids=["beside another machine's", "alone"])
def test_a_whole_file_is_taken_up_again_where_the_file_system_knows_no_locks(
    tmp_path: Path, *, is_taken: bool
) -> None:
    """A data URI behind a name that is taken is all that is left after its hour; two take it up at once."""
    origin = Origin("https://a.example", 1.5)
    usual, target = tmp_path / ".7-0.part", tmp_path / "7.bin"
    if is_taken:
        usual.write_bytes(b"others")
    left_whole(tmp_path, origin)
    left_whole(tmp_path, origin)
    assert sorted(one.is_complete for one in left_over_in(tmp_path)) == [False] * is_taken + [True]
    with PartFile.opened(tmp_path, "7-0", origin) as part, PartFile.opened(tmp_path, "7-0", origin) as other:
        assert (part.is_complete, part.size, other.is_complete) == (True, 1000, True)
        other.commit(target, "7", 0, overwrites=False, skips_existing=False)
        assert part.commit(target, "7", 0, overwrites=False, skips_existing=False) == "kept"
    assert target.read_bytes() == BLOCK[:1000]
    assert {path.name for path in tmp_path.iterdir()} == {"7.bin", *([usual.name] * is_taken)}
