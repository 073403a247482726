"""Open what a command works with: its settings, the streams, and what they let it reach.

All that the shared options say is read here, from what was typed for a command.
"""

import contextlib
import functools
import json
import re
import shlex
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from cometrep import errors, hints
from cometrep.config import SANDBOX_KEY, Settings, folders, load
from cometrep.config.file import make_private_folder
from cometrep.config.values import ApiKey, is_local_url, parse_duration
from cometrep.console import Choices, Console
from cometrep.prediction import parse_reference
from cometrep.text import format_count

if TYPE_CHECKING:
    from cometrep.api import Api
    from cometrep.console.stage import Results
    from cometrep.events import Event
    from cometrep.keeping import Keeper
    from cometrep.ledger import Ledger
    from cometrep.prediction import Request
    from cometrep.runner import Runner

Returned = TypeVar("Returned")

PRINTED = ("id", "status", "path", "url", "output")
"""The words of `--print`."""

_NAME_THE_IDS = "name the ids instead of -"
_ID_BYTES = 4096  # of an id, or a URL that ends in one
_LINE_BYTES = 256_000_000  # of --json or a table: four times what the API may answer, as it is escaped
_SPELLED = {"output": "-o", "dir": "-d", "print_what": "--print"}
_POLLING = ("timeout", "interval", "logs")
_NOT_OF_A_BATCH = ("print_what", "interval", "sidecar", "logs")
_KEPT = (  # in the commands of hints, in this order
    *("output", "dir", "max_size", "print_what", "timeout", "interval"),
    *("overwrite", "skip_existing", "sidecar", "json", "github", "logs"),
)


class Opened(NamedTuple):
    """What a command has opened, until it ends."""

    console: Console
    settings: Settings
    api: "Api"
    ledger: "Ledger"
    runner: "Runner"
    keeper: "Keeper | None"
    params: Mapping[str, Any]
    base_url: str

    def ids(self, arguments: list[str]) -> list[str]:
        """Resolve what the user typed for predictions into their ids."""
        return [self.ledger.resolve(parse_reference(text)) for text in expand_ids(arguments, self.console)]

    def request(self, model: str, items: list[str]) -> "Request":
        """Build a create's request from a model, INPUT items and `--input`, warning of what is doubtful."""
        from cometrep.request import prepare

        try:
            return self._warned(*prepare(model, items, **self._input_options()))
        except errors.UsageError as problem:
            if problem.remedy == "--sweep" and self.params["input_file"] is None:
                problem.hint = f"to vary it: {_sweep(model, items, self.params)}"
            raise

    def request_again(self, id: str, items: list[str]) -> "Request":
        """Build a create's request from an entry of the ledger and the INPUT items that change it."""
        from cometrep.request import prepare_again

        asked, *more = self.ids([id])
        command, named = self.console.command_line, id
        if id == "-":
            command, named = _naming(asked, command), asked
        if more:
            raise errors.UsageError(
                f"stdin held {1 + len(more)} ids, and one prediction is created again", hint=command
            )
        entry = self.ledger.entry(asked, anywhere=True)
        return self._warned(*prepare_again(entry, named, items, command=command, **self._input_options()))

    def _input_options(self) -> dict[str, Any]:
        from cometrep.inputs import REFUSE_BYTES

        return {
            "input_file": self.params["input_file"],
            "is_strict": self.params["strict"],
            "read_stdin": functools.partial(self.console.read_stdin, limit_bytes=REFUSE_BYTES),
        }

    def _warned(self, request: "Request", doubts: Sequence[str]) -> "Request":
        for doubt in doubts:
            self.console.warn(doubt)
        return request

    def run_or_describe(self, request: "Request") -> None:
        """Run a request to files on disk, or with `--dry-run` show it."""
        from cometrep.request import doubt_of_name

        if doubt := doubt_of_name(request, self.settings.template):
            self.console.hint(doubt)
        if self.params["dry_run"]:
            self.runner.check(request)
            self.console.write_json(self.api.describe_create(request.model, request.values))
        else:
            self.show(self.runner.run(request), self.results("path"))

    def show(self, events: "Generator[Event, None, Returned]", results: "Results") -> "Returned":
        """Show a use case until it ends or raises; give what its events return."""
        from cometrep.console.stage import Stage

        return Stage(self.console, results).show(events)

    def keepers(self, folder: str) -> "Callable[[str], Keeper]":
        """Give what makes the keeper of each item of a batch in a folder, from its key."""
        from cometrep.names import check_folder

        assert self.keeper is not None  # all commands that save have one
        check_folder(folder)
        return functools.partial(self.keeper.for_item, folder)

    def results(self, default: str, ids: list[str] | None = None) -> "Results":
        """Choose what goes to stdout: `--json`, else `--print`, else the command's own default."""
        from cometrep.console.stage import Results

        what = "json" if self.params["json"] else self.params.get("print_what") or default
        return Results(what, _resume(self.params), ids or ())


