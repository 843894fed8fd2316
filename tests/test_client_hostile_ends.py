"""HOSTILE rows 79 and 80: connections that end or stall at any step, and what the result makes of it."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest
import smtpx
from smtpx import Outcome
from smtpx.errors import ClientError, ConnectionLost, MessageRefused, ReplyTimeout

from tests.clients import CONTENT, LARGE, mail
from tests.peer import PATIENCE
from tests.scripted import (
    Step,
    bdat,
    close,
    drip,
    expect,
    half_close,
    hang,
    nag,
    reset,
    say,
    signal,
    take,
    then,
    wait,
)
from tests.sessions import ehlo, greeting, polite

if TYPE_CHECKING:
    from smtpx.result import Result

    from tests.client import Run
    from tests.clients import Clients
    from tests.conftest import Scripted

JOE, BOB, ANN = "joe@example.org", "bob@example.org", "ann@example.org"
SOON = 0.3
"""Seconds of a deadline that is to be missed."""

ENDS = [close(), half_close(), reset()]
each_end = pytest.mark.parametrize("end", ENDS, ids=["close", "half_close", "reset"])
each_server = pytest.mark.parametrize(
    "keywords", [(), ("PIPELINING",), ("CHUNKING",), ("PIPELINING", "CHUNKING")], ids="+".join
)


def result_of(error: ClientError) -> Result:
    assert error.result is not None
    return error.result


# The end of the connection


@each_end
@pytest.mark.parametrize("step", ["banner", "ehlo"])
def test_a_connection_that_ends_before_the_session_is_lost(
    client: Clients, scripted: Scripted, step: str, end: Step
) -> None:
    server = scripted(polite(**{step: end}))
    with pytest.raises(ConnectionLost), client(server.url()):
        pass


def test_a_port_where_nobody_listens_is_a_connection_lost(client: Clients, scripted: Scripted) -> None:
    server = scripted()
    server.finish()  # closes the port
    with pytest.raises(ConnectionLost), client(server.url()):
        pass


@each_end
@pytest.mark.parametrize("step", ["mail", "rcpt", "data"])
@pytest.mark.parametrize("keywords", [(), ("PIPELINING",)], ids="+".join)
def test_a_connection_that_ends_before_the_content_is_temporary(
    client: Clients, scripted: Scripted, step: str, end: Step, keywords: tuple[str, ...]
) -> None:
    server = scripted(polite(*keywords, **{step: end}))
    with client(server.url()) as session, pytest.raises(ConnectionLost) as lost:
        session.mail_tx(mail(JOE, BOB))
    result = result_of(lost.value)
    assert result.temporary == result.retry() == [JOE, BOB]


@each_end
def test_a_connection_that_ends_within_the_content_is_temporary(
    client: Clients, scripted: Scripted, end: Step
) -> None:
    server = scripted(polite(data=then(say(b"354 go\r\n"), take(1000), end)))
    with client(server.url()) as session, pytest.raises(ConnectionLost) as lost:
        session.mail_tx(mail(data=LARGE))
    assert result_of(lost.value).retry() == [JOE]


@each_end
@each_server
def test_h79_a_connection_that_ends_behind_the_content_is_unknown(
    client: Clients, scripted: Scripted, end: Step, keywords: tuple[str, ...]
) -> None:
    server = scripted(polite(*keywords, done=end))
    with client(server.url()) as session, pytest.raises(ConnectionLost) as lost:
        session.mail_tx(mail(JOE, BOB))
    result = result_of(lost.value)
    assert result.unknown == [JOE, BOB]
    assert result[JOE].response is None
    assert result.retry() == []


@each_end
def test_h79_a_refused_recipient_stays_refused_when_the_rest_is_unknown(
    client: Clients, scripted: Scripted, end: Step
) -> None:
    answers = [b"250 ok\r\n", b"550 5.1.1 no\r\n", b"450 4.2.1 later\r\n"]
    server = scripted(polite(rcpt=answers, done=end))
    with client(server.url()) as session, pytest.raises(ConnectionLost) as lost:
        session.mail_tx(mail(JOE, BOB, ANN))
    result = result_of(lost.value)
    assert (result.unknown, result.permanent, result.temporary) == ([JOE], [BOB], [ANN])
    assert result.retry() == [ANN]


def test_h79_half_a_reply_is_none(client: Clients, scripted: Scripted) -> None:
    server = scripted(polite(done=then(say(b"250 2.0.0 tak"), close())))
    with client(server.url()) as session, pytest.raises(ConnectionLost) as lost:
        session.mail_tx(mail())
    assert result_of(lost.value).unknown == [JOE]


def test_h79_a_reply_in_front_of_the_end_counts(client: Clients, scripted: Scripted) -> None:
    server = scripted(polite(done=then(say(b"250 2.0.0 taken\r\n"), close())))
    with client(server.url()) as session:
        assert session.mail_tx(mail()).accepted == [JOE]


def test_h79_the_reply_to_the_content_is_waited_for(client: Clients, scripted: Scripted) -> None:
    server = scripted(polite(done=say(b"250-2.0.0 still\r\n", b"250 2.0.0 taken\r\n")))
    with client(server.url(), timeout=None) as session:
        assert session.mail_tx(mail()).accepted == [JOE]


@pytest.mark.parametrize("last", [b"451 not stored\r\n", b"250 2.0.0 taken\r\n", b"nonsense\r\n", b"45"])
@pytest.mark.parametrize("keywords", [("PIPELINING",), ("PIPELINING", "CHUNKING")], ids="+".join)
def test_h79_with_a_reply_too_many_nothing_is_known(
    client: Clients, scripted: Scripted, keywords: tuple[str, ...], last: bytes
) -> None:
    # Which is the reply to the content? One that refuses it may be behind one that said 250 to another.
    server = scripted(polite(*keywords, done=then(say(b"250 2.1.5 ok\r\n" + last), hang())), polite())
    with client(server.url()) as session:
        with pytest.raises(ConnectionLost) as lost:
            session.mail_tx(mail())
        assert not session.connected
        session.connect()
    result = result_of(lost.value)
    assert result.unknown == [JOE]
    assert result.retry() == []


def test_h79_with_a_reply_too_many_in_a_group_nothing_is_known(client: Clients, scripted: Scripted) -> None:
    group = [*ehlo("PIPELINING", "CHUNKING"), expect("MAIL"), expect("RCPT"), bdat()]
    server = scripted([*group, say(b"250 a\r\n250 b\r\n250 b\r\n451 not stored\r\n"), hang()])
    with pytest.raises(ConnectionLost) as lost, client(server.url()) as session:
        session.mail_tx(mail())
    assert result_of(lost.value).unknown == [JOE]


def test_h79_lmtp_with_a_reply_too_many_nothing_is_known(client: Clients, scripted: Scripted) -> None:
    replies = b"250 2.1.5 ok\r\n250 2.0.0 joe\r\n451 4.2.2 bob\r\n"
    server = scripted(polite("PIPELINING", lhlo=greeting("PIPELINING"), done=then(say(replies), hang())))
    with pytest.raises(ConnectionLost) as lost, client(server.url("lmtp")) as session:
        session.mail_tx(mail(JOE, BOB))
    assert result_of(lost.value).unknown == [JOE, BOB]


@pytest.mark.parametrize("more", [b"250 2.0.0 taken\r\n", b"451 not stored\r\n", b"554 no\r\n"])
@pytest.mark.parametrize("size", [CONTENT, LARGE], ids=["whole", "pieces"])
def test_with_a_reply_too_many_before_the_content_none_is_sent(
    client: Clients, scripted: Scripted, size: bytes, more: bytes
) -> None:
    script = [*ehlo("PIPELINING"), expect("MAIL"), expect("RCPT"), expect("DATA")]
    server = scripted([*script, say(b"250 ok\r\n250 ok\r\n354 go\r\n" + more), hang()])
    with pytest.raises(ConnectionLost) as lost, client(server.url()) as session:
        session.mail_tx(mail(data=size))
    assert result_of(lost.value).retry() == [JOE]
    assert server.received[0].endswith(b"DATA\r\n")


def test_a_session_that_has_ended_says_so(client: Clients, scripted: Scripted) -> None:
    server = scripted(polite(noop=close()))
    with client(server.url()) as session:
        for _ in range(2):
            with pytest.raises(ConnectionLost):
                session.noop()


def test_a_server_that_closes_at_quit_is_no_failure(client: Clients, scripted: Scripted) -> None:
    server = scripted(polite(quit=close()))
    with client(server.url()) as session:
        session.noop()


# Stalls


@pytest.mark.parametrize("step", ["banner", "ehlo"])
def test_a_server_that_is_slow_before_the_session_is_given_up(
    client: Clients, scripted: Scripted, step: str
) -> None:
    server = scripted(polite(**{step: hang()}))
    with pytest.raises(ReplyTimeout), client(server.url(), timeout=SOON):
        pass


@pytest.mark.parametrize("step", ["mail", "rcpt", "data"])
def test_a_server_that_is_slow_before_the_content_is_temporary(
    client: Clients, scripted: Scripted, step: str
) -> None:
    server = scripted(polite(**{step: hang()}))
    with client(server.url(), timeout=SOON) as session, pytest.raises(ReplyTimeout) as slow:
        session.mail_tx(mail())
    assert result_of(slow.value).retry() == [JOE]


@each_server
def test_h79_a_server_that_is_slow_behind_the_content_is_unknown(
    client: Clients, scripted: Scripted, keywords: tuple[str, ...]
) -> None:
    server = scripted(polite(*keywords, done=hang()))
    with client(server.url(), timeout=SOON) as session, pytest.raises(ReplyTimeout) as slow:
        session.mail_tx(mail())
    result = result_of(slow.value)
    assert result.unknown == [JOE]
    assert result.retry() == []


def test_a_server_that_reads_no_content_is_given_up(client: Clients, scripted: Scripted) -> None:
    done = threading.Event()
    server = scripted(polite(data=then(say(b"354 go\r\n"), take(1000), wait(done), close())))
    with client(server.url(), timeout=SOON) as session, pytest.raises(ClientError) as slow:
        session.mail_tx(mail(data=LARGE * 4))
    done.set()
    assert isinstance(slow.value, ReplyTimeout)
    assert result_of(slow.value).retry() == [JOE]


def test_a_session_whose_reply_is_late_takes_no_other_command(client: Clients, scripted: Scripted) -> None:
    server = scripted(polite(noop=hang()))
    with client(server.url(), timeout=SOON) as session:
        with pytest.raises(ReplyTimeout):
            session.noop()
        with pytest.raises(ClientError):  # its reply might be the late one
            session.verify("joe")
    assert b"VRFY" not in server.received[0]


@pytest.mark.parametrize("timeout", [smtpx.Timeouts(total=SOON), SOON], ids=["total", "each wait"])
@pytest.mark.parametrize("step", ["banner", "ehlo", "mail", "done"])
def test_a_reply_that_never_ends_is_given_up(
    client: Clients, scripted: Scripted, step: str, timeout: smtpx.Timeouts | float
) -> None:
    line = b"220-x\r\n" if step == "banner" else b"250-x\r\n"
    server = scripted(polite(**{step: nag(line)}))
    with (
        pytest.raises(ReplyTimeout),
        client(server.url(), timeout=timeout) as session,
    ):
        session.mail_tx(mail())


def test_a_dripped_session_is_served(client: Clients, scripted: Scripted) -> None:
    server = scripted(
        polite(banner=drip(b"220 x\r\n"), ehlo=drip(greeting("SIZE")), done=drip(b"250 ok\r\n"))
    )
    with client(server.url()) as session:
        assert session.mail_tx(mail()).accepted == [JOE]


# Some of the recipients


@pytest.mark.parametrize("keywords", [(), ("PIPELINING",), ("PIPELINING", "CHUNKING")], ids="+".join)
def test_h80_one_of_three_recipients_is_refused_for_good(
    client: Clients, scripted: Scripted, keywords: tuple[str, ...]
) -> None:
    answers = [b"250 ok\r\n", b"550 5.1.1 no such user\r\n", b"250 ok\r\n"]
    server = scripted(polite(*keywords, rcpt=answers))
    with client(server.url()) as session:
        result = session.mail_tx(mail(JOE, BOB, ANN))
    assert (result.accepted, result.permanent, result.retry()) == ([JOE, ANN], [BOB], [])
    assert result[BOB].response == smtpx.Response(550, "5.1.1 no such user")
    assert result[JOE].response == smtpx.Response(250, "2.0.0 taken")


def test_h80_one_of_three_recipients_is_refused_for_now(client: Clients, scripted: Scripted) -> None:
    server = scripted(polite(rcpt=[b"250 ok\r\n", b"450 4.2.1 later\r\n", b"250 ok\r\n"]))
    with client(server.url()) as session:
        result = session.mail_tx(mail(JOE, BOB, ANN))
    assert (result.accepted, result.temporary, result.retry()) == ([JOE, ANN], [BOB], [BOB])


def test_h80_a_refused_content_is_refused_for_all_who_were_accepted(
    client: Clients, scripted: Scripted
) -> None:
    server = scripted(polite(rcpt=[b"250 ok\r\n", b"450 4.2.1 later\r\n"], done=b"554 5.6.0 spam\r\n"))
    with client(server.url()) as session, pytest.raises(MessageRefused) as refused:
        session.mail_tx(mail(JOE, BOB))
    assert refused.value.result.permanent == [JOE]
    assert refused.value.result.retry() == [BOB]


@pytest.mark.parametrize("keywords", [(), ("PIPELINING",), ("PIPELINING", "CHUNKING")], ids="+".join)
@pytest.mark.parametrize("code", [b"550", b"450"])
@pytest.mark.parametrize("step", ["mail", "rcpt", "data", "done"])
def test_a_session_goes_on_behind_a_refused_message(
    client: Clients, scripted: Scripted, step: str, code: bytes, keywords: tuple[str, ...]
) -> None:
    if step == "data" and "CHUNKING" in keywords:
        step = "done"
    server = scripted(polite(*keywords, **{step: [code + b" no\r\n", _OK[step]]}))
    with client(server.url()) as session:
        with pytest.raises(MessageRefused) as refused:
            session.mail_tx(mail())
        assert session.mail_tx(mail()).accepted == [JOE]
    outcome = Outcome.PERMANENT if code == b"550" else Outcome.TEMPORARY
    assert refused.value.result[JOE].outcome is outcome


_OK = {"mail": b"250 ok\r\n", "rcpt": b"250 ok\r\n", "data": b"354 go\r\n", "done": b"250 taken\r\n"}


# Cancellation, and two tasks at once: what only asyncio has


@pytest.mark.parametrize("step", ["mail", "content", "done"])
def test_a_cancelled_message_closes_the_connection(run: Run, scripted: Scripted, step: str) -> None:
    there, cancelled = threading.Event(), threading.Event()
    # Until then nothing is read, or the content might all be there.
    stall = then(signal(there), wait(cancelled), hang())
    answers = {"data": then(say(b"354 go\r\n"), take(10), stall)} if step == "content" else {step: stall}
    server = scripted(polite(**answers))

    async def main() -> None:
        async with smtpx.Client(server.url(), timeout=PATIENCE) as client:
            sending = asyncio.create_task(client.mail_tx(mail(data=LARGE if step == "content" else CONTENT)))
            assert await asyncio.to_thread(there.wait, PATIENCE)
            sending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sending
            cancelled.set()
            with pytest.raises(ClientError):
                await client.noop()

    run(main())
    if step == "content":
        assert not server.received[0].endswith(b"\r\n.\r\n")


def test_messages_of_two_tasks_are_not_interleaved(run: Run, scripted: Scripted) -> None:
    server = scripted(polite("PIPELINING"))

    async def main() -> None:
        async with smtpx.Client(server.url(), timeout=PATIENCE) as client, asyncio.TaskGroup() as group:
            for number in range(10):
                group.create_task(client.mail_tx(mail(data=b"Subject: %d\r\n\r\n" % number)))

    run(main())
    assert sorted(server.contents) == [b"Subject: %d\r\n\r\n.\r\n" % number for number in range(10)]


def test_messages_of_two_threads_are_not_interleaved(scripted: Scripted) -> None:
    server = scripted(polite("PIPELINING"))
    with smtpx.SyncClient(server.url(), timeout=PATIENCE) as client:
        threads = [
            threading.Thread(target=client.mail_tx, args=(mail(data=b"Subject: %d\r\n\r\n" % number),))
            for number in range(10)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(server.contents) == [b"Subject: %d\r\n\r\n.\r\n" % number for number in range(10)]
