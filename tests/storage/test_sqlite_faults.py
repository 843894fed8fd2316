"""SQLiteStorage: a failing disk and a killed process; what was said to be saved is there, once, whole."""

from __future__ import annotations

import asyncio
import random
import sys
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from smtpx import SQLiteStorage, State

from tests.storage.disk import POSIX
from tests.storage.sqlite_saver import content

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

pytestmark = POSIX

ROOT = Path(__file__).parents[2]
SAVER = (sys.executable, "-m", "tests.storage.sqlite_saver")


def told(output: bytes) -> Mapping[str, set[str]]:
    """What the program said: a set of messages for each word."""
    said: defaultdict[str, set[str]] = defaultdict(set)
    for line in output.decode().splitlines(keepends=True):
        if line.endswith("\n"):  # the last may have been cut
            word, *rest = line.split()
            said[word].add(rest[0] if rest else "")
    return said


async def check(path: Path, said: Mapping[str, set[str]]) -> None:
    """The queue is sound and has what was saved; what failed may be there too."""
    async with SQLiteStorage(path, reserve=0) as queue:
        records = {each.mail_id: each for each in await queue.deliveries(limit=1_000_000)}
        assert said["saved"] <= records.keys()
        waits = {mail.id: mail for mail in await queue.mail_load_all()}
        assert all(mail.data == content(name) for name, mail in waits.items())
        assert {name for name, each in records.items() if each.state is State.QUEUED} == waits.keys()
        assert all(records[name].state is State.DELIVERED for name in said["delivered"])
        assert (await queue.audit()).faults == []


FAULTS = [
    f"{call}:error={error}:when={when}"
    for call, error in (
        ("fdatasync,fsync", "EIO"),
        ("fdatasync,fsync", "ENOSPC"),
        ("fdatasync,fsync", "EINTR"),
        ("pwrite64,write", "EIO"),
        ("pwrite64,write", "ENOSPC"),
        ("pwrite64,write", "EDQUOT"),
        ("pwrite64,write", "EINTR"),
    )
    # Once, for good, and now and then; but what is interrupted for good is tried for good.
    for when in ("3", "7+3" if error == "EINTR" else "7+", "10+9")
]
OPENING = [
    f"openat:error={error}:when={when}" for error in ("EMFILE", "EIO", "EACCES") for when in ("1", "2", "4")
]


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS + OPENING)
async def test_h91_h92_no_failure_of_the_disk_is_taken_for_a_success(
    tmp_path: Path, needs_tool: Callable[[str], str], fault: str
) -> None:
    path = tmp_path / "queue.db"
    # Only what touches the queue's files: the interpreter and its pipes work.
    files = [f"{path}{suffix}" for suffix in ("", "-wal", "-shm", "-journal")]
    said = await save_with_faults(needs_tool("strace"), path, files, fault, rounds=6)
    assert len(said["saved"] | said["failed"] - {"-"}) == 30
    await check(path, said)
    await save_some(path)


@pytest.mark.slow
async def test_h99_a_disk_that_is_full_at_a_checkpoint_loses_nothing(
    tmp_path: Path, needs_tool: Callable[[str], str]
) -> None:
    path = tmp_path / "queue.db"
    # Into the file itself only a checkpoint writes: a small one at opening, and later that of a long log.
    fault = "pwrite64,write:error=ENOSPC:when=30+"
    said = await save_with_faults(needs_tool("strace"), path, [str(path)], fault, rounds=50, log=64)
    assert said["saved"]
    assert said["failed"]
    await check(path, said)
    await save_some(path)


async def save_with_faults(
    strace: str, path: Path, files: list[str], fault: str, *, rounds: int, log: int | None = None
) -> Mapping[str, set[str]]:
    """Run the program with a fault in system calls on these files; return what it said.

    With ``log`` its log is brought home after so many pages.
    """
    async with SQLiteStorage(path, reserve=0):
        pass
    traced = [option for file in files for option in ("-P", file)]
    report = path.with_name("strace")
    pages = () if log is None else (str(log),)
    process = await asyncio.create_subprocess_exec(
        *(strace, "-f", "-o", str(report), *traced, "-e", f"inject={fault}"),
        *(*SAVER, str(path), "m", str(rounds), *pages),
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
    )
    output, _ = await process.communicate()
    said = told(output)
    assert "" in said["alive"], output
    assert "INJECTED" in report.read_text()
    return said


async def save_some(path: Path) -> None:
    """It goes on once the disk is well."""
    process = await asyncio.create_subprocess_exec(
        *SAVER, str(path), "later", "1", stdout=asyncio.subprocess.PIPE, cwd=ROOT
    )
    output, _ = await process.communicate()
    assert len(told(output)["saved"]) == 5


@pytest.mark.slow
async def test_h88_killed_at_random_moments_every_acknowledged_message_is_there_once_and_whole(
    tmp_path: Path,
) -> None:
    path = tmp_path / "queue.db"
    said: dict[str, set[str]] = defaultdict(set)
    moments = random.Random(88)
    for number in range(12):
        process = await asyncio.create_subprocess_exec(
            *SAVER, str(path), f"m{number}", "0", stdout=asyncio.subprocess.PIPE, cwd=ROOT
        )
        assert process.stdout is not None
        lines = [await process.stdout.readline() for _ in range(moments.randrange(1, 60))]
        process.kill()
        output = b"".join(lines) + await process.stdout.read()
        await process.wait()
        for word, names in told(output).items():
            said[word] |= names
        assert not said["failed"]
        await check(path, said)
    assert len(said["saved"]) > 100
    assert said["delivered"]
