"""What the commands share: their common options, and the session each one runs in.

A command names the groups of options it takes (`@takes(CONNECTION, ...)`), and opens one `session` from its
context, which has what was typed of them.
"""

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cometrep import errors, hints
from cometrep.config import DEFAULT_BASE_URL, Settings, folders
from cometrep.config.values import PROGRESS_MODES
from cometrep.console import Choices, Console
from cometrep.options import PRINTED, Options
from cometrep.session import Opened, opened, settle

if TYPE_CHECKING:
    from cometrep.ledger import Ledger

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
    typer.Argument(
        metavar="ID...",
        help="A prediction's id, a URL that ends in /p/ID or /predictions/ID, @last, @2, or - for ids on stdin.",
    ),
]

OneIdArgument = Annotated[
    str,
    typer.Argument(
        metavar="ID",
        help="A prediction of this machine: its id, a URL that ends in /p/ID or /predictions/ID, @last, @2,"
        " or - for one id on stdin.",
    ),
]

Group = tuple[inspect.Parameter, ...]


def _group(**annotations: Any) -> Group:
    return tuple(
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=Options._field_defaults[name]
        )
        for name, annotation in annotations.items()
    )


def _once(values: Sequence[str] | None) -> str | None:
    """Give the one file of --input; raise UsageError for several, of which the last alone would be paid for."""
    # No `list` above: Python 3.14 reads annotations late, and by then that may be the command of the name.
    if values and len(values) > 1:
        raise errors.UsageError(
            f"--input is given {len(values)} times",
            hint=f"jq -s add {hints.joined(values)} > all.json, then --input all.json",
            code="bad_input",
        )
    return values[0] if values else None


def _switch(panel: str, *names: str, **settings: Any) -> Any:
    return Annotated[bool, option(panel, *names, **settings)]


def _text(panel: str, *names: str, **settings: Any) -> Any:
    return Annotated[str | None, option(panel, *names, **settings)]


_INPUT_FILE = option(
    _INPUT, "-i", "--input", metavar="FILE", help="JSON object of inputs, - for stdin.", callback=_once
)
INPUT = _group(
    input_file=Annotated[list[str] | None, _INPUT_FILE],
    dry_run=_switch(_INPUT, "--dry-run", help="Print the request as JSON; send nothing."),
    strict=_switch(_INPUT, "--strict", help="Refuse inputs and values that the catalog does not know."),
)


def _waiting_group(about: str) -> Group:
    return _group(timeout=_text(_WAITING, "--timeout", metavar="DURATION", help=about))


WAITING = _waiting_group("Deadline of the wait: 90s, 10m, 1h (default 30m); 0 for none.")
BATCH_WAITING = _waiting_group("Deadline of each prediction's wait: 90s, 1h (default 30m); 0 none.")
POLLING = (
    *WAITING,
    *_group(
        interval=_text(
            _WAITING,
            "--interval",
            metavar="SECONDS",
            help="Fixed pause between looks, 0.2 to 3600; else it adapts.",
        ),
        logs=_switch(_WAITING, "--logs", help="Show the model's log lines."),
    ),
)


def _place_group(about_name: str, about_folder: str) -> Group:
    return _group(
        output=_text(_SAVING, "-o", "--output", metavar="TEMPLATE", help=about_name),
        dir=_text(_SAVING, "-d", "--dir", metavar="DIR", help=about_folder),
    )


_FILES = _group(
    overwrite=_switch(_SAVING, "--overwrite", help="Replace files that exist."),
    skip_existing=_switch(_SAVING, "--skip-existing", help="Leave files that exist alone."),
    max_size=_text(_SAVING, "--max-size", metavar="SIZE", help="Refuse larger files: 500k, 200M (default 2GiB)."),
)
SAVING = (
    *_place_group(
        "Saved name (see cometrep help templates); - for stdout.", "Folder to save in (default the current one)."
    ),
    *_FILES,
    *_group(sidecar=_switch(_SAVING, "--sidecar", help="Write ID.cometrep.json beside the files.")),
)
# A batch has many files, so none goes to stdout; it always writes sidecars: its page and its record lean on them.
BATCH_SAVING = (
    *_place_group(
        "Saved name (see cometrep help templates).", "Folder of the batch (default FILE without its extension)."
    ),
    *_FILES,
)
PRINTING = _group(
    print_what=_text(
        _OUTPUT,
        "--print",
        metavar="WHAT",
        help=f"Print {', '.join(PRINTED[:-1])} or {PRINTED[-1]}.",
        autocompletion=lambda: PRINTED,
    ),
)
REPORTING = _group(
    github=_switch(_OUTPUT, "--github", help="Set a GitHub Actions step's outputs, summary and errors."),
)
CONNECTION = _group(
    json=_switch(_OUTPUT, "--json", help="Print JSON, errors too."),
    quiet=_switch(_OUTPUT, "-q", "--quiet", help="No progress, no hints; warnings and errors stay."),
    verbose=_switch(_OUTPUT, "-v", "--verbose", help="Show requests and answers."),
    progress=_text(
        _OUTPUT,
        "--progress",
        metavar="MODE",
        help="auto, bar, lines, json or none (default auto).",
        autocompletion=lambda: PROGRESS_MODES,
    ),
    sandbox=_switch(_CONNECTION, "--sandbox", help="Use the local stand-in API; costs nothing."),
    base_url=_text(
        _CONNECTION, "--base-url", metavar="URL", help=f"Where the API is (default {DEFAULT_BASE_URL})."
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


def options_of(ctx: typer.Context) -> Options:
    """Give what was typed of the shared options."""
    given = {name: value for name, value in ctx.params.items() if name in Options._fields}
    return Options(saves="overwrite" in given, takes=tuple(given), **given)


def session(ctx: typer.Context, connections: int = 0) -> AbstractContextManager[Opened]:
    """Open what a command needs, from its shared options and the settings, and close it again.

    `connections` are kept open, where they are not those of looks at several predictions.
    """
    return opened(ctx.obj, options_of(ctx), connections)


@contextlib.contextmanager
def without_server(ctx: typer.Context) -> "Iterator[tuple[Console, Settings, Ledger]]":
    """Open what a command needs that asks no server: its console, the settings, and the ledger, closed again."""
    from cometrep.ledger import Ledger

    settings = settle(ctx.obj, options_of(ctx))
    ledger = Ledger(folders().ledger_file, base_url=settings.base_url, is_sandbox=settings.is_sandboxed)
    with contextlib.closing(ledger):
        yield ctx.obj, settings, ledger


def local_console(ctx: typer.Context) -> Console:
    """Take up the output options of a command that talks to no server, and give its console."""
    console: Console = ctx.obj
    options = options_of(ctx)
    console.configure(Choices(is_json=options.json, is_quiet=options.quiet))
    return console
