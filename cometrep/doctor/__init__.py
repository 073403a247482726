"""Check key, settings, network, files and terminal, and name the fix of each fault.

The checks are made one after the other, as they are asked for. None costs money.
"""

import contextlib
import importlib.metadata
import importlib.util
import platform
import shlex
import ssl
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cometrep import __version__, config, errors, hints
from cometrep.calls import within
from cometrep.config.values import ApiKey
from cometrep.console.screen import Screen
from cometrep.doctor import installed
from cometrep.doctor.checks import FAIL, OK, SHOWN, WARN, Check, installing, typed, untried
from cometrep.doctor.reach import Reach
from cometrep.ledger import RETENTION_SECONDS, UNKNOWN, Entry, Ledger
from cometrep.partfile import LeftOver, left_over_in, writable_folder
from cometrep.text import first_few, format_bytes, format_elapsed, without_key
from cometrep.transport.reasons import reason_of

LIMIT_SECONDS = 10.0  # of one step of the network, and of reading the ledger
NEAR_SECONDS = 1800.0  # an unsaved output with less than this left is a warning
_DAY = 86400.0
_RECENT_DAYS = 30
_UNDER_WAY_SECONDS = 300.0  # a create this young without a reason may still be under way
_FOLDERS = 100  # of saved files that are searched for part files

_LIBRARIES = ("requests", "urllib3", "typer", "rich", "platformdirs")


class Subject(NamedTuple):
    """What is examined.

    `problems` are the ConfigErrors of settings that do not resolve, by name; `base_url` is empty where it is not
    known; `flags` are kept in the commands that fixes name.
    """

    settings: config.Settings
    problems: Mapping[str, errors.CometrepError]
    base_url: str
    api_key: ApiKey | None
    stdout: Screen
    stderr: Screen
    columns: int
    flags: str = ""


def examine(
    subject: Subject, *, now: Callable[[], float] = time.time, limit_seconds: float = LIMIT_SECONDS
) -> Iterator[Check]:
    """Make every check, and give it free of the API key."""
    key = subject.api_key.to_hide if subject.api_key else ""
    for check in _Examination(subject, now, limit_seconds).checks():
        yield Check(*(without_key(part, key) for part in check))


def failure(checks: Sequence[Check]) -> errors.ConfigError | None:
    """Give the error that checks come to, None where nothing has to be mended."""
    failed = [check for check in checks if check.outcome == FAIL]
    if not failed:
        return None
    names = ", ".join(check.name for check in failed)
    told = f"{len(failed)} of {len(checks)} checks failed: {names}"
    return errors.ConfigError(told, hint=failed[0].fix, code="checks_failed")


def known_base_url(settings: config.Settings, problems: Mapping[str, errors.CometrepError]) -> str:
    """Give the base URL, empty where a setting that does not resolve may have named another."""
    is_default = settings.shown("base_url").origin == config.DEFAULT
    is_doubtful = {"base_url", "sandbox"} & set(problems) or (is_default and "config_file" in problems)
    return "" if is_doubtful else settings.base_url


class _Memory(NamedTuple):
    """What the ledger knows that may need something done."""

    unknown: Sequence[Entry] = ()
    unsaved: Sequence[Entry] = ()
    folders: Sequence[Path] = ()


