"""HOSTILE row 88: kill -9 at random moments under load: what was answered 250 is in the spool, once, whole.

``python -m tests.torture.kill9 --kills 1000`` from the top of the repository; the ordinary suite does 100.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import re
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import smtpx

from tests.peer import Peer
from tests.torture.spool_server import SpoolServer

__all__ = ["Report", "torture"]

CLIENTS = 4
LONGEST = 0.12
"""Seconds from the first 250 to the kill, at most: some tens of messages."""


@dataclass
class Report:
    """What happened: each list must be empty."""

    kills: int = 0
    answered: int = 0
    stored: int = 0
    lost: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    quarantined: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.kills} kills, {self.answered} messages answered 250, {self.stored} in the spool;"
            f" lost {self.lost}, twice {self.twice}, damaged {self.damaged}, quarantined {self.quarantined}"
        )


def content(name: str) -> bytes:
    """The message of that name: the same octets whenever asked, 0 to 40 KiB."""
    source = random.Random(name)
    lines = [source.randbytes(source.randrange(36)).hex() for _ in range(source.randrange(1100))]
    return "\r\n".join([f"X-Name: {name}", "", *lines, ""]).encode()


class Load:
    """Clients that send one message after the other until the server is gone."""

    def __init__(self, address: tuple[str, int], prefix: str) -> None:
        self.answered: list[str] = []
        self.begun = threading.Event()
        self._threads = [
            threading.Thread(target=self._send, args=(address, f"{prefix}-{number}"))
            for number in range(CLIENTS)
        ]
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join()

    def _send(self, address: tuple[str, int], prefix: str) -> None:
        count = 0
        try:
            with Peer(address) as peer:
                peer.expect("220")
                peer.command("EHLO client.example", "250")
                while True:
                    name = f"{prefix}-{count}"
                    count += 1
                    peer.send(b"MAIL FROM:<a@example.net>\r\nRCPT TO:<joe@example.org>\r\nDATA\r\n")
                    for pattern in ("250", "250", "354"):
                        peer.expect(pattern)
                    peer.send(smtpx.dot_stuff(content(name)) + b".\r\n")
                    peer.expect("250")
                    self.answered.append(name)
                    self.begun.set()
        except OSError:
            pass  # killed


def torture(folder: Path, kills: int, seed: int) -> Report:
    """Kill a server again and again, and look into the spool each time."""
    report = Report()
    moments = random.Random(seed)
    earlier: set[str] = set()
    with SpoolServer(folder) as server:
        for number in range(kills):
            load = Load(server.start(), str(number))
            assert load.begun.wait(60), "no message came through"
            time.sleep(moments.uniform(0, LONGEST))
            server.kill()
            load.join()
            report.kills += 1
            report.answered += len(load.answered)
            asyncio.run(_inspect(folder, load.answered, earlier, report))
    report.quarantined += [path.name for path in folder.glob("quarantine/*")]
    return report


async def _inspect(folder: Path, answered: list[str], earlier: set[str], report: Report) -> None:
    """Compare the spool with what was answered, then empty it; what was emptied must never come back."""
    async with smtpx.LocalStorage(folder, reserve=0) as storage:
        mails = await storage.mail_load_all()
        found: Counter[str] = Counter()
        for mail in mails:
            match = re.search(rb"^X-Name: (\S+)\r\n", mail.data, re.MULTILINE)
            name = match[1].decode() if match else f"no name in {mail.id}"
            found[name] += 1
            envelope = (mail.mail_from, mail.recipients)
            if not mail.data.endswith(content(name)) or envelope != ("a@example.net", ["joe@example.org"]):
                report.damaged.append(name)
        report.stored += len(mails)
        report.lost += [name for name in answered if not found[name]]
        report.twice += [name for name, count in found.items() if count > 1 or name in earlier]
        earlier.update(found)
        await asyncio.gather(*(storage.mail_delete(mail.id) for mail in mails))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=time.time_ns())
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = torture(Path(folder), arguments.kills, arguments.seed)
    print(f"seed {arguments.seed}: {report}")
    if report.lost or report.twice or report.damaged or report.quarantined:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
