"""Read the prose of the manual, which stands in `topics/`, a text file a command or topic.

It has a small markup: blocks between blank lines, which are paragraphs, items (a line, and the text below it
indented), literal lines (all indented) and `## HEADINGS`; backticks mark what is typed. `@include NAME`,
`@exit CODE...`, `@advise CODE TEXT`, `@settings`, `@variables`, `@files` and `@see NAME...` stand for what is
written elsewhere once. `@exit` adds the codes that any command may end with; `@exit all` is the whole table.
"""

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

from cometrep import config, errors
from cometrep.manual.blocks import Block, Heading, Item, Literal
from cometrep.manual.page import Page

ANY_EXIT = (1, 12, 129, 130, 141, 143)
"""The exit codes of every command: a bug, stdout on a full disk, the signals, and stdout that nobody reads."""


def read_topic(name: str, root: Page) -> list[Block]:
    """Read a topic's text with all it includes; nothing where it has none."""
    path = Path(__file__).with_name("topics") / f"{name}.txt"
    if not path.exists():
        return []
    text = path.read_text("utf-8").strip("\n")
    return [block for chunk in re.split(r"\n{2,}", text) for block in _blocks(chunk, root)]


def _blocks(chunk: str, root: Page) -> Iterator[Block]:
    first, *rest = chunk.split("\n")
    word, _, value = chunk.partition(" ")
    if word == "##":
        yield Heading(value)
    elif word.startswith("@") and word != "@see":
        yield from _directive(word, value, root)
    elif first.startswith("    "):
        yield Literal(tuple(textwrap.dedent(chunk).split("\n")))
    elif rest and rest[0].startswith("    "):
        yield Item(first, " ".join(line.strip() for line in rest))
    else:
        yield " ".join(chunk.split("\n"))


def _directive(word: str, value: str, root: Page) -> Iterator[Block]:
    match word:
        case "@include":
            yield from read_topic(value, root)
        case "@exit":
            codes = sorted({*ANY_EXIT, *map(int, value.split())}) if value != "all" else list(errors.EXIT_CODES)
            yield from (Item(f"`{code}`", errors.EXIT_CODES[code]) for code in codes)
        case "@advise":
            code, _, advice = value.partition(" ")
            meaning = errors.EXIT_CODES[int(code)]
            yield Item(f"`{code}`", f"{meaning[:1].upper()}{meaning[1:]}. {advice}".rstrip())
        case "@settings":
            for name, known in config.SETTINGS.items():
                default = f"; {known.default} if not set" if known.default else ""
                yield Item(f"`{name}`", f"{known.about}{default}")
        case "@variables":
            yield from _variables(root)
        case "@files":
            yield Item("~/.config/cometrep/config.toml", "the settings and the API key")
            yield Item("~/.local/state/cometrep/ledger.sqlite3", "the ledger")
            yield Item("~/.cache/cometrep/sandbox", "the sandbox's predictions and pictures")


def _variables(root: Page) -> Iterator[Item]:
    options = {name for page in root.parts for option in page.options for name in option.names}
    for name, known in config.SETTINGS.items():
        option = config.option_for(name)
        facts = [f"setting `{name}`"]
        facts += [f"option `{option}`"] if option in options else []
        facts += [f"default {known.default}"] if known.default else []
        about = f"{known.about[:1].upper()}{known.about[1:]} ({', '.join(facts)})."
        yield Item(", ".join(f"`{variable}`" for variable in known.variables), about)
