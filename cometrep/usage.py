"""Tell what is wrong with a command line, and guess what was meant."""

import itertools
import re
from collections.abc import Container, Iterable, Sequence
from typing import Any, NamedTuple

from cometrep import catalog, errors, hints
from cometrep.commands import POLLING
from cometrep.config.changing import key_as_argument
from cometrep.hiding import KEY_PATTERN, masked
from cometrep.text import nearest

_PLAIN_WORDS = (  # for what typer says
    (r"^invalid value for (?:'-\w' / )?'(--[\w-]+)': ", r"\1 "),
    (r"is not a valid int(?:eger)?(?: range)?$", "is not a whole number"),
    (r"is not a valid float(?: range)?$", "is not a number"),
    (r"is not in the range (\d+)<=x<=(\d+)$", r"is not between \1 and \2"),
    (r"is not in the range x>=(\d+)$", r"is less than \1"),
    (r"(?s)^got unexpected extra arguments?(?:\(s\))? \((.*)\)$", r"too many arguments: \1"),
)
_HABITS = {  # what gh, curl, wget and others call it, where the spelling tells nothing; the first that is known
    **{"retry": "rerun", "show": "status", "view": "status show", "get": "status", "history": "list"},
    **{"search": "models", "model": "models", "auth": "login", "logs": "wait", "list": "show"},  # of config
    **dict.fromkeys(("--output-dir", "--output-directory", "--out-dir", "--outdir", "--directory", "-D"), "--dir"),
    **dict.fromkeys(("--force", "--clobber", "-f"), "--overwrite"),
    **dict.fromkeys(("--parallel", "--concurrency", "--workers", "--threads", "-P"), "--jobs"),
    **{"--no-clobber": "--skip-existing", "--silent": "--quiet", "-s": "--quiet", "--max-time": "--timeout"},
    **{"-L": "--limit", "--with-token": "--stdin", "--no-progress": "--progress=none"},
}
_KEY_OPTION = r"--(?:[\w-]*(?:api[-_]?key|token)|key|auth)"  # of other programs
_MODEL = r"[\w.-]+/[\w.-]+"
_NEGATED = r"--(?:no|dont|do-not|without)-(.+)"
_NOT_GUESSED = ("login", "logout", "set", "unset", "--prune", "--retry-unknown")  # which change, remove, pay twice
_NEEDLESS = ("--resume", "--continue")  # of a batch, as the same command goes on


class _Wrong(NamedTuple):
    """What is wrong, in words; with the word that is not known, and the known one that is near to it.

    One that `is_needless` asks for what is so without it.
    """

    message: str
    word: str = ""
    near: str = ""
    is_needless: bool = False


def error_of(problem: Any, arguments: Sequence[str], contents: Any) -> errors.UsageError:
    """Give the error for what typer found wrong with a command line; `contents` is the group of all commands."""
    if _may_hold_key(arguments, contents):
        return key_as_argument()
    ctx, option = problem.ctx, getattr(problem, "option_name", "")
    item = _as_item(option, arguments, ctx)
    data = _as_data(option, arguments, ctx)
    ordered = _in_order(option, arguments, ctx)
    meant = ordered or _with_model(option, arguments, ctx) or _as_setting(arguments, ctx)
    if option in ("-V", "--version") or list(arguments) in (["version"], ["-v"]):
        meant = "cometrep --version"
    elif option in _NEEDLESS and arguments[:1] == ["batch"]:
        meant = hints.joined(["cometrep", *(word for word in arguments if word.partition("=")[0] != option)])
    wrong = _wrong(problem, arguments, ctx, contents, is_guessed=bool(item or data or meant))
    message = f"{option} goes behind the command" if ordered else wrong.message
    near = wrong.near
    if near and near.partition("=")[0] not in _NOT_GUESSED and not _may_hold_value(option, near):
        meant = _corrected(arguments, wrong.word, near)
        if near == "models" and not any(re.fullmatch(_MODEL, word) for word in arguments):
            meant = "cometrep models"  # for whatever else was typed with `search`
    elif wrong.is_needless:
        meant = _corrected(arguments, wrong.word, "")
    # An API key that was typed in a wrong place is not written into a log a second time.
    told = masked(f"{message}, in: cometrep {hints.joined(arguments)}")[:500]
    if ctx is None:
        command = next((name for name in contents.list_commands(ctx) if name in arguments[:1]), "")
        return errors.UsageError(told, hint=" ".join(filter(None, ("cometrep", command, "--help"))))
    usage = " ".join(ctx.get_usage().removeprefix("Usage: ").split())
    hint = f"write {masked(item)}" if item else data or masked(meant) or f"{ctx.command_path} --help"
    question = f"; did you mean {near}?" if near else ""
    return errors.UsageError(f"{told}; usage: {usage}{question}", hint=hint)


