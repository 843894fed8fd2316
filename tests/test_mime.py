"""Octets made fit for a server that lacks 8BITMIME or BINARYMIME."""

from __future__ import annotations

from email import message_from_bytes, policy
from email.message import EmailMessage

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from smtpx.compose import Content, Envelope, content
from smtpx.errors import NotOffered
from smtpx.mime import convert

TO_JOE = Envelope("ann@example.com", ["joe@example.org"], smtputf8=False)


def sent(data: bytes, *, eight_bit: bool = False, binary: bool = False) -> Content:
    return content(data, TO_JOE, eight_bit=eight_bit, smtputf8=False, binary=binary)


def seven_bit(data: bytes) -> bytes:
    found = sent(data).data
    assert found is not None
    assert found.isascii()
    return found


def entity(
    body: bytes, kind: str = "text/plain; charset=utf-8", encoding: str = "8bit", *fields: str
) -> bytes:
    lines = [
        "MIME-Version: 1.0",
        f"Content-Type: {kind}",
        f"Content-Transfer-Encoding: {encoding}",
        *fields,
        "",
        "",
    ]
    return "\r\n".join(lines).encode() + body


def multipart(*parts: bytes, subtype: str = "mixed", encoding: str = "8bit") -> bytes:
    body = b"".join(b"--=b\r\n" + part + b"\r\n" for part in parts)
    return entity(
        b"preamble\r\n" + body + b"--=b--\r\nepilogue\r\n", f'multipart/{subtype}; boundary="=b"', encoding
    )


def leaves(data: bytes) -> list[bytes]:
    message = message_from_bytes(data)
    return [part.get_payload(decode=True) for part in message.walk() if not part.is_multipart()]  # type: ignore[misc]


TEXT = "Grüße\r\n".encode()


# 8-bit bodies


def test_h69a_text_becomes_quoted_printable() -> None:
    assert seven_bit(entity(TEXT)) == entity(b"Gr=C3=BC=C3=9Fe\r\n", encoding="quoted-printable")


def test_a_long_part_without_a_line_end_is_broken_by_crlf() -> None:
    text = "é".encode() * 100
    data = seven_bit(multipart(entity(text), entity(text)))
    assert data.count(b"\n") == data.count(b"\r\n")
    assert leaves(data) == [text, text]


def test_h69a_what_is_no_text_becomes_base64() -> None:
    data = seven_bit(entity(b"\xff\xfe\r\n", "application/x-blob"))
    assert data == entity(b"//4NCg==\r\n", "application/x-blob", "base64")


def test_h69a_text_with_nul_becomes_base64() -> None:
    assert leaves(seven_bit(entity("Grüße\r\n".encode("utf-16")))) == ["Grüße\r\n".encode("utf-16")]


def test_only_the_part_that_needs_it_changes() -> None:
    plain, blob = entity(b"ASCII \n trailing \r\n", encoding="7bit"), entity(b"/w==", "image/png", "base64")
    data = seven_bit(multipart(plain, entity(TEXT), blob))
    encoded = entity(b"Gr=C3=BC=C3=9Fe\r\n", encoding="quoted-printable")
    assert data == multipart(plain, encoded, blob, encoding="7bit")


def test_parts_within_parts_are_reached() -> None:
    inner = multipart(entity(TEXT), subtype="alternative").replace(b"=b", b"=inner")
    assert leaves(seven_bit(multipart(inner, entity(TEXT)))) == [TEXT, TEXT]


def test_a_boundary_that_begins_with_another_is_not_mistaken_for_it() -> None:
    inner = multipart(entity(TEXT)).replace(b"=b", b"=b2")
    assert leaves(seven_bit(multipart(inner, entity(TEXT)))) == [TEXT, TEXT]


def test_an_attached_message_is_converted_within() -> None:
    data = seven_bit(entity(b"Subject: inner\r\n" + entity(TEXT), "message/rfc822"))
    assert b"Content-Transfer-Encoding: 7bit\r\n\r\nSubject: inner\r\n" in data
    assert leaves(data) == [TEXT]


def test_a_multipart_without_its_end_is_converted() -> None:
    data = multipart(entity(TEXT)).partition(b"\r\n--=b--")[0]
    assert leaves(seven_bit(data)) == leaves(data)


def test_a_message_that_is_no_mime_becomes_it() -> None:
    data = seven_bit(b"Subject: x\r\n\r\n" + TEXT)
    mime = b"MIME-Version: 1.0\r\nContent-Transfer-Encoding: quoted-printable\r\n"
    assert data == b"Subject: x\r\n" + mime + b"\r\nGr=C3=BC=C3=9Fe\r\n"


