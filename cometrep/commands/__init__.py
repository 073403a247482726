"""What the commands share: their common options, and the session each one runs in.

A command names the groups of options it takes (`@takes(CONNECTION, ...)`), and opens one `session` from its
context; the values of the shared options reach it there and nowhere else.
"""

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from cometrep import errors
from cometrep.config import (
    PROGRESS_MODES,
    SANDBOX_KEY,
    ApiKey,
    Settings,
    folders,
    is_local_url,
    load,
    make_private_folder,
    parse_duration,
)
from cometrep.console import PRINTED, Console, Results
from cometrep.prediction import parse_reference

if TYPE_CHECKING:
    from cometrep.api import Api
    from cometrep.keeping import Keeper
    from cometrep.ledger import Ledger
    from cometrep.prediction import Request
    from cometrep.runner import Runner

_INPUT, _WAITING, _SAVING, _OUTPUT, _CONNECTION = "Input", "Waiting", "Saving", "Output", "Connection"


def option(panel: str, *names: str, **settings: Any) -> Any:
    """Declare an option under a panel of the help."""
    return typer.Option(*names, rich_help_panel=panel, show_default=False, **settings)


ModelArgument = Annotated[str, typer.Argument(metavar="MODEL", help="The model, as OWNER/NAME.")]
InputArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="[INPUT]...",
        help="name=text, name:=json, name=@textfile, name:=@jsonfile or name@file.",
        show_default=False,
    ),
]
IdArgument = Annotated[
    list[str],
    typer.Argument(metavar="ID...", help="A prediction id, its URL, @last, @2, or - for ids on stdin."),
]

OneIdArgument = Annotated[
    str,
    typer.Argument(
        metavar="ID", help="A prediction of this machine: its id, its URL, @last, @2, or - for one id on stdin."
    ),
]

Group = tuple[inspect.Parameter, ...]


def _group(**parameters: tuple[Any, Any]) -> Group:
    return tuple(
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)
        for name, (annotation, default) in parameters.items()
    )


INPUT = _group(
    input_file=(
        Annotated[
            str | None,
            option(_INPUT, "-i", "--input", metavar="FILE", help="JSON object of inputs, - for stdin."),
        ],
        None,
    ),
    dry_run=(Annotated[bool, option(_INPUT, "--dry-run", help="Print the request as JSON; send nothing.")], False),
    strict=(
        Annotated[bool, option(_INPUT, "--strict", help="Refuse inputs that the catalog does not know.")],
        False,
    ),
)
WAITING = _group(
    timeout=(
        Annotated[
            str | None,
            option(_WAITING, "--timeout", metavar="DURATION", help="Deadline of the wait: 90, 10m, 1h; 0 none."),
        ],
        None,
    ),
)
POLLING = (
    *WAITING,
    *_group(
        interval=(
            Annotated[
                str | None,
                option(_WAITING, "--interval", metavar="SECONDS", help="Fixed pause between looks."),
            ],
            None,
        ),
        logs=(Annotated[bool, option(_WAITING, "--logs", help="Show the model's log lines.")], False),
    ),
)


def _output_group(about: str) -> Group:
    annotation = Annotated[str | None, option(_SAVING, "-o", "--output", metavar="TEMPLATE", help=about)]
    return _group(output=(annotation, None))


