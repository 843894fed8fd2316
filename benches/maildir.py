"""How many messages a second one process delivers into Maildirs, each fsynced, beside the bare system calls.

``python -m benches.maildir [--quick] [--messages 10000] [FOLDER]``: on the disk of FOLDER, by default the
current one.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from smtpx.delivery import Delivery, State
from smtpx.mail import MailTx, new_id
from smtpx.maildir import MaildirTransport
from smtpx.outcome import Outcome

CONTENT = b"Subject: x\r\n\r\n" + b"x" * 62 + b"\r\n"
CONTENT += (b"x" * 62 + b"\r\n") * ((4096 - len(CONTENT)) // 64)


def bare(folder: Path, messages: int) -> float:
    """Write, sync and rename files one after the other, each with its directory's sync: a simple MDA."""
    for name in ("tmp", "new"):
        (folder / name).mkdir(parents=True)
    began = time.perf_counter()
    for number in range(messages):
        fd = os.open(folder / "tmp" / str(number), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        os.write(fd, CONTENT)
        os.fsync(fd)
        os.close(fd)
        (folder / "tmp" / str(number)).rename(folder / "new" / str(number))
        fd = os.open(folder / "new", os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)
    return messages / (time.perf_counter() - began)


async def deliver(folder: Path, messages: int, at_once: int, mailboxes: int) -> float:
    """Deliver messages, so many at once, to so many mailboxes in turns."""
    now = datetime.now(UTC)
    numbers = iter(range(messages))
    async with MaildirTransport(f"{folder}/{{domain}}/{{local}}") as transport:

        async def worker() -> None:
            for number in numbers:
                recipient = f"user{number % mailboxes}@example.org"
                mail = MailTx("a@b.org", [recipient], CONTENT, id=new_id())
                delivery = Delivery(
                    mail.id, 0, recipient, "example.org", State.QUEUED, 0, now, now, now, token=1
                )
                result = await transport.deliver(mail, [delivery])
                assert result[recipient].outcome is Outcome.ACCEPTED

        began = time.perf_counter()
        await asyncio.gather(*(worker() for _ in range(at_once)))
        return messages / (time.perf_counter() - began)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", nargs="?", default=".", type=Path)
    parser.add_argument("--messages", default=10_000, type=int)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    messages = 200 if arguments.quick else arguments.messages
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        print(
            f"bare system calls, one at a time: {bare(folder / 'bare', min(messages, 2000)):7.0f} messages/s"
        )
        for at_once, mailboxes in [(1, 1), (20, 1), (20, 100), (64, 1), (64, 100), (64, 1000)]:
            place = folder / f"{at_once}-{mailboxes}"
            place.mkdir()
            rate = asyncio.run(deliver(place, messages, at_once, mailboxes))
            assert sum(len(list(new.iterdir())) for new in place.glob("*/*/new")) == messages
            print(
                f"{at_once:2} at once, {mailboxes:4} mailboxes:          {rate:7.0f} messages/s", flush=True
            )


if __name__ == "__main__":
    main()