class _Examination:
    def __init__(self, subject: Subject, now: Callable[[], float], limit_seconds: float) -> None:
        self._subject = subject
        self._settings = subject.settings
        self._now = now
        self._limit_seconds = limit_seconds
        self._memory: _Memory | None = None
        self._folders = config.folders()

    def checks(self) -> Iterator[Check]:
        """Make every check in order; one that cannot be made says so."""
        yield from (self._api_key(), self._config_file(), self._other_settings(), self._base_url())
        yield from Reach(
            base_url=self._subject.base_url,
            api_key=self._subject.api_key,
            again=self._again(),
            replace_base_url=self._replace_base_url(),
            replace_key_command=self._settings.replace_key_command,
            now=self._now,
            limit_seconds=self._limit_seconds,
        ).checks()
        for name, make in (
            ("state_folder", self._state_folder),
            ("cache_folder", self._cache_folder),
            ("ledger", self._ledger),
            ("part_files", self._part_files),
            ("unknown_creates", self._unknown_creates),
            ("unsaved_outputs", self._unsaved_outputs),
            ("terminal", self._terminal),
            ("completion", self._completion),
            ("man_pages", self._man_pages),
            ("pillow", self._pillow),
            ("versions", self._versions),
        ):
            try:
                yield make()
            except (OSError, ValueError) as problem:
                yield Check(
                    name, WARN, f"it cannot be checked: {reason_of(problem)}", f"run it again: {self._again()}"
                )

    def _untried(self, name: str, cause: str, why: str = "") -> Check:
        return untried(name, cause, self._again(), why)

    def _again(self) -> str:
        return typed("cometrep doctor", self._subject.flags)

    # Settings

    def _api_key(self) -> Check:
        key, origin = self._subject.api_key, self._settings.shown("api_key").origin
        problem = self._subject.problems.get("api_key")
        if problem:
            return Check("api_key", FAIL, problem.message, problem.hint)
        if self._settings.uses_sandbox:
            return Check("api_key", OK, "none is needed in the sandbox")
        if key is None:
            if "config_file" in self._subject.problems:
                return self._untried(
                    "api_key", "config_file", "none is in the environment, and the file is not readable"
                )
            return Check("api_key", FAIL, f"none is set; keys are made at {config.KEY_PAGE}", "cometrep login")
        others = [
            variable
            for variable in config.SETTINGS["api_key"].variables
            if variable != origin.text and config.environment(variable).strip()
        ]
        if origin.kind != "file" and self._stored().get("api_key"):
            others.append("the stored key")
        beside = f" (not used: {', '.join(others)})" if others else ""
        if not key.reveal().startswith("sk-"):
            told = f"{key} from {origin} does not begin with sk-, as CometAPI's keys do{beside}"
            return Check("api_key", WARN, told, self._settings.replace_key_command)
        return Check("api_key", OK, f"{key} from {origin}{beside}")

    def _config_file(self) -> Check:
        path = self._folders.config_file
        if problem := self._subject.problems.get("config_file"):
            return Check("config_file", FAIL, problem.message, problem.hint)
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
        except OSError:
            return Check("config_file", OK, f"there is none, nor need there be: {path}")
        if warning := self._settings.file_warning:
            return Check("config_file", WARN, *warning)
        if strange := config.removals():
            told = f"{path} sets what cometrep does not know: {', '.join(strange)}"
            return Check("config_file", WARN, told, " && ".join(dict.fromkeys(strange.values())))
        return Check("config_file", OK, f"{path}, mode {mode:04o}")

    def _other_settings(self) -> Check:
        problems = [
            problem
            for name, problem in self._subject.problems.items()
            if name not in ("api_key", "config_file", "base_url")
        ]
        if problems:
            told = "; ".join(problem.message for problem in problems)
            return Check("settings", FAIL, told, problems[0].hint)
        changed = [
            f"{name} from {self._settings.shown(name).origin}"
            for name, known in config.SETTINGS.items()
            if name not in ("api_key", "base_url") and self._settings.shown(name).value != known.default
        ]
        return Check("settings", OK, ", ".join(changed) or "all others have their defaults")

    def _base_url(self) -> Check:
        if problem := self._subject.problems.get("base_url"):
            return Check("base_url", FAIL, problem.message, problem.hint)
        if not self._subject.base_url:
            cause = "settings" if "sandbox" in self._subject.problems else "config_file"
            return self._untried("base_url", cause, f"{cause} may name another than the default")
        if self._settings.uses_sandbox:
            origin = self._settings.shown("sandbox").origin
            return Check("base_url", OK, f"{self._subject.base_url}, the sandbox of {origin}")
        origin = self._settings.shown("base_url").origin
        where = "the default" if origin == config.DEFAULT else f"from {origin}"
        return Check("base_url", OK, f"{self._subject.base_url}, {where}")

    def _stored(self) -> Mapping[str, Any]:
        with contextlib.suppress(errors.ConfigError):
            return config.read_file()
        return {}

    def _replace_base_url(self) -> str:
        origin = self._settings.shown("base_url").origin
        if self._settings.uses_sandbox:
            return f"run it again: {self._again()}"
        if origin == config.DEFAULT:
            return "try from another network: something between this machine and the API answers in its place"
        if origin.kind == "variable":
            return f"unset {origin}"
        if origin.kind == "option":
            return f"leave out --base-url, or correct it; the default is {config.DEFAULT_BASE_URL}"
        return "cometrep config unset base_url"

    # Files

    def _state_folder(self) -> Check:
        return _writable("state_folder", self._folders.ledger_file.parent, FAIL)

    def _cache_folder(self) -> Check:
        return _writable("cache_folder", self._folders.sandbox, FAIL if self._settings.uses_sandbox else WARN)

    def _ledger(self) -> Check:
        path = self._folders.ledger_file
        try:
            self._memory = within(self._limit_seconds, self._remember)
        except errors.LocalFileError as problem:
            return Check("ledger", FAIL, problem.message, problem.hint)
        except TimeoutError:
            return Check("ledger", WARN, f"{path} is busy", f"run it again in a while: {self._again()}")
        if not path.exists():
            return Check("ledger", OK, f"none yet; the first create makes {path}")
        return Check("ledger", OK, f"{path}, {format_bytes(path.stat().st_size)}")

    def _remember(self) -> _Memory:
        now = self._now()
        with contextlib.closing(self._open_ledger(is_sandbox=self._settings.is_sandboxed)) as ledger:
            return _Memory(
                unknown=[
                    entry
                    for entry in ledger.entries(status=UNKNOWN, since=now - _RECENT_DAYS * _DAY)
                    if entry.error or now - entry.created > _UNDER_WAY_SECONDS
                ],
                unsaved=[
                    entry
                    for entry in ledger.entries(status="succeeded", since=now - _DAY, unsaved_only=True)
                    if self._settings.is_sandboxed or entry.base_url == self._subject.base_url
                ],
                folders=ledger.file_folders(_FOLDERS),
            )

    def _open_ledger(self, *, is_sandbox: bool) -> Ledger:
        return Ledger(self._folders.ledger_file, base_url=self._subject.base_url, is_sandbox=is_sandbox)

    def _part_files(self) -> Check:
        try:
            here = Path.cwd()
        except FileNotFoundError:
            return Check("part_files", WARN, "the working folder is gone", "cd")
        own = here / self._settings.folder
        known = self._memory.folders if self._memory else ()
        found = within(self._limit_seconds, lambda: _left_over(dict.fromkeys((here, own, *known))))
        if not found:
            return Check("part_files", OK, "none here or where files were saved")
        everything = [part for parts in found.values() for part in parts]
        size = format_bytes(sum(part.size_bytes for part in everything))
        told = f"{len(everything)} in {first_few([str(folder) for folder in found], SHOWN)}, {size}"
        useless = [path for part in everything if not self._may_go_on(part) for path in part.paths]
        fixes = [fix for folder, parts in found.items() for fix in self._going_on(folder, parts, own)]
        if useless:
            fixes.append(typed("rm --", *(shlex.quote(str(path)) for path in useless[: 2 * SHOWN])))
        return Check("part_files", WARN, told, "; ".join(fixes))

    def _going_on(self, folder: Path, parts: Sequence[LeftOver], own: Path) -> Iterator[str]:
        """Give the downloads that take up the part files of a folder; the sandbox's predictions are its own."""
        ids = dict.fromkeys(part.id for part in parts if self._may_go_on(part))
        sandboxed: set[str] = set()
        if self._memory and not self._settings.is_sandboxed:
            with contextlib.closing(self._open_ledger(is_sandbox=True)) as ledger:
                sandboxed = {id for id in ids if ledger.lenient(ledger.entry, id)}
        where = "" if folder == own else f"-d {shlex.quote(str(folder))}"
        for flags, some in (
            (self._subject.flags, [id for id in ids if id not in sandboxed]),
            ("--sandbox", [id for id in ids if id in sandboxed]),
        ):
            if some:
                yield typed("cometrep download", flags, *some[:SHOWN], where)

    def _may_go_on(self, part: LeftOver) -> bool:
        """Say whether a download takes a part file up: all is there, or the rest can still be fetched."""
        return part.is_complete or (part.is_resumable and self._now() - part.changed < RETENTION_SECONDS)

    def _unknown_creates(self) -> Check:
        if self._memory is None:
            return self._untried("unknown_creates", "ledger")
        unknown = self._memory.unknown
        if not unknown:
            return Check("unknown_creates", OK, f"none in the last {_RECENT_DAYS} days")
        age = format_elapsed(max(0.0, self._now() - unknown[0].created))
        told = f"{len(unknown)} may have been accepted and billed, the last {age} ago"
        return Check("unknown_creates", WARN, told, typed("cometrep list", self._subject.flags, "--unknown"))

    def _unsaved_outputs(self) -> Check:
        if self._memory is None:
            return self._untried("unsaved_outputs", "ledger")
        now = self._now()
        unsaved = sorted(self._memory.unsaved, key=lambda entry: entry.expires)
        near = [entry for entry in unsaved if entry.expires - now < NEAR_SECONDS]
        if near:
            told = first_few([f"{entry.id} ({_time_left(entry.expires - now)})" for entry in near], SHOWN)
            fix = typed("cometrep download", self._subject.flags, *(entry.id for entry in near[:SHOWN]))
            return Check("unsaved_outputs", WARN, f"succeeded and not saved: {told}", fix)
        if unsaved:
            told = f"{len(unsaved)} not saved yet, the first with {_time_left(unsaved[0].expires - now)}"
            return Check("unsaved_outputs", OK, told)
        return Check("unsaved_outputs", OK, "none in the last day")

    # This machine

    def _terminal(self) -> Check:
        stdout, stderr = self._subject.stdout, self._subject.stderr
        term, ci = config.environment("TERM"), config.environment("CI")
        which = [name for name, one in (("stdout", stdout), ("stderr", stderr)) if one.is_terminal]
        alone = f"{which[0]} alone, " if len(which) == 1 else ""
        facts = [f"{alone}{self._subject.columns} columns" if which else "no terminal"]
        facts.append(f"TERM={term}" if term else "no TERM")
        facts.append("colour" if stdout.has_colour or stderr.has_colour else "no colour")
        facts.append("UTF-8" if stdout.speaks_unicode and stderr.speaks_unicode else "no UTF-8")
        facts += [f"CI={ci}"] if ci else []
        told = ", ".join(facts)
        if which and not (stdout.speaks_unicode and stderr.speaks_unicode):
            return Check("terminal", WARN, told, "export LC_ALL=C.UTF-8")
        if which and term in ("", "dumb"):
            return Check("terminal", WARN, told, "export TERM=xterm-256color, where the terminal can do that")
        return Check("terminal", OK, told)

    def _completion(self) -> Check:
        own = Path(config.environment("SHELL")).name
        found = {shell: installed.completion(shell) for shell in installed.SHELLS}
        told = ", ".join(f"{shell}: {path}" for shell, path in found.items() if path) or "no shell finds one"
        wanted = own if own in found else "bash"
        if found[wanted] or (own not in found and any(found.values())):
            return Check("completion", OK, told)
        if any(found.values()):
            told += f"; none for {wanted}"
        if unseen := installed.unseen_completion(wanted):
            told += f"; {unseen} stands where {installed.unseeing(wanted)} does not look"
        return Check("completion", WARN, told, installed.completion_fix(wanted))

    def _man_pages(self) -> Check:
        if found := installed.man_page():
            return Check("man_pages", OK, str(found))
        fix = "cometrep help, which shows the same; an editable install puts none where man looks"
        return Check("man_pages", WARN, "none is installed", fix)

    def _pillow(self) -> Check:
        if importlib.util.find_spec("PIL") is None:
            return Check("pillow", WARN, "missing; the sandbox draws with it", installing("pillow>=10.3"))
        return Check("pillow", OK, f"{_version_of('pillow')}, for the sandbox")

    def _versions(self) -> Check:
        versions = {name: _version_of(name) for name in _LIBRARIES}
        libraries = ", ".join(f"{name} {version or 'unknown'}" for name, version in versions.items())
        told = f"cometrep {__version__}, Python {platform.python_version()}, {libraries}, {ssl.OPENSSL_VERSION}"
        if missing := [name for name, version in versions.items() if not version]:
            return Check("versions", WARN, told, installing("--force-reinstall", *missing))
        return Check("versions", OK, told)


def _writable(name: str, folder: Path, outcome: str) -> Check:
    """Check that a folder, or the nearest parent that exists, takes a file."""
    try:
        there = writable_folder(folder)
    except OSError as problem:
        fix = hints.OTHER_HOME
        if problem.errno in errors.NO_SPACE:
            there = next(one for one in (folder, *folder.parents) if one.exists())
            fix = f"df -h {shlex.quote(str(there))}"
        return Check(name, outcome, f"{folder} cannot be written: {reason_of(problem)}", fix)
    return Check(name, OK, str(folder) if there == folder else f"{folder}, made when it is needed")


def _left_over(folders: Iterable[Path]) -> dict[Path, list[LeftOver]]:
    """Give the part files of each folder that holds any; a folder that cannot be read holds none."""
    found = {}
    for folder in folders:
        with contextlib.suppress(OSError):
            found[folder] = left_over_in(folder)
    return {folder: parts for folder, parts in found.items() if parts}


def _time_left(seconds: float) -> str:
    return f"{format_elapsed(seconds)} left" if seconds > 0 else "its hour is over"


def _version_of(library: str) -> str:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return ""
