"""`cometrep batch`: each item created once, whatever happens; resumed to the item; told plainly."""

import contextlib
import fcntl
import json
import os
import pty
import re
import shlex
import signal
import sqlite3
import sys
import termios
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from subprocess import Popen
from typing import IO, Any

import pytest

from cometrep.batch.run import CREATE_THREADS
from tests.conftest import TIMEOUT_SECONDS, Cli, needs_proc, read_until, wait_until
from tests.gateway import Gateway, json_lines
from tests.servers import (
    HANG,
    RESET,
    SCHNELL,
    WEBP,
    Answer,
    Received,
    Server,
    answer_html,
    answer_json,
    picture,
    prediction,
)

BATCH = ("batch", "p.jsonl", "--model", SCHNELL)


@pytest.fixture
def gateway(server: Server) -> Gateway:
    """An API that counts."""
    return Gateway(server)


@pytest.fixture
def folder_of(folder: Path) -> Callable[..., Path]:
    """Write the batch file `p.jsonl` with these prompts, and give the folder of its results."""

    def write(*prompts: str) -> Path:
        (folder / "p.jsonl").write_text(json_lines(prompts))
        return folder / "p"

    return write


def steps(out: Path) -> list[dict[str, Any]]:
    """Read the record."""
    return [json.loads(line) for line in (out / "batch.jsonl").read_text().splitlines()]


def age(out: Path, seconds: float) -> None:
    """Make all that the record in a folder tells happen so much earlier."""
    old = [json.dumps({**step, "time": step["time"] - seconds}, separators=(",", ":")) for step in steps(out)]
    (out / "batch.jsonl").write_text("\n".join([*old, ""]))


def test_all_items_become_files_sidecars_and_a_record(
    served: Cli, gateway: Gateway, folder_of: Callable[..., Path]
) -> None:
    """Paths go to stdout, the summary to stderr, everything into the folder of the file's stem."""
    out = folder_of("cat", "dog", "owl")
    ran = served(*BATCH)
    assert ran.code == 0
    assert sorted(ran.lines) == sorted(f"p/{path.name}" for path in out.glob("*.webp"))
    assert len(ran.lines) == len(list(out.glob("*.cometrep.json"))) == 3
    assert re.search(r"3 done, 0 failed, 0 skipped  .* s  .* items/", ran.stderr)
    assert gateway.creates == {"cat": 1, "dog": 1, "owl": 1}
    by_item: dict[str, list[str]] = {}
    for step in steps(out):
        by_item.setdefault(step["key"], []).append(step["step"])
    assert by_item.pop("") == ["batch"]
    assert list(by_item.values()) == [["sending", "created", "ended", "saved"]] * 3


def test_the_same_command_again_sends_nothing_and_prints_the_same_paths(
    served: Cli, gateway: Gateway, folder_of: Callable[..., Path]
) -> None:
    """A script that runs it twice gets the same."""
    folder_of("cat", "dog")
    first, second = served(*BATCH), served(*BATCH)
    assert sorted(first.lines) == sorted(second.lines)
    assert (second.code, gateway.total) == (0, 2)
    assert "0 done, 0 failed, 2 skipped" in second.stderr


def test_a_changed_file_sends_what_is_new(served: Cli, gateway: Gateway, folder_of: Callable[..., Path]) -> None:
    """Lines may move, go and come."""
    folder_of("cat", "dog")
    served(*BATCH)
    folder_of("new", "dog", "newer")
    assert served(*BATCH).code == 0
    assert gateway.creates == {"cat": 1, "dog": 1, "new": 1, "newer": 1}


def test_a_file_that_grows_while_it_runs_is_sent_as_it_was_checked(
    served: Cli, gateway: Gateway, folder_of: Callable[..., Path], stopped: Callable[[Popen[bytes]], None]
) -> None:
    """What was appended, keys that are under way among it, is for the next run."""
    out = folder_of("cat", "dog")
    gateway.holds.clear()
    process = served.start(*BATCH, "-j", "1")
    stopped(process)
    wait_until(lambda: bool(gateway.total))
    with out.with_name("p.jsonl").open("a") as file:
        file.write(json_lines(["new", "cat"]))
    gateway.holds.set()
    stdout, stderr = process.communicate(timeout=TIMEOUT_SECONDS)
    assert (process.returncode, len(stdout.splitlines()), gateway.creates) == (0, 2, {"cat": 1, "dog": 1})
    assert b"the file has grown since the batch began" in stderr
    assert b"2 done, 0 failed, 0 skipped" in stderr
    assert served(*BATCH).code == 0
    assert gateway.creates == {"cat": 2, "dog": 1, "new": 1}


def test_a_file_that_changes_while_it_runs_is_sent_no_further(
    served: Cli, gateway: Gateway, folder_of: Callable[..., Path], stopped: Callable[[Popen[bytes]], None]
) -> None:
    """What was not checked is not paid for; what runs is finished."""
    prompts = [letter * 200_000 for letter in "abc"]
    out = folder_of(*prompts)
    gateway.holds.clear()
    process = served.start(*BATCH, "-j", "1")
    stopped(process)
    wait_until(lambda: bool(gateway.total))
    with out.with_name("p.jsonl").open("r+") as file:
        file.write(json_lines([letter * 200_000 for letter in "bca"]))
    gateway.holds.set()
    _, stderr = process.communicate(timeout=TIMEOUT_SECONDS)
    assert (process.returncode, gateway.creates) == (12, {prompts[0]: 1})
    assert (
        b"'p.jsonl' is not what it was when the batch began, and nothing more of it is sent; 2 of 3 items" in stderr
    )
    assert stderr.endswith(f"hint: cometrep batch p.jsonl --model {SCHNELL} -j 1\n".encode())


def test_json_tells_every_item(served: Cli, gateway: Gateway, folder_of: Callable[..., Path]) -> None:
    """One object an item, with its files or its error; those of an earlier run too."""
    out = folder_of("cat", "bad")
    gateway.ends["bad"] = "failed"
    for _ in range(2):
        ran = served(*BATCH, "--json")
        items = {item["outcome"]: item for item in map(json.loads, ran.lines)}
        assert items.keys() == {"done", "failed"}
        assert items["done"]["files"][0]["path"] == str(Path("p", next(out.glob("*.webp")).name))
        assert "the model gave up" in items["failed"]["error"]
        assert items["failed"]["schema_version"] == 1
        error = json.loads(ran.stderr.splitlines()[-1])["error"]
        assert (ran.code, error["exit_code"], error["code"]) == (9, 9, "partial")
    assert gateway.total == 2


def test_json_has_the_predictions_of_items(served: Cli, gateway: Gateway, folder_of: Callable[..., Path]) -> None:
    """As `run --json` prints them: of this run, of an earlier one from their sidecars, and with `--status`."""
    out = folder_of("cat", "bad", "no")
    gateway.ends["bad"] = "failed"
    gateway.refusals["no"] = [answer_json({"detail": "no such input"}, 422)]
    alone = json.loads(served("run", SCHNELL, "prompt=alone", "--json").stdout)
    for arguments in ((*BATCH, "--json"), (*BATCH, "--json"), ("batch", "p.jsonl", "--status", "--json")):
        items = [json.loads(line) for line in served(*arguments).lines]
        assert all(alone.keys() | {"key", "outcome"} == item.keys() for item in items)
        [done] = [item for item in items if item["outcome"] == "done"]
        assert (done["id"], done["model"], done["status"]) == (gateway.id_of("cat"), SCHNELL, "succeeded")
        assert done["output"]
        assert done["input"] == {"prompt": "cat"}
        assert {item["outcome"] for item in items} == {"done", "failed"}
        assert all(item["error"] and item["model"] == SCHNELL for item in items if item["outcome"] == "failed")
        assert all(item["input"] for item in items)
        [refused] = [item for item in items if item["id"] is None]
        assert (refused["status"], refused["input"]) == (None, {"prompt": "no"})
        assert "no such input" in refused["error"]
        [failed] = [item for item in items if item["id"] == gateway.id_of("bad")]
        assert (failed["status"], failed["error"]) == ("failed", "the model gave up")
        assert (failed["logs"], refused["logs"]) == (None, None)
    for sidecar in out.glob("*.cometrep.json"):
        sidecar.unlink()
    (done,) = [json.loads(line) for line in served(*BATCH, "--json").lines if '"done"' in line]
    assert (done["model"], done["status"], done["input"]) == (SCHNELL, "succeeded", {"prompt": "cat"})


def test_failed_items_are_sent_again_only_when_asked(
    served: Cli, gateway: Gateway, folder_of: Callable[..., Path]
) -> None:
    """And the summary says with which command."""
    folder_of("cat", "bad")
    gateway.ends["bad"] = "failed"
    ran = served(*BATCH)
    assert ran.code == 9
    assert f"hint: cometrep batch p.jsonl --model {SCHNELL} --retry-failed" in ran.stderr
    assert "item 2 (bad)" in ran.stderr
    assert served(*BATCH).code == 9
    assert gateway.creates["bad"] == 1
    del gateway.ends["bad"]
    assert served(*BATCH, "--retry-failed").code == 0
    assert gateway.creates == {"cat": 1, "bad": 2}


def test_all_items_failing_alike_give_their_exit_code(
    served: Cli, gateway: Gateway, folder_of: Callable[..., Path]
) -> None:
    """As for several predictions everywhere."""
    folder_of("a", "b")
    gateway.ends |= {"a": "failed", "b": "failed"}
    assert served(*BATCH).code == 4


def test_items_in_doubt_are_never_sent_again_unless_asked(
    served: Cli, gateway: Gateway, folder_of: Callable[..., Path]
) -> None:
    """A create without an answer may have been paid for."""
    folder_of("cat", "lost")
    gateway.refusals["lost"] = [RESET]
    ran = served(*BATCH)
    assert (ran.code, gateway.creates) == (9, {"cat": 1})
    assert "1 in doubt" in ran.stderr
    assert "1 in doubt, and perhaps paid for" in ran.stderr
    assert ran.stderr.endswith("hint: cometrep list --unknown\n")
    assert served(*BATCH, "--retry-failed").code == 9
    assert gateway.creates["lost"] == 0
    assert served(*BATCH, "--retry-unknown").code == 0
    assert gateway.creates == {"cat": 1, "lost": 1}


@pytest.fixture
def cut(gateway: Gateway) -> Callable[[str], None]:
    """Let the answer to the create of one prompt break off behind its id."""

    def cut(prompt: str) -> None:
        def answer(request: Received) -> Answer:
            whole = gateway.create(request)
            if request.json()["input"]["prompt"] != prompt:
                return whole
            return replace(whole, cut=whole.body.index(b",") + 1, then="close")

        gateway.server.on_create(answer)

    return cut


def test_an_id_that_an_answer_broke_off_behind_is_looked_for(
    served: Cli, gateway: Gateway, folder_of: Callable[..., Path], cut: Callable[[str], None]
) -> None:
    """It is the item's where the API knows it: by the same run, or after a kill by the next one."""
    out = folder_of("cat", "cut")
    cut("cut")
    ran = served(*BATCH, "--progress", "json")
    assert (ran.code, len(ran.lines), gateway.creates) == (0, 2, {"cat": 1, "cut": 1})
    assert ran.stderr.count('"event": "created"') == 2
    assert [step["step"] for step in steps(out) if gateway.id_of("cut") in str(step)][:2] == ["doubt", "created"]
    assert served("list", "--unknown").lines == []
    header, *told = (out / "batch.jsonl").read_text().splitlines(keepends=True)
    for path in (*out.iterdir(), *served.home.rglob("ledger*")):
        path.unlink()
    (out / "batch.jsonl").write_text(
        header + "".join(line for line in told if json.loads(line)["step"] in ("sending", "doubt"))
    )
    assert '"to_look_for": 1' in served(*BATCH, "--dry-run", "--json").stdout
    ran = served(*BATCH, "--retry-unknown")
    assert gateway.id_of("cut") in ran.stdout
    assert gateway.creates["cut"] == 1


