"""LocalStorage: what is on disk when, and what each fault leaves behind."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from smtpx.errors import MailNotFound, StorageError, StorageFull, StorageLocked
from smtpx.mail import MailTx
from smtpx.storage import LocalStorage, Reserving, Storage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the durability contract is POSIX")


def message(content: bytes = b"Subject: x\r\n\r\nhi\r\n", name: str = "") -> MailTx:
    return MailTx("a@b.org", ["joe@example.org"], content, id=name)


def names(directory: Path) -> list[str]:
    """Every file below the directory but the lock."""
    files = (path for path in directory.rglob("*") if path.is_file())
    return sorted(str(path.relative_to(directory)) for path in files if path.name != "lock")


@pytest.fixture
async def storage(tmp_path: Path) -> Any:
    async with LocalStorage(tmp_path, reserve=0) as storage:
        yield storage


class Disk:
    """Records fsync and rename, and fails those that a test chooses; the others are done."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
        self.steps: list[str] = []
        self.directory = directory
        self.fail_fsync: Callable[[str], int] = lambda _: 0
        self.fail_rename: Callable[[str], int] = lambda _: 0
        self.before_fsync: Callable[[str], None] = lambda _: None
        self._real = os.fsync, os.replace
        monkeypatch.setattr(os, "fsync", self._fsync)
        monkeypatch.setattr(os, "replace", self._replace)

    def _name(self, path: str | os.PathLike[str]) -> str:
        relative = Path(path).relative_to(self.directory)
        return "directory" if relative == Path() else str(relative)

    def _fsync(self, fd: int) -> None:
        name = self._name(Path(f"/proc/self/fd/{fd}").readlink())
        self.before_fsync(name)
        self.steps.append(f"fsync {name}")
        if code := self.fail_fsync(name):
            raise OSError(code, os.strerror(code))
        self._real[0](fd)

    def _replace(self, source: Path, target: Path) -> None:
        name = self._name(target)
        self.steps.append(f"rename {name}")
        if code := self.fail_rename(name):
            raise OSError(code, os.strerror(code))
        self._real[1](source, target)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch, storage: LocalStorage, tmp_path: Path) -> Disk:
    if not Path("/proc/self/fd").exists():
        pytest.skip("needs /proc to name a descriptor's file")
    return Disk(monkeypatch, tmp_path)


class Gate:
    """Holds the storage's thread at an fsync until it is opened."""

    def __init__(self, disk: Disk) -> None:
        self.reached = threading.Event()
        self.open = threading.Event()
        disk.before_fsync = self._wait

    def _wait(self, name: str) -> None:
        self.reached.set()
        assert self.open.wait(30)

    async def until_reached(self) -> None:
        assert await asyncio.to_thread(self.reached.wait, 30)


@pytest.fixture
def gate(disk: Disk) -> Iterator[Gate]:
    gate = Gate(disk)
    yield gate
    gate.open.set()


# On disk


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


# Faults


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


# Damage


@pytest.mark.parametrize("damage", [b"", b"garbage", b"\0" * 4096, b"smtpx-mail 1 9 9 0\n"])
async def test_h95_a_damaged_entry_is_quarantined_and_logged_once_and_the_rest_served(
    storage: LocalStorage, tmp_path: Path, damage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("1", "2", "3"):
        await storage.mail_save(message(name=name))
    (tmp_path / "2.mail").write_bytes(damage)
    for _ in range(2):
        assert [mail.id for mail in await storage.mail_load_all()] == ["1", "3"]
    assert names(tmp_path) == ["1.mail", "3.mail", "quarantine/2.mail"]
    assert (tmp_path / "quarantine" / "2.mail").read_bytes() == damage
    assert len([record for record in caplog.records if record.levelno == logging.ERROR]) == 1


async def test_h95_loading_a_truncated_message_says_that_it_is_damaged(
    storage: LocalStorage, tmp_path: Path
) -> None:
    await storage.mail_save(message(name="1"))
    whole = (tmp_path / "1.mail").read_bytes()
    (tmp_path / "1.mail").write_bytes(whole[:-1])
    with pytest.raises(StorageError, match="damaged"):
        await storage.mail_load("1")
    with pytest.raises(MailNotFound):
        await storage.mail_load("1")


async def test_h95_a_file_under_another_messages_name_is_damaged(
    storage: LocalStorage, tmp_path: Path
) -> None:
    await storage.mail_save(message(name="1"))
    (tmp_path / "1.mail").rename(tmp_path / "2.mail")
    assert await storage.mail_load_all() == []
    assert names(tmp_path) == ["quarantine/2.mail"]


async def test_h95_what_is_no_file_or_has_no_messages_name_is_set_aside(
    storage: LocalStorage, tmp_path: Path
) -> None:
    (tmp_path / "folder.mail").mkdir()
    (tmp_path / "a b.mail").write_bytes(b"x")
    assert await storage.mail_load_all() == []
    assert not (tmp_path / "folder.mail").exists()
    assert not (tmp_path / "a b.mail").exists()


async def test_files_of_other_names_are_left_alone(storage: LocalStorage, tmp_path: Path) -> None:
    (tmp_path / "README").write_bytes(b"x")
    assert await storage.mail_load_all() == []
    assert names(tmp_path) == ["README"]


# Opening


async def test_h88_what_a_crash_left_unfinished_is_removed_at_opening(tmp_path: Path) -> None:
    (tmp_path / ".1.tmp").write_bytes(b"half a mess")
    async with LocalStorage(tmp_path) as storage:
        assert names(tmp_path) == []
        assert await storage.mail_load_all() == []


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


async def test_h96_a_missing_directory_is_told_with_the_mend(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="mkdir -m 700"):
        await LocalStorage(tmp_path / "none").open()


async def test_h96_a_file_in_place_of_the_directory_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="no directory"):
        await LocalStorage(tmp_path / "file").open()


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES])
async def test_h96_a_directory_that_cannot_be_written_is_told_with_the_mend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    real = os.open

    def read_only(path: Any, flags: int, *mode: int) -> int:
        if flags & os.O_CREAT:
            raise OSError(code, os.strerror(code))
        return real(path, flags, *mode)

    monkeypatch.setattr(os, "open", read_only)
    with pytest.raises(StorageError, match="let this process write"):
        await LocalStorage(tmp_path).open()


