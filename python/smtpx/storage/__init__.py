"""Where messages are kept."""

from smtpx.storage.base import Direct, QueueStorage, Reserving, Storage, Taker
from smtpx.storage.importing import import_spool
from smtpx.storage.local import LocalStorage
from smtpx.storage.sqlite import SQLiteStorage

__all__ = [
    "Direct",
    "LocalStorage",
    "QueueStorage",
    "Reserving",
    "SQLiteStorage",
    "Storage",
    "Taker",
    "import_spool",
]
