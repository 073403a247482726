"""Write the completion script of a shell: it holds the command tree, and asks the program for the rest."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from cometrep.manual.page import Option, Page

SHELLS = ("bash", "zsh", "fish")

# What the program completes where a page has this word for a value, and where the shell does it alone.
_KINDS: Mapping[str, str] = {
    "MODEL": "models",
    "GLOB": "models",
    "INPUT": "inputs",
    "ID": "ids",
    "NAME": "settings",
    "VALUE": "values",
    "FILE": "files",
    "TEMPLATE": "files",
    "DIR": "folders",
    "KIND:N": "faults",
}


def script(shell: str, page: "Page") -> str:
    """Write the completion script of a shell for a command tree."""
    write = {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell]
    head = f"{shell} completion for cometrep, written by `cometrep completion {shell}` from the command tree"
    skeleton = Path(__file__).with_name(f"script.{shell}").read_text("utf-8")
    written = "".join(write(one) for one in _every(_with_topics(page)) if not _is_bare(one))
    return skeleton.replace("@HEAD@", head).replace("@PAGES@\n", written)


def _every(page: "Page") -> Iterator["Page"]:
    yield page
    for part in page.parts:
        yield from _every(part)


def _with_topics(root: "Page") -> "Page":
    """Give `help`, where there is one, the topics of the manual as parts, which have parts of their own."""
    from cometrep.manual import topics

    found = topics(root)

    def topic(*words: str) -> "Page":
        below = tuple(topic(*name.split()) for name in found if name.split()[:-1] == list(words))
        return root._replace(
            words=(*root.words, "help", *words),
            in_short=found.get(" ".join(words), ""),
            arguments=(),
            options=(),
            parts=below,
        )

    parts = (
        page._replace(arguments=(), parts=topic().parts) if page.words[1:] == ("help",) else page
        for page in root.parts
    )
    return root._replace(parts=tuple(parts))


def _is_bare(page: "Page") -> bool:
    """Say whether nothing can follow a command's words, so that the scripts need not know it."""
    return not (page.parts or page.arguments or page.options)


class _Place(NamedTuple):
    """One argument as the scripts see it: the word for it, the kind of its value, whether it may come again."""

    word: str
    kind: str
    is_repeated: bool

    @property
    def marked(self) -> str:
        """The kind with a + where it may come again."""
        return self.kind + "+" * self.is_repeated


def _places(page: "Page") -> list[_Place]:
    """Split a page's arguments into places; one argument may stand for several, as `[FILE] [INPUT]...` does."""
    places = []
    for argument in page.arguments:
        words = argument.metavar.split()
        for word in words:
            kind = _kind(_plain(word), argument.choices)
            if kind == "settings" and any(other.metavar == "VALUE" for other in page.arguments):
                kind = "changeable"
            places.append(_Place(_plain(word), kind, argument.is_repeated and word == words[-1]))
    return places


def _kind(word: str, choices: Sequence[str]) -> str:
    """Name what completes a value: a kind of `answers`, `files`, `folders`, `(a b)`, `text`; "" for a switch."""
    known = _KINDS.get(word, "")
    return f"({' '.join(choices)})" if choices and not known else known or ("text" if word else "")


def _plain(metavar: str) -> str:
    return re.sub(r"[\[\]]|\.\.\.", "", metavar)


def _option_kind(option: "Option") -> str:
    kind = _kind(_plain(option.metavar), option.choices)
    return kind + "+" if kind and option.is_repeated else kind


def _line_of(page: "Page") -> str:
    return " ".join(page.words[1:])


def _unstopped(sentence: str) -> str:
    return sentence.removesuffix(".")


def _bash(page: "Page") -> str:
    return "".join(
        (
            f"        '{_line_of(page)}')\n",
            _bash_array("parts", [(part.words[-1], _unstopped(part.in_short)) for part in page.parts]),
            f"            arguments=({' '.join(_quoted(place.marked) for place in _places(page))})\n",
            _bash_array(
                "options", [(" ".join(one.names), _option_kind(one), _unstopped(one.about)) for one in page.options]
            ),
            "            ;;\n",
        )
    )


