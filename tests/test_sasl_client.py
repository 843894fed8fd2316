"""The client's side of SASL: what each mechanism says, what it believes, and which one is chosen."""

from __future__ import annotations

import hashlib
import ssl
from base64 import b64decode, b64encode
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st
from scramp import ScramClient, ScramException, ScramMechanism
from smtpx.certificate import make_certificate
from smtpx.errors import ConfigurationError, LoginBroken, NotOffered
from smtpx.sasl import (
    ClientMechanism,
    Credentials,
    Mechanism,
    _Scram,
    choose_mechanism,
    client_mechanism,
    server_mechanism,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ALL = [mechanism.wire for mechanism in Mechanism]
SCRAM, PLUS = Mechanism.SCRAM_SHA_256, Mechanism.SCRAM_SHA_256_PLUS
TOKEN = "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg=="


def begin(
    mechanism: Mechanism, username: str = "joe", secret: str = "secret", **more: Any
) -> ClientMechanism:
    return client_mechanism(mechanism, username, secret, **{"offered": ALL, **more})


def signed(key: Any, algorithm: Any) -> bytes:
    """A certificate (DER) with a signature of that kind."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "mx.example.org")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + timedelta(days=1))
    return builder.sign(key, algorithm).public_bytes(Encoding.DER)


EC_KEY = ec.generate_private_key(ec.SECP256R1())
SHA256, SHA384 = signed(EC_KEY, hashes.SHA256()), signed(EC_KEY, hashes.SHA384())
# cryptography signs by SHA-1 no more: the last octet of sha256WithRSAEncryption becomes sha1's.
RSA = bytes.fromhex("06092a864886f70d0101")
SHA1 = signed(rsa.generate_private_key(65537, 2048), hashes.SHA256()).replace(RSA + b"\x0b", RSA + b"\x05")
ED25519 = signed(ed25519.Ed25519PrivateKey.generate(), None)


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


# SCRAM


class ScramServer:
    """scramp's server, as a server of SMTP would have it: octets in, octets out."""

    def __init__(self, mechanism: Mechanism, password: str = "secret", binding: Any = None) -> None:
        scram = ScramMechanism(mechanism.wire)
        known = {"joe": scram.make_auth_info(password), "a=b,c": scram.make_auth_info(password)}
        self._server = scram.make_server(known.get, channel_binding=binding)

    def first(self, message: bytes | None) -> bytes:
        assert message is not None
        self._server.set_client_first(message.decode())
        return str(self._server.get_server_first()).encode()

    def final(self, message: bytes) -> bytes:
        self._server.set_client_final(message.decode())
        return str(self._server.get_server_final()).encode()


def last_challenge(exchange: ClientMechanism, server: ScramServer) -> bytes:
    return server.final(exchange.step(server.first(exchange.initial)))


def test_scram_says_what_the_rfc_says() -> None:  # RFC 7677 3
    client = ScramClient([SCRAM.wire], "user", "pencil", c_nonce="rOprNGfwEbeRWgbNEkqO")
    exchange = _Scram(SCRAM, client)
    assert exchange.initial == b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
    nonce = b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    assert exchange.step(nonce + b",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096") == (
        b"c=biws," + nonce + b",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    )
    assert not exchange.done
    assert exchange.step(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=") == b""
    assert exchange.done


def test_scram_believes_a_235_behind_the_servers_proof() -> None:
    exchange = begin(SCRAM)
    assert exchange.step(last_challenge(exchange, ScramServer(SCRAM))) == b""
    exchange.finish("2.7.0 ok")


@pytest.mark.parametrize("text", ["{}", "2.7.0 {}", "2.7.0 {} welcome, Joe", "2.7.0 welcome {}"])
def test_scram_takes_the_servers_proof_from_the_text_of_235(text: str) -> None:
    exchange = begin(SCRAM)
    proof = last_challenge(exchange, ScramServer(SCRAM))
    exchange.finish(text.format(b64encode(proof).decode()))
    assert exchange.done


@pytest.mark.parametrize("text", ["", "2.7.0 ok", "dj0=", "v=x", "2.7.0 dj1hYWFhYWFhYQ==", "ünïcode"])
def test_scram_refuses_a_235_without_the_servers_proof(text: str) -> None:
    exchange = begin(SCRAM)
    last_challenge(exchange, ScramServer(SCRAM))
    with pytest.raises(LoginBroken, match="SCRAM-SHA-256"):
        exchange.finish(text)


@pytest.mark.parametrize("text", ["2.7.0 ok", "dj1hYWFhYWFhYQ=="])
def test_scram_refuses_a_235_straight_behind_auth(text: str) -> None:
    with pytest.raises(LoginBroken, match="SCRAM-SHA-256"):
        begin(SCRAM).finish(text)


def test_scram_refuses_a_server_that_does_not_know_the_password() -> None:
    exchange = begin(SCRAM)
    server = ScramServer(SCRAM)
    exchange.step(server.first(exchange.initial))
    with pytest.raises(LoginBroken, match="signature"):
        exchange.step(b"v=" + b64encode(b"x" * 32))
    assert not exchange.done


def test_scram_of_a_wrong_password_is_refused_by_the_server() -> None:
    exchange = begin(SCRAM, secret="wrong")
    with pytest.raises(ScramException, match="invalid-proof"):
        last_challenge(exchange, ScramServer(SCRAM))


@pytest.mark.parametrize("steps", [0, 1])
def test_scram_acknowledges_the_servers_error_and_believes_no_235_behind_it(steps: int) -> None:
    exchange = begin(SCRAM)
    if steps:
        exchange.step(ScramServer(SCRAM).first(exchange.initial))
    assert exchange.step(b"e=invalid-proof") == b""
    with pytest.raises(LoginBroken, match="SCRAM-SHA-256"):
        exchange.finish("ok")


def test_scram_has_no_answer_behind_an_error() -> None:
    exchange = begin(SCRAM)
    exchange.step(b"e=other-error")
    with pytest.raises(LoginBroken, match="none is due"):
        exchange.step(b"")


def test_scram_has_no_answer_behind_the_servers_proof() -> None:
    exchange = begin(SCRAM)
    exchange.step(last_challenge(exchange, ScramServer(SCRAM)))
    with pytest.raises(LoginBroken, match="none is due"):
        exchange.step(b"")


def test_scram_prepares_and_escapes_user_name_and_password() -> None:
    # SASLprep: a no-break space is a space, a soft hyphen nothing (RFC 4013 2.1).
    exchange = begin(SCRAM, "a=\u00adb,c", "my\u00a0secret")
    assert exchange.step(last_challenge(exchange, ScramServer(SCRAM, "my secret"))) == b""


@pytest.mark.parametrize(
    ("username", "password"), [("joe", "bell\7"), ("jo\ue000e", "secret"), ("\u00ad", "x")]
)
def test_scram_refuses_what_saslprep_does(username: str, password: str) -> None:
    with pytest.raises(ConfigurationError, match="SCRAM cannot carry"):
        begin(SCRAM, username, password)


def test_scram_does_not_count_for_ever() -> None:
    exchange = begin(SCRAM)
    salted = ScramServer(SCRAM).first(exchange.initial).rpartition(b",i=")[0]
    with pytest.raises(LoginBroken, match="iterations"):
        exchange.step(salted + b",i=1000001")


MALFORMED = [
    b"",
    b"\xff",
    b"r=x",
    b"r=x,s=eA==,i=4096",
    b"m=x",
    b"v=",
    b"r=x,s=AAAAAAAAAAAAAAAAAAAAAA==,i=" + b"9" * 5000,
]


@pytest.mark.parametrize("message", MALFORMED)
def test_scram_refuses_a_malformed_first_message(message: bytes) -> None:
    with pytest.raises(LoginBroken, match="SCRAM-SHA-256"):
        begin(SCRAM).step(message)


@pytest.mark.parametrize("message", MALFORMED)
def test_scram_refuses_a_malformed_last_message(message: bytes) -> None:
    exchange = begin(SCRAM)
    exchange.step(ScramServer(SCRAM).first(exchange.initial))
    with pytest.raises(LoginBroken, match="SCRAM-SHA-256"):
        exchange.step(message)


def test_scram_refuses_a_nonce_that_does_not_continue_its_own() -> None:
    with pytest.raises(LoginBroken, match="nonce"):
        begin(SCRAM).step(b"r=theirs,s=AAAAAAAAAAAAAAAAAAAAAA==,i=4096")


@given(
    st.sampled_from(sorted(set(Mechanism) - {PLUS})),
    st.lists(st.binary(max_size=40) | st.sampled_from([b"e=x", b"v=eA==", b"r=x,s=eA==,i=1"]), max_size=4),
    st.text(max_size=40),
)
def test_whatever_a_server_says_is_answered_or_refused(
    mechanism: Mechanism, challenges: list[bytes], text: str
) -> None:
    exchange = begin(mechanism)
    try:
        for challenge in challenges:
            assert isinstance(exchange.step(challenge), bytes)
        exchange.finish(text)
    except LoginBroken:
        pass
    else:
        assert exchange.done
        assert mechanism is not SCRAM


# Channel binding


def header(exchange: ClientMechanism) -> bytes:
    assert exchange.initial is not None
    return exchange.initial.partition(b",")[0]


def test_scram_plus_logs_in_where_both_see_one_certificate(tmp_path: Path) -> None:
    pem = tmp_path / "cert.pem"
    make_certificate(pem, tmp_path / "key.pem")
    der = ssl.PEM_cert_to_DER_cert(pem.read_text())
    exchange = begin(PLUS, certificate=der)
    assert header(exchange) == b"p=tls-server-end-point"
    server = ScramServer(PLUS, binding=("tls-server-end-point", pem.read_text()))
    assert exchange.step(last_challenge(exchange, server)) == b""
    exchange.finish("ok")


def test_scram_plus_is_refused_where_somebody_sits_between() -> None:
    exchange = begin(PLUS, certificate=SHA256)
    server = ScramServer(PLUS, binding=("tls-server-end-point", ssl.DER_cert_to_PEM_cert(SHA384)))
    with pytest.raises(ScramException, match="channel-bindings-dont-match"):
        last_challenge(exchange, server)


@pytest.mark.parametrize(
    ("certificate", "digest"), [(SHA256, hashlib.sha256), (SHA384, hashlib.sha384), (SHA1, hashlib.sha256)]
)
def test_the_binding_is_made_by_the_hash_of_the_certificates_signature(  # RFC 5929 4.1
    certificate: bytes, digest: Callable[[bytes], Any]
) -> None:
    exchange = begin(PLUS, certificate=certificate)
    server = ScramServer(PLUS, binding=("tls-server-end-point", digest(certificate).digest()))
    answer = exchange.step(server.first(exchange.initial))
    sent = b64decode(answer.removeprefix(b"c=").partition(b",")[0])
    assert sent == b"p=tls-server-end-point,," + digest(certificate).digest()


@pytest.mark.parametrize("certificate", [None, ED25519, b"junk"], ids=["none", "Ed25519", "junk"])
def test_scram_plus_needs_a_certificate_with_a_binding(certificate: bytes | None) -> None:
    with pytest.raises(ConfigurationError, match="needs TLS"):
        begin(PLUS, certificate=certificate)


@pytest.mark.parametrize(
    ("offered", "certificate", "flag"),
    [
        (["SCRAM-SHA-256"], SHA256, b"y"),  # a server that did offer PLUS knows now that somebody hid it
        (["SCRAM-SHA-256", "scram-sha-256-plus"], SHA256, b"n"),  # the caller does not want PLUS
        (["SCRAM-SHA-256"], ED25519, b"n"),
        (["SCRAM-SHA-256"], None, b"n"),
        (["SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"], None, b"n"),
    ],
)
def test_scram_without_plus_says_whether_it_could_bind(  # RFC 5802 6
    offered: list[str], certificate: bytes | None, flag: bytes
) -> None:
    assert header(begin(SCRAM, offered=offered, certificate=certificate)) == flag


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
    assert "offers no AUTH; log in behind TLS" in refusal([])


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
