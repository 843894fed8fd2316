"""[domains], deliver and [relay] networks of the configuration, and the environment that they make."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from smtpx.config import load
from smtpx.domain_config import DomainConfig, ListConfig, build_domains, check_members
from smtpx.environment import Account, FinalRecipient
from smtpx.errors import ConfigurationError

from tests.config_files import faults, read

if TYPE_CHECKING:
    from pathlib import Path

HEAD = 'hostname = "a.org"\n[domains."b.org"]\n'


# What it means


def test_a_domain_with_everything(file: Path) -> None:
    config = read(
        file,
        """
hostname = "mail.b.org"
deliver = "maildir:/srv/mail/{domain}/{local}"
[domains."b.org"]
deliver = "lmtp+unix:///run/dovecot/lmtp"
catch_all = "joe@b.org"
subaddress = "-"
aliases.info = ["joe@b.org"]
lists.news = { members = ["joe@b.org", "x@far.example"], owner = "ann@b.org" }
lists.plain.members = ["joe@b.org"]
""",
    )
    assert config.deliver == "maildir:/srv/mail/{domain}/{local}"
    assert config.domains["b.org"] == DomainConfig(
        aliases={"info": ("joe@b.org",)},
        lists={
            "news": ListConfig(("joe@b.org", "x@far.example"), "ann@b.org"),
            "plain": ListConfig(("joe@b.org",)),
        },
        catch_all="joe@b.org",
        subaddress="-",
        deliver="lmtp+unix:///run/dovecot/lmtp",
    )


def test_the_environment_has_it_all(file: Path) -> None:
    text = HEAD + 'catch_all = "joe@b.org"\nsubaddress = "-"\n'
    config = read(file, text + 'aliases.info = ["x@far.example"]\nlists.news.members = ["joe@b.org"]\n')
    environment = build_domains(config.hostname, config.domains)
    environment.virtual_domains["b.org"].add(Account("", "joe", "b.org"))
    assert environment.expand("info@b.org") == ["x@far.example"]
    assert environment.resolve("news@b.org") == [FinalRecipient("joe@b.org", "postmaster@b.org")]
    assert environment.expand("joe-x@b.org") == ["joe-x@b.org"]
    assert environment.expand("whoever@b.org") == ["joe@b.org"]


def test_the_hostname_may_be_among_the_domains() -> None:
    environment = build_domains("a.org", {"A.org": DomainConfig(aliases={"info": ("x@far.example",)})})
    assert [domain.name for domain in environment.domains] == ["a.org"]
    assert environment.expand("info") == ["x@far.example"]


def test_networks_that_may_relay(file: Path) -> None:
    config = read(file, 'hostname = "a.org"\n[relay]\nnetworks = ["10.0.0.0/8", "2001:db8::/32"]')
    assert config.relay.networks == ("10.0.0.0/8", "2001:db8::/32")


# How faults are told


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("lists.news = {}", "'members' is missing: write members = [\"joe@example.org\"]"),
        ("lists.news.members = []", "'news' stands for nobody: name an address, or remove it"),
        ('lists.news.members = ["joe"]', "'joe' is not an address, as \"joe@example.org\": it has no domain"),
        ('lists."a b".members = ["joe@c.org"]', "'a b@b.org' is not the local part of an address"),
        ('lists.news = { members = ["x@c.org"], owner = "joe" }', "'joe' is not an address, as"),
        ('lists.news = { members = ["x@c.org"], ower = "" }', "unknown key 'ower', did you mean 'owner'?"),
        ('lists.news.members = ["news@b.org"]', "'news' leads only back to itself"),
        ('catch_all = "joe"', "'joe' is not an address, as"),
        ("catch_all = true", "'catch_all' must be a string, in quotes, not true"),
        ('subaddress = "@"', "'subaddress' '@' parts no local part: write \"+\", or \"\" for none"),
        ('subaddress = "\\u0000"', "'subaddress' '\\x00' parts no local part"),
        ('deliver = "/var/mail"', "'deliver': '/var/mail' names no place for mail: write \"maildir:"),
        ('deliver = "maildir:mail/{local}"', "'deliver': 'mail/{local}' is no absolute path"),
        ('deliver = "maildir:/m/{domain}"', "'deliver': '/m/{domain}' is one folder for all: write {local}"),
        ('deliver = "lmtp://localhost"', "'deliver': the URL has no port from 1 to 65535"),
    ],
)
def test_a_fault_of_a_domain_has_the_line_of_its_key(file: Path, text: str, told: str) -> None:
    (line,) = faults(file, HEAD + text)
    assert line.startswith(f"line 3: {told}")


def test_an_alias_that_is_a_list_too_is_told(file: Path) -> None:
    text = HEAD + 'aliases.news = ["x@c.org"]\nlists.News.members = ["y@c.org"]'
    assert faults(file, text) == ["line 4: 'News' is an alias too: remove one"]


def test_h74_a_loop_through_a_list_and_an_alias_is_told(file: Path) -> None:
    text = HEAD + 'aliases.a = ["l@b.org"]\nlists.l.members = ["a@b.org"]'
    lines = faults(file, text)
    assert [line.split(": ")[:2] for line in lines] == [
        ["line 3", "'a' leads only back to itself"],
        ["line 4", "'l' leads only back to itself"],
    ]


def test_an_alias_that_keeps_a_copy_under_a_tag_is_no_loop(file: Path) -> None:
    assert read(file, HEAD + 'aliases.joe = ["joe+kept@b.org"]').domains["b.org"].aliases


@pytest.mark.parametrize(
    ("network", "told"),
    [
        ("10.0.0.1/8", "'10.0.0.1/8' is not a network: 10.0.0.1/8 has host bits set; write one like"),
        ("0.0.0.0/0", "'0.0.0.0/0' is the whole internet: name the networks of your own machines"),
    ],
)
def test_a_network_that_is_none_is_told(file: Path, network: str, told: str) -> None:
    (line,) = faults(file, f'hostname = "a.org"\n[relay]\nnetworks = [\n"10.0.0.0/8", "{network}"]')
    assert line.startswith(f"line 3: {told}")


# Mailboxes


def test_domains_whose_users_would_share_mailboxes_are_told(file: Path) -> None:
    text = 'hostname = "a.org"\ndeliver = "maildir:/m/{local}"\n[domains."b.org"]'
    (line,) = faults(file, text)
    told = "'maildir:/m/{local}' would have the users of b.org and a.org share mailboxes"
    assert line == f"line 2: {told}: write {{domain}} in it"


def test_one_domain_alone_needs_no_folder_of_its_own(file: Path) -> None:
    text = 'hostname = "a.org"\n[domains."b.org"]\ndeliver = "maildir:/m/{local}"'
    assert read(file, text).domains["b.org"].deliver == "maildir:/m/{local}"


def test_the_folder_of_the_mailboxes_must_be_there(file: Path, tmp_path: Path) -> None:
    (tmp_path / "accounts.toml").touch()
    (tmp_path / "mail").mkdir()
    head = 'hostname = "a.org"\nspool = "."\naccounts = "accounts.toml"\n'
    good = head + f'deliver = "maildir:{tmp_path}/mail/{{domain}}/{{local}}"\n'
    file.write_text(good, encoding="utf-8")
    load(file)
    (line,) = faults(
        file, good + f'[domains."b.org"]\ndeliver = "maildir:{tmp_path}/none/{{local}}"', files=True
    )
    assert (
        line
        == f"line 6: 'deliver': there is no folder {tmp_path}/none: make it (mkdir -m 700), or correct it"
    )


# What leads nowhere, once the accounts are known


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('aliases.info = ["gone@b.org"]', "'info' leads to gone@b.org"),
        ('lists.news.members = ["joe@b.org", "gone@b.org"]', "'news' leads to gone@b.org"),
        (
            'lists.news = { members = ["joe@b.org"], owner = "gone@b.org" }',
            "'news.owner' leads to gone@b.org",
        ),
        ('catch_all = "gone@b.org"', "'catch_all' leads to gone@b.org"),
    ],
)
def test_what_leads_to_nobody_is_told_by_check(file: Path, text: str, told: str) -> None:
    config = read(file, HEAD + text)
    environment = build_domains(config.hostname, config.domains)
    environment.virtual_domains["b.org"].add(Account("", "joe", "b.org"))
    with pytest.raises(ConfigurationError) as raised:
        check_members(file, config.domains, environment)
    mend = "make it with smtpx account add gone@b.org, or correct it"
    assert str(raised.value) == f"{file}: line 3: {told}, which is no mailbox here: {mend}"


def test_what_leads_to_accounts_lists_and_elsewhere_is_good(file: Path) -> None:
    text = 'catch_all = "news@b.org"\nlists.news.members = ["joe+x@b.org", "x@far.example"]'
    config = read(file, HEAD + text)
    environment = build_domains(config.hostname, config.domains)
    environment.virtual_domains["b.org"].add(Account("", "joe", "b.org"))
    check_members(file, config.domains, environment)
