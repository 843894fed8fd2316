"""A server on its own thread."""

from __future__ import annotations

import smtplib
from email.message import EmailMessage

import pytest
import smtpx
from smtpx import Listener

from tests.peer import PATIENCE
from tests.recorder import JOE, Recorder

LOOPBACK = Listener("smtp", "127.0.0.1", 0)


def test_sync_server_serves_blocking_programs() -> None:
    recorder = Recorder()
    message = EmailMessage()
    message["From"], message["To"] = "a@b.example", JOE
    message.set_content("hi")
    with (
        smtpx.SyncServer(handler=recorder, listeners=[LOOPBACK]) as server,
        smtplib.SMTP("127.0.0.1", server.listeners[0].port or 0) as client,
    ):
        client.send_message(message)
    assert recorder.messages[0].data.endswith(b"\r\nhi\r\n")
    assert server.counters.messages == 1


def test_sync_server_raises_what_start_raises() -> None:
    server = smtpx.SyncServer(handler=Recorder(), listeners=[Listener("submission", "127.0.0.1", 0)])
    with pytest.raises(smtpx.ConfigurationError, match="needs a certificate"):
        server.start()


def test_sync_server_that_was_refused_a_second_start_still_stops() -> None:
    server = smtpx.SyncServer(handler=Recorder(), listeners=[LOOPBACK])
    server.start()
    port = server.listeners[0].port or 0
    with pytest.raises(smtpx.ConfigurationError, match="runs already"):
        server.start()
    server.stop()
    with pytest.raises(OSError):  # noqa: PT011 - which one differs between systems
        smtplib.SMTP("127.0.0.1", port, timeout=5)


class Stopper(smtpx.Handler):
    """Stops its server at the first message, or tries to."""

    server: smtpx.SyncServer
    refusal: Exception | None = None

    def serve_mail_tx(self, mail: smtpx.MailTx) -> None:
        try:
            self.server.stop()
        except smtpx.ConfigurationError as error:
            self.refusal = error


def test_sync_server_that_its_own_handler_stops_says_so_instead_of_waiting_for_itself() -> None:
    handler = Stopper()
    with smtpx.SyncServer(handler=handler, listeners=[LOOPBACK]) as handler.server:
        port = handler.server.listeners[0].port or 0
        with smtplib.SMTP("127.0.0.1", port, timeout=PATIENCE) as client:
            client.sendmail("a@b.example", [JOE], "hi")
    assert "from another one" in str(handler.refusal)
