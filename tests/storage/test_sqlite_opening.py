"""SQLiteStorage: what it says of a file that it cannot use, and how older ones are brought up to date."""

from __future__ import annotations

import os
import shutil
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import apsw
import pytest
from smtpx import SQLiteStorage
from smtpx.errors import StorageError, StorageFull
from smtpx.storage import sqlite_file, sqlite_schema

from tests.queue_storages import saved, states
from tests.storage.disk import POSIX, message

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = POSIX

_DAMAGED = r"is damaged .*keep a copy .*sqlite3 .* \.recover"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "queue.db"


def alter(path: Path, *statements: str) -> None:
    with closing(apsw.Connection(str(path))) as connection:
        for statement in statements:
            connection.execute(statement)


def overwrite(path: Path, octets: bytes, at: int = 0) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(octets)


def make_folder(path: Path) -> None:
    path.mkdir()


def cut(path: Path) -> None:
    """Leave half of it."""
    os.truncate(path, path.stat().st_size // 2 // 4096 * 4096)


async def fill(path: Path, messages: int = 50) -> None:
    async with SQLiteStorage(path, reserve=0) as queue:
        for _ in range(messages):
            await saved(queue, content=bytes(3000))


async def refused(path: Path, match: str) -> StorageError:
    with pytest.raises(StorageError, match=match) as caught:
        await SQLiteStorage(path, reserve=0).open()
    return caught.value


async def test_h96_a_missing_directory_is_named_with_the_mend(tmp_path: Path) -> None:
    await refused(tmp_path / "none" / "queue.db", "directory of the queue .*none is missing: make it")


async def test_h96_a_directory_of_somebody_else_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: other)
    await refused(path, "belongs to user")


async def test_h96_a_directory_in_the_place_of_the_file_is_refused(path: Path) -> None:
    make_folder(path)
    await refused(path, "cannot be opened")


async def test_a_file_of_something_else_is_refused_and_left_as_it_is(path: Path) -> None:
    alter(path, "CREATE TABLE mine (x)")
    await refused(path, "something else: name another file")
    overwrite(path, b"From joe Fri Jan  2 03:04:05 2026\n" * 400)
    await refused(path, "is damaged .*file is not a database")


async def test_a_file_of_a_later_version_is_refused_with_what_to_do(path: Path) -> None:
    await fill(path)
    alter(path, "PRAGMA user_version = 99")
    await refused(path, "version 99 .*install that smtpx again")


async def test_an_empty_file_that_a_crash_left_becomes_a_queue(path: Path) -> None:
    os.close(os.open(path, os.O_CREAT, 0o600))
    await fill(path)


