"""What people are told to type next: commands, which keep the options of the one that ended."""

import itertools
import os
import re
import shlex
from collections.abc import Container, Iterable, Sequence
from typing import NamedTuple

from cometrep.text import one_line

_QUOTED = r"""('[^']*'(?:"'"'[^']*')*)"""  # as shlex.quote writes it, apostrophes too
_IN_QUOTES = r"""'[^']*'|"[^"]*"|\$'([^']*)'"""
_SERVER_FLAG = r"(?<!\S)--(?:sandbox|base-url)(?![\w-])"
SERVER_COMMANDS = ("create", "status", "wait", "download", "run", "rerun", "batch", "list", "doctor")
"""The commands that a flag turns to another server."""
VALUED_OPTIONS = (
    *("-d", "-i", "-j", "-m", "-n", "-o", "--base-url", "--dir", "--fault", "--input", "--interval", "--jobs"),
    *("--limit", "--max-failures", "--max-size", "--model", "--output", "--port", "--print", "--progress"),
    *("--prune", "--rate", "--seconds", "--shard", "--since", "--timeout"),
)
"""The options of all commands behind which a value stands."""

OWN_NAMES = "-o '{id}-{index}.{ext}'"
"""The option that gives every file a name of its own."""
OWN_FOLDERS = "-o '{id}/{index}.{ext}'"
"""The option that does so where some have the names of others already."""
OTHER_FOLDER = "-d DIR"
"""The option for what cannot stand in this folder."""
ELSEWHERE = f"save elsewhere: {OTHER_FOLDER}"


def quoted(word: str) -> str:
    """Quote a word as a shell reads it, so that nothing in it is changed where it is shown.

    That is `$'…'` where it has what is made harmless: its bytes are then escaped, and so are quotes in it.
    """
    if one_line(word) == word:
        return shlex.quote(word)
    return f"$'{''.join(map(_escaped, word))}'"


def _escaped(character: str) -> str:
    if one_line(character) == character and character not in "'\\#":
        return character
    try:
        content = os.fsencode(character)
    except UnicodeEncodeError:  # which no name on disk has
        content = character.encode("utf-8", "surrogatepass")
    return "".join(f"\\x{byte:02x}" for byte in content)


def joined(words: Iterable[str]) -> str:
    """Give a command from its words, as it is typed."""
    return " ".join(map(quoted, words))


def parted(command: str) -> list[str]:
    """Give the words of a command that `joined` or `quoted` wrote."""
    return shlex.split(re.sub(_IN_QUOTES, _without_escapes, command))


def _without_escapes(found: re.Match[str]) -> str:
    if found[1] is None:
        return found.group()
    return shlex.quote(re.sub(r"(?:\\x[0-9a-f]{2})+", _unescaped, found[1]))


def _unescaped(found: re.Match[str]) -> str:
    return os.fsdecode(bytes.fromhex(found.group().replace("\\x", "")))


class Command(NamedTuple):
    """A command for predictions that are named later, as it is typed.

    `options` are those it is given, each with its value as it is typed; `items` stand behind the ids.
    """

    name: str
    options: tuple[str, ...] = ()
    items: tuple[str, ...] = ()

    def of(self, *ids: str, remedy: str = "") -> str:
        """Write the command for some predictions, as it is typed; `remedy` is an option that replaces its like."""
        options = [one for one in self.options if not _alike(one, remedy)] + [remedy] * bool(remedy)
        if any(map(_is_like_option, (*ids, *self.items))):
            return " ".join((self.name, *options, "--", *ids, *self.items))
        return " ".join((self.name, *ids, *self.items, *options))


def _is_like_option(word: str) -> bool:
    return word.startswith(("-", "'-", "$'-"))


def with_item(command: str, item: str) -> str:
    """Give a command with one more item, quoted, behind its words."""
    return f"{command} {'-- ' * (_is_like_option(item) and '--' not in parted(command))}{item}"


