"""Help, version, usage errors, and the form that every error has."""

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest

from cometrep import __version__, errors
from cometrep.cli import build, run
from cometrep.console import Console
from cometrep.errors import EXIT_CODES
from tests.conftest import Cli
from tests.servers import SCHNELL, Server, answer_json, prediction

TALKING = ("run", "create", "wait", "status", "download")
COMMANDS = (*TALKING, "list", "login", "logout", "config", "sandbox")
CONNECTION = "--sandbox --base-url --json --quiet --verbose --progress"
INPUT = "--input --dry-run --strict"
SAVING = "--output --dir --overwrite --skip-existing --sidecar"

# The options that the contract gives each command.
OPTIONS = {
    "run": f"{CONNECTION} {INPUT} {SAVING} --timeout --interval --logs --print",
    "create": f"{CONNECTION} {INPUT} --print",
    "wait": f"{CONNECTION} --timeout --interval --logs --print",
    "status": f"{CONNECTION} --print --exit-status",
    "download": f"{CONNECTION} {SAVING} --timeout --wait --print",
    "list": "--model --status --since --limit --json",
    "login": "--stdin",
    "logout": "",
    "config": "",
    "sandbox": "--port --seconds --wrapped --fault",
}


@pytest.mark.parametrize("command", COMMANDS)
def test_help_tells_the_options_and_shows_an_example(command: str, cli: Cli) -> None:
    """`--help` is on stdout, names every option of the contract, fits 80 columns and shows how it is typed."""
    done = cli(command, "--help")
    assert (done.code, done.stderr) == (0, "")
    shown = set(re.findall(r"(?<!\S)--[a-z-]+", done.stdout))
    assert set(OPTIONS[command].split()) <= shown
    text, _, examples = done.stdout.partition("\nExamples:\n")
    assert max(map(len, text.splitlines())) <= 80
    lines = examples.partition("\n\n")[0].splitlines()
    assert lines
    for line in lines:
        assert re.search(rf"cometrep {command}\b", line)
        assert shlex.split(line)
    assert "\x1b" not in done.stdout
    assert done.stdout.endswith("\n")


def contents(help_text: str) -> dict[str, str]:
    """Read the commands and their sentences from the first page of the help."""
    return dict(re.findall(r"(?m)^  ([a-z]+) +([A-Z].+)$", help_text))


def test_the_first_page_names_every_command(cli: Cli) -> None:
    """`cometrep --help` lists the commands with a sentence each; `-h` does the same."""
    done = cli("--help")
    assert (done.code, done.stderr) == (0, "")
    found = contents(done.stdout)
    assert [command for command in found if command in COMMANDS] == list(COMMANDS)
    assert all(sentence.endswith(".") for sentence in found.values())
    assert cli("-h").stdout == done.stdout


@pytest.mark.parametrize("command", ["show", "get", "set", "unset", "path"])
def test_each_part_of_config_shows_an_example(command: str, cli: Cli) -> None:
    """The parts of `config` explain themselves and show how they are typed."""
    done = cli("config", command, "--help")
    assert (done.code, done.stderr) == (0, "")
    usage, _, examples = done.stdout.partition("\nExamples:\n")
    assert f"\nUsage: cometrep config {command} " in usage
    assert f"  cometrep config {command}" in examples


def test_the_help_of_sandbox_names_its_faults(cli: Cli) -> None:
    """Who reads `sandbox --help` finds the kinds of fault there are."""
    assert "truncate" in cli("sandbox", "--help").stdout


