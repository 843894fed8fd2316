"""Clients: what is seen of a session, by a trace and in the log."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest
from smtpx import ConnectionLost

from tests.clients import CONTENT, LARGE, mail
from tests.peer import PATIENCE
from tests.scripted import hang, say, then
from tests.sessions import polite

if TYPE_CHECKING:
    from tests.clients import Clients
    from tests.conftest import Scripted

# What is seen of it


def test_each_line_is_shown(client: Clients, scripted: Scripted) -> None:
    seen: list[tuple[str, str]] = []
    server = scripted(polite("SIZE"))
    with client(server.url(), "me.example", trace=lambda *line: seen.append(line)) as session:
        session.mail_tx(mail())
    assert seen[:5] == [
        ("<", "220 scripted.example ESMTP"),
        (">", "EHLO me.example"),
        ("<", "250-scripted.example"),
        ("<", "250 SIZE"),
        (">", f"MAIL FROM:<ann@example.com> SIZE={len(CONTENT)}"),
    ]
    assert seen[-2:] == [(">", "QUIT"), ("<", "221 2.0.0 bye")]


def test_content_is_not_shown(client: Clients, scripted: Scripted) -> None:
    seen: list[str] = []
    server = scripted(polite())
    with client(server.url(), trace=lambda way, line: seen.append(line)) as session:
        session.mail_tx(mail(data=b"Subject: private\r\n"))
        session.mail_tx(mail(data=b"Subject: private\r\n" * 10_000))
    assert "private" not in "".join(seen)
    assert "<18 octets of content>" in seen


def test_debugging_logs_each_line(
    client: Clients, scripted: Scripted, caplog: pytest.LogCaptureFixture
) -> None:
    server = scripted(polite())
    with caplog.at_level(logging.DEBUG, "smtpx.client"), client(server.url()) as session:
        session.noop()
    lines = [record.getMessage() for record in caplog.records if record.name == "smtpx.client"]
    assert "> NOOP" in lines
    assert "< 250 2.0.0 ok" in lines


def test_a_trace_that_raises_ends_the_verb(client: Clients, scripted: Scripted) -> None:
    def trace(way: str, line: str) -> None:
        if "NOOP" in line:
            raise ZeroDivisionError

    server = scripted(polite())
    session = client(server.url(), trace=trace)
    session.connect()
    with pytest.raises(ZeroDivisionError):
        session.noop()
    assert not session.connected
    session.close()


def test_a_trace_that_raises_on_a_reply_ends_the_verb(
    client: Clients, scripted: Scripted, caplog: pytest.LogCaptureFixture
) -> None:
    def trace(way: str, line: str) -> None:
        if line == "250 2.0.0 ok":
            raise ZeroDivisionError

    server = scripted(polite())
    session = client(server.url(), trace=trace, timeout=PATIENCE)
    session.connect()
    with pytest.raises(ZeroDivisionError):
        session.noop()
    assert not session.connected
    with pytest.raises(ConnectionLost):
        session.noop()
    session.close()
    assert not [record for record in caplog.records if record.name == "asyncio"]


def test_a_trace_that_raises_within_a_message_ends_it(client: Clients, scripted: Scripted) -> None:
    def trace(way: str, line: str) -> None:
        if line.startswith("354"):
            raise ZeroDivisionError

    server = scripted(polite(data=then(say(b"354 go\r\n"), hang())))
    session = client(server.url(), trace=trace, timeout=PATIENCE)
    session.connect()
    with pytest.raises(ZeroDivisionError):
        session.mail_tx(mail(data=LARGE))
    assert not session.connected
    session.close()


def test_a_trace_that_stops_an_iteration_on_a_reply_ends_no_verb_well(
    client: Clients, scripted: Scripted
) -> None:
    def trace(way: str, line: str) -> None:
        if line == "250 2.0.0 ok":
            raise StopIteration("taken")

    server = scripted(polite())
    session = client(server.url(), trace=trace, timeout=PATIENCE)
    session.connect()
    with pytest.raises(RuntimeError, match="StopIteration"):
        session.noop()
    session.close()


def test_a_trace_that_stops_an_iteration_ends_no_verb_well(client: Clients, scripted: Scripted) -> None:
    def trace(way: str, line: str) -> None:
        if "NOOP" in line:
            raise StopIteration("taken")

    server = scripted(polite())
    session = client(server.url(), trace=trace)
    session.connect()
    with pytest.raises(RuntimeError, match="StopIteration"):
        session.noop()
    session.close()
