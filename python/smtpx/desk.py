"""Events in, answers out: what the handler, the environment and the extensions say of a session's events.

No I/O and no timers: `smtpx.connection` feeds the engine, asks here, and sends what comes back.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias

from smtpx._core import (
    AuthEvent,
    CommandEvent,
    EngineConfig,
    ErrorEvent,
    MessageEvent,
    Response,
    ServerEngine,
    decode_xtext,
)
from smtpx.answers import login
from smtpx.errors import InvalidCredential, SMTPError
from smtpx.extension import ExtensionLike, extension_line, extension_parameters, extension_refusal
from smtpx.handler import Answer, Handler
from smtpx.local import LocalHandler
from smtpx.log_events import log_event
from smtpx.mail import MailTx, new_id
from smtpx.sasl import SERVER_MECHANISMS, Challenge, Credentials, ServerMechanism, server_mechanism
from smtpx.status import CommandKind

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from concurrent.futures import Executor

    from smtpx.environment import Environment
    from smtpx.limits import Limits
    from smtpx.listener import Listener
    from smtpx.session import Session

__all__ = ["FAILED", "UPGRADE", "Conversation", "Desk", "Reply", "Upgrade"]

log = logging.getLogger("smtpx.handler")
message_log = logging.getLogger("smtpx.message")

FAILED: Final = Response(451, "4.3.0 Local error in processing")
_LOGIN_FAILED: Final = Response(454, "4.7.0 Temporary authentication failure")
_LOGGED_IN: Final = Response(235, "2.7.0 Authentication successful")
_BAD_CREDENTIAL: Final = Response(535, "5.7.8 Authentication credentials invalid")
_NOT_YOURS: Final = Response(553, "5.7.1 Sender address is not yours")
_NO_CERTIFICATE: Final = Response(454, "4.7.0 TLS not available")


class Upgrade:
    """The answer to STARTTLS: reply 220, then shake hands."""


UPGRADE: Final = Upgrade()

Reply: TypeAlias = Response | Challenge | Upgrade | None
"""What the engine is told: a response, its default (None), a challenge, or to begin a handshake."""

_Event: TypeAlias = CommandEvent | AuthEvent | MessageEvent | ErrorEvent

_HOOKS: Final = {
    "check_helo": CommandKind.HELO | CommandKind.EHLO,
    "check_mail": CommandKind.MAIL,
    "check_rcpt": CommandKind.RCPT,
    "check_data": CommandKind.DATA | CommandKind.BDAT,
    "serve_verify": CommandKind.VRFY,
    "serve_expand": CommandKind.EXPN,
}


class Desk:
    """What all sessions of a listener share; made once, when the listener starts."""

    def __init__(
        self,
        listener: Listener,
        hostname: str,
        handler: Handler,
        environment: Environment | None,
        extensions: Sequence[ExtensionLike],
        limits: Limits,
        executor: Executor,
        *,
        tls: bool,
        tls_usable: Callable[[], bool],
    ) -> None:
        self.service = listener.service
        self.handler = handler
        self._environment = environment
        self.extensions = tuple(extensions)
        self.executor = executor
        self.tls_usable = tls_usable
        self.waits_its_turn = listener.early_input == "reject"
        submission = self.service != "smtp"
        overridden = {name for name in dir(Handler) if _overrides(handler, name)}
        self.asks_connect = "check_connect" in overridden
        # LocalHandler's logins are those of its environment, which we check as for any other handler.
        own = getattr(type(handler), "serve_auth", None) is not LocalHandler.serve_auth
        self.handler_logs_in = "serve_auth" in overridden and own
        # A handler with logins of its own has names of its own; then whose address is whose is for it to say.
        self.matches_sender = submission and not self.handler_logs_in
        decide = CommandKind.ZERO
        for name in overridden & _HOOKS.keys():
            decide |= _HOOKS[name]
        if self.matches_sender or self.extensions:
            decide |= CommandKind.MAIL
        if self.extensions:
            decide |= CommandKind.RCPT
        parameters = [keyword for extension in self.extensions for keyword in extension_parameters(extension)]
        self._configured = partial(
            EngineConfig,
            hostname,
            decide=decide,
            tls_required=submission,
            auth_required=submission,
            mechanisms=[mechanism.wire for mechanism in SERVER_MECHANISMS] if submission else [],
            dsn=getattr(handler, "dsn", False),
            extensions=[extension_line(extension) for extension in self.extensions],
            mail_params=parameters,
            rcpt_params=parameters,
            bare_newline=listener.newlines,
            early_input=listener.early_input,
            strict=listener.strict,
            max_message_size=limits.message_size,
            max_recipients=limits.recipients,
            max_command_line=limits.command_line,
            max_auth_line=limits.auth_line,
            max_errors=limits.errors,
            max_idle_commands=limits.idle_commands,
            max_refused_recipients=limits.refused_recipients,
            max_auth_failures=limits.auth_failures,
        )
        self.config = self._configured()
        if tls:
            self.offer_starttls()

    def offer_starttls(self) -> None:
        """Have the sessions that begin from now on offer it: there is a certificate."""
        self.config = self._configured(starttls=self.service != "submissions")

    @property
    def environment(self) -> Environment | None:
        """Who may log in; a LocalHandler's may be replaced while it runs."""
        return self.handler.environment if isinstance(self.handler, LocalHandler) else self._environment


def _overrides(handler: Handler, name: str) -> bool:
    """Tell whether the handler has a method of its own, which is then asked; it need not be a `Handler`."""
    method = getattr(handler, name, None)
    return method is not None and getattr(method, "__func__", method) is not getattr(Handler, name)


