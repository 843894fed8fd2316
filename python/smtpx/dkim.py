"""DKIM signatures (RFC 6376, Ed25519 by RFC 8463) on what leaves. Keys need the package cryptography.

The format is our own, for dkimpy has no way to put another RSA in the place of its own, which is Python.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import re
import time
from functools import lru_cache
from typing import TYPE_CHECKING

from smtpx.errors import ConfigurationError, NotOffered
from smtpx.folding import fold_domain
from smtpx.headers import header_end
from smtpx.mime import convert, has_long_line, is_binary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from smtpx.environment import DKIMOptions

__all__ = ["Signer", "signer"]

_MIN_RSA = 1024  # bits; verifiers take no less (RFC 8301 3.2)
_PIECE = 65_536  # octets of a body made canonical at once, so that no other thread waits long for the GIL
_FOLD = 70  # characters of a line, so that with what stands before them it has no more than 78

# The fields of RFC 6376 5.4.1, RFC 8058 4 and, so that nobody has the same octets read as something else,
# those of MIME.
_SIGNED = (
    *(b"from", b"sender", b"reply-to", b"subject", b"date", b"message-id", b"to", b"cc"),
    *(b"in-reply-to", b"references", b"resent-date", b"resent-from", b"resent-sender", b"resent-to"),
    *(b"resent-cc", b"resent-message-id", b"list-id", b"list-help", b"list-unsubscribe"),
    *(b"list-unsubscribe-post", b"list-subscribe", b"list-post", b"list-owner", b"list-archive"),
    *(b"mime-version", b"content-type", b"content-transfer-encoding"),
)
_FIELD = re.compile(rb"^([!-9;-~]+)[ \t]*:((?:[^\r\n]|\r\n[ \t])*+)", re.MULTILINE)
_SELECTOR = re.compile(r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?)*")


class Signer:
    """Signs for a domain with one key.

    Args:
        options: the selector and the private key: PEM, RSA of 1024 bits or more or Ed25519, no password.
        domain: the domain that vouches (the tag ``d``).
        clock: gives the time of the signature (the tag ``t``), in seconds since 1970.

    Raises:
        ConfigurationError: the key or the selector is not fit, or the package cryptography is missing.

    """

    def __init__(self, options: DKIMOptions, domain: str, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        selector = fold_domain(options.selector)
        if not _SELECTOR.fullmatch(selector):
            raise ConfigurationError(
                f"the DKIM selector {options.selector!r} is no part of a domain name: write one like 's1'"
            )
        algorithm, self._sign = _load(options.private_key, domain)
        self._tags = f" v=1; a={algorithm}; c=relaxed/relaxed;\r\n\td={fold_domain(domain)}; s={selector};"

    def sign(self, data: bytes) -> bytes:
        """Return the ``DKIM-Signature`` field to put on top of the message, its CRLF included.

        Every field of those that are signed is, and one more From than there are, so that none can be added
        (RFC 6376 8.15). Another thread's work goes on beside that on a large body.

        Args:
            data: the message; its lines end with CRLF.

        """
        end = header_end(data)
        fields: dict[bytes, list[bytes]] = {}
        for found in _FIELD.finditer(data, 0, end):
            fields.setdefault(found[1].lower(), []).append(found[2])
        present = [(name, value) for name in _SIGNED for value in reversed(fields.get(name, ()))]
        names = _folded([name.decode("ascii") for name, _ in present] + ["from"], ":")
        body_hash = base64.b64encode(_body_hash(data, end + 2)).decode("ascii")
        made = f"{self._tags} t={int(self._clock())};\r\n\th={names};\r\n\tbh={body_hash};\r\n\tb="
        header = [_relaxed(name, value) for name, value in present]
        signed = b"\r\n".join([*header, _relaxed(b"dkim-signature", made.encode("ascii"))])
        signature = base64.b64encode(self._sign(signed)).decode("ascii")
        lines = [signature[start : start + _FOLD] for start in range(0, len(signature), _FOLD)]
        folded = "\r\n\t".join(lines)
        return f"DKIM-Signature:{made}{folded}\r\n".encode("ascii")

    def signed(self, data: bytes) -> bytes:
        """Return the message in 7-bit, in lines that every host takes, with its signature on top.

        A relay that encoded an 8-bit body for the next host, or broke a line of over 998 octets, would break
        the signature (RFC 6376 5.3). What cannot be encoded, for it is signed by its author, is signed as it
        is.
        """
        if not data.isascii() or has_long_line(data) or is_binary(data[: header_end(data)]):
            with contextlib.suppress(NotOffered):
                data = convert(data, eight_bit=False, long_lines=False)
        return self.sign(data) + data


@lru_cache(1024)
def signer(options: DKIMOptions, domain: str) -> Signer:
    """Return the Signer, made once: to read a key takes longer than to sign with it."""
    return Signer(options, domain)


def _load(pem: bytes, domain: str) -> tuple[str, Callable[[bytes], bytes]]:
    """Return the algorithm's name, and what signs octets."""
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
        from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
    except ImportError:
        raise ConfigurationError("DKIM needs the package cryptography: pip install 'smtpx[dkim]'") from None
    mend = f"make one with smtpx dkim new {domain}"
    try:
        key = load_pem_private_key(pem, None)
    except TypeError:
        raise ConfigurationError(
            f"the DKIM key of {domain} has a password: store it without one (openssl pkey -in OLD -out NEW)"
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigurationError(f"the DKIM key of {domain} is no private key in PEM: {mend}") from None
    match key:
        case RSAPrivateKey() if key.key_size < _MIN_RSA:
            raise ConfigurationError(
                f"the DKIM key of {domain} has {key.key_size} bits, verifiers want {_MIN_RSA} or more: {mend}"
            )
        case RSAPrivateKey():
            return "rsa-sha256", lambda octets: key.sign(octets, PKCS1v15(), SHA256())
        case Ed25519PrivateKey():
            # RFC 8463 3: PureEdDSA of the hash.
            return "ed25519-sha256", lambda octets: key.sign(hashlib.sha256(octets).digest())
    raise ConfigurationError(f"the DKIM key of {domain} is neither RSA nor Ed25519: {mend}")


def _relaxed(name: bytes, value: bytes) -> bytes:
    """Return the field in the "relaxed" form of RFC 6376 3.4.2, without its CRLF."""
    return name + b":" + _squeezed(value.replace(b"\r\n", b"")).strip(b" ")


def _body_hash(data: bytes, start: int) -> bytes:
    """Hash the body in the "relaxed" form of RFC 6376 3.4.4."""
    digest = hashlib.sha256()
    held, empty = b"", True  # line ends that count only when something follows
    for piece in _pieces(data, start):
        lines = _squeezed(piece).replace(b" \r\n", b"\r\n")
        text = lines.rstrip(b"\r\n")
        if not text:
            held += lines
            continue
        digest.update(held)
        digest.update(text)
        held, empty = lines[len(text) :], False
    if not empty:
        digest.update(b"\r\n")
    return digest.digest()


def _pieces(data: bytes, start: int) -> Iterator[bytes]:
    """Give whole lines, the last one too."""
    while start < len(data):
        end = data.find(b"\r\n", start + _PIECE) + 2
        if end < 2:
            yield data[start:] if data.endswith(b"\r\n") else data[start:] + b"\r\n"
            return
        yield data[start:end]
        start = end


def _squeezed(octets: bytes) -> bytes:
    """Make one space of each run of spaces and tabs; several times faster than `re`, and in linear time."""
    octets = octets.replace(b"\t", b" ")
    while b"  " in octets:
        octets = octets.replace(b"  ", b" ")
    return octets


def _folded(words: list[str], separator: str) -> str:
    lines = [words[0]]
    for word in words[1:]:
        if len(lines[-1]) + len(word) > _FOLD:
            lines.append(word)
        else:
            lines[-1] += separator + word
    return f"{separator}\r\n\t ".join(lines)
