"""Read the config file, and change one line of it under a lock, for its owner's eyes alone."""

import contextlib
import errno
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from cometrep import errors, hints

_TURN_SECONDS = 10.0  # to wait for another command that changes the config file


class FileWarning(NamedTuple):
    """What is unsafe about the config file, and the command that mends it."""

    told: str
    fix: str

    def __str__(self) -> str:
        return f"{self.told}: {self.fix}"


class ConfigFile(NamedTuple):
    """A config file, which need not be there; `editor` is what its user opens files with."""

    path: Path
    editor: str

    @property
    def edit_command(self) -> str:
        """The command that opens the file in the user's editor."""
        return f"{self.editor} {_quoted(self.path)}"

    def read(self) -> dict[str, Any]:
        """Give what the file holds, nothing where there is none; raise ConfigError where that cannot be told."""
        return self._parsed(self._text())

    def change(self, name: str, value: str | None) -> None:
        """Set one value, or remove it with None, as a line of its own; all others, comments too, stay as they are.

        The new file is written beside the old one with mode 0600 and renamed over it; a symlink stays a symlink.
        Raises ConfigError or LocalFileError.
        """
        if self._is_null():
            raise errors.LocalFileError(
                f"{self.path} leads to {os.devnull}, which keeps nothing", hint=f"rm {_quoted(self.path)}"
            )
        with _alone(Path(os.path.realpath(self.path)).parent):
            text = self._text()
            before = self._parsed(text)
            wanted = {key: item for key, item in before.items() if key != name}
            if value is not None:
                wanted[name] = value
            edited = _edited(text, name, value)
            try:
                is_as_wanted = self._parsed(edited) == wanted
            except errors.ConfigError:
                is_as_wanted = False
            if not is_as_wanted:
                raise self._broken("is laid out in a way that cannot be edited line by line")
            _write_private(self.path, edited)

    def remove_parts(self) -> None:
        """Remove what a kill left of changes; raises LocalFileError."""
        real = Path(os.path.realpath(self.path))
        if real.parent.is_dir():
            with _alone(self.path.parent):
                try:
                    _remove_parts(real)
                except OSError as problem:
                    raise _unwritable(real, problem) from problem

    def warning(self, *, holds_key: bool) -> FileWarning | None:
        """Say what is unsafe about the file, None where nothing is: others read a key, or say where it is sent."""
        if os.name == "nt":
            return None
        try:
            facts = self.path.stat()
        except OSError:
            return None
        # Whatever its mode, its owner can read and change it; root works in the homes of others.
        if os.getuid() and facts.st_uid not in (os.getuid(), 0):
            told = f"{with_target(self.path)} {'holds the API key and ' * holds_key}belongs to another user"
            return FileWarning(told, f'sudo chown "$(id -u)" {_quoted(self.path)}')
        mode = stat.S_IMODE(facts.st_mode)
        # A group's own file is common: many systems give each user a group, and let it write.
        if not mode & (0o077 if holds_key else 0o002) or not stat.S_ISREG(facts.st_mode):
            return None
        what = "holds the API key and others can read it" if holds_key else "can be changed by others"
        told = f"{with_target(self.path)} {what} (mode {mode:04o})"
        return FileWarning(told, f"chmod 600 {_quoted(self.path)}")

    def _is_null(self) -> bool:
        """Say whether it leads to the null device: that is how to have no file where one is looked for."""
        try:
            return self.path.samefile(os.devnull)
        except OSError:
            return False

    def _text(self) -> str:
        try:
            if self.path.exists() and not self.path.is_file():  # a pipe would be waited for
                if self._is_null():
                    return ""
                raise OSError(errno.EINVAL, "it is no regular file")
            content = self.path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return ""
        except OSError as problem:
            raise errors.ConfigError(
                f"cannot read {with_target(self.path)}: {problem.strerror}",
                hint=f"ls -ld {_quoted(self.path)}",
                code="config_unreadable",
            ) from problem
        try:
            return content.decode("utf-8-sig")
        except UnicodeDecodeError as problem:
            line = content.count(b"\n", 0, problem.start) + 1
            raise self._broken(f"does not parse: it is not UTF-8 text (at line {line})") from problem

    def _parsed(self, text: str) -> dict[str, Any]:
        if not text:
            return {}
        import tomllib

        try:
            return tomllib.loads(text)
        except RecursionError as problem:
            told = f"it is nested too deeply (at line {_line_too_deep(text)})"
            raise self._broken(f"does not parse: {told}") from problem
        except ValueError as problem:
            # tomllib's message names the line and column, never the text that stands there.
            told = str(problem).replace("(at end of document)", f"(at the end, line {text.count(chr(10)) + 1})")
            raise self._broken(f"does not parse: {told}") from problem

    def _broken(self, told: str) -> errors.ConfigError:
        return errors.ConfigError(f"{with_target(self.path)} {told}", hint=self.edit_command, code="config_broken")


