"""What a command leaves that is stopped: which predictions, and what it says of them."""

from collections.abc import Iterable

from cometrep.errors import Failure
from cometrep.events import Created, Event, Saving, Seen
from cometrep.hints import WAIT_AGAIN, Command


class Unfinished:
    """The predictions that a command is not done with, by what its events tell; it began with those of `ids`."""

    def __init__(self, ids: Iterable[str]) -> None:
        self._has_ended = dict.fromkeys(ids, False)  # and only are not saved yet, or wait for their turn

    def take(self, event: Event) -> None:
        """Take up what an event tells."""
        if isinstance(event, Created):
            self._has_ended[event.id] = False
        elif event.id in self._has_ended:
            if isinstance(event, Seen):
                self._has_ended[event.id] = event.prediction.is_terminal
            elif isinstance(event, Saving):
                self._has_ended[event.id] = True

    @property
    def left(self) -> list[str]:
        """The ids of those predictions."""
        return list(self._has_ended)

    def leave(self, id: str) -> None:
        """Take it that the command is done with one of them."""
        self._has_ended.pop(id, None)

    def tell(self, stop: Failure, resume: Command) -> None:
        """Say in what stopped the command which are left, and give the command that takes them up again."""
        # One that is in doubt has its hint already, and may not run.
        left = self.left or ([stop.prediction_id] if stop.prediction_id and not stop.hint else [])
        if not left:
            return
        stop.prediction_id = left[0]
        ended = "ended, and not told yet" if resume.name == WAIT_AGAIN.name else "not saved yet"
        for words, has_ended in (("left running", False), (ended, True)):
            if ids := [id for id in left if self._has_ended.get(id, False) is has_ended]:
                stop.message += f"; {words}: {', '.join(ids)}"
        stop.hint = resume.of(*left)
