"""How much room there is on a disk, for those who cannot wait for it to say."""

from __future__ import annotations

import logging
import threading
from time import monotonic
from typing import TYPE_CHECKING

from smtpx.errors import StorageError
from smtpx.storage.spool import free_space

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["FreeSpace"]

_log = logging.getLogger("smtpx.storage")

_LATELY = 1.0  # seconds


class FreeSpace:
    """The free octets of a directory's device; any thread may ask."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._octets: int | None = None
        self._measured = 0.0
        self._asking = threading.Lock()

    def now(self) -> int:
        """Ask the device; blocks as long as that takes.

        Raises:
            StorageError: the directory is missing or cannot be asked.

        """
        try:
            self._octets = octets = free_space(self._directory)
        except StorageError:
            self._octets = None
            raise
        self._measured = monotonic()
        return octets

    def lately(self) -> int:
        """Return what it was a second ago or less, as far as the device answers; only the first time blocks.

        A network file system that hangs must hold up nobody on an event loop: it is asked by a thread, and
        what is known meanwhile grows old.

        Raises:
            StorageError: as `now`.

        """
        octets = self._octets
        if octets is None:
            return self.now()
        if monotonic() - self._measured > _LATELY and self._asking.acquire(blocking=False):
            threading.Thread(target=self._ask, name="smtpx-room", daemon=True).start()
        return octets

    def _ask(self) -> None:
        try:
            self.now()
        except StorageError as error:
            _log.warning("%s", error)  # and whoever asks next is told
        finally:
            self._asking.release()