def with_target(path: Path) -> str:
    """Show a path, and where it is a symlink the file that it leads to."""
    is_link = os.path.islink(path)  # noqa: PTH114 - pathlib raises for a stale one, once all is stored there
    return f"{path} ({os.path.realpath(path)})" if is_link else str(path)


def make_private_folder(folder: Path) -> None:
    """Make a folder and its missing parents with mode 0700; one that exists keeps its mode.

    Raises LocalFileError.
    """
    try:
        missing = [parent for parent in (folder, *folder.parents) if not parent.exists()]
        for parent in reversed(missing):
            # mkdir's mode is narrowed by the umask but never widened.
            parent.mkdir(mode=0o700, exist_ok=True)
    except OSError as problem:
        raise errors.LocalFileError(
            f"cannot make the folder {folder}: {problem.strerror}",
            hint=hints.OTHER_HOME,
            code=errors.file_code(problem),
        ) from problem


def _line_too_deep(text: str) -> int:
    """Give the line with which TOML becomes too deep to be read."""
    import bisect
    import tomllib

    lines = text.splitlines(keepends=True)

    def is_too_deep(count: int) -> bool:
        try:
            tomllib.loads("".join(lines[:count]))
        except RecursionError:
            return True
        except ValueError:
            return False
        return False

    return bisect.bisect_left(range(len(lines)), True, key=is_too_deep)


def _edited(text: str, name: str, value: str | None) -> str:
    """Change, add or remove one top-level line of TOML, leaving all others alone."""
    lines = re.findall(r"[^\n]*\n|[^\n]+", text)  # TOML's lines end at line feeds alone
    table = next((i for i, line in enumerate(lines) if line.lstrip().startswith("[")), len(lines))
    key = re.escape(name)
    own = re.compile(rf"\s*(?:{key}|\"{key}\"|'{key}')\s*=")
    place = next((i for i in range(table) if own.match(lines[i])), None)
    new = [] if value is None else [f"{name} = {_toml_string(value)}\n"]
    if place is not None:
        lines[place : place + 1] = new
    else:
        if table and not lines[table - 1].endswith("\n"):
            lines[table - 1] += "\n"
        lines[table:table] = new
    return "".join(lines)


def _toml_string(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + re.sub(r"[\x00-\x1f\x7f]", lambda c: f"\\u{ord(c.group()):04x}", escaped) + '"'


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder of the config file, made if missing, so that two commands do not change it at once."""
    from cometrep.locks import lock

    make_private_folder(folder)
    if os.name == "nt":  # which opens no folder
        yield
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as problem:
        raise _unwritable(folder, problem) from problem
    try:
        with contextlib.suppress(OSError):  # a file system that knows no locks
            if not lock(descriptor, patience_seconds=_TURN_SECONDS):
                raise errors.LocalFileError(
                    f"another command has been changing a file in {folder} for {_TURN_SECONDS:.0f} s",
                    hint=f"fuser -v {_quoted(folder)}",
                )
        yield
    finally:
        with contextlib.suppress(OSError):  # nothing was written by it
            os.close(descriptor)


def _write_private(path: Path, text: str) -> None:
    """Write a file that may hold the API key, whole or not at all; its folder is held meanwhile."""
    import secrets

    real = Path(os.path.realpath(path))
    part = real.with_name(f".{real.name}.{secrets.token_hex(6)}.part")
    try:
        _remove_parts(real)
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            part.replace(real)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    except OSError as problem:
        raise _unwritable(real, problem) from problem


def _remove_parts(real: Path) -> None:
    """Remove what a kill left of changes to a file, its folder held meanwhile: the API key may stand there."""
    for other in real.parent.iterdir():
        if other.name.startswith(f".{real.name}.") and other.suffix == ".part":
            other.unlink(missing_ok=True)


def _unwritable(path: Path, problem: OSError) -> errors.LocalFileError:
    return errors.LocalFileError(
        f"cannot write {path}: {problem.strerror}",
        hint=hints.OTHER_HOME,
        code=errors.file_code(problem),
    )


def _quoted(path: Path) -> str:
    return hints.quoted(str(path))
