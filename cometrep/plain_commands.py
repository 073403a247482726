"""Commands and groups of typer's with plain help, which read `-o=cat.webp` as gh and httpie do."""

import re
from collections.abc import Container, Iterable, Sequence
from typing import Any

import typer
import typer.core

from cometrep import errors, hints
from cometrep.console import Console
from cometrep.hints import takes_next


class _Plain:
    """Help as plain text, at most 80 columns: one sentence, usage, options under their panels, examples."""

    examples: Sequence[str] = ()
    params: list[Any]

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Give the usage line's words: arguments first, as they are typed."""
        return [*(param.metavar for param in self.params if param.param_type_name == "argument"), "[OPTIONS]"]

    def get_help_option(self, ctx: Any) -> Any:
        """Give `--help`, which writes through the console, as all results are written."""
        if getattr(self, "_own_help", None) is None:
            self._own_help = typer.core.TyperOption(
                param_decls=["help", "-h", "--help"],
                is_flag=True,
                is_eager=True,
                expose_value=False,
                callback=_show_help,
                help="Show this message and exit.",
            )
        return self._own_help

    def valued(self) -> frozenset[str]:
        """Give the names of the options that take a value."""
        return frozenset(
            name for param in self.params if not getattr(param, "is_flag", True) for name in param.opts
        )

    def takes_next(self, word: str) -> bool:
        """Say whether the word behind this one is an option's value, as behind `--output`, `-o` or `-qo`."""
        return takes_next(word, self.valued())

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the whole help, its sentence first."""
        formatter.write_text(sentence_of(self))
        formatter.write_paragraph()
        formatter.write_usage(ctx.command_path, " ".join(self.collect_usage_pieces(ctx)))
        self.format_options(ctx, formatter)
        self.format_epilog(ctx, formatter)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments and options, grouped by panel."""
        panels: dict[str, list[tuple[str, str]]] = {}
        for param in in_panels(self.get_params(ctx)):  # type: ignore[attr-defined]
            names = ", ".join(sorted(param.opts, key=len)) if param.param_type_name == "option" else ""
            term = " ".join(filter(None, (names, metavar_of(param, ctx))))
            panels.setdefault(panel_of(param), []).append((term, param.help or ""))
        for panel, records in panels.items():
            with formatter.section(panel):
                formatter.write_dl(records, col_max=26)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write the examples, each on a line of its own, and where the whole page is."""
        if self.examples:
            with formatter.section("Examples"):
                for example in self.examples:
                    formatter.write(f"{'':>{formatter.current_indent}}{example}\n")
        formatter.write_paragraph()
        formatter.write(f"{' '.join(['More: cometrep help', *ctx.command_path.split()[1:2]])}\n")


# In help order; "" is the place of a command's own panels.
_PANELS = ("Arguments", "Input", "", "Pace", "Resuming", "Waiting", "Saving", "Output", "Connection", "Options")


def panel_of(param: Any) -> str:
    """Give the heading under which a parameter stands."""
    if param.param_type_name == "argument":
        return "Arguments"
    return getattr(param, "rich_help_panel", None) or "Options"


def in_panels(params: Iterable[Any]) -> list[Any]:
    """Give what a command's help shows, panel after panel."""
    shown = [param for param in params if not getattr(param, "hidden", False)]
    return sorted(shown, key=lambda param: _PANELS.index(panel_of(param) if panel_of(param) in _PANELS else ""))


def metavar_of(param: Any, ctx: Any) -> str:
    """Give the word for a parameter's value, empty for a switch."""
    return "" if getattr(param, "is_flag", False) else str(param.metavar or param.make_metavar(ctx=ctx))


def sentence_of(command: Any) -> str:
    """Give what a command does, on one line."""
    return " ".join((command.help or "").split())


def _show_help(ctx: Any, param: Any, is_asked: bool) -> None:
    if is_asked and not ctx.resilient_parsing:
        console: Console = ctx.obj
        console.write_line(ctx.get_help())
        raise typer.Exit


