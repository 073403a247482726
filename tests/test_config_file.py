"""The config file: what is read of it, the one line that is changed, and who can read it."""

import errno
import os
import re
import tomllib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cometrep import errors
from cometrep.calls import within
from cometrep.config import file as config_file
from cometrep.config.file import ConfigFile, make_private_folder, with_target
from cometrep.locks import lock
from tests.conftest import TIMEOUT_SECONDS, find_no_room, mode_of, on_posix

KEY = "sk-test-0123456789-SECRET-wxyz"


@pytest.fixture
def file(tmp_path: Path) -> ConfigFile:
    """The config file, not there yet."""
    (tmp_path / "home").mkdir(mode=0o700)
    return ConfigFile(tmp_path / "home" / "config.toml", "vi")


def write(file: ConfigFile, text: str) -> None:
    """Write the config file as a user would, private."""
    file.path.write_text(text, "utf-8")
    file.path.chmod(0o600)


def written(file: ConfigFile) -> str:
    """Give the file's text."""
    return file.path.read_text("utf-8")


# Who can read it


@on_posix
@pytest.mark.usefixtures("open_umask")
def test_the_file_is_private_under_any_umask(tmp_path: Path) -> None:
    """The file is made 0600, and each folder made for it 0700."""
    file = ConfigFile(tmp_path / "a" / "b" / "config.toml", "vi")
    file.change("api_key", KEY)
    assert mode_of(file.path) == 0o600
    assert (mode_of(tmp_path / "a" / "b"), mode_of(tmp_path / "a")) == (0o700, 0o700)
    assert file.warning(holds_key=True) is None


