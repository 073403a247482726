"""Lay out a table for people: aligned under its header, and no line wider than the terminal."""

from collections.abc import Mapping, Sequence

from rich.cells import cell_len, set_cell_size

NARROWEST = 12  # columns of the screen, before a column of the table is left out
WIDE = 40  # that most texts do well with: what is longer is shortened first
MODEL = "MODEL"  # the column of names whose ends tell them apart


def table_lines(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    width: int,
    *,
    whole: str = "",
    spare: Sequence[str] = (),
    sign: str = "…",
) -> list[str]:
    """Align a table's cells under its header so that a line fits a width.

    The column `whole`, by default the first, is what is typed again: it is never shortened. Where there is no room
    models lose their owners, then what is long is shortened, then the columns of `spare`, then all; and then some
    are left out, those of `spare` in order and then the last. `sign` stands where something is missing.
    """
    columns = {cells[0]: cells for cells in zip(header, *rows, strict=True)}
    whole = whole or header[0]
    widths = _widths(columns)
    if not _fits(widths, width) and MODEL in columns and whole != MODEL:
        columns[MODEL] = tuple(name.rpartition("/")[2] for name in columns[MODEL])
        widths = _widths(columns)
    leaving = [*spare, *(name for name in header[::-1] if name not in (whole, *spare))]
    while True:
        for some, least in ((header, WIDE), (spare, NARROWEST), (header, NARROWEST)):
            _shorten(widths, [name for name in some if name in columns and name != whole], least, width)
        if _fits(widths, width) or len(columns) == 1:
            break
        del columns[leaving.pop(0)]
        widths = _widths(columns)
    shown = [
        [_cell(text, min(widths[name], width), sign, is_cut_left=name == MODEL) for text in cells]
        for name, cells in columns.items()
    ]
    return ["  ".join(row).rstrip() for row in zip(*shown, strict=True)]


def _widths(columns: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Give the widths at which nothing is cut."""
    return {name: max(map(cell_len, cells)) for name, cells in columns.items()}


def _fits(widths: Mapping[str, int], width: int) -> bool:
    return sum(widths.values()) + 2 * (len(widths) - 1) <= width


def _shorten(widths: dict[str, int], names: Sequence[str], least: int, width: int) -> None:
    """Make the widest of some columns narrower, until all fit or these are as narrow as they may be."""
    while names and not _fits(widths, width):
        widest = max(names, key=lambda name: widths[name])
        if widths[widest] <= least:
            break
        widths[widest] -= 1


def _cell(text: str, size: int, sign: str, *, is_cut_left: bool) -> str:
    rest = max(0, size - len(sign))
    if cell_len(text) <= size or not rest:
        return set_cell_size(text, size)
    if not is_cut_left:
        return set_cell_size(text, rest) + sign
    while cell_len(text) > rest:
        text = text[1:]
    return set_cell_size(sign + text, size)
