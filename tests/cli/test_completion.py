"""A press of TAB in the three real shells, each on a terminal of its own, and the command that prints scripts."""

import contextlib
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from cometrep.ledger import Ledger
from cometrep.prediction import Prediction
from tests.cli.test_terminal import Plain, Terminal
from tests.conftest import TIMEOUT_SECONDS, Cli, clean_environment
from tests.servers import SCHNELL

ROOT = Path(__file__).parents[2]
BASH_COMPLETION = Path("/usr/share/bash-completion/bash_completion")
DEV = "black-forest-labs/flux-dev"
FLUX_2 = "black-forest-labs/flux-2-pro"
FILES = (
    *("My fox.png", "fox.png", "$(touch owned).png", "`touch owned`'.png", "it's.txt", "hey!.txt"),
    *("zoo/cat.png", "My pictures/", "Bob's pictures/a boat.png"),
)

# Each reads the script as it is installed: bash as one line of ~/.bashrc does, the others from where they look.
BASHRC = "PS1='$ '; bind 'set show-all-if-ambiguous on'; bind 'set page-completions off'\n"
STARTS = {
    "bash": (  # as careful as some make it
        "bash --noprofile --rcfile {home}/.bashrc -i",
        f"{BASHRC}source {{share}}/bash-completion/completions/cometrep\nset -u\n",
    ),
    "bash with bash-completion": (
        "bash --noprofile --rcfile {home}/.bashrc -i",
        f"{BASHRC}source {BASH_COMPLETION}\n",
    ),
    # As npm's completion leaves it.
    "bash without word breaks": (
        "bash --noprofile --rcfile {home}/.bashrc -i",
        f"{BASHRC}source {{share}}/bash-completion/completions/cometrep\n"
        "COMP_WORDBREAKS=${{COMP_WORDBREAKS//[@=:]/}}\n",
    ),
    "zsh": (
        "zsh -d -i",
        "PS1='$ '; fpath=({share}/zsh/site-functions $fpath); autoload -Uz compinit; compinit -u -D\n",
    ),
    "fish": (
        "fish -i",
        "function fish_prompt; printf '$ '; end; function fish_right_prompt; end; function fish_title; end\n"
        "set fish_greeting; set fish_autosuggestion_enabled 0\n",
    ),
}
RC = {"bash": ".bashrc", "zsh": ".zshrc", "fish": ".config/fish/config.fish"}
SHELLS = ("bash", "zsh", "fish")
MARK = "QQ"


class Shell:
    """A shell that a person types into, at its prompt; `terminal` is what they see."""

    def __init__(self, terminal: Terminal) -> None:
        self.terminal = terminal

    @property
    def line(self) -> str:
        """What stands at the prompt."""
        return next((one[2:] for one in reversed(self.terminal.lines) if one.startswith("$ ")), "")

    def press_tab(self, line: str) -> str:
        """Type a line and TAB, and give what the line became: `QQ`, typed after it, ends it."""
        with self._typed(line, MARK):
            self.terminal.until(lambda: self.line.endswith(MARK))
            return self.line.removesuffix(MARK)

    def list_for(self, line: str, *wanted: str) -> str:
        """Type a line and TAB, wait until all of these are shown, and give all that is."""
        with self._typed(line, ""):
            self.terminal.until(*wanted)
            return self.terminal.text

    def run(self, line: str, wanted: str) -> None:
        """Type a line, TAB and Return, and wait for what that prints."""
        self.terminal.type(f"{line}\t".encode() + b"\r")
        self.terminal.until(wanted)
        self._clear()

    @contextlib.contextmanager
    def _typed(self, line: str, after: str) -> Iterator[None]:
        self.terminal.type(f"{line}\t{after}".encode())
        try:
            yield
        finally:
            self._clear()

    def _clear(self) -> None:
        # Not Ctrl-C: with a key right behind it, bash 5.2 keeps the line, and the terminal as it should not be.
        self.terminal.type(b"\x05\x15\x0c")  # to the end, all before it away, the screen drawn anew
        self.terminal.until(lambda: self.terminal.lines == ["$"])


