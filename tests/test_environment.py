"""Domains, accounts, aliases and logins."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Any

import bcrypt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from smtpx.environment import Account, DKIMOptions, Domain, Environment, Mailbox
from smtpx.errors import ConfigurationError, InvalidCredential

if TYPE_CHECKING:
    from collections.abc import Callable


def account(local: str, domain: str = "example.org", password: str = "secret", name: str = "") -> Account:
    return Account.create(name, local, domain, password, rounds=4)


@pytest.fixture
def environment() -> Environment:
    primary = Domain("example.org")
    primary.add(account("joe", name="Joe"))
    virtual = Domain("bücher.example")
    virtual.add(account("ann", "bücher.example", "other"))
    return Environment(primary, {"bücher.example": virtual})


class Checks:
    """Counts bcrypt's work, by the cost of each check."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.costs: list[bytes] = []
        real = bcrypt.checkpw

        def checkpw(password: bytes, hashed: bytes) -> bool:
            self.costs.append(hashed[4:6])
            return real(password, hashed)

        monkeypatch.setattr(bcrypt, "checkpw", checkpw)


# Mailboxes and accounts


def test_a_mailbox_prints_with_its_name_and_is_short_without() -> None:
    mailbox = Mailbox("Joe", "joe", "example.org")
    assert str(mailbox) == "Joe <joe@example.org>"
    assert mailbox.short == "joe@example.org"


def test_a_mailbox_without_a_name_prints_its_address() -> None:
    assert str(Mailbox("", "joe", "example.org")) == "joe@example.org"


def test_an_account_lets_its_password_in_and_no_other() -> None:
    joe = account("joe")
    joe.authenticate("secret")
    for wrong in ("", "Secret", "secret ", "x" * 73, "secret\0"):
        with pytest.raises(InvalidCredential):
            joe.authenticate(wrong)


def test_an_account_keeps_a_hash_and_not_the_password_and_prints_neither() -> None:
    joe = account("joe")
    assert joe.hash_pass.startswith("$2b$04$")
    assert "secret" not in repr(joe)
    assert joe.hash_pass not in repr(joe)


@pytest.mark.parametrize("password", ["", "secret", "x"])
def test_h56_an_account_without_a_password_never_logs_in(password: str) -> None:
    system = account("root", password="")
    assert system.hash_pass == ""
    with pytest.raises(InvalidCredential):
        system.authenticate(password)


def test_h57_a_password_of_72_octets_is_taken_whole() -> None:
    full = "é" * 36
    joe = account("joe", password=full)
    joe.authenticate(full)
    with pytest.raises(InvalidCredential):
        joe.authenticate(full[:-1])
    with pytest.raises(InvalidCredential):
        joe.authenticate(full + "x")


@pytest.mark.parametrize("password", ["x" * 73, "é" * 37, "sec\0ret"])
def test_h57_a_password_that_bcrypt_would_cut_is_a_value_error(password: str) -> None:
    with pytest.raises(ValueError, match="72") as caught:
        account("joe", password=password)
    assert isinstance(caught.value, ConfigurationError)
    assert password not in str(caught.value)


def test_a_password_that_is_no_utf8_is_refused_and_not_told() -> None:
    with pytest.raises(ConfigurationError, match="not UTF-8") as caught:
        account("joe", password="secret\udcff")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "local", "domain"),
    [
        ("", "", "example.org"),
        ("", "a b", "example.org"),
        ("", "joe", "exa mple"),
        ("a\r\nb", "joe", "example.org"),
        ("a\udcff", "joe", "example.org"),
        ("", "joe\udcff", "example.org"),
    ],
)
def test_an_account_must_have_an_address_and_a_printable_name(name: str, local: str, domain: str) -> None:
    with pytest.raises(ConfigurationError):
        Account.create(name, local, domain, "")


def test_a_broken_hash_is_no_wrong_password() -> None:
    with pytest.raises(ConfigurationError, match="joe@"):
        Account("", "joe", "example.org", "plain text").authenticate("secret")


# Domains


def test_a_domain_always_has_its_postmaster() -> None:
    domain = Domain("example.org")
    assert domain.postmaster.short == "postmaster@example.org"
    assert domain.accounts["Postmaster"] is domain.postmaster
    with pytest.raises(InvalidCredential):
        domain.postmaster.authenticate("")


@pytest.mark.parametrize(
    "removal",
    [
        lambda domain: domain.remove("POSTMASTER"),
        lambda domain: domain.accounts.__delitem__("Postmaster"),
        lambda domain: domain.accounts.pop("postmaster"),
        lambda domain: domain.accounts.clear(),
    ],
    ids=["remove", "del", "pop", "clear"],
)
def test_a_domain_never_loses_its_postmaster(removal: Callable[[Domain], object]) -> None:
    domain = Domain("example.org")
    domain.add(account("joe"))
    with pytest.raises(ConfigurationError, match="must keep its postmaster"):
        removal(domain)
    assert domain.postmaster.short == "postmaster@example.org"
    assert set(domain.accounts) == {"postmaster", "joe"}


