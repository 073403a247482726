"""The manual: what each page holds, from what the commands are and the prose beside it."""

import re
from collections.abc import Iterator, Sequence

from cometrep import errors
from cometrep.manual.blocks import Block, Document, Heading, Item, Literal
from cometrep.manual.page import Option, Page
from cometrep.manual.plain import plain_text
from cometrep.manual.prose import read_topic
from cometrep.text import nearest

OWN_PAGES = {
    "exit-codes": "exit codes and error codes, and what to do for each",
    "environment": "environment variables, settings and files",
    "json": "what --json and --progress json print, key by key",
}
"""The topics that are manual pages of their own, in section 7, and what each tells."""

_SHARED_SECTIONS = {
    "ids": "How predictions are named.",
    "inputs": "How INPUT items are written.",
    "templates": "How output files are named and saved.",
}
"""The topics that are sections of several commands' pages, and what each tells."""


def documents(root: Page) -> tuple[Document, ...]:
    """Write every manual page: cometrep, one a command, and the topics of section 7."""
    return (
        _command(root, root),
        *(_command(page, root) for page in root.parts),
        *(_own_page(name, root) for name in OWN_PAGES),
    )


def topics(root: Page) -> dict[str, str]:
    """List what `help` can show, each with a few words about it."""
    return {
        "cometrep": "All of it, in short.",
        **{name: page.in_short for name, page in _commands(root).items()},
        **{name: f"{title.capitalize()}." for name, title in OWN_PAGES.items()},
        **_SHARED_SECTIONS,
    }


def show(root: Page, topic: str) -> str:
    """Give a topic as plain text; raise UsageError that names the nearest for one that is not there."""
    asked = re.sub(r"^cometrep\b[ -]?|\(\d\)$", "", topic) or "cometrep"
    if asked in _SHARED_SECTIONS:
        return plain_text(read_topic(asked, root))
    if asked in OWN_PAGES:
        return plain_text(_own_page(asked, root).blocks)
    known = topics(root)
    if asked not in known:
        near = nearest(asked, tuple(known))
        raise errors.UsageError(
            f"there is no topic {topic!r}" + (f"; did you mean {near}?" if near else ""),
            hint=f"cometrep help {near}" if near else "cometrep help",
        )
    if asked == "cometrep":
        return plain_text(_command(root, root).blocks)
    page = _commands(root)[asked]
    return plain_text((_part if len(page.words) > 2 else _command)(page, root).blocks)


def contents(root: Page) -> str:
    """List the topics as plain text."""
    listed = [Item(f"`{name}`", text) for name, text in topics(root).items()]
    return plain_text([Heading("TOPICS"), *listed])


def _commands(root: Page) -> dict[str, Page]:
    """Give the pages of all commands and their parts, by the words that call them."""
    return {" ".join(one.words[1:]): one for page in root.parts for one in (page, *page.parts)}


def _name_line(page: Page, name: str) -> str:
    """Give the line that `whatis` and `apropos` show."""
    told = page.in_short.partition(": ")[0].rstrip(".")
    return f"{name} - {told[:1].lower()}{told[1:]}"


def _command(page: Page, root: Page) -> Document:
    """Write the page of a command, with its parts."""
    prose = read_topic(" ".join(page.words[1:]) or "cometrep", root)
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
    prose = read_topic(topic, root)
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
