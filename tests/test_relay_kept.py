"""Relay: connections are kept and used again, and a dead one costs no attempt."""

from __future__ import annotations

import asyncio
import threading
from random import Random
from typing import TYPE_CHECKING

import pytest
from smtpx import Outcome, Relay, Timeouts
from smtpx.kept import Kept

from tests.names import Names
from tests.peer import PATIENCE
from tests.pooling import Doors, each_death, serving
from tests.recorder import JOE
from tests.relaying import Hosts, delivering, mail, to_one
from tests.scripted import close, reset, say, signal, then, wait
from tests.sessions import polite

if TYPE_CHECKING:
    from typing import Any

    from tests.client import Run
    from tests.conftest import Scripted
    from tests.scripted import Script, Step
    from tests.sessions import Answer

TAKEN = (Outcome.ACCEPTED, 250, "2.0.0")


def relay_to(url: str, **options: Any) -> Relay:
    given: dict[str, Any] = {"timeouts": Timeouts.of(PATIENCE), "random": Random(1)} | options
    return Relay("mail.example.com", resolver=Names(), smart_host=url, **given)


def test_messages_one_after_the_other_share_a_connection(run: Run) -> None:
    doors = Doors()

    async def main() -> None:
        async with serving(doors) as url, relay_to(url) as relay:
            for _ in range(5):
                await delivering(relay, mail())
            await delivering(relay, mail("joe@example.net"))  # another domain, the same host

    run(main())
    assert (len(doors.came), len(doors.messages)) == (1, 6)


def test_messages_at_the_same_time_have_connections_of_their_own(run: Run) -> None:
    doors = Doors(gate=True)
    doors.full_at = 5

    async def main() -> None:
        async with serving(doors) as url, relay_to(url) as relay, asyncio.TaskGroup() as group:
            for _ in range(5):
                group.create_task(delivering(relay, mail()))
            await doors.full.wait()
            doors.gate.set()

    run(main())
    assert len(doors.came) == 5


def test_a_connection_takes_only_so_many_messages(run: Run) -> None:
    doors = Doors()

    async def main() -> None:
        async with serving(doors) as url, relay_to(url, kept=Kept(max_messages=2)) as relay:
            for _ in range(5):
                await delivering(relay, mail())

    run(main())
    assert len(doors.came) == 3


def test_only_so_many_connections_are_kept(run: Run) -> None:
    doors = Doors(gate=True)
    doors.full_at = 5
    kept = Kept(most=2)

    async def main() -> None:
        async with serving(doors) as url, relay_to(url, kept=kept) as relay:
            async with asyncio.TaskGroup() as group:
                for _ in range(5):
                    group.create_task(delivering(relay, mail()))
                await doors.full.wait()
                doors.gate.set()
            assert len(kept._resting) == 2

    run(main())


def test_a_connection_that_has_rested_long_enough_is_closed(run: Run, scripted: Scripted) -> None:
    gone = threading.Event()
    server = scripted(polite(quit=then(say(b"221 bye\r\n"), signal(gone), close())))

    async def main() -> None:
        async with relay_to(server.url(), kept=Kept(idle=0.05)) as relay:
            assert await to_one(relay) == TAKEN
            assert await asyncio.to_thread(gone.wait, PATIENCE)

    run(main())


def test_the_end_of_the_relay_says_goodbye(run: Run, scripted: Scripted) -> None:
    server = scripted(polite())

    async def main() -> None:
        async with relay_to(server.url()) as relay:
            assert await to_one(relay) == TAKEN

    run(main())
    assert server.received[0].endswith(b"QUIT\r\n")


def test_a_message_under_way_at_the_end_of_the_relay_leaves_no_connection(run: Run) -> None:
    doors = Doors(gate=True)
    doors.full_at = 1

    async def main() -> None:
        async with serving(doors) as url:
            relay = relay_to(url)
            under_way = asyncio.ensure_future(delivering(relay, mail()))
            await doors.full.wait()
            await relay.close()
            doors.gate.set()
            assert (await under_way)[JOE].outcome is Outcome.ACCEPTED
            await relay.close()  # and now the goodbye of that one is said too

    run(main())


@each_death
def test_a_connection_that_died_while_it_rested_is_replaced(
    run: Run, scripted: Scripted, end: Step, farewell: bytes
) -> None:
    go = threading.Event()
    leaving = then(say(b"250 2.0.0 taken\r\n"), wait(go), *([say(farewell)] if farewell else []), end)
    hosts = Hosts(scripted, [polite(done=leaving), polite()], [])

    async def main() -> None:
        async with hosts.relay() as relay:
            assert await to_one(relay) == TAKEN
            go.set()
            assert await to_one(relay) == TAKEN

    run(main())
    assert len(hosts.servers[0].contents) == 2


@pytest.mark.parametrize("answer", [close(), reset(), b"421 4.4.2 idle\r\n"], ids=["close", "reset", "421"])
@pytest.mark.parametrize("step", ["mail", "rcpt", "data"])
def test_a_kept_connection_that_dies_at_its_next_message_is_replaced_by_one_to_the_same_host(
    run: Run, scripted: Scripted, step: str, answer: Answer
) -> None:
    first = {"mail": b"250 ok\r\n", "rcpt": b"250 ok\r\n", "data": b"354 go\r\n"}[step]
    hosts = Hosts(scripted, [polite(**{step: [first, answer]}), polite()], [])

    async def main() -> None:
        async with hosts.relay() as relay:
            assert await to_one(relay) == TAKEN
            assert await to_one(relay) == TAKEN

    run(main())
    assert len(hosts.servers[0].contents) == 2


def test_h79_a_kept_connection_that_dies_behind_the_content_is_not_replaced(
    run: Run, scripted: Scripted
) -> None:
    script: Script = polite(done=[b"250 2.0.0 taken\r\n", close()])
    hosts = Hosts(scripted, [script], [])

    async def main() -> None:
        async with hosts.relay() as relay:
            assert await to_one(relay) == TAKEN
            assert (await to_one(relay))[0] is Outcome.UNKNOWN

    run(main())


def test_the_same_address_under_another_name_has_another_connection(run: Run, scripted: Scripted) -> None:
    # What is the same in all that was asked of the first one is shared, and nothing else.
    server = scripted(polite(), polite())
    routes = {"example.net": f"smtp://localhost:{server.port}"}

    async def main() -> None:
        relay = Relay(
            "mail.example.com",
            resolver=Names(),
            smart_host=server.url(),
            routes=routes,
            timeouts=Timeouts.of(PATIENCE),
        )
        async with relay:
            await delivering(relay, mail())
            await delivering(relay, mail("joe@example.net"))

    run(main())
    assert len(server.contents) == 2
