"""What a sender asks about delivery status notifications (RFC 3461)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from smtpx._core import encode_xtext

__all__ = ["DSN", "original_recipient", "utf8_xtext"]

_NOTIFY = ("NEVER", "SUCCESS", "FAILURE", "DELAY")
_MAX_ENVID = 100  # characters as sent (RFC 3461 4.4)
_PRINTABLE = re.compile(r"[ -~]*")


@dataclass(frozen=True, slots=True)
class DSN:
    """What to be told of a message's delivery (RFC 3461).

    Attributes:
        notify: when to be told: some of "SUCCESS", "FAILURE" and "DELAY", or "NEVER" alone.
        ret: what a notification gives back: "FULL" the message, "HDRS" its header; None: as the server does.
        envid: what a notification names the message by: ASCII; None for nothing.
        orcpt: whether to name the original recipient, so that a notification does after forwarding.

    Raises:
        ValueError: an attribute is none of these.

    """

    notify: tuple[str, ...] = ("FAILURE", "DELAY")
    ret: str | None = None
    envid: str | None = None
    orcpt: bool = True

    def __post_init__(self) -> None:
        if not self.notify or any(word not in _NOTIFY for word in self.notify):
            raise ValueError(f"notify is {self.notify!r}: give a tuple of {', '.join(_NOTIFY)}")
        if "NEVER" in self.notify and len(self.notify) > 1:
            raise ValueError("notify has NEVER beside others: give it alone")
        if self.ret not in (None, "FULL", "HDRS"):
            raise ValueError(f"ret is {self.ret!r}: give FULL, HDRS or None")
        if self.envid is not None:
            if not self.envid or not _PRINTABLE.fullmatch(self.envid):
                raise ValueError(f"envid is {self.envid!r}: give printable ASCII")
            if len(encode_xtext(self.envid)) > _MAX_ENVID:
                raise ValueError(f"envid has over {_MAX_ENVID} characters as it is sent: give a shorter one")

    def mail_params(self) -> dict[str, str]:
        """Return the parameters of MAIL (RFC 3461 4.3, 4.4)."""
        params = {}
        if self.ret is not None:
            params["RET"] = self.ret
        if self.envid is not None:
            params["ENVID"] = encode_xtext(self.envid)
        return params

    def rcpt_params(self, recipient: str) -> dict[str, str]:
        """Return the parameters of RCPT for a recipient (RFC 3461 4.1, 4.2; beyond ASCII RFC 6533 3)."""
        params = {"NOTIFY": ",".join(self.notify)}
        if self.orcpt:
            params["ORCPT"] = original_recipient(recipient)
        return params


def original_recipient(address: str) -> str:
    """Return the value of ORCPT that names the address (RFC 3461 4.2; beyond ASCII RFC 6533 3)."""
    kind, text = ("rfc822", address) if address.isascii() else ("utf-8", utf8_xtext(address))
    return f"{kind};{encode_xtext(text)}"


def utf8_xtext(address: str) -> str:
    r"""Return the address as utf-8-addr-xtext: what is not a QCHAR is \x{its number} (RFC 6533 3)."""
    return re.sub(r"[^!-*,-<>-\[\]-~]", lambda found: rf"\x{{{ord(found[0]):X}}}", address)
