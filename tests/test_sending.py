"""``smtpx send``: what a user gives, what the server gets, and what the exit status says."""

from __future__ import annotations

import email
import email.policy
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import smtpx as package

from tests.scripted import close
from tests.served import PATIENCE, smtpx
from tests.sessions import polite

if TYPE_CHECKING:
    from collections.abc import Iterator
    from email.message import EmailMessage

    from tests.conftest import Scripted


class Inbox(package.Handler):
    """Takes mail for all but no@ (refused) and later@ (refused for now)."""

    def __init__(self) -> None:
        self.mails: list[package.MailTx] = []

    def check_rcpt(self, session: object, recipient: str, params: object) -> package.Response | None:
        refusals = {
            "no": package.Response(550, "5.1.1 nobody"),
            "later": package.Response(451, "4.2.1 later"),
        }
        return refusals.get(recipient.partition("@")[0])

    def serve_mail_tx(self, mail: package.MailTx) -> None:
        self.mails.append(mail)

    def message(self) -> EmailMessage:
        """The one message that came."""
        (mail,) = self.mails
        return email.message_from_bytes(mail.data, policy=email.policy.default)


full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")


@pytest.fixture
def inbox() -> Inbox:
    return Inbox()


@pytest.fixture
def url(inbox: Inbox) -> Iterator[str]:
    listener = package.Listener("smtp", "127.0.0.1", 0)
    with package.SyncServer(handler=inbox, listeners=[listener]) as server:
        yield f"smtp://127.0.0.1:{server.listeners[0].port}"


MESSAGE = "From: ann@example.com\nTo: joe@example.org\nBcc: eve@example.org\nSubject: hello\n\nhi, Joe\n"


# Where the message comes from


def test_a_message_on_standard_input_goes_to_whom_its_header_says(url: str, inbox: Inbox) -> None:
    sent = smtpx("send", "--url", url, stdin=MESSAGE)
    assert (sent.returncode, sent.stderr) == (0, "")
    assert [line.partition(":")[0] for line in sent.stdout.splitlines()] == [
        "joe@example.org",
        "eve@example.org",
    ]
    assert inbox.mails[0].mail_from == "ann@example.com"
    assert inbox.mails[0].data.endswith(b"Subject: hello\r\n\r\nhi, Joe\r\n")


def test_a_message_in_a_file_goes_to_whom_the_options_say(url: str, inbox: Inbox, tmp_path: Path) -> None:
    file = tmp_path / "message.eml"
    file.write_text(MESSAGE, encoding="utf-8")
    sent = smtpx(
        "send", file, "--url", url, "--from", "bob@example.com", "--to", "x@y.org", "--to", "z@y.org"
    )
    assert sent.returncode == 0
    assert inbox.mails[0].mail_from == "bob@example.com"
    assert inbox.mails[0].recipients == ["x@y.org", "z@y.org"]
    assert b"eve@" not in inbox.mails[0].data


