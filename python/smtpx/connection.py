"""The pump: octets between a transport and an engine, answers from the desk, and the connection's end.

One native call and one write a read. It knows no protocol: what to say is the engine's, what to decide is
the desk's.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias, cast

from smtpx import answering, handshake
from smtpx._core import CloseEvent, MessageEvent, Response, ServerEngine
from smtpx.answers import fitting
from smtpx.deadlines import Deadlines
from smtpx.desk import FAILED, UPGRADE, Conversation, Reply, Upgrade
from smtpx.early import has_spoken
from smtpx.sasl import Challenge

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from smtpx._core import AuthEvent, CommandEvent, ErrorEvent
    from smtpx.desk import Desk
    from smtpx.limits import Limits
    from smtpx.session import Peer, Session

Asked: TypeAlias = "CommandEvent | AuthEvent | MessageEvent | ErrorEvent | None"
Event: TypeAlias = "CommandEvent | AuthEvent | MessageEvent | ErrorEvent | CloseEvent"
Step: TypeAlias = "tuple[Event | None, bytes]"

__all__ = ["STOPPING", "Connection", "Owner"]

STOPPING: Final = Response(421, "4.3.2 Service shutting down, closing the connection")

_BACKLOG = 64 << 10  # octets behind an unanswered event before reading stops
_HEARD_OUT = 1 << 20  # octets read and dropped behind our last reply
_AT_ONCE = (Response, Challenge, Upgrade)

_TIMED_OUT = Response(421, "4.4.2 Timeout, closing the connection")


class Owner(Protocol):
    """What a connection needs of the server that accepted it."""

    limits: Limits

    @property
    def tls(self) -> ssl.SSLContext | None:
        """The context for the next handshake."""
        ...

    def admit(self, connection: Connection, peer: Peer, service: str) -> Session | Response:
        """Count the connection in, or refuse it."""
        ...

    def dismiss(self, connection: Connection) -> None:
        """Count it out, and write its line into the log."""
        ...


class Connection(asyncio.Protocol):
    """One client: between its transport and its engine."""

    __slots__ = (
        "_answering",
        "_asked",
        "_desk",
        "_draining",
        "_dropped",
        "_early",
        "_ended",
        "_half_closed",
        "_handshake",
        "_limits",
        "_loop",
        "_now",
        "_owner",
        "_patience",
        "_receive",
        "_timer",
        "_times",
        "_transport",
        "conversation",
        "reason",
        "session",
    )

    _transport: asyncio.Transport
    session: Session
    conversation: Conversation | None

    def __init__(
        self, owner: Owner, desk: Desk, patience: answering.Patience, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._owner = owner
        self._desk = desk
        self._patience = patience
        self._loop = loop
        self._limits = owner.limits
        self._now = loop.time
        self._receive: Callable[[bytes], Step] = self._drop
        self._early = b""
        self._handshake: asyncio.Task[None] | None = None
        self._answering: answering.Waiting | None = None
        self._asked: Asked = None
        self._timer: asyncio.TimerHandle | None = None
        self._times = Deadlines(self._limits, loop.time())
        self._draining = False
        self._dropped = 0
        self._ended = False
        self._half_closed = False
        self.conversation = None
        self.reason = ""

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Admit the client; greet it, or shake hands first."""
        self._transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername")
        peer = tuple(peer[:2]) if isinstance(peer, tuple) else _path(peer)
        admitted = self._owner.admit(self, peer, self._desk.service)
        if isinstance(admitted, Response):
            self._ended = True
            if self._desk.service != "submissions":  # whose clients read no clear text
                self._transport.write(bytes(admitted))
            self._transport.close()
            return
        self.session = admitted
        self._transport.set_write_buffer_limits(high=self._limits.write_buffer)
        if self._desk.service == "submissions":
            self._timer = self._loop.call_later(self._limits.handshake_timeout, self._tick)
            self._receive = self._hear_hello
            return
        self._timer = self._loop.call_later(self._limits.shortest_timeout, self._tick)
        self._converse(tls=False)

    def data_received(self, data: bytes) -> None:
        """Feed the engine: the hot path."""
        times = self._times
        times.heard = self._now()
        event, output = self._receive(data)
        if event is not None:
            self._pursue(event, output)
        elif output:
            times.replied = times.heard
            self._transport.write(output)
        elif self._answering is not None:
            self._watch_backlog()

    def eof_received(self) -> bool:
        """Stay for a client that has said all and waits (``nc -N``); TLS cannot be closed by halves.

        One that has left looks the same. It is found out when it is answered: a handler that stores is not
        torn out of it, but a hook with nothing behind it is no longer of use to anybody (HOSTILE 107).
        """
        waits = isinstance(self._asked, MessageEvent) or self._buffered() > 0
        self._half_closed = self._answering is not None and waits and self._transport.can_write_eof()
        return self._half_closed

    def pause_writing(self) -> None:
        """Read no more from a client that does not read our replies (HOSTILE 103)."""
        self._times.blocked = self._now()
        self._watch_backlog()

    def resume_writing(self) -> None:
        """Go on."""
        self._times.blocked = None
        self._watch_backlog()

    def connection_lost(self, error: Exception | None) -> None:
        """Forget the session; a message that a handler has is not taken from it."""
        if not self.reason:
            self.reason = "connection lost" if error else "closed by the client"
        self._ended = True
        self._receive = _deaf  # no method of ours: else the connection would wait for the garbage collector
        if self._timer is not None:
            self._timer.cancel()
        if self._handshake is not None:
            self._handshake.cancel()
        if self._answering is not None and not isinstance(self._asked, MessageEvent):
            self._answering.give_up()
            self._answering = None
        self._owner.dismiss(self)

    @property
    def messages(self) -> int:
        """Messages that reached the handler."""
        return 0 if self.conversation is None else self.conversation.messages

    def summary(self) -> dict[str, object]:
        """Return the fields of the session's line in the log; no secrets."""
        session = self.session
        return {
            "event": "session",
            "session": session.id,
            "service": session.service,
            "peer": session.peer,
            "helo": session.helo if self.conversation is None else self.conversation.engine.helo,
            "tls": session.tls_info,
            "user": session.user,
            "messages": self.messages,
            "errors": 0 if self.conversation is None else self.conversation.engine.errors,
            "auth_failures": 0 if self.conversation is None else self.conversation.engine.auth_failures,
            "duration": round(self._times.age(self._now()), 3),
            "reason": self.reason,
        }

    # -- the conversation

    def _converse(self, *, tls: bool) -> None:
        engine = ServerEngine(self._desk.config, tls=tls)
        self.conversation = Conversation(self._desk, self.session, engine)
        self._receive = engine.receive_data
        if self._early:
            engine.receive_data(self._early)
            self._early = b""
        elif self._desk.waits_its_turn and not tls and has_spoken(self._transport):
            # Whatever it is, octets or the client's end: the transport reads it, now that we listen.
            self._receive = self._hear_early
            return
        step = self._ask(None, b"") if self._desk.asks_connect else engine.start()
        if step is not None:
            self._pursue(*step)

    def _hear_early(self, data: bytes) -> Step:
        """Let the engine refuse who talks before the banner: no mail server does (HOSTILE 23)."""
        assert self.conversation is not None  # noqa: S101 - for the type alone
        engine = self.conversation.engine
        self._receive = engine.receive_data
        engine.receive_data(data)
        return engine.start()

    def _pursue(self, event: Event | None, output: bytes) -> None:
        """Answer event after event until none is left or one must be waited for; then write once."""
        while event is not None:
            if isinstance(event, CloseEvent):
                self._finish(output, event.reason)
                return
            step = self._ask(event, output)
            if step is None:
                return
            event, output = step
        if output:
            self._write(output)

    def _ask(self, event: Asked, output: bytes) -> Step | None:
        """Have the event (None: the connection itself) answered; give None back where that takes time."""
        assert self.conversation is not None  # noqa: S101 - for the type alone
        self._asked = event
        try:
            answer = self.conversation.connect() if event is None else self.conversation.answer(event)
            if answer is not None and not isinstance(answer, _AT_ONCE):
                begun = answering.begin(answer, self._loop)
                if not begun.done():
                    self._write(output)
                    self._wait_for(begun)
                    return None
                answer = begun.result()
            return self._tell(answer, output)
        except (Exception, asyncio.CancelledError) as error:
            answering.log_failure(self.session, error)
            return self._tell(FAILED, output)

    def _wait_for(self, answer: asyncio.Future[Reply]) -> None:
        patience = self._patience
        deadline = patience.message if isinstance(self._asked, MessageEvent) else patience.hook
        self._answering = answering.Waiting(answer, self._settle, deadline, self.session)

    def _settle(self, answer: Reply) -> None:
        self._answering = None
        if self._ended:
            return
        self._times.replied = self._now()
        self._pursue_told(answer)
        if not self._ended:
            self._watch_backlog()
            if self._half_closed and self._answering is None:
                self._finish(b"", "closed by the client")
            elif self._draining:
                self._close_if_idle()

    def _pursue_told(self, answer: Reply) -> None:
        try:
            step = self._tell(answer, b"")
        except (TypeError, ValueError) as error:
            answering.log_failure(self.session, error)
            step = self._tell(FAILED, b"")
        if step is not None:
            self._pursue(*step)

    def _tell(self, answer: Reply, output: bytes) -> Step | None:
        """Give the engine the answer; None is given back where the session waits for a handshake."""
        assert self.conversation is not None  # noqa: S101 - for the type alone
        engine, asked = self.conversation.engine, self._asked
        if answer is UPGRADE:
            self._write(output + engine.reply()[1])
            self._shake_hands(b"")
            return None
        if isinstance(answer, Challenge):
            event, more = engine.challenge(answer.data)
        else:
            response = fitting(answer, asked)
            if asked is None:
                event, more = engine.start(response)
            else:
                event, more = engine.reply(response)
                if isinstance(asked, MessageEvent):
                    self.conversation.log_message(asked, response)
        self._asked = None
        return event, output + more if output else more

    def _write(self, output: bytes) -> None:
        if output:
            self._times.replied = self._now()
            self._transport.write(output)

    def _watch_backlog(self) -> None:
        """Stop reading while the client does not read, or while much waits behind an unanswered event."""
        if self._ended or self._half_closed or self._handshake is not None:
            return
        behind = self._answering is not None and self.conversation is not None
        if self._times.blocked is not None or (behind and self._buffered() > _BACKLOG):
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def _buffered(self) -> int:
        return 0 if self.conversation is None else self.conversation.engine.buffered

    # -- TLS

    def _hear_hello(self, hello: bytes) -> Step:
        """Take the first octets of a client that begins with TLS."""
        self._shake_hands(hello)
        return None, b""

    def _shake_hands(self, hello: bytes) -> None:
        # Nothing more is read in clear text: what a libuv loop would still hand over in this turn must not be
        # taken for what comes out of TLS (CVE-2011-0411; HOSTILE 60).
        self._transport.pause_reading()
        self._receive = self._drop
        self._handshake = self._loop.create_task(self._upgrade(hello))

    async def _upgrade(self, hello: bytes) -> None:
        transport = None
        try:
            transport = await self._shaken(hello)
        finally:
            self._handshake = None
            if transport is None:
                self.reason = self.reason or "TLS handshake failed"
                self._transport.abort()
                # The transport's protocol is TLS's own by now, and does not tell us.
                self.connection_lost(None)
        if transport is None:
            return
        self._transport = transport
        self._times.blocked = None
        transport.set_write_buffer_limits(high=self._limits.write_buffer)
        self._times.replied = self._now()
        self.session.encrypted(transport.get_extra_info("ssl_object"))
        if self.conversation is None:
            self._converse(tls=True)
            return
        engine = self.conversation.engine
        engine.tls_started()
        self._receive = engine.receive_data
        early, self._early = self._early, b""
        if early:
            self.data_received(early)

    async def _shaken(self, hello: bytes) -> asyncio.Transport | None:
        context = self._owner.tls
        if context is None or self._ended:
            return None
        seconds = self._limits.handshake_timeout
        transport = await handshake.accept(
            self._transport, self, context, hello=hello, seconds=seconds, inside=self._listen_inside
        )
        return None if self._ended else transport

    def _listen_inside(self) -> None:
        self._receive = self._hold

    def _hold(self, data: bytes) -> Step:
        """Keep what TLS hands over before its handshake is reported to us."""
        self._early += data
        return None, b""

    # -- the end

    def _tick(self) -> None:
        """End what takes too long; look again when the next thing could (HOSTILE 102, 103)."""
        now, times = self._now(), self._times
        engine = None if self.conversation is None else self.conversation.engine
        waits_for_us = self._answering is not None or self._handshake is not None
        due, reason = times.due(now, engine, waits_for_us=waits_for_us)
        if now < due:
            self._timer = self._loop.call_later(min(due - now, self._limits.shortest_timeout), self._tick)
        elif engine is None or times.blocked is not None:
            self.reason = reason
            self._transport.abort()
        else:
            self._cut(_TIMED_OUT, reason)

    def drain(self) -> None:
        """Let what is in flight finish, then close; what is idle closes now (HOSTILE 106)."""
        self._draining = True
        if self.conversation is None or self._handshake is not None or self._ended:
            self.cut()
            return
        engine = self.conversation.engine

        def receive(data: bytes) -> Step:
            self._loop.call_soon(self._close_if_idle)
            return engine.receive_data(data)

        self._receive = receive
        self._close_if_idle()

    def cut(self) -> None:
        """End the session, whatever is in flight."""
        if self._handshake is not None:
            self.reason = "stopping"
            self._handshake.cancel()
        elif self.conversation is None or self._ended:
            self.reason = self.reason or "stopping"
            self._transport.abort()
        else:
            self._cut(STOPPING, "stopping")

    def abort(self) -> None:
        """Drop the connection with what it still had to send."""
        self._transport.abort()

    def _close_if_idle(self) -> None:
        if self._ended or self._answering is not None or self.conversation is None:
            return
        if not self.conversation.engine.in_transaction:
            self._cut(STOPPING, "stopping")

    def _drop(self, data: bytes) -> Step:
        """Hear out a client that was answered for the last time, but not for ever (HOSTILE 17)."""
        self._dropped += len(data)
        if self._dropped > _HEARD_OUT:
            self._transport.abort()
        return None, b""

    def _cut(self, response: Response, reason: str) -> None:
        assert self.conversation is not None  # noqa: S101 - for the type alone
        output = self.conversation.engine.close(response)
        if self._answering is not None:
            self._answering.give_up()
            self._answering = None
        self._finish(output, reason)

    def _finish(self, output: bytes, reason: str) -> None:
        """Send the last octets and close; whoever does not take them in time is cut off."""
        self._ended = True
        self._receive = self._drop
        self.reason = reason
        transport = self._transport
        self._write(output)
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(self._limits.handshake_timeout, transport.abort)
        if self._half_closed or reason in ("quit", "stopping") or not transport.can_write_eof():
            transport.close()
        else:
            # A close with octets unread is a reset, which may overtake our reply: hear the client out.
            transport.resume_reading()
            try:
                transport.write_eof()
            except OSError:  # the client is gone already
                transport.abort()


def _deaf(_data: bytes) -> Step:
    return None, b""


def _path(peername: object) -> str:
    return peername if isinstance(peername, str) else ""
