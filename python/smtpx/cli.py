"""The command line: what ``smtpx`` is asked, turned into calls. Needs ``smtpx[cli]``."""

from __future__ import annotations

import contextlib
import ssl
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import typer
from rich.console import Console
from rich.text import Text

from smtpx import __version__, config, sending
from smtpx.accounts import AccountFile
from smtpx.app import App, build_domains, build_environment, run
from smtpx.demo import demo
from smtpx.environment import Account
from smtpx.errors import ConfigurationError, SMTPError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smtpx.compose import Sendable
    from smtpx.options import Settings

__all__ = ["app"]

LogFormat: TypeAlias = Literal["text", "json"]

app = typer.Typer(
    name="smtpx",
    help="An SMTP server that keeps what it accepts, and a client that says what became of it.",
    epilog="Try it: smtpx serve --demo",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
account = typer.Typer(
    help="The accounts that may log in and get mail. A running server sees a change at once.",
    no_args_is_help=True,
)
app.add_typer(account, name="account")


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """End with status 1 and the words of an error, a line a fault, without a traceback."""
    try:
        yield
    except SMTPError as error:
        console = Console(stderr=True)
        words = error.strerror if isinstance(error, OSError) else None  # without "[Errno 1]" in front
        for line in (words or str(error)).splitlines():
            console.print(Text.assemble(("error: ", "bold red"), line), soft_wrap=True)
        raise typer.Exit(1) from None


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"smtpx {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Carry the options that are of no command."""


@app.command()
def serve(
    path: Annotated[
        Path | None,
        typer.Argument(
            metavar="CONFIG", help="The configuration file.", show_default=str(config.DEFAULT_PATH)
        ),
    ] = None,
    *,
    try_out: Annotated[
        bool,
        typer.Option(
            "--demo",
            help="Serve this machine alone, with an account and a certificate made on the spot;"
            " show each message, and keep it in ./smtpx-demo.",
        ),
    ] = False,
    port: Annotated[
        int | None,
        typer.Option(
            min=0, max=65535, help="With --demo: the smtp port, 0 for a free one.", show_default="2525"
        ),
    ] = None,
    tls_port: Annotated[
        int | None,
        typer.Option(
            min=0, max=65535, help="With --demo: the submissions port, likewise.", show_default="4650"
        ),
    ] = None,
    log: Annotated[
        LogFormat | None,
        typer.Option(help="The form of the log on standard error, whatever the configuration says."),
    ] = None,
) -> None:
    """Run the server.

    SIGHUP reloads the configuration and the certificates; SIGTERM and Ctrl-C let what is in flight finish.
    """
    if try_out and path is not None:
        raise typer.BadParameter("--demo has a configuration of its own: leave CONFIG out, or --demo")
    if not try_out and (port is not None or tls_port is not None):
        raise typer.BadParameter("--port and --tls-port are for --demo; other ports are set by [[listener]]")
    with _told():
        if try_out:
            demo(2525 if port is None else port, 4650 if tls_port is None else tls_port, log)
        else:
            run(App(partial(config.load, path or config.DEFAULT_PATH), log=log))


@app.command()
def check(path: Annotated[Path, typer.Argument(metavar="CONFIG", help="The configuration file.")]) -> None:
    """Read a configuration, and the files that it names, and tell every fault by its line."""
    with _told():
        settings = config.load(path)
        environment = build_environment(settings)
        config.check_members(path, settings, environment)
    accounts = sum(bool(one.hash_pass) for domain in environment.domains for one in domain.accounts.values())
    typer.echo(f"{path}: good; {_count(len(environment.domains), 'domain')}, {_count(accounts, 'account')}")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


@app.command()
def send(
    path: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", help="The message; - or nothing: standard input.", show_default=False),
    ] = None,
    *,
    url: Annotated[
        str,
        typer.Option(
            envvar="SMTPX_URL",
            help="The server: smtp://, smtps://, smtp+starttls://, lmtp:// or lmtp+unix://;"
            " user:password@ before the host is percent-encoded.",
        ),
    ],
    sender: Annotated[
        str | None, typer.Option("--from", help="Who sends it; by default who the header says.")
    ] = None,
    recipients: Annotated[
        list[str] | None, typer.Option("--to", help="Who gets it; likewise. May be repeated.")
    ] = None,
    subject: Annotated[str | None, typer.Option(help="Make a message with this subject.")] = None,
    body: Annotated[str | None, typer.Option(help="Make a message with this text.")] = None,
    attach: Annotated[
        list[Path] | None, typer.Option(help="Make a message with this file in it. May be repeated.")
    ] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Take any certificate.")] = False,
    ca: Annotated[Path | None, typer.Option(help="Trust the certificates in this file.")] = None,
    timeout: Annotated[float | None, typer.Option(help="The most seconds that any wait may last.")] = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show the dialog, without passwords and content.")
    ] = False,
) -> None:
    """Send a message, and say for each recipient what became of it.

    The exit status is 0 where all were accepted, 3 where some were, 69 where all were refused, 75 where it
    can be tried again later, 4 where the connection was lost before the last word, and 1 at another error.
    """
    settings: Settings = {"insecure": insecure, "timeout": timeout}
    made = subject is not None or body is not None or bool(attach)
    with _told():
        if ca is not None:
            settings["tls"] = _trusting(ca)
        if made and path is not None:
            raise typer.BadParameter("--subject, --body and --attach make a message: leave FILE out, or them")
        if made and not (sender and recipients):
            raise typer.BadParameter("a message that is made here needs --from and --to")
        message: Sendable
        if made:
            message = sending.composed(
                sender or "", recipients or [], subject or "", body or "", attach or []
            )
            sender = recipients = None  # its header says
        elif path is None or str(path) == "-":
            message = sys.stdin.buffer
        else:
            message = path
        raise typer.Exit(
            sending.send(
                url, message, mail_from=sender, recipients=recipients, verbose=verbose, settings=settings
            )
        )


def _trusting(ca: Path) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca)
    except OSError as error:  # ssl.SSLError is one
        raise ConfigurationError(f"--ca: {ca}: no certificates can be read from it: {error}") from error


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
    if added and build_domains(settings).domain_of(added) is None:
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
    with _told():
        file = _account_file(config_path, accounts, address)
        file.add(_make(address, name, _password(password_stdin)))
    typer.echo(f"added {address}")


@account.command("list")
def list_accounts(config_path: ConfigOption = None, accounts: AccountsOption = None) -> None:
    """Show the accounts, one a line: the address, a tab, the name."""
    with _told():
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
    with _told():
        file = _account_file(config_path, accounts)
        file.replace(_make(address, "", _password(password_stdin)))
    typer.echo(f"changed the password of {address}")


@account.command("remove")
def remove(
    address: AddressArgument, config_path: ConfigOption = None, accounts: AccountsOption = None
) -> None:
    """Remove an account; mail to it is refused from then on."""
    with _told():
        _account_file(config_path, accounts).remove(address)
    typer.echo(f"removed {address}")
