"""System calls of a running process that fail, as if its disk did: strace, attached for a while."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
from typing import TYPE_CHECKING

from tests.torture.image import Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["Injection", "inject"]

_SAME_ON_EVERY_MACHINE = {"rename": "?rename,?renameat,?renameat2"}


class Injection:
    """A fault that goes on.

    Attributes:
        calls: how many calls have failed by it.

    """

    def __init__(self) -> None:
        self.calls = 0

    async def watch(self, trace: asyncio.StreamReader) -> None:
        async for line in trace:
            self.calls += b"(INJECTED)" in line


@contextlib.asynccontextmanager
async def inject(pid: int, call: str, error: str, when: str) -> AsyncIterator[Injection]:
    """Let a system call of a process fail for as long as the block.

    Args:
        pid: the process, with all of its threads.
        call: the name of the system call.
        error: with which errno; the call is not made.
        when: which of each thread's calls fail, as strace says it: "2+3" is the second and every third after.

    Raises:
        Unavailable: there is no strace, or it may not.

    """
    if shutil.which("strace") is None:
        raise Unavailable("strace is not installed")
    calls = _SAME_ON_EVERY_MACHINE.get(call, call)
    strace = await asyncio.create_subprocess_exec(
        *("strace", "-f", "-s", "0", "-p", str(pid)),
        *("-e", f"trace={calls}", "-e", f"inject={calls}:error={error}:when={when}"),
        stderr=asyncio.subprocess.PIPE,
    )
    assert strace.stderr is not None
    injection = Injection()
    first = await strace.stderr.readline()
    if b" attached" not in first:
        await strace.wait()
        raise Unavailable(f"strace cannot attach to a process: {first.decode().strip()}")
    watcher = asyncio.create_task(injection.watch(strace.stderr))
    try:
        yield injection
    finally:
        with contextlib.suppress(ProcessLookupError):
            strace.send_signal(signal.SIGINT)  # at which it lets the process go on by itself
        await strace.wait()
        await watcher
