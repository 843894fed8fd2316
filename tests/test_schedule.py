"""When a message is tried again, its sender warned, and the message given up."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from smtpx import ConfigurationError, Schedule

MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0
EXACT = Schedule(jitter=0.0)


def gaps(schedule: Schedule, count: int) -> list[float]:
    # Of a message that is new at each failure, so that neither warning nor end cuts a gap.
    return [schedule.gap(failed, 5 * HOUR, random.Random(1)) for failed in range(1, count + 1)]


def attempts(schedule: Schedule) -> list[float]:
    """The ages at which a message that always fails is tried, the last time it is given up."""
    ages, failed, numbers = [0.0], 1, random.Random(7)
    while not schedule.is_over(ages[-1], failed):
        ages.append(ages[-1] + schedule.gap(failed, ages[-1], numbers))
        failed += 1
    return ages


def test_the_gaps_grow_to_four_hours_and_stay_there() -> None:
    minutes = [gap / MINUTE for gap in gaps(EXACT, 9)]
    assert minutes == [1, 5, 15, 30, 60, 120, 240, 240, 240]


def test_a_gap_is_longer_or_shorter_by_up_to_a_tenth() -> None:
    numbers = random.Random(1)
    seen = [Schedule().gap(4, 5 * HOUR, numbers) for _ in range(1000)]
    assert 27 * MINUTE <= min(seen) < 27.5 * MINUTE
    assert 32.5 * MINUTE < max(seen) <= 33 * MINUTE


def test_an_attempt_falls_on_the_warning_and_on_the_end() -> None:
    ages = attempts(Schedule())
    assert 4 * HOUR in ages
    assert ages[-1] == 5 * DAY


def test_a_message_is_warned_of_from_four_hours_on() -> None:
    assert not EXACT.is_late(4 * HOUR - 1, 7)
    assert EXACT.is_late(4 * HOUR, 7)


def test_no_warning_and_no_end_where_they_are_infinite() -> None:
    endless = Schedule(lifetime=math.inf, warn_after=math.inf)
    assert not endless.is_late(1000 * DAY, 1000)
    assert not endless.is_over(1000 * DAY, 1000)
    assert endless.gap(1000, 1000 * DAY, random.Random(1)) <= endless.longest


def test_h98_a_message_that_is_old_at_its_first_failure_has_every_gap_before_it_is_given_up() -> None:
    over = [EXACT.is_over(10 * DAY, failed) for failed in range(1, 9)]
    assert over == [False] * 7 + [True]


def test_a_lifetime_shorter_than_the_gaps_asks_for_those_that_fit() -> None:
    hour = Schedule(lifetime=HOUR, jitter=0.0)
    assert [age / MINUTE for age in attempts(hour)] == [0, 1, 6, 21, 51, 60]


def test_h98_a_message_received_by_a_clock_that_was_ahead_ends_by_its_attempts() -> None:
    ahead = -3650 * DAY
    ends = next(failed for failed in range(1, 1000) if EXACT.is_over(ahead, failed))
    warned = next(failed for failed in range(1, 1000) if EXACT.is_late(ahead, failed))
    assert warned == 8  # after 1, 5, 15, 30 minutes and 1, 2, 4 hours
    assert ends == 8 + 29  # 29 times 4 hours more, and it is five days


@given(
    st.lists(st.floats(0.001, 1e6), min_size=1, max_size=8),
    st.floats(0, 0.99),
    st.integers(1, 100),
    st.floats(-1e9, 1e9),
    st.randoms(use_true_random=False),
)
def test_a_gap_is_more_than_nothing_and_at_most_the_longest(
    given_gaps: list[float], jitter: float, failed: int, age: float, numbers: random.Random
) -> None:
    schedule = Schedule(gaps=tuple(given_gaps), jitter=jitter)
    assert 0 < schedule.gap(failed, age, numbers) <= schedule.longest


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"gaps": ()}, "gaps must be one or more"),
        ({"gaps": (60.0, 0.0)}, "each more than 0"),
        ({"gaps": (math.inf,)}, "gaps must be"),
        ({"gaps": (math.nan,)}, "gaps must be"),
        ({"jitter": 1.0}, "jitter must be"),
        ({"jitter": -0.1}, "jitter must be"),
        ({"lifetime": 0.0}, "lifetime must be more than 0"),
        ({"lifetime": math.nan}, "lifetime must be more than 0"),
        ({"warn_after": -1.0}, "warn_after must be more than 0"),
    ],
    ids=str,
)
def test_times_that_cannot_be_are_refused_by_their_name(wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        Schedule(**wrong)
