"""The sans-IO session as its drivers use it: events, answers, and calls out of turn."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from smtpx import (
    AuthEvent,
    CloseEvent,
    CommandEvent,
    CommandKind,
    EngineConfig,
    EngineError,
    ErrorEvent,
    MessageEvent,
    Response,
    ServerEngine,
)

from tests.engines import HELLO, HOST, OPENING, begun

if TYPE_CHECKING:
    from collections.abc import Callable

# A session without a socket


def test_a_whole_session() -> None:
    engine = begun()
    event, output = engine.receive_data(OPENING + b"DATA\r\n")
    assert event is None
    assert output.startswith(b"250-mx.example.org\r\n")
    assert output.endswith(b"354 " + output.rpartition(b"354 ")[2])
    event, output = engine.receive_data(b"Subject: hi\r\n\r\n..dot\r\n.\r\nQUIT\r\n")
    assert isinstance(event, MessageEvent)
    assert (event.mail_from, event.recipients) == ("a@example.net", ["b@example.org"])
    assert (event.params, event.rcpt_params) == ({}, [{}])
    assert event.data == b"Subject: hi\r\n\r\n.dot\r\n"
    assert output == b""  # what is pipelined behind waits for the answer
    event, output = engine.reply(Response(250, "2.0.0 kept as 17"))
    assert isinstance(event, CloseEvent)
    assert output.startswith(b"250 2.0.0 kept as 17\r\n221 2.0.0 ")
    assert engine.closed


def test_a_group_is_answered_in_one_write() -> None:
    event, output = begun().receive_data(OPENING + b"DATA\r\n")
    assert event is None
    assert [line[:4] for line in output.split(b"\r\n") if line[3:4] == b" "] == [
        b"250 ",
        b"250 ",
        b"250 ",
        b"354 ",
    ]


def test_the_banner_can_be_refused() -> None:
    engine = ServerEngine(EngineConfig(HOST))
    event, output = engine.start(Response(554, "5.7.1 not you"))
    assert output == b"554 5.7.1 not you\r\n"
    assert isinstance(event, CloseEvent)


def test_the_banner_has_the_greeting() -> None:
    _, output = ServerEngine(EngineConfig(HOST, greeting="ESMTP hello")).start()
    assert output == b"220 mx.example.org ESMTP hello\r\n"


def test_ehlo_advertises_what_is_there() -> None:
    engine = begun(
        starttls=True, dsn=True, extensions=["XWHATEVER 1 2"], max_message_size=77, mechanisms=["PLAIN"]
    )
    _, output = engine.receive_data(b"EHLO client.example\r\n")
    lines = [line[4:] for line in output.decode().splitlines()]
    assert lines[0].split()[0] == HOST
    expected = {
        "PIPELINING",
        "SIZE 77",
        "8BITMIME",
        "SMTPUTF8",
        "ENHANCEDSTATUSCODES",
        "CHUNKING",
        "BINARYMIME",
    }
    assert set(lines[1:]) == expected | {"STARTTLS", "DSN", "HELP", "XWHATEVER 1 2", "AUTH PLAIN"}


def test_helo_advertises_nothing() -> None:
    engine = begun(starttls=True, dsn=True)
    _, output = engine.receive_data(b"HELO client.example\r\n")
    assert output.count(b"\r\n") == 1
    assert not engine.esmtp
    assert engine.helo == "client.example"


# Events that the driver asks for


def decided(decide: CommandKind, line: bytes, after: bytes = b"") -> tuple[ServerEngine, CommandEvent]:
    engine = begun(decide=decide)
    engine.receive_data(after)
    event, output = engine.receive_data(line)
    assert isinstance(event, CommandEvent)
    assert output == b""
    return engine, event


MAIL = HELLO + b"MAIL FROM:<a@example.net>\r\n"


@pytest.mark.parametrize(
    ("kind", "after", "line"),
    [
        (CommandKind.EHLO, b"", b"EHLO other.example\r\n"),
        (CommandKind.HELO, b"", b"HELO other.example\r\n"),
        (CommandKind.MAIL, HELLO, b"MAIL FROM:<a@example.net>\r\n"),
        (CommandKind.RCPT, MAIL, b"RCPT TO:<b@example.org>\r\n"),
        (CommandKind.DATA, OPENING, b"DATA\r\n"),
        (CommandKind.RSET, HELLO, b"RSET\r\n"),
        (CommandKind.VRFY, HELLO, b"VRFY joe\r\n"),
        (CommandKind.EXPN, HELLO, b"EXPN joe\r\n"),
        (CommandKind.HELP, HELLO, b"HELP\r\n"),
        (CommandKind.NOOP, HELLO, b"NOOP\r\n"),
        (CommandKind.QUIT, HELLO, b"QUIT\r\n"),
    ],
    ids=lambda value: value.name if isinstance(value, CommandKind) else "",
)
def test_a_command_can_be_decided_and_its_default_is_what_none_sends(
    kind: CommandKind, after: bytes, line: bytes
) -> None:
    engine, event = decided(kind, line, after)
    assert event.command.kind is kind
    assert event.line.rstrip(b"\r\n") == line.rstrip(b"\r\n")
    _, output = engine.reply()
    assert output == bytes(event.default)
    engine, event = decided(kind, line, after)
    _, output = engine.reply(Response(450, "4.7.1 in other words"))
    assert output == b"450 4.7.1 in other words\r\n"


def test_a_command_that_is_refused_changes_nothing() -> None:
    engine, _ = decided(CommandKind.MAIL, b"MAIL FROM:<a@example.net>\r\n", HELLO)
    engine.reply(Response(550, "5.7.1 no"))
    assert not engine.in_transaction
    _, output = engine.receive_data(b"RCPT TO:<b@example.org>\r\n")
    assert output.startswith(b"503 5.5.1")


def test_a_refused_ehlo_leaves_the_session_without_one() -> None:
    engine, _ = decided(CommandKind.EHLO, HELLO)
    engine.reply(Response(550, "5.7.1 no"))
    assert engine.helo == ""
    _, output = engine.receive_data(b"MAIL FROM:<a@example.net>\r\n")
    assert output.startswith(b"503 5.5.1")


def test_a_421_of_the_driver_closes() -> None:
    engine, _ = decided(CommandKind.MAIL, b"MAIL FROM:<a@example.net>\r\nNOOP\r\n", HELLO)
    event, output = engine.reply(Response(421, "4.7.0 go away"))
    assert isinstance(event, CloseEvent)
    assert output == b"421 4.7.0 go away\r\n"


def test_events_keep_the_case_of_what_was_sent() -> None:
    _, event = decided(CommandKind.MAIL, b"mail from:<A.b@Example.NET> body=8bitMIME size=7\r\n", HELLO)
    assert event.line.rstrip() == b"mail from:<A.b@Example.NET> body=8bitMIME size=7"
    assert event.command.arg == "A.b@Example.NET"
    assert event.command.params == {"BODY": "8bitMIME", "SIZE": "7"}


def test_what_the_engine_refuses_itself_is_not_asked() -> None:
    engine = begun(decide=CommandKind.MAIL | CommandKind.RCPT)
    event, output = engine.receive_data(b"MAIL FROM:<a@example.net>\r\n")
    assert event is None
    assert output.startswith(b"503 5.5.1")
    event, output = engine.receive_data(HELLO + b"MAIL FROM:<a@@>\r\n")
    assert event is None
    assert b"501 5.1.7" in output


def test_errors_can_be_worded_by_the_driver() -> None:
    engine = begun(decide_errors=True)
    event, output = engine.receive_data(b"XYZZY now\r\n")
    assert isinstance(event, ErrorEvent)
    assert event.line.rstrip() == b"XYZZY now"
    assert event.default.code == 500
    assert output == b""
    assert engine.reply(Response(502, "5.5.1 what?")) == (None, b"502 5.5.1 what?\r\n")


def test_a_recipient_keeps_its_place_and_parameters_when_others_are_refused() -> None:
    engine = begun(decide=CommandKind.RCPT, dsn=True)
    engine.receive_data(MAIL)
    for line, answer in (
        (b"RCPT TO:<one@example.org> NOTIFY=NEVER\r\n", None),
        (b"RCPT TO:<two@example.org> NOTIFY=DELAY\r\n", Response(550, "5.1.1 no")),
        (b"RCPT TO:<three@example.org>\r\n", None),
    ):
        engine.receive_data(line)
        engine.reply(answer)
    event, _ = engine.receive_data(b"BDAT 0 LAST\r\n")
    assert isinstance(event, MessageEvent)
    assert event.recipients == ["one@example.org", "three@example.org"]
    assert event.rcpt_params == [{"NOTIFY": "NEVER"}, {}]


def test_h23_content_that_comes_while_data_is_being_decided_is_refused() -> None:
    engine, _ = decided(CommandKind.DATA, b"DATA\r\n", OPENING)
    engine.receive_data(b"RSET\r\n.\r\nMAIL FROM:<evil@example.net>\r\n")
    event, output = engine.reply()
    assert isinstance(event, CloseEvent)
    assert output.startswith(b"554 5.5.0 ")
    assert output.count(b"\r\n") == 1


def test_h44_a_chunk_that_the_driver_refuses_is_swallowed() -> None:
    engine, event = decided(CommandKind.BDAT, b"BDAT 6\r\nRS", OPENING)
    assert event.command.kind is CommandKind.BDAT
    event2, output = engine.reply(Response(450, "4.7.1 not now"))
    event3, more = engine.receive_data(b"ET\r\nBDAT 6 LAST\r\nQUIT\r\nNOOP\r\n")
    assert (event2, event3) == (None, None)
    assert [line[:3] for line in (output + more).splitlines()] == [b"450", b"503", b"250"]
    assert not engine.closed


# AUTH and STARTTLS


def test_auth_goes_through_challenges_and_logs_in() -> None:
    engine = begun(mechanisms=["PLAIN", "LOGIN"], auth_required=True, tls=True)
    engine.receive_data(HELLO)
    event, output = engine.receive_data(b"AUTH login\r\n")
    assert isinstance(event, AuthEvent)
    assert (event.mechanism.upper(), event.initial, event.response, output) == ("LOGIN", True, None, b"")
    assert engine.challenge(b"Username:") == (None, b"334 VXNlcm5hbWU6\r\n")
    event, _ = engine.receive_data(b"am9l\r\n")
    assert isinstance(event, AuthEvent)
    assert (event.initial, event.response) == (False, b"joe")
    assert engine.challenge(b"") == (None, b"334 \r\n")
    event, _ = engine.receive_data(b"\r\n")
    assert isinstance(event, AuthEvent)
    assert event.response == b""
    assert not engine.authenticated
    assert engine.reply(Response(235, "2.7.0 welcome")) == (None, b"235 2.7.0 welcome\r\n")
    assert engine.authenticated


def test_an_empty_initial_response_is_not_a_missing_one() -> None:
    engine = begun(mechanisms=["PLAIN"], tls=True)
    engine.receive_data(HELLO)
    event, _ = engine.receive_data(b"AUTH PLAIN =\r\n")
    assert isinstance(event, AuthEvent)
    assert event.response == b""


def test_a_refused_login_is_none() -> None:
    engine = begun(mechanisms=["PLAIN"], auth_required=True, tls=True)
    engine.receive_data(HELLO)
    engine.receive_data(b"AUTH PLAIN AGEAYg==\r\n")
    engine.reply(Response(535, "5.7.8 no"))
    assert not engine.authenticated


def test_starttls_is_upgraded_by_the_driver_and_forgets_the_session() -> None:
    engine = begun(starttls=True)
    engine.receive_data(HELLO)
    event, output = engine.receive_data(b"STARTTLS\r\nEHLO evil.example\r\n")
    assert isinstance(event, CommandEvent)
    assert event.command.kind is CommandKind.STARTTLS
    assert output == b""
    event, output = engine.reply()
    assert (event, output[:4]) == (None, b"220 ")
    assert output.count(b"\r\n") == 1
    engine.tls_started()
    assert engine.tls
    assert engine.helo == ""
    assert engine.buffered == 0
    _, output = engine.receive_data(HELLO)
    assert b"STARTTLS" not in output


def test_starttls_that_the_driver_refuses_goes_on_in_plain_text() -> None:
    engine = begun(starttls=True)
    engine.receive_data(HELLO)
    engine.receive_data(b"STARTTLS\r\n")
    assert engine.reply(Response(454, "4.7.0 not now")) == (None, b"454 4.7.0 not now\r\n")
    assert not engine.tls
    _, output = engine.receive_data(b"MAIL FROM:<a@example.net>\r\n")
    assert output.startswith(b"250 2.1.0")


# What is printed of events


def test_the_repr_of_an_event_says_what_it_is_about() -> None:
    _, event = decided(CommandKind.MAIL, b"MAIL FROM:<a@example.net> SIZE=9\r\n", HELLO)
    assert repr(event) == f"<CommandEvent {event.command!r} default={event.default!r}>"
    assert "a@example.net" in repr(event)
    error, _ = begun(decide_errors=True).receive_data(b"XYZZY\r\n")
    assert isinstance(error, ErrorEvent)
    assert repr(error) == f"<ErrorEvent b'XYZZY' default={error.default!r}>"
    close, _ = begun().receive_data(b"QUIT\r\n")
    assert repr(close) == '<CloseEvent "quit">'


def test_the_repr_of_an_event_shows_no_password_and_no_content() -> None:
    engine = begun(mechanisms=["PLAIN"], tls=True)
    engine.receive_data(HELLO)
    auth, _ = engine.receive_data(b"AUTH PLAIN AGpvZQBzZWNyZXQ=\r\n")
    assert repr(auth) == "<AuthEvent PLAIN begins>"
    engine = begun()
    engine.receive_data(OPENING + b"DATA\r\n")
    message, _ = engine.receive_data(b"secret\r\n.\r\n")
    assert repr(message) == "<MessageEvent from 'a@example.net' to 1 recipients, 8 octets>"


# Out of turn


@pytest.mark.parametrize(
    "call",
    [
        lambda engine: engine.reply(Response(250, "2.0.0 ok")),
        lambda engine: engine.challenge(b""),
        lambda engine: engine.tls_started(),
        lambda engine: engine.start(),
    ],
    ids=["reply", "challenge", "tls_started", "start"],
)
def test_an_answer_that_nobody_asked_for_is_the_drivers_fault(call: Callable[[ServerEngine], object]) -> None:
    with pytest.raises(EngineError):
        call(begun())


def test_a_challenge_is_no_answer_to_a_command() -> None:
    engine, _ = decided(CommandKind.MAIL, b"MAIL FROM:<a@example.net>\r\n", HELLO)
    with pytest.raises(EngineError):
        engine.challenge(b"")
    assert engine.reply()[1].startswith(b"250 2.1.0")


def test_what_comes_while_an_answer_is_owed_waits_for_it() -> None:
    engine, _ = decided(CommandKind.MAIL, b"MAIL FROM:<a@example.net>\r\n", HELLO)
    assert engine.receive_data(b"RSET\r\nNOOP\r\n") == (None, b"")
    assert engine.owes_answer
    _, output = engine.reply()
    assert [line[:3] for line in output.splitlines()] == [b"250"] * 3


def test_nothing_is_heard_after_the_close() -> None:
    engine = begun()
    event, _ = engine.receive_data(b"QUIT\r\n")
    assert isinstance(event, CloseEvent)
    assert engine.receive_data(b"NOOP\r\n") == (None, b"")
    assert engine.buffered == 0


def test_the_driver_can_close_at_any_time() -> None:
    engine = begun()
    engine.receive_data(OPENING + b"DATA\r\n")
    engine.receive_data(b"half a mess")
    assert engine.close(Response(421, "4.3.2 shutting down")) == b"421 4.3.2 shutting down\r\n"
    assert engine.closed
    assert engine.receive_data(b"age\r\n.\r\n") == (None, b"")


@pytest.mark.parametrize("data", [bytes(OPENING), bytearray(OPENING), memoryview(OPENING)])
def test_any_buffer_is_read(data: bytes | bytearray | memoryview) -> None:
    engine = begun()
    engine.receive_data(data)
    assert engine.in_transaction


def test_sessions_share_a_configuration_and_nothing_else() -> None:
    config = EngineConfig(HOST)
    one, other = ServerEngine(config), ServerEngine(config)
    one.start()
    other.start()
    one.receive_data(OPENING)
    assert one.in_transaction
    assert not other.in_transaction
    assert other.helo == ""
