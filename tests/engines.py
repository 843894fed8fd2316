"""What the tests of the engine share: its steps, and sessions that have begun."""

from __future__ import annotations

from typing import Any, TypeAlias

from smtpx import (
    AuthEvent,
    CloseEvent,
    CommandEvent,
    EngineConfig,
    ErrorEvent,
    MessageEvent,
    ServerEngine,
)

__all__ = ["HELLO", "HOST", "OPENING", "Event", "Step", "begun"]

Event: TypeAlias = CommandEvent | AuthEvent | MessageEvent | ErrorEvent | CloseEvent
Step: TypeAlias = tuple[Event | None, bytes]

HOST = "mx.example.org"
HELLO = b"EHLO client.example\r\n"
OPENING = HELLO + b"MAIL FROM:<a@example.net>\r\nRCPT TO:<b@example.org>\r\n"


def begun(*, tls: bool = False, **settings: Any) -> ServerEngine:
    """An engine whose banner was sent."""
    engine = ServerEngine(EngineConfig(HOST, **settings), tls=tls)
    assert engine.start() == (None, b"220 mx.example.org ESMTP smtpx\r\n")
    return engine
