"""`cometrep run`: the main job in one line, from the input to the picture on disk."""

import hashlib
import io
import json
import os
import re
import shutil
import signal
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.conftest import TIMEOUT_SECONDS, Cli, needs_proc
from tests.servers import SCHNELL, WEBP, Answer, Received, Server, answer_html, answer_json, picture, prediction

SMALL = ("prompt=a lighthouse", "megapixels=0.25", "seed=7")


def accepted(server: Server, *looks: Answer) -> None:
    """Script a create that is accepted, the looks that follow, and its file."""
    server.on_create(answer_json(prediction(status="starting")))
    server.on_get(*looks)
    server.on("GET", "/f/", Answer(200, picture(), WEBP))


def finished(server: Server, files: int = 1, **rest: Any) -> Answer:
    """Make the reply of a finished prediction with files on the server."""
    return answer_json(prediction(output=[f"{server.url}/f/{index}.webp" for index in range(files)], **rest))


def test_the_main_job(sandboxed: Cli) -> None:
    """`run` creates, waits and saves: the path on stdout, the way there on stderr, a real picture on disk."""
    done = sandboxed("run", SCHNELL, *SMALL)
    assert done.code == 0
    (path,) = done.lines
    id = path.removesuffix(".webp")
    assert re.fullmatch(r"[0-9a-z]{26}", id)
    with Image.open(sandboxed.folder / path) as image:
        image.load()
        assert (image.format, image.size) == ("WEBP", (512, 512))
    assert "seed" not in done.stderr
    told = done.stderr.splitlines()
    assert told[0] == f"{id}  created  {SCHNELL}"
    assert any(re.fullmatch(rf"{id}  succeeded  \S+", line) for line in told)
    assert re.fullmatch(rf"saved {path}  [\d.]+ kB", told[-1])
    assert [file.name for file in sandboxed.folder.iterdir()] == [path]