class World(NamedTuple):
    """A home with a ledger, a folder with files, and the scripts where an installation puts them."""

    home: Path
    folder: Path
    environment: dict[str, str]

    def start(self, name: str) -> Terminal:
        """Start a shell on a terminal."""
        command, rc = STARTS[name]
        fields = {"home": self.home, "share": self.home / "share"}
        file = self.home / RC[name.split()[0]]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(rc.format(**fields))
        terminal = Terminal(
            Plain(self.home, self.folder, self.environment),
            *command.format(**fields).split(),
            columns=120,
            lines=60,
        )
        terminal.until(lambda: terminal.lines == ["$"])
        return terminal


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A machine on which cometrep is installed and has been used."""
    home, folder = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("work")
    for source, target in (
        ("cometrep", "bash-completion/completions/cometrep"),
        ("_cometrep", "zsh/site-functions/_cometrep"),
        ("cometrep.fish", "fish/vendor_completions.d/cometrep.fish"),
    ):
        (home / "share" / target).parent.mkdir(parents=True)
        shutil.copy(ROOT / "completions" / source, home / "share" / target)
    program = home / "bin" / "cometrep"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m cometrep "$@"\n')
    program.chmod(0o755)
    for name in FILES:
        path = folder / name
        (path if name.endswith("/") else path.parent).mkdir(exist_ok=True)
        if not name.endswith("/"):
            path.touch()
    environment = clean_environment(home)
    environment |= {
        "PATH": f"{program.parent}:{environment['PATH']}",
        "XDG_DATA_DIRS": f"{home / 'share'}:/usr/local/share:/usr/share",
        "ZDOTDIR": str(home),
        "SHELL": "/bin/sh",
        "fish_features": "no-query-term",  # from version 4 on it would ask this terminal what it is, and wait
    }
    _fill(Path(environment["COMETREP_HOME"]) / "ledger.sqlite3")
    return World(home, folder, environment)


def _fill(path: Path) -> None:
    hostile = "own/\x1b[31m$(touch owned)`touch owned`'\"; touch owned\n\t%F{red}%d"
    # Hours, as a slow machine may come minutes later to the test that looks.
    entries = [
        (False, DEV, "oldest1", "succeeded", 90_000 * 3),
        (False, SCHNELL, "older22", "failed", 18_100),
        (False, hostile, "hostile3", "succeeded\x1b]0;owned\x07", 14_500),
        (False, DEV, "$(touch owned)", "succeeded", 10_900),
        (False, DEV, "newest4", "processing", 7300),
        (True, SCHNELL, "played5", "succeeded", 7300),
    ]
    for is_sandbox, model, id, status, age in entries:
        ledger = Ledger(
            path,
            base_url="https://api.cometapi.com",
            is_sandbox=is_sandbox,
            clock=lambda age=age: time.time() - age,  # type: ignore[misc]
        )
        ledger.accept(ledger.begin(model, {"prompt": "x"}), Prediction(id=id, status=status))
        ledger.close()


@pytest.fixture(scope="module")
def shells(world: World) -> Iterator[Callable[[str], Shell]]:
    """Start each shell once, at its first use."""
    started: dict[str, Shell] = {}
    with contextlib.ExitStack() as stack:

        def get(name: str) -> Shell:
            if not shutil.which(name.split()[0]):
                pytest.skip(f"{name} is not installed")
            if name == "bash with bash-completion" and not BASH_COMPLETION.exists():
                pytest.skip("bash-completion is not installed")
            if name not in started:
                started[name] = Shell(stack.enter_context(world.start(name)))
            return started[name]

        yield get


# What one press of TAB makes of a line; a blank at its end is one that the shell has typed.
COMPLETED = {
    "command": ("cometrep logi", "cometrep login "),
    "part": ("cometrep config un", "cometrep config unset "),
    "long option": ("cometrep run --over", "cometrep run --overwrite "),
    "option of a part": ("cometrep config show --j", "cometrep config show --json "),
    "option not given twice": (f"cometrep run {DEV} --json --js", f"cometrep run {DEV} --json --js"),
    "nor by its other name": ("cometrep wait -q x --qui", "cometrep wait -q x --qui"),
    "repeatable option again": ("cometrep sandbox --fault 429 --faul", "cometrep sandbox --fault 429 --fault"),
    "model": (f"cometrep run {SCHNELL[:-2]}", f"cometrep run {SCHNELL} "),
    "model by its last part": ("cometrep create flux-schn", f"cometrep create {SCHNELL} "),
    "model to show": ("cometrep models recr", "cometrep models recraft-ai/recraft-v3 "),
    "model to list": ("cometrep list --model recr", "cometrep list --model recraft-ai/recraft-v3 "),
    "input": (f"cometrep run {DEV} asp", f"cometrep run {DEV} aspect_ratio="),
    "input after options": (
        f"cometrep run -qd zoo --timeout 5m {DEV} asp",
        f"cometrep run -qd zoo --timeout 5m {DEV} aspect_ratio=",
    ),
    "input after a long text": (
        f"cometrep run {DEV} prompt='It is \"so\" $HOME' asp",
        f"cometrep run {DEV} prompt='It is \"so\" $HOME' aspect_ratio=",
    ),
    "picture input": (f"cometrep run {DEV} im", f"cometrep run {DEV} image@"),
    "picture input in a list again": (
        f"cometrep run {FLUX_2} input_images@fox.png input_i",
        f"cometrep run {FLUX_2} input_images@fox.png input_images@",
    ),
    "input not given twice": (f"cometrep run {DEV} seed=1 see", f"cometrep run {DEV} seed=1 see"),
    "no input of an unknown model": ("cometrep run some/one asp", "cometrep run some/one asp"),
    "choice": (f"cometrep run {DEV} aspect_ratio=16", f"cometrep run {DEV} aspect_ratio=16:9 "),
    "choice behind its colon": (f"cometrep run {DEV} aspect_ratio=16:", f"cometrep run {DEV} aspect_ratio=16:9 "),
    "choice with a blank": (f"cometrep run {FLUX_2} resolution=0", f"cometrep run {FLUX_2} resolution=0.5\\ MP "),
    "switch": (f"cometrep run {DEV} go_fast=t", f"cometrep run {DEV} go_fast=true "),
    "switch as JSON": (f"cometrep run {DEV} go_fast:=f", f"cometrep run {DEV} go_fast:=false "),
    "no command behind an option": ("cometrep --sandbox ru", "cometrep --sandbox ru"),
    "input of an entry": ("cometrep rerun newest4 gui", "cometrep rerun newest4 guidance="),
    "picture": (f"cometrep run {DEV} image@f", f"cometrep run {DEV} image@fox.png "),
    "picture with a blank": (f"cometrep run {DEV} image@My\\ f", f"cometrep run {DEV} image@My\\ fox.png "),
    "picture in a folder": (f"cometrep run {DEV} image@zoo/c", f"cometrep run {DEV} image@zoo/cat.png "),
    "folder of a picture": (f"cometrep run {DEV} image@zo", f"cometrep run {DEV} image@zoo/"),
    "text from a file": ("cometrep run some/one prompt=@f", "cometrep run some/one prompt=@fox.png "),
    "JSON from a file": ("cometrep run some/one extra:=@f", "cometrep run some/one extra:=@fox.png "),
    "file of inputs": ("cometrep run -i f", "cometrep run -i fox.png "),
    "file behind its option": ("cometrep run --input=f", "cometrep run --input=fox.png "),
    "folder to save in": ("cometrep run -d z", "cometrep run -d zoo/"),
    "folder, and no file": ("cometrep run --dir f", "cometrep run --dir f"),
    "folder behind its letters": ("cometrep run -qdz", "cometrep run -qdzoo/"),
    "word behind its letter": (f"cometrep batch -m{SCHNELL[:-2]}", f"cometrep batch -m{SCHNELL} "),
    "name to save as": ("cometrep run -o z", "cometrep run -o zoo/"),
    "name to save as in a sweep": ("cometrep batch --sweep --output=f", "cometrep batch --sweep --output=fox.png "),
    "file to write to": ("cometrep list > f", "cometrep list > fox.png "),
    "id": ("cometrep status old", "cometrep status old"),
    "one id": ("cometrep wait olde", "cometrep wait olde"),
    "last": ("cometrep download @", "cometrep download @last "),
    "sandbox's id": ("cometrep status --sandbox p", "cometrep status --sandbox played5 "),
    "id not given twice": ("cometrep status newest4 ne", "cometrep status newest4 ne"),
    "word of an option": ("cometrep run --print st", "cometrep run --print status "),
    "word behind its option": ("cometrep run --progress=li", "cometrep run --progress=lines "),
    "status": ("cometrep list --status suc", "cometrep list --status succeeded "),
    "fault of looks": ("cometrep sandbox --fault get:5", "cometrep sandbox --fault get:5"),
    "fault of files": ("cometrep sandbox --fault file:tr", "cometrep sandbox --fault file:truncate "),
    "fault behind its option": ("cometrep sandbox --fault=create:ht", "cometrep sandbox --fault=create:html "),
    "input of a batch": (
        f"cometrep batch fox.png -m {SCHNELL} asp",
        f"cometrep batch fox.png -m {SCHNELL} aspect_ratio=",
    ),
    "input of a batch behind its options": (
        f"cometrep batch --model={SCHNELL} -j 3 ids.txt asp",
        f"cometrep batch --model={SCHNELL} -j 3 ids.txt aspect_ratio=",
    ),
    "input of a batch, letters in one word": (
        f"cometrep batch -qm {SCHNELL} ids.txt asp",
        f"cometrep batch -qm {SCHNELL} ids.txt aspect_ratio=",
    ),
    "input of a batch, model in the letter's word": (
        f"cometrep batch -m{SCHNELL} ids.txt asp",
        f"cometrep batch -m{SCHNELL} ids.txt aspect_ratio=",
    ),
    "input of a sweep": (
        f"cometrep batch --sweep -m {SCHNELL} asp",
        f"cometrep batch --sweep -m {SCHNELL} aspect_ratio=",
    ),
    "second input of a sweep": (
        f"cometrep batch --sweep -m {SCHNELL} seed:=1..3 aspect_ratio=16",
        f"cometrep batch --sweep -m {SCHNELL} seed:=1..3 aspect_ratio=16:9 ",
    ),
    "second value of a sweep": (
        f"cometrep batch --sweep -m {SCHNELL} aspect_ratio=1:1,16",
        f"cometrep batch --sweep -m {SCHNELL} aspect_ratio=1:1,16:9 ",
    ),
    "file of a batch": (f"cometrep batch -m {SCHNELL} f", f"cometrep batch -m {SCHNELL} fox.png "),
    "fault": ("cometrep sandbox --fault tr", "cometrep sandbox --fault truncate "),
    "setting": ("cometrep config get time", "cometrep config get timeout "),
    "key is not set": ("cometrep config set api", "cometrep config set api"),
    "value of a setting": ("cometrep config set progress li", "cometrep config set progress lines "),
    "folder of a setting": ("cometrep config set dir z", "cometrep config set dir zoo/"),
    "shell": ("cometrep completion zs", "cometrep completion zsh "),
    "topic with topics below it": ("cometrep help conf", "cometrep help config "),
    "topic below a topic": ("cometrep help config un", "cometrep help config unset "),
    "nothing below a topic": ("cometrep help run ", "cometrep help run "),
    "topic": ("cometrep help exit", "cometrep help exit-codes "),
    "nothing after a duration": ("cometrep run --timeout ", "cometrep run --timeout "),
}
del COMPLETED["id"], COMPLETED["one id"]

# What one press of TAB lists below a line, each with its description, and what it does not.
LISTED: dict[str, tuple[str, tuple[tuple[str, str], ...], tuple[str, ...]]] = {
    "commands": (
        "cometrep ",
        (("run", "Create a prediction"), ("config", "Show and change"), ("completion", "Print the completion")),
        ("--version", "fox.png"),
    ),
    "options": (
        f"cometrep run {DEV} --json -",
        (("-o", "Saved name"), ("--output", "Saved name"), ("--strict", "Refuse inputs")),
        ("--json ", "--fault"),
    ),
    "models": (
        "cometrep run black-forest-labs/flux-",
        ((SCHNELL, "Fast text to picture"), (DEV, "Text or picture")),
        ("recraft",),
    ),
    "inputs": (
        f"cometrep run {DEV} prompt=x ",
        (("image@", "Picture to start"), ("guidance=", "0..10, default 3"), ("go_fast=", "default true")),
        ("prompt= ", "--json"),
    ),
    "numbers": (f"cometrep run {DEV} num_outputs=", (("1", "the default"), ("4", "the most")), ("5",)),
    "ids": (
        "cometrep wait ",
        (
            ("@last", "flux-dev, processing, 2 h ago"),
            ("hostile3", "succeeded\\x1b]0;owned"),
            ("older22", "flux-schnell, failed, 5 h ago"),
            ("oldest1", "flux-dev, succeeded, 3 d ago"),
        ),
        ("played5",),
    ),
    "ids of the sandbox": (
        "cometrep wait --sandbox ",
        (("@last", "flux-schnell, succeeded"), ("played5", "flux-schnell, succeeded, 2 h ago")),
        ("newest4",),
    ),
    "settings": ("cometrep config set ", (("timeout", "deadline"), ("dir", "folder to save in")), ("api_key",)),
    "topics": (
        "cometrep help ",
        (("run", "Create a prediction"), ("exit-codes", "what to do for each"), ("inputs", "How INPUT")),
        ("--help", "fox.png"),
    ),
    "topics below a topic": (
        "cometrep help config ",
        (
            ("show", "Show every"),
            ("get", "Print one"),
            ("set", "Set one"),
            ("unset", "Remove"),
            ("path", "Print where"),
        ),
        ("--help", "exit-codes"),
    ),
    "options where nothing else can stand": (
        "cometrep logout -",
        (("--help", "Show this"), ("-h", "Show this")),
        (),
    ),
}


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(("line", "completed"), COMPLETED.values(), ids=COMPLETED)
def test_tab_completes(line: str, completed: str, shell: str, shells: Callable[[str], Shell], world: World) -> None:
    """One press of TAB types what there is one way to go on with, and a blank where the word is finished."""
    became = shells(shell).press_tab(line)
    if shell == "zsh" and completed.endswith("--fault"):
        completed += "="  # where a value may follow at once
    assert became.rstrip() == completed.rstrip()
    if completed.endswith(("=", "@", "/")):
        assert became == completed
    assert not (world.folder / "owned").exists()


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(("line", "listed", "absent"), LISTED.values(), ids=LISTED)
def test_tab_lists(
    line: str,
    listed: tuple[tuple[str, str], ...],
    absent: tuple[str, ...],
    shell: str,
    shells: Callable[[str], Shell],
    world: World,
) -> None:
    """Where there are several ways to go on they are listed, each with its description, in their order."""
    # fish writes … for what all begin with
    wanted = [(value.rpartition("/")[2], about) for value, about in listed]
    text = shells(shell).list_for(line, *(word for pair in wanted for word in pair))
    below = "\n".join(one for one in text.split("\n") if not one.startswith("$ "))
    for shown, about in wanted:
        assert any(shown in one and about in one for one in below.split("\n")), below
    for one in absent:
        assert one not in below
    assert not (world.folder / "owned").exists()


@pytest.mark.parametrize("shell", SHELLS)
def test_ids_are_listed_newest_first(shell: str, shells: Callable[[str], Shell]) -> None:
    """No shell puts ids, or the required input, into the order of the alphabet."""
    text = shells(shell).list_for("cometrep wait ", "oldest1", "@last")
    places = [text.index(one) for one in ("@last", "newest4", "hostile3", "older22", "oldest1")]
    assert places == sorted(places)
    assert "touch owned)  " not in text
    text = shells(shell).list_for(f"cometrep run {DEV} ", "prompt=", "megapixels=")
    assert text.index("prompt=") < text.index("aspect_ratio=") < text.index("megapixels=")


REGISTERED = {
    "bash": "show() { printf '<%s>' \"$@\"; }; complete -F _cometrep show",
    "zsh": "show() { printf '<%s>' \"$@\" }; compdef _cometrep show",
    "fish": "function show; printf '<%s>' $argv; end; complete -c show -w cometrep",
}


@pytest.mark.parametrize("shell", SHELLS)
def test_a_file_name_is_quoted(shell: str, world: World) -> None:
    """A name of a file that the shell would execute is an argument like any other when the line is run."""
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    with world.start(shell) as terminal:
        typed = Shell(terminal)
        # A function that shows its arguments has cometrep's completion.
        typed.press_tab("cometrep logi")  # loads it
        terminal.type(REGISTERED[shell].encode() + b"\r")
        typed._clear()
        typed.run("show run some/one image@\\$", "<run><some/one><image@$(touch owned).png>")
        typed.run("show run some/one prompt=@\\`", "<prompt=@`touch owned`'.png>")
        typed.run("show run -i \\$", "<run><-i><$(touch owned).png>")
    assert not (world.folder / "owned").exists()


# Typed with a quote that the completion closes, and what the program is given; and what goes further in bash alone.
IN_QUOTES = {
    "'image@My f": "image@My fox.png",
    '"image@My f': "image@My fox.png",
    "'image@zoo/": "image@zoo/cat.png",
    "'image@$(": "image@$(touch owned).png",
    '"image@\\$(': "image@$(touch owned).png",
}
IN_QUOTES_OF_BASH = {
    "'prompt=@it": "prompt=@it's.txt",
    '"prompt=@it': "prompt=@it's.txt",
    "\"image@Bob's pictures/a": "image@Bob's pictures/a boat.png",
    "image@Bob\\'s\\ pictures/a": "image@Bob's pictures/a boat.png",
    '"prompt=@\\`': "prompt=@`touch owned`'.png",
    '"prompt=@he': "prompt=@hey!.txt",
    "'prompt=@he": "prompt=@hey!.txt",
}


@pytest.mark.parametrize("shell", SHELLS)
def test_a_file_name_in_quotes_is_that_of_the_file(shell: str, world: World) -> None:
    """Behind `key@` in a quote that is still open TAB writes what the program then reads as the file's name."""
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    lines = IN_QUOTES | IN_QUOTES_OF_BASH if shell == "bash" else IN_QUOTES
    with world.start(shell) as terminal:
        typed = Shell(terminal)
        typed.press_tab("cometrep logi")  # loads it
        terminal.type(REGISTERED[shell].encode() + b"\r")
        typed._clear()
        for line, given in lines.items():
            typed.run(f"show run some/one {line}", f"<run><some/one><{given}>")
    assert not (world.folder / "owned").exists()


