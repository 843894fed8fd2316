"""System calls that fail in a running process, by strace."""

from __future__ import annotations

import signal
import subprocess

import pytest

__all__ = ["RENAMES", "WRITES", "Strace"]

WRITES = "write,writev,pwrite64,pwritev"
RENAMES = "?rename,renameat,?renameat2,?link,linkat"


class Strace:
    """Sees system calls of a running process, as long as it is attached.

    Args:
        strace: its path.
        pid: the process.
        calls: which.
        error: makes them fail, as "EIO", or "EIO:when=2" for the second of a thread alone.
        signal: comes instead of them, as "SIGKILL:when=2".

    """

    def __init__(self, strace: str, pid: int, calls: str, error: str = "", *, signal: str = "") -> None:
        command = [strace, "-f", "-y", "-p", str(pid), "-e", f"trace={calls}"]
        for kind, injected in (("error", error), ("signal", signal)):
            if injected:
                command += ["-e", f"inject={calls}:{kind}={injected}"]
        self._process = subprocess.Popen(
            command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
        )
        assert self._process.stderr is not None
        first = self._process.stderr.readline()
        if "attached" not in first:
            self.detach()
            pytest.skip(f"strace cannot attach: {first.strip()}")

    def detach(self) -> str:
        """Let the process go on as before; return what strace has seen."""
        self._process.send_signal(signal.SIGINT)
        _, seen = self._process.communicate()
        return seen

    def kill(self) -> None:
        """End it when the process is dead or dying: told to detach then, it may wait for good."""
        self._process.kill()
        self._process.communicate()
