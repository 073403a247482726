"""`cometrep batch` that ends before its items do: by a signal, a deadline, or what all items would meet."""

import contextlib
import fcntl
import os
import signal
import sqlite3
import sys
import termios
import threading
from collections.abc import Callable
from pathlib import Path
from subprocess import Popen
from typing import IO

import pytest

from cometrep.batch.run import CREATE_THREADS
from tests.cli.conftest import BATCH, age, steps
from tests.conftest import TIMEOUT_SECONDS, Cli, is_asleep, needs_proc, read_until, wait_until
from tests.gateway import Gateway
from tests.servers import HANG, SCHNELL, Answer, Received, Server, answer_json


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


def served_creates(gateway: Gateway) -> int:
    """Count all creates that came in, refused ones too."""
    return gateway.server.creates


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
        looks = gateway.server.count("GET", "/replicate")
        wait_until(lambda: gateway.server.count("GET", "/replicate") >= looks + 8)  # no echo comes so late
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
    assert b"clear answer" not in told
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
    """A create that is accepted, or is refused, in the last moment is not in doubt; one that is then is told of."""
    folder_of("cat", "bad", "odd")
    gateway.refusals["odd"] = [answer_json({}, 502)]
    asked, may_answer = threading.Semaphore(0), threading.Event()
    gateway.refusals["bad"] = [answer_json({"detail": "no such input"}, 422)]

    def slow(request: Received) -> Answer:
        asked.release()
        assert may_answer.wait(TIMEOUT_SECONDS)
        return gateway.create(request)

    gateway.server.on_create(slow)
    process = served.start(*BATCH)
    stopped(process)
    for _ in range(3):
        assert asked.acquire(timeout=TIMEOUT_SECONDS)
    process.send_signal(signal.SIGTERM)
    may_answer.set()
    _, told = process.communicate(timeout=TIMEOUT_SECONDS)
    assert process.returncode == 143, told
    assert b"; 1 create had no clear answer and may be paid for (--retry-unknown sends again); " in told
    outcomes = [line.split("\t")[1] for line in served(*BATCH, "--status").lines]
    assert sorted(outcomes) == ["failed", "running", "unknown"]
    assert len(served("list", "--status", "unknown").lines) == 1


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


def test_a_reader_of_stdout_that_goes_away_ends_the_batch_quietly(
    served: Cli, gateway: Gateway, folder_of: Callable[..., Path]
) -> None:
    """`| head -1` gives 141, and the next run loses nothing."""
    folder_of(*(f"p{i}" for i in range(6)))
    ran = served.shell_line(f"cometrep {' '.join(BATCH)} -j 1 | head -1")
    assert (ran.code, len(ran.lines)) == (141, 1)
    assert served(*BATCH).code == 0
    assert gateway.creates == {f"p{i}": 1 for i in range(6)}
