"""Completion: the values that the program knows, and what a press of TAB loads."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cometrep import catalog, completion
from cometrep.ledger import Ledger
from cometrep.prediction import Prediction
from cometrep.sandbox.faults import KINDS, Fault
from tests.servers import SCHNELL
from tests.test_architecture import HEAVY, loaded_by

DEV = "black-forest-labs/flux-dev"
NOW = 1_700_000_000.0

Fill = Callable[..., None]


@pytest.fixture
def fill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fill:
    """Write entries of so many seconds ago into the ledger of a home of the test's own."""
    monkeypatch.setenv("COMETREP_HOME", str(tmp_path))
    for name in ("COMETREP_SANDBOX", "COMETREP_BASE_URL", "COMETAPI_BASE_URL", "COMETAPI_KEY", "COMETAPI_API_KEY"):
        monkeypatch.delenv(name, raising=False)

    def write(
        *entries: tuple[str, str, str, float], is_sandbox: bool = False, base_url: str = "https://api.cometapi.com"
    ) -> None:
        for model, id, status, age in entries:
            ledger = Ledger(
                tmp_path / "ledger.sqlite3",
                base_url=base_url,
                is_sandbox=is_sandbox,
                clock=lambda age=age: NOW - age,  # type: ignore[misc]
            )
            number = ledger.begin(model, {"prompt": "x"})
            if id:
                ledger.accept(number, Prediction(id=id, status=status))
            ledger.close()

    return write


def values(words: str, current: str = "") -> list[str]:
    """Give the values of an answer, without their descriptions."""
    return [value for value, _ in completion.answers(words.split(), current, now=NOW)]


def test_models_are_found_by_their_beginning_or_by_their_last_part() -> None:
    """Every known model is offered with what it is; a name without its owner finds the whole."""
    assert values("models --") == list(catalog.names())
    assert completion.answers(["models", "--"], SCHNELL) == [
        (SCHNELL, "Fast text to picture; the one to begin with")
    ]
    assert values("models --", "flux-sch") == [SCHNELL]
    assert all(name.startswith("black-forest-labs/flux-2") for name in values("models --", "FLUX-2"))
    assert values("models --", "nothing") == []


def test_inputs_are_those_of_the_model_and_not_given_yet() -> None:
    """Names come required ones first, with what they take; given ones are left out unless they are lists."""
    offered = dict(completion.answers(["inputs", "--", DEV], ""))
    assert next(iter(offered.items())) == ("prompt=", "required. What the picture shows")
    assert offered["guidance="] == "0..10, default 3. How closely to follow the prompt"
    assert offered["aspect_ratio="] == "default 1:1. Shape of the picture, width to height"
    assert offered["image@"] == "Picture to start from"
    assert "prompt=" not in values(f"inputs -- {DEV} prompt=x seed:=1 image@a.png")
    assert values(f"inputs -- {DEV} prompt=x seed:=1 image@a.png", "s") == []
    assert values("inputs -- black-forest-labs/flux-2-pro input_images@a.png", "input") == ["input_images@"]
    for option in ("--model", "-m"):
        assert values(f"inputs --json {option}={DEV} -- items.csv", "asp") == ["aspect_ratio="]
        assert values(f"inputs --sweep {option}={DEV} -- seed:=1..3", "s") == []


@pytest.mark.parametrize(
    ("model", "current", "offered"),
    [
        (DEV, "aspect_ratio=16", ["aspect_ratio=16:9"]),
        (DEV, "go_fast=", ["go_fast=true", "go_fast=false"]),
        (DEV, "go_fast:=f", ["go_fast:=false"]),
        (DEV, "num_outputs=", ["num_outputs=1", "num_outputs=2", "num_outputs=3", "num_outputs=4"]),
        (DEV, "guidance=", ["guidance=0", "guidance=3", "guidance=10"]),
        (DEV, "prompt_strength=", ["prompt_strength=0", "prompt_strength=0.8", "prompt_strength=1"]),
        (DEV, "aspect_ratio:=", []),
        (DEV, "seed=", []),
        (DEV, "prompt=", []),
        (DEV, "nothing=", []),
        (DEV, "prompt=@", []),
        (DEV, "image@f", []),
        ("black-forest-labs/flux-2-pro", "resolution=1", ["resolution=1 MP"]),
        ("someone/unknown", "", []),
        ("someone/unknown", "aspect_ratio=", []),
    ],
)
def test_values_of_an_input(model: str, current: str, offered: list[str]) -> None:
    """Behind `name=` come choices, both of a switch, few numbers all, of a range the ends and the default."""
    assert values(f"inputs -- {model}", current) == offered


