"""`cometrep login` and `logout`: the API key, stored for this user alone and shown to nobody."""

import os
import re
import signal
import stat
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.cli.test_terminal import Plain, Terminal
from tests.conftest import TIMEOUT_SECONDS, Cli, is_asleep, needs, needs_proc, wait_until
from tests.servers import Server, answer_json, prediction

KEY = "sk-0123456789-abcdefgh-WXYZ"


def config_file(cli: Cli) -> Path:
    """Say where the config file of the test's home is."""
    return cli.home / "cometrep" / "config.toml"


def mode(path: Path) -> int:
    """Give the permission bits of a path."""
    return stat.S_IMODE(path.stat().st_mode)


def key_sent(cli: Cli, server: Server, env: Mapping[str, str] | None = None) -> str | None:
    """Give the Authorization header that a look sends, None where none was sent."""
    server.on_get(answer_json(prediction(status="processing")))
    server.received.clear()
    cli("status", "abc123", "--base-url", server.url, env=env)
    return server.received[0].headers.get("authorization") if server.received else None


def test_stdin_gives_the_key(cli: Cli, server: Server) -> None:
    """`login --stdin` stores the key in a 0600 file of a 0700 folder, says where, shows its end, and it is used."""
    done = cli("login", "--stdin", stdin=KEY + "\n", prefix=("sh", "-c", 'umask 0; exec "$@"', "sh"))
    assert (done.code, done.stdout) == (0, "")
    assert done.stderr == f"API key …WXYZ stored in {config_file(cli)}\n"
    assert config_file(cli).read_text() == f'api_key = "{KEY}"\n'
    assert (mode(config_file(cli)), mode(config_file(cli).parent)) == (0o600, 0o700)
    assert [path.name for path in config_file(cli).parent.iterdir()] == ["config.toml"]
    assert key_sent(cli, server) == f"Bearer {KEY}"


def test_a_key_that_is_kept_elsewhere_is_told_with_its_file(cli: Cli, tmp_path: Path) -> None:
    """Where the config file is a symlink, as to a folder that is shared, both names are said."""
    config_file(cli).parent.mkdir()
    config_file(cli).symlink_to(tmp_path / "dots.toml")
    done = cli("login", "--stdin", stdin=KEY)
    assert done.stderr == f"API key …WXYZ stored in {config_file(cli)} ({tmp_path}/dots.toml)\n"


@pytest.mark.parametrize(
    "given", [f"  {KEY}\t\r\n", f"\ufeff{KEY}\n", f"\n{KEY}\n\n"], ids=["white space", "BOM", "blank lines"]
)
def test_what_surrounds_a_key_is_dropped(given: str, cli: Cli) -> None:
    """White space and a BOM around the key are not part of it."""
    assert cli("login", "--stdin", stdin=given).code == 0
    assert config_file(cli).read_text() == f'api_key = "{KEY}"\n'


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("", "no API key was given"),
        (" \n", "no API key was given"),
        (f"{KEY}\nX-Evil: 1\n", "line break"),
        (f"{KEY} more\n", "spaces"),
        ("sk-schlüssel-0123456789", "outside ASCII"),
    ],
)
def test_what_is_no_key_is_refused(given: str, told: str, cli: Cli) -> None:
    """Nothing, a line break, a space or a foreign letter is exit 2; nothing is stored and no part is repeated."""
    done = cli("login", "--stdin", stdin=given)
    assert (done.code, done.stdout) == (2, "")
    assert told in done.stderr
    assert "hint: " in done.stderr
    assert "sk-" not in done.stderr
    assert not config_file(cli).exists()


def test_the_prompt_does_not_show_the_key(cli: Cli) -> None:
    """On a terminal `login` asks, shows nothing of what is typed, and stores it."""
    with Terminal(cli, "login") as terminal:
        terminal.until("API key")
        terminal.type(KEY.encode() + b"\r")
        assert terminal.finish() == 0
        assert KEY.encode() not in terminal.raw
        assert b"sk-" not in terminal.raw
        assert "…WXYZ stored in" in terminal.text
    assert config_file(cli).read_text() == f'api_key = "{KEY}"\n'
    assert mode(config_file(cli)) == 0o600


@pytest.mark.parametrize(
    ("keys", "code"),
    [
        (b"\r", 2),
        (b"\x04", 2),
        (b"\x03", 130),
    ],
    ids=["Enter", "Ctrl-D", "Ctrl-C"],
)
def test_a_prompt_can_be_left(keys: bytes, code: int, cli: Cli) -> None:
    """Enter and Ctrl-D give no key, Ctrl-C stops; the message has a line of its own, and typing is seen again."""
    with Terminal(cli, "login") as terminal:
        terminal.until("API key")
        terminal.type(keys)
        assert terminal.finish() == code
        assert re.search(r"(?m)^cometrep: ", terminal.text)
    assert not config_file(cli).exists()


