"""The tables of a SQLiteStorage, docs/queue-format.md, and how they came to be so."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from smtpx.errors import StorageError

if TYPE_CHECKING:
    from pathlib import Path

    import apsw

__all__ = ["APPLICATION_ID", "MIGRATIONS", "migrate", "probe"]

APPLICATION_ID = 0x736D7471
"""In the file's header, for file(1) and for us: "smtq"."""

_FIRST = """
CREATE TABLE message (
    key INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    received INTEGER NOT NULL,
    size INTEGER NOT NULL,
    recipients INTEGER NOT NULL,
    open INTEGER NOT NULL,
    finished INTEGER
);
CREATE INDEX message_finished ON message (finished) WHERE finished IS NOT NULL;

CREATE TABLE body (
    message INTEGER PRIMARY KEY,
    checksum INTEGER NOT NULL,
    envelope BLOB NOT NULL,
    content BLOB NOT NULL
);

CREATE TABLE recipient (
    message INTEGER NOT NULL,
    destination TEXT NOT NULL,
    place INTEGER NOT NULL,
    address TEXT NOT NULL,
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    next INTEGER NOT NULL,
    changed INTEGER NOT NULL,
    warned INTEGER NOT NULL DEFAULT 0,
    reply TEXT NOT NULL DEFAULT '',
    token INTEGER NOT NULL DEFAULT 0,
    owner TEXT,
    PRIMARY KEY (message, destination, place)
) WITHOUT ROWID;
CREATE INDEX recipient_due ON recipient (destination, next) WHERE state = 'queued';
CREATE INDEX recipient_held ON recipient (message) WHERE state = 'held';
CREATE INDEX recipient_claimed ON recipient (owner) WHERE owner IS NOT NULL;

CREATE TABLE destination (
    name TEXT PRIMARY KEY,
    due INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX destination_due ON destination (due);

CREATE TABLE owner (
    name TEXT PRIMARY KEY
) WITHOUT ROWID;
"""

MIGRATIONS = [_FIRST]
"""What makes version n + 1 of version n (0 is an empty file); never changed once released, only added to."""

_ENDS = (
    "SELECT * FROM message ORDER BY key",
    "SELECT id FROM message ORDER BY id",
    "SELECT finished FROM message WHERE finished IS NOT NULL ORDER BY finished",
    "SELECT message, checksum, envelope FROM body ORDER BY message",
    "SELECT * FROM recipient ORDER BY message",
    "SELECT next FROM recipient WHERE state = 'queued' ORDER BY destination",
    "SELECT message FROM recipient WHERE state = 'held' ORDER BY message",
    "SELECT owner FROM recipient WHERE owner IS NOT NULL ORDER BY owner",
    "SELECT * FROM destination ORDER BY name",
    "SELECT * FROM destination ORDER BY due",
    "SELECT name FROM owner ORDER BY name",
)


def migrate(connection: apsw.Connection, path: Path) -> None:
    """Bring the tables to this version, in one transaction.

    Raises:
        StorageError: the file is of a later version, or something else's.

    """
    if _version(connection, path) == len(MIGRATIONS):
        return
    connection.execute("BEGIN IMMEDIATE")
    # Asked again: another process may have been first.
    for script in MIGRATIONS[_version(connection, path) :]:
        for statement in script.split(";"):  # executescript would commit
            connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
    connection.execute("COMMIT")


def probe(connection: apsw.Connection) -> None:
    """Read the first and the last row of every table and index: costs the same whatever they hold.

    Raises:
        apsw.Error: one is missing, or a page on the way is damaged.

    """
    for select in _ENDS:
        connection.execute(f"{select} LIMIT 1").fetchall()
        connection.execute(f"{select} DESC LIMIT 1").fetchall()


def _version(connection: apsw.Connection, path: Path) -> int:
    application = connection.pragma("application_id")
    version = connection.pragma("user_version")
    tables = connection.execute("SELECT count(*) FROM sqlite_schema").get
    if application != APPLICATION_ID and tables:
        raise StorageError(errno.EINVAL, f"{path} is a database of something else: name another file")
    if version > len(MIGRATIONS):
        raise StorageError(
            errno.EINVAL,
            f"{path} was written by a later smtpx (version {version} of its tables, and this one knows"
            f" {len(MIGRATIONS)}): install that smtpx again, or name another file",
        )
    return int(version)
