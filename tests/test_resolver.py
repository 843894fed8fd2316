"""DNSResolver, with a name server that answers in every way."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import dns.rcode
import dns.resolver
import pytest
from smtpx.errors import ConfigurationError, LookupFailed, NoSuchDomain
from smtpx.resolver import DNSResolver

from tests.name_server import NameServer, alias, garbage, nothing, refusal, silence, truncated

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.name_server import Answer

SERVFAIL, NXDOMAIN = refusal(dns.rcode.SERVFAIL), refusal(dns.rcode.NXDOMAIN)
SOON = 0.3


@pytest.fixture
def names() -> Iterator[NameServer]:
    with NameServer() as server:
        yield server


def resolver(names: NameServer, timeout: float = 10.0) -> DNSResolver:
    return DNSResolver(["127.0.0.1"], port=names.port, timeout=timeout)


async def test_the_records_of_a_domain_are_its_preferences_and_hosts(names: NameServer) -> None:
    names.answers["example.org", "MX"] = ["10 mx1.example.org.", "20 mx2.example.org."]
    assert sorted(await resolver(names).mx("example.org")) == [
        (10, "mx1.example.org"),
        (20, "mx2.example.org"),
    ]


async def test_the_null_mx_is_a_dot(names: NameServer) -> None:
    names.answers["example.org", "MX"] = ["0 ."]
    assert await resolver(names).mx("example.org") == [(0, ".")]


async def test_a_domain_without_a_record_has_none(names: NameServer) -> None:
    names.answers["example.org", "MX"] = nothing
    assert await resolver(names).mx("example.org") == []


async def test_a_domain_that_is_not_there_is_told_apart(names: NameServer) -> None:
    with pytest.raises(NoSuchDomain):
        await resolver(names).mx("example.org")


@pytest.mark.parametrize("name", ["a..b", "x" * 64 + ".org", "y." * 130 + "org"])
async def test_a_name_that_can_be_none_is_not_asked_for(names: NameServer, name: str) -> None:
    with pytest.raises(NoSuchDomain):
        await resolver(names).mx(name)
    assert names.asked == []


async def test_no_search_list_is_used(names: NameServer) -> None:
    asking = resolver(names)
    with pytest.raises(NoSuchDomain):
        await asking.mx("example")
    assert names.asked == [("example", "MX")]


@pytest.mark.parametrize("answer", [SERVFAIL, silence, garbage, truncated])
async def test_no_answer_or_none_that_can_be_read_is_a_failure_for_now(
    names: NameServer, answer: Answer
) -> None:
    names.answers["example.org", "MX"] = answer
    with pytest.raises(LookupFailed):
        await resolver(names, SOON).mx("example.org")


async def test_nobody_who_could_answer_is_a_failure_for_now() -> None:
    with NameServer() as names:
        asking = resolver(names, SOON)
    with pytest.raises(LookupFailed):
        await asking.mx("example.org")


async def test_an_answer_too_long_for_a_datagram_is_asked_for_over_tcp(names: NameServer) -> None:
    hosts = [f"10 mx{number}.a-rather-long-name-of-a-host.example.org." for number in range(100)]
    names.answers["example.org", "MX"] = truncated
    names.over_tcp["example.org", "MX"] = hosts
    assert len(await resolver(names).mx("example.org")) == 100


async def test_an_alias_is_followed(names: NameServer) -> None:
    names.answers["example.org", "MX"] = alias("example.net", "10 mx.example.net.")
    assert await resolver(names).mx("example.org") == [(10, "mx.example.net")]


async def test_an_alias_of_nothing_has_no_record(names: NameServer) -> None:
    names.answers["example.org", "MX"] = alias("example.net")
    names.answers["example.net", "MX"] = nothing
    assert await resolver(names).mx("example.org") == []


async def test_addresses_are_those_of_both_protocols(names: NameServer) -> None:
    names.answers["mx.example.org", "A"] = ["192.0.2.1", "192.0.2.2"]
    names.answers["mx.example.org", "AAAA"] = ["2001:db8::1"]
    found = await resolver(names).addresses("mx.example.org")
    assert sorted(found) == ["192.0.2.1", "192.0.2.2", "2001:db8::1"]


@pytest.mark.parametrize("answer", [nothing, NXDOMAIN])
async def test_a_host_without_addresses_or_that_is_not_there_has_none(
    names: NameServer, answer: Answer
) -> None:
    names.answers["mx.example.org", "A"] = names.answers["mx.example.org", "AAAA"] = answer
    assert await resolver(names).addresses("mx.example.org") == []


@pytest.mark.parametrize("answer", [SERVFAIL, silence])
async def test_one_protocol_that_is_not_answered_does_not_hide_the_other(
    names: NameServer, answer: Answer
) -> None:
    names.answers["mx.example.org", "A"] = ["192.0.2.1"]
    names.answers["mx.example.org", "AAAA"] = answer
    assert await resolver(names, SOON).addresses("mx.example.org") == ["192.0.2.1"]


async def test_where_one_protocol_has_none_and_the_other_is_not_answered_there_may_be_some(
    names: NameServer,
) -> None:
    names.answers["mx.example.org", "A"] = nothing
    names.answers["mx.example.org", "AAAA"] = SERVFAIL
    with pytest.raises(LookupFailed):
        await resolver(names).addresses("mx.example.org")


MX = ("example.org", "MX")


async def test_records_are_kept_for_a_while(names: NameServer) -> None:
    names.answers[MX] = ["10 mx.example.org."]
    asking = resolver(names)
    assert await asking.mx("example.org") == await asking.mx("Example.ORG") == [(10, "mx.example.org")]
    assert names.asked == [MX]


async def test_no_record_is_kept_for_longer_than_it_says(names: NameServer) -> None:
    names.ttl = 0
    names.answers[MX] = ["10 mx.example.org."]
    asking = resolver(names)
    assert await asking.mx("example.org") == await asking.mx("example.org")
    assert names.asked == [MX, MX]


async def test_no_record_is_kept_for_longer_than_the_resolver_is_told(names: NameServer) -> None:
    names.answers[MX] = ["10 mx.example.org."]
    asking = DNSResolver(["127.0.0.1"], port=names.port, keep=0)
    assert await asking.mx("example.org") == await asking.mx("example.org")
    assert names.asked == [MX, MX]


@pytest.mark.parametrize("answer", [nothing, NXDOMAIN, SERVFAIL])
async def test_what_was_not_there_is_found_as_soon_as_it_is(names: NameServer, answer: Answer) -> None:
    names.answers[MX] = answer
    asking = resolver(names)
    with contextlib.suppress(NoSuchDomain, LookupFailed):
        assert await asking.mx("example.org") == []
    names.answers[MX] = ["10 mx.example.org."]
    assert await asking.mx("example.org") == [(10, "mx.example.org")]


async def test_only_so_many_records_are_kept(names: NameServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smtpx.resolver._MOST_KEPT", 2)
    asking = resolver(names)
    for name in ("a.org", "b.org", "c.org"):
        names.answers[name, "MX"] = ["10 mx.example.org."]
        await asking.mx(name)
    await asking.mx("c.org")
    assert len(names.asked) == 3
    await asking.mx("a.org")
    assert len(names.asked) == 4


def test_a_system_that_names_no_name_server_is_told_the_mend(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def unconfigured(*arguments: object, **options: object) -> None:
        raise dns.resolver.NoResolverConfiguration

    monkeypatch.setattr("dns.asyncresolver.Resolver.__init__", unconfigured)
    with pytest.raises(ConfigurationError, match="write nameserver"):
        DNSResolver()
