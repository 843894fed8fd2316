"""A server that breaks connections at random, so that every message can be accounted for."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter

__all__ = ["Breaking"]


class Breaking:
    """A server that keeps what it takes, and drops connections wherever chance will have it.

    It speaks to one client by lines, and knows no more than it must.
    """

    def __init__(self, seed: int, keywords: tuple[str, ...], odds: float) -> None:
        self.chance = random.Random(seed)
        self.keywords = keywords
        self.odds = odds
        self.kept: Counter[int] = Counter()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await self.serve(reader, writer)
        writer.transport.abort()

    def drop(self) -> None:
        if self.chance.random() < self.odds:
            raise ConnectionError

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        def answer(line: bytes, content: bytes = b"") -> None:
            self.drop()
            if self.chance.random() < self.odds / 2:
                if content:
                    self.kept[int(content.split()[1])] -= 1  # to say so is to have thrown it away
                writer.write(b"421 4.3.2 leaving\r\n")
                raise ConnectionError
            writer.write(line + b"\r\n")

        writer.write(b"220 breaking.example\r\n")
        while line := await reader.readline():
            self.drop()
            verb = line.split()[0].upper()
            if verb == b"EHLO":
                lines = ["breaking.example", *self.keywords]
                writer.write(b"".join(b"250-%b\r\n" % each.encode() for each in lines[:-1]))
                answer(b"250 " + lines[-1].encode())
            elif verb == b"QUIT":
                writer.write(b"221 bye\r\n")
                await writer.drain()
                return
            elif verb in {b"MAIL", b"RCPT", b"RSET"}:
                answer(b"250 ok")
            elif verb == b"DATA":
                answer(b"354 go")
                content = b""
                while not content.endswith(b"\r\n.\r\n"):
                    content += await reader.readuntil(b"\r\n")
                self.drop()
                self.kept[int(content.split()[1])] += 1
                answer(b"250 taken", content)
            elif verb == b"BDAT":
                content = await reader.readexactly(int(line.split()[1]))
                self.drop()
                self.kept[int(content.split()[1])] += 1
                answer(b"250 taken", content)
            await writer.drain()
