"""What a handler is told about the session that asks."""

from __future__ import annotations

from typing import TypeAlias

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

    def __init__(self, id: str, peer: Peer, service: str) -> None:  # noqa: A002 - the attribute's name
        self.id = id
        self.peer = peer
        self.service = service
        self.helo: str = ""
        self.esmtp: bool = False
        self.tls: bool = False
        self.tls_info: str = ""
        self.user: str | None = None

    def __repr__(self) -> str:
        who = f"peer={self.peer!r} helo={self.helo!r} tls={self.tls} user={self.user!r}"
        return f"<Session {self.id} {self.service} {who}>"
