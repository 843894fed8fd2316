"""What ``smtpx serve CONFIG`` does between its start and its end: reloads, accounts, signals."""

from __future__ import annotations

import asyncio
import errno
import json
import signal
import smtplib
import socket
import ssl
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from smtpx import app as app_module
from smtpx import logs
from smtpx.app import App
from smtpx.certificate import make_certificate
from smtpx.config import Config, load
from smtpx.errors import ConfigurationError
from smtpx.listener import Listener
from smtpx.site import build_environment

from tests.peer import Peer
from tests.served import JOE, PATIENCE, SECRET, Site, letters, serve, smtpx
from tests.signing import dkimpy_verifies, pem, record, rsa_key

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


if sys.platform == "win32":
    pytest.skip("a console process of Windows takes no signals", allow_module_level=True)


@pytest.fixture
def site(stopped: Site) -> Iterator[Site]:
    with stopped.running():
        yield stopped


def refused(client: smtplib.SMTP, recipient: str) -> bool:
    """Whether a recipient is refused, without a message to it."""
    client.ehlo_or_helo_if_needed()
    client.mail("ann@example.com")
    code, _ = client.rcpt(recipient)
    client.rset()
    return code != 250


# Mail


def test_mail_is_taken_for_the_domains_and_kept(site: Site) -> None:
    with site.client() as client:
        client.sendmail("ann@example.com", [JOE], "Subject: hello\n\nhi\n")
        assert refused(client, "joe@example.net")
    site.served.event("delivered")
    assert site.served.stop() == 0
    (letter,) = site.letters()
    assert letter.startswith(b"Return-Path: <ann@example.com>\nDelivered-To: joe@example.org\n")
    assert letter.endswith(b"Subject: hello\n\nhi\n")


def test_a_domains_alias_is_taken_too(stopped: Site) -> None:
    stopped.change('[domains."example.org"]', '[domains."example.org"]\naliases.info = ["joe@example.org"]')
    with stopped.running(), stopped.client() as client:
        assert not refused(client, "info@example.org")
        assert refused(client, "inf@example.org")


def test_the_log_is_a_line_a_message_and_a_session_without_secrets(site: Site) -> None:
    site.log_in()
    message, session = site.served.event("message"), site.served.event("session")
    assert session["session"] == message["session"]
    assert (session["user"], session["service"], session["messages"]) == (JOE, "submissions", 1)
    assert (message["mail_from"], message["recipients"], message["code"]) == (JOE, 1, 250)
    assert site.served.stop() == 0
    lines = site.served.log.rest()
    events = [json.loads(line).get("event") for line in lines]
    # An attempt has its line when it ends, before or after the others.
    assert [event for event in events if event != "delivered"] == [
        "listening",
        "listening",
        "message",
        "session",
        "stop",
    ]
    assert SECRET not in "".join(lines)


# Its end


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_status_0(site: Site, number: int) -> None:
    site.served.send_signal(number)
    assert site.served.process.wait(PATIENCE) == 0


def test_h106_a_message_in_flight_at_sigterm_is_finished_and_kept(site: Site) -> None:
    with Peer(("127.0.0.1", site.smtp), patience=PATIENCE) as peer:
        peer.open()
        peer.command("DATA", "354")
        peer.send(b"Subject: hello\r\n")
        site.served.send_signal(signal.SIGTERM)
        site.served.event("stop")
        peer.send(b"\r\nhi\r\n.\r\n")
        peer.expect("250")
    assert site.served.process.wait(PATIENCE) == 0
    assert site.kept() == 1


def test_a_second_signal_ends_it_at_once(site: Site) -> None:
    with Peer(("127.0.0.1", site.smtp), patience=PATIENCE) as peer:
        peer.open()
        peer.command("DATA", "354")
        site.served.send_signal(signal.SIGTERM)
        site.served.event("stop")
        site.served.send_signal(signal.SIGTERM)
        assert site.served.process.wait(PATIENCE) == -signal.SIGTERM


# Accounts