def test_several_outputs_in_another_format(sandboxed: Cli) -> None:
    """`num_outputs`, `output_format` and `aspect_ratio` make as many pictures of that form; JSON tells of each."""
    done = sandboxed(
        "run", SCHNELL, *SMALL, "num_outputs=2", "output_format=png", "aspect_ratio=16:9", "--json", "-q"
    )
    assert (done.code, done.stderr) == (0, "")
    (line,) = done.lines
    shown = json.loads(line)
    assert (shown["status"], shown["progress"], shown["model"]) == ("succeeded", 1.0, SCHNELL)
    assert shown["input"]["num_outputs"] == 2
    assert [file["path"] for file in shown["files"]] == [f"{shown['id']}-{index}.png" for index in (0, 1)]
    contents = [(sandboxed.folder / file["path"]).read_bytes() for file in shown["files"]]
    assert contents[0] != contents[1]
    for file, content in zip(shown["files"], contents, strict=True):
        assert (file["bytes"], file["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
        assert file["content_type"] == "image/png"
        with Image.open(io.BytesIO(content)) as image:
            assert image.width > image.height


@pytest.mark.parametrize("what", ["id", "status", "url", "output"])
def test_print_chooses_what_stdout_gets(what: str, served: Cli, server: Server) -> None:
    """Each word of `--print` gives that and nothing else; the file is saved all the same."""
    accepted(server, finished(server))
    done = served("run", SCHNELL, "prompt=cat", "--print", what)
    url = f"{server.url}/f/0.webp"
    wanted = {"id": "abc123", "status": "succeeded", "url": url, "output": f'["{url}"]'}
    assert (done.code, done.stdout) == (0, wanted[what] + "\n")
    assert (served.folder / "abc123.webp").read_bytes() == picture()


def test_options_place_name_and_describe_the_files(served: Cli, server: Server) -> None:
    """`-d`, `-o`, `--sidecar` and `--overwrite` do what they do for `download`."""
    accepted(server, finished(server, files=2))
    command = ("run", SCHNELL, "prompt=cat", "-d", "pics", "-o", "{name}/{index}.{ext}", "--sidecar")
    done = served(*command)
    assert done.lines == ["pics/flux-schnell/0.webp", "pics/flux-schnell/1.webp"]
    sidecar = json.loads((served.folder / "pics/flux-schnell/abc123.cometrep.json").read_text())
    assert [file["path"] for file in sidecar["files"]] == ["0.webp", "1.webp"]
    assert sidecar["prediction"]["input"] == {"prompt": "cat"}
    (served.folder / "pics/flux-schnell/0.webp").write_bytes(b"another picture")
    assert served(*command).code == 9
    assert (served.folder / "pics/flux-schnell/0.webp").read_bytes() == b"another picture"
    assert served(*command, "--skip-existing").code == 0
    assert (served.folder / "pics/flux-schnell/0.webp").read_bytes() == b"another picture"
    assert served(*command, "--overwrite").code == 0
    assert (served.folder / "pics/flux-schnell/0.webp").read_bytes() == picture()


def test_the_picture_can_go_to_stdout(served: Cli, server: Server) -> None:
    """`-o -` gives exactly the bytes of the picture, as for a pipe into an image tool."""
    accepted(server, finished(server))
    done = subprocess.run(
        served.command("run", SCHNELL, "prompt=cat", "-o", "-"),
        capture_output=True,
        cwd=served.folder,
        env=served.environment,
        timeout=TIMEOUT_SECONDS,
        check=True,
    )
    assert done.stdout == picture()
    assert list(served.folder.iterdir()) == []


@pytest.mark.parametrize("template", ["-", "cat.webp", "{id}.{ext}", "{name}.{date}.{ext}"])
def test_names_that_cannot_all_be_kept_stop_it_before_it_costs(template: str, served: Cli, server: Server) -> None:
    """Where several outputs asked for would get one name, that is exit 2 and nothing is sent."""
    done = served("run", SCHNELL, "prompt=cat", "num_outputs=3", "-o", template)
    assert (done.code, done.stdout) == (2, "")
    assert "num_outputs" in done.stderr
    assert server.received == []


def test_more_outputs_than_names_are_not_lost(served: Cli, server: Server) -> None:
    """A server that gives more files than were asked for costs none: the hint's command saves them all."""
    accepted(server, finished(server, files=2))
    done = served("run", SCHNELL, "prompt=cat", "-o", "cat.{ext}")
    assert (done.code, done.stdout) == (12, ""), "2 would say that nothing was sent"
    assert list(served.folder.iterdir()) == []
    assert served.type_hint(done.stderr).lines == ["abc123-0.webp", "abc123-1.webp"]
    assert server.creates == 1


def test_a_dry_run_sends_nothing(cli: Cli, server: Server) -> None:
    """`run --dry-run` shows the request that `create` would, with what is doubtful of names, and sends nothing."""
    arguments = (SCHNELL, "prompt=cat", "--dry-run", "--base-url", server.url)
    done = cli("run", *arguments, "-o", "cat.png")
    assert (done.code, done.stderr.count("cat.png is to hold png")) == (0, 1)
    assert done.stdout == cli("create", *arguments).stdout
    assert json.loads(done.stdout)["body"] == {"input": {"prompt": "cat"}}
    assert server.received == []


def test_inputs_come_from_a_file_and_stdin(served: Cli, server: Server) -> None:
    """`-i -`, an item over it, and `--strict` work as for `create`."""
    accepted(server, finished(server))
    given = '{"prompt": "dog", "seed": 1}'
    assert served("run", SCHNELL, "-i", "-", "seed=2", "-q", stdin=given).code == 0
    assert server.received[0].json()["input"] == {"prompt": "dog", "seed": 2}
    assert served("run", SCHNELL, "promt=cat", "--strict").code == 2
    assert server.creates == 1


@pytest.mark.parametrize(
    ("word", "code", "error", "status"),
    [
        ("fail", 4, "prediction_failed", "failed"),
        ("cancel", 5, "prediction_canceled", "canceled"),
        ("abort", 5, "prediction_aborted", "aborted"),
        ("empty", 11, "output_missing", "succeeded"),
        ("nsfw", 4, "prediction_failed", "failed"),
    ],
)
def test_how_a_prediction_ends_is_the_exit_code(
    word: str, code: int, error: str, status: str, sandboxed: Cli
) -> None:
    """Failed, canceled, aborted and empty predictions each have their code, and leave no file."""
    done = sandboxed("run", SCHNELL, f"prompt=a cat sandbox:{word}", "megapixels=0.25", "--json", "-q")
    assert done.code == code
    told = json.loads(done.stderr)["error"]
    assert (told["code"], told["exit_code"]) == (error, code)
    shown = json.loads(done.stdout)
    assert (shown["status"], shown["id"]) == (status, told["prediction_id"])
    assert list(sandboxed.folder.iterdir()) == []


def test_fewer_outputs_than_asked_are_a_warning(sandboxed: Cli) -> None:
    """Where a filter dropped a file, the others are saved, a warning says so, and the exit code is 0."""
    done = sandboxed("run", SCHNELL, "prompt=a cat sandbox:nsfw", "megapixels=0.25", "num_outputs=2", "-q")
    assert done.code == 0
    assert len(done.lines) == 1
    assert re.fullmatch(r"cometrep: warning: \w+ has 1 of 2 outputs asked for.*\n", done.stderr)


@pytest.mark.parametrize("printed", ["--json", "--print=id", "--print=status"])
def test_a_prediction_that_no_look_showed_is_a_result_all_the_same(
    printed: str, served: Cli, server: Server
) -> None:
    """It is paid for, and what the answer to its create told is what is known of it."""
    server.on_create(answer_json(prediction("made1", "starting") | {"model": "x/internal"}))
    server.on_get(answer_json({"detail": "no"}, 500))
    done = served("run", SCHNELL, "prompt=cat", printed, env={"COMETREP_RETRY_BUDGET": "0"})
    assert done.code == 7
    if printed == "--json":
        shown = json.loads(done.stdout)
        assert (shown["id"], shown["status"], shown["model"]) == ("made1", "starting", SCHNELL)
        assert shown["input"] == {"prompt": "cat"}
    else:
        assert done.stdout == {"--print=id": "made1\n", "--print=status": "starting\n"}[printed]


def test_a_deadline_names_the_command_that_finishes_the_job(served: Cli, server: Server) -> None:
    """`--timeout` reached is exit 6; the hint, when typed, waits, saves and sends no second create."""
    accepted(server, answer_json(prediction(status="processing")))
    done = served("run", SCHNELL, "prompt=cat", "--timeout", "0.5s", "--interval", "0.2")
    assert (done.code, done.stdout) == (6, "")
    assert "the deadline of 0.5s passed" in done.stderr
    assert server.count("GET") <= 3  # fewer where the machine is busy
    server.on_get(finished(server))
    saved = served.type_hint(done.stderr)
    assert (saved.code, saved.stdout) == (0, "abc123.webp\n")
    assert server.creates == 1


def test_the_command_that_resumes_keeps_the_options(served: Cli, server: Server) -> None:
    """What was to be saved in a folder, under a template and with a sidecar, is so after the hint was typed."""
    accepted(server, answer_json(prediction(status="processing")))
    done = served(
        "run", SCHNELL, "prompt=cat", "--timeout", "0.3s", "-d", "my pics", "-o", "cat {index}.{ext}", "--sidecar"
    )
    assert done.code == 6
    server.on_get(finished(server))
    assert served.type_hint(done.stderr).stdout == "my pics/cat 0.webp\n"
    assert (served.folder / "my pics/abc123.cometrep.json").exists()


def test_an_early_not_found_is_forgiven(served: Cli, server: Server) -> None:
    """An API that does not know its own new prediction for a moment ends nothing."""
    accepted(server, answer_json({"detail": "not found"}, 404), finished(server))
    done = served("run", SCHNELL, "prompt=cat")
    assert (done.code, done.stdout) == (0, "abc123.webp\n")
    assert "attempt 1 failed" in done.stderr


@pytest.mark.parametrize(
    "look",
    [
        answer_json({"detail": "not found"}, 404),
        answer_json(prediction()),
        answer_json(prediction(data_removed=True)),
        answer_json({"detail": "boom"}, 500),
        answer_json({"detail": "slow down"}, 429),
    ],
    ids=["404", "empty", "removed", "500", "429"],
)
@pytest.mark.parametrize("by", ["run", "download"])
def test_what_the_answer_to_the_create_told_is_not_lost(look: Answer, by: str, served: Cli, server: Server) -> None:
    """An output that was there from the first is saved, whatever later looks make of it."""
    server.on_create(answer_json(prediction(output=[f"{server.url}/f/a.webp"]), 201))
    server.on_get(look)
    server.on("GET", "/f/", Answer(200, picture(), WEBP))
    without = {"COMETREP_RETRY_BUDGET": "0"}
    if by == "run":
        done = served("run", SCHNELL, "prompt=cat", env=without)
    else:
        assert served("create", SCHNELL, "prompt=cat").code == 0
        assert served("list", "--unsaved").stdout.startswith("abc123\t")
        done = served("download", "abc123", env=without)
    assert (done.code, done.stdout) == (0, "abc123.webp\n")
    assert server.creates == 1


LATE_LOOKS = {
    "401": answer_json({"detail": "no such key"}, 401),
    "403": answer_json({"detail": "not this way"}, 403),
    "no model": answer_json({"error": {"message": "no channel", "code": "model_not_found"}}, 503),
    "running": answer_json(prediction(status="processing")),
    "submitted": answer_json({"data": {"task_id": "abc123", "status": "SUBMITTED", "data": None}}),
}


@pytest.mark.parametrize("look", LATE_LOOKS.values(), ids=LATE_LOOKS)
@pytest.mark.parametrize(("status", "code"), [("succeeded", 0), ("failed", 4), ("canceled", 5), ("aborted", 5)])
def test_a_create_that_is_answered_with_the_end_is_the_end(
    look: Answer, status: str, code: int, served: Cli, server: Server
) -> None:
    """No further change is possible: a node that lags behind, or refuses to tell, takes nothing back."""
    output = [f"{server.url}/f/a.webp"] if status == "succeeded" else None
    server.on_create(answer_json(prediction(status=status, output=output), 201))
    server.on_get(look)
    server.on("GET", "/f/", Answer(200, picture(), WEBP))
    done = served("run", SCHNELL, "prompt=cat", "--print", "status")
    assert (done.code, done.stdout) == (code, f"{status}\n")


@pytest.mark.parametrize(
    "look",
    [answer_json({"detail": "not found"}, 404), answer_json({"detail": "boom"}, 503), answer_json(prediction())],
    ids=["404", "503", "empty"],
)
def test_a_picture_in_the_answer_to_the_create_is_saved(look: Answer, served: Cli, server: Server) -> None:
    """The program has its bytes, and nobody else may have them again."""
    server.on_create(answer_json(prediction(output=["data:image/png;base64,iVBORw0KGgo="]), 201))
    server.on_get(look)
    done = served("run", SCHNELL, "prompt=cat", env={"COMETREP_RETRY_BUDGET": "0"})
    assert (done.code, done.stdout) == (0, "abc123.png\n")
    assert (served.folder / "abc123.png").read_bytes() == b"\x89PNG\r\n\x1a\n"


def test_a_fault_that_passes_is_no_lost_output(served: Cli, server: Server) -> None:
    """Where the ledger has no more than a note of the picture, the next look may bring it."""
    server.on_create(answer_json(prediction(output=["data:image/png;base64,iVBORw0KGgo="]), 201))
    assert served("create", SCHNELL, "prompt=cat").code == 0
    server.on_get(answer_json({"detail": "boom"}, 503))
    done = served("download", "abc123", env={"COMETREP_RETRY_BUDGET": "0"})
    assert (done.code, done.stdout) == (7, "")


@pytest.mark.parametrize("status", [404, 503])
def test_a_failure_that_the_answer_to_the_create_told_is_the_outcome(
    status: int, served: Cli, server: Server
) -> None:
    """It is exit 4 with its reason and its object, where no look shows the prediction; for `wait` too."""
    server.on_create(answer_json(prediction(status="failed", error="NSFW content"), 201))
    server.on_get(answer_json({"detail": "boom"}, status))
    without = {"COMETREP_RETRY_BUDGET": "0"}
    done = served("run", SCHNELL, "prompt=cat", "--json", env=without)
    assert done.code == 4
    assert (json.loads(done.stdout)["status"], json.loads(done.stdout)["error"]) == ("failed", "NSFW content")
    assert "NSFW content" in done.stderr
    waited = served("wait", "abc123", env=without)
    assert (waited.code, waited.stdout) == (4, "abc123\tfailed\n")


def test_a_create_in_doubt_hints_at_its_picture(served: Cli, server: Server) -> None:
    """Where a gateway that gave up told the id, the hint saves as the command would have; a refresh looks."""
    server.on_create(answer_json({"data": {"task_id": "abc123"}}, 504))
    done = served("run", SCHNELL, "prompt=cat", "-o", "cometrep run {id}.{ext}")
    assert done.code == 10
    assert done.stderr.splitlines()[-1].endswith("download --wait abc123 -o 'cometrep run {id}.{ext}'")
    server.on_get(finished(server))
    server.on("GET", "/f/", Answer(200, picture(), WEBP))
    assert served("list", "--refresh").stdout.startswith("abc123\tsucceeded\t")
    typed = served.type_hint(done.stderr)
    assert typed.stdout == "cometrep run abc123.webp\n", typed.stderr


def test_what_was_made_elsewhere_is_not_to_be_run_again(served: Cli, server: Server) -> None:
    """The ledger does not know what was sent, so the hint is a look."""
    server.on_get(answer_json(prediction(status="canceled")))
    done = served("wait", "abc123")
    assert done.code == 5
    assert done.stderr.endswith("hint: cometrep status abc123 --json\n")


def test_a_hint_names_the_server_once(served: Cli, server: Server) -> None:
    """What stands in quotes is a name, whatever words it holds."""
    accepted(server, answer_json(prediction(status="processing")))
    words = ("-d", "it's a cometrep batch", "-o", "cometrep run {id}.{ext}", "--base-url", server.url)
    done = served("run", SCHNELL, "prompt=cat", "--timeout", "0.1", *words)
    assert done.code == 6
    assert done.stderr.splitlines()[-1].count(server.url) == 1


def test_an_api_that_does_not_know_what_it_made_is_asked_again(served: Cli, server: Server) -> None:
    """A paid prediction that is reported missing leaves the command that goes on with it."""
    server.on_create(answer_json(prediction(status="starting"), 201))
    server.on_get(answer_json({"detail": "not found"}, 404))
    done = served("run", SCHNELL, "prompt=cat", env={"COMETREP_RETRY_BUDGET": "0"})
    assert done.code == 8
    server.on_get(finished(server))
    server.on("GET", "/f/", Answer(200, picture(), WEBP))
    assert served.type_hint(done.stderr).stdout == "abc123.webp\n"


def test_a_refused_create_ends_it(served: Cli, server: Server) -> None:
    """Where the create failed there is no wait and no download, and the code is the create's own."""
    for answer, code in (
        (answer_json({"detail": "no"}, 401), 3),
        (answer_html(), 8),
        (answer_json({"detail": "boom"}, 500), 10),
    ):
        server.on_create(answer)
        assert served("run", SCHNELL, "prompt=cat").code == code
    assert {request.method for request in server.received} == {"POST"}
    assert served("run", SCHNELL, "prompt=cat", env={"COMETAPI_KEY": ""}).code == 3


def test_an_api_that_goes_away_after_the_create_is_resumed(served: Cli, server: Server) -> None:
    """When looks fail for good the code is 7, and its hint finishes the job without a second create."""
    accepted(server, Answer(502, b"bad gateway"))
    done = served("run", SCHNELL, "prompt=cat", env={"COMETREP_RETRY_BUDGET": "0"})
    assert done.code == 7
    server.on_get(finished(server))
    assert served.type_hint(done.stderr).stdout == "abc123.webp\n"
    assert server.creates == 1


def test_a_disk_that_refuses_costs_no_second_create(served: Cli, server: Server) -> None:
    """Where the file cannot be saved any more the code is 12, and the hint says how to have it elsewhere."""
    accepted(server, finished(server))
    folder = served.folder / "out"

    def spoil(request: Received) -> Answer:
        shutil.rmtree(folder)
        folder.touch()
        return finished(server)

    server.on_get(spoil)
    folder.mkdir()
    done = served("run", SCHNELL, "prompt=cat", "-d", "out", "-o", "cat.{ext}")
    assert done.code == 12
    assert "hint: cometrep download --wait abc123 -o 'cat.{ext}' -d DIR" in done.stderr
    server.on_get(finished(server))
    assert served.type_hint(done.stderr).stdout == "DIR/cat.webp\n"
    assert server.creates == 1


@pytest.mark.parametrize("where", [("-d", "file"), ("-d", "/proc/nowhere"), ("-o", "file/x.webp")], ids=" ".join)
def test_a_folder_that_takes_no_file_is_found_before_it_costs(
    where: tuple[str, str], served: Cli, server: Server
) -> None:
    """Where nothing can be saved, nothing is sent."""
    (served.folder / "file").touch()
    done = served("run", SCHNELL, "prompt=cat", *where)
    assert done.code == 12
    assert "nothing was sent" in done.stderr
    assert done.stdout == ""
    rehearsed = served("run", SCHNELL, "prompt=cat", *where, "--dry-run")
    assert (rehearsed.code, rehearsed.stderr) == (12, done.stderr), "and a rehearsal finds it behind the request"
    assert json.loads(rehearsed.stdout)["body"] == {"input": {"prompt": "cat"}}
    assert server.received == []
    assert [path.name for path in served.folder.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("looks", "file", "code"),
    [
        ([answer_json({"error": {"message": "no credit", "code": ""}}, 402)], Answer(200, picture(), WEBP), 8),
        ([answer_json({"detail": "what?"}, 400)], Answer(200, picture(), WEBP), 8),
        ([], Answer(500), 7),
        ([], Answer(302, headers={"Location": "/f/0.webp"}), 8),
    ],
    ids=["402", "400", "file 500", "file redirects"],
)
def test_what_fails_after_the_create_is_not_paid_for_again(
    looks: list[Answer], file: Answer, code: int, served: Cli, server: Server
) -> None:
    """The error names the prediction, and its hint goes on with it, with the options that it was given."""
    accepted(server, *looks, finished(server))
    server.on("GET", "/f/", file)
    words = ("-d", "out", "-o", "cat.webp", "--sidecar", "--json")
    done = served("run", SCHNELL, "prompt=cat", *words, env={"COMETREP_RETRY_BUDGET": "0"})
    error = json.loads(done.stderr.splitlines()[-1])["error"]
    assert (done.code, error["prediction_id"]) == (code, "abc123")
    assert "abc123" in error["message"]
    server.on("GET", "/f/", Answer(200, picture(), WEBP))
    again = served.type_hint(f"hint: {error['hint']}")
    assert [file["path"] for file in json.loads(again.stdout)["files"]] == ["out/cat.webp"]
    assert (served.folder / "out/abc123.cometrep.json").exists()
    assert server.creates == 1


def test_a_key_that_is_refused_later_is_replaced_before_the_prediction_is_gone_on_with(
    served: Cli, server: Server
) -> None:
    """The hint is one line for both: log in, then go on."""
    accepted(server, answer_json({"detail": "no"}, 401))
    done = served("run", SCHNELL, "prompt=cat", "-o", "cat.webp")
    assert done.code == 3
    assert "prediction abc123: the API key " in done.stderr
    assert done.stderr.endswith(
        "hint: unset COMETAPI_KEY && cometrep login && cometrep download --wait abc123 -o cat.webp\n"
    )


def test_a_picture_that_differs_is_replaced_by_the_hint(served: Cli, server: Server) -> None:
    """`--overwrite` in the hint is for the path that was asked for."""
    accepted(server, finished(server))
    (served.folder / "out").mkdir()
    (served.folder / "out/cat.webp").write_bytes(b"old")
    done = served("run", SCHNELL, "prompt=cat", "-d", "out", "-o", "cat.webp")
    assert done.code == 12
    assert served.type_hint(done.stderr).stdout == "out/cat.webp\n"
    assert (served.folder / "out/cat.webp").read_bytes() == picture()


@pytest.mark.parametrize("template", ["cat.webp", "cat-{index}.webp"])
def test_a_path_that_stays_is_not_paid_for(template: str, served: Cli, server: Server) -> None:
    """`--skip-existing` with a name that is known before the prediction: nothing is created, and stderr says so."""
    accepted(server, finished(server))
    path = served.folder / template.format(index=0)
    path.write_bytes(b"old")
    done = served("run", SCHNELL, "prompt=cat", "-o", template, "--skip-existing")
    assert (done.code, done.stdout) == (0, "")
    assert f"{path.name} exists and stays as it is; nothing was created" in done.stderr
    assert server.received == []
    path.unlink()
    assert served("run", SCHNELL, "prompt=cat", "-o", template, "--skip-existing").lines == [path.name]


def test_a_picture_that_is_paid_for_and_not_saved_is_a_warning(served: Cli, server: Server) -> None:
    """Its name was not known beforehand, and --skip-existing left what stood there: it lives an hour more."""
    accepted(server, finished(server))
    path = served.folder / "cat.webp"
    path.write_bytes(b"old")
    done = served("run", SCHNELL, "prompt=cat", "-o", "cat.{ext}", "--skip-existing", "-q")
    assert (done.code, done.stdout, path.read_bytes()) == (0, "", b"old")
    assert done.stderr == "cometrep: warning: 1 output file of abc123, paid for, not saved: what exists stays\n"
    told = served("run", SCHNELL, "prompt=cat", "-o", "cat.{ext}", "--skip-existing")
    assert served.type_hint(told.stderr).lines == ["abc123-0.webp"]
    assert served("run", SCHNELL, "prompt=cat", "-o", "-", "-q").stderr == ""


def test_several_paths_that_stay_are_told_together(served: Cli, server: Server) -> None:
    """Each of them exists, so nothing is created."""
    for name in ("cat-0.webp", "cat-1.webp"):
        (served.folder / name).write_bytes(b"old")
    done = served("run", SCHNELL, "prompt=cat", "num_outputs=2", "-o", "cat-{index}.webp", "--skip-existing")
    assert "cat-0.webp, cat-1.webp exist and stay as they are; nothing was created" in done.stderr
    assert server.received == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["INT", "TERM"])
def test_a_signal_names_the_command_that_finishes_the_job(
    number: signal.Signals,
    code: int,
    served: Cli,
    server: Server,
    stopped: Callable[["subprocess.Popen[bytes]"], None],
) -> None:
    """A signal while it waits leaves the prediction alone; the hint, when typed, saves the picture."""
    accepted(server, answer_json(prediction(status="processing")))
    process = served.start("run", SCHNELL, "prompt=cat", "--timeout", "2h", "--interval", "1", "--logs")
    stopped(process)
    assert process.stderr
    while b"processing" not in (line := process.stderr.readline()):
        assert line
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=TIMEOUT_SECONDS)
    assert (process.returncode, stdout) == (code, b"")
    server.on_get(finished(server))
    assert b"hint: cometrep download --wait abc123\n" in stderr
    assert served.type_hint(stderr.decode()).stdout == "abc123.webp\n"
    assert server.creates == 1


