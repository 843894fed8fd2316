"""`RoutingTransport`: mail for here goes one way, and all other mail another."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from smtpx.delivery import Delivery, Transport
    from smtpx.mail import MailTx
    from smtpx.result import RecipientResult

__all__ = ["RoutingTransport"]


class RoutingTransport:
    """A `Transport` of two others, which is `Parted`.

    Args:
        local: takes the mail of our own domains.
        remote: takes all other mail.
        is_local: tells which an address is of, by its domain alone: what is delivered together is of one
            domain.

    """

    def __init__(self, local: Transport, remote: Transport, is_local: Callable[[str], bool]) -> None:
        self._local = local
        self._remote = remote
        self._is_local = is_local

    def concurrency(self, destination: str) -> int:
        """See `Transport.concurrency`."""
        return self._to(destination).concurrency(destination)

    def is_remote(self, destination: str) -> bool:
        """See `Parted.is_remote`."""
        return self._to(destination) is self._remote

    async def deliver(self, mail: MailTx, deliveries: Sequence[Delivery]) -> Mapping[str, RecipientResult]:
        """See `Transport.deliver`."""
        return await self._of(deliveries[0].recipient).deliver(mail, deliveries)

    def _to(self, destination: str) -> Transport:
        return self._of(f"postmaster@{destination}" if destination else "postmaster")

    def _of(self, recipient: str) -> Transport:
        return self._local if self._is_local(recipient) else self._remote
