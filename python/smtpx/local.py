"""LocalHandler: mail for the domains and accounts of an environment, kept in a storage."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from smtpx._core import Response, parse_path
from smtpx.dkim import signer
from smtpx.dsn import double_bounce, report
from smtpx.envelopes import envelopes, goes_to_a_list
from smtpx.environment import Account
from smtpx.errors import AddressError, ConfigurationError, InvalidCredential, StorageError, StorageFull
from smtpx.handler import UNVERIFIED, Answer, Handler
from smtpx.mail import new_id
from smtpx.networks import Networks
from smtpx.outcome import Outcome
from smtpx.received import count_received, received_line
from smtpx.result import RecipientResult
from smtpx.storage import LocalStorage, QueueStorage, Reserving, Storage
from smtpx.submission import completed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from ipaddress import IPv4Network, IPv6Network

    from smtpx.environment import DKIMOptions, Environment
    from smtpx.mail import MailTx
    from smtpx.session import Session

__all__ = ["LocalHandler"]

_log = logging.getLogger("smtpx.local")
_MAX_RECEIVED = 100  # RFC 5321 6.3

_NO_ROOM = Response(452, "4.3.1 Not enough storage, try again later")
_STORAGE_FAILED = Response(451, "4.3.0 The message could not be stored, try again later")
_NOT_LOGGED_IN = Response(530, "5.7.0 Authentication required")
_NOT_YOURS = Response(553, "5.7.1 The sender address does not belong to the account that logged in")
_NO_RELAY = Response(550, "5.7.1 Relaying denied")
_UNKNOWN = Response(550, "5.1.1 No such mailbox here")
_LOOP = Response(554, "5.4.6 Mail loop: too many Received lines")
_ALIAS_LOOP = Response(554, "5.4.6 Mail loop: the alias leads back to itself")
_BAD_ADDRESS = Response(501, "5.1.3 Not an address")
_LOGGED_IN = Response(235, "2.7.0 Authentication successful")
_REFUSED = Response(535, "5.7.8 Authentication credentials invalid")
_LISTED = RecipientResult(Outcome.ACCEPTED, Response(250, "2.0.0 Delivered to the mailing list"))


class LocalHandler(Handler):
    """Take mail for the environment's domains and, from those who logged in, for any; keep it in a storage.

    It relays for those who logged in and for the networks that it is told, and for no stranger. A message is
    answered 250 once it is on disk, for its final recipients: aliases and lists are followed before, so that
    the queue has a record of each. The members of a list get a message of their own, whose sender is the
    list's owner. What is submitted, by a login or from such a network, gets the Date and Message-ID that it
    lacks, loses its Bcc, and is signed where the domain has a DKIM key.

    Attributes:
        environment: the domains and accounts; may be replaced by another at any time.
        storage: where messages are kept; whoever made it opens and closes it.
        hostname: this server's name in the trace line.
        on_saved: called, on the event loop, with each message after it is durably saved; must not block.
        relay_networks: whose clients may send to anybody by the "smtp" service, without a login.
        lifetime: how long a message is tried; a notification of a delay says until when that is.

    Args:
        environment: as above.
        storage: by default a `LocalStorage` in /var/spool/smtp.
        hostname: by default the name of the primary domain.
        on_saved: as above.
        relay_networks: ranges of addresses, as "10.0.0.0/8"; by default none.
        lifetime: as above.
        password_checks: how many passwords are checked at once, each a thread's whole work (bcrypt).

    Raises:
        ConfigurationError: of ``relay_networks``, see `Networks`.

    """

    dsn = True

    def __init__(
        self,
        environment: Environment,
        storage: Storage | None = None,
        *,
        hostname: str | None = None,
        on_saved: Callable[[MailTx], None] | None = None,
        relay_networks: Iterable[str | IPv4Network | IPv6Network] = (),
        lifetime: timedelta = timedelta(days=5),
        password_checks: int = 2,
    ) -> None:
        self.environment = environment
        self.storage: Storage = LocalStorage() if storage is None else storage
        self.hostname = environment.primary_domain.name if hostname is None else hostname
        self.on_saved = on_saved
        self.relay_networks = Networks(relay_networks)
        self.lifetime = lifetime
        self._password_threads = ThreadPoolExecutor(password_checks, thread_name_prefix="smtpx-password")
        # One: cryptography keeps the interpreter's lock while it signs, and more would only take turns.
        self._signing = ThreadPoolExecutor(1, thread_name_prefix="smtpx-dkim")

    def check_mail(self, session: Session, sender: str, params: dict[str, str]) -> Answer:
        """Refuse when the disk is full, and the sender that is not the account's own (RFC 6409 6.1)."""
        if isinstance(self.storage, Reserving) and not self.storage.has_room(int(params.get("SIZE") or 0)):
            return _NO_ROOM
        if session.service == "smtp" or not sender:
            return None
        if session.user is None:
            return _NOT_LOGGED_IN
        return None if self.environment.same(sender, session.user) else _NOT_YOURS

    def check_rcpt(self, session: Session, recipient: str, params: dict[str, str]) -> Answer:  # noqa: ARG002
        """Accept who is known here; elsewhere only from those who may relay."""
        environment = self.environment
        entry = environment.entry(recipient)
        if isinstance(entry, Account):
            return None
        if entry is None:
            if environment.domain_of(recipient) is not None:
                return _UNKNOWN
            return None if self._may_relay(session) else _NO_RELAY
        try:
            environment.resolve(recipient)
        except ConfigurationError:
            return _ALIAS_LOOP
        return None

    def _may_relay(self, session: Session) -> bool:
        """Tell whether the client is one of ours, who hands in mail of our own (RFC 6409 3.3)."""
        if session.service == "smtp":
            return session.peer in self.relay_networks
        return session.user is not None

    async def serve_mail_tx(self, mail: MailTx) -> Response:
        """Put the trace line on top, save the message for its final recipients, and only then answer 250."""
        if count_received(mail.data) > _MAX_RECEIVED:
            return _LOOP
        mail.id = mail.id or new_id()
        mail.received = mail.received or datetime.now(UTC)
        session = mail.session
        if session is not None and self._may_relay(session):
            mail.data = completed(mail.data, id=mail.id, host=self.hostname, date=mail.received)
            # Who vouches is the sender, held against a login; From may name the domain of others.
            if sender := mail.mail_from or session.user:
                await self._sign(mail, sender)
        mail.data = received_line(mail, self.hostname, mail.received) + mail.data
        try:
            await self._keep(mail)
        except StorageFull as error:
            _log.warning("message %s refused: %s", mail.id, error)
            return _NO_ROOM
        except StorageError as error:
            _log.error("message %s could not be stored: %s", mail.id, error)
            return _STORAGE_FAILED
        return Response(250, f"2.0.0 OK {mail.id}")

    async def _keep(self, mail: MailTx) -> None:
        """Save the message for its final recipients, and say so."""
        messages = envelopes(mail, self.environment)
        if messages[0] is not mail:
            messages += await self._news_of_lists(mail)
        if len(messages) == 1:
            await self.storage.mail_save(messages[0])
        else:
            await self._save_all(messages)
        for each in messages:
            self._tell(each)

    async def _news_of_lists(self, mail: MailTx) -> Sequence[MailTx]:
        """Tell the sender who asked for it that lists have his message: they are where its way ends."""
        reached = [each for each in mail.recipients if goes_to_a_list(self.environment, each)]
        outcomes = dict.fromkeys(reached, _LISTED)
        notice = report(mail, outcomes, host=self.hostname, now=datetime.now(UTC), id=new_id())
        if notice is None:
            return ()
        await self._sign_notice(notice)
        return envelopes(notice, self.environment)

    async def _save_all(self, messages: Sequence[MailTx]) -> None:
        """Save all or none: what of several is saved when one fails would come again with the next try."""
        saves = (self.storage.mail_save(each) for each in messages)
        results = await asyncio.gather(*saves, return_exceptions=True)
        failure = next(filter(None, results), None)
        if failure is None:
            return
        for each, result in zip(messages, results, strict=True):
            if result is None:
                with contextlib.suppress(StorageError):
                    await self.storage.mail_delete(each.id)
        raise failure

    def _tell(self, mail: MailTx) -> None:
        if self.on_saved is not None:
            try:
                self.on_saved(mail)
            except Exception:
                # The message is ours: any other answer than 250 would bring it a second time.
                _log.exception("message %s is stored, but on_saved failed", mail.id)

    async def serve_auth(self, session: Session, username: str, password: str) -> Response:  # noqa: ARG002
        """Check the password against the environment, in a thread: bcrypt is made to take long."""
        check = self.environment.authenticate
        try:
            await asyncio.get_running_loop().run_in_executor(
                self._password_threads, check, username, password
            )
        except InvalidCredential:
            return _REFUSED
        return _LOGGED_IN

    def serve_verify(self, session: Session, name: str) -> Answer:
        """Answer who logged in truly, anybody else always the same."""
        return self._look_up(session, name, UNVERIFIED, expand=False)

    def serve_expand(self, session: Session, name: str) -> Answer:
        """Answer who logged in with the members of an alias, anybody else always the same."""
        return self._look_up(session, name, UNVERIFIED, expand=True)

    async def serve_bounce(self, mail: MailTx, outcomes: Mapping[str, RecipientResult]) -> None:
        """Tell the sender, in a new message, what he wants to know of; of a failed notice, the postmaster.

        What that fails for is logged and told to nobody. A storage that keeps no state of recipients has the
        message put away among the bounced ones.

        Raises:
            StorageError: the notification could not be stored, or the message not put away.

        """
        notice = self._notification(mail, outcomes)
        if notice is not None:
            await self._sign_notice(notice)
            await self._keep(notice)
        failed = [address for address, result in outcomes.items() if result.outcome is Outcome.PERMANENT]
        if failed:
            told = "nobody" if notice is None else f"{notice.recipients[0]} by message {notice.id}"
            _log.warning("message %s failed for %s; told: %s", mail.id, ", ".join(failed), told)
            if not isinstance(self.storage, QueueStorage):
                await self.storage.mail_bounce(mail.id)

    def _notification(self, mail: MailTx, outcomes: Mapping[str, RecipientResult]) -> MailTx | None:
        now, name = datetime.now(UTC), new_id()
        if mail.mail_from:
            until = (mail.received or now) + self.lifetime
            lists = [address for address in outcomes if len(self._members(address)) > 1]
            return report(mail, outcomes, host=self.hostname, now=now, id=name, until=until, lists=lists)
        postmaster = self.environment.primary_domain.postmaster.short
        members = self._members(postmaster)
        return double_bounce(
            mail, outcomes, host=self.hostname, now=now, id=name, postmaster=postmaster, members=members
        )

    async def _sign_notice(self, notice: MailTx) -> None:
        """Sign it if that can be done: unsigned it tells more than not at all."""
        try:
            await self._sign(notice, f"MAILER-DAEMON@{self.hostname}")
        except ConfigurationError:
            _log.exception("notification %s is not signed", notice.id)

    def _members(self, address: str) -> list[str]:
        """Return whom mail to one of our addresses goes to."""
        try:
            return [] if self.environment.domain_of(address) is None else self.environment.expand(address)
        except ConfigurationError:
            return []

    async def _sign(self, mail: MailTx, address: str) -> None:
        """Sign for the domain of the address, if it is ours and has a key (RFC 6376).

        In a thread: messages come in bursts, one for each session that a commit answered, and signed on the
        loop they would hold it up for all of them together.
        """
        domain = self.environment.domain_of(address)
        if domain is None or domain.dkim is None:
            return
        mail.data = await asyncio.get_running_loop().run_in_executor(
            self._signing, _signed, domain.dkim, domain.name, mail.data
        )
        if mail.data.isascii():  # it may have been encoded
            mail.params = {key: value for key, value in mail.params.items() if key != "BODY"}

    def _look_up(self, session: Session, name: str, unsaid: Response, *, expand: bool) -> Response:
        """Answer ``unsaid`` to strangers, for foreign addresses, and where the truth is not ASCII."""
        if session.user is None:
            return unsaid
        environment = self.environment
        try:
            address = parse_path(f"<{environment.qualify(_bare(name))}>")
            if environment.domain_of(address) is None:
                return unsaid
            if not environment.knows(address):
                return _UNKNOWN
            found = environment.expand(address) if expand else [address]
        except AddressError:
            return _BAD_ADDRESS
        except ConfigurationError:
            return _ALIAS_LOOP
        lines = [f"2.1.5 {self._mailbox(address)}" for address in found]
        # Without the SMTPUTF8 parameter of VRFY and EXPN a reply must be ASCII (RFC 6531 3.7.4.2).
        return Response(250, lines[0], lines[1:]) if all(map(str.isascii, lines)) else unsaid

    def _mailbox(self, address: str) -> str:
        account = self.environment.find(address)
        return f"<{address}>" if account is None else str(account)


def _signed(options: DKIMOptions, domain: str, data: bytes) -> bytes:
    return signer(options, domain).signed(data)


def _bare(name: str) -> str:
    """Return the address of "Name <address>", "<address>" or "address"."""
    head, bracket, rest = name.strip().partition("<")
    return rest.rstrip().removesuffix(">") if bracket else head
