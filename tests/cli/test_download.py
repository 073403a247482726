"""`cometrep download`: save the outputs of finished predictions, whole or not at all, losing nothing."""

import contextlib
import hashlib
import json
import os
import re
import signal
import sqlite3
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cometrep import __version__
from tests.conftest import TIMEOUT_SECONDS, Certificate, Cli, on_posix, wait_until
from tests.servers import (
    SCHNELL,
    WEBP,
    Answer,
    Received,
    Server,
    TunnelingServer,
    answer_html,
    answer_json,
    picture,
    prediction,
)

AT_ONCE = {"COMETREP_RETRY_BUDGET": "0"}
OLD = b"not yours to replace"


def on(server: Server, id: str, *paths: str, **rest: Any) -> None:
    """Script a finished prediction whose output is these paths of the server, or `output`."""
    found = {"output": [server.url + path for path in paths], **rest}
    server.on("GET", f"/replicate/v1/predictions/{id}", answer_json(prediction(id, **found)))


def pictures(server: Server, *names: str) -> None:
    """Serve a different picture under each name."""
    for seed, name in enumerate(names):
        server.on("GET", f"/f/{name}", Answer(200, picture(3000, seed), {**WEBP, "ETag": f'"{name}"'}))


def files(cli: Cli) -> dict[str, bytes]:
    """Read all files in the working folder, hidden ones and those in its folders too."""
    found = {}
    for path in cli.folder.rglob("*"):
        with contextlib.suppress(IsADirectoryError, FileNotFoundError):  # a part file may just get its name
            found[path.relative_to(cli.folder).as_posix()] = path.read_bytes()
    return found


def test_saves_the_outputs_of_each_prediction(served: Cli, server: Server) -> None:
    """One output is ID.EXT, several are ID-0.EXT and so on, even where URLs end alike; each path is a line."""
    on(server, "one", "/f/a.webp")
    on(server, "two", "/f/b/out.webp", "/f/c/out.webp")
    pictures(server, "a.webp", "b/out.webp", "c/out.webp")
    done = served("download", "one", "two")
    assert done.code == 0
    assert sorted(done.lines) == ["one.webp", "two-0.webp", "two-1.webp"]
    assert files(served) == {
        "one.webp": picture(3000, 0),
        "two-0.webp": picture(3000, 1),
        "two-1.webp": picture(3000, 2),
    }
    assert sorted(done.stderr.splitlines()) == [f"saved {path}  3.0 kB" for path in sorted(done.lines)]


@on_posix
def test_a_working_folder_that_is_gone_is_a_local_error(served: Cli, server: Server) -> None:
    """Of a prediction that was saved before, too, whose file may be looked for there."""
    on(server, "one", "/f/a.webp")
    pictures(server, "a.webp")
    assert served("download", "one").code == 0
    done = served.shell_line(f"mkdir away && cd away && rmdir ../away && {served.shell} download one")
    assert (done.code, done.stdout) == (12, "")
    assert "Traceback" not in done.stderr


def test_no_key_and_no_netrc_goes_to_a_file_host(served: Cli, server: Server) -> None:
    """Files are fetched without any credential, though the API call beside them has one."""
    on(server, "one", "/f/a.webp")
    pictures(server, "a.webp")
    (served.home / ".netrc").write_text("default login me password secret\n")
    assert served("download", "one").code == 0
    look, fetch = server.received
    assert look.headers["authorization"].startswith("Bearer sk-")
    assert "authorization" not in fetch.headers
    assert "cookie" not in fetch.headers


@pytest.mark.parametrize(
    ("content", "headers", "path", "name"),
    [
        (b"\x89PNG\r\n\x1a\n" + bytes(90), WEBP, "/f/x.webp", "one.png"),
        (b"plain bytes of no format", {"Content-Type": "image/avif"}, "/f/x.png", "one.avif"),
        (b"plain bytes of no format", {"Content-Type": "application/octet-stream"}, "/f/x.glb?a=b.c", "one.glb"),
        (b"plain bytes of no format", {}, "/f/x", "one.bin"),
    ],
    ids=["bytes", "type", "URL", "nothing"],
)
def test_the_extension_comes_from_the_content(
    content: bytes, headers: dict[str, str], path: str, name: str, served: Cli, server: Server
) -> None:
    """The first bytes decide, then Content-Type, then the URL."""
    on(server, "one", path)
    server.on("GET", "/f/", Answer(200, content, headers))
    assert served("download", "one").lines == [name]
    assert files(served) == {name: content}


@pytest.mark.parametrize(
    ("output", "saved"),
    [
        (["déjà", " vu"], {"one.txt": "déjà vu".encode()}),
        (["data:image/gif,GIF89a%00", "data:text/plain,b"], {"one-0.gif": b"GIF89a\0", "one-1.txt": b"b"}),
    ],
    ids=["tokens", "data URIs"],
)
def test_outputs_that_are_no_urls_are_saved_too(
    output: object, saved: dict[str, bytes], served: Cli, server: Server
) -> None:
    """Tokens become one text, data URIs the files they hold."""
    on(server, "one", output=output)
    done = served("download", "one")
    assert (done.code, done.lines) == (0, sorted(saved))
    assert files(served) == saved


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (("-o", "{name}-{index:03}.{ext}"), ["flux-schnell-000.webp", "flux-schnell-001.webp"]),
        (
            ("--output", "{model}/{date}/{id}_{index}.{ext}"),
            [f"black-forest-labs-flux-schnell/2026-03-12/two_{index}.webp" for index in (0, 1)],
        ),
        (("-d", "new/folder"), ["new/folder/two-0.webp", "new/folder/two-1.webp"]),
        (("--dir", "pics", "-o", "{key}.{index}.{ext}"), ["pics/two.0.webp", "pics/two.1.webp"]),
    ],
    ids=["fields", "folders", "dir", "both"],
)
def test_templates_and_folders_place_the_files(
    arguments: tuple[str, ...], names: list[str], served: Cli, server: Server
) -> None:
    """Every field of a template is filled, the folders in it and in --dir are made, stdout has the very paths."""
    on(server, "two", "/f/a.webp", "/f/b.webp")
    pictures(server, "a.webp", "b.webp")
    done = served("download", "two", *arguments)
    assert done.code == 0, done.stderr
    assert [os.path.normpath(line) for line in done.lines] == names
    assert [(served.folder / name).read_bytes() for name in names] == [picture(3000, 0), picture(3000, 1)]


