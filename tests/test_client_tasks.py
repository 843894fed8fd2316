"""Client among tasks: turns, cancellation at every step, asyncio's own deadlines, what is left behind."""

from __future__ import annotations

import asyncio
import os
import threading
from typing import TYPE_CHECKING, Any

import pytest
import smtpx
from smtpx import Client, ConnectionLost, ReplyTimeout, Timeouts

from tests.clients import LARGE, mail
from tests.peer import PATIENCE
from tests.recorder import JOE, Gated
from tests.scripted import hang, say, signal, take, then, wait
from tests.sessions import polite

if TYPE_CHECKING:
    from tests.client import Run
    from tests.conftest import Scripted
    from tests.live import LiveServers
    from tests.scripted import Step

SOON = 0.2
"""Seconds of a deadline that is to be missed."""
STEPS = ["banner", "ehlo", "mail", "rcpt", "data", "content", "bdat", "done", "rset", "noop", "quit"]


def stalled(step: str, stall: Step) -> list[Step]:
    """A session that goes as far as this step."""
    if step == "content":
        return polite(data=then(say(b"354 go\r\n"), take(100), stall))
    if step == "bdat":
        return polite("PIPELINING", "CHUNKING", bdat=stall)
    if step == "rset":
        return polite(rcpt=b"550 no\r\n", rset=stall)
    return polite(**{step: stall})


async def say_all(client: Client, step: str) -> None:
    """Do what comes to that step."""
    if not client.connected:
        await client.connect()
    if step == "noop":
        await client.noop()
    elif step == "quit":
        await client.quit()
    else:
        await client.mail_tx(mail(data=LARGE if step in {"content", "bdat"} else b"x\r\n"))


