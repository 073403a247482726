"""Write the manual as plain text, for `help`."""

import textwrap
from collections.abc import Sequence

from cometrep.manual.blocks import Block, Heading, Item, Literal

_WIDTH = 80
_TERM_COLUMNS = 28  # an item whose term is wider has its text below it


def plain_text(blocks: Sequence[Block]) -> str:
    """Write blocks as plain text of at most 80 columns."""
    lines: list[str] = []
    columns = 0
    for at, block in enumerate(blocks):
        before = blocks[at - 1] if at else None
        if not (isinstance(block, Item) and isinstance(before, Item)):
            columns = _term_columns(blocks[at:])
        is_in_row = columns and isinstance(before, Item) and isinstance(block, Item)
        if at and not is_in_row and not isinstance(before, Heading):
            lines.append("")
        lines += _plain_lines(block, columns)
    return "\n".join(lines)


def _term_columns(blocks: Sequence[Block]) -> int:
    """Give the width of the column of terms, 0 where one of the items that begin here is too wide for one."""
    widths: list[int] = []
    for block in blocks:
        if not isinstance(block, Item):
            break
        widths.append(len(_unmarked(block.term)))
    return max(widths) + 2 if widths and max(widths) <= _TERM_COLUMNS else 0


def _plain_lines(block: Block, columns: int) -> list[str]:
    match block:
        case Heading(text, is_part):
            return [f"  {text}" if is_part else text]
        case Literal(lines):
            return [f"{'':4}{_unmarked(line)}" for line in lines]
        case Item(term, text) if columns:
            return _wrapped(f"{_unmarked(term):{columns}}{_unmarked(text)}", 4, 4 + columns)
        case Item(term, text):
            return [*_wrapped(_unmarked(term), 4, 4), *_wrapped(_unmarked(text), 8, 8)]
        case str():
            return _wrapped(_unmarked(block), 4, 4)


def _wrapped(text: str, first: int, rest: int) -> list[str]:
    return textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=" " * first,
        subsequent_indent=" " * rest,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _unmarked(text: str) -> str:
    return text.replace("`", "")