def test_an_id_that_nobody_knows_leaves_its_item_in_doubt(
    served: Cli, gateway: Gateway, folder_of: Callable[..., Path], cut: Callable[[str], None]
) -> None:
    """And only then --retry-unknown sends it again."""
    out = folder_of("cut")
    cut("cut")
    gateway.server.on_get(answer_json({"detail": "Prediction not found"}, 404))
    for _ in range(2):
        ran = served(*BATCH, env={"COMETREP_RETRY_BUDGET": "0"})
        assert (ran.code, gateway.total) == (10, 1)
        assert f"the API does not know {gateway.id_of('cut')}" in ran.stderr
        age(out, seconds=60)
    gateway.server.on_create(gateway.create)
    gateway.server.on_get(answer_json({"detail": "down"}, 401))
    ran = served(*BATCH, "--retry-unknown")
    assert (ran.code, gateway.total) == (3, 1)
    gateway.server.on_get(answer_json({"detail": "Prediction not found"}, 404), gateway.look)
    assert served(*BATCH, "--retry-unknown").code == 0
    assert gateway.creates == {"cut": 2}


@pytest.mark.parametrize("jobs", ["1", "3"])
def test_an_id_that_another_item_has_leaves_its_item_in_doubt(
    served: Cli, gateway: Gateway, folder_of: Callable[..., Path], jobs: str
) -> None:
    """Told by every run, until it is sent again: no picture of the one is saved under the other's name."""
    out = folder_of("cat", "dog", "owl")

    def create(request: Received) -> Answer:
        answer = gateway.create(request)
        if request.json()["input"]["prompt"] != "dog" or gateway.creates["dog"] > 1:
            return answer
        wait_until(lambda: bool(gateway.creates["cat"]))
        first = gateway.id_of("cat")
        wait_until(lambda: bool(gateway.server.count("GET", f"/replicate/v1/predictions/{first}")))
        return replace(answer, body=answer.body.replace(gateway.id_of("dog").encode(), first.encode()))

    gateway.server.on_create(create)
    for again in (False, True):
        ran = served(*BATCH, "-j", jobs)
        assert (ran.code, len(ran.lines), gateway.total) == (9, 2, 3)
        assert f"the API gave it the id of another item, {gateway.id_of('cat')}" in ran.stderr
        assert ("(in an earlier run)" in ran.stderr) is again
        assert ran.stderr.endswith("hint: cometrep list --unknown\n")
    assert len(served("list", "--unknown").lines) == 1
    assert (served(*BATCH, "--retry-unknown").code, gateway.creates["dog"]) == (0, 2)
    assert len(list(out.glob("*.webp"))) == 3


def test_a_refused_input_fails_its_item_alone(
    served: Cli, gateway: Gateway, folder_of: Callable[..., Path]
) -> None:
    """The others go on."""
    folder_of("cat", "bad", "dog")
    gateway.refusals["bad"] = [answer_json({"detail": "prompt: too bad"}, 422)]
    ran = served(*BATCH)
    assert ran.code == 9
    assert "too bad" in ran.stderr
    assert gateway.creates == {"cat": 1, "dog": 1}


@pytest.mark.parametrize(("status", "code"), [(401, 3), (402, 8)])
def test_a_refusal_that_all_would_meet_ends_the_batch(
    served: Cli, gateway: Gateway, folder_of: Callable[..., Path], status: int, code: int
) -> None:
    """A thousand items do not meet a refused key a thousand times; none counts as failed."""
    prompts = [f"p{i}" for i in range(30)]
    folder_of(*prompts)
    refused = answer_json({"detail": "no"}, status)
    gateway.refusals |= {prompt: [refused] * 9 for prompt in prompts}
    ran = served(*BATCH, "-j", "2")
    assert ran.code == code
    assert served_creates(gateway) <= 4
    assert "30 of 30 items left" in ran.stderr
    gateway.refusals.clear()
    assert served(*BATCH, "-j", "30").code == 0
    assert gateway.total == 30


def test_a_server_that_was_named_with_an_equals_sign_is_named_once(
    served: Cli, folder_of: Callable[..., Path], server: Server
) -> None:
    """In the command that is typed again."""
    folder_of("cat")
    server.on_create(answer_json({"detail": "no"}, 401))
    ran = served(*BATCH, f"--base-url={server.url}")
    assert ran.stderr.splitlines()[-1].count(server.url) == 1


def test_a_setting_that_all_would_meet_ends_the_batch(
    served: Cli, gateway: Gateway, folder_of: Callable[..., Path]
) -> None:
    """As a bundle of certificates that is missing does: no item counts as failed, and the next run sends all."""
    folder_of(*(f"p{i}" for i in range(9)))
    ran = served(*BATCH, "--base-url", "https://127.0.0.1", env={"REQUESTS_CA_BUNDLE": "/nowhere.pem"})
    assert ran.code == 3
    assert "9 of 9 items left" in ran.stderr
    assert "hint: unset REQUESTS_CA_BUNDLE" in ran.stderr
    assert served(*BATCH, "-j", "9").code == 0
    assert gateway.total == 9


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


def served_creates(gateway: Gateway) -> int:
    """Count all creates that came in, refused ones too."""
    return gateway.server.creates


def test_without_a_key_nothing_is_sent(cli: Cli, folder_of: Callable[..., Path], server: Server) -> None:
    """As everywhere."""
    folder_of("cat")
    ran = cli(*BATCH, "--base-url", server.url)
    assert (ran.code, server.received) == (3, [])
    assert "no API key" in ran.stderr


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


def test_a_file_that_could_not_be_fetched_is_saved_by_the_next_run(
    served: Cli, gateway: Gateway, folder_of: Callable[..., Path]
) -> None:
    """Without another create: the prediction is paid for, and its file is still there."""
    out = folder_of("cat", "dog")
    gateway.file_answers["dog"] = [Answer(503)] * 20
    ran = served(*BATCH, env={"COMETREP_RETRY_BUDGET": "0"})
    assert (ran.code, len(ran.lines)) == (9, 1)
    gateway.file_answers.clear()
    again = served(*BATCH)
    assert (again.code, len(again.lines), len(list(out.glob("*.webp")))) == (0, 2, 2)
    assert gateway.creates == {"cat": 1, "dog": 1}


@pytest.mark.parametrize("answer", [Answer(403), answer_html(200)], ids=["403", "a web page"])
def test_a_file_that_cannot_be_had_now_is_not_given_up(
    answer: Answer, served: Cli, gateway: Gateway, folder_of: Callable[..., Path]
) -> None:
    """What a host refuses may pass while the API keeps it: the same command asks again, and creates nothing."""
    folder_of("cat", "dog")
    gateway.file_answers["dog"] = [answer] * 4
    for _ in range(2):
        ran = served(*BATCH)
        assert ran.code == 9
        assert "cannot be had" in ran.stderr
        assert "files live about an hour" not in ran.stderr
        assert "1 left" in ran.stderr
    assert (served(*BATCH).code, gateway.creates) == (0, {"cat": 1, "dog": 1})


@pytest.mark.parametrize("is_removed", [True, False], ids=["removed", "more than an hour old"])
def test_a_file_that_is_gone_is_a_failure_that_only_another_create_mends(
    is_removed: bool, served: Cli, gateway: Gateway, folder_of: Callable[..., Path]
) -> None:
    """What the API has removed, or no longer keeps, is not waited for; the summary names the command."""
    out = folder_of("cat", "dog")
    gateway.file_answers["dog"] = [Answer(403)] * 4
    served(*BATCH)
    if is_removed:
        gateway.removed.add("dog")
    else:
        age(out, seconds=3700)
    ran = served(*BATCH)
    assert ran.code == 9
    assert "--retry-failed" in ran.stderr
    gateway.removed.clear()
    gateway.file_answers.clear()
    assert (served(*BATCH).code, gateway.creates["dog"]) == (9, 1)
    assert (served(*BATCH, "--retry-failed").code, gateway.creates) == (0, {"cat": 1, "dog": 2})


def test_max_failures_stops_sending(served: Cli, gateway: Gateway, folder_of: Callable[..., Path]) -> None:
    """And what is left can be resumed; failures of earlier runs do not count."""
    prompts = [f"p{i}" for i in range(20)]
    folder_of(*prompts)
    gateway.ends |= dict.fromkeys(prompts, "failed")
    ran = served(*BATCH, "-j", "1", "--max-failures", "3")
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
    wait_until(lambda: gateway.total == 1000)
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


def test_a_folder_of_a_variable_that_is_not_set_is_refused(served: Cli, gateway: Gateway, folder: Path) -> None:
    """Its record would not be found in another one, and all be sent again."""
    ran = served(*BATCH, "-d", "")
    assert (ran.code, gateway.total) == (2, 0)
    assert ran.stderr == "cometrep: --dir '' names no folder\nhint: --dir .\n"


def test_bad_lines_send_nothing_and_make_nothing(
    served: Cli, server: Server, folder: Path, folder_of: Callable[..., Path]
) -> None:
    """Every one is named."""
    out = folder_of("cat")
    with (folder / "p.jsonl").open("a") as file:
        file.write('{"prompt"\n[]\n')
    ran = served(*BATCH)
    assert (ran.code, server.received, out.exists()) == (2, [], False)
    assert "line 2: " in ran.stderr
    assert "line 3: " in ran.stderr


def test_hints_can_be_typed_where_the_file_is_no_option(served: Cli, gateway: Gateway, folder: Path) -> None:
    """Its name begins like one."""
    (folder / "-x.jsonl").write_text(json_lines(["bad", "cat"]))
    gateway.ends["bad"] = "failed"
    ran = served("batch", "-m", SCHNELL, "-d", "dash", "--", "-x.jsonl")
    assert ran.code == 9
    command = ran.stderr.splitlines()[-1].removeprefix("hint: cometrep ")
    gateway.ends.clear()
    assert served(*shlex.split(command)).code == 0
    assert gateway.creates == {"bad": 2, "cat": 1}


def test_a_file_that_is_there_once_is_as_stdin_is(served: Cli, gateway: Gateway, folder: Path) -> None:
    """`<(…)` has a name that means nothing to the next command: neither folder nor hint is made of it.

    And the hint alone has no items.
    """
    (folder / "p.jsonl").write_text(json_lines(["bad", "cat"]))
    gateway.ends["bad"] = "failed"
    ran = served.shell_line(f"cometrep batch <(cat p.jsonl) -m {SCHNELL}")
    assert ran.code == 9
    assert len(list((folder / "batch").glob("*.webp"))) == 1
    again = f"the items are to be piped in again\nhint: cometrep batch - -m {SCHNELL} --retry-failed\n"
    assert ran.stderr.endswith(f"of 2 items: 1 failed; {again}")
    status = served.shell_line("cometrep batch <(cat p.jsonl) --status")
    assert len(status.lines) == 2


def test_a_file_of_an_impossible_name_is_told(served: Cli, gateway: Gateway) -> None:
    """As any other that cannot be read."""
    ran = served("batch", "x" * 300, "--model", SCHNELL)
    assert (ran.code, gateway.total) == (2, 0)
    assert "File name too long" in ran.stderr


def test_stdin_is_a_batch_too(served: Cli, gateway: Gateway, folder: Path) -> None:
    """Its folder is `batch`, unless one is named."""
    ran = served("batch", "-", "--model", SCHNELL, "seed:=5", stdin=json_lines(["cat", "dog"]))
    assert (ran.code, gateway.creates) == (0, {"cat": 1, "dog": 1})
    assert len(list((folder / "batch").glob("*.webp"))) == 2
    bodies = [r.json()["input"] for r in gateway.server.received if r.method == "POST"]
    assert all(body["seed"] == 5 for body in bodies)


def test_csv_is_typed_and_named_by_its_key(served: Cli, gateway: Gateway, folder: Path) -> None:
    """`{key}` in a template names files by it."""
    (folder / "p.csv").write_text("key,prompt,seed\none,cat,7\ntwo,dog,\n")
    ran = served("batch", "p.csv", "--model", SCHNELL, "-d", "out", "-o", "{key}.{ext}")
    assert (ran.code, sorted(ran.lines)) == (0, ["out/one.webp", "out/two.webp"])
    bodies = {r.json()["input"]["prompt"]: r.json()["input"] for r in gateway.server.received if r.method == "POST"}
    assert bodies == {"cat": {"prompt": "cat", "seed": 7}, "dog": {"prompt": "dog"}}


