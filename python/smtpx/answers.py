"""What a handler may answer: a Response or None, of a code that says to the client what the server does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from smtpx._core import CommandEvent, MessageEvent, Response
from smtpx.status import CommandKind

if TYPE_CHECKING:
    from smtpx._core import AuthEvent, ErrorEvent

__all__ = ["checked", "fitting", "login"]

_WELCOME: Final = 220  # the one banner that is (RFC 5321 4.3.2)
_CONTENT: Final = 354
_LOGGED_IN: Final = 235


def checked(answer: object) -> Response | None:
    """Check what a handler gave back.

    Raises:
        TypeError: it is neither a Response nor None; the handler's fault, answered 451.

    """
    if answer is None or isinstance(answer, Response):
        return answer
    raise TypeError(f"a handler answers a Response or None, not {type(answer).__name__}")


def fitting(
    answer: object, event: CommandEvent | AuthEvent | MessageEvent | ErrorEvent | None
) -> Response | None:
    """Check the answer to an event, or to the connection (None).

    Raises:
        TypeError: as `checked`.
        ValueError: the code means something else to the client, as 354 to RCPT: it would send content, which
            would run as commands. The handler's fault, answered 451.

    """
    response = checked(answer)
    if response is None or response.code >= 400:
        return response
    if event is None:
        if response.code == _WELCOME:
            return response
        raise ValueError(_told("the connection", response, "220"))
    if response.code < 300 or (response.code == _CONTENT and _asks_for_content(event)):
        return response
    raise ValueError(_told(_name(event), response, "2yz"))


def login(answer: object) -> Response:
    """Check the answer to a login; None is yes.

    Raises:
        TypeError: as `checked`.
        ValueError: another code than 235 says yes: the client would take itself for logged in.

    """
    response = checked(answer) or Response(_LOGGED_IN, "2.7.0 Authentication successful")
    if response.code != _LOGGED_IN and response.code < 400:
        raise ValueError(_told("a login", response, "235"))
    return response


def _asks_for_content(event: object) -> bool:
    return isinstance(event, CommandEvent) and event.command.kind is CommandKind.DATA


def _name(event: object) -> str:
    return event.command.kind.name or "a command" if isinstance(event, CommandEvent) else "a message"


def _told(what: str, response: Response, accepts: str) -> str:
    return (
        f"the handler answered {response.code} to {what}:"
        f" give None or {accepts} to accept, 4yz or 5yz to refuse"
    )
