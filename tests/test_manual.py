"""The manual: every page is well formed, says what the program does, and the same on paper and on the screen."""

import ast
import contextlib
import inspect
import io
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cometrep import api, catalog, cli, config, errors, manual, names
from cometrep.api import verdicts
from cometrep.batch import fate
from cometrep.commands.config import _facts
from cometrep.console import Choices, Console, board
from cometrep.console.display import JsonLines
from cometrep.console.screen import Screen
from cometrep.doctor.checks import Check
from cometrep.events import Created, ItemEnded, Noted, Result, Retrying, Saved, Saving, Seen, Slow, Waiting
from cometrep.ledger import Ledger
from cometrep.manual.blocks import Document, Heading, Item, Literal
from cometrep.manual.page import Page
from cometrep.manual.plain import plain_text
from cometrep.manual.prose import ANY_EXIT
from cometrep.manual.roff import roff_text
from cometrep.prediction import Prediction, SavedFile
from cometrep.sandbox.faults import KINDS
from cometrep.schedule import schedule_for
from cometrep.sidecar import write_sidecar
from tests.conftest import Cli, needs
from tests.servers import SCHNELL

PACKAGE = Path(cli.__file__).parent
TOPICS = PACKAGE / "manual/topics"
ROOT = cli.pages()
DOCUMENTS = {f"{document.name}.{document.section}": document for document in manual.documents(ROOT)}
COMMANDS = [page.words[-1] for page in ROOT.parts]
EVERY_PAGE = [ROOT, *(one for page in ROOT.parts for one in (page, *page.parts))]


def mandoc(text: str) -> str:
    """Render man(7) text at 80 columns, as plain text without overstrikes."""
    done = subprocess.run(
        ["mandoc", "-T", "ascii", "-O", "width=80"], input=text, capture_output=True, text=True, check=True
    )
    return re.sub(".\b", "", done.stdout)


def prose(name: str) -> str:
    """Give the text of a topic with what it includes."""
    text = (TOPICS / f"{name}.txt").read_text("utf-8")
    return re.sub(r"(?m)^@include (\S+)$", lambda found: prose(found[1]), text)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_no_directive_is_left_in_a_page(name: str) -> None:
    """What stands for another text is replaced wherever it stands, in the page and in what `help` shows."""
    assert not re.findall(r"(?m)^(?:\\&)?@.*", roff_text(DOCUMENTS[name]))
    shown = plain_text(DOCUMENTS[name].blocks)
    assert not re.findall(r"@(?:include|exit|advise|settings|variables|files|see)\b", shown)


def exit_status(name: str) -> list[str]:
    """Give the exit codes that a page lists."""
    blocks = DOCUMENTS[name].blocks
    begin = blocks.index(Heading("EXIT STATUS"))
    end = next(at for at in range(begin + 1, len(blocks)) if isinstance(blocks[at], Heading))
    return [block.term.strip("`") for block in blocks[begin:end] if isinstance(block, Item)]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_lists_its_exit_codes(command: str) -> None:
    """Each page has its codes in order, with those of every command: a bug, a full disk, signals, a closed pipe."""
    codes = exit_status(f"cometrep-{command}.1")
    assert codes == sorted(codes, key=int)
    assert set(map(str, ANY_EXIT)) | {"2"} <= set(codes)
    assert set(codes) <= set(map(str, errors.EXIT_CODES))
    if command in ("run", "rerun", "batch"):
        assert codes == [str(code) for code in errors.EXIT_CODES]


