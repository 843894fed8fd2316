"""What a server says of itself in its reply to EHLO or HELO."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

from smtpx._core import Response, server_info

__all__ = ["ServerInfo"]


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """A server, by its reply to EHLO (RFC 5321 4.1.1.1) or HELO.

    Attributes:
        domain: its name.
        info: the rest of the first line.
        extensions: EHLO keywords in upper case, each with its parameters.

    """

    domain: str
    info: str = ""
    extensions: dict[str, list[str]] = field(default_factory=dict)

    @classmethod
    def from_response(cls, response: Response) -> Self:
        """Read a 250 reply to EHLO or HELO."""
        return cls(*server_info(response))
