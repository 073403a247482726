"""The house: imports point one way, and each edge to the outside has one owner."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import readme

PACKAGE = Path(__file__).parents[1] / "cometrep"

# From the top down; a module imports from rows below its own. A folder stands in its row as one.
ROWS = (
    ("__main__",),
    ("cli",),
    ("usage", "command_tree"),
    ("commands", "plain_commands"),
    ("session", "completion"),
    ("options", "typed_ids"),
    ("batch", "doctor"),
    ("runner", "console", "manual", "signals", "sandbox"),
    ("keeping", "creating"),
    ("places", "request", "sending"),
    ("ledger", "api", "download", "sidecar", "watch"),
    ("transport", "partfile", "pace"),
    ("inputs", "catalog", "schedule", "config"),
    ("names",),
    ("events",),
    ("prediction",),
    ("references",),
    ("side_by_side", "data_uris", "byte_ranges"),
    ("small_files",),
    ("calls", "digest", "formats", "json_values", "locks"),
    ("hints",),
    ("text", "errors", "hiding"),
)
# Inside a folder, likewise; it is named here itself where its own `__init__` holds more than a docstring.
INSIDE = {
    "api": (("api",), ("api.verdicts",)),
    "batch": (
        ("batch.conduct", "batch.forecast", "batch.overview"),
        ("batch.run", "batch.prepare"),
        ("batch.following",),
        ("batch.saving", "batch.lost_record"),
        ("batch.outcomes", "batch.gallery", "batch.earlier"),
        (
            "batch.plan",
            "batch.pictures",
            "batch.clashes",
            "batch.sending",
            "batch.score",
            "batch.ending",
            "batch.gate",
            "batch.fate",
        ),
        ("batch.items", "batch.record", "batch.command_line"),
        ("batch.sources", "batch.standings", "batch.steps", "batch.snapshot", "batch.hashes"),
    ),
    "commands": (tuple(f"commands.{path.stem}" for path in PACKAGE.glob("commands/[!_]*.py")), ("commands",)),
    "completion": (("completion", "completion.scripts"),),
    "config": (("config.changing",), ("config",), ("config.file", "config.values")),
    "console": (
        ("console.stage",),
        ("console", "console.board", "console.bars"),
        ("console.display", "console.table", "console.github", "console.unfinished", "console.asking"),
        ("console.live",),
        ("console.screen",),
    ),
    "doctor": (
        ("doctor",),
        ("doctor.settings", "doctor.reach", "doctor.files", "doctor.machine"),
        ("doctor.subject", "doctor.installed"),
        ("doctor.checks",),
    ),
    "download": (("download",), ("download.fetch", "download.body", "download.content"), ("download.addresses",)),
    "ledger": (("ledger",), ("ledger.database", "ledger.entry")),
    "manual": (
        ("manual",),
        ("manual.prose", "manual.plain", "manual.roff"),
        ("manual.page", "manual.blocks"),
    ),
    "sandbox": (("sandbox.server",), ("sandbox.painter", "sandbox.faults"), ("sandbox.predictions",)),
    "transport": (
        ("transport.probe",),
        ("transport",),
        ("transport.connections", "transport.answers"),
        ("transport.proxies", "transport.reasons"),
    ),
}
OWNERS = {
    "typer": {"__main__", "cli", "command_tree", "plain_commands", "commands"},
    "rich": {"console"},
    "requests": {"api", "download", "transport"},
    "urllib3": {"api", "download", "transport"},
    "platformdirs": {"config"},
    "sqlite3": {"ledger", "batch"},
    "fcntl": {"locks"},
    "shlex": {"hints", "sandbox"},  # its quotes are not those of a word that is made harmless
    "PIL": {"sandbox"},
    "http.server": {"sandbox"},
}


def name_of(path: Path) -> str:
    """Give a module's name as the rows have it: its dotted path within the package."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}
