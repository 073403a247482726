"""Store the API key."""

from typing import Annotated

import typer

from cometrep import config
from cometrep.commands import local_console
from cometrep.config.changing import store_api_key
from cometrep.config.file import with_target
from cometrep.config.values import LONGEST_KEY, UNUSUAL_KEY

EXAMPLES = ("cometrep login", "pass show cometapi | cometrep login --stdin")


def command(
    ctx: typer.Context,
    stdin: Annotated[
        bool, typer.Option("--stdin", help="Read the key from stdin instead of asking.", show_default=False)
    ] = False,
) -> None:
    """Store the API key in the config file, which only you can read."""
    console = local_console(ctx)
    config.read_file()  # one that is broken is told before anybody types a key
    if stdin:
        content = console.read_stdin("the API key", "cometrep login", limit_bytes=2 * LONGEST_KEY)
        text = content.decode("utf-8-sig", "replace")
    else:
        text = console.ask_hidden(f"API key from {config.KEY_PAGE} (not shown): ")
    key, path = store_api_key(text)
    console.say(f"API key {key} stored in {with_target(path)}")
    if variables := config.variables_for("api_key"):
        console.warn(f"{variables[0]} is set, and wins over the stored key: unset {' '.join(variables)}")
    if not key.is_usual:
        console.warn(UNUSUAL_KEY)
