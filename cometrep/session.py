"""Open what a command works with: its settings, the streams, and what they let it reach."""

import contextlib
import functools
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from cometrep import errors, hints
from cometrep.config import SANDBOX_KEY, SANDBOX_PORT, Settings, folders, load, misspelt_variables
from cometrep.config.file import make_private_folder
from cometrep.config.values import ApiKey, is_local_url
from cometrep.console import Choices, Console
from cometrep.options import Options, contradiction
from cometrep.references import parse_reference

if TYPE_CHECKING:
    from cometrep.api import Api
    from cometrep.console.stage import Results
    from cometrep.events import Event
    from cometrep.keeping import Keeper
    from cometrep.ledger import Ledger
    from cometrep.prediction import Request
    from cometrep.request import Given
    from cometrep.runner import Runner

Returned = TypeVar("Returned")


class Opened(NamedTuple):
    """What a command has opened, until it ends."""

    console: Console
    settings: Settings
    api: "Api"
    ledger: "Ledger"
    runner: "Runner"
    keeper: "Keeper | None"
    options: Options
    base_url: str

    def ids(self, arguments: list[str]) -> list[str]:
        """Resolve what the user typed for predictions into their ids."""
        from cometrep.typed_ids import expand_ids

        found = [self.ledger.resolve(parse_reference(text)) for text in expand_ids(arguments, self.console)]
        self._refuse_those_of_sandbox(found, typed=len(arguments))
        return found

    def _refuse_those_of_sandbox(self, ids: Sequence[str], *, typed: int) -> None:
        """Raise for predictions that the sandbox made where the API is asked, which cannot know them."""
        api_key = self.settings.api_key
        if api_key and is_local_url(self.base_url):  # it may be the sandbox that is served there
            return
        made_there = [id for id in ids if self.ledger.lenient(self.ledger.is_of_sandbox, id)]
        if not made_there:
            return
        # Without the others, which only the API knows; what came on stdin does not come again.
        hint = hints.on_sandbox(hints.with_ids(self.console.command_line, made_there, typed=typed))
        told = f"{made_there[0]} was made in the sandbox"
        if api_key or self.options.dry_run:
            raise errors.UsageError(told, hint=hint, code="other_base_url")
        raise errors.ConfigError(f"no API key is set, and {told}", hint=hint, code="api_key_missing")

    def request(self, model: str, items: list[str]) -> "Request":
        """Build a create's request from a model, INPUT items and `--input`, warning of what is doubtful."""
        from cometrep.request import prepare

        try:
            return self._warned(*prepare(model, self._given(items)))
        except errors.UsageError as problem:
            if problem.remedy == "--sweep" and self.options.input_file is None:
                problem.hint = f"to vary it: {self.options.sweep(model, items)}"
            raise

    def request_again(self, id: str, items: list[str]) -> "Request":
        """Build a create's request from an entry of the ledger and the INPUT items that change it."""
        from cometrep.request import prepare_again

        asked, *more = self.ids([id])
        command, named = self.console.command_line, id
        if id == "-":
            command, named = hints.with_ids(command, [asked], typed=1), asked
        if more:
            raise errors.UsageError(
                f"stdin held {1 + len(more)} ids, and one prediction is created again", hint=command
            )
        entry = self.ledger.entry(asked, anywhere=True)
        return self._warned(*prepare_again(entry, named, self._given(items), command=command))

    def _given(self, items: Sequence[str]) -> "Given":
        from cometrep.inputs import REFUSE_BYTES
        from cometrep.request import Given

        read_stdin = functools.partial(self.console.read_stdin, limit_bytes=REFUSE_BYTES)
        return Given(items, self.options.input_file, self.options.strict, read_stdin)

    def _warned(self, request: "Request", doubts: Sequence[str]) -> "Request":
        for doubt in doubts:
            self.console.warn(doubt)
        return request

    def create_or_describe(self, request: "Request") -> None:
        """Create a prediction, and warn of what `--print` cannot print yet; with `--dry-run` show it."""
        if self.options.dry_run:
            self.console.write_json(self.api.describe_create(request.model, request.values))
            return
        created, what = self.show(self.runner.create(request), self.results("id")), self.options.print_what
        if what in ("url", "output") and not created.is_terminal:
            looking = hints.WAIT_AGAIN._replace(options=(f"--print {what}",))
            self.console.warn(f"create waits for no {what}: {looking.of(created.id)}")

    def run_or_describe(self, request: "Request") -> None:
        """Run a request to files on disk, or with `--dry-run` show it."""
        from cometrep.request import doubt_of_name

        if doubt := doubt_of_name(request, self.settings.template):
            self.console.hint(doubt)
        if self.options.dry_run:
            assert self.keeper  # a command that saves has one
            self.keeper.places.check(request)
            self.console.write_json(self.api.describe_create(request.model, request.values))
            self.keeper.places.check_room(request)
        else:
            self.show(self.runner.run(request), self.results("path"))

    def show(self, events: "Generator[Event, None, Returned]", results: "Results") -> "Returned":
        """Show a use case until it ends or raises; give what its events return."""
        from cometrep.console.stage import Stage

        return Stage(self.console, results).show(events)

    def results(self, default: str, ids: list[str] | None = None) -> "Results":
        """Choose what goes to stdout: `--json`, else `--print`, else the command's own default."""
        from cometrep.console.stage import Results

        what = "json" if self.options.json else self.options.print_what or default
        return Results(what, self.options.resume, ids or (), saves=self.options.saves)


