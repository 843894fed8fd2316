"""Relay: TLS where it can be had, and where it must."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from smtpx import Outcome, Relay, Timeouts
from smtpx.route import parse_route

from tests.clients import LARGE
from tests.names import Names
from tests.peer import PATIENCE
from tests.recorder import JOE, PASSWORD
from tests.relaying import DEAD, Hosts, mail, to_one
from tests.scripted import broken_tls, close, reset, say, start_tls, take, then
from tests.sessions import greeting, polite, upgrade

if TYPE_CHECKING:
    from tests.client import Run
    from tests.conftest import Scripted
    from tests.live import Certificate, LiveServers
    from tests.scripted import Step

TAKEN = (Outcome.ACCEPTED, 250, "2.0.0")
NO_TLS = (Outcome.TEMPORARY, 451, "4.7.5")
GO = b"220 2.0.0 go\r\n"


def test_starttls_is_used_where_it_is_offered_whatever_the_certificate(
    run: Run, scripted: Scripted, certificate: Certificate
) -> None:
    hosts = Hosts(scripted, [polite("STARTTLS", starttls=upgrade(certificate.server))])

    async def main() -> None:
        async with hosts.relay() as relay:
            assert await to_one(relay) == TAKEN
            assert await to_one(relay) == TAKEN  # on the same connection

    run(main())
    received = hosts.servers[0].received[0]
    assert received.index(b"STARTTLS") < received.index(b"MAIL")
    assert received.count(b"STARTTLS") == 1


FAILURES: dict[str, Step] = {
    "refused": say(b"454 4.7.0 not now\r\n"),
    "unknown": say(b"502 5.5.1 what\r\n"),
    "closes": close(),
    "resets": reset(),
    "closes in the handshake": then(say(GO), take(10), close()),
    "speaks no TLS": then(say(GO), take(10), say(b"what is this?\r\n"), close()),
}


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
def test_where_tls_fails_it_goes_in_clear_text_on_a_new_connection(
    run: Run, scripted: Scripted, failure: Step
) -> None:
    hosts = Hosts(scripted, [polite("STARTTLS", starttls=failure), polite("STARTTLS")], [])

    async def main() -> None:
        async with hosts.relay() as relay:
            assert await to_one(relay) == TAKEN

    run(main())
    assert b"MAIL" not in hosts.servers[0].received[0]
    assert b"STARTTLS" not in hosts.servers[0].received[1]


def test_h82_octets_behind_the_220_are_no_reason_for_clear_text(
    run: Run, scripted: Scripted, certificate: Certificate
) -> None:
    injected = say(GO + b"250 2.1.0 injected\r\n")
    hosts = Hosts(scripted, [polite("STARTTLS", starttls=injected)])

    async def main() -> None:
        async with hosts.relay() as relay:
            assert await to_one(relay) == NO_TLS

    run(main())
    assert b"MAIL" not in hosts.servers[0].received[0]


def test_a_host_that_refuses_hello_in_tls_is_left_for_the_next(
    run: Run, scripted: Scripted, certificate: Certificate
) -> None:
    # It was heard in TLS, so nothing is said in clear text.
    ehlos = [greeting("STARTTLS"), b"450 4.7.1 not you\r\n"]
    first = polite("STARTTLS", starttls=upgrade(certificate.server), ehlo=ehlos)
    hosts = Hosts(scripted, [first], [polite()])

    async def main() -> None:
        async with hosts.relay() as relay:
            assert await to_one(relay) == TAKEN

    run(main())
    assert b"MAIL" not in hosts.servers[0].received[0]


@pytest.mark.parametrize("end", [close(), reset()], ids=["close", "reset"])
def test_h82_tls_that_breaks_off_within_the_message_is_tried_again(
    run: Run, scripted: Scripted, certificate: Certificate, end: Step
) -> None:
    cut = then(say(b"354 go\r\n"), take(1000), end)
    hosts = Hosts(scripted, [polite("STARTTLS", starttls=upgrade(certificate.server), data=cut)])

    async def main() -> None:
        async with hosts.relay() as relay:
            assert await to_one(relay, mail(data=LARGE)) == (Outcome.TEMPORARY, 451, "4.4.2")

    run(main())


STRIPPED: dict[str, tuple[list[str], Step | None]] = {
    "absent": ([], None),
    "refused": (["STARTTLS"], say(b"454 4.7.0 not now\r\n")),
    "injected": (["STARTTLS"], say(GO + b"250 injected\r\n")),
    "closes": (["STARTTLS"], then(say(GO), take(10), close())),
}


@pytest.mark.parametrize(("keywords", "answer"), STRIPPED.values(), ids=STRIPPED)
def test_h82_a_route_that_asks_for_starttls_has_neither_login_nor_mail_in_clear_text(
    run: Run, scripted: Scripted, keywords: list[str], answer: Step | None
) -> None:
    answers = {} if answer is None else {"starttls": answer}
    server = scripted(polite("AUTH PLAIN", *keywords, **answers))
    url = f"smtp+starttls://joe:secret@127.0.0.1:{server.port}"

    async def main() -> None:
        async with Relay("mail.example.com", resolver=Names(), smart_host=url) as relay:
            assert (await to_one(relay))[0] is Outcome.TEMPORARY

    run(main())
    assert b"AUTH" not in server.received[0]
    assert b"MAIL" not in server.received[0]


@pytest.mark.parametrize("keywords", [[], ["STARTTLS"]], ids=["absent", "not trusted"])
def test_with_verify_no_mail_goes_without_a_certificate_for_the_host(
    run: Run, scripted: Scripted, certificate: Certificate, keywords: list[str]
) -> None:
    answers = {"starttls": then(say(GO), broken_tls(certificate.server))} if keywords else {}
    hosts = Hosts(scripted, [polite(*keywords, **answers)])

    async def main() -> None:
        async with hosts.relay(tls="verify", context=certificate.client) as relay:
            assert await to_one(relay) == NO_TLS

    run(main())
    assert b"MAIL" not in hosts.servers[0].received[0]


def test_with_verify_the_certificate_is_asked_for_the_name_of_the_host(
    run: Run, scripted: Scripted, certificate: Certificate
) -> None:
    hosts = Hosts(scripted, [polite("STARTTLS", starttls=upgrade(certificate.server))])
    hosts.names = Names(mx={"example.org": [(1, "localhost")]}, addresses={"localhost": ["127.0.0.1"]})

    async def main() -> None:
        async with hosts.relay(tls="verify", context=certificate.client) as relay:
            assert await to_one(relay) == TAKEN

    run(main())


def test_with_verify_a_smart_host_of_smtp_is_verified_too(
    run: Run, scripted: Scripted, certificate: Certificate
) -> None:
    server = scripted(polite("STARTTLS", starttls=then(say(GO), broken_tls(certificate.server))))

    async def main() -> None:
        relay = Relay("mail.example.com", resolver=Names(), smart_host=server.url(), tls="verify")
        async with relay:
            assert await to_one(relay) == NO_TLS

    run(main())


def test_tls_from_the_start_with_a_login(
    run: Run, live_server: LiveServers, certificate: Certificate
) -> None:
    live = live_server(service="submissions")
    user = JOE.replace("@", "%40")
    names = Names(addresses={"localhost": [DEAD, "127.0.0.1"]})

    async def main() -> None:
        relay = Relay(
            "mail.example.com",
            resolver=names,
            smart_host=f"smtps://{user}:{PASSWORD}@localhost:{live.address[1]}",
            context=certificate.client,
            timeouts=Timeouts.of(PATIENCE),
        )
        async with relay:
            assert (await to_one(relay))[0] is Outcome.ACCEPTED

    run(main())
    assert len(live.recorder.messages) == 1


def test_a_handshake_from_the_start_that_fails_is_tried_again(
    run: Run, scripted: Scripted, certificate: Certificate
) -> None:
    server = scripted([broken_tls(certificate.server)])

    async def main() -> None:
        async with Relay("mail.example.com", resolver=Names(), smart_host=server.url("smtps")) as relay:
            assert await to_one(relay) == NO_TLS

    run(main())


def test_a_login_is_made_within_tls(run: Run, scripted: Scripted, certificate: Certificate) -> None:
    server = scripted(polite("STARTTLS", "AUTH PLAIN", starttls=then(say(GO), start_tls(certificate.server))))
    names = Names(addresses={"localhost": ["127.0.0.1"]})
    url = f"smtp+starttls://joe:secret@localhost:{server.port}"

    async def main() -> None:
        async with Relay(
            "mail.example.com", resolver=names, smart_host=url, context=certificate.client
        ) as relay:
            assert await to_one(relay) == TAKEN

    run(main())
    assert server.received[0].index(b"STARTTLS") < server.received[0].index(b"AUTH PLAIN")


def test_a_login_that_cannot_be_made_of_the_password_is_told_as_one_that_was_refused(
    run: Run, scripted: Scripted, certificate: Certificate, caplog: pytest.LogCaptureFixture
) -> None:
    server = scripted(polite("STARTTLS", "AUTH PLAIN", starttls=then(say(GO), start_tls(certificate.server))))
    names = Names(addresses={"localhost": ["127.0.0.1"]})
    route = parse_route(f"smtp+starttls://localhost:{server.port}", "joe", "sec\0ret")

    async def main() -> None:
        async with Relay(
            "mail.example.com", resolver=names, smart_host=route, context=certificate.client
        ) as relay:
            assert await to_one(relay) == (Outcome.TEMPORARY, 451, "4.7.8")

    run(main())
    assert "a password has no NUL" in caplog.text
    assert "Traceback" not in caplog.text
