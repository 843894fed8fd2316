"""HOSTILE rows 55-59, what no transcript can hold: the same work for everybody, off the event loop."""

from __future__ import annotations

import threading
from base64 import b64encode
from typing import TYPE_CHECKING, Any

import bcrypt
import pytest
import smtpx
from smtpx import Account

from tests.recorder import JOE, PASSWORD, Recorder

if TYPE_CHECKING:
    from pathlib import Path

    from tests.live import Live, LiveServers
    from tests.peer import Peer, Reply


class Gate:
    """In place of bcrypt.checkpw: it counts, and holds everybody until it is opened."""

    def __init__(self, *, is_open: bool) -> None:
        self.calls = 0
        self.at_once = 0
        self.most_at_once = 0
        self.entered = threading.Semaphore(0)
        self.threads: set[int] = set()
        self._lock = threading.Lock()
        self._open = threading.Event()
        self._checkpw = bcrypt.checkpw
        if is_open:
            self.open()

    def open(self) -> None:
        self._open.set()

    def __call__(self, password: bytes, hashed: bytes) -> bool:
        with self._lock:
            self.calls += 1
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            self.threads.add(threading.get_ident())
        self.entered.release()
        assert self._open.wait(60)
        with self._lock:
            self.at_once -= 1
        return self._checkpw(password, hashed)


class Sink(smtpx.Handler):
    """Leaves the logins to the environment."""


def log_in(peer: Peer, user: str, password: str) -> None:
    message = b64encode(f"\0{user}\0{password}".encode()).decode()
    peer.send(f"AUTH PLAIN {message}\r\n".encode())


def greeted(live: Live) -> Peer:
    peer = live.connect()
    peer.expect("220")
    peer.command("EHLO client.example", "250")
    return peer


def test_h55_an_unknown_user_costs_the_same_and_hears_the_same_as_a_wrong_password(
    live_server: LiveServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(is_open=True)
    monkeypatch.setattr(bcrypt, "checkpw", gate)
    live = live_server(Sink(), service="submissions")
    replies: dict[str, Reply] = {}
    calls: dict[str, int] = {}
    for user in (JOE, "nobody@example.org", "nobody@elsewhere.example", "postmaster@example.org"):
        before = gate.calls
        peer = greeted(live)
        log_in(peer, user, "wrong")
        replies[user] = peer.expect("535 5.7.8")
        calls[user] = gate.calls - before
    assert set(calls.values()) == {1}
    assert len(set(replies.values())) == 1


def test_h57_no_account_is_made_with_a_password_that_bcrypt_would_cut() -> None:
    for password in ("x" * 73, "é" * 37, "a\0b"):
        with pytest.raises(ValueError, match="password"):
            Account.create("Joe", "joe", "example.org", password, rounds=4)
    assert Account.create("Joe", "joe", "example.org", "x" * 72, rounds=4)


def test_h58_a_store_that_is_down_is_not_a_wrong_password(
    live_server: LiveServers, caplog: pytest.LogCaptureFixture
) -> None:
    class Down(Recorder):
        def serve_auth(self, session: smtpx.Session, username: str, password: str) -> smtpx.Response:
            raise ConnectionError("the password store at 10.1.2.3 is down")

    live = live_server(Down(), service="submissions")
    peer = greeted(live)
    for _ in range(2):
        log_in(peer, JOE, PASSWORD)
        reply = peer.expect("454 4.7.0")
        assert "10.1.2.3" not in str(reply)
    peer.command("MAIL FROM:<joe@example.org>", "530 5.7.0")
    assert "10.1.2.3" in caplog.text
    assert PASSWORD not in caplog.text


def test_h58_a_broken_hash_is_not_a_wrong_password(live_server: LiveServers) -> None:
    broken = Account("Old", "old", "example.org", "not a bcrypt hash")
    live_server.environment.primary_domain.add(broken)
    peer = greeted(live_server(Sink(), service="submissions"))
    log_in(peer, "old@example.org", "x")
    peer.expect("454 4.7.0")


@pytest.mark.parametrize("handler", ["sink", "local"])
def test_h59_two_passwords_are_checked_at_once_and_the_others_wait(
    live_server: LiveServers, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, handler: str
) -> None:
    gate = Gate(is_open=False)
    monkeypatch.setattr(bcrypt, "checkpw", gate)
    local = smtpx.LocalHandler(live_server.environment, smtpx.LocalStorage(tmp_path))
    live = live_server(local if handler == "local" else Sink(), service="submissions")
    peers = [greeted(live) for _ in range(5)]
    try:
        for peer in peers:
            log_in(peer, JOE, PASSWORD)
        for _ in range(2):
            assert gate.entered.acquire(timeout=20)
        # The loop serves everybody else meanwhile: a whole session passes while both threads are held.
        live.settle()
        assert gate.calls == 2
    finally:
        gate.open()
    for peer in peers:
        peer.expect("235 2.7.0")
    assert gate.most_at_once == 2


def test_h59_a_client_that_leaves_does_not_free_its_check_for_more(
    live_server: LiveServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """bcrypt cannot be stopped: a guesser who hangs up and comes again must still wait."""
    gate = Gate(is_open=False)
    monkeypatch.setattr(bcrypt, "checkpw", gate)
    live = live_server(Sink(), service="submissions")
    try:
        for number in range(6):
            peer = greeted(live)
            log_in(peer, JOE, "guess")
            if number < 2:
                assert gate.entered.acquire(timeout=20)
            live.settle()
            peer.close()
        live.settle()
        assert gate.most_at_once == 2
    finally:
        gate.open()
    peer = greeted(live)
    log_in(peer, JOE, PASSWORD)
    peer.expect("235 2.7.0")


@pytest.mark.parametrize(
    ("user", "password"), [("joe@example.org", PASSWORD), ("joe", PASSWORD), ("JOE@EXAMPLE.ORG", PASSWORD)]
)
def test_the_environment_logs_in_and_the_session_knows_who(
    live_server: LiveServers, user: str, password: str
) -> None:
    seen: list[Any] = []

    class Asking(smtpx.Handler):
        def serve_mail_tx(self, mail: smtpx.MailTx) -> None:
            assert mail.session is not None
            seen.append((mail.session.user, mail.session.tls, mail.session.service))

    peer = greeted(live_server(Asking(), service="submissions"))
    log_in(peer, user, password)
    peer.expect("235 2.7.0")
    peer.command("MAIL FROM:<joe@example.org>", "250 2.1.0")
    peer.command("RCPT TO:<ann@example.com>", "250 2.1.5")
    peer.message(b"one\r\n")
    assert seen == [(user, True, "submissions")]
