"""Show and change the settings."""

from typing import Annotated

import typer

from cometrep import config
from cometrep.commands import local_console
from cometrep.config.changing import removals, remove, store_setting
from cometrep.config.file import with_target

EXAMPLES = ("cometrep config show", "cometrep config set timeout 10m")

PART_EXAMPLES = {
    "show": ("cometrep config show", "cometrep config show --json"),
    "get": ("cometrep config get base_url", "cometrep config get api_key"),
    "set": ("cometrep config set timeout 10m", "cometrep config set dir pictures"),
    "unset": ("cometrep config unset timeout", "cometrep config unset dir"),
    "path": ("cometrep config path", 'chmod 600 "$(cometrep config path)"'),
}

app = typer.Typer(add_completion=False, rich_markup_mode=None)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="A setting, as config show names it.")]
ValueArgument = Annotated[
    str, typer.Argument(metavar="VALUE", help="What it is set to; cometrep help config tells what each takes.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.", show_default=False)]


@app.command()
def show(ctx: typer.Context, json: JsonOption = False) -> None:
    """Show every setting, its value and where it comes from."""
    console = local_console(ctx)
    settings, problems = config.load_leniently()
    if settings.file_warning:
        console.warn(str(settings.file_warning))
    for strange, removal in ({} if "config_file" in problems else removals()).items():
        console.warn(f"{config.folders().config_file} sets {strange}, which is no setting: {removal}")
    shown = [settings.shown(name) for name in config.SETTINGS]
    wrong = {name: problem.message for name, problem in problems.items()}
    if json:
        console.write_json({one.name: _facts(one, wrong.get(one.name)) for one in shown})
    else:
        rows = [
            [one.name, "", wrong[one.name]] if one.name in wrong else [one.name, one.value, one.origin.text]
            for one in shown
        ]
        console.write_table(("NAME", "VALUE", "ORIGIN"), rows, wraps=True)
    if problems:
        first, *others = problems.values()
        for problem in others:
            console.warn(problem.message)
        raise first


def _facts(setting: config.Setting, wrong: str | None) -> dict[str, str | None]:
    if wrong:
        return {"value": None, "origin": None, "error": wrong}
    return {"value": setting.value, "origin": setting.origin.text}


@app.command()
def get(ctx: typer.Context, name: NameArgument) -> None:
    """Print one setting; of the API key its last four characters."""
    console = local_console(ctx)
    settings, problems = config.load_leniently()
    setting = settings.shown(name)
    for cause in (name, "config_file"):  # a file that cannot be read may hold what stands at its default
        if cause in problems and setting.origin == config.DEFAULT:
            raise problems[cause]
    write = console.write_path if name in ("dir", "output") else console.write_line
    write(setting.value)


@app.command("set")
def set_(ctx: typer.Context, name: NameArgument, value: ValueArgument) -> None:
    """Set one setting in the config file."""
    console = local_console(ctx)
    path = store_setting(name, value)
    console.say(f"{name} is set in {with_target(path)}")
    if variables := config.variables_for(name):
        console.warn(f"{variables[0]} is set, and wins over the file: unset {' '.join(variables)}")


@app.command()
def unset(ctx: typer.Context, name: NameArgument) -> None:
    """Remove one setting from the config file."""
    console = local_console(ctx)
    path, was_set = remove(name)
    console.say(f"{name} {'was removed from' if was_set else 'is not set in'} {with_target(path)}")


@app.command()
def path(ctx: typer.Context) -> None:
    """Print where the config file is."""
    local_console(ctx).write_path(str(config.folders().config_file))
