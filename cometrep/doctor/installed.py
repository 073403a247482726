"""Find where shells and man look for cometrep's files, and what they find there."""

import contextlib
import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from cometrep import config, hints

SHELLS = ("bash", "zsh", "fish")
_COMPLETIONS = {
    "bash": "bash-completion/completions/cometrep",
    "zsh": "zsh/site-functions/_cometrep",
    "fish": "fish/vendor_completions.d/cometrep.fish",
}
_SYSTEM_SHARES = ("/usr/local/share", "/usr/share", "/opt/homebrew/share")
_ZSH_FOLDERS = ("site-functions", "vendor-completions", "vendor-functions")  # Debian has the last two
_BIN_PREFIX_VERSION = (2, 12)  # of bash-completion, the first that looks beside the folders of commands


def completion(shell: str) -> Path | None:
    """Find the script that completes for a shell, where it loads it from."""
    return {"bash": _bash_completion, "zsh": _zsh_completion, "fish": _fish_completion}[shell]()


def unseen_completion(shell: str) -> Path | None:
    """Find a script that stands where its shell does not look: in the program's prefix, or the user's folders."""
    return _first_in([_own_share(), *_shares()], _COMPLETIONS[shell])


def man_page() -> Path | None:
    """Find the manual page of cometrep itself, where man looks."""
    folders = [_own_share(), *_shares()]
    return _first_in(folders, "man/man1/cometrep.1") or _first_in(folders, "man/man1/cometrep.1.gz")


def _first_in(folders: Sequence[Path], name: str) -> Path | None:
    return next((folder / name for folder in folders if (folder / name).is_file()), None)


def _shares() -> list[Path]:
    """List the `share` folders in which shells may look: the user's, those of XDG_DATA_DIRS, the systems' own."""
    folders = (_user_share(), *_data_dirs(), *map(Path, _SYSTEM_SHARES))
    return list(dict.fromkeys(folders))


def _own_share() -> Path:
    """Give the `share` folder of the program's own prefix."""
    return Path(sys.prefix, "share")


def _user_share() -> Path:
    """Give the user's own `share` folder, where shells look on every system."""
    return _user_folder("XDG_DATA_HOME", "~/.local/share")


def _user_folder(variable: str, default: str) -> Path:
    """Give a folder of the user's own (XDG base directory specification)."""
    named = config.environment(variable) or default
    return Path(os.path.expanduser(named))  # noqa: PTH111 - Path.expanduser raises where there is no home


def _data_dirs() -> list[Path]:
    """List the folders of XDG_DATA_DIRS, or those that stand for it where it is not set."""
    named = [name for name in config.environment("XDG_DATA_DIRS").split(":") if name]
    return [Path(name) for name in named or _SYSTEM_SHARES[:2]]


def _bash_completion() -> Path | None:
    """Find the script that bash loads: sourced in its start-up file, or where bash-completion looks for it.

    Source: `_comp_load` of bash-completion, and `__load_completion` of its versions before 2.12.
    """
    if sourced := _sourced_in("bash", Path("~/.bashrc"), Path("~/.bash_profile")):
        return sourced
    script = _bash_completion_script()
    if script is None:
        return None
    named = [Path(name) for name in config.environment("BASH_COMPLETION_USER_DIR").split(":") if name]
    folders = named or [_user_share() / "bash-completion"]
    folders.append(script.parent)
    if _version_in(script) >= _BIN_PREFIX_VERSION:
        folders += [prefix / "share/bash-completion" for prefix in _command_prefixes()]
    folders += [share / "bash-completion" for share in _data_dirs()]
    return _first_in(folders, "completions/cometrep")


def _bash_completion_script() -> Path | None:
    return _first_in(_shares(), "bash-completion/bash_completion")


def _version_in(script: Path) -> tuple[int, ...]:
    """Read the version of a bash-completion, without running it; (0, 0) where it does not tell."""
    named = re.search(r"BASH_COMPLETION_VERSINFO=\((\d+)[ .](\d+)", _content(script))
    return tuple(map(int, named.groups())) if named else (0, 0)


