"""List the predictions made from this machine."""

import time
from typing import Annotated

import typer

from cometrep import config, errors
from cometrep.commands import is_sandboxed, local_session
from cometrep.ledger import Entry, Ledger
from cometrep.text import format_duration

EXAMPLES = ("cometrep list -n 5", "cometrep list --status succeeded --since 2d --json | jq -r .id")


def command(
    ctx: typer.Context,
    model: Annotated[str, typer.Option("--model", metavar="GLOB", help="Only models that match.")] = "",
    status: Annotated[str, typer.Option("--status", metavar="STATUS", help="Only with this status.")] = "",
    since: Annotated[str, typer.Option("--since", metavar="AGE", help="Only younger than this: 2h, 7d.")] = "",
    limit: Annotated[int | None, typer.Option("-n", "--limit", min=1, metavar="N", help="At most so many.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
    sandbox: Annotated[bool, typer.Option("--sandbox", help="List the sandbox's instead.")] = False,
) -> None:
    """List the predictions made from this machine, newest first; `unknown` marks creates in doubt."""
    console = local_session(ctx)
    settings = config.load({"sandbox": "true" if sandbox else None})
    ledger = Ledger(config.folders().ledger_file, base_url=settings.base_url, is_sandbox=is_sandboxed(settings))
    oldest = time.time() - _age_seconds(since) if since else None
    entries = ledger.entries(model=model, status=status, since=oldest, limit=limit)
    if json:
        for entry in entries:
            console.write_json(entry.as_json())
    else:
        now = time.time()
        rows = [_row(entry, now) for entry in entries]
        console.write_table(
            ("ID", "STATUS", "AGE", "MODEL", "FILES", "PROMPT"),
            rows,
            empty="the ledger holds no such prediction" if model or status or since else "the ledger is empty",
        )


def _row(entry: Entry, now: float) -> list[str]:
    prompt = entry.input.get("prompt", "") if isinstance(entry.input, dict) else ""
    return [
        entry.id or "-",
        entry.status,
        format_duration(round(now - entry.created)) if now - entry.created < 86400 else _days(now - entry.created),
        entry.model,
        str(len({file.index for file in entry.files})),
        prompt if isinstance(prompt, str) else "",
    ]


def _days(seconds: float) -> str:
    return f"{seconds / 86400:.0f}d"


def _age_seconds(text: str) -> float:
    try:
        if text.endswith("d") and text[:-1].isdecimal():
            return int(text[:-1]) * 86400.0
        return config.parse_duration(text)
    except ValueError as problem:
        raise errors.UsageError(
            f"--since {text!r} is not an age like 90m, 2h or 7d", hint="--since 2d"
        ) from problem
