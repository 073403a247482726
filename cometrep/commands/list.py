"""List the predictions made from this machine."""

import contextlib
import re
import time
from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any

import typer

from cometrep import config, errors
from cometrep.commands import CONNECTION, session, takes, without_server
from cometrep.config.values import parse_duration
from cometrep.console import Console
from cometrep.ledger import Ledger
from cometrep.ledger.entry import REFUSED, RETENTION_SECONDS, UNKNOWN, Entry
from cometrep.prediction import STATUSES
from cometrep.text import format_count, format_duration

EXAMPLES = ("cometrep list -n 5", "cometrep list --unsaved --json | jq -r .id")


_select = partial(typer.Option, rich_help_panel="Selection", show_default=False)
_keep = partial(typer.Option, rich_help_panel="Ledger", show_default=False)


@takes(CONNECTION)
def command(
    ctx: typer.Context,
    model: Annotated[
        str | None, _select("--model", metavar="GLOB", help="Only models that match: '*/flux-*'.")
    ] = None,
    status: Annotated[
        str | None,
        _select(
            "--status",
            metavar="STATUS",
            help=f"Only {', '.join((*STATUSES, UNKNOWN))} or {REFUSED}.",
            autocompletion=lambda: (*STATUSES, UNKNOWN, REFUSED),
        ),
    ] = None,
    since: Annotated[str | None, _select("--since", metavar="AGE", help="Only younger than this: 2h, 7d.")] = None,
    limit: Annotated[
        int | None, _select("-n", "--limit", min=1, max=10**9, metavar="N", help="At most so many (default all).")
    ] = None,
    unsaved: Annotated[
        bool, _select("--unsaved", help="Only successes seen, not saved here; with the time left.")
    ] = False,
    unknown: Annotated[bool, _select("--unknown", help="Only creates whose outcome is unknown.")] = False,
    refresh: Annotated[bool, _keep("--refresh", help="Ask the API about unfinished ones first.")] = False,
    prune: Annotated[
        str | None, _keep("--prune", metavar="AGE", help="Forget older ones instead of listing: 90d.")
    ] = None,
) -> None:
    """List the predictions made from this machine, newest first."""
    _refuse_contradictions(ctx.params)
    if refresh:
        with session(ctx) as opened:
            asked = opened.ledger.unfinished(model=model or "", since=_first(since))
            if not (status or unsaved or unknown):  # of so many lines no more can be unfinished
                asked = asked[:limit]
            opened.show(opened.runner.refresh(asked), opened.results(""))
            _list(opened.console, opened.ledger, ctx.params)
        return
    with without_server(ctx) as (console, _, ledger):
        if prune is not None:
            forgotten, kept = ledger.prune(time.time() - _age_to_prune(prune))
            still = f"; {kept} kept: in doubt, running, not saved or refused just now" if kept else ""
            console.say(f"{format_count(forgotten, 'entry', 'entries')} forgotten{still}")
        else:
            _list(console, ledger, ctx.params)
            recently = time.time() - 2 * RETENTION_SECONDS  # of older ones hardly any can be had
            if unsaved and (count := len(ledger.unfinished(model=model or "", since=recently))):
                told = f"{format_count(count, 'prediction')} had not ended when last seen"
                console.hint(f"{told}, and may be unsaved too: cometrep list --unsaved --refresh")


def _list(console: Console, ledger: Ledger, params: Mapping[str, Any]) -> None:
    """Print the entries that the options select."""
    model, status, since = params["model"], params["status"], params["since"]
    unsaved, unknown = params["unsaved"], params["unknown"]
    entries = ledger.entries(
        model=model or "",
        status=UNKNOWN if unknown else "" if status is None else ledger.known_status(status),
        since=_first(since),
        limit=params["limit"],
        unsaved_only=unsaved,
    )
    if params["json"]:
        for entry in entries:
            console.write_json(entry.as_json())
        return
    is_filtered = any(map(_is_given, (model, status, since))) or unsaved or unknown
    rows = [_row(entry, time.time(), shows_time_left=unsaved) for entry in entries]
    console.write_table(
        ("ID", "LEFT" if unsaved else "STATUS", "AGE", "MODEL", "FILES", "PROMPT"),
        rows,
        empty="" if rows else "the ledger holds no such prediction" if is_filtered else _empty(),
        spare=("FILES",),
    )


def _empty() -> str:
    """Tell that there are no predictions, and where those of the sandbox are that somebody may look for."""
    with contextlib.closing(Ledger(config.folders().ledger_file, base_url="", is_sandbox=True)) as ledger:
        has_any = any(ledger.entries(limit=1))
    if has_any:
        return "the ledger holds no predictions but the sandbox's: cometrep list --sandbox"
    return "the ledger is empty"


def _refuse_contradictions(params: Mapping[str, Any]) -> None:
    """Raise UsageError where options ask for two different things, or a blank one for nothing."""
    selecting = ("model", "status", "since", "limit", "unsaved", "unknown")
    for one, others in (("prune", (*selecting, "refresh")), ("unknown", ("status", "unsaved"))):
        if _is_given(params[one]) and (other := next((name for name in others if _is_given(params[name])), None)):
            raise errors.UsageError(f"--{one} and --{other} contradict each other", hint=f"leave out --{other}")
    for name in ("model", "status"):
        if params[name] is not None and not params[name].strip():
            raise errors.UsageError(f"--{name} {params[name]!r} selects nothing", hint="cometrep list")


def _is_given(value: Any) -> bool:
    return value is not None and value is not False


def _row(entry: Entry, now: float, *, shows_time_left: bool) -> list[str]:
    prompt = entry.input.get("prompt", "") if isinstance(entry.input, dict) else ""
    saved = len({file.index for file in entry.files})
    left = _age(entry.expires - now) if entry.expires > now else "expired"
    return [
        entry.id,
        left if shows_time_left else entry.status,
        _age(now - entry.created),
        entry.model,
        f"{saved}/{saved + entry.unsaved_outputs}" if shows_time_left else str(saved),
        prompt if isinstance(prompt, str) else "",
    ]


def _age(seconds: float) -> str:
    seconds = max(0.0, seconds)  # a clock may have been set back since
    return format_duration(round(seconds)) if seconds < 86400 else f"{seconds / 86400:.0f}d"


def _first(since: str | None) -> float | None:
    """Tell from which time on `--since` lists, in seconds since the epoch; None where all are listed."""
    return None if since is None else time.time() - _age_seconds("--since", since, "2d")


def _age_to_prune(text: str) -> float:
    """Read the age of `--prune`, whose unit is not left out: a d that was forgotten would cost the whole ledger."""
    if re.fullmatch(r"[0-9.]+", number := text.strip()):
        days = 90 if "." in number else number
        raise errors.UsageError(f"--prune {text!r} has no unit", hint=f"cometrep list --prune {days}d")
    return _age_seconds("--prune", text, "90d")


def _age_seconds(option: str, text: str, example: str) -> float:
    try:
        if text.endswith("d") and text[:-1].isdecimal():
            return int(text[:-1]) * 86400.0
        return parse_duration(text)
    except (ValueError, OverflowError) as problem:
        raise errors.UsageError(
            f"{option} {text!r} is not an age like 90m, 2h or 7d", hint=f"cometrep list {option} {example}"
        ) from problem
