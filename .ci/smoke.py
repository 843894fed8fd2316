"""An installed smtpx works: it parses, and takes a mail; with smtpx[cli], so does its demo server."""

from __future__ import annotations

import importlib.util
import itertools
import smtplib
import subprocess
import sys
import tempfile

import smtpx

MAIL = "Subject: smoke\r\n\r\nhello\r\n"


class Outbox(smtpx.Handler):
    def __init__(self) -> None:
        self.mails: list[smtpx.MailTx] = []

    def serve_mail_tx(self, mail: smtpx.MailTx) -> None:
        self.mails.append(mail)


def send(port: int, recipient: str) -> None:
    with smtplib.SMTP("127.0.0.1", port, timeout=30) as client:
        client.sendmail("ann@example.com", [recipient], MAIL)


def library() -> None:
    assert smtpx.parse_path(b"<@a.org:joe@c.org>") == "joe@c.org"
    outbox = Outbox()
    with smtpx.SyncServer(handler=outbox, listeners=[smtpx.Listener("smtp", "127.0.0.1", 0)]) as server:
        port = server.listeners[0].port
        assert port
        send(port, "joe@example.org")
    assert [mail.data for mail in outbox.mails] == [MAIL.encode()]
    print(f"smtpx {smtpx.__version__} on {sys.version.split()[0]}, {sys.platform}: the library works")


def demo() -> None:
    command = [sys.executable, "-u", "-m", "smtpx", "serve", "--demo", "--port", "0", "--tls-port", "0"]
    with (
        tempfile.TemporaryDirectory() as directory,
        subprocess.Popen(command, cwd=directory, stdout=subprocess.PIPE, text=True) as server,
    ):
        assert server.stdout is not None
        try:
            # Up to the first empty line its output is for programs: "name: value".
            head = itertools.takewhile(str.strip, server.stdout)
            said = dict(line.rstrip("\n").split(": ", 1) for line in head)
            send(int(said["smtp"].rpartition(":")[2]), said["account"])
            while "smoke" not in (line := server.stdout.readline()):
                assert line, "the demo ended, and did not show the mail"
        finally:
            server.terminate()
    assert server.returncode == 0
    print("the demo took a mail, and ended when it was asked to")


if __name__ == "__main__":
    library()
    if importlib.util.find_spec("typer") and sys.platform != "win32":
        demo()
