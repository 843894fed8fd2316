"""LocalStorage: a directory that cannot be used, or is in use, is told at its opening."""

from __future__ import annotations

import asyncio
import errno
import os
import sys
from typing import TYPE_CHECKING, Any

import pytest
from smtpx.errors import StorageError, StorageLocked
from smtpx.storage import LocalStorage

from tests.storage.disk import POSIX

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = POSIX


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


async def test_h92_a_full_disk_keeps_no_spool_from_opening_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with LocalStorage(tmp_path):
        pass
    real = os.write

    def write_in_place_only(fd: int, octets: bytes) -> int:
        if os.fstat(fd).st_size == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(fd, octets)

    monkeypatch.setattr(os, "write", write_in_place_only)
    async with LocalStorage(tmp_path) as storage:
        assert await storage.mail_load_all() == []
