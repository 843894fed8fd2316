"""Debian's postfix as a real MTA: its own configuration, queue and mailboxes, on loopback."""

from __future__ import annotations

import base64
import contextlib
import os
import pwd
import socketserver
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pytest
from smtpx import SMTPError
from smtpx.sasl import Challenge, server_mechanism

from benches.peers import free_port, wait_for
from benches.postfix import daemon_directory, instance, make_instance, poll

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.live import Certificate

__all__ = ["MAILBOXES", "PASSWORD", "USER", "Delivered", "Postfix", "running_postfix"]

USER, PASSWORD = "joe@example.org", "correct horse"
MAILBOXES = {"joe@example.org": "joe", "ann@example.org": "ann", "jörg@bücher.example": "joerg"}
"""Who receives mail here, and the Maildir of each; busy@example.org is refused for now, others for good."""

_PAUSE = 0.01  # seconds

_MAIN = """\
myhostname = postfix.example
mydestination =
local_recipient_maps =
alias_maps =
mynetworks = 127.0.0.0/8
default_transport = discard
transport_maps = inline:{{ {{ example.net = smtp:[127.0.0.1]:{next_hop} }} }}
smtp_tls_security_level = may

# What arrives is what was sent.
local_header_rewrite_clients =
message_drop_headers =
virtual_mailbox_domains = example.org, bücher.example
virtual_mailbox_base = {root}/mail
virtual_mailbox_maps = inline:{{ {mailboxes} }}
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
smtpd_recipient_restrictions =
    check_recipient_access inline:{{ {{ busy@example.org = 450 4.2.1 busy }} }}

# Every extension that it knows.
smtputf8_enable = yes
smtpd_discard_ehlo_keywords =
message_size_limit = 20000000
smtpd_tls_cert_file = {certificate.path}
smtpd_tls_key_file = {certificate.key}
smtpd_tls_security_level = may
smtpd_tls_received_header = yes
smtpd_tls_auth_only = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = inet:127.0.0.1:{sasl}
# Tests err on purpose, and are not to be slowed down.
smtpd_error_sleep_time = 0
smtpd_client_connection_count_limit = 0
"""

_LISTENERS = """\
127.0.0.1:{smtp} inet n - n - - smtpd
127.0.0.1:{submission} inet n - n - - smtpd
    -o smtpd_tls_security_level=encrypt -o smtpd_sasl_auth_enable=yes
    -o smtpd_client_restrictions=permit_sasl_authenticated,reject
127.0.0.1:{submissions} inet n - n - - smtpd
    -o smtpd_tls_wrappermode=yes -o smtpd_sasl_auth_enable=yes
    -o smtpd_client_restrictions=permit_sasl_authenticated,reject
"""


@dataclass(frozen=True)
class Delivered:
    """A message in a mailbox: the content as it was sent, and the header lines that postfix put before it."""

    added: bytes
    content: bytes

    @classmethod
    def parse(cls, stored: bytes) -> Delivered:
        # Return-Path, X-Original-To, Delivered-To, then its Received of several lines; then what was sent.
        at = stored.index(b"Received: ")
        at = stored.index(b"\n", at) + 1
        while stored[at : at + 1] in b" \t":
            at = stored.index(b"\n", at) + 1
        return cls(stored[:at], stored[at:].replace(b"\n", b"\r\n"))


class Postfix:
    """A running postfix, with STARTTLS on all ports; submission and submissions ask for AUTH.

    Mail for example.net goes to the port ``next_hop``, where a test may have a server; other mail nowhere.
    """

    def __init__(self, root: Path, certificate: Certificate) -> None:
        self.root = root
        self.certificate = certificate
        self.smtp, self.submission, self.submissions = free_port(), free_port(), free_port()
        self.next_hop = free_port()

    def write(self, sasl: int) -> None:
        """Write the configuration and make the folders."""
        nobody = pwd.getpwnam("nobody")  # whose the mailboxes are
        main = _MAIN.format(
            root=self.root,
            mailboxes=", ".join(f"{address}={folder}/" for address, folder in MAILBOXES.items()),
            uid=nobody.pw_uid,
            gid=nobody.pw_gid,
            certificate=self.certificate,
            sasl=sasl,
            next_hop=self.next_hop,
        )
        listeners = _LISTENERS.format(
            smtp=self.smtp, submission=self.submission, submissions=self.submissions
        )
        make_instance(self.root, main, listeners)

    def running(self) -> contextlib.AbstractContextManager[None]:
        return instance(self.root, lambda: wait_for(self.smtp))

    def take(self, address: str) -> Delivered:
        """Wait for a message to the address, and take it out of the mailbox."""
        new = self.root / "mail" / MAILBOXES[address] / "new"
        poll(lambda: new.is_dir() and any(new.iterdir()), f"nothing came for {address}", self.log)
        path = next(new.iterdir())
        stored = path.read_bytes()
        path.unlink()
        return Delivered.parse(stored)

    def log(self) -> str:
        return (self.root / "log").read_text("utf-8", "replace")

    def clear(self) -> None:
        """Forget what a test has left in the mailboxes."""
        for path in self.root.glob("mail/*/new/*"):
            path.unlink()


@contextlib.contextmanager
def running_postfix(certificate: Certificate) -> Iterator[Postfix]:
    """Run postfix for as long as the block; skip the test where it cannot be."""
    if not Path(daemon_directory()).is_dir():
        pytest.skip("postfix is not installed")
    if os.geteuid() != 0:
        pytest.skip("postfix can be started by root only")
    # Not pytest's folder: only root may enter that, and paths of sockets are short.
    with tempfile.TemporaryDirectory(prefix="postfix-") as root, SaslServer() as sasl:
        postfix = Postfix(Path(root), certificate)
        postfix.write(sasl.port)
        with postfix.running():
            yield postfix


class SaslServer(socketserver.ThreadingTCPServer):
    """As much of Dovecot's authentication protocol (version 1.2) as postfix speaks, with one account."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _SaslSession)
        self.port: int = self.server_address[1]

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, args=(_PAUSE,)).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class _SaslSession(socketserver.StreamRequestHandler):
    """One smtpd, which has one exchange at a time."""

    _HELLO = (
        b"VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nMECH\tLOGIN\tplaintext\nSPID\t1\nCUID\t1\nCOOKIE\t00\nDONE\n"
    )

    def handle(self) -> None:
        self.wfile.write(self._HELLO)
        for line in self.rfile:
            verb, *fields = line.decode().rstrip("\n").split("\t")
            if verb == "AUTH":  # AUTH id mechanism service=smtp ... [resp=base64], which is last
                self._mechanism = server_mechanism(fields[1])
                initial = fields[-1].partition("resp=")[2] if fields[-1].startswith("resp=") else None
                self._step(fields[0], None if initial is None else base64.b64decode(initial))
            elif verb == "CONT":  # CONT id base64
                self._step(fields[0], base64.b64decode(fields[1]))

    def _step(self, exchange: str, response: bytes | None) -> None:
        try:
            answer = self._mechanism.step(response)
        except SMTPError:
            self._answer("FAIL", exchange)
            return
        if isinstance(answer, Challenge):
            self._answer("CONT", exchange, base64.b64encode(answer.data).decode())
        elif (answer.username, answer.password) == (USER, PASSWORD):
            self._answer("OK", exchange, f"user={USER}")
        else:
            self._answer("FAIL", exchange, f"user={answer.username}")

    def _answer(self, *fields: str) -> None:
        self.wfile.write("\t".join(fields).encode() + b"\n")
