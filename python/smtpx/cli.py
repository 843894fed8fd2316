"""The command line: what ``smtpx`` is asked, turned into calls. Needs ``smtpx[cli]``."""

from __future__ import annotations

import ssl
import sys
from functools import partial
from pathlib import Path  # noqa: TC003 - read by typer at run time
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import typer

from smtpx import __version__, config, sending
from smtpx.account_commands import account
from smtpx.app import App, run
from smtpx.demo import demo
from smtpx.dkim_commands import dkim
from smtpx.domain_config import check_members
from smtpx.errors import ConfigurationError
from smtpx.queue_commands import queue
from smtpx.site import build_environment, read_keys
from smtpx.told import told

if TYPE_CHECKING:
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
app.add_typer(account, name="account")
app.add_typer(dkim, name="dkim")
app.add_typer(queue, name="queue")


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
    with told():
        if try_out:
            demo(2525 if port is None else port, 4650 if tls_port is None else tls_port, log)
        else:
            run(App(partial(config.load, path or config.DEFAULT_PATH), log=log))


@app.command()
def check(path: Annotated[Path, typer.Argument(metavar="CONFIG", help="The configuration file.")]) -> None:
    """Read a configuration, and the files that it names, and tell every fault by its line."""
    with told():
        settings = config.load(path)
        environment = build_environment(settings, read_keys(settings))
        check_members(path, settings.domains, environment)
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
    with told():
        if ca is not None:
            if insecure:
                raise typer.BadParameter("--insecure and --ca contradict each other: leave one out")
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
            if sys.stdin is None:
                raise ConfigurationError("standard input is closed: name a FILE")
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
