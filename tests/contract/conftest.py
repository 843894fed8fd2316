"""What the tests of the queue's contract share: time, and a storage of each kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.queue_storages import Clock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from smtpx import QueueStorage

    from tests.queue_storages import Kind


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def storage(kind: Kind, clock: Clock, tmp_path: Path) -> AsyncIterator[QueueStorage]:
    async with kind.opened(tmp_path, clock) as storage:
        yield storage
