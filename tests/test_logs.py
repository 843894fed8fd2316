"""The log: one line an event whatever a peer has sent, as text and as JSON."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import sys
from typing import TYPE_CHECKING, Literal

import pytest
from smtpx.logs import JSONFormatter, TextFormatter, configure, printable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOSTILE = "x\r\n2026-01-01T00:00:00.000Z INFO smtpx.session: forged\x1b[2J\x9b31m\u202e"


def record(message: str, **fields: object) -> logging.LogRecord:
    made = logging.makeLogRecord(
        {"name": "smtpx.session", "levelname": "INFO", "msg": message, "created": 0.5}
    )
    vars(made).update(fields)
    return made


def failure() -> logging.LogRecord:
    made = record("handler failed")
    try:
        raise ValueError(HOSTILE)
    except ValueError:
        made.exc_info = sys.exc_info()
    return made


def test_text_is_the_time_the_level_the_logger_the_message_and_the_fields() -> None:
    line = TextFormatter().format(
        record("session", event="session", peer=("127.0.0.1", 5), messages=2, duration=1.23456)
    )
    expected = "1970-01-01T00:00:00.500Z INFO smtpx.session: session"
    assert line == f"{expected} peer=127.0.0.1:5 messages=2 duration=1.235"


def test_text_quotes_a_value_with_spaces_and_leaves_empty_ones_out() -> None:
    line = TextFormatter().format(record("m", reason='said "no"', user=None, helo=""))
    assert line.endswith(r'smtpx.session: m reason="said \"no\""')


def test_json_is_one_object_with_the_fields_as_they_are() -> None:
    line = json.loads(JSONFormatter().format(record("session", messages=2, duration=1.5, user=None)))
    assert line == {
        "time": "1970-01-01T00:00:00.500Z",
        "level": "info",
        "logger": "smtpx.session",
        "message": "session",
        "messages": 2,
        "duration": 1.5,
        "user": None,
    }


@pytest.mark.parametrize("formatter", [TextFormatter(), JSONFormatter()])
def test_what_a_peer_sent_cannot_end_a_line_or_steer_a_terminal(formatter: logging.Formatter) -> None:
    line = formatter.format(record("session", helo=HOSTILE))
    assert line.isprintable()


def test_the_text_of_an_exception_cannot_pass_for_a_line_of_the_log() -> None:
    first, *rest = TextFormatter().format(failure()).split("\n")
    assert first.endswith("handler failed")
    assert rest
    assert all(line.startswith("    ") and line.isprintable() for line in rest)


def test_json_carries_an_exception_in_its_own_field() -> None:
    line = JSONFormatter().format(failure())
    assert line.isprintable()
    assert "ValueError" in json.loads(line)["exception"]


@pytest.fixture
def root_logger() -> Iterator[logging.Logger]:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    root.handlers.clear()
    yield root
    root.handlers[:] = before
    root.setLevel(level)


@pytest.mark.parametrize(("form", "begins"), [("text", "2"), ("json", "{")])
def test_configure_says_where_and_how_and_can_be_called_again(
    root_logger: logging.Logger, form: Literal["text", "json"], begins: str
) -> None:
    old, stream = io.StringIO(), io.StringIO()
    configure("text", "debug", old)
    configure(form, "info", stream)
    logging.getLogger("smtpx.session").info("session")
    logging.getLogger("smtpx.session").debug("not asked for")
    assert old.getvalue() == ""
    assert stream.getvalue().startswith(begins)
    assert stream.getvalue().count("\n") == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
async def test_a_forked_child_does_not_write_what_its_parent_will(
    tmp_path: Path, root_logger: logging.Logger
) -> None:
    with (tmp_path / "log").open("w", encoding="utf-8", buffering=1) as file:
        configure("text", "info", file)
        root_logger.info("before")
        child = os.fork()
        if child == 0:
            root_logger.error("in the child")
            os._exit(0)
        os.waitpid(child, 0)  # noqa: ASYNC222 - its round is not to end
        await asyncio.sleep(0)
        lines = (tmp_path / "log").read_text().splitlines()
        assert [line.split(": ")[1] for line in lines] == ["in the child", "before"]


def test_printable_keeps_letters_of_every_script() -> None:
    assert printable("Grüße, 世界") == "Grüße, 世界"
    assert printable("a\nb\x1b[31m") == "a\\nb\\x1b[31m"
