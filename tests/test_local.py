"""LocalHandler: who may send what to whom, and what 250 means."""

from __future__ import annotations

import asyncio
import re
import threading
from typing import TYPE_CHECKING

import pytest
from smtpx._core import Response
from smtpx.environment import Account, Domain, Environment
from smtpx.errors import ConfigurationError, MailNotFound, StorageError, StorageFull
from smtpx.handler import UNVERIFIED, Handler
from smtpx.local import LocalHandler
from smtpx.mail import MailTx
from smtpx.outcome import Outcome
from smtpx.result import RecipientResult
from smtpx.session import Session
from smtpx.storage import LocalStorage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
def environment() -> Environment:
    primary, virtual = Domain("example.org"), Domain("bücher.example")
    primary.add(Account.create("Joe Doe", "joe", "example.org", "secret", rounds=4))
    virtual.add(Account.create("", "ann", "bücher.example", "secret", rounds=4))
    primary.aliases["staff"] = ["joe@example.org", "ann@bücher.example", "x@elsewhere.example"]
    primary.aliases["team"] = ["joe@example.org", "x@elsewhere.example"]
    primary.aliases["loop"] = ["pool@example.org"]
    primary.aliases["pool"] = ["loop@example.org"]
    return Environment(primary, {"bücher.example": virtual})


@pytest.fixture
async def storage(tmp_path: Path) -> AsyncIterator[LocalStorage]:
    async with LocalStorage(tmp_path, reserve=0) as storage:
        yield storage


@pytest.fixture
def handler(environment: Environment, storage: LocalStorage) -> LocalHandler:
    return LocalHandler(environment, storage, hostname="mx.example.org")


def session(service: str = "smtp", user: str | None = None) -> Session:
    made = Session("s1", ("192.0.2.1", 1234), service)
    made.helo, made.esmtp, made.user = "client.example", True, user
    return made


def message(data: bytes = b"Subject: x\r\n\r\nhi\r\n") -> MailTx:
    return MailTx("a@b.org", ["joe@example.org"], data, session=session())


def said(answer: object) -> Response:
    """The answer of a hook that answers at once."""
    assert isinstance(answer, Response)
    return answer


def code(answer: object) -> str:
    """The reply code and the enhanced code; "ok" for None."""
    response = None if answer is None else said(answer)
    return "ok" if response is None else f"{response.code} {response.message.split()[0]}"


class Failing(LocalStorage):
    """A storage whose save fails."""

    def __init__(self, directory: Path, error: Exception) -> None:
        super().__init__(directory, reserve=0)
        self.error = error

    async def mail_save(self, mail: MailTx) -> None:
        raise self.error


# Recipients


@pytest.mark.parametrize(
    ("recipient", "answer"),
    [
        ("joe@example.org", "ok"),
        ("JOE@Example.ORG", "ok"),
        ("staff@example.org", "ok"),
        ("ann@xn--bcher-kva.example", "ok"),
        ("postmaster@bücher.example", "ok"),
        ("nobody@example.org", "550 5.1.1"),
        ("joe@bücher.example", "550 5.1.1"),
        ("joe@elsewhere.example", "550 5.7.1"),
        ("joe@[192.0.2.9]", "550 5.7.1"),
        ("loop@example.org", "554 5.4.6"),
    ],
)
def test_h70_h71_port_25_takes_mail_for_its_own_accounts_only(
    handler: LocalHandler, recipient: str, answer: str
) -> None:
    assert code(handler.check_rcpt(session(), recipient, {})) == answer


def test_h34_the_postmaster_is_there_without_a_domain(handler: LocalHandler) -> None:
    assert handler.check_rcpt(session(), "Postmaster", {}) is None


@pytest.mark.parametrize(
    "recipient", ["joe%elsewhere.example@example.org", "elsewhere.example!joe@example.org"]
)
def test_h27_percent_and_bang_are_never_routed_on(handler: LocalHandler, recipient: str) -> None:
    assert code(handler.check_rcpt(session(), recipient, {})) == "550 5.1.1"


@pytest.mark.parametrize(
    ("recipient", "answer"),
    [("x@elsewhere.example", "ok"), ("ann@bücher.example", "ok"), ("nobody@example.org", "550 5.1.1")],
)
def test_who_logged_in_to_submit_sends_anywhere(handler: LocalHandler, recipient: str, answer: str) -> None:
    assert code(handler.check_rcpt(session("submission", "joe"), recipient, {})) == answer


def test_h64_who_did_not_log_in_is_relayed_for_on_no_service(handler: LocalHandler) -> None:
    for service in ("smtp", "submission", "submissions"):
        assert code(handler.check_rcpt(session(service), "x@elsewhere.example", {})) == "550 5.7.1"
    assert code(handler.check_rcpt(session("smtp", "joe"), "x@elsewhere.example", {})) == "550 5.7.1"


# Senders


