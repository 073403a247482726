"""What people are told to type next: commands, which keep the options of the one that ended."""

from typing import NamedTuple


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
        if any(word.startswith(("-", "'-")) for word in (*ids, *self.items)):
            return " ".join((self.name, *options, "--", *ids, *self.items))
        return " ".join((self.name, *ids, *self.items, *options))


def _alike(option: str, remedy: str) -> bool:
    name, other = option.partition(" ")[0], remedy.partition(" ")[0]
    return name == other or {name, other} == {"--skip-existing", "--overwrite"}


RUN_AGAIN = "run the same command again"
"""The hint where a command may be typed once more; a batch puts the command itself in its place."""
WAIT_AGAIN = Command("cometrep wait")
RERUN = Command("cometrep rerun")
"""The hint where a prediction may be created again; a command that knows how it would puts its own in its place."""
LIST_UNKNOWN = "cometrep list --unknown"
OTHER_HOME = 'export COMETREP_HOME="$PWD/.cometrep"'
"""The hint where the folder of settings and ledger cannot be used; not one relative to wherever a command runs."""
LOOK_WHOLE = Command("cometrep status", ("--json",))
LOOK_AT_URLS = Command("cometrep status", ("--print url",))
