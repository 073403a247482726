"""What each command is, as values, and the manual written from them: as man(7) pages and as plain text.

The prose stands in `topics/`, a text file a command or topic, in a small markup: blocks between blank lines, which
are paragraphs, items (a line, and the text below it indented), literal lines (all indented) and `## HEADINGS`;
backticks mark what is typed. `@include NAME`, `@exit CODE...`, `@advise CODE TEXT`, `@settings`, `@variables`,
`@files` and `@see NAME...` stand for what is written elsewhere once. `@exit` adds the codes that any command
may end with; `@exit all` is the whole table.
"""

import re
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from cometrep import __version__, config, errors
from cometrep.text import nearest

DATED = "2026-11-24"
"""The day of this version, which a manual page has to have."""

OWN_PAGES = {
    "exit-codes": "exit codes and error codes, and what to do for each",
    "environment": "environment variables, settings and files",
    "json": "what --json and --progress json print, key by key",
}
"""The topics that are manual pages of their own, in section 7, and what each tells."""

SECTIONS_ALONE = ("inputs", "templates")
"""The topics that are sections of several commands' pages."""

ANY_EXIT = (1, 12, 129, 130, 141, 143)
"""The exit codes of every command: a bug, stdout on a full disk, the signals, and stdout that nobody reads."""

WIDTH = 80
_TERM_COLUMNS = 28  # an item whose term is wider has its text below it


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


# What the pages hold


def documents(root: Page) -> tuple[Document, ...]:
    """Write every manual page: cometrep, one a command, and the topics of section 7."""
    return (
        _command(root, root),
        *(_command(page, root) for page in root.parts),
        *(_own_page(name, root) for name in OWN_PAGES),
    )


def files(root: Page) -> dict[str, str]:
    """Give every manual page as its file's name and man(7) text."""
    return {f"{document.name}.{document.section}": roff(document) for document in documents(root)}


def topics(root: Page) -> dict[str, str]:
    """List what `help` can show, each with a few words about it."""
    found = {"cometrep": "All of it, in short."}
    for page in root.parts:
        found |= {" ".join(one.words[1:]): one.in_short for one in (page, *page.parts)}
    return {
        **found,
        **{name: f"{title.capitalize()}." for name, title in OWN_PAGES.items()},
        "inputs": "How INPUT items are written.",
        "templates": "How output files are named and saved.",
    }


def show(root: Page, topic: str) -> str:
    """Give a topic as plain text; raise UsageError that names the nearest for one that is not there."""
    asked = re.sub(r"^cometrep\b[ -]?|\(\d\)$", "", topic) or "cometrep"
    if asked in SECTIONS_ALONE:
        return plain(_prose(asked, root))
    if asked in OWN_PAGES:
        return plain(_own_page(asked, root).blocks)
    known = topics(root)
    if asked not in known:
        near = nearest(asked, tuple(known))
        raise errors.UsageError(
            f"there is no topic {topic!r}" + (f"; did you mean {near}?" if near else ""),
            hint=f"cometrep help {near}" if near else "cometrep help",
        )
    if asked == "cometrep":
        return plain(_command(root, root).blocks)
    every = {" ".join(one.words[1:]): one for page in root.parts for one in (page, *page.parts)}
    page = every[asked]
    return plain((_part if len(page.words) > 2 else _command)(page, root).blocks)


def contents(root: Page) -> str:
    """List the topics as plain text."""
    listed = [Item(f"`{name}`", text) for name, text in topics(root).items()]
    return plain([Heading("TOPICS"), *listed])


def _name_line(page: Page, name: str) -> str:
    """Give the line that `whatis` and `apropos` show."""
    told = page.in_short.partition(": ")[0].rstrip(".")
    return f"{name} - {told[:1].lower()}{told[1:]}"


def _command(page: Page, root: Page) -> Document:
    """Write the page of a command, with its parts."""
    prose = _prose(" ".join(page.words[1:]) or "cometrep", root)
    opening = next((at for at, block in enumerate(prose) if isinstance(block, Heading)), len(prose))
    parts = page.parts if page is not root else ()
    see = _see_also(page.name, prose, root)
    opening_prose, sections = (
        [block for block in part if not _is_see(block)] for part in (prose[:opening], prose[opening:])
    )
    blocks: list[Block] = [
        Heading("NAME"),
        _name_line(page, page.name),
        Heading("SYNOPSIS"),
        Literal(tuple(_usage(one) for one in (page, *parts))),
        Heading("DESCRIPTION"),
        page.about,
        *opening_prose,
    ]
    if page.parts:
        blocks.append(Heading("COMMANDS"))
    if page is root:
        blocks += [Item(f"`{part.words[-1]}`", part.in_short) for part in root.parts]
    for part in parts:
        blocks += [Heading(" ".join(part.words), is_part=True), part.about, *_parameters(part)]
    blocks += _panels(page)
    blocks += sections
    examples = tuple(example for one in (page, *parts) for example in one.examples)
    blocks += [Heading("EXAMPLES"), Literal(tuple(dict.fromkeys(examples))), Heading("SEE ALSO"), see]
    return Document(page.name, 1, tuple(blocks))


