"""The server's life on a real loop, asyncio's own and uvloop: how it listens, starts and stops."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from typing import TYPE_CHECKING, Any

import pytest
import smtpx
from smtpx import Listener

from tests.client import LOOPBACK, Client
from tests.recorder import Recorder

if TYPE_CHECKING:
    from pathlib import Path

    from tests.client import Run

unix = pytest.mark.skipif(sys.platform == "win32", reason="no unix sockets in asyncio on Windows")


@pytest.mark.parametrize("service", ["submission", "submissions"])
async def test_submission_without_a_certificate_is_an_error_at_start(service: Any) -> None:
    server = smtpx.Server(handler=Recorder(), listeners=[Listener(service, "127.0.0.1", 0)])
    with pytest.raises(smtpx.ConfigurationError, match="needs a certificate"):
        await server.start()


def test_every_address_is_listened_on_under_one_port(run: Run) -> None:
    async def main() -> None:
        async with smtpx.Server(handler=Recorder(), listeners=[Listener("smtp", "", 0)]) as server:
            for host in ("127.0.0.1", "::1") if socket.has_ipv6 else ("127.0.0.1",):
                client = Client(*await asyncio.open_connection(host, server.listeners[0].port))
                assert (await client.reply()).startswith("220")
                await client.close()

    run(main())


def test_sockets_handed_in_are_served_as_their_listeners_say(run: Run) -> None:
    async def main() -> None:
        sock = socket.create_server(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        listeners = [Listener("smtp", strict=True)]
        async with smtpx.Server(handler=Recorder(), listeners=listeners, sockets=[sock]) as server:
            assert server.listeners[0].port == port
            client = await Client.to(server)
            await client.reply()
            await client.ask("EHLO me.example")
            assert (await client.ask("MAIL FROM:a@b.example")).startswith("501 5.5.4")
            await client.close()

    run(main())


@unix
async def test_unix_socket_that_was_handed_in_is_told_by_its_path_and_left_behind(tmp_path: Path) -> None:
    path = tmp_path / "smtp.sock"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
        async with smtpx.Server(handler=Recorder(), sockets=[sock]) as server:
            assert server.listeners == [Listener("smtp", path=str(path))]
    assert path.exists()


@unix
def test_unix_socket_is_listened_on_and_removed_at_stop(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "smtp.sock"

    async def main() -> None:
        recorder = Recorder()
        async with smtpx.Server(handler=recorder, listeners=[Listener("smtp", path=path)]):
            client = Client(*await asyncio.open_unix_connection(str(path)))
            await client.begin()
            await client.close()
        assert not path.exists()

    run(main())


@unix
def test_unix_socket_that_a_killed_server_left_is_replaced(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "smtp.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))

    async def main() -> None:
        async with smtpx.Server(handler=Recorder(), listeners=[Listener("smtp", path=path)]):
            client = Client(*await asyncio.open_unix_connection(str(path)))
            assert (await client.reply()).startswith("220")
            await client.close()

    run(main())


@unix
async def test_unix_socket_of_a_server_that_lives_is_not_taken_over(tmp_path: Path) -> None:
    listeners = [Listener("smtp", path=tmp_path / "smtp.sock")]
    async with smtpx.Server(handler=Recorder(), listeners=listeners):
        with pytest.raises(OSError, match="cannot listen on"):
            await smtpx.Server(handler=Recorder(), listeners=listeners).start()
        client = Client(*await asyncio.open_unix_connection(str(tmp_path / "smtp.sock")))
        assert (await client.reply()).startswith("220")
        await client.close()


@unix
async def test_listener_that_cannot_start_leaves_no_unix_socket_behind(tmp_path: Path) -> None:
    path = tmp_path / "smtp.sock"
    listeners = [Listener("smtp", path=path), Listener("submissions", "127.0.0.1", 0)]
    server = smtpx.Server(handler=Recorder(), listeners=listeners)
    with pytest.raises(smtpx.ConfigurationError, match="needs a certificate"):
        await server.start()
    assert not path.exists()


async def test_taken_port_is_an_error_that_names_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
        server = smtpx.Server(handler=Recorder(), listeners=[Listener("smtp", "127.0.0.1", port)])
        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1 port {port}"):
            await server.start()


async def test_server_that_runs_is_not_started_again() -> None:
    async with smtpx.Server(handler=Recorder(), listeners=[LOOPBACK]) as server:
        with pytest.raises(smtpx.ConfigurationError, match="runs already"):
            await server.start()


async def test_server_starts_again_after_stop() -> None:
    server = smtpx.Server(handler=Recorder(), listeners=[LOOPBACK])
    for _ in range(2):
        async with server:
            client = await Client.to(server)
            assert (await client.reply()).startswith("220")
            await client.close()


def test_stop_lets_the_message_in_flight_finish_and_then_says_421(run: Run) -> None:
    async def main() -> None:
        recorder = Recorder()
        server = smtpx.Server(handler=recorder, listeners=[LOOPBACK])
        await server.start()
        client = await Client.to(server)
        await client.begin()
        assert (await client.ask("DATA")).startswith("354")
        client.writer.write(b"first\r\n")
        stopping = asyncio.ensure_future(server.stop())
        await asyncio.sleep(0)
        assert (await client.ask("second\r\n.")).startswith("250")
        assert (await client.reply()).startswith("421 4.3.2")
        assert await client.reply() == ""
        await client.close()
        await stopping
        assert [message.data for message in recorder.messages] == [b"first\r\nsecond\r\n"]

    run(main())


def test_stop_says_421_to_an_idle_session_at_once(run: Run) -> None:
    async def main() -> None:
        async with smtpx.Server(handler=Recorder(), listeners=[LOOPBACK]) as server:
            client = await Client.to(server)
            await client.reply()
            stopping = asyncio.ensure_future(server.stop())
            assert (await client.reply()).startswith("421 4.3.2")
            await client.close()
            await stopping

    run(main())


def test_stop_cuts_what_outlasts_its_grace(run: Run) -> None:
    async def main() -> None:
        recorder = Recorder()
        server = smtpx.Server(handler=recorder, listeners=[LOOPBACK])
        await server.start()
        client = await Client.to(server)
        await client.begin()
        await client.ask("DATA")
        client.writer.write(b"never finished\r\n")
        stopping = asyncio.ensure_future(server.stop(grace=0.05))
        assert (await client.reply()).startswith("421 4.3.2")
        await client.close()
        await stopping
        assert recorder.messages == []

    run(main())


def test_stop_may_be_called_twice_at_once(run: Run) -> None:
    async def main() -> None:
        server = smtpx.Server(handler=Recorder(), listeners=[LOOPBACK])
        await server.start()
        client = await Client.to(server)
        await client.begin()
        await client.ask("DATA")
        stops = [asyncio.ensure_future(server.stop(grace=0.05)) for _ in range(2)]
        await asyncio.gather(*stops)
        await client.close()
        await server.stop()

    run(main())


def test_stop_is_not_held_up_by_clients_that_arrive_while_it_begins(run: Run) -> None:
    """A loop may have accepted one that the server hears of only after it has said 421 to all the others."""

    async def arrive(server: smtpx.Server) -> str:
        with contextlib.suppress(ConnectionError):  # some the system had not handed over yet
            client = await Client.to(server)
            said = (await client.reader.read()).decode()
            await client.close()
            return said
        return ""

    async def main() -> None:
        said = set()
        for turns in range(20):
            server = smtpx.Server(handler=Recorder(), listeners=[LOOPBACK])
            await server.start()
            arriving = [asyncio.ensure_future(arrive(server)) for _ in range(8)]
            for _ in range(turns):
                await asyncio.sleep(0)
            await server.stop(grace=600)
            said |= {line[:9] for text in await asyncio.gather(*arriving) for line in text.splitlines()[-1:]}
        assert said == {"421 4.3.2"}

    run(main())


async def test_serve_forever_stops_the_server_when_cancelled() -> None:
    server = smtpx.Server(handler=Recorder(), listeners=[LOOPBACK])
    await server.start()
    task = asyncio.ensure_future(server.serve_forever())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(OSError):  # noqa: PT011 - which one differs between systems
        await Client.to(server)
