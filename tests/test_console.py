"""What a command reads and writes, where its whole run is not needed to see it."""

import io

import pytest

from cometrep import console as console_module
from cometrep import errors
from cometrep.console import Console
from tests.conftest import wait_until


class Stderr:
    """A console that writes on paper, and what stands there."""

    def __init__(self) -> None:
        self._paper = io.BytesIO()
        self.console = Console(None, None, io.TextIOWrapper(self._paper, write_through=True), lambda name: "")

    @property
    def text(self) -> str:
        """What was written."""
        return self._paper.getvalue().decode()


def test_what_takes_a_while_is_said_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line at once in a log, too: nobody takes a long check for a hang."""
    monkeypatch.setattr(console_module, "_SLOW_SECONDS", 0.0)
    stderr = Stderr()
    with stderr.console.saying_if_slow("checking all items"):
        wait_until(lambda: stderr.text == "checking all items\n")


def test_what_is_done_soon_needs_no_word() -> None:
    """Nor what fails, or where no thread is to be had for it."""
    stderr = Stderr()
    with pytest.raises(ZeroDivisionError), stderr.console.saying_if_slow("checking all items"):
        raise ZeroDivisionError
    with stderr.console.saying_if_slow("checking all items"):
        pass
    assert stderr.text == ""


@pytest.mark.parametrize("is_json", [False, True])
def test_what_was_typed_in_a_wrong_place_is_shown_without_the_key(*, is_json: bool) -> None:
    """Whichever command it was, and in the command of the hint too."""
    stderr = Stderr()
    stderr.console.is_json = is_json
    key = "sk-abcdefgh12345678"
    stderr.console.report(errors.UsageError(f"there is no topic {key!r}", hint=f"cometrep help {key}"))
    assert stderr.text.count("[hidden]") == 2
    assert key[3:] not in stderr.text
