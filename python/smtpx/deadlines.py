"""When a connection is over time, and why (HOSTILE 63, 102, 103).

No timer and no I/O: the connection notes here what happened when, and asks what is due next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from smtpx._core import ServerEngine
    from smtpx.limits import Limits

__all__ = ["Deadlines"]


class Deadlines:
    """The times of one connection, in seconds of its loop's clock.

    Attributes:
        heard: when octets came last.
        replied: when our last reply was written.
        blocked: since when the client does not read our replies; None while it does.

    """

    __slots__ = ("_began", "_limits", "_transaction", "_transaction_since", "blocked", "heard", "replied")

    def __init__(self, limits: Limits, now: float) -> None:
        self._limits = limits
        self._began = self.heard = self.replied = now
        self.blocked: float | None = None
        self._transaction = 0
        self._transaction_since = 0.0

    def age(self, now: float) -> float:
        """Seconds since the connection was accepted."""
        return now - self._began

    def due(self, now: float, engine: ServerEngine | None, *, waits_for_us: bool) -> tuple[float, str]:
        """Tell when the connection is over time if nothing happens until then, and the reason.

        Without an engine the client has not begun its handshake. Ask again at that time, and not later than
        `Limits.shortest_timeout` from now: what is due may have changed.
        """
        limits = self._limits
        if self.blocked is not None:
            return self.blocked + limits.data_timeout, "client does not read"
        if waits_for_us:
            return now + limits.shortest_timeout, ""
        if engine is None:
            return self._began + limits.handshake_timeout, "TLS handshake timed out"
        if engine.state == "data":
            due, reason = self.heard + limits.data_timeout, "content timed out"
        else:
            due, reason = self.replied + limits.command_timeout, "command timed out"
        if engine.in_transaction:
            began = self._transaction_began(engine, now)
        elif engine.state == "data":
            # A chunk that is refused and swallowed: it has no transaction, and could drip for years.
            began = self.replied
        else:
            return due, reason
        ends = began + limits.transaction_timeout
        return (ends, "transaction timed out") if ends < due else (due, reason)

    def _transaction_began(self, engine: ServerEngine, now: float) -> float:
        # Seen by the first look at it, which is enough: no command pays for the note.
        if self._transaction != engine.transactions:
            self._transaction, self._transaction_since = engine.transactions, now
        return self._transaction_since