@pytest.mark.parametrize("template", ["{nope}", "{id", "folder/", "{id.__class__}"])
def test_a_template_that_is_none_is_refused_before_anything(template: str, served: Cli, server: Server) -> None:
    """An unknown field, a stray brace or a name that is a folder is exit 2 with the fields there are."""
    done = served("download", "one", "-o", template)
    assert done.code == 2
    assert "{id}" in done.stderr
    assert server.received == []


def test_a_folder_of_two_lines_is_refused(served: Cli, server: Server) -> None:
    """A path is one line on stdout."""
    done = served("download", "one", "-d", "a\nb")
    assert (done.code, done.stdout, server.received) == (2, "", [])
    assert "control character" in done.stderr


def test_a_template_that_gives_one_name_twice_writes_nothing(served: Cli, server: Server) -> None:
    """Two files of one prediction under one name are exit 2 before anything is written; the hint works."""
    on(server, "two", "/f/a.webp", "/f/b.webp")
    pictures(server, "a.webp", "b.webp")
    done = served("download", "two", "-o", "same.{ext}")
    assert (done.code, done.stdout) == (2, "")
    assert files(served) == {}
    assert served.type_hint(done.stderr).lines == ["two-0.webp", "two-1.webp"]


@pytest.mark.parametrize(
    ("template", "option"),
    [
        ("same.{ext}", ()),
        ("{name}-{index}.{ext}", ("--overwrite",)),
        ("{model}.{ext}", ("--skip-existing",)),
    ],
    ids=["default", "overwrite", "skip-existing"],
)
def test_two_predictions_under_one_name_write_nothing(
    template: str, option: tuple[str, ...], served: Cli, server: Server
) -> None:
    """Files of two predictions under one name are the same error: exit 2, and none is written or replaced."""
    on(server, "one", "/f/a.webp")
    on(server, "uno", "/f/b.webp")
    pictures(server, "a.webp", "b.webp")
    done = served("download", "one", "uno", "-o", template, *option)
    assert (done.code, done.stdout) == (2, "")
    assert files(served) == {}


def test_two_predictions_are_named_by_what_the_ledger_knows_of_them(served: Cli, server: Server) -> None:
    """A template of the model alone gives those of two models two names, and those of one model the same."""
    ids = {}
    for model, id in ((SCHNELL, "one"), ("black-forest-labs/flux-dev", "uno"), (SCHNELL, "een")):
        server.on("POST", f"/replicate/v1/models/{model}/predictions", answer_json(prediction(id, "starting"), 201))
        assert served("create", model, "prompt=cat").lines == [id]
        on(server, id, f"/f/{id}.webp", model=model)
        ids[id] = served.folder / f"{model.replace('/', '-')}.webp"
    pictures(server, *(f"{id}.webp" for id in ids))
    assert served("download", "one", "een", "-o", "{model}.{ext}").code == 2
    assert files(served) == {}
    assert served("download", "one", "uno", "-o", "{model}.{ext}").code == 0
    assert ids["one"].exists()
    assert ids["uno"].exists()
    before = files(served)
    on(server, "unknown", "/f/uno.webp", model=SCHNELL)
    assert served("download", "one", "unknown", "-o", "{model}.{ext}", "--overwrite").code == 2
    assert files(served) == before


@pytest.mark.parametrize(
    ("other", "options"), [("uno", ("-o", "{name}{index}.{ext}", "--overwrite")), ("one-0", ())]
)
def test_names_that_turn_out_alike_replace_nothing(
    served: Cli, server: Server, other: str, options: tuple[str, ...]
) -> None:
    """What could not be foreseen is an error of the prediction that comes second, and its hint saves all of it."""
    outputs = {"one": [f"data:text/plain,{number}" for number in range(11)], other: ["data:text/plain,of another"]}
    for id, model in (("one", "a/x"), (other, "a/x1")):
        server.on("POST", f"/replicate/v1/models/{model}/predictions", answer_json(prediction(id, "starting"), 201))
        assert served("create", model, "prompt=cat").lines == [id]
        on(server, id, output=outputs[id])
    done = served("download", "one", other, *options)
    assert done.code == 9
    assert re.search(f"of (one and {other}|{other} and one) one name", done.stderr)
    assert served.type_hint(done.stderr).code == 0
    saved = [path.read_text() for path in served.folder.rglob("*.txt")]
    assert sorted(f"data:text/plain,{text}" for text in saved) == sorted(outputs["one"] + outputs[other])


def test_a_device_is_no_file_to_save_in(served: Cli, server: Server) -> None:
    """Nothing is asked for, and the hint tells what was meant."""
    done = served("download", "one", "-o", "/dev/stdout")
    assert (done.code, done.stdout, server.received) == (2, "", [])
    assert "hint: -o - writes the one output file to stdout" in done.stderr


