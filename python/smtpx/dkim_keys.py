"""``smtpx dkim``: a new key that signs mail, and what the DNS must say of it. Needs ``smtpx[cli]``."""

from __future__ import annotations

import base64
import os
from typing import TYPE_CHECKING, Literal, TypeAlias

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from smtpx.dkim import Signer
from smtpx.environment import DKIMOptions, Domain
from smtpx.errors import ConfigurationError
from smtpx.folding import fold_domain

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Algorithm", "new_key"]

Algorithm: TypeAlias = Literal["rsa", "ed25519"]

_RSA_BITS = 2048  # more makes a record that some name servers cannot hold
_MAX_STRING = 255  # octets of a string in a TXT record (RFC 1035 3.3)


def new_key(domain: str, selector: str, algorithm: Algorithm, path: Path) -> str:
    """Write a new private key to a file (PEM, mode 0600); return its DNS record, as of a zone file.

    Raises:
        ConfigurationError: the domain or the selector is none, or the file exists or cannot be written.

    """
    Domain(domain)
    key = (
        rsa.generate_private_key(65537, _RSA_BITS)
        if algorithm == "rsa"
        else ed25519.Ed25519PrivateKey.generate()
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    Signer(DKIMOptions(selector, pem), domain)
    _write(path, pem)
    return _record(f"{fold_domain(selector)}._domainkey.{fold_domain(domain)}", key.public_key())


def _write(path: Path, pem: bytes) -> None:
    """Write the file unless it exists: with an old key gone, what it signed could no longer be explained."""
    try:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:  # noqa: PTH123
            file.write(pem)
    except FileExistsError:
        raise ConfigurationError(f"{path} exists, and no key is overwritten: give another --key") from None
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}: give a --key that can be written") from error


def _record(name: str, key: rsa.RSAPublicKey | ed25519.Ed25519PublicKey) -> str:
    """Return the record (RFC 6376 3.6.1, RFC 8463 4)."""
    encoding, form = serialization.Encoding, serialization.PublicFormat
    if isinstance(key, rsa.RSAPublicKey):
        kind, public = "rsa", key.public_bytes(encoding.DER, form.SubjectPublicKeyInfo)
    else:
        kind, public = "ed25519", key.public_bytes(encoding.Raw, form.Raw)
    text = f"v=DKIM1; k={kind}; p={base64.b64encode(public).decode('ascii')}"
    strings = [f'"{text[start : start + _MAX_STRING]}"' for start in range(0, len(text), _MAX_STRING)]
    return f"{name}. IN TXT ( " + "\n    ".join(strings) + " )"
