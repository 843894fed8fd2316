"""Domains and accounts: who gets mail here, and who may log in. Nothing here awaits; bcrypt blocks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import bcrypt

from smtpx._core import parse_path
from smtpx.errors import AddressError, ConfigurationError, InvalidCredential
from smtpx.folding import Folded, fold_address, fold_domain, fold_local

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping, Sequence

__all__ = ["Account", "DKIMOptions", "Domain", "Environment", "FinalRecipient", "Mailbox", "MailingList"]

_ROUNDS = 12
_MAX_PASSWORD = 72  # octets; bcrypt looks at no more


@dataclass(frozen=True, slots=True)
class Mailbox:
    """A mailbox (RFC 5321 2.3.11) and the name of the person behind it ("" for none)."""

    name: str
    local: str
    domain: str

    @property
    def short(self) -> str:
        """The address: ``local@domain``."""
        return f"{self.local}@{self.domain}"

    def __str__(self) -> str:
        return f"{self.name} <{self.short}>" if self.name else self.short


@dataclass(frozen=True, slots=True)
class Account(Mailbox):
    """A mailbox that mail is taken for, and, with a password, somebody who may log in.

    Attributes:
        hash_pass: the password's bcrypt hash; "" is a system account, which never logs in.

    """

    hash_pass: str = field(default="", repr=False)

    @classmethod
    def create(cls, name: str, local: str, domain: str, password: str, *, rounds: int = _ROUNDS) -> Account:
        """Make an account; bcrypt takes some 0.2 s at the default 12 ``rounds`` (their number is 2**rounds).

        Raises:
            ConfigurationError: the address is none; or the password is over 72 octets of UTF-8 or has a NUL,
                so that bcrypt would silently take its first part for the whole; or it, or the name, is no
                UTF-8.

        """
        if any(ord(char) < 32 or char == "\x7f" for char in name) or not _is_utf8(name):
            raise ConfigurationError(
                f"account name {name!r} has control characters, or is not UTF-8: correct it"
            )
        local, _, domain = _checked(f"{local}@{domain}").rpartition("@")
        if not password:
            return cls(name, local, domain)
        if not _is_utf8(password):  # typed in another encoding than this machine's: no client could send it
            raise ConfigurationError(f"the password of {local}@{domain} is not UTF-8: choose another")
        secret = password.encode()
        if _unfit(secret):
            raise ConfigurationError(
                f"the password of {local}@{domain} has a NUL or over {_MAX_PASSWORD} octets: choose another"
            )
        return cls(name, local, domain, bcrypt.hashpw(secret, bcrypt.gensalt(rounds)).decode("ascii"))

    def authenticate(self, password: str) -> None:
        """Check the password; blocks for bcrypt's work.

        Raises:
            InvalidCredential: it is not the password, or this is a system account.
            ConfigurationError: ``hash_pass`` is no bcrypt hash.

        """
        if not self.hash_pass:
            raise InvalidCredential
        if not _check(password, self.hash_pass.encode(), self.short):
            raise InvalidCredential


@dataclass(frozen=True, slots=True)
class DKIMOptions:
    """What signs a domain's mail (RFC 6376): the selector below ``_domainkey``, the private key in PEM."""

    selector: str
    private_key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class MailingList:
    """A list: its mail goes to the members with the owner as its sender (RFC 5321 3.9.2).

    So what cannot be delivered comes back to who can mend the list, not to who wrote to it. That is all that
    sets it apart from an alias.

    Attributes:
        members: addresses, here or elsewhere.
        owner: an address; "" is the postmaster of the list's domain.

    """

    members: Sequence[str]
    owner: str = ""


@dataclass(frozen=True, slots=True)
class FinalRecipient:
    """Whom a message goes to when every alias and list has been followed.

    Attributes:
        address: a mailbox here or elsewhere.
        owner: the owner of the last list on the way, or None.

    """

    address: str
    owner: str | None = None