def test_the_one_file_can_go_to_stdout(served: Cli, server: Server) -> None:
    """`-o -` writes the file's bytes to stdout, those and no others, and leaves nothing on disk."""
    on(server, "one", "/f/a.webp")
    on(server, "two", "/f/a.webp", "/f/b.webp")
    content = bytes(range(256)) * 500 + b"\r\n\n\x1a"
    server.on("GET", "/f/a", Answer(200, content, WEBP))
    done = subprocess.run(
        served.command("download", "one", "-o", "-"),
        capture_output=True,
        cwd=served.folder,
        env={**served.environment, "COMETREP_DIR": "pictures"},
        timeout=TIMEOUT_SECONDS,
        check=True,
    )
    assert done.stdout == content
    several = served("download", "two", "-o", "-")
    assert (several.code, several.stdout) == (2, "")
    for beside in (("--json",), ("--print", "id"), ("--sidecar",)):
        for both in (
            served("download", "one", "-o", "-", *beside),
            served("download", "one", *beside, env={"COMETREP_OUTPUT": "-"}),
        ):
            assert (both.code, both.stdout) == (2, "")
            assert f"{beside[0]} and " in both.stderr
            assert f"leave out {beside[0]}" in both.stderr
    assert files(served) == {}
    (served.folder / "taken").touch()
    refused = served("download", "one", "-o", "-", "-d", "taken")
    assert (refused.code, refused.stdout) == (12, "")
    assert "hint: cometrep download --wait one -o - -d DIR\n" in refused.stderr


def test_the_files_of_two_predictions_do_not_go_to_stdout(served: Cli, server: Server) -> None:
    """`-o -` with more than one output file is exit 2 and writes nothing, however many predictions they are of."""
    on(server, "one", "/f/a.webp")
    on(server, "uno", "/f/b.webp")
    pictures(server, "a.webp", "b.webp")
    done = served("download", "one", "uno", "-o", "-", "--timeout", "5m")
    assert (done.code, done.stdout) == (2, "")
    assert "warning: --timeout is the deadline of --wait" in done.stderr


@pytest.mark.parametrize(
    "options",
    [("-d", ".."), ("-d", "a/../b"), ("-o", "../x.{ext}"), ("-o", "{ext}/{index}"), ("-o", "{ext}/{id}.{ext}")],
    ids=str,
)
def test_a_file_is_known_however_its_path_is_written(options: tuple[str, ...], served: Cli, server: Server) -> None:
    """With `..` in it, or without an extension of its own."""
    on(server, "one", "/f/a.webp")
    pictures(server, "a.webp")
    (served.folder / "here" / "a").mkdir(parents=True)
    first = served("download", "one", *options, cwd=served.folder / "here")
    assert first.code == 0
    server.on("GET", "/f/a.webp", Answer(404))
    again = served("download", "one", *options, cwd=served.folder / "here")
    assert (again.code, again.stdout) == (0, first.stdout)


def test_a_known_file_is_not_fetched_again(served: Cli, server: Server) -> None:
    """What the ledger knows and the disk still holds is reported as saved, without a byte from the file's host."""
    on(server, "one", "/f/a.webp")
    pictures(server, "a.webp")
    assert served("download", "one").code == 0
    again = served("download", "one")
    assert (again.code, again.stdout) == (0, "one.webp\n")
    assert "already saved one.webp" in again.stderr
    assert server.count("GET", "/f/") == 1
    (served.folder / "one.webp").write_bytes(picture(3000, 5))  # the same size, another content
    changed = served("download", "one")
    assert (changed.code, changed.stdout) == (12, "")
    assert files(served)["one.webp"] == picture(3000, 5)


def test_the_same_content_under_the_name_is_success(served: Cli, server: Server) -> None:
    """A file that the ledger does not know but that holds the same bytes counts as saved."""
    on(server, "one", "/f/a.webp")
    pictures(server, "a.webp")
    (served.folder / "one.webp").write_bytes(picture(3000, 0))
    done = served("download", "one")
    assert (done.code, done.stdout) == (0, "one.webp\n")
    assert files(served) == {"one.webp": picture(3000, 0)}


def test_another_file_under_the_name_is_kept(served: Cli, server: Server) -> None:
    """A file that differs stays: exit 12 that names --overwrite; with the option it is replaced."""
    on(server, "one", "/f/a.webp")
    pictures(server, "a.webp")
    (served.folder / "one.webp").write_bytes(OLD)
    done = served("download", "one", "--json")
    assert done.code == 12
    error = json.loads(done.stderr)["error"]
    assert (error["code"], error["prediction_id"]) == ("file_exists", "one")
    assert "one.webp" in error["message"]
    assert "--overwrite" in error["hint"]
    assert "files" not in json.loads(done.stdout)
    assert files(served)["one.webp"] == OLD
    replaced = served("download", "one", "--overwrite")
    assert (replaced.code, replaced.stdout) == (0, "one.webp\n")
    assert files(served) == {"one.webp": picture(3000, 0)}


def test_skip_existing_fetches_only_what_is_missing(served: Cli, server: Server) -> None:
    """`--skip-existing` leaves a path alone, whatever it holds, fetches nothing for it, says so, and exits 0."""
    on(server, "two", "/f/a.webp", "/f/b.webp")
    pictures(server, "a.webp", "b.webp")
    (served.folder / "two-0.webp").write_bytes(OLD)
    done = served("download", "two", "--skip-existing")
    assert done.code == 0
    assert "skipped, it exists: two-0.webp" in done.stderr
    assert "two-1.webp" in done.lines
    assert files(served) == {"two-0.webp": OLD, "two-1.webp": picture(3000, 1)}
    assert server.count("GET", "/f/a") == 0


