"""The messages that a queue has under way: each is loaded once, and large ones only as memory bears them."""

# ruff: noqa: A002 - "id" is the attribute's name

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from smtpx.mail import MailTx
    from smtpx.storage.base import QueueStorage

__all__ = ["LARGE", "Contents"]

LARGE = 1 << 20
"""Octets of a message from which on it is counted: smaller ones are few enough by their number."""
_MOST = 256 << 20  # octets of large messages that are in memory at once for other hosts, and as many for here


@dataclass(slots=True)
class _Shared:
    """A message that several attempts have in their hands."""

    users: int = 0
    loading: asyncio.Task[MailTx] | None = None
    size: int = 0
    """The octets that it was given room for."""
    waits: bool = False
    """Whether they wait for room."""


class Contents:
    """The contents of messages under way.

    Mail for here and for other hosts is counted apart, as attempts are: what mailboxes here are to get does
    not wait for hosts that hang.

    Args:
        storage: where the messages are.
        waiting: called when some attempts begin to wait for room.

    """

    def __init__(self, storage: QueueStorage, waiting: Callable[[], None]) -> None:
        self._storage = storage
        self._waiting = waiting
        self._shared: dict[tuple[str, bool], _Shared] = {}
        self._rooms = {False: _Room(), True: _Room()}
        self._idle = {False: 0, True: 0}

    def __len__(self) -> int:
        return len(self._shared)

    def idle(self, remote: bool) -> int:
        """Return how many attempts wait for room: those keep no other one from beginning."""
        return self._idle[remote]

    def begin(self, id: str, *, remote: bool) -> None:
        """Note that an attempt has begun, which may load the message."""
        shared = self._shared.setdefault((id, remote), _Shared())
        shared.users += 1
        self._idle[remote] += shared.waits

    def end(self, id: str, *, remote: bool) -> None:
        """Note that it has ended; with the last one the message goes."""
        shared = self._shared[id, remote]
        shared.users -= 1
        self._idle[remote] -= shared.waits
        if not shared.users:
            del self._shared[id, remote]
            self._rooms[remote].leave(shared.size)

    async def load(self, id: str, *, remote: bool) -> MailTx:
        """Return the message, once there is room for it.

        Raises:
            StorageError: it cannot be read.

        """
        shared = self._shared[id, remote]
        if shared.loading is None:
            shared.loading = asyncio.create_task(self._load(id, shared, remote))
        return await shared.loading

    async def _load(self, id: str, shared: _Shared, remote: bool) -> MailTx:
        room = self._rooms[remote]
        mail = await self._storage.mail_load(id)
        size = len(mail.data)
        if size < LARGE:
            return mail
        if not room.enter(size):
            del mail  # only now its size is known; it is loaded again when its turn has come
            shared.waits = True
            self._idle[remote] += shared.users
            self._waiting()
            try:
                await room.wait(size)
            finally:
                shared.waits = False
                self._idle[remote] -= shared.users
            shared.size = size
            return await self._storage.mail_load(id)
        shared.size = size
        return mail


class _Room:
    """So many octets; who finds no room waits, and who came first goes first."""

    def __init__(self) -> None:
        self._taken = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    def enter(self, size: int) -> bool:
        """Take so many octets, if nobody waits and there are so many; there are for one alone in any case."""
        fits = not self._waiting and self._fits(size)
        if fits:
            self._taken += size
        return fits

    async def wait(self, size: int) -> None:
        """Take so many octets once there are."""
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                self.leave(size)
            raise

    def leave(self, size: int) -> None:
        """Give them back."""
        self._taken -= size
        while self._waiting:
            size, turn = self._waiting[0]
            if not turn.cancelled():
                if not self._fits(size):
                    return
                self._taken += size
                turn.set_result(None)
            self._waiting.popleft()

    def _fits(self, size: int) -> bool:
        return not self._taken or self._taken + size <= _MOST