class Domain:
    """A domain that mail is taken for; it always has its postmaster (RFC 5321 4.5.1), a system account.

    A local part is looked for among the aliases, the lists and the accounts; then, up to its first
    ``subaddress``, once more (RFC 5233); then there is the ``catch_all``.

    Attributes:
        name: as given; U-label and A-label name the same domain (RFC 5890), in any case.
        dkim: its signing options, or None.
        accounts: the accounts by local part, which is matched in any case.
        aliases: local part to addresses, here or elsewhere, in place of an account or beside it.
        lists: local part to mailing list, likewise.
        catch_all: an address, here or elsewhere, for every other local part; None: that is refused.
        subaddress: what parts user and tag in ``user+tag``; "" parts nothing.

    Raises:
        ConfigurationError: ``name`` is no domain.

    """

    def __init__(self, name: str, dkim: DKIMOptions | None = None) -> None:
        _checked(f"postmaster@{name}")
        self.name = name
        self.dkim = dkim
        self.accounts: MutableMapping[str, Account] = _Accounts(fold_local)
        self.aliases: MutableMapping[str, list[str]] = Folded(fold_local)
        self.lists: MutableMapping[str, MailingList] = Folded(fold_local)
        self.catch_all: str | None = None
        self.subaddress = "+"
        self.add(Account("", "postmaster", name))

    @property
    def postmaster(self) -> Account:
        """Its account for mail about mail."""
        return self.accounts["postmaster"]

    def add(self, account: Account) -> None:
        """Add the account, or put it in the place of the one of that local part.

        Raises:
            ConfigurationError: it is an account of another domain.

        """
        if fold_domain(account.domain) != fold_domain(self.name):
            raise ConfigurationError(
                f"{account.short} is no account of {self.name}: add it to its own domain"
            )
        self.accounts[account.local] = account

    def remove(self, local: str) -> None:
        """Remove an account.

        Raises:
            KeyError: there is none of that local part.
            ConfigurationError: it is the postmaster, whom every domain has.

        """
        del self.accounts[local]

    def entry(self, local: str) -> Sequence[str] | MailingList | Account | None:
        """Return what a local part stands for: the alias before the list, the list before the account."""
        found = self._exact(local)
        if found is None and self.subaddress:
            user, parted, _ = local.partition(self.subaddress)
            found = self._exact(user) if parted else None
        if found is None and self.catch_all is not None:
            return (self.catch_all,)
        return found

    def account(self, local: str) -> Account | None:
        """Return the account whose mailbox a local part names, by a subaddress too; no alias is followed."""
        account = self.accounts.get(local)
        if account is None and self.subaddress and local not in self.aliases and local not in self.lists:
            user, parted, _ = local.partition(self.subaddress)
            account = self.accounts.get(user) if parted else None
        return account

    def _exact(self, local: str) -> Sequence[str] | MailingList | Account | None:
        # Nearly all mail is for accounts of domains with few aliases: an empty table is not asked.
        if self.aliases and (alias := self.aliases.get(local)) is not None:
            return alias
        if self.lists and (listed := self.lists.get(local)) is not None:
            return listed
        return self.accounts.get(local)

    def __repr__(self) -> str:
        return f"<Domain {self.name} accounts={len(self.accounts)} aliases={len(self.aliases)}>"


