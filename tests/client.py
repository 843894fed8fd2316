"""A client on asyncio's streams, for tests that run the server on a loop of their own."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Any

import smtpx
from smtpx import Listener

from tests.recorder import JOE

if TYPE_CHECKING:
    import smtplib
    from collections.abc import Callable, Coroutine

    Run = Callable[[Coroutine[Any, Any, None]], None]

__all__ = ["CONTENT", "LOOPBACK", "Client", "in_thread", "said_within_the_handshake", "submit"]

LOOPBACK = Listener("smtp", "127.0.0.1", 0)
CONTENT = b"Subject: x\r\n\r\n.hi\r\n"


class Client:
    """A client that writes octets and reads replies."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def to(cls, server: smtpx.Server, **kwargs: Any) -> Client:
        return cls(*await asyncio.open_connection("127.0.0.1", server.listeners[0].port, **kwargs))

    async def reply(self) -> str:
        """The last line of the next reply; "" once the server has closed."""
        while True:
            line = (await self.reader.readline()).decode()
            if line[3:4] != "-":
                return line.rstrip()

    async def ask(self, line: str) -> str:
        self.writer.write(line.encode() + b"\r\n")
        return await self.reply()

    async def begin(self) -> None:
        """Go as far as RCPT."""
        assert (await self.reply()).startswith("220")
        for line in ("EHLO me.example", "MAIL FROM:<a@b.example>", f"RCPT TO:<{JOE}>"):
            assert (await self.ask(line)).startswith("250")

    async def close(self) -> None:
        self.writer.close()
        await self.writer.wait_closed()


async def in_thread(call: Callable[[], Any]) -> Any:
    return await asyncio.get_running_loop().run_in_executor(None, call)


def submit(client: smtplib.SMTP, sender: str = JOE, recipients: tuple[str, ...] = (JOE,)) -> None:
    client.sendmail(sender, recipients, CONTENT)
    client.quit()


async def said_within_the_handshake(
    client: Client, context: ssl.SSLContext, words: bytes, until: bytes
) -> bytes:
    """Send words in one segment with the end of the handshake; return what the server says, up to a text."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    while True:
        try:
            tls.do_handshake()
            break
        except ssl.SSLWantReadError:
            client.writer.write(outgoing.read())
            incoming.write(await client.reader.read(65536))
    tls.write(words)
    client.writer.write(outgoing.read())
    said = b""
    while until not in said:
        incoming.write(await client.reader.read(65536))
        try:
            said += tls.read()
        except ssl.SSLWantReadError:
            continue
    client.writer.transport.abort()
    return said
