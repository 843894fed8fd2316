"""Native against reference, group by group; each pair is asserted equal on the input before it is timed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import smtpx

from benches import reference
from benches.reference_session import Session

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

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


def each(parse: Callable[[bytes], Any], inputs: Sequence[bytes]) -> None:
    for octets in inputs:
        parse(octets)


def each_command(parse: Callable[[bytes], Any], inputs: Sequence[bytes]) -> None:
    """Look at every field: the native values make strings, list and dict only when they are asked for."""
    for octets in inputs:
        command = parse(octets)
        _ = command.kind, command.arg, command.params


def each_response(parse: Callable[[bytes], Any], inputs: Sequence[bytes]) -> None:
    for octets in inputs:
        response = parse(octets)
        _ = response.code, response.message, response.body


def plain(value: Any) -> Any:
    """Return the fields of a command or a response, whichever side made it."""
    match value:
        case smtpx.Command() | reference.Command():
            return value.kind, value.arg, value.param, value.params
        case smtpx.Response() | reference.Response():
            return value.code, value.message, value.body
        case _:
            return value


@dataclass(frozen=True)
class Group:
    """What is compared: a function of that name on each side, on these inputs, and the least ratio if any."""

    function: str
    inputs: Sequence[bytes]
    bar: float | None
    run: Callable[[Callable[[bytes], Any], Sequence[bytes]], None] = each

    def sides(self) -> dict[str, Callable[[bytes], Any]]:
        if self.function == "session":
            return {"native": native_session(), "reference": reference_session()}
        return {"native": getattr(smtpx, self.function), "reference": getattr(reference, self.function)}


GROUPS = {
    "simple path": Group("parse_path", SIMPLE, 3),
    "full grammar: quoted, literal, route": Group("parse_path", FULL, 10),
    "MAIL with parameters": Group("parse_command", MAIL, 8),
    "MAIL with parameters, every field read": Group("parse_command", MAIL, None, each_command),
    "multi-line reply": Group("parse_response", REPLIES, 5),
    "multi-line reply, every field read": Group("parse_response", REPLIES, None, each_response),
    "stuffing of 1 MiB": Group("dot_stuff", CONTENT, 5),
    "unstuffing of 1 MiB": Group("dot_unstuff", STUFFED, 5),
    "session of 101 pipelined commands": Group("session", COMMANDS, 10),
}


@pytest.mark.parametrize("side", ["native", "reference"])
@pytest.mark.parametrize("title", GROUPS)
def test_group(benchmark: BenchmarkFixture, title: str, side: str) -> None:
    group = GROUPS[title]
    sides = group.sides()
    for octets in group.inputs:
        assert plain(sides["native"](octets)) == plain(sides["reference"](octets))
    benchmark.group = title
    benchmark.extra_info.update(side=side, bar=group.bar, inputs=len(group.inputs))
    benchmark(group.run, sides[side], group.inputs)
