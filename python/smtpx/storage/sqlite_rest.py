"""What a SQLiteStorage does while nobody waits, in steps of milliseconds: each a transaction of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smtpx.storage.sqlite_messages import forget

if TYPE_CHECKING:
    from smtpx.storage.sqlite_file import Database

__all__ = ["purge", "shrink"]

_MESSAGES = 50
_OLD = "SELECT key FROM message WHERE finished < ? AND open = 0 ORDER BY finished LIMIT ?"
# A message that is said to have ended while recipients wait is not ours to remove: the audit names it.
_STILL = "SELECT 1 FROM message WHERE key = ? AND finished < ? AND open = 0"
_PAGES = 200
_SPARE = 64 * 1024 * 1024  # octets that may stay free in the file: the next burst comes


def purge(db: Database, before: int) -> bool:
    """Remove some of what ended before that moment, and tell whether there is more."""
    old = db.execute(_OLD, (before, _MESSAGES)).fetchall()
    if not old:
        return False
    db.begin(durable=False)
    # Another process may have had the same thought, and the number may be a new message's by now.
    forget(db, [key for (key,) in old if db.execute(_STILL, (key, before)).fetchone()])
    db.commit()
    return len(old) == _MESSAGES


def shrink(db: Database) -> bool:
    """Give some of the free pages back to the file system, and tell whether there are more."""
    if db.free() <= _SPARE:
        return False
    db.begin(durable=False)
    db.execute(f"PRAGMA incremental_vacuum({_PAGES})").fetchall()
    db.commit()
    return True
