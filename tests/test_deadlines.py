"""What of a connection is due when, and why: without a clock, on times that are given."""

from __future__ import annotations

import pytest
from smtpx import EngineConfig, Limits, ServerEngine
from smtpx.deadlines import Deadlines

LIMITS = Limits(command_timeout=300, data_timeout=180, transaction_timeout=1200, handshake_timeout=30)


@pytest.fixture
def engine() -> ServerEngine:
    engine = ServerEngine(EngineConfig("mx.example.org"))
    engine.start()
    engine.receive_data(b"EHLO a.example\r\n")
    return engine


@pytest.fixture
def times() -> Deadlines:
    return Deadlines(LIMITS, 1000)


def test_a_command_is_due_from_our_last_reply(times: Deadlines, engine: ServerEngine) -> None:
    times.replied, times.heard = 2000, 2100
    assert times.due(2100, engine, waits_for_us=False) == (2300, "command timed out")


def test_h102_octets_that_are_no_whole_command_gain_no_time(times: Deadlines, engine: ServerEngine) -> None:
    engine.receive_data(b"NOO")
    times.heard = 1299
    assert times.due(1299, engine, waits_for_us=False) == (1300, "command timed out")


def test_content_is_due_from_the_last_octets(times: Deadlines, engine: ServerEngine) -> None:
    engine.receive_data(b"MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n")
    times.heard = 1500
    assert times.due(1500, engine, waits_for_us=False) == (1680, "content timed out")


def test_h102_a_transaction_is_due_however_busy_it_is(times: Deadlines, engine: ServerEngine) -> None:
    engine.receive_data(b"MAIL FROM:<a@b.example>\r\n")
    times.due(1000, engine, waits_for_us=False)
    times.heard = times.replied = 2199
    assert times.due(2199, engine, waits_for_us=False) == (2200, "transaction timed out")


def test_h102_a_chunk_outside_a_transaction_is_due_however_busy_it_is(
    times: Deadlines, engine: ServerEngine
) -> None:
    engine.receive_data(b"BDAT 30000000\r\nx")
    times.replied, times.heard = 1000, 2199
    assert times.due(2199, engine, waits_for_us=False) == (2200, "transaction timed out")


def test_the_next_transaction_has_its_own_time(times: Deadlines, engine: ServerEngine) -> None:
    engine.receive_data(b"MAIL FROM:<a@b.example>\r\n")
    times.due(1000, engine, waits_for_us=False)
    engine.receive_data(b"RSET\r\nMAIL FROM:<a@b.example>\r\n")
    times.replied = 2199
    assert times.due(2199, engine, waits_for_us=False) == (2499, "command timed out")


def test_nothing_is_due_while_the_client_waits_for_us(times: Deadlines, engine: ServerEngine) -> None:
    due, _ = times.due(9000, engine, waits_for_us=True)
    assert due > 9000


def test_h103_who_does_not_read_our_replies_is_due_also_while_a_handler_thinks(
    times: Deadlines, engine: ServerEngine
) -> None:
    times.blocked = 1200
    assert times.due(1300, engine, waits_for_us=True) == (1380, "client does not read")


def test_h63_a_handshake_that_is_not_begun_is_due(times: Deadlines) -> None:
    assert times.due(1010, None, waits_for_us=False) == (1030, "TLS handshake timed out")
    assert times.age(1010) == 10
