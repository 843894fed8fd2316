"""Networks: whose address is in them."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from smtpx.errors import ConfigurationError
from smtpx.networks import Networks


@pytest.mark.parametrize(
    ("address", "inside"),
    [
        ("10.1.2.3", True),
        ("11.0.0.1", False),
        ("192.0.2.1", True),
        ("192.0.2.2", False),
        ("2001:db8::5", True),
        ("2001:db9::5", False),
        ("fe80::1%eth0", True),
        ("::ffff:10.1.2.3", True),
        ("::ffff:11.0.0.1", False),
        ("not an address", False),
    ],
)
def test_an_address_is_in_a_network_or_not(address: str, inside: bool) -> None:
    networks = Networks(["10.0.0.0/8", "192.0.2.1", "2001:db8::/32", ip_network("fe80::/10")])
    assert ((address, 25) in networks) is inside


def test_a_mapped_network_is_the_ipv4_network() -> None:
    networks = Networks(["::ffff:10.0.0.0/104"])
    assert ("10.1.2.3", 25) in networks
    assert ("::ffff:10.1.2.3", 25) in networks
    assert ("11.1.2.3", 25) not in networks


def test_a_unix_socket_is_in_no_network() -> None:
    assert "/run/smtp.socket" not in Networks(["10.0.0.0/8"])
    assert "" not in Networks(["10.0.0.0/8"])


def test_nobody_is_in_no_networks() -> None:
    assert ("127.0.0.1", 25) not in Networks([])


@pytest.mark.parametrize("text", ["10.0.0.1/8", "10.0.0.0/33", "joe", ""])
def test_what_is_no_network_is_told_with_its_mend(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"is not a network: .*; write one like"):
        Networks([text])


@pytest.mark.parametrize("text", ["0.0.0.0/0", "::/0", "::ffff:0.0.0.0/96"])
def test_h70_the_whole_internet_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="name the networks of your own machines"):
        Networks([text])
