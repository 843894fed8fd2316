"""Clients against servers that answer, refuse and leave as chance will have it: what is told is true."""

from __future__ import annotations

import io
import random
from typing import TYPE_CHECKING

import pytest
from smtpx import MailTx, Outcome, Result
from smtpx.errors import ClientError

from tests.clients import CONTENT
from tests.scripted import close, drip, half_close, reset, say, then
from tests.sessions import polite

if TYPE_CHECKING:
    from smtpx import SyncClient

    from tests.clients import Clients
    from tests.conftest import Scripted
    from tests.sessions import Answer

STEPS = ["banner", "ehlo", "mail", "rcpt", "data", "bdat", "done", "rset"]
TAKEN = b"250 2.0.0 taken\r\n"
LATER, NEVER, LEAVING = b"451 4.3.0 later\r\n", b"550 5.7.1 never\r\n", b"421 4.3.2 leaving\r\n"
ENDS = [close(), reset(), half_close(), then(say(b"25"), close())]
LARGE = b"Subject: x\r\n\r\n" + (b"x" * 70 + b"\r\n") * 2_000
ANN, RECIPIENTS = "ann@example.com", ["joe@example.org", "bob@example.org"]


def answers(chance: random.Random) -> dict[str, Answer | list[Answer]]:
    """One step of a session, or two, goes wrong."""
    wrong: dict[str, Answer | list[Answer]] = {}
    anything: list[Answer] = [LATER, NEVER, LEAVING, *ENDS]
    for step in chance.sample(STEPS, chance.choice([0, 1, 1, 2])):
        answer = chance.choice(anything)
        wrong[step] = [chance.choice([b"250 2.1.5 ok\r\n", NEVER]), answer] if step == "rcpt" else answer
    if "done" not in wrong:
        good: list[Answer] = [TAKEN, drip(TAKEN), TAKEN + LEAVING]
        wrong["done"] = chance.choice(good)
    return wrong


def send(session: SyncClient, chance: random.Random) -> Result | None:
    """Send a message in any way; None where nothing is said of it."""
    content = chance.choice([CONTENT, LARGE])
    try:
        if chance.random() < 0.5:
            return session.mail_tx(MailTx(ANN, RECIPIENTS, content))
        return session.send(io.BytesIO(content), mail_from=ANN, recipients=RECIPIENTS)
    except ClientError as error:
        return error.result


@pytest.mark.parametrize(
    "keywords", [(), ("PIPELINING",), ("CHUNKING",), ("PIPELINING", "CHUNKING")], ids="+".join
)
@pytest.mark.parametrize("seed", range(25))
def test_whatever_goes_wrong_the_outcome_is_true(
    client: Clients, scripted: Scripted, keywords: tuple[str, ...], seed: int
) -> None:
    chance = random.Random(f"{seed} {keywords}")
    wrong = answers(chance)
    done = wrong["done"]
    server = scripted(polite(*keywords, **wrong))
    result = None
    try:
        with client(server.url()) as session:
            result = send(session, chance)
            assert result is not None
    except ClientError:
        assert result is None, "a message that was sent is told of, whatever the goodbye"
        assert not wrong.keys().isdisjoint({"banner", "ehlo"})
        return
    outcomes = {result[each].outcome for each in RECIPIENTS}
    taken = done not in (LATER, NEVER, LEAVING, *ENDS)
    if Outcome.ACCEPTED in outcomes:
        assert taken
        assert "mail" not in wrong
    if Outcome.UNKNOWN in outcomes:
        assert any(answer in ENDS for answer in _flat(wrong)), "the server had its last word"
    if taken and not wrong.keys() - {"done", "rset", "ehlo"}:
        assert outcomes == {Outcome.ACCEPTED}, "nothing was wrong"


def _flat(wrong: dict[str, Answer | list[Answer]]) -> list[Answer]:
    return [each for answer in wrong.values() for each in (answer if isinstance(answer, list) else [answer])]
