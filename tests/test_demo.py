"""``smtpx serve --demo``: it takes mail from every client, shows it and keeps it."""

from __future__ import annotations

import re
import shlex
import shutil
import signal
import smtplib
import ssl
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import aiosmtplib
import pytest
from smtpx.demo import subject_of

from tests.served import PATIENCE, Served, Stream, letters, serve, submit

if TYPE_CHECKING:
    from collections.abc import Iterator


if sys.platform == "win32":
    pytest.skip("a console process of Windows takes no signals", allow_module_level=True)


class Demo:
    """A running demo, and what it said of itself."""

    def __init__(self, served: Served) -> None:
        self.served = served
        said = {name: self.read(name) for name in ("smtp", "submissions", "account", "password")}
        self.account, self.password = said["account"], said["password"]
        self.smtp, self.submissions = (
            int(said[name].removeprefix("127.0.0.1:")) for name in ("smtp", "submissions")
        )
        self.certificate = Path(self.read("certificate"))
        self.mailboxes = Path(self.read("mailboxes").removesuffix("/DOMAIN/NAME, Maildirs"))

    @property
    def out(self) -> Stream:
        return self.served.out

    def read(self, name: str) -> str:
        return self.out.match(rf" *{name}: (.*)")[1]

    def line(self, tool: str) -> str:
        """The line to copy that begins with a tool's name."""
        return self.out.match(rf"{tool} .*")[0]

    def log_in_and_send(self, data: str) -> None:
        submit(self.submissions, self.certificate, self.account, self.password, self.account, data)

    def shown(self) -> dict[str, str]:
        """The next message that is shown."""
        return {name: self.read(name) for name in ("message", "from", "to", "subject", "size", "in")}


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    with serve("--demo", "--port", 0, "--tls-port", 0, cwd=tmp_path) as served:
        yield Demo(served)


def kept(demo: Demo) -> list[bytes]:
    """What is in the mailboxes, once the server has ended."""
    assert demo.served.stop() == 0
    return letters(demo.mailboxes)


def smtp_client(demo: Demo) -> smtplib.SMTP:
    return smtplib.SMTP("127.0.0.1", demo.smtp, timeout=PATIENCE)


# Every client


def test_smtplib_on_the_smtp_port(demo: Demo) -> None:
    with smtp_client(demo) as client:
        client.sendmail("ann@example.com", [demo.account], "Subject: hello\n\nhi\n")
    shown = demo.shown()
    assert (shown["from"], shown["to"], shown["subject"]) == ("ann@example.com", demo.account, "hello")
    (letter,) = kept(demo)
    assert letter.startswith(b"Return-Path: <ann@example.com>\nDelivered-To: demo@localhost\n")
    assert letter.endswith(b"Subject: hello\n\nhi\n")
    (file,) = Path(shown["in"], "new").iterdir()
    assert file.read_bytes() == letter
    assert shown["message"] in file.name


def test_smtplib_on_the_smtp_port_with_starttls(demo: Demo) -> None:
    with smtp_client(demo) as client:
        client.starttls(context=ssl.create_default_context(cafile=demo.certificate))
        client.sendmail("ann@example.com", [demo.account], "Subject: hello\n\nhi\n")
    assert demo.shown()["subject"] == "hello"


def test_smtplib_with_tls_and_login(demo: Demo) -> None:
    demo.log_in_and_send("Subject: hello\n\nhi\n")
    shown = demo.shown()
    assert (shown["from"], shown["to"], shown["subject"]) == (demo.account, demo.account, "hello")
    assert len(kept(demo)) == 1


async def test_aiosmtplib_with_tls_and_login(demo: Demo) -> None:
    await aiosmtplib.send(
        b"Subject: hello\r\n\r\nhi\r\n",
        sender=demo.account,
        recipients=[demo.account],
        hostname="127.0.0.1",
        port=demo.submissions,
        use_tls=True,
        tls_context=ssl.create_default_context(cafile=demo.certificate),
        username=demo.account,
        password=demo.password,
    )
    assert demo.shown()["subject"] == "hello"


