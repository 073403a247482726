"""Change what the config file sets, the API key too, and say what to type for it."""

import re
from collections.abc import Mapping
from pathlib import Path

from cometrep import errors, hints
from cometrep.config import KEY_PAGE, SETTINGS, Origin, checked, config_file, is_blank, unknown_setting
from cometrep.config.values import ApiKey, parse_api_key
from cometrep.hiding import KEY_PATTERN, masked


def remove(name: str) -> tuple[Path, bool]:
    """Remove a setting from the config file; give the file's path, and whether it was set there.

    What is no setting can be removed where it stands. Raises UsageError, ConfigError or LocalFileError.
    """
    file = config_file()
    is_set = name in file.read()
    if is_set:
        file.change(name, None)
    elif name not in SETTINGS:
        raise unknown_setting(name, lambda near: _change_command(near, None))
    else:
        file.remove_parts()  # in which it may be set all the same
    return file.path, is_set


def store(name: str, value: str) -> Path:
    """Set a setting in the config file, and give the file's path.

    Raises UsageError, ConfigError or LocalFileError.
    """
    file = config_file()
    if name not in SETTINGS:
        raise unknown_setting(name, lambda near: _change_command(near, value))
    if is_blank(value):
        # In the file it would count as unset, and hide that from who looks into it.
        raise errors.UsageError(
            f"{name}: {value!r} is blank, and a blank setting counts as unset",
            hint=_change_command(name, None),
            code="bad_setting",
        )
    file.change(name, checked(name, value, Origin("argument", name)).value)
    return file.path


def store_api_key(text: str) -> tuple[ApiKey, Path]:
    """Store the API key, trimmed; give it and the config file's path. Raises UsageError for what is no key."""
    try:
        key = parse_api_key(text)
    except ValueError as problem:
        raise errors.UsageError(
            f"that is no API key: it {problem}; copy it from {KEY_PAGE}", hint="cometrep login", code="bad_key"
        ) from problem
    if not key:
        raise errors.UsageError(
            f"no API key was given; copy one from {KEY_PAGE}", hint="cometrep login", code="bad_key"
        )
    return ApiKey(key), store("api_key", key)


def store_setting(name: str, value: str) -> Path:
    """Set a setting in the config file; the API key is refused, since arguments are seen by others."""
    if name == "api_key" or (name not in SETTINGS and re.fullmatch(KEY_PATTERN, value.strip())):
        raise key_as_argument()
    return store(name, value)


def key_as_argument() -> errors.UsageError:
    """Give the error for an API key that was typed where all see it."""
    return errors.UsageError(
        "the API key is never an argument: other users and the shell's history would see it",
        hint="cometrep login",
        code="bad_setting",
    )


def _change_command(name: str, value: str | None) -> str:
    """Give the command that sets a setting in the config file, or removes it with None."""
    if value is None or is_blank(value):
        return f"cometrep config unset {name}"
    if name == "api_key":
        return "cometrep login"
    return hints.Command("cometrep config set").of(name, hints.quoted(masked(value)))


def removals() -> Mapping[str, str]:
    """Give what the config file sets and cometrep does not know, each with the command that removes it.

    Raises ConfigError where the file cannot be read or parsed.
    """
    file = config_file()
    return {
        name: file.edit_command
        if isinstance(value, (list, dict))
        else hints.Command("cometrep config unset").of(hints.quoted(name))
        for name, value in file.read().items()
        if name not in SETTINGS
    }
