"""Where a batch's items come from: what is read from JSON Lines, CSV and sweeps, and what is no item there."""

import csv
import io
import json
import re
import shlex
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cometrep import catalog, errors
from cometrep.batch import sources
from cometrep.batch.sources import FileSource, Line, SweepSource, Wrong, sweep_axes
from tests.servers import SCHNELL


def source(text: str | bytes, name: str = "a.jsonl", model: str = SCHNELL) -> FileSource:
    """Make a source of a file's text."""
    content = text.encode() if isinstance(text, str) else text
    return FileSource(io.BytesIO(content), name, model)


def read(text: str | bytes, name: str = "a.jsonl", model: str = SCHNELL) -> list[Line]:
    """Read a file that has nothing but items."""
    lines = list(source(text, name, model).lines())
    assert not [line for line in lines if isinstance(line, Wrong)]
    return [line for line in lines if isinstance(line, Line)]


def wrongs(text: str | bytes, name: str = "a.jsonl") -> list[str]:
    """Read a file and tell each line that is no item, with what is wrong with it."""
    lines = source(text, name).lines()
    return [f"line {line.number}: {line.text}" for line in lines if isinstance(line, Wrong)]


def test_json_lines_are_inputs_or_items_with_key_and_model() -> None:
    """Both forms stand in one file; blank lines, CRLF and a byte order mark do no harm."""
    text = '\ufeff{"prompt": "cat"}\r\n\n{"key": "dog", "model": "a/b", "input": {"prompt": "dog"}}'
    first, second = read(text)
    assert (first.number, first.model, first.values) == (1, "", {"prompt": "cat"})
    assert (second.number, second.key, second.model, second.values) == (3, "dog", "a/b", {"prompt": "dog"})


def test_an_object_with_other_fields_is_inputs_even_if_one_is_called_input() -> None:
    """Only `key`, `model` and `input` together make an item; a model may have an input of that name."""
    (item,) = read('{"input": "a.png", "prompt": "x"}')
    assert item.values == {"input": "a.png", "prompt": "x"}


def test_csv_columns_are_typed_by_the_catalog() -> None:
    """Numbers and booleans where the catalog has them, JSON where the column asks, text else; empty is absent."""
    text = 'prompt,seed,go_fast,extra:json,note\n"a, ""b""\nc",7,true,"{""x"": [1]}",007\ncat,,,,\n'
    first, second = read(text, "a.csv")
    assert first.values == {
        "prompt": 'a, "b"\nc',
        "seed": 7,
        "go_fast": True,
        "extra": {"x": [1]},
        "note": "007",
    }
    assert second.values == {"prompt": "cat"}


def test_blank_lines_may_stand_before_a_header() -> None:
    """As they may anywhere."""
    (item,) = read("\n\r\nprompt,seed\n\ncat,7\n", "a.csv")
    assert (item.number, item.values) == (5, {"prompt": "cat", "seed": 7})


def test_csv_columns_key_and_model_name_the_item() -> None:
    """With --model the column `model` is an input like any other."""
    text = "key,model,prompt\nk1,a/b,cat\n"
    (item,) = read(text, "a.csv", model="")
    assert (item.key, item.model, item.values) == ("k1", "a/b", {"prompt": "cat"})


@pytest.mark.parametrize("name", ["-", "data"])
def test_the_first_character_tells_csv_from_json_lines(name: str) -> None:
    """Where the name does not."""
    assert read("prompt\ncat\n", name)[0].values == {"prompt": "cat"}
    assert read('{"prompt": "cat"}\n', name)[0].values == {"prompt": "cat"}


@pytest.mark.parametrize("first", ["# my prompts", "null", '"prompt": "fox"}'])
@pytest.mark.parametrize("name", ["a.jsonl", "a.NDJSON", "a.txt", "-"])
def test_a_bad_first_line_makes_no_csv_of_json_lines(name: str, first: str) -> None:
    """Its other lines are not taken for prompts, and all that are bad are named."""
    begun, bad = wrongs(f'{first}\n{{"prompt": "owl"}}\nbad\n', name)
    assert begun.startswith("line 1: not ")
    assert bad.startswith("line 3: not JSON")