def test_the_version_is_one_line(cli: Cli) -> None:
    """`--version` prints `cometrep X.Y.Z` and nothing else."""
    done = cli("--version")
    assert (done.code, done.stdout, done.stderr) == (0, f"cometrep {__version__}\n", "")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("", "no command was given"),
        ("frobnicate", "no such command 'frobnicate'"),
        ("whoami", "no such command 'whoami', in: cometrep whoami; usage: "),
        ("Stauts", "in: cometrep Stauts; usage: cometrep COMMAND [ARGS]...; did you mean status?"),
        ("cancel x", "no such command 'cancel': the API documents no way to end a prediction, in: "),
        ("--nope", "no such option: --nope"),
        ("--nope run", "no such option: --nope"),
        ("--logs list", "no such option: --logs"),
        ("config frobnicate", "no such command 'frobnicate' of config; it has show, get, set, unset, path"),
        ("config cancel", "no such command 'cancel' of config; it has show, get, set, unset, path"),
        ("run", "missing argument 'MODEL'"),
        ("wait", "missing argument 'ID...'"),
        ("status", "missing argument 'ID...'"),
        ("download", "missing argument 'ID...'"),
        ("create --nope", "no such option: --nope, in: "),
        ("run --tiemout 3", "[OPTIONS]; did you mean --timeout?"),
        ("run a/b --dry", "[OPTIONS]; did you mean --dry-run?"),
        ("status --wait x", "no such option: --wait, in: "),
        ("create a/b prompt=x --print", "--print"),
        ("create a/b prompt=x --print nothing", "id, status, path, url, output"),
        ("status x --json=yes", "--json"),
        ("status x --progress loud", "auto, bar, lines, json, none"),
        ("status x --timeout 3", "no such option: --timeout"),
        ("create a/b prompt=x -o x", "no such option: -o"),
        ("logout extra", "too many arguments: extra, in: cometrep logout extra; usage: "),
        ("list -n 0", "cometrep: --limit 0 is not between 1 and 1000000000, in: "),
        ("batch a.csv --max-failures 0", "cometrep: --max-failures 0 is less than 1, in: "),
        ("sandbox --port high", "cometrep: --port 'high' is not a whole number, in: "),
    ],
)
def test_a_wrong_command_line_is_exit_2_in_two_lines(line: str, told: str, cli: Cli) -> None:
    """Every usage error names what is wrong and what to type instead, on stderr alone, in exactly two lines."""
    done = cli(*shlex.split(line))
    assert (done.code, done.stdout) == (2, "")
    assert told in done.stderr
    assert re.fullmatch(r"cometrep: .+\nhint: .+\n", done.stderr)
    assert "Traceback" not in done.stderr
    assert "(" not in done.stderr.splitlines()[1], "it can be typed as it stands"


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("run a/b --prompt 'a red fox'", "write prompt='a red fox'"),
        ("create a/b '--prompt=it'\"'\"'s a fox'", "write prompt='it'\"'\"'s a fox'"),
        ("batch a.csv --aspect-ratio 1:1", "write aspect_ratio=1:1"),
        ("rerun @last --image fox.png", "write image@fox.png"),
        ("run a/b --seed", "write seed=…"),
        ("""create a/b -d '{"prompt": "a fox"}'""", "write prompt='a fox'"),
        ("""create a/b --data='{"seed": 7}'""", "write seed:=7"),
        ("create a/b -d pictures", "cometrep create --help"),
        (f"""batch a.csv --data='{{"prompt": "{"x" * 300}"}}'""", "cometrep batch --help"),
        ("wait @last --prompt x", "cometrep wait --help"),
        ("batch a.csv --interval 1", "cometrep batch --help"),
    ],
)
def test_an_input_that_is_typed_as_an_option_is_known(line: str, hint: str, cli: Cli) -> None:
    """The hint is the item that was meant, not an option that is spelt alike."""
    done = cli(*shlex.split(line))
    assert done.code == 2
    assert done.stderr.endswith(f"\nhint: {hint}\n")
    assert "did you mean" not in done.stderr


@pytest.mark.parametrize("line", ["status --json", "--json --nope", "create nonsense prompt=x --json"])
def test_a_wrong_command_line_is_json_where_that_was_asked_for(line: str, cli: Cli) -> None:
    """With `--json` a usage error is one object on stderr with every key of the form."""
    done = cli(*line.split())
    assert (done.code, done.stdout) == (2, "")
    (error,) = (json.loads(line)["error"] for line in done.stderr.splitlines())
    assert list(error) == [
        "code",
        "message",
        "hint",
        "exit_code",
        "prediction_id",
        "request_id",
        "http_status",
    ]
    assert error["exit_code"] == 2
    assert error["message"]
    assert error["hint"]


