"""The ledger of a SQLiteStorage: what must be true of its tables, and each place where it is not."""

# ruff: noqa: A001, S608 - "id" is the attribute's name; the SQL is made of our own words

from __future__ import annotations

from typing import TYPE_CHECKING

from smtpx.delivery import State
from smtpx.storage.base import Audit
from smtpx.storage.entry import EntryError, decode_envelope, entry_checksum

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smtpx.storage.sqlite_file import Reader

__all__ = ["audit"]

_PAGES_NAMED = 100
"""How many faults of the file itself are named."""

_COUNTS = """
SELECT id, recipients, open, finished, count(place), count(DISTINCT place), max(place),
    total(state IN ('queued', 'held')), total(state = 'bounced'),
    EXISTS (SELECT 1 FROM body WHERE body.message = key)
FROM message LEFT JOIN recipient ON recipient.message = key GROUP BY key
"""
_STATES = ", ".join(f"'{state.value}'" for state in State)
# Each gives one column, the line that names what is wrong.
_NEVER = (
    f"""SELECT 'message ' || ifnull(id, message) || ': recipient ' || place || ' is in no state: ' || state
    FROM recipient LEFT JOIN message ON key = message WHERE state NOT IN ({_STATES})""",
    """SELECT 'recipients without their message, number ' || message || ': ' || count(*)
    FROM recipient LEFT JOIN message ON key = message WHERE key IS NULL GROUP BY message""",
    """SELECT 'content without its message, number ' || message
    FROM body LEFT JOIN message ON key = message WHERE key IS NULL""",
    """SELECT 'destination ' || destination || ': is due at ' || min(next) || ', and the list of destinations'
    || ' has ' || ifnull(due, 'nothing') FROM recipient LEFT JOIN destination ON name = destination
    WHERE state = 'queued' GROUP BY destination HAVING due IS NULL OR due <> min(next)""",
    """SELECT 'destination ' || name || ': is listed, and nothing is queued for it' FROM destination
    WHERE NOT EXISTS (SELECT 1 FROM recipient WHERE destination = name AND state = 'queued')""",
)


def audit(reader: Reader) -> Audit:
    """Go through the whole file, see `QueueStorage.audit`; one state of it, however long that takes."""
    with reader.snapshot():
        (messages,) = reader.execute("SELECT count(*) FROM message").fetchone()
        counts: dict[str, int] = dict(
            reader.execute("SELECT state, count(*) FROM recipient GROUP BY state").fetchall()
        )
        faults = [*_file(reader), *_ledger(reader), *_contents(reader)]
    return Audit(messages, {state: counts.get(state.value, 0) for state in State}, faults)


def _file(reader: Reader) -> Iterator[str]:
    for (line,) in reader.execute(f"PRAGMA integrity_check({_PAGES_NAMED})").fetchall():
        if line != "ok":
            yield f"the file {reader.path}: {line}"


def _ledger(reader: Reader) -> Iterator[str]:
    for row in reader.execute(_COUNTS):
        id, recipients, open_, finished, rows, places, last, waiting, bounced, body = row
        if not rows == places == recipients or last != recipients - 1:
            yield f"message {id}: has {recipients} recipients, and {rows} records of them"
        if waiting != open_:
            yield f"message {id}: {waiting:.0f} recipients wait, and {open_} are counted"
        if waiting and finished is not None:
            yield f"message {id}: is marked as done with, and {waiting:.0f} recipients wait"
        if not waiting and finished is None:
            yield f"message {id}: no recipient waits, and it is not marked as done with"
        if waiting and not body:
            yield f"message {id}: {waiting:.0f} recipients wait, and its content is missing"
        if not waiting and body and not bounced:
            yield f"message {id}: is done with, and its content was left behind"
    for select in _NEVER:
        for (line,) in reader.execute(select):
            yield line


def _contents(reader: Reader) -> Iterator[str]:
    select = "SELECT id, recipients, checksum, envelope, content FROM message JOIN body ON body.message = key"
    for id, recipients, checksum, envelope, content in reader.execute(select):
        try:
            if entry_checksum(envelope, content) != checksum:
                raise EntryError("the checksum does not match")
            mail = decode_envelope(envelope, content)
        except EntryError as error:
            yield f"message {id}: its content is damaged: {error}"
        else:
            if mail.id != id or len(mail.recipients) != recipients:
                yield f"message {id}: its envelope is of {mail.id} to {len(mail.recipients)} recipients"
