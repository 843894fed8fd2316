"""Messages in files: read piece by piece, and never held."""

from __future__ import annotations

import gc
import io
import os
import threading
import tracemalloc
from typing import IO, TYPE_CHECKING

import pytest
from smtpx.compose import Content, Envelope, Upload, content, envelope, source

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from smtpx.compose import Sendable

TO_JOE = Envelope("ann@example.com", ["joe@example.org"], smtputf8=False)
HEADER = b"From: ann@example.com\r\nTo: joe@example.org\r\n"
LARGE = HEADER + b"\r\n" + b"0123456789 of a line\r\n" * 40_000


def sent(message: Sendable, *, eight_bit: bool = True, binary: bool = False) -> Content:
    return content(message, TO_JOE, eight_bit=eight_bit, smtputf8=False, binary=binary)


class Pipe(io.RawIOBase):
    """What can be read once, and gives less than it is asked for."""

    def __init__(self, data: bytes) -> None:
        self.data = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        return self.data.readinto(memoryview(buffer)[:1000])


@pytest.fixture(params=["path", "file", "pipe"])
def large(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path | IO[bytes]]:
    path = tmp_path / "mail.eml"
    path.write_bytes(LARGE)
    match request.param:
        case "path":
            yield path
        case "file":
            with path.open("rb") as file:
                yield file
        case "pipe":
            yield Pipe(LARGE)  # type: ignore[misc]


def test_a_small_file_is_sent_from_memory(tmp_path: Path) -> None:
    path = tmp_path / "mail.eml"
    path.write_bytes(HEADER + b"\r\nhello\r\n")
    assert sent(path).data == HEADER + b"\r\nhello\r\n"


def test_a_large_file_is_given_in_pieces(large: Path | IO[bytes]) -> None:
    found = sent(large)
    assert (found.data, found.size) == (None, len(LARGE))
    pieces = list(found.chunks())
    assert b"".join(pieces) == LARGE
    assert max(map(len, pieces)) <= 262_144


def test_a_file_can_be_sent_again(large: Path | IO[bytes]) -> None:
    found = sent(large)
    assert list(found.chunks()) == list(found.chunks())


def test_a_pipe_gives_its_envelope_and_its_content() -> None:
    message = source(Pipe(LARGE))  # type: ignore[arg-type]
    assert envelope(message) == TO_JOE
    assert b"".join(sent(message).chunks()) == LARGE


def test_h87_bcc_in_a_file_is_not_sent() -> None:
    found = sent(io.BytesIO(b"Bcc: x@y.z,\r\n\tz@y.x\r\nResent-Bcc : q@r.s\r\n" + LARGE))
    assert b"".join(found.chunks()) == LARGE
    assert found.size == len(LARGE)


def test_h87_bcc_in_a_long_header_is_not_sent() -> None:
    field = b"Bcc: x@y.z" + b",\r\n joe@example.org" * 20_000 + b"\r\n"
    assert b"".join(sent(io.BytesIO(field + LARGE)).chunks()) == LARGE


def test_a_file_is_read_from_where_it_stands() -> None:
    file = io.BytesIO(b"skipped" + LARGE)
    file.seek(7)
    assert b"".join(sent(file).chunks()) == LARGE


def test_a_file_stands_where_it_stood_however_much_was_read() -> None:
    file = io.BytesIO(b"skipped" + LARGE)
    file.seek(7)
    chunks = sent(file).chunks()
    assert file.tell() == 7
    for _ in chunks:
        assert file.tell() == 7


def test_a_file_of_the_caller_stays_open(tmp_path: Path) -> None:
    (tmp_path / "mail.eml").write_bytes(LARGE)
    with (tmp_path / "mail.eml").open("rb") as file:
        for _ in sent(file).chunks():
            pass
        assert not file.closed


@pytest.mark.filterwarnings("error::ResourceWarning")
def test_what_was_opened_is_closed_though_not_read_to_its_end(large: Path | IO[bytes]) -> None:
    chunks = sent(large).chunks()
    next(chunks)
    del chunks, large
    gc.collect()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_a_named_pipe_is_read_once(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(LARGE,))
    writer.start()
    message = source(path)
    writer.join()
    assert b"".join(sent(message).chunks()) == LARGE


@pytest.mark.parametrize(("body", "eight_bit"), [(b"", False), (b"\xff", True)])
def test_a_file_says_whether_it_is_eight_bit(body: bytes, *, eight_bit: bool) -> None:
    assert sent(io.BytesIO(LARGE + body)).eight_bit == eight_bit


def test_h69a_a_large_file_is_converted_where_it_must() -> None:
    found = sent(io.BytesIO(LARGE + b"\xff"), eight_bit=False)
    assert found.data is not None
    assert found.data.endswith(b"=FF")
    assert (found.size, found.eight_bit, found.upload) == (len(found.data), False, None)


def test_a_large_binary_file_is_streamed_to_a_server_that_takes_it() -> None:
    data = b"Content-Transfer-Encoding: binary\r\n" + LARGE + b"\0\xff"
    found = sent(io.BytesIO(data), binary=True)
    assert (found.binary, found.data, b"".join(found.chunks())) == (True, None, data)


@pytest.mark.parametrize("length", [len(LARGE) - 1, len(LARGE) - 300_000, len(LARGE) + 1])
def test_a_file_that_changed_is_never_sent_as_a_whole(tmp_path: Path, length: int) -> None:
    path = tmp_path / "mail.eml"
    path.write_bytes(LARGE)
    found = sent(path)
    path.write_bytes((LARGE + b"more")[:length])
    with pytest.raises(OSError, match="changed"):
        list(found.chunks())


def test_a_file_without_a_header_end_is_refused() -> None:
    with pytest.raises(ValueError, match="no message"):
        source(io.BytesIO(b"0123456789\r\n" * 200_000))


def test_a_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        source(tmp_path / "none.eml")


def test_a_file_open_as_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mail.eml"
    path.write_bytes(LARGE)
    with path.open(encoding="utf-8") as file, pytest.raises(TypeError, match="binary file"):
        source(file)  # type: ignore[arg-type]


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "mail.eml"
    path.write_bytes(LARGE * 8)
    tracemalloc.start()
    try:
        for _ in sent(path).chunks():
            pass
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2_000_000 < len(LARGE) * 4


def test_an_upload_keeps_its_whole_header() -> None:
    message = source(io.BytesIO(b"Bcc: x@y.z\r\n" + LARGE))
    assert isinstance(message, Upload)
    assert message.header == b"Bcc: x@y.z\r\n" + HEADER
    assert envelope(message).recipients == ["joe@example.org", "x@y.z"][::-1]
