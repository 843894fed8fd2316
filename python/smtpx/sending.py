"""``smtpx send``: a message from a file, standard input or its parts, to a server; one line a recipient."""

from __future__ import annotations

import mimetypes
import re
import sys
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TransferSpeedColumn
from rich.text import Text

from smtpx.errors import (
    ClientError,
    ConfigurationError,
    ConnectionLost,
    MessageRefused,
    ReplyTimeout,
    SMTPError,
)
from smtpx.logs import printable
from smtpx.outcome import Outcome
from smtpx.sync_client import SyncClient

if TYPE_CHECKING:
    from smtpx.compose import Sendable
    from smtpx.options import Settings
    from smtpx.result import Result

__all__ = ["composed", "send", "status_of"]

_LARGE: Final = 1 << 20  # octets from which on a bar shows how far it is
_CONTENT: Final = re.compile(r"<(\d+) octets of content>")

PARTLY: Final = 3
UNKNOWN: Final = 4
REFUSED: Final = 69  # EX_UNAVAILABLE of sysexits.h
TEMPORARY: Final = 75  # EX_TEMPFAIL


def composed(
    sender: str, recipients: list[str], subject: str, body: str, attachments: list[Path]
) -> EmailMessage:
    """Return a message of these parts.

    Raises:
        ConfigurationError: an attachment cannot be read.

    """
    message = EmailMessage()
    message["From"] = sender
    message["To"] = ", ".join(recipients)
    message["Subject"] = subject
    message["Date"] = formatdate(localtime=True)
    message["Message-ID"] = make_msgid(domain=sender.rpartition("@")[2].strip("> ") or None)
    message.set_content(body)
    for path in attachments:
        kind, encoding = mimetypes.guess_type(path.name)
        main, _, sub = (kind if kind and not encoding else "application/octet-stream").partition("/")
        try:
            octets = path.read_bytes()
        except OSError as error:
            raise ConfigurationError(f"{path}: {error.strerror}: name a file that can be read") from error
        message.add_attachment(octets, maintype=main, subtype=sub, filename=path.name)
    return message


def send(
    url: str,
    message: Sendable,
    *,
    mail_from: str | None,
    recipients: list[str] | None,
    verbose: bool,
    settings: Settings,
) -> int:
    """Send, say what became of it for each recipient, and return the exit status.

    Raises:
        ClientError: it did not come to a recipient's fate.
        ConfigurationError: nothing was sent: an argument, the file or its header is wrong.

    """
    errors = Console(stderr=True, soft_wrap=True, markup=False, emoji=False, highlight=False)
    size = message.stat().st_size if isinstance(message, Path) and message.exists() else 0
    columns = BarColumn(), DownloadColumn(), TransferSpeedColumn()
    bar = Progress(*columns, console=errors, transient=True, disable=size < _LARGE or not errors.is_terminal)
    task = bar.add_task("", total=size)

    def watch(direction: str, line: str) -> None:
        if content := _CONTENT.fullmatch(line):
            bar.advance(task, int(content[1]))
        if verbose:
            errors.print(Text(f"{direction} {printable(line)}"))

    if verbose or not bar.disable:
        settings["trace"] = watch
    with bar:
        try:
            with SyncClient(url, **settings) as client:
                result = _sent(client, message, mail_from, recipients)
        except ClientError as error:
            later = isinstance(error, ConnectionLost | ReplyTimeout)
            if error.result is None and not later:
                raise
            if not isinstance(error, MessageRefused):  # which its result says better
                errors.print(Text.assemble(("error: ", "bold red"), printable(str(error))))
            if error.result is None:
                return TEMPORARY
            result = error.result
    _show(result)
    return status_of(result)


def _sent(
    client: SyncClient, message: Sendable, mail_from: str | None, recipients: list[str] | None
) -> Result:
    try:
        return client.send(message, mail_from=mail_from, recipients=recipients)
    except SMTPError:
        raise
    except OSError as error:
        raise ConfigurationError(f"{error.filename or 'the message'}: {error.strerror or error}") from error
    except ValueError as error:  # of a header that is none, or has no recipient
        raise ConfigurationError(str(error)) from error


def _show(result: Result) -> None:
    for address, each in result.items():
        said = "" if each.response is None else f": {each.response.code} {each.response.message}"
        print(printable(f"{address}: {each.outcome.value}{said}"))
    sys.stdout.flush()


def status_of(result: Result) -> int:
    """Return the exit status: 0 all accepted, 3 some, 4 nobody knows, 69 all refused, 75 not now."""
    outcomes = {each.outcome for each in result.values()}
    if outcomes == {Outcome.ACCEPTED}:
        return 0
    if Outcome.ACCEPTED in outcomes:
        return PARTLY
    if Outcome.UNKNOWN in outcomes:
        return UNKNOWN
    return TEMPORARY if Outcome.TEMPORARY in outcomes else REFUSED
