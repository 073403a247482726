"""The metadata file beside outputs: what it tells, what it keeps, and what it never replaces."""

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cometrep import __version__, errors
from cometrep.prediction import Prediction, SavedFile
from cometrep.sidecar import read_sidecar, sidecar_path, write_sidecar
from tests.servers import SCHNELL

PNG = "data:image/png;base64,iVBORw0KGgo="
SHORT = "data:image/png;sha256=4c4b6a3be1314ab86138bef4314dde022e600960d8689a2c8f8631802d20dab6;bytes=8"
MADE = Prediction(
    "p1",
    "succeeded",
    SCHNELL,
    input={"prompt": "cat", "image": PNG},
    output=["https://x.test/a.webp", PNG],
    logs="Using seed: 7\n",
    metrics={"predict_time": 1.5},
    created_at="2026-03-12T08:00:00Z",
)


def saved(folder: Path, *names: str) -> list[SavedFile]:
    """Make files as they were saved in a folder."""
    names = names or ("p1.webp",)
    return [
        SavedFile(str(folder / name), index, 3000, "0" * 64, "image/webp", f"https://x.test/{index}")
        for index, name in enumerate(names)
    ]


def test_a_sidecar_tells_what_was_made_and_which_files_came_of_it(tmp_path: Path) -> None:
    """Prediction, files as seen from its folder, and version; data URIs as their digests, without the logs."""
    files = saved(tmp_path, "p1-0.webp", "p1-1.webp")
    path = write_sidecar(MADE, files, overwrites=False)
    assert path == tmp_path / "p1.cometrep.json"
    told = json.loads(path.read_bytes())
    assert told == {
        "schema_version": 1,
        "prediction": {
            "id": "p1",
            "model": SCHNELL,
            "status": "succeeded",
            "input": {"prompt": "cat", "image": SHORT},
            "output": ["https://x.test/a.webp", SHORT],
            "error": None,
            "metrics": {"predict_time": 1.5},
            "created_at": "2026-03-12T08:00:00Z",
            "started_at": None,
            "completed_at": None,
            "data_removed": False,
        },
        "files": [
            {
                "path": f"p1-{index}.webp",
                "url": f"https://x.test/{index}",
                "bytes": 3000,
                "sha256": "0" * 64,
                "content_type": "image/webp",
                "index": index,
            }
            for index in range(2)
        ],
        "cometrep_version": __version__,
    }
    assert [one.name for one in tmp_path.iterdir()] == ["p1.cometrep.json"]


def test_a_sidecar_stands_beside_the_first_file(tmp_path: Path) -> None:
    """Every file has its way from there."""
    files = saved(tmp_path / "a", "0.webp", "b/1.webp", "../2.webp")
    files[2] = files[2].at(str(tmp_path / "2.webp"))
    path = write_sidecar(MADE, files, overwrites=False)
    assert path.parent == tmp_path / "a"
    paths = [file["path"] for file in json.loads(path.read_bytes())["files"]]
    assert paths == ["0.webp", "b/1.webp", "../2.webp"]


TEXTS = st.text(max_size=20)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(TEXTS, VALUES, max_size=3), VALUES, TEXTS)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_what_was_written_is_read(tmp_path: Path, values: dict[str, Any], output: Any, error: str) -> None:
    """Any input, output and error comes back from the sidecar as it was."""
    made = Prediction("p1", "succeeded", SCHNELL, input=values, output=output, error=error or None)
    files = saved(tmp_path)
    write_sidecar(made, files, overwrites=False)
    read = read_sidecar("p1", files)
    assert read is not None
    assert (read.input, read.output, read.error) == (made.input, made.output, made.error)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b"\xff",
        b"[" * 100_000,
        b'{"prediction": {"id": "p1", "status": "succeeded"}}',
        b'{"prediction": {"id": "other", "status": "succeeded"}, "cometrep_version": "1"}',
        b'{"prediction": ["p1"], "cometrep_version": "1"}',
        b'{"prediction": null, "cometrep_version": "1"}',
    ],
    ids=["empty", "torn", "list", "object", "no text", "deep", "no version", "another's", "odd", "null"],
)
@pytest.mark.parametrize("data_removed", [False, True])
def test_a_file_that_is_no_sidecar_of_the_prediction_stays(
    tmp_path: Path, content: bytes, data_removed: bool
) -> None:
    """It is not read as one, and not replaced unless that was asked for, whatever the API still knows."""
    made = MADE._replace(data_removed=data_removed)
    path, files = sidecar_path(tmp_path, "p1"), saved(tmp_path)
    path.write_bytes(content)
    assert read_sidecar("p1", files) is None
    with pytest.raises(errors.LocalFileError, match="is no sidecar of p1") as raised:
        write_sidecar(made, files, overwrites=False)
    assert (raised.value.code, raised.value.remedy) == ("file_exists", "--overwrite")
    assert path.read_bytes() == content
    write_sidecar(made, files, overwrites=True)
    assert read_sidecar("p1", files) is not None


