"""`cometrep config`: settings, where each comes from, and what they do."""

import json
import re
import shlex
from pathlib import Path

import pytest

from tests.conftest import KEY, Cli
from tests.servers import SCHNELL, WEBP, Answer, Server, answer_json, picture, prediction

NAMES = ("api_key", "base_url", "timeout", "dir", "output", "progress", "sandbox")


def write(cli: Cli, text: str) -> Path:
    """Write the config file, readable by its owner alone, and give its path."""
    path = cli.home / "cometrep" / "config.toml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o600)
    return path


def test_show_names_every_setting_with_its_origin(cli: Cli) -> None:
    """Each setting is a line of name, value and origin: variable, file or default; of the key its end alone."""
    path = write(cli, 'timeout = "5m"\ndir = "pics"\nsandbox = true\n')
    env = {"COMETAPI_KEY": KEY, "COMETREP_DIR": "elsewhere", "COMETREP_PROGRESS": " "}
    done = cli("config", "show", env=env)
    assert (done.code, done.stderr) == (0, "")
    rows = {row[0]: tuple(row[1:]) for row in (line.split("\t") for line in done.lines)}
    assert set(NAMES) <= set(rows)
    assert rows["api_key"] == ("…abcd", "COMETAPI_KEY")
    assert rows["base_url"] == ("https://api.cometapi.com", "default")
    assert rows["timeout"] == ("5m", str(path))
    assert rows["dir"] == ("elsewhere", "COMETREP_DIR")
    assert rows["progress"] == ("auto", "default")
    assert rows["sandbox"] == ("true", str(path))
    shown = json.loads(cli("config", "show", "--json", env=env).stdout)
    assert {name: (one["value"], one["origin"]) for name, one in shown.items()} == rows
    assert KEY not in done.stdout


@pytest.mark.parametrize("option", ["--timeout", "--max-size", "--progress", "--base-url"])
def test_a_bad_option_hints_at_its_form(option: str, cli: Cli) -> None:
    """The hint can be typed in its place, and so can that of `config set`."""
    done = cli("run", SCHNELL, "prompt=cat", "--dry-run", option, "bad")
    form = re.fullmatch(rf"cometrep: {option} 'bad' is .+\nhint: ({option} \S+)\n", done.stderr)
    assert (done.code, bool(form)) == (2, True)
    assert cli("run", SCHNELL, "prompt=cat", "--dry-run", *(form[1] if form else "").split()).code == 0
    done = cli("config", "set", option[2:].replace("-", "_"), "bad")
    assert done.code == 2
    assert cli(*done.stderr.splitlines()[-1].removeprefix("hint: ").split()[1:]).code == 0


def test_a_bad_setting_hides_no_other(cli: Cli) -> None:
    """`show` lists all, the bad ones with what is wrong, and exits 3; `get` of another works."""
    write(cli, 'dir = "pics"\nmax_size = "much"\n')
    env = {"COMETREP_TIMEOUT": "abc"}
    done = cli("config", "show", env=env)
    assert done.code == 3
    told = "COMETREP_TIMEOUT 'abc' is not a duration like 90, 90s, 10m or 1h30m"
    *warnings, error, hint = done.stderr.splitlines()
    assert (error, hint) == (f"cometrep: {told}", "hint: unset COMETREP_TIMEOUT")
    assert len(warnings) == 1  # each on a line of its own, which no table cuts
    assert "max_size 'much' is not a size" in warnings[0]
    rows = {row[0]: row[1:] for row in (line.split("\t") for line in done.lines)}
    assert set(NAMES) <= set(rows)
    assert rows["timeout"] == ["", told]
    assert "'much' is not a size" in rows["max_size"][1]
    assert rows["dir"][0] == "pics"
    facts = json.loads(cli("config", "show", "--json", env=env).stdout)
    assert facts["timeout"] == {"value": None, "origin": None, "error": told}
    assert facts["dir"]["value"] == "pics"
    assert cli("config", "get", "base_url", env=env).stdout == "https://api.cometapi.com\n"
    assert cli("config", "get", "timeout", env=env).code == 3


