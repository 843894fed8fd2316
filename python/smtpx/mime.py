"""MIME entities (RFC 2045, 2046): message objects made octets, and octets made fit for an older server.

What need not change does not: octets are rewritten at the leaf that needs it, and those around it stay.
"""

from __future__ import annotations

import base64
import binascii
import copy
import io
import re
import secrets
from email.errors import MessageError
from email.generator import BytesGenerator
from email.parser import BytesHeaderParser
from typing import TYPE_CHECKING, Any

from smtpx.errors import NotOffered
from smtpx.headers import MAX_LINE, header_end, make_field, without

if TYPE_CHECKING:
    from collections.abc import Iterator
    from email.message import Message
    from email.policy import Policy
    from typing import IO

__all__ = ["convert", "has_long_line", "is_binary", "render"]

_MAX_DEPTH = 100  # of entities within entities
_PIECE = 65_536  # characters
_CTE = "Content-Transfer-Encoding"
_IDENTITY = ("7bit", "8bit", "binary")
_BARE = re.compile(rb"\0|\r(?!\n)|(?<!\r)\n")

# Message objects


def render(message: Message) -> bytes:
    """Return the octets of a message object without its Bcc and Resent-Bcc; the object is not changed.

    Lines end with CRLF, and bodies may be 8-bit; of the header only addresses with a local part beyond ASCII
    are. Bodies with lines of over 998 octets or NUL are encoded, and so are binary ones.

    Raises:
        ValueError: a header field has CR, LF or NUL in it (HOSTILE 84), or a part cannot be written.

    """
    top = copy.copy(message)
    del top["Bcc"], top["Resent-Bcc"]  # this binds a new list of fields: the caller's stays as it is
    sink = io.BytesIO()
    _write(top, sink)
    return sink.getvalue()


def _write(part: Message, sink: IO[bytes]) -> None:
    payload: Any = part.get_payload()
    kind = part.get_content_maintype()
    if "DKIM-Signature" in part:
        _write_signed(part, part.policy, sink)
    elif isinstance(payload, list) and kind == "multipart":
        _write_multipart(part, payload, sink)
    elif isinstance(payload, list) and part.get_content_type() == "message/delivery-status":
        _write_fields(part, sink)
        for block in payload:  # RFC 3464 2.1: fields, and an empty line before the next ones
            sink.write(b"\r\n")
            _write_fields(block, sink)
    elif isinstance(payload, list) and kind == "message" and len(payload) == 1:
        _write_fields(part, sink)
        sink.write(b"\r\n")
        _write(payload[0], sink)
    elif payload is None or isinstance(payload, str):
        _write_leaf(part, payload or "", sink)
    else:
        raise ValueError(f"a part of type {part.get_content_type()} cannot hold {type(payload).__name__}")


def _write_fields(part: Message, sink: IO[bytes]) -> None:
    sink.writelines(make_field(name, value) for name, value in part.raw_items())


def _write_signed(part: Message, policy: Policy, sink: IO[bytes]) -> None:
    """Write what is signed as the standard library does: the signer most likely had the octets from there."""
    for each in part.walk():
        _write_fields(each, io.BytesIO())  # only for its checks
    generator = BytesGenerator(sink, mangle_from_=False, policy=policy.clone(cte_type="8bit"))
    try:
        generator.flatten(copy.deepcopy(part), linesep="\r\n")  # a copy: it gives parts a boundary
    except (MessageError, UnicodeError) as error:
        raise ValueError(f"the message cannot be written: {error}") from error


def _write_multipart(part: Message, parts: list[Message], sink: IO[bytes]) -> None:
    if part.get_boundary() is None:
        part = copy.copy(part)
        part.set_boundary(f"==============={secrets.token_hex(16)}==")  # binds a new list of fields too
    delimiter = b"--" + _boundary(part)
    _write_fields(part, sink)
    sink.write(b"\r\n")
    if part.preamble is not None:
        sink.write(_lines(part.preamble.encode("utf-8", "surrogateescape")) + b"\r\n")
    for each in parts:
        sink.write(delimiter + b"\r\n")
        if part.get_content_subtype() == "signed":
            policy = each.policy.clone(max_line_length=0)  # as BytesGenerator does below such a part
            _write_signed(each, policy, sink)
        else:
            _write(each, sink)
        sink.write(b"\r\n")
    sink.write(delimiter + b"--\r\n")
    if part.epilogue is not None:
        sink.write(_lines(part.epilogue.encode("utf-8", "surrogateescape")))