def _wrong(problem: Any, arguments: Sequence[str], ctx: Any, contents: Any, *, is_guessed: bool) -> _Wrong:
    """Say what is wrong, and where nothing better is guessed which name is near a mistyped one."""
    option = getattr(problem, "option_name", "")
    message = problem.format_message().rstrip(".")
    message = message[:1].lower() + message[1:]
    for told, plain in _PLAIN_WORDS:
        message = re.sub(told, plain, message)
    unknown = re.match(r"no such command '(.*?)'", message)
    if unknown and ctx is not None:
        return _wrong_command(unknown[1], ctx)
    if message.startswith(f"no such option: {option}"):
        near = "" if is_guessed else _near_option(option, ctx, contents)
        if not near and (switch := _negated(option, arguments, ctx)):
            return _Wrong(f"no such option: {option}; without {switch} that is so", option, is_needless=True)
        return _Wrong(f"no such option: {option}", option, near)
    return _Wrong(message)


def _wrong_command(typed: str, ctx: Any) -> _Wrong:
    """Say that there is no such command, with the one that it is near to, or those that a group has."""
    message, is_group = f"no such command '{typed}'", ctx.parent is not None
    if not is_group and typed.lower() in ("cancel", "stop", "abort"):
        return _Wrong(f"{message}: the API documents no way to end a prediction")
    known = tuple(ctx.command.list_commands(ctx))
    alike = tuple(name for name in known if name[0] == typed[:1].lower())
    near = _habit(typed.lower(), known) or nearest(typed, alike, 0.65)  # `batch` for `auth` is a riddle
    if is_group:
        message += f" of {ctx.info_name}" + ("" if near else f"; it has {', '.join(known)}")
    return _Wrong(message, typed, near)


def _near_option(option: str, ctx: Any, contents: Any) -> str:
    """Give the option of a command that a mistyped one is nearest to, empty where none is near.

    One that another command has is not mistyped. A value in the option's own word, as in `--jobs4`, goes behind a
    sign.
    """
    params = [] if ctx is None else ctx.command.get_params(ctx)
    names = tuple(name for param in params for name in param.opts)
    if habit := _habit(option, names):
        return habit
    if re.fullmatch(_NEGATED, option):  # the bare one is its opposite, and may overwrite, or pay
        return ""
    others = [contents.get_command(ctx, name) for name in contents.list_commands(ctx)]
    if any(option in param.opts for command in others for param in command.params):
        return ""
    for name in ctx.command.valued() if ctx else ():
        value = option.removeprefix(name)
        if name.startswith("--") and value != option and re.fullmatch(r"(?![-_]).*[\d./].*", value):
            return f"{name}={value}"
    return _alike(option, names)


def _alike(option: str, names: Iterable[str]) -> str:
    """Give the long option that another is spelt like, empty where none is."""
    # The dashes alone would make short ones alike.
    known = tuple(name[2:] for name in names if name.startswith("--") and name != "--help")  # it is the hint then
    word = option.lstrip("-")
    begun = tuple(name for name in known if name[:1] == word[:1])
    near = nearest(word, begun) or nearest(word, known, 0.8)  # what is typed back may pay: --logs is no --bogus
    return f"--{near}" if near else ""


def _negated(option: str, arguments: Sequence[str], ctx: Any) -> str:
    """Give the switch that an option would turn off, as `--no-overwrite`; empty for none, and where it is on."""
    found = re.fullmatch(_NEGATED, option)
    params = ctx.command.params if found and ctx is not None else []
    switches = {name: param for param in params if getattr(param, "is_flag", False) for name in param.opts}
    near = _alike(found[1], switches) if found else ""
    if near in ("", "--sandbox"):  # which a variable may choose as well
        return ""
    letters = {name[1] for name in switches[near].opts if len(name) == 2}
    is_on = near in arguments or any(letters & {*word} for word in arguments if re.fullmatch(r"-\w+", word))
    return "" if is_on else near


def _may_hold_value(option: str, near: str) -> bool:
    """Say whether what a mistyped option has behind the near one's name may be its value, as in `--dircats`."""
    return re.fullmatch(f"{re.escape(near)}[a-z]{{3,}}", option) is not None


def _habit(typed: str, known: Container[str]) -> str:
    """Give what another program's word is called here, empty where it is none or the command has no such."""
    return next((word for word in _HABITS.get(typed, "").split() if word.partition("=")[0] in known), "")


def _corrected(arguments: Sequence[str], wrong: str, right: str) -> str:
    """Give the command line with a word put right, or left out; empty where that stands in another, as in `-qf`."""
    for at, word in enumerate(arguments):
        name, sign, value = word.partition("=")
        if name == wrong and not (sign and "=" in right):
            put = [right + sign + value] if right else []
            return hints.joined(["cometrep", *arguments[:at], *put, *arguments[at + 1 :]])
    return ""


