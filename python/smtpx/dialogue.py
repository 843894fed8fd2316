"""What a client says, verb by verb, without I/O.

Each verb is a generator over the engine. It yields what it needs of its driver and is sent what came of it:
`bytes` are written, and the engine's next event is the answer; the other requests are below. So asyncio and
blocking clients are thin pumps of the same words. Where a request fails, the driver throws a `ClientError`
into the verb.
"""

from __future__ import annotations

import email.message
import ssl
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar, cast

from smtpx import compose, sasl
from smtpx._core import ChallengeEvent, ClientEngine, ContentEvent, HandshakeEvent, ReplyEvent, SentEvent
from smtpx.errors import (
    ClientError,
    CommandRefused,
    ConnectionLost,
    EngineError,
    LoginRefused,
    MessageRefused,
    NotOffered,
    ResponseError,
    SMTPError,
    TLSFailed,
)
from smtpx.info import ServerInfo
from smtpx.newlines import Octets, check_newlines, mended_size
from smtpx.outcome import Outcome
from smtpx.result import Result
from smtpx.target import TLSMode

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence
    from types import GeneratorType

    from smtpx._core import Response
    from smtpx.compose import Sendable
    from smtpx.dsn_options import DSN
    from smtpx.mail import MailTx
    from smtpx.options import Options, Token

__all__ = ["SHAKE_HANDS", "Call", "Dialogue", "Event", "Push", "Read", "Request", "Verb", "returned"]

_T = TypeVar("_T")

Event: TypeAlias = "ReplyEvent | ChallengeEvent | HandshakeEvent | ContentEvent | SentEvent"


@dataclass(frozen=True, slots=True)
class Push:
    """Write these one behind the other, and go on when there is room for more.

    Answered by an event that came meanwhile, or None.
    """

    parts: list[Octets]


@dataclass(frozen=True, slots=True)
class Call:
    """Call a function of the user's, which may give an awaitable; answered by what comes of it."""

    function: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Read:
    """Call a function that reads files, and so may block; answered by what it gives."""

    function: Callable[[], Any]


class ShakeHands:
    """Do the TLS handshake; answered by None. See `SHAKE_HANDS`."""


SHAKE_HANDS: Final = ShakeHands()

Request: TypeAlias = "bytes | Push | Call | Read | ShakeHands"
Verb: TypeAlias = "Generator[Request, Any, _T]"

AT_ONCE: Final = 64 << 10  # octets of content that go to the engine whole, in one group with the envelope
_INITIAL: Final = 9000  # octets of an initial response; more do not fit into AUTH's line (RFC 4954 4)
_PIECE: Final = 256 << 10  # octets of larger content at once


@dataclass(frozen=True, slots=True)
class _Large:
    """Content that the engine gets piece by piece.

    Attributes:
        size: counts the octets that the server will get.
        eight_bit: whether there are octets over 127.
        pieces: gives it.
        reads: whether to take a piece may block.

    """

    size: Callable[[], int]
    eight_bit: bool
    pieces: Callable[[], Iterator[Octets]]
    reads: bool


