"""What a next host is given of a message: parameters, content, and what it cannot be given."""

from __future__ import annotations

import pytest
from smtpx import Response
from smtpx.handover import fit, plain

from tests.relaying import mail

ALL = frozenset({"8BITMIME", "BINARYMIME", "CHUNKING", "DSN", "SMTPUTF8"})
NONE = frozenset[str]()
ASCII = b"Subject: x\r\n\r\nhi\r\n"
EIGHT_BIT = b"Subject: x\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n" + "grüße\r\n".encode()
UTF8_HEADER = "Subject: grüße\r\n\r\nhi\r\n".encode()
BINARY = (
    b"Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: image/png\r\n"
    b"Content-Transfer-Encoding: binary\r\n\r\n\x89PNG\r\n\x1a\n\0\xff"
)
SIGNED = (
    b"Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: multipart/signed; boundary=b\r\n"
    b"Content-Transfer-Encoding: 8bit\r\n\r\n--b\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    b"gr\xc3\xbc\xc3\x9fe\r\n--b--\r\n"
)


def refusals(refused: object) -> set[tuple[int, str | None]]:
    assert isinstance(refused, dict)
    return {(response.code, response.enhanced) for response in refused.values()}


# SMTPUTF8


@pytest.mark.parametrize("params", [{}, {"SMTPUTF8": ""}])
def test_h69_an_ascii_message_goes_without_smtputf8_where_it_is_not_offered(params: dict[str, str]) -> None:
    fitted = fit(mail(data=EIGHT_BIT, **params), {"8BITMIME"})
    assert "SMTPUTF8" not in fitted.mail.params
    assert (fitted.mail.data, fitted.mail.recipients) == (EIGHT_BIT, ["joe@example.org"])


def test_smtputf8_is_passed_on_where_it_is_offered() -> None:
    assert fit(mail(data=ASCII, SMTPUTF8=""), ALL).mail.params == {"SMTPUTF8": ""}


def test_smtputf8_is_asked_for_by_a_header_that_needs_it() -> None:
    assert "SMTPUTF8" in fit(mail(data=UTF8_HEADER), ALL).mail.params
    assert fit(mail(data=ASCII), ALL).mail.params == {}


def test_h69_a_header_that_needs_smtputf8_is_refused_where_it_is_not_offered() -> None:
    fitted = fit(mail("joe@example.org", "ann@example.org", data=UTF8_HEADER), {"8BITMIME"})
    assert fitted.mail.recipients == []
    assert refusals(fitted.refused) == {(554, "5.6.9")}
    assert len(fitted.refused) == 2


def test_h69_a_sender_that_needs_smtputf8_is_refused_where_it_is_not_offered() -> None:
    fitted = fit(mail(sender="jörg@example.com"), {"8BITMIME"})
    assert fitted.mail.recipients == []
    assert refusals(fitted.refused) == {(550, "5.6.7")}


def test_h69_only_the_recipient_that_needs_smtputf8_is_refused() -> None:
    message = mail("joe@example.org", "jörg@example.org")
    message.rcpt_params = [{"NOTIFY": "NEVER"}, {}]
    fitted = fit(message, {"DSN"})
    assert fitted.mail.recipients == ["joe@example.org"]
    assert fitted.mail.rcpt_params == [{"NOTIFY": "NEVER"}]
    assert list(fitted.refused) == ["jörg@example.org"]
    assert refusals(fitted.refused) == {(550, "5.6.7")}


# BODY


@pytest.mark.parametrize("body", ["", "7BIT", "8BITMIME"])
def test_h69a_eight_bit_content_stays_where_it_can(body: str) -> None:
    fitted = fit(mail(data=EIGHT_BIT, BODY=body), {"8BITMIME"})
    assert fitted.mail.data is EIGHT_BIT
    assert fitted.mail.params == {"BODY": "8BITMIME"}


def test_h69a_eight_bit_content_is_converted_where_it_must_be() -> None:
    fitted = fit(mail(data=EIGHT_BIT, BODY="8BITMIME"), NONE)
    assert fitted.mail.data.isascii()
    assert b"gr=C3=BC=C3=9Fe" in fitted.mail.data
    assert fitted.mail.params == {}


