"""A batch before anything is sent: where its items come from, how many there are, and what is doubtful of them."""

import base64
import contextlib
import errno
import gzip
import io
import json
import os
import shlex
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from cometrep import errors
from cometrep.batch import plan
from cometrep.batch.command_line import typed_again
from cometrep.batch.plan import Plan, Wanted, planned
from tests.servers import SCHNELL

FROM_IMAGE = "black-forest-labs/flux-dev"


class Stdin:
    """A stdin that holds some bytes, once, and perhaps no room to copy them to."""

    def __init__(self, content: bytes = b"", problem: OSError | None = None) -> None:
        self._rest = io.BytesIO(content)
        self._problem = problem

    def read_stdin(self) -> bytes:
        return self._rest.read()

    def copy_stdin(self, target: BinaryIO) -> None:
        if self._problem:
            raise self._problem
        target.write(self._rest.read())


@contextlib.contextmanager
def planning(
    file: str,
    *texts: str,
    model: str = SCHNELL,
    template: str = "",
    is_sweep: bool = False,
    shard: str | None = None,
    is_strict: bool = False,
    stdin: Stdin | None = None,
    is_whole: bool = True,
    typed: str = "",
) -> Iterator[Plan]:
    """Plan a batch as the command does, and check it wholly."""
    stdin = stdin or Stdin()
    with planned(
        Wanted(file, texts, model, is_sweep=is_sweep, shard=shard, is_strict=is_strict),
        template=template,
        command=typed_again(f"cometrep batch {typed or file}", file),
        read_stdin=stdin.read_stdin,
        copy_stdin=stdin.copy_stdin,
    ) as made:
        yield made.wholly_checked(is_strict=is_strict) if is_whole else made


def written(folder: Path, *lines: str) -> str:
    """Write a file of items, and give its path."""
    path = folder / "p.jsonl"
    path.write_text("".join(f"{line}\n" for line in lines))
    return str(path)


def prompts(made: Plan) -> list[str]:
    """Give the prompts of all items, as often as this is asked."""
    return [item.values["prompt"] for item in made.items()]


CATS = ('{"prompt": "cat"}', '{"prompt": "dog"}')


def test_a_file_is_read_as_often_as_it_is_asked_for(tmp_path: Path) -> None:
    """It is checked in one pass and sent in another."""
    with planning(written(tmp_path, *CATS), "seed=7") as made:
        assert (made.total(), made.size, made.doubts) == (2, 2, ())
        assert prompts(made) == prompts(made) == ["cat", "dog"]
        assert {item.values["seed"] for item in made.items()} == {7}


def test_what_comes_once_is_read_as_often_too(tmp_path: Path) -> None:
    """A pipe in place of a file, and stdin, are copied to a temporary file first."""
    content = "\n".join(CATS).encode()
    with planning("-", stdin=Stdin(content)) as made:
        assert prompts(made) == prompts(made) == ["cat", "dog"]
    pipe = tmp_path / "pipe.jsonl"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(content,))
    writer.start()
    with planning(str(pipe)) as made:
        assert prompts(made) == prompts(made) == ["cat", "dog"]
    writer.join()


def test_stdin_may_be_an_input_of_all_items(tmp_path: Path) -> None:
    """Where it is not the source, `name=@-` reads it."""
    with planning(written(tmp_path, '{"seed": 1}', '{"seed": 2}'), "prompt=@-", stdin=Stdin(b"a fox")) as made:
        assert prompts(made) == ["a fox", "a fox"]


def test_stdin_may_hold_the_values_of_a_sweep() -> None:
    """One a line, or a picture that all combinations have."""
    with planning("", "prompt=@-", "seed:=1..2", is_sweep=True, stdin=Stdin(b"fox\nowl\n")) as made:
        assert prompts(made) == ["fox", "fox", "owl", "owl"]
    with planning("", "prompt=a,b", "image@-", is_sweep=True, stdin=Stdin(b"\x89PNG\r\n\x1a\n")) as made:
        assert {item.values["image"] for item in made.items()} == {"data:image/png;base64,iVBORw0KGgo="}


