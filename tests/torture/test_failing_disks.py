"""HOSTILE rows 91, 92 and 99 in short; ``python -m tests.torture.faults`` and ``full_disk`` take longer."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import pytest

from tests.torture.faults import ERRORS, fail
from tests.torture.full_disk import RESERVE, fill_disk
from tests.torture.image import Unavailable
from tests.torture.subjects import SUBJECTS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.torture.subject import MakeSubject


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="the torture is made for Linux"),
]

MADE = {
    "serve": ("write", "pwrite64", "fsync", "fdatasync", "rename", "openat"),
    "spool": ("write", "fsync", "rename", "openat"),
}
"""The system calls that a subject makes; to let another one fail proves nothing."""


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize(("name", "call"), [(name, call) for name, calls in MADE.items() for call in calls])
def test_h91_a_disk_that_fails_now_and_then_makes_no_250_false_and_the_server_lives(
    tmp_path: Path, name: str, call: str, error: str
) -> None:
    with SUBJECTS[name](tmp_path, uvloop=False) as subject:
        try:
            fault = asyncio.run(fail(subject, call, error, enough=10, seed=91))
        except Unavailable as reason:
            pytest.skip(str(reason))
    assert fault.failed >= 10
    assert fault.record.sound, fault


@pytest.mark.parametrize("reserve", [RESERVE, 1])
def test_h92_a_full_disk_is_452_until_there_is_room_and_nothing_is_lost(
    make: MakeSubject, reserve: int
) -> None:
    try:
        filled = fill_disk(make, times=2, reserve=reserve, seed=92)
    except Unavailable as reason:
        pytest.skip(str(reason))
    assert filled.sound(reserve), filled
