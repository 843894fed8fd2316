"""When the log is written: what a round of an event loop logs by one write at its end, the rest at once."""

from __future__ import annotations

import asyncio
import io
import logging
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from smtpx.logs import RoundHandler

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Stream(io.StringIO):
    """Keeps what each write wrote."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[str] = []
        self.flushes = 0
        self.error: Exception | None = None

    def write(self, text: str) -> int:
        if self.error is not None:
            raise self.error
        self.writes.append(text)
        return len(text)

    def flush(self) -> None:
        self.flushes += 1


class Failures(RoundHandler):
    """Keeps the messages of the records of which `handleError` hears."""

    heard: list[str]

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        assert sys.exception() is not None
        self.heard.append(record.getMessage())


@pytest.fixture
def stream() -> Stream:
    return Stream()


@pytest.fixture
def handler(stream: Stream) -> Iterator[Failures]:
    made = Failures(stream)
    made.heard = []
    yield made
    made.close()


@pytest.fixture
def log(handler: Failures) -> logging.Logger:
    made = logging.Logger("rounds")  # noqa: LOG001 - of this test alone
    made.addHandler(handler)
    return made


@pytest.fixture
def busy(log: logging.Logger) -> Iterator[asyncio.AbstractEventLoop]:
    """Give a loop in another thread, in a round that has logged "busy" and ends with the test."""
    loop, logged, done = asyncio.new_event_loop(), threading.Event(), threading.Event()

    def work() -> None:
        log.info("busy")
        logged.set()
        done.wait()
        loop.stop()

    loop.call_soon(work)
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    logged.wait()
    yield loop
    done.set()
    thread.join()
    loop.close()


async def test_what_a_round_logs_is_one_write_at_its_end(stream: Stream, log: logging.Logger) -> None:
    log.debug("a")
    log.info("b")
    assert stream.writes == []
    await asyncio.sleep(0)
    assert stream.writes == ["a\nb\n"]


async def test_each_round_is_written(stream: Stream, log: logging.Logger) -> None:
    for message in "ab":
        log.info(message)
        await asyncio.sleep(0)
    assert stream.writes == ["a\n", "b\n"]


async def test_a_round_that_logs_nothing_does_nothing(stream: Stream, log: logging.Logger) -> None:
    log.info("a")
    await asyncio.sleep(0)
    before = stream.flushes
    for _ in range(5):
        await asyncio.sleep(0)
    assert stream.flushes == before


async def test_a_warning_is_written_at_once_behind_what_was_before(
    stream: Stream, log: logging.Logger
) -> None:
    log.info("a")
    log.warning("b")
    assert "".join(stream.writes) == "a\nb\n"
    log.info("c")
    await asyncio.sleep(0)
    assert "".join(stream.writes) == "a\nb\nc\n"


def test_without_a_loop_each_line_is_written_at_once(stream: Stream, log: logging.Logger) -> None:
    for message in "ab":
        log.info(message)
    assert stream.writes == ["a\n", "b\n"]


async def test_flush_writes_what_the_round_has_logged(
    stream: Stream, handler: Failures, log: logging.Logger
) -> None:
    log.info("a")
    handler.flush()
    assert stream.writes == ["a\n"]


async def test_close_writes_what_the_round_has_logged_and_leaves_the_stream_open(
    stream: Stream, handler: Failures, log: logging.Logger
) -> None:
    log.info("a")
    handler.close()
    assert stream.writes == ["a\n"]
    assert not stream.closed


async def test_a_stream_that_is_closed_does_not_keep_the_handler_from_closing(
    stream: Stream, handler: Failures, log: logging.Logger
) -> None:
    log.info("a")
    stream.error = ValueError("I/O operation on closed file")
    handler.close()


@pytest.fixture
def lost(log: logging.Logger) -> asyncio.AbstractEventLoop:
    """Give a closed loop whose last round has logged "lost"."""

    async def last() -> None:
        asyncio.get_running_loop().stop()
        log.info("lost")

    loop = asyncio.new_event_loop()
    task = loop.create_task(last())
    loop.run_forever()
    assert task.done()
    loop.close()
    return loop


@pytest.mark.usefixtures("lost")
def test_what_a_closed_loop_did_not_write_comes_with_the_next_record(
    stream: Stream, log: logging.Logger
) -> None:
    assert stream.writes == []
    log.info("next")
    assert "".join(stream.writes) == "lost\nnext\n"


@pytest.mark.usefixtures("lost")
def test_what_a_closed_loop_did_not_write_comes_with_the_next_loops_record(
    stream: Stream, log: logging.Logger
) -> None:
    async def following() -> None:
        log.info("next")
        assert "".join(stream.writes) == "lost\nnext\n"
        log.info("buffered")
        assert "".join(stream.writes) == "lost\nnext\n"

    asyncio.run(following())
    assert "".join(stream.writes) == "lost\nnext\nbuffered\n"


@pytest.mark.usefixtures("busy")
async def test_a_loop_does_not_wait_for_that_of_another_thread(stream: Stream, log: logging.Logger) -> None:
    log.info("a")
    assert "".join(stream.writes) == "busy\na\n"


@pytest.mark.usefixtures("busy")
def test_a_thread_does_not_wait_for_the_loop_of_another(stream: Stream, log: logging.Logger) -> None:
    log.info("a")
    assert "".join(stream.writes) == "busy\na\n"


def test_nothing_is_lost_or_out_of_order_between_loops_and_threads(
    stream: Stream, log: logging.Logger
) -> None:
    def thread(name: str) -> None:
        for number in range(200):
            log.info("%s %d", name, number)

    async def rounds(name: str) -> None:
        for number in range(200):
            log.info("%s %d", name, number)
            if number % 3 == 0:
                await asyncio.sleep(0)

    with ThreadPoolExecutor() as pool:
        jobs = [pool.submit(thread, "t1"), pool.submit(thread, "t2")]
        jobs += [pool.submit(asyncio.run, rounds(name)) for name in ("l1", "l2")]
    assert [job.exception() for job in jobs] == [None] * 4
    lines = "".join(stream.writes).splitlines()
    for name in ("t1", "t2", "l1", "l2"):
        assert [line for line in lines if line.startswith(name)] == [f"{name} {n}" for n in range(200)]


def test_a_filter_of_the_handler_is_asked(stream: Stream, handler: Failures, log: logging.Logger) -> None:
    handler.addFilter(lambda record: record.getMessage() != "a")
    for message in "ab":
        log.info(message)
    assert stream.writes == ["b\n"]


async def test_a_stream_that_fails_is_handle_errors_and_the_next_line_is_written(
    stream: Stream, handler: Failures, log: logging.Logger
) -> None:
    stream.error = OSError("no space left")
    log.info("a")
    await asyncio.sleep(0)
    assert handler.heard == ["a"]
    stream.error = None
    log.info("b")
    await asyncio.sleep(0)
    assert stream.writes == ["b\n"]


def test_a_stream_that_fails_without_a_loop_is_handle_errors(
    stream: Stream, handler: Failures, log: logging.Logger
) -> None:
    stream.error = OSError("no space left")
    log.info("a")
    assert handler.heard == ["a"]


async def test_a_record_that_has_no_line_is_handle_errors(
    stream: Stream, handler: Failures, log: logging.Logger
) -> None:
    handler.setFormatter(logging.Formatter("%(nothing)s"))
    log.info("a")
    assert handler.heard == ["a"]


async def test_a_line_that_cannot_be_encoded_costs_the_others_nothing(
    tmp_path: Path, handler: Failures, log: logging.Logger
) -> None:
    with (tmp_path / "log").open("w", encoding="ascii") as file:
        handler.setStream(file)
        for message in ("a", "ü", "b"):
            log.info(message)
        await asyncio.sleep(0)
        assert (tmp_path / "log").read_text() == "a\nb\n"
    assert handler.heard == ["a"]


def test_a_normal_exit_writes_what_a_loop_did_not() -> None:
    program = """
