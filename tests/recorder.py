"""The handler of the tests: it keeps what reaches it, and refuses what it is told to."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass, field

import smtpx
from smtpx import CommandKind, Response

__all__ = ["JOE", "PASSWORD", "Gated", "Hanging", "Message", "Policy", "Recorder"]

JOE = "joe@example.org"
PASSWORD = "secret"


@dataclass(frozen=True)
class Message:
    """What reached the handler, copied: envelope and content."""

    mail_from: str
    params: dict[str, str]
    recipients: list[str]
    rcpt_params: list[dict[str, str]]
    data: bytes


@dataclass
class Policy:
    """Which addresses are refused, and with what; the one account is joe@example.org with "secret"."""

    mail: dict[str, Response] = field(default_factory=dict)
    rcpt: dict[str, Response] = field(default_factory=dict)
    message: Response | None = None

    def add(self, rule: str) -> None:
        """Take ``mail|rcpt ADDRESS CODE TEXT`` or ``message CODE TEXT``."""
        what, rest = rule.split(" ", 1)
        if what == "message":
            self.message = _response(rest)
            return
        address, rest = rest.split(" ", 1)
        {"mail": self.mail, "rcpt": self.rcpt}[what][address] = _response(rest)

    def decides(self) -> CommandKind:
        """The commands that an engine must ask about."""
        mail = CommandKind.MAIL if self.mail else CommandKind.ZERO
        return mail | (CommandKind.RCPT if self.rcpt else CommandKind.ZERO)

    def refusal(self, kind: CommandKind, address: str) -> Response | None:
        rules = {CommandKind.MAIL: self.mail, CommandKind.RCPT: self.rcpt}.get(kind, {})
        return rules.get(address)

    def login(self, username: str, password: str) -> Response:
        if (username, password) == (JOE, PASSWORD):
            return Response(235, "2.7.0 Welcome")
        return Response(535, "5.7.8 No")


def _response(text: str) -> Response:
    code, message = text.split(" ", 1)
    return Response(int(code), message)


class Recorder(smtpx.Handler):
    """Keeps every message in ``messages``."""

    def __init__(self, policy: Policy | None = None, *, dsn: bool = False) -> None:
        self.policy = policy or Policy()
        self.messages: list[Message] = []
        self.dsn = dsn

    def check_mail(self, session: smtpx.Session, sender: str, params: dict[str, str]) -> Response | None:
        return self.policy.mail.get(sender)

    def check_rcpt(self, session: smtpx.Session, recipient: str, params: dict[str, str]) -> Response | None:
        return self.policy.rcpt.get(recipient)

    def serve_mail_tx(self, mail: smtpx.MailTx) -> Response | None:
        self.messages.append(
            Message(mail.mail_from, mail.params, mail.recipients, mail.rcpt_params, bytes(mail.data))
        )
        return self.policy.message

    def serve_auth(self, session: smtpx.Session, username: str, password: str) -> Response:
        return self.policy.login(username, password)


class Hanging(Recorder):
    """Waits for ever, in what it is told to, and tells when it was cancelled."""

    def __init__(self, where: str) -> None:
        super().__init__()
        self.where = where
        self.entered = threading.Event()
        self.cancelled = threading.Event()

    async def hang(self, where: str) -> None:
        if where != self.where:
            return
        self.entered.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled.set()

    async def check_rcpt(self, session: smtpx.Session, recipient: str, params: dict[str, str]) -> None:  # type: ignore[override]
        await self.hang("rcpt")

    async def serve_mail_tx(self, mail: smtpx.MailTx) -> None:  # type: ignore[override]
        await self.hang("message")


class Gated(Recorder):
    """Has a message wait until the gate is opened, from any thread; tells when it has one, and is done."""

    def __init__(self) -> None:
        super().__init__()
        self.entered, self.done = threading.Event(), threading.Event()
        self._gate = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def serve_mail_tx(self, mail: smtpx.MailTx) -> Response | None:  # type: ignore[override]
        self._loop = asyncio.get_running_loop()
        self.entered.set()
        await self._gate.wait()
        self.done.set()
        return super().serve_mail_tx(mail)

    def open(self) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._gate.set)
