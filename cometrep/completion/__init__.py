"""Complete words on a command line: a script for each shell, and the values that only the program knows.

The scripts hold the command tree; for models, inputs, ids and settings they call `cometrep __complete`, which must
answer at once: it reads the catalog and the ledger, asks no server, and loads neither typer nor requests nor rich.
"""

import json
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from cometrep import errors

if TYPE_CHECKING:
    from cometrep.catalog import KnownInput
    from cometrep.ledger import Recent
    from cometrep.manual import Option, Page

Answers = list[tuple[str, str]]

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
    "DIR": "folders",
    "KIND:N": "faults",
}
_ITEM = r"([^=:@\\]+)(:?=)[^@]*"
_ENOUGH = 50  # ids that are offered
_FEW = 10  # whole numbers that are worth listing one by one
_UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def answers(words: Sequence[str], current: str, *, now: float | None = None) -> Answers:
    """List what may stand in the place of `current`, each value with its description, the likeliest first.

    `words` are the kind of value, the options on the line (`--name=value`), `--` and the arguments before it.
    Raises CometrepError where the ledger or the settings cannot be read.
    """
    kind, *rest = words
    split = rest.index("--") if "--" in rest else len(rest)
    options, given = rest[:split], rest[split + 1 :]
    if kind == "models":
        return _models(current)
    if kind == "inputs":
        return _inputs(_model(options, given), given, current)
    if kind == "ids":
        return _beginning(current, _ids(options, given, current, time.time() if now is None else now))
    if kind == "faults":
        return _beginning(current, _faults(current))
    if kind in ("settings", "changeable"):
        return _beginning(current, _settings(can_be_set=kind == "changeable"))
    return _beginning(current, _setting_values(given[0])) if kind == "values" and given else []


def respond(arguments: Sequence[str]) -> bytes:
    """Answer a script: a value, a tab and its description a line; nothing where anything is out of order."""
    from cometrep.text import harmless

    if not arguments:
        return b""
    try:
        found = answers(arguments[:-1] or [""], arguments[-1])
    except (errors.CometrepError, OSError, ValueError):
        return b""
    lines = [
        f"{value}\t{' '.join(harmless(about).split())}\n" for value, about in found if value == harmless(value)
    ]
    return "".join(lines).encode("utf-8", "replace")


def _beginning(start: str, found: Iterator[tuple[str, str]]) -> Answers:
    return [(value, about) for value, about in found if value.lower().startswith(start.lower())]


def _models(current: str) -> Answers:
    """List models by the beginning of their name, else by the beginning of its last part."""
    from cometrep import catalog

    known = [(model.name, model.about) for model in map(catalog.find, catalog.names()) if model]
    return _beginning(current, iter(known)) or [
        (name, about) for name, about in known if name.rpartition("/")[2].startswith(current.lower())
    ]


def _model(options: Sequence[str], given: Sequence[str]) -> str:
    """Find the model whose inputs are asked for: named by an option, the first argument, or a prediction's."""
    named = next((word.partition("=")[2] for word in options if word.startswith(("--model=", "-m="))), "")
    model = named or next(iter(given), "")
    if "/" in model or not model:
        return model
    back = 1 if model == "@last" else int(model[1:]) if re.fullmatch(r"@[1-9]\d{0,5}", model) else 0
    if back:
        recent = _recent(options, limit=back)
        return recent[back - 1].model if back <= len(recent) else ""
    return next((entry.model for entry in _recent(options, model) if entry.id == model), "")


def _inputs(model: str, given: Sequence[str], current: str) -> Answers:
    """List a model's inputs not given yet, `name=` or for a picture `name@`; behind `name=` the values it takes."""
    from cometrep import catalog

    known = catalog.find(model)
    if known is None:
        return []
    if item := re.fullmatch(_ITEM, current):
        name, separator = item.groups()
        wanted = known.inputs.get(name)
        values = _input_values(wanted, is_json=separator == ":=") if wanted else ()
        return _beginning(current, ((name + separator + value, about) for value, about in values))
    used = {re.split(r"[=:@]", word)[0] for word in given}
    return _beginning(
        current,
        (
            (one.name + ("@" if one.is_image else "="), _told(one))
            for one in known.inputs_in_order()
            if one.kind == "array" or one.name not in used
        ),
    )


def _told(known: "KnownInput") -> str:
    """Say what an input takes, its default and what it is, the part that may be cut off last."""
    facts = [] if known.choices or known.is_image or known.kind == "boolean" else [known.takes]
    facts.append("required" if known.is_required else f"default {known.shown_default}")
    shown = ", ".join(fact for fact in facts if fact not in ("-", "default -"))
    return f"{shown}. {known.about}" if shown else known.about


