"""Native against reference, group by group; each pair is asserted equal on the input before it is timed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import pytest
import smtpx

from benches import reference
from benches.reference_session import Session

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

NAMES = ("joe", "mary.smith", "x", "support+ticket-4711", "no-reply", "j.r.r.tolkien", "root", "info")
DOMAINS = ("example.org", "mail.example.com", "a.b.c.example.net", "xn--bcher-kva.example")

SIMPLE = [f"<{name}@{domain}>".encode() for name in NAMES for domain in DOMAINS]
FULL = [
    rb'<"joe bloggs"@example.org>',
    rb'<"j\"o\\e"@example.org>',
    rb'<"a@b"@example.com>',
    rb'<"mary.smith"@example.com>',
    rb"<joe@[192.0.2.1]>",
    rb"<joe@[IPv6:2001:db8::1]>",
    rb'<"joe bloggs"@[192.0.2.255]>',
    rb"<@a.org,@b.org:joe@c.org>",
    rb"<@relay.example.org:mary.smith@example.com>",
    "<jörg@bücher.example>".encode(),
]
MAIL = [
    b"MAIL FROM:<joe@example.org> SIZE=10240\r\n",
    b"MAIL FROM:<mary.smith@example.com> SIZE=1048576 BODY=8BITMIME\r\n",
    b"MAIL FROM:<joe@example.org> BODY=8BITMIME SMTPUTF8 SIZE=4096\r\n",
    b"MAIL FROM:<bounce-4711@lists.example.org> SIZE=5000 RET=HDRS ENVID=QQ314159\r\n",
    b"mail from:<joe@example.org> size=123 body=7bit\r\n",
    b"MAIL FROM:<> SIZE=2048 BODY=8BITMIME\r\n",
]
REPLIES = [
    b"250-mx.example.org\r\n250-PIPELINING\r\n250-SIZE 52428800\r\n250-STARTTLS\r\n250 CHUNKING\r\n",
    b"550-5.1.1 The account does not exist.\r\n550-5.1.1 Check the address\r\n550 5.1.1 and try again\r\n",
    b"250-2.0.0 OK\r\n250 2.0.0 queued as 4711\r\n",
]
LINE = b"The quick brown fox jumps over the lazy dog, again and again and again.\r\n"
CONTENT = [b"".join(b"." + LINE if n % 20 == 0 else LINE for n in range((1 << 20) // len(LINE)))]
STUFFED = [reference.dot_stuff(CONTENT[0])]

HOSTNAME, SIZE, RECIPIENTS = "mx.example.org", 33554432, 1000
EXTENSIONS = ("PIPELINING", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "CHUNKING", "BINARYMIME")
GROUP = b"".join(
    [
        b"MAIL FROM:<bounce-%d@lists.example.org> SIZE=4096 BODY=8BITMIME\r\n" % n
        + b"".join(b"RCPT TO:<%b@example.com>\r\n" % name.encode() for name in NAMES)
        + b"RSET\r\n"
        for n in range(10)
    ]
)
COMMANDS = [b"EHLO client.example.org\r\n" + GROUP]


def native_session() -> Callable[[bytes], bytes]:
    config = smtpx.EngineConfig(
        HOSTNAME, decide=smtpx.CommandKind.ZERO, max_message_size=SIZE, max_recipients=RECIPIENTS
    )

    def serve(commands: bytes) -> bytes:
        engine = smtpx.ServerEngine(config)
        engine.start()
        event, output = engine.receive_data(commands)
        assert event is None
        return output

    return serve


def reference_session() -> Callable[[bytes], bytes]:
    extensions = (*EXTENSIONS, f"SIZE {SIZE}", "HELP")

    def serve(commands: bytes) -> bytes:
        return Session(HOSTNAME, extensions, SIZE, RECIPIENTS).receive_data(commands)

    return serve


def command_fields(command: Any) -> tuple[Any, ...]:
    return command.kind, command.arg, command.param, command.params


def response_fields(response: Any) -> tuple[Any, ...]:
    return response.code, response.message, response.body


def reading(parse: Callable[[bytes], Any], fields: Callable[[Any], Any]) -> Callable[[bytes], Any]:
    """Parse and look at every field: what one side does only when asked is timed too."""
    return lambda octets: fields(parse(octets))


def pair(name: str, fields: Callable[[Any], Any] | None = None) -> dict[str, Callable[[bytes], Any]]:
    sides = {"native": getattr(smtpx, name), "reference": getattr(reference, name)}
    return {side: reading(parse, fields) if fields else parse for side, parse in sides.items()}


Group = tuple[dict[str, Callable[[bytes], Any]], Sequence[bytes], float]

GROUPS: dict[str, Group] = {
    "simple path": (pair("parse_path"), SIMPLE, 3),
    "full grammar: quoted, literal, route": (pair("parse_path"), FULL, 10),
    "MAIL with parameters": (pair("parse_command", command_fields), MAIL, 8),
    "multi-line reply": (pair("parse_response", response_fields), REPLIES, 5),
    "stuffing of 1 MiB": (pair("dot_stuff"), CONTENT, 5),
    "unstuffing of 1 MiB": (pair("dot_unstuff"), STUFFED, 5),
    "session of 101 pipelined commands": (
        {"native": native_session(), "reference": reference_session()},
        COMMANDS,
        10,
    ),
}


@pytest.mark.parametrize("side", ["native", "reference"])
@pytest.mark.parametrize("group", GROUPS)
def test_group(benchmark: BenchmarkFixture, group: str, side: str) -> None:
    sides, inputs, bar = GROUPS[group]
    for octets in inputs:
        assert sides["native"](octets) == sides["reference"](octets)
    function = sides[side]

    def run() -> None:
        for octets in inputs:
            function(octets)

    benchmark.group = group
    benchmark.extra_info.update(side=side, bar=bar, inputs=len(inputs))
    benchmark(run)
