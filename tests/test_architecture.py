"""The house: imports point one way, and each edge to the outside has one owner."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "cometrep"

# From the top down; a module imports from rows below its own.
ROWS = (
    ("__main__",),
    ("cli",),
    ("commands",),
    ("session", "completion", "overview"),
    ("stage",),
    ("console", "sandbox", "manual", "signals"),
    ("batch", "board", "plan", "gallery", "doctor"),
    ("runner", "fate", "score", "gate"),
    ("keeping", "request", "record", "items"),
    ("ledger", "api", "reach", "download", "sidecar", "watch", "display", "table", "github", "unfinished"),
    ("transport", "partfile", "installed", "live", "pace", "database"),
    ("inputs", "catalog", "schedule", "config", "answers"),
    ("names", "config_file"),
    ("events",),
    ("prediction",),
    ("side_by_side",),
    ("addresses", "calls", "checks", "digest", "formats", "hashes", "json_values", "locks", "screen", "snapshot"),
    ("text",),
    ("errors",),
)
OWNERS = {
    "typer": {"__main__", "cli", "commands"},
    "rich": {"display", "board", "live", "table"},
    "requests": {"api", "download", "transport"},
    "urllib3": {"api", "download", "transport"},
    "platformdirs": {"config"},
    "sqlite3": {"database", "ledger", "record"},
    "fcntl": {"locks"},
    "PIL": {"sandbox"},
    "http.server": {"sandbox"},
}


def modules() -> Iterator[tuple[str, Path]]:
    """Yield each module's name, as the rows have it, and its path."""
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if parts != ("__init__",):
            yield parts[0], path


def imports(path: Path) -> Iterator[str]:
    """Yield every module that a file imports, at its top or inside."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            if node.module in ("cometrep", "http"):
                yield from (f"{node.module}.{alias.name}" for alias in node.names)
            else:
                yield node.module


def row_of(name: str) -> int:
    """Give the row a module stands in."""
    return next(i for i, row in enumerate(ROWS) if name in row)


@pytest.mark.parametrize(("name", "path"), list(modules()), ids=lambda value: getattr(value, "stem", str(value)))
def test_imports_point_down(name: str, path: Path) -> None:
    """A module imports only from rows below its own."""
    for imported in imports(path):
        first, _, rest = imported.partition(".")
        target = rest.split(".")[0]
        if first == "cometrep" and target not in ("", "__version__") and target != name:
            assert row_of(target) > row_of(name), f"{name} imports {target}, which stands beside or above it"


@pytest.mark.parametrize(("name", "path"), list(modules()), ids=lambda value: getattr(value, "stem", str(value)))
def test_each_edge_has_one_owner(name: str, path: Path) -> None:
    """Libraries that reach outside are imported by their owners alone."""
    for imported in imports(path):
        for library, owners in OWNERS.items():
            if imported == library or imported.startswith(library + "."):
                assert name in owners, f"{name} imports {imported}"


@pytest.mark.parametrize(("name", "path"), list(modules()), ids=lambda value: getattr(value, "stem", str(value)))
def test_the_environment_is_read_in_config_alone(name: str, path: Path) -> None:
    """Nothing but config reads environment variables, and nothing prints."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv"):
            assert name == "config", f"{name} reads the environment"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id != "print", f"{name} prints"


def test_the_sandbox_is_an_independent_witness() -> None:
    """The sandbox shares nothing with the client but the errors."""
    files = (PACKAGE / "sandbox").glob("*.py")
    own = {imported for path in files for imported in imports(path) if imported.startswith("cometrep")}
    assert {imported for imported in own if not imported.startswith("cometrep.sandbox")} == {"cometrep.errors"}


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


HEAVY = {"requests", "urllib3", "rich", "sqlite3", "http.server", "PIL", "cometrep.sandbox", "cometrep.runner"}


@pytest.mark.parametrize(
    ("arguments", "absent"),
    [
        (("--version",), HEAVY | {"platformdirs", "tomllib", "importlib.metadata"}),
        (("--help",), HEAVY | {"platformdirs", "tomllib"}),
        (("run", "--help"), HEAVY),
        (("config", "get", "base_url"), HEAVY),
        (("list",), HEAVY - {"sqlite3"}),
        (("batch", "--help"), HEAVY | {"csv", "cometrep.batch", "cometrep.gallery"}),
        (("batch", "--status", "-d", "."), (HEAVY | {"csv", "cometrep.batch"}) - {"sqlite3"}),
        (("__complete", "ids", "--", ""), (HEAVY | {"typer"}) - {"sqlite3"}),
    ],
    ids=["version", "help", "run help", "config get", "list", "batch help", "batch status", "complete"],
)
def test_a_command_loads_only_what_it_needs(arguments: tuple[str, ...], absent: set[str], tmp_path: Path) -> None:
    """Commands that talk to no server load neither requests nor rich nor the sandbox."""
    assert not absent & loaded_by(*arguments, home=tmp_path)
