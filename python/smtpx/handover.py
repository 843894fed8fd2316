"""A message handed over to the next host: made fit for it, sent, and what became of each recipient.

Nothing is mangled: what the next host cannot take, and cannot be had in a form that it can, is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from smtpx._core import Response
from smtpx.dialogue import AT_ONCE, Read
from smtpx.errors import AddressError, ClientError, CommandError, MessageTooLarge, NotOffered
from smtpx.headers import header_end
from smtpx.mail import MailTx
from smtpx.mime import convert, is_binary
from smtpx.outcome import Outcome
from smtpx.result import RecipientResult

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from smtpx.dialogue import Dialogue, Verb

__all__ = ["Fitted", "fit", "hand_over", "plain"]

_EXTENSIONS: Final = ("8BITMIME", "BINARYMIME", "CHUNKING", "DSN", "SMTPUTF8")
_BARE = re.compile(rb"\0|\r(?!\n)|(?<!\r)\n")


@dataclass(frozen=True, slots=True)
class Fitted:
    """A message as a host can take it, and why it cannot for some of its recipients.

    Attributes:
        mail: the message for those to whom it can be sent.
        refused: the others, and what to say to each.

    """

    mail: MailTx
    refused: Mapping[str, Response]


def fit(mail: MailTx, offered: Collection[str]) -> Fitted:
    """Make a message fit for a host that offers these extensions; `mail` is not changed.

    Parameters are passed on where the host knows what they ask (RFC 3461 5.2, RFC 6152, RFC 6531), and left
    off where it does not. Bodies that it cannot take are encoded.
    """
    header_utf8 = not mail.data[: header_end(mail.data)].isascii()
    if "SMTPUTF8" not in offered:
        if not mail.mail_from.isascii():
            return _unfit(mail, 550, "5.6.7", "the sender needs SMTPUTF8, which the next host lacks")
        if header_utf8:
            return _unfit(mail, 554, "5.6.9", "the header needs SMTPUTF8, which the next host lacks")
    try:
        data, body = _content(mail, offered)
    except NotOffered:
        return _unfit(mail, 554, "5.6.3", "the next host cannot take the content, nor can it be converted")
    params = {"BODY": body} if body else {}
    if "SMTPUTF8" in offered and (header_utf8 or "SMTPUTF8" in mail.params):
        params["SMTPUTF8"] = ""
    known = ("RET", "ENVID") if "DSN" in offered else ()
    params |= {key: mail.params[key] for key in known if key in mail.params}
    fitted = MailTx(mail.mail_from, [], data, params=params, rcpt_params=[], id=mail.id)
    refused: dict[str, Response] = {}
    for recipient, asked in zip(mail.recipients, mail.rcpt_params, strict=True):
        if not recipient.isascii() and "SMTPUTF8" not in offered:
            refused[recipient] = Response(550, "5.6.7 the address needs SMTPUTF8, which the next host lacks")
        else:
            fitted.recipients.append(recipient)
            fitted.rcpt_params.append(_dsn(asked) if "DSN" in offered else {})
    return Fitted(fitted, refused)


def _unfit(mail: MailTx, code: int, enhanced: str, text: str) -> Fitted:
    refusal = Response(code, f"{enhanced} {text}")
    return Fitted(MailTx(mail.mail_from, []), dict.fromkeys(mail.recipients, refusal))


def _content(mail: MailTx, offered: Collection[str]) -> tuple[bytes, str]:
    """Return the content, and the value of BODY, "" for none.

    Raises:
        NotOffered: the host cannot take it, and it cannot be converted.

    """
    data = mail.data
    eight_bit = "8BITMIME" in offered
    declared = mail.params.get("BODY", "").upper() == "BINARYMIME"
    binary = is_binary(data[: header_end(data)])
    if declared or binary:
        if "BINARYMIME" in offered and "CHUNKING" in offered:
            return data, "BINARYMIME"
        data = convert(data, eight_bit=eight_bit)
        if _BARE.search(data):  # in a part that does not say that it is binary: line ends would be mended
            raise NotOffered("BINARYMIME")
    elif not (eight_bit or data.isascii()):
        data = convert(data, eight_bit=False)
    return data, "" if data.isascii() or not eight_bit else "8BITMIME"


def _dsn(asked: Mapping[str, str]) -> dict[str, str]:
    params = {key: asked[key] for key in ("NOTIFY", "ORCPT") if key in asked}
    if not (original := params.get("ORCPT", "")).isascii():
        # The form of a utf-8 address that every host can take (RFC 6533 3).
        params["ORCPT"] = re.sub(r"[^\0-\x7f]", lambda found: rf"\x{{{ord(found[0]):X}}}", original)
    return params


def hand_over(dialogue: Dialogue, mail: MailTx, host: str) -> Verb[dict[str, RecipientResult]]:
    """Send a message and return what became of each recipient, by its address on the wire; raises nothing.

    Args:
        dialogue: with the next host.
        mail: the message.
        host: the next host's name.

    """
    engine = dialogue.engine
    offered = frozenset(filter(engine.offers, _EXTENSIONS))

    def fitted() -> Fitted:
        return fit(mail, offered)

    ready = fitted() if len(mail.data) <= AT_ONCE else (yield Read(fitted))  # encoding takes its time
    results = {
        recipient: RecipientResult(Outcome.PERMANENT, refusal) for recipient, refusal in ready.refused.items()
    }
    if not ready.mail.recipients:
        return results
    reason: Exception | None = None
    sent: Mapping[str, RecipientResult] = {}
    otherwise = RecipientResult(Outcome.TEMPORARY)
    try:
        sent = yield from dialogue.mail_tx(ready.mail)
    except ClientError as error:
        sent, reason = error.result or {}, error
    except (AddressError, CommandError) as error:  # what no server could take; nothing was sent
        otherwise, reason = RecipientResult(Outcome.PERMANENT), error
    for recipient in ready.mail.recipients:
        result = sent.get(recipient, otherwise)
        results[recipient] = _told(result, host, reason, reports="DSN" in offered)
    return results


def _told(result: RecipientResult, host: str, reason: Exception | None, *, reports: bool) -> RecipientResult:
    """Return the result with a Response in any case: the host's, or one of our own that names the host."""
    outcome, response = result.outcome, result.response
    if response is not None:
        return RecipientResult(outcome, plain(response), host, reports and outcome is Outcome.ACCEPTED)
    match outcome, reason:
        case Outcome.UNKNOWN, _:
            told = Response(451, f"4.4.2 {host} was sent the whole message and gave no answer")
        case Outcome.PERMANENT, MessageTooLarge():
            told = Response(552, f"5.3.4 the message is larger than {host} takes")
        case Outcome.PERMANENT, AddressError() | CommandError():
            told = Response(553, "5.1.3 an address or a parameter of the message is none")
        case Outcome.PERMANENT, _:
            told = Response(554, f"5.6.3 {host} cannot take the content")
        case _:
            told = Response(451, f"4.4.2 the connection to {host} ended before it had the message")
    return RecipientResult(outcome, told)


def plain(response: Response) -> Response:
    """Return a response as a log or a report can have it: without what a terminal obeys (HOSTILE 81)."""
    if all(map(str.isprintable, (response.message, *response.body))):
        return response
    message, *body = map(_printable, (response.message, *response.body))
    return Response(response.code, message, body)


def _printable(line: str) -> str:
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line)
