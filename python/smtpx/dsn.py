"""Delivery status notifications: what the sender of a message is told of its delivery (RFC 3464).

Pure: a message and what became of it go in, a message comes out. All that remote hosts said, and all that the
message brought with it, is made harmless on its way: printable, bounded, of lines that cannot end early.
"""

# ruff: noqa: A002 - "id" is the attribute's name

from __future__ import annotations

import binascii
import re
import textwrap
from email.utils import format_datetime
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from smtpx._core import Command
from smtpx.dsn_options import utf8_xtext
from smtpx.errors import CommandError
from smtpx.folding import fold_address, fold_domain
from smtpx.headers import MAX_LINE, header_end
from smtpx.mail import MailTx
from smtpx.outcome import Outcome
from smtpx.status import CommandKind

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping
    from datetime import datetime

    from smtpx.result import RecipientResult

__all__ = ["double_bounce", "report"]

_T = TypeVar("_T")

_MAX_WORD = 900  # octets: longer ones have no place in a line of 998
_MAX_HEADER = 65_536  # octets of the original's header that are given back
_MAX_MESSAGE = 262_144  # octets up to which the original is given back whole
_MAX_REPLY_LINES = 20
_GOOD_LINE = 78

_UNSAFE_IN_WORD = re.compile(r"[^A-Za-z0-9._:\[\]-]")
_NOT_IN_BOUNDARY = re.compile(r"[^A-Za-z0-9-]")
_SPACE = re.compile(r"\s+")
# What has no place in a 7-bit or 8-bit body (RFC 2045 2.7, 2.8).
_UNFIT = re.compile(rb"\0|\r(?!\n)|(?<!\r)\n|[^\r\n]{%d}" % (MAX_LINE + 1))
_NEWLINE = re.compile(rb"\r\n|\r|\n")
_MESSAGE_ID = re.compile(rb"^message-id[ \t]*:\s*(<[!-;=?-~]{1,900}>)", re.IGNORECASE | re.MULTILINE)


class Action(Enum):
    """What is reported of a recipient (RFC 3464 2.3.3); the worst first."""

    FAILED = "failed"
    DELAYED = "delayed"
    RELAYED = "relayed"
    EXPANDED = "expanded"
    DELIVERED = "delivered"


_SUBJECTS = {
    Action.FAILED: "Undelivered mail",
    Action.DELAYED: "Delayed mail: still being tried",
    Action.RELAYED: "Mail handed on",
    Action.EXPANDED: "Mail delivered to a list",
    Action.DELIVERED: "Mail delivered",
}
_HEADINGS = {
    Action.FAILED: "It could not be delivered to these, and nothing more will be tried:",
    Action.DELAYED: "It is not delivered to these yet. You need not send it again: we keep trying{until}.",
    Action.RELAYED: "It was handed on for these to another server, which will not report on its delivery:",
    Action.EXPANDED: "It was delivered to these lists, which may send it on to their members:",
    Action.DELIVERED: "It was delivered to these:",
}
_NEEDED = {Action.FAILED: "FAILURE", Action.DELAYED: "DELAY"}  # of NOTIFY; the others need SUCCESS

# By the beginning of the enhanced code (RFC 3463), the longest that fits.
_ADVICE = {
    "5.1.": "Look for a typing error in the address; if there is none, ask the recipient for the right one.",
    "5.2.2": "The mailbox is full: send it again later, or tell the recipient in another way.",
    "5.2.3": "The message is too large for the mailbox: make it smaller, or send a link.",
    "5.3.4": "The message is too large for the server: make it smaller, or send a link.",
    "5.6.7": "The server knows no addresses beyond ASCII: ask the recipient for another address.",
    "5.6.9": "The server knows no header beyond ASCII: write from, to and about plain letters.",
    "5.7.": "The server refused it by its rules: its answer says why, or its postmaster knows.",
    "4.4.7": "The server did not take it in all that time: try later, or tell the recipient in another way.",
}
_OTHER_ADVICE = "If the answer does not help you, show this message to {postmaster}."


class _Fate(NamedTuple):
    """What became of a message for one recipient."""

    recipient: str
    params: Mapping[str, str]
    result: RecipientResult
    action: Action


