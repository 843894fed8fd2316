"""Where messages are kept."""

from smtpx.storage.base import QueueStorage, Reserving, Storage
from smtpx.storage.importing import import_spool
from smtpx.storage.local import LocalStorage
from smtpx.storage.sqlite import SQLiteStorage

__all__ = ["LocalStorage", "QueueStorage", "Reserving", "SQLiteStorage", "Storage", "import_spool"]
