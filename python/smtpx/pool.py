"""`Pool`: kept connections to one server, shared by many tasks."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from email.message import Message
from typing import TYPE_CHECKING

from smtpx import compose
from smtpx.closing import Closing
from smtpx.errors import ClientError, ConfigurationError, ConnectionLost, EngineError, MessageRefused
from smtpx.kept import Kept
from smtpx.link import Link
from smtpx.options import Options
from smtpx.outcome import Outcome
from smtpx.result import Result

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Unpack

    from smtpx.compose import Sendable
    from smtpx.dialogue import Dialogue, Verb
    from smtpx.dsn_options import DSN
    from smtpx.mail import MailTx
    from smtpx.options import Settings

__all__ = ["Pool"]


class Pool(Closing):
    """At most `size` connections to one server, made when they are needed, kept and used in turns.

    A task that finds all of them busy waits; the tasks are served in their order. A connection that died
    while it rested is replaced, and a message begun on it is sent again where nobody can have got it.

    ::

        async with smtpx.Pool("smtp://relay.example.org", size=20) as pool:
            async with asyncio.TaskGroup() as group:
                for message in messages:
                    group.create_task(pool.send(message))

    Args:
        url, local_name, settings: see `Client`.
        size: connections at the same time.
        max_messages: messages on one connection before it is replaced: servers have limits of their own.
        idle: seconds that a connection rests before it is closed; servers close theirs after minutes.

    """

    def __init__(
        self,
        url: str,
        size: int = 10,
        local_name: str | None = None,
        *,
        max_messages: int = 1000,
        idle: float = 30.0,
        **settings: Unpack[Settings],
    ) -> None:
        if size < 1 or max_messages < 1 or idle <= 0:
            raise ConfigurationError("size and max_messages are 1 or more, idle is more than 0 seconds")
        self._options = Options(url, local_name, **settings)
        self._size = size
        # The one used last is used next, so that the others can go.
        self._kept = Kept(size, idle, max_messages, gone=self._gone)
        self._waiting: deque[asyncio.Future[Link | None]] = deque()
        self._open = 0
        self._empty: asyncio.Future[None] | None = None
        self._closing = False

    async def send(
        self,
        message: Sendable,
        *,
        mail_from: str | None = None,
        recipients: str | Sequence[str] | None = None,
        dsn: DSN | None = None,
        require_tls: bool = False,
    ) -> Result:
        """See `Client.send`; where no connection can be had, each recipient of the result is temporary."""
        if not isinstance(message, bytes | Message):
            # A pipe can be read once, but the message may have to be sent on another connection.
            message = await asyncio.to_thread(compose.source, message)
        try:
            return await self._on_one(
                lambda dialogue: dialogue.send(message, mail_from, recipients, dsn, require_tls)
            )
        except ClientError as error:
            if error.result is None:  # there was no connection to be had
                with contextlib.suppress(OSError, TypeError, ValueError):  # nor, then, anybody to send it to
                    to = await asyncio.to_thread(compose.envelope, message, mail_from, recipients)
                    error.result = Result(to.recipients, Outcome.TEMPORARY)
            raise

    async def mail_tx(self, mail: MailTx) -> Result:
        """See `Client.mail_tx`."""
        try:
            return await self._on_one(lambda dialogue: dialogue.mail_tx(mail))
        except ClientError as error:
            if error.result is None:  # there was no connection to be had
                error.result = Result(list(dict.fromkeys(mail.recipients)), Outcome.TEMPORARY)
            raise

    async def close(self) -> None:
        """Take no more messages, let those on their way arrive, and say goodbye on each connection."""
        self._closing = True
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_exception(_closed())
        await self._kept.close()
        if self._open:
            if self._empty is None:
                self._empty = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._empty)  # several may wait for it
        await self._kept.close()  # those that were on their way say goodbye too

    async def _on_one(self, verb: Callable[[Dialogue], Verb[Result]]) -> Result:
        link = self._kept.take(None) or await self._get()
        while link.messages:
            try:
                return await self._say(link, verb)
            except (ConnectionLost, MessageRefused) as error:
                # A kept connection may be gone before we know. Nobody may get the message twice.
                if (
                    self._closing
                    or link.usable
                    or not error.result
                    or len(error.result.temporary) < len(error.result)
                ):
                    raise
            link = await self._get()
        return await self._say(link, verb)

    async def _say(self, link: Link, verb: Callable[[Dialogue], Verb[Result]]) -> Result:
        link.messages += 1
        try:
            return await link.run(verb(link.dialogue))
        finally:
            self._put(link)

    async def _get(self) -> Link:
        """Make a connection, or wait for one."""
        if self._closing:
            raise _closed()
        if self._open >= self._size:
            waiter: asyncio.Future[Link | None] = asyncio.get_running_loop().create_future()
            self._waiting.append(waiter)
            try:
                given = await waiter
            except BaseException:
                if not waiter.done() or waiter.cancelled():
                    with contextlib.suppress(ValueError):
                        self._waiting.remove(waiter)
                elif waiter.exception() is None:  # cancelled with a connection in hand, or the right to one
                    self._gone() if (link := waiter.result()) is None else self._put(link)
                raise
            if given is not None:
                return given
        else:
            self._open += 1
        try:
            return await Link.open(self._options)
        except BaseException:
            self._gone()
            raise

    def _put(self, link: Link) -> None:
        """Give a connection to the task that has waited longest, or let it rest."""
        if self._kept.takes_more(link) and (waiter := self._next()) is not None:
            waiter.set_result(link)
        else:
            self._kept.put(None, link)

    def _gone(self) -> None:
        """Give the right to a connection, in the place of one that is no more, to whom waited longest."""
        if (waiter := self._next()) is not None:
            waiter.set_result(None)
            return
        self._open -= 1
        if self._open == 0 and self._empty is not None and not self._empty.done():
            self._empty.set_result(None)

    def _next(self) -> asyncio.Future[Link | None] | None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                return waiter
        return None


def _closed() -> EngineError:
    return EngineError("the pool is closed")