def unseeing(shell: str) -> str:
    """Name a shell that does not look somewhere; of bash it is bash-completion that would."""
    if shell != "bash":
        return shell
    script = _bash_completion_script()
    if script is None:
        return "bash without bash-completion"
    return f"bash-completion {'.'.join(map(str, _version_in(script)))}" if any(_version_in(script)) else "bash"


def _command_prefixes() -> Iterator[Path]:
    """Yield the parents of the `bin` folders in which bash-completion 2.12 and later thinks of a command."""
    folders = [Path(name) for name in config.environment("PATH").split(":") if name]
    command = _first_in(folders, "cometrep")
    for folder in [*([command.resolve().parent] if command else []), *folders]:
        if folder.name in ("bin", "sbin"):
            yield folder.parent


def _zsh_completion() -> Path | None:
    """Find the script that zsh loads: in a standard folder of its fpath, or in one that .zshrc names."""
    if sourced := _sourced_in("zsh", _zshrc()):
        return sourced
    folders = [Path(share, "zsh", name) for share in _SYSTEM_SHARES for name in _ZSH_FOLDERS]
    if _names_own_folder(_zshrc()):
        folders.insert(0, _user_share() / "zsh/site-functions")
    return _first_in(folders, "_cometrep")


def _zshrc() -> Path:
    return Path(config.environment("ZDOTDIR") or "~", ".zshrc")


def _names_own_folder(zshrc: Path) -> bool:
    """Say whether a start-up file has the user's own folder of functions in zsh's fpath."""
    return "zsh/site-functions" in _content(zshrc)


def _fish_completion() -> Path | None:
    """Find the script that fish loads: the user's own, or one of those that programs bring."""
    own = _first_in([_user_folder("XDG_CONFIG_HOME", "~/.config") / "fish"], "completions/cometrep.fish")
    return own or _first_in(_shares(), _COMPLETIONS["fish"])


def _sourced_in(shell: str, *files: Path) -> Path | None:
    """Find the start-up file that has a line with `cometrep completion SHELL`."""
    line = re.compile(rf"(?m)^[^#\n]*\bcometrep completion {shell}\b")
    return next((file for file in files if line.search(_content(file))), None)


def _content(file: Path) -> str:
    with contextlib.suppress(OSError, RuntimeError):  # RuntimeError: there is no home
        return file.expanduser().read_text("utf-8", "replace")
    return ""


def completion_fix(shell: str) -> str:
    """Give the line to type, after which the shell finds its script.

    Where no home is known there is no place for one, and the line is for the shell that it is typed in.
    """
    if shell == "bash" and _bash_completion_script() is None:
        return _sourcing(shell, Path("~/.bashrc"))
    if shell == "zsh" and not _names_own_folder(_zshrc()):
        return _sourcing(shell, _zshrc())
    target = _user_share() / _COMPLETIONS[shell]
    if shell == "bash" and (user := config.environment("BASH_COMPLETION_USER_DIR")):
        target = Path(user.split(":")[0], "completions/cometrep")
    if _is_without_home(target):
        return _here(shell)
    folder, file = hints.quoted(str(target.parent)), hints.quoted(str(target))
    return f"mkdir -p {folder} && cometrep completion {shell} > {file}"


def _sourcing(shell: str, file: Path) -> str:
    if _is_without_home(file):
        return _here(shell)
    shown = str(file) if file.parts[0] == "~" else hints.quoted(str(file))  # a quoted ~ is no home
    return f"echo 'source <(cometrep completion {shell})' >> {shown}"


def _is_without_home(file: Path) -> bool:
    """Say whether a file is the user's own and no home is known to have it in: `~` would name a folder."""
    return os.path.expanduser(file).startswith("~")  # noqa: PTH111 - Path.expanduser raises where there is no home


def _here(shell: str) -> str:
    script = f"cometrep completion {shell}"
    return f"{script} | source" if shell == "fish" else f"source <({script})"
