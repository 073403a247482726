"""Write the manual in the macros of man(7), for `man`; no command needs it, as the pages are committed."""

import re

from cometrep import __version__
from cometrep.manual.blocks import Block, Document, Heading, Item, Literal

_DATED = "2026-11-24"
"""The day of this version, which a manual page has to have."""


def roff_text(document: Document) -> str:
    """Write a page."""
    title = (
        f'.TH {_escaped(document.name.upper())} {document.section} "{_DATED}" "cometrep {__version__}" "cometrep"'
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
