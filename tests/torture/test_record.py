"""The senders' record: a torture that finds no fault must be one that would have found it."""

from __future__ import annotations

from collections import Counter

import pytest
from smtpx import Outcome, Response
from smtpx.result import RecipientResult

from tests.torture.messages import Copy, content, copies_of, message, new_mark, recognise
from tests.torture.record import Harvest, Record

ACCEPTED = RecipientResult(Outcome.ACCEPTED, Response(250, "2.0.0 OK"))
REFUSED = RecipientResult(Outcome.TEMPORARY, Response(451, "4.3.0 Try again later"))
UNANSWERED = RecipientResult(Outcome.UNKNOWN)


def sent(record: Record, result: RecipientResult) -> Copy:
    """Send a copy of the record's next message, and write down what came of it."""
    (copy, *_) = record.next()
    record.answered([copy], {copy.recipient: result})
    return copy


@pytest.fixture
def record() -> Record:
    return Record(seed=1)


def test_what_was_acknowledged_and_is_nowhere_is_lost(record: Record) -> None:
    copy = sent(record, ACCEPTED)
    record.reconcile(Harvest())
    assert record.lost == {copy}
    assert not record.sound


def test_what_was_acknowledged_is_sound_where_it_is_queued_and_later_delivered(record: Record) -> None:
    copy = sent(record, ACCEPTED)
    record.reconcile(Harvest(queued=Counter([copy])))
    record.reconcile(Harvest(delivered=Counter([copy])))
    assert record.sound
    assert record.delivered == {copy: 1}


def test_what_was_queued_and_is_gone_before_it_was_delivered_is_lost(record: Record) -> None:
    copy = sent(record, ACCEPTED)
    record.reconcile(Harvest(queued=Counter([copy])))
    record.reconcile(Harvest())
    assert record.lost == {copy}


def test_what_was_found_once_may_have_been_taken_away(record: Record) -> None:
    copy = sent(record, ACCEPTED)
    record.reconcile(Harvest(delivered=Counter([copy])))
    record.reconcile(Harvest())
    assert record.sound


def test_what_was_refused_may_not_be_there(record: Record) -> None:
    copy = sent(record, REFUSED)
    record.reconcile(Harvest(delivered=Counter([copy])))
    assert record.twice == {copy}
    assert record.refused == {451: 1}


def test_what_was_in_flight_may_be_there_or_not(record: Record) -> None:
    for delivered in (0, 1):
        copy = sent(record, UNANSWERED)
        record.reconcile(Harvest(delivered=Counter({copy: delivered})))
    assert record.sound


def test_what_was_in_flight_and_acknowledged_later_may_be_there_twice_and_is_counted(record: Record) -> None:
    copy = sent(record, UNANSWERED)
    assert sent(record, ACCEPTED) == copy
    record.reconcile(Harvest(delivered=Counter({copy: 2})))
    assert record.sound
    assert record.duplicates == 1


def test_a_copy_more_than_the_answers_allow_is_a_fault_even_when_it_comes_late(record: Record) -> None:
    copy = sent(record, ACCEPTED)
    for _ in range(2):
        record.reconcile(Harvest(delivered=Counter([copy])))
    assert record.twice == {copy}


def test_what_was_being_delivered_when_the_server_died_is_there_and_still_queued(record: Record) -> None:
    copy = sent(record, ACCEPTED)
    record.reconcile(Harvest(delivered=Counter([copy]), queued=Counter([copy])))
    assert record.sound


def test_a_refusal_while_the_server_is_struck_down_counts_as_in_flight_once(record: Record) -> None:
    record.strike()
    copy = sent(record, REFUSED)
    assert sent(record, REFUSED) == copy
    record.reconcile(Harvest(delivered=Counter({copy: 1})))
    assert record.sound
    record.reconcile(Harvest(delivered=Counter({copy: 1})))
    assert record.twice == {copy}


def test_what_is_damaged_is_a_fault(record: Record) -> None:
    record.reconcile(Harvest(damaged=["m1-1 is damaged"]))
    assert not record.sound


def test_a_ledger_that_knows_less_than_was_acknowledged_or_more_than_was_sent_is_a_fault(
    record: Record,
) -> None:
    sent(record, ACCEPTED)
    sent(record, UNANSWERED)
    for ledger in (1, 2):
        record.reconcile(Harvest(ledger=ledger, delivered=Counter(record.acknowledged)))
        assert record.sound
        record.delivered.clear()
    for ledger in (0, 3):
        record.damaged.clear()
        record.reconcile(Harvest(ledger=ledger))
        assert not record.sound


def test_what_was_not_acknowledged_is_sent_again_under_its_mark(record: Record) -> None:
    copies = record.next()
    record.unsent(copies)
    assert record.next() == copies


def test_a_message_is_acknowledged_when_all_of_its_copies_are(record: Record) -> None:
    copies = next(copies for copies in iter(record.next, None) if len(copies) > 1)
    first, *rest = copies
    record.answered(copies, {copy.recipient: ACCEPTED if copy == first else REFUSED for copy in copies})
    assert record.messages == 0
    assert record.next() == rest
    record.answered(rest, {copy.recipient: ACCEPTED for copy in rest})
    assert record.messages == 1


# The messages


@pytest.mark.parametrize("octets", [0, 1, 71, 72, 73, 40_000])
def test_a_copy_is_recognised_with_a_trace_line_on_top_and_other_line_ends(octets: int) -> None:
    mark = new_mark(7, octets)
    assert recognise(b"Received: from x\r\n" + content(mark)) == mark
    assert recognise(b"Return-Path: <x>\n" + content(mark).replace(b"\r\n", b"\n")) == mark


def test_a_copy_that_is_cut_or_altered_is_not() -> None:
    whole = content(new_mark(7, 1000))
    for damaged in (whole[:-1], whole[:200], b"", whole.replace(b"a", b"b", 1), whole + whole):
        with pytest.raises(ValueError, match=r"damaged|no mark"):
            recognise(damaged)


def test_a_message_goes_to_the_recipients_of_its_copies_alone() -> None:
    copies = copies_of(new_mark(1, 100))
    assert message(copies[:1]).recipients == [copies[0].recipient]
