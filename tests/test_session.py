"""What a command is opened with: inputs on stdin, and the hint of what varies."""

import contextlib
import io
from pathlib import Path

import pytest

from cometrep import config, errors
from cometrep.ledger import Ledger
from cometrep.options import Options
from cometrep.prediction import Prediction
from cometrep.session import Opened
from tests.servers import SCHNELL
from tests.test_typed_ids import Endless, console_of


@pytest.mark.parametrize(
    ("items", "input_file", "hint"),
    [
        (
            ["prompt=a fox", "seed:=1..3"],
            None,
            "to vary it: cometrep batch --sweep 'prompt=a fox' seed:=1..3 -m {} --strict -d new --dry-run",
        ),
        (["seed:=1..3"], "a.json", "cometrep help batch"),
    ],
)
def test_several_values_of_a_create_are_counted_by_the_hint(
    items: list[str], input_file: str | None, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a sweep with the options that it takes too: typed as it stands it pays for nothing."""
    monkeypatch.chdir(tmp_path)
    Path("a.json").write_text("{}")
    options = Options(input_file=input_file, strict=True, dir="new", sidecar=True)
    opened = Opened._make((console_of(io.BytesIO()), *[None] * 5, options, ""))
    with pytest.raises(errors.UsageError, match="not JSON") as raised:
        opened.request(SCHNELL, items)
    assert raised.value.hint == hint.format(SCHNELL)


@pytest.mark.parametrize(
    ("items", "input_file"),
    [(["prompt=@-"], None), (["prompt=x", "image@-"], None), (["prompt:=@-"], None), ([], "-")],
)
def test_inputs_on_stdin_are_as_large_as_files_may_be(items: list[str], input_file: str | None) -> None:
    """What has no end is too large, and not read until memory ends."""
    options = Options(input_file=input_file)
    opened = Opened._make((console_of(Endless(b"", b"\0")), *[None] * 5, options, ""))
    with pytest.raises(errors.UsageError, match="more than the 10 MB") as raised:
        opened.request(SCHNELL, items)
    assert raised.value.code == "input_too_large"


@pytest.mark.parametrize(
    ("typed", "ids", "stdin", "hint"),
    [
        ("status SB1 -v", ["SB1"], "", "status --sandbox -v SB1"),
        ("status API1 SB1 SB2", ["API1", "SB1", "SB2"], "", "status --sandbox SB1 SB2"),
        ("status SB1 -", ["SB1", "-"], "SB2\nAPI1\n", "status --sandbox SB1 SB2"),
        ("download --base-url https://x.test -qo - -", ["-"], "-SB1\n", "download --sandbox -qo - -- -SB1"),
    ],
    ids=["one", "beside one of the API", "typed and piped", "piped beside an option"],
)
def test_predictions_of_the_sandbox_are_asked_for_there(
    typed: str, ids: list[str], stdin: str, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hint names them all, and no other, as what came on stdin does not come again."""
    monkeypatch.setenv("COMETREP_HOME", str(tmp_path))
    monkeypatch.setenv("COMETAPI_KEY", "sk-of-the-api-itself")
    with contextlib.closing(Ledger(tmp_path / "l", base_url="http://127.0.0.1:1", is_sandbox=True)) as sandboxed:
        for id in ("SB1", "SB2", "-SB1"):
            sandboxed.accept(sandboxed.begin(SCHNELL, {}), Prediction(id, "starting"))
    console = console_of(io.BytesIO(stdin.encode()))
    console.command_line = f"cometrep {typed}"
    with contextlib.closing(Ledger(tmp_path / "l", base_url="https://x.test", is_sandbox=False)) as ledger:
        opened = Opened._make((console, config.load(), None, ledger, None, None, Options(), "https://x.test"))
        with pytest.raises(errors.UsageError, match="was made in the sandbox") as raised:
            opened.ids(ids)
    assert raised.value.hint == f"cometrep {hint}"
