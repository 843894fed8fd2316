"""What is sent of a message: the envelope that its header names, and content that the server can take.

Nothing is added to a message: it gets no Date and no Message-ID that its author did not give it. Bcc and
Resent-Bcc are taken out (RFC 5322 3.6.3, HOSTILE 87).
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from dataclasses import dataclass
from email.message import Message
from email.parser import BytesHeaderParser
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeAlias

from smtpx._core import parse_mailbox
from smtpx.errors import AddressError, NotOffered
from smtpx.folding import ascii_domain, fold_domain
from smtpx.headers import addresses_of, header_end, without_bcc
from smtpx.mime import convert, is_binary, render
from smtpx.newlines import mended_size

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["Content", "Envelope", "Sendable", "Source", "Upload", "content", "envelope", "source"]

_CHUNK = 262_144  # octets read from a file at once
_SMALL = 65_536  # a file of no more octets is sent from memory
_MAX_HEADER = 1_048_576  # octets of a file's header; it is held in memory


@dataclass(frozen=True, slots=True)
class Envelope:
    """From whom and to whom (RFC 5321 2.3.1).

    Attributes:
        mail_from: the reverse-path without its brackets; "" is the null one.
        recipients: the forward-paths without their brackets, each once.
        smtputf8: whether one of these addresses has a local part beyond ASCII (RFC 6531).

    """

    mail_from: str
    recipients: list[str]
    smtputf8: bool


@dataclass(frozen=True, slots=True)
class Content:
    """A message as the server gets it, before dot-stuffing.

    Attributes:
        data: the octets, or None where `chunks` reads them from a file.
        size: octets, as they are; see `mended_size`.
        eight_bit: whether the body has octets over 127: BODY=8BITMIME (RFC 6152).
        binary: whether it says that it is binary: BODY=BINARYMIME (RFC 3030).
        smtputf8: whether the envelope or the header has UTF-8: the parameter SMTPUTF8 (RFC 6531).

    """

    data: bytes | None
    size: int
    eight_bit: bool
    binary: bool
    smtputf8: bool
    upload: Upload | None = None

    def mended_size(self) -> int:
        """Return how many octets the server gets: but in binary, every newline becomes a CRLF."""
        if self.binary:
            return self.size
        return mended_size([self.data or b""]) if self.upload is None else self.upload.mended_size

    def chunks(self) -> Iterator[bytes]:
        """Give the octets in pieces of at most 256 KiB where they are read from a file, which blocks.

        Raises:
            OSError: the file cannot be read, or is no longer what was measured: break the transaction off.

        """
        if self.upload is None:
            yield self.data or b""
            return
        left = self.size
        for piece in self.upload.pieces():
            left -= len(piece)
            if left < 0:
                break
            yield piece
        if left:
            raise OSError("the file of the message changed while it was sent")


class Upload:
    """A message in a file: read where it lies, piece by piece, as often as needed.

    A file object is read from where it stands, stays open, and stands there again after each piece: sent
    again, it is the same message, and not what is behind its end. What cannot be rewound (a pipe) is read
    once, into a temporary file.

    Attributes:
        header: the octets of the header, Bcc and all.
        size: the octets of the message without Bcc.
        mended_size: the same once every line ends with CRLF.
        seven_bit: whether its body is ASCII.

    """

    def __init__(self, file: Path | IO[bytes]) -> None:
        self._file = file
        if isinstance(file, Path):
            with file.open("rb") as opened:
                if not opened.seekable():
                    self._file = self._spooled(opened)
        elif not file.seekable():
            self._file = self._spooled(file)
        self._start = 0 if isinstance(self._file, Path) else self._file.tell()
        self.header = _read_header(self._chunks(0))
        self.mended_size = mended_size(self._measured())

    def _measured(self) -> Iterator[bytes]:
        pieces = self.pieces()
        header = next(pieces)
        self.size, self.seven_bit = len(header), True
        yield header
        for piece in pieces:
            self.size += len(piece)
            self.seven_bit = self.seven_bit and piece.isascii()
            yield piece

    def pieces(self) -> Iterator[bytes]:
        """Give the message without its Bcc, the rest octet for octet."""
        yield without_bcc(self.header)
        yield from self._chunks(len(self.header))

    def _chunks(self, at: int) -> Iterator[bytes]:
        if isinstance(self._file, Path):
            with self._file.open("rb") as file:
                file.seek(at)
                while piece := file.read(_CHUNK):
                    yield piece
            return
        while piece := self._chunk(self._file, self._start + at):
            at += len(piece)
            yield piece

    def _chunk(self, file: IO[bytes], at: int) -> bytes:
        file.seek(at)
        try:
            return file.read(_CHUNK)
        finally:
            file.seek(self._start)

    def _spooled(self, file: IO[bytes]) -> IO[bytes]:
        spool = tempfile.SpooledTemporaryFile(_SMALL)  # noqa: SIM115 - closed with self
        weakref.finalize(self, spool.close)
        shutil.copyfileobj(file, spool, _CHUNK)
        spool.seek(0)
        return spool


def _read_header(chunks: Iterator[bytes]) -> bytes:
    head = b""
    for piece in chunks:
        head += piece
        end = header_end(head)
        if end < len(head):
            return head[:end]
        if len(head) > _MAX_HEADER:
            raise ValueError("the file has no end of a header in its first MiB: it is no message")
    return head


Source: TypeAlias = "Message | bytes | Upload"
Sendable: TypeAlias = "Message | bytes | bytearray | memoryview | Path | IO[bytes] | Upload"


def source(message: Sendable) -> Source:
    """Return the message in a form that can be read more than once; what this gave, it gives again.

    `envelope` and `content` call it themselves; where the message may be a pipe, call it ahead of them, and
    give both what it returns. It reads files, which blocks.

    Raises:
        TypeError: it is no message.
        OSError: the file cannot be read.
        ValueError: the file has no end of a header in its first MiB.

    """
    match message:
        case Message() | bytes() | Upload():
            return message
        case bytearray() | memoryview():
            return bytes(message)
        case Path():
            return Upload(message)
        case _ if hasattr(message, "read") and not hasattr(message, "encoding"):  # which a text file has
            return Upload(message)
    raise TypeError(
        f"a {type(message).__name__} is no message: give an EmailMessage, bytes, a Path or a binary file"
    )


# The envelope


def envelope(
    message: Sendable, mail_from: str | None = None, recipients: str | Sequence[str] | None = None
) -> Envelope:
    """Return the envelope: as given, and what is not given from the header (RFC 5322 3.6.2, 3.6.3, 3.6.6).

    The sender is Sender, else From; the recipients are To, Cc and Bcc, members of groups included; where the
    message was resent, they are those of the latest Resent- fields. A domain beyond ASCII becomes A-labels
    where the local part is ASCII. An address is taken once: local parts are compared as they are, for their
    case is the receiver's affair (RFC 5321 2.4), domains by what they mean.

    Args:
        message: see `source`; its header is read only where something is not given.
        mail_from: the reverse-path; "" is the null one.
        recipients: the forward-paths; a str is one of them.

    Raises:
        AddressError: an address is none, or has no domain.
        ValueError: there is no sender, or more than one author and no Sender; or there is no recipient.

    """
    if mail_from is None or recipients is None:
        prefix, fields = _envelope_fields(source(message))
        if mail_from is None:
            mail_from = _sender(prefix, fields)
        if recipients is None:
            recipients = _addresses(fields, f"{prefix}to", f"{prefix}cc", f"{prefix}bcc")
    if isinstance(recipients, str):
        recipients = [recipients]
    if not recipients:
        raise ValueError("there is no recipient: give recipients=, or the message a To, Cc or Bcc")
    if mail_from:
        mail_from = _address(mail_from)
    unique: dict[tuple[str, str], str] = {}
    for recipient in map(_address, recipients):
        local, _, domain = recipient.rpartition("@")
        unique.setdefault((local, fold_domain(domain)), recipient)
    addresses = list(unique.values())
    return Envelope(mail_from, addresses, not all(map(str.isascii, (mail_from, *addresses))))


_Fields: TypeAlias = "list[tuple[str, Any]]"  # names in lower case, and values


def _envelope_fields(message: Source) -> tuple[str, _Fields]:
    """Return the fields that name the envelope, and the prefix of their names."""
    if not isinstance(message, Message):
        header = message[: header_end(message)] if isinstance(message, bytes) else message.header
        message = BytesHeaderParser().parsebytes(header)
    fields = [(name.lower(), value) for name, value in message.raw_items()]
    resent: dict[str, Any] = {}
    for name, value in fields:
        # Each resending puts its fields on top, and none of them twice; a trace field may be between.
        if name in resent or (resent and name in ("received", "return-path")):
            break
        if name.startswith("resent-"):
            resent[name] = value
    return ("resent-", list(resent.items())) if resent else ("", fields)


def _sender(prefix: str, fields: _Fields) -> str:
    for name in (f"{prefix}sender", f"{prefix}from"):
        match _addresses(fields, name):
            case [address]:
                return address
            case [_, _, *_]:
                mend = f"give mail_from=, or the message one {prefix.title()}Sender"
                raise ValueError(f"the field {name.title()} has more than one address: {mend}")
    raise ValueError(f"there is no sender: give mail_from=, or the message a {prefix.title()}From")


def _addresses(fields: _Fields, *names: str) -> list[str]:
    """Return the addresses in the fields of these names, as they go on the wire."""
    found = []
    for name, value in fields:
        if name in names:
            try:
                found += [_address(address) for address in addresses_of(name, value)]
            except AddressError as error:
                raise AddressError(f"{name.title()}: {error}") from error
    return found


def _address(text: str) -> str:
    """Return the address as it goes on the wire: quoted where it must be, its domain A-labels if it can."""
    try:
        address = parse_mailbox(text)
        if not address.isascii():
            address = parse_mailbox(ascii_domain(address))
    except (AddressError, UnicodeEncodeError) as error:
        raise AddressError(f"{text!r} is no address: {error}") from error
    if ("@" not in address or address.endswith('"')) and address.lower() != "postmaster":
        raise AddressError(f"{text!r} is no address: it has no domain")
    return address


# The content


def content(
    message: Sendable, envelope: Envelope, *, eight_bit: bool, smtputf8: bool, binary: bool
) -> Content:
    """Return what is to be sent to a server that offers these extensions.

    A message object is written with its header in ASCII (RFC 2047, A-labels) but for addresses whose local
    part is not. Bodies that the server cannot take are encoded (quoted-printable or base64); otherwise octets
    and files stay as they are. A file of over 64 KiB is read as it is sent, unless it must be encoded: then
    it is read into memory. The caller's object is never changed.

    Args:
        message: see `source`.
        envelope: its envelope.
        eight_bit: the server offers 8BITMIME (RFC 6152).
        smtputf8: the server offers SMTPUTF8 (RFC 6531), which includes 8BITMIME.
        binary: the server offers BINARYMIME (RFC 3030).

    Raises:
        NotOffered: an address or the header needs SMTPUTF8; or a signed part, or one that cannot be encoded,
            needs 8BITMIME or BINARYMIME.
        ValueError: a header field has CR, LF or NUL in it (HOSTILE 84), or a part cannot be written.
        OSError: the file cannot be read.

    """
    if envelope.smtputf8 and not smtputf8:
        beyond = next(each for each in (envelope.mail_from, *envelope.recipients) if not each.isascii())
        raise NotOffered("SMTPUTF8", f"the server does not offer SMTPUTF8, which the address {beyond} needs")
    eight_bit = eight_bit or smtputf8
    message = source(message)
    if isinstance(message, Upload) and message.size <= _SMALL:
        message = b"".join(message.pieces())
    upload: Upload | None = None
    if isinstance(message, Upload):
        upload, data = message, b""
        header, size, seven_bit = without_bcc(upload.header), upload.size, upload.seven_bit
    else:
        data = render(message) if isinstance(message, Message) else message
        end = header_end(data)
        header = without_bcc(data[:end])
        if len(header) < end:
            data, end = header + data[end:], len(header)
        size, seven_bit = len(data), data.isascii() or data[end:].isascii()
    if not (smtputf8 or header.isascii()):
        raise NotOffered(
            "SMTPUTF8", "the server does not offer SMTPUTF8, which the header of the message needs"
        )
    declared_binary = is_binary(header)
    if (declared_binary and not binary) or not (declared_binary or seven_bit or eight_bit):
        data = convert(data if upload is None else b"".join(upload.pieces()), eight_bit=eight_bit)
        size, seven_bit = len(data), data[header_end(data) :].isascii()
        upload, declared_binary = None, False
    return Content(
        data=None if upload else data,
        size=size,
        eight_bit=not seven_bit,
        binary=declared_binary,
        smtputf8=envelope.smtputf8 or not header.isascii(),
        upload=upload,
    )
