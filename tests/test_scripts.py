"""Completion scripts: each holds the whole command tree, and every shell takes it for what it is."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from cometrep import cli
from cometrep.completion.scripts import SHELLS, script
from cometrep.manual.page import Argument, Option, Page
from tests.conftest import TIMEOUT_SECONDS

ROOT = cli.pages()


def every(page: Page) -> list[Page]:
    """Give a page and all below it."""
    return [page, *(one for part in page.parts for one in every(part))]


@pytest.mark.parametrize("shell", SHELLS)
def test_a_script_holds_the_whole_tree(shell: str) -> None:
    """Each command and each option with its description stands in the script, and nothing is left to fill in."""
    text = script(shell, ROOT)
    assert "@PAGES@" not in text
    assert "@HEAD@" not in text
    for page in every(ROOT):
        assert page.words[-1] in text
        for option in page.options:
            assert all(name in text for name in option.names)


@pytest.mark.parametrize("shell", SHELLS)
def test_a_script_names_only_functions_and_pages_it_has(shell: str) -> None:
    """What can take nothing more is left out, and nothing goes on to it."""
    text = script(shell, ROOT)
    assert "help_run" not in text
    assert "'help run'" not in text
    called = set(re.findall(r"(?m)^        \(\S+\) (_cometrep_\w+) ;;$", text))
    assert called <= set(re.findall(r"(?m)^(_cometrep\w+)\(\) \{$", text))
    assert bool(called) == (shell == "zsh")


HOSTILE = 'it\'s `touch owned` $(touch owned) "$HOME" [x]:(y) \\ %d {a,b} *; touch owned'


def hostile_page(*words: str, parts: tuple[Page, ...] = ()) -> Page:
    """Make a page all of whose texts are hostile."""
    return Page(
        words=("cometrep", *words),
        about=HOSTILE,
        in_short=HOSTILE,
        usage="",
        arguments=() if parts else (Argument("ID...", HOSTILE, is_repeated=True),),
        options=(
            Option(("-x", "--xray"), "", HOSTILE, ""),
            Option(("--yank",), "WHAT", HOSTILE, "", ("a", "b")),
        ),
        examples=(),
        parts=parts,
    )


HOSTILE_TREE = hostile_page(parts=(hostile_page("one"), hostile_page("two")))
PROBES = {
    "bash": "source ./script; COLUMNS=300 COMP_LINE='cometrep one -' COMP_POINT=14 COMP_TYPE=63;"
    " _cometrep cometrep - one 2>/dev/null; printf '%s\\n' \"${COMPREPLY[@]}\"",
    "zsh": 'compdef() { :; }; source ./script; _arguments() { print -rl -- "$@"; };'
    " words=(cometrep one); _cometrep_one",
    "fish": "source ./script; complete -C 'cometrep one -'",
}


@pytest.mark.parametrize("shell", SHELLS)
def test_a_description_is_never_executed(shell: str, tmp_path: Path) -> None:
    """Whatever a help text holds, each shell takes it for text."""
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    (tmp_path / "script").write_text(script(shell, HOSTILE_TREE))
    done = subprocess.run(
        [shell, "-c", PROBES[shell]],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_SECONDS,
    )
    assert done.stderr == ""
    assert "--xray" in done.stdout
    shown = done.stdout.replace("\\", "") if shell == "zsh" else done.stdout
    assert (HOSTILE.replace("\\", "") if shell == "zsh" else HOSTILE) in shown
    assert [path.name for path in tmp_path.iterdir()] == ["script"]


@pytest.mark.parametrize("shell", SHELLS)
def test_a_script_parses(shell: str, tmp_path: Path) -> None:
    """The shell itself finds no fault with the script."""
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    (tmp_path / "script").write_text(script(shell, ROOT))
    done = subprocess.run([shell, "-n", "script"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