def test_bash_completes_what_stands_behind_a_closed_quote(shells: Callable[[str], Shell]) -> None:
    """A folder ends with the quote closed behind it; the next TAB goes on from there."""
    bash = shells("bash")
    assert bash.press_tab("cometrep run some/one 'image@Bob") == "cometrep run some/one 'image@Bob'\\''s pictures/'"
    line = "cometrep run some/one 'image@Bob'\\''s pictures/'"
    assert bash.press_tab(f"{line}a") == f"{line}a\\ boat.png "


def test_bash_finds_files_in_letters_of_the_other_case(world: World) -> None:
    """Where readline is told to take letters of either case, it does so behind `key@` too."""
    with world.start("bash") as terminal:
        shell = Shell(terminal)
        assert shell.press_tab("cometrep run some/one image@FO") == "cometrep run some/one image@FO"
        terminal.type(b"bind 'set completion-ignore-case on'\r\x0c")
        shell._clear()
        assert shell.press_tab("cometrep run some/one image@FO") == "cometrep run some/one image@fox.png "
        assert shell.press_tab("cometrep run some/one 'image@MY F") == "cometrep run some/one 'image@My fox.png' "


def test_bash_keeps_a_variable_and_the_tilde(shells: Callable[[str], Shell], world: World) -> None:
    """What stands for a folder stays as it was typed, and a folder found there gets its slash."""
    (world.home / "album").mkdir(exist_ok=True)
    (world.home / "album" / "a boat.png").touch()
    for typed, became in (
        ("image@$HOME/alb", "image@$HOME/album/"),
        ("image@$HOME/album/", "image@$HOME/album/a\\ boat.png "),
        ("image@${HOME}/album/a", "image@${HOME}/album/a\\ boat.png "),
        ('"image@$HOME/album/a', '"image@$HOME/album/a boat.png" '),
        ("image@~/alb", "image@~/album/"),
        ("image@~/album/a", "image@~/album/a\\ boat.png "),
        ("'image@$HOME/alb", "'image@$HOME/alb"),
        ("image@\\$HOME/alb", "image@\\$HOME/alb"),
        ("image@$HOM", "image@$HOM"),
    ):
        assert shells("bash").press_tab(f"cometrep run some/one {typed}") == f"cometrep run some/one {became}"