class Environment:
    """All domains of a server.

    An address without a domain is one of the primary domain. No method raises for an address that is none: it
    is simply not here.

    Attributes:
        primary_domain: the one whose name the server bears.
        virtual_domains: the others, by name; U-label and A-label are the same key, in any case.

    Raises:
        ConfigurationError: a key of ``virtual_domains`` is not its Domain's name, or is the primary one's.

    """

    def __init__(self, primary_domain: Domain, virtual_domains: Mapping[str, Domain] | None = None) -> None:
        self.primary_domain = primary_domain
        self.virtual_domains: MutableMapping[str, Domain] = _Domains(fold_domain)
        for name, domain in (virtual_domains or {}).items():
            if fold_domain(name) == fold_domain(primary_domain.name):
                raise ConfigurationError(
                    f"{name} is the primary domain already: take it out of virtual_domains"
                )
            self.virtual_domains[name] = domain

    @property
    def domains(self) -> list[Domain]:
        """Every domain, the primary one first."""
        return [self.primary_domain, *self.virtual_domains.values()]

    def qualify(self, name: str) -> str:
        """Return an address as it is, a bare local part as one of the primary domain."""
        return name if "@" in name else f"{name}@{self.primary_domain.name}"

    def domain_of(self, address: str) -> Domain | None:
        """Return the local domain of the address; None when it is somebody else's."""
        _, at, name = address.rpartition("@")
        primary = self.primary_domain
        # Nearly always it is written as we write it: this is asked several times for each recipient.
        if not at or name == primary.name or fold_domain(name) == fold_domain(primary.name):
            return primary
        return self.virtual_domains.get(name)

    def find(self, address: str) -> Account | None:
        """Return the account whose mailbox this is: of the address, or of its user when it has a tag.

        No alias is followed, and no catch-all.
        """
        domain = self.domain_of(address)
        return None if domain is None else domain.account(_local(address))

    def same(self, one: str, other: str) -> bool:
        """Tell whether two addresses name one mailbox: any case, U-label or A-label, with a tag or not."""
        return self._mailbox(one) == self._mailbox(other)

    def key(self, address: str) -> str:
        """Return what is the same for each spelling of an address.

        Local parts of others may differ by case alone (RFC 5321 2.4).
        """
        if self.domain_of(address) is not None:
            return fold_address(self.qualify(address))
        local, _, domain = address.rpartition("@")
        return f"{local}@{fold_domain(domain)}"

    def expand(self, address: str) -> list[str]:
        """Return whom mail to the address goes to, each once: as `resolve`, without the owners of lists.

        Raises:
            ConfigurationError: as of `resolve`.

        """
        return [each.address for each in self.resolve(address)]

    def resolve(self, address: str) -> list[FinalRecipient]:
        """Return whom mail to the address goes to, each once: aliases and lists are followed to the end.

        An address that is neither comes back as it is; it is not asked whether it exists. An alias or a list
        that comes by within itself stands for the account of its name, when there is one, so that
        ``joe -> joe, archive`` keeps a copy. Whom a list and an alias reach both, gets it by the alias.

        Raises:
            ConfigurationError: they only lead back to themselves (with the reply 554 5.4.6).

        """
        found: dict[str, FinalRecipient] = {}
        seen: set[str] = set()
        waiting: list[_Step] = [_Step(self.qualify(address))]
        while waiting:  # no recursion: aliases are as deep as somebody wrote them
            step = waiting.pop()
            entry = self.entry(step.address)
            if entry is None or isinstance(entry, Account):
                _reach(found, self.key(step.address), step)
            elif step.key not in seen:
                seen.add(step.key)
                members, owner = self._members(step, entry)
                waiting.extend(_Step(self.qualify(member), owner, step) for member in reversed(members))
            elif step.is_within_itself() and self.find(step.address) is not None:
                _reach(found, step.key, step)
        if not found:
            error = ConfigurationError(f"the alias {address} leads only back to itself: give it a member")
            error.code, error.enhanced = 554, "5.4.6"
            raise error
        return list(found.values())

    def is_final(self, address: str) -> bool:
        """Tell whether the address stands for nothing but itself, so that `resolve` has nothing to do."""
        entry = self.entry(address)
        return "@" in address and (entry is None or isinstance(entry, Account))

    def knows(self, address: str) -> bool:
        """Tell whether mail to the address is taken here: for an account, an alias, a list or a catch-all."""
        return self.entry(address) is not None

    def authenticate(self, username: str, password: str) -> Account:
        """Return the account that logs in, as ``local@domain`` or a local part of the primary domain; blocks.

        An unknown user and a system account cost the same bcrypt work as a wrong password, and raise the same
        error, so that neither tells who has an account here.

        Raises:
            InvalidCredential: the user or the password is wrong.
            ConfigurationError: the account's ``hash_pass`` is no bcrypt hash.

        """
        domain = self.domain_of(username)
        account = None if domain is None else domain.accounts.get(_local(username))
        if account is None or not account.hash_pass:
            _check(password, self._decoy(), "the decoy")
            raise InvalidCredential
        account.authenticate(password)
        return account

    def entry(self, address: str) -> Sequence[str] | MailingList | Account | None:
        """Return what the address stands for: an alias' members, a list, an account; None: nobody here."""
        domain = self.domain_of(address)
        return None if domain is None else domain.entry(_local(address))

    def _members(self, step: _Step, entry: Sequence[str] | MailingList) -> tuple[Sequence[str], str | None]:
        """Return where it goes on from here, and the owner of the last list on the way."""
        if not isinstance(entry, MailingList):
            return entry, step.owner
        owner = entry.owner or f"postmaster@{step.address.rpartition('@')[2]}"
        return entry.members, self.qualify(owner)

    def _mailbox(self, address: str) -> str:
        account = self.find(address)
        return fold_address(self.qualify(address) if account is None else account.short)

    def _decoy(self) -> bytes:
        """Return the hash of no known password, of the cost that the accounts here have."""
        hashes = (account.hash_pass for domain in self.domains for account in domain.accounts.values())
        sample = next(filter(None, hashes), f"$2b${_ROUNDS}$")
        return sample[:7].encode() + b"." * 53


