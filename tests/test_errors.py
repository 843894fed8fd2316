"""The exception tree: what each class is, says, and keeps when it is pickled."""

from __future__ import annotations

import copy
import inspect
import pickle
from typing import TYPE_CHECKING, cast

import pytest
from smtpx import Outcome, RecipientResult, Response, errors
from smtpx.errors import (
    ClientError,
    CommandRefused,
    ConnectionLost,
    InvalidCredential,
    LoginBroken,
    LoginRefused,
    MessageRefused,
    NotOffered,
    ReplyTimeout,
    SMTPError,
    SyntaxRefused,
    TLSFailed,
)

if TYPE_CHECKING:
    from smtpx.result import Result

CLASSES = [value for _, value in inspect.getmembers(errors, inspect.isclass) if issubclass(value, Exception)]
REFUSAL = Response(550, "5.1.1 No such user", ["ask postmaster"])


def result_of(*recipients: tuple[str, RecipientResult]) -> Result:
    """What an exception reads of a Result: that it is a mapping."""
    return cast("Result", dict(recipients))


def refused(count: int) -> MessageRefused:
    each = RecipientResult(Outcome.PERMANENT, REFUSAL)
    return MessageRefused(result_of(*((f"joe{number}@example.org", each) for number in range(count))))


@pytest.mark.parametrize("error", CLASSES)
def test_every_exception_is_public_and_below_the_one_root(error: type[Exception]) -> None:
    assert issubclass(error, SMTPError)
    assert error.__name__ in errors.__all__


@pytest.mark.parametrize("error", CLASSES)
def test_the_tree_in_the_docstring_names_every_exception(error: type[Exception]) -> None:
    assert errors.__doc__ is not None
    assert error.__name__ in errors.__doc__


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        (SyntaxRefused, ValueError),
        (ConnectionLost, ConnectionError),
        (ReplyTimeout, TimeoutError),
        (TLSFailed, ConnectionError),
        (LoginRefused, InvalidCredential),
        (LoginRefused, CommandRefused),
    ],
)
def test_an_exception_is_caught_as_what_a_user_would_catch(
    error: type[Exception], builtin: type[Exception]
) -> None:
    assert issubclass(error, builtin)


MADE: list[ClientError] = [
    ClientError("text"),
    CommandRefused("MAIL FROM:<ann@example.com>", REFUSAL),
    LoginRefused("AUTH PLAIN", Response(535, "5.7.8 No")),
    LoginBroken("text"),
    refused(2),
    ConnectionLost("text"),
    ReplyTimeout("text"),
    TLSFailed("text"),
    NotOffered("SMTPUTF8"),
    NotOffered("AUTH", "text"),
]


@pytest.mark.parametrize("error", MADE, ids=repr)
@pytest.mark.parametrize("again", [lambda error: pickle.loads(pickle.dumps(error)), copy.copy, copy.deepcopy])
def test_a_client_error_is_pickled_and_copied_with_all_it_knows(error: ClientError, again: object) -> None:
    assert callable(again)
    error.result = result_of(("joe@example.org", RecipientResult(Outcome.UNKNOWN)))
    other = again(error)
    assert type(other) is type(error)
    assert str(other) == str(error)
    assert (other.code, other.enhanced) == (error.code, error.enhanced)
    assert vars(other) == vars(error)


def test_a_client_error_has_no_result_until_a_message_was_under_way() -> None:
    assert ConnectionLost("text").result is None


def test_a_refused_command_says_what_was_sent_and_what_the_server_said() -> None:
    error = CommandRefused("RCPT TO:<joe@example.org>", REFUSAL)
    assert str(error) == "RCPT TO:<joe@example.org>: 550 5.1.1 No such user / ask postmaster"
    assert (error.command, error.response) == ("RCPT TO:<joe@example.org>", REFUSAL)


def test_a_refused_command_has_the_servers_codes() -> None:
    error = CommandRefused("RCPT TO:<joe@example.org>", REFUSAL)
    assert (error.code, error.enhanced) == (550, "5.1.1")


def test_a_refusal_without_an_enhanced_code_has_the_one_of_its_class() -> None:
    assert CommandRefused("NOOP", Response(421, "bye")).enhanced == "4.0.0"


def test_a_refused_login_has_the_servers_codes_and_not_those_of_its_class() -> None:
    error = LoginRefused("AUTH PLAIN", Response(534, "5.7.9 Too weak"))
    assert (error.code, error.enhanced) == (534, "5.7.9")
    assert str(error) == "AUTH PLAIN: 534 5.7.9 Too weak"


def test_a_refusal_shows_nothing_that_a_terminal_obeys() -> None:
    text = str(CommandRefused("NOOP", Response(500, "\x1b[31mé")))
    assert text == "NOOP: 500 \N{REPLACEMENT CHARACTER}[31mé"


def test_a_refused_message_says_why_recipient_by_recipient() -> None:
    error = MessageRefused(
        result_of(
            ("joe@example.org", RecipientResult(Outcome.PERMANENT, Response(550, "5.1.1 No"))),
            ("bob@example.org", RecipientResult(Outcome.UNKNOWN)),
        )
    )
    assert str(error) == (
        "no recipient was accepted (joe@example.org: 550 5.1.1 No; bob@example.org: unknown)"
    )


def test_a_refused_message_of_many_recipients_names_a_few() -> None:
    text = str(refused(1000))
    assert "joe2@example.org" in text
    assert "joe3@example.org" not in text
    assert text.endswith("; and 997 more)")


def test_what_is_not_offered_is_named() -> None:
    error = NotOffered("SMTPUTF8")
    assert error.extension == "SMTPUTF8"
    assert str(error) == "the server does not offer SMTPUTF8"


def test_what_is_not_offered_may_be_told_with_the_mend() -> None:
    assert str(NotOffered("AUTH", "say cleartext_auth=True")) == "say cleartext_auth=True"
