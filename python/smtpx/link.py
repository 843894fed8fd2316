"""A client's connection on asyncio: octets between a transport and the engine, and the clock.

It pumps what `dialogue` says, and knows no protocol.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import socket
from typing import TYPE_CHECKING, Any, TypeVar, cast

import aiohappyeyeballs

from smtpx.dialogue import SHAKE_HANDS, Call, Dialogue, Event, Push, Read, returned
from smtpx.errors import ClientError, ConnectionLost, ReplyTimeout, ResponseError, TLSFailed
from smtpx.target import TLSMode
from smtpx.tls import handshake_failed

if TYPE_CHECKING:
    from smtpx._core import Response
    from smtpx.dialogue import Request, Verb
    from smtpx.newlines import Octets
    from smtpx.options import Options, Trace

__all__ = ["Link"]

_T = TypeVar("_T")

_WRITE_BUFFER = 256 << 10  # octets that wait for the server before more are asked for
_NEXT_ADDRESS = 0.25  # seconds before the next address is tried beside one that does not answer
_CLOSING = 5.0  # seconds that a goodbye may take; all is said and done by then


class Link(asyncio.Protocol):
    """One connection, from its first octet to its last.

    Attributes:
        dialogue: the verbs on it.
        messages: transactions begun on it.
        rested: when the last verb ended, in seconds of the loop's clock.
        welcome: the last reply to EHLO.

    """

    __slots__ = (
        "_closed",
        "_engine",
        "_event",
        "_heard",
        "_loop",
        "_lost",
        "_options",
        "_paused",
        "_replies",
        "_room",
        "_timer",
        "_total_at",
        "_transport",
        "_verb",
        "_waiter",
        "dialogue",
        "messages",
        "rested",
        "welcome",
    )

    dialogue: Dialogue
    welcome: Response
    _transport: asyncio.Transport

    def __init__(self, options: Options, loop: asyncio.AbstractEventLoop) -> None:
        self._options = options
        self._loop = loop
        self._verb: Verb[Any] | None = None
        self._waiter: asyncio.Future[Any] | None = None
        self._room: asyncio.Future[None] | None = None
        self._event: Event | None = None
        self._lost: Exception | None = None
        self._closed: asyncio.Future[None] = loop.create_future()
        self._timer: asyncio.TimerHandle | None = None
        self._heard = self.rested = loop.time()
        self._total_at: float | None = None
        self._paused = False
        self._replies = 0
        self.messages = 0

    @classmethod
    async def open(cls, options: Options, address: str = "") -> Link:
        """Connect, say hello, go over to TLS and log in as the options say; raises as `Client.connect`.

        With an address (IPv4 or IPv6) that one is connected to, and no name looked up: the target's host is
        what the certificate must be for.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        link = await cls._to(options, address, began)
        try:
            link.welcome = await link.run(link.dialogue.open(), elapsed=loop.time() - began)
        except BaseException:
            link.abort()
            raise
        return link

    @classmethod
    async def _to(cls, options: Options, address: str, began: float) -> Link:
        loop = asyncio.get_running_loop()
        target, patience = options.target, options.timeouts.patience(0.0)
        try:
            async with asyncio.timeout(patience):
                if target.path:
                    _, link = await loop.create_unix_connection(lambda: cls(options, loop), target.path)
                    return link
                sock = await _connected(options, address or target.host, loop)
        except TimeoutError as error:
            raise ConnectionLost(f"{target}: no connection within {patience:g} s") from error
        except OSError as error:
            raise ConnectionLost(f"{target}: {error.strerror or error}") from error
        security: dict[str, Any] = {}
        if target.tls is TLSMode.IMPLICIT:
            security = {
                "ssl": options.context,
                "server_hostname": target.host,
                "ssl_handshake_timeout": options.timeouts.patience(loop.time() - began),
            }
        try:
            _, link = await loop.create_connection(lambda: cls(options, loop), sock=sock, **security)
        except OSError as error:
            if security:
                raise handshake_failed(target, error) from error
            raise ConnectionLost(f"{target}: {error.strerror or error}") from error
        return link

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=_WRITE_BUFFER)
        self.dialogue = Dialogue(self._options, transport.get_extra_info("sockname"))
        self._engine = self.dialogue.engine
        self._note_certificate()

    def data_received(self, data: bytes) -> None:
        """Feed the engine: the hot path."""
        engine = self._engine
        try:
            event, output = engine.receive_data(data)
        except ResponseError as error:
            self._fail(self.dialogue.lost(error), error)
            return
        # A server that lets octets drip, and completes no reply, gets no more time for each of them.
        if engine.replies != self._replies:
            self._replies = engine.replies
            self._heard = self._loop.time()
        if output:
            self._transport.write(output)
        if self._options.trace is not None:
            try:
                self._show(self._options.trace)
            except Exception as failure:
                self._fail_in_trace(failure)  # it is for whoever said the verb, not for the loop
                return
        if event is not None:
            self._tell(event)
        elif engine.closed:
            self._fail(self.dialogue.lost(), None)

    def eof_received(self) -> None:
        """Give up: who says no more answers no more, whether or not he still reads."""
        self._fail(self.dialogue.lost(), None)

    def pause_writing(self) -> None:
        """Have `Push` wait."""
        self._paused = True

    def resume_writing(self) -> None:
        """Have it go on."""
        self._paused = False
        self._heard = self._loop.time()
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        """Tell the verb under way."""
        if self._timer is not None:
            self._timer.cancel()
        self._fail(self.dialogue.lost(error), error)
        if not self._closed.done():
            self._closed.set_result(None)

    # -- the pump

    @property
    def usable(self) -> bool:
        """Whether a verb may begin."""
        return self._engine.idle and self._lost is None

    async def run(self, verb: Verb[_T], *, elapsed: float = 0.0) -> _T:
        """Have the verb said, which began so many seconds ago; what it asks for is done here.

        One at a time. Cancelled, or failing inside the protocol, the connection is closed: what the server
        would say next belongs to no verb.
        """
        timeouts = self._options.timeouts
        self._total_at = None if timeouts.total is None else self._loop.time() + timeouts.left(elapsed)
        self._verb = verb
        try:
            request = next(verb)
            while True:
                try:
                    if type(request) is bytes:
                        answer = await self._exchange(request)
                    else:
                        answer = await self._do(request)
                except ClientError as error:
                    request = verb.throw(error)
                else:
                    request = verb.send(answer)
        except StopIteration as stop:
            return returned(verb, stop)
        finally:
            verb.close()
            self._verb = self._waiter = None
            self.rested = self._loop.time()
            if not self._engine.idle or self._lost is not None or self._event is not None:
                self.abort()

    def _exchange(self, octets: bytes) -> asyncio.Future[Any]:
        """Write; the future of the event that comes of it."""
        waiter = self._waiter = self._loop.create_future()
        if self._lost is not None:
            waiter.set_exception(self._lost)
            return waiter
        if octets:
            self._transport.write(octets)
            if self._options.trace is not None:
                self._show(self._options.trace)
        if self._event is not None:
            event, self._event = self._event, None
            waiter.set_result(event)
            return waiter
        self._heard = self._loop.time()
        if self._timer is None:
            self._watch()
        return waiter

    async def _do(self, request: Request) -> Any:
        if isinstance(request, Push):
            return await self._push(request.parts)
        if request is SHAKE_HANDS:
            return await self._shake_hands()
        # A function that fetches a token may stall, and so may a pipe.
        scope = asyncio.timeout_at(self._total_at)
        try:
            async with scope:
                if isinstance(request, Read):
                    return await asyncio.to_thread(request.function)
                assert isinstance(request, Call)  # noqa: S101 - for the type alone
                answer = request.function()
                return await answer if inspect.isawaitable(answer) else answer
        except TimeoutError as error:
            if scope.expired():
                raise ReplyTimeout("the total time ran out before there was anything to say") from error
            raise

    async def _push(self, parts: list[Octets]) -> Event | None:
        if self._lost is not None:
            raise self._lost
        for part in parts:  # before Python 3.13.2, writelines() did not say when to pause
            self._transport.write(part)
        if self._options.trace is not None:
            self._show(self._options.trace)
        if self._paused and self._event is None:
            self._room = self._loop.create_future()
            self._heard = self._loop.time()
            if self._timer is None:
                self._watch()
            await self._room
            self._room = None
        else:
            # The server may have said something by now; a write that fails would hide it.
            await asyncio.sleep(0)
        event, self._event = self._event, None
        if event is None and self._lost is not None:
            raise self._lost
        return event

    async def _shake_hands(self) -> None:
        if self._lost is not None:
            raise self._lost
        options = self._options
        patience = options.timeouts.connect
        if self._total_at is not None:
            patience = max(min(patience, self._total_at - self._loop.time()), 1e-3)
        try:
            transport = await self._loop.start_tls(
                self._transport,
                self,
                options.context,
                server_hostname=options.target.host or None,
                ssl_handshake_timeout=patience,
            )
        except (OSError, ValueError) as error:
            raise handshake_failed(options.target, error) from error
        if transport is None or self._lost is not None:
            raise self._lost or TLSFailed(f"{options.target}: the connection broke in the TLS handshake")
        self._transport = transport
        self._transport.set_write_buffer_limits(high=_WRITE_BUFFER)
        self._note_certificate()

    def _note_certificate(self) -> None:
        secure = self._transport.get_extra_info("ssl_object")
        if secure is not None:
            self.dialogue.certificate = secure.getpeercert(True)

    def _tell(self, event: Event) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(event)
            return
        self._event = event
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    def _fail_in_trace(self, error: Exception) -> None:
        if isinstance(error, StopIteration):  # no future takes it
            stopped = RuntimeError("a function of the user's raised StopIteration")
            stopped.__cause__ = error
            error = stopped
        if self._verb is None:
            self._loop.call_exception_handler({"message": "the trace of a client failed", "exception": error})
        self._fail(error, error.__cause__)

    def _fail(self, error: Exception, cause: BaseException | None) -> None:
        if self._lost is not None:
            return
        error.__cause__ = cause
        self._lost = error
        if self._verb is None:
            self._engine.lost()
        self._transport.abort()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(error)
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    def _show(self, trace: Trace) -> None:
        for direction, line in self._engine.take_transcript():
            trace(direction, line)

    # -- the clock

    def _watch(self) -> None:
        """Look whether the server is over time, and when to look again.

        No timer is set and cancelled for each reply: one goes on while the connection is in use.
        """
        self._timer = None
        waits = self._room is not None or (self._waiter is not None and not self._waiter.done())
        waiting = self._engine.waiting
        if not waits or not waiting or self._lost is not None:
            return
        timeouts = self._options.timeouts
        now = self._loop.time()
        due = self._heard + getattr(timeouts, waiting)
        if self._total_at is not None:
            due = min(due, self._total_at)
        if now >= due:
            self._fail(ReplyTimeout(f"the server did not answer in time ({waiting.replace('_', ' ')})"), None)
            return
        self._timer = self._loop.call_at(min(due, now + timeouts.shortest), self._watch)

    # -- the end

    def abort(self) -> None:
        """Close at once, and say nothing."""
        self._fail(ConnectionLost("the connection was closed"), None)
        if self._verb is None:
            self._engine.lost()
        self._transport.abort()

    async def part(self) -> None:
        """Say QUIT where that can be said, and close; what goes wrong in it concerns nobody any more."""
        if self.usable:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(_CLOSING):
                    await self.run(self.dialogue.command(b"QUIT"))
        await self.close()

    async def close(self) -> None:
        """Close, and wait until it is."""
        if self._verb is None and self._lost is None:
            self._lost = ConnectionLost("the connection was closed")
            self._engine.lost()
            self._transport.close()
        else:
            self.abort()
        try:
            if not self._closed.done():
                await asyncio.wait([self._closed], timeout=_CLOSING)
        finally:
            self.abort()


async def _connected(options: Options, host: str, loop: asyncio.AbstractEventLoop) -> socket.socket:
    """Connect to whichever of the host's addresses answers first (RFC 8305)."""
    source, kind = options.source_address, socket.SOCK_STREAM
    addresses = await loop.getaddrinfo(host, options.target.port, type=kind)
    sources = None if source is None else await loop.getaddrinfo(source[0], source[1], type=kind)
    return await aiohappyeyeballs.start_connection(
        addresses, local_addr_infos=sources, happy_eyeballs_delay=_NEXT_ADDRESS, loop=loop
    )
