"""``[domains]`` of the configuration: who gets mail at a domain, and where it goes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping  # noqa: TC003 - fields are read at run time
from dataclasses import dataclass, field
from pathlib import Path  # noqa: TC003 - likewise

from smtpx._core import parse_mailbox
from smtpx.dkim import signer
from smtpx.environment import DKIMOptions, Domain, Environment, MailingList
from smtpx.errors import AddressError, ConfigurationError
from smtpx.folding import fold_domain, fold_local
from smtpx.local_delivery import local_transport, maildir_template
from smtpx.places import NO_FOLDER, check_place
from smtpx.toml import Document, Where

__all__ = [
    "DKIMConfig",
    "DomainConfig",
    "ListConfig",
    "build_domains",
    "check_deliveries",
    "check_domain",
    "check_folders",
    "check_keys",
    "check_members",
    "check_names",
    "check_spellings",
]


@dataclass(frozen=True, slots=True)
class ListConfig:
    """``lists.news`` of a domain: a mailing list."""

    members: tuple[str, ...] = field(metadata={"example": '["joe@example.org"]'})
    owner: str = ""
    """Who gets what cannot be delivered; "" is the postmaster of the domain."""


@dataclass(frozen=True, slots=True)
class DKIMConfig:
    """``dkim`` of a domain: what signs its mail, see `DKIMOptions`."""

    selector: str = field(metadata={"example": '"s1"'})
    key: Path = field(metadata={"example": '"/etc/smtpx/dkim/example.org.pem"'})

    def read(self, domain: str) -> DKIMOptions:
        """Return the options with the key itself.

        Raises:
            ConfigurationError: the key cannot be read, or it or the selector is not fit.

        """
        try:
            options = DKIMOptions(self.selector, self.key.read_bytes())
        except OSError as error:
            mend = f"make one with smtpx dkim new {domain}, or let the server read it"
            raise ConfigurationError(f"the DKIM key {self.key}: {error.strerror}: {mend}") from error
        signer(options, domain)
        return options


@dataclass(frozen=True, slots=True)
class DomainConfig:
    """``[domains."example.org"]``: a domain that mail is taken for."""

    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """A local part, and the addresses that it stands for."""
    lists: Mapping[str, ListConfig] = field(default_factory=dict)
    catch_all: str | None = None
    """The address that gets the mail for every other local part."""
    subaddress: str = "+"
    deliver: str | None = None
    dkim: DKIMConfig | None = None


def build_domains(hostname: str, domains: Mapping[str, DomainConfig]) -> Environment:
    """Make the environment of these domains, without accounts."""
    primary = Domain(hostname)
    virtual = {}
    for name, settings in domains.items():
        domain = primary if fold_domain(name) == fold_domain(hostname) else Domain(name)
        domain.aliases.update({local: list(members) for local, members in settings.aliases.items()})
        domain.lists.update(
            {local: MailingList(each.members, each.owner) for local, each in settings.lists.items()}
        )
        domain.catch_all, domain.subaddress = settings.catch_all, settings.subaddress
        if domain is not primary:
            virtual[name] = domain
    return Environment(primary, virtual)


def check_names(document: Document, hostname: str, domains: Mapping[str, DomainConfig]) -> None:
    """Look for what is no name or no address, or leads only back to itself."""
    sound = check_domain(document, ("hostname",), hostname)
    check_spellings(document, ("domains",), domains, fold_domain)
    for name, domain in domains.items():
        where: Where = ("domains", name)
        sound = check_domain(document, where, name) and sound
        check_spellings(document, (*where, "aliases"), domain.aliases, fold_local)
        check_spellings(document, (*where, "lists"), domain.lists, fold_local)
        aliases = set(map(fold_local, domain.aliases))
        for local in domain.lists:
            if fold_local(local) in aliases:
                document.fault((*where, "lists", local), f"'{local}' is an alias too: remove one")
        for place, local, members in _groups(name, domain):
            _check_address(document, place, f"{local}@{name}", "the local part of an address")
            if not members:
                document.fault(place, f"'{local}' stands for nobody: name an address, or remove it")
        for place, _, address in _targets(name, domain):
            _check_address(document, place, address, 'an address, as "joe@example.org"')
        if "@" in domain.subaddress or not domain.subaddress.isprintable():
            told = f'\'subaddress\' {domain.subaddress!r} parts no local part: write "+", or "" for none'
            document.fault((*where, "subaddress"), told)
    if sound:
        _check_loops(document, build_domains(hostname, domains), domains)


def check_members(path: Path, domains: Mapping[str, DomainConfig], environment: Environment) -> None:
    """Look for aliases, lists and catch-alls that lead to a mailbox that is not here.

    The server runs with such: accounts come and go while it does, and a member who is gone is no reason to
    refuse the others' mail.

    Raises:
        ConfigurationError: a line for each, as of `config.load`.

    """
    document = Document(path)
    for name, domain in domains.items():
        for where, what, address in _targets(name, domain):
            if not _leads_somewhere(environment, address):
                mend = f"make it with smtpx account add {address}, or correct it"
                document.fault(where, f"'{what}' leads to {address}, which is no mailbox here: {mend}")
    document.finish()


def check_deliveries(
    document: Document, hostname: str, deliver: str, domains: Mapping[str, DomainConfig]
) -> None:
    """Look for places of mail that cannot work, or that two domains would share."""
    ways: dict[str, list[str]] = {deliver: []}
    _check_delivery(document, ("deliver",), deliver)
    for name, domain in domains.items():
        if domain.deliver is not None:
            _check_delivery(document, ("domains", name, "deliver"), domain.deliver)
        ways.setdefault(domain.deliver or deliver, []).append(name)
    if fold_domain(hostname) not in map(fold_domain, domains):
        ways[deliver].append(hostname)
    for way, names in ways.items():
        template = maildir_template(way)
        if template is not None and not template.per_domain and len(names) > 1:
            own = next((name for name in names if name in domains and domains[name].deliver), None)
            where: Where = ("deliver",) if own is None else ("domains", own, "deliver")
            told = f"'{way}' would have the users of {' and '.join(names)} share mailboxes"
            document.fault(where, f"{told}: write {{domain}} in it")


def check_keys(document: Document, domains: Mapping[str, DomainConfig]) -> None:
    """Look for DKIM keys that cannot be used."""
    for name, domain in domains.items():
        if domain.dkim is not None:
            try:
                domain.dkim.read(name)
            except ConfigurationError as error:
                document.fault(("domains", name, "dkim"), str(error))


def check_folders(document: Document, deliver: str, domains: Mapping[str, DomainConfig]) -> None:
    """Look for the folders that mailboxes are made in."""
    places: list[tuple[Where, str]] = [(("deliver",), deliver)]
    places += [
        (("domains", name, "deliver"), domain.deliver) for name, domain in domains.items() if domain.deliver
    ]
    for where, way in places:
        template = maildir_template(way)
        if template is not None:
            check_place(document, where, template.root, NO_FOLDER, folder=True)


def _groups(name: str, domain: DomainConfig) -> Iterator[tuple[Where, str, tuple[str, ...]]]:
    """Give each alias and each list: where it stands, its local part, its members."""
    for local, members in domain.aliases.items():
        yield ("domains", name, "aliases", local), local, members
    for local, each in domain.lists.items():
        yield ("domains", name, "lists", local), local, each.members


def _targets(name: str, domain: DomainConfig) -> Iterator[tuple[Where, str, str]]:
    """Give each address that mail is led to: where it stands, by what it is led, the address."""
    for where, local, members in _groups(name, domain):
        inner: Where = ("members",) if where[2] == "lists" else ()
        for index, member in enumerate(members):
            yield (*where, *inner, index), local, member
    for local, each in domain.lists.items():
        if each.owner:
            yield ("domains", name, "lists", local, "owner"), f"{local}.owner", each.owner
    if domain.catch_all is not None:
        yield ("domains", name, "catch_all"), "catch_all", domain.catch_all


def _leads_somewhere(environment: Environment, address: str) -> bool:
    """Tell whether mail to the address reaches anybody, or is somebody else's to refuse."""
    if environment.domain_of(address) is None:
        return True
    try:
        return environment.knows(address) and bool(environment.resolve(address))
    except ConfigurationError:
        return False