def test_json_lines_under_the_name_of_a_csv_are_no_prompts() -> None:
    """The command that would pay for each object as a prompt is not the hint."""
    file = FileSource(
        io.BytesIO(b'# prompts\n{"prompt": "owl"}\n'), "a.csv", SCHNELL, as_sweep="cometrep batch --sweep"
    )
    (wrong,) = file.lines()
    assert isinstance(wrong, Wrong)
    assert "JSON Lines stand in a file named *.jsonl" in wrong.text
    assert not wrong.hint


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"prompt": }', "line 1: not JSON: Expecting value (column 12)"),
        ("[1]", "line 1: not an object"),
        ('{"seed": NaN}', "NaN is not JSON"),
        (b'{"prompt": "\xff"}', "line 1: not UTF-8"),
        ('{"input": 3}', "line 1: input is not an object"),
        ('{"key": true, "input": {}}', "line 1: key and model are texts"),
        ('{"key": 1.5, "input": {}}', "line 1: key and model are texts"),
        ('{"key": "k", "model": null, "input": {}}', "line 1: key and model are texts"),
        ('{"key": "k", "extra": 1, "input": {"prompt": "x"}}', "line 1: 'extra' beside input"),
        ('{"prompt": "x"}\n{"prompt": "x", "prompt": "y"}', "line 2: not JSON: 'prompt' stands in it twice"),
        ('{"key": "", "input": {"prompt": "x"}}', "line 1: the key is empty"),
        ("[" * 100_000, "line 1: not JSON"),
        ('{"prompt": "x"}\n{"seed": 1e999}', "line 2: not JSON: 1e999 is too large a number"),
        ('{"key": "\\ud800", "input": {"prompt": "x"}}', "line 1: the key holds half a character"),
    ],
)
def test_a_bad_line_is_named_by_its_number(text: str | bytes, told: str) -> None:
    """With what is wrong with it."""
    (wrong,) = wrongs(text)
    assert told in wrong


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("prompt,seed\ncat\n", "line 2: 1 value under 2 columns"),
        ("prompt\na cat, red\n", "line 2: 2 values under 1 column; text with a comma stands in double quotes"),
        ("\n\nprompt,\ncat,1\n", "line 3: the header names no input in column 2"),
        ("prompt,\ncat,1\n", "line 1: the header names no input in column 2"),
        ("prompt,:json\ncat,1\n", "line 1: the header names no input in column 2"),
        ("prompt,prompt\na,b\n", "line 1: the header names 'prompt' twice"),
        ("key:json,prompt\n1,b\n", "line 1: a key and a model are texts: their columns are `key` and `model`"),
        ("prompt,model:json\na,1\n", "line 1: a key and a model are texts: their columns are `key` and `model`"),
        ("prompt,seed:json,seed\na,1,2\n", "line 1: the header names 'seed' twice"),
        ("prompt,x:json\ncat,{\n", "line 2: x:json: "),
        ("prompt,x:json\ncat,-1e999\n", "line 2: x:json: -1e999 is too large a number"),
        ('prompt\n"cat\ndog\n', "line 2: a double quote is not closed; what stands behind it was not checked"),
        (b"prompt\n\xff\n", "line 2: not UTF-8"),
        (b"\n\nprompt\nc\0at\n", "line 4: not text: it has NUL bytes"),
    ],
)
def test_a_bad_row_is_named_by_its_line(text: str | bytes, told: str) -> None:
    """CSV too."""
    (wrong,) = wrongs(text, "a.csv")
    assert told in wrong


def test_a_row_that_cannot_be_read_hides_no_other_bad_one() -> None:
    """The next line begins a new row."""
    told = wrongs('prompt,seed:json\nb,zz\n"a"x,1\nc,yy\nd,1,2\n"e"y\n', "a.csv")
    assert [wrong[:7] for wrong in told] == ["line 2:", "line 3:", "line 4:", "line 5:", "line 6:"]


@pytest.mark.parametrize(
    ("text", "told", "hint"),
    [
        ('[{"prompt": "a"}, {"prompt": "b"}]', "array", "jq -c '.[]' 'my a.json' > 'my a.json.jsonl'"),
        ('[\r\n  {"prompt": "a"}\r\n]\r\n', "array", "jq -c '.[]' 'my a.json' > 'my a.json.jsonl'"),
        ('{\n  "prompt": "a"\n}', "object over several lines", "jq -c . 'my a.json' > 'my a.json.jsonl'"),
        ('{"prompt": "a",\n "seed": 7}', "object over several lines", "jq -c . 'my a.json' > 'my a.json.jsonl'"),
    ],
)
def test_a_file_that_is_one_json_value_is_told_as_such(text: str, told: str, hint: str) -> None:
    """Once, and not each of its lines; the hint is what makes lines of it."""
    (wrong,) = source(text, "my a.json").lines()
    assert wrong == Wrong(1, f"the file is a JSON {told}, not one object a line", hint)


