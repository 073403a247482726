"""Run many predictions with Replicate's package in threads: replicate_threads.py MODEL LINES FOLDER WORKERS."""

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import replicate  # type: ignore[import-not-found]  # it is installed beside this script, not beside the tests
from replicate.helpers import FileOutput  # type: ignore[import-not-found]  # as the package makes of https URLs

model, lines, folder, workers = sys.argv[1:]


def run(numbered: tuple[int, str]) -> None:
    """Run one line's input and save its file."""
    number, line = numbered
    (url,) = replicate.run(model, input=json.loads(line))
    Path(folder, f"{number}.webp").write_bytes(FileOutput(url, replicate.default_client).read())


with ThreadPoolExecutor(int(workers)) as pool, Path(lines).open() as file:
    for _ in pool.map(run, enumerate(file)):
        pass
