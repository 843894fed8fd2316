"""A site beside the MTA that most others have: mail goes both ways."""

from __future__ import annotations

import smtplib
import sys
from typing import TYPE_CHECKING

import pytest

from tests.served import PATIENCE, SECRET, Site, submit

if TYPE_CHECKING:
    from pathlib import Path

    from tests.postfix import Postfix

if sys.platform == "win32":
    pytest.skip("it has no postfix", allow_module_level=True)

HERE, THERE = "joe@example.net", "joe@example.org"


@pytest.fixture
def site(tmp_path: Path, postfix: Postfix) -> Site:
    """A site for example.net, to which postfix sends; mail for example.org goes to postfix."""
    site = Site(tmp_path, "example.net")
    site.change(
        '"smtp"\nhost = "127.0.0.1"\nport = 0', f'"smtp"\nhost = "127.0.0.1"\nport = {postfix.next_hop}'
    )
    site.change("[log]", f'[relay.routes."example.org"]\nurl = "smtp://127.0.0.1:{postfix.smtp}"\n[log]')
    return site


def test_a_site_sends_to_postfix(site: Site, postfix: Postfix) -> None:
    with site.running():
        message = "Subject: hello\n\n.one\nlast"
        submit(site.submissions, site.certificate, HERE, SECRET, THERE, message)
        arrived = postfix.take(THERE)
        assert site.served.event("delivered", recipient=THERE)["outcome"] == "accepted"
    assert arrived.added.startswith(b"Return-Path: <joe@example.net>\n")
    assert b"Received: from mail.example.net " in arrived.added
    assert b"using TLSv1.3" in arrived.added
    assert arrived.content.startswith(b"Received: from ")
    assert arrived.content.endswith(b"\r\nSubject: hello\r\n\r\n.one\r\nlast\r\n")


def test_postfix_sends_to_a_site(site: Site, postfix: Postfix) -> None:
    with site.running():
        with smtplib.SMTP("127.0.0.1", postfix.smtp, timeout=PATIENCE) as client:
            client.sendmail(THERE, [HERE, "nobody@example.net"], "Subject: hello\n\n.one\nlast")
        site.served.event("delivered", recipient=HERE)
        assert b"<nobody@example.net>: host 127.0.0.1[127.0.0.1] said: 550" in postfix.take(THERE).content
    (letter,) = site.letters()
    assert letter.startswith(b"Return-Path: <joe@example.org>\nDelivered-To: joe@example.net\n")
    assert b"\nReceived: from postfix.example " in letter
    assert b" with ESMTPS " in letter
    assert letter.endswith(b"\nSubject: hello\n\n.one\nlast\n")
