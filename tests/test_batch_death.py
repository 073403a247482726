"""A batch killed at any moment: the same command again finishes it, and no item is ever created twice."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import KEY, Cli, Ran, clean_environment
from tests.gateway import Gateway, json_lines
from tests.servers import SCHNELL, Server

PROMPTS = [f"p{i}" for i in range(5)]
BATCH = ("batch", "p.jsonl", "--model", SCHNELL, "-j", "3")
MOMENTS = 16  # spread over the whole life of a batch
NAMED = (
    "batch.record.open:return",
    "batch.record.add_header:return",
    "ledger.begin:return",
    "api.create:call",
    "batch.record.add:return",
    "batch.sending.send:return",  # the answer has arrived, neither record nor ledger knows it yet
    "batch.run._created:call",
    "ledger.accept:call",
    "batch.following._ended:call",
    "partfile.append:return",
    "partfile.commit:call",
    "ledger.add_file:return",
    "batch.saving.saved:call",
    "batch.gallery.write:call",
    "small_files.write_whole:return",
)


class Killed:
    """A batch of a few items that can be killed at a moment, and the API that counts."""

    def __init__(self, server: Server, root: Path) -> None:
        self.gateway = Gateway(server)
        self.count_file = root / "count"
        home, folder = root / "home", root / "work"
        for path in (home, folder):
            path.mkdir()
        (folder / "p.jsonl").write_text(json_lines(PROMPTS))
        environment = {**clean_environment(home), "COMETREP_BASE_URL": server.url, "COMETAPI_KEY": KEY}
        self.cli = Cli(home, folder, environment)

    def kill(self, moment: str, signal_name: str = "SIGKILL") -> int:
        """Run the batch, kill it at a moment, and give its exit code."""
        return self.cli.killed(signal_name, moment, self.count_file, *BATCH).code

    def again(self, *options: str) -> Ran:
        """Run the same command."""
        return self.cli(*BATCH, *options)

    def outcomes(self) -> dict[str, str]:
        """Tell where each item stands, by its prompt."""
        record = (self.cli.folder / "p" / "batch.jsonl").read_text().splitlines()
        sent = {
            step["key"]: step["input"]["prompt"] for step in map(_parsed, record) if step.get("step") == "sending"
        }
        told = [json.loads(line) for line in self.again("--status", "--json").lines]
        return {sent[item["key"]]: item["outcome"] for item in told}


def _parsed(line: str) -> dict[str, Any]:
    try:
        step: dict[str, Any] = json.loads(line)
    except ValueError:  # torn by the death
        return {}
    return step


@pytest.fixture
def killed(server: Server, tmp_path: Path) -> Killed:
    """A batch of the test's own."""
    return Killed(server, tmp_path)


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """About how many moments an undisturbed batch has."""
    with Server() as server:
        whole = Killed(server, tmp_path_factory.mktemp("life"))
        assert whole.kill("never") == 0
        yield int(whole.count_file.read_text())


def check_after_death(killed: Killed, kills: int = 1) -> None:
    """Finish the batch with the command that began it; what is in doubt is the only exception, and is named."""
    gateway = killed.gateway
    assert all(count == 1 for count in gateway.creates.values())
    again = killed.again()
    assert all(count == 1 for count in gateway.creates.values()), "an item was created twice"
    outcomes = killed.outcomes()
    in_doubt = {prompt for prompt, outcome in outcomes.items() if outcome == "unknown"}
    assert outcomes == {prompt: "unknown" if prompt in in_doubt else "done" for prompt in PROMPTS}
    assert set(PROMPTS) - in_doubt <= gateway.creates.keys()
    assert len(in_doubt) <= 3 * kills, "more than ran at once"
    assert again.code == (0 if not in_doubt else 9), again.stderr
    if in_doubt:
        assert f"{len(in_doubt)} in doubt" in again.stderr
        assert killed.again("--retry-unknown").code == 0
    folder = killed.cli.folder / "p"
    assert len(list(folder.glob("*.webp"))) == len(list(folder.glob("*.cometrep.json"))) == len(PROMPTS)
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []
    total = gateway.total
    assert (killed.again().code, gateway.total) == (0, total)
    assert total <= len(PROMPTS) + len(in_doubt)


@pytest.mark.parametrize("part", range(MOMENTS))
def test_a_batch_killed_anywhere_is_finished_by_the_same_command(killed: Killed, life: int, part: int) -> None:
    """SIGKILL at moments spread over the whole life of a batch; it may end just before the last of them."""
    code = killed.kill(str(1 + part * (life - 2) // MOMENTS))
    assert code in (-signal.SIGKILL, 0)
    assert code == -signal.SIGKILL or part > MOMENTS // 2, "it was not killed"
    check_after_death(killed)


@pytest.mark.parametrize("moment", NAMED)
def test_a_batch_killed_at_a_tender_moment_is_finished_by_the_same_command(killed: Killed, moment: str) -> None:
    """SIGKILL between the answer and the record, between a file and its step, and the like."""
    assert killed.kill(moment) == -signal.SIGKILL
    check_after_death(killed)


def test_a_batch_killed_again_and_again_comes_to_its_end(killed: Killed) -> None:
    """Each run does a little more; nothing is created twice on the way."""
    for moment in (
        "ledger.accept:return",
        "batch.following._ended:call",
        "partfile.append:return",
        "batch.saving.saved:return",
    ):
        assert killed.kill(moment) == -signal.SIGKILL
        assert all(count == 1 for count in killed.gateway.creates.values())
    check_after_death(killed, kills=4)


@pytest.mark.parametrize(
    "moment",
    [
        "calls.next:return",
        "batch.run._take:call",
        "batch.run._created:call",
        "ledger.accept:call",
        "ledger.accept:return",
    ],
)
def test_an_answer_in_hand_when_a_signal_comes_is_not_in_doubt(killed: Killed, moment: str) -> None:
    """SIGTERM between an answer's arrival and the record: what was accepted is waited for, not sent again."""
    assert killed.kill(moment, "SIGTERM") == 143
    assert set(killed.outcomes().values()) <= {"running", "new"}
    check_after_death(killed)
    assert set(killed.outcomes().values()) == {"done"}