@needs("bash")
@pytest.mark.parametrize("rest", [b"half-WXYZ", b"half-WXYZ\r"], ids=["begun", "whole"])
def test_a_pasted_key_with_a_line_break_is_refused_whole(rest: bytes, cli: Cli) -> None:
    """Its second line is neither dropped with the first one stored, nor left for the shell to run and remember."""
    shell = Plain(cli.home, cli.folder, {**cli.environment, "PS1": "$ "})
    with Terminal(shell, "bash", "--norc", "--noprofile", "-i") as terminal:
        terminal.until("$")
        terminal.type(f"{cli.shell} login\r".encode())
        terminal.until("not shown")
        terminal.type(b"sk-0123456789-first\r" + rest)
        terminal.until("line break inside", "hint: ")
        terminal.type(b": the next\r")
        terminal.until("$ : the next")
        assert b"half" not in terminal.raw
        assert b"first" not in terminal.raw
    assert not config_file(cli).exists()


@needs_proc
@needs("bash")
def test_a_key_is_not_shown_after_a_stop(cli: Cli) -> None:
    """A shell shows again what is typed; after its `fg` the key is asked for anew, and is not shown."""
    shell = Plain(cli.home, cli.folder, {**cli.environment, "PS1": "$ "})
    with Terminal(shell, "bash", "--norc", "--noprofile", "-i") as terminal:
        terminal.until("$")
        terminal.type(f"{cli.shell} login\r".encode())
        terminal.until("not shown")
        terminal.type(b"sk-half\x1a")
        terminal.until("Stopped")
        terminal.type(b"fg\r")
        terminal.until(lambda: terminal.text.count("not shown") == 2)
        wait_until(lambda: is_asleep(terminal.foreground))  # or it would be stopped while it still goes on
        os.killpg(terminal.foreground, signal.SIGSTOP)
        terminal.until(lambda: terminal.text.count("Stopped") == 2)
        terminal.type(b"fg\r")
        terminal.until(lambda: terminal.text.count("not shown") == 3)
        terminal.type(KEY.encode() + b"\r")
        terminal.until("…WXYZ stored in")
        terminal.type(b": typing is seen\r")
        terminal.until("$ : typing is seen")
        assert b"sk-" not in terminal.raw
    assert config_file(cli).read_text() == f'api_key = "{KEY}"\n'


def test_a_window_that_is_closed_ends_the_question_without_a_crash(cli: Cli) -> None:
    """There is no terminal any more whose echo could be set."""
    with Terminal(cli, "login") as terminal:
        terminal.until("not shown")
        terminal.hang_up()
        assert terminal.process.wait(TIMEOUT_SECONDS / 3) == 129


def test_without_a_terminal_it_does_not_ask(cli: Cli) -> None:
    """In a pipe `login` without `--stdin` reads nothing and names the option."""
    done = cli("login", stdin=KEY)
    assert done.code == 2
    assert "login --stdin" in done.stderr
    assert not config_file(cli).exists()


def test_a_second_key_replaces_the_first_and_nothing_else(cli: Cli) -> None:
    """Other settings, comments and the order of the file survive a login and a logout; so does a symlink."""
    real = cli.home / "dotfiles.toml"
    real.write_text('# mine\ntimeout = "5m"  # short\napi_key = "sk-old-0123456789"\n\n[other]\nx = 1\n')
    real.chmod(0o600)
    config_file(cli).parent.mkdir()
    config_file(cli).symlink_to(real)
    assert cli("login", "--stdin", stdin=KEY).code == 0
    assert real.read_text() == f'# mine\ntimeout = "5m"  # short\napi_key = "{KEY}"\n\n[other]\nx = 1\n'
    assert cli("logout").code == 0
    assert real.read_text() == '# mine\ntimeout = "5m"  # short\n\n[other]\nx = 1\n'
    assert config_file(cli).is_symlink()
    assert mode(real) == 0o600


def test_a_broken_file_is_never_rewritten(cli: Cli) -> None:
    """A config file that does not parse is exit 3 with its line; neither login nor logout touches it."""
    config_file(cli).parent.mkdir()
    broken = 'timeout = "5m"\nprogress = lines\n'
    config_file(cli).write_text(broken)
    for command in (("login", "--stdin"), ("logout",)):
        done = cli(*command, stdin=KEY)
        assert (done.code, done.stdout) == (3, "")
        assert str(config_file(cli)) in done.stderr
        assert "line 2" in done.stderr
        assert KEY not in done.stderr
    assert config_file(cli).read_text() == broken