def test_events_tell_the_whole_way(sandboxed: Cli) -> None:
    """`--progress json` has events from `created` to `result` on stderr, all with the id, in their order."""
    done = sandboxed("run", SCHNELL, *SMALL, "num_outputs=2", "--progress", "json", "--logs")
    events = [json.loads(line) for line in done.stderr.splitlines()]
    words = [event["event"] for event in events]
    assert words[0] == "created"
    assert words[-1] == "result"
    assert set(words) == {"created", "status", "progress", "log", "saving", "saved", "result"}
    assert words.index("status") < words.index("saving") < words.index("saved")
    assert len({event["id"] for event in events}) == 1
    assert [event["path"] for event in events if event["event"] == "saved"] == done.lines
    assert (events[-1]["exit_code"], events[-1]["code"], len(events[-1]["files"])) == (0, None, 2)
    assert any(event["event"] == "log" and "Using seed: 7" in event["line"] for event in events)
    last_saving = [event for event in events if event["event"] == "saving"][-1]
    assert last_saving["bytes"] == last_saving["total_bytes"] == (sandboxed.folder / done.lines[1]).stat().st_size


@pytest.mark.parametrize("options", [(), ("--dry-run",)], ids=str)
def test_outputs_that_cannot_all_be_kept_are_refused_before_the_create(
    served: Cli, server: Server, options: tuple[str, ...]
) -> None:
    """Two outputs under one name; a name that is a pipe, which stays one."""
    os.mkfifo(served.folder / "pipe")
    for arguments in (("num_outputs=2", "-o", "x.webp"), ("-o", "pipe")):
        ran = served("run", SCHNELL, "prompt=x", *arguments, *options)
        assert (ran.code, ran.stdout) == (2, "")
    assert server.received == []
    assert stat.S_ISFIFO((served.folder / "pipe").stat().st_mode)


def test_a_folder_with_an_impossible_name_is_refused_before_the_create(served: Cli, server: Server) -> None:
    """Nothing is paid for what could not be saved."""
    done = served("run", SCHNELL, "prompt=cat", "-d", "x" * 300)
    assert (done.code, server.creates) == (12, 0)
    assert "File name too long; nothing was sent" in done.stderr


@needs_proc
def test_a_large_picture_goes_to_stdout_in_pieces(served: Cli, server: Server) -> None:
    """What `-o -` needs of memory does not grow with the file."""
    size = 64 * 2**20
    server.on_create(answer_json(prediction(status="starting")))
    server.on_get(answer_json(prediction(output=[f"{server.url}/f/a.webp"])))
    content = picture()
    server.on("GET", "/f/a", Answer(200, content + bytes(size - len(content)), WEBP))
    with served.start("run", SCHNELL, "prompt=cat", "-o", "-") as process:
        assert process.stdout
        taken = len(process.stdout.read(size // 2))
        status = Path(f"/proc/{process.pid}/status").read_text()  # while it writes
        taken += len(process.stdout.read())
    assert (process.returncode, taken) == (0, size)
    assert int(re.findall(r"VmHWM:\s+(\d+)", status)[0]) * 1024 < size
