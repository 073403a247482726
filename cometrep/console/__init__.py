"""Results to stdout, everything else to stderr.

Once it is there, no other module touches the three streams. What is written to stdout is the same byte for byte,
on a terminal and in a pipe, whatever is drawn beside it; only tables are aligned for people.
"""

import contextlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, TextIO

from cometrep import errors, hints
from cometrep.console.screen import Screen
from cometrep.hiding import masked, without_key
from cometrep.text import ascii_json, brief, harmless, one_line

if TYPE_CHECKING:
    from cometrep.console.asking import Hidden
    from cometrep.console.display import Display

_BARE_LOCALES = ("C", "POSIX")
_PIECE_BYTES = 1 << 20  # of stdin, at a time
_SLOW_SECONDS = 2.0  # without a word
_GOODBYE_SECONDS = 1.0  # that a stopped command waits for a reader of stderr who reads nothing
_NAME_A_FILE = "name a file instead of -"
_COERCED_LOCALES = ("C.UTF-8", "C.utf8", "UTF-8")


class Choices(NamedTuple):
    """How a command wants the streams used: `to_hide` is never written to stderr, `flags` are kept in hints."""

    is_json: bool = False
    is_quiet: bool = False
    is_verbose: bool = False
    shows_logs: bool = False
    progress: str = "auto"
    to_hide: str = ""
    flags: str = ""
    tells_github: bool = False


