"""Servers with a LocalStorage, where every message stays: to be saved is to be delivered."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Self

import smtpx
from smtpx.accounts import AccountFile

from tests.served import serve
from tests.torture.messages import DOMAIN, LOCALS, SENDER, Copy, recognise
from tests.torture.record import Harvest
from tests.torture.spool_server import SpoolServer

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

__all__ = ["ServedSubject", "SpoolSubject"]


async def harvest_spool(folder: Path) -> Harvest:
    """Take out of a spool what is in it."""
    harvest = Harvest()
    async with smtpx.LocalStorage(folder, reserve=0) as storage:
        mails = await storage.mail_load_all()
        for mail in mails:
            try:
                mark = recognise(mail.data)
            except ValueError as error:
                harvest.damaged.append(f"{mail.id}: {error}")
                continue
            if mail.mail_from != SENDER:
                harvest.damaged.append(f"{mail.id}: {mark} came from {mail.mail_from}")
            harvest.delivered += Counter(Copy(mark, recipient) for recipient in mail.recipients)
        await asyncio.gather(*(storage.mail_delete(mail.id) for mail in mails))
    harvest.set_aside = _take_away(folder / "quarantine")
    return harvest


def _take_away(quarantine: Path) -> list[str]:
    paths = list(quarantine.iterdir())
    for path in paths:
        path.unlink()
    return [path.name for path in paths]


class SpoolSubject:
    """A `SpoolServer`, always on asyncio's own loop: it starts in no time."""

    def __init__(
        self, folder: Path, *, reserve: int = 1, prefix: Sequence[str] = (), uvloop: bool = True
    ) -> None:
        self._folder = folder
        self._server = SpoolServer(folder, reserve=reserve, prefix=prefix)

    @property
    def pid(self) -> int:
        return self._server.pid

    def start(self) -> tuple[str, int]:
        return self._server.start()

    def kill(self) -> None:
        self._server.kill()

    async def harvest(self) -> Harvest:
        return await harvest_spool(self._folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.__exit__(kind, error, trace)


_CONFIG = """\
hostname = "{domain}"
spool = "spool"
accounts = "accounts.toml"
[[listener]]
service = "smtp"
host = "127.0.0.1"
port = 0
[limits]
disk_reserve = {reserve}
[log]
format = "json"
"""


class ServedSubject:
    """``smtpx serve CONFIG``."""

    def __init__(
        self, folder: Path, *, reserve: int = 1, prefix: Sequence[str] = (), uvloop: bool = True
    ) -> None:
        self.pid = 0
        self._spool = folder / "spool"
        self._spool.mkdir(mode=0o700)
        self._config = folder / "smtpx.toml"
        self._config.write_text(_CONFIG.format(domain=DOMAIN, reserve=reserve), encoding="utf-8")
        accounts = AccountFile(folder / "accounts.toml")
        for local in LOCALS:
            accounts.add(smtpx.Account.create("", local, DOMAIN, "never used", rounds=4))
        self._prefix = prefix
        self._module = "smtpx" if uvloop else "tests.torture.plain_loop"
        self._running = ExitStack()

    def start(self) -> tuple[str, int]:
        served = self._running.enter_context(
            serve(self._config, prefix=self._prefix, module=self._module, cwd=Path(__file__).parents[2])
        )
        port = served.event("listening", service="smtp")["port"]
        self.pid = served.process.pid
        if self._prefix:
            self.pid = int(Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()[0])
        return "127.0.0.1", port

    def kill(self) -> None:
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            self.pid = 0
        self._running.close()

    async def harvest(self) -> Harvest:
        return await harvest_spool(self._spool)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