@needs("mandoc")
@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_page_is_well_formed(name: str) -> None:
    """mandoc has nothing to warn of, and the page is plain ASCII."""
    text = roff_text(DOCUMENTS[name])
    done = subprocess.run(
        ["mandoc", "-T", "lint", "-W", "warning"], input=text, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert text.isascii()


@needs("mandoc")
@pytest.mark.parametrize("name", DOCUMENTS)
def test_man_and_help_say_the_same(name: str) -> None:
    """A manual page and the plain text of `help` are the same words in the same order, within 80 columns."""
    lines = mandoc(roff_text(DOCUMENTS[name])).splitlines()
    assert max(map(len, lines)) <= 80
    shown = manual.show(ROOT, DOCUMENTS[name].name)
    assert " ".join(lines[1:-1]).split() == shown.split()


@pytest.mark.parametrize("topic", manual.topics(ROOT))
def test_plain_text_is_plain(topic: str) -> None:
    """What `help` shows fits 80 columns and has neither markup nor trailing spaces."""
    lines = manual.show(ROOT, topic).splitlines()
    assert max(map(len, lines)) <= 80
    assert not [line for line in lines if line != line.rstrip() or re.search("`|\x1b|^@", line)]


@needs("mandoc")
@pytest.mark.parametrize("page", EVERY_PAGE, ids=lambda page: page.name)
def test_examples_can_be_copied_from_a_page(page: Page) -> None:
    """Quotes, dashes and backslashes of an example come out of a page as they went in."""
    shown = mandoc(roff_text(Document("x", 1, (Heading("EXAMPLES"), Literal(page.examples)))))
    assert tuple(line.strip() for line in shown.splitlines()[3:-2]) == page.examples


@needs("mandoc")
@pytest.mark.parametrize("text", ["a\\b \\fB", ".x y", "'x' \"y\"", "--a-b ~/c ^d", ". z", "a\\&b", "{{ .. }}"])
def test_any_text_comes_out_as_it_went_in(text: str) -> None:
    """What roff would read as its own is shown as it is, in a paragraph, an item and a literal line."""
    blocks = (Heading("A"), text, Item(f"`{text}`", text), Literal((text,)))
    shown = mandoc(roff_text(Document("x", 1, blocks)))
    assert " ".join(shown.split()).count(text) == 4


@pytest.mark.parametrize("page", EVERY_PAGE, ids=lambda page: page.name)
def test_a_page_has_every_argument_option_and_example(page: Page) -> None:
    """Nothing that `--help` tells is missing from the page."""
    words = " ".join(manual.show(ROOT, " ".join(page.words)).split())
    for argument in page.arguments:
        assert f"{argument.metavar} {argument.about}" in words
    for option in page.options:
        assert f"{', '.join(option.names)} {option.metavar}".rstrip() + f" {option.about}" in words
    for text in (page.about, page.usage, *page.examples):
        assert " ".join(text.split()) in words


def test_every_command_has_a_text_of_its_own() -> None:
    """A command's page says more than its help: topics/NAME.txt."""
    assert [name for name in COMMANDS if not (TOPICS / f"{name}.txt").exists()] == []


def test_every_text_is_used() -> None:
    """No text lies about that no page shows."""
    texts = {path.stem: path.read_text("utf-8") for path in TOPICS.iterdir()}
    included = {name for text in texts.values() for name in re.findall(r"(?m)^@include (\S+)$", text)}
    assert included <= set(texts)
    assert set(texts) - included <= {*COMMANDS, "cometrep", *manual.OWN_PAGES}


def test_pages_name_only_pages_that_exist() -> None:
    """What a page sends its reader to is there."""
    for document in DOCUMENTS.values():
        named = re.findall(r"(cometrep[a-z-]*)\((\d)\)", plain_text(document.blocks))
        assert named
        assert {f"{name}.{section}" for name, section in named} <= set(DOCUMENTS)


def options(words: str) -> set[str]:
    """Give the long options of a command or of one of its parts."""
    return {name for page in EVERY_PAGE if " ".join(page.words) == words for o in page.options for name in o.names}


@pytest.mark.parametrize("command", ["cometrep", *COMMANDS])
def test_a_text_names_only_options_of_its_command(command: str) -> None:
    """An option that a page speaks of is one of its command; after `cometrep NAME` one of that command."""
    spans = re.findall(r"`([^`]+)`", prose(command))
    own = options(f"cometrep {command}".removesuffix(" cometrep")) | {"--sandbox"}
    for span in spans:
        words = span.split()
        named = next((n for n in (3, 2) if words[0] == "cometrep" and options(" ".join(words[:n]))), 0)
        allowed = options(" ".join(words[:named])) if named else {*own, "--help"}
        assert {word for word in words if word.startswith("--")} <= allowed, span


def test_a_text_names_only_commands_that_exist() -> None:
    """Every `cometrep NAME` in a text can be typed."""
    for path in TOPICS.iterdir():
        if path.stem in {*COMMANDS, *manual.OWN_PAGES, "cometrep"}:
            named = re.findall(r"`cometrep ([a-z]+)", prose(path.stem))
            assert set(named) <= set(COMMANDS), path


def codes_used() -> Iterator[tuple[str, str]]:
    """Yield each error code that a module of the package gives, with the class of its error where that shows."""
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ClassDef):
                for part in node.body:
                    if isinstance(part, ast.Assign) and ast.unparse(part.targets[0]) == "code":
                        yield str(ast.literal_eval(part.value)), node.name
            if isinstance(node, ast.Call):
                kind = ast.unparse(node.func)
                named = {keyword.arg: keyword.value for keyword in node.keywords if keyword.arg}
                if kind.endswith("._error"):
                    named = inspect.signature(verdicts.Verdicts._error).bind(None, *node.args, **named).arguments
                    kind = ast.unparse(named["kind"])
                for inner in ast.walk(named["code"]) if "code" in named else ():
                    if isinstance(inner, ast.Constant) and isinstance(inner.value, str) and inner.value:
                        yield inner.value, kind.rpartition(".")[2]


