"""HOSTILE rows 28 and 91-94: a server with a LocalStorage, killed, starved and lied to by the system."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import tempfile
from email import message_from_bytes
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import smtpx

from tests.peer import Peer
from tests.strace import RENAMES, WRITES, Strace
from tests.torture.spool_server import SpoolServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.live import LiveServers

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the durability contract is POSIX")


def stored(folder: Path) -> list[smtpx.MailTx]:
    """What a server would find in the spool when it starts."""

    async def load() -> list[smtpx.MailTx]:
        async with smtpx.LocalStorage(folder, reserve=0) as storage:
            return await storage.mail_load_all()

    return asyncio.run(load())


def subjects(folder: Path) -> list[str]:
    return sorted(str(message_from_bytes(mail.data)["Subject"]) for mail in stored(folder))


def unfinished(folder: Path) -> list[Path]:
    return list(folder.glob(".*.tmp"))


# Row 28


NASTY_SENDERS = [
    '"../../../tmp/x"@example.net',
    '"/etc/passwd"@example.net',
    "-rf@example.net",
    '"a;rm -rf x|y`z`$(w)"@example.net',
    "/a/./b@example.net",
]


@pytest.mark.parametrize("sender", NASTY_SENDERS)
def test_h28_no_address_is_a_file_name_or_a_header(
    live_server: LiveServers, tmp_path: Path, sender: str
) -> None:
    spool = tmp_path / "deep" / "spool"
    spool.mkdir(parents=True, mode=0o700)
    live = live_server(smtpx.LocalHandler(live_server.environment, smtpx.LocalStorage(spool, reserve=0)))
    peer = live.connect()
    peer.expect("220")
    peer.command("EHLO x;y|../../z", "250")
    peer.command(f"MAIL FROM:<{sender}>", "250 2.1.0")
    peer.command("RCPT TO:<joe@example.org>", "250 2.1.5")
    peer.message(b"Subject: one\r\n\r\nbody\r\n")
    assert [path.name for path in tmp_path.iterdir()] == ["deep"]
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["spool"]
    (entry,) = spool.glob("*.mail")
    assert re.fullmatch(r"[0-9a-f-]+\.mail", entry.name)


def test_h28_what_the_client_calls_itself_cannot_forge_a_header(
    live_server: LiveServers, tmp_path: Path
) -> None:
    storage = smtpx.LocalStorage(tmp_path, reserve=0)
    live = live_server(smtpx.LocalHandler(live_server.environment, storage))
    peer = live.connect()
    peer.expect("220")
    peer.command('EHLO x)(\\"y;by:from<Bcc:evil@example.net>', "250")
    peer.command('MAIL FROM:<"x> Bcc: evil"@example.net>', "250 2.1.0")
    peer.command("RCPT TO:<joe@example.org>", "250 2.1.5")
    peer.message(b"Subject: one\r\n\r\nbody\r\n")
    (mail,) = asyncio.run(storage.mail_load_all())
    message = message_from_bytes(mail.data)
    assert message.keys() == ["Received", "Subject"]
    assert message.get_payload() == "body\r\n"


# Rows 91-94: the system says no. What is answered 250 is in the spool, and nothing else.


@pytest.fixture
def spool() -> Iterator[Path]:
    # Not below pytest's own folder: its path must be short and its owner us.
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def greeted(address: tuple[str, int]) -> Peer:
    peer = Peer(address)
    peer.expect("220")
    peer.command("EHLO client.example", "250")
    return peer


def send(peer: Peer, subject: str, pattern: str) -> None:
    peer.command("MAIL FROM:<a@example.net>", "250 2.1.0")
    peer.command("RCPT TO:<joe@example.org>", "250 2.1.5")
    peer.message(f"Subject: {subject}\r\n\r\n{'x' * 5000}\r\n".encode(), pattern)


@pytest.mark.parametrize(
    ("calls", "error", "answer"),
    [
        pytest.param("fsync,fdatasync", "EIO", "451 4.3.0", id="h91_fsync_eio"),
        pytest.param(WRITES, "EIO", "451 4.3.0", id="h91_write_eio"),
        pytest.param(RENAMES, "EIO", "451 4.3.0", id="h91_rename_eio"),
        pytest.param(WRITES, "ENOSPC", "452 4.3.1", id="h92_write_enospc"),
        pytest.param(WRITES, "EDQUOT", "452 4.3.1", id="h92_write_edquot"),
        pytest.param("fsync,fdatasync", "ENOSPC", "452 4.3.1", id="h92_fsync_enospc"),
        pytest.param(RENAMES, "ENOSPC", "452 4.3.1", id="h92_rename_enospc"),
    ],
)
def test_a_failing_disk_is_no_250_and_the_server_goes_on(
    spool: Path, needs_tool: Callable[[str], str], calls: str, error: str, answer: str
) -> None:
    strace = needs_tool("strace")
    with SpoolServer(spool) as server, greeted(server.start()) as peer:
        send(peer, "before", "250")
        tracer = Strace(strace, server.pid, calls, error)
        try:
            send(peer, "refused-1", answer)
            send(peer, "refused-2", answer)
        finally:
            seen = tracer.detach()
        assert "(INJECTED)" in seen
        send(peer, "after", "250")
    assert subjects(spool) == ["after", "before"]
    assert unfinished(spool) == []


def test_h91_a_failed_fsync_is_not_tried_again(spool: Path, needs_tool: Callable[[str], str]) -> None:
    """The second one may say yes, with the pages lost (it does on Linux)."""
    strace = needs_tool("strace")
    with SpoolServer(spool) as server, greeted(server.start()) as peer:
        send(peer, "before", "250")
        tracer = Strace(strace, server.pid, "fsync,fdatasync", "EIO:when=1")
        try:
            send(peer, "refused", "451 4.3.0")
        finally:
            seen = tracer.detach()
        assert seen.count("(INJECTED)") == 1
    assert subjects(spool) == ["before"]


@pytest.mark.parametrize("moment", [1, 2, 3])
def test_h91_each_fsync_of_a_message_matters(
    spool: Path, needs_tool: Callable[[str], str], moment: int
) -> None:
    """The file's or the directory's: 250 only when none failed, and then it is there."""
    strace = needs_tool("strace")
    with SpoolServer(spool) as server, greeted(server.start()) as peer:
        send(peer, "before", "250")
        tracer = Strace(strace, server.pid, "fsync,fdatasync", f"EIO:when={moment}")
        try:
            peer.command("MAIL FROM:<a@example.net>", "250 2.1.0")
            peer.command("RCPT TO:<joe@example.org>", "250 2.1.5")
            reply = peer.message(b"Subject: this\r\n\r\nx\r\n", "250|451 4.3.0")
        finally:
            seen = tracer.detach()
        assert ("(INJECTED)" in seen) == (reply.code == 451)
    assert subjects(spool) == (["before"] if reply.code == 451 else ["before", "this"])


def free_descriptor(pid: int) -> int:
    """The number that the process's next open() gets."""
    used = {int(path.name) for path in Path(f"/proc/{pid}/fd").iterdir()}
    return next(number for number in range(len(used) + 1) if number not in used)


