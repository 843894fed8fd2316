"""What a configuration says that is for others than the server, as ``smtpx serve`` hands it on."""

from __future__ import annotations

import asyncio
import os
import signal
import ssl
import sys
import threading
from typing import TYPE_CHECKING

import pytest
from smtpx import logs
from smtpx.accounts import LiveEnvironment
from smtpx.app import App
from smtpx.config import load

from tests.served import PATIENCE, Site

if TYPE_CHECKING:
    from collections.abc import Sequence

    from smtpx.config import Config
    from smtpx.listener import Listener

if sys.platform == "win32":
    pytest.skip("a console process of Windows takes no signals", allow_module_level=True)


def told_at_mail(site: Site) -> bytes:
    with site.client() as client:
        client.ehlo()
        code, text = client.mail("ann@example.com")
        return b"%d %s" % (code, text)


def test_h92_under_the_reserve_of_the_disk_mail_is_refused_until_there_is_room(stopped: Site) -> None:
    stopped.change("[log]", f"[limits]\ndisk_reserve = {1 << 62}\n[log]")
    with stopped.running():
        assert told_at_mail(stopped).startswith(b"452 4.3.1 ")
        stopped.change(f"disk_reserve = {1 << 62}", "disk_reserve = 1")
        stopped.reload()
        assert told_at_mail(stopped).startswith(b"250 2.1.0 ")


class Logins(App):
    """Serves in this process, until so many clients have tried to log in at the same time."""

    def __init__(self, site: Site, clients: int) -> None:
        super().__init__(lambda: load(site.config))
        self.clients = clients

    def started(self, listeners: Sequence[Listener]) -> None:
        self.port = next(listener.port for listener in listeners if listener.service == "submissions")
        self.trying = asyncio.create_task(self.all_log_in())

    async def all_log_in(self) -> None:
        try:
            await asyncio.gather(*(self.log_in() for _ in range(self.clients)))
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    async def log_in(self) -> None:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self.port, ssl=ssl._create_unverified_context()
        )
        assert (await reader.readline()).startswith(b"220 ")
        writer.write(b"EHLO me\r\nAUTH PLAIN AGpvZQB4\r\n")
        while not (line := await reader.readline()).startswith(b"235 "):
            assert line.startswith(b"250")
        writer.close()
        await writer.wait_closed()


def test_h59_as_many_passwords_are_checked_at_once_as_the_configuration_says(
    stopped: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped.change("[log]", "[limits]\npassword_checks = 3\n[log]")
    three = threading.Barrier(3)  # passed by three who are inside at once, and by no fewer
    inside: list[str] = []
    most = 0

    def authenticate(environment: object, username: str, password: str) -> None:
        nonlocal most
        inside.append(username)
        three.wait(PATIENCE)
        most = max(most, len(inside))
        three.wait(PATIENCE)
        inside.remove(username)

    monkeypatch.setattr(LiveEnvironment, "authenticate", authenticate)
    monkeypatch.setattr(logs, "configure", lambda *how: None)  # pytest's own handlers stay
    app = Logins(stopped, clients=6)
    asyncio.run(app.run())
    assert app.trying.exception() is None
    assert most == 3


class Reloaded(App):
    """Serves in this process until it has reloaded once; ``seen`` is what it served with."""

    def __init__(self, site: Site) -> None:
        super().__init__(lambda: load(site.config))
        self.site = site
        self.seen: list[object] = []

    def look(self) -> None:
        queue, handler, storage = self._queue, self._handler, self._storage
        networks = ("10.1.2.3", 25) in handler.relay_networks
        self.seen.append((queue._concurrency, storage.keep.days, handler.lifetime.days, networks))

    def started(self, listeners: Sequence[Listener]) -> None:
        self.look()
        self.site.change("concurrency = 7\nkeep_days = 8\nlifetime = 864000", "")
        self.site.change('networks = ["10.0.0.0/8"]', "")
        os.kill(os.getpid(), signal.SIGHUP)

    async def _apply(self, config: Config) -> None:
        await super()._apply(config)
        self.look()
        os.kill(os.getpid(), signal.SIGTERM)


def test_what_the_queue_the_ledger_and_the_relay_are_told_holds_at_the_start_and_after_a_reload(
    stopped: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "configure", lambda *how: None)  # pytest's own handlers stay
    stopped.change(
        "[log]",
        "[queue]\nconcurrency = 7\nkeep_days = 8\nlifetime = 864000\n"
        '[relay]\nnetworks = ["10.0.0.0/8"]\n[log]',
    )
    app = Reloaded(stopped)
    asyncio.run(app.run())
    assert app.seen == [(7, 8, 10, True), (100, 30, 5, False)]
