"""Resolve settings from flags, environment and the file under platformdirs, remembering where each came from.

The only module that reads the environment or knows where cometrep's folders are.
"""

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from cometrep import errors, hints
from cometrep.config.file import ConfigFile, FileWarning
from cometrep.config.values import (
    PROGRESS_MODES,
    ApiKey,
    is_local_host,
    is_local_url,
    parse_api_key,
    parse_base_url,
    parse_duration,
    parse_folder,
    parse_progress,
    parse_size,
    parse_switch,
    parse_template,
)
from cometrep.hiding import masked
from cometrep.text import nearest

DEFAULT_BASE_URL = "https://api.cometapi.com"
PROMPT_BUDGET_SECONDS = 15.0
KEY_PAGE = "https://www.cometapi.com/console/token"
SANDBOX_PORT = 8787
SANDBOX_KEY = "sk-sandbox-needs-no-key"
"""The key that `cometrep sandbox` exports: predictions made with it on this machine are marked as the sandbox's."""


class Origin(NamedTuple):
    """Where a setting came from, and what people are shown for it: an option, a variable, the path of the file."""

    kind: Literal["option", "variable", "file", "argument", "default"]
    text: str

    def __str__(self) -> str:
        return self.text

    @property
    def is_typed(self) -> bool:
        """Whether it was typed just now, as an option or for `config set`."""
        return self.kind in ("option", "argument")


DEFAULT = Origin("default", "default")


class Setting(NamedTuple):
    """One resolved value, as text, and where it came from."""

    name: str
    value: str
    origin: Origin

    def __repr__(self) -> str:
        return f"Setting({self.name!r}, origin={self.origin.text!r})"  # the value may be the API key


class _Known(NamedTuple):
    """A setting cometrep knows: its environment variables in order, default, and the check of its text."""

    about: str
    variables: tuple[str, ...]
    default: str
    check: Callable[[str], Any]


SETTINGS: Mapping[str, _Known] = {
    "api_key": _Known("the API key", ("COMETAPI_KEY", "COMETAPI_API_KEY"), "", parse_api_key),
    "base_url": _Known(
        "where the API is", ("COMETREP_BASE_URL", "COMETAPI_BASE_URL"), DEFAULT_BASE_URL, parse_base_url
    ),
    "timeout": _Known(
        "deadline of the whole wait, or of each prediction's in a batch: 90s, 10m, 1h; 0 for none",
        ("COMETREP_TIMEOUT",),
        "30m",
        parse_duration,
    ),
    "retry_budget": _Known(
        "how long failed attempts are repeated: 30s, 2m", ("COMETREP_RETRY_BUDGET",), "1m", parse_duration
    ),
    "dir": _Known("folder to save in", ("COMETREP_DIR",), "", parse_folder),
    "output": _Known("template of saved names: {id}-{index}.{ext}", ("COMETREP_OUTPUT",), "", parse_template),
    "max_size": _Known(
        "largest file to save: 500k, 1.5M, 2GiB, where k is 1000 and Ki 1024",
        ("COMETREP_MAX_SIZE",),
        "2GiB",
        parse_size,
    ),
    "progress": _Known(
        f"how progress is shown: {', '.join(PROGRESS_MODES)}",
        ("COMETREP_PROGRESS",),
        "auto",
        parse_progress,
    ),
    "sandbox": _Known("use the sandbox: true or false", ("COMETREP_SANDBOX",), "false", parse_switch),
    "sandbox_seconds": _Known(
        "how long a sandbox prediction runs: 2, 1m", ("COMETREP_SANDBOX_SECONDS",), "2", parse_duration
    ),
}
"""Every setting, in the order in which `config show` lists them."""


