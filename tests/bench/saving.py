"""What it costs to put files on disk."""

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.bench.measure import Command, Sample, interleaved
from tests.bench.peers import Bench
from tests.bench.report import Row, Table, at_most

SENTENCE = "Saving: a file of 1 GiB, plain and TLS, and 200 files of 1 MiB, beside curl; SHA-256 and fsync apart."
SIZE = 2**30
QUICK_SIZE = 2**26
FILES, QUICK_FILES = 200, 20
_MEMORY = Path("/dev/shm")
_HASH = """
import hashlib, sys
digest = hashlib.sha256()
with open(sys.argv[1], "rb", buffering=0) as file:
    while chunk := file.read(262144):
        digest.update(chunk)
"""


def tables(bench: Bench) -> Iterator[Table]:
    """Compare one large file over plain HTTP and TLS, then many files; into memory, so that no disk has a say."""
    size = QUICK_SIZE if bench.is_quick else SIZE
    in_memory = _MEMORY if os.access(_MEMORY, os.W_OK) else bench.folder
    with tempfile.TemporaryDirectory(prefix="cometrep-bench-", dir=in_memory) as folder:
        yield _large(bench, Path(folder), size, bench.service.url)
        yield _large(bench, Path(folder), size, bench.service.tls_url)
        yield _many(bench, Path(folder), "in memory")
    yield _on_disk(bench, size)
    yield _many(bench, bench.fresh("disk"), "on disk")


def _large(bench: Bench, folder: Path, size: int, url: str) -> Table:
    id = bench.service.create({"size": size})
    hashed = folder / "hashed"
    with hashed.open("wb") as file:
        file.truncate(size)
    samples = interleaved(
        {
            "curl": _alone(folder, lambda at: _curl(bench, url, size, id, at)),
            "cometrep download": _alone(folder, lambda at: _download(bench, url, id, at)),
            "SHA-256 alone": lambda _: bench.command(bench.cometrep, "-I", "-S", "-c", _HASH, hashed),
            "python alone": lambda _: bench.command(bench.cometrep, "-I", "-S", "-c", "pass"),
        },
        bench.runs,
    )
    hashed.unlink()
    wall, cpu = _walls(samples), _cpus(samples)
    hashing = [one - other for one, other in zip(cpu["SHA-256 alone"], cpu["python alone"], strict=True)]
    less_hashing = [one - other for one, other in zip(cpu["cometrep download"], hashing, strict=True)]
    peaks = {name: [float(sample.peak_bytes) for sample in taken] for name, taken in samples.items()}
    return Table(
        f"One file of {size >> 20} MiB over {url.partition(':')[0]}, into memory",
        [
            Row("curl: time", "s", wall["curl"]),
            Row("cometrep: time", "s", wall["cometrep download"], wall["curl"], at_most(1.1, is_ratio=True)),
            Row("curl: CPU", "s", cpu["curl"]),
            Row("cometrep: CPU", "s", cpu["cometrep download"], cpu["curl"]),
            Row("SHA-256 alone: CPU", "s", hashing, cpu["curl"]),
            Row("cometrep less SHA-256: CPU", "s", less_hashing, cpu["curl"], at_most(1.2, is_ratio=True)),
            Row("curl: peak memory", "MiB", peaks["curl"]),
            Row("cometrep: peak memory", "MiB", peaks["cometrep download"], goal=at_most(45 * 2**20)),
        ],
        ["ratios to curl"],
    )


def _on_disk(bench: Bench, size: int) -> Table:
    id = bench.service.create({"size": size})
    url, folder = bench.service.url, bench.fresh("large")

    def synced(at: Path) -> Command:
        curl = _curl(bench, url, size, id, at)
        return bench.command("sh", "-c", '"$@" && sync "$0"', at / "file", *curl.argv)

    samples = interleaved(
        {
            "curl": _alone(folder, lambda at: _curl(bench, url, size, id, at)),
            "curl and sync": _alone(folder, synced),
            "cometrep download": _alone(folder, lambda at: _download(bench, url, id, at)),
        },
        min(bench.runs, 3),  # the disk is everybody's
    )
    bench.fresh("large")
    wall = _walls(samples)
    syncing = [one - other for one, other in zip(wall["curl and sync"], wall["curl"], strict=True)]
    rows = [Row(f"{name}: time", "s", taken, wall["curl and sync"]) for name, taken in wall.items()]
    rows.append(Row("fsync: time", "s", syncing))
    return Table(f"One file of {size >> 20} MiB, on disk", rows, ["ratios to curl and sync; cometrep always syncs"])


def _many(bench: Bench, folder: Path, where: str) -> Table:
    count = QUICK_FILES if bench.is_quick else FILES
    id = bench.service.create({"size": 2**20, "files": count})
    url = bench.service.url
    all_of_it = ("--remote-name-all", f"{url}/files/{2**20}/{id}-[0-{count - 1}].webp")

    def curl(at: Path) -> Command:
        return bench.command("curl", "-sS", "--fail", "--output-dir", at, *all_of_it)

    def synced(at: Path) -> Command:
        return bench.command("sh", "-c", '"$@" && sync "$0"/*', at, *curl(at).argv)

    samples = interleaved(
        {
            "one curl": _alone(folder, curl),
            "one curl and sync": _alone(folder, synced),
            "cometrep download": _alone(
                folder, lambda at: bench.call(bench.fresh("home"), "download", id, "-d", at, "-q")
            ),
        },
        bench.runs,
    )
    wall, cpu = _walls(samples), _cpus(samples)
    goal = at_most(1.5, is_ratio=True) if where == "in memory" else None
    ours = "cometrep download"
    rows = [
        Row(f"{name}: time", "s", taken, wall["one curl"], goal if name == ours else None)
        for name, taken in wall.items()
    ]
    rows += [Row(f"{name}: CPU", "s", taken, cpu["one curl"]) for name, taken in cpu.items()]
    return Table(f"{count} files of 1 MiB, {where}", rows, ["ratios to one curl process"])


def _alone(folder: Path, prepare: Callable[[Path], Command]) -> Callable[[int], Command]:
    """Empty the target before each run: the last one's bytes need not stay, and none may be kept as they are."""

    def prepared(_: int) -> Command:
        target = folder / "target"
        target.mkdir(exist_ok=True)
        for path in target.iterdir():
            path.unlink()
        return prepare(target)

    return prepared


def _curl(bench: Bench, url: str, size: int, id: str, at: Path) -> Command:
    words = ("-sS", "--fail", "--cacert", bench.service.certificate, "-o", at / "file")
    return bench.command("curl", *words, f"{url}/files/{size}/{id}-0.webp")


def _download(bench: Bench, url: str, id: str, at: Path) -> Command:
    return bench.call(
        bench.fresh("home"),
        *("download", id, "-o", at / "file.webp", "-q"),
        COMETREP_BASE_URL=url,
        REQUESTS_CA_BUNDLE=bench.service.certificate,
    )


def _walls(samples: dict[str, list[Sample]]) -> dict[str, list[float]]:
    return {name: [sample.wall_seconds for sample in taken] for name, taken in samples.items()}


def _cpus(samples: dict[str, list[Sample]]) -> dict[str, list[float]]:
    return {name: [sample.cpu_seconds for sample in taken] for name, taken in samples.items()}