def test_a_broken_file_hides_no_variable(cli: Cli) -> None:
    """What the environment gives is shown; what the file may hold is not guessed."""
    write(cli, "dir = pics\n")
    env = {"COMETREP_TIMEOUT": "5m"}
    done = cli("config", "show", env=env)
    assert done.code == 3
    assert "does not parse" in done.stderr
    assert "timeout\t5m\tCOMETREP_TIMEOUT" in done.lines
    assert cli("config", "get", "timeout", env=env).stdout == "5m\n"
    assert cli("config", "get", "dir", env=env).code == 3


def test_what_is_no_setting_can_be_removed(cli: Cli) -> None:
    """`show` warns of it, with the command that removes it, which is doctor's fix too; all else stays."""
    path = write(cli, '# mine\ntimeot = "5m"\ndir = "pics"\n')
    done = cli("config", "show")
    assert done.code == 0
    fix = "cometrep config unset timeot"
    assert done.stderr == f"cometrep: warning: {path} sets timeot, which is no setting: {fix}\n"
    assert f"\t{fix}\n" in cli("doctor", env={"COMETREP_BASE_URL": "http://127.0.0.1:9"}).stdout
    assert cli(*fix.split()[1:]).code == 0
    assert path.read_text() == '# mine\ndir = "pics"\n'
    assert cli("config", "show").stderr == ""


def test_set_get_and_unset_change_the_file(cli: Cli) -> None:
    """`set` writes a setting, `get` prints it alone, `unset` takes it away; comments and other lines stay."""
    path = write(cli, '# mine\n[table]\ntimeout = "9h"\n')
    done = cli("config", "set", "timeout", "10m")
    assert (done.code, done.stdout) == (0, "")
    assert str(path) in done.stderr
    assert cli("config", "get", "timeout").stdout == "10m\n"
    assert path.read_text() == '# mine\ntimeout = "10m"\n[table]\ntimeout = "9h"\n'
    assert cli("config", "set", "output", 'a "b"\\{index}.{ext}').code == 0
    assert cli("config", "get", "output").stdout == 'a "b"\\{index}.{ext}\n'
    unset = cli("config", "unset", "timeout")
    assert (unset.code, "timeout was removed from" in unset.stderr) == (0, True)
    assert "timeout is not set in" in cli("config", "unset", "timeout").stderr
    assert cli("config", "unset", "output").code == 0
    assert cli("config", "get", "timeout").stdout == "30m\n"
    assert path.read_text() == '# mine\n[table]\ntimeout = "9h"\n'
    assert path.stat().st_mode & 0o777 == 0o600


def test_path_says_where_the_file_is(cli: Cli) -> None:
    """`config path` is under COMETREP_HOME where that is set, else in the user's config folder, existing or not."""
    assert cli("config", "path").stdout == f"{cli.home}/cometrep/config.toml\n"
    env = {"COMETREP_HOME": "", "XDG_CONFIG_HOME": str(cli.home / "xdg")}
    assert cli("config", "path", env=env).stdout == f"{cli.home}/xdg/cometrep/config.toml\n"
    assert not (cli.home / "xdg").exists()