def test_a_broken_file_is_told_before_the_key_is_asked_for(cli: Cli) -> None:
    """Nobody looks for a key, and types it, that cannot be stored."""
    config_file(cli).parent.mkdir()
    config_file(cli).write_text("progress = lines\n")
    with Terminal(cli, "login") as terminal:
        assert terminal.finish() == 3
        assert "not shown" not in terminal.text


def test_the_first_key_that_is_set_wins(cli: Cli, server: Server) -> None:
    """COMETAPI_KEY, then COMETAPI_API_KEY, then the stored one; a blank variable is as none; netrc is none."""
    (cli.home / ".netrc").write_text("machine 127.0.0.1 login me password secret\n")
    assert key_sent(cli, server) is None
    cli("login", "--stdin", stdin=KEY)
    assert key_sent(cli, server) == f"Bearer {KEY}"
    second, first = {"COMETAPI_API_KEY": "sk-second-0123456789"}, {"COMETAPI_KEY": " \ufeffsk-first-0123456789\n"}
    assert key_sent(cli, server, second) == "Bearer sk-second-0123456789"
    assert key_sent(cli, server, {**second, **first}) == "Bearer sk-first-0123456789"
    assert key_sent(cli, server, {"COMETAPI_KEY": " ", "COMETAPI_API_KEY": ""}) == f"Bearer {KEY}"


def test_a_variable_that_wins_is_warned_of(cli: Cli) -> None:
    """login and logout say when an environment variable goes on giving another key."""
    env = {"COMETAPI_API_KEY": "sk-second-0123456789"}
    stored = cli("login", "--stdin", stdin=KEY, env=env)
    assert stored.code == 0
    assert "warning: COMETAPI_API_KEY is set" in stored.stderr
    removed = cli("logout", env=env)
    assert removed.code == 0
    assert "warning: COMETAPI_API_KEY is still set" in removed.stderr
    assert "second" not in stored.stderr + removed.stderr


@pytest.mark.parametrize("key", ["abcdefgh", "sk-", "sk-abcd", "sk-abcd.efgh"])
def test_a_key_of_another_kind_is_doubted(key: str, cli: Cli) -> None:
    """A key that does not look as CometAPI's do is stored with a warning; a short one shows no character."""
    done = cli("login", "--stdin", stdin=key)
    assert done.code == 0
    assert "begin with sk-, then at least 8 letters" in done.stderr
    assert "abcd" not in done.stderr


def test_logout_removes_the_key(cli: Cli, server: Server) -> None:
    """After `logout` no key is stored and none is sent; a second one is no error."""
    cli("login", "--stdin", stdin=KEY)
    done = cli("logout")
    assert (done.code, done.stdout) == (0, "")
    assert done.stderr == f"the API key was removed from {config_file(cli)}\n"
    assert KEY not in config_file(cli).read_text()
    assert key_sent(cli, server) is None
    again = cli("logout")
    assert (again.code, again.stderr) == (0, f"no API key is stored in {config_file(cli)}\n")


@pytest.mark.parametrize(("bits", "is_warned"), [(0o600, False), (0o640, True), (0o400, False)])
def test_a_key_that_others_can_read_is_warned_of(bits: int, is_warned: bool, cli: Cli, server: Server) -> None:
    """A config file that others can read is warned about, with the command that mends it; it still works."""
    config_file(cli).parent.mkdir()
    config_file(cli).write_text(f'api_key = "{KEY}"\n')
    config_file(cli).chmod(bits)
    server.on_get(answer_json(prediction(status="processing")))
    done = cli("status", "abc123", "--base-url", server.url)
    assert (done.code, done.stdout) == (0, "abc123\tprocessing\n")
    assert (f"chmod 600 {config_file(cli)}" in done.stderr) == is_warned


@pytest.mark.parametrize(
    "arguments",
    [
        ("create", KEY, "prompt=x"),
        ("run", "a/b", KEY),
        ("run", "a/b", f"prompt=@{KEY}"),
        ("run", "a/b", "prompt=x", "-o", f"{KEY}{{"),
        ("batch", KEY, "-m", "a/b"),
        ("config", "get", KEY),
    ],
)
def test_a_key_in_a_wrong_place_is_not_repeated(arguments: tuple[str, ...], cli: Cli) -> None:
    """A key that was typed as an argument is refused without being written to a log a second time."""
    done = cli(*arguments)
    assert done.code == 2
    assert KEY[:12] not in done.stderr
    assert "[hidden]" in done.stderr
