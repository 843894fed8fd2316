"""Client on asyncio, on uvloop, and SyncClient, all three as one blocking client."""

from __future__ import annotations

import asyncio
import inspect
import threading
from typing import TYPE_CHECKING, Any, Self

import smtpx

from tests.peer import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from types import TracebackType

    from tests.live import Live

    Loops = Callable[[], asyncio.AbstractEventLoop]
    Clients = Callable[..., smtpx.SyncClient]

__all__ = ["CONTENT", "LARGE", "LoopThread", "OnLoop", "mail", "url"]

CONTENT = b"Subject: x\r\n\r\n.hi\r\n"
LARGE = b"Subject: x\r\n\r\n" + (b"x" * 70 + b"\r\n") * 100_000
"""7 MB: more than all buffers between the two."""


def mail(*recipients: str, data: bytes = CONTENT) -> smtpx.MailTx:
    """Return a message from ann to these, or to joe."""
    return smtpx.MailTx("ann@example.com", list(recipients) or ["joe@example.org"], data)


class LoopThread:
    """An event loop that turns on a thread of its own, so that blocking tests meet a client that lives."""

    def __init__(self, factory: Loops) -> None:
        self._factory = factory
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._turn, daemon=True)
        self._thread.start()
        assert self._started.wait(PATIENCE)

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(3 * PATIENCE)

    def close(self) -> None:
        left = self.run(_other_tasks())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(PATIENCE)
        assert not left, f"a client has left tasks: {left}"

    def _turn(self) -> None:
        with asyncio.Runner(loop_factory=self._factory) as runner:
            self.loop = runner.get_loop()
            self._started.set()
            self.loop.run_forever()


async def _other_tasks() -> list[str]:
    return [repr(task) for task in asyncio.all_tasks() - {asyncio.current_task()}]


class OnLoop:
    """A Client whose methods block, as SyncClient's do."""

    def __init__(self, loop: LoopThread, *arguments: Any, **options: Any) -> None:
        self._loop = loop
        self._client = smtpx.Client(*arguments, **options)

    def __enter__(self) -> Self:
        self._loop.run(self._client.__aenter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.run(self._client.__aexit__(kind, error, trace))

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._client, name)
        if not inspect.iscoroutinefunction(attribute):
            return attribute
        return lambda *arguments, **options: self._loop.run(attribute(*arguments, **options))


def url(live: Live, host: str = "127.0.0.1", scheme: str = "smtp") -> str:
    return f"{scheme}://{host}:{live.address[1]}"
