"""Remove the stored API key."""

import typer

from cometrep import config
from cometrep.commands import local_console
from cometrep.config.changing import remove
from cometrep.config.file import with_target

EXAMPLES = ("cometrep logout", "cometrep logout && cometrep config show")


def command(ctx: typer.Context) -> None:
    """Remove the stored API key from the config file."""
    console = local_console(ctx)
    path, was_stored = remove("api_key")
    told = "the API key was removed from" if was_stored else "no API key is stored in"
    console.say(f"{told} {with_target(path)}")
    if variables := config.variables_for("api_key"):
        console.warn(f"{variables[0]} is still set, and gives a key: unset {' '.join(variables)}")