def test_fish_keeps_a_variable_and_the_tilde_and_finds_any_name(world: World) -> None:
    """Files behind `key@` are found as fish finds them elsewhere, one whose name begins with - too."""
    if not shutil.which("fish"):
        pytest.skip("fish is not installed")
    (world.home / "shelf").mkdir(exist_ok=True)
    (world.home / "shelf" / "-v.png").touch()
    (world.home / "shelf" / "a boat.png").touch()
    with world.start("fish") as terminal:
        fish = Shell(terminal)
        for typed, became in (
            ("image@~/shelf/a", "image@~/shelf/a\\ boat.png "),
            ("image@$HOME/shelf/a", "image@$HOME/shelf/a\\ boat.png "),
            ('image@"$HOME/shelf/a', 'image@"$HOME/shelf/a boat.png" '),
            ('"image@$HOME/shelf/a', '"image@$HOME/shelf/a boat.png" '),
            ("-d ~/she", "-d ~/shelf/"),
        ):
            assert fish.press_tab(f"cometrep run some/one {typed}") == f"cometrep run some/one {became}"
        terminal.type(b"cd ~/shelf\r\x0c")
        fish._clear()
        assert "ls:" not in fish.list_for("cometrep run some/one image@", "image@-v.png", "boat.png")


def test_bash_completes_nothing_that_would_be_run(shells: Callable[[str], Shell], world: World) -> None:
    """What the shell would take for a command is no beginning of a file's name."""
    for word in ('"image@$', '"image@$(touch owned', "image@`touch owned"):
        assert shells("bash").press_tab(f"cometrep run some/one {word}") == f"cometrep run some/one {word}"
    assert not (world.folder / "owned").exists()


