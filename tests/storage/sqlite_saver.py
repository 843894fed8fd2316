"""A program that saves, claims and settles in a queue, and says of each message what it was told."""

from __future__ import annotations

import asyncio
import itertools
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from smtpx import MailTx, SQLiteStorage, State
from smtpx.errors import StorageError
from smtpx.storage import sqlite_file

SAVERS = 5


def content(name: str) -> bytes:
    """Return the octets of the message of that name."""
    return name.encode() * 1000


async def main() -> None:
    """Save some messages at a time, deliver those that can be claimed, and end with "alive"."""
    path, prefix, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])  # 0: until killed
    if len(sys.argv) > 4:
        sqlite_file._LONG = int(sys.argv[4])  # pages in the log before it is brought home
    queue = SQLiteStorage(path, reserve=0)

    async def save(name: str) -> None:
        try:
            await queue.mail_save(MailTx("a@b.org", [f"{name}@example.org"], content(name), id=name))
        except StorageError as error:
            print("failed", name, error.code, error, flush=True)
        else:
            print("saved", name, flush=True)

    print("ready", flush=True)
    for number in range(rounds) if rounds else itertools.count():
        await asyncio.gather(*(save(f"{prefix}-{number}-{saver}") for saver in range(SAVERS)))
        try:
            claimed = await queue.claim(datetime.now(UTC), timedelta(minutes=5), 2)
            written = [replace(each, state=State.DELIVERED) for each in claimed]
            lost = await queue.settle(written)
            for each in written:
                if each not in lost:
                    print("delivered", each.mail_id, flush=True)
        except StorageError as error:
            print("failed", "-", error.code, error, flush=True)
    print("alive", flush=True)
    await queue.close()


if __name__ == "__main__":
    asyncio.run(main())
