"""Leases in a SQLiteStorage: each function is a part of a transaction, or reads."""

# ruff: noqa: A001, S608 - "id" is the attribute's name; the SQL is made of our own words

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

from smtpx._core import json_rows
from smtpx.delivery import Delivery, State
from smtpx.storage.sqlite_messages import micros, moment, refresh_destinations

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from smtpx.storage.sqlite_file import Database, Reader, Row

__all__ = [
    "COLUMNS",
    "SETTLED",
    "claim",
    "delivery",
    "free_leases",
    "next_due",
    "renew",
    "settle",
    "settlement",
]

COLUMNS = (
    "id, place, address, destination, state, attempts, next, message.received, changed, warned, reply, token,"
    " message, recipients"
)
"""What a `delivery` is made of, of ``recipient JOIN message ON key = message``."""

_DUE = (
    f"SELECT {COLUMNS} FROM recipient JOIN message ON key = message"
    " WHERE destination = ? AND state = 'queued' AND next <= ? ORDER BY next, message, place LIMIT ?"
)
_REST = (
    f"SELECT {COLUMNS} FROM recipient JOIN message ON key = message"
    " WHERE message = ? AND destination = ? AND state = 'queued' AND next <= ? ORDER BY next, place"
)
_DUE_NEXT = (
    "UPDATE destination SET due = (SELECT next FROM recipient WHERE destination = name AND state = 'queued'"
    " ORDER BY next LIMIT 1) WHERE name IN (VALUES ?)"
)
_LEASE = (
    "WITH given (next, changed, owner, message, destination, place) AS (VALUES ?)"
    " UPDATE recipient SET next = given.next, changed = given.changed, token = token + 1, owner = given.owner"
    " FROM given WHERE recipient.message = given.message AND recipient.destination = given.destination"
    " AND recipient.place = given.place"
)
_NEXT, _KEY, _RECIPIENTS = 6, 12, 13  # columns
_NO_MESSAGE = (None,) * 13  # as the columns that it would have
SETTLED = len(_NO_MESSAGE)
"""Where a `settlement` has most of its octets."""


def delivery(row: Row) -> Delivery:
    """Return the record of a row of `COLUMNS`."""
    id, place, address, destination, state, attempts, due, received, changed, warned, reply, token, *_ = row
    return Delivery(
        id,
        place,
        address,
        destination,
        State(state),
        attempts,
        moment(due),
        moment(received),
        moment(changed),
        bool(warned),
        reply,
        token,
    )


def claim(
    db: Database, now: int, until: int, limit: int, busy: Collection[str], owner: str
) -> list[Delivery]:
    """Take up to ``limit`` recipients that are due, see `QueueStorage.claim`."""
    # The first of each destination, merged: of a million rows, those that are taken are looked at, no others.
    first = [
        (due, name)
        for due, name in db.execute(
            "SELECT due, name FROM destination WHERE due <= ? ORDER BY due LIMIT ?", (now, limit + len(busy))
        )
        if name not in busy
    ]
    taken: list[Row] = []
    leased = 0
    looks: dict[str, int] = {}

    def lease() -> None:
        nonlocal leased
        db.execute_many(_LEASE, [(until, now, owner, row[_KEY], row[3], row[1]) for row in taken[leased:]])
        leased = len(taken)

    while first and len(taken) < limit:
        _, name = heapq.heappop(first)
        if name in looks:
            lease()  # else the same rows would be found again
        # Two: one to take, and one that says when its turn comes again; more where several came in a row.
        look = looks.get(name, 2) if first else limit
        # As long as nothing of another destination has waited longer.
        before = min(now, first[0][0]) if first else now
        rows, following, ended = _take(db, name, before, now, limit - len(taken), look)
        taken += rows
        looks[name] = look if ended else 2 * look
        if following is not None:
            heapq.heappush(first, (following, name))
    lease()
    db.execute_many(_DUE_NEXT, [(name,) for name in looks])
    return [delivery((*row[:6], until, row[7], now, *row[9:11], row[11] + 1)) for row in taken]


def _take(
    db: Database, destination: str, before: int, now: int, limit: int, look: int
) -> tuple[list[Row], int | None, bool]:
    """Return what is first due of a destination, a message's recipients together.

    And when its next is due, if it may be due too; and whether no more is due before ``before``.
    """
    taken: dict[tuple[int, int], Row] = {}
    rows = db.execute(_DUE, (destination, now, look)).fetchall()
    for row in rows:
        if row[_NEXT] > before:
            return list(taken.values()), row[_NEXT], True
        together = [row]
        if row[_RECIPIENTS] > 1 and (row[_KEY], row[1]) not in taken:
            together = db.execute(_REST, (row[_KEY], destination, now)).fetchall()
        for each in together:
            if len(taken) < limit:
                taken.setdefault((each[_KEY], each[1]), each)
    all_seen = len(rows) < look
    return list(taken.values()), None if all_seen else rows[-1][_NEXT], all_seen


_RENEW = (
    "WITH given (next, id, destination, place, token, owner) AS (VALUES ?)"
    " UPDATE recipient SET next = given.next FROM given JOIN message USING (id)"
    " WHERE message = key AND recipient.destination = given.destination AND recipient.place = given.place"
    " AND recipient.token = given.token AND state IN ('queued', 'held') AND recipient.owner = given.owner"
)


def renew(db: Database, claimed: Sequence[Delivery], until: int, owner: str) -> None:
    """Let leases end later."""
    db.execute_many(
        _RENEW,
        [(until, each.mail_id, each.destination, each.index, each.token, owner) for each in claimed],
    )
    refresh_destinations(db, [each.destination for each in claimed])


def settlement(db: Database, settled: Sequence[Delivery], now: int) -> Row:
    """Return what became of claimed recipients as a row to be written."""
    rows: list[Row] = []
    for number, each in enumerate(settled):
        final = each.state.final
        claim = (number, each.mail_id, each.destination, each.index, each.token)
        due = micros(each.next_attempt)
        rows.append((*claim, final, each.state.value, each.attempts, due, now, each.warned, each.reply))
        if not final:
            db.stirred = True  # others may have seen the lease's end as the next that is due
    names = [(name,) for name in {each.destination for each in settled}]
    return (*_NO_MESSAGE, json_rows(rows), json_rows(names))


def settle(db: Database, settled: Sequence[Delivery], now: int) -> list[Delivery]:
    """Write what became of claimed recipients, and return those that were not written."""
    row = settlement(db, settled, now)
    return [settled[number] for number in db.write([row], len(row[SETTLED]))]


def free_leases(db: Database, owner: str, now: int) -> None:
    """Make due what is claimed by one that is no more."""
    names = db.execute(
        "UPDATE recipient SET owner = NULL, changed = ?,"
        " next = CASE state WHEN 'queued' THEN ? ELSE next END WHERE owner = ? RETURNING destination",
        (now, now, owner),
    ).fetchall()
    refresh_destinations(db, [name for (name,) in names])
    db.execute("DELETE FROM owner WHERE name = ?", (owner,))
    db.stirred = True


def next_due(reader: Reader, busy: Collection[str]) -> int | None:
    """Return when the first recipient of a destination that is not busy comes due."""
    rows = reader.execute("SELECT name, due FROM destination ORDER BY due LIMIT ?", (len(busy) + 1,))
    return next((due for name, due in rows.fetchall() if name not in busy), None)
