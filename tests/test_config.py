"""Settings, each with its origin, and the file that keeps them and the API key."""

import os
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import platformdirs
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from cometrep import config, errors
from cometrep.config import changing
from tests.conftest import on_posix

KEY = "sk-test-0123456789-SECRET-wxyz"
OTHER_KEY = "sk-other-987654321-abcd"
VARIABLES = [variable for known in config.SETTINGS.values() for variable in known.variables]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An environment without any setting, and a folder of the test's own."""
    for variable in (*VARIABLES, "VISUAL", "EDITOR"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("COMETREP_HOME", str(tmp_path / "home"))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The config file, not there yet."""
    (tmp_path / "home").mkdir(mode=0o700)
    return tmp_path / "home" / "config.toml"


def write(file: Path, text: str) -> None:
    """Write the config file as a user would, private."""
    file.write_text(text, "utf-8")
    file.chmod(0o600)


# Precedence and origins

EACH_SETTING: dict[str, tuple[str, str, str, str, str]] = {
    # name: (variable, in the environment, in the file, a flag, the default)
    "base_url": ("COMETREP_BASE_URL", "https://env.example", "https://file.example", "https://flag.example", ""),
    "timeout": ("COMETREP_TIMEOUT", "1m", "2m", "3m", "30m"),
    "retry_budget": ("COMETREP_RETRY_BUDGET", "1s", "2s", "3s", "1m"),
    "dir": ("COMETREP_DIR", "env", "file", "flag", ""),
    "output": ("COMETREP_OUTPUT", "{id}-env", "{id}-file", "{id}-flag", ""),
    "max_size": ("COMETREP_MAX_SIZE", "1k", "2k", "3k", "2GiB"),
    "progress": ("COMETREP_PROGRESS", "bar", "lines", "json", "auto"),
    "sandbox": ("COMETREP_SANDBOX", "1", "yes", "true", "false"),
    "sandbox_seconds": ("COMETREP_SANDBOX_SECONDS", "3", "4", "5", "2"),
}


@pytest.mark.parametrize("origin", ["flag", "environment", "file"])
def test_a_tilde_is_the_home_folder(origin: str, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No shell expands it behind `--dir=`, in a variable or in the file; what is shown stays as it was typed."""
    monkeypatch.setenv("HOME", "/home/{me}")

    def found(folder: str, template: str) -> config.Settings:
        write(file, f'dir = "{folder}"\noutput = "{template}"\n' if origin == "file" else "")
        if origin == "environment":
            monkeypatch.setenv("COMETREP_DIR", folder)
            monkeypatch.setenv("COMETREP_OUTPUT", template)
        return config.load({"dir": folder, "output": template} if origin == "flag" else {})

    expanded = found("~/pics", "~/{id}.{ext}")
    assert (expanded.folder, expanded.template) == ("/home/{me}/pics", "/home/{{me}}/{id}.{ext}")
    assert (expanded.shown("dir").value, expanded.shown("output").value) == ("~/pics", "~/{id}.{ext}")
    kept = found("pics/~", "~{id}/{index}.{ext}")
    assert (kept.folder, kept.template) == ("pics/~", "~{id}/{index}.{ext}")
    assert found("~", "x").folder == "/home/{me}"


OPTIONS = {"sandbox_seconds": "--seconds"}  # where it is not the setting's own name


@pytest.mark.parametrize("name", EACH_SETTING)
def test_flag_then_environment_then_file_then_default(
    name: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each setting comes from the first that has it, and says which."""
    variable, in_environment, in_file, flag, default = EACH_SETTING[name]

    def found(flags: dict[str, str | None]) -> tuple[str, str]:
        setting = config.load(flags).shown(name)
        return setting.value, setting.origin.text

    default = default or (config.DEFAULT_BASE_URL if name == "base_url" else "")
    assert found({}) == (default, "default")
    write(file, f'{name} = "{in_file}"\n')
    assert found({}) == (in_file, str(file))
    monkeypatch.setenv(variable, in_environment)
    assert found({}) == (in_environment, variable)
    assert found({name: None}) == (in_environment, variable)
    assert found({name: flag}) == (flag, OPTIONS.get(name, "--" + name.replace("_", "-")))


def test_every_setting_is_tested_above() -> None:
    """No setting but the API key, which no flag gives, is left out of the table."""
    assert {*EACH_SETTING, "api_key"} == set(config.SETTINGS)


def test_the_api_key_comes_from_its_variables_in_order(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """COMETAPI_KEY wins over COMETAPI_API_KEY, and that over the stored key."""

    def found() -> tuple[str, str, str]:
        loaded = config.load()
        assert loaded.api_key is not None
        return loaded.api_key.reveal(), loaded.shown("api_key").origin.text, loaded.replace_key_command

    assert config.load().api_key is None
    write(file, f'api_key = "{KEY}-file"\n')
    assert found() == (f"{KEY}-file", str(file), "cometrep login")
    monkeypatch.setenv("COMETAPI_API_KEY", f"{KEY}-second")
    assert found() == (f"{KEY}-second", "COMETAPI_API_KEY", "unset COMETAPI_API_KEY && cometrep login")
    monkeypatch.setenv("COMETAPI_KEY", f"{KEY}-first")
    both = "unset COMETAPI_KEY COMETAPI_API_KEY && cometrep login"  # or the second would win over the new one
    assert found() == (f"{KEY}-first", "COMETAPI_KEY", both)


def test_the_sdk_s_base_url_is_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """COMETAPI_BASE_URL, with its trailing /v1 dropped, stands behind COMETREP_BASE_URL."""
    monkeypatch.setenv("COMETAPI_BASE_URL", "https://api.cometapi.com/v1")
    assert config.load().shown("base_url").origin.text == "COMETAPI_BASE_URL"
    assert config.load().base_url == "https://api.cometapi.com"
    monkeypatch.setenv("COMETREP_BASE_URL", "https://other.example")
    assert config.load().base_url == "https://other.example"


@pytest.mark.parametrize(
    "blank",
    ["", "   ", "\n", "\ufeff", " \t\r\n", pytest.param("\u00a0")],
    ids=repr,
)
def test_a_blank_variable_is_unset(blank: str, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that holds nothing leaves the word to the next one, and to the file."""
    write(file, f'api_key = "{KEY}"\ntimeout = "5m"\n')
    for variable in VARIABLES:
        monkeypatch.setenv(variable, blank)
    loaded = config.load()
    assert loaded.api_key is not None
    assert loaded.api_key.reveal() == KEY
    assert loaded.deadline_seconds == 300
    assert config.variables_for("api_key") == ()


def test_a_blank_stored_value_is_unset(file: Path) -> None:
    """An empty value in the file leaves the default."""
    write(file, 'api_key = ""\ntimeout = " "\nbase_url = ""\n')
    loaded = config.load()
    assert loaded.api_key is None
    assert loaded.deadline_seconds == 1800
    assert loaded.shown("base_url").origin.text == "default"


@pytest.mark.parametrize("value", ["", " ", "\ufeff"], ids=["empty", "space", "BOM"])
@pytest.mark.parametrize("name", ["dir", "output", "base_url", "timeout", "progress"])
def test_a_blank_value_is_not_stored(name: str, value: str, file: Path) -> None:
    """It would count as unset: `unset` says so, and is the hint; what was set before stays."""
    before = (
        'dir = "pictures"\noutput = "{id}.{ext}"\nbase_url = "https://x.test"\ntimeout = "5m"\nprogress = "none"\n'
    )
    write(file, before)
    with pytest.raises(errors.UsageError, match="is blank, and a blank setting counts as unset") as raised:
        changing.store(name, value)
    assert raised.value.hint == f"cometrep config unset {name}"
    assert file.read_text("utf-8") == before


def test_toml_s_own_types_are_understood(file: Path) -> None:
    """Numbers and booleans may stand in the file without quotes."""
    write(file, "timeout = 90\nsandbox = true\nmax_size = 5000\nsandbox_seconds = 0.5\n")
    loaded = config.load()
    assert (loaded.deadline_seconds, loaded.uses_sandbox) == (90, True)
    assert (loaded.max_size_bytes, loaded.sandbox_seconds) == (5000, 0.5)


def test_the_values_in_their_own_types(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings give seconds, bytes and booleans; a timeout of 0 is no deadline at all."""
    values = {"TIMEOUT": "0", "RETRY_BUDGET": "1m30s", "DIR": "a b", "OUTPUT": "{id}", "MAX_SIZE": "2KiB"}
    for name, value in {**values, "PROGRESS": "none", "SANDBOX": "no"}.items():
        monkeypatch.setenv(f"COMETREP_{name}", value)
    loaded = config.load()
    assert (loaded.deadline_seconds, loaded.retry_budget_seconds) == (None, 90.0)
    assert (loaded.folder, loaded.template) == ("a b", "{id}")
    assert (loaded.max_size_bytes, loaded.progress, loaded.uses_sandbox) == (2048, "none", False)


MEANT = {"sandbox": "true", "base_url": "https://example.org"}


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("timeout", "soon", "'soon' is not a duration"),
        ("base_url", "example.org", "'example.org' is not a URL"),
        ("progress", "dots", "'dots' is not one of auto, bar, lines, json, none"),
        ("sandbox", "maybe", "'maybe' is neither true nor false"),
        ("max_size", "big", "'big' is not a size"),
        ("dir", "a\\u0000b", "NUL"),
    ],
    ids=["timeout", "base_url", "progress", "sandbox", "max_size", "dir"],
)
def test_a_bad_value_names_its_origin(
    name: str, value: str, told: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A value that cannot be used is a usage error from a flag, else a config error, and says where it stands."""
    write(file, f'{name} = "{value}"\n')
    with pytest.raises(errors.ConfigError) as of_file:
        config.load()
    assert of_file.value.message.startswith(f"{file}: ")
    assert told in of_file.value.message
    assert of_file.value.hint in (f"cometrep config unset {name}", f"cometrep config set {name} {MEANT.get(name)}")
    file.unlink()
    if name == "dir":
        return  # neither an argument nor a variable can hold a NUL
    variable = config.SETTINGS[name].variables[0]
    with monkeypatch.context() as patch:
        patch.setenv(variable, value)
        with pytest.raises(errors.ConfigError, match=variable) as of_environment:
            config.load()
    assert told in of_environment.value.message
    with pytest.raises(errors.UsageError) as of_flag:
        config.load({name: value})
    assert of_flag.value.message.startswith("--" + name.replace("_", "-"))
    option, form = of_flag.value.hint.split(" ")
    assert config.load({name: form}).shown(name).origin.text == option
    assert {raised.value.code for raised in (of_file, of_environment, of_flag)} == {"bad_setting"}


@pytest.mark.parametrize(
    ("name", "value", "form"),
    [
        ("sandbox", "enabled", "true"),
        ("base_url", "localhost:8787", "http://localhost:8787"),
        ("base_url", "127.0.0.1:8787/v1", "http://127.0.0.1:8787"),
        ("base_url", "example.com", "https://example.com"),
        ("base_url", "http://example.com/x", "https://example.com/x"),
        ("base_url", "nonsense", "https://HOST"),
        ("base_url", "ftp://example.com", "https://HOST"),
        ("base_url", "example.com:99999", "https://HOST"),
        ("base_url", "example.com?a=b", "https://HOST"),
        ("base_url", f"example.com/{KEY}", "https://HOST"),
    ],
)
def test_what_chose_another_server_is_set_right_and_not_taken_away(
    name: str, value: str, form: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it the same command would pay: what was typed is mended where it can be."""
    write(file, f'{name} = "{value}"\n')
    with pytest.raises(errors.ConfigError) as of_file:
        config.load()
    assert of_file.value.hint == f"cometrep config set {name} {form}"
    variable = f"COMETREP_{name.upper()}"
    monkeypatch.setenv(variable, value)
    with pytest.raises(errors.ConfigError) as of_environment:
        config.load()
    assert of_environment.value.hint == f"export {variable}={'1' if name == 'sandbox' else form}"
    with pytest.raises(errors.UsageError) as typed:
        changing.store_setting(name, value)
    known = form if "HOST" not in form else config.DEFAULT_BASE_URL
    assert typed.value.hint == f"cometrep config set {name} {known}"
    if name == "base_url":
        with pytest.raises(errors.UsageError) as of_flag:
            config.load({name: value})
        assert of_flag.value.hint == f"--base-url {known}"


def test_a_bad_folder_is_refused_where_it_is_set(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not by every command that saves from then on; that of the environment is told with its name."""
    told = r"the folder 'a\nb' has a control character inside"
    for refused in (lambda: config.load({"dir": "a\nb"}), lambda: changing.store_setting("dir", "a\nb")):
        with pytest.raises(errors.UsageError) as typed:
            refused()
        assert typed.value.message == told
    assert not file.exists()
    monkeypatch.setenv("COMETREP_DIR", "a\nb")
    with pytest.raises(errors.ConfigError) as of_environment:
        config.load()
    assert of_environment.value.message == f"COMETREP_DIR: {told}"
    assert of_environment.value.hint == "unset COMETREP_DIR"


def test_a_bad_template_names_its_origin(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As any other value; that of the option, or one that is to be stored, is told with the fields there are."""
    told = "the output template '{bad': it has a brace alone; one that belongs to a name is written {{ or }}"
    write(file, 'output = "{bad"\n')
    with pytest.raises(errors.ConfigError) as of_file:
        config.load()
    assert (of_file.value.message, of_file.value.hint) == (f"{file}: {told}", "cometrep config unset output")
    monkeypatch.setenv("COMETREP_OUTPUT", "{bad")
    with pytest.raises(errors.ConfigError) as of_environment:
        config.load()
    assert of_environment.value.message == f"COMETREP_OUTPUT: {told}"
    assert (of_environment.value.hint, of_environment.value.code) == ("unset COMETREP_OUTPUT", "bad_setting")
    for refused in (lambda: config.load({"output": "{bad"}), lambda: changing.store_setting("output", "{bad")):
        with pytest.raises(errors.UsageError) as typed:
            refused()
        assert (typed.value.message, typed.value.code) == (told, "bad_template")
        assert "{index}" in typed.value.hint


def test_sandbox_and_base_url() -> None:
    """The two flags contradict each other; an address that was typed beats a sandbox set elsewhere."""
    with pytest.raises(errors.UsageError, match="two different servers"):
        config.load({"sandbox": "true", "base_url": "https://x.example"})


def test_a_typed_address_beats_the_sandbox_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """COMETREP_SANDBOX=1 does not send what was addressed to a server to the sandbox."""
    monkeypatch.setenv("COMETREP_SANDBOX", "1")
    assert config.load().uses_sandbox
    loaded = config.load({"base_url": "https://x.example"})
    assert not loaded.uses_sandbox
    assert loaded.shown("sandbox").origin.text == "--base-url"


@pytest.mark.parametrize(
    ("key", "base_url", "sandbox", "expected"),
    [
        (config.SANDBOX_KEY, "http://127.0.0.1:8787", "", True),
        (KEY, "http://127.0.0.1:8787", "", False),
        ("", "http://127.0.0.1:8787", "", False),
        (config.SANDBOX_KEY, "https://y.example", "", False),
        (KEY, "", "1", True),
        (KEY, "", "", False),
    ],
    ids=["served here", "a stand-in of one's own", "no key", "elsewhere", "of the command", "the API"],
)
def test_whose_predictions_a_command_makes(
    key: str, base_url: str, sandbox: str, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger keeps those of the sandbox apart; what is paid for is never among them."""
    for name, value in ("COMETAPI_KEY", key), ("COMETREP_BASE_URL", base_url), ("COMETREP_SANDBOX", sandbox):
        monkeypatch.setenv(name, value)
    assert config.load().is_sandboxed is expected


def test_an_unknown_setting_is_named() -> None:
    """Asking for or storing what is no setting is a usage error that lists them."""
    asked: list[Callable[[], Any]] = [
        lambda: config.load().shown("nope"),
        lambda: changing.store("nope", "x"),
        lambda: changing.remove("nope"),
    ]
    for ask in asked:
        with pytest.raises(errors.UsageError, match="'nope' is not a setting; the settings are api_key, base_url"):
            ask()


def test_the_setting_that_was_meant_is_offered_without_what_is_secret() -> None:
    """The command that sets it, as it was typed but for that; a key it never takes."""
    for name, value, hint in (
        ("timeot", "5m", "config set timeout 5m"),
        ("base_ur", "https://me:secret@x.example", "config set base_url 'https://[hidden]@x.example'"),
        ("outputs", "-x.webp", "config set -- output -x.webp"),
        ("api_ke", KEY, "login"),
    ):
        with pytest.raises(errors.UsageError, match="did you mean") as raised:
            changing.store(name, value)
        assert raised.value.hint == f"cometrep {hint}"


# The API key


@pytest.mark.parametrize("text", [KEY, f"  {KEY}\n", f"\ufeff{KEY}", f" \ufeff {KEY}\r\n", f"\t{KEY} "], ids=repr)
def test_a_key_is_trimmed(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """White space, a BOM and a final line break around a key are no part of it."""
    monkeypatch.setenv("COMETAPI_KEY", text)
    found = config.load().api_key
    assert found is not None
    assert found.reveal() == KEY
    key, _ = changing.store_api_key(text)
    assert key.reveal() == KEY


@pytest.mark.parametrize(
    ("inside", "told"),
    [
        ("\n", "line break"),
        ("\r", "line break"),
        (" ", "spaces"),
        ("é", "outside ASCII"),
        ("\x1b", "outside"),
        ("\udcff", "outside"),
    ],
    ids=repr,
)
def test_a_key_that_no_header_can_carry_is_refused(inside: str, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key with a line break or anything else inside is refused, without showing any of it."""
    text = f"sk-first{inside}second"
    monkeypatch.setenv("COMETAPI_KEY", text)
    with pytest.raises(errors.ConfigError, match=told) as of_environment:
        config.load()
    with pytest.raises(errors.UsageError, match=told) as of_login:
        changing.store_api_key(text)
    for failure in (of_environment.value, of_login.value):
        assert "first" not in failure.message + failure.hint
        assert "second" not in failure.message + failure.hint


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("'sk-first-second'", "quotes around it"),
        ('"sk-first-second"', "quotes around it"),
        ('"sk-first-second', "quotes around it"),
        ("sk-first-second'", "quotes around it"),
        ("COMETAPI_KEY=first-second", "begins with a name"),
        ("export COMETAPI_KEY='sk-first-second'", "begins with a name"),
        ("api_key=sk-first-second", "begins with a name"),
        ("sk-" + "first-second" * 400, "it has more than 4096 characters"),
    ],
)
def test_what_plainly_is_no_key_is_refused(text: str, told: str) -> None:
    """What was copied with more than the key is refused with the reason."""
    with pytest.raises(errors.UsageError, match=told) as raised:
        changing.store_api_key(text)
    assert "first" not in raised.value.message
    assert raised.value.hint == "cometrep login"


@pytest.mark.parametrize("text", ["", " \n", "\ufeff"], ids=repr)
def test_no_key_is_refused_at_login(text: str, tmp_path: Path) -> None:
    """Storing nothing is an error that says where keys come from, and writes nothing."""
    with pytest.raises(errors.UsageError, match="no API key was given") as raised:
        changing.store_api_key(text)
    assert config.KEY_PAGE in raised.value.message
    assert not (tmp_path / "home").exists()


def test_the_key_is_never_an_argument() -> None:
    """`config set api_key` is refused: the shell's history would keep it."""
    with pytest.raises(errors.UsageError, match="never an argument") as raised:
        changing.store_setting("api_key", KEY)
    assert KEY not in raised.value.message
    assert raised.value.hint == "cometrep login"


def test_the_key_is_in_no_text_of_a_value(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No repr, str or shown setting holds more of a key than its last four characters."""
    monkeypatch.setenv("COMETAPI_KEY", KEY)
    loaded = config.load()
    shown = loaded.shown("api_key")
    texts = [repr(loaded), str(loaded), repr(loaded.resolved), repr(loaded.api_key), str(loaded.api_key)]
    texts += [f"{loaded.api_key}", repr(shown), str(shown), shown.value, repr(loaded.resolved["api_key"])]
    assert shown.value == "…wxyz"
    assert not any("SECRET" in text or KEY[:8] in text for text in texts)


def test_no_key_shows_as_empty() -> None:
    """Where no key is set there is nothing to hide."""
    assert config.load().shown("api_key").value == ""


@pytest.mark.parametrize(
    "url",
    [
        "https://u:hunter2@api.test",
        "https://hunter2@api.test/v1",
        "https://u:hunter2/hunter2@api.test",
        "https://u:h#hunter2@api.test",
        "https://hunter2\u2100@api.test",
        "sk-hunter2hunter2",
    ],
)
def test_what_may_be_a_secret_in_a_base_url_is_not_shown(url: str) -> None:
    """A refused base URL is told without its user's part."""
    with pytest.raises(errors.UsageError) as raised:
        config.load({"base_url": url})
    assert "hunter" not in raised.value.message + raised.value.hint


# Folders


def test_cometrep_home_holds_everything(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """COMETREP_HOME puts config, ledger and sandbox under one folder, `~` and relative names included."""
    home = tmp_path / "home"
    assert config.folders() == config.Folders(
        home / "config.toml", home / "ledger.sqlite3", home / "cache" / "sandbox"
    )
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv("COMETREP_HOME", "~/mine")
    assert config.folders().config_file == tmp_path / "mine" / "config.toml"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COMETREP_HOME", "here")
    assert config.folders().ledger_file == tmp_path / "here" / "ledger.sqlite3"


@on_posix
def test_a_relative_home_in_a_working_folder_that_is_gone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The working folder is named, and COMETREP_HOME, which is not at fault, is to stay."""
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    monkeypatch.setenv("COMETREP_HOME", "here")
    with pytest.raises(errors.ConfigError) as raised:
        config.folders()
    assert raised.value.message == "COMETREP_HOME 'here' begins in the working folder, which is gone"
    assert raised.value.hint == "cd"


@pytest.mark.parametrize("home", [None, "", " "], ids=["unset", "empty", "blank"])
def test_platformdirs_decides_otherwise(home: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without COMETREP_HOME each file lies where the platform keeps its kind."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("CONFIG", "STATE", "CACHE"):
        monkeypatch.delenv(f"XDG_{name}_HOME", raising=False)
    if home is None:
        monkeypatch.delenv("COMETREP_HOME")
    else:
        monkeypatch.setenv("COMETREP_HOME", home)
    dirs = platformdirs.PlatformDirs("cometrep", appauthor=False)
    assert config.folders() == config.Folders(
        Path(dirs.user_config_dir, "config.toml"),
        Path(dirs.user_state_dir, "ledger.sqlite3"),
        Path(dirs.user_cache_dir, "sandbox"),
    )


@on_posix
def test_a_user_without_a_home_is_told_how_to_name_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container that runs under a number that no user has."""
    import pwd

    def nobody(_: int) -> None:
        raise KeyError

    for name in ("COMETREP_HOME", "HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    with pytest.raises(errors.ConfigError, match="no home folder") as raised:
        config.folders()
    assert raised.value.hint == 'export COMETREP_HOME="$PWD/.cometrep"'


@pytest.mark.parametrize("value", ["true", "nan", "12345678", "2026-01-01"])
def test_a_key_that_is_no_text_is_an_error(value: str, file: Path) -> None:
    """What was not meant as a key is not sent as one."""
    write(file, f"api_key = {value}\n")
    with pytest.raises(errors.ConfigError, match="the API key is not a text in quotes") as raised:
        config.load()
    assert (raised.value.code, raised.value.hint) == ("bad_setting", "cometrep login")
    assert value not in raised.value.message


def test_a_number_of_thousands_of_digits_is_an_error(file: Path) -> None:
    """TOML has such, in hexadecimal; Python writes none."""
    write(file, f"timeout = 0x{'f' * 4000}\n")
    with pytest.raises(errors.ConfigError, match="timeout is too long a number"):
        config.load()


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="XDG is for the other systems")
def test_xdg_variables_are_followed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """XDG_CONFIG_HOME, XDG_STATE_HOME and XDG_CACHE_HOME move the files."""
    monkeypatch.delenv("COMETREP_HOME")
    for name in ("CONFIG", "STATE", "CACHE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name))
    assert config.folders() == config.Folders(
        tmp_path / "CONFIG" / "cometrep" / "config.toml",
        tmp_path / "STATE" / "cometrep" / "ledger.sqlite3",
        tmp_path / "CACHE" / "cometrep" / "sandbox",
    )


# The file


@on_posix
def test_a_wide_file_is_warned_about_where_it_holds_the_key(file: Path) -> None:
    """What else stands in it is no secret, but whoever may write it may say where the key is sent."""
    write(file, 'timeout = "5m"\n')
    file.chmod(0o664)
    assert config.load().file_warning is None
    file.chmod(0o666)
    assert "can be changed by others (mode 0666): chmod 600 " in str(config.load().file_warning)
    file.chmod(0o644)
    changing.store_api_key(KEY)
    file.chmod(0o644)
    assert "others can read it" in str(config.load().file_warning)


def test_the_key_is_stored_as_it_is_shown(file: Path) -> None:
    """With where it stands, and its last four characters."""
    key, path = changing.store_api_key(KEY)
    assert (str(key), path) == ("…wxyz", file)
    assert config.read_file() == {"api_key": KEY}


def test_a_base_url_is_stored_in_its_plain_form(file: Path) -> None:
    """So that the file shows what is used."""
    assert changing.store("base_url", "https://y.example/v1/") == file
    assert config.read_file() == {"base_url": "https://y.example"}


def test_storing_makes_the_file_and_unsetting_leaves_it_alone(tmp_path: Path) -> None:
    """The first store makes folder and file; unsetting in a file that is not there makes nothing."""
    assert changing.remove("timeout")[1] is False
    assert not (tmp_path / "home").exists()
    path = changing.store_setting("timeout", "5m")
    assert path.read_text("utf-8") == 'timeout = "5m"\n'


def test_the_users_editor_is_hinted_at(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hint opens the file in $VISUAL, else $EDITOR."""
    write(file, "x")
    monkeypatch.setenv("EDITOR", "nano")
    with pytest.raises(errors.ConfigError) as raised:
        config.load()
    assert raised.value.hint == f"nano {file}"


@pytest.mark.parametrize(("name", "form"), [("dir", "pictures"), ("output", "'{id}.{ext}'")])
def test_a_value_that_is_not_utf8_is_refused(file: Path, name: str, form: str) -> None:
    """A name in another encoding cannot stand in TOML, and that is a usage error with one of its kind."""
    with pytest.raises(errors.UsageError) as raised:
        changing.store_setting(name, "caf\udce9")
    assert raised.value.hint == f"cometrep config set {name} {form}"
    assert not file.exists()


@pytest.mark.parametrize("text", ['dir = ["a"]\n', "[dir]\na = 1\n"], ids=["list", "table"])
def test_a_stored_value_of_another_type_is_refused(file: Path, text: str) -> None:
    """A list or a table is no setting's value."""
    write(file, text)
    with pytest.raises(errors.ConfigError, match="dir"):
        config.load()


@settings(max_examples=100)
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30))
@example('"\\\x7f\x1b\t')
@example("\u2028\x85\x0c\r\n")
@example("\ufeff")
@example("~")
def test_any_text_that_was_stored_is_read_again(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    """Whatever a value holds, TOML gives it back, but for the white space around it.

    A blank one is refused, and a folder of several lines; so are some of devices, as /dev/fd, all of which are left
    out here.
    """
    assume(not text.strip().startswith("/"))
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.getbasetemp() / "stored"
        patch.setenv("COMETREP_HOME", str(home))
        (home / "config.toml").unlink(missing_ok=True)
        if not text.strip().strip("\ufeff").strip():
            with pytest.raises(errors.UsageError, match="is blank"):
                changing.store("dir", text)
            return
        if any(unicodedata.category(character) in ("Cc", "Zl", "Zp") for character in text.strip()):
            with pytest.raises(errors.UsageError, match="control character"):
                changing.store("dir", text)
            return
        changing.store("dir", text)
        assert config.read_file() == {"dir": text.strip()}
        assert config.load().shown("dir").value == text.strip()
        assert config.load().folder == os.path.expanduser(text.strip())  # noqa: PTH111 - `~x` may name nobody


def test_an_environment_variable_of_another_program_can_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """NO_COLOR and its like are read through this module, empty where they are unset."""
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    assert (config.environment("NO_COLOR"), config.environment("FORCE_COLOR")) == ("1", "")


@pytest.mark.parametrize(("budget", "seconds"), [("", 15.0), ("3m", 180.0)])
def test_a_retry_budget_that_was_set_holds_everywhere(
    monkeypatch: pytest.MonkeyPatch, budget: str, seconds: float
) -> None:
    """Without one a single look, or a connection that never stands, is given up sooner than a wait."""
    monkeypatch.setenv("COMETREP_RETRY_BUDGET", budget)
    assert config.load().prompt_budget_seconds == seconds


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("COMETREP_SANBOX", "COMETREP_SANDBOX"),
        ("COMETREP_TIMEOUTS", "COMETREP_TIMEOUT"),
        ("COMETREP_BASEURL", "COMETREP_BASE_URL"),
        ("COMETREP_Sandbox", "COMETREP_SANDBOX"),
        ("COMETREP_OUTPTU", "COMETREP_OUTPUT"),
        ("COMETREP_BASE", "COMETREP_BASE_URL"),
        ("COMETREP_API_KEY", "COMETAPI_API_KEY"),
        *((f"COMETREP_{end}", None) for end in ("GIT", "ID", "DB", "CI", "TMPDIR", "OUT_DIR", "SANDBOX_PORT", "D")),
        ("COMETREP_SANDBOXES_URL", None),
        ("COMETREP_HOME", None),
        ("COMETREP_DIR", None),
    ],
)
def test_a_variable_that_is_named_much_like_a_setting_is_told(
    name: str, near: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`COMETREP_SANBOX=1` would pay; what is a user's own is left alone."""
    monkeypatch.setenv(name, "1")
    assert config.misspelt_variables() == ({name: near} if near else {})
    if near:
        monkeypatch.setenv(near, "1")
        assert config.misspelt_variables() == {}


def test_a_blank_key_is_told_by_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a pull request from a fork gets no secrets."""
    assert config.blank_variable("api_key") == ""
    monkeypatch.setenv("COMETAPI_API_KEY", " ")
    assert config.blank_variable("api_key") == "COMETAPI_API_KEY"
