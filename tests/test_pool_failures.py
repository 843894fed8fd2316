"""Pool, where connections die or cannot be had, and every message is accounted for."""

from __future__ import annotations

import asyncio
import io
import threading
from typing import TYPE_CHECKING

import pytest
import smtpx
from smtpx import (
    CommandRefused,
    ConnectionLost,
    MailTx,
    Pool,
    ReplyTimeout,
)
from smtpx.errors import ClientError

from tests.breaking import Breaking
from tests.clients import CONTENT, mail
from tests.peer import PATIENCE
from tests.pooling import each_breaking, each_death, numbered
from tests.recorder import JOE, PASSWORD
from tests.scripted import close, hang, reset, say, then, wait
from tests.sessions import polite

if TYPE_CHECKING:
    from tests.client import Run
    from tests.conftest import Scripted
    from tests.live import Certificate, LiveServers
    from tests.scripted import Step
    from tests.sessions import Answer

SOON = 0.1


# Connections that die


@each_death
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


@pytest.mark.parametrize("pipe", [False, True], ids=["file", "pipe"])
def test_a_file_that_nobody_has_is_sent_again_from_its_start(
    run: Run, scripted: Scripted, *, pipe: bool
) -> None:
    server = scripted(polite(data=[b"354 go\r\n", close()]), polite())

    async def main() -> None:
        async with Pool(server.url(), 1, timeout=PATIENCE) as pool:
            await pool.mail_tx(numbered(1))
            file = Pipe(CONTENT) if pipe else io.BytesIO(CONTENT)
            result = await pool.send(file, mail_from="ann@example.com", recipients=JOE)
            assert result.accepted == [JOE]

    run(main())
    assert server.contents == [numbered(1).data + b".\r\n", b"Subject: x\r\n\r\n..hi\r\n.\r\n"]


class Pipe(io.BytesIO):
    """What can be read once."""

    def seekable(self) -> bool:
        return False


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


@pytest.mark.parametrize("recipients", [None, [JOE]], ids=["of the header", "given"])
def test_a_message_that_no_connection_took_is_to_be_sent_again(
    run: Run, scripted: Scripted, recipients: list[str] | None
) -> None:
    server = scripted([say(b"554 5.3.2 no\r\n")])
    message = f"From: ann@example.com\r\nTo: {JOE}\r\n\r\n".encode()

    async def main() -> None:
        async with Pool(server.url(), timeout=PATIENCE) as pool:
            with pytest.raises(CommandRefused) as failed:
                await pool.send(message, recipients=recipients)
        assert failed.value.result is not None
        assert failed.value.result.retry() == [JOE]

    run(main())


def test_a_message_to_nobody_has_no_result_where_no_connection_is(run: Run, scripted: Scripted) -> None:
    server = scripted([say(b"554 5.3.2 no\r\n")])

    async def main() -> None:
        async with Pool(server.url(), timeout=PATIENCE) as pool:
            with pytest.raises(CommandRefused) as failed:
                await pool.send(b"From: ann@example.com\r\n\r\n")
        assert failed.value.result is None

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


# All at once: a server that breaks connections at random, and every message accounted for


@each_breaking
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
            assert pool._open == len(pool._kept._resting)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        if others:
            await asyncio.wait(others)

    run(main())
    assert sorted(outcomes) == list(range(count))
    kept_by_outcome = {"accepted": {1}, "temporary": {0}, "unknown": {0, 1}}
    for number, outcome in outcomes.items():
        assert breaking.kept[number] in kept_by_outcome[outcome], (number, outcome)
