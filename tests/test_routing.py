"""RoutingTransport: one way for mail for here, another for all other mail."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from smtpx import Outcome, RecipientResult, Response, RoutingTransport
from smtpx.delivery import Parted

from tests.relaying import deliveries, mail

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from smtpx import Delivery, MailTx


class Named:
    """A transport that says its name."""

    def __init__(self, name: str, concurrency: int) -> None:
        self._name = name
        self._concurrency = concurrency

    def concurrency(self, destination: str) -> int:
        return self._concurrency

    async def deliver(self, mail: MailTx, deliveries: Sequence[Delivery]) -> Mapping[str, RecipientResult]:
        said = RecipientResult(Outcome.ACCEPTED, Response(250, self._name))
        return {each.recipient: said for each in deliveries}


def is_local(recipient: str) -> bool:
    return recipient.endswith("@example.org") or recipient.lower() == "postmaster"


ROUTING = RoutingTransport(Named("local", 3), Named("remote", 20), is_local)


@pytest.mark.parametrize(
    ("recipient", "way"),
    [("joe@example.org", "local"), ("Postmaster", "local"), ("joe@example.net", "remote")],
)
async def test_a_message_goes_the_way_of_its_recipients(recipient: str, way: str) -> None:
    message = mail(recipient)
    results = await ROUTING.deliver(message, deliveries(message))
    response = results[recipient].response
    assert response is not None
    assert response.message == way


@pytest.mark.parametrize(("destination", "most"), [("example.org", 3), ("", 3), ("example.net", 20)])
def test_a_destination_has_the_concurrency_of_its_way(destination: str, most: int) -> None:
    assert ROUTING.concurrency(destination) == most


@pytest.mark.parametrize(
    ("destination", "remote"), [("example.org", False), ("", False), ("example.net", True)]
)
def test_it_tells_the_queue_what_goes_to_another_host(destination: str, remote: bool) -> None:
    assert isinstance(ROUTING, Parted)
    assert ROUTING.is_remote(destination) is remote
