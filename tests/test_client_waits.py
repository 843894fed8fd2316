"""Clients: how long each waits, and large content on its way."""

from __future__ import annotations

import contextlib
import gc
import os
import socket
import threading
import time
import tracemalloc
from typing import TYPE_CHECKING

import pytest
import smtpx
from smtpx import ConnectionLost, ReplyTimeout, Timeouts
from smtpx.errors import ClientError, MessageRefused

from tests.clients import CONTENT, LARGE, mail, url
from tests.peer import PATIENCE
from tests.recorder import JOE
from tests.scripted import (
    Step,
    close,
    expect,
    half_close,
    hang,
    reset,
    say,
    signal,
    start_tls,
    take,
    then,
    wait,
)
from tests.sessions import ehlo, polite

if TYPE_CHECKING:
    from pathlib import Path

    from tests.clients import Clients
    from tests.conftest import Scripted
    from tests.live import Certificate, LiveServers
    from tests.scripted import Connection

SOON = 0.2
"""Seconds of a deadline that is to be missed."""


# Times


@pytest.mark.parametrize("step", ["banner", "ehlo", "mail", "rcpt", "data", "done", "noop"])
def test_each_wait_has_its_time(client: Clients, scripted: Scripted, step: str) -> None:
    name = {"banner": "banner", "data": "data_init", "done": "data_end"}.get(step, "command")
    server = scripted(polite(**{step: hang()}))
    with (
        pytest.raises(ReplyTimeout) as late,
        client(server.url(), timeout=Timeouts(**{name: SOON})) as session,
    ):
        session.noop() if step == "noop" else session.mail_tx(mail())
    assert f"({name.replace('_', ' ')})" in str(late.value)
    if step in {"mail", "rcpt", "data"}:
        assert late.value.result is not None
        assert late.value.result.retry() == [JOE]
    if step == "done":
        assert late.value.result is not None
        assert late.value.result.unknown == [JOE]


@pytest.mark.parametrize("step", ["banner", "mail", "done"])
def test_a_total_ends_every_wait(client: Clients, scripted: Scripted, step: str) -> None:
    server = scripted(polite(**{step: hang()}))
    with pytest.raises(ReplyTimeout), client(server.url(), timeout=Timeouts(total=SOON)) as session:
        session.mail_tx(mail())


def test_a_total_is_for_the_handshake_and_the_banner_together(
    client: Clients, scripted: Scripted, certificate: Certificate
) -> None:
    go = threading.Event()
    server = scripted([wait(go), start_tls(certificate.server), hang()])
    threading.Timer(1.0, go.set).start()
    began = time.monotonic()
    timeout = Timeouts(total=1.5)
    with pytest.raises(ReplyTimeout), client(server.url("smtps"), tls=certificate.client, timeout=timeout):
        pass
    assert time.monotonic() - began < 2.3  # and not 2.5, where each had a total of its own


@pytest.mark.parametrize("timeout", [Timeouts(data_block=SOON), Timeouts(total=SOON)], ids=["block", "total"])
def test_a_server_that_takes_no_content_runs_out_of_time(
    client: Clients, scripted: Scripted, timeout: Timeouts
) -> None:
    done = threading.Event()
    server = scripted(polite(data=then(say(b"354 go\r\n"), take(1000), wait(done), close())))
    with client(server.url(), timeout=timeout) as session, pytest.raises(ReplyTimeout) as late:
        session.mail_tx(mail(data=LARGE))
    done.set()
    assert late.value.result is not None
    assert late.value.result.retry() == [JOE]


def test_a_short_time_for_one_wait_does_not_shorten_another(client: Clients, scripted: Scripted) -> None:
    # The clock looks as often as the shortest time asks, here many times within the wait.
    go, asked = threading.Event(), threading.Event()
    server = scripted(polite(done=then(signal(asked), wait(go), say(b"250 taken\r\n"))))
    late = threading.Timer(5 * SOON, go.set)
    late.start()
    times = Timeouts(banner=SOON, data_end=PATIENCE)
    with client(server.url(), timeout=times) as session:
        assert session.mail_tx(mail()).accepted == [JOE]
    late.join()


def test_a_time_that_ran_out_ends_the_session(client: Clients, scripted: Scripted) -> None:
    server = scripted(polite(noop=hang()), polite())
    with client(server.url(), timeout=Timeouts(command=SOON)) as session:
        with pytest.raises(ReplyTimeout):
            session.noop()
        with pytest.raises(ConnectionLost):
            session.noop()
        session.connect()
        session.noop()


def test_nobody_answers_in_time(client: Clients) -> None:
    with socket.socket() as listener:  # its backlog is full, so that connect() waits
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        with contextlib.ExitStack() as stack:
            for _ in range(8):
                waiting = stack.enter_context(socket.socket())
                waiting.setblocking(False)
                waiting.connect_ex(("127.0.0.1", port))
            with (
                pytest.raises(ClientError, match=r"no connection within|did not answer in time"),
                client(f"smtp://127.0.0.1:{port}", timeout=Timeouts(connect=SOON, banner=SOON)),
            ):
                pass


