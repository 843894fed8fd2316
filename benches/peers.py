"""The servers under load, each in a process of its own; every one accepts a message and drops it.

``python -m benches.peers NAME`` serves one of the Python ones on a free loopback port, which it prints.
"""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from benches import process
from benches.publish import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from smtpx import MailTx

HOST = "127.0.0.1"
SMTPX = "smtpx"
AIOSMTPD = "aiosmtpd"
UVLOOP = " + uvloop"
SINK = "smtp-sink"
NAMES = (SMTPX + UVLOOP, SMTPX, AIOSMTPD + UVLOOP, AIOSMTPD, SINK)


@dataclass(frozen=True)
class Peer:
    """A server that runs: its name, port and process."""

    name: str
    port: int
    pid: int

    def cpu_seconds(self) -> float:
        return process.cpu_seconds(self.pid)

    def settled_cpu_seconds(self) -> float:
        return process.settled_cpu_seconds(self.pid)

    def peak_kib(self) -> int:
        return process.memory_kib(self.pid, "VmHWM")

    def resident_kib(self) -> int:
        return process.memory_kib(self.pid, "VmRSS")


@contextlib.contextmanager
def running(name: str, *options: str) -> Iterator[Peer]:
    """Start a server, wait until it listens, stop it on the way out."""
    if name != SINK:
        with listening("benches.peers", name, *options) as (port, pid):
            yield Peer(name, port, pid)
        return
    port = free_port()
    command = [sink_path(), "-4", "-m", "2000", *(["-u", "nobody"] if getpass.getuser() == "root" else [])]
    with subprocess.Popen([*command, *options, f"inet:{HOST}:{port}", "1024"]) as child:
        try:
            wait_for(port)
            yield Peer(name, port, child.pid)
        finally:
            child.kill()


@contextlib.contextmanager
def listening(module: str, *arguments: str, log: IO[bytes] | None = None) -> Iterator[tuple[int, int]]:
    """Run a module that prints the port it listens on; give the port and the process, which ends here.

    What it writes to standard error goes to ``log``.
    """
    command = [sys.executable, "-m", module, *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=log) as child:
        try:
            assert child.stdout is not None
            line = child.stdout.readline()
            if not line:
                raise RuntimeError(f"{' '.join(command)} did not start")
            yield int(line), child.pid
        finally:
            child.kill()


def run(name: str, work: Coroutine[Any, Any, None]) -> None:
    """Run it on the event loop that the name says."""
    factory = None
    if name.endswith(UVLOOP):
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(work)


def sink_path() -> str:
    return tool("smtp-sink")


def find_tool(name: str) -> str | None:
    """Where Postfix's program is: Debian installs it outside an ordinary user's PATH."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def tool(name: str) -> str:
    """Where Postfix's program is; without it the program ends."""
    path = find_tool(name)
    if path is None:
        raise SystemExit(f"{name} is missing: install Debian's package postfix (apt-get install postfix)")
    return path


def free_port() -> int:
    """Return a port for a server that cannot choose one by itself."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for(port: int) -> None:
    """Wait until a server greets on the port; one that starts may refuse, or reset, at first."""
    for _ in range(200):
        with contextlib.suppress(ConnectionError), socket.create_connection((HOST, port), 1) as probe:
            probe.recv(512)
            return
        process.pause(0.02)
    raise RuntimeError(f"nothing listens on port {port}")


async def _serve_smtpx(tls: tuple[str, str] | None) -> None:
    import smtpx

    class Drop(smtpx.Handler):
        def serve_mail_tx(self, mail: MailTx) -> None:
            """Take it and forget it."""

    limits = smtpx.Limits(connections=20_000, connections_per_address=20_000)
    listener = smtpx.Listener("smtp", HOST, 0)
    server = smtpx.Server(handler=Drop(), listeners=[listener], limits=limits)
    if tls:
        server.load_certificate(*tls)
    async with server:
        print(server.listeners[0].port, flush=True)
        await server.serve_forever()


async def _serve_aiosmtpd(_tls: tuple[str, str] | None) -> None:
    from aiosmtpd.smtp import SMTP

    class Drop:
        async def handle_DATA(self, _server: Any, _session: Any, _envelope: Any) -> str:  # noqa: N802 (its name)
            return "250 OK"

    loop = asyncio.get_running_loop()
    handler = Drop()
    server = await loop.create_server(
        lambda: SMTP(handler, hostname="bench.example", loop=loop), HOST, 0, backlog=1024
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main(name: str, *tls: str) -> None:
    servers: dict[str, Callable[[tuple[str, str] | None], Coroutine[Any, Any, None]]] = {
        SMTPX: _serve_smtpx,
        AIOSMTPD: _serve_aiosmtpd,
    }
    serve = servers[name.removesuffix(UVLOOP)]
    run(name, serve((tls[0], tls[1]) if tls else None))


if __name__ == "__main__":
    main(*sys.argv[1:])
