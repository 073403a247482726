"""`rerun`: create again from the ledger's input, with inputs changed."""

import hashlib
import json

import pytest

from tests.conftest import Cli
from tests.servers import SCHNELL, Answer, Server, answer_json, picture, prediction

DEV = "black-forest-labs/flux-dev"


@pytest.fixture
def made(served: Cli, server: Server) -> Cli:
    """The program, with a server that makes predictions and their pictures."""
    server.on_create(*(answer_json(prediction(f"made{number}", "starting")) for number in (1, 2, 3)))
    server.on_get(
        lambda request: answer_json(
            prediction(request.path.rpartition("/")[2], output=f"{server.url}/f/{request.path[-5:]}.webp")
        )
    )
    server.on("GET", "/f/", Answer(200, picture()))
    return served


def sent(server: Server) -> list[dict[str, object]]:
    """The inputs of the creates that came in."""
    return [request.json()["input"] for request in server.received if request.method == "POST"]


def test_the_same_input_is_sent_again(made: Cli, server: Server) -> None:
    """Without items the same input goes to the same model, as a new prediction whose files are saved."""
    assert made("run", "-q", SCHNELL, "prompt=cat", "seed=7", "own:=[1]").code == 0
    done = made("rerun", "@last", "-q")
    assert (done.code, done.stdout) == (0, "made2.webp\n")
    assert sent(server) == [{"prompt": "cat", "seed": 7, "own": [1]}] * 2
    assert server.received[0].path == next(r.path for r in reversed(server.received) if r.method == "POST")


def test_items_change_inputs(made: Cli, server: Server) -> None:
    """Items override or add inputs, typed as ever; the rest stays."""
    assert made("run", "-q", SCHNELL, "prompt=cat", "seed=7").code == 0
    assert made("rerun", "-q", "made1", "seed=8", "num_outputs=2").code == 0
    assert sent(server)[1] == {"prompt": "cat", "seed": 8, "num_outputs": 2}


def test_an_option_as_the_name_of_a_folder_hides_no_id(made: Cli, server: Server) -> None:
    """However odd the command is, the `-` in it stands for the id."""
    assert made("create", "-q", SCHNELL, "prompt=cat").code == 0
    done = made.shell_line("echo @last | cometrep rerun -q -d -o.o -")
    assert (done.code, done.stdout, done.stderr) == (0, "-o.o/made2.webp\n", "")


@pytest.mark.parametrize("command", ["echo @last", "cometrep list -n 1", "cometrep list -n 1 --json"])
def test_the_id_may_come_from_stdin(command: str, made: Cli, server: Server) -> None:
    """`-` takes the one id on stdin, as other commands print it."""
    assert made("create", "-q", SCHNELL, "prompt=cat").code == 0
    done = made.shell_line(f"{command} | cometrep rerun -q - seed=8")
    assert (done.code, done.stdout, done.stderr) == (0, "made2.webp\n", "")
    assert sent(server)[1] == {"prompt": "cat", "seed": 8}


def test_several_ids_on_stdin_are_refused(made: Cli, server: Server) -> None:
    """Rather than the first of them created again and the others dropped; nothing is sent."""
    for _ in range(2):
        assert made("create", "-q", SCHNELL, "prompt=cat").code == 0
    done = made.shell_line("cometrep list | cometrep rerun -o - --dry-run - seed=8")
    assert (done.code, done.stdout) == (2, "")
    assert done.stderr == (
        "cometrep: stdin held 2 ids, and one prediction is created again\n"
        "hint: cometrep rerun -o - --dry-run made2 seed=8\n"
    )
    assert server.creates == 2


def test_a_dry_run_sends_nothing(made: Cli, server: Server) -> None:
    """`--dry-run` shows the request that would be sent."""
    assert made("create", "-q", SCHNELL, "prompt=cat").code == 0
    done = made("rerun", "@last", "seed=8", "--dry-run")
    assert json.loads(done.stdout)["body"] == {"input": {"prompt": "cat", "seed": 8}}
    assert server.creates == 1


