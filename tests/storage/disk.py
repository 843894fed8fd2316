"""A spool's disk, watched, held up and made to fail."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from smtpx.mail import MailTx

if TYPE_CHECKING:
    from collections.abc import Callable


POSIX = pytest.mark.skipif(os.name != "posix", reason="the durability contract is POSIX")


def message(content: bytes = b"Subject: x\r\n\r\nhi\r\n", name: str = "") -> MailTx:
    return MailTx("a@b.org", ["joe@example.org"], content, id=name)


def names(directory: Path) -> list[str]:
    """Every file below the directory but the lock."""
    files = (path for path in directory.rglob("*") if path.is_file())
    return sorted(str(path.relative_to(directory)) for path in files if path.name != "lock")


class Disk:
    """Records fsync and rename, and fails those that a test chooses; the others are done."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
        self.steps: list[str] = []
        self.directory = directory
        self.fail_fsync: Callable[[str], int] = lambda _: 0
        self.fail_rename: Callable[[str], int] = lambda _: 0
        self.before_fsync: Callable[[str], None] = lambda _: None
        self._real = os.fsync, os.replace
        monkeypatch.setattr(os, "fsync", self._fsync)
        monkeypatch.setattr(os, "replace", self._replace)

    def _name(self, path: str | os.PathLike[str]) -> str:
        relative = Path(path).relative_to(self.directory)
        return "directory" if relative == Path() else str(relative)

    def _fsync(self, fd: int) -> None:
        name = self._name(Path(f"/proc/self/fd/{fd}").readlink())
        self.before_fsync(name)
        self.steps.append(f"fsync {name}")
        if code := self.fail_fsync(name):
            raise OSError(code, os.strerror(code))
        self._real[0](fd)

    def _replace(self, source: Path, target: Path) -> None:
        name = self._name(target)
        self.steps.append(f"rename {name}")
        if code := self.fail_rename(name):
            raise OSError(code, os.strerror(code))
        self._real[1](source, target)


class Gate:
    """Holds the storage's thread at an fsync until it is opened."""

    def __init__(self, disk: Disk) -> None:
        self.reached = threading.Event()
        self.open = threading.Event()
        disk.before_fsync = self._wait

    def _wait(self, name: str) -> None:
        self.reached.set()
        assert self.open.wait(30)

    async def until_reached(self) -> None:
        assert await asyncio.to_thread(self.reached.wait, 30)
