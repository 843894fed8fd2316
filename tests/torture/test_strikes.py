"""HOSTILE rows 88 to 90, 97 and 98 in short; ``kill9``, ``powercut`` and ``clock`` here take longer."""

from __future__ import annotations

import asyncio
import shutil
import sys
from typing import TYPE_CHECKING

import pytest

from tests.torture.clock import leap
from tests.torture.image import Unavailable
from tests.torture.pair import strike_in_turn
from tests.torture.powercut import WITHOUT_FSYNC, cut_power
from tests.torture.served_subject import ServedSubject
from tests.torture.strikes import strike

if TYPE_CHECKING:
    from pathlib import Path

    from tests.torture.record import Record
    from tests.torture.subject import MakeSubject

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="the torture is made for Linux"),
]


def cut(make: MakeSubject, cuts: int, prefix: list[str]) -> Record:
    try:
        return cut_power(make, cuts=cuts, messages=30 * cuts, seed=90, prefix=prefix)
    except Unavailable as error:
        pytest.skip(str(error))


def test_h88_kill_9_under_load_loses_nothing_and_doubles_only_what_was_in_flight(
    make: MakeSubject, tmp_path: Path
) -> None:
    with make(tmp_path) as subject:
        record = asyncio.run(strike(subject, subject.kill, times=8, messages=400, seed=88))
    assert record.messages >= 400
    assert record.in_flight.total() > 0
    assert record.sound, record
    assert record.set_aside == []


def test_h97_kill_9_of_two_servers_on_one_queue_in_turn_loses_nothing(tmp_path: Path) -> None:
    with ServedSubject(tmp_path) as subject:
        record = asyncio.run(strike_in_turn(subject, 2, times=4, messages=200, seed=97))
    assert record.messages >= 200
    assert record.in_flight.total() > 0
    assert record.sound, record
    assert record.set_aside == []


def test_h98_a_clock_set_ahead_and_back_bounces_nothing_and_stalls_nothing(tmp_path: Path) -> None:
    record = asyncio.run(leap(tmp_path, times=1, messages=30, seed=98))
    assert record.sound, record
    assert record.delivered.keys() == record.acknowledged


def test_h90_a_power_cut_under_load_loses_nothing_and_doubles_only_what_was_in_flight(
    make: MakeSubject,
) -> None:
    record = cut(make, 6, [])
    assert record.messages >= 180
    assert record.in_flight.total() > 0
    assert record.sound, record
    assert record.set_aside == []


def test_the_power_cut_does_cut_a_server_whose_fsync_does_nothing_loses_mail(make: MakeSubject) -> None:
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    assert cut(make, 3, WITHOUT_FSYNC).lost
