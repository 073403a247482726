"""What doctor examines: the settings and what does not resolve of them, and what results are shown on."""

from collections.abc import Mapping
from typing import NamedTuple

from cometrep import config, errors, hints
from cometrep.config.values import ApiKey
from cometrep.console.screen import Screen
from cometrep.doctor.checks import typed


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

    @property
    def again(self) -> str:
        """The command that checks once more."""
        return typed(hints.DOCTOR, self.flags)

    @property
    def replace_base_url(self) -> str:
        """What to type where the base URL is wrong."""
        origin = self.settings.shown("base_url").origin
        if self.settings.uses_sandbox:
            return f"run it again: {self.again}"
        if origin == config.DEFAULT:
            return "try from another network: something between this machine and the API answers in its place"
        if origin.kind == "variable":
            return f"unset {origin}"
        if origin.kind == "option":
            return f"leave out --base-url, or correct it; the default is {config.DEFAULT_BASE_URL}"
        return "cometrep config unset base_url"


def known_base_url(settings: config.Settings, problems: Mapping[str, errors.CometrepError]) -> str:
    """Give the base URL, empty where a setting that does not resolve may have named another."""
    is_default = settings.shown("base_url").origin == config.DEFAULT
    is_doubtful = {"base_url", "sandbox"} & set(problems) or (is_default and "config_file" in problems)
    return "" if is_doubtful else settings.base_url
