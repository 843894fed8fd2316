"""What a SQLiteStorage's writer can be told in one step: views of its connection, into which it inserts.

Each statement that Python executes lets go of the interpreter's lock several times, and a busy event loop
takes it each time: a thread that writes by ten statements waits for it longer than for the disk, and holds
the loop up as often. What is done for each message is one statement, and the rest is SQLite's, in triggers.
"""

# ruff: noqa: S608 - the SQL is made of our own words

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    import apsw

__all__ = ["add_views"]

_FIRST_DUE = "SELECT next FROM recipient WHERE destination = {} AND state = 'queued' ORDER BY next LIMIT 1"

# What is written together: messages that arrive, each a row, and what became of claimed recipients, one row.
_WRITTEN = """
CREATE TEMP VIEW written AS SELECT NULL AS id, NULL AS received, NULL AS checksum, NULL AS envelope,
    NULL AS content, NULL AS destination, NULL AS address, NULL AS recipients, NULL AS attempts, NULL AS next,
    NULL AS changed, NULL AS token, NULL AS owner, NULL AS settled, NULL AS destinations
"""

# A message, in all of the tables: nearly always for one, without a look for more. Else the recipients are an
# array of [destination, address] in JSON. All are due at "next".
_ARRIVES = """
CREATE TEMP TRIGGER arrives INSTEAD OF INSERT ON written WHEN new.address IS NOT NULL BEGIN
    INSERT INTO message (id, received, size, recipients, open)
        VALUES (new.id, new.received, length(new.content), 1, 1);
    INSERT INTO body VALUES (last_insert_rowid(), new.checksum, new.envelope, new.content);
    INSERT INTO recipient (message, destination, place, address, state, attempts, next, changed, token, owner)
        VALUES (last_insert_rowid(), new.destination, 0, new.address, 'queued', new.attempts, new.next,
            new.changed, new.token, new.owner);
    INSERT INTO destination VALUES (new.destination, new.next)
        ON CONFLICT (name) DO UPDATE SET due = excluded.due WHERE excluded.due < due;
END
"""
_ARRIVES_FOR_SEVERAL = """
CREATE TEMP TRIGGER arrives_for_several INSTEAD OF INSERT ON written WHEN new.recipients IS NOT NULL BEGIN
    INSERT INTO message (id, received, size, recipients, open)
        SELECT new.id, new.received, length(new.content), count, count
        FROM (SELECT json_array_length(new.recipients) AS count);
    INSERT INTO body VALUES (last_insert_rowid(), new.checksum, new.envelope, new.content);
    INSERT INTO recipient (message, destination, place, address, state, attempts, next, changed, token, owner)
        SELECT last_insert_rowid(), json_extract(value, '$[0]'), key, json_extract(value, '$[1]'), 'queued',
            new.attempts, new.next, new.changed, new.token, new.owner
        FROM json_each(new.recipients);
    INSERT INTO destination
        SELECT DISTINCT json_extract(value, '$[0]'), new.next FROM json_each(new.recipients) WHERE TRUE
        ON CONFLICT (name) DO UPDATE SET due = excluded.due WHERE excluded.due < due;
END
"""

# A destination, the first of whose recipients may be due at another moment than before.
_REFRESHED = (
    "CREATE TEMP VIEW refreshed AS SELECT NULL AS name",
    f"""
CREATE TEMP TRIGGER refreshes INSTEAD OF INSERT ON refreshed BEGIN
    INSERT INTO destination
        SELECT new.name, due FROM (SELECT ({_FIRST_DUE.format("new.name")}) AS due) WHERE due IS NOT NULL
        ON CONFLICT (name) DO UPDATE SET due = excluded.due WHERE due <> excluded.due;
    DELETE FROM destination
        WHERE name = new.name AND NOT EXISTS ({_FIRST_DUE.format("new.name")});
END
""",
)

# Of a message "count" recipients became final at "now". Once all are, its content goes, unless one bounced.
_ENDED = (
    "CREATE TEMP VIEW ended AS SELECT NULL AS key, NULL AS count, NULL AS now",
    """
CREATE TEMP TRIGGER ends INSTEAD OF INSERT ON ended BEGIN
    UPDATE message SET open = open - new.count, finished = CASE open WHEN new.count THEN new.now END
        WHERE key = new.key;
    DELETE FROM body WHERE message = new.key
        AND EXISTS (SELECT 1 FROM message WHERE key = new.key AND finished IS NOT NULL)
        AND NOT EXISTS (SELECT 1 FROM recipient WHERE message = new.key AND state = 'bounced');
END
""",
)

# What became of a claimed recipient. unsettled() is told of one that is claimed by another, or final.
_SETTLED = (
    """
CREATE TEMP VIEW settled AS SELECT NULL AS number, NULL AS id, NULL AS destination, NULL AS place,
    NULL AS token, NULL AS final, NULL AS state, NULL AS attempts, NULL AS next, NULL AS changed,
    NULL AS warned, NULL AS reply
""",
    """
CREATE TEMP TRIGGER settles INSTEAD OF INSERT ON settled BEGIN
    UPDATE recipient SET
        state = CASE WHEN state = 'held' AND NOT new.final THEN 'held' ELSE new.state END,
        attempts = new.attempts, next = new.next, changed = new.changed, warned = new.warned,
        reply = new.reply, owner = NULL
        WHERE message = (SELECT key FROM message WHERE id = new.id) AND destination = new.destination
        AND place = new.place AND token = new.token AND state IN ('queued', 'held');
    SELECT unsettled(new.number) WHERE changes() = 0;
    INSERT INTO ended SELECT key, 1, new.changed FROM message
        WHERE id = new.id AND new.final AND changes() = 1;
END
""",
)

# Many of them, arrays of arrays in JSON: rows of "settled", and of "refreshed" their destinations, each once.
_SETTLES_ALL = f"""
CREATE TEMP TRIGGER settles_all INSTEAD OF INSERT ON written WHEN new.settled IS NOT NULL BEGIN
    INSERT INTO settled SELECT {", ".join(f"json_extract(value, '$[{column}]')" for column in range(12))}
        FROM json_each(new.settled);
    INSERT INTO refreshed SELECT json_extract(value, '$[0]') FROM json_each(new.destinations);
END
"""


def add_views(connection: apsw.Connection, unsettled: Callable[..., None]) -> None:
    """Give the connection the views ``written``, ``refreshed`` and ``ended``, and what their triggers need.

    A row of ``written`` that is all NULL is nothing.

    Args:
        connection: with the tables.
        unsettled: is called with the number of each row of a settlement that was not written.

    """
    connection.create_scalar_function("unsettled", unsettled, 1)
    for statement in (
        _WRITTEN,
        _ARRIVES,
        _ARRIVES_FOR_SEVERAL,
        *_REFRESHED,
        *_ENDED,
        *_SETTLED,
        _SETTLES_ALL,
    ):
        connection.execute(statement)