def _input_values(known: "KnownInput", *, is_json: bool) -> Iterator[tuple[str, str]]:
    """Yield the values worth offering: all choices, both of a switch, few numbers all, else a range's ends."""
    low, high = known.minimum, known.maximum
    values: Iterable[Any] = () if is_json else known.choices
    told = {} if known.kind == "array" else {known.default: "the default"}
    if known.kind == "boolean":
        values = (True, False)
    elif known.kind in ("integer", "number"):
        told = {low: "the least", high: "the most", **told}
        values = sorted({one for one in (low, known.default, high) if one is not None})
        if known.kind == "integer" and low is not None and high is not None and high - low <= _FEW:
            values = range(int(low), int(high) + 1)
    for value in values:
        yield value if isinstance(value, str) else json.dumps(value), told.get(value, "")


def _ids(options: Sequence[str], given: Sequence[str], current: str, now: float) -> Iterator[tuple[str, str]]:
    """Yield `@last` and the newest ids that begin as `current` does, with model, status and age."""
    from cometrep.prediction import ID_PATTERN

    is_newest = current == "" or current.startswith("@")
    offered = set(given)  # an id may stand in several entries
    for number, entry in enumerate(_recent(options, "" if is_newest else current)):
        about = f"{entry.model.rpartition('/')[2]}, {entry.status}, {_age(now - entry.created)} ago"
        if number == 0 and is_newest and entry.id and "@last" not in given:
            yield "@last", about
        if re.fullmatch(ID_PATTERN, entry.id) and entry.id not in offered:
            offered.add(entry.id)
            yield entry.id, about


def _recent(options: Sequence[str], prefix: str = "", limit: int = _ENOUGH) -> "list[Recent]":
    """List the newest predictions, with ids of this prefix, of the server that the line and the settings name."""
    from cometrep import config, ledger

    base_url = next((word.partition("=")[2] for word in options if word.startswith("--base-url=")), None)
    flags = {"sandbox": "true" if "--sandbox" in options else None, "base_url": base_url}
    return ledger.recent(
        config.folders().ledger_file, is_sandbox=config.load(flags).is_sandboxed, prefix=prefix, limit=limit
    )


def _age(seconds: float) -> str:
    size, unit = next((one for one in _UNITS if seconds >= one[0]), _UNITS[-1])
    return f"{max(0, int(seconds // size))} {unit}"


def _settings(*, can_be_set: bool) -> Iterator[tuple[str, str]]:
    from cometrep import config

    for name, known in config.SETTINGS.items():
        if not (can_be_set and name == "api_key"):  # the key is never an argument
            yield name, known.about


def _faults(current: str) -> Iterator[tuple[str, str]]:
    """Yield the sandbox's faults: at first the kinds alone, then what may stand before and behind one."""
    from cometrep.sandbox.faults import FILE_KINDS, KINDS

    for kind in KINDS:
        yield kind, ""
        if current.startswith(f"{kind}:"):
            yield from (
                (f"{kind}:{count}", told) for count, told in ((1, "once"), (2, "twice"), (3, "three times"))
            )
    for on in ("create", "get", "file") if current else ():
        yield from ((f"{on}:{kind}", "") for kind in KINDS if on == "file" or kind not in FILE_KINDS)


def _setting_values(name: str) -> Iterator[tuple[str, str]]:
    """Yield the values of a setting that has choices, else its default."""
    from cometrep import config
    from cometrep.config.values import PROGRESS_MODES, parse_switch

    known = config.SETTINGS.get(name)
    if known is None or name == "api_key":
        return
    switch = ("true", "false") if known.check is parse_switch else ()
    for value in PROGRESS_MODES if name == "progress" else switch or (known.default,):
        if value:
            yield value, "the default" if value == known.default else ""


def script(shell: str, page: "Page") -> str:
    """Write the completion script of a shell for a command tree."""
    write = {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell]
    head = f"{shell} completion for cometrep, written by `cometrep completion {shell}` from the command tree"
    skeleton = Path(__file__).with_name(f"script.{shell}").read_text("utf-8")
    written = "".join(write(one) for one in _every(_with_topics(page)) if not _is_bare(one))
    return skeleton.replace("@HEAD@", head).replace("@PAGES@\n", written)


def _every(page: "Page") -> "Iterator[Page]":
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
