"""A server with a LocalStorage, where every message stays: to be saved is to be delivered."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Self

import smtpx

from tests.torture.messages import SENDER, Copy, recognise
from tests.torture.record import Harvest
from tests.torture.spool_server import SpoolServer

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import TracebackType

__all__ = ["SpoolSubject"]


async def _harvest(folder: Path) -> Harvest:
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
        return await _harvest(self._folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.__exit__(kind, error, trace)
