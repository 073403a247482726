"""Start the program many times without importing the libraries that it uses each time anew.

An interpreter that has imported them (`python -m tests.warm`) waits, and forks for each start: the child is a
process of its own, with its own folder, environment and streams, and runs the program's code from its first line
to the interpreter's end. Most of a start's time is saved, and the tests make more than a thousand.
"""

import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

_LIBRARIES = ("platformdirs", "requests", "rich.live", "rich.progress", "rich.table", "sqlite3", "typer")
# What an interpreter reads from its environment when it starts, and never again.
_OF_THE_INTERPRETER = ("PYTHON", "LANG", "LC_", "LD_", "MALLOC_", "TZ")


def _of_the_interpreter(env: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in env.items() if name.startswith(_OF_THE_INTERPRETER)}


class Starter:
    """Have programs started by an interpreter that waits for that; `env` is what it begins with itself."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = _of_the_interpreter(env)
        self._control, theirs = socket.socketpair()
        self._lock = threading.Lock()
        with theirs:
            self._interpreter = subprocess.Popen(
                [sys.executable, "-m", "tests.warm", str(theirs.fileno())],
                stdin=subprocess.PIPE,  # streams of the kind that the programs are to have
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=[theirs.fileno()],
                env=env,
            )

    def close(self) -> None:
        """End the interpreter."""
        self._control.close()
        self._interpreter.communicate()

    def suits(self, env: Mapping[str, str]) -> bool:
        """Say whether a program with this environment needs no interpreter that begins with it."""
        return _of_the_interpreter(env) == self._env

    def run(
        self,
        module: str,
        arguments: Sequence[str],
        given: bytes,
        *,
        cwd: Path,
        env: Mapping[str, str],
        timeout_seconds: float,
    ) -> "subprocess.CompletedProcess[bytes]":
        """Do for `python -m MODULE` as `subprocess.run` does; raise TimeoutExpired."""
        ours, theirs = socket.socketpair()
        (stdin, feed), (out, stdout), (err, stderr) = os.pipe(), os.pipe(), os.pipe()
        with self._lock, theirs:
            socket.send_fds(self._control, [b"."], [stdin, stdout, stderr, theirs.fileno()])
        for fd in (stdin, stdout, stderr):
            os.close(fd)
        with ours, ours.makefile("rb") as answers, ThreadPoolExecutor(3) as threads:
            came = [threads.submit(_read, fd) for fd in (out, err)]
            threads.submit(_write, feed, given)
            asked = {"module": module, "arguments": [*arguments], "cwd": str(cwd), "env": {**env}}
            ours.sendall(json.dumps(asked).encode() + b"\n")
            pid = int(answers.readline())
            ours.settimeout(timeout_seconds)
            try:
                code = int(answers.readline())
            except TimeoutError:
                os.kill(pid, signal.SIGKILL)
                raise subprocess.TimeoutExpired([module, *arguments], timeout_seconds) from None
            return subprocess.CompletedProcess([module, *arguments], code, *(stream.result() for stream in came))


def _read(fd: int) -> bytes:
    with open(fd, "rb") as stream:
        return stream.read()


def _write(fd: int, content: bytes) -> None:
    with contextlib.suppress(BrokenPipeError), open(fd, "wb") as stream:
        stream.write(content)


def _serve(control: socket.socket) -> str:
    """Fork for each start that is asked for; return in the child, with the module that it is to run."""
    running: dict[int, tuple[int, socket.socket]] = {}  # by what can be read once the child has ended
    while True:
        ready = select.select([control.fileno(), *running], [], [])[0]
        for ended in running.keys() & set(ready):
            os.close(ended)
            pid, channel = running.pop(ended)
            with channel, contextlib.suppress(BrokenPipeError):  # who had no more patience
                channel.sendall(b"%d\n" % os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        if control.fileno() not in ready:
            continue
        message, streams, *_ = socket.recv_fds(control, 1, 4)
        if not message:
            os._exit(0)
        channel = socket.socket(fileno=streams.pop())
        ended, alive = os.pipe()
        if not (pid := os.fork()):  # the child holds `alive` to its end
            control.close()
            os.close(ended)
            for other, (_, its_channel) in running.items():
                os.close(other)
                its_channel.close()
            return _become(streams, channel)
        for fd in (alive, *streams):
            os.close(fd)
        running[ended] = pid, channel
        channel.sendall(b"%d\n" % pid)


def _become(streams: Sequence[int], channel: socket.socket) -> str:
    for target, fd in enumerate(streams):
        os.dup2(fd, target)
        os.close(fd)
    with channel, channel.makefile("rb") as reader:
        asked = json.loads(reader.readline())
    os.chdir(asked["cwd"])
    os.environ.clear()
    os.environ.update(asked["env"])
    sys.argv = ["", *asked["arguments"]]
    sys.path[0] = asked["cwd"]
    return str(asked["module"])


def main() -> None:
    """Be the interpreter that waits."""
    for library in _LIBRARIES:
        importlib.import_module(library)
    gc.freeze()
    module = _serve(socket.socket(fileno=int(sys.argv[1])))
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
