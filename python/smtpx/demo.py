"""``smtpx serve --demo``: a server to try out, on this machine alone, that shows what it takes."""

from __future__ import annotations

import secrets
import shlex
import shutil
import sys
from email.errors import MessageError
from email.header import decode_header, make_header
from email.parser import HeaderParser
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rich.console import Console
from rich.text import Text

from smtpx.accounts import AccountFile
from smtpx.app import App, Way, run
from smtpx.certificate import make_certificate
from smtpx.config import Config, LogConfig, TLSConfig
from smtpx.environment import Account
from smtpx.errors import ConfigurationError
from smtpx.listener import Listener
from smtpx.logs import printable
from smtpx.maildir import MaildirTransport
from smtpx.storage.spool import lock_directory

if TYPE_CHECKING:
    from collections.abc import Sequence

    from smtpx.accounts import LiveEnvironment
    from smtpx.mail import MailTx

__all__ = ["demo", "subject_of"]

_FOLDER = "smtpx-demo"
_HOST = "127.0.0.1"
_DOMAIN = "localhost"
_MAX_HEADER = 64 << 10  # octets that are looked through for a subject
_MAX_SUBJECT = 200  # characters that are shown of it

_LINES = """
Send to it from another terminal, by any of these:

python3 -c 'import smtplib; s = smtplib.SMTP("{host}", {smtp}); \
s.sendmail("you@example.org", ["{account}"], "Subject: Hello\\n\\nfrom Python"); s.quit()'

{program} send --url smtp://{host}:{smtp} --from you@example.org --to {account} \
--subject Hello --body 'from smtpx'

swaks --server {host} --port {smtp} --from you@example.org --to {account}

swaks --server {host} --port {submissions} --tls-on-connect --auth PLAIN --auth-user {account} \
--auth-password {password} --from {account} --to {account}

printf 'Subject: Hello\\r\\n\\r\\nfrom curl\\r\\n' | curl -sS --url smtps://{host}:{submissions} \
--cacert {certificate} --user {account}:{password} --mail-from {account} --mail-rcpt {account} --upload-file -

On the smtp port mail is taken for {account} and postmaster@{domain} only; who logs in may send to anybody.
All of it is delivered here: nothing leaves this machine. Ctrl-C ends the server; the mail stays.
"""


def demo(port: int, tls_port: int, log: Literal["text", "json"] | None) -> None:
    """Run the demo until Ctrl-C; up to the first empty line its output is for programs too.

    Raises:
        ConfigurationError: a port is taken, or the folder cannot be made.
        StorageError: another demo runs in the same folder.

    """
    folder = Path(_FOLDER).absolute()
    config = Config(
        hostname=_DOMAIN,
        spool=folder / "spool",
        deliver=f"maildir:{folder}/mail/{{domain}}/{{local}}",
        accounts=folder / "accounts.toml",
        tls=TLSConfig(folder / "certificate.pem", folder / "key.pem"),
        listeners=(Listener("smtp", _HOST, port), Listener("submissions", _HOST, tls_port)),
        log=LogConfig(level="info" if log else "warning"),  # else the messages shown would drown
    )
    try:
        for made in (config.spool, folder / "mail"):
            made.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"{folder} cannot be made: {error.strerror}; change to a folder that you can write to"
        ) from error
    run(_Demo(config, log))


class _Demo(App):
    _maildirs: MaildirTransport

    def __init__(self, config: Config, log: Literal["text", "json"] | None) -> None:
        super().__init__(lambda: config, log=log)
        self._told = config
        self._account = f"demo@{_DOMAIN}"
        self._password = secrets.token_hex(8)
        # Never wrapped, nothing in it taken for markup, flushed at each print.
        self._console = Console(soft_wrap=True, markup=False, emoji=False, highlight=False)

    def prepare(self) -> None:
        """Make the certificate and the account, when no other demo is using the folder."""
        lock_directory(self._told.spool)  # until the process ends
        tls = self._told.tls
        assert tls is not None  # noqa: S101 - we made it
        make_certificate(tls.certificate, tls.key)
        file = AccountFile(self._told.accounts)
        local, _, domain = self._account.partition("@")
        account = Account.create("smtpx demo", local, domain, self._password)
        known = [one.short for one in file.read()] if file.path.exists() else []
        if account.short in known:
            file.replace(account)
        else:
            file.add(account)

    def way(self, config: Config, live: LiveEnvironment) -> Way:  # noqa: ARG002 - all mail stays here
        """Deliver all mail into Maildirs, wherever it is for."""
        self._maildirs = MaildirTransport(config.deliver.removeprefix("maildir:"))
        return self._maildirs

    def started(self, listeners: Sequence[Listener]) -> None:
        """Say where the server is, and how to send to it."""
        tls = self._told.tls
        assert tls is not None  # noqa: S101 - we made it
        ports = {listener.service: listener.port for listener in listeners}
        for name, value in [
            ("smtp", f"{_HOST}:{ports['smtp']}"),
            ("submissions", f"{_HOST}:{ports['submissions']}"),
            ("account", self._account),
            ("password", self._password),
            ("certificate", tls.certificate),
            ("mailboxes", f"{self._maildirs.template.root}/DOMAIN/NAME, Maildirs"),
        ]:
            self._show(name, value)
        self._console.print(
            _LINES.format(
                host=_HOST,
                domain=_DOMAIN,
                smtp=ports["smtp"],
                submissions=ports["submissions"],
                account=self._account,
                password=self._password,
                certificate=shlex.quote(str(tls.certificate)),
                # In an environment that is not active the name alone would not be found.
                program="smtpx" if shutil.which("smtpx") else f"{shlex.quote(sys.executable)} -m smtpx",
            )
        )

    def saved(self, mail: MailTx) -> None:
        """Show a message; what it says of itself comes from anybody."""
        self._show("message", mail.id)
        self._show("  from", mail.mail_from or "<>")
        self._show("  to", ", ".join(mail.recipients))
        self._show("  subject", subject_of(mail.data))
        self._show("  size", f"{len(mail.data)} octets")
        for recipient in mail.recipients:
            self._show("  in", self._maildirs.template.folder(recipient))

    def _show(self, name: str, value: object) -> None:
        self._console.print(Text.assemble((f"{name}: ", "bold"), printable(str(value))))


def subject_of(data: bytes) -> str:
    """Return a message's subject for a terminal: decoded (RFC 2047), on one line, "" where there is none."""
    header = data[:_MAX_HEADER].partition(b"\r\n\r\n")[0].decode("utf-8", "replace")
    raw = str(HeaderParser().parsestr(header).get("Subject", ""))
    try:
        subject = str(make_header(decode_header(raw)))
    except (MessageError, LookupError, ValueError):  # not as it should be encoded: shown as it is
        subject = raw
    subject = printable(" ".join(subject.split()))
    return subject if len(subject) <= _MAX_SUBJECT else subject[:_MAX_SUBJECT] + "…"