def codes_compared() -> Iterator[str]:
    """Yield each error code that a module decides something by: compared, or one of a tuple of codes.

    What speaks with the API is left out: the codes it compares are the server's.
    """
    for path in PACKAGE.rglob("*.py"):
        if path.parent.name in ("api", "transport"):
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            deciding: list[ast.expr] = []
            if isinstance(node, ast.Compare) and ast.unparse(node.left).endswith(".code"):
                deciding = node.comparators
            elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]).endswith("_CODES"):
                deciding = [node.value] * isinstance(node.value, ast.Tuple)
            for inner in (inner for part in deciding for inner in ast.walk(part)):
                if isinstance(inner, ast.Constant) and isinstance(inner.value, str):
                    yield inner.value


def documented() -> dict[str, set[int]]:
    """Read the error codes and their exit codes from the page."""
    found = re.findall(r"(?m)^`([a-z_]+)` \(([\d, ]+)\)$", prose("exit-codes"))
    return {word: {int(code) for code in codes.split(", ")} for word, codes in found}


def test_every_error_code_is_documented() -> None:
    """The words of the JSON error form are in cometrep-exit-codes(7), each with its exit codes, and no others."""
    used = {(word, kind) for word, kind in codes_used() if word not in ("bug", "stdout_closed")}  # never shown
    words = documented()
    assert {word for word, _ in used} == set(words)
    for word, kind in used:
        code = getattr(getattr(errors, kind, None), "exit_code", None)
        if code is not None and kind not in ("Stopped", "Failure"):
            assert code in words[word], f"{word} comes with exit code {code}"


def test_every_error_code_that_decides_is_one_of_them() -> None:
    """A slip in one would be silent, and may have something sent, and paid for, again."""
    compared = set(codes_compared())
    assert {"prediction_not_found", "api_key_refused", "disk_full"} <= compared
    assert compared <= set(documented())


def test_every_exit_code_is_explained() -> None:
    """The page has each exit code with its meaning, in order."""
    blocks = DOCUMENTS["cometrep-exit-codes.7"].blocks
    items = {block.term.strip("`"): block.text for block in blocks if isinstance(block, Item)}
    shown = {term: text for term, text in items.items() if term.isdecimal()}
    assert list(shown) == [str(code) for code in errors.EXIT_CODES]
    for code, meaning in errors.EXIT_CODES.items():
        assert shown[str(code)].lower().startswith(f"{meaning.lower()}.")