class Settings(NamedTuple):
    """The resolved settings of one command. `file_warning` tells what is unsafe about the config file."""

    resolved: Mapping[str, Setting]
    file_warning: FileWarning | None = None

    @property
    def replace_key_command(self) -> str:
        """What to type where the API key is refused: a stored one does not count beside a variable's."""
        variables = variables_for("api_key")
        unset = f"unset {' '.join(variables)} && " if variables else ""
        return f"{unset}cometrep login"

    def shown(self, name: str) -> Setting:
        """Give one setting fit for showing: of the API key its last four characters. Raises UsageError."""
        if name not in self.resolved:
            raise unknown_setting(name)
        setting = self.resolved[name]
        if name == "api_key":
            return Setting(name, str(ApiKey(setting.value)) if setting.value else "", setting.origin)
        return setting

    def _value(self, name: str) -> Any:
        return SETTINGS[name].check(self.resolved[name].value)

    @property
    def api_key(self) -> ApiKey | None:
        """The API key, None where none is set."""
        key = self._value("api_key")
        return ApiKey(key) if key else None

    @property
    def base_url(self) -> str:
        """The base URL in its plain form."""
        return str(self._value("base_url"))

    @property
    def deadline_seconds(self) -> float | None:
        """The deadline of the whole wait, None for none."""
        return self._value("timeout") or None

    @property
    def retry_budget_seconds(self) -> float:
        """How long failed attempts are repeated."""
        return float(self._value("retry_budget"))

    @property
    def prompt_budget_seconds(self) -> float:
        """The same where a person waits for no more than a connection or one look: short, unless it was set."""
        is_set = self.resolved["retry_budget"].origin != DEFAULT
        return self.retry_budget_seconds if is_set else PROMPT_BUDGET_SECONDS

    @property
    def folder(self) -> str:
        """The folder to save in, empty for the current one."""
        return str(self._value("dir"))

    @property
    def template(self) -> str:
        """The template of saved names, empty for the default names."""
        return str(self._value("output"))

    @property
    def max_size_bytes(self) -> int:
        """The largest file that is saved."""
        return int(self._value("max_size"))

    @property
    def progress(self) -> str:
        """A word of PROGRESS_MODES."""
        return str(self._value("progress"))

    @property
    def uses_sandbox(self) -> bool:
        """Whether the command talks to the sandbox."""
        return bool(self._value("sandbox"))

    @property
    def is_sandboxed(self) -> bool:
        """Whether predictions are the sandbox's: the command's own, or one that `cometrep sandbox` serves."""
        key = self.api_key
        has_its_key = key is not None and key.reveal() == SANDBOX_KEY
        return self.uses_sandbox or (has_its_key and is_local_url(self.base_url))

    @property
    def sandbox_seconds(self) -> float:
        """How long a prediction runs in the sandbox."""
        return float(self._value("sandbox_seconds"))


class Folders(NamedTuple):
    """Where cometrep keeps its files: the config file, the ledger, and the sandbox's data."""

    config_file: Path
    ledger_file: Path
    sandbox: Path


def folders() -> Folders:
    """Find the folders: all under COMETREP_HOME where that is set, else where platformdirs says.

    Raises ConfigError where COMETREP_HOME names none, the working folder is gone, or the user has no home.
    """
    home = os.environ.get("COMETREP_HOME", "").strip()
    if home:
        try:
            base = Path(home).expanduser().absolute()
        except RuntimeError as problem:  # no such user
            raise errors.ConfigError(
                f"COMETREP_HOME {home!r} names no folder: {problem}",
                hint="unset COMETREP_HOME",
                code="bad_setting",
            ) from problem
        except OSError as problem:
            raise errors.ConfigError(
                f"COMETREP_HOME {home!r} begins in the working folder, which is gone",
                hint="cd",
                code="bad_setting",
            ) from problem
        return Folders(base / "config.toml", base / "ledger.sqlite3", base / "cache" / "sandbox")
    import platformdirs

    dirs = platformdirs.PlatformDirs("cometrep", appauthor=False)
    try:
        return Folders(
            Path(dirs.user_config_dir) / "config.toml",
            Path(dirs.user_state_dir) / "ledger.sqlite3",
            Path(dirs.user_cache_dir) / "sandbox",
        )
    except RuntimeError as problem:
        raise errors.ConfigError(
            f"there is no home folder to keep settings in: {problem}",
            hint=hints.OTHER_HOME,
            code="bad_setting",
        ) from problem