class Dialogue:
    """The verbs on one connection.

    Attributes:
        engine: the session's state.
        certificate: the server's, DER, once in TLS.

    """

    __slots__ = ("_options", "certificate", "engine")

    def __init__(self, options: Options, sockname: object) -> None:
        target = options.target
        self._options = options
        self.certificate: bytes | None = None
        self.engine = ClientEngine(
            options.local_name or _literal(sockname),
            lmtp=target.lmtp,
            tls=target.tls is TLSMode.IMPLICIT,
            newlines=options.newlines,
        )
        if options.trace is not None:
            self.engine.keep_transcript()

    @property
    def server_info(self) -> ServerInfo:
        """The server, by its last reply to EHLO."""
        return ServerInfo(*self.engine.info)

    def lost(self, error: BaseException | None = None) -> ConnectionLost:
        """Return what to say of a connection that has ended, by its last word where it had one."""
        if isinstance(error, ResponseError):
            return ConnectionLost(f"the server broke the protocol: {error}")
        farewell = self.engine.farewell
        if farewell is not None:
            return ConnectionLost(str(CommandRefused("the server closed the connection", farewell)))
        if error is not None:
            return ConnectionLost(f"the connection broke: {error or type(error).__name__}")
        return ConnectionLost("the server closed the connection")

    def _begin(self) -> ClientEngine:
        if self.engine.closed:
            if self.engine.farewell is not None:
                raise self.lost()
            raise ConnectionLost("the connection is closed: connect() again")
        return self.engine

    # -- the session

    def open(self) -> Verb[Response]:
        """Hear the banner, say hello, and go as far as the options say: STARTTLS, AUTH."""
        response = yield from self._replied(b"", "connect")
        if self._options.target.tls is TLSMode.STARTTLS:
            response = yield from self.starttls()
        if self._options.username:
            yield from self.log_in()
        return response

    def starttls(self) -> Verb[Response]:
        """Go over to TLS; never on in clear text where that fails."""
        try:
            octets = self._begin().starttls()
        except NotOffered as error:
            raise TLSFailed("the server does not offer STARTTLS") from error
        try:
            event = yield octets
            if not isinstance(event, HandshakeEvent):
                refusal = CommandRefused("STARTTLS", _response(event))
                raise TLSFailed(str(refusal)) from refusal
            yield SHAKE_HANDS
        except ConnectionLost as error:
            if isinstance(error.__cause__, ResponseError):  # octets that somebody injected
                raise TLSFailed(str(error)) from error
            raise
        return (yield from self._replied(self.engine.tls_started(), "EHLO"))

    def log_in(self) -> Verb[Response]:
        """Log in as the options say, by the strongest mechanism that both sides know."""
        options = self._options
        username, secret = options.username or "", options.password or ""
        if options.token is not None:
            secret = yield from self._token(options.token)
        return (
            yield from self._authenticate(
                options.mechanisms, username, secret, with_token=options.token is not None
            )
        )

    def authenticate(self, mechanism: sasl.Mechanism, username: str, password: str) -> Verb[Response]:
        """Log in by this mechanism; the password of XOAUTH2 and OAUTHBEARER is the token."""
        with_token = mechanism in (sasl.Mechanism.XOAUTH2, sasl.Mechanism.OAUTHBEARER)
        return self._authenticate((mechanism,), username, password, with_token=with_token)

    def _token(self, token: Token) -> Verb[str]:
        if callable(token):
            token = yield Call(token)
        if not isinstance(token, str):
            raise TypeError(f"token() gave {type(token).__name__}, not str")
        return token

    def _authenticate(
        self, allowed: tuple[sasl.Mechanism, ...] | None, username: str, secret: str, *, with_token: bool
    ) -> Verb[Response]:
        engine, target = self._begin(), self._options.target
        offered = self.server_info.extensions.get("AUTH", [])
        mechanism = sasl.choose_mechanism(
            offered,
            tls=engine.tls or bool(target.path),  # what goes through a unix socket is on no wire
            token=with_token,
            certificate=self.certificate,
            allowed=allowed,
            cleartext=self._options.cleartext_auth,
        )
        exchange = sasl.client_mechanism(
            mechanism,
            username,
            secret,
            offered=offered,
            certificate=self.certificate,
            host=target.host,
            port=target.port,
        )
        initial = exchange.initial
        early = initial is not None and len(initial) <= _INITIAL
        event = yield engine.auth(mechanism.wire, initial if early else None)
        if initial is not None and not early and isinstance(event, ChallengeEvent):
            event = yield engine.respond(initial)
        while isinstance(event, ChallengeEvent):
            try:
                answer = exchange.step(event.data)
            except SMTPError:
                yield engine.respond(None)
                raise
            event = yield engine.respond(answer)
        response = _response(event)
        if response.code >= 300:
            refusal = LoginRefused if response.code == 535 else CommandRefused
            raise refusal(f"AUTH {mechanism.wire}", response)
        exchange.finish(response.message)
        return response

    # -- commands of one reply

    def command(self, line: bytes | str) -> Verb[Response]:
        """Send a command as it is (RFC 5321 4.1.1)."""
        octets = line.encode() if isinstance(line, str) else line
        return (yield from self._replied(self._begin().command(octets), octets.decode("utf-8", "replace")))

    def command_on(self, verb: str, argument: str) -> Verb[Response]:
        """Send a command on a name; one that is not ASCII needs SMTPUTF8 (RFC 6531 3.7.4.2)."""
        line = f"{verb} {argument}".rstrip(" ")
        if not argument.isascii():
            if not self._begin().offers("SMTPUTF8"):
                raise NotOffered("SMTPUTF8")
            line += " SMTPUTF8"
        return (yield from self.command(line))

    def _replied(self, octets: bytes, command: str) -> Verb[Response]:
        event = yield octets
        response = _response(event)
        if response.code >= 400:
            raise CommandRefused(command, response)
        return response

    # -- messages

    def mail_tx(self, mail: MailTx) -> Verb[Result]:
        """Send a message as it is: the envelope it has, its content octet for octet."""
        data = mail.data
        if len(data) > AT_ONCE and self._options.newlines == "strict":
            check_newlines(_sliced(data))
        recipients, rcpt_params = mail.recipients, mail.rcpt_params
        if len(recipients) > 1 and len(set(recipients)) < len(recipients):
            recipients, rcpt_params = _once(recipients, rcpt_params)
        return self._transaction(
            mail.mail_from,
            recipients,
            mail.params,
            rcpt_params if any(rcpt_params) else None,
            data if len(data) <= AT_ONCE else _of_mail(mail),
        )

    def send(
        self,
        message: Sendable,
        mail_from: str | None,
        recipients: str | Sequence[str] | None,
        dsn: DSN | None,
        require_tls: bool,
    ) -> Verb[Result]:
        """Send a message to whom its header says, in a form that the server takes."""
        engine = self.engine

        def composed() -> tuple[compose.Envelope, compose.Content]:
            source = compose.source(message)
            envelope = compose.envelope(source, mail_from, recipients)
            try:
                content = compose.content(
                    source,
                    envelope,
                    eight_bit=engine.offers("8BITMIME"),
                    smtputf8=engine.offers("SMTPUTF8"),
                    binary=engine.offers("BINARYMIME"),
                )
            except ClientError as error:
                error.result = Result(envelope.recipients, Outcome.PERMANENT)
                raise
            if self._options.newlines == "strict" and content.size > AT_ONCE and not content.binary:
                check_newlines(content.chunks())
            return envelope, content

        in_memory = isinstance(message, bytes | email.message.Message)
        envelope, content = composed() if in_memory else (yield Read(composed))
        params = {} if dsn is None else dsn.mail_params()
        if content.binary:
            params["BODY"] = "BINARYMIME"
        if content.smtputf8:
            params["SMTPUTF8"] = ""
        to = envelope.recipients
        if require_tls:
            self._check_tls(to)
            params["REQUIRETLS"] = ""
        return (
            yield from self._transaction(
                envelope.mail_from,
                to,
                params,
                None if dsn is None else [dsn.rcpt_params(recipient) for recipient in to],
                _of_content(content),
            )
        )

    def _check_tls(self, recipients: list[str]) -> None:
        """See that the connection is one that REQUIRETLS may be said on (RFC 8689 4.2.1)."""
        if not self.engine.tls:
            fault = "the connection is in clear text: use smtp+starttls:// or smtps://"
        elif self._options.context.verify_mode is ssl.CERT_NONE:
            fault = "the server's certificate was not verified: leave insecure=True out"
        else:
            return
        error = TLSFailed(f"require_tls: {fault}")
        error.result = Result(recipients, Outcome.PERMANENT)
        raise error

    def _transaction(
        self,
        mail_from: str,
        recipients: list[str],
        params: dict[str, str],
        rcpt_params: list[dict[str, str]] | None,
        content: bytes | _Large,
    ) -> Verb[Result]:
        engine = self.engine
        try:
            self._begin()
            if isinstance(content, _Large):
                size = content.size() if engine.offers("SIZE") else None
                event = yield engine.mail(
                    mail_from, recipients, params, rcpt_params, size=size, eight_bit=content.eight_bit
                )
                if isinstance(event, ContentEvent):
                    event = yield from self._content(content.pieces(), content.reads)
            else:
                event = yield engine.mail(mail_from, recipients, params, rcpt_params, content)
        except ClientError as error:
            if engine.idle:  # it refused to begin
                error.result = Result(recipients, Outcome.PERMANENT)
            else:
                error.result = Result(recipients, engine.lost() or Outcome.TEMPORARY)
            if error.result.accepted:
                return error.result
            raise
        result = Result(recipients, event)
        if not event.accepted:
            raise MessageRefused(result)
        return result

    def _content(self, pieces: Iterator[Octets], reads: bool) -> Verb[SentEvent]:
        """Give the engine the content piece by piece, until it has all or wants no more."""
        engine = self.engine

        def read() -> Octets:
            return next(pieces, b"")

        piece = (yield Read(read)) if reads else read()
        while engine.wants_content:
            following = ((yield Read(read)) if reads else read()) if piece else b""
            event = yield Push(engine.content_parts(piece, last=not following))
            if event is not None:
                return _sent(event)
            piece = following
        return _sent((yield b""))


