"""What an idle connection costs the server in memory, while another client is served.

``python -m benches.idle`` holds 10,000 connections from this process, each greeted and its EHLO answered; the
server runs in its own. What is counted is the growth of the server's resident memory, without what the kernel
keeps for its sockets.
"""

from __future__ import annotations

import resource
import smtplib
import socket
import ssl
import tempfile
from pathlib import Path

from smtpx.certificate import make_certificate

from benches import peers, publish

CONNECTIONS = 10_000
OTHER_CLIENTS_MESSAGES = 100

CLIENT_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
CLIENT_TLS.check_hostname = False
CLIENT_TLS.verify_mode = ssl.CERT_NONE


def measure(name: str, count: int, certificate: tuple[Path, Path] | None) -> float:
    """Return KiB a connection of a server that holds this many."""
    with peers.running(name, *map(str, certificate or ())) as server:
        serve_another(server, tls=certificate is not None)
        before = server.resident_kib()
        held = [connect(server.port, tls=certificate is not None) for _ in range(count)]
        per_connection = (server.resident_kib() - before) / count
        serve_another(server, tls=certificate is not None)
        for connection in held:
            connection.close()
    return per_connection


def connect(port: int, *, tls: bool) -> socket.socket:
    """Open a connection, say EHLO (over TLS: after STARTTLS, again) and leave it idle."""
    connection = socket.create_connection((peers.HOST, port), timeout=30)
    _await(connection, b"220 ")
    connection.sendall(b"EHLO idle.example\r\n")
    _await(connection, b"\n250 ")
    if tls:
        connection.sendall(b"STARTTLS\r\n")
        _await(connection, b"220 ")
        connection = CLIENT_TLS.wrap_socket(connection)
        connection.sendall(b"EHLO idle.example\r\n")
        _await(connection, b"\n250 ")
    return connection


def _await(connection: socket.socket, last: bytes) -> None:
    reply = b""
    while last not in reply:
        octets = connection.recv(4096)
        if not octets:
            raise ConnectionError(f"the server closed after {reply!r}")
        reply += octets


def serve_another(server: peers.Peer, *, tls: bool) -> None:
    """Send messages over one more connection: the server is not held up by the idle ones."""
    with smtplib.SMTP(peers.HOST, server.port, timeout=30) as client:
        if tls:
            client.starttls(context=CLIENT_TLS)
        for _ in range(OTHER_CLIENTS_MESSAGES):
            client.sendmail("a@b.example", ["c@d.example"], b"Subject: x\r\n\r\nhi\r\n")


def allow_descriptors(count: int) -> None:
    """Raise the limit of open files, here and so in the server that this process starts."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        raise SystemExit(
            f"{count} open files are needed and the hard limit is {hard}: raise it with ulimit -Hn"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


def main() -> None:
    quick = publish.options("idle", "Memory of an idle connection.").parse_args().quick
    count = 200 if quick else CONNECTIONS
    allow_descriptors(count + 200)
    lines = ["| server | connection | KiB each | bar |", "|---|---|--:|--:|"]
    with tempfile.TemporaryDirectory() as directory:
        certificate = Path(directory) / "certificate.pem", Path(directory) / "key.pem"
        make_certificate(*certificate)
        for name, tls, bar in (
            (peers.SMTPX + peers.UVLOOP, None, "<= 10"),
            (peers.SMTPX, None, "<= 10"),
            (peers.SMTPX + peers.UVLOOP, certificate, "<= 40"),
            (peers.SMTPX, certificate, ""),
        ):
            figure = measure(name, count, tls)
            lines.append(f"| {name} | {'TLS' if tls else 'plain'} | {figure:.1f} | {bar} |")
            print(lines[-1], flush=True)
    if not quick:
        held = f"{count:,} connections held, the growth of the server's memory divided by them"
        publish.section("idle", "\n".join([*lines, "", f"{held}; {publish.conditions()}."]))


if __name__ == "__main__":
    main()
