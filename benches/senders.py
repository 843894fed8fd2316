"""The clients under load, each in a process of its own that sends one message again and again, and ends.

``python -m benches.senders NAME PORT CONNECTIONS MESSAGES FILE`` is such a process, for the Python ones. It
prints how many seconds it sent for, and the peak of its memory in KiB.
"""

from __future__ import annotations

import asyncio
import os
import resource
import smtplib
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import aiosmtplib
import smtpx

from benches import peers, process
from benches.publish import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

CLIENT = "smtpx.Client" + peers.UVLOOP
POOL = "smtpx.Pool" + peers.UVLOOP
SYNC_CLIENT = "smtpx.SyncClient"
SMTPLIB = "smtplib"
AIOSMTPLIB = "aiosmtplib" + peers.UVLOOP
SOURCE = "smtp-source"
BARE = "a bare socket"  # no client: canned octets, and what the kernel takes for them
NAMES = (CLIENT, POOL, SYNC_CLIENT, SMTPLIB, AIOSMTPLIB, SOURCE, BARE)
FILE = "a file, streamed, by "  # before the name of one that can

SENDER, RECIPIENT = "ann@example.com", "joe@example.org"
LOCAL_NAME = "client.example.com"  # of all of them: some would ask the DNS for one

HEADER = b"""\
From: Ann <ann@example.com>
To: Joe <joe@example.org>
Subject: Minutes of the meeting, and what became of the roof
Date: Wed, 25 Nov 2026 10:00:00 +0000
Message-ID: <4711.minutes@example.com>
MIME-Version: 1.0
Content-Type: text/plain; charset=us-ascii

"""
BODY = b"""\
Dear Joe,

here is what was said on Tuesday. The roof leaks still; the carpenter comes in
the first week of December, if the weather lets him, and brings the slates that
we ordered in spring. Until then a bucket will have to do.

  1. Accounts: agreed, with thanks to the treasurer.
  2. Roof: see above. The quotation is in papers/2026/roof.pdf, and nobody had
     a word against it.
  3. Any other business: none.

Yours,
Ann

"""