def config_file() -> ConfigFile:
    """Give the config file, which need not be there."""
    return ConfigFile(folders().config_file, os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi")


def read_file() -> dict[str, Any]:
    """Give what the config file holds, nothing where there is none; raise ConfigError where that cannot be told."""
    return config_file().read()


def load(flags: Mapping[str, str | None] | None = None) -> Settings:
    """Resolve every setting: flag, then environment, then config file, then default.

    Raises ConfigError for a file that does not parse and for a bad value in it or in the environment,
    UsageError for a bad flag.
    """
    settings, problems = load_leniently(flags)
    if problems:
        raise next(iter(problems.values()))
    return settings


def load_leniently(
    flags: Mapping[str, str | None] | None = None,
) -> tuple[Settings, Mapping[str, errors.ConfigError]]:
    """Resolve as `load` does, but give the ConfigErrors by the setting's name, `config_file` for the file itself.

    A file that does not parse counts as empty, a bad value as the default.
    """
    flags = flags or {}
    file = config_file()
    problems: dict[str, errors.ConfigError] = {}
    stored: Mapping[str, Any] = {}
    try:
        stored = file.read()
    except errors.ConfigError as problem:
        problems["config_file"] = problem
    resolved = {}
    for name, known in SETTINGS.items():
        try:
            resolved[name] = _resolve(name, known, flags, stored, file)
        except errors.ConfigError as problem:
            problems[name] = problem
            resolved[name] = Setting(name, known.default, DEFAULT)
    if flags.get("base_url") and flags.get("sandbox"):
        raise errors.UsageError("--sandbox and --base-url name two different servers", hint="leave one of them out")
    if flags.get("base_url"):
        # A flag beats the environment: an address typed on the command line is not the sandbox's.
        resolved["sandbox"] = Setting("sandbox", "false", Origin("option", "--base-url"))
    return Settings(resolved, file.warning(holds_key="api_key" in stored)), problems


def _resolve(
    name: str, known: _Known, flags: Mapping[str, str | None], stored: Mapping[str, Any], file: ConfigFile
) -> Setting:
    flag = flags.get(name)
    if flag is not None:
        return checked(name, flag, Origin("option", option_for(name)))
    for variable in known.variables:
        value = os.environ.get(variable, "")
        if not is_blank(value):
            return checked(name, value, Origin("variable", variable))
    if name in stored:
        value, origin = stored[name], Origin("file", str(file.path))
        if isinstance(value, (list, dict)):
            raise errors.ConfigError(
                f"{file.path}: {name} holds a {'list' if isinstance(value, list) else 'table'}, not one value",
                hint=file.edit_command,
                code="bad_setting",
            )
        if name == "api_key" and not isinstance(value, str):
            raise errors.ConfigError(
                f"{file.path}: the API key is not a text in quotes",
                hint=_removal(name, origin),
                code="bad_setting",
            )
        try:
            text = str(value).lower() if isinstance(value, bool) else str(value)
        except ValueError as problem:  # an integer of thousands of digits
            raise errors.ConfigError(
                f"{file.path}: {name} is too long a number", hint=file.edit_command, code="bad_setting"
            ) from problem
        if not is_blank(text):
            return checked(name, text, origin)
    return Setting(name, known.default, DEFAULT)


def checked(name: str, text: str, origin: Origin) -> Setting:
    """Give a setting in its plain form; raise ConfigError for a bad value, UsageError for one typed just now."""
    try:
        value = SETTINGS[name].check(text)
    except errors.UsageError as problem:  # of a folder or template, in its own words
        if origin.is_typed:
            raise
        told = f"{origin}: {problem.message}"
        raise errors.ConfigError(told, hint=_removal(name, origin), code="bad_setting") from problem
    except UnicodeEncodeError as problem:  # out of the file, which is UTF-8: all else comes in the locale's own
        from cometrep.names import UTF8_LOCALE

        told = f"{origin}: {name} {masked(text)!r} has characters that no file name has in this locale"
        raise errors.ConfigError(told, hint=UTF8_LOCALE, code="bad_setting") from problem
    except ValueError as problem:
        shown = f"{origin} {masked(text)!r}"
        if name == "api_key":
            shown = f"{origin}: the API key"
        elif origin.kind == "file":  # which does not tell the setting
            shown = f"{origin}: {name} {masked(text)!r}"
        fix = _correction(name, text, origin)
        error = errors.UsageError if origin.is_typed else errors.ConfigError
        raise error(f"{shown} {problem}", hint=fix, code="bad_setting") from problem
    # Both are kept in their plain form: what is shown is what is used.
    return Setting(name, value if name in ("api_key", "base_url") else text.strip(), origin)


def _correction(name: str, text: str, origin: Origin) -> str:
    """Give the command that sets a bad value right, or takes it away where it was not typed just now.

    What chose another server than the paid API is not taken away: the same command would pay then.
    """
    if name == "api_key":
        return _removal(name, origin)
    host = "" if origin.is_typed else "https://HOST"
    meant = {"sandbox": "true", "base_url": _as_base_url(text) or host}.get(name)
    form = meant or (SETTINGS[name].default or {"dir": "pictures"}.get(name, "{id}.{ext}")) * origin.is_typed
    if not form:
        return _removal(name, origin)
    form = hints.quoted(form)
    if origin.kind == "variable":
        return f"export {origin}={'1' if name == 'sandbox' else form}"
    return f"{origin} {form}" if origin.kind == "option" else f"cometrep config set {name} {form}"


def _as_base_url(text: str) -> str:
    """Give the base URL that was meant where a host has no scheme or the wrong one, empty where that is not it."""
    rest = re.sub(r"(?i)^https?://", "", text.strip())
    if masked(rest) != rest or not re.match(r"(?:[\w-]+\.)+\w|(?i:localhost)\b", rest):
        return ""
    host = re.split(r"[:/]", rest)[0]
    try:
        return parse_base_url(f"{'http' if is_local_host(host) else 'https'}://{rest}")
    except ValueError:
        return ""


def _removal(name: str, origin: Origin) -> str:
    """Give the command that takes a setting away from where it came from; that of the API key stores another."""
    if origin.kind == "variable":
        return f"unset {origin}"
    return "cometrep login" if name == "api_key" else f"cometrep config unset {name}"


def is_blank(text: str) -> bool:
    """Say whether a value counts as unset."""
    return not text.strip().strip("\ufeff").strip()


def unknown_setting(
    name: str, command_for: Callable[[str], str] = "cometrep config get {}".format
) -> errors.UsageError:
    """Give the error for a name that is no setting; `command_for` says what to type with the one that was meant."""
    near = nearest(name, tuple(SETTINGS))
    asked = f"; did you mean {near}?" if near else f"; the settings are {', '.join(SETTINGS)}"
    return errors.UsageError(
        f"{name!r} is not a setting{asked}",
        hint=command_for(near) if near else "cometrep config show",
        code="bad_setting",
    )


def variables_for(name: str) -> tuple[str, ...]:
    """Name the environment variables that give a setting, the one that counts first; none where none does."""
    return tuple(one for one in SETTINGS[name].variables if not is_blank(os.environ.get(one, "")))


def blank_variable(name: str) -> str:
    """Name an environment variable that would give a setting and is set to nothing; empty where none is."""
    return next((one for one in SETTINGS[name].variables if one in os.environ and is_blank(os.environ[one])), "")


def misspelt_variables() -> dict[str, str]:
    """Give the environment variables that are named much like those of a setting, each with the one it may be."""
    known = [one for known in SETTINGS.values() for one in known.variables]
    others = [one for one in os.environ if one.startswith("COMETREP_") and one not in (*known, "COMETREP_HOME")]
    if not others:
        return {}
    by_end = {_end_of(one): one for one in reversed(known)}  # of two with one end the first counts
    near = {one: by_end.get(nearest(_end_of(one), tuple(by_end), 0.82), "") for one in others}
    return {one: meant for one, meant in near.items() if meant and meant not in os.environ}


def _end_of(variable: str) -> str:
    """Give what is an environment variable's own behind the prefix that it shares with others."""
    return variable.partition("_")[2]


def option_for(name: str) -> str:
    """Name the option that gives a setting, on the commands that have one."""
    return "--seconds" if name == "sandbox_seconds" else "--" + name.replace("_", "-")


def environment(name: str) -> str:
    """Read an environment variable that is not a setting of cometrep's own, as NO_COLOR or TERM are."""
    return os.environ.get(name, "")
