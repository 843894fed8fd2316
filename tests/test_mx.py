"""Which hosts take a domain's mail: a resolver that says what the test has written."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest
from smtpx.mx import Host, Ourselves, find_hosts, in_order
from smtpx.outcome import Outcome
from smtpx.result import RecipientResult

from tests.names import FAILS, Names

if TYPE_CHECKING:
    from collections.abc import Sequence

PERMANENT, TEMPORARY = Outcome.PERMANENT, Outcome.TEMPORARY
A, B, C = "192.0.2.1", "192.0.2.2", "192.0.2.3"


async def find(
    names: Names, domain: str = "example.org", ourselves: Ourselves | None = None
) -> Sequence[Host]:
    found = await find_hosts(domain, names, ourselves or Ourselves(), Random(1))
    assert not isinstance(found, RecipientResult), found
    return found


async def fail(
    names: Names, domain: str = "example.org", ourselves: Ourselves | None = None
) -> tuple[Outcome, int, str | None]:
    found = await find_hosts(domain, names, ourselves or Ourselves(), Random(1))
    assert isinstance(found, RecipientResult), found
    assert found.response is not None
    assert found.remote == ""
    return found.outcome, found.response.code, found.response.enhanced


async def test_hosts_come_by_preference_and_a_hosts_ipv6_before_its_ipv4() -> None:
    names = Names(mx={"example.org": [(20, "b"), (10, "a")]}, addresses={"a": [A, "2001:db8::1"], "b": [B]})
    assert await find(names) == [Host("a", ("2001:db8::1", A)), Host("b", (B,))]


def test_hosts_of_one_preference_come_in_any_order() -> None:
    records = [(10, "a"), (10, "b"), (20, "c"), (5, "d")]
    orders = {tuple(host for _, host in in_order(records, Random(seed))) for seed in range(50)}
    assert orders == {("d", "a", "b", "c"), ("d", "b", "a", "c")}


def test_what_is_no_name_of_a_host_is_left_out() -> None:
    records = [
        (1, "a b.example"),
        (2, ""),
        (3, "."),
        (4, "mx.example"),
        (5, "evil\\010.example"),
        (6, "é.example"),
    ]
    assert in_order(records, Random(1)) == [(4, "mx.example")]


async def test_only_so_many_hosts_are_looked_up() -> None:
    hosts = [f"mx{number}" for number in range(1000)]
    names = Names(mx={"example.org": [(10, host) for host in hosts]}, addresses={key: [A] for key in hosts})
    assert len(await find(names)) == 20
    assert len(names.asked) == 21


async def test_h75_the_null_mx_refuses_for_good() -> None:
    names = Names(mx={"example.org": [(0, ".")]}, addresses={"example.org": [A]})
    assert await fail(names) == (PERMANENT, 556, "5.1.10")


async def test_h75_beside_other_hosts_the_null_mx_is_none() -> None:
    names = Names(mx={"example.org": [(0, "."), (10, "a")]}, addresses={"a": [A]})
    assert await find(names) == [Host("a", (A,))]


async def test_h76_no_such_domain_refuses_for_good() -> None:
    assert await fail(Names()) == (PERMANENT, 550, "5.1.2")


async def test_h76_neither_mx_nor_address_refuses_for_good() -> None:
    assert await fail(Names(mx={"example.org": []})) == (PERMANENT, 550, "5.1.2")


async def test_h76_without_mx_the_domains_own_addresses_are_used() -> None:
    names = Names(mx={"example.org": []}, addresses={"example.org": [A, "2001:db8::1"]})
    assert await find(names) == [Host("example.org", ("2001:db8::1", A))]


async def test_h76_hosts_that_do_not_resolve_refuse_for_good_and_the_address_is_never_used() -> None:
    names = Names(mx={"example.org": [(10, "a"), (20, "b")]}, addresses={"example.org": [A]})
    assert await fail(names) == (PERMANENT, 550, "5.4.4")


async def test_h76_records_without_a_host_name_refuse_for_good_and_the_address_is_never_used() -> None:
    names = Names(mx={"example.org": [(10, "no host")]}, addresses={"example.org": [A]})
    assert await fail(names) == (PERMANENT, 550, "5.4.4")


async def test_h76_a_lookup_of_the_domain_that_fails_is_tried_again() -> None:
    assert await fail(Names(mx={"example.org": FAILS})) == (TEMPORARY, 451, "4.4.3")


async def test_h76_a_lookup_of_the_domains_addresses_that_fails_is_tried_again() -> None:
    names = Names(mx={"example.org": []}, addresses={"example.org": FAILS})
    assert await fail(names) == (TEMPORARY, 451, "4.4.3")


async def test_h76_hosts_of_which_one_cannot_be_looked_up_now_are_tried_again() -> None:
    names = Names(mx={"example.org": [(10, "a"), (20, "b")]}, addresses={"b": FAILS})
    assert await fail(names) == (TEMPORARY, 451, "4.4.3")


async def test_h76_a_host_that_cannot_be_looked_up_does_not_hide_the_next() -> None:
    names = Names(mx={"example.org": [(10, "a"), (20, "b")]}, addresses={"a": FAILS, "b": [B]})
    assert await find(names) == [Host("b", (B,))]


NOWHERE = [
    "127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1", "0.0.0.0", "::", "::ffff:0.0.0.0",
    "169.254.1.1", "fe80::1", "fe80::1%eth0", "::ffff:169.254.1.1", "224.0.0.1", "ff02::1", "255.255.255.255",
]  # fmt: skip


@pytest.mark.parametrize("address", NOWHERE)
async def test_h77_an_address_that_leads_nowhere_is_left_out(address: str) -> None:
    names = Names(mx={"example.org": [(10, "a"), (20, "b")]}, addresses={"a": [address], "b": [address, B]})
    assert await find(names) == [Host("b", (B,))]


@pytest.mark.parametrize("address", NOWHERE)
async def test_h77_a_domain_with_no_other_address_refuses_for_good(address: str) -> None:
    names = Names(mx={"example.org": [(10, "a"), (20, "gone")]}, addresses={"a": [address]})
    assert await fail(names) == (PERMANENT, 550, "5.4.6")
    names = Names(mx={"example.org": []}, addresses={"example.org": [address]})
    assert await fail(names) == (PERMANENT, 550, "5.4.6")


async def test_h77_a_test_may_use_loopback() -> None:
    names = Names(mx={"example.org": [(10, "a")]}, addresses={"a": ["127.0.0.1"]})
    assert await find(names, ourselves=Ourselves(loopback=True)) == [Host("a", ("127.0.0.1",))]


US = Ourselves(names=["mx.here.example"], addresses=["192.0.2.9", "2001:db8::9"])


@pytest.mark.parametrize("us", ["MX.here.example", "other"])
@pytest.mark.parametrize("address", ["192.0.2.9", "2001:db8:0::9", "::ffff:192.0.2.9"])
async def test_h77_with_us_every_equal_or_worse_preference_is_left_out(us: str, address: str) -> None:
    names = Names(
        mx={"example.org": [(10, "a"), (20, "b"), (20, us), (30, "c")]},
        addresses={"a": [A], "b": [B], "c": [C], us: [address]},
    )
    assert await find(names, ourselves=US) == [Host("a", (A,))]


async def test_h77_where_we_are_the_best_the_domain_refuses_for_good() -> None:
    names = Names(
        mx={"example.org": [(10, "mx.here.example"), (20, "b")]}, addresses={"mx.here.example": [A], "b": [B]}
    )
    assert await fail(names, ourselves=US) == (PERMANENT, 550, "5.4.6")


async def test_h77_what_is_preferred_to_us_and_cannot_be_looked_up_is_tried_again() -> None:
    names = Names(
        mx={"example.org": [(10, "a"), (20, "mx.here.example")]},
        addresses={"a": FAILS, "mx.here.example": [B]},
    )
    assert await fail(names, ourselves=US) == (TEMPORARY, 451, "4.4.3")


@pytest.mark.parametrize(
    ("domain", "address"),
    [("[192.0.2.1]", A), ("[ipv6:2001:db8::1]", "2001:db8::1"), ("[IPv6:2001:DB8::1]", "2001:db8::1")],
)
async def test_an_address_literal_is_its_own_host(domain: str, address: str) -> None:
    assert await find(Names(), domain) == [Host(address, (address,))]


@pytest.mark.parametrize("domain", ["[127.0.0.1]", "[ipv6:::1]", "[ipv6:::ffff:127.0.0.1]"])
async def test_h77_an_address_literal_of_our_own_refuses_for_good(domain: str) -> None:
    assert await fail(Names(), domain) == (PERMANENT, 550, "5.4.6")


@pytest.mark.parametrize("domain", ["[x]", "[ipv6:1.2.3.4.5]", "", "a b", "é.example", "x" * 64, "a..b"])
async def test_what_is_no_domain_refuses_for_good(domain: str) -> None:
    assert await fail(Names(), domain) == (PERMANENT, 550, "5.1.2")