def test_a_template_that_names_all_items_alike_is_refused(
    served: Cli, server: Server, folder_of: Callable[..., Path]
) -> None:
    """Before anything is sent."""
    folder_of("cat", "dog")
    for template in ("picture.{ext}", "{index}.{ext}", "-"):
        ran = served(*BATCH, "-o", template)
        assert (ran.code, server.received) == (2, [])


def test_a_key_whose_inputs_changed_is_told_and_not_sent_again(served: Cli, gateway: Gateway, folder: Path) -> None:
    """A key is an item's identity."""
    line = '{"key": "k", "input": {"prompt": "%s"}}\n'
    (folder / "p.jsonl").write_text(line % "cat")
    served(*BATCH)
    (folder / "p.jsonl").write_text(line % "dog")
    for options in ((), ("--dry-run",)):
        ran = served(*BATCH, *options)
        assert (ran.code, gateway.creates) == (0, {"cat": 1})
        assert "the inputs of 'k' (line 1) changed since it was sent, and it is not sent again" in ran.stderr


def test_a_failed_item_whose_inputs_changed_can_be_sent_as_it_is_now(
    served: Cli, gateway: Gateway, folder: Path
) -> None:
    """The warning names the option of the hint, which does that."""
    line = '{"key": "k", "input": {"prompt": "%s"}}\n'
    (folder / "p.jsonl").write_text(line % "cat")
    gateway.ends["cat"] = "failed"
    served(*BATCH)
    (folder / "p.jsonl").write_text(line % "dog")
    assert "give it another key, or --retry-failed sends it as it is now\n" in served(*BATCH).stderr
    assert served(*BATCH, "--retry-failed").code == 0
    assert gateway.creates == {"cat": 1, "dog": 1}


def test_a_record_that_is_gone_is_not_taken_for_a_new_batch(
    served: Cli, gateway: Gateway, folder_of: Callable[..., Path]
) -> None:
    """The page beside it shows that there was one: nothing is paid for twice."""
    out = folder_of("cat")
    served(*BATCH)
    record = (out / "batch.jsonl").read_bytes()
    (out / "batch.jsonl").unlink()
    for options in ((), ("--dry-run",)):
        ran = served(*BATCH, *options)
        assert (ran.code, ran.stdout, gateway.total) == (12, "", 1)
        assert "its record batch.jsonl is gone" in ran.stderr
    (out / "batch.jsonl").touch()
    ran = served(*BATCH, "--status")
    assert (ran.code, ran.stdout) == (12, "")
    assert "its record batch.jsonl has nothing of it" in ran.stderr
    (out / "batch.jsonl").write_bytes(record)
    assert (served(*BATCH).code, gateway.total) == (0, 1)


def test_a_key_of_inputs_that_an_earlier_run_gave_to_others_is_told(
    served: Cli, gateway: Gateway, folder_of: Callable[..., Path], folder: Path
) -> None:
    """A key out of the results, with edited inputs, and then the line that it was made of."""
    folder_of("cat")
    key = json.loads(served(*BATCH, "--json").stdout)["key"]
    (folder / "q.jsonl").write_text(json.dumps({"key": key, "input": {"prompt": "dog"}}))
    served("batch", "q.jsonl", "--model", SCHNELL)
    assert gateway.creates == {"cat": 1, "dog": 1}
    ran = served(*BATCH, "-d", "q")
    assert (ran.code, gateway.creates) == (0, {"cat": 1, "dog": 1})
    assert f"line 1 is not sent: other inputs had the key {key!r} that its own make" in ran.stderr


def test_a_sweep_shows_its_size_and_runs(served: Cli, gateway: Gateway, folder: Path) -> None:
    """Every combination is one item, in the folder `sweep`."""
    (folder / "prompts.txt").write_text("cat\ndog\n")
    ran = served("batch", "--sweep", "--model", SCHNELL, "prompt=@prompts.txt", "seed:=1..3")
    assert (ran.code, gateway.creates) == (0, {"cat": 3, "dog": 3})
    assert "sweep: 2 prompt x 3 seed = 6 items" in ran.stderr
    assert len(list((folder / "sweep").glob("*.webp"))) == 6


def test_a_large_sweep_asks_and_yes_answers(served: Cli, gateway: Gateway) -> None:
    """Without a terminal it is refused, with the command that would do it."""
    sweep = ("batch", "--sweep", "--model", SCHNELL, "prompt=cat", "seed:=1..101")
    ran = served(*sweep)
    assert (ran.code, gateway.server.received) == (2, [])
    assert "101 items" in ran.stderr
    assert ran.stderr.rstrip().endswith("--yes")
    assert served(*sweep, "--yes", "-j", "50", "-q").code == 0
    assert gateway.total == 101


def test_a_sweep_is_asked_about_before_it_is_looked_through(served: Cli, gateway: Gateway) -> None:
    """Its size is known at once, whatever it is; what is doubtful is said before the question."""
    vast = [f"{letter}:=1..100000" for letter in "abcd"]
    ran = served("batch", "--sweep", "--model", SCHNELL, "prompt=cat", *vast, "--shard", "1/3")
    assert (ran.code, gateway.total) == (2, 0)
    assert "x 100000 d = 100000000000000000000 items, of which this is shard 1/3" in ran.stderr
    assert ran.stderr.index("has no known input") < ran.stderr.index("sweep: ")
    assert ran.stderr.rstrip().endswith("--yes")


def test_a_rehearsed_sweep_shows_its_size_before_it_is_looked_through(served: Cli, gateway: Gateway) -> None:
    """Which is all that is seen for a while of a product that nobody meant; it asks nothing."""
    sweep = ("batch", "--sweep", "-m", SCHNELL, "prompt=cat", "seed:=1..101", "--dry-run")
    ran = served(*sweep, "prompt2=bad", "--strict")  # which is found on the way
    assert (ran.code, gateway.total) == (2, 0)
    assert ran.stderr.startswith("sweep: 1 prompt x 101 seed x 1 prompt2 = 101 items\n")
    assert served(*sweep).stdout.startswith("101 items: 101 to send\n")


def test_dry_run_shows_counts_requests_and_names(
    served: Cli, gateway: Gateway, folder_of: Callable[..., Path]
) -> None:
    """And sends and makes nothing; after a run it tells what is left."""
    out = folder_of("cat", "bad", "dog", "owl")
    ran = served(*BATCH, "--dry-run", "num_outputs:=2", "-o", "{id}-{index}.png")
    assert (ran.code, gateway.server.received, out.exists()) == (0, [], False)
    assert "4 items: 4 to send" in ran.stdout
    assert "p/ID-0.png, p/ID-1.png" in ran.stdout
    assert ran.stderr.count("is to hold png") == 1
    assert ran.stdout.count('"method": "POST"') == 3
    assert "sk-" not in ran.stdout
    gateway.ends["bad"] = "failed"
    served(*BATCH)
    facts = json.loads(served(*BATCH, "--dry-run", "--json").stdout)
    assert (facts["items"], facts["done_before"], facts["failed_before"], facts["to_send"]) == (4, 3, 1, 0)
    assert facts["first"] == []  # nothing would be sent
    facts = json.loads(served(*BATCH, "--dry-run", "--json", "--retry-failed").stdout)
    assert [one["request"]["body"]["input"]["prompt"] for one in facts["first"]] == ["bad"]
    assert gateway.total == 4


CLASHES = {
    "two keys alike": (
        ['{"key": "a/b", "input": {"prompt": "x"}}', '{"key": "a:b", "input": {"prompt": "y"}}'],
        "{key}.{ext}",
    ),
    "two keys alike but for case": (['{"key": "B", "input": {}}', '{"key": "b", "input": {}}'], "{key}.{ext}"),
    "a later output of one and the first of another": (
        ['{"key": "a", "input": {"num_outputs": 11}}', '{"key": "a1", "input": {"num_outputs": 2}}'],
        "{key}{index}.{ext}",
    ),
    "an output of one and another's of the next": (
        ['{"key": "a", "input": {}}', '{"key": "a1", "input": {}}'],
        "{key}{index:02}.{ext}",
    ),
    "two outputs of one item": (['{"prompt": "x", "num_outputs": 2}'], "{key}.{ext}"),
    "a field that is none": (['{"prompt": "x"}', '{"prompt": "y"}'], "{{id}}.{ext}"),
    "one name for all": (['{"prompt": "x"}', '{"prompt": "y"}'], "picture.{ext}"),
    "stdout": (['{"prompt": "x"}'], "-"),
}


@pytest.mark.parametrize(("lines", "template"), CLASHES.values(), ids=CLASHES)
def test_names_that_clash_are_refused_before_anything_is_paid_for(
    served: Cli, gateway: Gateway, folder: Path, lines: list[str], template: str
) -> None:
    """Whatever an output would be called, it never stands in another one's way."""
    (folder / "p.jsonl").write_text("\n".join(lines))
    ran = served(*BATCH, "-o", template)
    assert (ran.code, gateway.total) == (2, 0)
    assert "hint: " in ran.stderr


def test_an_item_of_another_shard_has_its_name_too(served: Cli, gateway: Gateway, folder: Path) -> None:
    """Shards save into one folder, each without knowing of the others."""
    keys = [f"{letter}{sign}" for letter in "abcd" for sign in "/:"]
    (folder / "p.jsonl").write_text(
        "".join(f'{{"key": "{key}", "input": {{"prompt": "{key}"}}}}\n' for key in keys)
    )
    for shard in ("1/8", "2/8"):
        ran = served(*BATCH, "-o", "{key}.{ext}", "--overwrite", "--shard", shard)
        assert (ran.code, gateway.total) == (2, 0)
        assert "a name that an item before it has" in ran.stderr
    assert served(*BATCH, "-o", "{key}-{index}-{id}.{ext}", "--shard", "1/8").code == 0


@pytest.mark.parametrize("template", ["sub/{key}.{ext}", "{key}.{ext}", ""])
def test_a_folder_that_takes_no_file_is_told_before_anything_is_paid_for(
    served: Cli, gateway: Gateway, folder_of: Callable[..., Path], template: str
) -> None:
    """As `run` does."""
    out = folder_of("cat")
    out.mkdir()
    (out / "sub").write_text("a file")
    where = () if template.startswith("sub") else ("-d", "p/sub/below")
    for options in ((), ("--dry-run",)):
        ran = served(*BATCH, *where, *(("-o", template) if template else ()), *options)
        assert (ran.code, gateway.total) == (12, 0)
        assert "p/sub" in ran.stderr


def test_a_skipped_path_is_not_taken_for_the_output(served: Cli, gateway: Gateway, folder: Path) -> None:
    """Where the name is known before, nothing is created; else another run without the option saves it."""
    (folder / "p.jsonl").write_text('{"key": "cat", "input": {"prompt": "cat"}}\n')
    out = folder / "p"
    out.mkdir()
    (out / "cat.webp").write_bytes(b"mine")
    rehearsed = served(*BATCH, "-o", "{key}.webp", "--skip-existing", "--dry-run")
    assert "1 item: 1 to leave alone" in rehearsed.stdout
    known = served(*BATCH, "-o", "{key}.webp", "--skip-existing")
    assert (known.code, gateway.total) == (0, 0)
    assert "exists and stays as it is; nothing was created" in known.stderr
    told = json.loads(served(*BATCH, "-o", "{key}.webp", "--skip-existing", "--json").stdout)
    assert (told["key"], told["outcome"], told["id"], told["files"]) == ("cat", "skipped", None, [])
    assert "p/cat.webp exists and stays as it is" in told["error"]
    for _ in range(2):
        assert served(*BATCH, "-o", "{key}.{ext}", "--skip-existing").code == 0
    assert (out / "cat.webp").read_bytes() == b"mine"
    (out / "cat.webp").unlink()
    assert served(*BATCH, "-o", "{key}.{ext}").code == 0
    assert (out / "cat.webp").read_bytes() == picture()
    assert gateway.creates == {"cat": 1}


