"""HOSTILE rows 89 and 91-92: a process that delivers into Maildirs, killed and lied to by the system."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from smtpx.maildir import MaildirTransport

from tests.maildirs import JOE, deliveries, files, message, told
from tests.peer import PATIENCE
from tests.strace import RENAMES, WRITES, Strace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the durability contract is POSIX")

NAMES = ["id-1", "id-2"]
KEPT = b"Return-Path: <a@b.org>\nDelivered-To: joe@example.org\nSubject: x\n\nhi\n"
MAILBOX = "example.org/joe"


def new(name: str) -> str:
    return f"{MAILBOX}/new/1767323045.{name}.0"


def deliver(folder: Path, names: list[str], token: int) -> list[str]:
    """What a new process makes of the messages."""

    async def main() -> list[str]:
        async with MaildirTransport(f"{folder}/{{domain}}/{{local}}") as transport:
            mails = [message(name=name) for name in names]
            each = (transport.deliver(mail, deliveries(mail, token=token)) for mail in mails)
            return [told(results)[JOE] for results in await asyncio.gather(*each)]

    return asyncio.run(main())


# Row 89

KILLED_AT_A_STEP = """
import asyncio, itertools, os, signal, sys
from smtpx.maildir import MaildirTransport
from tests.maildirs import JOE, deliveries, message

last, steps = int(sys.argv[2]), itertools.count(1)

def counted(call):
    def wrapper(*arguments, **keywords):
        if next(steps) == last:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*arguments, **keywords)
    return wrapper

async def deliver(transport, name):
    mail = message(name=name)
    await transport.deliver(mail, deliveries(mail))
    print(name, flush=True)

async def main():
    async with MaildirTransport(sys.argv[1] + "/{domain}/{local}") as transport:
        for name in ("open", "write", "fsync", "close", "replace", "mkdir"):
            setattr(os, name, counted(getattr(os, name)))
        await asyncio.gather(deliver(transport, "id-1"), deliver(transport, "id-2"))
        os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


@pytest.mark.parametrize("step", [*range(1, 34, 3), 60])
def test_h89_killed_at_any_step_each_message_is_there_once_after_the_next_attempt(
    tmp_path: Path, step: int
) -> None:
    process = subprocess.run(
        [sys.executable, "-c", KILLED_AT_A_STEP, str(tmp_path), str(step)], check=False, capture_output=True
    )
    assert process.returncode == -9, process.stderr.decode()
    acknowledged = process.stdout.decode().split()
    assert {new(name) for name in acknowledged} <= set(files(tmp_path))
    # Nobody recorded what was done: both are claimed once more.
    assert deliver(tmp_path, NAMES, token=2) == ["accepted 250 2.0.0"] * 2
    found = [file for file in files(tmp_path) if "/tmp/" not in file]
    assert found == [new(name) for name in NAMES]
    assert all((tmp_path / file).read_bytes() == KEPT for file in found)


# Rows 91 and 92

DELIVERER = """
import asyncio, socket, sys
from smtpx.maildir import MaildirTransport
from tests.maildirs import JOE, deliveries, message, told

async def main():
    asks = socket.socket(fileno=int(sys.argv[2]))
    async with MaildirTransport(sys.argv[1] + "/{domain}/{local}") as transport:
        while line := asks.recv(100).decode():
            name, token = line.split()
            mail = message(name=name)
            results = await transport.deliver(mail, deliveries(mail, token=int(token)))
            asks.send(told(results)[JOE].encode())

asyncio.run(main())
"""


class Deliverer:
    """A process that delivers what it is told to, one after the other.

    It answers on a socket: to send there is another system call than to write a file.
    """

    def __init__(self, folder: Path) -> None:
        self._asks, other = socket.socketpair()
        with other:
            self._process = subprocess.Popen(
                [sys.executable, "-c", DELIVERER, str(folder), str(other.fileno())], pass_fds=[other.fileno()]
            )
        self.pid = self._process.pid

    def deliver(self, name: str, token: int = 1) -> str:
        self._asks.send(f"{name} {token}".encode())
        return self._asks.recv(100).decode()

    def end(self) -> None:
        self._asks.close()
        assert self._process.wait(PATIENCE) == 0