def test_a_file_that_the_ledger_did_not_keep_is_asked_for_by_name(made: Cli, server: Server) -> None:
    """An input that was a file has to be given again; the error names it, and the hint's command works."""
    content = b"\x89PNG\r\n\x1a\n" + b"x" * 50
    (made.folder / "fox.png").write_bytes(content)
    assert made("create", "-q", DEV, "prompt=cat", "image@fox.png").code == 0
    done = made("rerun", "@last")
    assert (done.code, done.stdout) == (2, "")
    assert "input image was a file (image/png, 58 bytes, SHA-256 " in done.stderr
    assert hashlib.sha256(content).hexdigest()[:12] in done.stderr
    assert done.stderr.splitlines()[1] == "hint: cometrep rerun @last image@FILE"
    again = made("rerun", "-", "--dry-run", stdin="@last").stderr
    assert again.endswith("\nhint: cometrep rerun --dry-run made1 image@FILE\n")
    assert server.creates == 1
    assert made("rerun", "-q", "@last", "image@fox.png").code == 0
    assert sent(server)[0] == sent(server)[1]


def test_a_file_inside_an_object_is_asked_for_too(made: Cli, server: Server) -> None:
    """What the ledger keeps in its place is no input to pay for."""
    nested = {"a": {"b": ["data:image/png;base64,iVBORw0KGgo="]}}
    (made.folder / "n.json").write_text(json.dumps(nested))
    assert made("create", "-q", DEV, "prompt=cat", "mask:=@n.json").code == 0
    done = made("rerun", "@last")
    assert (done.code, server.creates) == (2, 1)
    assert "input mask was a file (image/png, 8 bytes" in done.stderr
    assert done.stderr.splitlines()[1] == "hint: cometrep rerun @last mask:=@JSONFILE"
    assert made("rerun", "-q", "@last", "mask:=@n.json").code == 0
    assert sent(server)[0] == sent(server)[1]


def test_a_hint_gives_a_list_whole_that_had_a_file_in_it(made: Cli, server: Server) -> None:
    """What is typed stands in the place of the ledger's list, and a part of it would be paid for as another one."""
    server.on_get(*(answer_json(prediction(id, "aborted")) for id in ("made1", "made2")))
    (made.folder / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"x" * 50)
    items = ("prompt=cat", "input_images@a.png", "input_images=https://example.com/b.png")
    hint = made("run", "-q", "black-forest-labs/flux-2-pro", *items).stderr.splitlines()[-1]
    assert hint == f"hint: cometrep rerun made1 {' '.join(items[1:])}"
    made.shell_line(hint.removeprefix("hint: "))
    assert sent(server)[0] == sent(server)[1]


def test_the_hint_of_a_prediction_that_may_be_created_again_is_the_command_that_ran(
    made: Cli, server: Server
) -> None:
    """Typed as it stands it saves in the same place, with the file that the ledger did not keep."""
    server.on_get(
        answer_json(prediction("made1", "aborted")),
        answer_json(prediction("made2", output=f"{server.url}/f/a.webp")),
    )
    (made.folder / "my fox.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"x" * 50)
    options = ("-d", "my zoo", "-o", "fox.{ext}", "--sidecar", "--timeout", "10m")
    stopped = made("run", "-q", *options, DEV, "prompt=cat", "image@my fox.png")
    assert stopped.code == 5
    hint = stopped.stderr.splitlines()[-1].removeprefix("hint: ")
    assert hint == ("cometrep rerun made1 'image@my fox.png' -o 'fox.{ext}' -d 'my zoo' --timeout 10m --sidecar")
    again = made.shell_line(hint)
    assert (again.code, again.stdout) == (0, "my zoo/fox.webp\n")
    assert (made.folder / "my zoo" / "made2.cometrep.json").exists()
    assert sent(server)[0] == sent(server)[1]


@pytest.mark.parametrize("id", ["unknown1", "@last"])
def test_what_was_not_made_here_cannot_be_rerun(id: str, served: Cli, server: Server) -> None:
    """A prediction of another machine has no input here: a usage error, and nothing is sent."""
    done = served("rerun", id)
    assert (done.code, done.stdout) == (2, "")
    assert server.received == []
