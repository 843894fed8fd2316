"""What the tests of Pool share: a server that counts connections, on the test's own loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, TypeVar, cast

import pytest
import smtpx
from smtpx import (
    MailTx,
)

from tests.clients import mail
from tests.recorder import Recorder
from tests.scripted import close, half_close, reset

_Test = TypeVar("_Test", bound=Callable[..., object])


def each_death(test: _Test) -> _Test:
    """Run a test with each way, ``end``, in which a connection dies, after each ``farewell``."""
    ends = pytest.mark.parametrize(
        "end", [close(), reset(), half_close()], ids=["close", "reset", "half_close"]
    )
    words = pytest.mark.parametrize("farewell", [b"", b"421 4.4.2 idle\r\n"], ids=["silent", "421"])
    return cast("_Test", ends(words(test)))


def each_breaking(test: _Test) -> _Test:
    """Run a test with servers of such ``keywords`` that break connections at such ``odds``, by a ``seed``."""
    keywords = [(), ("PIPELINING",), ("PIPELINING", "CHUNKING")]
    test = pytest.mark.parametrize("seed", range(3))(test)
    test = pytest.mark.parametrize("odds", [0.005, 0.1])(test)
    return cast("_Test", pytest.mark.parametrize("keywords", keywords, ids="+".join)(test))


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
