"""What became of a message."""

from __future__ import annotations

import copy
import pickle
from typing import TYPE_CHECKING

import pytest
import smtpx
from smtpx import MessageRefused, Outcome, Response
from smtpx.result import RecipientResult, Result

if TYPE_CHECKING:
    from tests.clients import Clients
    from tests.conftest import Scripted

from tests.clients import mail
from tests.scripted import close, say, then
from tests.sessions import polite

A, B, C, D = "a@c.example", "b@c.example", "c@c.example", "d@c.example"


@pytest.fixture
def mixed() -> Result:
    """One of each outcome, as an engine tells it."""
    engine = smtpx.ClientEngine("me.example", lmtp=True)
    engine.receive_data(b"220 x\r\n")
    engine.receive_data(b"250-x\r\n250 PIPELINING\r\n")
    engine.mail("ann@c.example", [A, B, C, D], data=b"x\r\n")
    engine.receive_data(b"250 ok\r\n250 ok\r\n450 4.2.0 later\r\n550 5.1.1 no\r\n250 ok\r\n354 go\r\n")
    engine.receive_data(b"250 2.0.0 taken\r\n")
    sent = engine.lost()
    assert sent is not None
    return Result([A, B, C, D], sent)


def test_each_recipient_has_his_outcome(mixed: Result) -> None:
    outcomes = {address: each.outcome for address, each in mixed.items()}
    assert outcomes == {
        A: Outcome.ACCEPTED,
        B: Outcome.TEMPORARY,
        C: Outcome.PERMANENT,
        D: Outcome.UNKNOWN,
    }


def test_each_recipient_has_the_reply_that_told_it(mixed: Result) -> None:
    assert [each.response and each.response.code for each in mixed.values()] == [250, 450, 550, None]


def test_the_recipients_of_each_outcome(mixed: Result) -> None:
    assert (mixed.accepted, mixed.temporary, mixed.permanent, mixed.unknown) == ([A], [B], [C], [D])


def test_it_is_safe_to_send_again_where_it_is_known_that_nobody_has_it(mixed: Result) -> None:
    assert mixed.retry() == [B]


def test_it_is_a_mapping_in_the_order_given(mixed: Result) -> None:
    assert list(mixed) == [A, B, C, D]
    assert len(mixed) == 4
    assert A in mixed
    assert "x@c.example" not in mixed
    assert mixed.get("x@c.example") is None
    with pytest.raises(KeyError):
        mixed["x@c.example"]


def test_the_lists_are_the_callers_own(mixed: Result) -> None:
    mixed.temporary.clear()
    mixed.retry().clear()
    assert mixed.retry() == [B]


def test_recipients_that_change_afterwards_change_nothing() -> None:
    recipients = [A, B]
    result = Result(recipients, Outcome.TEMPORARY)
    recipients.clear()
    assert list(result) == result.retry() == [A, B]


def test_one_outcome_for_all() -> None:
    result = Result([A, B], Outcome.UNKNOWN)
    assert dict(result) == dict.fromkeys([A, B], RecipientResult(Outcome.UNKNOWN, None))


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda r: pickle.loads(pickle.dumps(r))])
def test_it_survives_a_copy(mixed: Result, copied: object) -> None:
    assert callable(copied)
    again = copied(mixed)
    assert again == mixed
    assert list(again) == list(mixed)
    assert again.retry() == [B]


def test_it_compares_by_value(mixed: Result) -> None:
    assert mixed == dict(mixed)
    assert mixed != Result([A, B, C, D], Outcome.ACCEPTED)


def test_it_shows_its_outcomes(mixed: Result) -> None:
    assert f"'{A}': RecipientResult(outcome=<Outcome.ACCEPTED" in repr(mixed)


# As the clients give it


def test_a_recipient_named_twice_is_one(client: Clients, scripted: Scripted) -> None:
    server = scripted(polite())
    with client(server.url()) as session:
        assert session.mail_tx(mail(A, B, A)).accepted == [A, B]
    assert server.received[0].count(b"RCPT TO") == 2


def test_the_parameters_of_the_first_mention_count(client: Clients, scripted: Scripted) -> None:
    message = smtpx.MailTx(A, [A, B, A], b"x\r\n", rcpt_params=[{"NOTIFY": "NEVER"}, {}, {"NOTIFY": "DELAY"}])
    server = scripted(polite("DSN"))
    with client(server.url()) as session:
        session.mail_tx(message)
    assert b"RCPT TO:<a@c.example> NOTIFY=NEVER\r\n" in server.received[0]
    assert b"DELAY" not in server.received[0]


def test_who_was_refused_is_told_in_the_exception(client: Clients, scripted: Scripted) -> None:
    server = scripted(polite(rcpt=[b"550 5.1.1 no\r\n", b"450 4.2.0 later\r\n"]))
    with client(server.url()) as session, pytest.raises(MessageRefused) as refused:
        session.mail_tx(mail(A, B))
    assert str(refused.value) == (f"no recipient was accepted ({A}: 550 5.1.1 no; {B}: 450 4.2.0 later)")
    assert refused.value.result[A] == RecipientResult(Outcome.PERMANENT, Response(550, "5.1.1 no"))


def test_what_is_refused_before_it_is_sent_is_permanent(client: Clients, scripted: Scripted) -> None:
    server = scripted(polite("SIZE 10"))
    with client(server.url()) as session, pytest.raises(smtpx.MessageTooLarge) as refused:
        session.mail_tx(mail(A))
    assert refused.value.result is not None
    assert refused.value.result.permanent == [A]


def test_a_message_on_a_closed_connection_may_be_sent_again(client: Clients, scripted: Scripted) -> None:
    server = scripted(polite())
    session = client(server.url())
    session.connect()
    session.close()
    with pytest.raises(smtpx.ConnectionLost) as lost:
        session.mail_tx(mail(A))
    assert lost.value.result is not None
    assert lost.value.result.retry() == [A]


def test_lmtp_that_breaks_between_two_replies_is_half_unknown(client: Clients, scripted: Scripted) -> None:
    server = scripted(polite("PIPELINING", done=then(say(b"250 one has it\r\n"), close())))
    with client(server.url("lmtp")) as session:
        result = session.mail_tx(mail(A, B))
    assert (result.accepted, result.unknown) == ([A], [B])