def test_a_csv_column_of_models_stands_over_the_option(served: Cli, gateway: Gateway, folder: Path) -> None:
    """`--model` gives what the lines leave out, and no more."""
    (folder / "p.csv").write_text("key,model,prompt\na,stability-ai/sdxl,x\nb,,y\n")
    assert served("batch", "p.csv", "--model", SCHNELL).code == 0
    sent = {request.json()["input"]["prompt"]: request for request in gateway.server.received if request.body}
    assert "/stability-ai/sdxl/" in sent["x"].path
    assert f"/{SCHNELL}/" in sent["y"].path
    assert sent["x"].json() == {"input": {"prompt": "x"}}


def test_shared_inputs_are_typed_by_each_lines_model(served: Cli, gateway: Gateway, folder: Path) -> None:
    """A value is what the catalog knows for the model that the line names; files and stdin are read once."""
    lines = [{"model": SCHNELL, "input": {}}, {"key": "k", "model": "a/b", "input": {}}, {"input": {"seed": "own"}}]
    (folder / "p.jsonl").write_text("\n".join(map(json.dumps, lines)))
    shared = ("prompt=@-", "seed=5", "num_outputs:=1")
    rehearsed = served("batch", "p.jsonl", "-m", "c/d", *shared, "--dry-run", "--json", stdin="cat")
    bodies = [one["request"]["body"]["input"] for one in json.loads(rehearsed.stdout)["first"]]
    assert bodies == [{"prompt": "cat", "num_outputs": 1, "seed": seed} for seed in (5, "5", "own")]
    ran = served("batch", "p.jsonl", *shared[:1], "seed=five", "--model", SCHNELL, stdin="cat")
    assert (ran.code, gateway.total) == (0, 3)
    assert ran.stderr.count('seed is integer, not "five" (line 1)') == 1


def test_a_shared_input_that_no_line_can_have_is_refused(served: Cli, gateway: Gateway, folder: Path) -> None:
    """Before anything is sent, also where each line has a key of its own."""
    (folder / "p.jsonl").write_text('{"key": "a", "input": {}}\n{"key": "b", "model": "a/b", "input": {}}\n')
    for shared in (("prompt=@missing",), ("prompt=a", "prompt=b")):
        ran = served(*BATCH, *shared)
        assert (ran.code, gateway.total) == (2, 0)
        assert "prompt" in ran.stderr


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (
            "a fox\nan owl\n",
            "'a fox' in the header is no name of an input; a file of one prompt a line is for --sweep",
        ),
        ("prompt;seed\nfox;3\n", "'prompt;seed' in the header"),
        ("prompt\tseed\nfox\t3\n", "in the header is no name of an input"),
        ("prompt, seed\nfox, 3\n", "' seed' in the header is no name"),
    ],
    ids=["prompts", "semicolons", "tabs", "spaces"],
)
def test_a_file_that_is_no_csv_is_refused(
    content: str, told: str, served: Cli, gateway: Gateway, folder: Path
) -> None:
    """Nonsense is not sent, and paid for, as the value of an input that has a prompt for its name."""
    (folder / "p.txt").write_text(content)
    ran = served("batch", "p.txt", "--model", SCHNELL)
    assert (ran.code, gateway.total) == (2, 0)
    assert told in ran.stderr


@pytest.mark.parametrize(
    ("content", "name", "model", "is_sent"),
    [
        ("fox\nowl\n", "p.txt", SCHNELL, False),
        ("fox\nowl\n", "p.csv", SCHNELL, False),
        ("fox\nowl\n", "-", SCHNELL, False),
        ("fox\nowl\n", "p.txt", "someone/new", False),
        ("fox\nowl\n", "-", "someone/new", False),
        ("fox\nowl\n", "p.csv", "someone/new", True),
        ("prompt\nowl\n", "p.txt", SCHNELL, True),
        ("seed:json\n7\n", "-", SCHNELL, True),
        ("key\nowl\n", "p.txt", SCHNELL, True),
        ("image\nhttps://x.test/a\n", "-", "someone/new", True),
    ],
    ids=str,
)
def test_a_list_of_words_is_no_csv(
    content: str, name: str, model: str, is_sent: bool, served: Cli, gateway: Gateway, folder: Path
) -> None:
    """The first word is not taken for an input that no model has; the hint is the command that was meant."""
    if name != "-":
        (folder / name).write_text(content)
    ran = served("batch", name, "-m", model, "num_outputs=1", "--dry-run", stdin=content if name == "-" else None)
    assert (ran.code, gateway.total) == (0 if is_sent else 2, 0)
    if not is_sent:
        assert "'fox' in the header is no input of " in ran.stderr
        file = "FILE" if name == "-" else name
        hint = f"cometrep batch prompt=@{file} -m {model} num_outputs=1 --dry-run --sweep"
        assert f"hint: {hint}\n" in ran.stderr


def test_what_is_sent_again_once_is_not_in_the_hint(
    served: Cli, gateway: Gateway, folder_of: Callable[..., Path]
) -> None:
    """The command for what is left has no option that sends failed items a third time."""
    folder_of("a", "b", "c")
    gateway.ends |= {"a": "failed", "b": "failed"}
    assert served(*BATCH).code == 9
    ran = served(*BATCH, "--retry-failed", "--max-failures", "1", "-j", "1")
    (left,) = re.findall(r"^  2 left: (.*)$", ran.stderr, re.M)
    assert left == f"cometrep {' '.join(BATCH)} --max-failures 1 -j 1"
    assert ran.stderr.endswith(f"hint: {left}\n")
    assert served(*BATCH, "-q").stderr.count("the model gave up") == 2, "why is an error, and stays with -q"


def test_a_file_in_the_way_names_the_option_that_replaces_it(
    served: Cli, gateway: Gateway, folder_of: Callable[..., Path]
) -> None:
    """And with that option the next run saves it without another create."""
    out = folder_of("cat")
    (folder_of("cat").parent / "p.jsonl").write_text('{"key": "cat", "input": {"prompt": "cat"}}')
    out.mkdir()
    (out / "cat.webp").write_bytes(b"mine")
    ran = served(*BATCH, "-o", "{key}.{ext}")
    assert ran.code == 12
    assert "--overwrite saves it" in ran.stderr
    assert served(*BATCH, "-o", "{key}.{ext}", "--overwrite").code == 0
    assert (out / "cat.webp").read_bytes() != b"mine"
    assert gateway.creates == {"cat": 1}


def test_missing_outputs_are_told(served: Cli, gateway: Gateway, folder_of: Callable[..., Path]) -> None:
    """Of the first items on stderr, with -q too, and of all in the record: a filter may have dropped some."""
    prompts = [f"p{i}" for i in range(8)]
    out = folder_of(*prompts)

    def echoing(request: Received) -> Answer:
        return answer_json({**json.loads(gateway.look(request).body), "input": {"num_outputs": 4}})

    gateway.server.on_get(echoing)
    ran = served(*BATCH, "num_outputs:=4", "-q")
    assert ran.code == 0
    assert ran.stderr.count("has 1 of 4 outputs asked for; a filter may have dropped the rest") == 5
    assert re.search(r"item \d \(p\d\): item\d+ has 1 of 4 outputs", ran.stderr)
    assert sum("has 1 of 4 outputs" in step.get("warnings", [""])[0] for step in steps(out)) == 8


def test_more_outputs_than_names_are_saved_by_the_hint(
    served: Cli, gateway: Gateway, folder_of: Callable[..., Path]
) -> None:
    """A model may give two where one was expected: they are paid for, and the command that saves them is told."""
    folder_of("cat")
    gateway.files_each = 2
    ran = served(*BATCH, "-o", "{key}.{ext}")
    assert (ran.code, gateway.total) == (12, 1)
    command = ran.stderr.splitlines()[-1].removeprefix("hint: cometrep ")
    again = served(*shlex.split(command))
    assert (again.code, len(again.lines), gateway.total) == (0, 2, 1)


def test_a_file_that_is_skipped_is_told(served: Cli, gateway: Gateway, folder: Path) -> None:
    """With `--skip-existing` an existing path stays, and stderr says that this output was not saved."""
    (folder / "p.jsonl").write_text('{"key": "cat", "input": {"prompt": "cat"}}')
    (folder / "p").mkdir()
    (folder / "p" / "cat.webp").write_bytes(b"mine")
    ran = served(*BATCH, "-o", "{key}.{ext}", "--skip-existing")
    assert "cat.webp exists and stays as it is" in ran.stderr
    assert "0 done, 0 failed, 1 skipped" in ran.stderr
    assert (ran.code, (folder / "p" / "cat.webp").read_bytes()) == (0, b"mine")
    assert "cat.webp exists and stays as it is" in served(*BATCH, "--status").stdout


def test_a_saved_file_that_changed_or_went_is_told(
    served: Cli, gateway: Gateway, folder_of: Callable[..., Path]
) -> None:
    """Its path is not printed as if it were there; nothing is sent again."""
    out = folder_of("cat", "dog", "owl")
    first = sorted(served(*BATCH).lines)
    (out.parent / first[0]).unlink()
    (out.parent / first[1]).write_bytes(b"other")
    ran = served(*BATCH)
    assert (ran.lines, gateway.total) == ([first[2]], 3)
    assert ran.stderr.count("is not what was saved any more") == 2
    id = first[0].removeprefix("p/").removesuffix(".webp")
    fix = next(line for line in ran.stderr.splitlines() if line.startswith("hint:") and id in line)
    assert f"cometrep download {id} -d p --overwrite" in fix


def test_a_file_of_a_name_of_its_own_is_had_back_by_the_hint(served: Cli, gateway: Gateway, folder: Path) -> None:
    """Typed as it stands, with the server that the batch was given."""
    (folder / "p.jsonl").write_text('{"key": "cat", "input": {"prompt": "cat"}}')
    given = (*BATCH, "-o", "sub/{key}.{ext}", "--base-url", gateway.server.url)
    assert served(*given).lines == ["p/sub/cat.webp"]
    (folder / "p" / "sub" / "cat.webp").unlink()
    told = served(*given).stderr
    hint = next(line for line in told.splitlines() if line.startswith("hint: cometrep download"))
    assert served(*hint.removeprefix("hint: cometrep ").split()).code == 0
    assert "any more" not in served(*given).stderr


def test_a_program_is_told_the_command_too(served: Cli, gateway: Gateway, folder_of: Callable[..., Path]) -> None:
    """As part of the event, with the server that the batch was given."""
    out = folder_of("cat")
    url = ("--base-url", gateway.server.url)
    served(*BATCH, *url)
    next(out.glob("*.webp")).unlink()
    events = [json.loads(line) for line in served(*BATCH, *url, "--progress", "json").stderr.splitlines()]
    [note] = [event for event in events if event["event"] == "note"]
    assert note["hint"] == f"cometrep download {' '.join(url)} {gateway.id_of('cat')} -d p --overwrite"


def test_a_rehearsal_in_the_sandbox_is_no_run(
    served: Cli, gateway: Gateway, folder_of: Callable[..., Path]
) -> None:
    """What the sandbox made is not taken for what was asked of the API, and the other way round."""
    folder_of("cat")
    sandbox = {"COMETREP_SANDBOX_SECONDS": "0.05"}
    assert served(*BATCH, "--sandbox", env=sandbox).code == 0
    for options in ((), ("--dry-run",)):
        ran = served(*BATCH, *options)
        assert (ran.code, ran.lines, gateway.total) == (2, [], 0)
        assert "was made in the sandbox" in ran.stderr
        assert "--dir" in ran.stderr
    assert served(*BATCH, "--status").code == 0
    assert served(*BATCH, "-d", "real").code == 0
    assert gateway.total == 1
    assert served(*BATCH, "-d", "real", "--sandbox", env=sandbox).code == 2


def test_creates_without_clear_answers_end_the_batch(
    served: Cli, gateway: Gateway, folder_of: Callable[..., Path]
) -> None:
    """Each may be paid for: during an outage not the whole file is put in doubt."""
    prompts = [f"p{i}" for i in range(40)]
    folder_of(*prompts)
    down, refused = answer_json({"error": "down"}, 503), answer_json({"detail": "no such input"}, 422)
    gateway.server.on_create(*[down] * 7, refused, down)  # a refusal is a clear answer
    ran = served(*BATCH, "-j", "1")
    assert (ran.code, gateway.server.creates) == (10, 16)
    assert "8 creates in a row had no clear answer, and no more are sent" in ran.stderr
    assert ran.stderr.endswith("hint: cometrep list --unknown\n")


