"""Rows as JSON, as they go to SQLite."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from smtpx._core import json_rows

_VALUES = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text()


@given(st.lists(st.lists(_VALUES, max_size=4).map(tuple), max_size=4))
def test_it_is_what_json_itself_writes(rows: list[tuple[int | str | bool | None, ...]]) -> None:
    assert json_rows(rows) == json.dumps(rows, separators=(",", ":"))


@pytest.mark.parametrize(
    ("value", "error"),
    [(1.5, TypeError), (b"x", TypeError), (2**63, OverflowError), ("\ud800", UnicodeEncodeError)],
)
def test_what_a_table_would_keep_otherwise_is_refused(value: object, error: type[Exception]) -> None:
    with pytest.raises(error):
        json_rows([(value,)])  # type: ignore[list-item]
