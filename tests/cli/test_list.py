"""`cometrep list`: what was made from this machine, newest first."""

import json
import re
import time

import pytest

from cometrep import errors
from cometrep.ledger import Ledger
from cometrep.prediction import Prediction, SavedFile
from tests.cli.test_terminal import Terminal
from tests.conftest import Cli, on_posix
from tests.servers import RESET, SCHNELL, WEBP, Answer, Server, answer_html, answer_json, picture, prediction

DEV = "black-forest-labs/flux-dev"
DAY = 86400


def remember(
    cli: Cli,
    id: str,
    *,
    model: str = SCHNELL,
    status: str = "succeeded",
    age: float = 0.0,
    is_sandbox: bool = False,
    files: int = 0,
    prompt: object = "a cat",
    base_url: str = "https://api.cometapi.com",
) -> None:
    """Put one prediction into the ledger, as old as said; without an id it is a create in doubt."""
    ledger = Ledger(
        cli.home / "cometrep" / "ledger.sqlite3",
        base_url=base_url,
        is_sandbox=is_sandbox,
        clock=lambda: time.time() - age,
    )
    number = ledger.begin(model, {"prompt": prompt})
    if id:
        ledger.accept(number, Prediction.from_json(prediction(id, status)))
    else:
        ledger.doubt(number, errors.CreateUnknown("no answer", request_id="req-1"))
    for index in range(files):
        ledger.add_file(id, SavedFile(f"/pics/{id}-{index}.webp", index, 10, "00", "image/webp", "https://x.test/"))
    ledger.close()


def ids(cli: Cli, *arguments: str) -> list[str]:
    """List the ids that a list prints."""
    done = cli("list", *arguments)
    assert (done.code, done.stderr) == (0, "")
    return [line.split("\t")[0] for line in done.lines]


def test_an_empty_ledger_lists_nothing(cli: Cli) -> None:
    """Before the first prediction there is nothing on stdout, it is no error, and no file is made."""
    done = cli("list")
    assert (done.code, done.stdout, done.stderr) == (0, "", "")
    assert cli("list", "--json").stdout == ""
    assert not (cli.home / "cometrep").exists()


def test_lines_are_tab_separated_and_newest_first(cli: Cli) -> None:
    """Off a terminal each entry is one bare line of six fields; creates in doubt are marked, tabs are no fields."""
    remember(cli, "old", model=DEV, age=3 * DAY, files=2, prompt="two\twords\nand a line")
    remember(cli, "", age=5400)
    remember(cli, "new", status="processing", prompt=["odd"])
    rows = [line.split("\t") for line in cli("list").lines]
    assert [(row[0], row[1], row[3], row[4]) for row in rows] == [
        ("new", "processing", SCHNELL, "0"),
        ("", "unknown", SCHNELL, "0"),
        ("old", "succeeded", DEV, "2"),
    ]
    assert [row[2] for row in rows[1:]] == ["1h30m", "3d"]
    assert all(len(row) == 6 for row in rows)
    assert rows[2][5] == "two words\\nand a line"


def test_a_clock_that_was_set_back_makes_no_age_below_nothing(cli: Cli) -> None:
    """An entry from what is now the future was made just now."""
    remember(cli, "p1", age=-2 * 3600)
    assert cli("list").lines[0].split("\t")[2] == "0s"


def test_filters_pick_entries(cli: Cli) -> None:
    """`--model GLOB`, `--status`, `--since` and `-n` narrow the list, each alone and together."""
    remember(cli, "e1", model=DEV, age=30 * DAY)
    remember(cli, "e2", age=3 * DAY, status="failed")
    remember(cli, "e3", age=7200, model=DEV)
    remember(cli, "", age=600)
    remember(cli, "e5", age=60, status="processing")
    assert ids(cli) == ["e5", "", "e3", "e2", "e1"]
    assert ids(cli, "--model", "*/flux-dev") == ["e3", "e1"]
    assert ids(cli, "--model", DEV.upper()) == []
    assert ids(cli, "--status", "failed") == ["e2"]
    assert ids(cli, "--status", "unknown") == [""]
    assert ids(cli, "--since", "7d") == ["e5", "", "e3", "e2"]
    assert ids(cli, "--since", "1h") == ["e5", ""]
    assert ids(cli, "--since", "90") == ["e5"]
    assert ids(cli, "-n", "2") == ["e5", ""]
    assert ids(cli, "--limit", "1", "--model", "*dev", "--since", "60d", "--status", "succeeded") == ["e3"]


