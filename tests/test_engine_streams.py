"""The sans-IO session hears the same, and never raises, however the octets come: generated sessions."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import smtpx
from hypothesis import example, given
from hypothesis import strategies as st
from smtpx import (
    AuthEvent,
    CloseEvent,
    CommandEvent,
    CommandKind,
    EngineConfig,
    MessageEvent,
    Response,
    ServerEngine,
)

from tests.engines import HOST, OPENING, Event, Step

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

LINES = [
    b"EHLO client.example\r\n",
    b"HELO client.example\r\n",
    b"MAIL FROM:<a@example.net>\r\n",
    b"MAIL FROM:<a@example.net> SIZE=10 BODY=BINARYMIME\r\n",
    b"MAIL FROM:<\xc3\xa9@example.net> SMTPUTF8\r\n",
    b"MAIL FROM:<a@example.net> SIZE=99999999\r\n",
    b"RCPT TO:<b@example.org>\r\n",
    b"RCPT TO:<@r.example:b@example.org>\r\n",
    b"RCPT TO:<refused@example.org>\r\n",
    b"RCPT TO:<>\r\n",
    b"DATA\r\n",
    b"BDAT 5\r\n1234\r",
    b"BDAT 3\r\n\n.\r",
    b"BDAT 4 LAST\r\n\n\r\n.",
    b"BDAT 0 LAST\r\n",
    b"BDAT x\r\n",
    b"RSET\r\n",
    b"NOOP\r\n",
    b"VRFY joe\r\n",
    b"AUTH PLAIN AGEAYg==\r\n",
    b"AUTH LOGIN\r\n",
    b"AGEAYg==\r\n",
    b"*\r\n",
    b"STARTTLS now\r\n",
    b"QUIT\r\n",
    b"GET / HTTP/1.1\r\n",
    b"XYZZY\r\n",
    b"\r\n",
    b"NOOP " + b"x" * 200 + b"\r\n",
]
PIECES = [
    b"\r\n.\r\n",
    b"\r",
    b"\n",
    b".",
    b"\r\n",
    b"\0",
    b"\r\n..",
    b"x",
    b"x" * 90,
    b"\x16\x03",
    b"text\r\n",
    b"\xff",
]
STREAMS = st.lists(st.sampled_from(LINES) | st.sampled_from(PIECES) | st.binary(max_size=8), max_size=25).map(
    b"".join
)
CONTENT = st.lists(st.sampled_from(PIECES), max_size=12).map(b"".join)
SETTINGS = st.fixed_dictionaries(
    {
        "bare_newline": st.sampled_from(["reject", "normalize"]),
        "strict": st.booleans(),
        "auth_required": st.booleans(),
        "decide": st.sampled_from([CommandKind.ZERO, CommandKind.RCPT, CommandKind.MAIL | CommandKind.DATA]),
    }
)


def heard(reads: Iterable[bytes], settings: dict[str, Any]) -> list[object]:
    """Feed the reads and answer every event; return all that comes out, in order."""
    config = EngineConfig(
        HOST,
        early_input="accept",  # alone in "reject" does it matter, by intent, what comes in one read with DATA
        mechanisms=["PLAIN", "LOGIN"],
        max_message_size=200,
        max_command_line=128,
        **settings,
    )
    engine = ServerEngine(config, tls=True)
    seen: list[object] = []
    output = b""

    def take(step: Step) -> None:
        nonlocal output
        event, more = step
        output += more
        while event is not None and not isinstance(event, CloseEvent):
            event, more = answer(event)
            output += more

    def answer(event: Event) -> Step:
        match event:
            case MessageEvent():
                seen.append((event.mail_from, event.params, event.recipients, event.rcpt_params, event.data))
                return engine.reply(Response(250, "2.0.0 kept"))
            case AuthEvent():
                seen.append((event.mechanism, event.initial, event.response))
                if event.response is None:
                    return engine.challenge(b"?")
                return engine.reply(Response(535, "5.7.8 no"))
            case CommandEvent():
                seen.append((event.line, event.command.kind, event.command.arg, event.command.params))
                return engine.reply(Response(550, "5.1.1 no") if "refused" in event.command.arg else None)
        raise AssertionError(event)

    take(engine.start())
    for read in reads:
        take(engine.receive_data(read))
    return [
        *seen,
        output,
        engine.closed,
        engine.state,
        engine.helo,
        engine.in_transaction,
        engine.transactions,
    ]


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
    return [stream[start:end] for start, end in itertools.pairwise(edges)]


@given(STREAMS, SETTINGS, st.lists(st.integers(min_value=0), max_size=6))
@example(OPENING + b"DATA\r\none\r\r\n.\r\n", {"bare_newline": "normalize"}, [len(OPENING) + 10])
def test_a_stream_is_heard_the_same_whole_octet_by_octet_and_cut_anywhere(
    stream: bytes, settings: dict[str, Any], places: list[int]
) -> None:
    whole = heard([stream], settings)
    assert heard(cut(stream, places), settings) == whole
    assert heard([stream[at : at + 1] for at in range(len(stream))], settings) == whole


@given(CONTENT, SETTINGS, st.lists(st.integers(min_value=0), max_size=6))
def test_content_is_heard_the_same_whole_octet_by_octet_and_cut_anywhere(
    content: bytes, settings: dict[str, Any], places: list[int]
) -> None:
    opening = OPENING + b"DATA\r\n"
    settings = settings | {"auth_required": False}
    whole = heard([opening, content], settings)
    assert heard([opening, *cut(content, places)], settings) == whole
    assert heard([opening, *(content[at : at + 1] for at in range(len(content)))], settings) == whole


@given(CONTENT.filter(lambda content: b"\0" not in content))
def test_content_comes_out_as_it_was_stuffed_in(content: bytes) -> None:
    """Whatever is stuffed and sent is one message, and nothing of it is a command."""
    lines = content.replace(b"\r", b"").replace(b"\n", b"\r\n")
    lines += b"" if lines.endswith(b"\r\n") or not lines else b"\r\n"
    engine = ServerEngine(EngineConfig(HOST))
    engine.start()
    engine.receive_data(OPENING + b"DATA\r\n")
    event, output = engine.receive_data(smtpx.dot_stuff(lines) + b".\r\nNOOP\r\n")
    assert output == b""
    assert isinstance(event, MessageEvent)
    assert event.data == lines


@given(st.lists(st.binary(max_size=40), max_size=8), SETTINGS)
def test_no_octets_make_it_raise(reads: list[bytes], settings: dict[str, Any]) -> None:
    heard(reads, settings)
    heard([OPENING, *reads], settings)
    heard([OPENING + b"DATA\r\n", *reads], settings)
