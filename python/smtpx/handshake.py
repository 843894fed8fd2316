"""A TLS handshake on a transport that has been read from already."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from smtpx import memory

if TYPE_CHECKING:
    import ssl

__all__ = ["begin", "replay"]


def begin(
    loop: asyncio.AbstractEventLoop,
    transport: asyncio.Transport,
    protocol: asyncio.Protocol,
    context: ssl.SSLContext,
    timeout: float,
) -> asyncio.Task[asyncio.Transport | None]:
    """Begin the server's side; in the next turn of the loop the transport is TLS's own.

    A Task whatever task factory the loop has: `replay` counts on the turn in which it starts.
    """
    memory.release()
    handshake = loop.start_tls(transport, protocol, context, server_side=True, ssl_handshake_timeout=timeout)
    return asyncio.Task(handshake, loop=loop)


def replay(transport: asyncio.Transport, octets: bytes) -> None:
    """Hand TLS what was read before the transport was its own, as the loop would have done."""
    protocol = cast("asyncio.BufferedProtocol", transport.get_protocol())
    if transport.is_closing() or not hasattr(protocol, "get_buffer"):
        return
    left = memoryview(octets)
    while left:
        buffer = memoryview(cast("bytearray", protocol.get_buffer(len(left))))
        count = min(len(buffer), len(left))
        buffer[:count] = left[:count]
        protocol.buffer_updated(count)
        left = left[count:]
