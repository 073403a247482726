"""A batch's items: the keys that name them across runs, and what is said of a source with bad lines."""

import hashlib
import io
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cometrep import errors
from cometrep.batch import items
from cometrep.batch.items import Item, check, in_shard, parse_shard
from cometrep.batch.sources import FileSource
from cometrep.data_uris import shorten_data_uris
from tests.servers import SCHNELL


def read(text: str, model: str = SCHNELL, **common: Any) -> list[Item]:
    """Read a file wholly, as a batch does."""
    source = FileSource(io.BytesIO(text.encode()), "a.jsonl", model)
    checked = check(source, model=model, common=lambda _: common)
    return list(items.items(source, checked, model=model, common=lambda _: common))


def refusal(text: str) -> str:
    """Read a bad file and give the message of its refusal."""
    with pytest.raises(errors.UsageError) as refused:
        read(text)
    return refused.value.message


def test_common_inputs_fill_what_lines_leave_out() -> None:
    """A line's own value wins."""
    one, other = read('{"prompt": "a"}\n{"prompt": "b", "seed": 2}', seed=1)
    assert (one.values["seed"], other.values["seed"]) == (1, 2)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"model": "x", "input": {}}', "line 1: 'x' is not a model"),
        (f'{{"key": "{"k" * 201}", "input": {{}}}}', "longer than 200"),
        ('{"prompt": }', "line 1: not JSON: Expecting value (column 12)"),
        (
            f'{{"prompt": "x"}}\n{{"image": "data:;base64,{"A" * 14_000_000}"}}',
            "line 2: the files and texts of this input",
        ),
        ("\n \n", "no items"),
        ("", "no items"),
    ],
)
def test_a_line_that_cannot_be_sent_is_named(text: str, told: str) -> None:
    """Nothing of the batch is sent."""
    assert told in refusal(text)


def test_every_bad_line_is_named_and_the_first_ones_with_the_reason() -> None:
    """Of the twenty-first on the numbers alone, in ranges."""
    lines = ["{"] * 25 + ['{"prompt": "x"}', "[]"]
    told = refusal("\n".join(lines))
    assert told.startswith("26 bad lines, nothing was sent: line 1:")
    assert "line 20:" in told
    assert "line 21:" not in told
    assert told.endswith("and wrong too: 21-25, 27")


def test_a_long_fault_leaves_room_for_the_others() -> None:
    """As one with the text that stands in the place of a model."""
    told = refusal("\n".join(f'{{"model": "{"x" * 10_000}", "prompt": "{number}"}}' for number in range(30)))
    assert re.findall(r"line (\d+): ", told) == [str(number) for number in range(1, 21)]
    assert len(told) < 10_000


def test_bad_lines_are_told_in_their_order() -> None:
    """Those too that only a look at all keys finds."""
    line = '{"key": "k", "input": {"prompt": "x"}}'
    told = refusal("\n".join([line, line, "{", line]))
    assert re.findall(r"line (\d): ", told) == ["2", "3", "4"]


def test_a_line_that_is_wrong_in_two_ways_is_one_bad_line() -> None:
    """With both told where it is one of the first, and else named once."""
    lines = "\n".join(['{"key": "k", "model": "x", "input": {}}'] * 30)
    told = refusal(lines)
    assert told.startswith("30 bad lines, nothing was sent: ")
    assert "line 2: 'x' is not a model" in told
    assert "; the key 'k' is that of line 1 too; line 3: " in told
    assert told.endswith("and wrong too: 21-30")


def test_every_line_with_a_key_of_another_is_named() -> None:
    """However many they are."""
    told = refusal("\n".join(['{"key": "k", "input": {"prompt": "x"}}'] * 30))
    assert "line 2: the key 'k' is that of line 1 too" in told
    assert told.endswith("and wrong too: 22-30")


def test_a_key_that_another_line_has_from_its_inputs_is_an_error() -> None:
    """As one out of an earlier run's results, whose inputs were edited; of lines alike the number counts too."""
    solo, edited = '{"prompt": "solo"}', '{{"key": "{}", "input": {{"prompt": "edited"}}}}'
    (key,) = (item.key for item in read(solo))
    assert [item.key for item in read(edited.format(key))] == [key]
    assert [item.key for item in read("\n".join([edited.format(f"{key}-2"), solo]))] == [f"{key}-2", key]
    told = refusal("\n".join([solo, edited.format(key)]))
    assert f"line 2: the key {key!r} is that of line 1 too" in told
    told = refusal("\n".join([edited.format(f"{key}-2"), solo, solo]))
    assert f"line 3: the key of its inputs, {key + '-2'!r}, is that of line 1 too" in told


def test_duplicate_keys_are_an_error_that_names_both_lines() -> None:
    """Numbers count as their text."""
    line = '{{"key": {}, "input": {{"prompt": "{}"}}}}'
    told = refusal("\n".join([line.format('"7"', "a"), line.format('"x"', "b"), line.format("7", "c")]))
    assert "line 3: the key '7' is that of line 1 too" in told


