"""What the tests of Pool share: a server that counts connections, on the test's own loop."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import smtpx
from smtpx import (
    MailTx,
)

from tests.clients import mail
from tests.recorder import Recorder


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
