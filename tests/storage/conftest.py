"""What the tests of LocalStorage share, and those of SQLiteStorage."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from smtpx.storage import LocalStorage, SQLiteStorage

from tests.queue_storages import Clock
from tests.storage.commits import Commits
from tests.storage.disk import Disk, Gate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


@pytest.fixture
async def storage(tmp_path: Path) -> Any:
    async with LocalStorage(tmp_path, reserve=0) as storage:
        yield storage


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch, storage: LocalStorage, tmp_path: Path) -> Disk:
    if not Path("/proc/self/fd").exists():
        pytest.skip("needs /proc to name a descriptor's file")
    return Disk(monkeypatch, tmp_path)


@pytest.fixture
def gate(disk: Disk) -> Iterator[Gate]:
    gate = Gate(disk)
    yield gate
    gate.open.set()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def queue(tmp_path: Path, clock: Clock) -> AsyncIterator[SQLiteStorage]:
    async with SQLiteStorage(tmp_path / "queue.db", reserve=0, clock=clock) as queue:
        yield queue


@pytest.fixture
def commits(queue: SQLiteStorage, monkeypatch: pytest.MonkeyPatch) -> Iterator[Commits]:
    commits = Commits(monkeypatch)
    yield commits
    commits.open.set()