@pytest.mark.parametrize(
    ("user", "sender", "answer"),
    [
        ("joe", "joe@example.org", "ok"),
        ("joe@example.org", "Joe@EXAMPLE.org", "ok"),
        ("ann@bücher.example", "ann@xn--bcher-kva.example", "ok"),
        ("joe", "", "ok"),
        ("joe", "ann@bücher.example", "553 5.7.1"),
        ("joe", "joe@elsewhere.example", "553 5.7.1"),
        ("joe", "staff@example.org", "553 5.7.1"),
        (None, "joe@example.org", "530 5.7.0"),
    ],
)
def test_h65_the_sender_of_a_submission_is_the_account_that_logged_in(
    handler: LocalHandler, user: str | None, sender: str, answer: str
) -> None:
    assert code(handler.check_mail(session("submission", user), sender, {})) == answer


def test_port_25_takes_mail_from_anybody(handler: LocalHandler) -> None:
    for sender in ("a@b.org", "", "joe@example.org"):
        assert handler.check_mail(session(), sender, {}) is None


@pytest.mark.parametrize(("size", "answer"), [("", "ok"), ("1000", "ok"), ("1001", "452 4.3.1")])
def test_h92_a_message_that_would_take_of_the_reserve_is_refused_at_mail(
    environment: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: str, answer: str
) -> None:
    monkeypatch.setattr("smtpx.storage.room.free_space", lambda _: 11_000)
    handler = LocalHandler(environment, LocalStorage(tmp_path, reserve=10_000))
    assert code(handler.check_mail(session(), "a@b.org", {"SIZE": size} if size else {})) == answer


# Messages


async def test_a_message_is_in_the_storage_with_its_trace_line_when_250_is_given(
    handler: LocalHandler, storage: LocalStorage
) -> None:
    mail = message()
    mail.params, mail.rcpt_params = {"ENVID": "1"}, [{"NOTIFY": "NEVER"}]
    response = await handler.serve_mail_tx(mail)
    assert code(response) == "250 2.0.0"
    (stored,) = await storage.mail_load_all()
    assert stored.id in response.message
    assert stored.data.startswith(
        b"Received: from client.example ([192.0.2.1])\r\n by mx.example.org with ESMTP id "
    )
    assert stored.data.endswith(b"\r\nSubject: x\r\n\r\nhi\r\n")
    assert (stored.mail_from, stored.recipients) == ("a@b.org", ["joe@example.org"])
    assert (stored.params, stored.rcpt_params) == ({"ENVID": "1"}, [{"NOTIFY": "NEVER"}])
    assert stored.received is not None


async def test_the_id_and_the_moment_that_the_server_gave_are_kept(handler: LocalHandler) -> None:
    mail = message()
    await handler.serve_mail_tx(mail)
    given = mail.id, mail.received
    mail.data = b"again"
    await handler.serve_mail_tx(mail)
    assert (mail.id, mail.received) == given


def test_a_handler_that_stores_keeps_the_dsn_parameters(handler: LocalHandler) -> None:
    assert handler.dsn
    assert not Handler.dsn


@pytest.mark.parametrize(("lines", "answer"), [(100, "250 2.0.0"), (101, "554 5.4.6")])
async def test_h73_more_than_100_received_lines_are_a_loop(
    handler: LocalHandler, storage: LocalStorage, lines: int, answer: str
) -> None:
    response = await handler.serve_mail_tx(message(b"Received: x\r\n" * lines + b"\r\n"))
    assert code(response) == answer
    assert len(await storage.mail_load_all()) == (answer == "250 2.0.0")


