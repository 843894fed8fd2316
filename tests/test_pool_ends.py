"""Pool, where tasks are cancelled and the pool is closed."""

from __future__ import annotations

import asyncio
import random
import threading
from typing import TYPE_CHECKING, Any

import pytest
import smtpx
from smtpx import (
    EngineError,
    Pool,
)

from tests.clients import mail
from tests.peer import PATIENCE
from tests.pooling import Doors, numbered, serving, turn
from tests.recorder import JOE
from tests.scripted import hang, say, signal, then, wait
from tests.sessions import polite

if TYPE_CHECKING:
    from tests.client import Run
    from tests.conftest import Scripted

SOON = 0.1


# Cancellation


def test_cancelled_while_it_waits_a_task_takes_no_place(run: Run) -> None:
    async def main() -> None:
        doors = Doors(gate=True)
        doors.full_at = 1
        async with serving(doors) as url, Pool(url, 1, timeout=PATIENCE) as pool:
            tasks = [asyncio.create_task(pool.mail_tx(numbered(number))) for number in range(4)]
            await doors.full.wait()
            await turn()
            for task in tasks[1:3]:
                task.cancel()
            doors.gate.set()
            await asyncio.wait(tasks)
            assert not pool._waiting
        assert sorted(message.data for message in doors.messages) == [numbered(0).data, numbered(3).data]

    run(main())


