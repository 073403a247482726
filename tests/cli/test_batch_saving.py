"""The files of `cometrep batch`: their names and folder, what is in their way, and what is told of each."""

import contextlib
import json
import re
import shlex
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import BATCH, age, steps
from tests.conftest import Cli
from tests.gateway import Gateway
from tests.servers import SCHNELL, WEBP, Answer, Received, Server, answer_json, picture


def test_a_folder_of_a_variable_that_is_not_set_is_refused(served: Cli, gateway: Gateway, folder: Path) -> None:
    """Its record would not be found in another one, and all be sent again."""
    ran = served(*BATCH, "-d", "")
    assert (ran.code, gateway.total) == (2, 0)
    assert ran.stderr == "cometrep: --dir '' names no folder\nhint: --dir .\n"


def test_a_template_that_names_all_items_alike_is_refused(
    served: Cli, server: Server, folder_of: Callable[..., Path]
) -> None:
    """Before anything is sent."""
    folder_of("cat", "dog")
    for template in ("picture.{ext}", "{index}.{ext}", "-"):
        ran = served(*BATCH, "-o", template)
        assert (ran.code, server.received) == (2, [])


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
    """As `run` does; a rehearsal tells what would be sent too."""
    out = folder_of("cat")
    out.mkdir()
    (out / "sub").write_text("a file")
    where = () if template.startswith("sub") else ("-d", "p/sub/below")
    for options in ((), ("--dry-run",)):
        ran = served(*BATCH, *where, *(("-o", template) if template else ()), *options)
        assert (ran.code, gateway.total, "1 to send" in ran.stderr) == (12, 0, bool(options))
        assert "p/sub" in ran.stderr


def test_a_skipped_path_is_not_taken_for_the_output(served: Cli, gateway: Gateway, folder: Path) -> None:
    """Where the name is known before, nothing is created; else another run without the option saves it."""
    (folder / "p.jsonl").write_text('{"key": "cat", "input": {"prompt": "cat"}}\n')
    out = folder / "p"
    out.mkdir()
    (out / "cat.webp").write_bytes(b"mine")
    rehearsed = served(*BATCH, "-o", "{key}.webp", "--skip-existing", "--dry-run")
    assert (rehearsed.stdout, "1 item: 1 to leave alone" in rehearsed.stderr) == ("", True)
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


def test_what_could_be_saved_of_an_item_is_known_to_every_run(
    served: Cli, gateway: Gateway, folder_of: Callable[..., Path]
) -> None:
    """Its files are paid for, and in the folder, whatever became of the others."""
    out = folder_of("cat")
    gateway.files_each = 3
    there, gone = Answer(200, picture(), WEBP), Answer(404)
    gateway.file_answers["cat"] = [there, gone, there, gone]
    ran = served(*BATCH)
    id = gateway.id_of("cat")
    paths = [f"p/{id}-0.webp", f"p/{id}-2.webp"]
    assert (ran.code, ran.lines) == (9, paths)
    gateway.file_answers["cat"] = [gone, gone]
    age(out, 3700)
    ran = served(*BATCH)  # which finds that its hour is over
    assert (ran.code, ran.lines) == (9, paths)
    ran = served(*BATCH)
    assert (ran.code, ran.lines, gateway.total) == (9, paths, 1)
    status = json.loads(served(*BATCH, "--status", "--json").stdout)
    assert [file["path"] for file in status["files"]] == paths
    assert status["outcome"] == "failed"


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
    quiet = served(*BATCH, "-o", "{key}.{ext}", "--skip-existing", "-q")
    assert quiet.code == 0
    assert re.fullmatch(
        r"cometrep: warning: cat, paid for: .*cat\.webp exists and stays as it is; \w+ is not saved\n", quiet.stderr
    )


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


@pytest.mark.parametrize("option", [["--status"], []], ids=["status", "run"])
def test_a_folder_with_an_impossible_name_is_told(
    served: Cli, gateway: Gateway, folder_of: Callable[..., Path], option: list[str]
) -> None:
    """It is a local file's error, before anything is sent."""
    folder_of("cat")
    ran = served(*([] if option else BATCH), *(["batch", *option] if option else []), "-d", "x" * 300)
    assert (ran.code, gateway.total) == (12, 0)
    assert "File name too long" in ran.stderr


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


def test_items_that_cannot_be_kept_are_an_error(served: Cli, gateway: Gateway, folder: Path) -> None:
    """A stdin that is open for writing alone, and a temporary folder without room for a copy."""
    command = ("batch", "-", "--model", SCHNELL)
    ran = served(*command, prefix=("bash", "-c", 'exec "$@" 0> unreadable', "bash"))
    assert (ran.code, ran.stdout) == (2, "")
    assert "cannot read stdin" in ran.stderr
    limited = 'export PYTHONDONTWRITEBYTECODE=1; ulimit -f 1; exec "$@"'  # nor are modules to be cut short
    ran = served(*command, stdin="x" * 5000, prefix=("bash", "-c", limited, "bash"))
    assert (ran.code, ran.stdout) == (12, "")
    assert ran.stderr.endswith("hint: export TMPDIR=FOLDER\n")
    assert gateway.total == 0


def test_a_configured_folder_holds_batches_in_folders_of_their_own(
    served: Cli, gateway: Gateway, folder_of: Callable[..., Path], folder: Path
) -> None:
    """Two batches never share a record by accident."""
    folder_of("cat")
    served(*BATCH, env={"COMETREP_DIR": "pictures"})
    assert (folder / "pictures" / "p" / "batch.jsonl").exists()


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
        (("a1", "b1"), "{key}{index}.{ext}", 0),
        (("a", "a0"), "{key}{index}.{ext}", 0),
        (("a", "a0"), "{key}{index:02}.{ext}", 0),
    ],
)
def test_names_clash_where_indexes_can_make_them_one(
    served: Cli, gateway: Gateway, folder: Path, keys: tuple[str, ...], template: str, code: int
) -> None:
    """And nowhere else."""
    (folder / "p.jsonl").write_text("".join(f'{{"key": "{key}", "input": {{"prompt": "x"}}}}\n' for key in keys))
    assert served(*BATCH, "-o", template, "--dry-run").code == code
