"""HOSTILE rows 91 and 92: system calls fail under load: no false 250, the server lives, its mail is sound.

``python -m tests.torture.faults`` from the top of the repository. Each error is given to each system call in
turn, for a part of the calls: a disk that fails now and then is harder than a dead one.
"""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.torture.command import command, tell
from tests.torture.image import Unavailable
from tests.torture.injection import inject
from tests.torture.load import Load
from tests.torture.record import Record
from tests.torture.subjects import SUBJECTS

if TYPE_CHECKING:
    from tests.torture.subject import Subject

__all__ = ["CALLS", "ERRORS", "Fault", "fail"]

CALLS = ("write", "pwrite64", "fsync", "fdatasync", "rename", "openat")
ERRORS = ("EIO", "ENOSPC", "EINTR")
_WHEN = "2+3"
_WARM = 10  # messages


@dataclass
class Fault:
    """What one fault did: how many calls failed by it, and what became of the mail."""

    call: str
    error: str
    failed: int
    record: Record

    def __str__(self) -> str:
        failed = f"{self.failed} calls failed" if self.failed else "this server never calls it"
        return f"{self.call} {self.error}: {failed}; {self.record}"


async def fail(subject: Subject, call: str, error: str, *, enough: int, seed: int) -> Fault:
    """Let ``enough`` calls fail under load, or as many as come about while twenty times as much is sent.

    Raises:
        ServerGone: the server did not live through it.
        Unavailable: not on this machine.

    """
    record = Record(seed)
    async with Load(record, subject.start()) as load:
        await load.until_acknowledged(_WARM)
        async with inject(subject.pid, call, error, _WHEN) as injection:
            last = record.attempts + 20 * enough
            await load.until(lambda: injection.calls >= enough or record.attempts >= last)
        await load.until_acknowledged(10 * _WARM)  # the fault is over, and the same process takes mail
    subject.kill()
    record.reconcile(await subject.harvest())
    async with Load(record, subject.start()) as load:  # what it kept is sound enough to go on from
        await load.until_acknowledged(_WARM)
    subject.kill()
    record.reconcile(await subject.harvest())
    return Fault(call, error, injection.calls, record)


def main() -> None:
    parser = command(__doc__)
    parser.add_argument("--calls", type=int, default=200, help="how many of each are to fail")
    options = parser.parse_args()
    tell(f"seed {options.seed}")
    sound = True
    for call, error in itertools.product(CALLS, ERRORS):
        with (
            tempfile.TemporaryDirectory() as folder,
            SUBJECTS[options.subject](Path(folder), uvloop=False) as subject,
        ):
            try:
                fault = asyncio.run(fail(subject, call, error, enough=options.calls, seed=options.seed))
            except Unavailable as reason:
                raise SystemExit(str(reason)) from reason
        tell(str(fault))
        sound = sound and fault.record.sound
    if not sound:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