def test_items_that_cannot_be_had_are_an_error(tmp_path: Path) -> None:
    """No such file, and no room for a copy: nothing is planned, and the error says what to do."""
    with pytest.raises(errors.UsageError, match="cannot read") as raised, planning(str(tmp_path / "none")):
        pass
    assert raised.value.hint == "check the path"
    full = Stdin(problem=OSError(errno.ENOSPC, "No space left on device"))
    with pytest.raises(errors.LocalFileError, match="No space left") as no_room, planning("-", stdin=full):
        pass
    assert no_room.value.hint == "export TMPDIR=FOLDER"


@pytest.mark.parametrize(("file", "packed"), [("-", "FILE"), ("my p.gz", "'my p.gz'")])
def test_a_compressed_file_is_unpacked_by_the_hint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, packed: str
) -> None:
    """With every option, and whatever its name says."""
    monkeypatch.chdir(tmp_path)
    content = gzip.compress("\n".join(CATS).encode())
    Path("my p.gz").write_bytes(content)
    planned = planning(file, stdin=Stdin(content), typed=f"{shlex.quote(file)} -m {SCHNELL} {KEPT}")
    with pytest.raises(errors.UsageError, match="is compressed") as raised, planned:
        pass
    assert raised.value.hint == f"gzip -dc {packed} | cometrep batch - -m {SCHNELL} {KEPT}"


def test_bad_lines_are_all_named(tmp_path: Path) -> None:
    """Before anything is sent, however far down they stand."""
    file = written(tmp_path, "{", *CATS, "[]")
    with pytest.raises(errors.UsageError) as raised, planning(file):
        pass
    assert "line 1" in raised.value.message
    assert "line 4" in raised.value.message


@pytest.mark.parametrize(("shard", "size_text"), [(None, ""), ("1/2", ", of which this is shard 1/2")])
def test_a_sweep_says_how_it_comes_to_its_size(shard: str | None, size_text: str) -> None:
    """Each input with the number of its values, and which part of the product this is."""
    with planning("", "prompt=cat,dog", "seed:=1..3", "go_fast=true", is_sweep=True, shard=shard) as made:
        assert made.size == 6
        assert {name: len(values) for name, values in made.axes.items()} == {"prompt": 2, "seed": 3, "go_fast": 1}
        assert made.size_text() == f"2 prompt x 3 seed x 1 go_fast = 6 items{size_text}"


