"""A file system of its own, in a file, whose power can be cut."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import struct
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Image", "Unavailable", "mounted_image"]

MIB = 1024 * 1024

# Linux, fs/ext4/ext4.h: EXT4_IOC_SHUTDOWN is _IOR('X', 125, __u32), and its flag EXT4_GOING_FLAGS_NOLOGFLUSH
# reads "don't flush log nor data". The journal is aborted: what of the page cache and of the running
# transaction has not been written never will be, and the file system answers EIO until it is mounted anew.
_SHUTDOWN = 0x8004587D
_NO_LOG_FLUSH = 2


class Unavailable(Exception):
    """This machine cannot do it; the message says what it takes."""


class Image:
    """An ext4 file system in a file, mounted over a loop device at ``root``."""

    def __init__(self, file: Path, root: Path, octets: int) -> None:
        self.root = root
        self._file = file
        with file.open("wb") as image:
            image.truncate(octets)
        root.mkdir()
        _run("mkfs.ext4", "-q", "-F", "-m", "0", str(file))
        self._mount()

    def cut(self) -> None:
        """Let everything that is not on stable storage be gone, at once."""
        root = os.open(self.root, os.O_RDONLY)
        try:
            fcntl.ioctl(root, _SHUTDOWN, struct.pack("I", _NO_LOG_FLUSH))
        finally:
            os.close(root)

    def power_on(self) -> None:
        """Mount anew, which replays the journal; nobody may have a file open there."""
        self.close()
        self._mount()

    def free(self) -> int:
        """Return the octets that are free."""
        return shutil.disk_usage(self.root).free

    def check(self) -> None:
        """Unmount it, and let e2fsck look: a file system that is itself broken proves nothing."""
        self.close()
        _run("e2fsck", "-f", "-n", str(self._file))

    def close(self) -> None:
        """Unmount it; the loop device goes with the mount."""
        if self.root.is_mount():
            _run("umount", str(self.root))

    def _mount(self) -> None:
        _run("mount", "-o", "loop", str(self._file), str(self.root))


@contextlib.contextmanager
def mounted_image(octets: int) -> Iterator[Image]:
    """Give an empty image, in a folder that is removed.

    Raises:
        Unavailable: this machine does not let us.

    """
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        raise Unavailable("to mount a file system takes root")
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        try:
            image = Image(Path(folder, "image"), Path(folder, "root"), octets)
        except (OSError, subprocess.CalledProcessError) as error:
            raise Unavailable(f"no ext4 image can be mounted here: {error}") from error
        stack.callback(image.close)
        yield image


def _run(*command: str) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except subprocess.CalledProcessError as error:
        error.add_note(error.stderr)
        raise