def test_values_of_a_sweep_come_behind_each_comma() -> None:
    """Elsewhere a comma is a part of the text."""
    line = f"inputs --sweep --model={DEV} --"
    assert values(line, "aspect_ratio=1:1,16") == ["aspect_ratio=1:1,16:9"]
    assert values(line, "go_fast:=true,") == ["go_fast:=true,true", "go_fast:=true,false"]
    assert values(line, "aspect_ratio=16") == ["aspect_ratio=16:9"]
    assert values(f"inputs -- {DEV}", "aspect_ratio=1:1,16") == []


@pytest.mark.parametrize("model", catalog.names())
def test_every_input_of_every_model_is_answered(model: str) -> None:
    """No fact of the catalog is a stumbling block, and the default is marked where values are listed."""
    known = catalog.find(model)
    assert known
    for one in known.inputs.values():
        offered = dict(completion.answers(["inputs", "--", model], f"{one.name}="))
        if one.choices or one.kind == "boolean":
            marked = [value for value, about in offered.items() if about == "the default"]
            assert marked == ([f"{one.name}={one.shown_default}"] if one.default is not None else [])


def test_ids_come_newest_first_with_model_status_and_age(fill: Fill) -> None:
    """`@last` and the ids have model, status and age; those given already are left out."""
    fill((DEV, "one", "succeeded", 90000), (SCHNELL, "two", "failed", 7300), (SCHNELL, "three", "starting", 65))
    offered = completion.answers(["ids", "--"], "", now=NOW)
    assert offered == [
        ("@last", "flux-schnell, starting, 1 min ago"),
        ("three", "flux-schnell, starting, 1 min ago"),
        ("two", "flux-schnell, failed, 2 h ago"),
        ("one", "flux-dev, succeeded, 1 d ago"),
    ]
    assert values("ids -- three @last") == ["two", "one"]
    assert values("ids --", "t") == ["three", "two"]


def test_an_id_of_several_entries_is_offered_once(fill: Fill) -> None:
    """Two servers may give one id; the shells would list it twice, and bash take neither."""
    fill((DEV, "one", "succeeded", 90000), base_url="https://other.example")
    fill((DEV, "one", "failed", 65))
    assert completion.answers(["ids", "--"], "on", now=NOW) == [("one", "flux-dev, failed, 1 min ago")]


def test_at_most_fifty_ids_are_offered(fill: Fill) -> None:
    """Of a long ledger the newest are offered."""
    fill(*((DEV, f"id{number}", "succeeded", 1000.0 - number) for number in range(55)))
    assert values("ids --")[:2] == ["@last", "id54"]
    assert values("ids --")[-1] == "id5"


def test_an_id_that_is_begun_is_looked_for_among_all(fill: Fill) -> None:
    """However old an entry is, its first letters find it, and its model's inputs; `@last` stays the newest."""
    fill(
        (DEV, "Older1", "succeeded", 5000), (DEV, "old%r2", "succeeded", 4000), (DEV, "old_er3", "succeeded", 3000)
    )
    fill(*((SCHNELL, f"id{number}", "succeeded", 1000.0 - number) for number in range(55)))
    assert values("ids --", "old") == ["old_er3", "Older1"]
    assert values("ids --", "OLDER") == ["Older1"]
    assert values("ids --", "old_") == ["old_er3"]
    assert values("ids -- Older1", "older") == []
    assert values("ids --", "id") == [f"id{number}" for number in range(54, 4, -1)]
    assert values("ids --", "@") == ["@last"]
    assert values("inputs -- Older1", "gui") == ["guidance="]
    assert values("inputs -- @58", "gui") == ["guidance="]
    assert values("inputs -- @59", "gui") == []


