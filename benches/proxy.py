"""A line to a server that is 20 ms of round trip long, and of any width.

``python -m benches.proxy PORT`` passes each connection on to that port, every octet 10 ms later, both ways,
and prints the port that it listens on itself.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from typing import cast

from benches import peers

ONE_WAY = 0.01  # seconds


class End(asyncio.Protocol):
    """One end of a connection: what is read here is written at the other end, later."""

    other: End
    transport: asyncio.Transport

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._under_way: deque[bytes] = deque()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        # Timers that are due together may come in any order; the octets keep theirs.
        self._under_way.append(data)
        self._loop.call_later(ONE_WAY, self._arrive)

    def connection_lost(self, error: Exception | None) -> None:
        self.data_received(b"")

    def _arrive(self) -> None:
        octets = self._under_way.popleft()
        if octets:
            self.other.transport.write(octets)
        else:
            self.other.transport.close()


class Near(End):
    """The end at the client's side, which makes the other."""

    def __init__(self, loop: asyncio.AbstractEventLoop, port: int) -> None:
        super().__init__(loop)
        self._port = port

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.pause_reading()
        self._reaching = self._loop.create_task(self._reach())

    async def _reach(self) -> None:
        _, self.other = await self._loop.create_connection(lambda: End(self._loop), peers.HOST, self._port)
        self.other.other = self
        self.transport.resume_reading()


async def pass_on(port: int) -> None:
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(lambda: Near(loop, port), peers.HOST, 0)
    print(listener.sockets[0].getsockname()[1], flush=True)
    await listener.serve_forever()


if __name__ == "__main__":
    peers.run(peers.UVLOOP, pass_on(int(sys.argv[1])))