def test_a_prediction_of_the_sandbox_is_looked_for_there(cli: Cli) -> None:
    """Who tried the sandbox first, and leaves it out in the next command, is told where the prediction is."""
    id = cli("create", "--sandbox", SCHNELL, "prompt=cat").stdout.strip()
    for command in ("status", "download"):
        done = cli(command, id)
        assert (done.code, done.stdout) == (3, "")
        assert done.stderr.splitlines()[0] == f"cometrep: no API key is set, and {id} was made in the sandbox"
        assert done.stderr.splitlines()[1] == f"hint: cometrep {command} --sandbox {id}"
        with_key = cli(command, "--", id, env={"COMETAPI_KEY": "sk-of-the-api-itself"})
        assert (with_key.code, with_key.stdout) == (2, "")
        assert with_key.stderr.splitlines()[0] == f"cometrep: {id} was made in the sandbox"
        assert with_key.stderr.splitlines()[1] == f"hint: cometrep {command} --sandbox {id}"
    again = cli("rerun", id, "--dry-run")
    assert (again.code, again.stdout) == (2, "")
    assert again.stderr.splitlines()[0] == f"cometrep: {id} was made in the sandbox"
    assert cli.shell_line(again.stderr.splitlines()[1].removeprefix("hint: ")).code == 0


def test_without_a_key_it_says_how_to_get_one(cli: Cli, server: Server) -> None:
    """Every command that talks to the API is exit 3 without a key, before a request, and names login."""
    arguments = {"run": (SCHNELL, "prompt=cat"), "create": (SCHNELL, "prompt=cat")}
    for command in TALKING:
        done = cli(command, *arguments.get(command, ("abc123",)), "--base-url", server.url)
        assert (done.code, done.stdout) == (3, "")
        assert "no API key is set" in done.stderr
        assert "cometrep login" in done.stderr
    for command in ("status", "wait", "download"):
        done = cli(command, "abc123", "def456", "--base-url", server.url)
        assert (done.code, len(done.stderr.splitlines())) == (3, 2)  # it is told once for all
    assert server.received == []


def test_an_http_error_shows_status_message_and_request_id(served: Cli, server: Server) -> None:
    """The two lines of an API error carry the HTTP status, the API's own words and the request id."""
    server.on_create(answer_json({"detail": "prompt is too long"}, 422, headers={"x-request-id": "req-9"}))
    done = served("create", SCHNELL, "prompt=cat")
    assert done.code == 8
    first, second = done.stderr.splitlines()
    assert first.startswith("cometrep: ")
    for told in ("422", "prompt is too long", "req-9"):
        assert told in first
    assert second.startswith("hint: ")


def test_a_refused_key_is_named_by_its_end(served: Cli, server: Server) -> None:
    """Which key was refused is told by its last four characters, as `config show` does, which tells its origin."""
    server.on_get(answer_json({"detail": "no"}, 401))
    done = served("status", "abc")
    (key,) = re.findall(r"the API key (…\w{4}) is refused", done.stderr)
    (line,) = (line for line in served("config", "show").lines if key in line)
    assert "COMETAPI_KEY" in line


def test_exit_codes_are_those_of_the_contract() -> None:
    """The table of exit codes holds the contract's, and the hang-up beside them."""
    assert set(EXIT_CODES) == {*range(13), 129, 130, 141, 143}


def test_a_fault_of_our_own_keeps_its_traceback(served: Cli, server: Server) -> None:
    """What cometrep does not foresee is exit 1 with the traceback that a report of it needs."""
    server.on_get(answer_json(prediction("abc", "processing")))
    (served.folder / "sitecustomize.py").write_text(
        "import json\n\ndef dumps(*_, **__):\n    raise ZeroDivisionError('planted')\n\njson.dumps = dumps\n"
    )
    broken = {"PYTHONPATH": f"{served.folder}:{served.environment['PYTHONPATH']}"}
    done = served("status", "abc", "--json", env=broken)
    assert (done.code, done.stdout) == (1, "")
    assert "Traceback" in done.stderr
    assert "planted" in done.stderr


def test_a_file_of_its_own_that_is_gone_is_told(served: Cli, server: Server) -> None:
    """As where an upgrade is under way: it is no bug, and nothing was sent."""
    copy = served.folder / "copy"
    shutil.copytree(
        Path(errors.__file__).parent,
        copy / "cometrep",
        ignore=shutil.ignore_patterns("catalog.json", "__pycache__"),
    )
    done = served("create", SCHNELL, "prompt=cat", env={"PYTHONPATH": str(copy)})
    assert (done.code, done.stdout, server.received) == (12, "", [])
    lost = copy / "cometrep" / "catalog.json"
    assert done.stderr == (
        f"cometrep: cometrep's own file {lost} cannot be read: No such file or directory\nhint: install it again\n"
    )


