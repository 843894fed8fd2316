"""LocalTransport, LMTPTransport and HandlerTransport: what each recipient is told."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

import pytest
from smtpx._core import Response
from smtpx.environment import Account, Domain, Environment
from smtpx.errors import ConfigurationError
from smtpx.local_delivery import HandlerTransport, LMTPTransport, LocalTransport

from tests.maildirs import CONTENT, JOE, deliveries, files, message, told
from tests.scripted import close, say, then
from tests.sessions import greeting, polite

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from smtpx.mail import MailTx

    from tests.conftest import Scripted

ANN = "ann@example.org"
GONE = "permanent 550 5.1.1"


@pytest.fixture
def environment() -> Environment:
    domain, other = Domain("example.org"), Domain("bücher.example")
    for local in ("joe", "ann"):
        domain.add(Account("", local, "example.org"))
    other.add(Account("", "joe", "bücher.example"))
    return Environment(domain, {other.name: other})


# LMTP


async def lmtp(server_url: str, mail: MailTx) -> dict[str, str]:
    transport = LMTPTransport(server_url)
    try:
        return told(await transport.deliver(mail, deliveries(mail)))
    finally:
        await transport.close()


async def test_each_recipient_has_the_answer_that_the_lmtp_server_gave(scripted: Scripted) -> None:
    server = scripted(polite("PIPELINING", done=b"250 2.0.0 one\r\n452 4.2.2 full\r\n"))
    mail = message(JOE, ANN)
    assert await lmtp(server.url("lmtp"), mail) == {JOE: "accepted 250 2.0.0", ANN: "temporary 452 4.2.2"}


async def test_a_recipient_that_it_refuses_leaves_the_others_alone(scripted: Scripted) -> None:
    server = scripted(
        polite("PIPELINING", rcpt=[b"550 5.1.1 no\r\n", b"250 2.1.5 ok\r\n"], done=b"250 2.0.0 one\r\n")
    )
    assert await lmtp(server.url("lmtp"), message(JOE, ANN)) == {
        JOE: "permanent 550 5.1.1",
        ANN: "accepted 250 2.0.0",
    }


async def test_when_it_refuses_all_the_answers_are_theirs(scripted: Scripted) -> None:
    server = scripted(polite("PIPELINING", rcpt=b"550 5.1.1 no\r\n"))
    assert await lmtp(server.url("lmtp"), message()) == {JOE: "permanent 550 5.1.1"}


async def test_an_lmtp_server_that_is_not_there_is_tried_later(tmp_path: Path) -> None:
    assert await lmtp(f"lmtp+unix://{tmp_path}/none", message()) == {JOE: "temporary 451 4.4.1"}


async def test_a_connection_that_breaks_between_two_answers_leaves_the_second_unknown(
    scripted: Scripted,
) -> None:
    server = scripted(polite("PIPELINING", done=then(say(b"250 2.0.0 one\r\n"), close())))
    assert await lmtp(server.url("lmtp"), message(JOE, ANN)) == {
        JOE: "accepted 250 2.0.0",
        ANN: "unknown 451 4.4.2",
    }


async def test_it_is_not_asked_for_reports_that_the_queue_makes(scripted: Scripted) -> None:
    server = scripted(polite(lhlo=greeting("PIPELINING", "DSN"), done=b"250 2.0.0 one\r\n"))
    mail = message(RET="FULL", ENVID="x", SIZE="5", SMTPUTF8="")
    mail.rcpt_params = [{"NOTIFY": "SUCCESS", "ORCPT": "rfc822;a@b.org"}]
    await lmtp(server.url("lmtp"), mail)
    (said,) = server.received
    assert b"MAIL FROM:<a@b.org>\r\nRCPT TO:<joe@example.org>\r\n" in said


async def test_the_log_says_why_an_lmtp_server_cannot_be_reached(
    tmp_path: Path, scripted: Scripted, caplog: pytest.LogCaptureFixture
) -> None:
    await lmtp(f"lmtp+unix://{tmp_path}/none", message())
    (tmp_path / "file").touch()
    await lmtp(f"lmtp+unix://{tmp_path}/file", message())
    await lmtp(scripted([say(b"554 5.3.2 closed for repairs\r\n"), close()]).url("lmtp"), message())
    missing, refused, closed = (record.getMessage() for record in caplog.records)
    assert "No such file or directory" in missing
    assert "refused" in refused
    assert "closed for repairs" in closed


async def test_an_internationalised_address_that_the_lmtp_server_cannot_take_goes_back(
    scripted: Scripted,
) -> None:
    mail = message("jörg@example.org")
    assert await lmtp(scripted(polite()).url("lmtp"), mail) == {"jörg@example.org": "permanent 553 5.6.7"}


async def test_a_message_that_is_too_large_for_the_lmtp_server_goes_back(scripted: Scripted) -> None:
    server = scripted(polite(lhlo=greeting("SIZE 10")))
    assert await lmtp(server.url("lmtp"), message()) == {JOE: "permanent 552 5.3.4"}


async def test_the_results_name_the_server(scripted: Scripted) -> None:
    server = scripted(polite("PIPELINING", done=b"250 2.0.0 one\r\n"))
    transport = LMTPTransport(server.url("lmtp"))
    mail = message()
    results = await transport.deliver(mail, deliveries(mail))
    await transport.close()
    assert results[JOE].remote == f"lmtp://127.0.0.1:{server.port}"


def test_a_url_of_smtp_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="no URL of LMTP"):
        LMTPTransport("smtp://localhost")


# Functions


async def handled(deliver: Callable[[MailTx, str], Response | None], mail: MailTx) -> dict[str, str]:
    return told(await HandlerTransport(deliver).deliver(mail, deliveries(mail)))


async def test_a_function_gets_the_message_for_each_recipient() -> None:
    got: list[tuple[str, str]] = []

    async def deliver(mail: MailTx, recipient: str) -> None:
        await asyncio.sleep(0)
        got.append((mail.id, recipient))

    mail = message(JOE, ANN)
    results = told(await HandlerTransport(deliver).deliver(mail, deliveries(mail)))
    assert results == {JOE: "accepted 250 2.0.0", ANN: "accepted 250 2.0.0"}
    assert got == [("id-1", JOE), ("id-1", ANN)]


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (None, "accepted 250 2.0.0"),
        (Response(250, "2.1.5 filed"), "accepted 250 2.1.5"),
        (Response(450, "4.2.1 later"), "temporary 450 4.2.1"),
        (Response(550, "5.7.1 no"), "permanent 550 5.7.1"),
        (Response(354, "go on"), "temporary 451 4.3.0"),
        ("yes", "temporary 451 4.3.0"),
    ],
)
async def test_what_a_function_answers_is_the_recipients_outcome(answer: Response, outcome: str) -> None:
    assert await handled(lambda mail, recipient: answer, message()) == {JOE: outcome}


async def test_h100_what_a_function_raises_is_tried_again_and_told_to_the_log_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def deliver(mail: MailTx, recipient: str) -> None:
        if recipient == JOE:
            raise RuntimeError("secret")

    results = await HandlerTransport(deliver).deliver(message(JOE, ANN), deliveries(message(JOE, ANN)))
    assert told(results) == {JOE: "temporary 451 4.3.0", ANN: "accepted 250 2.0.0"}
    assert "secret" not in repr(results)
    assert "secret" in caplog.text


async def test_h101_a_function_that_hangs_is_ended_and_tried_again() -> None:
    ended = asyncio.Event()

    async def deliver(mail: MailTx, recipient: str) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    mail = message()
    results = await HandlerTransport(deliver, timeout=0.01).deliver(mail, deliveries(mail))
    assert told(results) == {JOE: "temporary 451 4.3.0"}
    assert ended.is_set()


# By domain


async def test_h71_who_has_gone_since_is_refused_and_the_others_are_delivered(
    environment: Environment, tmp_path: Path
) -> None:
    mail = message(JOE, "gone@example.org")
    async with LocalTransport(environment, f"maildir:{tmp_path}/{{domain}}/{{local}}") as transport:
        results = told(await transport.deliver(mail, deliveries(mail)))
        environment.primary_domain.remove("joe")
        later = told(await transport.deliver(message(name="2"), deliveries(message(name="2"))))
    assert results == {JOE: "accepted 250 2.0.0", "gone@example.org": GONE}
    assert later == {JOE: GONE}
    assert len(files(tmp_path)) == 1


async def test_what_has_a_tag_goes_to_its_users_mailbox_in_any_spelling(
    environment: Environment, tmp_path: Path
) -> None:
    async with LocalTransport(environment, f"maildir:{tmp_path}/{{domain}}/{{local}}") as transport:
        for name, recipient in enumerate(["JOE+x@EXAMPLE.org", JOE, "Joe"]):
            mail = message(recipient, name=str(name))
            await transport.deliver(mail, deliveries(mail))
    assert {file.rsplit("/", 1)[0] for file in files(tmp_path)} == {"example.org/joe/new"}
    assert len(files(tmp_path)) == 3


async def test_each_domain_has_its_own_way(environment: Environment, tmp_path: Path) -> None:
    got: list[str] = []
    function = HandlerTransport(lambda mail, recipient: got.append(recipient), concurrency=3)
    ways = {"xn--bcher-kva.example": function}
    async with LocalTransport(environment, f"maildir:{tmp_path}/{{local}}", ways) as transport:
        for recipient in (JOE, "joe@bücher.example"):
            mail = message(recipient)
            await transport.deliver(mail, deliveries(mail))
        assert transport.concurrency("bücher.example") == 3
        assert transport.concurrency("example.org") == transport.concurrency("") > 3
    assert got == ["joe@bücher.example"]
    assert len(files(tmp_path)) == 1


async def test_another_environment_takes_effect_at_once(environment: Environment, tmp_path: Path) -> None:
    async with LocalTransport(environment, f"maildir:{tmp_path}/{{local}}") as transport:
        transport.environment = Environment(Domain("example.org"))
        mail = message()
        assert told(await transport.deliver(mail, deliveries(mail))) == {JOE: GONE}


@pytest.mark.parametrize(
    ("way", "mend"),
    [
        ("/var/mail", 'write "maildir:/var/mail/{domain}/{local}"'),
        ("maildir:/var/mail", "write {local} in it"),
        ("smtp://localhost", "names no place for mail"),
        ("lmtp://localhost", "has no port"),
    ],
)
def test_a_way_that_cannot_work_is_told(environment: Environment, way: str, mend: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(mend)):
        LocalTransport(environment, way)


async def test_8_bit_content_arrives_as_it_is(environment: Environment, tmp_path: Path) -> None:
    async with LocalTransport(environment, f"maildir:{tmp_path}/{{local}}") as transport:
        mail = message(data=CONTENT + "ß\r\n".encode())
        await transport.deliver(mail, deliveries(mail))
    (file,) = files(tmp_path)
    assert (tmp_path / file).read_bytes().endswith("\nß\n".encode())