def _part(page: Page, root: Page) -> Document:
    """Write the page of one part of a command, for `help` alone."""
    return Document(
        page.name,
        1,
        (
            Heading("NAME"),
            _name_line(page, " ".join(page.words)),
            Heading("SYNOPSIS"),
            Literal((_usage(page),)),
            Heading("DESCRIPTION"),
            page.about,
            *_panels(page),
            Heading("EXAMPLES"),
            Literal(page.examples),
            Heading("SEE ALSO"),
            f"{'-'.join(page.words[:2])}(1)",
        ),
    )


def _own_page(topic: str, root: Page) -> Document:
    """Write the page of a topic in section 7."""
    prose = _prose(topic, root)
    name = f"cometrep-{topic}"
    return Document(
        name,
        7,
        (
            Heading("NAME"),
            f"{name} - {OWN_PAGES[topic]}",
            Heading("DESCRIPTION"),
            *(block for block in prose if not _is_see(block)),
            Heading("SEE ALSO"),
            _see_also(name, prose, root),
        ),
    )


def _usage(page: Page) -> str:
    words = " ".join(page.words)
    return f"`{words}`{page.usage.removeprefix(words)}"


def _panels(page: Page) -> Iterator[Block]:
    """Give a command's arguments and options under their headings."""
    if page.arguments:
        yield Heading("ARGUMENTS")
        yield from _arguments(page)
    yield Heading("OPTIONS")
    panels = dict.fromkeys(option.panel for option in page.options)
    for panel in panels:
        if len(panels) > 1:
            yield Heading(panel if panel != "Options" else "Other", is_part=True)
        yield from (_option(option) for option in page.options if option.panel == panel)


def _parameters(page: Page) -> Iterator[Block]:
    """Give a part's arguments and options in a row; `--help` is told once, for the command."""
    yield from _arguments(page)
    yield from (_option(option) for option in page.options if "--help" not in option.names)


def _arguments(page: Page) -> Iterator[Block]:
    yield from (Item(argument.metavar, argument.about) for argument in page.arguments)


def _option(option: Option) -> Item:
    names = ", ".join(f"`{name}`" for name in option.names)
    return Item(f"{names} {option.metavar}".rstrip(), option.about)


def _is_see(block: Block) -> bool:
    return isinstance(block, str) and block.startswith("@see")


def _see_also(name: str, prose: Sequence[Block], root: Page) -> str:
    """Name the pages to read next: those that the prose names, or all with `*`, and what all commands share."""
    words = next((block.split()[1:] for block in prose if isinstance(block, str) and _is_see(block)), [])
    if words == ["*"]:
        words = [page.words[-1] for page in root.parts]
    pages = ["cometrep(1)", *(f"cometrep-{word}(1)" for word in words)]
    pages += [f"cometrep-{topic}(7)" for topic in OWN_PAGES]
    return ", ".join(page for page in pages if page.partition("(")[0] != name)


# Reading topics/


def _prose(name: str, root: Page) -> list[Block]:
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
            yield from _prose(value, root)
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


# As plain text


def plain(blocks: Sequence[Block]) -> str:
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
        WIDTH,
        initial_indent=" " * first,
        subsequent_indent=" " * rest,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _unmarked(text: str) -> str:
    return text.replace("`", "")


# As man(7)


def roff(document: Document) -> str:
    """Write a page in the macros of man(7)."""
    title = (
        f'.TH {_escaped(document.name.upper())} {document.section} "{DATED}" "cometrep {__version__}" "cometrep"'
    )
    # Ragged and without hyphens: what is typed is neither stretched nor broken.
    lines = ['.\\" Written by python -m tests.generate; do not edit.', title, ".nh", ".ad l"]
    before: Block = Heading("")
    for block in document.blocks:
        lines += _roff_lines(block, is_first=isinstance(before, Heading))
        before = block
    return "\n".join(lines) + "\n"


def _roff_lines(block: Block, *, is_first: bool) -> list[str]:
    match block:
        case Heading(text, is_part):
            return [f".{'SS' if is_part else 'SH'} {_escaped(text)}"]
        case Literal(lines):
            shown = [_guarded(_marked(line, has_words="`" in line)) for line in lines]
            return [*([] if is_first else [".PP"]), ".nf", *shown, ".fi"]
        case Item(term, text):
            return [".TP", _guarded(_marked(term, has_words=True)), *_sentences(text)]
        case str():
            return [*([] if is_first else [".PP"]), *_sentences(block)]


def _sentences(text: str) -> list[str]:
    """Put each sentence on a line of its own, as roff wants them."""
    return [_guarded(_marked(sentence)) for sentence in re.split(r"(?<=[.:]) (?=[A-Z`])", text)]


def _marked(text: str, *, has_words: bool = False) -> str:
    """Set what is typed in bold and, with `has_words`, the words for values in italics."""
    pieces = text.split("`")
    for at, piece in enumerate(pieces):
        shown = _escaped(piece)
        if at % 2:
            shown = f"\\fB{shown}\\fR"
        elif has_words:
            shown = re.sub(r"[A-Z]{2,}|\b[A-Z]\b", r"\\fI\g<0>\\fR", shown)
        pieces[at] = shown
    return "".join(pieces)


def _escaped(text: str) -> str:
    text = text.replace("\\", "\\e").replace("-", "\\-")
    for character, name in (("'", "aq"), ('"', "dq"), ("~", "ti"), ("^", "ha")):
        text = text.replace(character, f"\\({name}")
    return text


def _guarded(line: str) -> str:
    return f"\\&{line}" if line.startswith((".", "'")) else line