def test_json_is_an_object_a_line(cli: Cli) -> None:
    """`--json` gives everything the ledger knows of an entry, files and doubts too, in a prediction's own words."""
    remember(cli, "one", files=1, age=60)
    remember(cli, "")
    doubt, one = (json.loads(line) for line in cli("list", "--json").lines)
    whole = Prediction("one", "succeeded").as_json()
    assert whole.keys() - one.keys() == whole.keys() - doubt.keys() == set()
    assert {one[name] for name in ("logs", "metrics", "progress", "started_at", "completed_at")} == {None}
    assert (one["schema_version"], one["id"], one["model"], one["status"]) == (1, "one", SCHNELL, "succeeded")
    assert one["input"] == {"prompt": "a cat"}
    assert one["base_url"] == "https://api.cometapi.com"
    assert one["sandbox"] is False
    assert one["created_at"] <= one["changed_at"] <= doubt["created_at"]
    assert one["files"] == [
        {
            "path": "/pics/one-0.webp",
            "url": "https://x.test/",
            "bytes": 10,
            "sha256": "00",
            "content_type": "image/webp",
            "index": 0,
        }
    ]
    assert (doubt["id"], doubt["status"], doubt["error"], doubt["request_id"]) == (
        None,
        "unknown",
        "no answer",
        "req-1",
    )


@pytest.mark.parametrize("form", [(), ("--json",)], ids=["lines", "json"])
def test_a_list_can_be_piped_whatever_it_holds(form: tuple[str, ...], served: Cli, server: Server) -> None:
    """What a create in doubt or a refused one has in place of an id is looked up nowhere; a warning counts them."""
    remember(served, "")
    create(served, server, "one1")
    remember(served, "")
    server.on_get(answer_json(prediction("one1", "processing")))
    server.received.clear()
    done = served("status", "-", stdin=served("list", *form).stdout)
    assert (done.code, done.stdout) == (0, "one1\tprocessing\n")
    assert done.stderr == "cometrep: warning: 2 lines of stdin left out, of a create that gave no id\n"
    assert len(server.received) == 1
    if not form:  # nor does a shell take an empty field for the sign of stdin
        words = served.shell_line("echo $(cometrep list | cut -f 1)").stdout
        assert words == "one1\n"
    alone = served("status", "-", stdin=served("list", "--unknown", *form).stdout)
    assert (alone.code, alone.stdout) == (2, "")
    assert alone.stderr.endswith("cometrep: stdin held no ids\nhint: cometrep list\n")


def test_the_sandboxs_are_kept_apart(cli: Cli) -> None:
    """The sandbox's predictions are in no list but `--sandbox`'s, and marked there; `@last` does not mix them."""
    remember(cli, "real")
    remember(cli, "play", is_sandbox=True)
    assert ids(cli) == ["real"]
    assert ids(cli, "--sandbox") == ["play"]
    assert json.loads(cli("list", "--sandbox", "--json").stdout)["sandbox"] is True
    done = cli("list", env={"COMETREP_SANDBOX": "1"})
    assert done.stdout.startswith("play\t")
    assert cli("status", "@2", "--sandbox").code == 2


