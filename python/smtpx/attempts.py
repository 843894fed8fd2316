"""The attempts that are under way: begun as their turn comes, and waited for at the end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from smtpx.eager import begun

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from smtpx.clock import Clock
    from smtpx.contents import Contents
    from smtpx.lanes import Group, Lanes

__all__ = ["Attempts"]

_Attempt: TypeAlias = "asyncio.Task[None]"


class _Ended(Protocol):
    def __call__(self, group: Group, *, began: bool, more: bool) -> None: ...


class Attempts:
    """A task for each, which costs no trip through the loop where nothing has to be waited for.

    Args:
        lanes: say whose turn it is.
        contents: are told who may load a message.
        attempt: makes an attempt.
        ended: called when one has ended: whether it ``began``, as it may be cancelled before, and whether
            ``more`` of its destination may be claimed than before.
        stopping: once it is set, none begins.

    """

    def __init__(
        self,
        lanes: Lanes,
        contents: Contents,
        attempt: Callable[[Group], Coroutine[Any, Any, None]],
        ended: _Ended,
        stopping: asyncio.Event,
    ) -> None:
        self._lanes = lanes
        self._contents = contents
        self._attempt = attempt
        self._report = ended
        self._stopping = stopping
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[_Attempt, Group] = {}
        self._asked = False  # whether the loop will begin some
        self._quiet = asyncio.Event()
        self._quiet.set()

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[_Attempt]:
        return iter(self._waiting)

    def begin(self) -> None:
        """Begin all that may be under way, soon.

        From the loop, and in nobody's task: an attempt may end as it begins, and let others begin; thousands
        of them are a loop, and no recursion.
        """
        if not self._asked:
            self._asked = True
            self._loop.call_soon(self._begin)

    def _begin(self) -> None:
        self._asked = False
        for _ in range(self._lanes.most):
            if self._stopping.is_set() or (group := self._lanes.take()) is None:
                return
            if group.mail is None:
                self._contents.begin(group.mail_id, remote=group.remote)
            attempt = begun(self._attempt(group), self._loop)
            if attempt.done():
                self._end(attempt, group)
            else:
                self._waiting[attempt] = group
                self._quiet.clear()
                attempt.add_done_callback(self._ended)
        self.begin()  # after whatever else waits for the loop

    def _ended(self, attempt: _Attempt) -> None:
        self._end(attempt, self._waiting.pop(attempt))
        self.begin()
        if not self._waiting:
            self._quiet.set()

    def _end(self, attempt: _Attempt, group: Group) -> None:
        if group.mail is None:
            self._contents.end(group.mail_id, remote=group.remote)
        self._report(group, began=not attempt.cancelled(), more=self._lanes.done(group))

    async def stop(self, clock: Clock, grace: float) -> None:
        """Let them finish; after ``grace`` seconds cancel those that the transport has not answered."""
        await clock.wait(self._quiet, grace)
        for attempt, group in self._waiting.items():
            if not group.concluding:
                attempt.cancel()
        await self._quiet.wait()