def test_paths_are_in_the_order_of_the_outputs(served: Cli, server: Server) -> None:
    """Paths on stdout are in the order of the output, those saved before too; one left alone is not among them."""
    on(server, "four", *(f"/f/{name}.webp" for name in "abcd"))
    pictures(server, *(f"{name}.webp" for name in "abcd"))
    (served.folder / "four-1.webp").write_bytes(OLD)
    expected = ["four-0.webp", "four-2.webp", "four-3.webp"]
    assert served("download", "four", "--skip-existing").lines == expected
    (served.folder / "four-2.webp").unlink()
    assert served("download", "four", "--skip-existing").lines == expected


def test_a_name_of_a_variable_that_is_not_set_is_refused(served: Cli, server: Server) -> None:
    """A script that mistypes it would else look for its file in vain; a blank setting is none all the same."""
    on(server, "one", "/f/a.webp")
    pictures(server, "a.webp")
    done = served("download", "one", "-o", "")
    assert (done.code, server.received) == (2, [])
    assert done.stderr == "cometrep: --output '' names no file\nhint: --output '{id}.{ext}'\n"
    assert served("download", "one", env={"COMETREP_OUTPUT": ""}).stdout == "one.webp\n"


def test_overwrite_and_skip_existing_exclude_each_other(cli: Cli) -> None:
    """Both options together are a usage error that names both."""
    done = cli("download", "one", "--overwrite", "--skip-existing")
    assert done.code == 2
    assert "--overwrite and --skip-existing contradict each other" in done.stderr
    assert "--overwrite and --skip-existing" in done.stderr


@pytest.mark.parametrize("in_the_way", ["folder", "link"])
def test_what_is_no_file_is_never_replaced(in_the_way: str, served: Cli, server: Server) -> None:
    """A folder, or a link to somewhere, under the name is exit 12 and stays as it is."""
    on(server, "one", "/f/a.webp")
    pictures(server, "a.webp")
    path = served.folder / "one.webp"
    if in_the_way == "folder":
        path.mkdir()
    else:
        path.symlink_to(served.home / "elsewhere")
    done = served("download", "one")
    assert (done.code, done.stdout) == (12, "")
    assert "one.webp" in done.stderr
    assert path.is_dir() if in_the_way == "folder" else path.readlink() == served.home / "elsewhere"
    assert not (served.home / "elsewhere").exists()


@pytest.mark.parametrize(
    "address",
    ["https://a..b/x.png", f"https://{'a' * 300}.example/x.png", "https://x:abc/", "https://[::1"],
    ids=["an empty part", "a long part", "no port", "half an address"],
)
@pytest.mark.parametrize("is_redirect", [False, True], ids=["output", "redirect"])
def test_an_address_that_is_none_takes_no_other_file_away(
    address: str, is_redirect: bool, served: Cli, server: Server
) -> None:
    """In the output or in a redirect: the file beside it is saved, and that of another prediction too."""
    server.on("GET", "/f/odd", Answer(302, headers={"Location": address}))
    odd = server.url + "/f/odd" if is_redirect else address
    on(server, "two", output=[odd, server.url + "/f/a.webp"])
    on(server, "one", "/f/b.webp")
    pictures(server, "a.webp", "b.webp")
    done = served("download", "two", "one")
    assert (done.code, sorted(done.lines)) == (9, ["one.webp", "two-1.webp"])
    assert "not an address" in done.stderr


def test_a_text_is_one_output_however_many_were_asked_for(served: Cli, server: Server) -> None:
    """No filter dropped any of it; of two pictures one may be missing."""
    asked = {"prompt": "cat", "num_outputs": 2}
    on(server, "told", output=["A ", "fox"], input=asked)
    on(server, "one", "/f/a.webp", input=asked)
    pictures(server, "a.webp")
    assert "filter" not in served("download", "told").stderr
    assert "one has 1 of 2 outputs asked for" in served("download", "one").stderr


def test_a_part_file_s_place_that_is_taken_is_named(served: Cli, server: Server) -> None:
    """It is hidden, so the error says which file is in the way."""
    on(server, "one", "/f/a.webp")
    pictures(server, "a.webp")
    (served.folder / ".one-0.part").symlink_to("elsewhere")
    done = served("download", "one")
    assert done.code == 12
    assert "cannot write .one-0.part: " in done.stderr


def test_a_sidecar_says_what_was_made_and_saved(served: Cli, server: Server) -> None:
    """`--sidecar` writes prediction, files with digests, and version beside the files, data URIs shortened."""
    times = {"started_at": "2026-03-12T08:00:01Z", "completed_at": "2026-03-12T08:00:02Z"}
    given = {"prompt": "cat", "image": "data:image/png;base64,iVBORw0KGgo="}
    on(server, "two", "/f/a.webp", "/f/b.webp", input=given, metrics={"predict_time": 1.5}, **times)
    pictures(server, "a.webp", "b.webp")
    done = served("download", "two", "-d", "pics", "--sidecar")
    assert done.lines == ["pics/two-0.webp", "pics/two-1.webp"]
    assert sorted(files(served)) == ["pics/two-0.webp", "pics/two-1.webp", "pics/two.cometrep.json"]
    sidecar = json.loads((served.folder / "pics/two.cometrep.json").read_text())
    assert sidecar["cometrep_version"] == __version__
    told = sidecar["prediction"]
    assert (told["id"], told["model"], told["status"]) == ("two", SCHNELL, "succeeded")
    assert told["metrics"] == {"predict_time": 1.5}
    assert {name: told[name] for name in times} == times
    png = b"\x89PNG\r\n\x1a\n"
    assert told["input"] == {
        "prompt": "cat",
        "image": f"data:image/png;sha256={hashlib.sha256(png).hexdigest()};bytes=8",
    }
    assert sidecar["files"] == [
        {
            "path": f"two-{index}.webp",
            "url": f"{server.url}/f/{name}.webp",
            "bytes": 3000,
            "sha256": hashlib.sha256(picture(3000, index)).hexdigest(),
            "content_type": "image/webp",
            "index": index,
        }
        for index, name in enumerate("ab")
    ]