@pytest.mark.parametrize(
    ("typed", "ordered"),
    [
        ("--sandbox run a/b 'prompt=a cat'", "run --sandbox a/b 'prompt=a cat'"),
        ("-q list", "list -q"),
        ("-d batch run a/b x=1", "run -d batch a/b x=1"),
        ("-qo run download p1", "download -qo run p1"),
        ("config --json show", "config show --json"),
        ("--json config show", "config show --json"),
        (
            "--base-url https://x.test --progress=none wait abc",
            "wait --base-url https://x.test --progress=none abc",
        ),
    ],
)
def test_an_option_before_its_command_is_put_behind_it(typed: str, ordered: str) -> None:
    """The hint is the command line as it is to be typed."""
    with pytest.raises(errors.UsageError, match="goes behind the command, in: ") as raised:
        run(shlex.split(typed), Console(None, None, None, lambda name: ""))
    assert raised.value.hint == f"cometrep {ordered}"


def refused(typed: str) -> errors.UsageError:
    """Give the error of a command line that is wrong."""
    with pytest.raises(errors.UsageError) as raised:
        run(shlex.split(typed), Console(None, None, None, lambda name: ""))
    return raised.value


@pytest.mark.parametrize(
    ("typed", "hint"),
    [
        (f"run -m {SCHNELL} prompt=fox --dry-run", f"run {SCHNELL} prompt=fox --dry-run"),
        (f"run 'prompt=a fox' -m{SCHNELL} --sandbox", f"run {SCHNELL} 'prompt=a fox' --sandbox"),
        (f"create --sandbox --model={SCHNELL} seed=7", f"create {SCHNELL} --sandbox seed=7"),
        ("create prompt=fox --model", "create OWNER/NAME prompt=fox"),
        ("run -m --dry-run", "run OWNER/NAME --dry-run"),
        (f"run prompt=x -o -m.png -m {SCHNELL}", f"run {SCHNELL} prompt=x -o -m.png"),
        (f"run {SCHNELL} prompt=x -m stability-ai/sdxl", "run stability-ai/sdxl prompt=x"),
        ("rerun @last -m a/b", "rerun --help"),
        ("run a/b --no-overwrites -o x.webp", "run a/b -o x.webp"),
        ("run a/b --dont-overwrite", "run a/b"),
        ("batch f --no-retry-failed", "batch f"),
        ("batch f --no-retry-unknown", "batch f"),
        ("run a/b --no-progress p=1", "run a/b --progress=none p=1"),
        ("run a/b --no-such-thing", "run --help"),
        ("search flux", "models"),
        ("model list", "models"),
        ("modles a/b", "models a/b"),
        ("model a/b", "models a/b"),
        ("run a/b p=1 -m --dry-run", "run a/b p=1 --dry-run"),
        ("run a/b --overwrite --no-overwrite", "run --help"),
        ("run a/b --no-sandbox", "run --help"),
        ("run a/b -q --no-quiet", "run --help"),
        ("run a/b -vq --no-quiet", "run --help"),
        ("run a/b -v --no-quiet", "run a/b -v"),
        ("create a/b --model prompt=x", "create a/b prompt=x"),
        ("logs @last", "wait @last"),
        ("completion --shell bash", "completion --help"),
        ("run a/b --output-directory x", "run a/b --dir x"),
        ("version", "--version"),
        ("-V", "--version"),
        ("-v", "--version"),
        ("run --version", "--version"),
        ("config set timeout=5m", "config set timeout 5m"),
        ("config set 'dir=my pictures'", "config set dir 'my pictures'"),
        ("config set timeout", "config set --help"),
        ("Stauts abc --json", "status abc --json"),
        ("run a/b --tiemout=3 prompt=x", "run a/b --timeout=3 prompt=x"),
        ("retry @last", "rerun @last"),
        ("view abc", "status abc"),
        ("config list --json", "config show --json"),
        ("config view", "config show"),
        (f"run --output-dir 'my out' {SCHNELL}", f"run --dir 'my out' {SCHNELL}"),
        (f"run {SCHNELL} -o x.png -f", f"run {SCHNELL} -o x.png --overwrite"),
        (f"run {SCHNELL} -o x.png -qf", "run --help"),
        ("list -L 5", "list --limit 5"),
        ("batch p.csv --parallel=8", "batch p.csv --jobs=8"),
        ("run a/b --parallel 8", "run --help"),
        ("batch p.csv --resume -m a/b", "batch p.csv -m a/b"),
        ("batch p.csv --continue=yes", "batch p.csv"),
        ("run a/b --resume", "run --help"),
        ("login --with-token", "login --stdin"),
        ("run a/b --dirc.at seed=7", "run a/b --dir=c.at seed=7"),
        ("run a/b --dircats seed=7", "run --help"),
        ("run a/b --output-file cat.webp", "run a/b --output cat.webp"),
        ("wait a --timeout-seconds 5", "wait a --timeout 5"),
        ("run a/b --output_dir2 cats", "run a/b --output cats"),
        ("batch p.csv --jobs4 --sandbox", "batch p.csv --jobs=4 --sandbox"),
        ("run a/b --dirs cats", "run a/b --dir cats"),
        ("run a/b --bogus", "run --help"),
        ("run a/b --utput cat.webp", "run a/b --output cat.webp"),
        ("status a --input in.json", "status --help"),
        ("list --exit-status", "list --help"),
    ],
)
def test_the_command_that_was_meant_is_the_hint(typed: str, hint: str) -> None:
    """As it is in other programs, or in this one's other commands, with all that was typed beside it."""
    assert refused(typed).hint == f"cometrep {hint}"


