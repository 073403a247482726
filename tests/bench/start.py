"""How long commands take that hardly do anything."""

from collections.abc import Iterator
from functools import partial

from tests.bench.measure import Command, interleaved
from tests.bench.peers import SCRIPTS, Bench
from tests.bench.report import Row, Table, at_most

SENTENCE = "Start: --version, --help, local commands, a TAB and one look, beside bare Typer apps."
ENTRIES = 20


def tables(bench: Bench) -> Iterator[Table]:
    """Compare whole processes; all of them run in the same rounds."""
    home = bench.fresh("home")
    bench.remember(home, [3.0] * (5 if bench.is_quick else ENTRIES))
    id = bench.service.create({"prompt": "looked-at"})
    bare = SCRIPTS / "bare_typer.py"
    commands: dict[str, Command] = {
        "python -I -c pass": bench.command(bench.cometrep, "-I", "-c", "pass"),
        "bare Typer app": bench.command(bench.typer, bare, "hello"),
        "its rich --help": bench.command(bench.typer, bare, "--help"),
        "Typer + requests, one GET": bench.command(bench.typer, SCRIPTS / "status_get.py", id),
        "cometrep --version": bench.call(home, "--version"),
        "cometrep --help": bench.call(home, "--help"),
        "cometrep config get base_url": bench.call(home, "config", "get", "base_url"),
        "cometrep list": bench.call(home, "list"),
        "one TAB for a model": bench.call(home, "__complete", "models", "--", ""),
        "one TAB for an id": bench.call(home, "__complete", "ids", "--", ""),
        "cometrep status ID": bench.call(home, "status", id),
    }
    samples = interleaved({name: partial(_as_it_is, one) for name, one in commands.items()}, bench.runs)
    walls = {name: [sample.wall_seconds for sample in taken] for name, taken in samples.items()}
    app = "bare Typer app"
    compared = {
        "cometrep --version": (app, 1.15),
        "cometrep --help": ("its rich --help", 1.15),
        "cometrep config get base_url": (app, 1.3),
        "cometrep list": (app, 1.3),
        "one TAB for a model": (app, 1.3),
        "one TAB for an id": (app, 1.3),
        "cometrep status ID": ("Typer + requests, one GET", 1.10),
    }
    rows = [Row(name, "ms", walls[name]) for name in commands if name not in compared]
    for name, (reference, limit) in compared.items():
        rows.append(Row(name, "ms", walls[name], walls[reference], at_most(limit, is_ratio=True)))
    yield Table(
        "Start, whole processes",
        rows,
        ["ratios: --help to the bare app's --help, status to the script's GET, all others to the bare app"],
    )


def _as_it_is(command: Command, _: int) -> Command:
    return command