class Command(_Plain, typer.core.TyperCommand):
    """A command with plain help."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read `-o=cat.webp` as gh and httpie do; else the file would be named `=cat.webp`.

        And refuse an option as the value of another: behind `-d $DIR`, where that is not set, `--sandbox` would be
        a folder, and the create be paid for. `-d=x` is the name of a file there, which hints may have. `-dry-run`,
        with one dash, would be a folder too.
        """
        valued = self.valued()
        names = {name for param in self.get_params(ctx) for name in param.opts if name.startswith("-")}
        parted: list[str] = []
        words = enumerate(args)
        for place, word in words:
            name, sign, value = word.partition("=")
            if word == "--":
                parted += args[place:]
                break
            if long := _with_one_dash(word, names, valued):
                raise self._lacks_dash(ctx, args, place, long)
            if takes_next(word, valued) and place + 1 < len(args):
                _, taken = next(words)
                long = _with_one_dash(taken, names, valued)
                if long or _is_option(taken, names):
                    raise self._without_value(ctx, args, place + 1, long)
                parted += [word, taken]
            elif sign and not name.startswith("--") and takes_next(name, valued):
                parted += [name, value]
            else:
                parted.append(word)
        read: list[str] = super().parse_args(ctx, parted)
        return read

    def _without_value(self, ctx: Any, args: Sequence[str], place: int, long: str) -> errors.UsageError:
        """Give the error of an option with another one in its value's place, `long` where that lacks a dash."""
        word = args[place - 1]
        option = word if word.startswith("--") else f"-{word[-1]}"
        what = next(metavar_of(param, ctx) for param in self.params if option in param.opts)
        meant = _with_two_dashes(args[place], long) if long else [args[place]]
        return errors.UsageError(
            f"{option} takes a value, {what}, and {args[place]} is an option",
            hint=f"{ctx.command_path} {hints.joined([*args[:place], what, *meant, *args[place + 1 :]])}",
        )

    def _lacks_dash(self, ctx: Any, args: Sequence[str], place: int, long: str) -> errors.UsageError:
        """Give the error of an option that is written with one dash, and behind others perhaps."""
        word, meant = args[place], _with_two_dashes(args[place], long)
        return errors.UsageError(
            f"{word} is not {long}, which has two dashes",
            hint=f"{ctx.command_path} {hints.joined([*args[:place], *meant, *args[place + 1 :]])}",
        )


def _with_two_dashes(word: str, long: str) -> list[str]:
    """Give the options of a word that spells a long one with one dash, behind short ones or not."""
    others = word.partition("=")[0].removesuffix(long[2:])
    return [others] * (others != "-") + [long + word[len(others) + len(long) - 2 :]]


def _with_one_dash(word: str, names: Container[str], valued: Container[str]) -> str:
    """Give the long option that a word with one dash spells, behind short ones or not; empty where it is none."""
    word = word.partition("=")[0]
    if not re.match(r"-\w[\w-]+", word):
        return ""
    for at in range(1, len(word)):
        if f"--{word[at:]}" in names:
            return f"--{word[at:]}"
        if f"-{word[at]}" not in names or f"-{word[at]}" in valued:  # what follows is its value
            return ""
    return ""


def _is_option(word: str, names: Container[str]) -> bool:
    """Say whether a word is an option, as `--json`, `--dir=x` or `-qv` are; `-o=x` may be the name of a file."""
    if word.startswith("--"):
        return word.partition("=")[0] in names
    return len(word) > 1 and word.startswith("-") and all(f"-{letter}" in names for letter in word[1:])


class Group(_Plain, typer.core.TyperGroup):
    """A group with plain help."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Give the usage line's words."""
        return ["COMMAND", "[ARGS]..."]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the commands, then the options."""
        self.format_commands(ctx, formatter)
        _Plain.format_options(self, ctx, formatter)
