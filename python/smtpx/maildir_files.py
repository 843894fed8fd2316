"""The file operations of Maildirs, blocking, with what each failure leaves behind.

The format: https://cr.yp.to/proto/maildir.html
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from smtpx._core import keep_files

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["Letter", "MaildirFiles"]

_POSIX = os.name == "posix"
_ABANDONED = 36 * 3600  # seconds until nobody still writes a file in tmp/


@dataclass(frozen=True, slots=True)
class Letter:
    """A message for one mailbox.

    Attributes:
        folder: the Maildir.
        name: its file's name, the same at each attempt.
        content: its octets.
        again: whether an attempt before this one may have delivered it.

    """

    folder: Path
    name: str
    content: bytes
    again: bool = False


class MaildirFiles:
    """Maildirs below one folder, made when they are needed.

    Args:
        root: must exist: made here it could hide that a disk is not mounted.

    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._prepared: set[Path] = set()
        self._counter = itertools.count()

    def deliver(self, letters: Sequence[Letter]) -> list[OSError | None]:
        """Put letters into their mailboxes; what is None of the answer is on stable storage.

        They are written in tmp/, synced and renamed into new/; then each folder that got some is synced once.
        A file whose fsync fails is removed, and written anew at the next attempt. A letter that is there
        already, in new/ or under whatever flags in cur/, is not put there again.
        """
        failures = self._attempt(letters)
        gone = [index for index, failure in enumerate(failures) if isinstance(failure, FileNotFoundError)]
        if gone:  # somebody removed their mailboxes
            self._prepared.difference_update(letters[index].folder for index in gone)
            again = self._attempt([letters[index] for index in gone])
            for index, failure in zip(gone, again, strict=True):
                failures[index] = failure
        return failures

    def _attempt(self, letters: Sequence[Letter]) -> list[OSError | None]:
        failures: list[OSError | None] = [None] * len(letters)
        files: dict[int, tuple[str, str, bytes]] = {}
        for index, letter in enumerate(letters):
            try:
                if letter.folder not in self._prepared:
                    self._prepare(letter.folder)
                if letter.again and (found := _find(letter)):
                    _sync(found)
                    continue
            except OSError as error:
                failures[index] = error
                continue
            unique = f"{letter.name}.{os.getpid()}-{next(self._counter)}"
            temporary = f"{letter.folder}/tmp/{unique}"  # noqa: S108 - not that one
            # One of the same name is this letter: another process delivers it too, or did. So what is in a
            # folder that cannot be synced stays there, to be found the next time: that process may have been
            # told that it is delivered, and to remove it would lose it.
            files[index] = temporary, f"{letter.folder}/new/{letter.name}", letter.content
        for index, code in zip(files, keep_files(list(files.values())), strict=True):
            if code is not None:
                failures[index] = OSError(code, os.strerror(code), None, code)  # Windows reads the last
        return failures

    def _prepare(self, folder: Path) -> None:
        """Make the Maildir and make sure that it stays, once in the life of a process.

        It is synced also when it is there: who made it may have died before that.
        """
        if not self._root.is_dir():
            raise FileNotFoundError(errno.ENOENT, f"there is no folder {self._root}: make it, or mount it")
        levels = [folder, *itertools.takewhile(lambda path: path != self._root, folder.parents)]
        for level in reversed(levels):
            level.mkdir(mode=0o700, exist_ok=True)
        for name in ("tmp", "new", "cur"):
            (folder / name).mkdir(mode=0o700, exist_ok=True)
        for level in [*levels, self._root]:
            _sync(str(level))
        _clean(folder / "tmp")
        self._prepared.add(folder)


def _find(letter: Letter) -> str | None:
    """Return the directory that has the letter, if one has; cur/ is read whole, so only when it may be."""
    # In this order: a reader moves it from new/ to cur/, never back.
    if os.path.lexists(f"{letter.folder}/new/{letter.name}"):
        return f"{letter.folder}/new"
    flagged = (f"{letter.name}:", f"{letter.name},")  # "," has more in some servers' names, as the size
    with os.scandir(f"{letter.folder}/cur") as entries:
        if any(entry.name == letter.name or entry.name.startswith(flagged) for entry in entries):
            return f"{letter.folder}/cur"
    return None


def _clean(directory: Path) -> None:
    """Remove what crashes have left."""
    oldest = time.time() - _ABANDONED
    with os.scandir(directory) as entries:
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):
                if entry.stat(follow_symlinks=False).st_mtime < oldest:
                    os.unlink(entry.path)  # noqa: PTH108 - a string


def _sync(directory: str) -> None:
    if not _POSIX:
        return
    fd = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
