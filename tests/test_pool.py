"""Pool: kept connections, shared by many tasks."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest
from smtpx import (
    MessageRefused,
    NotOffered,
    Pool,
)
from smtpx.errors import ConfigurationError

from tests.clients import CONTENT, mail
from tests.peer import PATIENCE
from tests.pooling import Doors, numbered, serving, turn
from tests.recorder import JOE
from tests.scripted import close, say, signal, then
from tests.sessions import polite

if TYPE_CHECKING:
    from tests.client import Run
    from tests.conftest import Scripted

SOON = 0.1


# Sharing


def test_connections_are_kept(run: Run) -> None:
    async def main() -> None:
        doors = Doors()
        async with serving(doors) as url, Pool(url, timeout=PATIENCE) as pool:
            for number in range(5):
                assert (await pool.mail_tx(numbered(number))).accepted == [JOE]
        assert len(doors.came) == 1
        assert len(doors.messages) == 5

    run(main())


def test_the_size_is_a_limit(run: Run) -> None:
    async def main() -> None:
        doors = Doors(gate=True)
        doors.full_at = 3
        async with serving(doors) as url, Pool(url, 3, timeout=PATIENCE) as pool:
            sending = [asyncio.create_task(pool.mail_tx(numbered(number))) for number in range(10)]
            await doors.full.wait()
            await turn()
            assert len(doors.came) == doors.entered == 3
            doors.gate.set()
            await asyncio.gather(*sending)
        assert len(doors.came) == 3
        assert len(doors.messages) == 10

    run(main())


def test_no_more_connections_are_made_than_are_needed(run: Run) -> None:
    async def main() -> None:
        doors = Doors()
        async with serving(doors) as url, Pool(url, 10, timeout=PATIENCE) as pool:
            await asyncio.gather(*(pool.mail_tx(numbered(number)) for number in range(3)))
            await asyncio.gather(*(pool.mail_tx(numbered(number)) for number in range(3)))
        assert len(doors.came) <= 3

    run(main())


def test_tasks_are_served_in_their_order(run: Run) -> None:
    async def main() -> None:
        doors = Doors()
        async with (
            serving(doors) as url,
            Pool(url, 1, timeout=PATIENCE) as pool,
            asyncio.TaskGroup() as group,
        ):
            for number in range(50):
                group.create_task(pool.mail_tx(numbered(number)))
        subjects = [int(message.data.split()[1]) for message in doors.messages]
        assert subjects == list(range(50))

    run(main())


def test_a_thousand_tasks_on_five_connections(run: Run) -> None:
    async def main() -> None:
        doors = Doors()
        async with serving(doors) as url, Pool(url, 5, timeout=PATIENCE) as pool:
            results = await asyncio.gather(*(pool.mail_tx(numbered(number)) for number in range(1000)))
        assert all(result.accepted == [JOE] for result in results)
        assert len(doors.came) == 5
        assert {message.data for message in doors.messages} == {numbered(n).data for n in range(1000)}
        assert len(doors.messages) == 1000

    run(main())


def test_send_is_shared_too(run: Run) -> None:
    async def main() -> None:
        doors = Doors()
        async with serving(doors) as url, Pool(url, 2, timeout=PATIENCE) as pool:
            sending = (pool.send(CONTENT, mail_from="a@b.example", recipients=[JOE]) for _ in range(10))
            results = await asyncio.gather(*sending)
        assert [result.accepted for result in results] == [[JOE]] * 10
        assert len(doors.came) <= 2

    run(main())


def test_a_refused_message_leaves_the_connection(run: Run, scripted: Scripted) -> None:
    server = scripted(polite(rcpt=[b"550 no\r\n", b"250 ok\r\n"]))

    async def main() -> None:
        async with Pool(server.url(), 1, timeout=PATIENCE) as pool:
            with pytest.raises(MessageRefused):
                await pool.mail_tx(mail())
            await pool.mail_tx(mail())

    run(main())


def test_a_message_that_cannot_be_sent_leaves_the_connection(run: Run, scripted: Scripted) -> None:
    server = scripted(polite())

    async def main() -> None:
        async with Pool(server.url(), 1, timeout=PATIENCE) as pool:
            with pytest.raises(ValueError, match=r"."):
                await pool.mail_tx(mail("a\r\nb@c.example"))
            with pytest.raises(NotOffered):
                await pool.mail_tx(mail("ü@c.example"))
            await pool.mail_tx(mail())

    run(main())
    assert server.received[0].count(b"MAIL") == 1


# Limits


def test_a_connection_carries_so_many_messages(run: Run) -> None:
    async def main() -> None:
        doors = Doors()
        async with serving(doors) as url, Pool(url, 1, max_messages=3, timeout=PATIENCE) as pool:
            await asyncio.gather(*(pool.mail_tx(numbered(number)) for number in range(10)))
        assert len(doors.came) == 4
        assert [doors.sessions.count(session) for session in doors.came] == [3, 3, 3, 1]

    run(main())


def test_a_connection_that_has_carried_enough_says_quit(run: Run, scripted: Scripted) -> None:
    server = scripted(polite(), polite())

    async def main() -> None:
        async with Pool(server.url(), 1, max_messages=1, timeout=PATIENCE) as pool:
            await pool.mail_tx(mail())
            await pool.mail_tx(mail())

    run(main())
    assert [said.endswith(b"QUIT\r\n") for said in server.received] == [True, True]


def test_a_connection_rests_for_so_long(run: Run, scripted: Scripted) -> None:
    left = threading.Event()
    server = scripted(polite(quit=then(say(b"221 bye\r\n"), signal(left), close())), polite())

    async def main() -> None:
        async with Pool(server.url(), timeout=PATIENCE, idle=SOON) as pool:
            await pool.mail_tx(mail())
            assert await asyncio.to_thread(left.wait, PATIENCE)
            await pool.mail_tx(mail())

    run(main())
    assert server.received[0].endswith(b"QUIT\r\n")


@pytest.mark.parametrize(
    "settings", [{"size": 0}, {"max_messages": 0}, {"idle": 0}, {"size": -1}, {"idle": -1}], ids=str
)
def test_settings_that_cannot_work(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        Pool("smtp://mx.example.org", **settings)