def _bash_array(name: str, rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    lines = [" ".join(_quoted(word) for word in row) for row in rows]
    return f"            {name}=(\n" + "".join(f"                {line}\n" for line in lines) + "            )\n"


def _quoted(text: str) -> str:
    """Quote a text for bash and zsh."""
    return text if re.fullmatch(r"[\w+-]+", text) else "'" + text.replace("'", "'\\''") + "'"


def _fish(page: "Page") -> str:
    rows = [
        *(("part", part.words[-1], "", _unstopped(part.in_short)) for part in page.parts),
        *(("argument", "", place.marked, "") for place in _places(page)),
        *(("option", " ".join(one.names), _option_kind(one), _unstopped(one.about)) for one in page.options),
    ]
    lines = [" ".join("'" + re.sub(r"(['\\])", r"\\\1", word) + "'" for word in row) for row in rows]
    return (
        f"        case '{_line_of(page)}'\n            printf '%s\\t%s\\t%s\\t%s\\n' \\\n"
        + " \\\n".join(f"                {line}" for line in lines)
        + "\n"
    )


def _zsh(page: "Page") -> str:
    name = "_".join(("_cometrep", *page.words[1:]))
    lines = [line for one in page.options for line in _zsh_options(one)]
    if page.parts:
        lines += ["'1:command: _cometrep_parts'", "'*::argument:->argument'"]
    for number, place in enumerate(_places(page), 1):
        where = "*" if place.is_repeated else number
        action = " _cometrep_source" if place.kind == "files" else _zsh_action(place.kind)
        lines.append(_quoted(f"{where}:{_zsh_message(place.word)}:{action}"))
    flags = "-C -s -S" if page.parts else "-s -S"
    call = f"    _arguments {flags} \\\n" + " \\\n".join(f"        {line}" for line in lines)
    if not page.parts:
        return f"{name}() {{\n{call}\n}}\n\n"
    shown = [_quoted(f"{part.words[-1]}:{_unstopped(part.in_short)}") for part in page.parts]
    parts = "".join(f"        {one}\n" for one in shown)
    cases = "".join(
        f"        ({part.words[-1]}) {name}_{part.words[-1]} ;;\n" for part in page.parts if not _is_bare(part)
    )
    return (
        f"{name}() {{\n{_ZSH_PROGRAM if page.words[1:] == () else ''}    local -a parts=(\n{parts}    )\n"
        f"{_ZSH_LOCALS}{call} && ret=0\n"
        f'    [[ $state == argument ]] || return ret\n    curcontext="${{curcontext%:*:*}}:cometrep-$line[1]:"\n'
        f"    case $line[1] in\n{cases}        (*) return ret ;;\n    esac\n}}\n\n"
    )


_ZSH_PROGRAM = """\
    local program=${${(Q)words[1]}/#\\~\\//$HOME/}
"""

_ZSH_LOCALS = """\
    local curcontext=$curcontext context state state_descr line ret=1
    local -A opt_args
"""


def _zsh_options(option: "Option") -> Iterator[str]:
    about = re.sub(r"([\[\]\\:])", r"\\\1", _unstopped(option.about))
    kind = _option_kind(option).removesuffix("+")
    value = f":{_zsh_message(option.metavar)}:{_zsh_action(kind)}" if kind else ""
    start = "*" if option.is_repeated else f"({' '.join(option.names)})"
    for name in option.names:
        form = name + ("" if not kind else "=" if name.startswith("--") else "+")
        yield _quoted(f"{start}{form}[{about}]{value}")


def _zsh_message(metavar: str) -> str:
    return _plain(metavar).lower().replace(":", "\\:")


def _zsh_action(kind: str) -> str:
    if kind in ("files", "folders"):
        return "_files" if kind == "files" else "_path_files -/"  # `_files -/` goes on to files
    if kind == "text":
        return " "
    return kind if kind.startswith("(") else f" _cometrep_ask {kind}"
