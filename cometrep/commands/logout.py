"""Remove the stored API key."""

import typer

from cometrep import config
from cometrep.commands import local_console
from cometrep.config.changing import store
from cometrep.config.file import with_target

EXAMPLES = ("cometrep logout", "cometrep logout && cometrep config show")


def command(ctx: typer.Context) -> None:
    """Remove the stored API key from the config file."""
    console = local_console(ctx)
    path = store("api_key", None)
    console.say(f"no API key is stored in {with_target(path)}")
    if variable := config.variable_for("api_key"):
        console.warn(f"{variable} is still set, and gives a key: unset {variable}")
