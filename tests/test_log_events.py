"""What happens with each message is logged as ``Logger.info`` logs it."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

import pytest
from smtpx.log_events import log_event

if TYPE_CHECKING:
    from collections.abc import Iterator

FIELDS: dict[str, object] = {"event": "message", "size": 4096, "reply": None}
MOMENTS = {"created", "msecs", "relativeCreated"}


class Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def log() -> Iterator[logging.Logger]:
    made = logging.getLogger(f"{__name__}.messages")
    made.setLevel(logging.INFO)
    made.propagate = False
    made.addHandler(Kept())
    yield made
    made.handlers.clear()
    made.filters.clear()


@pytest.fixture
def unsought(monkeypatch: pytest.MonkeyPatch) -> None:
    """As ``smtpx serve`` has it."""
    monkeypatch.setattr(logging, "_srcfile", None)
    for name in ("logThreads", "logProcesses", "logMultiprocessing", "logAsyncioTasks"):
        monkeypatch.setattr(logging, name, False, raising=False)


def records(log: logging.Logger) -> list[logging.LogRecord]:
    return next(handler.records for handler in log.handlers if isinstance(handler, Kept))


@pytest.mark.usefixtures("unsought")
def test_the_record_is_the_one_that_info_makes(log: logging.Logger) -> None:
    log.info("message", extra=FIELDS)
    log_event(log, "message", FIELDS)
    usual, made = map(vars, records(log))
    assert list(made) == list(usual)
    assert {key: made[key] for key in made.keys() - MOMENTS} == {
        key: usual[key] for key in usual.keys() - MOMENTS
    }


@pytest.mark.usefixtures("unsought")
def test_its_moments_are_those_of_a_record_that_is_made_now(log: logging.Logger) -> None:
    log_event(log, "message", FIELDS)
    (made,) = records(log)
    now = logging.makeLogRecord({})
    assert 0 <= time.time() - made.created < 10
    assert made.msecs == int(made.created % 1 * 1000)
    assert now.relativeCreated - made.relativeCreated == pytest.approx(
        (now.created - made.created) * 1000, abs=0.1
    )


@pytest.mark.usefixtures("unsought")
def test_the_text_of_a_peer_is_no_format(log: logging.Logger) -> None:
    log_event(log, "100 % s", {"reply": "%s"})
    (made,) = records(log)
    assert made.getMessage() == "100 % s"


@pytest.mark.usefixtures("unsought")
def test_filters_of_the_logger_are_asked(log: logging.Logger) -> None:
    log.addFilter(lambda record: record.msg != "message")
    log_event(log, "message", FIELDS)
    assert records(log) == []


def test_who_logged_it_is_told_where_that_is_looked_up(log: logging.Logger) -> None:
    log_event(log, "message", FIELDS)
    (made,) = records(log)
    assert made.filename == "test_log_events.py"
    assert vars(made)["size"] == 4096


@pytest.mark.usefixtures("unsought")
def test_records_of_the_users_own_class_are_made_by_its_factory(log: logging.Logger) -> None:
    class Traced(logging.LogRecord):
        trace = "4bf92f35"

    usual = logging.getLogRecordFactory()
    logging.setLogRecordFactory(Traced)
    try:
        log_event(log, "message", FIELDS)
    finally:
        logging.setLogRecordFactory(usual)
    (made,) = records(log)
    assert isinstance(made, Traced)


@pytest.mark.usefixtures("unsought")
def test_threads_are_told_apart_where_they_are_looked_up(
    log: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_event(log, "message", FIELDS)
    monkeypatch.setattr(logging, "logThreads", True)
    thread = threading.Thread(target=log_event, args=(log, "message", FIELDS), name="another")
    thread.start()
    thread.join()
    assert [made.threadName for made in records(log)] == [None, "another"]
