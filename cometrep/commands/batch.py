"""Run many inputs; resume where a previous run stopped."""

import contextlib
from pathlib import Path
from typing import Annotated

import typer

from cometrep import errors
from cometrep.commands import (
    BATCH_SAVING,
    BATCH_WAITING,
    CONNECTION,
    REPORTING,
    option,
    options_of,
    session,
    takes,
    without_server,
)
from cometrep.config import Settings
from cometrep.console import Console
from cometrep.options import Options

EXAMPLES = (
    "cometrep batch prompts.jsonl --model black-forest-labs/flux-schnell -j 8",
    "cometrep batch prompts.csv --model stability-ai/sdxl --dry-run",
    "cometrep batch --sweep -m stability-ai/sdxl prompt=cat,dog seed:=1..3",
    "cometrep batch prompts.jsonl --status",
)


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
        bool, option("Input", "--strict", help="Refuse inputs and values that the catalog does not know.")
    ] = False,
    jobs: Annotated[
        int, option("Pace", "-j", "--jobs", min=1, max=1000, metavar="N", help="Items at once (default 4).")
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
    from cometrep.batch.command_line import typed_again
    from cometrep.batch.conduct import conduct, telling_how_to_go_on
    from cometrep.batch.fate import Asked
    from cometrep.batch.forecast import show_forecast
    from cometrep.batch.plan import Wanted
    from cometrep.batch.prepare import prepared
    from cometrep.batch.record import SANDBOX
    from cometrep.batch.run import CONNECTIONS
    from cometrep.pace import Pace, parse_rate
    from cometrep.schedule import Patience

    pace = Pace(None if rate is None else parse_rate(rate))
    wanted = Wanted(file, words if sweep else words[1:], model, is_sweep=sweep, shard=shard, is_strict=strict)
    console: Console = ctx.obj
    console.command_line = typed_again(console.command_line, file)
    going_on = contextlib.nullcontext() if dry_run else telling_how_to_go_on(console, file)
    with going_on, session(ctx, CONNECTIONS) as opened:
        settings, keeper = opened.settings, opened.keeper
        assert keeper  # a command that saves has one
        asked = Asked(
            jobs=jobs,
            max_failures=max_failures,
            retries_failed=retry_failed,
            retries_unknown=retry_unknown,
            reads_sidecars=opened.options.json,
        )
        folder = _folder(opened.options, settings, file)
        api = SANDBOX if settings.is_sandboxed else opened.base_url
        with prepared(console, wanted, folder, keeper, api=api, is_confirmed=yes or dry_run) as ready:
            if dry_run:
                show_forecast(console, ready, asked, opened.ledger, request_of=opened.api.describe_create)
            else:
                patience = Patience(settings.deadline_seconds, settings.retry_budget_seconds)
                conduct(console, ready, asked, opened.api, opened.ledger, patience=patience, pace=pace)


def _folder(options: Options, settings: Settings, file: str) -> Path:
    """Give the folder of a batch: a folder of the settings holds many, each in one of its own."""
    from cometrep.batch.record import default_folder

    return Path(settings.folder, "" if options.dir else default_folder(file))


def _show_status(ctx: typer.Context, file: str) -> None:
    from cometrep.batch.overview import show_folder
    from cometrep.batch.record import Record

    options = options_of(ctx)
    with without_server(ctx) as (console, settings, ledger):
        show_folder(console, Record(_folder(options, settings, file), reads_inputs=options.json), ledger)