def test_a_line_that_is_no_json_makes_no_indented_object() -> None:
    """Lines that are whole, or torn, are told one by one."""
    assert "line 2: not JSON" in wrongs('{"prompt": "a"}\n"prompt": "b"}\n')[0]
    assert "line 1: not JSON" in wrongs('{"prompt": "a\n{"prompt": "b"}\n')[0]


@pytest.mark.parametrize("name", ["key", "model"])
def test_a_key_or_model_beside_the_inputs_is_an_error(name: str) -> None:
    """It would be paid for as an input; in the long form such an input can be sent."""
    assert (
        f"line 1: {name!r} beside the inputs would be sent as one of them"
        in wrongs(json.dumps({name: "a/b", "prompt": "x"}))[0]
    )
    assert read(json.dumps({"input": {name: "a/b"}}))[0].values == {name: "a/b"}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("prompt\ncat\n".encode("utf-16"), "line 1: not UTF-8 but UTF-16; save the file as UTF-8"),
        (b"prompt\rcat\rdog\r", "line 1: a carriage return alone ends no line"),
    ],
    ids=["UTF-16", "carriage returns"],
)
def test_a_file_that_a_spreadsheet_wrote_otherwise_is_told(content: bytes, told: str) -> None:
    """In words that say what to do about it."""
    (wrong,) = wrongs(content, "a.csv")
    assert told in wrong


@pytest.mark.parametrize(
    ("content", "name", "hint"),
    [
        ("a fox, red\nan owl\n", "a.txt", "cometrep batch --sweep"),
        ("a fox, red\nan owl, grey\n", "-", "cometrep batch --sweep"),
        ("a fox, red\nan owl, grey\n", "a.csv", ""),
        ("prompt, seed\nfox, 3\n", "a.txt", ""),
        ("seed, my text\n3,fox\n", "a.txt", ""),
        ("key, my text\na,fox\n", "a.txt", ""),
    ],
)
def test_prompts_with_commas_are_no_columns(content: str, name: str, hint: str) -> None:
    """The command that was meant is the hint, unless the name or a column tells of a table."""
    (wrong,) = FileSource(io.BytesIO(content.encode()), name, SCHNELL, as_sweep="cometrep batch --sweep").lines()
    assert isinstance(wrong, Wrong)
    assert wrong.hint == hint


def test_a_csv_cell_may_hold_a_data_uri() -> None:
    """As large as one of JSON Lines."""
    (item,) = read(f'prompt,image\nx,"data:;base64,{"A" * 1_000_000}"\n', "a.csv")
    assert len(item.values["image"]) > 1_000_000


