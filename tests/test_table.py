"""Tables: what is cut and what goes where a terminal is narrow."""

import pytest

from cometrep.table import table_lines

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


def test_wide_characters_count_twice() -> None:
    """Columns are those of the screen."""
    assert table_lines(("ID", "PROMPT"), [("a", "猫" * 9)], 16) == ["ID  PROMPT", "a   " + "猫" * 5 + " …"]