def test_every_environment_variable_is_documented() -> None:
    """What the package reads from the environment is in cometrep-environment(7)."""
    texts = [path.read_text("utf-8") for path in PACKAGE.rglob("*.py")]
    read = {name for text in texts for name in re.findall(r"environ(?:ment|\.get)\(\"([A-Z_]+)\"", text)}
    read |= {"GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"}
    read |= {"REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "LC_ALL", "LC_CTYPE", "LANG", "TMPDIR"}
    read |= {variable for known in config.SETTINGS.values() for variable in known.variables}
    assert {"NO_COLOR", "TERM", "CI", "COMETREP_HOME"} <= read
    shown = manual.show(ROOT, "environment")
    assert [name for name in sorted(read) if not re.search(rf"\b{name}\b", shown)] == []
    for name, known in config.SETTINGS.items():
        assert f"setting {name}" in " ".join(shown.split())
        assert known.default in shown
    for name in ("timeout", "max_size", "sandbox_seconds"):
        assert f"setting {name}, option {config.option_for(name)}, " in " ".join(shown.split())


@pytest.mark.skipif(sys.platform != "linux", reason="the pages name the paths of Linux")
def test_the_files_are_where_the_page_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """The paths under FILES are those that the program uses where nothing is set."""
    for variable in ("COMETREP_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    shown = manual.show(ROOT, "environment")
    for path in config.folders():
        assert f"    ~/{path.relative_to(Path.home())}\n" in shown


def test_fields_faults_and_prompts_are_all_told() -> None:
    """Every template field, every kind of fault and every prompt word of the sandbox has its line."""
    assert re.findall(r"(?m)^`\{(\w+)\}`$", prose("templates")) == list(names.FIELDS)
    assert re.findall(r"(?m)^`([a-z0-9]+)`$", prose("sandbox")) == list(KINDS)
    ends = re.findall(r"(?m)^    (sandbox:\w+) ", (PACKAGE / "sandbox" / "__init__.py").read_text("utf-8"))
    assert ends
    assert re.findall(r"(?m)^`(sandbox:\w+)`$", prose("sandbox")) == ends


def items_of(heading: str) -> dict[str, str]:
    """Give the items of a section of cometrep-json(7), by their terms."""
    section = prose("json").partition(f"## {heading}\n")[2].partition("\n## ")[0]
    return dict(re.findall(r"(?m)^(\S.*)\n    (.+)$", section))


def words(*texts: str) -> list[str]:
    """Give the single words that are marked as typed in texts."""
    return [word for text in texts for word in re.findall(r"`(\w+)`", text)]


SAVED = SavedFile("cat.webp", 0, 3000, "0" * 64)
SUCCESS = Prediction("made1", "succeeded", logs="50%\n", progress=0.5)
EVENTS = (
    Created(SUCCESS._replace(status="starting")),
    Seen(SUCCESS, 1.0),
    Waiting("made1", "processing", 30.0),
    Slow("made1", 5.0),
    Retrying("made1", "HTTP 500", 1, 0.5),
    Saving("made1", 0, "cat.webp", 3000, 3000),
    Saved("made1", SAVED),
    Noted("made1", "told"),
    Result("made1", SUCCESS, (SAVED,)),
)


def test_every_key_of_a_prediction_is_told(tmp_path: Path) -> None:
    """What `--json` prints of predictions, files and entries has the keys that the page lists, and no others."""
    shown = SUCCESS.as_json([SAVED])
    assert words(*items_of("PREDICTIONS")) == list(shown)
    assert words(*items_of("FILES")) == list(SAVED.as_json())
    with contextlib.closing(Ledger(tmp_path / "l", base_url="https://x.test", is_sandbox=False)) as ledger:
        ledger.begin("owner/name", {"prompt": "cat"})
        [entry] = ledger.entries()
    assert set(words(*items_of("LIST"))) == set(entry.as_json()) - set(shown)
    assert set(shown) <= set(entry.as_json())


def test_every_event_of_progress_json_is_told_with_what_it_holds() -> None:
    """A program that reads `--progress json` finds each event in cometrep-json(7), and each key of one."""
    written: list[str] = []
    display = JsonLines(Screen(None, written.append, shows_logs=True))
    for event in EVENTS:
        display.take(event)
    told = {words(term)[0]: words(text) for term, text in items_of("EVENTS").items()}
    told["saved"] = [*told["saved"][:1], *SAVED.as_json()]
    events: dict[str, set[str]] = {}
    for line in written:
        facts = json.loads(line)
        events.setdefault(facts.pop("event"), set()).update(set(facts) - {"time", "id"})
    assert {name: set(keys) for name, keys in told.items()} == events


def test_every_key_of_other_objects_is_told(tmp_path: Path) -> None:
    """Those of batch, of dry runs, of `models`, `doctor` and `config show`, and of sidecars."""
    told = {term: words(text) for term, text in items_of("OTHER OBJECTS").items()}
    assert set(told["`batch`"]) - {"files"} == set(ItemEnded("", "", "", "", "").as_json()) - set(
        SUCCESS.as_json([SAVED])
    )
    with contextlib.closing(api.Api(base_url="https://x.test", api_key=None)) as client:
        assert told["`--dry-run` of the others"] == list(client.describe_create("owner/name", {}))
    model = catalog.find(SCHNELL)
    assert model
    shown = model.as_json()
    inside = [*shown, *shown["inputs"]["prompt"]]
    assert [word for word in told["`models`"] if word not in ("one", "list")] == inside
    assert told["`doctor`"] == ["schema_version", "ok", "checks", *Check("", "", "").as_json()]
    assert told["`config show`"] == [*_facts(config.Setting("", "", config.DEFAULT), None), "error"]
    assert set(_facts(config.Setting("", "", config.DEFAULT), "wrong")) == set(told["`config show`"])
    sidecar = json.loads(write_sidecar(SUCCESS, [SAVED.at(str(tmp_path / "a"))], overwrites=False).read_bytes())
    left_out = set(SUCCESS.as_json()) - set(sidecar["prediction"]) - {"schema_version"}
    assert set(told["ID.cometrep.json, a sidecar"]) == {*sidecar, *left_out, "path"}


def test_the_object_of_an_error_is_shown() -> None:
    """The example in cometrep-exit-codes(7) has the keys of an error with `--json`."""
    stderr = io.TextIOWrapper(io.BytesIO(), "utf-8")
    console = Console(None, None, stderr, lambda name: "")
    console.configure(Choices(is_json=True))
    console.report(errors.Temporary("told"))
    [example] = re.findall(r'(?m)^    (\{"error": .+(?:\n     .+)*)', prose("exit-codes"))
    shown = json.loads(stderr.buffer.getvalue())
    assert list(json.loads(example)["error"]) == list(shown["error"])


def test_every_event_of_a_batch_is_told_with_what_it_holds(sandboxed: Cli) -> None:
    """The page of batch has each event of its `--progress json`, and each name that one holds."""
    section = prose("batch").partition("## OUTPUT")[2].partition("## ")[0]
    told = dict(re.findall(r"(?m)^`(\w+)`\n    (.+)$", section))
    assert set(told) == {"created", "saved", "item", "retry", "note", "tally"}
    (sandboxed.folder / "b").mkdir()
    (sandboxed.folder / "b" / "cat.webp").write_text("mine")
    (sandboxed.folder / "a.jsonl").write_text(
        '{"prompt": "sandbox:fail"}\n{"key": "cat", "input": {"prompt": "x"}}\n'
    )
    command = ("batch", "a.jsonl", "-m", SCHNELL, "-o", "{key}.webp", "--progress", "json")
    lines = sandboxed(*command).stderr.splitlines()
    (sandboxed.folder / "a" / "cat.webp").unlink()  # a note tells of it
    lines += sandboxed(*command).stderr.splitlines()
    lines += sandboxed(*command, "-d", "b", "--skip-existing").stderr.splitlines()
    events = [json.loads(line) for line in lines if line.startswith("{")]
    assert set(told) - {event["event"] for event in events} <= {"retry"}
    for event in events:
        names = set(event) - {"event", "time", "id"}
        assert names <= set(re.findall(r"`(\w+)`", told[event["event"]])), event


def test_the_plain_lines_of_a_batch_are_told() -> None:
    """A batch has no line a change in logs, and its page says which it has."""
    assert f"one every {board.LINE_SECONDS:.0f} seconds, the first {board.FAILURES_SHOWN} failures" in prose(
        "batch"
    )


def test_all_that_a_dry_run_counts_is_told(sandboxed: Cli) -> None:
    """The page of batch has each key of the object that `--dry-run --json` prints, and of those inside."""
    (sandboxed.folder / "a.jsonl").write_text('{"prompt": "cat"}\n')
    command = ("batch", "a.jsonl", "-m", SCHNELL, "--dry-run", "--json")
    shown = json.loads(sandboxed(*command).stdout)
    told = re.findall(r"`(\w+)`", prose("batch").partition("it is one object: ")[2].partition("\n")[0])
    assert told == ["schema_version", "items", "gone", "folder", "first", *shown["first"][0], *fate.Fate]
    assert {*shown} | {*shown["first"][0]} == {*told}


def test_the_page_tells_how_often_it_looks() -> None:
    """The pauses between looks are those that WAITING names, and follow three runs or more that were alike."""
    text = prose("looks")
    pauses = ("0.2 to 0.3 seconds", "half second after 2.3 seconds", "after 75 seconds", "10 seconds")
    for told in (*pauses, "three finished", "a second and a half"):
        assert told in text
    for runs in ([], [60.0, 60.0], [0.5, 0.5, 0.5], [2.0, 15.0, 60.0]):
        schedule = schedule_for(runs)
        assert [schedule.pause(at).seconds for at in (0.0, 2.3, 75.0)] == [0.2, 0.5, 0.5]
        assert 0.2 < schedule.pause(2.2).seconds < 0.3
        assert 0.5 < schedule.pause(76.0).seconds < schedule.pause(600.0).seconds < schedule.pause(7200.0).seconds
        assert schedule.pause(7200.0).seconds == 10
    assert schedule_for([1.6, 1.6, 1.6]) != schedule_for([1.5, 1.5, 1.5]) == schedule_for([])
    early, around, late = (schedule_for([60.0, 60.0, 60.0]).pause(at).seconds for at in (10.0, 60.0, 200.0))
    assert 0.2 <= around < 0.5 < late < early <= 10


@pytest.mark.parametrize("command", ["status", "download", "create", "run", "config", "environment"])
def test_the_page_tells_how_long_one_look_is_repeated(command: str) -> None:
    """A command that looks once gives up sooner than one that waits, as does one that cannot create."""
    assert f" {config.PROMPT_BUDGET_SECONDS:.0f} seconds" in prose(command)


def test_a_deadline_in_a_batch_is_each_predictions() -> None:
    """The option's help and the setting say so, as the page of batch does."""
    [batch] = [page for page in ROOT.parts if page.words[-1] == "batch"]
    [about] = [option.about for option in batch.options if "--timeout" in option.names]
    assert "each prediction's" in about
    assert "each prediction's in a batch" in config.SETTINGS["timeout"].about


def test_the_page_tells_how_long_a_create_may_take() -> None:
    """A deadline cuts off no create that is under way, and the page says for how long that may be."""
    assert f"its answer may take {api.READ_TIMEOUT_SECONDS:.0f} seconds" in prose("run")


@pytest.mark.parametrize(
    "topic",
    ["run", "cometrep run", "cometrep-run", "cometrep-run(1)", "config set", "cometrep config", "exit-codes"],
)
def test_a_topic_may_be_named_as_it_is_seen(topic: str) -> None:
    """A command line, a page's name and a topic of the list all find their text."""
    name = topic.removesuffix("(1)").replace("cometrep-", "").replace("cometrep ", "").replace(" ", "[- ]")
    assert re.match(rf"NAME\n    cometrep[- ]{name} - ", manual.show(ROOT, topic))


@pytest.mark.parametrize(
    ("topic", "near"),
    [("rnu", "run"), ("exitcodes", "exit-codes"), ("config sett", "config set"), ("template", "templates")],
)
def test_a_wrong_topic_names_the_nearest(topic: str, near: str) -> None:
    """A topic that is not there is a usage error with the nearest one to type."""
    with pytest.raises(errors.UsageError) as caught:
        manual.show(ROOT, topic)
    assert caught.value.hint == f"cometrep help {near}"
    assert f"did you mean {near}?" in caught.value.message


def test_a_topic_like_no_other_gets_the_list() -> None:
    """Where nothing is near, the hint is the list of topics."""
    with pytest.raises(errors.UsageError) as caught:
        manual.show(ROOT, "zzzz")
    assert caught.value.hint == "cometrep help"