def _write_leaf(part: Message, payload: str, sink: IO[bytes]) -> None:
    encoding = _encoding(part)
    octets = None if payload.isascii() else _octets(part, payload)
    characters = payload if octets is None else octets.decode("latin-1")  # one for each octet
    if encoding == "binary" or (encoding in _IDENTITY and ("\0" in characters or _has_long_line(characters))):
        text = part.get_content_maintype() == "text"
        encoding, octets = _recoded(characters.encode("latin-1"), encoding, text=text)
        part = copy.copy(part)
        del part[_CTE]
        part[_CTE] = encoding
    _write_fields(part, sink)
    sink.write(b"\r\n")
    if octets is not None:
        sink.write(_lines(octets))
        return
    if "\r" in payload:
        payload = payload.replace("\r\n", "\n").replace("\r", "\n")
    for start in range(0, len(payload), _PIECE):  # piece by piece: a large one is in memory twice already
        sink.write(payload[start : start + _PIECE].encode("ascii").replace(b"\n", b"\r\n"))


def _octets(part: Message, payload: str) -> bytes:
    """Return the octets of a payload: those that came by a parser or set_content(), else its characters'."""
    if _encoding(part) in _IDENTITY:
        octets = part.get_payload(decode=True)
        # get_payload() shows octets as characters; only this is how it makes octets of what never were any.
        if isinstance(octets, bytes) and octets != payload.encode("raw-unicode-escape"):
            return octets
    charset = part.get_content_charset()
    try:
        return payload.encode(charset or "ascii")
    except (LookupError, UnicodeError) as error:
        mend = "set it by set_content(), or by set_payload(text, 'utf-8')"
        raise ValueError(f"the text of a part does not fit its charset ({charset}): {mend}") from error


def _lines(octets: bytes) -> bytes:
    return octets.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")


def _has_long_line(payload: str) -> bool:
    start = 0
    while len(payload) - start > MAX_LINE:
        end = payload.rfind("\n", start, start + MAX_LINE + 1)
        if end < 0:
            return True
        start = end + 1
    return False


# Octets


def is_binary(header: bytes) -> bool:
    """Whether the entity says that it may hold any octets; it does for all within it (RFC 2045 6.4)."""
    return b"binary" in header.lower() and _encoding(_parse(header)) == "binary"


def has_long_line(data: bytes) -> bool:
    """Whether a line has over 998 octets (RFC 5322 2.1.1); lines end with CRLF."""
    start = 0
    while len(data) - start > MAX_LINE:
        end = data.rfind(b"\n", start, start + MAX_LINE + 2)
        if end < 0:
            return True
        start = end + 1
    return False


def convert(data: bytes, *, eight_bit: bool, long_lines: bool = True) -> bytes:
    """Return the message with those bodies encoded that the server cannot take.

    Text becomes quoted-printable, other bodies base64; everything else stays octet for octet.

    Args:
        data: the message; its line ends may be of any kind.
        eight_bit: whether 8-bit lines may stay, so that only what is binary is encoded.
        long_lines: whether lines of over 998 octets may stay; those of what is signed do.

    Raises:
        NotOffered: a body that cannot pass is signed, or is one that MIME has no encoding for.

    """
    converted = b"".join(_entity(data, 0, eight_bit=eight_bit, long_lines=long_lines, signed=False))
    if not (eight_bit or converted[header_end(converted) :].isascii()):
        raise NotOffered(
            "8BITMIME", "the server takes no 8-bit content, and this has some outside of MIME bodies"
        )
    return converted


