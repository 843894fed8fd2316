"""What SQLite's shared memory tells of the moment at which its last process died."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["was_checkpointing"]

# sqlite.org/walformat.html, 2.3: how much of the log has been brought home, and how much a checkpoint that
# was begun wants to bring; each in the byte order of the machine.
_BACKFILLED = 96
_ATTEMPTED = 128


def was_checkpointing(database: Path) -> bool:
    """Tell whether a checkpoint of the database was begun and not finished."""
    try:
        shared = database.with_name(f"{database.name}-shm").read_bytes()
    except OSError:
        return False
    if len(shared) < _ATTEMPTED + 4:
        return False
    (backfilled,) = struct.unpack_from("=I", shared, _BACKFILLED)
    (attempted,) = struct.unpack_from("=I", shared, _ATTEMPTED)
    return bool(attempted > backfilled)