@pytest.mark.parametrize(
    ("typed", "near", "hint"),
    [
        ("list --pruned 90d", "--prune", "list --help"),
        ("batch p.csv --retry-unknwon", "--retry-unknown", "batch --help"),
        ("logni", "login", "--help"),
        ("auth login", "login", "--help"),
        ("loguot", "logout", "--help"),
        ("config unste timeout", "unset", "config --help"),
    ],
)
def test_what_removes_or_changes_is_asked_for_and_not_written_out(typed: str, near: str, hint: str) -> None:
    """Spelling is no ground for removing entries, nor for paying twice; a hint is copied unread."""
    error = refused(typed)
    assert error.message.endswith(f"; did you mean {near}?")
    assert error.hint == f"cometrep {hint}"


@pytest.mark.parametrize(
    "typed",
    [
        "login {}",
        "run a/b p=1 --api-key {}",
        "status x --token={}",
        "run a/b --auth-token {}",
        "run a/b --cometapi-key {}",
        "list --frob --api_key {}",
        "login --key {}",
        "login --key={}",
        "login --stdin {}",
        "login --stdin={}",
        "config set api_key={}",
        "config set api-key={}",
        "config set key=sk-{}",
        "config set token sk-{}",
    ],
)
def test_a_key_that_is_typed_as_an_argument_is_not_repeated(typed: str) -> None:
    """Whatever it looks like."""
    error = refused(typed.format("abcdef123456"))
    assert error.hint == "cometrep login"
    assert error.message.startswith("the API key is never an argument")
    assert "abcdef" not in error.message


@pytest.mark.parametrize(
    "typed", ["batch f.csv --key name", "run a/b -o --token --bogus", "run a/b --prompt --bogus"]
)
def test_what_is_called_a_key_elsewhere_is_none_here(typed: str) -> None:
    """A batch's items have keys, and the name of a file may be any."""
    assert refused(typed).message.startswith("no such option: --")


def test_a_mistyped_option_of_login_is_no_key() -> None:
    """What is spelt as one of its own, or is another command's, is told as ever."""
    assert "did you mean --stdin?" in refused("login --stidn").message
    for option in ("--json", "--base-url http://127.0.0.1:1", "--base-url=http://127.0.0.1:1", "--timeout 5m"):
        name = re.split("[ =]", option)[0]
        assert refused(f"login --stdin {option}").message.startswith(f"no such option: {name}")


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("list -n=many", "'many' is not a whole number"),
        ("batch a.csv -j=0", "--jobs 0 is not between 1 and 1000"),
        ("run a/b -o=", "--output '' names no file"),
        ("list -q=1", "no such option: -="),
    ],
)
def test_a_short_option_takes_its_value_behind_a_sign_too(typed: str, told: str) -> None:
    """As in gh and httpie: `-o=cat.webp` does not name a file `=cat.webp`; a switch has no value."""
    assert told in refused(typed).message


