"""What each command is, as values."""

from typing import NamedTuple


class Option(NamedTuple):
    """One option: its names as typed, the word for its value (empty for a switch), what it does, its panel.

    `choices` are the values it takes where they are few; `is_repeated` says whether it may be given several times.
    """

    names: tuple[str, ...]
    metavar: str
    about: str
    panel: str
    choices: tuple[str, ...] = ()
    is_repeated: bool = False


class Argument(NamedTuple):
    """One positional argument: the word for it, what it is, whether several may be given, and its choices."""

    metavar: str
    about: str
    is_repeated: bool
    choices: tuple[str, ...] = ()


class Page(NamedTuple):
    """One command: the words that call it, its sentence, arguments, options and examples, and its parts.

    `in_short` is its line in a table of contents.
    """

    words: tuple[str, ...]
    about: str
    in_short: str
    usage: str
    arguments: tuple[Argument, ...]
    options: tuple[Option, ...]
    examples: tuple[str, ...]
    parts: tuple["Page", ...] = ()

    @property
    def name(self) -> str:
        """The words that call it, joined as a manual page's name is."""
        return "-".join(self.words)
