"""HOSTILE rows 92 and 99: a disk that fills up: 452, nothing lost, and on it goes once there is room.

``python -m tests.torture.full_disk`` from the top of the repository, as root. The mail is on a small file
system beside some ballast; each time the server refuses, a piece of the ballast goes. First with a reserve,
which the queue may not touch, and then practically without.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.torture.command import command, tell
from tests.torture.image import MIB, Unavailable, mounted_image
from tests.torture.load import SESSIONS, Load
from tests.torture.record import Record
from tests.torture.subjects import SUBJECTS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.torture.image import Image
    from tests.torture.subject import MakeSubject, Subject

__all__ = ["RESERVE", "Filled", "fill_disk"]

RESERVE = 32 * MIB
_ENOUGH = 50  # refusals, so that each session has had some
_MORE = 20  # messages after it
_LARGEST = 500_000  # octets of a message: the disk is to be full soon
_ROOM = _MORE * _LARGEST * 5
"""What those may take: in the queue, in its log, and in the mailboxes of three recipients. Where less comes
free, what waits to be delivered may take all of it, and nothing more is accepted."""
_SLACK = MIB + 2 * 3 * SESSIONS * _LARGEST
"""The reserve is the queue's. What came before may still be on its way into mailboxes on the same disk: two
messages of each session for each recipient; and files need a little more than their octets."""


class Filled:
    """What came of it: the record, and how many octets were free each time the server refused."""

    def __init__(self, seed: int) -> None:
        self.record = Record(seed, _LARGEST)
        self.free: list[int] = []

    def sound(self, reserve: int) -> bool:
        """Whether no mail is lost, it was refused as it must be, and the reserve was left alone."""
        # 421 ends a session that has been refused too often.
        refused = self.record.refused.keys()
        return self.record.sound and {452} <= refused <= {452, 421} and min(self.free) >= reserve - _SLACK

    def __str__(self) -> str:
        free = f"{min(self.free) // 1024:,} to {max(self.free) // 1024:,}"
        return f"full {len(self.free)} times, with {free} KiB free; {self.record}"


def fill_disk(make: MakeSubject, *, times: int, reserve: int, seed: int) -> Filled:
    """Fill a disk so many ``times``, and let the server go on in between.

    Raises:
        ServerGone: the server did not live through it.
        Unavailable: not on this machine.

    """
    with mounted_image(2 * times * _ROOM) as image:
        folder = image.root / "mail"
        folder.mkdir(mode=0o700)
        ballast = [image.root / f"ballast{number}" for number in range(times)]
        for piece in ballast:
            piece.write_bytes(bytes(_ROOM))
        filled = Filled(seed)
        with make(folder, reserve=reserve) as subject:
            asyncio.run(_fill(subject, image, ballast, filled))
    return filled


async def _fill(subject: Subject, image: Image, ballast: list[Path], filled: Filled) -> None:
    record = filled.record
    async with Load(record, subject.start()) as load:
        for piece in ballast:
            await _until_full(load, record)
            filled.free.append(image.free())
            piece.unlink()
            await load.until_acknowledged(_MORE)
        await _until_full(load, record)
        filled.free.append(image.free())
    subject.kill()  # while the disk is full
    record.reconcile(await subject.harvest())
    async with Load(record, subject.start()) as load:
        await load.until_acknowledged(_MORE)
    subject.kill()
    record.reconcile(await subject.harvest())


async def _until_full(load: Load, record: Record) -> None:
    enough = record.refused.total() + _ENOUGH
    await load.until(lambda: record.refused.total() >= enough)


def main() -> None:
    parser = command(__doc__)
    parser.add_argument("--times", type=int, default=10, help="how often the disk is to fill up")
    options = parser.parse_args()
    tell(f"seed {options.seed}")
    sound = True
    for reserve in (RESERVE, 1):
        try:
            filled = fill_disk(
                SUBJECTS[options.subject],
                times=options.times,
                reserve=reserve,
                seed=options.seed,
            )
        except Unavailable as error:
            raise SystemExit(str(error)) from error
        tell(f"reserve of {reserve:,} octets: {filled}")
        sound = sound and filled.sound(reserve)
    if not sound:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
