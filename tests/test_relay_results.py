"""Relay: what became of each recipient, said honestly."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from smtpx import Outcome, Timeouts

from tests.clients import CONTENT, LARGE
from tests.relaying import Hosts, delivering, mail, outcome, text, to_one
from tests.scripted import close, half_close, hang, reset, say, take, then
from tests.sessions import polite

if TYPE_CHECKING:
    from tests.client import Run
    from tests.conftest import Scripted
    from tests.scripted import Step

ACCEPTED, TEMPORARY, PERMANENT, UNKNOWN = (
    Outcome.ACCEPTED,
    Outcome.TEMPORARY,
    Outcome.PERMANENT,
    Outcome.UNKNOWN,
)
TAKEN = (ACCEPTED, 250, "2.0.0")
JOE, ANN, MAX = "joe@example.org", "ann@example.org", "max@example.org"
ENDS = [close(), reset(), half_close()]


@pytest.mark.parametrize("end", ENDS, ids=["close", "reset", "half_close"])
@pytest.mark.parametrize("keywords", [(), ("CHUNKING", "PIPELINING")], ids=["DATA", "BDAT"])
def test_h79_between_the_end_of_the_content_and_its_answer_nobody_knows(
    run: Run, scripted: Scripted, end: Step, keywords: tuple[str, ...]
) -> None:
    # And no other host is given it: that would be to send it twice on purpose.
    hosts = Hosts(scripted, [polite(*keywords, done=end)], [])

    async def main() -> None:
        async with hosts.relay() as relay:
            results = await delivering(relay, mail())
            assert outcome(results[JOE]) == (UNKNOWN, 451, "4.4.2")
            assert text(results[JOE]).startswith("4.4.2 mx1 ")
            assert results[JOE].remote == ""

    run(main())


def test_h79_an_answer_that_does_not_come_in_time_is_not_known(run: Run, scripted: Scripted) -> None:
    hosts = Hosts(scripted, [polite(done=hang())], [])

    async def main() -> None:
        async with hosts.relay(timeouts=Timeouts(data_end=0.2)) as relay:
            assert await to_one(relay) == (UNKNOWN, 451, "4.4.2")

    run(main())


def test_h79_the_answer_to_the_content_is_waited_for_ten_minutes() -> None:
    from smtpx.relay import _TIMEOUTS

    assert _TIMEOUTS.data_end == 600
    assert _TIMEOUTS.total is not None
    assert _TIMEOUTS.total > 600


@pytest.mark.parametrize("end", ENDS, ids=["close", "reset", "half_close"])
@pytest.mark.parametrize("step", ["mail", "rcpt", "data", "content"])
def test_before_the_end_of_the_content_it_is_tried_again(
    run: Run, scripted: Scripted, end: Step, step: str
) -> None:
    answers = {"data": then(say(b"354 go\r\n"), take(1000), end)} if step == "content" else {step: end}
    hosts = Hosts(scripted, [polite(**answers)])

    async def main() -> None:
        async with hosts.relay() as relay:
            results = await delivering(relay, mail(data=LARGE))
            assert outcome(results[JOE]) == (TEMPORARY, 451, "4.4.2")
            assert text(results[JOE]).startswith("4.4.2 the connection to mx1 ")

    run(main())


def test_content_cut_off_goes_whole_to_the_next_host(run: Run, scripted: Scripted) -> None:
    cut = then(say(b"354 go\r\n"), take(1000), reset())
    hosts = Hosts(scripted, [polite(data=cut)], [polite()])

    async def main() -> None:
        async with hosts.relay() as relay:
            assert await to_one(relay, mail(data=LARGE)) == TAKEN

    run(main())
    assert hosts.servers[1].contents == [LARGE + b".\r\n"]


@pytest.mark.parametrize("keywords", [(), ("PIPELINING",)], ids=["one by one", "pipelined"])
def test_h80_each_recipient_has_its_own_answer(
    run: Run, scripted: Scripted, keywords: tuple[str, ...]
) -> None:
    answers = [b"550 5.1.1 nobody\r\n", b"250 2.1.5 ok\r\n", b"450 4.2.1 busy\r\n"]
    hosts = Hosts(scripted, [polite(*keywords, rcpt=answers)])

    async def main() -> None:
        async with hosts.relay() as relay:
            results = await delivering(relay, mail(JOE, ANN, MAX))
            assert outcome(results[JOE]) == (PERMANENT, 550, "5.1.1")
            assert outcome(results[ANN]) == TAKEN
            assert outcome(results[MAX]) == (TEMPORARY, 450, "4.2.1")
            assert {result.remote for result in results.values()} == {"mx1"}

    run(main())
    assert len(hosts.servers[0].contents) == 1


def test_h80_who_was_refused_stays_so_when_the_connection_breaks(run: Run, scripted: Scripted) -> None:
    hosts = Hosts(scripted, [polite(rcpt=[b"550 5.1.1 nobody\r\n", b"250 ok\r\n"], done=close())], [])

    async def main() -> None:
        async with hosts.relay() as relay:
            results = await delivering(relay, mail(JOE, ANN))
            assert outcome(results[JOE]) == (PERMANENT, 550, "5.1.1")
            assert outcome(results[ANN]) == (UNKNOWN, 451, "4.4.2")

    run(main())


def test_h80_the_next_host_is_asked_only_for_whom_nobody_has_answered(run: Run, scripted: Scripted) -> None:
    answers = [b"550 5.1.1 nobody\r\n", b"250 ok\r\n", b"450 4.2.1 busy\r\n"]
    hosts = Hosts(scripted, [polite(rcpt=answers, data=close())], [polite()])

    async def main() -> None:
        async with hosts.relay() as relay:
            results = await delivering(relay, mail(JOE, ANN, MAX))
            assert outcome(results[JOE]) == (PERMANENT, 550, "5.1.1")
            assert outcome(results[ANN]) == TAKEN
            assert outcome(results[MAX]) == (TEMPORARY, 450, "4.2.1")
            assert [result.remote for result in results.values()] == ["mx1", "mx2", "mx1"]

    run(main())
    assert hosts.servers[1].received[0].count(b"RCPT") == 1


def test_a_host_that_closes_behind_its_4yz_has_answered_all_the_same(run: Run, scripted: Scripted) -> None:
    hosts = Hosts(scripted, [polite(done=then(say(b"451 4.3.0 later\r\n"), close()))], [])

    async def main() -> None:
        async with hosts.relay() as relay:
            assert await to_one(relay) == (TEMPORARY, 451, "4.3.0")

    run(main())


def test_h83_however_often_it_was_tried_a_4yz_is_passing(run: Run, scripted: Scripted) -> None:
    hosts = Hosts(scripted, [polite(rcpt=b"450 4.2.2 full\r\n")])

    async def main() -> None:
        async with hosts.relay() as relay:
            for _ in range(3):
                assert await to_one(relay) == (TEMPORARY, 450, "4.2.2")

    run(main())


@pytest.mark.parametrize("sender", ["a\r\nRCPT TO:<b@c.example>", "a\0@b.example", "a>b@c.example"])
def test_h84_an_address_with_a_command_in_it_is_refused_before_an_octet_is_sent(
    run: Run, scripted: Scripted, sender: str
) -> None:
    hosts = Hosts(scripted, [polite()])

    async def main() -> None:
        async with hosts.relay() as relay:
            assert await to_one(relay, mail(sender=sender)) == (PERMANENT, 553, "5.1.3")
            assert await to_one(relay) == TAKEN

    run(main())
    assert hosts.servers[0].received[0].count(b"MAIL FROM") == 1


def test_h84_a_parameter_with_a_command_in_it_is_refused_before_an_octet_is_sent(
    run: Run, scripted: Scripted
) -> None:
    hosts = Hosts(scripted, [polite("DSN")])
    message = mail(ENVID="x\r\nDATA")

    async def main() -> None:
        async with hosts.relay() as relay:
            assert await to_one(relay, message) == (PERMANENT, 553, "5.1.3")

    run(main())
    assert b"MAIL" not in hosts.servers[0].received[0]


def test_h85_bare_line_ends_are_mended(run: Run, scripted: Scripted) -> None:
    hosts = Hosts(scripted, [polite()])

    async def main() -> None:
        async with hosts.relay() as relay:
            assert await to_one(relay, mail(data=b"Subject: x\n\nhi\n.\rMAIL\r\n")) == TAKEN

    run(main())
    assert hosts.servers[0].contents == [b"Subject: x\r\n\r\nhi\r\n..\r\nMAIL\r\n.\r\n"]


def test_a_message_larger_than_the_host_takes_is_refused(run: Run, scripted: Scripted) -> None:
    hosts = Hosts(scripted, [polite("SIZE 10")])

    async def main() -> None:
        async with hosts.relay() as relay:
            assert await to_one(relay) == (PERMANENT, 552, "5.3.4")

    run(main())
    assert b"MAIL" not in hosts.servers[0].received[0]


def test_the_size_told_is_that_of_what_is_sent(run: Run, scripted: Scripted) -> None:
    hosts = Hosts(scripted, [polite("SIZE")])

    async def main() -> None:
        async with hosts.relay() as relay:
            assert await to_one(relay, mail(SIZE="7")) == TAKEN

    run(main())
    assert b" SIZE=%d\r\n" % len(CONTENT) in hosts.servers[0].received[0]


@pytest.mark.parametrize("offered", [True, False])
def test_a_host_that_offers_dsn_takes_over_to_report(run: Run, scripted: Scripted, offered: bool) -> None:
    hosts = Hosts(scripted, [polite(*(["DSN"] if offered else []), rcpt=[b"250 ok\r\n", b"550 no\r\n"])])
    message = mail(JOE, ANN, RET="HDRS", ENVID="x")
    message.rcpt_params = [{"NOTIFY": "SUCCESS", "ORCPT": f"rfc822;{JOE}"}, {}]

    async def main() -> None:
        async with hosts.relay() as relay:
            results = await delivering(relay, message)
            assert results[JOE].reports is offered
            assert not results[ANN].reports

    run(main())
    said = hosts.servers[0].received[0]
    assert (b" RET=HDRS ENVID=x\r\n" in said) is offered
    assert (b" NOTIFY=SUCCESS ORCPT=rfc822;joe@example.org\r\n" in said) is offered


def test_content_is_converted_for_an_old_host(run: Run, scripted: Scripted) -> None:
    hosts = Hosts(scripted, [polite()])
    body = "grüße\r\n".encode() * 20_000  # so much that it is encoded in a thread
    data = b"Subject: x\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n" + body

    async def main() -> None:
        async with hosts.relay() as relay:
            assert await to_one(relay, mail(data=data)) == TAKEN

    run(main())
    assert hosts.servers[0].contents[0].isascii()
    assert hosts.servers[0].contents[0].count(b"gr=C3=BC=C3=9Fe\r\n") == 20_000


def test_what_cannot_be_had_in_a_form_for_the_host_is_refused_and_the_connection_lives(
    run: Run, scripted: Scripted
) -> None:
    hosts = Hosts(scripted, [polite()])

    async def main() -> None:
        async with hosts.relay() as relay:
            data = "Subject: grüße\r\n\r\n".encode()
            assert await to_one(relay, mail(data=data)) == (PERMANENT, 554, "5.6.9")
            assert await to_one(relay) == TAKEN

    run(main())
    assert hosts.servers[0].received[0].count(b"EHLO") == 1
