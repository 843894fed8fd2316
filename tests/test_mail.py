"""MailTx and the ids of messages."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime

import pytest
from smtpx.mail import MailTx, new_id
from smtpx.outcome import Outcome
from smtpx.session import Session


def test_a_transaction_starts_with_the_zero_values() -> None:
    mail = MailTx("a@b.org", ["joe@example.org"])
    assert (mail.data, mail.params, mail.id, mail.received, mail.postpone, mail.retry, mail.session) == (
        b"",
        {},
        "",
        None,
        None,
        0,
        None,
    )


def test_every_recipient_has_parameters_of_its_own() -> None:
    mail = MailTx("a@b.org", ["joe@example.org", "ann@example.org"])
    mail.rcpt_params[0]["NOTIFY"] = "NEVER"
    assert mail.rcpt_params == [{"NOTIFY": "NEVER"}, {}]


def test_two_transactions_share_no_parameters() -> None:
    one, other = MailTx("a@b.org", []), MailTx("a@b.org", [])
    one.params["SIZE"] = "1"
    assert other.params == {}


def test_one_address_in_place_of_the_list_is_refused() -> None:
    with pytest.raises(TypeError, match=r"\[address\]"):
        MailTx("a@b.org", "joe@example.org")  # type: ignore[arg-type]


def test_reset_sets_everything_back_to_zero() -> None:
    now = datetime.now(UTC)
    mail = MailTx(
        "a@b.org",
        ["joe@example.org"],
        b"x",
        params={"SIZE": "1"},
        id="1",
        received=now,
        postpone=now,
        retry=3,
        session=Session("s", "", "smtp"),
    )
    mail.reset()
    assert mail == MailTx("", [])
    assert mail.session is None


def test_transactions_are_compared_by_value_and_not_by_session() -> None:
    one = MailTx("a@b.org", ["joe@example.org"], b"x", session=Session("1", "", "smtp"))
    assert one == MailTx("a@b.org", ["joe@example.org"], b"x")
    assert one != MailTx("a@b.org", ["joe@example.org"], b"y")


def test_the_repr_shows_the_envelope_and_no_content() -> None:
    text = repr(MailTx("a@b.org", ["joe@example.org"], b"the secret", id="17"))
    assert "a@b.org" in text
    assert "17" in text
    assert "secret" not in text


def test_ids_are_unique_and_safe_as_file_names() -> None:
    ids = [new_id() for _ in range(1000)]
    assert len(set(ids)) == 1000
    assert all(re.fullmatch(r"[0-9a-f-]+", one) for one in ids)


def test_ids_sort_by_time(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter([5, 10**9, 10**18])
    monkeypatch.setattr("smtpx.mail.time.time_ns", lambda: next(moments))
    ids = [new_id() for _ in range(3)]
    assert ids == sorted(ids)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_gives_other_ids_than_its_parent() -> None:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, new_id().encode())
        os._exit(0)
    os.waitpid(child, 0)
    process = os.read(reader, 100).decode().split("-")[1]
    os.close(reader)
    os.close(writer)
    assert process != new_id().split("-")[1]


def test_an_outcome_is_one_of_four() -> None:
    assert [outcome.name for outcome in Outcome] == ["ACCEPTED", "TEMPORARY", "PERMANENT", "UNKNOWN"]


def test_a_copied_session_says_all_that_the_session_said_then() -> None:
    session = Session("s1", ("192.0.2.1", 25), "submission")
    session.helo, session.esmtp, session.user = "client.example", True, "joe"
    session.tls, session.tls_info = True, "TLSv1.3 X"
    facts = {name: getattr(session, name) for name in Session.__slots__}
    copied = session.copied()
    session.helo, session.esmtp, session.user = "other.example", False, None
    assert {name: getattr(copied, name) for name in Session.__slots__} == facts
