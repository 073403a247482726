"""Shared options: what the commands of hints keep of them."""

import contextlib
from pathlib import Path

import pytest

from cometrep import errors
from cometrep.options import Options


@pytest.mark.parametrize(
    ("options", "told", "hint"),
    [
        (Options(print_what="ids"), "--print 'ids' is not one of id, status, path, url, output", "--print id"),
        (Options(dir=" "), "--dir '' names no folder", "--dir ."),
        (Options(output=""), "--output '' names no file", "--output '{id}.{ext}'"),
        (Options(json=True, print_what="id"), "--json and --print contradict each other", "leave out --json"),
    ],
    ids=["no word", "no folder", "no file", "contradiction"],
)
def test_options_that_cannot_be_meant_are_refused(options: Options, told: str, hint: str) -> None:
    """As a variable that is not set may leave them; each alone is well."""
    Options(json=True, overwrite=True, dir="a", output="-").check()
    with pytest.raises(errors.UsageError) as raised:
        options.check()
    assert (raised.value.message, raised.value.hint) == (told, hint)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (Options(wait=False, timeout="5m"), ["--timeout is the deadline of --wait, and does nothing without it"]),
        (Options(output="-", overwrite=True), ["--overwrite does nothing beside -o -"]),
        (Options(output="-", skip_existing=True), ["--skip-existing does nothing beside -o -"]),
        (Options(wait=True, timeout="5m"), []),
        (Options(timeout="5m", output="a", overwrite=True), []),
    ],
    ids=str,
)
def test_an_option_that_does_nothing_is_told(options: Options, told: list[str]) -> None:
    """None is passed over without a word."""
    assert options.idle() == told


@pytest.mark.parametrize(
    ("folder", "hint"),
    [('{"prompt": "a fox"}', "write prompt='a fox'"), ("@in.json", "-i in.json"), ("@new", ""), ("{a}", "")],
)
def test_an_input_behind_d_is_no_folder(
    folder: str, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stands there for curl; a prediction without it would be paid for."""
    monkeypatch.chdir(tmp_path)
    Path("in.json").write_text("{}")
    with pytest.raises(errors.UsageError) if hint else contextlib.nullcontext() as raised:
        Options(dir=folder).check()
    assert not raised or raised.value.hint == hint


@pytest.mark.parametrize(
    ("takes", "folder", "hint"),
    [
        (("dir", "items"), '{"seed": 7}', "write seed:=7"),
        (("dir", "items"), "@in.json", "name a folder: -d DIR"),
        (("dir",), '{"seed": 7}', "name a folder: -d DIR"),
    ],
    ids=["items", "no file", "no input"],
)
def test_no_input_is_asked_for_that_a_command_does_not_take(
    takes: tuple[str, ...], folder: str, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch has no file of inputs behind -i, and what saves finished predictions has none at all."""
    monkeypatch.chdir(tmp_path)
    Path("in.json").write_text("{}")
    with pytest.raises(errors.UsageError) as raised:
        Options(dir=folder, takes=takes).check()
    assert raised.value.hint == hint


@pytest.mark.parametrize(
    ("options", "command"),
    [
        (Options(timeout="5m", interval="2", logs=True), "cometrep wait p1 --interval 2 --logs"),
        (
            Options(saves=True, timeout="5m", logs=True, output="a b.png", overwrite=True, base_url="http://x"),
            "cometrep download --wait p1 -o 'a b.png' --overwrite",
        ),
        (Options(saves=True, output="--json", dir="-"), "cometrep download --wait p1 -o=--json -d -"),
    ],
    ids=["waits", "saves", "odd names"],
)
def test_what_takes_predictions_up_has_the_options_it_takes(options: Options, command: str) -> None:
    """But for the deadline, which may be what ended this command; a flag that chose the server is the console's."""
    assert options.resume.of("p1") == command


def test_what_creates_again_has_all_options_and_the_files() -> None:
    """The ledger forgets what stood in files; a list's other values are typed again with them."""
    items = ["prompt=a fox", "image@my fox.png", "refs=https://x/1.png", "refs@2.png"]
    options = Options(saves=True, items=items, timeout="5m", dir="new")
    assert options.rerun.of("p1") == (
        "cometrep rerun p1 'image@my fox.png' refs=https://x/1.png refs@2.png -d new --timeout 5m"
    )


@pytest.mark.parametrize(
    ("items", "input_file", "again"),
    [
        (["prompt=a fox", "seed=7"], "my in.json", "'prompt=a fox' seed=7 -i 'my in.json'"),
        (["prompt=a fox", "image@a.png"], "-", "image@a.png"),
        (["prompt=a fox"], "/dev/fd/63", ""),
        (["prompt=@-", "image=@b64.txt"], None, "image=@b64.txt"),
        (["prompt=@me", "image=data:image/png;base64,AAAA"], None, "prompt=@me image@FILE"),
        (["image=data:image/png;base64,AAAA"], "in.json", "image@FILE -i in.json"),
        (['refs:=["data:image/png;base64,AAAA"]'], None, "refs:=@FILE"),
        (["prompt=@-", "seed=7", "image@a.png"], "in.json", "image@a.png"),
        (["refs=@-", "refs@1.png"], None, "refs=@FILE refs@1.png"),
    ],
    ids=[
        *("file", "stdin", "descriptor", "text file", "inline", "inline over a file"),
        *("inline in JSON", "text of stdin over a file", "text of stdin in a list"),
    ],
)
def test_what_creates_again_has_the_files_of_any_kind(items: list[str], input_file: str | None, again: str) -> None:
    """Also those in the file of inputs, which the items lie over, as far as a command has them at hand again."""
    options = Options(items=items, input_file=input_file)
    assert options.rerun.of("p1") == f"cometrep rerun p1 {again}".rstrip()
