"""What can become of a message for one recipient."""

from __future__ import annotations

from enum import Enum

__all__ = ["Outcome"]


class Outcome(Enum):
    """What became of a message for one recipient."""

    ACCEPTED = "accepted"
    """The next host, or the mailbox, has it: 2yz."""
    TEMPORARY = "temporary"
    """Not now: 4yz, or nobody answered before anything was sent."""
    PERMANENT = "permanent"
    """Never: 5yz."""
    UNKNOWN = "unknown"
    """The connection was lost between the final dot and its reply: sent again it may arrive twice."""
