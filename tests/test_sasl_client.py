"""The client's side of SASL: what each mechanism says, what it believes, and which one is chosen."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import pytest
from smtpx.errors import ConfigurationError, LoginBroken, NotOffered
from smtpx.sasl import (
    Credentials,
    Mechanism,
    choose_mechanism,
    server_mechanism,
)

from tests.exchanges import ALL, ED25519, PLUS, SCRAM, SHA256, TOKEN, begin

# PLAIN, LOGIN, CRAM-MD5


def test_plain_says_all_with_auth() -> None:  # RFC 4616 4
    exchange = begin(Mechanism.PLAIN, "tim", "tanstaaftanstaaf")
    assert exchange.initial == b"\0tim\0tanstaaftanstaaf"
    exchange.finish("2.7.0 welcome")


def test_plain_sends_utf8_as_given() -> None:
    assert begin(Mechanism.PLAIN, "jörg", "e\u0301 ß").initial == "\0jörg\0e\u0301 ß".encode()


def test_plain_is_what_our_server_takes() -> None:
    initial = begin(Mechanism.PLAIN, "jörg", "geheimß").initial
    assert server_mechanism("PLAIN").step(initial) == Credentials("jörg", "geheimß")


def test_plain_has_no_answer_to_a_challenge() -> None:
    with pytest.raises(LoginBroken, match="PLAIN"):
        begin(Mechanism.PLAIN).step(b"more?")


def test_login_answers_two_challenges_whatever_they_say() -> None:
    exchange = begin(Mechanism.LOGIN)
    assert exchange.initial is None
    assert [exchange.step(b"User Name\0"), exchange.step(b"")] == [b"joe", b"secret"]
    exchange.finish("ok")


def test_login_has_no_answer_to_a_third_challenge() -> None:
    exchange = begin(Mechanism.LOGIN)
    exchange.step(b"Username:")
    exchange.step(b"Password:")
    with pytest.raises(LoginBroken, match="none is due"):
        exchange.step(b"Mother's maiden name:")


def test_login_does_not_believe_a_235_before_the_password() -> None:
    exchange = begin(Mechanism.LOGIN)
    exchange.step(b"Username:")
    with pytest.raises(LoginBroken, match="235"):
        exchange.finish("ok")


def test_cram_md5_answers_with_a_keyed_digest() -> None:  # RFC 2195 2
    exchange = begin(Mechanism.CRAM_MD5, "tim", "tanstaaftanstaaf")
    assert exchange.initial is None
    challenge = b"<1896.697170952@postoffice.reston.mci.net>"
    assert exchange.step(challenge) == b"tim b913a602c7eda7a495b4e6e7334d3890"
    exchange.finish("ok")


def test_cram_md5_digests_no_empty_challenge() -> None:
    with pytest.raises(LoginBroken, match="CRAM-MD5"):
        begin(Mechanism.CRAM_MD5).step(b"")


def test_cram_md5_answers_once() -> None:
    exchange = begin(Mechanism.CRAM_MD5)
    exchange.step(b"<1@mx>")
    with pytest.raises(LoginBroken, match="CRAM-MD5"):
        exchange.step(b"<2@mx>")


# Tokens


def test_xoauth2_sends_the_token_with_auth() -> None:  # the example of Google's documentation
    exchange = begin(
        Mechanism.XOAUTH2, "someuser@example.com", "ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg"
    )
    assert exchange.initial is not None
    assert b64encode(exchange.initial) == (
        b"dXNlcj1zb21ldXNlckBleGFtcGxlLmNvbQFhdXRoPUJlYXJlciB5YTI5LnZGOWRmdDRxbVRjMk52YjNSbGNrQmhkSFJoZG1semRHRXVZ"
        b"Mjl0Q2cBAQ=="
    )
    exchange.finish("ok")


def test_xoauth2_answers_an_error_with_nothing() -> None:
    assert begin(Mechanism.XOAUTH2, secret=TOKEN).step(b'{"status":"401"}') == b""


def test_oauthbearer_sends_the_token_with_auth() -> None:  # RFC 7628 4.1
    exchange = begin(Mechanism.OAUTHBEARER, "user@example.com", TOKEN, host="server.example.com", port=143)
    assert exchange.initial is not None
    assert b64encode(exchange.initial) == (
        b"bixhPXVzZXJAZXhhbXBsZS5jb20sAWhvc3Q9c2VydmVyLmV4YW1wbGUuY29tAXBvcnQ9MTQzAWF1dGg9QmVhcmVyIHZGOWRmdDRxbVRj"
        b"Mk52YjNSbGNrQmhiSFJoZG1semRHRXVZMjl0Q2c9PQEB"
    )
    exchange.finish("ok")


def test_oauthbearer_leaves_out_a_host_that_it_is_not_told() -> None:
    initial = begin(Mechanism.OAUTHBEARER, secret="abc").initial
    assert initial == b"n,a=joe,\1auth=Bearer abc\1\1"


def test_oauthbearer_escapes_the_user_name() -> None:  # RFC 5801 4
    initial = begin(Mechanism.OAUTHBEARER, "a=b,c", "abc").initial
    assert initial == b"n,a=a=3Db=2Cc,\1auth=Bearer abc\1\1"


def test_oauthbearer_answers_an_error_with_one_octet() -> None:  # RFC 7628 3.2.3
    assert begin(Mechanism.OAUTHBEARER, secret=TOKEN).step(b'{"status":"invalid_token"}') == b"\1"


@pytest.mark.parametrize("mechanism", [Mechanism.XOAUTH2, Mechanism.OAUTHBEARER])
def test_a_token_is_not_accepted_behind_an_error(mechanism: Mechanism) -> None:
    exchange = begin(mechanism, secret=TOKEN)
    exchange.step(b'{"status":"401"}')
    with pytest.raises(LoginBroken, match=mechanism.wire):
        exchange.finish("ok")


@pytest.mark.parametrize("mechanism", [Mechanism.XOAUTH2, Mechanism.OAUTHBEARER])
def test_a_token_has_one_error_at_most(mechanism: Mechanism) -> None:
    exchange = begin(mechanism, secret=TOKEN)
    exchange.step(b'{"status":"401"}')
    with pytest.raises(LoginBroken, match=mechanism.wire):
        exchange.step(b'{"status":"401"}')


@pytest.mark.parametrize("mechanism", [Mechanism.XOAUTH2, Mechanism.OAUTHBEARER])
@pytest.mark.parametrize("token", ["", "two words", "abc\1auth=Bearer x", "abc\n", "tökén"])
def test_what_is_no_token_is_refused(mechanism: Mechanism, token: str) -> None:
    with pytest.raises(ConfigurationError, match=r"token|password"):
        begin(mechanism, secret=token)


# What no mechanism carries


@pytest.mark.parametrize("mechanism", Mechanism)
@pytest.mark.parametrize("username", ["", "jo\0e", "joe\r\n", "joe\1", "joe\x7f", "joe\udcff"])
def test_a_bad_user_name_is_a_value_error(mechanism: Mechanism, username: str) -> None:
    with pytest.raises(ValueError, match="user name"):
        begin(mechanism, username, certificate=SHA256)


@pytest.mark.parametrize("mechanism", Mechanism)
@pytest.mark.parametrize("password", ["sec\0ret", "secret\n", "\rsecret", "secret\udcff"])
def test_a_bad_password_is_a_value_error_that_does_not_show_it(mechanism: Mechanism, password: str) -> None:
    with pytest.raises(ValueError, match="password") as caught:
        begin(mechanism, "joe", password, certificate=SHA256)
    assert "secret" not in repr(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


# Which one


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        (ALL, PLUS),
        (["LOGIN", "PLAIN", "SCRAM-SHA-256"], SCRAM),
        (["LOGIN", "PLAIN", "CRAM-MD5", "GSSAPI"], Mechanism.PLAIN),
        (["login"], Mechanism.LOGIN),
    ],
)
def test_the_strongest_mechanism_for_a_password_is_chosen(offered: list[str], chosen: Mechanism) -> None:
    assert choose_mechanism(offered, tls=True, certificate=SHA256) is chosen


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [(ALL, Mechanism.OAUTHBEARER), (["PLAIN", "XOAUTH2"], Mechanism.XOAUTH2)],
)
def test_the_strongest_mechanism_for_a_token_is_chosen(offered: list[str], chosen: Mechanism) -> None:
    assert choose_mechanism(offered, token=True, tls=True) is chosen


@pytest.mark.parametrize("certificate", [None, ED25519])
def test_plus_is_passed_over_without_a_binding(certificate: bytes | None) -> None:
    assert choose_mechanism(ALL, tls=True, certificate=certificate) is SCRAM


def test_in_the_clear_only_what_shows_no_secret_is_chosen() -> None:
    assert choose_mechanism(ALL, tls=False) is SCRAM


def test_cram_md5_is_chosen_only_where_it_is_asked_for() -> None:
    offered = ["CRAM-MD5", "PLAIN"]
    assert choose_mechanism(offered, tls=True) is Mechanism.PLAIN
    asked = [Mechanism.PLAIN, Mechanism.CRAM_MD5]
    assert choose_mechanism(offered, tls=False, allowed=asked) is Mechanism.CRAM_MD5


def test_what_the_caller_allows_is_chosen_from() -> None:
    assert choose_mechanism(ALL, tls=True, allowed=[Mechanism.LOGIN]) is Mechanism.LOGIN


@pytest.mark.parametrize("token", [False, True])
def test_a_secret_is_shown_in_the_clear_where_that_is_asked_for(token: bool) -> None:
    offered = ["XOAUTH2"] if token else ["PLAIN"]
    assert choose_mechanism(offered, token=token, tls=False, cleartext=True).wire == offered[0]


def refusal(offered: list[str], **more: Any) -> str:
    with pytest.raises(NotOffered) as caught:
        choose_mechanism(offered, **{"tls": True, **more})
    assert caught.value.extension == "AUTH"
    return str(caught.value)


@pytest.mark.parametrize(
    ("offered", "token"), [(["PLAIN", "LOGIN"], False), (["OAUTHBEARER", "XOAUTH2"], True)]
)
def test_no_secret_is_shown_in_the_clear(offered: list[str], token: bool) -> None:
    text = refusal(offered, token=token, tls=False)
    assert f"offers {', '.join(offered)};" in text
    assert "smtp+starttls://" in text
    assert "cleartext_auth=True" in text


def test_a_server_without_auth_is_told_with_the_mend() -> None:
    assert "offers no AUTH; log in behind TLS" in refusal([], tls=False)
    assert "offers no AUTH; leave out the user name" in refusal([], tls=True)


def test_a_mechanism_that_is_not_allowed_is_told_with_the_mend() -> None:
    assert "mechanisms=[Mechanism.CRAM_MD5]" in refusal(["CRAM-MD5", "NTLM"])
    assert "mechanisms=[Mechanism.PLAIN]" in refusal(["PLAIN"], allowed=[SCRAM])


def test_a_server_that_takes_the_other_kind_of_secret_is_told_with_the_mend() -> None:
    assert "give a token" in refusal(["XOAUTH2"])
    assert "give a password" in refusal(["PLAIN"], token=True)


def test_a_server_that_offers_nothing_we_know_is_told_what_we_do() -> None:
    text = refusal(["GSSAPI", "NTLM"])
    assert "offers GSSAPI, NTLM; smtpx, which speaks PLAIN" in text


def test_what_the_server_offers_is_shown_without_what_a_terminal_obeys() -> None:
    assert "\x1b" not in refusal(["\x1b[31mX"])
