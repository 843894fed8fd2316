"""Where messages are kept."""

from smtpx.storage.base import QueueStorage, Reserving, Storage
from smtpx.storage.local import LocalStorage

__all__ = ["LocalStorage", "QueueStorage", "Reserving", "Storage"]
