"""Delivery into Maildirs: where, under which name, once, and what a full or failing disk leaves behind."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from smtpx.maildir import MaildirTransport

from tests.maildirs import CONTENT, JOE, deliveries, files, message, told
from tests.storage.disk import POSIX, Disk

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = POSIX

NAME = "1767323045.id-1.0"
DELIVERED = {JOE: "accepted 250 2.0.0"}
FULL = {JOE: "temporary 452 4.3.1"}
FAILED = {JOE: "temporary 451 4.3.0"}


@pytest.fixture
async def transport(tmp_path: Path) -> AsyncIterator[MaildirTransport]:
    async with MaildirTransport(f"{tmp_path}/{{domain}}/{{local}}") as transport:
        yield transport


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Disk:
    if not Path("/proc/self/fd").exists():
        pytest.skip("needs /proc to name a descriptor's file")
    return Disk(monkeypatch, tmp_path)


async def deliver(transport: MaildirTransport, *, token: int = 1, name: str = "id-1") -> dict[str, str]:
    mail = message(name=name)
    return told(await transport.deliver(mail, deliveries(mail, token=token)))


# Where and what


async def test_a_message_is_a_file_in_new(transport: MaildirTransport, tmp_path: Path) -> None:
    assert await deliver(transport) == DELIVERED
    assert files(tmp_path) == [f"example.org/joe/new/{NAME}"]
    kept = (tmp_path / "example.org" / "joe" / "new" / NAME).read_bytes()
    assert kept == b"Return-Path: <a@b.org>\nDelivered-To: joe@example.org\nSubject: x\n\nhi\n"


async def test_pythons_own_mailbox_reads_it(transport: MaildirTransport, tmp_path: Path) -> None:
    import mailbox

    await deliver(transport)
    (read,) = mailbox.Maildir(tmp_path / "example.org" / "joe", create=False)
    assert read["Subject"] == "x"
    assert read.get_payload() == "hi\n"


async def test_a_mailbox_is_made_at_its_first_message_for_its_owner_alone(
    transport: MaildirTransport, tmp_path: Path
) -> None:
    await deliver(transport)
    folder = tmp_path / "example.org" / "joe"
    made = [folder.parent, folder, *(folder / name for name in ("cur", "new", "tmp"))]
    assert {stat.S_IMODE(path.stat().st_mode) for path in made} == {0o700}
    assert stat.S_IMODE((folder / "new" / NAME).stat().st_mode) == 0o600


async def test_several_recipients_of_a_message_get_a_file_each(
    transport: MaildirTransport, tmp_path: Path
) -> None:
    mail = message(JOE, "ann@example.org", "joe+x@example.org")
    results = told(await transport.deliver(mail, deliveries(mail)))
    assert set(results.values()) == {"accepted 250 2.0.0"}
    assert [name.split("/")[1] for name in files(tmp_path)] == ["ann", "joe+x", "joe"]


async def test_whose_folder_it_is_may_be_told(tmp_path: Path) -> None:
    template = f"{tmp_path}/{{domain}}/{{local}}"
    async with MaildirTransport(template, mailbox_of=lambda address: address.replace("+x", "")) as transport:
        mail = message("joe+x@example.org")
        await transport.deliver(mail, deliveries(mail))
    kept = (tmp_path / "example.org" / "joe" / "new" / NAME).read_bytes()
    assert b"\nDelivered-To: joe+x@example.org\n" in kept


@pytest.mark.parametrize("name", ["../../../x", "a/b", ".a:2,S", "x" * 300, "ü"])
async def test_h28_no_id_leads_out_of_the_folder_or_is_taken_for_flags(
    transport: MaildirTransport, tmp_path: Path, name: str
) -> None:
    assert await deliver(transport, name=name) == DELIVERED
    (file,) = files(tmp_path)
    assert file.startswith("example.org/joe/new/1767323045.")
    assert file.count("/") == 3
    assert ":" not in file


async def test_a_message_that_goes_round_through_this_mailbox_is_refused_for_good(
    transport: MaildirTransport, tmp_path: Path
) -> None:
    mail = message(JOE, "ann@example.org", data=b"Delivered-To: Joe@example.org\r\n" + CONTENT)
    results = told(await transport.deliver(mail, deliveries(mail)))
    assert results == {JOE: "permanent 554 5.4.6", "ann@example.org": "accepted 250 2.0.0"}
    assert [name.split("/")[1] for name in files(tmp_path)] == ["ann"]


# Durably


async def test_h90_the_folders_that_are_made_are_synced_up_to_the_one_that_was_there(
    transport: MaildirTransport, disk: Disk
) -> None:
    await deliver(transport)
    assert disk.steps[:3] == ["fsync example.org/joe", "fsync example.org", "fsync directory"]


async def test_h90_a_folder_that_a_dead_process_has_made_is_synced_too(
    transport: MaildirTransport, disk: Disk, tmp_path: Path
) -> None:
    for name in ("cur", "new", "tmp"):
        (tmp_path / "example.org" / "joe" / name).mkdir(parents=True)
    await deliver(transport)
    assert disk.steps[:3] == ["fsync example.org/joe", "fsync example.org", "fsync directory"]


# Once


async def test_h89_what_was_delivered_and_not_recorded_is_not_delivered_again(
    transport: MaildirTransport, tmp_path: Path
) -> None:
    await deliver(transport)
    assert await deliver(transport, token=2) == DELIVERED
    assert files(tmp_path) == [f"example.org/joe/new/{NAME}"]


@pytest.mark.parametrize("flags", ["", ":2,", ":2,RS", ",S=60:2,S"])
async def test_h89_it_is_recognised_also_when_it_has_been_read(
    transport: MaildirTransport, tmp_path: Path, flags: str
) -> None:
    await deliver(transport)
    folder = tmp_path / "example.org" / "joe"
    (folder / "new" / NAME).rename(folder / "cur" / f"{NAME}{flags}")
    assert await deliver(transport, token=2) == DELIVERED
    assert files(tmp_path) == [f"example.org/joe/cur/{NAME}{flags}"]


async def test_h90_what_is_found_there_is_synced_before_it_counts(
    transport: MaildirTransport, disk: Disk
) -> None:
    await deliver(transport)
    disk.steps.clear()
    await deliver(transport, token=2)
    assert disk.steps == ["fsync example.org/joe/new"]


async def test_another_message_is_not_taken_for_it(transport: MaildirTransport, tmp_path: Path) -> None:
    await deliver(transport, name="id-1")
    await deliver(transport, name="id-11", token=2)
    assert len(files(tmp_path)) == 2


async def test_the_first_attempt_does_not_read_the_mailbox(
    transport: MaildirTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    await deliver(transport, name="id-0")

    def scandir(path: object) -> None:
        raise AssertionError(f"{path} is read")

    monkeypatch.setattr(os, "scandir", scandir)
    assert await deliver(transport) == DELIVERED


# Rubbish


async def test_files_in_tmp_go_after_36_hours(transport: MaildirTransport, tmp_path: Path) -> None:
    folder = tmp_path / "example.org" / "joe" / "tmp"
    folder.mkdir(parents=True)
    for name, age in (("old", 37), ("young", 35)):
        (folder / name).touch()
        os.utime(folder / name, (0, time.time() - age * 3600))
    await deliver(transport)
    assert files(folder) == ["young"]


# The disk says no


async def test_h91_a_mailbox_that_was_made_and_not_synced_is_no_delivery(
    transport: MaildirTransport, disk: Disk
) -> None:
    disk.fail_fsync = lambda name: errno.EIO if name == "directory" else 0
    assert await deliver(transport) == FAILED
    assert await deliver(transport, token=2) == FAILED


async def test_one_mailbox_that_fails_leaves_the_others_alone(
    transport: MaildirTransport, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "example.org").mkdir()
    (tmp_path / "example.org" / "joe").write_text("not a folder")
    mail = message(JOE, "ann@example.org")
    results = told(await transport.deliver(mail, deliveries(mail)))
    assert results == {JOE: "temporary 451 4.3.0", "ann@example.org": "accepted 250 2.0.0"}
    assert f"nothing could be delivered to {tmp_path}/example.org/joe" in caplog.text


async def test_h94_no_free_descriptor_is_452(
    transport: MaildirTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_descriptor(*_: object, **__: object) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", no_descriptor)
        assert await deliver(transport) == FULL
    assert await deliver(transport, token=2) == DELIVERED


async def test_h96_the_folder_of_all_mailboxes_is_not_made(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with MaildirTransport(f"{tmp_path}/mail/{{local}}") as transport:
        assert await deliver(transport) == FAILED
        assert f"there is no folder {tmp_path}/mail: make it, or mount it" in caplog.text
        (tmp_path / "mail").mkdir()
        assert await deliver(transport, token=2) == DELIVERED


async def test_a_mailbox_that_was_removed_is_made_again(transport: MaildirTransport, tmp_path: Path) -> None:
    import shutil

    await deliver(transport)
    shutil.rmtree(tmp_path / "example.org")
    assert await deliver(transport, name="id-2", token=2) == DELIVERED
    assert await deliver(transport, name="id-3") == DELIVERED
    assert len(files(tmp_path)) == 2


# Tasks


async def test_a_delivery_that_is_cancelled_takes_nobody_with_it(
    transport: MaildirTransport, tmp_path: Path
) -> None:
    mails = [message(name=f"id-{number}") for number in range(20)]
    tasks = [asyncio.create_task(transport.deliver(mail, deliveries(mail))) for mail in mails]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [told(result) for result in results[1::2] if not isinstance(result, BaseException)] == [
        DELIVERED
    ] * 10
    for mail in mails[::2]:  # what became of those is found out by the next attempt
        assert told(await transport.deliver(mail, deliveries(mail, token=2))) == DELIVERED
    assert len(files(tmp_path)) == 20


async def test_a_fault_of_ours_reaches_the_task_that_waits(tmp_path: Path) -> None:
    def broken(address: str) -> str:
        raise RuntimeError(address)

    async with MaildirTransport(f"{tmp_path}/{{local}}", mailbox_of=broken) as transport:
        with pytest.raises(RuntimeError, match="joe@"):
            await deliver(transport)
