"""Pool: kept connections, shared by many tasks."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
import smtpx
from smtpx import (
    CommandRefused,
    ConnectionLost,
    EngineError,
    MailTx,
    MessageRefused,
    NotOffered,
    Pool,
    ReplyTimeout,
)
from smtpx.errors import ClientError, ConfigurationError

from tests.clients import CONTENT, mail
from tests.peer import PATIENCE
from tests.recorder import JOE, PASSWORD, Recorder
from tests.scripted import close, half_close, hang, reset, say, signal, then, wait
from tests.sessions import polite

if TYPE_CHECKING:
    from tests.client import Run
    from tests.conftest import Scripted
    from tests.live import Certificate, LiveServers
    from tests.scripted import Step
    from tests.sessions import Answer

SOON = 0.1


class Doors(Recorder):
    """Counts connections: how many there were, and at most at the same time; has messages wait at a gate."""

    def __init__(self, *, gate: bool = False) -> None:
        super().__init__()
        self.came: list[smtpx.Session] = []
        self.sessions: list[smtpx.Session | None] = []
        self.entered = 0
        self.gate = asyncio.Event()
        self.full = asyncio.Event()
        self.full_at = 0
        if not gate:
            self.gate.set()

    def check_connect(self, session: smtpx.Session) -> None:
        self.came.append(session)

    async def serve_mail_tx(self, mail: MailTx) -> smtpx.Response | None:  # type: ignore[override]
        self.entered += 1
        self.sessions.append(mail.session)
        if self.entered == self.full_at:
            self.full.set()
        await self.gate.wait()
        return super().serve_mail_tx(mail)


@contextlib.asynccontextmanager
async def serving(handler: smtpx.Handler) -> Any:
    """A server on this very loop."""
    async with smtpx.Server(handler=handler, listeners=[smtpx.Listener("smtp", "127.0.0.1", 0)]) as server:
        yield f"smtp://127.0.0.1:{server.listeners[0].port}"


def numbered(number: int) -> MailTx:
    return mail(data=b"Subject: %d\r\n\r\n" % number)


async def turn() -> None:
    """Let every task that can go on go on."""
    for _ in range(5):
        await asyncio.sleep(0)


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


# Connections that die


@pytest.mark.parametrize("end", [close(), reset(), half_close()], ids=["close", "reset", "half_close"])
@pytest.mark.parametrize("farewell", [b"", b"421 4.4.2 idle\r\n"], ids=["silent", "421"])
def test_a_connection_that_died_while_it_rested_is_replaced(
    run: Run, scripted: Scripted, end: Step, farewell: bytes
) -> None:
    go = threading.Event()
    leaving = then(say(b"250 taken\r\n"), wait(go), *([say(farewell)] if farewell else []), end)
    server = scripted(polite(done=leaving), polite())

    async def main() -> None:
        async with Pool(server.url(), 1, timeout=PATIENCE) as pool:
            await pool.mail_tx(numbered(1))
            go.set()
            assert (await pool.mail_tx(numbered(2))).accepted == [JOE]

    run(main())
    assert server.contents == [numbered(1).data + b".\r\n", numbered(2).data + b".\r\n"]


@pytest.mark.parametrize("answer", [close(), reset(), b"421 4.4.2 idle\r\n"], ids=["close", "reset", "421"])
@pytest.mark.parametrize("step", ["mail", "rcpt", "data"])
def test_a_message_that_nobody_has_is_sent_again(
    run: Run, scripted: Scripted, answer: Step | bytes, step: str
) -> None:
    first = {"mail": b"250 ok\r\n", "rcpt": b"250 ok\r\n", "data": b"354 go\r\n"}[step]
    server = scripted(polite(**{step: [first, answer]}), polite())

    async def main() -> None:
        async with Pool(server.url(), 1, timeout=PATIENCE) as pool:
            await pool.mail_tx(numbered(1))
            assert (await pool.mail_tx(numbered(2))).accepted == [JOE]

    run(main())
    assert server.contents == [numbered(1).data + b".\r\n", numbered(2).data + b".\r\n"]


def test_a_message_that_somebody_may_have_is_not_sent_again(run: Run, scripted: Scripted) -> None:
    server = scripted(polite(done=[b"250 taken\r\n", close()]), polite())

    async def main() -> None:
        async with Pool(server.url(), 1, timeout=PATIENCE) as pool:
            await pool.mail_tx(numbered(1))
            with pytest.raises(ConnectionLost) as lost:
                await pool.mail_tx(numbered(2))
            assert lost.value.result is not None
            assert lost.value.result.unknown == [JOE]
            await pool.mail_tx(numbered(3))

    run(main())
    assert len(server.contents) == 3


def test_a_message_of_which_somebody_was_refused_is_not_sent_again(run: Run, scripted: Scripted) -> None:
    rcpt: list[Answer] = [b"250 ok\r\n", b"550 no\r\n", close()]
    server = scripted(polite(rcpt=rcpt), polite())

    async def main() -> None:
        async with Pool(server.url(), 1, timeout=PATIENCE) as pool:
            await pool.mail_tx(mail())
            with pytest.raises(ConnectionLost) as lost:
                await pool.mail_tx(mail("a@c.example", "b@c.example"))
            assert lost.value.result is not None
            assert lost.value.result.permanent == ["a@c.example"]
            assert lost.value.result.retry() == ["b@c.example"]
            await pool.mail_tx(mail())

    run(main())


def test_on_a_new_connection_a_message_is_tried_once(run: Run, scripted: Scripted) -> None:
    server = scripted(polite(mail=close()))

    async def main() -> None:
        async with Pool(server.url(), 1, timeout=PATIENCE) as pool:
            with pytest.raises(ConnectionLost) as lost:
                await pool.mail_tx(mail())
        assert lost.value.result is not None
        assert lost.value.result.retry() == [JOE]

    run(main())


def test_a_server_that_is_slow_is_not_asked_again(run: Run, scripted: Scripted) -> None:
    server = scripted(polite(mail=[b"250 ok\r\n", hang()]))

    async def main() -> None:
        async with Pool(server.url(), 1, timeout=smtpx.Timeouts(command=SOON)) as pool:
            await pool.mail_tx(mail())
            with pytest.raises(ReplyTimeout):
                await pool.mail_tx(mail())

    run(main())


def test_a_message_is_handed_to_a_connection_that_dies_in_the_hand(run: Run, scripted: Scripted) -> None:
    # The one that waits is given the connection of the other, which the server closes behind its message.
    server = scripted(polite(done=then(say(b"250 taken\r\n421 bye\r\n"), close())), polite())

    async def main() -> None:
        async with Pool(server.url(), 1, timeout=PATIENCE) as pool:
            results = await asyncio.gather(*(pool.mail_tx(numbered(number)) for number in range(2)))
        assert [result.accepted for result in results] == [[JOE], [JOE]]

    run(main())
    assert len(server.contents) == 2


# Connections that cannot be had


def test_each_task_hears_why_there_is_no_connection(run: Run, scripted: Scripted) -> None:
    server = scripted(*[[say(b"554 5.3.2 no\r\n")]] * 6)

    async def main() -> None:
        async with Pool(server.url(), 2, timeout=PATIENCE) as pool:
            sending = (pool.mail_tx(numbered(number)) for number in range(6))
            failures = await asyncio.gather(*sending, return_exceptions=True)
        assert {type(failure) for failure in failures} == {CommandRefused}
        for failure in failures:
            assert isinstance(failure, CommandRefused)
            assert failure.result is not None
            assert failure.result.retry() == [JOE]
        assert len(set(map(id, failures))) == 6

    run(main())


def test_where_one_connection_failed_the_next_task_tries_anew(run: Run, scripted: Scripted) -> None:
    server = scripted([say(b"421 4.3.2 not yet\r\n")], polite())

    async def main() -> None:
        async with Pool(server.url(), 1, timeout=PATIENCE) as pool:
            sending = (pool.mail_tx(numbered(number)) for number in range(4))
            first, *others = await asyncio.gather(*sending, return_exceptions=True)
        assert isinstance(first, CommandRefused)
        assert [other.accepted for other in others if isinstance(other, smtpx.Result)] == [[JOE]] * 3

    run(main())


def test_a_wrong_password_is_told(run: Run, live_server: LiveServers, certificate: Certificate) -> None:
    live = live_server(service="submissions")
    url = f"smtps://joe%40example.org:{{}}@localhost:{live.address[1]}"

    async def main() -> None:
        async with Pool(url.format("wrong"), 1, tls=certificate.client, timeout=PATIENCE) as pool:
            with pytest.raises(smtpx.LoginRefused):
                await pool.mail_tx(mail())
        async with Pool(url.format(PASSWORD), 1, tls=certificate.client, timeout=PATIENCE) as pool:
            assert (await pool.mail_tx(MailTx(JOE, [JOE], CONTENT))).accepted == [JOE]

    run(main())


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
            pass_on = pool._pass_on

            def give_and_cancel(link: Any) -> None:
                pass_on(link)
                second.cancel()  # before it wakes

            monkeypatch.setattr(pool, "_pass_on", give_and_cancel)
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
            assert pool._open == len(pool._resting)
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


# All at once: a server that breaks connections at random, and every message accounted for


class Breaking:
    """A server that keeps what it takes, and drops connections wherever chance will have it.

    It speaks to one client by lines, and knows no more than it must.
    """

    def __init__(self, seed: int, keywords: tuple[str, ...], odds: float) -> None:
        self.chance = random.Random(seed)
        self.keywords = keywords
        self.odds = odds
        self.kept: Counter[int] = Counter()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await self.serve(reader, writer)
        writer.transport.abort()

    def drop(self) -> None:
        if self.chance.random() < self.odds:
            raise ConnectionError

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        def answer(line: bytes, content: bytes = b"") -> None:
            self.drop()
            if self.chance.random() < self.odds / 2:
                if content:
                    self.kept[int(content.split()[1])] -= 1  # to say so is to have thrown it away
                writer.write(b"421 4.3.2 leaving\r\n")
                raise ConnectionError
            writer.write(line + b"\r\n")

        writer.write(b"220 breaking.example\r\n")
        while line := await reader.readline():
            self.drop()
            verb = line.split()[0].upper()
            if verb == b"EHLO":
                lines = ["breaking.example", *self.keywords]
                writer.write(b"".join(b"250-%b\r\n" % each.encode() for each in lines[:-1]))
                answer(b"250 " + lines[-1].encode())
            elif verb == b"QUIT":
                writer.write(b"221 bye\r\n")
                await writer.drain()
                return
            elif verb in {b"MAIL", b"RCPT", b"RSET"}:
                answer(b"250 ok")
            elif verb == b"DATA":
                answer(b"354 go")
                content = b""
                while not content.endswith(b"\r\n.\r\n"):
                    content += await reader.readuntil(b"\r\n")
                self.drop()
                self.kept[int(content.split()[1])] += 1
                answer(b"250 taken", content)
            elif verb == b"BDAT":
                content = await reader.readexactly(int(line.split()[1]))
                self.drop()
                self.kept[int(content.split()[1])] += 1
                answer(b"250 taken", content)
            await writer.drain()


@pytest.mark.parametrize("keywords", [(), ("PIPELINING",), ("PIPELINING", "CHUNKING")], ids="+".join)
@pytest.mark.parametrize("odds", [0.005, 0.1])
@pytest.mark.parametrize("seed", range(3))
def test_every_message_is_accounted_for(run: Run, keywords: tuple[str, ...], odds: float, seed: int) -> None:
    count = 400
    outcomes: dict[int, str] = {}

    async def send(pool: Pool, number: int) -> None:
        try:
            result = await pool.mail_tx(numbered(number))
        except ClientError as error:
            outcomes[number] = error.result[JOE].outcome.value if error.result else "not told"
        else:
            outcomes[number] = result[JOE].outcome.value

    breaking = Breaking(seed, keywords, odds)

    async def main() -> None:
        server = await asyncio.start_server(breaking, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server, Pool(f"smtp://127.0.0.1:{port}", 5, max_messages=20, timeout=PATIENCE) as pool:
            await asyncio.gather(*(send(pool, number) for number in range(count)))
            assert pool._open == len(pool._resting)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        if others:
            await asyncio.wait(others)

    run(main())
    assert sorted(outcomes) == list(range(count))
    kept_by_outcome = {"accepted": {1}, "temporary": {0}, "unknown": {0, 1}}
    for number, outcome in outcomes.items():
        assert breaking.kept[number] in kept_by_outcome[outcome], (number, outcome)