@pytest.mark.parametrize(
    ("error", "answer"), [(StorageFull(28, "full"), "452 4.3.1"), (StorageError(5, "the disk"), "451 4.3.0")]
)
async def test_h91_h92_what_is_not_stored_is_not_250(
    environment: Environment,
    tmp_path: Path,
    error: Exception,
    answer: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    saved: list[MailTx] = []
    handler = LocalHandler(environment, Failing(tmp_path, error), on_saved=saved.append)
    response = await handler.serve_mail_tx(message())
    assert code(response) == answer
    assert str(error) not in response.message
    assert saved == []
    assert str(error) in caplog.text
    assert "Traceback" not in caplog.text


async def test_on_saved_gets_each_message_after_it_is_stored(
    environment: Environment, storage: LocalStorage
) -> None:
    saved: list[MailTx] = []
    handler = LocalHandler(environment, storage, on_saved=saved.append)
    mail = message()
    await handler.serve_mail_tx(mail)
    assert saved == [mail] == await storage.mail_load_all()


async def test_a_stored_message_is_250_though_on_saved_fails(
    environment: Environment, storage: LocalStorage, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: MailTx) -> None:
        raise RuntimeError("the queue is broken")

    handler = LocalHandler(environment, storage, on_saved=fail)
    assert code(await handler.serve_mail_tx(message())) == "250 2.0.0"
    assert "the queue is broken" in caplog.text


async def test_a_bounced_message_leaves_the_waiting_ones(
    handler: LocalHandler, storage: LocalStorage
) -> None:
    mail = message()
    await handler.serve_mail_tx(mail)
    await handler.serve_bounce(mail, {"joe@example.org": RecipientResult(Outcome.PERMANENT)})
    with pytest.raises(MailNotFound):
        await storage.mail_load(mail.id)


# Logins


async def test_a_login_is_checked_against_the_environment(handler: LocalHandler) -> None:
    assert code(await handler.serve_auth(session("submission"), "joe", "secret")) == "235 2.7.0"
    assert code(await handler.serve_auth(session("submission"), "joe", "wrong")) == "535 5.7.8"


async def test_h58_a_broken_password_store_is_no_wrong_password(
    handler: LocalHandler, environment: Environment
) -> None:
    environment.primary_domain.add(Account("", "bad", "example.org", "no hash"))
    with pytest.raises(ConfigurationError):
        await handler.serve_auth(session("submission"), "bad", "secret")


async def test_h59_two_passwords_at_most_are_checked_at_once_and_off_the_loop(
    handler: LocalHandler, monkeypatch: pytest.MonkeyPatch
) -> None:
    two_in, go_on = threading.Barrier(3), threading.Event()
    inside: list[int] = []

    class Slow(Environment):
        def authenticate(self, username: str, password: str) -> Account:
            inside.append(threading.get_ident())
            if len(inside) <= 2:
                two_in.wait(30)
            assert go_on.wait(30)
            return self.primary_domain.postmaster

    handler.environment = Slow(Domain("example.org"))
    logins = [asyncio.create_task(handler.serve_auth(session("submission"), "joe", "x")) for _ in range(5)]
    await asyncio.to_thread(two_in.wait, 30)
    assert len(inside) == 2
    assert threading.get_ident() not in inside
    go_on.set()
    assert {code(response) for response in await asyncio.gather(*logins)} == {"235 2.7.0"}


async def test_another_environment_takes_effect_at_once(handler: LocalHandler) -> None:
    handler.environment = Environment(Domain("example.net"))
    assert code(handler.check_rcpt(session(), "joe@example.org", {})) == "550 5.7.1"
    assert code(await handler.serve_auth(session("submission"), "joe", "secret")) == "535 5.7.8"


# VRFY and EXPN


@pytest.mark.parametrize(
    "name", ["joe", "nobody", "staff", "loop", "x@elsewhere.example", "not an address", ""]
)
def test_h34_a_stranger_is_told_the_same_about_every_name(handler: LocalHandler, name: str) -> None:
    assert handler.serve_verify(session(), name) == UNVERIFIED == Handler().serve_verify(session(), name)
    assert handler.serve_expand(session(), name) == UNVERIFIED == Handler().serve_expand(session(), name)
    assert (UNVERIFIED.code, UNVERIFIED.code) == (252, 252)


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("joe", "2.1.5 Joe Doe <joe@example.org>"),
        ("<joe@example.org>", "2.1.5 Joe Doe <joe@example.org>"),
        ("Joe <JOE@example.org>", "2.1.5 Joe Doe <joe@example.org>"),
        ("team", "2.1.5 <team@example.org>"),
        ("Postmaster", "2.1.5 postmaster@example.org"),
    ],
)
def test_who_logged_in_is_told_who_is_here(handler: LocalHandler, name: str, answer: str) -> None:
    assert handler.serve_verify(session("submission", "joe"), name) == Response(250, answer)


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("nobody", "550 5.1.1"),
        ("a b@example.org", "501 5.1.3"),
        ("", "501 5.1.3"),
        ("x@elsewhere.example", "252 2.5.0"),
    ],
)
def test_who_logged_in_is_told_who_is_not_here(handler: LocalHandler, name: str, answer: str) -> None:
    assert code(handler.serve_verify(session("submission", "joe"), name)) == answer
    assert code(handler.serve_expand(session("submission", "joe"), name)) == answer


def test_expn_shows_the_members_of_an_alias(handler: LocalHandler) -> None:
    assert handler.serve_expand(session("submission", "joe"), "team") == Response(
        250, "2.1.5 Joe Doe <joe@example.org>", ["2.1.5 <x@elsewhere.example>"]
    )


def test_h74_expn_of_a_loop_is_554(handler: LocalHandler) -> None:
    assert code(handler.serve_expand(session("submission", "joe"), "loop")) == "554 5.4.6"


def test_h74_expn_shows_each_member_once(handler: LocalHandler, environment: Environment) -> None:
    environment.primary_domain.aliases["all"] = ["team", "joe", "all", "team@example.org"]
    response = said(handler.serve_expand(session("submission", "joe"), "all"))
    assert [response.message, *response.body] == [
        "2.1.5 Joe Doe <joe@example.org>",
        "2.1.5 <x@elsewhere.example>",
    ]


def test_what_is_not_ascii_is_not_put_into_a_reply_without_smtputf8(handler: LocalHandler) -> None:
    assert handler.serve_expand(session("submission", "joe"), "staff") == UNVERIFIED
    assert handler.serve_verify(session("submission", "joe"), "ann@bücher.example") == UNVERIFIED


def test_no_reply_can_be_split_by_a_name(handler: LocalHandler) -> None:
    response = said(handler.serve_verify(session("submission", "joe"), "joe\r\n250 ok"))
    assert not re.search(rb"\n.", bytes(response).rstrip())
