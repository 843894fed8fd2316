"""Where a server listens, and what each service offers there."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias, get_args

from smtpx.errors import ConfigurationError

__all__ = ["BACKLOG", "Listener", "Service", "bind", "service_of"]

Service: TypeAlias = Literal["smtp", "submission", "submissions"]

PORTS: Final[dict[str, int]] = {"smtp": 25, "submission": 587, "submissions": 465}
BACKLOG = 1024
_CHOICES = {"bare_newline": (None, "reject", "normalize"), "early_input": ("reject", "accept")}


@dataclass(frozen=True, slots=True)
class Listener:
    """One place to listen at.

    Attributes:
        service: "smtp" takes mail for local domains and offers no AUTH (RFC 5321); "submission" is mail from
            users, STARTTLS then AUTH (RFC 6409); "submissions" the same in TLS from the start (RFC 8314).
        host: an address or a name; "" is every address, of IPv4 and IPv6.
        port: None is the service's own (25, 587, 465); 0 takes a free one.
        path: a unix socket instead of host and port.
        bare_newline: what becomes of a message with a bare CR or LF: "reject", or "normalize" to CRLF. None
            is "reject" for smtp, where the clients are servers, and "normalize" for the submissions.
        early_input: "accept" takes what comes before our banner, and content before our 354, from scripts
            that do not wait for them.
        strict: refuse the lenient forms of paths, as in ``MAIL FROM: <a@b.org>``.

    Raises:
        ConfigurationError: the service is none of the three, or there is both a path and a port.

    """

    service: Service = "smtp"
    host: str = ""
    port: int | None = None
    path: str | os.PathLike[str] | None = None
    bare_newline: Literal["reject", "normalize"] | None = None
    early_input: Literal["reject", "accept"] = "reject"
    strict: bool = False

    def __post_init__(self) -> None:
        if self.service not in get_args(Service):
            raise ConfigurationError(f"service {self.service!r}: write one of {', '.join(get_args(Service))}")
        for name, values in _CHOICES.items():
            if getattr(self, name) not in values:
                raise ConfigurationError(f"{name} {getattr(self, name)!r}: write one of {values}")
        if self.port is not None and not 0 <= self.port <= 65535:
            raise ConfigurationError(f"port {self.port}: write one from 0 to 65535")
        if self.path is not None and (self.host or self.port is not None):
            raise ConfigurationError("a Listener has a path, or a host and a port, not both")

    @property
    def newlines(self) -> Literal["reject", "normalize"]:
        """``bare_newline``, or the service's own choice."""
        if self.bare_newline is not None:
            return self.bare_newline
        return "reject" if self.service == "smtp" else "normalize"


def service_of(sock: socket.socket) -> Service:
    """Guess the service of a socket that was handed in: by its port, else smtp."""
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        port = sock.getsockname()[1]
        for service in get_args(Service):
            if PORTS[service] == port:
                found: Service = service
                return found
    return "smtp"


def bind(listener: Listener) -> list[socket.socket]:
    """Bind the listener's sockets; all have one port, also where 0 was asked for.

    Raises:
        OSError: the port is taken, is not ours to bind, or the host has no address.

    """
    if listener.path is not None:
        return [_bind_path(Path(listener.path))]
    port = PORTS[listener.service] if listener.port is None else listener.port
    infos = socket.getaddrinfo(
        listener.host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_ADDRCONFIG
    )
    bound: list[socket.socket] = []
    with contextlib.ExitStack() as stack:
        for family, _, _, _, address in dict.fromkeys(infos):
            where = (address[0], bound[0].getsockname()[1] if bound else port, *address[2:])
            try:
                sock = socket.create_server(where, family=family, backlog=BACKLOG)
            except OSError as error:
                raise OSError(
                    error.errno, f"cannot listen on {where[0]} port {where[1]}: {error.strerror}"
                ) from error
            stack.callback(sock.close)
            bound.append(sock)
        stack.pop_all()
    return bound


def _bind_path(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if _is_left(path):
            path.unlink()
        sock.bind(os.fspath(path))
        sock.listen(BACKLOG)
    except OSError as error:  # of a path that is too long it has neither number nor strerror
        sock.close()
        raise OSError(error.errno, f"cannot listen on {path}: {error.strerror or error}") from error
    return sock


def _is_left(path: Path) -> bool:
    """Tell whether this is the socket of a killed server: nobody listens, and nothing else is there."""
    try:
        if not stat.S_ISSOCK(path.stat().st_mode):
            return False
    except FileNotFoundError:
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        return probe.connect_ex(os.fspath(path)) == errno.ECONNREFUSED
