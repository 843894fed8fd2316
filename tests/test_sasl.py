"""PLAIN and LOGIN, the server's side."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from smtpx.errors import InvalidCredential, SMTPError, SyntaxRefused
from smtpx.sasl import SERVER_MECHANISMS, Challenge, Credentials, Mechanism, server_mechanism


def plain(response: bytes) -> Challenge | Credentials:
    return server_mechanism("PLAIN").step(response)


def login(*responses: bytes | None) -> Challenge | Credentials:
    exchange = server_mechanism("LOGIN")
    return [exchange.step(response) for response in responses][-1]


def test_the_mechanisms_have_the_numbers_of_the_go_package() -> None:
    assert (Mechanism.PLAIN, Mechanism.LOGIN) == (1, 2)


def test_a_server_offers_plain_and_login() -> None:
    assert [mechanism.wire for mechanism in SERVER_MECHANISMS] == ["PLAIN", "LOGIN"]


@pytest.mark.parametrize("mechanism", Mechanism)
def test_a_mechanism_is_found_by_its_name_on_the_wire_in_any_case(mechanism: Mechanism) -> None:
    assert Mechanism.from_wire(mechanism.wire) is mechanism
    assert Mechanism.from_wire(mechanism.wire.lower()) is mechanism


def test_a_name_on_the_wire_has_hyphens() -> None:
    assert Mechanism.SCRAM_SHA_256_PLUS.wire == "SCRAM-SHA-256-PLUS"


@pytest.mark.parametrize("name", ["", "GSSAPI", "SCRAM_SHA_256", "PLAIN "])
def test_what_smtpx_does_not_speak_is_no_mechanism(name: str) -> None:
    assert Mechanism.from_wire(name) is None


def test_mechanism_names_are_case_insensitive() -> None:
    assert server_mechanism("plain").step(b"\0joe\0secret") == Credentials("joe", "secret")


def test_h51_an_unknown_mechanism_is_504() -> None:
    with pytest.raises(SyntaxRefused) as caught:
        server_mechanism("CRAM-MD5")
    assert (caught.value.code, caught.value.enhanced) == (504, "5.5.4")


def test_plain_takes_an_initial_response() -> None:
    assert plain(b"\0joe@example.org\0secret") == Credentials("joe@example.org", "secret")


def test_plain_without_an_initial_response_asks_with_an_empty_challenge() -> None:
    exchange = server_mechanism("PLAIN")
    assert exchange.step(None) == Challenge(b"")
    assert exchange.step(b"\0joe\0secret") == Credentials("joe", "secret")


def test_plain_takes_utf8_and_an_empty_password() -> None:
    assert plain("\0jörg\0geheimß".encode()) == Credentials("jörg", "geheimß")
    assert plain(b"\0joe\0") == Credentials("joe", "")


def test_h54_plain_with_an_authzid_equal_to_the_user_is_taken() -> None:
    assert plain(b"joe\0joe\0secret") == Credentials("joe", "secret")


def test_h54_plain_with_another_authzid_is_refused_as_535() -> None:
    with pytest.raises(InvalidCredential) as caught:
        plain(b"admin\0joe\0secret")
    assert (caught.value.code, caught.value.enhanced) == (535, "5.7.8")


@pytest.mark.parametrize(
    "response",
    [b"", b"joe", b"joe\0secret", b"\0\0secret", b"\0\0", b"\xff\0joe\0x", b"\0jo\xffe\0x", b"\0joe\0\xff"],
)
def test_h54_a_malformed_plain_response_is_501(response: bytes) -> None:
    with pytest.raises(SyntaxRefused) as caught:
        plain(response)
    assert (caught.value.code, caught.value.enhanced) == (501, "5.5.2")


def test_login_asks_for_the_user_name_and_then_the_password() -> None:
    exchange = server_mechanism("LOGIN")
    assert exchange.step(None) == Challenge(b"Username:")
    assert exchange.step(b"joe") == Challenge(b"Password:")
    assert exchange.step(b"secret") == Credentials("joe", "secret")


def test_login_takes_the_user_name_as_initial_response() -> None:
    assert login(b"joe") == Challenge(b"Password:")
    assert login(b"joe", b"secret") == Credentials("joe", "secret")


@pytest.mark.parametrize("responses", [(None, b""), (b"",), (b"\xff",), (b"jo\0e", b"x"), (b"joe", b"\xff")])
def test_h54_a_malformed_login_response_is_501(responses: tuple[bytes | None, ...]) -> None:
    with pytest.raises(SyntaxRefused) as caught:
        login(*responses)
    assert (caught.value.code, caught.value.enhanced) == (501, "5.5.2")


def test_h57_a_nul_in_the_password_is_535() -> None:
    with pytest.raises(InvalidCredential):
        plain(b"\0joe\0sec\0ret")
    with pytest.raises(InvalidCredential):
        login(b"joe", b"sec\0ret")


def test_credentials_do_not_show_the_password() -> None:
    assert "secret" not in repr(Credentials("joe", "secret"))


def test_no_error_holds_the_password() -> None:
    with pytest.raises(SyntaxRefused) as caught:
        plain(b"\0joe\0secret\xff")
    assert "secret" not in repr(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def outcome(name: str, responses: list[bytes | None]) -> str | int:
    exchange = server_mechanism(name)
    try:
        steps = [exchange.step(response) for response in responses]
    except SMTPError as error:
        return error.code
    return "told" if isinstance(steps[-1], Credentials) else "asked"


@given(st.lists(st.none() | st.binary(max_size=40) | st.just(b"\0a\0b"), min_size=1, max_size=3))
def test_any_octets_give_an_answer_or_an_error_with_a_reply(responses: list[bytes | None]) -> None:
    for name in ("PLAIN", "LOGIN"):
        assert outcome(name, responses) in {"asked", "told", 501, 535}
