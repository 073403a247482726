"""Tables: what is cut and what goes where a terminal is narrow."""

from collections import Counter

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.cells import cell_len

from cometrep.console.table import table_lines

HEADER = ("ID", "MODEL", "FILES", "PROMPT")
ROW = ("a" * 10, "owner/some-model-of-theirs", "1", "a cat on a mat in a hat")


@pytest.mark.parametrize(
    ("width", "header", "row"),
    [
        (70, "ID          MODEL                       FILES  PROMPT", "  ".join((ROW[0], ROW[1], "1    ", ROW[3]))),
        (64, "ID          MODEL                 FILES  PROMPT", f"{ROW[0]}  some-model-of-theirs  1      {ROW[3]}"),
        (50, "ID          MODEL           FILES  PROMPT", "aaaaaaaaaa  …del-of-theirs  1      a cat on a mat…"),
        (40, "ID          MODEL          PROMPT", "aaaaaaaaaa  …el-of-theirs  a cat on a m…"),
        (26, "ID          MODEL", "aaaaaaaaaa  …del-of-theirs"),
        (12, "ID", "aaaaaaaaaa"),
    ],
    ids=["whole", "no owner", "cut", "no spare column", "no last column", "the first alone"],
)
def test_what_tells_rows_apart_stays_longest(width: int, header: str, row: str) -> None:
    """Owners go first, then the ends of texts and the beginnings of models' names, then whole columns."""
    assert table_lines(HEADER, [ROW], width, spare=("FILES",)) == [header, row]


@pytest.mark.parametrize(("width", "spared", "other"), [(90, 38, 40), (60, 12, 36), (40, 12, 16)])
def test_what_can_be_spared_gives_room_first(width: int, spared: int, other: int) -> None:
    """But not before what is long: a column of forty characters does well without the rest."""
    rows = [("i" * 50, "d" * 8, "w" * 99)]
    header, row = table_lines(("ITEM", "ID", "WHY"), rows, width, whole="ID", spare=("ITEM",))
    assert header.split() == ["ITEM", "ID", "WHY"]
    assert [len(cell) for cell in row.split("  ")] == [spared, 8, other]


INPUTS = ("INPUT", "TYPE", "TAKES", "ABOUT")
RATIO = ("aspect_ratio", "string", "1:1, 16:9, 21:9, 3:2", "Shape of the picture")


@pytest.mark.parametrize(
    ("width", "lines"),
    [
        (
            70,
            [
                "INPUT         TYPE    TAKES                 ABOUT",
                "aspect_ratio  string  1:1, 16:9, 21:9, 3:2  Shape of the picture",
            ],
        ),
        (
            50,
            [
                "INPUT         TYPE    TAKES          ABOUT",
                "aspect_ratio  string  1:1, 16:9,     Shape of the",
                "                      21:9, 3:2      picture",
            ],
        ),
        (
            24,
            [
                "aspect_ratio",
                "  TYPE   string",
                "  TAKES  1:1, 16:9,",
                "         21:9, 3:2",
                "  ABOUT  Shape of the",
                "         picture",
            ],
        ),
        (20, ["INPUT         TYPE", "aspect_ratio  string"]),
    ],
    ids=["whole", "wrapped", "stacked", "cut"],
)
def test_what_is_to_be_read_whole_goes_on_below(width: int, lines: list[str]) -> None:
    """In the next line of its column, and where columns find no room, behind their names."""
    assert table_lines(INPUTS, [RATIO], width, wraps=True) == lines


def test_wide_characters_count_twice() -> None:
    """Columns are those of the screen."""
    assert table_lines(("ID", "PROMPT"), [("a", "猫" * 9)], 16) == ["ID  PROMPT", "a   " + "猫" * 5 + " …"]


CELLS = st.text(st.characters(categories=("L", "N", "P", "Zs")), max_size=30)


@example([["", "", "", "\u1160"]], 22)  # a letter without a width
@given(st.lists(st.lists(CELLS, min_size=4, max_size=4), max_size=4), st.integers(2, 100))
def test_no_table_is_wider_than_its_screen(rows: list[list[str]], width: int) -> None:
    """Whatever its cells hold, in any script, a row is one line that fits; wrapped it loses nothing."""
    lines = table_lines(HEADER, rows, width, spare=("FILES",))
    assert len(lines) == 1 + len(rows)
    wrapped = table_lines(HEADER, rows, width, wraps=True)
    assert all(cell_len(line) <= width for line in (*lines, *wrapped))
    if width >= 22:
        held, asked = Counter("".join(wrapped)), Counter("".join(map("".join, rows)))
        assert all(held[one] >= count for one, count in asked.items() if not one.isspace() and cell_len(one))
