"""Check the API key, the config file and the other settings."""

import contextlib
import stat
from collections.abc import Iterator, Mapping
from typing import Any

from cometrep import config, errors
from cometrep.config.changing import removals
from cometrep.config.values import UNUSUAL_KEY
from cometrep.doctor.checks import FAIL, OK, WARN, Check, untried
from cometrep.doctor.subject import Subject


def checks(subject: Subject) -> Iterator[Check]:
    """Make each check, that of the base URL last."""
    yield from (_api_key(subject), _config_file(subject), _other_settings(subject), _base_url(subject))


def _api_key(subject: Subject) -> Check:
    key, origin = subject.api_key, subject.settings.shown("api_key").origin
    problem = subject.problems.get("api_key")
    if problem:
        return Check("api_key", FAIL, problem.message, problem.hint)
    if subject.settings.uses_sandbox:
        return Check("api_key", OK, "none is needed in the sandbox")
    if key is None:
        if "config_file" in subject.problems:
            return untried(
                "api_key", "config_file", subject.again, "none is in the environment, and the file is not readable"
            )
        return Check("api_key", FAIL, f"none is set; keys are made at {config.KEY_PAGE}", "cometrep login")
    others = [
        variable
        for variable in config.SETTINGS["api_key"].variables
        if variable != origin.text and config.environment(variable).strip()
    ]
    if origin.kind != "file" and _stored().get("api_key"):
        others.append("the stored key")
    beside = f" (not used: {', '.join(others)})" if others else ""
    if not key.is_usual:
        return Check(
            "api_key", WARN, f"{key} from {origin}{beside}: {UNUSUAL_KEY}", subject.settings.replace_key_command
        )
    return Check("api_key", OK, f"{key} from {origin}{beside}")


def _config_file(subject: Subject) -> Check:
    path = config.folders().config_file
    if problem := subject.problems.get("config_file"):
        return Check("config_file", FAIL, problem.message, problem.hint)
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return Check("config_file", OK, f"there is none, nor need there be: {path}")
    if warning := subject.settings.file_warning:
        return Check("config_file", WARN, *warning)
    if strange := removals():
        told = f"{path} sets what cometrep does not know: {', '.join(strange)}"
        return Check("config_file", WARN, told, " && ".join(dict.fromkeys(strange.values())))
    return Check("config_file", OK, f"{path}, mode {mode:04o}")


def _other_settings(subject: Subject) -> Check:
    problems = [
        problem for name, problem in subject.problems.items() if name not in ("api_key", "config_file", "base_url")
    ]
    if problems:
        told = "; ".join(problem.message for problem in problems)
        return Check("settings", FAIL, told, problems[0].hint)
    if misspelt := config.misspelt_variables():
        told = ", ".join(f"{variable} is no setting, and may mean {near}" for variable, near in misspelt.items())
        # Not without the right name: what was to choose the sandbox would pay.
        fix = " && ".join(f'export {near}="${variable}" && unset {variable}' for variable, near in misspelt.items())
        return Check("settings", WARN, told, fix)
    changed = [
        f"{name} from {subject.settings.shown(name).origin}"
        for name, known in config.SETTINGS.items()
        if name not in ("api_key", "base_url") and subject.settings.shown(name).value != known.default
    ]
    return Check("settings", OK, ", ".join(changed) or "all others have their defaults")


def _base_url(subject: Subject) -> Check:
    if problem := subject.problems.get("base_url"):
        return Check("base_url", FAIL, problem.message, problem.hint)
    if not subject.base_url:
        cause = "settings" if "sandbox" in subject.problems else "config_file"
        return untried("base_url", cause, subject.again, f"{cause} may name another than the default")
    if subject.settings.uses_sandbox:
        origin = subject.settings.shown("sandbox").origin
        return Check("base_url", OK, f"{subject.base_url}, the sandbox of {origin}")
    origin = subject.settings.shown("base_url").origin
    where = "the default" if origin == config.DEFAULT else f"from {origin}"
    return Check("base_url", OK, f"{subject.base_url}, {where}")


def _stored() -> Mapping[str, Any]:
    with contextlib.suppress(errors.ConfigError):
        return config.read_file()
    return {}