def test_equal_lines_get_keys_of_their_own() -> None:
    """The second and later occurrences are numbered, so that each is one item."""
    text = '{"prompt": "a", "seed": 1}\n{"seed": 1, "prompt": "a"}\n{"prompt": "b"}\n{"prompt": "a", "seed": 1}\n'
    first, second, other, third = (item.key for item in read(text))
    assert (second, third) == (f"{first}-2", f"{first}-3")
    assert other not in (first, second, third)


def test_a_key_of_its_own_stays_beside_lines_that_are_alike() -> None:
    """It is not numbered as they are, nor does it count among them."""
    plain, named = '{"prompt": "a"}', '{"key": "mine", "input": {"prompt": "a"}}'
    first, *others = (item.key for item in read("\n".join([plain, named, plain])))
    assert others == ["mine", f"{first}-2"]


def test_a_changed_file_keeps_the_keys_of_what_is_the_same() -> None:
    """Keys do not depend on place, on the order of inputs, nor on whether a value is common to all."""
    before = {item.key for item in read('{"prompt": "a", "seed": 1}\n{"prompt": "b", "seed": 1}\n')}
    after = {item.key for item in read('{"prompt": "new"}\n{"prompt": "b"}\n{"prompt": "a"}\n', seed=1)}
    assert before < after


@pytest.mark.parametrize(
    "line",
    [
        '{"image": "data:image/png;base64,aGVsbG8="}',
        '{"image": "DATA:image/png;base64,aGVsbG8="}',
        r'{"image": "\u0064ata:image/png;base64,aGVsbG8="}',
        '{"images": [ "data:image/png;base64,aGVsbG8="], "prompt": "cat"}',
        '{"prompt": "a \\"data:image/png;base64,aGVsbG8=\\" in quotes"}',
        '{"prompt": "cat"}',
    ],
)
def test_a_file_in_a_line_counts_by_its_content_however_it_is_written(line: str) -> None:
    """What spares most lines a closer look never spares one that holds a file."""
    (item,) = read(line)
    sent = json.dumps([SCHNELL, shorten_data_uris(json.loads(line))], sort_keys=True, separators=(",", ":"))
    assert item.key == hashlib.sha256(sent.encode()).hexdigest()[:20]


def test_another_model_or_value_is_another_item() -> None:
    """What would be a different picture has a different key."""
    texts = ['{"prompt": "a"}', '{"prompt": "b"}', '{"prompt": "a", "seed": 1}', '{"prompt": "a", "seed": "1"}']
    keys = {read(text)[0].key for text in texts} | {read(texts[0], model="a/b")[0].key}
    assert len(keys) == 5


@given(st.lists(st.dictionaries(st.sampled_from(["prompt", "seed", "x"]), st.integers() | st.text()), min_size=1))
def test_keys_are_unique_and_stable(lines: list[dict[str, Any]]) -> None:
    """For any lines: as many keys as lines, the same each time, and independent of the order of the lines."""
    text = "\n".join(json.dumps(line) for line in lines)
    keys = [item.key for item in read(text)]
    assert len(set(keys)) == len(lines)
    assert keys == [item.key for item in read(text)]
    assert set(keys) == {item.key for item in read("\n".join(json.dumps(line) for line in reversed(lines)))}


@given(st.lists(st.text(min_size=1), unique=True), st.integers(1, 7))
def test_shards_are_disjoint_and_complete(keys: list[str], count: int) -> None:
    """Every key belongs to exactly one of the shards."""
    for key in keys:
        assert sum(in_shard(key, number, count) for number in range(1, count + 1)) == 1


def test_shards_are_of_similar_size() -> None:
    """No shard of four has all of a thousand keys."""
    sizes = [sum(in_shard(f"key {i}", number, 4) for i in range(1000)) for number in range(1, 5)]
    assert all(200 < size < 300 for size in sizes), sizes


def test_a_shard_is_the_same_everywhere() -> None:
    """On any machine, in any version: an item that changed its shard between two runs would be paid for twice."""
    shards = [next(number for number in range(1, 6) if in_shard(f"key {i}", number, 5)) for i in range(12)]
    assert shards == [4, 2, 4, 3, 2, 4, 1, 4, 5, 3, 4, 1]


@pytest.mark.parametrize("text", ["", "0/3", "4/3", "1", "1/0", "a/b", "1/3 ", "-1/3"])
def test_a_bad_shard_is_refused(text: str) -> None:
    """With the form it should have."""
    with pytest.raises(errors.UsageError) as refused:
        parse_shard(text)
    assert refused.value.message == f"--shard {text!r} is not a part I/N, with I from 1 to N"
    assert parse_shard(refused.value.hint.split()[1].rstrip(",")) == (1, 4)


def test_people_know_an_item_by_its_key_or_its_place() -> None:
    """The label of a keyless item shows how its prompt begins."""
    named, long, bare = read(
        f'{{"key": "k", "input": {{"prompt": "x"}}}}\n{{"prompt": "{"p" * 50}"}}\n{{"seed": 1}}'
    )
    assert (named.label, long.label, bare.label) == ("k", f"item 2 ({'p' * 40}…)", "item 3")
