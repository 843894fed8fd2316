"""``smtpx account``: the accounts that may log in and get mail."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from smtpx import config
from smtpx.accounts import AccountFile
from smtpx.domain_config import build_domains
from smtpx.environment import Account
from smtpx.errors import ConfigurationError
from smtpx.told import told

__all__ = ["account"]

account = typer.Typer(
    help="The accounts that may log in and get mail. A running server sees a change at once.",
    no_args_is_help=True,
)

ConfigOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--config",
        help="The configuration that names the account file.",
        show_default=str(config.DEFAULT_PATH),
    ),
]
AccountsOption: TypeAlias = Annotated[
    Path | None, typer.Option("--accounts", help="The account file itself, without a configuration.")
]
StdinOption: TypeAlias = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from standard input, and do not ask.")
]
AddressArgument: TypeAlias = Annotated[str, typer.Argument(metavar="ADDRESS", help="As joe@example.org")]


def _account_file(path: Path | None, accounts: Path | None, added: str = "") -> AccountFile:
    """Return the account file; an address to add must be of one of the configured domains."""
    if path is not None and accounts is not None:
        raise typer.BadParameter("--config and --accounts name the same thing: leave one out")
    if accounts is not None:
        return AccountFile(accounts)
    path = path or config.DEFAULT_PATH
    settings = config.load(path, files=False)
    if added and build_domains(settings.hostname, settings.domains).domain_of(added) is None:
        # In the file it would stop the server from reading any account.
        domain = added.rpartition("@")[2]
        raise ConfigurationError(f'{path}: {added} is of no domain here: add [domains."{domain}"] first')
    return AccountFile(settings.accounts)


def _password(from_stdin: bool) -> str:
    """Read the password, never from the arguments: every user of a machine can read those."""
    if from_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
    elif sys.stdin.isatty():
        password = str(typer.prompt("Password", hide_input=True, confirmation_prompt=True))
    else:
        raise typer.BadParameter("no terminal to ask for the password: pipe it in, with --password-stdin")
    if not password:
        raise typer.BadParameter("the password is empty: choose one of up to 72 octets")
    return password


def _make(address: str, name: str, password: str) -> Account:
    local, at, domain = address.rpartition("@")
    if not at:
        raise typer.BadParameter(f"{address!r} has no domain: write local@domain")
    return Account.create(name, local, domain, password)


@account.command("add")
def add(
    address: AddressArgument,
    name: Annotated[str, typer.Option(help="Whose it is, as Joe Smith.")] = "",
    config_path: ConfigOption = None,
    accounts: AccountsOption = None,
    password_stdin: StdinOption = False,
) -> None:
    """Add an account."""
    with told():
        file = _account_file(config_path, accounts, address)
        file.add(_make(address, name, _password(password_stdin)))
    typer.echo(f"added {address}")


@account.command("list")
def list_accounts(config_path: ConfigOption = None, accounts: AccountsOption = None) -> None:
    """Show the accounts, one a line: the address, a tab, the name."""
    with told():
        for one in _account_file(config_path, accounts).read():
            typer.echo(f"{one.short}\t{one.name}".rstrip())


@account.command("passwd")
def passwd(
    address: AddressArgument,
    config_path: ConfigOption = None,
    accounts: AccountsOption = None,
    password_stdin: StdinOption = False,
) -> None:
    """Change the password of an account."""
    with told():
        file = _account_file(config_path, accounts)
        file.replace(_make(address, "", _password(password_stdin)))
    typer.echo(f"changed the password of {address}")


@account.command("remove")
def remove(
    address: AddressArgument, config_path: ConfigOption = None, accounts: AccountsOption = None
) -> None:
    """Remove an account; mail to it is refused from then on."""
    with told():
        _account_file(config_path, accounts).remove(address)
    typer.echo(f"removed {address}")
