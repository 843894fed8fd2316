"""Connections that rest between two messages, for whoever may use them again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from smtpx.link import Link

__all__ = ["Kept"]


class Kept:
    """Keeps connections, each under a key: all that must be the same for the next message on it.

    Args:
        most: how many rest at the same time; then the one that has rested longest is closed.
        idle: seconds after which one is closed: it is a place at a server that others wait for.
        max_messages: how many messages one takes; servers have limits of their own.
        gone: called for each that rests no more because it has ended, or is to.

    """

    def __init__(
        self,
        most: int = 100,
        idle: float = 10.0,
        max_messages: int = 100,
        *,
        gone: Callable[[], None] = lambda: None,
    ) -> None:
        self._most = most
        self._idle = idle
        self._max_messages = max_messages
        self._gone = gone
        self._resting: list[tuple[Hashable, Link]] = []  # that which has rested longest is the first
        self._reaper: asyncio.TimerHandle | None = None
        self._partings: set[asyncio.Task[None]] = set()
        self._closing = False

    def take(self, key: Hashable) -> Link | None:
        """Return a connection that rests under the key, the one used last; it rests no more."""
        for index in range(len(self._resting) - 1, -1, -1):
            if self._resting[index][0] == key:
                _, link = self._resting.pop(index)
                if link.usable:
                    return link
                self._abort(link)
        return None

    def takes_more(self, link: Link) -> bool:
        """Tell whether a connection may have another message."""
        return link.usable and link.messages < self._max_messages and not self._closing

    def put(self, key: Hashable, link: Link) -> None:
        """Let a connection rest, unless it has ended, or has done enough."""
        if not link.usable:
            self._abort(link)
        elif not self.takes_more(link):
            self._part(link)
        else:
            self._resting.append((key, link))
            if len(self._resting) > self._most:
                self._part(self._resting.pop(0)[1])
            if self._reaper is None:
                self._reap()

    async def close(self) -> None:
        """Say goodbye on each, and keep none from now on."""
        self._closing = True
        if self._reaper is not None:
            self._reaper.cancel()
        while self._resting:
            self._part(self._resting.pop()[1])
        while self._partings:
            await asyncio.wait(self._partings)

    def _part(self, link: Link) -> None:
        task = asyncio.get_running_loop().create_task(link.part())
        self._partings.add(task)
        task.add_done_callback(self._partings.discard)
        self._gone()

    def _abort(self, link: Link) -> None:
        link.abort()
        self._gone()

    def _reap(self) -> None:
        """Close what has rested for too long; one timer for all, and none while nothing rests."""
        loop = asyncio.get_running_loop()
        self._reaper = None
        oldest = loop.time() - self._idle
        while self._resting and self._resting[0][1].rested <= oldest:
            self._part(self._resting.pop(0)[1])
        if self._resting:
            self._reaper = loop.call_at(self._resting[0][1].rested + self._idle, self._reap)