class Console:
    """The three streams of the process, and how this command wants them used."""

    def __init__(
        self,
        stdin: TextIO | None,
        stdout: TextIO | None,
        stderr: TextIO | None,
        environment: Callable[[str], str],
    ) -> None:
        self._stdin = stdin
        self._stdout = stdout
        self._stderr = stderr
        self.environment = environment
        self._stdin_is_read = False
        self._is_hurried = False
        self.is_heard = stderr is not None  # whether all that was said on stderr was written
        self._display: Display | None = None
        self._hidden: Hidden | None = None
        self.choices = Choices()
        self.command_line = "cometrep"

    @classmethod
    def of_process(cls) -> "Console":
        """Use the process's own streams and environment."""
        return cls(sys.stdin, sys.stdout, sys.stderr, _environment)

    def configure(self, choices: Choices) -> None:
        """Take up a command's choices."""
        self.choices = choices
        if choices.is_verbose:
            self._show_log_records()

    # stdout

    def write_line(self, text: str) -> None:
        """Write one line of the result."""
        self.write_bytes(text.encode("utf-8", "surrogateescape") + b"\n")

    def write_path(self, path: str) -> None:
        """Write a path as a line, in the bytes that its name has on disk: not every locale's are UTF-8."""
        self.write_bytes(os.fsencode(path) + b"\n")

    def write_json(self, value: Any) -> None:
        """Write one JSON value as a line."""
        self.write_line(ascii_json(value))

    def write_bytes(self, content: bytes) -> None:
        """Write to stdout at once; raise StdoutClosed where nobody reads it, LocalFileError where it fails."""
        if self._stdout is None:
            raise errors.StdoutClosed("stdout is closed")
        try:
            _write_all(self._stdout, content)
        except (BrokenPipeError, ConnectionResetError) as problem:  # stdout may be a socket
            self._abandon_stdout()
            raise errors.StdoutClosed("nobody reads stdout") from problem
        except OSError as problem:
            self._abandon_stdout()
            raise errors.LocalFileError(
                f"cannot write to stdout: {problem.strerror}",
                hint="check where the output goes",
                code=errors.file_code(problem),
            ) from problem

    def _abandon_stdout(self) -> None:
        stdout, self._stdout = self._stdout, None
        if stdout is not None:
            _abandon(stdout)

    def write_table(
        self,
        header: Sequence[str],
        rows: Iterable[Sequence[str]],
        *,
        empty: str = "",
        whole: str = "",
        spare: Sequence[str] = (),
        wraps: bool = False,
    ) -> None:
        """Write a table: aligned under a header on a terminal, tab-separated and bare elsewhere.

        A person whose table has no rows is told so in the words of `empty`. Where a terminal is narrow the column
        `whole`, by default the first, is not cut, and those of `spare` are the first to give room; with `wraps`
        what finds none in a line goes on in the next.
        """
        lines = ([one_line(cell) for cell in row] for row in rows)
        if not _is_terminal(self._stdout):
            for row in lines:  # as they come: of a batch there may be a million
                self.write_line("\t".join(row))
        elif not (cells := list(lines)):
            self.say(empty)
        else:
            import shutil

            from cometrep.console.table import table_lines

            width = shutil.get_terminal_size().columns
            sign = "…" if self._speaks_unicode(self._stdout) else "..."
            for line in table_lines(header, cells, width, whole=whole, spare=spare, sign=sign, wraps=wraps):
                self.write_line(line)

    # stdin

    def read_stdin(self, what: str = "", instead: str = _NAME_A_FILE, *, limit_bytes: int) -> bytes:
        """Read stdin, one byte beyond the limit at most; once, and raising UsageError, as `stdin_pieces` does."""
        content = bytearray()
        for piece in self.stdin_pieces(what, instead):
            content += piece
            if len(content) > limit_bytes:
                return bytes(content[: limit_bytes + 1])
        return bytes(content)

    def copy_stdin(self, target: BinaryIO) -> None:
        """Copy stdin to a file, piece by piece, once; raise UsageError where it cannot be read."""
        target.writelines(self.stdin_pieces())

    def stdin_pieces(self, what: str = "", instead: str = _NAME_A_FILE) -> Iterator[bytes]:
        """Yield what stdin holds, once; raise UsageError, which hints at `instead`, where that is not possible.

        Who sits at a terminal is told so, and `what` is expected.
        """
        if self._stdin is None:
            raise errors.UsageError("stdin is closed, and is to be read", hint=instead)
        if self._stdin_is_read:
            raise errors.UsageError("stdin is asked for twice, and can be read once", hint=instead)
        self._stdin_is_read = True
        is_typed = _is_terminal(self._stdin)
        if is_typed:
            self.say(f"reading {what} from stdin; Ctrl-D ends it".replace("  ", " "))
        while True:
            try:
                piece = self._stdin.buffer.read(_PIECE_BYTES)
            except OSError as problem:
                raise errors.UsageError(f"cannot read stdin: {problem.strerror}", hint=instead) from problem
            if piece is None:  # it does not block, and more may come
                import select

                select.select([self._stdin], [], [])
                continue
            if not piece:
                return
            yield piece
            if is_typed and len(piece) < _PIECE_BYTES:
                return  # a terminal would ask for a second Ctrl-D

    def confirm(self, question: str) -> bool:
        """Ask a yes-or-no question on the terminal, of which what was typed before is no answer.

        False where there is none, or the question would not be seen on it.
        """
        if self._stdin is None or not self._can_ask():
            return False
        from cometrep.console.asking import confirm

        return confirm(harmless(question), self._stdin, self._write_stderr)

    def ask_hidden(self, question: str) -> str:
        """Ask for a text on the terminal, unseen; raise UsageError where there is no terminal.

        What was pasted behind a line break is given with it: a shell would run it as a command.
        """
        if self._stdin is None or not self._can_ask():
            raise errors.UsageError(
                "there is no terminal to ask for the API key on; it can be piped in",
                hint="cometrep login --stdin",
            )
        from cometrep.console.asking import Hidden

        self._hidden = Hidden(question, self._stdin, self._write_stderr)
        try:
            return self._hidden.ask()
        except OSError as problem:
            raise errors.UsageError(
                f"cannot ask on this terminal: {problem.strerror}; the API key can be piped in",
                hint="cometrep login --stdin",
            ) from problem
        finally:
            self._hidden = None

    def _can_ask(self) -> bool:
        return _is_terminal(self._stdin) and _is_terminal(self._stderr)

    # stderr

    def hint(self, text: str) -> None:
        """Write a hint, unless quiet."""
        if self.choices.is_quiet:
            return
        if self.choices.progress == "json":
            self._note(text)
        else:
            self._line(f"hint: {harmless(self.with_flags(text))}")

    def warn(self, text: str) -> None:
        """Write a warning."""
        if self.choices.progress == "json":
            self._note(text, is_warning=True)
            return
        with self.aside():
            self._screen().warning(self.with_flags(text))

    def _note(self, text: str, *, is_warning: bool = False) -> None:
        """Write an event about the command itself, among those of predictions."""
        from cometrep.console.display import JsonLines
        from cometrep.events import Noted

        with self.aside():
            JsonLines(self._screen()).take(Noted("", self.with_flags(text), is_warning))

    def say(self, text: str) -> None:
        """Write a line of progress, unless quiet or among events for programs."""
        if not self.choices.is_quiet and self.choices.progress != "json":
            self._line(harmless(text))

    @contextlib.contextmanager
    def saying_if_slow(self, text: str) -> Iterator[None]:
        """Say what is being done where that takes a while."""
        import threading

        timer = threading.Timer(_SLOW_SECONDS, self.say, (text,))
        timer.daemon = True
        with contextlib.suppress(RuntimeError):  # the system gives no thread: nothing is said
            timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def trace(self, text: str) -> None:
        """Write a line of `--verbose`."""
        self._line(self._screen().styled(harmless(text), "faint"))

    def report(self, failure: errors.Failure) -> None:
        """Write an error: two lines, or with `--json` one object; nothing where stdout was closed early."""
        if isinstance(failure, errors.StdoutClosed):
            return
        if isinstance(failure, errors.Partial):
            for one in failure.failures:
                self.report(one)
            if failure.exit_code != errors.Partial.exit_code:
                return  # all failed alike, and each has said it
        message, hint = failure.message, self.with_flags(failure.hint)
        if isinstance(failure, errors.UsageError):  # of what was typed, and may be the key
            message, hint = masked(message), masked(hint)
        if self.choices.tells_github:
            from cometrep.console import github

            self._line(github.error(message))
        if self.choices.is_json:
            facts = {
                "code": failure.code,
                "message": message,
                "hint": hint,
                "exit_code": failure.exit_code,
                "prediction_id": failure.prediction_id,
                "request_id": failure.request_id,
                "http_status": failure.http_status,
            }
            self._line(ascii_json({"error": facts}))
            return
        told = message if isinstance(failure, errors.BadItems) else brief(message)
        self._line(f"{self._screen().styled('cometrep:', 'error')} {harmless(told)}")
        if hint:
            self._line(f"hint: {harmless(hint)}")

    def _show_log_records(self) -> None:
        """Let what modules log, requests and answers, become lines of `--verbose`."""
        import logging

        def show(record: logging.LogRecord) -> bool:
            self.trace(record.getMessage())
            return True

        handler = logging.Handler(logging.DEBUG)
        # Not `emit`, for which a lock is held: a thread whose line nobody reads would hold up the process's end.
        handler.handle = show  # type: ignore[method-assign]
        logger = logging.getLogger("cometrep")
        logger.setLevel(logging.DEBUG)
        logger.propagate = False
        logger.handlers = [handler]

    def with_flags(self, text: str) -> str:
        """Add to the commands in a hint the flag that chose the server, where they have it not."""
        return hints.with_flag(text, self.choices.flags)

    def _line(self, text: str) -> None:
        with self.aside():
            self._write_stderr(text + "\n")

    def hurry(self) -> None:
        """Wait no more than a moment for a reader of stderr who reads nothing: the command is to end."""
        self._is_hurried = True

    def _patience(self) -> float | None:
        return _GOODBYE_SECONDS if self._is_hurried else None

    def _write_stderr(self, text: str) -> None:
        stderr = self._stderr
        if stderr is None:
            return
        text = without_key(text, self.choices.to_hide)
        try:
            content = text.encode(stderr.encoding, stderr.errors or "strict")
            _write_all(stderr, content, self._patience())
        except (OSError, ValueError) as problem:
            self.is_heard = False
            if isinstance(problem, OSError) and problem.errno in errors.NO_SPACE:
                return  # there may be room for the next line, which may be the error
            # A stderr that is gone, or that nobody reads, is no reason to stop a paid prediction, or not to end.
            self._stderr = None
            _abandon(stderr)

    # What is drawn

    @contextlib.contextmanager
    def lent_to(self, display: "Display") -> Iterator[None]:
        """Let a display have the terminal, but for what is written aside, and close it in the end."""
        try:
            self._display = display
            yield
        finally:
            self._display = None
            display.close()

    def aside(self) -> contextlib.AbstractContextManager[None]:
        """Leave the terminal in order while something else is done, and take it up again."""
        if self._hidden and self._hidden.is_open:
            return self._hidden.aside()
        return self._display.aside() if self._display else contextlib.nullcontext()

    def progress_mode(self) -> str:
        """Choose how progress is shown; nothing animates but on a terminal, outside CI."""
        is_ci = self.environment("CI").lower() not in ("", "0", "false")
        is_dumb = self.environment("TERM") in ("dumb", "")
        # The lines of --verbose come from other threads, and would tear a live display.
        can_animate = _is_terminal(self._stderr) and not is_dumb and not self.choices.is_verbose
        # What begins behind a shell, or under `timeout` in a script, would draw nothing.
        can_animate = can_animate and self._screen().is_in_front
        if self.choices.progress == "auto":
            if self.choices.is_quiet:
                return "none"
            return "bar" if can_animate and not is_ci else "lines"
        return "lines" if self.choices.progress == "bar" and (is_ci or not can_animate) else self.choices.progress

    def screens(self) -> tuple[Screen, Screen]:
        """Give stdout and stderr as screens: what each can show, for results that people read line by line."""
        return self._screen_of(self._stdout, lambda text: self.write_bytes(text.encode())), self._screen()

    def _screen(self) -> Screen:
        return self._screen_of(self._stderr, self._write_stderr)

    def _screen_of(self, stream: TextIO | None, write: Callable[[str], None]) -> Screen:
        return Screen(
            stream=stream,
            write=write,
            is_terminal=_is_terminal(stream),
            has_colour=self._has_colour(stream),
            speaks_unicode=self._speaks_unicode(stream),
            shows_logs=self.choices.shows_logs,
            patience=self._patience,
        )

    def _speaks_unicode(self, stream: TextIO | None) -> bool:
        """Tell whether people see UTF-8: the terminal's locale counts too, as Python writes UTF-8 even in C."""
        encoding = (getattr(stream, "encoding", "") or "").lower()
        every, kinds, language = (self.environment(name) for name in ("LC_ALL", "LC_CTYPE", "LANG"))
        if language in _BARE_LOCALES and kinds in _COERCED_LOCALES:
            kinds = ""  # Python's own doing, before it gave us the environment (PEP 538)
        return encoding.startswith("utf") and (every or kinds or language) not in _BARE_LOCALES

    def _has_colour(self, stream: TextIO | None) -> bool:
        if self.environment("NO_COLOR"):
            return False
        if self.environment("FORCE_COLOR") not in ("", "0"):
            return True
        return _is_terminal(stream) and self.environment("TERM") not in ("dumb", "")