_FILES = _group(
    dir=(
        Annotated[str | None, option(_SAVING, "-d", "--dir", metavar="DIR", help="Folder to save in.")],
        None,
    ),
    overwrite=(Annotated[bool, option(_SAVING, "--overwrite", help="Replace files that exist.")], False),
    skip_existing=(
        Annotated[bool, option(_SAVING, "--skip-existing", help="Leave files that exist alone.")],
        False,
    ),
    max_size=(
        Annotated[str | None, option(_SAVING, "--max-size", metavar="SIZE", help="Refuse larger files (2GiB).")],
        None,
    ),
)
SAVING = (
    *_output_group("Name to save as, with fields; - for stdout."),
    *_FILES,
    *_group(
        sidecar=(
            Annotated[bool, option(_SAVING, "--sidecar", help="Write ID.cometrep.json beside the files.")],
            False,
        ),
    ),
)
# A batch has many files, so none goes to stdout; it always writes sidecars: its page and its record lean on them.
BATCH_SAVING = (*_output_group("Name to save as, with fields."), *_FILES)
PRINTING = _group(
    print_what=(
        Annotated[
            str | None,
            option(
                _OUTPUT,
                "--print",
                metavar="WHAT",
                help=f"Print {', '.join(PRINTED[:-1])} or {PRINTED[-1]}.",
                autocompletion=lambda: PRINTED,
            ),
        ],
        None,
    ),
)
REPORTING = _group(
    github=(
        Annotated[
            bool,
            option(_OUTPUT, "--github", help="Set a GitHub Actions step's outputs, summary and errors."),
        ],
        False,
    ),
)
CONNECTION = _group(
    json=(Annotated[bool, option(_OUTPUT, "--json", help="Print JSON, errors too.")], False),
    quiet=(Annotated[bool, option(_OUTPUT, "-q", "--quiet", help="No progress, no hints.")], False),
    verbose=(Annotated[bool, option(_OUTPUT, "-v", "--verbose", help="Show requests and answers.")], False),
    progress=(
        Annotated[
            str | None,
            option(
                _OUTPUT,
                "--progress",
                metavar="MODE",
                help="auto, bar, lines, json or none.",
                autocompletion=lambda: PROGRESS_MODES,
            ),
        ],
        None,
    ),
    sandbox=(
        Annotated[bool, option(_CONNECTION, "--sandbox", help="Use the local stand-in API; costs nothing.")],
        False,
    ),
    base_url=(
        Annotated[str | None, option(_CONNECTION, "--base-url", metavar="URL", help="Where the API is.")],
        None,
    ),
)


def takes(*groups: Group) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command groups of shared options, which `session` reads from its context."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = inspect.signature(command)
        shared = [parameter for group in groups for parameter in group]

        @functools.wraps(command)
        def with_shared(**values: Any) -> None:
            command(**{name: values[name] for name in own.parameters})

        parameters = [
            parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own.parameters.values()
        ]
        with_shared.__signature__ = own.replace(parameters=[*parameters, *shared])  # type: ignore[attr-defined]
        return with_shared

    return decorate


class Session(NamedTuple):
    """What a command works with: its settings, the streams, and what they let it reach."""

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
        return [self.ledger.resolve(parse_reference(text)) for text in self.console.expand_ids(arguments)]

    def request(self, model: str, items: list[str]) -> "Request":
        """Build a create's request from a model, INPUT items and `--input`, warning of what is doubtful."""
        from cometrep.request import prepare

        return self._warned(*prepare(model, items, **self._input_options()))

    def request_again(self, id: str, items: list[str]) -> "Request":
        """Build a create's request from an entry of the ledger and the INPUT items that change it."""
        from cometrep.request import prepare_again

        asked, *more = self.ids([id])
        if more:
            raise errors.UsageError(
                f"stdin held {1 + len(more)} ids, and one prediction is created again",
                hint=f"cometrep rerun {asked}",
            )
        named = asked if id == "-" else id
        return self._warned(*prepare_again(self.ledger.entry(asked), named, items, **self._input_options()))

    def _input_options(self) -> dict[str, Any]:
        return {
            "input_file": self.params["input_file"],
            "is_strict": self.params["strict"],
            "read_stdin": self.console.read_stdin,
        }

    def _warned(self, request: "Request", doubts: Sequence[str]) -> "Request":
        for doubt in doubts:
            self.console.warn(doubt)
        return request

    def run_or_describe(self, request: "Request") -> None:
        """Run a request to files on disk, or with `--dry-run` show it."""
        if self.params["dry_run"]:
            self.runner.check(request)
            self.console.write_json(self.api.describe_create(request.model, request.values))
        else:
            self.console.show(self.runner.run(request), self.results("path"))

    def keepers(self, folder: str) -> "Callable[[str], Keeper]":
        """Give what makes the keeper of each item of a batch in a folder, from its key."""
        from cometrep.names import check_folder

        assert self.keeper is not None  # all commands that save have one
        check_folder(folder)
        return functools.partial(self.keeper.for_item, folder)

    def results(self, default: str, ids: list[str] | None = None) -> Results:
        """Choose what goes to stdout: `--json`, else `--print`, else the command's own default."""
        what = "json" if self.params["json"] else self.params.get("print_what") or default
        return Results(what, _resume(self.params), ids or ())