def test_items_that_cannot_be_saved_end_the_batch(
    served: Cli, gateway: Gateway, folder_of: Callable[..., Path]
) -> None:
    """Nothing more is paid for in vain; what failed at the model, or is left from before, does not count."""
    prompts = [f"p{i}" for i in range(20)]
    folder_of(*prompts)
    gateway.ends |= {"p3": "failed", "p6": "failed"}
    gateway.file_answers |= {prompt: [Answer(403)] * 2 for prompt in prompts}
    gateway.file_answers["p4"] = []
    ran = served(*BATCH, "-j", "1")
    assert (ran.code, 14 <= gateway.total < 18) == (11, True)
    assert "8 items in a row could not be saved, and no more are sent; the last: output file 0 of " in ran.stderr
    assert ran.stderr.endswith(f"hint: cometrep batch p.jsonl --model {SCHNELL} -j 1\n")
    gateway.file_answers = {prompt: [Answer(403)] * 2 for prompt in prompts[:14]}
    assert (served(*BATCH, "-j", "1").code, gateway.total) == (9, 20)


def test_items_that_cannot_be_seen_end_the_batch(
    served: Cli, gateway: Gateway, folder_of: Callable[..., Path]
) -> None:
    """As behind a gateway that takes creates and knows nothing of them."""
    folder_of(*(f"p{i}" for i in range(30)))
    gateway.server.on_get(answer_json({"detail": "down"}, 500))
    ran = served(*BATCH, "-j", "8", env={"COMETREP_RETRY_BUDGET": "0"})
    assert (ran.code, 8 <= gateway.total < 24) == (7, True)
    assert "8 items in a row could not be seen, and no more are sent; the last: prediction item" in ran.stderr
    assert "30 of 30 items left" in ran.stderr


def test_failures_in_doubt_that_end_a_batch_are_its_code(
    served: Cli, gateway: Gateway, folder_of: Callable[..., Path]
) -> None:
    """With --max-failures too: to go on is to put more in doubt, so the hint is to look first."""
    folder_of(*(f"p{i}" for i in range(9)))
    gateway.server.on_create(answer_json({"error": "down"}, 503))
    ran = served(*BATCH, "-j", "1", "--max-failures", "3")
    assert (ran.code, gateway.server.creates) == (10, 3)
    assert ran.stderr.endswith("hint: cometrep list --unknown\n")


def test_a_success_that_the_api_forgets_within_its_hour_is_looked_at_again(
    served: Cli, gateway: Gateway, folder_of: Callable[..., Path]
) -> None:
    """A node of a gateway may know it late: nothing is final before the hour is over, nor is it paid for again."""
    folder_of("cat")

    def without_output(request: Received) -> Answer:
        return answer_json({**json.loads(gateway.look(request).body), "output": None})

    unknown = answer_json({"detail": "not found"}, 404)
    gateway.server.on_get(without_output, *[unknown] * 99)
    for more in ((), ("--retry-failed",)):
        ran = served(*BATCH, *more, env={"COMETREP_RETRY_BUDGET": "0"})
        assert (ran.code, gateway.total) == (11, 1)
        id = gateway.id_of("cat")
        assert f"{id} succeeded, and the API does not know it now; the same command looks again" in ran.stderr
        assert "of 1 item: 1 left\n" in ran.stderr
    gateway.server.on_get(gateway.look)
    assert (served(*BATCH).code, gateway.total) == (0, 1)


def test_a_success_that_the_api_forgets_after_its_hour_is_lost(
    served: Cli, gateway: Gateway, folder_of: Callable[..., Path]
) -> None:
    """Whenever the record has it as ended: by the ledger, which another command told."""
    out = folder_of("cat")
    gateway.holds.clear()
    assert served(*BATCH, "--timeout", "0.3").code == 6
    gateway.holds.set()
    assert served("wait", "@last").code == 0
    (ledger,) = served.home.rglob("ledger.sqlite3")
    with contextlib.closing(sqlite3.connect(ledger)) as database, database:
        database.execute("UPDATE entries SET created = created - 4000, changed = changed - 4000, output = NULL")
    age(out, seconds=4000)
    gateway.server.on_get(answer_json({"detail": "not found"}, 404))
    ran = served(*BATCH)
    assert (ran.code, gateway.total) == (11, 1)
    assert "1 failed" in ran.stderr


@pytest.mark.parametrize("gone", [1, 2], ids=["one of two files", "both"])
def test_files_that_stay_gone_for_an_hour_fail_their_item(
    served: Cli, gateway: Gateway, folder_of: Callable[..., Path], gone: int
) -> None:
    """However many it has, and however often the batch was resumed in that hour."""
    out = folder_of("cat")
    gateway.files_each = 2
    for number in range(gone):
        gateway.server.on("GET", f"/file/item{0:022d}-{number}", Answer(404))
    record = out / "batch.jsonl"
    for minutes in (0, 50, 50):
        written = [json.loads(line) for line in record.read_text().splitlines()] if record.exists() else []
        told = [{**step, "time": step["time"] - 60 * minutes} for step in written]
        out.mkdir(exist_ok=True)
        record.write_text("".join(json.dumps(step, separators=(",", ":")) + "\n" for step in told))
        served(*BATCH)
    (row,) = served(*BATCH, "--status").lines
    assert row.split("\t")[1] == "failed"
    assert served(*BATCH, "--retry-failed", "--dry-run").stdout.startswith("1 item: 1 to send again\n")


def test_a_record_that_is_gone_at_the_end_is_told(
    served: Cli, gateway: Gateway, folder_of: Callable[..., Path], stopped: Callable[[Popen[bytes]], None]
) -> None:
    """As where its folder was moved: another run would know nothing of what was sent."""
    out = folder_of("cat")
    gateway.holds.clear()
    process = served.start(*BATCH)
    stopped(process)
    wait_until(lambda: bool(gateway.total))
    out.rename(out.with_name("moved"))
    gateway.holds.set()
    _, stderr = process.communicate(timeout=TIMEOUT_SECONDS)
    assert process.returncode == 0
    assert b"p/batch.jsonl is not where it was" in stderr


def test_no_plain_lines_stand_among_events(served: Cli, gateway: Gateway, folder_of: Callable[..., Path]) -> None:
    """With -q too: what failed is an event."""
    folder_of("bad", "cat")
    gateway.ends["bad"] = "failed"
    ran = served(*BATCH, "--progress", "json", "-q")
    *events, failure, hint = ran.stderr.splitlines()
    assert [json.loads(line)["event"] for line in events].count("item") == 2
    assert (failure.startswith("cometrep: "), hint.startswith("hint: ")) == (True, True)


def test_why_an_item_is_not_saved_is_told_each_time(
    served: Cli, gateway: Gateway, folder_of: Callable[..., Path]
) -> None:
    """As it happens, in its summary, in JSON with the file that is there, and by --status after it."""
    folder_of("cat")
    server = gateway.server
    server.on("GET", "/files/", Answer(200, picture(), WEBP))
    server.on("GET", "/files/gone", Answer(503))

    def two(request: Received) -> Answer:
        reply = json.loads(gateway.look(request).body)
        if reply["status"] == "succeeded":
            reply["output"] = [f"{server.url}/files/here", f"{server.url}/files/gone"]
        return answer_json(reply)

    server.on_get(two)
    ran = served(*BATCH, "--json", env={"COMETREP_RETRY_BUDGET": "0"})
    item = json.loads(ran.stdout)
    assert (ran.code, item["outcome"], len(item["files"])) == (9, "unsaved", 1)
    assert "1 of 2 failed: output file 1 of " in item["error"]
    assert "HTTP 503" in item["error"]
    (told,) = (json.loads(line) for line in served("batch", "p.jsonl", "--status", "--json").lines)
    assert (told["outcome"], told["error"]) == ("unsaved", item["error"])
    ran = served(*BATCH, env={"COMETREP_RETRY_BUDGET": "0"})
    assert len(re.findall("HTTP 503", ran.stderr)) == 2  # as it happened, and in the summary


def test_a_file_in_the_way_of_the_folder_is_told(served: Cli, gateway: Gateway, folder: Path) -> None:
    """As where FILE has no extension; in a rehearsal too, and before its own record is taken for items."""
    (folder / "items").write_text('{"prompt": "cat"}\n')
    for options in ((), ("--dry-run",)):
        ran = served("batch", "items", "--model", SCHNELL, *options)
        assert (ran.code, ran.stdout) == (12, "")
        assert "the folder of the batch would be 'items', and that is a file" in ran.stderr
    (folder / "items").rename(folder / "batch.jsonl")
    ran = served("batch", "batch.jsonl", "--model", SCHNELL, "-d", ".")
    assert (ran.code, gateway.total) == (2, 0)
    assert "'batch.jsonl' is where the record of the batch in '.' is kept" in ran.stderr


def test_a_picture_is_on_the_page_whatever_its_name(
    served: Cli, gateway: Gateway, folder_of: Callable[..., Path]
) -> None:
    """Also where the template gives it no extension."""
    out = folder_of("cat")
    (path,) = served(*BATCH, "-o", "{key}").lines
    assert f'src="./{Path(path).name}"' in (out / "index.html").read_text()


def test_a_ledger_that_takes_no_files_is_told(
    served: Cli, gateway: Gateway, folder_of: Callable[..., Path]
) -> None:
    """The pictures are saved all the same, and the ledger is closed as it should be."""
    out = folder_of("cat")
    assert served(*BATCH).code == 0
    (ledger,) = served.home.rglob("ledger.sqlite3*")
    with contextlib.closing(sqlite3.connect(ledger)) as database:
        database.execute("DROP TABLE files")
    folder_of("cat", "dog")
    ran = served(*BATCH)
    assert (ran.code, len(list(out.glob("*.webp")))) == (0, 2)
    assert "no such table: files; not all of this is recorded" in ran.stderr
    assert served("list", "--unknown").stdout == ""


def test_a_failing_batch_tells_of_its_ledger_too(
    served: Cli, gateway: Gateway, folder_of: Callable[..., Path]
) -> None:
    """A problem of the ledger is told beside the failures, and nothing accepted stays in doubt for it."""
    folder_of("cat", "dog", "emu", "fox")
    gateway.ends["cat"] = "failed"
    assert served("list").code == 0
    assert served("create", SCHNELL, "prompt=first").code == 0
    (ledger,) = served.home.rglob("ledger.sqlite3")
    with contextlib.closing(sqlite3.connect(ledger)) as database:
        database.execute("DROP TABLE files")
    ran = served(*BATCH, "-j", "1")
    assert ran.code == 9
    assert "no such table: files; not all of this is recorded" in ran.stderr
    assert "unknown" not in served("list").stdout


def test_a_line_nested_beyond_reason_is_a_bad_line(served: Cli, gateway: Gateway, folder: Path) -> None:
    """JSON Lines and CSV say so of it, with its number, before anything is sent."""
    deep = "[" * 600 + "]" * 600
    (folder / "p.jsonl").write_text(f'{{"prompt": {deep}}}\n')
    (folder / "p.csv").write_text(f"prompt:json\n{deep}\n")
    for file, number in (("p.jsonl", 1), ("p.csv", 2)):
        ran = served("batch", file, "--model", SCHNELL)
        assert ran.code == 2
        assert f"line {number}: " in ran.stderr
        assert "nested too deeply" in ran.stderr
    assert gateway.total == 0


def test_a_long_prompt_is_no_file(served: Cli, gateway: Gateway) -> None:
    """The first item of a sweep may be longer than any file's name."""
    ran = served("batch", "--sweep", "-m", SCHNELL, f"prompt={'x' * 300}", "seed:=1..2", "--dry-run")
    assert (ran.code, ran.stdout.count('"method"')) == (0, 2)


@pytest.mark.parametrize("option", [["--status"], []], ids=["status", "run"])
def test_a_folder_with_an_impossible_name_is_told(
    served: Cli, gateway: Gateway, folder_of: Callable[..., Path], option: list[str]
) -> None:
    """It is a local file's error, before anything is sent."""
    folder_of("cat")
    ran = served(*([] if option else BATCH), *(["batch", *option] if option else []), "-d", "x" * 300)
    assert (ran.code, gateway.total) == (12, 0)
    assert "File name too long" in ran.stderr


