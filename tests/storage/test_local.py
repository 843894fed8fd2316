"""LocalStorage: what is on disk when, whatever is cancelled or closed meanwhile."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path

import pytest
from smtpx.errors import StorageError
from smtpx.storage import LocalStorage, Reserving, Storage

from tests.storage.disk import POSIX, Disk, Gate, message, names

pytestmark = POSIX


def test_it_is_a_storage_that_knows_its_room() -> None:
    storage: Storage = LocalStorage()
    assert isinstance(storage, Reserving)


@pytest.mark.parametrize("arguments", [(), ("",)])
def test_the_default_directory_is_the_spool_of_the_system(arguments: tuple[str, ...]) -> None:
    assert LocalStorage(*arguments).directory == Path("/var/spool/smtp")


async def test_h88_a_save_returns_after_the_file_its_name_and_the_directory_are_synced(
    storage: LocalStorage, disk: Disk
) -> None:
    await storage.mail_save(message(name="1"))
    assert disk.steps == ["fsync .1.tmp", "rename 1.mail", "fsync directory"]


async def test_h90_a_bounce_syncs_both_directories_the_new_place_first(
    storage: LocalStorage, disk: Disk
) -> None:
    await storage.mail_save(message(name="1"))
    disk.steps.clear()
    await storage.mail_bounce("1")
    assert disk.steps == ["rename bounce/1.mail", "fsync bounce", "fsync directory"]


async def test_h90_a_delete_syncs_the_directory(storage: LocalStorage, disk: Disk) -> None:
    await storage.mail_save(message(name="1"))
    disk.steps.clear()
    await storage.mail_delete("1")
    assert disk.steps == ["fsync directory"]


async def test_saves_that_wait_at_the_same_time_share_one_sync_of_the_directory(
    storage: LocalStorage, disk: Disk, gate: Gate
) -> None:
    first = asyncio.create_task(storage.mail_save(message()))
    await gate.until_reached()
    others = [asyncio.create_task(storage.mail_save(message())) for _ in range(10)]
    await asyncio.sleep(0)  # each has put its job into the queue
    gate.open.set()
    await asyncio.gather(first, *others)
    assert disk.steps.count("fsync directory") == 2
    assert len([step for step in disk.steps if step.startswith("rename")]) == 11


async def test_the_loop_runs_while_the_disk_is_slow(storage: LocalStorage, gate: Gate) -> None:
    save = asyncio.create_task(storage.mail_save(message()))
    await gate.until_reached()  # the loop waits for this, so it runs; the save cannot be done
    assert not save.done()
    gate.open.set()
    await save


async def test_files_are_for_their_owner_only(storage: LocalStorage, tmp_path: Path) -> None:
    await storage.mail_save(message(name="1"))
    assert stat.S_IMODE((tmp_path / "1.mail").stat().st_mode) == 0o600
    assert {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("bounce", "quarantine")} == {0o700}


async def test_a_bounced_message_is_in_the_bounce_directory(storage: LocalStorage, tmp_path: Path) -> None:
    await storage.mail_save(message(name="1"))
    content = (tmp_path / "1.mail").read_bytes()
    await storage.mail_bounce("1")
    assert names(tmp_path) == ["bounce/1.mail"]
    assert (tmp_path / "bounce" / "1.mail").read_bytes() == content


# Cancelled


async def test_a_save_cancelled_before_it_begins_is_not_done(
    storage: LocalStorage, gate: Gate, tmp_path: Path
) -> None:
    first = asyncio.create_task(storage.mail_save(message(name="1")))
    await gate.until_reached()
    waiting = asyncio.create_task(storage.mail_save(message(name="2")))
    await asyncio.sleep(0)
    waiting.cancel()
    gate.open.set()
    await asyncio.gather(first, waiting, return_exceptions=True)
    await storage.close()
    assert names(tmp_path) == ["1.mail"]


async def test_a_save_cancelled_in_the_middle_is_finished(
    storage: LocalStorage, gate: Gate, tmp_path: Path
) -> None:
    mail = message(name="1")
    save = asyncio.create_task(storage.mail_save(mail))
    await gate.until_reached()
    save.cancel()
    await asyncio.gather(save, return_exceptions=True)
    mail.reset()  # what the caller does with its message then does not tear the file
    gate.open.set()
    await storage.close()
    await storage.open()
    assert await storage.mail_load("1") == message(name="1")


# Its life


async def test_it_opens_at_its_first_use(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path, reserve=0)
    await storage.mail_save(message(name="1"))
    assert (await storage.mail_load("1")).id == "1"
    await storage.close()


async def test_a_closed_storage_is_not_used_by_accident(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path)
    async with storage:
        pass
    for attempt in (storage.mail_save(message()), storage.mail_load("1"), storage.mail_load_all()):
        with pytest.raises(StorageError, match="closed"):
            await attempt
    await storage.close()
    async with storage:
        assert await storage.mail_load_all() == []


async def test_closing_finishes_what_was_begun(storage: LocalStorage, gate: Gate, tmp_path: Path) -> None:
    saves = [asyncio.create_task(storage.mail_save(message())) for _ in range(3)]
    await gate.until_reached()
    closing = asyncio.create_task(storage.close())
    await asyncio.sleep(0)
    gate.open.set()
    await asyncio.gather(closing, *saves)
    assert len(names(tmp_path)) == 3


def test_several_event_loops_may_use_one_storage(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path, reserve=0)
    asyncio.run(storage.mail_save(message(name="1")))
    asyncio.run(storage.mail_save(message(name="2")))
    assert [mail.id for mail in asyncio.run(storage.mail_load_all())] == ["1", "2"]
    asyncio.run(storage.close())
