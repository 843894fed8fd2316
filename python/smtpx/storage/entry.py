"""The spool's file format, docs/spool-format.md: one message, its envelope beside its content."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from typing import IO, Any

from smtpx._core import EnvelopeEncoder, checksum
from smtpx.mail import MailTx
from smtpx.session import Session

__all__ = ["EntryError", "decode_envelope", "encode_envelope", "entry_checksum", "entry_header", "read_entry"]

_MAGIC = "smtpx-mail"
_VERSION = 1
_MAX_HEADER = 128
_MOMENT, _SESSION = datetime | None, Session | None  # made once, not for each message


class EntryError(ValueError):
    """A file is not a whole entry of this format; the message says what is wrong with it."""


def encode_envelope(mail: MailTx) -> bytes:
    """Return the envelope as one line of JSON, its LF included; ASCII, whatever the addresses hold.

    Raises:
        TypeError: a field of the message is not of its type, so that nobody could read the entry.

    """
    return _encoder.encode(mail)


def entry_checksum(envelope: bytes, content: bytes) -> int:
    """Return the CRC-32 of both together.

    Raises:
        EntryError: one is not octets, as a database gives them that is damaged at their type.

    """
    try:
        return checksum(envelope, content)
    except TypeError:
        raise EntryError("there is text where octets are kept") from None


def entry_header(envelope: bytes, content: bytes) -> bytes:
    """Return the line that opens the file: the lengths of what follows, and its CRC-32."""
    checksum = entry_checksum(envelope, content)
    return f"{_MAGIC} {_VERSION} {len(envelope)} {len(content)} {checksum:08x}\n".encode("ascii")


def read_entry(file: IO[bytes]) -> MailTx:
    """Read one entry from an open file.

    Raises:
        EntryError: it is empty, cut short, too long, garbage, or of a version that is not known.
        OSError: the file cannot be read.

    """
    header = file.readline(_MAX_HEADER)
    try:
        magic, version, *numbers = header.decode("ascii").split(" ")
        if magic != _MAGIC or not header.endswith(b"\n"):
            raise EntryError("no spool entry")
        if version != str(_VERSION):
            raise EntryError(f"version {version} is not known")
        lengths, checksum = [int(number) for number in numbers[:2]], int(numbers[2], 16)
    except (ValueError, IndexError) as error:
        if isinstance(error, EntryError):
            raise
        raise EntryError("no spool entry") from None
    # The size comes before the reading: a garbled length must not ask for more memory than there is file.
    size = os.fstat(file.fileno()).st_size
    if min(lengths) < 0 or size != len(header) + sum(lengths):
        raise EntryError(f"{size} octets, but {len(header) + sum(lengths)} were written")
    envelope, content = file.read(lengths[0]), file.read(lengths[1])
    if entry_checksum(envelope, content) != checksum:
        raise EntryError("the checksum does not match")
    return decode_envelope(envelope, content)


def decode_envelope(envelope: bytes, content: bytes) -> MailTx:
    """Return the message of an envelope that `encode_envelope` made.

    Raises:
        EntryError: it is no such envelope.

    """
    try:
        return _mail(json.loads(envelope), content)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise EntryError("the envelope has missing or wrong fields") from None


def _mail(fields: dict[str, Any], content: bytes) -> MailTx:
    mail = MailTx(
        fields["mail_from"],
        fields["recipients"],
        content,
        params=fields["params"],
        rcpt_params=fields["rcpt_params"],
        id=fields["id"],
        received=_read_moment(fields["received"]),
        postpone=_read_moment(fields["postpone"]),
        retry=fields["retry"],
        session=_session(fields["session"]),
    )
    _check(mail)
    return mail


def _check(mail: MailTx) -> None:
    sound = {
        "mail_from, a str": isinstance(mail.mail_from, str),
        "recipients, a list of str": _strings(mail.recipients),
        "data, bytes": isinstance(mail.data, bytes),
        "params, a dict of str to str": _params(mail.params),
        "rcpt_params, a list with such a dict for each recipient": isinstance(mail.rcpt_params, list)
        and all(map(_params, mail.rcpt_params))
        and len(mail.rcpt_params) == len(mail.recipients),
        "id, a str": isinstance(mail.id, str),
        "retry, an int": isinstance(mail.retry, int),
        "received, a datetime or None": isinstance(mail.received, _MOMENT),
        "postpone, a datetime or None": isinstance(mail.postpone, _MOMENT),
        "session, a Session or None": isinstance(mail.session, _SESSION),
    }
    wrong = [field for field, is_sound in sound.items() if not is_sound]
    if wrong:
        raise TypeError(f"a message cannot be stored without its {'; its '.join(wrong)}")


def _session(facts: dict[str, Any] | None) -> Session | None:
    if facts is None:
        return None
    peer = facts["peer"]
    session = Session(facts["id"], peer if isinstance(peer, str) else (peer[0], peer[1]), facts["service"])
    session.helo, session.esmtp = facts["helo"], facts["esmtp"]
    session.tls, session.tls_info, session.user = facts["tls"], facts["tls_info"], facts["user"]
    return session


def _strings(values: object) -> bool:
    return isinstance(values, (list, tuple)) and all(isinstance(value, str) for value in values)


def _params(params: object) -> bool:
    return isinstance(params, dict) and _strings([*params, *params.values()])


def _utc_text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat()


def _read_moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text).astimezone(UTC)


_encoder = EnvelopeEncoder(Session, _check, _utc_text, json.JSONEncoder(separators=(",", ":")).encode)
