"""The room on a disk, asked by those who cannot wait."""

from __future__ import annotations

import errno
import threading
from typing import TYPE_CHECKING

import pytest
from smtpx.errors import StorageError
from smtpx.storage import room
from smtpx.storage.room import FreeSpace

if TYPE_CHECKING:
    from pathlib import Path


class Disk:
    """Answers what it is told to, when it is let; tells how often it was asked."""

    def __init__(self, free: int) -> None:
        self.free: int | None = free
        self.asked = 0
        self.answers = threading.Event()
        self.answers.set()

    def __call__(self, directory: Path) -> int:
        self.asked += 1
        assert self.answers.wait(20)
        if self.free is None:
            raise StorageError(errno.EIO, f"{directory} is gone")
        return self.free


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    disk = Disk(100)
    monkeypatch.setattr(room, "free_space", disk)
    return disk


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(room, "monotonic", clock)
    return clock


def answered() -> None:
    """Wait until the thread that asks, if any, has its answer."""
    for thread in threading.enumerate():
        if thread.name == "smtpx-room":
            thread.join(20)


def test_the_disk_is_asked_once_a_second(disk: Disk, clock: Clock, tmp_path: Path) -> None:
    space = FreeSpace(tmp_path)
    assert [space.lately() for _ in range(3)] == [100, 100, 100]
    assert disk.asked == 1
    clock.now += 1.1
    space.lately()
    answered()
    assert disk.asked == 2


def test_a_save_spares_the_question(disk: Disk, clock: Clock, tmp_path: Path) -> None:
    space = FreeSpace(tmp_path)
    space.lately()
    clock.now += 1.1
    disk.free = 90
    assert space.now() == 90
    assert space.lately() == 90
    assert disk.asked == 2


def test_a_disk_that_hangs_holds_up_nobody_and_is_asked_by_one_thread(
    disk: Disk, clock: Clock, tmp_path: Path
) -> None:
    space = FreeSpace(tmp_path)
    space.lately()
    disk.answers.clear()
    disk.free = 90
    clock.now += 1.1
    assert [space.lately() for _ in range(3)] == [100, 100, 100]
    disk.answers.set()
    answered()
    assert space.lately() == 90
    assert disk.asked == 2


def test_a_disk_that_fails_is_told_to_who_asks_next(disk: Disk, clock: Clock, tmp_path: Path) -> None:
    space = FreeSpace(tmp_path)
    space.lately()
    disk.free = None
    clock.now += 1.1
    space.lately()
    answered()
    with pytest.raises(StorageError, match="is gone"):
        space.lately()
    disk.free = 80
    assert space.lately() == 80