def test_a_sidecar_stands_beside_the_file_wherever_that_is(served: Cli, server: Server) -> None:
    """Also in a folder that is named after the file's extension."""
    on(server, "one", "/f/a.webp")
    pictures(server, "a.webp")
    done = served("download", "one", "-o", "{ext}/{id}.{ext}", "--sidecar")
    assert done.lines == ["webp/one.webp"]
    assert sorted(files(served)) == ["webp/one.cometrep.json", "webp/one.webp"]


def test_a_sidecar_means_complete(served: Cli, server: Server) -> None:
    """Where a file could not be saved no sidecar is written, and that is said."""
    on(server, "two", "/f/a.webp", "/f/gone.webp")
    pictures(server, "a.webp")
    server.on("GET", "/f/gone", Answer(410))
    done = served("download", "two", "--sidecar")
    assert done.code == 9
    assert "no sidecar" in done.stderr
    assert list(files(served)) == ["two-0.webp"]


@pytest.mark.parametrize("output", [["/f/a.webp"], ["/f/a.webp", "a caption"]], ids=["asked for", "needed"])
def test_a_file_that_is_no_sidecar_is_not_replaced_by_one(output: list[str], served: Cli, server: Server) -> None:
    """The picture is saved, the file stays, and the hint's option replaces it; --skip-existing leaves it alone."""
    on(server, "one", output=[server.url + part if part[0] == "/" else part for part in output])
    pictures(server, "a.webp")
    path = served.folder / "one.cometrep.json"
    path.write_bytes(OLD)
    asked = ("--sidecar",) if len(output) == 1 else ()
    done = served("download", "one", *asked)
    assert (done.code, done.lines) == (12, ["one.webp"])
    assert "one.cometrep.json exists and is no sidecar of one" in done.stderr
    skipped = served("download", "one", *asked, "--skip-existing")
    assert skipped.code == 0
    assert path.read_bytes() == OLD
    assert served.type_hint(done.stderr).code == 0
    assert json.loads(path.read_text())["prediction"]["id"] == "one"


@pytest.mark.parametrize(
    "answer",
    [
        answer_json(prediction("one", input={}, output=None, data_removed=True)),
        answer_json({"detail": "Not found"}, 404),
        answer_json({"code": "task_not_exist", "message": "task_not_exist", "data": None}),
    ],
    ids=["removed", "404", "no such task"],
)
def test_what_was_saved_counts_after_the_api_has_forgotten_it(answer: Answer, served: Cli, server: Server) -> None:
    """The files that are here are told, the sidecar keeps what it knows, and a file that is not here is gone."""
    server.on_create(answer_json(prediction("one", "starting"), 201))
    assert served("create", SCHNELL, "prompt=cat").code == 0
    on(server, "one", "/f/a.webp", input={"prompt": "cat"})
    pictures(server, "a.webp")
    assert served("download", "one", "--sidecar").code == 0
    before = files(served)
    (ledger,) = served.home.rglob("ledger.sqlite3")
    with contextlib.closing(sqlite3.connect(ledger)) as database:
        database.execute("UPDATE entries SET created = created - 7200")  # else a 404 might be too early an answer
        database.commit()
    server.on("GET", "/replicate/v1/predictions/one", answer)
    server.on("GET", "/f/a.webp", Answer(404))
    again = served("download", "one", "--sidecar")
    assert (again.code, again.lines, files(served)) == (0, ["one.webp"], before)
    gone = served("download", "one", "-d", "elsewhere")
    assert (gone.code, gone.stdout) == (11, "")


PNG_URI = "data:image/png;base64,iVBORw0KGgo="


def with_a_file_in_the_reply(cli: Cli, server: Server) -> None:
    """Create a prediction whose output is a data URI and a URL."""
    server.on_create(answer_json(prediction("one", "starting"), 201))
    assert cli("create", SCHNELL, "prompt=cat").code == 0
    reply = prediction("one", output=[PNG_URI, f"{server.url}/f/a.webp"])
    server.on("GET", "/replicate/v1/predictions/one", answer_json(reply))
    pictures(server, "a.webp")


def test_the_ledgers_note_of_a_file_is_no_file(served: Cli, server: Server) -> None:
    """Of a file in the reply itself the ledger keeps the SHA-256 alone: forgotten by the API, it is gone."""
    with_a_file_in_the_reply(served, server)
    assert served("wait", "one").code == 0
    unsaved = json.loads(served("list", "--unsaved", "--json").stdout)
    assert unsaved["unsaved_outputs"] == 2
    server.on("GET", "/replicate/v1/predictions/one", answer_json({"detail": "Not found"}, 404))
    done = served("download", "one", env=AT_ONCE)
    assert (done.code, done.lines) == (9, ["one-1.webp"])
    assert "output file 0 stood in the reply itself, which the API does not give any more" in done.stderr
    assert json.loads(served("list", "--unsaved", "--json").stdout)["unsaved_outputs"] == 1


