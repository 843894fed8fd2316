"""Lists of addresses in header fields (RFC 5322 3.4), read so that none is lost.

`email.headerregistry` drops from a list what it cannot read, and some Pythons' fails on it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from smtpx.errors import AddressError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Group", "Named", "groups_of", "quoted"]

_QUOTED = r'"(?:[^"\\]|\\.)*+"'
_TOKEN = re.compile(
    rf"""
    (?P<quoted> {_QUOTED} )
    | (?P<angle> < (?: [^<>"\\] | \\. | {_QUOTED} )*+ > )
    | (?P<literal> \[ [^\[\]]*+ \] )
    | (?P<special> [,:;] )
    | (?P<text> (?: [^"<>()\[\],:;\\] | \\. )++ )
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMENT = re.compile(r"[()]|(?:[^()\\]|\\.)++", re.DOTALL)
_ROUTE = re.compile(r"\A\s*@[^:]*:")  # obs-route (RFC 5322 4.4): to be ignored
_LOSS = re.compile("invalid (address|mailbox) in ")  # what an object lost, its defects alone tell
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_DOT_STRING = re.compile(r'[^\s"(),.:;<>@\[\\\]]+(?:\.[^\s"(),.:;<>@\[\\\]]+)*')


class Named(NamedTuple):
    """A display name ("" for none), and the address it is of: as written, not checked."""

    name: str
    address: str


class Group(NamedTuple):
    """Mailboxes under a name; the name None is for a mailbox that is in no group."""

    name: str | None
    mailboxes: list[Named]


def quoted(text: str) -> str:
    """Return the text as a quoted-string (RFC 5322 3.2.4)."""
    return '"' + re.sub(r'(["\\])', r"\\\1", text) + '"'


def groups_of(value: Any) -> list[Group]:
    """Return the addresses of a field.

    Args:
        value: the text of the field, unfolded, or an object of `email.headerregistry`.

    Raises:
        AddressError: it is no list of addresses.

    """
    # Of a list of str the header registry keeps the str.
    if not hasattr(value, "groups") or any(isinstance(each, str) for each in value.addresses):
        return list(_parse(str(value)))
    for defect in value.defects:
        if _LOSS.match(str(defect)):
            raise _refusal(str(value), str(defect))
    return [
        Group(group.display_name, [Named(each.display_name, _address(each)) for each in group.addresses])
        for group in value.groups
    ]


def _address(address: Any) -> str:
    local, domain = address.username, address.domain
    return f"{local if _DOT_STRING.fullmatch(local) else quoted(local)}{domain and f'@{domain}'}"


_Token: TypeAlias = tuple[str, str]
"""A kind, and text: the kinds are the names in the pattern, each special for itself, and "end"."""


def _parse(text: str) -> Iterator[Group]:
    """Read a list; empty elements of it are passed over (RFC 5322 4.4)."""
    group: Group | None = None
    element: list[_Token] = []
    for kind, piece in (*_tokens(text), ("end", "")):
        match kind, group:
            case (("," | "end"), None):
                yield from (Group(None, [mailbox]) for mailbox in _mailboxes(text, element))
            case ":", None:
                group = Group(_phrase(element), [])
            case (("," | ";"), Group()):
                group.mailboxes.extend(_mailboxes(text, element))
                if kind == ";":
                    yield group
                    group = None
            case ((":" | ";" | "end"), _):
                raise _refusal(text, "a group has ':' ahead of its members and ';' behind them")
            case _:
                element.append((kind, piece))
                continue
        element = []


def _tokens(text: str) -> Iterator[_Token]:
    position = 0
    while position < len(text):
        if text[position] == "(":
            position = _behind_comment(text, position)
            yield "text", " "
            continue
        found = _TOKEN.match(text, position)
        if found is None:
            raise _refusal(text, f"{text[position]!r} at {position} has no counterpart or belongs in quotes")
        yield found["special"] or str(found.lastgroup), found[0]
        position = found.end()


def _behind_comment(text: str, start: int) -> int:
    depth = 0
    for found in _COMMENT.finditer(text, start):
        depth += (found[0] == "(") - (found[0] == ")")
        if depth == 0:
            return found.end()
    raise _refusal(text, "a comment is not closed")


def _mailboxes(text: str, element: list[_Token]) -> Iterator[Named]:
    """Give the mailbox of an element of a list, if it has one."""
    while element and element[-1][1].isspace():
        element.pop()
    angles = [piece for kind, piece in element if kind == "angle"]
    if angles:
        if len(angles) > 1 or element[-1][0] != "angle":
            raise _refusal(text, "there is something between an address and the next comma")
        yield Named(_phrase(element[:-1]), _ROUTE.sub("", angles[0][1:-1], count=1).strip())
    elif address := "".join(piece for _, piece in element).strip():
        yield Named("", address)


def _phrase(element: list[_Token]) -> str:
    words = (
        _ESCAPED.sub(r"\1", piece[1:-1]) if kind == "quoted" else " ".join(piece.split())
        for kind, piece in element
    )
    return " ".join(word for word in words if word)


def _refusal(text: str, why: str) -> AddressError:
    return AddressError(f"{text!r} is no list of addresses: {why}")
