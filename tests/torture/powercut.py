"""HOSTILE row 90: the power is cut at random moments under load: what was answered 250 is kept, whole.

``python -m tests.torture.powercut`` from the top of the repository, as root. The mail is on an ext4 file
system in a file, which is shut down as it stands and mounted anew. With ``--without-fsync`` the server's
fsyncs do nothing (strace answers them): then messages must be lost, or the cut does not cut.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.torture.command import command, tell
from tests.torture.image import MIB, Unavailable, mounted_image
from tests.torture.strikes import strike
from tests.torture.subjects import SUBJECTS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.torture.record import Record
    from tests.torture.subject import MakeSubject

__all__ = ["WITHOUT_FSYNC", "cut_power"]

_SYNCS = "fsync,fdatasync,sync_file_range,msync,syncfs,sync"
WITHOUT_FSYNC = [
    "strace", "-f", "-qq", "--seccomp-bpf", "-o", "/dev/null",
    "-e", f"trace={_SYNCS}", "-e", f"inject={_SYNCS}:retval=0",
]  # fmt: skip
"""Before a command: its fsyncs succeed and do nothing."""


def cut_power(
    make: MakeSubject,
    *,
    cuts: int,
    messages: int,
    seed: int,
    prefix: Sequence[str] = (),
    tell: Callable[[str], None] = lambda _: None,
) -> Record:
    """Cut the power of a server's disk again and again, and return what became of the mail.

    Raises:
        Unavailable: not on this machine.

    """
    with mounted_image(512 * MIB) as image:
        folder = image.root / "mail"
        folder.mkdir(mode=0o700)

        def blow() -> None:
            image.cut()
            subject.kill()
            image.power_on()

        with make(folder, prefix=prefix) as subject:
            image.power_on()  # so that the folder itself is older than the first cut
            record = asyncio.run(strike(subject, blow, times=cuts, messages=messages, seed=seed, tell=tell))
        image.check()
    return record


def main() -> None:
    parser = command(__doc__)
    parser.add_argument("--cuts", type=int, default=500)
    parser.add_argument("--messages", type=int, default=50_000)
    parser.add_argument("--without-fsync", action="store_true")
    options = parser.parse_args()
    tell(f"seed {options.seed}")
    try:
        record = cut_power(
            SUBJECTS[options.subject],
            cuts=options.cuts,
            messages=options.messages,
            seed=options.seed,
            prefix=WITHOUT_FSYNC if options.without_fsync else (),
            tell=tell,
        )
    except Unavailable as error:
        raise SystemExit(str(error)) from error
    tell(f"{options.cuts} cuts: {record}")
    if options.without_fsync:
        if not record.lost:
            raise SystemExit("nothing was lost without fsync: the cut does not cut")
    elif not record.sound or record.set_aside:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