def test_without_a_home_of_its_own_files_go_where_the_platform_says(cli: Cli, server: Server) -> None:
    """The key is kept in the user's config folder and the ledger in the state folder, both private."""
    env = {"COMETREP_HOME": "", "COMETREP_BASE_URL": server.url}
    env |= {f"XDG_{name}_HOME": str(cli.home / name.lower()) for name in ("CONFIG", "STATE", "CACHE")}
    server.on_create(answer_json(prediction(status="starting")))
    assert cli("login", "--stdin", stdin=KEY, env=env).code == 0
    assert cli("create", SCHNELL, "prompt=cat", env=env).code == 0
    found = {path.relative_to(cli.home).as_posix(): path.stat().st_mode & 0o777 for path in cli.home.rglob("*")}
    assert found["config/cometrep/config.toml"] == 0o600
    assert found["state/cometrep/ledger.sqlite3"] == 0o600
    assert not any(name.startswith("cache") for name in found)
    assert (found["config/cometrep"], found["state/cometrep"]) == (0o700, 0o700)


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (("get", "nope"), "'nope' is not a setting"),
        (("set", "nope", "1"), "'nope' is not a setting"),
        (("unset", "nope"), "'nope' is not a setting"),
        (("set", "timeout", "soon"), "'soon'"),
        (("set", "progress", "loud"), "auto, bar, lines, json, none"),
        (("set", "sandbox", "perhaps"), "neither true nor false"),
        (("set", "base_url", "http://api.example.com"), "plain http"),
        (("set", "base_url", "example.com"), "not a URL"),
        (("set", "api_key", KEY), "never an argument"),
        (("set", "timeout"), "missing argument"),
        (("frobnicate",), "no such command"),
        ((), "missing command"),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, tuple) else "",
)
def test_what_is_no_setting_is_refused(command: tuple[str, ...], told: str, cli: Cli) -> None:
    """An unknown name, a bad value and the key as an argument are exit 2, and no file is written."""
    done = cli("config", *command)
    assert (done.code, done.stdout) == (2, "")
    assert told in done.stderr
    assert re.fullmatch(r"cometrep: .+\nhint: .+\n", done.stderr)
    if "api_key" not in command:
        assert KEY not in done.stderr
    assert not (cli.home / "cometrep").exists()


