"""smtpx as an MTA under load, in a process of its own: what ``smtpx serve CONFIG`` runs.

``python -m benches.mta_server CONFIG deliver|discard`` prints the port of its first listener; with "discard"
every message is delivered to nowhere, as by Postfix's discard(8), and all else is as always.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import smtpx
from smtpx import config
from smtpx.app import App, run

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from smtpx.accounts import LiveEnvironment
    from smtpx.app import Way

_DISCARDED = smtpx.RecipientResult(smtpx.Outcome.ACCEPTED, smtpx.Response(250, "2.0.0 Discarded"))


class Discard:
    """Takes every message and forgets it."""

    def concurrency(self, destination: str) -> int:
        return 100

    def is_remote(self, destination: str) -> bool:
        return False

    async def deliver(
        self,
        mail: smtpx.MailTx,
        deliveries: Sequence[smtpx.Delivery],
    ) -> Mapping[str, smtpx.RecipientResult]:
        return {each.recipient: _DISCARDED for each in deliveries}

    async def close(self) -> None:
        """There is nothing to close."""


class _Server(App):
    def started(self, listeners: Sequence[smtpx.Listener]) -> None:
        print(listeners[0].port, flush=True)


class _DiscardingServer(_Server):
    def way(self, config: config.Config, live: LiveEnvironment) -> Way:
        return Discard()


def main(path: str, mode: str) -> None:
    server = {"deliver": _Server, "discard": _DiscardingServer}[mode]
    run(server(partial(config.load, Path(path))))


if __name__ == "__main__":
    main(*sys.argv[1:])
