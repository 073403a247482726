"""What doctor asks of HTTP, of real sockets."""

import os
from pathlib import Path

import pytest

from cometrep import errors
from cometrep.calls import within
from cometrep.transport.probe import LIMIT_BYTES, ask, has_netrc_entry
from tests.conftest import TIMEOUT_SECONDS, on_posix
from tests.servers import HANG, RESET, Answer, Server


@pytest.mark.parametrize("size", [5, LIMIT_BYTES, 5 * LIMIT_BYTES], ids=["short", "at the limit", "long"])
@pytest.mark.parametrize("is_chunked", [True, False], ids=["chunks", "length"])
def test_a_probe_reads_a_megabyte_at_most(server: Server, size: int, is_chunked: bool) -> None:
    """An answer up to the limit is whole, and of a longer one no more is read than shows what it is."""
    server.on("GET", "/", Answer(200, b"x" * size, {"X-One": "1"}, is_chunked=is_chunked))
    answer = ask(server.url, {"X-Asked": "yes"}, TIMEOUT_SECONDS)
    assert (answer.status, answer.headers["X-One"], server.received[0].headers["x-asked"]) == (200, "1", "yes")
    came = len(answer.text)
    assert came == size if size <= LIMIT_BYTES else LIMIT_BYTES < came < 1.1 * LIMIT_BYTES


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        (RESET, "Connection reset by peer"),
        (HANG, "no answer in time"),
        (Answer(200, b"x", length="9", then="close"), "after 1 of 9 bytes"),
    ],
    ids=["reset", "hang", "cut short"],
)
def test_a_probe_without_an_answer_says_why(server: Server, sent: Answer, told: str) -> None:
    """Whatever befell it is a passing fault, with its reason."""
    server.on("GET", "/", sent)
    with pytest.raises(errors.Temporary, match=told) as raised:
        ask(server.url, {}, 0.05 if sent is HANG else TIMEOUT_SECONDS)
    assert raised.value.code == "network"


def test_a_netrc_in_another_encoding_names_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a file that nothing here reads, and no reason to end."""
    (tmp_path / "netrc").write_bytes(b"machine other.example login caf\xe9 password p\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert has_netrc_entry("https://x.example") is False


@on_posix
@pytest.mark.parametrize("is_named", [True, False])
def test_a_netrc_that_is_a_pipe_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_named: bool
) -> None:
    """As some keepers of passwords give one, which whoever opens it has to answer."""
    os.mkfifo(tmp_path / ".netrc")
    monkeypatch.delenv("NETRC", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    if is_named:
        monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    assert within(TIMEOUT_SECONDS, lambda: has_netrc_entry("https://x.example")) is False