class _Step:
    """An address on the way to the final ones, and the one that led to it."""

    __slots__ = ("address", "key", "owner", "source")

    def __init__(self, address: str, owner: str | None = None, source: _Step | None = None) -> None:
        self.address = address
        self.key = fold_address(address)
        self.owner = owner
        self.source = source

    def is_within_itself(self) -> bool:
        step = self.source
        while step is not None and step.key != self.key:
            step = step.source
        return step is not None


def _reach(found: dict[str, FinalRecipient], key: str, step: _Step) -> None:
    known = found.get(key)
    if known is None or (known.owner is not None and step.owner is None):
        found[key] = FinalRecipient(step.address, step.owner)


class _Domains(Folded[Domain]):
    """Domains, each under its own name."""

    __slots__ = ()

    def __setitem__(self, key: str, value: Domain) -> None:
        if fold_domain(key) != fold_domain(value.name):
            raise ConfigurationError(f"virtual domain {key!r} is given the Domain {value.name!r}")
        super().__setitem__(key, value)


class _Accounts(Folded[Account]):
    """The accounts of a domain, each under its local part; the postmaster stays (RFC 5321 4.5.1)."""

    __slots__ = ()

    def __setitem__(self, key: str, value: Account) -> None:
        if fold_local(key) != fold_local(value.local):
            raise ConfigurationError(f"local part {key!r} is given the account {value.short}")
        super().__setitem__(key, value)

    def __delitem__(self, key: str) -> None:
        if fold_local(key) == "postmaster":
            raise ConfigurationError("a domain must keep its postmaster")
        super().__delitem__(key)


def _local(address: str) -> str:
    local, at, domain = address.rpartition("@")
    return local if at else domain


def _checked(address: str) -> str:
    try:
        return parse_path(f"<{address}>")
    except AddressError as error:
        raise ConfigurationError(f"{address!r} is no address: {error}") from None


def _is_utf8(text: str) -> bool:
    """Tell whether the text has octets at all: lone surrogates, as of an argument in Latin-1, have none."""
    return not any("\ud800" <= char <= "\udfff" for char in text)


def _unfit(secret: bytes) -> bool:
    return len(secret) > _MAX_PASSWORD or b"\0" in secret


def _check(password: str, hashed: bytes, whose: str) -> bool:
    secret = password.encode("utf-8", "surrogatepass")
    if _unfit(secret):
        return False
    try:
        return bcrypt.checkpw(secret, hashed)
    except ValueError:
        raise ConfigurationError(
            f"the password hash of {whose} is no bcrypt hash: set the password anew"
        ) from None
