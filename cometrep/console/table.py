"""Lay out a table for people: aligned under its header, and no line wider than the terminal."""

from collections.abc import Mapping, Sequence
from itertools import zip_longest

from rich.cells import cell_len, set_cell_size

_NARROWEST = 12  # columns of the screen, before a column of the table is left out
_WIDE = 40  # that most texts do well with: what is longer is shortened first
_INDENT = "  "
MODEL = "MODEL"  # the column of names whose ends tell them apart


def table_lines(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    width: int,
    *,
    whole: str = "",
    spare: Sequence[str] = (),
    sign: str = "…",
    wraps: bool = False,
) -> list[str]:
    """Align a table's cells under its header so that a line fits a width.

    The column `whole`, by default the first, is what is typed again: it is never shortened. Where there is no room
    models lose their owners, then what is long is shortened, then the columns of `spare`, then all; and then some
    are left out, those of `spare` in order and then the last. `sign` stands where something is missing.

    With `wraps` nothing is: what would be shortened goes on in a line below, and where that leaves too little room
    each cell has a line of its own behind the name of its column; on the narrowest screens it is as without.
    """
    columns = {cells[0]: cells for cells in zip(header, *rows, strict=True)}
    whole = whole or header[0]
    widths = _widths(columns)
    if not wraps and not _fits(widths, width) and MODEL in columns and whole != MODEL:
        columns[MODEL] = tuple(name.rpartition("/")[2] for name in columns[MODEL])
        widths = _widths(columns)
    leaving = [*spare, *(name for name in header[::-1] if name not in (whole, *spare))]
    while True:
        for some, least in ((header, _WIDE), (spare, _NARROWEST), (header, _NARROWEST)):
            _shorten(widths, [name for name in some if name in columns and name != whole], least, width)
        if _fits(widths, width) or len(columns) == 1:
            break
        if wraps and width >= _stacked_least(header):
            return _stacked(header, rows, whole, width)
        wraps = False
        del columns[leaving.pop(0)]
        widths = _widths(columns)
    sizes = {name: min(widths[name], width) for name in columns}
    if wraps:
        broken = [[_broken(text, sizes[name]) for text in cells] for name, cells in columns.items()]
        return [line for row in zip(*broken, strict=True) for line in _beside(row, list(sizes.values()))]
    shown = [
        [_cell(text, sizes[name], sign, is_cut_left=name == MODEL) for text in cells]
        for name, cells in columns.items()
    ]
    return ["  ".join(row).rstrip() for row in zip(*shown, strict=True)]


def _stacked_least(header: Sequence[str]) -> int:
    """Give the columns of the screen that a stack needs."""
    return len(_INDENT) + max(map(cell_len, header)) + 2 + _NARROWEST


def _stacked(header: Sequence[str], rows: Sequence[Sequence[str]], whole: str, width: int) -> list[str]:
    """Lay out each row as the cell of one column and, below it, a line for each other one behind its name."""
    names = max(map(cell_len, header))
    lines = []
    for row in rows:
        cells = dict(zip(header, row, strict=True))
        lines += _broken(cells.pop(whole), width)
        for name, text in cells.items():
            pieces = _broken(text, width - len(_INDENT) - names - 2)
            lines += [_INDENT + line for line in _beside(([name], pieces), (names, 0))]
    return lines


def _beside(cells: Sequence[Sequence[str]], sizes: Sequence[int]) -> list[str]:
    """Set cells of several lines beside each other; the last one is not filled up where its size is 0."""
    return [
        "  ".join(
            set_cell_size(text, size or cell_len(text)) for text, size in zip(line, sizes, strict=True)
        ).rstrip()
        for line in zip_longest(*cells, fillvalue="")
    ]


def _broken(text: str, size: int) -> list[str]:
    """Break a text into lines of a size, between words where they are not longer than that."""
    lines = [""]
    for word in text.split(" "):
        joined = f"{lines[-1]} {word}" if lines[-1] else word
        if cell_len(joined) <= size:
            lines[-1] = joined
            continue
        if lines[-1]:
            lines.append("")
        for character in word:
            if cell_len(lines[-1] + character) > size:
                lines.append("")
            lines[-1] += character
    return lines


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