def report(
    mail: MailTx,
    outcomes: Mapping[str, RecipientResult],
    *,
    host: str,
    now: datetime,
    id: str,
    until: datetime | None = None,
    lists: Collection[str] = (),
) -> MailTx | None:
    """Return the notification for the sender; None where there is nobody to tell, or nothing he asked for.

    PERMANENT is reported as failed, with a 4yz reply for time that ran out; TEMPORARY and UNKNOWN as delayed;
    ACCEPTED, when that was asked for, as delivered, expanded or, where another host took it, relayed.

    Args:
        mail: the message; to the null reverse-path nothing is ever sent (RFC 5321 4.5.5, HOSTILE 72).
        outcomes: what became of it, for each recipient to report on.
        host: this host's name.
        now: the moment, aware.
        id: the notification's own id, see `smtpx.mail.new_id`.
        until: how long what is delayed will be tried.
        lists: those of the recipients that stand for several members.

    """
    if not mail.mail_from:
        return None
    fates = [fate for fate in _fates(mail, outcomes, lists) if _asked(fate)]
    return _Notice(mail, fates, host, now, id, until).to(mail.mail_from) if fates else None


def double_bounce(
    mail: MailTx,
    outcomes: Mapping[str, RecipientResult],
    *,
    host: str,
    now: datetime,
    id: str,
    postmaster: str,
    members: Collection[str] = (),
) -> MailTx | None:
    """Return what tells the postmaster that a notification has failed; None where none has.

    Nor is anything said of mail to the postmaster that fails, or notices of notices would go round for ever.

    Args:
        mail: a message whose reverse-path is null.
        outcomes: see `report`; only what failed counts, and whatever NOTIFY says: it speaks of the sender.
        host: see `report`.
        now: see `report`.
        id: see `report`.
        postmaster: the local postmaster's address.
        members: whom mail to the postmaster goes to.

    """
    if mail.mail_from:
        return None
    told = {fold_address(address) for address in (postmaster, "postmaster", *members)}
    fates = [
        fate
        for fate in _fates(mail, outcomes, ())
        if fate.action is Action.FAILED and fold_address(fate.recipient) not in told
    ]
    return _Notice(mail, fates, host, now, id).to(postmaster) if fates else None


def _fates(mail: MailTx, outcomes: Mapping[str, RecipientResult], lists: Collection[str]) -> Iterator[_Fate]:
    params = dict(
        zip(reversed(mail.recipients), reversed(mail.rcpt_params), strict=False)
    )  # the first counts
    for recipient, result in outcomes.items():
        match result.outcome:
            case Outcome.PERMANENT:
                action = Action.FAILED
            case Outcome.ACCEPTED if result.remote:
                action = Action.RELAYED
            case Outcome.ACCEPTED:
                action = Action.EXPANDED if recipient in lists else Action.DELIVERED
            case _:
                action = Action.DELAYED
        yield _Fate(recipient, params.get(recipient, {}), result, action)


def _asked(fate: _Fate) -> bool:
    """Tell whether the sender wants to hear of it (RFC 3461 4.1), and not from the next host (5.2.2)."""
    notify = _read(lambda command: command.notify, CommandKind.RCPT, fate.params)
    needed = _NEEDED.get(fate.action, "SUCCESS")
    if fate.action is Action.RELAYED and fate.result.reports:
        return False
    return needed != "SUCCESS" if notify is None else needed in notify