def test_each_change_seen_is_remembered(served: Cli, server: Server) -> None:
    """What a look shows is in the next list: the status, the output, the error, from whichever command."""
    server.on_create(answer_json(prediction(status="starting")))
    assert served("create", SCHNELL, "prompt=cat").code == 0
    server.on_get(answer_json(prediction(status="failed", error="boom")))
    assert served("status", "@last").code == 0
    entry = json.loads(served("list", "--json").stdout)
    assert (entry["status"], entry["error"], entry["base_url"]) == ("failed", "boom", server.url)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--since", "yesterday"),
        ("--since=-1d",),
        ("-n", "0"),
        ("-n", "x"),
        ("--nope",),
        ("extra",),
    ],
    ids=" ".join,
)
def test_a_bad_filter_is_a_usage_error(arguments: tuple[str, ...], cli: Cli) -> None:
    """What cannot filter is exit 2 in two lines."""
    done = cli("list", *arguments)
    assert (done.code, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 2


def test_a_ledger_that_is_damaged_is_told_and_kept(cli: Cli) -> None:
    """A ledger that is no database is exit 12 that names the file, and stays as it is."""
    path = cli.home / "cometrep" / "ledger.sqlite3"
    path.parent.mkdir()
    path.write_bytes(b"this is not a database, " * 100)
    done = cli("list")
    assert done.code == 12
    assert str(path) in done.stderr
    assert path.read_bytes() == b"this is not a database, " * 100


def finish(server: Server, id: str, files: int = 2) -> None:
    """Script a prediction that has succeeded with some files."""
    urls = [f"{server.url}/f/{index}.webp" for index in range(files)]
    server.on("GET", f"/replicate/v1/predictions/{id}", answer_json(prediction(id, output=urls)))
    server.on("GET", "/f/", Answer(200, picture(), WEBP))


def create(served: Cli, server: Server, id: str) -> None:
    """Let a prediction have been created here, and left."""
    remember(served, id, status="starting", base_url=server.url)


def test_unsaved_successes_are_listed_with_the_time_left(served: Cli, server: Server) -> None:
    """`--unsaved` shows what was paid for and not saved here, and how long it can still be had."""
    for id in ("saved1", "unsaved1", "running1"):
        create(served, server, id)
        finish(server, id)
    server.on("GET", "/replicate/v1/predictions/running1", answer_json(prediction("running1", "processing")))
    assert served("status", "saved1", "unsaved1", "running1").code == 0
    assert served("download", "saved1").code == 0
    [line] = served("list", "--unsaved").lines
    id, left, _, model, files, _ = line.split("\t")
    assert (id, model, files) == ("unsaved1", SCHNELL, "0/2")
    assert re.fullmatch(r"(59m\d+s|1h)", left)
    [entry] = [json.loads(line) for line in served("list", "--unsaved", "--json").lines]
    assert (entry["id"], entry["unsaved_outputs"]) == ("unsaved1", 2)
    assert entry["expires_at"] > entry["created_at"]
    assert served("download", "unsaved1").code == 0
    assert served("list", "--unsaved").stdout == ""


def test_what_was_not_seen_to_end_may_be_unsaved_too(served: Cli, server: Server) -> None:
    """As behind a kill or a lost connection; the hint, typed, finds it, and a script may ask for that at once."""
    create(served, server, "one1")
    finish(server, "one1")
    done = served("list", "--unsaved")
    assert (done.code, done.stdout) == (0, "")
    assert done.stderr == (
        "hint: 1 prediction had not ended when last seen, and may be unsaved too:"
        " cometrep list --unsaved --refresh\n"
    )
    assert served("list", "--unsaved", "-q").stderr == ""
    [line] = served("list", "--unsaved", "--refresh").lines
    assert line.startswith("one1\t")
    assert served("list", "--unsaved").stderr == ""


def test_an_unsaved_success_past_its_hour_is_called_expired(cli: Cli) -> None:
    """What the API has forgotten is still listed as lost."""
    remember(cli, "old1", age=2 * 3600)
    ledger = Ledger(
        cli.home / "cometrep" / "ledger.sqlite3",
        base_url="https://api.cometapi.com",
        is_sandbox=False,
        clock=lambda: time.time() - 2 * 3600,
    )
    ledger.see(Prediction("old1", "succeeded", output="https://x.invalid/a.webp"))
    ledger.close()
    [line] = cli("list", "--unsaved").lines
    assert line.split("\t")[:2] == ["old1", "expired"]


def test_unknown_creates_are_listed_alone(cli: Cli) -> None:
    """`--unknown` shows the creates whose outcome nobody knows."""
    remember(cli, "one1")
    remember(cli, "")
    [line] = cli("list", "--unknown").lines
    assert line.split("\t")[:2] == ["", "unknown"]


def test_refresh_asks_about_the_unfinished(served: Cli, server: Server) -> None:
    """`--refresh` looks at what may still run, and at nothing else; what cannot be seen is a warning."""
    remember(served, "old1", status="starting", age=2 * DAY, base_url=server.url)
    for id in ("done1", "gone1", "late1"):
        create(served, server, id)
    finish(server, "done1")
    assert served("status", "done1").code == 0
    finish(server, "late1")
    server.on("GET", "/replicate/v1/predictions/gone1", answer_json({"detail": "no"}, 403))
    server.received.clear()
    done = served("list", "--refresh")
    assert done.code == 0, done.stderr
    assert [line.split("\t")[:2] for line in done.lines] == [
        ["late1", "succeeded"],
        ["gone1", "starting"],
        ["done1", "succeeded"],
        ["old1", "starting"],
    ]
    assert sorted(request.path.rpartition("/")[2] for request in server.received) == ["gone1", "late1"]
    assert "warning" in done.stderr


def test_refresh_asks_about_no_more_than_are_listed(served: Cli, server: Server) -> None:
    """A look costs the API something, and an old ledger may hold thousands that were never waited for."""
    for id in ("one1", "two1", "three1"):
        create(served, server, id)
        finish(server, id)
    server.received.clear()
    done = served("list", "--refresh", "-n", "2")
    assert [line.split("\t")[:2] for line in done.lines] == [["three1", "succeeded"], ["two1", "succeeded"]]
    assert sorted(request.path.rpartition("/")[2] for request in server.received) == ["three1", "two1"]


@pytest.mark.parametrize("selecting", [("--unsaved",), ("--model", SCHNELL), ("--status", "succeeded")], ids=str)
def test_refresh_asks_about_all_that_may_be_selected(
    selecting: tuple[str, ...], served: Cli, server: Server
) -> None:
    """Which ones are listed is known behind the looks: not the newest of all predictions."""
    create(served, server, "one1")
    finish(server, "one1")
    server.on_create(answer_json(prediction("two1", "starting")))
    served("create", "stability-ai/sdxl", "prompt=cat")
    server.on("GET", "/replicate/v1/predictions/two1", answer_json(prediction("two1", "processing")))
    done = served("list", "--refresh", "-n", "1", *selecting)
    assert [line.split("\t")[0] for line in done.lines] == ["one1"]


@pytest.mark.parametrize("fault", ["no key", "no server", "no credit", "a page"])
def test_a_look_that_refresh_cannot_make_is_a_warning(fault: str, served: Cli, server: Server) -> None:
    """The entry is listed with its last status, the warning names it, and the exit code is 0, as the page says."""
    create(served, server, "one1")
    server.on_get(answer_html(200, "Welcome") if fault == "a page" else answer_json({"detail": "no"}, 402))
    env = {"COMETREP_RETRY_BUDGET": "0"} | ({"COMETAPI_KEY": ""} if fault == "no key" else {})
    if fault == "no server":
        server.on_get(RESET)
    done = served("list", "--refresh", env=env)
    assert (done.code, [line.split("\t")[:2] for line in done.lines]) == (0, [["one1", "starting"]])
    about = "no API key is set" if fault == "no key" else "prediction one1: "  # which is told once for all
    assert f"cometrep: warning: {about}" in done.stderr
    assert "hint:" not in done.stderr


def test_prune_forgets_what_is_old(cli: Cli) -> None:
    """`--prune` removes entries older than an age, with their files' records, and says how many."""
    remember(cli, "old1", age=91 * DAY, files=1)
    remember(cli, "", age=95 * DAY)
    remember(cli, "new1", age=89 * DAY)
    remember(cli, "other1", age=99 * DAY, is_sandbox=True)
    done = cli("list", "--prune", "90d")
    assert (done.code, done.stdout, done.stderr) == (0, "", "2 entries forgotten\n")
    assert [line.split("\t")[0] for line in cli("list").lines] == ["new1"]
    assert [line.split("\t")[0] for line in cli("list", "--sandbox").lines] == ["other1"]


def test_prune_keeps_what_is_still_needed(served: Cli, server: Server) -> None:
    """A create in doubt or perhaps sent again, what runs and what is not saved while its hour lasts are kept."""
    remember(served, "", age=29 * DAY)
    remember(served, "", age=31 * DAY)
    server.on_create(answer_json(prediction("run1", "starting")), answer_json(prediction("done1")))
    served("create", SCHNELL, "prompt=cat")
    served("create", SCHNELL, "prompt=cat")
    server.on_get(answer_json(prediction("done1", output=["https://x.test/a.webp"])))
    served("wait", "done1")
    server.on_create(answer_json({"detail": "slow down"}, 429))
    served("create", SCHNELL, "prompt=cat", env={"COMETREP_RETRY_BUDGET": "0"})
    done = served("list", "--prune", "0d")
    assert done.stderr == "1 entry forgotten; 4 kept: in doubt, running, not saved or refused just now\n"
    assert [line.split("\t")[:2] for line in served("list").lines] == [
        ["", "refused"],
        ["done1", "succeeded"],
        ["run1", "starting"],
        ["", "unknown"],
    ]


@pytest.mark.parametrize("word", ["Failed", "FAILED", "failure"])
def test_a_status_is_taken_in_any_case(word: str, cli: Cli) -> None:
    """As the API's own words are."""
    remember(cli, "bad1", status="failed")
    remember(cli, "good1", status="succeeded")
    assert [line.split("\t")[0] for line in cli("list", "--status", word).lines] == ["bad1"]


def test_a_status_that_no_entry_can_have_is_an_error(cli: Cli) -> None:
    """A script must not read a mistyped word as `none`; a server's own word that was seen is taken."""
    remember(cli, "odd1", status="Pondering")
    done = cli("list", "--status", "fail")
    assert (done.code, done.stdout) == (2, "")
    assert "'fail' is not a status; did you mean failed?" in done.stderr
    assert [line.split("\t")[0] for line in cli("list", "--status", "Pondering").lines] == ["odd1"]
    assert cli("list", "--status", "canceled").code == 0


def test_a_ledger_that_cannot_be_there_is_an_error(cli: Cli) -> None:
    """Where a file stands in its folder's place, that nothing is in doubt would be false comfort."""
    (cli.folder / "file").write_text("")
    for options in ((), ("--unknown",), ("--json",)):
        ran = cli("list", *options, env={"COMETREP_HOME": str(cli.folder / "file")})
        assert (ran.code, ran.stdout) == (12, "")
        assert "ledger" in ran.stderr


def test_options_of_every_command_are_checked_here_too(cli: Cli) -> None:
    """A word that is no progress mode is refused, and a hint keeps the server that was named."""
    ran = cli("list", "--progress", "nonsense")
    assert (ran.code, ran.stdout) == (2, "")
    assert "nonsense" in ran.stderr
    ran = cli("list", "--base-url", "http://localhost:1", "--status", "sucseeded")
    assert (ran.code, ran.stdout) == (2, "")
    assert ran.stderr.endswith("hint: cometrep list --base-url http://localhost:1 --status succeeded\n")


@pytest.mark.parametrize(
    "arguments",
    [("--prune", "90d", "--unsaved"), ("--prune", "90d", "--refresh"), ("--unknown", "--status", "succeeded")],
    ids=str,
)
def test_options_that_contradict_each_other_are_refused(arguments: tuple[str, ...], cli: Cli) -> None:
    """Rather than one of them ignored: what is pruned is gone."""
    ran = cli("list", *arguments)
    assert (ran.code, ran.stdout) == (2, "")
    assert "contradict each other" in ran.stderr


@pytest.mark.parametrize(
    ("option", "age", "hint"), [("--since", f"{'9' * 400}d", "--since 2d"), ("--prune", "abc", "--prune 90d")]
)
def test_what_is_no_age_is_refused(option: str, age: str, hint: str, cli: Cli) -> None:
    """Beyond all numbers too; the hint, typed as it stands, forgets nothing of the last days."""
    done = cli("list", option, age)
    assert done.code == 2
    assert done.stderr.endswith(f" is not an age like 90m, 2h or 7d\nhint: cometrep list {hint}\n")


@pytest.mark.parametrize(("age", "hint"), [("90", "90d"), (".5", "90d")])
def test_an_age_to_prune_has_its_unit(age: str, hint: str, cli: Cli) -> None:
    """Where the d of 90d is forgotten, what is older than 90 seconds is not."""
    remember(cli, "one1", age=DAY)
    done = cli("list", "--prune", age)
    assert (done.code, done.stderr) == (
        2,
        f"cometrep: --prune {age!r} has no unit\nhint: cometrep list --prune {hint}\n",
    )
    assert cli("list").lines


@pytest.mark.parametrize("option", ["--model", "--status", "--since", "--prune"])
def test_an_option_with_nothing_is_not_passed_over(option: str, cli: Cli) -> None:
    """A variable that is not set selects nothing, and forgets nothing: it is no list of all."""
    remember(cli, "one1")
    done = cli("list", option, "")
    assert (done.code, done.stdout) == (2, "")
    assert "''" in done.stderr


@on_posix
@pytest.mark.parametrize("arguments", [("--sandbox",), ()], ids=["what there is", "nothing"])
def test_a_list_needs_no_room_on_the_disk(arguments: tuple[str, ...], cli: Cli) -> None:
    """A ledger beside which SQLite can put no file, as on a full disk, is read all the same."""
    remember(cli, "played1", is_sandbox=True)
    (cli.home / "cometrep" / "ledger.sqlite3-shm").mkdir()
    done = cli("list", *arguments)
    assert (done.code, done.stderr, len(done.lines)) == (0, "", len(arguments))


@pytest.mark.parametrize("has_played", [True, False])
def test_who_only_tried_the_sandbox_is_told_where_that_is(has_played: bool, cli: Cli) -> None:
    """At a terminal an empty list names the other one, where there is something in it."""
    if has_played:
        remember(cli, "played1", is_sandbox=True)
    with Terminal(cli, "list") as terminal:
        assert terminal.finish() == 0
        elsewhere = "the ledger holds no predictions but the sandbox's: cometrep list --sandbox"
        assert terminal.lines == [elsewhere if has_played else "the ledger is empty"]
