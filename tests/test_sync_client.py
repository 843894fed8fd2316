"""SyncClient: what only a client that blocks has, threads and sockets of its own."""

from __future__ import annotations

import signal as signals
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
import smtpx
from smtpx import ConnectionLost, ReplyTimeout, SyncClient, Timeouts
from smtpx.errors import EngineError

from tests.clients import mail
from tests.peer import PATIENCE
from tests.recorder import JOE
from tests.scripted import hang, say, signal, then, wait
from tests.sessions import polite

if TYPE_CHECKING:
    from tests.conftest import Scripted
    from tests.live import LiveServers

LARGE = b"Subject: x\r\n\r\n" + (b"x" * 70 + b"\r\n") * 20_000


def test_two_threads_take_turns(live_server: LiveServers) -> None:
    live = live_server()
    contents = [b"Subject: %d\r\n\r\n%b" % (number, LARGE[14:] * (number % 2)) for number in range(20)]
    with (
        SyncClient(f"smtp://127.0.0.1:{live.address[1]}", timeout=PATIENCE) as client,
        ThreadPoolExecutor(4) as threads,
    ):
        results = list(threads.map(lambda data: client.mail_tx(mail(data=data)), contents))
    assert all(result.accepted == [JOE] for result in results)
    assert sorted(message.data for message in live.recorder.messages) == sorted(contents)


def test_close_from_another_thread_ends_the_verb_under_way(scripted: Scripted) -> None:
    asked = threading.Event()
    server = scripted(polite(noop=then(signal(asked), hang())))
    client = SyncClient(server.url())
    client.connect()
    with ThreadPoolExecutor(1) as thread:
        verb = thread.submit(client.noop)
        assert asked.wait(PATIENCE)
        client.close()
        assert isinstance(verb.exception(PATIENCE), ConnectionLost)
    assert not client.connected


def test_what_is_known_may_be_asked_while_another_thread_sends(live_server: LiveServers) -> None:
    live = live_server()
    with (
        SyncClient(f"smtp://127.0.0.1:{live.address[1]}", timeout=PATIENCE) as client,
        ThreadPoolExecutor(1) as thread,
    ):
        sending = thread.submit(lambda: [client.mail_tx(mail(data=LARGE)) for _ in range(10)])
        while not sending.done():
            assert client.connected
            assert client.server_info.extensions
            assert not client.tls
        sending.result()


def test_a_thread_that_waited_speaks_on_the_new_connection(scripted: Scripted) -> None:
    asked, go = threading.Event(), threading.Event()
    leave = then(signal(asked), wait(go), say(b"421 4.3.2 leaving\r\n"))
    server = scripted(polite(noop=leave), polite())
    client = SyncClient(server.url(), timeout=PATIENCE)
    client.connect()

    def renew() -> None:
        with pytest.raises(smtpx.CommandRefused):
            client.noop()
        client.connect()

    with ThreadPoolExecutor(1) as thread:
        renewing = thread.submit(renew)
        assert asked.wait(PATIENCE)
        go.set()
        renewing.result(PATIENCE)
    assert client.mail_tx(mail()).accepted == [JOE]
    client.quit()


def test_a_trace_that_calls_the_client_is_told(scripted: Scripted) -> None:
    told: list[Exception] = []

    def trace(way: str, line: str) -> None:
        if line == "NOOP" and not told:
            try:
                client.verify("joe")
            except Exception as error:
                told.append(error)

    server = scripted(polite(noop=hang()))
    client = SyncClient(server.url(), trace=trace, timeout=PATIENCE)
    client.connect()
    with pytest.raises(ConnectionLost):
        client.noop()
    assert isinstance(told[0], EngineError)
    client.close()


def test_many_open_files_are_no_hindrance(scripted: Scripted) -> None:
    # select() knows no descriptor over 1,023.
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 1500:
        pytest.skip("so many files may not be open here")
    import os

    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 1500), hard))
    server = scripted(polite())
    opened = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    try:
        with SyncClient(server.url(), timeout=PATIENCE) as client:
            assert client.mail_tx(mail(data=LARGE)).accepted == [JOE]
    finally:
        for descriptor in opened:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_keyboard_interrupt_within_a_message_closes(
    scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = scripted(polite())
    client = SyncClient(server.url(), timeout=PATIENCE)
    client.connect()

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(smtpx.sync_link.SyncLink, "_exchange", interrupted)
        with pytest.raises(KeyboardInterrupt):
            client.mail_tx(mail())
    assert not client.connected
    with pytest.raises(ConnectionLost):
        client.noop()


@pytest.mark.skipif(not hasattr(signals, "setitimer"), reason="there are no timers here")
def test_signals_that_keep_coming_give_a_silent_server_no_more_time(scripted: Scripted) -> None:
    # Behind each of them Python calls recv() again, and the kernel counts a socket's time anew.
    server = scripted(polite(noop=hang()))
    client = SyncClient(server.url(), timeout=Timeouts(command=0.6))
    client.connect()
    came: list[int] = []
    stop = time.monotonic() + PATIENCE

    def heard(number: int, _: object) -> None:
        came.append(number)
        if time.monotonic() > stop:
            raise AssertionError("the client waits for ever")

    before = signals.signal(signals.SIGALRM, heard)
    signals.setitimer(signals.ITIMER_REAL, 0.05, 0.05)
    try:
        with pytest.raises(ReplyTimeout):
            client.noop()
    finally:
        signals.setitimer(signals.ITIMER_REAL, 0)
        signals.signal(signals.SIGALRM, before)
    assert len(came) > 1


@pytest.fixture
def addresses(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The addresses that every name has."""
    listed: list[object] = []
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda *_, **__: [(socket.AF_INET, 1, 6, "", a) for a in listed]
    )
    return listed


def test_all_addresses_of_a_host_have_one_time_together(
    addresses: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    addresses += [("127.0.0.1", 1)] * 3
    tries: list[tuple[float, float]] = []

    def dead(_: int, __: object, seconds: float, ___: object = None) -> socket.socket:
        now = time.monotonic()
        tries.append((now, now + seconds))
        threading.Event().wait(seconds)
        raise TimeoutError

    monkeypatch.setattr(smtpx.sync_link, "_opened", dead)
    with pytest.raises(ConnectionLost, match="no connection within"):
        SyncClient("smtp://mx.example", timeout=Timeouts(total=0.3)).connect()
    assert len(tries) == 3
    assert max(until for _, until in tries) <= tries[0][0] + 0.3 + 0.001


def test_a_dead_address_leaves_time_for_the_next(
    addresses: list[object], scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = scripted(polite())
    dead, alive = ("127.0.0.1", 1), ("127.0.0.1", server.port)
    addresses += [dead, alive]
    opened = smtpx.sync_link._opened

    def answers(family: int, address: object, seconds: float, source: object = None) -> socket.socket:
        if address == dead:
            threading.Event().wait(seconds)
            raise TimeoutError
        return opened(family, address, seconds)

    monkeypatch.setattr(smtpx.sync_link, "_opened", answers)
    with SyncClient("smtp://mx.example", timeout=Timeouts(connect=1)) as client:
        assert client.mail_tx(mail()).accepted == [JOE]