import asyncio, logging, sys
from smtpx.logs import configure
configure("text", "info", sys.stderr)
loop = asyncio.new_event_loop()
async def last():
    loop.stop()
    logging.info("last")
loop.create_task(last())
loop.run_forever()
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stderr.endswith("INFO root: last\n")


async def test_what_is_logged_while_the_round_is_begun_keeps_no_later_line_back(
    log: logging.Logger, stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    call_soon = loop.call_soon

    def with_a_finalizer(*args: Any) -> asyncio.Handle:
        handle = call_soon(*args)
        log.warning("a finalizer")
        return handle

    with monkeypatch.context() as patch:
        patch.setattr(loop, "call_soon", with_a_finalizer)
        log.info("first")
    await asyncio.sleep(0)
    log.info("second")
    await asyncio.sleep(0)
    assert stream.writes == ["first\na finalizer\n", "second\n"]


async def test_what_a_finalizer_logs_while_lines_are_taken_writes_none_twice(
    handler: Failures, log: logging.Logger, stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget = handler.forget

    def with_a_finalizer() -> list[str]:
        monkeypatch.undo()
        log.warning("a finalizer")
        return forget()

    log.info("first")
    monkeypatch.setattr(handler, "forget", with_a_finalizer)
    await asyncio.sleep(0)
    assert stream.writes == ["first\na finalizer\n"]