@pytest.mark.parametrize(
    ("command", "hint"),
    [
        (("get", "Timeout"), "cometrep config get timeout"),
        (("set", "Timeout", "5"), "cometrep config set timeout 5"),
        (("set", "Dir", "my pictures"), "cometrep config set dir 'my pictures'"),
        (("set", "dirs", ""), "cometrep config unset dir"),
        (("unset", "Timeout"), "cometrep config unset timeout"),
        (("set", "api-key", KEY), "cometrep login"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_mistyped_setting_hints_at_the_command_that_was_meant(
    command: tuple[str, ...], hint: str, cli: Cli
) -> None:
    """The hint is the same command with the right name, and does what was meant; a key is never repeated."""
    done = cli("config", *command)
    assert (done.code, done.stdout) == (2, "")
    assert done.stderr.endswith(f"\nhint: {hint}\n")
    assert KEY not in done.stderr
    if hint != "cometrep login":
        assert cli(*shlex.split(hint)[1:]).code == 0


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("timeout = 10m\n", "line 1"),
        ('timeout = "5m"\n\n"unclosed\n', "line 3"),
        ("\xff", "config.toml"),
        ('timeout = "soon"\n', "'soon'"),
        ('progress = "loud"\n', "'loud'"),
        ("dir = [1]\n", "dir"),
    ],
    ids=["value", "third line", "bytes", "duration", "choice", "type"],
)
def test_a_bad_config_file_stops_a_command(text: str, told: str, cli: Cli, server: Server) -> None:
    """What cannot be read or means nothing is exit 3 that names the file and the fault; nothing is sent."""
    path = write(cli, "")
    path.write_bytes(text.encode("latin-1"))
    done = cli("status", "abc", "--base-url", server.url, env={"COMETAPI_KEY": KEY})
    assert (done.code, done.stdout) == (3, "")
    assert str(path) in done.stderr
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert path.read_bytes() == text.encode("latin-1")
    assert server.received == []


@pytest.mark.parametrize(
    ("name", "value"),
    [("COMETREP_TIMEOUT", "soon"), ("COMETREP_BASE_URL", "http://api.example.com"), ("COMETREP_PROGRESS", "loud")],
)
def test_a_bad_variable_is_named(name: str, value: str, cli: Cli, server: Server) -> None:
    """A bad value in the environment is exit 3 that names the variable and the value."""
    done = cli("status", "abc", env={"COMETAPI_KEY": KEY, name: value})
    assert done.code == 3
    assert name in done.stderr
    assert value in done.stderr


def test_a_bad_key_in_the_environment_is_not_shown(cli: Cli) -> None:
    """A key with a line break inside is exit 3 that names the variable and nothing of the key."""
    done = cli("status", "abc", env={"COMETAPI_KEY": f"{KEY}\r\nX-Evil: 1"})
    assert done.code == 3
    assert "COMETAPI_KEY" in done.stderr
    assert KEY[:12] not in done.stderr
    assert "Evil" not in done.stderr


def test_flag_beats_environment_beats_file_beats_default(served: Cli, server: Server) -> None:
    """The folder to save in is the flag's, else the variable's, else the file's, else the current one."""
    server.on_get(answer_json(prediction(output=[f"{server.url}/f/a.webp"])))
    server.on("GET", "/f/", Answer(200, picture(), WEBP))
    assert served("download", "abc123").stdout == "abc123.webp\n"
    write(served, 'dir = "file"\noutput = "{name}.{ext}"\n')
    env = {"COMETREP_DIR": "variable"}
    assert served("download", "abc123").stdout == "file/flux-schnell.webp\n"
    assert served("download", "abc123", env=env).stdout == "variable/flux-schnell.webp\n"
    assert served("download", "abc123", "-d", "flag", "-o", "x.webp", env=env).stdout == "flag/x.webp\n"


@pytest.mark.parametrize(
    ("name", "suffix"),
    [
        ("flag", ""),
        ("flag", "/v1"),
        ("COMETREP_BASE_URL", "/v1/"),
        ("COMETAPI_BASE_URL", "/v1"),
        ("file", "/v1/"),
    ],
)
def test_every_base_url_reaches_the_same_server(name: str, suffix: str, cli: Cli, server: Server) -> None:
    """A trailing slash or the /v1 of the provider's SDK is dropped, wherever the base URL comes from."""
    server.on_get(answer_json(prediction("abc", "processing")))
    url = server.url + suffix
    if name == "file":
        write(cli, f'base_url = "{url}"\n')
    env = {"COMETAPI_KEY": KEY, **({name: url} if name.startswith("COMET") else {})}
    done = cli("status", "abc", "--print", "id", *(("--base-url", url) if name == "flag" else ()), env=env)
    assert done.stdout == "abc\n"
    assert {request.path for request in server.received} == {"/replicate/v1/predictions/abc"}


def test_the_first_base_url_wins(cli: Cli, server: Server) -> None:
    """COMETREP_BASE_URL comes before COMETAPI_BASE_URL, and a blank one is as none."""
    both = {"COMETREP_BASE_URL": server.url, "COMETAPI_BASE_URL": "http://127.0.0.1:1"}
    assert cli("config", "get", "base_url", env=both).stdout == f"{server.url}\n"
    blank = {"COMETREP_BASE_URL": " ", "COMETAPI_BASE_URL": server.url}
    assert cli("config", "get", "base_url", env=blank).stdout == f"{server.url}\n"


def test_a_deadline_can_be_a_setting(served: Cli, server: Server) -> None:
    """`timeout` in the file is the deadline of a wait, and `--timeout` beats it."""
    server.on_get(answer_json(prediction(status="processing")))
    write(served, 'timeout = "0.5s"\n')
    done = served("wait", "abc123")
    assert done.code == 6
    assert "deadline of 0.5s" in done.stderr


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"])
def test_a_proxy_that_is_not_there_is_named(name: str, cli: Cli) -> None:
    """It is not the API that cannot be reached; the proxy's password is not shown."""
    env = {
        name: "http://user:hunter2@127.0.0.1:1",
        "COMETREP_RETRY_BUDGET": "0",
        "COMETAPI_KEY": "sk-1234",
    }
    done = cli("status", "abc", env=env)
    assert done.code == 7
    assert "through the proxy 127.0.0.1:1: Connection refused" in done.stderr
    assert "hunter2" not in done.stderr


def test_a_create_by_way_of_no_proxy_is_exit_3(cli: Cli) -> None:
    """The password stands neither on stderr nor in the ledger, where nothing is in doubt."""
    env = {"COMETAPI_KEY": KEY, "HTTPS_PROXY": "http://user:cre/tpw@h:1"}
    done = cli("create", SCHNELL, "prompt=cat", env=env)
    assert (done.code, done.stdout) == (3, "")
    assert done.stderr == (
        "cometrep: HTTPS_PROXY is not an address; in a user name or password write / as %2F, @ as %40, # as %23\n"
        "hint: correct or unset HTTPS_PROXY; it is written as http://HOST:PORT\n"
    )
    assert cli("list").stdout == ""


def test_the_proxy_of_the_environment_is_used_and_learns_no_key(cli: Cli, server: Server) -> None:
    """HTTPS_PROXY is asked for the way to the API and told nothing else; its refusal is temporary."""
    server.on("CONNECT", "", Answer(403, b"no"))
    env = {"COMETAPI_KEY": KEY, "HTTPS_PROXY": server.url, "COMETREP_RETRY_BUDGET": "0"}
    done = cli("create", SCHNELL, "prompt=cat", "--base-url", "https://api.example.test/v1", env=env)
    assert done.code == 7
    assert "nothing was created" in done.stderr
    assert [(request.method, request.path) for request in server.received] == [("CONNECT", "api.example.test:443")]
    assert KEY not in str(server.received)


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_a_bundle_of_certificates_that_is_missing_is_named(name: str, cli: Cli) -> None:
    """Before anything is sent, whatever the command."""
    env = {name: "/nowhere/ca.pem", "COMETAPI_KEY": KEY}
    for command in (("status", "abc"), ("run", SCHNELL, "prompt=x")):
        ran = cli(*command, env=env)
        assert (ran.code, ran.stdout) == (3, "")
        assert "no file of trusted certificates at /nowhere/ca.pem" in ran.stderr
        assert name in ran.stderr
    assert "refused" in cli("list").stdout  # the create is known not to have been sent


@pytest.mark.parametrize("command", [("list",), ("config", "path"), ("doctor",), ("status", "abc")], ids=str)
def test_a_home_that_cannot_be_is_named(command: tuple[str, ...], cli: Cli) -> None:
    """A user that there is not is the user's mistake, and no bug."""
    ran = cli(*command, env={"COMETREP_HOME": "~no-such-user/x"})
    assert (ran.code, ran.stdout) == (3, "")
    assert "COMETREP_HOME '~no-such-user/x' names no folder" in ran.stderr


def test_a_tilde_is_no_folder_of_its_own(cli: Cli) -> None:
    """A batch saves in the home folder where `--dir=~/…` says so, which bash gives as it stands."""
    sweep = ("batch", "--sweep", "--dry-run", "-m", SCHNELL, "prompt=x")
    done = cli(*sweep, "--dir=~/pictures", env={"HOME": "/home/me"})
    assert (done.code, "\nfolder: /home/me/pictures\n" in done.stderr) == (0, True)


@pytest.mark.parametrize("is_in_file", [True, False])
def test_a_template_for_stdout_that_nobody_typed_is_named(is_in_file: bool, cli: Cli) -> None:
    """Where a setting sends files to stdout, the error says which, and the command of its hint has another name."""
    if is_in_file:
        cli("config", "set", "output", "-")
    done = cli("download", "abc", "def", "--sandbox", env={} if is_in_file else {"COMETREP_OUTPUT": "-"})
    named = f"output = '-' in {cli('config', 'path').stdout.strip()}" if is_in_file else "COMETREP_OUTPUT=-"
    assert done.code == 2
    assert done.stderr.splitlines() == [
        f"cometrep: {named} writes one file, and 2 predictions are named",
        "hint: cometrep download --sandbox abc def -o '{id}-{index}.{ext}'",
    ]
