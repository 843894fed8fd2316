"""DKIM in tests: keys, and verifiers that share nothing with us."""

from __future__ import annotations

import base64
import functools
import shutil
import subprocess
from typing import TYPE_CHECKING, TypeAlias

import dkim
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from smtpx.environment import DKIMOptions

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["DOMAIN", "Key", "dkimpy_verifies", "opendkim_verifies", "options", "pem", "record", "rsa_key"]

Key: TypeAlias = RSAPrivateKey | Ed25519PrivateKey

DOMAIN = "example.org"


@functools.cache
def rsa_key(bits: int = 2048) -> RSAPrivateKey:
    """A key of this size, made once: that takes a while."""
    return generate_private_key(65537, bits)


def pem(key: Key) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def options(key: Key) -> DKIMOptions:
    return DKIMOptions("s1", pem(key))


def record(key: Key) -> str:
    """What the DNS says of the key (RFC 6376 3.6.1, RFC 8463 4)."""
    raw, der = serialization.Encoding.Raw, serialization.Encoding.DER
    if isinstance(key, Ed25519PrivateKey):
        public = key.public_key().public_bytes(raw, serialization.PublicFormat.Raw)
    else:
        public = key.public_key().public_bytes(der, serialization.PublicFormat.SubjectPublicKeyInfo)
    kind = "ed25519" if isinstance(key, Ed25519PrivateKey) else "rsa"
    return f"v=DKIM1; k={kind}; p={base64.b64encode(public).decode()}"


def dkimpy_verifies(data: bytes, record: str, *, domain: str = DOMAIN) -> bool:
    """Whether dkimpy verifies the signature on top; RSA alone, the other it cannot do by itself."""

    def look_up(name: bytes, timeout: int = 5) -> bytes:
        assert name == f"s1._domainkey.{domain}.".encode()
        return record.encode()

    return bool(dkim.verify(data, dnsfunc=look_up))


def opendkim_verifies(data: bytes, record: str, folder: Path, *, domain: str = DOMAIN) -> bool:
    """Whether opendkim verifies it (its test mode: a file of keys, no network)."""
    if shutil.which("opendkim") is None:
        pytest.skip("opendkim is not installed")
    keys, settings, message = folder / "keys", folder / "settings", folder / "message"
    keys.write_text(f"s1._domainkey.{domain} {record}\n")
    settings.write_text(f"TestPublicKeys {keys}\nMode v\nSyslog no\n")
    message.write_bytes(data)
    command = ["opendkim", "-x", str(settings), "-t", str(message), "-vvv"]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    return "dkim=pass" in said
