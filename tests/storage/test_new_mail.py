"""NewMail: a message on its way into the tables, as it was when its save was asked for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from smtpx import MailTx
from smtpx.errors import StorageError
from smtpx.storage.sqlite_messages import NewMail, micros

from tests.storage.disk import message

WEST = timezone(timedelta(hours=-5))
RECEIVED = datetime(2026, 1, 2, 3, 4, 5, 6, WEST)
NOW = RECEIVED + timedelta(seconds=1)
UNTIL = RECEIVED + timedelta(minutes=5)


def new_mail() -> tuple[MailTx, NewMail]:
    mail = MailTx("a@b.org", ["joe@Example.ORG", "ann"], b"x", id="1", received=RECEIVED, retry=2)
    return mail, NewMail(mail, NOW)


def test_its_moments_are_in_utc_whatever_zone_they_came_in() -> None:
    _, new = new_mail()
    new.claim(UNTIL)
    for delivery in new.deliveries():
        moments = delivery.next_attempt, delivery.received, delivery.changed
        assert moments == (UNTIL, RECEIVED, NOW)
        assert {moment.tzinfo for moment in moments} == {UTC}


def test_its_moments_are_kept_to_the_microsecond() -> None:
    _, new = new_mail()
    new.claim(UNTIL)
    assert (new.received, new.saved, new.until) == (micros(RECEIVED), micros(NOW), micros(UNTIL))


def test_a_message_without_a_moment_was_received_as_it_is_saved() -> None:
    new = NewMail(message(name="1"), NOW)
    assert new.received == new.saved == micros(NOW)


def test_its_records_are_of_each_recipient_at_its_destination() -> None:
    _, new = new_mail()
    new.claim(UNTIL)
    new.token = 3
    told = [(each.index, each.recipient, each.destination, each.attempts) for each in new.deliveries()]
    assert told == [(0, "joe@Example.ORG", "example.org", 2), (1, "ann", "", 2)]
    assert {each.token for each in new.deliveries()} == {3}


def test_what_its_owner_does_to_the_message_then_is_not_in_it() -> None:
    mail, new = new_mail()
    _, same = new_mail()
    mail.recipients[0], mail.data, mail.received = "other@example.org", b"other", None
    mail.params["BODY"] = "8BITMIME"
    new.claim(UNTIL)
    same.claim(UNTIL)
    assert (new.envelope, new.content) == (same.envelope, same.content)
    assert new.deliveries() == same.deliveries()


@pytest.mark.parametrize("place", [0, 1])
def test_a_recipient_with_a_nul_is_refused_wherever_it_stands(place: int) -> None:
    mail, _ = new_mail()
    mail.recipients[place] = "joe\0@example.org"
    with pytest.raises(StorageError, match="NUL"):
        NewMail(mail, NOW)
