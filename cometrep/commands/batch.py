"""Run many inputs; resume where a previous run stopped."""

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cometrep import errors
from cometrep.commands import (
    BATCH_SAVING,
    BATCH_WAITING,
    CONNECTION,
    REPORTING,
    option,
    session,
    settled,
    takes,
)
from cometrep.config import Settings, folders
from cometrep.session import Opened
from cometrep.text import beside_id, format_count

if TYPE_CHECKING:
    from cometrep.events import BatchEnded
    from cometrep.fate import Asked
    from cometrep.plan import Plan
    from cometrep.prediction import SavedFile
    from cometrep.record import Record, Standing

EXAMPLES = (
    "cometrep batch prompts.jsonl --model black-forest-labs/flux-schnell -j 8",
    "cometrep batch prompts.csv --model stability-ai/sdxl --dry-run",
    "cometrep batch --sweep -m stability-ai/sdxl prompt=cat,dog seed:=1..3",
    "cometrep batch prompts.jsonl --status",
)

_PIPED_AGAIN = "; the items are to be piped in again"
SHOWN_ITEMS = 3  # of a dry run


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
        raise errors.UsageError("a batch needs a FILE, or --sweep", hint="cometrep help batch")
    if status:
        _show_status(ctx, file)
        return
    from cometrep.batch import CONNECTIONS
    from cometrep.gallery import refuse_without_record
    from cometrep.inputs import REFUSE_BYTES
    from cometrep.pace import Pace, parse_rate
    from cometrep.plan import planned
    from cometrep.record import SANDBOX, Record
    from cometrep.score import typed_again

    pace = Pace(None if rate is None else parse_rate(rate))
    ctx.obj.command_line = typed_again(ctx.obj.command_line, file)
    with _telling_how_to_go_on(ctx, file), session(ctx, CONNECTIONS) as opened:
        folder = _folder(opened.params, opened.settings, file)
        checking = partial(opened.console.saying_if_slow, "checking all items before the first one is sent")
        with contextlib.ExitStack() as stack:
            with checking():
                plan = stack.enter_context(
                    planned(
                        file,
                        words if sweep else words[1:],
                        model=model,
                        is_sweep=sweep,
                        shard=shard,
                        is_strict=strict,
                        read_stdin=partial(opened.console.read_stdin, limit_bytes=None if sweep else REFUSE_BYTES),
                        copy_stdin=opened.console.copy_stdin,
                    )
                )
            _announce(opened, plan)
            record = Record(folder, plan.shard, api=SANDBOX if opened.settings.is_sandboxed else opened.base_url)
            record.refuse_as_items(file)
            refuse_without_record(folder)
            with checking():
                plan = plan.wholly_checked(is_strict=strict)
                opened.keepers(str(folder))("").check_batch(
                    lambda: ((item.label, item.key, item.model, item.values) for item in plan.items_of_all_shards())
                )
            if dry_run:
                _describe(opened, plan, record)
            else:
                _run(opened, plan, record, pace)


@contextlib.contextmanager
def _telling_how_to_go_on(ctx: typer.Context, file: str) -> Iterator[None]:
    """Say in a stop that came before the items were run, or behind that, which command goes on."""
    try:
        yield
    except errors.Stopped as stop:
        if not (stop.hint or ctx.params["dry_run"]):
            from cometrep.score import tell_stop
            from cometrep.snapshot import comes_once

            tell_stop(stop, 0, ctx.obj.command_line)
            stop.message += _PIPED_AGAIN * comes_once(file)
        raise


def _run(opened: Opened, plan: "Plan", record: "Record", pace: Any) -> None:
    from cometrep import board
    from cometrep.batch import Batch
    from cometrep.console import Results
    from cometrep.fate import begin
    from cometrep.gallery import Gallery
    from cometrep.runner import Patience
    from cometrep.score import commands_beside, outcome, resuming, tell_stop
    from cometrep.signals import finishing_first

    console, params, settings = opened.console, opened.params, opened.settings
    gallery = Gallery(record.folder, plan.axes)
    again = errors.Resume(resuming(console.command_line))
    batch = Batch(
        opened.api,
        opened.ledger,
        record,
        opened.keepers(str(record.folder)),
        asked=_asked(params),
        patience=Patience(settings.deadline_seconds, settings.retry_budget_seconds),
        pace=pace,
        publish=gallery.write,
    )
    try:
        with contextlib.closing(record):
            total = plan.total()
            for told in begin(record, plan.items_of_all_shards(), opened.ledger, total=total, axes=plan.axes):
                console.warn(told)
            results = Results("json" if params["json"] else "path", again, is_batch=True)
            try:
                with finishing_first(batch.stop):
                    ended: BatchEnded = console.show(batch.run(plan.items(), total), results)
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
    if console.is_quiet and settings.progress != "json":
        for line in ended.first_failures:
            console.warn(line)
    if failure:
        failure.message += _PIPED_AGAIN * plan.is_piped
        raise failure