each_module = pytest.mark.parametrize("name", [name for name in MODULES if name])


def imports(name: str) -> Iterator[str]:
    """Yield every module that a module imports, at its top or inside."""
    for node in ast.walk(ast.parse(MODULES[name].read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if node.module == "http" or inner.removeprefix("cometrep.") in MODULES else node.module


def imports_of_own(name: str) -> Iterator[str]:
    """Yield every module of the package that a module imports, as the rows have it."""
    for imported in imports(name):
        package, _, target = imported.partition(".")
        if package == "cometrep" and target:
            yield target


def row_of(name: str, rows: tuple[tuple[str, ...], ...]) -> int:
    """Give the row a module stands in."""
    return next(number for number, row in enumerate(rows) if name in row)


@each_module
def test_imports_point_down(name: str) -> None:
    """A module imports only from rows below its own."""
    folder = name.partition(".")[0]
    for target in imports_of_own(name):
        below = target.partition(".")[0]
        rows, above, under = (INSIDE[folder], name, target) if below == folder else (ROWS, folder, below)
        assert row_of(under, rows) > row_of(above, rows), f"{name} imports {target}, which stands no lower"


def test_the_readme_has_the_map() -> None:
    """Each room stands in the README's picture of the house, in the order in which they import."""
    text = readme.ROOT.joinpath("README.md").read_text("utf-8").partition("## How it works")[2].split("```")[1]
    whole, _, inside = text.partition("\n\n")
    level = {room: number for number, row in enumerate(ROWS) for room in row}
    lines = [re.sub(r" +\w+[:,] .*", "", line)[len("use cases  ") :] for line in whole.splitlines()]
    drawn = [room for line in lines for room in re.findall(r"\w+", line)]
    assert set(level) == set(drawn)
    levels = [level[room] for room in drawn]
    assert levels == sorted(levels)
    for beside in (part for line in lines for part in line.split("──►")):
        assert len({level[room] for room in re.findall(r"\w+", beside)}) <= 1, beside
    for folder, rows in INSIDE.items():
        if folder != "commands":
            part = re.search(rf"^{folder}/(.*(?:\n .*)*)", inside, re.MULTILINE)
            assert part, folder
            shown = [set(row.split()) for row in part[1].split("──►")]
            assert shown == [{room.removeprefix(f"{folder}.") for room in row} for row in rows]


@each_module
def test_each_edge_has_one_owner(name: str) -> None:
    """Libraries that reach outside are imported by their owners alone."""
    for imported in imports(name):
        for library, owners in OWNERS.items():
            if imported == library or imported.startswith(library + "."):
                assert name.partition(".")[0] in owners, f"{name} imports {imported}"


@each_module
def test_the_environment_is_read_in_config_alone(name: str) -> None:
    """Nothing but config reads environment variables, and nothing prints."""
    for node in ast.walk(ast.parse(MODULES[name].read_text("utf-8"))):
        if isinstance(node, ast.Attribute) and node.attr in ("environ", "_environ", "getenv"):
            assert name == "config", f"{name} reads the environment"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id != "print", f"{name} prints"


def test_the_sandbox_is_an_independent_witness() -> None:
    """The sandbox shares nothing with the client but the errors."""
    rooms = [name for name in MODULES if name.partition(".")[0] == "sandbox"]
    own = {target for name in rooms for target in imports_of_own(name) if target.partition(".")[0] != "sandbox"}
    assert own == {"errors"}


def test_no_command_hides_a_type() -> None:
    """Python 3.14 reads annotations when they are asked for: `list` may be the module of the command by then."""
    annotations = [
        part
        for node in ast.walk(ast.parse(MODULES["commands"].read_text("utf-8")))
        if isinstance(node, ast.FunctionDef)
        for part in (node.returns, *(one.annotation for one in node.args.args + node.args.kwonlyargs))
        if part
    ]
    named = {node.id for part in annotations for node in ast.walk(part) if isinstance(node, ast.Name)}
    assert "Sequence" in named
    assert not named & {name.removeprefix("commands.") for name in MODULES if name.startswith("commands.")}


def loaded_by(*arguments: str, home: Path) -> set[str]:
    """Give the modules that a command line leaves loaded."""
    code = (
        "import sys\n"
        "from cometrep import __main__\n"
        f"sys.argv = ['cometrep', *{arguments!r}]\n"
        "code = __main__.main()\n"
        "sys.stderr.write('\\n'.join(sorted(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(PACKAGE.parent), "COMETREP_HOME": str(home)},
    )
    return set(done.stderr.split("\n"))


HEAVY = {
    "requests",
    "urllib3",
    "rich",
    "sqlite3",
    "http.server",
    "PIL",
    "cometrep.sandbox.server",
    "cometrep.runner",
}


@pytest.mark.parametrize(
    ("arguments", "absent"),
    [
        (("--version",), HEAVY | {"platformdirs", "tomllib", "importlib.metadata"}),
        (("--help",), HEAVY | {"platformdirs", "tomllib"}),
        (("run", "--help"), HEAVY),
        (("sandbox", "--help"), HEAVY),
        (("help", "run"), (HEAVY | {"cometrep.manual.roff"}) - {"sqlite3"}),
        (("config", "get", "base_url"), HEAVY),
        (("list",), HEAVY - {"sqlite3"}),
        (("status", "--sandbox", "abc"), {"rich", "cometrep.console.bars"}),
        (("batch", "--help"), HEAVY | {"csv", "cometrep.batch.run", "cometrep.batch.gallery"}),
        (("batch", "--status", "-d", "."), (HEAVY | {"csv", "cometrep.batch.run"}) - {"sqlite3"}),
        (("__complete", "ids", "--", ""), (HEAVY | {"typer"}) - {"sqlite3"}),
    ],
    ids=[
        "version",
        "help",
        "run help",
        "sandbox help",
        "a page",
        "config get",
        "list",
        "status off a terminal",
        "batch help",
        "batch status",
        "complete",
    ],
)
def test_a_command_loads_only_what_it_needs(arguments: tuple[str, ...], absent: set[str], tmp_path: Path) -> None:
    """Without a server there is neither requests nor the sandbox; off a terminal nothing that draws is loaded."""
    assert not absent & loaded_by(*arguments, home=tmp_path)


def asked_of_modules(path: Path) -> Iterator[tuple[str, str]]:
    """Yield each name that a file asks a module for, those of patches too; no module where a text has it alone."""
    bound: dict[str, str] = {}
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        match node:
            case ast.ImportFrom(module=str() as module, names=names):
                yield from ((module, alias.name) for alias in names)
                bound |= {alias.asname or alias.name: f"{module}.{alias.name}" for alias in names}
            case ast.Attribute(value=ast.Name(id=name), attr=attribute):
                yield bound.get(name, name), attribute
            case ast.Constant(value=str() as text) if re.fullmatch(r"[\w.]+", text):
                module, _, name = text.rpartition(".")
                yield module, name


def test_a_constant_that_nobody_else_asks_for_is_private() -> None:
    """What has no underscore is what a module offers."""
    files = [path for folder in ("cometrep", "tests") for path in (PACKAGE.parent / folder).rglob("*.py")]
    asked = {pair for path in files for pair in asked_of_modules(path)}
    wrong = [
        f"{name}: {target.id}"
        for name, path in MODULES.items()
        for node in ast.parse(path.read_text("utf-8")).body
        for targets in (node.targets if isinstance(node, ast.Assign) else ())
        for target in ast.walk(targets)
        if isinstance(target, ast.Name) and re.fullmatch("[A-Z][A-Z_]*", target.id)
        if not {(f"cometrep.{name}", target.id), ("", target.id)} & asked
    ]
    assert wrong == []
