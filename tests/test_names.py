"""Names of saved files: portable on every system, inside the folder, and never two alike."""

import os
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cometrep import errors
from cometrep.names import (
    FIELDS,
    LIMIT_BYTES,
    Names,
    check_folder,
    check_template,
    default_template,
    fixed_extension,
    portable,
)
from tests.conftest import needs_proc
from tests.servers import SCHNELL

quick = settings(max_examples=150)

RESERVED = ["CON", "prn", "Aux", "nul", "com1", "LPT9", "com¹", "conin$", "CONOUT$"]


def named(
    template: str,
    *,
    id: str = "abc",
    model: str = SCHNELL,
    date: str = "2026-03-12",
    key: str = "",
    folder: str = "",
) -> Names:
    """Make the names of one prediction."""
    return Names(folder, template, id, model, date, key)


def is_portable(name: str) -> bool:
    """Say whether every system in use takes a name as it is: what the tests mean by it."""
    stem = name.split(".")[0].rstrip(" ").casefold()
    return (
        name != ""
        and len(name.encode()) <= 255
        and name[0] not in ".- "
        and name[-1] not in ". "
        and not set(name) & set('<>:"/\\|?*')
        and not re.search(r"##\w*\[", name)
        and not any(unicodedata.category(c)[0] == "C" or unicodedata.category(c) in ("Zl", "Zp") for c in name)
        and stem not in {"con", "prn", "aux", "nul", "conin$", "conout$"}
        and not (stem[:3] in ("com", "lpt") and stem[3:] in [*"0123456789¹²³"])
    )


_hostile = st.text(st.sampled_from('aA#[.-/\\ :*?"<>|\0\n\x1b\u202e\ud800é\u0301con1$'), max_size=12)
_any = st.text(st.characters(exclude_categories=()), max_size=300)
_words = st.sampled_from(
    [*RESERVED, *(f"{word}.png" for word in RESERVED), "..", ".", "", " ", "-rf", "con .x", "a ."]
)
_plain = st.text(st.sampled_from("aZ09_. -"), max_size=300)
_texts = _any | _hostile | _words | _plain


# Portable names


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("abc-DEF_09", "abc-DEF_09"),
        ("a b", "a b"),
        ("a##vso[task.x]y", "a-vso[task.x]y"),
        ("###[group]", "_[group]"),
        ("##a##b[", "##a-b["),
        ("a #1 [b] ## c", "a #1 [b] ## c"),
        ("Füchse 狐", "Füchse 狐"),
        ("u\u0308", "ü"),
        ("", "_"),
        (".", "_"),
        ("..", "_"),
        ("../../etc/passwd", "_._.._etc_passwd"),
        ("C:\\Windows", "C__Windows"),
        (".hidden", "_hidden"),
        ("-rf", "_rf"),
        ("a.", "a"),
        ("a .", "a"),
        (" a ", "a"),
        ("a\0b\nc\x1b", "a_b_c_"),
        ("gpj.\u202eexe", "gpj._exe"),
        ("\u00a0a\u3000", "_a_"),
        ("caf\udce9", "caf_"),
        ("con", "_con"),
        ("CON.png", "_CON.png"),
        ("com1.tar.gz", "_com1.tar.gz"),
        ("lpt² .x", "_lpt² .x"),
        ("console", "console"),
        ("com10", "com10"),
    ],
    ids=lambda value: repr(value),
)
def test_portable(text: str, name: str) -> None:
    """Path parts, controls, hidden and reserved names are brought to one harmless component."""
    assert portable(text) == name


