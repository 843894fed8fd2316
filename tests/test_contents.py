"""The messages that a queue has under way: loaded once, and large ones as memory bears them."""

from __future__ import annotations

import asyncio

import pytest
from smtpx import MailTx
from smtpx.contents import Contents
from smtpx.errors import StorageError

from tests.memory_storage import MemoryStorage
from tests.queueing import FakeTransport, Site, settled


@pytest.fixture(autouse=True)
def little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Large is what has 10 octets, and there is room for 30."""
    monkeypatch.setattr("smtpx.contents.LARGE", 10)
    monkeypatch.setattr("smtpx.queue.LARGE", 10)
    monkeypatch.setattr("smtpx.contents._MOST", 30)


class Hands:
    """Who has which message, of a storage in which each is named after its octets."""

    def __init__(self) -> None:
        self.storage = MemoryStorage()
        self.contents = Contents(self.storage, lambda: None)
        self.has: dict[str, MailTx] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def want(self, name: str, size: int, *, remote: bool = True) -> None:
        """Let somebody want a message of so many octets."""
        await self.storage.mail_save(MailTx("", ["joe@example.org"], b"x" * size, id=name))
        await self.begin(name, remote=remote)

    async def begin(self, name: str, *, remote: bool = True) -> None:
        async def load() -> None:
            self.has[name] = await self.contents.load(name, remote=remote)

        self.contents.begin(name, remote=remote)
        self.tasks[name] = asyncio.create_task(load())
        await settled()

    async def end(self, name: str, *, remote: bool = True) -> None:
        """Let go of it."""
        self.tasks.pop(name).cancel()
        await settled()
        self.has.pop(name, None)
        self.contents.end(name, remote=remote)
        await settled()


@pytest.fixture
def hands() -> Hands:
    return Hands()


async def test_large_messages_wait_for_room_in_their_order(hands: Hands) -> None:
    for name, size in [("a", 20), ("b", 20), ("c", 10), ("d", 10)]:
        await hands.want(name, size)
    assert list(hands.has) == ["a"]  # c has room, and is not let past b
    await hands.end("a")
    assert list(hands.has) == ["b", "c"]
    await hands.end("c")
    assert list(hands.has) == ["b", "d"]
    await hands.end("b")
    await hands.end("d")
    assert len(hands.contents) == 0


async def test_small_messages_wait_for_none(hands: Hands) -> None:
    for name, size in [("a", 30), ("b", 30), ("c", 9)]:
        await hands.want(name, size)
    assert list(hands.has) == ["a", "c"]


async def test_one_that_is_larger_than_all_the_room_goes_alone(hands: Hands) -> None:
    await hands.want("a", 10)
    await hands.want("b", 1000)
    await hands.want("c", 10)
    assert list(hands.has) == ["a"]
    await hands.end("a")
    assert list(hands.has) == ["b"]
    await hands.end("b")
    assert list(hands.has) == ["c"]


async def test_what_is_for_here_does_not_wait_for_other_hosts(hands: Hands) -> None:
    await hands.want("a", 30)
    await hands.want("b", 30, remote=False)
    assert list(hands.has) == ["a", "b"]


async def test_who_waits_and_is_cancelled_takes_no_room(hands: Hands) -> None:
    for name in ("a", "b", "c"):
        await hands.want(name, 30)
    await hands.end("b")
    await hands.end("a")
    assert list(hands.has) == ["c"]
    await hands.end("c")
    await hands.want("d", 30)
    assert list(hands.has) == ["d"]


async def test_who_is_cancelled_as_his_turn_comes_takes_no_room(hands: Hands) -> None:
    for name in ("a", "b", "c"):
        await hands.want(name, 30)
    hands.contents.end("a", remote=True)
    hands.tasks["b"].cancel()
    await settled()
    hands.contents.end("b", remote=True)
    await settled()
    assert list(hands.has) == ["a", "c"]


async def test_what_has_gone_while_it_waited_takes_no_room(hands: Hands) -> None:
    for name in ("a", "b", "c"):
        await hands.want(name, 30)
    del hands.storage.disk.mails["b"]
    await hands.end("a")
    with pytest.raises(StorageError):
        await hands.tasks.pop("b")
    hands.contents.end("b", remote=True)
    await settled()
    assert list(hands.has) == ["c"]


async def test_a_queue_has_no_more_of_large_messages_under_way_than_memory_bears() -> None:
    site = Site(FakeTransport())
    gates = [site.transport.gate(f"slow{number}.example") for number in range(10)]
    async with site.running() as queue:
        for number in range(10):
            mail = MailTx("a@b.example", [f"joe@slow{number}.example"], b"x" * 10)
            await site.storage.mail_save(mail)
        await site.save("joe@slow1.example", "joe@slow2.example")
        await settled()
        assert len(site.transport.attempts) == 3
        for gate in gates:
            gate.set()
        await settled()
        assert len(site.transport.tried) == 12
        assert len(queue._contents) == 0


async def save_large(site: Site, count: int) -> None:
    for _ in range(count):
        await site.storage.mail_save(MailTx("a@b.example", ["joe@slow.example"], b"x" * 30))
    await settled()


async def test_who_waits_for_memory_keeps_no_other_attempt_from_beginning() -> None:
    site = Site(concurrency=4)
    gate = site.transport.gate("slow.example")
    async with site.running() as queue:
        await save_large(site, 5)
        assert site.transport.running["slow.example"] == 1
        for name in ("one", "two", "three", "four"):
            site.transport.gate(f"{name}.example")
            await site.storage.mail_save(MailTx("a@b.example", [f"joe@{name}.example"], b"x"))
        await settled()
        assert len(site.transport.attempts) == 4
        site.transport.gates["one.example"].set()
        await settled()
        assert len(site.transport.attempts) == 5
        for each in site.transport.gates.values():
            each.set()
        await settled()
        assert gate.is_set()
        assert len(site.transport.tried) == 9
        assert [queue._contents.idle(remote) for remote in (False, True)] == [0, 0]


async def test_so_many_may_wait_for_memory_and_no_more() -> None:
    site = Site(FakeTransport(limit=100), concurrency=4)
    gate = site.transport.gate("slow.example")
    async with site.running() as queue:
        await save_large(site, 40)
        assert site.transport.running["slow.example"] == 1
        assert len(queue._attempts) == 8
        gate.set()
        await settled()
        await site.clock.advance(seconds=1)
        assert len(site.transport.tried) == 40
