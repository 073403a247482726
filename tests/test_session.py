"""What a command is opened with: inputs on stdin, and the hint of what varies."""

import io
from pathlib import Path

import pytest

from cometrep import errors
from cometrep.options import Options
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
