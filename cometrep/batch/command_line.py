"""Edit the command line of a batch as it was typed, so that what a hint says keeps every option of it."""

from collections.abc import Sequence

from cometrep.batch.snapshot import comes_once
from cometrep.hints import joined, operands, parted, quoted

SENDING_AGAIN = ("--retry-failed", "--retry-unknown")
"""The options that have items sent again which an earlier run sent."""


def adding(option: str, command: str) -> str:
    """Give a command with one more option, before a `--` behind which none can stand, in the place of the same."""
    words = parted(command)
    name, _, value = option.partition(" ")
    if value and name in words[:-1]:
        del words[words.index(name) : words.index(name) + 2]
    at = words.index("--") if "--" in words else len(words)
    return " ".join([joined(words[:at]), *[option] * bool(option), *map(quoted, words[at:])])


def replacing(word: str, others: Sequence[str], command: str) -> str:
    """Give a command with other words in the place of its FILE or an INPUT, which an option's value may be like."""
    words = parted(command)
    at = next((at for at in operands(words) if words[at] == word), words.index(word))
    return joined([*words[:at], *others, *words[at + 1 :]])


def typed_again(command: str, file: str) -> str:
    """Give a command as it can be typed once more: with `-` for a file whose name means nothing then."""
    return replacing(file, ["-"], command) if comes_once(file) else command


def resuming(command: str) -> str:
    """Give the command that goes on with a batch: without what has items sent again, or they might be twice."""
    return joined(word for word in parted(command) if word not in SENDING_AGAIN)
