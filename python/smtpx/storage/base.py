"""What every storage promises."""

# ruff: noqa: A002 - "id" is the attribute's name

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from smtpx.mail import MailTx

__all__ = ["Reserving", "Storage"]


class Storage(Protocol):
    """Keeps messages over a crash of the process, of the system and of the power.

    When `mail_save`, `mail_delete` or `mail_bounce` returns, its effect is on stable storage: no crash undoes
    it. When `mail_save` raises a `StorageError`, the message is not served from then on; after one of the
    other two, both states are possible. A failed fsync is never tried again: the system may have dropped the
    very pages that it could not write. A call that is cancelled is done whole or not at all. None blocks the
    event loop.

    Whatever a storage finds damaged it sets aside and logs, and serves the rest.
    """

    async def mail_save(self, mail: MailTx) -> None:
        """Keep the message, in place of one of the same id; a message without an id is given one.

        Raises:
            TypeError: a field of the message is not of its type; nothing of it is kept.
            StorageFull: no room for it; nothing of it is kept.
            StorageError: any other failure.

        """
        ...

    async def mail_load(self, id: str) -> MailTx:
        """Return the message.

        Raises:
            MailNotFound: there is none of that id, or it has been bounced.
            StorageError: it cannot be read, or is damaged (and has been set aside).

        """
        ...

    async def mail_load_all(self) -> list[MailTx]:
        """Return every message that is neither deleted nor bounced, oldest id first, all of it in memory.

        Raises:
            StorageError: the storage itself cannot be read.

        """
        ...

    async def mail_delete(self, id: str) -> None:
        """Forget the message.

        Raises:
            MailNotFound: there is none of that id.
            StorageError: any other failure.

        """
        ...

    async def mail_bounce(self, id: str) -> None:
        """Put the message away among the bounced ones, where no other method of this protocol sees it.

        Raises:
            MailNotFound: there is none of that id.
            StorageError: any other failure.

        """
        ...


@runtime_checkable
class Reserving(Protocol):
    """A storage that knows beforehand whether there is room: MAIL is then refused, not the content."""

    def has_room(self, octets: int = 0) -> bool:
        """Tell whether a message of so many octets leaves the reserve untouched; does not block."""
        ...