def test_a_name_has_the_characters_of_the_locale_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a server calls its model: nothing that was paid for is without a name."""
    monkeypatch.setattr(os, "fsencode", lambda text: text.encode("latin-1"))
    assert named("{model}.{ext}", model="żaba/é").path(0, "webp").name == "_aba-é.webp"


@pytest.mark.parametrize("template", ["é" * 128, "a/" + "b" * 256, "b" * 256 + "/{id}"])
def test_a_fixed_part_that_no_disk_takes_is_refused(template: str) -> None:
    """Before anything is paid for; what fields make too long is shortened."""
    with pytest.raises(errors.UsageError, match="more than 255 bytes"):
        check_template(template)
    check_template("é" * 127 + "/\udcff{id}")
    check_template("b" * 256 + "{id}")
    check_template("a/" + "b" * 255)


@quick
@given(_texts)
def test_any_text_becomes_a_portable_name(text: str) -> None:
    """Whatever a server sends makes one component that every system takes, and taking it again changes nothing."""
    name = portable(text)
    assert is_portable(name)
    assert portable(name) == name


def test_a_long_name_is_cut_by_bytes_and_told_apart() -> None:
    """A name of more than 255 bytes keeps its extension, and two that differ in their ends stay two."""
    one, other = portable("狐" * 200 + "1.webp"), portable("狐" * 200 + "2.webp")
    assert LIMIT_BYTES == 255
    assert 240 < len(one.encode()) <= 255
    assert one.endswith(".webp")
    assert one.startswith("狐" * 70)
    assert one != other
    assert portable("x" * 255) == "x" * 255
    assert portable("x" * 300 + "." + "y" * 12).endswith("." + "y" * 12)
    assert len(portable("x" * 200 + "." + "y" * 100)) == 255


# Templates


def test_default_templates() -> None:
    """One file is `ID.EXT`; several are numbered from 0."""
    assert named(default_template(1)).path(0, "webp") == Path("abc.webp")
    assert [named(default_template(2)).path(i, "png").name for i in range(2)] == ["abc-0.png", "abc-1.png"]


@pytest.mark.parametrize(
    ("template", "path"),
    [
        ("{id}", "abc"),
        ("{index}", "7"),
        ("{index:03}", "007"),
        ("{index:03d}", "007"),
        ("{ext}", "webp"),
        ("{model}", "black-forest-labs-flux-schnell"),
        ("{name}", "flux-schnell"),
        ("{date}", "2026-03-12"),
        ("{key}", "abc"),
        ("picture.{ext}", "picture.webp"),
        ("a/{name}/{id}.{ext}", "a/flux-schnell/abc.webp"),
        ("a\\{id}", "a/abc"),
        ("../{id}", "../abc"),
        ("/tmp/{id}", "/tmp/abc"),
        ("{{{id}}}", "{abc}"),
        ("a}}{{b", "a}{b"),
        ("}}/{id}", "}/abc"),
        ("{id}.", "abc"),
        ("co{index:01}", "co7"),
        (".{id}", ".abc"),
        ("{id}.part", "abc.part"),
    ],
    ids=lambda value: str(value),
)
def test_a_template_is_filled(template: str, path: str) -> None:
    """Each field has its value; only the template's own slashes make folders."""
    check_template(template)
    assert named(template).path(7, "webp").as_posix() == path


@pytest.mark.parametrize(
    ("template", "extension"),
    [
        ("boat.png", "png"),
        ("zoo.d/{key}.JPEG", "JPEG"),
        ("zoo\\{id}.webp", "webp"),
        ("{id}.{ext}", ""),
        ("{id}.{index:03}", ""),
        ("boat.p{index}g", ""),
        ("zoo.png/{key}", ""),
        ("zoo.png\\{key}", ""),
        ("", ""),
        ("-", ""),
    ],
    ids=str,
)
def test_an_extension_may_be_fixed(template: str, extension: str) -> None:
    """It is where no field makes it, whatever stands before it and in folders."""
    assert fixed_extension(template) == extension


def test_fields_without_a_value() -> None:
    """A model, date or extension that is not known leaves no empty name behind."""
    names = named("{model}+{name}+{date}+{ext}", model="", date="")
    assert names.path(0, "").name == "model+model+_+bin"


def test_the_key_of_an_item() -> None:
    """In a batch `{key}` is the item's name, made portable."""
    assert named("{key}.{ext}", key="rote/füchse").path(0, "png").name == "rote_füchse.png"


@pytest.mark.parametrize(
    ("template", "key", "extension", "name"),
    [
        ("{key}.{ext}", "batch", "jsonl", "batch-p1.jsonl"),
        ("{key}.{ext}", "Batch.1-20", "JSONL", "Batch.1-20-p1.jsonl"),
        ("{key}.{ext}", "index", "html", "index-p1.html"),
        ("sub/../{key}.{ext}", "index", "html", "index-p1.html"),
        ("here/{key}.{ext}", "batch", "jsonl", "batch-p1.jsonl"),
        ("sub/{key}.{ext}", "index", "html", "index.html"),
        ("{key}.{ext}", "index", "png", "index.png"),
        ("{id}.{ext}", "", "jsonl", "batch.jsonl"),
    ],
)
def test_an_item_never_has_the_name_of_the_batchs_own_files(
    template: str, key: str, extension: str, name: str, tmp_path: Path
) -> None:
    """However its path is written; below the folder, and of a single prediction, it is a name as any other."""
    names = named(template, id="p1" if key else "batch", key=key, folder=str(tmp_path / "out"))
    if not template.startswith("here"):
        assert Names.path.__wrapped__(names, 0, extension).name == name  # before there is a folder
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "here").symlink_to(".")
    assert names.path(0, extension).name == name


