"""How the processes that share a queue's file wake each other, and see that one of them is gone."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from smtpx.errors import StorageError, StorageFull
from smtpx.storage.spool import NO_ROOM

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Wake"]

_log = logging.getLogger("smtpx.storage")


class Wake:
    """One of those that share a file: a unix datagram socket beside it, which answers as long as we live.

    Where there are no such sockets (Windows), others neither wake us nor see that we are gone: what we have
    claimed is theirs when the lease ends.
    """

    def __init__(self, path: Path, called: Callable[[], None]) -> None:
        """Bind the socket, and call ``called`` in a thread of ours for each datagram.

        Raises:
            StorageError: it cannot be bound.

        """
        self.name = f"{_prefix(path)}{os.getpid()}-{os.urandom(4).hex()}"
        self._called = called
        self._closed = False
        self._resources = contextlib.ExitStack()
        if sys.platform == "win32":
            return
        file = path.parent / self.name
        with contextlib.ExitStack() as undo:
            try:
                self._socket = undo.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
                with _address(path, self.name) as address:
                    self._socket.bind(address)
                undo.callback(file.unlink, missing_ok=True)
                file.chmod(0o600)
            except OSError as error:
                kind = StorageFull if error.errno in NO_ROOM else StorageError
                raise kind(
                    error.errno,
                    f"no socket can be bound at {file}, by which the processes that use a queue wake each"
                    f" other: {error.strerror or error}",
                ) from error
            self._resources = undo.pop_all()
        self._thread = threading.Thread(target=self._listen, name="smtpx-wake", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Be gone."""
        if self._closed or sys.platform == "win32":
            return
        self._closed = True
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RD)  # recv returns
        self._thread.join()
        self._resources.close()

    @staticmethod
    def call(path: Path, name: str) -> bool:
        """Wake another one; False when it is gone, and then its socket is too."""
        if sys.platform == "win32":
            return True
        # The name comes out of the file: it is one of ours, or it is nobody.
        if not name.startswith(_prefix(path)) or "/" in name:
            return False
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out, _address(path, name) as address:
                out.setblocking(False)
                out.sendto(b"w", address)
        except OSError as error:
            # A full buffer will be read; whatever else there is proves nothing.
            if error.errno not in (errno.ECONNREFUSED, errno.ENOENT):
                return True
            with contextlib.suppress(OSError):
                (path.parent / name).unlink(missing_ok=True)
            return False
        return True

    def _listen(self) -> None:
        while True:
            try:
                self._socket.recv(16)
            except OSError as error:
                _log.warning("%s: %s", self.name, error)
                return
            if self._closed:
                return
            self._called()


def _prefix(path: Path) -> str:
    return f"{path.name}-wake-"


@contextlib.contextmanager
def _address(path: Path, name: str) -> Iterator[str]:
    """Give the socket's address, of at most 107 octets: on Linux, whatever the directory's name."""
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        short = Path(f"/proc/self/fd/{directory}")
        yield str((short if short.exists() else path.parent) / name)
    finally:
        os.close(directory)