def test_cancelled_with_a_connection_in_hand_a_task_passes_it_on(
    run: Run, scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    go, asked = threading.Event(), threading.Event()
    first = then(signal(asked), wait(go), say(b"250 taken\r\n"))
    server = scripted(polite(done=[first, b"250 taken\r\n"]))

    async def main() -> None:
        async with Pool(server.url(), 1, timeout=PATIENCE) as pool:
            holding = asyncio.create_task(pool.mail_tx(numbered(0)))
            assert await asyncio.to_thread(asked.wait, PATIENCE)
            second = asyncio.create_task(pool.mail_tx(numbered(1)))
            third = asyncio.create_task(pool.mail_tx(numbered(2)))
            await turn()
            put = pool._put

            def give_and_cancel(link: Any) -> None:
                put(link)
                second.cancel()  # before it wakes

            monkeypatch.setattr(pool, "_put", give_and_cancel)
            go.set()
            await asyncio.wait([holding, second, third])
            assert second.cancelled()
            assert (await third).accepted == [JOE]

    run(main())
    assert len(server.contents) == 2


def test_cancelled_while_it_connects_a_task_passes_its_place_on(run: Run, scripted: Scripted) -> None:
    there = threading.Event()
    server = scripted([signal(there), hang()], polite())

    async def main() -> None:
        async with Pool(server.url(), 1, timeout=PATIENCE) as pool:
            first = asyncio.create_task(pool.mail_tx(numbered(0)))
            assert await asyncio.to_thread(there.wait, PATIENCE)
            second = asyncio.create_task(pool.mail_tx(numbered(1)))
            await turn()
            first.cancel()
            assert (await second).accepted == [JOE]
            assert first.cancelled()

    run(main())


def test_cancelled_within_a_message_a_task_passes_its_place_on(run: Run, scripted: Scripted) -> None:
    there = threading.Event()
    server = scripted(polite(mail=then(signal(there), hang())), polite())

    async def main() -> None:
        async with Pool(server.url(), 1, timeout=PATIENCE) as pool:
            first = asyncio.create_task(pool.mail_tx(numbered(0)))
            assert await asyncio.to_thread(there.wait, PATIENCE)
            second = asyncio.create_task(pool.mail_tx(numbered(1)))
            await turn()
            first.cancel()
            assert (await second).accepted == [JOE]

    run(main())


def test_whatever_is_cancelled_no_place_is_lost(run: Run) -> None:
    async def main() -> None:
        chance = random.Random(4)
        doors = Doors()
        async with serving(doors) as url, Pool(url, 3, timeout=PATIENCE, max_messages=7) as pool:
            for _ in range(30):
                tasks = [asyncio.create_task(pool.mail_tx(numbered(number))) for number in range(12)]
                for _ in range(chance.randrange(40)):
                    await asyncio.sleep(0)
                for task in chance.sample(tasks, 6):
                    task.cancel()
                await asyncio.wait(tasks)
            assert pool._open == len(pool._kept._resting)
            assert pool._open <= 3
            results = await asyncio.gather(*(pool.mail_tx(numbered(number)) for number in range(12)))
            assert all(result.accepted == [JOE] for result in results)

    run(main())


# The end


def test_close_lets_messages_arrive_and_says_quit(run: Run, scripted: Scripted) -> None:
    go, asked = threading.Event(), threading.Event()
    server = scripted(polite(done=then(signal(asked), wait(go), say(b"250 taken\r\n"))))

    async def main() -> None:
        pool = Pool(server.url(), 1, timeout=PATIENCE)
        sending = asyncio.create_task(pool.mail_tx(mail()))
        assert await asyncio.to_thread(asked.wait, PATIENCE)
        closing = asyncio.create_task(pool.close())
        await turn()
        assert not closing.done()
        go.set()
        assert (await sending).accepted == [JOE]
        await closing

    run(main())
    assert server.received[0].endswith(b"QUIT\r\n")


def test_close_while_a_task_connects_lets_its_message_arrive(run: Run, scripted: Scripted) -> None:
    go, there = threading.Event(), threading.Event()
    server = scripted(polite(banner=then(signal(there), wait(go), say(b"220 x\r\n"))))

    async def main() -> None:
        pool = Pool(server.url(), 1, timeout=PATIENCE)
        sending = asyncio.create_task(pool.mail_tx(mail()))
        assert await asyncio.to_thread(there.wait, PATIENCE)
        closing = asyncio.create_task(pool.close())
        await turn()
        go.set()
        assert (await sending).accepted == [JOE]
        await closing

    run(main())
    assert server.received[0].endswith(b"QUIT\r\n")


def test_close_sends_away_who_waits(run: Run) -> None:
    async def main() -> None:
        doors = Doors(gate=True)
        doors.full_at = 1
        async with serving(doors) as url:
            pool = Pool(url, 1, timeout=PATIENCE)
            first, second = (asyncio.create_task(pool.mail_tx(numbered(number))) for number in range(2))
            await doors.full.wait()
            await turn()
            closing = asyncio.create_task(pool.close())
            with pytest.raises(EngineError, match="the pool is closed"):
                await second
            doors.gate.set()
            assert (await first).accepted == [JOE]
            await closing

    run(main())


def test_a_closed_pool_takes_nothing(run: Run, scripted: Scripted) -> None:
    server = scripted(polite())

    async def main() -> None:
        async with Pool(server.url(), 1, timeout=PATIENCE) as pool:
            await pool.mail_tx(mail())
        for _ in range(2):
            with pytest.raises(EngineError, match="the pool is closed"):
                await pool.mail_tx(mail())
        await pool.close()

    run(main())


def test_two_may_close(run: Run) -> None:
    async def main() -> None:
        doors = Doors(gate=True)
        doors.full_at = 1
        async with serving(doors) as url:
            pool = Pool(url, 1, timeout=PATIENCE)
            sending = asyncio.create_task(pool.mail_tx(mail()))
            await doors.full.wait()
            closings = [asyncio.create_task(pool.close()) for _ in range(3)]
            await turn()
            closings[0].cancel()
            await turn()
            doors.gate.set()
            await asyncio.wait_for(asyncio.gather(sending, *closings[1:]), PATIENCE)

    run(main())


def test_a_pool_that_was_never_used_closes(run: Run) -> None:
    async def main() -> None:
        async with Pool("smtp://127.0.0.1:9"):
            pass

    run(main())


def test_a_server_that_says_no_goodbye_holds_nobody_up(
    run: Run, scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smtpx.link, "_CLOSING", SOON)
    server = scripted(polite(quit=hang()))

    async def main() -> None:
        async with Pool(server.url()) as pool:
            await pool.mail_tx(mail())

    run(main())


def test_nothing_is_left_on_the_loop(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        faults: list[dict[str, Any]] = []
        loop.set_exception_handler(lambda _, context: faults.append(context))
        async with serving(Doors()) as url:
            before = asyncio.all_tasks()
            async with Pool(url, 5, max_messages=3, timeout=PATIENCE) as pool:
                await asyncio.gather(*(pool.mail_tx(numbered(number)) for number in range(50)))
            assert asyncio.all_tasks() == before
        scheduled = getattr(loop, "_scheduled", [])
        left = [
            timer
            for timer in scheduled
            if not timer.cancelled() and ("Link" in repr(timer) or "Pool" in repr(timer))
        ]
        assert left == []
        assert faults == []

    run(main())