def expand_ids(ids: Sequence[str], console: Console) -> list[str]:
    """Replace `-` by the ids on stdin, one a line: alone, before a tab, or in the JSON of `--json`.

    Lines of `list` and `batch` for creates that gave no id are left out, with a warning.
    """
    expanded: list[str] = []
    nameless = 0
    for id in ids:
        if id != "-":
            expanded.append(id)
            continue
        for line in _lines(console.stdin_pieces("ids", _NAME_THE_IDS)):
            word = line.split("\t")[0].strip()
            if word.startswith("{"):
                with contextlib.suppress(ValueError, TypeError, KeyError, RecursionError):
                    word = str(json.loads(line)["id"] or "")
            if word not in ("", "-"):
                expanded.append(word)
            elif line.strip():
                nameless += 1
    if nameless:
        console.warn(f"{format_count(nameless, 'line')} of stdin left out, of a create that gave no id")
    if not expanded:
        raise errors.UsageError("stdin held no ids", hint="cometrep list")
    return expanded


def _lines(pieces: Iterable[bytes]) -> Iterator[str]:
    """Yield each line of what comes in pieces; raise UsageError as soon as one is longer than any with an id."""
    begun = bytearray()
    for piece in pieces:
        ended, line_break, rest = piece.rpartition(b"\n")
        if line_break:
            yield from map(_text_of, (begun + ended).splitlines())
            begun.clear()
        begun += rest
        _check_length(begun)
    yield from map(_text_of, begun.splitlines())


def _text_of(line: bytearray) -> str:
    _check_length(line)
    return line.decode("utf-8-sig", "replace")


def _check_length(line: bytearray) -> None:
    if len(line) <= _ID_BYTES:
        return
    is_of_several_facts = b"\t" in line[:_ID_BYTES] or re.match(rb"(?:\xef\xbb\xbf)?\s*\{", line)
    if not is_of_several_facts or len(line) > _LINE_BYTES:
        raise errors.UsageError(
            "a line of stdin is longer than any with a prediction id", hint=_NAME_THE_IDS, code="bad_id"
        )


def _naming(id: str, command: str) -> str:
    """Put an id in the place of the `-` that stands for it in a command, whose options may have one too."""
    words = shlex.split(command)
    values = ("-i", "--input", "-o", "--output")
    places = (at for at, word in enumerate(words) if word == "-" and words[at - 1] not in values)
    at = next(places, words.index("-"))  # where such an option is itself a value: -d -o -
    return shlex.join([*words[:at], id, *words[at + 1 :]])


def settle(console: Console, params: Mapping[str, Any]) -> Settings:
    """Take up a command's shared options, and give the settings that they and all else come to."""
    _check_choices(params)
    settings = load(flags_of(params))
    console.configure(
        Choices(
            is_json=params["json"],
            is_quiet=params["quiet"],
            is_verbose=params["verbose"],
            shows_logs=params.get("logs", False),
            progress=settings.progress if params["progress"] or not params["quiet"] else "auto",
            to_hide=settings.api_key.to_hide if settings.api_key else "",
            flags=server_options(params),
            tells_github=params.get("github", False),
        )
    )
    if settings.file_warning:
        console.warn(str(settings.file_warning))
    return settings


