"""The other end of a live test: a client on a raw socket that knows no more than how a reply is framed."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Peer", "Reply", "take_reply"]

PATIENCE = 20.0
"""Seconds until a read is given up: far more than any answer takes, so that a slow machine fails no test."""

_LINE = re.compile(r"(?P<code>[2-5][0-9]{2})(?P<mark>[ -])?(?P<text>[\t -~\x80-\U0010ffff]*)")
_ENHANCED = re.compile(r"(?P<status>[245]\.\d{1,3}\.\d{1,3})(?: |$)")


@dataclass(frozen=True)
class Reply:
    """A whole reply: its code, and the text of its lines without the code."""

    code: int
    lines: tuple[str, ...]

    def __str__(self) -> str:
        return " / ".join(f"{self.code} {line}".rstrip() for line in self.lines)

    def enhanced(self) -> set[str]:
        """The enhanced codes of its lines; "" for a line without one."""
        found = (_ENHANCED.match(line) for line in self.lines)
        return {match["status"] if match else "" for match in found}

    def matches(self, pattern: str) -> bool:
        """Compare with "250", "250 2.1.0", or several such with "|" between them; the text is free."""
        for choice in pattern.split("|"):
            code, _, enhanced = choice.strip().partition(" ")
            if str(self.code) == code and (not enhanced or self.enhanced() == {enhanced}):
                return True
        return False


def take_reply(received: bytearray) -> Reply | None:
    """Take one whole reply off the front; None while there is none.

    It is strict where a server must be: CRLF, at most 512 octets a line (RFC 5321 4.5.3.1.5), one code, and
    an enhanced code, if any, of the same class (RFC 2034 4).
    """
    lines: list[str] = []
    code = ""
    position = 0
    while True:
        end = received.find(b"\r\n", position)
        if end < 0:
            return None
        raw = bytes(received[position:end])
        assert len(raw) + 2 <= 512, f"a reply line of {len(raw) + 2} octets: {raw[:80]!r}..."
        match = _LINE.fullmatch(raw.decode("utf-8"))
        assert match, f"not a line of a reply: {raw!r}"
        assert code in ("", match["code"]), f"two codes in one reply: {bytes(received)!r}"
        code = match["code"]
        lines.append(match["text"])
        position = end + 2
        if match["mark"] != "-":
            break
    del received[:position]
    reply = Reply(int(code), tuple(lines))
    for enhanced in reply.enhanced() - {""}:
        assert enhanced[0] == code[0], f"the enhanced code is of another class: {reply}"
    return reply


class Peer:
    """A connection to a server: `send` octets, `reply` for one whole reply, `expect` to check it."""

    def __init__(self, address: tuple[str, int] | str, *, patience: float = PATIENCE) -> None:
        if isinstance(address, str):
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.settimeout(patience)
            self.socket.connect(address)
        else:
            self.socket = socket.create_connection(address, timeout=patience)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = bytearray()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send all of it; that the server has closed meanwhile is no error: its reply is read next."""
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            self.socket.sendall(data)

    def reply(self) -> Reply:
        """Wait for one whole reply."""
        while (reply := take_reply(self._received)) is None:
            data = self._receive()
            if not data:
                raise ConnectionError(f"closed by the server, after {bytes(self._received)!r}")
            self._received += data
        return reply

    def expect(self, pattern: str) -> Reply:
        """Wait for a reply and compare it, see `Reply.matches`."""
        reply = self.reply()
        assert reply.matches(pattern), f"expected {pattern}, got {reply}"
        return reply

    def command(self, line: str, pattern: str) -> Reply:
        """Send one line, and compare the reply."""
        self.send(line.encode() + b"\r\n")
        return self.expect(pattern)

    def open(self, *, recipients: int = 1) -> None:
        """Go from the banner into a transaction with recipients, so that DATA or BDAT is next."""
        self.expect("220")
        self.command("EHLO client.example", "250")
        self.command("MAIL FROM:<sender@example.net>", "250 2.1.0")
        for number in range(recipients):
            self.command(
                f"RCPT TO:<joe+{number}@example.org>" if number else "RCPT TO:<joe@example.org>", "250"
            )

    def message(self, content: bytes, pattern: str = "250") -> Reply:
        """Send DATA and content (already stuffed, without the final dot), and compare the last reply."""
        self.command("DATA", "354")
        self.send(content + b".\r\n")
        return self.expect(pattern)

    def start_tls(self, context: ssl.SSLContext) -> None:
        """Upgrade; whatever came in plain text behind the 220 would be a server's injection."""
        assert not self._received, f"plain text behind the reply to STARTTLS: {bytes(self._received)!r}"
        self.socket = context.wrap_socket(self.socket, server_hostname="localhost")

    def expect_close(self) -> None:
        """Wait for the end of the connection; no reply may come before it."""
        while data := self._receive():
            self._received += data
        assert not self._received, f"a reply before the close: {bytes(self._received)!r}"

    def last_reply(self) -> Reply:
        """Read up to the end of the connection and return the last reply."""
        while data := self._receive():
            self._received += data
        last = None
        while reply := take_reply(self._received):
            last = reply
        assert last is not None, "closed without a reply"
        return last

    def _receive(self) -> bytes:
        try:
            return self.socket.recv(65536)
        except (ConnectionResetError, ConnectionAbortedError, ssl.SSLEOFError, ssl.SSLZeroReturnError):
            return b""  # octets that the server had not read are a reset here; what it said was read before