def _as_item(option: str, arguments: Sequence[str], ctx: Any) -> str:
    """Give the INPUT item that an option would be which a command does not have, empty where it is none."""
    name = option.removeprefix("--").replace("-", "_")
    if name in [parameter.name for parameter in POLLING]:  # which other commands have
        return ""
    if not (_takes_items(ctx) and option.startswith("--") and catalog.may_take("", name)):
        return ""
    models = filter(None, map(catalog.find, catalog.names()))
    separator = "@" if any(name in model.image_inputs() for model in models) else "="
    values = _values_of(option, arguments)
    return f"{name}{separator}{hints.quoted(values[0]) if values else '…'}"


def _as_data(option: str, arguments: Sequence[str], ctx: Any) -> str:
    """Say how the input is given that stands behind curl's -d, empty where that is no input."""
    if option not in ("-d", "--data") or not _takes_items(ctx):
        return ""
    from cometrep.inputs import data_hint

    hint = next(filter(None, map(data_hint, _values_of(option, arguments))), "")
    takes_file = any(param.name == "input_file" for param in ctx.command.params)
    return hint if takes_file or hint.startswith("write ") else ""


def _takes_items(ctx: Any) -> bool:
    """Say whether a command takes INPUT items."""
    return ctx is not None and any("[INPUT]" in str(param.metavar) for param in ctx.command.params)


def _values_of(option: str, arguments: Sequence[str]) -> list[str]:
    """List what stands behind an option of which it is not known whether it takes a value."""
    values = [word.partition("=")[2] for word in arguments if word.startswith(f"{option}=")]
    return values + [value for word, value in itertools.pairwise(arguments) if word == option]


def _may_hold_key(arguments: Sequence[str], contents: Any) -> bool:
    """Say whether what a command line has too much may be the API key, which is not to be repeated."""
    every = [contents.get_command(None, name) for name in contents.list_commands(None)]
    others = {name for command in every for name in command.valued()}
    for before, word in itertools.pairwise(["", *arguments]):
        name = word.partition("=")[0]
        is_known = name in _HABITS or (arguments[:1] == ["batch"] and name == "--key")  # an item of which has one
        if re.fullmatch(_KEY_OPTION, name) and not is_known and not hints.takes_next(before, others):
            return True
    if arguments[:1] == ["login"]:
        return not all(
            re.fullmatch(r"--[\w-]+|-\w", word) or {before, word.partition("=")[0]} & others  # with its own value
            for before, word in itertools.pairwise(arguments)
        )
    return arguments[:2] == ["config", "set"] and any(
        re.match(rf"api[_-]key=|[\w-]+={KEY_PATTERN}", word) for word in arguments[2:]
    )


def _with_model(option: str, arguments: Sequence[str], ctx: Any) -> str:
    """Give the command line with the MODEL that an option named, empty where the command takes none."""
    takes_model = ctx is not None and any(param.metavar == "MODEL" for param in ctx.command.params)
    if option not in ("-m", "--model") or not takes_model:
        return ""
    command, *words = arguments
    places = (at for at, word in enumerate(words) if re.match(rf"{option}(?:=|$)|-m", word))
    place = next((at for at in places if not ctx.command.takes_next(arguments[at])), None)
    if place is None:
        return ""
    model = words.pop(place).removeprefix(option).removeprefix("=")
    if not model and words[place:] and re.fullmatch(_MODEL, words[place]):
        model = words.pop(place)
    if words and re.fullmatch(_MODEL, words[0]):
        typed = words.pop(0)
        model = model or typed  # else it takes the place of that one
    return hints.joined(["cometrep", command, model or "OWNER/NAME", *words])


def _as_setting(arguments: Sequence[str], ctx: Any) -> str:
    """Give the command that sets what was typed as NAME=VALUE, empty where that is not it."""
    if ctx is None or ctx.command_path != "cometrep config set" or len(arguments) != 3 or "=" not in arguments[2]:
        return ""
    name, _, value = arguments[2].partition("=")
    return hints.Command(ctx.command_path).of(hints.quoted(name), hints.quoted(value))


def _in_order(option: str, arguments: Sequence[str], ctx: Any) -> str:
    """Give the command line with its command before the options, empty where the command has no such option."""
    names = ctx.command.list_commands(ctx) if hasattr(getattr(ctx, "command", None), "list_commands") else []
    group = ctx.command_path.split()[1:] if names else []
    words = arguments[len(group) :]
    places = [number for number, word in enumerate(words) if word in names and number]
    if not places or words[0] in names:
        return ""
    place = next((number for number in places if not hints.takes_next(words[number - 1])), places[0])
    before, command, path = words[:place], ctx.command, group
    while words[place:] and words[place] in getattr(command, "list_commands", lambda ctx: ())(ctx):
        command, path, place = command.get_command(ctx, words[place]), [*path, words[place]], place + 1
    has_it = any(option in param.opts for param in command.params)
    return hints.joined(["cometrep", *path, *before, *words[place:]]) if has_it else ""
