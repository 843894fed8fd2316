"""A server that is struck down under load, again and again, and looked into each time."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

from tests.torture.load import Load
from tests.torture.record import Record

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.torture.subject import Subject

__all__ = ["strike"]

_LONGEST = 0.02
"""Seconds after an answer in which the blow falls: some commits, so that it falls anywhere in one."""
_REPORT_EVERY = 50


async def strike(
    subject: Subject,
    blow: Callable[[], None],
    *,
    times: int,
    messages: int,
    seed: int,
    tell: Callable[[str], None] = lambda _: None,
) -> Record:
    """Start the subject and strike it down ``times``, at random moments, in all after so many messages.

    Args:
        subject: what is tortured.
        blow: ends the server, and leaves its disk such that it can be read.
        times: how often.
        messages: how many are acknowledged in all, at least.
        seed: of the moments, and of the messages' sizes.
        tell: is told how far it has come.

    """
    record = Record(seed)
    moments = random.Random(seed)
    for number in range(1, times + 1):
        # What is still to come, over the blows that are left; the last one falls when all of it has come.
        mean = max(1, (messages - record.messages) // (times - number + 1))
        more = mean if number == times else moments.randint(1, 2 * mean - 1)
        async with Load(record, subject.start()) as load:
            await load.until_acknowledged(more)
            await asyncio.sleep(moments.uniform(0, _LONGEST))
            record.strike()
            await asyncio.to_thread(blow)
        record.reconcile(await subject.harvest())
        if number % _REPORT_EVERY == 0:
            tell(f"{number}: {record}")
    return record
