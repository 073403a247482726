"""`models`: what is known of models and their inputs, without a server."""

import json

import pytest

from cometrep import catalog
from tests.conftest import Cli
from tests.servers import SCHNELL


def test_the_table_of_models(cli: Cli) -> None:
    """Every known model has a line: name, output, picture inputs and what it is."""
    done = cli("models")
    assert done.code == 0
    rows = [line.split("\t") for line in done.lines]
    assert [row[0] for row in rows] == list(catalog.names())
    assert rows[0][1:4] == ["up to 4 pictures", "-", "Fast text to picture; the one to begin with"]
    assert all(len(row) == 4 for row in rows)
    kontext = next(row for row in rows if row[0].endswith("kontext-pro"))
    assert kontext[2] == "input_image, input_image_2, input_image_3, input_image_4"


def test_one_models_inputs(cli: Cli) -> None:
    """One model's inputs come with type, default, range or choices, required ones first, and a line to run."""
    done = cli("models", SCHNELL)
    assert done.code == 0
    rows = {line.split("\t")[0]: line.split("\t")[1:] for line in done.lines}
    assert next(iter(rows)) == "prompt"
    assert rows["prompt"][:2] == ["string", "required"]
    assert rows["num_outputs"][:3] == ["integer", "1", "1..4"]
    assert rows["megapixels"][:3] == ["string", "1", "1, 0.25"]
    assert rows["go_fast"][:3] == ["boolean", "true", "true, false"]
    assert rows["aspect_ratio"][2].startswith("1:1, 16:9, 21:9")
    assert "Read in: replicate/comfyui-replicate" in done.stderr


@pytest.mark.parametrize("model", [SCHNELL, "black-forest-labs/flux-kontext-dev"])
def test_the_example_that_is_offered_works_as_it_stands(model: str, cli: Cli) -> None:
    """The hint beneath a model's inputs is a command that a shell runs, with a file where the model needs one."""
    (cli.folder / "photo.png").write_bytes(b"\x89PNG\r\n\x1a\n....")
    hint = cli("models", model).stderr.partition("hint: ")[2].splitlines()[0]
    assert hint.startswith(f"cometrep run {model} ")
    done = cli.shell_line(f"{hint} --dry-run --strict")
    assert (done.code, done.stderr) == (0, "")


def test_json_of_all_and_of_one(cli: Cli) -> None:
    """`--json` prints an object a model, with its inputs as they are typed."""
    everything = [json.loads(line) for line in cli("models", "--json").lines]
    assert [one["model"] for one in everything] == list(catalog.names())
    [one] = [json.loads(line) for line in cli("models", SCHNELL, "--json").lines]
    assert one == everything[0]
    assert one["schema_version"] == 1
    assert one["inputs"]["num_outputs"]["maximum"] == 4
    assert one["inputs"]["prompt"]["required"] is True
    assert one["image_inputs"] == []


@pytest.mark.parametrize(
    ("wrong", "near"),
    [
        ("black-forest-labs/flux-schnel", SCHNELL),
        ("flux-schnell", SCHNELL),
        ("stability/sdxl", "stability-ai/sdxl"),
        ("zzz/qqq", ""),
        ("", ""),
    ],
)
def test_a_wrong_name_gives_the_nearest_ones(wrong: str, near: str, cli: Cli) -> None:
    """A name that is not known is a usage error that names the nearest ones, or the table."""
    done = cli("models", wrong)
    assert (done.code, done.stdout) == (2, "")
    assert repr(wrong) in done.stderr
    hint = done.stderr.splitlines()[1]
    assert hint.startswith(f"hint: cometrep models {near}".rstrip())
