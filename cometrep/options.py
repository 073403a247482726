"""The options that commands share, as they were typed, and the commands of hints that keep them."""

import re
from collections.abc import Collection, Sequence
from typing import NamedTuple

from cometrep import errors, hints
from cometrep.config.values import parse_duration
from cometrep.hiding import masked
from cometrep.text import cut

PRINTED = ("id", "status", "path", "url", "output")
"""The words of `--print`."""

_SPELLED = {"output": "-o", "dir": "-d", "print_what": "--print"}
_POLLING = ("timeout", "interval", "logs")
_NOT_OF_A_BATCH = ("print_what", "interval", "sidecar", "logs")
_KEPT = (  # in the commands of hints, in this order
    *("output", "dir", "max_size", "print_what", "timeout", "interval"),
    *("overwrite", "skip_existing", "sidecar", "json", "github", "logs"),
)


class Options(NamedTuple):
    """What was typed of the shared options and as INPUT items; the defaults stand for those a command has not.

    `saves` is true of a command that saves files, and `takes` names those it has; `wait` is None where it waits in
    any case, or never.
    """

    saves: bool = False
    takes: Collection[str] = ("items", "input_file")
    items: Sequence[str] = ()
    input_file: str | None = None
    dry_run: bool = False
    strict: bool = False
    wait: bool | None = None
    timeout: str | None = None
    interval: str | None = None
    logs: bool = False
    output: str | None = None
    dir: str | None = None
    overwrite: bool = False
    skip_existing: bool = False
    max_size: str | None = None
    sidecar: bool = False
    print_what: str | None = None
    github: bool = False
    json: bool = False
    quiet: bool = False
    verbose: bool = False
    progress: str | None = None
    sandbox: bool = False
    base_url: str | None = None

    def check(self) -> None:
        """Raise UsageError where one names nothing, or two contradict each other."""
        what = self.print_what
        if what is not None and what not in PRINTED:
            raise errors.UsageError(
                f"--print {what!r} is not one of {', '.join(PRINTED)}", hint=f"--print {PRINTED[0]}"
            )
        # As of a variable that is not set: a batch would not find its record there, and begin anew.
        for name, value, kind, hint in (
            ("dir", self.dir, "folder", "--dir ."),
            ("output", self.output, "file", "--output '{id}.{ext}'"),
        ):
            if value is not None and not value.strip():
                raise errors.UsageError(f"--{name} '' names no {kind}", hint=hint)
        if self.dir and self.dir[0] in "{@":  # as curl has its data behind -d
            self._refuse_data(self.dir)
        for given, one, also_given, other in (
            (self.json, "--json", what, "--print"),
            (self.overwrite, "--overwrite", self.skip_existing, "--skip-existing"),
        ):
            if given and also_given:
                raise contradiction(one, other)

    def _refuse_data(self, folder: str) -> None:
        """Raise UsageError for what is the input, and no folder to save in."""
        from cometrep.inputs import data_hint

        if hint := data_hint(folder):
            is_taken = ("items" if hint.startswith("write ") else "input_file") in self.takes
            raise errors.UsageError(
                f"--dir {cut(masked(folder), 80)!r} holds the input, and names no folder",
                hint=hint if is_taken else f"name a folder: {hints.OTHER_FOLDER}",
            )

    def idle(self) -> list[str]:
        """Say of those that were given which do nothing beside the others."""
        told = []
        if self.timeout is not None and self.wait is False:
            told.append("--timeout is the deadline of --wait, and does nothing without it")
        if self.output == "-":
            given = {"--overwrite": self.overwrite, "--skip-existing": self.skip_existing}
            told += [f"{name} does nothing beside -o -" for name, is_given in given.items() if is_given]
        return told

    @property
    def of_settings(self) -> dict[str, str | None]:
        """What they say of settings."""
        return {
            "base_url": self.base_url,
            "timeout": self.timeout,
            "dir": self.dir,
            "output": self.output,
            "max_size": self.max_size,
            "progress": self.progress,
            "sandbox": "true" if self.sandbox else None,
        }

    @property
    def interval_seconds(self) -> float | None:
        """The fixed pause between looks, None where there is none; raises UsageError for what cannot be one."""
        if self.interval is None:
            return None
        try:
            seconds = parse_duration(self.interval)
        except ValueError as problem:
            raise errors.UsageError(f"--interval {self.interval!r} {problem}", hint="--interval 2") from problem
        if not 0.2 <= seconds <= 3600:
            raise errors.UsageError(f"--interval {self.interval} is not between 0.2 s and 1 h", hint="--interval 2")
        return seconds

    @property
    def of_server(self) -> str:
        """The option that chose the server, which hints keep; empty where settings did."""
        if self.sandbox:
            return "--sandbox"
        return f"--base-url {hints.quoted(self.base_url)}" if self.base_url else ""

    @property
    def resume(self) -> hints.Command:
        """The command that takes up what this one leaves, with the options of this one that it takes.

        But for the deadline, which may be what ended this one.
        """
        if self.saves:
            return hints.Command("cometrep download --wait", self._typed(without=_POLLING))
        return hints.Command("cometrep wait", self._typed(without=("timeout",)))

    @property
    def rerun(self) -> hints.Command:
        """The command that creates a prediction again as this one does, with the files that the ledger forgets."""
        file = self._file_again()
        items: list[tuple[str, str]] = []
        forgotten: set[str] = set()  # keys: a list may have other values beside a file
        if file or any("@" in item or "data:" in item for item in self.items):
            from cometrep.inputs import split_item, typed

            for text in self.items:
                key, separator, value = split_item(text)
                again = _file_instead(separator, value)
                items.append((key, typed(key, again, "FILE") if again else hints.quoted(text)))
                if again == "=@":
                    file = ()  # whose value of it would stand in the place of the one that the ledger has
                elif again or separator in ("@", "=@", ":=@"):
                    forgotten.add(key)
        # Where the file is read again, its values would stand in the place of what items gave.
        kept = [item for key, item in items if file or key in forgotten]
        return hints.RERUN._replace(options=(*file, *self._typed()), items=tuple(kept))

    def _file_again(self) -> tuple[str, ...]:
        """Write the option of the file of inputs, unless there is none, or its name means nothing later."""
        if self.input_file is None:
            return ()
        from cometrep.batch.snapshot import comes_once

        return () if comes_once(self.input_file) else (f"-i {hints.quoted(self.input_file)}",)

    def sweep(self, model: str, items: Sequence[str]) -> str:
        """Give the command that counts the combinations of a create's items, some of which are several values."""
        strict = ["--strict"] * self.strict
        options = (f"-m {model}", *strict, *self._typed(without=_NOT_OF_A_BATCH), "--dry-run")
        return hints.Command("cometrep batch --sweep", options).of(*map(hints.quoted, items))

    def _typed(self, without: Sequence[str] = ()) -> tuple[str, ...]:
        """Write those that were given and that hints keep, as they are typed."""
        words = []
        for name in _KEPT:
            value = getattr(self, name)
            if name not in without and value is not None and value is not False:
                option = _SPELLED.get(name, f"--{name.replace('_', '-')}")
                is_value = value is not True
                # What looks like an option would be taken for one.
                sign = "=" if is_value and re.match("-.", value) else " "
                words.append(f"{option}{sign}{hints.quoted(value)}" if is_value else option)
        return tuple(words)


def _file_instead(separator: str, value: str) -> str:
    """Give the separator of a FILE in the place of an item's value that is not typed again, empty where it is."""
    if separator == "=" and value[:5].lower() == "data:":  # and too long
        return "@"
    if separator == ":=" and '"data:' in value.lower():
        return ":=@"
    return "=@" if separator == "=@" and value == "-" else ""  # empty later, and paid for all the same


def contradiction(one: str, other: str) -> errors.UsageError:
    """Give the error of two options that contradict each other."""
    return errors.UsageError(f"{one} and {other} contradict each other", hint=f"leave out {one}")
