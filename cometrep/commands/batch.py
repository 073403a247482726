"""Run many inputs; resume where a previous run stopped."""

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cometrep import errors, hints
from cometrep.commands import (
    BATCH_SAVING,
    BATCH_WAITING,
    CONNECTION,
    REPORTING,
    option,
    options_of,
    session,
    settled,
    takes,
)
from cometrep.config import Settings, folders
from cometrep.options import Options
from cometrep.session import Opened
from cometrep.text import format_count

if TYPE_CHECKING:
    from cometrep.batch.fate import Asked
    from cometrep.batch.plan import Plan
    from cometrep.batch.record import Record
    from cometrep.events import BatchEnded
    from cometrep.pace import Pace

EXAMPLES = (
    "cometrep batch prompts.jsonl --model black-forest-labs/flux-schnell -j 8",
    "cometrep batch prompts.csv --model stability-ai/sdxl --dry-run",
    "cometrep batch --sweep -m stability-ai/sdxl prompt=cat,dog seed:=1..3",
    "cometrep batch prompts.jsonl --status",
)

_PIPED_AGAIN = "; the items are to be piped in again"


@takes(BATCH_WAITING, BATCH_SAVING, REPORTING, CONNECTION)
def command(
    ctx: typer.Context,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[FILE] [INPUT]...",
            help="JSON Lines or CSV, - for stdin; then inputs that all its items share.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        str, option("Input", "-m", "--model", metavar="MODEL", help="The model of lines that name none.")
    ] = "",
    sweep: Annotated[
        bool, option("Input", "--sweep", help="No file: every combination of the inputs' values.")
    ] = False,
    yes: Annotated[bool, option("Input", "--yes", help="Do not ask before a sweep of more than 100.")] = False,
    shard: Annotated[str | None, option("Input", "--shard", metavar="I/N", help="Only part I of N.")] = None,
    dry_run: Annotated[
        bool, option("Input", "--dry-run", help="Show counts, requests and names; send nothing.")
    ] = False,
    strict: Annotated[
        bool, option("Input", "--strict", help="Refuse inputs that the catalog does not know.")
    ] = False,
    jobs: Annotated[
        int, option("Pace", "-j", "--jobs", min=1, max=1000, metavar="N", help="Items at once (4).")
    ] = 4,
    rate: Annotated[
        str | None, option("Pace", "--rate", metavar="RATE", help="At most so many creates: 2/s, 60/m, 100/h.")
    ] = None,
    max_failures: Annotated[
        int | None, option("Pace", "--max-failures", min=1, metavar="N", help="Stop sending after N failures.")
    ] = None,
    retry_failed: Annotated[bool, option("Resuming", "--retry-failed", help="Send failed items again.")] = False,
    retry_unknown: Annotated[
        bool, option("Resuming", "--retry-unknown", help="Send items in doubt again; may pay twice.")
    ] = False,
    status: Annotated[
        bool, option("Resuming", "--status", help="Show what the folder holds; send nothing.")
    ] = False,
) -> None:
    """Run many inputs; the same command again resumes where a run stopped."""
    words = words or []
    file = "" if sweep or not words else words[0]
    if not (file or sweep or (status and ctx.params["dir"])):
        if status:
            raise errors.UsageError("--status needs the FILE or the folder of a batch", hint="add -d DIR")
        raise errors.UsageError("a batch needs a FILE, or --sweep", hint="cometrep help batch")
    if status:
        _show_status(ctx, file)
        return
    from cometrep.batch.clashes import check_batch, check_folders, folders_of
    from cometrep.batch.command_line import typed_again
    from cometrep.batch.fate import Asked
    from cometrep.batch.gallery import refuse_without_record
    from cometrep.batch.plan import planned
    from cometrep.batch.record import SANDBOX, Record
    from cometrep.batch.run import CONNECTIONS
    from cometrep.inputs import REFUSE_BYTES
    from cometrep.pace import Pace, parse_rate

    pace = Pace(None if rate is None else parse_rate(rate))
    ctx.obj.command_line = typed_again(ctx.obj.command_line, file)
    with _telling_how_to_go_on(ctx, file), session(ctx, CONNECTIONS) as opened:
        folder = _folder(opened.options, opened.settings, file)
        checking = partial(opened.console.saying_if_slow, "checking all items before the first one is sent")
        with contextlib.ExitStack() as stack:
            with checking():
                plan = stack.enter_context(
                    planned(
                        file,
                        words if sweep else words[1:],
                        model=model,
                        template=opened.settings.template,
                        is_sweep=sweep,
                        shard=shard,
                        is_strict=strict,
                        command=ctx.obj.command_line,
                        read_stdin=partial(opened.console.read_stdin, limit_bytes=None if sweep else REFUSE_BYTES),
                        copy_stdin=opened.console.copy_stdin,
                    )
                )
            _announce(opened, plan, is_confirmed=yes or dry_run)
            record = Record(folder, plan.shard, api=SANDBOX if opened.settings.is_sandboxed else opened.base_url)
            record.refuse_as_items(file)
            refuse_without_record(folder)
            with checking():
                plan = plan.wholly_checked(is_strict=strict)
                keeping = opened.keepers(str(folder))("").keeping
                check_batch(keeping, plan.items_of_all_shards)
                check = partial(check_folders, folders_of(keeping, plan.items_of_all_shards()))
            asked = Asked(
                jobs=jobs,
                max_failures=max_failures,
                retries_failed=retry_failed,
                retries_unknown=retry_unknown,
                reads_sidecars=opened.options.json,
            )
            if dry_run:
                _describe(opened, plan, record, asked, check)
            else:
                _run(opened, plan, record, asked, pace, check)


