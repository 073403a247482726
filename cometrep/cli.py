"""The table of contents: the app and every command, in help order."""

import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import typer
import typer.main

from cometrep import __version__, errors, hints
from cometrep.console import Console
from cometrep.plain_commands import Command, Group

if TYPE_CHECKING:
    from cometrep.manual.page import Page

_TAGLINE = (
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


class Contents(Group):
    """The top level: its commands are named here and imported only when one of them runs."""

    examples = EXAMPLES

    def page(self, ctx: Any) -> "Page":
        """Describe the whole command tree as values, for `help` too."""
        from cometrep import command_tree

        return command_tree.read(self, ctx)

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
        app = typer.Typer(add_completion=False, rich_markup_mode=None)
        app.command(name, cls=Command)(module.command)
    built: Any = typer.main.get_command(app)
    built.name = name
    built.short_help = next(line.about for line in CONTENTS if line.name == name)
    built.examples = module.EXAMPLES
    for part, examples in getattr(module, "PART_EXAMPLES", {}).items():
        built.commands[part].examples = examples
    return built


app = typer.Typer(
    name="cometrep",
    cls=Contents,
    help=_TAGLINE,
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


def run(arguments: Sequence[str], console: Console) -> int:
    """Run one command line and give its exit code; raises what the command raises, usage errors as UsageError."""
    command = typer.main.get_command(app)
    named = arguments[1:] if arguments[:1] == ["--"] else arguments  # from the command's name on
    console.command_line = hints.joined(["cometrep", *named])
    try:
        return int(command.main(list(arguments), prog_name="cometrep", standalone_mode=False, obj=console) or 0)
    except _UsageProblem as problem:
        from cometrep.usage import error_of

        raise error_of(problem, arguments, command) from problem
    except _Problem as problem:
        raise errors.UsageError(str(problem), hint="cometrep --help") from problem
