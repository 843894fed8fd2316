"""What is tortured: a server that can be started and killed again and again, and whose mail can be read."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import ExitStack
from typing import TYPE_CHECKING, Protocol, Self

import smtpx

from tests.torture.messages import SENDER, Copy, recognise
from tests.torture.record import Harvest
from tests.torture.spool_server import SpoolServer

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import TracebackType

__all__ = ["SUBJECTS", "MakeSubject", "SpoolSubject", "Subject"]


class Subject(Protocol):
    """A server under torture; all that it keeps is in one folder."""

    @property
    def pid(self) -> int:
        """The process that writes to the disk."""
        ...

    def start(self) -> tuple[str, int]:
        """Start it on what it has kept, and return the address where it takes mail."""
        ...

    def kill(self) -> None:
        """SIGKILL; back when it is dead, with every file closed."""
        ...

    async def harvest(self) -> Harvest:
        """Read, while it does not run, what it has kept.

        What is read as delivered may be taken away, for the disk's sake; then it must never come back.
        """
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class SpoolSubject:
    """A server with a LocalStorage, where every message stays: to be saved is to be delivered."""

    def __init__(self, folder: Path, *, reserve: int = 0, prefix: Sequence[str] = ()) -> None:
        self._folder = folder
        self._server = SpoolServer(folder, reserve=reserve, prefix=prefix)
        self._resources = ExitStack()

    @property
    def pid(self) -> int:
        return self._server.pid

    def start(self) -> tuple[str, int]:
        return self._server.start()

    def kill(self) -> None:
        self._server.kill()

    async def harvest(self) -> Harvest:
        harvest = Harvest()
        quarantine = self._folder / "quarantine"
        async with smtpx.LocalStorage(self._folder, reserve=0) as storage:
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
        for path in quarantine.iterdir():
            harvest.set_aside.append(path.name)
            path.unlink()
        return harvest

    def __enter__(self) -> Self:
        self._resources.enter_context(self._server)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._resources.close()


class MakeSubject(Protocol):
    """Makes a subject that keeps its mail in a folder, which exists and is empty."""

    def __call__(self, folder: Path, *, reserve: int = 0, prefix: Sequence[str] = ()) -> Subject:
        """Return it; ``reserve`` octets of the disk stay free, ``prefix`` is put before its command."""
        ...


SUBJECTS: dict[str, MakeSubject] = {"spool": SpoolSubject}
"""What the torture commands can be run on."""
