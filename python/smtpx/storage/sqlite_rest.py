"""What a SQLiteStorage does while nobody waits, in steps of milliseconds: each a transaction of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smtpx.storage.sqlite_messages import forget

if TYPE_CHECKING:
    from smtpx.storage.sqlite_file import Database

__all__ = ["purge", "shrink"]

_MESSAGES = 50
_PAGES = 200
_SPARE = 64 * 1024 * 1024  # octets that may stay free in the file: the next burst comes


def purge(db: Database, before: int) -> bool:
    """Remove some of what ended before that moment, and tell whether there is more."""
    db.begin(durable=False)
    rows = db.execute(
        "SELECT key FROM message WHERE finished < ? ORDER BY finished LIMIT ?", (before, _MESSAGES)
    )
    keys = [key for (key,) in rows.fetchall()]
    if keys:
        forget(db, keys)
        db.commit()
    else:
        db.rollback()
    return len(keys) == _MESSAGES


def shrink(db: Database) -> bool:
    """Give some of the free pages back to the file system, and tell whether there are more."""
    if db.free() <= _SPARE:
        return False
    db.begin(durable=False)
    db.execute(f"PRAGMA incremental_vacuum({_PAGES})").fetchall()
    db.commit()
    return True