@pytest.mark.parametrize("newline", [b"\n", b"\r"])
def test_lines_may_end_in_any_way(newline: bytes) -> None:
    data = seven_bit(multipart(entity(TEXT), entity(TEXT)).replace(b"\r\n", newline))
    assert leaves(data.replace(b"\r\n", newline).replace(newline, b"\r\n")) == [TEXT[:-2] + b"\r\n"] * 2


def test_a_server_with_8bitmime_gets_it_as_it_is() -> None:
    data = multipart(entity(TEXT))
    assert sent(data, eight_bit=True).data is data


# Long lines

LONG = b"x" * 999 + b"\r\n"


def shortened(data: bytes) -> bytes:
    return convert(data, eight_bit=False, long_lines=False)


@pytest.mark.parametrize("body", [b"x" * 998 + b"\r\n", b"x" * 998, b"y\r\n" * 999, b""])
def test_lines_of_998_octets_stay(body: bytes) -> None:
    assert shortened(entity(body, encoding="7bit")) == entity(body, encoding="7bit")


@pytest.mark.parametrize("body", [LONG, LONG[:-2], b"y\r\n" * 999 + LONG + b"y\r\n"])
def test_text_with_a_longer_line_becomes_quoted_printable(body: bytes) -> None:
    data = shortened(entity(body, encoding="7bit"))
    assert b"Content-Transfer-Encoding: quoted-printable\r\n" in data
    assert max(map(len, data.split(b"\r\n"))) <= 76
    assert leaves(data) == [body]


def test_only_the_part_with_the_long_line_changes() -> None:
    plain, long = entity(b"ASCII \r\n", encoding="7bit"), entity(LONG, "application/x-blob", "7bit")
    data = shortened(multipart(plain, long, encoding="7bit"))
    assert plain in data
    assert leaves(data) == [b"ASCII \r\n", LONG]
    assert max(map(len, data.split(b"\r\n"))) <= 76


def test_base64_in_one_line_is_wrapped() -> None:
    data = shortened(entity(b"eHh4" * 300 + b"\r\n", "image/png", "base64"))
    assert data == entity(b"eHh4" * 19 + b"\r\n", "image/png", "base64") + (
        (b"eHh4" * 19 + b"\r\n") * 14 + b"eHh4" * 15 + b"\r\n"
    )


def test_long_lines_of_what_is_signed_stay_and_what_is_beside_it_changes() -> None:
    signed = multipart(
        entity(LONG, encoding="7bit"), entity(b"x", "application/pgp-signature", "7bit"), subtype="signed"
    ).replace(b"=b", b"=s")
    data = shortened(multipart(signed, entity(LONG, encoding="7bit"), entity(TEXT)))
    assert signed in data
    assert leaves(data)[-2:] == [LONG, TEXT]
    assert data.count(LONG) == 1


def test_long_lines_stay_where_nobody_minds() -> None:
    data = multipart(entity(LONG, encoding="7bit"), entity(TEXT))
    assert LONG in convert(data, eight_bit=False)


# What cannot be converted


def test_h69a_a_signed_part_is_never_touched() -> None:
    signed = multipart(entity(TEXT), entity(b"x", "application/pgp-signature", "7bit"), subtype="signed")
    with pytest.raises(NotOffered, match="signature") as refused:
        sent(signed)
    assert refused.value.extension == "8BITMIME"


def test_h69a_a_message_with_a_dkim_signature_is_never_touched() -> None:
    with pytest.raises(NotOffered, match="signature"):
        sent(b"DKIM-Signature: v=1; a=rsa-sha256\r\n" + entity(TEXT))


def test_h69a_a_signed_message_that_is_attached_is_never_touched() -> None:
    inner = b"DKIM-Signature: v=1; a=rsa-sha256\r\n" + entity(TEXT)
    with pytest.raises(NotOffered, match="signature"):
        sent(multipart(entity(inner, "message/rfc822")))


def test_what_is_beside_a_signed_part_is_converted() -> None:
    signed = multipart(
        entity(b"ASCII\r\n"), entity(b"x", "application/pgp-signature", "7bit"), subtype="signed"
    ).replace(b"=b", b"=s")
    data = seven_bit(multipart(signed, entity(TEXT)))
    assert signed in data
    assert leaves(data)[-1] == TEXT


