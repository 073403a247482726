"""`--help` and `help TOPIC`: short, plain, the same everywhere, with examples that work."""

import re
import shutil
import signal
import subprocess
import sys

import pytest

from cometrep import cli as program
from cometrep import config
from cometrep.manual.page import Page
from tests.cli.test_terminal import Terminal
from tests.conftest import TIMEOUT_SECONDS, Cli
from tests.servers import SCHNELL

ROOT = program.pages()
EVERY_PAGE = [ROOT, *(one for page in ROOT.parts for one in (page, *page.parts))]
EVERY_EXAMPLE = [example for page in EVERY_PAGE for example in page.examples]
SHARED_PANELS = ["Arguments", "Input", "Waiting", "Saving", "Output", "Connection", "Options"]
WITH_A_TERMINAL = {
    "cometrep login",
    *(example for example in EVERY_EXAMPLE if example.startswith("cometrep sandbox")),
}
EXAMPLE_COLUMNS = 73  # what is left of 80 in a manual page


@pytest.mark.parametrize("page", EVERY_PAGE, ids=lambda page: page.name)
def test_help_is_plain(page: Page, cli: Cli) -> None:
    """The help is one sentence, usage, options under their panels, examples and the way to the page, all plain."""
    done = cli(*page.words[1:], "--help", env={"FORCE_COLOR": "1"})
    assert (done.code, done.stderr) == (0, "")
    opening, usage, *_ = done.stdout.split("\n\n")
    assert " ".join(opening.split()) == page.about
    assert re.fullmatch(r"[A-Z][^.]*\.", page.about)
    assert usage.startswith(f"Usage: {page.usage}")
    assert max(map(len, done.lines)) <= 80
    assert not [line for line in done.lines if line != line.rstrip()]
    assert done.stdout.isascii()
    assert not re.search(r"[\x1b`<>]|x>=|default:", done.stdout.partition("\nExamples:\n")[0])
    headings = re.findall(r"(?m)^([A-Z][A-Za-z-]+):$", done.stdout)
    shared = [heading for heading in headings if heading in SHARED_PANELS]
    assert shared == sorted(shared, key=SHARED_PANELS.index)
    assert headings[-2:] == ["Options", "Examples"]
    assert len(page.examples) >= 2
    examples, more = done.stdout.partition("Examples:\n")[2].split("\n\n")
    assert examples.splitlines() == [f"  {example}" for example in page.examples]
    assert more.split() == ["More:", "cometrep", "help", *page.words[1:2]]
    assert max(map(len, page.examples)) <= EXAMPLE_COLUMNS


@pytest.mark.parametrize("page", EVERY_PAGE, ids=lambda page: page.name)
def test_every_argument_and_option_is_explained(page: Page) -> None:
    """Each has a word or two about it; what takes a value has a plain word for the value."""
    for argument in page.arguments:
        assert argument.about
    for option in page.options:
        assert option.about
        assert re.fullmatch(r"|[A-Z][A-Z:/\[\]]*", option.metavar)


@pytest.mark.parametrize("command", ["run", "download", "rerun", "batch"])
def test_the_help_of_output_speaks_of_stdout_where_that_works(command: str, cli: Cli) -> None:
    """`-o -` is in the help of the commands that take it, and not in that of `batch`, which refuses it."""
    (page,) = (page for page in ROOT.parts if page.words[-1] == command)
    (told,) = (option.about for option in page.options if "-o" in option.names)
    assert told == "Saved name (see cometrep help templates)" + ("." if command == "batch" else "; - for stdout.")
    (cli.folder / "items.jsonl").write_text('{"prompt": "cat"}\n')
    words = {"batch": ["items.jsonl", "-m", "a/b"], "run": ["a/b"]}.get(command, ["@last"])
    done = cli(command, *words, "-o", "-", "--sandbox", *(["--dry-run"] if command in ("run", "batch") else []))
    assert ("-o - writes one file" in done.stderr) == (command == "batch")


@pytest.mark.parametrize("name", ["base_url", "timeout", "max_size", "progress", "sandbox_seconds"])
def test_the_help_of_an_option_tells_its_default(name: str) -> None:
    """An option that takes the value of a setting has the setting's default behind what it says."""
    option, default = config.option_for(name), config.SETTINGS[name].default
    told = [one.about for page in ROOT.parts for one in page.options if option in one.names]
    assert told
    assert not [about for about in told if f"(default {default})" not in about]


@pytest.mark.parametrize("columns", ["40", "200"])
def test_help_is_the_same_on_every_terminal(columns: str, cli: Cli) -> None:
    """The help is the same bytes however wide the terminal is."""
    assert cli("run", "--help", env={"COLUMNS": columns}).stdout == cli("run", "--help").stdout


