"""What each command is, as values: help, manual pages and completions are all written from them."""

from typing import NamedTuple


class Option(NamedTuple):
    """One option: its names as typed, the word for its value (empty for a switch), what it does, its panel."""

    names: tuple[str, ...]
    metavar: str
    about: str
    panel: str


class Argument(NamedTuple):
    """One positional argument: the word for it, what it is, and whether several may be given."""

    metavar: str
    about: str
    is_repeated: bool


class Page(NamedTuple):
    """One command: the words that call it, its sentence, arguments, options and examples, and its parts."""

    words: tuple[str, ...]
    about: str
    usage: str
    arguments: tuple[Argument, ...]
    options: tuple[Option, ...]
    examples: tuple[str, ...]
    parts: tuple["Page", ...] = ()

    @property
    def name(self) -> str:
        """The words that call it, joined as a manual page's name is."""
        return "-".join(self.words)