def test_an_id_that_the_ledger_has_is_not_in_doubt(
    served: Cli, gateway: Gateway, folder_of: Callable[..., Path]
) -> None:
    """A full disk or a power cut may keep it from the record."""
    out = folder_of("cat", "dog")
    served(*BATCH, "-j", "1")
    header, sent, created, *_ = (out / "batch.jsonl").read_text().splitlines(keepends=True)
    for path in out.iterdir():
        path.unlink()
    (out / "batch.jsonl").write_text(header + sent + created[:30])
    assert json.loads(served(*BATCH, "--dry-run", "--json").stdout)["to_wait_for"] == 1
    ran = served(*BATCH)
    assert (ran.code, gateway.creates["cat"]) == (0, 1)
    assert [step["step"] for step in steps_of_the_last_run(out, sent)] == ["created", "ended", "saved"]
    (out / "batch.jsonl").write_text(header + sent.replace('"entry":1', '"entry":2') + "\n")
    assert "1 in doubt" in served(*BATCH).stderr


def test_a_refusal_that_the_ledger_has_is_not_in_doubt(
    served: Cli, gateway: Gateway, folder_of: Callable[..., Path]
) -> None:
    """It failed, for the reason that is known, and is sent again when asked; the record has it from then on."""
    out = folder_of("bad")
    gateway.refusals["bad"] = [answer_json({"detail": "no such input"}, 422)]
    assert served(*BATCH).code == 8
    header, sent, _ = (out / "batch.jsonl").read_text().splitlines(keepends=True)
    (out / "batch.jsonl").write_text(header + sent)
    assert json.loads(served(*BATCH, "--dry-run", "--json").stdout)["failed_before"] == 1
    ran = served(*BATCH)
    assert (ran.code, gateway.total) == (8, 0)
    assert "no such input (in an earlier run)" in ran.stderr
    assert ran.stderr.endswith("--retry-failed\n")
    assert [step["step"] for step in steps_of_the_last_run(out, sent)] == ["refused"]
    assert (served(*BATCH, "--retry-failed").code, gateway.total) == (0, 1)


def test_what_a_full_disk_kept_from_being_sent_is_sent_by_the_next_run(
    served: Cli, gateway: Gateway, folder_of: Callable[..., Path], folder: Path
) -> None:
    """Its step was written and did not reach the disk: nothing is in doubt."""
    folder_of("cat")
    (folder / "site").mkdir()
    (folder / "site" / "sitecustomize.py").write_text(
        "import errno, os\n"
        "def fsync(file):\n"
        "    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))\n"
        "os.fsync = fsync\n"
    )
    where = os.pathsep.join([str(folder / "site"), os.environ.get("PYTHONPATH", "")])
    ran = served(*BATCH, env={"PYTHONPATH": where})
    assert (ran.code, gateway.total) == (12, 0)
    assert (served(*BATCH).code, gateway.total) == (0, 1)


def steps_of_the_last_run(out: Path, sent: str) -> list[dict[str, Any]]:
    """Read what the last run noted of the item that an earlier one sent."""
    key = json.loads(sent)["key"]
    lines = (out / "batch.jsonl").read_text().splitlines()
    last = max(number for number, line in enumerate(lines) if line.startswith('{"step":"batch"'))
    return [step for step in map(json.loads, lines[last:]) if step["key"] == key]


def test_a_full_stdout_loses_no_create_under_way(
    served: Cli, gateway: Gateway, folder_of: Callable[..., Path]
) -> None:
    """The first path cannot be written while others are being created: their ids are taken up all the same."""
    prompts = [f"p{i}" for i in range(8)]
    out = folder_of(*prompts)

    def slow(request: Received) -> Answer:
        if request.json()["input"]["prompt"] != "p0":
            wait_until(lambda: any(step["step"] == "saved" for step in steps(out)))
        return gateway.create(request)

    gateway.server.on_create(slow)
    ran = served.shell_line(f"cometrep {' '.join(BATCH)} -j 4 > /dev/full")
    assert ran.code == 12
    created = [step for step in steps(out) if step["step"] == "created"]
    assert len(created) == gateway.total >= 4
    gateway.server.on_create(gateway.create)
    assert served(*BATCH).code == 0
    assert gateway.creates == dict.fromkeys(prompts, 1)


def test_a_page_in_place_of_a_prediction_is_not_sent_again_unasked(
    served: Cli, gateway: Gateway, folder_of: Callable[..., Path]
) -> None:
    """It ends the batch, as all others would meet it too; whether something was made is not proved."""
    folder_of("cat", "dog")
    gateway.refusals["cat"] = [answer_html(200)]
    ran = served(*BATCH, "-j", "1")
    assert (ran.code, gateway.server.creates) == (8, 1)
    assert served(*BATCH).code == 9
    assert gateway.creates == {"dog": 1}
    assert served(*BATCH, "--retry-failed").code == 0
    assert gateway.creates == {"dog": 1, "cat": 1}


@pytest.mark.parametrize("template", ["{id}.cometrep.json", "batch.jsonl", "Index.HTML", "batch.1-2.jsonl"])
def test_a_name_that_the_batch_itself_uses_is_refused(
    served: Cli, gateway: Gateway, folder_of: Callable[..., Path], template: str
) -> None:
    """The record and the pictures would overwrite each other."""
    folder_of("cat")
    ran = served(*BATCH, "-o", template)
    assert (ran.code, gateway.total) == (2, 0)
    assert repr(template) in ran.stderr


def test_a_page_below_the_folder_may_be_called_index(
    served: Cli, gateway: Gateway, folder_of: Callable[..., Path]
) -> None:
    """Only the folder of the batch itself holds its page."""
    folder_of("cat")
    assert served(*BATCH, "-o", "{id}/index.html").code == 0
    assert gateway.total == 1


def test_every_doubt_is_told_with_its_lines(served: Cli, gateway: Gateway, folder: Path) -> None:
    """And with `--strict` they are all errors, before anything is sent."""
    lines = ['{"prompt": "x"}', '{"promt": "x"}', '{"prompt": "x", "num_outputs": 9}', '{"promt": "y"}']
    (folder / "p.jsonl").write_text("\n".join(lines))
    ran = served(*BATCH, "--strict")
    assert (ran.code, gateway.total) == (2, 0)
    assert "promt" in ran.stderr
    assert "lines 2, 4" in ran.stderr
    assert "(line 3)" in ran.stderr
    told = served(*BATCH, "--dry-run").stderr
    assert "lines 2, 4" in told
    assert "(line 3)" in told


def test_a_sweep_over_a_file_that_is_no_text_is_refused(cli: Cli, folder: Path) -> None:
    """With the line, as `run` does."""
    (folder / "words.txt").write_bytes(b"fox\ncaf\xe9\n")
    ran = cli("batch", "--sweep", "-m", SCHNELL, "prompt=@words.txt", "--sandbox")
    assert ran.code == 2
    assert "words.txt is not UTF-8 text (at line 2)" in ran.stderr


def test_a_sweep_over_a_file_of_nobody_is_refused(cli: Cli) -> None:
    """A home that does not exist is a path that cannot be read."""
    ran = cli("batch", "--sweep", "-m", SCHNELL, "prompt=@~nosuchuser/words.txt", "--sandbox")
    assert (ran.code, ran.stdout) == (2, "")
    assert "cannot read '~nosuchuser/words.txt'" in ran.stderr


def test_items_that_cannot_be_kept_are_an_error(served: Cli, gateway: Gateway, folder: Path) -> None:
    """A stdin that is open for writing alone, and a temporary folder without room for a copy."""
    command = ("batch", "-", "--model", SCHNELL)
    ran = served(*command, prefix=("bash", "-c", 'exec "$@" 0> unreadable', "bash"))
    assert (ran.code, ran.stdout) == (2, "")
    assert "cannot read stdin" in ran.stderr
    ran = served(*command, stdin="x" * 5000, prefix=("bash", "-c", 'ulimit -f 1; exec "$@"', "bash"))
    assert (ran.code, ran.stdout) == (12, "")
    assert ran.stderr.endswith("hint: export TMPDIR=FOLDER\n")
    assert gateway.total == 0


def test_a_sweep_takes_no_file(cli: Cli, folder: Path) -> None:
    """A file's lines and every combination are two things."""
    (folder / "p.jsonl").write_text('{"prompt": "x"}')
    ran = cli("batch", "p.jsonl", "--sweep", "-m", SCHNELL, "--sandbox")
    assert ran.code == 2
    assert "--sweep takes no FILE" in ran.stderr


def test_a_sweep_without_inputs_is_refused(cli: Cli) -> None:
    """It would be one create with nothing in it, and paid for."""
    ran = cli("batch", "--sweep", "-m", SCHNELL, "--sandbox")
    assert ran.code == 2
    assert "a sweep needs inputs to vary" in ran.stderr


def test_retries_are_told_in_logs(served: Cli, gateway: Gateway, folder_of: Callable[..., Path]) -> None:
    """Nobody waits in front of a log that says nothing."""
    folder_of("cat")
    gateway.refusals["cat"] = [answer_json({"detail": "slow down"}, 429, headers={"Retry-After": "0"})]
    ran = served(*BATCH)
    assert ran.code == 0
    assert re.search(r"slow down.*; again in ", ran.stderr)


def test_status_shows_what_the_folder_holds(served: Cli, gateway: Gateway, folder_of: Callable[..., Path]) -> None:
    """As a table or as JSON, without a request."""
    folder_of("cat", "bad", "dog")
    gateway.ends["bad"] = "failed"
    served(*BATCH, "-j", "1", "--max-failures", "1")
    before = len(gateway.server.received)
    ran = served("batch", "p.jsonl", "--status")
    rows = [line.split("\t") for line in ran.lines]
    assert [row[1] for row in rows] == ["done", "failed"]
    assert rows[0][3].startswith("p/item")
    assert "1 done, 1 failed, 1 not sent" in ran.stderr
    items = [json.loads(line) for line in served("batch", "--status", "--dir", "p", "--json").lines]
    assert [item["outcome"] for item in items] == ["done", "failed"]
    assert items[0]["files"][0]["path"].startswith("p/item")
    assert len(gateway.server.received) == before


def test_a_running_prediction_of_an_edited_line_is_told(
    served: Cli, gateway: Gateway, folder_of: Callable[..., Path]
) -> None:
    """It is paid for, and no run waits for it: the command that saves it is told, until it is saved."""
    folder_of("cat", "dog")
    gateway.holds.clear()
    served(*BATCH, "--timeout", "0.3")
    folder_of("cat", "doggy")
    gateway.holds.set()
    hint = f"cometrep download --wait {gateway.id_of('dog')} -d p"
    told = f"1 prediction in p is of no item any more: {hint}"
    assert told in served(*BATCH).stderr
    assert told in served("batch", "p.jsonl", "--status").stderr
    assert served(*shlex.split(hint)[1:]).code == 0
    ran = served(*BATCH)
    assert (ran.code, gateway.total) == (0, 3)
    assert "of no item any more" not in ran.stderr
    assert "of no item any more" not in served("batch", "p.jsonl", "--status").stderr


def test_status_counts_what_is_not_sent_of_a_changed_file(
    served: Cli, gateway: Gateway, folder_of: Callable[..., Path]
) -> None:
    """Items of lines that are no more do not stand for those that came."""
    folder_of("a", "b", "c")
    served(*BATCH)
    folder_of("a", "bad", "new", "newer")
    gateway.ends["bad"] = "failed"
    served(*BATCH, "-j", "1", "--max-failures", "1")
    assert served("batch", "p.jsonl", "--status").stderr == "p: 3 done, 1 failed, 2 not sent\n"


def test_status_of_a_folder_without_a_batch_is_an_error(cli: Cli) -> None:
    """Not an empty table."""
    told = "cometrep: --status needs the FILE or the folder of a batch\nhint: add -d DIR\n"
    assert cli("batch", "--status").stderr == told
    ran = cli("batch", "--status", "--dir", "none")
    assert ran.code == 2
    assert ran.stderr == "cometrep: no batch has run in 'none'\nhint: find . -name 'batch*.jsonl'\n"


