"""SMTP service extensions of the program's own (RFC 5321 2.2)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Protocol

from smtpx._core import Response
from smtpx.errors import ConfigurationError, SMTPError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from smtpx._core import Command

__all__ = ["Extension", "ExtensionLike", "extension_line", "extension_parameters", "extension_refusal"]


class ExtensionLike(Protocol):
    """What the server needs of an extension; ``parameters`` is optional."""

    @property
    def name(self) -> str:
        """Its EHLO keyword."""
        ...

    @property
    def params(self) -> str:
        """What follows the keyword, or ""."""
        ...

    def validate_command(self, command: Command, /) -> Response | None:
        """Refuse a MAIL or RCPT; None lets it pass."""
        ...


class Extension:
    """An extension that the reply to EHLO advertises; give the attributes, or set them in a subclass.

    Attributes:
        name: its EHLO keyword.
        params: what follows the keyword in the reply to EHLO, "" for nothing.
        parameters: the keywords that it adds to MAIL and RCPT; by default one, its name.

    """

    name: str = ""
    params: str = ""
    parameters: Sequence[str]

    def __init__(self, name: str = "", params: str = "", parameters: Sequence[str] | None = None) -> None:
        if name:
            self.name = name
        if params:
            self.params = params
        if parameters is not None:
            self.parameters = parameters

    def validate_command(self, command: Command) -> Response | None:  # noqa: ARG002
        """Refuse a MAIL or RCPT by a Response or by raising an `SMTPError`; None lets it pass.

        It runs on the event loop and must not block.
        """
        return None


# What the engine says itself; said twice, clients would believe the one or the other.
_BUILT_IN = {
    "PIPELINING",
    "SIZE",
    "8BITMIME",
    "SMTPUTF8",
    "ENHANCEDSTATUSCODES",
    "CHUNKING",
    "BINARYMIME",
    "STARTTLS",
    "AUTH",
    "DSN",
    "HELP",
}
_KEYWORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*")  # ehlo-keyword and esmtp-keyword, RFC 5321 4.1.1.1, 4.1.2
_PARAMS = re.compile(r"[!-~]+(?: [!-~]+)*")


def extension_line(extension: ExtensionLike) -> str:
    """Return its line in the reply to EHLO.

    Raises:
        ConfigurationError: the name is no EHLO keyword, or the parameters would break the line.

    """
    name, params = extension.name, extension.params
    if not _KEYWORD.fullmatch(name):
        raise ConfigurationError(
            f"extension name {name!r}: write letters, digits and '-', no '-' first (RFC 5321 4.1.1.1)"
        )
    if name.upper() in _BUILT_IN:
        raise ConfigurationError(f"extension {name} is built in: smtpx offers it by itself where it applies")
    if params and not _PARAMS.fullmatch(params):
        raise ConfigurationError(
            f"params of extension {name}: {params!r} must be printable ASCII words, one space between them"
        )
    return f"{name} {params}" if params else name


def extension_parameters(extension: ExtensionLike) -> tuple[str, ...]:
    """Return the keywords, in upper case, that it adds to MAIL and RCPT.

    Raises:
        ConfigurationError: one of them is no keyword.

    """
    keywords: Sequence[str] = getattr(extension, "parameters", (extension.name,))
    for keyword in keywords:
        if not _KEYWORD.fullmatch(keyword):
            raise ConfigurationError(
                f"parameter {keyword!r} of extension {extension.name}: write letters, digits and '-'"
                " (RFC 5321 4.1.2)"
            )
    return tuple(keyword.upper() for keyword in keywords)


def extension_refusal(extension: ExtensionLike, command: Command) -> Response | None:
    """Ask the extension about a command; a Response refuses it, and shows no text of an exception."""
    try:
        return extension.validate_command(command)
    except SMTPError as error:
        return Response(error.code, f"{error.enhanced} Refused by {extension.name}")
