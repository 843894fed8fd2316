"""What a DKIM signature costs, and how long the event loop is held up under a load of signed submissions.

``python -m benches.dkim`` (half a minute) signs a message of 4 KiB with RSA-2048 and Ed25519, and with
dkimpy's own RSA; then a real server with a `LocalHandler` takes such messages, over TLS from users who logged
in, from a process with 20 sessions. The lag is how much later than asked the loop comes back to a task that
sleeps.
"""

from __future__ import annotations

import asyncio
import ssl
import sys
import tempfile
import time
from pathlib import Path
from statistics import median, quantiles
from typing import TYPE_CHECKING

import dkim as dkimpy
import smtpx
import uvloop
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from smtpx.certificate import make_certificate
from smtpx.dkim import Signer

from benches import publish

if TYPE_CHECKING:
    from collections.abc import Callable

SESSIONS, MESSAGES = 20, 4000
USER, PASSWORD = "joe@example.org", "correct horse"
LINE = b"some words of a line that is about as long as the lines of people are\r\n"
MESSAGE = (
    b"From: joe@example.org\r\nTo: ann@b.example\r\nSubject: a load\r\n"
    b"Date: Mon, 4 May 2026 12:30:00 +0000\r\nMessage-ID: <1@example.org>\r\n\r\n" + LINE * 55
)
PROBE = 0.002  # seconds
BAR = 0.005


def pem(key: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey) -> bytes:
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())


def cpu_ms(sign: Callable[[], object], count: int) -> float:
    """Return the CPU milliseconds of a call: the median of rounds."""
    rounds = []
    for _ in range(5):
        start = time.process_time()
        for _ in range(count):
            sign()
        rounds.append((time.process_time() - start) / count * 1e3)
    return median(rounds)


def signatures(key: bytes, share: float) -> str:
    """Measure one signature at a time."""
    ours = Signer(smtpx.DKIMOptions("s1", key), "example.org")
    other = Signer(smtpx.DKIMOptions("s2", pem(ed25519.Ed25519PrivateKey.generate())), "example.org")
    relaxed = (b"relaxed", b"relaxed")
    figures = {
        "smtpx, RSA-2048": cpu_ms(lambda: ours.sign(MESSAGE), int(500 * share)),
        "smtpx, Ed25519": cpu_ms(lambda: other.sign(MESSAGE), int(500 * share)),
        "dkimpy, RSA-2048": cpu_ms(
            lambda: dkimpy.sign(MESSAGE, b"s1", b"example.org", key, canonicalize=relaxed), int(50 * share)
        ),
    }
    lines = ["| a signature, 4 KiB | CPU ms |", "|---|--:|"]
    return "\n".join([*lines, *(f"| {name} | {figure:.2f} |" for name, figure in figures.items())])


async def probe(lags: list[float]) -> None:
    while True:
        start = time.perf_counter()
        await asyncio.sleep(PROBE)
        lags.append(time.perf_counter() - start - PROBE)


async def serve(folder: Path, options: smtpx.DKIMOptions | None, messages: int) -> tuple[float, list[float]]:
    """Return the messages a second, and the lags meanwhile."""
    domain = smtpx.Domain("example.org", options)
    domain.add(smtpx.Account.create("", "joe", "example.org", PASSWORD, rounds=4))
    environment = smtpx.Environment(domain)
    async with smtpx.LocalStorage(folder / "spool") as storage:
        handler = smtpx.LocalHandler(environment, storage)
        listener = smtpx.Listener("submissions", "127.0.0.1", 0)
        server = smtpx.Server(environment, handler, [listener])
        server.load_certificate(folder / "certificate.pem", folder / "key.pem")
        async with server:
            arguments = [str(server.listeners[0].port), str(folder / "certificate.pem"), str(messages)]
            client = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "benches.dkim", "--client", *arguments),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
            )
            assert client.stdin is not None
            assert client.stdout is not None
            await client.stdout.readline()  # everybody has logged in
            lags: list[float] = []
            watching = asyncio.create_task(probe(lags))
            start = time.perf_counter()
            client.stdin.write(b"\n")
            await client.stdout.readline()
            elapsed = time.perf_counter() - start
            watching.cancel()
            assert await client.wait() == 0
    return messages / elapsed, lags


async def send(port: int, certificate: str, messages: int) -> None:
    """Log in on all sessions, wait for the word, and send over them."""
    context = ssl.create_default_context(cafile=certificate)
    user = USER.replace("@", "%40")
    url = f"smtps://{user}:{PASSWORD.replace(' ', '%20')}@127.0.0.1:{port}"
    clients = [smtpx.Client(url, tls=context) for _ in range(SESSIONS)]
    for client in clients:
        await client.__aenter__()
    print("ready", flush=True)
    sys.stdin.readline()

    async def work(client: smtpx.Client) -> None:
        for _ in range(messages // SESSIONS):
            await client.mail_tx(smtpx.MailTx(USER, ["ann@b.example"], MESSAGE))

    await asyncio.gather(*map(work, clients))
    print("done", flush=True)
    for client in clients:
        await client.__aexit__(None, None, None)


def main() -> None:
    if sys.argv[1:2] == ["--client"]:
        uvloop.run(send(int(sys.argv[2]), sys.argv[3], int(sys.argv[4])))
        return
    quick = publish.options("dkim", "The cost of DKIM signatures.").parse_args().quick
    share = 0.05 if quick else 1.0
    key = pem(rsa.generate_private_key(65537, 2048))
    alone = signatures(key, share)
    print(alone, end="\n\n", flush=True)
    lines = ["| submissions, 4 KiB, 20 sessions | messages/s | lag p50 ms | lag p99 ms | bar | |"]
    lines.append("|---|--:|--:|--:|--:|---|")
    for name, options in (("unsigned", None), ("signed, RSA-2048", smtpx.DKIMOptions("s1", key))):
        with tempfile.TemporaryDirectory() as directory:
            folder = Path(directory)
            (folder / "spool").mkdir(mode=0o700)
            make_certificate(folder / "certificate.pem", folder / "key.pem")
            rate, lags = uvloop.run(serve(folder, options, int(MESSAGES * share)))
        p99 = quantiles(lags, n=100)[98]
        bar = publish.verdict(None if options is None else "<= 5", met=p99 <= BAR)
        lines.append(f"| {name} | {rate:,.0f} | {median(lags) * 1e3:.2f} | {p99 * 1e3:.2f} {bar}")
        print(lines[-1], flush=True)
    if not quick:
        publish.section("dkim", "\n".join([alone, "", *lines, "", f"{publish.conditions()}."]))


if __name__ == "__main__":
    main()
