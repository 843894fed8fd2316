"""Clients that send under torture, and send again what was not acknowledged."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self

import smtpx
from smtpx.errors import ClientError

from tests.torture.messages import message

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from tests.torture.messages import Copy
    from tests.torture.record import Record

__all__ = ["Load", "ServerGone"]

SESSIONS = 8
PATIENCE = 60.0
"""Seconds a sender waits for any answer: beyond them a server hangs, which is a fault like another."""


class ServerGone(Exception):
    """Nobody listens any more, and the torture had not ended the server."""


class Load:
    """Sessions that send one message after the other, for as long as the block and the server last."""

    def __init__(self, record: Record, address: tuple[str, int], sessions: int = SESSIONS) -> None:
        self._record = record
        self._url = f"smtp://{address[0]}:{address[1]}"
        self._sessions = sessions
        self._senders: list[asyncio.Task[None]] = []
        self._progress = asyncio.Event()
        self._stopped = False

    async def __aenter__(self) -> Self:
        self._senders = [asyncio.create_task(self._send()) for _ in range(self._sessions)]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped = True
        await asyncio.gather(*self._senders)

    async def until(self, happened: Callable[[], bool]) -> None:
        """Wait until that is so, looked at whenever an answer came.

        Raises:
            ServerGone: no sender finds the server any more.

        """
        while not happened():
            if all(sender.done() for sender in self._senders):
                await asyncio.gather(*self._senders)
                raise ServerGone(f"nobody listens at {self._url}")
            self._progress.clear()
            await self._progress.wait()

    async def until_acknowledged(self, more: int) -> None:
        """Wait until so many more messages are acknowledged."""
        enough = self._record.messages + more
        await self.until(lambda: self._record.messages >= enough)

    async def _send(self) -> None:
        try:
            while not self._stopped:
                client = smtpx.Client(self._url, timeout=PATIENCE)
                try:
                    await client.connect()
                except ClientError as error:
                    if isinstance(error.__cause__, ConnectionRefusedError):
                        return
                    continue  # it is there, and has no time for us
                try:
                    while client.connected and not self._stopped:
                        await self._send_one(client)
                finally:
                    await client.close()
        finally:
            self._progress.set()

    async def _send_one(self, client: smtpx.Client) -> None:
        copies: list[Copy] = self._record.next()
        try:
            result = await client.mail_tx(message(copies))
        except ClientError as error:
            if error.result is None:
                self._record.unsent(copies)
            else:
                self._record.answered(copies, error.result)
        else:
            self._record.answered(copies, result)
        self._progress.set()