def returned(verb: Verb[_T], stop: StopIteration) -> _T:
    """Return what a verb ended with.

    Raises:
        RuntimeError: it did not end: a token function, or a trace, raised StopIteration by itself.

    """
    if cast("GeneratorType[Request, Any, _T]", verb).gi_frame is not None:
        raise RuntimeError("a function of the user's raised StopIteration") from stop
    value: _T = stop.value
    return value


def _sliced(data: bytes) -> Iterator[memoryview]:
    octets = memoryview(data)  # its slices are no copies
    return (octets[at : at + _PIECE] for at in range(0, len(data), _PIECE))


def _of_content(content: compose.Content) -> bytes | _Large:
    data = content.data
    if data is not None and content.size <= AT_ONCE:
        return data
    pieces = content.chunks if data is None else partial(_sliced, data)
    return _Large(content.mended_size, content.eight_bit, pieces, reads=data is None)


def _of_mail(mail: MailTx) -> _Large:
    data = mail.data
    return _Large(
        size=lambda: len(data) if _is_binary(mail.params) else mended_size([data]),
        eight_bit=not data.isascii(),
        pieces=partial(_sliced, data),
        reads=False,
    )


def _is_binary(params: dict[str, str]) -> bool:
    return any((key.upper(), value.upper()) == ("BODY", "BINARYMIME") for key, value in params.items())


def _once(recipients: list[str], rcpt_params: list[dict[str, str]]) -> tuple[list[str], list[dict[str, str]]]:
    """Each recipient at its first place."""
    first: dict[str, dict[str, str]] = {}
    for recipient, params in zip(recipients, rcpt_params, strict=True):
        first.setdefault(recipient, params)
    return list(first), list(first.values())


def _response(event: Event) -> Response:
    if not isinstance(event, ReplyEvent):
        raise EngineError(f"{event!r} where a reply was due")
    return event.response


def _sent(event: Event) -> SentEvent:
    if not isinstance(event, SentEvent):
        raise EngineError(f"{event!r} where the end of a transaction was due")
    return event


def _literal(sockname: object) -> str:
    """Return our end's address, which EHLO has where a host has no name (RFC 5321 4.1.3 and 4.1.4)."""
    if not isinstance(sockname, tuple):
        return "localhost"
    host = str(sockname[0]).partition("%")[0]
    return f"[IPv6:{host}]" if ":" in host else f"[{host}]"