async def test_tables_of_an_older_version_are_brought_up_to_date_with_all_that_is_in_them(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(path, 3)
    later = [
        *sqlite_schema.MIGRATIONS,
        "ALTER TABLE message ADD COLUMN note TEXT; CREATE INDEX n ON message (note)",
    ]
    monkeypatch.setattr(sqlite_schema, "MIGRATIONS", later)
    async with SQLiteStorage(path, reserve=0) as queue:
        assert len(await queue.mail_load_all()) == 3
    with closing(apsw.Connection(str(path))) as connection:
        assert connection.execute("SELECT note FROM message").fetchall() == [(None,)] * 3
        assert connection.execute("PRAGMA user_version").fetchone() == (len(later),)


async def test_a_migration_that_fails_leaves_the_file_as_it_was(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(path, 3)
    with monkeypatch.context() as patch:
        broken = [*sqlite_schema.MIGRATIONS, "CREATE TABLE added (x); CREATE TABLE message (x)"]
        patch.setattr(sqlite_schema, "MIGRATIONS", broken)
        await refused(path, "message already exists")
    async with SQLiteStorage(path, reserve=0) as queue:
        assert len(await queue.mail_load_all()) == 3


# Damage


@pytest.mark.parametrize("checked_whole", [True, False])
async def test_h95_a_file_whose_tables_are_damaged_is_refused_with_what_to_do(
    path: Path, monkeypatch: pytest.MonkeyPatch, checked_whole: bool
) -> None:
    await fill(path)
    if not checked_whole:
        monkeypatch.setattr(sqlite_file, "_CHECKED_WHOLE", 0)
    overwrite(path, bytes(36864), at=4096)
    await refused(path, _DAMAGED)


async def test_h95_text_that_is_none_is_damage_too(path: Path) -> None:
    await fill(path, 1)
    async with SQLiteStorage(path, reserve=0) as queue:
        alter(path, "UPDATE recipient SET address = CAST(x'6aff' AS TEXT)")
        with pytest.raises(StorageError, match=_DAMAGED):
            await queue.deliveries()
        with pytest.raises(StorageError, match=_DAMAGED):
            await queue.claim(datetime.now(UTC), timedelta(minutes=5), 10)


async def test_h95_a_file_that_was_cut_short_is_refused(path: Path) -> None:
    await fill(path)
    cut(path)
    await refused(path, "is damaged")


async def test_h95_a_message_that_is_damaged_is_held_and_the_others_are_served(path: Path) -> None:
    await fill(path, 2)
    async with SQLiteStorage(path, reserve=0) as queue:
        broken = await saved(queue)
        alter(path, "UPDATE body SET content = x'00' WHERE message = 3")
        with pytest.raises(StorageError, match="is damaged and held: the checksum does not match"):
            await queue.mail_load(broken.id)
        assert [state.value for state in (await states(queue, broken)).values()] == ["held"]
        assert len(await queue.mail_load_all()) == 2
        assert [fault for fault in (await queue.audit()).faults if broken.id in fault] != []


# The ledger finds what no storage may do


FAULTS = {
    "UPDATE message SET recipients = 2": "has 2 recipients, and 1 records of them",
    "DELETE FROM recipient": "has 1 recipients, and 0 records of them",
    "UPDATE recipient SET place = 1": "has 1 recipients, and 1 records of them",
    "UPDATE message SET id = 'another'": "message another: its envelope is of ",
    "UPDATE message SET open = 0": "1 recipients wait, and 0 are counted",
    "UPDATE message SET finished = 1": "is marked as done with",
    "UPDATE recipient SET state = 'delivered'": "not marked as done with",
    "DELETE FROM body": "its content is missing",
    "UPDATE recipient SET state = 'lost'": "is in no state: lost",
    "DELETE FROM message": "recipients without their message",
    "DELETE FROM message WHERE key = 1 ": "content without its message",
    "UPDATE destination SET due = 7": "is due at",
    "DELETE FROM destination": "the list of destinations has nothing",
    "INSERT INTO destination VALUES ('x.example', 7)": "nothing is queued for it",
    "UPDATE body SET checksum = 7": "the checksum does not match",
    "UPDATE message SET finished = 1, open = 0": "is done with, and its content was left behind",
}


@pytest.mark.parametrize(("statement", "fault"), FAULTS.items(), ids=list(FAULTS.values()))
async def test_the_ledger_names_what_is_not_as_it_must_be(path: Path, statement: str, fault: str) -> None:
    async with SQLiteStorage(path, reserve=0) as queue:
        await saved(queue)
        if "left behind" in fault:
            alter(path, "UPDATE recipient SET state = 'delivered'")
        alter(path, statement)
        faults = (await queue.audit()).faults
        assert any(fault in line for line in faults), faults


async def test_the_ledger_has_sqlites_own_check_of_the_file(path: Path) -> None:
    async with SQLiteStorage(path, reserve=0) as queue:
        await saved(queue)
        alter(
            path,
            "PRAGMA writable_schema = ON",
            "UPDATE sqlite_schema SET sql = replace(sql, 'NOT NULL', 'NULL') WHERE name = 'message_finished'",
        )
    async with SQLiteStorage(path, reserve=0) as queue:
        assert any("missing from index message_finished" in fault for fault in (await queue.audit()).faults)


# No descriptor


async def test_h94_no_free_descriptor_at_opening_is_452_and_it_opens_later(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = SQLiteStorage(path, reserve=0)
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", lambda *_: (_ for _ in ()).throw(OSError(24, "Too many open files")))
        with pytest.raises(StorageFull):
            await queue.open()
    await queue.mail_save(message())
    await queue.close()


async def test_a_directory_that_vanished_is_an_error(tmp_path: Path) -> None:
    folder = tmp_path / "queue"
    folder.mkdir()
    queue = SQLiteStorage(folder / "queue.db", reserve=0)
    async with queue:
        shutil.rmtree(folder)
        with pytest.raises(StorageError):
            await queue.mail_save(message())
