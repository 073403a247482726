"""The pace of `cometrep batch`: how many items at once, how many creates a minute, after which failures none."""

import json
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import Popen

import pytest

from tests.cli.conftest import BATCH
from tests.conftest import TIMEOUT_SECONDS, Cli, needs_proc, wait_until
from tests.gateway import Gateway
from tests.servers import Answer, Received, Server, answer_json, picture


def test_a_pause_that_is_too_long_to_wait_is_told(
    served: Cli, gateway: Gateway, folder_of: Callable[..., Path]
) -> None:
    """With the command to type when it is over."""
    folder_of("cat")
    gateway.refusals["cat"] = [answer_json({"detail": "slow down"}, 429, headers={"Retry-After": "3600"})]
    ran = served(*BATCH)
    assert (ran.code, gateway.total) == (7, 0)
    assert "slow down (the API asks to wait 1h); 1 of 1 item left\n" in ran.stderr
    assert ran.stderr.endswith(f"hint: cometrep {' '.join(BATCH)}\n")


def test_a_pause_that_is_too_long_holds_up_one_item_alone(
    served: Cli, gateway: Gateway, folder_of: Callable[..., Path]
) -> None:
    """A look that is told to wait for a day: the others are looked at, created and saved all the same."""
    out = folder_of("cat", "dog", "owl")
    gateway.server.on_get(answer_json({"detail": "slow down"}, 429, headers={"Retry-After": "86400"}), gateway.look)
    ran = served(*BATCH, "-j", "1", "--timeout", "5")
    assert (ran.code, len(ran.lines), gateway.total) == (9, 2, 3)
    assert "the API asks to wait 24h, longer than the retry budget of 1m" in ran.stderr
    assert (served(*BATCH).code, gateway.total, len(list(out.glob("*.webp")))) == (0, 3, 3)


def moments_of(gateway: Gateway) -> list[tuple[float, int]]:
    """Note from now on when each create was answered, and with which status."""
    moments: list[tuple[float, int]] = []

    def timed(request: Received) -> Answer:
        answer = gateway.create(request)
        moments.append((time.monotonic(), answer.status))
        return answer

    gateway.server.on_create(timed)
    return moments


def test_throttled_creates_are_sent_once_accepted(
    served: Cli, gateway: Gateway, folder_of: Callable[..., Path]
) -> None:
    """After a 429 nothing is sent before Retry-After has passed, it is said, and each item is accepted once."""
    folder_of("p0", "p1", "p2")
    asked_seconds = 0.6  # longer than the first pause would be anyway
    gateway.refusals["p1"] = [
        answer_json({"detail": "slow down"}, 429, headers={"Retry-After": str(asked_seconds)})
    ]
    moments = moments_of(gateway)
    ran = served(*BATCH, "-j", "1", "--progress", "json")
    assert (ran.code, gateway.creates) == (0, {"p0": 1, "p1": 1, "p2": 1})
    assert [status for _, status in moments] == [201, 429, 201, 201]
    assert moments[2][0] - moments[1][0] >= asked_seconds
    (retry,) = (event for event in map(json.loads, ran.stderr.splitlines()) if event["event"] == "retry")
    assert "slow down" in retry["reason"]
    assert retry["pause_seconds"] == pytest.approx(asked_seconds, abs=0.01)


def test_max_failures_stops_sending(served: Cli, gateway: Gateway, folder_of: Callable[..., Path]) -> None:
    """And what is left can be resumed; failures of earlier runs do not count."""
    prompts = [f"p{i}" for i in range(20)]
    folder_of(*prompts)
    gateway.ends |= dict.fromkeys(prompts, "failed")
    ran = served(*BATCH, "-j", "1", "--max-failures", "3")
    assert ran.stderr.count("no more are sent: that was the last failure of --max-failures 3") == 1
    assert (ran.code, gateway.total) == (9, 3)
    assert "3 failed, 17 left" in ran.stderr
    gateway.ends.clear()
    assert served(*BATCH, "-j", "4", "--max-failures", "1").code == 9
    assert gateway.total == 20


