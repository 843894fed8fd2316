"""Limits: the defaults, and what cannot be one."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import TYPE_CHECKING

import pytest
import smtpx
from smtpx import Limits

if TYPE_CHECKING:
    from tests.live import LiveServers


def test_defaults_are_the_ones_that_are_documented() -> None:
    limits = Limits()
    assert limits.message_size == 32 * 1024 * 1024
    assert (limits.recipients, limits.connections, limits.connections_per_address) == (1000, 1000, 100)
    assert (limits.command_line, limits.auth_line, limits.write_buffer) == (2048, 12_288, 256 * 1024)
    assert (limits.command_timeout, limits.data_timeout, limits.transaction_timeout) == (300, 180, 1200)
    assert (limits.hook_timeout, limits.message_timeout, limits.handshake_timeout) == (60, 300, 30)
    assert (limits.errors, limits.idle_commands, limits.refused_recipients) == (20, 100, 1000)
    assert (limits.auth_failures, limits.password_checks) == (3, 2)


NAMES = [field.name for field in fields(Limits)]
TIMES = [name for name in NAMES if name.endswith("_timeout")]


@pytest.mark.parametrize("name", NAMES)
def test_a_limit_of_nothing_is_an_error_that_names_it(name: str) -> None:
    with pytest.raises(smtpx.ConfigurationError, match=f"Limits.{name} must be more than 0"):
        Limits(**{name: 0})


@pytest.mark.parametrize("name", TIMES)
def test_a_time_that_is_no_number_is_an_error_that_names_it(name: str) -> None:
    with pytest.raises(smtpx.ConfigurationError, match=f"Limits.{name} must be more than 0"):
        Limits(**{name: math.nan})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", sorted(set(NAMES) - {*TIMES, "disk_reserve"}))
def test_a_limit_that_the_engine_cannot_count_is_an_error_that_names_it(name: str) -> None:
    assert getattr(Limits(**{name: 2**32 - 1}), name) == 2**32 - 1
    with pytest.raises(smtpx.ConfigurationError, match=f"Limits.{name} must be at most 4294967295"):
        Limits(**{name: 2**32})


def test_a_server_runs_without_limits_of_time(live_server: LiveServers) -> None:
    live_server(limits=dict.fromkeys(TIMES, math.inf)).settle()


def test_shortest_timeout_is_when_a_session_can_first_be_over_time() -> None:
    assert Limits(command_timeout=3, data_timeout=2, transaction_timeout=5).shortest_timeout == 2
