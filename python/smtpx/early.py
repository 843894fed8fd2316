"""Whether a client talks before it is its turn."""

from __future__ import annotations

import select
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

__all__ = ["has_spoken"]

# One system call a connection: poll, which takes any descriptor, where there is one.
if sys.platform == "win32":

    def has_spoken(transport: asyncio.BaseTransport) -> bool:
        """Tell whether octets, or the end, wait to be read."""
        return bool(select.select([transport.get_extra_info("socket")], [], [], 0)[0])
else:

    def has_spoken(transport: asyncio.BaseTransport) -> bool:
        """Tell whether octets, or the end, wait to be read."""
        poll = select.poll()
        poll.register(transport.get_extra_info("socket"), select.POLLIN)
        return bool(poll.poll(0))
