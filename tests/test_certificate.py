"""The certificate that the demo and tests make: a client can verify it, and nobody else can read its key."""

from __future__ import annotations

import ssl
import sys
from typing import TYPE_CHECKING

import pytest
from smtpx.certificate import make_certificate

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    pair = tmp_path / "certificate.pem", tmp_path / "key.pem"
    make_certificate(*pair)
    return pair


def handshake(pair: tuple[Path, Path], name: str) -> str | None:
    """Shake hands in memory, as a client that trusts the certificate alone and checks the name."""
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(*pair)
    client_context = ssl.create_default_context(cafile=pair[0])
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(to_client, to_server, server_hostname=name)
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    waiting = [client, server]
    while waiting:
        side = waiting.pop(0)
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            waiting.append(side)
    return client.version()


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "::1"])
def test_a_strict_client_verifies_each_name_of_this_machine(pair: tuple[Path, Path], name: str) -> None:
    assert handshake(pair, name) == "TLSv1.3"


def test_it_is_not_good_for_another_name(pair: tuple[Path, Path]) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        handshake(pair, "example.org")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no file modes")
def test_the_files_are_for_their_owner_alone_even_where_others_could_read_the_old_ones(
    tmp_path: Path,
) -> None:
    pair = tmp_path / "certificate.pem", tmp_path / "key.pem"
    for path in pair:
        path.touch(0o644)
    make_certificate(*pair)
    assert [path.stat().st_mode & 0o777 for path in pair] == [0o600, 0o600]


def test_each_one_made_is_new(tmp_path: Path) -> None:
    pairs = [(tmp_path / f"{number}.pem", tmp_path / f"{number}.key") for number in range(2)]
    for pair in pairs:
        make_certificate(*pair)
    assert pairs[0][0].read_bytes() != pairs[1][0].read_bytes()
    assert pairs[0][1].read_bytes() != pairs[1][1].read_bytes()