# Large content


def test_large_content_arrives(client: Clients, live_server: LiveServers) -> None:
    live = live_server()
    with client(url(live)) as session:
        assert session.mail_tx(mail(data=LARGE)).accepted == [JOE]
        assert session.mail_tx(mail()).accepted == [JOE]
    assert [len(message.data) for message in live.recorder.messages] == [len(LARGE), len(CONTENT)]
    assert live.recorder.messages[0].data == LARGE


def swallow(count: int) -> Step:
    """Read so many octets and keep none of them, which would be counted too."""

    def run(connection: Connection) -> None:
        left = count
        while left > 0:
            left -= len(connection.socket.recv(1 << 16))

    return Step("swallow()", run)


@pytest.mark.parametrize("keywords", [(), ("PIPELINING", "CHUNKING")], ids=["data", "bdat"])
def test_large_content_is_not_copied_as_a_whole(
    client: Clients, scripted: Scripted, keywords: tuple[str, ...]
) -> None:
    content = LARGE * 3
    script = [*ehlo(*keywords), expect("MAIL"), say(b"250 ok\r\n"), expect("RCPT"), say(b"250 ok\r\n")]
    if not keywords:
        script += [expect("DATA"), say(b"354 go\r\n")]
    replies = -(-len(content) // smtpx.dialogue._PIECE) if keywords else 1
    server = scripted([*script, swallow(len(content)), say(b"250 taken\r\n" * replies), half_close()])
    with client(server.url()) as session:
        gc.collect()
        tracemalloc.start()
        try:
            assert session.mail_tx(mail(data=content)).accepted == [JOE]
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak < len(content) / 4


@pytest.mark.parametrize("keywords", [(), ("PIPELINING", "CHUNKING")], ids=["data", "bdat"])
def test_a_file_that_changes_while_it_is_sent_is_broken_off(
    client: Clients, scripted: Scripted, tmp_path: Path, keywords: tuple[str, ...]
) -> None:
    path = tmp_path / "mail.eml"
    path.write_bytes(LARGE)
    shrink = Step("shrink()", lambda connection: os.truncate(path, len(LARGE) // 2))
    script = [
        *ehlo(*keywords),
        expect("MAIL"),
        say(b"250 ok\r\n"),
        expect("RCPT"),
        shrink,
        say(b"250 ok\r\n"),
    ]
    if not keywords:
        script += [expect("DATA"), say(b"354 go\r\n")]
    server = scripted([*script, hang()])
    with client(server.url()) as session:
        with pytest.raises(OSError, match="changed"):
            session.send(path, mail_from="ann@example.com", recipients=JOE)
        assert not session.connected
    (received,) = server.received
    assert b"LAST" not in received
    assert not received.endswith(b".\r\n")


@pytest.mark.parametrize("end", [half_close(), hang(), close()], ids=["half_close", "hang", "close"])
def test_a_refusal_within_large_content_is_heard_at_once(
    client: Clients, scripted: Scripted, end: Step
) -> None:
    early = then(say(b"354 go\r\n"), take(1000), say(b"552 5.3.4 too large\r\n"), end)
    server = scripted(polite(data=early))
    with client(server.url(), timeout=None) as session, pytest.raises(ClientError) as refused:
        session.mail_tx(mail(data=LARGE))
    result = refused.value.result
    assert result is not None
    # A reset may overtake the reply: then it is only known that nobody has it.
    assert result.permanent == [JOE] or (end.text == "close()" and result.temporary == [JOE])


def test_a_server_that_refuses_within_content_and_reads_no_more_is_heard_at_once(
    client: Clients, scripted: Scripted
) -> None:
    done = threading.Event()
    early = then(say(b"354 go\r\n"), take(1000), say(b"552 5.3.4 too large\r\n"), wait(done), close())
    server = scripted(polite(data=early))
    with client(server.url(), timeout=None) as session, pytest.raises(MessageRefused) as refused:
        session.mail_tx(mail(data=LARGE))
    done.set()
    assert refused.value.result.permanent == [JOE]


@pytest.mark.parametrize("end", [close(), reset()], ids=["close", "reset"])
def test_a_server_that_goes_within_large_content(client: Clients, scripted: Scripted, end: Step) -> None:
    server = scripted(polite(data=then(say(b"354 go\r\n"), take(300_000), end)), polite())
    with client(server.url()) as session:
        with pytest.raises(ConnectionLost) as lost:
            session.mail_tx(mail(data=LARGE))
        assert lost.value.result is not None
        assert lost.value.result.retry() == [JOE]
        session.connect()
        assert session.mail_tx(mail(data=LARGE)).accepted == [JOE]


def test_a_strict_client_refuses_large_content_before_it_is_sent(client: Clients, scripted: Scripted) -> None:
    server = scripted(polite())
    with client(server.url(), newlines="strict") as session:
        with pytest.raises(ValueError, match=r"CR or LF"):
            session.mail_tx(mail(data=LARGE + b"x\ny"))
        session.mail_tx(mail())
    assert server.received[0].count(b"MAIL FROM") == 1
