"""A server on a thread of its own, for programs and tests that block."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Self

from smtpx.errors import ConfigurationError
from smtpx.server import Server

if TYPE_CHECKING:
    import os
    import socket
    import ssl
    from collections.abc import Sequence
    from types import TracebackType

    from smtpx.environment import Environment
    from smtpx.extension import ExtensionLike
    from smtpx.handler import Handler
    from smtpx.limits import Limits
    from smtpx.listener import Listener
    from smtpx.server import Counters

__all__ = ["SyncServer"]


class SyncServer:
    """`Server` and its loop on a thread; the arguments are `Server`'s. The handler runs on that thread.

    ::

        with smtpx.SyncServer(handler=handler, listeners=[smtpx.Listener("smtp", "127.0.0.1", 0)]) as server:
            smtplib.SMTP("127.0.0.1", server.listeners[0].port)
    """

    def __init__(
        self,
        environment: Environment | None = None,
        handler: Handler | None = None,
        listeners: Sequence[Listener] | None = None,
        extensions: Sequence[ExtensionLike] = (),
        tls: ssl.SSLContext | None = None,
        limits: Limits | None = None,
        sockets: Sequence[socket.socket] | None = None,
    ) -> None:
        self.server = Server(environment, handler, listeners, extensions, tls, limits, sockets)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    @property
    def listeners(self) -> list[Listener]:
        """Where it listens, with the real ports once it runs."""
        return self.server.listeners

    @property
    def counters(self) -> Counters:
        """What happened so far."""
        return self.server.counters

    def load_certificate(
        self, cert: str | os.PathLike[str], key: str | os.PathLike[str] | None = None
    ) -> None:
        """See `Server.load_certificate`."""
        self.server.load_certificate(cert, key)

    def start(self) -> None:
        """Listen, and return; raises what `Server.start` raises."""
        if self._thread is not None:
            raise ConfigurationError("the server runs already: stop() it first")
        started: threading.Event = threading.Event()
        failure: list[BaseException] = []
        self._thread = threading.Thread(
            target=self._run, args=(started, failure), name="smtpx-server", daemon=True
        )
        self._thread.start()
        started.wait()
        if failure:
            self._thread.join()
            self._thread = None
            raise failure[0]

    def _run(self, started: threading.Event, failure: list[BaseException]) -> None:
        async def main() -> None:
            try:
                await self.server.start()
            except BaseException as error:  # handed to the thread that called start()
                failure.append(error)
                return
            finally:
                self._loop = asyncio.get_running_loop()
                started.set()
            await self.server.serve_forever()

        asyncio.run(main())

    def stop(self, grace: float = 30.0) -> None:
        """Stop as `Server.stop` does, and wait for it.

        Raises:
            ConfigurationError: a handler of this server calls it, which would wait for itself.

        """
        if self._thread is None or self._loop is None:
            return
        if self._thread is threading.current_thread():
            raise ConfigurationError("stop() waits for the server's thread: call it from another one")
        asyncio.run_coroutine_threadsafe(self.server.stop(grace), self._loop).result()
        self._thread.join()
        self._thread = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
