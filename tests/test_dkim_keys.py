"""``smtpx dkim``, and the keys that a configuration names."""

from __future__ import annotations

import os
import re
import stat
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from smtpx.config import load
from smtpx.dkim import Signer
from smtpx.domain_config import DKIMConfig
from smtpx.environment import DKIMOptions
from smtpx.errors import ConfigurationError
from smtpx.site import build_environment, read_keys

from tests.served import smtpx
from tests.signing import opendkim_verifies, pem, rsa_key

if TYPE_CHECKING:
    from pathlib import Path

MESSAGE = b"From: joe@example.org\r\nDate: Mon, 4 May 2026 12:30:00 +0000\r\n\r\nhi\r\n"


def strings(zone: str) -> list[str]:
    return re.findall(r'"([^"]*)"', re.search(r"IN TXT \((.*?)\)", zone, re.DOTALL)[1])  # type: ignore[index]


# The command


@pytest.mark.parametrize("algorithm", ["rsa", "ed25519"])
def test_what_a_new_key_signs_verifies_by_the_record_that_was_shown(tmp_path: Path, algorithm: str) -> None:
    shown = smtpx("dkim", "new", "example.org", "--algorithm", algorithm, cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert "\ns1._domainkey.example.org. IN TXT ( " in shown.stdout
    key = (tmp_path / "example.org.s1.pem").read_bytes()
    data = Signer(DKIMOptions("s1", key), "example.org").sign(MESSAGE) + MESSAGE
    assert opendkim_verifies(data, "".join(strings(shown.stdout)), tmp_path)


def test_a_new_rsa_key_has_2048_bits_and_its_record_strings_of_255_octets(tmp_path: Path) -> None:
    shown = smtpx("dkim", "new", "example.org", "--key", tmp_path / "k.pem").stdout
    key = load_pem_private_key((tmp_path / "k.pem").read_bytes(), None)
    assert getattr(key, "key_size", None) == 2048
    assert [len(string) for string in strings(shown)] == [255, 155]


def test_what_is_shown_configures_the_server(tmp_path: Path) -> None:
    shown = smtpx("dkim", "new", "bücher.example", "--selector", "s2", cwd=tmp_path).stdout
    assert "s2._domainkey.xn--bcher-kva.example. IN TXT" in shown
    config = tmp_path / "smtpx.toml"
    config.write_text('hostname = "mail.example.org"\n' + shown[shown.index("[domains") :], encoding="utf-8")
    (options,) = read_keys(load(config, files=False)).values()
    assert options == DKIMOptions("s2", (tmp_path / "bücher.example.s2.pem").read_bytes())


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_a_new_key_is_for_its_owner_alone(tmp_path: Path) -> None:
    smtpx("dkim", "new", "example.org", cwd=tmp_path)
    assert stat.S_IMODE((tmp_path / "example.org.s1.pem").stat().st_mode) == 0o600


def test_an_old_key_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "k.pem").write_text("old")
    refused = smtpx("dkim", "new", "example.org", "--key", tmp_path / "k.pem")
    assert refused.returncode == 1
    assert "exists, and no key is overwritten" in refused.stderr
    assert (tmp_path / "k.pem").read_text() == "old"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("a b",), "is no address"),
        (("example.org", "--selector", "../s"), "is no part of a domain name"),
        (("example.org", "--key", "missing/k.pem"), "give a --key that can be written"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_written(
    tmp_path: Path, arguments: tuple[str, ...], told: str
) -> None:
    refused = smtpx("dkim", "new", *arguments, cwd=tmp_path)
    assert refused.returncode == 1
    assert told in refused.stderr
    assert list(tmp_path.iterdir()) == []


# The configuration


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "accounts.toml").touch()
    config = tmp_path / "smtpx.toml"
    config.write_text(
        'hostname = "mail.example.org"\nspool = "."\naccounts = "accounts.toml"\n[domains."example.org"]\n'
        'dkim = { selector = "s1", key = "k.pem" }\n'
        '[domains."Mail.example.org".dkim]\nselector = "s2"\nkey = "k.pem"\n',
        encoding="utf-8",
    )
    return config


def test_each_domain_has_its_key(config: Path, tmp_path: Path) -> None:
    (tmp_path / "k.pem").write_bytes(pem(rsa_key()))
    settings = load(config)
    assert settings.domains["example.org"].dkim == DKIMConfig("s1", tmp_path / "k.pem")
    environment = build_environment(settings, read_keys(settings))
    assert [domain.dkim for domain in environment.domains] == [
        DKIMOptions("s2", pem(rsa_key())),
        DKIMOptions("s1", pem(rsa_key())),
    ]


@pytest.mark.parametrize(
    ("key", "told"),
    [
        (
            None,
            "k.pem: No such file or directory: make one with smtpx dkim new example.org, or let the server",
        ),
        (b"no key", "the DKIM key of example.org is no private key in PEM"),
    ],
)
def test_a_key_that_cannot_be_used_is_told_with_its_line(
    config: Path, tmp_path: Path, key: bytes | None, told: str
) -> None:
    if key is not None:
        (tmp_path / "k.pem").write_bytes(key)
    with pytest.raises(ConfigurationError) as raised:
        load(config)
    first, second = str(raised.value).splitlines()
    assert first.startswith(f"{config}: line 5: ")
    assert told in first
    assert second.startswith(f"{config}: line 6: ")