def test_an_account_that_is_added_while_it_runs_can_log_in_and_get_mail(site: Site) -> None:
    with pytest.raises(smtplib.SMTPAuthenticationError):
        site.log_in("ann", "her own")
    added = smtpx(
        "account", "add", "ann@example.org", "--config", site.config, "--password-stdin", stdin="her own\n"
    )
    assert added.returncode == 0, added.stderr
    site.log_in("ann", "her own")
    with site.client() as client:
        assert not refused(client, "ann@example.org")


def test_a_session_that_began_before_can_log_in_to_a_new_account(site: Site) -> None:
    context = ssl.create_default_context(cafile=site.certificate)
    with smtplib.SMTP_SSL("127.0.0.1", site.submissions, context=context, timeout=PATIENCE) as client:
        site.add("ann", "her own")
        client.login("ann@example.org", "her own")


def test_an_account_that_is_removed_while_it_runs_cannot_log_in(site: Site) -> None:
    site.log_in()
    site.accounts.remove(JOE)
    with pytest.raises(smtplib.SMTPAuthenticationError):
        site.log_in()


def test_a_broken_account_file_is_logged_and_the_accounts_stay(site: Site) -> None:
    site.accounts.path.write_text("[broken", encoding="utf-8")
    site.log_in()
    assert "accounts.toml: line 1" in site.served.error()


# Reload


def test_a_new_certificate_is_shown_after_a_reload(site: Site) -> None:
    old = site.certificate_shown()
    make_certificate(site.certificate, site.key)
    assert site.certificate_shown() == old
    site.reload()
    assert site.certificate_shown() == site.certificate.read_text(encoding="ascii")
    assert site.certificate_shown() != old


def test_h66_a_certificate_that_does_not_match_its_key_leaves_the_old_one_in_use(
    site: Site, tmp_path: Path
) -> None:
    old = site.certificate_shown()
    make_certificate(tmp_path / "other.pem", site.key)
    assert "smtpx.toml: line 5: cannot use certificate" in site.fail_to_reload()
    assert site.certificate_shown() == old


def test_a_place_that_cannot_even_be_looked_for_leaves_the_old_configuration_in_use(site: Site) -> None:
    site.change("/mail/", f"/{'x' * 300}/")
    assert "line 3: 'deliver': there is no folder" in site.fail_to_reload()
    site.log_in()
    site.served.event("delivered")
    assert len(site.letters()) == 1


def test_a_session_goes_on_through_a_reload_of_domains_and_certificates(site: Site) -> None:
    with site.client() as client:
        assert refused(client, "postmaster@example.net")
        site.change('[domains."example.org"]', '[domains."example.org"]\n[domains."example.net"]')
        make_certificate(site.certificate, site.key)
        site.reload()
        assert not refused(client, "postmaster@example.net")


def test_a_reload_takes_a_new_dkim_key(site: Site) -> None:
    site.log_in()
    site.served.event("delivered")
    (site.folder / "dkim.pem").write_bytes(pem(rsa_key()))
    entry = 'dkim = { selector = "s1", key = "dkim.pem" }'
    site.change('[domains."example.org"]', f'[domains."example.org"]\n{entry}')
    site.reload()
    site.log_in()
    site.served.event("delivered")
    unsigned, signed = site.letters()
    assert b"DKIM-Signature" not in unsigned
    assert dkimpy_verifies(signed.replace(b"\n", b"\r\n"), record(rsa_key()))


def test_a_reload_takes_another_place_for_mailboxes(site: Site) -> None:
    (site.folder / "elsewhere").mkdir()
    site.change("/mail/", "/elsewhere/")
    site.reload()
    site.log_in()
    site.served.event("delivered")
    assert site.letters() == []
    assert len(letters(site.folder / "elsewhere")) == 1


def test_a_reload_takes_another_schedule_and_the_queue_goes_on(site: Site) -> None:
    site.change("[log]", "[queue]\ngaps = [0.1]\nlifetime = 0.1\nwarn_after = inf\njitter = 0\n[log]")
    site.reload()
    (site.folder / "mail" / "example.org").write_bytes(b"in the way of the Maildirs")
    with site.client() as client:
        client.sendmail("joe@example.org", [JOE], "Subject: hello\n\n")
    assert site.served.event("bounced")["attempts"] == 2


