"""HOSTILE rows 89 and 91-92: a process that delivers into Maildirs, killed and lied to by the system."""

from __future__ import annotations

import asyncio
import itertools
import re
import signal
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


DELIVERER = """
import asyncio, socket, sys
from smtpx.maildir import MaildirTransport
from tests.maildirs import JOE, deliveries, message, told

async def deliver(transport, name, token):
    mail = message(name=name)
    results = await transport.deliver(mail, deliveries(mail, token=int(token)))
    asks.send(f"{name} {told(results)[JOE]}\\n".encode())

async def main():
    async with MaildirTransport(sys.argv[1] + "/{domain}/{local}") as transport:
        asks.send(b"ready\\n")
        while line := asks.recv(4096).decode():
            token, *names = line.split()
            await asyncio.gather(*(deliver(transport, name, token) for name in names))

asks = socket.socket(fileno=int(sys.argv[2]))
asyncio.run(main())
"""


class Deliverer:
    """A process that delivers what it is told to.

    It answers on a socket: to send there is another system call than to write a file.
    """

    def __init__(self, folder: Path) -> None:
        self._asks, other = socket.socketpair()
        self._answers = self._asks.makefile()
        with other:
            self._process = subprocess.Popen(
                [sys.executable, "-c", DELIVERER, str(folder), str(other.fileno())], pass_fds=[other.fileno()]
            )
        self.pid = self._process.pid
        assert self._answers.readline() == "ready\n"

    def deliver(self, name: str, token: int = 1) -> str:
        """Deliver one message and return its answer."""
        return self.deliver_all([name], token)[name]

    def deliver_all(self, names: list[str], token: int = 1) -> dict[str, str]:
        """Deliver messages at the same time; return the answers that came, all if it has lived through it."""
        self._asks.send(f"{token} {' '.join(names)}".encode())
        lines = itertools.takewhile(bool, (self._answers.readline() for _ in names))
        return dict(line.rstrip().split(" ", 1) for line in lines)

    def kill(self) -> None:
        self._process.kill()

    def end(self) -> int:
        self._answers.close()
        self._asks.close()
        return self._process.wait(PATIENCE)


@pytest.fixture
def deliverer(tmp_path: Path) -> Iterator[Deliverer]:
    process = Deliverer(tmp_path)
    yield process
    assert process.end() == 0


# Row 89


@pytest.mark.parametrize("step", [*range(1, 30, 2), 60])
def test_h89_killed_at_any_step_each_message_is_there_once_after_the_next_attempt(
    tmp_path: Path, needs_tool: Callable[[str], str], step: int
) -> None:
    deliverer = Deliverer(tmp_path)
    calls = f"mkdir,openat,{WRITES},fsync,close,{RENAMES}"
    tracer = Strace(needs_tool("strace"), deliverer.pid, calls, signal=f"SIGKILL:when={step}")
    try:
        acknowledged = deliverer.deliver_all(NAMES)
    finally:
        deliverer.kill()
        tracer.kill()
    assert deliverer.end() == -signal.SIGKILL
    assert acknowledged.keys() == set(NAMES) or step < 60
    assert {new(name) for name in acknowledged} <= set(files(tmp_path))
    # Nobody recorded what was done: both are claimed once more.
    assert deliver(tmp_path, NAMES, token=2) == ["accepted 250 2.0.0"] * 2
    found = [file for file in files(tmp_path) if "/tmp/" not in file]
    assert found == [new(name) for name in NAMES]
    assert all((tmp_path / file).read_bytes() == KEPT for file in found)


# Row 90


def steps(deliverer: Deliverer, strace: str, names: list[str]) -> list[str]:
    """Deliver messages and return what was synced and renamed for it, in order."""
    tracer = Strace(strace, deliverer.pid, f"fsync,{RENAMES}")
    try:
        assert set(deliverer.deliver_all(names).values()) == {"accepted 250 2.0.0"}
    finally:
        seen = tracer.detach()
    found = re.findall(r"(fsync|rename)\w*\(.*/(tmp|new)/?([^\"<>]*?)[\">]", seen)
    return [" ".join(filter(None, (call, folder, name.split("-1.0.")[0]))) for call, folder, name in found]


def test_h90_a_file_is_synced_before_it_has_its_name_and_the_folder_after(
    deliverer: Deliverer, needs_tool: Callable[[str], str]
) -> None:
    assert deliverer.deliver("id-0") == "accepted 250 2.0.0"
    assert steps(deliverer, needs_tool("strace"), ["id-1"]) == [
        "fsync tmp 1767323045.id",
        "rename new 1767323045.id-1.0",
        "fsync new",
    ]


def test_what_waits_at_the_same_time_shares_the_sync_of_the_folder(
    deliverer: Deliverer, needs_tool: Callable[[str], str]
) -> None:
    assert deliverer.deliver("id-0") == "accepted 250 2.0.0"
    found = steps(deliverer, needs_tool("strace"), [f"id-{number}" for number in range(100, 164)])
    assert len([step for step in found if step.startswith("rename new")]) == 64
    assert found.count("fsync new") < 10


# Rows 91 and 92

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
        pytest.param("fsync,fdatasync", "EDQUOT", FULL, id="h92_fsync_edquot"),
        pytest.param(RENAMES, "EROFS", FAILED, id="h91_rename_erofs"),
        pytest.param("openat", "EMFILE", FULL, id="h94_openat_emfile"),
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


def test_h92_what_a_write_takes_a_part_of_is_no_delivery(deliverer: Deliverer, tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    if not hasattr(resource, "prlimit"):
        pytest.skip("needs Linux, to limit another process")
    assert deliverer.deliver("id-1") == "accepted 250 2.0.0"
    _, hard = resource.prlimit(deliverer.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(deliverer.pid, resource.RLIMIT_FSIZE, (len(KEPT) // 2, hard))
    assert deliverer.deliver("id-2") == FAILED
    assert files(tmp_path) == [new("id-1")]
    resource.prlimit(deliverer.pid, resource.RLIMIT_FSIZE, (hard, hard))
    assert deliverer.deliver("id-2", 2) == "accepted 250 2.0.0"
    assert (tmp_path / new("id-2")).read_bytes() == KEPT


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
    tracer = Strace(strace, deliverer.pid, "fsync,fdatasync", "EIO")
    try:
        assert deliverer.deliver("id-2", 2) == FAILED
    finally:
        tracer.detach()
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
