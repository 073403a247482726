"""Run many predictions with Replicate's package and asyncio: replicate_asyncio.py MODEL LINES FOLDER WORKERS."""

import asyncio
import json
import sys
from pathlib import Path

import replicate  # type: ignore[import-not-found]  # it is installed beside this script, not beside the tests
from replicate.helpers import FileOutput  # type: ignore[import-not-found]  # as the package makes of https URLs

model, lines, folder, workers = sys.argv[1:]


async def run(room: asyncio.Semaphore, number: int, line: str) -> None:
    """Run one line's input and save its file."""
    async with room:
        (url,) = await replicate.async_run(model, input=json.loads(line))
        content = await FileOutput(url, replicate.default_client).aread()
        Path(folder, f"{number}.webp").write_bytes(content)


async def main() -> None:
    """Run all lines, so many at once."""
    room = asyncio.Semaphore(int(workers))
    with Path(lines).open() as file:
        await asyncio.gather(*(run(room, number, line) for number, line in enumerate(file)))


asyncio.run(main())