def test_the_postmaster_may_be_given_a_password() -> None:
    domain = Domain("example.org")
    domain.add(account("postmaster"))
    domain.postmaster.authenticate("secret")


def test_local_parts_are_matched_in_any_case_and_normal_form() -> None:
    domain = Domain("example.org")
    domain.add(account("Jürgen"))
    assert domain.accounts["JU\u0308RGEN"].local == "Jürgen"


@pytest.mark.parametrize("local", ["H\u0331", "J\u030c", "\u03aa\u0301"])
def test_a_letter_that_composes_with_a_mark_only_where_it_is_small_is_matched_too(local: str) -> None:
    domain = Domain("example.org")
    domain.add(account(local))
    for written in (local, local.lower(), unicodedata.normalize("NFC", local.lower())):
        assert domain.accounts.get(written) is domain.accounts[written]


def test_an_account_is_added_replaced_and_removed() -> None:
    domain = Domain("example.org")
    domain.add(account("joe"))
    domain.add(account("JOE", password="other"))
    domain.accounts["joe"].authenticate("other")
    domain.remove("Joe")
    assert "joe" not in domain.accounts
    with pytest.raises(KeyError):
        domain.remove("joe")


def test_an_account_of_another_domain_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="joe@"):
        Domain("example.org").add(account("joe", "example.com"))


def test_a_domain_must_have_a_name() -> None:
    for name in ("", "a b", "a@b"):
        with pytest.raises(ConfigurationError):
            Domain(name)


def test_a_domain_keeps_its_dkim_options_and_does_not_print_the_key() -> None:
    options = DKIMOptions("mail", b"-----BEGIN PRIVATE KEY-----")
    assert Domain("example.org", options).dkim is options
    assert "PRIVATE" not in repr(options)


# Environments


def test_accounts_are_found_by_address(environment: Environment) -> None:
    joe = environment.find("Joe@EXAMPLE.org")
    assert joe is not None
    assert joe.name == "Joe"
    assert environment.find("ann@example.org") is None
    assert environment.find("joe@example.com") is None


def test_an_address_without_a_domain_is_one_of_the_primary_domain(environment: Environment) -> None:
    assert environment.find("Postmaster") is environment.primary_domain.postmaster
    assert environment.domain_of("Postmaster") is environment.primary_domain


@pytest.mark.parametrize(
    "name", ["bücher.example", "BÜCHER.example", "xn--bcher-kva.example", "XN--BCHER-KVA.EXAMPLE"]
)
def test_h68_the_u_label_and_the_a_label_name_the_same_domain(environment: Environment, name: str) -> None:
    ann = environment.find(f"ann@{name}")
    assert ann is not None
    assert ann.local == "ann"
    assert environment.same(f"ann@{name}", "Ann@bücher.example")


def test_the_at_of_a_quoted_local_part_is_not_the_domains() -> None:
    environment = Environment(Domain("example.org"))
    assert environment.domain_of('"a@example.org"@example.com') is None
    assert environment.domain_of('"a@example.com"@example.org') is environment.primary_domain


def test_a_virtual_domain_can_be_added_later(environment: Environment) -> None:
    environment.virtual_domains["Example.NET"] = Domain("example.net")
    assert environment.find("postmaster@example.net") is not None
    assert [domain.name for domain in environment.domains] == ["example.org", "bücher.example", "example.net"]


@pytest.mark.parametrize("names", [("a.org", "b.org"), ("example.org", "example.org")])
def test_virtual_domains_that_contradict_are_refused(names: tuple[str, str]) -> None:
    with pytest.raises(ConfigurationError):
        Environment(Domain("example.org"), {names[0]: Domain(names[1])})


def test_a_domain_is_added_under_its_own_name_only(environment: Environment) -> None:
    environment.virtual_domains["XN--BCHER-KVA.net"] = Domain("bücher.net")
    with pytest.raises(ConfigurationError, match=r"virtual domain 'a\.org' is given the Domain 'b\.org'"):
        environment.virtual_domains["a.org"] = Domain("b.org")
    assert "a.org" not in environment.virtual_domains


def test_an_account_is_put_under_its_own_local_part_only() -> None:
    domain = Domain("example.org")
    domain.accounts["JOE"] = account("joe")
    with pytest.raises(ConfigurationError, match="local part 'ann' is given the account joe@"):
        domain.accounts["ann"] = account("joe")


@given(st.text(max_size=40))
def test_no_text_makes_a_lookup_raise(text: str) -> None:
    environment = Environment(Domain("example.org"))
    environment.find(text)
    environment.knows(text)
    assert environment.same(text, text)