async def test_aiosmtplib_on_the_smtp_port(demo: Demo) -> None:
    await aiosmtplib.send(
        b"Subject: hello\r\n\r\nhi\r\n",
        sender="ann@example.com",
        recipients=[demo.account],
        hostname="127.0.0.1",
        port=demo.smtp,
        start_tls=False,
    )
    assert demo.shown()["subject"] == "hello"


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_on_the_smtp_port(demo: Demo) -> None:
    options = ["-sS", "--url", f"smtp://127.0.0.1:{demo.smtp}", "--mail-from", "ann@example.com"]
    subprocess.run(
        ["curl", *options, "--mail-rcpt", demo.account, "--upload-file", "-"],
        input=b"Subject: hello\r\n\r\nhi\r\n",
        check=True,
        timeout=PATIENCE,
    )
    assert demo.shown()["subject"] == "hello"


# The lines to copy


@pytest.mark.parametrize("tool", ["python3", "swaks", "curl"])
def test_a_line_to_copy_sends(demo: Demo, tool: str) -> None:
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")
    line = demo.line("printf" if tool == "curl" else tool)
    subprocess.run(line, shell=True, check=True, capture_output=True, timeout=PATIENCE)
    assert demo.shown()["to"] == demo.account


def test_the_line_to_copy_for_smtpx_itself_sends(demo: Demo) -> None:
    line = demo.line(r".*smtpx send")
    sent = subprocess.run(line, shell=True, check=True, capture_output=True, timeout=PATIENCE)
    assert sent.stdout.startswith(b"demo@localhost: accepted: 250 ")
    assert demo.shown()["subject"] == "Hello"


def test_the_readmes_line_sends(demo: Demo) -> None:
    readme = (Path(__file__).resolve().parent.parent / "README.md").read_text(encoding="utf-8")
    found = re.search(r"<!-- command: send -->\n```sh\n\.venv/bin/smtpx (.*:)2525(.*)\n```", readme)
    assert found is not None
    line = f"{shlex.quote(sys.executable)} -m smtpx {found[1]}{demo.smtp}{found[2]}"
    subprocess.run(line, shell=True, check=True, capture_output=True, timeout=PATIENCE)
    assert demo.shown()["from"] == "you@example.org"


@pytest.mark.skipif(shutil.which("swaks") is None, reason="swaks is not installed")
def test_the_line_to_copy_for_swaks_with_tls_and_login_sends(demo: Demo) -> None:
    line = demo.line(r"swaks .*--tls-on-connect")
    subprocess.run(line, shell=True, check=True, capture_output=True, timeout=PATIENCE)
    assert demo.shown()["from"] == demo.account


# What it takes


def test_postmaster_gets_mail_and_nobody_else(demo: Demo) -> None:
    with smtp_client(demo) as client:
        client.sendmail("", ["postmaster"], "Subject: to postmaster\n\n")
        shown = demo.shown()
        assert (shown["from"], shown["to"]) == ("<>", "postmaster@localhost")
        for stranger in ("joe@localhost", "joe@example.org"):
            with pytest.raises(smtplib.SMTPRecipientsRefused):
                client.sendmail("ann@example.com", [stranger], "Subject: relayed\n\n")


def test_mail_for_elsewhere_is_delivered_here_too(demo: Demo) -> None:
    submit(demo.submissions, demo.certificate, demo.account, demo.password, "x@example.net", "Subject: x\n\n")
    assert demo.shown()["in"] == str(demo.mailboxes / "example.net" / "x")
    assert len(kept(demo)) == 1


def test_a_wrong_password_is_refused(demo: Demo) -> None:
    with pytest.raises(smtplib.SMTPAuthenticationError):
        submit(demo.submissions, demo.certificate, demo.account, "wrong", demo.account, "")


def test_every_recipient_and_a_decoded_subject_are_shown(demo: Demo) -> None:
    with smtp_client(demo) as client:
        client.sendmail(
            "ann@example.com",
            [demo.account, "postmaster@localhost"],
            "Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\n\n",
        )
    shown = demo.shown()
    assert shown["to"] == f"{demo.account}, postmaster@localhost"
    assert shown["subject"] == "Grüße"


