"""The server's TLS context."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import pytest
import smtpx
from smtpx.certificate import make_certificate
from smtpx.tls import server_context, usable

if TYPE_CHECKING:
    from pathlib import Path

    from tests.live import Certificate


def test_context_of_a_certificate_is_usable_and_speaks_no_old_tls(certificate: Certificate) -> None:
    context = server_context(certificate.path, certificate.key)
    assert usable(context)
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2


def test_context_without_a_certificate_is_not_usable() -> None:
    assert not usable(ssl.create_default_context(ssl.Purpose.CLIENT_AUTH))


def test_context_that_asks_clients_for_certificates_is_usable(certificate: Certificate) -> None:
    context = server_context(certificate.path, certificate.key)
    context.load_verify_locations(certificate.path)
    context.verify_mode = ssl.CERT_REQUIRED
    assert usable(context)


def test_key_of_another_certificate_is_an_error_that_names_both_files(
    certificate: Certificate, tmp_path: Path
) -> None:
    path, key = tmp_path / "other.pem", tmp_path / "other.key"
    make_certificate(path, key)
    with pytest.raises(smtpx.ConfigurationError, match=f"{certificate.path} with key {key}"):
        server_context(certificate.path, key)


def test_file_that_is_missing_is_an_error_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(smtpx.ConfigurationError, match="No such file"):
        server_context(tmp_path / "none.pem")


def test_file_that_may_not_be_read_is_told_with_the_mend(
    certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", denied)
    with pytest.raises(smtpx.ConfigurationError, match="Permission denied; let this user read them"):
        server_context(certificate.path, certificate.key)
