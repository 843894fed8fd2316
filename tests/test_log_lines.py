"""A line of the log, made natively, compared with one made in plain Python on whatever is logged."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from enum import IntEnum, StrEnum
from typing import NamedTuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from smtpx import _core
from smtpx.logs import TextFormatter, printable

from tests.test_logs import record


def reference(made: logging.LogRecord, fields: dict[str, object]) -> str:
    second, fraction = divmod(made.created, 1)
    moment = datetime.fromtimestamp(second, UTC).isoformat(timespec="seconds").removesuffix("+00:00")
    line = f"{moment}.{int(fraction * 1000):03}Z {made.levelname} {made.name}: {printable(made.getMessage())}"
    for name, value in fields.items():
        if value is not None and value != "" and name != "event":
            line += f" {name}={written(value)}"
    return line


def written(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, tuple):
        value = ":".join(f"[{part}]" if ":" in str(part) else str(part) for part in value)
    text = printable(str(value))
    if not text or {" ", '"', "="} & set(text):
        return '"' + text.replace('"', '\\"') + '"'
    return text


class Named(NamedTuple):
    host: str
    port: int


class Word(StrEnum):
    NOTHING = ""
    TWO = "two words"


class Number(IntEnum):
    ONE = 1


class Nameless:
    def __str__(self) -> str:
        return ""


texts = st.text(st.characters()) | st.text(st.characters(max_codepoint=127)) | st.just("\ud800 \udc00")
values = st.recursive(
    st.none()
    | texts
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from([Word.NOTHING, Word.TWO, Number.ONE, Nameless(), Named("::1", 25), timedelta(1)])
    | st.binary()
    | st.decimals(),
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple),
    max_leaves=4,
)
names = st.sampled_from(["event", "peer", "delay"]) | texts
ordinary = {*vars(logging.makeLogRecord({})), "message", "asctime"}


@given(texts, st.dictionaries(names.filter(lambda name: name not in ordinary), values))
@example("m", {"delay": 0.0625, "half": 2.0005, "none": float("nan"), "much": 1e300, "less": -float("inf")})
@example("m", {"peer": ("127.0.0.1", 25), "v6": ("::1", 25, 0, 0), "path": (), "odd": ("a b", '"', None)})
@example("\ud800", {"\udfff": "\ud83d\ude00", "who": "Grüße", "host": ("\udc80:", "é")})
def test_whatever_is_logged_the_line_is_the_references(message: str, fields: dict[str, object]) -> None:
    made = record(message, **fields)
    assert TextFormatter().format(made) == reference(made, fields)


@given(st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)))
@example(datetime(2000, 2, 29, 23, 59, 59, 999999))
@example(datetime(1900, 3, 1))
@example(datetime(1969, 12, 31, 23, 59, 59, 999000))
def test_whenever_it_is_logged_the_time_is_the_references(moment: datetime) -> None:
    made = record("m", created=moment.replace(tzinfo=UTC).timestamp())
    assert TextFormatter().format(made) == reference(made, {})


@pytest.mark.parametrize("created", [1e300, -1e300, float("nan"), float("inf"), 253402300800.0])
def test_a_time_without_a_year_of_four_digits_is_an_error(created: float) -> None:
    with pytest.raises(ValueError, match="time"):
        _core.log_time(created)


@given(texts, texts)
def test_names_of_loggers_and_levels_stay_as_they_are(logger: str, level: str) -> None:
    made = record("m", name=logger, levelname=level)
    assert TextFormatter().format(made) == reference(made, {})


def test_a_record_that_has_no_name_is_written() -> None:
    assert " Level None None: m" in TextFormatter().format(logging.makeLogRecord({"msg": "m"}))


def test_what_another_formatter_has_added_is_no_field() -> None:
    made = record("m", size=1)
    logging.Formatter("%(asctime)s %(message)s").format(made)
    assert TextFormatter().format(made).endswith(": m size=1")


def test_a_field_whose_text_cannot_be_had_is_its_own_error() -> None:
    class Broken:
        def __str__(self) -> str:
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        TextFormatter().format(record("m", field=Broken()))


def test_a_field_may_change_the_record_while_it_is_written() -> None:
    made = record("m")

    class Meddling:
        def __str__(self) -> str:
            vars(made).update({f"more{number}": number for number in range(100)})
            del vars(made)["last"]
            return "done"

    vars(made).update(first=Meddling(), last=1)
    assert TextFormatter().format(made).endswith(" first=done last=1")