def check_spellings(
    document: Document, where: Where, names: Iterable[str], fold: Callable[[str], str]
) -> None:
    """Refuse what is one thing to the server and two to TOML: of those only the last would be there."""
    seen: set[str] = set()
    for name in names:
        if fold(name) in seen:
            document.fault((*where, name), f"'{name}' is here twice, in another spelling: remove one")
        seen.add(fold(name))


def _check_loops(document: Document, environment: Environment, domains: Mapping[str, DomainConfig]) -> None:
    """Refuse what ends nowhere by itself, whatever accounts there are (HOSTILE 74)."""
    for domain in environment.domains:
        # These may lead to an account, of which nothing is known here.
        domain.catch_all, domain.subaddress = None, ""
    for name, domain_config in domains.items():
        for where, local, members in _groups(name, domain_config):
            try:
                environment.resolve(f"{local}@{name}")
            except ConfigurationError:
                if members:
                    told = f"'{local}' leads only back to itself: name an address that is no alias"
                    document.fault(where, told)


def check_domain(document: Document, where: Where, name: str) -> bool:
    """Look whether it is the name of a domain, and tell."""
    try:
        if "@" not in name and parse_mailbox(f"postmaster@{name}").count("@") == 1:
            return True
    except AddressError:
        pass
    document.fault(where, f"'{name}' is not a domain name: write one like \"example.org\"")
    return False


def _check_address(document: Document, where: Where, address: str, meant: str) -> None:
    try:
        if "@" in parse_mailbox(address):
            return
        reason = "it has no domain"
    except AddressError as error:
        reason = str(error)
    document.fault(where, f"'{address}' is not {meant}: {reason}")


def _check_delivery(document: Document, where: Where, way: str) -> None:
    try:
        local_transport(way)
    except ConfigurationError as error:
        document.fault(where, f"'deliver': {error}")
