"""The table of contents: the app and every command, in help order."""

import importlib
import itertools
import re
import shlex
from collections.abc import Container, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import typer
import typer.core
import typer.main

from cometrep import __version__, errors
from cometrep.console import Console

if TYPE_CHECKING:
    from cometrep.manual import Page

TAGLINE = (
    "Make pictures through CometAPI's Replicate-format endpoints: create predictions, watch them, save their files."
)


class Line(NamedTuple):
    """One line of the table of contents: the command's name is its module's in `cometrep.commands`."""

    name: str
    about: str
    panel: str


CONTENTS = (
    Line("run", "Create a prediction, wait for it and save its output files.", "Predictions"),
    Line("create", "Create one prediction and print its id.", "Predictions"),
    Line("wait", "Wait until predictions have ended.", "Predictions"),
    Line("status", "Look at predictions once.", "Predictions"),
    Line("download", "Save the output files of finished predictions.", "Predictions"),
    Line("batch", "Run many inputs; resume where a run stopped.", "Predictions"),
    Line("rerun", "Create a prediction again, with inputs changed.", "Predictions"),
    Line("list", "List the predictions made from this machine.", "Predictions"),
    Line("models", "Show the known models, or one model's inputs.", "Predictions"),
    Line("login", "Store the API key.", "Set-up"),
    Line("logout", "Remove the stored API key.", "Set-up"),
    Line("config", "Show and change the settings.", "Set-up"),
    Line("doctor", "Check key, settings, network, files and terminal.", "Set-up"),
    Line("sandbox", "Serve the local stand-in API in the foreground.", "Set-up"),
    Line("help", "Show a command or another topic in full.", "Set-up"),
    Line("completion", "Print the completion script of a shell.", "Set-up"),
)

EXAMPLES = (
    "cometrep run --sandbox black-forest-labs/flux-schnell prompt='A boat'",
    "cometrep help run",
)

# Typer exports one of its usage errors; the others are named through it, so that no click is imported.
_UsageProblem: type[Exception] = typer.BadParameter.__mro__[1]
_Problem: type[Exception] = typer.BadParameter.__mro__[2]


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
        return _takes_next(word, self.valued())

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the whole help, its sentence first."""
        formatter.write_text(_sentence(self))
        formatter.write_paragraph()
        formatter.write_usage(ctx.command_path, " ".join(self.collect_usage_pieces(ctx)))
        self.format_options(ctx, formatter)
        self.format_epilog(ctx, formatter)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments and options, grouped by panel."""
        panels: dict[str, list[tuple[str, str]]] = {}
        for param in _in_panels(self.get_params(ctx)):  # type: ignore[attr-defined]
            names = ", ".join(sorted(param.opts, key=len)) if param.param_type_name == "option" else ""
            term = " ".join(filter(None, (names, _metavar(param, ctx))))
            panels.setdefault(_panel(param), []).append((term, param.help or ""))
        for panel, records in panels.items():
            with formatter.section(panel):
                formatter.write_dl(records, col_max=26)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write the examples, each on a line of its own."""
        if self.examples:
            with formatter.section("Examples"):
                for example in self.examples:
                    formatter.write(f"{'':>{formatter.current_indent}}{example}\n")


# In help order; "" is the place of a command's own panels.
_PANELS = ("Arguments", "Input", "", "Pace", "Resuming", "Waiting", "Saving", "Output", "Connection", "Options")


def _panel(param: Any) -> str:
    if param.param_type_name == "argument":
        return "Arguments"
    return getattr(param, "rich_help_panel", None) or "Options"


def _in_panels(params: Iterable[Any]) -> list[Any]:
    """Give what a command's help shows, panel after panel."""
    shown = [param for param in params if not getattr(param, "hidden", False)]
    return sorted(shown, key=lambda param: _PANELS.index(_panel(param) if _panel(param) in _PANELS else ""))


def _metavar(param: Any, ctx: Any) -> str:
    """Give the word for a parameter's value, empty for a switch."""
    return "" if getattr(param, "is_flag", False) else str(param.metavar or param.make_metavar(ctx=ctx))


def _sentence(command: Any) -> str:
    return " ".join((command.help or "").split())


def _show_help(ctx: Any, param: Any, is_asked: bool) -> None:
    if is_asked and not ctx.resilient_parsing:
        console: Console = ctx.obj
        console.write_line(ctx.get_help())
        raise typer.Exit


class Command(_Plain, typer.core.TyperCommand):
    """A command with plain help."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read `-o=cat.webp` as gh and httpie do; else the file would be named `=cat.webp`."""
        valued = self.valued()
        parted: list[str] = []
        words = iter(args)
        for word in words:
            name, sign, value = word.partition("=")
            if word == "--":
                parted += [word, *words]
            elif _takes_next(word, valued):
                parted += [word, *itertools.islice(words, 1)]
            elif sign and not name.startswith("--") and _takes_next(name, valued):
                parted += [name, value]
            else:
                parted.append(word)
        read: list[str] = super().parse_args(ctx, parted)
        return read