@contextlib.contextmanager
def opened(console: Console, params: Mapping[str, Any], connections: int = 0) -> Iterator[Opened]:
    """Open what a command needs, from its shared options and the settings, and close it again."""
    from cometrep.api import Api
    from cometrep.ledger import Ledger
    from cometrep.runner import Patience, Runner
    from cometrep.watch import MOST_LOOKS

    settings = settle(console, params)
    with contextlib.ExitStack() as stack:
        base_url, api_key = settings.base_url, settings.api_key
        if settings.uses_sandbox:
            base_url, api_key = stack.enter_context(started_sandbox(settings)), ApiKey(SANDBOX_KEY)
        api = Api(
            base_url=base_url,
            api_key=api_key,
            connections=connections or MOST_LOOKS,
            replace_key_command=settings.replace_key_command,
        )
        stack.callback(api.close)
        ledger = Ledger(folders().ledger_file, base_url=base_url, is_sandbox=settings.is_sandboxed)
        stack.callback(ledger.close)
        keeper = _keeper(params, settings, ledger, base_url, stack) if "overwrite" in params else None
        runner = Runner(
            api,
            ledger,
            patience=Patience(
                settings.deadline_seconds,
                settings.retry_budget_seconds,
                settings.prompt_budget_seconds,
                _interval(params.get("interval")),
            ),
            keeper=keeper,
            resume=_resume(params),
            rerun=_rerun(params),
        )
        try:
            yield Opened(console, settings, api, ledger, runner, keeper, params, base_url)
        finally:
            if ledger.problem:
                console.warn(f"{ledger.problem.message}; not all of this is recorded")


def _resume(params: Mapping[str, Any]) -> hints.Command:
    """Give the command that takes up what this one leaves, with the options of this one that it takes.

    But for the deadline, which may be what ended this one.
    """
    if "sidecar" in params:
        return hints.Command("cometrep download --wait", _typed(params, without=_POLLING))
    return hints.Command("cometrep wait", _typed(params, without=("timeout",)))


def _rerun(params: Mapping[str, Any]) -> hints.Command:
    """Give the command that creates a prediction again as this one does, with the files that the ledger forgets."""
    items = params.get("items") or ()
    if any("@" in item for item in items):
        from cometrep.inputs import split_item

        split = [split_item(item) for item in items]
        forgotten = {one.key for one in split if one.separator in ("@", ":=@")}  # a list may have other values too
        items = [item for item, one in zip(items, split, strict=True) if one.key in forgotten]
    else:
        items = ()
    return hints.RERUN._replace(options=_typed(params), items=tuple(map(shlex.quote, items)))


def _sweep(model: str, items: Sequence[str], params: Mapping[str, Any]) -> str:
    """Give the command that counts the combinations of a create's items, some of which are several values there."""
    strict = ["--strict"] * params["strict"]
    options = (f"-m {model}", *strict, *_typed(params, without=_NOT_OF_A_BATCH), "--dry-run")
    return hints.Command("cometrep batch --sweep", options).of(*map(shlex.quote, items))


def _typed(params: Mapping[str, Any], without: Sequence[str] = ()) -> tuple[str, ...]:
    """Write the options that a command was given and its hints keep, as they are typed."""
    words = []
    for name in _KEPT:
        value = params.get(name)
        if name not in without and value is not None and value is not False:
            option = _SPELLED.get(name, f"--{name.replace('_', '-')}")
            words.append(option if value is True else f"{option} {shlex.quote(value)}")
    return tuple(words)


