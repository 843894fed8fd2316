"""The configuration of the relay: what it means, and how each fault is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from smtpx.config import Config, load
from smtpx.errors import ConfigurationError
from smtpx.relay_config import RelayConfig, RouteConfig

from tests.config_files import faults, read

if TYPE_CHECKING:
    from pathlib import Path

TOP = 'hostname = "mail.example.org"\n'


def test_without_it_mail_goes_by_mx(file: Path) -> None:
    assert read(file, TOP).relay == RelayConfig()


def test_a_whole_relay(file: Path) -> None:
    config = read(
        file,
        TOP
        + """
[relay]
tls = "verify"
concurrency = 5
addresses = ["192.0.2.1", "2001:db8::1"]
[relay.smart_host]
url = "smtps://smtp.example.net"
username = "joe"
password_file = "password"
[relay.routes]
"example.com" = { url = "smtp://192.0.2.25" }
".example.com" = { url = "smtps://joe:secret@mx.example.com" }
""",
    )
    assert config.relay == RelayConfig(
        smart_host=RouteConfig("smtps://smtp.example.net", "joe", file.parent / "password"),
        routes={
            "example.com": RouteConfig("smtp://192.0.2.25"),
            ".example.com": RouteConfig("smtps://joe:secret@mx.example.com"),
        },
        tls="verify",
        concurrency=5,
        addresses=("192.0.2.1", "2001:db8::1"),
    )


def test_a_route_has_the_password_of_its_file(file: Path) -> None:
    password = file.parent / "password"
    password.write_text("secret\n", encoding="utf-8")
    password.chmod(0o600)
    target = RouteConfig("smtps://smtp.example.net", "joe", password).target()
    assert (target.username, target.password) == ("joe", "secret")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[relay]\nconcurrency = 0", "line 3: 'concurrency' must be 1 or more"),
        ('[relay]\naddresses = ["192.0.2.1", "mx"]', "line 3: 'mx' is no address"),
        ('[relay]\ntls = "none"', "line 3: 'tls' must be one of 'opportunistic', 'verify'"),
        ("[relay.smart_host]", "line 2: 'url' is missing: write url = \"smtp+starttls://"),
        ('[relay.smart_host]\nurl = "lmtp://x:24"', "line 3: 'url': the URL is one of LMTP"),
        ('[relay.smart_host]\nurl = "smtps://x"\nusername = "joe"', "line 3: 'url': to log in takes"),
        (
            '[relay.smart_host]\nurl = "smtp://x"\nusername = "joe"\npassword_file = "p"',
            "line 3: 'url': smtp:// may go without TLS",
        ),
        ('[relay.routes."a b"]\nurl = "smtp://x"', "line 2: 'a b' is not a domain name"),
        ('[relay.routes."."]\nurl = "smtp://x"', "line 2: '' is not a domain name"),
        ('[relay.routes."example.net"]\nurl = "http://x"', "line 3: 'url': the URL has another scheme"),
        ('[relay.routes."Mail.example.org"]\nurl = "smtp://x"', "line 2: 'Mail.example.org' is taken here"),
        (
            '[relay.routes]\n"a.org" = { url = "smtp://x" }\n"A.org" = { url = "smtp://y" }',
            "line 4: 'A.org' is here twice",
        ),
    ],
)
def test_a_fault_of_the_relay_has_the_line_of_its_key(file: Path, text: str, told: str) -> None:
    (line,) = faults(file, TOP + text)
    assert line.startswith(told)


def test_a_password_file_is_looked_at_with_the_other_files(file: Path) -> None:
    (file.parent / "accounts.toml").touch()
    text = TOP + 'spool = "."\naccounts = "accounts.toml"\n[relay.smart_host]\n'
    text += 'url = "smtps://x"\nusername = "joe"\npassword_file = "password"\n'
    (line,) = faults(file, text, files=True)
    assert line.startswith("line 7: 'password_file': ")
    password = file.parent / "password"
    password.write_text("secret\n", encoding="utf-8")
    password.chmod(0o644)
    (line,) = faults(file, text, files=True)
    assert "chmod 600" in line
    password.chmod(0o600)
    file.write_text(text, encoding="utf-8")
    assert isinstance(load(file), Config)


def test_a_password_is_in_no_message(file: Path) -> None:
    file.write_text(TOP + '[relay.smart_host]\nurl = "smtp://joe:hush@x"', encoding="utf-8")
    with pytest.raises(ConfigurationError) as failed:
        load(file, files=False)
    assert "hush" not in str(failed.value)