@on_posix
def test_a_file_of_another_user_is_warned_about(file: ConfigFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its owner can read it whatever its mode, and name another API in it."""
    write(file, f'api_key = "{KEY}"\n')
    owner = file.path.stat().st_uid
    if owner == 0:
        os.chown(file.path, 4321, 4321)
    monkeypatch.setattr(os, "getuid", lambda: 1234)
    told = f'{file.path} holds the API key and belongs to another user: sudo chown "$(id -u)" {file.path}'
    assert str(file.warning(holds_key=True)) == told
    for uid in (file.path.stat().st_uid, 0):  # its owner, and who works in the homes of others
        monkeypatch.setattr(os, "getuid", lambda uid=uid: uid)
        assert file.warning(holds_key=True) is None


@on_posix
def test_a_file_that_others_can_read_is_warned_about_and_mended(file: ConfigFile) -> None:
    """A wide mode is told with the command that narrows it, and the next change narrows it."""
    write(file, f'api_key = "{KEY}"\n')
    file.path.chmod(0o644)
    assert f"mode 0644): chmod 600 {file.path}" in str(file.warning(holds_key=True))
    file.change("timeout", "5m")
    assert mode_of(file.path) == 0o600
    assert file.warning(holds_key=True) is None


def test_a_file_that_is_not_there_is_empty_and_safe(file: ConfigFile) -> None:
    """There is nothing to read in it, and nothing to warn of."""
    assert (file.read(), file.warning(holds_key=True)) == ({}, None)


@on_posix
def test_an_existing_folder_keeps_its_mode(file: ConfigFile) -> None:
    """A folder that was there before is the user's own business."""
    file.path.parent.chmod(0o755)
    file.change("timeout", "5m")
    assert mode_of(file.path.parent) == 0o755


@on_posix
def test_no_part_is_ever_wide(file: ConfigFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """The new file is written under another name, never wider than 0600, and renamed over the old one."""
    write(file, 'timeout = "5m"\n')
    seen: list[tuple[int, bool]] = []
    original = os.fsync

    def looking(descriptor: int) -> None:
        parts = [path for path in file.path.parent.iterdir() if path != file.path]
        seen.extend((mode_of(part), KEY in written(file)) for part in parts)
        original(descriptor)

    monkeypatch.setattr(os, "fsync", looking)
    file.change("api_key", KEY)
    assert seen == [(0o600, False)]
    assert list(file.path.parent.iterdir()) == [file.path]
    assert KEY in written(file)


@pytest.mark.parametrize("is_stored", [True, False])
def test_what_a_kill_left_of_a_change_goes_with_the_next_one(file: ConfigFile, *, is_stored: bool) -> None:
    """The API key may stand there, and logout says that it was removed."""
    left = file.path.with_name(f".{file.path.name}.0123456789ab.part")
    other = file.path.with_name(".other.part")
    for path in (left, other):
        path.parent.mkdir(exist_ok=True)
        path.write_text(f'api_key = "{KEY}"\n')
    if is_stored:
        file.change("timeout", "5m")
    else:
        file.remove_parts()
    assert (left.exists(), other.exists(), file.path.exists()) == (False, True, is_stored)


@on_posix
def test_a_symlink_stays_one(file: ConfigFile, tmp_path: Path) -> None:
    """A config file kept elsewhere is changed there, also where it does not exist yet."""
    real = tmp_path / "dotfiles" / "cometrep.toml"
    real.parent.mkdir()
    file.path.symlink_to(real)
    file.change("timeout", "5m")
    assert file.path.is_symlink()
    assert tomllib.loads(real.read_text("utf-8")) == {"timeout": "5m"}
    file.change("timeout", "6m")
    assert file.path.is_symlink()
    assert tomllib.loads(real.read_text("utf-8")) == {"timeout": "6m"}
    assert list(real.parent.iterdir()) == [real]
    file.change("api_key", KEY)
    real.chmod(0o644)
    assert str(file.warning(holds_key=True)).startswith(
        f"{file.path} ({real}) holds the API key and others can read it"
    )


# The line that is changed

LAID_OUT = """\
# my settings
timeout = "5m"   # five

  base_url='https://x.example'
"progress" = "bar"
unknown = [1, 2]
# api_key = "commented out"

[other]
timeout = "mine"
"""


@pytest.mark.parametrize(
    ("name", "value", "before", "after"),
    [
        ("timeout", "6m", 'timeout = "5m"   # five\n', 'timeout = "6m"\n'),
        (
            "base_url",
            "https://y.example",
            "  base_url='https://x.example'\n",
            'base_url = "https://y.example"\n',
        ),
        ("progress", "none", '"progress" = "bar"\n', 'progress = "none"\n'),
        ("dir", "out", "\n[other]\n", '\ndir = "out"\n[other]\n'),
        ("timeout", None, 'timeout = "5m"   # five\n', ""),
        ("progress", None, '"progress" = "bar"\n', ""),
        ("dir", None, "", ""),
    ],
    ids=["change", "indented", "quoted", "add", "remove", "remove quoted", "remove what is not there"],
)
def test_other_lines_stay(file: ConfigFile, name: str, value: str | None, before: str, after: str) -> None:
    """Setting and unsetting touch one line; comments, unknown keys and tables stay as they are."""
    write(file, LAID_OUT)
    file.change(name, value)
    assert written(file) == LAID_OUT.replace(before, after, 1)


def test_a_last_line_without_an_end_is_ended(file: ConfigFile) -> None:
    """A new line is never glued to the one before."""
    write(file, 'sandbox = true\ntimeout = "5m"')
    file.change("dir", "out")
    assert written(file) == 'sandbox = true\ntimeout = "5m"\ndir = "out"\n'


def test_comments_alone_stay_too(file: ConfigFile) -> None:
    """A file in which every setting is commented out keeps its comments."""
    write(file, '# timeout = "5m"\n')
    file.change("dir", "out")
    assert written(file) == '# timeout = "5m"\ndir = "out"\n'


def test_windows_line_ends_stay(file: ConfigFile) -> None:
    """A file with CRLF line ends keeps them in the lines that are not its business."""
    file.path.write_bytes(b'# mine\r\ntimeout = "5m"\r\n')
    file.change("dir", "out")
    assert file.path.read_bytes() == b'# mine\r\ntimeout = "5m"\r\ndir = "out"\n'


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85"], ids=repr)
def test_a_line_of_toml_ends_only_at_a_line_feed(file: ConfigFile, separator: str) -> None:
    """What Unicode calls a line separator is a character of a value, which can be replaced as any other."""
    write(file, f'dir = "a{separator}b"\n')
    file.change("dir", "c")
    assert file.read() == {"dir": "c"}


def test_a_bom_does_not_break_the_file(file: ConfigFile) -> None:
    """A file saved by an editor that adds a BOM is read."""
    write(file, '\ufefftimeout = "5m"\n')
    assert file.read() == {"timeout": "5m"}
    file.change("timeout", "6m")
    assert file.read() == {"timeout": "6m"}


@pytest.mark.parametrize(
    "text",
    [
        'note = """\ntimeout = 5\n"""\n',
        pytest.param('timeout = """\n5m"""\n'),
        pytest.param("matrix = [\n  [1],\n]\n"),
    ],
    ids=["a setting inside a text", "a value of two lines", "a list of lists"],
)
def test_a_layout_that_cannot_be_edited_by_line_is_left_alone(file: ConfigFile, text: str) -> None:
    """Where changing one line would change more than the setting, nothing is written."""
    write(file, text)
    with pytest.raises(errors.ConfigError, match="line by line") as raised:
        file.change("timeout", "6m")
    assert raised.value.hint == f"vi {file.path}"
    assert written(file) == text


@settings(max_examples=100)
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30))
@example('"\\\x7f\x1b\t')
@example("\u2028\x85\x0c\r\n")
@example("\ufeff")
def test_any_text_that_was_set_is_read_again(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    """Whatever a value holds, TOML gives it back."""
    file = ConfigFile(tmp_path_factory.getbasetemp() / "set" / "config.toml", "vi")
    file.change("dir", text)
    assert file.read() == {"dir": text}


def test_many_stores_at_once_leave_one_whole_file(file: ConfigFile) -> None:
    """However many write at the same moment, what each stored is there, with nothing left beside the file."""
    write(file, "# mine\n")
    names = ["timeout", "retry_budget", "sandbox_seconds", "max_size"]
    with ThreadPoolExecutor(16) as pool:
        stored = [pool.submit(file.change, names[number % 4], str(number + 1)) for number in range(16)]
    for future in stored:
        future.result()
    found = file.read()
    assert set(found) == set(names)
    assert all(1 <= int(value) <= 16 for value in found.values())
    assert list(file.path.parent.iterdir()) == [file.path]


@on_posix
def test_a_store_that_cannot_have_its_turn_is_an_error(file: ConfigFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where another command that was stopped in the middle holds the folder, nothing is written over its work."""
    monkeypatch.setattr(config_file, "_TURN_SECONDS", 0.0)
    holder = os.open(file.path.parent, os.O_RDONLY)
    assert lock(holder)
    with pytest.raises(errors.LocalFileError, match="another command") as raised:
        file.change("timeout", "5m")
    assert raised.value.hint == f"fuser -v {file.path.parent}"
    os.close(holder)
    file.change("timeout", "5m")
    assert file.read() == {"timeout": "5m"}


def test_a_folder_that_cannot_be_made_is_a_local_file_error(tmp_path: Path) -> None:
    """Where a file stands in the folder's place nothing can be stored, and there is nothing to read."""
    (tmp_path / "in-the-way").write_text("", "utf-8")
    file = ConfigFile(tmp_path / "in-the-way" / "home" / "config.toml", "vi")
    assert file.read() == {}
    with pytest.raises(errors.LocalFileError, match="cannot make the folder") as raised:
        file.change("timeout", "5m")
    assert "COMETREP_HOME" in raised.value.hint


# What cannot be read

BROKEN = {
    "syntax": (b'timeout = "5m"\nbase_url = \n', "line 2"),
    "cut off": (b'timeout = "5m"\nbase_url =', "(at the end, line 2)"),
    "key twice": (b'timeout = "5m"\ntimeout = "6m"\n', "line 2"),
    "not UTF-8": (b'timeout = "5m"\ndir = "caf\xe9"\n', "UTF-8 text (at line 2)"),
    "deep": (b"x = " + b"[" * 50_000, ""),
}


@pytest.mark.parametrize(("content", "told"), BROKEN.values(), ids=BROKEN.keys())
def test_a_file_that_does_not_parse_is_never_rewritten(file: ConfigFile, content: bytes, told: str) -> None:
    """A broken file is a config error that names its line, shows no value of it, and stays as it is."""
    file.path.write_bytes(content)
    for act in (file.read, lambda: file.change("timeout", "7m"), lambda: file.change("timeout", None)):
        with pytest.raises(errors.ConfigError, match="does not parse") as raised:
            act()
        assert str(file.path) in raised.value.message
        assert told in raised.value.message
        assert raised.value.hint == f"vi {file.path}"
        assert raised.value.code == "config_broken"
    assert file.path.read_bytes() == content
    assert list(file.path.parent.iterdir()) == [file.path]


def test_a_file_that_is_nested_too_deeply_is_told_with_its_line(file: ConfigFile) -> None:
    """Also where it is not the last one, and nothing closes what it opens."""
    write(file, f"timeout = 5\n\na = {'[' * 5000}\nb = 1\n")
    with pytest.raises(errors.ConfigError, match=r"nested too deeply \(at line 3\)") as raised:
        file.read()
    assert raised.value.code == "config_broken"


def test_a_broken_file_does_not_show_the_key(file: ConfigFile) -> None:
    """The error about a line that holds the key does not hold it."""
    write(file, f'api_key = "{KEY}\n')
    with pytest.raises(errors.ConfigError) as raised:
        file.read()
    assert "SECRET" not in raised.value.message + raised.value.hint


@on_posix
@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_a_config_file_that_is_no_file_cannot_be_read(make: Callable[[Path], None], file: ConfigFile) -> None:
    """What cannot be read as a file is a config error, not a file that is missing; a pipe is not waited for."""
    make(file.path)
    with pytest.raises(errors.ConfigError, match="it is no regular file") as raised:
        within(TIMEOUT_SECONDS, file.read)
    assert raised.value.code == "config_unreadable"


@on_posix
@pytest.mark.parametrize("make", [Path.mkdir, lambda path: path.write_text("=")], ids=["unreadable", "broken"])
def test_a_link_to_a_file_that_cannot_be_used_is_told_with_its_target(
    make: Callable[[Path], None], file: ConfigFile, tmp_path: Path
) -> None:
    """That is what is to be mended, and may stand in another folder, as where all settings are kept in one."""
    real = tmp_path.resolve() / "real"
    make(real)
    file.path.symlink_to(real)
    with pytest.raises(errors.ConfigError, match=re.escape(f"{file.path} ({real})")):
        file.read()


@on_posix
def test_a_link_to_the_null_device_is_a_file_with_nothing_in_it(
    file: ConfigFile, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """That is how people say that there is to be none; nothing can be set there, and the device stays one."""
    device = tmp_path / "null"  # root could replace the real one
    os.mkfifo(device)
    monkeypatch.setattr(os, "devnull", str(device))
    file.path.symlink_to(device)
    assert file.read() == {}
    with pytest.raises(errors.LocalFileError, match=f"leads to {device}, which keeps nothing") as raised:
        file.change("timeout", "5m")
    assert raised.value.hint == f"rm {file.path}"
    assert device.is_fifo()


def test_a_full_disk_has_its_own_code(file: ConfigFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind the file as behind the folder it stands in; and nothing of the key is left there."""

    def change() -> None:
        file.change("timeout", "6m")

    monkeypatch.setattr(os, "fsync", find_no_room)
    monkeypatch.setattr(Path, "mkdir", find_no_room)
    for act in (change, lambda: make_private_folder(file.path.parent / "below")):
        with pytest.raises(errors.LocalFileError, match="No space left on device") as raised:
            act()
        assert raised.value.code == "disk_full"
    assert not list(file.path.parent.iterdir())


@on_posix
def test_a_folder_that_cannot_be_held_is_a_local_file_error(
    file: ConfigFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that its owner may write in and not read."""
    monkeypatch.setattr(os, "open", find_no_room)
    with pytest.raises(errors.LocalFileError, match=f"cannot write {file.path.parent}: "):
        file.change("timeout", "6m")


@on_posix
def test_what_fails_once_all_is_stored_is_no_failure(file: ConfigFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server of files may tell then that it is ill; the folder was held, and nothing was written by that."""
    closed: list[int] = []
    close = os.close

    def fail(descriptor: int) -> None:
        closed.append(descriptor)
        close(descriptor)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    def stale(*_: object, **__: object) -> os.stat_result:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    with monkeypatch.context() as ill:
        ill.setattr(os, "close", fail)
        file.change("timeout", "6m")
    assert closed
    monkeypatch.setattr(os, "lstat", stale)
    assert with_target(file.path) == str(file.path)
    assert file.read() == {"timeout": "6m"}