def _alike(option: str, remedy: str) -> bool:
    name, other = option.partition(" ")[0], remedy.partition(" ")[0]
    return name == other or {name, other} == {"--skip-existing", "--overwrite"}


def takes_next(word: str, valued: Container[str] = VALUED_OPTIONS) -> bool:
    """Say whether the word behind this one is an option's value, as behind `--output`, `-o` or `-qo`."""
    if not re.match("-[^-]", word):
        return word in valued
    *before, last = (f"-{letter}" in valued for letter in word[1:])
    return last and not any(before)


def operands(words: Sequence[str]) -> list[int]:
    """List where in the words of a command those stand that are neither options nor the values of some."""
    places, end = _places(words)
    return [*places, *range(end + 1, len(words))]


def _places(words: Sequence[str]) -> tuple[list[int], int]:
    """List the places of operands before the `--` that ends the options, and give its own, or that of the end."""
    places = []
    at = 2  # behind the program and the command's name
    while at < len(words) and words[at] != "--":
        if takes_next(words[at]):
            at += 1
        elif words[at] == "-" or not words[at].startswith("-"):
            places.append(at)
        at += 1
    return places, min(at, len(words))


def with_ids(command: str, ids: Sequence[str], *, typed: int) -> str:
    """Give a command with ids in the place of what names predictions in it, its first words, `typed` of them."""
    words = parted(command)
    places, (_, end) = operands(words), _places(words)
    options = [word for at, word in enumerate(words) if at not in places and at != end]
    named = [*ids, *(words[at] for at in places[typed:])]
    return joined([*options, *["--"] * any(word.startswith("-") for word in named), *named])


def on_sandbox(command: str) -> str:
    """Give a command as it asks the sandbox, and no other server that it names."""
    words = parted(command)
    _, end = _places(words)
    kept = [
        word
        for before, word in itertools.pairwise(words[1:end])
        if not word.startswith("--base-url") and before != "--base-url"
    ]
    return joined([*words[:2], "--sandbox", *kept, *words[end:]])


def with_flag(hint: str, flag: str) -> str:
    """Add to the commands in a hint the flag that chose the server, where they have none."""
    commands = [""]
    for number, piece in enumerate(re.split(_QUOTED, hint)):
        first, *others = [piece] if number % 2 else piece.split(" && ")  # every second one stands in quotes
        commands[-1] += first
        commands += others
    return " && ".join(_with_flag(command, flag) for command in commands)


def _with_flag(command: str, flag: str) -> str:
    # What stands in quotes is a name or a template, whatever words it holds.
    pieces = re.split(_QUOTED, command)
    if not flag or any(re.search(_SERVER_FLAG, piece) for piece in pieces[::2]):
        return command
    reaches_server = rf"\bcometrep (?:{'|'.join(SERVER_COMMANDS)})\b"
    pieces[::2] = [re.sub(reaches_server, lambda found: f"{found.group()} {flag}", piece) for piece in pieces[::2]]
    return "".join(pieces)


DOCTOR = "cometrep doctor"
"""The hint where a setting or something on the way may be wrong; alone, the same command would meet the same."""
RUN_AGAIN = "run the same command again"
"""The hint where a command may be typed once more; a batch puts the command itself in its place."""
WAIT_AGAIN = Command("cometrep wait")
RERUN = Command("cometrep rerun")
"""The hint where a prediction may be created again; a command that knows how it would puts its own in its place."""
LIST_UNKNOWN = "cometrep list --unknown"
NEWEST = "install its newest version here too, from where this one came"
"""The hint where a file was written by a newer cometrep."""
OTHER_HOME = 'export COMETREP_HOME="$PWD/.cometrep"'
"""The hint where the folder of settings and ledger cannot be used; not one relative to wherever a command runs."""
LOOK_WHOLE = Command("cometrep status", ("--json",))
LOOK_AT_URLS = Command("cometrep status", ("--print url",))