def test_a_configuration_with_a_fault_leaves_the_old_one_in_use(site: Site) -> None:
    site.change('[domains."example.org"]', '[domains."example.net"]\nalias = 1')
    assert "smtpx.toml: line 17: unknown key 'alias', did you mean 'aliases'?" in site.fail_to_reload()
    site.log_in()


def test_an_account_without_its_domain_leaves_the_old_configuration_in_use(site: Site) -> None:
    site.change('[domains."example.org"]', '[domains."example.net"]')
    assert "'joe@example.org' is of no domain here" in site.fail_to_reload()
    site.log_in()


def test_the_spool_cannot_change_while_it_runs(site: Site) -> None:
    site.change('spool = "spool"', 'spool = "."')
    assert "restart to change it" in site.fail_to_reload()
    site.log_in()


def test_new_limits_are_those_of_new_sessions_on_the_same_ports(site: Site) -> None:
    site.change("[log]", "[limits]\nmessage_size = 1000\n[log]")
    with site.client() as old:
        site.served.send_signal(signal.SIGHUP)
        assert site.ports() == (site.smtp, site.submissions)
        site.served.event("reload")
        assert old.getreply()[0] == 421  # unasked: it was idle
    with site.client() as client:
        client.ehlo()
        assert client.esmtp_features["size"] == "1000"
    site.log_in()


def test_a_message_in_flight_at_a_reload_of_limits_is_finished_and_kept(site: Site) -> None:
    with Peer(("127.0.0.1", site.smtp), patience=PATIENCE) as peer:
        peer.open()
        peer.command("DATA", "354")
        site.change("[log]", "[limits]\nmessage_size = 1000\n[log]")
        site.reload()
        peer.send(b"Subject: hello\r\n\r\nhi\r\n.\r\n")
        peer.expect("250")
    assert site.served.stop() == 0
    assert site.kept() == 1


def test_a_listener_is_added_and_taken_away_by_a_reload(site: Site, tmp_path: Path) -> None:
    path = tmp_path / "smtp.socket"
    site.change("[domains", f'[[listener]]\npath = "{path.name}"\n[domains')
    site.reload()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(path))
        assert sock.recv(100).startswith(b"220")
    site.change(f'[[listener]]\npath = "{path.name}"\n', "")
    site.reload()
    assert not path.exists()
    site.log_in()


def test_a_unix_socket_stays_through_a_reload_and_goes_at_the_end(stopped: Site, tmp_path: Path) -> None:
    path = tmp_path / "smtp.socket"
    stopped.change("[domains", f'[[listener]]\npath = "{path.name}"\n[domains')
    with stopped.running():
        stopped.served.event("listening", path=str(path))
        stopped.change("[log]", "[limits]\nmessage_size = 1000\n[log]")
        stopped.reload()
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(path))
            assert sock.recv(100).startswith(b"220")
        assert stopped.served.stop() == 0
    assert not path.exists()


def test_a_listener_that_cannot_be_bound_leaves_the_old_configuration_in_use(site: Site) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        site.change("[domains", f'[[listener]]\nhost = "127.0.0.1"\nport = {port}\n[domains')
        assert f"cannot listen on 127.0.0.1 port {port}" in site.fail_to_reload()
    site.log_in()


# A start that fails


def failure(site: Site) -> str:
    ended = smtpx("serve", site.config)
    assert ended.returncode == 1
    return ended.stderr


def test_every_fault_of_the_configuration_is_told(stopped: Site) -> None:
    stopped.change('[domains."example.org"]', "[domain]\n[limits]\nerrors = 0")
    assert [line.rpartition("smtpx.toml: ")[2][:8] for line in failure(stopped).splitlines()] == [
        "line 16:",
        "line 18:",
    ]


def test_h96_a_spool_that_is_missing_is_told(stopped: Site) -> None:
    (stopped.folder / "spool").rmdir()
    assert "smtpx.toml: line 2: 'spool': there is no folder" in failure(stopped)


