"""What an operator asks of a SQLiteStorage, and what changes many recipients at once."""

# ruff: noqa: A001, S608 - "id" is the attribute's name; the SQL is made of our own words

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from smtpx.delivery import State
from smtpx.storage.base import QueueStats
from smtpx.storage.sqlite_claims import COLUMNS, delivery
from smtpx.storage.sqlite_messages import end_messages, moment, refresh_destinations

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from smtpx.delivery import Delivery
    from smtpx.storage.sqlite_file import Database, Reader, Row

__all__ = ["bring_forward", "change_held", "change_messages", "change_queued", "deliveries", "stats", "step"]

_STEP = 1000
"""How many recipients one transaction changes where it could be a million: the saves wait for it."""
_SHOWN = 20  # destinations

_SOME = "SELECT message, destination, place, state FROM recipient WHERE "
_IS_GIVEN = (
    "FROM given WHERE recipient.message = given.message AND recipient.destination = given.destination"
    " AND recipient.place = given.place"
)
_POSTPONE = (
    "WITH given (next, message, destination, place) AS (VALUES ?)"
    f" UPDATE recipient SET next = given.next {_IS_GIVEN}"
)
_OF = " AND (:address IS NULL OR address = :address COLLATE NOCASE)"
# An attempt that is under way is left to itself: a second one beside it would be a second copy.
_WAITS = "(owner IS NULL OR next <= :now)"


def step(db: Database, start: str, change: Callable[[Database, str, int], int]) -> tuple[int, str | None]:
    """Change up to a step's worth of recipients, destination by destination in the order of their names.

    Args:
        db: within a transaction.
        start: the destination to go on with.
        change: takes a destination and a limit, and returns how many it changed.

    Returns:
        how many that were, and the destination to go on with; None at the end.

    """
    done = 0
    names = db.execute(
        "SELECT name FROM destination WHERE name >= ? ORDER BY name LIMIT 100", (start,)
    ).fetchall()
    for (name,) in names:
        done += change(db, name, _STEP - done)
        if done >= _STEP:
            return done, name
    return done, f"{names[-1][0]}\0" if len(names) == 100 else None


def bring_forward(db: Database, destination: str, latest: int, limit: int) -> int:
    """Let nothing of the destination be due later, and return how many recipients that changed."""
    rows = db.execute(
        "SELECT message, destination, place FROM recipient"
        " WHERE destination = ? AND state = 'queued' AND next > ? LIMIT ?",
        (destination, latest, limit),
    ).fetchall()
    if rows:
        db.execute_many(_POSTPONE, [(latest, *row) for row in rows])
        refresh_destinations(db, [destination])
        db.stirred = True
    return len(rows)


def change_queued(
    db: Database, destination: str, state: State, address: str | None, now: int, limit: int
) -> int:
    """Do as an operator says with what is queued for a destination."""
    where = "destination = :destination AND state = 'queued'" + _OF
    if state is State.QUEUED:
        where += f" AND next > :now AND {_WAITS}"
    values = {"destination": destination, "address": address, "now": now, "limit": limit}
    return _change(db, db.execute(f"{_SOME} {where} LIMIT :limit", values).fetchall(), state, now)


def change_held(db: Database, state: State, address: str | None, now: int) -> int:
    """Do as an operator says with some of what is held: 0 once there is no more."""
    values = {"address": address, "limit": _STEP}
    return _change(
        db, db.execute(f"{_SOME} state = 'held' {_OF} LIMIT :limit", values).fetchall(), state, now
    )


def change_messages(
    db: Database,
    ids: Collection[str],
    state: State,
    address: str | None,
    now: int,
    of: Collection[State],
) -> int:
    """Do as an operator says with what is queued or held of these messages."""
    states = ", ".join(f"'{each.value}'" for each in of if not each.final)
    where = f"message = (SELECT key FROM message WHERE id = :id) AND state IN ({states}) {_OF}"
    if state is State.QUEUED:
        where += f" AND (state = 'held' OR next > :now AND {_WAITS})"
    if state is State.HELD:
        where += " AND state = 'queued'"
    rows: list[Row] = []
    for id in ids:
        rows += db.execute(f"{_SOME} {where}", {"id": id, "address": address, "now": now}).fetchall()
    return _change(db, rows, state, now)


def _change(db: Database, rows: list[Row], state: State, now: int) -> int:
    # Who holds the lease of what is held or released meanwhile keeps it, and says in the end what came of it.
    waits = _WAITS.replace(":now", "now")
    owner = "NULL" if state.final else f"CASE WHEN {waits} THEN NULL ELSE owner END"
    due = f"CASE WHEN {waits} THEN now ELSE next END" if state is State.QUEUED else "next"
    db.execute_many(
        "WITH given (state, now, message, destination, place) AS (VALUES ?) UPDATE recipient"
        f" SET state = given.state, next = {due}, owner = {owner}, changed = now {_IS_GIVEN}",
        [(state.value, now, *row[:3]) for row in rows],
    )
    if state.final:
        end_messages(db, Counter(row[0] for row in rows), now)
    refresh_destinations(db, [row[1] for row in rows])
    db.stirred = db.stirred or (state is State.QUEUED and bool(rows))
    return len(rows)


def deliveries(
    reader: Reader,
    mail_id: str | None,
    states: Collection[State] | None,
    destination: str | None,
    limit: int,
) -> list[Delivery]:
    """Return records, oldest message first, see `QueueStorage.deliveries`."""
    where: list[str] = []
    values: list[Any] = []
    if mail_id is not None:
        where.append("message = (SELECT key FROM message WHERE id = ?)")
        values.append(mail_id)
    if states is not None:
        where.append(f"state IN ({', '.join('?' * len(states))})")
        values += [state.value for state in states]
    if destination is not None:
        where.append("destination = ?")
        values.append(destination)
    rows = reader.execute(
        f"SELECT {COLUMNS} FROM recipient JOIN message ON key = message WHERE {' AND '.join(where) or 'TRUE'}"
        " ORDER BY message, place LIMIT ?",
        (*values, limit),
    )
    return [delivery(row) for row in rows.fetchall()]


def stats(reader: Reader, now: int) -> QueueStats:
    """Return the queue at a glance, see `QueueStorage.stats`."""
    with reader.snapshot():
        counts: dict[str, int] = dict(
            reader.execute("SELECT state, count(*) FROM recipient GROUP BY state").fetchall()
        )
        messages, octets, oldest = reader.execute(
            "SELECT count(*), ifnull(sum(size), 0), min(received) FROM message WHERE open > 0"
        ).fetchone()
        (due,) = reader.execute(
            "SELECT count(*) FROM recipient WHERE state = 'queued' AND next <= ?", (now,)
        ).fetchone()
        destinations = reader.execute(
            "SELECT destination, count(*) AS many FROM recipient WHERE state = 'queued'"
            " GROUP BY destination ORDER BY many DESC, destination LIMIT ?",
            (_SHOWN,),
        ).fetchall()
    return QueueStats(
        {state: counts.get(state.value, 0) for state in State},
        messages,
        octets,
        due,
        None if oldest is None else moment(oldest),
        dict(destinations),
    )
