"""The client's side of SCRAM: each side proves that it knows the password, bound to the connection or not."""

from __future__ import annotations

import hashlib
import ssl
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scramp import ScramClient, ScramException, ScramMechanism
from smtpx.certificate import make_certificate
from smtpx.errors import ConfigurationError, LoginBroken
from smtpx.sasl import (
    ClientMechanism,
    Mechanism,
    _Scram,
)

from tests.exchanges import ED25519, PLUS, SCRAM, SHA1, SHA256, SHA384, begin

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

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