async def test_h96_somebody_elses_directory_is_told_with_the_mend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: other)
    with pytest.raises(StorageError, match="chown"):
        await LocalStorage(tmp_path).open()


async def test_h97_a_directory_in_use_is_refused_with_the_process_that_has_it(tmp_path: Path) -> None:
    async with LocalStorage(tmp_path):
        with pytest.raises(StorageLocked, match=rf"process {os.getpid()}.*stop it"):
            await LocalStorage(tmp_path).open()
    async with LocalStorage(tmp_path):
        pass


async def test_h97_another_process_is_refused(storage: LocalStorage, tmp_path: Path) -> None:
    code = """
import asyncio, sys
from smtpx import LocalStorage, StorageLocked
try:
    asyncio.run(LocalStorage(sys.argv[1]).open())
except StorageLocked:
    sys.exit(17)
"""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, str(tmp_path))
    assert await process.wait() == 17


def test_h97_a_killed_process_leaves_the_directory_free(tmp_path: Path) -> None:
    code = """
import asyncio, os, signal, sys
from smtpx import LocalStorage, MailTx
async def main():
    storage = LocalStorage(sys.argv[1], reserve=0)
    await storage.mail_save(MailTx("a@b.org", ["joe@example.org"], b"x", id="1"))
    os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(main())
"""
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False).returncode == -9

    async def reopen() -> list[str]:
        async with LocalStorage(tmp_path) as storage:
            return [mail.id for mail in await storage.mail_load_all()]

    assert asyncio.run(reopen()) == ["1"]


def test_several_event_loops_may_use_one_storage(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path, reserve=0)
    asyncio.run(storage.mail_save(message(name="1")))
    asyncio.run(storage.mail_save(message(name="2")))
    assert [mail.id for mail in asyncio.run(storage.mail_load_all())] == ["1", "2"]
    asyncio.run(storage.close())


KILLED_AT_A_STEP = """
import asyncio, os, signal, sys
from smtpx import LocalStorage, MailTx

step = int(sys.argv[2])

def counted(call):
    def wrapper(*arguments, **keywords):
        global step
        step -= 1
        if step == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*arguments, **keywords)
    return wrapper

async def save(storage, name):
    await storage.mail_save(MailTx("a@b.org", ["joe@example.org"], b"x" * 9000, id=name))
    print(name, flush=True)

async def main():
    async with LocalStorage(sys.argv[1], reserve=0) as storage:
        for name in ("open", "write", "fsync", "close", "replace"):
            setattr(os, name, counted(getattr(os, name)))
        await asyncio.gather(save(storage, "1"), save(storage, "2"))
        os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


@pytest.mark.parametrize("step", range(1, 16))
async def test_h88_killed_at_any_step_every_acknowledged_message_is_there_once_and_whole(
    tmp_path: Path, step: int
) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", KILLED_AT_A_STEP, str(tmp_path), str(step), stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    assert process.returncode == -9
    async with LocalStorage(tmp_path) as storage:
        found = [mail.id for mail in await storage.mail_load_all()]
        assert all([(await storage.mail_load(name)).data == b"x" * 9000 for name in found])
    assert set(output.decode().split()) <= set(found) <= {"1", "2"}
    assert names(tmp_path) == [f"{name}.mail" for name in found]
    if step == 15:  # past the last step: both were acknowledged
        assert output.decode().split() == ["1", "2"]
