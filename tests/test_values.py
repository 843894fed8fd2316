"""The native values: Response, Command, ServerInfo, xtext, and the decoder of replies."""

from __future__ import annotations

import copy
import pickle
from typing import TYPE_CHECKING

import pytest
import smtpx
from smtpx import Command, CommandKind, Response, ServerInfo

if TYPE_CHECKING:
    from collections.abc import Callable

EHLO = Response(
    250, "mx.example.org at your service", ["SIZE 1000", "auth PLAIN LOGIN", "AUTH=PLAIN", "8BITMIME"]
)


def test_response_frames_itself_verbatim() -> None:
    assert bytes(Response(250, "one", ["two"])) == b"250-one\r\n250 two\r\n"


def test_response_reads_what_it_frames() -> None:
    assert smtpx.parse_response(bytes(EHLO)) == EHLO


@pytest.mark.parametrize("text", ["a\rb", "a\nb", "a\0b"])
def test_response_takes_no_text_that_would_break_its_frame(text: str) -> None:
    with pytest.raises(ValueError, match="reply"):
        Response(250, text)
    with pytest.raises(ValueError, match="reply"):
        Response(250, "fine", [text])


@pytest.mark.parametrize("code", [0, 99, 199, 600, 999])
def test_response_takes_no_code_that_is_none(code: int) -> None:
    with pytest.raises(smtpx.ResponseError):
        Response(code, "text")


def test_response_shows_its_enhanced_code() -> None:
    assert Response(550, "5.7.1 No").enhanced == "5.7.1"
    assert Response(250, "fine").enhanced is None


def test_response_matches_by_position() -> None:
    match Response(451, "4.3.0 later"):
        case Response(code, message, []):
            assert (code, message) == (451, "4.3.0 later")


def test_response_is_compared_hashed_pickled_and_copied_by_value() -> None:
    again = Response(250, EHLO.message, EHLO.body)
    assert again == EHLO
    assert again != Response(251, EHLO.message, EHLO.body)
    assert len({again, EHLO}) == 1
    assert pickle.loads(pickle.dumps(EHLO)) == EHLO
    assert copy.deepcopy(EHLO) == EHLO


def test_command_keeps_values_as_they_came_and_keywords_in_upper_case() -> None:
    command = smtpx.parse_command(b"MAIL FROM:<a@b.org> size=10 SmtpUTF8 envid=A+2BB\r\n")
    assert command.kind is CommandKind.MAIL
    assert command.arg == "a@b.org"
    assert command.params == {"SIZE": "10", "SMTPUTF8": "", "ENVID": "A+2BB"}


def test_command_gives_typed_values() -> None:
    mail = smtpx.parse_command(b"MAIL FROM:<a@b.org> SIZE=10 SMTPUTF8 ENVID=A+2BB AUTH=<>")
    assert (mail.size, mail.smtputf8, mail.envid, mail.auth) == (10, True, "A+B", "<>")
    rcpt = smtpx.parse_command(b"RCPT TO:<a@b.org> NOTIFY=success,DELAY ORCPT=rfc822;a+2Bb@c.org")
    assert rcpt.notify == frozenset({"SUCCESS", "DELAY"})
    assert rcpt.orcpt == ("rfc822", "a+b@c.org")
    assert smtpx.parse_command(b"RCPT TO:<a@b.org>").notify is None


def test_typed_value_that_is_none_is_an_error() -> None:
    command = smtpx.parse_command(b"MAIL FROM:<a@b.org> SIZE=ten")
    with pytest.raises(smtpx.CommandError) as raised:
        _ = command.size
    assert (raised.value.code, raised.value.enhanced) == (501, "5.5.4")


def test_command_made_by_hand_equals_the_parsed_one() -> None:
    made = Command(CommandKind.RCPT, "a@b.org", "", {"NOTIFY": "NEVER"})
    assert made == smtpx.parse_command("RCPT TO:<a@b.org> NOTIFY=NEVER")
    assert repr(made) == "Command(kind=CommandKind.RCPT, arg='a@b.org', param='', params={'NOTIFY': 'NEVER'})"


def test_initial_response_of_auth_is_its_param() -> None:
    command = smtpx.parse_command(b"AUTH plain AGEAYg==")
    assert (command.arg, command.param) == ("PLAIN", "AGEAYg==")


def test_error_of_a_parser_tells_code_and_place_and_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="domain") as raised:
        smtpx.parse_path(b"<a@b..c>")
    assert isinstance(raised.value, smtpx.AddressError)
    assert (raised.value.code, raised.value.enhanced, raised.value.offset) == (501, "5.1.3", 5)
    again = pickle.loads(pickle.dumps(raised.value))
    assert (type(again), again.code, again.offset) == (smtpx.AddressError, 501, 5)


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (smtpx.parse_path, "<a\udcff@b.org>"),
        (smtpx.parse_mailbox, "a\udcff@b.org"),
        (smtpx.parse_command, "MAIL FROM:<a\udcff@b.org>"),
    ],
)
def test_text_that_is_no_utf8_is_refused_with_its_place(parse: Callable[[str], object], text: str) -> None:
    with pytest.raises(smtpx.SyntaxRefused, match="UTF-8") as raised:
        parse(text)
    assert raised.value.offset == text.index("\udcff")


@pytest.mark.parametrize("code", [220, 251, 421, 502, 554])
def test_server_info_is_not_read_from_a_reply_that_refuses(code: int) -> None:
    with pytest.raises(smtpx.ResponseError, match=f"answered EHLO or HELO with {code} not now"):
        ServerInfo.from_response(Response(code, "not now"))


def test_server_info_reads_a_reply_to_ehlo() -> None:
    info = ServerInfo.from_response(EHLO)
    assert (info.domain, info.info) == ("mx.example.org", "at your service")
    assert info.extensions["SIZE"] == ["1000"]
    assert info.extensions["AUTH"] == ["PLAIN", "LOGIN"]
    assert info.extensions["8BITMIME"] == []


def test_decoder_gives_the_replies_that_a_read_completes() -> None:
    decoder = smtpx.ResponseDecoder()
    assert decoder.receive_data(b"220 hi\r\n250-one\r\n25") == [Response(220, "hi")]
    assert decoder.buffered == 11
    assert decoder.receive_data(b"0 two\r\n") == [Response(250, "one", ["two"])]
    assert decoder.buffered == 0


def test_decoder_gives_up_a_stream_that_is_no_smtp() -> None:
    decoder = smtpx.ResponseDecoder()
    with pytest.raises(smtpx.ResponseError):
        decoder.receive_data(b"HTTP/1.1 400 Bad Request\r\n")
    with pytest.raises(smtpx.ResponseError):
        decoder.receive_data(b"250 fine\r\n")


@pytest.mark.parametrize(("text", "value"), [("a+b=c d", "a+2Bb+3Dc+20d"), ("plain", "plain"), ("", "")])
def test_xtext_goes_both_ways(text: str, value: str) -> None:
    assert smtpx.encode_xtext(text) == value
    assert smtpx.decode_xtext(value) == text


def test_text_where_octets_are_due_is_a_type_error() -> None:
    with pytest.raises(TypeError):
        smtpx.dot_stuff("text")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["max_line", "max_reply"])
@pytest.mark.parametrize("value", [0, -1, 1 << 64])
def test_a_limit_of_the_decoder_is_1_or_more(name: str, value: int) -> None:
    with pytest.raises(smtpx.ConfigurationError, match=f"^{name}: {value}: write a number from 1"):
        smtpx.ResponseDecoder(**{name: value})
