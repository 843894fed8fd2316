"""What the tests of the relay share: hosts on loopback addresses of their own, found by a resolver."""

from __future__ import annotations

import contextlib
import socket
from datetime import UTC, datetime
from random import Random
from typing import TYPE_CHECKING, Any

from smtpx import Delivery, MailTx, Outcome, RecipientResult, Relay, State, Timeouts
from smtpx.delivery import destination_of

from tests.clients import CONTENT
from tests.names import Names
from tests.peer import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.conftest import Scripted
    from tests.scripted import Script

__all__ = ["DEAD", "Hosts", "deliveries", "delivering", "mail", "on_one_port", "outcome", "text", "to_one"]

DEAD = "127.0.0.99"
"""Nobody listens there."""
_NOW = datetime(2026, 1, 1, tzinfo=UTC)


def mail(*recipients: str, data: bytes = CONTENT, sender: str = "ann@example.com", **params: str) -> MailTx:
    """Return a message to these, or to joe; with parameters of MAIL."""
    return MailTx(sender, list(recipients) or ["joe@example.org"], data, params=params, id="1")


def deliveries(message: MailTx) -> list[Delivery]:
    """Return what the queue hands over with the message: all of its recipients."""
    return [
        Delivery(message.id, index, recipient, destination_of(recipient), State.QUEUED, 0, _NOW, _NOW, _NOW)
        for index, recipient in enumerate(message.recipients)
    ]


async def delivering(relay: Relay, message: MailTx) -> dict[str, RecipientResult]:
    """Deliver a message to all of its recipients; each has a result, and each result a response."""
    results = await relay.deliver(message, deliveries(message))
    assert list(results) == message.recipients
    assert all(result.response is not None for result in results.values())
    return results


def outcome(result: RecipientResult) -> tuple[Outcome, int, str | None]:
    """Return what became of it, and the codes that say so."""
    assert result.response is not None
    return result.outcome, result.response.code, result.response.enhanced


def text(result: RecipientResult) -> str:
    """Return the first line of the response."""
    assert result.response is not None
    return result.response.message


async def to_one(relay: Relay, message: MailTx | None = None) -> tuple[Outcome, int, str | None]:
    """Deliver to joe, and return what became of it."""
    results = await delivering(relay, message or mail())
    return outcome(results["joe@example.org"])


def on_one_port(addresses: list[str]) -> list[socket.socket]:
    while True:
        with contextlib.ExitStack() as bound:
            first = bound.enter_context(socket.create_server((addresses[0], 0)))
            where = [(address, first.getsockname()[1]) for address in addresses[1:]]
            try:
                others = [bound.enter_context(socket.create_server(each)) for each in where]
            except OSError:  # the port is in use at one of them
                continue
            bound.pop_all()
            return [first, *others]


class Hosts:
    """The mail servers of example.org, each on its own address and all on one port: mx1, mx2 ...

    One that is given as None is dead; the other ones are scripts, one a connection.
    """

    def __init__(self, scripted: Scripted, *hosts: Sequence[Script] | None) -> None:
        addresses = [
            DEAD if scripts is None else f"127.0.0.{number}" for number, scripts in enumerate(hosts, 1)
        ]
        listeners = on_one_port([address for address in addresses if address != DEAD])
        alive = [scripts for scripts in hosts if scripts is not None]
        self.servers = [
            scripted(*scripts, listener=listener) for scripts, listener in zip(alive, listeners, strict=True)
        ]
        self.port = self.servers[0].port
        self.names = Names(
            mx={"example.org": [(10 * number, f"mx{number}") for number in range(1, len(hosts) + 1)]},
            addresses={f"mx{number}": [address] for number, address in enumerate(addresses, 1)},
        )

    def relay(self, **options: Any) -> Relay:
        """Return a relay that finds them."""
        given: dict[str, Any] = {"timeouts": Timeouts.of(PATIENCE), "random": Random(1)} | options
        return Relay("mail.example.com", resolver=self.names, port=self.port, loopback=True, **given)
