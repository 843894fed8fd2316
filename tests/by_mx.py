"""``smtpx serve`` in a small internet: a name server of the test's, and mail servers on loopback.

``python -m tests.by_mx serve CONFIG`` is ``smtpx serve CONFIG``, but for whom its relay asks, and that mail
servers are at another port than 25, which a test does not have.
"""

from __future__ import annotations

import os
from functools import partial
from unittest import mock

from smtpx import Relay, site
from smtpx.__main__ import main
from smtpx.resolver import DNSResolver

__all__ = ["DNS_PORT", "MX_PORT"]

DNS_PORT, MX_PORT = "TEST_DNS_PORT", "TEST_MX_PORT"
"""The variables of the environment that say them."""

if __name__ == "__main__":
    resolver = DNSResolver(["127.0.0.1"], port=int(os.environ[DNS_PORT]))
    relay = partial(Relay, resolver=resolver, port=int(os.environ[MX_PORT]), loopback=True)
    with mock.patch.object(site, "Relay", relay):
        main()