@pytest.mark.parametrize("is_known", [True, False], ids=["gone files", "predictions that nobody knows"])
def test_what_earlier_runs_left_does_not_count_for_max_failures(
    is_known: bool, served: Cli, gateway: Gateway, folder_of: Callable[..., Path]
) -> None:
    """What cannot be had of it says nothing of what is sent: else each run would stop at its first create."""
    folder_of("p0", "p1")
    gateway.file_answers |= {prompt: [Answer(403)] * 99 for prompt in ("p0", "p1")}
    if not is_known:
        gateway.holds.clear()
    at_once = {"COMETREP_RETRY_BUDGET": "0"}
    served(*BATCH, "--timeout", "0.3", env=at_once)
    left_over = {gateway.id_of(prompt) for prompt in ("p0", "p1")}
    gateway.holds.set()

    def look(request: Received) -> Answer:
        if not is_known and request.path.rpartition("/")[2] in left_over:
            return answer_json({"detail": "not found"}, 404)
        return gateway.look(request)

    gateway.server.on_get(look)
    folder_of(*(f"p{i}" for i in range(6)))
    ran = served(*BATCH, "-j", "1", "--max-failures", "1", env=at_once)
    assert (ran.code, len(ran.lines), gateway.total) == (9, 4, 6)


def test_no_more_than_jobs_run_at_once(served: Cli, gateway: Gateway, folder_of: Callable[..., Path]) -> None:
    """`-j` is what the API sees."""
    folder_of(*(f"p{i}" for i in range(12)))
    gateway.looks = 2
    assert served(*BATCH, "-j", "3").code == 0
    assert 1 < gateway.most_running <= 3


@needs_proc
def test_a_thousand_in_flight_need_few_threads(
    served: Cli, gateway: Gateway, folder_of: Callable[..., Path], stopped: Callable[[Popen[bytes]], None]
) -> None:
    """`-j 1000` on one machine: their looks share one schedule and a few threads."""
    folder_of(*(f"p{i}" for i in range(1000)))
    gateway.holds.clear()
    process = served.start(*BATCH, "-j", "1000")
    stopped(process)
    wait_until(lambda: gateway.total == 1000, 5 * TIMEOUT_SECONDS)  # where a write to the disk takes 60 ms
    status = Path(f"/proc/{process.pid}/status").read_text()
    threads, peak_kb = (int(re.findall(rf"{name}:\s+(\d+)", status)[0]) for name in ("Threads", "VmHWM"))
    assert gateway.most_running == 1000
    assert threads < 40
    assert peak_kb < 100_000


def test_files_that_hang_hold_up_nothing_else(
    served: Cli, gateway: Gateway, folder_of: Callable[..., Path], stopped: Callable[[Popen[bytes]], None]
) -> None:
    """Other items are created and saved meanwhile, also where more files hang than items run at once."""
    slow, quick = [f"slow{i}" for i in range(6)], [f"p{i}" for i in range(40)]
    out = folder_of(*slow, *quick)
    may_answer = threading.Event()
    gateway.file_answers |= {prompt: [Answer(body=picture(), wait_for=may_answer)] for prompt in slow}
    process = served.start(*BATCH, "-j", "4")
    stopped(process)
    wait_until(lambda: len(list(out.glob("*.webp"))) == len(quick))
    assert gateway.total == len(slow) + len(quick)
    may_answer.set()
    _, told = process.communicate(timeout=TIMEOUT_SECONDS)
    assert process.returncode == 0, told


def test_rate_spaces_creates(served: Cli, gateway: Gateway, folder_of: Callable[..., Path]) -> None:
    """`--rate` holds whatever -j allows: three creates at two a second take a second."""
    folder_of("cat", "dog", "owl")
    moments = moments_of(gateway)
    assert served(*BATCH, "-j", "3", "--rate", "2/s").code == 0
    assert len(moments) == 3
    assert moments[-1][0] - moments[0][0] > 0.3  # of 1.0, where the first one was slow to come


def test_a_bad_rate_is_refused(served: Cli, server: Server, folder_of: Callable[..., Path]) -> None:
    """With the value and an example."""
    folder_of("cat")
    ran = served(*BATCH, "--rate=-1/m")
    assert (ran.code, server.received) == (2, [])
    assert "'-1/m'" in ran.stderr
    assert "--rate 60/m" in ran.stderr


def test_failures_in_doubt_that_end_a_batch_are_its_code(
    served: Cli, gateway: Gateway, folder_of: Callable[..., Path]
) -> None:
    """With --max-failures too: to go on is to put more in doubt, so the hint is to look first."""
    folder_of(*(f"p{i}" for i in range(9)))
    gateway.server.on_create(answer_json({"error": "down"}, 503))
    ran = served(*BATCH, "-j", "1", "--max-failures", "3")
    assert (ran.code, gateway.server.creates) == (10, 3)
    assert ran.stderr.endswith("hint: cometrep list --unknown\n")