def _takes_next(word: str, valued: Container[str]) -> bool:
    if not re.match("-[^-]", word):
        return word in valued
    *before, last = (f"-{letter}" in valued for letter in word[1:])
    return last and not any(before)


class Group(_Plain, typer.core.TyperGroup):
    """A group with plain help."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Give the usage line's words."""
        return ["COMMAND", "[ARGS]..."]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the commands, then the options."""
        self.format_commands(ctx, formatter)
        _Plain.format_options(self, ctx, formatter)


class Contents(Group):
    """The top level: its commands are named here and imported only when one of them runs."""

    examples = EXAMPLES

    def page(self, ctx: Any) -> "Page":
        """Describe the whole command tree as values, for `help` too."""
        return _page(self, ctx)

    def list_commands(self, ctx: Any) -> list[str]:
        """List the commands in help order."""
        return [line.name for line in CONTENTS]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Import and build one command."""
        return build(cmd_name) if any(line.name == cmd_name for line in CONTENTS) else None

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the table of contents without importing a single command."""
        for panel in dict.fromkeys(line.panel for line in CONTENTS):
            with formatter.section(panel):
                formatter.write_dl([(line.name, line.about) for line in CONTENTS if line.panel == panel])


def build(name: str) -> Any:
    """Import one command's module and build the command from it."""
    module = importlib.import_module(f"cometrep.commands.{name}")
    if hasattr(module, "app"):
        app = module.app
        for registered in app.registered_commands:
            registered.cls = Command
        app.info.cls = Group
        app.info.help = module.__doc__
    else:
        app = typer.Typer()
        app.command(name, cls=Command)(module.command)
    app.rich_markup_mode = None
    app._add_completion = False
    built: Any = typer.main.get_command(app)
    built.name = name
    built.examples = module.EXAMPLES
    for part, examples in getattr(module, "PART_EXAMPLES", {}).items():
        built.commands[part].examples = examples
    return built


app = typer.Typer(
    name="cometrep",
    cls=Contents,
    help=TAGLINE,
    add_completion=False,
    rich_markup_mode=None,
    # The same text on every terminal: 80 columns, whatever its width.
    context_settings={"help_option_names": ["-h", "--help"], "terminal_width": 80},
)


@app.callback(invoke_without_command=True)
def top(
    ctx: typer.Context,
    version: bool = typer.Option(False, "--version", help="Print the version.", show_default=False),
) -> None:
    """Answer what needs no command."""
    console: Console = ctx.obj
    if version:
        console.write_line(f"cometrep {__version__}")
        raise typer.Exit
    if ctx.invoked_subcommand is None:
        raise errors.UsageError("no command was given", hint="cometrep --help")


def pages() -> "Page":
    """Describe the whole command tree as values, importing every command."""
    command: Any = typer.main.get_command(app)
    page: Page = command.page(typer.Context(command, info_name="cometrep"))
    return page


def _page(command: Any, ctx: Any) -> "Page":
    from cometrep.manual import Argument, Option, Page

    params = _in_panels(command.get_params(ctx))
    names = command.list_commands(ctx) if hasattr(command, "list_commands") else []
    parts = [command.get_command(ctx, name) for name in names]
    return Page(
        words=tuple(ctx.command_path.split()),
        about=_sentence(command),
        in_short=next((line.about for line in CONTENTS if line.name == ctx.info_name), _sentence(command)),
        usage=" ".join((ctx.command_path, *command.collect_usage_pieces(ctx))),
        arguments=tuple(
            Argument(param.metavar, param.help or "", is_repeated=param.nargs != 1, choices=_choices(param, ctx))
            for param in params
            if param.param_type_name == "argument"
        ),
        options=tuple(
            Option(
                names=tuple(sorted(param.opts, key=len)),
                metavar=_metavar(param, ctx),
                about=param.help or "",
                panel=_panel(param),
                choices=_choices(param, ctx),
                is_repeated=param.multiple and not param.callback,  # which refuses a second one
            )
            for param in params
            if param.param_type_name == "option"
        ),
        examples=tuple(command.examples),
        parts=tuple(
            _page(part, typer.Context(part, info_name=name, parent=ctx))
            for name, part in zip(names, parts, strict=True)
        ),
    )


def _choices(param: Any, ctx: Any) -> tuple[str, ...]:
    """Give the values that a command names as its parameter's `autocompletion`."""
    return tuple(item.value for item in param.shell_complete(ctx, ""))


def run(arguments: Sequence[str], console: Console) -> int:
    """Run one command line and give its exit code; raises what the command raises, usage errors as UsageError."""
    command = typer.main.get_command(app)
    console.command_line = shlex.join(["cometrep", *arguments])
    try:
        return int(command.main(list(arguments), prog_name="cometrep", standalone_mode=False, obj=console) or 0)
    except _UsageProblem as problem:
        from cometrep.usage import error_of

        raise error_of(problem, arguments, command) from problem
    except _Problem as problem:
        raise errors.UsageError(str(problem), hint="cometrep --help") from problem