def _environment(name: str) -> str:
    from cometrep import config

    return config.environment(name)


def _write_all(stream: TextIO, content: bytes, patience_seconds: float | None = None) -> None:
    """Write until nothing is left: an unbuffered stream, or one that does not block, takes a part at a time.

    With `patience_seconds` raise TimeoutError where it takes nothing for so long.
    """
    stream.flush()
    raw = getattr(stream.buffer, "raw", stream.buffer)
    left = memoryview(content)
    while left:
        room = None if patience_seconds is None else _room(raw, patience_seconds)
        count = raw.write(left[:room])
        if count is None and patience_seconds is None:  # it would block
            import select

            select.select([], [raw], [])
        left = left[count or 0 :]


def _room(raw: Any, patience_seconds: float) -> int | None:
    """Give how many bytes a stream takes without being waited for, once it takes some, or None for all of them.

    Raises TimeoutError where it takes none for so long.
    """
    import select

    if os.name == "nt":  # which cannot tell
        return None
    if not select.select([], [raw], [], patience_seconds)[1]:
        raise TimeoutError
    return 1 if raw.isatty() else select.PIPE_BUF  # a terminal has room for one byte, or more


def _abandon(stream: TextIO) -> None:
    """Point a stream that cannot be written at /dev/null: Python tries once more when the process ends."""
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


def _is_terminal(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.isatty()
    except ValueError:  # closed
        return False