@pytest.mark.usefixtures("gone")
def test_an_item_has_a_name_where_the_working_folder_is_gone() -> None:
    """Its files are saved all the same."""
    assert named("{key}.jsonl", key="batch", folder="nowhere").path(0, "bin") == Path("nowhere/batch.jsonl")


@pytest.mark.parametrize(
    ("extension", "name"),
    [
        ("WEBP", "abc.webp"),
        ("p/../n\0g", "abc.png"),
        ("", "abc.bin"),
        ("..", "abc.bin"),
        ("x" * 50, "abc." + "x" * 12),
    ],
    ids=["upper case", "hostile", "empty", "dots", "long"],
)
def test_an_extension_is_letters_and_digits(extension: str, name: str) -> None:
    """An extension is short, lower-case and nothing but an extension."""
    assert named("{id}.{ext}").path(0, extension).name == name


def test_parts_that_make_a_reserved_name_together() -> None:
    """A name is reserved by what it comes to, not by its parts."""
    assert named("co{id}.{ext}", id="n").path(0, "png").name == "_con.png"


@pytest.mark.parametrize(
    ("template", "told"),
    [
        ("", "without a file name"),
        ("a/", "without a file name"),
        ("a/..", "without a file name"),
        ("a\\.", "without a file name"),
        ("..", "without a file name"),
        ("{nope}", "no field {nope}"),
        ("{ID}", "no field {ID}"),
        ("{}", "no field {}"),
        ("{0}", "no field {0}"),
        ("{id.__class__}", "no field {id.__class__}"),
        ("{index[0]}", "no field {index[0]}"),
        ("{a/b}", "no field {a/b}"),
        ("{id:>20}", "only {index:03} takes a format"),
        ("{id!r}", "not {id!r}"),
        ("{index!s}", "not {index!s}"),
        ("{index:3}", "only {index:03} takes a format, not {index:3}"),
        ("{index:x}", "only {index:03} takes a format, not {index:x}"),
        ("{index:999}", "only {index:03} takes a format, not {index:999}"),
        ("{index:{ext}}", "only {index:03} takes a format, not {index:{ext}}"),
        ("{index:/>3}", "only {index:03} takes a format"),
        ("{id", "it has a brace alone; one that belongs to a name is written {{ or }}"),
        ("id}", "it has a brace alone"),
        ("{", "it has a brace alone"),
        ("{id}.cometrep.json", "how sidecars end"),
        ("{id}.Cometrep.{ext}", "how sidecars end"),
        ("{id}.cometrep.json.", "how sidecars end"),
        (".{id}-{index}.part", "how incomplete files are named"),
        ("a/.{id}-0.Part.JSON", "how incomplete files are named"),
        (".x-0.part. ", "how incomplete files are named"),
        (".{id}-{index}.part.{ext}", "how incomplete files are named"),
        ("a\0b", "control character"),
        ("a\nb", "control character"),
        ("\x1b[2J{id}", "control character"),
        ("a\u2028b", "control character"),
    ],
    ids=lambda value: repr(value),
)
def test_a_template_that_cannot_be_filled_is_refused(template: str, told: str) -> None:
    """An unknown field, a format that is none or a stray brace is a usage error with the fields there are.

    Where they are not what is wrong, the hint is a name that works.
    """
    with pytest.raises(errors.UsageError) as raised:
        check_template(template)
    assert told in raised.value.message
    assert repr(template) in raised.value.message
    is_of_fields = told.startswith(("no field", "only", "not {", "it has a brace"))
    assert all(f"{{{field}}}" in raised.value.hint for field in FIELDS) is is_of_fields
    assert is_of_fields or raised.value.hint == "name files as in '{id}-{index}.{ext}'; for a folder use --dir"
    assert raised.value.code == "bad_template"