# Aliases


def test_an_address_without_an_alias_expands_to_itself(environment: Environment) -> None:
    assert environment.expand("joe@example.org") == ["joe@example.org"]
    assert environment.expand("x@elsewhere.example") == ["x@elsewhere.example"]


def test_an_alias_expands_over_domains_and_other_aliases(environment: Environment) -> None:
    environment.primary_domain.aliases["staff"] = [
        "joe@example.org",
        "team@bücher.example",
        "x@elsewhere.example",
    ]
    environment.virtual_domains["bücher.example"].aliases["team"] = ["ann@bücher.example"]
    assert environment.expand("Staff@example.org") == [
        "joe@example.org",
        "ann@bücher.example",
        "x@elsewhere.example",
    ]
    assert environment.knows("STAFF@example.org")


def test_an_alias_may_name_a_local_part_of_the_primary_domain(environment: Environment) -> None:
    environment.primary_domain.aliases["staff"] = ["joe"]
    assert environment.expand("staff") == ["joe@example.org"]


def test_h74_each_member_comes_once(environment: Environment) -> None:
    aliases = environment.primary_domain.aliases
    aliases["one"] = ["joe@example.org", "two@example.org", "JOE@Example.org"]
    aliases["two"] = ["joe@example.org", "x@elsewhere.example"]
    assert environment.expand("one") == ["joe@example.org", "x@elsewhere.example"]


def test_h74_a_list_that_contains_itself_has_its_other_members(environment: Environment) -> None:
    environment.primary_domain.aliases["staff"] = ["staff@example.org", "joe@example.org"]
    assert environment.expand("staff") == ["joe@example.org"]


def test_an_alias_of_an_account_may_keep_its_copy(environment: Environment) -> None:
    environment.primary_domain.aliases["joe"] = ["joe@example.org", "archive@elsewhere.example"]
    assert environment.expand("joe") == ["joe@example.org", "archive@elsewhere.example"]


def test_h74_an_alias_loop_is_554(environment: Environment) -> None:
    aliases = environment.primary_domain.aliases
    aliases["a"], aliases["b"], aliases["c"] = ["b@example.org"], ["c@example.org"], ["a@example.org"]
    with pytest.raises(ConfigurationError) as caught:
        environment.expand("a")
    assert (caught.value.code, caught.value.enhanced) == (554, "5.4.6")


def test_h74_a_chain_of_10000_aliases_is_followed_without_recursion(environment: Environment) -> None:
    aliases = environment.primary_domain.aliases
    for number in range(10_000):
        aliases[f"a{number}"] = [f"a{number + 1}"]
    assert environment.expand("a0") == ["a10000@example.org"]


# Logins


def test_an_alias_leaves_the_case_of_somebody_elses_local_part_to_him(environment: Environment) -> None:
    members = ["Joe@far.example", "joe@far.example", "joe@FAR.example"]
    environment.primary_domain.aliases["one"] = members
    assert environment.expand("one@example.org") == members[:2]


@pytest.mark.parametrize("username", ["joe@example.org", "JOE@Example.Org", "joe"])
def test_a_user_logs_in_by_address_or_by_local_part_of_the_primary_domain(
    environment: Environment, username: str
) -> None:
    assert environment.authenticate(username, "secret").short == "joe@example.org"


def test_a_user_of_a_virtual_domain_logs_in_by_address_only(environment: Environment) -> None:
    assert environment.authenticate("ann@xn--bcher-kva.example", "other").local == "ann"
    with pytest.raises(InvalidCredential):
        environment.authenticate("ann", "other")


@pytest.mark.parametrize("username", ["joe", "nobody", "postmaster", "joe@elsewhere.example", ""])
def test_h55_an_unknown_user_costs_the_work_and_gets_the_bytes_of_a_wrong_password(
    environment: Environment, username: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    checks = Checks(monkeypatch)
    with pytest.raises(InvalidCredential) as caught:
        environment.authenticate(username, "wrong")
    assert checks.costs == [b"04"]
    assert (caught.value.code, caught.value.enhanced) == (535, "5.7.8")
    assert str(caught.value) == "authentication credentials invalid"


@pytest.mark.parametrize("username", ["joe", "nobody", "postmaster"])
@pytest.mark.parametrize("password", ["x" * 73, "a\0b"])
def test_h57_a_login_with_a_password_that_bcrypt_would_cut_is_refused(
    environment: Environment, username: str, password: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    checks = Checks(monkeypatch)
    with pytest.raises(InvalidCredential):
        environment.authenticate(username, password)
    assert checks.costs == []


def test_h55_the_decoy_lets_no_password_in(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    def always(*_: Any) -> bool:
        return True

    monkeypatch.setattr(bcrypt, "checkpw", always)
    with pytest.raises(InvalidCredential):
        environment.authenticate("nobody", "any")
