"""Delivery to mailboxes of this site: each domain's into Maildirs, by LMTP, or to a function."""

from __future__ import annotations

import asyncio
import inspect
import logging
from typing import TYPE_CHECKING, TypeAlias

from smtpx._core import Response
from smtpx.closing import Closing
from smtpx.errors import ClientError, ConfigurationError, MessageTooLarge, NotOffered
from smtpx.folders import FolderTemplate
from smtpx.folding import Folded, fold_domain
from smtpx.mail import MailTx
from smtpx.maildir import MaildirTransport
from smtpx.outcome import Outcome
from smtpx.pool import Pool
from smtpx.result import RecipientResult
from smtpx.target import Target

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from typing import Unpack

    from smtpx.delivery import Delivery, Transport
    from smtpx.environment import Environment
    from smtpx.options import Settings

    Deliver: TypeAlias = Callable[[MailTx, str], Awaitable[Response | None] | Response | None]

__all__ = ["HandlerTransport", "LMTPTransport", "LocalTransport", "local_transport", "maildir_template"]

_log = logging.getLogger("smtpx.delivery")

_MAILDIR = "maildir:"
_GONE = RecipientResult(Outcome.PERMANENT, Response(550, "5.1.1 No such mailbox here any more"))
_DELIVERED = RecipientResult(Outcome.ACCEPTED, Response(250, "2.0.0 Delivered"))
_NOT_NOW = RecipientResult(Outcome.TEMPORARY, Response(451, "4.3.0 The message could not be delivered"))


class LMTPTransport(Closing):
    """Hands messages to an LMTP server (RFC 2033), as Dovecot's, which answers for each recipient.

    ``lmtp+unix:///run/dovecot/lmtp``, or ``lmtp://host:port``. Here the way ends: of the envelope's
    parameters it gets those that content and addresses need, and the queue reports what is to be reported.

    Args:
        url: as above.
        size: connections at the same time.
        settings: see `Settings`.

    Raises:
        ConfigurationError: the URL is none of LMTP, or a setting cannot work.

    """

    def __init__(self, url: str, size: int = 10, **settings: Unpack[Settings]) -> None:
        self.target = Target.parse(url)
        if not self.target.lmtp:
            raise ConfigurationError("this is no URL of LMTP: write lmtp+unix:///path, or lmtp://host:port")
        self._pool = Pool(url, size, **settings)
        self._size = size

    def concurrency(self, destination: str) -> int:  # noqa: ARG002 - the same for all
        """See `Transport.concurrency`."""
        return self._size

    async def deliver(self, mail: MailTx, deliveries: Sequence[Delivery]) -> Mapping[str, RecipientResult]:
        """See `Transport.deliver`."""
        recipients = list(dict.fromkeys(delivery.recipient for delivery in deliveries))
        params = {"BODY": mail.params["BODY"]} if mail.params.get("BODY") == "BINARYMIME" else {}
        handed = MailTx(mail.mail_from, recipients, mail.data, params=params)
        failure: ClientError | None = None
        try:
            results: Mapping[str, RecipientResult] = await self._pool.mail_tx(handed)
        except ClientError as error:
            failure = error
            results = error.result or {}
            if any(each.response is None for each in results.values()):
                # Else nobody learns that it is the socket's rights, its path or its host's name.
                _log.warning("nothing could be delivered to %s: %s", self.target, error)
        return {each: self._told(results.get(each, _NOT_NOW), failure) for each in recipients}

    async def close(self) -> None:
        """Let what is on its way arrive, and close the connections."""
        await self._pool.close()

    def _told(self, result: RecipientResult, failure: ClientError | None) -> RecipientResult:
        """Give a result that no reply came for one of our own, and the name of the server."""
        response = result.response or _no_reply(result.outcome, failure)
        return RecipientResult(result.outcome, response, remote=str(self.target))


def _no_reply(outcome: Outcome, failure: ClientError | None) -> Response:
    if outcome is Outcome.PERMANENT:
        if isinstance(failure, MessageTooLarge):
            return Response(552, "5.3.4 The message is larger than the mailbox server takes")
        if isinstance(failure, NotOffered) and failure.extension == "SMTPUTF8":
            return Response(553, "5.6.7 The mailbox server takes no internationalised addresses")
        return Response(554, "5.6.3 The mailbox server does not take messages of this form")
    if outcome is Outcome.UNKNOWN:
        return Response(451, "4.4.2 The connection to the mailbox server was lost before its answer")
    return Response(451, "4.4.1 The mailbox server does not answer")