@pytest.fixture
def world(cli: Cli) -> Cli:
    """The program on the path, with the sandbox behind it and what the examples name around it."""
    bin_folder = cli.home / "bin"
    bin_folder.mkdir()
    for name, line in {
        "cometrep": f'exec {sys.executable} -m cometrep "$@"',
        "pass": "echo sk-0123456789abcdef",
    }.items():
        (bin_folder / name).write_text(f"#!/bin/sh\n{line}\n")
        (bin_folder / name).chmod(0o755)
    cli.environment |= {
        "PATH": f"{bin_folder}:{cli.environment['PATH']}",
        "COMETREP_SANDBOX": "1",
        "COMETREP_SANDBOX_SECONDS": "0.05",
    }
    (cli.home / ".config" / "fish" / "completions").mkdir(parents=True)
    (cli.home / "cometrep").mkdir(mode=0o700)
    (cli.home / "cometrep" / "config.toml").touch(0o600)
    (cli.folder / "cat.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0" * 100)
    (cli.folder / "cat.txt").write_text("A cat, from behind")
    (cli.folder / "prompts.csv").write_text("prompt,seed\nA cat,7\n")
    (cli.folder / "prompts.jsonl").write_text('{"prompt": "A cat", "megapixels": "0.25"}\n')
    return cli


@pytest.mark.parametrize("line", [one for one in EVERY_EXAMPLE if one not in WITH_A_TERMINAL])
def test_an_example_works(line: str, world: Cli) -> None:
    """Every example of every command runs to its end as it is typed, without a warning."""
    if "jq" in line and not shutil.which("jq"):
        pytest.skip("jq is not installed")
    if "@last" in line or " list" in line:
        assert world("run", SCHNELL, "prompt=cat", "megapixels=0.25", "-q").code == 0
    if "--status" in line.split() and "batch" in line:
        assert world("batch", "prompts.jsonl", "-m", SCHNELL, "-q").code == 0
    done = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", line],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        cwd=world.folder,
        env=world.environment,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    assert (done.returncode, "warning:" in done.stderr) == (0, False), done.stderr


def test_the_example_of_login_asks(world: Cli) -> None:
    """`cometrep login`, as it is typed, asks on the terminal."""
    assert "cometrep login" in EVERY_EXAMPLE
    with Terminal(world, "login") as terminal:
        terminal.until("(not shown)")
        terminal.type(b"sk-0123456789abcdef\n")
        assert terminal.finish() == 0


@pytest.mark.parametrize("line", [one for one in EVERY_EXAMPLE if one.startswith("cometrep sandbox")])
def test_an_example_of_sandbox_serves(line: str, cli: Cli) -> None:
    """The examples that serve do so until they are stopped; the port is one that is free here."""
    arguments = line.replace(" --port 8787", "").split()[1:]
    process = cli.start(*arguments, "--port", "0")
    assert process.stdout
    assert process.stdout.readline().startswith(b"export COMETREP_BASE_URL=http://127.0.0.1:")
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=TIMEOUT_SECONDS)
    assert process.returncode == 130, stderr


def test_help_lists_its_topics(cli: Cli) -> None:
    """`help` alone lists every command, every part of one and the topics that commands share, with a line each."""
    done = cli("help")
    assert (done.code, done.stderr) == (0, "")
    listed = dict(re.findall(r"(?m)^    (\S+(?: \S+)?)  +([A-Z].+\.)$", done.stdout))
    commands = [" ".join(page.words[1:]) for page in EVERY_PAGE if page is not ROOT]
    shared = ["exit-codes", "environment", "json", "ids", "inputs", "templates"]
    assert list(listed) == ["cometrep", *commands, *shared]
    for page in ROOT.parts:
        assert listed[page.words[-1]] == page.in_short
    assert max(map(len, done.lines)) <= 80


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("run", "cometrep-run - create a prediction"),
        ("config set", "cometrep config set NAME VALUE [OPTIONS]"),
        ("exit-codes", "rate_limited (7)"),
        ("environment", "COMETREP_HOME"),
        ("json", "schema_version"),
        ("ids", "/predictions/ID"),
        ("inputs", "name@file"),
        ("templates", "{index}"),
    ],
)
def test_help_shows_a_topic(words: str, told: str, cli: Cli) -> None:
    """`help TOPIC` shows a command, a part of one or another topic, on stdout, as plain text."""
    done = cli("help", *words.split(), env={"FORCE_COLOR": "1", "COLUMNS": "40"})
    assert (done.code, done.stderr) == (0, "")
    assert told in done.stdout
    assert "\x1b" not in done.stdout
    assert max(map(len, done.lines)) <= 80


def test_a_wrong_topic_is_a_usage_error(cli: Cli) -> None:
    """A topic that is not there is exit 2 and names the nearest."""
    done = cli("help", "exitcode")
    assert (done.code, done.stdout) == (2, "")
    assert done.stderr == (
        "cometrep: there is no topic 'exitcode'; did you mean exit-codes?\nhint: cometrep help exit-codes\n"
    )


def test_help_needs_no_settings_and_no_terminal(cli: Cli) -> None:
    """Where the config file is broken, help still helps."""
    (cli.home / "cometrep").mkdir()
    (cli.home / "cometrep" / "config.toml").write_text("= broken")
    assert cli("help", "environment").code == 0
    assert cli("help", "inputs", env={"TERM": "dumb", "PAGER": "false"}).code == 0
