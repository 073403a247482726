"""Lay out a table for people: aligned under its header, and no line wider than the terminal."""

from collections.abc import Sequence

from rich.cells import cell_len, set_cell_size

NARROWEST = 12  # columns of the screen, before a column of the table is left out
MODEL = "MODEL"  # the column of names whose ends tell them apart


def table_lines(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    width: int,
    *,
    spare: Sequence[str] = (),
    sign: str = "…",
) -> list[str]:
    """Align a table's cells under its header so that a line fits a width.

    The first column is what is typed again, and stays whole. Where there is no room models lose their owners, then
    the widest columns are shortened, and then whole ones left out: those of `spare`, then the last. `sign` stands
    where something is missing.
    """
    columns = [list(column) for column in zip(header, *rows, strict=True)]
    if not _fits(_whole(columns), width):
        columns[1:] = [list(map(_name, column)) if column[0] == MODEL else column for column in columns[1:]]
    while not _fits(widths := _shortened(_whole(columns), width), width) and len(columns) > 1:
        del columns[next((i for i, column in enumerate(columns) if column[0] in spare), -1)]
    widths[0] = min(widths[0], width)
    cells = [
        [_cell(text, size, sign, is_cut_left=column[0] == MODEL) for text in column]
        for column, size in zip(columns, widths, strict=True)
    ]
    return ["  ".join(row).rstrip() for row in zip(*cells, strict=True)]


def _whole(columns: Sequence[Sequence[str]]) -> list[int]:
    """Give the widths at which nothing is cut."""
    return [max(map(cell_len, column)) for column in columns]


def _fits(widths: Sequence[int], width: int) -> bool:
    return sum(widths) + 2 * (len(widths) - 1) <= width


def _shortened(widths: list[int], width: int) -> list[int]:
    """Make the widest columns but the first narrower, until all fit or are narrow."""
    while not _fits(widths, width) and max(widths[1:], default=0) > NARROWEST:
        widths[widths.index(max(widths[1:]), 1)] -= 1
    return widths


def _name(model: str) -> str:
    return model.rpartition("/")[2]


def _cell(text: str, size: int, sign: str, *, is_cut_left: bool) -> str:
    rest = max(0, size - len(sign))
    if cell_len(text) <= size or not rest:
        return set_cell_size(text, size)
    if not is_cut_left:
        return set_cell_size(text, rest) + sign
    while cell_len(text) > rest:
        text = text[1:]
    return set_cell_size(sign + text, size)
