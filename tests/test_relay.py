"""Relay: which host is tried, and when the next one is."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import pytest
from smtpx import ConfigurationError, Outcome, Relay, Timeouts

from tests.breaking import Breaking
from tests.names import FAILS, Names
from tests.pooling import each_breaking, numbered
from tests.relaying import DEAD, Hosts, deliveries, delivering, mail, outcome, text, to_one
from tests.scripted import close, flood, half_close, hang, nag, reset, say, then
from tests.sessions import polite

if TYPE_CHECKING:
    from tests.client import Run
    from tests.conftest import Scripted
    from tests.scripted import Script, Step
    from tests.sessions import Answer

ACCEPTED, TEMPORARY, PERMANENT = Outcome.ACCEPTED, Outcome.TEMPORARY, Outcome.PERMANENT
TAKEN = (ACCEPTED, 250, "2.0.0")
SOON = 0.2


def test_a_message_goes_to_the_host_of_its_domain(run: Run, scripted: Scripted) -> None:
    hosts = Hosts(scripted, [polite()])

    async def main() -> None:
        async with hosts.relay() as relay:
            results = await delivering(relay, mail())
            [result] = results.values()
            assert outcome(result) == TAKEN
            assert result.remote == "mx1"

    run(main())
    [server] = hosts.servers
    assert server.received[0].startswith(b"EHLO mail.example.com\r\nMAIL FROM:<ann@example.com>")
    assert b"RCPT TO:<joe@example.org>\r\n" in server.received[0]
    assert server.contents == [b"Subject: x\r\n\r\n..hi\r\n.\r\n"]


def test_the_recipients_that_are_asked_for_get_it_and_no_other(run: Run, scripted: Scripted) -> None:
    hosts = Hosts(scripted, [polite()])
    message = mail("joe@example.org", "far@example.net", "ann@example.org")

    async def main() -> None:
        async with hosts.relay() as relay:
            results = await relay.deliver(message, [deliveries(message)[index] for index in (0, 2)])
            assert list(results) == ["joe@example.org", "ann@example.org"]

    run(main())
    assert b"far@" not in hosts.servers[0].received[0]


def test_domains_go_as_a_labels_and_each_spelling_has_its_result(run: Run, scripted: Scripted) -> None:
    hosts = Hosts(scripted, [polite()])
    hosts.names = Names(mx={"xn--bcher-kva.example": [(1, "mx1")]}, addresses={"mx1": ["127.0.0.1"]})
    message = mail("joe@bücher.example", "joe@xn--bcher-kva.example", sender="ann@straße.example")

    async def main() -> None:
        async with hosts.relay() as relay:
            results = await delivering(relay, message)
            assert [result.outcome for result in results.values()] == [ACCEPTED, ACCEPTED]

    run(main())
    assert hosts.servers[0].received[0].count(b"RCPT TO:<joe@xn--bcher-kva.example>") == 1
    assert b"MAIL FROM:<ann@xn--strae-oqa.example>" in hosts.servers[0].received[0]


def test_an_address_literal_is_connected_to(run: Run, scripted: Scripted) -> None:
    hosts = Hosts(scripted, [polite()])

    async def main() -> None:
        async with hosts.relay() as relay:
            results = await delivering(relay, mail("joe@[127.0.0.1]"))
            assert results["joe@[127.0.0.1]"].remote == "127.0.0.1"

    run(main())
    assert hosts.names.asked == []


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (Names(mx={"example.org": [(0, ".")]}), (PERMANENT, 556, "5.1.10")),
        (Names(), (PERMANENT, 550, "5.1.2")),
        (Names(mx={"example.org": [(1, "mx1")]}), (PERMANENT, 550, "5.4.4")),
        (Names(mx={"example.org": FAILS}), (TEMPORARY, 451, "4.4.3")),
        (
            Names(mx={"example.org": [(1, "mx1")]}, addresses={"mx1": ["127.0.0.1"]}),
            (PERMANENT, 550, "5.4.6"),
        ),
        (
            Names(mx={"example.org": [(1, "MAIL.example.com")]}, addresses={"MAIL.example.com": [DEAD]}),
            (PERMANENT, 550, "5.4.6"),
        ),
        (
            Names(mx={"example.org": [(1, "other")]}, addresses={"other": ["192.0.2.1"]}),
            (PERMANENT, 550, "5.4.6"),
        ),
    ],
    ids=["null", "no domain", "no address", "failure", "loopback", "our name", "our address"],
)
async def test_where_no_host_is_found_every_recipient_is_told_so(
    names: Names, expected: tuple[Outcome, int, str]
) -> None:
    async with Relay("mail.example.com", resolver=names, addresses=["192.0.2.1"]) as relay:
        results = await delivering(relay, mail("joe@example.org", "ann@example.org"))
    assert [outcome(result) for result in results.values()] == [expected, expected]
    assert {result.remote for result in results.values()} == {""}


# The next host

BAD_STARTS: dict[str, Script | None] = {
    "dead": None,
    "closes": [close()],
    "resets": [reset()],
    "says no more": [half_close()],
    "banner 421": polite(banner=then(say(b"421 4.3.2 not now\r\n"), close())),
    "banner 450": polite(banner=b"450 4.7.1 not you\r\n"),
    "banner 554": polite(banner=b"554 5.7.1 no\r\n"),
    "banner 521": polite(banner=b"521 5.3.2 no mail here\r\n"),
    "EHLO 421": polite(ehlo=b"421 4.3.2 no\r\n"),
    "EHLO 550": polite(ehlo=b"550 no\r\n", helo=b"550 no\r\n"),
    "MAIL closes": polite(mail=close()),
    "MAIL 421": polite(mail=b"421 4.3.2 going down\r\n"),
    "RCPT closes": polite(rcpt=reset()),
    "DATA closes": polite(data=close()),
    "a code of 999": polite(banner=b"999 what\r\n"),
    "NUL": polite(banner=b"220 a\0b\r\n"),
    "bare CR": polite(mail=b"250 a\rb\r\n"),
    "ten MiB": [flood(b"220-" + b"x" * 500 + b"\r\n")],
    "ten MiB in a line": [flood(b"2" * 65536)],
}


STALLS: dict[str, Script] = {
    "at once": [hang()],
    "EHLO": polite(ehlo=hang()),
    "a banner without end": [nag(b"220-x\r\n")],
    "MAIL": polite(mail=hang()),
}


@pytest.mark.parametrize("stall", STALLS.values(), ids=STALLS)
def test_h78_a_host_that_stalls_is_left_for_the_next(run: Run, scripted: Scripted, stall: Script) -> None:
    hosts = Hosts(scripted, [stall], [polite()])

    async def main() -> None:
        async with hosts.relay(timeouts=Timeouts.of(0.5)) as relay:
            assert await to_one(relay) == TAKEN

    run(main())


@pytest.mark.parametrize("start", BAD_STARTS.values(), ids=BAD_STARTS)
def test_h78_the_next_host_is_tried_within_the_attempt(
    run: Run, scripted: Scripted, start: Script | None
) -> None:
    hosts = Hosts(scripted, None if start is None else [start], [polite()])

    async def main() -> None:
        async with hosts.relay() as relay:
            assert await to_one(relay) == TAKEN

    run(main())
    assert hosts.servers[-1].contents == [b"Subject: x\r\n\r\n..hi\r\n.\r\n"]


def test_h78_every_address_of_a_host_is_tried(run: Run, scripted: Scripted) -> None:
    hosts = Hosts(scripted, [polite()])
    hosts.names = Names(mx={"example.org": [(1, "mx1")]}, addresses={"mx1": [DEAD, "127.0.0.1"]})

    async def main() -> None:
        async with hosts.relay() as relay:
            assert await to_one(relay) == TAKEN

    run(main())


REFUSALS = [b"450 4.2.1 busy\r\n", b"550 5.1.1 nobody\r\n"]


@pytest.mark.parametrize("answer", REFUSALS, ids=["4yz", "5yz"])
@pytest.mark.parametrize("command", ["mail", "rcpt", "data", "done"])
def test_h78_what_a_host_says_of_the_message_is_no_reason_to_ask_another(
    run: Run, scripted: Scripted, command: str, answer: bytes
) -> None:
    hosts = Hosts(scripted, [polite(**{command: answer})], [])

    async def main() -> None:
        async with hosts.relay() as relay:
            results = await delivering(relay, mail())
            [result] = results.values()
            assert result.response is not None
            assert bytes(result.response) == answer
            assert result.remote == "mx1"
            assert result.outcome is (TEMPORARY if answer.startswith(b"4") else PERMANENT)
            assert not result.reports

    run(main())


def test_an_attempt_tries_five_hosts_and_ten_addresses(run: Run) -> None:
    names = Names(
        mx={"example.org": [(number, f"mx{number}") for number in range(9)]},
        addresses={
            f"mx{number}": [f"127.0.{number}.{last}" for last in range(97, 100)] for number in range(9)
        },
    )
    tried: list[str] = []

    class Watched(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            assert isinstance(record.args, tuple)
            tried.append(str(record.args[1]))

    watched, logger = Watched(), logging.getLogger("smtpx.relay")
    logger.addHandler(watched)
    logger.setLevel(logging.INFO)

    async def main() -> None:
        async with Relay("mail.example.com", resolver=names, loopback=True, port=1) as relay:
            assert await to_one(relay) == (TEMPORARY, 451, "4.4.1")

    try:
        run(main())
    finally:
        logger.removeHandler(watched)
        logger.setLevel(logging.NOTSET)
    assert len(tried) == 10
    assert tried[:4] == ["127.0.0.97", "127.0.0.98", "127.0.0.99", "127.0.1.97"]


def test_an_attempt_ends_when_no_host_is_ready_in_time(run: Run, scripted: Scripted) -> None:
    hosts = Hosts(scripted, [[hang()]], [])

    async def main() -> None:
        async with hosts.relay(patience=SOON) as relay:
            assert await to_one(relay) == (TEMPORARY, 451, "4.4.1")

    run(main())


def test_an_attempt_that_is_cancelled_leaves_no_connection(run: Run, scripted: Scripted) -> None:
    hosts = Hosts(scripted, [[hang()], polite(done=hang())])

    async def main() -> None:
        async with hosts.relay() as relay:
            for _ in hosts.servers[0]._scripts:
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(SOON):
                        await relay.deliver(mail(), deliveries(mail()))

    run(main())
    hosts.servers[0].finish()  # both have seen the end


# Nobody takes it


def test_h81_a_session_refused_for_good_by_every_host_is_tried_again(run: Run, scripted: Scripted) -> None:
    hosts = Hosts(scripted, *([polite(banner=b"554 5.7.1 \x1b[31mno\r\n")] for _ in range(2)))

    async def main() -> None:
        async with hosts.relay() as relay:
            results = await delivering(relay, mail())
            [result] = results.values()
            assert outcome(result) == (TEMPORARY, 451, "4.3.2")
            assert text(result) == "4.3.2 mx2 wants no session: 554 5.7.1 \ufffd[31mno"

    run(main())


def test_h81_521_from_every_host_refuses_for_good(run: Run, scripted: Scripted) -> None:
    hosts = Hosts(scripted, *([polite(banner=b"521 5.3.2 no mail here\r\n")] for _ in range(2)))

    async def main() -> None:
        async with hosts.relay() as relay:
            results = await delivering(relay, mail())
            [result] = results.values()
            assert outcome(result) == (PERMANENT, 521, "5.3.2")
            assert result.remote == "mx2"

    run(main())


@pytest.mark.parametrize("other", [None, [polite(banner=b"450 4.7.1 later\r\n")]], ids=["dead", "450"])
def test_h81_521_from_one_of_the_hosts_is_tried_again(
    run: Run, scripted: Scripted, other: list[Script] | None
) -> None:
    hosts = Hosts(scripted, other, [polite(banner=b"521 5.3.2 no mail here\r\n")])

    async def main() -> None:
        async with hosts.relay() as relay:
            assert (await to_one(relay))[0] is TEMPORARY

    run(main())


NASTY: dict[str, Answer] = {
    "ten MiB": flood(b"250-" + b"x" * 500 + b"\r\n"),
    "a line of ten MiB": flood(b"2" * 65536),
    "NUL": b"250 a\0b\r\n",
    "bare CR": b"250 a\rb\r\n",
    "999": b"999 what\r\n",
    "no code": b"hello\r\n",
}


@pytest.mark.parametrize("answer", NASTY.values(), ids=NASTY)
@pytest.mark.parametrize("command", ["banner", "ehlo", "mail", "rcpt"])
def test_h81_an_answer_that_is_none_is_a_failed_attempt(
    run: Run, scripted: Scripted, command: str, answer: bytes | Step
) -> None:
    hosts = Hosts(scripted, [polite(**{command: answer})])

    async def main() -> None:
        async with hosts.relay() as relay:
            assert (await to_one(relay))[:2] == (TEMPORARY, 451)

    run(main())


@pytest.mark.parametrize("command", ["mail", "rcpt", "done"])
def test_h81_what_steers_a_terminal_is_not_in_the_response(
    run: Run, scripted: Scripted, command: str
) -> None:
    hosts = Hosts(
        scripted, [polite(**{command: b"550-5.7.1 \x1b]0;x\x07\r\n550 5.7.1 \x9b \xe2\x80\xae\r\n"})]
    )

    async def main() -> None:
        async with hosts.relay() as relay:
            results = await delivering(relay, mail())
            [result] = results.values()
            assert result.response is not None
            assert all(map(str.isprintable, (result.response.message, *result.response.body)))

    run(main())


def test_h86_a_dead_domain_holds_up_no_other(run: Run, scripted: Scripted) -> None:
    hosts = Hosts(scripted, [polite()])
    stalled = scripted(*([hang()] for _ in range(20)))

    async def main() -> None:
        routes = {"dead.example": stalled.url()}
        async with hosts.relay(routes=routes) as relay, asyncio.TaskGroup() as group:
            assert relay.concurrency("dead.example") == 20
            message = mail("joe@dead.example")
            waiting = [
                group.create_task(relay.deliver(message, deliveries(message)))
                for _ in range(relay.concurrency("dead.example"))
            ]
            assert await to_one(relay) == TAKEN
            assert not any(task.done() for task in waiting)
            for task in waiting:
                task.cancel()

    run(main())


@each_breaking
def test_every_message_is_accounted_for(run: Run, keywords: tuple[str, ...], odds: float, seed: int) -> None:
    count = 400
    outcomes: dict[int, Outcome] = {}
    breaking = Breaking(seed, keywords, odds)

    async def main() -> None:
        server = await asyncio.start_server(breaking, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        hosts = [(number, f"mx{number}") for number in range(3)]  # one, under three names
        names = Names(mx={"example.org": hosts}, addresses={host: ["127.0.0.1"] for _, host in hosts})
        relay = Relay("mail.example.com", resolver=names, port=port, loopback=True)
        gate = asyncio.Semaphore(relay.concurrency("example.org"))

        async def send(number: int) -> None:
            async with gate:
                [result] = (await delivering(relay, numbered(number))).values()
                outcomes[number] = result.outcome

        async with server, relay:
            await asyncio.gather(*(send(number) for number in range(count)))
        if others := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(others)

    run(main())
    assert sorted(outcomes) == list(range(count))
    kept_by_outcome = {ACCEPTED: {1}, TEMPORARY: {0}, Outcome.UNKNOWN: {0, 1}}
    for number, became in outcomes.items():
        assert breaking.kept[number] in kept_by_outcome[became], (number, became)


@pytest.mark.parametrize("hostname", ["", "a b", "mx.example\r\nMAIL"])
def test_h84_a_name_that_no_ehlo_could_have_is_told_at_once(hostname: str) -> None:
    with pytest.raises(ConfigurationError):
        Relay(hostname, resolver=Names())


@pytest.mark.parametrize(
    "options",
    [
        {"concurrency": 0},
        {"patience": 0},
        {"smart_host": "lmtp://x:24"},
        {"routes": {"example.org": "http://x"}},
        {"tls": "required"},
        {"addresses": ["mx.example"]},
    ],
)
def test_options_that_cannot_work_are_told(options: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError):
        Relay("mail.example.com", resolver=Names(), **options)  # type: ignore[arg-type]
