"""A create on its way: what of it may have left where it is stopped."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cometrep import errors
from cometrep.api import Api
from cometrep.config.values import ApiKey
from cometrep.ledger import Ledger
from cometrep.prediction import Prediction, Request
from cometrep.sending import Sending
from tests.conftest import TIMEOUT_SECONDS
from tests.servers import HANG, SCHNELL, Server, answer_json, prediction


class Bench:
    """A create for the scripted server, which is stopped at moments of its own."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.server = server
        self.api = Api(base_url=server.url, api_key=ApiKey("sk-test-12345678"))
        self.ledger = Ledger(folder / "ledger.sqlite3", base_url=server.url, is_sandbox=False)
        self.sending = Sending(self.api, self.ledger, Request(SCHNELL, {"prompt": "cat"}))

    def close(self) -> None:
        self.sending.close()
        self.api.close()
        self.ledger.close()

    def stopped_in(self, call: Callable[..., Any], *, is_behind: bool) -> Callable[..., Any]:
        """Give a call before or behind which the create is stopped."""

        @functools.wraps(call)
        def calling(*values: Any, **named: Any) -> Any:
            answer = None
            if is_behind:
                answer = call(*values, **named)
            self.sending.stop()
            return answer if is_behind else call(*values, **named)

        return calling

    def statuses(self) -> list[str]:
        """The status of every entry, newest first."""
        return [entry.status for entry in self.ledger.entries()]


@pytest.fixture
def bench(server: Server, folder: Path) -> Iterator[Bench]:
    """A create that is not begun."""
    with contextlib.closing(Bench(server, folder)) as opened:
        yield opened


@pytest.mark.parametrize(
    ("owner", "name", "is_behind"),
    [("ledger", "begin", False), ("ledger", "begin", True), ("api", "create", False), ("api", "_session", True)],
    ids=["before its entry", "behind its entry", "before it is sent", "as it connects"],
)
def test_a_create_that_is_stopped_before_it_left_does_not_leave(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, owner: str, name: str, *, is_behind: bool
) -> None:
    """Its entry says that it was not sent, whoever hears of it."""
    opened = getattr(bench, owner)
    monkeypatch.setattr(opened, name, bench.stopped_in(getattr(opened, name), is_behind=is_behind))
    bench.server.on_create(answer_json(prediction("made1", "starting")))
    bench.sending.begin()
    assert bench.sending.is_answered(TIMEOUT_SECONDS)
    assert isinstance(bench.sending.outcome, errors.Temporary)
    assert bench.statuses() == ["refused"]
    assert bench.server.creates == 0


def test_what_is_stopped_before_its_first_step_was_not_sent(bench: Bench) -> None:
    """A signal may come in between."""
    bench.sending.stop()
    assert isinstance(bench.sending.outcome, errors.Temporary)
    assert (bench.sending.may_have_left, bench.statuses()) == (False, [])


def test_a_create_that_is_stopped_behind_that_is_in_doubt_until_its_answer(bench: Bench) -> None:
    """Its bytes may be there."""
    bench.server.on_create(HANG)
    bench.sending.begin()
    while not bench.sending.may_have_left:
        assert not bench.sending.is_answered(0.01)
    bench.sending.stop()
    assert bench.sending.outcome is None
    assert bench.statuses() == ["unknown"]


def test_each_attempt_has_an_answer_of_its_own(bench: Bench) -> None:
    """That of the one before is none of the next, whose entry is in doubt again as it leaves."""
    bench.server.on_create(answer_json({"detail": "slow down"}, 429), answer_json(prediction("made1", "starting")))
    bench.sending.begin()
    assert bench.sending.is_answered(TIMEOUT_SECONDS)
    assert isinstance(bench.sending.outcome, errors.Temporary)
    bench.ledger.refuse(bench.sending.entry, bench.sending.outcome)
    bench.sending.begin()
    assert bench.sending.is_answered(TIMEOUT_SECONDS)
    assert isinstance(bench.sending.outcome, Prediction)
    assert bench.statuses() == ["unknown"]
