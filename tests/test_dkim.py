"""DKIM signatures, as others verify them."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from smtpx.dkim import Signer, signer
from smtpx.environment import DKIMOptions
from smtpx.errors import ConfigurationError

from tests.signing import DOMAIN, Key, dkimpy_verifies, opendkim_verifies, options, pem, record, rsa_key

if TYPE_CHECKING:
    from pathlib import Path

ED25519 = Ed25519PrivateKey.generate()
HEADER = (
    b"Date: Mon, 4 May 2026 12:30:00 +0000\r\nFrom: Joe\t <joe@example.org>\r\n"
    b"To: ann@b.example,\r\n\tbob@b.example\r\n"
    b"Subject:  a   subject \r\nMessage-ID: <1@example.org>\r\nX-Other: y\r\n"
)
MESSAGE = HEADER + b"\r\nsome  text \t\r\n\r\n .\r\nmore\t text\r\n \r\n\r\n"


def signed(data: bytes = MESSAGE, key: Key | None = None) -> bytes:
    return Signer(options(key or rsa_key()), DOMAIN).sign(data) + data


def tags(data: bytes) -> dict[str, str]:
    """The tags of the signature on top of a message, without white space."""
    field = re.sub(rb"\s", b"", data[: data.index(b"\r\nDate:")].partition(b":")[2]).decode()
    return dict(tag.split("=", 1) for tag in field.split(";"))


# As verifiers see it


@pytest.mark.parametrize("key", [rsa_key(), ED25519], ids=["rsa", "ed25519"])
@pytest.mark.parametrize(
    "data",
    [MESSAGE, HEADER + b"\r\n", HEADER, HEADER + b"\r\n" + MESSAGE * 1000],
    ids=["usual", "no body", "header alone", "large"],
)
def test_opendkim_verifies_a_signature(key: Key, data: bytes, tmp_path: Path) -> None:
    assert opendkim_verifies(signed(data, key), record(key), tmp_path)


@pytest.mark.parametrize("key", [rsa_key(), ED25519], ids=["rsa", "ed25519"])
def test_opendkim_sees_that_a_message_was_changed(key: Key, tmp_path: Path) -> None:
    changed = signed(key=key).replace(b"more", b"less")
    assert not opendkim_verifies(changed, record(key), tmp_path)


def test_dkimpy_verifies_a_signature() -> None:
    for data in (MESSAGE, HEADER + b"\r\nno line end"):
        assert dkimpy_verifies(signed(data), record(rsa_key()))


LINES = st.lists(
    st.sampled_from([b" ", b"\t", b"a", b"b c", b"\r\n", b"\xc3\xa9", b"\r\n \r\n"]), max_size=12
)
VALUES = LINES.map(lambda pieces: re.sub(rb"\r\n\s*", b"\r\n ", b"".join(pieces) + b"x"))


# Lone control characters are left out: dkimpy takes some for white space, which RFC 6376 2.8 does not.
@given(VALUES, LINES.map(b"".join), st.integers(0, 2))
def test_dkimpy_verifies_whatever_the_white_space_is(subject: bytes, body: bytes, more: int) -> None:
    header = HEADER + b"Subject: " + subject + b"\r\n" + b"Cc: c@b.example\r\n" * more
    data = header + b"\r\n" + body + b"\r\n"
    assert dkimpy_verifies(signed(data), record(rsa_key()))


def test_large_bodies_are_hashed_in_pieces_to_the_same_end() -> None:
    text = b"a \t b  \r\n" * 20_000
    for body in (text, text + b"\r\n" * 100_000 + b"end\r\n", text + b" \r\n" * 100_000):
        data = HEADER + b"\r\n" + body
        assert dkimpy_verifies(signed(data), record(rsa_key()))


@pytest.mark.parametrize(
    "changed",
    [
        lambda data: data.replace(b"a   subject", b"another"),
        lambda data: data.replace(b"\r\nTo:", b"\r\nFrom: eve@b.example\r\nTo:"),
        lambda data: b"From: eve@b.example\r\n" + data,
    ],
)
def test_a_changed_header_or_an_added_from_fails(changed: object) -> None:
    assert callable(changed)
    assert not dkimpy_verifies(changed(signed()), record(rsa_key()))


def test_what_relays_do_to_white_space_and_other_fields_does_no_harm() -> None:
    data = signed().replace(b"a   subject ", b"a subject").replace(b"text \t\r\n", b"text\r\n")
    assert dkimpy_verifies(b"Received: x\r\n" + data.replace(b"X-Other: y\r\n", b""), record(rsa_key()))


# What is in it


def test_the_tags_of_a_signature() -> None:
    made = Signer(options(rsa_key()), "Example.ORG", clock=lambda: 1777897800.9)
    found = tags(made.sign(MESSAGE) + MESSAGE)
    assert found.pop("bh")
    assert found.pop("b")
    assert found == {
        "v": "1",
        "a": "rsa-sha256",
        "c": "relaxed/relaxed",
        "d": "example.org",
        "s": "s1",
        "t": "1777897800",
        "h": "from:subject:date:message-id:to:from",
    }


def test_each_of_several_fields_of_a_name_is_signed() -> None:
    data = HEADER + b"cc: a@b.example\r\nCC: c@b.example\r\n\r\n"
    assert tags(signed(data))["h"] == "from:subject:date:message-id:to:cc:cc:from"


def test_a_domain_beyond_ascii_signs_as_its_a_label() -> None:
    assert (
        tags(Signer(options(rsa_key()), "bücher.example").sign(MESSAGE) + MESSAGE)["d"]
        == "xn--bcher-kva.example"
    )


def test_its_lines_are_short() -> None:
    field = signed(HEADER + b"Cc: x\r\n" * 100 + b"\r\n").partition(b"\r\nDate:")[0]
    assert max(map(len, field.split(b"\r\n"))) <= 78


# 8-bit content


@pytest.mark.parametrize(
    "content",
    [
        "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\né\r\n".encode(),
        b"Content-Transfer-Encoding: binary\r\n\r\n\0\x01\xff",
        b"\r\n" + b"x" * 999 + b"\r\n",
    ],
)
def test_content_that_a_relay_would_encode_is_encoded_before_it_is_signed(content: bytes) -> None:
    data = Signer(options(rsa_key()), DOMAIN).signed(HEADER + content)
    assert data.isascii()
    assert max(map(len, data.split(b"\r\n"))) <= 998
    assert dkimpy_verifies(data, record(rsa_key()))


@pytest.mark.parametrize("body", ["é\r\n", "x" * 999 + "\r\n"])
def test_what_the_author_signed_is_not_encoded(body: str) -> None:
    entity = f"Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n\r\n{body}\r\n--b--\r\n"
    content = HEADER + entity.encode()
    data = Signer(options(rsa_key()), DOMAIN).signed(content)
    assert data.endswith(content)
    assert dkimpy_verifies(data, record(rsa_key()))


# Keys


def test_a_key_is_read_once() -> None:
    assert signer(options(rsa_key()), DOMAIN) is signer(options(rsa_key()), DOMAIN)


def refused(key: bytes, selector: str = "s1") -> str:
    with pytest.raises(ConfigurationError) as raised:
        Signer(DKIMOptions(selector, key), DOMAIN)
    return str(raised.value)


# A key of 512 bits, which cryptography makes no more.
WEAK = b"""-----BEGIN RSA PRIVATE KEY-----
MIIBOwIBAAJBANjEbW0ueAAmHrkKSo3Ss3Wigzt1NDr96f6seR7uJ+ssk+buPSvr
ShHVfre6MRIGu3jtdWerABxESzpErcfjU7kCAwEAAQJBAMyoiHgxC3N4ikFCiilk
6bMDAMw+WFXqLecZiDG/wUizTQMkI9RbZ4jEr4XJUxEOoc7L5t4YJs5U9JmuwgCz
CEECIQDu1C96Vafx1vA09DWAvLDYgTTyiveABVCa/13bWrpZ3QIhAOhaLvPajW+d
CBtESMsqlPGf1lexhz52MZZA4OpK6lmNAiAJS9sZQPJLmJk7BnJ6s12S39ymwEAI
DKzpi50kp7BvRQIgEAkhUm0T888HnzIgP/1JWD+qwFSdO99WXsNNgn33HIUCIQCS
SI1yi63KC2Zogmvst8+NY3uDeu1CggnPrReb2/ucOA==
-----END RSA PRIVATE KEY-----
"""


def test_a_short_rsa_key_is_refused() -> None:
    assert "bits, verifiers want 1024 or more" in refused(WEAK)


def test_a_key_of_another_kind_is_refused() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    other = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    assert "neither RSA nor Ed25519" in refused(other)


def test_a_key_with_a_password_is_refused() -> None:
    locked = rsa_key().private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    assert "has a password: store it without one" in refused(locked)


@pytest.mark.parametrize("key", [b"", b"no key", pem(rsa_key())[:200]])
def test_what_is_no_key_is_refused(key: bytes) -> None:
    assert "no private key in PEM: make one with smtpx dkim new example.org" in refused(key)


@pytest.mark.parametrize("selector", ["", "a b", "s1;", "s1.", "s1\r\nX: y", "-s"])
def test_what_is_no_selector_is_refused(selector: str) -> None:
    assert "is no part of a domain name" in refused(pem(rsa_key()), selector)


def test_without_cryptography_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.exceptions", None)
    assert "pip install 'smtpx[dkim]'" in refused(pem(rsa_key()))
