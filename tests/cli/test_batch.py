"""A whole `cometrep batch`: each item created once, saved and told, to people and to programs."""

import contextlib
import json
import os
import pty
import re
import sqlite3
from collections.abc import Callable
from pathlib import Path

from tests.cli.conftest import BATCH, steps
from tests.conftest import Cli
from tests.gateway import Gateway
from tests.servers import SCHNELL, Server, answer_json


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
        assert (done["data_removed"], refused["data_removed"]) == (False, None)
        assert "no such input" in refused["error"]
        [failed] = [item for item in items if item["id"] == gateway.id_of("bad")]
        assert (failed["status"], failed["error"]) == ("failed", "the model gave up")
        assert (failed["logs"], refused["logs"]) == (None, None)
    for sidecar in out.glob("*.cometrep.json"):
        sidecar.unlink()
    (done,) = [json.loads(line) for line in served(*BATCH, "--json").lines if '"done"' in line]
    assert (done["model"], done["status"], done["input"]) == (SCHNELL, "succeeded", {"prompt": "cat"})


def test_all_items_failing_alike_give_their_exit_code(
    served: Cli, gateway: Gateway, folder_of: Callable[..., Path]
) -> None:
    """As for several predictions everywhere."""
    folder_of("a", "b")
    gateway.ends |= {"a": "failed", "b": "failed"}
    assert served(*BATCH).code == 4


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


def test_without_a_key_nothing_is_sent(cli: Cli, folder_of: Callable[..., Path], server: Server) -> None:
    """As everywhere."""
    folder_of("cat")
    ran = cli(*BATCH, "--base-url", server.url)
    assert (ran.code, server.received) == (3, [])
    assert "no API key" in ran.stderr


def test_a_program_is_told_the_command_too(served: Cli, gateway: Gateway, folder_of: Callable[..., Path]) -> None:
    """As part of the event, with the server that the batch was given."""
    out = folder_of("cat")
    url = ("--base-url", gateway.server.url)
    served(*BATCH, *url)
    next(out.glob("*.webp")).unlink()
    events = [json.loads(line) for line in served(*BATCH, *url, "--progress", "json").stderr.splitlines()]
    [note] = [event for event in events if event["event"] == "note"]
    assert note["hint"] == f"cometrep download {' '.join(url)} {gateway.id_of('cat')} -d p --overwrite"


def test_no_plain_lines_stand_among_events(served: Cli, gateway: Gateway, folder_of: Callable[..., Path]) -> None:
    """With -q too: what failed is an event."""
    folder_of("bad", "cat")
    gateway.ends["bad"] = "failed"
    ran = served(*BATCH, "--progress", "json", "-q")
    *events, failure, hint = ran.stderr.splitlines()
    assert [json.loads(line)["event"] for line in events].count("item") == 2
    assert (failure.startswith("cometrep: "), hint.startswith("hint: ")) == (True, True)


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


def test_retries_are_told_in_logs(served: Cli, gateway: Gateway, folder_of: Callable[..., Path]) -> None:
    """Nobody waits in front of a log that says nothing."""
    folder_of("cat")
    gateway.refusals["cat"] = [answer_json({"detail": "slow down"}, 429, headers={"Retry-After": "0"})]
    ran = served(*BATCH)
    assert ran.code == 0
    assert re.search(r"slow down.*; again in ", ran.stderr)


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
