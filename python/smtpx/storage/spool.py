"""A spool directory: the file operations of LocalStorage, blocking, with what each failure leaves behind."""

# ruff: noqa: A001, A002 - "id" is the attribute's name

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import shutil
import sys
from typing import TYPE_CHECKING

from smtpx.errors import MailNotFound, StorageError, StorageFull, StorageLocked
from smtpx.storage.entry import EntryError, entry_header, read_entry

if sys.platform != "win32":
    import fcntl

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from smtpx.mail import MailTx

__all__ = ["ID", "NO_ROOM", "Spool", "check_directory", "free_space", "lock_directory"]

_log = logging.getLogger("smtpx.storage")
_POSIX = os.name == "posix"
_BINARY: int = getattr(os, "O_BINARY", 0)  # Windows would turn LF into CRLF
_SUFFIX = ".mail"
# No separator and no leading dot: an id is a file's name, and may have come from anywhere (HOSTILE 28).
ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,127}")
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE}


class Spool:
    """An open spool directory.

    `write`, `remove` and `bounce` are durable once `sync` has returned, for all of them at once; these four
    are for one thread. Every method turns an OSError into the StorageError that says what to answer.
    """

    def __init__(self, directory: Path) -> None:
        """Lock the directory and clear away what a crash left unfinished.

        Raises:
            StorageLocked: another spool is open on it.
            StorageError: it is missing, somebody else's, or cannot be written; the message says the mend.

        """
        self._directory = directory
        self._bounce = directory / "bounce"
        self._quarantine = directory / "quarantine"
        # Descriptors are kept open: to sync a directory must not need a free one (HOSTILE 94).
        self._directory_fd = self._bounce_fd = -1
        self._unsynced: set[int] = set()
        self._fresh: set[str] = set()  # written since the last sync, in place of nothing
        with contextlib.ExitStack() as undo:
            try:
                check_directory(directory)
                undo.callback(os.close, lock_directory(directory))
                for folder in (self._bounce, self._quarantine):
                    folder.mkdir(mode=0o700, exist_ok=True)
                for leftover in directory.glob(".*.tmp"):
                    leftover.unlink()
                if _POSIX:
                    self._directory_fd = os.open(directory, os.O_RDONLY)
                    undo.callback(os.close, self._directory_fd)
                    self._bounce_fd = os.open(self._bounce, os.O_RDONLY)
                    undo.callback(os.close, self._bounce_fd)
                    os.fsync(self._directory_fd)  # bounce/ itself must not vanish with a message in it
            except StorageError:
                raise
            except OSError as error:
                raise _failure(
                    error,
                    f"the spool directory {directory} cannot be used:"
                    " let this process write to it, or name another one",
                ) from error
            self._resources = undo.pop_all()

    def close(self) -> None:
        """Unlock the directory."""
        self._resources.close()

    def write(self, id: str, envelope: bytes, content: bytes) -> None:
        """Write an entry under a temporary name, sync it, and only then give it its name.

        Raises:
            StorageFull: no room; nothing of it is left.
            StorageError: anything else; what there is of the file is in quarantine.

        """
        if not ID.fullmatch(id):
            raise StorageError(
                errno.EINVAL, f"{id!r} cannot be a message's id: write letters, digits, '-', '.'"
            )
        temporary = self._directory / f".{id}.tmp"
        try:
            fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | _BINARY, 0o600)
            try:
                _write_all(fd, entry_header(envelope, content) + envelope)
                _write_all(fd, content)
                os.fsync(fd)
            finally:
                os.close(fd)
            path = self._path(id)
            if not path.exists():
                self._fresh.add(id)
            os.replace(temporary, path)  # noqa: PTH105 - a step of the durable write, as fsync is
        except OSError as error:
            self._set_aside(temporary, id, error)
            raise _failure(error, f"message {id} cannot be written") from error
        self._unsynced.add(self._directory_fd)

    def remove(self, id: str) -> None:
        """Remove an entry."""
        path = self._path(id)
        try:
            path.unlink()
        except FileNotFoundError:
            raise _not_found(id) from None
        except OSError as error:
            raise _failure(error, f"message {id} cannot be removed") from error
        self._unsynced.add(self._directory_fd)

    def bounce(self, id: str) -> None:
        """Move an entry to bounce/."""
        path = self._path(id)
        try:
            path.replace(self._bounce / path.name)
        except FileNotFoundError:
            raise _not_found(id) from None
        except OSError as error:
            raise _failure(error, f"message {id} cannot be moved to {self._bounce}") from error
        self._unsynced |= {self._bounce_fd, self._directory_fd}

    def sync(self) -> None:
        """Make every change since the last call durable; tried once, whatever becomes of it.

        Raises:
            StorageError: not all of them are; the new messages among them, of which nobody was told that they
                are stored, are no longer served.

        """
        unsynced, self._unsynced = self._unsynced, set()
        fresh, self._fresh = self._fresh, set()
        if not _POSIX:
            return
        try:
            # bounce/ first: between the two a crash may show a message in both, never in neither.
            for fd in (self._bounce_fd, self._directory_fd):
                if fd in unsynced:
                    os.fsync(fd)
        except OSError as error:
            for id in fresh:
                self._set_aside(self._path(id), id, error)
            raise _failure(error, f"the spool directory {self._directory} cannot be synced") from error

    def read(self, id: str) -> MailTx:
        """Return a message; a damaged one goes to quarantine.

        Raises:
            MailNotFound: there is none.
            StorageError: it cannot be read, or is damaged.

        """
        try:
            return self._read(self._path(id), id)
        except EntryError as error:
            raise StorageError(errno.EIO, f"message {id} is damaged and in quarantine: {error}") from None

    def read_all(self) -> Iterator[MailTx]:
        """Give every message, oldest id first; the damaged go to quarantine, what went meanwhile is left out.

        Raises:
            StorageError: the directory cannot be read.

        """
        try:
            paths = sorted(path for path in self._directory.iterdir() if path.name.endswith(_SUFFIX))
        except OSError as error:
            raise _failure(error, f"the spool directory {self._directory} cannot be read") from error
        for path in paths:
            with contextlib.suppress(MailNotFound, EntryError):
                yield self._read(path, path.name.removesuffix(_SUFFIX))

    def _read(self, path: Path, id: str) -> MailTx:
        try:
            try:
                with path.open("rb") as file:
                    mail = read_entry(file)
            except FileNotFoundError:
                raise _not_found(id) from None
            except OSError as error:
                if error.errno in NO_ROOM:  # our want of descriptors is no fault of the message's
                    raise _failure(error, f"message {id} cannot be read") from error
                raise EntryError(f"it cannot be read: {error.strerror}") from error
            if mail.id != id or not ID.fullmatch(id):
                raise EntryError(f"it holds message {mail.id!r}")
        except EntryError as error:
            self._to_quarantine(path, str(error))
            raise
        return mail

    def _path(self, id: str) -> Path:
        if not ID.fullmatch(id):
            raise _not_found(id)
        return self._directory / f"{id}{_SUFFIX}"

    def _set_aside(self, path: Path, id: str, error: OSError) -> None:
        if error.errno in NO_ROOM:
            with contextlib.suppress(OSError):
                path.unlink()
        else:
            self._to_quarantine(path, f"message {id} was not stored: {error.strerror}", f"{id}{_SUFFIX}")

    def _to_quarantine(self, path: Path, why: str, name: str | None = None) -> None:
        target = self._quarantine / (name or path.name)
        try:
            path.replace(target)
        except FileNotFoundError:
            pass
        except OSError as error:
            _log.error("%s: %s; it cannot be moved to quarantine: %s", path, why, error.strerror)
        else:
            _log.error("%s: %s; moved to %s", path, why, target)


