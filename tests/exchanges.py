"""What the tests of SASL share: exchanges begun, and certificates with signatures of each kind."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from smtpx.sasl import (
    ClientMechanism,
    Mechanism,
    client_mechanism,
)

ALL = [mechanism.wire for mechanism in Mechanism]
SCRAM, PLUS = Mechanism.SCRAM_SHA_256, Mechanism.SCRAM_SHA_256_PLUS
TOKEN = "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg=="


def begin(
    mechanism: Mechanism, username: str = "joe", secret: str = "secret", **more: Any
) -> ClientMechanism:
    return client_mechanism(mechanism, username, secret, **{"offered": ALL, **more})


def signed(key: Any, algorithm: Any) -> bytes:
    """A certificate (DER) with a signature of that kind."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "mx.example.org")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + timedelta(days=1))
    return builder.sign(key, algorithm).public_bytes(Encoding.DER)


EC_KEY = ec.generate_private_key(ec.SECP256R1())
SHA256, SHA384 = signed(EC_KEY, hashes.SHA256()), signed(EC_KEY, hashes.SHA384())
# cryptography signs by SHA-1 no more: the last octet of sha256WithRSAEncryption becomes sha1's.
RSA = bytes.fromhex("06092a864886f70d0101")
SHA1 = signed(rsa.generate_private_key(65537, 2048), hashes.SHA256()).replace(RSA + b"\x0b", RSA + b"\x05")
ED25519 = signed(ed25519.Ed25519PrivateKey.generate(), None)
