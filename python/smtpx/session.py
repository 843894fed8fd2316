"""What a handler is told about the session that asks."""

# ruff: noqa: A002 - "id" is the attribute's name

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import ssl

__all__ = ["Peer", "Session"]

Peer: TypeAlias = tuple[str, int] | str
"""The other end: (address, port), or the path of a unix socket ("" when it is unnamed)."""


class Session:
    """One connection, as far as it is known: plain attributes that the server fills in as they become known.

    Attributes:
        id: a name for the logs, unique in this process.
        peer: the client's (address, port), or the unix socket's path.
        service: "smtp", "submission" or "submissions".
        helo: what the client called itself in HELO or EHLO; a claim, not a fact. "" before.
        esmtp: True when it was EHLO.
        tls: True when the connection is encrypted.
        tls_info: protocol and cipher, as in "TLSv1.3 TLS_AES_256_GCM_SHA384"; "" in plain text.
        user: who logged in by AUTH, as given there; None before.

    """

    __slots__ = ("esmtp", "helo", "id", "peer", "service", "tls", "tls_info", "user")

    def __init__(self, id: str, peer: Peer, service: str) -> None:
        self.id = id
        self.peer = peer
        self.service = service
        self.helo: str = ""
        self.esmtp: bool = False
        self.tls: bool = False
        self.tls_info: str = ""
        self.user: str | None = None

    def encrypted(self, ssl_object: ssl.SSLObject) -> None:
        """Note the handshake that is done; what was said in clear text counts no more (RFC 3207 4.2)."""
        cipher = ssl_object.cipher()
        self.tls = True
        self.tls_info = f"{ssl_object.version()} {cipher[0]}" if cipher else ""
        self.helo, self.esmtp, self.user = "", False, None

    def copied(self) -> Session:
        """Return a session that says what this one says now; `copy.copy` takes five times as long."""
        made = Session(self.id, self.peer, self.service)
        made.helo = self.helo
        made.esmtp = self.esmtp
        made.tls = self.tls
        made.tls_info = self.tls_info
        made.user = self.user
        return made

    def __repr__(self) -> str:
        who = f"peer={self.peer!r} helo={self.helo!r} tls={self.tls} user={self.user!r}"
        return f"<Session {self.id} {self.service} {who}>"
