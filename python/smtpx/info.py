"""What a server says of itself in its reply to EHLO or HELO."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

from smtpx._core import Response, server_info
from smtpx.errors import ResponseError

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
        """Read a reply to EHLO or HELO.

        Raises:
            ResponseError: its code is not 250: it refuses, and so tells nothing of the server.

        """
        if response.code != 250:
            raise ResponseError(f"the server answered EHLO or HELO with {response.code} {response.message}")
        return cls(*server_info(response))
