"""Check what this machine gives: the terminal, what shells and man find, and the libraries."""

import importlib.metadata
import importlib.util
import platform
import ssl
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from cometrep import __version__, config
from cometrep.doctor import installed
from cometrep.doctor.checks import OK, WARN, Check, guarded, installing
from cometrep.doctor.subject import Subject

_LIBRARIES = ("requests", "urllib3", "typer", "rich", "platformdirs")


def checks(subject: Subject) -> Iterator[Check]:
    """Make each check."""
    for name, make in (
        ("terminal", partial(_terminal, subject)),
        ("completion", _completion),
        ("man_pages", _man_pages),
        ("pillow", _pillow),
        ("versions", _versions),
    ):
        yield guarded(name, make, subject.again)


def _terminal(subject: Subject) -> Check:
    stdout, stderr = subject.stdout, subject.stderr
    term, ci = config.environment("TERM"), config.environment("CI")
    which = [name for name, one in (("stdout", stdout), ("stderr", stderr)) if one.is_terminal]
    alone = f"{which[0]} alone, " if len(which) == 1 else ""
    facts = [f"{alone}{subject.columns} columns" if which else "no terminal"]
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


def _completion() -> Check:
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


def _man_pages() -> Check:
    if found := installed.man_page():
        return Check("man_pages", OK, str(found))
    fix = "cometrep help, which shows the same; an editable install puts none where man looks"
    return Check("man_pages", WARN, "none is installed", fix)


def _pillow() -> Check:
    if importlib.util.find_spec("PIL") is None:
        return Check("pillow", WARN, "missing; the sandbox draws with it", installing("pillow>=10.3"))
    return Check("pillow", OK, f"{_version_of('pillow')}, for the sandbox")


def _versions() -> Check:
    versions = {name: _version_of(name) for name in _LIBRARIES}
    libraries = ", ".join(f"{name} {version or 'unknown'}" for name, version in versions.items())
    told = f"cometrep {__version__}, Python {platform.python_version()}, {libraries}, {ssl.OPENSSL_VERSION}"
    if missing := [name for name, version in versions.items() if not version]:
        return Check("versions", WARN, told, installing("--force-reinstall", *missing))
    return Check("versions", OK, told)


def _version_of(library: str) -> str:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return ""