class _Notice:
    """A notification being written."""

    def __init__(
        self,
        mail: MailTx,
        fates: list[_Fate],
        host: str,
        now: datetime,
        id: str,
        until: datetime | None = None,
    ) -> None:
        self.mail = mail
        self.fates = fates
        self.host = _word(fold_domain(host))
        self.now = now
        self.id = _word(id)
        self.until = until
        self.worst = min((fate.action for fate in fates), key=list(Action).index)
        self.header = mail.data[: header_end(mail.data)]
        self.utf8 = "SMTPUTF8" in mail.params or not mail.mail_from.isascii()  # RFC 6533

    def to(self, address: str) -> MailTx:
        parts = [self._for_people(), self._for_programs(), self._original()]
        boundary = f"=_{_NOT_IN_BOUNDARY.sub('', self.id)[:50]}"
        while any(boundary.encode() in part for part in parts):  # the original may be one of ours
            boundary += "="
        content = b"".join(b"--%s\r\n%s\r\n" % (boundary.encode(), part) for part in parts)
        encoding = "7bit" if content.isascii() else "8bit"
        shown = _cleaned(address, utf8=True)
        lines = [
            f"From: Mail Delivery System <MAILER-DAEMON@{self.host}>",
            _folded("To", f"<{shown}>"),
            f"Subject: {_SUBJECTS[self.worst]}",
            f"Date: {format_datetime(self.now)}",
            f"Message-ID: <{self.id}@{self.host}>",
            *self._references(),
            "Auto-Submitted: auto-replied",
            "MIME-Version: 1.0",
            f'Content-Type: multipart/report; report-type=delivery-status;\r\n boundary="{boundary}"',
            f"Content-Transfer-Encoding: {encoding}",
        ]
        header = "\r\n".join([*lines, "", ""]).encode()
        data = header + content + f"--{boundary}--\r\n".encode()
        params = {} if encoding == "7bit" else {"BODY": "8BITMIME"}
        if not header.isascii():
            params["SMTPUTF8"] = ""
        never = [{"NOTIFY": "NEVER"}]
        return MailTx("", [address], data, params=params, rcpt_params=never, id=self.id, received=self.now)

    def _references(self) -> Iterator[str]:
        found = _MESSAGE_ID.search(self.header)
        if found:
            name = found[1].decode("ascii")
            yield _folded("In-Reply-To", name)
            yield _folded("References", name)

    # -- the part for people

    def _for_people(self) -> bytes:
        about = (
            "your message" if self.mail.mail_from else "a message that has no sender, such as a notification"
        )
        when = f", which came here on {format_datetime(self.mail.received)}" if self.mail.received else ""
        lines = [f"This is the mail server {self.host}, about {about}{when}.", ""]
        for action in Action:
            fates = [fate for fate in self.fates if fate.action is action]
            if fates:
                until = f" until {format_datetime(self.until)}" if self.until else ""
                lines += [_HEADINGS[action].format(until=until), ""]
                for fate in fates:
                    lines += [*self._entry(fate), ""]
        lines.append("Attached are the same for programs, and the message itself or its header.")
        text = "\r\n".join(line for each in lines for line in _wrapped(each)).encode()
        charset, encoding = ("us-ascii", "7bit") if text.isascii() else ("utf-8", "8bit")
        return _part(f"text/plain; charset={charset}", encoding, text + b"\r\n")

    def _entry(self, fate: _Fate) -> Iterator[str]:
        yield f"  {_cleaned(fate.recipient, utf8=True)}"
        said = _reply(fate)
        if said and fate.action in (Action.FAILED, Action.DELAYED):
            yield f"    {_cleaned(fate.result.remote) or 'this server'} said: {said}"
        if fate.action is Action.FAILED:
            status = _status(fate)
            advice = next((text for code, text in _ADVICE.items() if status.startswith(code)), _OTHER_ADVICE)
            yield f"    {advice.format(postmaster=f'postmaster@{self.host}')}"

    # -- the part for programs

    def _for_programs(self) -> bytes:
        groups = [self._message_fields(), *map(self._recipient_fields, self.fates)]
        text = "\r\n".join(f"{line}\r\n" for line in map("\r\n".join, groups)).encode()
        if text.isascii():
            return _part("message/delivery-status", "7bit", text)
        return _part("message/global-delivery-status", "8bit", text)

    def _message_fields(self) -> Iterator[str]:
        """Give the fields of RFC 3464 2.2."""
        yield _folded("Reporting-MTA", f"dns; {self.host}")
        envid = _read(lambda command: command.envid, CommandKind.MAIL, self.mail.params)
        if envid:
            yield _folded("Original-Envelope-Id", _cleaned(envid))
        if self.mail.received:
            yield f"Arrival-Date: {format_datetime(self.mail.received)}"

    def _recipient_fields(self, fate: _Fate) -> Iterator[str]:
        """Give the fields of RFC 3464 2.3."""
        original = _read(lambda command: command.orcpt, CommandKind.RCPT, fate.params)
        if original:
            yield _folded("Original-Recipient", self._typed(*original))
        kind = "rfc822" if fate.recipient.isascii() else "utf-8"
        yield _folded("Final-Recipient", self._typed(kind, fate.recipient))
        yield f"Action: {fate.action.value}"
        yield f"Status: {_status(fate)}"
        if fate.result.remote:
            yield _folded("Remote-MTA", f"dns; {_cleaned(fate.result.remote)}")
        if said := _reply(fate):
            yield _folded("Diagnostic-Code", f"{'smtp' if fate.result.remote else 'x-smtpx'}; {said}")
        if fate.action in (Action.FAILED, Action.DELAYED):
            yield f"Last-Attempt-Date: {format_datetime(self.now)}"
        if fate.action is Action.DELAYED and self.until:
            yield f"Will-Retry-Until: {format_datetime(self.until)}"

    def _typed(self, kind: str, address: str) -> str:
        """Return a typed address: beyond ASCII as it is only where the sender can read it (RFC 6533 3)."""
        utf8 = kind.lower() == "utf-8"
        if utf8 and not self.utf8:
            address = utf8_xtext(address)
        return f"{_word(kind)}; {_cleaned(address, utf8=utf8 and self.utf8)}"

    # -- the original

    def _original(self) -> bytes:
        data = self.mail.data
        utf8 = self.utf8 and not self.header.isascii() and _is_utf8(self.header)
        # RET is about failures alone (RFC 3461 4.3).
        full = self.worst is Action.FAILED and self.mail.params.get("RET", "").upper() == "FULL"
        if full and len(data) <= _MAX_MESSAGE and not _UNFIT.search(data):
            encoding = "7bit" if data.isascii() else "8bit"
            return _part("message/global" if utf8 else "message/rfc822", encoding, data)
        header = self.header
        if len(header) > _MAX_HEADER:
            header = header[: header.rfind(b"\n", 0, _MAX_HEADER) + 1]
        if _UNFIT.search(header) or not (utf8 or header.isascii()):
            lines = _NEWLINE.sub(b"\r\n", header + b"\r\n")
            return _part("text/rfc822-headers", "quoted-printable", binascii.b2a_qp(lines))
        if utf8 and not header.isascii():
            return _part("message/global-headers", "8bit", header)
        return _part("text/rfc822-headers", "7bit", header)


