"""Mailing lists, subaddresses, catch-alls, and what aliases and they make of each other."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from smtpx.environment import Account, Domain, Environment, FinalRecipient, MailingList
from smtpx.errors import ConfigurationError, InvalidCredential


@pytest.fixture
def domain() -> Domain:
    domain = Domain("example.org")
    domain.add(Account.create("Joe", "joe", "example.org", "secret", rounds=4))
    domain.add(Account("Ann", "ann", "example.org"))
    return domain


@pytest.fixture
def environment(domain: Domain) -> Environment:
    return Environment(domain, {"example.net": Domain("example.net")})


# Lists


def test_a_list_has_the_postmaster_for_its_owner(environment: Environment) -> None:
    environment.virtual_domains["example.net"].lists["news"] = MailingList(
        ["joe@example.org", "x@far.example"]
    )
    assert environment.knows("News@example.net")
    assert environment.resolve("News@example.net") == [
        FinalRecipient("joe@example.org", "postmaster@example.net"),
        FinalRecipient("x@far.example", "postmaster@example.net"),
    ]


def test_a_list_may_have_another_owner(environment: Environment, domain: Domain) -> None:
    domain.lists["news"] = MailingList(["x@far.example"], owner="ann")
    assert environment.resolve("news") == [FinalRecipient("x@far.example", "ann@example.org")]


def test_an_alias_has_no_owner_but_a_list_in_it_has(environment: Environment, domain: Domain) -> None:
    domain.aliases["all"] = ["joe", "news"]
    domain.lists["news"] = MailingList(["x@far.example"])
    assert environment.resolve("all") == [
        FinalRecipient("joe@example.org"),
        FinalRecipient("x@far.example", "postmaster@example.org"),
    ]


def test_the_last_list_on_the_way_is_the_one_whose_owner_counts(
    environment: Environment, domain: Domain
) -> None:
    domain.lists["outer"] = MailingList(["inner", "joe"], "ann")
    domain.lists["inner"] = MailingList(["x@far.example"], "joe")
    assert environment.resolve("outer") == [
        FinalRecipient("x@far.example", "joe@example.org"),
        FinalRecipient("joe@example.org", "ann@example.org"),
    ]


def test_whom_a_list_and_an_alias_reach_both_gets_it_by_the_alias(
    environment: Environment, domain: Domain
) -> None:
    domain.aliases["all"] = ["news", "JOE"]
    domain.lists["news"] = MailingList(["joe"])
    assert environment.resolve("all") == [FinalRecipient("JOE@example.org")]


def test_h74_a_list_that_contains_itself_has_its_other_members_once(
    environment: Environment, domain: Domain
) -> None:
    domain.lists["news"] = MailingList(["news", "joe", "NEWS@example.org", "joe"])
    assert environment.expand("news") == ["joe@example.org"]


def test_h74_lists_that_only_contain_each_other_are_554(environment: Environment, domain: Domain) -> None:
    domain.lists["a"], domain.lists["b"] = MailingList(["b"]), MailingList(["a"])
    with pytest.raises(ConfigurationError) as caught:
        environment.expand("a")
    assert (caught.value.code, caught.value.enhanced) == (554, "5.4.6")


def test_an_alias_named_twice_does_not_bring_its_account_a_copy(
    environment: Environment, domain: Domain
) -> None:
    domain.aliases["joe"] = ["x@far.example"]  # he has gone, and wants all of it there
    domain.aliases["team"] = ["joe"]
    domain.aliases["staff"] = ["joe", "team", "joe@example.org"]
    assert environment.expand("staff") == ["x@far.example"]


# Subaddresses


def test_a_tag_leads_to_its_users_account(environment: Environment) -> None:
    joe = environment.find("Joe+Lists@example.org")
    assert joe is not None
    assert joe.short == "joe@example.org"
    assert environment.knows("joe+lists@example.org")
    assert not environment.knows("nobody+lists@example.org")


def test_a_final_address_keeps_its_tag_for_whoever_sorts_by_it(environment: Environment) -> None:
    assert environment.expand("joe+lists+a@example.org") == ["joe+lists+a@example.org"]
    assert environment.is_final("joe+lists@example.org")


def test_the_exact_local_part_goes_before_the_tag(environment: Environment, domain: Domain) -> None:
    domain.aliases["joe+sales"] = ["ann"]
    domain.add(Account("", "joe+own", "example.org"))
    assert environment.expand("joe+sales") == ["ann@example.org"]
    assert environment.find("joe+sales@example.org") is None
    own = environment.find("joe+own@example.org")
    assert own is not None
    assert own.local == "joe+own"


def test_a_tag_leads_to_aliases_and_lists_too(environment: Environment, domain: Domain) -> None:
    domain.aliases["staff"] = ["ann"]
    domain.lists["news"] = MailingList(["joe"])
    assert environment.expand("staff+x") == ["ann@example.org"]
    assert environment.expand("news+x") == ["joe@example.org"]


def test_an_alias_may_keep_the_copy_under_a_tag(environment: Environment, domain: Domain) -> None:
    domain.aliases["joe"] = ["joe+kept", "x@far.example"]
    assert environment.expand("joe") == ["joe+kept@example.org", "x@far.example"]


def test_a_domain_may_have_another_delimiter_or_none(environment: Environment, domain: Domain) -> None:
    domain.subaddress = "--"
    assert environment.knows("joe--x")
    assert not environment.knows("joe+x")
    domain.subaddress = ""
    assert not environment.knows("joe--x")


def test_a_tag_alone_is_nobody(environment: Environment) -> None:
    assert not environment.knows("+joe@example.org")


def test_h65_a_user_owns_the_tagged_forms_of_the_address_and_no_others(
    environment: Environment, domain: Domain
) -> None:
    domain.aliases["joe+sales"] = ["ann"]
    domain.catch_all = "joe@example.org"
    assert environment.same("Joe+x@example.org", "joe")
    assert environment.same("joe+x", "joe+y")
    assert not environment.same("joe+sales", "joe")
    assert not environment.same("ann+x", "joe")
    assert not environment.same("anybody", "joe")  # a catch-all is no licence to send


def test_nobody_logs_in_by_a_tag(environment: Environment) -> None:
    with pytest.raises(InvalidCredential):
        environment.authenticate("joe+x@example.org", "secret")


# Catch-alls


def test_a_catch_all_gets_what_nobody_else_has(environment: Environment, domain: Domain) -> None:
    domain.catch_all = "ann@example.org"
    assert environment.knows("whoever@example.org")
    assert environment.expand("whoever@example.org") == ["ann@example.org"]
    assert environment.expand("joe@example.org") == ["joe@example.org"]
    assert environment.expand("joe+x@example.org") == ["joe+x@example.org"]
    assert environment.find("whoever@example.org") is None
    assert not environment.knows("whoever@example.net")


def test_a_catch_all_may_be_an_alias_or_elsewhere(environment: Environment, domain: Domain) -> None:
    domain.aliases["lost"] = ["joe", "x@far.example"]
    domain.catch_all = "lost"
    assert environment.expand("whoever") == ["joe@example.org", "x@far.example"]


def test_h74_a_catch_all_that_leads_to_nobody_is_554(environment: Environment, domain: Domain) -> None:
    domain.catch_all = "gone@example.org"
    with pytest.raises(ConfigurationError) as caught:
        environment.expand("whoever@example.org")
    assert (caught.value.code, caught.value.enhanced) == (554, "5.4.6")


# Whatever is configured


_LOCALS = st.sampled_from(["a", "b", "c", "d", "joe", "ann", "joe+x", "a+x", "nobody"])


@given(
    aliases=st.dictionaries(_LOCALS, st.lists(_LOCALS, max_size=4), max_size=4),
    lists=st.dictionaries(_LOCALS, st.lists(_LOCALS, max_size=4), max_size=4),
    catch_all=st.none() | _LOCALS,
    asked=_LOCALS,
)
def test_h74_every_expansion_ends_with_each_address_once(
    aliases: dict[str, list[str]], lists: dict[str, list[str]], catch_all: str | None, asked: str
) -> None:
    domain = Domain("example.org")
    domain.add(Account("", "joe", "example.org"))
    domain.add(Account("", "ann", "example.org"))
    domain.aliases.update(aliases)
    domain.lists.update({name: MailingList(members) for name, members in lists.items()})
    domain.catch_all = catch_all
    environment = Environment(domain)
    try:
        found = environment.expand(asked)
    except ConfigurationError:
        return
    assert len(set(found)) == len(found) > 0
    assert all(environment.find(address) or not environment.knows(address) for address in found)