@contextlib.contextmanager
def _telling_how_to_go_on(ctx: typer.Context, file: str) -> Iterator[None]:
    """Say in a stop that came before the items were run, or behind that, which command goes on."""
    try:
        yield
    except errors.Stopped as stop:
        if not (stop.hint or ctx.params["dry_run"]):
            from cometrep.batch.score import tell_stop
            from cometrep.batch.snapshot import comes_once

            tell_stop(stop, 0, ctx.obj.command_line)
            stop.message += _PIPED_AGAIN * comes_once(file)
        raise


def _run(
    opened: Opened, plan: "Plan", record: "Record", asked: "Asked", pace: "Pace", check: Callable[[], None]
) -> None:
    from cometrep.batch.command_line import resuming
    from cometrep.batch.fate import begin
    from cometrep.batch.gallery import Gallery
    from cometrep.batch.run import Batch
    from cometrep.batch.score import commands_beside, outcome, tell_stop
    from cometrep.console import board
    from cometrep.console.stage import Results
    from cometrep.runner import Patience
    from cometrep.signals import finishing_first

    console, settings = opened.console, opened.settings
    gallery = Gallery(record.folder, plan.axes)
    again = hints.Command(resuming(console.command_line))
    batch = Batch(
        opened.api,
        opened.ledger,
        record,
        opened.keepers(str(record.folder)),
        asked=asked,
        patience=Patience(settings.deadline_seconds, settings.retry_budget_seconds),
        pace=pace,
        check_folders=check,
        publish=gallery.write,
    )
    try:
        with contextlib.closing(record):
            total = plan.total()
            for told in begin(record, plan.items_of_all_shards(), opened.ledger, total=total, axes=plan.axes):
                console.warn(told)
            results = Results("json" if opened.options.json else "path", again, is_batch=True)
            try:
                with finishing_first(batch.stop):
                    ended: BatchEnded = opened.show(batch.run(plan.items(), total), results)
            except errors.LocalFileError as refused:  # as where the system gives no more threads
                refused.message += "; the same command goes on from here"
                raise
            told_at_the_end = record.told_at_the_end()
    except errors.Stopped as stop:
        tell_stop(stop, batch.in_doubt, console.command_line)
        stop.message += _PIPED_AGAIN * plan.is_piped
        raise
    for told in (*told_at_the_end, *plan.told_at_the_end()):
        console.warn(told)
    lines = board.summary_lines(ended)
    failure = outcome(ended, console.command_line, was_stopped=batch.was_asked_to_stop)
    commands = commands_beside(failure.hint if failure else "", ended, console.command_line)
    for line in [*lines, *(f"  {line}" for line in commands), *gallery.told()]:
        console.say(line)
    if console.choices.is_quiet and console.choices.progress != "json":
        for line in ended.first_failures:
            console.warn(line)
    if failure:
        failure.message += _PIPED_AGAIN * plan.is_piped
        raise failure


def _announce(opened: Opened, plan: "Plan", *, is_confirmed: bool) -> None:
    """Say what is doubtful; show the size of a sweep, and ask where it is large."""
    from cometrep.batch.command_line import adding
    from cometrep.batch.plan import ASKS_ABOVE

    for doubt in plan.doubts:
        opened.console.warn(doubt)
    for hint in plan.hints:
        opened.console.hint(hint)
    if not plan.is_sweep:
        return
    opened.console.say(f"sweep: {plan.size_text()}")
    if plan.size <= ASKS_ABOVE or is_confirmed:
        return
    part = "part of the " if plan.shard else ""
    try:
        is_confirmed = opened.console.confirm(f"Send {part}{plan.size} items?")
    except errors.Stopped as stop:
        stop.message += "; nothing was sent"
        stop.hint = opened.console.command_line
        raise
    if not is_confirmed:
        raise errors.UsageError(
            f"a sweep of {format_count(plan.size, 'item')} was not confirmed; nothing was sent",
            hint=adding("--yes", opened.console.command_line),
            code="not_confirmed",
        )


def _describe(opened: Opened, plan: "Plan", record: "Record", asked: "Asked", check: Callable[[], None]) -> None:
    from cometrep.batch.overview import show_forecast

    show_forecast(
        opened.console,
        plan,
        record,
        opened.ledger,
        asked,
        keeper_of=opened.keepers(str(record.folder)),
        request_of=opened.api.describe_create,
        check_folders=check,
        template=opened.settings.template,
        is_json=opened.options.json,
    )


def _folder(options: Options, settings: Settings, file: str) -> Path:
    """Give the folder of a batch: a folder of the settings holds many, each in one of its own."""
    from cometrep.batch.record import default_folder

    return Path(settings.folder, "" if options.dir else default_folder(file))


def _show_status(ctx: typer.Context, file: str) -> None:
    from cometrep.batch.overview import show_folder
    from cometrep.batch.record import Record
    from cometrep.ledger import Ledger

    console, settings = settled(ctx)
    options = options_of(ctx)
    record = Record(_folder(options, settings, file), reads_inputs=options.json)
    ledger = Ledger(folders().ledger_file, base_url=settings.base_url, is_sandbox=settings.is_sandboxed)
    with contextlib.closing(ledger):
        show_folder(console, record, ledger, is_json=options.json)