def _part(kind: str, encoding: str, body: bytes) -> bytes:
    return f"Content-Type: {kind}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n".encode() + body


def _read(read: Callable[[Command], _T | None], kind: CommandKind, params: Mapping[str, str]) -> _T | None:
    """Read a parameter; one that no session of ours let through is taken for absent."""
    try:
        return read(Command(kind, params=params))
    except (CommandError, UnicodeError):  # a surrogate has no octets
        return None


def _status(fate: _Fate) -> str:
    """Return the enhanced code (RFC 3463): the reply's own where it fits the action, or its class alone."""
    response = fate.result.response
    expected = {Action.FAILED: 5, Action.DELAYED: 4}.get(fate.action, 2)
    if response is not None and fate.action is Action.FAILED and response.code // 100 == 4:
        return "4.4.7"  # it was given up though nobody refused it for good: the time is over
    enhanced = response.enhanced if response is not None else None
    return enhanced if enhanced and enhanced.startswith(f"{expected}.") else f"{expected}.0.0"


def _reply(fate: _Fate) -> str:
    """Return the reply in one line (RFC 3461 9.2: the code of every line is told)."""
    response = fate.result.response
    if response is None:
        return ""
    lines = [line[:_MAX_WORD] for line in (response.message, *response.body[:_MAX_REPLY_LINES])]
    last = f"{response.code} {lines.pop()}"
    return _cleaned(" ".join([*(f"{response.code}-{line}" for line in lines), last]))


def _word(text: str) -> str:
    return _UNSAFE_IN_WORD.sub("_", text)[:255] or "unknown"


def _cleaned(text: str, *, utf8: bool = False) -> str:
    """Return text of which a line can be made: printable, no run of spaces, of bounded length.

    Controls would end a line or move the cursor of who reads it in a terminal, and so would invisible
    characters make it read otherwise than it is.
    """
    spaced = _SPACE.sub(" ", text)
    safe = "".join(char if char.isprintable() and (utf8 or char.isascii()) else "?" for char in spaced)
    return safe.encode()[:_MAX_WORD].decode(errors="ignore").strip()


def _folded(name: str, value: str) -> str:
    """Return the field; its value is clean, and so has no word that is too long for a line."""
    return "\r\n ".join(_filled(f"{name}: {value}", ""))


def _wrapped(line: str) -> list[str]:
    return _filled(line, line[: len(line) - len(line.lstrip())]) or [""]


def _filled(line: str, indent: str) -> list[str]:
    return textwrap.wrap(
        line, _GOOD_LINE, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def _is_utf8(octets: bytes) -> bool:
    try:
        octets.decode()
    except UnicodeDecodeError:
        return False
    return True