linux = pytest.mark.skipif(sys.platform != "linux", reason="needs prlimit and /proc")


@linux
def test_h94_no_descriptor_for_the_spool_is_452(spool: Path) -> None:
    import resource

    with SpoolServer(spool) as server, greeted(server.start()) as peer:
        send(peer, "before", "250")
        soft, hard = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (free_descriptor(server.pid), hard))
        send(peer, "refused", "452 4.3.1")
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (soft, hard))
        send(peer, "after", "250")
    assert subjects(spool) == ["after", "before"]


@linux
def test_h93_no_descriptor_to_accept_with_is_waited_out_and_logged_once(spool: Path, tmp_path: Path) -> None:
    import resource

    log = tmp_path / "stderr"
    with log.open("wb") as stderr, SpoolServer(spool, stderr) as server:
        address = server.start()
        first = greeted(address)
        soft, hard = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (free_descriptor(server.pid), hard))
        waiting = Peer(address)
        # Who is in is served as before. (Twice: the server has seen the newcomer by the second.)
        first.command("NOOP", "250 2.0.0")
        first.command("NOOP", "250 2.0.0")
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (soft, hard))
        waiting.expect("220")
        greeted(address).close()
        first.close()
        waiting.close()
    said = [
        line for line in log.read_text().splitlines() if "ERROR" in line or "out of system resource" in line
    ]
    assert len(said) <= 1, f"{len(said)} lines: {said[:3]}"


def test_h92_a_disk_under_its_reserve_is_452_at_mail(live_server: LiveServers, tmp_path: Path) -> None:
    available = os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize
    storage = smtpx.LocalStorage(tmp_path, reserve=available + (1 << 40))
    peer = live_server(smtpx.LocalHandler(live_server.environment, storage)).connect()
    peer.expect("220")
    peer.command("EHLO client.example", "250")
    peer.command("MAIL FROM:<a@example.net>", "452 4.3.1")
    peer.command("RCPT TO:<joe@example.org>", "503 5.5.1")
    storage.reserve = 0
    peer.command("MAIL FROM:<a@example.net>", "250 2.1.0")
