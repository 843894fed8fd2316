"""What the tests of local delivery share: a message for a recipient, and a look into its Maildir."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from smtpx.delivery import Delivery, State, destination_of
from smtpx.mail import MailTx

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from smtpx.result import RecipientResult

MOMENT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
CONTENT = b"Subject: x\r\n\r\nhi\r\n"
JOE = "joe@example.org"


def message(*recipients: str, data: bytes = CONTENT, name: str = "id-1", **params: str) -> MailTx:
    return MailTx("a@b.org", list(recipients or [JOE]), data, id=name, params=params)


def deliveries(mail: MailTx, *, token: int = 1, attempts: int = 0) -> list[Delivery]:
    """The records of all its recipients, as the queue claims them."""
    return [
        Delivery(
            mail.id,
            index,
            recipient,
            destination_of(recipient),
            State.QUEUED,
            attempts,
            MOMENT,
            MOMENT,
            MOMENT,
            token=token,
        )
        for index, recipient in enumerate(mail.recipients)
    ]


def told(results: Mapping[str, RecipientResult]) -> dict[str, str]:
    """Each recipient's outcome, reply code and enhanced code."""
    found = {}
    for recipient, result in results.items():
        assert result.response is not None
        code, enhanced = result.response.code, result.response.message.split()[0]
        found[recipient] = f"{result.outcome.value} {code} {enhanced}"
    return found


def files(folder: Path) -> list[str]:
    """Every file below a folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
