"""The contract of those QueueStorages that several processes may use at the same time.

Storages stand in ``tests/queue_storages.py``.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from smtpx import QueueStorage, State

from tests.queue_storages import LEASE, MINUTE, Clock, Kind, again, done, each_shared, saved, states

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = [each_shared, pytest.mark.skipif(sys.platform == "win32", reason="nothing wakes there")]


@pytest.fixture
async def other(
    kind: Kind, clock: Clock, tmp_path: Path, storage: QueueStorage
) -> AsyncIterator[QueueStorage]:
    async with kind.opened(tmp_path, clock) as other:
        yield other


async def until(storage: QueueStorage, clock: Clock, count: int) -> None:
    """Claim, woken by the storage, until there is so much."""
    woken = asyncio.Event()
    end = storage.watch(woken.set)
    async with asyncio.timeout(30):
        while count := count - len(await storage.claim(clock.now, LEASE, 100)):
            await woken.wait()
            woken.clear()
    end()


# Another process: it opens the storage of a folder, claims all that there is, and says what; at the next line
# it is told, it saves a message, and then it waits to be killed.
OTHER_PROCESS = """
import asyncio, json, sys
from pathlib import Path
from tests.queue_storages import LEASE, QUEUE_STORAGES, Clock, saved

async def main():
    name, folder = sys.argv[1:]
    clock = Clock()
    async with QUEUE_STORAGES[name].opened(Path(folder), clock) as storage:
        claimed = await storage.claim(clock.now, LEASE, 100)
        print(json.dumps([each.recipient for each in claimed]), flush=True)
        sys.stdin.readline()
        await saved(storage, "max@example.com")
        print("saved", flush=True)
        sys.stdin.readline()

asyncio.run(main())
"""


class OtherProcess:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def hear(self) -> str:
        assert self.process.stdout is not None
        async with asyncio.timeout(60):
            return (await self.process.stdout.readline()).decode()

    def tell(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")

    async def kill(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()


@pytest.fixture
async def process(kind: Kind, storage: QueueStorage, tmp_path: Path) -> AsyncIterator[OtherProcess]:
    """Another process, of which nothing was heard yet; what is queued before it is asked for, it claims."""
    from tests.queue_storages import QUEUE_STORAGES

    await saved(storage)
    (name,) = [name for name, each in QUEUE_STORAGES.items() if each is kind]
    process = OtherProcess(
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", OTHER_PROCESS, name, str(tmp_path)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            cwd=Path(__file__).parents[2],
        )
    )
    yield process
    await process.kill()


async def test_the_records_are_there_when_it_is_opened_again(
    kind: Kind, clock: Clock, tmp_path: Path
) -> None:
    async with kind.opened(tmp_path, clock) as storage:
        mail = await saved(storage, "joe@example.org", "ann@example.net")
        first, second = await storage.claim(clock.now, LEASE, 10)
        await storage.settle([done(first), again(second, clock.now + MINUTE)])
        before = await storage.deliveries()
    async with kind.opened(tmp_path, clock) as storage:
        assert await storage.deliveries() == before
        assert (await storage.mail_load(mail.id)).data == mail.data


async def test_h97_two_that_claim_at_the_same_time_never_claim_the_same(
    storage: QueueStorage, other: QueueStorage, clock: Clock
) -> None:
    await asyncio.gather(*(saved((storage, other)[number % 2]) for number in range(60)))
    claims = await asyncio.gather(
        *((storage, other)[number % 2].claim(clock.now, LEASE, 7) for number in range(12))
    )
    claimed = [each for claim in claims for each in claim]
    assert len({each.mail_id for each in claimed}) == len(claimed) == 60
    assert await storage.settle([done(each) for each in claims[0]]) == []
    assert await other.settle([done(each) for each in claims[1]]) == []
    assert (await other.audit()).faults == []


async def test_a_save_by_one_wakes_the_other(
    storage: QueueStorage, other: QueueStorage, clock: Clock
) -> None:
    waiting = asyncio.create_task(until(other, clock, 2))
    await asyncio.sleep(0)
    await saved(storage)
    await saved(storage)
    await waiting


async def test_what_one_that_is_closed_had_claimed_is_free_and_the_other_is_woken(
    kind: Kind, storage: QueueStorage, clock: Clock, tmp_path: Path
) -> None:
    await saved(storage)
    async with kind.opened(tmp_path, clock) as closed:
        assert len(await closed.claim(clock.now, LEASE, 10)) == 1
        waiting = asyncio.create_task(until(storage, clock, 1))
        assert await storage.claim(clock.now, LEASE, 10) == []
    await waiting


async def test_an_operator_in_another_process_is_obeyed(
    storage: QueueStorage, other: QueueStorage, clock: Clock
) -> None:
    mail = await saved(storage, "joe@example.org", "ann@example.net")
    claimed = await storage.claim(clock.now, LEASE, 10)
    assert await other.change(State.REMOVED, [mail.id], "ann@example.net") == 1
    lost = await storage.settle([done(each) for each in claimed])
    assert [each.recipient for each in lost] == ["ann@example.net"]
    assert await states(other, mail) == {"joe@example.org": State.DELIVERED, "ann@example.net": State.REMOVED}


async def test_h97_what_another_process_has_claimed_is_given_to_nobody_else(
    storage: QueueStorage, process: OtherProcess, clock: Clock
) -> None:
    assert json.loads(await process.hear()) == ["joe@example.org"]
    assert await storage.claim(clock.now, LEASE, 10) == []


async def test_a_save_by_another_process_wakes_this_one(
    storage: QueueStorage, process: OtherProcess, clock: Clock
) -> None:
    await process.hear()
    waiting = asyncio.create_task(until(storage, clock, 1))
    await asyncio.sleep(0)
    process.tell()
    await waiting
    assert await process.hear() == "saved\n"


async def test_h89_what_a_killed_process_had_claimed_is_free_for_the_next_that_opens(
    kind: Kind, storage: QueueStorage, process: OtherProcess, clock: Clock, tmp_path: Path
) -> None:
    await process.hear()
    await process.kill()
    async with kind.opened(tmp_path, clock) as third:
        assert len(await third.claim(clock.now, LEASE, 10)) == 1


async def test_h89_one_that_saves_sees_that_another_process_is_gone(
    storage: QueueStorage, process: OtherProcess, clock: Clock
) -> None:
    await process.hear()
    await process.kill()
    await saved(storage)
    await until(storage, clock, 2)
