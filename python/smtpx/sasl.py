"""SASL mechanisms: what AUTH's octets mean (RFC 4954). The framing (base64, "*", limits) is the engine's.

User names and passwords are taken as UTF-8 and compared as sent: SASLprep (RFC 4013) is not applied.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Protocol

from smtpx.errors import InvalidCredential, SyntaxRefused

__all__ = ["Challenge", "Credentials", "Mechanism", "ServerMechanism", "server_mechanism"]


class Mechanism(IntEnum):
    """The mechanisms that smtpx speaks; ``.name`` is the name on the wire."""

    PLAIN = 1  # RFC 4616
    LOGIN = 2  # never standardised; draft-murchison-sasl-login


@dataclass(frozen=True, slots=True)
class Challenge:
    """The octets to ask the client with, before base64."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Credentials:
    """What the client says it is; still to be checked."""

    username: str
    password: str = field(repr=False)


class ServerMechanism(Protocol):
    """The server's side of one exchange."""

    def step(self, response: bytes | None) -> Challenge | Credentials:
        """Take the client's decoded answer; None is AUTH without an initial response.

        Raises:
            SyntaxRefused: it is malformed (501 5.5.2).
            InvalidCredential: it can be right for nobody (535 5.7.8).

        """
        ...


class _Plain:
    """``[authzid] NUL authcid NUL passwd`` (RFC 4616 2)."""

    __slots__ = ()

    def step(self, response: bytes | None) -> Challenge | Credentials:
        if response is None:
            return Challenge(b"")
        parts = response.split(b"\0", 2)
        if len(parts) != 3:
            raise SyntaxRefused("PLAIN: expected two NULs")
        authzid, username, password = (_text(part) for part in parts)
        # To act for somebody else is a right that no account has here.
        if authzid and authzid != username:
            raise InvalidCredential
        return _credentials(username, password)


class _Login:
    """Two prompts; the user name may come as the initial response."""

    __slots__ = ("_username",)

    def __init__(self) -> None:
        self._username: str | None = None

    def step(self, response: bytes | None) -> Challenge | Credentials:
        if response is None:
            return Challenge(b"Username:")
        if self._username is None:
            self._username = _text(response)
            if not self._username:
                raise SyntaxRefused("LOGIN: empty user name")
            return Challenge(b"Password:")
        return _credentials(self._username, _text(response))


def _text(octets: bytes) -> str:
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError as error:
        raise SyntaxRefused("not UTF-8", offset=error.start) from None  # the cause would hold the password


def _credentials(username: str, password: str) -> Credentials:
    if not username or "\0" in username:
        raise SyntaxRefused("empty user name, or a NUL in it")
    if "\0" in password:  # bcrypt, and any store in C, may take what is before the NUL for the whole
        raise InvalidCredential
    return Credentials(username, password)


_SERVER: dict[str, type[_Plain | _Login]] = {Mechanism.PLAIN.name: _Plain, Mechanism.LOGIN.name: _Login}


def server_mechanism(name: str) -> ServerMechanism:
    """Begin an exchange; ``name`` in any case.

    Raises:
        SyntaxRefused: there is no such mechanism (504 5.5.4).

    """
    try:
        return _SERVER[name.upper()]()
    except KeyError:
        raise SyntaxRefused(f"no SASL mechanism {name!r}", 504, "5.5.4") from None
