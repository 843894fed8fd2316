"""HOSTILE row 81, and its kin: servers that say what no server may say, at any step."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

import pytest
import smtpx
from smtpx import Outcome
from smtpx.errors import ClientError, CommandRefused, MessageRefused

from tests.clients import CONTENT, LARGE, mail
from tests.peer import PATIENCE
from tests.scripted import (
    Step,
    close,
    content,
    expect,
    flood,
    half_close,
    say,
    signal,
    take,
    then,
    wait,
)
from tests.sessions import Answer, ehlo, greeting, polite

if TYPE_CHECKING:
    from tests.clients import Clients
    from tests.conftest import Scripted

JOE, BOB = "joe@example.org", "bob@example.org"
STEPS = ["banner", "ehlo", "mail", "rcpt", "data", "done"]
each_step = pytest.mark.parametrize("step", STEPS)


def one_odd(step: str, answer: Answer, *keywords: str) -> list[Step]:
    """A whole session in which one step is answered so."""
    return polite(*keywords, **{step: answer})


# Bounds


@each_step
@pytest.mark.parametrize("piece", [b"250-" + b"x" * 70 + b"\r\n", b"250-\r\n" * 100], ids=["long", "many"])
def test_h81_a_reply_of_10_mib_is_given_up(
    client: Clients, scripted: Scripted, step: str, piece: bytes
) -> None:
    piece = piece.replace(b"250", {"banner": b"220", "data": b"354"}.get(step, b"250"))
    server = scripted(one_odd(step, flood(piece)))
    with pytest.raises(ClientError), client(server.url()) as session:
        session.mail_tx(mail())
    server.finish()


@each_step
def test_h81_a_line_of_10_mib_is_given_up(client: Clients, scripted: Scripted, step: str) -> None:
    server = scripted(one_odd(step, flood(b"2" * 1000)))
    with pytest.raises(ClientError), client(server.url()) as session:
        session.mail_tx(mail())
    server.finish()


def test_a_line_of_4096_octets_is_taken(client: Clients, scripted: Scripted) -> None:
    server = scripted(polite(noop=b"250 " + b"x" * 4090 + b"\r\n"))
    with client(server.url()) as session:
        assert session.noop().message == "x" * 4090


def test_h81_a_line_of_4097_octets_is_not(client: Clients, scripted: Scripted) -> None:
    server = scripted(polite(noop=b"250 " + b"x" * 4091 + b"\r\n"))
    with pytest.raises(ClientError), client(server.url()) as session:
        session.noop()


@pytest.mark.parametrize("over", [0, 1])
def test_h81_a_reply_has_256_kib_at_most(client: Clients, scripted: Scripted, over: int) -> None:
    lines = b"250-" + b"x" * 1018 + b"\r\n"
    last = b"250 " + b"x" * (1018 + over) + b"\r\n"
    server = scripted(polite(noop=lines * 255 + last))
    with client(server.url()) as session:
        if over:
            with pytest.raises(ClientError):
                session.noop()
        else:
            assert len(session.noop().body) == 255


# What is no reply

NO_REPLIES = [
    b"999 x\r\n",
    b"199 x\r\n",
    b"600 x\r\n",
    b"000 x\r\n",
    b"260 x\r\n",
    b"2x0 x\r\n",
    b"abc x\r\n",
    b"25\r\n",
    b"2500 x\r\n",
    b"250x\r\n",
    b" 250 x\r\n",
    b"\r\n",
    b"-250 x\r\n",
    b"250-a\r\n550 b\r\n",
    b"250-a\r\nb\r\n250 c\r\n",
    b"250 a\0b\r\n",
    b"250 a\rb\r\n",
    b"250 a\n250 b\r\n",
    b"250 a\r\r\n",
    b"\xff\xfe\r\n",
    b"HTTP/1.1 400 Bad Request\r\n\r\n",
    b"\x16\x03\x01\x00\x05hello\r\n",
]


@pytest.mark.parametrize("answer", NO_REPLIES, ids=repr)
def test_h81_what_is_no_reply_ends_the_session(client: Clients, scripted: Scripted, answer: bytes) -> None:
    server = scripted(polite(noop=answer))
    with client(server.url()) as session:
        with pytest.raises(ClientError):
            session.noop()
        with pytest.raises(ClientError):  # whatever comes next, it answers nothing
            session.noop()
    assert server.received[0].count(b"NOOP") == 1


@each_step
@pytest.mark.parametrize("answer", [b"999 x\r\n", b"250-a\r\n550 b\r\n", b"250 a\0b\r\n"], ids=repr)
def test_h81_what_is_no_reply_accepts_nothing(
    client: Clients, scripted: Scripted, step: str, answer: bytes
) -> None:
    server = scripted(one_odd(step, answer))
    with pytest.raises(ClientError) as failed, client(server.url()) as session:
        session.mail_tx(mail())
    assert failed.value.result is None or failed.value.result.accepted == []


@pytest.mark.parametrize(
    ("step", "answer"),
    [
        ("banner", b"354 go ahead\r\n"),
        ("ehlo", b"354 go ahead\r\n"),
        ("mail", b"354 go ahead\r\n"),
        ("rcpt", b"354 go ahead\r\n"),
        ("data", b"250 ok\r\n"),
        ("done", b"354 go ahead\r\n"),
    ],
)
def test_a_reply_that_belongs_elsewhere_accepts_nothing(
    client: Clients, scripted: Scripted, step: str, answer: bytes
) -> None:
    server = scripted(one_odd(step, answer))
    with pytest.raises(ClientError) as failed, client(server.url()) as session:
        session.mail_tx(mail())
    assert failed.value.result is None or failed.value.result.accepted == []


def test_h81_a_reply_is_shown_without_what_a_terminal_obeys(client: Clients, scripted: Scripted) -> None:
    server = scripted(polite(noop=b"550 \x1b[2J\x07 gone\r\n"))
    with client(server.url()) as session, pytest.raises(CommandRefused) as refused:
        session.noop()
    assert refused.value.response.message == "\x1b[2J\x07 gone"
    assert str(refused.value).isprintable()


def test_a_reply_in_pieces_is_one_reply(client: Clients, scripted: Scripted) -> None:
    server = scripted(polite(noop=say(b"2", b"50-a\r", b"\n25", b"0 b\r\n")))
    with client(server.url()) as session:
        assert str(session.noop().message) == "a"


# Refusals of the session


@pytest.mark.parametrize("code", [421, 521, 554])
def test_h81_a_banner_that_refuses_is_told_and_nothing_is_sent(
    client: Clients, scripted: Scripted, code: int
) -> None:
    server = scripted([say(b"%d 5.3.2 go away\r\n" % code)])
    with pytest.raises(CommandRefused, match="go away") as refused, client(server.url()):
        pass
    assert refused.value.response.code == code
    assert server.received[0] in (b"", b"QUIT\r\n")


def test_421_to_ehlo_is_told(client: Clients, scripted: Scripted) -> None:
    server = scripted(polite(ehlo=then(say(b"421 4.3.2 busy\r\n"), close())))
    with pytest.raises(CommandRefused) as refused, client(server.url()):
        pass
    assert refused.value.code == 421


@pytest.mark.parametrize("keywords", [(), ("PIPELINING",), ("PIPELINING", "CHUNKING")], ids=repr)
@pytest.mark.parametrize("step", ["mail", "rcpt", "data", "done"])
def test_421_within_a_message_is_a_temporary_refusal(
    client: Clients, scripted: Scripted, step: str, keywords: tuple[str, ...]
) -> None:
    if step == "data" and "CHUNKING" in keywords:
        step = "done"
    server = scripted(one_odd(step, then(say(b"421 4.3.2 leaving\r\n"), half_close()), *keywords))
    with client(server.url()) as session:
        with pytest.raises(ClientError) as failed:
            session.mail_tx(mail())
        with pytest.raises(ClientError):  # the session is over
            session.noop()
    result = failed.value.result
    assert result is not None
    assert result[JOE].outcome is Outcome.TEMPORARY
    assert result[JOE].response == smtpx.Response(421, "4.3.2 leaving")
    assert result.retry() == [JOE]


def test_421_to_a_command_is_told_and_ends_the_session(client: Clients, scripted: Scripted) -> None:
    server = scripted(polite(noop=then(say(b"421 4.3.2 leaving\r\n"), close())))
    with client(server.url()) as session:
        with pytest.raises(CommandRefused) as refused:
            session.noop()
        with pytest.raises(ClientError):
            session.noop()
    assert refused.value.code == 421


# Replies at the wrong time


def test_a_second_reply_is_not_taken_for_that_to_the_next_command(
    client: Clients, scripted: Scripted
) -> None:
    server = scripted(polite(noop=b"250 first\r\n250 second\r\n", vrfy=b"550 no\r\n"))
    with client(server.url()) as session:
        with contextlib.suppress(ClientError):  # it may be told at once
            session.noop()
        with pytest.raises(ClientError):
            session.verify("joe")


def test_a_reply_to_nothing_is_not_taken_for_that_to_the_next_command(
    client: Clients, scripted: Scripted
) -> None:
    go, said = threading.Event(), threading.Event()
    answer = then(say(b"250 ok\r\n"), wait(go), say(b"250 unasked\r\n"), signal(said))
    server = scripted(polite(noop=answer, vrfy=b"550 no\r\n"))
    with client(server.url()) as session:
        session.noop()
        go.set()
        assert said.wait(PATIENCE)
        with pytest.raises(ClientError):
            session.verify("joe")


def test_421_on_an_idle_connection_is_a_temporary_refusal_of_the_next_message(
    client: Clients, scripted: Scripted
) -> None:
    go, said = threading.Event(), threading.Event()
    bye = then(say(b"250 ok\r\n"), wait(go), say(b"421 4.4.2 idle\r\n"), signal(said), half_close())
    server = scripted(polite(noop=bye))
    with client(server.url()) as session:
        session.noop()
        go.set()
        assert said.wait(PATIENCE)
        with pytest.raises(ClientError) as failed:
            session.mail_tx(mail())
    result = failed.value.result
    assert result is None or result.retry() == [JOE]


def test_a_reply_ahead_of_the_content_accepts_nothing(client: Clients, scripted: Scripted) -> None:
    # In one segment with 354: it was said before the server can have seen any of the content.
    script = [*ehlo(), expect("MAIL"), say(b"250 ok\r\n"), expect("RCPT"), say(b"250 ok\r\n"), expect("DATA")]
    server = scripted([*script, say(b"354 go\r\n250 2.0.0 taken\r\n"), half_close()])
    with pytest.raises(ClientError) as failed, client(server.url()) as session:
        session.mail_tx(mail())
    assert failed.value.result is not None
    assert failed.value.result.accepted == []


def test_a_refusal_within_the_content_is_told(client: Clients, scripted: Scripted) -> None:
    early = then(say(b"354 go\r\n"), take(1000), say(b"552 5.3.4 too large\r\n"), half_close())
    server = scripted(polite(data=early))
    with pytest.raises(MessageRefused) as refused, client(server.url()) as session:
        session.mail_tx(mail(data=LARGE))
    assert refused.value.result[JOE].outcome is Outcome.PERMANENT
    assert refused.value.result[JOE].response == smtpx.Response(552, "5.3.4 too large")


def test_a_refusal_within_the_content_and_a_close_is_never_unknown(
    client: Clients, scripted: Scripted
) -> None:
    # The reset that follows may overtake the reply: then all that is known is that it was not sent.
    early = then(say(b"354 go\r\n"), take(1000), say(b"552 5.3.4 too large\r\n"), close())
    server = scripted(polite(data=early))
    with pytest.raises(ClientError) as failed, client(server.url()) as session:
        session.mail_tx(mail(data=LARGE))
    assert failed.value.result is not None
    assert failed.value.result[JOE].outcome in (Outcome.PERMANENT, Outcome.TEMPORARY)


def test_an_acceptance_within_the_content_is_none(client: Clients, scripted: Scripted) -> None:
    failed = threading.Event()  # no content is read before that, so that the end of it cannot be sent
    early = then(say(b"354 go\r\n"), take(1000), say(b"250 2.0.0 taken\r\n"), wait(failed), close())
    server = scripted(polite(data=early))
    with client(server.url()) as session, pytest.raises(ClientError) as error:
        session.mail_tx(mail(data=LARGE * 4))
    failed.set()
    assert error.value.result is not None
    assert error.value.result.accepted == []


def test_a_refusal_within_chunks_is_told(client: Clients, scripted: Scripted) -> None:
    refuse = b"552 5.3.4 too large\r\n"
    server = scripted(polite("CHUNKING", bdat=refuse, done=refuse))
    with pytest.raises(MessageRefused) as refused, client(server.url()) as session:
        session.mail_tx(mail(data=LARGE))
    assert refused.value.result.permanent == [JOE]


# Servers that are odd, and yet served


def test_a_server_without_ehlo_is_greeted_by_helo(client: Clients, scripted: Scripted) -> None:
    server = scripted(polite(ehlo=b"502 5.5.1 what?\r\n"))
    with client(server.url()) as session:
        assert session.mail_tx(mail()).accepted == [JOE]
    assert b"\r\nHELO " in server.received[0]


def test_a_server_of_many_odd_keywords_is_served(client: Clients, scripted: Scripted) -> None:
    odd = (
        "SIZE=5",
        "SIZE x",
        "SIZE -1",
        "X" * 500,
        "=",
        "AUTH",
        "8BITMIME 8BITMIME",
        "\xe9",
        "",
        " PIPELINING",
    )
    server = scripted(polite(ehlo=greeting(*odd)))
    with client(server.url()) as session:
        assert session.mail_tx(mail()).accepted == [JOE]


def test_data_is_accepted_and_nobody_was(client: Clients, scripted: Scripted) -> None:
    """A pipelined DATA gets 354 though all recipients were refused: RFC 2920 3.1 has us end it at once."""
    server = scripted(
        polite("PIPELINING", rcpt=b"550 5.1.1 no\r\n", data=b"354 go\r\n", done=b"554 5.5.1 nobody\r\n")
    )
    with client(server.url()) as session:
        with pytest.raises(MessageRefused) as refused:
            session.mail_tx(mail(JOE, BOB))
        session.noop()
    assert refused.value.result.permanent == [JOE, BOB]
    assert CONTENT.split(b"\r\n")[0] not in server.received[0]


def test_a_step_by_step_sessionwithout_pipelining_waits_for_every_reply(
    client: Clients, scripted: Scripted
) -> None:
    script = [*ehlo(), expect("MAIL"), say(b"250 ok\r\n"), expect("RCPT"), say(b"250 ok\r\n")]
    script += [expect("DATA"), say(b"354 go\r\n"), content(), say(b"250 taken\r\n")]
    server = scripted([*script, expect("QUIT"), say(b"221 bye\r\n"), half_close()])
    with client(server.url()) as session:
        assert session.mail_tx(mail()).accepted == [JOE]
    assert server.contents == [b"Subject: x\r\n\r\n..hi\r\n.\r\n"]
