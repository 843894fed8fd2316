"""System calls that fail in a running process, by strace."""

from __future__ import annotations

import signal
import subprocess

import pytest

__all__ = ["RENAMES", "WRITES", "Strace"]

WRITES = "write,writev,pwrite64,pwritev"
RENAMES = "?rename,renameat,?renameat2,?link,linkat"


class Strace:
    """Makes system calls of a running process fail, as long as it is attached."""

    def __init__(self, strace: str, pid: int, calls: str, error: str) -> None:
        command = [
            strace,
            "-f",
            "-p",
            str(pid),
            "-e",
            f"trace={calls}",
            "-e",
            f"inject={calls}:error={error}",
        ]
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
