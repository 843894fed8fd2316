"""The whole way of a message, from one site's user to another's, and back what has to come back."""

from __future__ import annotations

import contextlib
import sys
from email import message_from_bytes, policy
from typing import TYPE_CHECKING, NamedTuple, cast

import pytest

from tests.by_mx import DNS_PORT, MX_PORT
from tests.name_server import NameServer
from tests.relaying import on_one_port
from tests.served import JOE, SECRET, Site, submit
from tests.signing import dkimpy_verifies, pem, record, rsa_key

if TYPE_CHECKING:
    from collections.abc import Iterator
    from email.message import EmailMessage
    from pathlib import Path

if sys.platform == "win32":
    pytest.skip("it has no other loopback addresses than 127.0.0.1", allow_module_level=True)

ANN = "ann@example.net"
MESSAGE = f"From: {JOE}\nTo: {ANN}\nBcc: bob@example.net\nSubject: hello\n\nhi\n"


class Sites(NamedTuple):
    """example.org, where joe has an account and mail is signed, and example.net, where ann has one."""

    ours: Site
    theirs: Site

    def submit(self, to: str, *options: str) -> None:
        """Send as joe does."""
        submit(self.ours.submissions, self.ours.certificate, JOE, SECRET, to, MESSAGE, options)


@pytest.fixture
def sites(tmp_path: Path) -> Iterator[Sites]:
    """Both sites, each a process, which find each other by MX."""
    addresses = {"example.org": "127.0.0.1", "example.net": "127.0.0.2"}
    sockets = on_one_port(list(addresses.values()))
    port = sockets[0].getsockname()[1]
    with contextlib.ExitStack() as stack:
        names = stack.enter_context(NameServer())
        both = []
        for domain, address in addresses.items():
            names.answers[domain, "MX"] = [f"10 mail.{domain}."]
            names.answers[f"mail.{domain}", "A"] = [address]
            (tmp_path / domain).mkdir()
            site = Site(tmp_path / domain, domain)
            site.change('"smtp"\nhost = "127.0.0.1"\nport = 0', f'"smtp"\nhost = "{address}"\nport = {port}')
            both.append(site)
        ours, theirs = both
        theirs.add("ann", SECRET)
        (ours.folder / "dkim.pem").write_bytes(pem(rsa_key()))
        ours.change("[log]", 'dkim = { selector = "s1", key = "dkim.pem" }\n[log]')
        for taken in sockets:
            taken.close()
        env = {DNS_PORT: str(names.port), MX_PORT: str(port)}
        for site in both:
            stack.enter_context(site.running(module="tests.by_mx", env=env))
        yield Sites(ours, theirs)


def report(site: Site, sender: str) -> EmailMessage:
    """Take the only letter there is, and parse it: a notification of delivery."""
    (letter,) = site.letters()
    assert letter.startswith(b"Return-Path: <>\nDelivered-To: joe@example.org\n")
    parsed = message_from_bytes(letter, policy=policy.default)
    assert parsed.get_content_type() == "multipart/report"
    assert parsed["From"].addresses[0].addr_spec == sender
    return parsed


def fields(parsed: EmailMessage) -> dict[str, str]:
    """What a notification says of its only recipient."""
    _, status, original = parsed.iter_parts()
    assert "Subject: hello" in original.as_string()
    _, recipient = cast("list[EmailMessage]", status.get_payload())
    return {name: str(value) for name, value in recipient.items()}


def test_the_whole_way(sites: Sites) -> None:
    sites.submit(ANN)
    sites.theirs.served.event("delivered", recipient=ANN)
    sites.ours.served.event("delivered", recipient=ANN)
    (letter,) = sites.theirs.letters()
    mail_from, to, signed = letter.split(b"\n", 2)
    assert (mail_from, to) == (b"Return-Path: <joe@example.org>", b"Delivered-To: ann@example.net")
    parsed = message_from_bytes(letter, policy=policy.default)
    relayed, submitted = parsed.get_all("Received", [])
    assert "from mail.example.org " in relayed
    assert "by mail.example.net " in relayed
    assert "with ESMTPS " in relayed
    assert "by mail.example.org " in submitted
    assert "with ESMTPSA " in submitted
    assert parsed["Bcc"] is None
    assert {"Date", "Message-ID", "DKIM-Signature"} <= {name for name, _ in parsed.items()}
    assert dkimpy_verifies(signed.replace(b"\n", b"\r\n"), record(rsa_key()))

    sites.submit("nobody@example.net")
    sites.ours.served.event("bounced", recipient="nobody@example.net")
    sites.ours.served.event("delivered", recipient=JOE)
    said = fields(report(sites.ours, "MAILER-DAEMON@mail.example.org"))
    assert (said["Action"], said["Status"]) == ("failed", "5.1.1")
    assert said["Final-Recipient"] == "rfc822; nobody@example.net"
    assert said["Remote-MTA"] == "dns; mail.example.net"
    assert said["Diagnostic-Code"].startswith("smtp; 550 5.1.1 ")
    assert len(sites.theirs.letters()) == 1


def test_a_notice_of_success_comes_from_the_site_that_delivered(sites: Sites) -> None:
    sites.submit(ANN, "NOTIFY=SUCCESS")
    sites.ours.served.event("delivered", recipient=JOE)
    said = fields(report(sites.ours, "MAILER-DAEMON@mail.example.net"))
    assert (said["Action"], said["Status"]) == ("delivered", "2.0.0")
    assert said["Final-Recipient"] == f"rfc822; {ANN}"
    assert len(sites.theirs.letters()) == 1