def _announce(opened: Opened, plan: "Plan") -> None:
    """Say what is doubtful; show the size of a sweep, and ask where it is large."""
    from cometrep.plan import ASKS_ABOVE
    from cometrep.score import adding

    for doubt in plan.doubts:
        opened.console.warn(doubt)
    if not plan.is_sweep:
        return
    opened.console.say(f"sweep: {plan.size_text()}")
    if plan.size <= ASKS_ABOVE or opened.params["yes"] or opened.params["dry_run"]:
        return
    part = "part of the " if plan.shard else ""
    if not opened.console.confirm(f"Send {part}{plan.size} items?"):
        raise errors.UsageError(
            f"a sweep of {format_count(plan.size, 'item')} was not confirmed; nothing was sent",
            hint=adding("--yes", opened.console.command_line),
            code="not_confirmed",
        )


def _describe(opened: Opened, plan: "Plan", record: "Record") -> None:
    """Print what a batch would do: how many items, the first requests, the names of the files."""
    from cometrep.fate import Fate, forecast
    from cometrep.keeping import preview
    from cometrep.prediction import Request

    record.read()
    console, template = opened.console, opened.settings.template
    keeper_of = opened.keepers(str(record.folder))
    counts, sent, warnings = forecast(
        plan.items(),
        record,
        opened.ledger,
        _asked(opened.params),
        lambda item: keeper_of(item.key).paths_that_stay(Request(item.model, item.values)),
        SHOWN_ITEMS,
    )
    for told in warnings:
        console.warn(told)
    shown = [
        {
            "key": item.key,
            "request": opened.api.describe_create(item.model, item.values),
            "files": preview(str(record.folder), template, item.key, item.model, item.values),
        }
        for item in sent
    ]
    if opened.params["json"]:
        facts: dict[str, Any] = {"items": counts.total(), "folder": str(record.folder), "first": shown}
        console.write_json({"schema_version": 1, **facts, **{fate: counts[fate] for fate in Fate}})
        return
    fates = ", ".join(f"{count} {fate.replace('_', ' ')}" for fate, count in counts.items()) or "nothing to do"
    console.write_line(f"{format_count(counts.total(), 'item')}: {fates}")
    console.write_line(f"folder: {record.folder}")
    for one in shown:
        console.write_line(f"item {one['key']}: {', '.join(one['files'])}")
        console.write_json(one["request"])


def _asked(params: Mapping[str, Any]) -> "Asked":
    from cometrep.fate import Asked

    return Asked(
        jobs=params["jobs"],
        max_failures=params["max_failures"],
        retries_failed=params["retry_failed"],
        retries_unknown=params["retry_unknown"],
        reads_sidecars=params["json"],
    )


def _folder(params: Mapping[str, Any], settings: Settings, file: str) -> Path:
    """Give the folder of a batch: a folder of the settings holds many, each in one of its own."""
    from cometrep.record import default_folder

    return Path(settings.folder, "" if params["dir"] else default_folder(file))


def _show_status(ctx: typer.Context, file: str) -> None:
    """Print what the records of a batch's folder hold."""
    from cometrep.events import ItemEnded
    from cometrep.ledger import Ledger
    from cometrep.record import Record
    from cometrep.sidecar import read_sidecar

    console, settings = settled(ctx)
    record = Record(_folder(ctx.params, settings, file), reads_inputs=ctx.params["json"])
    record.read()
    total = record.total
    if total is None:
        raise errors.UsageError(f"no batch has run in {str(record.folder)!r}", hint="find . -name 'batch*.jsonl'")
    counts: Counter[str] = Counter()

    def known() -> "Iterator[tuple[str, Standing, list[SavedFile]]]":
        for key, standing in record.standings():
            counts[standing.state] += 1
            yield key, standing, standing.saved_files(record.folder)

    if ctx.params["json"]:
        for key, standing, files in known():
            seen = read_sidecar(standing.id, files) or standing.prediction()
            ended = ItemEnded(standing.id, key, key, standing.state, standing.error, tuple(files), seen)
            console.write_json(ended.as_json())
    else:
        is_read = console.screens()[0].is_terminal  # by people, who know items by what their events say
        rows = (
            (
                standing.label(key) if is_read else key,
                standing.state,
                standing.id,
                beside_id(standing.error, standing.id) or ", ".join(file.path for file in files),
            )
            for key, standing, files in known()
        )
        header = ("ITEM", "STATUS", "ID", "FILES OR ERROR")
        console.write_table(header, rows, whole="ID", spare=("ID", "ITEM"))
    left = total + record.gone.items - sum(counts.values())
    words = [f"{count} {word}" for word, count in counts.items()] + [f"{left} not sent"] * (left > 0)
    console.say(f"{record.folder}: {', '.join(words)}")
    ledger = Ledger(folders().ledger_file, base_url=settings.base_url, is_sandbox=settings.is_sandboxed)
    with contextlib.closing(ledger):
        for told in record.gone.unless(partial(ledger.lenient, ledger.files)).told(record.folder):
            console.warn(told)
