"""What a SQLiteStorage does with whole messages: each function is a part of a transaction, or reads."""

# ruff: noqa: A001, A002, S608 - "id" is the attribute's name; the SQL is made of our own words

from __future__ import annotations

import errno
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from smtpx._core import json_rows
from smtpx.delivery import Delivery, State, destination_of
from smtpx.errors import MailNotFound, StorageError
from smtpx.storage.entry import EntryError, decode_envelope, encode_envelope, entry_checksum
from smtpx.storage.spool import ID

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from smtpx.mail import MailTx
    from smtpx.storage.sqlite_file import Database, Reader, Row

__all__ = [
    "NewMail",
    "arrival",
    "end_messages",
    "forget",
    "load",
    "load_all",
    "micros",
    "moment",
    "not_found",
    "refresh_destinations",
    "save_anew",
    "set_aside",
    "take_out",
]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def micros(moment: datetime) -> int:
    """Return how the tables keep a moment: microseconds since 1970."""
    since = moment - _EPOCH  # whatever its zone
    return (since.days * 86400 + since.seconds) * 1_000_000 + since.microseconds


def moment(micros: int) -> datetime:
    """Return the moment that the tables keep so."""
    return _EPOCH + timedelta(microseconds=micros)


def _in_utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo is UTC else moment.astimezone(UTC)


class NewMail:
    """A message to be saved, as it was when that was asked for: what its owner does to it then tears nothing.

    Raises:
        TypeError: a field of the message is not of its type.
        StorageError: it cannot be queued.

    """

    __slots__ = (
        "_claimed_until",
        "_received_at",
        "_saved_at",
        "attempts",
        "content",
        "destinations",
        "due",
        "envelope",
        "id",
        "received",
        "recipients",
        "saved",
        "token",
        "until",
    )

    def __init__(self, mail: MailTx, now: datetime) -> None:
        self.envelope = encode_envelope(mail)
        self.id = mail.id
        if not ID.fullmatch(mail.id):
            raise StorageError(
                errno.EINVAL, f"{mail.id!r} cannot be a message's id: write letters, digits, '-', '.'"
            )
        if not mail.recipients:
            raise StorageError(
                errno.EINVAL, f"message {mail.id} has no recipient: a queue would keep it for nobody"
            )
        self.content = mail.data
        self.recipients = tuple(mail.recipients)
        if "\0" in "".join(self.recipients):
            # SQLite ends a string of JSON there: what is left of it could be somebody else's address.
            raise StorageError(errno.EINVAL, f"message {mail.id} has a recipient with a NUL: no address has")
        self.destinations = [destination_of(recipient) for recipient in self.recipients]
        self._saved_at = now
        self._received_at = now if mail.received is None else mail.received
        self._claimed_until: datetime | None = None
        self.saved = micros(now)
        self.received = micros(self._received_at)
        # What says that it came tomorrow is due today all the same.
        self.due = min(self.received, self.saved) if mail.postpone is None else micros(mail.postpone)
        self.attempts = mail.retry
        self.until: int | None = None
        self.token = 0

    def claim(self, until: datetime) -> None:
        """Have it claimed as it is saved."""
        self._claimed_until = until
        self.until = micros(until)

    def deliveries(self) -> list[Delivery]:
        """Return the records of a message that was claimed as it was saved."""
        assert self._claimed_until is not None  # noqa: S101 - as it says
        until, received, saved = map(_in_utc, (self._claimed_until, self._received_at, self._saved_at))
        return [
            Delivery(
                self.id,
                place,
                address,
                destination,
                State.QUEUED,
                self.attempts,
                until,
                received,
                saved,
                token=self.token,
            )
            for place, (address, destination) in enumerate(
                zip(self.recipients, self.destinations, strict=True)
            )
        ]

    @property
    def octets(self) -> int:
        """How many there are to write."""
        return len(self.envelope) + len(self.content)


def arrival(db: Database, mail: NewMail, owner: str, token: int = 0) -> Row:
    """Return a message that is not there yet as a row to write; the owner claims what has an ``until``."""
    if mail.until is None:
        first, mail.token, by = mail.due, token, None
        db.stirred = True
    else:
        first, mail.token, by = mail.until, token + 1, owner
        db.handed = True
    checksum = entry_checksum(mail.envelope, mail.content)
    recipients: Row
    if len(mail.recipients) == 1:
        recipients = (*mail.destinations, *mail.recipients, None)
    else:
        recipients = (None, None, json_rows(list(zip(mail.destinations, mail.recipients, strict=True))))
    row = (mail.id, mail.received, checksum, mail.envelope, mail.content, *recipients)
    return (*row, mail.attempts, first, mail.saved, mail.token, by, None, None)