def test_a_message_is_made_of_its_parts(url: str, inbox: Inbox, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("a note", encoding="utf-8")
    (tmp_path / "raw.bin").write_bytes(bytes(range(256)))
    sent = smtpx(
        *("send", "--url", url, "--from", "Ann <ann@example.com>", "--to", "joe@example.org"),
        *("--subject", "Grüße", "--body", "hällo", "--attach", tmp_path / "notes.txt"),
        *("--attach", tmp_path / "raw.bin"),
    )
    assert (sent.returncode, sent.stderr) == (0, "")
    message = inbox.message()
    assert (message["Subject"], message["From"]) == ("Grüße", "Ann <ann@example.com>")
    assert message["Date"]
    assert message["Message-ID"].endswith("@example.com>")
    body, notes, raw = message.iter_parts()
    assert body.get_content().splitlines() == ["hällo"]
    assert (notes.get_filename(), notes.get_content()) == ("notes.txt", "a note")
    assert (raw.get_filename(), raw.get_content()) == ("raw.bin", bytes(range(256)))


def test_the_url_may_stand_in_the_environment(
    url: str, inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SMTPX_URL", url)
    assert smtpx("send", stdin=MESSAGE).returncode == 0
    assert len(inbox.mails) == 1


# What became of it


@pytest.mark.parametrize(
    ("recipients", "status"),
    [
        (["joe@y.org"], 0),
        (["joe@y.org", "no@y.org"], 3),
        (["joe@y.org", "later@y.org"], 3),
        (["no@y.org"], 69),
        (["later@y.org"], 75),
        (["no@y.org", "later@y.org"], 75),
    ],
)
def test_the_exit_status_tells_the_outcomes(url: str, recipients: list[str], status: int) -> None:
    sent = smtpx("send", "--url", url, *(f"--to={each}" for each in recipients), stdin=MESSAGE)
    assert sent.returncode == status
    assert [line.partition(":")[0] for line in sent.stdout.splitlines()] == recipients


def test_a_refused_recipient_is_shown_with_the_servers_words(url: str) -> None:
    sent = smtpx("send", "--url", url, "--to", "no@y.org", stdin=MESSAGE)
    assert sent.stdout == "no@y.org: permanent: 550 5.1.1 nobody\n"


def test_a_server_that_is_not_there_may_be_tried_again(unused_port: int) -> None:
    sent = smtpx("send", "--url", f"smtp://127.0.0.1:{unused_port}", stdin=MESSAGE)
    assert (sent.returncode, sent.stdout) == (75, "")
    assert sent.stderr.startswith("error: smtp://127.0.0.1:")


@pytest.fixture
def unused_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.mark.parametrize(
    ("answers", "status"),
    [
        ({"banner": b"554 5.3.2 no\r\n"}, 69),
        ({"banner": b"421 4.3.2 busy\r\n"}, 75),
        ({"ehlo": b"450 4.3.2 later\r\n"}, 75),
        ({"done": close()}, 4),
        ({"mail": close()}, 75),
    ],
)
def test_the_exit_status_tells_of_a_session_that_ends(
    scripted: Scripted, answers: dict[str, Any], status: int
) -> None:
    server = scripted(polite(**answers))
    assert smtpx("send", "--url", server.url(), stdin=MESSAGE).returncode == status


@pytest.mark.skipif(sys.platform == "win32", reason="needs a shell")
@pytest.mark.parametrize("output", [">&-", "| true", pytest.param(">/dev/full", marks=full)])
def test_an_output_that_takes_nothing_does_not_change_the_exit_status(
    url: str, inbox: Inbox, output: str
) -> None:
    sent = in_shell(output, "-v", "--url", url, stdin=MESSAGE)
    assert (sent.returncode, len(inbox.mails)) == (0, 1)
    assert "Traceback" not in sent.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="needs a shell")
@pytest.mark.parametrize("output", ["2>&-", "2>&1 >&- | true", pytest.param("2>/dev/full", marks=full)])
def test_a_dialog_that_nobody_reads_does_not_end_it(url: str, inbox: Inbox, output: str) -> None:
    assert in_shell(output, "-v", "--url", url, stdin=MESSAGE).returncode == 0
    assert len(inbox.mails) == 1


def in_shell(redirection: str, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run ``smtpx send`` with its standard streams redirected so."""
    command = f'set -o pipefail; "$@" {redirection}'
    program = [sys.executable, "-m", "smtpx", "send", *arguments]
    return subprocess.run(
        ["bash", "-c", command, "bash", *program],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


# What is shown


def test_the_dialog_is_shown_where_it_is_asked_for_and_without_content(url: str) -> None:
    sent = smtpx("send", "--url", url, "-v", stdin=MESSAGE)
    assert "> MAIL FROM:<ann@example.com>" in sent.stderr
    assert "< 250 2.1.5 Recipient OK" in sent.stderr
    assert "hi, Joe" not in sent.stderr


def test_the_password_of_the_url_is_shown_nowhere(inbox: Inbox, tmp_path: Path) -> None:
    from smtpx.certificate import make_certificate

    make_certificate(tmp_path / "cert.pem", tmp_path / "key.pem")
    environment = package.Environment(package.Domain("example.org"))
    account = package.Account.create("Joe", "joe", "example.org", "s3cret/word", rounds=4)
    environment.primary_domain.add(account)
    server = package.SyncServer(environment, inbox, [package.Listener("submissions", "127.0.0.1", 0)])
    server.load_certificate(tmp_path / "cert.pem", tmp_path / "key.pem")
    with server:
        port = server.listeners[0].port
        sent = smtpx(
            *("send", "--url", f"smtps://joe%40example.org:s3cret%2Fword@localhost:{port}", "-v"),
            *("--ca", tmp_path / "cert.pem", "--from", "joe@example.org", "--to", "x@y.org"),
            stdin=MESSAGE,
        )
    assert sent.returncode == 0, sent.stderr
    assert "> AUTH PLAIN ***" in sent.stderr
    assert "s3cret" not in sent.stderr + sent.stdout


def test_a_certificate_that_nobody_vouches_for_ends_it(inbox: Inbox, tmp_path: Path) -> None:
    from smtpx.certificate import make_certificate

    make_certificate(tmp_path / "cert.pem", tmp_path / "key.pem")
    server = package.SyncServer(handler=inbox, listeners=[package.Listener("submissions", "127.0.0.1", 0)])
    server.load_certificate(tmp_path / "cert.pem", tmp_path / "key.pem")
    with server:
        sent = smtpx("send", "--url", f"smtps://localhost:{server.listeners[0].port}", stdin=MESSAGE)
    assert sent.returncode == 1
    assert "self-signed certificate" in sent.stderr
    assert inbox.mails == []


# What is wrong with what was given: status 1 or 2, one line, no traceback, nothing sent


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["no-such-file.eml"], "no-such-file.eml: No such file"),
        (["--to", "a b@c.org"], "no address"),
        (["--url", "gopher://x"], "smtp"),
        (["--ca", "no-such-file.pem"], "--ca: no-such-file.pem"),
        (["--from", "a@b.org", "--to", "x@y.org", "--subject", "a\nBcc: eve@y.org"], "linefeed"),
        (["--from", "a@b.org", "--to", "x@y.org\r\nBcc: eve@y.org", "--body", "hi"], "linefeed"),
        (["--from", "a@b.org", "--to", "x@y.org", "--attach", "no-such-file"], "no-such-file: No such file"),
        (["--from", "a@b.org", "--to", "x@y.org", "--body", "\udcff"], "UTF-8"),
    ],
)
def test_a_wrong_argument_is_told_with_the_mend(
    url: str, inbox: Inbox, arguments: list[str], words: str
) -> None:
    sent = smtpx("send", "--url", url, *arguments, stdin=MESSAGE)
    assert sent.returncode == 1
    assert words in sent.stderr
    assert "Traceback" not in sent.stderr
    assert inbox.mails == []


def test_a_message_without_recipients_is_told(url: str) -> None:
    sent = smtpx("send", "--url", url, stdin="From: a@b.org\n\nhi\n")
    assert sent.returncode == 1
    assert "there is no recipient: give --to" in sent.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="needs a shell")
def test_a_closed_standard_input_is_told(url: str) -> None:
    sent = in_shell("<&-", "--url", url)
    assert (sent.returncode, sent.stderr) == (1, "error: standard input is closed: name a FILE\n")


@pytest.mark.parametrize("arguments", [["x.eml", "--subject", "y"], ["--subject", "y", "--to", "a@b.org"]])
def test_options_that_contradict_each_other_are_told(url: str, arguments: list[str]) -> None:
    assert smtpx("send", "--url", url, *arguments).returncode == 2


def test_without_a_url_the_variable_is_named() -> None:
    sent = smtpx("send", stdin=MESSAGE)
    assert sent.returncode == 2
    assert "SMTPX_URL" in sent.stderr


# Large content


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
@pytest.mark.parametrize("way", ["file", "standard input", "attachment"])
def test_large_content_has_a_bar_on_a_terminal(url: str, inbox: Inbox, tmp_path: Path, way: str) -> None:
    import pty

    file = tmp_path / "large.eml"
    file.write_text(MESSAGE + "a line of text\n" * 200_000, encoding="utf-8")
    arguments = {
        "file": [str(file)],
        "standard input": [],
        "attachment": ["--from", "a@b.org", "--to", "joe@example.org", "--attach", str(file)],
    }
    terminal, end = pty.openpty()
    with (
        file.open() as opened,
        subprocess.Popen(
            [sys.executable, "-m", "smtpx", "send", "--url", url, *arguments[way]],
            stdin=opened if way == "standard input" else None,
            stdout=subprocess.PIPE,
            stderr=end,
            env={**os.environ, "TERM": "xterm"},
        ) as child,
    ):
        os.close(end)
        shown = b""
        while True:
            try:
                piece = os.read(terminal, 65536)
            except OSError:  # the other end is closed
                break
            if not piece:
                break
            shown += piece
        assert child.wait(PATIENCE) == 0
    os.close(terminal)
    assert "━".encode() in shown
    assert len(inbox.mails[0].data) > 3_000_000
