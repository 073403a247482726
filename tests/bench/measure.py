"""Run programs and take their time, CPU and memory; the arithmetic over what came out."""

import contextlib
import fcntl
import heapq
import os
import pty
import random
import resource
import statistics
import struct
import subprocess
import tempfile
import termios
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import exp, log
from pathlib import Path

_TERMINAL_SIZE = (24, 100)  # lines, columns


@dataclass(frozen=True)
class Command:
    """One call of a program, with the whole of its environment."""

    argv: Sequence[str]
    environment: Mapping[str, str]
    folder: Path
    is_on_terminal: bool = False
    exit_code: int = 0  # with which it succeeds


@dataclass(frozen=True)
class Sample:
    """What one run took, the processes it waited for included."""

    wall_seconds: float
    cpu_seconds: float
    peak_bytes: int


Samples = Mapping[str, Sequence[Sample]]
Contestants = Mapping[str, Callable[[int], Command]]
"""What competes, by name: each prepares the command of a round, by the round's number."""


class Broken(Exception):
    """A program that should be measured did not succeed."""


def run(command: Command) -> Sample:
    """Run a program to its end; raise Broken where it fails.

    The peak is never below `floor_bytes`: exec keeps the mark of the process that forked.
    """
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        with _terminal(wanted=command.is_on_terminal) as terminal:
            began = time.perf_counter()
            process = subprocess.Popen(
                command.argv,
                stdin=subprocess.DEVNULL,
                stdout=stdout if terminal is None else terminal,
                stderr=stderr if terminal is None else terminal,
                env=command.environment,
                cwd=command.folder,
            )
            _, status, used = os.wait4(process.pid, 0)
            wall = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != command.exit_code:
            stderr.seek(0)
            told = stderr.read().decode(errors="replace").strip()[-1000:]
            raise Broken(f"exit code {process.returncode} of {' '.join(command.argv)[:500]}\n{told}")
    return Sample(wall, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024)


def floor_bytes() -> int:
    """Give this process's own peak memory, below which no sample's can show."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@contextlib.contextmanager
def _terminal(*, wanted: bool) -> Iterator[int | None]:
    """Open a terminal whose output goes nowhere, where one is wanted."""
    if not wanted:
        yield None
        return
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", *_TERMINAL_SIZE, 0, 0))
    reader = threading.Thread(target=_drain, args=(master,))
    reader.start()
    try:
        yield slave
    finally:
        os.close(slave)
        reader.join()
        os.close(master)


def _drain(master: int) -> None:
    with contextlib.suppress(OSError):  # what Linux answers once the other side is closed
        while os.read(master, 65536):
            pass


def interleaved(
    contestants: Contestants, rounds: int, *, at_once: int = 1, stagger_seconds: float = 0.0
) -> dict[str, list[Sample]]:
    """Let everyone run once a round, round after round, and give their samples in the order of the rounds.

    `at_once` runs overlap, started `stagger_seconds` apart; only for programs that mostly sleep.
    """
    room = threading.Semaphore(at_once)

    def one(prepare: Callable[[int], Command], number: int) -> Sample:
        try:
            return run(prepare(number))
        finally:
            room.release()

    with ThreadPoolExecutor(at_once) as pool:
        running = []
        for number in range(rounds):
            for name, prepare in contestants.items():
                room.acquire()
                running.append((name, pool.submit(one, prepare, number)))
                time.sleep(stagger_seconds)
                for _, future in running:
                    if future.done():
                        future.result()  # what is broken ends it at once
        samples: dict[str, list[Sample]] = {name: [] for name in contestants}
        for name, future in running:
            samples[name].append(future.result())
    return samples


def ratio(values: Sequence[float], reference: Sequence[float]) -> float:
    """Give the median of the rounds' ratios to a reference that ran in the same rounds."""
    return statistics.median(value / other for value, other in zip(values, reference, strict=True))


def lognormal(
    count: int, *, sigma: float, seed: int, mean: float | None = None, median: float = 1.0
) -> list[float]:
    """Draw durations in seconds with a given mean, else with a given median; the same ones for the same seed."""
    middle = log(median) if mean is None else log(mean) - sigma**2 / 2
    draw = random.Random(seed)
    return [round(exp(draw.gauss(middle, sigma)), 4) for _ in range(count)]


def greedy_seconds(durations: Sequence[float], workers: int) -> float:
    """Give the time that the greedy schedule takes: in order, each on the first free worker, without overhead."""
    busy_until = [0.0] * workers
    for duration in durations:
        heapq.heapreplace(busy_until, busy_until[0] + duration)
    return max(busy_until)