def _keeper(
    params: Mapping[str, Any],
    settings: Settings,
    ledger: "Ledger",
    base_url: str,
    stack: contextlib.ExitStack,
) -> "Keeper":
    from cometrep.download import Downloads, Rules
    from cometrep.keeping import FILES_AT_ONCE, Keeper, Keeping
    from cometrep.names import check_folder

    template = _template(params, settings)
    check_folder(str(Path(settings.folder, template or "-").parent))
    downloads = Downloads(
        Rules(
            allows_local=is_local_url(base_url),
            max_size_bytes=settings.max_size_bytes,
            overwrites=params["overwrite"],
            skips_existing=params["skip_existing"],
            retry_budget_seconds=settings.retry_budget_seconds,
        )
    )
    stack.callback(downloads.close)
    # Files of a server on this machine have no distance to make up for, and threads cost them time.
    at_once = 1 if is_local_url(base_url) else FILES_AT_ONCE
    writes_sidecar = params.get("sidecar", False)
    keeping = Keeping(
        settings.folder,
        template,
        writes_sidecar=writes_sidecar,
        files_at_once=at_once,
        typed=_typed_template(settings),
    )
    return Keeper(keeping, downloads, ledger)


@contextlib.contextmanager
def started_sandbox(settings: Settings) -> Iterator[str]:
    """Run the stand-in API for the length of a command, and give its URL."""
    from cometrep.sandbox.server import Sandbox

    folder = folders().sandbox
    make_private_folder(folder)
    with Sandbox(folder, seconds=settings.sandbox_seconds) as server:
        yield server.url


def server_options(params: Mapping[str, Any]) -> str:
    """Give the option that chose the server, which hints keep; empty where settings did."""
    if params["sandbox"]:
        return "--sandbox"
    return f"--base-url {shlex.quote(params['base_url'])}" if params["base_url"] else ""


def flags_of(params: Mapping[str, Any]) -> dict[str, str | None]:
    """Give what options say of settings."""
    flags = {name: params.get(name) for name in ("base_url", "timeout", "dir", "output", "max_size", "progress")}
    return {**flags, "sandbox": "true" if params["sandbox"] else None}


def _check_choices(params: Mapping[str, Any]) -> None:
    what = params.get("print_what")
    if what is not None and what not in PRINTED:
        raise errors.UsageError(
            f"--print {what!r} is not one of {', '.join(PRINTED)}", hint=f"--print {PRINTED[0]}"
        )
    # As of a variable that is not set: a batch would not find its record there, and begin anew.
    for name, kind, hint in (("dir", "folder", "--dir ."), ("output", "file", "--output '{id}.{ext}'")):
        if params.get(name) is not None and not params[name].strip():
            raise errors.UsageError(f"--{name} '' names no {kind}", hint=hint)
    for given, one, also_given, other in (
        (params["json"], "--json", what, "--print"),
        (params.get("overwrite"), "--overwrite", params.get("skip_existing"), "--skip-existing"),
    ):
        if given and also_given:
            raise _contradiction(one, other)


def _contradiction(one: str, other: str) -> errors.UsageError:
    return errors.UsageError(f"{one} and {other} contradict each other", hint=f"leave out {one}")


def _template(params: Mapping[str, Any], settings: Settings) -> str:
    if settings.template == "-":
        if params.get("sidecar"):
            raise _contradiction("--sidecar", _typed_template(settings))
        if params.get("json") or params.get("print_what"):
            from cometrep.names import OWN_NAMES

            raise errors.UsageError(
                f"{_typed_template(settings)} fills stdout with the file, so nothing else can go there",
                hint=f"add {OWN_NAMES}",
            )
        return "-"
    return settings.template


def _typed_template(settings: Settings) -> str:
    """Give the template as it was said, and where: an error about it may speak of what nobody typed just now."""
    _, template, origin = settings.resolved["output"]
    if origin == "--output":
        return f"-o {template}"
    return f"{origin}={template}" if origin.isupper() else f"output = {template!r} in {origin}"


def _interval(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        seconds = parse_duration(text)
    except ValueError as problem:
        raise errors.UsageError(f"--interval {text!r}: {problem}", hint="--interval 2") from problem
    if not 0.2 <= seconds <= 3600:
        raise errors.UsageError(f"--interval {text} is not between 0.2 s and 1 h", hint="--interval 2")
    return seconds