def save_anew(db: Database, mail: NewMail, owner: str) -> None:
    """Add a message, in place of one of the same id."""
    token = 0
    if (row := db.execute("SELECT key FROM message WHERE id = ?", (mail.id,)).fetchone()) is not None:
        old = db.execute("SELECT destination, token FROM recipient WHERE message = ?", row).fetchall()
        # What was claimed of the old one must not be taken for a claim of the new.
        token = 1 + max((token for _, token in old), default=0)
        forget(db, row)
        refresh_destinations(db, [name for name, _ in old])
    db.write([arrival(db, mail, owner, token)], mail.octets)


def forget(db: Database, keys: Iterable[int]) -> None:
    """Remove everything of these messages but what the destinations' table knows."""
    rows = [(key,) for key in keys]
    for table in ("recipient", "body"):
        db.execute_many(f"DELETE FROM {table} WHERE message IN (VALUES ?)", rows)
    db.execute_many("DELETE FROM message WHERE key IN (VALUES ?)", rows)


def refresh_destinations(db: Database, names: Iterable[str]) -> None:
    """Note anew when the first recipient of each destination is due."""
    db.execute_many("INSERT INTO refreshed VALUES ?", [(name,) for name in set(names)])


def end_messages(db: Database, ended: Counter[int], now: int) -> None:
    """Count recipients that became final; once all of a message are, its content goes, unless one bounced."""
    db.execute_many("INSERT INTO ended VALUES ?", [(key, count, now) for key, count in ended.items()])


def take_out(db: Database, id: str, state: State, now: int) -> None:
    """Give a message's queued and held recipients a final state.

    Raises:
        MailNotFound: it has none.

    """
    row = db.execute("SELECT key FROM message WHERE id = ? AND open > 0", (id,)).fetchone()
    if row is None:
        raise not_found(id)
    names = db.execute(
        "UPDATE recipient SET state = ?, changed = ?, owner = NULL"
        " WHERE message = ? AND state IN ('queued', 'held') RETURNING destination",
        (state.value, now, *row),
    ).fetchall()
    end_messages(db, Counter({row[0]: len(names)}), now)
    refresh_destinations(db, [name for (name,) in names])


def set_aside(db: Database, id: str, now: int) -> None:
    """Hold what is queued of a damaged message: no attempt could be made."""
    names = db.execute(
        "UPDATE recipient SET state = 'held', changed = ?, owner = NULL WHERE state = 'queued'"
        " AND message = (SELECT key FROM message WHERE id = ?) RETURNING destination",
        (now, id),
    ).fetchall()
    refresh_destinations(db, [name for (name,) in names])


_LOAD = (
    "SELECT key, id, received, checksum, envelope, content FROM message LEFT JOIN body ON body.message = key"
    " WHERE open > 0 AND "
)

# By two indexes, neither of which knows of what is done with.
_WAITING = (
    "key IN (SELECT message FROM recipient WHERE state = 'queued'"
    " UNION SELECT message FROM recipient WHERE state = 'held')"
)


def load(reader: Reader, id: str) -> MailTx:
    """Return a message that has a queued or held recipient.

    Raises:
        MailNotFound: there is none.
        EntryError: it is damaged.

    """
    row = reader.execute(f"{_LOAD} id = ?", (id,)).fetchone()
    mail = None if row is None else _read(reader, row)
    if mail is None:
        raise not_found(id)
    return mail


def load_all(reader: Reader, damaged: list[str]) -> Iterator[MailTx]:
    """Give every message that has a queued or held recipient, oldest id first; name the damaged."""
    for row in reader.execute(f"{_LOAD} {_WAITING} ORDER BY id"):
        try:
            if (mail := _read(reader, row)) is not None:
                yield mail
        except EntryError:
            damaged.append(row[1])


def _read(reader: Reader, row: Row) -> MailTx | None:
    key, id, received, checksum, envelope, content = row
    if envelope is None:
        raise EntryError("its content is missing")
    if entry_checksum(envelope, content) != checksum:
        raise EntryError("the checksum does not match")
    mail = decode_envelope(envelope, content)
    if mail.id != id:
        raise EntryError(f"it holds message {mail.id!r}")
    first = reader.execute(
        "SELECT next, attempts FROM recipient WHERE message = ? AND state IN ('queued', 'held')"
        " ORDER BY next, place LIMIT 1",
        (key,),
    ).fetchone()
    if first is None:  # done with while we read
        return None
    due, mail.retry = first
    if mail.postpone is None or micros(mail.postpone) != due:
        mail.postpone = moment(due) if due > received else None
    return mail


def not_found(id: str) -> MailNotFound:
    """Return the error of a message that is not in the queue."""
    return MailNotFound(errno.ENOENT, f"there is no message {id!r}")
