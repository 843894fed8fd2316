"""Several servers on one queue, of which one at a time is struck down under load while the others go on."""

from __future__ import annotations

import asyncio
import itertools
import random
from contextlib import AsyncExitStack, ExitStack
from typing import TYPE_CHECKING

from tests.torture.load import SESSIONS, Load
from tests.torture.record import Record

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.torture.served_subject import ServedSubject, ServeProcess

__all__ = ["strike_in_turn"]

_LONGEST = 0.02  # seconds, as in `strike`
_LOOK_EVERY = 20  # kills: only when nobody runs can all be counted


async def strike_in_turn(
    subject: ServedSubject,
    servers: int,
    *,
    times: int,
    messages: int,
    seed: int,
    tell: Callable[[str], None] = lambda _: None,
) -> Record:
    """Kill one server after the other ``times`` in all, and start it again beside the others (HOSTILE 97).

    What it had claimed is for the others to deliver, once. After some kills all are killed, and what is
    there is compared with what was acknowledged.
    """
    record = Record(seed)
    moments = random.Random(seed)
    mean = max(1, messages // times)
    done = 0
    while done < times:
        some = min(_LOOK_EVERY, times - done)
        done += some
        with ExitStack() as running:
            processes = [subject.another() for _ in range(servers)]
            for process in processes:
                running.callback(process.kill)
            async with AsyncExitStack() as sending:
                loads = [await _start(process, record, servers, sending) for process in processes]
                for victim, process in itertools.islice(itertools.cycle(enumerate(processes)), some):
                    await loads[victim].until_acknowledged(moments.randint(1, 2 * mean - 1))
                    await asyncio.sleep(moments.uniform(0, _LONGEST))
                    await asyncio.to_thread(process.kill)
                    loads[victim] = await _start(process, record, servers, sending)
                enough = messages * done // times
                await loads[0].until(lambda: record.messages >= enough)  # noqa: B023 - called here
                for process in processes:
                    await asyncio.to_thread(process.kill)
        record.reconcile(await subject.harvest())
        tell(f"{done}: {record}")
    return record


async def _start(process: ServeProcess, record: Record, servers: int, sending: AsyncExitStack) -> Load:
    """Start a server, and senders that last as long as it does."""
    address = await asyncio.to_thread(process.start)
    return await sending.enter_async_context(Load(record, address, SESSIONS // servers))