def test_files_of_a_reply_that_stand_on_disk_count_when_it_is_forgotten(served: Cli, server: Server) -> None:
    """The file in the reply keeps its index in what the ledger remembers."""
    with_a_file_in_the_reply(served, server)
    saved = served("download", "one")
    assert (saved.code, saved.lines) == (0, ["one-0.png", "one-1.webp"])
    server.on("GET", "/replicate/v1/predictions/one", answer_json({"detail": "Not found"}, 404))
    again = served("download", "one", env=AT_ONCE)
    assert (again.code, again.lines) == (0, saved.lines)


def test_a_sidecar_vouches_for_no_foreign_file(served: Cli, server: Server) -> None:
    """Where --skip-existing left a path alone, that file is not this prediction's, and no sidecar is written."""
    on(server, "one", "/f/a.webp")
    (served.folder / "one.webp").write_bytes(OLD)
    done = served("download", "one", "--skip-existing", "--sidecar")
    assert (done.code, done.lines) == (0, [])
    assert "no sidecar is written: not every file was saved" in done.stderr
    assert files(served) == {"one.webp": OLD}


@pytest.mark.parametrize("what", ["path", "url"])
def test_files_come_in_the_order_of_the_ids(what: str, served: Cli, server: Server) -> None:
    """Whichever prediction is seen first, what is told of them stands in the order given."""
    is_seen = threading.Event()

    def one(_: Received) -> Answer:
        return answer_json(prediction("one", output=[f"{server.url}/f/a.webp"]), wait_for=is_seen)

    def two(_: Received) -> Answer:
        is_seen.set()
        return answer_json(prediction("two", output=[f"{server.url}/f/b.webp"]))

    server.on("GET", "/replicate/v1/predictions/one", one)
    server.on("GET", "/replicate/v1/predictions/two", two)
    pictures(server, "a.webp", "b.webp")
    done = served("download", "one", "two", "--print", what)
    assert done.code == 0
    assert [Path(line).name for line in done.lines] == (
        ["one.webp", "two.webp"] if what == "path" else ["a.webp", "b.webp"]
    )


def test_an_unfinished_prediction_is_refused_or_waited_for(served: Cli, server: Server) -> None:
    """Without `--wait` what still runs is exit 6 with the command that waits; that command saves."""
    running, done_reply = (
        answer_json(prediction("one", "processing")),
        answer_json(prediction("one", output=[server.url + "/f/a.webp"])),
    )
    server.on("GET", "/replicate/v1/predictions/one", running)
    pictures(server, "a.webp")
    done = served("download", "one")
    assert (done.code, done.stdout) == (6, "")
    assert "is processing, not finished" in done.stderr
    assert server.count("GET") == 1
    server.on("GET", "/replicate/v1/predictions/one", running, running, done_reply)
    saved = served.type_hint(done.stderr)
    assert (saved.code, saved.stdout) == (0, "one.webp\n")
    assert re.search(r"one  processing  \S+\none  succeeded  \S+\nsaved one.webp", saved.stderr)


def test_a_deadline_while_waiting_names_the_download(served: Cli, server: Server) -> None:
    """`--wait --timeout` reached is exit 6, and the command in its hint saves the files in the end."""
    server.on("GET", "/replicate/v1/predictions/one", answer_json(prediction("one", "processing")))
    done = served("download", "one", "--wait", "--timeout", "0.3s")
    assert done.code == 6
    on(server, "one", "/f/a.webp")
    pictures(server, "a.webp")
    assert served.type_hint(done.stderr).stdout == "one.webp\n"


@pytest.mark.parametrize(
    ("reply", "code", "error"),
    [
        ({"status": "failed", "error": "boom"}, 4, "prediction_failed"),
        ({"status": "aborted"}, 5, "prediction_aborted"),
        ({"output": None, "data_removed": True}, 11, "output_expired"),
        ({"output": []}, 11, "output_missing"),
        ({"output": None, "error": "upload failed"}, 11, "output_missing"),
        ({"output": ["data:image/png;base64,A"]}, 11, "output_broken"),
    ],
    ids=["failed", "aborted", "removed", "empty", "empty by an error", "broken"],
)
def test_a_prediction_without_files_has_its_own_code(
    reply: dict[str, Any], code: int, error: str, served: Cli, server: Server
) -> None:
    """What ended badly, expired or holds nothing is told apart, in text and in JSON, and writes nothing."""
    server.on("GET", "/replicate/v1/predictions/one", answer_json(prediction("one", **reply)))
    done = served("download", "one", "--json")
    assert done.code == code
    told = json.loads(done.stderr)["error"]
    assert (told["code"], told["exit_code"], told["prediction_id"]) == (error, code, "one")
    assert str(reply.get("error") or "") in told["message"]
    assert json.loads(done.stdout)["id"] == "one"
    assert files(served) == {}


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (Answer(403, b"expired"), 11),
        (answer_html(), 11),
        (answer_json({"error": "no"}), 11),
        (Answer(200, b""), 11),
        (Answer(503, b"busy"), 7),
        (Answer(200, picture(3000), WEBP, length="3000", cut=1000, then="close"), 7),
        (Answer(200, picture(3000), WEBP, is_chunked=True, cut=1000, then="close"), 7),
        (Answer(302, b"", {"Location": "/f/a.webp"}), 8),
    ],
    ids=["403", "page", "JSON", "empty", "503", "short", "chunked", "loop"],
)
def test_a_file_that_cannot_be_had_is_never_half_there(
    answer: Answer, code: int, served: Cli, server: Server
) -> None:
    """A file that is gone, wrong or cut short has its exit code and no name; a gone one was looked up again."""
    on(server, "one", "/f/a.webp")
    server.on("GET", "/f/a.webp", answer)
    done = served("download", "one", env=AT_ONCE)
    assert (done.code, done.stdout) == (code, "")
    assert not (served.folder / "one.webp").exists()
    assert server.count("GET", "/replicate/") == (2 if code == 11 else 1)