def test_shards_send_every_item_once_between_them(
    served: Cli, gateway: Gateway, folder_of: Callable[..., Path]
) -> None:
    """In one folder, side by side, and the whole knows what they did."""
    prompts = [f"p{i}" for i in range(20)]
    folder_of(*prompts)
    threads = [
        threading.Thread(target=lambda shard=f"{i}/3": codes.append(served(*BATCH, "--shard", shard).code))
        for i in (1, 2, 3)
    ]
    codes: list[int] = []
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [0, 0, 0]
    assert gateway.creates == dict.fromkeys(prompts, 1)
    ran = served(*BATCH)
    assert (ran.code, gateway.total) == (0, 20)
    told = served("batch", "p.jsonl", "--status")
    assert len([line for line in told.lines if "\tdone\t" in line]) == 20
    assert told.stderr == "p: 20 done\n"  # the shards' records and the whole one's speak of the same items


def test_a_folder_that_knows_no_locks_is_told_of(
    served: Cli, gateway: Gateway, folder_of: Callable[..., Path], folder: Path
) -> None:
    """The batch runs, as on many shared file systems, and says what nobody watches over."""
    out = folder_of("cat")
    (folder / "site").mkdir()
    (folder / "site" / "sitecustomize.py").write_text(
        "import errno, fcntl, os\n"
        "def flock(file, how):\n"
        "    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))\n"
        "fcntl.flock = flock\n"
    )
    ran = served(*BATCH, env={"PYTHONPATH": str(folder / "site")})
    assert (ran.code, len(list(out.glob("*.webp")))) == (0, 1)
    assert "cannot be locked (No locks available): nothing keeps another run from sending" in ran.stderr


def test_two_runs_in_one_folder_refuse_each_other(
    served: Cli, gateway: Gateway, folder_of: Callable[..., Path], stopped: Callable[[Popen[bytes]], None]
) -> None:
    """And a killed one leaves no lock behind."""
    folder_of("cat")
    gateway.holds.clear()
    first = served.start(*BATCH)
    stopped(first)
    wait_until(lambda: gateway.total == 1)
    ran = served(*BATCH)
    assert (ran.code, gateway.total) == (12, 1)
    assert "another batch is running in p" in ran.stderr
    first.kill()
    first.wait()
    gateway.holds.set()
    assert served(*BATCH).code == 0
    assert gateway.total == 1


def test_ctrl_c_once_finishes_what_runs(
    served: Cli, gateway: Gateway, folder_of: Callable[..., Path], stopped: Callable[[Popen[bytes]], None]
) -> None:
    """Nothing more is sent, what runs is saved, and the command to go on is told."""
    out = folder_of(*(f"p{i}" for i in range(10)))
    gateway.holds.clear()
    process = served.start(*BATCH, "-j", "2")
    stopped(process)
    wait_until(lambda: gateway.total == 2)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    told = b""
    while b"finishing what runs" not in told:
        line = process.stderr.readline()
        assert line, told
        told += line
    gateway.holds.set()
    rest = process.stderr.read().decode()
    assert process.wait() == 130
    assert (gateway.total, len(list(out.glob("*.webp")))) == (2, 2)
    assert "8 left" in rest
    assert f"hint: cometrep batch p.jsonl --model {SCHNELL} -j 2" in rest
    assert served(*BATCH, "-j", "10").code == 0
    assert gateway.creates == {f"p{i}": 1 for i in range(10)}


def left_in(pipe: IO[bytes]) -> int:
    """Give how many bytes in a pipe have not been read."""
    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)


def is_asleep(pid: int) -> bool:
    """Say whether a process of one thread waits for something."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].startswith("S")


@needs_proc
def test_ctrl_c_before_the_first_create_tells_how_to_go_on(
    served: Cli, gateway: Gateway, folder: Path, stopped: Callable[[Popen[bytes]], None]
) -> None:
    """As while the items are read: two lines, as at any later moment."""
    os.mkfifo(folder / "pipe")
    process = served.start("batch", "pipe", "-m", SCHNELL)
    stopped(process)
    with (folder / "pipe").open("wb", buffering=0) as items:
        items.write(b" " * 200_000)
        wait_until(lambda: not left_in(items) and is_asleep(process.pid))  # it waits for more
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=TIMEOUT_SECONDS)
    again = "the same command goes on from here; the items are to be piped in again"
    assert (process.returncode, gateway.total) == (130, 0)
    assert told.decode() == f"cometrep: stopped by Ctrl-C; {again}\nhint: cometrep batch - -m {SCHNELL}\n"


@pytest.mark.parametrize("signals", [[signal.SIGINT, signal.SIGINT], [signal.SIGTERM]])
def test_a_second_ctrl_c_or_a_sigterm_leaves_at_once(
    served: Cli,
    gateway: Gateway,
    folder_of: Callable[..., Path],
    stopped: Callable[[Popen[bytes]], None],
    signals: list[signal.Signals],
) -> None:
    """What ran is taken up by the next run."""
    folder_of(*(f"p{i}" for i in range(4)))
    gateway.holds.clear()
    process = served.start(*BATCH, "-j", "2")
    stopped(process)
    wait_until(lambda: gateway.server.count("GET", "/replicate") >= 2)
    process.send_signal(signals[0])
    if signals[1:]:
        assert process.stderr is not None
        while b"finishing what runs" not in process.stderr.readline():
            pass
        process.send_signal(signals[1])
    _, told = process.communicate(timeout=TIMEOUT_SECONDS)
    assert process.returncode == 128 + signals[-1]
    assert b"the same command goes on from here" in told
    gateway.holds.set()
    assert served(*BATCH).code == 0
    assert gateway.creates == {f"p{i}": 1 for i in range(4)}


def test_only_a_create_that_left_is_in_doubt(
    served: Cli, gateway: Gateway, folder_of: Callable[..., Path], stopped: Callable[[Popen[bytes]], None]
) -> None:
    """Of more items at once than there are threads for creates, those that waited for one have no entry."""
    folder_of(*(f"p{number}" for number in range(20)))
    gateway.server.on_create(HANG)
    process = served.start(*BATCH, "-j", "20")
    stopped(process)
    wait_until(lambda: gateway.server.count("POST", "/replicate") == CREATE_THREADS)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=TIMEOUT_SECONDS)
    assert process.returncode == 143
    assert [line.split("\t")[:2] for line in served("list").lines] == [["", "unknown"]] * CREATE_THREADS


def test_ctrl_c_stops_sending_however_many_items_are_run_at_once(
    served: Cli, gateway: Gateway, folder_of: Callable[..., Path], stopped: Callable[[Popen[bytes]], None]
) -> None:
    """What is under way is finished; no create waits for a thread, to be sent behind it."""
    folder_of(*(f"p{number}" for number in range(20)))
    may_answer = threading.Event()

    def slow(request: Received) -> Answer:
        assert may_answer.wait(TIMEOUT_SECONDS)
        return gateway.create(request)

    gateway.server.on_create(slow)
    process = served.start(*BATCH, "-j", "20")
    stopped(process)
    wait_until(lambda: gateway.server.count("POST", "/replicate") == CREATE_THREADS)
    process.send_signal(signal.SIGINT)
    read_until(process, b"finishing what runs")
    may_answer.set()
    process.communicate(timeout=TIMEOUT_SECONDS)
    assert (process.returncode, gateway.total) == (130, CREATE_THREADS)


def test_nothing_is_sent_after_a_stop_and_nothing_is_in_doubt_that_was_not(
    served: Cli, gateway: Gateway, folder_of: Callable[..., Path], stopped: Callable[[Popen[bytes]], None]
) -> None:
    """Creates that waited for a ledger which another process holds had not left when SIGTERM came."""
    out = folder_of("cat", "dog")
    assert served("create", SCHNELL, "prompt=first", "-q").code == 0
    (ledger,) = served.home.rglob("ledger.sqlite3")
    with contextlib.closing(sqlite3.connect(ledger, isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        process = served.start(*BATCH)
        stopped(process)
        wait_until(
            lambda: (out / "batch.jsonl").exists() and b'"step":"batch"' in (out / "batch.jsonl").read_bytes()
        )
        process.send_signal(signal.SIGTERM)
        _, told = process.communicate(timeout=TIMEOUT_SECONDS)
        holder.execute("COMMIT")
    assert process.returncode == 143
    assert b"no answer" not in told
    assert gateway.total == 1
    assert len(served("list").lines) == 1


def test_a_ledger_that_another_process_holds_hides_no_id_and_holds_up_no_stop(
    served: Cli, gateway: Gateway, folder_of: Callable[..., Path], stopped: Callable[[Popen[bytes]], None]
) -> None:
    """The record has the id at once, and the next run brings it into the ledger."""
    folder_of("cat")
    assert served("create", SCHNELL, "prompt=first", "-q").code == 0
    (ledger,) = served.home.rglob("ledger.sqlite3")
    with contextlib.closing(sqlite3.connect(ledger, isolation_level=None, check_same_thread=False)) as holder:

        def held(request: Received) -> Answer:
            holder.execute("BEGIN IMMEDIATE")
            return gateway.create(request)

        gateway.server.on_create(held)
        process = served.start(*BATCH, "--progress", "json")
        stopped(process)
        read_until(process, b'"event": "created"')
        process.send_signal(signal.SIGTERM)
        _, told = process.communicate(timeout=TIMEOUT_SECONDS)
        holder.execute("ROLLBACK")
    assert process.returncode == 143
    assert b"database is locked; not all of this is recorded" in told
    assert len(served("list", "--unknown").lines) == 1
    assert (served(*BATCH).code, gateway.creates["cat"]) == (0, 1)
    newest = served("list").lines[0]
    assert newest.split("\t")[:2] == [gateway.id_of("cat"), "succeeded"]


def test_an_answer_that_comes_while_the_batch_is_ended_is_taken_up(
    served: Cli, gateway: Gateway, folder_of: Callable[..., Path], stopped: Callable[[Popen[bytes]], None]
) -> None:
    """A create that is accepted, and one that is refused, in the last moment: neither is in doubt."""
    folder_of("cat", "bad")
    asked, may_answer = threading.Semaphore(0), threading.Event()
    gateway.refusals["bad"] = [answer_json({"detail": "no such input"}, 422)]

    def slow(request: Received) -> Answer:
        asked.release()
        assert may_answer.wait(TIMEOUT_SECONDS)
        return gateway.create(request)

    gateway.server.on_create(slow)
    process = served.start(*BATCH)
    stopped(process)
    for _ in range(2):
        assert asked.acquire(timeout=TIMEOUT_SECONDS)
    process.send_signal(signal.SIGTERM)
    may_answer.set()
    _, told = process.communicate(timeout=TIMEOUT_SECONDS)
    assert process.returncode == 143, told
    outcomes = [line.split("\t")[1] for line in served(*BATCH, "--status").lines]
    assert sorted(outcomes) == ["failed", "running"]
    assert served("list", "--status", "unknown").lines == []


def test_the_deadline_leaves_items_running_for_the_next_run(
    served: Cli, gateway: Gateway, folder_of: Callable[..., Path]
) -> None:
    """Exit 6 where all are, and no second create."""
    folder_of("cat")
    gateway.holds.clear()
    assert served(*BATCH, "--timeout", "0.3").code == 6
    gateway.holds.set()
    assert served(*BATCH).code == 0
    assert gateway.total == 1


def test_an_id_that_is_gone_is_looked_for_again_and_recreated_only_when_asked(
    served: Cli, gateway: Gateway, folder_of: Callable[..., Path], folder: Path
) -> None:
    """A 404 may be the wrong account's key: the item stays, and after its hour --retry-failed makes it anew."""
    out = folder_of("cat")
    gateway.holds.clear()
    served(*BATCH, "--timeout", "0.3")
    age(out, seconds=60)
    record = out / "batch.jsonl"
    record.write_text(record.read_text().replace("item0000000000000000000000", "gone"))
    gateway.holds.set()
    for more in ((), ("--retry-failed",)):
        ran = served(*BATCH, *more)
        assert (ran.code, gateway.total) == (8, 1)
        assert "of 1 item: 1 left\n" in ran.stderr
        assert ran.stderr.endswith(f"hint: {' '.join(('cometrep', *BATCH))}\n")
    assert served(*BATCH, "--status").stdout.split("\t")[1] == "running"
    age(out, seconds=3600)
    ran = served(*BATCH)
    assert (ran.code, gateway.total) == (8, 1)
    assert ran.stderr.endswith(" --retry-failed\n")
    assert (served(*BATCH, "--retry-failed").code, gateway.total) == (0, 2)


