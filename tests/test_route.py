"""Routes: which host takes the mail of a domain, and as whom the relay logs in there."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

import pytest
from smtpx import ConfigurationError, Outcome, Relay
from smtpx.route import Routes, parse_route, read_password

from tests.names import FAILS, Names
from tests.relaying import Hosts, mail, outcome, to_one
from tests.relaying import delivering as deliver
from tests.scripted import say as says
from tests.scripted import start_tls, then
from tests.sessions import polite

if TYPE_CHECKING:
    from pathlib import Path

    from tests.client import Run
    from tests.conftest import Scripted
    from tests.live import Certificate

TEMPORARY = Outcome.TEMPORARY


# URLs


@pytest.mark.parametrize(
    ("url", "username", "password"),
    [
        ("smtps://joe:secret@mx.example", None, None),
        ("smtps://mx.example", "joe", "secret"),
        ("smtps://joe@mx.example", None, "secret"),
    ],
)
def test_the_login_is_in_the_url_or_beside_it(url: str, username: str | None, password: str | None) -> None:
    target = parse_route(url, username, password)
    assert (target.host, target.port, target.username, target.password) == (
        "mx.example",
        465,
        "joe",
        "secret",
    )


@pytest.mark.parametrize(
    ("url", "username", "password", "mend"),
    [
        ("lmtp://mx.example:24", None, None, "write smtp://"),
        ("http://mx.example", None, None, "another scheme"),
        ("smtps://joe@mx.example", None, None, "takes a username and a password"),
        ("smtps://mx.example", None, "secret", "takes a username and a password"),
        ("smtps://joe:secret@mx.example", "ann", None, "username already"),
        ("smtps://joe:secret@mx.example", None, "other", "password already"),
        ("smtp://joe:secret@mx.example", None, None, r"write smtp\+starttls://"),
    ],
)
def test_a_route_that_cannot_work_is_told_the_mend(
    url: str, username: str | None, password: str | None, mend: str
) -> None:
    with pytest.raises(ConfigurationError, match=mend) as failed:
        parse_route(url, username, password)
    assert "secret" not in str(failed.value)


# Password files


def test_the_password_is_the_first_line_of_its_file(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text("correct horse \nand more\n", encoding="utf-8")
    path.chmod(0o600)
    assert read_password(path) == "correct horse "


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such modes")
def test_a_password_that_others_can_read_is_not_taken(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text("secret\n", encoding="utf-8")
    path.chmod(0o604)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        read_password(path)


@pytest.mark.parametrize("octets", [b"", b"\nsecret\n", b"\xff\n", b"s\0e\0c\0\n"])
def test_a_password_file_without_one_is_told(tmp_path: Path, octets: bytes) -> None:
    path = tmp_path / "password"
    path.write_bytes(octets)
    path.chmod(0o600)
    with pytest.raises(ConfigurationError, match="password"):
        read_password(path)


def test_a_password_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file"):
        read_password(tmp_path / "password")


# The table


def test_the_most_exact_name_holds() -> None:
    hosts = {name: parse_route(f"smtp://{name}.hosts.example") for name in ("a", "b", "c", "d")}
    routes = Routes(
        {"example.org": hosts["a"], ".example.org": hosts["b"], ".sub.Example.ORG": hosts["c"]}, hosts["d"]
    )
    found = {
        domain: routes.of(domain)
        for domain in ("example.org", "x.example.org", "y.sub.example.org", "sub.example.org", "other.org")
    }
    assert list(found.values()) == [hosts["a"], hosts["b"], hosts["c"], hosts["b"], hosts["d"]]
    assert Routes({"example.org": hosts["a"]}).of("x.example.org") is None
    assert Routes({".example.org": hosts["a"]}).of("example.org") is None
    assert Routes({".": hosts["a"]}).of("") is None


def test_a_route_is_of_a_domain_in_any_spelling() -> None:
    host = parse_route("smtp://hosts.example")
    assert Routes({"Bücher.example": host}).of("xn--bcher-kva.example") is host


# With the relay


def test_a_route_and_the_smart_host_take_what_has_none_by_mx(run: Run, scripted: Scripted) -> None:
    route, smart = scripted(polite()), scripted(polite())
    relay = Relay(
        "mail.example.com",
        resolver=Names(),
        routes={".example.org": route.url()},
        smart_host=smart.url(),
    )

    async def main() -> None:
        async with relay:
            await deliver(relay, mail("joe@sub.example.org"))
            await deliver(relay, mail("joe@example.org"))

    run(main())
    assert b"<joe@sub.example.org>" in route.received[0]
    assert b"<joe@example.org>" in smart.received[0]


def test_a_route_uses_the_addresses_of_its_host_and_no_mx(run: Run, scripted: Scripted) -> None:
    hosts = Hosts(scripted, [polite()])
    hosts.names = Names(mx={"relay.example": [(1, "wrong")]}, addresses={"relay.example": ["127.0.0.1"]})
    # Where it leads is the operator's choice: loopback is as good as any.
    relay = Relay("mail.example.com", resolver=hosts.names, smart_host=f"smtp://relay.example:{hosts.port}")

    async def main() -> None:
        async with relay:
            assert (await to_one(relay))[0] is Outcome.ACCEPTED

    run(main())
    assert hosts.names.asked == ["relay.example"]


@pytest.mark.parametrize(("addresses", "enhanced"), [([], "4.4.4"), (FAILS, "4.4.3")])
async def test_a_route_that_leads_nowhere_gives_no_mail_up(addresses: list[str], enhanced: str) -> None:
    names = Names(addresses={"relay.example": addresses})
    async with Relay("mail.example.com", resolver=names, smart_host="smtp://relay.example") as relay:
        assert await to_one(relay) == (TEMPORARY, 451, enhanced)


def test_localhost_is_a_route_whatever_the_dns_knows(run: Run, scripted: Scripted) -> None:
    server = scripted(polite())
    names = Names()
    relay = Relay("mail.example.com", resolver=names, smart_host=f"smtp://localhost:{server.port}")

    async def main() -> None:
        async with relay:
            assert (await to_one(relay))[0] is Outcome.ACCEPTED

    run(main())
    assert names.asked == []


REFUSALS = {
    "password": [b"535 5.7.8 no\r\n"],
    "for now": [b"454 4.7.0 later\r\n"],
    "another reason": [b"534 5.7.9 too weak\r\n"],
}


@pytest.mark.parametrize("answers", REFUSALS.values(), ids=REFUSALS)
def test_a_login_that_is_refused_gives_no_mail_up_and_is_an_error_in_the_log(
    run: Run,
    scripted: Scripted,
    certificate: Certificate,
    caplog: pytest.LogCaptureFixture,
    answers: list[bytes],
) -> None:
    server = scripted(
        polite(
            "STARTTLS",
            "AUTH PLAIN",
            starttls=then(says(b"220 go\r\n"), start_tls(certificate.server)),
            auth=answers,
        )
    )
    caplog.set_level(logging.INFO, "smtpx.relay")
    relay = Relay(
        "mail.example.com",
        # The second address, ::1, is not asked: the account would soon be locked.
        resolver=Names(),
        smart_host=f"smtp+starttls://joe:secret@localhost:{server.port}",
        context=certificate.client,
    )

    async def main() -> None:
        async with relay:
            [result] = (await deliver(relay, mail())).values()
            assert outcome(result) == (TEMPORARY, 451, "4.7.8")

    run(main())
    [record] = caplog.records
    assert record.levelno == logging.ERROR
    assert "secret" not in record.getMessage()
    assert f"smtp+starttls://joe@localhost:{server.port}" in record.getMessage()


def test_a_host_without_the_login_gives_no_mail_up(
    run: Run, scripted: Scripted, certificate: Certificate, caplog: pytest.LogCaptureFixture
) -> None:
    server = scripted(polite("STARTTLS", starttls=then(says(b"220 go\r\n"), start_tls(certificate.server))))
    relay = Relay(
        "mail.example.com",
        resolver=Names(),
        smart_host=f"smtp+starttls://joe:secret@localhost:{server.port}",
        context=certificate.client,
    )

    async def main() -> None:
        async with relay:
            assert await to_one(relay) == (TEMPORARY, 451, "4.7.8")

    run(main())
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
