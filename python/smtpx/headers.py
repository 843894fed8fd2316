"""Header fields: found in octets and taken out of them, and made from the values of message objects.

`email.generator` is not asked for fields: depending on the Python, it loses the quotes of display names and
spaces beside encoded words, and it encodes addresses and message ids that are merely long.
"""

from __future__ import annotations

import base64
import re
from email.charset import UNKNOWN8BIT
from email.errors import MessageError
from email.header import Header
from email.message import Message
from email.utils import collapse_rfc2231_value
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from smtpx.addresses import groups_of, quoted
from smtpx.folding import ascii_domain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smtpx.addresses import Group, Named

__all__ = ["MAX_LINE", "addresses_of", "header_end", "make_field", "without", "without_bcc"]

MAX_LINE = 998  # octets of a line without its CRLF (RFC 5322 2.1.1)
_GOOD_LINE = 78  # and what it should have
_MAX_WORD = 900  # longer ones are encoded: there is no place to break them
_MAX_ENCODED = 45  # octets in an encoded word, so that it has no more than 75 (RFC 2047 2)

# All that some reader takes for the end of a line: the engine turns a bare CR or LF into CRLF.
_NEWLINE = rb"(?>\r\n|\r|\n)"
_HEADER_END = re.compile(_NEWLINE + rb"(?=[\r\n])")
_NAME = re.compile(r"[!-9;-~]+")
_UNFOLDED = re.compile(r"\0|(?>\r\n|\r|\n)(?![ \t])")
_LINE_END = re.compile(r"[\0\r\n]")
_ANY_NEWLINE = re.compile(r"\r\n|\r|\n")
_WORD = re.compile(r"[ \t]+[^ \t]*")
_ATOM = r"[\w!#$%&'*+/=?^`{|}~-]+"
_PHRASE = re.compile(rf"{_ATOM}(?: {_ATOM})*", re.ASCII)

_LISTS = ("from", "sender", "reply-to", "to", "cc", "bcc")
_ADDRESSES = frozenset(_LISTS).union(f"resent-{name}" for name in _LISTS)
_PARAMETRISED = ("content-type", "content-disposition")


def header_end(data: bytes) -> int:
    """Return where the header ends, behind the line end of its last field; all of ``data`` if none is there.

    The empty line behind it is no part of the header.
    """
    if data[:1] in (b"\r", b"\n"):
        return 0
    end = data.find(b"\r\n\r\n") + 2
    crlf = data.count(b"\r\n", 0, end)
    if end > 1 and crlf == data.count(b"\r", 0, end) == data.count(b"\n", 0, end):
        return end
    found = _HEADER_END.search(data)
    return found.end() if found else len(data)


def _fields(name: bytes) -> re.Pattern[bytes]:
    """Match the fields of a name, with their folded lines."""
    continuation = rb"(?:" + _NEWLINE + rb"[ \t][^\r\n]*+)*+"
    field = rb"(?:\A|(?<=[\r\n]))" + name + rb"[ \t]*+:[^\r\n]*+" + continuation + rb"(?:" + _NEWLINE + rb")?"
    return re.compile(field, re.IGNORECASE)


_BCC = _fields(rb"(?:Resent-)?Bcc")


def without_bcc(header: bytes) -> bytes:
    """Return the header without Bcc and Resent-Bcc (RFC 5322 3.6.3), the rest octet for octet."""
    if b"bcc" not in header.lower():
        return header  # the same object, as nearly always
    return _BCC.sub(b"", header)


def without(header: bytes, name: bytes) -> bytes:
    """Return the header without the fields of a name."""
    return _fields(re.escape(name)).sub(b"", header)


def addresses_of(name: str, value: Any) -> list[str]:
    """Return the addresses of a field, those in groups too: as written, not checked.

    Args:
        name: the field's name.
        value: see `make_field`.

    Raises:
        AddressError: the field holds no list of addresses.

    """
    return [each.address for group in groups_of(_unfolded(_value(name, value))) for each in group.mailboxes]