def _entity(data: bytes, depth: int, *, eight_bit: bool, long_lines: bool, signed: bool) -> Iterator[bytes]:
    """Give the pieces of a converted entity (RFC 2045 2.4): a message, or a part of one."""
    head = header_end(data)
    header, fields = data[:head], _parse(data[:head])
    encoding = _encoding(fields)
    if encoding != "binary" and _passes(data[head:], eight_bit=eight_bit, long_lines=long_lines):
        yield data
        return
    missing, label = ("BINARYMIME", "8bit") if eight_bit else ("8BITMIME", "7bit")
    if depth > _MAX_DEPTH:
        raise NotOffered(missing, f"the server lacks {missing}, and the parts nest too deep to be encoded")
    signed = signed or "DKIM-Signature" in fields or fields.get_content_type() == "multipart/signed"
    long_lines = long_lines or signed
    start = head + _newline_at(data, head)
    if parts := list(_parts(fields, data, start)):
        yield header if signed else _labelled(header, label)
        for begin, end in parts:
            yield data[head:begin]
            yield from _entity(
                data[begin:end], depth + 1, eight_bit=eight_bit, long_lines=long_lines, signed=signed
            )
            head = end
        yield data[head:]
        return
    body = data[start:]
    if encoding == "base64" and not long_lines:
        yield data[:start] + _wrapped(body)
        return
    fit = _passes(body, eight_bit=eight_bit, long_lines=long_lines) and not _BARE.search(body)
    if encoding not in _IDENTITY or (fit and signed):
        yield data
        return
    if signed:
        raise NotOffered(missing, f"the server lacks {missing}, and encoding would break the signature")
    if not fit:
        text = fields.get_content_maintype() in ("text", "message")
        label, body = _recoded(body, encoding, text=text)
    if depth == 0 and "MIME-Version" not in fields:
        header += b"MIME-Version: 1.0\r\n"  # without it the encoding means nothing (RFC 2045 4)
    yield _labelled(header, label)
    yield data[head:start]
    yield body


def _passes(octets: bytes, *, eight_bit: bool, long_lines: bool) -> bool:
    return (eight_bit or octets.isascii()) and (long_lines or not has_long_line(octets))


def _wrapped(octets: bytes) -> bytes:
    """Return base64 in lines of 76 (RFC 2045 6.8)."""
    octets = b"".join(octets.split())
    return b"".join(octets[start : start + 76] + b"\r\n" for start in range(0, len(octets), 76))


def _parts(fields: Message, data: bytes, start: int) -> Iterator[tuple[int, int]]:
    """Give where the entities within an entity begin and end; its body begins at ``start``."""
    kind = fields.get_content_type()
    if kind == "message/rfc822":
        yield start, len(data)
    if not kind.startswith("multipart/") or fields.get_boundary() is None:
        return
    delimiter = rb"(?:(?<=[\r\n])|\A)--" + re.escape(_boundary(fields)) + rb"(--)?[ \t]*+(?:\r\n|\r|\n|\Z)"
    begin = None
    for found in re.compile(delimiter).finditer(data, start):
        if begin is not None:
            # The line end ahead of a delimiter belongs to it (RFC 2046 5.1.1).
            end = found.start() - (2 if data.endswith(b"\r\n", begin, found.start()) else 1)
            yield begin, max(begin, end)
        begin = found.end()
        if found[1]:
            return
    if begin is not None:
        yield begin, len(data)


def _recoded(octets: bytes, encoding: str, *, text: bool) -> tuple[str, bytes]:
    """Return the encoding that suits the octets best, and the octets in it (RFC 2045 6.7, 6.8)."""
    if encoding != "binary" and b"\0" not in octets:
        octets = _lines(octets)
    if text and not _BARE.search(octets):
        return "quoted-printable", _lines(binascii.b2a_qp(octets))  # it breaks a lone line by LF
    return "base64", base64.encodebytes(octets).replace(b"\n", b"\r\n")


def _parse(header: bytes) -> Message:
    return BytesHeaderParser().parsebytes(header)


def _encoding(fields: Message) -> str:
    return str(fields.get(_CTE, "")).strip().lower() or "7bit"


def _boundary(fields: Message) -> bytes:
    return str(fields.get_boundary()).encode("utf-8", "surrogateescape")


def _labelled(header: bytes, encoding: str) -> bytes:
    """Return the header with the encoding as its last field."""
    header = without(header, b"Content-Transfer-Encoding")
    return header + f"{_CTE}: {encoding}\r\n".encode("ascii")


def _newline_at(data: bytes, index: int) -> int:
    """Return the length of the line end there, 0 where the data ends."""
    return 2 if data.startswith(b"\r\n", index) else len(data[index : index + 1])
