"""HOSTILE rows 17, 38 and 104 as the system sees them: the memory of a server in a process of its own."""

from __future__ import annotations

import re
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.peer import Peer
from tests.torture.spool_server import SpoolServer

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

MIB = 1024 * 1024


def memory(server: SpoolServer, field: str) -> int:
    """Octets: VmRSS is what it holds now, VmHWM the most that it ever held."""
    status = Path(f"/proc/{server.pid}/status").read_text()
    match = re.search(rf"^{field}:\s+(\d+) kB", status, re.MULTILINE)
    assert match is not None
    return int(match[1]) * 1024


@pytest.fixture
def running(tmp_path: Path) -> Iterator[tuple[SpoolServer, tuple[str, int]]]:
    with SpoolServer(tmp_path) as server:
        address = server.start()
        with Peer(address) as peer:  # what the first message brings into memory is nobody's fault
            peer.open()
            peer.message(b"Subject: first\r\n\r\n" + b"x" * 100_000 + b"\r\n")
        yield server, address


def test_h17_a_line_without_end_takes_no_memory(running: tuple[SpoolServer, tuple[str, int]]) -> None:
    server, address = running
    before = memory(server, "VmHWM")
    with Peer(address) as peer:
        peer.expect("220")
        for _ in range(128):
            peer.send(b"x" * MIB)
        assert peer.last_reply().code in (421, 500)
    assert memory(server, "VmHWM") - before < 16 * MIB


def test_h38_content_without_end_takes_no_more_than_the_limit(
    running: tuple[SpoolServer, tuple[str, int]],
) -> None:
    server, address = running
    before = memory(server, "VmHWM")
    with Peer(address) as peer:
        peer.open()
        peer.command("DATA", "354")
        for _ in range(400):  # ten times 32 MiB is where the server gives up
            peer.send((b"x" * 1022 + b"\r\n") * 1024)
        assert peer.last_reply().matches("552 5.3.4")
    # The content up to the limit, in a buffer that doubles as it grows.
    assert memory(server, "VmHWM") - before < 3 * 32 * MIB


def test_h104_an_idle_connection_takes_at_most_10_kib(running: tuple[SpoolServer, tuple[str, int]]) -> None:
    server, address = running
    count = 500
    before = memory(server, "VmRSS")
    with ExitStack() as stack:
        for _ in range(count):
            peer = stack.enter_context(Peer(address))
            peer.expect("220")
            peer.command("EHLO idle.example", "250")
        grown = memory(server, "VmRSS") - before
        # Another client is served all the same.
        with Peer(address) as other:
            other.open()
            other.message(b"Subject: other\r\n\r\n")
    assert grown / count <= 10 * 1024