OTHER_BASHES = ("bash with bash-completion", "bash without word breaks")


@pytest.mark.parametrize("shell", OTHER_BASHES)
@pytest.mark.parametrize(
    "name",
    [
        "command",
        "long option",
        "input",
        "choice",
        "choice behind its colon",
        "choice with a blank",
        "picture input",
        "picture",
        "picture with a blank",
        "folder of a picture",
        "text from a file",
        "file behind its option",
        "last",
        "word behind its option",
        "file to write to",
    ],
)
def test_tab_completes_in_other_bashes(name: str, shell: str, shells: Callable[[str], Shell]) -> None:
    """It is the same where bash-completion loads the script, and where `=`, `:` and `@` do not break words."""
    line, completed = COMPLETED[name]
    assert shells(shell).press_tab(line).rstrip() == completed.rstrip()


@pytest.mark.parametrize("word", ["aspect_ratio=", "go_fast:=", "image@"])
def test_bash_doubles_no_sign_behind_another_command(word: str, shells: Callable[[str], Shell]) -> None:
    """Behind `time` bash-completion gives the sign before the cursor for the word; it stands there already."""
    line = f"time cometrep run {DEV} {word}"
    assert shells("bash with bash-completion").press_tab(line) == line


def test_bash_lists_at_the_second_press(world: World) -> None:
    """As bash has it without settings of one's own: the first TAB types what is common, the second lists."""
    with world.start("bash") as terminal:
        terminal.type(b"bind 'set show-all-if-ambiguous off'\r\x0c")
        shell = Shell(terminal)
        assert shell.press_tab("cometrep run stability-ai/stab") == "cometrep run stability-ai/stable-diffusion-3"
        shell.list_for(
            "cometrep run stability-ai/stable-diffusion-3\t", "medium size", "\nstability-ai/stable-diffusion-3 "
        )


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("damaged", ["ledger.sqlite3", "config.toml"])
def test_what_is_damaged_completes_nothing_and_says_nothing(
    shell: str, damaged: str, world: World, tmp_path: Path
) -> None:
    """A ledger or config file out of order leaves the line as it is, and the prompt too."""
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    (tmp_path / damaged).write_text("nothing that can be read\n" * 100)
    own = World(world.home, world.folder, {**world.environment, "COMETREP_HOME": str(tmp_path)})
    with own.start(shell) as terminal:
        typed = Shell(terminal)
        assert typed.press_tab("cometrep status ") == "cometrep status "
        assert typed.press_tab(f"cometrep run {DEV} asp") == f"cometrep run {DEV} aspect_ratio="
        assert b"cannot" not in terminal.raw


