"""A server with a LocalStorage in a process of its own, to be killed and started again.

``python -m tests.torture.spool_server DIRECTORY RESERVE`` starts a server for each line on its standard
input, when the one before is dead, and prints its process id and port. The servers are forks: a start takes
no time.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING, Self

import smtpx

from tests.torture.messages import DOMAIN, LOCALS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

__all__ = ["SpoolServer"]


async def serve(folder: Path, reserve: int) -> None:
    """Run one server until killed."""
    domain = smtpx.Domain(DOMAIN)
    for local in LOCALS:
        domain.add(smtpx.Account(local.title(), local, DOMAIN))
    environment = smtpx.Environment(domain)
    limits = smtpx.Limits(connections_per_address=1000)
    listeners = [smtpx.Listener("smtp", "127.0.0.1", 0)]
    async with smtpx.LocalStorage(folder, reserve=reserve) as storage:
        handler = smtpx.LocalHandler(environment, storage)
        async with smtpx.Server(environment, handler, listeners, limits=limits) as server:
            print(os.getpid(), server.listeners[0].port, flush=True)
            await server.serve_forever()


def main() -> None:
    """Fork a server for each line that comes in."""
    folder, reserve = Path(sys.argv[1]), int(sys.argv[2])
    for _ in sys.stdin:
        pid = os.fork()
        if pid == 0:
            asyncio.run(serve(folder, reserve))
            os._exit(0)
        os.waitpid(pid, 0)
        print("dead", flush=True)


class SpoolServer:
    """The process above, seen from a test: ``start``, ``kill``, and again; under ``prefix``, as strace."""

    def __init__(
        self,
        folder: Path,
        stderr: int | IO[bytes] | None = None,
        *,
        reserve: int = 0,
        prefix: Sequence[str] = (),
    ) -> None:
        self.pid = 0
        self._process = subprocess.Popen(
            [*prefix, sys.executable, "-m", "tests.torture.spool_server", str(folder), str(reserve)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            cwd=Path(__file__).parents[2],
            start_new_session=True,  # Ctrl-C is for the torture, which ends it in its turn
        )

    def start(self) -> tuple[str, int]:
        """Start a server and return its address once it takes connections."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(b"start\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline().split()
        assert len(answer) == 2, "the server did not start; see its standard error"
        self.pid = int(answer[0])
        return "127.0.0.1", int(answer[1])

    def kill(self) -> None:
        """SIGKILL: no handler, no flush, no goodbye; back when it is dead and its lock with it."""
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            self.pid = 0
            assert self._process.stdout is not None
            assert self._process.stdout.readline() == b"dead\n"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()


if __name__ == "__main__":
    main()
