"""Whether a client has said something before it was its turn."""

from __future__ import annotations

import select
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

__all__ = ["readable"]


def readable(transport: asyncio.BaseTransport) -> bool:
    """Tell whether octets, or the end, are here to be read; always False where there is no poll (Windows)."""
    if not hasattr(select, "poll"):
        return False
    poll = select.poll()
    poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
    return bool(poll.poll(0))
