"""How sessions end: each reason of a CloseEvent, and what the client was told."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from smtpx import CloseEvent, CommandKind, EngineConfig, MessageEvent, Response, ServerEngine

from tests.engines import HOST, OPENING, begun

if TYPE_CHECKING:
    from collections.abc import Callable

LOGIN = b"AUTH PLAIN AGEAYg==\r\n"


def refused_recipients(engine: ServerEngine) -> Any:
    event, _ = engine.receive_data(b"EHLO me\r\nMAIL FROM:<>\r\n" + b"RCPT TO:<x@example.org>\r\n" * 2)
    while not isinstance(event, CloseEvent):
        event, output = engine.reply(Response(550, "5.1.1 nobody"))
    return event, output


def refused_logins(engine: ServerEngine) -> Any:
    engine.receive_data(b"EHLO me\r\n" + LOGIN + LOGIN)
    engine.reply()
    return engine.reply()


def ended_by_the_driver(engine: ServerEngine) -> Any:
    engine.receive_data(OPENING + b"DATA\r\n")
    event, _ = engine.receive_data(b".\r\n")
    assert isinstance(event, MessageEvent)
    return engine.reply(Response(421, "4.3.2 going down"))


def reads(*octets: bytes) -> Callable[[ServerEngine], Any]:
    def drive(engine: ServerEngine) -> Any:
        for read in octets[:-1]:
            assert engine.receive_data(read)[0] is None
        return engine.receive_data(octets[-1])

    return drive


ENDS: dict[str, tuple[dict[str, Any], Callable[[ServerEngine], Any], bytes]] = {
    "quit": ({}, reads(b"QUIT\r\n"), b"221 2.0.0"),
    "ended by the handler": ({}, ended_by_the_driver, b"421 4.3.2"),
    "content before 354": ({}, reads(OPENING + b"DATA\r\nhello\r\n"), b"554 5.5.0"),
    "HTTP on an SMTP port": ({}, reads(b"GET / HTTP/1.1\r\n"), b"554 5.7.0"),
    "TLS on a plain port": ({}, reads(b"\x16\x03\x01"), b"554 5.7.0"),
    "bare newline in a command": ({}, reads(b"NOOP\n"), b"500 5.5.2"),
    "bare newline in content": ({}, reads(OPENING + b"DATA\r\n", b"a\nb\r\n.\r\n"), b"554 5.6.0"),
    "line without end": ({}, reads(b"x" * (2 << 20)), b"500 5.5.2"),
    "content far over the limit": (
        {"max_message_size": 10},
        reads(OPENING + b"DATA\r\n", b"x" * 200),
        b"552 5.3.4",
    ),
    "chunk far over the limit": ({"max_message_size": 10}, reads(OPENING + b"BDAT 200\r\n"), b"552 5.3.4"),
    "bad chunk size": ({}, reads(OPENING + b"BDAT -1\r\n"), b"501 5.5.4"),
    "too many errors": ({"max_errors": 2}, reads(b"X\r\nY\r\n"), b"421 4.7.0"),
    "command flood": ({"max_idle_commands": 2}, reads(b"NOOP\r\nNOOP\r\n"), b"421 4.7.0"),
    "too many refused": (
        {"max_refused_recipients": 2, "decide": CommandKind.RCPT},
        refused_recipients,
        b"421 4.7.0",
    ),
    "too many failed logins": (
        {"max_auth_failures": 2, "mechanisms": ["PLAIN"]},
        refused_logins,
        b"535 5.7.8",
    ),
}
BEFORE_THE_BANNER = {"refused at connect", "input before the banner"}


@pytest.mark.parametrize("reason", ENDS)
def test_a_session_ends_with_its_reason(reason: str) -> None:
    settings, drive, told = ENDS[reason]
    engine = begun(**settings)
    event, output = drive(engine)
    assert isinstance(event, CloseEvent)
    assert event.reason == reason
    assert output.splitlines()[-1].startswith(told)
    assert engine.closed


def test_a_client_refused_at_connect() -> None:
    engine = ServerEngine(EngineConfig(HOST))
    event, output = engine.start(Response(554, "5.7.1 not you"))
    assert isinstance(event, CloseEvent)
    assert (event.reason, output) == ("refused at connect", b"554 5.7.1 not you\r\n")


def test_a_client_that_speaks_before_the_banner() -> None:
    engine = ServerEngine(EngineConfig(HOST))
    engine.receive_data(b"EHLO me\r\n")
    event, output = engine.start()
    assert isinstance(event, CloseEvent)
    assert (event.reason, output[:9]) == ("input before the banner", b"554 5.5.0")


def test_the_reasons_are_those_that_the_event_lists() -> None:
    documented = re.findall(r'"([^"]+)"', str(CloseEvent.reason.__doc__).replace('"reject"', ""))
    assert sorted(documented) == sorted(ENDS.keys() | BEFORE_THE_BANNER)