def test_an_answer_that_shows_another_item_s_prediction_is_not_believed(
    served: Cli, gateway: Gateway, folder_of: Callable[..., Path]
) -> None:
    """No item gets another one's picture, as where a cache on the way mixes answers up."""
    out = folder_of("cat", "dog")
    gateway.holds.clear()
    looked, mixed_up = set[str](), set[str]()

    def mix_up(request: Received) -> Answer:
        id = request.path.rpartition("/")[2]
        other = f"item{1 - int(id.removeprefix('item')):022d}"
        looked.add(id)
        if other in looked and id not in mixed_up:  # the ledger has both by then
            mixed_up.add(id)
            return answer_json(prediction(other, output=[f"{gateway.server.url}/file/{other}.webp"]))
        if len(mixed_up) == 2:
            gateway.holds.set()
        return gateway.look(request)

    gateway.server.on_get(mix_up)
    assert served(*BATCH).code == 0
    saved = {path.name: path.read_bytes() for path in out.glob("*.webp")}
    assert saved == {f"item{number:022d}.webp": picture(seed=number) for number in range(2)}


def test_a_success_that_is_not_found_before_its_output_was_seen_is_looked_for_again(
    served: Cli, gateway: Gateway, folder_of: Callable[..., Path]
) -> None:
    """Within the hour that the API keeps outputs: the next run has it, and no create is paid for once more."""
    folder_of("cat")
    empty = answer_json(prediction("item0000000000000000000000", output=None))
    gateway.server.on_get(empty, answer_json({"detail": "Prediction not found"}, 404), gateway.look)
    assert served(*BATCH, env={"COMETREP_RETRY_BUDGET": "0"}).code == 11
    assert served(*BATCH).code == 0
    assert gateway.creates == {"cat": 1}


def test_an_id_of_a_moment_ago_may_not_be_known_yet(
    served: Cli, gateway: Gateway, folder_of: Callable[..., Path], stopped: Callable[[Popen[bytes]], None]
) -> None:
    """Also to a run that resumes right after a kill: what is running is not paid for once more."""
    folder_of("cat")
    unknown = answer_json({"detail": "Prediction not found"}, 404)
    gateway.server.on_get(unknown)
    process = served.start(*BATCH)
    stopped(process)
    wait_until(lambda: bool(gateway.server.count("GET", "/replicate")))
    process.kill()
    process.wait()
    gateway.server.on_get(unknown, gateway.look)
    assert served(*BATCH, "--retry-failed").code == 0
    assert gateway.creates == {"cat": 1}


def test_nothing_is_sent_in_place_of_what_is_gone_once_a_stop_was_asked_for(
    served: Cli, gateway: Gateway, folder_of: Callable[..., Path], stopped: Callable[[Popen[bytes]], None]
) -> None:
    """Ctrl-C while the API is asked about it: the create waits for the next run."""
    out = folder_of("cat")
    gateway.holds.clear()
    served(*BATCH, "--timeout", "0.3")
    age(out, seconds=3660)
    asked, may_answer = threading.Event(), threading.Event()

    def gone(_: Received) -> Answer:
        asked.set()
        assert may_answer.wait(TIMEOUT_SECONDS)
        return answer_json({"detail": "Prediction not found"}, 404)

    gateway.server.on_get(gone)
    process = served.start(*BATCH, "--retry-failed")
    stopped(process)
    assert asked.wait(TIMEOUT_SECONDS)
    process.send_signal(signal.SIGINT)
    came = read_until(process, b"finishing what runs")
    may_answer.set()
    _, told = process.communicate(timeout=TIMEOUT_SECONDS)
    assert (process.returncode, gateway.total) == (130, 1), came + told


def test_github_gets_counts_and_a_table(
    served: Cli, gateway: Gateway, folder_of: Callable[..., Path], folder: Path
) -> None:
    """In the step's outputs and summary."""
    folder_of("cat", "bad")
    gateway.ends["bad"] = "failed"
    files = {"GITHUB_OUTPUT": str(folder / "o"), "GITHUB_STEP_SUMMARY": str(folder / "s")}
    ran = served(*BATCH, "--github", env=files)
    assert ran.code == 9
    told = (folder / "o").read_text()
    assert re.search(r"^failed<<(\S+)\n1\n\1$", told, re.MULTILINE)
    saved = re.search(r"^paths<<(\S+)\n(.*)\n\1$", told, re.MULTILINE)
    assert saved
    assert saved[2] == ran.lines[0]
    assert {gateway.id_of("cat"), gateway.id_of("bad")} <= set(told.split())
    assert {"done", "failed"} <= set(told.split())
    assert "| 2 | 1 | 1 | 0 | 0 |" in (folder / "s").read_text()
    assert "item 2 \\(bad\\)" in (folder / "s").read_text()


def test_progress_json_tells_items_and_tallies(
    served: Cli, gateway: Gateway, folder_of: Callable[..., Path]
) -> None:
    """Every line of stderr is one object; each that speaks of an item has its key."""
    folder_of("cat", "dog")
    ran = served(*BATCH, "--progress", "json")
    events = [json.loads(line) for line in ran.stderr.splitlines()]
    assert {event["event"] for event in events} >= {"created", "item", "tally"}
    created = [event["id"] for event in events if event["event"] == "created"]
    assert sorted(created) == sorted(gateway.id_of(prompt) for prompt in ("cat", "dog"))
    assert [event["outcome"] for event in events if event["event"] == "item"] == ["done", "done"]
    keys = {
        kind: {event["key"] for event in events if event["event"] == kind} for kind in ("created", "saved", "item")
    }
    assert len(keys["item"]) == 2
    assert keys["created"] == keys["saved"] == keys["item"]
    assert (events[-1]["event"], events[-1]["done"], events[-1]["running"]) == ("tally", 2, 0)


def test_a_reader_of_stdout_that_goes_away_ends_the_batch_quietly(
    served: Cli, gateway: Gateway, folder_of: Callable[..., Path]
) -> None:
    """`| head -1` gives 141, and the next run loses nothing."""
    folder_of(*(f"p{i}" for i in range(6)))
    ran = served.shell_line(f"cometrep {' '.join(BATCH)} -j 1 | head -1")
    assert (ran.code, len(ran.lines)) == (141, 1)
    assert served(*BATCH).code == 0
    assert gateway.creates == {f"p{i}": 1 for i in range(6)}


def test_a_terminal_sees_one_bar_over_all_items(
    served: Cli, gateway: Gateway, folder_of: Callable[..., Path]
) -> None:
    """With the last events beneath it, and nothing left of it at the end."""
    folder_of(*(f"p{i}" for i in range(4)))
    gateway.holds.clear()
    gateway.held = {"p2", "p3"}
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(served.folder)
        command = served.command(*BATCH, "-j", "2", "--timeout", "30s")  # not to wait long for what is not drawn
        os.execve(command[0], command, {**served.environment, "TERM": "xterm"})
    shown = b""
    while True:
        try:
            chunk = os.read(terminal, 65536)
        except OSError:
            break
        if not chunk:
            break
        shown += chunk
        if b"0/4, 0 done" in shown and b"2 running" in shown:
            gateway.holds.set()
        if re.search(rb"done\s+item \d \(p\d\)", shown):
            gateway.held.clear()
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    text = shown.decode()
    assert gateway.holds.is_set()
    assert not gateway.held
    assert "4 done, 0 failed, 0 skipped" in text.rstrip().splitlines()[-2]
    assert shown.rfind(b"\x1b[?25h") > shown.rfind(b"\x1b[?25l")


def test_a_configured_folder_holds_batches_in_folders_of_their_own(
    served: Cli, gateway: Gateway, folder_of: Callable[..., Path], folder: Path
) -> None:
    """Two batches never share a record by accident."""
    folder_of("cat")
    served(*BATCH, env={"COMETREP_DIR": "pictures"})
    assert (folder / "pictures" / "p" / "batch.jsonl").exists()


def test_without_a_file_or_a_sweep_the_forms_are_named(cli: Cli) -> None:
    """A batch needs one of the two."""
    ran = cli("batch")
    assert ran.code == 2
    assert "FILE, or --sweep" in ran.stderr


def test_a_picture_saved_by_hand_is_an_items_picture(
    served: Cli, gateway: Gateway, folder_of: Callable[..., Path]
) -> None:
    """Once the API has forgotten it the ledger knows that its file is here, and nothing is paid for again."""
    out = folder_of("cat")
    gateway.file_answers["cat"] = [Answer(500)] * 10
    assert served(*BATCH, env={"COMETREP_RETRY_BUDGET": "0"}).code == 7
    gateway.file_answers["cat"] = []
    id = gateway.id_of("cat")
    assert served("download", id, "-d", str(out)).code == 0
    gateway.server.on_get(answer_json({"detail": "not found"}, 404))
    for more in ((), ("--retry-failed",)):
        ran = served(*BATCH, *more)
        assert (ran.code, ran.lines, gateway.total) == (0, [f"p/{id}.webp"], 1)


def test_the_option_that_saves_is_hinted_at_where_a_batch_stops_early(
    served: Cli, gateway: Gateway, folder: Path
) -> None:
    """To type the same once more would pay for items that could not be saved either."""
    lines = [json.dumps({"key": f"k{number}", "input": {"prompt": f"cat {number}"}}) for number in range(20)]
    (folder / "p.jsonl").write_text("\n".join(lines))
    gateway.files_each = 2
    ran = served(*BATCH, "-o", "{key}.{ext}", "-j", "2")
    assert ran.code == 12
    hint = ran.stderr.splitlines()[-1]
    assert hint.endswith("-o '{id}-{index}.{ext}'")
    before = gateway.total
    assert before < 20
    assert served(*shlex.split(hint.removeprefix("hint: cometrep "))).code == 0
    assert gateway.total == 20


@pytest.mark.parametrize(
    ("keys", "template", "code"),
    [
        (("item1", "item2"), "{key}{index}.{ext}", 0),
        (("2024-01", "2024-02"), "{key}{index:03d}.{ext}", 0),
        (("a", "a1"), "{key}{index}.{ext}", 2),
        (("a1", "a"), "{key}{index}.{ext}", 2),
        (("a", "a0"), "{key}{index}.{ext}", 0),
        (("a", "a0"), "{key}{index:02}.{ext}", 2),
    ],
)
def test_names_clash_where_indexes_can_make_them_one(
    served: Cli, gateway: Gateway, folder: Path, keys: tuple[str, ...], template: str, code: int
) -> None:
    """And nowhere else."""
    (folder / "p.jsonl").write_text("".join(f'{{"key": "{key}", "input": {{"prompt": "x"}}}}\n' for key in keys))
    assert served(*BATCH, "-o", template, "--dry-run").code == code


@pytest.mark.parametrize(
    ("content", "more", "code", "told"),
    [
        ("lora_scale\n0.5\n", ("prompt=x",), 0, ""),
        ("fox\nowl\n", (), 2, "prompt=@words.csv"),
        ("Prompt\ncat\n", (), 2, "as the model has them"),
        ("prompt;seed\ncat;1\n", (), 2, "commas between"),
    ],
)
def test_a_column_is_no_list_of_prompts_where_the_prompt_is_elsewhere(
    served: Cli, gateway: Gateway, folder: Path, content: str, more: tuple[str, ...], code: int, told: str
) -> None:
    """And a header that is misspelt is told as such, not as a list of prompts to pay for."""
    (folder / "words.csv").write_text(content)
    ran = served("batch", "words.csv", "-m", SCHNELL, *more, "--dry-run")
    assert ran.code == code
    assert told in ran.stderr
    assert ("--sweep" in ran.stderr) == (told.startswith("prompt=@"))
