"""Leases in a SQLiteStorage: each function is a part of a transaction, or reads."""

# ruff: noqa: A001, S608 - "id" is the attribute's name; the SQL is made of our own words

from __future__ import annotations

import heapq
from collections import Counter
from typing import TYPE_CHECKING

from smtpx.delivery import Delivery, State
from smtpx.storage.sqlite_messages import end_messages, micros, moment, refresh_destinations

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from smtpx.storage.sqlite_file import Database, Reader, Row

__all__ = ["COLUMNS", "claim", "delivery", "free_leases", "next_due", "renew", "settle"]

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
_FIRST = "SELECT next FROM recipient WHERE destination = ? AND state = 'queued' ORDER BY next LIMIT 1"
_LEASE = (
    "UPDATE recipient SET next = ?, changed = ?, token = token + 1, owner = ?"
    " WHERE message = ? AND destination = ? AND place = ?"
)
_KEY, _RECIPIENTS = 12, 13  # columns


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
    after: dict[str, int] = {}
    while first and len(taken) < limit:
        _, name = heapq.heappop(first)
        # As long as nothing of another destination has waited longer.
        rows = _take(db, name, min(now, first[0][0]) if first else now, now, limit - len(taken))
        taken += rows
        db.executemany(_LEASE, [(until, now, owner, row[_KEY], name, row[1]) for row in rows])
        ((after[name],),) = db.execute(_FIRST, (name,)).fetchall()
        if rows and after[name] <= now:
            heapq.heappush(first, (after[name], name))
    db.executemany(
        "UPDATE destination SET due = ? WHERE name = ?", [(due, name) for name, due in after.items()]
    )
    return [delivery((*row[:6], until, row[7], now, *row[9:11], row[11] + 1)) for row in taken]


def _take(db: Database, destination: str, before: int, now: int, limit: int) -> list[Row]:
    """Return what is first due of a destination, a message's recipients together."""
    taken: dict[tuple[int, int], Row] = {}
    for row in db.execute(_DUE, (destination, before, limit)).fetchall():
        together = [row]
        if row[_RECIPIENTS] > 1 and (row[_KEY], row[1]) not in taken:
            together = db.execute(_REST, (row[_KEY], destination, now)).fetchall()
        for each in together:
            if len(taken) < limit:
                taken.setdefault((each[_KEY], each[1]), each)
    return list(taken.values())


_ITS_ROW = (
    " WHERE message = (SELECT key FROM message WHERE id = ?) AND destination = ? AND place = ? AND token = ?"
    " AND state IN ('queued', 'held')"
)


def renew(db: Database, claimed: Sequence[Delivery], until: int, owner: str) -> None:
    """Let leases end later."""
    db.executemany(
        f"UPDATE recipient SET next = ? {_ITS_ROW} AND owner = ?",
        [(until, each.mail_id, each.destination, each.index, each.token, owner) for each in claimed],
    )
    refresh_destinations(db, [each.destination for each in claimed])


def settle(db: Database, settled: Sequence[Delivery], now: int) -> list[Delivery]:
    """Write what became of claimed recipients, and return those that were not written."""
    lost: list[Delivery] = []
    ended: Counter[int] = Counter()
    for each in settled:
        row = db.execute(
            "UPDATE recipient SET state = CASE WHEN state = 'held' AND ?1 THEN state ELSE ?2 END,"
            f" attempts = ?3, next = ?4, changed = ?5, warned = ?6, reply = ?7, owner = NULL {_ITS_ROW}"
            " RETURNING message",
            (
                not each.state.final,
                each.state.value,
                each.attempts,
                micros(each.next_attempt),
                now,
                each.warned,
                each.reply,
                each.mail_id,
                each.destination,
                each.index,
                each.token,
            ),
        ).fetchone()
        if row is None:
            lost.append(each)
        elif each.state.final:
            ended[row[0]] += 1
        else:
            db.stirred = True  # others may have seen the lease's end as the next that is due
    end_messages(db, ended, now)
    refresh_destinations(db, [each.destination for each in settled])
    return lost


def free_leases(db: Database, owner: str, now: int) -> None:
    """Make due what is claimed by one that is no more."""
    names = db.execute(
        "UPDATE recipient SET owner = NULL, changed = ?1,"
        " next = CASE state WHEN 'queued' THEN ?1 ELSE next END WHERE owner = ?2 RETURNING destination",
        (now, owner),
    ).fetchall()
    refresh_destinations(db, [name for (name,) in names])
    db.execute("DELETE FROM owner WHERE name = ?", (owner,))
    db.stirred = True


def next_due(reader: Reader, busy: Collection[str]) -> int | None:
    """Return when the first recipient of a destination that is not busy comes due."""
    rows = reader.execute("SELECT name, due FROM destination ORDER BY due LIMIT ?", (len(busy) + 1,))
    return next((due for name, due in rows.fetchall() if name not in busy), None)
