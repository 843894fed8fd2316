"""What a result means for a recipient: delivered, tried again and when, or given up, and who is told."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from smtpx.delivery import Delivery, State, reply_text
from smtpx.outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from random import Random

    from smtpx.mail import MailTx
    from smtpx.result import RecipientResult
    from smtpx.schedule import Schedule

__all__ = ["Verdict", "judge", "log_fields", "unreached", "wants_success"]

_NO_ANSWER = frozenset(("4.4.1", "4.4.3"))


class Verdict(NamedTuple):
    """What is to be written of a recipient after an attempt, and said of it before.

    Attributes:
        settled: the record's new values.
        report: what the sender may have to be told, None for nothing: ACCEPTED, it is delivered; TEMPORARY,
            it takes long; PERMANENT, it is given up, for one whose time is over with its last reply, a 4yz.
        untold: what is written instead of ``settled`` where that could not be told.

    """

    settled: Delivery
    report: RecipientResult | None
    untold: Delivery


def judge(
    delivery: Delivery,
    result: RecipientResult,
    schedule: Schedule,
    *,
    now: datetime,
    age: Callable[[datetime, datetime], float],
    random: Random,
    success: bool = False,
) -> Verdict:
    """Judge the result of one recipient.

    Args:
        delivery: the record as it was claimed.
        result: what the transport said.
        schedule: the times of a message.
        now: the moment.
        age: tells how old, in seconds, what was received at the first moment is at the second.
        random: for the jitter.
        success: whether to tell that it was delivered, see `wants_success`.

    """
    reply = reply_text(result.response)
    if result.outcome is Outcome.ACCEPTED:
        done = _delivered(delivery, now, reply)
        # Nobody gets a message twice so that its sender hears of it once.
        return Verdict(done, result if success else None, untold=done)
    failed, old = delivery.attempts + 1, age(delivery.received, now)
    postponed = replace(
        delivery,
        attempts=failed,
        next_attempt=now + timedelta(seconds=schedule.gap(failed, old, random)),
        changed=now,
        reply=reply,
    )
    if result.outcome is Outcome.PERMANENT or schedule.is_over(old, failed):
        bounced = replace(postponed, state=State.BOUNCED, next_attempt=now)
        return Verdict(bounced, replace(result, outcome=Outcome.PERMANENT), untold=postponed)
    if not delivery.warned and schedule.is_late(old, failed):
        delayed = replace(result, outcome=Outcome.TEMPORARY)
        return Verdict(replace(postponed, warned=True), delayed, untold=postponed)
    return Verdict(postponed, None, untold=postponed)


def _delivered(delivery: Delivery, now: datetime, reply: str) -> Delivery:
    """As `replace` does, at less than half the price: nearly all mail comes to this."""
    return Delivery(
        delivery.mail_id,
        delivery.index,
        delivery.recipient,
        delivery.destination,
        State.DELIVERED,
        delivery.attempts,
        now,
        delivery.received,
        now,
        delivery.warned,
        reply,
        delivery.token,
    )


def wants_success(mail: MailTx, index: int) -> bool:
    """Tell whether the sender asked to be told of the delivery to this recipient (NOTIFY, RFC 3461 4.1)."""
    params = mail.rcpt_params[index]
    return "NOTIFY" in params and "SUCCESS" in params["NOTIFY"].upper().split(",")


def log_fields(settled: Delivery, result: RecipientResult, unknown: int) -> dict[str, object]:
    """Return the fields of the log's line for a verdict.

    Args:
        settled: the record as it is written.
        result: what became of the attempt.
        unknown: how many attempts since the start may arrive twice (HOSTILE 79).

    """
    fields: dict[str, object] = {
        "event": "postponed" if settled.state is State.QUEUED else settled.state.value,
        "id": settled.mail_id,
        "recipient": settled.recipient,
        "outcome": result.outcome.value,
        "attempts": settled.attempts,
        "remote": result.remote,
        "reply": settled.reply,
        "delay": (settled.changed - settled.received).total_seconds(),
    }
    if settled.state is State.QUEUED:
        fields["next"] = settled.next_attempt.isoformat(timespec="seconds")
    if result.outcome is Outcome.UNKNOWN:
        fields["unknown"] = unknown
    return fields


def unreached(result: RecipientResult) -> bool:
    """Tell whether nobody answered at the destination, or about where it is (see `Transport.deliver`)."""
    return (
        result.outcome is Outcome.TEMPORARY
        and not result.remote
        and result.response is not None
        and result.response.enhanced in _NO_ANSWER
    )