@given(st.lists(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0")), min_size=2, max_size=2)))
def test_csv_reads_what_csv_writes(rows: list[list[str]]) -> None:
    """Any text comes through a CSV file as it was, empty cells as absent inputs."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)
    writer.writerow(["prompt", "note"])
    writer.writerows(rows)
    expected = [
        {name: cell for name, cell in zip(("prompt", "note"), row, strict=True) if cell} for row in rows if any(row)
    ]
    lines = list(source(buffer.getvalue(), "a.csv").lines())
    assert [line.values for line in lines if isinstance(line, Line)] == expected
    assert len(lines) == len(expected)


def axes(*texts: str, files: dict[str, str] | None = None) -> dict[str, list[Any]]:
    """Read a sweep's items."""
    return sweep_axes(
        texts, lambda name: catalog.kind_of(SCHNELL, name), lambda name, _: (files or {})[name].encode()
    )


def test_a_sweep_has_every_combination_the_last_input_fastest() -> None:
    """Files give one value a line, ranges whole numbers, commas choices."""
    found = axes(
        "prompt=@p.txt", "seed:=1..2", "aspect_ratio=1:1,16:9", files={"p.txt": "a fox, red\r\n\n@home\nb=c\n"}
    )
    assert found == {"prompt": ["a fox, red", "@home", "b=c"], "seed": [1, 2], "aspect_ratio": ["1:1", "16:9"]}
    swept = SweepSource(found)
    values = [line.values for line in swept.lines() if isinstance(line, Line)]
    assert swept.size == len(values) == 12
    assert values[0] == {"prompt": "a fox, red", "seed": 1, "aspect_ratio": "1:1"}
    assert values[1] == {"prompt": "a fox, red", "seed": 1, "aspect_ratio": "16:9"}


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("seed=3..5", [3, 4, 5]),
        ("seed:=0..10..5", [0, 5, 10]),
        ("seed:=-2..1", [-2, -1, 0, 1]),
        ("seed:=4000000..4000001", [4_000_000, 4_000_001]),
        ("prompt=1..3", ["1..3"]),
        ("prompt=red, green and blue", ["red, green and blue"]),
        ("prompt=red\\,green,blue", ["red,green", "blue"]),
        ("size:=[1,2]", [[1, 2]]),
        ('input_images:=["x,y"],["y"], []', [["x,y"], ["y"], []]),
        ('prompt:="a, b","c\\",d"', ["a, b", 'c",d']),
        ("seed:=1..2 ,7, 9", [1, 2, 7, 9]),
        ('prompt="Hi" sign,dog', ['"Hi" sign', "dog"]),
        ("prompt=[cat|dog] x,{owl} y", ["[cat|dog] x", "{owl} y"]),
        ("guidance:=1.5,2", [1.5, 2]),
        ("prompt=a\\,,b", ["a,", "b"]),
        ('prompt:="","a"', ["", "a"]),
        ("prompt=...,x", ["...", "x"]),
    ],
)
def test_an_axis_of_a_sweep(text: str, values: list[Any]) -> None:
    """Ranges only where numbers are meant; a comma before a space is text."""
    assert next(iter(axes(text).values())) == values


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("seed:=5..1", "no range of whole numbers"),
        ("seed:=1..5..0", "no range of whole numbers"),
        ("seed:=100..0..-50", "no range of whole numbers"),
        ("seed=..5", "no range of whole numbers"),
        ("guidance:=1,0.1..0.5", "no range of whole numbers"),
        ("guidance:=0.1..0.5..0.1", "no range of whole numbers"),
        ("seed:=0..9999999", "more than a million values"),
        ("prompt=", "gives no value"),
        ("seed:=", "gives no value"),
        ("seed:=,", "no value beside one of its commas"),
        ("seed:=1,,2", "no value beside one of its commas"),
        ("seed:=1,2, ", "no value beside one of its commas"),
        ("prompt=,ugly", "no value beside one of its commas"),
        ("prompt=a,", "no value beside one of its commas"),
        ("seed:=[1,2", "not JSON"),
        ('x:="a', "not JSON"),
    ],
)
def test_a_bad_axis_is_refused(text: str, told: str) -> None:
    """With the text as it was typed."""
    with pytest.raises(errors.UsageError, match=told) as refused:
        axes(text)
    assert text in refused.value.message


@pytest.mark.parametrize("ends", ["\n", "\r\n"], ids=["LF", "CRLF"])
def test_a_file_of_as_many_lines_as_a_range_has_numbers_is_none_too_many(
    ends: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A newline at the end begins no line."""
    monkeypatch.setattr(sources, "_MOST_VALUES", 100)
    content = f"1{ends}" * 100
    assert axes("seed=@f", files={"f": content}) == {"seed": [1] * 100}
    with pytest.raises(errors.UsageError, match="has more than a million lines"):
        axes("seed=@f", files={"f": f"{content}1{ends}"})


def test_an_empty_text_among_others_is_written_as_json() -> None:
    """Which the hint does; one that was left out without a word was to be compared with."""
    with pytest.raises(errors.UsageError) as refused:
        axes("prompt=,ugly")
    (item,) = re.findall(r"prompt:=\S+", refused.value.hint)
    assert axes(*shlex.split(item)) == {"prompt": ["", "other"]}


def test_an_input_given_twice_is_refused_in_a_sweep() -> None:
    """Which of the two would vary?"""
    with pytest.raises(errors.UsageError, match="twice"):
        axes("seed:=1", "seed:=2")
