"""A batch's command line, edited so that a hint keeps all that was typed."""

import pytest

from cometrep.batch.command_line import adding, replacing, resuming, typed_again


def test_an_option_stands_before_what_is_no_option() -> None:
    """Behind a `--` it would be an input."""
    assert adding("--retry-failed", "cometrep batch -m a/b -- -x.jsonl") == (
        "cometrep batch -m a/b --retry-failed -- -x.jsonl"
    )
    assert adding("", "cometrep batch 'a b.jsonl'") == "cometrep batch 'a b.jsonl'"


def test_an_option_takes_the_place_of_the_same() -> None:
    """Given twice it would be read with care, to see which one counts."""
    assert (
        adding("--max-size 3G", "cometrep batch a.csv --max-size 1k -j 2")
        == "cometrep batch a.csv -j 2 --max-size 3G"
    )


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("p.txt -m a/b --dry-run", "new -m a/b --dry-run"),
        ("--dry-run p.txt -o p.txt", "--dry-run new -o p.txt"),
        ("-o p.txt --dry-run p.txt", "-o p.txt --dry-run new"),
        ("-m a/b -- p.txt", "-m a/b -- new"),
        ("--progress p.txt -j p.txt -qd p.txt p.txt", "--progress p.txt -j p.txt -qd p.txt new"),
    ],
)
def test_a_word_is_replaced_where_it_is_no_value_of_an_option(words: str, expected: str) -> None:
    """A folder may be named as the file is."""
    assert replacing("p.txt", ["new"], f"cometrep batch {words}") == f"cometrep batch {expected}"


def test_a_word_that_is_made_harmless_where_it_is_shown_stays_in_a_command() -> None:
    """It is escaped for the shell, and named as it is by who looks for it."""
    odd = r"$'z\xe2\x80\x8c.jsonl'"
    assert replacing("z\u200c.jsonl", ["-"], f"cometrep batch {odd} -m a/b") == "cometrep batch - -m a/b"
    assert resuming(f"cometrep batch {odd} --retry-failed") == f"cometrep batch {odd}"
    assert adding("--yes", f"cometrep batch -- {odd}") == f"cometrep batch --yes -- {odd}"


def test_a_folder_named_as_a_pipe_keeps_its_name() -> None:
    """The items alone are to be piped in again."""
    command = "cometrep batch /dev/fd/63 -m a/b -d /dev/fd/63"
    assert typed_again(command, "/dev/fd/63") == "cometrep batch - -m a/b -d /dev/fd/63"
    assert typed_again(command, "p.txt") == command
