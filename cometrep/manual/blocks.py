"""What a page of the manual is made of."""

from typing import NamedTuple


class Item(NamedTuple):
    """A term and what it means."""

    term: str
    text: str


class Literal(NamedTuple):
    """Lines that are shown as they are."""

    lines: tuple[str, ...]


class Heading(NamedTuple):
    """The heading of a section, or of a part of one."""

    text: str
    is_part: bool = False


Block = str | Item | Literal | Heading


class Document(NamedTuple):
    """One manual page: its name, section, and blocks, which begin with a heading."""

    name: str
    section: int
    blocks: tuple[Block, ...]
