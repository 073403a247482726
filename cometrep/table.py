"""Lay out a table for people: aligned under its header, and no line wider than the terminal."""

from collections.abc import Sequence

from rich.cells import cell_len, set_cell_size

NARROWEST = 9  # columns of the screen, before a column of the table is left out


def table_lines(header: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> list[str]:
    """Align a table's cells under its header so that a line fits a width.

    The first column names the row and stays whole; the widest others are shortened, then the last are left out.
    """
    table = [list(header), *rows]
    widths = [max(cell_len(row[i]) for row in table) for i in range(len(header))]
    while len(widths) > 1 and sum(widths) + 2 * (len(widths) - 1) > width:
        widest = max(range(1, len(widths)), key=lambda i: widths[i])
        if widths[widest] > NARROWEST:
            widths[widest] -= 1
        else:
            widths.pop()
    widths[0] = min(widths[0], width)
    lines = []
    for row in table:
        cells = [
            set_cell_size(cell if cell_len(cell) <= size else set_cell_size(cell, size - 1) + "…", size)
            for cell, size in zip(row, widths, strict=False)
        ]
        lines.append("  ".join(cells).rstrip())
    return lines
