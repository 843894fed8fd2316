"""What became of a message, recipient by recipient."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from smtpx.outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from smtpx._core import Response, SentEvent

__all__ = ["RecipientResult", "Result"]


@dataclass(frozen=True, slots=True)
class RecipientResult:
    """The outcome for one recipient, and the reply that told it (None where there was none).

    Attributes:
        outcome: what became of it.
        response: the reply, or None.
        remote: the host that gave it, "" where that is this one, or not told.
        reports: whether that host, by offering DSN, took over to report on the delivery (RFC 3461 5.2).

    """

    outcome: Outcome
    response: Response | None = None
    remote: str = ""
    reports: bool = False


class Result(Mapping[str, RecipientResult]):
    """The outcome for each recipient, by its address as it went to the server; in the order given.

    `mail_tx` sends addresses as they are; `send` without needless quotes, and with a domain in A-labels.

    ::

        result = await client.send(message)
        for address in result.permanent:
            print(address, result[address].response)
    """

    __slots__ = ("_of", "_recipients", "_sent")

    def __init__(self, recipients: Sequence[str], sent: SentEvent | Outcome) -> None:
        # A message costs no more than this; most callers ask no further.
        self._recipients = tuple(recipients)  # theirs may change before we look
        self._sent = sent
        self._of: dict[str, RecipientResult] | None = None

    def _results(self) -> dict[str, RecipientResult]:
        if self._of is None:
            if isinstance(self._sent, Outcome):
                self._of = dict.fromkeys(self._recipients, RecipientResult(self._sent))
            else:
                outcomes = (RecipientResult(*outcome) for outcome in self._sent.outcomes)
                self._of = dict(zip(self._recipients, outcomes, strict=True))
        return self._of

    def __getitem__(self, address: str) -> RecipientResult:
        return self._results()[address]

    def __iter__(self) -> Iterator[str]:
        return iter(self._recipients)

    def __len__(self) -> int:
        return len(self._recipients)

    @property
    def accepted(self) -> list[str]:
        """Those whose message the server has: it is delivered, or a bounce will say that it is not."""
        return self._with(Outcome.ACCEPTED)

    @property
    def temporary(self) -> list[str]:
        """Those to whom it may be sent again later."""
        return self._with(Outcome.TEMPORARY)

    @property
    def permanent(self) -> list[str]:
        """Those for whom the server refuses it for good."""
        return self._with(Outcome.PERMANENT)

    @property
    def unknown(self) -> list[str]:
        """Those who may have it, or not: the connection was lost before the server's last word."""
        return self._with(Outcome.UNKNOWN)

    def retry(self) -> list[str]:
        """Return the recipients to whom it is safe to send again: none of them gets it twice."""
        return self.temporary

    def _with(self, outcome: Outcome) -> list[str]:
        return [address for address, each in self._results().items() if each.outcome is outcome]

    def __reduce__(self) -> tuple[object, ...]:
        return _restored, (self._results(),)

    def __repr__(self) -> str:
        return f"Result({self._results()!r})"


def _restored(results: dict[str, RecipientResult]) -> Result:
    result = Result(list(results), Outcome.UNKNOWN)
    result._of = results  # noqa: SLF001 - it is our own
    return result
