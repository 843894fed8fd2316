"""Where a client connects: a URL, read once into a value (RFC 3986). No I/O."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import IPv4Address, IPv6Address
from typing import Final
from urllib.parse import quote, unquote, urlsplit

import idna

from smtpx.errors import ConfigurationError

__all__ = ["TLSMode", "Target"]


class TLSMode(Enum):
    """When a connection becomes TLS; the value is the end of the URL's scheme."""

    NONE = ""
    """Never."""
    IMPLICIT = "s"
    """With its first octet (RFC 8314 3)."""
    STARTTLS = "+starttls"
    """By the command, and nothing else is said before (RFC 3207)."""


@dataclass(frozen=True, slots=True)
class Target:
    """A server, how to speak to it, and as whom.

    Attributes:
        tls: when the connection becomes TLS.
        lmtp: it speaks LMTP (RFC 2033), not SMTP.
        host: a domain (A-labels, lower case) or an IP address without brackets; "" for a unix socket.
        port: of TCP; 0 for a unix socket.
        path: of the unix socket; "" for TCP.
        username: who logs in; None is nobody.
        password: the user's; None where the URL has none.

    """

    tls: TLSMode = TLSMode.NONE
    lmtp: bool = False
    host: str = ""
    port: int = 0
    path: str = ""
    username: str | None = None
    password: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, url: str) -> Target:
        """Read a URL.

        It is ``smtp://host[:25]``, ``smtps://host[:465]``, ``smtp+starttls://host[:587]``, ``lmtp://host:port``,
        ``lmtp+unix:///path``, or ``host[:25]`` alone, which is smtp. ``user:password@`` may go before a host.
        User name, password and path are UTF-8, percent-encoded; a host may be internationalised.

        Raises:
            ConfigurationError: it is none of these. The message says what to write, and shows nothing of the
                URL: any part of it may be one of a password.

        """
        if re.search("[\0- \x7f\ud800-\udfff]", url):  # urlsplit drops some of them without a word
            raise _fault(
                "has a space, a control character or a lone surrogate: percent-encode (a space is %20)"
            )
        if "://" not in url:
            if url.count(":") > 1 and "@" not in url and "[" not in url:
                return cls(
                    host=_ipv6(url), port=_PORTS["smtp"]
                )  # it has no place for a port, so needs no brackets
            url = f"smtp://{url}"
        try:
            parts = urlsplit(url)
        except ValueError:
            raise _fault(f"is malformed: {_WRITE}") from None
        if parts.query or parts.fragment:
            raise _fault("has a ? or a #: in a user name, password or path they are written %3F and %23")
        if parts.scheme == _UNIX:
            if parts.netloc or len(parts.path) < 2:
                raise _fault("names no socket: write lmtp+unix:///path, with three slashes")
            return cls(lmtp=True, path=_decoded(parts.path))
        if parts.scheme not in _PORTS:
            raise _fault(f"has another scheme than {', '.join(_PORTS)} and {_UNIX}: {_WRITE}")
        if parts.path:
            raise _fault("goes on behind host and port: a / in a user name or password is written %2F")
        if not (match := _AUTHORITY.fullmatch(parts.netloc)):
            raise _fault(f"has no host and port as they should be: {_WRITE}")
        username, password, literal, name, digits = match.groups()
        port = int(digits or _PORTS[parts.scheme])
        if not 1 <= port <= 65535:
            raise _fault(
                "has no port from 1 to 65535: write it behind the host (for LMTP many servers take 24)"
            )
        if username == "":
            raise _fault("has an empty user name: write one before the : or the @")
        return cls(
            tls=TLSMode(parts.scheme[4:]),
            lmtp=parts.scheme == "lmtp",
            host=_ipv6(_decoded(literal)) if name is None else _domain(name),
            port=port,
            username=None if username is None else _decoded(username),
            password=None if password is None else _decoded(password),
        )

    def __str__(self) -> str:
        """Return the URL without the password."""
        if self.path:
            return f"{_UNIX}://{quote(self.path)}"
        scheme = f"{'lmtp' if self.lmtp else 'smtp'}{self.tls.value}"
        user = "" if self.username is None else f"{quote(self.username, safe='')}@"
        host = f"[{quote(self.host, safe=':')}]" if ":" in self.host else self.host
        return f"{scheme}://{user}{host}:{self.port}"


_UNIX: Final = "lmtp+unix"
_PORTS: Final = {  # 0: no port is LMTP's own, and SMTP's is forbidden to it (RFC 2033 5)
    "smtp": 25,
    "smtps": 465,
    "smtp+starttls": 587,
    "lmtp": 0,
}
_WRITE: Final = "write smtp://user:password@host:port, percent-encoded, an IPv6 address in brackets"
# A user name may be an address: the last "@" is the one before the host.
_AUTHORITY: Final = re.compile(
    r"(?:([^:]*)(?::(.*))?@)? (?:\[([^][]+)]|([^][:@]+)) (?::([0-9]{1,5}))?", re.VERBOSE
)
_LABEL: Final = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")  # "_" is no domain's, but many a container's


def _fault(message: str) -> ConfigurationError:
    return ConfigurationError(f"the URL {message}")


def _decoded(text: str) -> str:
    if re.search("%(?![0-9A-Fa-f]{2})", text):
        raise _fault("has a % that encodes nothing: a % itself is written %25")
    try:
        text = unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise _fault("is not UTF-8 where it is percent-encoded: encode the UTF-8 octets") from None
    if any(c in text for c in "\0\r\n"):
        raise _fault("encodes a NUL, CR or LF: nobody has these in a name or password; leave them out")
    return text


def _ipv6(text: str) -> str:
    try:
        return str(IPv6Address(text))
    except ValueError:
        raise _fault("has an IPv6 address that is none: write [2001:db8::1], or [fe80::1%25eth0]") from None


def _domain(name: str) -> str:
    try:
        name = name.lower() if name.isascii() else idna.encode(name, uts46=True).decode("ascii")
        if name.rpartition(".")[2].isdigit():
            return str(IPv4Address(name))
    except ValueError:  # IDNAError is one
        name = ""
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in name.split(".")):
        raise _fault("has a host that is neither a domain nor an IPv4 address: write mx.example.org")
    return name
