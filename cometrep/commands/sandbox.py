"""Serve the local stand-in API in the foreground."""

from typing import Annotated

import typer

from cometrep import config, errors
from cometrep.commands import local_console
from cometrep.config.file import make_private_folder
from cometrep.sandbox.faults import KINDS, Fault

EXAMPLES = ("cometrep sandbox --port 8787", "cometrep sandbox --seconds 10 --fault get:500:3")


def command(
    ctx: typer.Context,
    port: Annotated[
        int,
        typer.Option(
            "--port",
            metavar="PORT",
            min=0,
            max=65535,
            help=f"Port on 127.0.0.1 (default {config.SANDBOX_PORT}); 0 for a free one.",
        ),
    ] = config.SANDBOX_PORT,
    seconds: Annotated[
        str | None, typer.Option("--seconds", metavar="SECONDS", help="Length of a prediction (default 2).")
    ] = None,
    wrapped: Annotated[
        bool, typer.Option("--wrapped", help="Answer looks in the gateway's task record.", show_default=False)
    ] = False,
    fault: Annotated[
        list[str],
        typer.Option(
            "--fault",
            metavar="KIND[:N]",
            help="Misbehave, N times or always: " + ", ".join(KINDS) + "; get:500 meets looks alone.",
            show_default=False,
        ),
    ] = [],  # noqa: B006
) -> None:
    """Serve the local stand-in API until Ctrl-C, and print how to point programs at it."""
    from cometrep.sandbox.server import Sandbox

    console = local_console(ctx)
    settings = config.load({"sandbox_seconds": seconds})
    folder = config.folders().sandbox
    make_private_folder(folder)
    faults = [Fault.parse(text) for text in fault]
    with Sandbox(folder, port=port, seconds=settings.sandbox_seconds, wrapped=wrapped, faults=faults) as server:
        console.write_line(f"export COMETREP_BASE_URL={server.url}")
        console.write_line(f"export COMETAPI_KEY={config.SANDBOX_KEY}")
        clients = f"{server.url}/replicate (Python), {server.url}/replicate/v1 (JavaScript)"
        console.hint(f"Replicate's clients, with that key: {clients}. Ctrl-C stops it")
        try:
            server.serve_forever()
        except errors.Stopped as stop:
            stop.message = "the sandbox has stopped; its predictions are kept"
            raise
