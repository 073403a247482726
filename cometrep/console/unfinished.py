"""What a command leaves that is stopped: which predictions, and what it says of them."""

from collections.abc import Iterable

from cometrep.errors import Failure
from cometrep.events import Created, Event, Saved, Saving, Seen
from cometrep.hints import WAIT_AGAIN, Command

_RUNS, _HAS_ENDED, _IS_SAVED = range(3)  # how far a prediction is; the last where some of its files are saved


class Unfinished:
    """The predictions that a command is not done with, by what its events tell; it began with those of `ids`."""

    def __init__(self, ids: Iterable[str]) -> None:
        self._came = dict.fromkeys(ids, _RUNS)

    def take(self, event: Event) -> None:
        """Take up what an event tells."""
        if isinstance(event, Created):
            self._came[event.id] = _HAS_ENDED if event.prediction.is_terminal else _RUNS
        elif event.id in self._came:
            if isinstance(event, Seen):
                self._came[event.id] = _HAS_ENDED if event.prediction.is_terminal else _RUNS
            elif isinstance(event, Saving):
                self._came[event.id] = max(_HAS_ENDED, self._came[event.id])
            elif isinstance(event, Saved):
                self._came[event.id] = _IS_SAVED

    def left(self, named: str | None = None) -> list[str]:
        """Give the ids of those predictions, else the one that was `named` with what ended the command."""
        return list(self._came) or ([named] if named else [])

    def leave(self, id: str) -> None:
        """Take it that the command is done with one of them."""
        self._came.pop(id, None)

    def tell(self, stop: Failure, resume: Command) -> None:
        """Say in what stopped the command which are left, and give the command that takes them up again."""
        # One that is in doubt has its hint already, and may not run.
        left = self.left(None if stop.hint else stop.prediction_id)
        if not left:
            return
        stop.prediction_id = left[0]
        ended = "ended, and not told yet" if resume.name == WAIT_AGAIN.name else "not saved yet"
        for words, came in (("left running", _RUNS), (ended, _HAS_ENDED), ("not all saved or told yet", _IS_SAVED)):
            if ids := [id for id in left if self._came.get(id, _RUNS) == came]:
                stop.message += f"; {words}: {', '.join(ids)}"
        stop.hint = resume.of(*left)