@pytest.mark.parametrize(
    ("typed", "output"),
    [
        ("-o -d=x", "-d=x"),
        ("--output -d=x", "-d=x"),
        ("-o=-d=x", "-d=x"),
        ("-qo=d.txt", "d.txt"),
        ("-qo -d=x", "-d=x"),
        ("-o --", "--"),
        ("-o items", "items"),
        ("-o -", "-"),
        ("-o=--json", "--json"),
    ],
)
def test_a_value_that_looks_like_an_option_is_a_value(typed: str, output: str) -> None:
    """The hints of cometrep itself write `-o -d=x` for a file of that name."""
    ctx = build("run").make_context("run", ["a/b", *typed.split()])
    assert (ctx.params["output"], ctx.params["dir"], ctx.params["items"]) == (output, None, ())


@pytest.mark.parametrize(
    ("typed", "told", "hint"),
    [
        (
            "run a/b -o=x -d --sandbox p=1",
            "-d takes a value, DIR, and --sandbox",
            "run a/b -o=x -d DIR --sandbox p=1",
        ),
        ("run a/b -qo --dry-run", "-o takes a value, TEMPLATE, and --dry-run", "run a/b -qo TEMPLATE --dry-run"),
        ("wait @2 --timeout -q", "--timeout takes a value, DURATION, and -q", "wait @2 --timeout DURATION -q"),
        ("batch f --dir --jobs=4", "--dir takes a value, DIR, and --jobs=4", "batch f --dir DIR --jobs=4"),
        ("batch f -d -qv", "-d takes a value, DIR, and -qv", "batch f -d DIR -qv"),
        ("run a/b -d -dry-run", "-d takes a value, DIR, and -dry-run", "run a/b -d DIR --dry-run"),
    ],
)
def test_an_option_is_no_value_of_another(typed: str, told: str, hint: str) -> None:
    """Where a variable was to give that and is not set, `--sandbox` would be lost, and the create be paid for."""
    error = refused(typed)
    assert error.message == f"{told} is an option"
    assert error.hint == f"cometrep {hint}"


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("run a/b -dry-run p=1", "run a/b --dry-run p=1"),
        ("run a/b -qdry-run p=1", "run a/b -q --dry-run p=1"),
        ("run a/b -output=y.webp", "run a/b --output=y.webp"),
        ("run a/b -overwrite", "run a/b --overwrite"),
        ("run a/b -dir y", "run a/b --dir y"),
        ("batch f -json", "batch f --json"),
        ("batch f -model x/y", "batch f --model x/y"),
        ("list -limit 3", "list --limit 3"),
    ],
)
def test_a_long_option_with_one_dash_is_no_short_one_with_a_value(typed: str, meant: str) -> None:
    """`-dry-run` would name a folder `ry-run`, and the create be paid for."""
    error = refused(typed)
    assert error.message.endswith(", which has two dashes")
    assert error.hint == f"cometrep {meant}"


@pytest.mark.parametrize(
    ("typed", "folder"), [("-ddry", "dry"), ("-d dry-run", "dry-run"), ("-qdoutput", "output")]
)
def test_a_value_behind_a_short_option_is_a_value(typed: str, folder: str) -> None:
    """Also where it has the name of an option, or a part of it."""
    assert build("run").make_context("run", ["a/b", *typed.split()]).params["dir"] == folder


def test_behind_two_dashes_there_is_no_option() -> None:
    """What stands there is an input, whatever it looks like."""
    ctx = build("run").make_context("run", ["-o=cat.webp", "-d", "new", "--", "a/b", "-o=x", "prompt=-o=y"])
    assert (ctx.params["output"], ctx.params["dir"]) == ("cat.webp", "new")
    assert ctx.params["items"] == ("-o=x", "prompt=-o=y")


def test_two_dashes_before_the_command_are_no_part_of_it() -> None:
    """Hints are made from the words that follow the command's name."""
    console = Console(None, None, None, lambda name: "")
    with pytest.raises(errors.UsageError, match="no such command 'frobnicate'"):
        run(["--", "frobnicate", "p1"], console)
    assert console.command_line == "cometrep frobnicate p1"


def test_a_misspelt_variable_is_warned_of(cli: Cli) -> None:
    """Before anything is paid for, as far as that can be; and of a key that is blank it is said which one is."""
    done = cli("status", "abc", env={"COMETREP_SANBOX": "1", "COMETAPI_KEY": ""})
    assert done.code == 3
    assert "cometrep: warning: COMETREP_SANBOX is no setting; did you mean COMETREP_SANDBOX?\n" in done.stderr
    assert "no API key is set, as COMETAPI_KEY is blank; keys are made at " in done.stderr
