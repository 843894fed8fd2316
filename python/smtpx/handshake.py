"""A TLS handshake on a transport that has been read from already."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, cast

from smtpx import memory

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["accept"]


async def accept(
    transport: asyncio.Transport,
    protocol: asyncio.Protocol,
    context: ssl.SSLContext,
    *,
    hello: bytes,
    seconds: float,
    inside: Callable[[], None],
) -> asyncio.Transport | None:
    """Shake hands as the server; None where that failed, or the client is gone.

    Args:
        transport: paused, so that nothing of TLS is read as clear text.
        protocol: the transport's, and that of the transport inside TLS.
        context: with our certificate.
        hello: the first octets of TLS, where they are read already.
        seconds: the most that it may take.
        inside: called when what the protocol hears is from then on what was inside TLS, which may be before
            the handshake is reported here.

    """
    if transport.is_closing():
        return None
    memory.release()
    loop = asyncio.get_running_loop()
    upgrade = loop.start_tls(transport, protocol, context, server_side=True, ssl_handshake_timeout=seconds)
    # A Task whatever task factory the loop has: in its first turn, not before, the transport becomes TLS's.
    task = asyncio.Task(upgrade, loop=loop)
    try:
        await asyncio.sleep(0)
        inside()
        if hello:
            loop.call_soon(_replay, transport, hello)
        secure = await task
    except (OSError, ssl.SSLError):
        return None  # TLS itself told the client, or its silence told us (HOSTILE 63)
    finally:
        task.cancel()
    # Of a transport that was aborted meanwhile uvloop gives one without TLS.
    if secure is None or secure.get_extra_info("ssl_object") is None:
        return None
    return secure


def _replay(transport: asyncio.Transport, octets: bytes) -> None:
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
