"""Where the servers of ``benches.mta`` write: on this machine's disk, or on one held back."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_DISK = Path("/var/tmp")  # not /tmp: that may be in memory, where a sync is nothing
_THROTTLE = Path("/sys/fs/cgroup/blkio/blkio.throttle.write_iops_device")
_MEBIBYTES = 4096


@contextlib.contextmanager
def place(writes: int) -> Iterator[Path]:
    """Make the folder that has a folder for each run, removed when all of them are done.

    With ``writes`` it is on an ext4 of its own, as mkfs.ext4 makes it, that does so many writes a second.

    For minutes ext4 uses no inode again, and who makes a file nearby pays for the search past them all: so
    nothing is removed between runs, each is put into another group of blocks, and to measure again at once is
    to measure that.
    """
    with tempfile.TemporaryDirectory(prefix="mta-", dir=_DISK) as directory:
        folder = Path(directory)
        folder.chmod(0o755)  # not all of Postfix's processes are root's
        with _held_back(folder, writes) if writes else contextlib.nullcontext(folder) as root:
            subprocess.run(["chattr", "+T", str(root)], check=False)
            yield root


@contextlib.contextmanager
def _held_back(folder: Path, writes: int) -> Iterator[Path]:
    if not _THROTTLE.exists():
        sys.exit(f"--writes needs cgroup v1: there is no {_THROTTLE}")
    image, root = folder / "image", folder / "disk"
    # Written whole: a block that the disk sees for the first time would cost a second write.
    _run("dd", "if=/dev/zero", f"of={image}", "bs=1M", f"count={_MEBIBYTES}", "conv=fsync", "status=none")
    # At once what else is made while the file system is in use.
    _run("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", str(image))
    root.mkdir()
    with contextlib.ExitStack() as undo:
        # Past the page cache: a flush must reach the disk, and nothing else be written twice.
        device = _run("losetup", "--find", "--show", "--direct-io=on", str(image)).strip()
        undo.callback(_run, "losetup", "--detach", device)
        _run("mount", device, str(root))
        undo.callback(_run, "umount", str(root))
        number = Path(device).stat().st_rdev
        name = f"{os.major(number)}:{os.minor(number)}"
        _THROTTLE.write_text(f"{name} {writes}")
        undo.callback(_THROTTLE.write_text, f"{name} 0")
        yield root


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
