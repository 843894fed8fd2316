"""LocalStorage: what a full, failing or vanished disk leaves behind."""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from smtpx.errors import MailNotFound, StorageError, StorageFull
from smtpx.storage import LocalStorage

from tests.storage.disk import POSIX, Disk, Gate, message, names

pytestmark = POSIX


@pytest.mark.parametrize("failing", [".1.tmp", "directory"])
async def test_h91_a_failed_fsync_is_not_retried_and_the_file_is_quarantined(
    storage: LocalStorage, disk: Disk, tmp_path: Path, failing: str
) -> None:
    disk.fail_fsync = lambda name: errno.EIO if name == failing else 0
    with pytest.raises(StorageError) as caught:
        await storage.mail_save(message(name="1"))
    assert (caught.value.code, caught.value.enhanced) == (451, "4.3.0")
    assert disk.steps.count(f"fsync {failing}") == 1
    assert names(tmp_path) == ["quarantine/1.mail"]
    assert await storage.mail_load_all() == []


async def test_h91_one_failed_fsync_fails_its_own_message_only(
    storage: LocalStorage, disk: Disk, gate: Gate, tmp_path: Path
) -> None:
    disk.fail_fsync = lambda name: errno.EIO if name == ".bad.tmp" else 0
    first = asyncio.create_task(storage.mail_save(message()))
    await gate.until_reached()
    batch = [asyncio.create_task(storage.mail_save(message(name=name))) for name in ("good", "bad", "fine")]
    await asyncio.sleep(0)
    gate.open.set()
    results = await asyncio.gather(*batch, return_exceptions=True)
    await first
    assert [type(result) for result in results] == [type(None), StorageError, type(None)]
    assert {"good.mail", "fine.mail", "quarantine/bad.mail"} < set(names(tmp_path))


async def test_h91_a_failed_directory_sync_fails_the_whole_batch_and_nothing_of_it_is_served(
    storage: LocalStorage, disk: Disk, gate: Gate
) -> None:
    first = asyncio.create_task(storage.mail_save(message(name="first")))
    await gate.until_reached()
    batch = [asyncio.create_task(storage.mail_save(message())) for _ in range(3)]
    await asyncio.sleep(0)
    seen = 0

    def second_time(name: str) -> int:
        nonlocal seen
        seen += name == "directory"
        return errno.EIO if seen == 2 else 0

    disk.fail_fsync = second_time
    gate.open.set()
    results = await asyncio.gather(first, *batch, return_exceptions=True)
    assert [type(result) for result in results] == [type(None), *[StorageError] * 3]
    assert [mail.id for mail in await storage.mail_load_all()] == ["first"]


async def test_h91_a_message_saved_before_is_not_lost_when_its_update_cannot_be_synced(
    storage: LocalStorage, disk: Disk
) -> None:
    mail = message(name="1")
    await storage.mail_save(mail)
    disk.fail_fsync = lambda name: errno.EIO if name == "directory" else 0
    mail.retry = 1
    with pytest.raises(StorageError):
        await storage.mail_save(mail)
    assert [loaded.id for loaded in await storage.mail_load_all()] == ["1"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("failing", [".1.tmp", "directory", "rename"])
async def test_h92_a_full_disk_is_452_and_leaves_nothing_behind(
    storage: LocalStorage, disk: Disk, tmp_path: Path, code: int, failing: str
) -> None:
    disk.fail_fsync = lambda name: code if name == failing else 0
    disk.fail_rename = lambda _: code if failing == "rename" else 0
    with pytest.raises(StorageFull) as caught:
        await storage.mail_save(message(name="1"))
    assert (caught.value.code, caught.value.enhanced) == (452, "4.3.1")
    assert names(tmp_path) == []


async def test_h92_a_disk_that_fills_up_in_the_middle_of_a_file_leaves_nothing_behind(
    storage: LocalStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write

    def write(fd: int, octets: memoryview) -> int:
        if len(octets) > 4000:
            return real(fd, octets[:4000])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", write)
        with pytest.raises(StorageFull):
            await storage.mail_save(message(b"x" * 10_000))
    assert names(tmp_path) == []
    await storage.mail_save(message(name="2"))  # it goes on
    assert names(tmp_path) == ["2.mail"]


async def test_a_write_that_takes_a_part_only_is_gone_on_with(
    storage: LocalStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, octets: real(fd, octets[:7]))
    mail = message(b"x" * 1000)
    await storage.mail_save(mail)
    assert await storage.mail_load(mail.id) == mail


async def test_h92_under_the_reserve_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = SimpleNamespace(free=100_000)
    monkeypatch.setattr("smtpx.storage.spool.shutil.disk_usage", lambda _: usage)
    async with LocalStorage(tmp_path, reserve=90_000) as storage:
        assert storage.has_room(10_000)
        assert not storage.has_room(10_001)
        with pytest.raises(StorageFull):
            await storage.mail_save(message(b"x" * 10_001))
        assert names(tmp_path) == []
        await storage.mail_save(message(b"x" * 100))


async def test_h94_no_free_descriptor_is_452_and_the_storage_goes_on(
    storage: LocalStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_descriptor(*_: object, **__: object) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", no_descriptor)
        with pytest.raises(StorageFull):
            await storage.mail_save(message())
    await storage.mail_save(message(name="2"))
    assert names(tmp_path) == ["2.mail"]


async def test_h94_no_free_descriptor_at_reading_quarantines_nothing(
    storage: LocalStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_descriptor(*_: object, **__: object) -> Any:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    await storage.mail_save(message(name="1"))
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", no_descriptor)
        with pytest.raises(StorageFull):
            await storage.mail_load("1")
    assert names(tmp_path) == ["1.mail"]


async def test_a_directory_that_vanished_is_an_error_and_not_a_missing_message(tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    spool.mkdir()
    async with LocalStorage(spool, reserve=0) as storage:
        for path in (spool / "bounce", spool / "quarantine"):
            path.rmdir()
        (spool / "lock").unlink()
        spool.rmdir()
        with pytest.raises(StorageError) as caught:
            await storage.mail_save(message())
        assert not isinstance(caught.value, MailNotFound)
