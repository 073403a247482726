"""Check what cometrep needs to work, and name the fix of each fault."""

import contextlib
import shutil
import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING

import typer

from cometrep import config, errors
from cometrep.commands import CONNECTION, options_of, takes
from cometrep.config.values import ApiKey
from cometrep.console import Choices, Console
from cometrep.options import Options
from cometrep.session import started_sandbox
from cometrep.text import one_line

if TYPE_CHECKING:
    from cometrep.doctor.checks import Check
    from cometrep.doctor.subject import Subject

EXAMPLES = ("cometrep doctor", "cometrep doctor --json | jq -r '.checks[].fix // empty'")

_NAME_WIDTH = 15
_NARROW_COLUMNS = 60  # below it a message stands under its name
_STYLES = {"ok": "succeeded", "warn": "warning", "fail": "error"}


@takes(CONNECTION)
def command(ctx: typer.Context) -> None:
    """Check key, settings, network, files and terminal, and name a fix for each fault."""
    from cometrep import doctor
    from cometrep.doctor import checks

    console: Console = ctx.obj
    with _subject(console, options_of(ctx)) as subject:
        found = []
        for check in doctor.examine(subject):
            found.append(check)
            if not console.choices.is_json and not (console.choices.is_quiet and check.outcome == checks.OK):
                _write(console, check, subject)
    failure = doctor.failure(found)
    if console.choices.is_json:
        told = [check.as_json() for check in found]
        console.write_json({"schema_version": 1, "ok": failure is None, "checks": told})
    if failure:
        raise failure


def _write(console: Console, check: "Check", subject: "Subject") -> None:
    """Write one check: for people with its fix on a line below, for programs four fields parted by tabs."""
    name, outcome, message, fix = (one_line(part) for part in check)
    screen = subject.stdout
    if not screen.is_terminal:
        console.write_line(f"{outcome}\t{name}\t{message}\t{fix}")
        return
    is_narrow = subject.columns < _NARROW_COLUMNS
    indent = 6 if is_narrow else 8 + _NAME_WIDTH
    width = max(20, subject.columns - indent)
    lines = textwrap.wrap(message, width, break_long_words=False, break_on_hyphens=False)
    first = "" if is_narrow else "".join(lines[:1])
    head = screen.styled(f"{outcome:4}", _STYLES[outcome])
    console.write_line(f"{head}  {name:{_NAME_WIDTH}}  {first}".rstrip())
    for line in lines if is_narrow else lines[1:]:
        console.write_line(" " * indent + line)
    if fix:
        console.write_line(f"      fix: {fix}")  # not wrapped: it is there to be copied


@contextlib.contextmanager
def _subject(console: Console, options: Options) -> "Iterator[Subject]":
    """Gather what is examined, with the sandbox started where it is what the settings name."""
    from cometrep.doctor.subject import Subject, known_base_url

    settings, unresolved = config.load_leniently(options.of_settings)
    problems: dict[str, errors.CometrepError] = {**unresolved}
    base_url, api_key = known_base_url(settings, problems), settings.api_key
    with contextlib.ExitStack() as stack:
        if settings.uses_sandbox:
            try:
                base_url = stack.enter_context(started_sandbox(settings))
            except errors.CometrepError as problem:
                problems["base_url"], base_url = problem, ""
            api_key = ApiKey(config.SANDBOX_KEY)
        console.configure(
            Choices(
                is_json=options.json,
                is_quiet=options.quiet,
                is_verbose=options.verbose,
                to_hide=api_key.to_hide if api_key else "",
                flags=options.of_server,
            )
        )
        stdout, stderr = console.screens()
        yield Subject(
            settings=settings,
            problems=problems,
            base_url=base_url,
            api_key=api_key,
            stdout=stdout,
            stderr=stderr,
            columns=shutil.get_terminal_size().columns,
            flags=options.of_server,
        )