def settle(console: Console, options: Options) -> Settings:
    """Take up a command's shared options, and give the settings that they and all else come to."""
    options.check()
    settings = load(options.of_settings)
    console.configure(
        Choices(
            is_json=options.json,
            is_quiet=options.quiet,
            is_verbose=options.verbose,
            shows_logs=options.logs,
            progress=settings.progress if options.progress or not options.quiet else "auto",
            to_hide=settings.api_key.to_hide if settings.api_key else "",
            flags=options.of_server,
            tells_github=options.github,
        )
    )
    if settings.file_warning:
        console.warn(str(settings.file_warning))
    for variable, near in misspelt_variables().items():
        console.warn(f"{variable} is no setting; did you mean {near}?")
    for told in options.idle():
        console.warn(told)
    return settings


@contextlib.contextmanager
def opened(console: Console, options: Options, connections: int = 0) -> Iterator[Opened]:
    """Open what a command needs, from its shared options and the settings, and close it again."""
    from cometrep.api import Api
    from cometrep.ledger import Ledger
    from cometrep.runner import Runner
    from cometrep.schedule import Patience
    from cometrep.watch import MOST_LOOKS

    settings = settle(console, options)
    with contextlib.ExitStack() as stack:
        base_url, api_key = settings.base_url, settings.api_key
        if settings.uses_sandbox:
            api_key = ApiKey(SANDBOX_KEY)
            if options.dry_run:  # for which none is started, as nothing is sent
                base_url = f"http://127.0.0.1:{SANDBOX_PORT}"
            else:
                base_url = stack.enter_context(started_sandbox(settings))
        api = Api(
            base_url=base_url,
            api_key=api_key,
            connections=connections or MOST_LOOKS,
            replace_key_command=settings.replace_key_command,
        )
        stack.callback(api.close)
        ledger = Ledger(folders().ledger_file, base_url=base_url, is_sandbox=settings.is_sandboxed)
        stack.callback(ledger.close)
        keeper = _keeper(options, settings, ledger, base_url, stack) if options.saves else None
        runner = Runner(
            api,
            ledger,
            patience=Patience(
                settings.deadline_seconds,
                settings.retry_budget_seconds,
                settings.prompt_budget_seconds,
                options.interval_seconds,
            ),
            keeper=keeper,
            resume=options.resume,
            rerun=options.rerun,
        )
        try:
            yield Opened(console, settings, api, ledger, runner, keeper, options, base_url)
        finally:
            if ledger.problem:
                console.warn(f"{ledger.problem.message}; not all of this is recorded")


def _keeper(
    options: Options,
    settings: Settings,
    ledger: "Ledger",
    base_url: str,
    stack: contextlib.ExitStack,
) -> "Keeper":
    from cometrep.download import Downloads, Rules
    from cometrep.keeping import FILES_AT_ONCE, Keeper
    from cometrep.names import check_folder
    from cometrep.places import Keeping

    _refuse_beside_stdout(options, settings)
    template = settings.template
    check_folder(str(Path(settings.folder, template or "-").parent))
    downloads = Downloads(
        Rules(
            allows_local=is_local_url(base_url),
            max_size_bytes=settings.max_size_bytes,
            overwrites=options.overwrite,
            skips_existing=options.skip_existing,
            retry_budget_seconds=settings.retry_budget_seconds,
        )
    )
    stack.callback(downloads.close)
    # Files of a server on this machine have no distance to make up for, and threads cost them time.
    at_once = 1 if is_local_url(base_url) else FILES_AT_ONCE
    keeping = Keeping(
        # What is on its way to stdout stays nowhere, and is written where it was said just now alone.
        settings.folder if template != "-" or options.dir else "",
        template,
        writes_sidecar=options.sidecar,
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


def _refuse_beside_stdout(options: Options, settings: Settings) -> None:
    """Raise UsageError where stdout is to have the file, and something else too."""
    if settings.template == "-":
        for one, is_given in (
            ("--sidecar", options.sidecar),
            ("--json", options.json),
            ("--print", options.print_what),
        ):
            if is_given:
                raise contradiction(one, _typed_template(settings))


def _typed_template(settings: Settings) -> str:
    """Give the template as it was said, and where: an error about it may speak of what nobody typed just now."""
    _, template, origin = settings.resolved["output"]
    if origin.kind == "option":
        return f"-o {template}"
    return f"{origin}={template}" if origin.kind == "variable" else f"output = {template!r} in {origin}"
