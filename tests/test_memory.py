"""When free memory is given back: as often as it is cheap."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from smtpx.memory import _Release

if TYPE_CHECKING:
    from collections.abc import Callable


def wait() -> None:
    """Take long without working, as a call does whose turn on a busy machine is over."""
    time.sleep(0.002)


def work() -> None:
    """Work for long, as malloc_trim does in a large heap in pieces."""
    ends = time.thread_time() + 0.002
    while time.thread_time() < ends:
        pass


@pytest.mark.parametrize(("takes", "calls"), [(wait, 3), (work, 1)])
def test_a_call_that_works_for_long_is_not_made_again_soon(takes: Callable[[], None], calls: int) -> None:
    made: list[int] = []

    def trim(pad: int) -> None:
        made.append(pad)
        takes()

    release = _Release()
    release._trim = trim
    for _ in range(3):
        release()
    assert made == [0] * calls
