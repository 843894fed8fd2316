"""Relay, with real servers as the next host: smtpx's own, found by a real DNS, and Debian's postfix."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest
from smtpx import LocalHandler, LocalStorage, Outcome, Relay, Response, Timeouts
from smtpx.resolver import DNSResolver

from tests.clients import LARGE
from tests.name_server import NameServer, alias
from tests.names import Names
from tests.peer import PATIENCE
from tests.postfix import PASSWORD, USER
from tests.recorder import Policy, Recorder
from tests.relaying import deliveries, delivering, mail, outcome, to_one

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import Any

    from smtpx import MailTx, RecipientResult

    from tests.client import Run
    from tests.live import LiveServers
    from tests.postfix import Postfix

JOE, ANN = "joe@example.org", "ann@example.org"
UTF8 = "jörg@bücher.example"
EIGHT_BIT = b"Subject: x\r\n\r\n" + bytes(range(0x80, 0x100)) + b"\r\n"


# smtpx


def test_by_dns_to_a_server_of_ours(run: Run, live_server: LiveServers) -> None:
    live = live_server(Recorder(Policy(rcpt={ANN: Response(550, "5.1.1 nobody")}), dsn=True))
    message = mail(JOE, ANN, data=LARGE, RET="HDRS", ENVID="x+2By")
    message.rcpt_params = [{"NOTIFY": "SUCCESS", "ORCPT": "rfc822;joe@example.org"}, {}]

    async def main() -> None:
        with NameServer() as names:
            names.answers["example.org", "MX"] = ["20 mx2.example.net.", "10 mx1.example.net."]
            names.answers["mx1.example.net", "A"] = ["127.0.0.99"]  # nobody
            names.answers["mx2.example.net", "A"] = alias("host.example.net", "127.0.0.1")
            relay = Relay(
                "mail.example.com",
                resolver=DNSResolver(["127.0.0.1"], port=names.port),
                port=live.address[1],
                loopback=True,
                timeouts=Timeouts.of(PATIENCE),
            )
            async with relay:
                results = await delivering(relay, message)
        assert results[JOE].outcome is Outcome.ACCEPTED
        assert results[JOE].reports
        assert results[JOE].remote == "mx2.example.net"
        assert outcome(results[ANN]) == (Outcome.PERMANENT, 550, "5.1.1")

    run(main())
    [message_there] = live.recorder.messages
    assert message_there.data == LARGE
    assert message_there.params["RET"] == "HDRS"
    assert message_there.params["ENVID"] == "x+2By"
    assert message_there.rcpt_params == [message.rcpt_params[0]]


def test_h70_a_server_that_does_not_relay_for_us_refuses_for_good(
    run: Run, live_server: LiveServers, tmp_path: Path
) -> None:
    handler = LocalHandler(live_server.environment, storage=LocalStorage(tmp_path))
    live = live_server(handler)

    async def main() -> None:
        relay = Relay("mail.example.com", resolver=Names(), smart_host=f"smtp://127.0.0.1:{live.address[1]}")
        async with relay:
            results = await delivering(relay, mail("far@elsewhere.example"))
            assert outcome(results["far@elsewhere.example"]) == (Outcome.PERMANENT, 550, "5.7.1")

    run(main())


# Postfix


def to_postfix(postfix: Postfix, **options: Any) -> Relay:
    """Return a relay whose every domain has postfix for its mail server."""

    class Everywhere(Names):
        async def mx(self, domain: str) -> list[tuple[int, str]]:
            return [(10, "localhost")]

    names = Everywhere(addresses={"localhost": ["127.0.0.1"]})
    given: dict[str, Any] = {"timeouts": Timeouts.of(PATIENCE), "random": Random(1)} | options
    return Relay("mail.example.com", resolver=names, port=postfix.smtp, loopback=True, **given)


def relayed(run: Run, relay: Relay, message: MailTx) -> Mapping[str, RecipientResult]:
    found: dict[str, RecipientResult] = {}

    async def main() -> None:
        async with relay:
            found.update(await relay.deliver(message, deliveries(message)))

    run(main())
    return found


@pytest.mark.parametrize("tls", ["opportunistic", "verify"])
def test_postfix_takes_a_message_in_tls(run: Run, postfix: Postfix, tls: str) -> None:
    relay = to_postfix(postfix, tls=tls, context=postfix.certificate.client)
    results = relayed(run, relay, mail(JOE, data=LARGE))
    assert results[JOE].outcome is Outcome.ACCEPTED
    assert results[JOE].reports
    assert results[JOE].remote == "localhost"
    delivered = postfix.take(JOE)
    assert delivered.content == LARGE
    assert delivered.added.startswith(b"Return-Path: <ann@example.com>\n")


def test_postfix_answers_for_each_recipient(run: Run, postfix: Postfix) -> None:
    busy, nobody = "busy@example.org", "nobody@example.org"
    results = relayed(run, to_postfix(postfix), mail(busy, JOE, nobody))
    assert outcome(results[busy]) == (Outcome.TEMPORARY, 450, "4.2.1")
    assert outcome(results[JOE]) == (Outcome.ACCEPTED, 250, "2.0.0")
    assert outcome(results[nobody]) == (Outcome.PERMANENT, 550, "5.1.1")
    assert not results[nobody].reports
    postfix.take(JOE)


def test_postfix_takes_eight_bits_and_utf_8(run: Run, postfix: Postfix) -> None:
    message = mail(JOE, data=EIGHT_BIT, BODY="8BITMIME")
    assert relayed(run, to_postfix(postfix), message)[JOE].outcome is Outcome.ACCEPTED
    assert postfix.take(JOE).content == EIGHT_BIT
    header = "Subject: grüße\r\n\r\nhi\r\n".encode()
    message = mail(UTF8, data=header, sender="ärger@bücher.example", SMTPUTF8="")
    assert relayed(run, to_postfix(postfix), message)[UTF8].outcome is Outcome.ACCEPTED
    assert postfix.take(UTF8).content == header


def test_postfix_as_a_smart_host_with_a_login(run: Run, postfix: Postfix) -> None:
    user, password = USER.replace("@", "%40"), PASSWORD.replace(" ", "%20")
    relay = to_postfix(
        postfix,
        smart_host=f"smtp+starttls://{user}:{password}@localhost:{postfix.submission}",
        context=postfix.certificate.client,
    )
    assert relayed(run, relay, mail(JOE))[JOE].outcome is Outcome.ACCEPTED
    postfix.take(JOE)


def test_postfix_refuses_a_login_and_no_mail_is_given_up(run: Run, postfix: Postfix) -> None:
    relay = to_postfix(
        postfix,
        smart_host=f"smtps://joe:wrong@localhost:{postfix.submissions}",
        context=postfix.certificate.client,
    )
    assert outcome(relayed(run, relay, mail(JOE))[JOE]) == (Outcome.TEMPORARY, 451, "4.7.8")


def test_postfix_takes_many_on_few_connections(run: Run, postfix: Postfix) -> None:
    async def main() -> None:
        async with to_postfix(postfix) as relay:
            for _ in range(10):
                assert (await to_one(relay, mail(JOE)))[0] is Outcome.ACCEPTED

    before = postfix.log().count(": connect from ")
    run(main())
    assert postfix.log().count(": connect from ") - before == 1
    for _ in range(10):
        postfix.take(JOE)