def free_space(directory: Path) -> int:
    """Return the octets that may still be written.

    Raises:
        StorageError: the directory is missing or cannot be asked.

    """
    try:
        return shutil.disk_usage(directory).free
    except OSError as error:
        raise _failure(error, f"the free space of {directory} is not known") from error


def check_directory(directory: Path, name: str = "spool directory") -> None:
    """Refuse a directory that is not there: made here it could hide that a disk is not mounted.

    Raises:
        StorageError: it is missing, no directory, or somebody else's.

    """
    try:
        status = directory.stat()
    except FileNotFoundError:
        raise StorageError(
            errno.ENOENT,
            f"the {name} {directory} is missing: make it (mkdir -m 700), or name another one",
        ) from None
    if not directory.is_dir():
        raise StorageError(errno.ENOTDIR, f"the {name} {directory} is no directory: name another one")
    # What we wrote into somebody else's spool, its owner could not use (root included).
    if sys.platform != "win32" and status.st_uid != os.geteuid():
        raise StorageError(
            errno.EPERM,
            f"the {name} {directory} belongs to user {status.st_uid}, and this is {os.geteuid()}:"
            " change its owner (chown), run as that user, or name another one",
        )


def lock_directory(directory: Path) -> int:
    """Return the descriptor that keeps the directory to ourselves until it is closed; Windows has no such.

    Raises:
        StorageLocked: another process has it.
        OSError: the file of the lock cannot be made.

    """
    fd = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    if sys.platform == "win32":
        return fd
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.read(fd, 20).decode("ascii", "replace").strip() or "unknown"
        os.close(fd)
        raise StorageLocked(
            errno.EAGAIN,
            f"the spool directory {directory} is in use by process {owner}: stop it, or name another one",
        ) from None
    # Over what is there, and cut only then: on a full disk a block that was given back is another's.
    length = os.write(fd, f"{os.getpid()}\n".encode())
    os.ftruncate(fd, length)
    return fd


def _write_all(fd: int, octets: bytes) -> None:
    rest = memoryview(octets)
    while rest:
        rest = rest[os.write(fd, rest) :]


def _failure(error: OSError, what: str) -> StorageError:
    kind = StorageFull if error.errno in NO_ROOM else StorageError
    return kind(error.errno, f"{what}: {error.strerror}")


def _not_found(id: str) -> MailNotFound:
    return MailNotFound(errno.ENOENT, f"there is no message {id!r}")
