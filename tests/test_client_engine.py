"""ClientEngine as its drivers use it: events, what it raises, and what it shows of a message."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
import smtpx
from hypothesis import given
from hypothesis import strategies as st
from smtpx import (
    AddressError,
    ChallengeEvent,
    ClientEngine,
    CommandError,
    ConfigurationError,
    ContentEvent,
    EngineConfig,
    EngineError,
    HandshakeEvent,
    MessageEvent,
    MessageTooLarge,
    NotOffered,
    Outcome,
    ReplyEvent,
    Response,
    ResponseError,
    SentEvent,
    ServerEngine,
    SyntaxRefused,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Event: TypeAlias = ReplyEvent | ChallengeEvent | HandshakeEvent | ContentEvent | SentEvent

ALL = ("PIPELINING", "CHUNKING", "8BITMIME", "SMTPUTF8", "DSN", "SIZE 1000", "AUTH PLAIN LOGIN", "STARTTLS")
FROM, TO = "ann@example.com", "joe@example.org"


def greeted(*extensions: str, **settings: Any) -> ClientEngine:
    """An engine that knows what the server offers."""
    engine = ClientEngine("me.example", **settings)
    assert engine.receive_data(b"220 mx.example ESMTP\r\n") == (None, b"EHLO me.example\r\n")
    lines = ["mx.example hello", *extensions]
    reply = bytes(Response(250, lines[0], lines[1:]))
    event, output = engine.receive_data(reply)
    assert isinstance(event, ReplyEvent)
    assert (event.response, output) == (Response(250, lines[0], lines[1:]), b"")
    return engine


def sent_event(engine: ClientEngine, octets: bytes) -> SentEvent:
    event, _ = engine.receive_data(octets)
    assert isinstance(event, SentEvent)
    return event


# A session without a socket


def test_a_message_is_one_exchange() -> None:
    engine = greeted("PIPELINING")
    assert (engine.waiting, engine.idle) == ("", True)
    output = engine.mail(FROM, [TO, "bob@example.org"], data=b".hi\n")
    assert output == (
        b"MAIL FROM:<ann@example.com>\r\nRCPT TO:<joe@example.org>\r\nRCPT TO:<bob@example.org>\r\nDATA\r\n"
    )
    assert (engine.waiting, engine.idle) == ("command", False)
    event, output = engine.receive_data(b"250 ok\r\n250 ok\r\n550 5.1.1 who?\r\n354 go\r\n")
    assert (event, output) == (None, b"..hi\r\n.\r\n")
    assert (engine.waiting, engine.idle) == ("data_end", False)
    sent = sent_event(engine, b"250 2.0.0 kept\r\n")
    assert sent.accepted == 1
    assert sent.outcomes == [
        (Outcome.ACCEPTED, Response(250, "2.0.0 kept")),
        (Outcome.PERMANENT, Response(550, "5.1.1 who?")),
    ]
    assert engine.idle


def test_what_the_server_offers() -> None:
    engine = greeted("SIZE 1000", "auth PLAIN", "AUTH=LOGIN")
    assert engine.info == ("mx.example", "hello", {"SIZE": ["1000"], "AUTH": ["PLAIN", "LOGIN"]})
    assert engine.offers("SIZE")
    assert not engine.offers("PIPELINING")


def test_content_in_pieces() -> None:
    engine = greeted("PIPELINING")
    engine.mail(FROM, [TO], size=10)
    assert not engine.wants_content
    event, output = engine.receive_data(b"250 ok\r\n250 ok\r\n354 go\r\n")
    assert isinstance(event, ContentEvent)
    assert (output, engine.wants_content, engine.waiting) == (b"", True, "data_block")
    assert engine.content(b"one\r") == b"one"
    assert engine.content(bytearray(b"\n."), last=True) == b"\r\n..\r\n.\r\n"
    assert not engine.wants_content
    assert sent_event(engine, b"250 kept\r\n").accepted == 1


def test_content_that_needs_no_change_is_not_copied() -> None:
    engine = greeted("PIPELINING")
    engine.mail(FROM, [TO])
    engine.receive_data(b"250 ok\r\n250 ok\r\n354 go\r\n")
    content = b"Subject: x\r\n\r\n.a dot\r\nno end"
    plain, dotted, end = (memoryview(content)[part] for part in (slice(14), slice(14, 22), slice(22, None)))
    assert [part is plain for part in engine.content_parts(plain)] == [True]
    assert engine.content_parts(dotted) == [b"..a dot\r\n"]
    assert engine.content_parts(bytearray(b"\r\n")) == [b"\r\n"]  # its owner may change it until it is sent
    parts = engine.content_parts(end, last=True)
    assert parts[0] is end
    assert parts[1:] == [b"\r\n.\r\n"]
    assert sent_event(engine, b"250 kept\r\n").accepted == 1


def test_chunks_that_need_no_change_are_not_copied() -> None:
    engine = greeted(*ALL)
    engine.mail(FROM, [TO])
    engine.receive_data(b"250 ok\r\n250 ok\r\n")
    content = b"Subject: x\r\n\r\n.hi\r\n"
    assert engine.content_parts(content, last=True) == [b"BDAT 19 LAST\r\n", content]
    assert sent_event(engine, b"250 kept\r\n").accepted == 1


def test_a_view_that_is_no_run_of_octets_is_copied() -> None:
    engine = greeted("PIPELINING")
    engine.mail(FROM, [TO])
    engine.receive_data(b"250 ok\r\n250 ok\r\n354 go\r\n")
    assert engine.content_parts(memoryview(b"a-b-c-")[::2]) == [b"abc"]


def test_starttls_forgets_what_was_offered() -> None:
    engine = greeted(*ALL)
    assert engine.starttls() == b"STARTTLS\r\n"
    event, output = engine.receive_data(b"220 go\r\n")
    assert isinstance(event, HandshakeEvent)
    assert (output, engine.tls) == (b"", False)
    assert engine.tls_started() == b"EHLO me.example\r\n"
    assert engine.tls
    assert not engine.offers("AUTH")


def test_a_login_in_steps() -> None:
    engine = greeted(*ALL)
    assert engine.auth("LOGIN") == b"AUTH LOGIN\r\n"
    event, _ = engine.receive_data(b"334 VXNlcm5hbWU6\r\n")
    assert isinstance(event, ChallengeEvent)
    assert event.data == b"Username:"
    assert engine.respond(b"joe") == b"am9l\r\n"
    event, _ = engine.receive_data(b"235 welcome\r\n")
    assert isinstance(event, ReplyEvent)
    assert engine.authenticated


def test_quit_ends_the_session() -> None:
    engine = greeted()
    assert engine.command(b"QUIT") == b"QUIT\r\n"
    event, _ = engine.receive_data(b"221 bye\r\n")
    assert isinstance(event, ReplyEvent)
    assert engine.closed


def test_a_farewell_between_exchanges() -> None:
    engine = greeted()
    assert engine.farewell is None
    assert engine.receive_data(b"421 4.4.2 idle\r\n") == (None, b"")
    assert engine.closed
    assert engine.farewell == Response(421, "4.4.2 idle")


@pytest.mark.parametrize(
    ("last", "outcome"), [(False, Outcome.TEMPORARY), (True, Outcome.UNKNOWN)], ids=["before", "behind"]
)
def test_h79_a_connection_lost_before_the_end_of_the_content_and_behind_it(
    last: bool, outcome: Outcome
) -> None:
    engine = greeted("PIPELINING")
    engine.mail(FROM, [TO])
    engine.receive_data(b"250 ok\r\n250 ok\r\n354 go\r\n")
    engine.content(b"hi\r\n", last=last)
    sent = engine.lost()
    assert sent is not None
    assert sent.outcomes == [(outcome, None)]
    assert engine.lost() is None


def test_lmtp_has_a_reply_for_each_recipient() -> None:
    engine = ClientEngine("me.example", lmtp=True)
    assert engine.receive_data(b"220 mx\r\n") == (None, b"LHLO me.example\r\n")
    engine.receive_data(b"250-mx\r\n250 PIPELINING\r\n")
    engine.mail(FROM, [TO, "bob@example.org"], data=b"hi\r\n")
    engine.receive_data(b"250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n")
    sent = sent_event(engine, b"250 kept\r\n452 full\r\n")
    assert [outcome for outcome, _ in sent.outcomes] == [Outcome.ACCEPTED, Outcome.TEMPORARY]


@given(
    lines=st.lists(st.sampled_from([b"hi\r\n", b".\r\n", b"..x\r\n", b"\xc3\xa9\r\n", b"\n"])),
    cut=st.integers(1, 60),
    hidden=st.sets(st.sampled_from(["PIPELINING", "CHUNKING"])),
)
def test_a_message_between_the_two_engines_cut_anywhere(
    lines: list[bytes], cut: int, hidden: set[str]
) -> None:
    content = b"".join(lines)
    server, client = ServerEngine(EngineConfig("mx.example.org")), ClientEngine("me.example")
    _, down = server.start()
    _, up = client.receive_data(down)
    _, down = server.receive_data(up)
    for extension in hidden:
        down = down.replace(extension.encode(), b"XHIDDEN")
    client.receive_data(down)

    def at_the_server(octets: bytes) -> Iterable[tuple[Any, bytes]]:
        for at in range(0, len(octets), cut):
            event, output = server.receive_data(octets[at : at + cut])
            while event is not None:
                yield event, output
                event, output = server.reply()
            yield None, output

    up, took, sent = client.mail(FROM, [TO], data=content), None, None
    while sent is None:
        down = b""
        for event, output in at_the_server(up):
            took = event if isinstance(event, MessageEvent) else took
            down += output
        assert down
        up = b""
        for at in range(0, len(down), cut):
            sent, output = client.receive_data(down[at : at + cut])
            up += output
    assert isinstance(sent, SentEvent)
    assert sent.accepted == 1
    assert took is not None
    assert took.data == content.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


# What it raises

BAD = ["a\rb", "a\nb", "a\0b", "a@example.org\r\nRSET"]
CALLS: dict[str, tuple[Callable[[ClientEngine, str], object], type[Exception]]] = {
    "mail_from": (lambda engine, bad: engine.mail(bad, [TO]), AddressError),
    "recipients": (lambda engine, bad: engine.mail(FROM, [TO, bad]), AddressError),
    "params-key": (lambda engine, bad: engine.mail(FROM, [TO], {bad: ""}), CommandError),
    "params-value": (lambda engine, bad: engine.mail(FROM, [TO], {"XA": bad}), CommandError),
    "rcpt_params-key": (lambda engine, bad: engine.mail(FROM, [TO], None, [{bad: ""}]), CommandError),
    "rcpt_params-value": (lambda engine, bad: engine.mail(FROM, [TO], None, [{"XA": bad}]), CommandError),
    "command": (lambda engine, bad: engine.command(b"XFOO " + bad.encode()), CommandError),
    "mechanism": (lambda engine, bad: engine.auth(bad), CommandError),
    "local_name": (lambda _, bad: ClientEngine(bad), ConfigurationError),
}


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("call", CALLS)
def test_h84_cr_lf_and_nul_in_any_argument_are_value_errors(call: str, bad: str) -> None:
    engine = greeted(*ALL)
    do, error = CALLS[call]
    with pytest.raises(error) as caught:
        do(engine, bad)
    assert isinstance(caught.value, ValueError)
    assert engine.idle
    assert engine.command(b"NOOP") == b"NOOP\r\n"  # nothing was left to send


@given(data=st.data())
def test_h84_no_argument_whatever_makes_another_line(data: st.DataObject) -> None:
    letters = st.sampled_from('a@.<>"\\ \r\n\0=\x85\u2028é') | st.characters(codec="utf-8")
    text = st.text(letters, max_size=12)
    engine = greeted(*ALL)
    params = st.dictionaries(st.just("XA") | text, text, max_size=2)
    try:
        output = engine.mail(
            data.draw(st.just(FROM) | text),
            [data.draw(st.just(TO) | text)],
            data.draw(params),
            [data.draw(params)],
        )
    except ValueError:
        assert engine.idle
        return
    lines = output.split(b"\r\n")
    assert [line[:8] for line in lines] == [b"MAIL FRO", b"RCPT TO:", b""]
    assert not any(octet in line for line in lines for octet in (b"\r", b"\n", b"\0"))


def test_a_surrogate_is_a_value_error_too() -> None:
    with pytest.raises(UnicodeEncodeError):
        greeted(*ALL).mail("a\ud800@example.org", [TO])


def test_the_place_of_the_fault_counts_from_the_start_of_the_address() -> None:
    with pytest.raises(AddressError) as caught:
        greeted().mail(FROM, ["a b@example.org"])
    assert caught.value.offset == 1


def test_a_bare_newline_under_strict() -> None:
    engine = greeted("PIPELINING", newlines="strict")
    with pytest.raises(SyntaxRefused) as caught:
        engine.mail(FROM, [TO], data=b"ab\ncd\r\n")
    assert (caught.value.code, caught.value.offset, engine.idle) == (554, 2, True)
    engine.mail(FROM, [TO])
    engine.receive_data(b"250 ok\r\n250 ok\r\n354 go\r\n")
    with pytest.raises(SyntaxRefused):
        engine.content(b"ab\ncd\r\n")
    assert engine.closed
    assert engine.content(b"", last=True) == b""


@pytest.mark.parametrize(
    ("call", "extension"),
    [
        (lambda engine: engine.mail("jörg@example.com", [TO]), "SMTPUTF8"),
        (lambda engine: engine.mail(FROM, [TO], data=b"\xe9"), "8BITMIME"),
        (lambda engine: engine.mail(FROM, [TO], eight_bit=True), "8BITMIME"),
        (lambda engine: engine.mail(FROM, [TO], {"RET": "HDRS"}), "DSN"),
        (lambda engine: engine.mail(FROM, [TO], None, [{"NOTIFY": "NEVER"}]), "DSN"),
        (lambda engine: engine.mail(FROM, [TO], {"BODY": "BINARYMIME"}), "BINARYMIME"),
        (lambda engine: engine.starttls(), "STARTTLS"),
        (lambda engine: engine.auth("PLAIN"), "AUTH"),
    ],
)
def test_what_the_server_lacks(call: Callable[[ClientEngine], object], extension: str) -> None:
    engine = greeted()
    with pytest.raises(NotOffered) as caught:
        call(engine)
    assert caught.value.extension == extension
    assert engine.idle


def test_more_than_the_server_takes() -> None:
    engine = greeted("SIZE 1000")
    with pytest.raises(MessageTooLarge, match=r"1001 octets.*1000"):
        engine.mail(FROM, [TO], size=1001)
    with pytest.raises(MessageTooLarge):
        engine.mail(FROM, [TO], data=b"x" * 1001)
    assert engine.mail(FROM, [TO], size=1000).startswith(b"MAIL FROM:<ann@example.com> SIZE=1000\r\n")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ClientEngine("me.example", newlines="mend"), "newlines"),  # type: ignore[arg-type]
        (lambda: ClientEngine("me example"), "local_name"),
        (lambda: ClientEngine("bücher.example"), "local_name"),
        (lambda: ClientEngine("me.example", max_line=0), "max_line"),
        (lambda: ClientEngine("me.example", max_reply=-1), "max_reply"),
        (lambda: greeted().mail(FROM, []), "recipients"),
        (lambda: greeted().mail(FROM, [TO], None, [{}, {}]), "rcpt_params"),
    ],
)
def test_settings_that_cannot_work(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        call()


@pytest.mark.parametrize(
    "call",
    [
        lambda engine: engine.mail(FROM, [TO]),
        lambda engine: engine.command(b"NOOP"),
        lambda engine: engine.auth("PLAIN"),
        lambda engine: engine.starttls(),
        lambda engine: engine.respond(b"x"),
        lambda engine: engine.tls_started(),
    ],
)
def test_calls_out_of_turn(call: Callable[[ClientEngine], object]) -> None:
    engine = greeted(*ALL)
    engine.command(b"NOOP")
    with pytest.raises(EngineError):
        call(engine)


@pytest.mark.parametrize("line", [b"DATA", b"bdat 3", b"STARTTLS", b"AUTH PLAIN"])
def test_commands_that_have_methods_of_their_own(line: bytes) -> None:
    with pytest.raises(EngineError):
        greeted(*ALL).command(line)


@pytest.mark.parametrize(
    "octets",
    [b"999 hm\r\n", b"250 a\n", b"250 a\0\r\n", b"250-a\r\n251 b\r\n", b"2" * 5000, b"250-x\r\n" * 50_000],
    ids=["code", "lf", "nul", "mixed", "line", "reply"],
)
def test_h81_what_is_no_reply(octets: bytes) -> None:
    engine = greeted("PIPELINING")
    engine.mail(FROM, [TO], data=b"hi\r\n")
    with pytest.raises(ResponseError):
        engine.receive_data(octets)
    assert engine.closed
    sent = engine.lost()
    assert sent is not None
    assert sent.outcomes == [(Outcome.TEMPORARY, None)]


@pytest.mark.parametrize(
    "reads", [[b"220 go\r\n250 ok\r\n"], [b"220 go\r\n2"], [b"220 go\r\n", b"250 ok\r\n"]]
)
def test_h82_octets_ahead_of_the_handshake(reads: list[bytes]) -> None:
    engine = greeted(*ALL)
    engine.starttls()
    for read in reads[:-1]:
        engine.receive_data(read)
    with pytest.raises(ResponseError):
        engine.receive_data(reads[-1])
    with pytest.raises(EngineError):
        engine.tls_started()


# What it shows


def test_no_representation_shows_a_message_or_a_secret() -> None:
    engine = greeted(*ALL)
    shown = [repr(engine)]
    engine.auth("LOGIN", b"SECRET")
    event, _ = engine.receive_data(b"334 U0VDUkVU\r\n")
    shown += [repr(event), repr(engine)]
    engine.respond(b"SECRET")
    engine.receive_data(b"235 ok\r\n")
    engine.mail(FROM, [TO], data=b"SECRET\r\n")
    shown += [repr(engine), repr(sent_event(engine, b"250 ok\r\n250 ok\r\n250 kept\r\n"))]
    assert "SECRET" not in "".join(shown)
    assert "U0VDUkVU" not in "".join(shown)
    assert shown[-1] == "<SentEvent 1 of 1 recipients accepted>"


def test_the_transcript_has_neither() -> None:
    engine = greeted(*ALL)
    assert engine.take_transcript() == []
    engine.keep_transcript()
    engine.auth("PLAIN", b"SECRET")
    engine.receive_data(b"235 ok\r\n")
    engine.mail(FROM, [TO], data=b"SECRET\r\n")
    assert engine.take_transcript() == [
        (">", "AUTH PLAIN ***"),
        ("<", "235 ok"),
        (">", "MAIL FROM:<ann@example.com> SIZE=8"),
        (">", "RCPT TO:<joe@example.org>"),
        (">", "BDAT 8 LAST"),
        (">", "<8 octets of content>"),
    ]


def test_events_are_made_by_the_engine_alone() -> None:
    for event in (ReplyEvent, ChallengeEvent, HandshakeEvent, ContentEvent, SentEvent):
        with pytest.raises(TypeError):
            event()
    assert smtpx.ClientEngine is ClientEngine
