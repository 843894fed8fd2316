"""LocalHandler: what it tells the sender of a message, and what it signs."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from smtpx._core import Response
from smtpx.dkim import Signer
from smtpx.environment import DKIMOptions, Domain, Environment, MailingList
from smtpx.errors import ConfigurationError, MailNotFound, StorageError
from smtpx.local import LocalHandler
from smtpx.mail import MailTx
from smtpx.networks import Networks
from smtpx.outcome import Outcome
from smtpx.result import RecipientResult
from smtpx.session import Session
from smtpx.storage import LocalStorage

from tests.signing import dkimpy_verifies, options, record, rsa_key

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

FAILED = RecipientResult(Outcome.PERMANENT, Response(550, "5.1.1 No such user"), "mx.b.example")
DELAYED = RecipientResult(Outcome.TEMPORARY, Response(451, "4.3.0 Later"), "mx.b.example")
DELIVERED = RecipientResult(Outcome.ACCEPTED, Response(250, "2.1.5 OK"))
CONTENT = b"From: joe@example.org\r\nSubject: x\r\n\r\nhi\r\n"


@pytest.fixture
def environment() -> Environment:
    primary = Domain("example.org", options(rsa_key()))
    primary.aliases["staff"] = ["joe@example.org", "x@elsewhere.example"]
    return Environment(primary, {"example.net": Domain("example.net")})


@pytest.fixture
async def storage(tmp_path: Path) -> AsyncIterator[LocalStorage]:
    async with LocalStorage(tmp_path, reserve=0) as storage:
        yield storage


@pytest.fixture
def saved() -> list[MailTx]:
    return []


@pytest.fixture
def handler(environment: Environment, storage: LocalStorage, saved: list[MailTx]) -> LocalHandler:
    return LocalHandler(environment, storage, on_saved=saved.append, lifetime=timedelta(days=3))


async def kept(storage: LocalStorage, sender: str = "joe@example.org", **arguments: Any) -> MailTx:
    """A message that waits in the storage."""
    mail = MailTx(sender, arguments.pop("recipients", ["ann@b.example"]), CONTENT, **arguments)
    await storage.mail_save(mail)
    return mail


# Notifications


async def test_a_failure_is_told_in_a_new_message_and_the_old_one_put_away(
    handler: LocalHandler, storage: LocalStorage, saved: list[MailTx]
) -> None:
    mail = await kept(storage)
    await handler.serve_bounce(mail, {"ann@b.example": FAILED})
    (notice,) = await storage.mail_load_all()
    assert saved == [notice]
    assert (notice.mail_from, notice.recipients) == ("", ["joe@example.org"])
    assert notice.rcpt_params == [{"NOTIFY": "NEVER"}]
    with pytest.raises(MailNotFound):
        await storage.mail_load(mail.id)


async def test_a_delay_is_told_and_the_message_waits_on(
    handler: LocalHandler, storage: LocalStorage, saved: list[MailTx]
) -> None:
    mail = await kept(storage)
    await handler.serve_bounce(mail, {"ann@b.example": DELAYED})
    assert len(await storage.mail_load_all()) == 2
    assert b"Action: delayed\r\n" in saved[0].data
    assert b"Will-Retry-Until: " in saved[0].data


@pytest.mark.parametrize(
    ("recipient", "action"), [("joe@example.org", b"delivered"), ("staff@example.org", b"expanded")]
)
async def test_success_is_told_when_asked_for(
    handler: LocalHandler, storage: LocalStorage, saved: list[MailTx], recipient: str, action: bytes
) -> None:
    mail = await kept(storage, recipients=[recipient], rcpt_params=[{"NOTIFY": "SUCCESS"}])
    await handler.serve_bounce(mail, {recipient: DELIVERED})
    assert b"Action: " + action + b"\r\n" in saved[0].data


async def test_h72_a_notification_that_fails_is_told_to_the_postmaster_and_then_to_nobody(
    handler: LocalHandler, storage: LocalStorage, saved: list[MailTx], caplog: pytest.LogCaptureFixture
) -> None:
    mail = await kept(storage)
    await handler.serve_bounce(mail, {"ann@b.example": FAILED})
    await handler.serve_bounce(saved[0], {"joe@example.org": FAILED})
    assert (saved[1].mail_from, saved[1].recipients) == ("", ["postmaster@example.org"])
    await handler.serve_bounce(saved[1], {"postmaster@example.org": FAILED})
    assert len(saved) == 2
    assert await storage.mail_load_all() == []
    assert f"message {saved[1].id} failed for postmaster@example.org; told: nobody" in caplog.text


async def test_h72_a_postmaster_elsewhere_who_fails_is_not_told_of_it(
    handler: LocalHandler, environment: Environment, storage: LocalStorage, saved: list[MailTx]
) -> None:
    environment.primary_domain.aliases["postmaster"] = ["root@elsewhere.example"]
    mail = await kept(storage, sender="", recipients=["root@elsewhere.example"])
    await handler.serve_bounce(mail, {"root@elsewhere.example": FAILED})
    assert saved == []


async def test_aliases_that_lead_nowhere_hinder_no_notification(
    handler: LocalHandler, environment: Environment, storage: LocalStorage, saved: list[MailTx]
) -> None:
    environment.primary_domain.aliases["loop"] = ["loop@example.org"]
    mail = await kept(storage, recipients=["loop@example.org"])
    await handler.serve_bounce(mail, {"loop@example.org": FAILED})
    assert len(saved) == 1


async def test_a_message_whose_notification_is_not_stored_is_not_put_away(
    environment: Environment, storage: LocalStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    mail = await kept(storage)

    async def fail(_: MailTx) -> None:
        raise StorageError(5, "the disk")

    monkeypatch.setattr(storage, "mail_save", fail)
    with pytest.raises(StorageError):
        await LocalHandler(environment, storage).serve_bounce(mail, {"ann@b.example": FAILED})
    assert await storage.mail_load(mail.id) == mail


async def test_a_notification_is_signed(
    handler: LocalHandler, storage: LocalStorage, saved: list[MailTx]
) -> None:
    await handler.serve_bounce(await kept(storage), {"ann@b.example": FAILED})
    assert dkimpy_verifies(saved[0].data, record(rsa_key()))


async def test_a_notification_is_told_unsigned_when_the_key_is_broken(
    handler: LocalHandler, environment: Environment, storage: LocalStorage, saved: list[MailTx]
) -> None:
    environment.primary_domain.dkim = DKIMOptions("s1", b"no key")
    await handler.serve_bounce(await kept(storage), {"ann@b.example": FAILED})
    assert saved[0].data.startswith(b"From: Mail Delivery System")


# A list that is asked to report its delivery: it ends the way of the message (RFC 3461 5.2.7.3)


def to_a_list(environment: Environment, *recipients: str, sender: str = "a@b.example") -> MailTx:
    environment.primary_domain.lists["news"] = MailingList(["joe@example.org", "x@elsewhere.example"])
    environment.primary_domain.aliases["all"] = ["news@example.org"]
    asked = [{"NOTIFY": "SUCCESS", "ORCPT": "rfc822;first@b.example"} for _ in recipients]
    return MailTx(sender, list(recipients), CONTENT, rcpt_params=asked)


@pytest.mark.parametrize("recipient", ["news@example.org", "all@example.org"])
async def test_a_list_is_reported_as_delivered_once_its_message_is_saved(
    handler: LocalHandler, environment: Environment, saved: list[MailTx], recipient: str
) -> None:
    mail = to_a_list(environment, recipient)
    assert (await handler.serve_mail_tx(mail)).code == 250
    for_members, notice = saved
    assert for_members.mail_from == "postmaster@example.org"
    assert (notice.mail_from, notice.recipients) == ("", ["a@b.example"])
    assert f"Final-Recipient: rfc822; {recipient}\r\nAction: delivered\r\n".encode() in notice.data
    assert b"Original-Recipient: rfc822; first@b.example\r\n" in notice.data
    assert dkimpy_verifies(notice.data, record(rsa_key()))


async def test_of_an_alias_beside_a_list_its_members_are_reported_when_they_have_it(
    handler: LocalHandler, environment: Environment, saved: list[MailTx]
) -> None:
    await handler.serve_mail_tx(to_a_list(environment, "news@example.org", "staff@example.org"))
    *_, notice = saved
    assert notice.data.count(b"Final-Recipient: ") == 1


async def test_of_a_list_nobody_is_told_who_did_not_ask(
    handler: LocalHandler, environment: Environment, saved: list[MailTx]
) -> None:
    silent = to_a_list(environment, "news@example.org")
    silent.rcpt_params = [{"NOTIFY": "FAILURE"}]
    await handler.serve_mail_tx(silent)
    await handler.serve_mail_tx(to_a_list(environment, "news@example.org", sender=""))
    assert [mail.mail_from for mail in saved] == ["postmaster@example.org", ""]


# Submissions


def submission(
    sender: str = "joe@example.org",
    *,
    service: str = "submission",
    user: str | None = "joe",
    content: bytes = CONTENT,
) -> MailTx:
    session = Session("s1", ("192.0.2.1", 1234), service)
    session.user = user
    return MailTx(sender, ["x@elsewhere.example"], content, session=session)


def is_signed(mail: MailTx) -> bool:
    return b"\r\nDKIM-Signature:" in mail.data


async def test_a_submission_is_completed_and_then_signed(handler: LocalHandler) -> None:
    mail = submission(content=b"From: joe@example.org\r\nBcc: eve@b.example\r\n\r\nhi\r\n")
    await handler.serve_mail_tx(mail)
    received, _, rest = mail.data.partition(b"DKIM-Signature:")
    assert received.startswith(b"Received: ")
    assert received.count(b"\r\n") == received.count(b"\r\n ") + 1
    assert b"eve@b.example" not in rest
    assert f"Message-ID: <{mail.id}@example.org>\r\n".encode() in rest
    assert dkimpy_verifies(mail.data, record(rsa_key()))


async def test_mail_from_another_server_is_neither_completed_nor_signed(handler: LocalHandler) -> None:
    content = b"From: joe@example.org\r\nBcc: eve@b.example\r\n\r\nhi\r\n"
    mail = submission(service="smtp", user=None, content=content)
    await handler.serve_mail_tx(mail)
    assert mail.data.endswith(b"+0000\r\n" + content)


@pytest.mark.parametrize(
    ("sender", "signed"), [("joe@example.org", True), ("a@b.example", False), ("", False)]
)
async def test_mail_from_a_network_that_may_relay_is_a_submission_too(
    handler: LocalHandler, sender: str, signed: bool
) -> None:
    handler.relay_networks = Networks(["192.0.2.0/24"])
    content = b"From: joe@example.org\r\nBcc: eve@b.example\r\n\r\nhi\r\n"
    mail = submission(sender, service="smtp", user=None, content=content)
    await handler.serve_mail_tx(mail)
    assert f"Message-ID: <{mail.id}@example.org>\r\n".encode() in mail.data
    assert b"\r\nDate: " in mail.data
    assert b"eve@b.example" not in mail.data
    assert is_signed(mail) == signed
    assert not signed or dkimpy_verifies(mail.data, record(rsa_key()))


@pytest.mark.parametrize(
    ("sender", "user", "signed"),
    [
        ("joe@example.org", "joe", True),
        ("joe@EXAMPLE.org", "joe", True),
        ("", "joe@example.org", True),
        ("ann@example.net", "ann@example.net", False),  # it has no key
        ("", None, False),
    ],
)
async def test_the_domain_of_the_sender_signs_whatever_from_says(
    handler: LocalHandler, sender: str, user: str | None, signed: bool
) -> None:
    mail = submission(sender, user=user)
    await handler.serve_mail_tx(mail)
    assert is_signed(mail) == signed


async def test_an_8_bit_submission_is_signed_as_7_bit(handler: LocalHandler) -> None:
    mail = submission(content=CONTENT + "é\r\n".encode())
    mail.params = {"BODY": "8BITMIME", "ENVID": "1"}
    await handler.serve_mail_tx(mail)
    assert mail.data.isascii()
    assert mail.params == {"ENVID": "1"}
    assert dkimpy_verifies(mail.data, record(rsa_key()))


async def test_a_submission_is_signed_off_the_loop(
    handler: LocalHandler, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[int] = []
    signed = Signer.signed

    def noted(signer: Signer, data: bytes) -> bytes:
        threads.append(threading.get_ident())
        return signed(signer, data)

    monkeypatch.setattr(Signer, "signed", noted)
    mail = submission()
    await handler.serve_mail_tx(mail)
    assert threads != []
    assert threading.get_ident() not in threads
    assert dkimpy_verifies(mail.data, record(rsa_key()))


async def test_nothing_leaves_unsigned_because_the_key_is_broken(
    handler: LocalHandler, environment: Environment, storage: LocalStorage
) -> None:
    environment.primary_domain.dkim = DKIMOptions("s1", b"no key")
    with pytest.raises(ConfigurationError):
        await handler.serve_mail_tx(submission())
    assert await storage.mail_load_all() == []
