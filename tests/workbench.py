"""What tests of a prediction's way work with: a runner over a scripted server, and a shelf for its outputs."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from cometrep import hints
from cometrep.api import Api
from cometrep.config.values import ApiKey
from cometrep.download import Downloads, Rules
from cometrep.events import Event
from cometrep.keeping import Keeper
from cometrep.ledger import Ledger
from cometrep.places import Keeping
from cometrep.prediction import Prediction, Request
from cometrep.runner import Runner
from cometrep.schedule import Patience
from tests.servers import SCHNELL, TYPED, Answer, Server, picture

REQUEST = Request(SCHNELL, {"prompt": "cat"})


class Bench:
    """A runner of the scripted server, with a clock that only its own sleeping moves."""

    def __init__(
        self,
        server: Server,
        folder: Path,
        /,
        *,
        allows_local: bool = True,
        overwrites: bool = False,
        **keeping: Any,
    ) -> None:
        self.server = server
        self.folder = folder
        self.slept: list[float] = []
        self.now = 0.0
        self.api = Api(base_url=server.url, api_key=ApiKey("sk-test-12345678"), clock=lambda: 0.0)
        self.ledger = Ledger(folder / "ledger.sqlite3", base_url=server.url, is_sandbox=False)
        self.patience = Patience(deadline_seconds=600.0, retry_budget_seconds=60.0, interval_seconds=0.01)
        self.later = 0.0  # seconds that the time of day is ahead
        self.downloads = Downloads(
            Rules(allows_local=allows_local, max_size_bytes=10**9, overwrites=overwrites),
            sleep=self.sleep,
            random=lambda: 0.0,
        )
        keeping = {"folder": str(folder / "out"), **keeping}
        self.keeper = Keeper(Keeping(**keeping), self.downloads, self.ledger)
        self.events: list[Event] = []

    def close(self) -> None:
        self.ledger.close()
        self.downloads.close()
        self.api.close()

    @property
    def runner(self) -> Runner:
        """A runner as this bench is set up now."""
        return Runner(
            self.api,
            self.ledger,
            patience=self.patience,
            resume=hints.Command("cometrep download --wait"),
            keeper=self.keeper,
            clock=self.clock,
            now=lambda: time.time() + self.later,
            sleep=self.sleep,
            random=lambda: 0.0,
        )

    def clock(self) -> float:
        return time.monotonic() + self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def drain(self, events: Iterator[Event]) -> list[Event]:
        """Run a use case to its end, keeping what it yielded even where it raises."""
        for event in events:
            self.events.append(event)
        return self.events

    def entries(self) -> list[tuple[str, str]]:
        """Id and status of every entry, newest first."""
        return [(entry.id, entry.status) for entry in self.ledger.entries()]

    def saved(self) -> dict[str, bytes]:
        """The visible files in the folder to save in."""
        out = self.folder / "out"
        return {path.name: path.read_bytes() for path in sorted(out.iterdir())} if out.exists() else {}


SetUp = Callable[..., Bench]


def files_on(server: Server, *names: str) -> list[str]:
    """Serve a picture under each name, each of its own content, and give the URLs."""
    for number, name in enumerate(names):
        server.on("GET", f"/files/{number}/{name}", Answer(200, picture(2000, seed=number), TYPED))
    return [f"{server.url}/files/{number}/{name}" for number, name in enumerate(names)]


class Shelf:
    """A folder to keep outputs in, and a ledger that remembers them."""

    def __init__(self, root: Path, *, is_sandbox: bool = False, base_url: str = "https://api.cometapi.com") -> None:
        self.folder = root / "out"
        self.age_seconds = 0  # of what is written into the ledger
        self.ledger = Ledger(
            root / "ledger.sqlite3",
            base_url=base_url,
            is_sandbox=is_sandbox,
            clock=lambda: time.time() - self.age_seconds,
        )

    def keeper(self, template: str = "", *, skips_existing: bool = False, **keeping: Any) -> Keeper:
        """Make a keeper of one command."""
        rules = Rules(allows_local=True, max_size_bytes=10**9, skips_existing=skips_existing)
        keeping = {"folder": str(self.folder), **keeping}
        return Keeper(Keeping(template=template, **keeping), Downloads(rules), self.ledger)

    def create(self, id: str, model: str) -> None:
        """Remember a create that was accepted."""
        self.ledger.accept(self.ledger.begin(model, {}), Prediction(id, "starting"))

    def names(self) -> list[str]:
        """The names in the folder that are not hidden."""
        return sorted(path.name for path in self.folder.glob("[!.]*"))