def write_message(directory: Path, size: int) -> Path:
    """Write the message of so many octets; beside it for smtp-source, which ends the lines itself."""
    lines = (HEADER + BODY * (size // len(BODY) + 1)).replace(b"\n", b"\r\n")
    octets = lines[: size - 2].rstrip().ljust(size - 2, b".") + b"\r\n"
    file = directory / f"{size}.eml"
    file.write_bytes(octets)
    file.with_suffix(".lines").write_bytes(octets.replace(b"\r\n", b"\n"))
    return file


@dataclass(frozen=True)
class Job:
    """To send the file's octets so many times, to this port, over so many connections."""

    port: int
    connections: int
    messages: int
    file: Path

    @property
    def url(self) -> str:
        return f"smtp://{peers.HOST}:{self.port}"

    async def share(self, work: Callable[[range], Coroutine[None, None, None]]) -> None:
        """Have a task a connection do its part of the messages."""
        each, rest = divmod(self.messages, self.connections)
        async with asyncio.TaskGroup() as group:
            for number in range(self.connections):
                group.create_task(work(range(each + (number < rest))))


@dataclass(frozen=True)
class Run:
    """What a client used: CPU of its whole process; seconds, from its connecting to its goodbye; memory."""

    cpu_seconds: float
    seconds: float = 0.0
    peak_kib: float = 0.0


def run(name: str, job: Job) -> Run:
    """Have a client do its job in a process of its own."""
    address = f"inet:{peers.HOST}:{job.port}"
    numbers = [str(job.connections), str(job.messages)]
    if name == SOURCE:
        options = ["-d", "-s", numbers[0], "-m", numbers[1], "-f", SENDER, "-t", RECIPIENT, "-M", LOCAL_NAME]
        command = [peers.tool(SOURCE), *options, "-F", str(job.file.with_suffix(".lines")), address]
    else:
        command = [sys.executable, "-m", "benches.senders", name, str(job.port), *numbers, str(job.file)]
    before = _cpu_seconds_of_children()
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, timeout=300)
    return Run(_cpu_seconds_of_children() - before, *map(float, done.stdout.split()))


def _cpu_seconds_of_children() -> float:
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return ended.ru_utime + ended.ru_stime


# Each client as its own pages say it is fastest: octets, a kept connection, uvloop where there is a loop.


async def _client(job: Job) -> None:
    data = job.file.read_bytes()
    async with smtpx.Client(job.url, LOCAL_NAME) as client:
        for _ in range(job.messages):
            await client.mail_tx(smtpx.MailTx(SENDER, [RECIPIENT], data))


async def _client_of_a_file(job: Job) -> None:
    async with smtpx.Client(job.url, LOCAL_NAME) as client:
        for _ in range(job.messages):
            await client.send(job.file, mail_from=SENDER, recipients=[RECIPIENT])


async def _pool(job: Job) -> None:
    data = job.file.read_bytes()
    async with smtpx.Pool(job.url, job.connections, LOCAL_NAME) as pool:

        async def work(messages: range) -> None:
            for _ in messages:
                await pool.mail_tx(smtpx.MailTx(SENDER, [RECIPIENT], data))

        await job.share(work)


def _sync_client(job: Job) -> None:
    data = job.file.read_bytes()
    with smtpx.SyncClient(job.url, LOCAL_NAME) as client:
        for _ in range(job.messages):
            client.mail_tx(smtpx.MailTx(SENDER, [RECIPIENT], data))


def _sync_client_of_a_file(job: Job) -> None:
    with smtpx.SyncClient(job.url, LOCAL_NAME) as client:
        for _ in range(job.messages):
            client.send(job.file, mail_from=SENDER, recipients=[RECIPIENT])


def _smtplib(job: Job) -> None:
    data = job.file.read_bytes()
    with smtplib.SMTP(peers.HOST, job.port, LOCAL_NAME) as client:
        for _ in range(job.messages):
            client.sendmail(SENDER, [RECIPIENT], data)


def _bare(job: Job) -> None:
    envelope = f"MAIL FROM:<{SENDER}>\r\nRCPT TO:<{RECIPIENT}>\r\nDATA\r\n".encode()
    data = job.file.read_bytes()
    with socket.create_connection((peers.HOST, job.port)) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.recv(8192)
        sock.sendall(f"EHLO {LOCAL_NAME}\r\n".encode())
        sock.recv(8192)
        for _ in range(job.messages):
            sock.sendall(envelope)
            sock.recv(8192)
            sock.sendmsg([data, b".\r\n"])
            sock.recv(8192)
        sock.sendall(b"QUIT\r\n")
        sock.recv(8192)


async def _aiosmtplib(job: Job) -> None:
    data = job.file.read_bytes()

    async def work(messages: range) -> None:
        async with aiosmtplib.SMTP(hostname=peers.HOST, port=job.port, local_hostname=LOCAL_NAME) as client:
            for _ in messages:
                await client.sendmail(SENDER, [RECIPIENT], data)

    await job.share(work)


BLOCKING: dict[str, Callable[[Job], None]] = {
    SYNC_CLIENT: _sync_client,
    FILE + SYNC_CLIENT: _sync_client_of_a_file,
    SMTPLIB: _smtplib,
    BARE: _bare,
}
ASYNC: dict[str, Callable[[Job], Coroutine[None, None, None]]] = {
    CLIENT: _client,
    FILE + CLIENT: _client_of_a_file,
    POOL: _pool,
    AIOSMTPLIB: _aiosmtplib,
}


def main(name: str, port: str, connections: str, messages: str, file: str) -> None:
    job = Job(int(port), int(connections), int(messages), Path(file))
    start = time.perf_counter()
    if name in BLOCKING:
        BLOCKING[name](job)
    else:
        peers.run(name, ASYNC[name](job))
    print(time.perf_counter() - start, process.memory_kib(os.getpid(), "VmHWM"))


if __name__ == "__main__":
    main(*sys.argv[1:])
