"""LocalStorage: what a killed process leaves behind."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from smtpx.storage import LocalStorage

from tests.storage.disk import POSIX, names

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = POSIX


async def test_h88_what_a_crash_left_unfinished_is_removed_at_opening(tmp_path: Path) -> None:
    (tmp_path / ".1.tmp").write_bytes(b"half a mess")
    async with LocalStorage(tmp_path) as storage:
        assert names(tmp_path) == []
        assert await storage.mail_load_all() == []


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