def test_a_hostile_subject_does_not_steer_the_terminal(demo: Demo) -> None:
    with smtp_client(demo) as client:
        client.sendmail(
            "ann@example.com", [demo.account], "Subject: \x1b[2J=?utf-8?q?=1B]0;x=07=0Aaccount:_me?=\n\n"
        )
    assert demo.shown()["subject"].isprintable()


# Its life


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_with_status_0_and_without_a_word(demo: Demo, number: int) -> None:
    demo.served.send_signal(number)
    assert demo.served.process.wait(PATIENCE) == 0
    assert demo.served.log.rest() == []


def test_it_starts_a_second_time_in_the_same_folder_and_keeps_the_mail(tmp_path: Path) -> None:
    for _ in range(2):
        with serve("--demo", "--port", 0, "--tls-port", 0, cwd=tmp_path) as served:
            demo = Demo(served)
            demo.log_in_and_send("Subject: x\n\n")
            assert demo.shown()["subject"] == "x"
            assert served.stop() == 0
    assert len(kept(demo)) == 2


def test_a_second_one_at_the_same_time_is_refused_and_the_first_goes_on(demo: Demo, tmp_path: Path) -> None:
    with serve("--demo", "--port", 0, "--tls-port", 0, cwd=tmp_path) as second:
        assert second.process.wait(PATIENCE) == 1
        assert "is in use by process" in second.log.match("error: (.*)")[1]
    demo.log_in_and_send("Subject: x\n\n")
    assert demo.shown()["subject"] == "x"


def test_a_port_that_is_taken_is_told_with_the_mend(demo: Demo, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    with serve("--demo", "--port", demo.smtp, "--tls-port", 0, cwd=elsewhere) as second:
        assert second.process.wait(PATIENCE) == 1
        told = second.log.match("error: (.*)")[1]
        assert re.match(rf"cannot listen on 127\.0\.0\.1 port {demo.smtp}: .*: stop the server", told)


def test_its_log_is_of_the_form_that_was_asked_for(tmp_path: Path) -> None:
    with serve("--demo", "--port", 0, "--tls-port", 0, "--log", "json", cwd=tmp_path) as served:
        demo = Demo(served)
        submit(
            demo.submissions, demo.certificate, demo.account, demo.password, demo.account, "Subject: x\n\n"
        )
        message = served.event("message")
        session = served.event("session")
        assert session["session"] == message["session"]
        assert (session["user"], session["service"], session["messages"]) == (demo.account, "submissions", 1)
        assert (message["mail_from"], message["recipients"], message["code"]) == (demo.account, 1, 250)
        served.stop()
        assert not [line for line in served.log.rest() if demo.password in line]


# Subjects


@pytest.mark.parametrize(
    ("header", "subject"),
    [
        (b"Subject: hello", "hello"),
        (b"SUBJECT:hello", "hello"),
        (b"From: a\r\nSubject: folded\r\n into two\r\nTo: b", "folded into two"),
        (b"Subject: =?iso-8859-1?Q?Gr=FC=DFe?= =?utf-8?B?4pyT?=", "Grüße✓"),
        ("Subject: Grüße".encode(), "Grüße"),
        (b"Subject: \xff", "\ufffd"),
        (b"Subject: =?nonsense?Q?x?=", "=?nonsense?Q?x?="),
        (b"Subject: =?utf-8?B?4?=", "=?utf-8?B?4?="),
        (b"Subject: =?utf-8?Q?=FF?=", "=?utf-8?Q?=FF?="),
        (b"Subject: \x1b[31mred \x07", "\\x1b[31mred \\x07"),
        (b"Subject: =?utf-8?Q?a=0D=0Ab=E2=80=AEc?=", "a b\\u202ec"),
        (b"From: a", ""),
        (b"", ""),
        (b"no header at all", ""),
        (b"X: " + b"x" * 100_000 + b"\r\nSubject: far down", ""),
        (b"Subject: " + b"x" * 300, "x" * 200 + "…"),
    ],
)
def test_a_subject_is_made_readable(header: bytes, subject: str) -> None:
    assert subject_of(header + b"\r\n\r\nSubject: of the body\r\n") == subject
