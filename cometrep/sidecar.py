"""The metadata file beside an output: what made it, and which files came of it."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cometrep import __version__, errors, hints
from cometrep.data_uris import shorten_data_uris
from cometrep.names import SIDECAR_SUFFIX, portable
from cometrep.prediction import Prediction, SavedFile
from cometrep.small_files import read_whole, write_whole


def sidecar_path(folder: Path, id: str) -> Path:
    """Give the path of a prediction's sidecar in the folder of its files."""
    return folder / f"{portable(id)}{SIDECAR_SUFFIX}"


def write_sidecar(prediction: Prediction, files: Sequence[SavedFile], *, overwrites: bool) -> Path:
    """Write a prediction's sidecar beside the first of its files, whole or not at all, and give its path.

    One that was written before the API forgot the prediction is kept: it knows more. Raises LocalFileError, without
    `overwrites` also where a file that is no sidecar of this prediction has the path.
    """
    folder = Path(files[0].path).parent
    path = sidecar_path(folder, prediction.id)
    if os.path.lexists(path):
        if os.path.isdir(path) and not path.is_symlink():
            raise errors.LocalFileError(
                f"{path} is a folder", remedy=hints.OTHER_FOLDER, code="file_exists", prediction_id=prediction.id
            )
        before = _read(path, prediction.id)
        if before is None and not overwrites:
            raise errors.LocalFileError(
                f"{path} exists and is no sidecar of {prediction.id}",
                remedy="--overwrite",
                code="file_exists",
                prediction_id=prediction.id,
            )
        if before and prediction.data_removed and not before.data_removed:
            return path
    shown: dict[str, Any] = prediction.as_json()
    for name in ("input", "output"):
        shown[name] = shorten_data_uris(shown[name])
    for name in ("logs", "progress", "schema_version"):
        del shown[name]
    content = {
        "schema_version": 1,
        "prediction": shown,
        "files": [file.seen_from(folder).as_json() for file in files],
        "cometrep_version": __version__,
    }
    write_whole(path, [json.dumps(content, indent=2).encode(), b"\n"])
    return path


def read_sidecar(id: str, files: Sequence[SavedFile]) -> Prediction | None:
    """Read the prediction from the sidecar beside its files; None where there is none that can be read."""
    return _read(sidecar_path(Path(files[0].path).parent, id), id) if files else None


def _read(path: Path, id: str) -> Prediction | None:
    try:
        content = json.loads(read_whole(path))
        if content["prediction"]["id"] != id or "cometrep_version" not in content:
            return None
        return Prediction.from_json(content["prediction"], id=id)
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None
