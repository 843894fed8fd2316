"""HOSTILE rows 60-66 on real sockets and real handshakes."""

from __future__ import annotations

import ssl
import subprocess
import sys
import warnings
from typing import TYPE_CHECKING

import pytest
import smtpx
from smtpx.certificate import make_certificate

from tests.peer import Peer

if TYPE_CHECKING:
    from pathlib import Path

    from tests.live import Certificate, Live, LiveServers

pytestmark = pytest.mark.usefixtures("each_loop")


def plain(live: Live) -> Peer:
    """Connect without a handshake, also where TLS is implicit."""
    return live.peers.enter_context(Peer(live.address))


def to_the_end(peer: Peer) -> bytes:
    received = b""
    try:
        while data := peer.socket.recv(65536):
            received += data
    except ConnectionResetError:
        pass
    return received


def test_h60_plain_text_in_the_same_segment_never_runs_inside_tls(live_server: LiveServers) -> None:
    live = live_server(service="submission")
    peer = live.connect()
    peer.expect("220")
    peer.command("EHLO client.example", "250")
    peer.send(b"STARTTLS\r\nEHLO evil.example\r\nAUTH PLAIN AGEAYg==\r\nRCPT TO:<evil@example.net>\r\n")
    peer.expect("220 2.0.0")
    peer.start_tls(live.certificate.client)
    # The first reply inside TLS is the one to the first command inside TLS.
    peer.command("NOOP", "250 2.0.0")
    peer.command("MAIL FROM:<joe@example.org>", "503 5.5.1|530 5.7.0")


def test_h60_plain_text_in_the_next_segment_is_a_failed_handshake(live_server: LiveServers) -> None:
    live = live_server()
    peer = live.connect()
    peer.expect("220")
    peer.command("EHLO client.example", "250")
    peer.command("STARTTLS", "220 2.0.0")
    peer.send(b"MAIL FROM:<evil@example.net>\r\nRCPT TO:<ann@example.org>\r\n")
    assert b"250" not in to_the_end(peer)
    assert live.recorder.messages == []


def test_h61_ehlo_and_transaction_are_forgotten_and_the_session_is_in_tls(live_server: LiveServers) -> None:
    seen: list[tuple[bool, str]] = []

    class Asking(smtpx.Handler):
        def check_mail(self, session: smtpx.Session, sender: str, params: dict[str, str]) -> None:
            seen.append((session.tls, session.tls_info))

    live = live_server(Asking())
    peer = live.connect()
    peer.expect("220")
    peer.command("EHLO client.example", "250")
    peer.command("MAIL FROM:<joe@example.org>", "250 2.1.0")
    peer.command("RSET", "250 2.0.0")
    peer.command("STARTTLS", "220 2.0.0")
    peer.start_tls(live.certificate.client)
    peer.command("MAIL FROM:<joe@example.org>", "503 5.5.1")
    peer.command("EHLO client.example", "250")
    peer.command("MAIL FROM:<joe@example.org>", "250 2.1.0")
    assert isinstance(peer.socket, ssl.SSLSocket)
    version, cipher = peer.socket.version(), peer.socket.cipher()
    assert cipher is not None
    assert seen == [(False, ""), (True, f"{version} {cipher[0]}")]


def test_h62_a_certificate_that_cannot_be_used_is_454_and_the_session_goes_on(
    environment: smtpx.Environment,
) -> None:
    bare = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)  # nobody can shake hands with it
    listeners = [smtpx.Listener("smtp", "127.0.0.1", 0)]
    with (
        smtpx.SyncServer(environment, smtpx.Handler(), listeners, tls=bare) as server,
        Peer(("127.0.0.1", server.listeners[0].port or 0)) as peer,
    ):
        peer.expect("220")
        peer.command("EHLO client.example", "250")
        peer.command("STARTTLS", "454 4.7.0")
        peer.command("MAIL FROM:<joe@example.org>", "250 2.1.0")


def test_h63_a_handshake_that_stalls_is_cut_off_and_holds_no_slot(live_server: LiveServers) -> None:
    live = live_server(service="submissions", limits={"handshake_timeout": 0.2, "connections": 1})
    peer = plain(live)
    assert to_the_end(peer) == b""
    live.connect().expect("220")


