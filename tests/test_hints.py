"""Hints: what is to be typed can be typed as it stands."""

import ast
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cometrep import cli, hints
from cometrep.text import one_line
from tests.conftest import needs


def every_hint() -> Iterator[tuple[str, str]]:
    """Yield every hint that is written in the package as a text, with its place; X stands for what is filled in."""
    for path in sorted(Path(hints.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.keyword) and node.arg == "hint":
                value: ast.AST = node.value
            elif isinstance(node, ast.Assign) and named(node.targets[0]) == "hint":
                value = node.value
            else:
                continue
            for text in texts_of(value):
                yield f"{path.name}:{node.value.lineno}", text


def named(node: ast.AST) -> str:
    """Give the last name of what is assigned to, empty where it has none."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def texts_of(node: ast.AST) -> Iterator[str]:
    """Yield the texts that an expression may come to."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        yield "".join(str(part.value) if isinstance(part, ast.Constant) else "X" for part in node.values)
    elif isinstance(node, ast.IfExp):
        yield from texts_of(node.body)
        yield from texts_of(node.orelse)
    elif isinstance(node, ast.BoolOp):
        for value in node.values:
            yield from texts_of(value)


TYPED = {"cometrep", "&&", "|", "…", "-", *(line.name for line in cli.CONTENTS)}
SUBWORDS = {"url", "get", "set", "unset", "show", "bash", "batch", "config", "<(cometrep", "bash)", "source"}


def test_a_hint_that_names_a_command_is_that_command() -> None:
    """What is to be typed can be typed as it stands: the shell would take words around it for arguments."""
    found = [(place, text) for place, text in every_hint() if re.search(r"\b(cometrep|mv|chmod|export) ", text)]
    assert len(found) > 30
    wrong = []
    for place, text in found:
        for word in [] if re.match(r"(cp|mv|chmod|export|unset|pip) ", text) else shlex.split(text):
            is_fact = re.fullmatch(r"--?[a-z-]+|X.*|[A-Z][A-Z/_]*|.*[={@].*|[0-9]+d", word)
            if not is_fact and word not in TYPED | SUBWORDS:
                wrong.append(f"{place}: {word!r} in {text!r}")
    assert wrong == []


ODD_WORDS = (
    "",
    "a b.png",
    "it's",
    "zwj\u200dx.png",
    "\u200c''\\x41",
    "##[x].png",
    "nl\nx\ty.png",
    "caf\udce9 ##vso[.png",
    "::\x1b[1m",
    "$'\\x41'\u202e$(x)",
    "Cafe\u0301 zdj\u0119cie.png",
)


@needs("bash")
def test_a_quoted_word_is_shown_and_read_as_it_is() -> None:
    """What is made harmless where it is shown would name another file; a shell reads it, and so do we."""
    command = hints.joined(ODD_WORDS)
    assert one_line(command) == command
    assert "\\'" not in command
    assert hints.parted(f"cometrep download {command}") == ["cometrep", "download", *ODD_WORDS]
    done = subprocess.run(["bash", "-c", f"printf '%s\\0' {command}"], capture_output=True, check=True)
    assert done.stdout.split(b"\0")[:-1] == [os.fsencode(word) for word in ODD_WORDS]


def test_a_word_that_is_no_name_on_disk_is_shown_too() -> None:
    """A lone surrogate of a key in JSON has no bytes of its own."""
    assert hints.quoted("\ud800") == r"$'\xed\xa0\x80'"


def test_quoted_words_stay_in_a_command_that_is_changed() -> None:
    """Whatever server it is given, and whatever its words look like."""
    odd = hints.quoted("cometrep wait\u200d && --sandbox")
    assert hints.on_sandbox(f"cometrep wait {odd}") == f"cometrep wait --sandbox {odd}"
    assert hints.with_flag(f"cometrep wait {odd}", "--sandbox") == f"cometrep wait --sandbox {odd}"
    assert hints.WAIT_AGAIN.of(hints.quoted("-\u200d")) == r"cometrep wait -- $'-\xe2\x80\x8d'"


@pytest.mark.parametrize("item", ["-x@a.png", "'-x@a b.png'"])
def test_what_begins_as_an_option_does_stands_behind_two_dashes(item: str) -> None:
    """An id, and an item of the command that creates a prediction again, quoted or not."""
    rerun = hints.RERUN._replace(options=("-q",), items=(item,))
    assert rerun.of("p1") == f"cometrep rerun -q -- p1 {item}"
    assert hints.WAIT_AGAIN.of("-p1") == "cometrep wait -- -p1"
    assert hints.RERUN._replace(options=("-q",)).of("p1") == "cometrep rerun p1 -q"


@pytest.mark.parametrize(
    ("remedy", "command"),
    [
        ("", "cometrep download p1 -d out --skip-existing"),
        ("--overwrite", "cometrep download p1 -d out --overwrite"),
        ("-d DIR", "cometrep download p1 --skip-existing -d DIR"),
        ("--wait", "cometrep download p1 -d out --skip-existing --wait"),
    ],
)
def test_a_remedy_takes_the_place_of_its_like(remedy: str, command: str) -> None:
    """The command is one that can be typed: no option stands in it twice, or against another."""
    resume = hints.Command("cometrep download", ("-d out", "--skip-existing"))
    assert resume.of("p1", remedy=remedy) == command


@pytest.mark.parametrize(
    ("command", "there"),
    [
        ("status p1", "status --sandbox p1"),
        ("wait p1 --base-url https://x.test -q", "wait --sandbox p1 -q"),
        ("wait --base-url=https://x.test -- p1", "wait --sandbox -- p1"),
        ("download -d -- p1 --base-url https://x.test", "download --sandbox -d -- p1"),
        ("rerun p1 'prompt=a cat and --sandbox'", "rerun --sandbox p1 'prompt=a cat and --sandbox'"),
    ],
)
def test_a_command_is_turned_to_the_sandbox(command: str, there: str) -> None:
    """Whatever server it named, and whatever stands in its texts."""
    assert hints.on_sandbox(f"cometrep {command}") == f"cometrep {there}"


@pytest.mark.parametrize(
    ("command", "ids", "named"),
    [
        ("rerun -q - seed=8", ["p1"], "rerun -q p1 seed=8"),
        ("rerun - -x=8 --dry-run", ["-p1"], "rerun -x=8 --dry-run -- -p1"),
        ("rerun --dry-run -- - -x=8", ["p1"], "rerun --dry-run -- p1 -x=8"),
        ("rerun -d -o -", ["p1"], "rerun -d -o p1"),
        ("download -qo - - --json", ["p1", "p2"], "download -qo - --json p1 p2"),
        ("download -d - -", ["p1"], "download -d - p1"),
        ("download -d -- -", ["p1"], "download -d -- p1"),
        ("download -d -- -- -", ["-p1"], "download -d -- -- -p1"),
        ("status p1 - p2 --progress lines", ["p2", "p3"], "status --progress lines p2 p3"),
    ],
)
def test_ids_take_the_place_of_what_was_typed_for_them(command: str, ids: list[str], named: str) -> None:
    """Not of an option's value; what begins as an option does stands behind two dashes."""
    typed = 3 if command.startswith("status") else 1
    assert hints.with_ids(f"cometrep {command}", ids, typed=typed) == f"cometrep {named}"


def test_every_option_with_a_value_is_known() -> None:
    """What stands behind it is no id and no FILE, though it may look like one."""
    pages = [page for one in cli.pages().parts for page in (one, *one.parts)]
    valued, switches = (
        {
            name
            for page in pages
            for option in page.options
            if bool(option.metavar) is has_value
            for name in option.names
        }
        for has_value in (True, False)
    )
    assert set(hints.VALUED_OPTIONS) == valued - switches
    assert valued & switches == {"--status"}  # of `list` alone, which names no prediction


def test_each_command_of_a_hint_keeps_the_server() -> None:
    """One that has it already, and one before it that has not; what stands in quotes is no command."""
    flag = "--base-url https://x.test"
    again = f"cometrep batch a.jsonl {flag}"
    assert hints.with_flag(f"cometrep doctor && {again}", flag) == f"cometrep doctor {flag} && {again}"
    quoted = f"cometrep run a/b prompt='this && that' {flag}"
    assert hints.with_flag(quoted, flag) == quoted
    apart = f"""cometrep wait 'it'"'"'s' ' && ' 'x cometrep wait'"'"'' {flag}"""
    assert hints.with_flag(apart, flag) == apart
    turned = "cometrep wait --sandbox p1"
    assert hints.with_flag(turned, flag) == turned
    assert hints.with_flag("cometrep download p1 -d 'x --sandbox'", "--sandbox") == (
        "cometrep download --sandbox p1 -d 'x --sandbox'"
    )


def test_every_command_that_a_flag_turns_to_another_server_keeps_it_in_hints() -> None:
    """Without it the command of a hint would ask, and pay, the API itself."""
    turned = {
        page.words[-1] for page in cli.pages().parts if any("--sandbox" in option.names for option in page.options)
    }
    assert turned == set(hints.SERVER_COMMANDS)
