"""LocalStorage: damaged entries are set aside, and the rest is served."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest
from smtpx.errors import MailNotFound, StorageError

from tests.storage.disk import POSIX, message, names

if TYPE_CHECKING:
    from pathlib import Path

    from smtpx.storage import LocalStorage

pytestmark = POSIX


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