async def settled() -> None:
    """Wait until no other task is left."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    if others:
        await asyncio.wait(others, timeout=PATIENCE)
    assert not {task for task in others if not task.done()}


@pytest.mark.parametrize("step", STEPS)
def test_cancelled_at_any_step_the_connection_is_closed_and_the_next_one_works(
    run: Run, scripted: Scripted, step: str
) -> None:
    there, cancelled = threading.Event(), threading.Event()
    # Until then nothing is read, or the content might all be there.
    server = scripted(stalled(step, then(signal(there), wait(cancelled), hang())), polite())

    async def main() -> None:
        client = Client(server.url(), timeout=PATIENCE)
        verb = asyncio.create_task(say_all(client, step))
        assert await asyncio.to_thread(there.wait, PATIENCE)
        verb.cancel()
        with pytest.raises(asyncio.CancelledError):
            await verb
        cancelled.set()
        assert not client.connected
        await client.connect()
        assert (await client.mail_tx(mail())).accepted == [JOE]
        await client.quit()
        await settled()

    run(main())
    if step in {"content", "bdat"}:
        assert not server.received[0].endswith((b".\r\n", b"QUIT\r\n"))
        assert b" LAST" not in server.received[0]


@pytest.mark.parametrize("step", STEPS)
def test_a_timeout_of_asyncio_is_a_cancellation(run: Run, scripted: Scripted, step: str) -> None:
    server = scripted(stalled(step, hang()))

    async def main() -> None:
        client = Client(server.url(), timeout=PATIENCE)
        with pytest.raises(TimeoutError) as late:
            async with asyncio.timeout(0.1):
                await say_all(client, step)
        assert not isinstance(late.value, smtpx.SMTPError)
        assert not client.connected
        await settled()

    run(main())


def test_a_total_ends_a_token_that_does_not_come(run: Run, scripted: Scripted) -> None:
    server = scripted(polite("AUTH XOAUTH2"))
    forever: asyncio.Future[str]

    async def main() -> None:
        nonlocal forever
        forever = asyncio.get_running_loop().create_future()
        client = Client(
            server.url(),
            username="joe",
            token=lambda: forever,
            cleartext_auth=True,
            timeout=Timeouts(total=SOON),
        )
        with pytest.raises(ReplyTimeout, match="total"):
            await client.connect()
        assert forever.cancelled()

    run(main())


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes to wait for")
def test_a_total_ends_a_pipe_that_does_not_end(run: Run, scripted: Scripted) -> None:
    server = scripted(polite())
    reading, writing = os.pipe()

    async def main() -> None:
        async with Client(server.url(), timeout=Timeouts(total=SOON)) as client:
            with os.fdopen(reading, "rb") as pipe, os.fdopen(writing, "wb"):
                sending = client.send(pipe, mail_from="ann@example.com", recipients=JOE)
                with pytest.raises(ReplyTimeout, match="total"):
                    await sending

    run(main())
    assert b"MAIL" not in server.received[0]


def test_cancelled_while_it_waits_for_its_turn_a_verb_disturbs_nobody(run: Run, scripted: Scripted) -> None:
    there, go = threading.Event(), threading.Event()
    server = scripted(polite(noop=then(signal(there), wait(go), say(b"250 ok\r\n"))))

    async def main() -> None:
        async with Client(server.url(), timeout=PATIENCE) as client:
            first = asyncio.create_task(client.noop())
            assert await asyncio.to_thread(there.wait, PATIENCE)
            second = asyncio.create_task(client.verify("joe"))
            await asyncio.sleep(0)
            second.cancel()
            with pytest.raises(asyncio.CancelledError):
                await second
            go.set()
            assert (await first).code == 250
            await client.reset()

    run(main())
    assert b"VRFY" not in server.received[0]


def test_tasks_take_turns_in_their_order(run: Run, live_server: LiveServers) -> None:
    live = live_server()
    contents = [
        b"Subject: %d\r\n\r\n%b" % (number, LARGE[14 : 14 + 72 * 2_500] * (number % 3))
        for number in range(30)
    ]

    async def main() -> None:
        async with (
            Client(f"smtp://127.0.0.1:{live.address[1]}", timeout=PATIENCE) as client,
            asyncio.TaskGroup() as group,
        ):
            for data in contents:
                group.create_task(client.mail_tx(mail(data=data)))

    run(main())
    assert [message.data for message in live.recorder.messages] == contents


def test_a_task_that_waited_speaks_on_the_new_connection(run: Run, scripted: Scripted) -> None:
    server = scripted(polite(noop=b"421 4.3.2 leaving\r\n"), polite())

    async def main() -> None:
        client = Client(server.url(), timeout=PATIENCE)
        await client.connect()
        leaving = asyncio.create_task(client.noop())
        await asyncio.sleep(0)
        renewing = asyncio.create_task(client.connect())
        await asyncio.sleep(0)
        waited = asyncio.create_task(client.mail_tx(mail()))
        with pytest.raises(smtpx.CommandRefused):
            await leaving
        await renewing
        assert (await waited).accepted == [JOE]
        await client.quit()

    run(main())


def test_close_ends_the_verb_of_another_task_at_once(run: Run, scripted: Scripted) -> None:
    there = threading.Event()
    server = scripted(polite(noop=then(signal(there), hang())))

    async def main() -> None:
        client = Client(server.url())
        await client.connect()
        verb = asyncio.create_task(client.noop())
        assert await asyncio.to_thread(there.wait, PATIENCE)
        await client.close()
        with pytest.raises(ConnectionLost, match="was closed"):
            await verb
        await settled()

    run(main())


def test_the_end_of_an_idle_connection_is_noticed(run: Run, scripted: Scripted) -> None:
    go = threading.Event()
    server = scripted(polite(noop=then(say(b"250 ok\r\n"), wait(go), say(b"421 4.4.2 idle\r\n"), hang())))

    async def main() -> None:
        told = asyncio.Event()

        def trace(_: str, line: str) -> None:
            if "421" in line:
                told.set()

        client = Client(server.url(), timeout=PATIENCE, trace=trace)
        await client.connect()
        await client.noop()
        go.set()
        await told.wait()
        assert not client.connected
        with pytest.raises(ConnectionLost, match=r"421 4\.4\.2 idle"):
            await client.noop()
        await client.close()

    run(main())


def test_a_trace_that_raises_while_nothing_is_said_is_told_to_the_loop(run: Run, scripted: Scripted) -> None:
    go = threading.Event()
    server = scripted(polite(noop=then(say(b"250 ok\r\n"), wait(go), say(b"421 4.4.2 idle\r\n"), hang())))

    def trace(way: str, line: str) -> None:
        if "421" in line:
            raise ZeroDivisionError

    async def main() -> None:
        told: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: told.set_result(context))
        client = Client(server.url(), trace=trace, timeout=PATIENCE)
        await client.connect()
        await client.noop()
        go.set()
        assert isinstance((await told)["exception"], ZeroDivisionError)
        assert not client.connected
        await client.close()

    run(main())


def test_nothing_is_left_on_the_loop(run: Run, scripted: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    server = scripted(polite())

    async def main() -> None:
        loop = asyncio.get_running_loop()
        faults: list[dict[str, Any]] = []
        loop.set_exception_handler(lambda _, context: faults.append(context))
        async with Client(server.url(), timeout=PATIENCE) as client:
            await client.mail_tx(mail())
        await settled()
        scheduled = getattr(loop, "_scheduled", [])  # asyncio's own loop alone shows them
        assert [timer for timer in scheduled if not timer.cancelled() and "Link" in repr(timer)] == []
        assert faults == []

    run(main())


def test_a_message_that_was_complete_may_arrive_though_its_task_was_cancelled(
    run: Run, live_server: LiveServers
) -> None:
    gated = Gated()
    live = live_server(gated)

    async def main() -> None:
        client = Client(f"smtp://127.0.0.1:{live.address[1]}", timeout=PATIENCE)
        await client.connect()
        sending = asyncio.create_task(client.mail_tx(mail()))
        assert await asyncio.to_thread(gated.entered.wait, PATIENCE)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        assert not client.connected

    run(main())
    gated.open()


def test_half_a_message_is_none(run: Run, live_server: LiveServers) -> None:
    live = live_server()

    async def main() -> None:
        client = Client(f"smtp://127.0.0.1:{live.address[1]}", timeout=PATIENCE)
        for turns in range(1, 40):
            await client.connect()
            sending = asyncio.create_task(client.mail_tx(mail(data=LARGE)))
            for _ in range(turns):
                await asyncio.sleep(0)
            sending.cancel()
            await asyncio.wait([sending])
            await client.close()

    run(main())
    live.settle()
    assert {len(message.data) for message in live.recorder.messages} <= {len(LARGE)}
