"""Run one prediction with Replicate's package and save its file: replicate_run.py MODEL INPUT FILE."""

import json
import sys
from pathlib import Path

import replicate  # type: ignore[import-not-found]  # it is installed beside this script, not beside the tests
from replicate.helpers import FileOutput  # type: ignore[import-not-found]  # as the package makes of https URLs

model, input, target = sys.argv[1:]
(url,) = replicate.run(model, input=json.loads(input))
Path(target).write_bytes(FileOutput(url, replicate.default_client).read())