def test_a_pipe_under_the_name_of_a_sidecar_is_not_waited_for(tmp_path: Path) -> None:
    """It is no sidecar, and to read it might never end."""
    os.mkfifo(sidecar_path(tmp_path, "p1"))
    assert read_sidecar("p1", saved(tmp_path)) is None


@pytest.mark.parametrize("overwrites", [False, True])
def test_a_folder_under_the_name_of_a_sidecar_stays(tmp_path: Path, overwrites: bool) -> None:
    """No option replaces it, so the hint is another place."""
    sidecar_path(tmp_path, "p1").mkdir()
    with pytest.raises(errors.LocalFileError, match=r"p1\.cometrep\.json is a folder") as raised:
        write_sidecar(MADE, saved(tmp_path), overwrites=overwrites)
    assert (raised.value.code, raised.value.remedy) == ("file_exists", "-d DIR")


def test_a_link_to_nowhere_is_no_free_name(tmp_path: Path) -> None:
    """It stays, and nothing is written where it leads; replaced it is by the sidecar itself."""
    path, files = sidecar_path(tmp_path, "p1"), saved(tmp_path)
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(errors.LocalFileError, match="is no sidecar"):
        write_sidecar(MADE, files, overwrites=False)
    assert path.is_symlink()
    write_sidecar(MADE, files, overwrites=True)
    assert not path.is_symlink()
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("overwrites", [False, True])
def test_a_sidecar_is_brought_up_to_date_but_forgets_nothing(tmp_path: Path, overwrites: bool) -> None:
    """One of the same prediction is written anew, but not by a reply from after its data was removed."""
    files = saved(tmp_path)
    write_sidecar(MADE._replace(metrics={}), files, overwrites=overwrites)
    path = write_sidecar(MADE, files, overwrites=overwrites)
    before = path.read_bytes()
    assert json.loads(before)["prediction"]["metrics"] == {"predict_time": 1.5}
    forgotten = Prediction("p1", "succeeded", SCHNELL, data_removed=True)
    assert write_sidecar(forgotten, files, overwrites=overwrites) == path
    assert path.read_bytes() == before


def test_what_the_api_had_forgotten_from_the_first_is_written_too(tmp_path: Path) -> None:
    """Where there is nothing better, and until there is."""
    files = saved(tmp_path)
    forgotten = Prediction("p1", "succeeded", SCHNELL, data_removed=True)
    for prediction in (forgotten, forgotten, MADE):
        path = write_sidecar(prediction, files, overwrites=False)
        assert json.loads(path.read_bytes())["prediction"]["data_removed"] is prediction.data_removed


@pytest.mark.parametrize("id", ["a/../b", "..", "con", "x" * 200, "a\nb"])
def test_no_id_leads_out_of_the_folder(tmp_path: Path, id: str) -> None:
    """The sidecar's name is portable, and ends as sidecars do."""
    path = sidecar_path(tmp_path, id)
    assert path.parent == tmp_path
    assert path.name.endswith(".cometrep.json")
    assert len(path.name.encode()) <= 255


def test_without_files_there_is_no_sidecar_to_read(tmp_path: Path) -> None:
    """Nor where none was written."""
    assert read_sidecar("p1", []) is None
    assert read_sidecar("p1", saved(tmp_path)) is None


def test_a_sidecar_that_cannot_be_looked_at_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a server that has forgotten the file: it stays, and the command ends in order."""
    files = saved(tmp_path)
    path = write_sidecar(MADE, files, overwrites=False)
    look = os.stat

    def stat(of: Any, **how: Any) -> os.stat_result:
        if of == path and how.get("follow_symlinks", True):
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return look(of, **how)

    monkeypatch.setattr(os, "stat", stat)
    with pytest.raises(errors.LocalFileError, match="exists and is no sidecar of p1"):
        write_sidecar(MADE, files, overwrites=False)