@pytest.mark.parametrize("shell", SHELLS)
def test_an_old_id_is_found_by_its_first_letters(shell: str, world: World, tmp_path: Path) -> None:
    """An entry behind more than are listed is completed once it is begun."""
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    ledger = Ledger(tmp_path / "ledger.sqlite3", base_url="https://api.cometapi.com", is_sandbox=False)
    for id in ("wanted1", *(f"id{number}" for number in range(60))):
        ledger.accept(ledger.begin(DEV, {"prompt": "x"}), Prediction(id=id, status="succeeded"))
    ledger.close()
    own = World(world.home, world.folder, {**world.environment, "COMETREP_HOME": str(tmp_path)})
    with own.start(shell) as terminal:
        typed = Shell(terminal)
        assert typed.press_tab("cometrep status wan") == "cometrep status wanted1 "
        assert typed.press_tab("cometrep wait @") == "cometrep wait @last "
        assert typed.press_tab("cometrep rerun wanted1 gui") == "cometrep rerun wanted1 guidance="


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_can_be_sourced_as_it_is_printed(shell: str, world: World) -> None:
    """What `cometrep completion SHELL` prints is the installed script, and works in a session that has none."""
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    line = {
        "bash": "source <(cometrep completion bash); complete -p cometrep",
        "zsh": "source <(cometrep completion zsh); print -r -- ${_comps[cometrep]}",
        "fish": "cometrep completion fish | source; complete -C 'cometrep logi'",
    }[shell]
    environment = {**world.environment, "XDG_DATA_DIRS": "/usr/share", "ZDOTDIR": str(world.folder)}
    start = [shell, "-f"] if shell == "zsh" else [shell, "--no-config"] if shell == "fish" else [shell, "--norc"]
    done = subprocess.run(
        [*start, "-c", line],
        cwd=world.home,
        env=environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    assert done.stderr == ""
    assert ("login" if shell == "fish" else "_cometrep") in done.stdout


@pytest.mark.parametrize("shell", SHELLS)
def test_the_command_prints_the_committed_script(shell: str, cli: Cli) -> None:
    """`completion SHELL` prints, byte for byte, what is installed."""
    done = cli("completion", shell)
    name = {"bash": "cometrep", "zsh": "_cometrep", "fish": "cometrep.fish"}[shell]
    assert (done.code, done.stderr) == (0, "")
    assert done.stdout == (ROOT / "completions" / name).read_text("utf-8")


@pytest.mark.parametrize("arguments", [("completion",), ("completion", "tcsh"), ("completion", "bash", "zsh")])
def test_another_shell_is_a_usage_error(arguments: tuple[str, ...], cli: Cli) -> None:
    """No shell, an unknown one and two of them are exit 2, with the form on stderr."""
    done = cli(*arguments)
    assert (done.code, done.stdout) == (2, "")
    assert "\nhint: " in done.stderr