class HandlerTransport:
    """Gives messages to a function, one recipient at a time.

    ::

        async def deliver(mail: smtpx.MailTx, recipient: str) -> smtpx.Response | None:
            await tickets.open(recipient, mail.data)

        transport = smtpx.HandlerTransport(deliver)

    It answers like a handler: None or a 2yz Response has it, 4yz is tried again, 5yz goes back to the sender.
    What it raises is logged and tried again, and so is what takes longer than the timeout. After a crash it
    may be called with what it has had already: ``(mail.id, recipient)`` tells. Written ``def`` it runs on the
    event loop and must not block.

    Args:
        deliver: the function.
        concurrency: how many messages for one domain it is given at the same time.
        timeout: seconds that it may take (for ``async def``).

    """

    def __init__(self, deliver: Deliver, *, concurrency: int = 20, timeout: float = 300.0) -> None:
        self._deliver = deliver
        self._concurrency = concurrency
        self._timeout = timeout

    def concurrency(self, destination: str) -> int:  # noqa: ARG002 - the same for all
        """See `Transport.concurrency`."""
        return self._concurrency

    async def deliver(self, mail: MailTx, deliveries: Sequence[Delivery]) -> Mapping[str, RecipientResult]:
        """See `Transport.deliver`."""
        return {each.recipient: await self._one(mail, each.recipient) for each in deliveries}

    async def _one(self, mail: MailTx, recipient: str) -> RecipientResult:
        try:
            async with asyncio.timeout(self._timeout):
                answer = self._deliver(mail, recipient)
                if inspect.isawaitable(answer):
                    answer = await answer
            return _result(answer)
        except Exception:  # TimeoutError too; the message waits, and its text is for the log alone
            _log.exception("message %s could not be delivered to %s", mail.id, recipient)
            return _NOT_NOW


def _result(answer: object) -> RecipientResult:
    if answer is None:
        return _DELIVERED
    if not isinstance(answer, Response):
        raise TypeError(f"deliver() answers a Response or None, not {type(answer).__name__}")
    outcomes = {2: Outcome.ACCEPTED, 4: Outcome.TEMPORARY, 5: Outcome.PERMANENT}
    if answer.code // 100 not in outcomes:
        raise ValueError(f"deliver() answered {answer.code}: give 2yz, 4yz or 5yz")
    return RecipientResult(outcomes[answer.code // 100], answer)


def maildir_template(setting: str) -> FolderTemplate | None:
    """Return the template of a ``deliver`` setting; None when it has none, or one that cannot work."""
    if not setting.startswith(_MAILDIR):
        return None
    try:
        return FolderTemplate(setting.removeprefix(_MAILDIR))
    except ConfigurationError:
        return None


def local_transport(setting: str, mailbox_of: Callable[[str], str] | None = None) -> Transport:
    """Make the transport of a ``deliver`` setting: ``maildir:`` and a template, or a URL of LMTP.

    Raises:
        ConfigurationError: it is neither, or cannot work.

    """
    if setting.startswith(_MAILDIR):
        return MaildirTransport(setting.removeprefix(_MAILDIR), mailbox_of=mailbox_of)
    if setting.startswith("lmtp"):
        return LMTPTransport(setting)
    raise ConfigurationError(
        f"'{setting}' names no place for mail: write \"maildir:/var/mail/{{domain}}/{{local}}\","
        ' "lmtp+unix:///path" or "lmtp://host:port"'
    )


class LocalTransport(Closing):
    """Delivers for the domains of an environment, each in its own way; who has gone meanwhile is refused.

    ::

        transport = smtpx.LocalTransport(environment, "maildir:/var/mail/{domain}/{local}", {
            "example.net": "lmtp+unix:///run/dovecot/lmtp",
            "tickets.example.org": smtpx.HandlerTransport(open_ticket),
        })

    A way is "maildir:" and a template (see `MaildirTransport`; what has a tag goes to its user's mailbox), a
    URL of LMTP, or any Transport, which stays its maker's to close.

    Attributes:
        environment: may be replaced by another at any time.

    Args:
        environment: as above.
        default: the way for domains that are not named.
        domains: the way by domain.

    Raises:
        ConfigurationError: a way cannot work.

    """

    def __init__(
        self,
        environment: Environment,
        default: str | Transport,
        domains: Mapping[str, str | Transport] | None = None,
    ) -> None:
        self.environment = environment
        self._made: dict[str, Transport] = {}
        self._default = self._way(default)
        self._domains: Folded[Transport] = Folded(fold_domain)
        for name, way in (domains or {}).items():
            self._domains[name] = self._way(way)

    def concurrency(self, destination: str) -> int:
        """See `Transport.concurrency`."""
        return self._to(destination).concurrency(destination)

    async def deliver(self, mail: MailTx, deliveries: Sequence[Delivery]) -> Mapping[str, RecipientResult]:
        """See `Transport.deliver`."""
        find = self.environment.find
        results: dict[str, RecipientResult] = {}
        here: list[Delivery] = []
        for delivery in deliveries:
            if find(delivery.recipient) is None:
                results[delivery.recipient] = _GONE
            else:
                here.append(delivery)
        if here:
            results.update(await self._to(here[0].destination).deliver(mail, here))
        return results

    async def close(self) -> None:
        """Finish what was begun, and close what was made here."""
        for transport in self._made.values():
            if isinstance(transport, Closing):
                await transport.close()

    def _to(self, destination: str) -> Transport:
        name = destination or self.environment.primary_domain.name
        return self._domains.get(name, self._default)

    def _way(self, way: str | Transport) -> Transport:
        """Make each transport once: domains of one LMTP server share its connections."""
        if not isinstance(way, str):
            return way
        if way not in self._made:
            self._made[way] = local_transport(way, self._mailbox_of)
        return self._made[way]

    def _mailbox_of(self, recipient: str) -> str:
        account = self.environment.find(recipient)
        return self.environment.qualify(recipient) if account is None else account.short
