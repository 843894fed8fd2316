"""The envelopes that one becomes when its aliases and lists are followed (RFC 5321 3.9, RFC 3461 5.2.7)."""

# ruff: noqa: A002 - "id" is the attribute's name

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING

from smtpx.dsn_options import original_recipient
from smtpx.environment import FinalRecipient
from smtpx.errors import ConfigurationError
from smtpx.mail import new_id

if TYPE_CHECKING:
    from smtpx.environment import Environment
    from smtpx.mail import MailTx

__all__ = ["envelopes", "goes_to_a_list"]

_SENDERS_OWN = {"RET", "ENVID", "AUTH"}  # what a list's owner does not say in the sender's name


def envelopes(mail: MailTx, environment: Environment) -> list[MailTx]:
    """Return the message for its final recipients, each once: ``mail`` itself where it has no others.

    To follow an alias changes the recipient alone: it keeps its parameters, and ORCPT names the original.
    What comes by a list is another message: its sender is the list's owner, and of what the first sender
    asked about reports nothing goes with it. A message from the null reverse-path keeps it, so that reports
    on reports end with the first list.

    An alias that has become a loop since its recipient was accepted stays, for the delivery to refuse.
    """
    recipients = mail.recipients
    if all(map(environment.is_final, recipients)) and not _repeats(environment, recipients):
        return [mail]
    reached: dict[str, tuple[FinalRecipient, dict[str, str]]] = {}
    for recipient, params in zip(recipients, mail.rcpt_params, strict=True):
        for final in _resolved(environment, recipient):
            key = environment.key(final.address)
            if key not in reached or (final.owner is None and reached[key][0].owner is not None):
                reached[key] = final, _carried(params, recipient, final)
    by_sender: dict[str | None, list[tuple[str, dict[str, str]]]] = {None: []}
    for final, params in reached.values():
        owner = final.owner if mail.mail_from else None
        by_sender.setdefault(owner, []).append((final.address, params))
    made: list[MailTx] = []
    for owner, each in by_sender.items():
        if each:
            made.append(_envelope(mail, owner, each, mail.id if not made else new_id()))
    return made


def goes_to_a_list(environment: Environment, recipient: str) -> bool:
    """Tell whether all that becomes of a recipient is a list's: then its delivery ends there.

    Nothing that is reported later tells of it, since the members' messages are others (RFC 3461 5.2.7.3).
    """
    return all(final.owner is not None for final in _resolved(environment, recipient))


def _repeats(environment: Environment, recipients: list[str]) -> bool:
    return len(recipients) > 1 and len({environment.key(each) for each in recipients}) < len(recipients)


def _resolved(environment: Environment, recipient: str) -> list[FinalRecipient]:
    try:
        return environment.resolve(recipient)
    except ConfigurationError:
        return [FinalRecipient(recipient)]


def _carried(params: dict[str, str], recipient: str, final: FinalRecipient) -> dict[str, str]:
    if final.owner is not None:
        return {}
    if final.address == recipient or "ORCPT" in params:
        return params
    return {**params, "ORCPT": original_recipient(recipient)}


def _envelope(
    mail: MailTx, owner: str | None, recipients: list[tuple[str, dict[str, str]]], id: str
) -> MailTx:
    made = copy(mail)
    made.id = id
    made.recipients = [address for address, _ in recipients]
    made.rcpt_params = [params for _, params in recipients]
    if owner is not None:
        made.mail_from = owner
        made.params = {key: value for key, value in mail.params.items() if key not in _SENDERS_OWN}
    return made