def make_field(name: str, value: Any) -> bytes:
    """Return the lines of a field of a message object.

    They are ASCII, by RFC 2047, RFC 2231 and A-labels, but for an address whose local part is not: it stays
    UTF-8 and needs SMTPUTF8. A field that came by a parser keeps its lines.

    Args:
        name: the field's name.
        value: an object of `email.headerregistry`, an `email.header.Header`, or the str of a parsed field or
            of an old ``Message``.

    Raises:
        ValueError: the name is none, or the value has CR, LF or NUL, or cannot be folded to 998 octets.

    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name of a header field: use ASCII without space and colon")
    value = _value(name, value)
    parsed = hasattr(value, "defects")
    if (_LINE_END if parsed else _UNFOLDED).search(value):
        raise ValueError(f"the header field {name} has CR, LF or NUL in its value: remove them")
    if not parsed:
        lines = _ANY_NEWLINE.split(f"{name}: {value}")
        if value.isascii() and max(map(len, lines)) <= MAX_LINE:
            return "\r\n".join([*lines, ""]).encode("ascii")
        value = _unfolded(value)
    return _folded(name, _encoded_value(name, value))


def _value(name: str, value: Any) -> Any:
    """Return the value as an object of `email.headerregistry` or as the text of the field.

    What is UTF-8 but was left undecoded by a parser is decoded (RFC 6532).
    """
    if isinstance(value, Header):
        try:
            return value.encode(linesep="\r\n")
        except (MessageError, UnicodeError) as error:
            raise ValueError(f"the header field {name} cannot be encoded: {error}") from error
    if hasattr(value, "defects") or value.isascii():
        return value
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")


def _unfolded(value: Any) -> Any:
    return value if hasattr(value, "defects") else _ANY_NEWLINE.sub("", value)


def _encoded_value(name: str, value: Any) -> str:
    """Return the value in ASCII, but for addresses whose local part is not."""
    if hasattr(value, "groups") or name.lower() in _ADDRESSES:
        return ", ".join(map(_group, groups_of(value)))
    if name.lower() in _PARAMETRISED and not _plain(value):
        return "; ".join(_parameters(value))
    return _unstructured(value)


def _group(group: Group) -> str:
    mailboxes = ", ".join(map(_mailbox, group.mailboxes))
    return mailboxes if group.name is None else f"{_phrase(group.name)}: {mailboxes};"


def _mailbox(mailbox: Named) -> str:
    address = ascii_domain(mailbox.address)
    return f"{_phrase(mailbox.name)} <{address}>" if mailbox.name else address or "<>"


def _phrase(name: str) -> str:
    if not _plain(name):
        return " ".join(_encoded_words(name))
    return name if _PHRASE.fullmatch(name) else quoted(name)


def _parameters(text: str) -> Iterator[str]:
    """Make the value of a MIME field and its parameters (RFC 2045 5.1, RFC 2231 for what is not ASCII)."""
    reader = Message()
    reader["X"] = text
    found: list[tuple[str, Any]] = reader.get_params([], "X")
    yield found[0][0]
    for name, encoded in found[1:]:
        value = collapse_rfc2231_value(encoded) if isinstance(encoded, tuple) else encoded
        if _plain(value):
            yield f"{name}={quoted(value)}"
            continue
        pieces = [quote(piece, safe="", errors="surrogateescape") for piece in _pieces(value, 15)]
        for index, piece in enumerate(pieces):
            section = f"*{index}" if len(pieces) > 1 else ""
            yield f"{name}{section}*={piece if index else f'''utf-8''{piece}'''}"


def _unstructured(text: str) -> str:
    """Encode from the first to the last word that needs it: readers drop the space between encoded words."""
    words = text.split(" ")
    needy = [index for index, word in enumerate(words) if not _plain(word) or len(word) > _MAX_WORD]
    if not needy:
        return text
    first, last = needy[0], needy[-1] + 1
    return " ".join([*words[:first], *_encoded_words(" ".join(words[first:last])), *words[last:]])


def _plain(text: str) -> bool:
    return text.isascii() and text.isprintable() and "=?" not in text


def _encoded_words(text: str) -> Iterator[str]:
    for piece in _pieces(text, _MAX_ENCODED):
        octets = piece.encode("utf-8", "surrogateescape")
        charset = UNKNOWN8BIT if re.search(r"[\udc80-\udcff]", piece) else "utf-8"
        yield f"=?{charset}?b?{base64.b64encode(octets).decode('ascii')}?="


def _pieces(text: str, size: int) -> Iterator[str]:
    """Cut text between characters into pieces of at most ``size`` octets of UTF-8."""
    start = used = 0
    for index, char in enumerate(text):
        octets = len(char.encode("utf-8", "surrogateescape"))
        if used + octets > size:
            yield text[start:index]
            start, used = index, 0
        used += octets
    yield text[start:]


def _folded(name: str, text: str) -> bytes:
    """Break the field before words, so that unfolded it is what it was (RFC 5322 2.2.3)."""
    lines = [f"{name}:"]
    for number, word in enumerate(_WORD.findall(f" {text}")):
        if number and len(lines[-1]) + len(word) > _GOOD_LINE and not word.isspace():
            lines.append(word)
        else:
            lines[-1] += word
    folded = "\r\n".join([*lines, ""]).encode()
    if max(map(len, folded.split(b"\r\n"))) > MAX_LINE:
        raise ValueError(f"the header field {name} has no place to break a line of over {MAX_LINE} octets")
    return folded
