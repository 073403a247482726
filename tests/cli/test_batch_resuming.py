"""`cometrep batch` again: what is done stays done, and what was created is looked for and not paid again."""

import contextlib
import json
import os
import shlex
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest

from tests.cli.conftest import BATCH, age, steps
from tests.conftest import TIMEOUT_SECONDS, Cli, wait_until
from tests.gateway import Gateway
from tests.servers import RESET, SCHNELL, Answer, Received, answer_html, answer_json, picture, prediction


def test_the_same_command_again_sends_nothing_and_prints_the_same_paths(
    served: Cli, gateway: Gateway, folder_of: Callable[..., Path]
) -> None:
    """A script that runs it twice gets the same."""
    folder_of("cat", "dog")
    first, second = served(*BATCH), served(*BATCH)
    assert sorted(first.lines) == sorted(second.lines)
    assert (second.code, gateway.total) == (0, 2)
    assert "0 done, 0 failed, 2 skipped" in second.stderr


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


@pytest.mark.parametrize("options", [(), ("--shard", "1/1")], ids=["whole", "shard"])
def test_what_earlier_runs_ended_is_not_left_where_this_one_is_cut_short(
    options: tuple[str, ...], served: Cli, gateway: Gateway, folder_of: Callable[..., Path]
) -> None:
    """Whoever has no credit is not told that all is to be paid for once more, though new lines come first."""
    folder_of("done", "bad", "lost")
    gateway.ends["bad"] = "failed"
    gateway.refusals["lost"] = [RESET]
    assert served(*BATCH, *options).code == 9
    folder_of("new", "other", "done", "bad", "lost")
    gateway.refusals["new"] = gateway.refusals["other"] = [answer_json({"detail": "no credit"}, 402)] * 2
    ran = served(*BATCH, *options, "-j", "1")
    assert ran.code == 8
    assert "0 done, 1 failed, 1 skipped, 1 in doubt, 2 left  " in ran.stderr
    assert "; 2 of 5 items left\n" in ran.stderr
    again = served(*BATCH, *options, "--retry-failed", "--retry-unknown", "-j", "1")
    assert "0 done, 1 failed, 1 skipped, 1 in doubt, 2 left  " in again.stderr


def test_the_hint_of_a_retry_that_is_cut_short_sends_what_it_left(
    served: Cli, gateway: Gateway, folder_of: Callable[..., Path]
) -> None:
    """What was to be sent again has failed, as before; the command for what is left would pass it over."""
    folder_of("a", "b", "c")
    gateway.ends |= {"a": "failed", "b": "failed"}
    assert served(*BATCH).code == 9
    ran = served(*BATCH, "--retry-failed", "--max-failures", "1", "-j", "1")
    assert (ran.code, gateway.creates) == (9, {"a": 2, "b": 1, "c": 1})
    assert "0 done, 2 failed, 1 skipped  " in ran.stderr
    hint = f"cometrep {' '.join(BATCH)} --max-failures 1 -j 1 --retry-failed"
    assert ran.stderr.endswith(f"hint: {hint}\n")
    quiet = served(*BATCH, "-q", env={"COMETREP_PROGRESS": "json"})  # events, which -q leaves out
    assert quiet.stderr.count("the model gave up") == 2, "why is an error, and stays with -q"
    gateway.ends.clear()
    assert served.type_hint(ran.stderr).code == 0


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
        assert "-d DIR" in ran.stderr
    assert served(*BATCH, "--status").code == 0
    assert served(*BATCH, "-d", "real").code == 0
    assert gateway.total == 1
    assert served(*BATCH, "-d", "real", "--sandbox", env=sandbox).code == 2


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
    assert served(*BATCH, "--retry-failed", "--dry-run").stderr.startswith("1 item: 1 to send again\n")


@pytest.mark.parametrize("status", ["succeeded", "failed"])
def test_a_record_that_is_gone_at_the_end_is_told(
    served: Cli,
    gateway: Gateway,
    folder_of: Callable[..., Path],
    stopped: Callable[[Popen[bytes]], None],
    status: str,
) -> None:
    """As where its folder was moved: another run would know nothing of what was sent, and is not advised."""
    out = folder_of("cat")
    gateway.ends["cat"] = status
    gateway.holds.clear()
    process = served.start(*BATCH)
    stopped(process)
    wait_until(lambda: bool(gateway.total))
    out.rename(out.with_name("moved"))
    gateway.holds.set()
    _, stderr = process.communicate(timeout=TIMEOUT_SECONDS)
    assert process.returncode == (0 if status == "succeeded" else 4)
    assert b"p/batch.jsonl is not where it was" in stderr
    assert b"cometrep batch" not in stderr
    assert status == "succeeded" or stderr.endswith(b"hint: cometrep list\n")


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
    assert served(*BATCH).code == 8
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


def test_items_of_other_inputs_are_counted_before_any_is_sent(
    served: Cli, gateway: Gateway, folder_of: Callable[..., Path]
) -> None:
    """Where an input of all items was changed by mistake, all would be paid for again: a rehearsal says so."""
    folder_of("a", "b", "c")
    served(*BATCH)
    assert "of earlier runs" not in served(*BATCH, "--dry-run").stderr
    told = "p: 3 items of earlier runs are not among these"
    rehearsed = served(*BATCH, "seed=1", "--dry-run")
    assert rehearsed.stderr == f"cometrep: warning: {told}\n3 items: 3 to send\nfolder: p\n"
    assert json.loads(served(*BATCH, "seed=1", "--dry-run", "--json").stdout)["gone"] == 3
    ran = served(*BATCH, "seed=1", "-q")
    assert (ran.code, gateway.total, ran.stderr) == (0, 6, f"cometrep: warning: {told}\n")
    events = map(json.loads, served(*BATCH, "seed=2", "--progress", "json").stderr.splitlines())
    assert [event["text"] for event in events if event["event"] == "note"] == [told.replace("3", "6")]


def test_status_of_a_folder_without_a_batch_is_an_error(cli: Cli) -> None:
    """Not an empty table."""
    told = "cometrep: --status needs the FILE or the folder of a batch\nhint: add -d DIR\n"
    assert cli("batch", "--status").stderr == told
    ran = cli("batch", "--status", "--dir", "none")
    assert ran.code == 2
    assert ran.stderr == "cometrep: no batch has run in 'none'\nhint: find . -name 'batch*.jsonl'\n"


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