def test_h97_two_servers_on_one_spool_deliver_each_message_once(site: Site) -> None:
    with serve(site.config) as second:
        other = second.event("listening", service="smtp")["port"]
        for port in (site.smtp, other) * 5:
            with smtplib.SMTP("127.0.0.1", port, timeout=PATIENCE) as client:
                client.sendmail("ann@example.com", [JOE], f"Subject: {port}\n\n")
        assert second.stop() == 0
    assert site.served.stop() == 0
    assert site.kept() == 10


def test_a_port_that_is_taken_is_told_with_the_mend(stopped: Site) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        stopped.change("port = 0\n[domains", f"port = {port}\n[domains")
        told = failure(stopped)
    assert told.startswith(f"error: cannot listen on 127.0.0.1 port {port}: ")
    assert told.endswith("stop the server that has it, or set another port\n")


def test_an_address_that_is_not_of_this_machine_is_told_with_the_mend(stopped: Site) -> None:
    stopped.change("127.0.0.1", "192.0.2.1")
    assert "this machine has no such address; correct 'host'" in failure(stopped)


@pytest.mark.parametrize(
    ("name", "mend"),
    [
        ("none/smtp", "make the folder {folder}/none (RuntimeDirectory= of systemd), or correct 'path'"),
        ("accounts.toml", "stop the server that has it, remove the file, or correct 'path'"),
        ("x" * 120, "AF_UNIX path too long: correct 'path'"),
    ],
)
def test_a_path_that_cannot_be_listened_on_is_told_with_the_mend(stopped: Site, name: str, mend: str) -> None:
    stopped.change("[domains", f'[[listener]]\npath = "{stopped.folder}/{name}"\n[domains')
    told = failure(stopped)
    assert told.startswith(f"error: cannot listen on {stopped.folder}/{name}: ")
    assert told.endswith(f"{mend.format(folder=stopped.folder)}\n")


def test_a_path_in_a_folder_of_others_is_told_with_the_mend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bind(listener: Listener) -> list[socket.socket]:
        raise PermissionError(errno.EACCES, f"cannot listen on {listener.path}: Permission denied")

    monkeypatch.setattr(app_module, "bind", bind)
    monkeypatch.setattr(logs, "configure", lambda *how: None)  # pytest's own handlers stay
    (tmp_path / "accounts.toml").touch()
    listeners = (Listener("smtp", path=tmp_path / "smtp"),)
    config = Config("a.org", spool=tmp_path, accounts=tmp_path / "accounts.toml", listeners=listeners)
    with pytest.raises(ConfigurationError, match=r"Permission denied: let the server write to .* \(chown\)"):
        asyncio.run(App(lambda: config).run())


def test_a_low_port_without_the_right_to_it_is_told_with_the_mend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bind(listener: Listener) -> list[socket.socket]:
        raise PermissionError(errno.EACCES, "cannot listen on 127.0.0.1 port 25: Permission denied")

    monkeypatch.setattr(app_module, "bind", bind)
    monkeypatch.setattr(logs, "configure", lambda *how: None)  # pytest's own handlers stay
    (tmp_path / "accounts.toml").touch()
    config = Config("a.org", spool=tmp_path, accounts=tmp_path / "accounts.toml")
    with pytest.raises(ConfigurationError, match=r"Permission denied: .* need CAP_NET_BIND_SERVICE"):
        asyncio.run(App(lambda: config).run())


# The environment of a configuration


def test_the_hostname_is_the_primary_domain_and_may_have_aliases(stopped: Site) -> None:
    stopped.change(
        '[domains."example.org"]',
        '[domains."example.org"]\n[domains."Mail.example.org"]\naliases.a = ["b@c.org"]',
    )
    environment = build_environment(load(stopped.config), {})
    assert environment.primary_domain.name == "mail.example.org"
    assert environment.primary_domain.aliases["a"] == ["b@c.org"]
    assert [domain.name for domain in environment.domains] == ["mail.example.org", "example.org"]


def test_uvloop_is_used_where_it_is_installed() -> None:
    pytest.importorskip("uvloop")
    program = (
        "import asyncio, smtpx.app\n"
        "class Asked:\n"
        "    async def run(self): print(type(asyncio.get_running_loop()).__module__)\n"
        "smtpx.app.run(Asked())"
    )
    asked = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert asked.stdout.strip().startswith("uvloop")