@pytest.mark.parametrize("encoding", ["base64", "quoted-printable", "x-uuencode"])
def test_eight_bits_in_what_claims_to_be_encoded_are_refused(encoding: str) -> None:
    with pytest.raises(NotOffered, match="8-bit"):
        sent(entity(TEXT, encoding=encoding))


def test_eight_bits_between_parts_are_refused() -> None:
    with pytest.raises(NotOffered, match="8-bit"):
        sent(multipart(entity(b"x")).replace(b"preamble", b"pr\xc3\xa4amble"))


def test_eight_bits_in_the_header_of_a_part_are_refused() -> None:
    with pytest.raises(NotOffered, match="8-bit"):
        sent(multipart(entity(TEXT, "text/plain; charset=utf-8", "8bit", "Content-Description: Grüße")))


def test_parts_that_nest_without_end_are_refused() -> None:
    data = entity(b"\xff")
    for _ in range(200):
        data = entity(data, "message/rfc822")
    with pytest.raises(NotOffered, match="nest too deep"):
        sent(data)


# Binary bodies (RFC 3030)

BINARY = b"\0\r\n\n\r\xff"


def test_h69a_binary_goes_as_it_is_where_the_server_takes_it() -> None:
    data = entity(BINARY, "application/x-blob", "binary")
    assert sent(data, eight_bit=True, binary=True) == Content(
        data=data, size=len(data), eight_bit=True, binary=True, smtputf8=False
    )


@pytest.mark.parametrize("eight_bit", [True, False])
def test_h69a_binary_becomes_base64_where_the_server_does_not(*, eight_bit: bool) -> None:
    found = sent(entity(BINARY, "application/x-blob", "binary"), eight_bit=eight_bit)
    assert found.data is not None
    assert (found.binary, found.eight_bit, leaves(found.data)) == (False, False, [BINARY])
    assert b"Content-Transfer-Encoding: base64\r\n" in found.data


def test_eight_bit_text_beside_binary_stays_where_the_server_takes_it() -> None:
    blob = entity(BINARY, "application/x-blob", "binary")
    found = sent(multipart(entity(TEXT), blob, encoding="binary"), eight_bit=True)
    assert found.data is not None
    assert entity(TEXT) in found.data
    assert (found.eight_bit, leaves(found.data)) == (True, [TEXT, BINARY])


def test_what_says_binary_and_is_lines_only_loses_the_label() -> None:
    found = sent(entity(TEXT, encoding="binary"), eight_bit=True).data
    assert found == entity(TEXT, encoding="8bit")


def test_a_signed_binary_part_is_never_touched() -> None:
    with pytest.raises(NotOffered, match="signature") as refused:
        sent(
            multipart(entity(BINARY, encoding="binary"), subtype="signed", encoding="binary"), eight_bit=True
        )
    assert refused.value.extension == "BINARYMIME"


# Round trips

bodies = st.binary(max_size=200).filter(lambda body: b"--=b" not in body)


@given(
    st.lists(st.tuples(bodies, st.sampled_from(["application/x-blob", "text/plain"])), min_size=1, max_size=4)
)
def test_binary_leaves_come_back(parts: list[tuple[bytes, str]]) -> None:
    data = multipart(*(entity(body, kind, "binary") for body, kind in parts), encoding="binary")
    found = seven_bit(data)
    message = message_from_bytes(found, policy=policy.default)
    assert isinstance(message, EmailMessage)
    assert [part.get_payload(decode=True) for part in message.iter_parts()] == [body for body, _ in parts]
    assert max(map(len, found.split(b"\r\n"))) <= 998 or all(body.isascii() for body, _ in parts)


@given(st.lists(st.text("ab=ß \t.", max_size=90).map(str.encode), max_size=6))
@example([b"." * 100 + b"\xff", b" ", b"=20"])
def test_lines_of_text_come_back(lines: list[bytes]) -> None:
    text = b"\r\n".join([*lines, b"\xff"])
    found = seven_bit(entity(text))
    assert leaves(found) == [text]
    assert max(map(len, found.split(b"\r\n"))) <= 78


@given(
    st.lists(
        st.sampled_from(
            [b"--=b", b"--=b--", b"\r\n", b"\n", b"\r", b"x", b"\xff", b" ", *map(entity, [b"y", b"\xff"])]
        )
    )
)
def test_whatever_the_parts_are_it_is_seven_bit_or_refused(pieces: list[bytes]) -> None:
    data = entity(b"".join(pieces), 'multipart/mixed; boundary="=b"')
    try:
        assert convert(data, eight_bit=False).isascii()
    except NotOffered:
        assert not data.isascii()
    assert convert(data, eight_bit=True) == data