@needs_proc
@pytest.mark.parametrize("folder", ["/dev", "/dev/fd", "/dev/../dev/", "/proc/self/fd"])
def test_a_folder_of_devices_is_refused(folder: str) -> None:
    """A file there, as of `-o /dev/stdout`, would take the device's place."""
    with pytest.raises(errors.UsageError, match="no place for a file") as raised:
        check_folder(folder)
    assert raised.value.hint.startswith("-o -")
    for other in ("/dev/shm/x", "dev", "", "/device", "/tmp"):
        check_folder(other)


@pytest.mark.parametrize("sign", ["\n", "\x1b", "\x00", "\x7f", "\x85", "\u2028"], ids=repr)
def test_a_folder_whose_paths_are_no_lines_is_refused(sign: str) -> None:
    """A script reads a path a line from stdout, and would take one for two."""
    with pytest.raises(errors.UsageError, match="has a control character inside") as raised:
        check_folder(f"out{sign}put")
    assert sign not in raised.value.message


@quick
@given(st.text(st.sampled_from("{}abindexkyl:03!r[].-/\\ \0"), max_size=16))
@example("{index:03}/{key}")
@example("}}/{{")
def test_any_template_is_refused_or_can_be_filled(template: str) -> None:
    """Whatever passes the check gives a path for every file."""
    try:
        check_template(template)
    except errors.UsageError:
        return
    assert str(named(template).path(3, "png"))


# Where a path leads

FIELD_TEMPLATES = [f"{{{field}}}" for field in FIELDS]


def components(names: Names, indices: range, extension: str) -> Iterator[tuple[str, ...]]:
    """Yield the components below the folder that each file gets."""
    for index in indices:
        yield PurePosixPath(names.path(index, extension).as_posix()).relative_to(names.folder).parts


@quick
@given(
    st.sampled_from([*FIELD_TEMPLATES, "{id}-{index}.{ext}", "{model}/{key}/{date}.{ext}"]), _texts, _texts, _texts
)
def test_no_value_of_a_field_leaves_the_folder(template: str, id: str, model: str, extension: str) -> None:
    """Whatever ids, models, keys and extensions hold, each component is portable and none leads out."""
    names = named(template, id=id, model=model, key=model, date=id, folder="out")
    for parts in components(names, range(2), extension):
        assert len(parts) == template.count("/") + 1
        assert all(is_portable(part) for part in parts)


@quick
@given(_texts, st.integers(2, 30), _texts)
def test_default_names_are_distinct(id: str, count: int, extension: str) -> None:
    """Distinct indices get names that stay distinct where case and accents do not count."""
    names = named(default_template(count), id=id)
    paths = {unicodedata.normalize("NFC", str(names.path(i, extension))).casefold() for i in range(count)}
    assert len(paths) == count
    assert names.are_distinct(count)
    names.check(count)


@pytest.mark.parametrize(
    ("template", "count", "expected"),
    [
        ("{id}.{ext}", 1, True),
        ("{id}.{ext}", 2, False),
        ("{id}.{index}", 2, True),
        ("x", 1, True),
        ("x", 3, False),
        ("{index}/../x", 2, False),
    ],
    ids=str,
)
def test_a_template_that_gives_two_files_one_name_is_refused(template: str, count: int, expected: bool) -> None:
    """Two files never share a name, and the error shows a template that keeps them apart."""
    names = named(template)
    assert names.are_distinct(count) is expected
    if expected:
        names.check(count)
        return
    with pytest.raises(errors.UsageError, match="one name") as raised:
        names.check(count)
    assert raised.value.remedy == "-o '{id}-{index}.{ext}'"
    assert (raised.value.code, raised.value.prediction_id) == ("name_clash", "abc")


@pytest.mark.parametrize(
    ("template", "folder"),
    [
        ("{id}.{ext}", "out"),
        ("a/{id}.{ext}", "out/a"),
        ("a/{index}/{id}", "out/a/3"),
        ("{ext}/{id}", "out"),
        ("a/{ext}/b/{id}.{ext}", "out/a"),
        ("/tmp/{id}.{ext}", "/tmp"),
    ],
    ids=str,
)
def test_the_part_file_lies_where_its_target_will(template: str, folder: str) -> None:
    """The part folder is the target's, up to the first folder that the extension decides."""
    assert named(template, folder="out").part_folder(3).as_posix() == folder