def test_h63_a_handshake_that_stalls_after_starttls_is_cut_off(live_server: LiveServers) -> None:
    live = live_server(limits={"handshake_timeout": 0.2, "connections": 1})
    peer = plain(live)
    peer.expect("220")
    peer.command("EHLO client.example", "250")
    peer.command("STARTTLS", "220 2.0.0")
    assert to_the_end(peer) == b""
    live.connect().expect("220")


def test_h63_a_handshake_that_stalls_half_way_is_cut_off(live_server: LiveServers) -> None:
    live = live_server(service="submissions", limits={"handshake_timeout": 0.2, "connections": 1})
    peer = plain(live)
    peer.send(client_hello(live.certificate.client)[:20])
    assert b"220" not in to_the_end(peer)
    live.connect().expect("220")


def test_h63_plain_text_on_the_tls_port_is_cut_off(live_server: LiveServers) -> None:
    live = live_server(service="submissions", limits={"connections": 1})
    peer = plain(live)
    peer.send(b"EHLO client.example\r\nMAIL FROM:<joe@example.org>\r\n")
    assert b"250" not in to_the_end(peer)
    live.connect().expect("220")


def client_hello(context: ssl.SSLContext) -> bytes:
    """What a client of that context sends first."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def test_h66_tls_below_1_2_is_refused(live_server: LiveServers) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    peer = plain(live_server(service="submissions"))
    peer.send(client_hello(context))
    answer = to_the_end(peer)
    # A fatal alert (RFC 5246 7.2), or nothing at all; never a ServerHello.
    assert answer == b"" or (answer[0], answer[5]) == (21, 2)


def test_h66_a_certificate_with_the_wrong_key_leaves_the_old_one_in_use(
    live_server: LiveServers, tmp_path: Path
) -> None:
    live = live_server(service="submissions")
    make_certificate(tmp_path / "certificate.pem", tmp_path / "key.pem")
    with pytest.raises(smtpx.ConfigurationError, match=r"certificate\.pem"):
        live.server.load_certificate(tmp_path / "certificate.pem", live.certificate.key)
    with pytest.raises(smtpx.ConfigurationError, match="missing"):
        live.server.load_certificate(tmp_path / "missing.pem", tmp_path / "key.pem")
    live.connect().expect("220")


def test_a_new_certificate_serves_new_sessions_and_leaves_the_open_ones(
    live_server: LiveServers, tmp_path: Path
) -> None:
    live = live_server(service="submissions")
    old = live.connect()
    old.expect("220")
    make_certificate(tmp_path / "certificate.pem", tmp_path / "key.pem")
    live.server.load_certificate(tmp_path / "certificate.pem", tmp_path / "key.pem")
    new = plain(live)
    new.start_tls(ssl.create_default_context(cafile=tmp_path / "certificate.pem"))
    new.expect("220")
    old.command("NOOP", "250 2.0.0")
    with pytest.raises(ssl.SSLCertVerificationError):
        live.connect()


STOPPING = """
import asyncio, socket, sys
import smtpx

async def main():
    listener = smtpx.Listener("submissions", "127.0.0.1", 0)
    server = smtpx.Server(handler=smtpx.Handler(), listeners=[listener])
    server.load_certificate(*sys.argv[2:])
    await server.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", server.listeners[0].port)
    other = socket.create_connection(("127.0.0.1", server.listeners[0].port))
    await asyncio.sleep(0.2)  # the server is waiting for a ClientHello by now, and if not, no harm is done
    await server.stop(0.2)

if sys.argv[1] == "uvloop":
    import uvloop
    factory = uvloop.new_event_loop
else:
    factory = asyncio.new_event_loop
with asyncio.Runner(loop_factory=factory) as runner:
    runner.run(main())
"""


def test_h106_a_handshake_that_stalls_does_not_hold_up_the_end_of_the_process(
    certificate: Certificate, request: pytest.FixtureRequest
) -> None:
    loop = request.node.callspec.params["each_loop"]
    command = [sys.executable, "-c", STOPPING, loop, str(certificate.path), str(certificate.key)]
    subprocess.run(command, timeout=20, check=True)
