"""LocalHandler: for whom it relays, and how a message for aliases and lists is stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from smtpx._core import Response
from smtpx.environment import Account, Domain, Environment, MailingList
from smtpx.errors import ConfigurationError, StorageFull
from smtpx.local import LocalHandler
from smtpx.mail import MailTx
from smtpx.session import Peer, Session
from smtpx.storage import LocalStorage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

ELSEWHERE = "x@far.example"


@pytest.fixture
def environment() -> Environment:
    domain = Domain("example.org")
    domain.add(Account("", "joe", "example.org"))
    domain.aliases["away"] = [ELSEWHERE]
    domain.lists["news"] = MailingList(["joe", ELSEWHERE])
    return Environment(domain)


@pytest.fixture
async def storage(tmp_path: Path) -> AsyncIterator[LocalStorage]:
    async with LocalStorage(tmp_path, reserve=0) as storage:
        yield storage


def code(answer: object) -> str:
    if answer is None:
        return "ok"
    assert isinstance(answer, Response)
    return f"{answer.code} {answer.message.split()[0]}"


def session(peer: Peer, service: str = "smtp", user: str | None = None) -> Session:
    made = Session("s1", peer, service)
    made.user = user
    return made


# Relaying


@pytest.mark.parametrize(
    ("peer", "answer"),
    [
        (("10.1.2.3", 25), "ok"),
        (("::ffff:10.1.2.3", 25), "ok"),
        (("11.1.2.3", 25), "550 5.7.1"),
        (("::1", 25), "550 5.7.1"),
        ("", "550 5.7.1"),
    ],
)
def test_h70_port_25_relays_for_named_networks_and_for_no_stranger(
    environment: Environment, storage: LocalStorage, peer: Peer, answer: str
) -> None:
    handler = LocalHandler(environment, storage, relay_networks=["10.0.0.0/8"])
    assert code(handler.check_rcpt(session(peer), ELSEWHERE, {})) == answer


def test_h70_by_default_no_network_is_relayed_for(environment: Environment, storage: LocalStorage) -> None:
    handler = LocalHandler(environment, storage)
    assert code(handler.check_rcpt(session(("127.0.0.1", 25)), ELSEWHERE, {})) == "550 5.7.1"


def test_h64_a_network_is_no_login_where_one_is_needed(
    environment: Environment, storage: LocalStorage
) -> None:
    handler = LocalHandler(environment, storage, relay_networks=["10.0.0.0/8"])
    near = session(("10.1.2.3", 25), "submission")
    assert code(handler.check_mail(near, "joe@example.org", {})) == "530 5.7.0"
    assert code(handler.check_rcpt(near, ELSEWHERE, {})) == "550 5.7.1"


def test_h71_a_network_makes_nobody_known(environment: Environment, storage: LocalStorage) -> None:
    handler = LocalHandler(environment, storage, relay_networks=["10.0.0.0/8"])
    near = session(("10.1.2.3", 25))
    assert code(handler.check_rcpt(near, "nobody@example.org", {})) == "550 5.1.1"


def test_an_alias_to_elsewhere_is_no_relaying(environment: Environment, storage: LocalStorage) -> None:
    handler = LocalHandler(environment, storage)
    assert code(handler.check_rcpt(session(("192.0.2.1", 25)), "away@example.org", {})) == "ok"


def test_a_network_that_is_none_is_told_at_once(environment: Environment, storage: LocalStorage) -> None:
    with pytest.raises(ConfigurationError, match="is not a network"):
        LocalHandler(environment, storage, relay_networks=["10.0.0.1/8"])


# Senders


@pytest.mark.parametrize(
    ("sender", "answer"), [("joe+x@example.org", "ok"), ("away@example.org", "553 5.7.1")]
)
def test_h65_a_user_sends_by_the_tagged_forms_of_the_address(
    environment: Environment, storage: LocalStorage, sender: str, answer: str
) -> None:
    handler = LocalHandler(environment, storage)
    assert code(handler.check_mail(session(("192.0.2.1", 1), "submission", "joe"), sender, {})) == answer


# Catch-alls


def test_h74_a_catch_all_that_is_nobody_is_refused_at_rcpt(
    environment: Environment, storage: LocalStorage
) -> None:
    environment.primary_domain.catch_all = "gone@example.org"
    handler = LocalHandler(environment, storage)
    assert code(handler.check_rcpt(session(("192.0.2.1", 1)), "who@example.org", {})) == "554 5.4.6"


# What is stored


async def test_aliases_and_lists_are_followed_before_a_message_is_stored(
    environment: Environment, storage: LocalStorage
) -> None:
    saved: list[MailTx] = []
    handler = LocalHandler(environment, storage, on_saved=saved.append)
    mail = MailTx("a@b.org", ["away@example.org", "news@example.org"], b"Subject: x\r\n\r\nhi\r\n")
    response = await handler.serve_mail_tx(mail)
    stored = await storage.mail_load_all()
    assert [(each.mail_from, each.recipients) for each in stored] == [
        ("a@b.org", [ELSEWHERE]),
        ("postmaster@example.org", ["joe@example.org"]),
    ]
    assert code(response) == "250 2.0.0"
    assert stored[0].id in response.message
    assert stored == saved
    assert all(each.data.startswith(b"Received: ") for each in stored)


async def test_the_trace_line_names_the_recipient_that_was_asked_for(
    environment: Environment, storage: LocalStorage
) -> None:
    mail = MailTx("a@b.org", ["away@example.org"], b"Subject: x\r\n\r\nhi\r\n")
    await LocalHandler(environment, storage).serve_mail_tx(mail)
    (stored,) = await storage.mail_load_all()
    assert b"for <away@example.org>" in stored.data
    assert ELSEWHERE.encode() not in stored.data


class SecondFails(LocalStorage):
    """A storage that is full after the first message."""

    saves = 0

    async def mail_save(self, mail: MailTx) -> None:
        self.saves += 1
        if self.saves == 2:
            raise StorageFull(28, "full")
        await super().mail_save(mail)


async def test_h92_of_the_messages_for_a_list_and_for_others_none_stays_when_one_is_not_stored(
    environment: Environment, tmp_path: Path
) -> None:
    saved: list[MailTx] = []
    async with SecondFails(tmp_path, reserve=0) as storage:
        handler = LocalHandler(environment, storage, on_saved=saved.append)
        mail = MailTx("a@b.org", ["away@example.org", "news@example.org"], b"x\r\n")
        assert code(await handler.serve_mail_tx(mail)) == "452 4.3.1"
        assert await storage.mail_load_all() == []
    assert saved == []