@pytest.fixture
def deliverer(tmp_path: Path) -> Iterator[Deliverer]:
    process = Deliverer(tmp_path)
    yield process
    process.end()


FAILED, FULL = "temporary 451 4.3.0", "temporary 452 4.3.1"


def failing(deliverer: Deliverer, strace: str, calls: str, error: str) -> str:
    """Deliver message 2 while these calls fail; return the answer."""
    tracer = Strace(strace, deliverer.pid, calls, error)
    try:
        answer = deliverer.deliver("id-2")
    finally:
        seen = tracer.detach()
    assert "(INJECTED)" in seen
    return answer


@pytest.mark.parametrize(
    ("calls", "error", "answer"),
    [
        pytest.param("fsync,fdatasync", "EIO", FAILED, id="h91_fsync_eio"),
        pytest.param("openat", "EIO", FAILED, id="h91_openat_eio"),
        pytest.param(RENAMES, "EIO", FAILED, id="h91_rename_eio"),
        pytest.param("openat", "ENOSPC", FULL, id="h92_openat_enospc"),
        pytest.param("fsync,fdatasync", "ENOSPC", FULL, id="h92_fsync_enospc"),
        pytest.param(RENAMES, "ENOSPC", FULL, id="h92_rename_enospc"),
    ],
)
def test_a_failing_disk_is_no_delivery_and_leaves_nothing_behind(
    deliverer: Deliverer,
    tmp_path: Path,
    needs_tool: Callable[[str], str],
    calls: str,
    error: str,
    answer: str,
) -> None:
    assert deliverer.deliver("id-1") == "accepted 250 2.0.0"
    assert failing(deliverer, needs_tool("strace"), calls, error) == answer
    assert files(tmp_path) == [new("id-1")]
    assert deliverer.deliver("id-2", 2) == "accepted 250 2.0.0"
    assert files(tmp_path) == [new("id-1"), new("id-2")]


@pytest.mark.parametrize(("error", "answer"), [("EIO", FAILED), ("ENOSPC", FULL)])
def test_h91_h92_a_write_that_fails_is_no_delivery(
    deliverer: Deliverer, tmp_path: Path, needs_tool: Callable[[str], str], error: str, answer: str
) -> None:
    assert deliverer.deliver("id-1") == "accepted 250 2.0.0"
    assert failing(deliverer, needs_tool("strace"), WRITES, error) == answer
    assert files(tmp_path) == [new("id-1")]


def test_h91_a_folder_that_is_not_synced_is_no_delivery_and_no_second_copy_later(
    deliverer: Deliverer, tmp_path: Path, needs_tool: Callable[[str], str]
) -> None:
    strace = needs_tool("strace")
    assert deliverer.deliver("id-1") == "accepted 250 2.0.0"
    tracer = Strace(strace, deliverer.pid, "fsync,fdatasync", "EIO:when=2")  # the file's comes first
    try:
        assert deliverer.deliver("id-2") == FAILED
    finally:
        seen = tracer.detach()
    assert seen.count("(INJECTED)") == 1
    assert deliverer.deliver("id-2", 2) == "accepted 250 2.0.0"
    assert files(tmp_path) == [new("id-1"), new("id-2")]


@pytest.mark.parametrize(
    ("calls", "answer"),
    [("openat", "accepted 250 2.0.0"), ("fsync,fdatasync", "accepted 250 2.0.0"), (RENAMES, FAILED)],
)
def test_a_call_that_a_signal_interrupts_is_made_again_or_is_no_delivery(
    deliverer: Deliverer, tmp_path: Path, needs_tool: Callable[[str], str], calls: str, answer: str
) -> None:
    strace = needs_tool("strace")
    assert deliverer.deliver("id-1") == "accepted 250 2.0.0"
    tracer = Strace(strace, deliverer.pid, calls, "EINTR:when=1")
    try:
        assert deliverer.deliver("id-2") == answer
    finally:
        seen = tracer.detach()
    assert "(INJECTED)" in seen
    assert (new("id-2") in files(tmp_path)) == answer.startswith("accepted")
