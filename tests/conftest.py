"""What the tests share."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import ssl
import sys
from typing import TYPE_CHECKING, Any, cast

import pytest
import smtpx
from hypothesis import HealthCheck, settings
from smtpx.certificate import make_certificate

from benches import peers
from tests.clients import LoopThread, OnLoop
from tests.live import Certificate, LiveServers
from tests.peer import PATIENCE
from tests.postfix import Postfix, running_postfix
from tests.recorder import PASSWORD
from tests.scripted import Script, ScriptedServer
from tests.served import Site
from tests.sinks import Sink, running_sink

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Coroutine, Iterator
    from pathlib import Path

    from tests.client import Run
    from tests.clients import Clients

    Sinks = Callable[..., Sink]
    Scripted = Callable[..., ScriptedServer]

# No deadline: two busy cores make any single example slow.
settings.register_profile("ci", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("thorough", settings.get_profile("ci"), max_examples=5000)
settings.load_profile("ci")


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """A self-signed certificate for localhost."""
    folder = tmp_path_factory.mktemp("certificate")
    path, key = folder / "certificate.pem", folder / "key.pem"
    make_certificate(path, key)
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(path, key)
    return Certificate(path, key, ssl.create_default_context(cafile=path), server)


@pytest.fixture
def environment() -> smtpx.Environment:
    """example.org with joe ("secret"), ann (the same), max (72 octets); bücher.example with ann."""
    primary = smtpx.Domain("example.org")
    for local, password in (("joe", PASSWORD), ("ann", PASSWORD), ("max", "m" * 72)):
        primary.add(smtpx.Account.create(local.title(), local, "example.org", password, rounds=4))
    books = smtpx.Domain("bücher.example")
    books.add(smtpx.Account.create("Ann", "ann", "bücher.example", PASSWORD, rounds=4))
    return smtpx.Environment(primary, {"bücher.example": books})


@pytest.fixture
def live_server(certificate: Certificate, environment: smtpx.Environment) -> Iterator[LiveServers]:
    """Start servers: ``live_server(handler, service="submission", limits={...})``."""
    servers = LiveServers(certificate, environment)
    yield servers
    servers.close()


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    """Start a hostile server: ``scripted([say(...), ...])``, a script a connection."""
    servers: list[ScriptedServer] = []

    def start(*scripts: Script, listener: socket.socket | None = None) -> ScriptedServer:
        servers.append(ScriptedServer(*scripts, listener=listener))
        return servers[-1]

    yield start
    for server in servers:
        server.finish()


@pytest.fixture(scope="session")
def _postfix(certificate: Certificate) -> Iterator[Postfix]:
    with running_postfix(certificate) as postfix:
        yield postfix


@pytest.fixture
def postfix(_postfix: Postfix) -> Iterator[Postfix]:
    """A real MTA with empty mailboxes; one for all the tests of a worker."""
    yield _postfix
    _postfix.clear()


@pytest.fixture
def sink() -> Iterator[Sinks]:
    """Start smtp-sink: ``sink("-8", "-f", "RCPT")``."""
    if peers.find_tool("smtp-sink") is None:
        pytest.skip("smtp-sink is not installed")
    with contextlib.ExitStack() as stack:
        yield lambda *options: stack.enter_context(running_sink(*options))


@pytest.fixture
def stopped(tmp_path: Path) -> Site:
    """The files of a server that ``smtpx serve`` runs: ``with stopped.running():``."""
    return Site(tmp_path)


@pytest.fixture(params=["asyncio", "uvloop"])
def each_loop(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the servers of the test on asyncio's own loop, and again on uvloop."""
    if request.param == "uvloop":
        uvloop = pytest.importorskip("uvloop")
        # What asyncio.run() calls for a loop, in every supported version.
        monkeypatch.setattr(asyncio.events, "new_event_loop", uvloop.new_event_loop)


def _loops() -> list[Any]:
    if sys.platform == "win32":
        return [pytest.param(asyncio.new_event_loop, id="asyncio")]
    import uvloop

    return [
        pytest.param(asyncio.new_event_loop, id="asyncio"),
        pytest.param(uvloop.new_event_loop, id="uvloop"),
    ]


@pytest.fixture(params=_loops())
def run(request: pytest.FixtureRequest) -> Run:
    """Run a coroutine on asyncio's own loop, and again on uvloop."""

    async def bounded(main: Coroutine[Any, Any, None]) -> None:
        async with asyncio.timeout(60):  # wait_for would have a task of its own, up to 3.11
            await main

    def run_on_loop(main: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(bounded(main))

    return run_on_loop


@pytest.fixture(params=[*_loops(), pytest.param(None, id="sync")])
def client(request: pytest.FixtureRequest) -> Iterator[Clients]:
    """Make a client: ``client(url, ...)``; Client on each loop made to block, and SyncClient."""
    if request.param is None:
        yield lambda *arguments, **options: smtpx.SyncClient(*arguments, **{"timeout": PATIENCE} | options)
        return
    loop = LoopThread(request.param)
    yield lambda *arguments, **options: cast(
        "smtpx.SyncClient", OnLoop(loop, *arguments, **{"timeout": PATIENCE} | options)
    )
    loop.close()


@pytest.fixture
def needs_tool() -> Callable[[str], str]:
    """Return the path of a tool, or skip: ``needs_tool("swaks")``."""

    def find(name: str) -> str:
        path = shutil.which(name)
        if path is None:
            pytest.skip(f"{name} is not installed")
        return path

    return find


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where a test writes its configuration."""
    return tmp_path / "smtpx.toml"