def test_several_files_come_to_one_code(served: Cli, server: Server) -> None:
    """Some files saved and some not is 9, all alike their code; every error is told."""
    pictures(server, "a.webp")
    server.on("GET", "/f/gone", Answer(410))
    on(server, "mix", "/f/a.webp", "/f/gone.webp")
    on(server, "none", "/f/gone.webp", "/f/gone2.webp")
    mixed = served("download", "mix")
    assert (mixed.code, mixed.stdout) == (9, "mix-0.webp\n")
    assert "output file 1 of mix" in mixed.stderr
    assert "1 of 2 failed" in mixed.stderr
    assert served("download", "none").code == 11
    both = served("download", "mix", "none", "--json")
    assert both.code == 9
    assert sum(json.loads(line)["id"] == "mix" for line in both.lines) == 1


def test_a_transfer_that_broke_off_is_taken_up(served: Cli, server: Server) -> None:
    """A later command asks for the rest alone, under the validator, and puts the file together."""
    facts = {**WEBP, "ETag": '"v1"'}
    whole = picture(300_000)
    on(server, "one", "/f/a.webp")
    server.on("GET", "/f/a", Answer(200, whole, facts, length="300000", cut=200_000, then="close"))
    first = served("download", "one", env=AT_ONCE)
    assert first.code == 7
    kept = next(path for path in served.folder.iterdir() if path.suffix == ".part").stat().st_size
    assert 0 < kept <= 200_000
    rest = {**facts, "Content-Range": f"bytes {kept}-299999/300000"}
    server.on("GET", "/f/a", Answer(206, whole[kept:], rest))
    again = served.type_hint(first.stderr)
    assert (again.code, again.stdout) == (0, "one.webp\n")
    request = server.received[-1]
    assert (request.headers["range"], request.headers["if-range"]) == (f"bytes={kept}-", '"v1"')
    assert files(served) == {"one.webp": whole}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["SIGKILL", "SIGTERM"])
def test_a_download_that_is_ended_leaves_no_final_name(
    number: signal.Signals,
    served: Cli,
    server: Server,
    stopped: Callable[["subprocess.Popen[bytes]"], None],
) -> None:
    """However a download ends, an incomplete file never has its name, and the next command finishes it."""
    on(server, "one", "/f/a.webp")
    server.on("GET", "/f/a", Answer(200, picture(300_000), WEBP, length="300000", cut=150_000, then="hang"))
    process = served.start("download", "one", "--progress", "json")
    stopped(process)
    assert process.stderr
    while b'"saving"' not in (line := process.stderr.readline()):
        assert line
    process.send_signal(number)
    process.wait(TIMEOUT_SECONDS)
    assert not (served.folder / "one.webp").exists()
    server.on("GET", "/f/a", Answer(200, picture(300_000), WEBP))
    assert served("download", "one").stdout == "one.webp\n"
    assert files(served) == {"one.webp": picture(300_000)}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("-d", "file"), "file"),
        (("-d", "/proc/nowhere"), "/proc/nowhere"),
        (("--max-size", "1k"), "or more, above the 1.0 kB of --max-size"),
    ],
    ids=["a file in the way", "proc", "max-size"],
)
def test_what_this_machine_refuses_is_exit_12(
    arguments: tuple[str, ...], told: str, served: Cli, server: Server
) -> None:
    """A folder that cannot be made and a file above the limit are local errors that say what stood in the way."""
    on(server, "one", "/f/a.webp")
    pictures(server, "a.webp")
    (served.folder / "file").write_bytes(b"")
    done = served("download", "one", *arguments)
    assert (done.code, done.stdout) == (12, "")
    assert told in done.stderr
    assert list(files(served)) == ["file"]


def test_the_hint_of_a_file_that_is_too_large_fetches_it(served: Cli, server: Server) -> None:
    """The command in the hint of `--max-size` is one that works."""
    on(server, "one", "/f/a.webp")
    pictures(server, "a.webp")
    done = served("download", "one", "--max-size", "2k")
    assert done.code == 12
    assert served.type_hint(done.stderr).stdout == "one.webp\n"


def test_json_and_print_tell_of_the_files(served: Cli, server: Server) -> None:
    """`--json` adds the files to the object; `--print` gives one thing alone; `status` finds them later."""
    on(server, "one", "/f/a.webp")
    pictures(server, "a.webp")
    done = served("download", "one", "--json", "-q")
    assert (done.code, done.stderr) == (0, "")
    (file,) = json.loads(done.stdout)["files"]
    digest = hashlib.sha256(picture(3000, 0)).hexdigest()
    url = server.url + "/f/a.webp"
    assert file == {
        "path": "one.webp",
        "url": url,
        "bytes": 3000,
        "sha256": digest,
        "content_type": "image/webp",
        "index": 0,
    }
    for what, stdout in {
        "id": "one",
        "url": url,
        "output": f'["{url}"]',
    }.items():
        assert served("download", "one", "--print", what).stdout == stdout + "\n"
    assert served("status", "one", "--print", "path").stdout == f"{served.folder / 'one.webp'}\n"


