"""HOSTILE row 98: the clock is set a month ahead and back under load: no mail bounces, and none is stalled.

``python -m tests.torture.clock`` from the top of the repository. One of the mailboxes cannot be written
meanwhile: what waits for it must be there at the end.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from smtpx.storage import SQLiteStorage

from tests.torture.command import command, tell
from tests.torture.leaping import AHEAD, BACK
from tests.torture.load import Load
from tests.torture.messages import DOMAIN, LOCALS
from tests.torture.record import Record
from tests.torture.served_subject import ServedSubject

__all__ = ["leap"]

_LEAPS = (AHEAD, BACK, BACK, AHEAD)


async def leap(folder: Path, *, times: int, messages: int, seed: int) -> Record:
    """Set the clock ahead, back, further back and ahead again, so many times, and wait until all is there.

    Raises:
        TimeoutError: what is queued does not come down to nothing.

    """
    record = Record(seed)
    with ServedSubject(folder, module="tests.torture.leaping") as subject:
        obstacle = subject.mail / DOMAIN / LOCALS[-1]
        obstacle.parent.mkdir()
        obstacle.touch()
        async with Load(record, subject.start()) as load:
            for number in _LEAPS * times:
                await load.until_acknowledged(messages)
                os.kill(subject.pid, number)
            await load.until_acknowledged(messages)
        obstacle.unlink()
        await _until_empty(subject.database)
        subject.kill()
        record.reconcile(await subject.harvest())
    return record


async def _until_empty(database: Path) -> None:
    async with SQLiteStorage(database, reserve=0) as storage, asyncio.timeout(60):
        while (await storage.stats(datetime.now(UTC))).messages:  # noqa: ASYNC110 - another process has it
            await asyncio.sleep(0.1)


def main() -> None:
    parser = command(__doc__)
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--messages", type=int, default=200, help="between two leaps")
    options = parser.parse_args()
    tell(f"seed {options.seed}")
    with tempfile.TemporaryDirectory() as folder:
        record = asyncio.run(
            leap(Path(folder), times=options.times, messages=options.messages, seed=options.seed)
        )
    tell(f"{4 * options.times} leaps: {record}")
    if not record.sound or record.delivered.keys() != record.acknowledged:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
