"""The input of `cometrep batch`: files, stdin, sweeps and shards, read to the last line before anything is sent."""

import json
import shlex
import threading
from collections.abc import Callable
from pathlib import Path
from subprocess import Popen

import pytest

from tests.cli.conftest import BATCH
from tests.conftest import TIMEOUT_SECONDS, Cli, wait_until
from tests.gateway import Gateway, json_lines
from tests.servers import SCHNELL, Server


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


def test_a_sweep_shows_its_size_and_runs(served: Cli, gateway: Gateway, folder: Path) -> None:
    """Every combination is one item, in the folder `sweep`."""
    (folder / "prompts.txt").write_text("cat\ndog\n")
    ran = served("batch", "--sweep", "--model", SCHNELL, "prompt=@prompts.txt", "seed:=1..3")
    assert (ran.code, gateway.creates) == (0, {"cat": 3, "dog": 3})
    assert "sweep: 2 prompt x 3 seed = 6 items" in ran.stderr
    assert len(list((folder / "sweep").glob("*.webp"))) == 6


@pytest.mark.parametrize("item", ["prompt=@-", "prompt:=@-", "prompt=@/dev/zero"])
def test_a_sweep_over_what_has_no_end_is_refused(item: str, cli: Cli) -> None:
    """A million lines, or 100 MB, are more than a sweep; and it does not take all memory to see that."""
    done = cli("batch", "--sweep", "-m", SCHNELL, item, "--dry-run", stdin="1\n" * 1_000_001)
    assert done.code == 2
    assert "has more than a million lines, or 100 MB" in done.stderr


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
    assert "\n101 items: 101 to send\n" in served(*sweep).stderr


def test_dry_run_shows_counts_requests_and_names(
    served: Cli, gateway: Gateway, folder_of: Callable[..., Path]
) -> None:
    """And sends and makes nothing; after a run it tells what is left."""
    out = folder_of("cat", "bad", "dog", "owl")
    ran = served(*BATCH, "--dry-run", "num_outputs:=2", "-o", "{id}-{index}.png")
    assert (ran.code, gateway.server.received, out.exists()) == (0, [], False)
    assert "4 items: 4 to send\nfolder: p\n" in ran.stderr
    assert ran.stderr.count("is to hold png") == 1
    shown = [json.loads(line) for line in ran.lines]
    assert [(one["method"], one["body"]["input"]["prompt"]) for one in shown] == [
        ("POST", prompt) for prompt in ("cat", "bad", "dog")
    ]
    assert shown[0]["files"] == ["p/ID-0.png", "p/ID-1.png"]
    assert "sk-" not in ran.stdout
    gateway.ends["bad"] = "failed"
    served(*BATCH)
    facts = json.loads(served(*BATCH, "--dry-run", "--json").stdout)
    assert (facts["items"], facts["done_before"], facts["failed_before"], facts["to_send"]) == (4, 3, 1, 0)
    assert facts["first"] == []  # nothing would be sent
    facts = json.loads(served(*BATCH, "--dry-run", "--json", "--retry-failed").stdout)
    assert [one["request"]["body"]["input"]["prompt"] for one in facts["first"]] == ["bad"]
    assert gateway.total == 4


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
    assert ran.stderr.count('seed takes an integer, not "five" (line 1)') == 1


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


def test_every_doubt_is_told_with_its_lines(served: Cli, gateway: Gateway, folder: Path) -> None:
    """And with `--strict` they are all errors, before anything is sent."""
    lines = ['{"prompt": "x"}', '{"promt": "x"}', '{"prompt": "x", "num_outputs": 9}', '{"promt": "y"}']
    (folder / "p.jsonl").write_text("\n".join(lines))
    ran = served(*BATCH, "--strict")
    assert (ran.code, gateway.total) == (2, 0)
    assert "promt" in ran.stderr
    assert all(f"line {number}: " in ran.stderr for number in (2, 3, 4))
    told = served(*BATCH, "--dry-run").stderr
    assert "lines 2, 4" in told
    assert "(line 3)" in told


def test_every_bad_line_is_named_however_many_they_are(cli: Cli, folder: Path) -> None:
    """On stderr too, where what a server says is cut to what a screen holds."""
    (folder / "p.jsonl").write_text('{"prompt": "x"}\n[]\n' * 3000)
    ran = cli(*BATCH, "--sandbox")
    assert (ran.code, ran.stdout) == (2, "")
    assert "3000 bad lines" in ran.stderr
    assert ", 5998, 6000\n" in ran.stderr


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


def test_without_a_file_or_a_sweep_the_forms_are_named(cli: Cli) -> None:
    """A batch needs one of the two."""
    ran = cli("batch")
    assert ran.code == 2
    assert "FILE, or --sweep" in ran.stderr


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
