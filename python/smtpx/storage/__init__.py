"""Where messages are kept."""

from smtpx.storage.base import Reserving, Storage
from smtpx.storage.local import LocalStorage

__all__ = ["LocalStorage", "Reserving", "Storage"]