class Conversation:
    """One session's events, answered."""

    __slots__ = ("_exchange", "_message_id", "desk", "engine", "messages", "session")

    def __init__(self, desk: Desk, session: Session, engine: ServerEngine) -> None:
        self.desk = desk
        self.session = session
        self.engine = engine
        self.messages = 0
        self._message_id = ""
        self._exchange: ServerMechanism | None = None

    def connect(self) -> Answer:
        """Ask whether the client is welcome at all."""
        return self.desk.handler.check_connect(self.session)

    def answer(self, event: _Event) -> Awaitable[Reply] | Reply:
        """Say what the engine is told about the event: at once, or by something to await.

        What a handler raises comes out of here, or of the awaitable.
        """
        match event:
            case MessageEvent():
                return self._message(event)
            case CommandEvent():
                return self._command(event)
            case AuthEvent():
                return self._auth(event)
        return None

    def mail(self, event: MessageEvent) -> MailTx:
        """Make the transaction of a message that is whole."""
        self._learn()
        params = event.params
        if "AUTH" in params and not self._submitted_by(params["AUTH"]):
            # Whom the message claims to be submitted by is believed of nobody else (RFC 4954 5; HOSTILE 65a).
            params["AUTH"] = "<>"
        return MailTx(
            event.mail_from,
            event.recipients,
            event.data,
            params=params,
            rcpt_params=event.rcpt_params,
            id=new_id(),
            received=datetime.now(UTC),
            session=self.session,
        )

    def log_message(self, event: MessageEvent, response: Response | None) -> None:
        """Write the message's line into the log, now that it is answered."""
        if message_log.isEnabledFor(logging.INFO):
            fields = {
                "event": "message",
                "session": self.session.id,
                "id": self._message_id,
                "mail_from": event.mail_from,
                "recipients": len(event.recipients),
                "size": len(event.data),
                "code": 250 if response is None else response.code,
            }
            log_event(message_log, "message", fields)

    def _message(self, event: MessageEvent) -> Answer:
        mail = self.mail(event)
        self.messages += 1
        self._message_id = mail.id
        return self.desk.handler.serve_mail_tx(mail)

    def _learn(self) -> None:
        session, engine = self.session, self.engine
        session.helo = engine.helo
        session.esmtp = engine.esmtp

    def _command(self, event: CommandEvent) -> Awaitable[Reply] | Reply:
        self._learn()
        command, handler, session = event.command, self.desk.handler, self.session
        match command.kind:
            case CommandKind.RCPT:
                return self._refused_by_extension(event) or handler.check_rcpt(
                    session, command.arg, command.params
                )
            case CommandKind.MAIL:
                if self.desk.matches_sender and not self._owns(command.arg):
                    return _NOT_YOURS
                return self._refused_by_extension(event) or handler.check_mail(
                    session, command.arg, command.params
                )
            case CommandKind.DATA | CommandKind.BDAT:
                return handler.check_data(session)
            case CommandKind.HELO | CommandKind.EHLO:
                return handler.check_helo(session, command.arg)
            case CommandKind.VRFY:
                return handler.serve_verify(session, command.arg)
            case CommandKind.EXPN:
                return handler.serve_expand(session, command.arg)
            case CommandKind.STARTTLS:
                return UPGRADE if self.desk.tls_usable() else _NO_CERTIFICATE
        return None

    def _refused_by_extension(self, event: CommandEvent) -> Response | None:
        for extension in self.desk.extensions:
            refusal = extension_refusal(extension, event.command)
            if refusal is not None:
                return refusal
        return None

    def _owns(self, sender: str) -> bool:
        """Whether the sender is the account that logged in; the null sender is everybody's (RFC 6409 3.2)."""
        environment, user = self.desk.environment, self.session.user
        if not sender:
            return True
        if environment is None or user is None:
            return False
        return environment.same(user, sender)

    def _submitted_by(self, identity: str) -> bool:
        return self.session.user is not None and decode_xtext(identity) == self.session.user

    def _auth(self, event: AuthEvent) -> Awaitable[Reply] | Reply:
        if event.initial or self._exchange is None:
            self._exchange = server_mechanism(event.mechanism)
        try:
            step = self._exchange.step(event.response)
        except InvalidCredential:
            return _BAD_CREDENTIAL
        except SMTPError as error:
            return Response(error.code, f"{error.enhanced} Malformed authentication response")
        if isinstance(step, Challenge):
            return step
        self._exchange = None
        self._learn()
        return self._login(step)

    async def _login(self, credentials: Credentials) -> Reply:
        """Check the password; a store that is down is not a wrong password (HOSTILE 58)."""
        username, password = credentials.username, credentials.password
        try:
            answer = await self._checked(username, password)
        except InvalidCredential:
            return _BAD_CREDENTIAL
        except Exception:
            log.exception("login could not be checked", extra={"session": self.session.id})
            return _LOGIN_FAILED
        if answer.code == _LOGGED_IN.code:
            self.session.user = username
        return answer

    async def _checked(self, username: str, password: str) -> Response:
        desk = self.desk
        if desk.handler_logs_in:
            answer = desk.handler.serve_auth(self.session, username, password)
            if answer is not None and not isinstance(answer, Response):
                answer = await answer
            return login(answer)
        if desk.environment is None:
            raise InvalidCredential
        # bcrypt takes a tenth of a second and more: on a thread, and few at once, so that guessing passwords
        # costs the guesser time and nobody else (HOSTILE 59).
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(desk.executor, desk.environment.authenticate, username, password)
        return _LOGGED_IN