def test_faults_are_the_sandboxs() -> None:
    """Each fault that is offered is one that the sandbox knows, and none of its kinds is missing."""
    assert values("faults --") == list(KINDS)
    assert values("faults --", "get:") == [f"get:{kind}" for kind in ("429", "500", "524", "hang", "html", "reset")]
    assert values("faults --", "file:") == [f"file:{kind}" for kind in KINDS]
    assert values("faults --", "429:") == ["429:1", "429:2", "429:3"]
    assert values("faults --", "create:5") == ["create:500", "create:524"]
    for start in ("", "c", "g", "f", "429:", "slow:"):
        for text in values("faults --", start):
            assert Fault.parse(text).kind in text


def test_ids_are_those_of_the_server_that_is_asked(fill: Fill, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--sandbox` on the line or in the environment gives the sandbox's ids, `--base-url` the others again."""
    fill((DEV, "real", "succeeded", 5))
    fill((DEV, "played", "succeeded", 5), is_sandbox=True)
    assert values("ids --") == ["@last", "real"]
    assert values("ids --sandbox --json --") == ["@last", "played"]
    monkeypatch.setenv("COMETREP_SANDBOX", "1")
    assert values("ids --") == ["@last", "played"]
    assert values("ids --base-url=https://example.com --") == ["@last", "real"]


def test_a_create_without_an_id_is_not_offered(fill: Fill) -> None:
    """A create in doubt has no id to offer, and `@last`, which would mean it, is not offered either."""
    fill((DEV, "known", "succeeded", 50), (DEV, "", "", 5))
    assert values("ids --") == ["known"]


def test_rerun_offers_the_inputs_of_the_entry(fill: Fill) -> None:
    """The inputs after an id, `@last` or `@2` are those of the entry's model."""
    fill((SCHNELL, "one", "succeeded", 50), (DEV, "two", "succeeded", 5))
    assert values("inputs -- @last", "gui") == ["guidance="]
    assert values("inputs -- @2", "gui") == []
    assert values("inputs -- @2", "go") == ["go_fast="]
    assert values("inputs -- two", "gui") == ["guidance="]
    for unknown in ("@3", "@0", "three", "@"):
        assert values(f"inputs -- {unknown}") == []


def test_settings_and_their_values() -> None:
    """Settings come with what they are, the API key only where it is not to be typed; values where they are few."""
    assert values("settings --", "a") == ["api_key"]
    assert values("changeable --", "a") == []
    assert values("changeable --")[:2] == ["base_url", "timeout"]
    assert values("values -- progress") == ["auto", "bar", "lines", "json", "none"]
    assert completion.answers(["values", "--", "sandbox"], "") == [("true", ""), ("false", "the default")]
    for name in ("api_key", "nothing", "dir", "timeout", "max_size"):
        assert values(f"values -- {name}") == []


@pytest.mark.parametrize(
    "arguments", [[], [""], ["nothing", ""], ["ids"], ["inputs", "--", ""], ["values", "--", ""]]
)
def test_a_question_that_is_none_has_no_answer(arguments: list[str], fill: Fill) -> None:
    """What no script asks is answered with nothing."""
    assert completion.respond(arguments) == b""


def test_hostile_entries_are_harmless(fill: Fill) -> None:
    """Control characters and tabs of a ledger's texts do not come out, and what is no id is not offered."""
    fill(
        (DEV, "$(touch owned)", "succeeded", 9),
        (DEV, "a b", "succeeded", 8),
        (DEV, "x\x1b[31m", "succeeded", 7),
        ("own/\x1b]0;x\x07\tmodel\nnext", "good", "`touch owned`\r\x9b2J\u202e", 6),
    )
    answer = completion.respond(["ids", "--", ""]).decode()
    assert [line.partition("\t")[0] for line in answer.splitlines()] == ["@last", "good"]
    assert answer.replace("\n", "").replace("\t", "").isprintable()
    assert all(line.count("\t") == 1 for line in answer.splitlines())


def test_what_is_damaged_answers_nothing_and_stays_as_it_is(fill: Fill, tmp_path: Path) -> None:
    """A ledger or a config file out of order gives no answer, is not touched, and leaves what needs neither."""
    fill((DEV, "one", "succeeded", 5))
    (tmp_path / "config.toml").write_text("not toml")
    assert completion.respond(["ids", "--", ""]) == b""
    (tmp_path / "config.toml").unlink()
    assert completion.respond(["ids", "--", "o"]).startswith(b"one\t")
    for content in (b"no database at all" * 100, b"SQLite format 3\0" + b"\xff" * 4096, b""):
        (tmp_path / "ledger.sqlite3").write_bytes(content)
        assert completion.respond(["ids", "--", ""]) == b""
        assert (tmp_path / "ledger.sqlite3").read_bytes() == content
    (tmp_path / "ledger.sqlite3").unlink()
    (tmp_path / "ledger.sqlite3").mkdir()
    assert completion.respond(["ids", "--", ""]) == b""
    assert completion.respond(["settings", "--", "api"]) == b"api_key\tthe API key\n"


def test_a_ledger_that_is_being_written_is_read_at_once(fill: Fill, tmp_path: Path) -> None:
    """A writer in the midst of a transaction does not keep TAB waiting, and nothing is left beside the file."""
    fill((DEV, "one", "succeeded", 5))
    busy = Ledger(tmp_path / "ledger.sqlite3", base_url="https://api.cometapi.com", is_sandbox=False)
    began = time.monotonic()
    with busy._database.writing():
        assert values("ids --") == ["@last", "one"]
    assert time.monotonic() - began < 5
    busy.close()
    assert values("ids --") == ["@last", "one"]
    assert [path.name for path in tmp_path.iterdir()] == ["ledger.sqlite3"]


LIGHT = {"typer", "platformdirs", "tomllib", "cometrep.cli", "cometrep.console", "cometrep.manual"}


@pytest.mark.parametrize(
    ("arguments", "absent"),
    [
        (("models", "--", ""), HEAVY | LIGHT | {"cometrep.config", "cometrep.ledger"}),
        (("inputs", "--", DEV, ""), HEAVY | LIGHT | {"cometrep.config", "cometrep.ledger"}),
        (("settings", "--", ""), HEAVY | LIGHT | {"cometrep.ledger"}),
        (("faults", "--", "get:"), HEAVY | LIGHT | {"cometrep.config", "cometrep.ledger"}),
        (("ids", "--", ""), (HEAVY | LIGHT) - {"sqlite3"}),
    ],
    ids=["models", "inputs", "settings", "faults", "ids"],
)
def test_a_press_of_tab_loads_only_what_it_needs(
    arguments: tuple[str, ...], absent: set[str], tmp_path: Path
) -> None:
    """The call of the scripts loads no typer, and sqlite3 only where ids are asked for."""
    assert not absent & loaded_by("__complete", *arguments, home=tmp_path)


def test_the_call_answers_on_stdout_alone(tmp_path: Path) -> None:
    """The hidden call prints values and descriptions, and where nobody reads them it says nothing of that."""
    environment = {"PYTHONPATH": str(Path(__file__).parents[1]), "COMETREP_HOME": str(tmp_path)}
    command = [sys.executable, "-m", "cometrep", "__complete"]
    done = subprocess.run(
        [*command, "models", "--", "recraft"], env=environment, capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("recraft-ai/recraft-v3\tText to picture in many set styles\n", "")
    line = 'exec "$@" >&-'
    closed = subprocess.run(
        ["bash", "-c", line, "bash", *command, "models", "--", ""],
        env=environment,
        capture_output=True,
        check=False,
    )
    assert (closed.returncode, closed.stderr) == (0, b"")