def settled(ctx: typer.Context) -> tuple[Console, Settings]:
    """Take up a command's shared options and the settings, and give its console and them."""
    params = ctx.params
    console: Console = ctx.obj
    _check_choices(params)
    settings = load(flags_of(params))
    console.configure(
        is_json=params["json"],
        is_quiet=params["quiet"],
        is_verbose=params["verbose"],
        shows_logs=params.get("logs", False),
        progress=settings.progress if params["progress"] or not params["quiet"] else "auto",
        secret=settings.api_key.secret if settings.api_key else "",
        flags=server_options(params),
        tells_github=params.get("github", False),
    )
    if settings.file_warning:
        console.warn(settings.file_warning)
    return console, settings


@contextlib.contextmanager
def session(ctx: typer.Context, connections: int = 10) -> Iterator[Session]:
    """Open what a command needs, from its shared options and the settings, and close it again."""
    from cometrep.api import Api
    from cometrep.ledger import Ledger
    from cometrep.runner import Patience, Runner

    params = ctx.params
    console, settings = settled(ctx)
    with contextlib.ExitStack() as stack:
        base_url, api_key = settings.base_url, settings.api_key
        if settings.uses_sandbox:
            base_url, api_key = stack.enter_context(started_sandbox(settings)), ApiKey(SANDBOX_KEY)
        api = Api(
            base_url=base_url,
            api_key=api_key,
            connections=connections,
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
        )
        try:
            yield Session(console, settings, api, ledger, runner, keeper, params, base_url)
        finally:
            if ledger.problem:
                console.warn(f"{ledger.problem.message}; not all of this is recorded")


def _resume(params: Mapping[str, Any]) -> errors.Resume:
    """Give the command that takes up what this one leaves, with the options of this one that it takes.

    But for the deadline, which may be what ended this one.
    """
    import shlex

    is_saving = "sidecar" in params
    options = {"output": "-o", "dir": "-d", "max_size": "--max-size", "print_what": "--print"}
    flags = ["overwrite", "skip_existing", "sidecar", "json", "github"]
    if not is_saving:
        options["interval"] = "--interval"
        flags.append("logs")
    words = [
        f"{option} {shlex.quote(params[name])}" for name, option in options.items() if params.get(name) is not None
    ]
    words += [f"--{name.replace('_', '-')}" for name in flags if params.get(name)]
    return errors.Resume("cometrep download --wait" if is_saving else "cometrep wait", tuple(words))


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

    check_folder(settings.folder)
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
    keeping = Keeping(settings.folder, _template(params, settings), writes_sidecar, files_at_once=at_once)
    return Keeper(keeping, downloads, ledger)


def local_session(ctx: typer.Context) -> Console:
    """Take up the output options of a command that talks to no server, and give its console."""
    console: Console = ctx.obj
    params = ctx.params
    console.configure(is_json=params.get("json", False), is_quiet=params.get("quiet", False))
    return console


@contextlib.contextmanager
def started_sandbox(settings: Settings) -> Iterator[str]:
    """Run the stand-in API for the length of a command, and give its URL."""
    from cometrep.sandbox import Sandbox

    folder = folders().sandbox
    make_private_folder(folder)
    with Sandbox(folder, seconds=settings.sandbox_seconds) as server:
        yield server.url


def server_options(params: Mapping[str, Any]) -> str:
    """Give the option that chose the server, which hints keep; empty where settings did."""
    if params["sandbox"]:
        return "--sandbox"
    import shlex

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
            raise _contradiction("--sidecar", "-o -")
        if params.get("json") or params.get("print_what"):
            raise errors.UsageError(
                "-o - fills stdout with the file, so nothing else can go there", hint="leave out -o -"
            )
        return "-"
    if settings.template:
        from cometrep.names import check_template

        check_template(settings.template)
    return settings.template


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