def test_the_size_of_a_sweep_is_known_before_its_combinations_are_looked_through(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Who is shown a product that nobody meant can refuse it at once."""
    monkeypatch.setattr(plan, "check", lambda *_, **__: pytest.fail("they were looked through"))
    words = ("", "prompt=cat", "seed:=1..200000", "num_outputs=1,2,3,4")
    with planning(*words, is_sweep=True, is_whole=False) as made:
        assert made.size_text().endswith("= 800000 items")


def test_shards_part_the_items_between_them(tmp_path: Path) -> None:
    """Each item is in one of them, and each knows its own number and that of all."""
    every = [f"p{number}" for number in range(30)]
    file = written(tmp_path, *(f'{{"prompt": "{prompt}"}}' for prompt in every))
    found: list[str] = []
    for shard in ("1/3", "2/3", "3/3"):
        with planning(file, shard=shard) as made:
            assert (made.total(), made.size) == (len(prompts(made)), 30)
            found += prompts(made)
    assert sorted(found) == sorted(every)


@pytest.mark.parametrize("lines", [CATS, [*CATS, *CATS], ['{"key": "a", "input": {"prompt": "b"}}', *CATS]])
def test_a_shard_knows_how_many_items_are_its_own(tmp_path: Path, lines: list[str]) -> None:
    """Those of repeated lines too, whose keys are known behind the last line alone."""
    file = written(tmp_path, *lines)
    for shard in ("1/3", "2/3", "3/3", "1/1"):
        with planning(file, shard=shard) as made:
            assert made.total() == len([*made.items()])


def test_a_shard_of_a_variable_that_is_not_set_is_not_all(tmp_path: Path) -> None:
    """Each job of many would send the whole file."""
    with pytest.raises(errors.UsageError, match="--shard ''"), planning(written(tmp_path, *CATS), shard=""):
        pass


@pytest.mark.parametrize(
    ("texts", "model", "told"),
    [
        (("prompt=cat",), "", "a sweep needs --model"),
        ((), SCHNELL, "a sweep needs inputs to vary"),
        (("p.jsonl",), SCHNELL, "--sweep takes no FILE, and 'p.jsonl' is one"),
        (("prompt=cat",), "no model", "no model"),
    ],
    ids=["no model", "no inputs", "a file", "a bad model"],
)
def test_a_sweep_that_is_none_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, texts: tuple[str, ...], model: str, told: str
) -> None:
    """With what it lacks, and what to type instead."""
    monkeypatch.chdir(tmp_path)
    written(tmp_path, *CATS)
    with pytest.raises(errors.UsageError, match=told) as raised, planning("", *texts, model=model, is_sweep=True):
        pass
    assert raised.value.hint


KEPT = "--dry-run --shard 1/2 -d new --rate 1/m"  # options that the command of a hint has too


@pytest.mark.parametrize(
    ("words", "model", "told", "hint"),
    [
        ("prompt=a seed:=1..3", SCHNELL, "no file 'prompt=a'", f"prompt=a seed:=1..3 {KEPT} --sweep"),
        ("prompt=a", "", "no file 'prompt=a'", f"prompt=a {KEPT} -m OWNER/NAME --sweep"),
        ("seed=1 p.jsonl", SCHNELL, "no file 'seed=1'", f"p.jsonl seed=1 {KEPT}"),
        ("seed=1 p.jsonl", "", "no file 'seed=1'", f"p.jsonl seed=1 {KEPT} -m OWNER/NAME"),
        (f"p.jsonl {FROM_IMAGE}", "", f"{FROM_IMAGE!r} is a model", f"p.jsonl {KEPT} -m {FROM_IMAGE}"),
        (f"{FROM_IMAGE} p.jsonl", "", f"{FROM_IMAGE!r} is a model", f"p.jsonl {KEPT} -m {FROM_IMAGE}"),
        (f"{FROM_IMAGE} seed=1", "", f"{FROM_IMAGE!r} is a model", f"seed=1 {KEPT} -m {FROM_IMAGE} --sweep"),
        (f"{FROM_IMAGE} seed=1 p.jsonl", "", f"{FROM_IMAGE!r} is a", f"p.jsonl seed=1 {KEPT} -m {FROM_IMAGE}"),
        (FROM_IMAGE, "", f"{FROM_IMAGE!r} is a model", f"FILE {KEPT} -m {FROM_IMAGE}"),
        ("p.jsonl", "", "line 1: it names no model", f"p.jsonl {KEPT} -m OWNER/NAME"),
        ("p.txt seed=1", SCHNELL, "'a red fox' in the header", f"prompt=@p.txt seed=1 {KEPT} --sweep"),
        ("p.txt", "", "'a red fox' in the header", f"prompt=@p.txt {KEPT} -m OWNER/NAME --sweep"),
    ],
)
def test_the_command_that_was_meant_has_every_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str, model: str, told: str, hint: str
) -> None:
    """A model that no -m names, an input without a FILE or before it, a file of prompts: --dry-run pays nothing."""
    monkeypatch.chdir(tmp_path)
    written(tmp_path, *CATS)
    Path("p.txt").write_text("a red fox\nan owl\n")
    with (
        pytest.raises(errors.UsageError, match=told) as raised,
        planning(*words.split(), model=model, typed=f"{words} {KEPT}"),
    ):
        pass
    assert raised.value.hint == f"cometrep batch {hint}"


def test_a_model_without_its_owner_is_the_nearest_that_is_known(tmp_path: Path) -> None:
    """As that of a single create."""
    with pytest.raises(errors.UsageError) as raised, planning(written(tmp_path, *CATS), model="flux-dev"):
        pass
    assert raised.value.hint == f"name it as {FROM_IMAGE}"


@pytest.mark.parametrize(
    ("words", "model", "hint"),
    [
        ("prompt=cat", "", f"prompt=cat {KEPT} -m OWNER/NAME"),
        ("", SCHNELL, f"{KEPT} prompt=cat,dog seed:=1..3"),
    ],
)
def test_a_sweep_without_what_it_needs_is_told_with_it(words: str, model: str, hint: str) -> None:
    """And with every option that was typed."""
    typed = f"{words} {KEPT}".strip()
    with (
        pytest.raises(errors.UsageError) as raised,
        planning("", *words.split(), model=model, is_sweep=True, typed=typed),
    ):
        pass
    assert raised.value.hint == f"cometrep batch {hint}"


def test_a_range_that_items_of_a_file_share_is_none(tmp_path: Path) -> None:
    """Only a sweep has one."""
    file = written(tmp_path, *CATS)
    with pytest.raises(errors.UsageError, match="Extra data") as raised, planning(file, "seed:=1..3"):
        pass
    assert raised.value.hint == "cometrep help batch"


def test_a_sweep_does_not_hint_at_itself() -> None:
    """Where a value is no JSON in it either."""
    with (
        pytest.raises(errors.UsageError, match="Extra data") as raised,
        planning("", "seed:=1.5 2", is_sweep=True),
    ):
        pass
    assert "--sweep" not in raised.value.hint


# What is doubtful


def doubts(file: str, *texts: str, model: str = SCHNELL) -> tuple[str, ...]:
    """Give what is doubtful about a batch."""
    with planning(file, *texts, model=model) as made:
        return made.doubts


def refusal(file: str) -> str:
    """Give the error that the same is when strict."""
    with pytest.raises(errors.UsageError) as raised, planning(file, is_strict=True):
        pass
    assert (raised.value.code, raised.value.hint) == ("bad_items", f"cometrep models {SCHNELL}")
    return raised.value.message


def test_a_doubt_is_told_once_with_its_lines(tmp_path: Path) -> None:
    """One line, several, and the first of many; when strict all of them are bad lines, beside any others."""
    lines = [
        '{"prompt": "x", "num_outputs": 9}',
        '{"prompt": "x", "promt": "x"}',
        CATS[0],
        '{"prompt": "x", "promt": "y"}',
    ]
    found = doubts(written(tmp_path, *lines))
    assert len(found) == 2
    assert found[0].endswith(" (line 1)")
    assert "promt" in found[1]
    assert found[1].endswith(" (lines 2, 4)")
    range_fault, unknown = (told.partition(" (line")[0] for told in found)
    told = refusal(written(tmp_path, *lines, "[]"))
    assert told.startswith("4 bad lines, nothing was sent: ")
    assert told.endswith(f": line 1: {range_fault}; line 2: {unknown}; line 4: {unknown}; line 5: not an object")
    alike = ['{"prompt": "x", "promt": "y"}'] * 8
    (many,) = doubts(written(tmp_path, *alike))
    assert many.endswith(" (lines 1, 2, 3, 4, 5 and 3 more)")


def test_a_cell_that_does_not_fit_its_input_is_doubted_and_sent_as_it_stands(tmp_path: Path) -> None:
    """As the text of `name=text` is: schemas drift, and what is known of a model is no gate."""
    path = tmp_path / "p.csv"
    path.write_text("prompt,seed,go_fast\ncat,7,yes\ndog,seven,\nowl,8,maybe\n")
    with planning(str(path)) as made:
        assert [list(item.values.values())[1:] for item in made.items()] == [[7, True], ["seven"], [8, "maybe"]]
    told = ('seed takes an integer, not "seven" (line 3)', 'go_fast takes a boolean, not "maybe" (line 4)')
    assert made.doubts == told
    assert refusal(str(path)).endswith(
        ': line 3: seed takes an integer, not "seven"; line 4: go_fast takes a boolean, not "maybe"'
    )


@pytest.mark.parametrize("is_strict", [False, True])
def test_names_of_another_format_are_told_once(tmp_path: Path, *, is_strict: bool) -> None:
    """With their lines, or combinations; they refuse nothing, not when strict either."""
    file = written(tmp_path, *CATS, '{"prompt": "x", "output_format": "jpg"}', '{"prompt": "x"}')
    by_default = f"{{key}}.png is to hold png, but {SCHNELL} makes webp: add output_format=png"
    with planning(file, template="{key}.png", is_strict=is_strict) as made:
        assert made.hints == (
            f"{by_default} (lines 1, 2, 4)",
            "{key}.png is to hold png, but output_format is jpg (line 3)",
        )
    with planning(file, template="{key}.{ext}", is_strict=is_strict) as made:
        assert made.hints == ()
    sweep = ("", "prompt=x", "output_format=png,webp")
    with planning(*sweep, template="{key}.png", is_sweep=True, is_strict=is_strict) as made:
        assert made.hints == ("{key}.png is to hold png, but output_format is webp (combination 2)",)


def test_a_doubt_of_a_sweep_is_told_with_its_combinations_and_once() -> None:
    """When strict it is the error, and no warning before that."""
    sweep = ("", "prompt=cat,dog", "num_outputs:=1,9")
    with planning(*sweep, is_sweep=True) as made:
        (told,) = made.doubts
    assert told.endswith(" (combinations 2, 4)")
    with planning(*sweep, is_sweep=True, is_strict=True, is_whole=False) as made:
        assert made.doubts == ()
    with pytest.raises(errors.UsageError) as raised, planning(*sweep, is_sweep=True, is_strict=True):
        pass
    doubt = told.removesuffix(" (combinations 2, 4)")
    told = f"combination 2: {doubt}; combination 4: {doubt}"
    assert raised.value.message == f"2 bad combinations, nothing was sent: {told}"


def test_a_bad_combination_is_told_as_one(tmp_path: Path) -> None:
    """A sweep has no lines."""
    (tmp_path / "large.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(6_000_000))
    pictures = [f"{name}@{tmp_path / 'large.png'}" for name in ("image", "mask")]
    sweep = planning("", "prompt=cat,dog", *pictures, is_sweep=True, is_strict=True)
    with pytest.raises(errors.UsageError, match="2 bad combinations, nothing was sent: combination 1: "), sweep:
        pass


@pytest.mark.parametrize("is_strict", [False, True])
def test_a_large_picture_is_a_warning_when_strict_too(tmp_path: Path, *, is_strict: bool) -> None:
    """As `run` has it: strictness is about what the catalog knows; shared by all items or in one line."""
    large = b"\x89PNG\r\n\x1a\n" + bytes(300_000)
    (tmp_path / "large.png").write_bytes(large)
    uri = "data:image/png;base64," + base64.b64encode(large).decode()
    shared = planning(
        written(tmp_path, *CATS), f"image@{tmp_path / 'large.png'}", model=FROM_IMAGE, is_strict=is_strict
    )
    with shared as made:
        (told,) = made.doubts
    assert told.startswith("image is ")
    sweep = ("", "prompt=cat,dog", f"image@{tmp_path / 'large.png'}")
    with planning(*sweep, model=FROM_IMAGE, is_sweep=True, is_strict=is_strict) as made:
        (told,) = made.doubts
    assert told.startswith("image is ")
    own = json.dumps({"prompt": "x", "image": uri})
    with planning(written(tmp_path, own), model=FROM_IMAGE, is_strict=is_strict) as made:
        (told,) = made.doubts
    assert told.startswith("image is ")


def test_only_the_first_doubts_are_told(tmp_path: Path) -> None:
    """Many kinds are counted; where each line has its own, the rest is not even looked at, nor counted."""
    few = [f'{{"prompt": "x", "odd{number:04}": 1}}' for number in range(8)]
    *shown, rest = doubts(written(tmp_path, *few))
    assert [f"odd{number:04}" in told for number, told in enumerate(shown)] == [True] * 5
    assert rest == "and 3 doubts more"
    many = [f'{{"prompt": "x", "odd{number:04}": 1}}' for number in range(3000)]
    *_, rest = doubts(written(tmp_path, *many))
    assert rest == "and many more doubts"


def test_a_doubt_of_what_all_have_is_told_without_lines(tmp_path: Path) -> None:
    """A large picture that is given for all items is said once, not for each of them."""
    (tmp_path / "large.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(300_000))
    (told,) = doubts(written(tmp_path, *CATS), f"image@{tmp_path / 'large.png'}", model=FROM_IMAGE)
    assert told.startswith("image is ")
    assert "line" not in told


def test_the_first_many_items_are_looked_at_and_all_when_strict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch of a million lines begins at once; a strict check leaves none out."""
    monkeypatch.setattr(plan, "DOUBTED_ITEMS", 2)
    file = written(tmp_path, *CATS, '{"prompt": "x", "promt": "y"}')
    assert doubts(file) == ()
    assert "line 3: " in refusal(file)