def test_ascii_content_needs_no_8bitmime() -> None:
    fitted = fit(mail(data=ASCII, BODY="8BITMIME"), NONE)
    assert fitted.mail.data is ASCII
    assert fitted.mail.params == {}


@pytest.mark.parametrize("params", [{}, {"BODY": "BINARYMIME"}, {"BODY": "binarymime"}])
def test_h69a_binary_content_stays_where_it_can(params: dict[str, str]) -> None:
    fitted = fit(mail(data=BINARY, **params), ALL)
    assert fitted.mail.data is BINARY
    assert fitted.mail.params == {"BODY": "BINARYMIME"}


@pytest.mark.parametrize("offered", [NONE, {"8BITMIME"}, {"8BITMIME", "BINARYMIME"}])
def test_h69a_binary_content_is_converted_where_it_must_be(offered: frozenset[str]) -> None:
    fitted = fit(mail(data=BINARY, BODY="BINARYMIME"), offered)
    assert fitted.mail.data.endswith(b"\r\niVBORw0KGgoA/w==\r\n")
    assert fitted.mail.params == {}


def test_h69a_what_is_signed_is_refused_not_changed() -> None:
    fitted = fit(mail(data=SIGNED), NONE)
    assert refusals(fitted.refused) == {(554, "5.6.3")}
    assert fitted.mail.recipients == []


def test_h69a_binary_content_that_does_not_say_so_is_refused_not_mended() -> None:
    data = b"Subject: x\r\n\r\na bare\nline feed\r\n"
    assert refusals(fit(mail(data=data, BODY="BINARYMIME"), {"8BITMIME"}).refused) == {(554, "5.6.3")}
    assert fit(mail(data=ASCII, BODY="BINARYMIME"), {"8BITMIME"}).refused == {}


# Other parameters


def test_what_the_sender_asks_of_reports_is_passed_on() -> None:
    message = mail(RET="HDRS", ENVID="a+2Bb")
    message.rcpt_params = [{"NOTIFY": "SUCCESS,DELAY", "ORCPT": "rfc822;joe@example.org"}]
    fitted = fit(message, {"DSN"})
    assert fitted.mail.params == {"RET": "HDRS", "ENVID": "a+2Bb"}
    assert fitted.mail.rcpt_params == message.rcpt_params


def test_what_the_sender_asks_of_reports_is_left_off_where_nobody_would_heed_it() -> None:
    message = mail(RET="HDRS", ENVID="a")
    message.rcpt_params = [{"NOTIFY": "SUCCESS", "ORCPT": "rfc822;joe@example.org"}]
    fitted = fit(message, ALL - {"DSN"})
    assert fitted.mail.params == {}
    assert fitted.mail.rcpt_params == [{}]
    assert message.rcpt_params[0]["NOTIFY"] == "SUCCESS"


def test_an_original_recipient_in_utf_8_goes_in_a_form_that_every_host_takes() -> None:
    message = mail()
    message.rcpt_params = [{"ORCPT": "utf-8;jörg@example.org"}]
    assert fit(message, {"DSN"}).mail.rcpt_params == [{"ORCPT": r"utf-8;j\x{F6}rg@example.org"}]


def test_no_other_parameter_is_passed_on() -> None:
    message = mail(SIZE="1", AUTH="<>", REQUIRETLS="", X="y")
    message.rcpt_params = [{"X": "y"}]
    fitted = fit(message, ALL)
    assert fitted.mail.params == {}
    assert fitted.mail.rcpt_params == [{}]


def test_h87_the_relay_takes_nothing_out_of_a_header() -> None:
    # Bcc is taken out where a message is submitted; here it may be signed.
    data = b"Bcc: ann@example.net\r\nSubject: x\r\n\r\n"
    assert fit(mail(data=data), ALL).mail.data is data


def test_a_plain_response_stays_as_it_is() -> None:
    response = Response(550, "5.1.1 naïve", ["two"])
    assert plain(response) is response
    assert plain(Response(550, "a\x1bb", ["c\u202ed"])) == Response(550, "a\ufffdb", ["c\ufffdd"])