def test_names_from_a_server_stay_in_the_folder(served: Cli, server: Server) -> None:
    """A model's name, an extension or a URL full of dots, slashes and control characters makes no path."""
    on(server, "one", "/f/..%2f..%2fetc%1b", model="../../etc/pass\x1bwd", created_at="2026-03-12/../../x")
    server.on("GET", "/f/", Answer(200, b"GIF89a\x01\0\x01\0", {}))
    done = served("download", "one", "-o", "{model}-{name}-{date}.{ext}")
    (name,) = done.lines
    assert re.fullmatch(r"[^/\x00-\x1f.][^/\x00-\x1f]*\.gif", name)
    assert list(files(served)) == [name]
    assert [path.name for path in Path(served.home).iterdir()] == ["cometrep"]


# Several files from afar: a server that is not on this machine, as far as the program can tell


@pytest.fixture
def distant(served: Cli, certificate: Certificate) -> Iterator[TunnelingServer]:
    """A server behind a proxy, under a public name."""
    path = certificate(name="DNS:api.example.test")
    server = TunnelingServer(path)
    with server:
        served.environment["HTTPS_PROXY"] = server.url.replace("https:", "http:")
        served.environment["REQUESTS_CA_BUNDLE"] = str(path)
        served.environment["COMETREP_BASE_URL"] = server.url = "https://api.example.test"
        yield server


def test_files_from_afar_come_side_by_side(served: Cli, distant: TunnelingServer) -> None:
    """Each of four answers waits for the requests of the others, the first also for the others to be saved.

    The paths are told in the output's order.
    """
    all_asked = threading.Barrier(4)

    def held(request: Received) -> Answer:
        all_asked.wait(TIMEOUT_SECONDS)
        number = int(request.path[-1])
        if number == 0:
            wait_until(lambda: {f"abc-{other}.webp" for other in (1, 2, 3)} <= files(served).keys())
        return Answer(200, picture(3000, number), WEBP)

    on(distant, "abc", "/f/0", "/f/1", "/f/2", "/f/3")
    distant.on("GET", "/f/", held)
    done = served("download", "abc")
    assert (done.code, done.lines) == (0, [f"abc-{number}.webp" for number in range(4)])
    assert files(served) == {f"abc-{number}.webp": picture(3000, number) for number in range(4)}


def test_expired_files_from_afar_are_looked_up_together(served: Cli, distant: TunnelingServer) -> None:
    """Of three, two have expired: one look gives both fresh URLs, of which one is good."""
    old = prediction("abc", output=[f"{distant.url}/f/{name}" for name in ("gone-0", "1", "gone-2")])
    new = prediction("abc", output=[f"{distant.url}/f/{name}" for name in ("0", "1", "gone-2")])
    distant.on_get(answer_json(old), answer_json(new))
    distant.on("GET", "/f/gone", Answer(403, b"expired"))
    pictures(distant, "0", "1")
    done = served("download", "abc", "--sidecar")
    assert (done.code, done.lines) == (9, ["abc-0.webp", "abc-1.webp"])
    assert "output file 2 of abc cannot be had" in done.stderr
    assert distant.count("GET", "/replicate/") == 2
    assert (distant.count("GET", "/f/1"), distant.count("GET", "/f/gone-2")) == (1, 2)
    assert set(files(served)) == {"abc-0.webp", "abc-1.webp"}


def test_ctrl_c_keeps_what_came_of_several_files(served: Cli, distant: TunnelingServer) -> None:
    """A stop in the middle of two leaves both part files to go on from, and the next run fetches the rest alone."""
    body, halted = picture(400_000), threading.Event()
    on(distant, "abc", "/f/0", "/f/1")
    etag = {**WEBP, "ETag": '"e"'}
    distant.on("GET", "/f/", Answer(200, body, etag, hold_after=(2, halted), pieces=100_000))
    with served.start("download", "abc") as process:
        wait_until(lambda: sum(len(content) > 150_000 for content in files(served).values()) == 2)
        process.send_signal(signal.SIGINT)
        assert process.wait(TIMEOUT_SECONDS) == 130
    halted.set()
    assert sorted(files(served)) == [".abc-0.part", ".abc-0.part.json", ".abc-1.part", ".abc-1.part.json"]

    def rest(request: Received) -> Answer:
        first = int(request.headers["range"].removeprefix("bytes=").removesuffix("-"))
        where = {"Content-Range": f"bytes {first}-{len(body) - 1}/{len(body)}"}
        return Answer(206, body[first:], {**etag, **where})

    distant.on("GET", "/f/", rest)
    done = served("download", "abc")
    assert (done.code, done.lines) == (0, ["abc-0.webp", "abc-1.webp"])
    assert files(served) == {"abc-0.webp": body, "abc-1.webp": body}


def test_verbose_tells_how_long_a_file_let_itself_be_asked_for(served: Cli, server: Server) -> None:
    """The answer of a file's host has its time as the API's has."""
    on(server, "one", "/f/a.webp")
    pictures(server, "a.webp")
    assert re.search(r"< 200 in \d+\.\d{3} s, image/webp", served("download", "one", "-v").stderr)


def test_the_hints_of_an_id_like_an_option_can_be_typed(served: Cli, server: Server) -> None:
    """An id may begin with a hyphen."""
    server.on("GET", "/replicate/v1/predictions/-abc", answer_json(prediction("-abc", output=[])))
    done = served("download", "--", "-abc")
    assert done.code == 11
    assert served.type_hint(done.stderr).code == 0
