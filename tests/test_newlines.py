"""Line ends of large content: what SIZE declares is what the server gets."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from smtpx.newlines import mended_size

from tests.clients import mail
from tests.sessions import polite

if TYPE_CHECKING:
    from tests.clients import Clients
    from tests.conftest import Scripted

ENDS = {"CRLF": b"\r\n", "LF": b"\n", "CR": b"\r", "LF CR": b"\n\r", "CR CR LF": b"\r\r\n"}
KEYWORDS = {"DATA": ("SIZE",), "BDAT": ("SIZE", "PIPELINING", "CHUNKING")}
each_end = pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
each_way = pytest.mark.parametrize("keywords", KEYWORDS.values(), ids=KEYWORDS)


def large(end: bytes) -> bytes:
    """Return content in several pieces, which meet everywhere in a line end; the last line has none."""
    return end.join([b"Subject: x", b"", *[b"x" * 60] * 9000, b"end"])


def mended(content: bytes) -> bytes:
    """Return it with each CRLF, CR or LF a CRLF, and one at the end."""
    lines = content.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return (lines if not lines or lines.endswith(b"\n") else lines + b"\n").replace(b"\n", b"\r\n")


@given(st.lists(st.lists(st.sampled_from([b"\r", b"\n", b"x"])).map(b"".join)))
def test_the_size_is_that_of_the_content_as_it_is_mended(pieces: list[bytes]) -> None:
    assert mended_size(pieces) == len(mended(b"".join(pieces)))


@each_way
@each_end
def test_the_size_declared_is_that_of_what_is_sent(
    client: Clients, scripted: Scripted, keywords: tuple[str, ...], end: bytes
) -> None:
    seen: list[str] = []
    content = large(end)
    server = scripted(polite(*keywords))
    with client(server.url(), trace=lambda way, line: seen.append(line)) as session:
        session.mail_tx(mail(data=content))
        session.send(io.BytesIO(content), mail_from="ann@example.com", recipients=["joe@example.org"])
    size = f" SIZE={len(mended(content))}"
    assert [line[-len(size) :] for line in seen if line.startswith("MAIL ")] == [size, size]
    got = b"".join(each.removesuffix(b".\r\n") for each in server.contents)
    assert got == mended(content) * 2


def test_binary_content_is_declared_as_it_is(client: Clients, scripted: Scripted) -> None:
    content = large(b"\n")
    message = mail(data=content)
    message.params["body"] = "binarymime"
    server = scripted(polite("SIZE", "PIPELINING", "CHUNKING", "BINARYMIME"))
    with client(server.url()) as session:
        session.mail_tx(message)
    assert f" SIZE={len(content)}\r\n".encode() in server.received[0]
